/* SPDX-License-Identifier: Apache-2.0 */
#include "audit.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/engine.h"

#define NOBODY UINT32_MAX

struct walk {
    const struct qs_engine *e;
    uint8_t *chunk_seen; /* one for each chunk that was ever used */
    uint32_t chunks;     /* of them seen */
    uint32_t written;    /* of them with octets to be sent */
    uint32_t records;    /* of what was sent: seen */
    uint8_t *timer_seen; /* one for each block that was ever used: in the wheel */
    uint8_t *ready_seen; /* on a ready list, or parked on a neighbour */
    uint8_t *event_seen; /* on an event list */
    uint32_t block;      /* of which is spoken, or NOBODY */
    bool broken;
};

static char report[256];

/* The first that does not hold is kept. */
static void hold(struct walk *w, bool holds, const char *what, int line)
{
    if (holds || w->broken)
        return;
    w->broken = true;
    int n = snprintf(report, sizeof report, "audit.c:%d: ", line);
    if (w->block != NOBODY)
        n += snprintf(report + n, sizeof report - (size_t)n, "block %u in state %d: ", w->block,
                      w->e->blocks[w->block].state);
    snprintf(report + n, sizeof report - (size_t)n, "%s", what);
}
#define HOLD(cond) hold(w, cond, #cond, __LINE__)

static bool in_use(const struct qs_block *c)
{
    return c->gen % 2 == 1;
}

static uint32_t flight(const struct qs_block *c)
{
    return qs_seq_span(c->snd_una, c->snd_max);
}

/* left <= right, both in one window of sequence space. */
static bool in_order(qs_seq left, qs_seq right)
{
    return qs_seq_span(left, right) <= 1u << 30;
}

/* ---- chunks: each one is free or owned exactly once ---- */

/* @return false when the list must not be followed further. */
static bool see_chunk(struct walk *w, uint32_t idx)
{
    bool there = idx < w->e->pool.fresh;
    HOLD(there);
    if (!there)
        return false;
    bool chunk_is_owned_once = !w->chunk_seen[idx];
    HOLD(chunk_is_owned_once);
    w->chunk_seen[idx] = 1;
    w->chunks++;
    w->written += w->e->pool.chunks[idx].written;
    return chunk_is_owned_once;
}

static void check_bytes(struct walk *w, const struct qs_bytes *b)
{
    uint32_t len = 0, last = QS_NO_IDX;
    for (uint32_t i = b->head; i != QS_NO_IDX && see_chunk(w, i); i = w->e->pool.chunks[i].next) {
        const struct qs_chunk *k = &w->e->pool.chunks[i];
        HOLD(k->len > 0 && k->start + k->len <= QS_CHUNK_BYTES);
        len += k->len;
        last = i;
    }
    HOLD(len == b->len);
    HOLD(last == b->tail);
}

static void check_pool(struct walk *w)
{
    const struct qs_chunk_pool *p = &w->e->pool;
    HOLD(w->chunks == p->used);
    HOLD(w->written == p->written);
    uint32_t free = 0;
    for (uint32_t i = p->free; i != QS_NO_IDX && see_chunk(w, i); i = p->chunks[i].next)
        free++;
    HOLD(p->used + free == p->fresh);
}

/* ---- lists of blocks ---- */

/* Follows a list through the links at `offset`. @return how many are on it. */
static uint32_t check_list(struct walk *w, const struct qs_list *l, size_t offset, uint8_t *seen)
{
    uint32_t n = 0, last = QS_NO_IDX;
    for (uint32_t i = l->head; i != QS_NO_IDX;) {
        bool listed_once = i < w->e->fresh_block && !seen[i];
        HOLD(listed_once);
        if (!listed_once)
            break;
        seen[i] = 1;
        const struct qs_link *k =
            (const struct qs_link *)(const void *)((const uint8_t *)&w->e->blocks[i] + offset);
        HOLD(in_use(&w->e->blocks[i]));
        HOLD(k->prev == last);
        last = i;
        i = k->next;
        n++;
    }
    HOLD(l->tail == last);
    return n;
}

static uint32_t listed_class(const struct qs_engine *e, uint32_t block)
{
    const struct qs_block *c = &e->blocks[block];
    return c->flags & QS_CF_FRAMED ? e->messages[block].listed : qs_served_as(c, c->prio);
}

