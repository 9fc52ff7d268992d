/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's end of the channels: events and received octets out, commands in.
 *
 * An event that finds no room waits in its link, merged with later ones, and the octets wait in the
 * engine, where they close the peer's window. A connection whose source had its rate goes through
 * the channel of the least urgent class, and back once nothing of it is left there: the application
 * reads its events in order. A command is always carried out: writes are within the credit of their
 * connection. Only when the engine has no chunk left does a write stay at the head of its ring.
 *
 * Who was given something is woken once, at the end (qs_split_wake). */
#include <string.h>

#include "io/clock.h"
#include "runtime/stack.h"

/* Octets of one event record at most: an application gets long runs in pieces. */
#define RUN_MAX 32768u
/* Shorter pieces of a longer run are not worth a record: wait for more room. */
#define RUN_MIN 2048u
/* What one channel may carry out in a turn before other queues have theirs. */
#define COMMANDS_PER_TURN 256u
#define COMMAND_BYTES_PER_TURN (256u << 10)

static struct qs_worker_link *link_of(const struct qs_channel *ch, uint32_t link)
{
    return &ch->links->worker[link];
}

/* Channel that the events of a connection go through now. */
static struct qs_channel *channel_of(const struct qs_stack *s, const struct qs_queue *q,
                                     const struct qs_worker_link *l)
{
    return s->listeners[l->listener].app->channels[q->idx][l->at];
}

static void touch(struct qs_queue *q, const struct qs_app *a)
{
    q->touched_apps |= 1u << a->idx;
}

/* ---- events ---- */

/* Tells the application how much it may have written by now: the peer has acknowledged more, or the
 * send buffer has grown. */
void qs_split_allow(struct qs_queue *q, struct qs_channel *ch, uint32_t link)
{
    const struct qs_worker_link *l = link_of(ch, link);
    struct qs_app_link *told = &ch->links->app[link];
    struct qs_conn_info info;
    if (qs_conn_info(q->engine, l->conn, &info) != 0)
        return;
    __atomic_store_n(&told->sndbuf, info.sndbuf_bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&told->allowed, l->taken - info.unacked_bytes + info.sndbuf_bytes,
                     __ATOMIC_RELEASE);
}

/* Room for a record with `len` octets, all but those filled in; or NULL. */
static struct qs_event_record *begin_record(struct qs_channel *ch, uint32_t link, uint8_t flags,
                                            size_t len)
{
    struct qs_worker_link *l = link_of(ch, link);
    struct qs_event_record *r = qs_ring_reserve(&ch->events, qs_record_bytes(sizeof *r, len), 0);
    if (!r)
        return NULL;
    *r = (struct qs_event_record){.bytes = (uint32_t)qs_record_bytes(sizeof *r, len),
                                  .len = (uint32_t)len,
                                  .link = link,
                                  .listener = l->listener,
                                  .flags = flags,
                                  .n_urgent = l->n_urgent,
                                  .base = l->prio};
    l->n_records++;
    return r;
}

static struct qs_open_record open_record(const struct qs_stack *s, const struct qs_queue *q,
                                         const struct qs_worker_link *l)
{
    struct qs_conn_info info;
    if (qs_conn_info(q->engine, l->conn, &info) != 0)
        memset(&info, 0, sizeof info); /* gone already, as the application will hear */
    return (struct qs_open_record){.conn = l->conn,
                                   .user = s->listeners[l->listener].user,
                                   .remote = info.remote,
                                   .remote_port = info.remote_port};
}

/* Publishes a record in the channel of the connection. */
static void commit(struct qs_channel *ch, uint32_t link, const struct qs_event_record *r)
{
    qs_ring_commit(&ch->events, r->bytes);
    link_of(ch, link)->sent_to = ch->events.tail;
}

/* @return false when there is no room; so do the following. */
static bool push_open(struct qs_stack *s, struct qs_queue *q, struct qs_channel *ch, uint32_t link)
{
    struct qs_worker_link *l = link_of(ch, link);
    const struct qs_open_record open = open_record(s, q, l);
    struct qs_event_record *r = begin_record(ch, link, QS_EVENT_OPEN, sizeof open);
    if (!r)
        return false;
    r->len = 0;
    memcpy(r + 1, &open, sizeof open);
    commit(ch, link, r);
    l->told = true;
    return true;
}

