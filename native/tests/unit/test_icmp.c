/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP echo of both IP versions and Neighbor Discovery: RFC 1122 section 3.2.2.6, RFC 4443,
 * RFC 4861. */
#include "rig.h"

static const uint8_t own_mac[6] = {2, 0, 0, 0, 0, 1}, peer_mac[6] = {2, 0, 0, 0, 0, 2},
                     other_mac[6] = {2, 0, 0, 0, 7, 9};

static struct rig *own_rig(bool v6)
{
    qs_engine_opts o = rig_opts();
    o.neigh_mode = QS_NEIGH_OWN;
    return rig_new(&o, v6);
}

/* ---- echo ---- */

static void echo_request(const struct rig *r, struct frame *f, uint32_t octets)
{
    qs_addr src = rig_peer(r), dst = rig_addr(r);
    uint8_t *m = frame_ip(f, &src, &dst, r->v6 ? 58 : 1, octets);
    for (uint32_t i = 0; i < octets; i++)
        m[i] = (uint8_t)(i * 7);
    m[0] = r->v6 ? 128 : 8;
    m[1] = 0;
    frame_fix(f);
}

static void echo_is_answered(void)
{
    static struct frame f, want;
    static const uint32_t octets[] = {8, 9, 64, 65, 1400};
    for (size_t i = 0; i < 10; i++) {
        struct rig *r = own_rig(i % 2);
        uint32_t n = octets[i / 2];
        echo_request(r, &f, n);
        rig_frame(r, 1, &f);
        rig_run(r, 1);
        struct frame *got = rig_take(r);
        REQUIRE(got);
        CHECK_EQ(got->len, f.len);
        CHECK_MEM(got->b, peer_mac, 6);
        CHECK_MEM(got->b + 6, own_mac, 6);
        qs_addr src = rig_addr(r), dst = rig_peer(r);
        uint8_t *m = frame_ip(&want, &src, &dst, r->v6 ? 58 : 1, n);
        memcpy(m, frame_l4(&f), n);
        m[0] = r->v6 ? 129 : 0;
        frame_fix(&want);
        CHECK_MEM(frame_l4(got), m, n); /* its checksum is the independent one */
        CHECK_MEM(got->b + FRAME_ETH + (r->v6 ? 8 : 12), want.b + FRAME_ETH + (r->v6 ? 8 : 12),
                  r->v6 ? 32u : 8u);
        CHECK_COUNT(ECHO_REPLIES, 1);
        rig_free(r);
    }
}

static void r20_r22_echo_that_is_not_answered(void)
{
    static struct frame f;
    static const struct {
        uint32_t at, value; /* octet of the message */
        uint32_t octets;
        bool no_fix;
        enum qs_counter why;
    } row[] = {
        {0, 3, 20, false, QS_COUNT_DROP_ICMP},  /* an error: never answered */
        {0, 0, 20, false, QS_COUNT_DROP_ICMP},  /* a reply */
        {0, 13, 20, false, QS_COUNT_DROP_ICMP}, /* timestamps */
        {1, 1, 20, false, QS_COUNT_DROP_ICMP},  /* code */
        {4, 9, 20, true, QS_COUNT_DROP_CHECKSUM},
        {4, 9, 7, false, QS_COUNT_DROP_ICMP}, /* shorter than its header */
        {4, 9, 5, false, QS_COUNT_DROP_ICMP},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = own_rig(false);
        echo_request(r, &f, row[i].octets);
        frame_l4(&f)[row[i].at] = (uint8_t)row[i].value;
        if (!row[i].no_fix)
            frame_fix(&f);
        rig_frame(r, 1, &f);
        QUIET(2);
        CHECK_EQ(rig_count(r, row[i].why), 1);
        rig_free(r);
    }
}

static void r22_echo_to_groups_and_others_is_not_answered(void)
{
    static struct frame f;
    static const uint32_t dst[] = {0xffffffff, 0x0a0000ff, 0xe0000001, 0x0a000003};
    for (size_t i = 0; i < 4; i++) {
        struct rig *r = own_rig(false);
        echo_request(r, &f, 20);
        put(f.b + FRAME_ETH + 16, 4, dst[i]);
        frame_fix(&f);
        rig_frame(r, 1, &f);
        QUIET(2);
        CHECK_COUNT(DROP_NOT_OURS, 1);
        rig_free(r);
    }
    struct rig *r = own_rig(true);
    echo_request(r, &f, 20);
    put(f.b + FRAME_ETH + 24, 4, 0xff020000);
    frame_fix(&f);
    rig_frame(r, 1, &f);
    QUIET(2);
    CHECK_COUNT(DROP_ICMP, 1);
    rig_free(r);
}

