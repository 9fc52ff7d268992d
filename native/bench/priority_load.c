/* SPDX-License-Identifier: Apache-2.0 */
/* qs-priority-load: requests of two classes at given rates, open loop, over QStack's TCP.
 *
 *     qs-priority-load --driver pair --device WIRE --address 10.9.0.1/24 --server 10.9.0.2
 *                      --rate 100000 --urgent-percent 5 --seconds 5
 *
 * Requests are due at random times (a Poisson process, by seed), on the connections of their class
 * in turn, answered or not; one that does not fit into a send buffer waits, and its time runs.
 * Latency counts from when a request was due (no coordinated omission). At the end all answers are
 * waited for. With --rate 0 each connection has --window requests under way: that measures how many
 * the server answers. With --messages each connection has requests of both classes, to the low
 * port. With --adversary-conns there is a client beside them that means harm, from the last of the
 * addresses. Prints one JSON document; percentiles are exact, every latency is kept. */
#include <argp.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "io/iface.h"
#include "priority.h"
#include "priority_adversary.h"
#include "qstack/qs_stats.h"

#define NONE UINT32_MAX
#define REQUESTS_MAX (1u << 23) /* under way */
#define SAMPLES_MAX (1u << 25)
#define TICK_NS 16u /* of a sample: up to 68 s in 32 bits */
#define ADDRESSES_MAX 8u
#define CONNECTING_MAX 256u
#define OFFERS_PER_TURN 16u
#define CONNECT_LIMIT QS_S(120)

enum kind { LOW, HIGH, KINDS };

/* Requests under way are lists, by connection, oldest first. */
struct request {
    uint64_t due_ns;
    uint32_t next;
};

/* Of one class on a connection. */
struct lane {
    uint32_t first, last; /* requests */
    uint32_t unsent;      /* of them, that the send buffer had no room for */
};

struct connection {
    qs_conn conn;
    struct lane of[KINDS]; /* without messages only that of its own class */
    uint32_t sent;         /* octets of the first request that is unsent */
    uint32_t got;          /* octets of the next reply */
    uint8_t kind;
};

struct class
{
    uint32_t n_conns, first_conn, next_conn;
    double gap_ns; /* mean time from one request to the next */
    uint64_t due_ns;
    uint64_t offered, answered, counted, answered_in_time;
    uint64_t late_ns; /* most that an offer came after it was due */
    uint32_t *samples;
};

static struct load {
    struct client client;
    struct connection *conns;
    uint32_t n_conns, n_open;
    struct class of[KINDS];
    struct request *requests;
    uint32_t free_request, fresh_request, under_way;
    uint64_t random, count_from_ns, end_ns;
    bool closed_loop; /* each answer is followed by the next request */
    uint8_t messages; /* of qs_engine_messages(), or 0 */
} load;

static struct settings {
    struct client_opts client;
    const char *addresses[ADDRESSES_MAX];
    const char *server;
    uint32_t port[KINDS], conns[KINDS], prio[KINDS];
    uint32_t window;
    bool messages;
    double rate, urgent_percent, seconds, warm_up, patience;
    uint64_t seed;
    struct adversary_opts adversary;
} settings = {
    .client = {.driver = "pair", .device = "qs0"},
    .server = "10.9.0.2",
    .port = {7000, 7007},
    .conns = {64, 4},
    .prio = {0, 7},
    .window = 4,
    .urgent_percent = 5,
    .seconds = 5,
    .warm_up = 1,
    .patience = 30,
    .seed = 1,
    .adversary = {.port = 7000},
};

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "qs-priority-load: %s: %s\n", what, why);
    exit(1);
}

/* ---- requests ---- */

static uint32_t new_request(uint64_t due_ns)
{
    uint32_t i = load.free_request;
    if (i != NONE)
        load.free_request = load.requests[i].next;
    else if (load.fresh_request < REQUESTS_MAX)
        i = load.fresh_request++;
    else
        die("the server", "is so far behind that no request is left");
    load.requests[i] = (struct request){due_ns, NONE};
    load.under_way++;
    return i;
}

