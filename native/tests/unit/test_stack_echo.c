/* SPDX-License-Identifier: Apache-2.0 */
/* Two stacks on one wire: requests from inline clients, answered by an inline handler (port 7) and
 * by an application thread (port 8, class 7). Every octet comes back, on all queues, and nothing is
 * left in the end. */
#include <pthread.h>
#include <unistd.h>

#include "qs_test.h"
#include "qstack/qs_app.h"
#include "qstack/qs_stats.h"

#define QUEUES 4
#define CONNS 64
#define ROUNDS 50
#define BYTES 3000

struct client {
    uint32_t rounds, received, sent;
    uint16_t port;
};

static struct client clients[2 * CONNS];
static uint32_t n_done, n_bad, n_opened;
static qs_app *app;
static bool app_stop;

static uint8_t octet(const struct client *c, uint32_t at)
{
    return (uint8_t)(at * 7 + c->rounds * 13 + c->port);
}

static void send_request(qs_engine *e, const struct qs_event *ev, struct client *c)
{
    uint8_t buf[BYTES];
    for (uint32_t i = 0; i < BYTES; i++)
        buf[i] = octet(c, i);
    c->received = 0;
    if (qs_conn_write(e, ev->conn, buf, BYTES) != BYTES)
        __atomic_add_fetch(&n_bad, 1, __ATOMIC_RELAXED);
}

