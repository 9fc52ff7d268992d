/* SPDX-License-Identifier: Apache-2.0 */
/* Hierarchical timer wheel (Varghese, Lauck 1987): 5 levels of 64 slots, intrusive and
 * index-linked, O(1) to start and stop. It never fires early and at most one tick late.
 *
 * A timer that is moved to a later time is left where it is: when its slot comes up the owner finds
 * that it is not due and starts it again. So re-arming a retransmission timer for every ACK costs
 * nothing. */
#ifndef QS_CORE_TIMER_WHEEL_H
#define QS_CORE_TIMER_WHEEL_H

#include "qstack/qs_base.h"

/* One tick is 2^16 ns. Ticks are 32 bits wide and wrap after 78 hours; deadlines lie less than half
 * of that ahead. Tick 0 is never used for a deadline: it means "off". */
#define QS_TICK_SHIFT 16
#define QS_WHEEL_LEVELS 5
#define QS_WHEEL_BITS 6
#define QS_WHEEL_SLOTS (1u << QS_WHEEL_BITS)
#define QS_NO_IDX UINT32_MAX

typedef struct {
    uint32_t v;
} qs_tick;

struct qs_timer {
    uint32_t next, prev; /* indexes, QS_NO_IDX at the ends */
    uint32_t tick;       /* when its slot comes up; 0: not in the wheel */
    uint16_t slot;       /* level * QS_WHEEL_SLOTS + slot */
};

struct qs_wheel {
    uint8_t *timers; /* first timer; the others follow at `stride` bytes */
    size_t stride;
    uint64_t now; /* ticks, all slots up to here are done */
    uint64_t occupied[QS_WHEEL_LEVELS];
    uint32_t head[QS_WHEEL_LEVELS * QS_WHEEL_SLOTS];
};

void qs_wheel_init(struct qs_wheel *w, void *first_timer, size_t stride);

/* Tick that lies at or after `t`, never 0. */
static inline qs_tick qs_tick_at(qs_time t)
{
    uint32_t v = (uint32_t)((t.ns + (1u << QS_TICK_SHIFT) - 1) >> QS_TICK_SHIFT);
    return (qs_tick){v ? v : 1};
}

static inline qs_tick qs_tick_after(qs_time now, qs_dur d)
{
    return qs_tick_at((qs_time){now.ns + d.ns});
}

/* `d` after tick `t`, never 0. */
static inline qs_tick qs_tick_plus(qs_tick t, qs_dur d)
{
    uint32_t v = t.v + (uint32_t)((d.ns + (1u << QS_TICK_SHIFT) - 1) >> QS_TICK_SHIFT);
    return (qs_tick){v ? v : 1};
}

/* Has `t` come at `now`? */
static inline bool qs_tick_due(qs_tick t, qs_time now)
{
    return (int32_t)((uint32_t)(now.ns >> QS_TICK_SHIFT) - t.v) >= 0;
}

/* Makes sure that timer `idx` comes up at `t` or before. */
void qs_wheel_start(struct qs_wheel *w, uint32_t idx, qs_tick t);

/* Takes it out; not being in the wheel is fine. */
void qs_wheel_stop(struct qs_wheel *w, uint32_t idx);

/* Next timer whose slot has come up at `now`, taken out of the wheel, or QS_NO_IDX. */
uint32_t qs_wheel_pop(struct qs_wheel *w, qs_time now);

/* Time before which qs_wheel_pop() returns nothing; QS_NEVER when the wheel is empty. */
qs_time qs_wheel_deadline(const struct qs_wheel *w);

#endif
