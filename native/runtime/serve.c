/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers on a worker: events of all its queues, in each turn those of one class, for a bounded
 * time; the most urgent one, and none below its share of the time. What is left waits for the next
 * turn, in the lists of its class: docs/design/014-priority.md. */
#include "io/clock.h"
#include "qstack/qs_class.h"
#include "runtime/stack.h"

/* Between two looks at the classes. */
#define BATCH 2u
/* Handlers of a turn, and the one that runs when it is over. */
#define TURN_MAX QS_US(8)

uint32_t qs_serve_waiting(const struct qs_worker *w)
{
    const struct qs_stack *s = w->stack;
    uint32_t classes = 0;
    for (uint64_t left = w->runs; left; left &= left - 1)
        classes |= qs_engine_event_classes(s->queues[qs_first_of(left)].engine);
    return classes;
}

static void call(struct qs_stack *s, struct qs_queue *q, const struct qs_event *ev, qs_time now)
{
    if (ev->listener < 0) {
        const struct qs_worker_slot *slot = &q->slots[qs_slot_of(ev->conn)];
        slot->fn(q->engine, ev, now, slot->ctx);
        return;
    }
    const struct qs_handler *h = &s->listeners[ev->listener];
    if (h->fn)
        h->fn(q->engine, ev, now, h->ctx);
    else
        qs_split_event(s, q, ev);
}

/* As call(), of an event that is followed: when it began, and ended in the inline layout. */
static void call_traced(struct qs_stack *s, struct qs_queue *q, const struct qs_event *ev)
{
    qs_time began = qs_clock_now();
    qs_trace_handed(q->engine, ev, began);
    call(s, q, ev, began);
    if (ev->listener >= 0 && !s->listeners[ev->listener].fn)
        return;
    qs_time ended = qs_clock_now();
    qs_residency_add(qs_engine_residency_of(q->engine), QS_STAGE_HANDLER, ev->prio,
                     ended.ns - began.ns);
    qs_trace_answered(q->engine, ev->conn, ended);
}

static void serve(struct qs_stack *s, struct qs_queue *q, const struct qs_event *ev, qs_time now)
{
    if (ev->traced)
        call_traced(s, q, ev);
    else
        call(s, q, ev, now);
}

/* Queue of the worker whose turn it is to be looked at. */
static struct qs_queue *next_queue(struct qs_worker *w)
{
    uint64_t from = w->runs & UINT64_MAX << w->next_queue;
    uint32_t idx = qs_first_of(from ? from : w->runs);
    w->next_queue = (idx + 1) % QS_N_QUEUES_MAX;
    return &w->stack->queues[idx];
}

/* Some events of a class, from a queue that has any: from each in turn. */
static void serve_some(struct qs_worker *w, uint32_t prio, qs_time now)
{
    struct qs_stack *s = w->stack;
    struct qs_event events[BATCH];
    size_t n = 0;
    for (uint32_t tried = 0; n == 0 && tried < s->opts.n_queues; tried++) {
        struct qs_queue *q = next_queue(w);
        n = qs_engine_events_of(q->engine, prio, events, BATCH);
        for (size_t i = 0; i < n; i++)
            serve(s, q, &events[i], now);
    }
}

/* Handlers of class `prio`, one of those that were `waiting`, took `ns`. */
static void charge(struct qs_worker *w, uint32_t waiting, uint32_t prio, uint64_t ns)
{
    qs_share_charge(&w->share, waiting, prio, ns);
    if (waiting & (waiting - 1))
        qs_stat_add(&w->stats.contended_ns[prio], ns);
}

bool qs_serve(struct qs_worker *w, qs_time *now)
{
    uint32_t waiting = qs_serve_waiting(w);
    if (!waiting)
        return false;
    bool contended = waiting & (waiting - 1);
    if (contended) /* the time is charged to somebody: not that of receiving */
        *now = qs_clock_now();
    qs_time began = *now;
    uint32_t prio = qs_share_next(&w->share, waiting);
    for (uint32_t batches = 0;; batches++) {
        serve_some(w, prio, *now);
        uint32_t left = qs_serve_waiting(w);
        if (!left && !contended)
            break;
        qs_time after = qs_clock_now();
        if (!contended && batches == 0)
            began = after;
        charge(w, waiting, prio, after.ns - now->ns);
        *now = after;
        /* Answers of one class leave before another one is served. */
        if (!left || after.ns - began.ns >= TURN_MAX.ns || qs_share_next(&w->share, left) != prio)
            break;
        waiting = left;
    }
    return true;
}
