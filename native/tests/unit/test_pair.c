/* SPDX-License-Identifier: Apache-2.0 */
/* The wire in memory: frames arrive whole, once and where the receiver's software NIC wants them.
 */
#include "pair_rig.h"

#include "io/softnic.h"
#include "io/softnic_lookup.h"

#include <sys/socket.h>
#include <sys/un.h>

#define N_SLOTS 512u

static void frames_of_every_size_arrive_intact(void)
{
    struct qs_driver *a = rig_open(0, 1), *b = rig_open(1, 1);
    const uint32_t sizes[] = {62, 63, 64, 1514, 9014, 65535, 65549};
    CHECK_EQ(a->caps.gso_max_bytes, 65549);
    for (uint64_t id = 0; id < 7 * 1000; id++) {
        struct qs_driver *from = id & 1 ? a : b, *to = id & 1 ? b : a;
        uint32_t len = sizes[id % 7];
        struct qs_frame f;
        REQUIRE(rig_send(from, 0, id, len, (uint16_t)id));
        REQUIRE(to->ops->rx(to, 0, &f, 1) == 1);
        CHECK_EQ(f.len, len);
        CHECK_EQ(rig_id(&f), id);
        CHECK(rig_intact(&f));
        to->ops->rx_done(to, 0, &f, 1);
    }
    rig_close(b);
    rig_close(a);
}

static void only_partial_checksums_come_with_proof(void)
{
    struct qs_driver *a = rig_open(0, 1), *b = rig_open(1, 1);
    struct qs_frame f[2];
    CHECK_EQ(a->caps.offloads, QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO);
    REQUIRE(a->ops->tx_reserve(a, 0, f, 2) == 2);
    rig_fill(&f[0], 0, 100, 1, 80);
    rig_fill(&f[1], 1, 100, 1, 80);
    f[1].flags = QS_FRAME_CSUM_PARTIAL | QS_FRAME_GSO;
    f[1].gso_bytes = 1448;
    a->ops->tx_commit(a, 0, f, 2, 2);
    REQUIRE(b->ops->rx(b, 0, f, 2) == 2);
    CHECK_EQ(f[0].flags, QS_FRAME_HASH);
    CHECK_EQ(f[1].flags, QS_FRAME_HASH | QS_FRAME_CSUM_OK);
    CHECK_EQ(f[1].gso_bytes, 1448);
    b->ops->rx_done(b, 0, f, 2);
    rig_close(b);
    rig_close(a);
}

static void without_offloads_frames_are_small(void)
{
    struct qs_driver_opts o0 = rig_opts(0, 1), o1 = rig_opts(1, 2);
    o0.no_offload = true;
    o0.mtu = 9000;
    struct qs_driver *a = rig_open_with(&o0), *b = rig_open_with(&o1);
    CHECK_EQ(a->caps.offloads, 0);
    CHECK_EQ(b->caps.offloads, 0); /* takes what the wire is */
    CHECK_EQ(b->caps.mtu, 9000);
    CHECK(!b->caps.rx_csum);
    struct qs_frame f;
    REQUIRE(b->ops->tx_reserve(b, 1, &f, 1) == 1);
    CHECK_EQ(f.room, 9018);
    b->ops->tx_commit(b, 1, &f, 1, 0);
    rig_close(b);
    rig_close(a);
}

/* Receives everything there is on `queue` and returns how many. */
static size_t drain(struct qs_driver *d, uint32_t queue)
{
    struct qs_frame f[64];
    size_t n, sum = 0;
    while ((n = d->ops->rx(d, queue, f, 64)) > 0) {
        for (size_t i = 0; i < n; i++)
            CHECK(rig_intact(&f[i]));
        d->ops->rx_done(d, queue, f, n);
        sum += n;
    }
    return sum;
}

