/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of both IP versions in one form: IPv4 as ::ffff:a.b.c.d. */
#ifndef QS_CORE_ADDR_H
#define QS_CORE_ADDR_H

#include "bytes.h"
#include "qstack/qs_base.h"

static inline bool qs_addr_eq(const qs_addr *a, const qs_addr *b)
{
    uint64_t x[2], y[2];
    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

static inline bool qs_addr_is_any(const qs_addr *a)
{
    static const qs_addr any;
    return qs_addr_eq(a, &any);
}

static inline bool qs_addr_is_v4(const qs_addr *a)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(a->b, mapped, sizeof mapped) == 0;
}

static inline qs_addr qs_addr_from_v4(const uint8_t v4[4])
{
    qs_addr a = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0}};
    memcpy(a.b + 12, v4, 4);
    return a;
}

static inline qs_addr qs_addr_from_v6(const uint8_t v6[16])
{
    qs_addr a;
    memcpy(a.b, v6, 16);
    return a;
}

static inline bool qs_addr_is_link_local_v6(const qs_addr *a)
{
    return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

/* Class D, ff00::/8, or 255.255.255.255. */
static inline bool qs_addr_is_multicast(const qs_addr *a)
{
    if (!qs_addr_is_v4(a))
        return a->b[0] == 0xff;
    return (a->b[12] & 0xf0) == 0xe0 || qs_load32(a->b + 12) == UINT32_MAX;
}

/* An address that no packet may come from: RFC 1122 section 3.2.1.3, RFC 4291 section 2.5. */
static inline bool qs_addr_is_bad_source(const qs_addr *a)
{
    if (qs_addr_is_multicast(a))
        return true;
    if (qs_addr_is_v4(a))
        return a->b[12] == 0 || a->b[12] == 127 || a->b[12] >= 0xf0;
    static const uint8_t zeros[15];
    return memcmp(a->b, zeros, sizeof zeros) == 0 && a->b[15] <= 1; /* :: and ::1 */
}

/* Are the first `prefix_len` bits, counted in the address's own version, the same? */
static inline bool qs_addr_same_prefix(const qs_addr *a, const qs_addr *b, uint32_t prefix_len)
{
    bool v4 = qs_addr_is_v4(a);
    if (v4 != qs_addr_is_v4(b))
        return false;
    uint32_t bits = prefix_len + (v4 ? 96u : 0u);
    if (memcmp(a->b, b->b, bits / 8) != 0)
        return false;
    uint32_t rest = bits % 8;
    return rest == 0 || (uint8_t)(a->b[bits / 8] ^ b->b[bits / 8]) >> (8 - rest) == 0;
}

#endif
