/* SPDX-License-Identifier: Apache-2.0 */
/* Which congestion control a connection has, and what it is told by the connection: a window that
 * is used, a round trip, an idle time. The algorithms themselves: test_cubic.c, test_recovery.c. */
#include "rig.h"

#define MSS 1000u

static void check_name(const struct rig *r, const char *want)
{
    const char *got = rig_info(r).cc;
    if (got && strcmp(got, want) == 0)
        return;
    fprintf(stderr, "congestion control is %s, want %s\n", got ? got : "NULL", want);
    CHECK(false);
}

/* Established with ten segments out and more to send, by either kind of open. */
static struct rig *with_ten_out(const char *cc, bool active, const char *opts)
{
    struct rig *r = rig_new(NULL, false);
    r->cc = cc;
    if (active) {
        rig_open(r);
        OUT(0, "S", 0, 0, 0);
        IN(10, "S.", 0, 0, 1, .opts = opts);
        OUT(10, ".", 1, 0, 1);
        REQUIRE(rig_event(r) == QS_EVENT_OPEN);
    } else {
        rig_establish(r, opts);
    }
    rig_write(r, 200 * MSS);
    rig_run(r, 15);
    rig_flush(r);
    return r;
}

static void third_duplicate(struct rig *r, double ms, uint32_t ack)
{
    for (int i = 0; i < 3; i++) {
        rig_in(r, ms, &(struct seg){".", 1, 0, ack});
        rig_flush(r);
    }
}

/* ---- the choice ---- */

/* NewReno halves, CUBIC takes seven tenths. */
static void listener_and_open_choose(void)
{
    static const struct {
        const char *cc, *name;
        uint32_t ssthresh;
    } row[] = {
        {NULL, "cubic", 7 * MSS}, {"cubic", "cubic", 7 * MSS}, {"newreno", "newreno", 5 * MSS}};
    for (size_t i = 0; i < 6; i++) {
        struct rig *r = with_ten_out(row[i / 2].cc, i % 2, "mss 1000");
        check_name(r, row[i / 2].name);
        third_duplicate(r, 20, 1);
        CHECK_EQ(rig_info(r).ssthresh_octets, row[i / 2].ssthresh);
        rig_free(r);
    }
}

static void timeouts_are_told(void)
{
    for (int reno = 0; reno < 2; reno++) {
        struct rig *r = with_ten_out(reno ? "newreno" : "cubic", false, "mss 1000");
        OUT(210, ".", 1, MSS, 1);
        CHECK_EQ(rig_info(r).cwnd_octets, MSS);
        CHECK_EQ(rig_info(r).ssthresh_octets, (reno ? 5 : 7) * MSS);
        rig_free(r);
    }
}

/* Listeners side by side keep their own. */
static void each_listener_its_own(void)
{
    static const char *const name[] = {"newreno", "cubic", NULL, "newreno"};
    struct rig *r = rig_new(NULL, false);
    for (uint16_t i = 0; i < 4; i++) {
        struct qs_listen_opts l;
        qs_listen_opts_init(&l);
        l.port = (uint16_t)(RIG_PORT + 1 + i);
        l.conn.cc = name[i];
        REQUIRE(qs_engine_listen(r->e, &l) == i);
    }
    for (uint16_t i = 0; i < 4; i++) {
        struct seg s = {"S", 0, 0, 0, "mss 1000", .port = (uint16_t)(RIG_PORT + 1 + i)};
        rig_in(r, i, &s);
        struct frame *f = rig_take(r);
        while (!f) {
            rig_run(r, i + 0.5);
            f = rig_take(r);
        }
        struct wire_tcp t;
        frame_parse_tcp(f, &t);
        r->iss = t.seq;
        s = (struct seg){".", 1, 0, 1, .port = s.port};
        rig_in(r, i + 0.6, &s);
        REQUIRE(rig_event(r) == QS_EVENT_OPEN);
        check_name(r, name[i] ? name[i] : "cubic");
    }
    rig_free(r);
}

static qs_err set_cc(qs_engine *e, qs_conn c, const char *name)
{
    struct qs_conn_opts o;
    qs_conn_opts_init(&o);
    o.cc = name;
    return qs_conn_set_opts(e, c, &o);
}