/* A frame may be longer than the MTU, on a link that allows it; the driver's buffers to send are
 * not. */
static void r20_an_answer_is_never_longer_than_the_mtu(void)
{
    static struct frame f;
    for (uint32_t over = 0; over <= 64; over++) {
        struct rig *r = own_rig(over % 2);
        echo_request(r, &f, rig_opts().mtu - (r->v6 ? 40 : 20) + over);
        rig_frame(r, 1, &f);
        rig_run(r, 1);
        CHECK_EQ(rig_take(r) != NULL, over == 0);
        CHECK_COUNT(DROP_REPLY_QUEUE, over > 0);
        rig_free(r);
    }
}

/* A flood costs the replies that fit, and the connections' frames still go. */
static void r22_a_flood_is_bounded(void)
{
    static struct frame f;
    struct rig *r = own_rig(false);
    rig_establish(r, NULL);
    echo_request(r, &f, 64);
    struct qs_frame q = {.data = f.b, .len = f.len};
    for (int i = 0; i < 1000; i++)
        qs_engine_rx(r->e, &q, 1, rig_now(r));
    CHECK_COUNT(ECHO_REPLIES, 64);
    CHECK_EQ(rig_count(r, QS_COUNT_DROP_REPLY_QUEUE) + rig_count(r, QS_COUNT_DROP_ECHO), 1000 - 64);
    rig_write(r, 10);
    rig_run(r, 11);
    CHECK_EQ(r->n_queue, 65);
    rig_free(r);
}

/* Echo requests of one second, as fast as they are answered. @return how many were. */
static uint32_t ping_for_a_second(struct rig *r, uint32_t requests)
{
    static struct frame f;
    uint64_t before = rig_count(r, QS_COUNT_ECHO_REPLIES);
    uint64_t next = 1000000000u - r->now_ns % 1000000000u;
    double start = (double)(r->now_ns + next - r->start_ns) / 1e6;
    echo_request(r, &f, 16);
    for (uint32_t i = 0; i < requests; i++) {
        rig_frame(r, start + 999.0 * i / requests, &f);
        if (i % 32 == 31) {
            rig_run(r, start + 999.0 * i / requests);
            rig_flush(r);
        }
    }
    return (uint32_t)(rig_count(r, QS_COUNT_ECHO_REPLIES) - before);
}

/* All replies together have a budget for each second that nobody can know; an honest ping is far
 * below it. */
static void r22_replies_have_a_random_rate(void)
{
    struct rig *r = own_rig(true);
    uint32_t least = UINT32_MAX, most = 0;
    for (int i = 0; i < 20; i++) {
        uint64_t dropped = rig_count(r, QS_COUNT_DROP_ECHO);
        uint32_t n = ping_for_a_second(r, 2000);
        CHECK(n >= 500 && n < 1500);
        CHECK_EQ(rig_count(r, QS_COUNT_DROP_ECHO) - dropped, 2000 - n);
        least = n < least ? n : least;
        most = n > most ? n : most;
    }
    CHECK(most - least > 100);
    CHECK_EQ(ping_for_a_second(r, 500), 500);
    CHECK_COUNT(DROP_REPLY_QUEUE, 0);
    rig_free(r);
}

/* ---- Neighbor Discovery ---- */

/* A message of 24 octets and options; `src` NULL: the unspecified address. */
static uint8_t *nd(const struct rig *r, struct frame *f, uint8_t type, const qs_addr *src,
                   const qs_addr *target, uint32_t options)
{
    qs_addr from = src ? *src : (qs_addr){{0}}, to = rig_addr(r);
    uint8_t *m = frame_ip(f, &from, &to, 58, 24 + options);
    f->b[FRAME_ETH + 7] = 255;
    memset(m, 0, 24 + options);
    m[0] = type;
    memcpy(m + 8, target, 16);
    memcpy(f->b + 6, other_mac, 6);
    return m;
}

static uint8_t *nd_with_mac(const struct rig *r, struct frame *f, uint8_t type, const qs_addr *src,
                            const qs_addr *target)
{
    uint8_t *m = nd(r, f, type, src, target, 8);
    m[24] = type == 135 ? 1 : 2;
    m[25] = 1;
    memcpy(m + 26, other_mac, 6);
    frame_fix(f);
    return m;
}

static qs_addr other_addr(void)
{
    return (qs_addr){{0xfd, [15] = 9}};
}

