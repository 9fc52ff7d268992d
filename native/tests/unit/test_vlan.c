/* SPDX-License-Identifier: Apache-2.0 */
/* Frames with a tag, IEEE 802.1Q: which are taken, where answers go, and classes by tag. */
#include "qstack/qs_class.h"
#include "qstack/qs_message.h"
#include "qstack/qs_parcel.h"
#include "rig.h"

#define VLAN 5u
#define OTHER_VLAN 6u
#define TAG_AT 12
#define TAG 4u
#define URGENT 6u

static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 2}, moved_mac[6] = {2, 0, 0, 0, 0, 3},
                     broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static struct rig *tagged_rig(bool v6)
{
    qs_engine_opts o = rig_opts();
    o.neigh_mode = QS_NEIGH_OWN;
    struct rig *r = rig_new(&o, v6);
    REQUIRE(qs_engine_vlan_add(r->e, VLAN) == 0);
    REQUIRE(qs_engine_vlan_add(r->e, OTHER_VLAN) == 0);
    return r;
}

static void add_tag(struct frame *f, uint32_t ethertype, uint32_t tci)
{
    memmove(f->b + TAG_AT + TAG, f->b + TAG_AT, f->len - TAG_AT);
    put(f->b + TAG_AT, 2, ethertype);
    put(f->b + TAG_AT + 2, 2, tci);
    f->len += TAG;
}

/* A segment with a tag of this content. */
static void in(struct rig *r, double ms, uint32_t tci, const struct seg *s)
{
    static struct frame f;
    rig_build(r, &f, s);
    add_tag(&f, 0x8100, tci);
    rig_frame(r, ms, &f);
    rig_run(r, ms);
}

static void arp(struct rig *r, double ms, uint32_t vlan, uint32_t operation, const uint8_t mac[6])
{
    static struct frame f;
    qs_addr own = rig_addr(r), peer = rig_peer(r);
    frame_eth(&f, 0x0806);
    uint8_t *a = f.b + FRAME_ETH;
    memset(a, 0, 28);
    put(a, 4, 0x00010800);
    put(a + 4, 4, 0x06040000 | operation);
    memcpy(a + 8, mac, 6);
    memcpy(a + 14, peer.b + 12, 4);
    memcpy(a + 24, own.b + 12, 4);
    f.len = FRAME_ETH + 28;
    add_tag(&f, 0x8100, vlan);
    rig_frame(r, ms, &f);
    rig_run(r, ms);
}

/* The next frame, which has this tag, and has lost it now. */
static struct frame *take(struct rig *r, uint32_t pcp, uint32_t vlan, const uint8_t mac[6])
{
    struct frame *f = rig_take(r);
    REQUIRE(f);
    CHECK_MEM(f->b, mac, 6);
    CHECK_EQ(be(f->b + TAG_AT, 2), 0x8100);
    CHECK_EQ(be(f->b + TAG_AT + 2, 2), pcp << 13 | vlan);
    f->len -= TAG;
    memmove(f->b + TAG_AT, f->b + TAG_AT + TAG, f->len - TAG_AT);
    return f;
}

static void take_tcp(struct rig *r, uint32_t pcp, uint32_t vlan, const char *flags)
{
    struct wire_tcp t;
    frame_parse_tcp(take(r, pcp, vlan, peer_mac), &t);
    CHECK(strcmp(t.flags, flags) == 0);
    r->last = t;
}

static void listen_with(struct rig *r, uint8_t prio, const struct qs_match *m)
{
    struct qs_listen_opts o;
    qs_listen_opts_init(&o);
    o.port = RIG_PORT;
    o.prio = prio;
    if (m) {
        struct qs_classifier_opts k;
        qs_classifier_opts_init(&k);
        k.matches = m;
        k.n_matches = 1;
        int number = qs_engine_messages(r->e, NULL, &k);
        REQUIRE(number > 0);
        o.messages = (uint8_t)number;
    }
    REQUIRE(qs_engine_listen(r->e, &o) >= 0);
}

/* The handshake on a VLAN whose neighbour is known. */
static void establish(struct rig *r, uint32_t tci, uint32_t prio)
{
    arp(r, 0, tci & 0xfff, 1, peer_mac);
    (void)take(r, 7, tci & 0xfff, peer_mac);
    in(r, 1, tci, &(struct seg){.flags = "S", .opts = "mss 1000"});
    take_tcp(r, prio, tci & 0xfff, "S.");
    r->iss = r->last.seq;
    in(r, 2, tci, &(struct seg){.flags = ".", .seq = 1, .ack = 1});
    REQUIRE(rig_event(r) & QS_EVENT_OPEN);
    r->conn = r->ev.conn;
}

