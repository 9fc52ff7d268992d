/* SPDX-License-Identifier: Apache-2.0 */
/* Handles, events, and the edges of the application's calls. */
#include "rig.h"

static void call_all(struct rig *r, qs_conn c, qs_err want)
{
    struct qs_span span;
    struct qs_conn_info info;
    char buf[4];
    CHECK_EQ(qs_conn_peek(r->e, c, &span, 1), want);
    CHECK_EQ(qs_conn_consume(r->e, c, 0), want);
    CHECK_EQ(qs_conn_read(r->e, c, buf, sizeof buf), want);
    CHECK_EQ(qs_conn_write(r->e, c, "abc", 3), want);
    CHECK_EQ(qs_conn_want_read(r->e, c), want);
    CHECK_EQ(qs_conn_shutdown(r->e, c), want);
    CHECK_EQ(qs_conn_set_user(r->e, c, 1), want);
    CHECK_EQ(qs_conn_info(r->e, c, &info), want);
    CHECK_EQ(qs_conn_close(r->e, c), want);
    CHECK_EQ(qs_conn_abort(r->e, c), want);
}

static void r53_stale_after_every_end(void)
{
    for (int how = 0; how < 4; how++) {
        struct rig *r = rig_new(NULL, false);
        rig_establish(r, NULL);
        qs_conn c = r->conn;
        if (how == 0)
            CHECK_EQ(qs_conn_close(r->e, c), 0);
        if (how == 1)
            CHECK_EQ(qs_conn_abort(r->e, c), 0);
        if (how >= 2) {
            IN(20, "R", 1, 0, 0);
            if (how == 3)
                call_all(r, (qs_conn){c.v ^ 1ull << 32}, QS_ERR_STALE);
            CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
            CHECK_EQ(r->ev.conn.v, c.v);
        }
        call_all(r, c, QS_ERR_STALE);
        rig_free(r);
    }
}

static void made_up_handles_are_stale(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    uint64_t v = r->conn.v;
    const uint64_t bad[] = {0,
                            UINT64_MAX,
                            v + 1,
                            v + (1ull << 24), /* engine id */
                            v + (1ull << 32),
                            v + (2ull << 32),
                            v - (1ull << 32),
                            0xffffff,
                            (1ull << 32) | 200};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        call_all(r, (qs_conn){bad[i]}, QS_ERR_STALE);
    CHECK_EQ(rig_state(r), QS_TCP_ESTABLISHED);
    rig_free(r);
}

/* The block is used again, the old handle does not reach the new connection. */
static void r52_a_new_connection_in_the_old_place(void)
{
    qs_engine_opts o = rig_opts();
    o.conns_max = 1;
    struct rig *r = rig_new(&o, false);
    qs_conn old = {0};
    for (int i = 0; i < 5; i++) {
        rig_open(r);
        CHECK(r->conn.v != old.v);
        CHECK_EQ(r->conn.v & 0xffffff, 0);
        if (i)
            call_all(r, old, QS_ERR_STALE);
        old = r->conn;
        CHECK_EQ(rig_state(r), QS_TCP_SYN_SENT);
        CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    }
    rig_free(r);
}

static void the_engine_id_is_in_the_handle(void)
{
    qs_engine_opts o = rig_opts();
    o.id = 255;
    struct rig *r = rig_new(&o, false);
    rig_establish(r, NULL);
    CHECK_EQ(r->conn.v >> 24 & 0xff, 255);
    rig_free(r);
}

/* ---- events ---- */

/* Opens one connection for class `prio` on port 1000 + prio. */
static uint32_t connect_to(struct rig *r, uint8_t prio)
{
    struct wire_tcp t;
    uint16_t port = (uint16_t)(1000 + prio);
    rig_in(r, 1, &(struct seg){"S", 0, 0, 0, .port = port});
    rig_run(r, 1);
    frame_parse_tcp(rig_take(r), &t);
    r->iss = t.seq;
    rig_in(r, 1, &(struct seg){".", 1, 0, 1, .port = port});
    return t.seq;
}

static struct rig *with_all_classes(void)
{
    struct rig *r = rig_new(NULL, false);
    for (uint8_t p = 0; p < QS_N_PRIO; p++) {
        struct qs_listen_opts l;
        qs_listen_opts_init(&l);
        l.port = (uint16_t)(1000 + p);
        l.prio = p;
        l.user = 70 + p;
        REQUIRE(qs_engine_listen(r->e, &l) == p);
    }
    return r;
}

static void the_most_urgent_class_first(void)
{
    static const uint8_t order[] = {3, 0, 7, 5, 1, 6, 2, 4};
    struct rig *r = with_all_classes();
    for (size_t i = 0; i < sizeof order; i++)
        (void)connect_to(r, order[i]);
    struct qs_event ev[20];
    CHECK_EQ(qs_engine_events(r->e, ev, 3), 3); /* in pieces */
    CHECK_EQ(qs_engine_events(r->e, ev + 3, 17), 5);
    for (uint32_t i = 0; i < 8; i++) {
        CHECK_EQ(ev[i].prio, 7 - i);
        CHECK_EQ(ev[i].user, 77 - i);
        CHECK_EQ(ev[i].listener, 7 - i);
        CHECK_EQ(ev[i].flags, QS_EVENT_OPEN);
    }
    CHECK_EQ(qs_engine_events(r->e, ev, 20), 0);
    rig_free(r);
}

