/* SPDX-License-Identifier: Apache-2.0 */
/* What classes have for sure in an engine: order, shares, chunks, connections. */
#include "core/engine.h"
#include "rig.h"

#define LOW_PORT RIG_PORT
#define HIGH_PORT 81
#define HIGH 7
#define CONNS 40 /* of each class */

/* In thousandths, as exact as two frames are of 300. */
#define CHECK_NEAR(got, want)                                                                      \
    do {                                                                                           \
        uint64_t got_ = (got);                                                                     \
        CHECK(got_ + 8 >= (want) && got_ <= (want) + 8);                                           \
    } while (0)

static struct rig *with_two_classes(const qs_engine_opts *o, bool shed_rst)
{
    struct rig *r = rig_new(o, false);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = LOW_PORT;
    l.shed_rst = shed_rst;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    l.port = HIGH_PORT;
    l.prio = HIGH;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    return r;
}

static void set(struct rig *r, uint32_t prio, uint32_t share, uint32_t chunks, uint32_t conns)
{
    struct qs_class_opts o;
    qs_class_opts_init(&o);
    o.min_share_permille = share;
    o.chunks_reserved = chunks;
    o.conns_reserved = conns;
    REQUIRE(qs_engine_class_set(r->e, prio, &o) == 0);
}

static uint64_t count(const struct rig *r, uint32_t prio, enum qs_class_counter which)
{
    uint64_t all[QS_N_CLASS_COUNTERS];
    REQUIRE(qs_engine_class_counters(r->e, prio, all, QS_N_CLASS_COUNTERS) == QS_N_CLASS_COUNTERS);
    return all[which];
}

struct client {
    qs_conn conn;
    uint16_t port, peer_port;
    uint32_t iss, seq;
};

static double now_ms(const struct rig *r)
{
    return (double)(r->now_ns - r->start_ns) / 1e6;
}

static struct client connect_one(struct rig *r, uint16_t port, uint16_t peer_port)
{
    struct wire_tcp t;
    struct client c = {.port = port, .peer_port = peer_port, .seq = 1};
    rig_in(r, now_ms(r),
           &(struct seg){"S", 0, 0, 0, .opts = "mss 1000", .port = port, .peer_port = peer_port});
    rig_run(r, now_ms(r));
    struct frame *f = rig_take(r);
    REQUIRE(f);
    frame_parse_tcp(f, &t);
    c.iss = r->iss = t.seq;
    rig_in(r, now_ms(r), &(struct seg){".", 1, 0, 1, .port = port, .peer_port = peer_port});
    REQUIRE(rig_event(r) == QS_EVENT_OPEN);
    c.conn = r->conn;
    return c;
}

/* 1,000 octets of it arrive. */
static void arrive(struct rig *r, struct client *c)
{
    r->iss = c->iss;
    rig_in(r, now_ms(r),
           &(struct seg){".", c->seq, 1000, 1, .port = c->port, .peer_port = c->peer_port});
    c->seq += 1000;
    rig_flush(r);
}

static void in_a_burst_the_most_urgent_comes_first(void)
{
    qs_engine_opts o = rig_opts();
    o.conns_max = 1;
    struct rig *r = with_two_classes(&o, false);
    /* The only place goes to the one that came last: both in one call of qs_engine_rx(). */
    struct frame low, high;
    rig_build(r, &low, &(struct seg){"S", 0, 0, 0, .port = LOW_PORT, .peer_port = 1000});
    rig_build(r, &high, &(struct seg){"S", 0, 0, 0, .port = HIGH_PORT, .peer_port = 1001});
    const struct qs_frame burst[] = {{.data = low.b, .len = (uint32_t)low.len},
                                     {.data = high.b, .len = (uint32_t)high.len}};
    qs_engine_rx(r->e, burst, 2, rig_now(r));
    CHECK_EQ(count(r, 0, QS_CLASS_SHED_CONNS), 1);
    CHECK_EQ(count(r, HIGH, QS_CLASS_SHED_CONNS), 0);
    rig_free(r);
}

