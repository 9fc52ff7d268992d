/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets of flows move between the queues of a running stack: under traffic, together with queues
 * that move between workers, past handlers that block, with tables that cannot be written or get
 * lost, and into a stop. */
#include "io/softnic.h"
#include "moving_rig.h"
#include "qstack/qs_class.h"

#define BUCKETS QS_SOFTNIC_INDIR_SIZE
#define TIMEOUT QS_S(20)

static qs_err write_table(void *ctx, const struct qs_bucket_move *moves, size_t n)
{
    struct qs_softnic *nic = ((qs_stack *)ctx)->driver->softnic;
    uint32_t table[BUCKETS];
    memcpy(table, nic->indir, sizeof table);
    for (size_t i = 0; i < n; i++)
        table[moves[i].bucket] = moves[i].queue;
    return qs_softnic_set_indir(nic, table);
}

static qs_err refuse_to_write(void *ctx, const struct qs_bucket_move *moves, size_t n)
{
    (void)ctx, (void)moves, (void)n;
    return QS_ERR_SYS;
}

static qs_stack_opts idle_for(qs_dur poll_idle)
{
    qs_stack_opts o = moving_opts();
    o.poll_idle = poll_idle;
    return o;
}

static void begin(struct moving *m, qs_dur poll_idle)
{
    qs_stack_opts o = idle_for(poll_idle);
    moving_begin_with(m, &o);
}

static qs_err move_one(struct moving *m, uint32_t bucket, uint32_t queue, qs_dur timeout,
                       struct qs_diag *diag)
{
    const struct qs_bucket_move move = {bucket, queue};
    return qs_stack_buckets_move(m->server, &move, 1, write_table, m->server, timeout, diag);
}

/* Some buckets to queues by chance. */
static void move_some(struct moving *m, uint64_t *random)
{
    struct qs_bucket_move moves[8];
    struct qs_diag diag = {""};
    uint64_t dice = qs_test_random(random);
    uint32_t n = 1 + dice % 8;
    for (uint32_t i = 0; i < n; i++) /* apart from each other */
        moves[i] = (struct qs_bucket_move){(uint32_t)(dice >> 8 & 31) * 8 + i,
                                           (uint32_t)qs_test_random(random) % MOVING_QUEUES};
    qs_err err = qs_stack_buckets_move(m->server, moves, n, write_table, m->server, TIMEOUT, &diag);
    if (err)
        fprintf(stderr, "%s\n", diag.text);
    CHECK_EQ(err, 0);
}

static struct qs_flow_stats sum_of(const qs_stack *s)
{
    struct qs_flow_stats sum = {0}, one;
    for (uint32_t q = 0; qs_stack_flow_stats(s, q, &one) == 0; q++) {
        sum.arrived += one.arrived;
        sum.lost += one.lost;
        sum.held += one.held;
        sum.relayed += one.relayed;
        sum.frames_lost += one.frames_lost;
    }
    return sum;
}

static void end(struct moving *m)
{
    struct qs_flow_stats sum = sum_of(m->server);
    CHECK_EQ(sum.lost, 0);
    CHECK_EQ(sum.frames_lost, 0);
    moving_be_quiet(m);
    qs_stack_stop(m->server);
    for (uint32_t q = 0; q < MOVING_QUEUES; q++) { /* nothing is left half done */
        const struct qs_flow_queue *f = &m->server->queues[q].flows;
        CHECK(f->n_holding == 0 && f->n_leaving == 0 && !f->held && !f->inbox);
    }
    moving_end(m);
}

static uint64_t capped(const struct moving *m)
{
    uint64_t c[QS_N_CLASS_COUNTERS], sum = 0;
    for (uint32_t q = 0; qs_stack_class_counters(m->server, q, 7, c, QS_N_CLASS_COUNTERS); q++)
        sum += c[QS_CLASS_CAPPED];
    return sum;
}

static void every_octet_comes_back_while_buckets_move(const qs_stack_opts *o, bool queues_too)
{
    struct moving m;
    struct qs_diag diag;
    uint64_t random = qs_test_seed();
    moving_begin_with(&m, o);
    for (uint32_t i = 0; i < 2000; i++) {
        move_some(&m, &random);
        if (queues_too)
            (void)!qs_stack_move(m.server, i % MOVING_QUEUES, i / 4 % 2, &diag); /* or it moves */
        if (i % 20 == 0)
            moving_go_on(&m, 50);
    }
    struct qs_flow_stats sum = sum_of(m.server);
    printf("%llu connections moved, %llu frames held, %llu relayed\n",
           (unsigned long long)sum.arrived, (unsigned long long)sum.held,
           (unsigned long long)sum.relayed);
    CHECK(sum.arrived > 300);
    CHECK_EQ(capped(&m) > 0, o->source_bytes_per_second[7] > 0);
    moving_go_on(&m, 200);
    end(&m);
}

