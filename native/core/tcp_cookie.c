/* SPDX-License-Identifier: Apache-2.0 */
/* SYN cookies on a listener: the SYN-ACK that leaves nothing behind, and the ACK that makes a
 * connection out of nothing (RFC 4987 section 3.6). */
#include "syn_cookie.h"

#include "engine.h"

static struct qs_cookie_tuple tuple_of(const struct qs_segment *s, qs_seq peer_isn)
{
    return (struct qs_cookie_tuple){
        .remote = &s->packet->src,
        .local = &s->packet->dst,
        .remote_port = s->src_port,
        .local_port = s->dst_port,
        .peer_isn = peer_isn,
    };
}

/* Options of the SYN that a cookie can carry: what is not remembered must not be agreed on. */
static struct qs_cookie_syn syn_of(const struct qs_segment *s, const struct qs_listener *l)
{
    return (struct qs_cookie_syn){
        .mss = s->mss ? s->mss : qs_tcp_default_mss(s->packet->v4),
        .wscale = s->has_ts ? s->wscale : (int8_t)-1,
        .has_ts = s->has_ts,
        .sack_ok = s->has_ts && s->sack_ok,
        .ecn = s->has_ts && l->ecn && qs_ecn_asked(s, l->conf.cc_algo),
    };
}

/* What the connection will have at least: it may turn out that its class has no more to grow by. */
static uint32_t window_of_syn_ack(const struct qs_engine *e, uint16_t listener)
{
    uint32_t initial = e->opts.rcvbuf_initial_bytes;
    uint8_t asked = e->listeners[listener].conf.rcvbuf;
    uint32_t octets =
        asked == QS_BUF_GROWS ? initial : qs_min_u32(e->rcvbuf.octets[asked], initial);
    return qs_min_u32(octets, UINT16_MAX);
}

void qs_tcp_send_cookie(struct qs_engine *e, uint16_t listener, const struct qs_segment *s)
{
    qs_addr next_hop;
    if (!qs_route(e, &s->packet->src, &next_hop)) { /* nor would its ACK find one */
        qs_count(e, QS_COUNT_DROP_NO_ROUTE);
        return;
    }
    struct qs_cookie_tuple t = tuple_of(s, s->seq);
    struct qs_cookie_syn syn = syn_of(s, &e->listeners[listener]);
    struct qs_tcp_out o = {
        .seq = qs_cookie_make(&e->cookie_key, &t, &syn, s->arrived),
        .ack = qs_seq_add(s->seq, 1),
        .src_port = s->dst_port,
        .dst_port = s->src_port,
        .wnd = (uint16_t)window_of_syn_ack(e, listener),
        .flags = QS_SYN | QS_ACK | (syn.ecn ? QS_ECE : 0),
        .mss = qs_tcp_mss_within(e->listeners[listener].conf.mss_limit,
                                 qs_tcp_own_mss_to(e, t.remote)),
        .wscale = (int8_t)(syn.wscale < 0 ? -1 : qs_tcp_own_wscale(e)),
        .has_ts = syn.has_ts,
        .sack_ok = syn.sack_ok,
    };
    if (o.has_ts) {
        uint32_t offset =
            (uint32_t)(qs_tcp_tuple_secret(e, t.remote, t.remote_port, t.local, t.local_port) >>
                       32);
        o.ts_val = qs_cookie_ts((uint32_t)(s->arrived.ns >> QS_TS_SHIFT) + offset, &syn);
        o.ts_ecr = s->ts_val;
    }
    struct qs_hop back = qs_packet_back(s->packet, e->listeners[listener].prio);
    if (!qs_reply_tcp(e, &back, t.local, t.remote, &o))
        return;
    e->cookie_sent = s->arrived;
    e->cookies_out = true;
    qs_count(e, QS_COUNT_SYN_COOKIES_SENT);
}

