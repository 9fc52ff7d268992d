/* SPDX-License-Identifier: Apache-2.0 */
/* The application's end of the channels: qs_app.h. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io/clock.h"
#include "io/diag.h"
#include "runtime/stack.h"

#define RING_BYTES_DEFAULT ((size_t)1 << 20)
#define RING_BYTES_MIN ((size_t)64 << 10)
#define RING_BYTES_MAX ((size_t)64 << 20)
/* Octets of one QS_DO_WRITE at most, so that a long write does not wait for a nearly empty ring. */
#define WRITE_RUN_MAX 32768u
/* Nanoseconds: a short handler; some thousand. */
#define SHARE_UNIT 10000u
#define SHARE_QUANTUM 10000000u

qs_err qs_app_new(qs_app **out, uint32_t *index, qs_stack *s, size_t ring_bytes)
{
    *out = NULL;
    if (ring_bytes == 0)
        ring_bytes = RING_BYTES_DEFAULT;
    if (ring_bytes < RING_BYTES_MIN || ring_bytes > RING_BYTES_MAX || ring_bytes & (ring_bytes - 1))
        return QS_ERR_ARG;
    if (s->running)
        return QS_ERR_STATE;
    if (s->n_apps == QS_N_APPS_MAX)
        return QS_ERR_NOMEM;
    struct qs_app *a = aligned_alloc(64, sizeof *a);
    if (!a)
        return QS_ERR_NOMEM;
    memset(a, 0, sizeof *a);
    a->stack = s;
    a->idx = s->n_apps;
    a->ring_bytes = ring_bytes;
    a->moved_link = QS_NO_LINK;
    qs_spin_init(&a->spin, s->opts.poll_idle);
    qs_share_init(&a->share, s->opts.min_share_permille, SHARE_UNIT, SHARE_QUANTUM);
    a->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->event_fd < 0) {
        free(a);
        return QS_ERR_SYS;
    }
    s->apps[s->n_apps++] = a;
    *index = a->idx;
    *out = a;
    return 0;
}

void qs_app_free(qs_app *a)
{
    if (!a)
        return;
    for (uint32_t q = 0; q < QS_N_QUEUES_MAX; q++)
        for (uint32_t p = 0; p < QS_N_PRIO; p++)
            qs_channel_free(a->channels[q][p]);
    for (uint32_t q = 0; q < QS_N_QUEUES_MAX; q++)
        qs_links_fini(&a->links[q]);
    a->stack->apps[a->idx] = NULL;
    close(a->event_fd);
    free(a);
}

static qs_err open_queue(struct qs_app *a, uint32_t q, uint32_t classes)
{
    qs_err err = 0;
    if (classes && !a->links[q].worker)
        err = qs_links_init(&a->links[q], a->stack->queues[q].conns_max);
    for (uint8_t p = 0; p < QS_N_PRIO && !err; p++)
        if (classes & 1u << p && !a->channels[q][p])
            err = qs_channel_new(&a->channels[q][p], &a->links[q], q, p, a->ring_bytes);
    return err;
}

/* Classes whose channels are there. The application may be waiting already when they come. */
static uint32_t classes_of(const struct qs_app *a)
{
    return __atomic_load_n(&a->classes, __ATOMIC_ACQUIRE);
}

qs_err qs_app_open_channels(struct qs_app *a, struct qs_diag *diag)
{
    struct qs_stack *s = a->stack;
    uint32_t classes = 0;
    for (uint32_t i = 0; i < s->n_listeners; i++)
        if (s->listeners[i].app == a)
            classes |= s->listeners[i].classes;
    for (uint32_t q = 0; q < s->opts.n_queues; q++) {
        qs_err err = open_queue(a, q, classes);
        if (err)
            return qs_fail(diag, err, "application %u: no memory for rings of %zu bytes", a->idx,
                           a->ring_bytes);
    }
    __atomic_store_n(&a->classes, classes, __ATOMIC_RELEASE);
    return 0;
}

/* ---- waking ---- */

static void poke(struct qs_app *a)
{
    uint64_t one = 1;
    ssize_t written = write(a->event_fd, &one, sizeof one);
    (void)written;
}