static void check_classes(struct walk *w)
{
    const struct qs_engine *e = w->e;
    for (uint32_t p = 0; p < QS_N_PRIO; p++) {
        bool ready =
            check_list(w, &e->ready[p], offsetof(struct qs_block, ready), w->ready_seen) > 0;
        bool event =
            check_list(w, &e->events[p], offsetof(struct qs_block, events), w->event_seen) > 0;
        HOLD(ready == (e->ready_classes >> p & 1));
        HOLD(event == (e->event_classes >> p & 1));
        for (uint32_t i = e->ready[p].head; !w->broken && i != QS_NO_IDX;
             i = e->blocks[i].ready.next)
            HOLD(qs_ready_class(e, &e->blocks[i]) == p && e->blocks[i].in_ready == QS_READY_CLASS);
        for (uint32_t i = e->events[p].head; !w->broken && i != QS_NO_IDX;
             i = e->blocks[i].events.next)
            HOLD(listed_class(e, i) == p);
    }
}

static void check_free_blocks(struct walk *w)
{
    const struct qs_engine *e = w->e;
    uint32_t used = 0, free = 0;
    for (uint32_t i = 0; i < e->fresh_block; i++)
        used += in_use(&e->blocks[i]);
    for (uint32_t i = e->free_block; i != QS_NO_IDX; i = e->blocks[i].ready.next) {
        bool free_block_is_right = i < e->fresh_block && !in_use(&e->blocks[i]);
        HOLD(free_block_is_right && free < e->fresh_block);
        if (w->broken)
            return;
        HOLD(e->blocks[i].timer.tick == 0);
        free++;
    }
    HOLD(used + free == e->fresh_block);
    HOLD(e->counters[QS_COUNT_CONNS] == used);
}

/* ---- neighbours, listeners, replies ---- */

static void check_neighbours(struct walk *w)
{
    const struct qs_engine *e = w->e;
    uint32_t reports = 0, refs = 0, uses = 0;
    for (uint32_t i = 0; i < QS_NEIGHS_MAX; i++) {
        const struct qs_neigh_entry *n = &e->neighs[i];
        reports += n->to_report != QS_REPORT_NONE;
        refs += n->refs;
        HOLD(n->state != QS_NEIGH_FREE || n->refs == 0);
        HOLD(n->state == QS_NEIGH_INCOMPLETE || n->waiting.head == QS_NO_IDX);
        if (n->waiting.head == QS_NO_IDX && n->waiting.tail == QS_NO_IDX)
            continue;
        check_list(w, &n->waiting, offsetof(struct qs_block, ready), w->ready_seen);
        for (uint32_t k = n->waiting.head; !w->broken && k != QS_NO_IDX;
             k = e->blocks[k].ready.next)
            HOLD(e->blocks[k].in_ready == QS_READY_NEIGH && e->blocks[k].neigh == i);
    }
    for (uint32_t i = 0; i < e->fresh_block; i++)
        uses += in_use(&e->blocks[i]) && e->blocks[i].neigh != QS_NO_NEIGH;
    HOLD(refs == uses);
    HOLD(reports == e->neigh_reports);
    HOLD(e->n_offers <= QS_OFFERS_MAX);
    HOLD(e->n_strays <= QS_STRAYS_MAX);
}

/* Each connection's neighbour counts it. */
static void check_refs(struct walk *w)
{
    const struct qs_engine *e = w->e;
    for (uint32_t i = 0; i < e->fresh_block; i++) {
        const struct qs_block *c = &e->blocks[i];
        if (!in_use(c) || c->neigh == QS_NO_NEIGH)
            continue;
        w->block = i;
        HOLD(c->neigh < QS_NEIGHS_MAX);
        HOLD(w->broken || (e->neighs[c->neigh].state != QS_NEIGH_FREE && e->neighs[c->neigh].refs));
    }
    w->block = NOBODY;
}

static void check_listeners(struct walk *w)
{
    const struct qs_engine *e = w->e;
    HOLD(e->n_listeners <= QS_LISTENERS_MAX);
    for (uint32_t i = 0; i < QS_LISTENERS_MAX; i++) {
        const struct qs_listener *l = &e->listeners[i];
        uint32_t untaken = 0, half_open = 0;
        if (i >= e->n_listeners) {
            HOLD(l->port == 0 && l->untaken == 0 && l->half_open == 0);
            continue;
        }
        for (uint32_t k = 0; k < e->fresh_block; k++) {
            const struct qs_block *c = &e->blocks[k];
            bool of_it = in_use(c) && c->listener == i;
            untaken += of_it && c->flags & QS_CF_UNTAKEN;
            half_open += of_it && c->flags & QS_CF_HALF_OPEN;
        }
        HOLD(l->untaken == untaken && l->half_open == half_open);
        HOLD(l->port == 0 || (untaken <= l->backlog && half_open <= l->half_open_max));
    }
}

