/* SPDX-License-Identifier: Apache-2.0 */
/* A connection in the words of Linux's struct tcp_info: what the block holds anyway, nothing that
 * the packet path would have to count. */
#include "engine.h"

/* Linux's numbers, net/tcp_states.h. */
static const uint8_t linux_state[QS_TCP_STATES] = {
    [QS_TCP_ESTABLISHED] = 1, [QS_TCP_SYN_SENT] = 2,   [QS_TCP_SYN_RECEIVED] = 3,
    [QS_TCP_FIN_WAIT_1] = 4,  [QS_TCP_FIN_WAIT_2] = 5, [QS_TCP_TIME_WAIT] = 6,
    [QS_TCP_CLOSED] = 7,      [QS_TCP_CLOSE_WAIT] = 8, [QS_TCP_LAST_ACK] = 9,
    [QS_TCP_LISTEN] = 10,     [QS_TCP_CLOSING] = 11,
};

static uint32_t us(qs_dur d)
{
    uint64_t n = d.ns / 1000;
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static uint32_t segments(const struct qs_block *c, uint32_t octets)
{
    return c->mss ? octets / c->mss + (octets % c->mss ? 1 : 0) : 0;
}

static uint8_t ca_state(const struct qs_block *c)
{
    if (c->flags & QS_CF_RECOVERY)
        return QS_TCPI_RECOVERY;
    if (c->backoff && !(c->flags & QS_CF_PERSIST))
        return QS_TCPI_LOSS;
    return c->dupacks ? QS_TCPI_DISORDER : QS_TCPI_OPEN;
}

static uint8_t options(const struct qs_block *c)
{
    uint32_t o = c->flags & QS_CF_TS ? QS_TCPI_OPT_TIMESTAMPS : 0;
    o |= c->flags & QS_CF_SACK ? QS_TCPI_OPT_SACK : 0;
    o |= c->flags & QS_CF_WSCALE ? QS_TCPI_OPT_WSCALE : 0;
    return (uint8_t)o;
}

/* Octets that were written and not sent: after a timeout those right of SND.NXT were. */
static uint32_t not_sent(const struct qs_block *c)
{
    uint32_t out = qs_seq_span(c->snd_una, c->snd_max);
    return c->tx.len > out ? c->tx.len - out : 0;
}

static void fill_sender(const struct qs_engine *e, const struct qs_block *c, struct qs_tcp_info *t)
{
    bool persist = c->flags & QS_CF_PERSIST;
    t->tcpi_ca_state = ca_state(c);
    t->tcpi_retransmits = persist ? 0 : c->backoff;
    t->tcpi_probes = persist ? c->backoff : c->keep_sent;
    t->tcpi_backoff = c->backoff;
    t->tcpi_snd_wscale = c->snd_wscale;
    t->tcpi_rto = us(qs_tcp_rto(e, c));
    t->tcpi_snd_mss = c->mss;
    t->tcpi_unacked = segments(c, qs_seq_span(c->snd_una, c->snd_max));
    t->tcpi_rtt = c->srtt_ns / 1000;
    t->tcpi_rttvar = c->rttvar_ns / 1000;
    bool lost = qs_tcp_synchronized(c) && c->cc.ssthresh != UINT32_MAX;
    t->tcpi_snd_ssthresh = lost ? segments(c, c->cc.ssthresh) : QS_TCPI_SSTHRESH_NONE;
    t->tcpi_snd_cwnd = segments(c, c->cc.cwnd);
    t->tcpi_total_retrans = c->retransmits;
    t->tcpi_pacing_rate = qs_pace_rate(c);
    uint64_t ceiling = qs_pace_ceiling(c->pace_max);
    t->tcpi_max_pacing_rate = ceiling ? ceiling : UINT64_MAX;
    t->tcpi_notsent_bytes = not_sent(c);
    t->tcpi_snd_wnd = c->snd_wnd;
    if (c->sent.v) {
        uint64_t ticks = qs_tick_at(e->now).v - c->sent.v;
        t->tcpi_last_data_sent = (uint32_t)((ticks << QS_TICK_SHIFT) / QS_MS(1).ns);
    }
}

static void fill_receiver(const struct qs_engine *e, const struct qs_block *c,
                          struct qs_tcp_info *t)
{
    uint32_t own_mss = qs_tcp_own_mss(e, c);
    t->tcpi_rcv_wscale = c->rcv_wscale;
    t->tcpi_ato = us(e->opts.delayed_ack);
    t->tcpi_rcv_mss = own_mss - (c->flags & QS_CF_TS ? QS_TCP_TS_BYTES : 0);
    t->tcpi_rcv_ssthresh = qs_min_u32(qs_rcvbuf(e, c), (uint32_t)UINT16_MAX << c->rcv_wscale);
    t->tcpi_advmss = own_mss;
    t->tcpi_rcv_space = qs_rcvbuf(e, c);
    t->tcpi_rcv_wnd = qs_seq_span(c->rcv_nxt, c->rcv_adv);
}

qs_err qs_conn_tcp_info(const qs_engine *e, qs_conn handle, struct qs_tcp_info *out)
{
    memset(out, 0, sizeof *out);
    const struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    out->tcpi_state = linux_state[c->state];
    out->tcpi_options = options(c);
    out->tcpi_pmtu = e->opts.mtu;
    out->tcpi_reordering = QS_DUPACKS;
    fill_sender(e, c, out);
    fill_receiver(e, c, out);
    return 0;
}
