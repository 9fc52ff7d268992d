/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that are malformed, or not for us: each is dropped for its one reason, nothing is sent,
 * and the next good segment is taken. */
#include "rig.h"

/* A good segment of 20 octets for an established connection. */
static void good(const struct rig *r, struct frame *f)
{
    rig_build(r, f, &(struct seg){"P.", 1, 20, 1, "nop nop nop nop"});
}

/* `f` is dropped for `why`, silently; a good segment is taken after. */
static void dropped(struct rig *r, const struct frame *f, enum qs_counter why)
{
    static struct frame g;
    uint64_t before[QS_N_COUNTERS], after[QS_N_COUNTERS];
    (void)qs_engine_counters(r->e, before, QS_N_COUNTERS);
    rig_frame(r, 20, f);
    CHECK(rig_quiet(r, 20));
    (void)qs_engine_counters(r->e, after, QS_N_COUNTERS);
    for (size_t i = 0; i < QS_N_COUNTERS; i++) {
        uint64_t more = i == why || i == QS_COUNT_RX_FRAMES ? 1
                        : i == QS_COUNT_RX_BYTES            ? f->len
                                                            : 0;
        if (after[i] - before[i] != more)
            fprintf(stderr, "counter %s rose by %d\n", qs_counter_name(i),
                    (int)(after[i] - before[i]));
        CHECK_EQ(after[i] - before[i], more);
    }
    good(r, &g);
    rig_frame(r, 21, &g);
    CHECK_EQ(rig_read(r, 100), 20);
}

/* One change to a good frame. */
struct change {
    uint32_t at, bytes, value; /* offset from the IP header */
    int32_t grow;              /* the frame becomes longer or shorter by this */
    bool no_fix;               /* leave the checksums as they are */
    enum qs_counter why;
};

static void run_changes(const struct change *c, size_t n, bool v6)
{
    static struct frame f;
    for (size_t i = 0; i < n; i++) {
        int before = qs_test_failures;
        struct rig *r = rig_new(NULL, v6);
        rig_establish(r, NULL);
        good(r, &f);
        uint32_t l4 = f.len - FRAME_ETH - (v6 ? 40 : 20);
        if (c[i].bytes)
            put(f.b + FRAME_ETH + c[i].at, (int)c[i].bytes, c[i].value);
        if (!c[i].no_fix)
            frame_fix_to(&f, l4);
        f.len = (uint32_t)((int32_t)f.len + c[i].grow);
        dropped(r, &f, c[i].why);
        if (qs_test_failures != before)
            fprintf(stderr, "in row %zu\n", i);
        rig_free(r);
    }
}

/* IP header 20, TCP header 24, payload 20: 64 bytes. */
static void r12_r13_r14_r16_r17_ipv4_headers(void)
{
    static const struct change row[] = {
        {0, 1, 0x55, 0, true, QS_COUNT_DROP_IP_HEADER}, /* version */
        {0, 1, 0x44, 0, true, QS_COUNT_DROP_IP_HEADER}, /* header length below 5 */
        {0, 1, 0x40, 0, true, QS_COUNT_DROP_IP_HEADER},
        {0, 1, 0x4f, 0, true, QS_COUNT_DROP_IP_HEADER}, /* its sum is wrong then */
        {2, 2, 0, 0, true, QS_COUNT_DROP_IP_HEADER},    /* total length below the header's */
        {2, 2, 19, 0, true, QS_COUNT_DROP_IP_HEADER},
        {2, 2, 65, 0, true, QS_COUNT_DROP_TRUNCATED}, /* beyond the frame */
        {2, 2, 65535, 0, true, QS_COUNT_DROP_TRUNCATED},
        {0, 0, 0, -1, false, QS_COUNT_DROP_TRUNCATED}, /* a frame cut short */
        {0, 0, 0, -64, false, QS_COUNT_DROP_TRUNCATED},
        {0, 0, 0, -45, false, QS_COUNT_DROP_TRUNCATED},    /* 19 bytes of IP header */
        {10, 2, 0x1234, 0, true, QS_COUNT_DROP_IP_HEADER}, /* header checksum */
        {6, 2, 0x2000, 0, false, QS_COUNT_DROP_FRAGMENT},  /* more fragments */
        {6, 2, 0x0001, 0, false, QS_COUNT_DROP_FRAGMENT},
        {6, 2, 0x1fff, 0, false, QS_COUNT_DROP_FRAGMENT},
        {6, 2, 0x6000, 0, false, QS_COUNT_DROP_FRAGMENT}, /* and don't fragment */
        {9, 1, 17, 0, true, QS_COUNT_DROP_IP_HEADER},
        {12, 4, 0x7f000001, 0, false, QS_COUNT_DROP_IP_SOURCE},
        {12, 4, 0x00000000, 0, false, QS_COUNT_DROP_IP_SOURCE},
        {12, 4, 0xe0000001, 0, false, QS_COUNT_DROP_IP_SOURCE},
        {12, 4, 0xffffffff, 0, false, QS_COUNT_DROP_IP_SOURCE},
        {12, 4, 0x0a000001, 0, false, QS_COUNT_DROP_IP_SOURCE}, /* our own: LAND */
        {16, 4, 0x0a0000ff, 0, false, QS_COUNT_DROP_NOT_OURS},
        {16, 4, 0xffffffff, 0, false, QS_COUNT_DROP_NOT_OURS},
        {16, 4, 0xe0000001, 0, false, QS_COUNT_DROP_NOT_OURS},
    };
    run_changes(row, sizeof row / sizeof row[0], false);
}