static void a_connection_is_answered_on_its_vlan_with_its_class(void)
{
    struct rig *r = tagged_rig(false);
    listen_with(r, URGENT, NULL);
    establish(r, 3u << 13 | VLAN, URGENT);
    in(r, 3, VLAN, &(struct seg){.flags = "P.", .seq = 1, .len = 10, .ack = 1});
    CHECK_EQ(rig_read(r, 100), 10);
    CHECK_EQ(rig_write(r, 20), 20);
    rig_run(r, 3);
    take_tcp(r, URGENT, VLAN, "P.");
    CHECK_EQ(r->last.len, 20);
    CHECK_EQ(qs_conn_abort(r->e, r->conn), 0);
    rig_run(r, 4);
    take_tcp(r, URGENT, VLAN, "R.");
    CHECK_COUNT(DROP_VLAN, 0);
    rig_free(r);
}

static void a_neighbour_is_asked_for_and_known_on_its_vlan_only(void)
{
    struct rig *r = tagged_rig(false);
    struct qs_neigh n;
    listen_with(r, 0, NULL);
    in(r, 1, VLAN, &(struct seg){.flags = "S"}); /* the peer is known without a tag, at peer_mac */
    struct frame *f = take(r, 7, VLAN, broadcast);
    CHECK_EQ(be(f->b + FRAME_ETH + 6, 2), 1);
    CHECK_EQ(r->n_queue, 0);
    REQUIRE(qs_engine_neigh_next(r->e, &n));
    CHECK_EQ(n.news, QS_NEIGH_WANTED);
    CHECK_EQ(n.vlan, VLAN);
    arp(r, 2, OTHER_VLAN, 2, moved_mac); /* nobody asked there */
    CHECK_COUNT(DROP_NEIGH, 1);
    REQUIRE(qs_engine_neigh_next(r->e, &n));
    CHECK_EQ(n.news, QS_NEIGH_OFFERED);
    CHECK_EQ(n.vlan, OTHER_VLAN);
    qs_engine_neigh_told(r->e, &n, rig_now(r));
    rig_run(r, 2);
    CHECK_EQ(r->n_queue, 0);
    n = (struct qs_neigh){.addr = rig_peer(r), .vlan = VLAN, .news = QS_NEIGH_OFFERED};
    memcpy(n.mac, moved_mac, 6);
    qs_engine_neigh_told(r->e, &n, rig_now(r)); /* the answer came to another queue */
    rig_run(r, 3);
    (void)take(r, 0, VLAN, moved_mac);
    rig_free(r);
}

static void what_comes_with_another_tag_is_counted(void)
{
    static const struct {
        uint32_t ethertype, tci, inner;
    } row[] = {{0x8100, 7, 0}, {0x8100, 4095, 0}, {0x8100, VLAN, 0x8100}, {0x88a8, VLAN, 0}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        static struct frame f;
        struct rig *r = tagged_rig(false);
        listen_with(r, 0, NULL);
        rig_build(r, &f, &(struct seg){.flags = "S"});
        if (row[i].inner)
            add_tag(&f, row[i].inner, VLAN);
        add_tag(&f, row[i].ethertype, row[i].tci);
        rig_frame(r, 1, &f);
        CHECK(rig_quiet(r, 10));
        CHECK_COUNT(DROP_VLAN, 1);
        CHECK_COUNT(CONNS, 0);
        rig_free(r);
    }
}

static void without_vlans_no_tag_is_taken(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_listen(r);
    in(r, 1, VLAN, &(struct seg){.flags = "S"});
    CHECK(rig_quiet(r, 10));
    CHECK_COUNT(DROP_VLAN, 1);
    rig_free(r);
}

static void a_tag_of_a_priority_alone_is_none(void)
{
    struct rig *r = rig_new(NULL, false);
    const struct qs_match m = {.what = QS_MATCH_PCP | QS_MATCH_VLAN, .pcp = 5, .prio = URGENT};
    listen_with(r, 0, &m);
    in(r, 1, 5u << 13, &(struct seg){.flags = "S"});
    struct frame *f = rig_take(r);
    REQUIRE(f);
    CHECK_EQ(be(f->b + TAG_AT, 2), 0x0800);
    uint64_t frames[QS_N_CLASS_COUNTERS];
    (void)qs_engine_class_counters(r->e, URGENT, frames, QS_N_CLASS_COUNTERS);
    CHECK_EQ(frames[QS_CLASS_FRAMES_SENT], 1);
    rig_free(r);
}

static void a_tag_names_the_class(void)
{
    const struct qs_match m = {.what = QS_MATCH_VLAN, .vlan = VLAN, .prio = URGENT};
    for (int urgent = 0; urgent < 2; urgent++) {
        struct rig *r = tagged_rig(false);
        listen_with(r, 0, &m);
        establish(r, urgent ? VLAN : OTHER_VLAN, urgent ? URGENT : 0);
        CHECK_EQ(rig_info(r).prio, urgent ? URGENT : 0);
        rig_free(r);
    }
}

