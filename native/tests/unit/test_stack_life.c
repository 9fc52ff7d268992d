/* SPDX-License-Identifier: Apache-2.0 */
/* Beginning and end of stacks: options that cannot be, stop and free in the middle of traffic,
 * going on after a stop, two processes, a peer that stands still; and that a stack without work
 * sleeps. */
#include "stack_rig.h"

#include <signal.h>
#include <sys/wait.h>

static uint32_t n_rounds, n_wrong, n_closed, n_reset;

/* ---- endless request and reply ---- */

static void on_client(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t buf[256];
    if (ev->flags & QS_EVENT_CLOSED) {
        if (ev->err == QS_ERR_RESET)
            rig_add(&n_reset);
        rig_add(&n_closed);
        return;
    }
    if (ev->flags & QS_EVENT_READABLE) {
        int64_t n = qs_conn_read(e, ev->conn, buf, sizeof buf);
        if (n != 64 || buf[0] != 0x5a || buf[63] != 0x5a)
            rig_add(&n_wrong);
        rig_add(&n_rounds);
    }
    memset(buf, 0x5a, 64);
    if (ev->flags & (QS_EVENT_OPEN | QS_EVENT_READABLE) &&
        qs_conn_write(e, ev->conn, buf, 64) != 64)
        rig_add(&n_wrong);
}

