/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP errors: the packet that they quote is taken apart with bounds, and what they say reaches a
 * connection only if octets of that packet are outstanding, RFC 5927 section 4.1.
 *
 * No error ends a connection that is synchronized (RFC 5927 section 5.2): it is remembered as the
 * reason when nobody answers any more. An active open ends at once with an error that will not pass
 * by itself (RFC 1122 section 4.2.3.9); with others it goes on until its time is over, since routes
 * come back, and there is no second address to try that RFC 5461 section 4.1 would hurry to. */
#include "engine.h"

#define ICMP_BYTES 8u /* in front of the quote */
#define QUOTED_TCP 8u /* ports and sequence number: all that must be quoted, RFC 792 */
#define FRAGMENT_OFFSET 0x1fffu

struct meaning {
    uint8_t type, code_first, code_last, kind;
    int8_t err;
};

/* RFC 1122 sections 3.2.2 and 4.2.3.9. Source quench (4) means nothing, RFC 6633; redirects (5) are
 * not used: routes are configured. */
static const struct meaning v4[] = {
    {3, 0, 1, QS_ICMP_SOFT, 0},
    {3, 2, 3, QS_ICMP_HARD, QS_ERR_REFUSED}, /* protocol, port */
    {3, 4, 4, QS_ICMP_TOO_BIG, 0},
    {3, 5, 8, QS_ICMP_SOFT, 0},
    {3, 9, 10, QS_ICMP_HARD, QS_ERR_UNREACH}, /* prohibited */
    {3, 11, 12, QS_ICMP_SOFT, 0},
    {3, 13, 13, QS_ICMP_HARD, QS_ERR_UNREACH},
    {3, 14, 15, QS_ICMP_SOFT, 0},
    {11, 0, 1, QS_ICMP_SOFT, 0},
    {12, 0, 2, QS_ICMP_SOFT, 0},
};

/* RFC 4443 section 3, RFC 5461 section 2.2. */
static const struct meaning v6[] = {
    {1, 0, 0, QS_ICMP_SOFT, 0},
    {1, 1, 1, QS_ICMP_HARD, QS_ERR_UNREACH}, /* prohibited */
    {1, 2, 3, QS_ICMP_SOFT, 0},
    {1, 4, 4, QS_ICMP_HARD, QS_ERR_REFUSED}, /* port */
    {1, 5, 6, QS_ICMP_HARD, QS_ERR_UNREACH}, /* policy */
    {2, 0, 255, QS_ICMP_TOO_BIG, 0},         /* the code says nothing */
    {3, 0, 1, QS_ICMP_SOFT, 0},
    {4, 0, 0, QS_ICMP_SOFT, 0},
    {4, 1, 1, QS_ICMP_HARD, QS_ERR_REFUSED}, /* next header */
    {4, 2, 3, QS_ICMP_SOFT, 0},
};

static void find_meaning(struct qs_icmp_error *x, const struct qs_packet *p)
{
    const struct meaning *table = p->v4 ? v4 : v6;
    size_t n = p->v4 ? sizeof v4 / sizeof v4[0] : sizeof v6 / sizeof v6[0];
    for (size_t i = 0; i < n; i++) {
        const struct meaning *m = &table[i];
        if (m->type == p->l4[0] && m->code_first <= p->l4[1] && p->l4[1] <= m->code_last) {
            x->kind = m->kind;
            x->err = m->err;
        }
    }
    if (x->kind == QS_ICMP_TOO_BIG)
        x->mtu = p->v4 ? qs_load16(p->l4 + 6) : qs_load32(p->l4 + 4);
}

/* The quoted IPv4 header. A router has changed TTL and checksum, which is not looked at. */
static bool quoted_ipv4(struct qs_icmp_error *x, struct qs_cursor *c)
{
    const uint8_t *h = qs_take(c, QS_IPV4_BYTES);
    if (!h || h[0] >> 4 != 4 || (h[0] & 15u) * 4 < QS_IPV4_BYTES || h[9] != QS_PROTO_TCP ||
        qs_load16(h + 6) & FRAGMENT_OFFSET)
        return false;
    x->bytes = qs_load16(h + 2);
    x->remote = qs_addr_from_v4(h + 16);
    x->local = qs_addr_from_v4(h + 12);
    return qs_take(c, (h[0] & 15u) * 4 - QS_IPV4_BYTES);
}