void qs_app_nudge(struct qs_app *a)
{
    if (__atomic_exchange_n(&a->sleeping, 0, __ATOMIC_ACQ_REL))
        poke(a);
}

void qs_app_wake(qs_app *a)
{
    __atomic_store_n(&a->woken, 1, __ATOMIC_SEQ_CST);
    poke(a);
}

int qs_app_fd(const qs_app *a)
{
    return a->event_fd;
}

/* ---- links ---- */

/* Link of a connection that the application knows, or NULL. */
static struct qs_app_link *link_of(const struct qs_app *a, qs_conn c)
{
    uint32_t queue = qs_queue_of(c), slot = qs_slot_of(c);
    if (!c.v || !classes_of(a) || queue >= QS_N_QUEUES_MAX || slot >= a->links[queue].n_slots)
        return NULL;
    const struct qs_links *links = &a->links[queue];
    struct qs_app_link *l = &links->app[links->of_slot[slot]];
    while (l->conn.v && l->conn.v != c.v && l->older != QS_NO_LINK)
        l = &links->app[l->older];
    return l->conn.v == c.v && !l->given_up && !l->over ? l : NULL;
}

/* The engine has given the block of `l` to it. The connection that had it may still be known: it
 * has moved to another queue, which the application was not told yet. */
static void take_slot(struct qs_links *links, struct qs_app_link *l)
{
    uint32_t *link = &links->of_slot[qs_slot_of(l->conn)];
    const struct qs_app_link *before = &links->app[*link];
    bool known = before != l && !before->over && !before->given_up && before->conn.v &&
                 qs_slot_of(before->conn) == qs_slot_of(l->conn);
    l->older = known ? *link : QS_NO_LINK;
    *link = (uint32_t)(l - links->app);
}

static struct qs_channel *channel_of(const struct qs_app *a, const struct qs_app_link *l)
{
    return a->channels[qs_queue_of(l->conn)][l->prio];
}

static uint32_t index_of(const struct qs_channel *ch, const struct qs_app_link *l)
{
    return (uint32_t)(l - ch->links->app);
}

/* ---- commands ---- */

/* A record with `len` octets to be filled in, or NULL. */
static struct qs_command_record *begin_command(struct qs_channel *ch, const struct qs_app_link *l,
                                               enum qs_command command, size_t len)
{
    size_t bytes = qs_record_bytes(sizeof(struct qs_command_record), len);
    bool octets = command == QS_DO_WRITE || command == QS_DO_SEND;
    size_t spare = octets ? qs_channel_spare(ch) : 0;
    struct qs_command_record *r = qs_ring_reserve(&ch->commands, bytes, spare);
    if (r)
        *r = (struct qs_command_record){.bytes = (uint32_t)bytes,
                                        .len = (uint32_t)len,
                                        .conn = l->conn,
                                        .link = index_of(ch, l),
                                        .command = command,
                                        .n_sends = l->n_sends,
                                        .n_before = l->n_before};
    return r;
}

static void commit_command(struct qs_channel *ch, struct qs_app_link *l,
                           const struct qs_command_record *r)
{
    qs_ring_commit(&ch->commands, r->bytes);
    l->n_commands++;
}

static bool put_command(struct qs_channel *ch, struct qs_app_link *l, enum qs_command command)
{
    struct qs_command_record *r = begin_command(ch, l, command, 0);
    if (r)
        commit_command(ch, l, r);
    return r != NULL;
}

/* Puts a call off until the ring has room. */
static void put_off(struct qs_channel *ch, struct qs_app_link *l, enum qs_command command)
{
    l->put_off |= (uint8_t)(1u << command);
    if (!l->listed)
        QS_LIST_PUSH(&ch->starved, ch->links->app, index_of(ch, l));
    (void)__atomic_exchange_n(&ch->app_starved, 1, __ATOMIC_ACQ_REL);
}

/* In the order of the calls: not before what was put off. */
static void put_or_put_off(struct qs_channel *ch, struct qs_app_link *l, enum qs_command command)
{
    if (l->listed || !put_command(ch, l, command))
        put_off(ch, l, command);
}

static qs_err call(struct qs_app *a, qs_conn c, enum qs_command command)
{
    struct qs_app_link *l = link_of(a, c);
    if (!l)
        return QS_ERR_STALE;
    put_or_put_off(channel_of(a, l), l, command);
    l->shut = true;
    l->given_up = command != QS_DO_SHUTDOWN;
    qs_queue_nudge(a->stack, qs_queue_of(c));
    return 0;
}