/* IP header 40, TCP header 24, payload 20. */
static void r12_r17_r18_r19_ipv6_headers(void)
{
    static const struct change row[] = {
        {0, 1, 0x50, 0, true, QS_COUNT_DROP_IP_HEADER},
        {0, 1, 0x40, 0, true, QS_COUNT_DROP_IP_HEADER},
        {4, 2, 45, 0, true, QS_COUNT_DROP_TRUNCATED},
        {4, 2, 65535, 0, true, QS_COUNT_DROP_TRUNCATED},
        {4, 2, 0, 0, true, QS_COUNT_DROP_TCP_HEADER}, /* a jumbogram is not taken */
        {4, 2, 19, 0, true, QS_COUNT_DROP_TCP_HEADER},
        {0, 0, 0, -1, false, QS_COUNT_DROP_TRUNCATED},
        {0, 0, 0, -45, false, QS_COUNT_DROP_TRUNCATED},
        {6, 1, 44, 0, true, QS_COUNT_DROP_FRAGMENT},
        {6, 1, 43, 0, true, QS_COUNT_DROP_IP_OPTIONS}, /* routing */
        {6, 1, 59, 0, true, QS_COUNT_DROP_PROTOCOL},   /* no next header */
        {6, 1, 17, 0, true, QS_COUNT_DROP_PROTOCOL},
        {8, 1, 0xff, 0, false, QS_COUNT_DROP_IP_SOURCE},
        {24, 1, 0xff, 0, false, QS_COUNT_DROP_NOT_OURS},
        {39, 1, 9, 0, false, QS_COUNT_DROP_NOT_OURS},
    };
    run_changes(row, sizeof row / sizeof row[0], true);
}

static void r23_r24_r26_r28_tcp_headers(void)
{
    static const struct change row[] = {
        {32, 1, 0x00, 0, false, QS_COUNT_DROP_TCP_HEADER}, /* data offset 0 to 4 */
        {32, 1, 0x10, 0, false, QS_COUNT_DROP_TCP_HEADER},
        {32, 1, 0x40, 0, false, QS_COUNT_DROP_TCP_HEADER},
        {32, 1, 0xc0, 0, false, QS_COUNT_DROP_TCP_HEADER}, /* 48 of 44 octets */
        {32, 1, 0xf0, 0, false, QS_COUNT_DROP_TCP_HEADER},
        {20, 2, 0, 0, false, QS_COUNT_DROP_TCP_HEADER}, /* ports */
        {22, 2, 0, 0, false, QS_COUNT_DROP_TCP_HEADER},
        {36, 2, 0x0000, 0, true, QS_COUNT_DROP_CHECKSUM},
        {36, 2, 0xffff, 0, true, QS_COUNT_DROP_CHECKSUM},
        {50, 1, 0x99, 0, true, QS_COUNT_DROP_CHECKSUM}, /* an octet of payload */
        {24, 4, 77, 0, true, QS_COUNT_DROP_CHECKSUM},
        {2, 2, 39, 0, false, QS_COUNT_DROP_TCP_HEADER},           /* IP payload of 19 */
        {2, 2, 20, 0, false, QS_COUNT_DROP_TCP_HEADER},           /* of nothing */
        {40, 4, 0x02000000, 0, false, QS_COUNT_DROP_TCP_OPTIONS}, /* length 0, 1, too long */
        {40, 4, 0x05010000, 0, false, QS_COUNT_DROP_TCP_OPTIONS},
        {40, 4, 0x08050000, 0, false, QS_COUNT_DROP_TCP_OPTIONS},
        {40, 4, 0x0101fd05, 0, false, QS_COUNT_DROP_TCP_OPTIONS},
        {40, 4, 0x01010102, 0, false, QS_COUNT_DROP_TCP_OPTIONS}, /* kind is the last byte */
        {40, 4, 0xfdff0000, 0, false, QS_COUNT_DROP_TCP_OPTIONS},
    };
    run_changes(row, sizeof row / sizeof row[0], false);
}

