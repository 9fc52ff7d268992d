/* SPDX-License-Identifier: Apache-2.0 */
/* qs-priority-server: answers 146 octets to each 200 on two ports, on QStack, inline on the
 * workers.
 *
 *     qs-priority-server --driver pair --device WIRE --address 10.9.0.2/24 --high-class 7
 *
 * With --messages connections to the low port have messages, each of which names its class. With
 * --apps handlers run on threads of their own, one for each port.
 * Prints a line when it is ready. Ends with SIGTERM; prints the counters of both classes then, as
 * JSON. */
#include <argp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "priority.h"
#include "priority_apps.h"
#include "priority_poison.h"
#include "qstack/qs_class.h"
#include "qstack/qs_residency.h"
#include "qstack/qs_stack.h"
#include "qstack/qs_stats.h"

static struct settings {
    qs_stack_opts stack;
    uint32_t low_port, high_port, high_class;
    uint32_t low_share_permille;
    uint64_t work_ns, sleep_ns, source_rate;
    qs_classify_fn classifier;
    int messages_number; /* of qs_stack_messages(), or 0 */
    bool messages, apps;
} settings = {.low_port = 7000, .high_port = 7007, .high_class = 7, .work_ns = 1000};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "qs-priority-server: %s: %s\n", what, why);
    exit(1);
}

/* One request for each event, so that a connection with many waits for the others. */
static void answer(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    static const uint8_t reply[REPLY_BYTES];
    uint8_t request[REQUEST_BYTES];
    if (ev->flags & QS_EVENT_CLOSED)
        return;
    if (ev->flags & QS_EVENT_EOF) {
        (void)qs_conn_close(e, ev->conn);
        return;
    }
    struct qs_conn_info info;
    if (qs_conn_info(e, ev->conn, &info) != 0 || info.readable_bytes < REQUEST_BYTES)
        return;
    if (info.writable_bytes < REPLY_BYTES) { /* its peer does not read: it waits */
        (void)!qs_conn_want_write(e, ev->conn);
        return;
    }
    work_for(settings.work_ns);
    int64_t n = qs_conn_write(e, ev->conn, reply, sizeof reply);
    if (n == QS_ERR_AGAIN) /* no memory: the request waits for QS_EVENT_WRITABLE */
        return;
    (void)!qs_conn_read(e, ev->conn, request, sizeof request);
    if (n != sizeof reply)
        (void)qs_conn_abort(e, ev->conn); /* memory for a part of it */
    else if (info.readable_bytes >= 2 * REQUEST_BYTES)
        (void)!qs_conn_want_read(e, ev->conn);
}

/* One message of the event's class. */
static void answer_message(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    struct qs_message m;
    uint8_t reply[REPLY_BYTES] = {0};
    if (ev->flags & QS_EVENT_CLOSED)
        return;
    if (ev->flags & QS_EVENT_EOF) {
        (void)qs_conn_close(e, ev->conn);
        return;
    }
    uint32_t prio = ev->flags & QS_EVENT_WRITABLE ? 0 : ev->prio; /* what was put off comes back */
    struct qs_span mark;
    if (qs_conn_message(e, ev->conn, prio, &m) != 1 ||
        qs_conn_message_peek(e, ev->conn, &m, MARK_AT, &mark, 1) != 1)
        return;
    write_head(reply, sizeof reply, mark.data[0]);
    work_for(settings.work_ns);
    qs_err err = qs_conn_send(e, ev->conn, m.prio, reply, sizeof reply);
    if (err == QS_ERR_AGAIN) /* its peer does not read: the message waits for QS_EVENT_WRITABLE */
        return;
    if (err != 0)
        (void)qs_conn_abort(e, ev->conn);
    else
        (void)!qs_conn_message_done(e, ev->conn, &m);
}

static void listen_for_messages(qs_stack *s)
{
    struct qs_diag diag = {""};
    struct qs_framing_opts f = message_framing();
    struct qs_match match = message_match(settings.high_class);
    struct qs_classifier_opts k;
    qs_classifier_opts_init(&k);
    k.matches = &match;
    k.n_matches = 1;
    k.fn = settings.classifier;
    int number = qs_stack_messages(s, &f, settings.high_class ? &k : NULL, &diag);
    if (number < 0)
        die("messages", diag.text);
    settings.messages_number = number;
    struct qs_stack_listen l;
    qs_stack_listen_init(&l);
    l.l.port = (uint16_t)settings.low_port;
    l.l.messages = (uint8_t)number;
    l.inline_fn = answer_message;
    if (qs_stack_listen(s, &l, &diag) < 0)
        die("listening", diag.text);
}

