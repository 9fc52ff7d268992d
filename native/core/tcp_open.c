/* SPDX-License-Identifier: Apache-2.0 */
/* What passive and active open share: the new block, its ISN, the peer's SYN, the end of the
 * handshake. */
#include "engine.h"

#define MSS_DEFAULT_V4 536u /* RFC 9293 section 3.7.1 */
#define MSS_DEFAULT_V6 1220u
#define WSCALE_MASK 15u /* of four bits */

struct qs_block *qs_tcp_new_conn(struct qs_engine *e, const qs_addr *remote, uint16_t vlan,
                                 uint8_t local_idx, uint8_t prio)
{
    qs_addr next_hop;
    if (!qs_route(e, remote, &next_hop)) {
        qs_count(e, QS_COUNT_DROP_NO_ROUTE);
        return NULL;
    }
    uint16_t neigh = qs_neigh_get(e, &next_hop, vlan);
    struct qs_block *c = neigh == QS_NO_NEIGH ? NULL : qs_block_new(e, prio);
    if (!c) {
        qs_count(e, QS_COUNT_DROP_NO_CONN);
        return NULL;
    }
    c->neigh = neigh;
    e->neighs[neigh].refs++;
    c->remote = *remote;
    c->local_idx = local_idx;
    return c;
}

uint64_t qs_tcp_tuple_secret(const struct qs_engine *e, const qs_addr *remote, uint16_t remote_port,
                             const qs_addr *local, uint16_t local_port)
{
    uint64_t w[5];
    memcpy(w, remote, 16);
    memcpy(w + 2, local, 16);
    w[4] = (uint64_t)remote_port << 16 | local_port;
    return qs_siphash24(&e->isn_key, w, 5);
}

void qs_tcp_choose_isn(const struct qs_engine *e, struct qs_block *c, qs_time now)
{
    uint64_t f =
        qs_tcp_tuple_secret(e, &c->remote, c->remote_port, qs_block_local(e, c), c->local_port);
    /* RFC 6528 section 3: ISN = M + F(...), M a clock of 4 us. */
    qs_seq isn = {(uint32_t)(now.ns >> 12) + (uint32_t)f};
    c->snd_una = c->snd_nxt = c->snd_max = c->recover = isn;
    c->ts_offset = (uint32_t)(f >> 32);
}

uint16_t qs_tcp_own_mss_to(const struct qs_engine *e, const qs_addr *remote)
{
    uint32_t ip = qs_addr_is_v4(remote) ? QS_IPV4_BYTES : QS_IPV6_BYTES;
    return (uint16_t)(e->opts.mtu - ip - QS_TCP_BYTES);
}

uint16_t qs_tcp_mss_within(uint16_t limit, uint16_t mss)
{
    return limit && limit < mss ? limit : mss;
}

uint16_t qs_tcp_own_mss(const struct qs_engine *e, const struct qs_block *c)
{
    return qs_tcp_mss_within(c->mss_limit, qs_tcp_own_mss_to(e, &c->remote));
}

uint16_t qs_tcp_default_mss(bool v4)
{
    return v4 ? MSS_DEFAULT_V4 : MSS_DEFAULT_V6;
}

uint8_t qs_tcp_own_wscale(const struct qs_engine *e)
{
    uint8_t shift = 0;
    while (e->opts.rcvbuf_bytes >> shift > UINT16_MAX && shift < QS_WSCALE_MAX)
        shift++;
    return shift;
}

void qs_tcp_take_syn(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    c->rcv_nxt = qs_seq_add(s->seq, 1);
    c->rcv_adv = c->last_ack_sent = c->rcv_nxt;
    if (s->has_ts) { /* RFC 7323 section 3.2 */
        c->flags |= QS_CF_TS;
        c->ts_recent = s->ts_val;
        c->ts_recent_age = qs_ts_age(s->arrived);
    }
    if (s->wscale >= 0) { /* RFC 7323 section 2.2 */
        c->flags |= QS_CF_WSCALE;
        c->snd_wscale = (uint8_t)s->wscale & WSCALE_MASK;
        c->rcv_wscale = qs_tcp_own_wscale(e) & WSCALE_MASK;
    }
    if (s->sack_ok) /* RFC 2018 section 2 */
        c->flags |= QS_CF_SACK;
    uint32_t mss = s->mss ? s->mss : qs_tcp_default_mss(s->packet->v4);
    if (mss < QS_MSS_MIN)
        mss = QS_MSS_MIN;
    uint32_t own = qs_tcp_own_mss(e, c);
    if (mss > own)
        mss = own;
    /* RFC 9293 section 3.7.1: the MSS option never counts options, what is sent does. */
    c->mss = (uint16_t)(mss - (c->flags & QS_CF_TS ? QS_TCP_TS_BYTES : 0));
    qs_tcp_pmtu_start(c);
    c->snd_wnd = c->snd_wnd_max = s->wnd; /* never scaled in a SYN */
    c->snd_wl1 = s->seq;
    c->snd_wl2 = s->ack;
}

void qs_tcp_established(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    qs_tcp_set_state(c, QS_TCP_ESTABLISHED);
    c->snd_una = qs_seq_add(c->snd_una, 1); /* our SYN */
    c->snd_nxt = c->snd_una;
    c->cursor = qs_bytes_find(&e->pool, &c->tx, 0);
    if (c->flags & QS_CF_RTT_TIMED) {
        uint32_t units = (uint32_t)(s->arrived.ns >> 10) - c->rtt_start;
        qs_tcp_rtt_sample(c, (qs_dur){(uint64_t)units << 10});
    }
    c->flags &= ~(QS_CF_RTT_TIMED | QS_CF_REXMIT_ONE);
    if (c->backoff)
        c->flags |= QS_CF_SYN_EXPIRED;
    c->backoff = 0;
    c->stalled.v = 0;
    qs_tcp_ack_quickly(e, c);
    qs_tcp_stop_rexmt(e, c);
    qs_tcp_keepalive_start(e, c, s->arrived);
    qs_cc_ops(c->cc_algo)->start(&c->cc, c->mss);
    if (c->flags & QS_CF_PASSIVE)
        qs_tcp_accepted(e, c);
    qs_class_count(e, c->prio, QS_CLASS_OPENS);
    qs_count(e, c->flags & QS_CF_PASSIVE ? QS_COUNT_PASSIVE_OPENS : QS_COUNT_ACTIVE_OPENS);
    if (c->flags & QS_CF_FRAMED)
        qs_messages_start(e, c);
    qs_block_event(e, c, QS_EVENT_OPEN);
    if (c->flags & QS_CF_FIN_QUEUED)
        qs_tcp_set_state(c, QS_TCP_FIN_WAIT_1);
    if (qs_unacked(e, c) || c->flags & QS_CF_FIN_QUEUED)
        qs_block_ready(e, c);
}
