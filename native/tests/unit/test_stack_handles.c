/* SPDX-License-Identifier: Apache-2.0 */
/* What an application thread hears of its connections when it is late: everything, in order, the
 * end exactly once, also when the engine has long given the connection's block to others, of other
 * classes or of other applications. */
#include "stack_rig.h"

#define CONNS_MAX 16u
#define HEARD_MAX 256u

/* What was heard of one handle. */
struct heard {
    qs_conn conn;
    uint64_t user;
    uint32_t opens, closes, octets, after_end;
    qs_err err;
};

struct ears {
    struct heard all[HEARD_MAX];
    uint32_t n;
    uint32_t less_urgent_first; /* events that came after less urgent ones */
    uint8_t prio;
};

static struct heard *ear_for(struct ears *e, qs_conn conn)
{
    for (uint32_t i = 0; i < e->n; i++)
        if (e->all[i].conn.v == conn.v)
            return &e->all[i];
    REQUIRE(e->n < HEARD_MAX);
    e->all[e->n].conn = conn;
    return &e->all[e->n++];
}

static void note(struct ears *e, const struct qs_app_event *ev)
{
    struct heard *h = ear_for(e, ev->conn);
    h->after_end += h->closes > 0;
    h->opens += (ev->flags & QS_EVENT_OPEN) != 0;
    h->user = ev->user;
    h->octets += ev->len;
    if (ev->flags & QS_EVENT_CLOSED) {
        h->closes++;
        h->err = ev->err;
    }
}

/* Takes events until none has come for a while. */
static void listen_to(qs_app *app, struct ears *e, qs_dur quiet)
{
    struct qs_app_event ev[8];
    int n;
    e->prio = 7;
    while ((n = qs_app_wait(app, ev, 8, quiet)) > 0)
        for (int i = 0; i < n; i++) {
            e->less_urgent_first += ev[i].prio > e->prio;
            e->prio = ev[i].prio;
            note(e, &ev[i]);
        }
}

/* Client: sends three octets. */
static void on_client(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    if (ev->flags & QS_EVENT_OPEN)
        CHECK_EQ(qs_conn_write(e, ev->conn, "abc", 3), 3);
}

/* Opens a connection to `port`, sends three octets and resets it. With `app`, the application hears
 * of its begin, and of nothing else. */
static void hit_and_run(qs_stack *server, uint16_t port, qs_app *app, struct ears *ears)
{
    qs_stack_opts o = rig_stack_opts(1, 1, 1);
    qs_stack *client = rig_stack(&o);
    uint64_t n_opened = rig_count(server, QS_COUNT_PASSIVE_OPENS);
    struct qs_app_event ev;
    REQUIRE(rig_connect(client, 0, port, 0, on_client, NULL) == 0);
    rig_start(client);
    CHECK(rig_wait_count(server, QS_COUNT_PASSIVE_OPENS, n_opened + 1));
    for (int i = 0; i < 5000 && rig_count(client, QS_COUNT_TX_FRAMES) < 3; i++)
        usleep(1000); /* ARP, SYN, ACK with the octets */
    CHECK(rig_wait_count(client, QS_COUNT_CHUNKS, 0));
    if (app) {
        REQUIRE(qs_app_wait(app, &ev, 1, QS_S(5)) == 1);
        CHECK_EQ(ev.flags, QS_EVENT_OPEN);
        note(ears, &ev);
    }
    qs_stack_free(client); /* resets */
    CHECK(rig_wait_count(server, QS_COUNT_CONNS, 0));
}

static void expect_each_heard_once(const struct ears *e, uint16_t port, uint32_t n)
{
    uint32_t seen = 0;
    for (uint32_t i = 0; i < e->n; i++) {
        const struct heard *h = &e->all[i];
        if (h->user != port)
            continue;
        seen++;
        CHECK_EQ(h->opens, 1);
        CHECK_EQ(h->octets, 3);
        CHECK_EQ(h->closes, 1);
        CHECK_EQ(h->err, QS_ERR_RESET);
        CHECK_EQ(h->after_end, 0);
    }
    CHECK_EQ(seen, n);
}

static qs_stack *small_server(void)
{
    qs_stack_opts o = rig_stack_opts(0, 1, 1);
    o.conns_max = CONNS_MAX; /* so that blocks are used again */
    return rig_stack(&o);
}

