/* SPDX-License-Identifier: Apache-2.0 */
/* Driver `pair`: a wire in memory between two ends, in one process or two, that needs no rights.
 *
 * The sending queue does what wire and NIC would do: it draws the faults, asks the receiver's
 * software NIC for the queue and puts the frame, where it lies, on that queue's ring. So a frame is
 * never copied, and a receiving queue only reads. A side that has nobody at the other end sends
 * into nothing, like a NIC without a link.
 *
 * When the peer goes, what it had sent to a queue in use is still received; what is sent to it goes
 * nowhere.
 *
 * Invariants: a queue is used by one thread at a time; it changes to another wire
 * (qs_pair_link.current) only while no frame is lent, so all that lies between rx and rx_done,
 * reserve and commit belongs to one wire. */
#include "io/driver.h"

#include "io/clock.h"
#include "io/diag.h"
#include "io/mem.h"
#include "io/pair.h"
#include "io/pair_faults.h"
#include "io/pair_link.h"
#include "io/softnic_ethtool.h"
#include "io/softnic_lookup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define SLOT_MASK (QS_WIRE_SLOTS - 1u)
#define ETH_HEADER_BYTES 14u

_Static_assert((QS_WIRE_SLOTS & SLOT_MASK) == 0, "slot rings wrap by mask");

struct pair_tx {
    uint32_t n_free;
    uint32_t free[QS_WIRE_SLOTS];          /* a stack: what was used last is still in the cache */
    bool out[QS_WIRE_SLOTS];               /* with the peer */
    uint32_t sent[QS_N_QUEUES_MAX];        /* of the ring to each peer queue */
    uint32_t took_back[QS_N_QUEUES_MAX];   /* likewise, slots returned */
    uint64_t burst_bytes[QS_N_QUEUES_MAX]; /* of the commit that is going on */
    uint32_t burst_from[QS_N_QUEUES_MAX];
    struct qs_pair_dice dice;
    bool to_nobody;   /* what is lent is lost: there is no peer */
    uint8_t *scratch; /* where such frames are written */
};

struct pair_rx {
    uint32_t taken[QS_N_QUEUES_MAX];    /* of the ring from each peer queue */
    uint32_t returned[QS_N_QUEUES_MAX]; /* likewise, slots given back */
    uint32_t next_tx;                   /* the peer queue that is served first */
    struct qs_pair_late late;
    bool armed, timer_set;
};

struct pair_queue {
    alignas(64) struct qs_wire *wire; /* NULL: nobody at the other end */
    uint32_t n_lent;                  /* frames between rx and rx_done, reserve and commit */
    uint32_t index;
    struct pair_rx rx;
    int poll_fd, timer_fd; /* an epoll of the event fd and, for late frames, a timer */
    struct qs_driver_stats stats;
    struct qs_pair_fault_counts faults;
    alignas(64) struct pair_tx tx;
};

/* One setting of faults. Replaced ones are kept until the end: queues may still look at them. */
struct faults_set {
    struct qs_pair_faults faults;
    struct faults_set *older;
};

struct pair {
    struct qs_driver base;
    struct qs_pair_link link;
    uint32_t side;
    struct pair_queue *queues;
    uint32_t frame_room;
    uint8_t *scratch; /* one slot for each queue */
    _Atomic(struct faults_set *) faults;
    struct faults_set *all_faults;
    struct qs_softnic_server *server;
};

static struct pair *pair_of(struct qs_driver *d)
{
    return (struct pair *)d; /* first member */
}

static const struct pair *pair_of_const(const struct qs_driver *d)
{
    return (const struct pair *)d;
}

/* Counters have one writer and any number of readers. */
static void count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* ---- the wire under a queue ---- */

static void start_on_wire(struct pair_queue *q)
{
    struct pair_tx *tx = &q->tx;
    tx->n_free = 0;
    for (uint32_t slot = QS_WIRE_SLOTS; slot-- > 0;)
        tx->free[tx->n_free++] = slot;
    memset(tx->out, 0, sizeof tx->out);
    memset(tx->sent, 0, sizeof tx->sent);
    memset(tx->took_back, 0, sizeof tx->took_back);
    memset(q->rx.taken, 0, sizeof q->rx.taken);
    memset(q->rx.returned, 0, sizeof q->rx.returned);
    q->rx.next_tx = 0;
    qs_pair_late_clear(&q->rx.late);
}

