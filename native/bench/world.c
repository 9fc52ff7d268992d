/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CLIENT_ADDRS 8u
#define PORT_FIRST 1024u
#define PORTS_PER_ADDR 60000u

void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("qs-bench-engine: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void *mem_alloc(void *ctx, size_t bytes)
{
    struct bench_mem *m = ctx;
    if (m->n_blocks == sizeof m->blocks / sizeof m->blocks[0])
        return NULL;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    /* Only advice: where huge pages are off, small ones serve both purposes. */
    (void)madvise(p, bytes, m->small_pages ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
    m->blocks[m->n_blocks].base = p;
    m->blocks[m->n_blocks++].bytes = bytes;
    m->allocated_bytes += bytes;
    return p;
}

static void mem_free(void *ctx, void *block, size_t bytes)
{
    struct bench_mem *m = ctx;
    munmap(block, bytes);
    m->allocated_bytes -= bytes;
    for (size_t i = 0; i < m->n_blocks; i++) {
        if (m->blocks[i].base == block) {
            m->blocks[i] = m->blocks[--m->n_blocks];
            return;
        }
    }
}

size_t bench_mem_resident(const struct bench_mem *m)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), resident = 0;
    for (size_t i = 0; i < m->n_blocks; i++) {
        size_t pages = (m->blocks[i].bytes + page - 1) / page;
        unsigned char *map = malloc(pages);
        if (!map || mincore(m->blocks[i].base, m->blocks[i].bytes, map))
            bench_die("cannot count the touched pages of %zu bytes", m->blocks[i].bytes);
        for (size_t k = 0; k < pages; k++)
            resident += map[k] & 1 ? page : 0;
        free(map);
    }
    return resident;
}

static qs_addr addr4(uint8_t host)
{
    return (qs_addr){{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, host}};
}

static void side_open(struct bench_side *s, const struct bench_opts *o, uint8_t id)
{
    qs_engine_opts e;
    qs_engine_opts_init(&e);
    e.id = id;
    e.conns_max = o->conns_max;
    e.chunks_max = o->chunks_max;
    e.offloads = o->offloads;
    e.time_wait = o->time_wait;
    /* The client never sends a bare ACK for a reply: its next request carries it, as long as that
     * one comes within this time. RFC 9293 section 3.8.6.3 allows up to 500 ms. */
    e.delayed_ack = QS_MS(400);
    e.mac[0] = 2;
    e.mac[5] = id;
    memset(e.secret, 0x5a + id, sizeof e.secret);
    s->mem.small_pages = o->small_pages;
    struct qs_mem mem = {mem_alloc, mem_free, &s->mem};
    qs_err err = qs_engine_new(&s->engine, &e, &mem);
    if (err)
        bench_die("an engine for %u connections: %s", o->conns_max, qs_strerror(err));
    s->buffers = aligned_alloc(64, (size_t)BENCH_RING * BENCH_FRAME_BYTES);
    if (!s->buffers)
        bench_die("no memory for %u frames", BENCH_RING);
    memset(s->buffers, 0, (size_t)BENCH_RING * BENCH_FRAME_BYTES);
}

static void side_close(struct bench_side *s)
{
    qs_engine_free(s->engine);
    free(s->buffers);
}

void bench_world_open(struct bench_world *w, const struct bench_opts *o)
{
    *w = (struct bench_world){.app = o->app, .proven = o->offloads != 0, .now = {1000000000u}};
    side_open(&w->server, o, 1);
    side_open(&w->client, o, 2);
    qs_addr a = addr4(1);
    qs_err err = qs_engine_addr_add(w->server.engine, &a, 24);
    for (uint8_t i = 0; i < CLIENT_ADDRS && !err; i++) {
        a = addr4((uint8_t)(2 + i));
        err = qs_engine_addr_add(w->client.engine, &a, 24);
    }
    if (err)
        bench_die("an address for an engine: %s", qs_strerror(err));
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = BENCH_SERVER_PORT;
    int listener = qs_engine_listen(w->server.engine, &l);
    if (listener < 0)
        bench_die("port %u: %s", BENCH_SERVER_PORT, qs_strerror(listener));
    w->n_conns = o->conns_max;
    w->conns = calloc(w->n_conns, sizeof *w->conns);
    if (!w->conns)
        bench_die("no memory for %u handles", w->n_conns);
}

