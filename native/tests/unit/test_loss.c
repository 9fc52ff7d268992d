/* SPDX-License-Identifier: Apache-2.0 */
/* Loss recovery of a sender with SACK: RACK and the tail loss probe (RFC 8985), proportional rate
 * reduction (RFC 9937), undoing (RFC 3522, RFC 5682), reneging (RFC 2018 section 8). */
#include "rig.h"

#define MSS 1000u

static struct rig *established(const char *syn_opts)
{
    struct rig *r = rig_new(NULL, false);
    r->cc = "newreno";
    rig_establish(r, syn_opts);
    return r;
}

static void expect_run(struct rig *r, double ms, uint32_t seq, uint32_t octets)
{
    for (uint32_t at = 0; at < octets; at += MSS) {
        bool fine = rig_out(r, ms, &(struct seg){".", seq + at, MSS, 1});
        CHECK(fine);
        if (!fine)
            return;
    }
}

/* RTT 10 ms; ten segments (RFC 6928) out since 10 ms, with `octets` written. */
static struct rig *with_ten_out(const char *syn_opts, uint32_t octets)
{
    struct rig *r = established(syn_opts);
    rig_write(r, octets);
    if (octets > 10 * MSS)
        expect_run(r, 10, 1, 10 * MSS);
    else
        expect_run(r, 10, 1, 9 * MSS), (void)rig_take(r);
    QUIET(15);
    return r;
}

#define SACK_SYN "mss 1000 sok"

/* ---- RACK ---- */

/* Section 6.2 step 4: with DupThresh segments marked and no reordering known the window is 0. */
static void three_marked_segments_show_the_hole(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 100 * MSS);
    IN(20, ".", 1, 0, 1, .opts = "sack 1001-4001");
    OUT(20, "P.", 1, MSS, 1);
    CHECK_COUNT(FAST_RETRANSMITS, 1);
    CHECK_EQ(rig_info(r).ssthresh_octets, 5 * MSS);
    rig_free(r);
}

/* One or two may be reordered: a quarter of the least RTT is waited for. */
static void a_marked_segment_starts_the_reordering_timer(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
    IN(20, ".", 1, 0, 1, .opts = "sack 1001-2001");
    QUIET(22.4);
    OUT(22.5, "P.", 1, MSS, 1);
    CHECK_COUNT(FAST_RETRANSMITS, 1);
    rig_free(r);
}

static void reordered_within_the_window_is_no_loss(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
    IN(20, ".", 1, 0, 1, .opts = "sack 1001-2001");
    IN(21, ".", 1, 0, 2001);
    IN(22, ".", 1, 0, 10001);
    QUIET(1000);
    CHECK_COUNT(RETRANSMITS, 0);
    CHECK_COUNT(FAST_RETRANSMITS, 0);
    rig_free(r);
}

/* Section 6.2 step 3: a segment that arrives late, sent once, shows reordering; from then on three
 * marked ones are not enough, time decides. */
static void once_reordering_was_seen_time_decides(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
    IN(20, ".", 1, 0, 1, .opts = "sack 1001-2001");
    IN(21, ".", 1, 0, 10001);
    rig_write(r, 10 * MSS);
    rig_run(r, 21);
    rig_flush(r);
    IN(31, ".", 1, 0, 10001, .opts = "sack 11001-16001");
    QUIET(33);
    OUT(33.5, "P.", 10001, MSS, 1);
    rig_free(r);
}

/* Section 6.2 step 4: a round with octets that came twice widens the window by its unit. */
static void duplicates_widen_the_window(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
    IN(20, ".", 1, 0, 1, .opts = "sack 1001-2001");
    IN(21, ".", 1, 0, 10001, .opts = "sack 1-1001"); /* and says that the first came twice */
    rig_write(r, 10 * MSS);
    rig_run(r, 21);
    rig_flush(r);
    IN(31, ".", 1, 0, 10001, .opts = "sack 11001-16001");
    rig_flush(r);
    QUIET(35.8); /* two units of 10 ms / 4 */
    OUT(36, "P.", 10001, MSS, 1);
    rig_free(r);
}

