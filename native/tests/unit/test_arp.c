/* SPDX-License-Identifier: Apache-2.0 */
/* ARP, and how a connection waits for its neighbour: RFC 826, RFC 5227 section 2.1.1. */
#include "rig.h"

static const uint8_t own_mac[6] = {2, 0, 0, 0, 0, 1}, other_mac[6] = {2, 0, 0, 0, 7, 9}, no_mac[6],
                     broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
#define OWN 0x0a000001u
#define OTHER 0x0a000009u

static struct rig *own_rig(void)
{
    qs_engine_opts o = rig_opts();
    o.neigh_mode = QS_NEIGH_OWN;
    return rig_new(&o, false);
}

static qs_addr v4(uint32_t a)
{
    qs_addr x = {{[10] = 0xff, [11] = 0xff}};
    put(x.b + 12, 4, a);
    return x;
}

/* An ARP message from `mac`. */
static void arp(struct frame *f, uint32_t operation, const uint8_t mac[6], uint32_t sender,
                uint32_t target)
{
    frame_eth(f, 0x0806);
    memcpy(f->b + 6, mac, 6);
    uint8_t *a = f->b + FRAME_ETH;
    memset(a, 0, 28);
    put(a, 4, 0x00010800);
    put(a + 4, 4, 0x06040000 | operation);
    memcpy(a + 8, mac, 6);
    put(a + 14, 4, sender);
    put(a + 24, 4, target);
    f->len = FRAME_ETH + 28;
}

static void rx_arp(struct rig *r, double ms, uint32_t operation, const uint8_t mac[6],
                   uint32_t sender, uint32_t target)
{
    static struct frame f;
    arp(&f, operation, mac, sender, target);
    rig_frame(r, ms, &f);
    rig_run(r, ms);
}

/* The next frame is this message. */
static void expect_arp(struct rig *r, uint32_t operation, const uint8_t to[6], uint32_t sender,
                       uint32_t target)
{
    const struct frame *f = rig_take(r);
    REQUIRE(f);
    CHECK_EQ(be(f->b + 12, 2), 0x0806);
    const uint8_t *a = f->b + FRAME_ETH;
    CHECK_EQ(f->len, FRAME_ETH + 28);
    CHECK_MEM(f->b, to, 6);
    CHECK_MEM(f->b + 6, own_mac, 6);
    CHECK_EQ(be(a, 4), 0x00010800);
    CHECK_EQ(be(a + 4, 4), 0x06040000 | operation);
    CHECK_MEM(a + 8, own_mac, 6);
    CHECK_EQ(be(a + 14, 4), sender);
    CHECK_MEM(a + 18, operation == 1 ? no_mac : to, 6);
    CHECK_EQ(be(a + 24, 4), target);
}

static void a_request_is_answered_and_learned_from(void)
{
    struct rig *r = own_rig();
    struct qs_neigh n;
    rx_arp(r, 1, 1, other_mac, OTHER, OWN);
    expect_arp(r, 2, other_mac, OWN, OTHER);
    CHECK_COUNT(NEIGH_ANSWERS, 1);
    CHECK(qs_engine_neigh_next(r->e, &n));
    qs_addr want = v4(OTHER);
    CHECK_MEM(&n.addr, &want, 16);
    CHECK_MEM(n.mac, other_mac, 6);
    CHECK(n.news == QS_NEIGH_LEARNED);
    CHECK(!qs_engine_neigh_next(r->e, &n));
    rig_free(r);
}

static void a_probe_for_duplicates_is_answered_and_not_learned_from(void)
{
    struct rig *r = own_rig();
    struct qs_neigh n;
    rx_arp(r, 1, 1, other_mac, 0, OWN);
    expect_arp(r, 2, other_mac, OWN, 0);
    CHECK(!qs_engine_neigh_next(r->e, &n));
    rig_free(r);
}

