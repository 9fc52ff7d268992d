/* SPDX-License-Identifier: Apache-2.0 */
/* Where queues are to be and which workers there are: the calls of qs_stack.h. They say where a
 * queue is wanted; workers do the rest (move.c). */
#include "runtime/stack.h"

#include <string.h>

#include "io/diag.h"

/* ---- queues ---- */

static uint32_t state_of(const struct qs_stack *s, uint32_t worker)
{
    return worker < s->opts.workers_max
               ? __atomic_load_n(&s->workers[worker].state, __ATOMIC_ACQUIRE)
               : QS_WORKER_ABSENT;
}

static uint32_t wanted_at(const struct qs_stack *s, uint32_t queue)
{
    return __atomic_load_n(&s->queues[queue].wanted, __ATOMIC_ACQUIRE);
}

static bool has_arrived(struct qs_stack *s, uint32_t queue)
{
    return __atomic_load_n(&s->queues[queue].runner, __ATOMIC_ACQUIRE) == wanted_at(s, queue);
}

/* Under the lock. Without threads the queue is there at once. */
static void aim(struct qs_stack *s, uint32_t queue, uint32_t worker)
{
    qs_queue_aim(s, queue, worker);
    if (!s->running)
        qs_moves_settle(s);
}

static qs_err check_move(struct qs_stack *s, uint32_t queue, uint32_t worker, struct qs_diag *diag)
{
    if (queue >= s->opts.n_queues)
        return qs_fail(diag, QS_ERR_ARG, "%s: there is no queue %u, the last one is %u", s->ifname,
                       queue, s->opts.n_queues - 1);
    uint32_t state = state_of(s, worker);
    if (state == QS_WORKER_ABSENT)
        return qs_fail(diag, QS_ERR_ARG, "%s: queue %u cannot move: there is no worker %u",
                       s->ifname, queue, worker);
    if (state == QS_WORKER_PARKED)
        return qs_fail(diag, QS_ERR_STATE,
                       "%s: queue %u cannot move: worker %u is parked, wake it first", s->ifname,
                       queue, worker);
    if (!has_arrived(s, queue))
        return qs_fail(diag, QS_ERR_BUSY, "%s: queue %u is on its way to worker %u already",
                       s->ifname, queue, wanted_at(s, queue));
    return 0;
}

qs_err qs_stack_move(qs_stack *s, uint32_t queue, uint32_t worker, struct qs_diag *diag)
{
    pthread_mutex_lock(&s->lock);
    qs_err err = check_move(s, queue, worker, diag);
    if (!err && wanted_at(s, queue) != worker)
        aim(s, queue, worker);
    pthread_mutex_unlock(&s->lock);
    return err;
}

qs_err qs_stack_move_wait(qs_stack *s, uint32_t queue, qs_dur timeout)
{
    if (queue >= s->opts.n_queues)
        return QS_ERR_ARG;
    return qs_arrivals_wait(s, has_arrived, queue, timeout) ? 0 : QS_ERR_AGAIN;
}

qs_err qs_stack_place(const qs_stack *s, uint32_t queue, struct qs_place *out)
{
    memset(out, 0, sizeof *out);
    if (queue >= s->opts.n_queues)
        return QS_ERR_ARG;
    const struct qs_queue *q = &s->queues[queue];
    out->worker = __atomic_load_n(&q->owner, __ATOMIC_ACQUIRE);
    out->wanted = wanted_at(s, queue);
    out->moves = __atomic_load_n(&q->moves, __ATOMIC_RELAXED);
    out->pause.ns = __atomic_load_n(&q->pause_ns, __ATOMIC_RELAXED);
    return 0;
}

/* ---- workers ---- */

static void set_state(struct qs_stack *s, uint32_t worker, enum qs_worker_state state)
{
    __atomic_store_n(&s->workers[worker].state, state, __ATOMIC_RELEASE);
}

static qs_err check_worker(const struct qs_stack *s, uint32_t worker, struct qs_diag *diag)
{
    if (state_of(s, worker) != QS_WORKER_ABSENT)
        return 0;
    return qs_fail(diag, QS_ERR_ARG, "%s: there is no worker %u", s->ifname, worker);
}

