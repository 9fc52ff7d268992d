/* SPDX-License-Identifier: Apache-2.0 */
/* Queues move between workers: under traffic and asleep, one step at a time, past handlers that
 * block, and into a stop. */
#include "moving_rig.h"

/* ---- without threads: the steps ---- */

/* A server with workers that this thread plays: as if it ran. */
static qs_stack *stood_still(void)
{
    qs_stack_opts o = rig_stack_opts(0, MOVING_QUEUES, 2);
    o.workers_max = MOVING_WORKERS_MAX;
    qs_stack *s = rig_stack(&o);
    s->running = true;
    return s;
}

static void free_stood_still(qs_stack *s)
{
    s->running = false;
    qs_stack_free(s);
}

static void a_queue_stays_until_its_new_worker_comes_for_it(void)
{
    qs_stack *s = stood_still();
    struct qs_worker *old = &s->workers[0], *new = &s->workers[1];
    moving_move(s, 2, 1);
    CHECK(!qs_moves_run(old)); /* not asked yet */
    CHECK_EQ(old->runs, 1u | 1u << 2);
    CHECK(qs_moves_run(new));
    CHECK_EQ(new->runs, 1u << 1 | 1u << 3);
    CHECK_EQ(moving_worker_of(s, 2), 0);
    CHECK(qs_moves_run(old));
    CHECK_EQ(old->runs, 1u);
    CHECK_EQ(moving_worker_of(s, 2), 1); /* who is told from now on */
    CHECK_EQ(qs_stack_move_wait(s, 2, (qs_dur){0}), QS_ERR_AGAIN);
    CHECK(qs_moves_run(new));
    CHECK_EQ(new->runs, 1u << 1 | 1u << 2 | 1u << 3);
    CHECK_EQ(qs_stack_move_wait(s, 2, (qs_dur){0}), 0);
    CHECK(!qs_moves_run(old) && !qs_moves_run(new));
    struct qs_place place;
    CHECK_EQ(qs_stack_place(s, 2, &place), 0);
    CHECK(place.worker == 1 && place.wanted == 1 && place.moves == 1);
    free_stood_still(s);
}

/* However far the move is when its aim is parked. */
static void a_queue_turns_round_wherever_it_is(void)
{
    for (uint32_t steps = 0; steps < 4; steps++) {
        qs_stack *s = stood_still();
        struct qs_diag diag;
        struct qs_worker *order[] = {&s->workers[1], &s->workers[0], &s->workers[1]};
        moving_move(s, 2, 1);
        for (uint32_t i = 0; i < steps; i++)
            CHECK(qs_moves_run(order[i]));
        CHECK_EQ(qs_stack_worker_park(s, 1, &diag), 0);
        for (uint32_t i = 0; i < 4; i++)
            for (uint32_t w = 0; w < 2; w++)
                (void)qs_moves_run(&s->workers[w]);
        CHECK_EQ(s->workers[0].runs, 0xfu);
        CHECK_EQ(s->workers[1].runs, 0);
        for (uint32_t q = 0; q < MOVING_QUEUES; q++)
            CHECK(qs_stack_move_wait(s, q, (qs_dur){0}) == 0 && moving_worker_of(s, q) == 0);
        free_stood_still(s);
    }
}

static void a_late_question_finds_the_queue(void)
{
    qs_stack *s = stood_still();
    moving_move(s, 0, 1);
    CHECK(qs_moves_run(&s->workers[1])); /* asks worker 0 */
    (void)__atomic_fetch_or(&s->workers[3].asked, 1u, __ATOMIC_ACQ_REL);
    CHECK(qs_moves_run(&s->workers[0])); /* gives */
    (void)__atomic_fetch_or(&s->workers[0].asked, 1u, __ATOMIC_ACQ_REL);
    CHECK(qs_moves_run(&s->workers[0])); /* one who has it no more asks the next */
    CHECK(qs_moves_run(&s->workers[3])); /* and so does one who never had it */
    CHECK_EQ(s->workers[1].asked, 1u);
    CHECK(qs_moves_run(&s->workers[1]));
    CHECK_EQ(s->workers[1].runs & 1u, 1u);
    CHECK_EQ(s->workers[0].runs & 1u, 0);
    CHECK_EQ(s->workers[3].runs, 0);
    free_stood_still(s);
}

