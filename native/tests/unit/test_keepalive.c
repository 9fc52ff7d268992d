/* SPDX-License-Identifier: Apache-2.0 */
/* Keep-alive: RFC 9293 section 3.8.4, RFC 1122 section 4.2.3.6. */
#include "rig.h"

#define HOUR_MS 3600000.0

static struct qs_conn_opts watching(void)
{
    struct qs_conn_opts o;
    qs_conn_opts_init(&o);
    o.keepalive = true;
    o.keepalive_idle = QS_S(10);
    o.keepalive_interval = QS_S(3);
    o.keepalive_count = 2;
    return o;
}

static void set(struct rig *r, const struct qs_conn_opts *o)
{
    CHECK_EQ(qs_conn_set_opts(r->e, r->conn, o), 0);
}

/* Established at 10 ms; a probe after 10 s of silence, then every 3 s, two of them. */
static struct rig *watched(enum qs_tcp_state state)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_conn_opts o = watching();
    rig_to(r, state);
    set(r, &o);
    return r;
}

static double now_ms(const struct rig *r)
{
    return (double)(r->now_ns - r->start_ns) / 1e6;
}

static void off_by_default(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    QUIET(100 * HOUR_MS);
    rig_free(r);
}

/* RFC 1122: two hours when nothing else was said; then 75 s, nine times. */
static void defaults(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_conn_opts o;
    qs_conn_opts_init(&o);
    o.keepalive = true;
    rig_establish(r, NULL);
    set(r, &o);
    for (int i = 0; i < 9; i++)
        OUT(10 + 2 * HOUR_MS + 75000 * i, ".", 0, 0, 1);
    QUIET(2 * HOUR_MS + 75000 * 9);
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    OUT(10 + 2 * HOUR_MS + 75000 * 9, "R.", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, QS_ERR_TIMEDOUT);
    rig_free(r);
}

/* SEG.SEQ = SND.NXT - 1, no octet; the end is told to the peer, in case it can hear. */
static void silence_is_probed_and_ends(void)
{
    struct rig *r = watched(QS_TCP_ESTABLISHED);
    OUT(10010, ".", 0, 0, 1);
    CHECK_COUNT(KEEPALIVE_PROBES, 1);
    OUT(13010, ".", 0, 0, 1);
    QUIET(16009);
    OUT(16010, "R.", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, QS_ERR_TIMEDOUT);
    CHECK_COUNT(KEEPALIVE_PROBES, 2);
    CHECK_COUNT(TIMEOUTS, 1);
    CHECK_COUNT(RETRANSMITS, 0);
    CHECK_COUNT(CONNS, 0);
    QUIET(HOUR_MS);
    rig_free(r);
}

/* An answer ends the count and begins the wait anew, also when it comes to the last probe. */
static void an_answer_begins_anew(void)
{
    struct rig *r = watched(QS_TCP_ESTABLISHED);
    double at = 10;
    for (int i = 0; i < 20; i++) {
        OUT(at + 10000, ".", 0, 0, 1);
        OUT(now_ms(r) + 2999.5, ".", 0, 0, 1);
        at = now_ms(r) + 500;
        IN(at, ".", 1, 0, 1);
    }
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    CHECK_COUNT(KEEPALIVE_PROBES, 40);
    rig_free(r);
}

/* Idle shorter than interval: the next probe waits for the idle time only. */
static void a_short_idle_time(void)
{
    struct rig *r = watched(QS_TCP_ESTABLISHED);
    struct qs_conn_opts o = watching();
    o.keepalive_idle = QS_S(1);
    o.keepalive_interval = QS_S(100);
    set(r, &o);
    OUT(1010, ".", 0, 0, 1);
    IN(1500, ".", 1, 0, 1);
    OUT(2500, ".", 0, 0, 1);
    QUIET(102000);
    OUT(102500, ".", 0, 0, 1);
    rig_free(r);
}

