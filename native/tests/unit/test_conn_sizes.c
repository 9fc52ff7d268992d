/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes that an application asks for: of a connection's buffers and of its segments. */
#include "core/engine.h"
#include "rig.h"

#define INITIAL 16384u
#define MOST 100000u
#define ENOUGH (1u << 20)

static struct rig *with_growth(uint64_t growth, bool v6)
{
    qs_engine_opts o = rig_opts();
    o.rcvbuf_initial_bytes = o.sndbuf_initial_bytes = INITIAL;
    o.rcvbuf_bytes = o.sndbuf_bytes = MOST;
    o.growth_bytes[0] = growth;
    return rig_new(&o, v6);
}

static void listen_for(struct rig *r, uint32_t rcvbuf, uint32_t sndbuf, uint16_t mss)
{
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.conn.rcvbuf_bytes = rcvbuf;
    l.conn.sndbuf_bytes = sndbuf;
    l.conn.mss_max = mss;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
}

static struct qs_conn_opts get(struct rig *r)
{
    struct qs_conn_opts o;
    qs_conn_opts_init(&o);
    CHECK_EQ(qs_conn_get_opts(r->e, r->conn, &o), 0);
    return o;
}

static void set(struct rig *r, uint32_t rcvbuf, uint32_t sndbuf, uint16_t mss)
{
    struct qs_conn_opts o = get(r);
    o.rcvbuf_bytes = rcvbuf;
    o.sndbuf_bytes = sndbuf;
    o.mss_max = mss;
    CHECK_EQ(qs_conn_set_opts(r->e, r->conn, &o), 0);
}

/* The handshake at 0 and 10 ms; the SYN-ACK is left in r->last. */
static void establish(struct rig *r, const char *opts)
{
    IN(0, "S", 0, 0, 0, .opts = opts);
    OUT(0, "S.", 0, 0, 1);
    IN(10, ".", 1, 0, 1, .opts = strstr(opts, "ts") ? "ts 6:0" : NULL);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
}

/* ---- buffers ---- */

static void a_listener_gives_them_from_the_first_segment_on(void)
{
    struct rig *r = with_growth(ENOUGH, false);
    listen_for(r, 2 * INITIAL, INITIAL / 4, 0);
    establish(r, "mss 1000 ws 7");
    CHECK_EQ(r->last.wnd, 2 * INITIAL);
    CHECK_EQ(rig_info(r).rcvbuf_bytes, 2 * INITIAL);
    CHECK_EQ(rig_info(r).sndbuf_bytes, INITIAL / 4);
    CHECK_EQ(get(r).rcvbuf_bytes, 2 * INITIAL);
    CHECK_EQ(get(r).sndbuf_bytes, INITIAL / 4);
    CHECK_EQ(r->e->grown[0], INITIAL);
    CHECK_EQ(rig_write(r, MOST), INITIAL / 4);
    rig_audit(r);
    CHECK_EQ(qs_conn_abort(r->e, r->conn), 0);
    CHECK_EQ(r->e->grown[0], 0);
    rig_free(r);
}

static void so_does_an_active_open(void)
{
    struct rig *r = with_growth(ENOUGH, false);
    struct qs_open_opts o;
    qs_open_opts_init(&o);
    o.remote = rig_peer(r);
    o.remote_port = RIG_PEER_PORT;
    o.local_port = RIG_PORT;
    o.conn.rcvbuf_bytes = INITIAL / 2;
    o.conn.mss_max = 700;
    CHECK_EQ(qs_conn_open(r->e, &o, rig_now(r), &r->conn), 0);
    OUT(0, "S", 0, 0, 0, .wnd = INITIAL / 2, .opts = "mss 700 sok ts *:0 ws 1");
    IN(10, "S.", 0, 0, 1, .opts = "mss 1460");
    OUT(10, ".", 1, 0, 1);
    CHECK_EQ(rig_write(r, 1400), 1400);
    OUT(10, ".", 1, 700, 1);
    OUT(10, "P.", 701, 700, 1);
    rig_free(r);
}

