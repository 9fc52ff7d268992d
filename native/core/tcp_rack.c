/* SPDX-License-Identifier: Apache-2.0 */
/* RACK: which segments are lost, by the time at which they were sent. RFC 8985 section 6; its
 * names. What SACK blocks tell: RFC 2018 and, of octets that arrived twice, RFC 2883. */
#include "engine.h"

#define DUP_THRESH 3
#define REO_WND_PERSIST 16
/* A block splits no smaller pieces off: else a peer that marks single octets makes us send as many
 * segments. */
#define PIECE_MIN 256u

/* RACK_sent_after() of RFC 8985 section 6.2 step 2. */
static bool sent_after(uint32_t xmit1, qs_seq end1, uint32_t xmit2, qs_seq end2)
{
    int32_t later = (int32_t)(xmit1 - xmit2);
    return later > 0 || (later == 0 && qs_seq_lt(end2, end1));
}

/* Does the timestamp that comes back stem from before `xmit`? Of both only 22 bits overlap. */
static bool echo_is_older(const struct qs_block *c, const struct qs_segment *s, uint32_t xmit)
{
    uint32_t echo = (s->ts_ecr - c->ts_offset) << (QS_TS_SHIFT - 10);
    uint32_t unit = (1u << (QS_TS_SHIFT - 10)) - 1;
    return c->flags & QS_CF_TS && s->has_ts && (int32_t)(echo - (xmit & ~unit)) < 0;
}

/* RFC 8985 section 6.2 steps 1 to 3 for one segment that is known to have arrived since now. */
static void take_arrival(struct qs_block *c, const struct qs_sent *r, const struct qs_segment *s,
                         struct qs_delivery *d)
{
    struct qs_loss *l = &c->loss;
    bool twice = r->state & QS_SENT_TWICE;
    d->octets += qs_sent_span(r);
    if (!twice && qs_seq_le(r->end, c->recover))
        d->sent_once = true;
    if (qs_seq_lt(l->fack, r->end))
        l->fack = r->end;
    else if (!twice && qs_seq_lt(r->end, l->fack))
        c->loss_flags |= QS_LF_REORDERED;

    uint32_t rtt = qs_sent_clock(s->arrived) - r->xmit;
    if (twice && (rtt < l->min_rtt || echo_is_older(c, s, r->xmit)))
        return; /* rather of an earlier transmission */
    if (!twice)
        qs_tcp_min_rtt(c, rtt);
    l->rack_rtt = rtt;
    if (sent_after(r->xmit, r->end, l->rack_xmit, l->rack_end)) {
        l->rack_xmit = r->xmit;
        l->rack_end = r->end;
    }
}

/* Octets left of SND.UNA. */
static void take_cumulative(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s,
                            struct qs_delivery *d)
{
    struct qs_sent *r;
    while ((r = qs_sent_first(&e->sent, c)) && qs_seq_le(r->end, c->snd_una)) {
        if (!(r->state & QS_SENT_SACKED))
            take_arrival(c, r, s, d);
        qs_sent_pop(&e->sent, c);
    }
    if (r && qs_seq_lt(r->seq, c->snd_una)) {
        d->octets += r->state & QS_SENT_SACKED ? 0 : qs_seq_span(r->seq, c->snd_una);
        qs_sent_trim(&e->sent, c, c->snd_una);
    }
}

/* The part of `r` inside of the block becomes a record of its own, as far as no piece gets smaller
 * than PIECE_MIN. @return it, or NULL. */
static struct qs_sent *cut_out(struct qs_engine *e, struct qs_block *c, struct qs_sent *r,
                               const struct qs_range *b)
{
    qs_seq start = r->seq, end = r->end;
    if (qs_seq_lt(r->seq, b->start))
        start = qs_seq_max(b->start, qs_seq_add(r->seq, PIECE_MIN));
    if (qs_seq_lt(b->end, r->end))
        end = qs_seq_min(b->end, (qs_seq){r->end.v - PIECE_MIN});
    bool whole = qs_seq_eq(start, r->seq) && qs_seq_eq(end, r->end);
    if (!whole && !qs_seq_le(qs_seq_add(start, PIECE_MIN), end))
        return NULL;
    if (!qs_seq_eq(start, r->seq)) {
        if (!qs_sent_split(&e->sent, c, r, start))
            return NULL;
        r = qs_sent_next(&e->sent, r);
    }
    return qs_seq_eq(end, r->end) || qs_sent_split(&e->sent, c, r, end) ? r : NULL;
}

/* Blocks from left to right, so that one ACK does not look like reordering. */
static void take_blocks(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s,
                        const struct qs_range *blocks, uint32_t n, struct qs_delivery *d)
{
    struct qs_sent *r = qs_sent_first(&e->sent, c);
    for (; r && n; r = qs_sent_next(&e->sent, r)) {
        while (n && qs_seq_le(blocks->end, r->seq))
            blocks++, n--;
        if (!n || r->state & QS_SENT_SACKED || qs_seq_le(r->end, blocks->start))
            continue;
        struct qs_sent *inside = cut_out(e, c, r, blocks);
        if (!inside)
            continue;
        r = inside;
        take_arrival(c, r, s, d);
        qs_sent_mark(c, r, QS_SENT_SACKED | (r->state & QS_SENT_TWICE));
    }
}

