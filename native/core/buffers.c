/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes of a connection's buffers: they start small and double with the product of bandwidth and
 * delay that the connection shows, within what its class may grow by. docs/design/009-buffers.md */
#include "engine.h"

/* A receiver may know the round trip of the handshake only. What is long for most paths stands for
 * one that was not measured: it lets the buffer grow too early rather than never. A shorter one
 * than hosts need to get the processor under load says nothing of what they can do. */
#define RTT_UNKNOWN QS_MS(100)
#define RTT_LEAST QS_MS(1)

static void sizes_from(uint32_t *sizes, uint32_t initial, uint32_t most)
{
    sizes[0] = initial;
    for (uint32_t i = 1; i <= QS_DOUBLINGS_MAX; i++)
        sizes[i] = qs_min_u32(2 * sizes[i - 1], most);
}

void qs_buffers_init(struct qs_engine *e)
{
    sizes_from(e->rcvbuf_sizes, e->opts.rcvbuf_initial_bytes, e->opts.rcvbuf_bytes);
    sizes_from(e->sndbuf_sizes, e->opts.sndbuf_initial_bytes, e->opts.sndbuf_bytes);
}

/* Takes `octets` from what the connection's class may grow by. @return false when it has not got
 * them. */
static bool take(struct qs_engine *e, const struct qs_block *c, uint32_t octets)
{
    uint64_t most = e->opts.growth_bytes[c->prio];
    if (e->grown[c->prio] > most || most - e->grown[c->prio] < octets) {
        qs_count(e, QS_COUNT_BUFFERS_NOT_GROWN);
        return false;
    }
    e->grown[c->prio] += octets;
    return true;
}

/* Half the buffer or the power of 2 below it, as a shift. */
static uint32_t half_shift(uint32_t size)
{
    return 30u - (uint32_t)__builtin_clz(size);
}

/* In units of 2^10 ns. */
static uint64_t round_trip(const struct qs_block *c)
{
    uint64_t ns = c->srtt_ns ? c->srtt_ns : RTT_UNKNOWN.ns;
    return (ns > RTT_LEAST.ns ? ns : RTT_LEAST.ns) >> 10;
}

/* RFC 9293 section 3.8.6: a small window restricts the peer, a large one invites more than may be
 * kept. When reading crosses a multiple of half the buffer, the time since it crossed the last one
 * tells the rate: no octets are counted. Multiples of a power of 2 go on where sequence numbers
 * wrap. */
void qs_rcvbuf_read(struct qs_engine *e, struct qs_block *c, uint32_t octets)
{
    uint32_t size = qs_rcvbuf(e, c);
    /* Nothing is gained beyond what the window field can say, or when nothing more comes. */
    if (size >= (uint32_t)UINT16_MAX << c->rcv_wscale || c->flags & QS_CF_FIN_ARRIVED)
        return;
    uint32_t shift = half_shift(size), end = c->rcv_nxt.v - c->rx.len;
    uint32_t halves = ((end >> shift) - ((end - octets) >> shift)) & (UINT32_MAX >> shift);
    if (halves == 0)
        return;
    uint32_t now = (uint32_t)(e->now.ns >> 10) | 1u; /* 0: it crossed none yet */
    uint32_t last = c->half_read;
    c->half_read = now;
    uint64_t rtt = round_trip(c);
    /* A quarter more: what fills the buffer in each round trip is a little late at times. */
    if (!last || now - last > (rtt + rtt / 4) * halves ||
        !take(e, c, e->rcvbuf_sizes[c->rcv_doublings + 1] - size))
        return;
    c->rcv_doublings++;
    if (halves == 1 && end >> shift & 1u) /* between multiples of the new half */
        c->half_read = last;              /* when the one before was crossed */
}

void qs_sndbuf_grow(struct qs_engine *e, struct qs_block *c)
{
    uint32_t size = qs_sndbuf(e, c);
    if (c->flags & QS_CF_FIN_QUEUED) /* nothing more is written */
        return;
    if (size < e->opts.sndbuf_bytes && take(e, c, e->sndbuf_sizes[c->snd_doublings + 1] - size))
        c->snd_doublings++;
}

void qs_buffers_release(struct qs_engine *e, struct qs_block *c)
{
    e->grown[c->prio] -= qs_buffers_grown(e, c);
    c->rcv_doublings = c->snd_doublings = 0;
}
