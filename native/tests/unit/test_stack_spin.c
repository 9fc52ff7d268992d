/* SPDX-License-Identifier: Apache-2.0 */
/* Who has work rarely stops polling for it: docs/design/022-spin.md. */
#include "stack_rig.h"

#define PINGS 200u
/* Far more than any poll, and less than a delayed ACK takes, which would be work too. */
#define APART_US 1000u
/* Turns without work for each ping: the one after it, and that after the sleep; twice that for
 * wake-ups in vain. A wait that is polled through has a hundred. */
#define IDLE_TURNS_MAX 4u

static uint32_t n_wrong;
static uint32_t takes_us; /* to answer */

static void on_ping(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t buf[64];
    int64_t n;
    while (!(ev->flags & QS_EVENT_CLOSED) && (n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0) {
        usleep(takes_us);
        if (qs_conn_write(e, ev->conn, buf, (size_t)n) != n)
            rig_add(&n_wrong);
    }
}

static qs_conn conn;

/* A server whose application thread is this one, and a client that answers. */
static struct rig_pair connected(uint32_t answer_takes_us)
{
    takes_us = answer_takes_us; /* the threads begin below */
    qs_stack_opts so = rig_stack_opts(0, 1, 1), co = rig_stack_opts(1, 1, 1);
    struct rig_pair p = {.server = rig_stack(&so), .client = rig_stack(&co)};
    struct qs_app_event ev;
    p.app = rig_app(p.server, 0);
    rig_listen(p.server, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_start(p.server);
    REQUIRE(rig_connect(p.client, 0, RIG_PORT_LOW, 0, on_ping, NULL) == 0);
    rig_start(p.client);
    REQUIRE(qs_app_wait(p.app, &ev, 1, QS_S(10)) == 1);
    REQUIRE(ev.flags & QS_EVENT_OPEN);
    conn = ev.conn;
    return p;
}

/* Messages, and the answer to each. */
static void ping(struct rig_pair *p, uint32_t apart_us)
{
    struct qs_app_event ev;
    for (uint32_t i = 0; i < PINGS; i++) {
        usleep(apart_us);
        REQUIRE(qs_app_write(p->app, conn, "ping", 4) == 4);
        do
            REQUIRE(qs_app_wait(p->app, &ev, 1, QS_S(10)) == 1);
        while (ev.len == 0);
        CHECK_EQ(ev.len, 4);
    }
}

static uint64_t idle_turns(const qs_stack *s)
{
    struct qs_worker_stats w;
    REQUIRE(qs_stack_worker_stats(s, 0, &w) == 0);
    return w.polls - w.busy_polls;
}

static void a_worker_with_work_once_in_a_while_does_not_poll_for_it(void)
{
    struct rig_pair p = connected(0);
    ping(&p, APART_US); /* it learns */
    uint64_t before = idle_turns(p.client);
    ping(&p, APART_US);
    CHECK(idle_turns(p.client) - before <= (uint64_t)PINGS * IDLE_TURNS_MAX);
    CHECK_EQ(n_wrong, 0);
    rig_pair_end(&p);
}

static void nor_does_an_application_thread(void)
{
    struct rig_pair p = connected(APART_US);
    CHECK(p.app->spin.limit.ns > 0);
    ping(&p, 0);
    CHECK_EQ(p.app->spin.limit.ns, 0);
    CHECK_EQ(n_wrong, 0);
    rig_pair_end(&p);
}

int main(void)
{
    rig_begin();
    RUN(a_worker_with_work_once_in_a_while_does_not_poll_for_it);
    RUN(nor_does_an_application_thread);
    rig_end();
    return TEST_RESULT();
}