/* Whatever the peer sends that is acceptable counts, and what is not does not. */
static void traffic_puts_it_off(void)
{
    struct rig *r = watched(QS_TCP_ESTABLISHED);
    IN(5000, "P.", 1, 10, 1);
    OUT(5040, ".", 1, 0, 11);
    QUIET(14999);
    OUT(15000, ".", 0, 0, 11);
    IN(15001, ".", 11, 0, 1);
    rig_run(r, 20000);
    rig_write(r, 10);
    OUT(20000, "P.", 1, 10, 11);
    IN(20100, ".", 11, 0, 11);
    QUIET(30099);
    OUT(30100, ".", 10, 0, 11);
    IN(31000, ".", 70000, 0, 11); /* beyond the window: answered, and no proof of anything */
    OUT(31000, ".", 11, 0, 11);
    OUT(33100, ".", 10, 0, 11);
    rig_free(r);
}

/* A duplicate of an ACK that answers a cookie can make a connection whose peer has closed the real
 * one: in TIME-WAIT it answers probes with an ACK of a FIN that was never sent, and that answer
 * begins its TIME-WAIT anew. */
static void a_peer_of_another_connection_is_no_peer(void)
{
    struct rig *r = watched(QS_TCP_ESTABLISHED);
    OUT(10010, ".", 0, 0, 1);
    IN(10020, ".", 22, 0, 2);
    OUT(10020, ".", 1, 0, 1);
    CHECK_COUNT(DROP_ACK, 1);
    OUT(13010, ".", 0, 0, 1);
    IN(13020, ".", 22, 0, 2);
    OUT(13020, ".", 1, 0, 1);
    OUT(16010, "R.", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, QS_ERR_TIMEDOUT);
    rig_free(r);
}

/* RFC 9293: never while octets are out; those are sent again, by their own timer. */
static void not_with_octets_out(void)
{
    struct rig *r = watched(QS_TCP_ESTABLISHED);
    rig_write(r, 100);
    OUT(10, "P.", 1, 100, 1);
    rig_run(r, 60000);
    for (struct frame *f; (f = rig_take(r));)
        CHECK_EQ(f->len, 54 + 100);
    CHECK_COUNT(KEEPALIVE_PROBES, 0);
    IN(61000, ".", 1, 0, 101);
    QUIET(70999);
    OUT(71000, ".", 100, 0, 1);
    rig_free(r);
}

/* ... nor while a shut window holds octets back: they are probed for. */
static void not_with_a_shut_window(void)
{
    struct rig *r = watched(QS_TCP_ESTABLISHED);
    r->wnd = 0;
    IN(20, ".", 1, 0, 1);
    rig_write(r, 100);
    rig_run(r, 100000);
    CHECK_COUNT(KEEPALIVE_PROBES, 0);
    CHECK(rig_count(r, QS_COUNT_WINDOW_PROBES) > 5);
    rig_free(r);
}

/* A peer that has forgotten the connection resets it: half-open, RFC 9293 section 3.5.1. */
static void half_open(void)
{
    struct rig *r = watched(QS_TCP_ESTABLISHED);
    OUT(10010, ".", 0, 0, 1);
    IN(10020, "R", 1, 0, 0);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, QS_ERR_RESET);
    QUIET(HOUR_MS);
    rig_free(r);
}

/* An engine as such a peer, and one that still knows it. */
static void probes_of_the_peer(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_listen(r);
    r->iss = 0;
    IN(0, ".", 0, 0, 1);
    REQUIRE(rig_out(r, 0, &(struct seg){"R", 1, 0, 0}));
    rig_free(r);
    r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(1000, ".", 0, 0, 1);
    OUT(1000, ".", 1, 0, 1);
    rig_free(r);
}

static void half_closed_for_hours(void)
{
    static const enum qs_tcp_state state[] = {QS_TCP_CLOSE_WAIT, QS_TCP_FIN_WAIT_2};
    for (size_t i = 0; i < 2; i++) {
        struct rig *r = watched(state[i]);
        uint32_t probe = i ? 1 : 0, ack = r->seq;
        double at = now_ms(r);
        while (at < 50 * HOUR_MS) {
            OUT(at + 10000, ".", probe, 0, ack);
            at = now_ms(r) + 10;
            rig_in(r, at, &(struct seg){".", r->seq, 0, r->ack});
        }
        CHECK_EQ(rig_state(r), state[i]);
        OUT(at + 10000, ".", probe, 0, ack);
        at = now_ms(r);
        OUT(at + 3000, ".", probe, 0, ack);
        OUT(at + 6000, "R.", probe + 1, 0, ack);
        CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
        CHECK_EQ(r->ev.err, QS_ERR_TIMEDOUT);
        rig_free(r);
    }
}

