/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers begin small and grow with what a connection moves in a round trip, as far as its class
 * has octets for it: docs/design/009-buffers.md. */
#include "core/engine.h"
#include "rig.h"

#define INITIAL 16384u
#define MOST 100000u
#define RTT_MS 10 /* of rig_establish() */
#define ENOUGH (1u << 20)

static qs_engine_opts growing(uint64_t growth)
{
    qs_engine_opts o = rig_opts();
    o.rcvbuf_initial_bytes = o.sndbuf_initial_bytes = INITIAL;
    o.rcvbuf_bytes = o.sndbuf_bytes = MOST;
    o.growth_bytes[0] = growth;
    return o;
}

static struct rig *established(uint64_t growth)
{
    qs_engine_opts o = growing(growth);
    struct rig *r = rig_new(&o, false);
    rig_establish(r, "mss 1000 ws 7");
    return r;
}

/* `n` segments of 1,000 octets arrive at `ms`. */
static void arrive(struct rig *r, double ms, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        rig_in(r, ms, &(struct seg){".", r->seq, 1000, 1});
        r->seq += 1000;
    }
    rig_flush(r);
}

/* As many octets as the window lets in, each `ms` milliseconds, are read at once. @return the size
 * of the buffer after `rounds`. */
static uint32_t fill_and_read(struct rig *r, double from_ms, double ms, uint32_t rounds)
{
    for (uint32_t i = 0; i < rounds; i++) {
        const struct qs_block *c = qs_block_of(r->e, r->conn);
        rig_run(r, from_ms + ms * i);
        uint32_t octets = qs_seq_span(c->rcv_nxt, c->rcv_adv) / 1000 * 1000;
        arrive(r, from_ms + ms * i, octets / 1000);
        CHECK_EQ(rig_read(r, octets), octets);
        rig_audit(r);
    }
    return rig_info(r).rcvbuf_bytes;
}

/* ---- receiving ---- */

static void a_buffer_filled_in_each_round_trip_doubles(void)
{
    struct rig *r = established(ENOUGH);
    CHECK_EQ(rig_info(r).rcvbuf_bytes, INITIAL);
    CHECK_EQ(fill_and_read(r, 20, RTT_MS, 2), 2 * INITIAL);
    CHECK_EQ(fill_and_read(r, 40, RTT_MS, 1), 4 * INITIAL);
    CHECK_EQ(fill_and_read(r, 50, RTT_MS, 5), MOST);
    CHECK_EQ(r->e->grown[0], MOST - INITIAL);
    rig_run(r, 200);
    rig_flush(r);
    IN(210, ".", r->seq, 1000, 1);
    OUT(250, ".", 1, 0, r->seq + 1000); /* all of it is said */
    CHECK(((uint32_t)r->last.wnd << 1) > MOST - 3000);
    rig_free(r);
}

/* In small pieces or at once: the rate counts. Twice what is moved in a round trip is enough. */
static void what_is_read_as_it_comes_counts_as_well(void)
{
    struct rig *r = established(ENOUGH);
    for (uint32_t i = 0; i < 200; i++) { /* 10,000 octets in a round trip */
        arrive(r, 20 + i, 1);
        CHECK_EQ(rig_read(r, 1000), 1000);
    }
    CHECK_EQ(rig_info(r).rcvbuf_bytes, 2 * INITIAL);
    rig_free(r);
}

static void less_than_half_in_a_round_trip_does_not(void)
{
    struct rig *r = established(ENOUGH);
    for (uint32_t i = 0; i < 500; i++) { /* 5,000 octets in a round trip */
        arrive(r, 20 + 2 * i, 1);
        CHECK_EQ(rig_read(r, 1000), 1000);
    }
    CHECK_EQ(fill_and_read(r, 2000, 3 * RTT_MS, 20), INITIAL);
    CHECK_EQ(r->e->grown[0], 0);
    rig_free(r);
}

