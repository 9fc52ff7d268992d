/* SPDX-License-Identifier: Apache-2.0 */
/* Opening: RFC 9293 section 3.5, passive, active and simultaneous, and everything that can be wrong
 * with it. */
#include "rig.h"

static void passive_open(void)
{
    for (int v6 = 0; v6 < 2; v6++) {
        struct rig *r = rig_new(NULL, v6);
        rig_listen(r);
        IN(0, "S", 0, 0, 0, .opts = "mss 1000");
        OUT(0, "S.", 0, 0, 1, .opts = v6 ? "mss 1440" : "mss 1460");
        CHECK_EQ(r->last.seq + r->iss, RIG_ISN);
        CHECK_EQ(rig_event(r), 0);
        IN(10, ".", 1, 0, 1);
        CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
        CHECK_EQ(r->ev.listener, 0);
        CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
        CHECK_EQ(rig_info(r).mss_octets, 1000);
        CHECK_COUNT(PASSIVE_OPENS, 1);
        QUIET(100000);
        rig_free(r);
    }
}

static void active_open(void)
{
    for (int v6 = 0; v6 < 2; v6++) {
        struct rig *r = rig_new(NULL, v6);
        rig_open(r);
        OUT(0, "S", 0, 0, 0, .opts = v6 ? "mss 1440 sok ts *:0 ws 3" : "mss 1460 sok ts *:0 ws 3");
        IN(10, "S.", 0, 0, 1, .opts = "mss 1000");
        OUT(10, ".", 1, 0, 1, .opts = "");
        CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
        CHECK_EQ(r->ev.listener, -1);
        CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
        CHECK_COUNT(ACTIVE_OPENS, 1);
        rig_free(r);
    }
}

/* Options are answered only when offered. */
static void options_are_agreed_on(void)
{
    static const struct {
        const char *in, *out;
        uint32_t mss;
    } row[] = {
        {"mss 1000", "mss 1460", 1000},
        {"mss 1000 ts 7:0", "mss 1460 ts *:7", 988},
        {"mss 1000 ws 0", "mss 1460 ws 3", 1000},
        {"mss 1000 ts 7:0 ws 14", "mss 1460 ts *:7 ws 3", 988},
        {"", "mss 1460", 536},      /* RFC 9293 section 3.7.1 */
        {"mss 0", "mss 1460", 536}, /* says nothing */
        {"mss 1", "mss 1460", 88},  /* the floor */
        {"mss 65535", "mss 1460", 1460},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_listen(r);
        IN(0, "S", 0, 0, 0, .opts = row[i].in);
        OUT(0, "S.", 0, 0, 1, .opts = row[i].out);
        IN(1, ".", 1, 0, 1, .opts = strstr(row[i].in, "ts") ? "ts 8:0" : "");
        CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
        CHECK_EQ(rig_info(r).mss_octets, row[i].mss);
        rig_free(r);
    }
}

static void data_rides_on_the_last_ack(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_RECEIVED);
    IN(10, "P.", 1, 100, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN | QS_EVENT_READABLE);
    CHECK_EQ(rig_read(r, 1000), 100);
    rig_free(r);
}

static void fin_rides_on_the_last_ack(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_RECEIVED);
    IN(10, "FP.", 1, 100, 1);
    OUT(10, ".", 1, 0, 102);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN | QS_EVENT_READABLE | QS_EVENT_EOF);
    CHECK_EQ(rig_state(r), QS_TCP_CLOSE_WAIT);
    rig_free(r);
}

/* Octets in a SYN are not taken; they come again after the handshake. */
static void r25_data_in_a_syn_comes_again(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_listen(r);
    IN(0, "S", 0, 10, 0);
    OUT(0, "S.", 0, 0, 1);
    IN(1, ".", 1, 10, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN | QS_EVENT_READABLE);
    CHECK_EQ(rig_read(r, 100), 10);
    rig_free(r);
}

static void r26_simultaneous_open(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_SENT);
    IN(10, "S", 0, 0, 0, .opts = "mss 1000");
    OUT(10, "S.", 0, 0, 1, .opts = "mss 1460");
    CHECK_EQ(rig_state(r), QS_TCP_SYN_RECEIVED);
    IN(20, "S.", 0, 0, 1, .opts = "mss 1000");
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    IN(30, "P.", 1, 10, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(rig_write(r, 20), 20);
    OUT(30, "P.", 1, 20, 11);
    rig_free(r);
}