/* Lengths and contents that are odd and fine all the same. */
static void r01_r28_r33_r34_these_are_taken(void)
{
    static const struct {
        uint32_t at, bytes, value;
        int32_t grow;
    } row[] = {
        {0, 0, 0, 46},                        /* padding behind the packet: the length is IP's */
        {0, 0, 0, 1},           {8, 1, 0, 0}, /* TTL 0 has arrived */
        {1, 1, 0xff, 0},                      /* any DSCP and ECN */
        {6, 2, 0x4000, 0},                    /* don't fragment */
        {6, 2, 0x8000, 0},                    /* the reserved bit */
        {4, 2, 0xbeef, 0},                    /* any ID */
        {32, 1, 0x6f, 0},                     /* reserved bits of TCP */
        {33, 1, 0xd8, 0},                     /* CWR and ECE */
        {40, 4, 0x01010101, 0}, {40, 4, 0x00ffffff, 0}, /* end of options, then garbage */
        {40, 4, 0x020405b4, 0},                         /* MSS on no SYN */
        {40, 4, 0x0303ff00, 0}, {40, 4, 0x04020402, 0}, /* SACK permitted, twice */
        {40, 4, 0xfd040000, 0},                         /* kinds that nobody knows */
        {40, 4, 0x22020101, 0},                         /* TFO without a cookie */
        {40, 4, 0x05020101, 0},                         /* SACK without a block */
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        static struct frame f;
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        good(r, &f);
        if (row[i].bytes)
            put(f.b + FRAME_ETH + row[i].at, (int)row[i].bytes, row[i].value);
        frame_fix(&f);
        memset(f.b + f.len, 0xee, 64);
        f.len = (uint32_t)((int32_t)f.len + row[i].grow);
        rig_frame(r, 20, &f);
        CHECK_EQ(rig_read(r, 100), 20);
        rig_free(r);
    }
}

/* IPv4 options of any form are skipped (RFC 7126), never echoed. */
static void r15_ipv4_options_are_skipped(void)
{
    static const uint8_t option[][4] = {
        {1, 1, 1, 1}, {0x83, 3, 4, 0}, {0x89, 0, 0, 0}, {7, 1, 0, 0}, {0x44, 255, 0, 0}};
    for (size_t i = 0; i < sizeof option / sizeof option[0]; i++) {
        for (uint32_t words = 1; words <= 10; words += 3) {
            static struct frame f;
            struct rig *r = rig_new(NULL, false);
            rig_establish(r, NULL);
            good(r, &f);
            uint8_t *h = f.b + FRAME_ETH;
            memmove(h + 20 + 4 * words, h + 20, 44);
            for (uint32_t k = 0; k < words; k++)
                memcpy(h + 20 + 4 * k, option[i], 4);
            h[0] = (uint8_t)(0x45 + words);
            put(h + 2, 2, 64 + 4 * words);
            f.len += 4 * words;
            frame_fix(&f);
            rig_frame(r, 20, &f);
            CHECK_EQ(rig_read(r, 100), 20);
            rig_free(r);
        }
    }
}

