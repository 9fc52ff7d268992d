/* SPDX-License-Identifier: Apache-2.0 */
/* Whole transfers between two engines: every octet once and in order, whatever the link does, and
 * nothing left behind in the end. */
#include "qs_test.h"
#include "sim.h"

struct transfer {
    uint64_t seed;
    uint32_t total; /* octets each way */
    uint32_t sent[2], received[2];
    bool opened[2], eof[2], closed[2], done;
    qs_conn conn[2];
    qs_err err[2];
};

static uint64_t hops; /* of all transfers */

/* The octet at `at` of the stream that `side` sends. */
static uint8_t octet(const struct transfer *t, int side, uint32_t at)
{
    uint32_t x = (at + (uint32_t)t->seed) * 2654435761u ^ (uint32_t)side << 13;
    return (uint8_t)(x >> 24);
}

static void write_some(struct sim *s, struct transfer *t, int side)
{
    uint8_t buf[4096];
    while (t->sent[side] < t->total) {
        uint32_t n = t->total - t->sent[side];
        if (n > sizeof buf)
            n = sizeof buf;
        for (uint32_t i = 0; i < n; i++)
            buf[i] = octet(t, side, t->sent[side] + i);
        int64_t took = qs_conn_write(sim_engine(s, side), t->conn[side], buf, n);
        if (took == QS_ERR_AGAIN)
            return;
        REQUIRE(took > 0);
        t->sent[side] += (uint32_t)took;
    }
    REQUIRE(qs_conn_shutdown(sim_engine(s, side), t->conn[side]) == 0);
}

static void read_all(struct sim *s, struct transfer *t, int side)
{
    uint8_t buf[3000];
    int64_t n;
    while ((n = qs_conn_read(sim_engine(s, side), t->conn[side], buf, sizeof buf)) > 0) {
        for (int64_t i = 0; i < n; i++)
            REQUIRE(buf[i] == octet(t, !side, t->received[side] + (uint32_t)i));
        t->received[side] += (uint32_t)n;
    }
    if (n == QS_ERR_EOF)
        t->eof[side] = true;
}

static void on_event(struct sim *s, int side, const struct qs_event *ev, void *ctx)
{
    struct transfer *t = ctx;
    if (ev->flags & QS_EVENT_MOVED)
        t->conn[side] = ev->conn;
    REQUIRE(!t->opened[side] || ev->conn.v == t->conn[side].v);
    if (ev->flags & QS_EVENT_OPEN) {
        t->conn[side] = ev->conn;
        t->opened[side] = true;
        write_some(s, t, side);
    }
    if (ev->flags & (QS_EVENT_READABLE | QS_EVENT_EOF) && !(ev->flags & QS_EVENT_CLOSED))
        read_all(s, t, side);
    if (ev->flags & QS_EVENT_WRITABLE && !(ev->flags & QS_EVENT_CLOSED))
        write_some(s, t, side);
    if (ev->flags & QS_EVENT_CLOSED) {
        t->closed[side] = true;
        t->err[side] = ev->err;
    }
    t->done = t->eof[0] && t->eof[1] && t->sent[0] == t->total && t->sent[1] == t->total;
}

static qs_time after(const struct sim *s, uint64_t seconds)
{
    return (qs_time){sim_now(s).ns + seconds * 1000000000u};
}

static void start(struct sim *s, struct transfer *t)
{
    struct qs_listen_opts l;
    struct qs_open_opts o;
    sim_on_event(s, on_event, t);
    qs_listen_opts_init(&l);
    l.port = 80;
    REQUIRE(qs_engine_listen(sim_engine(s, 1), &l) >= 0);
    qs_open_opts_init(&o);
    o.remote = sim_addr(s, 1);
    o.remote_port = 80;
    REQUIRE(qs_conn_open(sim_engine(s, 0), &o, sim_now(s), &t->conn[0]) == 0);
}

/* What a failed run needs to be understood. */
static void print_state(struct sim *s, const struct transfer *t, int side)
{
    struct qs_conn_info i;
    qs_err err = qs_conn_info(sim_engine(s, side), t->conn[side], &i);
    fprintf(
        stderr,
        "side %d: closed %d err %d handle %d state %d unacked %u readable %u cwnd %u rto %.3f s "
        "retransmits %u\n",
        side, t->closed[side], t->err[side], err, (int)i.state, i.unacked_bytes, i.readable_bytes,
        i.cwnd_octets, (double)i.rto.ns / 1e9, i.retransmits);
}

/* Runs one transfer each way and the closing of both sides. @return virtual time it took. */
static qs_dur run(const struct sim_opts *o, uint32_t total)
{
    struct transfer t = {.seed = o->seed, .total = total};
    struct sim *s = sim_new(o);
    uint64_t began = sim_now(s).ns;
    start(s, &t);
    bool done = sim_run(s, after(s, 3600), &t.done);
    if (!done)
        fprintf(stderr, "seed %llu: sent %u/%u received %u/%u of %u\n", (unsigned long long)o->seed,
                t.sent[0], t.sent[1], t.received[0], t.received[1], total);
    for (int side = 0; side < 2 && !done; side++)
        print_state(s, &t, side);
    REQUIRE(done);
    qs_dur took = {sim_now(s).ns - began};
    hops += sim_hops(s);
    CHECK_EQ(t.received[0], total);
    CHECK_EQ(t.received[1], total);
    for (int side = 0; side < 2; side++)
        if (!t.closed[side])
            CHECK_EQ(qs_conn_close(sim_engine(s, side), t.conn[side]), 0);
    sim_run(s, after(s, 700), NULL); /* retransmissions of the last FIN, then 2 MSL */
    for (int side = 0; side < 2; side++) {
        CHECK_EQ(sim_counter(s, side, QS_COUNT_CONNS), 0);
        CHECK_EQ(sim_counter(s, side, QS_COUNT_CHUNKS), 0);
        CHECK_EQ(t.err[side], 0);
    }
    sim_free(s);
    CHECK_EQ(test_mem_live(), 0);
    return took;
}

