/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/spin.h"

/* A wait counts for 1/32 of all, so that those before the last 70 or so are forgotten. */
#define WEIGHT_SHIFT 5
/* With fewer short waits than this, of all, polling is in vain nearly always. */
#define WORTH (QS_SPIN_WHOLE / 8)
/* Of the short waits the longest ones, this part of them at most, are slept through. */
#define SLEPT(all) ((all) / 16)

static qs_dur bound(const struct qs_spin *x, uint32_t i)
{
    return (qs_dur){x->max.ns >> (QS_SPIN_BOUNDS - 1 - i)};
}

/* The least bound that covers nearly all short waits. */
static qs_dur limit(const struct qs_spin *x)
{
    uint32_t all = 0, covered = 0, i = 0;
    for (uint32_t b = 0; b < QS_SPIN_BOUNDS; b++)
        all += x->share[b];
    if (all < WORTH)
        return (qs_dur){0};
    while (i < QS_SPIN_BOUNDS - 1 && (covered += x->share[i]) < all - SLEPT(all))
        i++;
    return bound(x, i);
}

void qs_spin_init(struct qs_spin *x, qs_dur max)
{
    *x = (struct qs_spin){.max = max, .limit = max};
    x->share[QS_SPIN_BOUNDS - 1] = QS_SPIN_WHOLE;
}

void qs_spin_learn(struct qs_spin *x, qs_dur waited)
{
    uint32_t i = 0;
    while (i < QS_SPIN_BOUNDS && waited.ns > bound(x, i).ns)
        i++;
    for (uint32_t b = 0; b < QS_SPIN_BOUNDS; b++)
        x->share[b] -= x->share[b] >> WEIGHT_SHIFT;
    if (i < QS_SPIN_BOUNDS)
        x->share[i] += QS_SPIN_WHOLE >> WEIGHT_SHIFT;
    x->limit = limit(x);
}
