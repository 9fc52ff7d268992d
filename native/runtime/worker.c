/* SPDX-License-Identifier: Apache-2.0 */
/* A worker: one thread that runs the queues it was given, polls while there is work and a little
 * longer, then sleeps until a frame, a command, a letter, a queue or a deadline of an engine. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io/clock.h"
#include "io/diag.h"
#include "runtime/flows.h"
#include "runtime/scale.h"

#define RX_BURST 32u
#define TX_BURST 64u
/* What one queue may take of a turn before the next one has its own, and receiving goes on. */
#define TX_BURSTS_PER_TURN 8u
/* Nanoseconds: a short handler; some thousand. */
#define SHARE_UNIT 10000u
#define SHARE_QUANTUM 10000000u
/* Longest sleep. */
#define SLEEP_MAX QS_MS(100)
/* A device that is full is tried again after this; none tells when it has room. */
#define FULL_RETRY QS_US(200)
/* Longest sleep while a queue could not be watched. */
#define UNWATCHED_SLEEP QS_US(200)

/* ---- one queue ---- */

static bool receive(struct qs_driver *d, struct qs_queue *q, qs_time now)
{
    struct qs_frame frames[RX_BURST];
    size_t n = d->ops->rx(d, q->idx, frames, RX_BURST);
    q->ring_empty = n < RX_BURST;
    if (n == 0)
        return false;
    if (q->flows.frames_of)
        qs_flows_count(q, frames, n);
    qs_engine_rx(q->engine, frames, n, now);
    d->ops->rx_done(d, q->idx, frames, n);
    return true;
}

static bool transmit(struct qs_stack *s, struct qs_queue *q, qs_time now)
{
    struct qs_driver *d = s->driver;
    bool any = false;
    q->device_full = false;
    for (uint32_t i = 0; i < TX_BURSTS_PER_TURN; i++) {
        if (qs_engine_deadline(q->engine).ns > now.ns)
            break;
        struct qs_frame frames[TX_BURST];
        size_t lent = d->ops->tx_reserve(d, q->idx, frames, TX_BURST);
        q->device_full = lent == 0;
        if (q->device_full) { /* time goes on all the same */
            (void)qs_engine_tx(q->engine, frames, 0, now);
            break;
        }
        size_t used = qs_engine_tx(q->engine, frames, lent, now);
        d->ops->tx_commit(d, q->idx, frames, lent, used);
        if (qs_trace_sent(q->engine))
            qs_trace_left(q->engine, qs_clock_now());
        any |= used > 0;
        if (used < lent)
            break;
    }
    return any;
}

/* What handlers and applications caused. @return true when something moved. */
static bool send(struct qs_stack *s, struct qs_queue *q, qs_time now)
{
    bool busy = s->n_apps && qs_split_run(s, q);
    busy |= transmit(s, q, now);
    busy |= qs_neighbours_listen(s, q);
    if (q->touched_apps)
        qs_split_wake(s, q);
    return busy;
}

/* ---- sleeping ---- */

void qs_worker_nudge(struct qs_worker *w)
{
    if (!__atomic_exchange_n(&w->sleeping, 0, __ATOMIC_ACQ_REL))
        return;
    uint64_t one = 1;
    ssize_t written = write(w->event_fd, &one, sizeof one);
    (void)written; /* full means that it will wake anyhow */
}

static bool is_to_end(const struct qs_worker *w)
{
    return __atomic_load_n(&w->stack->stopping, __ATOMIC_ACQUIRE) ||
           __atomic_load_n(&w->ending, __ATOMIC_ACQUIRE);
}

static bool may_sleep(struct qs_worker *w)
{
    struct qs_stack *s = w->stack;
    if (__atomic_load_n(&w->asked, __ATOMIC_ACQUIRE) ||
        __atomic_load_n(&w->given, __ATOMIC_ACQUIRE) || is_to_end(w))
        return false;
    for (uint64_t left = w->runs; left; left &= left - 1) {
        uint32_t q = qs_first_of(left);
        if (__atomic_load_n(&s->queues[q].mail.has_mail, __ATOMIC_ACQUIRE))
            return false;
        if (qs_flows_wait(&s->queues[q]))
            return false;
        if (s->n_apps && qs_split_has_work(s, &s->queues[q]))
            return false;
        if (s->driver->ops->arm(s->driver, q))
            return false;
    }
    return true;
}

static bool watch(struct qs_worker *w, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0;
}

/* Brings what epoll_fd watches up to date: a worker that never sleeps never pays for moves. @return
 * false when the kernel has no memory for it. */
