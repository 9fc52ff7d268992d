/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target of the whole engine: an input is a list of operations. First two bytes: choices
 * (world.h). Then for each operation one byte that names it and what it takes. Peers and frames are
 * right unless the input says otherwise, so that short inputs reach deep states. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OPS_MAX 300u

/* Bits of the byte that says how a segment differs from the right one. */
enum {
    SEG_SEQ = 1,      /* 2 bytes: added to the sequence number */
    SEG_ACK = 2,      /* 2 bytes: added to the acknowledgement number */
    SEG_WINDOW = 4,   /* 2 bytes: window */
    SEG_OPTIONS = 8,  /* 1 byte length, options as they are */
    SEG_FAR = 16,     /* 4 bytes: added to both numbers */
    SEG_PAYLOAD = 32, /* 2 bytes: octets of payload */
    SEG_KEEP = 64,    /* the peer does not go on: the same octets come again */
    SEG_DAMAGE = 128  /* 2 bytes: where, 1 byte: xor */
};

static uint8_t frame[WIRE_FRAME_MAX];

static void send_segment(struct fuzz_world *w, struct fuzz_input *in, struct fuzz_peer *p,
                         const struct wire_ext *ext)
{
    struct fuzz_segment s = {.flags = take8(in), .window = 0xffff, .ext = ext};
    uint8_t how = take8(in);
    if (how & SEG_SEQ)
        s.seq_add = (uint32_t)(int32_t)(int16_t)take16(in);
    if (how & SEG_ACK)
        s.ack_add = (uint32_t)(int32_t)(int16_t)take16(in);
    if (how & SEG_WINDOW)
        s.window = take16(in);
    if (how & SEG_FAR) {
        uint32_t far = take32(in);
        s.seq_add += far;
        s.ack_add += far;
    }
    if (how & SEG_OPTIONS) {
        s.own_options = true;
        s.options_len = take(in, take8(in) % 41, &s.options);
    }
    if (how & SEG_PAYLOAD)
        s.payload_len = take16(in) % 9000;
    s.keep = how & SEG_KEEP;
    if (how & SEG_DAMAGE) {
        s.damage_at = take16(in);
        s.damage = take8(in);
    }
    (void)fuzz_send(w, p, &s);
}

static struct fuzz_peer *some_peer(struct fuzz_world *w, struct fuzz_input *in)
{
    return &w->peers[take8(in) % FUZZ_PEERS];
}

/* Raw bytes may by chance be a segment of a connection: then contents are no longer checked. */
static void send_raw(struct fuzz_world *w, const uint8_t *bytes, size_t len, uint16_t flags)
{
    struct wire_seen seen;
    (void)wire_parse(bytes, len, &seen);
    w->tainted |= seen.kind == WIRE_IS_TCP;
    (void)fuzz_rx(w, bytes, len, flags);
}

static void op_raw(struct fuzz_world *w, struct fuzz_input *in)
{
    const uint8_t *bytes;
    uint8_t flags = take8(in) & (QS_FRAME_HASH | QS_FRAME_CSUM_OK);
    size_t len = take(in, take16(in) % 2048, &bytes);
    send_raw(w, bytes, len, flags);
}

/* Right Ethernet and IP headers around the input's own protocol and bytes, checksums right. */
static void op_ip(struct fuzz_world *w, struct fuzz_input *in)
{
    const struct fuzz_peer *p = some_peer(w, in);
    const uint8_t *l4;
    uint8_t proto = take8(in);
    size_t len = take(in, take16(in) % 1400, &l4);
    size_t total = wire_build_ip(frame, &p->to_engine, proto, NULL, l4, len);
    send_raw(w, frame, total, 0);
}

/* IPv6 extension headers in front of a right segment. */
static void op_extension(struct fuzz_world *w, struct fuzz_input *in)
{
    struct wire_ext ext = {.first = take8(in)};
    ext.len = take(in, take8(in), &ext.data);
    send_segment(w, in, &w->peers[take8(in) % FUZZ_PEERS | 1], ext.len ? &ext : NULL);
}

static void op_arp(struct fuzz_world *w, struct fuzz_input *in)
{
    uint8_t how = take8(in);
    struct wire_ends ends = w->peers[take8(in) % FUZZ_PEERS & ~1u].to_engine;
    if (how & 4)
        ends.src.b[15] = take8(in);
    if (how & 8)
        ends.dst.b[15] = take8(in);
    if (how & 16)
        ends.src_mac[5] = take8(in);
    if (how & 32)
        memset(ends.dst_mac, 0xff, 6);
    size_t len = wire_build_arp(frame, &ends, how & 3, w->opts.mac);
    if (how & 64)
        frame[WIRE_ETH + take8(in) % 28] = take8(in);
    if (how & 128)
        len -= take8(in) % 28;
    (void)fuzz_rx(w, frame, len, 0);
}