/* That the connection has come from another queue. */
static bool push_moved(struct qs_channel *ch, uint32_t link)
{
    struct qs_worker_link *l = link_of(ch, link);
    const struct qs_moved_record moved = {.conn = l->conn,
                                          .from_queue = l->from_queue,
                                          .from_link = l->from_link,
                                          .n_records = l->n_records};
    struct qs_event_record *r = begin_record(ch, link, QS_EVENT_MOVED, sizeof moved);
    if (!r)
        return false;
    r->len = 0;
    memcpy(r + 1, &moved, sizeof moved);
    qs_ring_commit(&ch->events, r->bytes);
    l->met = true;
    return true;
}

static bool push_plain(struct qs_channel *ch, uint32_t link, uint8_t flags)
{
    struct qs_event_record *r = begin_record(ch, link, flags, 0);
    if (!r)
        return false;
    r->err = link_of(ch, link)->err;
    commit(ch, link, r);
    return true;
}

static void copy_spans(uint8_t *to, const struct qs_span *spans, size_t len)
{
    for (; len > 0; spans++) {
        size_t part = spans->len < len ? spans->len : len;
        memcpy(to, spans->data, part);
        to += part;
        len -= part;
    }
}

/* Octets that a record may have now. */
static size_t run_room(struct qs_channel *ch)
{
    const size_t overhead = qs_record_bytes(sizeof(struct qs_event_record), 7);
    size_t room = qs_ring_room(&ch->events);
    if (room <= overhead)
        return 0;
    return room - overhead < RUN_MAX ? room - overhead : RUN_MAX;
}

/* Since when the record is followed: the first one with octets of the connection is. */
static qs_time trace_of(struct qs_channel *ch, uint32_t link)
{
    qs_time since = ch->traced.since;
    if (since.ns == 0 || ch->traced.link != link)
        return (qs_time){0};
    ch->traced.since.ns = 0;
    return since;
}

/* Copies what can be read. */
static bool push_octets(struct qs_queue *q, struct qs_channel *ch, uint32_t link)
{
    qs_conn conn = link_of(ch, link)->conn;
    struct qs_span spans[16];
    int n;
    while ((n = qs_conn_peek(q->engine, conn, spans, 16)) > 0) {
        size_t len = 0, most = run_room(ch);
        for (int i = 0; i < n; i++)
            len += spans[i].len;
        if (len > most && most < RUN_MIN)
            return false;
        if (len > most)
            len = most;
        struct qs_event_record *r = begin_record(ch, link, QS_EVENT_READABLE, len);
        if (!r)
            return false;
        copy_spans((uint8_t *)(r + 1), spans, len);
        r->traced = trace_of(ch, link);
        commit(ch, link, r);
        if (qs_conn_consume(q->engine, conn, len) != 0)
            break;
    }
    return true;
}

/* ---- messages ---- */

static void copy_message(struct qs_queue *q, qs_conn conn, const struct qs_message *m, uint8_t *to)
{
    struct qs_span spans[16];
    for (size_t at = 0; at < m->len;) {
        int n = qs_conn_message_peek(q->engine, conn, m, at, spans, 16);
        for (int i = 0; i < n; at += spans[i++].len)
            memcpy(to + at, spans[i].data, spans[i].len);
        if (n <= 0)
            return; /* cannot be: it was just told */
    }
}

/* The channel of its class, if that is not its connection's; but a class keeps its order: not while
 * one that went with its connection is to be read. */
static struct qs_channel *message_channel(const struct qs_stack *s, const struct qs_queue *q,
                                          const struct qs_worker_link *l,
                                          const struct qs_message *m)
{
    struct qs_channel *base = channel_of(s, q, l);
    bool alone = m->prio > l->prio && qs_ring_has_passed(&base->events, l->capped_to);
    return alone ? s->listeners[l->listener].app->channels[q->idx][m->prio] : base;
}

/* One record for a message. */
static bool push_message(struct qs_stack *s, struct qs_queue *q, struct qs_channel *to,
                         uint32_t link, const struct qs_message *m)
{
    struct qs_worker_link *l = link_of(to, link);
    const struct qs_open_record open = open_record(s, q, l);
    bool urgent = to != channel_of(s, q, l);
    size_t before = urgent ? sizeof open : 0;
    struct qs_event_record *r = begin_record(to, link, QS_EVENT_READABLE, before + m->len);
    if (!r)
        return false;
    uint8_t *at = (uint8_t *)(r + 1);
    r->len = m->len;
    r->urgent = urgent;
    r->traced = trace_of(to, link);
    memcpy(at, &open, before);
    copy_message(q, l->conn, m, at + before);
    if (!urgent) {
        r->capped = m->capped;
        commit(to, link, r);
        if (m->capped)
            l->capped_to = l->sent_to;
        return true;
    }
    qs_ring_commit(&to->events, r->bytes);
    l->n_urgent++;
    l->told = true;
    return true;
}