static void r06_a_full_wire_lends_nothing_and_loses_nothing(void)
{
    struct qs_driver *a = rig_open(0, 1), *b = rig_open(1, 1);
    uint64_t sent = 0;
    for (int round = 0; round < 5; round++) {
        while (rig_send(a, 0, sent, 100, (uint16_t)sent))
            sent++;
        CHECK_EQ(sent, (uint64_t)(round + 1) * N_SLOTS);
        CHECK_EQ(drain(b, 0), N_SLOTS);
    }
    rig_close(b);
    rig_close(a);
}

static void buffers_not_used_are_lent_again(void)
{
    struct qs_driver *a = rig_open(0, 1), *b = rig_open(1, 1);
    struct qs_frame f[N_SLOTS];
    for (int round = 0; round < 3; round++) {
        REQUIRE(a->ops->tx_reserve(a, 0, f, N_SLOTS) == N_SLOTS);
        rig_fill(&f[0], 1, 70, 1, 80);
        a->ops->tx_commit(a, 0, f, N_SLOTS, 1);
        CHECK_EQ(drain(b, 0), 1);
    }
    rig_close(b);
    rig_close(a);
}

static void the_receivers_nic_chooses_the_queue(void)
{
    struct qs_driver *a = rig_open(0, 2), *b = rig_open(1, 4);
    uint64_t per_queue[4] = {0};
    for (uint32_t i = 0; i < 400; i++)
        REQUIRE(rig_send(a, i & 1, i, 100, (uint16_t)(1000 + i)));
    for (uint32_t q = 0; q < 4; q++) {
        struct qs_frame f[64];
        size_t n;
        while ((n = b->ops->rx(b, q, f, 64)) > 0) {
            for (size_t i = 0; i < n; i++) {
                struct qs_softnic_source from = {f[i].data, f[i].len};
                struct qs_softnic_key key;
                CHECK(qs_softnic_parse(&from, &key));
                uint32_t hash = qs_softnic_hash(b->softnic, &key);
                CHECK_EQ(f[i].hash, hash);
                CHECK_EQ(b->softnic->indir[hash % QS_SOFTNIC_INDIR_SIZE], q);
            }
            b->ops->rx_done(b, q, f, n);
            per_queue[q] += n;
        }
        CHECK(per_queue[q] > 50);
        CHECK_EQ(b->softnic->queues[q].packets, per_queue[q]);
        CHECK_EQ(b->softnic->queues[q].bytes, per_queue[q] * 100);
    }
    CHECK_EQ(per_queue[0] + per_queue[1] + per_queue[2] + per_queue[3], 400);
    rig_close(b);
    rig_close(a);
}

static struct qs_softnic_rule rule_for_port(uint16_t sport, uint32_t location, uint32_t queue)
{
    struct qs_softnic_rule rule = {.location = location, .queue = queue};
    rule.value.family = 4;
    rule.value.proto = 6;
    rule.value.sport[0] = (uint8_t)(sport >> 8);
    rule.value.sport[1] = (uint8_t)sport;
    rule.mask.family = rule.mask.proto = 0xff;
    rule.mask.sport[0] = rule.mask.sport[1] = 0xff;
    rule.value.present = rule.mask.present = QS_SOFTNIC_HAS_L4;
    return rule;
}

static void rules_steer_and_drop(void)
{
    struct qs_driver *a = rig_open(0, 1), *b = rig_open(1, 4);
    struct qs_softnic_rule to3 = rule_for_port(1111, 0, 3),
                           drop = rule_for_port(2222, 1, QS_SOFTNIC_DROP);
    REQUIRE(qs_softnic_rule_insert(b->softnic, &to3) == 0);
    REQUIRE(qs_softnic_rule_insert(b->softnic, &drop) == 0);
    for (uint32_t i = 0; i < 3 * N_SLOTS; i++) { /* more than the pool: dropped slots come back */
        REQUIRE(rig_send(a, 0, i, 100, 1111));
        REQUIRE(rig_send(a, 0, i, 100, 2222));
        CHECK_EQ(drain(b, 3), 1);
    }
    for (uint32_t q = 0; q < 4; q++)
        CHECK_EQ(drain(b, q), 0);
    CHECK_EQ(b->softnic->rule_drops, 3 * N_SLOTS);
    CHECK_EQ(b->softnic->rule_hits, 6 * N_SLOTS);
    rig_close(b);
    rig_close(a);
}

