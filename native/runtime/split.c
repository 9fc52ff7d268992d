/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's end of the channels: events and received octets out, commands in.
 *
 * An event that finds no room waits in its connection's slot, merged with later ones, and the
 * octets wait in the engine, where they close the peer's window. A command is always carried out:
 * writes are within the credit of their connection. Only when the engine has no chunk left does a
 * write stay at the head of its ring. */
#include <string.h>

#include "runtime/stack.h"

/* Octets of one event record at most: an application gets long runs in pieces. */
#define RUN_MAX 32768u
/* Commands of one channel that one turn carries out. */
#define COMMANDS_PER_TURN 256u

static struct qs_channel *channel_of(const struct qs_queue *q, const struct qs_worker_slot *slot)
{
    return slot->handler->app->channels[q->idx][slot->handler->prio];
}

/* ---- events ---- */

/* Tells the application how far the peer has acknowledged. */
static void publish_acked(struct qs_queue *q, struct qs_worker_slot *slot)
{
    struct qs_conn_info info;
    if (qs_conn_info(q->engine, slot->conn, &info) != 0)
        return;
    uint64_t *acked = &q->app_slots[qs_slot_of(slot->conn)].acked;
    __atomic_store_n(acked, slot->taken - info.unacked_bytes, __ATOMIC_RELEASE);
}

static struct qs_event_record *begin_record(struct qs_channel *ch, size_t len)
{
    struct qs_event_record *r = qs_ring_reserve(&ch->events, qs_record_bytes(sizeof *r, len), 0);
    if (r)
        memset(r, 0, sizeof *r);
    return r;
}

static void end_record(struct qs_channel *ch, struct qs_event_record *r, size_t len)
{
    r->bytes = (uint32_t)qs_record_bytes(sizeof *r, len);
    r->len = (uint32_t)len;
    qs_ring_commit(&ch->events, r->bytes);
}

/* @return false when there is no room. */
static bool push_open(struct qs_queue *q, struct qs_channel *ch, struct qs_worker_slot *slot)
{
    struct qs_event_record *r = begin_record(ch, 0);
    if (!r)
        return false;
    struct qs_conn_info info;
    if (qs_conn_info(q->engine, slot->conn, &info) != 0)
        memset(&info, 0, sizeof info); /* gone already, as the application will hear */
    r->conn = slot->conn;
    r->user = slot->handler->user;
    r->listener = slot->handler->listener;
    r->remote = info.remote;
    r->remote_port = info.remote_port;
    r->flags = QS_EVENT_OPEN;
    end_record(ch, r, 0);
    slot->told = true;
    return true;
}

static bool push_plain(struct qs_channel *ch, const struct qs_worker_slot *slot, qs_conn conn,
                       uint8_t flags, int8_t err)
{
    struct qs_event_record *r = begin_record(ch, 0);
    if (!r)
        return false;
    r->conn = conn;
    r->listener = slot->handler->listener;
    r->flags = flags;
    r->err = err;
    end_record(ch, r, 0);
    return true;
}

/* Copies what can be read. @return false when some was left for want of room. */
static bool push_octets(struct qs_queue *q, struct qs_channel *ch, struct qs_worker_slot *slot)
{
    struct qs_span spans[16];
    int n;
    while ((n = qs_conn_peek(q->engine, slot->conn, spans, 16)) > 0) {
        size_t len = 0;
        for (int i = 0; i < n; i++)
            len += spans[i].len;
        size_t room = qs_ring_room(&ch->events);
        size_t most = room > sizeof(struct qs_event_record) + 7
                          ? room - sizeof(struct qs_event_record) - 7
                          : 0;
        if (most > RUN_MAX)
            most = RUN_MAX;
        if (len > most)
            len = most;
        struct qs_event_record *r = len > 0 ? begin_record(ch, len) : NULL;
        if (!r)
            return false;
        uint8_t *to = (uint8_t *)(r + 1);
        size_t left = len;
        for (int i = 0; left > 0; i++) {
            size_t part = spans[i].len < left ? spans[i].len : left;
            memcpy(to, spans[i].data, part);
            to += part;
            left -= part;
        }
        r->conn = slot->conn;
        r->listener = slot->handler->listener;
        r->flags = QS_EVENT_READABLE;
        end_record(ch, r, len);
        if (qs_conn_consume(q->engine, slot->conn, len) != 0)
            return true;
    }
    return true;
}

/* @return false when the ring is full. */
static bool push_waiting(struct qs_queue *q, struct qs_channel *ch, struct qs_worker_slot *slot)
{
    if (slot->ended.v) {
        if (!push_plain(ch, slot, slot->ended, QS_EVENT_CLOSED, slot->ended_err))
            return false;
        slot->ended.v = 0;
    }
    if (slot->waiting & QS_EVENT_OPEN) {
        if (!push_open(q, ch, slot))
            return false;
        slot->waiting &= (uint8_t)~QS_EVENT_OPEN;
    }
    if (slot->waiting & (QS_EVENT_READABLE | QS_EVENT_WRITABLE) && q->app_slots)
        publish_acked(q, slot);
    if (slot->waiting & QS_EVENT_READABLE) {
        if (!push_octets(q, ch, slot))
            return false;
        slot->waiting &= (uint8_t)~QS_EVENT_READABLE;
    }
    if (slot->waiting) {
        if (!push_plain(ch, slot, slot->conn, slot->waiting, slot->err))
            return false;
        slot->waiting = 0;
    }
    return true;
}

