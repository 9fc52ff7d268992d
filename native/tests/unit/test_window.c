/* SPDX-License-Identifier: Apache-2.0 */
/* What we acknowledge and when (RFC 5681 section 4.2, RFC 9293 section 3.8.6.3), and the window we
 * advertise (RFC 9293 section 3.8.6.2.2, RFC 7323 section 2). */
#include "rig.h"

/* ---- delayed ACK ---- */

static void one_segment_waits_40_ms(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(20, "P.", 1, 10, 1);
    QUIET(59);
    OUT(60, ".", 1, 0, 11);
    QUIET(1000);
    rig_free(r);
}

/* A young connection acknowledges each full segment, so that the peer's window grows by each. */
static void each_full_segment_at_once(struct rig *r, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        IN(20 + i, ".", 1 + 1000 * i, 1000, 1);
        OUT(20 + i, ".", 1, 0, 1001 + 1000 * i);
        CHECK_EQ(rig_read(r, 1000), 1000);
    }
}

static void every_second_segment_at_once(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    each_full_segment_at_once(r, 16);
    for (uint32_t i = 16; i < 26; i += 2) {
        IN(40 + i, ".", 1 + 1000 * i, 1000, 1);
        IN(40.5 + i, ".", 1001 + 1000 * i, 1000, 1);
        OUT(40.5 + i, ".", 1, 0, 2001 + 1000 * i);
    }
    QUIET(1000);
    rig_free(r);
}

/* ... and no more of them than fit half the window, but at least two. */
static void quick_acks_are_bounded_by_the_window(void)
{
    static const struct {
        uint32_t rcvbuf, quick;
    } row[] = {{3999, 2}, {5999, 2}, {6000, 3}, {31999, 15}, {32000, 16}, {60000, 16}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        qs_engine_opts o = rig_opts();
        o.rcvbuf_bytes = row[i].rcvbuf;
        struct rig *r = rig_new(&o, false);
        rig_establish(r, NULL);
        each_full_segment_at_once(r, row[i].quick);
        IN(50, ".", 1 + 1000 * row[i].quick, 1000, 1);
        OUT(90, ".", 1, 0, 1001 + 1000 * row[i].quick);
        rig_free(r);
    }
}

/* A short segment is a request: its answer carries the ACK, and it uses nothing up. */
static void requests_are_not_acknowledged_quickly(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    for (uint32_t i = 0; i < 20; i++) {
        IN(20 + 100 * i, "P.", 1 + 999 * i, 999, 1);
        OUT(60 + 100 * i, ".", 1, 0, 1000 + 999 * i);
    }
    IN(3000, ".", 1 + 20 * 999, 1000, 1);
    OUT(3000, ".", 1, 0, 1 + 20 * 999 + 1000);
    rig_free(r);
}

/* The delay runs from the first octet that is owed an ACK. */
static void r44_small_segments_do_not_push_it_back(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    for (uint32_t i = 0; i < 4; i++)
        IN(20 + 10 * i, "P.", 1 + 10 * i, 10, 1);
    OUT(60, ".", 1, 0, 41);
    QUIET(1000);
    rig_free(r);
}

static void data_carries_it(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(20, "P.", 1, 10, 1);
    rig_run(r, 30);
    rig_write(r, 10);
    OUT(30, "P.", 1, 10, 11);
    IN(31, ".", 11, 0, 11);
    QUIET(1000);
    rig_free(r);
}

static void fin_is_acknowledged_at_once(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(20, "FP.", 1, 10, 1);
    OUT(20, ".", 1, 0, 12);
    QUIET(1000);
    rig_free(r);
}

static void the_delay_is_an_option(void)
{
    qs_engine_opts o = rig_opts();
    o.delayed_ack = QS_MS(0);
    struct rig *r = rig_new(&o, false);
    rig_establish(r, NULL);
    IN(20, "P.", 1, 10, 1);
    OUT(20, ".", 1, 0, 11);
    rig_free(r);
}

/* ---- the window ---- */

static struct rig *with_buffer(uint32_t rcvbuf, const char *syn_opts)
{
    qs_engine_opts o = rig_opts();
    o.rcvbuf_bytes = rcvbuf;
    struct rig *r = rig_new(&o, false);
    rig_establish(r, syn_opts);
    return r;
}

