/* SPDX-License-Identifier: Apache-2.0 */
/* The hand-over of queues between workers, all of it at the beginning of a turn, when no frame of
 * any driver is lent: docs/design/019-moving-engines.md, explored in
 * tests/unit/test_moving_model.py, whose steps have the names of these functions. */
#include "runtime/stack.h"

#include <errno.h>

#include "io/clock.h"

/* ---- telling ---- */

/* Tells the queue's owner. Who gives it away writes `owner` before it exchanges its own `sleeping`
 * (give), so either the new owner sees what was stored before, or the second look here sees the new
 * owner. */
static void tell_owner(struct qs_stack *s, uint32_t queue, uint64_t asked)
{
    const uint32_t *word = &s->queues[queue].owner;
    uint32_t told, owner = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    do {
        struct qs_worker *w = &s->workers[told = owner];
        if (asked)
            (void)__atomic_fetch_or(&w->asked, asked, __ATOMIC_RELEASE);
        qs_worker_nudge(w);
        owner = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    } while (owner != told);
}

void qs_queue_nudge(struct qs_stack *s, uint32_t queue)
{
    tell_owner(s, queue, 0);
}

void qs_queue_aim(struct qs_stack *s, uint32_t queue, uint32_t worker)
{
    struct qs_worker *to = &s->workers[worker];
    __atomic_store_n(&s->queues[queue].wanted, worker, __ATOMIC_RELEASE);
    /* Who is to have it is woken first, and asks for it: it is awake when it gets it, and the queue
     * is served where it is until then. */
    (void)__atomic_fetch_or(&to->asked, qs_set_of(queue), __ATOMIC_RELEASE);
    qs_worker_nudge(to);
}

/* ---- arrivals ---- */

void qs_arrivals_init(struct qs_arrivals *a)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void qs_arrivals_fini(struct qs_arrivals *a)
{
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
}

