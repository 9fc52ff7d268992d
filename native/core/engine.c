/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's life, and its three driving calls: receive, transmit, deadline. */
#include "engine.h"

#define BUFFER_MAX (1u << 30) /* RFC 7323 section 2.3 */

void qs_engine_opts_init(qs_engine_opts *o)
{
    *o = (qs_engine_opts){
        .size = sizeof *o,
        .conns_max = 65536,
        .chunks_max = 65536,
        .rcvbuf_bytes = 256 * 1024,
        .sndbuf_bytes = 256 * 1024,
        .mtu = 1500,
        .rto_initial = QS_S(1),
        .rto_min = QS_MS(200),
        .rto_max = QS_S(60),
        .delayed_ack = QS_MS(40),
        .time_wait = QS_S(60),
        .fin_wait_2 = QS_S(60),
        .user_timeout = QS_S(300),
        .syn_retries_max = 5,
        .synack_retries_max = 3,
        .source_bits4 = 32,
        .source_bits6 = 64,
        .challenges_per_second = 1000,
    };
}

static bool buffer_fine(uint32_t initial, uint32_t most, uint32_t mtu)
{
    if (most < QS_BUF_MIN || most > BUFFER_MAX)
        return false;
    if (initial == 0)
        return true;
    return initial <= most && initial >= QS_BUF_MIN &&
           initial >= mtu - QS_IPV4_BYTES - QS_TCP_BYTES;
}

static bool opts_fine(const qs_engine_opts *o)
{
    if (o->size != sizeof *o || o->id > 255 || o->conns_max == 0 || o->conns_max >= 1u << 24)
        return false;
    if (o->chunks_max < 16 || o->chunks_max >= 1u << 24)
        return false;
    if (o->mtu < 576 || o->mtu > 65535)
        return false;
    if (!buffer_fine(o->rcvbuf_initial_bytes, o->rcvbuf_bytes, o->mtu) ||
        !buffer_fine(o->sndbuf_initial_bytes, o->sndbuf_bytes, o->mtu))
        return false;
    if (o->offloads & QS_OFFLOAD_TSO &&
        (!(o->offloads & QS_OFFLOAD_TX_CSUM) || o->gso_max_bytes < o->mtu + QS_ETH_BYTES ||
         o->gso_max_bytes > 65549))
        return false;
    if (o->source_bits4 == 0 || o->source_bits4 > 32 || o->source_bits6 == 0 ||
        o->source_bits6 > 128)
        return false;
    if (o->challenges_per_second == 0 || o->challenges_per_second > 1u << 30)
        return false;
    return o->rto_initial.ns && o->rto_min.ns && o->rto_max.ns >= o->rto_min.ns &&
           o->delayed_ack.ns <= QS_MS(500).ns && o->user_timeout.ns;
}

/* Sizes of the blocks of memory that an engine lives in. */
struct layout {
    size_t engine, blocks, table, chunks, sent, neighs, replies, messages, confs;
    size_t table_entries;
    uint32_t reply_bytes, sent_records;
};

static struct layout layout_of(const qs_engine_opts *o)
{
    struct layout l = {.table_entries = qs_table_entries(o->conns_max)};
    l.reply_bytes = (o->mtu + QS_ETH_BYTES + QS_VLAN_BYTES + 63) & ~63u;
    l.engine = sizeof(struct qs_engine);
    l.blocks = (size_t)o->conns_max * sizeof(struct qs_block);
    l.table = l.table_entries * sizeof(uint64_t);
    l.chunks = (size_t)o->chunks_max * sizeof(struct qs_chunk);
    /* One for each connection, and one for each KiB that is out: more than segments have. */
    l.sent_records = o->conns_max + 2 * o->chunks_max;
    l.sent = (size_t)l.sent_records * sizeof(struct qs_sent);
    l.neighs = QS_NEIGHS_MAX * sizeof(struct qs_neigh_entry);
    l.replies = (size_t)QS_REPLIES_MAX * l.reply_bytes;
    l.messages = o->conns_max * sizeof(struct qs_messages);
    l.confs = QS_MESSAGE_CONFS_MAX * sizeof(struct qs_message_conf);
    return l;
}

