/* SPDX-License-Identifier: Apache-2.0 */
/* Pacing: when segments leave that congestion control and window allow. */
#include "rig.h"

#define MSS 1000u
#define TICK_NS 65536u
#define HEADERS (14u + 40u)

static void pace(struct rig *r, bool on, uint64_t rate_max)
{
    struct qs_conn_opts o;
    qs_conn_opts_init(&o);
    CHECK_EQ(qs_conn_get_opts(r->e, r->conn, &o), 0);
    o.pacing = on;
    o.pacing_rate_max = rate_max;
    CHECK_EQ(qs_conn_set_opts(r->e, r->conn, &o), 0);
}

/* Established at 10 ms with a round trip of 10 ms and ten segments of window: 2 * 10,000 octets in
 * 10 ms. */
#define FIRST_RATE 2000000u

static struct rig *established(const char *syn_opts)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, syn_opts);
    pace(r, true, 0);
    return r;
}

static uint64_t rate_of(struct rig *r)
{
    struct qs_tcp_info t;
    CHECK_EQ(qs_conn_tcp_info(r->e, r->conn, &t), 0);
    return t.tcpi_pacing_rate;
}

static uint32_t octets_of(const struct rig *r, uint32_t i)
{
    return r->queue[i].len - HEADERS;
}

/* What left since `start` is never more than the rate and `burst` allow, and the last frame is no
 * more than two ticks late. @return octets. */
static uint32_t check_spread(const struct rig *r, uint64_t rate, uint32_t burst)
{
    uint32_t sum = 0;
    uint64_t start = r->n_queue ? r->left_ns[0] : 0, due = 0;
    for (uint32_t i = 0; i < r->n_queue; i++) {
        sum += octets_of(r, i);
        due = sum > burst ? (uint64_t)(sum - burst) * 1000000000u / rate : 0;
        CHECK(r->left_ns[i] - start + 1000 >=
              due); /* less than a part in 100 of a segment's time */
    }
    if (r->n_queue)
        CHECK(r->left_ns[r->n_queue - 1] - start <= due + 2 * TICK_NS);
    return sum;
}

static void off_by_default(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 30 * MSS);
    for (uint32_t i = 0; i < 10; i++)
        OUT(10, ".", 1 + i * MSS, MSS, 1);
    uint64_t would_be = rate_of(r);
    CHECK(would_be >= FIRST_RATE && would_be < FIRST_RATE + FIRST_RATE / 1000);
    rig_free(r);
}

static void the_window_is_spread_over_the_round_trip(void)
{
    struct rig *r = established("mss 1000");
    rig_write(r, 30 * MSS);
    rig_run(r, 10);
    CHECK_EQ(r->n_queue, 2);
    rig_run(r, 19);
    CHECK_EQ(r->n_queue, 10);
    CHECK_EQ(check_spread(r, FIRST_RATE, 2 * MSS), 10 * MSS);
    rig_free(r);
}