static void a_segment_from_another_vlan_is_not_the_connections(void)
{
    struct rig *r = tagged_rig(false);
    listen_with(r, 0, NULL);
    establish(r, VLAN, 0);
    const struct seg s = {.flags = "P.", .seq = 1, .len = 10, .ack = 1};
    in(r, 3, OTHER_VLAN, &s);
    rig_in(r, 4, &s);
    CHECK(rig_quiet(r, 100));
    CHECK_COUNT(DROP_VLAN, 2);
    CHECK_EQ(rig_info(r).readable_bytes, 0);
    in(r, 101, VLAN, &s);
    CHECK_EQ(rig_info(r).readable_bytes, 10);
    rig_free(r);
}

static void what_needs_no_connection_is_answered_there_too(void)
{
    static struct frame f;
    struct rig *r = tagged_rig(false);
    in(r, 1, VLAN, &(struct seg){.flags = "S", .port = 81});
    take_tcp(r, 0, VLAN, "R.");
    qs_addr own = rig_addr(r), peer = rig_peer(r);
    uint8_t *echo = frame_ip(&f, &peer, &own, 1, 16);
    memset(echo, 0, 16);
    echo[0] = 8;
    frame_fix(&f);
    add_tag(&f, 0x8100, OTHER_VLAN);
    rig_frame(r, 2, &f);
    rig_run(r, 2);
    struct frame *answer = take(r, 0, OTHER_VLAN, peer_mac);
    CHECK_EQ(frame_l4(answer)[0], 0);
    CHECK_EQ(answer->len, FRAME_ETH + 20 + 16);
    rig_free(r);
}

static void a_cookie_goes_where_its_syn_came_from(void)
{
    struct rig *r = tagged_rig(false);
    struct qs_listen_opts o;
    qs_listen_opts_init(&o);
    o.port = RIG_PORT;
    o.half_open_max = 1;
    REQUIRE(qs_engine_listen(r->e, &o) >= 0);
    arp(r, 0, VLAN, 1, peer_mac);
    (void)take(r, 7, VLAN, peer_mac);
    in(r, 1, VLAN, &(struct seg){.flags = "S"});
    take_tcp(r, 0, VLAN, "S.");
    in(r, 2, VLAN, &(struct seg){.flags = "S", .peer_port = 40001});
    take_tcp(r, 0, VLAN, "S.");
    CHECK_COUNT(SYN_COOKIES_SENT, 1);
    r->iss = r->last.seq;
    in(r, 3, VLAN, &(struct seg){.flags = ".", .seq = 1, .ack = 1, .peer_port = 40001});
    CHECK(rig_event(r) & QS_EVENT_OPEN);
    CHECK_EQ(qs_conn_abort(r->e, r->ev.conn), 0);
    rig_run(r, 4);
    take_tcp(r, 0, VLAN, "R.");
    rig_free(r);
}

static void ipv6_neighbours_and_errors_have_the_tag(void)
{
    static struct frame f;
    struct rig *r = tagged_rig(true);
    listen_with(r, 0, NULL);
    in(r, 1, VLAN, &(struct seg){.flags = "S"});
    struct frame *ask = rig_take(r);
    REQUIRE(ask);
    CHECK_EQ(be(ask->b + TAG_AT, 4), 0x81000000 | 7u << 13 | VLAN);
    CHECK_EQ(ask->b[FRAME_ETH + TAG + 40], 135);
    CHECK_EQ(ask->len, FRAME_ETH + TAG + 40 + 32);

    qs_addr peer = rig_peer(r), own = rig_addr(r);
    uint8_t *h = frame_ip(&f, &peer, &own, 60, 8 + 20); /* an option that its sender cares for */
    memset(h, 0, 28);
    h[0] = 6;
    memcpy(h + 2, (uint8_t[]){0xbe, 4}, 2);
    add_tag(&f, 0x8100, VLAN);
    rig_frame(r, 2, &f);
    rig_run(r, 2);
    struct frame *problem = take(r, 0, VLAN, peer_mac);
    CHECK_EQ(be(frame_l4(problem), 2), 0x0402);
    CHECK_EQ(be(frame_l4(problem) + 4, 4), 42); /* counts from the IP header */
    CHECK_EQ(be(frame_l4(problem) + 8, 2), 0x6000);
    rig_free(r);
}

static bool any_flow(void *ctx, const struct qs_flow *flow)
{
    (void)ctx, (void)flow;
    return true;
}