static void check_replies(struct walk *w)
{
    const struct qs_engine *e = w->e;
    HOLD(e->reply_tail - e->reply_head <= QS_REPLIES_MAX);
    for (uint32_t i = e->reply_head; !w->broken && i != e->reply_tail; i++)
        HOLD(e->replies[i % QS_REPLIES_MAX].len <= e->reply_bytes);
}

/* ---- timers ---- */

/* Tick at which a slot comes up. */
static uint64_t comes_up(const struct qs_wheel *w, uint32_t slot)
{
    uint32_t shift = slot / QS_WHEEL_SLOTS * QS_WHEEL_BITS;
    uint64_t pos = w->now >> shift;
    uint64_t ahead = (slot % QS_WHEEL_SLOTS - pos) % QS_WHEEL_SLOTS;
    if (ahead == 0 && slot >= QS_WHEEL_SLOTS)
        ahead = QS_WHEEL_SLOTS;
    return ahead ? (pos + ahead) << shift : w->now;
}

static void check_slot(struct walk *w, uint32_t slot)
{
    const struct qs_wheel *wheel = &w->e->wheel;
    uint32_t prev = QS_NO_IDX;
    uint64_t up = comes_up(wheel, slot);
    for (uint32_t i = wheel->head[slot]; i != QS_NO_IDX;) {
        bool in_wheel_once = i < w->e->fresh_block && !w->timer_seen[i];
        HOLD(in_wheel_once);
        if (!in_wheel_once)
            return;
        w->timer_seen[i] = 1;
        const struct qs_timer *t = &w->e->blocks[i].timer;
        HOLD(t->tick && t->slot == slot && t->prev == prev);
        int32_t ahead = (int32_t)(t->tick - (uint32_t)wheel->now);
        bool not_late = up <= wheel->now + (ahead > 1 ? (uint32_t)ahead : 1);
        HOLD(not_late);
        prev = i;
        i = t->next;
    }
}

static void check_wheel(struct walk *w)
{
    const struct qs_wheel *wheel = &w->e->wheel;
    for (uint32_t s = 0; s < QS_WHEEL_LEVELS * QS_WHEEL_SLOTS; s++) {
        bool occupied = wheel->occupied[s / QS_WHEEL_SLOTS] >> s % QS_WHEEL_SLOTS & 1;
        HOLD(occupied == (wheel->head[s] != QS_NO_IDX));
        check_slot(w, s);
    }
    for (uint32_t i = 0; i < w->e->fresh_block; i++)
        HOLD(w->timer_seen[i] == (w->e->blocks[i].timer.tick != 0));
}

static void check_deadline(struct walk *w, const struct qs_block *c, qs_tick deadline)
{
    bool comes_up_in_time =
        !deadline.v || (c->timer.tick && (int32_t)(c->timer.tick - deadline.v) <= 0);
    HOLD(comes_up_in_time);
}

/* ---- table ---- */

static void check_table(struct walk *w)
{
    const struct qs_engine *e = w->e;
    const struct qs_table *t = &e->table;
    uint32_t entries = 0, blocks = 0;
    for (uint32_t i = 0; i <= t->mask; i++) {
        uint64_t entry = t->entries[i];
        if (!entry)
            continue;
        entries++;
        uint32_t slot = (uint32_t)entry - 1, hash = (uint32_t)(entry >> 32);
        bool entry_is_of_a_block = slot < e->fresh_block && in_use(&e->blocks[slot]) &&
                                   e->blocks[slot].flags & QS_CF_IN_TABLE &&
                                   e->blocks[slot].hash == hash;
        HOLD(entry_is_of_a_block);
        for (uint32_t p = hash & t->mask; p != i; p = (p + 1) & t->mask) {
            bool probing_finds_it = t->entries[p] != 0;
            HOLD(probing_finds_it);
        }
    }
    for (uint32_t i = 0; i < e->fresh_block; i++)
        blocks += in_use(&e->blocks[i]) && e->blocks[i].flags & QS_CF_IN_TABLE;
    HOLD(entries == blocks);
}

