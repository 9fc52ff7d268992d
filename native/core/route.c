/* SPDX-License-Identifier: Apache-2.0 */
/* Local addresses, VLANs and the next hop. */
#include "engine.h"

int qs_local_find(const struct qs_engine *e, const qs_addr *addr)
{
    for (uint32_t i = 0; i < e->n_locals; i++)
        if (qs_addr_eq(&e->locals[i].addr, addr))
            return (int)i;
    return -1;
}

bool qs_route(const struct qs_engine *e, const qs_addr *dst, qs_addr *next_hop)
{
    bool v4 = qs_addr_is_v4(dst);
    *next_hop = *dst;
    if (!v4 && qs_addr_is_link_local_v6(dst))
        return true;
    for (uint32_t i = 0; i < e->n_locals; i++)
        if (qs_addr_same_prefix(&e->locals[i].addr, dst, e->locals[i].prefix_len))
            return true;
    *next_hop = v4 ? e->gateway4 : e->gateway6;
    return !qs_addr_is_any(next_hop);
}

qs_err qs_engine_addr_add(qs_engine *e, const qs_addr *addr, uint32_t prefix_len)
{
    if (qs_addr_is_any(addr) || qs_addr_is_bad_source(addr) || qs_local_find(e, addr) >= 0 ||
        prefix_len > (qs_addr_is_v4(addr) ? 32u : 128u))
        return QS_ERR_ARG;
    if (e->n_locals == QS_ADDRS_MAX)
        return QS_ERR_NOMEM;
    e->locals[e->n_locals++] = (struct qs_local){*addr, prefix_len};
    return 0;
}

bool qs_vlan_taken(const struct qs_engine *e, uint32_t vlan)
{
    return vlan == 0 || (vlan < QS_VLANS_MAX && e->vlans[vlan / 64] >> vlan % 64 & 1);
}

qs_err qs_engine_vlan_add(qs_engine *e, uint32_t vlan)
{
    if (vlan == 0 || vlan >= QS_VLANS_MAX - 1) /* 4095 is nobody's: IEEE 802.1Q table 9-2 */
        return QS_ERR_ARG;
    if (e->opts.neigh_mode == QS_NEIGH_TOLD)
        return QS_ERR_STATE;
    e->vlans[vlan / 64] |= 1ull << vlan % 64;
    e->tagged = true;
    return 0;
}

qs_err qs_engine_gateway_set(qs_engine *e, const qs_addr *gateway)
{
    if (qs_addr_is_any(gateway) || qs_addr_is_bad_source(gateway))
        return QS_ERR_ARG;
    if (qs_addr_is_v4(gateway))
        e->gateway4 = *gateway;
    else
        e->gateway6 = *gateway;
    return 0;
}
