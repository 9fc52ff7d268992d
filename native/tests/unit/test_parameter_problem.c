/* SPDX-License-Identifier: Apache-2.0 */
/* IPv6 options that are not known: RFC 8200 section 4.2, and the errors that are sent because of
 * them: RFC 4443 section 2.4. */
#include "rig.h"

static const qs_addr group = {{0xff, 2, [15] = 1}};

/* A TCP segment (or what `protocol` says) behind a header of `kind` with `options`, 6 octets. */
static void with_options(const struct rig *r, struct frame *f, uint8_t kind, const uint8_t *options,
                         uint8_t protocol)
{
    qs_addr src = rig_peer(r), dst = rig_addr(r);
    uint8_t *h = frame_ip(f, &src, &dst, kind, 8 + 20);
    memset(h, 0, 28);
    h[0] = protocol;
    memcpy(h + 2, options, 6);
    put(h + 8, 2, 1234);
    put(h + 10, 2, RIG_PORT);
    h[8 + 12] = 0x50;
    h[8 + 13] = 2;
}

static void to_group(struct frame *f)
{
    memcpy(f->b, (uint8_t[]){0x33, 0x33, 0, 0, 0, 1}, 6);
    memcpy(f->b + FRAME_ETH + 24, &group, 16);
}

static void expect_problem(struct rig *r, const struct frame *about, uint32_t pointer)
{
    struct frame *f = rig_take(r);
    REQUIRE(f);
    qs_addr own = rig_addr(r), peer = rig_peer(r);
    uint32_t packet = about->len - FRAME_ETH, quoted = packet < 1232 ? packet : 1232;
    uint8_t *m = frame_l4(f);
    uint16_t sum = (uint16_t)be(m + 2, 2);
    CHECK_MEM(f->b, about->b + 6, 6);
    CHECK_EQ(be(f->b + 12, 2), 0x86dd);
    CHECK_EQ(f->b[FRAME_ETH + 6], 58);
    CHECK_MEM(f->b + FRAME_ETH + 8, &own, 16);
    CHECK_MEM(f->b + FRAME_ETH + 24, &peer, 16);
    CHECK_EQ(f->len, FRAME_ETH + 40 + 8 + quoted);
    CHECK_EQ(be(m, 2), 0x0402);
    CHECK_EQ(be(m + 4, 4), pointer);
    CHECK_MEM(m + 8, about->b + FRAME_ETH, quoted);
    frame_fix(f);
    CHECK_EQ(be(m + 2, 2), sum);
}

static void what_becomes_of_unknown_options(void)
{
    static const struct {
        uint8_t options[6];
        bool taken;
        uint32_t told, told_group; /* pointer of the error, 0: none */
    } row[] = {
        {{1, 4}, true, 0, 0},                        /* PadN */
        {{0, 0, 0, 0, 0, 0}, true, 0, 0},            /* Pad1 */
        {{0x1e, 4}, true, 0, 0},                     /* 00: skipped */
        {{0x3e, 0, 0x1e, 0, 0x05, 0}, true, 0, 0},   /* router alert, too */
        {{0x5e, 4}, false, 0, 0},                    /* 01: silence */
        {{0x9e, 4}, false, 42, 42},                  /* 10 */
        {{0xde, 4}, false, 42, 0},                   /* 11: not about what went to a group */
        {{0x1e, 0, 0, 1, 0, 0xc2}, false, 0, 0},     /* its length is missing */
        {{0x1e, 0, 0xde, 0, 0x9e, 0}, false, 44, 0}, /* the first that is not skipped */
        {{0x9e, 5}, false, 0, 0},                    /* reaches past the header */
        {{1, 255}, false, 0, 0},
        {{1, 5}, false, 0, 0},
    };
    static struct frame f;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        for (int which = 0; which < 4; which++) {
            struct rig *r = rig_new(NULL, true);
            rig_listen(r);
            bool multicast = which & 1;
            with_options(r, &f, which & 2 ? 60 : 0, row[i].options, multicast ? 58 : 6);
            if (multicast) {
                to_group(&f);
                f.b[FRAME_ETH + 48] = 200; /* a query, no error */
            } else {
                frame_l4(&f); /* TCP's checksum is right with the pseudo header of TCP */
                uint8_t *tcp = f.b + FRAME_ETH + 48;
                uint32_t sum = naive_sum(f.b + FRAME_ETH + 8, 32, 20 + 6);
                put(tcp + 16, 2, naive_checksum(naive_sum(tcp, 20, sum)));
            }
            rig_frame(r, 1, &f);
            rig_run(r, 1);
            uint32_t told = multicast ? row[i].told_group : row[i].told;
            CHECK_COUNT(DROP_IP_OPTIONS, !row[i].taken);
            CHECK_COUNT(ICMP_ERRORS_SENT, told != 0);
            if (told)
                expect_problem(r, &f, told);
            else if (row[i].taken && !multicast)
                CHECK(frame_is_tcp(rig_take(r))); /* the answer to its SYN */
            QUIET(2);
            rig_free(r);
        }
}

