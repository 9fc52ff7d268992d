/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection sends next: SYN, a retransmission, a window probe, new data with or without
 * FIN, or an ACK; and the bytes of that frame. One call writes one frame. */
#include "checksum.h"
#include "engine.h"

#define IP_PACKET_MAX 65535u

/* A segment to write. */
struct plan {
    qs_seq seq;
    uint32_t len;              /* octets of payload */
    uint8_t flags;             /* QS_SYN, QS_FIN, QS_PSH; ACK is added */
    struct qs_bytes_pos *from; /* place of the payload in c->tx; moved */
    uint8_t ecn;               /* QS_ECN_* of the packet */
    bool probe;                /* of the path MTU: one segment, larger than full */
};

static uint32_t ip_bytes(const struct qs_block *c)
{
    return qs_addr_is_v4(&c->remote) ? QS_IPV4_BYTES : QS_IPV6_BYTES;
}

static uint32_t eth_bytes(const struct qs_engine *e, const struct qs_block *c)
{
    return qs_eth_bytes(e->neighs[c->neigh].vlan);
}

/* With timestamps three blocks fit, RFC 2018 section 3. */
static uint32_t sacks_max(const struct qs_block *c)
{
    return c->flags & QS_CF_TS ? QS_SACKS_MAX - 1 : QS_SACKS_MAX;
}

/* Octets of payload in a full segment that leaves now: SACK blocks take from it. */
static uint32_t full_segment(const struct qs_block *c)
{
    struct qs_range ignored[QS_SACKS_MAX];
    if (c->n_sacks == 0 && !(c->flags & QS_CF_DSACK))
        return c->mss;
    return c->mss - qs_tcp_sack_bytes(qs_tcp_sacks(c, ignored, sacks_max(c)));
}

/* Most octets of payload that one frame takes: a segment, or many with segmentation offload. */
static uint32_t frame_max(const struct qs_engine *e, const struct qs_block *c,
                          const struct qs_frame *f)
{
    uint32_t full = full_segment(c);
    if (!(e->opts.offloads & QS_OFFLOAD_TSO))
        return full;
    uint32_t headers = ip_bytes(c) + QS_TCP_HEADER_MAX;
    uint32_t packet =
        qs_min_u32(qs_min_u32(e->opts.gso_max_bytes, f->room) - eth_bytes(e, c), IP_PACKET_MAX);
    uint32_t most = packet - headers;
    if (c->pace_max)
        most = qs_min_u32(most, qs_pace_frame(c, e->now));
    return most < full ? full : most / full * full;
}

/* ---- bytes ---- */

static struct qs_tcp_out header_of(struct qs_engine *e, struct qs_block *c, const struct plan *p,
                                   qs_time now)
{
    bool syn = p->flags & QS_SYN;
    struct qs_tcp_out o = {
        .seq = p->seq,
        .src_port = c->local_port,
        .dst_port = c->remote_port,
        .flags = p->flags,
        .wscale = -1,
        .has_ts = c->flags & QS_CF_TS,
    };
    if (c->state != QS_TCP_SYN_SENT) {
        o.flags |= QS_ACK;
        o.ack = c->rcv_nxt;
    }
    if (syn) {
        o.flags |= qs_ecn_syn_flags(c);
        uint32_t wnd =
            qs_min_u32(qs_rcvbuf(e, c), UINT16_MAX); /* RFC 7323 section 2.2: not scaled */
        c->rcv_adv = qs_seq_add(c->rcv_nxt, wnd);
        o.wnd = (uint16_t)wnd;
        o.mss = qs_tcp_own_mss(e, c);
        if (c->flags & QS_CF_WSCALE)
            o.wscale = (int8_t)qs_tcp_own_wscale(e);
    } else {
        if (c->flags & QS_CF_ECN_ECHO)
            o.flags |= QS_ECE;
        o.wnd = (uint16_t)(qs_tcp_window(e, c) >> c->rcv_wscale);
        o.n_sacks = (uint8_t)qs_tcp_sacks(c, o.sacks, sacks_max(c));
    }
    o.sack_ok = syn && c->flags & QS_CF_SACK;
    if (o.has_ts) {
        o.ts_val = qs_tcp_ts_now(c, now);
        o.ts_ecr = c->state == QS_TCP_SYN_SENT ? 0 : c->ts_recent;
    }
    return o;
}

