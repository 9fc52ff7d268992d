/* SPDX-License-Identifier: Apache-2.0 */
/* The timer wheel against a plain array of deadlines: never early, never late, and its deadline is
 * never after the next timer. */
#include "core/timer_wheel.h"
#include "qs_test.h"

#define TIMERS 300u
#define HOUR_NS 3600000000000ull

struct model {
    struct qs_wheel w;
    struct qs_timer timers[TIMERS];
    uint32_t due[TIMERS]; /* tick, 0: off */
    uint64_t now_ns, random;
};

static struct model m;

static void start_at(uint64_t now_ns)
{
    memset(&m, 0, sizeof m);
    qs_wheel_init(&m.w, m.timers, sizeof m.timers[0]);
    m.now_ns = now_ns;
    REQUIRE(qs_wheel_pop(&m.w, (qs_time){now_ns}) == QS_NO_IDX);
}

/* Ticks from now to `tick`, negative when it has passed. */
static int32_t ahead(uint32_t tick)
{
    return (int32_t)(tick - (uint32_t)(m.now_ns >> QS_TICK_SHIFT));
}

static void start_timer(uint32_t idx, uint64_t after_ns)
{
    qs_tick t = qs_tick_after((qs_time){m.now_ns}, (qs_dur){after_ns});
    qs_wheel_start(&m.w, idx, t);
    /* "at t or before": a later time than the present one changes nothing */
    if (!m.due[idx] || (int32_t)(m.due[idx] - t.v) > 0)
        m.due[idx] = t.v;
}

static void stop_timer(uint32_t idx)
{
    qs_wheel_stop(&m.w, idx);
    m.due[idx] = 0;
}

/* Takes all that is due at now and compares. */
static void pop_all(void)
{
    uint32_t idx, n = 0;
    while ((idx = qs_wheel_pop(&m.w, (qs_time){m.now_ns})) != QS_NO_IDX) {
        REQUIRE(idx < TIMERS && m.due[idx]);
        CHECK(ahead(m.due[idx]) <= 0); /* never early */
        m.due[idx] = 0;
        REQUIRE(++n <= TIMERS);
    }
    for (uint32_t i = 0; i < TIMERS; i++)
        CHECK(!m.due[i] || ahead(m.due[i]) > 0); /* never late */
}

static void check_deadline(void)
{
    uint64_t d = qs_wheel_deadline(&m.w).ns;
    int32_t first = INT32_MAX;
    for (uint32_t i = 0; i < TIMERS; i++)
        if (m.due[i] && ahead(m.due[i]) < first)
            first = ahead(m.due[i]);
    if (first == INT32_MAX) {
        CHECK(d == UINT64_MAX);
        return;
    }
    uint64_t tick_now = m.now_ns >> QS_TICK_SHIFT;
    CHECK(d <= (tick_now + (uint32_t)first) << QS_TICK_SHIFT);
    CHECK(d > m.now_ns); /* all that was due is taken: it does not spin */
}

/* Mostly short, now and then hours. */
static uint64_t some_duration(void)
{
    uint64_t x = qs_test_random(&m.random), wide = x >> 8;
    switch (x % 6) {
    case 0:
        return wide % 200000;
    case 1:
        return wide % 10000000;
    case 2:
        return wide % 1000000000;
    case 3:
        return wide % (60 * 1000000000ull);
    case 4:
        return wide % HOUR_NS;
    default:
        return wide % (30 * HOUR_NS);
    }
}

static void random_times(void)
{
    uint64_t seed = qs_test_seed();
    /* The last one starts just before the 32-bit ticks wrap. */
    const uint64_t start[] = {0, 1, 987654321987ull,
                              (1ull << (32 + QS_TICK_SHIFT)) - 5000000000ull};
    for (size_t k = 0; k < sizeof start / sizeof start[0]; k++) {
        start_at(start[k]);
        m.random = seed + k;
        for (int i = 0; i < 20000; i++) {
            uint64_t x = qs_test_random(&m.random);
            for (uint32_t j = 0; j < x % 4; j++)
                start_timer((uint32_t)(qs_test_random(&m.random) % TIMERS), some_duration());
            if (x >> 8 & 1)
                stop_timer((uint32_t)(x >> 16) % TIMERS);
            m.now_ns += some_duration() >> (x >> 40) % 12;
            pop_all();
            check_deadline();
        }
    }
}

/* Followed by its own deadline, the wheel brings each timer in its tick. */
static void followed_by_deadline(void)
{
    start_at(12345678901ull);
    m.random = qs_test_seed();
    for (uint32_t i = 0; i < TIMERS; i++)
        start_timer(i, some_duration());
    int steps = 0;
    for (uint64_t d; (d = qs_wheel_deadline(&m.w).ns) != UINT64_MAX; steps++) {
        REQUIRE(d > m.now_ns && steps < 100000);
        m.now_ns = d;
        pop_all();
    }
    CHECK(steps < 3000); /* cascades included: a few for each timer */
}

static void r48_long_jumps(void)
{
    start_at(1);
    m.random = qs_test_seed();
    for (int round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < TIMERS; i++)
            start_timer(i, some_duration());
        m.now_ns += 38 * HOUR_NS;
        pop_all();
        check_deadline();
        for (uint32_t i = 0; i < TIMERS; i++)
            CHECK_EQ(m.due[i], 0);
    }
}

static void r48_many_in_one_tick(void)
{
    start_at(0);
    for (uint32_t i = 0; i < TIMERS; i++)
        start_timer(i, 500000000);
    m.now_ns = 500000000;
    pop_all();
    m.now_ns += 1 << QS_TICK_SHIFT;
    pop_all();
    CHECK(qs_wheel_deadline(&m.w).ns == UINT64_MAX);
}

/* A deadline that has passed comes up with the next tick. */
static void overdue(void)
{
    start_at(1000000000);
    qs_wheel_start(&m.w, 3, qs_tick_at((qs_time){900000000}));
    m.due[3] = qs_tick_at((qs_time){900000000}).v;
    m.now_ns += 1 << QS_TICK_SHIFT;
    pop_all();
    CHECK_EQ(m.due[3], 0);
}

static void ticks_round_up_and_are_never_zero(void)
{
    CHECK_EQ(qs_tick_at((qs_time){0}).v, 1);
    CHECK_EQ(qs_tick_at((qs_time){1}).v, 1);
    CHECK_EQ(qs_tick_at((qs_time){65536}).v, 1);
    CHECK_EQ(qs_tick_at((qs_time){65537}).v, 2);
    CHECK_EQ(qs_tick_at((qs_time){1ull << 48}).v, 1);
    CHECK(qs_tick_due((qs_tick){5}, (qs_time){5 << 16}));
    CHECK(!qs_tick_due((qs_tick){5}, (qs_time){(5 << 16) - 1}));
    CHECK(qs_tick_due((qs_tick){UINT32_MAX}, (qs_time){1ull << 48}));
}

int main(void)
{
    RUN(random_times);
    RUN(followed_by_deadline);
    RUN(r48_long_jumps);
    RUN(r48_many_in_one_tick);
    RUN(overdue);
    RUN(ticks_round_up_and_are_never_zero);
    return TEST_RESULT();
}