static void nothing_grows_while_nobody_reads(void)
{
    struct rig *r = established(ENOUGH);
    uint32_t edge = 0;
    for (uint32_t i = 0; i < 32; i++) {
        rig_in(r, 20 + i, &(struct seg){".", 1 + 1000 * i, 1000, 1});
        rig_run(r, 20.5 + i);
        while (rig_take(r))
            ;
        uint32_t now = rig_info(r).readable_bytes;
        CHECK(now >= edge && now <= INITIAL);
        edge = now;
    }
    CHECK_EQ(rig_info(r).rcvbuf_bytes, INITIAL);
    rig_run(r, 5000);
    rig_flush(r);
    CHECK(rig_read(r, INITIAL) > 15000); /* late, and all at once */
    CHECK_EQ(rig_info(r).rcvbuf_bytes, INITIAL);
    rig_free(r);
}

/* The right edge goes right with the buffer, and back with nothing. */
static void the_edge_never_goes_back(void)
{
    struct rig *r = established(ENOUGH);
    struct qs_block *c = qs_block_of(r->e, r->conn);
    qs_seq edge = c->rcv_adv;
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t n = i % 7 * (i % 3 + 1);
        uint32_t room = qs_seq_span(c->rcv_nxt, c->rcv_adv) / 1000;
        arrive(r, 20 + 3 * i, n < room ? n : room);
        if (i % 5)
            (void)rig_read(r, i % 11 * 1500 + 1);
        CHECK(qs_seq_le(edge, c->rcv_adv));
        edge = c->rcv_adv;
    }
    CHECK(rig_info(r).rcvbuf_bytes > INITIAL);
    rig_free(r);
}

/* A half that ends where sequence numbers begin anew is one half. */
static void the_wrap_is_one_half(void)
{
    struct rig *r = established(ENOUGH);
    struct qs_block *c = qs_block_of(r->e, r->conn);
    rig_run(r, 20);
    c->half_read = (uint32_t)(rig_now(r).ns >> 10) | 1u;
    arrive(r, 20 + 3 * RTT_MS, 1);
    CHECK(c->rcv_nxt.v < 1000);
    CHECK_EQ(rig_read(r, 1000), 1000);
    CHECK_EQ(rig_info(r).rcvbuf_bytes, INITIAL);
    rig_free(r);
}

/* ---- the window field ---- */

static void the_scale_is_that_of_the_maximum(void)
{
    qs_engine_opts o = growing(ENOUGH);
    o.rcvbuf_initial_bytes = 65536;
    o.rcvbuf_bytes = 4u << 20;
    struct rig *r = rig_new(&o, false);
    rig_listen(r);
    IN(0, "S", 0, 0, 0, .opts = "mss 1000 ws 2");
    OUT(0, "S.", 0, 0, 1, .opts = "mss 1460 ws 7", .wnd = 65535);
    rig_free(r);
    o.rcvbuf_initial_bytes = INITIAL;
    r = rig_new(&o, false);
    rig_open(r);
    OUT(0, "S", 0, 0, 0, .wnd = INITIAL);
    rig_free(r);
}

/* What the peer can never be told is not taken from the class. */
static void without_scaling_64_kib_are_the_most(void)
{
    qs_engine_opts o = growing(ENOUGH);
    o.rcvbuf_initial_bytes = 32768;
    o.rcvbuf_bytes = 1u << 20;
    struct rig *r = rig_new(&o, false);
    rig_establish(r, "mss 1000");
    CHECK_EQ(fill_and_read(r, 20, RTT_MS, 8), 65536);
    CHECK_EQ(r->e->grown[0], 32768);
    rig_free(r);
}

/* ---- sending ---- */

/* The peer acknowledges everything each 10 ms, the application writes what it can. */
static void twice_the_window_of_congestion_control(void)
{
    struct rig *r = established(ENOUGH);
    CHECK_EQ(rig_write(r, MOST), INITIAL);
    uint32_t before = INITIAL;
    for (uint32_t i = 2; i < 12; i++) {
        rig_run(r, 10 * i);
        rig_flush(r);
        uint32_t nxt = qs_block_of(r->e, r->conn)->snd_nxt.v - RIG_ISN;
        IN(10 * i, ".", 1, 0, nxt);
        struct qs_conn_info info = rig_info(r);
        CHECK(info.sndbuf_bytes >= before && info.sndbuf_bytes <= 2 * before);
        CHECK(info.sndbuf_bytes >= 2 * info.cwnd_octets || info.sndbuf_bytes == 2 * before ||
              info.sndbuf_bytes == MOST);
        before = info.sndbuf_bytes;
        CHECK_EQ(rig_write(r, 2 * MOST), info.sndbuf_bytes - info.unacked_bytes);
        rig_audit(r);
    }
    CHECK_EQ(before, MOST);
    rig_free(r);
}