void bench_world_close(struct bench_world *w)
{
    side_close(&w->server);
    side_close(&w->client);
    free(w->conns);
}

uint64_t bench_counter(const qs_engine *e, enum qs_counter idx)
{
    uint64_t all[QS_N_COUNTERS];
    qs_engine_counters(e, all, QS_N_COUNTERS);
    return all[idx];
}

static void lend(struct bench_side *s)
{
    for (size_t i = 0; i < BENCH_BURST; i++) {
        size_t at = (s->next_buffer + i) % BENCH_RING;
        s->out[i] = (struct qs_frame){.data = s->buffers + at * BENCH_FRAME_BYTES,
                                      .room = BENCH_FRAME_BYTES};
    }
}

static void sent(struct bench_side *s, size_t n)
{
    s->n_out = n;
    s->next_buffer = (s->next_buffer + n) % BENCH_RING;
}

/* The link: what is to be sent becomes what is received. */
static void mark_received(struct bench_side *from, bool proven)
{
    for (size_t i = 0; i < from->n_out; i++)
        from->out[i].flags = proven ? QS_FRAME_CSUM_OK : 0;
}

void bench_client_lend(struct bench_world *w)
{
    lend(&w->client);
}

void bench_server_lend(struct bench_world *w)
{
    lend(&w->server);
}

static void server_write(struct bench_world *w, qs_conn c)
{
    static const uint8_t block[65536];
    int64_t n;
    do {
        n = qs_conn_write(w->server.engine, c, block, sizeof block);
    } while (n == (int64_t)sizeof block);
}

static void server_readable(struct bench_world *w, qs_conn c)
{
    qs_engine *e = w->server.engine;
    uint8_t message[BENCH_MESSAGE_BYTES];
    if (qs_conn_read(e, c, message, sizeof message) != BENCH_MESSAGE_BYTES)
        return;
    if (qs_conn_write(e, c, message, sizeof message) != BENCH_MESSAGE_BYTES)
        bench_die("the server's send buffer is full with one reply in it");
    w->served++;
    if (w->app == BENCH_CLOSE)
        (void)qs_conn_close(e, c);
}

static void server_sink(struct bench_world *w, qs_conn c)
{
    static uint8_t block[65536];
    int64_t n;
    while ((n = qs_conn_read(w->server.engine, c, block, sizeof block)) > 0)
        w->server_bytes += (uint64_t)n;
}

static void server_event(struct bench_world *w, const struct qs_event *ev)
{
    if (ev->flags & QS_EVENT_OPEN)
        w->stream = ev->conn;
    switch (w->app) {
    case BENCH_ECHO:
    case BENCH_CLOSE:
        if (ev->flags & QS_EVENT_READABLE)
            server_readable(w, ev->conn);
        break;
    case BENCH_SEND:
        if (ev->flags & (QS_EVENT_OPEN | QS_EVENT_WRITABLE))
            server_write(w, ev->conn);
        break;
    case BENCH_SINK:
        if (ev->flags & QS_EVENT_READABLE)
            server_sink(w, ev->conn);
        break;
    }
}

static inline __attribute__((always_inline)) size_t server_step(struct bench_world *w)
{
    qs_engine *e = w->server.engine;
    struct qs_event events[BENCH_BURST];
    size_t n;
    qs_engine_rx(e, w->client.out, w->client.n_out, w->now);
    while ((n = qs_engine_events(e, events, BENCH_BURST)) > 0) {
        for (size_t i = 0; i < n; i++)
            server_event(w, &events[i]);
    }
    return qs_engine_tx(e, w->server.out, BENCH_BURST, w->now);
}

__attribute__((noinline)) size_t bench_measured_step(struct bench_world *w)
{
    size_t n = server_step(w);
    sent(&w->server, n);
    return n;
}

__attribute__((noinline)) size_t bench_server_step(struct bench_world *w)
{
    size_t n = server_step(w);
    sent(&w->server, n);
    return n;
}

