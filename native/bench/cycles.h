/* SPDX-License-Identifier: Apache-2.0 */
/* Cycles of the time stamp counter, and what rounds of them come to. */
#ifndef QS_BENCH_CYCLES_H
#define QS_BENCH_CYCLES_H

#include <stddef.h>
#include <stdint.h>
#include <x86intrin.h>

/* Cycles of one burst and what it carried (requests, connections or bytes). */
struct bench_sample {
    uint64_t cycles;
    uint64_t units;
};

/* One round. */
struct bench_round {
    double cycles_per_unit;     /* mean over all bursts that were not interrupted */
    double p50_cycles_per_unit; /* burst in the middle */
    size_t interrupted;         /* bursts in which the thread lost its core */
    size_t bursts;
};

/* The fences keep work from moving across the stamps. */
static inline uint64_t bench_tsc_begin(void)
{
    _mm_lfence();
    uint64_t t = __rdtsc();
    _mm_lfence();
    return t;
}

static inline uint64_t bench_tsc_end(void)
{
    unsigned aux;
    uint64_t t = __rdtscp(&aux);
    _mm_lfence();
    return t;
}

double bench_tsc_hz(void);
/* What begin and end cost when nothing is between them. */
double bench_tsc_overhead(void);

struct bench_round bench_round_of(struct bench_sample *samples, size_t n);

/* The round with the middle mean of `n`; `interrupted` and `bursts` are sums over all. */
struct bench_round bench_median(struct bench_round *rounds, size_t n);

#endif