static void send_octets(struct connection *c)
{
    static const uint8_t zeros[16 * REQUEST_BYTES];
    struct lane *l = &c->of[c->kind];
    while (l->unsent > 0) {
        uint64_t left = (uint64_t)l->unsent * REQUEST_BYTES - c->sent;
        int64_t n =
            qs_conn_write(load.client.e, c->conn, zeros, left < sizeof zeros ? left : sizeof zeros);
        if (n <= 0)
            return; /* QS_EVENT_WRITABLE follows */
        c->sent += (uint32_t)n;
        l->unsent -= c->sent / REQUEST_BYTES;
        c->sent %= REQUEST_BYTES;
    }
}

static void send_messages(struct connection *c)
{
    uint8_t request[REQUEST_BYTES] = {0};
    for (int k = KINDS; k-- > 0;)
        for (struct lane *l = &c->of[k]; l->unsent > 0; l->unsent--) {
            write_head(request, sizeof request, k == HIGH ? URGENT_MARK : 0);
            if (qs_conn_send(load.client.e, c->conn, settings.prio[k], request, sizeof request))
                return; /* QS_EVENT_WRITABLE follows */
        }
}

static void send_unsent(struct connection *c)
{
    if (settings.messages)
        send_messages(c);
    else
        send_octets(c);
}

static void offer(struct connection *c, enum kind kind, uint64_t due_ns)
{
    struct lane *l = &c->of[kind];
    uint32_t i = new_request(due_ns);
    if (l->first == NONE)
        l->first = i;
    else
        load.requests[l->last].next = i;
    l->last = i;
    l->unsent++;
    load.of[kind].offered++;
    send_unsent(c);
}

static void keep(struct class *k, uint64_t ns)
{
    uint64_t ticks = ns / TICK_NS;
    if (k->counted == SAMPLES_MAX)
        die("samples", "more than can be kept");
    k->samples[k->counted++] = ticks > UINT32_MAX ? UINT32_MAX : (uint32_t)ticks;
}

static void answered(struct connection *c, enum kind kind, uint64_t now_ns)
{
    struct class *k = &load.of[kind];
    uint32_t i = c->of[kind].first;
    if (i == NONE)
        die("the server", "answered what was not asked");
    c->of[kind].first = load.requests[i].next;
    load.requests[i].next = load.free_request;
    load.free_request = i;
    load.under_way--;
    k->answered++;
    uint64_t due_ns = load.requests[i].due_ns;
    if (now_ns >= load.count_from_ns && now_ns < load.end_ns)
        k->answered_in_time++;
    if (due_ns >= load.count_from_ns && due_ns < load.end_ns)
        keep(k, now_ns - due_ns);
    if (load.closed_loop && now_ns < load.end_ns)
        offer(c, kind, now_ns);
}

static void take_octets(struct connection *c, uint64_t now_ns)
{
    uint8_t buf[8192];
    int64_t n;
    while ((n = qs_conn_read(load.client.e, c->conn, buf, sizeof buf)) > 0)
        for (c->got += (uint32_t)n; c->got >= REPLY_BYTES; c->got -= REPLY_BYTES)
            answered(c, c->kind, now_ns);
}

static enum kind kind_of(struct connection *c, const struct qs_message *m)
{
    struct qs_span mark;
    if (qs_conn_message_peek(load.client.e, c->conn, m, MARK_AT, &mark, 1) != 1)
        die("the server", "answered too little");
    return mark.data[0] == URGENT_MARK ? HIGH : LOW;
}

static void take_messages(struct connection *c, uint64_t now_ns)
{
    struct qs_message m;
    while (qs_conn_message(load.client.e, c->conn, 0, &m) == 1) {
        enum kind kind = kind_of(c, &m);
        if (qs_conn_message_done(load.client.e, c->conn, &m) == 0)
            answered(c, kind, now_ns);
    }
}

