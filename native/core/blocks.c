/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of connections: where they come from, which lists they are on, how they end. */
#include "engine.h"

#define SLOT_BITS 24
#define SLOT_MASK ((1u << SLOT_BITS) - 1)

void qs_list_init(struct qs_list *l)
{
    l->head = QS_NO_IDX;
    l->tail = QS_NO_IDX;
}

static struct qs_link *link_at(struct qs_engine *e, uint32_t idx, size_t offset)
{
    return (struct qs_link *)(void *)((uint8_t *)&e->blocks[idx] + offset);
}

static void list_append(struct qs_engine *e, struct qs_list *l, uint32_t idx, size_t offset)
{
    *link_at(e, idx, offset) = (struct qs_link){QS_NO_IDX, l->tail};
    if (l->tail == QS_NO_IDX)
        l->head = idx;
    else
        link_at(e, l->tail, offset)->next = idx;
    l->tail = idx;
}

static void list_remove(struct qs_engine *e, struct qs_list *l, uint32_t idx, size_t offset)
{
    struct qs_link k = *link_at(e, idx, offset);
    if (k.prev == QS_NO_IDX)
        l->head = k.next;
    else
        link_at(e, k.prev, offset)->next = k.next;
    if (k.next == QS_NO_IDX)
        l->tail = k.prev;
    else
        link_at(e, k.next, offset)->prev = k.prev;
}

#define READY offsetof(struct qs_block, ready)
#define EVENTS offsetof(struct qs_block, events)

struct qs_block *qs_block_new(struct qs_engine *e, uint8_t prio)
{
    if (!qs_class_may_connect(e, prio))
        return NULL;
    uint32_t idx = e->free_block;
    if (idx != QS_NO_IDX)
        e->free_block = e->blocks[idx].ready.next;
    else if (e->fresh_block < e->opts.conns_max)
        idx = e->fresh_block++;
    else
        return NULL;

    struct qs_block *c = &e->blocks[idx];
    uint32_t gen = c->gen + 1;
    memset(c, 0, sizeof *c);
    c->gen = gen;
    c->prio = prio & (QS_N_PRIO - 1u);
    c->neigh = QS_NO_NEIGH;
    c->ooo_head = c->ooo_tail = QS_NO_IDX;
    c->loss.head = c->loss.tail = QS_NO_IDX;
    qs_bytes_init(&c->rx);
    qs_bytes_init(&c->tx);
    c->cursor.chunk = QS_NO_IDX;
    qs_buffers_start(e, c);
    qs_count_add(e, QS_COUNT_CONNS, 1);
    return c;
}

static void leave_table(struct qs_engine *e, struct qs_block *c)
{
    if (!(c->flags & QS_CF_IN_TABLE))
        return;
    qs_table_remove(&e->table, c->hash, qs_block_idx(e, c));
    c->flags &= ~QS_CF_IN_TABLE;
}

static void taken(struct qs_engine *e, struct qs_block *c)
{
    if (c->flags & QS_CF_UNTAKEN)
        e->listeners[c->listener].untaken--;
    c->flags &= ~QS_CF_UNTAKEN;
}

/* Class of the list of events that the block is on. */
static uint32_t event_class(const struct qs_engine *e, const struct qs_block *c)
{
    return c->flags & QS_CF_FRAMED ? e->messages[qs_block_idx(e, c)].listed
                                   : qs_served_as(c, c->prio);
}

static void unlink_events(struct qs_engine *e, struct qs_block *c)
{
    if (!c->ev_flags)
        return;
    uint32_t prio = event_class(e, c);
    struct qs_list *l = &e->events[prio];
    list_remove(e, l, qs_block_idx(e, c), EVENTS);
    if (l->head == QS_NO_IDX)
        e->event_classes &= ~(1u << prio);
    c->ev_flags = 0;
}

/* Timer, lists, neighbour and table entry, and buffers, but for what can still be read. */
static void release(struct qs_engine *e, struct qs_block *c)
{
    leave_table(e, c);
    qs_wheel_stop(&e->wheel, qs_block_idx(e, c));
    c->t_rexmt.v = c->t_ack.v = c->t_misc.v = c->t_loss.v = 0;
    qs_ready_unlink(e, c);
    qs_bytes_clear(&e->pool, &c->tx);
    qs_tcp_drop_ooo(e, c);
    if (c->flags & QS_CF_FRAMED)
        qs_messages_release(e, c);
    qs_sent_clear(&e->sent, c);
    qs_buffers_release(e, c);
    if (c->neigh != QS_NO_NEIGH)
        e->neighs[c->neigh].refs--;
    c->neigh = QS_NO_NEIGH;
}

