/* SPDX-License-Identifier: Apache-2.0 */
/* What one source may have of an urgent class: beyond it, it is served as class 0, nothing is lost,
 * and connections and classes of messages keep their order. */
#include "core/engine.h"
#include "rig.h"

#define HIGH 7
#define RATE 8000 /* octets a second: 1,000 at once */
#define FLOOD 0x0a000063u
#define HONEST 0x0a000042u
#define STREAM_PORT RIG_PORT
#define MESSAGE_PORT 81

static const uint8_t mac[6] = {2, 0, 0, 0, 0, 2};

static int class_of_second(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx)
{
    (void)ctx;
    return data && len > 1 ? data[1] : flow->prio;
}

static void cap(struct rig *r, uint32_t prio)
{
    struct qs_class_opts o;
    qs_class_opts_init(&o);
    CHECK_EQ(o.source_bytes_per_second, 0);
    o.source_bytes_per_second = RATE;
    REQUIRE(qs_engine_class_set(r->e, prio, &o) == 0);
}

/* Streams of class 7 on one port; on the other messages, each a length in an octet, its class, and
 * the rest. */
static struct rig *with_cap(const qs_engine_opts *opts)
{
    struct rig *r = rig_new(opts, false);
    struct qs_listen_opts l;
    struct qs_framing_opts f;
    struct qs_classifier_opts k;
    qs_listen_opts_init(&l);
    l.port = STREAM_PORT;
    l.prio = HIGH;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    qs_framing_opts_init(&f, QS_FRAMING_LENGTH);
    f.length_octets = 1;
    f.length_adds = 0;
    qs_classifier_opts_init(&k);
    k.fn = class_of_second;
    l.port = MESSAGE_PORT;
    l.prio = 0;
    l.messages = (uint8_t)qs_engine_messages(r->e, &f, &k);
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    cap(r, HIGH);
    return r;
}

struct client {
    qs_conn conn;
    uint32_t from; /* IPv4 address */
    uint16_t port, peer_port;
    uint32_t iss, seq;
};

static double now_ms(const struct rig *r)
{
    return (double)(r->now_ns - r->start_ns) / 1e6;
}

static void in(struct rig *r, const struct client *c, const struct seg *s, const void *data)
{
    static struct frame f;
    r->iss = c->iss;
    rig_build(r, &f, s);
    put(f.b + FRAME_ETH + 12, 4, c->from);
    if (data)
        memcpy(f.b + f.len - s->len, data, s->len);
    frame_fix(&f);
    rig_frame(r, now_ms(r), &f);
}

static struct client connect_from(struct rig *r, uint32_t from, uint16_t port, uint16_t peer_port)
{
    struct wire_tcp t;
    struct client c = {.from = from, .port = port, .peer_port = peer_port, .seq = 1};
    qs_addr peer = {{[10] = 0xff, [11] = 0xff}};
    put(peer.b + 12, 4, from);
    REQUIRE(qs_engine_neigh_set(r->e, &peer, mac, rig_now(r)) == 0);
    in(r, &c, &(struct seg){"S", .opts = "mss 1000", .port = port, .peer_port = peer_port}, NULL);
    rig_run(r, now_ms(r));
    struct frame *f = rig_take(r);
    REQUIRE(f);
    frame_parse_tcp(f, &t);
    c.iss = t.seq;
    in(r, &c, &(struct seg){".", 1, 0, 1, .port = port, .peer_port = peer_port}, NULL);
    REQUIRE(rig_event(r) == QS_EVENT_OPEN);
    c.conn = r->conn;
    return c;
}

static void arrive(struct rig *r, struct client *c, uint32_t len, const void *data)
{
    in(r, c, &(struct seg){".", c->seq, len, 1, .port = c->port, .peer_port = c->peer_port}, data);
    c->seq += len;
    rig_flush(r);
}

static uint64_t count(const struct rig *r, uint32_t prio, enum qs_class_counter which)
{
    uint64_t all[QS_N_CLASS_COUNTERS];
    REQUIRE(qs_engine_class_counters(r->e, prio, all, QS_N_CLASS_COUNTERS) == QS_N_CLASS_COUNTERS);
    return all[which];
}

