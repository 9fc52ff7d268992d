/* SPDX-License-Identifier: Apache-2.0 */
/* A server with both layouts and several workers, and a client whose every octet comes back, in
 * order, without an end: queues move meanwhile. */
#ifndef MOVING_RIG_H
#define MOVING_RIG_H

#include "io/softnic.h"
#include "io/softnic_lookup.h"
#include "stack_rig.h"

#define MOVING_QUEUES 4u
#define MOVING_CONNS 24u /* half of them inline */
#define MOVING_LATER 40u /* at most that moving_connect() may add */
#define MOVING_WORKERS_MAX 4u
#define MOVING_WINDOW 200u /* octets of a connection that are under way */

/* A connection of the client: octets are numbered. */
struct moving_stream {
    uint32_t id;
    uint64_t sent, got;
};

struct moving {
    qs_stack *server, *client;
    qs_app *app;
    pthread_t thread;
    bool app_stop; /* atomic */
    bool quiet;    /* atomic: what comes back is not sent again */
    struct moving_stream streams[MOVING_CONNS + MOVING_LATER];
    uint32_t n_conns;
    uint16_t port; /* of the client, the last one in use */
    /* atomic: what came back, octets that were wrong, connections that ended, handlers of one
     * queue that ran at the same time */
    uint32_t n_rounds, n_wrong, n_closed, n_twice;
    uint32_t out;                      /* atomic: octets under way */
    uint32_t work_us;                  /* atomic: that a handler of the server takes */
    uint32_t inside[MOVING_QUEUES];    /* atomic: a handler of the queue runs */
    uint32_t hold[MOVING_QUEUES];      /* atomic: the next handler of the queue waits */
    uint32_t holding[MOVING_QUEUES];   /* atomic: one does */
    uint32_t rounds_of[MOVING_QUEUES]; /* atomic: what came back from a queue of the server */
};

static inline void moving_send(qs_engine *e, qs_conn c, struct moving *m, struct moving_stream *x,
                               uint32_t n)
{
    uint8_t buf[MOVING_WINDOW];
    for (uint32_t i = 0; i < n; i++)
        buf[i] = rig_octet(x->id, (uint32_t)x->sent++);
    (void)__atomic_add_fetch(&m->out, n, __ATOMIC_ACQ_REL);
    if (qs_conn_write(e, c, buf, n) != n)
        rig_add(&m->n_wrong);
}

static struct moving *moving_now; /* of the client's handlers */