static void on_server(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t buf[256];
    int64_t n;
    if (ev->flags & QS_EVENT_CLOSED)
        return;
    while ((n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0)
        if (qs_conn_write(e, ev->conn, buf, (size_t)n) != n)
            rig_add(&n_wrong);
    if (n == QS_ERR_EOF)
        (void)qs_conn_close(e, ev->conn);
}

struct serving {
    qs_app *app;
    bool stop;
};

static void *serve(void *arg)
{
    struct serving *x = arg;
    struct qs_app_event ev[16];
    while (!__atomic_load_n(&x->stop, __ATOMIC_ACQUIRE)) {
        int n = qs_app_wait(x->app, ev, 16, QS_MS(200));
        for (int i = 0; i < n; i++) {
            if (ev[i].len > 0) /* stale when it was reset meanwhile */
                (void)!qs_app_write(x->app, ev[i].conn, ev[i].data, ev[i].len);
            if (ev[i].flags & QS_EVENT_EOF)
                (void)qs_app_close(x->app, ev[i].conn);
        }
    }
    return NULL;
}

static void zero_counts(void)
{
    n_rounds = n_wrong = n_closed = n_reset = 0;
}

#define CONNS 40u

/* A client and a server with both layouts, busy. */
struct busy {
    qs_stack *server, *client;
    struct serving serving;
    pthread_t thread;
};

static void begin_busy(struct busy *b)
{
    zero_counts();
    memset(b, 0, sizeof *b);
    qs_stack_opts so = rig_stack_opts(0, 4, 2), co = rig_stack_opts(1, 4, 1);
    b->server = rig_stack(&so);
    b->client = rig_stack(&co);
    b->serving.app = rig_app(b->server, 0);
    rig_listen(b->server, RIG_PORT_LOW, 0, on_server, NULL, 0);
    rig_listen(b->server, RIG_PORT_HIGH, 7, NULL, NULL, 0);
    rig_start(b->server);
    REQUIRE(pthread_create(&b->thread, NULL, serve, &b->serving) == 0);
    for (uint32_t i = 0; i < CONNS; i++)
        REQUIRE(rig_connect(b->client, i % 4, i & 1 ? RIG_PORT_HIGH : RIG_PORT_LOW, i, on_client,
                            NULL) == 0);
    rig_start(b->client);
    CHECK(rig_wait_value(&n_rounds, 2000));
    CHECK(
        rig_wait_count(b->server, QS_COUNT_PASSIVE_OPENS, CONNS)); /* the fast ones did not wait */
}

static void end_serving(struct busy *b)
{
    __atomic_store_n(&b->serving.stop, true, __ATOMIC_RELEASE);
    qs_app_wake(b->serving.app);
    REQUIRE(pthread_join(b->thread, NULL) == 0);
}

static void a_freed_client_resets_its_connections(void)
{
    struct busy b;
    begin_busy(&b);
    qs_stack_free(b.client); /* running */
    CHECK(rig_wait_count(b.server, QS_COUNT_CONNS, 0));
    CHECK(rig_wait_count(b.server, QS_COUNT_CHUNKS, 0));
    CHECK_EQ(rig_count(b.server, QS_COUNT_RESETS_RECEIVED), CONNS);
    CHECK_EQ(rig_get(&n_wrong), 0);
    end_serving(&b);
    qs_stack_stop(b.server);
    qs_app_free(b.serving.app);
    qs_stack_free(b.server);
}

static void a_freed_server_resets_its_connections(void)
{
    struct busy b;
    begin_busy(&b);
    end_serving(&b);
    qs_stack_stop(b.server);
    qs_stack_stop(b.server); /* twice is allowed */
    qs_app_free(b.serving.app);
    qs_stack_free(b.server);
    CHECK(rig_wait_value(&n_closed, CONNS));
    CHECK_EQ(rig_get(&n_reset), CONNS);
    CHECK_EQ(rig_get(&n_wrong), 0);
    CHECK(rig_wait_count(b.client, QS_COUNT_CONNS, 0));
    CHECK(rig_wait_count(b.client, QS_COUNT_CHUNKS, 0));
    qs_stack_free(b.client);
}

static void a_stopped_stack_goes_on_where_it_was(void)
{
    struct busy b;
    struct qs_worker_stats before, after;
    begin_busy(&b);
    for (uint32_t i = 0; i < 20; i++) {
        qs_stack_stop(b.server);
        CHECK_EQ(qs_stack_worker_stats(b.server, 0, &before), 0);
        CHECK(before.cpu_ns > 0);
        rig_start(b.server);
        uint32_t reached = rig_get(&n_rounds);
        CHECK(rig_wait_value(&n_rounds, reached + 100));
        CHECK_EQ(qs_stack_worker_stats(b.server, 0, &after), 0);
        CHECK(after.cpu_ns >= before.cpu_ns);
    }
    CHECK_EQ(rig_get(&n_wrong), 0);
    CHECK_EQ(rig_get(&n_closed), 0);
    struct qs_diag diag = {""};
    CHECK_EQ(qs_stack_start(b.server, &diag), QS_ERR_STATE);
    CHECK(strstr(diag.text, "runs already") != NULL);
    end_serving(&b);
    qs_stack_stop(b.server);
    qs_app_free(b.serving.app);
    CHECK_EQ(qs_stack_start(b.server, &diag), QS_ERR_STATE); /* nobody serves 443 any more */
    CHECK(strstr(diag.text, "443") != NULL);
    qs_stack_free(b.server);
    qs_stack_free(b.client);
}

/* ---- sleeping ---- */

static uint64_t cpu_ns(const qs_stack *s)
{
    struct qs_worker_stats w;
    CHECK_EQ(qs_stack_worker_stats(s, 0, &w), 0);
    return w.cpu_ns;
}

static void on_pusher(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    static const uint8_t buf[4096];
    if (ev->flags & (QS_EVENT_OPEN | QS_EVENT_WRITABLE)) {
        rig_add(&n_rounds);
        while (qs_conn_write(e, ev->conn, buf, sizeof buf) > 0)
            continue;
    }
}

static void on_sink(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t buf[4096];
    while (!(ev->flags & QS_EVENT_CLOSED) && qs_conn_read(e, ev->conn, buf, sizeof buf) > 0)
        continue;
}

/* 800 connections, each with a frame or more in flight, fill the 512 slots of the wire when nobody
 * takes them. */
static void r06_a_full_device_does_not_make_the_worker_spin(void)
{
    zero_counts();
    qs_stack_opts so = rig_stack_opts(0, 1, 1), co = rig_stack_opts(1, 1, 1);
    so.no_offload = co.no_offload = true;
    so.chunks_max = co.chunks_max = 100000;
    qs_stack *server = rig_stack(&so), *client = rig_stack(&co);
    rig_listen(server, RIG_PORT_LOW, 0, on_sink, NULL, 0);
    rig_start(server);
    for (uint32_t i = 0; i < 800; i++)
        REQUIRE(rig_connect(client, 0, RIG_PORT_LOW, i, on_pusher, NULL) == 0);
    rig_start(client);
    CHECK(rig_wait_value(&n_rounds, 2000));
    qs_stack_stop(server);
    usleep(300000);
    uint64_t before = cpu_ns(client);
    usleep(500000);
    uint64_t used = cpu_ns(client) - before;
    CHECK(used < 250000000u);
    qs_stack_stop(client);
    CHECK(client->queues[0].device_full); /* else this test shows nothing */
    rig_start(client);
    uint32_t reached = rig_get(&n_rounds);
    rig_start(server);
    CHECK(rig_wait_value(&n_rounds, reached + 1000));
    qs_stack_free(client);
    qs_stack_free(server);
}

static void an_idle_stack_sleeps(void)
{
    struct busy b;
    struct qs_worker_stats w;
    begin_busy(&b);
    qs_stack_free(b.client);
    CHECK(rig_wait_count(b.server, QS_COUNT_CONNS, 0));
    usleep(100000);
    uint64_t before = cpu_ns(b.server);
    usleep(1000000);
    uint64_t used = cpu_ns(b.server) - before;
    printf("  an idle worker used %.2f ms in 1 s\n", (double)used / 1e6);
    CHECK(used < 50000000u);
    CHECK_EQ(qs_stack_worker_stats(b.server, 0, &w), 0);
    CHECK(w.sleeps > 0 && w.busy_polls > 0 && w.polls > w.busy_polls && w.busy_ns > 0);
    end_serving(&b);
    qs_stack_stop(b.server);
    qs_app_free(b.serving.app);
    qs_stack_free(b.server);
}

/* ---- waking ---- */

static void *wake_soon(void *arg)
{
    usleep(50000);
    qs_app_wake(arg);
    return NULL;
}

static void a_waiting_application_can_be_woken(void)
{
    struct qs_app_event ev;
    qs_stack_opts o = rig_stack_opts(0, 1, 1);
    qs_stack *s = rig_stack(&o);
    qs_app *app = rig_app(s, 0);
    rig_listen(s, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_start(s);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, wake_soon, app) == 0);
    CHECK_EQ(qs_app_wait(app, &ev, 1, QS_S(20)), QS_ERR_AGAIN);
    REQUIRE(pthread_join(thread, NULL) == 0);
    qs_app_wake(app); /* before the call */
    CHECK_EQ(qs_app_wait(app, &ev, 1, QS_S(20)), QS_ERR_AGAIN);
    qs_time start = qs_clock_now();
    CHECK_EQ(qs_app_wait(app, &ev, 1, QS_MS(20)), 0);
    uint64_t waited_ns = qs_clock_now().ns - start.ns;
    CHECK(waited_ns >= 20000000u && waited_ns < 2000000000u);
    CHECK_EQ(qs_app_wait(app, &ev, 0, QS_MS(20)), QS_ERR_ARG);
    qs_stack_stop(s);
    qs_app_free(app);
    qs_stack_free(s);
}

