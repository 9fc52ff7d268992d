/* SPDX-License-Identifier: Apache-2.0 */
/* The retransmission timer, RFC 6298 section 5 and the sections it builds on. */
#include "rig.h"

static qs_engine_opts plain_rto(void)
{
    qs_engine_opts o = rig_opts();
    o.rto_min = QS_MS(1); /* so that what was measured shows */
    return o;
}

/* Rules 2.1 and 5.7: before any measurement it is the initial one, but 3 s after a SYN that was
 * lost: Karn forbids to measure with it. */
static void without_a_measurement(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_RECEIVED);
    IN(500, "S", 0, 0, 0, .opts = "mss 1000"); /* sent again without the timer */
    OUT(500, "S.", 0, 0, 1);
    IN(600, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    rig_write(r, 100);
    OUT(600, "P.", 1, 100, 1);
    OUT(1600, "P.", 1, 100, 1);
    rig_free(r);

    r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_RECEIVED);
    OUT(1000, "S.", 0, 0, 1);
    IN(1100, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    rig_write(r, 100);
    OUT(1100, "P.", 1, 100, 1);
    OUT(4100, "P.", 1, 100, 1);
    IN(4110, ".", 1, 0, 101);
    rig_write(r, 100);
    OUT(4110, "P.", 101, 100, 1);
    IN(4120, ".", 1, 0, 201);
    CHECK_EQ(rig_info(r).rto.ns, QS_MS(200).ns); /* measured: as always */
    rig_free(r);
}

static bool near(qs_dur got, double ms)
{
    double off = (double)got.ns / 1e6 - ms;
    return off > -0.1 && off < 0.1;
}

/* Rules 2.2 and 2.3, alpha 1/8 and beta 1/4. */
static void srtt_and_rttvar_follow_the_samples(void)
{
    static const double sample[] = {20, 30, 50, 50, 12, 1};
    qs_engine_opts o = plain_rto();
    struct rig *r = rig_new(&o, false);
    rig_establish(r, NULL); /* 10 ms */
    double srtt = 10, rttvar = 5, now = 10;
    CHECK(near(rig_info(r).srtt, srtt) && near(rig_info(r).rttvar, rttvar));
    CHECK(near(rig_info(r).rto, 30));
    for (size_t i = 0; i < sizeof sample / sizeof sample[0]; i++) {
        uint32_t seq = 1 + 10 * (uint32_t)i;
        now += 200;
        rig_run(r, now);
        rig_write(r, 10);
        OUT(now, "P.", seq, 10, 1);
        REQUIRE(srtt + 4 * rttvar > sample[i]); /* else the timer fires first */
        IN(now + sample[i], ".", 1, 0, seq + 10);
        double off = srtt > sample[i] ? srtt - sample[i] : sample[i] - srtt;
        rttvar = rttvar * 3 / 4 + off / 4;
        srtt = srtt * 7 / 8 + sample[i] / 8;
        CHECK(near(rig_info(r).srtt, srtt));
        CHECK(near(rig_info(r).rttvar, rttvar));
        CHECK(near(rig_info(r).rto, srtt + 4 * rttvar));
    }
    rig_free(r);
}

/* Rules 2.4 and 2.5. */
static void rto_is_bounded(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    CHECK_EQ(rig_info(r).rto.ns, QS_MS(200).ns);
    rig_write(r, 10);
    double at = 10, step = 200;
    OUT(at, "P.", 1, 10, 1);
    while (at + step < 290000) {
        OUT(at + step, "P.", 1, 10, 1);
        at = (double)(r->now_ns - r->start_ns) / 1e6;
        step = step * 2 < 60000 ? step * 2 : 60000;
    }
    rig_free(r);
}

/* Rule 5.4 to 5.6: resend the earliest, double, restart. */
static void r48_doubling(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 3000);
    for (uint32_t seq = 1; seq < 3001; seq += 1000)
        OUT(10, seq == 2001 ? "P." : ".", seq, 1000, 1);
    OUT(210, ".", 1, 1000, 1);
    OUT(610, ".", 1, 1000, 1);
    OUT(1410, ".", 1, 1000, 1);
    OUT(3010, ".", 1, 1000, 1);
    CHECK_COUNT(RTO_EXPIRIES, 4);
    CHECK_COUNT(RETRANSMITS, 4);
    CHECK_EQ(rig_info(r).retransmits, 4);
    rig_free(r);
}

/* Rule 5.3 and the end of the backoff: an ACK of new octets starts the timer at the plain RTO. */
static void progress_ends_the_backoff(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 2000);
    OUT(10, ".", 1, 1000, 1);
    OUT(10, "P.", 1001, 1000, 1);
    OUT(210, ".", 1, 1000, 1);
    OUT(610, ".", 1, 1000, 1);
    IN(700, ".", 1, 0, 1001);
    OUT(700, "P.", 1001, 1000, 1); /* what was sent after it is lost too, as far as we know */
    OUT(900, "P.", 1001, 1000, 1);
    IN(950, ".", 1, 0, 2001);
    CHECK_EQ(rig_info(r).rto.ns, QS_MS(200).ns);
    QUIET(100000); /* rule 5.2: nothing is out, so no timer */
    CHECK(qs_engine_deadline(r->e).ns == QS_NEVER.ns);
    rig_free(r);
}