static void r09_these_teach_nothing(void)
{
    static const struct {
        uint32_t operation, sender, target;
        bool answered, dropped;
    } row[] = {
        {1, OTHER, 0x0a000005, false, false}, /* a request for somebody else */
        {1, OTHER, OTHER, false, false},      /* gratuitous request */
        {2, OTHER, OWN, false, true},         /* a reply that nobody asked for */
        {2, OTHER, OTHER, false, true},
        {1, OWN, OWN, true, false}, /* somebody says to be us */
        {2, OWN, OWN, false, true},
        {1, 0x7f000001, OWN, true, false}, /* senders that cannot be */
        {1, 0xe0000001, OWN, true, false},
        {1, 0x0b000001, OWN, true, false}, /* not on-link */
        {0, OTHER, OWN, false, true},      /* operations that are none */
        {3, OTHER, OWN, false, true},
        {65535, OTHER, OWN, false, true},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = own_rig();
        struct qs_neigh n;
        rx_arp(r, 1, row[i].operation, other_mac, row[i].sender, row[i].target);
        CHECK_EQ(r->n_queue, row[i].answered);
        CHECK_COUNT(DROP_NEIGH, row[i].dropped);
        bool offered = row[i].operation == 2 && row[i].sender == OTHER;
        CHECK_EQ(qs_engine_neigh_next(r->e, &n), offered);
        CHECK(!offered || n.news == QS_NEIGH_OFFERED);
        CHECK(!qs_engine_neigh_next(r->e, &n));
        rig_free(r);
    }
}

static void r09_malformed(void)
{
    static const struct {
        uint32_t at, bytes, value;
    } row[] = {{0, 2, 6}, {2, 2, 0x86dd}, {4, 1, 5}, {4, 1, 8}, {5, 1, 16}, {5, 1, 0}};
    struct rig *r = own_rig();
    static struct frame f;
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        arp(&f, 1, other_mac, OTHER, OWN);
        put(f.b + FRAME_ETH + row[i].at, (int)row[i].bytes, row[i].value);
        rig_frame(r, 1, &f);
        CHECK_COUNT(DROP_NEIGH, ++n);
    }
    for (uint32_t len = 0; len < 28; len++) {
        arp(&f, 1, other_mac, OTHER, OWN);
        f.len = FRAME_ETH + len;
        rig_frame(r, 1, &f);
        CHECK_COUNT(DROP_NEIGH, ++n);
    }
    arp(&f, 1, broadcast, OTHER, OWN); /* an answer to all is none */
    rig_frame(r, 1, &f);
    QUIET(2);
    CHECK_COUNT(NEIGH_ANSWERS, 0);
    rig_free(r);
}

/* A neighbour in use is not moved by what nobody asked for. */
static void r09_a_spoofed_reply_moves_nobody(void)
{
    struct rig *r = own_rig();
    rig_establish(r, NULL);
    rx_arp(r, 20, 2, other_mac, 0x0a000002, OWN);
    CHECK_COUNT(DROP_NEIGH, 1);
    rig_write(r, 10);
    OUT(20, "P.", 1, 10, 1); /* the rig looks at the Ethernet address */
    rig_free(r);
}

static void open_to(struct rig *r, uint32_t remote)
{
    struct qs_open_opts o;
    qs_open_opts_init(&o);
    o.remote = v4(remote);
    o.remote_port = 7;
    REQUIRE(qs_conn_open(r->e, &o, rig_now(r), &r->conn) == 0);
    rig_run(r, (double)(r->now_ns - r->start_ns) / 1e6);
}

static void a_connection_waits_for_the_answer(void)
{
    struct rig *r = own_rig();
    open_to(r, OTHER);
    expect_arp(r, 1, broadcast, OWN, OTHER);
    QUIET(5);
    rx_arp(r, 6, 2, other_mac, OTHER, OWN);
    struct frame *f = rig_take(r);
    REQUIRE(f && frame_is_tcp(f));
    CHECK_MEM(f->b, other_mac, 6);
    CHECK_EQ(frame_l4(f)[13], 0x02);
    CHECK_COUNT(NEIGH_REQUESTS, 1);
    rig_free(r);
}

