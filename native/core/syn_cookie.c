/* SPDX-License-Identifier: Apache-2.0 */
#include "syn_cookie.h"

#include <string.h>

#include "addr.h"

#define SUM_BITS 28
#define SUM_MASK ((1u << SUM_BITS) - 1)
#define OPTIONS_BITS 6
#define OPTIONS_MASK ((1u << OPTIONS_BITS) - 1)
#define WSCALE_MASK 15u
#define WSCALE_NONE 15u /* 14 is the largest, RFC 7323 section 2.3 */
#define SACK_BIT 16u
#define ECN_BIT 32u
#define HAS_TS 64u /* hashed, not sent */

/* What paths allow: jumbo frames, Ethernet, PPPoE, tunnels in it, mobile networks and VPNs, the
 * least MTU of IPv6; then RFC 9293 section 3.7.1, and the floor of what is sent. Rounding down
 * costs the common values between them 3 % at most. */
static const uint16_t mss_v4[8] = {88, 536, 1240, 1360, 1432, 1452, 1460, 8960};
static const uint16_t mss_v6[8] = {88, 536, 1220, 1340, 1412, 1432, 1440, 8940};

static const uint16_t *mss_table(const struct qs_cookie_tuple *t)
{
    return qs_addr_is_v4(t->remote) ? mss_v4 : mss_v6;
}

static uint32_t mss_number(const struct qs_cookie_tuple *t, uint16_t mss)
{
    const uint16_t *table = mss_table(t);
    uint32_t n = 7;
    while (n > 0 && table[n] > mss)
        n--;
    return n;
}

static uint64_t period_of(qs_time now)
{
    return now.ns / QS_COOKIE_PERIOD.ns;
}

static uint32_t options_of(const struct qs_cookie_syn *syn)
{
    uint32_t scale = syn->wscale < 0 ? WSCALE_NONE : (uint32_t)syn->wscale & WSCALE_MASK;
    return scale | (syn->sack_ok ? SACK_BIT : 0) | (syn->ecn ? ECN_BIT : 0);
}

static uint32_t mac(const struct qs_sipkey *key, const struct qs_cookie_tuple *t, uint64_t period,
                    uint32_t number, uint32_t options)
{
    uint64_t w[6];
    memcpy(w, t->remote, 16);
    memcpy(w + 2, t->local, 16);
    w[4] = (uint64_t)options << 40 | (uint64_t)number << 32 | (uint64_t)t->remote_port << 16 |
           t->local_port;
    w[5] = period;
    return (uint32_t)qs_siphash24(key, w, 6);
}

qs_seq qs_cookie_make(const struct qs_sipkey *key, const struct qs_cookie_tuple *t,
                      const struct qs_cookie_syn *syn, qs_time now)
{
    uint64_t period = period_of(now);
    uint32_t number = mss_number(t, syn->mss);
    uint32_t m = mac(key, t, period, number, syn->has_ts ? HAS_TS | options_of(syn) : 0);
    uint32_t sum = (m + t->peer_isn.v) & SUM_MASK;
    uint32_t open = number << 1 | (uint32_t)(period & 1);
    return (qs_seq){(open ^ (sum & 15)) << SUM_BITS | sum};
}

uint32_t qs_cookie_ts(uint32_t clock, const struct qs_cookie_syn *syn)
{
    uint32_t ts = (clock & ~OPTIONS_MASK) | options_of(syn);
    return (int32_t)(ts - clock) > 0 ? ts - (1u << OPTIONS_BITS) : ts;
}

uint32_t qs_cookie_distance(const struct qs_sipkey *key, const struct qs_cookie_tuple *t,
                            qs_seq isn, const uint32_t *ts_ecr, qs_time now,
                            struct qs_cookie_syn *syn)
{
    uint32_t open = isn.v >> SUM_BITS ^ (isn.v & 15), number = open >> 1;
    uint32_t options = ts_ecr ? *ts_ecr & OPTIONS_MASK : 0;
    uint64_t period = period_of(now);
    period -= (period ^ open) & 1; /* this one or the one before: the cookie says which */
    uint32_t m = mac(key, t, period, number, ts_ecr ? HAS_TS | options : 0);
    bool scaled = ts_ecr && (options & WSCALE_MASK) != WSCALE_NONE;
    *syn = (struct qs_cookie_syn){
        .mss = mss_table(t)[number],
        .wscale = (int8_t)(scaled ? (int)(options & WSCALE_MASK) : -1),
        .has_ts = ts_ecr != NULL,
        .sack_ok = options & SACK_BIT,
        .ecn = options & ECN_BIT,
    };
    return (m + t->peer_isn.v - isn.v) & SUM_MASK;
}