/* Between the owner's name and the bit in `given` lies a moment in which nobody has the queue. */
static void a_question_in_between_is_answered_on_arrival(void)
{
    qs_stack *s = stood_still();
    struct qs_diag diag;
    struct qs_worker *old = &s->workers[0], *new = &s->workers[1];
    moving_move(s, 2, 1);
    CHECK(qs_moves_run(new) && qs_moves_run(old));
    uint64_t given = __atomic_exchange_n(&new->given, 0, __ATOMIC_ACQ_REL);
    CHECK_EQ(qs_stack_worker_park(s, 1, &diag), 0);
    CHECK(qs_moves_run(old) && qs_moves_run(new)); /* is asked, and has it not */
    CHECK_EQ(new->runs, 0);
    __atomic_store_n(&new->given, given, __ATOMIC_RELEASE);
    CHECK(qs_moves_run(new) && qs_moves_run(old));
    CHECK_EQ(old->runs, 0xfu);
    free_stood_still(s);
}

static void letters_go_where_the_queue_goes(void)
{
    qs_stack *s = stood_still();
    struct qs_note note = {.kind = QS_NOTE_NEIGH, .from = QS_N_QUEUES_MAX};
    note.neigh.addr = (qs_addr){{[10] = 0xff, [11] = 0xff, 10, 9, 0, 7}};
    memset(note.neigh.mac, 2, sizeof note.neigh.mac);
    qs_note_post(s, &note);
    moving_move(s, 0, 1);
    CHECK(qs_moves_run(&s->workers[1]) && qs_moves_run(&s->workers[0]) &&
          qs_moves_run(&s->workers[1]));
    CHECK(qs_notes_take(&s->workers[0], qs_clock_now())); /* of queue 2 */
    CHECK(s->queues[0].mail.has_mail);
    CHECK(qs_notes_take(&s->workers[1], qs_clock_now()));
    for (uint32_t q = 0; q < MOVING_QUEUES; q++)
        CHECK(!s->queues[q].mail.has_mail);
    free_stood_still(s);
}

/* ---- with threads ---- */

static void move_at_random(struct moving *m, uint64_t *random, uint32_t n_moves, bool waits)
{
    struct qs_diag diag;
    for (uint32_t i = 0; i < n_moves; i++) {
        uint64_t dice = qs_test_random(random);
        uint32_t queue = dice % MOVING_QUEUES, worker = dice >> 8 & 1;
        qs_err err = qs_stack_move(m->server, queue, worker, &diag);
        CHECK(err == 0 || (!waits && err == QS_ERR_BUSY));
        if (waits)
            CHECK_EQ(qs_stack_move_wait(m->server, queue, QS_S(20)), 0);
    }
}

static uint64_t sum_of_moves(const qs_stack *s)
{
    uint64_t sum = 0;
    struct qs_place place;
    for (uint32_t q = 0; qs_stack_place(s, q, &place) == 0; q++)
        sum += place.moves;
    return sum;
}

static void every_octet_comes_back_while_queues_move(qs_dur poll_idle)
{
    struct moving m;
    uint64_t random = qs_test_seed();
    moving_begin(&m, poll_idle);
    for (uint32_t i = 0; i < 40; i++) {
        move_at_random(&m, &random, 25, true);
        moving_go_on(&m, 50);
    }
    move_at_random(&m, &random, 500, false);
    for (uint32_t q = 0; q < MOVING_QUEUES; q++)
        CHECK_EQ(qs_stack_move_wait(m.server, q, QS_S(20)), 0);
    CHECK(sum_of_moves(m.server) > 200);
    moving_go_on(&m, 200);
    moving_end(&m);
}

