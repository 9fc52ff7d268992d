/* SPDX-License-Identifier: Apache-2.0 */
#include "softnic_flow.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define FLAGS (FLOW_EXT | FLOW_MAC_EXT | FLOW_RSS)
#define PROTO_TCP 6
#define PROTO_UDP 17

/* Sizes and places of the fields in each kind of specification. */
struct layout {
    uint32_t flow_type;
    uint8_t family, proto; /* proto 0: a field of the specification */
    uint8_t bytes;         /* of the specification */
    uint8_t src, dst, addr_bytes, ports, tos, proto_at;
};

#define PORTS_LAYOUT(type, version, number, spec, source)                                          \
    {                                                                                              \
        .flow_type = (type), .family = (version), .proto = (number), .bytes = sizeof(struct spec), \
        .src = offsetof(struct spec, source), .dst = offsetof(struct spec, ip##version##dst),      \
        .addr_bytes = (version) == 4 ? 4 : 16, .ports = offsetof(struct spec, psrc),               \
        .tos = (version) == 4 ? offsetof(struct ethtool_tcpip4_spec, tos)                          \
                              : offsetof(struct ethtool_tcpip6_spec, tclass)                       \
    }

static const struct layout layouts[] = {
    PORTS_LAYOUT(TCP_V4_FLOW, 4, PROTO_TCP, ethtool_tcpip4_spec, ip4src),
    PORTS_LAYOUT(UDP_V4_FLOW, 4, PROTO_UDP, ethtool_tcpip4_spec, ip4src),
    PORTS_LAYOUT(TCP_V6_FLOW, 6, PROTO_TCP, ethtool_tcpip6_spec, ip6src),
    PORTS_LAYOUT(UDP_V6_FLOW, 6, PROTO_UDP, ethtool_tcpip6_spec, ip6src),
    {.flow_type = IP_USER_FLOW,
     .family = 4,
     .bytes = sizeof(struct ethtool_usrip4_spec),
     .src = offsetof(struct ethtool_usrip4_spec, ip4src),
     .dst = offsetof(struct ethtool_usrip4_spec, ip4dst),
     .addr_bytes = 4,
     .ports = offsetof(struct ethtool_usrip4_spec, l4_4_bytes),
     .tos = offsetof(struct ethtool_usrip4_spec, tos),
     .proto_at = offsetof(struct ethtool_usrip4_spec, proto)},
    {.flow_type = IPV6_USER_FLOW,
     .family = 6,
     .bytes = sizeof(struct ethtool_usrip6_spec),
     .src = offsetof(struct ethtool_usrip6_spec, ip6src),
     .dst = offsetof(struct ethtool_usrip6_spec, ip6dst),
     .addr_bytes = 16,
     .ports = offsetof(struct ethtool_usrip6_spec, l4_4_bytes),
     .tos = offsetof(struct ethtool_usrip6_spec, tclass),
     .proto_at = offsetof(struct ethtool_usrip6_spec, l4_proto)},
};

_Static_assert(offsetof(struct ethtool_tcpip4_spec, pdst) ==
                   offsetof(struct ethtool_tcpip4_spec, psrc) + 2,
               "ports are copied as one");

static const struct layout *layout_of(uint32_t flow_type)
{
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (layouts[i].flow_type == (flow_type & ~(uint32_t)FLAGS))
            return &layouts[i];
    return NULL;
}

static void key_of_spec(const struct layout *at, const uint8_t *spec, struct qs_softnic_key *key)
{
    size_t pad = 16u - at->addr_bytes;
    memcpy(key->src + pad, spec + at->src, at->addr_bytes);
    memcpy(key->dst + pad, spec + at->dst, at->addr_bytes);
    memcpy(key->sport, spec + at->ports, 2);
    memcpy(key->dport, spec + at->ports + 2, 2);
    key->tos = spec[at->tos];
    if (!at->proto)
        key->proto = spec[at->proto_at];
}

static void spec_of_key(const struct layout *at, const struct qs_softnic_key *key, uint8_t *spec)
{
    size_t pad = 16u - at->addr_bytes;
    memcpy(spec + at->src, key->src + pad, at->addr_bytes);
    memcpy(spec + at->dst, key->dst + pad, at->addr_bytes);
    memcpy(spec + at->ports, key->sport, 2);
    memcpy(spec + at->ports + 2, key->dport, 2);
    spec[at->tos] = key->tos;
    if (!at->proto)
        spec[at->proto_at] = key->proto;
}

static bool any_bit(const uint8_t *bytes, size_t from, size_t to)
{
    uint8_t all = 0;
    for (size_t i = from; i < to; i++)
        all |= bytes[i];
    return all != 0;
}

static int refuse(int error, const char **why, const char *sentence)
{
    *why = sentence;
    return error;
}

static int check_fields(const struct layout *at, const struct ethtool_rx_flow_spec *fs,
                        const char **why)
{
    if (fs->flow_type & FLOW_RSS)
        return refuse(-EOPNOTSUPP, why, "this NIC has no RSS contexts, so FLOW_RSS cannot be used");
    if (fs->flow_type & FLOW_MAC_EXT)
        return refuse(-EOPNOTSUPP, why, "this NIC cannot match on MAC addresses (FLOW_MAC_EXT)");
    if (fs->flow_type & FLOW_EXT && fs->m_ext.vlan_etype)
        return refuse(-EOPNOTSUPP, why,
                      "this NIC matches vlan_tci only: the mask of vlan_etype must be 0");
    if (fs->flow_type & FLOW_EXT && (fs->m_ext.data[0] || fs->m_ext.data[1]))
        return refuse(-EOPNOTSUPP, why,
                      "this NIC cannot match on user-def data: its mask must be 0");
    if (any_bit(fs->m_u.hdata, at->bytes, sizeof fs->m_u.hdata))
        return refuse(-EINVAL, why, "the mask has bits after the last field of its flow type");
    if (at->flow_type == IP_USER_FLOW && fs->h_u.usr_ip4_spec.ip_ver != ETH_RX_NFC_IP4)
        return refuse(-EINVAL, why, "ip_ver of an IP_USER rule must be ETH_RX_NFC_IP4 (1)");
    if (at->flow_type == IP_USER_FLOW && fs->m_u.usr_ip4_spec.ip_ver != 0 &&
        fs->m_u.usr_ip4_spec.ip_ver != 0xff)
        return refuse(-EINVAL, why, "the mask of ip_ver of an IP_USER rule must be 0");
    return 0;
}

static int queue_of_cookie(uint64_t cookie, uint32_t *queue, const char **why)
{
    *queue = QS_SOFTNIC_DROP;
    if (cookie == RX_CLS_FLOW_DISC)
        return 0;
    if (cookie == RX_CLS_FLOW_WAKE)
        return refuse(-EOPNOTSUPP, why, "this NIC cannot wake a machine (RX_CLS_FLOW_WAKE)");
    if (cookie >> 32)
        return refuse(-EOPNOTSUPP, why,
                      "this NIC has no virtual functions: bits 32 to 63 of ring_cookie must be 0");
    if (cookie == QS_SOFTNIC_DROP)
        return refuse(-EINVAL, why, "the queue is not an active one");
    *queue = (uint32_t)cookie;
    return 0;
}

int qs_softnic_rule_of_flow(const struct ethtool_rx_flow_spec *fs, struct qs_softnic_rule *rule,
                            const char **why)
{
    memset(rule, 0, sizeof *rule);
    const struct layout *at = layout_of(fs->flow_type);
    if (!at)
        return refuse(-EOPNOTSUPP, why,
                      "this NIC has flow types TCP, UDP and IP user over IPv4 and IPv6 only");
    int error = check_fields(at, fs, why);
    if (!error)
        error = queue_of_cookie(fs->ring_cookie, &rule->queue, why);
    if (error)
        return error;

    key_of_spec(at, fs->h_u.hdata, &rule->value);
    key_of_spec(at, fs->m_u.hdata, &rule->mask);
    if (at->proto) {
        rule->value.proto = at->proto;
        rule->mask.proto = 0xff;
    }
    rule->value.family = at->family;
    rule->mask.family = 0xff;
    if (fs->flow_type & FLOW_EXT) {
        memcpy(rule->value.vlan_tci, &fs->h_ext.vlan_tci, 2);
        memcpy(rule->mask.vlan_tci, &fs->m_ext.vlan_tci, 2);
    }
    rule->flow_type = fs->flow_type;
    return 0;
}

void qs_softnic_flow_of_rule(const struct qs_softnic_rule *rule, struct ethtool_rx_flow_spec *fs)
{
    memset(fs, 0, sizeof *fs);
    const struct layout *at = layout_of(rule->flow_type);
    if (at) {
        spec_of_key(at, &rule->value, fs->h_u.hdata);
        spec_of_key(at, &rule->mask, fs->m_u.hdata);
    }
    if (at && at->flow_type == IP_USER_FLOW)
        fs->h_u.usr_ip4_spec.ip_ver = ETH_RX_NFC_IP4;
    memcpy(&fs->h_ext.vlan_tci, rule->value.vlan_tci, 2);
    memcpy(&fs->m_ext.vlan_tci, rule->mask.vlan_tci, 2);
    fs->flow_type = rule->flow_type;
    fs->location = rule->location;
    fs->ring_cookie = rule->queue == QS_SOFTNIC_DROP ? RX_CLS_FLOW_DISC : rule->queue;
}
