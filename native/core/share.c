/* SPDX-License-Identifier: Apache-2.0 */
#include "share.h"

#include <string.h>

void qs_share_init(struct qs_share *s, const uint16_t min[QS_N_PRIO], uint32_t unit,
                   uint32_t quantum)
{
    *s = (struct qs_share){.unit = unit, .quantum = quantum};
    memcpy(s->min, min, sizeof s->min);
}

uint32_t qs_share_next(const struct qs_share *s, uint32_t waiting)
{
    uint32_t first = qs_class_first(waiting);
    uint32_t others = waiting & ~(1u << first);
    while (others) {
        uint32_t prio = qs_class_first(others);
        if (s->deficit[prio] >= (int64_t)s->unit * QS_SHARE_WHOLE)
            return prio;
        others &= ~(1u << prio);
    }
    return first;
}

static int64_t clamp(int64_t value, int64_t most)
{
    if (value > most)
        return most;
    return value < -most ? -most : value;
}

void qs_share_charge(struct qs_share *s, uint32_t waiting, uint32_t served, uint64_t cost)
{
    if (!(waiting & (waiting - 1))) /* at nobody's expense */
        return;
    int64_t whole = cost < s->quantum ? (int64_t)cost : s->quantum;
    for (uint32_t p = 0; p < QS_N_PRIO; p++) {
        int64_t owed = s->deficit[p] + whole * s->min[p];
        if (p == served)
            owed -= whole * QS_SHARE_WHOLE;
        if (!(waiting & 1u << p) && owed > 0) /* idle time gives no claim */
            owed = 0;
        s->deficit[p] = clamp(owed, (int64_t)s->quantum * QS_SHARE_WHOLE);
    }
}
