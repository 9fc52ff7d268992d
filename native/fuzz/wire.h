/* SPDX-License-Identifier: Apache-2.0 */
/* Frames as the RFCs describe them, written without a look at native/core: builds what the fuzz
 * targets feed to an engine and judges what comes out of it. */
#ifndef QS_FUZZ_WIRE_H
#define QS_FUZZ_WIRE_H

#include "qstack/qs_engine.h"

#define WIRE_ETH 14u
#define WIRE_FRAME_MAX 66000u

enum { WIRE_FIN = 1, WIRE_SYN = 2, WIRE_RST = 4, WIRE_PSH = 8, WIRE_ACK = 16, WIRE_URG = 32 };

struct wire_ends {
    uint8_t src_mac[6], dst_mac[6];
    qs_addr src, dst; /* both of one IP version */
};

struct wire_tcp {
    uint16_t src_port, dst_port;
    uint32_t seq, ack;
    uint8_t flags;
    uint16_t window;
    const uint8_t *options;
    size_t options_len;
    const uint8_t *payload;
    size_t payload_len;
};

/* Extension headers between an IPv6 header and what it carries. */
struct wire_ext {
    uint8_t first; /* next header of the IPv6 header */
    const uint8_t *data;
    size_t len;
};

enum wire_kind { WIRE_IS_ARP, WIRE_IS_ICMP, WIRE_IS_TCP, WIRE_IS_OTHER };

/* What a frame turned out to be; pointers reach into it. */
struct wire_seen {
    enum wire_kind kind;
    struct wire_ends ends;
    struct wire_tcp tcp; /* WIRE_IS_TCP */
    uint8_t icmp_type;   /* WIRE_IS_ICMP, of either version */
};

/* What an engine promised. */
struct wire_rules {
    uint32_t mtu, offloads, gso_max_bytes;
    uint8_t mac[6];
};

bool wire_is_v4(const qs_addr *a);

/* Sum of RFC 1071 over `len` bytes on top of `sum`, folded, not complemented. */
uint16_t wire_sum(const uint8_t *data, size_t len, uint16_t sum);

/* Each writes a whole frame with right lengths and checksums to `out` (WIRE_FRAME_MAX bytes) and
 * returns its length. `ext` may be NULL and is ignored with IPv4. */
size_t wire_build_ip(uint8_t *out, const struct wire_ends *ends, uint8_t proto,
                     const struct wire_ext *ext, const uint8_t *l4, size_t l4_len);
size_t wire_build_tcp(uint8_t *out, const struct wire_ends *ends, const struct wire_tcp *t,
                      const struct wire_ext *ext);
size_t wire_build_arp(uint8_t *out, const struct wire_ends *ends, uint16_t op,
                      const uint8_t target_mac[6]);

/* Reads a frame. @return NULL, or what is wrong with it. */
const char *wire_parse(const uint8_t *frame, size_t len, struct wire_seen *seen);

/* Judges a frame that an engine sent. @return NULL, or which promise it breaks. */
const char *wire_judge(const struct qs_frame *f, const struct wire_rules *r,
                       struct wire_seen *seen);

/* Walks extension headers by RFC 8200 section 4 and 4302. @return the protocol that is reached
 * exactly at the end of `e`, or -1 when the chain is broken, ends early or reaches further. */
int wire_ext_end(const struct wire_ext *e);

/* Looks for option `kind`. @return its first byte, or NULL. Stops at what is malformed. */
const uint8_t *wire_option(const struct wire_tcp *t, uint8_t kind);

#endif
