/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that look random, the same for the same seed: splitmix64 (Steele, Lea and Flood, 2014).
 * Not for secrets. */
#ifndef QS_CORE_SPLITMIX_H
#define QS_CORE_SPLITMIX_H

#include <stdint.h>

/* The next one; `*state` is any seed at first. */
static inline uint64_t qs_splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

#endif