/* Payload and checksum behind the finished TCP header, of `header` bytes. */
static void finish(struct qs_engine *e, struct qs_block *c, struct qs_frame *f,
                   const struct plan *p, uint32_t header)
{
    uint8_t *l4 = f->data + eth_bytes(e, c) + ip_bytes(c);
    uint32_t l4_len = header + p->len;
    uint64_t pseudo = qs_csum_pseudo(qs_block_local(e, c), &c->remote, QS_PROTO_TCP, l4_len);
    if (e->opts.offloads & QS_OFFLOAD_TX_CSUM) {
        if (p->len)
            qs_bytes_copy(&e->pool, p->from, l4 + header, p->len);
        uint16_t partial = qs_csum_fold(pseudo);
        memcpy(l4 + QS_TCP_CHECKSUM_AT, &partial, sizeof partial);
        f->flags |= QS_FRAME_CSUM_PARTIAL;
        f->csum_start = (uint16_t)(l4 - f->data);
        f->csum_offset = QS_TCP_CHECKSUM_AT;
        return;
    }
    uint64_t sum = qs_csum_join(pseudo, qs_csum_add(0, l4, header));
    if (p->len)
        sum = qs_bytes_copy_sum(&e->pool, p->from, l4 + header, p->len, sum);
    qs_csum_store(l4 + QS_TCP_CHECKSUM_AT, sum);
}

static void write_frame(struct qs_engine *e, struct qs_block *c, struct qs_frame *f,
                        const struct plan *p, qs_time now)
{
    uint32_t ip = ip_bytes(c);
    struct qs_tcp_out o = header_of(e, c, p, now);
    struct qs_hop to = qs_block_hop(e, c, qs_ready_class(e, c));
    uint32_t eth = qs_eth_write(f->data, &to, e->opts.mac,
                                ip == QS_IPV4_BYTES ? QS_ETHERTYPE_IPV4 : QS_ETHERTYPE_IPV6);
    uint32_t header = qs_tcp_write(f->data + eth + ip, &o);
    f->prio = to.prio;
    qs_ip_write(f->data + eth, &(struct qs_ip_out){.src = qs_block_local(e, c),
                                                   .dst = &c->remote,
                                                   .payload_bytes = header + p->len,
                                                   .protocol = QS_PROTO_TCP,
                                                   .hop_limit = QS_HOP_LIMIT,
                                                   .ecn = p->ecn,
                                                   .dscp = e->classes[f->prio].dscp});
    f->len = eth + ip + header + p->len;
    f->flags = 0;
    f->gso_bytes = 0;
    uint32_t full = c->mss - qs_tcp_sack_bytes(o.n_sacks);
    if (p->len > full && !p->probe) {
        f->flags = QS_FRAME_GSO;
        f->gso_bytes = (uint16_t)full;
    }
    finish(e, c, f, p, header);
}

/* SND.NXT may have gone back to SND.UNA after a timeout. An ACK from there would lie left of the
 * peer's window and be ignored; two peers in that state would never hear each other again. */
qs_seq qs_tcp_bare_seq(const struct qs_block *c)
{
    qs_seq edge = qs_seq_add(c->snd_una, c->snd_wnd);
    return qs_seq_lt(edge, c->snd_max) ? edge : c->snd_max;
}

/* RFC 9293 section 3.8.4: a keep-alive probe lies left of the peer's window, so that it is
 * answered. The peer ignores the ACK field of it: one that is owed goes out instead, and says as
 * much. */
static qs_seq empty_seq(const struct qs_block *c)
{
    bool probe = c->flags & QS_CF_KEEP_PROBE && qs_seq_eq(c->snd_una, c->snd_max) &&
                 !(c->flags & (QS_CF_ACK_NOW | QS_CF_ACK_DELAYED));
    return probe ? (qs_seq){c->snd_una.v - 1} : qs_tcp_bare_seq(c);
}

