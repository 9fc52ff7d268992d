/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers by class: a turn is bounded, urgent ones come first, and nobody is without its share
 * of the time. The server's worker is driven by hand, without its thread. */
#include "core/engine.h"
#include "io/clock.h"
#include "qstack/qs_class.h"
#include "stack_rig.h"

#define CONNS 32u /* of each class */
#define SLOW QS_US(20)

static uint32_t n_open, served[QS_N_PRIO];

/* Clients open and write; what is answered does not matter. */
static void on_client(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    if (ev->flags & QS_EVENT_OPEN) {
        CHECK_EQ(qs_conn_write(e, ev->conn, "request", 7), 7);
        rig_add(&n_open);
    }
}

static void spin(uint32_t prio)
{
    uint64_t from = qs_clock_now().ns;
    while (qs_clock_now().ns < from + SLOW.ns)
        continue;
    served[prio]++;
}

/* Never done: it asks for its turn again. */
static void on_server(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    if (!(ev->flags & QS_EVENT_READABLE))
        return;
    spin(ev->prio);
    CHECK_EQ(qs_conn_want_read(e, ev->conn), 0);
}

static void move_frames(qs_stack *s)
{
    struct qs_frame f[16];
    struct qs_driver *d = s->driver;
    for (uint32_t q = 0; q < s->opts.n_queues; q++) {
        qs_engine *e = s->queues[q].engine;
        qs_time now = qs_clock_now();
        size_t n = d->ops->rx(d, q, f, 16);
        qs_engine_rx(e, f, n, now);
        d->ops->rx_done(d, q, f, n);
        n = d->ops->tx_reserve(d, q, f, 16);
        d->ops->tx_commit(d, q, f, n, qs_engine_tx(e, f, n, now));
        (void)qs_neighbours_listen(s, &s->queues[q]);
    }
    (void)qs_notes_take(&s->workers[0], qs_clock_now());
}

static uint64_t octets(const qs_stack *s, uint32_t prio)
{
    uint64_t c[QS_N_CLASS_COUNTERS], sum = 0;
    for (uint32_t q = 0; qs_stack_class_counters(s, q, prio, c, QS_N_CLASS_COUNTERS) > 0; q++)
        sum += c[QS_CLASS_OCTETS];
    return sum;
}

/* A server on two queues in which a request of each connection waits, of both classes. */
struct pair {
    qs_stack *server, *client;
};

static struct pair waiting_requests(qs_inline_fn fn, uint32_t app, uint16_t low_share,
                                    qs_app **made)
{
    qs_stack_opts o = rig_stack_opts(0, 2, 1), c = rig_stack_opts(1, 1, 1);
    o.min_share_permille[0] = low_share;
    struct pair p = {.server = rig_stack(&o), .client = rig_stack(&c)};
    if (made)
        *made = rig_app(p.server, 0);
    rig_listen(p.server, RIG_PORT_LOW, 0, fn, NULL, app);
    rig_listen(p.server, RIG_PORT_HIGH, 7, fn, NULL, app);
    struct qs_diag diag = {""};
    for (uint32_t i = 0; i < QS_N_APPS_MAX; i++)
        if (p.server->apps[i])
            REQUIRE(qs_app_open_channels(p.server->apps[i], &diag) == 0);
    for (uint32_t i = 0; i < 2 * CONNS; i++)
        REQUIRE(rig_connect(p.client, 0, i % 2 ? RIG_PORT_HIGH : RIG_PORT_LOW, i, on_client,
                            NULL) == 0);
    rig_start(p.client);
    while (octets(p.server, 0) < 7 * CONNS || octets(p.server, 7) < 7 * CONNS)
        move_frames(p.server);
    memset(served, 0, sizeof served);
    return p;
}

static void end(struct pair p)
{
    qs_stack_free(p.client);
    qs_stack_free(p.server);
}

static void a_turn_is_bounded_and_begins_with_the_most_urgent(void)
{
    struct pair p = waiting_requests(on_server, 0, 0, NULL);
    struct qs_worker *w = &p.server->workers[0];
    CHECK_EQ(qs_serve_waiting(w), 1u | 1u << 7);
    qs_time now = qs_clock_now(), before = now;
    CHECK(qs_serve(w, &now));
    CHECK(now.ns >= before.ns + SLOW.ns);
    /* Each handler takes longer than a turn may: one batch, which leaves the others waiting. */
    CHECK(served[7] >= 1 && served[7] <= 2);
    CHECK_EQ(served[0], 0);
    CHECK_EQ(qs_serve_waiting(w), 1u | 1u << 7);
    end(p);
}

