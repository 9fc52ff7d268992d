// SPDX-License-Identifier: GPL-2.0
/* Where a frame goes: flow rules by location, else Toeplitz hash and indirection table. */
#include <linux/etherdevice.h>
#include <asm/unaligned.h>
#include <net/flow_dissector.h>

#include "fnic.h"

static u32 toeplitz(const u8 *key, const u8 *data, unsigned int len)
{
	u32 hash = 0, window = get_unaligned_be32(key);
	unsigned int i;
	int bit;

	for (i = 0; i < len; i++) {
		u8 next = i + 4 < KEY_BYTES ? key[i + 4] : 0;

		for (bit = 7; bit >= 0; bit--) {
			if (data[i] >> bit & 1)
				hash ^= window;
			window = window << 1 | (next >> bit & 1);
		}
	}
	return hash;
}

static bool is_v6(const struct flow_keys *keys)
{
	return keys->control.addr_type == FLOW_DISSECTOR_KEY_IPV6_ADDRS;
}

static u32 flow_type(const struct flow_keys *keys)
{
	bool v6 = is_v6(keys);

	if (!v6 && keys->control.addr_type != FLOW_DISSECTOR_KEY_IPV4_ADDRS)
		return 0;
	switch (keys->basic.ip_proto) {
	case IPPROTO_TCP:
		return v6 ? TCP_V6_FLOW : TCP_V4_FLOW;
	case IPPROTO_UDP:
		return v6 ? UDP_V6_FLOW : UDP_V4_FLOW;
	case IPPROTO_SCTP:
		return v6 ? SCTP_V6_FLOW : SCTP_V4_FLOW;
	}
	return v6 ? IPV6_FLOW : IPV4_FLOW;
}

static unsigned int add(u8 *to, unsigned int at, const void *from, unsigned int len)
{
	memcpy(to + at, from, len);
	return at + len;
}

static u32 hash_of(struct fnic *f, u32 context, const struct flow_keys *keys, u32 fields)
{
	bool v6 = is_v6(keys);
	const void *src = v6 ? (const void *)&keys->addrs.v6addrs.src : &keys->addrs.v4addrs.src;
	const void *dst = v6 ? (const void *)&keys->addrs.v6addrs.dst : &keys->addrs.v4addrs.dst;
	unsigned int size = v6 ? 16 : 4, n = 0;
	u8 data[36];

	if (fields & RXH_IP_SRC)
		n = add(data, n, src, size);
	if (fields & RXH_IP_DST)
		n = add(data, n, dst, size);
	if (fields & RXH_L4_B_0_1)
		n = add(data, n, &keys->ports.src, 2);
	if (fields & RXH_L4_B_2_3)
		n = add(data, n, &keys->ports.dst, 2);
	return toeplitz(f->contexts[context].key, data, n);
}

static bool same(const void *a, const void *b, const void *mask, unsigned int len)
{
	const u8 *x = a, *y = b, *m = mask;

	while (len--)
		if ((*x++ ^ *y++) & *m++)
			return false;
	return true;
}

#define SAME(value, where, field)                                                                  \
	same(&(value), &spec->h_u.where.field, &spec->m_u.where.field, sizeof(value))

static bool matches(const struct ethtool_rx_flow_spec *spec, const struct flow_keys *keys, u32 type,
		    const struct ethhdr *eth)
{
	u32 wanted = spec->flow_type & ~FLOW_FLAGS;

	switch (wanted) {
	case ETHER_FLOW:
		return SAME(eth->h_dest, ether_spec, h_dest) &&
		       SAME(eth->h_source, ether_spec, h_source) &&
		       SAME(eth->h_proto, ether_spec, h_proto);
	case IP_USER_FLOW:
		return type && !is_v6(keys) && SAME(keys->addrs.v4addrs.src, usr_ip4_spec, ip4src) &&
		       SAME(keys->addrs.v4addrs.dst, usr_ip4_spec, ip4dst) &&
		       SAME(keys->basic.ip_proto, usr_ip4_spec, proto);
	case TCP_V4_FLOW:
	case UDP_V4_FLOW:
	case SCTP_V4_FLOW:
		return type == wanted && SAME(keys->addrs.v4addrs.src, tcp_ip4_spec, ip4src) &&
		       SAME(keys->addrs.v4addrs.dst, tcp_ip4_spec, ip4dst) &&
		       SAME(keys->ports.src, tcp_ip4_spec, psrc) &&
		       SAME(keys->ports.dst, tcp_ip4_spec, pdst);
	}
	return type == wanted && SAME(keys->addrs.v6addrs.src, tcp_ip6_spec, ip6src) &&
	       SAME(keys->addrs.v6addrs.dst, tcp_ip6_spec, ip6dst) &&
	       SAME(keys->ports.src, tcp_ip6_spec, psrc) && SAME(keys->ports.dst, tcp_ip6_spec, pdst);
}

int fnic_steer(struct fnic *f, struct sk_buff *skb)
{
	struct flow_keys keys;
	u32 type, fields, hash, context = 0;
	int i;

	skb_reset_mac_header(skb);
	skb_set_network_header(skb, ETH_HLEN);
	memset(&keys, 0, sizeof(keys));
	skb_flow_dissect_flow_keys(skb, &keys, 0);
	type = flow_type(&keys);
	for (i = 0; i < RULES && f->nic->features & NETIF_F_NTUPLE; i++) {
		struct fnic_rule *rule = &f->rules[i];

		if (!rule->used || !matches(&rule->spec, &keys, type, eth_hdr(skb)))
			continue;
		if (rule->spec.ring_cookie == RX_CLS_FLOW_DISC)
			return -1;
		if (!(rule->spec.flow_type & FLOW_RSS))
			return ethtool_get_flow_spec_ring(rule->spec.ring_cookie);
		context = rule->context;
		break;
	}
	fields = type ? f->hashed[type] : 0;
	if (!fields)
		return 0;
	hash = hash_of(f, context, &keys, fields);
	if (f->nic->features & NETIF_F_RXHASH)
		skb_set_hash(skb, hash, fields & PORTS ? PKT_HASH_TYPE_L4 : PKT_HASH_TYPE_L3);
	return f->contexts[context].table[hash % TABLE];
}
