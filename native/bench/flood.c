/* SPDX-License-Identifier: Apache-2.0 */
/* What a flood costs: SYNs from addresses all over, answered with cookies, or ACKs that pretend to
 * answer one. */
#include <stdlib.h>
#include <string.h>

#include "cases.h"

#define IP_AT 14u
#define TCP_AT 34u
#define FRAME_BYTES 74u /* a SYN as Linux sends it: 20 octets of options */

static uint32_t sum_of(const uint8_t *p, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    return sum;
}

static void put_sum(uint8_t *at, uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    at[0] = (uint8_t)(~sum >> 8);
    at[1] = (uint8_t)~sum;
}

/* A whole frame from source number `n`; checksums are right. */
static void write_frame(uint8_t *f, bool ack, uint32_t n)
{
    /* clang-format off */
    static const uint8_t headers[FRAME_BYTES] = {
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,                        /* Ethernet */
        0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1, /* IPv4 */
        4, 0xd2, BENCH_SERVER_PORT >> 8, BENCH_SERVER_PORT & 0xff,       /* ports */
        1, 2, 3, 4, 5, 6, 7, 8, 0xa0, 0, 0xff, 0xff, 0, 0, 0, 0,
        2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}; /* options */
    /* clang-format on */
    uint32_t spread = n * 2654435761u; /* another prefix each time */
    memcpy(f, headers, sizeof headers);
    f[IP_AT + 12] = (uint8_t)(11 + (spread >> 24) % 100);
    f[IP_AT + 13] = (uint8_t)(spread >> 16);
    f[IP_AT + 14] = (uint8_t)(spread >> 8);
    f[IP_AT + 15] = (uint8_t)n;
    f[TCP_AT + 13] = ack ? 0x10 : 0x02;
    put_sum(f + IP_AT + 10, sum_of(f + IP_AT, 20, 0));
    put_sum(f + TCP_AT + 16, sum_of(f + IP_AT + 12, 8, sum_of(f + TCP_AT, 40, 6 + 40)));
}

static struct bench_sample flood_burst(struct bench_world *w, bool ack, uint64_t first)
{
    bench_client_lend(w);
    for (uint32_t i = 0; i < BENCH_BURST; i++) {
        write_frame(w->client.out[i].data, ack, (uint32_t)first + i);
        w->client.out[i].len = FRAME_BYTES;
    }
    w->client.n_out = BENCH_BURST;
    w->now.ns += 2 * BENCH_HOP_NS;
    bench_server_lend(w);
    uint64_t begin = bench_tsc_begin();
    bench_measured_step(w);
    return (struct bench_sample){.units = BENCH_BURST, .cycles = bench_tsc_end() - begin};
}

/* One in 4,096 of the ACKs looks as if it overtook the answer to a cookie. */
static uint64_t told_apart(const struct qs_engine *e)
{
    return bench_counter(e, QS_COUNT_SYN_COOKIES_SENT) +
           bench_counter(e, QS_COUNT_SYN_COOKIES_REJECTED) +
           bench_counter(e, QS_COUNT_DROP_COOKIE_AHEAD);
}

struct bench_round bench_flood(bool ack, uint64_t n)
{
    struct bench_opts opts = {
        .app = BENCH_ECHO, .conns_max = 65536, .chunks_max = 1024, .time_wait = QS_S(60)};
    static struct bench_world w;
    struct bench_round rounds[BENCH_ROUNDS];
    size_t bursts = (n + BENCH_BURST - 1) / BENCH_BURST;
    struct bench_sample *samples = calloc(bursts, sizeof *samples);
    if (!samples)
        bench_die("no memory for %zu samples", bursts);
    bench_world_open(&w, &opts);
    bench_connect(&w, 1); /* the neighbour is known then */
    qs_addr gateway = {{[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 2}};
    if (qs_engine_gateway_set(w.server.engine, &gateway))
        bench_die("a gateway for the server");
    uint64_t number = 0;
    for (; number < 4096; number += BENCH_BURST) /* all places of half-open ones are taken */
        flood_burst(&w, false, number);
    uint64_t before = told_apart(w.server.engine);
    for (size_t r = 0; r < BENCH_ROUNDS; r++) {
        for (size_t i = 0; i < bursts; i++, number += BENCH_BURST)
            samples[i] = flood_burst(&w, ack, number);
        rounds[r] = bench_round_of(samples, bursts);
    }
    uint64_t known = told_apart(w.server.engine) - before;
    if (known != BENCH_ROUNDS * bursts * BENCH_BURST)
        bench_die("%llu segments were taken for a flood", (unsigned long long)known);
    free(samples);
    bench_world_close(&w);
    return bench_median(rounds, BENCH_ROUNDS);
}