static void more_options_than_anybody_needs(void)
{
    for (uint32_t n = 7; n <= 10; n++) {
        static struct frame f;
        struct rig *r = rig_new(NULL, true);
        qs_addr src = rig_peer(r), dst = rig_addr(r);
        uint8_t *h = frame_ip(&f, &src, &dst, 60, 24);
        memset(h, 0, 24);
        h[0] = 59; /* no next header */
        h[1] = 2;
        for (uint32_t i = 0; i < n; i++)
            h[2 + 2 * i] = 0x1e;
        rig_frame(r, 1, &f);
        CHECK_COUNT(DROP_IP_OPTIONS, n > 8);
        CHECK_COUNT(DROP_PROTOCOL, n <= 8);
        rig_free(r);
    }
}

/* The option of 11 and the whole packet, whatever its length. */
static void the_quote_fits_the_smallest_mtu(void)
{
    for (uint32_t octets = 1180; octets <= 1240; octets++) {
        static struct frame f;
        struct rig *r = rig_new(NULL, true);
        qs_addr src = rig_peer(r), dst = rig_addr(r);
        uint8_t *h = frame_ip(&f, &src, &dst, 0, octets);
        memset(h, 7, octets);
        memcpy(h, (uint8_t[]){6, 0, 0xde, 4, 0, 0, 0, 0}, 8);
        rig_frame(r, 1, &f);
        rig_run(r, 1);
        expect_problem(r, &f, 42);
        rig_free(r);
    }
}

/* RFC 4443 section 2.4 (e): no error about an error, nor to whom it would not reach. */
static void what_is_never_answered(void)
{
    static struct frame f;
    static const uint8_t options[6] = {0xde, 4};
    static const uint8_t types[] = {1, 2, 3, 4, 100, 127, 137};
    for (size_t i = 0; i < sizeof types; i++) {
        struct rig *r = rig_new(NULL, true);
        with_options(r, &f, 60, options, 58);
        f.b[FRAME_ETH + 48] = types[i];
        rig_frame(r, 1, &f);
        QUIET(2);
        CHECK_COUNT(DROP_IP_OPTIONS, 1);
        rig_free(r);
    }
    for (int i = 0; i < 7; i++) {
        struct rig *r = rig_new(NULL, true);
        qs_addr own = rig_addr(r);
        with_options(r, &f, 60, options, 6);
        uint8_t *ip = f.b + FRAME_ETH;
        switch (i) {
        case 0:
            ip[8] = 0xff; /* from a group */
            break;
        case 1:
            memset(ip + 8, 0, 16);
            break;
        case 2:
            memcpy(ip + 8, &own, 16);
            break;
        case 3:
            ip[39] = 3; /* to somebody else */
            break;
        case 4:
            f.b[5] = 9; /* another station's */
            break;
        case 5:
            f.b[6] = 3; /* from a group of stations */
            break;
        default:
            memset(f.b, 0xff, 6); /* to all of them */
            break;
        }
        rig_frame(r, 1, &f);
        QUIET(2);
        CHECK_COUNT(DROP_IP_OPTIONS, 1);
        CHECK_COUNT(ICMP_ERRORS_SENT, 0);
        rig_free(r);
    }
}

/* RFC 4443 section 2.4 (f): ten in a second on average, and nobody can know how many. */
static void r22_they_are_rationed(void)
{
    static struct frame f;
    static const uint8_t options[6] = {0xde, 4};
    struct rig *r = rig_new(NULL, true);
    double second = (double)(1000000000u - r->start_ns % 1000000000u) / 1e6;
    uint32_t seen = 0;
    uint64_t sum = 0;
    with_options(r, &f, 60, options, 6);
    for (int i = 0; i < 60; i++) {
        for (int ms = 1; ms < 1000; ms += 20)
            rig_frame(r, second + 1000 * i + ms, &f);
        uint64_t n = rig_count(r, QS_COUNT_ICMP_ERRORS_SENT) - sum;
        CHECK(n >= 5 && n < 15);
        seen |= 1u << n;
        sum += n;
        CHECK_EQ(rig_count(r, QS_COUNT_ICMP_ERRORS_LIMITED), ((uint64_t)i + 1) * 50 - sum);
        rig_run(r, second + 1000 * i + 999);
        rig_flush(r);
    }
    CHECK(sum > 500 && sum < 700);
    CHECK(__builtin_popcount(seen) > 4);
    rig_frame(r, 1e6, &f); /* none are saved up in a silence */
    for (int i = 0; i < 100; i++)
        rig_frame(r, 1e6, &f);
    CHECK(rig_count(r, QS_COUNT_ICMP_ERRORS_SENT) - sum < 15);
    rig_free(r);
}

int main(void)
{
    RUN(what_becomes_of_unknown_options);
    RUN(more_options_than_anybody_needs);
    RUN(the_quote_fits_the_smallest_mtu);
    RUN(what_is_never_answered);
    RUN(r22_they_are_rationed);
    return TEST_RESULT();
}
