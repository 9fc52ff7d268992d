/* SPDX-License-Identifier: Apache-2.0 */
#include "cases.h"

#include <stdlib.h>

/* Turns without an answer after which something is broken: far more than any timer of the engine
 * needs. */
#define IDLE_TURNS_MAX 1000000u
/* Turns of a stream that are looked at together: the window may be closed in one of them. */
#define STREAM_TURNS 16u

static uint32_t random_below(uint64_t *state, uint32_t n)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u); /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) % n);
}

/* Connections in an order that no cache or prefetcher can foresee, anew for each pass. */
struct order {
    uint32_t *idx, n, at;
    uint64_t random;
};

static void order_open(struct order *o, uint32_t n)
{
    *o = (struct order){.idx = calloc(n, sizeof *o->idx), .n = n, .at = n, .random = 20260210u};
    if (!o->idx)
        bench_die("no memory for the order of %u connections", n);
    for (uint32_t i = 0; i < n; i++)
        o->idx[i] = i;
}

/* Next connections, at most BENCH_BURST, none twice. */
static uint32_t order_take(struct order *o, const uint32_t **out)
{
    if (o->at == o->n) {
        for (uint32_t i = o->n; i > 1; i--) {
            uint32_t k = random_below(&o->random, i), t = o->idx[i - 1];
            o->idx[i - 1] = o->idx[k];
            o->idx[k] = t;
        }
        o->at = 0;
    }
    uint32_t n = o->n - o->at < BENCH_BURST ? o->n - o->at : BENCH_BURST;
    *out = o->idx + o->at;
    o->at += n;
    return n;
}

/* The server's turn; @return its cycles. */
static uint64_t timed_step(struct bench_world *w)
{
    bench_server_lend(w);
    uint64_t begin = bench_tsc_begin();
    bench_measured_step(w);
    return bench_tsc_end() - begin;
}

/* Turns until `*count` has reached `target` and the link is empty; @return the server's cycles. */
static uint64_t run_until(struct bench_world *w, const uint64_t *count, uint64_t target)
{
    uint64_t cycles = 0;
    for (size_t idle = 0;; idle++) {
        bench_client_turn(w);
        if (*count >= target && !w->client.n_out)
            return cycles;
        if (idle == IDLE_TURNS_MAX)
            bench_die("%llu of %llu answers came", (unsigned long long)*count,
                      (unsigned long long)target);
        cycles += timed_step(w);
    }
}

/* One burst of requests, all answered. */
static struct bench_sample request_burst(struct bench_world *w, struct order *o)
{
    const uint32_t *idx;
    uint32_t n = order_take(o, &idx);
    uint64_t target = w->answered + n, served = w->served + n;
    for (uint32_t i = 0; i < n; i++)
        bench_request(w, idx[i]);
    struct bench_sample s = {.units = n, .cycles = run_until(w, &w->answered, target)};
    if (w->answered != target || w->served != served)
        bench_die("%llu requests were served instead of %llu", (unsigned long long)w->served,
                  (unsigned long long)served);
    return s;
}

static void open_requests(struct bench_world *w, struct order *o, uint32_t n_conns)
{
    struct bench_opts opts = {
        .app = BENCH_ECHO,
        .conns_max = n_conns,
        .chunks_max = 1024 + 2 * n_conns, /* a reply is acknowledged by the next request */
        .time_wait = QS_S(60)};
    bench_world_open(w, &opts);
    bench_connect(w, n_conns);
    order_open(o, n_conns);
}

static void close_requests(struct bench_world *w, struct order *o)
{
    uint64_t again = bench_counter(w->server.engine, QS_COUNT_RETRANSMITS) +
                     bench_counter(w->client.engine, QS_COUNT_RETRANSMITS);
    if (again)
        bench_die("%llu segments were sent again on a link that loses nothing",
                  (unsigned long long)again);
    free(o->idx);
    bench_world_close(w);
}

struct bench_round bench_requests(uint32_t n_conns, uint64_t n_requests)
{
    static struct bench_world w;
    struct order o;
    struct bench_round rounds[BENCH_ROUNDS];
    open_requests(&w, &o, n_conns);
    struct bench_sample *samples = calloc(n_requests, sizeof *samples);
    if (!samples)
        bench_die("no memory for %llu samples", (unsigned long long)n_requests);
    /* First pass: every block and buffer has been used once, as in a server that runs. */
    for (uint64_t done = 0; done < n_conns;)
        done += request_burst(&w, &o).units;
    for (size_t r = 0; r < BENCH_ROUNDS; r++) {
        size_t n = 0;
        for (uint64_t done = 0; done < n_requests; n++) {
            samples[n] = request_burst(&w, &o);
            done += samples[n].units;
        }
        rounds[r] = bench_round_of(samples, n);
    }
    free(samples);
    close_requests(&w, &o);
    return bench_median(rounds, BENCH_ROUNDS);
}