static void on_client(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    struct client *c = &clients[ev->user];
    uint8_t buf[BYTES];
    int64_t n;
    if (ev->flags & QS_EVENT_OPEN) {
        __atomic_add_fetch(&n_opened, 1, __ATOMIC_RELAXED);
        send_request(e, ev, c);
    }
    if (ev->flags & QS_EVENT_CLOSED) {
        __atomic_add_fetch(&n_bad, 1, __ATOMIC_RELAXED);
        return;
    }
    while ((n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0) {
        for (int64_t i = 0; i < n; i++)
            if (buf[i] != octet(c, c->received + (uint32_t)i))
                __atomic_add_fetch(&n_bad, 1, __ATOMIC_RELAXED);
        c->received += (uint32_t)n;
    }
    if (c->received < BYTES)
        return;
    if (++c->rounds < ROUNDS) {
        send_request(e, ev, c);
    } else {
        (void)qs_conn_close(e, ev->conn);
        __atomic_add_fetch(&n_done, 1, __ATOMIC_RELEASE);
    }
}

static void on_inline(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t buf[4096];
    int64_t n;
    if (ev->flags & QS_EVENT_CLOSED)
        return;
    while ((n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0)
        if (qs_conn_write(e, ev->conn, buf, (size_t)n) != n)
            __atomic_add_fetch(&n_bad, 1, __ATOMIC_RELAXED);
    if (n == QS_ERR_EOF)
        (void)qs_conn_close(e, ev->conn);
}

static void *application(void *arg)
{
    (void)arg;
    struct qs_app_event ev[16];
    while (!__atomic_load_n(&app_stop, __ATOMIC_ACQUIRE)) {
        int n = qs_app_wait(app, ev, 16, QS_MS(100));
        for (int i = 0; i < n; i++) {
            if (ev[i].flags & QS_EVENT_READABLE &&
                qs_app_write(app, ev[i].conn, ev[i].data, ev[i].len) != (int64_t)ev[i].len)
                __atomic_add_fetch(&n_bad, 1, __ATOMIC_RELAXED);
            if (ev[i].flags & QS_EVENT_EOF)
                (void)qs_app_close(app, ev[i].conn);
        }
    }
    return NULL;
}

static qs_stack *make(uint32_t side, const char *wire)
{
    qs_stack_opts o;
    struct qs_diag diag = {""};
    qs_stack *s;
    qs_stack_opts_init(&o);
    o.ifname = wire;
    o.pair_side = side;
    o.n_queues = QUEUES;
    o.n_workers = side ? 1 : 2;
    o.conns_max = 4096;
    o.chunks_max = 4096;
    o.addr4 = side ? "10.9.0.2/24" : "10.9.0.1/24";
    o.addr6 = side ? "fd09::2/64" : "fd09::1/64";
    qs_err err = qs_stack_new(&s, &o, &diag);
    if (err)
        fprintf(stderr, "%s\n", diag.text);
    REQUIRE(err == 0);
    return s;
}

static void listen_on(qs_stack *s, uint16_t port, uint8_t prio, qs_inline_fn fn, uint32_t index)
{
    struct qs_stack_listen l;
    struct qs_diag diag = {""};
    qs_stack_listen_init(&l);
    l.l.port = port;
    l.l.prio = prio;
    l.inline_fn = fn;
    l.app = index;
    REQUIRE(qs_stack_listen(s, &l, &diag) >= 0);
}

static void open_all(qs_stack *s)
{
    static const qs_addr v4 = {{[10] = 0xff, [11] = 0xff, 10, 9, 0, 1}};
    static const qs_addr v6 = {{0xfd, 9, [15] = 1}};
    for (uint32_t i = 0; i < 2 * CONNS; i++) {
        struct qs_open_opts o;
        qs_open_opts_init(&o);
        o.remote = i % 3 ? v4 : v6;
        o.remote_port = clients[i].port = i < CONNS ? 7 : 8;
        o.prio = i < CONNS ? 0 : 7;
        o.user = i;
        REQUIRE(qs_stack_open(s, i % QUEUES, &o, on_client, NULL) == 0);
    }
}

static void every_octet_comes_back(void)
{
    char wire[32];
    struct qs_diag diag = {""};
    (void)snprintf(wire, sizeof wire, "test-echo-%d", (int)getpid());
    qs_stack *server = make(0, wire), *client = make(1, wire);
    uint32_t index;
    REQUIRE(qs_app_new(&app, &index, server, 0) == 0);
    listen_on(server, 7, 0, on_inline, 0);
    listen_on(server, 8, 7, NULL, index);
    REQUIRE(qs_stack_start(server, &diag) == 0);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, application, NULL) == 0);
    open_all(client);
    REQUIRE(qs_stack_start(client, &diag) == 0);
    for (int i = 0; i < 3000 && __atomic_load_n(&n_done, __ATOMIC_ACQUIRE) < 2 * CONNS; i++)
        usleep(10000);
    CHECK_EQ(n_done, 2 * CONNS);
    CHECK_EQ(n_opened, 2 * CONNS);
    CHECK_EQ(n_bad, 0);
    usleep(100000);
    qs_stack_stop(client);
    __atomic_store_n(&app_stop, true, __ATOMIC_RELEASE);
    qs_app_wake(app);
    pthread_join(thread, NULL);
    qs_stack_stop(server);
    uint64_t c[QS_N_COUNTERS], total = 0;
    for (uint32_t q = 0; q < QUEUES; q++) {
        CHECK_EQ(qs_stack_counters(server, q, c, QS_N_COUNTERS), QS_N_COUNTERS);
        CHECK_EQ(c[QS_COUNT_CONNS], 0); /* the peer closed first: no TIME-WAIT here */
        CHECK_EQ(c[QS_COUNT_CHUNKS], 0);
        total += c[QS_COUNT_PASSIVE_OPENS];
    }
    CHECK_EQ(total, 2 * CONNS);
    struct qs_worker_stats w;
    CHECK_EQ(qs_stack_worker_stats(server, 0, &w), 0);
    CHECK(w.sleeps > 0);
    CHECK_EQ(qs_stack_worker_stats(server, 2, &w), QS_ERR_ARG);
    qs_app_free(app);
    qs_stack_free(client);
    qs_stack_free(server);
}

int main(void)
{
    RUN(every_octet_comes_back);
    return TEST_RESULT();
}