/* ---- bookkeeping ---- */

/* Every segment but our first SYN carries the ACK that was owed. */
static void ack_sent(struct qs_block *c)
{
    c->flags &= ~(QS_CF_ACK_NOW | QS_CF_ACK_DELAYED | QS_CF_DSACK | QS_CF_KEEP_PROBE);
    c->t_ack.v = 0;
    c->last_ack_sent = c->rcv_nxt;
}

static void note_sequence_sent(struct qs_engine *e, struct qs_block *c, const struct plan *p,
                               qs_time now)
{
    uint32_t span = p->len + (p->flags & (QS_SYN | QS_FIN) ? 1 : 0);
    if (!c->stalled.v || qs_seq_eq(c->snd_una, c->snd_max))
        c->stalled = qs_tick_at(now);
    qs_seq end = qs_seq_add(p->seq, span);
    if (qs_seq_lt(p->seq, c->snd_max)) { /* sent before: Karn, RFC 6298 section 3 */
        c->retransmits++;
        c->flags &= ~QS_CF_RTT_TIMED;
        if (!(c->flags & QS_CF_SACK))
            qs_reno_sent_again(c, now);
        qs_count(e, QS_COUNT_RETRANSMITS);
    } else if (!(c->flags & (QS_CF_RTT_TIMED | QS_CF_RECOVERY))) { /* its ACK waits for holes */
        c->flags |= QS_CF_RTT_TIMED;
        c->rtt_seq = end;
        c->rtt_start = (uint32_t)(now.ns >> 10);
    }
    c->snd_max = qs_seq_max(c->snd_max, end);
    c->sent = qs_tick_at(now);
    if (c->pace_max)
        qs_pace_sent(c, p->len, now);
    if (p->flags & QS_FIN)
        c->flags |= QS_CF_FIN_SENT;
    if (!c->t_rexmt.v) /* RFC 6298 rule 5.1 */
        qs_tcp_start_rexmt(e, c, now);
}

static bool send(struct qs_engine *e, struct qs_block *c, struct qs_frame *f, const struct plan *p,
                 qs_time now)
{
    write_frame(e, c, f, p, now);
    ack_sent(c);
    if (p->len && e->traces[f->prio].at == QS_TRACE_ANSWER)
        qs_trace_frame(e, c);
    if (p->len || p->flags & (QS_SYN | QS_FIN))
        note_sequence_sent(e, c, p, now);
    return true;
}

/* ---- what to send ---- */

static bool send_syn(struct qs_engine *e, struct qs_block *c, struct qs_frame *f, qs_time now)
{
    c->flags &= ~QS_CF_REXMIT_ONE;
    c->snd_nxt = qs_seq_add(c->snd_una, 1);
    return send(e, c, f, &(struct plan){.seq = c->snd_una, .flags = QS_SYN}, now);
}

/* The segment at SND.UNA once more. */
static bool send_again(struct qs_engine *e, struct qs_block *c, struct qs_frame *f, qs_time now)
{
    c->flags &= ~QS_CF_REXMIT_ONE;
    uint32_t out = qs_seq_span(c->snd_una, c->snd_max);
    uint32_t len = qs_min_u32(qs_min_u32(full_segment(c), c->tx.len), out);
    bool fin = c->flags & QS_CF_FIN_SENT && len == c->tx.len;
    if (len == 0 && !fin)
        return false;
    if (c->pmtu_wait)
        qs_tcp_pmtu_resent(e, c, c->snd_una, len);
    struct qs_bytes_pos from = qs_bytes_find(&e->pool, &c->tx, 0);
    struct plan p = {
        .seq = c->snd_una, .len = len, .flags = fin ? QS_FIN | QS_PSH : QS_PSH, .from = &from};
    if (c->tx.len > len || c->flags & QS_CF_FIN_QUEUED)
        qs_block_ready(e, c);      /* there may be new data behind it */
    qs_tcp_start_rexmt(e, c, now); /* it has the time of a segment that was sent first */
    return send(e, c, f, &p, now);
}