/* The active worker that is to have the fewest queues, or QS_NO_WORKER. */
static uint32_t least_used(const struct qs_stack *s)
{
    uint32_t n_queues[QS_N_QUEUES_MAX] = {0}, best = QS_NO_WORKER;
    for (uint32_t q = 0; q < s->opts.n_queues; q++)
        n_queues[wanted_at(s, q)]++;
    for (uint32_t w = 0; w < s->opts.workers_max; w++)
        if (state_of(s, w) == QS_WORKER_ACTIVE &&
            (best == QS_NO_WORKER || n_queues[w] < n_queues[best]))
            best = w;
    return best;
}

/* Gives every queue that is wanted at a worker another aim: where it is, if that is elsewhere. */
static void send_away(struct qs_stack *s, uint32_t worker)
{
    for (uint32_t q = 0; q < s->opts.n_queues; q++) {
        if (wanted_at(s, q) != worker)
            continue;
        uint32_t runner = __atomic_load_n(&s->queues[q].runner, __ATOMIC_ACQUIRE);
        aim(s, q, state_of(s, runner) == QS_WORKER_ACTIVE ? runner : least_used(s));
    }
}

static qs_err park(struct qs_stack *s, uint32_t worker, struct qs_diag *diag)
{
    qs_err err = check_worker(s, worker, diag);
    if (err || state_of(s, worker) == QS_WORKER_PARKED)
        return err;
    set_state(s, worker, QS_WORKER_PARKED);
    if (least_used(s) == QS_NO_WORKER) {
        set_state(s, worker, QS_WORKER_ACTIVE);
        return qs_fail(diag, QS_ERR_STATE,
                       "%s: worker %u is the last one that is not parked: nobody would run the "
                       "queues",
                       s->ifname, worker);
    }
    send_away(s, worker);
    return 0;
}

qs_err qs_stack_worker_park(qs_stack *s, uint32_t worker, struct qs_diag *diag)
{
    pthread_mutex_lock(&s->lock);
    qs_err err = park(s, worker, diag);
    pthread_mutex_unlock(&s->lock);
    return err;
}

qs_err qs_stack_worker_wake(qs_stack *s, uint32_t worker, struct qs_diag *diag)
{
    pthread_mutex_lock(&s->lock);
    qs_err err = check_worker(s, worker, diag);
    if (!err)
        set_state(s, worker, QS_WORKER_ACTIVE);
    pthread_mutex_unlock(&s->lock);
    return err;
}

int qs_stack_worker_add(qs_stack *s, struct qs_diag *diag)
{
    uint32_t idx = 0;
    while (idx < s->opts.workers_max && state_of(s, idx) != QS_WORKER_ABSENT)
        idx++;
    if (idx == s->opts.workers_max)
        return qs_fail(diag, QS_ERR_NOMEM, "%s: all %u workers are there: workers_max", s->ifname,
                       idx);
    qs_err err = s->running ? qs_worker_start(&s->workers[idx], diag) : 0;
    if (err)
        return err;
    pthread_mutex_lock(&s->lock);
    set_state(s, idx, QS_WORKER_ACTIVE);
    pthread_mutex_unlock(&s->lock);
    return (int)idx;
}

/* Has no queue, and will get none: see give(). */
static bool has_left(struct qs_stack *s, uint32_t worker)
{
    for (uint32_t q = 0; q < s->opts.n_queues; q++) {
        uint32_t runner = __atomic_fetch_or(&s->queues[q].runner, 0, __ATOMIC_ACQ_REL);
        if (runner == worker || runner == QS_NO_WORKER)
            return false;
    }
    return true;
}

qs_err qs_stack_worker_remove(qs_stack *s, uint32_t worker, qs_dur timeout, struct qs_diag *diag)
{
    qs_err err = qs_stack_worker_park(s, worker, diag);
    if (err)
        return err;
    bool left = qs_arrivals_wait(s, has_left, worker, timeout);
    pthread_mutex_lock(&s->lock);
    /* It may have been woken, and given work, meanwhile. */
    left = left && state_of(s, worker) == QS_WORKER_PARKED && has_left(s, worker);
    if (left)
        set_state(s, worker, QS_WORKER_ABSENT);
    pthread_mutex_unlock(&s->lock);
    if (!left)
        return qs_fail(diag, QS_ERR_AGAIN,
                       "%s: worker %u still has queues: a handler takes its time, or somebody woke "
                       "the worker",
                       s->ifname, worker);
    qs_worker_join(&s->workers[worker]);
    return 0;
}