void qs_block_forget(struct qs_engine *e, struct qs_block *c)
{
    unlink_events(e, c);
    taken(e, c);
}

void qs_block_free(struct qs_engine *e, struct qs_block *c)
{
    release(e, c);
    qs_bytes_clear(&e->pool, &c->rx);
    qs_block_forget(e, c);
    qs_half_open_end(e, c);
    c->gen++;
    c->ready.next = e->free_block;
    e->free_block = qs_block_idx(e, c);
    qs_count_add(e, QS_COUNT_CONNS, (uint64_t)-1);
}

struct qs_block *qs_block_of(const struct qs_engine *e, qs_conn handle)
{
    uint32_t idx = (uint32_t)handle.v & SLOT_MASK;
    uint32_t gen = (uint32_t)(handle.v >> 32);
    if (idx >= e->fresh_block || (handle.v >> SLOT_BITS & 0xff) != e->opts.id)
        return NULL;
    struct qs_block *c = &e->blocks[idx];
    return c->gen == gen && gen % 2 == 1 && !(c->flags & QS_CF_ORPHAN) ? c : NULL;
}

qs_conn qs_block_handle(const struct qs_engine *e, const struct qs_block *c)
{
    return (qs_conn){(uint64_t)c->gen << 32 | (uint64_t)e->opts.id << SLOT_BITS |
                     qs_block_idx(e, c)};
}

uint32_t qs_tuple_hash(const struct qs_engine *e, const qs_addr *remote, uint16_t remote_port,
                       uint8_t local_idx, uint16_t local_port)
{
    uint64_t w[3];
    memcpy(w, remote, 16);
    w[2] = (uint64_t)local_idx << 32 | (uint64_t)remote_port << 16 | local_port;
    if (qs_addr_is_v4(remote)) {
        w[0] = w[1];
        w[1] = w[2];
        return (uint32_t)qs_siphash13(&e->hash_key, w, 2);
    }
    return (uint32_t)qs_siphash13(&e->hash_key, w, 3);
}

struct qs_block *qs_block_find(const struct qs_engine *e, uint32_t hash, const qs_addr *remote,
                               uint16_t remote_port, uint8_t local_idx, uint16_t local_port)
{
    uint32_t pos = hash, idx;
    while ((idx = qs_table_next(&e->table, hash, &pos)) != QS_NO_IDX) {
        struct qs_block *c = &e->blocks[idx];
        if (c->remote_port == remote_port && c->local_port == local_port &&
            c->local_idx == local_idx && qs_addr_eq(&c->remote, remote))
            return c;
    }
    return NULL;
}

void qs_block_enter(struct qs_engine *e, struct qs_block *c)
{
    qs_table_insert(&e->table, c->hash, qs_block_idx(e, c));
    c->flags |= QS_CF_IN_TABLE;
}

void qs_block_ready(struct qs_engine *e, struct qs_block *c)
{
    if (c->in_ready != QS_READY_NOT)
        return;
    uint32_t prio = qs_served_as(c, c->prio);
    if (c->flags & QS_CF_FRAMED) {
        prio = qs_messages_send_class(e, c);
        e->messages[qs_block_idx(e, c)].ready = (uint8_t)prio;
    }
    list_append(e, &e->ready[prio], qs_block_idx(e, c), READY);
    e->ready_classes |= 1u << prio;
    c->in_ready = QS_READY_CLASS;
}

void qs_ready_unlink(struct qs_engine *e, struct qs_block *c)
{
    uint32_t idx = qs_block_idx(e, c);
    if (c->in_ready == QS_READY_CLASS) {
        uint32_t prio = qs_ready_class(e, c);
        list_remove(e, &e->ready[prio], idx, READY);
        if (e->ready[prio].head == QS_NO_IDX)
            e->ready_classes &= ~(1u << prio);
    } else if (c->in_ready == QS_READY_NEIGH) {
        list_remove(e, &e->neighs[c->neigh].waiting, idx, READY);
    }
    c->in_ready = QS_READY_NOT;
}

struct qs_block *qs_block_next_ready(struct qs_engine *e)
{
    if (!e->ready_classes)
        return NULL;
    uint32_t prio = qs_share_next(&e->tx_share, e->ready_classes);
    struct qs_block *c = &e->blocks[e->ready[prio].head];
    qs_ready_unlink(e, c);
    return c;
}

void qs_neigh_wait(struct qs_engine *e, struct qs_block *c)
{
    list_append(e, &e->neighs[c->neigh].waiting, qs_block_idx(e, c), READY);
    c->in_ready = QS_READY_NEIGH;
}

