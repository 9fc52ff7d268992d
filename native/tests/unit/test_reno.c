/* SPDX-License-Identifier: Apache-2.0 */
/* A sender without SACK on a path that reorders: what was for nothing is undone and learned from
 * (RFC 3522), a hole is given time (RFC 8985 section 6.2), duplicates keep octets flowing. */
#include "rig.h"

#define MSS 1000u
#define TS_SYN "mss 1012 ts 5:0" /* 1,000 octets of payload */
#define PLAIN_SYN "mss 1000"

/* RTT 10 ms; ten segments (RFC 6928) out since 10 ms, with `octets` written. */
static struct rig *with_ten_out(const char *syn_opts, uint32_t octets)
{
    struct rig *r = rig_new(NULL, false);
    r->cc = "newreno";
    rig_establish(r, syn_opts);
    rig_write(r, octets);
    rig_run(r, 10);
    return r;
}

/* Timestamp of ours in the last segment that OUT() took. */
static uint32_t last_ts(const struct rig *r)
{
    const char *ts = strstr(r->last.opts, "ts ");
    REQUIRE(ts);
    return (uint32_t)strtoul(ts + 3, NULL, 10);
}

static void ack(struct rig *r, double ms, uint32_t n, uint32_t echo)
{
    char opts[40];
    snprintf(opts, sizeof opts, "ts 6:%u", echo);
    rig_in(r, ms, &(struct seg){".", 1, 0, n, .opts = opts});
}

/* `n` duplicates at `ms`; what they let out is not looked at. */
static void duplicates(struct rig *r, double ms, int n, uint32_t una, uint32_t echo)
{
    while (n-- > 0) {
        ack(r, ms, una, echo);
        rig_flush(r);
    }
}

/* A first recovery that was for nothing, from 20 to 22 ms; 10001 is acknowledged then, and twelve
 * segments are out from there. @return a timestamp of ours from before. */
static uint32_t learn(struct rig *r)
{
    OUT(10, ".", 1, MSS, 1);
    uint32_t original = last_ts(r);
    rig_flush(r);
    duplicates(r, 20, 3, 1, original);
    CHECK_COUNT(RETRANSMITS, 1);
    CHECK_EQ(rig_info(r).ssthresh_octets, 5 * MSS);
    ack(r, 22, 10001, original);
    CHECK_COUNT(LOSSES_UNDONE, 1);
    rig_run(r, 22);
    rig_flush(r);
    return original;
}

static void a_recovery_for_nothing_is_undone(void)
{
    struct rig *r = rig_new(NULL, false);
    r->cc = "newreno";
    rig_establish(r, TS_SYN);
    rig_write(r, 100 * MSS);
    (void)learn(r);
    CHECK_EQ(rig_info(r).cwnd_octets, 12 * MSS); /* and slow start goes on */
    CHECK(rig_info(r).ssthresh_octets > 1u << 30);
    CHECK_COUNT(RETRANSMITS, 1);
    rig_free(r);
}

static void one_that_was_right_is_not(void)
{
    struct rig *r = with_ten_out(TS_SYN, 100 * MSS);
    OUT(10, ".", 1, MSS, 1);
    uint32_t original = last_ts(r);
    rig_flush(r);
    duplicates(r, 20, 2, 1, original);
    ack(r, 20, 1, original);
    OUT(20, "P.", 1, MSS, 1);
    ack(r, 30, 12001, last_ts(r));
    CHECK_COUNT(LOSSES_UNDONE, 0);
    CHECK_EQ(rig_info(r).cwnd_octets, 5 * MSS);
    rig_free(r);
}

/* Without timestamps an answer within half of a round trip is one to the original. */
static void without_timestamps_time_tells(void)
{
    for (int late = 0; late < 2; late++) {
        struct rig *r = with_ten_out(PLAIN_SYN, 100 * MSS);
        rig_flush(r);
        for (int i = 0; i < 3; i++)
            rig_in(r, 20, &(struct seg){".", 1, 0, 1});
        rig_run(r, 21);
        CHECK_COUNT(RETRANSMITS, 1);
        rig_flush(r);
        rig_in(r, late ? 25.1 : 24.9, &(struct seg){".", 1, 0, 10001});
        CHECK_COUNT(LOSSES_UNDONE, !late);
        rig_free(r);
    }
}