void bench_open(struct bench_world *w, uint32_t idx, uint64_t number)
{
    struct qs_open_opts o;
    qs_open_opts_init(&o);
    number %= (uint64_t)CLIENT_ADDRS * PORTS_PER_ADDR;
    o.local = addr4((uint8_t)(2 + number / PORTS_PER_ADDR));
    o.local_port = (uint16_t)(PORT_FIRST + number % PORTS_PER_ADDR);
    o.remote = addr4(1);
    o.remote_port = BENCH_SERVER_PORT;
    o.user = idx;
    qs_err err = qs_conn_open(w->client.engine, &o, w->now, &w->conns[idx]);
    if (err)
        bench_die("opening connection %llu: %s", (unsigned long long)number, qs_strerror(err));
}

void bench_request(struct bench_world *w, uint32_t idx)
{
    static const uint8_t request[BENCH_MESSAGE_BYTES] = "request";
    if (qs_conn_write(w->client.engine, w->conns[idx], request, sizeof request) !=
        (int64_t)sizeof request)
        bench_die("the client cannot write a request on connection %u", idx);
}

static void client_readable(struct bench_world *w, qs_conn c)
{
    static uint8_t block[65536];
    int64_t n;
    while ((n = qs_conn_read(w->client.engine, c, block, sizeof block)) > 0) {
        w->client_bytes += (uint64_t)n;
        if (n == BENCH_MESSAGE_BYTES)
            w->answered++;
    }
}

static void client_fill(struct bench_world *w, qs_conn c)
{
    static const uint8_t block[65536];
    int64_t n;
    do {
        n = qs_conn_write(w->client.engine, c, block, sizeof block);
    } while (n == (int64_t)sizeof block);
}

static void client_event(struct bench_world *w, const struct qs_event *ev)
{
    if (ev->flags & QS_EVENT_OPEN) {
        w->opened++;
        if (w->app == BENCH_CLOSE)
            bench_request(w, (uint32_t)ev->user);
    }
    if (w->app == BENCH_SINK && ev->flags & (QS_EVENT_OPEN | QS_EVENT_WRITABLE))
        client_fill(w, ev->conn);
    if (ev->flags & QS_EVENT_READABLE)
        client_readable(w, ev->conn);
    if (ev->flags & QS_EVENT_EOF) {
        (void)qs_conn_close(w->client.engine, ev->conn);
        w->ended++;
    } else if (ev->flags & QS_EVENT_CLOSED) {
        bench_die("a connection of the client ended: %s", qs_strerror(ev->err));
    }
}

void bench_client_turn(struct bench_world *w)
{
    qs_engine *e = w->client.engine;
    struct qs_event events[BENCH_BURST];
    size_t n;
    w->now.ns += BENCH_HOP_NS;
    mark_received(&w->server, w->proven);
    qs_engine_rx(e, w->server.out, w->server.n_out, w->now);
    w->server.n_out = 0;
    while ((n = qs_engine_events(e, events, BENCH_BURST)) > 0) {
        for (size_t i = 0; i < n; i++)
            client_event(w, &events[i]);
    }
    lend(&w->client);
    sent(&w->client, qs_engine_tx(e, w->client.out, BENCH_BURST, w->now));
    mark_received(&w->client, w->proven);
    w->now.ns += BENCH_HOP_NS;
}

static void both_turn(struct bench_world *w)
{
    bench_client_turn(w);
    bench_server_lend(w);
    bench_server_step(w);
}

void bench_settle(struct bench_world *w)
{
    do {
        both_turn(w);
    } while (w->client.n_out || w->server.n_out);
}

void bench_connect(struct bench_world *w, uint32_t n)
{
    /* A SYN that waited for its neighbour goes out when the answer comes. */
    uint64_t give_up_ns = w->now.ns + 60000000000u;
    for (uint32_t i = 0; i < n && w->now.ns < give_up_ns;) {
        for (uint32_t k = 0; k < BENCH_BURST && i < n; k++, i++)
            bench_open(w, i, i);
        while (w->opened < i && w->now.ns < give_up_ns)
            both_turn(w);
    }
    if (w->opened != n)
        bench_die("%llu of %u connections were established", (unsigned long long)w->opened, n);
    if (w->app == BENCH_ECHO || w->app == BENCH_CLOSE)
        bench_settle(w);
}
