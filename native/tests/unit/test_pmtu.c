/* SPDX-License-Identifier: Apache-2.0 */
/* Path MTU: RFC 1191, RFC 8201, the counter-measure of RFC 5927 section 7.2, and discovery by the
 * segments themselves, RFC 4821. */
#include "rig.h"

#define MINUTES_10 600000.0

/* Octets of a full segment without options at the Ethernet's MTU. */
static uint32_t full(const struct rig *r)
{
    return r->v6 ? 1440 : 1460;
}

/* An established connection, 10 ms old, with a large window. */
static struct rig *connected(bool v6)
{
    struct rig *r = rig_new(NULL, v6);
    rig_establish(r, v6 ? "mss 1440" : "mss 1460");
    return r;
}

/* ... that has sent `n` full segments and heard nothing. */
static struct rig *with_segments_out(bool v6, uint32_t n)
{
    struct rig *r = connected(v6);
    rig_write(r, n * full(r));
    for (uint32_t i = 0; i < n; i++)
        OUT(10, i + 1 < n ? "." : "P.", 1 + i * full(r), full(r), 1);
    return r;
}

/* ... whose first segment was acknowledged, so that its size is proven; `n` more are out. */
static struct rig *proven_with_segments_out(bool v6, uint32_t n)
{
    struct rig *r = with_segments_out(v6, 1);
    IN(20, ".", 1, 0, 1 + full(r));
    rig_write(r, n * full(r));
    for (uint32_t i = 0; i < n; i++)
        OUT(20, i + 1 < n ? "." : "P.", 1 + (i + 1) * full(r), full(r), 1);
    return r;
}

/* What leaves at `ms`: octets [from, to) in segments of `mss`, the last one shorter. */
static bool leaves(struct rig *r, double ms, uint32_t from, uint32_t to, uint32_t mss)
{
    while (from < to) {
        uint32_t len = to - from < mss ? to - from : mss;
        if (!rig_out(r, ms, &(struct seg){from + len < to ? "." : "P.", from, len, 1}))
            return false;
        from += len;
    }
    return true;
}

static void a_report_takes_effect_at_once(void)
{
    for (int v6 = 0; v6 < 2; v6++) {
        struct rig *r = with_segments_out(v6, 4);
        struct qs_conn_info before = rig_info(r);
        uint32_t mss = 1300 - (v6 ? 60 : 40);
        rig_too_big(r, 30, 1300, 1, full(r));
        CHECK(leaves(r, 30, 1, 1 + 4 * full(r), mss));
        struct qs_conn_info after = rig_info(r);
        CHECK_EQ(after.mss_octets, mss);
        CHECK_EQ(after.cwnd_octets, before.cwnd_octets); /* no congestion */
        CHECK_EQ(after.ssthresh_octets, before.ssthresh_octets);
        CHECK_COUNT(PMTU_LOWERED, 1);
        CHECK_COUNT(ICMP_ERRORS, 1);
        /* What the router says of the other segments is old news. */
        for (uint32_t i = 1; i < 4; i++)
            rig_too_big(r, 31, 1300, 1 + i * full(r), full(r));
        CHECK_COUNT(DROP_ICMP_MTU, 3);
        QUIET(40);
        IN(50, ".", 1, 0, 1 + 4 * full(r));
        rig_write(r, 3000);
        CHECK(leaves(r, 50, 1 + 4 * full(r), 3001 + 4 * full(r), mss));
        CHECK_COUNT(RTO_EXPIRIES, 0);
        rig_free(r);
    }
}

static void with_timestamps_their_octets_count(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, "mss 1460 sok ts 5:0");
    rig_write(r, 1448);
    rig_run(r, 10);
    rig_flush(r);
    rig_too_big(r, 30, 1300, 1, 1460);
    CHECK_EQ(rig_info(r).mss_octets, 1300 - 52);
    rig_free(r);
}

