/* SPDX-License-Identifier: Apache-2.0 */
/* Octets that arrive ahead of a hole, twice, overlapping, or not at all: RFC 9293 section 3.10.7.4
 * seventh check, RFC 5681 section 4.2. */
#include "rig.h"

static void a_hole_is_told_at_once_and_again(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(20, ".", 1001, 1000, 1);
    OUT(20, ".", 1, 0, 1);
    IN(21, ".", 2001, 1000, 1);
    OUT(21, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), 0);
    IN(22, ".", 1, 1000, 1);
    OUT(22, ".", 1, 0, 3001);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(rig_read(r, 10000), 3000);
    CHECK_COUNT(OUT_OF_ORDER, 2);
    rig_flush(r);
    CHECK_COUNT(CHUNKS, 0);
    rig_free(r);
}

/* `n` segments come at once behind a hole of 1,000 octets. */
static struct rig *burst_behind_a_hole(const char *opts, uint32_t n)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, opts);
    rig_in(r, 20, &(struct seg){".", 1001, 1000, 1});
    for (uint32_t i = 1; i < n; i++)
        rig_in_behind(r, &(struct seg){".", 1001 + 1000 * i, 1000, 1});
    return r;
}

/* The peer counts duplicates when it gets nothing else: RFC 5681 section 3.2. */
static void each_segment_of_a_burst_has_its_duplicate(void)
{
    struct rig *r = burst_behind_a_hole("mss 1000", 5);
    for (int i = 0; i < 5; i++)
        OUT(20, ".", 1, 0, 1);
    QUIET(30);
    IN(30, ".", 1, 1000, 1);
    OUT(30, ".", 1, 0, 6001);
    QUIET(1000);
    rig_free(r);
}

static void with_sack_one_says_it_all(void)
{
    struct rig *r = burst_behind_a_hole("mss 1000 sok", 5);
    OUT(20, ".", 1, 0, 1, .opts = "sack 1001-6001");
    QUIET(1000);
    rig_free(r);
}

/* Octets are no duplicate ACK; window and ACK are those of the octets. */
static void duplicates_go_behind_octets(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, "mss 1000");
    rig_in(r, 20, &(struct seg){".", 1001, 1000, 1});
    rig_in_behind(r, &(struct seg){".", 2001, 1000, 1});
    rig_in_behind(r, &(struct seg){".", 3001, 1000, 1});
    CHECK_EQ(rig_write(r, 500), 500);
    OUT(20, "P.", 1, 500, 1);
    OUT(20, ".", 501, 0, 1);
    OUT(20, ".", 501, 0, 1);
    QUIET(30);
    rig_free(r);
}

static void a_hole_filled_in_the_same_burst_is_told_once(void)
{
    struct rig *r = burst_behind_a_hole("mss 1000", 4);
    rig_in_behind(r, &(struct seg){".", 1, 1000, 1});
    OUT(20, ".", 1, 0, 5001);
    QUIET(1000);
    rig_free(r);
}

/* A connection that is no longer young: a full segment alone waits for 40 ms. @return what is next.
 */
static uint32_t grown_up(struct rig *r)
{
    for (uint32_t i = 0; i < 100; i++)
        rig_in(r, 20, &(struct seg){".", 1 + 1000 * i, 1000, 1});
    rig_run(r, 100);
    rig_flush(r);
    rig_read(r, 100000);
    rig_run(r, 200);
    rig_flush(r);
    IN(200, ".", 100001, 1000, 1);
    OUT(240, ".", 1, 0, 101001);
    return 101001;
}

/* Who sends again has a small window: 40 ms for each of its segments would cost more than the loss.
 */
static void after_a_loss_single_segments_are_acknowledged_at_once(void)
{
    for (int twice = 0; twice < 2; twice++) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, "mss 1000");
        uint32_t at = grown_up(r);
        if (twice) { /* our ACK was lost, and it came again */
            IN(300, ".", at - 1000, 1000, 1);
            OUT(300, ".", 1, 0, at);
        } else {
            IN(300, ".", at + 1000, 1000, 1);
            OUT(300, ".", 1, 0, at);
            IN(301, ".", at, 1000, 1);
            OUT(301, ".", 1, 0, at + 2000);
            at += 2000;
        }
        for (uint32_t i = twice ? 0 : 1; i < 16; i++, at += 1000) { /* the filler is one */
            IN(310 + i, ".", at, 1000, 1);
            OUT(310 + i, ".", 1, 0, at + 1000);
        }
        IN(400, ".", at, 1000, 1);
        OUT(440, ".", 1, 0, at + 1000);
        rig_free(r);
    }
}

static void a_part_of_the_hole_is_acknowledged_at_once(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(20, ".", 101, 100, 1);
    OUT(20, ".", 1, 0, 1);
    IN(21, ".", 1, 50, 1);
    OUT(21, ".", 1, 0, 51);
    IN(22, ".", 51, 50, 1);
    OUT(22, ".", 1, 0, 201);
    CHECK_EQ(rig_read(r, 1000), 200);
    rig_free(r);
}

