/* SPDX-License-Identifier: Apache-2.0 */
/* A connection as one piece of memory, on its way to another engine. What names a place of an
 * engine is not in it, or is made anew: docs/design/021-moving-flows.md. */
#include "qstack/qs_parcel.h"

#include "engine.h"

/* Begins a parcel. Behind it: qs_messages of a framed connection, records of what is out, octets
 * received, octets to be sent, octets of each class that are staged, and chunks ahead of a hole,
 * each as qs_ahead and its octets. */
struct parcel {
    uint64_t octets; /* of all */
    uint64_t mark;   /* MARK */
    qs_addr local;
    struct qs_block block;
    uint32_t n_sent;
    uint8_t mac[6]; /* of the neighbour, if it is known */
    bool mac_known;
    uint16_t vlan;
    bool told; /* the application has a handle */
};

struct ahead {
    qs_seq seq;
    uint32_t len;
};

#define MARK 0x716d6f7665640001u

/* ---- sizes ---- */

static uint32_t chunks_for(uint32_t octets)
{
    return octets / QS_CHUNK_BYTES + (octets % QS_CHUNK_BYTES != 0);
}

static const struct qs_messages *messages_of(const struct qs_engine *e, const struct qs_block *c)
{
    return c->flags & QS_CF_FRAMED ? &e->messages[qs_block_idx(e, c)] : NULL;
}

static size_t parcel_octets(const struct qs_engine *e, const struct qs_block *c)
{
    const struct qs_messages *m = messages_of(e, c);
    size_t n = sizeof(struct parcel) + c->loss.n * sizeof(struct qs_sent) + c->rx.len + c->tx.len;
    if (m)
        n += sizeof *m;
    for (uint32_t p = 0; m && p < QS_N_PRIO; p++)
        n += m->staged[p].len;
    for (uint32_t i = c->ooo_head; i != QS_NO_IDX; i = e->pool.chunks[i].next)
        n += sizeof(struct ahead) + e->pool.chunks[i].len;
    return n;
}

/* ---- out ---- */

static void put(uint8_t **to, const void *from, size_t n)
{
    memcpy(*to, from, n);
    *to += n;
}

static void put_bytes(const struct qs_engine *e, uint8_t **to, const struct qs_bytes *b)
{
    for (uint32_t i = b->head; i != QS_NO_IDX; i = e->pool.chunks[i].next) {
        const struct qs_chunk *k = &e->pool.chunks[i];
        put(to, k->data + k->start, k->len);
    }
}

static void put_sent(const struct qs_engine *e, uint8_t **to, const struct qs_block *c)
{
    for (struct qs_sent *r = qs_sent_first(&e->sent, c); r; r = qs_sent_next(&e->sent, r))
        put(to, r, sizeof *r);
}

static void put_ahead(const struct qs_engine *e, uint8_t **to, const struct qs_block *c)
{
    for (uint32_t i = c->ooo_head; i != QS_NO_IDX; i = e->pool.chunks[i].next) {
        const struct qs_chunk *k = &e->pool.chunks[i];
        const struct ahead head = {k->seq, k->len};
        put(to, &head, sizeof head);
        put(to, k->data + k->start, k->len);
    }
}

static bool is_told(const struct qs_block *c)
{
    return !(c->flags & (QS_CF_HALF_OPEN | QS_CF_ORPHAN | QS_CF_UNTAKEN));
}

static void pack(const struct qs_engine *e, const struct qs_block *c, uint8_t *to)
{
    const struct qs_neigh_entry *n = &e->neighs[c->neigh];
    const struct qs_messages *m = messages_of(e, c);
    struct parcel p = {.octets = parcel_octets(e, c),
                       .mark = MARK,
                       .local = *qs_block_local(e, c),
                       .block = *c,
                       .n_sent = c->loss.n,
                       .mac_known = n->state == QS_NEIGH_VALID,
                       .vlan = n->vlan,
                       .told = is_told(c)};
    memcpy(p.mac, n->mac, sizeof p.mac);
    put(&to, &p, sizeof p);
    if (m)
        put(&to, m, sizeof *m);
    put_sent(e, &to, c);
    put_bytes(e, &to, &c->rx);
    put_bytes(e, &to, &c->tx);
    for (uint32_t prio = 0; m && prio < QS_N_PRIO; prio++)
        put_bytes(e, &to, &m->staged[prio]);
    put_ahead(e, &to, c);
}

static struct qs_flow flow_of(const struct qs_engine *e, const struct qs_block *c)
{
    return (struct qs_flow){.local = *qs_block_local(e, c),
                            .remote = c->remote,
                            .local_port = c->local_port,
                            .remote_port = c->remote_port,
                            .prio = c->prio};
}

size_t qs_engine_flow_next(const qs_engine *e, qs_flow_fn which, void *ctx, uint32_t *at,
                           uint32_t looks)
{
    for (; *at < e->fresh_block && looks > 0; ++*at, looks--) {
        const struct qs_block *c = &e->blocks[*at];
        struct qs_flow flow;
        if (!(c->flags & QS_CF_IN_TABLE) || c->gen % 2 == 0)
            continue;
        flow = flow_of(e, c);
        if (which(ctx, &flow))
            return parcel_octets(e, c);
    }
    if (*at >= e->fresh_block)
        *at = UINT32_MAX;
    return 0;
}