/* Who waits for room is told of what has grown. */
static void room_is_told(void)
{
    struct rig *r = established(ENOUGH);
    CHECK_EQ(rig_write(r, MOST), INITIAL);
    rig_run(r, 15);
    rig_flush(r);
    IN(20, ".", 1, 0, 1001);
    CHECK_EQ(rig_info(r).sndbuf_bytes, 2 * INITIAL);
    CHECK_EQ(rig_event(r), QS_EVENT_WRITABLE);
    CHECK_EQ(rig_info(r).writable_bytes, INITIAL + 1000);
    rig_free(r);
}

static void what_is_not_used_does_not_grow(void)
{
    qs_engine_opts o = growing(ENOUGH);
    o.sndbuf_initial_bytes = 32768;
    struct rig *r = rig_new(&o, false);
    rig_establish(r, "mss 1000 ws 7");
    for (uint32_t i = 0; i < 50; i++) {
        rig_write(r, 1000);
        rig_run(r, 20 + 10 * i);
        rig_flush(r);
        IN(25 + 10 * i, ".", 1, 0, 1001 + 1000 * i);
    }
    CHECK_EQ(rig_info(r).sndbuf_bytes, 32768);
    rig_free(r);
}

/* ---- what a class may grow by ---- */

static void no_growth_beyond_what_the_class_has(void)
{
    struct rig *r = established(INITIAL); /* for one doubling */
    CHECK_EQ(fill_and_read(r, 20, RTT_MS, 10), 2 * INITIAL);
    CHECK(rig_count(r, QS_COUNT_BUFFERS_NOT_GROWN) > 0);
    CHECK_EQ(r->e->grown[0], INITIAL);
    /* The send buffer has to do with what it has. */
    CHECK_EQ(rig_write(r, MOST), INITIAL);
    rig_run(r, 150);
    rig_flush(r);
    IN(160, ".", r->seq, 0, 10001);
    CHECK_EQ(rig_info(r).sndbuf_bytes, INITIAL);
    rig_free(r);
}

static void each_class_has_its_own(void)
{
    qs_engine_opts o = growing(0);
    for (uint32_t p = 1; p < QS_N_PRIO; p++)
        o.growth_bytes[p] = ENOUGH;
    struct rig *r = rig_new(&o, false);
    rig_establish(r, "mss 1000 ws 7");
    CHECK_EQ(fill_and_read(r, 20, RTT_MS, 5), INITIAL);
    CHECK(rig_count(r, QS_COUNT_BUFFERS_NOT_GROWN) > 0);
    rig_free(r);
}

/* However a connection ends, the class has it back at once, not after the last event or TIME-WAIT.
 */
static void given_back_at_the_end(void)
{
    for (int how = 0; how < 4; how++) {
        struct rig *r = established(ENOUGH);
        CHECK_EQ(fill_and_read(r, 20, RTT_MS, 3), 4 * INITIAL);
        CHECK_EQ(r->e->grown[0], 3 * INITIAL);
        if (how == 0) {
            CHECK_EQ(qs_conn_abort(r->e, r->conn), 0);
        } else if (how == 1) {
            rig_in(r, 100, &(struct seg){"R.", r->seq, 0, 1});
        } else if (how == 2) { /* the peer closes first */
            rig_in(r, 100, &(struct seg){"F.", r->seq, 0, 1});
            CHECK_EQ(r->e->grown[0], 3 * INITIAL);
            CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
            rig_run(r, 110);
            rig_in(r, 120, &(struct seg){".", r->seq + 1, 0, 2});
        } else {
            rig_run(r, 100);
            CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
            rig_run(r, 110);
            CHECK_EQ(r->e->grown[0], 3 * INITIAL);
            rig_in(r, 120, &(struct seg){"F.", r->seq, 0, 2});
            CHECK_EQ(rig_state(r), QS_TCP_TIME_WAIT);
        }
        CHECK_EQ(r->e->grown[0], 0);
        rig_audit(r);
        rig_free(r);
    }
}