/* Up to the next that there is: initial, halved or doubled, and the most. */
static void what_becomes_of_a_size(void)
{
    static const uint32_t size[][2] = {
        {1, 2048},      {2048, 2048},   {2049, 4096},  {INITIAL, INITIAL},
        {20000, 32768}, {65536, 65536}, {65537, MOST}, {MOST, MOST},
    };
    for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
        struct rig *r = with_growth(ENOUGH, false);
        listen_for(r, size[i][0], size[i][0], 0);
        establish(r, "mss 1000 ws 7");
        CHECK_EQ(get(r).rcvbuf_bytes, size[i][1]);
        CHECK_EQ(get(r).sndbuf_bytes, size[i][1]);
        rig_free(r);
    }
}

/* All that the window lets in is read in each round trip, all that is acknowledged is written. */
static void fill(struct rig *r, double from_ms)
{
    for (uint32_t i = 0; i < 12; i++) {
        const struct qs_block *c = qs_block_of(r->e, r->conn);
        rig_run(r, from_ms + 10 * i);
        rig_write(r, MOST);
        rig_run(r, from_ms + 10 * i);
        rig_flush(r);
        uint32_t window = qs_seq_span(c->rcv_nxt, c->rcv_adv);
        for (uint32_t n = window / 1000; n > 0; n--, r->seq += 1000)
            rig_in(r, from_ms + 10 * i + 10,
                   &(struct seg){".", r->seq, 1000, qs_seq_span((qs_seq){r->iss}, c->snd_max)});
        rig_flush(r);
        CHECK(rig_read(r, MOST) > 0);
        rig_audit(r);
    }
}

static void what_was_asked_for_does_not_grow(void)
{
    struct rig *r = with_growth(ENOUGH, false);
    listen_for(r, INITIAL, INITIAL, 0);
    establish(r, "mss 1000 ws 7");
    r->seq = 1;
    fill(r, 20);
    CHECK_EQ(rig_info(r).rcvbuf_bytes, INITIAL);
    CHECK_EQ(rig_info(r).sndbuf_bytes, INITIAL);
    set(r, 0, 0, 0); /* and from now on as others do */
    fill(r, 200);
    CHECK_EQ(rig_info(r).rcvbuf_bytes, MOST);
    CHECK(rig_info(r).sndbuf_bytes > INITIAL);
    CHECK_EQ(get(r).rcvbuf_bytes, 0);
    CHECK_EQ(get(r).sndbuf_bytes, 0);
    rig_free(r);
}

static void no_more_than_the_class_may_grow_by(void)
{
    struct rig *r = with_growth(INITIAL, false);
    listen_for(r, 2 * INITIAL, 2 * INITIAL, 0);
    establish(r, "mss 1000 ws 7");
    CHECK_EQ(rig_info(r).rcvbuf_bytes, 2 * INITIAL);
    CHECK_EQ(rig_info(r).sndbuf_bytes, INITIAL);
    CHECK_EQ(get(r).sndbuf_bytes, INITIAL); /* what it has got */
    CHECK_COUNT(BUFFERS_NOT_GROWN, 1);
    set(r, MOST, 0, 0);
    CHECK_EQ(rig_info(r).rcvbuf_bytes, 2 * INITIAL);
    CHECK_COUNT(BUFFERS_NOT_GROWN, 2);
    rig_free(r);
}

/* A small one costs its class nothing, and lets nobody else have more. */
static void below_the_initial_size_nothing_is_saved(void)
{
    struct rig *r = with_growth(INITIAL, false);
    listen_for(r, 2048, 2048, 0);
    establish(r, "mss 1000 ws 7");
    CHECK_EQ(r->e->grown[0], 0);
    set(r, 2 * INITIAL, INITIAL, 0);
    CHECK_EQ(rig_info(r).rcvbuf_bytes, 2 * INITIAL);
    CHECK_EQ(rig_info(r).sndbuf_bytes, INITIAL);
    CHECK_EQ(r->e->grown[0], INITIAL);
    rig_free(r);
}

static void a_living_one_gets_more_at_once(void)
{
    struct rig *r = with_growth(ENOUGH, false);
    listen_for(r, INITIAL, INITIAL, 0);
    establish(r, "mss 1000 ws 7");
    CHECK_EQ(rig_write(r, MOST), INITIAL);
    for (uint32_t i = 0; i < INITIAL / 1000; i++)
        rig_in(r, 20, &(struct seg){".", 1 + 1000 * i, 1000, 1});
    rig_run(r, 20);
    rig_flush(r);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    set(r, MOST, 2 * INITIAL, 0);
    CHECK_EQ(rig_event(r), QS_EVENT_WRITABLE);
    CHECK_EQ(rig_write(r, MOST), INITIAL);
    OUT(20, ".", 10001, 0, 16001, .wnd = (MOST - 16000) >> 1); /* cwnd is used up */
    rig_free(r);
}

