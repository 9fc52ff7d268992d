/* SPDX-License-Identifier: Apache-2.0 */
/* Round-trip time and retransmission timeout, RFC 6298. */
#include "engine.h"

/* RFC 6298 rule 5.7: before the first measurement, when the timer expired for our SYN. */
#define RTO_AFTER_SYN QS_S(3)

static uint32_t saturate(uint64_t ns)
{
    return ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

void qs_tcp_min_rtt(struct qs_block *c, uint32_t rtt)
{
    if (c->loss.min_rtt == 0 || rtt < c->loss.min_rtt)
        c->loss.min_rtt = rtt ? rtt : 1;
}

void qs_tcp_rtt_sample(struct qs_block *c, qs_dur rtt)
{
    uint64_t r = rtt.ns ? rtt.ns : 1;
    qs_tcp_min_rtt(c, saturate(r >> 10));
    if (c->srtt_ns == 0) { /* RFC 6298 rule 2.2 */
        c->srtt_ns = saturate(r);
        c->rttvar_ns = saturate(r / 2);
        return;
    }
    /* RFC 6298 rule 2.3, alpha 1/8, beta 1/4 */
    uint64_t srtt = c->srtt_ns;
    uint64_t off = srtt > r ? srtt - r : r - srtt;
    c->rttvar_ns = saturate(((uint64_t)c->rttvar_ns * 3 + off) / 4);
    c->srtt_ns = saturate((srtt * 7 + r) / 8);
}

qs_dur qs_tcp_rto(const struct qs_engine *e, const struct qs_block *c)
{
    uint64_t rto = e->opts.rto_initial.ns; /* RFC 6298 rule 2.1 */
    if (c->flags & QS_CF_SYN_EXPIRED && rto < RTO_AFTER_SYN.ns)
        rto = RTO_AFTER_SYN.ns;
    if (c->srtt_ns) {
        rto = (uint64_t)c->srtt_ns +
              4 * (uint64_t)c->rttvar_ns; /* clock granularity is below rto_min */
        if (rto < e->opts.rto_min.ns)
            rto = e->opts.rto_min.ns; /* RFC 6298 rule 2.4 */
    }
    rto <<= c->backoff < 20 ? c->backoff : 20; /* RFC 6298 rule 5.5 */
    return (qs_dur){rto < e->opts.rto_max.ns ? rto : e->opts.rto_max.ns};
}
