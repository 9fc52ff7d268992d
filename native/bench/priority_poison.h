/* SPDX-License-Identifier: Apache-2.0 */
/* What a server of `qstack bench priority` does wrong with requests that have POISON_MARK. */
#ifndef QS_BENCH_PRIORITY_POISON_H
#define QS_BENCH_PRIORITY_POISON_H

#include "qstack/qs_message.h"

/* Classifiers that do not return, or crash, at such a message; others are of their connection's
 * class. */
int classify_and_loop(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx);
int classify_and_crash(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx);

#endif
