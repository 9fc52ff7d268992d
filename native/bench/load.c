/* SPDX-License-Identifier: Apache-2.0 */
/* qs-load: an HTTP load over QStack's own TCP. Joins a wire of the pair driver and drives one
 * engine in one loop: a flood of closed-loop connections on one port, and on another requests at a
 * steady rate whose latency counts from when each was due, answered or not (no coordinated
 * omission).
 *
 *     qs-load WIRE ADDRESS/LENGTH SERVER LOW_PORT HIGH_PORT CONNECTIONS PER_SECOND SECONDS
 *
 * Prints one JSON document. Percentiles are exact: every latency is kept. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "io/clock.h"
#include "io/driver.h"
#include "io/iface.h"
#include "io/mem.h"
#include "qstack/qs_conn.h"

#define BURST 64u
/* So many that a probe finds an idle one: else it would wait here, and the server be charged. */
#define HIGH_CONNS 256u
/* The flood is there before the first probe. */
#define WARM_UP QS_MS(500)
/* Answers that are due at the end are waited for: to drop them would drop the slowest. */
#define LAST_ANSWER QS_S(10)
#define CONNS_MAX 10000u
#define SAMPLES_MAX (1u << 24)
#define RESPONSE_MAX 65536u

struct samples {
    uint32_t *ns;
    uint32_t n;
};

/* One connection: at most one request is under way. */
struct client {
    qs_conn conn;
    uint64_t due_ns;    /* of the request under way */
    uint32_t got, want; /* octets of the response; want 0: not known yet */
    bool high, open, busy;
    char head[512];
};

static struct load {
    struct qs_driver *d;
    qs_engine *e;
    struct client clients[CONNS_MAX + HIGH_CONNS];
    uint32_t n_clients, n_open, n_probes_out;
    struct samples low, high;
    uint64_t errors;
    char request[128];
    bool flooding; /* each answer of the low port is followed by the next request */
} load;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "qs-load: %s: %s\n", what, why);
    exit(1);
}

