/* SPDX-License-Identifier: Apache-2.0 */
/* A server and a client stack on one wire, and patience. */
#ifndef STACK_RIG_H
#define STACK_RIG_H

#include "pair_rig.h"
#include "qstack/qs_app.h"
#include "qstack/qs_stats.h"
#include "runtime/stack.h"

#include <pthread.h>

#define RIG_PORT_LOW 80   /* class 0 */
#define RIG_PORT_HIGH 443 /* class 7 */

static const qs_addr rig_server_addr = {{[10] = 0xff, [11] = 0xff, 10, 9, 0, 1}};

/* Options of side 0 (10.9.0.1, the server) or 1 (10.9.0.2). */
static inline qs_stack_opts rig_stack_opts(uint32_t side, uint32_t n_queues, uint32_t n_workers)
{
    qs_stack_opts o;
    qs_stack_opts_init(&o);
    o.ifname = "w";
    o.pair_side = side;
    o.n_queues = n_queues;
    o.n_workers = n_workers;
    o.conns_max = 4096;
    o.chunks_max = 4096;
    o.addr4 = side ? "10.9.0.2/24" : "10.9.0.1/24";
    return o;
}

static inline qs_stack *rig_stack(const qs_stack_opts *o)
{
    qs_stack *s;
    struct qs_diag diag = {""};
    if (qs_stack_new(&s, o, &diag) != 0) {
        fprintf(stderr, "qs_stack_new: %s\n", diag.text);
        exit(1);
    }
    return s;
}

static inline void rig_start(qs_stack *s)
{
    struct qs_diag diag = {""};
    if (qs_stack_start(s, &diag) != 0) {
        fprintf(stderr, "qs_stack_start: %s\n", diag.text);
        exit(1);
    }
}

static inline qs_app *rig_app(qs_stack *s, size_t ring_bytes)
{
    qs_app *a;
    uint32_t index;
    REQUIRE(qs_app_new(&a, &index, s, ring_bytes) == 0);
    return a;
}

/* Events of `port` go to `fn`, or to application thread `app`. */
static inline void rig_listen(qs_stack *s, uint16_t port, uint8_t prio, qs_inline_fn fn, void *ctx,
                              uint32_t app)
{
    struct qs_stack_listen l;
    struct qs_diag diag = {""};
    qs_stack_listen_init(&l);
    l.l.port = port;
    l.l.prio = prio;
    l.l.user = port;
    l.inline_fn = fn;
    l.inline_ctx = ctx;
    l.app = app;
    if (qs_stack_listen(s, &l, &diag) < 0) {
        fprintf(stderr, "qs_stack_listen: %s\n", diag.text);
        exit(1);
    }
}

static inline qs_err rig_connect(qs_stack *client, uint32_t queue, uint16_t port, uint64_t user,
                                 qs_inline_fn fn, void *ctx)
{
    struct qs_open_opts o;
    qs_open_opts_init(&o);
    o.remote = rig_server_addr;
    o.remote_port = port;
    o.user = user;
    return qs_stack_open(client, queue, &o, fn, ctx);
}

/* A server with one application thread, and a client. */
struct rig_pair {
    qs_stack *server, *client;
    qs_app *app;
};

static inline void rig_pair_end(struct rig_pair *p)
{
    qs_stack_stop(p->server);
    qs_stack_stop(p->client);
    qs_app_free(p->app);
    qs_stack_free(p->client);
    qs_stack_free(p->server);
}

static inline uint64_t rig_count(const qs_stack *s, enum qs_counter counter)
{
    uint64_t c[QS_N_COUNTERS], sum = 0;
    for (uint32_t q = 0; qs_stack_counters(s, q, c, QS_N_COUNTERS) > 0; q++)
        sum += c[counter];
    return sum;
}

/* Waits until `counter` over all queues is `want`. */
static inline bool rig_wait_count(const qs_stack *s, enum qs_counter counter, uint64_t want)
{
    for (int i = 0; i < 20000; i++) {
        if (rig_count(s, counter) == want)
            return true;
        usleep(1000);
    }
    fprintf(stderr, "%s is %" PRIu64 ", want %" PRIu64 "\n", qs_counter_name(counter),
            rig_count(s, counter), want);
    return false;
}

/* Waits until an atomic counter reaches `want`. */
static inline bool rig_wait_value(const uint32_t *value, uint32_t want)
{
    for (int i = 0; i < 60000; i++) {
        if (__atomic_load_n(value, __ATOMIC_ACQUIRE) >= want)
            return true;
        usleep(1000);
    }
    fprintf(stderr, "reached %u of %u\n", __atomic_load_n(value, __ATOMIC_ACQUIRE), want);
    return false;
}

static inline void rig_add(uint32_t *value)
{
    (void)__atomic_add_fetch(value, 1, __ATOMIC_ACQ_REL);
}

static inline uint32_t rig_get(const uint32_t *value)
{
    return __atomic_load_n(value, __ATOMIC_ACQUIRE);
}

#endif
