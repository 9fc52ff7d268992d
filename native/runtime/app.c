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
    a->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->event_fd < 0) {
        free(a);
        return QS_ERR_NOMEM;
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
    a->stack->apps[a->idx] = NULL;
    close(a->event_fd);
    free(a);
}

qs_err qs_app_open_channels(struct qs_app *a, struct qs_diag *diag)
{
    struct qs_stack *s = a->stack;
    for (uint32_t i = 0; i < s->n_listeners; i++)
        if (s->listeners[i].app == a)
            a->classes |= 1u << s->listeners[i].prio;
    for (uint32_t q = 0; q < s->opts.n_queues; q++)
        for (uint8_t p = 0; p < QS_N_PRIO; p++) {
            if (!(a->classes & 1u << p) || a->channels[q][p])
                continue;
            qs_err err = qs_channel_new(&a->channels[q][p], q, p, a->ring_bytes);
            if (err)
                return qs_fail(diag, err, "application %u: no memory for rings of %zu bytes",
                               a->idx, a->ring_bytes);
        }
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
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&a->sleeping, __ATOMIC_RELAXED))
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

/* ---- slots ---- */

static struct qs_app_slot *slots_of(const struct qs_app *a, uint32_t queue)
{
    return a->stack->queues[queue].app_slots;
}

static struct qs_app_slot *slot_of(const struct qs_app *a, qs_conn c)
{
    uint32_t queue = qs_queue_of(c), i = qs_slot_of(c);
    if (queue >= a->stack->opts.n_queues || i >= a->stack->queues[queue].conns_max)
        return NULL;
    struct qs_app_slot *slot = &slots_of(a, queue)[i];
    return c.v && slot->conn.v == c.v ? slot : NULL;
}

/* ---- commands ---- */

static void nudge_queue(struct qs_app *a, uint32_t queue)
{
    qs_worker_nudge(qs_worker_of(a->stack, queue));
}

static bool put_command(struct qs_channel *ch, enum qs_command command, qs_conn c, size_t spare)
{
    struct qs_command_record *r = qs_ring_reserve(&ch->commands, sizeof *r, spare);
    if (!r)
        return false;
    *r = (struct qs_command_record){.bytes = sizeof *r, .conn = c, .command = command};
    qs_ring_commit(&ch->commands, sizeof *r);
    return true;
}

/* Puts a call off until the ring has room. */
static void put_off(struct qs_channel *ch, struct qs_app_slot *slots, qs_conn c,
                    enum qs_command command)
{
    uint32_t i = qs_slot_of(c);
    slots[i].put_off |= (uint8_t)(1u << command);
    if (!slots[i].listed)
        QS_SLOT_PUSH(&ch->starved, slots, i);
    __atomic_store_n(&ch->app_starved, 1, __ATOMIC_SEQ_CST);
}

