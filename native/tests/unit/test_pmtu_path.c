/* SPDX-License-Identifier: Apache-2.0 */
/* A transfer goes on when the path takes less than before, whether a router tells so or not. */
#include "qs_test.h"
#include "sim.h"

#define TOTAL (16u << 20)

struct flow {
    qs_conn from, to; /* of side 0 and side 1 */
    uint32_t sent, received;
    uint32_t half; /* octets after which the path changes */
    bool half_way, done;
};

static uint8_t octet(uint32_t at)
{
    return (uint8_t)((at * 2654435761u) >> 24);
}

static void write_some(struct sim *s, struct flow *w)
{
    uint8_t buf[4096];
    while (w->sent < TOTAL) {
        uint32_t n = TOTAL - w->sent < sizeof buf ? TOTAL - w->sent : (uint32_t)sizeof buf;
        for (uint32_t i = 0; i < n; i++)
            buf[i] = octet(w->sent + i);
        int64_t took = qs_conn_write(sim_engine(s, 0), w->from, buf, n);
        if (took == QS_ERR_AGAIN)
            return;
        REQUIRE(took > 0);
        w->sent += (uint32_t)took;
    }
}

static void read_all(struct sim *s, struct flow *w)
{
    uint8_t buf[4096];
    int64_t n;
    while ((n = qs_conn_read(sim_engine(s, 1), w->to, buf, sizeof buf)) > 0)
        for (int64_t i = 0; i < n; i++)
            REQUIRE(buf[i] == octet(w->received++));
    w->half_way = w->received >= w->half;
    w->done = w->received == TOTAL;
}

static void on_event(struct sim *s, int side, const struct qs_event *ev, void *ctx)
{
    struct flow *w = ctx;
    REQUIRE(!(ev->flags & QS_EVENT_CLOSED));
    if (ev->flags & QS_EVENT_OPEN && side == 1)
        w->to = ev->conn;
    if (side == 0 && ev->flags & (QS_EVENT_OPEN | QS_EVENT_WRITABLE))
        write_some(s, w);
    if (side == 1 && ev->flags & QS_EVENT_READABLE)
        read_all(s, w);
}

static qs_time after(const struct sim *s, qs_dur d)
{
    return (qs_time){sim_now(s).ns + d.ns};
}

static struct sim *start(const struct sim_opts *o, struct flow *w, uint32_t half)
{
    struct qs_listen_opts l;
    struct qs_open_opts open;
    struct sim *s = sim_new(o);
    *w = (struct flow){.half = half};
    sim_on_event(s, on_event, w);
    qs_listen_opts_init(&l);
    l.port = 80;
    REQUIRE(qs_engine_listen(sim_engine(s, 1), &l) >= 0);
    qs_open_opts_init(&open);
    open.remote = sim_addr(s, 1);
    open.remote_port = 80;
    REQUIRE(qs_conn_open(sim_engine(s, 0), &open, sim_now(s), &w->from) == 0);
    return s;
}

static uint32_t mss_of(struct sim *s, const struct flow *w)
{
    struct qs_conn_info i;
    REQUIRE(qs_conn_info(sim_engine(s, 0), w->from, &i) == 0);
    return i.mss_octets;
}

/* Kinds of sender: IP version, and whether the device segments. */
static struct sim_opts kind(int i)
{
    struct sim_opts o = {.seed = 7 + (uint64_t)i, .v6 = i & 1};
    o.offloads = i & 2 ? QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO : 0;
    o.faults = (struct sim_faults){.delay_ns = 1000000, .bit_per_second = 1000000000u};
    return o;
}

static uint32_t headers(const struct sim_opts *o)
{
    return (o->v6 ? 40 : 20) + 32; /* timestamps are on */
}

static void a_narrow_path_that_reports(void)
{
    for (int i = 0; i < 4; i++) {
        struct sim_opts o = kind(i);
        struct flow w;
        struct sim *s = start(&o, &w, 1);
        sim_path(s, 1300, true);
        CHECK(sim_run(s, after(s, QS_S(1)), &w.done));
        CHECK_EQ(mss_of(s, &w), 1300 - headers(&o));
        CHECK_EQ(sim_counter(s, 0, QS_COUNT_PMTU_LOWERED), 1);
        CHECK_EQ(sim_counter(s, 0, QS_COUNT_RTO_EXPIRIES), 0); /* the first flight was told */
        CHECK(sim_link(s).too_big > 0 && sim_link(s).too_big <= 10);
        sim_free(s);
    }
}

