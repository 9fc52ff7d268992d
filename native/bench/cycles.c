/* SPDX-License-Identifier: Apache-2.0 */
#include "cycles.h"

#include <stdlib.h>
#include <time.h>

#include "world.h"

/* A burst that took four times the middle one and 50 us more did not run all that time: the thread
 * was put off its core, or the hypervisor did so with the core. No burst of an engine comes near
 * it: 64 requests take less than 50 us. */
#define INTERRUPTED_TIMES 4u
#define INTERRUPTED_SECONDS 50e-6

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

double bench_tsc_hz(void)
{
    static double hz;
    if (hz > 0)
        return hz;
    uint64_t ns = clock_ns(), tsc = bench_tsc_begin(), ns_now;
    do {
        ns_now = clock_ns();
    } while (ns_now - ns < 50000000u);
    hz = (double)(bench_tsc_end() - tsc) / (double)(ns_now - ns) * 1e9;
    return hz;
}

static int by_number(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double middle(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_number);
    return values[n / 2];
}

double bench_tsc_overhead(void)
{
    double cycles[1001];
    for (size_t i = 0; i < 1001; i++) {
        uint64_t begin = bench_tsc_begin();
        cycles[i] = (double)(bench_tsc_end() - begin);
    }
    return middle(cycles, 1001);
}

struct bench_round bench_round_of(struct bench_sample *samples, size_t n)
{
    struct bench_round r = {.bursts = n};
    double *per_unit = calloc(n, sizeof *per_unit), cycles = 0, units = 0;
    if (!per_unit || n == 0)
        bench_die("a round of %zu bursts cannot be evaluated", n);
    for (size_t i = 0; i < n; i++)
        per_unit[i] = (double)samples[i].cycles / (double)samples[i].units;
    r.p50_cycles_per_unit = middle(per_unit, n);
    free(per_unit);
    for (size_t i = 0; i < n; i++) {
        double usual = r.p50_cycles_per_unit * (double)samples[i].units;
        if ((double)samples[i].cycles >
            INTERRUPTED_TIMES * usual + INTERRUPTED_SECONDS * bench_tsc_hz()) {
            r.interrupted++;
            continue;
        }
        cycles += (double)samples[i].cycles;
        units += (double)samples[i].units;
    }
    r.cycles_per_unit = cycles / units;
    return r;
}

static int by_mean(const void *a, const void *b)
{
    return by_number(&((const struct bench_round *)a)->cycles_per_unit,
                     &((const struct bench_round *)b)->cycles_per_unit);
}

struct bench_round bench_median(struct bench_round *rounds, size_t n)
{
    size_t interrupted = 0, bursts = 0;
    for (size_t i = 0; i < n; i++) {
        interrupted += rounds[i].interrupted;
        bursts += rounds[i].bursts;
    }
    qsort(rounds, n, sizeof *rounds, by_mean);
    struct bench_round r = rounds[n / 2];
    r.interrupted = interrupted;
    r.bursts = bursts;
    return r;
}
