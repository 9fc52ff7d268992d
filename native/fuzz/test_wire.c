/* SPDX-License-Identifier: Apache-2.0 */
/* The judge of frames is itself judged: right frames pass, and whatever is damaged is noticed. */
#include "bytes.h"
#include "qs_test.h"
#include "wire.h"

static const struct wire_rules rules = {
    1500, QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO, 65549, {2, 0, 0, 0, 0, 1}};
static uint8_t buf[WIRE_FRAME_MAX];

static struct wire_ends ends_of(bool v6)
{
    struct wire_ends e = {.src_mac = {2, 0, 0, 0, 0, 1}, .dst_mac = {2, 0, 0, 0, 0, 2}};
    e.src = v6 ? (qs_addr){{0xfd, [15] = 1}}
               : (qs_addr){{[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 1}};
    e.dst = e.src;
    e.dst.b[15] = 2;
    return e;
}

static struct wire_tcp segment(void)
{
    static const uint8_t ts[12] = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};
    static const uint8_t text[8] = "payload";
    return (struct wire_tcp){.src_port = 80,
                             .dst_port = 40000,
                             .seq = 7,
                             .ack = 9,
                             .flags = WIRE_ACK | WIRE_PSH,
                             .window = 1000,
                             .options = ts,
                             .options_len = sizeof ts,
                             .payload = text,
                             .payload_len = 7}; /* odd */
}

static struct qs_frame frame_of(size_t len)
{
    return (struct qs_frame){.data = buf, .len = (uint32_t)len, .room = 70000};
}

static const char *judge_segment(const struct wire_tcp *t)
{
    struct wire_ends e = ends_of(false);
    struct qs_frame f = frame_of(wire_build_tcp(buf, &e, t, NULL));
    struct wire_seen seen;
    return wire_judge(&f, &rules, &seen);
}

static void right_frames_pass(void)
{
    struct wire_seen seen;
    for (int v6 = 0; v6 < 2; v6++) {
        struct wire_ends e = ends_of(v6);
        struct wire_tcp t = segment();
        struct qs_frame f = frame_of(wire_build_tcp(buf, &e, &t, NULL));
        CHECK(wire_judge(&f, &rules, &seen) == NULL);
        CHECK_EQ(seen.kind, WIRE_IS_TCP);
        CHECK_EQ(seen.tcp.payload_len, 7);
        CHECK_MEM(&seen.ends.src, &e.src, sizeof(qs_addr));
        CHECK_EQ(get32(wire_option(&seen.tcp, 8) + 2), 0x01020304);
    }
    struct wire_ends e = ends_of(false);
    struct qs_frame f = frame_of(wire_build_arp(buf, &e, 1, e.dst_mac));
    CHECK(wire_judge(&f, &rules, &seen) == NULL);
    CHECK_EQ(seen.kind, WIRE_IS_ARP);
}

static void the_sum_is_that_of_rfc_1071(void)
{
    static const uint8_t example[8] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    CHECK_EQ(wire_sum(example, 8, 0), 0xddf2);
}