static void check_found(struct walk *w, const struct qs_block *c)
{
    HOLD(!(c->flags & QS_CF_IN_TABLE) == (c->state == QS_TCP_CLOSED));
    if (c->state == QS_TCP_CLOSED)
        return;
    const struct qs_block *found =
        qs_block_find(w->e, c->hash, &c->remote, c->remote_port, c->local_idx, c->local_port);
    HOLD(found == c);
    if (!w->e->opts.trust_hash)
        HOLD(c->hash ==
             qs_tuple_hash(w->e, &c->remote, c->remote_port, c->local_idx, c->local_port));
}

/* ---- one connection ---- */

/* A connection that has ended waits for the application to read what came in order, then to hear of
 * it, and holds nothing else. */
static void check_closed(struct walk *w, const struct qs_block *c)
{
    HOLD(!(c->ev_flags & QS_EVENT_CLOSED) == (c->rx.len > 0));
    HOLD(c->rx.len == 0 || c->err == 0);
    HOLD(c->tx.head == QS_NO_IDX && c->ooo_head == QS_NO_IDX);
    HOLD(c->timer.tick == 0 && !c->t_rexmt.v && !c->t_ack.v && !c->t_misc.v && !c->t_loss.v);
    HOLD(c->loss.head == QS_NO_IDX && c->loss.n == 0);
    HOLD(c->in_ready == QS_READY_NOT && c->neigh == QS_NO_NEIGH);
    HOLD(qs_buffers_grown(w->e, c) == 0);
}

/* Octets of `tx` in front of the cursor, or -1 when it points at none of them. */
static int64_t cursor_offset(const struct qs_engine *e, const struct qs_block *c)
{
    int64_t before = 0;
    for (uint32_t i = c->tx.head; i != QS_NO_IDX; i = e->pool.chunks[i].next) {
        const struct qs_chunk *k = &e->pool.chunks[i];
        if (i == c->cursor.chunk && c->cursor.at >= k->start &&
            c->cursor.at <= (uint32_t)k->start + k->len)
            return before + c->cursor.at - k->start;
        before += k->len;
    }
    return -1;
}

static bool fin_acked(const struct qs_block *c)
{
    return c->state == QS_TCP_FIN_WAIT_2 || c->state == QS_TCP_TIME_WAIT;
}

static void check_sent(struct walk *w, const struct qs_block *c)
{
    bool fin_out = c->flags & QS_CF_FIN_SENT && !fin_acked(c);
    uint32_t nxt = qs_seq_span(c->snd_una, c->snd_nxt);
    HOLD(in_order(c->snd_una, c->snd_nxt) && in_order(c->snd_nxt, c->snd_max));
    if (!qs_tcp_synchronized(c)) {
        HOLD(flight(c) <= 1);
        return;
    }
    HOLD(fin_out ? flight(c) == c->tx.len + 1 : flight(c) <= c->tx.len);
    HOLD(!fin_acked(c) || (flight(c) == 0 && c->tx.len == 0));
    HOLD(c->cursor.chunk == QS_NO_IDX || cursor_offset(w->e, c) == qs_min_u32(nxt, c->tx.len));
    HOLD(c->cc.cwnd >= c->mss);
    HOLD(c->snd_wnd <= c->snd_wnd_max);
    HOLD(!(c->flags & QS_CF_RECOVERY) || qs_seq_lt(c->snd_una, c->recover));
    HOLD(!(c->flags & QS_CF_RTT_TIMED) ||
         (qs_seq_lt(c->snd_una, c->rtt_seq) && qs_seq_le(c->rtt_seq, c->snd_max)));
    HOLD(qs_unacked(w->e, c) <= qs_sndbuf(w->e, c));
}

/* What is out is in records, in order and without gaps; sums are those of their states. A window
 * probe is in none. */
