/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile segments for which there is no other program. The number in front of a name is that of
 * the item in docs/conformance.md; tests of other programs carry theirs too. */
#include "core/engine.h"
#include "rig.h"

/* A segment whose right checksum is 0 is taken; its other spelling, 0xffff, is the same sum. */
static void r24_checksum_0(void)
{
    for (uint32_t spelled = 0; spelled <= 0xffff; spelled += 0xffff) {
        static struct frame f;
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        rig_build(r, &f, &(struct seg){"P.", 1, 20, 1});
        uint8_t *h = frame_l4(&f);
        uint32_t wnd = be(h + 14, 2) + be(h + 16, 2); /* the window takes what the sum was */
        put(h + 14, 2, (wnd & 0xffff) + (wnd >> 16));
        frame_fix(&f);
        CHECK(be(h + 16, 2) == 0 || be(h + 16, 2) == 0xffff);
        put(h + 16, 2, spelled);
        rig_frame(r, 20, &f);
        CHECK_EQ(rig_read(r, 100), 20);
        rig_free(r);
    }
}

/* The peer answers our SYN with an ACK, and sends its own SYN later. */
static void r26_split_handshake(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_SENT);
    IN(10, ".", 0, 0, 1);
    CHECK_COUNT(DROP_FLAGS, 1);
    IN(20, "S", 0, 0, 0, .opts = "mss 1000");
    OUT(20, "S.", 0, 0, 1);
    IN(30, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    CHECK_EQ(rig_write(r, 10), 10);
    OUT(30, "P.", 1, 10, 1);
    rig_free(r);
}

static void r29_mss_is_clamped(void)
{
    static const struct {
        const char *opts;
        uint32_t mss;
    } row[] = {
        {"mss 0", 536}, {"mss 1", 88},      {"mss 48", 88},     {"mss 87", 88},
        {"mss 88", 88}, {"mss 1460", 1460}, {"mss 1461", 1460}, {"mss 65535", 1460},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, row[i].opts);
        CHECK_EQ(rig_info(r).mss_octets, row[i].mss);
        rig_write(r, 3000);
        OUT(10, ".", 1, row[i].mss, 1);
        rig_free(r);
    }
}

/* SACK blocks of any numbers: the right ACK still ends it, and every invariant holds. */
static void r32_sack_blocks_of_any_form(void)
{
    uint64_t random = qs_test_seed();
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, "mss 1000 sok");
    rig_write(r, 8000);
    rig_flush(r);
    for (int i = 0; i < 3000; i++) {
        char opts[160] = "";
        uint32_t n = 1 + (uint32_t)(qs_test_random(&random) % 4), at = 0;
        for (uint32_t k = 0; k < n; k++) {
            uint64_t x = qs_test_random(&random);
            uint32_t mask = x >> 63 ? 0xffffffffu : 0x3fffu;
            at +=
                (uint32_t)sprintf(opts + at, "%s%u-%u", k ? "," : "sack ",
                                  ((uint32_t)x & mask) - 4000, ((uint32_t)(x >> 24) & mask) - 4000);
        }
        rig_in(r, 20, &(struct seg){".", 1, 0, 1, .opts = opts});
        rig_flush(r);
        rig_audit(r);
    }
    rig_in(r, 30, &(struct seg){".", 1, 0, 8001});
    CHECK_EQ(rig_info(r).unacked_bytes, 0);
    rig_write(r, 500);
    OUT(30, "P.", 8001, 500, 1);
    rig_free(r);
}

/* Octets from the FIN on are not part of the stream, whether they come before it ... */
static void r39_octets_kept_behind_a_fin(void)
{
    for (uint32_t fin_at = 1; fin_at <= 1501; fin_at += 500) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, "mss 1000 sok");
        rig_in(r, 20, &(struct seg){".", 1001, 1000, 1});
        rig_in(r, 20, &(struct seg){"F.", fin_at, 0, 1});
        rig_flush(r);
        rig_in(r, 30, &(struct seg){".", 1, fin_at - 1, 1});
        if (fin_at > 1) /* nothing but the FIN itself may be left */
            CHECK_EQ(rig_read(r, 3000), fin_at - 1);
        CHECK_EQ(rig_state(r), QS_TCP_CLOSE_WAIT);
        CHECK_EQ(rig_read(r, 3000), QS_ERR_EOF);
        rig_audit(r);
        rig_free(r);
    }
}

/* ... or after. */
static void r39_octets_sent_behind_a_fin(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, "mss 1000 sok");
    rig_in(r, 20, &(struct seg){"F.", 501, 0, 1});
    rig_in(r, 20, &(struct seg){".", 701, 300, 1});
    rig_flush(r);
    rig_in(r, 30, &(struct seg){".", 1, 1000, 1});
    CHECK_EQ(rig_read(r, 3000), 500);
    CHECK_EQ(rig_state(r), QS_TCP_CLOSE_WAIT);
    CHECK_EQ(rig_read(r, 3000), QS_ERR_EOF);
    rig_free(r);
}