/* All connections of both classes have an initial window of octets to send: takes `n` frames.
 * @return octets of frames of class 0 in a thousand of all. */
static uint64_t share_of_low(uint32_t min_share, uint32_t n)
{
    static uint8_t data[10000], room[2048];
    qs_engine_opts o = rig_opts();
    o.conns_max = 4 * CONNS;
    o.chunks_max = 2048;
    struct rig *r = with_two_classes(&o, false);
    set(r, 0, min_share, 0, 0);
    struct client c[2 * CONNS];
    for (uint16_t i = 0; i < 2 * CONNS; i++)
        c[i] = connect_one(r, i % 2 ? HIGH_PORT : LOW_PORT, (uint16_t)(1000 + i));
    for (uint16_t i = 0; i < 2 * CONNS; i++)
        REQUIRE(qs_conn_write(r->e, c[i].conn, data, sizeof data) == sizeof data);
    uint64_t bytes[QS_N_PRIO] = {0}, before = count(r, 0, QS_CLASS_BYTES_SENT);
    for (uint32_t i = 0; i < n; i++) {
        struct qs_frame f = {.data = room, .room = sizeof room};
        REQUIRE(qs_engine_tx(r->e, &f, 1, rig_now(r)) == 1);
        bytes[f.prio] += f.len;
    }
    CHECK_EQ(count(r, 0, QS_CLASS_BYTES_SENT) - before, bytes[0]);
    rig_free(r);
    return 1000 * bytes[0] / (bytes[0] + bytes[HIGH]);
}

static void a_class_sends_its_share_and_no_more(void)
{
    CHECK_EQ(share_of_low(0, 300), 0);
    CHECK_NEAR(share_of_low(200, 300), 200);
    CHECK_NEAR(share_of_low(500, 300), 500);
    CHECK_NEAR(share_of_low(0, 600), 333); /* urgent ones have nothing more: 200 of 600 */
}

static void shares_beyond_the_whole_are_refused(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_class_opts o;
    qs_class_opts_init(&o);
    CHECK_EQ(o.min_share_permille, 10);
    o.min_share_permille = 930;
    CHECK_EQ(qs_engine_class_set(r->e, 0, &o), 0); /* with 7 times 10 */
    o.min_share_permille = 11;
    CHECK_EQ(qs_engine_class_set(r->e, 1, &o), QS_ERR_ARG);
    o.min_share_permille = 10;
    CHECK_EQ(qs_engine_class_set(r->e, QS_N_PRIO, &o), QS_ERR_ARG);
    o.chunks_reserved = rig_opts().chunks_max / 2 + 1;
    CHECK_EQ(qs_engine_class_set(r->e, 1, &o), QS_ERR_ARG);
    o.chunks_reserved = 0;
    o.conns_reserved = rig_opts().conns_max / 2 + 1;
    CHECK_EQ(qs_engine_class_set(r->e, 1, &o), QS_ERR_ARG);
    o.conns_reserved--;
    CHECK_EQ(qs_engine_class_set(r->e, 1, &o), 0);
    o.size--;
    CHECK_EQ(qs_engine_class_set(r->e, 1, &o), QS_ERR_ARG);
    rig_free(r);
}

