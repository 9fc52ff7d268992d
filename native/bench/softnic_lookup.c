/* SPDX-License-Identifier: Apache-2.0 */
/* Nanoseconds for one lookup of the software NIC, in C and in each BPF program (parse, rules, hash,
 * table, counters), with 0, 1 and 1,024 rules of one mask and with 16 masks. One JSON document on
 * standard output. */
#include "io/softnic_lookup.h"
#include "io/softnic.h"
#include "io/steer.h"

#include <bpf/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_FRAMES 1024u
#define FRAME_BYTES 64u
#define ROUNDS 5

static uint8_t frames[N_FRAMES][FRAME_BYTES];

static const struct {
    const char *name;
    uint32_t n_rules, n_masks;
} loads[] = {{"0_rules", 0, 1},
             {"1_rule", 1, 1},
             {"1024_rules", 1024, 1},
             {"1024_rules_16_masks", 1024, 16}};

/* TCP from 10.0.x.x to 10.0.0.1 port 80. */
static void build_frames(void)
{
    for (uint32_t i = 0; i < N_FRAMES; i++) {
        uint8_t *f = frames[i], *ip = f + 14;
        f[12] = 0x08;
        ip[0] = 0x45;
        ip[3] = 50;
        ip[8] = 64;
        ip[9] = 6;
        ip[12] = ip[16] = 10;
        ip[14] = (uint8_t)(i >> 8);
        ip[15] = (uint8_t)i;
        ip[19] = 1;
        ip[20] = (uint8_t)(0x40 + (i >> 8));
        ip[21] = (uint8_t)i;
        ip[23] = 80;
    }
}

/* Rules on destination ports, the last of them 80: the one that all frames match. */
static void load_rules(struct qs_softnic *nic, uint32_t n_rules, uint32_t n_masks)
{
    for (uint32_t i = 0; i < n_rules; i++) {
        uint32_t port = i + 1 == n_rules ? 80 : 10000 + i;
        struct qs_softnic_rule rule = {
            .value = {.family = 4, .proto = 6},
            .mask = {.family = 0xff, .proto = 0xff, .dport = {0xff, 0xff}},
            .location = i,
            .queue = i % nic->n_queues};
        rule.value.dport[0] = (uint8_t)(port >> 8);
        rule.value.dport[1] = (uint8_t)port;
        rule.mask.tos = (uint8_t)(i % n_masks);
        if (qs_softnic_rule_insert(nic, &rule) != 0)
            abort();
    }
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double time_c(struct qs_softnic *nic)
{
    enum { TURNS = 500 };
    double from = now_ns();
    for (int turn = 0; turn < TURNS; turn++) {
        for (uint32_t i = 0; i < N_FRAMES; i++) {
            struct qs_softnic_verdict verdict;
            qs_softnic_receive(nic, frames[i], FRAME_BYTES, &verdict);
            qs_softnic_count_queue(nic, verdict.queue, 1, FRAME_BYTES);
        }
    }
    return (now_ns() - from) / (TURNS * (double)N_FRAMES);
}

/* A socket filter's test run begins 14 bytes into the data. */
static double time_bpf(int fd, bool is_tap)
{
    uint8_t data[14 + FRAME_BYTES] = {0};
    memcpy(data + (is_tap ? 14 : 0), frames[0], FRAME_BYTES);
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = data,
                .data_size_in = FRAME_BYTES + (is_tap ? 14u : 0u), .repeat = 300000);
    if (bpf_prog_test_run_opts(fd, &opts) != 0)
        return -1;
    return opts.duration;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, by_value);
    return values[ROUNDS / 2];
}

static void print_row(const char *name, const double *ns, bool is_last)
{
    printf("  \"%s\": {", name);
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++)
        printf("%s\"%s\": %.1f", i ? ", " : "", loads[i].name, ns[i]);
    printf("}%s\n", is_last ? "" : ",");
}

static void bench_c(double *ns)
{
    struct qs_softnic *nic = aligned_alloc(64, sizeof *nic);
    for (size_t l = 0; nic && l < sizeof loads / sizeof loads[0]; l++) {
        double rounds[ROUNDS];
        qs_softnic_init(nic, 8);
        load_rules(nic, loads[l].n_rules, loads[l].n_masks);
        for (int i = 0; i < ROUNDS; i++)
            rounds[i] = time_c(nic);
        ns[l] = median(rounds);
    }
    free(nic);
}

static bool bench_bpf(enum qs_steer_kind kind, double *ns)
{
    struct qs_steer *s;
    struct qs_diag diag;
    qs_addr any = {{0}};
    if (qs_steer_open(&s, kind, 8, &diag) != 0 ||
        (kind == QS_STEER_XDP_SOFT && qs_steer_claim(s, &any, 80, &diag) != 0)) {
        fprintf(stderr, "left out: %s\n", diag.text);
        return false;
    }
    for (size_t l = 0; l < sizeof loads / sizeof loads[0]; l++) {
        double rounds[ROUNDS];
        qs_softnic_init(qs_steer_softnic(s), 8);
        load_rules(qs_steer_softnic(s), loads[l].n_rules, loads[l].n_masks);
        for (int i = 0; i < ROUNDS; i++)
            rounds[i] = time_bpf(qs_steer_prog_fd(s), kind == QS_STEER_TAP);
        ns[l] = median(rounds);
    }
    qs_steer_close(s);
    return true;
}

int main(void)
{
    double c[4] = {0}, tap[4], xdp[4];
    build_frames();
    bench_c(c);
    bool with_tap = bench_bpf(QS_STEER_TAP, tap), with_xdp = bench_bpf(QS_STEER_XDP_SOFT, xdp);
    printf("{\"ns_per_lookup\": {\n");
    print_row("c", c, !with_tap && !with_xdp);
    if (with_tap)
        print_row("bpf_tap", tap, !with_xdp);
    if (with_xdp)
        print_row("bpf_xdp", xdp, true);
    printf("}}\n");
    return 0;
}