/* Neighbour solicitation or advertisement, or another ICMPv6 type, with the input's options. */
static void op_nd(struct fuzz_world *w, struct fuzz_input *in)
{
    static const uint8_t types[4] = {135, 136, 134, 137};
    const struct fuzz_peer *p = &w->peers[take8(in) % FUZZ_PEERS | 1];
    uint8_t how = take8(in), body[24 + 64] = {types[how & 3]};
    struct wire_ends ends = p->to_engine;
    const uint8_t *options;
    body[4] = how & 0xe0;
    memcpy(body + 8, how & 4 ? &ends.src : &ends.dst, 16);
    if (how & 8) { /* solicited-node multicast */
        static const uint8_t multicast[13] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
        memcpy(ends.dst.b, multicast, 13);
        memcpy(ends.dst_mac, (uint8_t[6]){0x33, 0x33, 0xff, 0, 0, 1}, 6);
    }
    size_t options_len = take(in, take8(in) % 65, &options);
    if (options_len)
        memcpy(body + 24, options, options_len);
    size_t len = wire_build_ip(frame, &ends, 58, NULL, body, 24 + options_len);
    if (how & 16)
        frame[WIRE_ETH + 7] = take8(in); /* hop limit */
    (void)fuzz_rx(w, frame, len, 0);
}

/* Echo requests, and errors that quote a segment of ours. */
static void op_icmp(struct fuzz_world *w, struct fuzz_input *in)
{
    const struct fuzz_peer *p = some_peer(w, in);
    bool v4 = wire_is_v4(&p->to_engine.src);
    uint8_t type = take8(in), code = take8(in), body[8 + 1300] = {type, code};
    uint32_t word = take32(in);
    size_t len = 8 + take16(in) % 1300;
    put32(body + 4, word);
    uint8_t how = take8(in);
    if (how & 1) {
        struct wire_ends back = {.src = p->to_engine.dst, .dst = p->to_engine.src};
        uint32_t before = take8(in) * (how & 2 ? 64u : 1u);
        struct wire_tcp t = {
            .src_port = p->engine_port, .dst_port = p->port, .seq = p->engine_nxt - before};
        size_t quoted = wire_build_tcp(frame, &back, &t, NULL) - WIRE_ETH;
        if (how & 4) /* a full segment, which an MTU report can be about */
            put16(frame + WIRE_ETH + (v4 ? 2 : 4), (uint16_t)(w->opts.mtu - (v4 ? 0 : 40)));
        memcpy(body + 8, frame + WIRE_ETH, quoted);
    }
    size_t total = wire_build_ip(frame, &p->to_engine, v4 ? 1 : 58, NULL, body, len);
    (void)fuzz_rx(w, frame, total, 0);
}

static void op_neighbour(struct fuzz_world *w, struct fuzz_input *in)
{
    uint8_t how = take8(in);
    const struct wire_ends *ends = &w->peers[how % FUZZ_PEERS].to_engine;
    struct qs_neigh n;
    if (how & 16)
        qs_engine_neigh_del(w->engine, &ends->src);
    if (how & 32)
        FUZZ_REQUIRE(qs_engine_neigh_set(w->engine, &ends->src, ends->src_mac, w->now) == 0);
    for (uint32_t i = 0; how & 64 && qs_engine_neigh_next(w->engine, &n); i++) {
        FUZZ_REQUIRE(i < 2000);
        if (how & 128 && n.news == QS_NEIGH_WANTED)
            FUZZ_REQUIRE(qs_engine_neigh_set(w->engine, &n.addr, ends->src_mac, w->now) == 0);
    }
    w->queued = true;
}

/* The peer starts anew, from the same port. */
static void op_again(struct fuzz_world *w, struct fuzz_input *in)
{
    struct fuzz_peer *p = some_peer(w, in);
    p->iss += take32(in);
    p->nxt = p->iss;
    if (p->port >= 40000)
        p->one_syn = p->other_syn = p->syn_plain = false;
}

static void op_segment(struct fuzz_world *w, struct fuzz_input *in)
{
    send_segment(w, in, some_peer(w, in), NULL);
}

static void op_time(struct fuzz_world *w, struct fuzz_input *in)
{
    w->now.ns += UINT64_C(1) << take8(in) % 38; /* up to 137 s */
    w->queued = true;
}

static void op_deadline(struct fuzz_world *w, struct fuzz_input *in)
{
    (void)in;
    qs_time next = qs_engine_deadline(w->engine);
    if (next.ns != UINT64_MAX && next.ns > w->now.ns)
        w->now = next;
    w->queued = true;
}

static void op_tx(struct fuzz_world *w, struct fuzz_input *in)
{
    fuzz_tx(w, take8(in));
}

static void op_events(struct fuzz_world *w, struct fuzz_input *in)
{
    (void)in;
    fuzz_events(w);
}

static void op_open(struct fuzz_world *w, struct fuzz_input *in)
{
    fuzz_open(w, FUZZ_PEER_ACTIVE + take8(in) % 2);
}

static void op_listener(struct fuzz_world *w, struct fuzz_input *in)
{
    fuzz_toggle_listener(w, take8(in) % 2);
}