static void a_listener_has_the_option(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.conn.pacing = true;
    l.conn.pacing_rate_max = 500000;
    CHECK(qs_engine_listen(r->e, &l) >= 0);
    IN(0, "S", 0, 0, 0, .opts = "mss 1000");
    OUT(0, "S.", 0, 0, 1);
    IN(10, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    struct qs_conn_opts o;
    qs_conn_opts_init(&o);
    CHECK_EQ(qs_conn_get_opts(r->e, r->conn, &o), 0);
    CHECK(o.pacing);
    CHECK(o.pacing_rate_max <= 500000 && o.pacing_rate_max > 499500);
    rig_write(r, 10 * MSS);
    rig_run(r, 40);
    CHECK_EQ(check_spread(r, o.pacing_rate_max, 2 * MSS), 10 * MSS);
    rig_free(r);
}

/* Twice cwnd / SRTT in slow start, 1.2 times from half of ssthresh on. */
static void the_rate_follows_window_and_round_trip(void)
{
    struct rig *r = established("mss 1000 sok");
    rig_write(r, 200 * MSS);
    rig_run(r, 29);
    rig_flush(r);
    rig_in(r, 30, &(struct seg){".", 1, 0, 10001});
    struct qs_conn_info i = rig_info(r);
    CHECK(i.cwnd_octets > 10 * MSS && i.srtt.ns > QS_MS(10).ns);
    uint64_t want = i.cwnd_octets * 2000000000ull / i.srtt.ns;
    CHECK_EQ(rate_of(r), want + 1);
    rig_run(r, 49);
    CHECK_EQ(check_spread(r, want, 2 * MSS), i.cwnd_octets);
    rig_flush(r);
    rig_in(r, 50, &(struct seg){".", 1, 0, 10001, .opts = "sack 11001-20001"});
    rig_run(r, 80);
    rig_flush(r);
    rig_in(r, 90, &(struct seg){".", 1, 0, 10001 + i.cwnd_octets});
    i = rig_info(r);
    CHECK(i.cwnd_octets >= i.ssthresh_octets / 2);
    CHECK_EQ(rate_of(r), i.cwnd_octets * 1200000000ull / i.srtt.ns + 1);
    rig_free(r);
}

static void a_ceiling_holds(void)
{
    struct rig *r = established(NULL);
    pace(r, true, 100000);
    rig_write(r, 10 * MSS);
    rig_run(r, 100);
    uint64_t kept = rate_of(r);
    CHECK(kept <= 100000 && kept > 99900);
    CHECK_EQ(r->n_queue, 10);
    CHECK_EQ(check_spread(r, kept, 2 * MSS), 10 * MSS);
    struct qs_tcp_info t;
    CHECK_EQ(qs_conn_tcp_info(r->e, r->conn, &t), 0);
    CHECK_EQ(t.tcpi_max_pacing_rate, kept);
    rig_free(r);
}

/* A window of which little is used proves nothing, however much there is to send. */
static void a_ceiling_lets_cwnd_not_run_away(void)
{
    struct rig *r = established(NULL);
    uint32_t before = rig_info(r).cwnd_octets, sent = 0;
    pace(r, true, 100000);
    for (uint32_t ms = 20; ms <= 2000; ms += 10) {
        if (r->written - sent < 40 * MSS)
            rig_write(r, 40 * MSS);
        rig_run(r, ms);
        for (uint32_t i = 0; i < r->n_queue; i++)
            sent += octets_of(r, i);
        rig_flush(r);
        rig_in(r, ms, &(struct seg){".", 1, 0, 1 + sent});
    }
    CHECK(sent > 190 * MSS);
    CHECK_EQ(rig_info(r).cwnd_octets, before);
    rig_free(r);
}

/* For minutes, over the wraps of sequence numbers and of the clock that credit is counted from. */
static void the_rate_holds_for_long(void)
{
    struct rig *r = established(NULL);
    pace(r, true, 100000);
    uint32_t sent = 0;
    for (uint32_t ms = 20; ms <= 200000; ms += 10) {
        if (r->written - sent < 20 * MSS)
            rig_write(r, 20 * MSS);
        rig_run(r, ms);
        for (uint32_t i = 0; i < r->n_queue; i++)
            sent += octets_of(r, i);
        rig_flush(r);
        rig_in(r, ms, &(struct seg){".", 1, 0, 1 + sent});
    }
    uint64_t want = rate_of(r) * 200;
    CHECK(sent > want - want / 500 && sent < want + 3 * MSS);
    rig_free(r);
}

static void the_deadline_is_that_of_the_next_segment(void)
{
    struct rig *r = established(NULL);
    rig_write(r, 10 * MSS);
    rig_run(r, 10);
    rig_flush(r);
    uint64_t due = r->now_ns + 1000000000ull * MSS / FIRST_RATE;
    uint64_t deadline = qs_engine_deadline(r->e).ns;
    CHECK(deadline + 1000 >= due && deadline <= due + TICK_NS);
    CHECK(rig_quiet(r, 10.499));
    rig_run(r, 10.6);
    CHECK_EQ(r->n_queue, 1);
    CHECK_EQ(r->left_ns[0], deadline);
    rig_free(r);
}

static void time_without_octets_gathers_a_quantum(void)
{
    struct rig *r = established(NULL);
    static const uint32_t idle_ms[] = {15, 1000, 68719, 137438, 600000};
    double ms = 10;
    for (size_t k = 0; k < sizeof idle_ms / sizeof idle_ms[0]; k++) {
        rig_write(r, 10 * MSS);
        rig_run(r, ms + 100);
        CHECK(check_spread(r, rate_of(r) + 100, 2 * MSS) >= 10 * MSS);
        rig_flush(r);
        rig_in(r, ms + 101, &(struct seg){".", 1, 0, 1 + r->written});
        ms += 101 + idle_ms[k];
        rig_run(r, ms);
        CHECK_EQ(r->n_queue, 0);
    }
    rig_free(r);
}

static void switched_while_octets_wait(void)
{
    struct rig *r = established(NULL);
    pace(r, true, 10000);
    rig_write(r, 10 * MSS);
    rig_run(r, 11);
    CHECK_EQ(r->n_queue, 2);
    pace(r, true, 1000000); /* 1 ms a segment instead of 100 */
    rig_run(r, 13);
    CHECK(r->n_queue >= 4 && r->n_queue <= 5);
    pace(r, false, 0);
    rig_run(r, 13.01);
    CHECK_EQ(r->n_queue, 10);
    rig_flush(r);
    rig_in(r, 20, &(struct seg){".", 1, 0, 1 + 10 * MSS});
    pace(r, true, 0);
    rig_write(r, 10 * MSS);
    rig_run(r, 20);
    CHECK(r->n_queue <= 3);
    rig_run(r, 40);
    CHECK_EQ(r->n_queue, 10);
    rig_free(r);
}

/* A frame for segmentation offload is no larger than what a tick passes and a segment. */
static void large_frames_are_quanta(void)
{
    qs_engine_opts o = rig_opts();
    o.offloads = QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO;
    o.gso_max_bytes = 60000;
    for (int on = 0; on < 2; on++) {
        struct rig *r = rig_new(&o, false);
        rig_listen(r);
        IN(0, "S", 0, 0, 0, .opts = "mss 1000");
        rig_run(r, 0);
        struct frame *f = rig_take(r); /* its checksum is left to the device */
        REQUIRE(f);
        r->iss = (uint32_t)be(frame_l4(f) + 4, 4);
        IN(0.2, ".", 1, 0, 1); /* 2 * 10,000 octets in 200 us: 6,553 in a tick */
        CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
        pace(r, on, 0);
        rig_write(r, 10 * MSS);
        rig_run(r, 0.2);
        CHECK_EQ(octets_of(r, 0), on ? 7 * MSS : 10 * MSS);
        rig_run(r, 1);
        if (on)
            CHECK_EQ(check_spread(r, rate_of(r), 8 * MSS), 10 * MSS);
        rig_free(r);
    }
}

/* A worker that comes late makes up for one quantum, not for all that was missed. */
static void what_was_late_is_bounded(void)
{
    qs_engine_opts o = rig_opts();
    struct rig *r = rig_new(&o, false);
    rig_establish(r, NULL);
    pace(r, true, 0);
    rig_write(r, 10 * MSS);
    rig_run(r, 10);
    CHECK_EQ(r->n_queue, 2);
    r->now_ns += QS_MS(4).ns; /* eight segments' time */
    rig_run(r, 14);
    CHECK_EQ(r->n_queue, 2 + 4);
    rig_free(r);
}

/* Octets that are lost are sent again one by one, too. */
static void what_is_lost_is_spread(void)
{
    struct rig *r = established("mss 1000 sok");
    rig_write(r, 10 * MSS);
    rig_run(r, 19);
    rig_flush(r);
    pace(r, true, 200000); /* 5 ms a segment */
    rig_in(r, 20, &(struct seg){".", 1, 0, 1, .opts = "sack 5001-10001"});
    rig_run(r, 50);
    CHECK_EQ(r->n_queue, 5);
    for (uint32_t i = 1; i < r->n_queue; i++)
        CHECK(r->left_ns[i] - r->left_ns[i - 1] > QS_MS(4).ns);
    rig_free(r);
}

/* Nothing new waits, only what is lost: without pacing it goes at once. */
static void switched_off_while_lost_octets_wait(void)
{
    struct rig *r = established("mss 1000 sok");
    rig_write(r, 10 * MSS);
    rig_run(r, 19);
    rig_flush(r);
    pace(r, true, 1000);
    rig_in(r, 20, &(struct seg){".", 1, 0, 1, .opts = "sack 5001-10001"});
    rig_run(r, 20);
    CHECK(r->n_queue < 5);
    pace(r, false, 0);
    rig_run(r, 20.01);
    CHECK_EQ(r->n_queue, 5);
    rig_free(r);
}

/* ACKs, a loss probe, a window probe, the FIN alone: none of them waits. */
static void what_is_not_held_back(void)
{
    struct rig *r = established("mss 1000 sok");
    pace(r, true, 1000); /* a second for each segment */
    rig_write(r, 4 * MSS);
    OUT(10, ".", 1, MSS, 1);
    OUT(10, ".", 1001, MSS, 1);
    IN(12, "P.", 1, MSS, 1);
    OUT(12, ".", 2001, 0, 1001);
    IN(13, "P.", 1001, MSS, 1);
    OUT(13, ".", 2001, 0, 2001);
    OUT(30, ".", 2001, MSS, 2001); /* RFC 8985 section 7: two round trips after the second */
    IN(40, ".", 2001, 0, 3001);
    OUT(1030, "P.", 3001, MSS, 2001);
    IN(1040, ".", 2001, 0, 4001);
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    OUT(1040, "R.", 4001, 0, 2001); /* octets were not read: RFC 2525 section 2.17 */
    rig_free(r);
    r = established(NULL);
    pace(r, true, 1000);
    rig_write(r, 2 * MSS);
    rig_run(r, 10);
    rig_flush(r);
    IN(20, ".", 1, 0, 2001);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
    OUT(20, "F.", 2001, 0, 1);
    rig_free(r);
    r = established(NULL);
    r->wnd = 0;
    IN(20, ".", 1, 0, 1);
    pace(r, true, 1000);
    rig_write(r, 10);
    OUT(220, ".", 1, 1, 1);
    rig_free(r);
}

/* ---- on a path ---- */

#define ANSWER (64u << 10)
#define N_ANSWERS 50u

struct answers {
    qs_conn conn;
    bool open;
    uint32_t received;
};

static void on_event(struct sim *s, int side, const struct qs_event *ev, void *ctx)
{
    static uint8_t buf[16384];
    struct answers *a = ctx;
    int64_t n;
    REQUIRE(!(ev->flags & QS_EVENT_CLOSED));
    if (ev->flags & QS_EVENT_OPEN && side == 0)
        a->open = true;
    while (ev->flags & QS_EVENT_READABLE &&
           (n = qs_conn_read(sim_engine(s, side), ev->conn, buf, sizeof buf)) > 0)
        a->received += (uint32_t)n;
}

static struct sim *path(struct answers *a, const char *cc, bool pacing)
{
    struct sim_opts so = {.seed = 1, .chunks_max = 4096, .rcvbuf_bytes = 1u << 20};
    so.sndbuf_bytes = so.rcvbuf_bytes;
    so.faults = (struct sim_faults){
        .delay_ns = 10000000, .bit_per_second = 100000000, .queue_bytes = 30000};
    struct sim *s = sim_new(&so);
    struct qs_listen_opts l;
    struct qs_open_opts o;
    sim_on_event(s, on_event, a);
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    REQUIRE(qs_engine_listen(sim_engine(s, 1), &l) >= 0);
    qs_open_opts_init(&o);
    o.remote = sim_addr(s, 1);
    o.remote_port = RIG_PORT;
    o.conn.cc = cc;
    o.conn.pacing = pacing;
    REQUIRE(qs_conn_open(sim_engine(s, 0), &o, sim_now(s), &a->conn) == 0);
    REQUIRE(sim_run(s, (qs_time){sim_now(s).ns + QS_S(1).ns}, &a->open));
    return s;
}

/* 50 times 64 KiB, every 100 ms, over 100 Mbit/s and 20 ms with a queue of 30 kB: more than the
 * queue takes at once. @return frames that were lost. */
static uint64_t lost_of_answers(const char *cc, bool pacing)
{
    static const uint8_t answer[ANSWER];
    static const bool never;
    struct answers a = {.open = false};
    struct sim *s = path(&a, cc, pacing);
    for (uint32_t i = 0; i < N_ANSWERS; i++) {
        CHECK_EQ(qs_conn_write(sim_engine(s, 0), a.conn, answer, ANSWER), ANSWER);
        (void)sim_run(s, (qs_time){sim_now(s).ns + QS_MS(100).ns}, &never);
    }
    CHECK_EQ(a.received, N_ANSWERS * ANSWER); /* the rate is the application's, either way */
    uint64_t lost = sim_link(s).lost;
    sim_free(s);
    printf("     %s, pacing %s: %" PRIu64 " frames lost\n", cc, pacing ? "on" : "off", lost);
    return lost;
}

static void a_short_queue_loses_less(void)
{
    static const char *const cc[] = {"newreno", "cubic"};
    for (size_t i = 0; i < 2; i++) {
        uint64_t paced = lost_of_answers(cc[i], true);
        CHECK(paced < lost_of_answers(cc[i], false) / 4);
    }
}

/* 8 MiB over the same path. Without pacing slow start meets the queue early; with it, it goes on
 * until the path is full, and loses more at once. @return milliseconds. */
static uint64_t long_transfer(const char *cc, bool pacing)
{
    static const uint8_t octets[ANSWER];
    static const bool never;
    struct answers a = {.open = false};
    struct sim *s = path(&a, cc, pacing);
    uint64_t start = sim_now(s).ns;
    for (uint32_t left = 128 * ANSWER; a.received < 128 * ANSWER;) {
        int64_t n =
            left ? qs_conn_write(sim_engine(s, 0), a.conn, octets, left < ANSWER ? left : ANSWER)
                 : 0;
        left -= n > 0 ? (uint32_t)n : 0;
        (void)sim_run(s, (qs_time){sim_now(s).ns + QS_MS(1).ns}, &never);
        REQUIRE(sim_now(s).ns - start < QS_S(60).ns);
    }
    uint64_t ms = (sim_now(s).ns - start) / QS_MS(1).ns;
    printf("     %s, pacing %s: %" PRIu64 " ms, %" PRIu64 " frames lost\n", cc,
           pacing ? "on" : "off", ms, sim_link(s).lost);
    sim_free(s);
    return ms;
}

static void a_long_transfer_is_not_slower(void)
{
    static const char *const cc[] = {"newreno", "cubic"};
    for (size_t i = 0; i < 2; i++) {
        uint64_t paced = long_transfer(cc[i], true);
        CHECK(paced <= long_transfer(cc[i], false));
    }
}

int main(void)
{
    RUN(off_by_default);
    RUN(the_window_is_spread_over_the_round_trip);
    RUN(a_listener_has_the_option);
    RUN(the_rate_follows_window_and_round_trip);
    RUN(a_ceiling_holds);
    RUN(a_ceiling_lets_cwnd_not_run_away);
    RUN(the_rate_holds_for_long);
    RUN(the_deadline_is_that_of_the_next_segment);
    RUN(time_without_octets_gathers_a_quantum);
    RUN(switched_while_octets_wait);
    RUN(large_frames_are_quanta);
    RUN(what_was_late_is_bounded);
    RUN(what_is_lost_is_spread);
    RUN(switched_off_while_lost_octets_wait);
    RUN(what_is_not_held_back);
    RUN(a_short_queue_loses_less);
    RUN(a_long_transfer_is_not_slower);
    return TEST_RESULT();
}