static bool is_current(const struct pair *p, const struct pair_queue *q)
{
    return atomic_load_explicit(&p->link.current, memory_order_acquire) == q->wire;
}

/* Changes to the current wire, unless frames of the old one are lent. */
static void follow_link(struct pair *p, struct pair_queue *q)
{
    if (is_current(p, q) || q->n_lent > 0)
        return;
    q->wire = qs_pair_link_change(&p->link, q->wire);
    start_on_wire(q);
}

static uint32_t n_peer_queues(const struct pair *p, const struct qs_wire *w)
{
    return w->shape.n_queues[1 - p->side];
}

/* ---- sending ---- */

static void take_back(struct pair *p, struct pair_queue *q)
{
    struct pair_tx *tx = &q->tx;
    for (uint32_t rx = 0; rx < n_peer_queues(p, q->wire); rx++) {
        struct qs_wire_path *path = qs_wire_path(q->wire, p->side, q->index, rx);
        uint32_t end = atomic_load_explicit(&path->returned, memory_order_acquire);
        if (end - tx->took_back[rx] > QS_WIRE_SLOTS)
            continue; /* nonsense from the peer */
        for (; tx->took_back[rx] != end; tx->took_back[rx]++) {
            uint32_t slot = path->slot[tx->took_back[rx] & SLOT_MASK];
            if (slot >= QS_WIRE_SLOTS || !tx->out[slot])
                continue;
            tx->out[slot] = false;
            tx->free[tx->n_free++] = slot;
        }
    }
}

static size_t pair_tx_reserve(struct qs_driver *d, uint32_t queue, struct qs_frame *frames,
                              size_t n)
{
    struct pair *p = pair_of(d);
    struct pair_queue *q = &p->queues[queue];
    struct pair_tx *tx = &q->tx;
    if (!q->wire)
        follow_link(p, q);
    tx->to_nobody = !q->wire || !is_current(p, q);
    if (!tx->to_nobody) {
        take_back(p, q);
        n = n < tx->n_free ? n : tx->n_free;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t slot = tx->to_nobody ? 0 : tx->free[--tx->n_free];
        uint8_t *data = tx->to_nobody ? tx->scratch : qs_wire_slot(q->wire, p->side, queue, slot);
        frames[i] = (struct qs_frame){.data = data, .room = p->frame_room, .cookie = slot};
    }
    q->n_lent += (uint32_t)n;
    return n;
}

/* Puts one frame on the ring of the queue that the receiver's NIC chooses. */
static void put_on_ring(struct pair *p, struct pair_queue *q, const struct qs_frame *frame,
                        uint64_t due_ns)
{
    struct pair_tx *tx = &q->tx;
    struct qs_softnic_verdict verdict = {.queue = QS_SOFTNIC_DROP};
    uint32_t slot = (uint32_t)frame->cookie;
    qs_softnic_receive(q->wire->peer_nic, frame->data, frame->len, &verdict);
    if (verdict.queue >= n_peer_queues(p, q->wire)) { /* a rule that drops */
        tx->free[tx->n_free++] = slot;
        return;
    }
    struct qs_wire_path *path = qs_wire_path(q->wire, p->side, q->index, verdict.queue);
    uint32_t flags = (verdict.is_ip ? QS_FRAME_HASH : 0u) |
                     (frame->flags & QS_FRAME_CSUM_PARTIAL ? QS_FRAME_CSUM_OK : 0u);
    path->desc[tx->sent[verdict.queue]++ & SLOT_MASK] =
        (struct qs_wire_desc){.slot = slot,
                              .len = frame->len,
                              .hash = verdict.hash,
                              .flags = (uint16_t)flags,
                              .gso_bytes = frame->gso_bytes,
                              .due_ns = due_ns};
    tx->out[slot] = true;
    tx->burst_bytes[verdict.queue] += frame->len;
}