qs_err qs_app_shutdown(qs_app *a, qs_conn c)
{
    return call(a, c, QS_DO_SHUTDOWN);
}

qs_err qs_app_close(qs_app *a, qs_conn c)
{
    return call(a, c, QS_DO_CLOSE);
}

qs_err qs_app_abort(qs_app *a, qs_conn c)
{
    return call(a, c, QS_DO_ABORT);
}

/* Octets that the send buffer of the connection has room for, as far as this side knows. */
static size_t credit(const struct qs_app_link *l)
{
    uint64_t allowed = __atomic_load_n(&l->allowed, __ATOMIC_ACQUIRE);
    return l->written < allowed ? (size_t)(allowed - l->written) : 0; /* less: it has ended */
}

static size_t put_octets(struct qs_channel *ch, struct qs_app_link *l, const uint8_t *buf,
                         size_t len)
{
    size_t done = 0;
    while (done < len) {
        size_t n = len - done < WRITE_RUN_MAX ? len - done : WRITE_RUN_MAX;
        struct qs_command_record *r = begin_command(ch, l, QS_DO_WRITE, n);
        if (!r)
            break;
        memcpy(r + 1, buf + done, n);
        commit_command(ch, l, r);
        done += n;
    }
    l->written += done;
    return done;
}

int64_t qs_app_write(qs_app *a, qs_conn c, const void *buf, size_t len)
{
    struct qs_app_link *l = link_of(a, c);
    if (!l)
        return QS_ERR_STALE;
    if (l->framed)
        return QS_ERR_STATE;
    if (l->shut)
        return QS_ERR_CLOSED;
    struct qs_channel *ch = channel_of(a, l);
    size_t room = l->listed ? 0 : credit(l);
    size_t most = len < room ? len : room;
    size_t n = put_octets(ch, l, buf, most);
    if (n < most) /* the ring is full: ask when it has room again, not through the spare part */
        put_off(ch, l, QS_DO_WANT_WRITE);
    else if (n < len)
        put_or_put_off(ch, l, QS_DO_WANT_WRITE);
    qs_queue_nudge(a->stack, qs_queue_of(c));
    return (int64_t)n;
}

/* Octets of a message of class `prio` that the send buffer takes now: a class above which others
 * are sent leaves a quarter, as qs_conn_send() wants it. */
static size_t message_credit(const struct qs_app_link *l, uint32_t prio)
{
    size_t room = credit(l);
    uint32_t sndbuf = __atomic_load_n(&l->sndbuf, __ATOMIC_RELAXED);
    size_t kept = l->sent_classes >> prio > 1 ? sndbuf / 4 : 0;
    return room > kept ? room - kept : 0;
}

qs_err qs_app_send(qs_app *a, qs_conn c, uint32_t prio, const void *buf, size_t len)
{
    struct qs_app_link *l = link_of(a, c);
    if (!l)
        return QS_ERR_STALE;
    if (!l->framed)
        return QS_ERR_STATE;
    if (l->shut)
        return QS_ERR_CLOSED;
    if (prio >= QS_N_PRIO || len == 0 || len > __atomic_load_n(&l->sndbuf, __ATOMIC_RELAXED) / 2)
        return QS_ERR_ARG;
    struct qs_channel *base = channel_of(a, l), *ch = base;
    for (uint32_t p = l->prio; p <= prio; p++) /* the most urgent channel up to its class */
        if (classes_of(a) >> p & 1)
            ch = a->channels[qs_queue_of(c)][p];
    struct qs_command_record *r = NULL;
    if (!l->listed && len <= message_credit(l, ch->prio))
        r = begin_command(ch, l, QS_DO_SEND, len);
    if (!r) {
        put_or_put_off(base, l, QS_DO_WANT_WRITE);
        qs_queue_nudge(a->stack, qs_queue_of(c));
        return QS_ERR_AGAIN;
    }
    memcpy(r + 1, buf, len);
    commit_command(ch, l, r);
    l->written += len;
    l->n_sends++;
    l->sent_classes |= (uint8_t)(1u << ch->prio);
    qs_queue_nudge(a->stack, qs_queue_of(c));
    return 0;
}

