/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include "audit.h"
#include "core/engine.h"
#include "frame.h"
#include "qs_test.h"

#define FRAME_ROOM 66000u
#define BATCH 16
#define AUDIT_EVERY 64u
#define MERGED_MAX 65000u

struct flying {
    uint64_t due_ns, order;
    int to;
    uint16_t flags, gso_bytes;
    uint32_t len;
    uint8_t *data;
};

struct sim {
    struct sim_opts o;
    qs_engine *engines[2];
    uint64_t now_ns, order, random;
    uint64_t wire_free_ns[2];
    uint32_t path_mtu;
    bool path_reports;
    struct flying *heap;
    size_t n_heap, heap_room;
    sim_handler on_event;
    void *ctx;
    struct sim_link_stats stats;
    uint8_t *tx[BATCH];
    struct audit_past past[2];
    uint64_t turns, hops;
    uint32_t n_engines; /* that were made */
};

/* ---- memory ---- */

static size_t live_bytes;

static void *mem_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    void *p = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    REQUIRE(p);
    memset(p, 0, bytes);
    live_bytes += bytes;
    return p;
}

static void mem_free(void *ctx, void *block, size_t bytes)
{
    (void)ctx;
    live_bytes -= bytes;
    free(block);
}

struct qs_mem test_mem(void)
{
    return (struct qs_mem){mem_alloc, mem_free, NULL};
}

size_t test_mem_live(void)
{
    return live_bytes;
}

/* ---- frames on their way: a heap by due time ---- */