static bool quoted_ipv6(struct qs_icmp_error *x, struct qs_cursor *c)
{
    const uint8_t *h = qs_take(c, QS_IPV6_BYTES);
    if (!h || h[0] >> 4 != 6)
        return false;
    uint32_t payload = qs_load16(h + 4);
    x->bytes = payload ? QS_IPV6_BYTES + payload : 0; /* 0: a jumbo of segmentation offload */
    x->remote = qs_addr_from_v6(h + 24);
    x->local = qs_addr_from_v6(h + 8);
    uint8_t next = h[6];
    return qs_packet_skip_extensions(c, &next) && next == QS_PROTO_TCP;
}

/* @return false when there is no segment of TCP in it, or too little of one. */
static bool take_quote(struct qs_icmp_error *x, const struct qs_packet *p)
{
    struct qs_cursor c = {p->l4 + ICMP_BYTES, p->l4_len - ICMP_BYTES};
    if (!(p->v4 ? quoted_ipv4(x, &c) : quoted_ipv6(x, &c)))
        return false;
    const uint8_t *tcp = qs_take(&c, QUOTED_TCP);
    if (!tcp)
        return false;
    x->local_port = qs_load16(tcp);
    x->remote_port = qs_load16(tcp + 2);
    x->seq = qs_load32(tcp + 4);
    return true;
}

/* What goes by the NIC's hash (trust_hash) is not found: no NIC has hashed the quoted packet. */
static struct qs_block *find_connection(const struct qs_engine *e, const struct qs_icmp_error *x,
                                        uint8_t local_idx)
{
    uint32_t hash = qs_tuple_hash(e, &x->remote, x->remote_port, local_idx, x->local_port);
    return qs_block_find(e, hash, &x->remote, x->remote_port, local_idx, x->local_port);
}

/* Octets at the quoted number are outstanding, RFC 5927 section 4.1. A blind sender has to guess
 * that, too. */
static bool is_outstanding(const struct qs_block *c, const struct qs_icmp_error *x)
{
    qs_seq seq = {x->seq};
    return qs_seq_le(c->snd_una, seq) && qs_seq_lt(seq, c->snd_max);
}

static void apply(struct qs_engine *e, struct qs_block *c, const struct qs_icmp_error *x,
                  qs_time now)
{
    if (x->kind == QS_ICMP_TOO_BIG && !qs_tcp_pmtu_report(e, c, x, now)) {
        qs_count(e, QS_COUNT_DROP_ICMP_MTU);
        return;
    }
    qs_count(e, QS_COUNT_ICMP_ERRORS);
    if (x->kind == QS_ICMP_HARD && c->state == QS_TCP_SYN_SENT)
        qs_block_end(e, c, x->err);
    else if (x->kind != QS_ICMP_TOO_BIG)
        c->flags |= QS_CF_UNREACH;
}

void qs_icmp_error_input(struct qs_engine *e, const struct qs_packet *p, qs_time now)
{
    struct qs_icmp_error x = {0};
    find_meaning(&x, p);
    if (x.kind == QS_ICMP_NONE || qs_addr_is_bad_source(&p->src) || !take_quote(&x, p)) {
        qs_count(e, QS_COUNT_DROP_ICMP);
        return;
    }
    /* Routers tell the address that the quoted packet came from. */
    int local = qs_addr_eq(&x.local, &p->dst) ? qs_local_find(e, &x.local) : -1;
    struct qs_block *c = local < 0 ? NULL : find_connection(e, &x, (uint8_t)local);
    if (c && is_outstanding(c, &x)) {
        apply(e, c, &x, now);
        return;
    }
    qs_count(e, QS_COUNT_DROP_ICMP_QUOTE);
    if (!c && local >= 0 && e->n_strays < QS_STRAYS_MAX)
        e->strays[e->n_strays++] = x;
}

bool qs_engine_icmp_next(struct qs_engine *e, struct qs_icmp_error *out)
{
    if (!e->n_strays)
        return false;
    *out = e->strays[--e->n_strays];
    return true;
}

void qs_engine_icmp_told(struct qs_engine *e, const struct qs_icmp_error *x, qs_time now)
{
    int local = qs_local_find(e, &x->local);
    struct qs_block *c = local < 0 ? NULL : find_connection(e, x, (uint8_t)local);
    e->now = now;
    if (c && is_outstanding(c, x))
        apply(e, c, x, now);
}
