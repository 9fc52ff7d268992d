/* SPDX-License-Identifier: Apache-2.0 */
#include "priority_poison.h"

#include "priority.h"

static bool is_poison(const uint8_t *data, size_t len)
{
    return data && len > MARK_AT && data[MARK_AT] == POISON_MARK;
}

int classify_and_loop(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx)
{
    (void)ctx;
    for (volatile bool for_ever = is_poison(data, len); for_ever;)
        ;
    return flow->prio;
}

int classify_and_crash(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx)
{
    (void)ctx;
    if (is_poison(data, len))
        __builtin_trap();
    return flow->prio;
}