static void clean_link_both_ip_versions(void)
{
    for (int v6 = 0; v6 < 2; v6++) {
        struct sim_opts o = {.seed = 1, .v6 = v6, .faults = {.delay_ns = 50000}};
        qs_dur took = run(&o, 4u << 20);
        CHECK(took.ns < QS_S(1).ns); /* virtual time */
    }
}

static void with_segmentation_offload(void)
{
    struct sim_opts o = {
        .seed = 2, .offloads = QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO, .faults = {.delay_ns = 20000}};
    run(&o, 8u << 20);
}

static void tiny_buffers_and_odd_mtu(void)
{
    struct sim_opts o = {.seed = 3,
                         .mtu = 577,
                         .rcvbuf_bytes = 2048,
                         .sndbuf_bytes = 3000,
                         .faults = {.delay_ns = 100000}};
    run(&o, 300000);
}

static void every_fault_at_once(void)
{
    uint64_t seed = qs_test_seed();
    for (int i = 0; i < 60; i++) {
        struct sim_opts o = {.seed = seed + (uint64_t)i, .v6 = i & 1};
        o.mtu = i % 3 == 0 ? 9000 : i % 3 == 1 ? 1500 : 1280;
        o.offloads = i % 4 == 3 ? QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO : 0;
        o.rcvbuf_bytes = i % 5 == 4 ? 16384 : 0;
        o.faults = (struct sim_faults){.loss_ppm = 20000,
                                       .reorder_ppm = 20000,
                                       .duplicate_ppm = 10000,
                                       .corrupt_ppm = o.offloads ? 0 : 5000,
                                       .delay_ns = 1000000,
                                       .reorder_ns = 3000000,
                                       .bit_per_second = i % 2 ? 0 : 100000000u};
        run(&o, 200000);
    }
}

/* Devices that hand up at once what came in a time, in one where it can be. */
static void bursts_and_merged_segments(void)
{
    uint64_t seed = qs_test_seed();
    for (int i = 0; i < 20; i++) {
        struct sim_opts o = {.seed = seed + 2000 + (uint64_t)i, .v6 = i & 1};
        o.faults = (struct sim_faults){.loss_ppm = 10000,
                                       .reorder_ppm = 5000,
                                       .duplicate_ppm = 5000,
                                       .delay_ns = 1000000,
                                       .reorder_ns = 500000,
                                       .merge_ns = i % 2 ? 1 : 200000};
        run(&o, 500000);
    }
}

static void heavy_loss(void)
{
    uint64_t seed = qs_test_seed();
    for (int i = 0; i < 20; i++) {
        struct sim_opts o = {.seed = seed + 1000 + (uint64_t)i, .v6 = i & 1};
        o.faults = (struct sim_faults){.loss_ppm = 200000, .delay_ns = 500000};
        run(&o, 20000);
    }
}

/* One percent of loss must not cost a timeout each: recovery happens in round trips. */
static void one_percent_loss_recovers_fast(void)
{
    struct sim_opts o = {.seed = qs_test_seed()};
    o.faults = (struct sim_faults){.loss_ppm = 10000, .delay_ns = 100000};
    qs_dur took = run(&o, 2u << 20);
    printf("2 MiB each way at 1 %% loss, RTT 200 us: %.3f s of virtual time\n",
           (double)took.ns / 1e9);
    CHECK(took.ns < QS_S(20).ns);
}

/* From engine to engine in the middle of all of that. */
static void connections_move_between_engines(void)
{
    uint64_t seed = qs_test_seed();
    for (int i = 0; i < 20; i++) {
        struct sim_opts o = {.seed = seed + 3000 + (uint64_t)i,
                             .v6 = i & 1,
                             .chunks_max = 512, /* each move takes memory for an engine */
                             .hop_ppm = 100000};
        o.offloads = i % 4 == 3 ? QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO : 0;
        o.rcvbuf_bytes = i % 5 == 4 ? 16384 : 0;
        o.rcvbuf_initial_bytes = o.sndbuf_initial_bytes = i % 3 ? 0 : 4096;
        o.growth_bytes = 1u << 20;
        o.faults = (struct sim_faults){.loss_ppm = i % 4 ? 20000 : 0,
                                       .reorder_ppm = 20000,
                                       .duplicate_ppm = 10000,
                                       .delay_ns = 1000000,
                                       .reorder_ns = 3000000,
                                       .bit_per_second = i % 2 ? 0 : 100000000u};
        run(&o, 100000);
    }
    printf("%llu moves of connections\n", (unsigned long long)hops);
    CHECK(hops > 500);
}

static void r49_few_chunks_never_wedge(void)
{
    struct sim_opts o = {.seed = qs_test_seed(), .chunks_max = 64};
    o.faults = (struct sim_faults){.loss_ppm = 5000, .delay_ns = 100000};
    run(&o, 500000);
}

int main(void)
{
    RUN(clean_link_both_ip_versions);
    RUN(with_segmentation_offload);
    RUN(tiny_buffers_and_odd_mtu);
    RUN(every_fault_at_once);
    RUN(bursts_and_merged_segments);
    RUN(heavy_loss);
    RUN(one_percent_loss_recovers_fast);
    RUN(connections_move_between_engines);
    RUN(r49_few_chunks_never_wedge);
    return TEST_RESULT();
}
