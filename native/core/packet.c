/* SPDX-License-Identifier: Apache-2.0 */
#include "packet.h"

#include "checksum.h"

#define IP_DONT_FRAGMENT 0x4000u
#define IP_FRAGMENT_BITS 0x3fffu /* more fragments, or an offset */

#define VLAN_MASK 0xfffu
#define PCP_SHIFT 5 /* in the tag's first octet */

/* IPv6 extension headers that are walked, RFC 8200 section 4. */
#define NEXT_HOP_BY_HOP 0u
#define NEXT_ROUTING 43u
#define NEXT_FRAGMENT 44u
#define NEXT_DESTINATION 60u
#define EXTENSIONS_MAX 4
#define OPTIONS_MAX 8 /* in one header, without padding: RFC 8504 section 5.3 */
#define OPTION_PAD1 0u
#define OPTION_PADN 1u

static enum qs_counter parse_ipv4(struct qs_packet *p, struct qs_cursor c)
{
    const uint8_t *h = c.at;
    if (!qs_take(&c, QS_IPV4_BYTES))
        return QS_COUNT_DROP_TRUNCATED;
    uint32_t header = (h[0] & 15u) * 4;
    uint32_t total = qs_load16(h + 2);
    if (h[0] >> 4 != 4 || header < QS_IPV4_BYTES || total < header)
        return QS_COUNT_DROP_IP_HEADER;
    if (total > c.left + QS_IPV4_BYTES)
        return QS_COUNT_DROP_TRUNCATED;
    if (!qs_csum_ok(qs_csum_add(0, h, header)))
        return QS_COUNT_DROP_IP_HEADER;
    if (qs_load16(h + 6) & IP_FRAGMENT_BITS)
        return QS_COUNT_DROP_FRAGMENT;
    /* Options are skipped, never acted on or echoed: RFC 7126. */
    p->v4 = true;
    p->ecn = h[1] & 3;
    p->dscp = h[1] >> 2;
    p->hop_limit = h[8];
    p->protocol = h[9];
    p->src = qs_addr_from_v4(h + 12);
    p->dst = qs_addr_from_v4(h + 16);
    p->l4 = h + header;
    p->l4_len = total - header;
    return QS_N_COUNTERS;
}

/* Options of a hop-by-hop or destination header, none of which means anything here: the two high
 * bits of an unknown one say what becomes of the packet, RFC 8200 section 4.2. */
static bool options_fine(struct qs_packet *p, struct qs_cursor c)
{
    for (int n = 0; c.left;) {
        const uint8_t *type = qs_take(&c, 1);
        if (*type == OPTION_PAD1)
            continue;
        const uint8_t *len = qs_take(&c, 1);
        if (!len || !qs_take(&c, *len))
            return false;
        if (*type == OPTION_PADN)
            continue;
        uint8_t action = *type >> 6;
        if (action >= 2 && !(action == 3 && qs_addr_is_multicast(&p->dst)))
            p->problem = (uint16_t)(type - p->l3);
        if (action || ++n > OPTIONS_MAX)
            return false;
    }
    return true;
}

bool qs_packet_skip_extensions(struct qs_cursor *c, uint8_t *next)
{
    for (int i = 0; i <= EXTENSIONS_MAX; i++) {
        if (*next != NEXT_HOP_BY_HOP && *next != NEXT_DESTINATION && *next != NEXT_ROUTING &&
            *next != NEXT_FRAGMENT)
            return true;
        const uint8_t *h = qs_take(c, 8);
        if (!h || (*next == NEXT_FRAGMENT ? (qs_load16(h + 2) & ~7u) != 0 : !qs_take(c, h[1] * 8u)))
            return false;
        *next = h[0];
    }
    return false;
}

static enum qs_counter walk_extensions(struct qs_packet *p, struct qs_cursor c, uint8_t next)
{
    for (int i = 0; i <= EXTENSIONS_MAX; i++) {
        switch (next) {
        case NEXT_HOP_BY_HOP: /* only right behind the fixed header, RFC 8200 section 4.1 */
            if (i > 0)
                return QS_COUNT_DROP_IP_OPTIONS;
            break;
        case NEXT_DESTINATION:
            break;
        case NEXT_ROUTING: /* RFC 5095; a host forwards nothing */
            return QS_COUNT_DROP_IP_OPTIONS;
        case NEXT_FRAGMENT: /* atomic ones too: what steers frames to queues knows no ports of them,
                             * so another queue's engine would answer with RST */
            return QS_COUNT_DROP_FRAGMENT;
        default:
            p->protocol = next;
            p->l4 = c.at;
            p->l4_len = (uint32_t)c.left;
            return QS_N_COUNTERS;
        }
        const uint8_t *h = qs_take(&c, 8);
        if (!h || !qs_take(&c, h[1] * 8u))
            return QS_COUNT_DROP_TRUNCATED;
        if (!options_fine(p, (struct qs_cursor){h + 2, h[1] * 8u + 6u}))
            return QS_COUNT_DROP_IP_OPTIONS;
        next = h[0];
    }
    return QS_COUNT_DROP_IP_OPTIONS;
}

