/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a driver without an engine, for tests and as the floor of benchmarks.
 *
 *   echo     answers ARP and ND, sends TCP and UDP frames back where they came from
 *   bridge   carries every frame between two devices, the second in another network namespace
 *
 * Prints one JSON document when it is ready and one with counters at SIGTERM or SIGINT. When the
 * device cannot be opened: {"error": code, "text": words} and exit status 1. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "drv_packet.h"
#include "io/driver.h"
#include "io/softnic_lookup.h"

enum { BURST = 64, QUEUES = 64, CLAIMS = 8, POLL_IDLE_NS = 50000, SLEEP_MS = 100 };

struct queue_counts {
    uint64_t rx, rx_bytes, tx, answers, csum_proven, csum_bad, gso, len_max, wrong_queue, no_room;
};

struct settings {
    const struct qs_driver_ops *ops;
    struct qs_driver_opts device;
    const char *bridge_if, *bridge_ns;
    uint32_t n_workers;
    bool sleep, rewrite_checksum;
    struct drv_self self;
    uint16_t claims[CLAIMS];
    size_t n_claims;
};

static struct settings cfg = {.device = {.n_queues = 1}, .n_workers = 1};
static struct qs_driver *device, *other;
static struct queue_counts counts[QUEUES];
static uint64_t busy_ns[QUEUES], sleeps[QUEUES];
static volatile bool stop;

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- frames ----------------------------------------------------------------------------------- */

static void count_received(struct queue_counts *c, uint32_t queue, const struct qs_frame *f,
                           const struct drv_l4 *l4)
{
    c->rx++;
    c->rx_bytes += f->len;
    c->gso += f->gso_bytes != 0;
    if (f->len > c->len_max)
        c->len_max = f->len;
    if (!l4->offset)
        return;
    if (f->flags & QS_FRAME_CSUM_OK)
        c->csum_proven++;
    else
        c->csum_bad += !drv_checksum_ok(f->data, l4);
    if (device->softnic) {
        struct qs_softnic_source from = {f->data, f->len};
        struct qs_softnic_key key;
        struct qs_softnic_verdict verdict;
        (void)qs_softnic_parse(&from, &key);
        c->wrong_queue += qs_softnic_decide(device->softnic, &key, &verdict) != queue;
    }
}

/* Makes the answer to `in` in `out`; false when there is none. */
static bool echo(struct queue_counts *c, const struct qs_frame *in, const struct drv_l4 *l4,
                 struct qs_frame *out)
{
    if (!l4->offset) {
        bool answered = !device->caps.told_neighbours && drv_answer_neighbour(&cfg.self, in, out);
        c->answers += answered;
        return answered;
    }
    if (in->len > out->room) {
        c->no_room++;
        return false;
    }
    memcpy(out->data, in->data, in->len);
    out->len = in->len;
    drv_turn_round(out->data, l4);
    /* What a proven frame carries may be the pseudo header's sum only. */
    if ((in->flags & QS_FRAME_CSUM_OK) || cfg.rewrite_checksum)
        drv_put_checksum(out, l4, (device->caps.offloads & QS_OFFLOAD_TX_CSUM) != 0);
    return true;
}

static bool carry(struct qs_driver *to, struct queue_counts *c, const struct qs_frame *in,
                  const struct drv_l4 *l4, struct qs_frame *out)
{
    if (in->len > out->room) {
        c->no_room++;
        return false;
    }
    memcpy(out->data, in->data, in->len);
    out->len = in->len;
    if (l4->offset && (in->flags & QS_FRAME_CSUM_OK))
        drv_put_checksum(out, l4, (to->caps.offloads & QS_OFFLOAD_TX_CSUM) != 0);
    if (in->gso_bytes) {
        out->flags |= QS_FRAME_GSO;
        out->gso_bytes = in->gso_bytes;
    }
    return true;
}

/* One turn: what `from` received goes out at `to`. Returns frames received. */
static size_t turn(struct qs_driver *from, struct qs_driver *to, uint32_t queue)
{
    struct queue_counts *c = &counts[queue];
    struct qs_frame in[BURST], out[BURST];
    size_t n = from->ops->rx(from, queue, in, BURST), used = 0;
    if (!n)
        return 0;
    size_t lent = to->ops->tx_reserve(to, queue, out, n);
    for (size_t i = 0; i < n; i++) {
        struct drv_l4 l4;
        drv_find_l4(in[i].data, in[i].len, &l4);
        count_received(c, queue, &in[i], &l4);
        if (used == lent) {
            c->no_room++;
            continue;
        }
        used += other ? carry(to, c, &in[i], &l4, &out[used]) : echo(c, &in[i], &l4, &out[used]);
    }
    to->ops->tx_commit(to, queue, out, lent, used);
    from->ops->rx_done(from, queue, in, n);
    c->tx += used;
    return n;
}