/* Messages of class `prio` and more urgent ones wait for room in the channel of theirs. */
static void list_urgent(struct qs_channel *to, uint32_t link)
{
    struct qs_worker_link *links = to->links->worker;
    if (links[link].urgent_listed)
        return;
    links[link].urgent_listed = true;
    links[link].urgent_next = QS_NO_LINK;
    if (to->urgent.last == QS_NO_LINK)
        to->urgent.first = link;
    else
        links[to->urgent.last].urgent_next = link;
    to->urgent.last = link;
    (void)__atomic_exchange_n(&to->worker_starved, 1, __ATOMIC_ACQ_REL);
}

/* Messages of class `prio` or above. @return false when the channel of the connection has no room.
 */
static bool push_messages(struct qs_stack *s, struct qs_queue *q, struct qs_channel *base,
                          uint32_t link, uint32_t prio)
{
    const struct qs_worker_link *l = link_of(base, link);
    struct qs_message m;
    while (qs_conn_message(q->engine, l->conn, prio, &m) == 1) {
        struct qs_channel *to = message_channel(s, q, l, &m);
        if (!push_message(s, q, to, link, &m)) {
            if (to != base)
                list_urgent(to, link);
            return to != base;
        }
        if (qs_conn_message_done(q->engine, l->conn, &m) != 0)
            break;
    }
    return true;
}

static void push_all_urgent(struct qs_stack *s, struct qs_queue *q, struct qs_channel *to)
{
    struct qs_worker_link *links = to->links->worker;
    for (uint32_t n = to->links->n_max; n > 0 && to->urgent.first != QS_NO_LINK; n--) {
        if (!qs_channel_has_room(&to->events)) {
            (void)__atomic_exchange_n(&to->worker_starved, 1, __ATOMIC_ACQ_REL);
            return;
        }
        uint32_t link = to->urgent.first;
        struct qs_worker_link *l = &links[link];
        to->urgent.first = l->urgent_next;
        if (to->urgent.first == QS_NO_LINK)
            to->urgent.last = QS_NO_LINK;
        l->urgent_listed = false;
        struct qs_channel *base = channel_of(s, q, l);
        if (push_messages(s, q, base, link, to->prio))
            continue;
        l->waiting |= QS_EVENT_READABLE;
        qs_split_announce(s, q, base, link);
    }
}

/* ---- what waits ---- */

/* Changes the channel of a connection if it is served as another class than before, once that can
 * be. */
static void choose_channel(const struct qs_stack *s, const struct qs_queue *q,
                           struct qs_worker_link *l)
{
    bool lower = l->served < l->prio, lowered = l->at != l->prio;
    if (lower == lowered || l->listed || l->arriving)
        return;
    if (lower)
        l->first_to = l->sent_to;
    else if (!qs_ring_has_passed(&channel_of(s, q, l)->events, l->sent_to))
        return;
    l->at = l->served;
    l->sent_to = l->capped_to = 0;
}

/* Is something of the connection to be read first, in the channel of its class? Then that tells
 * when it was. */
static bool comes_later(const struct qs_stack *s, const struct qs_queue *q,
                        const struct qs_worker_link *l)
{
    struct qs_channel *own = s->listeners[l->listener].app->channels[q->idx][l->prio];
    if (l->at == l->prio || qs_ring_has_passed(&own->events, l->first_to))
        return false;
    (void)__atomic_exchange_n(&own->worker_starved, 1, __ATOMIC_ACQ_REL);
    return !qs_ring_has_passed(&own->events, l->first_to);
}