/* What shows the hole and what fills it come in one burst. */
static void a_hole_that_is_filled_in_the_same_burst(void)
{
    static struct frame f[4];
    struct rig *r = with_ten_out(PLAIN_SYN, 10 * MSS);
    rig_flush(r);
    struct qs_frame burst[4];
    for (int i = 0; i < 4; i++) {
        rig_build(r, &f[i], &(struct seg){".", 1, 0, i < 3 ? 1 : 10001});
        burst[i] = (struct qs_frame){.data = f[i].b, .len = f[i].len};
    }
    rig_run(r, 20);
    qs_engine_rx(r->e, burst, 4, rig_now(r));
    CHECK_COUNT(LOSSES_UNDONE, 1);
    QUIET(1000);
    CHECK_COUNT(RETRANSMITS, 0);
    rig_free(r);
}

/* Once reordering was seen a hole is waited for, a quarter of the least RTT; every duplicate lets
 * one more out meanwhile. */
static void then_a_hole_is_given_time(void)
{
    struct rig *r = rig_new(NULL, false);
    r->cc = "newreno";
    rig_establish(r, TS_SYN);
    rig_write(r, 100 * MSS);
    uint32_t echo = learn(r);
    for (int i = 0; i < 5; i++) {
        ack(r, 32, 10001, echo);
        OUT(32, ".", 22001 + MSS * (uint32_t)i, MSS, 1);
    }
    ack(r, 34, 13001, echo); /* it was late, no more */
    rig_run(r, 60);
    CHECK_COUNT(RETRANSMITS, 1);
    CHECK_COUNT(FAST_RETRANSMITS, 1);
    rig_flush(r);

    duplicates(r, 62, 5, 13001, echo);
    QUIET(64.4);
    OUT(64.5, "P.", 13001, MSS, 1);
    CHECK_COUNT(FAST_RETRANSMITS, 2);
    rig_free(r);
}

/* Time that was not enough is a quarter more the next time. */
static void patience_grows(void)
{
    struct rig *r = rig_new(NULL, false);
    r->cc = "newreno";
    rig_establish(r, TS_SYN);
    rig_write(r, 100 * MSS);
    uint32_t echo = learn(r);
    duplicates(r, 32, 5, 10001, echo);
    OUT(34.5, "P.", 10001, MSS, 1);
    ack(r, 36, 13001, echo);
    CHECK_COUNT(LOSSES_UNDONE, 2);
    rig_run(r, 36);
    rig_flush(r);
    duplicates(r, 42, 5, 13001, echo);
    QUIET(46.9);
    OUT(47, "P.", 13001, MSS, 1);
    rig_free(r);
}

/* With nothing else out there will be no third duplicate: time stands in for it. */
static void a_hole_before_the_end(void)
{
    struct rig *r = with_ten_out(PLAIN_SYN, 2 * MSS);
    OUT(10, ".", 1, MSS, 1);
    OUT(10, "P.", 1001, MSS, 1);
    IN(20, ".", 1, 0, 1);
    QUIET(22.4);
    OUT(22.5, "P.", 1, MSS, 1);
    CHECK_COUNT(FAST_RETRANSMITS, 1);
    CHECK_COUNT(RTO_EXPIRIES, 0);
    rig_free(r);
}

/* A frame that came twice is no hole while others are on their way. */
static void a_lone_duplicate_is_none(void)
{
    struct rig *r = with_ten_out(PLAIN_SYN, 10 * MSS);
    rig_flush(r);
    IN(20, ".", 1, 0, 1);
    QUIET(100);
    CHECK_COUNT(FAST_RETRANSMITS, 0);
    rig_free(r);
}

/* The window does not shrink below ssthresh for duplicates that were lost on the way. */
static void lost_duplicates_do_not_shrink_the_window(void)
{
    struct rig *r = with_ten_out(PLAIN_SYN, 100 * MSS);
    rig_flush(r);
    for (int i = 0; i < 3; i++)
        rig_in(r, 20, &(struct seg){".", 1, 0, 1});
    rig_flush(r);
    IN(30, ".", 1, 0, 8001);                    /* of six duplicates three came */
    CHECK_EQ(rig_info(r).cwnd_octets, 5 * MSS); /* and 8 to 11 are still out */
    OUT(30, "P.", 8001, MSS, 1);
    OUT(30, ".", 12001, MSS, 1);
    QUIET(35);
    rig_free(r);
}

/* RFC 6582 section 3.2 step 1: not for what lies at `recover`, of which copies may be out. */
static void more_than_recover_must_be_acknowledged(void)
{
    struct rig *r = with_ten_out(PLAIN_SYN, 100 * MSS);
    rig_flush(r);
    for (int i = 0; i < 3; i++)
        rig_in(r, 20, &(struct seg){".", 1, 0, 1});
    rig_flush(r);
    IN(30, ".", 1, 0, 12001);
    rig_flush(r);
    for (int i = 0; i < 5; i++)
        rig_in(r, 31, &(struct seg){".", 1, 0, 12001});
    CHECK_COUNT(FAST_RETRANSMITS, 1);
    rig_free(r);
}

