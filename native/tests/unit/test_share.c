/* SPDX-License-Identifier: Apache-2.0 */
/* Strict priority above minimum shares: docs/design/014-priority.md. */
#include "core/share.h"

#include "qs_test.h"

#define UNIT 50u
#define QUANTUM 1000u

static const uint16_t none[QS_N_PRIO];

struct served {
    uint64_t cost[QS_N_PRIO], all;
};

/* Serves `n` units of random cost; `waiting` says who has something before each. */
static struct served serve(struct qs_share *s, uint32_t n, uint32_t (*waiting)(uint64_t *),
                           uint64_t *random)
{
    struct served out = {0};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t w = waiting(random), prio = qs_share_next(s, w);
        REQUIRE(w >> prio & 1);
        uint64_t cost = 1 + qs_test_random(random) % 100;
        qs_share_charge(s, w, prio, cost);
        out.cost[prio] += cost;
        out.all += cost;
    }
    return out;
}

static uint32_t all_wait(uint64_t *random)
{
    (void)random;
    return 0xff;
}

static void without_shares_the_most_urgent_has_everything(void)
{
    uint64_t random = qs_test_seed();
    struct qs_share s;
    qs_share_init(&s, none, UNIT, QUANTUM);
    struct served got = serve(&s, 10000, all_wait, &random);
    CHECK_EQ(got.cost[7], got.all);
}

static void each_has_its_share_and_the_most_urgent_the_rest(void)
{
    static const uint16_t min[QS_N_PRIO] = {200, 10, 0, 50, 1, 100, 0, 300};
    uint64_t random = qs_test_seed();
    struct qs_share s;
    qs_share_init(&s, min, UNIT, QUANTUM);
    struct served got = serve(&s, 200000, all_wait, &random);
    for (uint32_t p = 0; p < 7; p++) { /* as exact as one unit is of all */
        uint64_t want = got.all * min[p] / QS_SHARE_WHOLE;
        CHECK(got.cost[p] <= want + 200 && got.cost[p] + 200 >= want);
    }
    CHECK_EQ(got.cost[2] + got.cost[6], 0);
}

static void shares_may_be_the_whole(void)
{
    static const uint16_t min[QS_N_PRIO] = {500, 0, 0, 500, 0, 0, 0, 0};
    uint64_t random = qs_test_seed();
    struct qs_share s;
    qs_share_init(&s, min, UNIT, QUANTUM);
    struct served got = serve(&s, 100000, all_wait, &random);
    CHECK(got.cost[0] * 100 > got.all * 49);
    CHECK(got.cost[3] * 100 > got.all * 49);
}

/* Class 7 always, class 0 half of the time: its messages come one by one. */
static uint32_t now_and_then(uint64_t *random)
{
    return 1u << 7 | (qs_test_random(random) & 1u);
}

static void who_comes_and_goes_has_no_more_than_who_stays(void)
{
    static const uint16_t min[QS_N_PRIO] = {[0] = 100};
    uint64_t random = qs_test_seed();
    struct qs_share s;
    qs_share_init(&s, min, UNIT, QUANTUM);
    struct served got = serve(&s, 200000, now_and_then, &random);
    CHECK(got.cost[0] * 1000 <= got.all * 101);
    CHECK(got.cost[0] * 1000 >= got.all * 40);
}

static void what_was_had_alone_does_not_count(void)
{
    static const uint16_t min[QS_N_PRIO] = {[0] = 500};
    struct qs_share s;
    qs_share_init(&s, min, UNIT, QUANTUM);
    for (int i = 0; i < 1000; i++)
        qs_share_charge(&s, 1, 0, 100);
    CHECK_EQ(qs_share_next(&s, 1u | 1u << 7), 7);
    qs_share_charge(&s, 1u | 1u << 7, 7, 2 * UNIT);
    CHECK_EQ(qs_share_next(&s, 1u | 1u << 7), 0);
}

/* A short burst of urgent work is not interrupted for a small share. */
static void nobody_is_owed_anything_before_a_unit_of_its_share(void)
{
    static const uint16_t min[QS_N_PRIO] = {[0] = 10};
    struct qs_share s;
    qs_share_init(&s, min, UNIT, QUANTUM);
    uint32_t cost = 0;
    for (; qs_share_next(&s, 1u | 1u << 7) != 0 && cost < 10 * QUANTUM * 100; cost += 10)
        qs_share_charge(&s, 1u | 1u << 7, 7, 10);
    CHECK_EQ(cost, 100 * UNIT);
}

static void idle_time_gives_no_claim(void)
{
    static const uint16_t min[QS_N_PRIO] = {[0] = 500};
    struct qs_share s;
    qs_share_init(&s, min, UNIT, QUANTUM);
    for (int i = 0; i < 1000; i++)
        qs_share_charge(&s, 1u << 3 | 1u << 7, 7, 100);
    CHECK_EQ(qs_share_next(&s, 1u | 1u << 7), 7);
}

static void a_unit_beyond_the_quantum_is_paid_by_one_quantum(void)
{
    static const uint16_t min[QS_N_PRIO] = {[0] = 500};
    struct qs_share s;
    qs_share_init(&s, min, UNIT, QUANTUM);
    qs_share_charge(&s, 1u | 1u << 7, 0, UINT64_MAX);
    uint32_t cost = 0;
    while (qs_share_next(&s, 1u | 1u << 7) != 0 && cost < 10 * QUANTUM)
        qs_share_charge(&s, 1u | 1u << 7, 7, 1), cost++;
    CHECK_EQ(cost, QUANTUM + 2 * UNIT);
}

int main(void)
{
    RUN(without_shares_the_most_urgent_has_everything);
    RUN(each_has_its_share_and_the_most_urgent_the_rest);
    RUN(shares_may_be_the_whole);
    RUN(who_comes_and_goes_has_no_more_than_who_stays);
    RUN(what_was_had_alone_does_not_count);
    RUN(nobody_is_owed_anything_before_a_unit_of_its_share);
    RUN(idle_time_gives_no_claim);
    RUN(a_unit_beyond_the_quantum_is_paid_by_one_quantum);
    return TEST_RESULT();
}
