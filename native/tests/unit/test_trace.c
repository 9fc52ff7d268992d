/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that are followed through the engine: qs_residency.h. */
#include "core/engine.h"
#include "rig.h"

#define SKIPPED 16 /* events between two that are followed */
#define MS 1000000u

static uint64_t count(const struct rig *r, enum qs_stage stage)
{
    uint64_t sum = 0, counts[QS_RESIDENCY_BUCKETS] = {0};
    qs_residency_sum(qs_engine_residency(r->e), stage, 0, counts, QS_RESIDENCY_BUCKETS);
    for (uint32_t i = 0; i < QS_RESIDENCY_BUCKETS; i++)
        sum += counts[i];
    return sum;
}

/* The only time that a stage has counted is `ns`, as exactly as buckets are. */
static bool counted_once(const struct rig *r, enum qs_stage stage, uint64_t ns)
{
    uint64_t counts[QS_RESIDENCY_BUCKETS] = {0};
    qs_residency_sum(qs_engine_residency(r->e), stage, 0, counts, QS_RESIDENCY_BUCKETS);
    for (uint32_t i = 0; i < QS_RESIDENCY_BUCKETS; i++)
        if (counts[i] != (qs_residency_bound_ns(i) <= ns && ns < qs_residency_bound_ns(i + 1)))
            return false;
    return true;
}

static qs_time at(const struct rig *r, double ms)
{
    return (qs_time){r->start_ns + (uint64_t)(ms * MS)};
}

/* 100 octets arrive at `ms`; takes their event. @return whether it is followed. */
static bool request(struct rig *r, double ms)
{
    rig_in(r, ms, &(struct seg){"P.", r->seq, 100, r->ack});
    r->seq += 100;
    REQUIRE(rig_event(r) == QS_EVENT_READABLE);
    CHECK_EQ(rig_read(r, 1000), 100);
    return r->ev.traced;
}

static void answer(struct rig *r, double ms)
{
    rig_write(r, 50);
    rig_run(r, ms);
    rig_flush(r);
    r->ack += 50;
}

static struct rig *established(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    return r;
}

static void each_stage_has_its_time(void)
{
    struct rig *r = established();
    CHECK(request(r, 20));
    qs_trace_handed(r->e, &r->ev, at(r, 21));
    CHECK(qs_trace_waits(r->e, r->conn));
    qs_trace_answered(r->e, r->conn, at(r, 23));
    CHECK(!qs_trace_sent(r->e));
    answer(r, 25);
    CHECK(qs_trace_sent(r->e));
    qs_trace_left(r->e, at(r, 26));
    CHECK(!qs_trace_sent(r->e));
    CHECK(counted_once(r, QS_STAGE_EVENT, 1 * MS));
    CHECK(counted_once(r, QS_STAGE_TRANSMIT, 3 * MS));
    CHECK(counted_once(r, QS_STAGE_ALL, 6 * MS));
    CHECK_EQ(count(r, QS_STAGE_HANDLER), 0); /* its caller's */
    rig_free(r);
}

/* A request at `ms` that waits `event` ms for its handler, and so on. */
static void follow(struct rig *r, double ms, double event, double handler, double transmit)
{
    while (!request(r, ms))
        answer(r, ms);
    qs_trace_handed(r->e, &r->ev, at(r, ms + event));
    qs_trace_answered(r->e, r->conn, at(r, ms + event + handler));
    answer(r, ms + event + handler + transmit);
    qs_trace_left(r->e, at(r, ms + event + handler + transmit));
}

static void the_slowest_one_is_kept_for_a_while(void)
{
    struct rig *r = established();
    struct qs_timeline t;
    CHECK(!qs_trace_slowest(r->e, 0, &t));
    follow(r, 100, 1, 2, 3);
    CHECK(qs_trace_slowest(r->e, 0, &t));
    CHECK_EQ(t.event_ns, 1 * MS);
    CHECK_EQ(t.answer_ns, 2 * MS);
    CHECK_EQ(t.transmit_ns, 3 * MS);
    CHECK_EQ(t.arrived.ns, at(r, 100).ns);
    CHECK_EQ(t.remote_port, RIG_PEER_PORT);
    CHECK_EQ(t.local_port, RIG_PORT);
    follow(r, 200, 1, 1, 1); /* faster */
    CHECK(qs_trace_slowest(r->e, 0, &t));
    CHECK_EQ(qs_timeline_ns(&t), 6 * MS);
    follow(r, 300, 9, 1, 1); /* slower */
    CHECK(qs_trace_slowest(r->e, 0, &t));
    CHECK_EQ(t.event_ns, 9 * MS);
    follow(r, 10400, 1, 1, 1); /* that was long ago */
    CHECK(qs_trace_slowest(r->e, 0, &t));
    CHECK_EQ(qs_timeline_ns(&t), 3 * MS);
    CHECK(!qs_trace_slowest(r->e, 7, &t));
    rig_free(r);
}