static void reserved_chunks_are_for_the_urgent(void)
{
    qs_engine_opts o = rig_opts();
    o.chunks_max = 32;
    struct rig *r = with_two_classes(&o, false);
    set(r, HIGH, 10, 8, 0);
    struct client low = connect_one(r, LOW_PORT, 1000), high = connect_one(r, HIGH_PORT, 1001);
    for (uint32_t i = 0; i < 60; i++)
        arrive(r, &low);
    struct qs_conn_info info;
    REQUIRE(qs_conn_info(r->e, low.conn, &info) == 0);
    CHECK_EQ(info.readable_bytes, 16 * QS_CHUNK_BYTES); /* a quarter is for what is written */
    uint64_t shed = count(r, 0, QS_CLASS_SHED_CHUNKS);
    CHECK_EQ(shed, 60 - 16 * QS_CHUNK_BYTES / 1000);
    CHECK_EQ(rig_count(r, QS_COUNT_DROP_NO_CHUNK), shed);
    for (uint32_t i = 0; i < 16; i++)
        arrive(r, &high);
    REQUIRE(qs_conn_info(r->e, high.conn, &info) == 0);
    CHECK_EQ(info.readable_bytes, 16000);
    CHECK_EQ(count(r, HIGH, QS_CLASS_SHED_CHUNKS), 0);
    CHECK_EQ(count(r, HIGH, QS_CLASS_SEGMENTS), 17);
    CHECK_EQ(count(r, HIGH, QS_CLASS_OCTETS), 16000);
    CHECK_EQ(qs_conn_write(r->e, low.conn, "x", 1), QS_ERR_AGAIN); /* the rest is for the urgent */
    CHECK_EQ(qs_conn_write(r->e, high.conn, "x", 1), 1);
    rig_free(r);
}

/* Who answers before it has read goes on, whatever others send; and who reads, whatever is written
 * to peers that do not. */
static void received_and_written_octets_leave_each_other_a_quarter(void)
{
    static const uint8_t many[64 * QS_CHUNK_BYTES];
    for (int writes_first = 0; writes_first < 2; writes_first++) {
        qs_engine_opts o = rig_opts();
        o.chunks_max = 64;
        struct rig *r = with_two_classes(&o, false);
        struct client a = connect_one(r, LOW_PORT, 1000), b = connect_one(r, LOW_PORT, 1001);
        struct qs_conn_info info;
        if (writes_first)
            CHECK_EQ(qs_conn_write(r->e, a.conn, many, sizeof many), 48 * QS_CHUNK_BYTES);
        for (uint32_t i = 0; i < 120; i++)
            arrive(r, &b);
        REQUIRE(qs_conn_info(r->e, b.conn, &info) == 0);
        CHECK_EQ(info.readable_bytes, (writes_first ? 14 : 48) * QS_CHUNK_BYTES);
        if (!writes_first)
            CHECK_EQ(qs_conn_write(r->e, a.conn, many, sizeof many), 16 * QS_CHUNK_BYTES);
        else
            CHECK_EQ(qs_conn_write(r->e, b.conn, many, sizeof many), QS_ERR_AGAIN);
        rig_free(r);
    }
}

static void reserved_connections_are_for_the_urgent(void)
{
    for (int rst = 0; rst < 2; rst++) {
        qs_engine_opts o = rig_opts();
        o.conns_max = 4;
        struct rig *r = with_two_classes(&o, rst);
        set(r, HIGH, 10, 0, 2);
        connect_one(r, LOW_PORT, 1000);
        connect_one(r, LOW_PORT, 1001);
        rig_in(r, 0, &(struct seg){"S", 0, 0, 0, .port = LOW_PORT, .peer_port = 1002});
        r->iss = 0; /* what answers a SYN has no sequence number of its own */
        if (rst)
            OUT(0, "R.", 0, 0, 1, .port = LOW_PORT, .peer_port = 1002);
        QUIET(0);
        CHECK_EQ(count(r, 0, QS_CLASS_SHED_CONNS), 1);
        connect_one(r, HIGH_PORT, 1003);
        connect_one(r, HIGH_PORT, 1004);
        CHECK_EQ(count(r, HIGH, QS_CLASS_OPENS), 2);
        CHECK_EQ(count(r, 0, QS_CLASS_EVENTS), 2);
        rig_free(r);
    }
}

static void a_full_backlog_is_counted_for_its_class(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.prio = HIGH;
    l.backlog = 1;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    IN(0, "S", 0, 0, 0);
    OUT(0, "S.", 0, 0, 1);
    IN(0, ".", 1, 0, 1);
    IN(0, "S", 0, 0, 0, .peer_port = 1001);
    QUIET(0);
    CHECK_EQ(count(r, HIGH, QS_CLASS_SHED_BACKLOG), 1);
    rig_free(r);
}