/* In one class in order of arrival; several things about one connection are one event. */
static void in_order_and_once_each(void)
{
    struct rig *r = rig_new(NULL, false);
    uint32_t iss[3];
    qs_conn conn[3];
    rig_listen(r);
    for (uint16_t i = 0; i < 3; i++) {
        struct wire_tcp t;
        rig_in(r, 1, &(struct seg){"S", 0, 0, 0, .peer_port = (uint16_t)(500 + i)});
        rig_run(r, 1);
        frame_parse_tcp(rig_take(r), &t);
        iss[i] = r->iss = t.seq;
        rig_in(r, 1, &(struct seg){".", 1, 0, 1, .peer_port = (uint16_t)(500 + i)});
        CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
        conn[i] = r->ev.conn;
    }
    static const uint16_t order[] = {2, 0, 2, 1, 0, 2};
    uint32_t seq[3] = {1, 1, 1};
    for (size_t i = 0; i < 6; i++) {
        uint16_t k = order[i];
        r->iss = iss[k];
        rig_in(r, 2, &(struct seg){".", seq[k], 10, 1, .peer_port = (uint16_t)(500 + k)});
        seq[k] += 10;
    }
    static const uint16_t want[] = {2, 0, 1};
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
        CHECK_EQ(r->ev.conn.v, conn[want[i]].v);
    }
    CHECK_EQ(rig_event(r), 0); /* nothing new: not told again */
    rig_free(r);
}

static void closed_is_the_last_event(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    CHECK_EQ(qs_conn_set_user(r->e, r->conn, 99), 0);
    IN(20, "P.", 1, 10, 1);
    IN(21, "R", 11, 0, 0);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE | QS_EVENT_CLOSED); /* one event, the last */
    CHECK_EQ(r->ev.user, 99);
    CHECK_EQ(r->ev.err, QS_ERR_RESET);
    CHECK_EQ(rig_event(r), 0);
    rig_free(r);
}

/* Between the end and CLOSED being taken, the handle is there and says so. */
static void an_ended_one_before_closed_is_taken(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_span span;
    char b;
    rig_establish(r, NULL);
    IN(20, "R", 1, 0, 0);
    CHECK_EQ(qs_conn_write(r->e, r->conn, "x", 1), QS_ERR_CLOSED);
    CHECK_EQ(qs_conn_read(r->e, r->conn, &b, 1), QS_ERR_EOF);
    CHECK_EQ(qs_conn_peek(r->e, r->conn, &span, 1), QS_ERR_EOF);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0); /* and no event follows */
    CHECK_EQ(rig_event(r), 0);
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

