/* SPDX-License-Identifier: Apache-2.0 */
/* Closing: RFC 9293 section 3.6, in all orders, with and without the application. */
#include "rig.h"

#define HOUR_MS 3600000.0

static void this_side_first(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 500);
    OUT(10, "P.", 1, 500, 1);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
    OUT(10, "F.", 501, 0, 1);
    CHECK_EQ(rig_state(r), QS_TCP_FIN_WAIT_1);
    IN(20, ".", 1, 0, 502);
    CHECK_EQ(rig_state(r), QS_TCP_FIN_WAIT_2);
    IN(30, "F.", 1, 0, 502);
    OUT(30, ".", 502, 0, 2);
    CHECK_EQ(rig_state(r), QS_TCP_TIME_WAIT);
    CHECK_EQ(rig_event(r), QS_EVENT_EOF);
    QUIET(60029);
    CHECK_EQ(rig_event(r), 0);
    QUIET(60031);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, 0);
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

static void the_peer_first(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_CLOSE_WAIT);
    CHECK_EQ(rig_write(r, 500), 500); /* half-closed: we may still send */
    OUT(20, "P.", 1, 500, 2);
    IN(30, ".", 2, 0, 501);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
    OUT(30, "F.", 501, 0, 2);
    CHECK_EQ(rig_state(r), QS_TCP_LAST_ACK);
    IN(40, ".", 2, 0, 502);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, 0);
    CHECK_COUNT(CONNS, 0);
    QUIET(HOUR_MS);
    rig_free(r);
}

static void r41_both_at_once(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_CLOSING);
    IN(50, ".", 2, 0, 2);
    CHECK_EQ(rig_state(r), QS_TCP_TIME_WAIT);
    QUIET(60049);
    CHECK_EQ(rig_state(r), QS_TCP_TIME_WAIT);
    QUIET(60051);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    rig_free(r);
}

/* The peer's FIN acknowledges ours: FIN-WAIT-1 to TIME-WAIT in one step. */
static void fin_with_the_ack_of_ours(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_FIN_WAIT_1);
    IN(30, "F.", 1, 0, 2);
    OUT(30, ".", 2, 0, 2);
    CHECK_EQ(rig_state(r), QS_TCP_TIME_WAIT);
    rig_free(r);
}

/* The other side may go on for hours after our FIN. */
static void r41_half_closed_for_hours(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_FIN_WAIT_2);
    for (uint32_t i = 0; i < 5; i++) {
        IN((i + 1) * HOUR_MS, "P.", 1 + i * 100, 100, 2);
        OUT((i + 1) * HOUR_MS + 40, ".", 2, 0, 101 + i * 100);
        CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
        CHECK_EQ(rig_read(r, 1000), 100);
    }
    IN(6 * HOUR_MS, "F.", 501, 0, 2);
    OUT(6 * HOUR_MS, ".", 2, 0, 502);
    rig_free(r);

    r = rig_new(NULL, false);
    rig_to(r, QS_TCP_CLOSE_WAIT);
    for (uint32_t i = 0; i < 5; i++) {
        QUIET((i + 1) * HOUR_MS);
        rig_write(r, 100);
        OUT((i + 1) * HOUR_MS, "P.", 1 + i * 100, 100, 2);
        IN((i + 1) * HOUR_MS + 1, ".", 2, 0, 101 + i * 100);
    }
    rig_free(r);
}

static void no_write_after_shutdown(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_FIN_WAIT_1);
    CHECK_EQ(qs_conn_write(r->e, r->conn, "x", 1), QS_ERR_CLOSED);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0); /* twice does no harm */
    QUIET(50);
    CHECK_EQ(rig_info(r).writable_bytes, 0);
    rig_free(r);
}

static void fin_is_sent_again(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_FIN_WAIT_1);
    OUT(220, "F.", 1, 0, 1);
    OUT(620, "F.", 1, 0, 1);
    IN(700, ".", 1, 0, 2);
    QUIET(HOUR_MS); /* the application still holds it: FIN-WAIT-2 has no end */
    CHECK_EQ(rig_state(r), QS_TCP_FIN_WAIT_2);
    CHECK_COUNT(RETRANSMITS, 2);
    rig_free(r);
}