static void every_ack_restarts_the_timer(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 5000);
    rig_flush(r);
    for (uint32_t i = 0; i < 4; i++)
        IN(100 + 150 * i, ".", 1, 0, 1001 + 1000 * i);
    OUT(750, "P.", 4001, 1000, 1); /* 200 ms after the last of them */
    rig_free(r);
}

/* Section 3, Karn: what was sent twice is not measured. */
static void karn(void)
{
    qs_engine_opts o = plain_rto();
    struct rig *r = rig_new(&o, false);
    rig_establish(r, NULL);
    uint64_t before = rig_info(r).srtt.ns;
    rig_write(r, 100);
    OUT(10, "P.", 1, 100, 1);
    OUT(40, "P.", 1, 100, 1);
    IN(41, ".", 1, 0, 101); /* of which of the two? */
    CHECK_EQ(rig_info(r).srtt.ns, before);
    rig_write(r, 100);
    OUT(41, "P.", 101, 100, 1);
    IN(43, ".", 1, 0, 201);
    CHECK(rig_info(r).srtt.ns != before);
    rig_free(r);
}

/* One segment in flight is timed, and only an ACK that covers it ends the measurement. */
static void a_measurement_ends_with_its_own_segment(void)
{
    qs_engine_opts o = plain_rto();
    o.rto_min = QS_MS(500);
    struct rig *r = rig_new(&o, false);
    rig_establish(r, NULL);
    rig_write(r, 1000);
    OUT(10, "P.", 1, 1000, 1);
    rig_run(r, 50);
    rig_write(r, 1000);
    OUT(50, "P.", 1001, 1000, 1);
    IN(60, ".", 1, 0, 501); /* half of the timed one */
    CHECK(near(rig_info(r).srtt, 10));
    IN(90, ".", 1, 0, 2001); /* 80 ms after the first was sent */
    CHECK(near(rig_info(r).srtt, 10 * 7.0 / 8 + 80 / 8.0));
    rig_free(r);
}

/* RFC 9293 section 3.8.3. The clock runs from the last progress. */
static void user_timeout_ends_the_connection(void)
{
    qs_engine_opts o = rig_opts();
    o.user_timeout = QS_S(20);
    struct rig *r = rig_new(&o, false);
    rig_establish(r, NULL);
    rig_write(r, 2000);
    rig_run(r, 5000);
    rig_flush(r);
    IN(5001, ".", 1, 0, 1001);
    rig_run(r, 25000);
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    rig_run(r, 60000);
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

/* An idle connection has no timer and lives for ever. */
static void r50_idle_costs_nothing(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    QUIET(1100); /* the place in the wheel of the SYN-ACK's timer comes up once more */
    CHECK(qs_engine_deadline(r->e).ns == QS_NEVER.ns);
    QUIET(200 * 3600000.0); /* beyond the wrap of the ticks at 78 hours */
    rig_write(r, 10);
    OUT(200 * 3600000.0, "P.", 1, 10, 1);
    OUT(200 * 3600000.0 + 200, "P.", 1, 10, 1);
    IN(200 * 3600000.0 + 210, ".", 1, 0, 11);
    QUIET(200 * 3600000.0 + 2000);
    CHECK(qs_engine_deadline(r->e).ns == QS_NEVER.ns);
    rig_free(r);
}

/* After a timeout everything from SND.UNA on is sent again, as the window of RFC 5681 opens. */
static void go_back_after_a_timeout(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 4000);
    rig_run(r, 10);
    rig_flush(r);
    OUT(210, ".", 1, 1000, 1);
    IN(220, ".", 1, 0, 1001);
    OUT(220, ".", 1001, 1000, 1);
    OUT(220, ".", 2001, 1000, 1);
    IN(230, ".", 1, 0, 4001); /* the rest had arrived the first time */
    QUIET(1000);
    CHECK_EQ(rig_info(r).unacked_bytes, 0);
    rig_free(r);
}

int main(void)
{
    RUN(without_a_measurement);
    RUN(srtt_and_rttvar_follow_the_samples);
    RUN(rto_is_bounded);
    RUN(r48_doubling);
    RUN(progress_ends_the_backoff);
    RUN(every_ack_restarts_the_timer);
    RUN(karn);
    RUN(a_measurement_ends_with_its_own_segment);
    RUN(user_timeout_ends_the_connection);
    RUN(r50_idle_costs_nothing);
    RUN(go_back_after_a_timeout);
    return TEST_RESULT();
}