/* ---- what was put off ---- */

/* @return false when the ring is full again. */
static bool catch_up(struct qs_channel *ch, struct qs_app_link *l)
{
    static const enum qs_command order[] = {QS_DO_MOVED, QS_DO_WANT_WRITE, QS_DO_SHUTDOWN,
                                            QS_DO_CLOSE, QS_DO_ABORT};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        uint8_t bit = (uint8_t)(1u << order[i]);
        if (!(l->put_off & bit))
            continue;
        if (!put_command(ch, l, order[i]))
            return false;
        l->put_off &= (uint8_t)~bit;
    }
    return true;
}

static void catch_up_all(struct qs_app *a, struct qs_channel *ch)
{
    if (ch->starved.first == QS_NO_LINK)
        return;
    while (ch->starved.first != QS_NO_LINK && qs_channel_has_room(&ch->commands)) {
        uint32_t link = ch->starved.first;
        struct qs_app_link *l = &ch->links->app[link];
        if (!l->over && !catch_up(ch, l))
            break;
        QS_LIST_POP(&ch->starved, ch->links->app);
        if (l->over)
            qs_link_return(ch->links, link);
    }
    if (ch->starved.first != QS_NO_LINK)
        (void)__atomic_exchange_n(&ch->app_starved, 1, __ATOMIC_ACQ_REL);
    qs_queue_nudge(a->stack, ch->queue);
}

/* ---- events ---- */

static void give_back(struct qs_app *a, struct qs_channel *ch)
{
    if (ch->held) {
        qs_ring_release(&ch->events, ch->held);
        ch->held = 0;
        if (qs_channel_has_room(&ch->events) &&
            __atomic_exchange_n(&ch->worker_starved, 0, __ATOMIC_ACQ_REL))
            qs_queue_nudge(a->stack, ch->queue);
    }
    catch_up_all(a, ch);
}

/* The application hears of the connection. @return false when it has before: by an urgent message,
 * when `r` opens it; or anything, when `r` is an urgent message. */
static bool open_link(struct qs_app *a, struct qs_channel *ch, const struct qs_event_record *r)
{
    struct qs_app_link *l = &ch->links->app[r->link];
    struct qs_open_record open;
    memcpy(&open, r + 1, sizeof open);
    bool known = l->conn.v == open.conn.v && (r->urgent ? !l->over : l->early);
    if (known) {
        l->early &= r->urgent;
        return false;
    }
    l->conn = open.conn;
    l->user = open.user;
    l->remote = open.remote;
    l->remote_port = open.remote_port;
    l->prio = r->base;
    l->written = 0;
    l->n_sends = l->n_urgent = 0;
    l->n_commands = l->n_before = 0;
    l->sent_classes = 0;
    l->put_off = 0;
    l->framed = a->stack->listeners[r->listener].framed;
    l->early = r->urgent;
    l->shut = l->given_up = l->over = false;
    take_slot(ch->links, l);
    return true;
}

/* Does the record end a connection, or is it of a class, of which urgent messages were not read
 * yet? */
static bool comes_too_early(const struct qs_channel *ch, const struct qs_event_record *r)
{
    bool ends = r->flags & (QS_EVENT_EOF | QS_EVENT_CLOSED | QS_EVENT_GONE);
    return (ends || r->capped) && (int32_t)(r->n_urgent - ch->links->app[r->link].n_urgent) > 0;
}

/* ---- connections that have moved to another queue ---- */

/* All that came through the old queue was read: it is with the new one from the next
 * qs_app_wait() on. */
static void has_moved(struct qs_app *a, uint32_t queue, uint32_t link)
{
    struct qs_app_link *l = &a->links[queue].app[link];
    l->next_moved = a->moved_link;
    l->next_queue = a->moved_queue;
    a->moved_link = link;
    a->moved_queue = queue;
}

/* The link is for another connection next, of which that may be known first that it has moved. */
static void forget_records(struct qs_app_link *l)
{
    l->n_records = 0;
    l->leaving = false;
}

