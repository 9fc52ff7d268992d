/* SPDX-License-Identifier: Apache-2.0 */
/* A segment for a connection, in the order of RFC 9293 section 3.10.7.4. */
#include "engine.h"

/* RFC 7323 section 5.5: a timestamp is no evidence after the connection was idle for 24 days. */
#define TS_RECENT_VALID QS_S(24 * 86400)

static void ack_at_once(struct qs_engine *e, struct qs_block *c)
{
    c->flags |= QS_CF_ACK_NOW;
    qs_block_ready(e, c);
}

/* A duplicate ACK that later ones overtook on the way: it counts all the same. It has neither
 * octets nor a new window, and is no older than what is sent again by the timer; the peer's clock
 * is taken to tick each millisecond, the fastest of RFC 7323 section 5.4. */
static bool overtaken(const struct qs_engine *e, const struct qs_block *c,
                      const struct qs_segment *s)
{
    if (s->len || (s->flags & (QS_SYN | QS_FIN | QS_ACK)) != QS_ACK ||
        !qs_seq_eq(s->seq, c->rcv_nxt) || !qs_seq_eq(s->ack, c->snd_una) ||
        (uint32_t)s->wnd << c->snd_wscale != c->snd_wnd)
        return false;
    return QS_MS((uint64_t)(c->ts_recent - s->ts_val)).ns <= qs_tcp_rto(e, c).ns;
}

/* RFC 7323 section 5.3 R1. */
static bool fails_paws(const struct qs_engine *e, const struct qs_block *c,
                       const struct qs_segment *s)
{
    if (!(c->flags & QS_CF_TS) || !s->has_ts || s->flags & QS_RST)
        return false;
    if ((int32_t)(s->ts_val - c->ts_recent) >= 0 || overtaken(e, c, s))
        return false;
    return qs_ts_age(s->arrived) - c->ts_recent_age < qs_ts_age((qs_time){TS_RECENT_VALID.ns});
}

static bool in_window(const struct qs_block *c, const struct qs_segment *s)
{
    uint32_t wnd = qs_seq_span(c->rcv_nxt, c->rcv_adv), span = qs_segment_span(s);
    if (wnd == 0) /* "special allowance" for ACK and RST: the octets are cut off later */
        return qs_seq_eq(s->seq, c->rcv_nxt);
    if (qs_seq_in(s->seq, c->rcv_nxt, wnd))
        return true;
    return span > 0 && qs_seq_in(qs_seq_add(s->seq, span - 1), c->rcv_nxt, wnd);
}

/* First check. @return false when the segment was dropped. */
static bool check_sequence(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    bool paws = fails_paws(e, c, s);
    if (!paws && in_window(c, s))
        return true;
    qs_count(e, paws ? QS_COUNT_DROP_PAWS : QS_COUNT_DROP_OUT_OF_WINDOW);
    if (s->flags & QS_RST)
        return false;
    if (c->state == QS_TCP_SYN_RECEIVED && s->flags & QS_SYN) { /* our SYN-ACK was lost */
        c->flags |= QS_CF_REXMIT_ONE;
        qs_block_ready(e, c);
        return false;
    }
    if (c->state == QS_TCP_TIME_WAIT && s->flags & QS_FIN)
        qs_tcp_linger(e, c, s->arrived);
    /* Octets sent again mean that our ACK was lost: that is always answered. Empty segments could
     * be one half of an ACK loop. */
    if (s->len && qs_seq_lt(s->seq, c->rcv_nxt)) {
        qs_seq end = qs_seq_add(s->seq, s->len);
        qs_tcp_note_twice(c, s->seq, qs_seq_lt(c->rcv_nxt, end) ? c->rcv_nxt : end);
        qs_tcp_ack_quickly(e, c);
    }
    if (s->len || s->flags & QS_FIN)
        ack_at_once(e, c);
    else
        qs_tcp_challenge(e, c, s->arrived);
    return false;
}

/* Second check, RFC 5961 section 3.2: only the exact sequence number resets. */
static bool check_rst(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    if (!(s->flags & QS_RST))
        return true;
    if (!qs_seq_eq(s->seq, c->rcv_nxt)) {
        qs_count(e, QS_COUNT_DROP_RST);
        qs_tcp_challenge(e, c, s->arrived);
        return false;
    }
    if (c->state == QS_TCP_TIME_WAIT) { /* RFC 1337 section 3 (F1) */
        qs_count(e, QS_COUNT_DROP_RST);
        return false;
    }
    qs_count(e, QS_COUNT_RESETS_RECEIVED);
    bool refused = c->state == QS_TCP_SYN_RECEIVED && !(c->flags & QS_CF_PASSIVE);
    bool done = c->state == QS_TCP_LAST_ACK || c->state == QS_TCP_CLOSING;
    qs_block_end(e, c, refused ? QS_ERR_REFUSED : done ? 0 : QS_ERR_RESET);
    return false;
}

/* Fourth check, RFC 5961 section 4.2. */
static bool check_syn(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    if (!(s->flags & QS_SYN))
        return true;
    qs_count(e, QS_COUNT_DROP_SYN);
    qs_tcp_challenge(e, c, s->arrived);
    return false;
}

/* RFC 7323 section 4.3 rule 2. */
static void note_timestamp(struct qs_block *c, const struct qs_segment *s)
{
    if (!(c->flags & QS_CF_TS) || !s->has_ts)
        return;
    if (qs_seq_le(s->seq, c->last_ack_sent) && (int32_t)(s->ts_val - c->ts_recent) >= 0) {
        c->ts_recent = s->ts_val;
        c->ts_recent_age = qs_ts_age(s->arrived);
    }
}

/* A SYN-ACK that answers the SYN of a simultaneous open lies just left of the window: its ACK
 * counts. */
static bool completes_simultaneous_open(const struct qs_block *c, const struct qs_segment *s)
{
    return c->state == QS_TCP_SYN_RECEIVED && !(c->flags & QS_CF_PASSIVE) &&
           (s->flags & (QS_SYN | QS_ACK | QS_RST)) == (QS_SYN | QS_ACK) &&
           qs_seq_eq(qs_seq_add(s->seq, 1), c->rcv_nxt);
}

/* The handshake is over, but nobody takes connections: the peer says it again, and our SYN-ACK asks
 * it to. */
static bool must_wait(const struct qs_engine *e, const struct qs_block *c,
                      const struct qs_segment *s)
{
    return c->flags & QS_CF_HALF_OPEN && s->flags & QS_ACK && qs_seq_eq(s->ack, c->snd_max) &&
           qs_tcp_backlog_full(e, c->listener);
}

void qs_tcp_segment_arrives(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    if (completes_simultaneous_open(c, s)) {
        (void)qs_tcp_take_ack(e, c, s);
        return;
    }
    if (!check_sequence(e, c, s)) /* first */
        return;
    if (!check_rst(e, c, s)) /* second; the third, security, is not implemented */
        return;
    if (!check_syn(e, c, s)) /* fourth */
        return;
    if (must_wait(e, c, s)) {
        qs_count(e, QS_COUNT_DROP_BACKLOG);
        return;
    }
    note_timestamp(c, s);
    if (!qs_tcp_take_ack(e, c, s)) /* fifth */
        return;
    /* Not before: a peer in TIME-WAIT of an older connection answers every probe, and each answer
     * would keep both alive. */
    if (c->flags & QS_CF_KEEPALIVE)
        qs_tcp_keepalive_heard(e, c, s->arrived);
    qs_ecn_receive(e, c, s);
    qs_tcp_take_text(e, c, s); /* sixth, urgent data, is in line; seventh and eighth */
}
