/* SPDX-License-Identifier: Apache-2.0 */
/* Loss recovery of a connection without SACK: fast retransmit and fast recovery by RFC 5681
 * section 3.2 and RFC 6582. A duplicate ACK stands for one segment that arrived right of the hole,
 * qs_loss.sacked; where reordering was seen the hole is given time as RFC 8985 section 6.2 gives
 * it, and what was for nothing is undone, RFC 3522. */
#include "engine.h"

static const struct qs_cc_ops *cc(const struct qs_block *c)
{
    return qs_cc_ops(c->cc_algo);
}

static uint32_t out(const struct qs_block *c)
{
    return qs_seq_span(c->snd_una, c->snd_max);
}

/* RFC 6582 section 3.2 step 1: up to `recover` duplicates may stem from what was sent again. */
static bool tell_of_loss(const struct qs_block *c)
{
    return qs_seq_lt(c->recover, c->snd_una);
}

/* RFC 6582 section 3.2 steps 2 and 3: ssthresh, and what has left the network. */
static void inflate(struct qs_block *c)
{
    c->cc.cwnd = qs_cc_add(c->cc.ssthresh, c->loss.sacked);
}

uint32_t qs_reno_credit(const struct qs_block *c)
{
    if (c->flags & QS_CF_RECOVERY) /* cwnd has it */
        return 0;
    if (c->loss_flags & QS_LF_REORDERED && tell_of_loss(c))
        return c->loss.sacked;
    return qs_min_u32(c->dupacks, QS_DUPACKS - 1) * c->mss; /* RFC 3042 section 2 */
}

/* ---- begin ---- */

static void enter(struct qs_engine *e, struct qs_block *c)
{
    c->t_loss.v = 0;
    if (qs_tcp_pmtu_probe_lost(e, c))
        return;
    c->recover = c->snd_max;
    c->flags |= QS_CF_RECOVERY | QS_CF_REXMIT_ONE;
    c->flags &= ~QS_CF_RTT_TIMED;
    c->loss_flags = (c->loss_flags & ~QS_LF_TIMEOUT) | QS_LF_UNDO;
    c->undo_ts = 0;
    cc(c)->on_loss(&c->cc, qs_tcp_cc_flight(c), c->mss);
    inflate(c);
    qs_count(e, QS_COUNT_FAST_RETRANSMITS);
    qs_block_ready(e, c);
}

/* How long the hole is waited for. RFC 8985 section 6.2 step 4, where recoveries that were for
 * nothing take the place of DSACK. */
static qs_dur patience(const struct qs_block *c)
{
    uint64_t wnd = (uint64_t)c->loss.min_rtt * (c->loss.reo_wnd_mult + 1u) / 4 << 10;
    return (qs_dur){wnd < c->srtt_ns ? wnd : c->srtt_ns};
}

/* Nothing but the hole is out, so that there will be no more duplicates: RFC 5827 section 3. */
static bool all_but_the_hole(const struct qs_block *c)
{
    return c->loss.sacked + c->mss >= out(c) && qs_seq_eq(c->snd_nxt, c->snd_max);
}

void qs_reno_dupack(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    if (c->dupacks < UINT8_MAX)
        c->dupacks++;
    c->loss.sacked = qs_min_u32(c->loss.sacked + c->mss, out(c));
    qs_block_ready(e, c);
    if (c->flags & QS_CF_RECOVERY) {
        inflate(c);
        return;
    }
    if (!tell_of_loss(c))
        return;
    if (c->dupacks == QS_DUPACKS && !(c->loss_flags & QS_LF_REORDERED)) {
        enter(e, c);
    } else if (c->dupacks == 1) {
        c->t_loss = qs_tick_after(now, patience(c));
        qs_block_arm(e, c);
    } else if (!c->t_loss.v && c->dupacks >= QS_DUPACKS) { /* the time was over before them */
        enter(e, c);
    }
}

void qs_reno_timer(struct qs_engine *e, struct qs_block *c)
{
    c->t_loss.v = 0;
    bool hole = c->dupacks >= QS_DUPACKS || (c->dupacks && all_but_the_hole(c));
    if (hole && !(c->flags & QS_CF_RECOVERY) && tell_of_loss(c))
        enter(e, c);
}