static void every_damaged_bit_behind_ethernet_is_noticed(void)
{
    struct wire_ends e = ends_of(false);
    struct wire_tcp t = segment();
    size_t len = wire_build_tcp(buf, &e, &t, NULL);
    struct qs_frame f = frame_of(len);
    struct wire_seen seen;
    for (size_t bit = 6 * 8; bit < len * 8; bit++) {
        buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(wire_judge(&f, &rules, &seen) != NULL);
        buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK(wire_judge(&f, &rules, &seen) == NULL);
}

static void lengths_are_kept(void)
{
    struct wire_ends e = ends_of(false);
    struct wire_tcp t = segment();
    struct wire_seen seen;
    static const uint8_t text[2000];
    struct qs_frame f = frame_of(wire_build_tcp(buf, &e, &t, NULL) + 1);
    CHECK(wire_judge(&f, &rules, &seen) != NULL);
    t.payload = text;
    t.payload_len = 1448;
    f = frame_of(wire_build_tcp(buf, &e, &t, NULL));
    CHECK(wire_judge(&f, &rules, &seen) == NULL);
    t.payload_len = 1449;
    f = frame_of(wire_build_tcp(buf, &e, &t, NULL));
    CHECK(wire_judge(&f, &rules, &seen) != NULL);
}

static void flags_and_options_make_sense(void)
{
    static const uint8_t wrong_flags[] = {0,
                                          WIRE_PSH,
                                          WIRE_FIN,
                                          WIRE_ACK | WIRE_URG,
                                          WIRE_SYN | WIRE_FIN | WIRE_ACK,
                                          WIRE_RST | WIRE_FIN | WIRE_ACK,
                                          WIRE_SYN | WIRE_ACK};
    static const uint8_t wrong_options[][4] = {{2, 4, 5, 180}, {3, 3, 7, 0}, {8, 12, 0, 0},
                                               {99, 4, 0, 0},  {8, 4, 0, 0}, {1, 1, 1, 5}};
    for (size_t i = 0; i < sizeof wrong_flags; i++) {
        struct wire_tcp t = segment(); /* it has a payload: no SYN may */
        t.flags = wrong_flags[i];
        CHECK(judge_segment(&t) != NULL);
    }
    for (size_t i = 0; i < sizeof wrong_options / sizeof wrong_options[0]; i++) {
        struct wire_tcp t = segment();
        t.options = wrong_options[i];
        t.options_len = 4;
        CHECK(judge_segment(&t) != NULL);
    }
}

static void offloads_are_those_of_the_device(void)
{
    struct wire_ends e = ends_of(true);
    struct wire_tcp t = segment();
    static const uint8_t text[4000];
    struct wire_rules none = rules;
    struct wire_seen seen;
    none.offloads = 0;
    t.payload = text;
    t.payload_len = 4000;
    struct qs_frame f = frame_of(wire_build_tcp(buf, &e, &t, NULL));
    f.flags = QS_FRAME_CSUM_PARTIAL | QS_FRAME_GSO;
    f.gso_bytes = 1428;
    f.csum_start = 54;
    f.csum_offset = 16;
    CHECK(wire_judge(&f, &rules, &seen) != NULL); /* the sum is complete, not partial */
    uint8_t pseudo[8] = {0};
    put32(pseudo, 32 + 4000);
    pseudo[7] = 6;
    uint16_t sum = wire_sum(pseudo, 8, wire_sum(buf + 22, 32, 0));
    put16(buf + 54 + 16, sum);
    CHECK(wire_judge(&f, &rules, &seen) == NULL);
    CHECK(wire_judge(&f, &none, &seen) != NULL);
    f.gso_bytes = 1429;
    CHECK(wire_judge(&f, &rules, &seen) != NULL);
    f.gso_bytes = 4000;
    CHECK(wire_judge(&f, &rules, &seen) != NULL);
    f.gso_bytes = 1428;
    f.csum_start = 53;
    CHECK(wire_judge(&f, &rules, &seen) != NULL);
}

static void chains_of_extensions_are_walked(void)
{
    static const uint8_t two[16] = {60, 0, 1, 4, [8] = 6, 0, 1, 4};
    CHECK_EQ(wire_ext_end(&(struct wire_ext){0, two, 16}), 6);
    CHECK_EQ(wire_ext_end(&(struct wire_ext){0, two, 8}), 60);
    CHECK_EQ(wire_ext_end(&(struct wire_ext){0, two, 15}), -1);
    CHECK_EQ(wire_ext_end(&(struct wire_ext){6, two, 16}), -1);
}

int main(void)
{
    RUN(right_frames_pass);
    RUN(the_sum_is_that_of_rfc_1071);
    RUN(every_damaged_bit_behind_ethernet_is_noticed);
    RUN(lengths_are_kept);
    RUN(flags_and_options_make_sense);
    RUN(offloads_are_those_of_the_device);
    RUN(chains_of_extensions_are_walked);
    return TEST_RESULT();
}
