/* SPDX-License-Identifier: Apache-2.0 */
/* How many of a kind of answer the whole engine sends in a second. Were it the same number in each,
 * a stranger could count those that come back to him and so see whether somebody else got one
 * (CVE-2016-5696): half of it is certain, the rest random. */
#include "engine.h"

static uint32_t draw(const struct qs_engine *e, const struct qs_budget *b, uint32_t per_second)
{
    uint64_t words[2] = {b->second, b->kind};
    uint64_t random = qs_siphash24(&e->budget_key, words, 2);
    return per_second / 2 + per_second % 2 + (uint32_t)(random % per_second);
}

bool qs_budget_take(const struct qs_engine *e, struct qs_budget *b, uint32_t per_second,
                    qs_time now)
{
    uint64_t second = now.ns / QS_S(1).ns;
    if (second != b->second) {
        b->second = second;
        b->left = draw(e, b, per_second);
    }
    if (b->left == 0)
        return false;
    b->left--;
    return true;
}