void qs_neigh_wake(struct qs_engine *e, struct qs_neigh_entry *n)
{
    while (n->waiting.head != QS_NO_IDX) {
        struct qs_block *c = &e->blocks[n->waiting.head];
        qs_ready_unlink(e, c);
        qs_block_ready(e, c);
    }
}

static void enlist(struct qs_engine *e, struct qs_block *c, uint8_t flags, uint32_t prio)
{
    list_append(e, &e->events[prio], qs_block_idx(e, c), EVENTS);
    e->event_classes |= 1u << prio;
    c->ev_flags = flags;
}

void qs_block_event(struct qs_engine *e, struct qs_block *c, uint8_t flags)
{
    if (c->flags & QS_CF_FRAMED)
        qs_block_event_class(e, c, flags, c->prio);
    else if (c->ev_flags)
        c->ev_flags |= flags;
    else if (!(c->flags & QS_CF_ORPHAN)) {
        qs_source_judge(e, c);
        enlist(e, c, flags, qs_served_as(c, c->prio));
    }
}

void qs_block_event_class(struct qs_engine *e, struct qs_block *c, uint8_t flags, uint32_t prio)
{
    uint8_t *listed = &e->messages[qs_block_idx(e, c)].listed;
    if (c->flags & QS_CF_ORPHAN)
        return;
    if (!c->ev_flags)
        qs_source_judge(e, c);
    prio = qs_served_as(c, prio);
    if (c->ev_flags && *listed >= prio) {
        c->ev_flags |= flags;
        return;
    }
    flags |= c->ev_flags;
    unlink_events(e, c);
    *listed = (uint8_t)prio;
    enlist(e, c, flags, prio);
}

void qs_block_end(struct qs_engine *e, struct qs_block *c, qs_err err)
{
    qs_tcp_set_state(c, QS_TCP_CLOSED);
    /* A connection that the application never heard of ends as silently. */
    if (c->flags & (QS_CF_HALF_OPEN | QS_CF_ORPHAN)) {
        qs_block_free(e, c);
        return;
    }
    release(e, c);
    c->err = (int8_t)err;
    if (err) {
        qs_bytes_clear(&e->pool, &c->rx);
        if (c->flags & QS_CF_FRAMED)
            qs_messages_forget(e, c, true);
    }
    qs_block_ended(e, c);
}

void qs_block_ended(struct qs_engine *e, struct qs_block *c)
{
    if (c->state == QS_TCP_CLOSED && c->rx.len == 0)
        qs_block_event(e, c, QS_EVENT_CLOSED);
}

static void next_event(struct qs_engine *e, uint32_t prio, struct qs_event *out)
{
    struct qs_block *c = &e->blocks[e->events[prio].head];
    *out = (struct qs_event){
        .conn = qs_block_handle(e, c),
        .user = c->user,
        .flags = c->ev_flags,
        .listener = c->flags & QS_CF_PASSIVE ? c->listener : -1,
        .err = c->err,
        .prio = prio & (QS_N_PRIO - 1u),
        .traced = e->traces[prio].at == QS_TRACE_EVENT && qs_trace_taken(e, c, prio),
    };
    qs_class_count(e, prio, QS_CLASS_EVENTS);
    qs_source_charge(e, &c->remote, prio, 0);
    taken(e, c);
    unlink_events(e, c);
    if (out->flags & QS_EVENT_CLOSED)
        qs_block_free(e, c);
    else if (c->flags & QS_CF_FRAMED && out->flags & QS_EVENT_READABLE)
        qs_messages_event_taken(e, c, prio);
}

size_t qs_engine_events(qs_engine *e, struct qs_event *events, size_t n)
{
    size_t done = 0;
    while (done < n && e->event_classes)
        next_event(e, qs_class_first(e->event_classes), &events[done++]);
    return done;
}

uint32_t qs_engine_event_classes(const qs_engine *e)
{
    return e->event_classes;
}

size_t qs_engine_events_of(qs_engine *e, uint32_t prio, struct qs_event *events, size_t n)
{
    size_t done = 0;
    while (done < n && e->event_classes >> prio & 1)
        next_event(e, prio, &events[done++]);
    return done;
}

void qs_block_arm(struct qs_engine *e, struct qs_block *c)
{
    const qs_tick deadlines[] = {c->t_rexmt, c->t_ack, c->t_misc, c->t_loss};
    qs_tick first = {0};
    for (size_t i = 0; i < sizeof deadlines / sizeof deadlines[0]; i++) {
        qs_tick t = deadlines[i];
        if (t.v && (!first.v || (int32_t)(t.v - first.v) < 0))
            first = t;
    }
    if (first.v)
        qs_wheel_start(&e->wheel, qs_block_idx(e, c), first);
}
