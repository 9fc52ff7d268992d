/* SPDX-License-Identifier: Apache-2.0 */
/* Closing in all orders: RFC 9293 section 3.6 and figure 5, TIME-WAIT of section 3.4.2. */
#include "engine.h"

void qs_tcp_queue_fin(struct qs_engine *e, struct qs_block *c)
{
    c->flags |= QS_CF_FIN_QUEUED;
    c->t_misc.v = 0; /* no write waits any more, and the FIN has a timer of its own */
    if (c->state == QS_TCP_ESTABLISHED)
        qs_tcp_set_state(c, QS_TCP_FIN_WAIT_1);
    else if (c->state == QS_TCP_CLOSE_WAIT)
        qs_tcp_set_state(c, QS_TCP_LAST_ACK);
    qs_block_ready(e, c);
}

void qs_tcp_linger(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    qs_dur d = c->state == QS_TCP_TIME_WAIT ? e->opts.time_wait : e->opts.fin_wait_2;
    c->t_misc = qs_tick_after(now, d);
    qs_block_arm(e, c);
}

static void enter_time_wait(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    qs_tcp_set_state(c, QS_TCP_TIME_WAIT);
    qs_buffers_release(e, c); /* nothing comes and nothing is sent any more */
    qs_tcp_stop_rexmt(e, c);
    qs_tcp_linger(e, c, now);
}

bool qs_tcp_fin_acked(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    switch (c->state) {
    case QS_TCP_FIN_WAIT_1:
        qs_tcp_set_state(c, QS_TCP_FIN_WAIT_2);
        if (c->flags & QS_CF_ORPHAN) /* the peer may never close; nobody here waits for it */
            qs_tcp_linger(e, c, now);
        else
            qs_tcp_keepalive_start(e, c, now);
        return true;
    case QS_TCP_CLOSING:
        enter_time_wait(e, c, now);
        return true;
    case QS_TCP_LAST_ACK:
        qs_block_end(e, c, 0);
        return false;
    default:
        return true;
    }
}

void qs_tcp_fin_received(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    c->rcv_adv = qs_seq_max(c->rcv_adv, c->rcv_nxt); /* a FIN is taken even at a closed window */
    c->flags |= QS_CF_ACK_NOW;
    qs_block_ready(e, c);
    switch (c->state) {
    case QS_TCP_ESTABLISHED:
        qs_tcp_set_state(c, QS_TCP_CLOSE_WAIT);
        break;
    case QS_TCP_FIN_WAIT_1: /* had it acknowledged our FIN, this would be FIN-WAIT-2 */
        qs_tcp_set_state(c, QS_TCP_CLOSING);
        break;
    case QS_TCP_FIN_WAIT_2:
        enter_time_wait(e, c, now);
        break;
    default:
        return;
    }
    if (c->flags & QS_CF_FRAMED)
        qs_messages_ended(e, c);
    else
        qs_block_event(e, c, QS_EVENT_EOF);
}

bool qs_tcp_may_reuse(const struct qs_block *c, const struct qs_segment *s)
{
    if (c->state != QS_TCP_TIME_WAIT || !(c->flags & QS_CF_ORPHAN) ||
        (s->flags & (QS_SYN | QS_ACK | QS_RST)) != QS_SYN)
        return false;
    if (c->flags & QS_CF_TS && s->has_ts && s->ts_val != c->ts_recent)
        return (int32_t)(s->ts_val - c->ts_recent) > 0;
    return qs_seq_lt(c->rcv_nxt, s->seq);
}