/* Octets of `r` once more, of a connection with SACK: as many as a frame takes, at most `room`. */
static bool send_record(struct qs_engine *e, struct qs_block *c, struct qs_frame *f,
                        struct qs_sent *r, uint32_t room, qs_time now)
{
    uint32_t full = full_segment(c);
    uint32_t len = qs_min_u32(qs_sent_span(r), frame_max(e, c, f));
    if (len > room)
        len = room / full * full;
    if (len == 0)
        return false;
    if (len < qs_sent_span(r) && !qs_sent_split(&e->sent, c, r, qs_seq_add(r->seq, len))) {
        qs_tcp_go_back(e, c);
        qs_block_ready(e, c);
        return false;
    }
    bool fin = c->flags & QS_CF_FIN_SENT && qs_seq_eq(r->end, c->snd_max);
    uint32_t offset = qs_seq_span(c->snd_una, r->seq);
    struct qs_bytes_pos from = qs_bytes_find(&e->pool, &c->tx, offset);
    struct plan p = {.seq = r->seq,
                     .len = len - (fin ? 1 : 0),
                     .flags = fin ? QS_FIN | QS_PSH : QS_PSH,
                     .from = &from};
    if (c->pmtu_wait)
        qs_tcp_pmtu_resent(e, c, r->seq, len);
    qs_sent_again(c, r, now);
    if (offset == 0)
        qs_tcp_start_rexmt(e, c, now); /* it has the time of a segment that was sent first */
    qs_tcp_loss_sent_again(c, r, now);
    qs_block_ready(e, c);
    return send(e, c, f, &p, now);
}

/* The first octets that are lost, as cwnd allows. */
static bool send_lost(struct qs_engine *e, struct qs_block *c, struct qs_frame *f, qs_time now)
{
    struct qs_sent *r = qs_sent_first_lost(&e->sent, c);
    uint32_t room = c->cc.cwnd > c->loss.pipe ? c->cc.cwnd - c->loss.pipe : 0;
    if (c->loss.pipe == 0 && room < c->mss)
        room = c->mss;
    if (room < qs_sent_span(r))
        qs_tcp_cc_full(c, c->snd_max);
    return send_record(e, c, f, r, room, now);
}

/* A loss probe of the last segment that is out, RFC 8985 section 7.3. */
static bool send_last_again(struct qs_engine *e, struct qs_block *c, struct qs_frame *f,
                            qs_time now)
{
    struct qs_sent *r = qs_sent_last(&e->sent, c);
    uint32_t full = full_segment(c);
    uint32_t before = (qs_sent_span(r) - 1) / full * full;
    if (before) {
        if (!qs_sent_split(&e->sent, c, r, qs_seq_add(r->seq, before)))
            return false;
        r = qs_sent_next(&e->sent, r);
    }
    if (!send_record(e, c, f, r, UINT32_MAX, now))
        return false;
    qs_tlp_sent(e, c, true, now);
    return true;
}

/* Place of SND.NXT in the send buffer, which was perhaps empty when it was noted. */
static struct qs_bytes_pos *place(struct qs_engine *e, struct qs_block *c)
{
    if (c->cursor.chunk == QS_NO_IDX)
        c->cursor = qs_bytes_find(&e->pool, &c->tx, qs_seq_span(c->snd_una, c->snd_nxt));
    return &c->cursor;
}

/* One octet, or the FIN, beyond a closed window; SND.NXT stays. */
static bool send_probe(struct qs_engine *e, struct qs_block *c, struct qs_frame *f, qs_time now)
{
    c->flags &= ~QS_CF_PROBE;
    if (c->flags & QS_CF_FRAMED)
        qs_messages_put(e, c, 1, true);
    uint32_t sent = qs_seq_span(c->snd_una, c->snd_nxt);
    struct qs_bytes_pos from = {QS_NO_IDX, 0};
    struct plan p = {.seq = c->snd_nxt, .from = &from};
    if (c->tx.len > sent) {
        from = *place(e, c);
        p.len = 1;
    } else if (c->flags & QS_CF_FIN_QUEUED && sent == c->tx.len && !qs_staged(e, c)) {
        p.flags = QS_FIN;
    } else {
        return false;
    }
    qs_count(e, QS_COUNT_WINDOW_PROBES);
    qs_tick since = c->stalled; /* the wait began with the shut window, not with the first probe */
    send(e, c, f, &p, now);
    if (since.v)
        c->stalled = since;
    return true;
}

