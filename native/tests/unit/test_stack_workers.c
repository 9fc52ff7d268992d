/* SPDX-License-Identifier: Apache-2.0 */
/* Workers of a running stack are added, parked, woken and removed; what cannot be says why. */
#include "moving_rig.h"

static struct qs_worker_stats stats_of(const qs_stack *s, uint32_t worker)
{
    struct qs_worker_stats stats;
    CHECK_EQ(qs_stack_worker_stats(s, worker, &stats), 0);
    return stats;
}

static void park(qs_stack *s, uint32_t worker)
{
    struct qs_diag diag = {""};
    CHECK_EQ(qs_stack_worker_park(s, worker, &diag), 0);
    for (uint32_t q = 0; q < MOVING_QUEUES; q++)
        CHECK_EQ(qs_stack_move_wait(s, q, QS_S(20)), 0);
}

static void a_parked_worker_gives_its_queues_away_and_stands_still(void)
{
    struct moving m;
    struct qs_diag diag;
    moving_begin(&m, QS_US(50));
    park(m.server, 1);
    for (uint32_t q = 0; q < MOVING_QUEUES; q++)
        CHECK_EQ(moving_worker_of(m.server, q), 0);
    CHECK_EQ(stats_of(m.server, 1).state, QS_WORKER_PARKED);
    while (!rig_get(&m.server->workers[1].sleeping))
        usleep(100);
    struct qs_worker_stats before = stats_of(m.server, 1);
    moving_go_on(&m, 200);
    usleep(250000); /* two ticks of a worker that has queues */
    struct qs_worker_stats after = stats_of(m.server, 1);
    CHECK_EQ(after.polls, before.polls);
    CHECK_EQ(qs_stack_worker_wake(m.server, 1, &diag), 0);
    CHECK_EQ(stats_of(m.server, 1).state, QS_WORKER_ACTIVE);
    moving_move(m.server, 3, 1);
    CHECK_EQ(qs_stack_move_wait(m.server, 3, QS_S(20)), 0);
    moving_go_on(&m, 200);
    moving_end(&m);
}

/* Who takes the flag of a sleeper may write so late that the worker is awake, or asleep again. */
static void a_wake_up_that_comes_late_is_taken(void)
{
    qs_stack_opts o = rig_stack_opts(0, 1, 1);
    o.workers_max = 2;
    qs_stack *s = rig_stack(&o);
    struct qs_diag diag = {""};
    CHECK_EQ(qs_stack_worker_add(s, &diag), 1);
    rig_start(s);
    const struct qs_worker *w = &s->workers[1];
    uint64_t one = 1;
    CHECK_EQ(write(w->event_fd, &one, sizeof one), sizeof one);
    while (stats_of(s, 1).sleeps < 2) /* it was woken, and sleeps again */
        usleep(100);
    struct pollfd in = {w->event_fd, POLLIN, 0};
    CHECK_EQ(poll(&in, 1, 0), 0);
    qs_stack_free(s);
}

static void a_parked_worker_spreads_its_queues(void)
{
    struct qs_diag diag = {""};
    qs_stack_opts o = rig_stack_opts(0, 6, 3);
    qs_stack *s = rig_stack(&o);
    CHECK_EQ(qs_stack_worker_park(s, 2, &diag), 0); /* not running: at once */
    CHECK_EQ(moving_worker_of(s, 2), 0);
    CHECK_EQ(moving_worker_of(s, 5), 1);
    CHECK_EQ(s->workers[0].runs, 1u | 1u << 2 | 1u << 3);
    CHECK_EQ(s->workers[1].runs, 1u << 1 | 1u << 4 | 1u << 5);
    CHECK_EQ(s->workers[2].runs, 0);
    qs_stack_free(s);
}

static void workers_come_and_go_under_traffic(void)
{
    struct moving m;
    struct qs_diag diag = {""};
    moving_begin(&m, QS_US(50));
    for (uint32_t i = 0; i < 20; i++) {
        CHECK_EQ(qs_stack_worker_add(m.server, &diag), 2);
        CHECK_EQ(qs_stack_worker_add(m.server, &diag), 3);
        for (uint32_t q = 0; q < MOVING_QUEUES; q++)
            moving_move(m.server, q, 2 + q % 2);
        CHECK_EQ(qs_stack_worker_remove(m.server, 2, QS_S(20), &diag), 0); /* wherever they are */
        moving_go_on(&m, 20);
        CHECK_EQ(qs_stack_worker_remove(m.server, 3, QS_S(20), &diag), 0);
        for (uint32_t q = 0; q < MOVING_QUEUES; q++)
            CHECK(moving_worker_of(m.server, q) < 2);
        CHECK_EQ(stats_of(m.server, 2).state, QS_WORKER_ABSENT);
    }
    CHECK(stats_of(m.server, 2).cpu_ns > 0); /* of threads that are gone */
    moving_end(&m);
}

