/* SPDX-License-Identifier: Apache-2.0 */
/* qs-bench-engine: what the stack alone costs, as one JSON document. How it is taken and what it
 * leaves out: docs/design/005-measuring.md. The Python package runs it as `qstack bench engine`. */
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cases.h"

#define N_CASES 3u
static const uint32_t case_conns[N_CASES] = {1, 1000, 100000};

struct settings {
    bool quick;        /* few requests: shows that it works, not what it costs */
    bool instructions; /* also count them */
    uint32_t count;    /* run one case for a profiler: connections */
    uint64_t requests; /* in that case */
    int cpu;           /* -1: as the kernel likes */
};

struct results {
    struct bench_round requests[N_CASES], connects, send[2], receive[2]; /* [1]: no checksums */
    struct bench_round flood[2];                                         /* SYN, ACK */
    double instructions[N_CASES];
    char why_not[256]; /* reason when instructions were not counted */
    struct bench_idle idle;
    double tsc_hz, tsc_overhead;
};

static void usage(FILE *f)
{
    fputs("usage: qs-bench-engine [--quick] [--instructions] [--cpu N]\n"
          "       qs-bench-engine --count CONNECTIONS [--requests N]\n"
          "Cycles of the TCP engine alone for a 64 B request and reply, as JSON.\n"
          "  --quick          a smoke run of a few seconds; its figures mean nothing\n"
          "  --instructions   count instructions too, by callgrind (about a minute)\n"
          "  --cpu N          stay on CPU N\n"
          "  --count N        only run requests on N connections, for a profiler\n"
          "  --requests N     how many with --count [10000]\n",
          f);
}

static uint64_t number(const char *option, const char *text, uint64_t max)
{
    char *end;
    unsigned long long v = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || v > max) {
        fprintf(stderr, "qs-bench-engine: --%s: \"%s\" is not a number from 0 to %llu\n", option,
                text, (unsigned long long)max);
        exit(2);
    }
    return v;
}

static struct settings parse(int argc, char **argv)
{
    static const struct option options[] = {{"quick", no_argument, NULL, 'q'},
                                            {"instructions", no_argument, NULL, 'i'},
                                            {"count", required_argument, NULL, 'n'},
                                            {"requests", required_argument, NULL, 'r'},
                                            {"cpu", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct settings s = {.requests = 10000, .cpu = -1};
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'q':
            s.quick = true;
            break;
        case 'i':
            s.instructions = true;
            break;
        case 'n':
            s.count = (uint32_t)number("count", optarg, 400000);
            break;
        case 'r':
            s.requests = number("requests", optarg, 1000000000u);
            break;
        case 'c':
            s.cpu = (int)number("cpu", optarg, CPU_SETSIZE - 1);
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "qs-bench-engine: \"%s\" is not an option\n", argv[optind]);
        usage(stderr);
        exit(2);
    }
    return s;
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        bench_die("CPU %d is not there or not allowed", cpu);
}

static void measure(const struct settings *s, struct results *r)
{
    uint64_t requests = s->quick ? 1000 : 200000;
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        bench_die("/proc/self/exe cannot be read");
    self[n] = '\0';

    r->tsc_hz = bench_tsc_hz();
    r->tsc_overhead = bench_tsc_overhead();
    snprintf(r->why_not, sizeof r->why_not, "not asked for (--instructions)");
    for (size_t i = 0; i < N_CASES; i++) {
        r->requests[i] = bench_requests(case_conns[i], requests);
        r->instructions[i] = -1;
        if (s->instructions)
            r->instructions[i] = bench_instructions(self, case_conns[i], s->quick ? 64 : 10000,
                                                    r->why_not, sizeof r->why_not);
    }
    r->connects = bench_connects(s->quick ? 640 : 100000);
    for (size_t i = 0; i < 2; i++)
        r->flood[i] = bench_flood(i, s->quick ? 640 : 500000);
    for (size_t i = 0; i < 2; i++) {
        uint32_t offloads = i ? QS_OFFLOAD_TX_CSUM : 0;
        uint64_t bytes = s->quick ? 4000000 : 400000000;
        r->send[i] = bench_bulk(BENCH_SEND, offloads, bytes);
        r->receive[i] = bench_bulk(BENCH_SINK, offloads, bytes);
    }
    r->idle = bench_idle(s->quick ? 1024 : 65536);
}