static void listen_on(qs_stack *s, uint32_t port, uint32_t prio)
{
    struct qs_diag diag = {""};
    struct qs_stack_listen l;
    qs_stack_listen_init(&l);
    l.l.port = (uint16_t)port;
    l.l.prio = (uint8_t)prio;
    if (settings.apps)
        l.app = apps_add(s, &(struct apps_opts){settings.work_ns, settings.sleep_ns});
    else
        l.inline_fn = answer;
    if (qs_stack_listen(s, &l, &diag) < 0)
        die("listening", diag.text);
}

static void print_class(const qs_stack *s, uint32_t prio)
{
    uint64_t sum[QS_N_CLASS_COUNTERS] = {0}, one[QS_N_CLASS_COUNTERS];
    for (uint32_t q = 0; qs_stack_class_counters(s, q, prio, one, QS_N_CLASS_COUNTERS) > 0; q++)
        for (size_t i = 0; i < QS_N_CLASS_COUNTERS; i++)
            sum[i] += one[i];
    printf("\"%" PRIu32 "\": {", prio);
    for (size_t i = 0; i < QS_N_CLASS_COUNTERS; i++)
        printf("%s\"%s\": %" PRIu64, i ? ", " : "", qs_class_counter_name(i), sum[i]);
    printf("}");
}

static void print_counters(const qs_stack *s)
{
    uint64_t sum[QS_N_COUNTERS] = {0}, one[QS_N_COUNTERS];
    for (uint32_t q = 0; qs_stack_counters(s, q, one, QS_N_COUNTERS) > 0; q++)
        for (size_t i = 0; i < QS_N_COUNTERS; i++)
            sum[i] += one[i];
    printf("\"counters\": {");
    for (size_t i = 0; i < QS_N_COUNTERS; i++)
        printf("%s\"%s\": %" PRIu64, i ? ", " : "", qs_counter_name(i), sum[i]);
    printf("}, ");
}

static void print_classifier(const qs_stack *s)
{
    struct qs_function_stats f = {0};
    if (settings.messages_number)
        (void)!qs_stack_function_stats(s, settings.messages_number, true, &f); /* it is there */
    printf("\"classifier\": {\"overruns\": %" PRIu64 ", \"interrupted\": %" PRIu64
           ", \"set_aside\": %s}, ",
           f.overruns, f.interrupted, f.set_aside ? "true" : "false");
}

static uint64_t quantile_ns(const uint64_t *counts, double part)
{
    uint64_t all = 0, below = 0;
    size_t i = 0;
    for (i = 0; i < QS_RESIDENCY_BUCKETS; i++)
        all += counts[i];
    for (i = 0; all && i < QS_RESIDENCY_BUCKETS; i++)
        if ((double)(below += counts[i]) >= part * (double)all)
            return qs_residency_bound_ns(i + 1);
    return 0;
}

static void print_residency(const qs_stack *s, uint32_t prio)
{
    printf("\"%" PRIu32 "\": {", prio);
    for (uint32_t stage = 0; stage < QS_N_STAGES; stage++) {
        uint64_t counts[QS_RESIDENCY_BUCKETS];
        (void)qs_stack_residency(s, prio, (enum qs_stage)stage, counts, QS_RESIDENCY_BUCKETS);
        printf("%s\"%s\": {\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f}",
               stage ? ", " : "", qs_stage_name(stage), (double)quantile_ns(counts, 0.5) / 1e3,
               (double)quantile_ns(counts, 0.99) / 1e3, (double)quantile_ns(counts, 0.999) / 1e3);
    }
    printf("}");
}

static void print_figures(const qs_stack *s)
{
    struct qs_worker_stats w;
    uint32_t urgent = settings.high_class ? settings.high_class : QS_N_PRIO - 1;
    if (qs_stack_worker_stats(s, 0, &w) != 0)
        die("worker", "no figures");
    printf("{");
    print_counters(s);
    print_classifier(s);
    printf("\"classes\": {");
    print_class(s, 0);
    if (settings.high_class) {
        printf(", ");
        print_class(s, settings.high_class);
    }
    printf("}, \"residency\": {");
    print_residency(s, 0);
    if (settings.high_class) {
        printf(", ");
        print_residency(s, settings.high_class);
    }
    printf("}, \"worker\": {\"cpu_ns\": %" PRIu64 ", \"busy_ns\": %" PRIu64 ", \"polls\": %" PRIu64
           ", \"contended_ns\": {\"0\": %" PRIu64 ", \"%" PRIu32 "\": %" PRIu64 "}}}\n",
           w.cpu_ns, w.busy_ns, w.polls, w.contended_ns[0], urgent, w.contended_ns[urgent]);
}