static void between_queues_that_are_polled(void)
{
    qs_stack_opts o = idle_for(QS_US(50));
    every_octet_comes_back_while_buckets_move(&o, false);
}

static void between_queues_that_sleep_at_once(void)
{
    qs_stack_opts o = idle_for((qs_dur){0});
    every_octet_comes_back_while_buckets_move(&o, false);
}

static void and_queues_between_workers(void)
{
    qs_stack_opts o = idle_for(QS_US(50));
    every_octet_comes_back_while_buckets_move(&o, true);
}

/* Those of applications go through another ring while their source is beyond its rate. */
static void while_their_class_changes(void)
{
    qs_stack_opts o = idle_for(QS_US(50));
    o.source_bytes_per_second[7] = 100000;
    every_octet_comes_back_while_buckets_move(&o, false);
}

/* Whatever a bucket was, everything may end up on one queue and leave it again. */
static void all_buckets_at_once(void)
{
    struct moving m;
    struct qs_diag diag = {""};
    struct qs_bucket_move moves[BUCKETS];
    begin(&m, QS_US(50));
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t b = 0; b < BUCKETS; b++)
            moves[b] = (struct qs_bucket_move){b, round % 2 ? b % MOVING_QUEUES : 1};
        CHECK_EQ(
            qs_stack_buckets_move(m.server, moves, BUCKETS, write_table, m.server, TIMEOUT, &diag),
            0);
        if (round % 2 == 0) { /* all connections are in one engine */
            uint64_t c[QS_N_COUNTERS];
            CHECK(qs_stack_counters(m.server, 1, c, QS_N_COUNTERS) > 0);
            CHECK_EQ(c[QS_COUNT_CONNS], m.n_conns);
        }
        moving_go_on(&m, 100);
    }
    end(&m);
}

/* Those of the client, which it opened itself. */
static void connections_that_were_opened_from_here(void)
{
    struct moving m;
    struct qs_diag diag = {""};
    struct qs_bucket_move moves[BUCKETS] = {{0, 0}};
    qs_stack_opts o = moving_opts(), co = rig_stack_opts(1, 2, 2);
    moving_begin_between(&m, &o, &co);
    for (uint32_t round = 0; round < 21; round++) {
        for (uint32_t b = 0; b < BUCKETS; b++)
            moves[b] = (struct qs_bucket_move){b, round % 2};
        CHECK_EQ(
            qs_stack_buckets_move(m.client, moves, BUCKETS, write_table, m.client, TIMEOUT, &diag),
            0);
        moving_go_on(&m, 100);
    }
    CHECK(sum_of(m.client).arrived >= 20u * MOVING_CONNS);
    end(&m);
}

static void connections_that_open_meanwhile(void)
{
    struct moving m;
    uint64_t random = qs_test_seed();
    begin(&m, QS_US(50));
    for (uint32_t i = 0; i < MOVING_LATER / MOVING_QUEUES; i++) {
        qs_stack_stop(m.client);
        moving_connect(&m, MOVING_QUEUES);
        rig_start(m.client);
        for (uint32_t k = 0; k < 10; k++)
            move_some(&m, &random);
        CHECK(rig_wait_count(m.server, QS_COUNT_PASSIVE_OPENS, m.n_conns));
    }
    moving_go_on(&m, 200);
    end(&m);
}

/* ---- what goes wrong ---- */

static void what_makes_no_sense_is_refused(void)
{
    struct moving m;
    struct qs_diag diag = {""};
    const struct qs_bucket_move twice[] = {{3, 1}, {4, 1}, {3, 2}};
    begin(&m, QS_US(50));
    MOVING_REFUSED(move_one(&m, BUCKETS, 0, TIMEOUT, &diag), QS_ERR_ARG, "the last one is 255");
    MOVING_REFUSED(move_one(&m, 0, MOVING_QUEUES, TIMEOUT, &diag), QS_ERR_ARG, "no queue 4");
    MOVING_REFUSED(qs_stack_buckets_move(m.server, twice, 3, write_table, m.server, TIMEOUT, &diag),
                   QS_ERR_ARG, "bucket 3 is to be in two queues");
    CHECK_EQ(move_one(&m, 0, 0, TIMEOUT, &diag), 0); /* it is there */
    CHECK_EQ(sum_of(m.server).arrived, 0);
    struct qs_flow_stats ignored;
    CHECK_EQ(qs_stack_flow_stats(m.server, MOVING_QUEUES, &ignored), QS_ERR_ARG);
    end(&m);
}