static void take_moved(struct qs_app *a, const struct qs_channel *ch,
                       const struct qs_event_record *r)
{
    struct qs_moved_record m;
    memcpy(&m, r + 1, sizeof m);
    struct qs_app_link *old = &a->links[m.from_queue].app[m.from_link];
    old->leaving = true;
    old->to_queue = ch->queue;
    old->to_link = r->link;
    old->to_conn = m.conn;
    old->last_record = m.n_records;
    if (old->n_records == m.n_records)
        has_moved(a, m.from_queue, m.from_link);
}

/* The handle of link `l` is stale. */
static void leave_slot(struct qs_links *links, const struct qs_app_link *l)
{
    uint32_t *link = &links->of_slot[qs_slot_of(l->conn)];
    while (&links->app[*link] != l && links->app[*link].older != QS_NO_LINK)
        link = &links->app[*link].older;
    if (&links->app[*link] == l && l->older != QS_NO_LINK)
        *link = l->older;
    else if (&links->app[*link] == l && link != &links->of_slot[qs_slot_of(l->conn)])
        *link = QS_NO_LINK;
}

/* Takes a link out of the list of those that wait for the ring. */
static void unlist(struct qs_channel *ch, uint32_t link)
{
    struct qs_app_link *links = ch->links->app;
    struct qs_link_list others = {QS_NO_LINK, QS_NO_LINK};
    while (ch->starved.first != QS_NO_LINK) {
        uint32_t first = ch->starved.first;
        QS_LIST_POP(&ch->starved, links);
        if (first != link)
            QS_LIST_PUSH(&others, links, first);
    }
    ch->starved = others;
}

/* From now on the connection is link `old->to_link` of its new queue. @return that one. */
static struct qs_app_link *switch_link(struct qs_app *a, uint32_t queue, uint32_t link)
{
    struct qs_app_link *old = &a->links[queue].app[link];
    struct qs_links *links = &a->links[old->to_queue];
    struct qs_app_link *l = &links->app[old->to_link];
    if (old->listed)
        unlist(a->channels[queue][old->prio], link);
    l->conn = old->to_conn;
    l->user = old->user;
    l->written = old->written;
    l->n_sends = old->n_sends;
    l->n_urgent = old->n_urgent;
    l->n_records = old->n_records + 1; /* the one that told of the move */
    l->n_commands = l->n_before = old->n_commands;
    l->remote = old->remote;
    l->remote_port = old->remote_port;
    l->prio = old->prio;
    l->sent_classes = old->sent_classes;
    l->framed = old->framed;
    l->early = old->early;
    l->shut = old->shut;
    l->given_up = old->given_up;
    l->over = l->leaving = false;
    l->put_off = 0;
    take_slot(links, l);
    struct qs_channel *ch = a->channels[old->to_queue][l->prio];
    put_or_put_off(ch, l, QS_DO_MOVED);
    for (uint8_t left = old->put_off; left; left &= (uint8_t)(left - 1))
        put_or_put_off(ch, l, (enum qs_command)__builtin_ctz(left));
    leave_slot(&a->links[queue], old);
    old->given_up = true;
    forget_records(old);
    qs_queue_nudge(a->stack, old->to_queue);
    return l;
}

static size_t tell_moved(struct qs_app *a, struct qs_app_event *events, size_t n)
{
    size_t done = 0;
    while (done < n && a->moved_link != QS_NO_LINK) {
        uint32_t queue = a->moved_queue, link = a->moved_link;
        const struct qs_app_link *old = &a->links[queue].app[link];
        qs_conn from = old->conn;
        a->moved_link = old->next_moved;
        a->moved_queue = old->next_queue;
        const struct qs_app_link *l = switch_link(a, queue, link);
        if (!l->given_up)
            events[done++] = (struct qs_app_event){.conn = l->conn,
                                                   .user = l->user,
                                                   .flags = QS_EVENT_MOVED,
                                                   .listener = -1,
                                                   .prio = l->prio,
                                                   .moved_from = from};
    }
    return done;
}

/* ---- records ---- */

/* Turns a record into an event. @return false when there is nothing to tell: the application gave
 * the connection up meanwhile, or knows of it. */
