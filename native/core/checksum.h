/* SPDX-License-Identifier: Apache-2.0 */
/* Internet checksum, RFC 1071: sums are kept as 64-bit ones' complement partial sums of native
 * 16-bit words and folded once at the end, so byte order never matters until the result is stored.
 */
#ifndef QS_CORE_CHECKSUM_H
#define QS_CORE_CHECKSUM_H

#include "addr.h"

/* Sum of two partial sums. */
static inline uint64_t qs_csum_join(uint64_t a, uint64_t b)
{
    uint64_t s = a + b;
    return s + (s < b);
}

/* Adds `len` bytes at `data` to `sum`; every part but the last one has an even length. */
uint64_t qs_csum_add(uint64_t sum, const uint8_t *data, size_t len);

/* Copies and adds in one pass; same rule. */
uint64_t qs_csum_copy(uint64_t sum, uint8_t *to, const uint8_t *from, size_t len);

/* Pseudo-header of RFC 9293 section 3.1: both addresses, protocol and upper-layer length. */
uint64_t qs_csum_pseudo(const qs_addr *src, const qs_addr *dst, uint8_t protocol, uint32_t len);

/* Folds to 16 bits in memory order, not complemented. */
static inline uint16_t qs_csum_fold(uint64_t sum)
{
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffffffu) + (sum >> 32);
    uint32_t s = (uint32_t)sum;
    s = (s & 0xffffu) + (s >> 16);
    s = (s & 0xffffu) + (s >> 16);
    return (uint16_t)s;
}

/* Stores the complement at `field`. */
static inline void qs_csum_store(uint8_t *field, uint64_t sum)
{
    uint16_t v = (uint16_t)~qs_csum_fold(sum);
    memcpy(field, &v, sizeof v);
}

/* True when a sum over data that includes its checksum field is right. */
static inline bool qs_csum_ok(uint64_t sum)
{
    return qs_csum_fold(sum) == 0xffff;
}

#endif