/* The SYN comes again until syn_retries_max, at twice the time each, then the open has failed. */
static void syn_is_sent_again(void)
{
    qs_engine_opts o = rig_opts();
    o.syn_retries_max = 3;
    struct rig *r = rig_new(&o, false);
    rig_open(r);
    OUT(0, "S", 0, 0, 0);
    OUT(1000, "S", 0, 0, 0);
    OUT(3000, "S", 0, 0, 0);
    OUT(7000, "S", 0, 0, 0);
    QUIET(14999);
    CHECK_EQ(rig_event(r), 0);
    QUIET(15001);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, QS_ERR_TIMEDOUT);
    CHECK_EQ(rig_state(r), QS_TCP_CLOSED);
    CHECK_COUNT(TIMEOUTS, 1);
    CHECK_COUNT(RETRANSMITS, 3);
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

static void r46_syn_ack_is_sent_again(void)
{
    qs_engine_opts o = rig_opts();
    o.synack_retries_max = 2;
    struct rig *r = rig_new(&o, false);
    rig_to(r, QS_TCP_SYN_RECEIVED);
    OUT(1000, "S.", 0, 0, 1);
    IN(1500, "S", 0, 0, 0, .opts = "mss 1000"); /* the peer did not hear it: at once */
    OUT(1500, "S.", 0, 0, 1);
    OUT(3000, "S.", 0, 0, 1);
    QUIET(60000);
    CHECK_EQ(rig_event(r), 0); /* nobody was told of it, nobody is told of its end */
    CHECK_COUNT(CONNS, 0);
    CHECK_COUNT(TIMEOUTS, 1);
    rig_free(r);
}

static void late_ack_still_completes(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_RECEIVED);
    OUT(1000, "S.", 0, 0, 1);
    OUT(3000, "S.", 0, 0, 1);
    IN(4000, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    /* RFC 6298 section 3, Karn: no measurement from a SYN that was sent again. */
    CHECK_EQ(rig_info(r).srtt.ns, 0);
    QUIET(60000);
    rig_free(r);
}

static void bad_ack_in_syn_received(void)
{
    static const uint32_t ack[] = {0, 2, 0x80000000u, (uint32_t)-5};
    for (size_t i = 0; i < sizeof ack / sizeof ack[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_to(r, QS_TCP_SYN_RECEIVED);
        IN(10, ".", 1, 0, ack[i]);
        OUT(10, "R", ack[i], 0, 0); /* RFC 9293 section 3.10.7.4: <SEQ=SEG.ACK><CTL=RST> */
        CHECK_EQ(rig_event(r), 0);
        CHECK_COUNT(DROP_ACK, 1);
        IN(20, ".", 1, 0, 1); /* the half-open connection is not harmed */
        CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
        rig_free(r);
    }
}

static void bad_ack_in_syn_sent(void)
{
    static const uint32_t ack[] = {0, 2, 0x80000001u};
    for (size_t i = 0; i < sizeof ack / sizeof ack[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_to(r, QS_TCP_SYN_SENT);
        IN(10, "S.", 0, 0, ack[i]);
        OUT(10, "R", ack[i], 0, 0);
        IN(20, "R.", 0, 0, ack[i]); /* a reset that was not caused by our SYN: silent */
        QUIET(30);
        CHECK_COUNT(DROP_ACK, 2);
        CHECK_EQ(rig_state(r), QS_TCP_SYN_SENT);
        rig_free(r);
    }
}

static void syn_sent_ignores_what_is_no_answer(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_SENT);
    IN(10, ".", 1, 0, 1);
    IN(11, "", 1, 5, 0);
    IN(12, "F.", 1, 0, 1);
    CHECK_COUNT(DROP_FLAGS, 3);
    IN(13, "R", 1, 0, 0); /* without an ACK it may be blind */
    CHECK_COUNT(DROP_RST, 1);
    QUIET(20);
    CHECK_EQ(rig_state(r), QS_TCP_SYN_SENT);
    rig_free(r);
}

static void refused(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_SENT);
    IN(10, "R.", 0, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, QS_ERR_REFUSED);
    CHECK_COUNT(RESETS_RECEIVED, 1);
    CHECK_COUNT(CONNS, 0);
    QUIET(60000);
    rig_free(r);
}