/* Each hole once, left to right, and nothing that arrived. */
static void every_hole_and_nothing_else(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
    IN(20, ".", 1, 0, 1, .opts = "sack 9001-10001,5001-7001,2001-4001");
    OUT(20, "P.", 1, MSS, 1);
    OUT(20, "P.", 1001, MSS, 1);
    OUT(20, "P.", 4001, MSS, 1);
    OUT(20, "P.", 7001, MSS, 1);
    OUT(20, "P.", 8001, MSS, 1);
    IN(30, ".", 1, 0, 2001, .opts = "sack 9001-10001,5001-7001,2001-4001");
    IN(31, ".", 1, 0, 10001);
    QUIET(1000);
    CHECK_COUNT(RETRANSMITS, 5);
    CHECK_COUNT(RTO_EXPIRIES, 0);
    CHECK_EQ(rig_info(r).cwnd_octets, 5 * MSS); /* RFC 9937 section 6: ssthresh in the end */
    rig_free(r);
}

/* A retransmission is known to be lost when something sent after it arrived. */
static void a_lost_retransmission_is_sent_again(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 100 * MSS);
    IN(20, ".", 1, 0, 1, .opts = "sack 1001-10001");
    OUT(20, "P.", 1, MSS, 1);
    rig_run(r, 21);
    REQUIRE(r->n_queue > 0); /* new octets, behind the retransmission */
    rig_flush(r);
    IN(31, ".", 1, 0, 1, .opts = "sack 1001-11001");
    OUT(31, "P.", 1, MSS, 1);
    CHECK_COUNT(RTO_EXPIRIES, 0);
    CHECK_COUNT(FAST_RETRANSMITS, 1);
    rig_free(r);
}

/* RFC 2018 section 8: blocks that cannot be are not believed. */
static void blocks_that_cannot_be(void)
{
    static const char *const row[] = {
        "sack 4001-1001",       "sack 1001-1001",  "sack 5001-90001",       "sack 1001-4294900000",
        "sack 2147483649-4001", "sack 1001-10002", "sack 4294960000-10001", "sack 20001-30001",
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
        IN(20, ".", 1, 0, 1, .opts = row[i]);
        QUIET(25);
        CHECK_COUNT(RETRANSMITS, 0);
        IN(30, ".", 1, 0, 10001);
        QUIET(1000);
        rig_free(r);
    }
}

/* A peer that marks single octets gets no more records than segments justify, and all octets. */
static void single_octets_cost_a_bounded_list(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
    for (uint32_t i = 0; i < 4000; i += 4) {
        char opts[160];
        snprintf(opts, sizeof opts, "sack %u-%u,%u-%u", 2 + i * 2, 3 + i * 2, 6 + i * 2, 7 + i * 2);
        rig_in(r, 20, &(struct seg){".", 1, 0, 1, .opts = opts});
    }
    rig_run(r, 29);
    CHECK(r->n_queue < 3 * 10);
    rig_in(r, 30, &(struct seg){".", 1, 0, 10001});
    rig_flush(r);
    QUIET(1000);
    CHECK_EQ(rig_info(r).unacked_bytes, 0);
    rig_free(r);
}

/* ---- how large the flight was ---- */

/* Six of ten are acknowledged, and in the same burst of ACKs the seventh is known to be lost:
 * nothing left in between, so that four are out. A window that held octets back was in use, all of
 * it; of one that did not, ssthresh is half of what is out. */
static void a_burst_of_acks_does_not_shrink_the_flight(void)
{
    for (int full = 0; full < 2; full++) {
        struct rig *r = with_ten_out(SACK_SYN, (full ? 100 : 10) * MSS);
        rig_in(r, 20, &(struct seg){".", 1, 0, 6001});
        CHECK_EQ(rig_info(r).cwnd_octets, 12 * MSS);
        rig_in_behind(r, &(struct seg){".", 1, 0, 6001, .opts = "sack 7001-10001"});
        OUT(20, "P.", 6001, MSS, 1);
        CHECK_EQ(rig_info(r).ssthresh_octets, (full ? 6 : 2) * MSS);
        rig_free(r);
    }
}