/* A stranger's ACK is worth a hash only while cookies are about. */
static bool cookies_are_out(const struct qs_engine *e, qs_time now)
{
    return e->cookies_out && now.ns - e->cookie_sent.ns <= QS_COOKIE_LIFE.ns;
}

/* The block becomes what it would be now, had the SYN been kept. */
static void remember(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s,
                     const struct qs_cookie_syn *syn)
{
    struct qs_segment first = *s; /* as the SYN was */
    first.seq = qs_seq_add(s->seq, (uint32_t)-1);
    first.mss = syn->mss;
    first.wscale = syn->wscale;
    first.sack_ok = syn->sack_ok;
    qs_tcp_take_syn(e, c, &first);
    if (syn->ecn)
        c->flags |= QS_CF_ECN;
    c->rcv_adv = qs_seq_add(c->rcv_nxt, qs_min_u32(qs_rcvbuf(e, c), UINT16_MAX));
    c->snd_una = c->recover = qs_seq_add(s->ack, (uint32_t)-1);
    c->snd_nxt = c->snd_max = s->ack;
    c->sent = qs_tick_at(s->arrived);
    qs_tcp_set_state(c, QS_TCP_SYN_RECEIVED);
}

enum fit {
    STRANGER,
    AHEAD, /* of the peer's first segments, which were lost: it says them again */
    ANSWER,
};

static enum fit fit_of(const struct qs_engine *e, uint16_t listener, const struct qs_segment *s,
                       struct qs_cookie_syn *syn)
{
    if ((s->flags & (QS_SYN | QS_RST | QS_ACK)) != QS_ACK || !cookies_are_out(e, s->arrived))
        return STRANGER;
    struct qs_cookie_tuple t = tuple_of(s, qs_seq_add(s->seq, (uint32_t)-1));
    uint32_t distance = qs_cookie_distance(&e->cookie_key, &t, qs_seq_add(s->ack, (uint32_t)-1),
                                           s->has_ts ? &s->ts_ecr : NULL, s->arrived, syn);
    if (distance == 0)
        return ANSWER;
    return distance <= window_of_syn_ack(e, listener) ? AHEAD : STRANGER;
}

bool qs_tcp_take_cookie(struct qs_engine *e, uint16_t listener, const struct qs_segment *s,
                        uint8_t local_idx, uint32_t hash)
{
    struct qs_cookie_syn syn;
    if (s->flags & QS_SYN || !cookies_are_out(e, s->arrived))
        return false;
    enum fit fit = fit_of(e, listener, s, &syn);
    if (fit == STRANGER) {
        qs_count(e, QS_COUNT_SYN_COOKIES_REJECTED);
        return false;
    }
    /* From here on it is a peer that was told of its connection: what is not taken is to come
     * again, so there is no RST. */
    if (fit == AHEAD) {
        qs_count(e, QS_COUNT_DROP_COOKIE_AHEAD);
        return true;
    }
    if (qs_tcp_backlog_full(e, listener)) {
        qs_count(e, QS_COUNT_DROP_BACKLOG);
        return true;
    }
    struct qs_block *c =
        qs_tcp_passive(e, listener, s, local_idx, hash, qs_tcp_open_class(e, listener, s));
    if (!c)
        return true;
    remember(e, c, s, &syn);
    qs_count(e, QS_COUNT_SYN_COOKIES_ACCEPTED);
    qs_tcp_segment_arrives(e, c, s);
    return true;
}

bool qs_tcp_cookie_instead(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s,
                           uint8_t local_idx, uint32_t hash)
{
    struct qs_cookie_syn syn;
    if (!(c->flags & QS_CF_HALF_OPEN) || qs_seq_eq(s->ack, c->snd_max))
        return false;
    uint16_t listener = c->listener;
    enum fit fit = fit_of(e, listener, s, &syn);
    if (fit == STRANGER)
        return false;
    if (fit == ANSWER)
        qs_block_free(e, c);
    return qs_tcp_take_cookie(e, listener, s, local_idx, hash);
}
