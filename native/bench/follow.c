/* SPDX-License-Identifier: Apache-2.0 */
/* qs-follow: how soon a second worker helps when load comes all at once, whether the number of
 * workers stays while the load does, and when the second one is parked again. Prints one JSON
 * document; `qstack bench elastic` runs it.
 *
 *     qs-follow [--steps N] [--steady-ms N] */
#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "io/clock.h"
#include "samples.h"

#define QUEUES 8u
#define CONNS 64u
#define PORT 7
#define BYTES 64
/* Of the server for each message: one worker alone has too much. */
#define WORK QS_US(20)
/* For all that has an end. */
#define PATIENCE QS_S(10)

static struct {
    uint32_t n_steps, steady_ms;
} settings = {.n_steps = 10, .steady_ms = 1000};

static struct {
    qs_stack *server;
    struct client client;
    qs_conn conns[CONNS];
    uint32_t n_open, under_way;
    bool loaded; /* each answer is followed by the next message */
    struct samples up, down;
    uint32_t n_flaps;
} run;

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "qs-follow: %s: %s\n", what, why);
    exit(1);
}

/* ---- server ---- */

static void work_and_echo(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t buf[BYTES];
    int64_t n;
    while (!(ev->flags & QS_EVENT_CLOSED) && (n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0) {
        uint64_t until_ns = qs_clock_now().ns + WORK.ns;
        while (qs_clock_now().ns < until_ns)
            continue;
        if (qs_conn_write(e, ev->conn, buf, (size_t)n) != n)
            die("server", "could not answer");
    }
}

static void start_server(const char *wire)
{
    struct qs_diag diag = {""};
    struct qs_stack_listen l;
    qs_stack_opts o;
    qs_stack_opts_init(&o);
    o.ifname = wire;
    o.addr4 = "10.9.0.1/24";
    o.n_queues = QUEUES;
    o.n_workers = o.workers_min = 1;
    o.workers_max = 2;
    o.first_cpu = 0;
    if (qs_stack_new(&run.server, &o, &diag) != 0)
        die("server", diag.text);
    qs_stack_listen_init(&l);
    l.l.port = PORT;
    l.inline_fn = work_and_echo;
    if (qs_stack_listen(run.server, &l, &diag) < 0 || qs_stack_start(run.server, &diag) != 0)
        die("server", diag.text);
}

/* Workers that are not parked. */
static uint32_t n_active(void)
{
    struct qs_worker_stats w;
    uint32_t n = 0;
    for (uint32_t i = 0; qs_stack_worker_stats(run.server, i, &w) == 0; i++)
        n += w.state == QS_WORKER_ACTIVE;
    return n;
}

/* Queues that arrived at another worker, so far. */
static uint64_t n_moves(void)
{
    struct qs_place place;
    uint64_t n = 0;
    for (uint32_t q = 0; qs_stack_place(run.server, q, &place) == 0; q++)
        n += place.moves;
    return n;
}

/* ---- client ---- */

static void ask(qs_conn c)
{
    static const uint8_t message[BYTES];
    if (qs_conn_write(run.client.e, c, message, BYTES) != BYTES)
        die("client", "could not send");
    run.under_way++;
}

static void on_event(const struct qs_event *ev, qs_time now)
{
    uint8_t buf[BYTES];
    (void)now;
    if (ev->flags & QS_EVENT_CLOSED)
        die("a connection ended", qs_strerror(ev->err ? ev->err : QS_ERR_EOF));
    run.n_open += ev->flags & QS_EVENT_OPEN ? 1 : 0;
    while (qs_conn_read(run.client.e, ev->conn, buf, sizeof buf) > 0) {
        run.under_way--;
        if (run.loaded)
            ask(ev->conn);
    }
}

static void turn(void)
{
    if (!client_turn(&run.client))
        usleep(20);
}

/* Takes turns until `is_so`. */
static void wait_until(bool (*is_so)(void), const char *what)
{
    uint64_t give_up = qs_clock_now().ns + PATIENCE.ns;
    while (!is_so()) {
        turn();
        if (qs_clock_now().ns > give_up)
            die("waited in vain", what);
    }
}

static bool all_are_open(void)
{
    return run.n_open == CONNS;
}

static bool all_is_answered(void)
{
    return run.under_way == 0;
}

/* One worker has all queues, and they have arrived. */
static bool one_has_all(void)
{
    bool all = n_active() == 1;
    for (uint32_t q = 0; q < QUEUES && all; q++)
        all = qs_stack_move_wait(run.server, q, (qs_dur){0}) == 0;
    return all;
}

static void connect_all(const char *wire)
{
    static const char *const address[] = {"10.9.0.2/24"};
    const struct client_opts o = {.driver = "pair",
                                  .device = wire,
                                  .addresses = address,
                                  .n_addresses = 1,
                                  .conns_max = 2 * CONNS};
    client_open(&run.client, &o);
    run.client.on_event = on_event;
    for (uint32_t i = 0; i < CONNS; i++) {
        struct qs_open_opts c;
        qs_open_opts_init(&c);
        c.remote = (qs_addr){{[10] = 0xff, [11] = 0xff, 10, 9, 0, 1}};
        c.remote_port = PORT;
        run.conns[i] = client_connect(&run.client, &c);
    }
    wait_until(all_are_open, "the server did not accept all connections");
}

/* ---- one step of load ---- */

static uint64_t moves_before;

static bool a_queue_has_moved(void)
{
    return n_moves() > moves_before;
}

/* The load stays: how often the number of workers changes. */
static void count_flaps(void)
{
    uint64_t end = qs_clock_now().ns + QS_MS(settings.steady_ms).ns;
    for (uint32_t n = n_active(); qs_clock_now().ns < end; turn()) {
        uint32_t now = n_active();
        run.n_flaps += now != n;
        n = now;
    }
}

static void step(void)
{
    wait_until(one_has_all, "the second worker was not parked");
    moves_before = n_moves();
    uint64_t began = qs_clock_now().ns;
    run.loaded = true;
    for (uint32_t i = 0; i < CONNS; i++)
        ask(run.conns[i]);
    wait_until(a_queue_has_moved, "no second worker came");
    samples_keep(&run.up, qs_clock_now().ns - began);
    count_flaps();
    run.loaded = false;
    wait_until(all_is_answered, "answers are missing");
    began = qs_clock_now().ns;
    wait_until(one_has_all, "the second worker was not parked");
    samples_keep(&run.down, qs_clock_now().ns - began);
}

/* ---- command line ---- */

static const struct argp_option options[] = {
    {"steps", 's', "N", 0, "of load; 10", 0},
    {"steady-ms", 't', "N", 0, "that the load stays; 1000", 0},
    {0},
};

static uint32_t number(const char *arg, struct argp_state *state, unsigned long most)
{
    char *end;
    unsigned long n = strtoul(arg, &end, 10);
    if (end == arg || *end || n == 0 || n > most)
        argp_error(state, "%s is not a number from 1 to %lu", arg, most);
    return (uint32_t)n;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case 's':
        settings.n_steps = number(arg, state, 10000);
        return 0;
    case 't':
        settings.steady_ms = number(arg, state, 60000);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        options, parse, NULL, "The number of workers follows steps of load.", NULL, NULL, NULL};
    char wire[32];
    if (argp_parse(&argp, argc, argv, 0, NULL, NULL) != 0)
        return 2;
    samples_init(&run.up, settings.n_steps);
    samples_init(&run.down, settings.n_steps);
    (void)snprintf(wire, sizeof wire, "follow-%d", (int)getpid());
    start_server(wire);
    connect_all(wire);
    for (uint32_t i = 0; i < settings.n_steps; i++)
        step();
    samples_sort(&run.up);
    samples_sort(&run.down);
    printf("{\"load_steps\": %u, \"follow_up_p50_ms\": %.2f, \"follow_up_max_ms\": %.2f, "
           "\"follow_down_p50_ms\": %.1f, \"follow_flaps\": %u}\n",
           settings.n_steps, samples_us(&run.up, 0.5) / 1e3, samples_us(&run.up, 1) / 1e3,
           samples_us(&run.down, 0.5) / 1e3, run.n_flaps);
    client_close(&run.client);
    qs_stack_free(run.server);
    return 0;
}
