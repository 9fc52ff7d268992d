/* SPDX-License-Identifier: Apache-2.0 */
/* RST segments: RFC 9293 section 3.10.7.1 for what has no connection, section 3.10.5 for ABORT. */
#include "engine.h"

struct reset {
    const uint8_t *mac;
    const qs_addr *src, *dst;
    struct qs_tcp_out tcp;
    uint8_t prio;
};

static void send_reset(struct qs_engine *e, const struct reset *r)
{
    if (qs_reply_tcp(e, r->mac, r->src, r->dst, &r->tcp, r->prio))
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
    send_reset(e, &(struct reset){s->packet->eth + 6, &s->packet->dst, &s->packet->src, t, 0});
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
    send_reset(e, &(struct reset){n->mac, qs_block_local(e, c), &c->remote, t, c->prio});
}
