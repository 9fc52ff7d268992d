/* SPDX-License-Identifier: Apache-2.0 */
/* The algorithms of congestion control by name, and what all of them begin with. */
#include "cc.h"

static const struct qs_cc_ops *const all[] = {&qs_cc_cubic, &qs_cc_newreno, &qs_cc_dctcp};

#define N_ALL (sizeof all / sizeof all[0])

static bool same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

int qs_cc_find(const char *name)
{
    if (!name)
        return QS_CC_DEFAULT;
    for (size_t i = 0; i < N_ALL; i++)
        if (same(name, all[i]->name))
            return (int)i;
    return -1;
}

const struct qs_cc_ops *qs_cc_ops(uint8_t number)
{
    return all[number];
}

/* RFC 6928 section 2, without its bound of 14,600 octets: two segments of 9,000 would cost a path
 * that carries them two round trips. Linux has no bound either. */
uint32_t qs_cc_initial_window(uint32_t mss)
{
    return 10 * mss;
}