/* Scaling: the smallest shift with which the whole buffer can be said. */
static void the_shift_fits_the_buffer(void)
{
    static const struct {
        uint32_t rcvbuf;
        uint8_t shift;
    } row[] = {{2048, 0},   {65535, 0},  {65536, 1},   {131070, 1},
               {131072, 2}, {262144, 3}, {1 << 20, 5}, {1 << 30, 14}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        qs_engine_opts o = rig_opts();
        o.rcvbuf_bytes = row[i].rcvbuf;
        struct rig *r = rig_new(&o, false);
        char want[64];
        rig_listen(r);
        snprintf(want, sizeof want, "mss 1460 ws %u", row[i].shift);
        IN(0, "S", 0, 0, 0, .opts = "mss 1000 ws 0");
        OUT(0, "S.", 0, 0, 1, .opts = want);
        /* RFC 7323 section 2.2: the window of a SYN is never scaled. */
        CHECK_EQ(r->last.wnd, row[i].rcvbuf < 65535 ? row[i].rcvbuf : 65535);
        IN(10, ".", 1, 0, 1);
        IN(20, "F.", 1, 0, 1);
        OUT(20, ".", 1, 0, 2);
        /* What is said is never more than the buffer, nor beyond 16 bits. */
        uint64_t wnd = (uint64_t)r->last.wnd << row[i].shift;
        CHECK(wnd + 3000 + (1u << row[i].shift) > row[i].rcvbuf && wnd <= row[i].rcvbuf);
        rig_free(r);
    }
}

/* Without the peer's option there is no scaling, in neither direction. */
static void r30_no_scaling_from_one_side_only(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_open(r);
    OUT(0, "S", 0, 0, 0);
    r->wnd = 500;
    IN(10, "S.", 0, 0, 1, .opts = "mss 1000");
    OUT(10, ".", 1, 0, 1, .wnd = 65535);
    rig_write(r, 3000);
    OUT(10, ".", 1, 500, 1); /* 500, not 500 << something */
    QUIET(100);
    rig_free(r);
}

/* The peer's shift is taken, clamped to 14 (RFC 7323 section 2.3). */
static void r30_the_peers_shift(void)
{
    static const struct {
        const char *opts;
        uint16_t wnd;
        uint32_t may_send;
    } row[] = {
        {"mss 1000 ws 0", 700, 700},   {"mss 1000 ws 1", 700, 1400},
        {"mss 1000 ws 2", 700, 2800},  {"mss 1000 ws 14", 1, 10000}, /* cwnd is less than 16,384 */
        {"mss 1000 ws 255", 1, 10000},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, row[i].opts);
        r->wnd = row[i].wnd;
        IN(15, ".", 1, 0, 1);
        rig_write(r, 20000);
        rig_run(r, 20);
        uint32_t sent = 0;
        for (struct frame *f; (f = rig_take(r));)
            sent += f->len - 54;
        /* a last small segment waits while others are out */
        CHECK(sent <= row[i].may_send && sent + 1000 > row[i].may_send);
        rig_free(r);
    }
}

/* The right edge never moves left by a unit or more, whatever arrives and whenever it is read. */
static void the_edge_never_goes_back(void)
{
    uint64_t random = qs_test_seed();
    static const char *const syn[] = {"mss 1000", "mss 1000 ws 0", "mss 1000 ts 1:0 ws 7"};
    for (int run = 0; run < 30; run++) {
        struct rig *r = with_buffer(5000 + 7000 * (uint32_t)run, syn[run % 3]);
        uint32_t shift = 0, next = 1, edge = 0;
        if (run % 3)
            while (r->wnd && (5000 + 7000 * (uint32_t)run) >> shift > 65535)
                shift++;
        const char *ts = run % 3 == 2 ? "ts 1:0" : "";
        for (int i = 0; i < 300; i++) {
            uint64_t x = qs_test_random(&random);
            uint32_t len = (uint32_t)(x % 1400);
            double ms = 20 + 5.0 * i;
            if (edge && len > edge - next)
                len = edge - next;
            rig_in(r, ms, &(struct seg){".", next, len, 1, ts});
            next += len;
            if (x >> 32 & 1)
                (void)rig_read(r, (uint32_t)(x >> 40) % 4000 + 1);
            rig_run(r, ms + 4);
            for (struct frame *f; (f = rig_take(r));) {
                struct wire_tcp t;
                frame_parse_tcp(f, &t);
                uint32_t now = t.ack - RIG_ISN + ((uint32_t)t.wnd << shift);
                CHECK(edge == 0 || (int32_t)(now - edge) > -(1 << shift));
                edge = edge == 0 || (int32_t)(now - edge) > 0 ? now : edge;
            }
        }
        rig_free(r);
    }
}

