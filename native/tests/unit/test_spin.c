/* SPDX-License-Identifier: Apache-2.0 */
/* How long a thread without work polls: docs/design/022-spin.md. */
#include "runtime/spin.h"

#include "qs_test.h"

#define US 1000u
#define MAX QS_US(50)

static struct qs_spin fresh(void)
{
    struct qs_spin x;
    qs_spin_init(&x, MAX);
    return x;
}

static void wait_for(struct qs_spin *x, uint32_t n, uint64_t us)
{
    for (uint32_t i = 0; i < n; i++)
        qs_spin_learn(x, (qs_dur){us * US});
}

static void it_begins_with_the_most(void)
{
    struct qs_spin x = fresh();
    CHECK_EQ(x.limit.ns, 50 * US);
}

static void it_polls_as_long_as_work_lets_it_wait(void)
{
    for (uint64_t us = 1; us <= 50; us++) {
        struct qs_spin x = fresh();
        wait_for(&x, 200, us);
        CHECK(x.limit.ns >= us * US && x.limit.ns < 2 * us * US);
    }
}

static void who_waits_long_each_time_does_not_poll(void)
{
    struct qs_spin x = fresh();
    wait_for(&x, 10, 1000);
    CHECK_EQ(x.limit.ns, 50 * US); /* not yet */
    wait_for(&x, 90, 1000);
    CHECK_EQ(x.limit.ns, 0);
}

static void short_waits_are_believed_sooner_than_long_ones(void)
{
    struct qs_spin x = fresh();
    wait_for(&x, 1000, 1000);
    wait_for(&x, 5, 20);
    CHECK(x.limit.ns >= 20 * US);
}

/* An answer that is awaited between two requests that are not. */
static void one_short_wait_for_each_long_one_is_enough(void)
{
    struct qs_spin x = fresh();
    for (uint32_t i = 0; i < 1000; i++) {
        wait_for(&x, 1, 10);
        wait_for(&x, 1, 1000);
        CHECK(x.limit.ns >= 10 * US);
    }
    CHECK(x.limit.ns < 20 * US);
}

static void rare_ones_are_slept_through(void)
{
    struct qs_spin x = fresh();
    for (uint32_t i = 0; i < 100; i++) {
        wait_for(&x, 39, 3);
        wait_for(&x, 1, 45);
    }
    CHECK(x.limit.ns < 10 * US);
}

static void the_limit_is_never_above_the_most(void)
{
    static const uint64_t most[] = {0, 1, 100, 50 * US, 1000000000000};
    uint64_t random = qs_test_seed();
    for (size_t m = 0; m < sizeof most / sizeof *most; m++) {
        struct qs_spin x;
        qs_spin_init(&x, (qs_dur){most[m]});
        for (uint32_t i = 0; i < 10000; i++) {
            qs_spin_learn(&x, (qs_dur){qs_test_random(&random) >> qs_test_random(&random) % 64});
            uint64_t all = 0;
            for (uint32_t b = 0; b < QS_SPIN_BOUNDS; b++)
                all += x.share[b];
            REQUIRE(all <= QS_SPIN_WHOLE + QS_SPIN_BOUNDS * 32u);
            REQUIRE(x.limit.ns <= most[m]);
        }
    }
}

int main(void)
{
    RUN(it_begins_with_the_most);
    RUN(it_polls_as_long_as_work_lets_it_wait);
    RUN(who_waits_long_each_time_does_not_poll);
    RUN(short_waits_are_believed_sooner_than_long_ones);
    RUN(one_short_wait_for_each_long_one_is_enough);
    RUN(rare_ones_are_slept_through);
    RUN(the_limit_is_never_above_the_most);
    return TEST_RESULT();
}