static void op_write(struct fuzz_world *w, struct fuzz_input *in)
{
    struct fuzz_handle *h = fuzz_handle(w, take8(in));
    fuzz_write(w, h, take16(in));
}

static void op_read(struct fuzz_world *w, struct fuzz_input *in)
{
    struct fuzz_handle *h = fuzz_handle(w, take8(in));
    fuzz_read(w, h, take16(in));
}

static void op_peek(struct fuzz_world *w, struct fuzz_input *in)
{
    struct fuzz_handle *h = fuzz_handle(w, take8(in));
    uint8_t n_spans = take8(in);
    fuzz_peek(w, h, n_spans, take16(in));
}

static void op_shutdown(struct fuzz_world *w, struct fuzz_input *in)
{
    fuzz_shutdown(w, fuzz_handle(w, take8(in)));
}

static void op_close(struct fuzz_world *w, struct fuzz_input *in)
{
    fuzz_give_up(w, fuzz_handle(w, take8(in)), false);
}

static void op_abort(struct fuzz_world *w, struct fuzz_input *in)
{
    fuzz_give_up(w, fuzz_handle(w, take8(in)), true);
}

static void op_user(struct fuzz_world *w, struct fuzz_input *in)
{
    const struct fuzz_handle *h = fuzz_handle(w, take8(in));
    FUZZ_REQUIRE(qs_conn_set_user(w->engine, h->conn, 7) == (h->alive ? 0 : QS_ERR_STALE));
}

/* Options in force, or out of range here and there: each bit of `how` fuzzes one more. */
static void op_opts(struct fuzz_world *w, struct fuzz_input *in)
{
    static const char *const names[4] = {"newreno", "dctcp", "cubic", "cubi"};
    struct fuzz_handle *h = fuzz_handle(w, take8(in));
    uint8_t how = take8(in);
    struct qs_conn_opts o;
    qs_conn_opts_init(&o);
    o.keepalive = how & 1;
    o.nagle = how & 2;
    if (how & 4)
        o.keepalive_idle.ns = (uint64_t)take16(in) << take8(in) % 48;
    if (how & 8)
        o.keepalive_interval.ns = (uint64_t)take16(in) << take8(in) % 48;
    if (how & 16)
        o.keepalive_count = take8(in);
    if (how & 32)
        o.user_timeout.ns = (uint64_t)take16(in) << take8(in) % 48;
    if (how & 64) {
        uint8_t more = take8(in);
        o.cc = names[more % 4];
        o.pacing = more & 4;
        if (more & 8)
            o.pacing_rate_max = (uint64_t)take16(in) << take8(in) % 48;
        if (more & 16)
            o.rcvbuf_bytes = (uint32_t)take16(in) << take8(in) % 16;
        if (more & 32)
            o.sndbuf_bytes = (uint32_t)take16(in) << take8(in) % 16;
        if (more & 64)
            o.mss_max = take16(in);
    }
    if (how & 128)
        o.size += take8(in);
    fuzz_set_opts(w, h, &o);
}

static void op_tcp_info(struct fuzz_world *w, struct fuzz_input *in)
{
    fuzz_tcp_info(w, fuzz_handle(w, take8(in)));
}

/* The corpus names operations by their place: add at the end. */
static void (*const operations[])(struct fuzz_world *, struct fuzz_input *) = {
    op_segment,   op_time,  op_tx,        op_events,   op_open, op_listener,
    op_raw,       op_ip,    op_extension, op_arp,      op_nd,   op_icmp,
    op_neighbour, op_again, op_write,     op_read,     op_peek, op_shutdown,
    op_close,     op_abort, op_user,      op_deadline, op_opts, op_tcp_info};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t mtus[5] = {1500, 1280, 9000, 576, 65535};
    static const uint32_t offloads[3] = {0, QS_OFFLOAD_TX_CSUM,
                                         QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO};
    static struct fuzz_world w;
    struct fuzz_input in = {data, size};
    uint8_t choice = take8(&in), ready = take8(&in);
    struct fuzz_choice c = {.mtu = mtus[choice % 5],
                            .offloads = offloads[choice / 5 % 3],
                            .told = choice / 15 & 1,
                            .tight = choice / 30 & 1,
                            .framed = choice >= 240};
    fuzz_world_open(&w, &c);
    /* Which peer is connected already, and what it has said. */
    if (ready & 1)
        fuzz_handshake(&w, ready / 2 % FUZZ_PEER_ACTIVE & (c.mtu < 1280 ? ~1u : ~0u));
    fuzz_tx_all(&w);
    for (uint32_t i = 0; i < OPS_MAX && in.left; i++) {
        /* The top bit: the engine's turn comes later, so that things meet inside it. */
        uint8_t op = take8(&in);
        operations[(op & 0x7f) % (sizeof operations / sizeof operations[0])](&w, &in);
        if (!(op & 0x80)) {
            fuzz_tx_all(&w);
            fuzz_events(&w);
        }
        fuzz_check(&w);
    }
    fuzz_world_close(&w);
    return 0;
}
