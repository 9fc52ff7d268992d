/* SPDX-License-Identifier: Apache-2.0 */
/* Connections as parcels: in every state from one engine to another, which goes on as the first one
 * would have; what is no parcel, or finds no room. Under load: test_transfer, test_messages_sim. */
#include "audit.h"
#include "core/engine.h"
#include "rig.h"

struct parcel {
    uint8_t *data;
    size_t len;
    qs_conn old;
};

static bool any(void *ctx, const struct qs_flow *flow)
{
    if (ctx)
        *(struct qs_flow *)ctx = *flow;
    return true;
}

static bool none(void *ctx, const struct qs_flow *flow)
{
    (void)ctx, (void)flow;
    return false;
}

/* An engine like the rig's, with addresses and the listener. */
static qs_engine *another(const struct rig *r, const qs_engine_opts *opts)
{
    qs_engine_opts o = *opts;
    struct qs_mem mem = test_mem();
    qs_engine *e;
    qs_addr own = rig_addr(r);
    o.id = 9;
    o.secret[0] ^= 1;
    REQUIRE(qs_engine_new(&e, &o, &mem) == 0);
    REQUIRE(qs_engine_addr_add(e, &own, r->v6 ? 64 : 24) == 0);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    REQUIRE(qs_engine_listen(e, &l) >= 0);
    return e;
}

/* Takes the only connection out of the rig's engine. */
static struct parcel take(struct rig *r)
{
    uint32_t at = 0;
    struct parcel p = {.len = qs_engine_flow_next(r->e, any, NULL, &at, 100)};
    REQUIRE(p.len > 0);
    p.data = malloc(p.len);
    REQUIRE(p.data);
    p.old = qs_engine_pack(r->e, at, p.data).conn;
    rig_audit(r);
    CHECK_COUNT(CONNS, 0);
    CHECK_COUNT(CHUNKS, 0);
    return p;
}

static qs_err enter(qs_engine *e, const struct rig *r, const struct parcel *p, qs_conn *c)
{
    qs_err err = qs_engine_unpack(e, p->data, p->len, rig_now(r), c);
    const char *broken = audit(e);
    if (broken)
        fprintf(stderr, "%s\n", broken);
    CHECK(!broken);
    return err;
}

/* From now on the rig is one of the engine `e`. */
static void go_on_with(struct rig *r, qs_engine *e, qs_conn c)
{
    qs_engine_free(r->e);
    r->e = e;
    r->conn = c;
}

static void move(struct rig *r)
{
    qs_engine_opts o = rig_opts();
    qs_engine *e = another(r, &o);
    struct parcel p = take(r);
    qs_conn c;
    CHECK_EQ(enter(e, r, &p, &c), 0);
    CHECK_EQ(qs_conn_close(r->e, p.old), QS_ERR_STALE);
    go_on_with(r, e, c);
    free(p.data);
}

static void every_state_moves(void)
{
    for (int state = QS_TCP_SYN_SENT; state <= QS_TCP_TIME_WAIT; state++)
        for (int v6 = 0; v6 < 2; v6++) {
            struct rig *r = rig_new(NULL, v6);
            rig_to(r, (enum qs_tcp_state)state);
            struct qs_conn_info before = {0}, after;
            bool told = state != QS_TCP_SYN_RECEIVED;
            if (told)
                before = rig_info(r);
            rig_run(r, 60);
            move(r);
            if (told) {
                CHECK_EQ(rig_event(r), QS_EVENT_MOVED);
                CHECK_EQ(r->ev.conn.v, r->conn.v);
                after = rig_info(r);
                CHECK_EQ(after.state, state);
                CHECK_EQ(after.remote_port, before.remote_port);
                CHECK_EQ(qs_conn_abort(r->e, r->conn), 0);
            }
            CHECK_EQ(rig_event(r), 0);
            rig_free(r);
        }
}

/* Octets lost, ahead of a hole, unread and unsent: all of it goes on, and the timer too. */
static void a_conversation_goes_on(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, "mss 1000,sackOK");
    CHECK_EQ(rig_write(r, 1500), 1500);
    OUT(10, ".", 1, 1000, 1);
    OUT(10, "P.", 1001, 500, 1);
    IN(20, ".", 1, 100, 1);   /* unread */
    IN(21, ".", 301, 100, 1); /* ahead of a hole */
    OUT(21, ".", 1501, 0, 101);
    rig_flush(r);
    move(r);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE | QS_EVENT_MOVED);
    CHECK_EQ(rig_read(r, 1000), 100);
    IN(22, ".", 101, 200, 1);
    OUT(22, ".", 1501, 0, 401);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(rig_read(r, 1000), 300);
    IN(30, ".", 401, 0, 501); /* half of the first segment */
    rig_run(r, 400);          /* the probe of what is out, or the timer */
    CHECK(rig_count(r, QS_COUNT_RETRANSMITS) > 0);
    rig_free(r);
}

