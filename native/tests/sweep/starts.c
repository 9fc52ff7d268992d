/* SPDX-License-Identifier: Apache-2.0 */
/* The states, each with the segment that would be valid there. */
#include "sweep.h"

#define RCVBUF 16384u

/* ---- how each is reached ---- */

static struct wish segment(uint8_t flags, uint32_t seq, uint32_t len, uint32_t ack)
{
    return (struct wish){.flags = flags, .seq = seq, .len = len, .ack = ack, .ts = true};
}

static void listening(struct rig *r, struct wish *valid)
{
    rig_listen(r);
    *valid = segment(SYN, 0, 0, 0);
}

static void syn_sent(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_SYN_SENT);
    *valid = segment(SYN | ACK, 0, 0, 1);
}

static void syn_received(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_SYN_RECEIVED);
    *valid = segment(ACK, 1, 0, 1);
}

static void simultaneous_open(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_SYN_SENT);
    rig_in(r, 10, &(struct seg){"S", 0, 0, 0, .opts = r->syn_opts});
    *valid = segment(ACK, 1, 0, 1);
}

static void idle(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_ESTABLISHED);
    *valid = segment(ACK | PSH, 1, 100, 1);
}

static void data_out(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_ESTABLISHED);
    rig_write(r, 3000);
    *valid = segment(ACK, 1, 0, 989);
}

static void data_ahead(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_ESTABLISHED);
    rig_in(r, 20, &(struct seg){".", 1001, 1000, 1});
    rig_in(r, 20, &(struct seg){".", 3001, 1000, 1});
    *valid = segment(ACK, 1, 1000, 1);
}

/* The peer's window is shut and a probe is out. */
static void peer_shut(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_ESTABLISHED);
    rig_in(r, 20, &(struct seg){".", 1, 0, 1});
    struct frame f;
    rig_build(r, &f, &(struct seg){".", 1, 0, 1});
    put(frame_l4(&f) + 14, 2, 0);
    frame_fix(&f);
    rig_frame(r, 20, &f);
    rig_write(r, 2000);
    rig_run(r, 300);
    *valid = segment(ACK, 1, 0, 1);
}

/* Our window is shut. */
static void own_shut(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_ESTABLISHED);
    rig_in(r, 20, &(struct seg){".", 1, RCVBUF, 1});
    rig_flush(r);
    *valid = segment(ACK, 1 + RCVBUF, 1, 1);
}

static void recovery(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_ESTABLISHED);
    rig_write(r, 8000);
    rig_flush(r);
    rig_in(r, 20, &(struct seg){".", 1, 0, 1, .opts = "sack 2977-6941"});
    rig_in(r, 20, &(struct seg){".", 1, 0, 1});
    rig_in(r, 20, &(struct seg){".", 1, 0, 1});
    rig_in(r, 20, &(struct seg){".", 1, 0, 1});
    REQUIRE(rig_count(r, QS_COUNT_FAST_RETRANSMITS) == 1);
    *valid = segment(ACK, 1, 0, 989);
}

static void after_timeout(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_ESTABLISHED);
    rig_write(r, 3000);
    rig_run(r, 1500);
    REQUIRE(rig_count(r, QS_COUNT_RTO_EXPIRIES) > 0);
    *valid = segment(ACK, 1, 0, 989);
}

static void fin_wait_1(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_FIN_WAIT_1);
    *valid = segment(ACK | FIN, 1, 0, 2);
}

static void fin_behind_data(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_ESTABLISHED);
    rig_write(r, 3000);
    REQUIRE(qs_conn_shutdown(r->e, r->conn) == 0);
    *valid = segment(ACK, 1, 100, 989);
}

static void fin_wait_2(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_FIN_WAIT_2);
    *valid = segment(ACK | FIN, 1, 0, 2);
}

static void orphan(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_FIN_WAIT_2);
    REQUIRE(qs_conn_close(r->e, r->conn) == 0);
    *valid = segment(ACK | FIN, 1, 0, 2);
}

static void closing(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_CLOSING);
    *valid = segment(ACK, 2, 0, 2);
}

static void close_wait(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_CLOSE_WAIT);
    rig_write(r, 1500);
    *valid = segment(ACK, 2, 0, 989);
}

static void last_ack(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_LAST_ACK);
    *valid = segment(ACK, 2, 0, 2);
}

static void time_wait(struct rig *r, struct wish *valid)
{
    rig_to(r, QS_TCP_TIME_WAIT);
    *valid = segment(ACK | FIN, 1, 0, 2);
}

