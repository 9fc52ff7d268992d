/* SPDX-License-Identifier: Apache-2.0 */
/* User timeout of a connection: RFC 5482, local part; RFC 9293 section 3.8.3. */
#include "rig.h"

static struct rig *with_timeout(double s)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_conn_opts o;
    rig_establish(r, NULL);
    qs_conn_opts_init(&o);
    o.user_timeout = QS_MS(s * 1000);
    CHECK_EQ(qs_conn_set_opts(r->e, r->conn, &o), 0);
    return r;
}

static double now_ms(const struct rig *r)
{
    return (double)(r->now_ns - r->start_ns) / 1e6;
}

/* The connection ends at `ms` with a reset, and not before. */
static void ends_at(struct rig *r, double ms)
{
    rig_run(r, ms - 1);
    CHECK_EQ(rig_event(r), 0);
    CHECK_EQ(rig_count(r, QS_COUNT_TIMEOUTS), 0);
    rig_run(r, ms + 1);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, QS_ERR_TIMEDOUT);
    CHECK_COUNT(TIMEOUTS, 1);
    CHECK_COUNT(CONNS, 0);
    CHECK_COUNT(CHUNKS, 0);
    struct frame *f = NULL, *last = NULL;
    while ((f = rig_take(r)))
        last = f;
    REQUIRE(last);
    CHECK(frame_l4(last)[13] & 0x04); /* the peer is told */
    rig_free(r);
}

/* On time, though the retransmission timer was backed off beyond it. */
static void unacknowledged_octets(void)
{
    struct rig *r = with_timeout(7);
    rig_write(r, 100);
    OUT(10, "P.", 1, 100, 1);
    ends_at(r, 7010);
}

static void a_fin_is_data_too(void)
{
    struct rig *r = with_timeout(7);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
    OUT(10, "F.", 1, 0, 1);
    ends_at(r, 7010);
}

/* Progress begins the time anew, for what is out then. */
static void progress_begins_anew(void)
{
    struct rig *r = with_timeout(7);
    rig_write(r, 2000);
    rig_run(r, 5000);
    rig_flush(r);
    rig_in(r, 5000, &(struct seg){".", 1, 0, 1001});
    ends_at(r, 12000);
}

/* ... and its end is the end of it. */
static void nothing_out_nothing_ends(void)
{
    struct rig *r = with_timeout(7);
    rig_write(r, 100);
    rig_run(r, 5000);
    rig_flush(r);
    IN(5000, ".", 1, 0, 101);
    QUIET(3600000);
    rig_write(r, 100);
    OUT(3600000, "P.", 101, 100, 1);
    ends_at(r, 3607000);
}

/* Not before the first RTO: the timer that looks is that one. */
static void not_before_an_rto(void)
{
    struct rig *r = with_timeout(0.05);
    rig_write(r, 100);
    OUT(10, "P.", 1, 100, 1);
    ends_at(r, 210);
}

/* Octets that a shut window holds back, whether the peer is silent or answers each probe. */
static void a_shut_window(void)
{
    for (int answers = 0; answers < 2; answers++) {
        struct rig *r = with_timeout(7);
        r->wnd = 0;
        IN(3000, ".", 1, 0, 1);
        rig_write(r, 100);
        while (answers && now_ms(r) < 9000) {
            rig_run(r, now_ms(r) + 100);
            if (r->n_queue)
                rig_in(r, now_ms(r), &(struct seg){".", 1, 0, 1});
            rig_flush(r);
        }
        ends_at(r, 10000);
    }
}

/* By default the probes' answers are enough, and the engine's limit holds for silence. */
static void the_engines_has_patience(void)
{
    qs_engine_opts eo = rig_opts();
    eo.user_timeout = QS_S(7);
    struct rig *r = rig_new(&eo, false);
    rig_establish(r, NULL);
    r->wnd = 0;
    IN(20, ".", 1, 0, 1);
    rig_write(r, 100);
    while (now_ms(r) < 100000) {
        rig_run(r, now_ms(r) + 100);
        if (r->n_queue)
            rig_in(r, now_ms(r), &(struct seg){".", 1, 0, 1});
        rig_flush(r);
    }
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    rig_free(r);
}