static void a_connection_takes_its_vlan_to_another_engine(void)
{
    struct rig *r = tagged_rig(false), *to = tagged_rig(false), *untagged = rig_new(NULL, false);
    listen_with(r, 0, NULL);
    listen_with(to, 0, NULL);
    listen_with(untagged, 0, NULL);
    establish(r, VLAN, 0);
    uint32_t at = 0;
    size_t octets = qs_engine_flow_next(r->e, any_flow, NULL, &at, 256);
    REQUIRE(octets > 0);
    void *parcel = malloc(octets);
    REQUIRE(parcel);
    (void)qs_engine_pack(r->e, at, parcel);
    qs_conn c;
    CHECK_EQ(qs_engine_unpack(untagged->e, parcel, octets, rig_now(to), &c), QS_ERR_ADDRNOTAVAIL);
    REQUIRE(qs_engine_unpack(to->e, parcel, octets, rig_now(to), &c) == 0);
    CHECK_EQ(qs_conn_write(to->e, c, "a", 1), 1);
    rig_run(to, 1);
    take_tcp(to, 0, VLAN, "P.");
    free(parcel);
    rig_free(untagged);
    rig_free(to);
    rig_free(r);
}

/* A large frame with segmentation has room for its tag. */
static void offloads_count_from_behind_the_tag(void)
{
    qs_engine_opts o = rig_opts();
    o.neigh_mode = QS_NEIGH_OWN;
    o.offloads = QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO;
    o.gso_max_bytes = 2 * o.mtu;
    struct rig *r = rig_new(&o, false);
    REQUIRE(qs_engine_vlan_add(r->e, VLAN) == 0);
    listen_with(r, 0, NULL);
    arp(r, 0, VLAN, 1, peer_mac);
    (void)take(r, 7, VLAN, peer_mac);
    in(r, 1, VLAN, &(struct seg){.flags = "S", .opts = "mss 1000"});
    r->iss = be(frame_l4(take(r, 0, VLAN, peer_mac)) + 4, 4); /* its checksum is not whole */
    in(r, 2, VLAN, &(struct seg){.flags = ".", .seq = 1, .ack = 1});
    REQUIRE(rig_event(r) & QS_EVENT_OPEN);
    static uint8_t room[4096], octets[4000];
    CHECK_EQ(qs_conn_write(r->e, r->ev.conn, octets, sizeof octets), (int64_t)sizeof octets);
    struct qs_frame f = {.data = room, .room = sizeof room};
    REQUIRE(qs_engine_tx(r->e, &f, 1, rig_now(r)) == 1);
    CHECK(f.flags & QS_FRAME_CSUM_PARTIAL && f.flags & QS_FRAME_GSO);
    CHECK_EQ(f.csum_start, FRAME_ETH + TAG + 20);
    CHECK_EQ(f.len, FRAME_ETH + TAG + 20 + 20 + 2000);
    rig_free(r);
}

static void vlans_that_cannot_be_are_refused(void)
{
    struct rig *r = tagged_rig(false), *told = rig_new(NULL, false);
    CHECK_EQ(qs_engine_vlan_add(r->e, 0), QS_ERR_ARG);
    CHECK_EQ(qs_engine_vlan_add(r->e, 1), 0);
    CHECK_EQ(qs_engine_vlan_add(r->e, 4094), 0);
    CHECK_EQ(qs_engine_vlan_add(r->e, 4095), QS_ERR_ARG);
    CHECK_EQ(qs_engine_vlan_add(told->e, VLAN), QS_ERR_STATE);
    for (uint16_t vlan = 4; vlan < 8; vlan++) {
        qs_conn c;
        struct qs_open_opts o;
        qs_open_opts_init(&o);
        o.remote = rig_peer(r);
        o.remote_port = RIG_PEER_PORT;
        o.vlan = vlan;
        bool taken = vlan == VLAN || vlan == OTHER_VLAN;
        CHECK_EQ(qs_conn_open(r->e, &o, rig_now(r), &c), taken ? 0 : QS_ERR_ARG);
    }
    rig_free(told);
    rig_free(r);
}

int main(void)
{
    RUN(a_connection_is_answered_on_its_vlan_with_its_class);
    RUN(a_neighbour_is_asked_for_and_known_on_its_vlan_only);
    RUN(what_comes_with_another_tag_is_counted);
    RUN(without_vlans_no_tag_is_taken);
    RUN(a_tag_of_a_priority_alone_is_none);
    RUN(a_tag_names_the_class);
    RUN(a_segment_from_another_vlan_is_not_the_connections);
    RUN(what_needs_no_connection_is_answered_there_too);
    RUN(a_cookie_goes_where_its_syn_came_from);
    RUN(ipv6_neighbours_and_errors_have_the_tag);
    RUN(a_connection_takes_its_vlan_to_another_engine);
    RUN(offloads_count_from_behind_the_tag);
    RUN(vlans_that_cannot_be_are_refused);
    return TEST_RESULT();
}