static void the_end_is_heard_after_others_took_the_block(void)
{
    static struct ears ears;
    memset(&ears, 0, sizeof ears);
    qs_stack *server = small_server();
    qs_app *app = rig_app(server, 0);
    rig_listen(server, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_listen(server, RIG_PORT_HIGH, 7, NULL, NULL, 0);
    rig_start(server);
    hit_and_run(server, RIG_PORT_LOW, app, &ears);
    for (uint32_t i = 0; i < CONNS_MAX; i++)
        hit_and_run(server, RIG_PORT_HIGH, NULL, &ears);
    listen_to(app, &ears, QS_MS(200)); /* everything has happened before the first call */
    CHECK_EQ(ears.less_urgent_first, 0);
    CHECK_EQ(ears.prio, 0);
    expect_each_heard_once(&ears, RIG_PORT_LOW, 1);
    expect_each_heard_once(&ears, RIG_PORT_HIGH, CONNS_MAX);
    qs_stack_stop(server);
    qs_app_free(app);
    qs_stack_free(server);
}

static void an_application_too_far_behind_gets_no_more_connections(void)
{
    static struct ears ears;
    memset(&ears, 0, sizeof ears);
    qs_stack *server = small_server();
    qs_app *app = rig_app(server, 0);
    rig_listen(server, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_start(server);
    for (uint32_t i = 0; i < 2 * CONNS_MAX + 5; i++)
        hit_and_run(server, RIG_PORT_LOW, NULL, NULL);
    listen_to(app, &ears, QS_MS(200));
    expect_each_heard_once(&ears, RIG_PORT_LOW, 2 * CONNS_MAX); /* nothing of the others */
    for (uint32_t i = 0; i < 5; i++)                            /* it caught up */
        hit_and_run(server, RIG_PORT_LOW, NULL, NULL);
    listen_to(app, &ears, QS_MS(200));
    expect_each_heard_once(&ears, RIG_PORT_LOW, 2 * CONNS_MAX + 5);
    qs_stack_stop(server);
    qs_app_free(app);
    qs_stack_free(server);
}

static void two_applications_hear_of_their_own_only(void)
{
    static struct ears first, second;
    memset(&first, 0, sizeof first);
    memset(&second, 0, sizeof second);
    qs_stack *server = small_server();
    qs_app *a = rig_app(server, 0), *b = rig_app(server, 0);
    rig_listen(server, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_listen(server, RIG_PORT_HIGH, 0, NULL, NULL, 1);
    rig_start(server);
    hit_and_run(server, RIG_PORT_LOW, a, &first);
    for (uint32_t i = 0; i < CONNS_MAX; i++) {
        hit_and_run(server, RIG_PORT_HIGH, NULL, NULL);
        hit_and_run(server, RIG_PORT_LOW, NULL, NULL);
    }
    listen_to(b, &second, QS_MS(200));
    listen_to(a, &first, QS_MS(200));
    CHECK_EQ(first.n, CONNS_MAX + 1);
    CHECK_EQ(second.n, CONNS_MAX);
    expect_each_heard_once(&first, RIG_PORT_LOW, CONNS_MAX + 1);
    expect_each_heard_once(&second, RIG_PORT_HIGH, CONNS_MAX);
    qs_stack_stop(server);
    qs_app_free(a);
    qs_app_free(b);
    qs_stack_free(server);
}

static void r53_a_stale_handle_is_an_error_and_no_other_connection(void)
{
    struct qs_app_event ev;
    qs_addr remote;
    uint16_t port;
    qs_stack *server = small_server();
    qs_app *app = rig_app(server, 0);
    rig_listen(server, RIG_PORT_LOW, 0, NULL, NULL, 0);
    const qs_conn nonsense[] = {{0}, {UINT64_MAX}, {1}, {1ull << 32}, {5ull << 24}, {0xffffff}};
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) /* also before the start */
        CHECK_EQ(qs_app_close(app, nonsense[i]), QS_ERR_STALE);
    rig_start(server);
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        CHECK_EQ(qs_app_write(app, nonsense[i], "x", 1), QS_ERR_STALE);
        CHECK_EQ(qs_app_peer(app, nonsense[i], &remote, &port), QS_ERR_STALE);
    }
    hit_and_run(server, RIG_PORT_LOW, NULL, NULL);
    qs_conn gone = {0};
    while (qs_app_wait(app, &ev, 1, QS_MS(200)) == 1) {
        gone = ev.conn;
        if (ev.flags & QS_EVENT_OPEN) {
            CHECK_EQ(qs_app_set_user(app, ev.conn, 4711), 0);
            CHECK_EQ(qs_app_peer(app, ev.conn, &remote, &port), 0);
            CHECK_EQ(remote.b[15], 2);
            CHECK(port != 0);
        } else {
            CHECK_EQ(ev.user, 4711);
        }
    }
    CHECK(gone.v != 0);
    CHECK_EQ(qs_app_write(app, gone, "x", 1), QS_ERR_STALE);
    CHECK_EQ(qs_app_shutdown(app, gone), QS_ERR_STALE);
    CHECK_EQ(qs_app_close(app, gone), QS_ERR_STALE);
    CHECK_EQ(qs_app_abort(app, gone), QS_ERR_STALE);
    CHECK_EQ(qs_app_set_user(app, gone, 1), QS_ERR_STALE);
    qs_stack_stop(server);
    qs_app_free(app);
    qs_stack_free(server);
}

int main(void)
{
    rig_begin();
    RUN(the_end_is_heard_after_others_took_the_block);
    RUN(an_application_too_far_behind_gets_no_more_connections);
    RUN(two_applications_hear_of_their_own_only);
    RUN(r53_a_stale_handle_is_an_error_and_no_other_connection);
    rig_end();
    return TEST_RESULT();
}