/* The persist time of one shut window does not count for the next. */
static void two_shut_windows(void)
{
    struct rig *r = with_timeout(7);
    for (uint32_t i = 0; i < 5; i++) {
        double at = 3000 + 6000 * i;
        rig_in(r, at, &(struct seg){".", 1, 0, 1 + 100 * i, .wnd = 0});
        r->wnd = 0;
        rig_in(r, at, &(struct seg){".", 1, 0, 1 + 100 * i});
        rig_write(r, 100);
        rig_run(r, at + 5000);
        rig_flush(r);
        r->wnd = 65535;
        rig_in(r, at + 5000, &(struct seg){".", 1, 0, 1 + 100 * i});
        rig_run(r, at + 5001);
        rig_flush(r);
        rig_in(r, at + 5010, &(struct seg){".", 1, 0, 101 + 100 * i});
    }
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    CHECK_EQ(rig_info(r).unacked_bytes, 0);
    rig_free(r);
}

/* Set while the backed-off timer is far away: it is moved, and what is late already ends now. */
static void set_while_octets_are_out(void)
{
    static const double limit_s[] = {40, 20};
    for (size_t i = 0; i < 2; i++) {
        struct rig *r = with_timeout(0);
        rig_write(r, 100);
        rig_run(r, 30000); /* sent again at 0.2, 0.6 ... 12.6, 25.4, 51 s */
        rig_flush(r);
        struct qs_conn_opts o;
        qs_conn_opts_init(&o);
        o.user_timeout = QS_S(limit_s[i]);
        CHECK_EQ(qs_conn_set_opts(r->e, r->conn, &o), 0);
        ends_at(r, i ? 30000 : 40010);
    }
}

/* An ACK waits for its neighbour from 1,040 ms to `ms`; the RTO is 200 ms. */
static void neighbour_comes_at(struct rig *r, double ms)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 2};
    qs_addr peer = rig_peer(r);
    qs_engine_neigh_del(r->e, &peer);
    IN(1000, "P.", 1, 10, 1);
    QUIET(ms);
    CHECK_EQ(qs_engine_neigh_set(r->e, &peer, mac, rig_now(r)), 0);
    OUT(ms, ".", 1, 0, 11);
    QUIET(60000);
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
}

/* Nothing is out: the connection's user timeout is not meant. */
static void a_neighbour_that_comes_late(void)
{
    struct rig *r = with_timeout(0.15);
    neighbour_comes_at(r, 1300);
    rig_free(r);
}

/* The neighbour was there in time, and the timer that looked for it comes up later. */
static void a_neighbour_that_comes_in_time(void)
{
    qs_engine_opts eo = rig_opts();
    eo.user_timeout = QS_MS(150);
    struct rig *r = rig_new(&eo, false);
    rig_establish(r, NULL);
    neighbour_comes_at(r, 1180);
    rig_free(r);
}

/* That wait is over when a shut window begins another one. */
static void a_shut_window_after_that(void)
{
    struct rig *r = with_timeout(7);
    neighbour_comes_at(r, 1180);
    r->wnd = 0;
    IN(61000, ".", 11, 0, 1);
    rig_write(r, 100);
    ends_at(r, 68000);
}

int main(void)
{
    RUN(unacknowledged_octets);
    RUN(a_fin_is_data_too);
    RUN(progress_begins_anew);
    RUN(nothing_out_nothing_ends);
    RUN(not_before_an_rto);
    RUN(a_shut_window);
    RUN(the_engines_has_patience);
    RUN(two_shut_windows);
    RUN(set_while_octets_are_out);
    RUN(a_neighbour_that_comes_late);
    RUN(a_neighbour_that_comes_in_time);
    RUN(a_shut_window_after_that);
    return TEST_RESULT();
}
