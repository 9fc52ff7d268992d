/* SPDX-License-Identifier: Apache-2.0 */
/* TCP headers and options: bytes <-> struct qs_segment. RFC 9293 section 3.1, RFC 7323, RFC 2018.
 */
#ifndef QS_CORE_TCP_WIRE_H
#define QS_CORE_TCP_WIRE_H

#include "packet.h"
#include "seq.h"

#define QS_TCP_BYTES 20u
#define QS_TCP_HEADER_MAX 60u
#define QS_TCP_CHECKSUM_AT 16u
#define QS_TCP_TS_BYTES 12u /* timestamps with two NOPs in front, RFC 7323 appendix A */
#define QS_TS_SHIFT 20      /* a unit of our timestamps is 2^20 ns, RFC 7323 section 5.4 */
#define QS_WSCALE_MAX 14    /* RFC 7323 section 2.3 */
#define QS_SACKS_MAX 4      /* blocks that fit into one header, RFC 2018 section 3 */

#define QS_FIN 0x01u
#define QS_SYN 0x02u
#define QS_RST 0x04u
#define QS_PSH 0x08u
#define QS_ACK 0x10u
#define QS_URG 0x20u

struct qs_segment {
    qs_seq seq, ack;
    uint32_t len; /* octets of payload */
    uint16_t wnd; /* as in the header, not scaled */
    uint16_t src_port, dst_port;
    uint16_t mss;  /* 0: no option */
    uint8_t flags; /* QS_SYN ... */
    int8_t wscale; /* -1: no option; [0, 14] */
    bool has_ts;
    bool sack_ok;    /* SACK-permitted, in a SYN */
    uint8_t n_sacks; /* blocks as they came, not checked */
    struct qs_range sacks[QS_SACKS_MAX];
    uint32_t ts_val, ts_ecr;
    const uint8_t *payload;
    const struct qs_packet *packet; /* what it came in */
    qs_time arrived;
};

/* Octets of sequence space. */
static inline uint32_t qs_segment_span(const struct qs_segment *s)
{
    return s->len + ((s->flags & QS_SYN) ? 1 : 0) + ((s->flags & QS_FIN) ? 1 : 0);
}

/* Parses p->l4; the checksum is verified unless `checked`. @return QS_N_COUNTERS when it is fine,
 * else the reason to drop it. */
enum qs_counter qs_tcp_parse(struct qs_segment *s, const struct qs_packet *p, bool checked);

/* A header to write. */
struct qs_tcp_out {
    qs_seq seq, ack;
    uint16_t src_port, dst_port;
    uint16_t wnd; /* already scaled */
    uint8_t flags;
    uint16_t mss;  /* 0: no option (as all options here) */
    int8_t wscale; /* -1: none */
    bool has_ts;
    bool sack_ok;
    uint8_t n_sacks; /* together with timestamps at most 3 */
    struct qs_range sacks[QS_SACKS_MAX];
    uint32_t ts_val, ts_ecr;
};

/* Octets of options that `n` SACK blocks take, with two NOPs in front. */
static inline uint32_t qs_tcp_sack_bytes(uint32_t n)
{
    return n ? 4 + 8 * n : 0;
}

/* Writes header and options in the order that Linux uses, checksum field zero. @return its length.
 */
uint32_t qs_tcp_write(uint8_t *to, const struct qs_tcp_out *o);

#endif
