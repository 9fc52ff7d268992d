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
#define QS_IPV4_BYTES 20u
#define QS_IPV6_BYTES 40u
#define QS_PROTO_ICMP 1u
#define QS_PROTO_TCP 6u
#define QS_PROTO_ICMPV6 58u
#define QS_HOP_LIMIT 64u /* of all that is sent but Neighbor Discovery */

struct qs_packet {
    const uint8_t *eth; /* 14 bytes */
    qs_addr src, dst;
    const uint8_t *l4; /* transport header and payload */
    uint32_t l4_len;
    uint16_t ethertype;
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

/* Writes the Ethernet header. */
void qs_eth_write(uint8_t *to, const uint8_t dst_mac[6], const uint8_t src_mac[6],
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