static void check_records(struct walk *w, const struct qs_block *c)
{
    const struct qs_loss *l = &c->loss;
    uint32_t n = 0, pipe = 0, lost = 0, sacked = 0, last = QS_NO_IDX;
    qs_seq at = c->snd_una;
    for (uint32_t i = l->head; i != QS_NO_IDX; i = w->e->sent.records[i].next) {
        const struct qs_sent *r = &w->e->sent.records[i];
        uint32_t span = qs_sent_span(r);
        bool touches = i < w->e->sent.fresh && qs_seq_eq(r->seq, at) && span > 0;
        HOLD(touches);
        if (!touches)
            return;
        if (r->state & QS_SENT_SACKED)
            sacked += span;
        else if ((r->state & (QS_SENT_LOST | QS_SENT_RESENT)) == QS_SENT_LOST)
            lost += span;
        else
            pipe += span;
        at = r->end;
        last = i;
        n++;
    }
    HOLD(n == l->n && last == l->tail);
    HOLD(pipe == l->pipe && lost == l->lost);
    HOLD(c->flags & QS_CF_SACK ? sacked == l->sacked : l->sacked <= flight(c));
    HOLD(n == 0 || qs_seq_eq(at, c->snd_nxt));
    HOLD(n == 0 || c->flags & QS_CF_SACK);
    HOLD(l->lost == 0 || c->t_rexmt.v);
    w->records += n;
}

/* Whoever waits for the network is woken by something. */
static void check_wakes(struct walk *w, const struct qs_block *c)
{
    bool paced = c->flags & QS_CF_PACED;
    bool woken = c->in_ready != QS_READY_NOT || c->t_rexmt.v || paced;
    HOLD(!paced || c->in_ready != QS_READY_NOT || c->timer.tick);
    bool owes = !qs_tcp_synchronized(c) || flight(c) || qs_unacked(w->e, c) ||
                (c->flags & QS_CF_FIN_QUEUED && !fin_acked(c));
    HOLD(!owes || woken);
    HOLD(c->in_ready != QS_READY_NEIGH || c->t_rexmt.v);
    HOLD(!(c->flags & (QS_CF_ACK_NOW | QS_CF_REXMIT_ONE | QS_CF_PROBE)) ||
         c->in_ready != QS_READY_NOT);
    HOLD(!(c->flags & QS_CF_ACK_DELAYED) == !c->t_ack.v);
    HOLD(!(c->flags & QS_CF_PERSIST) || c->t_rexmt.v);
    HOLD(!flight(c) || c->stalled.v || c->flags & QS_CF_PERSIST);
    HOLD(c->state != QS_TCP_TIME_WAIT || c->t_misc.v);
    HOLD(c->state != QS_TCP_FIN_WAIT_2 || !(c->flags & QS_CF_ORPHAN) || c->t_misc.v);
    check_deadline(w, c, c->t_rexmt);
    check_deadline(w, c, c->t_ack);
    check_deadline(w, c, c->t_misc);
    check_deadline(w, c, c->t_loss);
}

/* Are all octets of the range among those kept ahead of a hole? */
static bool backed(const struct qs_engine *e, const struct qs_block *c, struct qs_range r)
{
    for (uint32_t i = c->ooo_head; i != QS_NO_IDX; i = e->pool.chunks[i].next) {
        const struct qs_chunk *k = &e->pool.chunks[i];
        if (qs_seq_in(r.start, k->seq, k->len))
            r.start = qs_seq_add(k->seq, k->len);
    }
    return qs_seq_le(r.end, r.start);
}

static void check_ahead(struct walk *w, const struct qs_block *c)
{
    uint32_t n = 0, last = QS_NO_IDX;
    qs_seq end = qs_seq_add(c->rcv_nxt, 1); /* there is a hole in front of the first */
    for (uint32_t i = c->ooo_head; i != QS_NO_IDX && see_chunk(w, i);
         i = w->e->pool.chunks[i].next) {
        const struct qs_chunk *k = &w->e->pool.chunks[i];
        HOLD(k->len > 0 && k->start + k->len <= QS_CHUNK_BYTES);
        bool ordered = in_order(end, k->seq);
        HOLD(ordered);
        end = qs_seq_add(k->seq, k->len);
        HOLD(in_order(end, c->rcv_adv));
        last = i;
        n++;
    }
    HOLD(n == c->n_ooo && last == c->ooo_tail);
    HOLD(c->n_sacks <= QS_SACKS_KEPT && (c->n_sacks == 0 || c->flags & QS_CF_SACK));
    for (uint32_t i = 0; !w->broken && i < c->n_sacks; i++) {
        HOLD(qs_seq_lt(c->sacks[i].start, c->sacks[i].end));
        HOLD(qs_seq_lt(c->rcv_nxt, c->sacks[i].start));
        bool block_has_its_octets = backed(w->e, c, c->sacks[i]);
        HOLD(block_has_its_octets);
        for (uint32_t k = 0; k < i; k++)
            HOLD(qs_seq_lt(c->sacks[i].end, c->sacks[k].start) ||
                 qs_seq_lt(c->sacks[k].end, c->sacks[i].start));
    }
}