static void events_of_one_class(void)
{
    struct rig *r = with_two_classes(NULL, false);
    struct client low = connect_one(r, LOW_PORT, 1000), high = connect_one(r, HIGH_PORT, 1001);
    arrive(r, &low);
    arrive(r, &high);
    CHECK_EQ(qs_engine_event_classes(r->e), 1u | 1u << HIGH);
    struct qs_event ev[4];
    CHECK_EQ(qs_engine_events_of(r->e, 3, ev, 4), 0);
    CHECK_EQ(qs_engine_events_of(r->e, 0, ev, 4), 1);
    CHECK_EQ(ev[0].prio, 0);
    CHECK_EQ(qs_engine_events(r->e, ev, 4), 1);
    CHECK_EQ(ev[0].prio, HIGH);
    CHECK_EQ(qs_engine_event_classes(r->e), 0);
    rig_free(r);
}

static void who_has_much_to_read_lets_others_have_their_turn(void)
{
    struct rig *r = with_two_classes(NULL, false);
    struct client a = connect_one(r, LOW_PORT, 1000), b = connect_one(r, LOW_PORT, 1001);
    uint8_t buf[4000];
    arrive(r, &a);
    arrive(r, &b);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(r->ev.conn.v, a.conn.v);
    CHECK_EQ(qs_conn_read(r->e, a.conn, buf, 600), 600);
    CHECK_EQ(qs_conn_want_read(r->e, a.conn), 0);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(r->ev.conn.v, b.conn.v);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(r->ev.conn.v, a.conn.v);
    CHECK_EQ(qs_conn_read(r->e, a.conn, buf, 600), 400);
    CHECK_EQ(qs_conn_want_read(r->e, a.conn), 0);
    CHECK_EQ(rig_event(r), 0);
    rig_free(r);
}

static uint8_t traffic_class(const struct rig *r, const struct frame *f)
{
    return (uint8_t)(r->v6 ? f->b[14] << 4 | f->b[15] >> 4 : f->b[15]);
}

static void packets_have_the_dscp_of(bool v6)
{
    struct rig *r = rig_new(NULL, v6);
    struct qs_listen_opts l;
    struct qs_class_opts o;
    qs_class_opts_init(&o);
    o.dscp = 64;
    CHECK_EQ(qs_engine_class_set(r->e, 5, &o), QS_ERR_ARG);
    o.dscp = 46;
    CHECK_EQ(qs_engine_class_set(r->e, 5, &o), 0);
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.prio = 5;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    rig_in(r, 0, &(struct seg){"S", 0, 0, 0});
    rig_run(r, 0);
    struct frame *f = rig_take(r);
    REQUIRE(f);
    CHECK_EQ(traffic_class(r, f), 46 << 2);
    rig_in(r, 1, &(struct seg){"S", 0, 0, 0, .port = 9}); /* nobody listens there: class 0 */
    rig_run(r, 1);
    f = rig_take(r);
    REQUIRE(f);
    CHECK_EQ(traffic_class(r, f), 0);
    rig_free(r);
}

static void packets_have_the_dscp_of_their_class(void)
{
    packets_have_the_dscp_of(false);
    packets_have_the_dscp_of(true);
}

int main(void)
{
    RUN(in_a_burst_the_most_urgent_comes_first);
    RUN(a_class_sends_its_share_and_no_more);
    RUN(shares_beyond_the_whole_are_refused);
    RUN(reserved_chunks_are_for_the_urgent);
    RUN(received_and_written_octets_leave_each_other_a_quarter);
    RUN(reserved_connections_are_for_the_urgent);
    RUN(a_full_backlog_is_counted_for_its_class);
    RUN(events_of_one_class);
    RUN(who_has_much_to_read_lets_others_have_their_turn);
    RUN(packets_have_the_dscp_of_their_class);
    return TEST_RESULT();
}
