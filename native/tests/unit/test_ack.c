/* SPDX-License-Identifier: Apache-2.0 */
/* Which segments are acceptable and which acknowledgements are believed: RFC 9293 section 3.10.7.4
 * first and fifth check, RFC 5961 section 5. */
#include "rig.h"

#define WND 65535u

/* The four cases of the table in RFC 9293 section 3.10.7.4, at their edges. */
static void sequence_numbers_at_the_edges_of_the_window(void)
{
    static const struct {
        uint32_t seq, len;
        uint32_t readable; /* octets that became readable */
        bool ahead, dropped;
    } row[] = {
        {1, 10, 10, false, false},
        {2, 10, 0, true, false},
        {WND, 1, 0, true, false},            /* the last octet of the window */
        {WND + 1, 1, 0, false, true},        /* the first one right of it */
        {WND, 5, 0, true, false},            /* begins inside */
        {(uint32_t)-8, 10, 1, false, false}, /* its last octet is new */
        {(uint32_t)-9, 10, 0, false, true},  /* all octets are old */
        {(uint32_t)-98, 200, 101, false, false},
        {0x80000001u, 10, 0, false, true},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = rig_new(NULL, i % 2);
        rig_establish(r, NULL);
        IN(20, ".", row[i].seq, row[i].len, 1);
        CHECK_EQ(rig_info(r).readable_bytes, row[i].readable);
        CHECK_COUNT(OUT_OF_ORDER, row[i].ahead);
        CHECK_COUNT(DROP_OUT_OF_WINDOW, row[i].dropped);
        if (row[i].ahead || row[i].dropped) /* octets sent again mean that our ACK was lost */
            OUT(20, ".", 1, 0, 1);
        QUIET(50);
        rig_free(r);
    }
}

/* Empty segments outside of the window: an ACK, but not an endless exchange of them. */
static void r40_empty_segments_outside_the_window(void)
{
    static const uint32_t seq[] = {0, (uint32_t)-5, WND + 1, 0x7fffffffu};
    for (size_t i = 0; i < sizeof seq / sizeof seq[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        IN(20, ".", seq[i], 0, 1);
        OUT(20, ".", 1, 0, 1);
        for (int ms = 21; ms < 500; ms += 5)
            IN(ms, ".", seq[i], 0, 1);
        QUIET(519);
        IN(521, ".", seq[i], 0, 1);
        OUT(521, ".", 1, 0, 1);
        rig_free(r);
    }
}

/* A keepalive probe of the peer is answered, with and without its garbage octet. */
static void r42_keepalive_probes_are_answered(void)
{
    for (uint32_t len = 0; len < 2; len++) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        for (int ms = 1000; ms < 10000; ms += 1000) {
            IN(ms, ".", 0, len, 1);
            OUT(ms, ".", 1, 0, 1);
        }
        CHECK_EQ(rig_info(r).readable_bytes, 0);
        rig_free(r);
    }
}

/* Fills the receive buffer of 4,096 octets so that the window is shut. */
static struct rig *with_shut_window(void)
{
    qs_engine_opts o = rig_opts();
    o.rcvbuf_bytes = 4096;
    struct rig *r = rig_new(&o, false);
    rig_establish(r, NULL);
    for (uint32_t seq = 1; seq < 3001; seq += 1000)
        rig_in(r, 20, &(struct seg){".", seq, 1000, 1});
    rig_flush(r);
    IN(21, "P.", 3001, 1096, 1);
    rig_run(r, 100);
    rig_flush(r);
    REQUIRE(rig_event(r) == QS_EVENT_READABLE && rig_info(r).readable_bytes == 4096);
    return r;
}

static void a_shut_window_takes_acks_and_nothing_else(void)
{
    static const struct {
        struct seg in;
        bool answered, challenged;
    } row[] = {
        {{".", 4097, 0, 1}, false, false},
        {{".", 4097, 1, 1}, true, false}, /* a window probe: answered, octet not taken */
        {{".", 4098, 0, 1}, true, true},
        {{".", 4096, 0, 1}, true, true},
        {{".", 4000, 50, 1}, true, false},
        {{"S", 4097, 0, 0}, true, true},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = with_shut_window();
        rig_in(r, 200, &row[i].in);
        if (row[i].answered) {
            OUT(200, ".", 1, 0, 4097);
            CHECK_EQ(r->last.wnd, 0);
        }
        QUIET(300);
        CHECK_COUNT(CHALLENGE_ACKS, row[i].challenged);
        CHECK_EQ(rig_info(r).readable_bytes, 4096);
        rig_free(r);
    }
}