/* A worker that was there at the start may go, too, and start and stop know who is there. */
static void the_first_worker_is_like_any_other(void)
{
    struct moving m;
    struct qs_diag diag = {""};
    moving_begin(&m, QS_US(50));
    CHECK_EQ(qs_stack_worker_remove(m.server, 0, QS_S(20), &diag), 0);
    moving_go_on(&m, 100);
    qs_stack_stop(m.server);
    CHECK_EQ(qs_stack_worker_remove(m.server, 1, QS_S(20), &diag), QS_ERR_STATE);
    CHECK_EQ(qs_stack_worker_add(m.server, &diag), 0);
    moving_move(m.server, 0, 0);
    rig_start(m.server);
    moving_go_on(&m, 100);
    CHECK_EQ(stats_of(m.server, 0).state, QS_WORKER_ACTIVE);
    CHECK_EQ(stats_of(m.server, 2).polls, 0);
    moving_end(&m);
}

/* Waits until so many workers are not parked. */
static bool wait_for_active(const qs_stack *s, uint32_t want)
{
    uint32_t n = 0;
    for (int i = 0; i < 20000; i++) {
        n = 0;
        for (uint32_t w = 0; w < s->opts.workers_max; w++)
            n += stats_of(s, w).state == QS_WORKER_ACTIVE;
        if (n == want)
            return true;
        usleep(1000);
    }
    fprintf(stderr, "%u workers, want %u\n", n, want);
    return false;
}

static void workers_follow_the_load(void)
{
    struct moving m;
    qs_stack_opts o = moving_opts();
    o.n_workers = o.workers_min = 1;
    o.workers_max = 2;
    moving_begin_with(&m, &o);
    for (uint32_t i = 0; i < 2; i++) {
        __atomic_store_n(&m.work_us, 50, __ATOMIC_RELEASE);
        CHECK(wait_for_active(m.server, 2));
        moving_go_on(&m, 50);
        qs_stack_stop(m.client); /* nothing comes any more */
        CHECK(wait_for_active(m.server, 1));
        usleep(20000); /* now nobody looks until a worker tells that it is busy */
        rig_start(m.client);
        moving_go_on(&m, 10);
    }
    moving_end(&m);
}

static void what_cannot_be_says_why(void)
{
    struct qs_diag diag = {""};
    qs_stack_opts o = rig_stack_opts(0, MOVING_QUEUES, 2);
    o.workers_max = 3;
    qs_stack *s = rig_stack(&o);
    rig_start(s);
    MOVING_REFUSED(qs_stack_move(s, 4, 0, &diag), QS_ERR_ARG, "no queue 4, the last one is 3");
    MOVING_REFUSED(qs_stack_move(s, 0, 2, &diag), QS_ERR_ARG, "no worker 2");
    MOVING_REFUSED(qs_stack_move(s, 0, UINT32_MAX, &diag), QS_ERR_ARG, "no worker 4294967295");
    MOVING_REFUSED(qs_stack_worker_park(s, 3, &diag), QS_ERR_ARG, "no worker 3");
    MOVING_REFUSED(qs_stack_worker_wake(s, 2, &diag), QS_ERR_ARG, "no worker 2");
    MOVING_REFUSED(qs_stack_worker_remove(s, 2, QS_S(1), &diag), QS_ERR_ARG, "no worker 2");
    CHECK_EQ(qs_stack_move_wait(s, 4, QS_S(1)), QS_ERR_ARG);
    struct qs_place place;
    CHECK_EQ(qs_stack_place(s, 4, &place), QS_ERR_ARG);
    CHECK_EQ(qs_stack_move(s, 0, 0, &diag), 0); /* it is there */
    CHECK_EQ(qs_stack_worker_park(s, 0, &diag), 0);
    CHECK_EQ(qs_stack_worker_park(s, 0, &diag), 0); /* twice is allowed */
    MOVING_REFUSED(qs_stack_move(s, 1, 0, &diag), QS_ERR_STATE, "worker 0 is parked");
    MOVING_REFUSED(qs_stack_worker_park(s, 1, &diag), QS_ERR_STATE, "last one");
    MOVING_REFUSED(qs_stack_worker_remove(s, 1, QS_S(1), &diag), QS_ERR_STATE, "last one");
    CHECK_EQ(qs_stack_worker_add(s, &diag), 2);
    MOVING_REFUSED(qs_stack_worker_add(s, &diag), QS_ERR_NOMEM, "all 3 workers");
    CHECK_EQ(qs_stack_worker_park(s, 1, &diag), 0); /* worker 2 has them all */
    for (uint32_t q = 0; q < MOVING_QUEUES; q++) {
        CHECK_EQ(qs_stack_move_wait(s, q, QS_S(20)), 0);
        CHECK_EQ(moving_worker_of(s, q), 2);
    }
    qs_stack_free(s);
}

int main(void)
{
    rig_begin();
    RUN(a_parked_worker_gives_its_queues_away_and_stands_still);
    RUN(a_wake_up_that_comes_late_is_taken);
    RUN(a_parked_worker_spreads_its_queues);
    RUN(workers_come_and_go_under_traffic);
    RUN(the_first_worker_is_like_any_other);
    RUN(workers_follow_the_load);
    RUN(what_cannot_be_says_why);
    rig_end();
    return TEST_RESULT();
}
