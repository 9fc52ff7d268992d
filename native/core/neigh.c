/* SPDX-License-Identifier: Apache-2.0 */
/* Table of neighbours: which Ethernet address a next hop has, and who waits for it.
 *
 * An entry is looked for in a window of WINDOW places from its hash. A new one takes a free place
 * or the oldest entry there that no connection uses, so a scan of the whole prefix costs a bounded
 * table and never the entry of a live connection. */
#include "engine.h"

#define WINDOW 16u

/* How long an entry is used without new proof, and the least time between two requests. RFC 4861
 * section 10. */
#define REACHABLE QS_S(60)
#define RETRANS QS_S(1)

void qs_neigh_init(struct qs_engine *e)
{
    for (uint32_t i = 0; i < QS_NEIGHS_MAX; i++)
        qs_list_init(&e->neighs[i].waiting);
}

static uint32_t first_place(const struct qs_engine *e, const qs_addr *addr, uint16_t vlan)
{
    uint64_t w[3] = {0, 0, vlan};
    memcpy(w, addr, sizeof *addr);
    return (uint32_t)qs_siphash13(&e->hash_key, w, 3) % QS_NEIGHS_MAX;
}

struct qs_neigh_entry *qs_neigh_find(struct qs_engine *e, const qs_addr *addr, uint16_t vlan)
{
    uint32_t first = first_place(e, addr, vlan);
    for (uint32_t i = 0; i < WINDOW; i++) {
        struct qs_neigh_entry *n = &e->neighs[(first + i) % QS_NEIGHS_MAX];
        if (n->state != QS_NEIGH_FREE && n->vlan == vlan && qs_addr_eq(&n->addr, addr))
            return n;
    }
    return NULL;
}

static void report(struct qs_engine *e, struct qs_neigh_entry *n, enum qs_neigh_report what)
{
    e->neigh_reports -= n->to_report != QS_REPORT_NONE;
    e->neigh_reports += what != QS_REPORT_NONE;
    n->to_report = (uint8_t)what;
}

static struct qs_neigh_entry *make(struct qs_engine *e, const qs_addr *addr, uint16_t vlan)
{
    struct qs_neigh_entry *victim = NULL;
    uint32_t first = first_place(e, addr, vlan);
    for (uint32_t i = 0; i < WINDOW; i++) {
        struct qs_neigh_entry *n = &e->neighs[(first + i) % QS_NEIGHS_MAX];
        if (n->state == QS_NEIGH_FREE) {
            victim = n;
            break;
        }
        if (n->refs == 0 && (!victim || n->learned.ns < victim->learned.ns))
            victim = n;
    }
    if (!victim)
        return NULL;
    report(e, victim, QS_REPORT_NONE);
    *victim = (struct qs_neigh_entry){.addr = *addr, .vlan = vlan, .state = QS_NEIGH_INCOMPLETE};
    qs_list_init(&victim->waiting);
    return victim;
}

uint16_t qs_neigh_get(struct qs_engine *e, const qs_addr *addr, uint16_t vlan)
{
    struct qs_neigh_entry *n = qs_neigh_find(e, addr, vlan);
    if (!n)
        n = make(e, addr, vlan);
    return n ? (uint16_t)(n - e->neighs) : QS_NO_NEIGH;
}

/* Enters proof from anywhere. */
static void enter(struct qs_engine *e, struct qs_neigh_entry *n, const uint8_t mac[6], qs_time now)
{
    memcpy(n->mac, mac, 6);
    n->state = QS_NEIGH_VALID;
    n->probed = false;
    n->learned = now;
    report(e, n, QS_REPORT_NONE);
    qs_neigh_wake(e, n);
}

void qs_neigh_learn(struct qs_engine *e, const qs_addr *addr, uint16_t vlan, const uint8_t mac[6],
                    qs_time now)
{
    uint16_t idx = qs_neigh_get(e, addr, vlan);
    if (idx == QS_NO_NEIGH)
        return;
    enter(e, &e->neighs[idx], mac, now);
    report(e, &e->neighs[idx], QS_REPORT_LEARNED);
}