static bool before(const struct flying *a, const struct flying *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void heap_push(struct sim *s, struct flying f)
{
    if (s->n_heap == s->heap_room) {
        s->heap_room = s->heap_room ? s->heap_room * 2 : 256;
        s->heap = realloc(s->heap, s->heap_room * sizeof *s->heap);
        REQUIRE(s->heap);
    }
    size_t i = s->n_heap++;
    for (; i > 0 && before(&f, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = f;
}

static struct flying heap_pop(struct sim *s)
{
    struct flying top = s->heap[0], last = s->heap[--s->n_heap];
    size_t i = 0;
    for (;;) {
        size_t k = 2 * i + 1;
        if (k >= s->n_heap)
            break;
        if (k + 1 < s->n_heap && before(&s->heap[k + 1], &s->heap[k]))
            k++;
        if (!before(&s->heap[k], &last))
            break;
        s->heap[i] = s->heap[k];
        i = k;
    }
    s->heap[i] = last;
    return top;
}

static bool chance(struct sim *s, uint32_t ppm)
{
    return ppm && qs_test_random(&s->random) % 1000000u < ppm;
}

static void fly(struct sim *s, int from, const struct qs_frame *f, uint64_t due_ns)
{
    struct flying y = {.due_ns = due_ns, .order = s->order++, .to = !from, .len = f->len};
    y.gso_bytes = f->gso_bytes;
    if (f->flags & QS_FRAME_CSUM_PARTIAL)
        y.flags = QS_FRAME_CSUM_OK; /* the link is inside one machine */
    y.data = malloc(f->len);
    REQUIRE(y.data);
    memcpy(y.data, f->data, f->len);
    if (chance(s, s->o.faults.corrupt_ppm)) {
        uint64_t r = qs_test_random(&s->random);
        y.data[r % f->len] ^= (uint8_t)(1u << (r >> 32) % 8);
        s->stats.corrupted++;
    }
    heap_push(s, y);
}

void sim_path(struct sim *s, uint32_t mtu, bool reports)
{
    s->path_mtu = mtu;
    s->path_reports = reports;
}

/* @return true when the path does not take the frame's packets, and tells so if it does. */
static bool too_big(struct sim *s, int from, const struct qs_frame *f)
{
    static struct frame refused, report;
    uint32_t packet = f->len - FRAME_ETH;
    REQUIRE(f->len <= FRAME_ROOM_BYTES);
    memcpy(refused.b, f->data, f->len);
    uint8_t *ip = refused.b + FRAME_ETH;
    bool v4 = ip[0] >> 4 == 4;
    if (f->flags & QS_FRAME_GSO) { /* what the device makes of it */
        const uint8_t *tcp = frame_l4(&refused);
        packet = (uint32_t)(tcp - ip) + (tcp[12] >> 4) * 4u + f->gso_bytes;
        put(ip + (v4 ? 2 : 4), 2, v4 ? packet : packet - 40);
    }
    refused.len = f->len;
    if (!s->path_mtu || packet <= s->path_mtu || !frame_is_tcp(&refused))
        return false;
    s->stats.too_big++;
    if (!s->path_reports)
        return true;
    frame_icmp_error(&report, v4 ? 3 : 2, v4 ? 4 : 0, s->path_mtu, ip, v4 ? 28 : 60);
    memcpy(report.b, f->data + 6, 6);
    struct qs_frame q = {.data = report.b, .len = report.len};
    fly(s, !from, &q, s->now_ns + s->o.faults.delay_ns);
    return true;
}

/* What the link does with one frame. */
static void transmit(struct sim *s, int from, const struct qs_frame *f)
{
    const struct sim_faults *x = &s->o.faults;
    s->stats.frames++;
    if (too_big(s, from, f))
        return;
    if (chance(s, x->loss_ppm)) {
        s->stats.lost++;
        return;
    }
    uint64_t start = s->now_ns;
    if (x->bit_per_second) {
        if (s->wire_free_ns[from] > start)
            start = s->wire_free_ns[from];
        uint64_t waiting = (start - s->now_ns) * x->bit_per_second / 8000000000u;
        if (x->queue_bytes && waiting + f->len > x->queue_bytes) {
            s->stats.lost++;
            return;
        }
        start += (uint64_t)f->len * 8 * 1000000000u / x->bit_per_second;
        s->wire_free_ns[from] = start;
    }
    uint64_t due = start + x->delay_ns;
    if (chance(s, x->reorder_ppm)) {
        due += x->reorder_ns;
        s->stats.reordered++;
    }
    fly(s, from, f, due);
    if (chance(s, x->duplicate_ppm)) {
        fly(s, from, f, due + 1000);
        s->stats.duplicated++;
    }
}

/* ---- life ---- */

static qs_addr addr_of(bool v6, int side)
{
    qs_addr a4 = {{[10] = 0xff, [11] = 0xff, [12] = 10, [15] = (uint8_t)(side + 1)}};
    qs_addr a6 = {{0xfd, [15] = (uint8_t)(side + 1)}};
    return v6 ? a6 : a4;
}

/* Number `nth` of all engines. */
static qs_engine *make_engine(const struct sim_opts *o, int side, uint32_t nth)
{
    qs_engine_opts eo;
    struct qs_mem mem = test_mem();
    qs_engine *e;
    qs_engine_opts_init(&eo);
    eo.id = nth & 0xff;
    eo.conns_max = o->conns_max ? o->conns_max : 64;
    eo.chunks_max = o->chunks_max ? o->chunks_max : 2048;
    if (o->rcvbuf_bytes)
        eo.rcvbuf_bytes = o->rcvbuf_bytes;
    if (o->sndbuf_bytes)
        eo.sndbuf_bytes = o->sndbuf_bytes;
    eo.rcvbuf_initial_bytes = o->rcvbuf_initial_bytes;
    eo.sndbuf_initial_bytes = o->sndbuf_initial_bytes;
    for (int p = 0; p < (int)QS_N_PRIO; p++)
        eo.growth_bytes[p] = o->growth_bytes;
    eo.mtu = o->mtu ? o->mtu : 1500;
    eo.syn_retries_max = eo.synack_retries_max =
        30; /* the handshake is not what a lossy link is here to test */
    eo.offloads = o->offloads;
    eo.gso_max_bytes = 65549;
    memcpy(eo.mac, (uint8_t[]){2, 0, 0, 0, 0, (uint8_t)(side + 1)}, 6);
    memcpy(eo.secret, &o->seed, sizeof o->seed);
    memcpy(eo.secret + 28, &nth, sizeof nth);
    REQUIRE(qs_engine_new(&e, &eo, &mem) == 0);
    for (int v6 = 0; v6 < 2; v6++) {
        qs_addr a = addr_of(v6, side);
        REQUIRE(qs_engine_addr_add(e, &a, v6 ? 64 : 24) == 0);
    }
    return e;
}

struct sim *sim_new(const struct sim_opts *o)
{
    struct sim *s = calloc(1, sizeof *s);
    REQUIRE(s);
    REQUIRE(!o->faults.merge_ns || !o->faults.corrupt_ppm);
    s->o = *o;
    s->random = o->seed;
    s->now_ns = 1000000000u + o->seed % 1000000007u * 4096; /* sequence numbers start anywhere */
    for (int side = 0; side < 2; side++)
        s->engines[side] = make_engine(o, side, s->n_engines++);
    for (int i = 0; i < BATCH; i++)
        REQUIRE((s->tx[i] = malloc(FRAME_ROOM)));
    return s;
}

/* Every invariant holds, and nothing was taken back. */
static void check(struct sim *s, int side)
{
    const char *broken = audit_since(s->engines[side], &s->past[side]);
    if (!broken)
        return;
    fprintf(stderr, "side %d: %s\n", side, broken);
    exit(1);
}

void sim_free(struct sim *s)
{
    while (s->n_heap)
        free(heap_pop(s).data);
    free(s->heap);
    for (int i = 0; i < BATCH; i++)
        free(s->tx[i]);
    for (int side = 0; side < 2; side++) {
        check(s, side);
        audit_past_free(&s->past[side]);
        qs_engine_free(s->engines[side]);
    }
    free(s);
}

qs_engine *sim_engine(struct sim *s, int side)
{
    return s->engines[side];
}

qs_addr sim_addr(const struct sim *s, int side)
{
    return addr_of(s->o.v6, side);
}

qs_time sim_now(const struct sim *s)
{
    return (qs_time){s->now_ns};
}

void sim_on_event(struct sim *s, sim_handler fn, void *ctx)
{
    s->on_event = fn;
    s->ctx = ctx;
}

uint64_t sim_counter(struct sim *s, int side, enum qs_counter which)
{
    uint64_t all[QS_N_COUNTERS];
    qs_engine_counters(s->engines[side], all, QS_N_COUNTERS);
    return all[which];
}

struct sim_link_stats sim_link(const struct sim *s)
{
    return s->stats;
}

/* ---- to another engine ---- */

uint64_t sim_hops(const struct sim *s)
{
    return s->hops;
}

static bool any_flow(void *ctx, const struct qs_flow *flow)
{
    (void)ctx, (void)flow;
    return true;
}

/* Connections that would stay: they have ended. */
static bool some_would_stay(const qs_engine *e)
{
    uint64_t n = 0;
    for (uint32_t at = 0; qs_engine_flow_next(e, any_flow, NULL, &at, UINT32_MAX); at++)
        n++;
    return n != e->counters[QS_COUNT_CONNS];
}

/* What a stack would tell both. */
static void copy_settings(qs_engine *to, const qs_engine *from)
{
    memcpy(to->listeners, from->listeners, sizeof to->listeners);
    to->n_listeners = from->n_listeners;
    for (uint32_t i = 0; i < to->n_listeners; i++)
        to->listeners[i].untaken = to->listeners[i].half_open = 0;
    memcpy(to->message_confs, from->message_confs,
           QS_MESSAGE_CONFS_MAX * sizeof *to->message_confs);
    to->n_message_confs = from->n_message_confs;
    to->classes_used = from->classes_used;
    memcpy(to->classes, from->classes, sizeof to->classes);
    memcpy(to->counters, from->counters, sizeof to->counters);
    to->counters[QS_COUNT_CONNS] = 0;
}

static void hop(struct sim *s, int side)
{
    qs_engine *old = s->engines[side], *new;
    if (some_would_stay(old) || old->reply_head != old->reply_tail)
        return;
    new = make_engine(&s->o, side, s->n_engines++);
    copy_settings(new, old);
    uint32_t at = 0;
    for (size_t n; (n = qs_engine_flow_next(old, any_flow, NULL, &at, 7)) || at != UINT32_MAX;) {
        if (n == 0)
            continue;
        qs_conn conn;
        void *parcel = malloc(n);
        REQUIRE(parcel);
        (void)qs_engine_pack(old, at, parcel);
        REQUIRE(qs_engine_unpack(new, parcel, n, sim_now(s), &conn) == 0);
        free(parcel);
        s->hops++;
    }
    CHECK_EQ(old->pool.used, 0);
    CHECK_EQ(old->sent.used, 0);
    CHECK_EQ(old->event_classes | old->ready_classes, 0);
    check(s, side);
    audit_past_free(&s->past[side]);
    s->past[side] = (struct audit_past){0};
    qs_engine_free(old);
    s->engines[side] = new;
    check(s, side);
}

/* ---- running ---- */

static void serve(struct sim *s, int side)
{
    struct qs_event ev[BATCH];
    size_t n;
    while ((n = qs_engine_events(s->engines[side], ev, BATCH)) > 0)
        for (size_t i = 0; i < n; i++)
            if (s->on_event)
                s->on_event(s, side, &ev[i], s->ctx);
}

static void drain(struct sim *s, int side)
{
    struct qs_frame f[BATCH];
    size_t n;
    do {
        memset(f, 0, sizeof f);
        for (int i = 0; i < BATCH; i++) {
            f[i].data = s->tx[i];
            f[i].room = FRAME_ROOM;
        }
        n = qs_engine_tx(s->engines[side], f, BATCH, sim_now(s));
        for (size_t i = 0; i < n; i++)
            transmit(s, side, &f[i]);
        serve(s, side);
    } while (n == BATCH);
}

static const uint8_t *ip_of(const struct flying *y)
{
    return y->data + FRAME_ETH;
}

static bool is_v4(const struct flying *y)
{
    return ip_of(y)[0] >> 4 == 4;
}

static uint32_t tcp_at(const struct flying *y)
{
    return FRAME_ETH + (is_v4(y) ? 20 : 40);
}

/* Ethernet, IP and TCP header. */
static uint32_t headers(const struct flying *y)
{
    return tcp_at(y) + (y->data[tcp_at(y) + 12] >> 4) * 4u;
}

/* A TCP segment with octets, and no flag but ACK and PSH. */
static bool mergeable(const struct flying *y)
{
    return ip_of(y)[is_v4(y) ? 9 : 6] == 6 && y->len > headers(y) &&
           (y->data[tcp_at(y) + 13] & ~8u) == 16;
}

/* Do they differ in sequence number, PSH and octets at most, and does `b` go on where `a` ends? */
static bool goes_on(const struct flying *a, const struct flying *b)
{
    uint32_t tcp = tcp_at(a), head = headers(a);
    if (a->to != b->to || !mergeable(b) || tcp != tcp_at(b) || head != headers(b))
        return false;
    const uint8_t *x = a->data, *y = b->data;
    return memcmp(x + tcp, y + tcp, 4) == 0 && memcmp(x + tcp + 8, y + tcp + 8, 4) == 0 &&
           memcmp(x + tcp + 20, y + tcp + 20, head - tcp - 20) == 0 &&
           be(x + tcp + 4, 4) + (a->len - head) == be(y + tcp + 4, 4);
}

/* Puts the octets of `b` behind those of `a`; `b` is gone. */
static void append(struct flying *a, struct flying *b)
{
    uint32_t head = headers(a), more = b->len - head;
    a->data = realloc(a->data, a->len + more);
    REQUIRE(a->data);
    memcpy(a->data + a->len, b->data + head, more);
    a->len += more;
    a->data[tcp_at(a) + 13] |= b->data[tcp_at(b) + 13];
    uint32_t packet = a->len - FRAME_ETH;
    put(a->data + FRAME_ETH + (is_v4(a) ? 2 : 4), 2, is_v4(a) ? packet : packet - 40);
    if (is_v4(a)) {
        put(a->data + FRAME_ETH + 10, 2, 0);
        put(a->data + FRAME_ETH + 10, 2, naive_checksum(naive_sum(ip_of(a), 20, 0)));
    }
    a->flags |= QS_FRAME_CSUM_OK; /* as the device says of what it merged */
    free(b->data);
}

/* Takes what is on its way next, when it arrives at `side` before `until`. */
static bool next_for(struct sim *s, int side, uint64_t until, struct flying *out)
{
    if (!s->n_heap || s->heap[0].due_ns > until || s->heap[0].to != side)
        return false;
    *out = heap_pop(s);
    s->now_ns = out->due_ns > s->now_ns ? out->due_ns : s->now_ns;
    return true;
}

static void hand_up(struct sim *s, struct flying *y)
{
    struct qs_frame f = {
        .data = y->data, .len = y->len, .flags = y->flags, .gso_bytes = y->gso_bytes};
    qs_engine_rx(s->engines[y->to], &f, 1, sim_now(s));
    free(y->data);
}

static void deliver(struct sim *s)
{
    struct flying y = heap_pop(s), next;
    int side = y.to;
    if (chance(s, s->o.hop_ppm))
        hop(s, side);
    uint64_t until = y.due_ns + s->o.faults.merge_ns;
    while (s->o.faults.merge_ns && next_for(s, side, until, &next)) {
        if (mergeable(&y) && goes_on(&y, &next) && y.len + next.len < MERGED_MAX) {
            append(&y, &next);
        } else {
            hand_up(s, &y);
            y = next;
        }
    }
    hand_up(s, &y);
    if (chance(s, s->o.hop_ppm)) /* with events, and before answers have left */
        hop(s, side);
    serve(s, side);
    drain(s, side);
}

static uint64_t earliest(const struct sim *s)
{
    uint64_t next = s->n_heap ? s->heap[0].due_ns : UINT64_MAX;
    for (int side = 0; side < 2; side++) {
        uint64_t d = qs_engine_deadline(s->engines[side]).ns;
        if (d < next)
            next = d;
    }
    return next;
}

bool sim_run(struct sim *s, qs_time until, const bool *stop)
{
    for (;;) {
        if (stop && *stop)
            return true;
        uint64_t next = earliest(s);
        if (next > until.ns) {
            s->now_ns = until.ns;
            return false;
        }
        if (next > s->now_ns)
            s->now_ns = next;
        if (s->n_heap && s->heap[0].due_ns <= s->now_ns) {
            deliver(s);
            continue;
        }
        for (int side = 0; side < 2; side++) {
            serve(s, side);
            drain(s, side);
        }
        if (s->turns++ % AUDIT_EVERY == 0) {
            check(s, 0);
            check(s, 1);
        }
    }
}
