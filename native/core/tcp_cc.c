/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection tells its congestion control, and which one that is. */
#include "engine.h"

/* From the timestamp that comes back, RFC 7323 section 4.1, to its millisecond: enough to see a
 * queue grow, and every ACK has one. */
static uint32_t echoed_rtt(const struct qs_block *c, const struct qs_segment *s)
{
    if (!(c->flags & QS_CF_TS) || !s->has_ts)
        return QS_CC_NO_RTT;
    uint32_t units = (uint32_t)(s->arrived.ns >> QS_TS_SHIFT) + c->ts_offset - s->ts_ecr;
    return units < UINT32_MAX >> QS_TS_SHIFT ? units << QS_TS_SHIFT : QS_CC_NO_RTT;
}

void qs_tcp_cc_ack(struct qs_block *c, const struct qs_segment *s, uint32_t acked, bool advanced)
{
    struct qs_cc_ack a = {
        .acked = acked,
        .flight = qs_seq_span(c->snd_una, c->snd_max),
        .mss = c->mss,
        .srtt_ns = c->srtt_ns,
        .rtt_ns = advanced ? echoed_rtt(c, s) : QS_CC_NO_RTT, /* else it is that of an older one */
        .una = c->snd_una,
        .max = c->snd_max,
        .marked = c->flags & QS_CF_ECN && s->flags & QS_ECE,
        .full = c->flags & QS_CF_CWND_FULL,
        .now = s->arrived,
    };
    if (qs_seq_le(c->cc_edge, c->snd_una))
        c->flags &= ~QS_CF_CWND_FULL;
    const struct qs_cc_ops *ops = qs_cc_ops(c->cc_algo);
    if (!a.marked || ops->on_mark)
        ops->on_ack(&c->cc, &a);
}

/* Of a window that was used it is all of it: of the ACKs that come in one burst the first ones have
 * let nothing out yet when the last one tells of a loss. */
uint32_t qs_tcp_cc_flight(const struct qs_block *c)
{
    if (c->flags & QS_CF_CWND_FULL && qs_seq_lt(c->snd_una, c->cc_edge))
        return c->cc.cwnd;
    return qs_min_u32(qs_seq_span(c->snd_una, c->snd_max), c->cc.cwnd);
}

void qs_tcp_cc_marked(struct qs_block *c)
{
    const struct qs_cc_ops *ops = qs_cc_ops(c->cc_algo);
    uint32_t flight = qs_tcp_cc_flight(c);
    c->loss_flags &= ~QS_LF_ONE_AGAIN; /* undoing would undo this reduction */
    if (ops->on_mark) {
        ops->on_mark(&c->cc, flight, c->mss);
        return;
    }
    ops->on_loss(&c->cc, flight, c->mss);
    c->cc.cwnd = qs_min_u32(c->cc.cwnd, c->cc.ssthresh);
}

void qs_tcp_cc_full(struct qs_block *c, qs_seq edge)
{
    c->flags |= QS_CF_CWND_FULL;
    c->cc_edge = edge;
}

/* RFC 5681 section 4.1. */
void qs_tcp_cc_wake(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    uint32_t ticks = qs_tick_at(now).v - c->sent.v;
    if (ticks == 0 || !qs_seq_eq(c->snd_una, c->snd_max))
        return;
    if ((uint64_t)ticks << QS_TICK_SHIFT > qs_tcp_rto(e, c).ns)
        qs_cc_ops(c->cc_algo)->on_idle(&c->cc, c->mss);
}

void qs_tcp_cc_choose(struct qs_block *c, uint8_t algo)
{
    if (algo != c->cc_algo)
        memset(c->cc.private_state, 0, sizeof c->cc.private_state);
    c->cc_algo = algo & QS_CC_MASK;
}