static bool watch_queues(struct qs_worker *w)
{
    const struct qs_driver *d = w->stack->driver;
    for (uint64_t left = w->runs & ~w->watched; left; left &= left - 1) {
        uint32_t q = qs_first_of(left);
        if (!watch(w, d->ops->fd(d, q)))
            return false;
        w->watched |= qs_set_of(q);
    }
    return true;
}

void qs_worker_drop(struct qs_worker *w, uint32_t queue)
{
    const struct qs_driver *d = w->stack->driver;
    w->runs &= ~qs_set_of(queue);
    if (w->watched & qs_set_of(queue))
        (void)epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, d->ops->fd(d, queue), NULL);
    w->watched &= ~qs_set_of(queue);
}

/* When there is something to do even if nothing happens. */
static qs_time wake_time(const struct qs_worker *w, qs_time now)
{
    const struct qs_stack *s = w->stack;
    if (!w->runs)
        return QS_NEVER;
    qs_time first = qs_time_after(now, SLEEP_MAX);
    for (uint64_t left = w->runs; left; left &= left - 1) {
        uint32_t q = qs_first_of(left);
        qs_time t = qs_engine_deadline(s->queues[q].engine);
        if (s->queues[q].device_full && t.ns <= now.ns)
            t = qs_time_after(now, FULL_RETRY);
        if (t.ns < first.ns)
            first = t;
    }
    return first;
}

/* @return true when event_fd was written to. */
static bool wait_for_events(const struct qs_worker *w, qs_time now, qs_time until)
{
    struct epoll_event ready[QS_N_QUEUES_MAX + 1];
    uint64_t ns = until.ns - now.ns;
    struct timespec limit = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    int n = epoll_pwait2(w->epoll_fd, ready, QS_N_QUEUES_MAX + 1,
                         until.ns == QS_NEVER.ns ? NULL : &limit, NULL);
    bool told = false;
    for (int i = 0; i < n; i++)
        told |= ready[i].data.fd == w->event_fd;
    return told;
}

static void sleep_until_work(struct qs_worker *w, qs_time now)
{
    qs_time until = wake_time(w, now);
    if (until.ns <= now.ns)
        return;
    if (!watch_queues(w))
        until = qs_time_after(now, UNWATCHED_SLEEP);
    bool told = false;
    (void)__atomic_exchange_n(&w->sleeping, 1, __ATOMIC_ACQ_REL);
    if (may_sleep(w)) {
        qs_stat_add(&w->stats.sleeps, 1);
        told = wait_for_events(w, now, until);
    }
    /* Whoever took the flag has written, or will: the event then ends a later sleep at once, and is
     * taken there. */
    uint64_t ignored;
    if (!__atomic_exchange_n(&w->sleeping, 0, __ATOMIC_ACQ_REL) || told)
        (void)!read(w->event_fd, &ignored, sizeof ignored);
}

/* ---- thread ---- */

/* @return true when something moved, or is to. */
static bool turn(struct qs_worker *w, qs_time now)
{
    struct qs_stack *s = w->stack;
    bool busy = qs_moves_run(w);
    busy |= qs_notes_take(w, now);
    busy |= qs_flows_run(w, &now);
    for (uint64_t left = w->runs; left; left &= left - 1)
        busy |= receive(s->driver, &s->queues[qs_first_of(left)], now);
    busy |= qs_serve(w, &now);
    for (uint64_t left = w->runs; left; left &= left - 1)
        busy |= send(s, &s->queues[qs_first_of(left)], now);
    /* Events that were left, and those of timers that ran with the transmission. */
    return busy || qs_serve_waiting(w);
}

static void *run(void *arg)
{
    struct qs_worker *w = arg;
    qs_time now = qs_clock_now(), last_busy = now;
    while (!is_to_end(w)) {
        bool busy = turn(w, now);
        qs_stat_add(&w->stats.polls, 1);
        qs_time after = qs_clock_now();
        if (busy) {
            if (now.ns != last_busy.ns)
                qs_spin_learn(&w->spin, (qs_dur){now.ns - last_busy.ns});
            qs_stat_add(&w->stats.busy_polls, 1);
            qs_stat_add(&w->stats.busy_ns, after.ns - now.ns);
            if (w->stats.busy_ns >= __atomic_load_n(&w->tell_at_busy_ns, __ATOMIC_ACQUIRE))
                qs_scale_tell(w);
            last_busy = after;
        } else if (after.ns - last_busy.ns >= w->spin.limit.ns) {
            sleep_until_work(w, after);
            after = qs_clock_now();
        } else {
            qs_clock_idle((qs_dur){after.ns - last_busy.ns});
        }
        now = after;
    }
    __atomic_store_n(&w->cpu_ns_at_end, w->cpu_ns_before + qs_clock_cpu_ns(CLOCK_THREAD_CPUTIME_ID),
                     __ATOMIC_RELEASE);
    return NULL;
}

