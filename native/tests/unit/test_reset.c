/* SPDX-License-Identifier: Apache-2.0 */
/* RST and SYN for a connection that exists: RFC 5961 sections 3, 4 and 7, in every synchronized
 * state. The peer's window into us is at its default, 65,535 octets without scaling. */
#include "rig.h"

#define WND 65535u

static const enum qs_tcp_state synchronized[] = {
    QS_TCP_ESTABLISHED, QS_TCP_FIN_WAIT_1, QS_TCP_FIN_WAIT_2, QS_TCP_CLOSE_WAIT,
    QS_TCP_CLOSING,     QS_TCP_LAST_ACK,   QS_TCP_TIME_WAIT,
};
#define N_STATES (sizeof synchronized / sizeof synchronized[0])

static void r36_only_the_exact_number_resets(void)
{
    static const struct {
        uint32_t off; /* from RCV.NXT */
        bool closed, challenged;
        enum qs_counter counter;
    } row[] = {
        {0, true, false, QS_COUNT_RESETS_RECEIVED},
        {1, false, true, QS_COUNT_DROP_RST},
        {0x20, false, true, QS_COUNT_DROP_RST}, /* past the wrap */
        {WND - 1, false, true, QS_COUNT_DROP_RST},
        {WND, false, false, QS_COUNT_DROP_OUT_OF_WINDOW},
        {(uint32_t)-1, false, false, QS_COUNT_DROP_OUT_OF_WINDOW},
        {0x80000000u, false, false, QS_COUNT_DROP_OUT_OF_WINDOW},
    };
    for (size_t k = 0; k < N_STATES; k++) {
        for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
            struct rig *r = rig_new(NULL, false);
            rig_to(r, synchronized[k]);
            uint32_t una =
                synchronized[k] == QS_TCP_ESTABLISHED || synchronized[k] == QS_TCP_CLOSE_WAIT ? 1
                                                                                              : 2;
            /* What a FIN took of the window is not given back before the next ACK. */
            uint32_t off =
                row[i].off + (row[i].off == WND - 1 || row[i].off == WND ? 1 - r->seq : 0);
            IN(100, "R", r->seq + off, 0, 0);
            /* There none resets, RFC 1337 section 3. */
            bool deaf = synchronized[k] == QS_TCP_TIME_WAIT && row[i].closed;
            CHECK_EQ(rig_count(r, deaf ? QS_COUNT_DROP_RST : row[i].counter), 1);
            CHECK_EQ(rig_state(r) == QS_TCP_CLOSED, row[i].closed && !deaf);
            if (row[i].challenged)
                OUT(100, ".", una, 0, r->seq);
            QUIET(110);
            CHECK_COUNT(CHALLENGE_ACKS, row[i].challenged);
            rig_free(r);
        }
    }
}

/* What the application hears of an exact reset. */
static void a_reset_is_an_error_until_both_sides_are_done(void)
{
    for (size_t k = 0; k < N_STATES; k++) {
        enum qs_tcp_state s = synchronized[k];
        bool done = s == QS_TCP_CLOSING || s == QS_TCP_LAST_ACK;
        if (s == QS_TCP_TIME_WAIT)
            continue;
        struct rig *r = rig_new(NULL, false);
        rig_to(r, s);
        IN(100, "R.", r->seq, 0, r->ack);
        CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
        CHECK_EQ(r->ev.err, done ? 0 : QS_ERR_RESET);
        CHECK_EQ(rig_event(r), 0);
        CHECK_COUNT(CONNS, 0);
        QUIET(200000);
        rig_free(r);
    }
}

static void a_reset_with_payload_or_more_flags_is_a_reset(void)
{
    static const struct seg in[] = {
        {"R", 1, 5, 0}, {"FR", 1, 0, 0}, {"SR", 1, 0, 0}, {"RP.", 1, 9, 1}};
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        rig_in(r, 20, &in[i]);
        CHECK_EQ(rig_state(r), QS_TCP_CLOSED);
        QUIET(1000);
        rig_free(r);
    }
}

/* RFC 5961 section 4.2: whatever its sequence number, a SYN is answered with an ACK. */
static void r36_syn_is_challenged_in_every_state(void)
{
    static const uint32_t off[] = {0, 1, 1000};
    for (size_t k = 0; k < N_STATES; k++) {
        for (size_t i = 0; i < sizeof off / sizeof off[0]; i++) {
            struct rig *r = rig_new(NULL, false);
            rig_to(r, synchronized[k]);
            IN(100, "S", r->seq + off[i], 0, 0);
            CHECK_COUNT(DROP_SYN, 1);
            CHECK_COUNT(CHALLENGE_ACKS, 1);
            CHECK_EQ(rig_state(r), synchronized[k]);
            rig_run(r, 100);
            CHECK_EQ(r->n_queue, 1);
            rig_free(r);
        }
    }
}

static void r38_syn_ack_and_old_syn_are_challenged_too(void)
{
    static const struct seg in[] = {
        {"S.", 1, 0, 1}, {"S.", 0, 0, 1}, {"S", 0, 0, 0}, {"S", 0x70000000u, 0, 0}};
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        rig_in(r, 20, &in[i]);
        OUT(20, ".", 1, 0, 1);
        CHECK_COUNT(CHALLENGE_ACKS, 1);
        rig_free(r);
    }
}

