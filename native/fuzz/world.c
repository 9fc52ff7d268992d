/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's side of the world: its making and end, frames in and out, counters. */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bytes.h"

#define PAGE 4096u

/* Timers that may run while everything ends: far more than the retries of all connections. */
#define ENDING_STEPS_MAX 20000u

void fuzz_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

uint8_t fuzz_octet(uint32_t at)
{
    return (uint8_t)(at * 2654435761u >> 24);
}

/* Pages fresh from the kernel, since most of an engine is never touched by one input, and a page
 * behind them that must not be. */
static void *mem_alloc(void *ctx, size_t bytes)
{
    struct fuzz_world *w = ctx;
    size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
    uint8_t *p =
        mmap(NULL, whole + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + whole, PAGE, PROT_NONE))
        return NULL;
    w->allocated += bytes;
    return p + (whole - bytes) / 64 * 64;
}

static void mem_free(void *ctx, void *block, size_t bytes)
{
    struct fuzz_world *w = ctx;
    size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
    FUZZ_REQUIRE(bytes <= w->allocated);
    w->allocated -= bytes;
    munmap((uint8_t *)block - (whole - bytes) / 64 * 64, whole + PAGE);
}

static qs_addr host(bool v6, uint8_t number)
{
    if (v6)
        return (qs_addr){{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number}};
    return (qs_addr){{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, number}};
}

static void make_peers(struct fuzz_world *w)
{
    for (uint32_t i = 0; i < FUZZ_PEERS; i++) {
        struct fuzz_peer *p = &w->peers[i];
        p->to_engine.src = host(i % 2, (uint8_t)(2 + i / 2));
        p->to_engine.dst = host(i % 2, 1);
        memcpy(p->to_engine.dst_mac, w->opts.mac, 6);
        p->to_engine.src_mac[0] = 2;
        p->to_engine.src_mac[5] = (uint8_t)(2 + i / 2);
        p->port = (uint16_t)(i < FUZZ_PEER_ACTIVE ? 40000 + i : 9000 + i);
        p->engine_port = (uint16_t)(i < 4 ? 7000 : i < FUZZ_PEER_ACTIVE ? 7001 : 5000 + i);
        p->iss = 0xffffff00u + i; /* just below the wrap */
        p->nxt = p->iss;
    }
}

static void listen_on(struct fuzz_world *w, uint32_t which)
{
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = (uint16_t)(7000 + which);
    l.prio = which ? 7 : 0;
    l.backlog = 4;
    l.messages = w->messages;
    l.half_open_max = which ? 1 : 3; /* one for each prefix: the next SYN meets a cookie */
    w->listeners[which] = qs_engine_listen(w->engine, &l);
    FUZZ_REQUIRE(w->listeners[which] >= 0);
}

void fuzz_toggle_listener(struct fuzz_world *w, uint32_t which)
{
    if (w->listeners[which] < 0) {
        listen_on(w, which);
        return;
    }
    FUZZ_REQUIRE(qs_engine_unlisten(w->engine, w->listeners[which]) == 0);
    FUZZ_REQUIRE(qs_engine_unlisten(w->engine, w->listeners[which]) == QS_ERR_STALE);
    w->listeners[which] = -1;
}

static void make_engine(struct fuzz_world *w, const struct fuzz_choice *c)
{
    qs_engine_opts_init(&w->opts);
    w->opts.id = 3;
    w->opts.conns_max = c->tight ? 3 : 12;
    w->opts.chunks_max = c->tight ? 16 : 128;
    w->opts.rcvbuf_bytes = w->opts.sndbuf_bytes = c->tight ? 4096 : 65536;
    if (!c->told && w->opts.rcvbuf_bytes / 2 >= c->mtu) { /* buffers that grow, and not all can */
        w->opts.rcvbuf_initial_bytes = w->opts.sndbuf_initial_bytes = w->opts.rcvbuf_bytes / 2;
        w->opts.growth_bytes[0] = w->opts.growth_bytes[7] = 2 * (uint64_t)w->opts.rcvbuf_bytes;
    }
    w->opts.mtu = c->mtu;
    w->opts.offloads = c->offloads;
    w->opts.gso_max_bytes = c->offloads & QS_OFFLOAD_TSO ? 65549 : 0;
    w->opts.neigh_mode = c->told ? QS_NEIGH_TOLD : QS_NEIGH_OWN;
    w->opts.mac[0] = 2;
    w->opts.mac[5] = 1;
    memset(w->opts.secret, 0x42, sizeof w->opts.secret);
    struct qs_mem mem = {mem_alloc, mem_free, w};
    FUZZ_REQUIRE(qs_engine_new(&w->engine, &w->opts, &mem) == 0);
    w->rules = (struct wire_rules){c->mtu, c->offloads, w->opts.gso_max_bytes, {0}};
    memcpy(w->rules.mac, w->opts.mac, 6);
    w->tx_room = c->offloads & QS_OFFLOAD_TSO ? w->opts.gso_max_bytes : c->mtu + 18;
    for (uint32_t i = 0; i < FUZZ_BURST; i++)
        FUZZ_REQUIRE((w->tx[i] = malloc(w->tx_room)));
}

