/* SPDX-License-Identifier: Apache-2.0 */
/* Neighbor Discovery for hosts, RFC 4861: solicitations are answered, advertisements are believed
 * when asked for. Router advertisements and redirects are not used: routes are configured. */
#include "checksum.h"
#include "engine.h"

#define ND_SOLICIT 135u
#define ND_ADVERT 136u
#define ND_BYTES 24u /* type, code, checksum, flags, target */
#define OPT_SOURCE_LLA 1u
#define OPT_TARGET_LLA 2u
#define OPT_LLA_BYTES 8u
#define FLAG_SOLICITED 0x40000000u
#define FLAG_OVERRIDE 0x20000000u

/* Finds the link-layer address option of `kind`. @return false when the options are malformed. */
static bool find_lla(struct qs_cursor c, uint8_t kind, const uint8_t **mac)
{
    *mac = NULL;
    while (c.left) {
        const uint8_t *o =
            qs_take(&c, 8); /* options are counted in 8 bytes, RFC 4861 section 4.6 */
        if (!o || o[1] == 0 || !qs_take(&c, (o[1] - 1u) * 8u))
            return false;
        if (o[0] == kind && o[1] == 1 && !*mac)
            *mac = o + 2;
    }
    return true;
}

struct nd_out {
    const uint8_t *mac;
    uint16_t vlan;
    const qs_addr *src, *dst, *target;
    uint32_t flags;
    uint8_t type, option;
};

static void nd_send(struct qs_engine *e, const struct nd_out *o)
{
    const uint32_t bytes = ND_BYTES + OPT_LLA_BYTES;
    struct qs_hop to = {o->mac, o->vlan, QS_N_PRIO - 1};
    uint8_t *p = qs_reply_new(e, &to, QS_ETHERTYPE_IPV6, QS_IPV6_BYTES + bytes);
    if (!p)
        return;
    qs_ip_write(p, &(struct qs_ip_out){o->src, o->dst, bytes, QS_PROTO_ICMPV6, .hop_limit = 255});
    uint8_t *m = p + QS_IPV6_BYTES;
    m[0] = o->type;
    m[1] = 0;
    qs_store16(m + 2, 0);
    qs_store32(m + 4, o->flags);
    memcpy(m + 8, o->target->b, 16);
    m[ND_BYTES] = o->option;
    m[ND_BYTES + 1] = 1;
    memcpy(m + ND_BYTES + 2, e->opts.mac, 6);
    qs_csum_store(m + 2,
                  qs_csum_add(qs_csum_pseudo(o->src, o->dst, QS_PROTO_ICMPV6, bytes), m, bytes));
}

/* Best local address to ask for `target` from, or NULL. */
static const qs_addr *source_for(const struct qs_engine *e, const qs_addr *target)
{
    const qs_addr *any = NULL;
    for (uint32_t i = 0; i < e->n_locals; i++) {
        const struct qs_local *l = &e->locals[i];
        if (qs_addr_is_v4(&l->addr))
            continue;
        if (qs_addr_same_prefix(&l->addr, target, l->prefix_len))
            return &l->addr;
        any = &l->addr;
    }
    return any;
}

void qs_nd_solicit(struct qs_engine *e, const qs_addr *target, uint16_t vlan)
{
    const qs_addr *src = source_for(e, target);
    if (!src)
        return;
    /* Solicited-node multicast, RFC 4291 section 2.7.1. */
    qs_addr group = {{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff}};
    memcpy(group.b + 13, target->b + 13, 3);
    uint8_t mac[6] = {0x33, 0x33, 0xff, target->b[13], target->b[14], target->b[15]};
    nd_send(e, &(struct nd_out){mac, vlan, src, &group, target, 0, ND_SOLICIT, OPT_SOURCE_LLA});
}

/* RFC 4861 section 7.1.1 and 7.2.3. */
static bool take_solicit(struct qs_engine *e, const struct qs_packet *p, qs_time now)
{
    const uint8_t *mac;
    qs_addr target = qs_addr_from_v6(p->l4 + 8);
    if (!find_lla((struct qs_cursor){p->l4 + ND_BYTES, p->l4_len - ND_BYTES}, OPT_SOURCE_LLA, &mac))
        return false;
    if (qs_local_find(e, &target) < 0)
        return true; /* somebody else's */

    bool probe = qs_addr_is_any(&p->src); /* duplicate address detection: answered to all nodes */
    static const qs_addr all_nodes = {{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
    static const uint8_t all_nodes_mac[6] = {0x33, 0x33, 0, 0, 0, 1};
    if (probe && mac)
        return false;
    if (mac && !(mac[0] & 1) && qs_local_find(e, &p->src) < 0)
        qs_neigh_learn(e, &p->src, p->vlan, mac, now);
    nd_send(e, &(struct nd_out){.mac = probe ? all_nodes_mac : p->eth + 6,
                                .vlan = p->vlan,
                                .src = &target,
                                .dst = probe ? &all_nodes : &p->src,
                                .target = &target,
                                .flags = FLAG_OVERRIDE | (probe ? 0 : FLAG_SOLICITED),
                                .type = ND_ADVERT,
                                .option = OPT_TARGET_LLA});
    qs_count(e, QS_COUNT_NEIGH_ANSWERS);
    return true;
}

/* RFC 4861 section 7.1.2 and 7.2.5. */
static bool take_advert(struct qs_engine *e, const struct qs_packet *p, qs_time now)
{
    const uint8_t *mac;
    qs_addr target = qs_addr_from_v6(p->l4 + 8);
    if (!find_lla((struct qs_cursor){p->l4 + ND_BYTES, p->l4_len - ND_BYTES}, OPT_TARGET_LLA, &mac))
        return false;
    if (!mac || (mac[0] & 1) || qs_local_find(e, &target) >= 0)
        return false;
    qs_neigh_answered(e, &target, p->vlan, mac, now);
    return true;
}

void qs_nd_input(struct qs_engine *e, const struct qs_packet *p, qs_time now)
{
    if (e->opts.neigh_mode == QS_NEIGH_TOLD)
        return;
    const uint8_t *m = p->l4;
    bool fine = p->l4_len >= ND_BYTES && p->hop_limit == 255 && m[1] == 0 && m[8] != 0xff;
    if (fine)
        fine = m[0] == ND_SOLICIT ? take_solicit(e, p, now) : take_advert(e, p, now);
    if (!fine)
        qs_count(e, QS_COUNT_DROP_NEIGH);
}
