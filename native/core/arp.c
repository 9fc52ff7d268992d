/* SPDX-License-Identifier: Apache-2.0 */
/* ARP over Ethernet, RFC 826. */
#include "engine.h"

#define ARP_BYTES 28u
#define ARP_REQUEST 1u
#define ARP_REPLY 2u

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

struct arp_out {
    uint16_t operation;
    const qs_addr *sender, *target;
    const uint8_t *target_mac; /* NULL: not known */
    uint16_t vlan;
};

static void arp_send(struct qs_engine *e, const struct arp_out *o)
{
    struct qs_hop to = {o->target_mac ? o->target_mac : broadcast, o->vlan, QS_N_PRIO - 1};
    uint8_t *a = qs_reply_new(e, &to, QS_ETHERTYPE_ARP, ARP_BYTES);
    if (!a)
        return;
    qs_store16(a, 1); /* Ethernet */
    qs_store16(a + 2, QS_ETHERTYPE_IPV4);
    a[4] = 6;
    a[5] = 4;
    qs_store16(a + 6, o->operation);
    memcpy(a + 8, e->opts.mac, 6);
    memcpy(a + 14, o->sender->b + 12, 4);
    if (o->target_mac)
        memcpy(a + 18, o->target_mac, 6);
    else
        memset(a + 18, 0, 6);
    memcpy(a + 24, o->target->b + 12, 4);
}

void qs_arp_request(struct qs_engine *e, const qs_addr *target, uint16_t vlan)
{
    for (uint32_t i = 0; i < e->n_locals; i++) {
        const struct qs_local *l = &e->locals[i];
        if (!qs_addr_same_prefix(&l->addr, target, l->prefix_len))
            continue;
        arp_send(e, &(struct arp_out){ARP_REQUEST, &l->addr, target, NULL, vlan});
        return;
    }
}

static bool on_link(const struct qs_engine *e, const qs_addr *addr)
{
    qs_addr next_hop;
    return qs_route(e, addr, &next_hop) && qs_addr_eq(addr, &next_hop);
}

void qs_arp_input(struct qs_engine *e, const struct qs_packet *p, qs_time now)
{
    if (e->opts.neigh_mode == QS_NEIGH_TOLD)
        return;
    const uint8_t *a = p->l4;
    if (p->l4_len < ARP_BYTES || qs_load16(a) != 1 || qs_load16(a + 2) != QS_ETHERTYPE_IPV4 ||
        a[4] != 6 || a[5] != 4) {
        qs_count(e, QS_COUNT_DROP_NEIGH);
        return;
    }
    uint16_t operation = qs_load16(a + 6);
    const uint8_t *mac = a + 8;
    qs_addr sender = qs_addr_from_v4(a + 14), target = qs_addr_from_v4(a + 24);
    bool for_us = qs_local_find(e, &target) >= 0;
    bool usable = !qs_addr_is_bad_source(&sender) && qs_local_find(e, &sender) < 0 &&
                  on_link(e, &sender) && !(mac[0] & 1);

    if (operation == ARP_REQUEST && for_us) {
        if (usable)
            qs_neigh_learn(e, &sender, p->vlan, mac, now);
        /* A sender of 0.0.0.0 probes for duplicates, RFC 5227 section 2.1.1: it is answered too. */
        if (!(mac[0] & 1)) {
            arp_send(e, &(struct arp_out){ARP_REPLY, &target, &sender, mac, p->vlan});
            qs_count(e, QS_COUNT_NEIGH_ANSWERS);
        }
        return;
    }
    if (operation == ARP_REPLY && usable)
        qs_neigh_answered(e, &sender, p->vlan, mac, now);
    else if (operation != ARP_REQUEST)
        qs_count(e, QS_COUNT_DROP_NEIGH);
}