/* Two reports, the second of a narrower place further on. */
static void a_second_router_takes_less(void)
{
    struct rig *r = with_segments_out(false, 2);
    rig_too_big(r, 30, 1400, 1, 1460);
    CHECK(leaves(r, 30, 1, 2921, 1360));
    rig_too_big(r, 40, 1000, 1, 1360);
    CHECK(leaves(r, 40, 1, 2921, 960));
    CHECK_COUNT(PMTU_LOWERED, 2);
    rig_free(r);
}

static void what_the_report_may_say(void)
{
    static const struct {
        bool v6;
        uint32_t mtu, len; /* of the quoted segment's payload */
        uint32_t mss;      /* after it */
    } row[] = {
        {false, 1499, 1460, 1459},
        {false, 1500, 1460, 1460}, /* not smaller */
        {false, 1501, 1460, 1460},
        {false, 65535, 1460, 1460},
        {false, 576, 1460, 536},
        {false, 575, 1460, 536}, /* nothing takes less */
        {false, 68, 1460, 536},
        {false, 67, 1460, 1460},
        {false, 1, 1460, 1460},
        {false, 1300, 1260, 1460}, /* what was refused would have fitted */
        {false, 1300, 1261, 1260},
        {false, 1300, 0, 1460},
        {false, 0, 1460, 1452}, /* plateaus */
        {false, 0, 1452, 966},
        {false, 0, 966, 536},
        {false, 0, 536, 1460},
        {false, 0, 1480, 1452}, /* a router that adds its header, RFC 1191 section 5 */
        {true, 1499, 1440, 1439},
        {true, 1500, 1440, 1440},
        {true, 1280, 1440, 1220},
        {true, 1279, 1440, 1440},
        {true, 0, 1440, 1440},
        {true, 68, 1440, 1440},
        {true, 0xffffffff, 1440, 1440},
        {true, 0x80000500, 1440, 1440},
        {true, 1300, 1240, 1440},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = with_segments_out(row[i].v6, 2);
        bool lower = row[i].mss < full(r);
        rig_too_big(r, 30, row[i].mtu, 1, row[i].len);
        CHECK_EQ(rig_info(r).mss_octets, row[i].mss);
        CHECK_COUNT(PMTU_LOWERED, lower);
        CHECK_COUNT(DROP_ICMP_MTU, !lower);
        CHECK_EQ(qs_engine_deadline(r->e).ns <= rig_now(r).ns, lower); /* sent again at once */
        rig_free(r);
    }
}

/* Such a router that adds its header: what it quotes is longer than anything that was sent. */
static void a_plateau_below_what_was_sent(void)
{
    struct rig *r = with_segments_out(false, 2);
    rig_too_big(r, 30, 1492, 1, 1460);
    CHECK_EQ(rig_info(r).mss_octets, 1452);
    rig_flush(r);
    rig_too_big(r, 40, 0, 1, 1472);
    CHECK_EQ(rig_info(r).mss_octets, 966);
    rig_free(r);
}

/* A peer that takes small segments only is sent no smaller ones by a report. */
static void below_the_least_nothing_is_lowered(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, "mss 400");
    rig_write(r, 800);
    rig_run(r, 10);
    rig_flush(r);
    rig_too_big(r, 30, 300, 1, 400);
    CHECK_EQ(rig_info(r).mss_octets, 400);
    CHECK_COUNT(DROP_ICMP_MTU, 1);
    QUIET(200);
    rig_free(r);
}

/* The handshake has nothing to do with it. */
static void a_report_about_a_syn_is_not_believed(void)
{
    static const enum qs_tcp_state state[] = {QS_TCP_SYN_SENT, QS_TCP_SYN_RECEIVED};
    for (int i = 0; i < 2; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_to(r, state[i]);
        rig_too_big(r, 10, 600, 0, 1400);
        CHECK_COUNT(DROP_ICMP_MTU, 1);
        rig_free(r);
    }
}

