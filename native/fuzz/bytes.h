/* SPDX-License-Identifier: Apache-2.0 */
/* Big-endian numbers, and the bytes of a fuzzer taken from the front. */
#ifndef QS_FUZZ_BYTES_H
#define QS_FUZZ_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)(v >> 16));
    put16(p + 2, (uint16_t)v);
}

static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

struct fuzz_input {
    const uint8_t *p;
    size_t left;
};

/* Past the end everything is zero. */
static inline uint8_t take8(struct fuzz_input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->p++;
}

static inline uint16_t take16(struct fuzz_input *in)
{
    uint8_t high = take8(in);
    return (uint16_t)(high << 8 | take8(in));
}

static inline uint32_t take32(struct fuzz_input *in)
{
    uint32_t high = take16(in);
    return high << 16 | take16(in);
}

/* Up to `n` bytes; `*out` reaches into the input. */
static inline size_t take(struct fuzz_input *in, size_t n, const uint8_t **out)
{
    n = n < in->left ? n : in->left;
    *out = in->p;
    in->p += n;
    in->left -= n;
    return n;
}

#endif