void fuzz_world_open(struct fuzz_world *w, const struct fuzz_choice *c)
{
    memset(w, 0, sizeof *w);
    w->now.ns = 5000000000u;
    make_engine(w, c);
    make_peers(w);
    for (uint32_t v6 = 0; v6 < 2; v6++) {
        qs_addr a = host(v6, 1);
        if (!v6 || c->mtu >= 1280)
            FUZZ_REQUIRE(qs_engine_addr_add(w->engine, &a, v6 ? 64 : 24) == 0);
    }
    if (c->framed)
        w->messages = fuzz_messages(w->engine);
    listen_on(w, 0);
    listen_on(w, 1);
    for (uint32_t i = 0; i < FUZZ_PEER_ACTIVE; i++) {
        struct wire_ends *ends = &w->peers[i].to_engine;
        FUZZ_REQUIRE(qs_engine_neigh_set(w->engine, &ends->src, ends->src_mac, w->now) == 0);
    }
}

/* ---- frames in ---- */

static uint64_t drops(const uint64_t *counters)
{
    uint64_t sum = 0;
    for (size_t i = QS_COUNT_DROP_TRUNCATED; i < QS_N_COUNTERS; i++)
        sum += counters[i];
    return sum;
}

unsigned fuzz_rx(struct fuzz_world *w, const uint8_t *frame, size_t len, uint16_t flags)
{
    uint64_t before[QS_N_COUNTERS], after[QS_N_COUNTERS];
    uint8_t *copy = malloc(len ? len : 1);
    FUZZ_REQUIRE(copy);
    if (len)
        memcpy(copy, frame, len);
    struct qs_frame f = {.data = copy, .len = (uint32_t)len, .room = (uint32_t)len, .flags = flags};
    qs_engine_counters(w->engine, before, QS_N_COUNTERS);
    qs_engine_rx(w->engine, &f, 1, w->now);
    qs_engine_counters(w->engine, after, QS_N_COUNTERS);
    free(copy);
    w->queued = true;
    FUZZ_REQUIRE(after[QS_COUNT_RX_FRAMES] == before[QS_COUNT_RX_FRAMES] + 1);
    FUZZ_REQUIRE(after[QS_COUNT_RX_BYTES] == before[QS_COUNT_RX_BYTES] + len);
    uint64_t dropped = drops(after) - drops(before);
    if (dropped > 1) {
        for (size_t i = QS_COUNT_DROP_TRUNCATED; i < QS_N_COUNTERS; i++) {
            if (after[i] != before[i])
                fprintf(stderr, "%s +%d\n", qs_counter_name(i), (int)(after[i] - before[i]));
        }
        fuzz_fail("one frame was dropped %d times", (int)dropped);
    }
    return (unsigned)dropped;
}

/* ---- frames out ---- */

static void saw_payload(const struct fuzz_world *w, const struct fuzz_peer *p,
                        const struct wire_tcp *t)
{
    if (w->tainted || !p->engine_syn || p->two_answers)
        return;
    uint32_t offset = t->seq - p->engine_iss - 1;
    bool messages = w->messages && p < &w->peers[FUZZ_PEER_ACTIVE]; /* of zeros */
    for (size_t i = 0; i < t->payload_len; i++) {
        uint8_t want = messages ? 0 : fuzz_octet(offset + (uint32_t)i);
        if (t->payload[i] != want)
            fuzz_fail("octet %u of the stream to port %u was sent as %#x instead of %#x",
                      offset + (uint32_t)i, t->dst_port, t->payload[i], want);
    }
}

