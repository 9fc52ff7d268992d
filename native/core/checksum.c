/* SPDX-License-Identifier: Apache-2.0 */
#include "checksum.h"

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The last 0 to 7 bytes as one zero-padded word. */
static inline uint64_t load_tail(const uint8_t *p, size_t len)
{
    uint64_t v = 0;
    memcpy(&v, p, len);
    return v;
}

uint64_t qs_csum_add(uint64_t sum, const uint8_t *data, size_t len)
{
    /* Two independent 32-bit-lane sums: no carry chain, so the compiler can keep both busy. */
    uint64_t a = 0, b = 0;
    for (; len >= 16; len -= 16, data += 16) {
        uint64_t x = load64(data), y = load64(data + 8);
        a += (x & 0xffffffffu) + (x >> 32);
        b += (y & 0xffffffffu) + (y >> 32);
    }
    if (len >= 8) {
        uint64_t x = load64(data);
        a += (x & 0xffffffffu) + (x >> 32);
        data += 8;
        len -= 8;
    }
    if (len)
        sum = qs_csum_join(sum, load_tail(data, len));
    return qs_csum_join(sum, qs_csum_join(a, b));
}

uint64_t qs_csum_copy(uint64_t sum, uint8_t *to, const uint8_t *from, size_t len)
{
    uint64_t a = 0, b = 0;
    for (; len >= 16; len -= 16, from += 16, to += 16) {
        uint64_t x = load64(from), y = load64(from + 8);
        memcpy(to, &x, 8);
        memcpy(to + 8, &y, 8);
        a += (x & 0xffffffffu) + (x >> 32);
        b += (y & 0xffffffffu) + (y >> 32);
    }
    memcpy(to, from, len);
    return qs_csum_add(qs_csum_join(sum, qs_csum_join(a, b)), from, len);
}

uint64_t qs_csum_pseudo(const qs_addr *src, const qs_addr *dst, uint8_t protocol, uint32_t len)
{
    /* For IPv4 the ::ffff words of both addresses add 2 * 0xffff, which is zero here. */
    uint64_t sum = 0;
    sum = qs_csum_join(sum, load64(src->b));
    sum = qs_csum_join(sum, load64(src->b + 8));
    sum = qs_csum_join(sum, load64(dst->b));
    sum = qs_csum_join(sum, load64(dst->b + 8));
    return qs_csum_join(sum,
                        (uint64_t)__builtin_bswap32(len) + ((uint64_t)__builtin_bswap16(protocol)));
}