static enum qs_counter parse_ipv6(struct qs_packet *p, struct qs_cursor c)
{
    const uint8_t *h = qs_take(&c, QS_IPV6_BYTES);
    if (!h)
        return QS_COUNT_DROP_TRUNCATED;
    if (h[0] >> 4 != 6)
        return QS_COUNT_DROP_IP_HEADER;
    uint32_t payload = qs_load16(h + 4);
    if (payload > c.left)
        return QS_COUNT_DROP_TRUNCATED;
    p->v4 = false;
    p->hop_limit = h[7];
    p->ecn = h[1] >> 4 & 3;
    p->dscp = (uint8_t)((h[0] & 15) << 2 | h[1] >> 6);
    p->src = qs_addr_from_v6(h + 8);
    p->dst = qs_addr_from_v6(h + 24);
    if (qs_addr_is_v4(&p->src) || qs_addr_is_v4(&p->dst)) /* ::ffff:0:0/96 is not for the wire */
        return QS_COUNT_DROP_IP_SOURCE;
    c.left = payload;
    return walk_extensions(p, c, h[6]);
}

/* IEEE 802.1Q section 9.6. */
static bool take_tag(struct qs_packet *p, struct qs_cursor *c)
{
    const uint8_t *tag = qs_take(c, QS_VLAN_BYTES);
    if (!tag)
        return false;
    p->vlan = qs_load16(tag) & VLAN_MASK;
    p->pcp = tag[0] >> PCP_SHIFT;
    p->ethertype = qs_load16(tag + 2);
    return true;
}

enum qs_counter qs_packet_parse(struct qs_packet *p, const struct qs_frame *f)
{
    struct qs_cursor c = {f->data, f->len};
    p->problem = 0;
    p->vlan = 0;
    p->pcp = 0;
    p->eth = qs_take(&c, QS_ETH_BYTES);
    if (!p->eth)
        return QS_COUNT_DROP_TRUNCATED;
    p->ethertype = qs_load16(p->eth + 12);
    if (p->ethertype == QS_ETHERTYPE_VLAN && !take_tag(p, &c))
        return QS_COUNT_DROP_TRUNCATED;
    p->l3 = c.at;
    switch (p->ethertype) {
    case QS_ETHERTYPE_IPV4:
        return parse_ipv4(p, c);
    case QS_ETHERTYPE_IPV6:
        return parse_ipv6(p, c);
    case QS_ETHERTYPE_ARP:
        p->l4 = c.at;
        p->l4_len = (uint32_t)c.left;
        return QS_N_COUNTERS;
    case QS_ETHERTYPE_VLAN: /* a second tag */
    case QS_ETHERTYPE_SERVICE:
        return QS_COUNT_DROP_VLAN;
    default:
        return QS_COUNT_DROP_PROTOCOL;
    }
}

uint32_t qs_eth_write(uint8_t *to, const struct qs_hop *hop, const uint8_t src_mac[6],
                      uint16_t ethertype)
{
    uint32_t bytes = qs_eth_bytes(hop->vlan);
    memcpy(to, hop->mac, 6);
    memcpy(to + 6, src_mac, 6);
    if (hop->vlan) {
        qs_store16(to + 12, QS_ETHERTYPE_VLAN);
        qs_store16(to + 14, (uint16_t)(hop->prio << (8 + PCP_SHIFT) | hop->vlan));
    }
    qs_store16(to + bytes - 2, ethertype);
    return bytes;
}

uint32_t qs_ip_write(uint8_t *to, const struct qs_ip_out *o)
{
    const uint8_t traffic_class = (uint8_t)(o->dscp << 2 | o->ecn);
    if (qs_addr_is_v4(o->dst)) {
        to[0] = 0x45;
        to[1] = traffic_class;
        qs_store16(to + 2, (uint16_t)(QS_IPV4_BYTES + o->payload_bytes));
        qs_store16(to + 4, 0); /* never fragmented, so the ID means nothing: RFC 6864 section 4.1 */
        qs_store16(to + 6, IP_DONT_FRAGMENT);
        to[8] = o->hop_limit;
        to[9] = o->protocol;
        qs_store16(to + 10, 0);
        memcpy(to + 12, o->src->b + 12, 4);
        memcpy(to + 16, o->dst->b + 12, 4);
        qs_csum_store(to + 10, qs_csum_add(0, to, QS_IPV4_BYTES));
        return QS_IPV4_BYTES;
    }
    qs_store32(to, 0x60000000u | (uint32_t)traffic_class << 20);
    qs_store16(to + 4, (uint16_t)o->payload_bytes);
    to[6] = o->protocol;
    to[7] = o->hop_limit;
    memcpy(to + 8, o->src->b, 16);
    memcpy(to + 24, o->dst->b, 16);
    return QS_IPV6_BYTES;
}
