/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes of a connection's buffers: they start small and double with the product of bandwidth and
 * delay that the connection shows, within what its class may grow by. docs/design/009-buffers.md */
#include "engine.h"

/* A receiver may know the round trip of the handshake only. What is long for most paths stands for
 * one that was not measured: it lets the buffer grow too early rather than never. A shorter one
 * than hosts need to get the processor under load says nothing of what they can do. */
#define RTT_UNKNOWN QS_MS(100)
#define RTT_LEAST QS_MS(1)

static struct qs_buf_sizes sizes_from(uint32_t least, uint32_t initial, uint32_t most)
{
    struct qs_buf_sizes s = {.initial = 0};
    s.octets[0] = initial;
    for (; s.octets[0] / 2 >= least; s.initial++)
        s.octets[0] /= 2;
    for (uint32_t i = 1; i < QS_BUF_SIZES; i++)
        s.octets[i] =
            i <= s.initial ? initial >> (s.initial - i) : qs_min_u32(2 * s.octets[i - 1], most);
    return s;
}

void qs_buffers_init(struct qs_engine *e)
{
    const struct qs_engine_opts *o = &e->opts;
    uint32_t least = qs_max_u32(QS_BUF_MIN, o->mtu); /* a segment fits */
    e->rcvbuf = sizes_from(least, o->rcvbuf_initial_bytes, o->rcvbuf_bytes);
    e->sndbuf = sizes_from(least, o->sndbuf_initial_bytes, o->sndbuf_bytes);
}

uint8_t qs_buf_number(const struct qs_buf_sizes *sizes, uint32_t octets)
{
    uint8_t i = 0;
    while (sizes->octets[i] < octets)
        i++;
    return i;
}

void qs_buffers_start(const struct qs_engine *e, struct qs_block *c)
{
    c->rcvbuf = e->rcvbuf.initial & QS_BUF_NUMBER_MASK;
    c->sndbuf = e->sndbuf.initial & QS_BUF_NUMBER_MASK;
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
        !take(e, c, e->rcvbuf.octets[c->rcvbuf + 1] - size))
        return;
    c->rcvbuf++;
    if (halves == 1 && end >> shift & 1u) /* between multiples of the new half */
        c->half_read = last;              /* when the one before was crossed */
}

void qs_sndbuf_grow(struct qs_engine *e, struct qs_block *c)
{
    uint32_t size = qs_sndbuf(e, c);
    if (c->flags & QS_CF_FIN_QUEUED || c->sndbuf_fixed) /* nothing more is written */
        return;
    if (size < e->opts.sndbuf_bytes && take(e, c, e->sndbuf.octets[c->sndbuf + 1] - size))
        c->sndbuf++;
}

void qs_sndbuf_opened(struct qs_engine *e, struct qs_block *c)
{
    if (!(c->flags & QS_CF_WANT_WRITE) || !qs_tcp_writable(e, c))
        return;
    c->flags &= ~QS_CF_WANT_WRITE;
    qs_block_event(e, c, QS_EVENT_WRITABLE);
}

/* Number of the size to have when `asked` is asked for instead of `now`. */
static uint8_t chosen(struct qs_engine *e, const struct qs_block *c, const struct qs_buf_sizes *s,
                      uint8_t now, uint8_t asked)
{
    if (asked == QS_BUF_GROWS)
        return now;
    if (asked <= now) /* what was promised is kept */
        return c->state == QS_TCP_CLOSED ? asked : now;
    uint32_t free = qs_max_u32(s->octets[now], s->octets[s->initial]);
    uint32_t more = s->octets[asked] > free ? s->octets[asked] - free : 0;
    return more && !take(e, c, more) ? now : asked;
}

void qs_buffers_configure(struct qs_engine *e, struct qs_block *c, const struct qs_tcp_conf *conf)
{
    uint8_t rcvbuf = chosen(e, c, &e->rcvbuf, c->rcvbuf, conf->rcvbuf);
    if (rcvbuf != c->rcvbuf)
        c->half_read = 0; /* it was another half */
    c->rcvbuf = rcvbuf & QS_BUF_NUMBER_MASK;
    c->sndbuf = chosen(e, c, &e->sndbuf, c->sndbuf, conf->sndbuf) & QS_BUF_NUMBER_MASK;
    c->rcvbuf_fixed = conf->rcvbuf != QS_BUF_GROWS;
    c->sndbuf_fixed = conf->sndbuf != QS_BUF_GROWS;
}

void qs_buffers_release(struct qs_engine *e, struct qs_block *c)
{
    e->grown[c->prio] -= qs_buffers_grown(e, c);
    qs_buffers_start(e, c);
}
