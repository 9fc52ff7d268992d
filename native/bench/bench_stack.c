/* SPDX-License-Identifier: Apache-2.0 */
/* Round trips of 64 bytes between two stacks on one wire, with threads: what the layouts of
 * handlers cost beyond the engine, and what a wake-up costs. Prints one JSON document.
 *
 *     bench_stack [SECONDS]        for each row, 1 by default */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pthread.h>

#include "io/clock.h"
#include "qstack/qs_app.h"

#define BYTES 64
#define PORT 7

struct row {
    const char *layout;
    uint32_t connections;
    bool sleeps; /* no polling before sleep: each message pays for a wake-up */
};

static uint64_t n_rounds; /* atomic */
static bool stopping;     /* atomic */

static void die(const char *what, const struct qs_diag *diag)
{
    fprintf(stderr, "bench_stack: %s: %s\n", what, diag->text);
    exit(1);
}

static void on_client(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t buf[BYTES] = {0};
    if (ev->flags & QS_EVENT_CLOSED)
        return;
    if (ev->flags & QS_EVENT_READABLE && qs_conn_read(e, ev->conn, buf, BYTES) > 0)
        (void)__atomic_add_fetch(&n_rounds, 1, __ATOMIC_RELAXED);
    if (ev->flags & (QS_EVENT_OPEN | QS_EVENT_READABLE))
        (void)!qs_conn_write(e, ev->conn, buf, BYTES);
}

static void on_server(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t buf[BYTES];
    int64_t n;
    while (!(ev->flags & QS_EVENT_CLOSED) && (n = qs_conn_read(e, ev->conn, buf, BYTES)) > 0)
        (void)!qs_conn_write(e, ev->conn, buf, (size_t)n);
}

static void *application(void *arg)
{
    struct qs_app_event ev[64];
    while (!__atomic_load_n(&stopping, __ATOMIC_ACQUIRE)) {
        int n = qs_app_wait(arg, ev, 64, QS_MS(100));
        for (int i = 0; i < n; i++)
            if (ev[i].len > 0)
                (void)!qs_app_write(arg, ev[i].conn, ev[i].data, ev[i].len);
    }
    return NULL;
}

static qs_stack *make(uint32_t side, const struct row *row)
{
    char wire[32];
    struct qs_diag diag = {""};
    qs_stack_opts o;
    qs_stack *s;
    qs_stack_opts_init(&o);
    (void)snprintf(wire, sizeof wire, "bench-%d", (int)getpid());
    o.ifname = wire;
    o.pair_side = side;
    o.addr4 = side ? "10.9.0.2/24" : "10.9.0.1/24";
    o.first_cpu = (int32_t)side; /* each stack on a core of its own, if there are two */
    if (row->sleeps)
        o.poll_idle = (qs_dur){0};
    if (qs_stack_new(&s, &o, &diag) != 0)
        die("stack", &diag);
    return s;
}

static void connect_all(qs_stack *client, uint32_t n)
{
    struct qs_diag diag = {"connection refused by the client's own stack"};
    struct qs_open_opts o;
    qs_open_opts_init(&o);
    o.remote = (qs_addr){{[10] = 0xff, [11] = 0xff, 10, 9, 0, 1}};
    o.remote_port = PORT;
    for (uint32_t i = 0; i < n; i++)
        if (qs_stack_open(client, 0, &o, on_client, NULL) != 0)
            die("open", &diag);
}

static double cpu_us(const qs_stack *s)
{
    struct qs_worker_stats w;
    return qs_stack_worker_stats(s, 0, &w) == 0 ? (double)w.cpu_ns / 1e3 : 0;
}

static void run_row(const struct row *row, double seconds, bool is_first)
{
    struct qs_diag diag = {""};
    qs_stack *server = make(0, row), *client = make(1, row);
    struct qs_stack_listen l;
    qs_app *app = NULL;
    pthread_t thread;
    qs_stack_listen_init(&l);
    l.l.port = PORT;
    if (strcmp(row->layout, "inline") == 0)
        l.inline_fn = on_server;
    else if (qs_app_new(&app, &l.app, server, 0) != 0)
        die("application", &diag);
    if (qs_stack_listen(server, &l, &diag) < 0 || qs_stack_start(server, &diag) != 0)
        die("server", &diag);
    __atomic_store_n(&stopping, false, __ATOMIC_RELEASE);
    if (app && pthread_create(&thread, NULL, application, app) != 0)
        die("thread", &diag);
    connect_all(client, row->connections);
    if (qs_stack_start(client, &diag) != 0)
        die("client", &diag);
    usleep(200000); /* connected and warm */
    uint64_t rounds = __atomic_load_n(&n_rounds, __ATOMIC_RELAXED);
    double cpu = cpu_us(server);
    qs_time start = qs_clock_now();
    usleep((useconds_t)(seconds * 1e6));
    rounds = __atomic_load_n(&n_rounds, __ATOMIC_RELAXED) - rounds;
    double s = (double)(qs_clock_now().ns - start.ns) / 1e9, n = (double)(rounds ? rounds : 1);
    printf("%s    {\"layout\": \"%s\", \"connections\": %u, \"sleeps\": %s, "
           "\"round_trips_per_second\": %.0f, \"round_trip_us\": %.2f, "
           "\"server_worker_cpu_us_per_request\": %.2f}",
           is_first ? "" : ",\n", row->layout, row->connections, row->sleeps ? "true" : "false",
           (double)rounds / s, s * 1e6 * row->connections / n, (cpu_us(server) - cpu) / n);
    __atomic_store_n(&stopping, true, __ATOMIC_RELEASE);
    qs_stack_stop(client);
    if (app) {
        qs_app_wake(app);
        pthread_join(thread, NULL);
    }
    qs_stack_stop(server);
    qs_app_free(app);
    qs_stack_free(client);
    qs_stack_free(server);
}

int main(int argc, char **argv)
{
    static const struct row rows[] = {
        {"inline", 1, false}, {"split", 1, false}, {"inline", 64, false},
        {"split", 64, false}, {"inline", 1, true}, {"split", 1, true},
    };
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    if (!(seconds > 0 && seconds <= 60)) {
        fprintf(stderr, "usage: bench_stack [SECONDS], more than 0 and at most 60\n");
        return 2;
    }
    printf("{\"bytes\": %d, \"rows\": [\n", BYTES);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        run_row(&rows[i], seconds, i == 0);
    printf("\n]}\n");
    return 0;
}