void qs_reno_timeout(struct qs_engine *e, struct qs_block *c)
{
    uint32_t undo_ts = c->undo_ts;
    /* An ACK would not tell, or it would tell of the fast retransmission. */
    bool unclear = !(c->flags & QS_CF_TS) || c->flags & (QS_CF_RECOVERY | QS_CF_SACK) ||
                   (c->backoff > 1 && !(c->loss_flags & QS_LF_TIMEOUT));
    qs_tcp_go_back(e, c);
    if (unclear)
        return;
    c->loss_flags |= QS_LF_UNDO | QS_LF_TIMEOUT;
    c->undo_ts = c->backoff == 1 ? 0 : undo_ts;
}

/* ---- for nothing ---- */

void qs_reno_sent_again(struct qs_block *c, qs_time now)
{
    if (!(c->loss_flags & QS_LF_UNDO) || c->undo_ts)
        return;
    uint32_t ts = c->flags & QS_CF_TS ? qs_tcp_ts_now(c, now) : qs_sent_clock(now);
    c->undo_ts = ts ? ts : 1;
}

/* RFC 3522 section 3.2 step 5. Without timestamps: what was sent again cannot have been answered
 * within half of the least round trip. */
static bool spurious(const struct qs_block *c, const struct qs_segment *s)
{
    if (!(c->loss_flags & QS_LF_UNDO))
        return false;
    if (!c->undo_ts) /* nothing was sent again yet: ACKs came in one burst */
        return true;
    if (c->flags & QS_CF_TS)
        return s->has_ts && (int32_t)(s->ts_ecr - c->undo_ts) < 0;
    return qs_sent_clock(s->arrived) - c->undo_ts < c->loss.min_rtt / 2;
}

/* The next duplicates may tell of a loss again. After a timeout nothing more is sent again. */
static void undo(struct qs_engine *e, struct qs_block *c)
{
    if (c->loss_flags & QS_LF_TIMEOUT) {
        c->snd_nxt = c->snd_max;
        c->cursor = (struct qs_bytes_pos){QS_NO_IDX, 0};
    } else {
        if (c->loss_flags & QS_LF_REORDERED && c->loss.reo_wnd_mult < UINT8_MAX)
            c->loss.reo_wnd_mult++;
        c->loss_flags |= QS_LF_REORDERED;
    }
    c->flags &= ~(QS_CF_RECOVERY | QS_CF_REXMIT_ONE);
    c->loss_flags &= ~(QS_LF_TIMEOUT | QS_LF_UNDO);
    c->recover.v = c->snd_una.v - 1;
    c->cc.cwnd = qs_min_u32(c->cc.cwnd, c->cc.ssthresh); /* without what duplicates added */
    cc(c)->on_undo(&c->cc);
    qs_count(e, QS_COUNT_LOSSES_UNDONE);
}

/* ---- end ---- */

/* RFC 6582 section 3.2 step 3. A full ACK ends the recovery, with the second of the two windows
 * that the RFC allows: who lost duplicates on the way has few octets out, but no less of a path.
 * After a partial one the next hole begins here. */
static void ack_in_recovery(struct qs_engine *e, struct qs_block *c)
{
    if (qs_seq_le(c->recover, c->snd_una)) {
        c->cc.cwnd = c->cc.ssthresh;
        c->flags &= ~(QS_CF_RECOVERY | QS_CF_REXMIT_ONE);
        return;
    }
    inflate(c);
    c->flags |= QS_CF_REXMIT_ONE;
    qs_block_ready(e, c);
}

/* The first of the octets filled the hole; the others are those that duplicates told of. */
static void take_credit(struct qs_block *c, uint32_t acked)
{
    uint32_t told = acked > c->mss ? acked - c->mss : 0;
    uint32_t left = c->loss.sacked > told ? c->loss.sacked - told : 0;
    c->loss.sacked = qs_min_u32(left, out(c));
}

void qs_reno_ack(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s,
                 uint32_t acked)
{
    c->dupacks = 0;
    c->t_loss.v = 0;
    take_credit(c, acked);
    if (spurious(c, s))
        undo(e, c);
    c->loss_flags &= ~(QS_LF_UNDO | QS_LF_TIMEOUT); /* the first new ACK decides */
    if (c->flags & QS_CF_RECOVERY) {
        ack_in_recovery(e, c);
        return;
    }
    /* `recover` keeps up, lest it seem to lie ahead after 2^31 octets. */
    c->recover = qs_seq_max(c->recover, (qs_seq){c->snd_una.v - 1});
    qs_tcp_cc_ack(c, s, acked, true);
}
