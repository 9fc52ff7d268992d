/* SPDX-License-Identifier: Apache-2.0 */
/* Timestamps: what is echoed (RFC 7323 section 4.3) and what is too old (section 5). */
#include "rig.h"

static struct rig *with_ts(const char *syn_opts)
{
    struct rig *r = rig_new(NULL, false);
    rig_listen(r);
    IN(0, "S", 0, 0, 0, .opts = syn_opts);
    OUT(0, "S.", 0, 0, 1);
    return r;
}

/* On the ACK that ends the handshake. */
static struct rig *established(void)
{
    struct rig *r = with_ts("mss 1000 ts 100:0");
    IN(10, ".", 1, 0, 1, .opts = "ts 100:0");
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    return r;
}

/* Every segment carries them once they are agreed on; the clock runs about 1 a millisecond. */
static void our_clock(void)
{
    struct rig *r = established();
    rig_write(r, 10);
    OUT(10, "P.", 1, 10, 1, .opts = "ts *:100");
    unsigned first = 0, later = 0;
    sscanf(r->last.opts, "ts %u:", &first);
    OUT(210, "P.", 1, 10, 1, .opts = "ts *:100");
    sscanf(r->last.opts, "ts %u:", &later);
    CHECK(later - first >= 190 && later - first <= 200);
    IN(211, ".", 1, 0, 11, .opts = "ts 111:0");
    CHECK_EQ(rig_info(r).mss_octets, 988);
    rig_free(r);
}

/* RFC 7323 section 7.1: not the time since boot, and another one for each connection. */
static void the_clock_is_hidden(void)
{
    unsigned ts[2];
    struct rig *r = rig_new(NULL, false);
    rig_listen(r);
    for (uint16_t i = 0; i < 2; i++) {
        struct wire_tcp t;
        rig_in(r, 0, &(struct seg){"S", 0, 0, 0, "ts 1:0", .peer_port = (uint16_t)(1000 + i)});
        rig_run(r, 0);
        frame_parse_tcp(rig_take(r), &t);
        REQUIRE(sscanf(strstr(t.opts, "ts "), "ts %u:", &ts[i]) == 1);
    }
    CHECK(ts[0] != ts[1]);
    CHECK(ts[0] != (unsigned)(r->now_ns >> 20) && ts[1] != (unsigned)(r->now_ns >> 20));
    rig_free(r);
}

/* Section 3.2: not answered when not offered, and not counted in the MSS then. */
static void off_when_not_offered(void)
{
    struct rig *r = with_ts("mss 1000");
    IN(10, ".", 1, 0, 1, .opts = "ts 5:0"); /* now it is too late */
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    rig_write(r, 10);
    OUT(10, "P.", 1, 10, 1, .opts = "");
    CHECK_EQ(rig_info(r).mss_octets, 1000);
    rig_free(r);
}

static void off_when_the_answer_has_none(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_SENT);
    IN(10, "S.", 0, 0, 1, .opts = "mss 1000");
    OUT(10, ".", 1, 0, 1, .opts = "");
    rig_free(r);
}

/* Section 4.3: the echo is that of the segment which moved the ACK, (A) with delayed ACKs the
 * earliest one, (B) with a hole the last one in order, (C) when it is filled, the one that fills.
 */
static void the_echo_with_delayed_acks(void)
{
    struct rig *r = established();
    IN(20, ".", 1, 10, 1, .opts = "ts 110:0");
    IN(30, ".", 11, 10, 1, .opts = "ts 120:0");
    OUT(60, ".", 1, 0, 21, .opts = "ts *:110");
    IN(70, ".", 21, 10, 1, .opts = "ts 130:0");
    OUT(110, ".", 1, 0, 31, .opts = "ts *:130");
    rig_free(r);
}

static void the_echo_with_a_hole(void)
{
    struct rig *r = established();
    IN(20, ".", 1, 10, 1, .opts = "ts 110:0");
    OUT(60, ".", 1, 0, 11, .opts = "ts *:110");
    IN(70, ".", 21, 10, 1, .opts = "ts 120:0");
    OUT(70, ".", 1, 0, 11, .opts = "ts *:110");
    IN(80, ".", 31, 10, 1, .opts = "ts 130:0");
    OUT(80, ".", 1, 0, 11, .opts = "ts *:110");
    IN(90, ".", 11, 10, 1, .opts = "ts 140:0"); /* sent again: fills */
    OUT(90, ".", 1, 0, 41, .opts = "ts *:140");
    rig_free(r);
}