static void give(const struct qs_mem *m, void *block, size_t bytes)
{
    if (block)
        m->free(m->ctx, block, bytes);
}

void qs_engine_free(qs_engine *e)
{
    if (!e)
        return;
    struct layout l = layout_of(&e->opts);
    struct qs_mem mem = e->mem;
    give(&mem, e->blocks, l.blocks);
    give(&mem, e->table.entries, l.table);
    give(&mem, e->pool.chunks, l.chunks);
    give(&mem, e->sent.records, l.sent);
    give(&mem, e->neighs, l.neighs);
    give(&mem, e->reply_data, l.replies);
    give(&mem, e->messages, l.messages);
    give(&mem, e->message_confs, l.confs);
    give(&mem, e->message_head, QS_MESSAGE_HEAD_MAX);
    give(&mem, e, l.engine);
}

/* Keys for what an outsider sees or may cause at will are not those of the ISN and the tables. */
static struct qs_sipkey key_for(const struct qs_sipkey *secret, uint64_t use)
{
    uint64_t w[2] = {use, 0};
    struct qs_sipkey k;
    k.k[0] = qs_siphash24(secret, w, 2);
    w[1] = 1;
    k.k[1] = qs_siphash24(secret, w, 2);
    return k;
}

static void make_keys(struct qs_engine *e)
{
    memcpy(&e->isn_key, e->opts.secret, sizeof e->isn_key);
    memcpy(&e->hash_key, e->opts.secret + sizeof e->isn_key, sizeof e->hash_key);
    e->cookie_key = key_for(&e->isn_key, 1);
    e->budget_key = key_for(&e->isn_key, 2);
    e->prefix_key = key_for(&e->hash_key, 3);
    e->source_key = key_for(&e->hash_key, 4);
}

qs_err qs_engine_new(qs_engine **out, const qs_engine_opts *o, const struct qs_mem *mem)
{
    *out = NULL;
    if (!opts_fine(o))
        return QS_ERR_ARG;
    struct layout l = layout_of(o);
    struct qs_engine *e = mem->alloc(mem->ctx, l.engine);
    if (!e)
        return QS_ERR_NOMEM;
    e->opts = *o;
    if (!o->rcvbuf_initial_bytes)
        e->opts.rcvbuf_initial_bytes = o->rcvbuf_bytes;
    if (!o->sndbuf_initial_bytes)
        e->opts.sndbuf_initial_bytes = o->sndbuf_bytes;
    qs_buffers_init(e);
    qs_classes_init(e);
    e->mem = *mem;
    e->blocks = mem->alloc(mem->ctx, l.blocks);
    e->table.entries = mem->alloc(mem->ctx, l.table);
    struct qs_chunk *chunks = mem->alloc(mem->ctx, l.chunks);
    qs_chunk_pool_init(&e->pool, chunks, o->chunks_max);
    struct qs_sent *records = mem->alloc(mem->ctx, l.sent);
    qs_sent_pool_init(&e->sent, records, l.sent_records, o->conns_max);
    e->neighs = mem->alloc(mem->ctx, l.neighs);
    e->reply_data = mem->alloc(mem->ctx, l.replies);
    e->messages = mem->alloc(mem->ctx, l.messages);
    e->message_confs = mem->alloc(mem->ctx, l.confs);
    e->message_head = mem->alloc(mem->ctx, QS_MESSAGE_HEAD_MAX);
    if (!e->blocks || !e->table.entries || !chunks || !records || !e->neighs || !e->reply_data ||
        !e->messages || !e->message_confs || !e->message_head) {
        qs_engine_free(e);
        return QS_ERR_NOMEM;
    }
    e->table.mask = (uint32_t)l.table_entries - 1;
    e->reply_bytes = l.reply_bytes;
    make_keys(e);
    e->challenges = (struct qs_budget){.second = UINT64_MAX, .kind = 0};
    e->echoes = (struct qs_budget){.second = UINT64_MAX, .kind = 1};
    e->icmp_errors = (struct qs_budget){.second = UINT64_MAX, .kind = 2};
    e->free_block = QS_NO_IDX;
    qs_wheel_init(&e->wheel, &e->blocks[0].timer, sizeof(struct qs_block));
    for (uint32_t p = 0; p < QS_N_PRIO; p++) {
        qs_list_init(&e->ready[p]);
        qs_list_init(&e->events[p]);
    }
    qs_neigh_init(e);
    *out = e;
    return 0;
}