static void wait_for_frames(uint32_t worker)
{
    struct pollfd fds[QUEUES];
    nfds_t n = 0;
    for (uint32_t q = worker; q < cfg.device.n_queues; q += cfg.n_workers) {
        if (device->ops->arm(device, q))
            return;
        fds[n++] = (struct pollfd){.fd = device->ops->fd(device, q), .events = POLLIN};
    }
    sleeps[worker]++;
    (void)poll(fds, n, SLEEP_MS);
}

static void *run_worker(void *arg)
{
    uint32_t worker = (uint32_t)(uintptr_t)arg;
    uint64_t idle_since = now_ns(CLOCK_MONOTONIC);
    while (!stop) {
        uint64_t start = now_ns(CLOCK_MONOTONIC);
        size_t moved = 0;
        for (uint32_t q = worker; q < cfg.device.n_queues; q += cfg.n_workers) {
            moved += turn(device, other ? other : device, q);
            moved += other ? turn(other, device, q) : 0;
        }
        uint64_t end = now_ns(CLOCK_MONOTONIC);
        if (moved) {
            busy_ns[worker] += end - start;
            idle_since = end;
        } else if (cfg.sleep && end - idle_since > POLL_IDLE_NS) {
            wait_for_frames(worker);
        } else {
            sched_yield();
        }
    }
    return NULL;
}

/* --- start and end ---------------------------------------------------------------------------- */

static void die(const char *what, const char *on)
{
    fprintf(stderr, "drv_echo: %s %s\n", what, on);
    exit(2);
}

static void fail(qs_err err, const struct qs_diag *diag)
{
    printf("{\"error\": %d, \"text\": \"", err);
    for (const char *p = diag->text; *p; p++)
        printf(*p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
    printf("\"}\n");
    exit(1);
}

static void parse_addr(int family, const char *text, void *to)
{
    if (inet_pton(family, text, to) != 1)
        die("not an address:", text);
}

static void parse_option(int option)
{
    switch (option) {
    case 'd':
        cfg.ops = strcmp(optarg, "tap") == 0   ? &qs_driver_tap
                  : strcmp(optarg, "xsk") == 0 ? &qs_driver_xsk
                                               : NULL;
        break;
    case 'i':
        cfg.device.ifname = optarg;
        break;
    case 'q':
        cfg.device.n_queues = (uint32_t)strtoul(optarg, NULL, 10);
        break;
    case 'w':
        cfg.n_workers = (uint32_t)strtoul(optarg, NULL, 10);
        break;
    case 'm':
        cfg.device.mtu = (uint32_t)strtoul(optarg, NULL, 10);
        break;
    case '4':
        cfg.device.host_addr4 = optarg;
        break;
    case '6':
        cfg.device.host_addr6 = optarg;
        break;
    case 'a':
        parse_addr(AF_INET, optarg, cfg.self.addr4);
        break;
    case 'b':
        parse_addr(AF_INET6, optarg, cfg.self.addr6);
        break;
    case 'c':
        if (cfg.n_claims < CLAIMS)
            cfg.claims[cfg.n_claims++] = (uint16_t)strtoul(optarg, NULL, 10);
        break;
    case 'n':
        cfg.device.no_offload = true;
        break;
    case 's':
        cfg.sleep = true;
        break;
    case 'r':
        cfg.rewrite_checksum = true;
        break;
    case 'B':
        cfg.bridge_if = optarg;
        break;
    case 'N':
        cfg.bridge_ns = optarg;
        break;
    default:
        exit(2);
    }
}

static void parse_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"driver", required_argument, NULL, 'd'},     {"ifname", required_argument, NULL, 'i'},
        {"queues", required_argument, NULL, 'q'},     {"workers", required_argument, NULL, 'w'},
        {"mtu", required_argument, NULL, 'm'},        {"host4", required_argument, NULL, '4'},
        {"host6", required_argument, NULL, '6'},      {"addr4", required_argument, NULL, 'a'},
        {"addr6", required_argument, NULL, 'b'},      {"claim", required_argument, NULL, 'c'},
        {"no-offload", no_argument, NULL, 'n'},       {"sleep", no_argument, NULL, 's'},
        {"bridge-if", required_argument, NULL, 'B'},  {"bridge-ns", required_argument, NULL, 'N'},
        {"rewrite-checksum", no_argument, NULL, 'r'}, {0},
    };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        parse_option(option);
    if (!cfg.ops || !cfg.device.ifname)
        die("needed:", "--driver tap|xsk --ifname NAME");
    if (!cfg.n_workers || cfg.n_workers > QUEUES)
        die("workers:", "1 to 64");
}