/* Everything that waited goes, in the order in which it came. */
static void all_that_waited_are_sent(void)
{
    struct rig *r = own_rig();
    for (int i = 0; i < 20; i++)
        open_to(r, OTHER);
    expect_arp(r, 1, broadcast, OWN, OTHER);
    CHECK_EQ(r->n_queue, 0);
    rx_arp(r, 6, 2, other_mac, OTHER, OWN);
    CHECK_EQ(r->n_queue, 20);
    rig_free(r);
}

static void asked_again_and_given_up(void)
{
    qs_engine_opts o = rig_opts();
    o.neigh_mode = QS_NEIGH_OWN;
    o.syn_retries_max = 3;
    struct rig *r = rig_new(&o, false);
    open_to(r, OTHER);
    rig_run(r, 60000);
    uint32_t asked = r->n_queue;
    CHECK(asked >= 3 && asked <= 8);
    while (r->n_queue)
        expect_arp(r, 1, broadcast, OWN, OTHER);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, QS_ERR_UNREACH);
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

/* Closed while it waits. */
static void closed_while_parked(void)
{
    struct rig *r = own_rig();
    open_to(r, OTHER);
    open_to(r, OTHER);
    rig_flush(r);
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    rx_arp(r, 6, 2, other_mac, OTHER, OWN);
    CHECK_EQ(r->n_queue, 1);
    CHECK_COUNT(CONNS, 1);
    rig_free(r);
}

/* An old entry is used while it is asked for again; the answer moves it. */
static void an_old_entry_is_proven_again(void)
{
    struct rig *r = own_rig();
    rig_establish(r, NULL);
    QUIET(70000);
    rig_write(r, 10);
    OUT(70000, "P.", 1, 10, 1);
    rig_run(r, 70000);
    expect_arp(r, 1, broadcast, OWN, 0x0a000002);
    rx_arp(r, 70001, 2, other_mac, 0x0a000002, OWN);
    rig_run(r, 70250); /* it is sent again */
    struct frame *f = rig_take(r);
    REQUIRE(f && frame_is_tcp(f));
    CHECK_MEM(f->b, other_mac, 6);
    rig_free(r);
}

static void off_link_goes_to_the_gateway(void)
{
    struct rig *r = own_rig();
    qs_addr gateway = v4(0x0a0000fe);
    CHECK_EQ(qs_engine_gateway_set(r->e, &gateway), 0);
    open_to(r, 0x08080808);
    expect_arp(r, 1, broadcast, OWN, 0x0a0000fe);
    rx_arp(r, 6, 2, other_mac, 0x0a0000fe, OWN);
    struct frame *f = rig_take(r);
    REQUIRE(f && frame_is_tcp(f));
    CHECK_MEM(f->b, other_mac, 6);
    CHECK_EQ(be(f->b + FRAME_ETH + 16, 4), 0x08080808);
    rig_free(r);
}

/* ---- several queues ---- */

/* One queue asks and another hears the answer; the one that asked believes it. */
static void an_answer_to_another_queue(void)
{
    struct rig *asks = own_rig(), *hears = own_rig(), *idle = own_rig();
    struct qs_neigh n, learned;
    open_to(asks, OTHER);
    expect_arp(asks, 1, broadcast, OWN, OTHER);
    CHECK(qs_engine_neigh_next(asks->e, &n) && n.news == QS_NEIGH_WANTED);
    rx_arp(hears, 2, 2, other_mac, OTHER, OWN);
    REQUIRE(qs_engine_neigh_next(hears->e, &n) && n.news == QS_NEIGH_OFFERED);
    CHECK_MEM(n.mac, other_mac, 6);

    qs_engine_neigh_told(asks->e, &n, rig_now(asks));
    rig_run(asks, 2);
    CHECK_EQ(asks->n_queue, 1);
    REQUIRE(qs_engine_neigh_next(asks->e, &learned) && learned.news == QS_NEIGH_LEARNED);
    CHECK_MEM(&learned.addr, &n.addr, 16);
    CHECK_MEM(learned.mac, other_mac, 6);

    memcpy(n.mac, own_mac, 6);
    qs_engine_neigh_told(asks->e, &n, rig_now(asks)); /* once: nobody moves it */
    qs_engine_neigh_told(idle->e, &n, rig_now(idle)); /* it did not ask */
    CHECK(!qs_engine_neigh_next(asks->e, &n));
    CHECK(!qs_engine_neigh_next(idle->e, &n));
    rig_free(idle);
    rig_free(hears);
    rig_free(asks);
}