uint64_t bench_requests_once(uint32_t n_conns, uint64_t n_requests)
{
    static struct bench_world w;
    struct order o;
    uint64_t done = 0;
    open_requests(&w, &o, n_conns);
    while (done < n_requests)
        done += request_burst(&w, &o).units;
    close_requests(&w, &o);
    return done;
}

struct bench_round bench_connects(uint64_t n)
{
    /* TIME-WAIT of 50 ms: the server has to use its 65,536 blocks again and again while about
     * 30,000 of them wait, which takes a tenth of the memory and virtual time that a minute would.
     */
    struct bench_opts opts = {
        .app = BENCH_CLOSE, .conns_max = 65536, .chunks_max = 65536, .time_wait = QS_MS(50)};
    static struct bench_world w;
    struct bench_round rounds[BENCH_ROUNDS];
    size_t bursts = (n + BENCH_BURST - 1) / BENCH_BURST;
    struct bench_sample *samples = calloc(bursts, sizeof *samples);
    if (!samples)
        bench_die("no memory for %zu samples", bursts);
    bench_world_open(&w, &opts);
    uint64_t number = 0;
    for (size_t r = 0; r < BENCH_ROUNDS; r++) {
        for (size_t i = 0; i < bursts; i++) {
            for (uint32_t k = 0; k < BENCH_BURST; k++)
                bench_open(&w, k, number++);
            samples[i].units = BENCH_BURST;
            samples[i].cycles = run_until(&w, &w.ended, number);
        }
        rounds[r] = bench_round_of(samples, bursts);
    }
    if (w.answered != number || w.served != number)
        bench_die("%llu of %llu connections were answered", (unsigned long long)w.answered,
                  (unsigned long long)number);
    free(samples);
    bench_world_close(&w);
    return bench_median(rounds, BENCH_ROUNDS);
}

/* A few turns of a stream; @return cycles and bytes. */
static struct bench_sample stream_burst(struct bench_world *w, const uint64_t *moved)
{
    struct bench_sample s = {.units = *moved};
    for (uint32_t turn = 0; turn < STREAM_TURNS; turn++) {
        bench_client_turn(w);
        s.cycles += timed_step(w);
    }
    s.units = *moved - s.units;
    if (!s.units)
        bench_die("the stream stands still after %llu bytes", (unsigned long long)*moved);
    return s;
}

struct bench_round bench_bulk(enum bench_app app, uint32_t offloads, uint64_t n_bytes)
{
    struct bench_opts opts = {.app = app,
                              .conns_max = 16,
                              .chunks_max = 4096,
                              .offloads = offloads,
                              .time_wait = QS_S(60)};
    static struct bench_world w;
    struct bench_round rounds[BENCH_ROUNDS];
    const uint64_t *moved = app == BENCH_SEND ? &w.client_bytes : &w.server_bytes;
    size_t bursts = n_bytes / (STREAM_TURNS * 65536u) + 1;
    struct bench_sample *samples = calloc(bursts, sizeof *samples);
    if (!samples)
        bench_die("no memory for %zu samples", bursts);
    bench_world_open(&w, &opts);
    bench_connect(&w, 1);
    /* The congestion window opens. */
    while (*moved < n_bytes / 4)
        stream_burst(&w, moved);
    for (size_t r = 0; r < BENCH_ROUNDS; r++) {
        for (size_t i = 0; i < bursts; i++)
            samples[i] = stream_burst(&w, moved);
        rounds[r] = bench_round_of(samples, bursts);
    }
    free(samples);
    bench_world_close(&w);
    return bench_median(rounds, BENCH_ROUNDS);
}

/* Bytes of a server engine that was made for `n` connections and holds as many, all idle after a
 * request. */
static struct bench_idle idle_engine(uint32_t n)
{
    static struct bench_world w;
    struct order o;
    struct bench_opts opts = {.app = BENCH_ECHO,
                              .conns_max = n,
                              .chunks_max = 1024,
                              .time_wait = QS_S(60),
                              .small_pages = true};
    bench_world_open(&w, &opts);
    bench_connect(&w, n);
    order_open(&o, n);
    for (uint64_t done = 0; done < n;) {
        done += request_burst(&w, &o).units;
        w.now.ns +=
            500000000u; /* the client's delayed ACKs: as in a server, few replies wait at once */
        bench_settle(&w);
    }
    if (bench_counter(w.server.engine, QS_COUNT_CONNS) != n ||
        bench_counter(w.server.engine, QS_COUNT_CHUNKS) != 0)
        bench_die("%u connections are not idle", n);
    struct bench_idle r = {(double)bench_mem_resident(&w.server.mem),
                           (double)w.server.mem.allocated_bytes};
    free(o.idx);
    bench_world_close(&w);
    return r;
}

struct bench_idle bench_idle(uint32_t n)
{
    /* An engine for twice as many connections is twice as large in everything that grows with them:
     * blocks, table slots, whatever else. The difference leaves out what is there once. */
    struct bench_idle one = idle_engine(n), two = idle_engine(2 * n);
    return (struct bench_idle){(two.resident - one.resident) / n,
                               (two.allocated - one.allocated) / n};
}