static void check_received(struct walk *w, const struct qs_block *c)
{
    HOLD(c->state == QS_TCP_SYN_SENT || in_order(c->rcv_nxt, c->rcv_adv));
    HOLD(in_order(c->last_ack_sent, c->rcv_nxt));
    /* Never more is promised than there is room for; the FIN takes none. In TIME-WAIT nothing comes
     * that needs room. */
    HOLD(c->state == QS_TCP_TIME_WAIT ||
         c->rx.len + qs_seq_span(c->rcv_nxt, c->rcv_adv) <= qs_rcvbuf(w->e, c) + 1);
    check_ahead(w, c);
}

static void check_flags(struct walk *w, const struct qs_block *c)
{
    bool fin_queued = c->flags & QS_CF_FIN_QUEUED;
    bool closing = c->state >= QS_TCP_FIN_WAIT_1 && c->state != QS_TCP_CLOSE_WAIT;
    bool opening = !qs_tcp_synchronized(c);
    HOLD(fin_queued ? closing || opening : !closing);
    HOLD(fin_queued || !(c->flags & QS_CF_FIN_SENT));
    HOLD(c->flags & QS_CF_PASSIVE || !(c->flags & QS_CF_UNTAKEN));
    HOLD(!(c->flags & QS_CF_ORPHAN) || (!c->ev_flags && !(c->flags & QS_CF_UNTAKEN)));
    HOLD(c->mss > 0 && c->mss <= qs_tcp_own_mss(w->e, c));
    HOLD(c->neigh != QS_NO_NEIGH);
    HOLD(c->local_idx < w->e->n_locals && c->prio < QS_N_PRIO);
}

/* ---- messages ---- */

/* Octets of a queue without the lengths of its messages; `part` of the first are left. */
static uint32_t staged_octets(const struct qs_engine *e, const struct qs_bytes *q, uint32_t part)
{
    uint32_t octets = part, at = part, len;
    while (at < q->len) {
        struct qs_bytes_pos from = qs_bytes_find(&e->pool, q, at);
        qs_bytes_copy(&e->pool, &from, (uint8_t *)&len, sizeof len);
        at += (uint32_t)sizeof len + len;
        octets += len;
    }
    return at == q->len ? octets : UINT32_MAX;
}

static void check_staged(struct walk *w, const struct qs_messages *m)
{
    uint32_t octets = 0;
    for (uint32_t p = 0; !w->broken && p < QS_N_PRIO; p++) {
        check_bytes(w, &m->staged[p]);
        HOLD((m->staged[p].len > 0) == (m->staged_classes >> p & 1));
        octets += staged_octets(w->e, &m->staged[p], p == m->part_prio ? m->part : 0);
    }
    HOLD(octets == m->staged_octets);
}

static void check_messages(struct walk *w, const struct qs_block *c)
{
    const struct qs_messages *m = &w->e->messages[qs_block_idx(w->e, c)];
    bool fin = c->flags & QS_CF_FIN_ARRIVED && qs_seq_lt(c->rcv_fin, c->rcv_nxt);
    qs_seq end = fin ? c->rcv_fin : c->rcv_nxt, front = {end.v - c->rx.len};
    HOLD(m->n_records <= QS_MESSAGE_RECORDS);
    for (uint32_t i = 0; !w->broken && i < m->n_records; i++) {
        const struct qs_message_record *r = &m->records[i];
        HOLD(r->len > 0 && r->prio > c->prio);
        HOLD(qs_seq_le(front, r->seq));
        front = qs_seq_add(r->seq, r->len);
    }
    if (c->rx.len)
        HOLD(qs_seq_le((qs_seq){end.v - c->rx.len}, m->scan) && qs_seq_le(m->scan, end));
    check_staged(w, m);
}