/* A flood of answers takes a bounded place, and each offer is told once. */
static void more_offers_than_fit(void)
{
    struct rig *r = own_rig();
    struct qs_neigh n;
    for (uint32_t i = 0; i < 2 * QS_OFFERS_MAX; i++)
        rx_arp(r, 1, 2, other_mac, OTHER + i, OWN);
    CHECK_COUNT(DROP_NEIGH, 2 * QS_OFFERS_MAX);
    for (uint32_t i = 0; i < QS_OFFERS_MAX; i++)
        CHECK(qs_engine_neigh_next(r->e, &n) && n.news == QS_NEIGH_OFFERED);
    CHECK(!qs_engine_neigh_next(r->e, &n));
    rig_free(r);
}

/* ---- told by the kernel ---- */

static void told_mode_reports_what_it_wants(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_neigh n;
    qs_addr other = v4(OTHER);
    open_to(r, OTHER);
    CHECK_EQ(r->n_queue, 0);
    CHECK(qs_engine_neigh_next(r->e, &n));
    CHECK_MEM(&n.addr, &other, 16);
    CHECK(n.news == QS_NEIGH_WANTED);
    CHECK(!qs_engine_neigh_next(r->e, &n));
    rx_arp(r, 1, 2, other_mac, OTHER, OWN); /* the kernel's business */
    rx_arp(r, 1, 1, other_mac, OTHER, OWN);
    CHECK_EQ(r->n_queue, 0);
    CHECK_EQ(qs_engine_neigh_set(r->e, &other, other_mac, rig_now(r)), 0);
    rig_run(r, 2);
    CHECK_EQ(r->n_queue, 1);
    CHECK_MEM(rig_take(r)->b, other_mac, 6);
    rig_free(r);
}

static void a_deleted_entry_is_wanted_again(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_neigh n;
    rig_establish(r, NULL);
    qs_addr peer = rig_peer(r);
    qs_engine_neigh_del(r->e, &peer);
    QUIET(5000);
    rig_write(r, 10);
    QUIET(5001);
    CHECK(qs_engine_neigh_next(r->e, &n) && n.news == QS_NEIGH_WANTED);
    CHECK_EQ(qs_engine_neigh_set(r->e, &peer, (uint8_t[]){2, 0, 0, 0, 0, 2}, rig_now(r)), 0);
    OUT(5001, "P.", 1, 10, 1);
    qs_addr nobody = v4(0x0a000077);
    qs_engine_neigh_del(r->e, &nobody);
    rig_free(r);
}

static void addresses_that_are_no_neighbours(void)
{
    struct rig *r = rig_new(NULL, false);
    qs_addr any = {{0}}, group = v4(0xe0000001);
    CHECK_EQ(qs_engine_neigh_set(r->e, &any, other_mac, rig_now(r)), QS_ERR_ARG);
    CHECK_EQ(qs_engine_neigh_set(r->e, &group, other_mac, rig_now(r)), QS_ERR_ARG);
    CHECK_EQ(qs_engine_gateway_set(r->e, &any), QS_ERR_ARG);
    rig_free(r);
}

int main(void)
{
    RUN(a_request_is_answered_and_learned_from);
    RUN(a_probe_for_duplicates_is_answered_and_not_learned_from);
    RUN(r09_these_teach_nothing);
    RUN(r09_malformed);
    RUN(r09_a_spoofed_reply_moves_nobody);
    RUN(a_connection_waits_for_the_answer);
    RUN(all_that_waited_are_sent);
    RUN(asked_again_and_given_up);
    RUN(closed_while_parked);
    RUN(an_old_entry_is_proven_again);
    RUN(off_link_goes_to_the_gateway);
    RUN(an_answer_to_another_queue);
    RUN(more_offers_than_fit);
    RUN(told_mode_reports_what_it_wants);
    RUN(a_deleted_entry_is_wanted_again);
    RUN(addresses_that_are_no_neighbours);
    return TEST_RESULT();
}