static void without_a_peer_frames_go_nowhere(void)
{
    struct qs_driver *a = rig_open(0, 1);
    struct qs_frame f[64];
    struct qs_driver_stats stats;
    CHECK(!qs_pair_connected(a));
    for (uint32_t i = 0; i < 2 * N_SLOTS; i++)
        CHECK(rig_send(a, 0, i, 1000, 1));
    CHECK_EQ(a->ops->rx(a, 0, f, 64), 0);
    a->ops->stats(a, 0, &stats);
    CHECK_EQ(stats.tx_lost, 2 * N_SLOTS);
    CHECK(!a->ops->arm(a, 0));
    rig_close(a);
}

static void wait_connected(struct qs_driver *d, bool connected)
{
    for (int i = 0; i < 2000 && qs_pair_connected(d) != connected; i++)
        usleep(1000);
    REQUIRE(qs_pair_connected(d) == connected);
}

static void a_peer_that_goes_makes_room_for_the_next(void)
{
    struct qs_driver *a = rig_open(0, 2);
    for (uint64_t round = 1; round <= 3; round++) {
        struct qs_driver *b = rig_open(1, (uint32_t)round);
        wait_connected(a, true);
        for (uint32_t i = 0; i < 100; i++)
            REQUIRE(rig_send(a, 0, i, 100, (uint16_t)i));
        size_t got = 0;
        for (uint32_t q = 0; q < round; q++)
            got += drain(b, q);
        CHECK_EQ(got, 100);
        REQUIRE(rig_send(b, 0, round, 100, 1));
        CHECK_EQ(drain(a, 0) + drain(a, 1), 1);
        for (uint32_t i = 0; i < 50; i++) /* frames that lie on the wire when it breaks */
            REQUIRE(rig_send(a, 0, i, 100, (uint16_t)i));
        rig_close(b);
        wait_connected(a, false);
        CHECK_EQ(qs_pair_peers_lost(a), round);
        CHECK(rig_send(a, 0, 0, 100, 1));
        CHECK_EQ(drain(a, 0), 0);
    }
    rig_close(a);
}

static void a_frame_that_is_lent_survives_the_wire(void)
{
    struct qs_driver *a = rig_open(0, 1), *b = rig_open(1, 1);
    struct qs_frame f, g;
    REQUIRE(rig_send(b, 0, 77, 1000, 1));
    REQUIRE(a->ops->rx(a, 0, &f, 1) == 1);
    rig_close(b);
    wait_connected(a, false);
    CHECK_EQ(a->ops->rx(a, 0, &g, 1), 0);
    CHECK_EQ(rig_id(&f), 77);
    CHECK(rig_intact(&f));
    a->ops->rx_done(a, 0, &f, 1);
    rig_close(a);
}

static void what_was_sent_before_the_end_still_arrives(void)
{
    struct qs_driver *a = rig_open(0, 1), *b = rig_open(1, 1);
    struct qs_driver_stats stats;
    CHECK_EQ(drain(a, 0), 0); /* the queue has seen the wire */
    for (uint32_t i = 0; i < 100; i++)
        REQUIRE(rig_send(b, 0, i, 100, 1));
    rig_close(b);
    wait_connected(a, false);
    CHECK(rig_send(a, 0, 0, 100, 1)); /* nobody is there to send to */
    a->ops->stats(a, 0, &stats);
    CHECK_EQ(stats.tx_lost, 1);
    CHECK_EQ(drain(a, 0), 100);
    CHECK_EQ(drain(a, 0), 0);
    b = rig_open(1, 1);
    REQUIRE(rig_send(b, 0, 1, 100, 1));
    CHECK_EQ(drain(a, 0), 1);
    rig_close(b);
    rig_close(a);
}