static void expect_advert(struct rig *r, const uint8_t mac[6], const qs_addr *dst, uint32_t flags)
{
    struct frame *f = rig_take(r);
    REQUIRE(f);
    uint8_t *m = frame_l4(f);
    qs_addr own = rig_addr(r);
    uint16_t sum = (uint16_t)be(m + 2, 2);
    CHECK_EQ(f->len, FRAME_ETH + 40 + 32);
    CHECK_MEM(f->b, mac, 6);
    CHECK_EQ(f->b[FRAME_ETH + 7], 255);
    CHECK_MEM(f->b + FRAME_ETH + 8, &own, 16);
    CHECK_MEM(f->b + FRAME_ETH + 24, dst, 16);
    CHECK_EQ(be(m, 2), 136 << 8);
    CHECK_EQ(be(m + 4, 4), flags);
    CHECK_MEM(m + 8, &own, 16);
    CHECK_EQ(be(m + 24, 2), 0x0201);
    CHECK_MEM(m + 26, own_mac, 6);
    frame_fix(f);
    CHECK_EQ(be(m + 2, 2), sum);
}

static void a_solicitation_is_answered_and_learned_from(void)
{
    static struct frame f;
    struct rig *r = own_rig(true);
    struct qs_neigh n;
    qs_addr own = rig_addr(r), other = other_addr();
    nd_with_mac(r, &f, 135, &other, &own);
    rig_frame(r, 1, &f);
    rig_run(r, 1);
    expect_advert(r, other_mac, &other, 0x60000000);
    CHECK_COUNT(NEIGH_ANSWERS, 1);
    CHECK(qs_engine_neigh_next(r->e, &n));
    CHECK_MEM(&n.addr, &other, 16);
    CHECK_MEM(n.mac, other_mac, 6);
    CHECK(n.news == QS_NEIGH_LEARNED);
    rig_free(r);
}

/* RFC 4862 section 5.4: the answer goes to all nodes and is not "solicited". */
static void a_probe_for_duplicates_is_answered(void)
{
    static struct frame f;
    static const qs_addr all = {{0xff, 2, [15] = 1}};
    struct rig *r = own_rig(true);
    struct qs_neigh n;
    qs_addr own = rig_addr(r);
    nd(r, &f, 135, NULL, &own, 0);
    frame_fix(&f);
    rig_frame(r, 1, &f);
    rig_run(r, 1);
    expect_advert(r, (uint8_t[]){0x33, 0x33, 0, 0, 0, 1}, &all, 0x20000000);
    CHECK(!qs_engine_neigh_next(r->e, &n));
    rig_free(r);
}

static void solicitations_to_the_group_arrive(void)
{
    static struct frame f;
    static const qs_addr group = {{0xff, 2, [11] = 1, [12] = 0xff, [15] = 1}};
    struct rig *r = own_rig(true);
    qs_addr own = rig_addr(r), other = other_addr();
    nd_with_mac(r, &f, 135, &other, &own);
    memcpy(f.b, (uint8_t[]){0x33, 0x33, 0xff, 0, 0, 1}, 6);
    memcpy(f.b + FRAME_ETH + 24, &group, 16);
    frame_fix(&f);
    rig_frame(r, 1, &f);
    rig_run(r, 1);
    expect_advert(r, other_mac, &other, 0x60000000);
    rig_free(r);
}

/* RFC 4861 section 7.1: what makes a message invalid. */
static void r11_invalid_messages(void)
{
    static struct frame f;
    for (int i = 0; i < 12; i++) {
        struct rig *r = own_rig(true);
        struct qs_neigh n;
        qs_addr own = rig_addr(r), other = other_addr();
        uint8_t *m = nd_with_mac(r, &f, 135, &other, &own);
        switch (i) {
        case 0:
            f.b[FRAME_ETH + 7] = 254; /* came through a router */
            break;
        case 1:
            m[1] = 1;
            break;
        case 2:
            m[8] = 0xff; /* a group as target */
            break;
        case 3:
            m[25] = 0; /* option of length 0 */
            break;
        case 4:
            m[25] = 2; /* beyond the message */
            break;
        case 5:
            m[25] = 255;
            break;
        case 6: /* a probe that names its sender */
            memset(f.b + FRAME_ETH + 8, 0, 16);
            break;
        case 7: /* too short */
            put(f.b + FRAME_ETH + 4, 2, 23);
            f.len = FRAME_ETH + 40 + 23;
            break;
        case 8: /* half an option */
            put(f.b + FRAME_ETH + 4, 2, 28);
            f.len = FRAME_ETH + 40 + 28;
            break;
        case 9: /* an advertisement nobody asked for */
            m[0] = 136;
            m[24] = 2;
            break;
        case 10: /* ... for our own address */
            m[0] = 136;
            break;
        default: /* ... without an address */
            m[0] = 136;
            m[24] = 9;
            break;
        }
        frame_fix(&f);
        rig_frame(r, 1, &f);
        QUIET(2);
        CHECK_COUNT(DROP_NEIGH, 1);
        CHECK(!qs_engine_neigh_next(r->e, &n));
        rig_free(r);
    }
}

