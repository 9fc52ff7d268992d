/* SPDX-License-Identifier: Apache-2.0 */
/* A received frame taken apart as far as the transport header: Ethernet, IPv4, IPv6. Everything
 * that a length field says is checked against the frame before it is used. */
#ifndef QS_CORE_PACKET_H
#define QS_CORE_PACKET_H

#include "addr.h"
#include "qstack/qs_frame.h"
#include "qstack/qs_stats.h"

#define QS_ETH_BYTES 14u
#define QS_ETHERTYPE_IPV4 0x0800u
#define QS_ETHERTYPE_ARP 0x0806u
#define QS_ETHERTYPE_IPV6 0x86ddu
#define QS_ETHERTYPE_VLAN 0x8100u    /* IEEE 802.1Q, the customer's tag */
#define QS_ETHERTYPE_SERVICE 0x88a8u /* that of a provider's bridges, in front of it */
#define QS_VLAN_BYTES 4u
#define QS_IPV4_BYTES 20u
#define QS_IPV6_BYTES 40u
#define QS_PROTO_ICMP 1u
#define QS_PROTO_TCP 6u
#define QS_PROTO_ICMPV6 58u
#define QS_HOP_LIMIT 64u /* of all that is sent but Neighbor Discovery */

struct qs_packet {
    const uint8_t *eth; /* 14 bytes */
    const uint8_t *l3;  /* behind them, and behind a tag */
    qs_addr src, dst;
    const uint8_t *l4; /* transport header and payload */
    uint32_t l4_len;
    uint16_t ethertype; /* the one behind a tag */
    uint16_t vlan;      /* 0: no tag, or one that names a priority alone */
    uint8_t pcp;        /* of the tag, IEEE 802.1Q section 6.9.3 */
    uint8_t protocol;
    uint8_t hop_limit;
    uint8_t ecn;  /* QS_ECN_* */
    uint8_t dscp; /* RFC 2474 section 3 */
    bool v4;
    uint16_t problem; /* of a packet to drop: offset of an IPv6 option that its sender wants to hear
                         of, RFC 8200 section 4.2; 0: none */
};

/* RFC 3168 section 5. */
#define QS_ECN_NOT_ECT 0
#define QS_ECN_ECT0 2
#define QS_ECN_CE 3

/* Takes a frame apart. For ARP `l4` is the ARP message. @return QS_N_COUNTERS when it is fine, else
 * the reason to drop it. */
enum qs_counter qs_packet_parse(struct qs_packet *p, const struct qs_frame *f);

/* Skips IPv6 extension headers of a packet as it was sent or quoted, its first fragment included.
 * `next` is the next header, before and after. @return false when that is not possible. */
bool qs_packet_skip_extensions(struct qs_cursor *c, uint8_t *next);

/* Where a frame goes on its link, and how urgent it is there: with a tag its priority is the class.
 */
struct qs_hop {
    const uint8_t *mac;
    uint16_t vlan; /* 0: no tag */
    uint8_t prio;
};

static inline uint32_t qs_eth_bytes(uint16_t vlan)
{
    return vlan ? QS_ETH_BYTES + QS_VLAN_BYTES : QS_ETH_BYTES;
}

/* Back to who sent it. */
static inline struct qs_hop qs_packet_back(const struct qs_packet *p, uint8_t prio)
{
    return (struct qs_hop){p->eth + 6, p->vlan, prio};
}

/* Writes the Ethernet header, with a tag on a VLAN. @return its length, qs_eth_bytes(). */
uint32_t qs_eth_write(uint8_t *to, const struct qs_hop *hop, const uint8_t src_mac[6],
                      uint16_t ethertype);

/* Header to write in front of a transport payload. */
struct qs_ip_out {
    const qs_addr *src, *dst;
    uint32_t payload_bytes;
    uint8_t protocol;
    uint8_t hop_limit;
    uint8_t ecn; /* QS_ECN_* */
    uint8_t dscp;
};

/* Writes an IPv4 or IPv6 header, after dst. @return its length. */
uint32_t qs_ip_write(uint8_t *to, const struct qs_ip_out *o);

#endif