static void open_devices(void)
{
    struct qs_diag diag = {{0}};
    qs_err err = cfg.ops->open(&device, &cfg.device, &diag);
    if (err)
        fail(err, &diag);
    memcpy(cfg.self.mac, device->caps.mac, sizeof cfg.self.mac);
    const qs_addr any = {{0}};
    for (size_t i = 0; i < cfg.n_claims && !err; i++)
        err = device->ops->claim(device, &any, cfg.claims[i], &diag);
    if (!err && cfg.bridge_if) {
        int ns = open(cfg.bridge_ns, O_RDONLY | O_CLOEXEC);
        if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
            die("cannot enter", cfg.bridge_ns);
        close(ns);
        struct qs_driver_opts second = cfg.device;
        second.ifname = cfg.bridge_if;
        err = cfg.ops->open(&other, &second, &diag);
    }
    if (err)
        fail(err, &diag);
}

static void print_ready(void)
{
    const struct qs_driver_caps *caps = &device->caps;
    printf("{\"ready\": true, \"mode\": \"%s\", \"queues\": %u, \"mtu\": %u, \"offloads\": %u, "
           "\"gso_max_bytes\": %u, \"soft_nic\": %s, \"mac\": \"%02x:%02x:%02x:%02x:%02x:%02x\"}\n",
           caps->mode, caps->n_queues, caps->mtu, caps->offloads, caps->gso_max_bytes,
           device->softnic ? "true" : "false", caps->mac[0], caps->mac[1], caps->mac[2],
           caps->mac[3], caps->mac[4], caps->mac[5]);
    fflush(stdout);
}

static void print_queue(uint32_t queue)
{
    const struct queue_counts *c = &counts[queue];
    struct qs_driver_stats s = {0};
    device->ops->stats(device, queue, &s);
#define ITEM(name) "\"" #name "\": %" PRIu64 ", "
    printf("%s{" ITEM(rx) ITEM(rx_bytes) ITEM(tx) ITEM(answers) ITEM(csum_proven) ITEM(csum_bad)
               ITEM(gso) ITEM(len_max) ITEM(wrong_queue) ITEM(no_room) ITEM(rx_bad) ITEM(rx_lost)
                   ITEM(tx_lost) "\"kicks\": %" PRIu64 "}",
           queue ? ", " : "", c->rx, c->rx_bytes, c->tx, c->answers, c->csum_proven, c->csum_bad,
           c->gso, c->len_max, c->wrong_queue, c->no_room, s.rx_bad, s.rx_lost, s.tx_lost, s.kicks);
#undef ITEM
}

static void print_counts(void)
{
    uint64_t rx = 0, busy = 0, slept = 0;
    for (uint32_t i = 0; i < QUEUES; i++) {
        rx += counts[i].rx;
        busy += busy_ns[i];
        slept += sleeps[i];
    }
    printf("{\"rx\": %" PRIu64 ", \"busy_ns_per_frame\": %.1f, \"cpu_ns\": %" PRIu64
           ", \"sleeps\": %" PRIu64 ", \"queues\": [",
           rx, rx ? (double)busy / (double)rx : 0.0, now_ns(CLOCK_PROCESS_CPUTIME_ID), slept);
    for (uint32_t q = 0; q < cfg.device.n_queues; q++)
        print_queue(q);
    printf("]}\n");
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    open_devices();
    print_ready();
    pthread_t threads[QUEUES];
    for (uint32_t w = 0; w < cfg.n_workers; w++)
        if (pthread_create(&threads[w], NULL, run_worker, (void *)(uintptr_t)w) != 0)
            die("no thread", "");
    int signal_number;
    sigwait(&ends, &signal_number);
    stop = true;
    for (uint32_t w = 0; w < cfg.n_workers; w++)
        pthread_join(threads[w], NULL);
    print_counts();
    if (other)
        other->ops->close(other);
    device->ops->close(device);
    return 0;
}
