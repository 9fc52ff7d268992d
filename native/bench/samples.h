/* SPDX-License-Identifier: Apache-2.0 */
/* Times that are kept, and their percentiles. */
#ifndef QS_BENCH_SAMPLES_H
#define QS_BENCH_SAMPLES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct samples {
    uint64_t *ns;
    uint32_t n, max; /* those beyond `max` are not kept */
};

/* Ends the program when there is no memory. */
static inline void samples_init(struct samples *s, uint32_t max)
{
    *s = (struct samples){.ns = calloc(max, sizeof *s->ns), .max = max};
    if (!s->ns) {
        fprintf(stderr, "no memory for %u samples\n", max);
        exit(1);
    }
}

static inline void samples_keep(struct samples *s, uint64_t ns)
{
    if (s->n < s->max)
        s->ns[s->n++] = ns;
}

static inline int samples_by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static inline void samples_sort(struct samples *s)
{
    qsort(s->ns, s->n, sizeof *s->ns, samples_by_size);
}

/* Of sorted ones; 0 when there are none. */
static inline double samples_us(const struct samples *s, double part)
{
    return s->n ? (double)s->ns[(uint32_t)((double)(s->n - 1) * part)] / 1e3 : 0;
}

#endif
