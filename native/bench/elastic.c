/* SPDX-License-Identifier: Apache-2.0 */
/* qs-elastic: queues of a server move between two workers all the time, then buckets of flows
 * between queues, while a client sends messages on many connections, half of them to inline
 * handlers and half to an application thread, and looks at every octet that comes back. Prints one
 * JSON document; `qstack bench elastic` runs it.
 *
 *     qs-elastic [--moves N] [--bucket-moves N] [--connections N] [--seed N] */
#include <argp.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client.h"
#include "core/splitmix.h"
#include "io/clock.h"
#include "io/softnic.h"
#include "qstack/qs_app.h"
#include "qstack/qs_stats.h"
#include "runtime/stack.h"
#include "samples.h"

#define QUEUES 4u
#define INLINE_PORT 7
#define SPLIT_PORT 8
#define SPLIT_CLASS 7
#define MESSAGE_MAX 1400u
/* Between two messages of a connection; all together leave the machine time to sleep. */
#define INTERVAL QS_MS(4)
/* Octets of a connection that are under way: what server and client keep of it fits into buffers,
 * also when the process stood still. */
#define WINDOW (32u << 10)
/* Between two moves: so long a queue is where it is. */
#define REST_US 250u
/* Before the moves, to compare with. */
#define STILL QS_MS(500)
/* So long the last octets may take. */
#define PATIENCE QS_S(5)
#define WAKEUPS 2000u

/* A connection of the client: octets are numbered. */
struct stream {
    qs_conn conn;
    uint64_t sent, got;
    uint64_t due_ns;
    uint64_t asked_ns; /* when the first message that is under way was due; 0: none is */
    bool broken;       /* an octet was another one, or it ended */
};

static struct {
    uint32_t n_moves, n_bucket_moves, n_conns;
    uint64_t seed;
} settings = {.n_moves = 10000, .n_bucket_moves = 10000, .n_conns = 64, .seed = 1};

static struct {
    qs_stack *server;
    qs_app *app;
    bool ending;    /* atomic: the application's thread */
    bool all_moved; /* atomic */
    struct client client;
    struct stream *streams;
    uint32_t n_open, n_broken, n_ended;
    uint64_t random, n_messages;
    struct samples pauses, bucket_pauses, wakeups;
    struct samples still, moving, buckets; /* round trips without moves, and with those of each */
    struct samples *round_trips;           /* one of these */
    uint64_t still_until_ns;
} run;

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "qs-elastic: %s: %s\n", what, why);
    exit(1);
}

/* ---- figures ---- */

static void print_samples(const char *name, struct samples *s)
{
    samples_sort(s);
    printf(", \"%s_p50_us\": %.2f, \"%s_p99_us\": %.2f, \"%s_max_us\": %.2f", name,
           samples_us(s, 0.5), name, samples_us(s, 0.99), name, samples_us(s, 1));
}

/* Octet `at` of connection `id`: neighbours in number and in connection differ. */
static uint8_t octet(uint64_t id, uint64_t at)
{
    return (uint8_t)((at * 0x9e3779b97f4a7c15u + id * 0x94d049bb133111ebu) >> 56);
}

/* ---- server ---- */