/* Every way in which a second segment can lie to a first one, [101, 201). */
static void two_that_overlap(void)
{
    static const struct {
        uint32_t seq, len;
    } row[] = {{101, 100}, {101, 50},  {151, 50},  {120, 30}, {51, 100}, {51, 150}, {51, 300},
               {151, 100}, {101, 300}, {201, 100}, {1, 300},  {1, 100},  {1, 101},  {200, 2}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        rig_in(r, 20, &(struct seg){".", 101, 100, 1});
        rig_in(r, 21, &(struct seg){".", row[i].seq, row[i].len, 1});
        rig_in(r, 22, &(struct seg){".", 1, 600, 1}); /* covers all */
        CHECK_EQ(rig_read(r, 1000), 600);             /* verifies each octet */
        rig_flush(r);
        CHECK_COUNT(CHUNKS, 0);
        rig_free(r);
    }
}

#define STREAM 30000u

/* Which octets have been sent, to tell what may be readable. */
struct model {
    bool sent[STREAM + 1];
    uint32_t in_order;
};

static void note(struct model *m, uint32_t seq, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        m->sent[seq - 1 + i] = true;
    while (m->in_order < STREAM && m->sent[m->in_order])
        m->in_order++;
}

/* Random pieces in random order, overlapping and repeated: what is readable is at any time exactly
 * the run of octets that were sent from the start on. */
static void random_segments_against_a_model(void)
{
    uint64_t random = qs_test_seed();
    for (int run = 0; run < 40; run++) {
        static struct model m;
        struct rig *r = rig_new(NULL, run & 1);
        memset(&m, 0, sizeof m);
        rig_establish(r, NULL);
        uint32_t taken = 0;
        for (int i = 0; m.in_order < STREAM && i < 100000; i++) {
            uint64_t x = qs_test_random(&random);
            uint32_t reach = x >> 60 ? 6000 : STREAM; /* mostly near, so that it goes on */
            uint32_t seq = 1 + m.in_order + (uint32_t)(x % reach);
            seq -= (x >> 20) % 400 < seq ? (uint32_t)(x >> 20) % 400 : 0;
            uint32_t len = (uint32_t)(x >> 32) % (run % 3 ? 1460 : 40) + 1;
            if (seq < 1 || seq > STREAM)
                continue;
            if (seq + len > STREAM + 1)
                len = STREAM + 1 - seq;
            rig_in(r, 20 + i * 0.01, &(struct seg){".", seq, len, 1});
            if (rig_count(r, QS_COUNT_DROP_NO_CHUNK) == 0)
                note(&m, seq, len);
            else
                break; /* the bound: next test */
            REQUIRE(rig_info(r).readable_bytes == m.in_order - taken);
            if (x >> 56 & 1 && m.in_order > taken)
                taken += (uint32_t)rig_read(r, 3000);
            rig_flush(r);
        }
        rig_free(r);
    }
}

/* SegmentSmack: octets with a hole behind each cost a chunk each; the number is bounded, and what
 * fills the first hole is taken all the same. */
static void r45_chunks_are_bounded(void)
{
    qs_engine_opts o = rig_opts();
    o.rcvbuf_bytes = 65535;
    struct rig *r = rig_new(&o, false);
    rig_establish(r, NULL);
    for (uint32_t seq = 3; seq < 8003; seq += 2) {
        rig_in(r, 20, &(struct seg){".", seq, 1, 1});
        rig_flush(r);
    }
    uint64_t held = rig_count(r, QS_COUNT_CHUNKS);
    CHECK(held >= 32 && held <= 65535 / 512 + 16);
    CHECK(rig_count(r, QS_COUNT_DROP_NO_CHUNK) > 3000);
    for (uint32_t seq = 1; seq < 8003; seq += 1000)
        rig_in(r, 30, &(struct seg){".", seq, 1000, 1});
    CHECK_EQ(rig_read(r, 10000), 9000);
    rig_flush(r);
    CHECK(rig_count(r, QS_COUNT_CHUNKS) <= 1);
    rig_free(r);
}

/* One connection cannot take the chunks that others need to take octets in order. */
static void r45_r49_many_holes_leave_chunks_for_order(void)
{
    qs_engine_opts o = rig_opts();
    o.chunks_max = 64;
    struct rig *r = rig_new(&o, false);
    rig_establish(r, NULL);
    for (uint32_t seq = 3001; seq < 60000; seq += 3000)
        for (uint32_t k = 0; k < 10; k++)
            rig_in(r, 20, &(struct seg){".", seq + 2 * k, 1, 1});
    rig_flush(r);
    CHECK(rig_count(r, QS_COUNT_CHUNKS) <= 64 - 64 / 8);
    IN(30, ".", 1, 1400, 1);
    CHECK_EQ(rig_read(r, 2000), 1400);
    rig_free(r);
}

