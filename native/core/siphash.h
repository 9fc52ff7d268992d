/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash (Aumasson, Bernstein 2012) over whole 64-bit words: a keyed hash that an outsider who
 * does not know the key cannot steer. 1-3 rounds for hash tables, 2-4 for initial sequence numbers.
 */
#ifndef QS_CORE_SIPHASH_H
#define QS_CORE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct qs_sipkey {
    uint64_t k[2];
};

/* Little-endian words; the message is 8 * n bytes, n < 32. */
uint64_t qs_siphash24(const struct qs_sipkey *key, const uint64_t *words, size_t n);
uint64_t qs_siphash13(const struct qs_sipkey *key, const uint64_t *words, size_t n);

#endif
