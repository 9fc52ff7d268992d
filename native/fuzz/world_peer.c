/* SPDX-License-Identifier: Apache-2.0 */
/* The peers' side of the world: segments as a client would send them next, and as one would not. */
#include <string.h>

#include "bytes.h"
#include "world.h"

static uint32_t peer_time(const struct fuzz_world *w)
{
    return (uint32_t)(w->now.ns / 1000000u) + 0xfffff000u;
}

/* Options as any client sends them. */
static size_t default_options(const struct fuzz_world *w, const struct fuzz_peer *p, uint8_t flags,
                              uint8_t *out)
{
    static const uint8_t syn[8] = {2, 4, 0x05, 0xb4, 3, 3, 7, 1};
    size_t n = 0;
    if (flags & WIRE_SYN) {
        memcpy(out, syn, sizeof syn);
        n = sizeof syn;
    } else if (!p->ts) {
        return 0;
    }
    out[n] = 1;
    out[n + 1] = 1;
    out[n + 2] = 8;
    out[n + 3] = 10;
    put32(out + n + 4, peer_time(w));
    put32(out + n + 8, p->engine_ts);
    return n + 12;
}

/* Remembers SYNs: they decide which octet is the first to be read, and whether timestamps are on.
 */
static void note_syn(struct fuzz_peer *p, const struct wire_tcp *t)
{
    const uint8_t *ts = wire_option(t, 8);
    if (p->one_syn && p->syn_seq != t->seq)
        p->other_syn = true;
    p->one_syn = true;
    p->syn_seq = t->seq;
    p->syn_plain |= !ts || ts[1] != 10;
}

unsigned fuzz_send(struct fuzz_world *w, struct fuzz_peer *p, const struct fuzz_segment *s)
{
    static uint8_t frame[WIRE_FRAME_MAX], payload[WIRE_FRAME_MAX];
    uint8_t options[40];
    struct wire_tcp t = {.src_port = p->port,
                         .dst_port = p->engine_port,
                         .seq = (s->flags & WIRE_SYN ? p->iss : p->nxt) + s->seq_add,
                         .ack = (s->flags & WIRE_ACK ? p->engine_nxt : 0) + s->ack_add,
                         .flags = s->flags,
                         .window = s->window,
                         .options = s->own_options ? s->options : options,
                         .payload = payload,
                         .payload_len = s->payload_len};
    t.options_len = s->own_options ? s->options_len : default_options(w, p, s->flags, options);
    uint32_t first = t.seq + (s->flags & WIRE_SYN ? 1 : 0);
    for (size_t i = 0; i < t.payload_len; i++)
        payload[i] = fuzz_octet(first + (uint32_t)i);
    if (s->flags & WIRE_SYN)
        note_syn(p, &t);
    if (!s->keep)
        p->nxt = first + (uint32_t)t.payload_len + (s->flags & WIRE_FIN ? 1 : 0);
    size_t len = wire_build_tcp(frame, &p->to_engine, &t, s->ext);
    if (s->damage)
        frame[s->damage_at % len] ^= s->damage;
    /* Behind headers that lead elsewhere other bytes are the segment. */
    if (s->ext && wire_ext_end(s->ext) != 6)
        w->tainted = true;
    return fuzz_rx(w, frame, len, 0);
}

void fuzz_handshake(struct fuzz_world *w, uint32_t peer)
{
    struct fuzz_peer *p = &w->peers[peer];
    struct fuzz_segment s = {.flags = WIRE_SYN, .window = 0xffff};
    FUZZ_REQUIRE(fuzz_send(w, p, &s) == 0);
    fuzz_tx_all(w);
    FUZZ_REQUIRE(p->engine_syn && p->syn_acked == p->iss + 1);
    s.flags = WIRE_ACK;
    FUZZ_REQUIRE(fuzz_send(w, p, &s) == 0);
    fuzz_events(w);
    FUZZ_REQUIRE(w->handles[FUZZ_HANDLES - 1].alive && w->handles[FUZZ_HANDLES - 1].peer == peer);
}