static void fin_is_sent_again_with_its_data(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 300);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
    OUT(10, "FP.", 1, 300, 1);
    OUT(210, "FP.", 1, 300, 1);
    IN(220, ".", 1, 0, 301); /* all but the FIN */
    OUT(420, "F.", 301, 0, 1);
    IN(430, ".", 1, 0, 302);
    CHECK_EQ(rig_state(r), QS_TCP_FIN_WAIT_2);
    rig_free(r);
}

/* LAST-ACK with 100 octets that nobody has read, acknowledged at 40 ms. */
static struct rig *ended_with_unread_octets(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(20, "FP.", 1, 100, 1);
    OUT(20, ".", 1, 0, 102);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE | QS_EVENT_EOF);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
    OUT(20, "F.", 1, 0, 102);
    IN(40, ".", 102, 0, 2);
    rig_run(r, 40);
    rig_audit(r);
    return r;
}

static void what_was_received_in_order_is_read_after_the_end(void)
{
    struct rig *r = ended_with_unread_octets();
    CHECK_EQ(rig_event(r), 0);
    CHECK_EQ(rig_info(r).readable_bytes, 100);
    CHECK_EQ(qs_conn_write(r->e, r->conn, "x", 1), QS_ERR_CLOSED);
    CHECK_EQ(rig_read(r, 60), 60);
    rig_audit(r);
    CHECK_EQ(rig_event(r), 0);
    CHECK_EQ(rig_read(r, 60), 40);
    CHECK_EQ(rig_read(r, 60), QS_ERR_EOF);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, 0);
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

static void or_given_up(void)
{
    struct rig *r = ended_with_unread_octets();
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    CHECK_COUNT(CONNS, 0);
    QUIET(HOUR_MS); /* no reset: the peer's connection has ended in order */
    rig_free(r);
}

/* It does not stand in the way of the next one from there. */
static void its_tuple_is_free(void)
{
    struct rig *r = ended_with_unread_octets();
    rig_in(r, 50, &(struct seg){"S", 100000, 0, 0, "mss 1000"});
    rig_run(r, 50);
    struct wire_tcp t;
    frame_parse_tcp(rig_take(r), &t);
    CHECK(strcmp(t.flags, "S.") == 0);
    CHECK_EQ(rig_read(r, 100), 100);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    rig_free(r);
}

static void r39_close_with_unread_octets_resets(void)
{
    for (int ahead = 0; ahead < 2; ahead++) { /* readable, or waiting behind a hole */
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        IN(20, "P.", ahead ? 5 : 1, 10, 1);
        rig_flush(r);
        CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
        OUT(20, "R.", 1, 0, ahead ? 1 : 11);
        CHECK_COUNT(CONNS, 0);
        CHECK_EQ(rig_event(r), 0);
        QUIET(1000);
        rig_free(r);
    }
}

static void payload_after_close_is_answered_with_reset(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    OUT(10, "F.", 1, 0, 1);
    IN(20, "P.", 1, 10, 2);
    OUT(20, "R.", 2, 0, 1);
    CHECK_COUNT(DROP_AFTER_CLOSE, 1);
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

static void close_delivers_what_was_written(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 25000);
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    uint32_t next = 1;
    for (int round = 0; round < 10 && rig_count(r, QS_COUNT_CONNS); round++) {
        rig_flush(r);
        next = next + 10000 < 25002 ? next + 10000 : 25002;
        rig_in(r, 20 + round, &(struct seg){next == 25002 ? "F." : ".", 1, 0, next});
        if (next == 25002)
            break;
    }
    CHECK_COUNT(RETRANSMITS, 0);
    rig_run(r, 61000);
    CHECK_COUNT(CONNS, 0);
    CHECK_COUNT(CHUNKS, 0);
    rig_free(r);
}

static void abort_resets_at_once(void)
{
    static const enum qs_tcp_state state[] = {QS_TCP_ESTABLISHED, QS_TCP_FIN_WAIT_1,
                                              QS_TCP_FIN_WAIT_2,  QS_TCP_CLOSE_WAIT,
                                              QS_TCP_CLOSING,     QS_TCP_LAST_ACK};
    for (size_t i = 0; i < sizeof state / sizeof state[0]; i++) {
        struct rig *r = rig_new(NULL, i % 2);
        rig_to(r, state[i]);
        bool fin_out = state[i] != QS_TCP_ESTABLISHED && state[i] != QS_TCP_CLOSE_WAIT;
        rig_run(r, 100);
        CHECK_EQ(qs_conn_abort(r->e, r->conn), 0);
        OUT(100, "R.", fin_out ? 2 : 1, 0, r->seq);
        CHECK_COUNT(CONNS, 0);
        CHECK_EQ(rig_event(r), 0);
        CHECK_EQ(qs_conn_abort(r->e, r->conn), QS_ERR_STALE);
        QUIET(1000);
        rig_free(r);
    }
}

