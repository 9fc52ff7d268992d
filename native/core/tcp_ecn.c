/* SPDX-License-Identifier: Apache-2.0 */
/* Explicit Congestion Notification: RFC 3168 section 6.1, and what DCTCP changes in it, RFC 8257
 * sections 3.1 and 3.2. */
#include "engine.h"

/* Section 6.1.1: a SYN that asks for ECN has both bits and is not ECN-capable itself. */
bool qs_ecn_asked(const struct qs_segment *s, uint8_t cc_algo)
{
    bool asked = (s->flags & (QS_ECE | QS_CWR)) == (QS_ECE | QS_CWR);
    return asked && (s->packet->ecn == QS_ECN_NOT_ECT || qs_cc_ops(cc_algo)->exact_ce);
}

/* Likewise: the answer to it has ECE only, not both as a peer that returns reserved bits. */
void qs_ecn_take_syn_ack(struct qs_block *c, const struct qs_segment *s)
{
    if ((s->flags & (QS_ECE | QS_CWR)) != QS_ECE)
        c->flags &= ~QS_CF_ECN;
}

uint8_t qs_ecn_syn_flags(const struct qs_block *c)
{
    if (!(c->flags & QS_CF_ECN))
        return 0;
    if (c->state == QS_TCP_SYN_RECEIVED)
        return QS_ECE;
    /* Section 6.1.1.1: perhaps the bits are why the first was not answered. */
    return c->backoff ? 0 : QS_ECE | QS_CWR;
}

/* ---- the receiver ---- */

/* An ACK of what came before now, which does not wait for its turn. */
static void ack_what_was(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    if (e->neighs[c->neigh].state != QS_NEIGH_VALID)
        return;
    struct qs_tcp_out t = {
        .seq = qs_tcp_bare_seq(c),
        .ack = c->rcv_nxt,
        .src_port = c->local_port,
        .dst_port = c->remote_port,
        .wnd = (uint16_t)(qs_tcp_window(e, c) >> c->rcv_wscale),
        .flags = QS_ACK | (c->flags & QS_CF_ECN_ECHO ? QS_ECE : 0),
        .wscale = -1,
        .has_ts = c->flags & QS_CF_TS,
        .ts_val = qs_tcp_ts_now(c, now),
        .ts_ecr = c->ts_recent,
    };
    struct qs_hop to = qs_block_hop(e, c, c->prio);
    if (!qs_reply_tcp(e, &to, qs_block_local(e, c), &c->remote, &t))
        return;
    c->last_ack_sent = c->rcv_nxt;
    c->flags &= ~(QS_CF_ACK_NOW | QS_CF_ACK_DELAYED);
    c->t_ack.v = 0;
}

void qs_ecn_receive(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    if (!(c->flags & QS_CF_ECN) || s->len == 0)
        return;
    bool ce = s->packet->ecn == QS_ECN_CE;
    bool before = c->flags & QS_CF_ECN_ECHO;
    if (qs_cc_ops(c->cc_algo)->exact_ce) { /* RFC 8257 section 3.2: as it is now */
        if (ce == before)
            return;
        /* What is owed is of the time before. */
        if (c->flags & (QS_CF_ACK_DELAYED | QS_CF_ACK_NOW))
            ack_what_was(e, c, s->arrived);
    } else { /* RFC 3168 section 6.1.3: until the sender has reduced */
        ce |= before && !(s->flags & QS_CWR);
    }
    c->flags = (c->flags & ~QS_CF_ECN_ECHO) | (ce ? QS_CF_ECN_ECHO : 0);
    if (ce && !before) {
        c->flags |= QS_CF_ACK_NOW;
        qs_block_ready(e, c);
    }
}

/* ---- the sender ---- */

void qs_ecn_take_ack(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    if (!(c->flags & QS_CF_ECN))
        return;
    if (c->flags & QS_CF_ECN_REDUCED && qs_seq_lt(c->cwr_end, s->ack))
        c->flags &= ~QS_CF_ECN_REDUCED;
    if (!(s->flags & QS_ECE) || c->flags & (QS_CF_ECN_REDUCED | QS_CF_RECOVERY))
        return;
    /* Section 6.1.2: once for a window of data, as for a loss. */
    c->flags |= QS_CF_ECN_REDUCED | QS_CF_ECN_CWR;
    c->cwr_end = c->snd_max;
    qs_count(e, QS_COUNT_ECN_REDUCTIONS);
    qs_tcp_cc_marked(c);
}
