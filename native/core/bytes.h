/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of frames: their counts, big-endian loads and stores, and a cursor that cannot be read past
 * its end. */
#ifndef QS_CORE_BYTES_H
#define QS_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t qs_min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint32_t qs_max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static inline uint16_t qs_load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap16(v);
}

static inline uint32_t qs_load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}

static inline void qs_store16(uint8_t *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, sizeof v);
}

static inline void qs_store32(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, sizeof v);
}

/* What is left to parse. */
struct qs_cursor {
    const uint8_t *at;
    size_t left;
};

/* Takes `n` bytes: their address, or NULL (and nothing is taken) when fewer are left. */
static inline const uint8_t *qs_take(struct qs_cursor *c, size_t n)
{
    if (c->left < n)
        return NULL;
    const uint8_t *p = c->at;
    c->at += n;
    c->left -= n;
    return p;
}

#endif
