/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of a server of `qstack bench priority` in the split layout: a thread for each port. */
#ifndef QS_BENCH_PRIORITY_APPS_H
#define QS_BENCH_PRIORITY_APPS_H

#include "qstack/qs_stack.h"

struct apps_opts {
    uint64_t work_ns;  /* that an answer takes */
    uint64_t sleep_ns; /* that one to a request with POISON_MARK takes, not working */
};

/* A thread's application for qs_stack_listen.app, of which there are two at most. Ends the program
 * when there is none. */
uint32_t apps_add(qs_stack *s, const struct apps_opts *o);
/* Once the stack runs, and before it ends: a handler that sleeps is woken. */
void apps_start(void);
void apps_stop(void);
/* After qs_stack_stop(). */
void apps_free(void);

#endif
