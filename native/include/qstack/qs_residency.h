/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 *  Where requests spend their time, for each class: histograms of sampled requests. Of each class
 * one request at a time is followed through a queue, every 16th at most, so that nobody pays for
 * it.
 */
#ifndef QSTACK_QS_RESIDENCY_H
#define QSTACK_QS_RESIDENCY_H

#include "qs_app.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Stages of a request: name, id, text. */
#define QS_STAGE_LIST(X)                                                                           \
    X(EVENT, event, "from the arrival of its bytes at the engine to the handler, or to the ring")  \
    X(RING, ring, "split layout: in the ring, until the application took it")                      \
    X(HANDLER, handler, "the handler; split layout: until the application waits again")            \
    X(TRANSMIT, transmit, "from the answer at the engine until the device had its first frame")    \
    X(ALL, all, "from the arrival until then")

#define QS_STAGE_ENUM(name, id, text) QS_STAGE_##name,
enum qs_stage { QS_STAGE_LIST(QS_STAGE_ENUM) QS_N_STAGES };
#undef QS_STAGE_ENUM

/** Buckets of a histogram: eight for each doubling, so a bound is exact to 12.5 %. */
#define QS_RESIDENCY_BUCKETS 256u

/** Least time, ns, that bucket `idx` counts; 0 for the first, UINT64_MAX past the end. */
QS_API uint64_t qs_residency_bound_ns(size_t idx);

/** Adds up one stage of one class over all queues and applications, up to `n` buckets; safe while
 *  the stack runs. @return buckets written, 0 for no such class or stage. */
QS_API size_t qs_stack_residency(const qs_stack *s, uint32_t prio, enum qs_stage stage,
                                 uint64_t *counts, size_t n);

/** A request that was followed, and where it waited. */
struct qs_timeline {
    qs_addr remote;
    uint16_t remote_port, local_port; /**< host byte order */
    qs_time arrived;                  /**< at the engine */
    uint64_t event_ns;  /**< until it was handed to the handler, or put into the ring */
    uint64_t answer_ns; /**< from then until its answer; split layout: with its time in the ring */
    uint64_t transmit_ns; /**< from then until the device had the first frame */
};

/** The slowest request of a class that was followed in the last 10 seconds, or a little more, over
 *  all queues; safe while the stack runs. @return false when there was none. */
QS_API bool qs_stack_slowest(const qs_stack *s, uint32_t prio, struct qs_timeline *out);

/** Name of stage `idx` as in JSON, or NULL past the end; static storage. */
QS_API const char *qs_stage_name(size_t idx);

/** One line about it, or NULL past the end; static storage. */
QS_API const char *qs_stage_text(size_t idx);

#ifdef __cplusplus
}
#endif
#endif