static void r12_ipv4_header_longer_than_the_packet(void)
{
    static struct frame f;
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    qs_addr src = rig_peer(r), dst = rig_addr(r);
    memset(frame_ip(&f, &src, &dst, 6, 30), 0, 30);
    f.b[FRAME_ETH] = 0x4f; /* 60 bytes of 50 */
    dropped(r, &f, QS_COUNT_DROP_IP_HEADER);
    rig_free(r);
}

/* Chains of IPv6 extension headers before TCP: `next` of each, and its length in 8 bytes less 1. */
static void r18_ipv6_extension_headers(void)
{
    static const struct {
        uint8_t n, kind[6], units;
        enum qs_counter why; /* QS_N_COUNTERS: taken */
    } row[] = {
        {1, {0}, 0, QS_N_COUNTERS},
        {1, {60}, 0, QS_N_COUNTERS},
        {2, {0, 60}, 3, QS_N_COUNTERS},
        {4, {60, 60, 60, 60}, 0, QS_N_COUNTERS},
        {5, {60, 60, 60, 60, 60}, 0, QS_COUNT_DROP_IP_OPTIONS},
        {2, {60, 0}, 0, QS_COUNT_DROP_IP_OPTIONS}, /* hop-by-hop not first */
        {2, {0, 0}, 0, QS_COUNT_DROP_IP_OPTIONS},
        {1, {43}, 0, QS_COUNT_DROP_IP_OPTIONS},
        {1, {44}, 0, QS_COUNT_DROP_FRAGMENT}, /* atomic */
        {2, {0, 44}, 0, QS_COUNT_DROP_FRAGMENT},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        static struct frame f;
        struct rig *r = rig_new(NULL, true);
        rig_establish(r, NULL);
        good(r, &f);
        uint32_t each = 8u + 8u * row[i].units, all = each * row[i].n;
        uint8_t *h = f.b + FRAME_ETH;
        memmove(h + 40 + all, h + 40, 44);
        memset(h + 40, 0, all);
        h[6] = row[i].kind[0];
        for (uint32_t k = 0; k < row[i].n; k++) {
            h[40 + k * each] = k + 1 < row[i].n ? row[i].kind[k + 1] : 6;
            h[41 + k * each] = row[i].units;
        }
        put(h + 4, 2, 44 + all);
        f.len += all;
        if (row[i].why == QS_N_COUNTERS) {
            rig_frame(r, 20, &f);
            CHECK_EQ(rig_read(r, 100), 20);
        } else {
            dropped(r, &f, row[i].why);
        }
        rig_free(r);
    }
}

/* ::ffff:10.0.0.2 is for inside of a host, not for the wire. */
static void r18_mapped_addresses_on_the_wire(void)
{
    for (uint32_t at = 8; at <= 24; at += 16) {
        static struct frame f;
        struct rig *r = rig_new(NULL, true);
        rig_establish(r, NULL);
        good(r, &f);
        uint8_t *a = f.b + FRAME_ETH + at;
        memset(a, 0, 10);
        put(a + 10, 2, 0xffff);
        put(a + 12, 4, 0x0a000002);
        frame_fix(&f);
        dropped(r, &f, QS_COUNT_DROP_IP_SOURCE);
        rig_free(r);
    }
}

static void r18_an_extension_header_that_overruns(void)
{
    for (uint32_t octets = 1; octets < 16; octets++) {
        static struct frame f;
        struct rig *r = rig_new(NULL, true);
        rig_establish(r, NULL);
        qs_addr src = rig_peer(r), dst = rig_addr(r);
        uint8_t *l4 = frame_ip(&f, &src, &dst, 60, octets);
        memset(l4, 0, octets);
        l4[0] = 6;
        if (octets > 1)
            l4[1] = 1; /* 16 octets */
        dropped(r, &f, QS_COUNT_DROP_TRUNCATED);
        rig_free(r);
    }
}

