/* SPDX-License-Identifier: Apache-2.0 */
#include "tcp_sent.h"

#include <string.h>

/* Records of one connection: these, and two for each full segment that is out. */
#define RECORDS_MIN 1024u

void qs_sent_pool_init(struct qs_sent_pool *p, struct qs_sent *records, uint32_t n,
                       uint32_t reserve)
{
    *p = (struct qs_sent_pool){.records = records, .n = n, .free = QS_NO_IDX, .reserve = reserve};
}

static struct qs_sent *at(const struct qs_sent_pool *p, uint32_t idx)
{
    return idx == QS_NO_IDX ? NULL : &p->records[idx];
}

struct qs_sent *qs_sent_first(const struct qs_sent_pool *p, const struct qs_block *c)
{
    return at(p, c->loss.head);
}

struct qs_sent *qs_sent_next(const struct qs_sent_pool *p, const struct qs_sent *r)
{
    return at(p, r->next);
}

struct qs_sent *qs_sent_last(const struct qs_sent_pool *p, const struct qs_block *c)
{
    return at(p, c->loss.tail);
}

struct qs_sent *qs_sent_first_lost(const struct qs_sent_pool *p, const struct qs_block *c)
{
    if (c->loss.lost == 0)
        return NULL;
    struct qs_sent *r = qs_sent_first(p, c);
    while (r && (r->state & (QS_SENT_LOST | QS_SENT_RESENT | QS_SENT_SACKED)) != QS_SENT_LOST)
        r = qs_sent_next(p, r);
    return r;
}

/* ---- sums ---- */

/* The sum that the octets of a record in this state count in. */
static uint32_t *sum_of(struct qs_block *c, uint32_t state)
{
    if (state & QS_SENT_SACKED)
        return &c->loss.sacked;
    return (state & (QS_SENT_LOST | QS_SENT_RESENT)) == QS_SENT_LOST ? &c->loss.lost
                                                                     : &c->loss.pipe;
}

void qs_sent_mark(struct qs_block *c, struct qs_sent *r, uint32_t state)
{
    *sum_of(c, r->state) -= qs_sent_span(r);
    r->state = (uint8_t)state;
    *sum_of(c, r->state) += qs_sent_span(r);
}

/* ---- the list ---- */

/* May the connection have one more? Bounds what an ACK costs. */
static bool within_bounds(const struct qs_sent_pool *p, const struct qs_block *c)
{
    if (c->loss.n == 0)
        return true;
    if (p->n - p->used <= p->reserve || c->loss.n == UINT16_MAX)
        return false;
    return c->loss.n < RECORDS_MIN ||
           c->loss.n - RECORDS_MIN < 2 * (qs_seq_span(c->snd_una, c->snd_max) / c->mss);
}

/* A record that a connection within its bounds gets. */
static uint32_t take(struct qs_sent_pool *p, struct qs_block *c)
{
    uint32_t idx = p->free;
    if (idx != QS_NO_IDX)
        p->free = p->records[idx].next;
    else
        idx = p->fresh++;
    p->used++;
    c->loss.n++;
    return idx;
}

/* Can the last record be made longer? */
static bool extends(const struct qs_sent *last)
{
    return last && (last->state & ~QS_SENT_TWICE) == 0;
}

bool qs_sent_room(const struct qs_sent_pool *p, const struct qs_block *c)
{
    return within_bounds(p, c) || extends(qs_sent_last(p, c));
}

void qs_sent_add(struct qs_sent_pool *p, struct qs_block *c, struct qs_range octets, qs_time now)
{
    uint32_t span = qs_seq_span(octets.start, octets.end);
    uint32_t twice = qs_seq_lt(octets.start, c->snd_max) ? QS_SENT_TWICE : 0;
    struct qs_sent *last = qs_sent_last(p, c);
    c->loss.pipe += span;
    c->loss.prr_out += span;
    if (!within_bounds(p, c)) {
        last->end = octets.end;
        last->xmit = qs_sent_clock(now);
        last->state |= (uint8_t)twice;
        return;
    }
    uint32_t idx = take(p, c);
    p->records[idx] =
        (struct qs_sent){octets.start, octets.end, qs_sent_clock(now), QS_NO_IDX, (uint8_t)twice};
    if (last) {
        last->next = idx;
    } else { /* nothing else is out: what arrived before is long ago */
        c->loss.head = idx;
        c->loss.rack_xmit = qs_sent_clock(now);
        c->loss.rack_end = c->loss.fack = octets.start;
    }
    c->loss.tail = idx;
}

void qs_sent_again(struct qs_block *c, struct qs_sent *r, qs_time now)
{
    uint32_t resent = r->state & QS_SENT_LOST ? QS_SENT_RESENT : 0;
    qs_sent_mark(c, r, r->state | resent | QS_SENT_TWICE);
    r->xmit = qs_sent_clock(now);
    c->loss.prr_out += qs_sent_span(r);
}

bool qs_sent_split(struct qs_sent_pool *p, struct qs_block *c, struct qs_sent *r, qs_seq where)
{
    if (!within_bounds(p, c))
        return false;
    uint32_t idx = take(p, c);
    struct qs_sent *behind = &p->records[idx];
    *behind = *r;
    behind->seq = r->end = where;
    r->next = idx;
    if (behind->next == QS_NO_IDX)
        c->loss.tail = idx;
    return true;
}

void qs_sent_pop(struct qs_sent_pool *p, struct qs_block *c)
{
    uint32_t idx = c->loss.head;
    struct qs_sent *r = &p->records[idx];
    *sum_of(c, r->state) -= qs_sent_span(r);
    c->loss.head = r->next;
    if (c->loss.head == QS_NO_IDX)
        c->loss.tail = QS_NO_IDX;
    c->loss.n--;
    r->next = p->free;
    p->free = idx;
    p->used--;
}

void qs_sent_trim(const struct qs_sent_pool *p, struct qs_block *c, qs_seq to)
{
    struct qs_sent *r = qs_sent_first(p, c);
    *sum_of(c, r->state) -= qs_seq_span(r->seq, to);
    r->seq = to;
}

void qs_sent_adopt(struct qs_sent_pool *p, struct qs_block *c, const void *records, uint32_t n)
{
    const uint8_t *from = records;
    c->loss.head = c->loss.tail = QS_NO_IDX;
    c->loss.n = 0;
    for (uint32_t i = 0; i < n; i++, from += sizeof(struct qs_sent)) {
        uint32_t idx = take(p, c);
        memcpy(&p->records[idx], from, sizeof(struct qs_sent));
        p->records[idx].next = QS_NO_IDX;
        if (c->loss.tail == QS_NO_IDX)
            c->loss.head = idx;
        else
            p->records[c->loss.tail].next = idx;
        c->loss.tail = idx;
    }
}

void qs_sent_clear(struct qs_sent_pool *p, struct qs_block *c)
{
    while (c->loss.head != QS_NO_IDX)
        qs_sent_pop(p, c);
}