/* Section 5.3 R1: an older timestamp is an old segment, even with the right sequence number. */
static void r31_old_ones_are_dropped(void)
{
    static const struct {
        uint32_t ts;
        bool dropped;
    } row[] = {
        {200, false},
        {201, false},
        {199, true},
        {0, true},
        {200 + 0x7fffffffu, false}, /* half the circle ahead is new ... */
        {200 + 0x80000000u, true},  /* ... from there on it is old */
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = established();
        char opts[40];
        IN(20, ".", 1, 10, 1, .opts = "ts 200:0");
        OUT(60, ".", 1, 0, 11);
        snprintf(opts, sizeof opts, "ts %u:0", row[i].ts);
        IN(100, "P.", 11, 10, 1, .opts = opts);
        CHECK_COUNT(DROP_PAWS, row[i].dropped);
        CHECK_EQ(rig_info(r).readable_bytes, row[i].dropped ? 10 : 20);
        if (row[i].dropped)
            OUT(100, ".", 1, 0, 11, .opts = "ts *:200");
        rig_free(r);
    }
}

static void r31_r48_across_the_wrap_of_the_clock(void)
{
    struct rig *r = with_ts("mss 1000 ts 4294967290:0");
    IN(10, ".", 1, 0, 1, .opts = "ts 4294967291:0");
    IN(20, ".", 1, 10, 1, .opts = "ts 4294967295:0");
    OUT(60, ".", 1, 0, 11, .opts = "ts *:4294967295");
    IN(70, ".", 11, 10, 1, .opts = "ts 3:0");
    OUT(110, ".", 1, 0, 21, .opts = "ts *:3");
    IN(120, ".", 21, 10, 1, .opts = "ts 4294967294:0");
    OUT(120, ".", 1, 0, 21, .opts = "ts *:3");
    CHECK_COUNT(DROP_PAWS, 1);
    rig_free(r);
}

/* A reset is not held up by an old timestamp (RFC 7323 section 5.2). */
static void a_reset_is_not_checked(void)
{
    struct rig *r = established();
    IN(20, "R", 1, 0, 0, .opts = "ts 1:0");
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    rig_free(r);
}

/* RFC 7323 section 3.2 lets a segment without the option be taken. */
static void r31_missing_later_is_tolerated(void)
{
    struct rig *r = established();
    IN(20, "P.", 1, 10, 1);
    CHECK_EQ(rig_info(r).readable_bytes, 10);
    OUT(60, ".", 1, 0, 11, .opts = "ts *:100");
    rig_free(r);
}

/* Section 5.5: after 24 idle days a timestamp proves nothing. */
static void after_24_days_of_silence(void)
{
    const double day = 86400000.0;
    for (int valid = 0; valid < 2; valid++) {
        struct rig *r = established();
        double ms = valid ? 23 * day : 25 * day;
        IN(ms, "P.", 1, 10, 1, .opts = "ts 50:0");
        CHECK_COUNT(DROP_PAWS, valid);
        CHECK_EQ(rig_info(r).readable_bytes, valid ? 0 : 10);
        rig_free(r);
    }
}

/* What is not acceptable does not move the echo. */
static void not_from_outside_the_window(void)
{
    struct rig *r = established();
    IN(20, ".", 0x70000000u, 10, 1, .opts = "ts 999:0");
    OUT(20, ".", 1, 0, 1, .opts = "ts *:100");
    IN(30, ".", 101, 10, 1, .opts = "ts 150:0"); /* ahead of a hole: neither */
    OUT(30, ".", 1, 0, 1, .opts = "ts *:100");
    rig_free(r);
}

/* Two options in other places than usual, twice, or of a wrong length: the option counts, a wrong
 * length is not one. */
static void r31_forms_of_the_option(void)
{
    static const struct {
        const char *opts, *echo;
    } row[] = {
        {"hex 080a000000c800000000 nop nop", "ts *:200"},
        {"nop hex 080a000000c800000000 nop", "ts *:200"},
        {"hex 0809000000c8000000 nop nop nop", "ts *:100"},
        {"hex 080b000000c80000000000 nop", "ts *:100"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = established();
        IN(20, "P.", 1, 10, 1, .opts = row[i].opts);
        OUT(60, ".", 1, 0, 11, .opts = row[i].echo);
        rig_free(r);
    }
}

int main(void)
{
    RUN(our_clock);
    RUN(the_clock_is_hidden);
    RUN(off_when_not_offered);
    RUN(off_when_the_answer_has_none);
    RUN(the_echo_with_delayed_acks);
    RUN(the_echo_with_a_hole);
    RUN(r31_old_ones_are_dropped);
    RUN(r31_r48_across_the_wrap_of_the_clock);
    RUN(a_reset_is_not_checked);
    RUN(r31_missing_later_is_tolerated);
    RUN(after_24_days_of_silence);
    RUN(not_from_outside_the_window);
    RUN(r31_forms_of_the_option);
    return TEST_RESULT();
}