static void r01_r02_r03_r04_ethernet(void)
{
    static const struct {
        uint32_t at, bytes, value, len;
        enum qs_counter why;
    } row[] = {
        {0, 0, 0, 0, QS_COUNT_DROP_TRUNCATED},
        {0, 0, 0, 13, QS_COUNT_DROP_TRUNCATED},
        {0, 0, 0, 14, QS_COUNT_DROP_TRUNCATED},
        {12, 2, 0x8100, 78, QS_COUNT_DROP_VLAN},
        {12, 2, 0x88a8, 78, QS_COUNT_DROP_VLAN},
        {12, 2, 46, 78, QS_COUNT_DROP_PROTOCOL},
        {12, 2, 0x88cc, 78, QS_COUNT_DROP_PROTOCOL},
        {12, 2, 0x86dd, 78, QS_COUNT_DROP_IP_HEADER},
        {0, 4, 0xffffffff, 78, QS_COUNT_DROP_NOT_OURS}, /* TCP to a group, to another */
        {0, 4, 0x01005e00, 78, QS_COUNT_DROP_NOT_OURS},
        {4, 2, 9, 78, QS_COUNT_DROP_NOT_OURS},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        static struct frame f;
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        good(r, &f);
        if (row[i].bytes)
            put(f.b + row[i].at, (int)row[i].bytes, row[i].value);
        f.len = row[i].len;
        dropped(r, &f, row[i].why);
        rig_free(r);
    }
}

/* The device's proof replaces the software's; without the flag it is never trusted. */
static void r07_checksum_flag(void)
{
    for (int proven = 0; proven < 2; proven++) {
        static struct frame f;
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        good(r, &f);
        frame_l4(&f)[16] ^= 0x55;
        struct qs_frame q = {.data = f.b, .len = f.len, .flags = proven ? QS_FRAME_CSUM_OK : 0};
        qs_engine_rx(r->e, &q, 1, rig_now(r));
        CHECK_EQ(rig_info(r).readable_bytes, proven ? 20 : 0);
        CHECK_COUNT(DROP_CHECKSUM, !proven);
        rig_free(r);
    }
}

/* Payloads of every odd and even length, both IP versions. */
static void r24_every_length(void)
{
    for (int v6 = 0; v6 < 2; v6++) {
        struct rig *r = rig_new(NULL, v6);
        rig_establish(r, NULL);
        uint32_t seq = 1;
        for (uint32_t len = 1; len < 300; len++) {
            rig_in(r, 20, &(struct seg){"P.", seq, len, 1});
            CHECK_EQ(rig_read(r, 1000), len);
            rig_flush(r);
            seq += len;
            rig_write(r, len);
            OUT(20, "P.", seq - len, len, seq);
            rig_in(r, 20, &(struct seg){".", seq, 0, seq});
        }
        rig_free(r);
    }
}

/* SYN options in odd forms and places. */
static void r28_r33_syn_options(void)
{
    static const struct {
        const char *in, *out;
    } row[] = {
        {"nop nop mss 1000", "mss 1460"},
        {"mss 1000 mss 500", "mss 1460"},
        {"ws 3 ws 4 nop", "mss 1460 ws 3"},
        {"hex 0203ff nop", "mss 1460"}, /* wrong lengths of known kinds: not that option */
        {"hex 0205ffffff", "mss 1460"},
        {"hex 03020101", "mss 1460"},
        {"hex 0304ffff", "mss 1460"},
        {"hex 1312000102030405060708090a0b0c0d0e0f", "mss 1460"}, /* MD5 */
        {"eol mss 1000", "mss 1460"},
        {"hex 01010101010101010101010101010101010101010101010101010101010101010101010101010101",
         "mss 1460"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_listen(r);
        IN(0, "S", 0, 0, 0, .opts = row[i].in);
        OUT(0, "S.", 0, 0, 1, .opts = row[i].out);
        rig_free(r);
    }
}

int main(void)
{
    RUN(r12_r13_r14_r16_r17_ipv4_headers);
    RUN(r12_r17_r18_r19_ipv6_headers);
    RUN(r23_r24_r26_r28_tcp_headers);
    RUN(r01_r28_r33_r34_these_are_taken);
    RUN(r15_ipv4_options_are_skipped);
    RUN(r12_ipv4_header_longer_than_the_packet);
    RUN(r18_ipv6_extension_headers);
    RUN(r18_mapped_addresses_on_the_wire);
    RUN(r18_an_extension_header_that_overruns);
    RUN(r01_r02_r03_r04_ethernet);
    RUN(r07_checksum_flag);
    RUN(r24_every_length);
    RUN(r28_r33_syn_options);
    return TEST_RESULT();
}