/* RFC 9293 section 3.7.1: what this side takes is not what the path takes. */
static void the_mss_option_stays(void)
{
    struct rig *r = with_segments_out(false, 1);
    rig_too_big(r, 30, 1000, 1, 1460);
    CHECK(leaves(r, 30, 1, 1461, 960));
    IN(40, "S", 0, 0, 0, .opts = "mss 1000", .peer_port = 50000);
    rig_run(r, 40);
    struct frame *f = rig_take(r);
    struct wire_tcp t;
    REQUIRE(f);
    frame_parse_tcp(f, &t);
    CHECK(strcmp(t.flags, "S.") == 0 && strcmp(t.opts, "mss 1460") == 0);
    rig_free(r);
}

/* ---- RFC 5927 section 7.2 ---- */

static void a_report_against_the_evidence_waits_for_the_timer(void)
{
    for (int v6 = 0; v6 < 2; v6++) {
        struct rig *r = proven_with_segments_out(v6, 2);
        uint32_t start = 1 + full(r), mss = 1300 - (v6 ? 60 : 40);
        struct qs_conn_info before = rig_info(r);
        rig_too_big(r, 30, 1300, start, full(r));
        CHECK_COUNT(ICMP_ERRORS, 1);
        QUIET(200);
        CHECK_EQ(rig_info(r).mss_octets, full(r));
        CHECK(leaves(r, 220, start, start + 2 * full(r), mss));
        struct qs_conn_info after = rig_info(r);
        CHECK_EQ(after.mss_octets, mss);
        CHECK_EQ(after.ssthresh_octets, before.ssthresh_octets); /* no congestion */
        CHECK_EQ(after.cwnd_octets, 10 * mss);                   /* but a new start */
        CHECK_COUNT(PMTU_LOWERED, 1);
        QUIET(400);
        CHECK(rig_out(r, 420, &(struct seg){".", start, mss, 1})); /* the next one is */
        CHECK(rig_info(r).ssthresh_octets < before.ssthresh_octets);
        rig_free(r);
    }
}

static void a_report_that_the_peer_disproves_is_forgotten(void)
{
    struct rig *r = proven_with_segments_out(false, 2);
    rig_too_big(r, 30, 600, 1461, 1460);
    IN(40, ".", 1, 0, 1 + 1461 - 1 + 1460);
    OUT(240, "P.", 2921, 1460, 1); /* a lost segment like any other */
    CHECK_EQ(rig_info(r).mss_octets, 1460);
    CHECK_COUNT(PMTU_LOWERED, 0);
    rig_free(r);
}

/* Part of what it was about is no evidence. */
static void an_ack_before_it_proves_nothing(void)
{
    struct rig *r = proven_with_segments_out(false, 3);
    rig_too_big(r, 30, 1300, 2921, 1460);
    IN(40, ".", 1, 0, 2921);
    OUT(240, ".", 2921, 1260, 1);
    CHECK_COUNT(PMTU_LOWERED, 1);
    rig_free(r);
}

static void a_flood_of_reports_moves_nothing(void)
{
    struct rig *r = proven_with_segments_out(false, 4);
    for (uint32_t mtu = 0; mtu < 1500; mtu++)
        for (uint32_t i = 0; i < 4; i++)
            rig_too_big(r, 30, mtu, 1461 + i * 1460, 1460);
    QUIET(31);
    IN(40, ".", 1, 0, 1461 + 4 * 1460);
    rig_write(r, 2920);
    OUT(40, ".", 7301, 1460, 1);
    OUT(40, "P.", 8761, 1460, 1);
    rig_free(r);
}

/* ---- larger again ---- */

/* A connection that a report has lowered to MTU 1300 at 30 ms; everything is acknowledged. */
static struct rig *lowered(bool v6)
{
    struct rig *r = with_segments_out(v6, 2);
    uint32_t mss = 1300 - (v6 ? 60 : 40);
    rig_too_big(r, 30, 1300, 1, full(r));
    CHECK(leaves(r, 30, 1, 1 + 2 * full(r), mss));
    rig_in(r, 40, &(struct seg){".", 1, 0, 1 + 2 * full(r)});
    r->ack = 1 + 2 * full(r);
    return r;
}