/* Sends a copy, if there is a slot for it. */
static void put_duplicate(struct pair *p, struct pair_queue *q, const struct qs_frame *frame,
                          uint64_t due_ns)
{
    if (q->tx.n_free == 0)
        return;
    struct qs_frame copy = *frame;
    copy.cookie = q->tx.free[--q->tx.n_free];
    copy.data = qs_wire_slot(q->wire, p->side, q->index, (uint32_t)copy.cookie);
    memcpy(copy.data, frame->data, frame->len);
    count(&q->faults.duplicated, 1);
    put_on_ring(p, q, &copy, due_ns);
}

static void put_with_faults(struct pair *p, struct pair_queue *q, struct qs_frame *frame,
                            const struct qs_pair_faults *f, qs_time now)
{
    struct qs_pair_fate fate = qs_pair_dice_roll(&q->tx.dice, f, q->index, now);
    if (fate.lost) {
        count(&q->faults.lost, 1);
        q->tx.free[q->tx.n_free++] = (uint32_t)frame->cookie;
        return;
    }
    count(&q->faults.reordered, fate.reordered);
    if (fate.duplicated)
        put_duplicate(p, q, frame, fate.due_ns);
    if (fate.corrupted) {
        count(&q->faults.corrupted, 1);
        qs_pair_damage(frame, fate.dice);
    }
    put_on_ring(p, q, frame, fate.due_ns);
}

/* Shows what was put on the rings to the receivers and wakes those that sleep. */
static void publish(struct pair *p, struct pair_queue *q)
{
    struct pair_tx *tx = &q->tx;
    for (uint32_t rx = 0; rx < n_peer_queues(p, q->wire); rx++) {
        uint32_t n = tx->sent[rx] - tx->burst_from[rx];
        if (n == 0)
            continue;
        qs_softnic_count_queue(q->wire->peer_nic, rx, n, tx->burst_bytes[rx]);
        /* In one order with the receiver's store to `asleep` and load of `sent`: either it sees the
         * frames or we see that it sleeps. */
        atomic_store(&qs_wire_path(q->wire, p->side, q->index, rx)->sent, tx->sent[rx]);
        struct qs_wire_sleeper *sleeper = qs_wire_sleeper(q->wire, 1 - p->side, rx);
        if (atomic_load(&sleeper->asleep) && atomic_exchange(&sleeper->asleep, 0u)) {
            (void)eventfd_write(q->wire->peer_event[rx], 1);
            count(&q->stats.kicks, 1);
        }
    }
}

static void pair_tx_commit(struct qs_driver *d, uint32_t queue, struct qs_frame *frames,
                           size_t lent, size_t used)
{
    struct pair *p = pair_of(d);
    struct pair_queue *q = &p->queues[queue];
    q->n_lent -= (uint32_t)lent;
    if (q->tx.to_nobody) {
        count(&q->stats.tx_lost, used);
        return;
    }
    for (size_t i = lent; i-- > used;)
        q->tx.free[q->tx.n_free++] = (uint32_t)frames[i].cookie;
    if (used == 0)
        return;
    memcpy(q->tx.burst_from, q->tx.sent, sizeof q->tx.sent);
    memset(q->tx.burst_bytes, 0, sizeof q->tx.burst_bytes);
    const struct faults_set *faults = atomic_load_explicit(&p->faults, memory_order_acquire);
    qs_time now = faults ? qs_clock_now() : (qs_time){0};
    for (size_t i = 0; i < used; i++) {
        if (faults)
            put_with_faults(p, q, &frames[i], &faults->faults, now);
        else
            put_on_ring(p, q, &frames[i], 0);
    }
    publish(p, q);
}

/* ---- receiving ---- */

static void give_back(struct pair *p, struct pair_queue *q, uint32_t tx, uint32_t slot)
{
    struct qs_wire_path *path = qs_wire_path(q->wire, 1 - p->side, tx, q->index);
    path->slot[q->rx.returned[tx]++ & SLOT_MASK] = slot;
    atomic_store_explicit(&path->returned, q->rx.returned[tx], memory_order_release);
}

