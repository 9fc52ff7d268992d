/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's options, memory, addresses, and its driving calls at their edges. */
#include "rig.h"

/* ---- options ---- */

static qs_err try_opts(const qs_engine_opts *o)
{
    qs_engine *e = (qs_engine *)&e;
    struct qs_mem mem = test_mem();
    qs_err err = qs_engine_new(&e, o, &mem);
    if (err)
        CHECK(e == NULL);
    qs_engine_free(e);
    CHECK_EQ(test_mem_live(), 0);
    return err;
}

#define TRY(want, change)                                                                          \
    do {                                                                                           \
        qs_engine_opts o = rig_opts();                                                             \
        change;                                                                                    \
        CHECK_EQ(try_opts(&o), want);                                                              \
    } while (0)

static void options_at_their_limits(void)
{
    TRY(0, (void)o);
    TRY(QS_ERR_ARG, o.size = 0);
    TRY(QS_ERR_ARG, o.size++);
    TRY(0, o.id = 255);
    TRY(QS_ERR_ARG, o.id = 256);
    TRY(0, o.conns_max = 1);
    TRY(QS_ERR_ARG, o.conns_max = 0);
    TRY(QS_ERR_ARG, o.conns_max = 1 << 24);
    TRY(0, o.chunks_max = 16);
    TRY(QS_ERR_ARG, o.challenges_per_second = 0);
    TRY(QS_ERR_ARG, o.challenges_per_second = (1u << 30) + 1);
    TRY(QS_ERR_ARG, o.chunks_max = 15);
    TRY(QS_ERR_ARG, o.chunks_max = 1 << 24);
    TRY(0, o.rcvbuf_bytes = 2048);
    TRY(QS_ERR_ARG, o.rcvbuf_bytes = 2047);
    TRY(0, o.rcvbuf_bytes = 1 << 30);
    TRY(QS_ERR_ARG, o.rcvbuf_bytes = (1 << 30) + 1);
    TRY(0, o.sndbuf_bytes = 2048);
    TRY(QS_ERR_ARG, o.sndbuf_bytes = 2047);
    TRY(QS_ERR_ARG, o.sndbuf_bytes = (1 << 30) + 1);
    TRY(0, o.mtu = 576);
    TRY(QS_ERR_ARG, o.mtu = 575);
    TRY(0, o.mtu = 65535);
    TRY(QS_ERR_ARG, o.mtu = 65536);
    TRY(QS_ERR_ARG, o.rto_initial.ns = 0);
    TRY(QS_ERR_ARG, o.rto_min.ns = 0);
    TRY(QS_ERR_ARG, o.rto_max.ns = o.rto_min.ns - 1);
    TRY(0, o.delayed_ack = QS_MS(500));
    TRY(QS_ERR_ARG, o.delayed_ack = QS_MS(501));
    TRY(QS_ERR_ARG, o.user_timeout.ns = 0);
    TRY(QS_ERR_ARG, o.offloads = QS_OFFLOAD_TSO); /* needs the checksum too */
    TRY(QS_ERR_ARG, o.offloads = QS_OFFLOAD_TSO | QS_OFFLOAD_TX_CSUM);
    TRY(0, (o.offloads = QS_OFFLOAD_TSO | QS_OFFLOAD_TX_CSUM, o.gso_max_bytes = 65549));
    TRY(QS_ERR_ARG, (o.offloads = QS_OFFLOAD_TSO | QS_OFFLOAD_TX_CSUM, o.gso_max_bytes = 65550));
    TRY(QS_ERR_ARG, (o.offloads = QS_OFFLOAD_TSO | QS_OFFLOAD_TX_CSUM, o.gso_max_bytes = 1513));
}

/* ---- memory ---- */

struct scarce {
    int left; /* allocations that still succeed */
    size_t live;
};

static void *scarce_alloc(void *ctx, size_t bytes)
{
    struct scarce *s = ctx;
    if (s->left-- <= 0)
        return NULL;
    void *p = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    REQUIRE(p);
    memset(p, 0, bytes);
    s->live += bytes;
    return p;
}

static void scarce_free(void *ctx, void *block, size_t bytes)
{
    struct scarce *s = ctx;
    s->live -= bytes;
    free(block);
}

/* Whichever allocation fails, all others are given back, with the sizes that were asked for. */
static void every_allocation_may_fail(void)
{
    qs_engine_opts o = rig_opts();
    int n = 0;
    for (;; n++) {
        struct scarce s = {.left = n};
        struct qs_mem mem = {scarce_alloc, scarce_free, &s};
        qs_engine *e = (qs_engine *)&s;
        qs_err err = qs_engine_new(&e, &o, &mem);
        if (err == 0) {
            CHECK(s.live > 0);
            qs_engine_free(e);
            CHECK_EQ(s.live, 0);
            break;
        }
        CHECK_EQ(err, QS_ERR_NOMEM);
        CHECK(e == NULL);
        CHECK_EQ(s.live, 0);
    }
    CHECK(n >= 3);
    qs_engine_free(NULL);
}