/* Octets of `c` arrive and are read. @return class of their event. */
static uint32_t request(struct rig *r, struct client *c, uint32_t len)
{
    uint8_t buf[1000];
    arrive(r, c, len, NULL);
    REQUIRE(rig_event(r) == QS_EVENT_READABLE);
    CHECK_EQ(r->ev.conn.v, c->conn.v);
    uint32_t prio = r->ev.prio;
    CHECK_EQ(qs_conn_read(r->e, c->conn, buf, sizeof buf), (int64_t)len);
    return prio;
}

static void beyond_its_rate_a_source_is_served_as_class_0(void)
{
    struct rig *r = with_cap(NULL);
    struct client flood = connect_from(r, FLOOD, STREAM_PORT, 1000);
    struct client honest = connect_from(r, HONEST, STREAM_PORT, 1000);
    CHECK_EQ(request(r, &flood, 500), HIGH);
    CHECK_EQ(count(r, HIGH, QS_CLASS_CAPPED), 0);
    CHECK_EQ(request(r, &flood, 1000), HIGH); /* the last one may go beyond */
    CHECK_EQ(request(r, &flood, 100), 0);
    CHECK_EQ(request(r, &flood, 100), 0);
    CHECK_EQ(count(r, HIGH, QS_CLASS_CAPPED), 2);
    CHECK_EQ(request(r, &honest, 500), HIGH);

    struct client second = connect_from(r, FLOOD, STREAM_PORT, 1001); /* it is the source's rate */
    CHECK_EQ(r->ev.prio, 0);
    CHECK_EQ(request(r, &second, 100), 0);

    rig_run(r, now_ms(r) + 500);
    rig_flush(r);
    CHECK_EQ(request(r, &flood, 100), HIGH);
    CHECK_EQ(request(r, &second, 100), HIGH);
    CHECK_EQ(rig_count(r, QS_COUNT_DROP_NO_CHUNK), 0);
    rig_free(r);
}

static void an_event_costs_something_whatever_it_holds(void)
{
    struct rig *r = with_cap(NULL);
    struct client flood = connect_from(r, FLOOD, STREAM_PORT, 1000);
    uint32_t urgent = 0;
    for (uint32_t i = 0; i < 100; i++)
        urgent += request(r, &flood, 1) == HIGH;
    CHECK(urgent > 2 && urgent <= 1000 / 64);
    rig_free(r);
}

static void what_is_sent_counts_and_goes_as_class_0(void)
{
    struct rig *r = with_cap(NULL);
    struct client flood = connect_from(r, FLOOD, STREAM_PORT, 1000);
    static uint8_t answer[2000];
    CHECK_EQ(request(r, &flood, 10), HIGH);
    CHECK_EQ(qs_conn_write(r->e, flood.conn, answer, sizeof answer), (int64_t)sizeof answer);
    uint64_t sent = count(r, HIGH, QS_CLASS_FRAMES_SENT);
    rig_run(r, now_ms(r));
    CHECK_EQ(count(r, HIGH, QS_CLASS_FRAMES_SENT), sent + 2);
    rig_flush(r);
    CHECK_EQ(request(r, &flood, 10), 0);
    in(r, &flood, &(struct seg){".", flood.seq, 0, 2001, .port = STREAM_PORT, .peer_port = 1000},
       NULL);
    CHECK_EQ(qs_conn_write(r->e, flood.conn, answer, 500), 500);
    rig_run(r, now_ms(r));
    CHECK_EQ(count(r, HIGH, QS_CLASS_FRAMES_SENT), sent + 2);
    CHECK_EQ(count(r, 0, QS_CLASS_FRAMES_SENT), 1);
    rig_free(r);
}

/* A connection that waits to send changes its list when it is judged anew. */
static void what_waits_to_be_sent_changes_its_class(void)
{
    struct rig *r = with_cap(NULL);
    struct client flood = connect_from(r, FLOOD, STREAM_PORT, 1000);
    uint8_t buf[900];
    arrive(r, &flood, 1000, NULL);
    REQUIRE(rig_event(r) == QS_EVENT_READABLE);
    CHECK_EQ(qs_conn_read(r->e, flood.conn, buf, sizeof buf), (int64_t)sizeof buf);
    CHECK_EQ(qs_conn_write(r->e, flood.conn, "a", 1), 1);
    CHECK_EQ(r->e->ready_classes, 1u << HIGH);
    CHECK_EQ(qs_conn_want_read(r->e, flood.conn), 0);
    CHECK_EQ(r->e->ready_classes, 1u << QS_CLASS_LEAST);
    rig_audit(r);
    REQUIRE(rig_event(r) == QS_EVENT_READABLE);
    CHECK_EQ(r->ev.prio, 0);
    rig_run(r, now_ms(r) + 1000);
    rig_flush(r);
    CHECK_EQ(qs_conn_write(r->e, flood.conn, "b", 1), 1);
    CHECK_EQ(qs_conn_want_read(r->e, flood.conn), 0);
    CHECK_EQ(r->e->ready_classes, 1u << HIGH);
    REQUIRE(rig_event(r) == QS_EVENT_READABLE);
    CHECK_EQ(r->ev.prio, HIGH);
    rig_free(r);
}