/* Shows a frame to the caller; false, and it goes back, when its description cannot be true. */
static bool show(struct pair *p, struct pair_queue *q, const struct qs_wire_desc *desc, uint32_t tx,
                 struct qs_frame *out)
{
    if (desc->slot >= QS_WIRE_SLOTS || desc->len < ETH_HEADER_BYTES || desc->len > p->frame_room) {
        count(&q->stats.rx_bad, 1);
        give_back(p, q, tx, desc->slot);
        return false;
    }
    *out = (struct qs_frame){.data = qs_wire_slot(q->wire, 1 - p->side, tx, desc->slot),
                             .len = desc->len,
                             .hash = desc->hash,
                             .flags = desc->flags & (QS_FRAME_HASH | QS_FRAME_CSUM_OK),
                             .gso_bytes = desc->gso_bytes,
                             .cookie = (uint64_t)tx << 32 | desc->slot};
    return true;
}

/* Takes frames of one ring: to the caller, or aside if they are not due. */
static size_t take_from(struct pair *p, struct pair_queue *q, uint32_t tx, struct qs_frame *frames,
                        size_t n)
{
    struct qs_wire_path *path = qs_wire_path(q->wire, 1 - p->side, tx, q->index);
    uint32_t end = atomic_load_explicit(&path->sent, memory_order_acquire);
    if (end - q->rx.taken[tx] > QS_WIRE_SLOTS)
        return 0; /* nonsense from the peer */
    size_t got = 0;
    while (got < n && q->rx.taken[tx] != end) {
        struct qs_wire_desc desc = path->desc[q->rx.taken[tx]++ & SLOT_MASK];
        if (desc.due_ns != 0 && qs_pair_late_put(&q->rx.late, &desc, tx))
            continue;
        got += show(p, q, &desc, tx, &frames[got]);
    }
    return got;
}

static size_t take_late(struct pair *p, struct pair_queue *q, struct qs_frame *frames, size_t n)
{
    struct qs_pair_late_frame frame;
    qs_time now = qs_clock_now();
    size_t got = 0;
    while (got < n && qs_pair_late_take(&q->rx.late, now, &frame))
        got += show(p, q, &frame.desc, frame.tx, &frames[got]);
    return got;
}

/* After the sleep: takes back what arm() did. */
static void disarm(struct pair *p, struct pair_queue *q)
{
    eventfd_t dummy;
    uint64_t expiries;
    q->rx.armed = false;
    if (q->wire)
        atomic_store(&qs_wire_sleeper(q->wire, p->side, q->index)->asleep, 0u);
    (void)eventfd_read(p->link.event_fds[q->index], &dummy); /* empty when something else woke us */
    if (q->rx.timer_set)
        (void)!read(q->timer_fd, &expiries, sizeof expiries);
}

/* Takes what lies on the queue's wire. */
static size_t take(struct pair *p, struct pair_queue *q, struct qs_frame *frames, size_t n)
{
    if (!q->wire)
        return 0;
    uint32_t n_tx = n_peer_queues(p, q->wire);
    size_t got = 0;
    for (uint32_t i = 0; i < n_tx && got < n; i++) {
        uint32_t tx = q->rx.next_tx + i;
        got += take_from(p, q, tx < n_tx ? tx : tx - n_tx, frames + got, n - got);
    }
    q->rx.next_tx = q->rx.next_tx + 1 < n_tx ? q->rx.next_tx + 1 : 0;
    if (q->rx.late.n > 0)
        got += take_late(p, q, frames + got, n - got);
    return got;
}

static size_t pair_rx(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t n)
{
    struct pair *p = pair_of(d);
    struct pair_queue *q = &p->queues[queue];
    if (q->rx.armed)
        disarm(p, q);
    bool is_over = !is_current(p, q); /* asked first: nothing came after that */
    size_t got = take(p, q, frames, n);
    if (is_over && got == 0) {
        follow_link(p, q);
        got = take(p, q, frames, n);
    }
    q->n_lent += (uint32_t)got;
    return got;
}

static void pair_rx_done(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t n)
{
    struct pair *p = pair_of(d);
    struct pair_queue *q = &p->queues[queue];
    for (size_t i = 0; i < n; i++)
        give_back(p, q, (uint32_t)(frames[i].cookie >> 32), (uint32_t)frames[i].cookie);
    q->n_lent -= (uint32_t)n;
}

static int pair_fd(const struct qs_driver *d, uint32_t queue)
{
    return pair_of_const(d)->queues[queue].poll_fd;
}

