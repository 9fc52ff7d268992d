/* SPDX-License-Identifier: Apache-2.0 */
/* What happens when time passes: retransmission (RFC 6298 section 5), persist (RFC 9293
 * section 3.8.6.1), delayed ACK, TIME-WAIT, and giving up (RFC 9293 section 3.8.3). */
#include "engine.h"

#define BACKOFF_MAX 30
#define WRITE_RETRY QS_MS(10)

void qs_tcp_start_rexmt(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    c->t_rexmt = qs_tick_after(now, qs_tcp_rto(e, c));
    qs_block_arm(e, c);
}

void qs_tcp_stop_rexmt(struct qs_engine *e, struct qs_block *c)
{
    c->t_rexmt.v = 0;
    if (c->in_ready == QS_READY_NEIGH) { /* the timer was to ask for the neighbour again */
        qs_ready_unlink(e, c);
        qs_block_ready(e, c);
    }
}

static bool stalled_for(const struct qs_block *c, qs_dur limit, qs_time now)
{
    if (!c->stalled.v)
        return false;
    uint32_t ticks = (uint32_t)(now.ns >> QS_TICK_SHIFT) - c->stalled.v;
    return (int32_t)ticks > 0 && ((uint64_t)ticks << QS_TICK_SHIFT) >= limit.ns;
}

/* Why nobody answers, as far as it is known: RFC 1122 section 4.2.3.9 for what ICMP said. */
static qs_err silence(const struct qs_engine *e, const struct qs_block *c)
{
    bool unresolved = e->neighs[c->neigh].state != QS_NEIGH_VALID;
    return unresolved || c->flags & QS_CF_UNREACH ? QS_ERR_UNREACH : QS_ERR_TIMEDOUT;
}

void qs_tcp_give_up(struct qs_engine *e, struct qs_block *c)
{
    qs_count(e, QS_COUNT_TIMEOUTS);
    qs_err err = silence(e, c);
    qs_tcp_reset_conn(e, c);
    qs_block_end(e, c, err);
}

static void handshake_timeout(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    uint32_t retries_max =
        c->flags & QS_CF_PASSIVE ? e->opts.synack_retries_max : e->opts.syn_retries_max;
    if (c->backoff > retries_max) {
        qs_count(e, QS_COUNT_TIMEOUTS);
        qs_block_end(e, c, silence(e, c));
        return;
    }
    c->snd_nxt = c->snd_una;
    qs_block_ready(e, c);
    qs_tcp_start_rexmt(e, c, now);
}

/* RFC 6298 rules 5.4 to 5.7, RFC 5681 section 3.1 and RFC 6582 section 4. */
static void data_timeout(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    qs_count(e, QS_COUNT_RTO_EXPIRIES);
    if (qs_tcp_pmtu_timeout(e, c))
        return;
    uint32_t flight = qs_seq_span(c->snd_una, c->snd_max);
    if (c->backoff == 1) /* ssthresh is set once for the same octets */
        qs_cc_ops(c->cc_algo)->on_timeout(&c->cc, flight, c->mss);
    c->cc.cwnd = c->mss;
    c->dupacks = 0;
    if (c->loss.n)
        qs_tcp_loss_timeout(e, c, now);
    else
        qs_reno_timeout(e, c);
    qs_block_ready(e, c);
    qs_tcp_start_rexmt(e, c, now);
}

/* The peer took its window back while octets are out: it is probed all the same, RFC 9293
 * section 3.8.6. */
static void shut_again(struct qs_engine *e, struct qs_block *c)
{
    qs_tcp_go_back(e, c);
    c->flags |= QS_CF_PERSIST;
}

/* The connection's own holds for octets and FIN; one whose ACK waits for a neighbour has the
 * engine's.
 */
static bool has_own_timeout(const struct qs_engine *e, const struct qs_block *c)
{
    bool fin = (c->flags & (QS_CF_FIN_QUEUED | QS_CF_FIN_SENT)) == QS_CF_FIN_QUEUED;
    return c->user_timeout && (qs_unacked(e, c) || fin || !qs_seq_eq(c->snd_una, c->snd_max));
}