/* RFC 5961 section 7: at most one in half a second, for each connection. */
static void r37_challenges_are_limited(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(1000, "R", 2, 0, 0);
    OUT(1000, ".", 1, 0, 1);
    for (int ms = 1001; ms < 1499; ms += 7)
        IN(ms, "S", 5, 0, 0);
    QUIET(1499);
    IN(1501, "R", 3, 0, 0);
    OUT(1501, ".", 1, 0, 1);
    CHECK_COUNT(CHALLENGE_ACKS, 2);
    rig_free(r);
}

#define CROWD 40

static struct rig *with_crowd(uint32_t challenges_per_second, uint8_t secret)
{
    qs_engine_opts o = rig_opts();
    o.challenges_per_second = challenges_per_second;
    o.secret[5] ^= secret;
    struct rig *r = rig_new(&o, false);
    rig_listen(r);
    for (uint16_t i = 0; i < CROWD; i++) {
        rig_in(r, 0, &(struct seg){.flags = "S", .peer_port = (uint16_t)(1000 + i)});
        rig_run(r, 0);
        r->iss = be(frame_l4(rig_take(r)) + 4, 4);
        rig_in(r, 0, &(struct seg){".", 1, 0, 1, .peer_port = (uint16_t)(1000 + i)});
        REQUIRE(rig_event(r) == QS_EVENT_OPEN);
    }
    return r;
}

/* A SYN to each of the crowd. @return challenge ACKs that left. */
static uint32_t provoke(struct rig *r, double ms)
{
    uint64_t before = rig_count(r, QS_COUNT_CHALLENGE_ACKS);
    for (uint16_t i = 0; i < CROWD; i++)
        rig_in(r, ms, &(struct seg){"S", 5, 0, 0, .peer_port = (uint16_t)(1000 + i)});
    rig_run(r, ms);
    uint32_t n = r->n_queue;
    rig_flush(r);
    CHECK_EQ(rig_count(r, QS_COUNT_CHALLENGE_ACKS) - before, n);
    return n;
}

/* The same section: all connections together have a budget for each second, and nobody can know
 * it (CVE-2016-5696). */
static void challenges_of_all_are_limited(void)
{
    struct rig *r = with_crowd(10, 0);
    double second = (double)(1000000000u - r->start_ns % 1000000000u) / 1e6;
    uint32_t seen = 0, sum = 0;
    for (int i = 0; i < 60; i++) {
        uint32_t n = provoke(r, second + 1000 * i + 1);
        CHECK(n >= 5 && n < 15);
        CHECK_EQ(provoke(r, second + 1000 * i + 999), 0); /* the second is not over */
        seen |= 1u << n;
        sum += n;
    }
    CHECK(__builtin_popcount(seen) > 6);
    CHECK(sum > 60 * 8 && sum < 60 * 11);
    CHECK_COUNT(CHALLENGE_ACKS, sum);
    CHECK_COUNT(CHALLENGES_SUPPRESSED, 60 * 2 * CROWD - sum);
    rig_free(r);
}

static void the_budget_differs_by_secret(void)
{
    uint32_t n[2][20];
    for (uint8_t i = 0; i < 2; i++) {
        struct rig *r = with_crowd(20, i);
        double start = 40000e3 - (double)r->start_ns / 1e6; /* the same seconds for both */
        for (int k = 0; k < 20; k++)
            n[i][k] = provoke(r, start + 1000 * k + 500);
        rig_free(r);
    }
    CHECK(memcmp(n[0], n[1], sizeof n[0]) != 0);
}

static void the_default_budget_is_ample(void)
{
    struct rig *r = with_crowd(1000, 0);
    CHECK_EQ(provoke(r, 100), CROWD);
    CHECK_COUNT(CHALLENGES_SUPPRESSED, 0);
    rig_free(r);
}

/* The window is that of the scaled option, not the 16 bits. */
static void a_scaled_window_is_the_whole_one(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, "mss 1000 ws 2");
    IN(20, "P.", 1, 2000, 1); /* the first ACK after the handshake tells all 256 KiB */
    OUT(20, ".", 1, 0, 2001);
    uint32_t edge = 2001 + r->last.wnd * 8u;
    CHECK(edge > 200000);
    IN(30, "R", edge, 0, 0);
    CHECK_COUNT(DROP_OUT_OF_WINDOW, 1);
    IN(31, "R", edge - 1, 0, 0);
    CHECK_COUNT(DROP_RST, 1);
    rig_free(r);
}

static void reset_of_one_leaves_the_others(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    qs_conn first = r->conn;
    uint32_t iss = r->iss;
    rig_in(r, 20, &(struct seg){.flags = "S", .peer_port = 40001});
    rig_run(r, 20);
    r->iss = be(frame_l4(rig_take(r)) + 4, 4);
    CHECK(r->iss != iss);
    IN(21, ".", 1, 0, 1, .peer_port = 40001);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    IN(22, "R", 1, 0, 0, .peer_port = 40001);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    r->iss = iss;
    r->conn = first;
    IN(23, "P.", 1, 10, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    rig_free(r);
}

int main(void)
{
    RUN(r36_only_the_exact_number_resets);
    RUN(a_reset_is_an_error_until_both_sides_are_done);
    RUN(a_reset_with_payload_or_more_flags_is_a_reset);
    RUN(r36_syn_is_challenged_in_every_state);
    RUN(r38_syn_ack_and_old_syn_are_challenged_too);
    RUN(r37_challenges_are_limited);
    RUN(challenges_of_all_are_limited);
    RUN(the_budget_differs_by_secret);
    RUN(the_default_budget_is_ample);
    RUN(a_scaled_window_is_the_whole_one);
    RUN(reset_of_one_leaves_the_others);
    return TEST_RESULT();
}
