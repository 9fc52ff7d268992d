/* SPDX-License-Identifier: Apache-2.0 */
/* The peer's window is shut: RFC 9293 section 3.8.6.1. */
#include "rig.h"

#define HOUR_MS 3600000.0

/* Everything of 1,000 octets was taken and the window is 0 from 20 ms on; 500 more are written. */
static struct rig *shut(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 1000);
    OUT(10, "P.", 1, 1000, 1);
    r->wnd = 0;
    IN(20, ".", 1, 0, 1001);
    rig_write(r, 500);
    return r;
}

static void probes_back_off(void)
{
    struct rig *r = shut();
    double at = 20, step = 200;
    for (int i = 0; i < 8; i++) {
        OUT(at + step, ".", 1001, 1, 1);
        at = (double)(r->now_ns - r->start_ns) / 1e6;
        IN(at + 1, ".", 1, 0, 1001);
        step *= 2;
    }
    CHECK_COUNT(WINDOW_PROBES, 8);
    CHECK_EQ(rig_info(r).cwnd_octets, 10000); /* a shut window is no congestion */
    rig_free(r);
}

static void an_open_window_ends_it(void)
{
    struct rig *r = shut();
    OUT(220, ".", 1001, 1, 1);
    IN(221, ".", 1, 0, 1001);
    r->wnd = 65535;
    IN(300, ".", 1, 0, 1001);
    OUT(300, "P.", 1001, 500, 1);
    IN(310, ".", 1, 0, 1501);
    QUIET(HOUR_MS);
    rig_free(r);
}

/* The update was lost: the answer to a probe says it too, with or without the probe's octet. */
static void r43_the_update_is_lost(void)
{
    for (uint32_t taken = 0; taken < 2; taken++) {
        struct rig *r = shut();
        OUT(220, ".", 1001, 1, 1);
        r->wnd = 65535;
        IN(230, ".", 1, 0, 1001 + taken);
        OUT(230, "P.", 1001 + taken, 500 - taken, 1);
        IN(240, ".", 1, 0, 1501);
        QUIET(HOUR_MS);
        CHECK_EQ(rig_info(r).unacked_bytes, 0);
        rig_free(r);
    }
}

/* The peer takes the octet of each probe and keeps the window shut. */
static void probes_octet_by_octet(void)
{
    struct rig *r = shut();
    double at = 20;
    for (uint32_t i = 0; i < 10; i++) {
        OUT(at + 200, ".", 1001 + i, 1, 1); /* progress ends the backoff */
        at = (double)(r->now_ns - r->start_ns) / 1e6;
        IN(at, ".", 1, 0, 1002 + i);
    }
    CHECK_EQ(rig_info(r).unacked_bytes, 490);
    rig_free(r);
}

/* RFC 9293 section 3.8.6.1: as long as the peer answers, the connection stays open. */
static void r43_a_peer_that_answers_lives_for_hours(void)
{
    struct rig *r = shut();
    double until = 5 * HOUR_MS;
    int probes = 0;
    while ((double)(r->now_ns - r->start_ns) / 1e6 < until) {
        rig_run(r, (double)(r->now_ns - r->start_ns) / 1e6 + 100);
        if (r->n_queue == 0)
            continue;
        rig_flush(r);
        probes++;
        rig_in(r, (double)(r->now_ns - r->start_ns) / 1e6, &(struct seg){".", 1, 0, 1001});
    }
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    CHECK(probes > 295 && probes < 320); /* one a minute: rto_max */
    r->wnd = 1000;
    IN(until + 200, ".", 1, 0, 1001);
    OUT(until + 200, "P.", 1001, 500, 1);
    rig_free(r);
}

static void a_silent_peer_is_given_up(void)
{
    struct rig *r = shut();
    rig_run(r, 700000);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, QS_ERR_TIMEDOUT);
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

/* Nobody waits for an orphan: a peer could hold its memory for ever (Sockstress). */
static void r43_an_orphan_is_given_up_though_the_peer_answers(void)
{
    struct rig *r = shut();
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    for (double at = 20; at < 700000; at += 500) {
        rig_in(r, at, &(struct seg){".", 1, 0, 1001});
        rig_flush(r);
    }
    CHECK_COUNT(CONNS, 0);
    CHECK_COUNT(CHUNKS, 0);
    rig_free(r);
}

/* Only a FIN is left: it is the probe. */
static void a_fin_probes_too(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 1000);
    OUT(10, "P.", 1, 1000, 1);
    r->wnd = 0;
    IN(20, ".", 1, 0, 1001);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
    OUT(220, "F.", 1001, 0, 1);
    IN(230, ".", 1, 0, 1002);
    CHECK_EQ(rig_state(r), QS_TCP_FIN_WAIT_2);
    rig_free(r);
}

/* RFC 9293 section 3.8.6: a peer that takes its window back while octets are out, as Linux does
 * when memory is short, must be probed all the same. */
static void r43_a_window_that_shrinks_to_nothing(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 2000);
    OUT(10, ".", 1, 1000, 1);
    OUT(10, "P.", 1001, 1000, 1);
    r->wnd = 0;
    IN(20, ".", 1, 0, 1001);
    OUT(220, ".", 1001, 1, 1);
    IN(221, ".", 1, 0, 1001);
    r->wnd = 65535;
    IN(300, ".", 1, 0, 1001);
    OUT(300, "P.", 1001, 1000, 1);
    rig_free(r);
}

/* ... and one that shrinks to less than what is out gets what fits. */
static void r43_a_window_that_shrinks(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 2000);
    rig_run(r, 10);
    rig_flush(r);
    r->wnd = 300;
    IN(20, ".", 1, 0, 1001);
    OUT(220, ".", 1001, 300, 1);
    IN(230, ".", 1, 0, 1301);
    OUT(230, ".", 1301, 300, 1);
    rig_free(r);
}

/* No tiny segments into a tiny window while more may come: RFC 9293 section 3.8.6.2.1. */
static void r44_silly_windows_are_not_filled(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 1000);
    OUT(10, "P.", 1, 1000, 1);
    rig_write(r, 3000);
    OUT(10, ".", 1001, 1000, 1);
    OUT(10, ".", 2001, 1000, 1);
    OUT(10, "P.", 3001, 1000, 1);
    rig_write(r, 3000);
    rig_flush(r);
    IN(20, ".", 1, 0, 4001, .wnd = 3010); /* ten octets of room */
    rig_write(r, 5000);
    rig_run(r, 20);
    for (struct frame *f; (f = rig_take(r));)
        CHECK_EQ(f->len, 54 + 1000);
    rig_free(r);
}

int main(void)
{
    RUN(probes_back_off);
    RUN(an_open_window_ends_it);
    RUN(r43_the_update_is_lost);
    RUN(probes_octet_by_octet);
    RUN(r43_a_peer_that_answers_lives_for_hours);
    RUN(a_silent_peer_is_given_up);
    RUN(r43_an_orphan_is_given_up_though_the_peer_answers);
    RUN(a_fin_probes_too);
    RUN(r43_a_window_that_shrinks_to_nothing);
    RUN(r43_a_window_that_shrinks);
    RUN(r44_silly_windows_are_not_filled);
    return TEST_RESULT();
}