struct qs_packed qs_engine_pack(qs_engine *e, uint32_t at, void *parcel)
{
    struct qs_block *c = &e->blocks[at];
    const struct qs_packed out = {.conn = qs_block_handle(e, c),
                                  .listener = c->flags & QS_CF_PASSIVE ? c->listener : -1,
                                  .told = is_told(c)};
    pack(e, c, parcel);
    qs_block_free(e, c);
    qs_chunks_publish(e);
    return out;
}

/* ---- in ---- */

struct reader {
    const uint8_t *at;
    size_t left;
};

static const void *get(struct reader *r, size_t n)
{
    const uint8_t *at = r->at;
    r->at += n;
    r->left -= n;
    return at;
}

/* Octets that are staged. */
static uint64_t staged_octets(const struct qs_messages *m)
{
    uint64_t sum = 0;
    for (uint32_t p = 0; p < QS_N_PRIO; p++)
        sum += m->staged[p].len;
    return sum;
}

static uint32_t staged_chunks(const struct qs_messages *m)
{
    uint32_t sum = 0;
    for (uint32_t p = 0; p < QS_N_PRIO; p++)
        sum += chunks_for(m->staged[p].len);
    return sum;
}

/* Is all there that the parcel says is in it? `m`: its messages, if it has any. */
static bool whole(const struct qs_engine *e, const struct parcel *p, const struct qs_messages *m,
                  struct reader r)
{
    uint64_t n = (uint64_t)p->n_sent * sizeof(struct qs_sent) + p->block.rx.len + p->block.tx.len;
    n += m ? staged_octets(m) : 0;
    if (n > r.left || (m && (m->conf > e->n_message_confs || !e->message_confs[m->conf].framed)))
        return false;
    (void)get(&r, n);
    for (uint32_t i = 0; i < p->block.n_ooo; i++) {
        struct ahead head;
        if (r.left < sizeof head)
            return false;
        memcpy(&head, get(&r, sizeof head), sizeof head);
        if (head.len > QS_CHUNK_BYTES || head.len > r.left)
            return false;
        (void)get(&r, head.len);
    }
    return r.left == 0;
}

static bool has_listener(const struct qs_engine *e, const struct qs_block *c)
{
    return !(c->flags & QS_CF_PASSIVE) ||
           (c->listener < e->n_listeners && e->listeners[c->listener].port == c->local_port);
}

static bool has_room(const struct qs_engine *e, const struct parcel *p, const struct qs_messages *m)
{
    const struct qs_block *c = &p->block;
    uint32_t chunks = chunks_for(c->rx.len) + chunks_for(c->tx.len) + c->n_ooo;
    chunks += m ? staged_chunks(m) : 0;
    return chunks <= e->pool.n - e->pool.used && p->n_sent <= e->sent.n - e->sent.used;
}

static void get_written(struct qs_engine *e, struct reader *r, struct qs_bytes *b, uint32_t len)
{
    qs_bytes_init(b);
    qs_bytes_write(&e->pool, b, get(r, len), len, 0);
}

static void get_ahead(struct qs_engine *e, struct reader *r, struct qs_block *c)
{
    c->ooo_head = c->ooo_tail = QS_NO_IDX;
    for (uint32_t i = 0; i < c->n_ooo; i++) {
        struct ahead head;
        memcpy(&head, get(r, sizeof head), sizeof head);
        uint32_t idx = qs_chunk_take(&e->pool, 0);
        struct qs_chunk *k = &e->pool.chunks[idx];
        k->seq = head.seq;
        k->len = (uint16_t)head.len;
        memcpy(k->data, get(r, head.len), head.len);
        if (c->ooo_tail == QS_NO_IDX)
            c->ooo_head = idx;
        else
            e->pool.chunks[c->ooo_tail].next = idx;
        c->ooo_tail = idx;
    }
}

static void get_messages(struct qs_engine *e, const struct qs_block *c, const struct qs_messages *m)
{
    struct qs_messages *own = &e->messages[qs_block_idx(e, c)];
    *own = *m;
    own->listed = c->prio;
    for (uint32_t i = 0; i < own->n_records; i++)
        own->records[i].at.chunk = QS_NO_IDX;
}

/* Where `scan` is in what was received. */
static void find_scan(struct qs_engine *e, const struct qs_block *c)
{
    struct qs_messages *m = &e->messages[qs_block_idx(e, c)];
    bool over = c->flags & QS_CF_FIN_ARRIVED && qs_seq_lt(c->rcv_fin, c->rcv_nxt);
    qs_seq front = {(over ? c->rcv_fin.v : c->rcv_nxt.v) - c->rx.len};
    m->at = qs_bytes_find(&e->pool, &c->rx, qs_seq_span(front, m->scan));
}