static void no_event_after_close(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(20, "F.", 1, 0, 1); /* EOF is raised and not taken */
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    CHECK_EQ(rig_event(r), 0);
    rig_flush(r);
    IN(30, ".", 2, 0, 2);
    CHECK_EQ(rig_event(r), 0);
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

/* ---- bytes ---- */

static void writable_after_a_short_write(void)
{
    qs_engine_opts o = rig_opts();
    o.sndbuf_bytes = 8000;
    struct rig *r = rig_new(&o, false);
    rig_establish(r, NULL);
    CHECK_EQ(rig_write(r, 10000), 8000);
    CHECK_EQ(rig_write(r, 10), 0); /* QS_ERR_AGAIN */
    CHECK_EQ(rig_info(r).writable_bytes, 0);
    rig_flush(r);
    IN(20, ".", 1, 0, 1001);
    CHECK_EQ(rig_event(r), 0); /* less than a quarter is free */
    IN(21, ".", 1, 0, 2001);
    CHECK_EQ(rig_event(r), QS_EVENT_WRITABLE);
    IN(22, ".", 1, 0, 3001);
    CHECK_EQ(rig_event(r), 0);
    CHECK_EQ(rig_write(r, 10000), 3000);
    rig_free(r);
}

static void peek_shows_and_consume_takes(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_span s[8];
    rig_establish(r, NULL);
    CHECK_EQ(qs_conn_peek(r->e, r->conn, s, 8), 0);
    for (uint32_t i = 0; i < 5; i++) {
        rig_in(r, 20, &(struct seg){".", 1 + 1000 * i, 1000, 1});
        rig_flush(r);
    }
    int n = qs_conn_peek(r->e, r->conn, s, 8);
    CHECK_EQ(n, 3); /* chunks of 2,032 octets */
    CHECK_EQ(s[0].len + s[1].len + s[2].len, 5000);
    CHECK_EQ(qs_conn_peek(r->e, r->conn, s, 1), 1);
    uint8_t first = s[0].data[1000];
    CHECK_EQ(qs_conn_consume(r->e, r->conn, 5001), QS_ERR_ARG);
    CHECK_EQ(qs_conn_consume(r->e, r->conn, 1000), 0);
    CHECK_EQ(qs_conn_peek(r->e, r->conn, s, 8), 3);
    CHECK_EQ(s[0].data[0], first);
    CHECK_EQ(qs_conn_consume(r->e, r->conn, 4000), 0);
    CHECK_EQ(qs_conn_peek(r->e, r->conn, s, 8), 0);
    rig_free(r);
}

/* ---- listeners and opens ---- */

static void listener_arguments(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_listen_opts l, good;
    qs_listen_opts_init(&good);
    good.port = 1;
    l = good, l.size--;
    CHECK_EQ(qs_engine_listen(r->e, &l), QS_ERR_ARG);
    l = good, l.port = 0;
    CHECK_EQ(qs_engine_listen(r->e, &l), QS_ERR_ARG);
    l = good, l.prio = 8;
    CHECK_EQ(qs_engine_listen(r->e, &l), QS_ERR_ARG);
    l = good, l.half_open_max = 0;
    CHECK_EQ(qs_engine_listen(r->e, &l), QS_ERR_ARG);
    l = good, l.backlog = 0;
    CHECK_EQ(qs_engine_listen(r->e, &l), QS_ERR_ARG);
    l = good, l.addr = rig_peer(r);
    CHECK_EQ(qs_engine_listen(r->e, &l), QS_ERR_ADDRNOTAVAIL);
    CHECK_EQ(qs_engine_listen(r->e, &good), 0);
    CHECK_EQ(qs_engine_listen(r->e, &good), QS_ERR_ADDRINUSE);
    l = good, l.addr = rig_addr(r); /* more exact: another one */
    CHECK_EQ(qs_engine_listen(r->e, &l), 1);
    for (int i = 2; i < 256; i++) {
        l = good, l.port = (uint16_t)(i + 1);
        CHECK_EQ(qs_engine_listen(r->e, &l), i);
    }
    l.port = 1000;
    CHECK_EQ(qs_engine_listen(r->e, &l), QS_ERR_NOMEM);
    CHECK_EQ(qs_engine_unlisten(r->e, 5), 0);
    CHECK_EQ(qs_engine_listen(r->e, &l), 5);
    CHECK_EQ(qs_engine_unlisten(r->e, -1), QS_ERR_STALE);
    CHECK_EQ(qs_engine_unlisten(r->e, 256), QS_ERR_STALE);
    rig_free(r);
}

static void the_exact_listener_wins(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    CHECK_EQ(qs_engine_listen(r->e, &l), 0);
    l.addr = rig_addr(r);
    CHECK_EQ(qs_engine_listen(r->e, &l), 1);
    IN(0, "S", 0, 0, 0);
    OUT(0, "S.", 0, 0, 1);
    IN(1, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    CHECK_EQ(r->ev.listener, 1);
    rig_free(r);
}

static void r26_open_arguments(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_open_opts o, good;
    qs_conn c;
    qs_open_opts_init(&good);
    good.remote = rig_peer(r);
    good.remote_port = 7;
#define REFUSED(change, want)                                                                      \
    do {                                                                                           \
        o = good;                                                                                  \
        change;                                                                                    \
        c.v = 5;                                                                                   \
        CHECK_EQ(qs_conn_open(r->e, &o, rig_now(r), &c), want);                                    \
        CHECK_EQ(c.v, 0);                                                                          \
    } while (0)
    REFUSED(o.size = 0, QS_ERR_ARG);
    REFUSED(o.remote_port = 0, QS_ERR_ARG);
    REFUSED(o.prio = 8, QS_ERR_ARG);
    REFUSED(memset(&o.remote, 0, 16), QS_ERR_ARG);
    REFUSED(o.remote.b[12] = 224, QS_ERR_ARG);
    REFUSED(o.remote.b[12] = 127, QS_ERR_ARG);
    REFUSED(o.remote = rig_addr(r), QS_ERR_ARG); /* to ourselves */
    REFUSED(o.local = rig_peer(r), QS_ERR_ADDRNOTAVAIL);
    REFUSED(o.remote.b[13] = 9, QS_ERR_UNREACH); /* not on-link, no gateway */
    o = good;
    o.local_port = 99;
    CHECK_EQ(qs_conn_open(r->e, &o, rig_now(r), &c), 0);
    REFUSED(o.local_port = 99, QS_ERR_ADDRINUSE);
    CHECK_COUNT(CONNS, 1);
    rig_free(r);
}

int main(void)
{
    RUN(r53_stale_after_every_end);
    RUN(made_up_handles_are_stale);
    RUN(r52_a_new_connection_in_the_old_place);
    RUN(the_engine_id_is_in_the_handle);
    RUN(the_most_urgent_class_first);
    RUN(in_order_and_once_each);
    RUN(closed_is_the_last_event);
    RUN(an_ended_one_before_closed_is_taken);
    RUN(no_event_after_close);
    RUN(writable_after_a_short_write);
    RUN(peek_shows_and_consume_takes);
    RUN(listener_arguments);
    RUN(the_exact_listener_wins);
    RUN(r26_open_arguments);
    return TEST_RESULT();
}