static bool take_record(struct qs_app *a, struct qs_channel *ch, const struct qs_event_record *r,
                        struct qs_app_event *out)
{
    struct qs_app_link *l = &ch->links->app[r->link];
    uint32_t flags = r->flags;
    if (flags & QS_EVENT_MOVED) {
        take_moved(a, ch, r);
        return false;
    }
    if (r->urgent || flags & QS_EVENT_OPEN) {
        if (open_link(a, ch, r))
            flags |= QS_EVENT_OPEN;
        else
            flags &= ~QS_EVENT_OPEN;
    }
    l->n_urgent += r->urgent;
    l->n_records++;
    if (l->leaving && l->n_records == l->last_record)
        has_moved(a, ch->queue, r->link);
    const uint8_t *octets =
        (const uint8_t *)(r + 1) + (r->urgent ? sizeof(struct qs_open_record) : 0);
    *out = (struct qs_app_event){
        .conn = l->conn,
        .user = l->user,
        .data = r->len > 0 ? octets : NULL,
        .len = r->len,
        .flags = flags,
        .listener = r->listener,
        .err = r->err,
        .prio = ch->prio,
    };
    if (r->flags & (QS_EVENT_CLOSED | QS_EVENT_GONE)) {
        l->over = true;
        forget_records(l);
        if (!l->listed) /* else catch_up_all() gives it back */
            qs_link_return(ch->links, r->link);
    }
    return !l->given_up && flags;
}

static size_t take_events(struct qs_app *a, struct qs_channel *ch, struct qs_app_event *events,
                          size_t n)
{
    size_t bytes, done = 0;
    const uint8_t *at = qs_ring_peek(&ch->events, ch->held, &bytes);
    while (done < n && bytes > 0) {
        const struct qs_event_record *r = (const void *)at;
        if (comes_too_early(ch, r))
            break;
        if (take_record(a, ch, r, &events[done]))
            done++;
        if (r->traced.ns) {
            a->traced = true;
            qs_residency_add(&a->residency, QS_STAGE_RING, ch->prio,
                             qs_clock_now().ns - r->traced.ns);
        }
        ch->held += r->bytes;
        at += r->bytes;
        bytes -= r->bytes;
    }
    return done;
}

/* Events of a class, from all queues in turn. */
static size_t take_class(struct qs_app *a, uint32_t prio, struct qs_app_event *events, size_t n)
{
    uint32_t queues = a->stack->opts.n_queues, first = a->rotation++;
    size_t done = 0;
    for (uint32_t i = 0; i < queues && done < n; i++)
        done += take_events(a, a->channels[(first + i) % queues][prio], events + done, n - done);
    return done;
}

/* A bit for each class that has records. */
static uint32_t waiting_classes(const struct qs_app *a)
{
    uint32_t waiting = 0;
    for (uint32_t classes = classes_of(a); classes; classes &= classes - 1) {
        uint32_t p = (uint32_t)__builtin_ctz(classes);
        for (uint32_t q = 0; q < a->stack->opts.n_queues && !(waiting & 1u << p); q++)
            if (!qs_ring_is_empty(&a->channels[q][p]->events))
                waiting |= 1u << p;
    }
    return waiting;
}

/* Events of the class that is next; what was lent out is given back before. */
static size_t collect(struct qs_app *a, struct qs_app_event *events, size_t n)
{
    size_t moved = tell_moved(a, events, n);
    if (moved)
        return moved;
    a->waiting = waiting_classes(a);
    for (uint32_t left = a->waiting; left; left &= ~(1u << a->served)) {
        a->served = qs_share_next(&a->share, left);
        size_t done = take_class(a, a->served, events, n);
        if (!done) /* records of connections that were given up meanwhile */
            continue;
        if (a->traced || a->waiting & (a->waiting - 1))
            a->since = qs_clock_now();
        return done;
    }
    a->waiting = 0;
    return tell_moved(a, events, n);
}

/* The application is back: what it was given last has taken so long. */
static void charge(struct qs_app *a, qs_time now)
{
    if (a->waiting & (a->waiting - 1))
        qs_share_charge(&a->share, a->waiting, a->served, now.ns - a->since.ns);
    if (a->traced)
        qs_residency_add(&a->residency, QS_STAGE_HANDLER, a->served, now.ns - a->since.ns);
    a->traced = false;
    a->waiting = 0;
}