/* How large the share is, test_share says in virtual time: here other programs take from it. */
static void each_class_has_a_share_of_the_time(void)
{
    struct pair p = waiting_requests(on_server, 0, 200, NULL);
    qs_time now = qs_clock_now();
    while (served[0] < 1000) /* for ever, were nothing owed */
        (void)qs_serve(&p.server->workers[0], &now);
    CHECK(served[7] > 0);
    end(p);
}

static void without_a_share_the_less_urgent_wait(void)
{
    struct pair p = waiting_requests(on_server, 0, 0, NULL);
    qs_time now = qs_clock_now();
    while (served[7] < 200)
        (void)qs_serve(&p.server->workers[0], &now);
    CHECK_EQ(served[0], 0);
    end(p);
}

/* Takes `n` events of an application with both classes in its rings, and is as long with each. */
static void take_events(uint16_t low_share, uint32_t n)
{
    qs_app *app;
    struct pair p = waiting_requests(NULL, 0, low_share, &app);
    struct qs_worker *w = &p.server->workers[0];
    qs_time now = qs_clock_now();
    while (qs_serve_waiting(w))
        (void)qs_serve(w, &now);
    struct qs_app_event ev;
    for (uint32_t i = 0; i < n; i++) {
        REQUIRE(qs_app_wait(app, &ev, 1, (qs_dur){0}) == 1);
        spin(ev.prio);
    }
    qs_app_free(app);
    end(p);
}

static void an_application_has_the_same_shares(void)
{
    take_events(0, CONNS);
    CHECK_EQ(served[7], CONNS);
    CHECK_EQ(served[0], 0);
    take_events(500, 4); /* after one event of the urgent class the other one is owed one */
    CHECK(served[7] >= 1);
    CHECK(served[0] >= 1);
}

static void shares_and_reserves_are_checked(void)
{
    qs_stack *s;
    struct qs_diag diag;
    qs_stack_opts o = rig_stack_opts(0, 1, 1);
    o.min_share_permille[3] = 931;
    CHECK_EQ(qs_stack_new(&s, &o, &diag), QS_ERR_ARG);
    CHECK(strstr(diag.text, "minimum shares of all classes make 1001 of 1000"));
    o.min_share_permille[3] = 930;
    o.reserved_permille[3] = 67;
    CHECK_EQ(qs_stack_new(&s, &o, &diag), QS_ERR_ARG);
    CHECK(strstr(diag.text, "501 of 1000 are reserved"));
}

/* Only classes above the least urgent one that is used keep something from others. */
static void what_is_reserved_depends_on_the_listeners(void)
{
    qs_stack_opts o = rig_stack_opts(0, 1, 1);
    o.conns_max = 1000;
    memset(o.reserved_permille, 0, sizeof o.reserved_permille);
    o.reserved_permille[2] = o.reserved_permille[5] = 100;
    qs_stack *s = rig_stack(&o);
    const qs_engine *e = s->queues[0].engine;
    rig_listen(s, 80, 2, on_server, NULL, 0);
    CHECK_EQ(e->classes[0].conn_floor, 0);
    rig_listen(s, 81, 5, on_server, NULL, 0);
    CHECK_EQ(e->classes[2].conn_floor, 100);
    CHECK_EQ(e->classes[5].conn_floor, 0);
    rig_listen(s, 82, 0, on_server, NULL, 0);
    CHECK_EQ(e->classes[0].conn_floor, 200);
    CHECK_EQ(e->classes[0].chunk_floor, 2 * (4096 / 10));
    qs_stack_free(s);
}

int main(void)
{
    rig_begin();
    RUN(a_turn_is_bounded_and_begins_with_the_most_urgent);
    RUN(each_class_has_a_share_of_the_time);
    RUN(without_a_share_the_less_urgent_wait);
    RUN(an_application_has_the_same_shares);
    RUN(shares_and_reserves_are_checked);
    RUN(what_is_reserved_depends_on_the_listeners);
    rig_end();
    return TEST_RESULT();
}
