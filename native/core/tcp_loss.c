/* SPDX-License-Identifier: Apache-2.0 */
/* Loss recovery of a connection with SACK: when it begins and ends, whether it was for nothing, and
 * how much may be sent meanwhile. RFC 6675 section 5 with RACK in place of its counting (RFC 8985),
 * PRR (RFC 9937), Eifel (RFC 3522), DSACK (RFC 3708) and F-RTO (RFC 5682). */
#include "engine.h"

static const struct qs_cc_ops *cc(const struct qs_block *c)
{
    return qs_cc_ops(c->cc_algo);
}

static bool in_fast_recovery(const struct qs_block *c)
{
    return c->flags & QS_CF_RECOVERY && !(c->loss_flags & QS_LF_TIMEOUT);
}

/* ---- begin and end ---- */

static void expect_undo(struct qs_block *c)
{
    c->loss_flags = (c->loss_flags | QS_LF_UNDO) & ~QS_LF_ONE_AGAIN;
    c->undo_ts = 0;
}

/* RFC 9937 section 6: what was out before this ACK, without what had arrived already. What the ACKs
 * before it in the same burst made room for counts as delivered: it would be out by now, had each
 * been answered before the next one came. */
static void begin_proportion(struct qs_block *c, uint32_t delivered)
{
    struct qs_loss *l = &c->loss;
    uint32_t before = qs_seq_span(c->snd_una, c->snd_max) - l->sacked + delivered;
    l->recover_fs = qs_max_u32(before, qs_tcp_cc_flight(c));
    l->prr_delivered = l->recover_fs - before;
    l->prr_out = 0;
}

/* `delivered` octets arrived with the ACK that tells. */
static void enter_fast_recovery(struct qs_engine *e, struct qs_block *c, uint32_t delivered)
{
    c->recover = c->snd_max;
    c->flags |= QS_CF_RECOVERY;
    c->flags &= ~QS_CF_RTT_TIMED;
    c->loss_flags &= ~(QS_LF_TIMEOUT | QS_LF_PTO | QS_LF_PROBE_DUE | QS_LF_PROBE_OUT);
    expect_undo(c);
    begin_proportion(c, delivered);
    cc(c)->on_loss(&c->cc, qs_tcp_cc_flight(c), c->mss);
    qs_count(e, QS_COUNT_FAST_RETRANSMITS);
}

static void leave(struct qs_block *c)
{
    if (in_fast_recovery(c))
        c->cc.cwnd = c->cc.ssthresh; /* RFC 9937 section 6 */
    else
        c->loss_flags &= ~QS_LF_ONE_AGAIN;
    c->flags &= ~QS_CF_RECOVERY;
    c->loss_flags &= ~(QS_LF_TIMEOUT | QS_LF_UNDO);
    qs_rack_recovered(c);
}

void qs_tcp_go_back(struct qs_engine *e, struct qs_block *c)
{
    qs_sent_clear(&e->sent, c);
    c->loss.sacked = 0;
    c->flags &= ~(QS_CF_RECOVERY | QS_CF_REXMIT_ONE | QS_CF_RTT_TIMED);
    c->loss_flags &= QS_LF_REORDERED | QS_LF_DSACK_ROUND;
    c->t_loss.v = 0;
    c->recover = c->snd_max;
    c->snd_nxt = c->snd_una;
    c->cursor = qs_bytes_find(&e->pool, &c->tx, 0);
}

/* ---- for nothing ---- */

void qs_tcp_loss_sent_again(struct qs_block *c, const struct qs_sent *r, qs_time now)
{
    bool first = c->loss_flags & QS_LF_UNDO && !c->undo_ts;
    c->loss_flags &= ~QS_LF_ONE_AGAIN;
    if (!first)
        return;
    uint32_t ts = qs_tcp_ts_now(c, now);
    c->undo_ts = ts ? ts : 1;
    if (!(c->flags & QS_CF_TS)) {
        c->sent_again = r->seq;
        c->loss_flags |= QS_LF_ONE_AGAIN;
    }
}

/* RFC 3708 section 2: all that was sent again came twice, which is told of when the recovery is
 * over. All is one segment here: there is no room to remember more, and after this one holes are
 * given time. With timestamps, when the flag is never set, the first ACK has told already. */
static bool sent_again_in_vain(const struct qs_block *c, const struct qs_delivery *d)
{
    return c->loss_flags & QS_LF_ONE_AGAIN && d->dsack &&
           qs_seq_eq(d->dsacked.start, c->sent_again);
}

/* RFC 3522 section 3.2 step 5; without timestamps RFC 5682 section 3.1 step 3, for timeouts. */
static bool spurious(const struct qs_block *c, const struct qs_segment *s,
                     const struct qs_delivery *d, uint32_t acked)
{
    if (!(c->loss_flags & QS_LF_UNDO) || !(c->flags & QS_CF_RECOVERY))
        return false;
    if (!c->undo_ts) /* nothing was sent again yet: ACKs came in one burst */
        return acked;
    if (c->flags & QS_CF_TS)
        return acked && s->has_ts && (int32_t)(s->ts_ecr - c->undo_ts) < 0;
    return c->loss_flags & QS_LF_TIMEOUT && d->sent_once;
}