static void set_timer(struct pair_queue *q)
{
    qs_time due = qs_pair_late_next(&q->rx.late);
    bool wanted = due.ns != QS_NEVER.ns;
    if (!wanted && !q->rx.timer_set)
        return;
    struct itimerspec at = {.it_value = {0, 0}}; /* zero: off */
    if (wanted) {
        at.it_value.tv_sec = (time_t)(due.ns / 1000000000u);
        at.it_value.tv_nsec = (long)(due.ns % 1000000000u);
    }
    (void)timerfd_settime(q->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    q->rx.timer_set = wanted;
}

static bool has_frames(const struct pair *p, const struct pair_queue *q)
{
    for (uint32_t tx = 0; tx < n_peer_queues(p, q->wire); tx++) {
        uint32_t sent = atomic_load(&qs_wire_path(q->wire, 1 - p->side, tx, q->index)->sent);
        /* As in take_from(): a ring that holds nonsense has nothing for us. */
        if (sent != q->rx.taken[tx] && sent - q->rx.taken[tx] <= QS_WIRE_SLOTS)
            return true;
    }
    return false;
}

static bool pair_arm(struct qs_driver *d, uint32_t queue)
{
    struct pair *p = pair_of(d);
    struct pair_queue *q = &p->queues[queue];
    q->rx.armed = true;
    if (q->wire) {
        set_timer(q);
        atomic_store(&qs_wire_sleeper(q->wire, p->side, q->index)->asleep, 1u);
        if (has_frames(p, q))
            return true;
    }
    /* A wire that came since has a sleeper that is set, and our event fd was written or will be. */
    return atomic_load(&p->link.current) != q->wire;
}

static void pair_stats(const struct qs_driver *d, uint32_t queue, struct qs_driver_stats *out)
{
    const struct qs_driver_stats *s = &pair_of_const(d)->queues[queue].stats;
    *out = (struct qs_driver_stats){.rx_bad = __atomic_load_n(&s->rx_bad, __ATOMIC_RELAXED),
                                    .tx_lost = __atomic_load_n(&s->tx_lost, __ATOMIC_RELAXED),
                                    .kicks = __atomic_load_n(&s->kicks, __ATOMIC_RELAXED)};
}

/* ---- open and close ---- */

static qs_err check_opts(const struct qs_driver_opts *o, struct qs_diag *diag)
{
    const char *name = o->ifname ? o->ifname : "";
    if (!*name || strlen(name) >= sizeof((struct qs_driver *)0)->ifname)
        return qs_fail(diag, QS_ERR_ARG, "\"%s\" cannot name a wire: it takes 1 to %zu characters",
                       name, sizeof((struct qs_driver *)0)->ifname - 1);
    if (o->pair_side > 1)
        return qs_fail(diag, QS_ERR_ARG,
                       "a wire has sides 0 (makes it) and 1 (joins it): pair_side cannot be %u",
                       o->pair_side);
    if (o->n_queues < 1 || o->n_queues > QS_N_QUEUES_MAX)
        return qs_fail(diag, QS_ERR_ARG, "wire \"%s\": %u queues asked for, the range is 1 to %u",
                       name, o->n_queues, QS_N_QUEUES_MAX);
    if (o->mtu != 0 && (o->mtu < 576 || o->mtu > 65535))
        return qs_fail(diag, QS_ERR_ARG, "wire \"%s\": MTU %u is out of range, 576 to 65535 bytes",
                       name, o->mtu);
    return 0;
}

static qs_err open_queue(struct pair *p, uint32_t index, struct qs_diag *diag)
{
    struct pair_queue *q = &p->queues[index];
    q->index = index;
    int event_fd = p->link.event_fds[index] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    q->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    q->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event in = {.events = EPOLLIN};
    if (event_fd < 0 || q->timer_fd < 0 || q->poll_fd < 0 ||
        epoll_ctl(q->poll_fd, EPOLL_CTL_ADD, event_fd, &in) != 0 ||
        epoll_ctl(q->poll_fd, EPOLL_CTL_ADD, q->timer_fd, &in) != 0)
        return qs_fail(diag, QS_ERR_SYS, "wire \"%s\": no descriptors for queue %u: %s",
                       p->link.name, index, strerror(errno));
    return 0;
}

/* Everything that is this side's own: queues, software NIC. */
static qs_err open_side(struct pair *p, uint32_t n_queues, struct qs_diag *diag)
{
    qs_err err = qs_wire_memfd(&p->link.nic_fd, "qstack-nic", sizeof *p->base.softnic, diag);
    if (err != 0)
        return err;
    p->base.softnic = qs_wire_map(p->link.nic_fd, sizeof *p->base.softnic);
    p->queues = qs_mem_pages.alloc(NULL, n_queues * sizeof *p->queues);
    if (!p->base.softnic || !p->queues)
        return qs_fail(diag, QS_ERR_NOMEM, "wire \"%s\": out of memory", p->link.name);
    qs_softnic_init(p->base.softnic, n_queues);
    for (uint32_t i = 0; i < n_queues; i++)
        p->queues[i].poll_fd = p->queues[i].timer_fd = -1;
    for (uint32_t i = 0; i < n_queues && err == 0; i++)
        err = open_queue(p, i, diag);
    return err;
}

/* What the wire turned out to be. */
static qs_err settle(struct pair *p, struct qs_diag *diag)
{
    const struct qs_pair_link *l = &p->link;
    struct qs_driver_caps *caps = &p->base.caps;
    snprintf(caps->mode, sizeof caps->mode, "memory");
    caps->n_queues = l->n_queues;
    caps->mtu = l->mtu;
    caps->offloads = l->offload ? QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO : 0;
    caps->rx_csum = l->offload;
    p->frame_room = qs_pair_frame_bytes_max(l->mtu, l->offload);
    caps->gso_max_bytes = l->offload ? p->frame_room : 0;
    if (getrandom(caps->mac, sizeof caps->mac, 0) != (ssize_t)sizeof caps->mac)
        return qs_fail(diag, QS_ERR_SYS, "getrandom: %s", strerror(errno));
    caps->mac[0] = (uint8_t)((caps->mac[0] & 0xfcu) | 0x02u); /* local, unicast */

    uint32_t slot_bytes = qs_wire_slot_bytes(p->frame_room);
    p->scratch = qs_mem_pages.alloc(NULL, (size_t)l->n_queues * slot_bytes);
    if (!p->scratch)
        return qs_fail(diag, QS_ERR_NOMEM, "wire \"%s\": out of memory", l->name);
    for (uint32_t i = 0; i < l->n_queues; i++)
        p->queues[i].tx.scratch = p->scratch + (size_t)i * slot_bytes;
    return 0;
}

static qs_err start_server(struct pair *p, struct qs_diag *diag)
{
    char name[sizeof p->link.name + 2];
    snprintf(name, sizeof name, p->side == 0 ? "%s" : "%s.1", p->link.name);
    return qs_softnic_server_start(&p->server, p->base.softnic, name, "memory", diag);
}

static void close_side(struct pair *p)
{
    for (uint32_t i = 0; p->queues && i < p->link.n_queues; i++) {
        const struct pair_queue *q = &p->queues[i];
        int fds[] = {q->poll_fd, q->timer_fd, p->link.event_fds[i]};
        for (size_t k = 0; k < sizeof fds / sizeof fds[0]; k++) {
            if (fds[k] >= 0)
                close(fds[k]);
        }
        qs_pair_late_free(&p->queues[i].rx.late);
    }
    if (p->scratch)
        qs_mem_pages.free(NULL, p->scratch,
                          (size_t)p->link.n_queues * qs_wire_slot_bytes(p->frame_room));
    qs_mem_pages.free(NULL, p->queues, p->link.n_queues * sizeof *p->queues);
    if (p->base.softnic)
        (void)munmap(p->base.softnic, sizeof *p->base.softnic);
    if (p->link.nic_fd >= 0)
        close(p->link.nic_fd);
    while (p->all_faults) {
        struct faults_set *older = p->all_faults->older;
        free(p->all_faults);
        p->all_faults = older;
    }
    free(p);
}

static void pair_close(struct qs_driver *d)
{
    struct pair *p = pair_of(d);
    qs_softnic_server_stop(p->server);
    for (uint32_t i = 0; i < p->link.n_queues; i++)
        qs_pair_link_leave(&p->link, p->queues[i].wire);
    qs_pair_link_close(&p->link);
    close_side(p);
}

static qs_err pair_open(struct qs_driver **out, const struct qs_driver_opts *o,
                        struct qs_diag *diag)
{
    *out = NULL;
    qs_err err = check_opts(o, diag);
    if (err != 0)
        return err;
    struct pair *p = calloc(1, sizeof *p);
    if (!p)
        return qs_fail(diag, QS_ERR_NOMEM, "wire \"%s\": out of memory", o->ifname);
    p->base.ops = &qs_driver_pair;
    p->side = o->pair_side;
    struct qs_pair_link *l = &p->link;
    snprintf(l->name, sizeof l->name, "%s", o->ifname);
    snprintf(p->base.ifname, sizeof p->base.ifname, "%s", o->ifname);
    l->side = o->pair_side;
    l->n_queues = o->n_queues;
    l->mtu = o->mtu != 0 || o->pair_side == 1 ? o->mtu : 1500;
    l->offload = !o->no_offload;
    l->nic_fd = -1;
    memset(l->event_fds, -1, sizeof l->event_fds);

    err = open_side(p, o->n_queues, diag);
    if (err == 0)
        err = qs_pair_link_open(l, diag);
    if (err != 0) {
        close_side(p);
        return err;
    }
    err = settle(p, diag);
    if (err == 0)
        err = start_server(p, diag);
    if (err != 0) {
        pair_close(&p->base);
        return err;
    }
    *out = &p->base;
    return 0;
}

static qs_err pair_claim(struct qs_driver *d, const qs_addr *addr, uint16_t port,
                         struct qs_diag *diag)
{
    (void)d, (void)addr, (void)port, (void)diag;
    return 0; /* every frame of the wire is ours */
}

static void pair_unclaim(struct qs_driver *d, const qs_addr *addr, uint16_t port)
{
    (void)d, (void)addr, (void)port;
}

const struct qs_driver_ops qs_driver_pair = {
    .name = "pair",
    .open = pair_open,
    .close = pair_close,
    .rx = pair_rx,
    .rx_done = pair_rx_done,
    .tx_reserve = pair_tx_reserve,
    .tx_commit = pair_tx_commit,
    .fd = pair_fd,
    .arm = pair_arm,
    .stats = pair_stats,
    .claim = pair_claim,
    .unclaim = pair_unclaim,
};

/* ---- pair.h ---- */

qs_err qs_pair_faults_set(struct qs_driver *d, const struct qs_pair_faults *f)
{
    struct pair *p = pair_of(d);
    const uint32_t million = 1000000u;
    if (!f) {
        atomic_store_explicit(&p->faults, NULL, memory_order_release);
        return 0;
    }
    if (f->loss_ppm > million || f->duplicate_ppm > million || f->reorder_ppm > million ||
        f->corrupt_ppm > million)
        return QS_ERR_ARG;
    struct faults_set *set = malloc(sizeof *set);
    if (!set)
        return QS_ERR_NOMEM;
    *set = (struct faults_set){*f, p->all_faults};
    p->all_faults = set;
    atomic_store_explicit(&p->faults, set, memory_order_release);
    return 0;
}

void qs_pair_fault_counts(const struct qs_driver *d, struct qs_pair_fault_counts *out)
{
    const struct pair *p = pair_of_const(d);
    *out = (struct qs_pair_fault_counts){0};
    for (uint32_t i = 0; i < p->link.n_queues; i++) {
        const struct qs_pair_fault_counts *c = &p->queues[i].faults;
        out->lost += __atomic_load_n(&c->lost, __ATOMIC_RELAXED);
        out->duplicated += __atomic_load_n(&c->duplicated, __ATOMIC_RELAXED);
        out->reordered += __atomic_load_n(&c->reordered, __ATOMIC_RELAXED);
        out->corrupted += __atomic_load_n(&c->corrupted, __ATOMIC_RELAXED);
    }
}

bool qs_pair_connected(const struct qs_driver *d)
{
    return atomic_load(&pair_of_const(d)->link.current) != NULL;
}

uint64_t qs_pair_peers_lost(const struct qs_driver *d)
{
    return atomic_load(&pair_of_const(d)->link.n_lost);
}