static void cpu_name(char *out, size_t size)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(out, size, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            snprintf(out, size, "%s", colon + 2);
            out[strcspn(out, "\"\\\n")] = '\0';
            break;
        }
    }
    if (f)
        fclose(f);
}

/* One key with a value for each number of connections; negative values are null. */
static void print_cases(const char *key, const double values[N_CASES])
{
    printf(" \"%s\": {", key);
    for (size_t i = 0; i < N_CASES; i++) {
        printf("%s\"%u\": ", i ? ", " : "", case_conns[i]);
        if (values[i] < 0)
            printf("null");
        else
            printf("%.0f", values[i]);
    }
    printf("},\n");
}

static void print(const struct settings *s, const struct results *r)
{
    double mean[N_CASES], p50[N_CASES], rate[N_CASES], interrupted[N_CASES];
    char cpu[128];
    bool counted = true;
    for (size_t i = 0; i < N_CASES; i++) {
        mean[i] = r->requests[i].cycles_per_unit;
        p50[i] = r->requests[i].p50_cycles_per_unit;
        rate[i] = r->tsc_hz / mean[i];
        interrupted[i] = (double)r->requests[i].interrupted;
        counted &= r->instructions[i] >= 0;
    }
    double bit_cycles = 8 * r->tsc_hz / 1e9;
    cpu_name(cpu, sizeof cpu);
    printf("{\n");
    print_cases("cycles_per_request", mean);
    print_cases("cycles_per_request_median_burst", p50);
    print_cases("instructions_per_request", r->instructions);
    if (!counted)
        printf(" \"instructions_why_null\": \"%s\",\n", r->why_not);
    print_cases("requests_per_second", rate);
    printf(" \"connects_per_second\": %.0f,\n", r->tsc_hz / r->connects.cycles_per_unit);
    printf(" \"cycles_per_connect\": %.0f,\n", r->connects.cycles_per_unit);
    printf(" \"cycles_per_flood_segment\": {\"syn\": %.0f, \"ack\": %.0f},\n",
           r->flood[0].cycles_per_unit, r->flood[1].cycles_per_unit);
    printf(" \"bulk_gbit_per_second\": {\"checksum\": %.2f, \"no_checksum\": %.2f, "
           "\"receive_checksum\": %.2f, \"receive_no_checksum\": %.2f},\n",
           bit_cycles / r->send[0].cycles_per_unit, bit_cycles / r->send[1].cycles_per_unit,
           bit_cycles / r->receive[0].cycles_per_unit, bit_cycles / r->receive[1].cycles_per_unit);
    printf(" \"bytes_per_idle_connection\": %.0f,\n", r->idle.resident);
    printf(" \"allocated_bytes_per_connection\": %.0f,\n", r->idle.allocated);
    print_cases("interrupted_bursts", interrupted);
    printf(" \"rounds\": %u, \"quick\": %s,\n", BENCH_ROUNDS, s->quick ? "true" : "false");
    printf(" \"machine\": {\"cpu\": \"%s\", \"tsc_hz\": %.0f, \"tsc_read_cycles\": %.0f, "
           "\"compiler\": \"%s\"}\n}\n",
           cpu, r->tsc_hz, r->tsc_overhead, BENCH_COMPILER);
}

int main(int argc, char **argv)
{
    struct settings s = parse(argc, argv);
    static struct results r;
    if (s.cpu >= 0)
        pin(s.cpu);
    if (s.count) {
        printf("%llu\n", (unsigned long long)bench_requests_once(s.count, s.requests));
        return 0;
    }
    measure(&s, &r);
    print(&s, &r);
    return 0;
}