/* ---- PRR ---- */

/* RFC 9937 section 6: while more is out than ssthresh, one leaves for each two that arrive. */
static void sending_follows_what_arrives(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 100 * MSS);
    IN(20, ".", 1, 0, 1, .opts = "sack 1001-4001"); /* 3 arrived: 1.5 may leave */
    OUT(20, "P.", 1, MSS, 1);
    IN(21, ".", 1, 0, 1, .opts = "sack 1001-5001"); /* 4: a second */
    OUT(21, ".", 10001, MSS, 1);
    IN(22, ".", 1, 0, 1, .opts = "sack 1001-6001");
    QUIET(22.5);
    IN(23, ".", 1, 0, 1, .opts = "sack 1001-7001"); /* ssthresh is reached */
    IN(24, ".", 1, 0, 1, .opts = "sack 1001-8001");
    OUT(24, ".", 11001, MSS, 1);
    QUIET(25);
    rig_free(r);
}

/* RecoverFS is without what had arrived before recovery began: the first two, while a quarter of
 * the RTT was waited for the hole. Ten are out then, and half of what arrives leaves. */
static void what_arrived_before_slows_nothing(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 100 * MSS);
    IN(20, ".", 1, 0, 1, .opts = "sack 1001-3001");
    expect_run(r, 20, 10001, 2 * MSS);
    OUT(22.5, "P.", 1, MSS, 1);
    IN(23, ".", 1, 0, 1, .opts = "sack 1001-4001"); /* the retransmission is more than its half */
    IN(24, ".", 1, 0, 1, .opts = "sack 1001-5001");
    IN(25, ".", 1, 0, 1, .opts = "sack 1001-6001");
    QUIET(25.5);
    IN(26, ".", 1, 0, 1, .opts = "sack 1001-7001");
    OUT(26, ".", 12001, MSS, 1);
    QUIET(27);
    rig_free(r);
}

/* What the first ACK of a burst made room for is owed, and leaves with what the second one tells
 * of: six is ssthresh. */
static void a_burst_of_acks_is_answered_as_one(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 100 * MSS);
    rig_in(r, 20, &(struct seg){".", 1, 0, 6001});
    rig_in_behind(r, &(struct seg){".", 1, 0, 6001, .opts = "sack 7001-10001"});
    OUT(20, "P.", 6001, MSS, 1);
    expect_run(r, 20, 10001, 5 * MSS);
    QUIET(25);
    rig_free(r);
}

/* ---- timeout ---- */

/* Slow start sends again what is missing and not what arrived; new octets come after. */
static void a_timeout_keeps_what_arrived(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
    IN(20, ".", 1, 0, 1, .opts = "sack 3001-5001,7001-8001");
    rig_flush(r);
    rig_run(r, 219);
    rig_flush(r); /* what RACK sent is lost too */
    rig_run(r, 500);
    CHECK(rig_count(r, QS_COUNT_RTO_EXPIRIES) > 0);
    CHECK_EQ(rig_info(r).cwnd_octets, MSS);
    rig_flush(r);
    IN(501, ".", 1, 0, 1001, .opts = "sack 3001-5001,7001-8001");
    OUT(501, "P.", 1001, MSS, 1);
    OUT(501, "P.", 2001, MSS, 1);
    IN(511, ".", 1, 0, 5001, .opts = "sack 7001-8001");
    OUT(511, "P.", 5001, MSS, 1);
    OUT(511, "P.", 6001, MSS, 1);
    OUT(511, "P.", 8001, MSS, 1);
    OUT(511, "P.", 9001, MSS, 1); /* RFC 3465 section 2.2: two more for each ACK */
    IN(521, ".", 1, 0, 10001);
    QUIET(2000);
    rig_free(r);
}