/* Octets that the congestion window allows beyond what is in the network. */
static uint32_t usable_cwnd(const struct qs_block *c, uint32_t sent)
{
    uint32_t cwnd = c->cc.cwnd, out = sent;
    if (c->flags & QS_CF_SACK)
        out = c->loss.pipe;
    else
        cwnd = qs_cc_add(cwnd, qs_reno_credit(c));
    uint32_t usable = cwnd > out ? cwnd - out : 0;
    if (c->loss_flags & QS_LF_PROBE_DUE && usable < c->mss) /* RFC 8985 section 7.3 */
        usable = c->mss;
    return usable;
}

/* Octets that window and congestion window allow beyond SND.NXT. */
static uint32_t usable_window(const struct qs_block *c, uint32_t sent)
{
    uint32_t wnd = c->snd_wnd > sent ? c->snd_wnd - sent : 0;
    return qs_min_u32(wnd, usable_cwnd(c, sent));
}

static void start_persist(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    if (c->flags & QS_CF_PERSIST || c->t_rexmt.v)
        return;
    c->flags |= QS_CF_PERSIST;
    if (!c->stalled.v || qs_seq_eq(c->snd_una, c->snd_max))
        c->stalled = qs_tick_at(now);
    qs_tcp_start_rexmt(e, c, now);
}

/* RFC 3168 section 6.1.5: new octets only, not what is sent again. */
static void mark_capable(struct qs_block *c, struct plan *p)
{
    if (p->len == 0 || qs_seq_lt(p->seq, c->snd_max))
        return;
    p->ecn = QS_ECN_ECT0;
    if (c->flags & QS_CF_ECN_CWR)
        p->flags |= QS_CWR;
    c->flags &= ~QS_CF_ECN_CWR;
}

/* What lies at SND.NXT, which moves on. */
static void send_next(struct qs_engine *e, struct qs_block *c, struct qs_frame *f, struct plan *p,
                      qs_time now)
{
    qs_seq end = qs_seq_add(p->seq, p->len + (p->flags & QS_FIN ? 1 : 0));
    if (c->flags & QS_CF_ECN)
        mark_capable(c, p);
    if (c->flags & QS_CF_SACK)
        qs_sent_add(&e->sent, c, (struct qs_range){p->seq, end}, now);
    send(e, c, f, p, now);
    c->snd_nxt = end;
    if (!(c->flags & QS_CF_SACK))
        return;
    if (c->loss_flags & QS_LF_PROBE_DUE)
        qs_tlp_sent(e, c, false, now);
    qs_tlp_arm(e, c, now);
}

/* Octets of a probe of the path MTU that was too large, in full segments; with SACK they are among
 * those that are lost. */
static bool send_size_probe_again(struct qs_engine *e, struct qs_block *c, struct qs_frame *f,
                                  qs_time now)
{
    uint32_t left = qs_tcp_pmtu_again(c), len = qs_min_u32(left, full_segment(c));
    if (len == 0)
        return false;
    qs_seq seq = c->pmtu.test_seq;
    struct qs_bytes_pos from = qs_bytes_find(&e->pool, &c->tx, qs_seq_span(c->snd_una, seq));
    c->pmtu.test_seq = qs_seq_add(seq, len);
    c->pmtu.test_len = (uint16_t)(left - len);
    qs_block_ready(e, c);
    return send(e, c, f, &(struct plan){.seq = seq, .len = len, .from = &from}, now);
}

