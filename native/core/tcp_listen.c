/* SPDX-License-Identifier: Apache-2.0 */
/* Segments for which there is no connection, and the passive open: RFC 9293 sections 3.10.7.1
 * and 3.10.7.2. */
#include "engine.h"

static int find_listener(const struct qs_engine *e, const qs_addr *local, uint16_t port)
{
    int any = -1;
    for (uint32_t i = 0; i < e->n_listeners; i++) {
        const struct qs_listener *l = &e->listeners[i];
        if (l->port != port)
            continue;
        if (qs_addr_eq(&l->addr, local)) /* the more exact one wins */
            return (int)i;
        if (qs_addr_is_any(&l->addr))
            any = (int)i;
    }
    return any;
}

uint8_t qs_tcp_listener_class(const struct qs_engine *e, uint8_t local_idx, uint16_t port)
{
    int listener = find_listener(e, &e->locals[local_idx].addr, port);
    return listener < 0 ? 0 : e->listeners[listener].prio;
}

bool qs_tcp_backlog_full(const struct qs_engine *e, uint16_t listener)
{
    return e->listeners[listener].untaken >= e->listeners[listener].backlog;
}

void qs_tcp_accepted(struct qs_engine *e, struct qs_block *c)
{
    qs_half_open_end(e, c);
    c->flags |= QS_CF_UNTAKEN;
    e->listeners[c->listener].untaken++;
}

/* What asks for a connection, as classifiers see it. */
static struct qs_flow flow_of(const struct qs_segment *s, uint8_t prio)
{
    const struct qs_packet *p = s->packet;
    return (struct qs_flow){.local = p->dst,
                            .remote = p->src,
                            .local_port = s->dst_port,
                            .remote_port = s->src_port,
                            .vlan = p->vlan,
                            .pcp = p->pcp,
                            .dscp = p->dscp,
                            .prio = prio};
}

uint8_t qs_tcp_open_class(struct qs_engine *e, uint16_t listener, const struct qs_segment *s)
{
    const struct qs_listener *l = &e->listeners[listener];
    struct qs_flow flow = flow_of(s, l->prio);
    return qs_messages_open_class(e, l->messages, &flow);
}

struct qs_block *qs_tcp_passive(struct qs_engine *e, uint16_t listener, const struct qs_segment *s,
                                uint8_t local_idx, uint32_t hash, uint8_t prio)
{
    const struct qs_listener *l = &e->listeners[listener];
    struct qs_block *c = qs_tcp_new_conn(e, &s->packet->src, s->packet->vlan, local_idx, prio);
    if (!c)
        return NULL;
    c->remote_port = s->src_port;
    c->local_port = s->dst_port;
    c->user = l->user;
    c->listener = (uint8_t)listener; /* below QS_LISTENERS_MAX */
    c->flags = QS_CF_PASSIVE;
    if (l->messages) {
        struct qs_flow flow = flow_of(s, prio);
        qs_messages_begin(e, c, l->messages, &flow);
    }
    qs_tcp_configure(e, c, &l->conf);
    c->hash = hash;
    qs_block_enter(e, c);
    qs_tcp_choose_isn(e, c, s->arrived);
    return c;
}

/* An attempt to connect is refused, early and at little cost. */
static void shed(struct qs_engine *e, uint16_t listener, const struct qs_segment *s, uint8_t prio,
                 enum qs_class_counter why)
{
    qs_class_count(e, prio, why);
    if (e->listeners[listener].shed_rst)
        qs_tcp_reset_reply(e, s);
}

static void accept_syn(struct qs_engine *e, uint16_t listener, const struct qs_segment *s,
                       uint8_t local_idx, uint32_t hash)
{
    uint16_t cells;
    uint8_t prio = qs_tcp_open_class(e, listener, s);
    if (qs_tcp_backlog_full(e, listener)) {
        qs_count(e, QS_COUNT_DROP_BACKLOG);
        shed(e, listener, s, prio, QS_CLASS_SHED_BACKLOG);
        return;
    }
    if (!qs_class_may_connect(e, prio)) {
        qs_count(e, QS_COUNT_DROP_NO_CONN);
        shed(e, listener, s, prio, QS_CLASS_SHED_CONNS);
        return;
    }
    if (!qs_half_open_may(e, listener, &s->packet->src, &cells)) {
        qs_count(e, QS_COUNT_HALF_OPEN_LIMIT);
        qs_tcp_send_cookie(e, listener, s);
        return;
    }
    struct qs_block *c = qs_tcp_passive(e, listener, s, local_idx, hash, prio);
    if (!c)
        return;
    qs_half_open_begin(e, c, cells);
    qs_tcp_take_syn(e, c, s); /* octets in a SYN are not taken: the peer sends them again */
    if (e->listeners[listener].ecn && qs_ecn_asked(s, c->cc_algo))
        c->flags |= QS_CF_ECN;
    qs_tcp_set_state(c, QS_TCP_SYN_RECEIVED);
    qs_block_ready(e, c);
}

