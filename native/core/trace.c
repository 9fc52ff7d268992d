/* SPDX-License-Identifier: Apache-2.0 */
#include "trace.h"

#include "engine.h"

/* Events of a class of which at most one is followed. */
#define SKIP 16u
/* Who has no answer after this is followed no more. */
#define FORGET QS_S(1)

/* ---- histograms ---- */

/* Buckets 0 to 15 are nanoseconds 0 to 15, then eight for each doubling. */
static uint32_t bucket_of(uint64_t ns)
{
    if (ns < 16)
        return (uint32_t)ns;
    uint32_t top = 63u - (uint32_t)__builtin_clzll(ns);
    uint32_t bucket = 16 + (top - 4) * 8 + (uint32_t)(ns >> (top - 3) & 7);
    return bucket < QS_RESIDENCY_BUCKETS ? bucket : QS_RESIDENCY_BUCKETS - 1;
}

uint64_t qs_residency_bound_ns(size_t idx)
{
    if (idx >= QS_RESIDENCY_BUCKETS)
        return UINT64_MAX;
    if (idx < 16)
        return idx;
    uint32_t octave = (uint32_t)(idx - 16) / 8, part = (uint32_t)(idx - 16) % 8;
    return (uint64_t)(8 + part) << (octave + 1);
}