bool qs_neigh_use(struct qs_engine *e, uint16_t idx, qs_time now)
{
    struct qs_neigh_entry *n = &e->neighs[idx];
    bool valid = n->state == QS_NEIGH_VALID;
    if (valid && (e->opts.neigh_mode == QS_NEIGH_TOLD || now.ns - n->learned.ns < REACHABLE.ns))
        return true;
    if (n->asked.ns && now.ns - n->asked.ns < RETRANS.ns)
        return valid;
    n->asked = now;
    n->probed = true;
    qs_count(e, QS_COUNT_NEIGH_REQUESTS);
    report(e, n, QS_REPORT_WANTED);
    if (e->opts.neigh_mode == QS_NEIGH_OWN && qs_addr_is_v4(&n->addr))
        qs_arp_request(e, &n->addr, n->vlan);
    else if (e->opts.neigh_mode == QS_NEIGH_OWN)
        qs_nd_solicit(e, &n->addr, n->vlan);
    return valid;
}

/* Nobody moves a neighbour unasked, though RFC 826 would have it so. @return whether it was asked
 * for. */
static bool believe(struct qs_engine *e, const qs_addr *addr, uint16_t vlan, const uint8_t mac[6],
                    qs_time now)
{
    struct qs_neigh_entry *n = qs_neigh_find(e, addr, vlan);
    if (!n || !n->probed)
        return false;
    qs_neigh_learn(e, addr, vlan, mac, now);
    return true;
}

void qs_neigh_answered(struct qs_engine *e, const qs_addr *addr, uint16_t vlan,
                       const uint8_t mac[6], qs_time now)
{
    if (believe(e, addr, vlan, mac, now))
        return;
    qs_count(e, QS_COUNT_DROP_NEIGH);
    if (e->n_offers == QS_OFFERS_MAX)
        return;
    struct qs_neigh *o = &e->offers[e->n_offers++];
    *o = (struct qs_neigh){.addr = *addr, .vlan = vlan, .news = QS_NEIGH_OFFERED};
    memcpy(o->mac, mac, 6);
}

static void enter_from_elsewhere(struct qs_engine *e, const qs_addr *addr, uint16_t vlan,
                                 const uint8_t mac[6], qs_time now)
{
    uint16_t idx = qs_neigh_get(e, addr, vlan);
    if (idx != QS_NO_NEIGH)
        enter(e, &e->neighs[idx], mac, now);
}

void qs_engine_neigh_told(qs_engine *e, const struct qs_neigh *n, qs_time now)
{
    if (n->news == QS_NEIGH_OFFERED)
        (void)believe(e, &n->addr, n->vlan, n->mac, now);
    else if (n->news == QS_NEIGH_LEARNED)
        enter_from_elsewhere(e, &n->addr, n->vlan, n->mac, now);
}

qs_err qs_engine_neigh_set(qs_engine *e, const qs_addr *addr, const uint8_t mac[6], qs_time now)
{
    if (qs_addr_is_any(addr) || qs_addr_is_multicast(addr))
        return QS_ERR_ARG;
    enter_from_elsewhere(e, addr, 0, mac, now);
    return 0;
}

void qs_engine_neigh_del(qs_engine *e, const qs_addr *addr)
{
    struct qs_neigh_entry *n = qs_neigh_find(e, addr, 0);
    if (!n)
        return;
    report(e, n, QS_REPORT_NONE);
    n->state = n->refs ? QS_NEIGH_INCOMPLETE : QS_NEIGH_FREE;
}

bool qs_engine_neigh_next(qs_engine *e, struct qs_neigh *out)
{
    if (e->n_offers) {
        *out = e->offers[--e->n_offers];
        return true;
    }
    for (uint32_t i = 0; e->neigh_reports && i < QS_NEIGHS_MAX; i++) {
        struct qs_neigh_entry *n = &e->neighs[i];
        if (n->to_report == QS_REPORT_NONE)
            continue;
        *out = (struct qs_neigh){.addr = n->addr, .vlan = n->vlan};
        out->news = n->to_report == QS_REPORT_WANTED ? QS_NEIGH_WANTED : QS_NEIGH_LEARNED;
        memcpy(out->mac, n->mac, 6);
        report(e, n, QS_REPORT_NONE);
        return true;
    }
    return false;
}
