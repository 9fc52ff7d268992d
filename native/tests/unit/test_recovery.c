/* SPDX-License-Identifier: Apache-2.0 */
/* Fast retransmit and recovery: RFC 5681 section 3.2, RFC 6582, limited transmit of RFC 3042; and
 * the congestion window of RFC 5681 section 3.1 with RFC 3465 and RFC 6928. */
#include "rig.h"

#define MSS 1000u

/* Segments seq, seq+1000, ... of `octets` went out now. */
static void expect_run(struct rig *r, double ms, uint32_t seq, uint32_t octets)
{
    for (uint32_t at = 0; at < octets; at += MSS) {
        bool fine = rig_out(r, ms, &(struct seg){".", seq + at, MSS, 1});
        CHECK(fine);
        if (!fine)
            return;
    }
}

/* Established with 10 segments out (RFC 6928) and more to send. */
static struct rig *with_ten_out(void)
{
    struct rig *r = rig_new(NULL, false);
    r->cc = "newreno";
    rig_establish(r, NULL);
    CHECK_EQ(rig_info(r).cwnd_octets, 10 * MSS);
    rig_write(r, 100 * MSS);
    expect_run(r, 10, 1, 10 * MSS);
    QUIET(15);
    return r;
}

/* `n` duplicates at `ms`; what they let out is not looked at. */
static void duplicates(struct rig *r, double ms, int n, uint32_t ack)
{
    while (n-- > 0) {
        rig_in(r, ms, &(struct seg){".", 1, 0, ack});
        rig_flush(r);
    }
}

static void third_duplicate_sends_the_hole(void)
{
    struct rig *r = with_ten_out();
    IN(20, ".", 1, 0, 1);
    OUT(20, ".", 10001, MSS, 1); /* limited transmit */
    IN(21, ".", 1, 0, 1);
    OUT(21, ".", 11001, MSS, 1);
    IN(22, ".", 1, 0, 1);
    OUT(22, "P.", 1, MSS, 1);
    QUIET(25);
    CHECK_COUNT(FAST_RETRANSMITS, 1);
    CHECK_COUNT(RETRANSMITS, 1);
    /* RFC 5681 section 3.2 step 2: half of what was out without limited transmit, and three
     * segments that have left. */
    CHECK_EQ(rig_info(r).ssthresh_octets, 5 * MSS);
    CHECK_EQ(rig_info(r).cwnd_octets, 8 * MSS);
    rig_free(r);
}

/* RFC 6582 section 3.2 step 3: each further duplicate lets one more out when the window allows. */
static void inflation_and_full_ack(void)
{
    struct rig *r = with_ten_out();
    duplicates(r, 20, 3, 1);
    CHECK_EQ(rig_info(r).ssthresh_octets, 5 * MSS);
    /* 12 are out, cwnd is 5 + 3: the fifth from here on makes room. */
    duplicates(r, 21, 4, 1);
    CHECK_EQ(rig_info(r).cwnd_octets, 12 * MSS);
    IN(23, ".", 1, 0, 1);
    OUT(23, ".", 12001, MSS, 1);
    IN(30, ".", 1, 0, 12001);                   /* all that was out when the loss was seen */
    CHECK_EQ(rig_info(r).cwnd_octets, 5 * MSS); /* step 3 option 2: ssthresh */
    expect_run(r, 30, 13001, 4 * MSS);
    QUIET(35);
    rig_free(r);
}

static void partial_ack_sends_the_next_hole(void)
{
    struct rig *r = with_ten_out();
    duplicates(r, 20, 3, 1);
    IN(30, ".", 1, 0, 4001); /* the fourth is missing too */
    OUT(30, "P.", 4001, MSS, 1);
    IN(40, ".", 1, 0, 6001);
    OUT(40, "P.", 6001, MSS, 1);
    CHECK_COUNT(FAST_RETRANSMITS, 1);
    CHECK_EQ(rig_info(r).ssthresh_octets, 5 * MSS);
    rig_free(r);
}

/* RFC 6582 section 4.1: duplicates caused by what a timeout sent again are no loss. */
static void no_second_entry_before_recover(void)
{
    struct rig *r = with_ten_out();
    OUT(210, ".", 1, MSS, 1);
    IN(220, ".", 1, 0, 3001);
    rig_flush(r);
    duplicates(r, 221, 5, 3001);
    CHECK_COUNT(FAST_RETRANSMITS, 0);
    rig_free(r);
}

/* RFC 5681 section 2: what is no duplicate. */
static void these_are_no_duplicates(void)
{
    static const struct seg in[] = {
        {".", 1, 10, 1},              /* with payload */
        {".", 1, 0, 1, .wnd = 60000}, /* with another window each time */
        {"F.", 1, 0, 1},
    };
    for (size_t k = 0; k < sizeof in / sizeof in[0]; k++) {
        struct rig *r = with_ten_out();
        for (uint16_t i = 0; i < 6; i++) {
            struct seg s = in[k];
            s.wnd = (uint16_t)(s.wnd ? s.wnd + i : 0);
            s.seq += s.len * i;
            rig_in(r, 20 + i, &s);
            rig_flush(r);
        }
        CHECK_COUNT(FAST_RETRANSMITS, 0);
        CHECK_COUNT(RETRANSMITS, 0);
        rig_free(r);
    }
}