static bool push_waiting(struct qs_stack *s, struct qs_queue *q, struct qs_channel *ch,
                         uint32_t link)
{
    struct qs_worker_link *l = link_of(ch, link);
    if (l->arriving)
        return l->met || push_moved(ch, link);
    if (comes_later(s, q, l))
        return false;
    if (l->waiting & QS_EVENT_OPEN) {
        if (!push_open(s, q, ch, link))
            return false;
        l->waiting &= (uint8_t)~QS_EVENT_OPEN;
    }
    if (l->waiting & (QS_EVENT_READABLE | QS_EVENT_WRITABLE))
        qs_split_allow(q, ch, link);
    if (l->waiting & QS_EVENT_READABLE) {
        bool all = s->listeners[l->listener].framed ? push_messages(s, q, ch, link, l->prio)
                                                    : push_octets(q, ch, link);
        if (!all)
            return false;
        l->waiting &= (uint8_t)~QS_EVENT_READABLE;
    }
    if (l->urgent_listed && l->waiting & (QS_EVENT_EOF | QS_EVENT_CLOSED | QS_EVENT_GONE))
        return false; /* nothing comes after the end */
    if (l->shuts_later) {
        l->shuts_later = false;
        (void)!qs_conn_shutdown(q->engine, l->conn); /* stale: it ended first */
    }
    if (l->waiting && !push_plain(ch, link, l->waiting))
        return false;
    l->waiting = 0;
    return true;
}

/* Sends what waits in a link now, or when there is room. */
void qs_split_announce(struct qs_stack *s, struct qs_queue *q, struct qs_channel *ch, uint32_t link)
{
    const struct qs_worker_link *l = link_of(ch, link);
    if (l->listed || (l->arriving && l->met))
        return;
    if (ch->waiting.first == QS_NO_LINK && push_waiting(s, q, ch, link))
        return;
    QS_LIST_PUSH(&ch->waiting, ch->links->worker, link);
    (void)__atomic_exchange_n(&ch->worker_starved, 1, __ATOMIC_ACQ_REL);
}

/* A connection opens: it gets a link, or is refused when its application is too far behind. */
static uint32_t begin_link(struct qs_queue *q, struct qs_app *a, const struct qs_event *ev)
{
    struct qs_links *links = &a->links[q->idx];
    uint32_t link = qs_link_take(links);
    q->slots[qs_slot_of(ev->conn)] = (struct qs_worker_slot){.link = link};
    if (link == QS_NO_LINK) {
        (void)qs_conn_abort(q->engine, ev->conn);
        return link;
    }
    struct qs_worker_link *l = &links->worker[link];
    struct qs_conn_info info;
    bool known = qs_conn_info(q->engine, ev->conn, &info) == 0; /* else it is over already */
    l->conn = ev->conn;
    l->listener = (int16_t)ev->listener;
    l->prio = known ? info.prio : ev->prio;
    l->at = l->served = l->prio;
    __atomic_store_n(&links->app[link].allowed, 0, __ATOMIC_RELEASE);
    qs_split_allow(q, a->channels[q->idx][l->prio], link);
    return link;
}

void qs_split_event(struct qs_stack *s, struct qs_queue *q, const struct qs_event *ev)
{
    const struct qs_handler *h = &s->listeners[ev->listener];
    uint32_t link =
        ev->flags & QS_EVENT_OPEN ? begin_link(q, h->app, ev) : q->slots[qs_slot_of(ev->conn)].link;
    if (link == QS_NO_LINK)
        return;
    struct qs_worker_link *l = &h->app->links[q->idx].worker[link];
    l->served = ev->prio < l->prio ? ev->prio : l->prio;
    choose_channel(s, q, l);
    struct qs_channel *ch = channel_of(s, q, l);
    uint8_t flags = (uint8_t)(ev->flags & ~QS_EVENT_MOVED); /* the application hears otherwise */
    if (!l->wants_write) /* the engine also tells when it took a write in parts */
        flags &= (uint8_t)~QS_EVENT_WRITABLE;
    if (flags & QS_EVENT_WRITABLE)
        l->wants_write = false;
    bool ahead = ev->prio > l->prio; /* a message, of its connection */
    if (ev->traced)
        (ahead ? h->app->channels[q->idx][ev->prio] : ch)->traced =
            (struct qs_traced){link, qs_clock_now()};
    if (flags & QS_EVENT_READABLE && ahead && !l->arriving &&
        push_messages(s, q, ch, link, ev->prio)) {
        flags &= (uint8_t)~QS_EVENT_READABLE;
        touch(q, h->app);
        if (!flags)
            return;
    }
    if (flags & QS_EVENT_CLOSED) {
        l->over = true;
        l->err = (int8_t)ev->err;
    }
    l->waiting |= flags;
    if (l->arriving)
        return;
    if (l->over && !l->told && l->listed) {
        /* It came and went while there was no room: push_all_waiting() drops it. */
        return;
    }
    qs_split_announce(s, q, ch, link);
    touch(q, h->app);
}