static inline void moving_on_client(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now;
    struct moving *m = moving_now;
    struct moving_stream *x = ctx;
    uint8_t buf[MOVING_WINDOW];
    int64_t n;
    if (ev->flags & QS_EVENT_CLOSED) {
        rig_add(&m->n_closed);
        return;
    }
    if (ev->flags & QS_EVENT_OPEN)
        moving_send(e, ev->conn, m, x, MOVING_WINDOW);
    while ((n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0) {
        for (int64_t i = 0; i < n; i++)
            if (buf[i] != rig_octet(x->id, (uint32_t)x->got++))
                rig_add(&m->n_wrong);
        (void)__atomic_sub_fetch(&m->out, (uint32_t)n, __ATOMIC_ACQ_REL);
        rig_add(&m->n_rounds);
        rig_add(&m->rounds_of[x->id % MOVING_QUEUES]);
        if (!__atomic_load_n(&m->quiet, __ATOMIC_ACQUIRE))
            moving_send(e, ev->conn, m, x, (uint32_t)n);
    }
}

static inline void moving_on_server(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now;
    struct moving *m = ctx;
    uint32_t queue = qs_queue_of(ev->conn);
    uint8_t buf[MOVING_WINDOW];
    int64_t n;
    if (__atomic_exchange_n(&m->inside[queue], 1, __ATOMIC_ACQ_REL))
        rig_add(&m->n_twice);
    while (rig_get(&m->hold[queue])) {
        __atomic_store_n(&m->holding[queue], 1, __ATOMIC_RELEASE);
        usleep(100);
    }
    __atomic_store_n(&m->holding[queue], 0, __ATOMIC_RELEASE);
    uint64_t until_ns = qs_clock_now().ns + 1000u * rig_get(&m->work_us);
    while (qs_clock_now().ns < until_ns)
        continue;
    while (!(ev->flags & QS_EVENT_CLOSED) && (n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0)
        if (qs_conn_write(e, ev->conn, buf, (size_t)n) != n)
            rig_add(&m->n_wrong);
    (void)__atomic_exchange_n(&m->inside[queue], 0, __ATOMIC_ACQ_REL);
}

static inline void *moving_application(void *arg)
{
    struct moving *m = arg;
    struct qs_app_event ev[16];
    while (!__atomic_load_n(&m->app_stop, __ATOMIC_ACQUIRE)) {
        int n = qs_app_wait(m->app, ev, 16, QS_MS(200));
        for (int i = 0; i < n; i++)
            if (ev[i].len > 0 &&
                qs_app_write(m->app, ev[i].conn, ev[i].data, ev[i].len) != ev[i].len)
                rig_add(&m->n_wrong);
    }
    return NULL;
}

/* Queue of the server that gets what comes from a port of the client. */
static inline uint32_t moving_queue_of(const qs_stack *server, uint16_t from, uint16_t to)
{
    static const qs_addr client = {{[10] = 0xff, [11] = 0xff, 10, 9, 0, 2}};
    struct qs_softnic_key key = {.sport = {(uint8_t)(from >> 8), (uint8_t)from},
                                 .dport = {(uint8_t)(to >> 8), (uint8_t)to},
                                 .proto = 6,
                                 .family = 4,
                                 .present = QS_SOFTNIC_HAS_L4};
    struct qs_softnic_verdict verdict;
    memcpy(key.src, &client, 16);
    memcpy(key.dst, &rig_server_addr, 16);
    return qs_softnic_decide(server->driver->softnic, &key, &verdict);
}

/* Opens connections, connection i on the server's queue i % MOVING_QUEUES; the client does not run.
 */
static inline void moving_connect(struct moving *m, uint32_t n)
{
    for (uint32_t end = m->n_conns + n; m->n_conns < end; m->n_conns++) {
        uint32_t i = m->n_conns;
        struct qs_open_opts o;
        qs_open_opts_init(&o);
        o.remote = rig_server_addr;
        o.remote_port = i / MOVING_QUEUES % 2 ? RIG_PORT_HIGH : RIG_PORT_LOW;
        do
            o.local_port = ++m->port;
        while (moving_queue_of(m->server, o.local_port, o.remote_port) != i % MOVING_QUEUES);
        m->streams[i].id = i;
        REQUIRE(qs_stack_open(m->client, 0, &o, moving_on_client, &m->streams[i]) == 0);
    }
}

/* Options of the server: two of at most four workers. */
static inline qs_stack_opts moving_opts(void)
{
    qs_stack_opts o = rig_stack_opts(0, MOVING_QUEUES, 2);
    o.workers_max = MOVING_WORKERS_MAX;
    return o;
}

/* All connections come from queue 0 of the client. */
static inline void moving_begin_between(struct moving *m, const qs_stack_opts *o,
                                        const qs_stack_opts *client)
{
    memset(m, 0, sizeof *m);
    m->port = 20000;
    moving_now = m;
    m->server = rig_stack(o);
    m->client = rig_stack(client);
    static const uint32_t first[QS_SOFTNIC_INDIR_SIZE];
    REQUIRE(qs_softnic_set_indir(m->client->driver->softnic, first) == 0);
    m->app = rig_app(m->server, 0);
    rig_listen(m->server, RIG_PORT_LOW, 0, moving_on_server, m, 0);
    rig_listen(m->server, RIG_PORT_HIGH, 7, NULL, NULL, 0);
    rig_start(m->server);
    REQUIRE(pthread_create(&m->thread, NULL, moving_application, m) == 0);
    moving_connect(m, MOVING_CONNS);
    rig_start(m->client);
    CHECK(rig_wait_count(m->server, QS_COUNT_PASSIVE_OPENS, MOVING_CONNS));
}

static inline void moving_begin_with(struct moving *m, const qs_stack_opts *o)
{
    qs_stack_opts client = rig_stack_opts(1, 1, 1);
    moving_begin_between(m, o, &client);
}

/* `poll_idle` of the server: zero means that each wake-up counts. */
static inline void moving_begin(struct moving *m, qs_dur poll_idle)
{
    qs_stack_opts o = moving_opts();
    o.poll_idle = poll_idle;
    moving_begin_with(m, &o);
}

/* So many more octets come back in order. */
static inline void moving_go_on(struct moving *m, uint32_t rounds)
{
    CHECK(rig_wait_value(&m->n_rounds, rig_get(&m->n_rounds) + rounds));
}

/* All that was sent comes back, and nothing more is. */
static inline void moving_be_quiet(struct moving *m)
{
    __atomic_store_n(&m->quiet, true, __ATOMIC_RELEASE);
    for (int i = 0; i < 20000 && rig_get(&m->out) > 0; i++)
        usleep(1000);
    CHECK_EQ(rig_get(&m->out), 0);
}

/* All that was sent has come back; nothing was wrong, nothing ended. */
static inline void moving_end(struct moving *m)
{
    moving_be_quiet(m);
    CHECK_EQ(rig_get(&m->n_wrong), 0);
    CHECK_EQ(rig_get(&m->n_closed), 0);
    CHECK_EQ(rig_get(&m->n_twice), 0);
    CHECK_EQ(rig_count(m->server, QS_COUNT_PASSIVE_OPENS), m->n_conns);
    CHECK_EQ(rig_count(m->server, QS_COUNT_CONNS), m->n_conns);
    __atomic_store_n(&m->app_stop, true, __ATOMIC_RELEASE);
    qs_app_wake(m->app);
    REQUIRE(pthread_join(m->thread, NULL) == 0);
    qs_stack_stop(m->server);
    qs_app_free(m->app);
    qs_stack_free(m->client);
    qs_stack_free(m->server);
}

static inline void moving_move(qs_stack *s, uint32_t queue, uint32_t worker)
{
    struct qs_diag diag = {""};
    if (qs_stack_move(s, queue, worker, &diag) != 0) {
        fprintf(stderr, "qs_stack_move: %s\n", diag.text);
        exit(1);
    }
}

static inline uint32_t moving_worker_of(const qs_stack *s, uint32_t queue)
{
    struct qs_place place;
    REQUIRE(qs_stack_place(s, queue, &place) == 0);
    return place.worker;
}

/* The call fails with `code`, and says `word` in `diag`. */
#define MOVING_REFUSED(call, code, word)                                                           \
    do {                                                                                           \
        CHECK_EQ(call, code);                                                                      \
        if (!strstr(diag.text, word)) {                                                            \
            fprintf(stderr, "  \"%s\" does not say \"%s\"\n", diag.text, word);                    \
            CHECK(false);                                                                          \
        }                                                                                          \
    } while (0)

#endif