/* RFC 2018 section 8: what was marked first and is not acknowledged after a timeout is gone. */
static void a_peer_that_reneges(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
    IN(20, ".", 1, 0, 1, .opts = "sack 1001-10001");
    OUT(20, "P.", 1, MSS, 1);
    IN(30, ".", 1, 0, 1001); /* it has dropped the rest */
    QUIET(229);
    OUT(230, "P.", 1001, MSS, 1);
    CHECK_COUNT(SACKS_RENEGED, 1);
    IN(240, ".", 1, 0, 2001);
    OUT(240, "P.", 2001, MSS, 1);
    OUT(240, "P.", 3001, MSS, 1);
    IN(250, ".", 1, 0, 10001);
    QUIET(2000);
    rig_free(r);
}

/* ---- tail loss probe ---- */

/* Section 7.2: 2 SRTT after the last segment; section 7.3: of the last one when there is no other.
 */
static void the_tail_is_probed_before_the_timeout(void)
{
    struct rig *r = established(SACK_SYN);
    rig_write(r, 2500);
    OUT(10, ".", 1, MSS, 1);
    OUT(10, ".", 1001, MSS, 1);
    OUT(10, "P.", 2001, 500, 1);
    QUIET(29.9);
    OUT(30, "P.", 2001, 500, 1);
    CHECK_COUNT(LOSS_PROBES, 1);
    QUIET(229); /* one probe; the timer counts from it */
    CHECK_COUNT(RTO_EXPIRIES, 0);
    OUT(230, "P.", 1, MSS, 1);
    rig_free(r);
}

/* A single segment waits for the peer's delayed ACK too, which is later than the timeout here. */
static void a_single_segment_is_not_probed(void)
{
    struct rig *r = established(SACK_SYN);
    rig_write(r, 500);
    OUT(10, "P.", 1, 500, 1);
    OUT(210, "P.", 1, 500, 1);
    CHECK_COUNT(LOSS_PROBES, 0);
    CHECK_COUNT(RTO_EXPIRIES, 1);
    rig_free(r);
}

/* Section 7.2: on a long path two round trips are later than the timeout, which the probe then goes
 * before: a window of which all ACKs were lost is no reason to begin with one segment. */
static void a_long_path_is_probed_when_the_timeout_is_due(void)
{
    struct rig *r = established(SACK_SYN);
    double ms = 10;
    uint32_t seq = 1;
    for (int i = 0; i < 40; i++, ms += 119, seq += MSS) { /* until RTT and RTO are steady */
        rig_write(r, MSS);
        OUT(ms, "P.", seq, MSS, 1);
        IN(ms + 119, ".", 1, 0, seq + MSS);
    }
    CHECK_EQ(rig_info(r).rto.ns, QS_MS(200).ns);
    uint32_t cwnd = rig_info(r).cwnd_octets;
    rig_write(r, 3 * MSS);
    expect_run(r, ms, seq, 2 * MSS);
    OUT(ms, "P.", seq + 2 * MSS, MSS, 1);
    QUIET(ms + 199);
    OUT(ms + 200, "P.", seq + 2 * MSS, MSS, 1);
    CHECK_COUNT(LOSS_PROBES, 1);
    IN(ms + 319, ".", 1, 0, seq + 3 * MSS);
    QUIET(ms + 1000);
    CHECK_COUNT(RTO_EXPIRIES, 0);
    CHECK(rig_info(r).cwnd_octets >= cwnd);
    rig_free(r);
}

/* Section 7.3: new octets rather than old ones, though cwnd is full. */
static void the_probe_is_new_data_if_there_is_any(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 100 * MSS);
    OUT(30, ".", 10001, MSS, 1);
    CHECK_COUNT(LOSS_PROBES, 1);
    CHECK_COUNT(RETRANSMITS, 0);
    QUIET(100);
    rig_free(r);
}

/* Section 7.4: the probe's ACK shows the hole that the tail was. */
static void the_answer_to_a_probe_starts_recovery(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
    OUT(30, "P.", 9001, MSS, 1);
    IN(41, ".", 1, 0, 7001, .opts = "sack 9001-10001");
    OUT(41, "P.", 7001, MSS, 1); /* sent 20 ms before what arrived */
    OUT(41, "P.", 8001, MSS, 1);
    IN(50, ".", 1, 0, 10001);
    QUIET(1000);
    CHECK_COUNT(RTO_EXPIRIES, 0);
    rig_free(r);
}