/* It does not wait in the channel of its class any more. */
static void announce_anew(struct qs_stack *s, struct qs_queue *q, struct qs_worker_link *l,
                          uint32_t link)
{
    choose_channel(s, q, l);
    qs_split_announce(s, q, channel_of(s, q, l), link);
}

static bool push_all_waiting(struct qs_stack *s, struct qs_queue *q, struct qs_channel *ch)
{
    uint64_t before = ch->events.tail;
    while (ch->waiting.first != QS_NO_LINK) {
        uint32_t link = ch->waiting.first;
        const struct qs_worker_link *l = link_of(ch, link);
        bool unheard = l->over && !l->told, sinks = l->served < l->at && !l->arriving;
        if (!unheard && !sinks && !push_waiting(s, q, ch, link))
            break;
        QS_LIST_POP(&ch->waiting, ch->links->worker);
        if (unheard)
            qs_link_drop(ch->links, link);
        else if (sinks)
            announce_anew(s, q, link_of(ch, link), link);
    }
    if (ch->waiting.first != QS_NO_LINK)
        (void)__atomic_exchange_n(&ch->worker_starved, 1, __ATOMIC_ACQ_REL);
    return ch->events.tail != before;
}

/* ---- commands ---- */

/* The application knows the connection here: what waited goes out. */
static void be_known(struct qs_stack *s, struct qs_queue *q, struct qs_channel *ch, uint32_t link)
{
    struct qs_worker_link *l = link_of(ch, link);
    if (!l->arriving)
        return;
    l->arriving = false;
    q->flows.n_arriving--;
    qs_split_known(s, l);
    choose_channel(s, q, l);
    if (l->waiting)
        qs_split_announce(s, q, channel_of(s, q, l), link);
    touch(q, s->listeners[l->listener].app);
}

/* @return false when the engine could not take all octets now. */
static bool write_octets(struct qs_queue *q, struct qs_channel *ch,
                         const struct qs_command_record *r)
{
    const uint8_t *data = (const uint8_t *)(r + 1);
    if (qs_trace_waits(q->engine, r->conn))
        qs_trace_answered(q->engine, r->conn, qs_clock_now());
    int64_t n = qs_conn_write(q->engine, r->conn, data + ch->written, r->len - ch->written);
    if (n == QS_ERR_AGAIN)
        return false;
    if (n >= 0) {
        link_of(ch, r->link)->taken += (uint64_t)n;
        ch->written += (uint32_t)n;
        if (ch->written < r->len)
            return false;
    } /* else the connection is gone: so are its octets */
    ch->written = 0;
    return true;
}

/* @return false when it has to be tried again. */
static bool send_message(struct qs_queue *q, struct qs_worker_link *l,
                         const struct qs_command_record *r, uint32_t prio)
{
    if (qs_trace_waits(q->engine, r->conn))
        qs_trace_answered(q->engine, r->conn, qs_clock_now());
    qs_err err = qs_conn_send(q->engine, r->conn, prio, r + 1, r->len);
    if (err == QS_ERR_AGAIN)
        return false;
    l->n_sends++;
    l->taken += r->len;
    return true;
}

/* FIN after FIN ends a connection at once, with what was not read: first move that on. */
static void shut(struct qs_queue *q, struct qs_worker_link *l)
{
    struct qs_conn_info info;
    if (qs_conn_info(q->engine, l->conn, &info) != 0)
        return;
    if (info.state == QS_TCP_CLOSE_WAIT && info.readable_bytes > 0)
        l->shuts_later = true;
    else
        (void)!qs_conn_shutdown(q->engine, l->conn); /* not stale: it was just asked */
}

/* The application gave the connection up: nothing is to follow but the sign that nothing follows.
 */
static void end_link(struct qs_stack *s, struct qs_queue *q, uint32_t link,
                     struct qs_worker_link *l)
{
    l->over = true;
    l->shuts_later = false;
    l->waiting = QS_EVENT_GONE;
    qs_split_announce(s, q, channel_of(s, q, l), link);
}