/* ---- receive ---- */

/* A burst goes through in three passes, so that the memory of each frame's connection is on its way
 * while the frames before it are worked on. */
#define BURST 32

struct arrival {
    struct qs_packet packet;
    struct qs_segment segment;
    const struct qs_frame *frame;
    uint32_t hash;
    uint8_t local_idx;
};

static bool mac_is_ours(const struct qs_engine *e, const uint8_t *mac)
{
    return memcmp(mac, e->opts.mac, 6) == 0;
}

/* ARP, ICMP and what is nobody's. */
static void take_other(struct qs_engine *e, const struct qs_packet *p, qs_time now)
{
    if (p->ethertype == QS_ETHERTYPE_ARP) {
        qs_arp_input(e, p, now);
        return;
    }
    uint8_t icmp = p->v4 ? QS_PROTO_ICMP : QS_PROTO_ICMPV6;
    bool group = !p->v4 && qs_addr_is_multicast(&p->dst);
    if (p->protocol != icmp)
        qs_count(e, QS_COUNT_DROP_PROTOCOL);
    else if (group || (mac_is_ours(e, p->eth) && qs_local_find(e, &p->dst) >= 0))
        qs_icmp_input(e, p, now);
    else
        qs_count(e, QS_COUNT_DROP_NOT_OURS);
}

static uint32_t arrival_hash(const struct qs_engine *e, const struct arrival *a,
                             const struct qs_frame *f)
{
    /* Mixed: the table uses the low bits, and so did the NIC's indirection table. */
    if (e->opts.trust_hash && f->flags & QS_FRAME_HASH)
        return f->hash * 0x9e3779b1u;
    return qs_tuple_hash(e, &a->packet.src, a->segment.src_port, a->local_idx, a->segment.dst_port);
}

/* First pass. @return false when the frame is done with. */
static bool take_apart(struct qs_engine *e, struct arrival *a, const struct qs_frame *f,
                       qs_time now)
{
    struct qs_packet *p = &a->packet;
    enum qs_counter drop = qs_packet_parse(p, f);
    if (p->vlan && !qs_vlan_taken(e, p->vlan)) {
        qs_count(e, QS_COUNT_DROP_VLAN);
        return false;
    }
    if (drop != QS_N_COUNTERS) {
        qs_count(e, drop);
        if (p->problem)
            qs_icmp_send_problem(e, p, now);
        return false;
    }
    if (p->ethertype == QS_ETHERTYPE_ARP || p->protocol != QS_PROTO_TCP) {
        take_other(e, p, now);
        return false;
    }
    int local = mac_is_ours(e, p->eth) ? qs_local_find(e, &p->dst) : -1;
    if (local < 0) {
        qs_count(e, QS_COUNT_DROP_NOT_OURS);
        return false;
    }
    if (qs_addr_is_bad_source(&p->src) || qs_local_find(e, &p->src) >= 0) {
        qs_count(e, QS_COUNT_DROP_IP_SOURCE);
        return false;
    }
    drop = qs_tcp_parse(&a->segment, p, f->flags & QS_FRAME_CSUM_OK);
    if (drop != QS_N_COUNTERS) {
        qs_count(e, drop);
        return false;
    }
    a->segment.arrived = now;
    a->frame = f;
    a->local_idx = (uint8_t)local;
    a->hash = arrival_hash(e, a, f);
    qs_table_prefetch(&e->table, a->hash);
    return true;
}