static void half_open_ones_are_counted_where_they_are(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_RECEIVED);
    CHECK_EQ(r->e->listeners[0].half_open, 1);
    move(r);
    CHECK_EQ(r->e->listeners[0].half_open, 1);
    IN(30, ".", 1, 0, 1);
    CHECK_EQ(r->e->listeners[0].half_open, 0);
    CHECK_EQ(r->e->listeners[0].untaken, 1);
    move(r);
    CHECK_EQ(r->e->listeners[0].untaken, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN); /* the application hears of it there first */
    CHECK_EQ(r->e->listeners[0].untaken, 0);
    rig_free(r);
}

static void what_has_ended_stays(void)
{
    struct rig *r = rig_new(NULL, false);
    uint32_t at = 0;
    rig_establish(r, NULL);
    IN(20, "F.", 1, 10, 1);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
    OUT(20, "F.", 1, 0, 12);
    IN(30, ".", 12, 0, 2);
    CHECK_EQ(rig_info(r).readable_bytes, 10);
    CHECK_EQ(qs_engine_flow_next(r->e, any, NULL, &at, 1000), 0);
    CHECK_EQ(at, UINT32_MAX);
    rig_free(r);
}

static void the_next_one_is_looked_for_in_steps(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_listen(r);
    for (uint16_t i = 0; i < 10; i++)
        rig_in(r, i, &(struct seg){"S", .peer_port = (uint16_t)(RIG_PEER_PORT + i)});
    uint32_t at = 0;
    CHECK_EQ(qs_engine_flow_next(r->e, none, NULL, &at, 4), 0);
    CHECK_EQ(at, 4);
    struct qs_flow flow;
    CHECK(qs_engine_flow_next(r->e, any, &flow, &at, 4) > 0);
    CHECK_EQ(at, 4);
    CHECK_EQ(flow.remote_port, RIG_PEER_PORT + 4);
    CHECK_EQ(flow.local_port, RIG_PORT);
    at++;
    CHECK_EQ(qs_engine_flow_next(r->e, none, NULL, &at, 4), 0);
    CHECK_EQ(qs_engine_flow_next(r->e, none, NULL, &at, 4), 0);
    CHECK_EQ(at, UINT32_MAX);
    rig_free(r);
}

/* ---- what does not fit ---- */

static void cut_and_foreign_parcels_are_refused(void)
{
    struct rig *r = rig_new(NULL, false);
    qs_engine_opts o = rig_opts();
    rig_establish(r, "mss 1000,sackOK");
    CHECK_EQ(rig_write(r, 100), 100);
    OUT(10, "P.", 1, 100, 1);
    IN(20, ".", 1, 50, 1);
    IN(21, ".", 301, 60, 1);
    rig_run(r, 22);
    rig_flush(r);
    qs_engine *e = another(r, &o);
    struct parcel p = take(r);
    qs_conn c;
    for (size_t len = 0; len < p.len; len++) {
        uint8_t *cut = malloc(len + 1); /* ends where it says, for the sanitizer */
        REQUIRE(cut);
        memcpy(cut, p.data, len);
        CHECK_EQ(qs_engine_unpack(e, cut, len, rig_now(r), &c), QS_ERR_ARG);
        if (len >= sizeof(uint64_t)) { /* also when it says that it is as long */
            uint64_t says = len;
            memcpy(cut, &says, sizeof says);
            CHECK_EQ(qs_engine_unpack(e, cut, len, rig_now(r), &c), QS_ERR_ARG);
        }
        free(cut);
    }
    p.data[8] ^= 1;
    CHECK_EQ(enter(e, r, &p, &c), QS_ERR_ARG);
    p.data[8] ^= 1;
    CHECK_EQ(enter(e, r, &p, &c), 0);
    CHECK_EQ(enter(e, r, &p, &c), QS_ERR_ADDRINUSE); /* twice */
    go_on_with(r, e, c);
    free(p.data);
    rig_free(r);
}