/* A new connection has taken the block of the slot's old one. */
static void begin_slot(struct qs_queue *q, struct qs_worker_slot *slot, qs_conn conn)
{
    if (slot->waiting & QS_EVENT_CLOSED && slot->told) {
        slot->ended = slot->conn;
        slot->ended_err = slot->err;
    }
    slot->conn = conn;
    slot->waiting = 0;
    slot->err = 0;
    slot->told = false;
    slot->taken = 0;
    __atomic_store_n(&q->app_slots[qs_slot_of(conn)].acked, 0, __ATOMIC_RELEASE);
}

void qs_split_event(struct qs_stack *s, struct qs_queue *q, const struct qs_event *ev)
{
    (void)s;
    uint32_t i = qs_slot_of(ev->conn);
    struct qs_worker_slot *slot = &q->slots[i];
    struct qs_channel *ch = channel_of(q, slot);
    if (ev->flags & QS_EVENT_OPEN)
        begin_slot(q, slot, ev->conn);
    slot->waiting |= (uint8_t)ev->flags;
    slot->err = (int8_t)ev->err;
    if (slot->listed)
        return;
    if (ch->waiting.first == QS_NO_SLOT && push_waiting(q, ch, slot)) {
        qs_app_nudge(slot->handler->app);
        return;
    }
    QS_SLOT_PUSH(&ch->waiting, q->slots, i);
    __atomic_store_n(&ch->worker_starved, 1, __ATOMIC_SEQ_CST);
    qs_app_nudge(slot->handler->app);
}

static bool push_all_waiting(struct qs_queue *q, struct qs_channel *ch)
{
    bool moved = false;
    while (ch->waiting.first != QS_NO_SLOT) {
        size_t before = ch->events.tail;
        bool all = push_waiting(q, ch, &q->slots[ch->waiting.first]);
        moved |= ch->events.tail != before;
        if (!all)
            break;
        QS_SLOT_POP(&ch->waiting, q->slots);
    }
    __atomic_store_n(&ch->worker_starved, ch->waiting.first != QS_NO_SLOT, __ATOMIC_SEQ_CST);
    return moved;
}

/* ---- commands ---- */

/* @return false when the engine could not take all octets now. */
static bool carry_out(struct qs_queue *q, struct qs_channel *ch, const struct qs_command_record *r)
{
    qs_engine *e = q->engine;
    if (r->command == QS_DO_WRITE) {
        const uint8_t *data = (const uint8_t *)(r + 1);
        int64_t n = qs_conn_write(e, r->conn, data + ch->written, r->len - ch->written);
        if (n == QS_ERR_AGAIN)
            return false;
        if (n < 0) { /* the connection is gone: so are its octets */
            ch->written = 0;
            return true;
        }
        q->slots[qs_slot_of(r->conn)].taken += (uint64_t)n;
        ch->written += (uint32_t)n;
        if (ch->written < r->len)
            return false;
        ch->written = 0;
        return true;
    }
    qs_err err = 0;
    switch ((enum qs_command)r->command) {
    case QS_DO_WANT_WRITE:
        err = qs_conn_want_write(e, r->conn);
        break;
    case QS_DO_SHUTDOWN:
        err = qs_conn_shutdown(e, r->conn);
        break;
    case QS_DO_CLOSE:
        err = qs_conn_close(e, r->conn);
        break;
    case QS_DO_ABORT:
        err = qs_conn_abort(e, r->conn);
        break;
    case QS_DO_WRITE:
        break;
    }
    (void)err; /* stale: the connection ended first, which its application hears or has heard */
    return true;
}

static bool run_commands(struct qs_queue *q, struct qs_channel *ch)
{
    size_t bytes, done = 0;
    const uint8_t *at = qs_ring_peek(&ch->commands, &bytes);
    for (uint32_t n = 0; done < bytes && n < COMMANDS_PER_TURN; n++) {
        const struct qs_command_record *r = (const void *)(at + done);
        if (!carry_out(q, ch, r))
            break;
        done += r->bytes;
    }
    if (done)
        qs_ring_release(&ch->commands, done);
    return done > 0;
}

/* The application put calls off because the ring was full. */
static void wake_starved(struct qs_app *a, struct qs_channel *ch)
{
    if (__atomic_load_n(&ch->app_starved, __ATOMIC_ACQUIRE))
        qs_app_nudge(a);
}

bool qs_split_run(struct qs_stack *s, struct qs_queue *q)
{
    bool moved = false;
    for (uint32_t p = QS_N_PRIO; p-- > 0;) {
        for (uint32_t i = 0; i < s->n_apps; i++) {
            struct qs_channel *ch = s->apps[i] ? s->apps[i]->channels[q->idx][p] : NULL;
            if (!ch)
                continue;
            if (run_commands(q, ch)) {
                moved = true;
                wake_starved(s->apps[i], ch);
            }
            if (ch->waiting.first != QS_NO_SLOT && push_all_waiting(q, ch)) {
                moved = true;
                qs_app_nudge(s->apps[i]);
            }
        }
    }
    return moved;
}

bool qs_split_has_work(const struct qs_stack *s, const struct qs_queue *q)
{
    for (uint32_t p = 0; p < QS_N_PRIO; p++)
        for (uint32_t i = 0; i < s->n_apps; i++) {
            const struct qs_channel *ch = s->apps[i] ? s->apps[i]->channels[q->idx][p] : NULL;
            if (ch && !qs_ring_is_empty(&ch->commands))
                return true;
        }
    return false;
}