void qs_residency_add(struct qs_residency *r, enum qs_stage stage, uint32_t prio, uint64_t ns)
{
    uint64_t *c = &r->of[stage][prio].counts[bucket_of(ns)];
    __atomic_store_n(c, __atomic_load_n(c, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
}

void qs_residency_sum(const struct qs_residency *r, enum qs_stage stage, uint32_t prio,
                      uint64_t *counts, size_t n)
{
    for (size_t i = 0; i < n && i < QS_RESIDENCY_BUCKETS; i++)
        counts[i] += __atomic_load_n(&r->of[stage][prio].counts[i], __ATOMIC_RELAXED);
}

const struct qs_residency *qs_engine_residency(const qs_engine *e)
{
    return &e->residency;
}

struct qs_residency *qs_engine_residency_of(qs_engine *e)
{
    return &e->residency;
}

/* ---- the request that is followed ---- */

static uint64_t since_ns(qs_time from, qs_time now)
{
    return now.ns > from.ns ? now.ns - from.ns : 0;
}

static bool is_about(const struct qs_engine *e, const struct qs_trace *t, const struct qs_block *c)
{
    return t->block == qs_block_idx(e, c) && t->gen == c->gen;
}

void qs_trace_begin(struct qs_engine *e, const struct qs_block *c, uint32_t prio)
{
    struct qs_trace *t = &e->traces[prio];
    if (t->skip) {
        t->skip--;
        return;
    }
    if (t->at != QS_TRACE_NONE && since_ns(t->arrived, e->now) < FORGET.ns)
        return;
    *t = (struct qs_trace){.block = qs_block_idx(e, c),
                           .gen = c->gen,
                           .skip = SKIP,
                           .at = QS_TRACE_EVENT,
                           .arrived = e->now};
}

bool qs_trace_taken(struct qs_engine *e, const struct qs_block *c, uint32_t prio)
{
    struct qs_trace *t = &e->traces[prio];
    if (t->at != QS_TRACE_EVENT || !is_about(e, t, c))
        return false;
    t->at = QS_TRACE_HANDLER;
    return true;
}

void qs_trace_handed(qs_engine *e, const struct qs_event *ev, qs_time now)
{
    struct qs_trace *t = &e->traces[ev->prio];
    t->handed = now;
    qs_residency_add(&e->residency, QS_STAGE_EVENT, ev->prio, since_ns(t->arrived, now));
}

/* Class of the request of `c` whose handler runs, or -1. */
static int handled_class(const struct qs_engine *e, const struct qs_block *c)
{
    if (!c)
        return -1;
    bool framed = c->flags & QS_CF_FRAMED; /* then it may be of any class */
    uint32_t least = qs_served_as(c, c->prio);
    for (uint32_t p = framed ? QS_N_PRIO - 1 : least;; p--) {
        const struct qs_trace *t = &e->traces[p];
        if (t->at == QS_TRACE_HANDLER && is_about(e, t, c))
            return (int)p;
        if (p == least)
            return -1;
    }
}

bool qs_trace_waits(const qs_engine *e, qs_conn conn)
{
    return handled_class(e, qs_block_of(e, conn)) >= 0;
}

void qs_trace_answered(qs_engine *e, qs_conn conn, qs_time now)
{
    int prio = handled_class(e, qs_block_of(e, conn));
    if (prio < 0)
        return;
    struct qs_trace *t = &e->traces[prio];
    t->at = QS_TRACE_ANSWER;
    t->answered = now;
}

void qs_trace_frame(struct qs_engine *e, const struct qs_block *c)
{
    uint32_t prio = qs_ready_class(e, c);
    struct qs_trace *t = &e->traces[prio];
    if (t->at != QS_TRACE_ANSWER || !is_about(e, t, c))
        return;
    t->at = QS_TRACE_SENT;
    e->traces_sent |= 1u << prio;
}

bool qs_trace_sent(const qs_engine *e)
{
    return e->traces_sent != 0;
}

/* ---- the slowest ones ---- */

#define WORDS (sizeof(struct qs_timeline) / sizeof(uint64_t))
/* So long one is kept against faster ones. */
#define KEPT QS_S(10)
/* A reader looks again as often as this. */
#define TRIES 8

bool qs_trace_slowest(const qs_engine *e, uint32_t prio, struct qs_timeline *out)
{
    const struct qs_slowest *x = &e->slowest[prio];
    uint64_t words[WORDS];
    for (int i = 0; i < TRIES; i++) {
        uint32_t version = __atomic_load_n(&x->version, __ATOMIC_ACQUIRE);
        for (size_t w = 0; w < WORDS; w++)
            words[w] = __atomic_load_n(&x->words[w], __ATOMIC_ACQUIRE);
        if (version % 2 || __atomic_load_n(&x->version, __ATOMIC_RELAXED) != version)
            continue;
        memcpy(out, words, sizeof *out);
        return version > 0;
    }
    return false;
}

static void keep(struct qs_slowest *x, const struct qs_timeline *t)
{
    uint64_t words[WORDS];
    memcpy(words, t, sizeof words);
    uint32_t version = x->version;
    __atomic_store_n(&x->version, version + 1, __ATOMIC_RELAXED);
    for (size_t w = 0; w < WORDS; w++)
        __atomic_store_n(&x->words[w], words[w], __ATOMIC_RELEASE);
    __atomic_store_n(&x->version, version + 2, __ATOMIC_RELEASE);
}

/* The request of a class is over at `now`: keeps it if none in a while was as slow. */
static void compare(struct qs_engine *e, uint32_t prio, qs_time now)
{
    const struct qs_trace *t = &e->traces[prio];
    const struct qs_block *c = &e->blocks[t->block];
    struct qs_timeline before;
    bool any = qs_trace_slowest(e, prio, &before);
    if (c->gen != t->gen || (any && since_ns(before.arrived, now) < KEPT.ns &&
                             qs_timeline_ns(&before) >= since_ns(t->arrived, now)))
        return;
    keep(&e->slowest[prio], &(struct qs_timeline){.remote = c->remote,
                                                  .remote_port = c->remote_port,
                                                  .local_port = c->local_port,
                                                  .arrived = t->arrived,
                                                  .event_ns = since_ns(t->arrived, t->handed),
                                                  .answer_ns = since_ns(t->handed, t->answered),
                                                  .transmit_ns = since_ns(t->answered, now)});
}

void qs_trace_left(qs_engine *e, qs_time now)
{
    for (; e->traces_sent; e->traces_sent &= e->traces_sent - 1) {
        uint32_t prio = (uint32_t)__builtin_ctz(e->traces_sent);
        struct qs_trace *t = &e->traces[prio];
        qs_residency_add(&e->residency, QS_STAGE_TRANSMIT, prio, since_ns(t->answered, now));
        qs_residency_add(&e->residency, QS_STAGE_ALL, prio, since_ns(t->arrived, now));
        compare(e, prio, now);
        t->at = QS_TRACE_NONE;
    }
}
