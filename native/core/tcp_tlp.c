/* SPDX-License-Identifier: Apache-2.0 */
/* Tail loss probe: the last segments of a flight have none behind them that would show their loss,
 * so one is sent before the retransmission timer expires. RFC 8985 section 7; its names. */
#include "engine.h"

/* TLP.max_ack_delay, section 7.2. */
#define MAX_ACK_DELAY QS_MS(200)

/* Section 7.2: with SACK, nothing marked, not in recovery, one probe for a flight. */
static bool wanted(const struct qs_block *c)
{
    return c->loss.n > 0 && c->loss.sacked == 0 && c->loss.lost == 0 && c->srtt_ns &&
           !(c->flags & (QS_CF_RECOVERY | QS_CF_PERSIST)) &&
           !(c->loss_flags & (QS_LF_PROBE_OUT | QS_LF_PROBE_DUE));
}

/* TLP_calc_PTO() */
static qs_dur pto(const struct qs_block *c)
{
    uint64_t ns = 2 * (uint64_t)c->srtt_ns;
    if (c->loss.pipe <= c->mss)
        ns += MAX_ACK_DELAY.ns;
    return (qs_dur){ns};
}

void qs_tlp_arm(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    if (c->loss_flags & QS_LF_PTO) {
        c->loss_flags &= ~QS_LF_PTO;
        c->t_loss.v = 0;
    }
    if (c->t_loss.v || !wanted(c))
        return;
    qs_tick due = qs_tick_after(now, pto(c));
    bool late = (int32_t)(due.v - c->t_rexmt.v) >= 0;
    if (!c->t_rexmt.v || (late && c->loss.pipe <= c->mss))
        return; /* of a single segment the timeout is as good */
    c->t_loss = late ? c->t_rexmt : due;
    c->loss_flags |= QS_LF_PTO;
    qs_block_arm(e, c);
}

void qs_tlp_expired(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    if (!wanted(c))
        return;
    c->loss_flags |= QS_LF_PROBE_DUE;
    qs_tcp_start_rexmt(e, c, now);
    qs_block_ready(e, c);
}

void qs_tlp_sent(struct qs_engine *e, struct qs_block *c, bool again, qs_time now)
{
    c->loss_flags &= ~(QS_LF_PROBE_DUE | QS_LF_PROBE_AGAIN);
    c->loss_flags |= QS_LF_PROBE_OUT | (again ? QS_LF_PROBE_AGAIN : 0);
    c->loss.tlp_end = c->snd_nxt;
    qs_count(e, QS_COUNT_LOSS_PROBES);
    qs_tcp_start_rexmt(e, c, now);
}

bool qs_tlp_take_ack(struct qs_block *c, const struct qs_segment *s, const struct qs_delivery *d)
{
    if (!(c->loss_flags & QS_LF_PROBE_OUT) || qs_seq_lt(s->ack, c->loss.tlp_end))
        return false;
    bool again = c->loss_flags & QS_LF_PROBE_AGAIN;
    if (again && d->dsack && qs_seq_eq(d->dsacked.end, c->loss.tlp_end)) {
        c->loss_flags &= ~QS_LF_PROBE_OUT; /* case 1: both arrived */
        return false;
    }
    bool beyond = qs_seq_lt(c->loss.tlp_end, s->ack);
    /* With nothing sent since, an ACK of the probe's end may be that of the original. The next one
     * tells: a duplicate, with DSACK or without, or one of octets sent later. */
    if (again && !beyond && d->octets)
        return false;
    c->loss_flags &= ~QS_LF_PROBE_OUT;
    return again && beyond;
}
