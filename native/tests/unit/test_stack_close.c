/* SPDX-License-Identifier: Apache-2.0 */
/* Ends of connections in all orders, as the application thread sees them, with what was said before
 * the end; and nothing is left. */
#include "stack_rig.h"

#define N_EACH 50u

enum ending {
    PEER_CLOSES,      /* peer: octets, close; application: close at its end */
    APP_CLOSES,       /* application: octets, close */
    APP_SHUTS_FIRST,  /* application: octets, shutdown; peer: octets, close at our end */
    PEER_SHUTS_FIRST, /* peer: octets, shutdown; application: octets, shutdown */
    APP_ABORTS,
    PEER_ABORTS,
    ENDINGS
};

static uint32_t n_peer_done, n_peer_eof, n_peer_reset, n_peer_octets;

static void on_peer(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t buf[64];
    int64_t n;
    enum ending ending = (enum ending)ev->user;
    if (ev->flags & QS_EVENT_OPEN) {
        bool talks = ending == PEER_CLOSES || ending == PEER_SHUTS_FIRST || ending == PEER_ABORTS;
        CHECK_EQ(qs_conn_write(e, ev->conn, talks ? "peer!" : "go", talks ? 5 : 2), talks ? 5 : 2);
        if (ending == PEER_CLOSES) {
            (void)qs_conn_close(e, ev->conn);
            rig_add(&n_peer_done);
            return;
        }
        if (ending == PEER_SHUTS_FIRST)
            CHECK_EQ(qs_conn_shutdown(e, ev->conn), 0);
    }
    if (ev->flags & QS_EVENT_CLOSED) {
        if (ev->err == QS_ERR_RESET)
            rig_add(&n_peer_reset);
        rig_add(&n_peer_done);
        return;
    }
    while ((n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0) {
        for (int64_t i = 0; i < n; i++)
            rig_add(&n_peer_octets);
        if (ending == PEER_ABORTS) { /* once the application has heard us */
            (void)qs_conn_abort(e, ev->conn);
            rig_add(&n_peer_done);
            return;
        }
    }
    if (n != QS_ERR_EOF)
        return;
    rig_add(&n_peer_eof);
    if (ending == APP_SHUTS_FIRST)
        CHECK_EQ(qs_conn_write(e, ev->conn, "later", 5), 5);
    (void)qs_conn_close(e, ev->conn);
    rig_add(&n_peer_done);
}

struct seen {
    uint32_t octets, eofs, closed, closed_ok, closed_reset;
};

/* What the application does for each ending. */
static void react(qs_app *app, const struct qs_app_event *ev, enum ending ending, struct seen *s)
{
    CHECK_EQ(ev->flags & ~(QS_EVENT_OPEN | QS_EVENT_READABLE | QS_EVENT_WRITABLE | QS_EVENT_EOF |
                           QS_EVENT_CLOSED),
             0); /* nothing internal, such as the sign that nothing follows */
    s->octets += ev->len;
    s->eofs += (ev->flags & QS_EVENT_EOF) != 0;
    if (ev->flags & QS_EVENT_CLOSED) {
        s->closed++;
        s->closed_ok += ev->err == 0;
        s->closed_reset += ev->err == QS_ERR_RESET;
        return;
    }
    bool late = ending == APP_SHUTS_FIRST && ev->len != 2; /* after our own end */
    if (ev->len > 0 && ending != PEER_CLOSES && ending != APP_ABORTS && !late)
        CHECK_EQ(qs_app_write(app, ev->conn, "app", 3), 3);
    if (ev->len >= 2 && ending == APP_CLOSES)
        CHECK_EQ(qs_app_close(app, ev->conn), 0);
    else if (ev->len == 2 && ending == APP_SHUTS_FIRST)
        CHECK_EQ(qs_app_shutdown(app, ev->conn), 0);
    else if (ev->len > 0 && ending == APP_ABORTS)
        CHECK_EQ(qs_app_abort(app, ev->conn), 0);
    else if (ev->flags & QS_EVENT_EOF && ending == PEER_CLOSES)
        CHECK_EQ(qs_app_close(app, ev->conn), 0);
    else if (ev->flags & QS_EVENT_EOF && ending == PEER_SHUTS_FIRST)
        CHECK_EQ(qs_app_shutdown(app, ev->conn), 0);
}

/* N_EACH connections that end in one way. */
static struct seen end_all(enum ending ending)
{
    struct seen s = {0};
    struct qs_app_event ev[8];
    qs_stack_opts so = rig_stack_opts(0, 2, 1), co = rig_stack_opts(1, 2, 1);
    qs_stack *server = rig_stack(&so), *client = rig_stack(&co);
    qs_app *app = rig_app(server, 0);
    n_peer_done = n_peer_eof = n_peer_reset = n_peer_octets = 0;
    rig_listen(server, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_start(server);
    for (uint32_t i = 0; i < N_EACH; i++)
        REQUIRE(rig_connect(client, i % 2, RIG_PORT_LOW, ending, on_peer, NULL) == 0);
    rig_start(client);
    for (int quiet = 0; quiet < 30;) {
        int n = qs_app_wait(app, ev, 8, QS_MS(10));
        for (int i = 0; i < n; i++)
            react(app, &ev[i], ending, &s);
        bool done = rig_get(&n_peer_done) == N_EACH;
        quiet = n > 0 || (!done && quiet < 20) ? 0 : quiet + 1;
    }
    CHECK_EQ(rig_get(&n_peer_done), N_EACH);
    CHECK(rig_wait_count(server, QS_COUNT_CHUNKS, 0));
    /* Whoever closes first waits out TIME-WAIT. */
    bool server_waits = ending == APP_CLOSES || ending == APP_SHUTS_FIRST;
    CHECK_EQ(rig_count(server, QS_COUNT_CONNS), server_waits ? N_EACH : 0);
    CHECK_EQ(rig_count(server, QS_COUNT_PASSIVE_OPENS), N_EACH);
    /* A wire without faults: nothing is said twice, and a reset is only what was asked for. */
    CHECK_EQ(rig_count(server, QS_COUNT_RETRANSMITS) + rig_count(client, QS_COUNT_RETRANSMITS), 0);
    CHECK_EQ(rig_count(client, QS_COUNT_RESETS_SENT), ending == PEER_ABORTS ? N_EACH : 0);
    CHECK_EQ(rig_count(server, QS_COUNT_RESETS_SENT), ending == APP_ABORTS ? N_EACH : 0);
    qs_stack_stop(server);
    qs_stack_stop(client);
    qs_app_free(app);
    qs_stack_free(client);
    qs_stack_free(server);
    return s;
}

static void the_peer_closes_first(void)
{
    struct seen s = end_all(PEER_CLOSES);
    CHECK_EQ(s.octets, 5 * N_EACH);
    CHECK_EQ(s.eofs, N_EACH);
    CHECK_EQ(s.closed, 0); /* the application gave it up: nothing follows */
}

static void the_application_closes_first(void)
{
    struct seen s = end_all(APP_CLOSES);
    CHECK_EQ(rig_get(&n_peer_octets), 3 * N_EACH);
    CHECK_EQ(rig_get(&n_peer_eof), N_EACH);
    CHECK_EQ(s.octets, 2 * N_EACH);
    CHECK_EQ(s.eofs + s.closed, 0);
}

static void the_application_shuts_down_and_still_hears(void)
{
    struct seen s = end_all(APP_SHUTS_FIRST);
    CHECK_EQ(rig_get(&n_peer_octets), 3 * N_EACH);
    CHECK_EQ(rig_get(&n_peer_eof), N_EACH);
    CHECK_EQ(s.octets, 7 * N_EACH);
    CHECK_EQ(s.eofs, N_EACH);
}

static void both_shut_down(void)
{
    struct seen s = end_all(PEER_SHUTS_FIRST);
    CHECK_EQ(rig_get(&n_peer_octets), 3 * N_EACH);
    CHECK_EQ(s.octets, 5 * N_EACH);
    CHECK_EQ(s.eofs, N_EACH);
    CHECK_EQ(s.closed, N_EACH); /* exactly once, in order */
    CHECK_EQ(s.closed_ok, N_EACH);
}

static void the_application_aborts(void)
{
    struct seen s = end_all(APP_ABORTS);
    CHECK_EQ(rig_get(&n_peer_reset), N_EACH);
    CHECK_EQ(s.closed, 0);
}

static void the_peer_aborts(void)
{
    struct seen s = end_all(PEER_ABORTS);
    CHECK_EQ(s.octets, 5 * N_EACH);
    CHECK_EQ(s.closed, N_EACH);
    CHECK_EQ(s.closed_reset, N_EACH);
}

int main(void)
{
    rig_begin();
    RUN(the_peer_closes_first);
    RUN(the_application_closes_first);
    RUN(the_application_shuts_down_and_still_hears);
    RUN(both_shut_down);
    RUN(the_application_aborts);
    RUN(the_peer_aborts);
    rig_end();
    return TEST_RESULT();
}
