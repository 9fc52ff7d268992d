/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of users that run on workers, framings and classifiers: what they do wrong does not
 * stop the worker. One that takes longer than its budget, loops, or crashes has answered nothing.
 *
 * A thread of its own looks at the workers. It sends SIGURG to one whose function does not return;
 * the handler leaves the function by siglongjmp(), as it does at SIGSEGV, SIGBUS, SIGFPE and SIGILL
 * inside of one. So such a function must not hold a lock or memory. */
#ifndef QS_RUNTIME_GUARD_H
#define QS_RUNTIME_GUARD_H

#include "qstack/qs_stack.h"

/* All functions of a stack, and the thread. */
struct qs_guards;

/* One function. */
struct qs_guard;

/* @return NULL and words in `diag` when there is no thread or memory. */
struct qs_guards *qs_guards_new(struct qs_diag *diag);
/* After the workers have ended. NULL is allowed. */
void qs_guards_free(struct qs_guards *g);

/* Guards `framing` or `classify`, whichever is not NULL. Kept until qs_guards_free(); NULL: no
 * memory. */
struct qs_guard *qs_guard_new(struct qs_guards *g, qs_framing_fn framing, qs_classify_fn classify,
                              void *ctx);
void qs_guard_stats(const struct qs_guard *g, struct qs_function_stats *out);

/* What engines call instead; `ctx` is the qs_guard. Negative when there is no answer. */
int64_t qs_guarded_framing(const uint8_t *data, size_t len, void *ctx);
int qs_guarded_classify(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx);

#endif