static void echo(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t buf[MESSAGE_MAX];
    int64_t n;
    while (!(ev->flags & QS_EVENT_CLOSED) && (n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0)
        if (qs_conn_write(e, ev->conn, buf, (size_t)n) != n)
            die("server", "could not answer");
}

static void *application(void *arg)
{
    struct qs_app_event ev[64];
    (void)arg;
    while (!__atomic_load_n(&run.ending, __ATOMIC_ACQUIRE)) {
        int n = qs_app_wait(run.app, ev, 64, QS_MS(100));
        for (int i = 0; i < n; i++)
            if (ev[i].len > 0 &&
                qs_app_write(run.app, ev[i].conn, ev[i].data, ev[i].len) != ev[i].len)
                die("server", "could not answer");
    }
    return NULL;
}

static void listen_on(uint16_t port, uint8_t prio, qs_inline_fn fn, uint32_t app)
{
    struct qs_diag diag = {""};
    struct qs_stack_listen l;
    qs_stack_listen_init(&l);
    l.l.port = port;
    l.l.prio = prio;
    l.inline_fn = fn;
    l.app = app;
    if (qs_stack_listen(run.server, &l, &diag) < 0)
        die("listening", diag.text);
}

static void start_server(const char *wire)
{
    struct qs_diag diag = {""};
    uint32_t app;
    qs_stack_opts o;
    qs_stack_opts_init(&o);
    o.ifname = wire;
    o.addr4 = "10.9.0.1/24";
    o.n_queues = QUEUES;
    o.n_workers = 2;
    o.first_cpu = 0;
    if (qs_stack_new(&run.server, &o, &diag) != 0)
        die("server", diag.text);
    qs_err err = qs_app_new(&run.app, &app, run.server, 0);
    if (err)
        die("application", qs_strerror(err));
    listen_on(INLINE_PORT, 0, echo, 0);
    listen_on(SPLIT_PORT, SPLIT_CLASS, NULL, app);
    if (qs_stack_start(run.server, &diag) != 0)
        die("server", diag.text);
}

/* ---- moves ---- */

static void *move_queues(void *arg)
{
    struct qs_diag diag = {""};
    struct qs_place place;
    uint64_t random = settings.seed;
    (void)arg;
    for (uint32_t i = 0; i < settings.n_moves; i++) {
        uint32_t queue = qs_splitmix64(&random) % QUEUES;
        qs_err err = qs_stack_place(run.server, queue, &place);
        if (!err)
            err = qs_stack_move(run.server, queue, !place.worker, &diag);
        if (err)
            die("moving", diag.text);
        if (qs_stack_move_wait(run.server, queue, QS_S(10)) != 0 ||
            qs_stack_place(run.server, queue, &place) != 0)
            die("moving", "a queue did not arrive within 10 s");
        samples_keep(&run.pauses, place.pause.ns);
        usleep(REST_US);
    }
    __atomic_store_n(&run.all_moved, true, __ATOMIC_RELEASE);
    return NULL;
}

static qs_err write_table(void *ctx, const struct qs_bucket_move *moves, size_t n)
{
    struct qs_softnic *nic = ctx;
    uint32_t table[QS_SOFTNIC_INDIR_SIZE];
    memcpy(table, nic->indir, sizeof table);
    for (size_t i = 0; i < n; i++)
        table[moves[i].bucket] = moves[i].queue;
    return qs_softnic_set_indir(nic, table);
}

/* One bucket after the other, to any other queue. */
static void *move_buckets(void *arg)
{
    struct qs_diag diag = {""};
    struct qs_flow_stats stats;
    struct qs_softnic *nic = run.server->driver->softnic;
    uint64_t random = settings.seed;
    (void)arg;
    for (uint32_t i = 0; i < settings.n_bucket_moves; i++) {
        uint64_t dice = qs_splitmix64(&random);
        uint32_t bucket = dice % QS_SOFTNIC_INDIR_SIZE;
        struct qs_bucket_move move = {bucket, (nic->indir[bucket] + 1 + (dice >> 32) % 3) % QUEUES};
        if (qs_stack_buckets_move(run.server, &move, 1, write_table, nic, QS_S(10), &diag) != 0 ||
            qs_stack_flow_stats(run.server, move.queue, &stats) != 0)
            die("moving", diag.text);
        samples_keep(&run.bucket_pauses, stats.pause.ns);
        usleep(REST_US);
    }
    __atomic_store_n(&run.all_moved, true, __ATOMIC_RELEASE);
    return NULL;
}

/* ---- client ---- */

static void broke(struct stream *x, uint32_t *counter)
{
    *counter += !x->broken;
    x->broken = true;
}

static void take(struct stream *x, const uint8_t *buf, int64_t n, qs_time now)
{
    uint64_t id = (uint64_t)(x - run.streams);
    for (int64_t i = 0; i < n; i++)
        if (buf[i] != octet(id, x->got++))
            broke(x, &run.n_broken);
    if (x->got == x->sent && x->asked_ns) {
        samples_keep(run.round_trips, now.ns - x->asked_ns);
        x->asked_ns = 0;
    }
}

static void on_event(const struct qs_event *ev, qs_time now)
{
    struct stream *x = &run.streams[ev->user];
    uint8_t buf[MESSAGE_MAX];
    int64_t n;
    run.n_open += ev->flags & QS_EVENT_OPEN ? 1 : 0;
    if (ev->flags & QS_EVENT_CLOSED) {
        broke(x, &run.n_ended);
        return;
    }
    while ((n = qs_conn_read(run.client.e, ev->conn, buf, sizeof buf)) > 0)
        take(x, buf, n, now);
}

static void send_message(struct stream *x)
{
    uint8_t buf[MESSAGE_MAX];
    uint64_t id = (uint64_t)(x - run.streams);
    size_t len = 1 + qs_splitmix64(&run.random) % MESSAGE_MAX;
    for (size_t i = 0; i < len; i++)
        buf[i] = octet(id, x->sent + i);
    int64_t n = qs_conn_write(run.client.e, x->conn, buf, len);
    x->sent += n > 0 ? (uint64_t)n : 0; /* fewer: the server is behind */
    if (!x->asked_ns)
        x->asked_ns = x->due_ns;
    run.n_messages++;
}

static void send_due(qs_time now)
{
    for (uint32_t i = 0; i < settings.n_conns; i++) {
        struct stream *x = &run.streams[i];
        if (x->due_ns > now.ns || x->sent - x->got > WINDOW - MESSAGE_MAX || x->broken)
            continue;
        send_message(x);
        x->due_ns += INTERVAL.ns;
    }
}

static uint64_t missing(void)
{
    uint64_t octets = 0;
    for (uint32_t i = 0; i < settings.n_conns; i++)
        octets += run.streams[i].sent - run.streams[i].got;
    return octets;
}

static void turn(void)
{
    if (!client_turn(&run.client))
        usleep(20);
}

static void connect_all(const char *wire)
{
    static const char *const address[] = {"10.9.0.2/24"};
    const struct client_opts o = {.driver = "pair",
                                  .device = wire,
                                  .addresses = address,
                                  .n_addresses = 1,
                                  .conns_max = 2 * settings.n_conns};
    client_open(&run.client, &o);
    run.client.on_event = on_event;
    for (uint32_t i = 0; i < settings.n_conns; i++) {
        struct qs_open_opts c;
        qs_open_opts_init(&c);
        c.remote = (qs_addr){{[10] = 0xff, [11] = 0xff, 10, 9, 0, 1}};
        c.remote_port = i % 2 ? SPLIT_PORT : INLINE_PORT;
        c.prio = i % 2 ? SPLIT_CLASS : 0;
        c.user = i;
        run.streams[i].conn = client_connect(&run.client, &c);
    }
    uint64_t give_up = qs_clock_now().ns + PATIENCE.ns;
    while (run.n_open < settings.n_conns) {
        turn();
        if (qs_clock_now().ns > give_up)
            die("client", "the server did not accept all connections");
    }
}

static bool was_still(void)
{
    return qs_clock_now().ns >= run.still_until_ns;
}

static bool has_moved(void)
{
    return __atomic_load_n(&run.all_moved, __ATOMIC_ACQUIRE);
}

/* Messages, until it is over; then until all octets are back. */
static void converse(struct samples *round_trips, bool (*is_over)(void))
{
    qs_time start = qs_clock_now();
    run.round_trips = round_trips;
    for (uint32_t i = 0; i < settings.n_conns; i++)
        run.streams[i].due_ns = start.ns + INTERVAL.ns * i / settings.n_conns;
    while (!is_over()) {
        send_due(qs_clock_now());
        turn();
    }
    uint64_t give_up = qs_clock_now().ns + PATIENCE.ns;
    while (missing() > 0 && qs_clock_now().ns < give_up)
        turn();
}

/* ---- the machine itself ---- */

struct sleeper {
    int event_fd;
    uint64_t written_ns; /* atomic */
    uint32_t n_woken;    /* atomic */
};

static void *be_woken(void *arg)
{
    struct sleeper *s = arg;
    for (uint32_t i = 0; i < WAKEUPS; i++) {
        uint64_t ignored;
        struct pollfd in = {s->event_fd, POLLIN, 0};
        (void)!poll(&in, 1, -1);
        samples_keep(&run.wakeups,
                     qs_clock_now().ns - __atomic_load_n(&s->written_ns, __ATOMIC_ACQUIRE));
        (void)!read(s->event_fd, &ignored, sizeof ignored);
        __atomic_store_n(&s->n_woken, i + 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

/* How long a thread that sleeps takes until it runs, when nobody else wants the machine. */
static void measure_wakeups(void)
{
    struct sleeper s = {.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    pthread_t thread;
    uint64_t one = 1;
    if (s.event_fd < 0 || pthread_create(&thread, NULL, be_woken, &s) != 0)
        die("wake-ups", "no descriptor or thread");
    for (uint32_t i = 0; i < WAKEUPS; i++) {
        usleep(100); /* it sleeps by now */
        __atomic_store_n(&s.written_ns, qs_clock_now().ns, __ATOMIC_RELEASE);
        if (write(s.event_fd, &one, sizeof one) != sizeof one)
            die("wake-ups", "cannot write");
        while (__atomic_load_n(&s.n_woken, __ATOMIC_ACQUIRE) <= i)
            usleep(20);
    }
    pthread_join(thread, NULL);
    close(s.event_fd);
}

/* ---- all of it ---- */

static uint64_t retransmits(void)
{
    uint64_t c[QS_N_COUNTERS], sum = 0;
    for (uint32_t q = 0; qs_stack_counters(run.server, q, c, QS_N_COUNTERS) > 0; q++)
        sum += c[QS_COUNT_RETRANSMITS];
    (void)qs_engine_counters(run.client.e, c, QS_N_COUNTERS);
    return sum + c[QS_COUNT_RETRANSMITS];
}

static struct qs_flow_stats flow_stats(void)
{
    struct qs_flow_stats sum = {0}, one;
    for (uint32_t q = 0; qs_stack_flow_stats(run.server, q, &one) == 0; q++) {
        sum.arrived += one.arrived;
        sum.held += one.held;
        sum.relayed += one.relayed;
    }
    return sum;
}

static void print_document(void)
{
    struct qs_flow_stats flows = flow_stats();
    samples_sort(&run.wakeups);
    printf("{\"moves\": %u, \"lost\": %" PRIu64 ", \"reordered\": %u, \"resets\": %u", run.pauses.n,
           missing(), run.n_broken, run.n_ended);
    print_samples("pause", &run.pauses);
    printf(", \"machine_wakeup_us\": %.2f", samples_us(&run.wakeups, 0.5));
    print_samples("machine_wakeup", &run.wakeups);
    print_samples("round_trip", &run.moving);
    print_samples("round_trip_still", &run.still);
    printf(", \"bucket_moves\": %u, \"connections_moved\": %" PRIu64 ", \"frames_held\": %" PRIu64
           ", \"frames_relayed\": %" PRIu64,
           run.bucket_pauses.n, flows.arrived, flows.held, flows.relayed);
    print_samples("bucket_pause", &run.bucket_pauses);
    print_samples("round_trip_buckets", &run.buckets);
    printf(", \"messages\": %" PRIu64 ", \"connections\": %u, \"retransmits\": %" PRIu64
           ", \"seed\": %" PRIu64 "}\n",
           run.n_messages, settings.n_conns, retransmits(), settings.seed);
}

static const struct argp_option options[] = {
    {"moves", 'm', "N", 0, "of queues between workers; 10000", 0},
    {"bucket-moves", 'b', "N", 0, "of buckets between queues; 10000", 0},
    {"connections", 'c', "N", 0, "half of them inline, half split; 64", 0},
    {"seed", 's', "N", 0, "of messages and moves; 1", 0},
    {0},
};

static uint64_t number(const char *arg, struct argp_state *state, uint64_t most)
{
    char *end;
    uint64_t n = strtoull(arg, &end, 0);
    if (end == arg || *end || n == 0 || n > most)
        argp_error(state, "%s is not a number from 1 to %" PRIu64, arg, most);
    return n;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case 'm':
        settings.n_moves = (uint32_t)number(arg, state, 10000000);
        return 0;
    case 'b':
        settings.n_bucket_moves = (uint32_t)number(arg, state, 10000000);
        return 0;
    case 'c':
        settings.n_conns = (uint32_t)number(arg, state, 10000);
        return 0;
    case 's':
        settings.seed = number(arg, state, UINT64_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Messages, while a thread moves something. */
static void converse_while(void *(*mover)(void *), struct samples *round_trips)
{
    pthread_t thread;
    __atomic_store_n(&run.all_moved, false, __ATOMIC_RELEASE);
    if (pthread_create(&thread, NULL, mover, NULL) != 0)
        die("moving", "no thread");
    converse(round_trips, has_moved);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse, NULL, "Queues and buckets move under traffic.",
                                     NULL,    NULL,  NULL};
    pthread_t app;
    char wire[32];
    if (argp_parse(&argp, argc, argv, 0, NULL, NULL) != 0)
        return 2;
    run.random = settings.seed;
    run.streams = calloc(settings.n_conns, sizeof *run.streams);
    if (!run.streams)
        die("connections", "no memory");
    samples_init(&run.pauses, settings.n_moves);
    samples_init(&run.still, 1u << 20);
    samples_init(&run.moving, 1u << 22);
    samples_init(&run.bucket_pauses, settings.n_bucket_moves);
    samples_init(&run.buckets, 1u << 22);
    samples_init(&run.wakeups, WAKEUPS);
    (void)snprintf(wire, sizeof wire, "elastic-%d", (int)getpid());
    start_server(wire);
    if (pthread_create(&app, NULL, application, NULL) != 0)
        die("application", "no thread");
    connect_all(wire);
    run.still_until_ns = qs_clock_now().ns + STILL.ns;
    converse(&run.still, was_still);
    converse_while(move_queues, &run.moving);
    converse_while(move_buckets, &run.buckets);
    __atomic_store_n(&run.ending, true, __ATOMIC_RELEASE);
    qs_app_wake(run.app);
    pthread_join(app, NULL);
    qs_stack_stop(run.server);
    measure_wakeups();
    print_document();
    qs_app_free(run.app);
    client_close(&run.client);
    qs_stack_free(run.server);
    return 0;
}