/* Writes and takes segments, whose sizes are checked, until `octets` have left. */
static void pass(struct rig *r, double ms, uint32_t octets, uint32_t mss)
{
    rig_run(r, ms);
    rig_write(r, octets);
    CHECK(leaves(r, ms, r->ack, r->ack + octets, mss));
    r->ack += octets;
    rig_in(r, ms + 1, &(struct seg){".", 1, 0, r->ack});
}

/* The segments of a write of `octets` of which the first is a probe. */
static bool probes(struct rig *r, double ms, uint32_t octets, uint32_t probe, uint32_t mss)
{
    rig_run(r, ms);
    rig_write(r, octets);
    return rig_out(r, ms, &(struct seg){".", r->ack, probe, 1}) &&
           leaves(r, ms, r->ack + probe, r->ack + octets, mss);
}

static void a_report_grows_old(void)
{
    for (int v6 = 0; v6 < 2; v6++) {
        struct rig *r = lowered(v6);
        uint32_t mss = 1300 - (v6 ? 60 : 40);
        pass(r, 50, 8000, mss);
        pass(r, MINUTES_10 - 2000, 8000, mss);
        CHECK_COUNT(PMTU_PROBES, 0);
        CHECK(probes(r, MINUTES_10 + 2000, 8000, full(r), mss));
        CHECK_COUNT(PMTU_PROBES, 1);
        rig_in(r, MINUTES_10 + 2001, &(struct seg){".", 1, 0, r->ack + 8000});
        r->ack += 8000;
        CHECK_EQ(rig_info(r).mss_octets, full(r));
        CHECK_COUNT(PMTU_RAISED, 1);
        pass(r, MINUTES_10 + 3000, 8000, full(r));
        CHECK_COUNT(PMTU_PROBES, 1);
        rig_free(r);
    }
}

/* Too little is there to see a loss of the probe by the segments behind it. */
static void a_probe_needs_octets_behind_it(void)
{
    struct rig *r = lowered(false);
    pass(r, 50, 8000, 1260);
    pass(r, MINUTES_10 + 2000, 1460 + 3 * 1260 - 1, 1260);
    CHECK_COUNT(PMTU_PROBES, 0);
    CHECK(probes(r, MINUTES_10 + 3000, 1460 + 3 * 1260, 1460, 1260));
    rig_free(r);
}

/* ... or the window does not let it out. */
static void a_probe_needs_window_behind_it(void)
{
    struct rig *r = lowered(false);
    pass(r, 50, 8000, 1260);
    r->wnd = 1460 + 3 * 1260 - 1;
    rig_in(r, 60, &(struct seg){".", 1, 0, r->ack});
    rig_run(r, MINUTES_10 + 2000);
    rig_write(r, 8000);
    OUT(MINUTES_10 + 2000, ".", r->ack, 1260, 1);
    CHECK_COUNT(PMTU_PROBES, 0);
    rig_flush(r);
    rig_free(r);
}

static void a_lost_probe_is_no_congestion(void)
{
    struct rig *r = lowered(false);
    pass(r, 50, 8000, 1260);
    double t = MINUTES_10 + 2000;
    CHECK(probes(r, t, 8000, 1460, 1260));
    struct qs_conn_info before = rig_info(r);
    for (int i = 0; i < 3; i++)
        rig_in(r, t + 10, &(struct seg){".", 1, 0, r->ack});
    OUT(t + 10, ".", r->ack, 1260, 1); /* the probe's octets in segments that pass */
    OUT(t + 10, ".", r->ack + 1260, 200, 1);
    for (int i = 0; i < 6; i++) /* what left before the loss was seen */
        rig_in(r, t + 11, &(struct seg){".", 1, 0, r->ack});
    QUIET(t + 12);
    struct qs_conn_info after = rig_info(r);
    CHECK_EQ(after.cwnd_octets, before.cwnd_octets);
    CHECK_EQ(after.ssthresh_octets, before.ssthresh_octets);
    CHECK_EQ(after.mss_octets, 1260);
    CHECK_COUNT(FAST_RETRANSMITS, 0);
    CHECK_COUNT(RTO_EXPIRIES, 0);
    rig_in(r, t + 20, &(struct seg){".", 1, 0, r->ack + 8000});
    r->ack += 8000;
    CHECK(probes(r, t + 30, 8000, 1360, 1260)); /* half way */
    rig_in(r, t + 40, &(struct seg){".", 1, 0, r->ack + 8000});
    r->ack += 8000;
    CHECK_EQ(rig_info(r).mss_octets, 1360);
    CHECK(probes(r, t + 50, 8000, 1410, 1360));
    rig_free(r);
}