static qs_dur user_timeout(const struct qs_engine *e, const struct qs_block *c)
{
    return has_own_timeout(e, c) ? qs_tcp_wait(c->user_timeout) : e->opts.user_timeout;
}

void qs_tcp_cap_rexmt(struct qs_engine *e, struct qs_block *c)
{
    if (!has_own_timeout(e, c) || !c->stalled.v || !c->t_rexmt.v)
        return;
    qs_tick last = qs_tick_plus(c->stalled, qs_tcp_wait(c->user_timeout));
    if ((int32_t)(last.v - c->t_rexmt.v) >= 0)
        return;
    c->t_rexmt = last;
    qs_block_arm(e, c);
}

static void rexmt_expired(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    bool parked = c->in_ready == QS_READY_NEIGH;
    qs_tcp_stop_rexmt(e, c);
    if (c->backoff < BACKOFF_MAX)
        c->backoff++;
    bool out = !qs_seq_eq(c->snd_una, c->snd_max);
    if (out && c->snd_wnd == 0 && qs_tcp_synchronized(c) && !(c->flags & QS_CF_PERSIST))
        shut_again(e, c);
    if (!qs_tcp_synchronized(c)) {
        handshake_timeout(e, c, now);
        return;
    }
    bool waits = out || parked || c->flags & QS_CF_PERSIST;
    if (waits && stalled_for(c, user_timeout(e, c), now)) {
        qs_tcp_give_up(e, c);
        return;
    }
    if (c->flags & QS_CF_PERSIST) {
        c->flags |= QS_CF_PROBE;
        qs_block_ready(e, c);
        qs_tcp_start_rexmt(e, c, now);
    } else if (out) {
        data_timeout(e, c, now);
    } else { /* it ran for a neighbour; what was found to send since may need the timer itself */
        qs_block_ready(e, c);
    }
    qs_tcp_cap_rexmt(e, c);
}

void qs_tcp_retry_write(struct qs_engine *e, struct qs_block *c)
{
    c->t_misc = qs_tick_after(e->now, WRITE_RETRY);
    qs_block_arm(e, c);
}

/* t_misc is over: of TIME-WAIT, of an orphan in FIN-WAIT-2, of a write that found no chunk, or of
 * keep-alive; the last two may have it at once. @return false when the block is gone. */
static bool misc_expired(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    c->t_misc.v = 0;
    bool orphan = c->flags & QS_CF_ORPHAN;
    if (c->state == QS_TCP_TIME_WAIT || (c->state == QS_TCP_FIN_WAIT_2 && orphan)) {
        qs_block_end(e, c, 0);
        return false;
    }
    if (c->flags & QS_CF_WANT_WRITE && qs_tcp_writable(e, c)) {
        c->flags &= ~QS_CF_WANT_WRITE;
        qs_block_event(e, c, QS_EVENT_WRITABLE);
    }
    return qs_tcp_keepalive_due(e, c, now);
}

void qs_tcp_timer(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    if (c->t_misc.v && qs_tick_due(c->t_misc, now) && !misc_expired(e, c, now))
        return;
    if (c->t_ack.v && qs_tick_due(c->t_ack, now)) {
        c->t_ack.v = 0;
        c->flags = (c->flags & ~QS_CF_ACK_DELAYED) | QS_CF_ACK_NOW;
        qs_block_ready(e, c);
    }
    /* RFC 8985 section 7.2: a probe that is due with the timeout goes before it, and moves it. */
    if (c->t_loss.v && qs_tick_due(c->t_loss, now) && c->loss_flags & QS_LF_PTO)
        qs_tcp_loss_timer(e, c, now);
    uint32_t gen = c->gen;
    if (c->t_rexmt.v && qs_tick_due(c->t_rexmt, now))
        rexmt_expired(e, c, now);
    if (c->gen == gen && c->t_loss.v && qs_tick_due(c->t_loss, now)) {
        if (c->flags & QS_CF_SACK)
            qs_tcp_loss_timer(e, c, now);
        else
            qs_reno_timer(e, c);
    }
    if (c->gen != gen)
        return;
    if (c->flags & QS_CF_PACED)
        qs_block_ready(e, c);
    qs_block_arm(e, c);
}