/* Section 7.4.2: a probe that repaired a loss is a loss; one whose octets came twice is none. */
static void a_probe_that_repaired_a_loss_halves_the_window(void)
{
    for (int twice = 0; twice < 2; twice++) {
        struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
        OUT(30, "P.", 9001, MSS, 1);
        IN(40, ".", 1, 0, 10001);
        if (twice)
            IN(41, ".", 1, 0, 10001, .opts = "sack 9001-10001");
        rig_write(r, MSS);
        OUT(40 + twice, "P.", 10001, MSS, 1);
        IN(52, ".", 1, 0, 11001);
        CHECK_EQ(rig_info(r).ssthresh_octets < 10 * MSS, !twice);
        rig_free(r);
    }
}

static void a_lost_fin_is_probed(void)
{
    struct rig *r = established(SACK_SYN);
    rig_write(r, 1500);
    OUT(10, ".", 1, MSS, 1);
    OUT(10, "P.", 1001, 500, 1);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
    OUT(10, "F.", 1501, 0, 1);
    OUT(30, "F.", 1501, 0, 1);
    IN(41, ".", 1, 0, 1001, .opts = "sack 1501-1502");
    OUT(41, "P.", 1001, 500, 1);
    IN(50, ".", 1, 0, 1502);
    CHECK_EQ(rig_state(r), QS_TCP_FIN_WAIT_2);
    rig_free(r);
}

/* ---- undo ---- */

#define TS_SYN "mss 1012 sok ts 5:0" /* 1,000 octets of payload */

/* Timestamp of ours in the last segment that left. */
static uint32_t last_ts(const struct rig *r)
{
    const char *ts = strstr(r->last.opts, "ts ");
    REQUIRE(ts);
    return (uint32_t)strtoul(ts + 3, NULL, 10);
}

static void in_with_echo(struct rig *r, double ms, uint32_t ack, const char *sack, uint32_t echo)
{
    char opts[160];
    snprintf(opts, sizeof opts, "ts 6:%u%s", echo, sack);
    rig_in(r, ms, &(struct seg){".", 1, 0, ack, .opts = opts});
}

/* RFC 3522: the first new ACK echoes the original, so the timeout was for nothing. */
static void a_spurious_timeout_is_undone(void)
{
    struct rig *r = established(TS_SYN);
    rig_write(r, 2500);
    OUT(10, ".", 1, MSS, 1);
    uint32_t original = last_ts(r);
    rig_run(r, 231);
    rig_flush(r);
    CHECK_COUNT(RTO_EXPIRIES, 1);
    CHECK_EQ(rig_info(r).cwnd_octets, MSS);
    in_with_echo(r, 232, 1001, "", original);
    QUIET(233); /* the rest is in the network after all */
    CHECK_COUNT(LOSSES_UNDONE, 1);
    CHECK_EQ(rig_info(r).cwnd_octets, 10 * MSS);
    CHECK(rig_info(r).ssthresh_octets > 1u << 30);
    rig_free(r);
}

static void a_timeout_that_was_right_is_not(void)
{
    struct rig *r = established(TS_SYN);
    rig_write(r, 2500);
    rig_run(r, 229);
    rig_flush(r);
    OUT(230, "P.", 1, MSS, 1);
    uint32_t again = last_ts(r);
    in_with_echo(r, 240, 1001, "", again);
    OUT(240, "P.", 1001, MSS, 1);
    CHECK_COUNT(LOSSES_UNDONE, 0);
    rig_free(r);
}

static void a_spurious_fast_recovery_is_undone(void)
{
    struct rig *r = established(TS_SYN);
    rig_write(r, 10 * MSS);
    OUT(10, ".", 1, MSS, 1);
    uint32_t original = last_ts(r);
    rig_run(r, 19);
    rig_flush(r);
    in_with_echo(r, 20, 1, " sack 1001-5001", original);
    OUT(20, "P.", 1, MSS, 1);
    CHECK_EQ(rig_info(r).ssthresh_octets, 5 * MSS);
    in_with_echo(r, 22, 5001, "", original);
    CHECK_COUNT(LOSSES_UNDONE, 1);
    CHECK_EQ(rig_info(r).cwnd_octets, 11 * MSS); /* and slow start goes on */
    rig_free(r);
}