/* ---- sizes that are wrong ---- */

static void sizes_that_are_refused(void)
{
    static const struct {
        uint32_t initial, most, mtu;
        qs_err want;
    } row[] = {
        {0, 65536, 1500, 0},
        {65536, 65536, 1500, 0},
        {65537, 65536, 1500, QS_ERR_ARG}, /* above the maximum */
        {2048, 65536, 1500, 0},
        {2047, 65536, 1500, QS_ERR_ARG},
        {8960, 65536, 9000, 0},
        {8959, 65536, 9000, QS_ERR_ARG}, /* below an MSS */
    };
    struct qs_mem mem = test_mem();
    for (size_t i = 0; i < 2 * sizeof row / sizeof row[0]; i++) {
        size_t k = i / 2;
        qs_engine_opts o = rig_opts();
        qs_engine *e;
        o.mtu = row[k].mtu;
        *(i % 2 ? &o.rcvbuf_bytes : &o.sndbuf_bytes) = row[k].most;
        *(i % 2 ? &o.rcvbuf_initial_bytes : &o.sndbuf_initial_bytes) = row[k].initial;
        CHECK_EQ(qs_engine_new(&e, &o, &mem), row[k].want);
        qs_engine_free(e);
    }
}

/* ---- whole connections ---- */

#define FAT_BITS 200000000u
#define FAT_DELAY_NS 50000000u
#define FAT_OCTETS (48u << 20)

struct stream {
    qs_conn conn;
    uint32_t left, received;
    bool done;
};