/* @return whether the second of two addresses has what the first one left of the rate. */
static bool shares(uint8_t bits4, uint32_t one, uint32_t other)
{
    qs_engine_opts o = rig_opts();
    o.source_bits4 = bits4;
    struct rig *r = with_cap(&o);
    struct client a = connect_from(r, one, STREAM_PORT, 1000);
    struct client b = connect_from(r, other, STREAM_PORT, 1000);
    CHECK_EQ(request(r, &a, 1000), HIGH);
    CHECK_EQ(request(r, &a, 1000), 0);
    bool capped = request(r, &b, 10) == 0;
    rig_free(r);
    return capped;
}

static void a_source_is_a_prefix(void)
{
    CHECK(!shares(32, 0x0a000010, 0x0a000011));
    CHECK(shares(31, 0x0a000010, 0x0a000011));
    CHECK(!shares(31, 0x0a000011, 0x0a000012));
    CHECK(shares(24, 0x0a000010, 0x0a0000ee));
    qs_engine_opts o = rig_opts();
    struct rig *r = rig_new(&o, true);
    qs_addr a = {{0xfd, [7] = 1, [15] = 1}}, b = {{0xfd, [7] = 1, [8] = 9}},
            c = {{0xfd, [7] = 2, [15] = 1}};
    cap(r, HIGH);
    qs_source_charge(r->e, &a, HIGH, 1000);
    CHECK(!qs_source_within(r->e, &a, HIGH));
    CHECK(!qs_source_within(r->e, &b, HIGH));
    CHECK(qs_source_within(r->e, &c, HIGH));
    CHECK(qs_source_within(r->e, &a, 6)); /* of another class */
    rig_free(r);
}

static void one_flood_takes_nobody_else_with_it(void)
{
    struct rig *r = rig_new(NULL, false);
    cap(r, HIGH);
    qs_addr flood = {{[10] = 0xff, [11] = 0xff, 1, 2, 3, 4}}, other = flood;
    qs_source_charge(r->e, &flood, HIGH, 1000);
    uint32_t taken = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        put(other.b + 12, 4, 0x0b000000 + i);
        taken += !qs_source_within(r->e, &other, HIGH);
    }
    CHECK_EQ(taken, 0);
    rig_free(r);
}

/* Takes the next message and compares its text. @return its class. */
static uint32_t take(struct rig *r, const struct client *c, const char *text)
{
    struct qs_message m;
    struct qs_span span;
    REQUIRE(qs_conn_message(r->e, c->conn, 0, &m) == 1);
    CHECK_EQ(qs_conn_message_peek(r->e, c->conn, &m, 2, &span, 1), 1);
    CHECK_EQ(span.data[0], (uint8_t)text[0]);
    CHECK_EQ(qs_conn_message_done(r->e, c->conn, &m), 0);
    rig_audit(r);
    return m.prio;
}

/* Of 200 octets, so that five are a rate. */
static void send(struct rig *r, struct client *c, uint8_t prio, char mark)
{
    uint8_t m[200] = {200, prio, (uint8_t)mark};
    arrive(r, c, sizeof m, m);
}

