/* SPDX-License-Identifier: Apache-2.0 */
/* The one place that reads a clock. */
#ifndef QS_IO_CLOCK_H
#define QS_IO_CLOCK_H

#include "qstack/qs_base.h"

#include <pthread.h>

/* CLOCK_MONOTONIC. About 20 ns: read it once for a burst, not for a frame. */
qs_time qs_clock_now(void);

/* CPU time that `thread` has used so far, ns; 0 when it is gone. */
uint64_t qs_clock_thread_cpu_ns(pthread_t thread);

/* `t` + `d`, stopping short of QS_NEVER. */
static inline qs_time qs_time_after(qs_time t, qs_dur d)
{
    return (qs_time){t.ns > UINT64_MAX - d.ns ? UINT64_MAX : t.ns + d.ns};
}

#endif
