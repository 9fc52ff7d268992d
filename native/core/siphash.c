/* SPDX-License-Identifier: Apache-2.0 */
#include "siphash.h"

static inline uint64_t rotl(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] = rotl(v[2], 32);
}

static inline __attribute__((always_inline)) uint64_t
siphash(const struct qs_sipkey *key, const uint64_t *words, size_t n, int c_rounds, int d_rounds)
{
    uint64_t v[4] = {
        key->k[0] ^ 0x736f6d6570736575u,
        key->k[1] ^ 0x646f72616e646f6du,
        key->k[0] ^ 0x6c7967656e657261u,
        key->k[1] ^ 0x7465646279746573u,
    };
    for (size_t i = 0; i <= n; i++) {
        uint64_t m = i < n ? words[i] : (uint64_t)(n * 8) << 56;
        v[3] ^= m;
        for (int r = 0; r < c_rounds; r++)
            sip_round(v);
        v[0] ^= m;
    }
    v[2] ^= 0xff;
    for (int r = 0; r < d_rounds; r++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t qs_siphash24(const struct qs_sipkey *key, const uint64_t *words, size_t n)
{
    return siphash(key, words, n, 2, 4);
}

uint64_t qs_siphash13(const struct qs_sipkey *key, const uint64_t *words, size_t n)
{
    return siphash(key, words, n, 1, 3);
}