static void check_block(struct walk *w, const struct qs_block *c)
{
    w->block = qs_block_idx(w->e, c);
    HOLD(c->state < QS_TCP_STATES && c->state != QS_TCP_LISTEN);
    check_found(w, c);
    HOLD(w->event_seen[w->block] == (c->ev_flags != 0));
    HOLD(w->ready_seen[w->block] == (c->in_ready != QS_READY_NOT));
    check_bytes(w, &c->rx);
    check_bytes(w, &c->tx);
    if (c->flags & QS_CF_FRAMED)
        check_messages(w, c);
    if (c->state == QS_TCP_CLOSED) {
        check_closed(w, c);
    } else if (!w->broken) {
        check_flags(w, c);
        check_received(w, c);
        check_sent(w, c);
        check_records(w, c);
        check_wakes(w, c);
    }
    w->block = NOBODY;
}

/* What buffers have grown by is taken from their class. */
static void check_growth(struct walk *w)
{
    const struct qs_engine *e = w->e;
    uint64_t grown[QS_N_PRIO] = {0};
    for (uint32_t i = 0; i < e->fresh_block; i++)
        if (in_use(&e->blocks[i]))
            grown[e->blocks[i].prio] += qs_buffers_grown(e, &e->blocks[i]);
    for (uint32_t p = 0; p < QS_N_PRIO; p++) {
        HOLD(grown[p] == e->grown[p]);
        HOLD(grown[p] <= e->opts.growth_bytes[p]);
    }
}

/* What all other walks trust: how far each array goes. */
static void check_bounds(struct walk *w)
{
    const struct qs_engine *e = w->e;
    HOLD(e->fresh_block <= e->opts.conns_max);
    HOLD(e->pool.fresh <= e->pool.n && e->pool.n == e->opts.chunks_max);
    HOLD(e->n_locals <= QS_ADDRS_MAX);
}

const char *audit(const qs_engine *e)
{
    size_t n = e->fresh_block + 1u;
    struct walk all = {.e = e, .block = NOBODY}, *w = &all;
    check_bounds(w);
    if (w->broken)
        return report;
    w->chunk_seen = calloc(e->pool.fresh + 1u, 1);
    w->timer_seen = calloc(n, 3);
    if (!w->chunk_seen || !w->timer_seen)
        abort();
    w->ready_seen = w->timer_seen + n;
    w->event_seen = w->ready_seen + n;
    check_free_blocks(w);
    check_classes(w);
    check_neighbours(w);
    check_refs(w);
    check_listeners(w);
    check_replies(w);
    check_growth(w);
    check_wheel(w);
    check_table(w);
    for (uint32_t i = 0; i < e->fresh_block && !w->broken; i++)
        if (in_use(&e->blocks[i]))
            check_block(w, &e->blocks[i]);
    if (!w->broken)
        check_pool(w);
    HOLD(w->records == e->sent.used);
    free(w->chunk_seen);
    free(w->timer_seen);
    return w->broken ? report : NULL;
}

/* ---- what must not go back ---- */

struct audit_conn {
    uint32_t gen;
    bool received; /* the peer's numbers are known */
    qs_seq snd_una, snd_max, rcv_nxt, rcv_adv;
};

static void compare(struct walk *w, const struct audit_conn *was, const struct qs_block *c)
{
    if (was->gen != c->gen || c->state == QS_TCP_CLOSED)
        return;
    HOLD(in_order(was->snd_una, c->snd_una));
    HOLD(in_order(was->snd_max, c->snd_max));
    if (!was->received)
        return;
    HOLD(in_order(was->rcv_nxt, c->rcv_nxt));
    HOLD(in_order(was->rcv_adv, c->rcv_adv));
}

const char *audit_since(const qs_engine *e, struct audit_past *past)
{
    const char *broken = audit(e);
    if (broken)
        return broken;
    struct walk all = {.e = e, .block = NOBODY}, *w = &all;
    if (past->conns_max < e->opts.conns_max) {
        free(past->conns);
        past->conns = calloc(e->opts.conns_max, sizeof *past->conns);
        if (!past->conns)
            abort();
        past->conns_max = e->opts.conns_max;
    }
    for (uint32_t i = 0; i < e->fresh_block; i++) {
        const struct qs_block *c = &e->blocks[i];
        struct audit_conn *was = &past->conns[i];
        w->block = i;
        if (in_use(c))
            compare(w, was, c);
        *was = (struct audit_conn){
            c->gen, c->state > QS_TCP_SYN_SENT, c->snd_una, c->snd_max, c->rcv_nxt, c->rcv_adv};
    }
    return w->broken ? report : NULL;
}

void audit_past_free(struct audit_past *past)
{
    free(past->conns);
    *past = (struct audit_past){0};
}
