/* SPDX-License-Identifier: Apache-2.0 */
/* The ACK field: RFC 9293 section 3.10.7.4 fifth check, RFC 5961 section 5. */
#include "engine.h"

static uint32_t flight(const struct qs_block *c)
{
    return qs_seq_span(c->snd_una, c->snd_max);
}

/* RFC 9293 section 3.10.7.4 fifth, SYN-RECEIVED. */
static bool complete_handshake(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    if (!qs_seq_lt(c->snd_una, s->ack) || !qs_seq_le(s->ack, c->snd_max)) {
        qs_count(e, QS_COUNT_DROP_ACK);
        qs_tcp_reset_reply(e, s);
        return false;
    }
    qs_tcp_established(e, c, s);
    c->snd_wnd = s->flags & QS_SYN ? s->wnd : (uint32_t)s->wnd << c->snd_wscale;
    c->snd_wnd_max = c->snd_wnd;
    c->snd_wl1 = s->seq;
    c->snd_wl2 = s->ack;
    return true;
}

/* RFC 9293 section 3.10.7.4 fifth: a segment that is not older may move the window. */
static bool update_window(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    if (!qs_seq_lt(c->snd_wl1, s->seq) &&
        !(qs_seq_eq(c->snd_wl1, s->seq) && qs_seq_le(c->snd_wl2, s->ack)))
        return false;
    /* Nothing lies right of the peer's FIN. From there SND.WL1 would never be reached, and a window
     * of 0 would be for ever. */
    if (c->flags & QS_CF_FIN_ARRIVED && qs_seq_lt(c->rcv_fin, c->rcv_nxt) &&
        qs_seq_lt(c->rcv_nxt, s->seq))
        return false;
    uint32_t wnd = (uint32_t)s->wnd << c->snd_wscale;
    bool moved = wnd != c->snd_wnd;
    c->snd_wnd = wnd;
    c->snd_wl1 = s->seq;
    c->snd_wl2 = s->ack;
    if (wnd > c->snd_wnd_max)
        c->snd_wnd_max = wnd;
    if (moved && wnd && c->flags & QS_CF_PERSIST) { /* the window is open again */
        c->flags &= ~(QS_CF_PERSIST | QS_CF_PROBE);
        c->backoff = 0;
        qs_tcp_stop_rexmt(e, c);
    }
    if (moved)
        qs_block_ready(e, c);
    return moved;
}

/* Takes acknowledged octets out of the send buffer. @return true when our FIN is among them. */
static bool drop_acked(struct qs_engine *e, struct qs_block *c, uint32_t acked)
{
    uint32_t octets = acked < c->tx.len ? acked : c->tx.len;
    qs_bytes_drop(&e->pool, &c->tx, octets);
    if (qs_seq_lt(c->snd_nxt, c->snd_una))
        c->snd_nxt = c->snd_una;
    if (qs_seq_eq(c->snd_nxt, c->snd_una) || c->tx.len == 0) /* the FIN may still be out */
        c->cursor = qs_bytes_find(&e->pool, &c->tx, 0);
    return acked > octets;
}

static void measure(struct qs_block *c, const struct qs_segment *s)
{
    if (!(c->flags & QS_CF_RTT_TIMED) || qs_seq_lt(s->ack, c->rtt_seq))
        return;
    c->flags &= ~QS_CF_RTT_TIMED;
    uint32_t units = (uint32_t)(s->arrived.ns >> 10) - c->rtt_start;
    qs_tcp_rtt_sample(c, (qs_dur){(uint64_t)units << 10});
}

/* SND.UNA < SEG.ACK <= SND.MAX. @return false when the block is gone. */
static bool take_new_ack(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    uint32_t acked = qs_seq_span(c->snd_una, s->ack);
    c->snd_una = s->ack;
    measure(c, s);
    bool fin_acked = drop_acked(e, c, acked);
    c->backoff = 0;
    c->flags &= ~(QS_CF_PROBE | QS_CF_UNREACH);
    if (c->pmtu_wait)
        qs_tcp_pmtu_acked(e, c);
    if (c->flags & QS_CF_SACK)
        qs_tcp_loss_ack(e, c, s, acked);
    else
        qs_reno_ack(e, c, s, acked);

    if (flight(c) == 0) { /* RFC 6298 rule 5.2 */
        c->stalled.v = 0;
        qs_tcp_stop_rexmt(e, c);
        c->flags &= ~QS_CF_PERSIST;
    } else { /* RFC 6298 rule 5.3 */
        c->stalled = qs_tick_at(s->arrived);
        c->flags &= ~QS_CF_PERSIST;
        qs_tcp_start_rexmt(e, c, s->arrived);
    }
    if (c->flags & QS_CF_SACK)
        qs_tlp_arm(e, c, s->arrived);
    if (c->cc.cwnd > qs_sndbuf(e, c) / 2)
        qs_sndbuf_grow(e, c);
    qs_sndbuf_opened(e, c);
    if (qs_unacked(e, c) > qs_seq_span(c->snd_una, c->snd_nxt) || c->flags & QS_CF_FIN_QUEUED)
        qs_block_ready(e, c);
    return !fin_acked || qs_tcp_fin_acked(e, c, s->arrived);
}

bool qs_tcp_take_ack(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    if (!(s->flags & QS_ACK)) {
        qs_count(e, QS_COUNT_DROP_NO_ACK);
        return false;
    }
    if (c->state == QS_TCP_SYN_RECEIVED)
        return complete_handshake(e, c, s);

    /* RFC 5961 section 5.2 */
    bool unsent = qs_seq_lt(c->snd_max, s->ack);
    if (unsent || qs_seq_lt(s->ack, (qs_seq){c->snd_una.v - c->snd_wnd_max})) {
        qs_count(e, QS_COUNT_DROP_ACK);
        qs_tcp_challenge(e, c, s->arrived);
        return false;
    }
    qs_ecn_take_ack(e, c, s);
    bool window_moved = update_window(e, c, s);
    if (qs_seq_lt(c->snd_una, s->ack))
        return take_new_ack(e, c, s);
    if (qs_seq_eq(c->snd_una, s->ack)) {
        /* A peer that answers probes is alive, however long its window stays shut; one that nobody
         * waits for any more, or only for so long, gets no such patience. */
        if (c->flags & QS_CF_PERSIST && !(c->flags & QS_CF_ORPHAN) && !c->user_timeout)
            c->stalled.v = 0; /* until the next probe */
        if (c->flags & QS_CF_SACK) {
            if (s->n_sacks || c->loss_flags & QS_LF_PROBE_OUT)
                qs_tcp_loss_ack(e, c, s, 0);
        } else if (!window_moved && qs_segment_span(s) == 0 && flight(c) &&
                   !(c->flags & QS_CF_PERSIST))
            qs_reno_dupack(e, c, s->arrived); /* as RFC 5681 section 2 defines it */
    }
    return true;
}