/* What was marked lost and not sent again is in the network after all. A fast recovery that was for
 * nothing shows reordering, RFC 8985 section 6.2 step 3, which is looked for in segments that were
 * sent once only: else each that is overtaken would be sent again, and so never be such a one. */
static void undo(struct qs_engine *e, struct qs_block *c)
{
    if (!(c->loss_flags & QS_LF_TIMEOUT))
        c->loss_flags |= QS_LF_REORDERED;
    for (struct qs_sent *r; (r = qs_sent_first_lost(&e->sent, c));)
        qs_sent_mark(c, r, r->state & QS_SENT_TWICE);
    cc(c)->on_undo(&c->cc);
    c->flags &= ~QS_CF_RECOVERY;
    c->loss_flags &= ~(QS_LF_TIMEOUT | QS_LF_UNDO | QS_LF_ONE_AGAIN);
    qs_count(e, QS_COUNT_LOSSES_UNDONE);
}

/* ---- how much ---- */

/* RFC 9937 section 6: cwnd so that sending follows what arrives; without anything new it stays.
 * `safe` is SafeACK: new octets were acknowledged and no more loss was found, so that sending may
 * catch up with ssthresh as slow start does. */
static void reduce_in_proportion(struct qs_block *c, uint32_t delivered, bool safe)
{
    struct qs_loss *l = &c->loss;
    uint32_t ssthresh = c->cc.ssthresh;
    if (delivered == 0 && l->prr_out)
        return;
    l->prr_delivered += delivered;
    uint64_t may = 0;
    if (l->pipe > ssthresh)
        may = ((uint64_t)l->prr_delivered * ssthresh + l->recover_fs - 1) / l->recover_fs;
    else
        may = l->prr_delivered;
    may = may > l->prr_out ? may - l->prr_out : 0;
    if (l->pipe <= ssthresh) {
        may = (may > delivered ? may : delivered) + (safe ? c->mss : 0);
        may = may < ssthresh - l->pipe ? may : ssthresh - l->pipe;
    }
    if (l->prr_out == 0 && may < c->mss)
        may = c->mss; /* the fast retransmit itself */
    c->cc.cwnd = qs_cc_add(l->pipe, may < QS_CC_CWND_MAX ? (uint32_t)may : QS_CC_CWND_MAX);
    if (c->cc.cwnd < c->mss)
        c->cc.cwnd = c->mss;
}

/* ---- events ---- */

/* Looks for losses after `octets` arrived, and for what may be sent then. */
static void look(struct qs_engine *e, struct qs_block *c, uint32_t octets, bool advanced,
                 qs_time now)
{
    bool found = false;
    if (c->loss.sacked || c->flags & QS_CF_RECOVERY)
        found = qs_rack_detect(e, c, now);
    if (found && !(c->flags & QS_CF_RECOVERY) && !qs_tcp_pmtu_probe_lost(e, c))
        enter_fast_recovery(e, c, octets);
    if (in_fast_recovery(c))
        reduce_in_proportion(c, octets, advanced && !found);
    if (c->flags & QS_CF_RECOVERY || octets)
        qs_block_ready(e, c);
}

void qs_tcp_loss_ack(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s,
                     uint32_t acked)
{
    struct qs_delivery d = qs_rack_take(e, c, s);
    qs_rack_take_dsack(c, &d);
    if (spurious(c, s, &d, acked) || sent_again_in_vain(c, &d))
        undo(e, c);
    if (acked) /* the first new ACK decides */
        c->loss_flags &= ~QS_LF_UNDO;
    if (c->flags & QS_CF_RECOVERY && qs_seq_le(c->recover, c->snd_una))
        leave(c);
    if (qs_tlp_take_ack(c, s, &d) && !(c->flags & QS_CF_RECOVERY)) {
        cc(c)->on_loss(&c->cc, qs_tcp_cc_flight(c), c->mss);
        c->cc.cwnd = qs_min_u32(c->cc.cwnd, c->cc.ssthresh);
    }
    look(e, c, d.octets, acked > 0, s->arrived);
    if (in_fast_recovery(c))
        return;
    /* What had arrived long before lets nothing grow. Where segments overtake each other it is
     * their arrival that counts, else most would never count. */
    if (acked || (d.octets && c->loss_flags & QS_LF_REORDERED))
        qs_tcp_cc_ack(c, s, d.octets, acked > 0);
}

void qs_tcp_loss_timeout(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    bool first = !(c->flags & QS_CF_RECOVERY && c->loss_flags & QS_LF_TIMEOUT);
    c->flags = (c->flags & ~QS_CF_RTT_TIMED) | QS_CF_RECOVERY;
    c->loss_flags &= ~(QS_LF_PTO | QS_LF_PROBE_DUE | QS_LF_PROBE_OUT);
    c->loss_flags |= QS_LF_TIMEOUT;
    c->t_loss.v = 0;
    c->recover = c->snd_max;
    if (first)
        expect_undo(c);
    qs_rack_timeout(e, c, now);
}

void qs_tcp_loss_timer(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    c->t_loss.v = 0;
    if (c->loss_flags & QS_LF_PTO) {
        c->loss_flags &= ~QS_LF_PTO;
        qs_tlp_expired(e, c, now);
        return;
    }
    look(e, c, 0, false, now);
}