static void between_workers_that_poll(void)
{
    every_octet_comes_back_while_queues_move(QS_US(50));
}

static void between_workers_that_sleep_at_once(void)
{
    every_octet_comes_back_while_queues_move((qs_dur){0});
}

static void wait_until_all_sleep(const qs_stack *s)
{
    for (uint32_t w = 0; w < 2; w++)
        while (!rig_get(&s->workers[w].sleeping))
            usleep(100);
}

/* Queues of a stack in which nothing happens move; then something does. */
static void a_sleeping_queue_is_woken_where_it_is(void)
{
    struct moving m;
    moving_begin(&m, QS_US(50));
    moving_be_quiet(&m);
    for (uint32_t i = 1; i <= MOVING_LATER / MOVING_QUEUES; i++) {
        qs_stack_stop(m.client);
        wait_until_all_sleep(m.server);
        for (uint32_t q = 0; q < MOVING_QUEUES; q++) {
            moving_move(m.server, q, (i + q) % 2);
            CHECK_EQ(qs_stack_move_wait(m.server, q, QS_S(20)), 0);
        }
        wait_until_all_sleep(m.server);
        moving_connect(&m, MOVING_QUEUES);
        rig_start(m.client);
        CHECK(rig_wait_count(m.server, QS_COUNT_PASSIVE_OPENS, m.n_conns));
    }
    moving_be_quiet(&m);
    wait_until_all_sleep(m.server);
    qs_stack_stop(m.server);
    for (uint32_t w = 0; w < 2; w++) {
        CHECK(m.server->workers[w].runs != 0);
        CHECK_EQ(m.server->workers[w].watched, m.server->workers[w].runs);
    }
    moving_end(&m);
}

/* ---- handlers that block ---- */

static void hold(struct moving *m, uint32_t queue)
{
    __atomic_store_n(&m->hold[queue], 1, __ATOMIC_RELEASE);
    CHECK(rig_wait_value(&m->holding[queue], 1));
}

static void let_go(struct moving *m, uint32_t queue)
{
    __atomic_store_n(&m->hold[queue], 0, __ATOMIC_RELEASE);
}

/* Queues 0 and 2 are on worker 0, 1 and 3 on worker 1. */
static void a_blocked_target_gets_its_queue_later_and_holds_up_nothing(void)
{
    struct moving m;
    struct qs_diag diag = {""};
    moving_begin(&m, QS_US(50));
    hold(&m, 1);
    moving_move(m.server, 0, 1);
    CHECK_EQ(qs_stack_move_wait(m.server, 0, QS_MS(20)), QS_ERR_AGAIN);
    CHECK_EQ(moving_worker_of(m.server, 0), 0);
    uint32_t reached = rig_get(&m.rounds_of[0]);
    CHECK(rig_wait_value(&m.rounds_of[0], reached + 100)); /* where it is */
    MOVING_REFUSED(qs_stack_move(m.server, 0, 0, &diag), QS_ERR_BUSY, "on its way to worker 1");
    let_go(&m, 1);
    CHECK_EQ(qs_stack_move_wait(m.server, 0, QS_S(20)), 0);
    CHECK_EQ(moving_worker_of(m.server, 0), 1);
    moving_go_on(&m, 200);
    moving_end(&m);
}

static void a_blocked_source_keeps_its_queues_and_no_others(void)
{
    struct moving m;
    moving_begin(&m, QS_US(50));
    hold(&m, 0);
    moving_move(m.server, 2, 1);
    CHECK_EQ(qs_stack_move_wait(m.server, 2, QS_MS(20)), QS_ERR_AGAIN);
    uint32_t reached = rig_get(&m.rounds_of[1]);
    CHECK(rig_wait_value(&m.rounds_of[1], reached + 100));
    let_go(&m, 0);
    CHECK_EQ(qs_stack_move_wait(m.server, 2, QS_S(20)), 0);
    moving_go_on(&m, 200);
    moving_end(&m);
}