qs_err qs_worker_init(struct qs_worker *w, struct qs_stack *s, uint32_t idx, struct qs_diag *diag)
{
    w->stack = s;
    w->idx = idx;
    w->tell_at_busy_ns = UINT64_MAX;
    qs_share_init(&w->share, s->opts.min_share_permille, SHARE_UNIT, SHARE_QUANTUM);
    qs_spin_init(&w->spin, s->opts.poll_idle);
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->epoll_fd < 0 || w->event_fd < 0)
        return qs_fail(diag, QS_ERR_SYS, "worker %u: no descriptor: %s", idx, strerror(errno));
    if (!watch(w, w->event_fd))
        return qs_fail(diag, QS_ERR_SYS, "worker %u: epoll_ctl: %s", idx, strerror(errno));
    if (idx < s->opts.n_workers)
        w->state = QS_WORKER_ACTIVE;
    else
        w->state = s->opts.workers_min ? QS_WORKER_PARKED : QS_WORKER_ABSENT;
    return 0;
}

void qs_worker_fini(struct qs_worker *w)
{
    if (w->epoll_fd > 0)
        close(w->epoll_fd);
    if (w->event_fd > 0)
        close(w->event_fd);
}

static void pin(struct qs_worker *w)
{
    const struct qs_stack *s = w->stack;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (s->opts.first_cpu < 0 || cpus < 1)
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)(((uint32_t)s->opts.first_cpu + w->idx) % (uint32_t)cpus), &set);
    (void)pthread_setaffinity_np(w->thread, sizeof set, &set); /* a wish: cpusets may forbid it */
}

qs_err qs_worker_start(struct qs_worker *w, struct qs_diag *diag)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the application's */
    __atomic_store_n(&w->ending, false, __ATOMIC_RELEASE);
    int error = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return qs_fail(diag, QS_ERR_SYS, "worker %u: no thread: %s", w->idx, strerror(error));
    char name[16];
    (void)snprintf(name, sizeof name, "qs-worker-%u", w->idx);
    (void)pthread_setname_np(w->thread, name);
    (void)pthread_getcpuclockid(w->thread, &w->cpu_clock); /* not joined: it has one */
    __atomic_store_n(&w->running, true, __ATOMIC_RELEASE);
    pin(w);
    return 0;
}

void qs_worker_join(struct qs_worker *w)
{
    if (!w->running)
        return;
    __atomic_store_n(&w->ending, true, __ATOMIC_RELEASE);
    qs_worker_nudge(w);
    pthread_join(w->thread, NULL);
    __atomic_store_n(&w->running, false, __ATOMIC_RELEASE);
    __atomic_store_n(&w->cpu_ns_before, w->cpu_ns_at_end, __ATOMIC_RELEASE);
}

/* While the thread runs its clock tells; a thread that is gone has left what it said. */
static uint64_t cpu_ns_of(const struct qs_worker *w)
{
    uint64_t before = __atomic_load_n(&w->cpu_ns_before, __ATOMIC_ACQUIRE);
    uint64_t ns = 0;
    if (__atomic_load_n(&w->running, __ATOMIC_ACQUIRE))
        ns = qs_clock_cpu_ns(w->cpu_clock);
    return ns ? before + ns : __atomic_load_n(&w->cpu_ns_at_end, __ATOMIC_ACQUIRE);
}

qs_err qs_stack_worker_stats(const qs_stack *s, uint32_t worker, struct qs_worker_stats *out)
{
    memset(out, 0, sizeof *out);
    if (worker >= s->opts.workers_max)
        return QS_ERR_ARG;
    const struct qs_worker *w = &s->workers[worker];
    out->state = (enum qs_worker_state)__atomic_load_n(&w->state, __ATOMIC_ACQUIRE);
    out->polls = __atomic_load_n(&w->stats.polls, __ATOMIC_RELAXED);
    out->busy_polls = __atomic_load_n(&w->stats.busy_polls, __ATOMIC_RELAXED);
    out->sleeps = __atomic_load_n(&w->stats.sleeps, __ATOMIC_RELAXED);
    out->busy_ns = __atomic_load_n(&w->stats.busy_ns, __ATOMIC_RELAXED);
    for (uint32_t p = 0; p < QS_N_PRIO; p++)
        out->contended_ns[p] = __atomic_load_n(&w->stats.contended_ns[p], __ATOMIC_RELAXED);
    out->cpu_ns = cpu_ns_of(w);
    return 0;
}