static void a_living_one_keeps_what_it_promised(void)
{
    struct rig *r = with_growth(ENOUGH, false);
    listen_for(r, 0, 0, 0);
    establish(r, "mss 1000 ws 7");
    CHECK_EQ(rig_write(r, INITIAL), INITIAL);
    set(r, 2048, 2048, 0);
    CHECK_EQ(rig_info(r).rcvbuf_bytes, INITIAL);
    CHECK_EQ(rig_info(r).sndbuf_bytes, INITIAL);
    r->seq = 1;
    fill(r, 20);
    CHECK_EQ(get(r).rcvbuf_bytes, INITIAL); /* but grows no more */
    rig_free(r);
}

static void in_time_wait_nothing_is_taken(void)
{
    struct rig *r = with_growth(ENOUGH, false);
    rig_to(r, QS_TCP_TIME_WAIT);
    set(r, MOST, MOST, 0);
    CHECK_EQ(r->e->grown[0], 0);
    rig_audit(r);
    rig_free(r);
}

/* The SYN-ACK of a cookie promises no more than the connection will have. */
static void a_cookie_promises_what_there_will_be(void)
{
    struct rig *r = with_growth(0, false);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.half_open_max = 1;
    l.conn.rcvbuf_bytes = 4096;
    l.conn.mss_max = 600;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    IN(0, "S", 0, 0, 0, .opts = "mss 1000", .peer_port = 1); /* the only place */
    rig_run(r, 0);
    rig_flush(r);
    IN(1, "S", 0, 0, 0, .opts = "mss 1460");
    rig_run(r, 1);
    struct wire_tcp t;
    frame_parse_tcp(rig_take(r), &t);
    CHECK_COUNT(SYN_COOKIES_SENT, 1);
    CHECK(strcmp(t.opts, "mss 600") == 0);
    CHECK_EQ(t.wnd, 4096);
    r->iss = t.seq;
    IN(2, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    CHECK_EQ(rig_info(r).rcvbuf_bytes, 4096);
    CHECK_EQ(rig_info(r).mss_octets, 600);
    rig_audit(r);
    rig_free(r);
}

/* ---- segments ---- */

static void a_limit_is_announced_and_kept(void)
{
    static const struct {
        const char *opts;
        uint16_t limit, announced, used;
    } row[] = {
        {"mss 1460", 0, 1440, 1440},
        {"mss 1460", 500, 500, 500},
        {"mss 400", 500, 500, 400}, /* the peer wants less */
        {"mss 1460", 65535, 1440, 1440},
        {"mss 1460 ts 5:0", 500, 500, 488}, /* options count for what is sent */
        {"mss 1460 ts 5:0", 88, 88, 76},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = with_growth(0, true);
        struct qs_tcp_info t;
        listen_for(r, 0, 0, row[i].limit);
        establish(r, row[i].opts);
        CHECK_EQ(strtoul(r->last.opts + strlen("mss "), NULL, 10), row[i].announced);
        CHECK_EQ(rig_info(r).mss_octets, row[i].used);
        CHECK_EQ(get(r).mss_max, row[i].limit);
        CHECK_EQ(qs_conn_tcp_info(r->e, r->conn, &t), 0);
        CHECK_EQ(t.tcpi_advmss, row[i].announced);
        CHECK_EQ(rig_write(r, 2000), 2000);
        OUT(10, ".", 1, row[i].used, 1);
        rig_free(r);
    }
}

static void it_makes_segments_of_a_living_one_smaller(void)
{
    struct rig *r = with_growth(0, false);
    listen_for(r, 0, 0, 0);
    establish(r, "mss 1000");
    CHECK_EQ(rig_write(r, 2000), 2000);
    OUT(10, ".", 1, 1000, 1);
    OUT(10, "P.", 1001, 1000, 1);
    set(r, 0, 0, 600);
    QUIET(30); /* what is out is out */
    IN(30, ".", 1, 0, 2001);
    CHECK_EQ(rig_write(r, 1500), 1500);
    OUT(30, ".", 2001, 600, 1);
    OUT(30, ".", 2601, 600, 1);
    OUT(30, "P.", 3201, 300, 1);
    IN(40, ".", 1, 0, 3501);
    set(r, 0, 0, 0); /* the peer's own MSS is forgotten */
    CHECK_EQ(rig_info(r).mss_octets, 600);
    CHECK_EQ(get(r).mss_max, 0);
    set(r, 0, 0, 88);
    CHECK_EQ(rig_info(r).mss_octets, 88);
    rig_free(r);
}

/* Lost in large segments, sent again in small ones. */
static void what_is_lost_is_sent_again_in_small_ones(void)
{
    for (int sack = 0; sack < 2; sack++) {
        struct rig *r = with_growth(0, false);
        listen_for(r, 0, 0, 0);
        establish(r, sack ? "mss 1000 sok" : "mss 1000");
        CHECK_EQ(rig_write(r, 8000), 8000);
        rig_run(r, 10);
        rig_flush(r);
        set(r, 0, 0, 400);
        static const char *const told[] = {"sack 1001-4001", "sack 1001-5001", "sack 1001-8001"};
        for (int i = 0; i < 3; i++)
            rig_in(r, 20 + i, &(struct seg){".", 1, 0, 1, .opts = sack ? told[i] : NULL});
        rig_run(r, 22);
        struct wire_tcp t;
        frame_parse_tcp(rig_take(r), &t);
        CHECK_EQ(t.seq - r->iss, 1);
        CHECK_EQ(t.len, 400);
        rig_run(r, 400); /* the rest by recovery or by the timer */
        rig_flush(r);
        rig_in(r, 400, &(struct seg){".", 1, 0, 8001});
        rig_audit(r);
        CHECK_EQ(rig_info(r).unacked_bytes, 0);
        rig_free(r);
    }
}

/* Neither a probe that is out nor a later one leads above it. */
static void the_search_for_the_path_mtu_stays_below(void)
{
    struct rig *r = with_growth(0, false);
    listen_for(r, 0, 0, 0);
    establish(r, "mss 1460");
    CHECK_EQ(rig_write(r, 1460), 1460);
    OUT(10, "P.", 1, 1460, 1);
    rig_too_big(r, 30, 1000, 1, 1460);
    OUT(30, ".", 1, 960, 1);
    OUT(30, "P.", 961, 500, 1);
    IN(40, ".", 1, 0, 1461);
    CHECK_EQ(rig_info(r).mss_octets, 960);
    set(r, 0, 0, 1200);
    CHECK_EQ(rig_info(r).mss_octets, 960);
    rig_run(r, 700000); /* RFC 1191 section 6.3: time to look again */
    CHECK_EQ(rig_write(r, 9000), 9000);
    rig_run(r, 700000);
    uint32_t largest = 0, end = 1461;
    struct frame *f;
    while ((f = rig_take(r))) {
        struct wire_tcp t;
        frame_parse_tcp(f, &t);
        if (t.len > largest)
            largest = t.len;
        end += t.len;
    }
    CHECK_EQ(largest, 1200); /* the probe */
    set(r, 0, 0, 1100);
    rig_in(r, 700010, &(struct seg){".", 1, 0, end});
    CHECK_EQ(rig_info(r).mss_octets, 960); /* it got there, but is not wanted any more */
    rig_audit(r);
    rig_free(r);
}

int main(void)
{
    RUN(a_listener_gives_them_from_the_first_segment_on);
    RUN(so_does_an_active_open);
    RUN(what_becomes_of_a_size);
    RUN(what_was_asked_for_does_not_grow);
    RUN(no_more_than_the_class_may_grow_by);
    RUN(below_the_initial_size_nothing_is_saved);
    RUN(a_living_one_gets_more_at_once);
    RUN(a_living_one_keeps_what_it_promised);
    RUN(in_time_wait_nothing_is_taken);
    RUN(a_cookie_promises_what_there_will_be);
    RUN(a_limit_is_announced_and_kept);
    RUN(it_makes_segments_of_a_living_one_smaller);
    RUN(what_is_lost_is_sent_again_in_small_ones);
    RUN(the_search_for_the_path_mtu_stays_below);
    return TEST_RESULT();
}