static void unknown_names_are_refused(void)
{
    static const char *const bad[] = {"", "Cubic", "cubic ", "cubi", "newrenoo", "bbr"};
    struct rig *r = with_ten_out(NULL, false, "mss 1000");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct qs_listen_opts l;
        qs_listen_opts_init(&l);
        l.port = RIG_PORT + 1;
        l.conn.cc = bad[i];
        CHECK_EQ(qs_engine_listen(r->e, &l), QS_ERR_ARG);
        struct qs_open_opts o;
        qs_open_opts_init(&o);
        o.remote = rig_peer(r);
        o.remote_port = RIG_PEER_PORT + 1;
        o.conn.cc = bad[i];
        qs_conn c;
        CHECK_EQ(qs_conn_open(r->e, &o, rig_now(r), &c), QS_ERR_ARG);
        CHECK_EQ(c.v, 0);
        CHECK_EQ(set_cc(r->e, r->conn, bad[i]), QS_ERR_ARG);
    }
    check_name(r, "cubic");
    CHECK_EQ(rig_count(r, QS_COUNT_CONNS), 1);
    rig_free(r);
}

/* A living connection changes over, with its window, and goes by the new rules from there on. */
static void a_living_connection_changes(void)
{
    struct rig *r = with_ten_out(NULL, false, "mss 1000");
    third_duplicate(r, 20, 1);
    rig_in(r, 30, &(struct seg){".", 1, 0, 12001});
    struct qs_conn_info before = rig_info(r);
    CHECK_EQ(set_cc(r->e, r->conn, "newreno"), 0);
    check_name(r, "newreno");
    CHECK_EQ(rig_info(r).cwnd_octets, before.cwnd_octets);
    CHECK_EQ(rig_info(r).ssthresh_octets, before.ssthresh_octets);
    uint32_t acked = 12001;
    for (int i = 0; i < 60; i++) { /* a segment for each window */
        rig_flush(r);
        acked += MSS;
        rig_in(r, 31 + i, &(struct seg){".", 1, 0, acked});
    }
    CHECK_EQ(rig_info(r).cwnd_octets, 13 * MSS); /* 7 + 8 + 9 + 10 + 11 + 12 ACKs */
    CHECK_EQ(set_cc(r->e, r->conn, NULL), 0);
    check_name(r, "cubic");
    rig_flush(r);
    third_duplicate(r, 100, acked);
    CHECK_EQ(rig_info(r).ssthresh_octets, 13 * MSS * 7 / 10);
    qs_conn gone = r->conn;
    CHECK_EQ(qs_conn_abort(r->e, gone), 0);
    CHECK_EQ(set_cc(r->e, gone, "cubic"), QS_ERR_STALE);
    rig_free(r);
}

/* ---- what it is told ---- */

/* Segments that left now, of which the last ends at `r->ack` from then on. */
static uint32_t sent_segments(struct rig *r, double ms)
{
    uint32_t n = 0;
    rig_run(r, ms);
    for (struct frame *f; (f = rig_take(r)); n++) {
        struct wire_tcp t;
        frame_parse_tcp(f, &t);
        r->ack = t.seq - r->iss + t.len;
    }
    return n;
}

/* In congestion avoidance CUBIC grows for a window that is used, and not for one of which the
 * application uses nearly all, RFC 9438 section 5.8. Each flight is acknowledged at once, which
 * leaves nothing to see of how large it was. */
static void only_a_used_window_grows(void)
{
    for (int used = 0; used < 2; used++) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        rig_write(r, 40 * MSS);
        CHECK_EQ(sent_segments(r, 15), 10);
        third_duplicate(r, 20, 1);
        double ms = 30;
        for (r->ack = 12001; rig_info(r).unacked_bytes; ms++) {
            rig_in(r, ms, &(struct seg){".", 1, 0, r->ack});
            (void)sent_segments(r, ms);
        }
        uint32_t cwnd = rig_info(r).cwnd_octets;
        CHECK(cwnd >= 7 * MSS);
        for (int i = 0; i < 30; i++, ms += 10) {
            uint32_t before = rig_info(r).cwnd_octets / MSS;
            rig_write(r, used ? 40 * MSS : (before - 1) * MSS);
            CHECK_EQ(sent_segments(r, ms), used ? before : before - 1);
            rig_in(r, ms + 5, &(struct seg){".", 1, 0, r->ack});
        }
        if (used)
            CHECK(rig_info(r).cwnd_octets > cwnd + 4 * MSS);
        else
            CHECK_EQ(rig_info(r).cwnd_octets, cwnd);
        rig_free(r);
    }
}

/* RFC 5681 section 4.1: after an RTO in which nothing was sent, ten segments at once and no more.
 */
