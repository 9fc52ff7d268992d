/* SPDX-License-Identifier: Apache-2.0 */
/* SYN cookies (RFC 4987 section 3.6): an ISN that holds what a half-open connection would, so that
 * nothing is kept for a SYN. Functions of their arguments only; tcp_cookie.c uses them.
 *
 *     ISN: bits 28-31  number of the MSS and lowest bit of the time, hidden by bits 0-3
 *          bits 0-27   SipHash of tuple, MSS, options and time, plus the peer's ISN
 *     TSval: bits 0-5  window scale, SACK and ECN of the peer, as Linux does
 *
 * The time counts 64 s; the present one and the one before are good, so a cookie lives 64 to
 * 128 s. Without timestamps the options are lost, and the MSS is rounded down to one of eight.
 *
 * The peer's ISN is added, not hashed, so that a segment tells how far behind the SYN it lies: one
 * that overtook the peer's first is told from a stranger's. */
#ifndef QS_CORE_SYN_COOKIE_H
#define QS_CORE_SYN_COOKIE_H

#include "qstack/qs_base.h"
#include "seq.h"
#include "siphash.h"

#define QS_COOKIE_PERIOD QS_S(64)
#define QS_COOKIE_LIFE QS_S(128)

struct qs_cookie_tuple {
    const qs_addr *remote, *local;
    uint16_t remote_port, local_port;
    qs_seq peer_isn;
};

/* What is remembered of the peer's SYN. */
struct qs_cookie_syn {
    uint16_t mss;  /* made: as announced; checked: rounded down */
    int8_t wscale; /* -1: none */
    bool has_ts;   /* without it there is no room for the other options: none of them is on */
    bool sack_ok;
    bool ecn;
};

/* The ISN of a SYN-ACK. */
qs_seq qs_cookie_make(const struct qs_sipkey *key, const struct qs_cookie_tuple *t,
                      const struct qs_cookie_syn *syn, qs_time now);

/* TSval of that SYN-ACK: `clock` or up to 63 units less, so that a later one is never smaller. */
uint32_t qs_cookie_ts(uint32_t clock, const struct qs_cookie_syn *syn);

/* How far is `t->peer_isn` from the ISN of the SYN that `isn` answered, this period or the one
 * before? 0: it is the one; a stranger's is anywhere within 2^28. `ts_ecr` NULL: the ACK has no
 * timestamp. Fills in `syn`, which holds if the result is 0. */
uint32_t qs_cookie_distance(const struct qs_sipkey *key, const struct qs_cookie_tuple *t,
                            qs_seq isn, const uint32_t *ts_ecr, qs_time now,
                            struct qs_cookie_syn *syn);

#endif