static void a_target_that_is_parked_meanwhile_sends_the_queue_back(void)
{
    struct moving m;
    struct qs_diag diag;
    moving_begin(&m, QS_US(50));
    hold(&m, 1);
    moving_move(m.server, 0, 1);
    CHECK_EQ(qs_stack_worker_park(m.server, 1, &diag), 0);
    CHECK_EQ(qs_stack_move_wait(m.server, 0, QS_S(20)), 0); /* nobody has to answer */
    CHECK_EQ(moving_worker_of(m.server, 0), 0);
    MOVING_REFUSED(qs_stack_worker_remove(m.server, 1, QS_MS(20), &diag), QS_ERR_AGAIN,
                   "still has queues");
    let_go(&m, 1);
    CHECK_EQ(qs_stack_worker_remove(m.server, 1, QS_S(20), &diag), 0);
    for (uint32_t q = 0; q < MOVING_QUEUES; q++)
        CHECK_EQ(moving_worker_of(m.server, q), 0);
    moving_go_on(&m, 200);
    moving_end(&m);
}

/* ---- stop ---- */

static void a_stop_carries_out_what_is_under_way(void)
{
    struct moving m;
    uint64_t random = qs_test_seed();
    moving_begin(&m, QS_US(50));
    for (uint32_t i = 0; i < 40; i++) {
        move_at_random(&m, &random, 20, false);
        qs_stack_stop(m.server);
        for (uint32_t q = 0; q < MOVING_QUEUES; q++) {
            struct qs_place place;
            CHECK_EQ(qs_stack_move_wait(m.server, q, (qs_dur){0}), 0);
            CHECK_EQ(qs_stack_place(m.server, q, &place), 0);
            CHECK_EQ(place.worker, place.wanted);
        }
        moving_move(m.server, i % MOVING_QUEUES, 0); /* there at once */
        CHECK_EQ(moving_worker_of(m.server, i % MOVING_QUEUES), 0);
        rig_start(m.server);
        moving_go_on(&m, 50);
    }
    moving_end(&m);
}

/* The stop waits for the handler, and the move for nobody. */
static void *stop_it(void *arg)
{
    qs_stack_stop(arg);
    return NULL;
}

static void a_stop_does_not_wait_for_a_move_to_a_blocked_worker(void)
{
    struct moving m;
    pthread_t thread;
    moving_begin(&m, QS_US(50));
    hold(&m, 1);
    moving_move(m.server, 0, 1);
    REQUIRE(pthread_create(&thread, NULL, stop_it, m.server) == 0);
    while (!__atomic_load_n(&m.server->stopping, __ATOMIC_ACQUIRE))
        usleep(100);
    let_go(&m, 1);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_EQ(moving_worker_of(m.server, 0), 1);
    rig_start(m.server);
    moving_go_on(&m, 200);
    moving_end(&m);
}

int main(void)
{
    rig_begin();
    RUN(a_queue_stays_until_its_new_worker_comes_for_it);
    RUN(a_queue_turns_round_wherever_it_is);
    RUN(a_late_question_finds_the_queue);
    RUN(a_question_in_between_is_answered_on_arrival);
    RUN(letters_go_where_the_queue_goes);
    RUN(between_workers_that_poll);
    RUN(between_workers_that_sleep_at_once);
    RUN(a_sleeping_queue_is_woken_where_it_is);
    RUN(a_blocked_target_gets_its_queue_later_and_holds_up_nothing);
    RUN(a_blocked_source_keeps_its_queues_and_no_others);
    RUN(a_target_that_is_parked_meanwhile_sends_the_queue_back);
    RUN(a_stop_carries_out_what_is_under_way);
    RUN(a_stop_does_not_wait_for_a_move_to_a_blocked_worker);
    rig_end();
    return TEST_RESULT();
}
