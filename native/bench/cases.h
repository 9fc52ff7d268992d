/* SPDX-License-Identifier: Apache-2.0 */
/* The things that `qs-bench-engine` measures. */
#ifndef QS_BENCH_CASES_H
#define QS_BENCH_CASES_H

#include "cycles.h"
#include "world.h"

#define BENCH_ROUNDS 5u

/* Requests on `n_conns` established connections, at least `n_requests` in each round. With one
 * connection strictly one after another, else BENCH_BURST at a time on connections in random order.
 * Stops the program unless every request was answered. */
struct bench_round bench_requests(uint32_t n_conns, uint64_t n_requests);

/* The same once, with bench_measured_step() around nothing but the requests; @return their number.
 * For a profiler. */
uint64_t bench_requests_once(uint32_t n_conns, uint64_t n_requests);

/* Accept, one request, close by the server, for `n` connections in each round. */
struct bench_round bench_connects(uint64_t n);

/* `n` SYNs of a flood in each round, answered with cookies, or `ack`: ACKs that answer none and
 * are reset. Stops the program unless all were. flood.c */
struct bench_round bench_flood(bool ack, uint64_t n);

/* Bytes that one connection streams at MTU 1500; `app` is BENCH_SEND or BENCH_SINK. Units are
 * bytes. */
struct bench_round bench_bulk(enum bench_app app, uint32_t offloads, uint64_t n_bytes);

/* Touched and allocated bytes for each of `n` idle connections. */
struct bench_idle {
    double resident, allocated;
};
struct bench_idle bench_idle(uint32_t n);

/* Instructions in bench_measured_step() for each request, counted by running `self` under
 * callgrind.
 * @return a negative number with the reason in `why` when that cannot be had. */
double bench_instructions(const char *self, uint32_t n_conns, uint64_t n_requests, char *why,
                          size_t why_size);

#endif