static qs_err call(struct qs_app *a, qs_conn c, enum qs_command command)
{
    struct qs_app_slot *slot = slot_of(a, c);
    if (!slot)
        return QS_ERR_STALE;
    uint32_t queue = qs_queue_of(c);
    struct qs_channel *ch = a->channels[queue][slot->prio];
    slot->closed = true;
    /* In the order of the calls: not before what was put off. */
    if (slot->listed || !put_command(ch, command, c, 0))
        put_off(ch, slots_of(a, queue), c, command);
    if (command != QS_DO_SHUTDOWN && !slot->listed)
        slot->conn.v = 0;
    nudge_queue(a, queue);
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
static size_t credit(const struct qs_app *a, const struct qs_app_slot *slot)
{
    uint64_t acked = __atomic_load_n(&slot->acked, __ATOMIC_ACQUIRE);
    uint64_t out = slot->written - acked;
    uint64_t most = a->stack->opts.sndbuf_bytes;
    return out < most ? (size_t)(most - out) : 0;
}

static size_t put_octets(struct qs_channel *ch, qs_conn c, const uint8_t *buf, size_t len)
{
    size_t done = 0;
    while (done < len) {
        size_t n = len - done < WRITE_RUN_MAX ? len - done : WRITE_RUN_MAX;
        size_t bytes = qs_record_bytes(sizeof(struct qs_command_record), n);
        struct qs_command_record *r = qs_ring_reserve(&ch->commands, bytes, qs_channel_spare(ch));
        if (!r)
            break;
        *r = (struct qs_command_record){
            .bytes = (uint32_t)bytes, .len = (uint32_t)n, .conn = c, .command = QS_DO_WRITE};
        memcpy(r + 1, buf + done, n);
        qs_ring_commit(&ch->commands, bytes);
        done += n;
    }
    return done;
}

int64_t qs_app_write(qs_app *a, qs_conn c, const void *buf, size_t len)
{
    struct qs_app_slot *slot = slot_of(a, c);
    if (!slot)
        return QS_ERR_STALE;
    if (slot->closed)
        return QS_ERR_CLOSED;
    uint32_t queue = qs_queue_of(c);
    struct qs_channel *ch = a->channels[queue][slot->prio];
    size_t room = credit(a, slot), n = 0;
    bool ring_full = false;
    if (!slot->listed) {
        size_t most = len < room ? len : room;
        n = put_octets(ch, c, buf, most);
        ring_full = n < most;
        slot->written += n;
    }
    if (n < len && !slot->listed) {
        if (ring_full || !put_command(ch, QS_DO_WANT_WRITE, c, 0))
            put_off(ch, slots_of(a, queue), c, QS_DO_WANT_WRITE);
    }
    nudge_queue(a, queue);
    return (int64_t)n;
}

/* ---- what was put off ---- */

/* @return false when the ring is full again. */
static bool catch_up(struct qs_channel *ch, struct qs_app_slot *slot)
{
    static const enum qs_command order[] = {QS_DO_WANT_WRITE, QS_DO_SHUTDOWN, QS_DO_CLOSE,
                                            QS_DO_ABORT};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        uint8_t bit = (uint8_t)(1u << order[i]);
        if (!(slot->put_off & bit))
            continue;
        if (!put_command(ch, order[i], slot->conn, 0))
            return false;
        slot->put_off &= (uint8_t)~bit;
        if (order[i] == QS_DO_CLOSE || order[i] == QS_DO_ABORT)
            slot->conn.v = 0;
    }
    return true;
}

static void catch_up_all(struct qs_app *a, struct qs_channel *ch)
{
    if (ch->starved.first == QS_NO_SLOT || qs_ring_room(&ch->commands) < ch->commands.bytes / 2)
        return;
    struct qs_app_slot *slots = slots_of(a, ch->queue);
    while (ch->starved.first != QS_NO_SLOT && catch_up(ch, &slots[ch->starved.first]))
        QS_SLOT_POP(&ch->starved, slots);
    if (ch->starved.first == QS_NO_SLOT)
        __atomic_store_n(&ch->app_starved, 0, __ATOMIC_SEQ_CST);
    nudge_queue(a, ch->queue);
}

/* ---- events ---- */

static void give_back(struct qs_app *a, struct qs_channel *ch)
{
    if (ch->held) {
        qs_ring_release(&ch->events, ch->held);
        ch->held = 0;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (__atomic_load_n(&ch->worker_starved, __ATOMIC_RELAXED))
            nudge_queue(a, ch->queue);
    }
    catch_up_all(a, ch);
}

/* Turns a record into an event. @return false when the application gave the connection up
 * meanwhile. */
static bool take_record(struct qs_app *a, struct qs_channel *ch, const struct qs_event_record *r,
                        struct qs_app_event *out)
{
    struct qs_app_slot *slot = &slots_of(a, ch->queue)[qs_slot_of(r->conn)];
    if (r->flags & QS_EVENT_OPEN) {
        slot->conn = r->conn;
        slot->user = r->user;
        slot->written = 0;
        slot->remote = r->remote;
        slot->remote_port = r->remote_port;
        slot->prio = ch->prio;
        slot->closed = false;
        slot->put_off = 0; /* calls of the connection before are void */
    }
    if (slot->conn.v != r->conn.v || (slot->put_off & (1u << QS_DO_CLOSE | 1u << QS_DO_ABORT)))
        return false;
    *out = (struct qs_app_event){
        .conn = r->conn,
        .user = slot->user,
        .data = r->len ? (const uint8_t *)(r + 1) : NULL,
        .len = r->len,
        .flags = r->flags,
        .listener = r->listener,
        .err = r->err,
        .prio = ch->prio,
    };
    if (r->flags & QS_EVENT_CLOSED)
        slot->conn.v = 0;
    return true;
}