/* Each answer finds the worker asleep. Without the wake-up it would go out with the next tick, 100
 * ms later. */
static void a_sleeping_worker_is_woken_by_its_application(void)
{
    struct qs_app_event ev[4];
    zero_counts();
    qs_stack_opts so = rig_stack_opts(0, 1, 1), co = rig_stack_opts(1, 1, 1);
    qs_stack *server = rig_stack(&so), *client = rig_stack(&co);
    qs_app *app = rig_app(server, 0);
    rig_listen(server, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_start(server);
    REQUIRE(rig_connect(client, 0, RIG_PORT_LOW, 0, on_client, NULL) == 0);
    rig_start(client);
    qs_time start = qs_clock_now();
    for (uint32_t got = 0; got < 50;) {
        int n = qs_app_wait(app, ev, 4, QS_S(10));
        REQUIRE(n > 0);
        for (int i = 0; i < n; i++) {
            if (ev[i].len == 0)
                continue;
            usleep(2000);
            CHECK_EQ(qs_app_write(app, ev[i].conn, ev[i].data, ev[i].len), ev[i].len);
            got++;
        }
    }
    CHECK(qs_clock_now().ns - start.ns < 50u * 10000000u);
    struct qs_worker_stats w;
    CHECK_EQ(qs_stack_worker_stats(server, 0, &w), 0);
    CHECK(w.sleeps >= 50);
    qs_stack_free(client);
    qs_stack_stop(server);
    qs_app_free(app);
    qs_stack_free(server);
}

static void the_descriptor_tells_of_events(void)
{
    struct qs_app_event ev[4];
    zero_counts();
    qs_stack_opts so = rig_stack_opts(0, 1, 1), co = rig_stack_opts(1, 1, 1);
    qs_stack *server = rig_stack(&so), *client = rig_stack(&co);
    qs_app *app = rig_app(server, 0);
    rig_listen(server, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_start(server);
    struct pollfd in = {qs_app_fd(app), POLLIN, 0};
    CHECK_EQ(qs_app_wait(app, ev, 4, (qs_dur){0}), 0);
    CHECK_EQ(poll(&in, 1, 50), 0);
    REQUIRE(rig_connect(client, 0, RIG_PORT_LOW, 0, on_client, NULL) == 0);
    rig_start(client);
    for (uint32_t got = 0; got < 500;) { /* an event loop that waits on the descriptor only */
        REQUIRE(poll(&in, 1, 10000) == 1);
        int n;
        while ((n = qs_app_wait(app, ev, 4, (qs_dur){0})) > 0)
            for (int i = 0; i < n; i++)
                if (ev[i].len > 0) {
                    CHECK_EQ(qs_app_write(app, ev[i].conn, ev[i].data, ev[i].len), ev[i].len);
                    got++;
                }
    }
    CHECK_EQ(rig_get(&n_wrong), 0);
    qs_stack_free(client);
    qs_stack_stop(server);
    qs_app_free(app);
    qs_stack_free(server);
}

/* ---- what cannot be ---- */

static void refuse(const qs_stack_opts *o, qs_err want, const char *word)
{
    qs_stack *s = (qs_stack *)1;
    struct qs_diag diag = {""};
    CHECK_EQ(qs_stack_new(&s, o, &diag), want);
    CHECK(s == NULL);
    if (!strstr(diag.text, word)) {
        fprintf(stderr, "  \"%s\" does not say \"%s\"\n", diag.text, word);
        CHECK(false);
    }
}

#define REFUSE(field, value, err, word)                                                            \
    do {                                                                                           \
        qs_stack_opts o_ = rig_stack_opts(0, 2, 1);                                                \
        o_.field = value;                                                                          \
        refuse(&o_, err, word);                                                                    \
    } while (0)

static void options_that_cannot_be_say_why(void)
{
    REFUSE(size, 3, QS_ERR_ARG, "qs_stack_opts_init");
    REFUSE(driver, "dpdk", QS_ERR_ARG, "dpdk");
    REFUSE(driver, NULL, QS_ERR_ARG, "driver");
    REFUSE(ifname, "", QS_ERR_ARG, "name");
    REFUSE(ifname, "a/b", QS_ERR_ARG, "a/b");
    REFUSE(n_queues, 0, QS_ERR_ARG, "0 queues");
    REFUSE(n_queues, 65, QS_ERR_ARG, "65 queues");
    REFUSE(n_workers, 3, QS_ERR_ARG, "3 workers");
    REFUSE(workers_min, 2, QS_ERR_ARG, "at least 2 workers");
    REFUSE(workers_max, 65, QS_ERR_ARG, "at most 65 workers");
    REFUSE(mtu, 70000, QS_ERR_ARG, "70000");
    REFUSE(addr4, NULL, QS_ERR_ARG, "address");
    REFUSE(addr4, "10.9.0.256/24", QS_ERR_ARG, "10.9.0.256/24");
    REFUSE(addr4, "10.9.0.1/33", QS_ERR_ARG, "33");
    REFUSE(addr6, "fd00::x/64", QS_ERR_ARG, "fd00::x/64");
    REFUSE(gateway4, "10.9.0.0.1", QS_ERR_ARG, "10.9.0.0.1");
    REFUSE(gateway4, "10.9.0.1/24", QS_ERR_ARG, "gateway");
    REFUSE(pair_side, 1, QS_ERR_NODEV, "side 0");
    REFUSE(conns_max, 0, QS_ERR_ARG, "0 connections");
    REFUSE(rcvbuf_initial_bytes, (4u << 20) + 1, QS_ERR_ARG, "receive buffer begins with 4194305");
    REFUSE(sndbuf_initial_bytes, (4u << 20) + 1, QS_ERR_ARG, "send buffer begins with 4194305");
    REFUSE(sndbuf_initial_bytes, 2047, QS_ERR_ARG, "2047 to 4194304");
    REFUSE(rcvbuf_bytes, 1000, QS_ERR_ARG, "1000 to 1000");
}

static int listen_on(qs_stack *s, uint16_t port, uint8_t prio, uint32_t app, struct qs_diag *diag)
{
    struct qs_stack_listen l;
    qs_stack_listen_init(&l);
    l.l.port = port;
    l.l.prio = prio;
    l.app = app;
    if (app == 99)
        l.inline_fn = on_server;
    return qs_stack_listen(s, &l, diag);
}

static void listeners_that_cannot_be_leave_nothing_behind(void)
{
    struct qs_diag diag = {""};
    qs_stack_opts o = rig_stack_opts(0, 3, 1);
    qs_stack *s = rig_stack(&o);
    CHECK_EQ(listen_on(s, 80, 0, 0, &diag), QS_ERR_ARG); /* no such application */
    CHECK(strstr(diag.text, "application thread 0") != NULL);
    CHECK_EQ(listen_on(s, 0, 0, 99, &diag), QS_ERR_ARG);
    CHECK_EQ(listen_on(s, 80, 8, 99, &diag), QS_ERR_ARG);
    CHECK(strstr(diag.text, "class 8") != NULL);
    struct qs_stack_listen unknown;
    qs_stack_listen_init(&unknown);
    unknown.l.port = 80;
    unknown.l.conn.cc = "vegas";
    unknown.inline_fn = on_server;
    CHECK_EQ(qs_stack_listen(s, &unknown, &diag), QS_ERR_ARG);
    CHECK(strstr(diag.text, "vegas") != NULL);
    CHECK_EQ(listen_on(s, 80, 0, 99, &diag), 0);
    CHECK_EQ(listen_on(s, 80, 0, 99, &diag), QS_ERR_ADDRINUSE);
    /* The port is taken on the last queue only: it must not stay taken on the others. */
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = 81;
    int own = qs_engine_listen(s->queues[2].engine, &l);
    CHECK(own >= 0);
    CHECK_EQ(listen_on(s, 81, 0, 99, &diag), QS_ERR_ADDRINUSE);
    CHECK(strstr(diag.text, "port 81") != NULL);
    CHECK_EQ(qs_engine_unlisten(s->queues[2].engine, own), 0);
    CHECK_EQ(listen_on(s, 81, 0, 99, &diag), 1);
    rig_start(s);
    CHECK_EQ(listen_on(s, 82, 0, 99, &diag), QS_ERR_STATE);
    qs_app *app;
    uint32_t index;
    CHECK_EQ(qs_app_new(&app, &index, s, 0), QS_ERR_STATE);
    qs_stack_stop(s);
    CHECK_EQ(qs_app_new(&app, &index, s, 1000), QS_ERR_ARG);
    CHECK_EQ(qs_app_new(&app, &index, s, (64u << 10) + 4096), QS_ERR_ARG);
    CHECK(app == NULL);
    struct qs_open_opts oo;
    qs_open_opts_init(&oo);
    oo.remote = rig_server_addr;
    oo.remote_port = 80;
    CHECK_EQ(qs_stack_open(s, 3, &oo, on_client, NULL), QS_ERR_ARG);
    CHECK_EQ(qs_stack_open(s, 0, &oo, NULL, NULL), QS_ERR_ARG);
    qs_stack_free(s);
    qs_stack_free(NULL);
    qs_app_free(NULL);
}

/* ---- two processes ---- */

static void serve_in_a_process_of_its_own(int ready)
{
    qs_stack_opts o = rig_stack_opts(0, 2, 1);
    qs_stack *s = rig_stack(&o);
    struct serving x = {.app = rig_app(s, 0)};
    rig_listen(s, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_start(s);
    if (write(ready, "r", 1) != 1)
        _exit(1);
    (void)serve(&x); /* until it is killed */
}

static void r59_a_server_in_another_process_answers_and_its_death_is_survived(void)
{
    int ready[2];
    char byte;
    zero_counts();
    REQUIRE(pipe(ready) == 0);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
        serve_in_a_process_of_its_own(ready[1]);
    REQUIRE(read(ready[0], &byte, 1) == 1);
    qs_stack_opts o = rig_stack_opts(1, 2, 1);
    qs_stack *client = rig_stack(&o);
    for (uint32_t i = 0; i < 8; i++)
        REQUIRE(rig_connect(client, i % 2, RIG_PORT_LOW, i, on_client, NULL) == 0);
    rig_start(client);
    CHECK(rig_wait_value(&n_rounds, 5000));
    CHECK_EQ(rig_get(&n_wrong), 0);
    REQUIRE(kill(child, SIGKILL) == 0);
    REQUIRE(waitpid(child, NULL, 0) == child);
    for (int i = 0; i < 5000 && qs_pair_connected(client->driver); i++)
        usleep(1000);
    CHECK_EQ(qs_pair_peers_lost(client->driver), 1);
    qs_stack_free(client); /* does not hang */
    close(ready[0]);
    close(ready[1]);
    /* What the dead one left is taken over and taken away. */
    rig_close(rig_open(0, 1));
}

int main(void)
{
    rig_begin();
    RUN(r59_a_server_in_another_process_answers_and_its_death_is_survived); /* fork() first */
    RUN(a_freed_client_resets_its_connections);
    RUN(a_freed_server_resets_its_connections);
    RUN(a_stopped_stack_goes_on_where_it_was);
    RUN(r06_a_full_device_does_not_make_the_worker_spin);
    RUN(an_idle_stack_sleeps);
    RUN(a_waiting_application_can_be_woken);
    RUN(a_sleeping_worker_is_woken_by_its_application);
    RUN(the_descriptor_tells_of_events);
    RUN(options_that_cannot_be_say_why);
    RUN(listeners_that_cannot_be_leave_nothing_behind);
    rig_end();
    return TEST_RESULT();
}