/* Second pass. */
static void prefetch_block(const struct qs_engine *e, uint32_t hash)
{
    uint32_t pos = hash, idx = qs_table_next(&e->table, hash, &pos);
    if (idx == QS_NO_IDX)
        return;
    const char *line = (const char *)&e->blocks[idx];
    for (size_t i = 0; i < sizeof(struct qs_block); i += 64)
        __builtin_prefetch(line + i, 1);
}

static struct qs_block *locate(const struct qs_engine *e, const struct arrival *a)
{
    const struct qs_segment *s = &a->segment;
    struct qs_block *c =
        qs_block_find(e, a->hash, &a->packet.src, s->src_port, a->local_idx, s->dst_port);
    if (c || !e->opts.trust_hash || !e->opened)
        return c;
    /* What was opened from here went in before the NIC's hash of its answers was known. */
    uint32_t keyed = qs_tuple_hash(e, &a->packet.src, s->src_port, a->local_idx, s->dst_port);
    return qs_block_find(e, keyed, &a->packet.src, s->src_port, a->local_idx, s->dst_port);
}

/* Class of the connection, or of who would take it. */
static uint32_t class_of(const struct qs_engine *e, const struct arrival *a)
{
    const struct qs_block *c = locate(e, a);
    return c ? qs_served_as(c, c->prio)
             : qs_tcp_listener_class(e, a->local_idx, a->segment.dst_port);
}

/* A connection stays on the VLAN on which it began: its peer is there. */
static bool strays(const struct qs_engine *e, const struct qs_block *c, const struct arrival *a)
{
    return e->tagged && e->neighs[c->neigh].vlan != a->packet.vlan;
}

/* Does somebody else take the segment, one of connection `c` or of none? */
static bool is_diverted(struct qs_engine *e, const struct arrival *a, const struct qs_block *c)
{
    if (!e->divert || (c && !e->divert_all))
        return false;
    const struct qs_flow flow = {.local = a->packet.dst,
                                 .remote = a->packet.src,
                                 .local_port = a->segment.dst_port,
                                 .remote_port = a->segment.src_port};
    bool taken = e->divert(e->divert_ctx, a->frame, &flow, c != NULL);
    if (taken)
        qs_count(e, QS_COUNT_DIVERTED);
    return taken;
}

/* Third pass. */
static void dispatch(struct qs_engine *e, const struct arrival *a)
{
    struct qs_block *c = locate(e, a);
    if (c && strays(e, c, a)) {
        qs_count(e, QS_COUNT_DROP_VLAN);
        return;
    }
    if (is_diverted(e, a, c))
        return;
    if (c && qs_tcp_may_reuse(c, &a->segment)) {
        qs_block_free(e, c);
        c = NULL;
    }
    if (c) {
        qs_class_count(e, c->prio, QS_CLASS_SEGMENTS);
        qs_class_count_add(e, c->prio, QS_CLASS_OCTETS, a->segment.len);
    }
    if (!c)
        qs_tcp_unconnected(e, &a->segment, a->local_idx, a->hash);
    else if (c->state == QS_TCP_SYN_SENT)
        qs_tcp_syn_sent(e, c, &a->segment);
    else if (!qs_tcp_cookie_instead(e, c, &a->segment, a->local_idx, a->hash))
        qs_tcp_segment_arrives(e, c, &a->segment);
}