static void on_event(const struct qs_event *ev, qs_time now)
{
    if (ev->user >= load.n_conns) {
        adversary_event(ev);
        return;
    }
    struct connection *c = &load.conns[ev->user];
    if (ev->flags & QS_EVENT_CLOSED)
        die("a connection ended", qs_strerror(ev->err ? ev->err : QS_ERR_EOF));
    if (ev->flags & QS_EVENT_OPEN)
        load.n_open++;
    if (ev->flags & QS_EVENT_WRITABLE)
        send_unsent(c);
    if (ev->flags & QS_EVENT_READABLE && settings.messages)
        take_messages(c, now.ns);
    else if (ev->flags & QS_EVENT_READABLE)
        take_octets(c, now.ns);
}

/* ---- connections ---- */

static qs_addr own_address(uint32_t i)
{
    struct qs_diag diag = {""};
    struct qs_iface_addr a;
    if (qs_cidr_parse(&a, settings.addresses[i], &diag) != 0)
        die("address", diag.text);
    return a.addr;
}

static void open_one(const qs_addr *server, uint32_t i, enum kind kind)
{
    struct qs_open_opts o;
    qs_open_opts_init(&o);
    uint32_t n_own = settings.client.n_addresses - (settings.adversary.n_conns > 0);
    if (settings.client.n_addresses > 1) /* there are 65,535 ports */
        o.local = own_address(i % n_own);
    o.remote = *server;
    o.remote_port = (uint16_t)settings.port[kind];
    o.prio = (uint8_t)settings.prio[kind];
    o.user = i;
    o.messages = load.messages;
    load.conns[i] =
        (struct connection){.of = {{NONE, NONE, 0}, {NONE, NONE, 0}}, .kind = (uint8_t)kind};
    load.conns[i].conn = client_connect(&load.client, &o);
}

static void open_adversary(const qs_addr *server)
{
    struct adversary_opts *o = &settings.adversary;
    if (!o->n_conns)
        return;
    o->local = own_address(settings.client.n_addresses - 1);
    o->remote = *server;
    o->messages = load.messages;
    o->first_user = load.n_conns;
    adversary_open(&load.client, o);
}

static void connect_all(void)
{
    struct qs_diag diag = {""};
    struct qs_iface_addr server;
    if (qs_cidr_parse(&server, settings.server, &diag) != 0)
        die(settings.server, diag.text);
    uint64_t give_up = qs_clock_now().ns + CONNECT_LIMIT.ns;
    uint32_t n = 0;
    open_adversary(&server.addr);
    while (load.n_open < load.n_conns || !adversary_is_open()) {
        for (; n < load.n_conns && n - load.n_open < CONNECTING_MAX; n++)
            open_one(&server.addr, n, n < settings.conns[LOW] ? LOW : HIGH);
        (void)client_turn(&load.client);
        if (qs_clock_now().ns > give_up)
            die("the server", "did not accept all connections");
    }
}

/* ---- time ---- */

