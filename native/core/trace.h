/* SPDX-License-Identifier: Apache-2.0 */
/* One request of each class is followed through the engine: from the segment that made its event to
 * the first frame of the answer. The engine knows no clock, so the caller says when. */
#ifndef QS_CORE_TRACE_H
#define QS_CORE_TRACE_H

#include "qstack/qs_residency.h"

struct qs_histogram {
    uint64_t counts[QS_RESIDENCY_BUCKETS]; /* relaxed atomics: one writer */
};

struct qs_residency {
    struct qs_histogram of[QS_N_STAGES][QS_N_PRIO];
};

void qs_residency_add(struct qs_residency *r, enum qs_stage stage, uint32_t prio, uint64_t ns);
/* Adds what `r` has counted to `counts`, up to `n` buckets. */
void qs_residency_sum(const struct qs_residency *r, enum qs_stage stage, uint32_t prio,
                      uint64_t *counts, size_t n);

/* Where the request is that is followed. */
enum qs_trace_at {
    QS_TRACE_NONE,
    QS_TRACE_EVENT,
    QS_TRACE_HANDLER,
    QS_TRACE_ANSWER,
    QS_TRACE_SENT
};

struct qs_trace {
    uint32_t block, gen;
    uint32_t skip; /* events until the next one that may be followed */
    uint8_t at;    /* enum qs_trace_at */
    qs_time arrived, handed, answered;
};

/* A timeline that other threads read while it is written: words, and their version, which is odd
 * meanwhile. */
struct qs_slowest {
    uint32_t version;
    uint64_t words[sizeof(struct qs_timeline) / sizeof(uint64_t)];
};

_Static_assert(sizeof(struct qs_timeline) % sizeof(uint64_t) == 0, "it consists of words");

static inline uint64_t qs_timeline_ns(const struct qs_timeline *t)
{
    return t->event_ns + t->answer_ns + t->transmit_ns;
}

/* The slowest request of the class; from another thread. @return false when there is none, or it is
 * being written all the time. */
bool qs_trace_slowest(const qs_engine *e, uint32_t prio, struct qs_timeline *out);

/* Its event, with qs_event.traced, has been handed over at `now`: to a handler or a ring. */
void qs_trace_handed(qs_engine *e, const struct qs_event *ev, qs_time now);
/* Is an answer of this connection waited for? */
bool qs_trace_waits(const qs_engine *e, qs_conn c);
/* It came at `now`, or the handler ended without one. */
void qs_trace_answered(qs_engine *e, qs_conn c, qs_time now);
/* Was a frame of an answer written since qs_trace_left()? */
bool qs_trace_sent(const qs_engine *e);
/* The device had those frames at `now`. */
void qs_trace_left(qs_engine *e, qs_time now);

const struct qs_residency *qs_engine_residency(const qs_engine *e);
struct qs_residency *qs_engine_residency_of(qs_engine *e);

#endif
