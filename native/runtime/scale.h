/* SPDX-License-Identifier: Apache-2.0 */
/* The number of workers follows the load. What to do is a function of figures and time; a thread
 * takes the figures and does it: docs/design/019-moving-engines.md. */
#ifndef QS_RUNTIME_SCALE_H
#define QS_RUNTIME_SCALE_H

#include "qstack/qs_stack.h"

struct qs_worker;

/* Figures of a worker that is not parked, since the last look. */
struct qs_scale_worker {
    uint32_t busy_permille; /* time in turns that moved something and ended since then, by the time
                               that passed: a turn that began before makes it more than 1000 */
    uint32_t n_queues;
};

/* What was seen before. */
struct qs_scaler {
    uint32_t n_hot;     /* milliseconds in a row in which a worker had too much */
    qs_time calm_since; /* one worker fewer would do since then; ns 0: it would not */
};

enum qs_scale_step { QS_SCALE_KEEP, QS_SCALE_UP, QS_SCALE_DOWN };

/* What to do at `now`, with figures of `n` workers over the time `since_last`. */
enum qs_scale_step qs_scaler_step(struct qs_scaler *x, const struct qs_scale_worker *workers,
                                  uint32_t n, qs_dur since_last, qs_time now);

/* Part of a set of at least two queues that another worker is to have: about half of the load,
 * `load[q]` of queue q; never all of them, and not none. */
uint64_t qs_scale_half(uint64_t queues, const uint64_t load[QS_N_QUEUES_MAX]);

/* Begins to follow the load, if the options say so. QS_ERR_NOMEM or QS_ERR_SYS. */
qs_err qs_scale_start(qs_stack *s, struct qs_diag *diag);
/* No more; workers may still run. */
void qs_scale_stop(qs_stack *s);
/* When they do not. */
void qs_scale_free(qs_stack *s);

/* A worker has been busy until its `tell_at_busy_ns`. */
void qs_scale_tell(struct qs_worker *w);

#endif