/* The block, but for what is its engine's own. */
static void get_block(struct qs_engine *e, struct qs_block *c, const struct parcel *p)
{
    struct qs_block own = *c;
    *c = p->block;
    c->gen = own.gen;
    c->neigh = own.neigh;
    c->local_idx = own.local_idx;
    c->timer = own.timer;
    c->loss.head = c->loss.tail = QS_NO_IDX;
    c->cursor.chunk = QS_NO_IDX;
    c->in_ready = QS_READY_NOT;
    c->ev_flags = 0;
    c->flags &= ~(QS_CF_IN_TABLE | QS_CF_HALF_OPEN);
    e->grown[c->prio] += qs_buffers_grown(e, c);
    if (c->flags & QS_CF_UNTAKEN)
        e->listeners[c->listener].untaken++;
    if (p->block.flags & QS_CF_HALF_OPEN)
        qs_half_open_adopt(e, c);
}

/* Table, lists and timer of a block that is complete. */
static void enter(struct qs_engine *e, struct qs_block *c, const struct parcel *p, uint32_t hash,
                  const struct qs_messages *m)
{
    c->hash = hash;
    e->opened = true; /* the hash is a keyed one */
    qs_block_enter(e, c);
    uint8_t flags = p->block.ev_flags | (p->told ? QS_EVENT_MOVED : 0);
    if (flags && m)
        qs_block_event_class(e, c, flags, m->listed);
    else if (flags)
        qs_block_event(e, c, flags);
    if (p->block.in_ready != QS_READY_NOT)
        qs_block_ready(e, c);
    qs_block_arm(e, c);
}

/* @return the new block, with route and neighbour, or NULL and the reason. */
static struct qs_block *admit(struct qs_engine *e, const struct parcel *p, uint8_t local_idx,
                              qs_err *err)
{
    qs_addr next_hop;
    *err = QS_ERR_ADDRNOTAVAIL;
    if (!qs_route(e, &p->block.remote, &next_hop))
        return NULL;
    const struct qs_neigh_entry *n = qs_neigh_find(e, &next_hop, p->vlan);
    if (p->mac_known && (!n || n->state != QS_NEIGH_VALID)) {
        struct qs_neigh told = {.addr = next_hop, .vlan = p->vlan, .news = QS_NEIGH_LEARNED};
        memcpy(told.mac, p->mac, sizeof told.mac);
        qs_engine_neigh_told(e, &told, e->now);
    }
    struct qs_block *c = qs_tcp_new_conn(e, &p->block.remote, p->vlan, local_idx, p->block.prio);
    *err = c ? 0 : QS_ERR_NOMEM;
    return c;
}

qs_err qs_engine_unpack(qs_engine *e, const void *parcel, size_t octets, qs_time now, qs_conn *conn)
{
    struct reader r = {parcel, octets};
    struct parcel p;
    struct qs_messages kept, *m = NULL;
    if (octets < sizeof p)
        return QS_ERR_ARG;
    memcpy(&p, get(&r, sizeof p), sizeof p);
    if (p.mark != MARK || p.octets != octets)
        return QS_ERR_ARG;
    if (p.block.flags & QS_CF_FRAMED) {
        if (r.left < sizeof kept)
            return QS_ERR_ARG;
        memcpy(m = &kept, get(&r, sizeof kept), sizeof kept);
    }
    if (!whole(e, &p, m, r) || !has_listener(e, &p.block))
        return QS_ERR_ARG;
    int local = qs_local_find(e, &p.local);
    if (local < 0 || !qs_vlan_taken(e, p.vlan))
        return QS_ERR_ADDRNOTAVAIL;
    const struct qs_block *b = &p.block;
    uint32_t hash = qs_tuple_hash(e, &b->remote, b->remote_port, (uint8_t)local, b->local_port);
    if (qs_block_find(e, hash, &b->remote, b->remote_port, (uint8_t)local, b->local_port))
        return QS_ERR_ADDRINUSE;
    if (!has_room(e, &p, m))
        return QS_ERR_NOMEM;
    e->now = now;
    qs_err err;
    struct qs_block *c = admit(e, &p, (uint8_t)local, &err);
    if (!c)
        return err;
    get_block(e, c, &p);
    if (m)
        get_messages(e, c, m);
    qs_sent_adopt(&e->sent, c, get(&r, p.n_sent * sizeof(struct qs_sent)), p.n_sent);
    qs_bytes_init(&c->rx);
    qs_bytes_append(&e->pool, &c->rx, get(&r, b->rx.len), b->rx.len, 0);
    get_written(e, &r, &c->tx, b->tx.len);
    for (uint32_t prio = 0; m && prio < QS_N_PRIO; prio++)
        get_written(e, &r, &e->messages[qs_block_idx(e, c)].staged[prio], m->staged[prio].len);
    get_ahead(e, &r, c);
    if (m)
        find_scan(e, c);
    enter(e, c, &p, hash, m);
    qs_chunks_publish(e);
    *conn = qs_block_handle(e, c);
    return 0;
}

/* ---- segments that are others' ---- */

void qs_engine_divert(qs_engine *e, qs_divert_fn fn, void *ctx, bool all)
{
    e->divert = fn;
    e->divert_ctx = ctx;
    e->divert_all = all;
}