static void saw_tcp(struct fuzz_world *w, const struct wire_seen *s)
{
    const struct wire_tcp *t = &s->tcp;
    struct fuzz_peer *p = NULL;
    for (uint32_t i = 0; i < FUZZ_PEERS; i++) {
        struct fuzz_peer *q = &w->peers[i];
        if (q->port == t->dst_port && q->engine_port == t->src_port &&
            memcmp(&q->to_engine.src, &s->ends.dst, sizeof(qs_addr)) == 0)
            p = q;
    }
    if (!p || t->flags & WIRE_RST)
        return;
    const uint8_t *ts = wire_option(t, 8);
    if (t->flags & WIRE_SYN) {
        /* A cookie's ISN lasts a minute. Either answer to the same SYN may be acknowledged. */
        if (p->engine_syn && p->engine_iss != t->seq)
            p->two_answers = t->flags & WIRE_ACK && t->ack == p->syn_acked;
        if (!p->engine_syn || p->engine_iss != t->seq) {
            p->engine_iss = t->seq;
            p->engine_nxt = t->seq;
            if (!(t->flags & WIRE_ACK))
                p->one_syn = p->other_syn = p->syn_plain = false;
        }
        p->engine_syn = true;
        p->ts = ts != NULL;
        if (t->flags & WIRE_ACK)
            p->syn_acked = t->ack;
    } else if (p->ts && p->engine_syn && !p->syn_plain && !w->tainted) {
        /* RFC 7323 section 3.2: once negotiated, in every segment but RST. */
        if (!ts)
            fuzz_fail("a segment to port %u has no timestamp after both SYNs had one", p->port);
    }
    if (ts)
        p->engine_ts = get32(ts + 2);
    saw_payload(w, p, t);
    uint32_t end = t->seq + (uint32_t)t->payload_len + (t->flags & WIRE_SYN ? 1 : 0) +
                   (t->flags & WIRE_FIN ? 1 : 0);
    if ((int32_t)(end - p->engine_nxt) > 0)
        p->engine_nxt = end;
}

static size_t tx_burst(struct fuzz_world *w, size_t n)
{
    struct qs_frame frames[FUZZ_BURST];
    for (size_t i = 0; i < n; i++)
        frames[i] = (struct qs_frame){.data = w->tx[i], .room = w->tx_room, .cookie = i + 77};
    uint64_t before[QS_N_COUNTERS], after[QS_N_COUNTERS], bytes = 0;
    qs_engine_counters(w->engine, before, QS_N_COUNTERS);
    size_t sent = qs_engine_tx(w->engine, frames, n, w->now);
    qs_engine_counters(w->engine, after, QS_N_COUNTERS);
    FUZZ_REQUIRE(sent <= n);
    for (size_t i = 0; i < sent; i++) {
        struct wire_seen seen;
        const char *wrong = wire_judge(&frames[i], &w->rules, &seen);
        if (wrong)
            fuzz_fail("a frame of %u bytes was sent: %s", frames[i].len, wrong);
        FUZZ_REQUIRE(frames[i].cookie == i + 77);
        if (seen.kind == WIRE_IS_TCP)
            saw_tcp(w, &seen);
        bytes += frames[i].len;
    }
    FUZZ_REQUIRE(after[QS_COUNT_TX_FRAMES] == before[QS_COUNT_TX_FRAMES] + sent);
    FUZZ_REQUIRE(after[QS_COUNT_TX_BYTES] == before[QS_COUNT_TX_BYTES] + bytes);
    return sent;
}

void fuzz_tx(struct fuzz_world *w, size_t n)
{
    n = n < FUZZ_BURST ? n : FUZZ_BURST;
    if (tx_burst(w, n) < n)
        w->queued = false;
}

void fuzz_tx_all(struct fuzz_world *w)
{
    for (uint32_t i = 0; tx_burst(w, FUZZ_BURST) == FUZZ_BURST; i++)
        FUZZ_REQUIRE(i < 1000); /* 128 chunks and a few control frames cannot make as many */
    w->queued = false;
}

/* ---- the end ---- */

void fuzz_world_close(struct fuzz_world *w)
{
    fuzz_events(w);
    for (uint32_t i = 0; i < FUZZ_HANDLES; i++) {
        if (w->handles[i].alive)
            fuzz_give_up(w, &w->handles[i], false);
    }
    for (uint32_t i = 0; i < 2; i++) {
        if (w->listeners[i] >= 0)
            fuzz_toggle_listener(w, i);
    }
    for (uint32_t step = 0;; step++) {
        fuzz_tx_all(w);
        fuzz_events(w);
        fuzz_check(w);
        qs_engine_counters(w->engine, w->counters, QS_N_COUNTERS);
        qs_time next = qs_engine_deadline(w->engine);
        if (!w->counters[QS_COUNT_CONNS] && !w->counters[QS_COUNT_CHUNKS])
            break;
        if (next.ns == UINT64_MAX || step == ENDING_STEPS_MAX)
            fuzz_fail("%u connections and %u chunks are left after the end, step %u",
                      (unsigned)w->counters[QS_COUNT_CONNS], (unsigned)w->counters[QS_COUNT_CHUNKS],
                      step);
        FUZZ_REQUIRE(next.ns > w->now.ns);
        w->now = next;
    }
    audit_past_free(&w->past);
    qs_engine_free(w->engine);
    for (uint32_t i = 0; i < FUZZ_BURST; i++)
        free(w->tx[i]);
    FUZZ_REQUIRE(w->allocated == 0);
}