/* Full segments passed before, so the report is believed when the timer confirms it. */
static void a_path_that_falls_and_reports(void)
{
    for (int i = 0; i < 4; i++) {
        struct sim_opts o = kind(i);
        struct flow w;
        struct sim *s = start(&o, &w, TOTAL / 2);
        REQUIRE(sim_run(s, after(s, QS_S(1)), &w.half_way));
        sim_path(s, 1300, true);
        CHECK(sim_run(s, after(s, QS_S(2)), &w.done));
        CHECK_EQ(mss_of(s, &w), 1300 - headers(&o));
        CHECK_EQ(sim_counter(s, 0, QS_COUNT_PMTU_LOWERED), 1);
        CHECK_EQ(sim_counter(s, 0, QS_COUNT_PMTU_BLACK_HOLES), 0);
        CHECK_EQ(sim_counter(s, 0, QS_COUNT_RTO_EXPIRIES), 1);
        sim_free(s);
    }
}

static void a_path_that_falls_silently(void)
{
    for (int i = 0; i < 4; i++) {
        struct sim_opts o = kind(i);
        struct flow w;
        struct sim *s = start(&o, &w, TOTAL / 2);
        REQUIRE(sim_run(s, after(s, QS_S(1)), &w.half_way));
        sim_path(s, 1400, false);
        CHECK(sim_run(s, after(s, QS_S(4)), &w.done));
        uint32_t most = 1400 - headers(&o), mss = mss_of(s, &w);
        CHECK(mss <= most && mss + 32 >= most); /* the search came near */
        CHECK_EQ(sim_counter(s, 0, QS_COUNT_PMTU_BLACK_HOLES), 1);
        CHECK_EQ(sim_counter(s, 0, QS_COUNT_RTO_EXPIRIES), 2); /* lost probes cost none */
        CHECK(sim_counter(s, 0, QS_COUNT_PMTU_PROBES) >= 3);
        CHECK(sim_counter(s, 0, QS_COUNT_PMTU_PROBES) <= 8);
        sim_free(s);
    }
}

/* A jumbo frame's sender falls a long way, and finds back. */
static void a_silent_path_below_jumbo_frames(void)
{
    for (int i = 0; i < 4; i++) {
        struct sim_opts o = kind(i);
        o.mtu = 9000;
        struct flow w;
        struct sim *s = start(&o, &w, 1);
        sim_path(s, 1500, false);
        CHECK(sim_run(s, after(s, QS_S(10)), &w.done));
        uint32_t most = 1500 - headers(&o), mss = mss_of(s, &w);
        CHECK(mss <= most && mss + 32 >= most);
        sim_free(s);
    }
}

static void a_path_that_widens_again(void)
{
    struct sim_opts o = kind(0);
    o.faults.bit_per_second = 150000; /* 15 minutes for all of it */
    struct flow w;
    struct sim *s = start(&o, &w, TOTAL / 16);
    sim_path(s, 1300, true);
    REQUIRE(sim_run(s, after(s, QS_S(600)), &w.half_way));
    CHECK_EQ(mss_of(s, &w), 1300 - headers(&o));
    sim_path(s, 0, false);
    CHECK(sim_run(s, after(s, QS_S(3600)), &w.done));
    CHECK_EQ(mss_of(s, &w), 1500 - headers(&o));
    CHECK_EQ(sim_counter(s, 0, QS_COUNT_PMTU_RAISED), 1);
    sim_free(s);
}

/* With losses all around, every octet arrives all the same. */
static void everything_at_once(void)
{
    uint64_t seed = qs_test_seed();
    for (int i = 0; i < 16; i++) {
        struct sim_opts o = kind(i);
        o.seed = seed + (uint64_t)i;
        o.faults.loss_ppm = 3000;
        o.faults.reorder_ppm = 3000;
        o.faults.reorder_ns = 300000;
        o.mtu = i & 8 ? 9000 : 1500;
        struct flow w;
        struct sim *s = start(&o, &w, TOTAL / 4);
        REQUIRE(sim_run(s, after(s, QS_S(600)), &w.half_way));
        sim_path(s, 1280 + (uint32_t)(seed % 200), i & 4);
        w.half = TOTAL / 2;
        REQUIRE(sim_run(s, after(s, QS_S(600)), &w.half_way));
        sim_path(s, 1280, !(i & 4));
        CHECK(sim_run(s, after(s, QS_S(600)), &w.done));
        sim_free(s);
    }
}

int main(void)
{
    RUN(a_narrow_path_that_reports);
    RUN(a_path_that_falls_and_reports);
    RUN(a_path_that_falls_silently);
    RUN(a_silent_path_below_jumbo_frames);
    RUN(a_path_that_widens_again);
    RUN(everything_at_once);
    return TEST_RESULT();
}
