/* SPDX-License-Identifier: Apache-2.0 */
/* Sequence-space arithmetic, RFC 9293 section 3.4. A struct, so that plain < does not compile. */
#ifndef QS_CORE_SEQ_H
#define QS_CORE_SEQ_H

#include <stdbool.h>
#include <stdint.h>

/* Position in sequence space; compare only with qs_seq_*(). */
typedef struct {
    uint32_t v;
} qs_seq;

/* Right while the two lie less than 2^31 octets apart. */
static inline bool qs_seq_lt(qs_seq a, qs_seq b)
{
    return (int32_t)(a.v - b.v) < 0;
}

static inline bool qs_seq_le(qs_seq a, qs_seq b)
{
    return (int32_t)(a.v - b.v) <= 0;
}

static inline bool qs_seq_eq(qs_seq a, qs_seq b)
{
    return a.v == b.v;
}

static inline qs_seq qs_seq_add(qs_seq a, uint32_t octets)
{
    return (qs_seq){a.v + octets};
}

/* Octets from `from` up to `to`, which is not left of it. */
static inline uint32_t qs_seq_span(qs_seq from, qs_seq to)
{
    return to.v - from.v;
}

/* Octets [start, end). */
struct qs_range {
    qs_seq start, end;
};

/* Left edge of [left, left + octets) is inclusive. */
static inline bool qs_seq_in(qs_seq s, qs_seq left, uint32_t octets)
{
    return s.v - left.v < octets;
}

static inline qs_seq qs_seq_max(qs_seq a, qs_seq b)
{
    return qs_seq_lt(a, b) ? b : a;
}

#endif