static void give_back_all(struct qs_app *a)
{
    for (uint32_t q = 0; q < a->stack->opts.n_queues; q++)
        for (uint32_t classes = classes_of(a); classes; classes &= classes - 1)
            give_back(a, a->channels[q][__builtin_ctz(classes)]);
}

/* Could a call that was put off be made now? */
static bool can_catch_up(const struct qs_app *a)
{
    for (uint32_t q = 0; q < a->stack->opts.n_queues; q++)
        for (uint32_t classes = classes_of(a); classes; classes &= classes - 1) {
            const struct qs_channel *ch = a->channels[q][__builtin_ctz(classes)];
            if (ch->starved.first != QS_NO_LINK && qs_channel_has_room(&ch->commands))
                return true;
        }
    return false;
}

/* From here on workers write to event_fd; what came just before is collected. */
static size_t arm(struct qs_app *a, struct qs_app_event *events, size_t n)
{
    a->armed = true;
    (void)__atomic_exchange_n(&a->sleeping, 1, __ATOMIC_ACQ_REL);
    if (can_catch_up(a))
        give_back_all(a);
    return collect(a, events, n);
}

static void disarm(struct qs_app *a)
{
    uint64_t ignored;
    if (!a->armed)
        return;
    a->armed = false;
    (void)__atomic_exchange_n(&a->sleeping, 0, __ATOMIC_ACQ_REL);
    ssize_t got = read(a->event_fd, &ignored, sizeof ignored); /* nobody may have written */
    (void)got;
}

/* Waits up to `timeout` for a worker or qs_app_wake(). */
static size_t sleep_until_event(struct qs_app *a, struct qs_app_event *events, size_t n,
                                qs_dur timeout)
{
    size_t found = arm(a, events, n);
    if (found == 0 && !__atomic_load_n(&a->woken, __ATOMIC_ACQUIRE)) {
        struct pollfd p = {.fd = a->event_fd, .events = POLLIN};
        struct timespec limit = {(time_t)(timeout.ns / 1000000000u),
                                 (long)(timeout.ns % 1000000000u)};
        (void)!ppoll(&p, 1, &limit, NULL); /* a signal ends it too: the caller looks again */
    }
    disarm(a);
    return found;
}

/* It is given `n` events; if there are any it has waited no longer than this. */
static int give(struct qs_app *a, size_t n)
{
    if (n && a->idle_since.ns) {
        qs_spin_learn(&a->spin, (qs_dur){qs_clock_now().ns - a->idle_since.ns});
        a->idle_since.ns = 0;
    }
    return (int)n;
}

int qs_app_wait(qs_app *a, struct qs_app_event *events, size_t n, qs_dur timeout)
{
    if (n == 0 || n > INT32_MAX)
        return QS_ERR_ARG;
    disarm(a);
    qs_time began = qs_clock_now();
    charge(a, began);
    for (uint64_t waited = 0;; waited = qs_clock_now().ns - began.ns) {
        give_back_all(a); /* what was lent out, skipped records, and calls that were put off */
        size_t found = collect(a, events, n);
        if (found)
            return give(a, found);
        if (__atomic_exchange_n(&a->woken, 0, __ATOMIC_ACQ_REL))
            return QS_ERR_AGAIN;
        if (a->idle_since.ns == 0)
            a->idle_since = began;
        if (waited >= timeout.ns)
            return give(a, arm(a, events, n)); /* qs_app_fd() tells of the next one */
        if (waited < a->spin.limit.ns) {
            qs_clock_idle((qs_dur){waited});
            continue;
        }
        found = sleep_until_event(a, events, n, (qs_dur){timeout.ns - waited});
        if (found)
            return give(a, found);
    }
}

qs_err qs_app_set_user(qs_app *a, qs_conn c, uint64_t user)
{
    struct qs_app_link *l = link_of(a, c);
    if (!l)
        return QS_ERR_STALE;
    l->user = user;
    return 0;
}

qs_err qs_app_peer(const qs_app *a, qs_conn c, qs_addr *remote, uint16_t *port)
{
    const struct qs_app_link *l = link_of(a, c);
    memset(remote, 0, sizeof *remote);
    *port = 0;
    if (!l)
        return QS_ERR_STALE;
    *remote = l->remote;
    *port = l->remote_port;
    return 0;
}