static void keep(struct samples *s, uint64_t ns)
{
    if (s->n < SAMPLES_MAX)
        s->ns[s->n++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static void ask(struct client *c, uint64_t due_ns)
{
    int64_t len = (int64_t)strlen(load.request);
    c->due_ns = due_ns;
    c->got = c->want = 0;
    c->busy = true;
    if (qs_conn_write(load.e, c->conn, load.request, (size_t)len) != len)
        load.errors++;
}

/* Octets of the whole response, once its head is there; 0 before, UINT32_MAX when it is not 200. */
static uint32_t response_bytes(const struct client *c)
{
    const char *end = strstr(c->head, "\r\n\r\n"), *at = strstr(c->head, "Content-Length: ");
    if (!end)
        return 0;
    if (strncmp(c->head, "HTTP/1.1 200", 12) != 0 || !at)
        return UINT32_MAX;
    return (uint32_t)(end + 4 - c->head) + (uint32_t)strtoul(at + 16, NULL, 10);
}

static void answered(struct client *c, qs_time now)
{
    c->busy = false;
    if (c->high) {
        keep(&load.high, now.ns - c->due_ns);
        load.n_probes_out--;
    } else if (load.flooding) {
        keep(&load.low, now.ns - c->due_ns);
        ask(c, now.ns);
    }
}

static void take(struct client *c, qs_time now)
{
    char buf[RESPONSE_MAX];
    int64_t n;
    while ((n = qs_conn_read(load.e, c->conn, buf, sizeof buf)) > 0) {
        uint32_t room = c->got < sizeof c->head - 1 ? (uint32_t)sizeof c->head - 1 - c->got : 0;
        uint32_t part = (uint64_t)n < room ? (uint32_t)n : room;
        memcpy(c->head + c->got, buf, part);
        c->head[c->got + part] = '\0';
        c->got += (uint32_t)n;
        if (!c->want)
            c->want = response_bytes(c);
        if (c->want == UINT32_MAX)
            die("the server", "answered with something else than 200 and a length");
        if (c->want && c->got >= c->want)
            answered(c, now);
    }
}

static void on_event(const struct qs_event *ev, qs_time now)
{
    struct client *c = &load.clients[ev->user];
    if (ev->flags & QS_EVENT_CLOSED)
        die("a connection ended", qs_strerror(ev->err ? ev->err : QS_ERR_EOF));
    if (ev->flags & QS_EVENT_OPEN) {
        c->open = true;
        load.n_open++;
    }
    if (ev->flags & QS_EVENT_READABLE)
        take(c, now);
}

/* @return true when something moved. */
static bool turn(void)
{
    struct qs_frame frames[BURST];
    struct qs_event events[BURST];
    const struct qs_driver_ops *ops = load.d->ops;
    qs_time now = qs_clock_now();
    size_t n = ops->rx(load.d, 0, frames, BURST);
    if (n) {
        qs_engine_rx(load.e, frames, n, now);
        ops->rx_done(load.d, 0, frames, n);
    }
    bool any = n > 0;
    while ((n = qs_engine_events(load.e, events, BURST)) > 0) {
        for (size_t i = 0; i < n; i++)
            on_event(&events[i], now);
        any = true;
    }
    if (qs_engine_deadline(load.e).ns > now.ns)
        return any;
    size_t lent = ops->tx_reserve(load.d, 0, frames, BURST);
    size_t used = lent ? qs_engine_tx(load.e, frames, lent, now) : 0;
    if (lent)
        ops->tx_commit(load.d, 0, frames, lent, used);
    return any || used > 0;
}

/* Sleeps until a frame comes or something is due, so that the server has the core meanwhile. */
static void rest(uint64_t due_ns)
{
    if (load.d->ops->arm(load.d, 0))
        return;
    uint64_t now = qs_clock_now().ns, until = qs_engine_deadline(load.e).ns;
    if (due_ns < until)
        until = due_ns;
    if (until <= now)
        return;
    uint64_t ns = until - now < QS_MS(100).ns ? until - now : QS_MS(100).ns;
    struct pollfd p = {.fd = load.d->ops->fd(load.d, 0), .events = POLLIN};
    struct timespec t = {.tv_nsec = (long)ns};
    (void)ppoll(&p, 1, &t, NULL);
}

static void open_clients(const char *server, uint16_t port, uint32_t n, bool high)
{
    struct qs_iface_addr remote;
    struct qs_diag diag = {""};
    if (qs_cidr_parse(&remote, server, &diag) != 0)
        die(server, diag.text);
    for (uint32_t i = 0; i < n; i++) {
        struct qs_open_opts o;
        qs_open_opts_init(&o);
        o.remote = remote.addr;
        o.remote_port = port;
        o.prio = high ? 7 : 0;
        o.user = load.n_clients;
        struct client *c = &load.clients[load.n_clients++];
        c->high = high;
        qs_err err = qs_conn_open(load.e, &o, qs_clock_now(), &c->conn);
        if (err)
            die("cannot connect", qs_strerror(err));
    }
}

static void set_up(const char *wire, const char *cidr)
{
    struct qs_diag diag = {""};
    const struct qs_driver_opts d = {.ifname = wire, .n_queues = 1, .pair_side = 1};
    struct qs_iface_addr own;
    if (qs_driver_find("pair")->open(&load.d, &d, &diag) != 0)
        die(wire, diag.text);
    if (qs_cidr_parse(&own, cidr, &diag) != 0)
        die(cidr, diag.text);
    qs_engine_opts o;
    qs_engine_opts_init(&o);
    o.mtu = load.d->caps.mtu;
    o.offloads = load.d->caps.offloads;
    o.gso_max_bytes = load.d->caps.gso_max_bytes;
    memcpy(o.mac, load.d->caps.mac, sizeof o.mac);
    if (getrandom(o.secret, sizeof o.secret, 0) != (ssize_t)sizeof o.secret)
        die("getrandom", "no random bytes");
    qs_err err = qs_engine_new(&load.e, &o, &qs_mem_pages);
    if (!err)
        err = qs_engine_addr_add(load.e, &own.addr, own.prefix_len);
    if (err)
        die("no engine", qs_strerror(err));
    load.low.ns = malloc(SAMPLES_MAX * sizeof *load.low.ns);
    load.high.ns = malloc(SAMPLES_MAX * sizeof *load.high.ns);
    if (!load.low.ns || !load.high.ns)
        die("samples", "no memory");
}

/* A probe goes out on the first idle connection; one that finds none goes when there is one, late.
 */
static bool probe(uint64_t due_ns)
{
    for (uint32_t i = 0; i < load.n_clients; i++) {
        struct client *c = &load.clients[i];
        if (c->high && !c->busy) {
            ask(c, due_ns);
            load.n_probes_out++;
            return true;
        }
    }
    return false;
}

static void run(double per_second, double seconds)
{
    uint64_t start = qs_clock_now().ns, give_up = start + QS_S(10).ns;
    while (load.n_open < load.n_clients) {
        turn();
        if (qs_clock_now().ns > give_up)
            die("the server", "did not accept all connections in 10 s");
    }
    start = qs_clock_now().ns;
    load.flooding = true;
    for (uint32_t i = 0; i < load.n_clients; i++)
        if (!load.clients[i].high)
            ask(&load.clients[i], start);
    uint64_t end = start + (uint64_t)(seconds * 1e9), n_due = 0;
    for (uint64_t now = start; now < end; now = qs_clock_now().ns) {
        uint64_t due = start + WARM_UP.ns + (uint64_t)((double)n_due * 1e9 / per_second);
        if (due <= now && probe(due))
            n_due++;
        if (!turn())
            rest(due > now ? due : end);
    }
    load.flooding = false;
    for (end += LAST_ANSWER.ns; load.n_probes_out > 0;) {
        if (!turn())
            rest(end);
        if (qs_clock_now().ns > end)
            die("the server", "left probes unanswered for 10 s");
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile_us(const struct samples *s, double part)
{
    return s->n ? s->ns[(uint32_t)((double)(s->n - 1) * part)] / 1e3 : 0;
}

static void print(double seconds)
{
    qsort(load.low.ns, load.low.n, sizeof *load.low.ns, by_size);
    qsort(load.high.ns, load.high.n, sizeof *load.high.ns, by_size);
    printf("{\"low_rps\": %.0f, \"low_p50_us\": %.1f, \"low_p99_us\": %.1f, \"high_p50_us\": %.1f, "
           "\"high_p99_us\": %.1f, \"high_p999_us\": %.1f, \"high_requests\": %u, "
           "\"socket_errors\": %llu}\n",
           load.low.n / seconds, percentile_us(&load.low, 0.5), percentile_us(&load.low, 0.99),
           percentile_us(&load.high, 0.5), percentile_us(&load.high, 0.99),
           percentile_us(&load.high, 0.999), load.high.n, (unsigned long long)load.errors);
}

int main(int argc, char **argv)
{
    if (argc != 9) {
        fprintf(stderr, "usage: qs-load WIRE ADDRESS/LENGTH SERVER LOW_PORT HIGH_PORT CONNECTIONS "
                        "PER_SECOND SECONDS\n");
        return 2;
    }
    uint32_t conns = (uint32_t)strtoul(argv[6], NULL, 10);
    double per_second = strtod(argv[7], NULL), seconds = strtod(argv[8], NULL);
    if (conns > CONNS_MAX || per_second <= 0 || seconds <= 0) {
        fprintf(stderr, "qs-load: at most %u connections, a rate and a time above 0\n", CONNS_MAX);
        return 2;
    }
    (void)snprintf(load.request, sizeof load.request, "GET / HTTP/1.1\r\nHost: %.64s\r\n\r\n",
                   argv[3]);
    set_up(argv[1], argv[2]);
    open_clients(argv[3], (uint16_t)strtoul(argv[4], NULL, 10), conns, false);
    open_clients(argv[3], (uint16_t)strtoul(argv[5], NULL, 10), HIGH_CONNS, true);
    run(per_second, seconds);
    print(seconds);
    load.d->ops->close(load.d);
    qs_engine_free(load.e);
    return 0;
}