static void idle_restarts_the_window(void)
{
    static const struct {
        double idle_ms;
        uint32_t burst;
    } row[] = {{190, 20}, {210, 10}, {60000, 10}, {4e8, 10}};
    for (size_t i = 0; i < 8; i++) {
        struct rig *r = rig_new(NULL, false);
        r->cc = i % 2 ? "newreno" : "cubic";
        rig_establish(r, NULL);
        rig_write(r, 10 * MSS);
        rig_run(r, 15);
        rig_flush(r);
        for (uint32_t k = 1; k <= 10; k++)
            rig_in(r, 20, &(struct seg){".", 1, 0, 1 + k * MSS});
        /* the last octets left at 10 ms; the RTO is 200 ms */
        CHECK(rig_info(r).cwnd_octets >= 13 * MSS);
        uint32_t cwnd = rig_info(r).cwnd_octets;
        rig_run(r, 10 + row[i / 2].idle_ms);
        rig_write(r, 40 * MSS);
        rig_run(r, 10 + row[i / 2].idle_ms + 1);
        uint32_t burst = 0;
        while (rig_take(r))
            burst++;
        CHECK_EQ(burst, row[i / 2].burst == 10 ? 10 : cwnd / MSS);
        rig_free(r);
    }
}

/* ---- a bottleneck with a long queue ---- */

struct bulk {
    qs_conn conn;
    uint32_t left, received;
    bool done;
};

static void bulk_event(struct sim *s, int side, const struct qs_event *ev, void *ctx)
{
    static uint8_t buf[65536];
    struct bulk *b = ctx;
    qs_engine *e = sim_engine(s, side);
    int64_t n;
    if (side == 1) {
        while (ev->flags & QS_EVENT_READABLE &&
               (n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0)
            b->received += (uint32_t)n;
    } else if (ev->flags & (QS_EVENT_OPEN | QS_EVENT_WRITABLE)) {
        do {
            n = qs_conn_write(e, ev->conn, buf, b->left < sizeof buf ? b->left : sizeof buf);
            b->left -= n > 0 ? (uint32_t)n : 0;
        } while (n > 0 && b->left);
        b->done = b->left == 0;
    }
}

/* 6 MB over 10 Mbit/s and 40 ms, which hold 50 kB. @return the sender at the end. */
static struct qs_conn_info bulk(const char *cc)
{
    struct sim_opts so = {.seed = 1, .chunks_max = 4096, .rcvbuf_bytes = 2u << 20};
    so.sndbuf_bytes = so.rcvbuf_bytes;
    so.faults = (struct sim_faults){.delay_ns = 20000000, .bit_per_second = 10000000};
    struct bulk b = {.left = 6u << 20};
    struct sim *s = sim_new(&so);
    struct qs_listen_opts l;
    struct qs_open_opts o;
    sim_on_event(s, bulk_event, &b);
    qs_listen_opts_init(&l);
    l.port = 80;
    REQUIRE(qs_engine_listen(sim_engine(s, 1), &l) >= 0);
    qs_open_opts_init(&o);
    o.remote = sim_addr(s, 1);
    o.remote_port = 80;
    o.conn.cc = cc;
    REQUIRE(qs_conn_open(sim_engine(s, 0), &o, sim_now(s), &b.conn) == 0);
    REQUIRE(sim_run(s, (qs_time){sim_now(s).ns + QS_S(60).ns}, &b.done));
    struct qs_conn_info i;
    REQUIRE(qs_conn_info(sim_engine(s, 0), b.conn, &i) == 0);
    CHECK_EQ(i.retransmits, 0);
    sim_free(s);
    return i;
}

/* RFC 9406, with what timestamps tell of the RTT: the queue is seen before it overflows. */
static void a_growing_queue_ends_slow_start(void)
{
    struct qs_conn_info cubic = bulk("cubic"), reno = bulk("newreno");
    CHECK(cubic.ssthresh_octets > 50000 && cubic.ssthresh_octets < 1000000);
    CHECK(cubic.cwnd_octets < 1000000);
    CHECK_EQ(reno.ssthresh_octets, UINT32_MAX);
    CHECK(reno.cwnd_octets > 2000000);
}

int main(void)
{
    RUN(listener_and_open_choose);
    RUN(timeouts_are_told);
    RUN(each_listener_its_own);
    RUN(unknown_names_are_refused);
    RUN(a_living_connection_changes);
    RUN(only_a_used_window_grows);
    RUN(idle_restarts_the_window);
    RUN(a_growing_queue_ends_slow_start);
    return TEST_RESULT();
}