/* Those from `first` on that can be (RFC 2018 section 8), in order. @return how many. */
static uint32_t sort_blocks(const struct qs_block *c, const struct qs_segment *s, uint32_t first,
                            struct qs_range *out)
{
    uint32_t n = 0;
    for (uint32_t i = first; i < s->n_sacks; i++) {
        const struct qs_range *b = &s->sacks[i];
        if (!qs_seq_lt(b->start, b->end) || qs_seq_lt(b->start, c->snd_una) ||
            qs_seq_lt(c->snd_max, b->end))
            continue;
        uint32_t at = n++;
        for (; at && qs_seq_lt(b->start, out[at - 1].start); at--)
            out[at] = out[at - 1];
        out[at] = *b;
    }
    return n;
}

/* RFC 2883 section 4: the first block tells of octets left of SEG.ACK, or inside of the second
 * block, that came twice. */
static bool is_dsack(const struct qs_segment *s)
{
    const struct qs_range *b = s->sacks;
    if (s->n_sacks == 0)
        return false;
    if (qs_seq_le(b[0].end, s->ack))
        return true;
    return s->n_sacks > 1 && qs_seq_le(b[1].start, b[0].start) && qs_seq_le(b[0].end, b[1].end);
}

struct qs_delivery qs_rack_take(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    struct qs_delivery d = {0};
    take_cumulative(e, c, s, &d);
    if (is_dsack(s)) {
        d.dsack = true;
        d.dsacked = s->sacks[0];
    }
    struct qs_range blocks[QS_SACKS_MAX];
    uint32_t n = sort_blocks(c, s, d.dsack ? 1 : 0, blocks);
    if (n)
        take_blocks(e, c, s, blocks, n, &d);
    return d;
}

/* ---- detection ---- */

/* Section 6.2 step 4: a round in which octets came twice widens the window. */
void qs_rack_take_dsack(struct qs_block *c, const struct qs_delivery *d)
{
    if (c->loss_flags & QS_LF_DSACK_ROUND && qs_seq_le(c->loss.dsack_round, c->snd_una))
        c->loss_flags &= ~QS_LF_DSACK_ROUND;
    if (!d->dsack || c->loss_flags & QS_LF_DSACK_ROUND)
        return;
    c->loss_flags |= QS_LF_DSACK_ROUND;
    c->loss.dsack_round = c->snd_nxt;
    if (c->loss.reo_wnd_mult < UINT8_MAX)
        c->loss.reo_wnd_mult++;
    c->loss.reo_wnd_persist = REO_WND_PERSIST;
}

/* Likewise: 16 recoveries without such a round narrow it again. */
void qs_rack_recovered(struct qs_block *c)
{
    if (c->loss.reo_wnd_persist && --c->loss.reo_wnd_persist == 0)
        c->loss.reo_wnd_mult = 0;
}

/* RACK.reo_wnd; reo_wnd_mult counts from 0 here. */
static uint32_t reo_wnd(const struct qs_block *c)
{
    bool sure = c->flags & QS_CF_RECOVERY || c->loss.sacked >= DUP_THRESH * (uint32_t)c->mss;
    if (!(c->loss_flags & QS_LF_REORDERED) && sure)
        return 0;
    uint64_t wnd = (uint64_t)c->loss.min_rtt * (c->loss.reo_wnd_mult + 1u) / 4;
    return wnd < c->srtt_ns >> 10 ? (uint32_t)wnd : c->srtt_ns >> 10;
}

/* How long to wait for `r` still; <= 0: it is lost. */
static int32_t remaining(const struct qs_block *c, const struct qs_sent *r, qs_time now)
{
    return (int32_t)(r->xmit + c->loss.rack_rtt + reo_wnd(c) - qs_sent_clock(now));
}

bool qs_rack_detect(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    const struct qs_loss *l = &c->loss;
    bool found = false;
    int32_t timeout = 0;
    for (struct qs_sent *r = qs_sent_first(&e->sent, c); r; r = qs_sent_next(&e->sent, r)) {
        if (r->state & QS_SENT_SACKED ||
            (r->state & (QS_SENT_LOST | QS_SENT_RESENT)) == QS_SENT_LOST ||
            !sent_after(l->rack_xmit, l->rack_end, r->xmit, r->end))
            continue;
        int32_t wait = remaining(c, r, now);
        if (wait > timeout) {
            timeout = wait;
        } else if (wait <= 0) {
            qs_sent_mark(c, r, QS_SENT_LOST | (r->state & QS_SENT_TWICE));
            found = true;
        }
    }
    c->loss_flags &= ~QS_LF_PTO;
    c->t_loss.v = 0;
    if (timeout > 0) {
        c->t_loss = qs_tick_after(now, (qs_dur){(uint64_t)timeout << 10});
        qs_block_arm(e, c);
    }
    return found;
}

/* Section 6.3; and RFC 2018 section 8: when what arrived first is still not acknowledged, the peer
 * has dropped it. */
void qs_rack_timeout(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    struct qs_sent *first = qs_sent_first(&e->sent, c);
    bool reneged = first && first->state & QS_SENT_SACKED;
    if (reneged)
        qs_count(e, QS_COUNT_SACKS_RENEGED);
    for (struct qs_sent *r = first; r; r = qs_sent_next(&e->sent, r)) {
        uint32_t state = r->state & (reneged ? ~QS_SENT_SACKED : ~0u);
        bool lost = reneged || r == first || remaining(c, r, now) <= 0;
        if (!(state & QS_SENT_SACKED) && lost)
            state = QS_SENT_LOST | (state & QS_SENT_TWICE);
        qs_sent_mark(c, r, state);
    }
}