/* Something else is lost first, and recovery comes to the probe: its octets go out in segments that
 * pass, so their ACK proves nothing. */
static void a_probe_that_recovery_repairs(void)
{
    struct rig *r = lowered(false);
    pass(r, 50, 8000, 1260);
    double t = MINUTES_10 + 2000;
    rig_run(r, t);
    rig_write(r, 2520);
    OUT(t, ".", r->ack, 1260, 1);
    OUT(t, "P.", r->ack + 1260, 1260, 1);
    rig_write(r, 8000);
    OUT(t, ".", r->ack + 2520, 1460, 1);
    rig_flush(r);
    for (int i = 0; i < 3; i++)
        rig_in(r, t + 10, &(struct seg){".", 1, 0, r->ack});
    CHECK_COUNT(FAST_RETRANSMITS, 1);
    OUT(t + 10, "P.", r->ack, 1260, 1);
    rig_in(r, t + 20, &(struct seg){".", 1, 0, r->ack + 2520});
    OUT(t + 20, "P.", r->ack + 2520, 1260, 1);
    rig_in(r, t + 30, &(struct seg){".", 1, 0, r->ack + 2520 + 1260});
    rig_run(r, t + 30);
    rig_in(r, t + 40, &(struct seg){".", 1, 0, r->ack + 10520});
    CHECK_EQ(rig_info(r).mss_octets, 1260);
    CHECK_COUNT(PMTU_RAISED, 0);
    rig_flush(r);
    rig_free(r);
}

/* The router still says no: its answer is exact, and what is out need not wait for the timer. */
static void a_probe_that_is_refused(void)
{
    static const struct {
        uint32_t mtu, mss_next; /* 0: nothing is tried for ten minutes */
    } row[] = {{1300, 0}, {1400, 1360}, {1301, 1261}};
    for (size_t i = 0; i < 3; i++) {
        struct rig *r = lowered(false);
        pass(r, 50, 8000, 1260);
        double t = MINUTES_10 + 2000;
        CHECK(probes(r, t, 8000, 1460, 1260));
        struct qs_conn_info before = rig_info(r);
        rig_too_big(r, t + 10, row[i].mtu, r->ack + 1460, 1460); /* not about the probe */
        QUIET(t + 11);
        rig_too_big(r, t + 12, row[i].mtu, r->ack, 1460);
        OUT(t + 12, ".", r->ack, 1260, 1);
        OUT(t + 12, ".", r->ack + 1260, 200, 1);
        CHECK_EQ(rig_info(r).cwnd_octets, before.cwnd_octets);
        CHECK_EQ(rig_info(r).mss_octets, 1260);
        rig_in(r, t + 20, &(struct seg){".", 1, 0, r->ack + 8000});
        r->ack += 8000;
        if (row[i].mss_next) {
            CHECK(probes(r, t + 30, 8000, row[i].mss_next, 1260));
            rig_in(r, t + 40, &(struct seg){".", 1, 0, r->ack + 8000});
            r->ack += 8000;
            CHECK_EQ(rig_info(r).mss_octets, row[i].mss_next);
            pass(r, t + 50, 8000, row[i].mss_next); /* the search is over */
        } else {
            pass(r, t + 30, 8000, 1260);
            CHECK(probes(r, t + MINUTES_10 + 2000, 8000, 1460, 1260));
        }
        rig_free(r);
    }
}

/* ---- black holes ---- */

