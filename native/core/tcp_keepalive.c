/* SPDX-License-Identifier: Apache-2.0 */
/* Keep-alive: RFC 9293 section 3.8.4, RFC 1122 section 4.2.3.6. A connection on which nothing is
 * out and nothing was heard for a while sends a segment that its peer must answer: with an ACK, or
 * with RST if it knows nothing of the connection any more. Octets that are out, or wait at a shut
 * window, have timers of their own that find out the same. */
#include "engine.h"

/* States in which the peer may be silent for hours with good reason, and nothing of ours is out.
 * They share t_misc with nothing but a write that waits for a chunk. */
static bool watched(const struct qs_block *c)
{
    return c->flags & QS_CF_KEEPALIVE &&
           (c->state == QS_TCP_ESTABLISHED || c->state == QS_TCP_CLOSE_WAIT ||
            c->state == QS_TCP_FIN_WAIT_2);
}

static qs_tick deadline(const struct qs_block *c)
{
    return qs_tick_plus(c->keep_from, qs_tcp_wait(c->keep_sent ? c->keep_interval : c->keep_idle));
}

static void arm(struct qs_engine *e, struct qs_block *c)
{
    qs_tick t = deadline(c);
    if (c->t_misc.v && (int32_t)(c->t_misc.v - t.v) <= 0)
        return; /* comes up before, and then this is looked at too */
    c->t_misc = t;
    qs_block_arm(e, c);
}

static void wait_from(struct qs_block *c, qs_time now)
{
    c->keep_from = qs_tick_at(now);
    c->keep_sent = 0;
    c->flags &= ~QS_CF_KEEP_PROBE;
}

void qs_tcp_keepalive_start(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    if (!watched(c))
        return;
    wait_from(c, now);
    arm(e, c);
}

void qs_tcp_keepalive_heard(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    bool probed = c->keep_sent;
    wait_from(c, now); /* t_misc finds that out when it comes up: no work for each segment */
    if (probed && watched(c))
        arm(e, c); /* idle may be shorter than interval */
}

bool qs_tcp_keepalive_due(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    if (!watched(c))
        return true;
    if (qs_unacked(e, c)) { /* out or waiting; a FIN of ours is acknowledged in these states */
        wait_from(c, now);
    } else if (qs_tick_due(deadline(c), now)) {
        if (c->keep_sent >= c->keep_count) {
            qs_tcp_give_up(e, c);
            return false;
        }
        qs_count(e, QS_COUNT_KEEPALIVE_PROBES);
        c->keep_sent++;
        c->keep_from = qs_tick_at(now);
        c->flags |= QS_CF_KEEP_PROBE;
        qs_block_ready(e, c);
    }
    arm(e, c);
    return true;
}