/* Nothing of what waits is delivered, as with SO_LINGER and a time of 0. */
static void abort_leaves_nothing_behind(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    r->wnd = 2000;
    IN(20, "P.", 1, 500, 1);
    IN(21, ".", 1001, 500, 1); /* ahead of a hole */
    OUT(21, ".", 1, 0, 501);
    rig_write(r, 5000); /* two segments leave, the rest waits */
    OUT(21, ".", 1, 1000, 501);
    OUT(21, ".", 1001, 1000, 501);
    CHECK_EQ(qs_conn_abort(r->e, r->conn), 0);
    OUT(21, "R.", 2001, 0, 501);
    QUIET(100000);
    CHECK_COUNT(CONNS, 0);
    CHECK_COUNT(CHUNKS, 0);
    rig_free(r);
}

static void abort_is_silent_where_nobody_waits(void)
{
    static const enum qs_tcp_state state[] = {QS_TCP_SYN_SENT, QS_TCP_TIME_WAIT};
    for (size_t i = 0; i < 2; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_to(r, state[i]);
        CHECK_EQ(qs_conn_abort(r->e, r->conn), 0);
        QUIET(1000);
        CHECK_COUNT(CONNS, 0);
        rig_free(r);
    }
}

/* Octets behind the peer's FIN do not exist. */
static void r39_payload_behind_a_fin_is_not_taken(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_CLOSE_WAIT);
    IN(30, "P.", 2, 50, 1);
    QUIET(100);
    CHECK_EQ(rig_info(r).readable_bytes, 0);
    CHECK_EQ(rig_read(r, 100), QS_ERR_EOF);
    rig_free(r);
}

static void r39_fin_twice_is_one_eof(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_CLOSE_WAIT);
    IN(30, "F.", 1, 0, 1);
    OUT(30, ".", 1, 0, 2);
    CHECK_EQ(rig_event(r), 0);
    CHECK_EQ(rig_state(r), QS_TCP_CLOSE_WAIT);
    rig_free(r);
}

/* An orphan in FIN-WAIT-2 does not live for ever; one that the application holds does. */
static void r41_orphan_in_fin_wait_2_ends(void)
{
    for (int late = 0; late < 2; late++) { /* closed before or after the ACK of our FIN */
        struct rig *r = rig_new(NULL, false);
        rig_to(r, late ? QS_TCP_FIN_WAIT_2 : QS_TCP_ESTABLISHED);
        CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
        if (!late) {
            OUT(10, "F.", 1, 0, 1);
            IN(30, ".", 1, 0, 2);
        }
        QUIET(60029);
        CHECK_COUNT(CONNS, 1);
        QUIET(60031);
        CHECK_COUNT(CONNS, 0);
        rig_free(r);
    }
}

static void orphan_gives_up_after_user_timeout(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 100);
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    rig_run(r, 400000);
    CHECK_COUNT(CONNS, 0);
    CHECK_COUNT(CHUNKS, 0);
    CHECK_COUNT(TIMEOUTS, 1);
    CHECK_EQ(rig_event(r), 0);
    rig_free(r);
}

int main(void)
{
    RUN(this_side_first);
    RUN(the_peer_first);
    RUN(r41_both_at_once);
    RUN(fin_with_the_ack_of_ours);
    RUN(r41_half_closed_for_hours);
    RUN(no_write_after_shutdown);
    RUN(fin_is_sent_again);
    RUN(fin_is_sent_again_with_its_data);
    RUN(what_was_received_in_order_is_read_after_the_end);
    RUN(or_given_up);
    RUN(its_tuple_is_free);
    RUN(r39_close_with_unread_octets_resets);
    RUN(payload_after_close_is_answered_with_reset);
    RUN(close_delivers_what_was_written);
    RUN(abort_resets_at_once);
    RUN(abort_leaves_nothing_behind);
    RUN(abort_is_silent_where_nobody_waits);
    RUN(r39_payload_behind_a_fin_is_not_taken);
    RUN(r39_fin_twice_is_one_eof);
    RUN(r41_orphan_in_fin_wait_2_ends);
    RUN(orphan_gives_up_after_user_timeout);
    return TEST_RESULT();
}