/* RFC 9293 section 3.10.7.1 and 3.10.7.2. */
static void r25_segments_for_no_connection(void)
{
    static const struct {
        bool listening;
        struct seg in;
        const char *out;
        uint32_t seq, ack;
        enum qs_counter counter;
    } row[] = {
        {false, {"S", 5, 0, 0}, "R.", 0, 6, QS_COUNT_DROP_NO_LISTENER},
        {false, {"S", 5, 10, 0}, "R.", 0, 16, QS_COUNT_DROP_NO_LISTENER},
        {false, {"FP", 5, 10, 0}, "R.", 0, 16, QS_COUNT_DROP_NO_LISTENER},
        {false, {"", 5, 0, 0}, "R.", 0, 5, QS_COUNT_DROP_NO_LISTENER},
        {false, {".", 5, 0, 77}, "R", 77, 0, QS_COUNT_DROP_NO_LISTENER},
        {false, {"S.", 5, 0, 77}, "R", 77, 0, QS_COUNT_DROP_NO_LISTENER},
        {false, {"FP.", 5, 10, 77}, "R", 77, 0, QS_COUNT_DROP_NO_LISTENER},
        {false, {"R", 5, 0, 0}, NULL, 0, 0, QS_COUNT_DROP_RST},
        {false, {"R.", 5, 0, 77}, NULL, 0, 0, QS_COUNT_DROP_RST},
        {true, {"R", 5, 0, 0}, NULL, 0, 0, QS_COUNT_DROP_RST},
        {true, {"SR", 5, 0, 0}, NULL, 0, 0, QS_COUNT_DROP_RST},
        {true, {".", 5, 0, 77}, "R", 77, 0, QS_COUNT_DROP_NO_LISTENER},
        {true, {"S.", 5, 0, 77}, "R", 77, 0, QS_COUNT_DROP_NO_LISTENER},
        {true, {"", 5, 0, 0}, NULL, 0, 0, QS_COUNT_DROP_FLAGS},
        {true, {"F", 5, 0, 0}, NULL, 0, 0, QS_COUNT_DROP_FLAGS},
        {true, {"FS", 5, 0, 0}, NULL, 0, 0, QS_COUNT_DROP_FLAGS},
        {true, {"FPU", 5, 10, 0}, NULL, 0, 0, QS_COUNT_DROP_FLAGS},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = rig_new(NULL, i % 2);
        if (row[i].listening)
            rig_listen(r);
        rig_in(r, 1, &row[i].in);
        if (row[i].out) {
            r->last = (struct wire_tcp){0};
            /* without an ACK the RST has sequence number 0 on the wire, not in our space */
            uint32_t seq = strcmp(row[i].out, "R.") ? row[i].seq : 0u - r->iss;
            OUT(1, row[i].out, seq, 0, row[i].ack);
            CHECK_EQ(r->last.wnd, 0);
        }
        QUIET(10);
        CHECK_EQ(rig_count(r, row[i].counter), 1);
        CHECK_COUNT(RESETS_SENT, row[i].out ? 1 : 0);
        CHECK_COUNT(CONNS, 0);
        rig_free(r);
    }
}

/* ECN and reserved bits, urgent data: a SYN is a SYN. */
static void r25_odd_flags_on_a_syn_do_no_harm(void)
{
    static const char *const flags[] = {"SEW", "SU", "SPU", "SE"};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_listen(r);
        IN(0, flags[i], 0, 0, 0, .opts = "mss 1000");
        OUT(0, i == 0 ? "S.E" : "S.", 0, 0, 1);
        rig_free(r);
    }
}

static void r46_r47_backlog_bounds_what_was_not_taken(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.backlog = 2;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    uint32_t iss[3];
    for (uint16_t p = 0; p < 3; p++) { /* half-open ones are none of them */
        rig_in(r, 0, &(struct seg){.flags = "S", .peer_port = (uint16_t)(1000 + p)});
        rig_run(r, 0.1);
        iss[p] = be(frame_l4(rig_take(r)) + 4, 4);
    }
    CHECK_COUNT(DROP_BACKLOG, 0);
    for (uint16_t p = 0; p < 2; p++) {
        r->iss = iss[p];
        IN(2, ".", 1, 0, 1, .peer_port = (uint16_t)(1000 + p));
    }
    /* Full until the application was told of one: neither a SYN nor the end of a handshake. */
    IN(3, "S", 0, 0, 0, .peer_port = 1003);
    CHECK_COUNT(DROP_BACKLOG, 1);
    r->iss = iss[2];
    IN(4, "P.", 1, 10, 1, .peer_port = 1002);
    CHECK_COUNT(DROP_BACKLOG, 2);
    CHECK_COUNT(PASSIVE_OPENS, 2);
    QUIET(900);
    OUT(1000, "S.", 0, 0, 1, .peer_port = 1002);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    IN(1010, "P.", 1, 10, 1, .peer_port = 1002);
    CHECK_COUNT(PASSIVE_OPENS, 3);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN | QS_EVENT_READABLE);
    IN(1011, "S", 0, 0, 0, .peer_port = 1003);
    CHECK_COUNT(DROP_BACKLOG, 2);
    CHECK_COUNT(CONNS, 4);
    rig_free(r);
}