static void messages_beyond_the_rate_keep_their_place(void)
{
    struct rig *r = with_cap(NULL);
    struct client c = connect_from(r, FLOOD, MESSAGE_PORT, 1000);
    send(r, &c, 0, 'a');
    for (const char *mark = "12345"; *mark; mark++)
        send(r, &c, HIGH, *mark);
    send(r, &c, HIGH, '6');
    CHECK_EQ(count(r, HIGH, QS_CLASS_CAPPED), 1);
    send(r, &c, 0, 'b');
    rig_run(r, now_ms(r) + 500); /* the rate is there again, but 6 is not taken yet */
    rig_flush(r);
    send(r, &c, HIGH, '7');
    send(r, &c, 6, '!'); /* of no class with a limit, and not of that of 6: it may not pass 7 */
    for (const char *mark = "12345"; *mark; mark++)
        CHECK_EQ(take(r, &c, (char[]){*mark}), HIGH);
    for (const char *mark = "a6b7!"; *mark; mark++)
        CHECK_EQ(take(r, &c, (char[]){*mark}), 0);
    send(r, &c, 0, 'c');
    send(r, &c, HIGH, '8');
    CHECK_EQ(take(r, &c, "8"), HIGH);
    CHECK_EQ(take(r, &c, "c"), 0);
    CHECK_EQ(count(r, HIGH, QS_CLASS_CAPPED), 2);
    CHECK_EQ(count(r, 6, QS_CLASS_CAPPED), 1);
    rig_free(r);
}

/* Two sources, one of them ten times beyond its rate, and an application that reads in pieces: each
 * octet comes once and in order, and the honest one is always urgent. */
static void streams_stay_in_order_while_their_class_changes(void)
{
    struct rig *r = with_cap(NULL);
    struct client c[2] = {connect_from(r, FLOOD, STREAM_PORT, 1000),
                          connect_from(r, HONEST, STREAM_PORT, 1000)};
    uint32_t read[2] = {0}, sent[2] = {0}, classes[2] = {0};
    uint64_t seed = qs_test_seed();
    for (uint32_t step = 0; step < 4000; step++) {
        uint8_t data[100];
        uint32_t i = step % 100 == 0, len = 1 + (uint32_t)(qs_test_random(&seed) % sizeof data);
        for (uint32_t k = 0; k < len; k++)
            data[k] = (uint8_t)((sent[i] + k) * 31 >> 3);
        arrive(r, &c[i], len, data);
        sent[i] += len;
        rig_run(r, now_ms(r) + 1);
        rig_flush(r);
        if (rig_event(r) != QS_EVENT_READABLE)
            continue;
        i = r->ev.conn.v == c[1].conn.v;
        classes[i] |= 1u << r->ev.prio;
        int64_t n = qs_conn_read(r->e, c[i].conn, data, 1 + qs_test_random(&seed) % sizeof data);
        for (int64_t k = 0; k < n; k++)
            CHECK_EQ(data[k], (uint8_t)((read[i]++) * 31 >> 3));
        CHECK_EQ(qs_conn_want_read(r->e, c[i].conn), 0);
        rig_audit(r);
    }
    CHECK_EQ(classes[0], 1u | 1u << HIGH);
    CHECK_EQ(classes[1], 1u << HIGH);
    rig_free(r);
}

static void what_is_out_of_range_is_refused(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_class_opts o;
    qs_class_opts_init(&o);
    static const struct {
        uint32_t prio;
        uint64_t rate;
        qs_err err;
    } row[] = {{0, 1000, QS_ERR_ARG}, {0, 0, 0},
               {1, 999, QS_ERR_ARG},  {1, 1000, 0},
               {1, 1000000000000, 0}, {1, 1000000000001, QS_ERR_ARG}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        o.source_bytes_per_second = row[i].rate;
        CHECK_EQ(qs_engine_class_set(r->e, row[i].prio, &o), row[i].err);
    }
    rig_free(r);
    static const uint8_t bits[][3] = {{0, 64, 0}, {33, 64, 0}, {1, 0, 0}, {1, 129, 0}, {1, 128, 1}};
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        qs_engine *e;
        qs_engine_opts eo = rig_opts();
        eo.source_bits4 = bits[i][0];
        eo.source_bits6 = bits[i][1];
        struct qs_mem mem = test_mem();
        CHECK_EQ(qs_engine_new(&e, &eo, &mem), bits[i][2] ? 0 : QS_ERR_ARG);
        qs_engine_free(e);
    }
}

int main(void)
{
    RUN(beyond_its_rate_a_source_is_served_as_class_0);
    RUN(an_event_costs_something_whatever_it_holds);
    RUN(what_is_sent_counts_and_goes_as_class_0);
    RUN(what_waits_to_be_sent_changes_its_class);
    RUN(a_source_is_a_prefix);
    RUN(one_flood_takes_nobody_else_with_it);
    RUN(messages_beyond_the_rate_keep_their_place);
    RUN(streams_stay_in_order_while_their_class_changes);
    RUN(what_is_out_of_range_is_refused);
    return TEST_RESULT();
}