/* Most urgent class first; inside a class, and so inside a connection, as they came. */
static void dispatch_by_class(struct qs_engine *e, const struct arrival *arrivals, uint32_t tcp)
{
    uint32_t members[QS_N_PRIO] = {0};
    for (uint32_t left = tcp; left; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(left);
        members[class_of(e, &arrivals[i])] |= 1u << i;
    }
    for (uint32_t p = QS_N_PRIO; p-- > 0;)
        for (uint32_t left = members[p]; left; left &= left - 1)
            dispatch(e, &arrivals[__builtin_ctz(left)]);
}

static void dispatch_in_order(struct qs_engine *e, const struct arrival *arrivals, uint32_t tcp)
{
    for (; tcp; tcp &= tcp - 1)
        dispatch(e, &arrivals[__builtin_ctz(tcp)]);
}

static void receive_burst(struct qs_engine *e, const struct qs_frame *frames, size_t n, qs_time now)
{
    struct arrival arrivals[BURST];
    uint64_t bytes = 0;
    uint32_t tcp = 0;
    for (size_t i = 0; i < n; i++) {
        bytes += frames[i].len;
        if (take_apart(e, &arrivals[i], &frames[i], now))
            tcp |= 1u << i;
    }
    for (uint32_t left = tcp; left; left &= left - 1)
        prefetch_block(e, arrivals[__builtin_ctz(left)].hash);
    if (e->classes_used & (e->classes_used - 1))
        dispatch_by_class(e, arrivals, tcp);
    else
        dispatch_in_order(e, arrivals, tcp);
    qs_count_add(e, QS_COUNT_RX_FRAMES, n);
    qs_count_add(e, QS_COUNT_RX_BYTES, bytes);
}

void qs_engine_rx(qs_engine *e, const struct qs_frame *frames, size_t n, qs_time now)
{
    e->now = now;
    while (n > 0) {
        size_t burst = n < BURST ? n : BURST;
        receive_burst(e, frames, burst, now);
        frames += burst;
        n -= burst;
    }
    qs_chunks_publish(e);
}

/* ---- transmit ---- */

static void run_timers(struct qs_engine *e, qs_time now)
{
    uint32_t idx;
    while ((idx = qs_wheel_pop(&e->wheel, now)) != QS_NO_IDX)
        qs_tcp_timer(e, &e->blocks[idx], now);
}

size_t qs_engine_tx(qs_engine *e, struct qs_frame *frames, size_t n, qs_time now)
{
    e->now = now;
    run_timers(e, now);
    size_t done = 0;
    uint64_t bytes = 0;
    while (done < n) {
        struct qs_frame *f = &frames[done];
        if (!qs_reply_pop(e, f)) {
            uint32_t ready = e->ready_classes;
            struct qs_block *c = qs_block_next_ready(e);
            if (!c)
                break;
            if (!qs_tcp_output(e, c, f, now))
                continue;
            qs_share_charge(&e->tx_share, ready, f->prio, f->len);
            qs_source_charge(e, &c->remote, f->prio, f->len);
            qs_class_count(e, f->prio, QS_CLASS_FRAMES_SENT);
            qs_class_count_add(e, f->prio, QS_CLASS_BYTES_SENT, f->len);
        }
        bytes += f->len;
        done++;
    }
    qs_count_add(e, QS_COUNT_TX_FRAMES, done);
    qs_count_add(e, QS_COUNT_TX_BYTES, bytes);
    qs_chunks_publish(e);
    return done;
}

qs_time qs_engine_deadline(const qs_engine *e)
{
    if (e->ready_classes || e->reply_head != e->reply_tail)
        return (qs_time){0};
    return qs_wheel_deadline(&e->wheel);
}

size_t qs_engine_counters(const qs_engine *e, uint64_t *out, size_t n)
{
    size_t count = n < QS_N_COUNTERS ? n : QS_N_COUNTERS;
    for (size_t i = 0; i < count; i++)
        out[i] = __atomic_load_n(&e->counters[i], __ATOMIC_RELAXED);
    return count;
}
