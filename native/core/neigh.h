/* SPDX-License-Identifier: Apache-2.0 */
/* Where packets go: local addresses, VLANs, routes and neighbours. */
#ifndef QS_CORE_NEIGH_H
#define QS_CORE_NEIGH_H

#include "packet.h"
#include "qstack/qs_engine.h"

struct qs_neigh_entry;

/* ---- route.c ---- */

/* Are frames of this VLAN taken? 0: those without a tag are. */
bool qs_vlan_taken(const struct qs_engine *e, uint32_t vlan);

/* Index of a local address, or -1. */
int qs_local_find(const struct qs_engine *e, const qs_addr *addr);

/* The address to send to for `dst`: itself when on-link, else a gateway; false when there is no
 * route. */
bool qs_route(const struct qs_engine *e, const qs_addr *dst, qs_addr *next_hop);

/* ---- neigh.c, arp.c, nd.c ---- */

void qs_neigh_init(struct qs_engine *e);

/* Entry for a next hop, made if needed; QS_NO_NEIGH when the table is full of entries in use. */
uint16_t qs_neigh_get(struct qs_engine *e, const qs_addr *addr, uint16_t vlan);
struct qs_neigh_entry *qs_neigh_find(struct qs_engine *e, const qs_addr *addr, uint16_t vlan);

/* `addr` is proven to be at `mac`: it is entered if it is not there. */
void qs_neigh_learn(struct qs_engine *e, const qs_addr *addr, uint16_t vlan, const uint8_t mac[6],
                    qs_time now);

/* A valid answer: learned if a request is out, else offered to the other queues. */
void qs_neigh_answered(struct qs_engine *e, const qs_addr *addr, uint16_t vlan,
                       const uint8_t mac[6], qs_time now);

/* The entry is about to be used: asks for it when it is not valid or old. @return true when valid.
 */
bool qs_neigh_use(struct qs_engine *e, uint16_t idx, qs_time now);

void qs_arp_input(struct qs_engine *e, const struct qs_packet *p, qs_time now);
void qs_arp_request(struct qs_engine *e, const qs_addr *target, uint16_t vlan);
void qs_nd_input(struct qs_engine *e, const struct qs_packet *p, qs_time now);
void qs_nd_solicit(struct qs_engine *e, const qs_addr *target, uint16_t vlan);

#endif