static void duplicates_with_nothing_out_are_nothing(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    for (int i = 0; i < 10; i++)
        IN(20 + i, ".", 1, 0, 1);
    QUIET(100);
    CHECK_EQ(rig_info(r).cwnd_octets, 10 * MSS);
    rig_free(r);
}

static void two_losses_in_sequence_are_two_recoveries(void)
{
    struct rig *r = with_ten_out();
    duplicates(r, 20, 3, 1);
    IN(30, ".", 1, 0, 12001);
    rig_flush(r);
    IN(40, ".", 1, 0, 13001);
    rig_flush(r);
    duplicates(r, 50, 3, 13001);
    CHECK_COUNT(FAST_RETRANSMITS, 2);
    rig_free(r);
}

/* ---- congestion window ---- */

static void initial_window(void)
{
    static const struct {
        const char *opts;
        uint32_t cwnd;
    } row[] = {
        {"mss 1460", 14600},
        {"mss 536", 5360},
        {"mss 88", 880},
        {"mss 1460 ts 1:0", 14480},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, row[i].opts);
        CHECK_EQ(rig_info(r).cwnd_octets, row[i].cwnd);
        rig_free(r);
    }
    qs_engine_opts o = rig_opts();
    o.mtu = 9000;
    struct rig *r = rig_new(&o, false);
    rig_establish(r, "mss 8960");
    CHECK_EQ(rig_info(r).cwnd_octets, 89600);
    rig_free(r);
}

/* Slow start: an ACK of n octets opens the window by n, at most two segments (RFC 3465, L = 2). */
static void slow_start(void)
{
    static const struct {
        uint32_t acked, grown;
    } row[] = {{1 * MSS, 1 * MSS}, {2 * MSS, 2 * MSS}, {5 * MSS, 2 * MSS}, {500, 500}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = with_ten_out();
        IN(20, ".", 1, 0, 1 + row[i].acked);
        CHECK_EQ(rig_info(r).cwnd_octets, 10 * MSS + row[i].grown);
        rig_free(r);
    }
}

/* A window that is not used does not grow. */
static void unused_window_does_not_grow(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    for (uint32_t i = 0; i < 50; i++) {
        rig_write(r, MSS);
        rig_flush(r);
        IN(20 + i, ".", 1, 0, 1 + (i + 1) * MSS);
    }
    CHECK_EQ(rig_info(r).cwnd_octets, 10 * MSS);
    rig_free(r);
}

/* One segment for each window once it is at ssthresh. */
static void avoidance_after_recovery(void)
{
    struct rig *r = with_ten_out();
    duplicates(r, 20, 3, 1);
    uint32_t acked = 12001, cwnd = 0;
    double ms = 30;
    IN(ms, ".", 1, 0, acked);
    for (int round = 0; round < 8; round++) { /* slow start up to ssthresh of 5 */
        rig_flush(r);
        cwnd = rig_info(r).cwnd_octets;
        if (cwnd >= 5 * MSS)
            break;
        acked += MSS;
        IN(++ms, ".", 1, 0, acked);
    }
    CHECK_EQ(cwnd, 5 * MSS);
    for (int i = 0; i < 4; i++) {
        acked += MSS;
        IN(++ms, ".", 1, 0, acked);
        rig_flush(r);
    }
    CHECK_EQ(rig_info(r).cwnd_octets, 5 * MSS);
    acked += MSS;
    IN(++ms, ".", 1, 0, acked);
    CHECK_EQ(rig_info(r).cwnd_octets, 6 * MSS);
    rig_free(r);
}

static void a_timeout_starts_from_one_segment(void)
{
    struct rig *r = with_ten_out();
    OUT(210, ".", 1, MSS, 1);
    CHECK_EQ(rig_info(r).cwnd_octets, MSS);
    CHECK_EQ(rig_info(r).ssthresh_octets, 5 * MSS);
    OUT(610, ".", 1, MSS, 1);
    CHECK_EQ(rig_info(r).ssthresh_octets, 5 * MSS); /* once for the same octets */
    IN(620, ".", 1, 0, 1001);
    CHECK_EQ(rig_info(r).cwnd_octets, 2 * MSS);
    rig_free(r);
}

/* Never more out than the congestion window and the peer's window allow. */
static void the_smaller_window_rules(void)
{
    struct rig *r = rig_new(NULL, false);
    r->wnd = 3500;
    rig_establish(r, NULL);
    rig_write(r, 20 * MSS);
    expect_run(r, 10, 1, 3 * MSS);
    QUIET(20); /* 500 would be a silly segment */
    IN(21, ".", 1, 0, 3001, .wnd = 60000);
    expect_run(r, 21, 3001, 10 * MSS);
    QUIET(30);
    rig_free(r);
}

int main(void)
{
    RUN(third_duplicate_sends_the_hole);
    RUN(inflation_and_full_ack);
    RUN(partial_ack_sends_the_next_hole);
    RUN(no_second_entry_before_recover);
    RUN(these_are_no_duplicates);
    RUN(duplicates_with_nothing_out_are_nothing);
    RUN(two_losses_in_sequence_are_two_recoveries);
    RUN(initial_window);
    RUN(slow_start);
    RUN(unused_window_does_not_grow);
    RUN(avoidance_after_recovery);
    RUN(a_timeout_starts_from_one_segment);
    RUN(the_smaller_window_rules);
    return TEST_RESULT();
}