static void expect_refusal(const struct qs_driver_opts *o, qs_err want, const char *word)
{
    struct qs_driver *d = (struct qs_driver *)1;
    struct qs_diag diag = {""};
    CHECK_EQ(qs_driver_pair.open(&d, o, &diag), want);
    CHECK(d == NULL);
    CHECK(strstr(diag.text, word));
    if (!strstr(diag.text, word))
        fprintf(stderr, "  said: %s\n", diag.text);
}

static void what_cannot_be_opened_says_why(void)
{
    struct qs_driver_opts o = rig_opts(1, 1);
    expect_refusal(&o, QS_ERR_NODEV, "no wire \"w\"");
    struct qs_driver *a = rig_open(0, 1);
    o = rig_opts(0, 1);
    expect_refusal(&o, QS_ERR_BUSY, "in use");
    o = rig_opts(1, 0);
    expect_refusal(&o, QS_ERR_ARG, "queues");
    o = rig_opts(1, 65);
    expect_refusal(&o, QS_ERR_ARG, "64");
    o = rig_opts(2, 1);
    expect_refusal(&o, QS_ERR_ARG, "side");
    o = rig_opts(1, 1);
    o.mtu = 500;
    expect_refusal(&o, QS_ERR_ARG, "MTU 500");
    o.mtu = 9000;
    expect_refusal(&o, QS_ERR_ARG, "MTU 1500");
    o = rig_opts(1, 1);
    o.no_offload = true;
    expect_refusal(&o, QS_ERR_ARG, "no_offload");
    o.ifname = "a/b";
    o.pair_side = 0;
    expect_refusal(&o, QS_ERR_ARG, "a/b");
    o.ifname = "";
    expect_refusal(&o, QS_ERR_ARG, "characters");
    struct qs_driver *b = rig_open(1, 1);
    o = rig_opts(1, 1);
    expect_refusal(&o, QS_ERR_BUSY, "joined");
    rig_close(b);
    rig_close(a);
}

static void a_dead_owners_socket_is_replaced(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%.60s/w.wire", rig_dir);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    REQUIRE(bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0);
    close(fd); /* the name stays, nobody listens */
    struct qs_driver_opts o = rig_opts(1, 1);
    expect_refusal(&o, QS_ERR_NODEV, "no wire");
    CHECK(access(addr.sun_path, F_OK) != 0);
    fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    REQUIRE(bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0);
    close(fd);
    rig_close(rig_open(0, 1));
    CHECK(access(addr.sun_path, F_OK) != 0);
}

static void strangers_on_the_socket_do_no_harm(void)
{
    struct qs_driver *a = rig_open(0, 1);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%.60s/w.wire", rig_dir);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    REQUIRE(connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0);
    CHECK_EQ(send(fd, "hello", 5, 0), 5);
    struct qs_driver *b = rig_open(1, 1);
    CHECK(rig_send(b, 0, 1, 100, 1));
    CHECK_EQ(drain(a, 0), 1);
    close(fd);
    rig_close(b);
    rig_close(a);
}

int main(void)
{
    rig_begin();
    RUN(frames_of_every_size_arrive_intact);
    RUN(only_partial_checksums_come_with_proof);
    RUN(without_offloads_frames_are_small);
    RUN(r06_a_full_wire_lends_nothing_and_loses_nothing);
    RUN(buffers_not_used_are_lent_again);
    RUN(the_receivers_nic_chooses_the_queue);
    RUN(rules_steer_and_drop);
    RUN(without_a_peer_frames_go_nowhere);
    RUN(a_peer_that_goes_makes_room_for_the_next);
    RUN(a_frame_that_is_lent_survives_the_wire);
    RUN(what_was_sent_before_the_end_still_arrives);
    RUN(what_cannot_be_opened_says_why);
    RUN(a_dead_owners_socket_is_replaced);
    RUN(strangers_on_the_socket_do_no_harm);
    rig_end();
    return TEST_RESULT();
}