/* splitmix64 */
static uint64_t random64(void)
{
    uint64_t z = (load.random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t next_gap_ns(const struct class *k)
{
    double uniform = ((double)(random64() >> 11) + 1) / 9007199254740993.0; /* (0, 1) */
    return (uint64_t)(-log(uniform) * k->gap_ns);
}

static void offer_due(struct class *k, uint64_t now_ns)
{
    uint64_t until_ns = now_ns < load.end_ns ? now_ns : load.end_ns - 1;
    for (uint32_t i = 0; i < OFFERS_PER_TURN && k->due_ns <= until_ns; i++) {
        struct connection *c = &load.conns[k->first_conn + k->next_conn];
        if (k->due_ns >= load.count_from_ns && now_ns - k->due_ns > k->late_ns)
            k->late_ns = now_ns - k->due_ns;
        offer(c, (enum kind)(k - load.of), k->due_ns);
        k->next_conn = (k->next_conn + 1) % k->n_conns;
        k->due_ns += next_gap_ns(k);
    }
}

static void set_rates(uint64_t start_ns)
{
    const double part[KINDS] = {1 - settings.urgent_percent / 100, settings.urgent_percent / 100};
    for (int k = 0; k < KINDS; k++) {
        double rate = load.of[k].n_conns ? settings.rate * part[k] : 0;
        load.of[k].gap_ns = rate > 0 ? 1e9 / rate : 0;
        load.of[k].due_ns = rate > 0 ? start_ns + next_gap_ns(&load.of[k]) : UINT64_MAX;
    }
}

static void run(void)
{
    uint64_t start = qs_clock_now().ns;
    load.count_from_ns = start + (uint64_t)(settings.warm_up * 1e9);
    load.end_ns = load.count_from_ns + (uint64_t)(settings.seconds * 1e9);
    load.closed_loop = settings.rate <= 0;
    set_rates(start);
    adversary_begin(start);
    for (uint32_t i = 0; load.closed_loop && i < load.n_conns; i++)
        for (uint32_t w = 0; w < settings.window; w++)
            offer(&load.conns[i], load.conns[i].kind, start);
    for (uint64_t now = start; now < load.end_ns; now = qs_clock_now().ns) {
        offer_due(&load.of[HIGH], now);
        offer_due(&load.of[LOW], now);
        adversary_ask(now);
        (void)client_turn(&load.client);
    }
    while (load.of[HIGH].due_ns < load.end_ns || load.of[LOW].due_ns < load.end_ns) {
        uint64_t now = qs_clock_now().ns; /* they were due while this did not run */
        offer_due(&load.of[HIGH], now);
        offer_due(&load.of[LOW], now);
        (void)client_turn(&load.client);
    }
    uint64_t give_up = load.end_ns + (uint64_t)(settings.patience * 1e9);
    while (load.under_way > 0 && qs_clock_now().ns < give_up)
        (void)client_turn(&load.client);
}

/* ---- figures ---- */

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile_us(const struct class *k, double part)
{
    return k->counted
               ? (double)k->samples[(uint64_t)((double)(k->counted - 1) * part)] * TICK_NS / 1e3
               : 0;
}

/* Requests that were never answered have waited until now. */
static void keep_unanswered(void)
{
    uint64_t now = qs_clock_now().ns;
    for (uint32_t i = 0; i < KINDS * load.n_conns; i++)
        for (uint32_t r = load.conns[i / KINDS].of[i % KINDS].first; r != NONE;
             r = load.requests[r].next)
            if (load.requests[r].due_ns >= load.count_from_ns)
                keep(&load.of[i % KINDS], now - load.requests[r].due_ns);
}

static void print_class(const char *name, struct class *k)
{
    qsort(k->samples, k->counted, sizeof *k->samples, by_size);
    printf("\"%s\": {\"connections\": %u, \"offered\": %" PRIu64 ", \"answered\": %" PRIu64
           ", \"answered_per_second\": %.0f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, "
           "\"p999_us\": %.1f, \"max_us\": %.1f, \"offer_late_max_us\": %.1f}",
           name, k->n_conns, k->offered, k->answered,
           (double)k->answered_in_time / settings.seconds, percentile_us(k, 0.5),
           percentile_us(k, 0.9), percentile_us(k, 0.99), percentile_us(k, 0.999),
           percentile_us(k, 1), (double)k->late_ns / 1e3);
}

static void print_figures(void)
{
    keep_unanswered();
    uint64_t counters[QS_N_COUNTERS];
    (void)qs_engine_counters(load.client.e, counters, QS_N_COUNTERS);
    printf("{\"seconds\": %g, \"seed\": %" PRIu64 ", \"retransmits\": %" PRIu64
           ", \"rto_expiries\": %" PRIu64 ", \"window_probes\": %" PRIu64 ", ",
           settings.seconds, settings.seed, counters[QS_COUNT_RETRANSMITS],
           counters[QS_COUNT_RTO_EXPIRIES], counters[QS_COUNT_WINDOW_PROBES]);
    print_class("default", &load.of[LOW]);
    printf(", ");
    print_class("urgent", &load.of[HIGH]);
    printf(", \"adversary\": ");
    adversary_print();
    printf("}\n");
}

/* ---- command line ---- */

enum {
    OPT_LOW_PORT = 256,
    OPT_HIGH_PORT,
    OPT_LOW_CONNS,
    OPT_HIGH_CONNS,
    OPT_MESSAGES,
    OPT_FLAT,
    OPT_ADVERSARY_CONNS,
    OPT_ADVERSARY_PORT,
    OPT_ADVERSARY_RATE,
    OPT_ADVERSARY_MARK,
    OPT_ADVERSARY_DEAF,
};

static const struct argp_option options[] = {
    {"driver", 'd', "NAME", 0, "pair (default) or xsk", 0},
    {"device", 'i', "NAME", 0, "device, or name of the wire", 0},
    {"address", 'a', "CIDR", 0, "own address, up to 8 times; xsk: the device's", 0},
    {"server", 's', "ADDRESS", 0, "whom to ask", 0},
    {"low-port", OPT_LOW_PORT, "PORT", 0, "for the default class", 0},
    {"high-port", OPT_HIGH_PORT, "PORT", 0, "for the urgent class", 0},
    {"low-conns", OPT_LOW_CONNS, "N", 0, "connections of the default class", 0},
    {"high-conns", OPT_HIGH_CONNS, "N", 0, "of the urgent class", 0},
    {"messages", OPT_MESSAGES, NULL, 0, "both classes on each connection of --low-conns", 0},
    {"flat", OPT_FLAT, NULL, 0, "no priority on this side either", 0},
    {"adversary-conns", OPT_ADVERSARY_CONNS, "N", 0, "of the adversary, from the last address", 0},
    {"adversary-port", OPT_ADVERSARY_PORT, "PORT", 0, "whom it asks", 0},
    {"adversary-rate", OPT_ADVERSARY_RATE, "PER_SECOND", 0, "how often", 0},
    {"adversary-mark", OPT_ADVERSARY_MARK, "N", 0, "of its requests; 1: urgent, 2: poison", 0},
    {"adversary-deaf", OPT_ADVERSARY_DEAF, NULL, 0, "it does not read the answers", 0},
    {"rate", 'r', "PER_SECOND", 0, "requests of both classes; 0: closed loop", 0},
    {"urgent-percent", 'u', "PERCENT", 0, "of the requests", 0},
    {"window", 'w', "N", 0, "closed loop: requests under way on a connection", 0},
    {"seconds", 't', "SECONDS", 0, "that count", 0},
    {"warm-up", 'W', "SECONDS", 0, "before them", 0},
    {"patience", 'P', "SECONDS", 0, "with the last answers", 0},
    {"seed", 'S', "N", 0, "of the times", 0},
    {0},
};

static double real(const char *arg, struct argp_state *state, double least, double most)
{
    char *end;
    double x = strtod(arg, &end);
    if (*end || end == arg || !(x >= least && x <= most))
        argp_error(state, "%s is not a number from %g to %g", arg, least, most);
    return x;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct settings *x = &settings;
    switch (key) {
    case 'd':
        x->client.driver = arg;
        if (strcmp(arg, "pair") != 0 && strcmp(arg, "xsk") != 0)
            argp_error(state, "there is no driver %s here", arg);
        return 0;
    case 'i':
        x->client.device = arg;
        return 0;
    case 'a':
        if (x->client.n_addresses == ADDRESSES_MAX)
            argp_error(state, "more than %u addresses", ADDRESSES_MAX);
        x->addresses[x->client.n_addresses++] = arg;
        return 0;
    case 's':
        x->server = arg;
        return 0;
    case OPT_LOW_PORT:
    case OPT_HIGH_PORT:
        x->port[key == OPT_HIGH_PORT] = (uint32_t)real(arg, state, 1, 65535);
        return 0;
    case OPT_LOW_CONNS:
    case OPT_HIGH_CONNS:
        x->conns[key == OPT_HIGH_CONNS] = (uint32_t)real(arg, state, 0, 1e6);
        return 0;
    case OPT_MESSAGES:
        x->messages = true;
        return 0;
    case OPT_FLAT:
        x->prio[HIGH] = 0;
        return 0;
    case OPT_ADVERSARY_CONNS:
        x->adversary.n_conns = (uint32_t)real(arg, state, 0, 1e5);
        return 0;
    case OPT_ADVERSARY_PORT:
        x->adversary.port = (uint32_t)real(arg, state, 1, 65535);
        return 0;
    case OPT_ADVERSARY_RATE:
        x->adversary.rate = real(arg, state, 0, 1e8);
        return 0;
    case OPT_ADVERSARY_MARK:
        x->adversary.mark = (uint32_t)real(arg, state, 0, 255);
        return 0;
    case OPT_ADVERSARY_DEAF:
        x->adversary.deaf = true;
        return 0;
    case 'r':
        x->rate = real(arg, state, 0, 1e8);
        return 0;
    case 'u':
        x->urgent_percent = real(arg, state, 0, 100);
        return 0;
    case 'w':
        x->window = (uint32_t)real(arg, state, 1, 1e4);
        return 0;
    case 't':
        x->seconds = real(arg, state, 0.001, 3600);
        return 0;
    case 'W':
        x->warm_up = real(arg, state, 0, 3600);
        return 0;
    case 'P':
        x->patience = real(arg, state, 0, 3600);
        return 0;
    case 'S':
        x->seed = strtoull(arg, NULL, 0);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void *memory(size_t bytes)
{
    void *p = malloc(bytes);
    if (!p)
        die("memory", "there is not enough");
    return p;
}

static void prepare_messages(void)
{
    struct qs_framing_opts f = message_framing();
    struct qs_match match = message_match(settings.prio[HIGH]);
    struct qs_classifier_opts k;
    qs_classifier_opts_init(&k);
    k.matches = &match;
    k.n_matches = 1;
    int number = qs_engine_messages(load.client.e, &f, settings.prio[HIGH] ? &k : NULL);
    if (number < 0)
        die("messages", qs_strerror(number));
    load.messages = (uint8_t)number;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse, NULL, "Requests of two classes, open loop.",
                                     NULL,    NULL,  NULL};
    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    if (settings.messages)
        settings.conns[HIGH] = 0;
    load.n_conns = settings.conns[LOW] + settings.conns[HIGH];
    if (load.n_conns == 0)
        die("connections", "there are none");
    settings.client.addresses = settings.addresses;
    if (settings.adversary.n_conns && settings.client.n_addresses < 2)
        die("the adversary", "needs an address of its own: give two or more");
    settings.client.conns_max = load.n_conns + settings.adversary.n_conns;
    load.random = settings.seed;
    load.free_request = NONE;
    load.requests = memory(REQUESTS_MAX * sizeof *load.requests);
    load.conns = memory(load.n_conns * sizeof *load.conns);
    for (int k = 0; k < KINDS; k++) {
        load.of[k].samples = memory(SAMPLES_MAX * sizeof *load.of[k].samples);
        load.of[k].n_conns = settings.messages ? load.n_conns : settings.conns[k];
        load.of[k].first_conn = k == HIGH && !settings.messages ? settings.conns[LOW] : 0;
    }
    load.client.on_event = on_event;
    client_open(&load.client, &settings.client);
    if (settings.messages)
        prepare_messages();
    connect_all();
    run();
    print_figures();
    client_close(&load.client);
    return 0;
}
