/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs of `qstack bench priority` agree on. A request is 200 octets, its reply 146; to
 * answer one takes a time that the server is told. */
#ifndef QS_BENCH_PRIORITY_H
#define QS_BENCH_PRIORITY_H

#include <stdint.h>

#include "io/clock.h"

#define REQUEST_BYTES 200u
#define REPLY_BYTES 146u

/* Works for `ns` nanoseconds. */
static inline void work_for(uint64_t ns)
{
    for (uint64_t end = ns ? qs_clock_now().ns + ns : 0; ns && qs_clock_now().ns < end;)
        ;
}

#endif
