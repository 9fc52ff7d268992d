/* SPDX-License-Identifier: Apache-2.0 */
/* Active open: RFC 9293 section 3.10.1 (OPEN) and section 3.10.7.3 (SYN-SENT). */
#include "engine.h"

/* Ephemeral ports, RFC 6335 section 6. */
#define PORT_FIRST 49152u
#define PORTS 16384u

void qs_open_opts_init(struct qs_open_opts *o)
{
    *o = (struct qs_open_opts){.size = sizeof *o};
    qs_conn_opts_init(&o->conn);
}

/* First address of the same IP version and scope, or -1. */
static int local_for(const struct qs_engine *e, const qs_addr *remote)
{
    bool v4 = qs_addr_is_v4(remote), near = qs_addr_is_link_local_v6(remote);
    for (uint32_t i = 0; i < e->n_locals; i++) {
        const qs_addr *a = &e->locals[i].addr;
        if (qs_addr_is_v4(a) == v4 && qs_addr_is_link_local_v6(a) == near)
            return (int)i;
    }
    return -1;
}

static int choose_local(const struct qs_engine *e, const struct qs_open_opts *o)
{
    return qs_addr_is_any(&o->local) ? local_for(e, &o->remote) : qs_local_find(e, &o->local);
}

qs_err qs_engine_local_for(const qs_engine *e, const qs_addr *remote, qs_addr *out)
{
    int i = local_for(e, remote);
    *out = i < 0 ? (qs_addr){{0}} : e->locals[i].addr;
    return i < 0 ? QS_ERR_ADDRNOTAVAIL : 0;
}

static bool port_free(const struct qs_engine *e, const struct qs_open_opts *o, uint8_t local_idx,
                      uint16_t port)
{
    uint32_t hash = qs_tuple_hash(e, &o->remote, o->remote_port, local_idx, port);
    return !qs_block_find(e, hash, &o->remote, o->remote_port, local_idx, port);
}

/* RFC 6056 algorithm 3: a keyed offset for each destination plus a counter. */
static uint16_t choose_port(struct qs_engine *e, const struct qs_open_opts *o, uint8_t local_idx)
{
    uint64_t w[3];
    memcpy(w, &o->remote, 16);
    w[2] = (uint64_t)local_idx << 16 | o->remote_port;
    uint32_t offset = (uint32_t)qs_siphash24(&e->isn_key, w, 3);
    for (uint32_t i = 0; i < PORTS; i++) {
        uint16_t port = (uint16_t)(PORT_FIRST + (offset + e->port_counter++) % PORTS);
        if (port_free(e, o, local_idx, port))
            return port;
    }
    return 0;
}

qs_err qs_conn_open(qs_engine *e, const struct qs_open_opts *o, qs_time now, qs_conn *out)
{
    out->v = 0;
    struct qs_tcp_conf conf;
    if (o->size != sizeof *o || !qs_tcp_conf_from(e, &conf, &o->conn) || o->remote_port == 0 ||
        o->prio >= QS_N_PRIO || !qs_vlan_taken(e, o->vlan) ||
        !qs_messages_fit(e, o->messages, &conf) || qs_addr_is_bad_source(&o->remote) ||
        qs_local_find(e, &o->remote) >= 0)
        return QS_ERR_ARG;
    int local = choose_local(e, o);
    if (local < 0)
        return QS_ERR_ADDRNOTAVAIL;
    qs_addr next_hop;
    if (!qs_route(e, &o->remote, &next_hop))
        return QS_ERR_UNREACH;
    uint8_t local_idx = (uint8_t)local;
    uint16_t port = o->local_port ? o->local_port : choose_port(e, o, local_idx);
    if (port == 0 || !port_free(e, o, local_idx, port))
        return QS_ERR_ADDRINUSE;
    struct qs_block *c = qs_tcp_new_conn(e, &o->remote, o->vlan, local_idx, o->prio);
    if (!c)
        return QS_ERR_NOMEM;

    c->remote_port = o->remote_port;
    c->local_port = port;
    c->user = o->user;
    c->hash = qs_tuple_hash(e, &c->remote, c->remote_port, local_idx, port);
    c->flags =
        QS_CF_TS | QS_CF_WSCALE | QS_CF_SACK; /* offered; what the peer does not answer is off */
    if (o->messages)
        qs_messages_begin(e, c, o->messages, &(struct qs_flow){.vlan = o->vlan});
    qs_tcp_configure(e, c, &conf);
    c->mss = qs_tcp_own_mss(e, c);
    if (o->ecn || qs_cc_ops(c->cc_algo)->exact_ce)
        c->flags |= QS_CF_ECN;
    e->now = now;
    e->opened = true;
    e->classes_used |= 1u << c->prio;
    qs_block_enter(e, c);
    qs_tcp_choose_isn(e, c, now);
    qs_tcp_set_state(c, QS_TCP_SYN_SENT);
    qs_block_ready(e, c);
    *out = qs_block_handle(e, c);
    return 0;
}

void qs_tcp_syn_sent(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    bool ack_fits =
        s->flags & QS_ACK && qs_seq_lt(c->snd_una, s->ack) && qs_seq_le(s->ack, c->snd_max);
    if (s->flags & QS_ACK && !ack_fits) { /* first */
        qs_count(e, QS_COUNT_DROP_ACK);
        if (!(s->flags & QS_RST))
            qs_tcp_reset_reply(e, s);
        return;
    }
    if (s->flags & QS_RST) { /* second; without ACK it could be blind */
        qs_count(e, ack_fits ? QS_COUNT_RESETS_RECEIVED : QS_COUNT_DROP_RST);
        if (ack_fits)
            qs_block_end(e, c, QS_ERR_REFUSED);
        return;
    }
    if (!(s->flags & QS_SYN)) { /* fifth */
        qs_count(e, QS_COUNT_DROP_FLAGS);
        return;
    }
    c->flags &= ~(QS_CF_TS | QS_CF_WSCALE | QS_CF_SACK);
    qs_tcp_take_syn(e, c, s); /* fourth */
    if (ack_fits) {
        qs_ecn_take_syn_ack(c, s);
        qs_tcp_established(e, c, s);
        c->flags |= QS_CF_ACK_NOW;
    } else {                    /* simultaneous open, RFC 9293 figure 7 */
        c->flags &= ~QS_CF_ECN; /* RFC 3168 section 6.1.1: both asked, neither answered */
        qs_tcp_set_state(c, QS_TCP_SYN_RECEIVED);
        c->snd_nxt = c->snd_una; /* our SYN again, with the ACK */
    }
    qs_block_ready(e, c);
}