/* What shows the hole and what fills it come in one burst: nothing was sent again, and so nothing
 * was lost. */
static void a_hole_that_is_filled_in_the_same_burst(void)
{
    static struct frame f[2];
    struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
    rig_build(r, &f[0], &(struct seg){".", 1, 0, 1, .opts = "sack 1001-5001"});
    rig_build(r, &f[1], &(struct seg){".", 1, 0, 5001});
    struct qs_frame burst[] = {{.data = f[0].b, .len = f[0].len},
                               {.data = f[1].b, .len = f[1].len}};
    rig_run(r, 20);
    qs_engine_rx(r->e, burst, 2, rig_now(r));
    CHECK_COUNT(FAST_RETRANSMITS, 1);
    CHECK_COUNT(LOSSES_UNDONE, 1);
    QUIET(25);
    CHECK_COUNT(RETRANSMITS, 0);
    CHECK(rig_info(r).ssthresh_octets > 1u << 30);
    rig_free(r);
}

/* A recovery that was for nothing shows reordering, though the segment was sent twice by then: the
 * next hole is given time. */
static void an_undone_recovery_shows_reordering(void)
{
    struct rig *r = established(TS_SYN);
    rig_write(r, 10 * MSS);
    OUT(10, ".", 1, MSS, 1);
    uint32_t original = last_ts(r);
    rig_run(r, 19);
    rig_flush(r);
    in_with_echo(r, 20, 1, " sack 1001-5001", original);
    OUT(20, "P.", 1, MSS, 1);
    in_with_echo(r, 21, 10001, "", original);
    CHECK_COUNT(LOSSES_UNDONE, 1);
    rig_write(r, 10 * MSS);
    rig_run(r, 21);
    rig_flush(r);
    in_with_echo(r, 31, 10001, " sack 11001-16001", original + 11);
    QUIET(33.4);
    OUT(33.5, "P.", 10001, MSS, 1);
    rig_free(r);
}

/* RFC 3708 section 2: without timestamps a recovery is undone when the segment that was sent again
 * came twice, also when it is over by then; not when it is another one, or one of two. */
static void what_came_twice_undoes_a_recovery(void)
{
    static const struct {
        const char *marked, *twice;
        bool undone;
    } row[] = {
        {"sack 1001-5001", "sack 1-1001", true},
        {"sack 1001-5001", "sack 2001-3001", false},
        {"sack 1001-2001,3001-8001", "sack 1-1001", false},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
        rig_in(r, 20, &(struct seg){".", 1, 0, 1, .opts = row[i].marked});
        rig_run(r, 20.5);
        rig_flush(r);
        CHECK_EQ(rig_info(r).ssthresh_octets, 5 * MSS);
        rig_in(r, 21, &(struct seg){".", 1, 0, 10001});
        CHECK(rig_info(r).cwnd_octets < 8 * MSS); /* the recovery is over */
        rig_in(r, 30, &(struct seg){".", 1, 0, 10001, .opts = row[i].twice});
        CHECK_COUNT(LOSSES_UNDONE, row[i].undone);
        CHECK_EQ(rig_info(r).cwnd_octets == 10 * MSS, row[i].undone);
        CHECK_EQ(rig_info(r).ssthresh_octets > 1u << 30, row[i].undone);
        rig_write(r, 10 * MSS);
        rig_run(r, 30);
        rig_flush(r);
        rig_in(r, 40, &(struct seg){".", 1, 0, 10001, .opts = "sack 11001-14001"});
        rig_run(r, 41);
        CHECK_EQ(rig_count(r, QS_COUNT_FAST_RETRANSMITS), row[i].undone ? 1 : 2);
        rig_free(r);
    }
}

/* The window grows by what arrives, in order or not, as soon as reordering is known; before that by
 * what was acknowledged. */