/* Freed in the middle of everything; rig_free() looks at the memory. */
static void freed_with_connections_in_every_state(void)
{
    for (int state = QS_TCP_SYN_SENT; state < QS_TCP_STATES; state++) {
        struct rig *r = rig_new(NULL, state % 2);
        rig_to(r, (enum qs_tcp_state)state);
        rig_free(r);
    }
}

/* All that a connection took comes back whenever it ends, with octets in all of its queues. */
static void everything_comes_back(void)
{
    for (int how = 0; how < 3; how++) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        rig_write(r, 50000);
        rig_in(r, 20, &(struct seg){".", 1, 1000, 1});
        rig_in(r, 20, &(struct seg){".", 3001, 1000, 1});
        rig_flush(r);
        CHECK(rig_count(r, QS_COUNT_CHUNKS) > 25);
        if (how == 0)
            (void)qs_conn_abort(r->e, r->conn);
        else if (how == 1)
            rig_in(r, 30, &(struct seg){"R", 1001, 0, 0});
        else
            (void)qs_conn_close(r->e, r->conn);
        (void)rig_event(r);
        rig_flush(r);
        CHECK_COUNT(CHUNKS, 0);
        CHECK_COUNT(CONNS, 0);
        rig_run(r, 5000);
        CHECK_EQ(r->n_queue, 0);
        CHECK(qs_engine_deadline(r->e).ns == QS_NEVER.ns);
        rig_free(r);
    }
}

/* ---- addresses ---- */

static void addresses(void)
{
    struct rig *r = rig_new(NULL, false);
    qs_addr a = rig_addr(r);
    CHECK_EQ(qs_engine_addr_add(r->e, &a, 24), QS_ERR_ARG); /* twice */
    a.b[15] = 100;
    CHECK_EQ(qs_engine_addr_add(r->e, &a, 33), QS_ERR_ARG);
    a.b[12] = 224;
    CHECK_EQ(qs_engine_addr_add(r->e, &a, 24), QS_ERR_ARG);
    qs_addr any = {{0}}, six = {{0xfd, 1, [15] = 1}};
    CHECK_EQ(qs_engine_addr_add(r->e, &any, 0), QS_ERR_ARG);
    CHECK_EQ(qs_engine_addr_add(r->e, &six, 129), QS_ERR_ARG);
    CHECK_EQ(qs_engine_addr_add(r->e, &six, 128), 0);
    a.b[12] = 10;
    for (uint8_t i = 3; i < 16; i++) {
        a.b[15] = (uint8_t)(100 + i);
        CHECK_EQ(qs_engine_addr_add(r->e, &a, 32), 0);
    }
    a.b[15] = 200;
    CHECK_EQ(qs_engine_addr_add(r->e, &a, 32), QS_ERR_NOMEM);
    rig_free(r);
}

/* ---- driving calls ---- */

/* Frames come in any number; a burst of many is the same as one after the other. */
static void many_frames_in_one_call(void)
{
    static struct frame f[100];
    struct qs_frame q[100];
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    for (uint32_t i = 0; i < 100; i++) {
        rig_build(r, &f[i], &(struct seg){".", 1 + 100 * i, 100, 1});
        q[i] = (struct qs_frame){.data = f[i].b, .len = f[i].len};
    }
    qs_engine_rx(r->e, q, 100, rig_now(r));
    CHECK_COUNT(RX_FRAMES, 102);
    CHECK_EQ(rig_read(r, 20000), 10000);
    qs_engine_rx(r->e, q, 0, rig_now(r));
    rig_free(r);
}

/* With room for one frame at a time all goes out in the end, the most urgent class first. */
static void one_frame_at_a_time(void)
{
    static struct frame out;
    struct rig *r = rig_new(NULL, false);
    for (uint8_t p = 0; p < 8; p++) {
        struct qs_open_opts o;
        qs_conn c;
        qs_open_opts_init(&o);
        o.remote = rig_peer(r);
        o.remote_port = 7;
        o.prio = (uint8_t)(p * 3 % 8);
        REQUIRE(qs_conn_open(r->e, &o, rig_now(r), &c) == 0);
    }
    for (int want = 7; want >= 0; want--) {
        struct qs_frame q = {.data = out.b, .room = FRAME_ROOM_BYTES};
        CHECK(qs_engine_deadline(r->e).ns <= r->now_ns);
        CHECK_EQ(qs_engine_tx(r->e, &q, 1, rig_now(r)), 1);
        CHECK_EQ(q.prio, want);
    }
    CHECK(qs_engine_deadline(r->e).ns > r->now_ns);
    CHECK_EQ(qs_engine_tx(r->e, NULL, 0, rig_now(r)), 0);
    rig_free(r);
}