void qs_tcp_unconnected(struct qs_engine *e, const struct qs_segment *s, uint8_t local_idx,
                        uint32_t hash)
{
    if (s->flags & QS_RST) {
        qs_count(e, QS_COUNT_DROP_RST);
        return;
    }
    int listener = find_listener(e, &e->locals[local_idx].addr, s->dst_port);
    bool ack = s->flags & QS_ACK;
    if (listener >= 0 && ack && qs_tcp_take_cookie(e, (uint16_t)listener, s, local_idx, hash))
        return;
    if (listener < 0 || ack) {
        qs_count(e, QS_COUNT_DROP_NO_LISTENER);
        qs_tcp_reset_reply(e, s);
        return;
    }
    if ((s->flags & (QS_SYN | QS_FIN)) != QS_SYN) {
        qs_count(e, QS_COUNT_DROP_FLAGS);
        return;
    }
    accept_syn(e, (uint16_t)listener, s, local_idx, hash);
}

void qs_listen_opts_init(struct qs_listen_opts *o)
{
    *o = (struct qs_listen_opts){.size = sizeof *o, .backlog = 4096, .half_open_max = 1024};
    qs_conn_opts_init(&o->conn);
}

int qs_engine_listen(qs_engine *e, const struct qs_listen_opts *o)
{
    struct qs_tcp_conf conf;
    if (o->size != sizeof *o || !qs_tcp_conf_from(e, &conf, &o->conn) || o->port == 0 ||
        o->prio >= QS_N_PRIO || o->backlog == 0 || o->half_open_max == 0 ||
        !qs_messages_fit(e, o->messages, &conf))
        return QS_ERR_ARG;
    if (!qs_addr_is_any(&o->addr) && qs_local_find(e, &o->addr) < 0)
        return QS_ERR_ADDRNOTAVAIL;
    uint32_t at = QS_LISTENERS_MAX;
    for (uint32_t i = 0; i < QS_LISTENERS_MAX; i++) {
        const struct qs_listener *l = &e->listeners[i];
        if (l->port == o->port && qs_addr_eq(&l->addr, &o->addr))
            return QS_ERR_ADDRINUSE;
        /* One whose connections were not all taken keeps its place: they count against it. */
        if (at == QS_LISTENERS_MAX && l->port == 0 && l->untaken == 0)
            at = i;
    }
    if (at == QS_LISTENERS_MAX)
        return QS_ERR_NOMEM;
    uint32_t quarter = o->half_open_max / 4 ? o->half_open_max / 4 : 1;
    e->listeners[at] = (struct qs_listener){
        .addr = o->addr,
        .user = o->user,
        .backlog = o->backlog,
        .half_open_max = o->half_open_max,
        .half_open_prefix_max = o->half_open_prefix_max ? o->half_open_prefix_max : quarter,
        .port = o->port,
        .prio = o->prio,
        .conf = conf,
        .ecn = !o->no_ecn,
        .shed_rst = o->shed_rst,
        .messages = o->messages,
    };
    e->classes_used |= 1u << o->prio;
    if (at >= e->n_listeners)
        e->n_listeners = at + 1;
    return (int)at;
}

qs_err qs_engine_unlisten(qs_engine *e, int listener)
{
    if (listener < 0 || listener >= (int)QS_LISTENERS_MAX || e->listeners[listener].port == 0)
        return QS_ERR_STALE;
    for (uint32_t i = 0; i < e->fresh_block; i++) {
        struct qs_block *c = &e->blocks[i];
        if (c->gen % 2 == 1 && c->state == QS_TCP_SYN_RECEIVED && c->flags & QS_CF_PASSIVE &&
            c->listener == listener)
            qs_block_free(e, c);
    }
    e->listeners[listener].port = 0;
    return 0;
}
