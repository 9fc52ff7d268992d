/* SPDX-License-Identifier: Apache-2.0 */
/* Segments that do not wait for their connection's turn. RST: RFC 9293 section 3.10.7.1 for what
 * has no connection, section 3.10.5 for ABORT. ACK: RFC 8257 section 3.2. */
#include "checksum.h"
#include "engine.h"

struct bare {
    const uint8_t *mac;
    const qs_addr *src, *dst;
    struct qs_tcp_out tcp;
    uint8_t prio;
};

static void send_bare(struct qs_engine *e, const struct bare *r)
{
    bool v4 = qs_addr_is_v4(r->dst);
    uint32_t ip = v4 ? QS_IPV4_BYTES : QS_IPV6_BYTES;
    uint32_t tcp = QS_TCP_BYTES + (r->tcp.has_ts ? QS_TCP_TS_BYTES : 0);
    uint8_t *f = qs_reply_new(e, QS_ETH_BYTES + ip + tcp, r->prio);
    if (!f)
        return;
    qs_eth_write(f, r->mac, e->opts.mac, v4 ? QS_ETHERTYPE_IPV4 : QS_ETHERTYPE_IPV6);
    qs_ip_write(f + QS_ETH_BYTES,
                &(struct qs_ip_out){r->src, r->dst, tcp, QS_PROTO_TCP, QS_HOP_LIMIT, 0});
    uint8_t *l4 = f + QS_ETH_BYTES + ip;
    qs_tcp_write(l4, &r->tcp);
    uint64_t pseudo = qs_csum_pseudo(r->src, r->dst, QS_PROTO_TCP, tcp);
    qs_csum_store(l4 + QS_TCP_CHECKSUM_AT, qs_csum_join(pseudo, qs_csum_add(0, l4, tcp)));
    if (r->tcp.flags & QS_RST)
        qs_count(e, QS_COUNT_RESETS_SENT);
}

void qs_tcp_reset_reply(struct qs_engine *e, const struct qs_segment *s)
{
    if (s->flags & QS_RST)
        return;
    struct qs_tcp_out t = {.src_port = s->dst_port, .dst_port = s->src_port, .wscale = -1};
    if (s->flags & QS_ACK) {
        t.seq = s->ack;
        t.flags = QS_RST;
    } else {
        t.ack = qs_seq_add(s->seq, qs_segment_span(s));
        t.flags = QS_RST | QS_ACK;
    }
    send_bare(e, &(struct bare){s->packet->eth + 6, &s->packet->dst, &s->packet->src, t, 0});
}

void qs_tcp_reset_conn(struct qs_engine *e, struct qs_block *c)
{
    /* Nothing was agreed before, nothing is left after. */
    if (c->state < QS_TCP_SYN_RECEIVED || c->state == QS_TCP_TIME_WAIT)
        return;
    const struct qs_neigh_entry *n = &e->neighs[c->neigh];
    if (n->state != QS_NEIGH_VALID)
        return;
    struct qs_tcp_out t = {
        .seq = qs_tcp_bare_seq(c),
        .ack = c->rcv_nxt,
        .src_port = c->local_port,
        .dst_port = c->remote_port,
        .flags = QS_RST | QS_ACK,
        .wscale = -1,
    };
    send_bare(e, &(struct bare){n->mac, qs_block_local(e, c), &c->remote, t, c->prio});
}

void qs_tcp_ack_reply(struct qs_engine *e, struct qs_block *c)
{
    const struct qs_neigh_entry *n = &e->neighs[c->neigh];
    if (n->state != QS_NEIGH_VALID)
        return;
    struct qs_tcp_out t = {
        .seq = qs_tcp_bare_seq(c),
        .ack = c->rcv_nxt,
        .src_port = c->local_port,
        .dst_port = c->remote_port,
        .wnd = (uint16_t)(qs_tcp_window(e, c) >> c->rcv_wscale),
        .flags = QS_ACK | (c->flags & QS_CF_ECN_ECHO ? QS_ECE : 0),
        .wscale = -1,
        .has_ts = c->flags & QS_CF_TS,
        .ts_val = qs_tcp_ts_now(c, e->now),
        .ts_ecr = c->ts_recent,
    };
    send_bare(e, &(struct bare){n->mac, qs_block_local(e, c), &c->remote, t, c->prio});
    c->last_ack_sent = c->rcv_nxt;
    c->flags &= ~(QS_CF_ACK_NOW | QS_CF_ACK_DELAYED);
    c->t_ack.v = 0;
}