/* The trusted hash of a NIC only chooses the place: a wrong one finds no other connection. */
static void r07_a_trusted_hash(void)
{
    static struct frame f;
    qs_engine_opts o = rig_opts();
    o.trust_hash = true;
    struct rig *r = rig_new(&o, false);
    rig_listen(r);
    for (uint16_t i = 0; i < 20; i++) { /* all have the same hash */
        rig_build(r, &f, &(struct seg){"S", 0, 0, 0, .peer_port = (uint16_t)(1000 + i)});
        struct qs_frame q = {.data = f.b, .len = f.len, .hash = 42, .flags = QS_FRAME_HASH};
        qs_engine_rx(r->e, &q, 1, rig_now(r));
    }
    CHECK_COUNT(CONNS, 20);
    for (uint16_t i = 0; i < 20; i++) {
        rig_build(r, &f, &(struct seg){"R", 1, 0, 0, .peer_port = (uint16_t)(1000 + i)});
        struct qs_frame q = {.data = f.b, .len = f.len, .hash = 42, .flags = QS_FRAME_HASH};
        qs_engine_rx(r->e, &q, 1, rig_now(r));
        CHECK_COUNT(CONNS, 19 - i);
    }
    /* What was opened from here has another hash than the NIC's, and is found all the same. */
    rig_open(r);
    rig_flush(r);
    rig_build(r, &f, &(struct seg){"S.", 0, 0, 1});
    struct qs_frame q = {.data = f.b, .len = f.len, .hash = 43, .flags = QS_FRAME_HASH};
    qs_engine_rx(r->e, &q, 1, rig_now(r));
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    rig_free(r);
}

/* ---- offloads ---- */

/* The checksum field holds the pseudo-header's sum, the device completes it. */
static void partial_checksums(void)
{
    static struct frame out;
    qs_engine_opts o = rig_opts();
    o.offloads = QS_OFFLOAD_TX_CSUM;
    for (int v6 = 0; v6 < 2; v6++) {
        struct rig *r = rig_new(&o, v6);
        struct wire_tcp t;
        struct qs_frame q = {.data = out.b, .room = FRAME_ROOM_BYTES};
        rig_open(r);
        REQUIRE(qs_engine_tx(r->e, &q, 1, rig_now(r)) == 1);
        out.len = q.len;
        uint8_t *l4 = frame_l4(&out);
        CHECK_EQ(q.flags, QS_FRAME_CSUM_PARTIAL);
        CHECK_EQ(q.csum_start, l4 - out.b);
        CHECK_EQ(q.csum_offset, 16);
        uint32_t sum = naive_sum(l4, q.len - q.csum_start, 0);
        put(l4 + 16, 2, naive_checksum(sum)); /* what the device does */
        frame_parse_tcp(&out, &t);
        CHECK_EQ(t.flags[0], 'S');
        rig_free(r);
    }
}

/* One frame carries many segments; its length is a multiple of theirs. */
static void segmentation(void)
{
    static struct frame out;
    qs_engine_opts o = rig_opts();
    o.offloads = QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO;
    o.gso_max_bytes = 8000;
    struct rig *r = rig_new(&o, false);
    struct qs_frame q = {.data = out.b, .room = FRAME_ROOM_BYTES};
    rig_open(r);
    REQUIRE(qs_engine_tx(r->e, &q, 1, rig_now(r)) == 1);
    rig_in(r, 0, &(struct seg){"S.", 0, 0, 1, "mss 1000"});
    REQUIRE(qs_engine_tx(r->e, &q, 1, rig_now(r)) == 1);
    rig_write(r, 9500);
    q.room = FRAME_ROOM_BYTES;
    REQUIRE(qs_engine_tx(r->e, &q, 1, rig_now(r)) == 1);
    CHECK_EQ(q.flags, QS_FRAME_CSUM_PARTIAL | QS_FRAME_GSO);
    CHECK_EQ(q.gso_bytes, 1000);
    CHECK_EQ(q.len, 54 + 7000);
    q.room = FRAME_ROOM_BYTES;
    REQUIRE(qs_engine_tx(r->e, &q, 1, rig_now(r)) == 1);
    CHECK_EQ(q.len, 54 + 2500);
    CHECK_EQ(q.gso_bytes, 1000);
    rig_free(r);
}

int main(void)
{
    RUN(options_at_their_limits);
    RUN(every_allocation_may_fail);
    RUN(freed_with_connections_in_every_state);
    RUN(everything_comes_back);
    RUN(addresses);
    RUN(many_frames_in_one_call);
    RUN(one_frame_at_a_time);
    RUN(r07_a_trusted_hash);
    RUN(partial_checksums);
    RUN(segmentation);
    return TEST_RESULT();
}