static void stream_event(struct sim *s, int side, const struct qs_event *ev, void *ctx)
{
    static uint8_t buf[65536];
    struct stream *t = ctx;
    qs_engine *e = sim_engine(s, side);
    int64_t n;
    if (side == 1) {
        while (ev->flags & QS_EVENT_READABLE &&
               (n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0)
            t->received += (uint32_t)n;
        t->done = t->received == FAT_OCTETS;
    } else if (ev->flags & (QS_EVENT_OPEN | QS_EVENT_WRITABLE)) {
        do {
            n = qs_conn_write(e, ev->conn, buf, t->left < sizeof buf ? t->left : sizeof buf);
            t->left -= n > 0 ? (uint32_t)n : 0;
        } while (n > 0 && t->left);
    }
}

static void connect_sides(struct sim *s, sim_handler fn, void *ctx, uint32_t n)
{
    struct qs_listen_opts l;
    struct qs_open_opts o;
    qs_conn conn;
    sim_on_event(s, fn, ctx);
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.backlog = l.half_open_max = l.half_open_prefix_max = n;
    REQUIRE(qs_engine_listen(sim_engine(s, 1), &l) >= 0);
    qs_open_opts_init(&o);
    o.remote = sim_addr(s, 1);
    o.remote_port = RIG_PORT;
    for (uint32_t i = 0; i < n; i++)
        REQUIRE(qs_conn_open(sim_engine(s, 0), &o, sim_now(s), &conn) == 0);
}

/* @return milliseconds for 48 MiB over a path that holds 2.5 MB. */
static uint64_t fat_path_ms(uint32_t initial, uint32_t most, uint64_t growth)
{
    struct sim_opts o = {
        .seed = 9, .chunks_max = 16384, .rcvbuf_bytes = most, .sndbuf_bytes = most};
    o.rcvbuf_initial_bytes = o.sndbuf_initial_bytes = initial;
    o.growth_bytes = growth;
    o.faults = (struct sim_faults){.delay_ns = FAT_DELAY_NS, .bit_per_second = FAT_BITS};
    struct stream t = {.left = FAT_OCTETS};
    struct sim *s = sim_new(&o);
    uint64_t start_ns = sim_now(s).ns;
    connect_sides(s, stream_event, &t, 1);
    REQUIRE(sim_run(s, (qs_time){start_ns + QS_S(120).ns}, &t.done));
    uint64_t ms = (sim_now(s).ns - start_ns) / QS_MS(1).ns;
    sim_free(s);
    return ms;
}

/* Growing costs nothing: it is as fast as with the maximum from the start. */
static void a_long_fat_path(void)
{
    uint64_t most = fat_path_ms(0, 4u << 20, 0);
    uint64_t grown = fat_path_ms(65536, 4u << 20, 64u << 20);
    uint64_t small = fat_path_ms(65536, 4u << 20, 0);
    printf("48 MiB: %u ms, growing %u ms, at 64 KiB %u ms\n", (unsigned)most, (unsigned)grown,
           (unsigned)small);
    CHECK(grown <= most + most / 50);
    CHECK(small > 10 * grown);
}

#define SLOW_CONNS 10000u
#define SLOW_INITIAL 8192u
#define SLOW_MESSAGES 12u
#define SLOW_OCTETS 2000u

struct slow {
    uint32_t ended;
    bool done;
};

/* A message each round trip; the answer is one octet. The connection's user value counts them. */
static void slow_event(struct sim *s, int side, const struct qs_event *ev, void *ctx)
{
    static uint8_t buf[65536];
    struct slow *t = ctx;
    qs_engine *e = sim_engine(s, side);
    int64_t n = 0;
    if (ev->flags & QS_EVENT_READABLE)
        n = qs_conn_read(e, ev->conn, buf, sizeof buf);
    if (side == 1) {
        uint64_t got = ev->user + (uint64_t)n;
        REQUIRE(qs_conn_set_user(e, ev->conn, got) == 0);
        if (n > 0 && got % SLOW_OCTETS == 0)
            REQUIRE(qs_conn_write(e, ev->conn, buf, 1) == 1);
    } else if (ev->user < SLOW_MESSAGES && ev->flags & (QS_EVENT_OPEN | QS_EVENT_READABLE)) {
        REQUIRE(qs_conn_set_user(e, ev->conn, ev->user + 1) == 0);
        REQUIRE(qs_conn_write(e, ev->conn, buf, SLOW_OCTETS) == SLOW_OCTETS);
    } else if (n > 0) {
        t->done = ++t->ended == SLOW_CONNS;
    }
}

/* Three halves of the buffer in a life, but never one in a round trip. */
static void slow_connections_stay_small(void)
{
    struct sim_opts o = {.seed = 10, .conns_max = SLOW_CONNS, .chunks_max = 4 * SLOW_CONNS};
    o.rcvbuf_initial_bytes = SLOW_INITIAL;
    o.sndbuf_initial_bytes = 65536;
    o.growth_bytes = 1u << 30;
    o.faults = (struct sim_faults){.delay_ns = 10000000};
    struct slow t = {0};
    struct sim *s = sim_new(&o);
    connect_sides(s, slow_event, &t, SLOW_CONNS);
    REQUIRE(sim_run(s, (qs_time){sim_now(s).ns + QS_S(60).ns}, &t.done));
    for (int side = 0; side < 2; side++) {
        CHECK_EQ(sim_engine(s, side)->grown[0], 0);
        CHECK_EQ(sim_counter(s, side, QS_COUNT_BUFFERS_NOT_GROWN), 0);
    }
    sim_free(s);
}

int main(void)
{
    RUN(a_buffer_filled_in_each_round_trip_doubles);
    RUN(what_is_read_as_it_comes_counts_as_well);
    RUN(less_than_half_in_a_round_trip_does_not);
    RUN(nothing_grows_while_nobody_reads);
    RUN(the_edge_never_goes_back);
    RUN(the_wrap_is_one_half);
    RUN(the_scale_is_that_of_the_maximum);
    RUN(without_scaling_64_kib_are_the_most);
    RUN(twice_the_window_of_congestion_control);
    RUN(room_is_told);
    RUN(what_is_not_used_does_not_grow);
    RUN(no_growth_beyond_what_the_class_has);
    RUN(each_class_has_its_own);
    RUN(given_back_at_the_end);
    RUN(sizes_that_are_refused);
    RUN(a_long_fat_path);
    RUN(slow_connections_stay_small);
    return TEST_RESULT();
}
