/* SPDX-License-Identifier: Apache-2.0 */
/* Explicit Congestion Notification: RFC 3168 section 6.1, and what DCTCP changes in it, RFC 8257
 * sections 3.1 and 3.2. */
#include "engine.h"

/* Section 6.1.1: a SYN that asks for ECN has both bits and is not ECN-capable itself. */
void qs_ecn_take_syn(struct qs_block *c, const struct qs_segment *s)
{
    bool asked = (s->flags & (QS_ECE | QS_CWR)) == (QS_ECE | QS_CWR);
    if (asked && (s->packet->ecn == QS_ECN_NOT_ECT || qs_cc_ops(c->cc_algo)->exact_ce))
        c->flags |= QS_CF_ECN;
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
            qs_tcp_ack_reply(e, c);
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

bool qs_ecn_take_ack(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    if (!(c->flags & QS_CF_ECN))
        return false;
    if (c->flags & QS_CF_ECN_REDUCED && qs_seq_lt(c->cwr_end, s->ack))
        c->flags &= ~QS_CF_ECN_REDUCED;
    bool marked = s->flags & QS_ECE;
    if (!marked || c->flags & (QS_CF_ECN_REDUCED | QS_CF_RECOVERY))
        return marked;
    /* Section 6.1.2: once for a window of data, as for a loss. */
    c->flags |= QS_CF_ECN_REDUCED | QS_CF_ECN_CWR;
    c->cwr_end = c->snd_max;
    qs_count(e, QS_COUNT_ECN_REDUCTIONS);
    qs_tcp_cc_marked(c);
    return true;
}