/* @return false when it has to be tried again. */
bool qs_split_carry_out(struct qs_stack *s, struct qs_queue *q, struct qs_channel *ch,
                        const struct qs_command_record *r)
{
    struct qs_worker_link *l = link_of(ch, r->link);
    if (l->conn.v != r->conn.v || l->over) { /* it ended first, as its application hears */
        ch->written = 0;
        return true;
    }
    bool ends = r->command == QS_DO_SHUTDOWN || r->command == QS_DO_CLOSE;
    if (ends && l->n_sends != r->n_sends) /* others come first, through channels of their own */
        return false;
    switch ((enum qs_command)r->command) {
    case QS_DO_WRITE:
        return write_octets(q, ch, r);
    case QS_DO_SEND:
        return send_message(q, l, r, ch->prio);
    case QS_DO_WANT_WRITE:
        l->wants_write = qs_conn_want_write(q->engine, l->conn) == 0;
        break;
    case QS_DO_SHUTDOWN:
        shut(q, l);
        break;
    case QS_DO_CLOSE:
        (void)qs_conn_close(q->engine, l->conn);
        end_link(s, q, r->link, l);
        break;
    case QS_DO_ABORT:
        (void)qs_conn_abort(q->engine, l->conn);
        end_link(s, q, r->link, l);
        break;
    case QS_DO_MOVED: /* taken_here() */
        break;
    }
    return true;
}

/* A command that came through the ring. @return false when it has to be tried again. */
static bool taken_here(struct qs_stack *s, struct qs_queue *q, struct qs_channel *ch,
                       const struct qs_command_record *r)
{
    struct qs_worker_link *l = link_of(ch, r->link);
    if (l->conn.v == r->conn.v && l->left)
        return qs_split_forward(s, q, ch, r);
    if (l->conn.v == r->conn.v && l->n_elsewhere < r->n_before)
        return false; /* those through another queue come first */
    if (l->conn.v == r->conn.v && r->command == QS_DO_MOVED)
        be_known(s, q, ch, r->link);
    else if (!qs_split_carry_out(s, q, ch, r))
        return false;
    l->n_here++;
    return true;
}

static bool run_commands(struct qs_stack *s, struct qs_queue *q, struct qs_channel *ch)
{
    size_t bytes, done = 0;
    const uint8_t *at = qs_ring_peek(&ch->commands, 0, &bytes);
    uint32_t before = ch->written;
    ch->no_chunk = false;
    for (uint32_t n = 0; done < bytes && n < COMMANDS_PER_TURN && done < COMMAND_BYTES_PER_TURN;
         n++) {
        const struct qs_command_record *r = (const void *)(at + done);
        if (!taken_here(s, q, ch, r)) {
            ch->no_chunk = true;
            break;
        }
        done += r->bytes;
    }
    if (done)
        qs_ring_release(&ch->commands, done);
    return done > 0 || ch->written != before;
}

bool qs_split_run(struct qs_stack *s, struct qs_queue *q)
{
    bool moved = qs_split_take_forwarded(s, q);
    for (uint32_t p = QS_N_PRIO; p-- > 0;) {
        for (uint32_t i = 0; i < s->n_apps; i++) {
            struct qs_channel *ch = s->apps[i] ? s->apps[i]->channels[q->idx][p] : NULL;
            if (!ch)
                continue;
            uint64_t before = ch->events.tail;
            if (run_commands(s, q, ch)) {
                moved = true;
                if (__atomic_exchange_n(&ch->app_starved, 0, __ATOMIC_ACQ_REL))
                    touch(q, s->apps[i]);
            }
            push_all_urgent(s, q, ch);
            moved |= push_all_waiting(s, q, ch);
            if (ch->events.tail != before)
                touch(q, s->apps[i]);
        }
    }
    return moved;
}

void qs_split_wake(struct qs_stack *s, struct qs_queue *q)
{
    uint32_t touched = q->touched_apps;
    q->touched_apps = 0;
    for (; touched; touched &= touched - 1) {
        struct qs_app *a = s->apps[__builtin_ctz(touched)];
        if (a)
            qs_app_nudge(a);
    }
}

bool qs_split_has_work(const struct qs_stack *s, const struct qs_queue *q)
{
    for (uint32_t i = 0; i < s->n_apps; i++)
        for (uint32_t p = 0; p < QS_N_PRIO; p++) {
            const struct qs_channel *ch = s->apps[i] ? s->apps[i]->channels[q->idx][p] : NULL;
            if (!ch)
                continue;
            /* Without chunks it is a frame or a timer that helps, and wakes. */
            if (!ch->no_chunk && !qs_ring_is_empty(&ch->commands))
                return true;
            uint32_t first = ch->waiting.first;
            bool waits = ch->urgent.first != QS_NO_LINK ||
                         (first != QS_NO_LINK && !comes_later(s, q, link_of(ch, first)));
            if (waits && qs_channel_has_room(&ch->events))
                return true;
        }
    return false;
}