static const struct argp_option options[] = {
    {"driver", 'd', "NAME", 0, "pair (default), tap or xsk", 0},
    {"device", 'i', "NAME", 0, "device, or name of the wire", 0},
    {"address", 'a', "CIDR", 0, "own address; xsk: the device's", 0},
    {"host-address", 'b', "CIDR", 0, "tap: of the kernel's side", 0},
    {"queues", 'q', "N", 0, "queues, all on one worker", 0},
    {"cpu", 'c', "N", 0, "of the worker", 0},
    {"conns", 'n', "N", 0, "most connections of a queue", 0},
    {"low-port", 'l', "PORT", 0, "of class 0", 0},
    {"high-port", 'h', "PORT", 0, "of the urgent class", 0},
    {"high-class", 'p', "CLASS", 0, "0 to 7; 0: no priority", 0},
    {"low-share", 's', "PERMILLE", 0, "least share of class 0", 0},
    {"work-ns", 'w', "NS", 0, "that an answer takes", 0},
    {"source-rate", 'r', "BYTES", 0, "a second that a source has of the urgent class; 0: no limit",
     0},
    {"classifier", 'k', "FAULT", 0, "with --messages: one that loops or crashes at poison", 0},
    {"apps", 't', NULL, 0, "handlers on threads, one for each port", 0},
    {"sleep-ms", 'z', "MS", 0, "with --apps: that an answer to poison takes", 0},
    {"messages", 'm', NULL, 0, "both classes on each connection, to the low port", 0},
    {0},
};

static uint32_t number(const char *arg, struct argp_state *state, uint32_t most)
{
    char *end;
    unsigned long n = strtoul(arg, &end, 10);
    if (*end || end == arg || n > most)
        argp_error(state, "%s is not a number from 0 to %u", arg, most);
    return (uint32_t)n;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct settings *x = &settings;
    switch (key) {
    case 'd':
        x->stack.driver = arg;
        return 0;
    case 'i':
        x->stack.ifname = arg;
        return 0;
    case 'a':
        x->stack.addr4 = arg;
        return 0;
    case 'b':
        x->stack.host_addr4 = arg;
        return 0;
    case 'q':
        x->stack.n_queues = number(arg, state, QS_N_QUEUES_MAX);
        return 0;
    case 'c':
        x->stack.first_cpu = (int32_t)number(arg, state, 4095);
        return 0;
    case 'n':
        x->stack.conns_max = number(arg, state, (1u << 24) - 1);
        return 0;
    case 'l':
        x->low_port = number(arg, state, 65535);
        return 0;
    case 'h':
        x->high_port = number(arg, state, 65535);
        return 0;
    case 'p':
        x->high_class = number(arg, state, QS_N_PRIO - 1);
        return 0;
    case 's':
        x->low_share_permille = number(arg, state, 930);
        return 0;
    case 'w':
        x->work_ns = number(arg, state, 1000000000);
        return 0;
    case 'r':
        x->source_rate = number(arg, state, UINT32_MAX);
        return 0;
    case 'k':
        x->classifier = strcmp(arg, "loops") == 0     ? classify_and_loop
                        : strcmp(arg, "crashes") == 0 ? classify_and_crash
                                                      : NULL;
        if (!x->classifier)
            argp_error(state, "there is no fault %s", arg);
        return 0;
    case 't':
        x->apps = true;
        return 0;
    case 'z':
        x->sleep_ns = QS_MS(number(arg, state, 3600000)).ns;
        return 0;
    case 'm':
        x->messages = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse, NULL, "Answers on two ports.",
                                     NULL,    NULL,  NULL};
    struct qs_diag diag = {""};
    qs_stack *s;
    sigset_t ends;
    int signal;
    qs_stack_opts_init(&settings.stack);
    settings.stack.poll_idle = QS_S(1000); /* never sleeps: a wake-up is not what is measured */
    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    settings.stack.chunks_max = settings.stack.conns_max + 65536;
    if (settings.high_class)
        settings.stack.source_bytes_per_second[settings.high_class] = settings.source_rate;
    if (settings.low_share_permille)
        settings.stack.min_share_permille[0] = (uint16_t)settings.low_share_permille;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    if (qs_stack_new(&s, &settings.stack, &diag) != 0)
        die("stack", diag.text);
    if (settings.messages) {
        listen_for_messages(s);
    } else {
        listen_on(s, settings.low_port, 0);
        listen_on(s, settings.high_port, settings.high_class);
    }
    if (qs_stack_start(s, &diag) != 0)
        die("stack", diag.text);
    apps_start();
    printf("ready\n");
    (void)fflush(stdout);
    (void)sigwait(&ends, &signal);
    apps_stop();
    qs_stack_stop(s);
    print_figures(s);
    apps_free();
    qs_stack_free(s);
    return 0;
}