static size_t take_events(struct qs_app *a, struct qs_channel *ch, struct qs_app_event *events,
                          size_t n)
{
    size_t bytes, done = 0;
    const uint8_t *at = qs_ring_peek(&ch->events, &bytes);
    while (done < n && ch->held < bytes) {
        const struct qs_event_record *r = (const void *)(at + ch->held);
        if (take_record(a, ch, r, &events[done]))
            done++;
        ch->held += r->bytes;
    }
    return done;
}

/* Events of the most urgent class that has any, from all queues in turn. */
static size_t collect(struct qs_app *a, struct qs_app_event *events, size_t n)
{
    uint32_t queues = a->stack->opts.n_queues, first = a->rotation++;
    for (uint32_t p = QS_N_PRIO; p-- > 0;) {
        if (!(a->classes & 1u << p))
            continue;
        size_t done = 0;
        for (uint32_t i = 0; i < queues && done < n; i++)
            done += take_events(a, a->channels[(first + i) % queues][p], events + done, n - done);
        if (done)
            return done;
    }
    return 0;
}

static void give_back_all(struct qs_app *a)
{
    for (uint32_t q = 0; q < a->stack->opts.n_queues; q++)
        for (uint32_t p = 0; p < QS_N_PRIO; p++)
            if (a->channels[q][p])
                give_back(a, a->channels[q][p]);
}

/* From here on workers write to event_fd; what came just before is collected. */
static size_t arm(struct qs_app *a, struct qs_app_event *events, size_t n)
{
    __atomic_store_n(&a->sleeping, 1, __ATOMIC_SEQ_CST);
    return collect(a, events, n);
}

static void disarm(struct qs_app *a)
{
    uint64_t ignored;
    if (!__atomic_exchange_n(&a->sleeping, 0, __ATOMIC_SEQ_CST))
        return;
    ssize_t got = read(a->event_fd, &ignored, sizeof ignored); /* nobody may have written */
    (void)got;
}

static size_t sleep_until_event(struct qs_app *a, struct qs_app_event *events, size_t n,
                                qs_dur timeout)
{
    size_t found = arm(a, events, n);
    if (found == 0 && !__atomic_load_n(&a->woken, __ATOMIC_ACQUIRE)) {
        struct pollfd p = {.fd = a->event_fd, .events = POLLIN};
        struct timespec limit = {(time_t)(timeout.ns / 1000000000u),
                                 (long)(timeout.ns % 1000000000u)};
        if (ppoll(&p, 1, &limit, NULL) > 0)
            found = collect(a, events, n);
    }
    disarm(a);
    return found;
}

int qs_app_wait(qs_app *a, struct qs_app_event *events, size_t n, qs_dur timeout)
{
    if (n == 0 || n > INT32_MAX)
        return QS_ERR_ARG;
    disarm(a);
    give_back_all(a);
    qs_time began = qs_clock_now(), now = began;
    for (;;) {
        size_t found = collect(a, events, n);
        if (__atomic_load_n(&a->woken, __ATOMIC_ACQUIRE) && found == 0) {
            __atomic_store_n(&a->woken, 0, __ATOMIC_RELEASE);
            return QS_ERR_AGAIN;
        }
        uint64_t waited = now.ns - began.ns;
        if (found)
            return (int)found;
        if (waited >= timeout.ns)
            return (int)arm(a, events, n); /* qs_app_fd() tells of the next one */
        give_back_all(a);                  /* skipped records, and calls that were put off */
        if (waited >= a->stack->opts.poll_idle.ns) {
            found = sleep_until_event(a, events, n, (qs_dur){timeout.ns - waited});
            if (found)
                return (int)found;
        }
        now = qs_clock_now();
    }
}

qs_err qs_app_set_user(qs_app *a, qs_conn c, uint64_t user)
{
    struct qs_app_slot *slot = slot_of(a, c);
    if (!slot)
        return QS_ERR_STALE;
    slot->user = user;
    return 0;
}

qs_err qs_app_peer(const qs_app *a, qs_conn c, qs_addr *remote, uint16_t *port)
{
    const struct qs_app_slot *slot = slot_of(a, c);
    memset(remote, 0, sizeof *remote);
    *port = 0;
    if (!slot)
        return QS_ERR_STALE;
    *remote = slot->remote;
    *port = slot->remote_port;
    return 0;
}
