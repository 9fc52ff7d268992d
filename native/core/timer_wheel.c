/* SPDX-License-Identifier: Apache-2.0 */
#include "timer_wheel.h"

static struct qs_timer *timer(const struct qs_wheel *w, uint32_t idx)
{
    return (struct qs_timer *)(void *)(w->timers + (size_t)idx * w->stride);
}

void qs_wheel_init(struct qs_wheel *w, void *first_timer, size_t stride)
{
    *w = (struct qs_wheel){.timers = first_timer, .stride = stride};
    for (size_t i = 0; i < QS_WHEEL_LEVELS * QS_WHEEL_SLOTS; i++)
        w->head[i] = QS_NO_IDX;
}

/* Ticks from `w->now` to `tick`; a timer that is overdue has 0. */
static uint32_t ticks_ahead(const struct qs_wheel *w, uint32_t tick)
{
    int32_t d = (int32_t)(tick - (uint32_t)w->now);
    return d > 0 ? (uint32_t)d : 0;
}

/* The lowest level whose span holds the distance; beyond the last level's span the timer waits in
 * its last slot and is placed anew when that comes up. */
static uint32_t choose_slot(const struct qs_wheel *w, uint32_t tick)
{
    uint32_t ahead = ticks_ahead(w, tick);
    if (ahead == 0)
        ahead = 1; /* the slot of `now` is already done */
    uint64_t at = w->now + ahead;
    for (uint32_t level = 0; level < QS_WHEEL_LEVELS; level++) {
        uint32_t shift = level * QS_WHEEL_BITS;
        if ((at >> shift) - (w->now >> shift) < QS_WHEEL_SLOTS)
            return level * QS_WHEEL_SLOTS + (uint32_t)(at >> shift) % QS_WHEEL_SLOTS;
    }
    uint32_t shift = (QS_WHEEL_LEVELS - 1) * QS_WHEEL_BITS;
    return (QS_WHEEL_LEVELS - 1) * QS_WHEEL_SLOTS +
           (uint32_t)((w->now >> shift) + QS_WHEEL_SLOTS - 1) % QS_WHEEL_SLOTS;
}

static void insert(struct qs_wheel *w, uint32_t idx, uint32_t tick)
{
    struct qs_timer *t = timer(w, idx);
    uint32_t slot = choose_slot(w, tick);
    t->tick = tick;
    t->slot = (uint16_t)slot;
    t->prev = QS_NO_IDX;
    t->next = w->head[slot];
    if (t->next != QS_NO_IDX)
        timer(w, t->next)->prev = idx;
    w->head[slot] = idx;
    w->occupied[slot / QS_WHEEL_SLOTS] |= 1ull << slot % QS_WHEEL_SLOTS;
}

void qs_wheel_start(struct qs_wheel *w, uint32_t idx, qs_tick at)
{
    struct qs_timer *t = timer(w, idx);
    if (t->tick) {
        if ((int32_t)(t->tick - at.v) <= 0)
            return;
        qs_wheel_stop(w, idx);
    }
    insert(w, idx, at.v);
}

void qs_wheel_stop(struct qs_wheel *w, uint32_t idx)
{
    struct qs_timer *t = timer(w, idx);
    if (!t->tick)
        return;
    if (t->prev != QS_NO_IDX)
        timer(w, t->prev)->next = t->next;
    else
        w->head[t->slot] = t->next;
    if (t->next != QS_NO_IDX)
        timer(w, t->next)->prev = t->prev;
    if (w->head[t->slot] == QS_NO_IDX)
        w->occupied[t->slot / QS_WHEEL_SLOTS] &= ~(1ull << t->slot % QS_WHEEL_SLOTS);
    t->tick = 0;
}

/* Bits rotated so that bit 0 is the slot after `pos`. */
static uint64_t from_slot_after(uint64_t bits, uint32_t pos)
{
    uint32_t by = (pos + 1) % QS_WHEEL_SLOTS;
    return by ? bits >> by | bits << (QS_WHEEL_SLOTS - by) : bits;
}

/* First tick after `now` at which a slot of `level` comes up; UINT64_MAX when the level is empty.
 */
static uint64_t next_of_level(const struct qs_wheel *w, uint32_t level)
{
    if (!w->occupied[level])
        return UINT64_MAX;
    uint32_t shift = level * QS_WHEEL_BITS;
    uint64_t pos = w->now >> shift;
    uint64_t bits = from_slot_after(w->occupied[level], (uint32_t)pos % QS_WHEEL_SLOTS);
    return (pos + 1 + (uint32_t)__builtin_ctzll(bits)) << shift;
}

static uint64_t next_tick(const struct qs_wheel *w)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t level = 0; level < QS_WHEEL_LEVELS; level++) {
        uint64_t t = next_of_level(w, level);
        if (t < next)
            next = t;
    }
    return next;
}

/* Moves the timers of a higher slot that comes up at `now` to where they belong by now. */
static void cascade(struct qs_wheel *w, uint32_t level)
{
    uint32_t shift = level * QS_WHEEL_BITS;
    uint32_t slot = level * QS_WHEEL_SLOTS + (uint32_t)(w->now >> shift) % QS_WHEEL_SLOTS;
    uint32_t idx = w->head[slot];
    w->head[slot] = QS_NO_IDX;
    w->occupied[level] &= ~(1ull << slot % QS_WHEEL_SLOTS);
    while (idx != QS_NO_IDX) {
        struct qs_timer *t = timer(w, idx);
        uint32_t next = t->next;
        if (ticks_ahead(w, t->tick) == 0) { /* due in this very tick */
            uint32_t due = (uint32_t)w->now % QS_WHEEL_SLOTS;
            t->slot = (uint16_t)due;
            t->prev = QS_NO_IDX;
            t->next = w->head[due];
            if (t->next != QS_NO_IDX)
                timer(w, t->next)->prev = idx;
            w->head[due] = idx;
            w->occupied[0] |= 1ull << due;
        } else {
            insert(w, idx, t->tick);
        }
        idx = next;
    }
}

uint32_t qs_wheel_pop(struct qs_wheel *w, qs_time time)
{
    uint64_t target = time.ns >> QS_TICK_SHIFT;
    for (;;) {
        uint32_t idx = w->head[w->now % QS_WHEEL_SLOTS];
        if (idx != QS_NO_IDX) { /* the slot of `now` */
            qs_wheel_stop(w, idx);
            return idx;
        }
        if (w->now >= target)
            return QS_NO_IDX;
        uint64_t next = next_tick(w);
        if (next > target) {
            w->now = target;
            return QS_NO_IDX;
        }
        w->now = next;
        for (uint32_t level = QS_WHEEL_LEVELS - 1; level > 0; level--)
            if ((w->now & ((1ull << level * QS_WHEEL_BITS) - 1)) == 0)
                cascade(w, level);
    }
}

qs_time qs_wheel_deadline(const struct qs_wheel *w)
{
    if (w->head[w->now % QS_WHEEL_SLOTS] != QS_NO_IDX)
        return (qs_time){0};
    uint64_t next = next_tick(w);
    return next == UINT64_MAX ? QS_NEVER : (qs_time){next << QS_TICK_SHIFT};
}