/* Both sides exchange `n_waiting`: who is second sees what came before the first. */
void qs_arrivals_announce(struct qs_stack *s)
{
    struct qs_arrivals *a = &s->arrivals;
    if (!__atomic_fetch_add(&a->n_waiting, 0, __ATOMIC_ACQ_REL))
        return;
    pthread_mutex_lock(&a->lock);
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

bool qs_arrivals_wait(struct qs_stack *s, bool (*is_so)(struct qs_stack *s, uint32_t number),
                      uint32_t number, qs_dur timeout)
{
    struct qs_arrivals *a = &s->arrivals;
    qs_time end = qs_time_after(qs_clock_now(), timeout);
    const struct timespec limit = {(time_t)(end.ns / 1000000000u), (long)(end.ns % 1000000000u)};
    pthread_mutex_lock(&a->lock);
    (void)__atomic_fetch_add(&a->n_waiting, 1, __ATOMIC_ACQ_REL);
    int over = 0;
    bool so;
    while (!(so = is_so(s, number)) && over != ETIMEDOUT)
        over = pthread_cond_timedwait(&a->changed, &a->lock, &limit);
    (void)__atomic_fetch_sub(&a->n_waiting, 1, __ATOMIC_ACQ_REL);
    pthread_mutex_unlock(&a->lock);
    return so;
}

/* ---- handing over ---- */

static void take(struct qs_worker *w, uint32_t queue)
{
    struct qs_queue *q = &w->stack->queues[queue];
    w->runs |= qs_set_of(queue);
    __atomic_store_n(&q->pause_ns, qs_clock_now().ns - q->left.ns, __ATOMIC_RELAXED);
    __atomic_store_n(&q->moves, q->moves + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&q->runner, w->idx, __ATOMIC_RELEASE);
    qs_arrivals_announce(w->stack);
}

/* Gives a queue away if it is wanted elsewhere. That it does is said before the look at `wanted`,
 * by an exchange as in has_left(): so a worker that is parked, and for which no queue is on its
 * way, gets none any more. */
static void give(struct qs_worker *w, uint32_t queue)
{
    struct qs_stack *s = w->stack;
    struct qs_queue *q = &s->queues[queue];
    (void)__atomic_exchange_n(&q->runner, QS_NO_WORKER, __ATOMIC_ACQ_REL);
    uint32_t wanted = __atomic_load_n(&q->wanted, __ATOMIC_ACQUIRE);
    if (wanted == w->idx) {
        __atomic_store_n(&q->runner, w->idx, __ATOMIC_RELEASE);
        qs_arrivals_announce(s);
        return;
    }
    struct qs_worker *to = &s->workers[wanted];
    qs_worker_drop(w, queue);
    q->left = qs_clock_now();
    __atomic_store_n(&q->owner, wanted, __ATOMIC_RELEASE);
    (void)__atomic_exchange_n(&w->sleeping, 0, __ATOMIC_ACQ_REL); /* awake; see tell_owner() */
    (void)__atomic_fetch_or(&to->given, qs_set_of(queue), __ATOMIC_RELEASE);
    qs_worker_nudge(to);
}

/* Somebody wants the queue to be looked at: it is given away, or whoever has it is asked. */
static void look(struct qs_worker *w, uint32_t queue)
{
    const struct qs_queue *q = &w->stack->queues[queue];
    if (!(w->runs & qs_set_of(queue))) {
        /* Its own and not here: it is coming, and is looked at then. */
        if (__atomic_load_n(&q->owner, __ATOMIC_ACQUIRE) != w->idx)
            tell_owner(w->stack, queue, qs_set_of(queue));
    } else if (__atomic_load_n(&q->wanted, __ATOMIC_ACQUIRE) != w->idx) {
        give(w, queue);
    }
}

bool qs_moves_run(struct qs_worker *w)
{
    if (!__atomic_load_n(&w->given, __ATOMIC_RELAXED) &&
        !__atomic_load_n(&w->asked, __ATOMIC_RELAXED))
        return false;
    uint64_t given = __atomic_exchange_n(&w->given, 0, __ATOMIC_ACQ_REL);
    uint64_t asked = __atomic_exchange_n(&w->asked, 0, __ATOMIC_ACQ_REL);
    for (uint64_t left = given; left; left &= left - 1)
        take(w, qs_first_of(left));
    for (uint64_t left = given | asked; left; left &= left - 1)
        look(w, qs_first_of(left));
    return true;
}

/* ---- without threads ---- */

void qs_queue_place(struct qs_stack *s, uint32_t queue, uint32_t worker)
{
    struct qs_queue *q = &s->queues[queue];
    s->workers[worker].runs |= qs_set_of(queue);
    __atomic_store_n(&q->owner, worker, __ATOMIC_RELEASE);
    __atomic_store_n(&q->wanted, worker, __ATOMIC_RELEASE);
    __atomic_store_n(&q->runner, worker, __ATOMIC_RELEASE);
}

void qs_moves_settle(struct qs_stack *s)
{
    for (uint32_t i = 0; i < s->opts.n_queues; i++) {
        struct qs_queue *q = &s->queues[i];
        uint32_t wanted = __atomic_load_n(&q->wanted, __ATOMIC_ACQUIRE);
        if (q->runner == wanted)
            continue;
        if (q->runner != QS_NO_WORKER)
            qs_worker_drop(&s->workers[q->runner], i);
        qs_queue_place(s, i, wanted);
        __atomic_store_n(&q->moves, q->moves + 1, __ATOMIC_RELAXED);
        __atomic_store_n(&q->pause_ns, 0, __ATOMIC_RELAXED);
    }
    for (uint32_t w = 0; w < s->opts.workers_max; w++) {
        __atomic_store_n(&s->workers[w].given, 0, __ATOMIC_RELEASE);
        __atomic_store_n(&s->workers[w].asked, 0, __ATOMIC_RELEASE);
    }
    qs_arrivals_announce(s);
}