/* A wrong ACK is wrong, however full the backlog. */
static void a_wrong_ack_does_not_wait(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.backlog = 1;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    IN(0, "S", 0, 0, 0);
    OUT(0, "S.", 0, 0, 1);
    uint32_t iss = r->iss;
    rig_in(r, 0, &(struct seg){.flags = "S", .peer_port = 1000});
    rig_run(r, 0.1);
    r->iss = be(frame_l4(rig_take(r)) + 4, 4);
    IN(2, ".", 1, 0, 1, .peer_port = 1000);
    r->iss = iss;
    IN(3, ".", 1, 0, 2);
    OUT(3, "R", 2, 0, 0);
    CHECK_COUNT(DROP_ACK, 1);
    CHECK_COUNT(DROP_BACKLOG, 0);
    rig_free(r);
}

static void half_open_ones_end_with_their_listener(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_RECEIVED);
    CHECK_EQ(qs_engine_unlisten(r->e, 0), 0);
    CHECK_EQ(qs_engine_unlisten(r->e, 0), QS_ERR_STALE);
    CHECK_COUNT(CONNS, 0);
    QUIET(60000);
    IN(60001, "S", 0, 0, 0);
    CHECK_COUNT(DROP_NO_LISTENER, 1);
    rig_free(r);
}

static void established_ones_outlive_their_listener(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    CHECK_EQ(qs_engine_unlisten(r->e, 0), 0);
    IN(20, "P.", 1, 10, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    rig_free(r);
}

static void r47_no_block_left(void)
{
    qs_engine_opts o = rig_opts();
    o.conns_max = 2;
    struct rig *r = rig_new(&o, false);
    rig_listen(r);
    for (uint16_t p = 0; p < 3; p++)
        rig_in(r, 0, &(struct seg){.flags = "S", .peer_port = (uint16_t)(1000 + p)});
    CHECK_COUNT(DROP_NO_CONN, 1);
    CHECK_COUNT(CONNS, 2);
    struct qs_open_opts oo;
    qs_conn c;
    qs_open_opts_init(&oo);
    oo.remote = rig_peer(r);
    oo.remote_port = 1;
    CHECK_EQ(qs_conn_open(r->e, &oo, rig_now(r), &c), QS_ERR_NOMEM);
    CHECK_EQ(c.v, 0);
    rig_free(r);
}

static void reset_of_a_half_open_one_is_silent(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_RECEIVED);
    IN(10, "R", 1, 0, 0);
    CHECK_EQ(rig_event(r), 0);
    CHECK_COUNT(CONNS, 0);
    IN(20, "S", 0, 0, 0); /* its place in the backlog is free again */
    CHECK_COUNT(CONNS, 1);
    rig_free(r);
}

static void close_before_the_open_ended(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_SENT);
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    CHECK_COUNT(CONNS, 0);
    IN(10, "S.", 0, 0, 1);
    OUT(10, "R", 1, 0, 0);
    CHECK_EQ(rig_event(r), 0);
    rig_free(r);
}

/* Written and shut down before the handshake ended: sent after it. */
static void write_and_shutdown_in_syn_sent(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_SENT);
    CHECK_EQ(rig_write(r, 300), 300);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
    IN(10, "S.", 0, 0, 1, .opts = "mss 1000");
    OUT(10, "FP.", 1, 300, 1);
    CHECK_EQ(rig_state(r), QS_TCP_FIN_WAIT_1);
    rig_free(r);
}

int main(void)
{
    RUN(passive_open);
    RUN(active_open);
    RUN(options_are_agreed_on);
    RUN(data_rides_on_the_last_ack);
    RUN(fin_rides_on_the_last_ack);
    RUN(r25_data_in_a_syn_comes_again);
    RUN(r26_simultaneous_open);
    RUN(syn_is_sent_again);
    RUN(r46_syn_ack_is_sent_again);
    RUN(late_ack_still_completes);
    RUN(bad_ack_in_syn_received);
    RUN(bad_ack_in_syn_sent);
    RUN(syn_sent_ignores_what_is_no_answer);
    RUN(refused);
    RUN(r25_segments_for_no_connection);
    RUN(r25_odd_flags_on_a_syn_do_no_harm);
    RUN(r46_r47_backlog_bounds_what_was_not_taken);
    RUN(a_wrong_ack_does_not_wait);
    RUN(half_open_ones_end_with_their_listener);
    RUN(established_ones_outlive_their_listener);
    RUN(r47_no_block_left);
    RUN(reset_of_a_half_open_one_is_silent);
    RUN(close_before_the_open_ended);
    RUN(write_and_shutdown_in_syn_sent);
    return TEST_RESULT();
}
