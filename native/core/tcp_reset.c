/* SPDX-License-Identifier: Apache-2.0 */
/* RST segments: RFC 9293 section 3.10.7.1 for what has no connection, section 3.10.5 for ABORT. */
#include "engine.h"

struct reset {
    struct qs_hop to;
    const qs_addr *src, *dst;
    struct qs_tcp_out tcp;
};

static void send_reset(struct qs_engine *e, const struct reset *r)
{
    if (qs_reply_tcp(e, &r->to, r->src, r->dst, &r->tcp))
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
    struct qs_hop back = qs_packet_back(s->packet, 0);
    send_reset(e, &(struct reset){back, &s->packet->dst, &s->packet->src, t});
}

void qs_tcp_reset_conn(struct qs_engine *e, struct qs_block *c)
{
    /* Nothing was agreed before, nothing is left after. */
    if (c->state < QS_TCP_SYN_RECEIVED || c->state == QS_TCP_TIME_WAIT)
        return;
    if (e->neighs[c->neigh].state != QS_NEIGH_VALID)
        return;
    struct qs_tcp_out t = {
        .seq = qs_tcp_bare_seq(c),
        .ack = c->rcv_nxt,
        .src_port = c->local_port,
        .dst_port = c->remote_port,
        .flags = QS_RST | QS_ACK,
        .wscale = -1,
    };
    struct qs_hop to = qs_block_hop(e, c, c->prio);
    send_reset(e, &(struct reset){to, qs_block_local(e, c), &c->remote, t});
}