/* A window from right of the peer's FIN is nobody's: it must not shut ours for ever. */
static void r39_window_from_behind_a_fin(void)
{
    static struct frame f;
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_CLOSE_WAIT);
    rig_build(r, &f, &(struct seg){".", 100, 0, 1});
    put(frame_l4(&f) + 14, 2, 0);
    frame_fix(&f);
    rig_frame(r, 30, &f);
    rig_write(r, 100);
    OUT(30, "P.", 1, 100, 2);
    rig_free(r);
}

/* RFC 3465: the window grows with octets, not with ACKs. */
static void r40_ack_division_earns_nothing(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 10000);
    rig_flush(r);
    uint32_t before = rig_info(r).cwnd_octets;
    for (uint32_t i = 1; i <= 1000; i++)
        rig_in(r, 20, &(struct seg){".", 1, 0, 1 + i});
    CHECK(rig_info(r).cwnd_octets <= before + 1000);
    rig_free(r);
}

/* Who acknowledges what was not sent learns nothing and gets nothing. */
static void r40_optimistic_acks(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 3000);
    rig_flush(r);
    for (uint32_t i = 1; i <= 100; i++)
        rig_in(r, 20, &(struct seg){".", 1, 0, 3001 + i});
    CHECK_COUNT(DROP_ACK, 100);
    CHECK_COUNT(CHALLENGE_ACKS, 1); /* and no war of ACKs */
    CHECK_EQ(rig_info(r).unacked_bytes, 3000);
    CHECK_EQ(rig_info(r).cwnd_octets, 10000);
    rig_free(r);
}

/* Who does not know the secret cannot choose tuples that meet in the table. */
static void r51_the_hash_is_keyed(void)
{
    qs_engine_opts o = rig_opts();
    uint32_t equal = 0, first[256];
    for (int k = 0; k < 2; k++) {
        o.secret[20] = (uint8_t)k;
        struct rig *r = rig_new(&o, false);
        qs_addr peer = rig_peer(r);
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t h = qs_tuple_hash(r->e, &peer, (uint16_t)(40000 + i), 0, RIG_PORT);
            equal += k && h % 1024 == first[i] % 1024;
            first[i] = h;
        }
        rig_free(r);
    }
    CHECK(equal < 8); /* one in four is expected */
}

/* An error or a redirect for a connection, quoting numbers that were never sent. */
static void r20_r21_icmp_errors_from_afar(void)
{
    static const uint8_t type[][2] = {{3, 1}, {3, 3}, {3, 4}, {5, 1}, {11, 0}, {12, 0}, {4, 0}};
    static const uint32_t mtu[] = {0, 68, 551, 1400, 65535};
    for (size_t i = 0; i < 7 * 5; i++) {
        static struct frame f, quoted;
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        rig_write(r, 3000);
        rig_flush(r);
        struct wire_tcp t = {.src = rig_addr(r),
                             .dst = rig_peer(r),
                             .src_port = RIG_PORT,
                             .dst_port = RIG_PEER_PORT,
                             .seq = RIG_ISN + 0x40000000u,
                             .flags = "."};
        frame_tcp(&quoted, &t);
        qs_addr src = rig_peer(r), dst = rig_addr(r);
        uint32_t quote = i % 3 ? 28 : 4;
        uint8_t *m = frame_ip(&f, &src, &dst, 1, 8 + quote);
        memset(m, 0, 8);
        memcpy(m, type[i % 7], 2);
        put(m + 4, 4, mtu[i / 7]);
        memcpy(m + 8, quoted.b + FRAME_ETH, quote);
        frame_fix(&f);
        rig_frame(r, 20, &f);
        QUIET(20);
        CHECK_EQ(rig_count(r, QS_COUNT_DROP_ICMP) + rig_count(r, QS_COUNT_DROP_ICMP_QUOTE), 1);
        CHECK_EQ(rig_info(r).mss_octets, 1000);
        CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
        rig_in(r, 30, &(struct seg){".", 1, 0, 3001});
        CHECK_EQ(rig_info(r).unacked_bytes, 0);
        rig_free(r);
    }
}

int main(void)
{
    RUN(r20_r21_icmp_errors_from_afar);
    RUN(r24_checksum_0);
    RUN(r26_split_handshake);
    RUN(r29_mss_is_clamped);
    RUN(r32_sack_blocks_of_any_form);
    RUN(r39_octets_kept_behind_a_fin);
    RUN(r39_octets_sent_behind_a_fin);
    RUN(r39_window_from_behind_a_fin);
    RUN(r40_ack_division_earns_nothing);
    RUN(r40_optimistic_acks);
    RUN(r51_the_hash_is_keyed);
    return TEST_RESULT();
}