/* The timer runs anew for a segment that is sent again. */
static void what_is_sent_again_has_its_time(void)
{
    struct rig *r = with_ten_out(PLAIN_SYN, 100 * MSS);
    rig_flush(r);
    for (int i = 0; i < 3; i++)
        rig_in(r, 200, &(struct seg){".", 1, 0, 1});
    rig_flush(r);
    QUIET(399);
    OUT(400, ".", 1, MSS, 1);
    rig_free(r);
}

/* RFC 3522: octets that are in the network after all are not sent again. */
static void a_timeout_for_nothing_is_undone(void)
{
    struct rig *r = with_ten_out(TS_SYN, 11 * MSS);
    OUT(10, ".", 1, MSS, 1);
    uint32_t original = last_ts(r);
    rig_flush(r);
    OUT(210, ".", 1, MSS, 1);
    CHECK_EQ(rig_info(r).cwnd_octets, MSS);
    ack(r, 212, 2001, original);
    OUT(212, "P.", 10001, MSS, 1); /* what was not sent yet */
    CHECK_COUNT(LOSSES_UNDONE, 1);
    CHECK_COUNT(RETRANSMITS, 1);
    CHECK(rig_info(r).cwnd_octets >= 10 * MSS);
    ack(r, 220, 11001, original);
    QUIET(2000);
    rig_free(r);
}

/* What answers a fast retransmission is no answer to the original of what the timer sends. */
static void a_timeout_in_recovery_is_not(void)
{
    struct rig *r = with_ten_out(TS_SYN, 100 * MSS);
    OUT(10, ".", 1, MSS, 1);
    uint32_t original = last_ts(r);
    rig_flush(r);
    duplicates(r, 20, 2, 1, original);
    ack(r, 20, 1, original);
    OUT(20, "P.", 1, MSS, 1);
    uint32_t fast = last_ts(r);
    rig_flush(r);
    OUT(220, ".", 1, MSS, 1);
    OUT(620, ".", 1, MSS, 1);
    ack(r, 622, 3001, fast);
    OUT(622, ".", 3001, MSS, 1);
    CHECK_COUNT(LOSSES_UNDONE, 0);
    rig_free(r);
}

/* Duplicates that were overtaken are older than TS.Recent, and no less true; but not for ever, and
 * not when they say more than that. */
static void overtaken_duplicates_count(void)
{
    static const struct seg in[] = {
        {".", 1, 0, 1001, .opts = "ts 999:0"},
        {".", 1, 0, 1001, .opts = "ts 801:0"},
        {".", 1, 0, 1001, .opts = "ts 799:0"}, /* more than an RTO of 200 ms */
        {".", 1, 0, 1001, .opts = "ts 999:0", .wnd = 60000},
        {".", 1, 10, 1001, .opts = "ts 999:0"},
        {"F.", 1, 0, 1001, .opts = "ts 999:0"},
        {".", 2, 0, 1001, .opts = "ts 999:0"},
        {".", 1, 0, 2001, .opts = "ts 999:0"},
    };
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
        struct rig *r = with_ten_out(TS_SYN, 100 * MSS);
        rig_flush(r);
        rig_in(r, 20, &(struct seg){".", 1, 0, 1001, .opts = "ts 1000:0"});
        rig_flush(r);
        for (int k = 0; k < 3; k++)
            rig_in(r, 21, &in[i]);
        rig_flush(r);
        CHECK_COUNT(FAST_RETRANSMITS, i < 2);
        CHECK_COUNT(DROP_PAWS, i < 2 ? 0 : 3);
        rig_free(r);
    }
}

int main(void)
{
    RUN(a_recovery_for_nothing_is_undone);
    RUN(one_that_was_right_is_not);
    RUN(without_timestamps_time_tells);
    RUN(a_hole_that_is_filled_in_the_same_burst);
    RUN(then_a_hole_is_given_time);
    RUN(patience_grows);
    RUN(a_hole_before_the_end);
    RUN(a_lone_duplicate_is_none);
    RUN(lost_duplicates_do_not_shrink_the_window);
    RUN(more_than_recover_must_be_acknowledged);
    RUN(what_is_sent_again_has_its_time);
    RUN(a_timeout_for_nothing_is_undone);
    RUN(a_timeout_in_recovery_is_not);
    RUN(overtaken_duplicates_count);
    return TEST_RESULT();
}