static void without_room_nothing_changes(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    for (uint32_t i = 0; i < 20; i++)
        rig_in(r, 20 + i, &(struct seg){".", 1 + 1000 * i, 1000, 1});
    struct parcel p = take(r);
    qs_engine_opts o = rig_opts();
    o.chunks_max = 16; /* ten are needed, and one more for each that waits */
    qs_engine *small = another(r, &o), *large;
    qs_conn c;
    small->pool.used = 8; /* by others */
    CHECK_EQ(qs_engine_unpack(small, p.data, p.len, rig_now(r), &c), QS_ERR_NOMEM);
    CHECK_EQ(small->pool.used, 8);
    CHECK_EQ(small->counters[QS_COUNT_CONNS], 0);
    o = rig_opts();
    o.conns_max = 1;
    large = another(r, &o);
    large->counters[QS_COUNT_CONNS] = 1; /* somebody else's */
    CHECK_EQ(qs_engine_unpack(large, p.data, p.len, rig_now(r), &c), QS_ERR_NOMEM);
    large->counters[QS_COUNT_CONNS] = 0;
    CHECK_EQ(enter(large, r, &p, &c), 0);
    qs_engine_free(small);
    go_on_with(r, large, c);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE | QS_EVENT_MOVED);
    CHECK_EQ(rig_read(r, 100000), 20000);
    free(p.data);
    rig_free(r);
}

static void an_engine_without_the_address_refuses(void)
{
    struct rig *r = rig_new(NULL, false);
    qs_engine_opts o = rig_opts();
    struct qs_mem mem = test_mem();
    qs_engine *e;
    qs_conn c;
    REQUIRE(qs_engine_new(&e, &o, &mem) == 0);
    rig_establish(r, NULL);
    struct parcel p = take(r);
    CHECK_EQ(enter(e, r, &p, &c), QS_ERR_ARG); /* no listener */
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    REQUIRE(qs_engine_listen(e, &l) >= 0);
    CHECK_EQ(enter(e, r, &p, &c), QS_ERR_ADDRNOTAVAIL);
    qs_addr own = rig_addr(r);
    REQUIRE(qs_engine_addr_add(e, &own, 32) == 0);
    CHECK_EQ(enter(e, r, &p, &c), QS_ERR_ADDRNOTAVAIL); /* no route */
    qs_engine_free(e);
    free(p.data);
    rig_free(r);
}

/* ---- segments that are others' ---- */

struct asked {
    uint32_t n, n_known;
    struct qs_flow flow;
    bool answer;
};

static bool note(void *ctx, const struct qs_frame *frame, const struct qs_flow *flow, bool known)
{
    struct asked *a = ctx;
    CHECK(frame->len >= FRAME_ETH + 40);
    a->n++;
    a->n_known += known;
    a->flow = *flow;
    return a->answer;
}

static void segments_are_diverted(void)
{
    struct rig *r = rig_new(NULL, false);
    struct asked a = {.answer = true};
    rig_listen(r);
    qs_engine_divert(r->e, note, &a, false);
    IN(0, "S", 0, 0, 0); /* nothing answers */
    CHECK_EQ(a.n, 1);
    CHECK_EQ(a.flow.local_port, RIG_PORT);
    CHECK_EQ(a.flow.remote_port, RIG_PEER_PORT);
    CHECK_COUNT(DIVERTED, 1);
    a.answer = false;
    IN(0, "S", 0, 0, 0);
    OUT(0, "S.", 0, 0, 1);
    IN(20, ".", 1, 0, 1); /* of a connection: not asked about */
    CHECK_EQ(a.n, 2);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    qs_engine_divert(r->e, note, &a, true);
    IN(30, ".", 1, 10, 1); /* not taken */
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    a.answer = true;
    IN(40, ".", 11, 10, 1);
    CHECK_EQ(a.n_known, 2);
    CHECK_EQ(rig_event(r), 0);
    qs_engine_divert(r->e, NULL, NULL, false);
    IN(50, ".", 11, 10, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(a.n, 4);
    rig_flush(r);
    rig_free(r);
}

int main(void)
{
    RUN(every_state_moves);
    RUN(a_conversation_goes_on);
    RUN(half_open_ones_are_counted_where_they_are);
    RUN(what_has_ended_stays);
    RUN(the_next_one_is_looked_for_in_steps);
    RUN(cut_and_foreign_parcels_are_refused);
    RUN(without_room_nothing_changes);
    RUN(an_engine_without_the_address_refuses);
    RUN(segments_are_diverted);
    return TEST_RESULT();
}
