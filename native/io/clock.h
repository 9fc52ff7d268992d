/* SPDX-License-Identifier: Apache-2.0 */
/* The one place that reads a clock. */
#ifndef QS_IO_CLOCK_H
#define QS_IO_CLOCK_H

#include "qstack/qs_base.h"

#include <sched.h>
#include <time.h>

/* CLOCK_MONOTONIC. About 20 ns: read it once for a burst, not for a frame. */
qs_time qs_clock_now(void);

/* CPU time by the CPU clock of a thread, ns; 0 when that is gone. */
uint64_t qs_clock_cpu_ns(clockid_t clock);

/* For who polls and has found nothing for `idle`: lets others on this core run, but not in the
 * first microseconds, in which an answer from another core comes. Without it two threads that poll
 * for each other on one core would each use up the other's time. */
static inline void qs_clock_idle(qs_dur idle)
{
    const uint64_t answer_ns = 5000;
    if (idle.ns > answer_ns)
        (void)sched_yield();
}

/* `t` + `d`, stopping short of QS_NEVER. */
static inline qs_time qs_time_after(qs_time t, qs_dur d)
{
    return (qs_time){t.ns > UINT64_MAX - d.ns ? UINT64_MAX : t.ns + d.ns};
}

#endif