/* Who sends octet by octet to an application that does not read gets the buffer, and no more:
 * rounding moves the edge to the left only, RFC 7323 section 2.4. */
static void nobody_reads_and_the_buffer_is_the_bound(void)
{
    const uint32_t rcvbuf = 70000; /* counted in units of 2 */
    struct rig *r = with_buffer(rcvbuf, "mss 1000 ws 0");
    uint32_t next = 1, edge = 65535 / 2; /* of the SYN-ACK, and nobody has to know it exactly */
    for (int i = 0; i < 100000 && next < edge; i++) {
        uint32_t len = i % 3 ? 1 : 999;
        rig_in(r, 20 + i, &(struct seg){"P.", next, len < edge - next ? len : edge - next, 1});
        next += len < edge - next ? len : edge - next;
        rig_run(r, 20.9 + i);
        rig_in(r, 20.9 + i, &(struct seg){".", 0, 0, 1}); /* old, so it is acknowledged */
        for (struct frame *f; (f = rig_take(r));) {
            struct wire_tcp t;
            frame_parse_tcp(f, &t);
            edge = t.ack - RIG_ISN + ((uint32_t)t.wnd << 1);
        }
    }
    CHECK(next <= rcvbuf + 1 && next > rcvbuf - 2);
    CHECK(rig_read(r, 2 * rcvbuf) <= rcvbuf);
    rig_free(r);
}

/* RFC 9293 section 3.8.6.2.2: no small steps of the right edge. */
static void r44_no_silly_windows(void)
{
    struct rig *r = with_buffer(8000, NULL);
    for (uint32_t seq = 1; seq < 8001; seq += 1000) {
        rig_in(r, 20, &(struct seg){".", seq, 1000, 1});
        rig_flush(r);
    }
    rig_run(r, 100);
    rig_flush(r);
    for (int i = 0; i < 14; i++)
        CHECK_EQ(rig_read(r, 100), 100);
    QUIET(200);               /* 1,400 octets are less than a segment of ours */
    IN(201, ".", 8001, 1, 1); /* a probe: still shut */
    OUT(201, ".", 1, 0, 8001);
    CHECK_EQ(r->last.wnd, 0);
    CHECK_EQ(rig_read(r, 4000), 4000); /* now there is something to tell */
    OUT(201, ".", 1, 0, 8001, .wnd = 5400);
    QUIET(1000);
    rig_free(r);
}

static void an_update_only_when_the_peer_may_wait(void)
{
    struct rig *r = with_buffer(60000, NULL);
    IN(20, ".", 1, 1000, 1);
    OUT(20, ".", 1, 0, 1001);
    IN(20, ".", 1001, 1000, 1);
    OUT(20, ".", 1, 0, 2001);
    CHECK_EQ(rig_read(r, 10000), 2000);
    QUIET(1000); /* the peer has 58,000 left */
    rig_free(r);
}

/* An update that nobody has to wait for: consume after the peer's FIN. */
static void no_update_after_fin(void)
{
    struct rig *r = with_buffer(4096, NULL);
    IN(20, "F.", 1, 1000, 1);
    OUT(20, ".", 1, 0, 1002);
    CHECK_EQ(rig_read(r, 2000), 1000);
    QUIET(1000);
    rig_free(r);
}

int main(void)
{
    RUN(one_segment_waits_40_ms);
    RUN(every_second_segment_at_once);
    RUN(quick_acks_are_bounded_by_the_window);
    RUN(requests_are_not_acknowledged_quickly);
    RUN(r44_small_segments_do_not_push_it_back);
    RUN(data_carries_it);
    RUN(fin_is_acknowledged_at_once);
    RUN(the_delay_is_an_option);
    RUN(the_shift_fits_the_buffer);
    RUN(r30_no_scaling_from_one_side_only);
    RUN(r30_the_peers_shift);
    RUN(the_edge_never_goes_back);
    RUN(nobody_reads_and_the_buffer_is_the_bound);
    RUN(r44_no_silly_windows);
    RUN(an_update_only_when_the_peer_may_wait);
    RUN(no_update_after_fin);
    return TEST_RESULT();
}
