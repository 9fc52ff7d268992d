/* SPDX-License-Identifier: Apache-2.0 */
/* Selective acknowledgement, the receiver's part: which octets ahead of a hole are here (RFC 2018
 * section 4), and which came twice (RFC 2883). Only what the peer needs to know is kept: the four
 * blocks that changed last. */
#include "engine.h"

static bool touches(const struct qs_range *a, qs_seq start, qs_seq end)
{
    return qs_seq_le(a->start, end) && qs_seq_le(start, a->end);
}

void qs_tcp_note_ahead(struct qs_block *c, qs_seq start, qs_seq end)
{
    if (!(c->flags & QS_CF_SACK))
        return;
    /* The new block, grown by all that it touches, goes in front. */
    struct qs_range grown = {start, end};
    struct qs_range old[QS_SACKS_MAX];
    uint32_t n = c->n_sacks, kept = 0;
    memcpy(old, c->sacks, sizeof old);
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < n; i++) {
            if (qs_seq_eq(old[i].start, old[i].end) || !touches(&old[i], grown.start, grown.end))
                continue;
            if (qs_seq_lt(old[i].start, grown.start))
                grown.start = old[i].start;
            grown.end = qs_seq_max(grown.end, old[i].end);
            old[i].end = old[i].start; /* merged */
            more = true;
        }
    }
    c->sacks[kept++] = grown;
    for (uint32_t i = 0; i < n && kept < QS_SACKS_MAX; i++)
        if (!qs_seq_eq(old[i].start, old[i].end))
            c->sacks[kept++] = old[i];
    c->n_sacks = (uint8_t)kept;
}

void qs_tcp_note_in_order(struct qs_block *c)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->n_sacks; i++)
        if (qs_seq_lt(c->rcv_nxt, c->sacks[i].start))
            c->sacks[kept++] = c->sacks[i];
    c->n_sacks = (uint8_t)kept;
}

void qs_tcp_note_twice(struct qs_block *c, qs_seq start, qs_seq end)
{
    if (!(c->flags & QS_CF_SACK) || c->flags & QS_CF_DSACK)
        return;
    c->flags |= QS_CF_DSACK;
    c->dsack = (struct qs_range){start, end};
}

uint32_t qs_tcp_sacks(const struct qs_block *c, struct qs_range *out, uint32_t max)
{
    uint32_t n = 0;
    if (c->flags & QS_CF_DSACK) /* RFC 2883 section 4: the first block */
        out[n++] = c->dsack;
    for (uint32_t i = 0; i < c->n_sacks && n < max; i++)
        out[n++] = c->sacks[i];
    return n;
}
