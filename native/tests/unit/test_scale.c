/* SPDX-License-Identifier: Apache-2.0 */
/* When workers are added and parked, in virtual time; which queues go. */
#include "qs_test.h"
#include "runtime/scale.h"

#define MS 1000000u

static const uint64_t begin_ns = 5000u * MS;

/* The same figures for each of `periods` milliseconds; the first answer that is not "keep", and
 * when it came. */
static enum qs_scale_step steps(struct qs_scaler *x, uint64_t *now_ns,
                                const struct qs_scale_worker *w, uint32_t n, uint32_t periods)
{
    for (uint32_t i = 0; i < periods; i++) {
        *now_ns += MS;
        enum qs_scale_step step = qs_scaler_step(x, w, n, QS_MS(1), (qs_time){*now_ns});
        if (step != QS_SCALE_KEEP)
            return step;
    }
    return QS_SCALE_KEEP;
}

static void a_worker_with_too_much_is_helped_after_two_periods(void)
{
    struct qs_scaler x = {0};
    uint64_t now = begin_ns;
    const struct qs_scale_worker idle[] = {{0, 4}}, busy[] = {{800, 4}};
    CHECK_EQ(steps(&x, &now, idle, 1, 1000), QS_SCALE_KEEP);
    uint64_t since = now;
    CHECK_EQ(steps(&x, &now, busy, 1, 100), QS_SCALE_UP);
    CHECK_EQ(now - since, 2u * MS);
    since = now; /* and again, if that was not enough */
    CHECK_EQ(steps(&x, &now, busy, 1, 100), QS_SCALE_UP);
    CHECK_EQ(now - since, 2u * MS);
}

static void a_turn_longer_than_a_period_counts_for_all_it_took(void)
{
    struct qs_scaler x = {0};
    uint64_t now = begin_ns;
    const struct qs_scale_worker nothing[] = {{0, 4}}, one[] = {{1799, 4}}, two[] = {{1800, 4}};
    CHECK_EQ(steps(&x, &now, nothing, 1, 3), QS_SCALE_KEEP);
    CHECK_EQ(steps(&x, &now, one, 1, 1), QS_SCALE_KEEP);
    CHECK_EQ(steps(&x, &now, nothing, 1, 3), QS_SCALE_KEEP);
    CHECK_EQ(steps(&x, &now, two, 1, 1), QS_SCALE_UP);
}

static void a_longer_time_between_looks_counts_as_well(void)
{
    struct qs_scaler x = {0};
    const struct qs_scale_worker little[] = {{799, 4}}, much[] = {{800, 4}};
    const qs_time now = {begin_ns};
    CHECK_EQ(qs_scaler_step(&x, little, 1, QS_MS(3), now), QS_SCALE_KEEP);
    CHECK_EQ(qs_scaler_step(&x, much, 1, QS_MS(2), now), QS_SCALE_KEEP); /* 1.6 ms */
    CHECK_EQ(qs_scaler_step(&x, little, 1, QS_MS(3), now), QS_SCALE_KEEP);
    CHECK_EQ(qs_scaler_step(&x, much, 1, QS_MS(3), now), QS_SCALE_UP);
}

static void a_burst_is_no_load(void)
{
    struct qs_scaler x = {0};
    uint64_t now = begin_ns;
    const struct qs_scale_worker idle[] = {{100, 4}}, busy[] = {{1000, 4}}, much[] = {{799, 4}};
    for (uint32_t i = 0; i < 100; i++) {
        CHECK_EQ(steps(&x, &now, busy, 1, 1), QS_SCALE_KEEP);
        CHECK_EQ(steps(&x, &now, idle, 1, 1), QS_SCALE_KEEP);
    }
    CHECK_EQ(steps(&x, &now, much, 1, 1000), QS_SCALE_KEEP);
}

static void one_queue_cannot_be_shared(void)
{
    struct qs_scaler x = {0};
    uint64_t now = begin_ns;
    const struct qs_scale_worker w[] = {{1000, 1}, {300, 3}};
    CHECK_EQ(steps(&x, &now, w, 2, 1000), QS_SCALE_KEEP);
}

static void a_worker_fewer_after_half_a_second_of_little_load(void)
{
    struct qs_scaler x = {0};
    uint64_t now = begin_ns;
    const struct qs_scale_worker little[] = {{250, 2}, {250, 2}}, more[] = {{251, 2}, {250, 2}};
    CHECK_EQ(steps(&x, &now, more, 2, 5000), QS_SCALE_KEEP);
    uint64_t since = now;
    CHECK_EQ(steps(&x, &now, little, 2, 1000), QS_SCALE_DOWN);
    CHECK_EQ(now - since, 501u * MS);   /* seen first at the end of a period */
    for (uint32_t i = 0; i < 10; i++) { /* a moment of load, and the time begins anew */
        CHECK_EQ(steps(&x, &now, little, 2, 499), QS_SCALE_KEEP);
        CHECK_EQ(steps(&x, &now, more, 2, 1), QS_SCALE_KEEP);
    }
    const struct qs_scale_worker last[] = {{0, 4}};
    CHECK_EQ(steps(&x, &now, last, 1, 5000), QS_SCALE_KEEP);
}

/* Whatever steady load there is: it is shared until nobody has too much, and stays so. */
static void a_steady_load_does_not_flap(void)
{
    for (uint32_t total = 0; total <= 4000; total += 50) {
        struct qs_scaler x = {0};
        uint64_t now = begin_ns;
        uint32_t n = 1, n_changes = 0;
        for (uint32_t i = 0; i < 20; i++) {
            struct qs_scale_worker w[8];
            for (uint32_t k = 0; k < n; k++) {
                uint32_t part = total / n < 1000 ? total / n : 1000;
                w[k] = (struct qs_scale_worker){part, 8};
            }
            enum qs_scale_step step = steps(&x, &now, w, n, 1000);
            CHECK(step != QS_SCALE_DOWN);
            n_changes += step == QS_SCALE_UP;
            n += step == QS_SCALE_UP;
        }
        CHECK(n_changes <= 5 && (total / n < 800));
    }
}

static void half_of_the_load_goes(void)
{
    uint64_t load[QS_N_QUEUES_MAX] = {0};
    CHECK_EQ(qs_scale_half(0x3, load), 0x2); /* without figures: one */
    CHECK_EQ(qs_scale_half(0xf0, load), 0x80);
    for (uint32_t q = 0; q < 8; q++)
        load[q] = 10;
    CHECK_EQ(__builtin_popcountll(qs_scale_half(0xff, load)), 4);
    load[3] = 70; /* as much as all others: it stays, and they go */
    CHECK_EQ(qs_scale_half(0xff, load), 0xf7);
    load[3] = 1000;
    CHECK_EQ(qs_scale_half(0xff, load), 0xf7);
    CHECK_EQ(qs_scale_half(0x18, load), 0x10);
}

int main(void)
{
    RUN(a_worker_with_too_much_is_helped_after_two_periods);
    RUN(a_turn_longer_than_a_period_counts_for_all_it_took);
    RUN(a_longer_time_between_looks_counts_as_well);
    RUN(a_burst_is_no_load);
    RUN(one_queue_cannot_be_shared);
    RUN(a_worker_fewer_after_half_a_second_of_little_load);
    RUN(a_steady_load_does_not_flap);
    RUN(half_of_the_load_goes);
    return TEST_RESULT();
}