static void overtaking_segments_grow_the_window(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 100 * MSS);
    rig_in(r, 20, &(struct seg){".", 1, 0, 1, .opts = "sack 1001-3001"});
    CHECK_EQ(rig_info(r).cwnd_octets, 10 * MSS);
    rig_in(r, 21, &(struct seg){".", 1, 0, 3001});
    CHECK_EQ(rig_info(r).cwnd_octets, 11 * MSS);
    rig_in(r, 22, &(struct seg){".", 1, 0, 3001, .opts = "sack 4001-6001"});
    CHECK_EQ(rig_info(r).cwnd_octets, 13 * MSS);
    rig_in(r, 23, &(struct seg){".", 1, 0, 6001});
    CHECK_EQ(rig_info(r).cwnd_octets, 14 * MSS);
    rig_free(r);
}

/* RFC 5682 section 3.1: without timestamps octets that were sent once tell. */
static void without_timestamps_octets_sent_once_tell(void)
{
    struct rig *r = established(SACK_SYN);
    rig_write(r, 2500);
    rig_run(r, 229);
    rig_flush(r);
    OUT(230, "P.", 1, MSS, 1);
    IN(235, ".", 1, 0, 2001);
    CHECK_COUNT(LOSSES_UNDONE, 1);
    CHECK_EQ(rig_info(r).cwnd_octets, 10 * MSS);
    rig_free(r);
}

/* ---- windows ---- */

/* The peer takes its window back while marked octets are out: they are probed for, and sent again
 * from the left when it opens. */
static void a_window_that_shuts_forgets_the_marks(void)
{
    struct rig *r = with_ten_out(SACK_SYN, 10 * MSS);
    rig_in(r, 20, &(struct seg){".", 1, 0, 1, .opts = "sack 9001-10001"});
    rig_run(r, 23);
    rig_flush(r);
    r->wnd = 0;
    IN(25, ".", 1, 0, 1001);
    rig_run(r, 1000);
    CHECK(rig_count(r, QS_COUNT_WINDOW_PROBES) > 0);
    rig_flush(r);
    r->wnd = 65535;
    IN(1001, ".", 1, 0, 1001);
    expect_run(r, 1001, 1001, MSS);
    rig_in(r, 1011, &(struct seg){".", 1, 0, 10001});
    rig_flush(r);
    QUIET(3000);
    CHECK_EQ(rig_info(r).unacked_bytes, 0);
    rig_free(r);
}

int main(void)
{
    RUN(three_marked_segments_show_the_hole);
    RUN(a_marked_segment_starts_the_reordering_timer);
    RUN(reordered_within_the_window_is_no_loss);
    RUN(once_reordering_was_seen_time_decides);
    RUN(duplicates_widen_the_window);
    RUN(every_hole_and_nothing_else);
    RUN(a_lost_retransmission_is_sent_again);
    RUN(blocks_that_cannot_be);
    RUN(single_octets_cost_a_bounded_list);
    RUN(a_burst_of_acks_does_not_shrink_the_flight);
    RUN(sending_follows_what_arrives);
    RUN(what_arrived_before_slows_nothing);
    RUN(a_burst_of_acks_is_answered_as_one);
    RUN(a_timeout_keeps_what_arrived);
    RUN(a_peer_that_reneges);
    RUN(the_tail_is_probed_before_the_timeout);
    RUN(a_single_segment_is_not_probed);
    RUN(a_long_path_is_probed_when_the_timeout_is_due);
    RUN(the_probe_is_new_data_if_there_is_any);
    RUN(the_answer_to_a_probe_starts_recovery);
    RUN(a_probe_that_repaired_a_loss_halves_the_window);
    RUN(a_lost_fin_is_probed);
    RUN(a_spurious_timeout_is_undone);
    RUN(a_timeout_that_was_right_is_not);
    RUN(a_spurious_fast_recovery_is_undone);
    RUN(a_hole_that_is_filled_in_the_same_burst);
    RUN(an_undone_recovery_shows_reordering);
    RUN(what_came_twice_undoes_a_recovery);
    RUN(overtaking_segments_grow_the_window);
    RUN(without_timestamps_octets_sent_once_tell);
    RUN(a_window_that_shuts_forgets_the_marks);
    return TEST_RESULT();
}