static void a_table_that_cannot_be_written_changes_nothing(void)
{
    struct moving m;
    struct qs_diag diag = {""};
    struct qs_bucket_move moves[BUCKETS];
    begin(&m, QS_US(50));
    for (uint32_t b = 0; b < BUCKETS; b++)
        moves[b] = (struct qs_bucket_move){b, 0};
    for (uint32_t i = 0; i < 20; i++) {
        MOVING_REFUSED(
            qs_stack_buckets_move(m.server, moves, BUCKETS, refuse_to_write, NULL, TIMEOUT, &diag),
            QS_ERR_SYS, "nothing has moved");
        moving_go_on(&m, 100);
    }
    CHECK_EQ(sum_of(m.server).arrived, 0);
    CHECK_EQ(sum_of(m.server).relayed, 0);
    end(&m);
}

/* Frames go where they went before; the stack sends them on. */
static void a_nic_that_loses_its_table(void)
{
    struct moving m;
    struct qs_diag diag = {""};
    struct qs_bucket_move moves[BUCKETS];
    begin(&m, QS_US(50));
    for (uint32_t b = 0; b < BUCKETS; b++)
        moves[b] = (struct qs_bucket_move){b, (b + 1) % MOVING_QUEUES};
    CHECK_EQ(qs_stack_buckets_move(m.server, moves, BUCKETS, write_table, m.server, TIMEOUT, &diag),
             0);
    CHECK_EQ(qs_softnic_set_indir(m.server->driver->softnic, NULL), 0);
    moving_go_on(&m, 500);
    qs_stack_stop(m.client);
    moving_connect(&m, MOVING_QUEUES);
    rig_start(m.client);
    CHECK(rig_wait_count(m.server, QS_COUNT_PASSIVE_OPENS, m.n_conns));
    uint64_t relayed = sum_of(m.server).relayed;
    CHECK(relayed > 100);
    /* The same move again writes the table, and moves nobody. */
    uint64_t arrived = sum_of(m.server).arrived;
    CHECK_EQ(qs_stack_buckets_move(m.server, moves, BUCKETS, write_table, m.server, TIMEOUT, &diag),
             0);
    CHECK_EQ(sum_of(m.server).arrived, arrived);
    moving_go_on(&m, 500);
    end(&m);
}

static void a_worker_that_does_not_answer(void)
{
    struct moving m;
    struct qs_diag diag = {""};
    begin(&m, QS_US(50));
    for (uint32_t blocked = 0; blocked < 2; blocked++) { /* who gives, who gets */
        __atomic_store_n(&m.hold[blocked], 1, __ATOMIC_RELEASE);
        CHECK(rig_wait_value(&m.holding[blocked], 1));
        MOVING_REFUSED(move_one(&m, 0, 1, QS_MS(20), &diag), QS_ERR_AGAIN, "nothing has moved");
        CHECK_EQ(m.server->driver->softnic->indir[0], 0);
        __atomic_store_n(&m.hold[blocked], 0, __ATOMIC_RELEASE);
        moving_go_on(&m, 100);
    }
    CHECK_EQ(move_one(&m, 0, 1, TIMEOUT, &diag), 0); /* late answers count for nothing */
    moving_go_on(&m, 100);
    end(&m);
}

static bool moved_enough; /* atomic */

static void *move_for_long(void *arg)
{
    struct moving *m = arg;
    struct qs_diag diag;
    uint64_t random = qs_test_seed();
    while (!__atomic_load_n(&moved_enough, __ATOMIC_ACQUIRE)) {
        qs_err err = move_one(m, (uint32_t)qs_test_random(&random) % BUCKETS,
                              (uint32_t)qs_test_random(&random) % MOVING_QUEUES, QS_S(1), &diag);
        /* The stack stops and starts. */
        CHECK(err == 0 || err == QS_ERR_STATE || err == QS_ERR_AGAIN || err == QS_ERR_BUSY);
    }
    return NULL;
}

static void a_stop_ends_what_is_under_way(void)
{
    struct moving m;
    pthread_t mover;
    begin(&m, QS_US(50));
    REQUIRE(pthread_create(&mover, NULL, move_for_long, &m) == 0);
    for (uint32_t i = 0; i < 50; i++) {
        moving_go_on(&m, 20);
        qs_stack_stop(m.server);
        rig_start(m.server);
    }
    __atomic_store_n(&moved_enough, true, __ATOMIC_RELEASE);
    REQUIRE(pthread_join(mover, NULL) == 0);
    CHECK(sum_of(m.server).arrived > 0);
    moving_go_on(&m, 200);
    end(&m);
}

int main(void)
{
    rig_begin();
    RUN(between_queues_that_are_polled);
    RUN(between_queues_that_sleep_at_once);
    RUN(and_queues_between_workers);
    RUN(while_their_class_changes);
    RUN(all_buckets_at_once);
    RUN(connections_that_were_opened_from_here);
    RUN(connections_that_open_meanwhile);
    RUN(what_makes_no_sense_is_refused);
    RUN(a_table_that_cannot_be_written_changes_nothing);
    RUN(a_nic_that_loses_its_table);
    RUN(a_worker_that_does_not_answer);
    RUN(a_stop_ends_what_is_under_way);
    rig_end();
    return TEST_RESULT();
}