static void one_of_many_is_followed(void)
{
    struct rig *r = established();
    uint32_t followed = 0;
    for (uint32_t i = 0; i < 10 * (SKIPPED + 1); i++) {
        if (request(r, 20 + i)) {
            followed++;
            qs_trace_handed(r->e, &r->ev, at(r, 20 + i));
            qs_trace_answered(r->e, r->conn, at(r, 20 + i));
        }
        answer(r, 20 + i);
        qs_trace_left(r->e, at(r, 20 + i));
    }
    CHECK_EQ(followed, 10);
    CHECK_EQ(count(r, QS_STAGE_ALL), 10);
    rig_free(r);
}

static void who_has_no_answer_is_followed_no_more(void)
{
    struct rig *r = established();
    CHECK(request(r, 20));
    for (uint32_t i = 0; i < 3 * SKIPPED; i++)
        CHECK(!request(r, 30 + i));
    CHECK(request(r, 1020));
    CHECK_EQ(count(r, QS_STAGE_ALL), 0);
    rig_free(r);
}

static void an_end_in_any_stage_does_no_harm(void)
{
    for (int stage = 0; stage < 3; stage++) {
        struct rig *r = established();
        rig_in(r, 20, &(struct seg){"P.", 1, 100, 1});
        if (stage >= 1) {
            REQUIRE(rig_event(r) == QS_EVENT_READABLE && r->ev.traced);
            qs_trace_handed(r->e, &r->ev, at(r, 20));
        }
        if (stage >= 2)
            qs_trace_answered(r->e, r->conn, at(r, 20));
        CHECK_EQ(qs_conn_abort(r->e, r->conn), 0);
        CHECK(!qs_trace_waits(r->e, r->conn));
        qs_trace_answered(r->e, r->conn, at(r, 21));
        rig_run(r, 2000);
        rig_flush(r);
        CHECK(!qs_trace_sent(r->e));
        rig_free(r);
    }
}

static void buckets_are_an_eighth_of_a_doubling(void)
{
    for (uint32_t i = 1; i < QS_RESIDENCY_BUCKETS; i++) {
        uint64_t low = qs_residency_bound_ns(i - 1), high = qs_residency_bound_ns(i);
        CHECK(low < high);
        CHECK(low < 16 || (high - low) * 8 <= low);
    }
    CHECK(qs_residency_bound_ns(QS_RESIDENCY_BUCKETS - 1) > QS_S(10).ns);
    CHECK_EQ(qs_residency_bound_ns(QS_RESIDENCY_BUCKETS), UINT64_MAX);
    struct qs_residency *x = calloc(1, sizeof *x);
    REQUIRE(x);
    uint64_t counts[QS_RESIDENCY_BUCKETS] = {0};
    for (uint32_t i = 0; i < QS_RESIDENCY_BUCKETS; i++) {
        qs_residency_add(x, QS_STAGE_ALL, 3, qs_residency_bound_ns(i));
        qs_residency_add(x, QS_STAGE_ALL, 3, qs_residency_bound_ns(i + 1) - 1);
    }
    qs_residency_sum(x, QS_STAGE_ALL, 3, counts, QS_RESIDENCY_BUCKETS);
    for (uint32_t i = 0; i < QS_RESIDENCY_BUCKETS; i++)
        CHECK_EQ(counts[i], 2);
    free(x);
}

int main(void)
{
    RUN(each_stage_has_its_time);
    RUN(the_slowest_one_is_kept_for_a_while);
    RUN(one_of_many_is_followed);
    RUN(who_has_no_answer_is_followed_no_more);
    RUN(an_end_in_any_stage_does_no_harm);
    RUN(buckets_are_an_eighth_of_a_doubling);
    return TEST_RESULT();
}