static void a_reset_passes_a_shut_window(void)
{
    struct rig *r = with_shut_window();
    IN(200, "R", 4098, 0, 0);
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    IN(201, "R", 4097, 0, 0);
    CHECK_EQ(rig_state(r), QS_TCP_CLOSED);
    rig_free(r);
}

static void a_fin_passes_a_shut_window(void)
{
    struct rig *r = with_shut_window();
    IN(200, "F.", 4097, 0, 1);
    OUT(200, ".", 1, 0, 4098);
    CHECK_EQ(rig_event(r), QS_EVENT_EOF);
    CHECK_EQ(rig_read(r, 10000), 4096);
    CHECK_EQ(rig_read(r, 10000), QS_ERR_EOF);
    QUIET(300); /* no window update to a peer that sends no more */
    rig_free(r);
}

static void a_segment_without_ack_is_dropped(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(20, "P", 1, 10, 0);
    IN(21, "F", 1, 0, 0);
    IN(22, "", 1, 0, 0);
    CHECK_COUNT(DROP_NO_ACK, 3);
    QUIET(100);
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    CHECK_EQ(rig_info(r).readable_bytes, 0);
    rig_free(r);
}

/* RFC 5961 section 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT. */
static void r36_r40_acks_at_the_edges(void)
{
    static const struct {
        uint32_t ack;
        bool dropped;
        uint32_t unacked;
    } row[] = {
        {3001, false, 0},
        {3002, true, 1000}, /* not sent yet */
        {0x80001000u, true, 1000},
        {2002, false, 999},
        {2001, false, 1000},
        {2000, false, 1000}, /* old, harmless */
        {2001 - 65535u, false, 1000},
        {2000 - 65535u, true, 1000}, /* older than any window we had */
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        rig_write(r, 3000);
        rig_run(r, 20);
        rig_flush(r);
        IN(30, ".", 1, 0, 2001);
        IN(40, "P.", 1, 10, row[i].ack);
        CHECK_COUNT(DROP_ACK, row[i].dropped);
        CHECK_EQ(rig_info(r).unacked_bytes, row[i].unacked);
        CHECK_EQ(rig_info(r).readable_bytes, row[i].dropped ? 0 : 10);
        if (row[i].dropped)
            OUT(40, ".", 3001, 0, 1);
        CHECK_COUNT(CHALLENGE_ACKS, row[i].dropped);
        rig_free(r);
    }
}

/* An ACK that cuts a segment in the middle: the rest goes out again from there. */
static void an_ack_inside_a_segment(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 1000);
    OUT(10, "P.", 1, 1000, 1);
    IN(20, ".", 1, 0, 301);
    OUT(220, "P.", 301, 700, 1);
    IN(230, ".", 1, 0, 1001);
    QUIET(60000);
    rig_free(r);
}

/* An older segment does not move the send window: SND.WL1 and SND.WL2. */
static void old_segments_do_not_move_the_window(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 3000);
    rig_run(r, 10);
    rig_flush(r);
    IN(20, ".", 1, 0, 3001, .wnd = 500);
    IN(21, ".", 1, 0, 2001, .wnd = 9000); /* sent before, arrived after */
    rig_write(r, 2000);
    OUT(21, ".", 3001, 500, 1);
    QUIET(30);
    IN(31, ".", 1, 0, 3501, .wnd = 9000);
    OUT(31, ".", 3501, 1000, 1);
    OUT(31, "P.", 4501, 500, 1);
    rig_free(r);
}

int main(void)
{
    RUN(sequence_numbers_at_the_edges_of_the_window);
    RUN(r40_empty_segments_outside_the_window);
    RUN(r42_keepalive_probes_are_answered);
    RUN(a_shut_window_takes_acks_and_nothing_else);
    RUN(a_reset_passes_a_shut_window);
    RUN(a_fin_passes_a_shut_window);
    RUN(a_segment_without_ack_is_dropped);
    RUN(r36_r40_acks_at_the_edges);
    RUN(an_ack_inside_a_segment);
    RUN(old_segments_do_not_move_the_window);
    return TEST_RESULT();
}