const struct start sweep_starts[] = {
    {"LISTEN", QS_TCP_LISTEN, listening},
    {"SYN-SENT", QS_TCP_SYN_SENT, syn_sent},
    {"SYN-RECEIVED", QS_TCP_SYN_RECEIVED, syn_received},
    {"SYN-RECEIVED, simultaneous", QS_TCP_SYN_RECEIVED, simultaneous_open},
    {"ESTABLISHED", QS_TCP_ESTABLISHED, idle},
    {"ESTABLISHED, data out", QS_TCP_ESTABLISHED, data_out},
    {"ESTABLISHED, data ahead of holes", QS_TCP_ESTABLISHED, data_ahead},
    {"ESTABLISHED, peer's window shut", QS_TCP_ESTABLISHED, peer_shut},
    {"ESTABLISHED, own window shut", QS_TCP_ESTABLISHED, own_shut},
    {"ESTABLISHED, recovery", QS_TCP_ESTABLISHED, recovery},
    {"ESTABLISHED, after a timeout", QS_TCP_ESTABLISHED, after_timeout},
    {"FIN-WAIT-1", QS_TCP_FIN_WAIT_1, fin_wait_1},
    {"FIN-WAIT-1, data out", QS_TCP_FIN_WAIT_1, fin_behind_data},
    {"FIN-WAIT-2", QS_TCP_FIN_WAIT_2, fin_wait_2},
    {"FIN-WAIT-2, given up", QS_TCP_FIN_WAIT_2, orphan},
    {"CLOSING", QS_TCP_CLOSING, closing},
    {"CLOSE-WAIT, data out", QS_TCP_CLOSE_WAIT, close_wait},
    {"LAST-ACK", QS_TCP_LAST_ACK, last_ack},
    {"TIME-WAIT", QS_TCP_TIME_WAIT, time_wait},
};
const size_t sweep_n_starts = sizeof sweep_starts / sizeof sweep_starts[0];

/* ---- there and back ---- */

/* Calls `fn` for each piece of memory that says what state the engine is in. Chunks that were never
 * used, and the bytes of replies that were sent, say nothing. */
static void pieces(const struct qs_engine *e, uint32_t chunks,
                   void (*fn)(void *piece, size_t bytes, void *ctx), void *ctx)
{
    fn(e->blocks, e->opts.conns_max * sizeof *e->blocks, ctx);
    fn(e->table.entries, (e->table.mask + 1u) * sizeof *e->table.entries, ctx);
    fn(e->neighs, QS_NEIGHS_MAX * sizeof *e->neighs, ctx);
    fn(e->pool.chunks, chunks * sizeof *e->pool.chunks, ctx);
    fn(e->sent.records, e->sent.n * sizeof *e->sent.records, ctx);
}

static void save(void *piece, size_t bytes, void *ctx)
{
    uint8_t **at = ctx;
    memcpy(*at, piece, bytes);
    *at += bytes;
}

static void restore(void *piece, size_t bytes, void *ctx)
{
    uint8_t **at = ctx;
    memcpy(piece, *at, bytes);
    *at += bytes;
}

struct comparison {
    const uint8_t *at;
    bool same;
};

static void compare(void *piece, size_t bytes, void *ctx)
{
    struct comparison *c = ctx;
    c->same = c->same && memcmp(piece, c->at, bytes) == 0;
    c->at += bytes;
}

static void add(void *piece, size_t bytes, void *ctx)
{
    (void)piece;
    *(size_t *)ctx += bytes;
}

struct qs_block *world_conn(const struct world *w)
{
    struct qs_engine *e = w->r->e;
    for (uint32_t i = 0; i < e->fresh_block; i++) {
        struct qs_block *c = &e->blocks[i];
        if (c->gen % 2 == 1 && c->remote_port == RIG_PEER_PORT && c->state != QS_TCP_CLOSED)
            return c;
    }
    return NULL;
}

void world_open(struct world *w, const struct start *start)
{
    qs_engine_opts o = rig_opts();
    o.conns_max = 4;
    o.chunks_max = 64;
    o.rcvbuf_bytes = o.sndbuf_bytes = RCVBUF;
    *w = (struct world){.start = start, .r = rig_new(&o, false)};
    w->r->syn_opts = "mss 1000 ws 0 sok ts 1000:0";
    start->reach(w->r, &w->valid);
    rig_flush(w->r);
    REQUIRE(start->state == QS_TCP_LISTEN || world_conn(w)->state == start->state);
    struct qs_block *c = world_conn(w);
    if (c)
        w->was = *c;
    w->valid.wnd = 65535;
    w->valid.ts_val = 1010;
    w->valid.ts_ecr = w->valid.ack ? (uint32_t)(w->r->now_ns >> QS_TS_SHIFT) + w->was.ts_offset : 0;
    w->valid.opts = w->valid.flags & SYN ? "mss 1000 ws 0 sok" : "";
    w->saved_rig = *w->r;
    memcpy(w->counters, w->r->e->counters, sizeof w->counters);
    size_t bytes = sizeof *w->r->e;
    pieces(w->r->e, w->r->e->pool.fresh, add, &bytes);
    uint8_t *at = w->saved = malloc(bytes);
    REQUIRE(at);
    save(w->r->e, sizeof *w->r->e, &at);
    pieces(w->r->e, w->r->e->pool.fresh, save, &at);
    rig_audit(w->r);
}

void world_restore(struct world *w)
{
    *w->r = w->saved_rig;
    uint8_t *at = w->saved;
    restore(w->r->e, sizeof *w->r->e, &at);
    pieces(w->r->e, w->r->e->pool.fresh, restore, &at);
}

bool world_unchanged(const struct world *w)
{
    static struct qs_engine now;
    struct comparison c = {w->saved + sizeof now, true};
    const struct qs_engine *was = (const struct qs_engine *)(const void *)w->saved;
    now = *w->r->e;
    memcpy(now.counters, was->counters, sizeof now.counters);
    now.now = was->now;
    pieces(w->r->e, was->pool.fresh, compare, &c);
    return c.same && memcmp(&now, was, sizeof now) == 0;
}

void world_close(struct world *w)
{
    world_restore(w);
    rig_free(w->r);
    free(w->saved);
}
