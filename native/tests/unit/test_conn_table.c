/* SPDX-License-Identifier: Apache-2.0 */
/* The table of connections against a plain list, with few distinct hashes so that runs grow, wrap
 * around the end and are torn apart. */
#include "core/conn_table.h"
#include "qs_test.h"

#define SLOTS 100u

struct model {
    struct qs_table t;
    uint64_t entries[256];
    bool in[SLOTS];
    uint32_t hash[SLOTS];
};

static struct model m;

static void check_all(void)
{
    uint32_t found = 0, held = 0;
    for (uint32_t s = 0; s < SLOTS; s++) {
        uint32_t pos = m.hash[s], idx;
        bool seen = false;
        while ((idx = qs_table_next(&m.t, m.hash[s], &pos)) != UINT32_MAX) {
            REQUIRE(idx < SLOTS);
            CHECK(m.in[idx] && m.hash[idx] == m.hash[s]);
            seen |= idx == s;
        }
        CHECK_EQ(seen, m.in[s]);
        found += m.in[s];
    }
    for (size_t i = 0; i < 256; i++)
        held += m.entries[i] != 0;
    CHECK_EQ(held, found); /* nothing is left of what was removed */
}

/* Hashes that share low bits, and some that are the same altogether. */
static uint32_t some_hash(uint64_t x, int kind)
{
    switch (kind) {
    case 0: /* all at home in the last places */
        return 250u + (uint32_t)(x % 6) + ((uint32_t)(x >> 20) % 3 << 8);
    case 1: /* all the same */
        return 77;
    case 2: /* few */
        return (uint32_t)(x % 8) * 0x10000;
    default:
        return (uint32_t)x;
    }
}

static void random_operations(void)
{
    uint64_t random = qs_test_seed();
    for (int kind = 0; kind < 4; kind++) {
        memset(&m, 0, sizeof m);
        REQUIRE(qs_table_entries(SLOTS) == 256);
        m.t = (struct qs_table){m.entries, 255};
        for (int i = 0; i < 20000; i++) {
            uint64_t x = qs_test_random(&random);
            uint32_t s = (uint32_t)(x >> 40) % SLOTS;
            if (m.in[s]) {
                qs_table_remove(&m.t, m.hash[s], s);
            } else {
                m.hash[s] = some_hash(x, kind);
                qs_table_insert(&m.t, m.hash[s], s);
            }
            m.in[s] = !m.in[s];
            if (i % 16 == 0)
                check_all();
        }
    }
}

static void at_most_half_full(void)
{
    for (uint32_t n = 1; n < 100000; n += n / 3 + 1) {
        size_t entries = qs_table_entries(n);
        CHECK((entries & (entries - 1)) == 0);
        CHECK(entries >= 2 * (size_t)n);
    }
}

int main(void)
{
    RUN(random_operations);
    RUN(at_most_half_full);
    return TEST_RESULT();
}