/* Octets of a larger segment to try next, or 0. */
static uint32_t size_probe(struct qs_engine *e, struct qs_block *c)
{
    uint32_t sent = qs_seq_span(c->snd_una, c->snd_nxt);
    if (!c->pmtu_low || sent >= c->tx.len)
        return 0;
    return qs_tcp_pmtu_probe(e, c, c->tx.len - sent, qs_min_u32(c->snd_wnd, c->cc.cwnd));
}

/* One segment of `len` octets of new data, as soon as ACKs have made room for it. */
static bool send_size_probe(struct qs_engine *e, struct qs_block *c, struct qs_frame *f,
                            uint32_t len, qs_time now)
{
    if (usable_window(c, qs_seq_span(c->snd_una, c->snd_nxt)) < len ||
        (c->flags & QS_CF_SACK && !qs_sent_room(&e->sent, c)))
        return false;
    struct plan p = {.seq = c->snd_nxt, .len = len, .from = place(e, c), .probe = true};
    qs_tcp_pmtu_test(c, p.seq, len);
    qs_count(e, QS_COUNT_PMTU_PROBES);
    send_next(e, c, f, &p, now);
    qs_block_ready(e, c); /* there is more behind it */
    return true;
}

/* RFC 9293 section 3.7.4: what is short of a full segment waits while anything is out. Not a FIN,
 * and not what was sent before. @return octets of `len`, the last that there are, to send now. */
static uint32_t nagle(const struct qs_block *c, uint32_t len, uint32_t full)
{
    uint32_t tail = len % full;
    bool out = !qs_seq_eq(c->snd_una, c->snd_max) || len > full;
    bool again = qs_seq_lt(c->snd_nxt, c->snd_max);
    return out && !again && !(c->flags & QS_CF_FIN_QUEUED) ? len - tail : len;
}

/* Is cwnd what limits, with `out` octets out? Pacing alone leaves no less than half of it unused,
 * and then it may grow, RFC 9002 section 7.8; a ceiling leaves as much as it likes. */
static bool fills_cwnd(const struct qs_block *c, uint32_t out)
{
    return c->pace_max == QS_PACE_OFF || out >= c->cc.cwnd / 2;
}

/* New data, or after a timeout what follows SND.NXT again; FIN with the last octet. */
static bool send_new(struct qs_engine *e, struct qs_block *c, struct qs_frame *f, qs_time now)
{
    uint32_t sent = qs_seq_span(c->snd_una, c->snd_nxt);
    if (sent > c->tx.len) /* the FIN is out */
        return false;
    uint32_t unsent = c->tx.len - sent;
    bool staged = qs_staged(e, c);
    bool fin_due = c->flags & QS_CF_FIN_QUEUED && !staged;
    if (unsent == 0 && !fin_due) {
        if (staged && sent == 0) /* they leave what is open of the window to others */
            start_persist(e, c, now);
        return false;
    }

    if (sent == 0)
        qs_tcp_cc_wake(e, c, now);
    uint32_t usable = usable_window(c, sent), most = qs_min_u32(usable, frame_max(e, c, f));
    uint32_t len = qs_min_u32(unsent, most);
    uint32_t full = full_segment(c);
    if (c->flags & QS_CF_ECN_CWR)
        len = qs_min_u32(len, full); /* each segment of a longer one would say CWR */
    bool more = len < unsent || (staged && len == most); /* else what is staged may not go */
    if (more && len > full)
        len -= len % full; /* only the last segment is short */
    /* RFC 9293 section 3.8.6.2.1: no small segment while a larger one may become possible. */
    if (more && len < full && sent > 0 && len < c->snd_wnd_max / 2)
        len = 0;
    if (c->flags & QS_CF_NAGLE && len == unsent)
        len = nagle(c, len, full);
    if (unsent > usable && c->cc.cwnd <= c->snd_wnd && fills_cwnd(c, sent + len))
        qs_tcp_cc_full(c, qs_seq_add(c->snd_nxt, len));
    bool fin = fin_due && len == unsent && usable > len;
    if (len == 0 && !fin) {
        if (c->snd_wnd <= sent && sent == 0)
            start_persist(e, c, now);
        return false;
    }
    if (c->flags & QS_CF_SACK && !qs_sent_room(&e->sent, c))
        return false; /* an ACK will make room */
    struct plan p = {.seq = c->snd_nxt, .len = len, .from = len ? place(e, c) : NULL};
    if (!more)
        p.flags |= QS_PSH;
    if (fin)
        p.flags |= QS_FIN;
    if (len >= full && !c->pmtu_proven && !c->pmtu_wait)
        qs_tcp_pmtu_test(c, p.seq, c->mss);
    send_next(e, c, f, &p, now);
    if (len < unsent || staged)
        qs_block_ready(e, c);
    return true;
}