static void full_segments_that_stay_unanswered(void)
{
    for (int v6 = 0; v6 < 2; v6++) {
        struct rig *r = with_segments_out(v6, 3);
        uint32_t base = v6 ? 1220 : 1024;
        OUT(210, ".", 1, full(r), 1); /* once might be a burst of losses */
        OUT(610, ".", 1, base, 1);
        CHECK_EQ(rig_info(r).mss_octets, base);
        CHECK_COUNT(PMTU_BLACK_HOLES, 1);
        CHECK_COUNT(RTO_EXPIRIES, 2);
        OUT(1410, ".", 1, base, 1); /* that is the least */
        OUT(3010, ".", 1, base, 1);
        CHECK_COUNT(PMTU_BLACK_HOLES, 1);
        rig_free(r);
    }
}

/* An outage costs one probe: the large segments pass as before. */
static void after_an_outage(void)
{
    struct rig *r = with_segments_out(false, 2);
    OUT(210, ".", 1, 1460, 1);
    OUT(610, ".", 1, 1024, 1);
    IN(620, ".", 1, 0, 2921);
    r->ack = 2921;
    rig_write(r, 30000);
    for (double ms = 700; rig_info(r).unacked_bytes && ms < 2000; ms += 10) {
        rig_run(r, ms);
        for (struct frame *f; (f = rig_take(r)) != NULL;) {
            frame_parse_tcp(f, &r->last);
            r->ack = r->last.seq - r->iss + r->last.len;
        }
        rig_in(r, ms, &(struct seg){".", 1, 0, r->ack});
    }
    CHECK_EQ(rig_info(r).unacked_bytes, 0);
    CHECK_COUNT(PMTU_PROBES, 1);
    CHECK_COUNT(RTO_EXPIRIES, 2);
    CHECK_EQ(rig_info(r).mss_octets, 1460);
    rig_free(r);
}

/* Short segments, a closed window or an unknown neighbour say nothing about sizes. */
static void other_reasons_for_silence(void)
{
    struct rig *r = connected(false);
    rig_write(r, 1000);
    OUT(10, "P.", 1, 1000, 1);
    OUT(210, "P.", 1, 1000, 1);
    OUT(610, "P.", 1, 1000, 1);
    OUT(1410, "P.", 1, 1000, 1);
    CHECK_COUNT(PMTU_BLACK_HOLES, 0);
    rig_free(r);

    r = rig_new(NULL, false);
    rig_establish(r, "mss 900"); /* below the base already */
    rig_write(r, 1800);
    rig_run(r, 2000);
    rig_flush(r);
    CHECK_COUNT(PMTU_BLACK_HOLES, 0);
    CHECK_EQ(rig_info(r).mss_octets, 900);
    rig_free(r);

    r = with_segments_out(false, 2);
    qs_addr peer = rig_peer(r);
    qs_engine_neigh_del(r->e, &peer);
    rig_run(r, 5000);
    CHECK_COUNT(PMTU_BLACK_HOLES, 0);
    rig_flush(r);
    rig_free(r);
}

int main(void)
{
    RUN(a_report_takes_effect_at_once);
    RUN(with_timestamps_their_octets_count);
    RUN(a_second_router_takes_less);
    RUN(what_the_report_may_say);
    RUN(a_plateau_below_what_was_sent);
    RUN(below_the_least_nothing_is_lowered);
    RUN(a_report_about_a_syn_is_not_believed);
    RUN(the_mss_option_stays);
    RUN(a_report_against_the_evidence_waits_for_the_timer);
    RUN(a_report_that_the_peer_disproves_is_forgotten);
    RUN(an_ack_before_it_proves_nothing);
    RUN(a_flood_of_reports_moves_nothing);
    RUN(a_report_grows_old);
    RUN(a_probe_needs_octets_behind_it);
    RUN(a_probe_needs_window_behind_it);
    RUN(a_lost_probe_is_no_congestion);
    RUN(a_probe_that_recovery_repairs);
    RUN(a_probe_that_is_refused);
    RUN(full_segments_that_stay_unanswered);
    RUN(after_an_outage);
    RUN(other_reasons_for_silence);
    return TEST_RESULT();
}