static void r39_fin_ahead_of_a_hole(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(20, "FP.", 101, 100, 1);
    OUT(20, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), 0);
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    IN(30, ".", 1, 100, 1);
    OUT(30, ".", 1, 0, 202);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE | QS_EVENT_EOF);
    CHECK_EQ(rig_state(r), QS_TCP_CLOSE_WAIT);
    CHECK_EQ(rig_read(r, 1000), 200);
    CHECK_EQ(rig_read(r, 1000), QS_ERR_EOF);
    rig_free(r);
}

static void fin_alone_ahead_of_a_hole(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(20, "F.", 101, 0, 1);
    OUT(20, ".", 1, 0, 1);
    IN(30, ".", 1, 100, 1);
    OUT(30, ".", 1, 0, 102);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE | QS_EVENT_EOF);
    rig_free(r);
}

/* Octets to the right of the window, and a FIN there, are cut off. */
static void r39_what_the_window_cuts_off(void)
{
    qs_engine_opts o = rig_opts();
    o.rcvbuf_bytes = 2048;
    struct rig *r = rig_new(&o, false);
    rig_establish(r, NULL);
    IN(20, "FP.", 1, 2100, 1);
    CHECK_EQ(rig_info(r).readable_bytes, 2048);
    OUT(20, ".", 1, 0, 2049);
    CHECK_EQ(r->last.wnd, 0);
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    CHECK_EQ(rig_read(r, 3000), 2048);
    OUT(20, ".", 1, 0, 2049);
    IN(30, "FP.", 2049, 52, 1);
    CHECK_EQ(rig_read(r, 3000), 52);
    CHECK_EQ(rig_read(r, 3000), QS_ERR_EOF);
    rig_free(r);
}

/* URGENT/11: the urgent pointer is never looked at, the octets are in line. */
static void r27_urgent_octets_are_in_line(void)
{
    static const uint16_t pointer[] = {0, 1, 5, 10, 11, 1000, 65535};
    for (size_t i = 0; i < sizeof pointer / sizeof pointer[0]; i++) {
        static struct frame f;
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        rig_build(r, &f, &(struct seg){"PU.", 1, 10, 1});
        put(frame_l4(&f) + 18, 2, pointer[i]);
        frame_fix(&f);
        rig_frame(r, 20, &f);
        IN(21, "P.", 11, 10, 1);
        CHECK_EQ(rig_read(r, 100), 20);
        rig_free(r);
    }
}

/* ... where pointer or octets lie across the wrap of the sequence numbers, the pointer is that of
 * octets that never come, or URG comes without octets: RFC 9293 section 3.8.5. */
static void urgent_at_the_wrap(void)
{
    static const uint16_t pointer[] = {0, 4, 5, 6, 15, 65535};
    for (size_t i = 0; i < sizeof pointer / sizeof pointer[0]; i++) {
        static struct frame f;
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        for (uint32_t seq = 1; seq < 41; seq += 10) { /* octet 16 is at sequence number 0 */
            rig_build(r, &f, &(struct seg){"U.", seq, 0, 1});
            put(frame_l4(&f) + 18, 2, pointer[i]);
            frame_fix(&f);
            rig_frame(r, 20 + seq, &f);
            rig_build(r, &f, &(struct seg){"PU.", seq, 10, 1});
            put(frame_l4(&f) + 18, 2, pointer[i]);
            frame_fix(&f);
            rig_frame(r, 20 + seq, &f);
        }
        CHECK_EQ(rig_read(r, 100), 40);
        rig_flush(r);
        rig_build(r, &f, &(struct seg){"FU.", 41, 0, 1});
        put(frame_l4(&f) + 18, 2, pointer[i]);
        frame_fix(&f);
        rig_frame(r, 55, &f);
        OUT(55, ".", 1, 0, 42);
        CHECK_EQ(rig_read(r, 100), QS_ERR_EOF);
        rig_free(r);
    }
}

int main(void)
{
    RUN(a_hole_is_told_at_once_and_again);
    RUN(each_segment_of_a_burst_has_its_duplicate);
    RUN(with_sack_one_says_it_all);
    RUN(duplicates_go_behind_octets);
    RUN(a_hole_filled_in_the_same_burst_is_told_once);
    RUN(after_a_loss_single_segments_are_acknowledged_at_once);
    RUN(a_part_of_the_hole_is_acknowledged_at_once);
    RUN(two_that_overlap);
    RUN(random_segments_against_a_model);
    RUN(r45_chunks_are_bounded);
    RUN(r45_r49_many_holes_leave_chunks_for_order);
    RUN(r39_fin_ahead_of_a_hole);
    RUN(fin_alone_ahead_of_a_hole);
    RUN(r39_what_the_window_cuts_off);
    RUN(r27_urgent_octets_are_in_line);
    RUN(urgent_at_the_wrap);
    return TEST_RESULT();
}
