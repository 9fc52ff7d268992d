/* SPDX-License-Identifier: Apache-2.0 */
/* Which class is next where several wait: the most urgent one, but none gets less than its minimum
 * share while it waits. Deficit round robin (Shreedhar and Varghese, 1995) for the shares, strict
 * priority for the rest: docs/design/014-priority.md. Costs are in any unit, the same for all. */
#ifndef QS_CORE_SHARE_H
#define QS_CORE_SHARE_H

#include "qstack/qs_base.h"

#define QS_SHARE_WHOLE 1000 /* all of it */

struct qs_share {
    uint16_t min[QS_N_PRIO];    /* least share, of QS_SHARE_WHOLE; together at most that */
    int64_t deficit[QS_N_PRIO]; /* what a class is owed, QS_SHARE_WHOLE times the cost */
    uint32_t unit;              /* cost: a class is served out of turn when it is owed as much */
    uint32_t quantum;           /* cost: most that is owed, or counts against a class */
};

/* Costs: `unit` of what is usually served at once, `quantum` of many of them. */
void qs_share_init(struct qs_share *s, const uint16_t min[QS_N_PRIO], uint32_t unit,
                   uint32_t quantum);

/* The class to serve; `waiting` has a bit for each that has something, and is not 0. */
uint32_t qs_share_next(const struct qs_share *s, uint32_t waiting);

/* Class `served`, one of those that were `waiting`, took `cost`. */
void qs_share_charge(struct qs_share *s, uint32_t waiting, uint32_t served, uint64_t cost);

/* The most urgent class of a set that is not empty. */
static inline uint32_t qs_class_first(uint32_t classes)
{
    return 31u - (uint32_t)__builtin_clz(classes);
}

#endif