/* The wait goes over from ESTABLISHED to FIN-WAIT-2, where t_misc had been stopped for the FIN. */
static void on_the_way_to_fin_wait_2(void)
{
    struct rig *r = watched(QS_TCP_ESTABLISHED);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
    OUT(10, "F.", 1, 0, 1);
    IN(20, ".", 1, 0, 2);
    OUT(10020, ".", 1, 0, 1);
    IN(10030, "F.", 1, 0, 2);
    OUT(10030, ".", 2, 0, 2);
    CHECK_EQ(rig_state(r), QS_TCP_TIME_WAIT);
    QUIET(70000); /* nobody is watched there */
    CHECK_EQ(rig_event(r), QS_EVENT_EOF);
    rig_run(r, 71000);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, 0);
    rig_free(r);
}

/* An orphan in FIN-WAIT-2 has fin_wait_2, 60 s. */
static void orphans_are_not_watched(void)
{
    struct rig *r = watched(QS_TCP_FIN_WAIT_2);
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    QUIET(60029);
    CHECK_COUNT(CONNS, 1);
    rig_run(r, 60100);
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

/* ... also when the answer to a probe comes after the close. */
static void a_probe_is_out_at_the_close(void)
{
    struct rig *r = watched(QS_TCP_FIN_WAIT_2);
    OUT(10030, ".", 1, 0, 1);
    rig_run(r, 11000);
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    IN(12000, ".", 1, 0, 2);
    QUIET(70000);
    CHECK_COUNT(CONNS, 1);
    rig_run(r, 71100);
    rig_flush(r);
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

/* The timer is no sign that the send buffer has room. */
static void a_write_that_was_cut_short(void)
{
    struct rig *r = watched(QS_TCP_ESTABLISHED);
    while (rig_write(r, 100000) == 100000)
        rig_flush(r);
    rig_flush(r);
    (void)rig_event(r);
    rig_run(r, 30000);
    rig_flush(r);
    CHECK_EQ(rig_event(r), 0);
    rig_free(r);
}

/* An ACK that is owed goes out instead: the peer would not look at that of a probe. */
static void an_owed_ack_is_not_lost(void)
{
    qs_engine_opts eo = rig_opts();
    eo.delayed_ack = QS_MS(500);
    struct rig *r = rig_new(&eo, false);
    struct qs_conn_opts o = watching();
    o.keepalive_idle = QS_MS(100);
    rig_establish(r, NULL);
    set(r, &o);
    IN(50, "P.", 1, 10, 1);
    OUT(150, ".", 1, 0, 11);
    IN(160, ".", 11, 0, 1);
    OUT(260, ".", 0, 0, 11);
    rig_free(r);
}

static void listener_and_open_pass_it_on(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.conn = watching();
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    IN(0, "S", 0, 0, 0);
    OUT(0, "S.", 0, 0, 1);
    IN(10, ".", 1, 0, 1);
    OUT(10010, ".", 0, 0, 1);
    rig_free(r);

    r = rig_new(NULL, false);
    struct qs_open_opts o;
    qs_open_opts_init(&o);
    o.remote = rig_peer(r);
    o.remote_port = RIG_PEER_PORT;
    o.local_port = RIG_PORT;
    o.conn = watching();
    REQUIRE(qs_conn_open(r->e, &o, rig_now(r), &r->conn) == 0);
    OUT(0, "S", 0, 0, 0);
    IN(10, "S.", 0, 0, 1);
    OUT(10, ".", 1, 0, 1);
    OUT(10010, ".", 0, 0, 1);
    rig_free(r);
}

static void switched_while_it_runs(void)
{
    struct rig *r = watched(QS_TCP_ESTABLISHED);
    struct qs_conn_opts o = watching();
    OUT(10010, ".", 0, 0, 1);
    o.keepalive = false;
    set(r, &o);
    QUIET(10 * HOUR_MS);
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    rig_flush(r); /* the engine is told the time */
    o.keepalive = true;
    set(r, &o); /* the count begins anew */
    OUT(10 * HOUR_MS + 10000, ".", 0, 0, 1);
    OUT(10 * HOUR_MS + 13000, ".", 0, 0, 1);
    rig_free(r);
}

/* What is written to another peer, which does not answer, takes all chunks that are left. */
static void fill_the_rest(struct rig *r)
{
    static const uint8_t many[8 * QS_CHUNK_BYTES];
    qs_conn first = r->conn;
    const uint16_t other = RIG_PEER_PORT + 1;
    rig_in(r, 20, &(struct seg){"S", 0, 0, 0, "mss 1000", .peer_port = other});
    rig_run(r, now_ms(r));
    struct frame *f = rig_take(r);
    struct wire_tcp t;
    REQUIRE(f);
    frame_parse_tcp(f, &t);
    rig_in(r, 20, &(struct seg){".", 1, 0, t.seq - r->iss + 1, .peer_port = other});
    REQUIRE(rig_event(r) == QS_EVENT_OPEN);
    REQUIRE(qs_conn_write(r->e, r->ev.conn, many, sizeof many) > 0);
    r->conn = first;
}

/* A write that finds no chunk borrows t_misc, again and again: probes keep their times. */
static void a_write_that_waits_for_a_chunk(void)
{
    qs_engine_opts eo = rig_opts();
    eo.chunks_max = 16;
    struct rig *r = rig_new(&eo, false);
    struct qs_conn_opts o = watching();
    rig_establish(r, NULL);
    set(r, &o);
    for (uint32_t i = 0; i < 12; i++) /* nobody reads: the pool is left with its reserve */
        rig_in(r, 20, &(struct seg){"P.", 1 + 1000 * i, 1000, 1});
    uint32_t seq = 12001;
    for (; rig_count(r, QS_COUNT_CHUNKS) < 12 && seq < 60000; seq += 1000)
        rig_in(r, 20, &(struct seg){"P.", seq, 1000, 1}), rig_flush(r);
    rig_flush(r);
    (void)rig_event(r);
    fill_the_rest(r);
    uint32_t told = 0;
    double from = 20;
    while (now_ms(r) < 20000) {
        CHECK_EQ(qs_conn_write(r->e, r->conn, "x", 1), QS_ERR_AGAIN);
        rig_run(r, now_ms(r) + 11);
        told += rig_event(r) == QS_EVENT_WRITABLE;
        if (now_ms(r) < from + 10000)
            CHECK_COUNT(KEEPALIVE_PROBES, 0);
        else if (now_ms(r) > from + 10030 && now_ms(r) < from + 12990)
            CHECK_COUNT(KEEPALIVE_PROBES, 1);
        if (rig_state(r) == QS_TCP_CLOSED)
            break;
    }
    CHECK(told > 1000);
    CHECK(now_ms(r) > from + 16000 && now_ms(r) < from + 16100);
    rig_free(r);
}

int main(void)
{
    RUN(off_by_default);
    RUN(defaults);
    RUN(silence_is_probed_and_ends);
    RUN(an_answer_begins_anew);
    RUN(a_short_idle_time);
    RUN(traffic_puts_it_off);
    RUN(a_peer_of_another_connection_is_no_peer);
    RUN(not_with_octets_out);
    RUN(not_with_a_shut_window);
    RUN(half_open);
    RUN(probes_of_the_peer);
    RUN(half_closed_for_hours);
    RUN(on_the_way_to_fin_wait_2);
    RUN(orphans_are_not_watched);
    RUN(a_probe_is_out_at_the_close);
    RUN(a_write_that_was_cut_short);
    RUN(an_owed_ack_is_not_lost);
    RUN(listener_and_open_pass_it_on);
    RUN(switched_while_it_runs);
    RUN(a_write_that_waits_for_a_chunk);
    return TEST_RESULT();
}