/* What is lost goes before what is new, RFC 6675 section 4 NextSeg(). */
static bool next_octets(struct qs_engine *e, struct qs_block *c, struct qs_frame *f, qs_time now)
{
    if (c->loss.lost)
        return send_lost(e, c, f, now);
    uint32_t probe = size_probe(e, c);
    if (probe ? send_size_probe(e, c, f, probe, now) : send_new(e, c, f, now))
        return true;
    if (!(c->loss_flags & QS_LF_PROBE_DUE))
        return false;
    c->loss_flags &= ~QS_LF_PROBE_DUE;
    return c->loss.n && send_last_again(e, c, f, now);
}

/* As congestion control and window allow, when pacing does. */
static bool send_octets(struct qs_engine *e, struct qs_block *c, struct qs_frame *f, qs_time now)
{
    if (qs_staged(e, c)) {
        uint32_t usable = usable_window(c, qs_seq_span(c->snd_una, c->snd_nxt));
        qs_messages_put(e, c, qs_max_u32(qs_min_u32(usable, frame_max(e, c, f)), 1), false);
    }
    if (c->pace_max && qs_pace_holds(e, c, now))
        return false;
    bool sent = next_octets(e, c, f, now);
    if (c->flags & QS_CF_PACED && !(sent && qs_pace_waits(c)))
        c->flags &= ~QS_CF_PACED;
    return sent;
}

/* Is our FIN acknowledged, and so nothing left to send but ACKs? */
static bool all_acknowledged(const struct qs_block *c)
{
    return c->state == QS_TCP_FIN_WAIT_2 || c->state == QS_TCP_TIME_WAIT;
}

static bool choose(struct qs_engine *e, struct qs_block *c, struct qs_frame *f, qs_time now)
{
    if (!qs_tcp_synchronized(c)) {
        bool again = c->flags & QS_CF_REXMIT_ONE;
        if (again || qs_seq_eq(c->snd_nxt, c->snd_una))
            return send_syn(e, c, f, now);
    } else if (!all_acknowledged(c)) {
        if (c->flags & QS_CF_REXMIT_ONE && send_again(e, c, f, now))
            return true;
        if (c->flags & QS_CF_PROBE && send_probe(e, c, f, now))
            return true;
        if (c->pmtu_again && send_size_probe_again(e, c, f, now))
            return true;
        if (send_octets(e, c, f, now))
            return true;
    }
    if (c->flags & (QS_CF_ACK_NOW | QS_CF_KEEP_PROBE))
        return send(e, c, f, &(struct plan){.seq = empty_seq(c)}, now);
    if (c->dup_acks == 0)
        return false;
    c->dup_acks--;
    return send(e, c, f, &(struct plan){.seq = empty_seq(c)}, now);
}

bool qs_tcp_output(struct qs_engine *e, struct qs_block *c, struct qs_frame *f, qs_time now)
{
    if (c->state == QS_TCP_CLOSED)
        return false;
    if (!qs_neigh_use(e, c->neigh, now)) {
        /* Parked until the neighbour answers; the timer asks again and gives up in the end. */
        if (!c->t_rexmt.v)
            qs_tcp_start_rexmt(e, c, now);
        if (!c->stalled.v)
            c->stalled = qs_tick_at(now);
        qs_neigh_wait(e, c);
        return false;
    }
    bool sent = choose(e, c, f, now);
    if (c->dup_acks)
        qs_block_ready(e, c);
    return sent;
}