static void r11_r21_router_messages_and_redirects_are_not_used(void)
{
    static struct frame f;
    static const uint8_t type[] = {133, 134, 137, 1, 2, 130, 143};
    for (size_t i = 0; i < sizeof type; i++) {
        struct rig *r = own_rig(true);
        qs_addr own = rig_addr(r), other = other_addr();
        nd(r, &f, type[i], &other, &own, 40);
        frame_fix(&f);
        rig_frame(r, 1, &f);
        QUIET(2);
        CHECK_COUNT(DROP_ICMP, 1);
        rig_free(r);
    }
}

static void a_solicitation_for_others_is_silent(void)
{
    static struct frame f;
    struct rig *r = own_rig(true);
    struct qs_neigh n;
    qs_addr third = {{0xfd, [15] = 77}}, other = other_addr();
    nd_with_mac(r, &f, 135, &other, &third);
    rig_frame(r, 1, &f);
    QUIET(2);
    CHECK(!qs_engine_neigh_next(r->e, &n));
    CHECK_COUNT(NEIGH_ANSWERS, 0);
    rig_free(r);
}

/* The active open asks the solicited-node group and goes on with the answer. */
static void a_connection_waits_for_the_advertisement(void)
{
    static struct frame f;
    static const qs_addr group = {{0xff, 2, [11] = 1, [12] = 0xff, [15] = 9}};
    struct rig *r = own_rig(true);
    struct qs_open_opts o;
    qs_addr own = rig_addr(r), other = other_addr();
    qs_open_opts_init(&o);
    o.remote = other;
    o.remote_port = 7;
    REQUIRE(qs_conn_open(r->e, &o, rig_now(r), &r->conn) == 0);
    rig_run(r, 0);
    struct frame *q = rig_take(r);
    REQUIRE(q);
    CHECK_MEM(q->b, ((uint8_t[]){0x33, 0x33, 0xff, 0, 0, 9}), 6);
    CHECK_MEM(q->b + FRAME_ETH + 8, &own, 16);
    CHECK_MEM(q->b + FRAME_ETH + 24, &group, 16);
    CHECK_EQ(frame_l4(q)[0], 135);
    CHECK_MEM(frame_l4(q) + 8, &other, 16);
    CHECK_EQ(be(frame_l4(q) + 24, 2), 0x0101);
    CHECK_MEM(frame_l4(q) + 26, own_mac, 6);
    QUIET(5);
    nd_with_mac(r, &f, 136, &other, &other);
    rig_frame(r, 6, &f);
    rig_run(r, 6);
    struct frame *syn = rig_take(r);
    REQUIRE(syn && frame_is_tcp(syn));
    CHECK_MEM(syn->b, other_mac, 6);
    rig_free(r);
}

/* A scan of the /64 costs a bounded table and never the entry of a live connection. */
static void r10_a_flood_never_evicts_a_neighbour_in_use(void)
{
    static struct frame f;
    struct rig *r = own_rig(true);
    struct qs_neigh n;
    rig_establish(r, NULL);
    qs_addr own = rig_addr(r);
    for (uint32_t i = 0; i < 20000; i++) {
        qs_addr from = {{0xfd}};
        put(from.b + 8, 4, i * 2654435761u);
        put(from.b + 12, 4, i + 1000);
        nd_with_mac(r, &f, 135, &from, &own);
        rig_frame(r, 20, &f);
        rig_flush(r);
        (void)qs_engine_neigh_next(r->e, &n);
    }
    rig_write(r, 10);
    OUT(20, "P.", 1, 10, 1); /* at once, to the same Ethernet address */
    rig_free(r);
}

int main(void)
{
    RUN(echo_is_answered);
    RUN(r20_r22_echo_that_is_not_answered);
    RUN(r22_echo_to_groups_and_others_is_not_answered);
    RUN(r20_an_answer_is_never_longer_than_the_mtu);
    RUN(r22_a_flood_is_bounded);
    RUN(r22_replies_have_a_random_rate);
    RUN(a_solicitation_is_answered_and_learned_from);
    RUN(a_probe_for_duplicates_is_answered);
    RUN(solicitations_to_the_group_arrive);
    RUN(r11_invalid_messages);
    RUN(r11_r21_router_messages_and_redirects_are_not_used);
    RUN(a_solicitation_for_others_is_silent);
    RUN(a_connection_waits_for_the_advertisement);
    RUN(r10_a_flood_never_evicts_a_neighbour_in_use);
    return TEST_RESULT();
}
