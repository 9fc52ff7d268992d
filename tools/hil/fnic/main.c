// SPDX-License-Identifier: GPL-2.0
/*
 * A NIC that is none, for tests of what programs NICs: kernel 6.1.
 *
 * fnic0 is the NIC and fnicw0 its wire. A frame that is sent on the wire is received by the NIC as
 * hardware would do it: flow rules by location, else Toeplitz hash and indirection table, of the RSS
 * context that the rule names or of the first; then it is in the NAPI of its queue.
 *
 * Faults are in debugfs, fnic/: each request that changes something counts as one operation.
 *   fail_at      the operation with this number fails with EIO; counts down, 0 is off
 *   ignore       changes of table, key and rules are accepted and not made
 *   lose_table   other channels make the table the default one, though it was set
 */
#include <linux/debugfs.h>
#include <linux/etherdevice.h>
#include <linux/module.h>

#include "fnic.h"

static unsigned int queues = 8;
module_param(queues, uint, 0444);
MODULE_PARM_DESC(queues, "RX queues at the start, and the most; 1 to 16");

static struct fnic *the_fnic;

static struct fnic *fnic_of(struct net_device *dev)
{
	return *(struct fnic **)netdev_priv(dev);
}

/* 0, or the fault that was asked for. */
static int operation(struct fnic *f)
{
	if (!f->fail_at || --f->fail_at)
		return 0;
	return -EIO;
}

static netdev_tx_t wire_xmit(struct sk_buff *skb, struct net_device *wire)
{
	struct fnic *f = fnic_of(wire);
	struct fnic_queue *queue;
	int number;

	spin_lock_bh(&f->lock);
	number = f->is_up ? fnic_steer(f, skb) : -1;
	if (number < 0)
		f->discards++;
	spin_unlock_bh(&f->lock);
	if (number < 0 || number >= f->n_queues) {
		dev_kfree_skb(skb);
		return NETDEV_TX_OK;
	}
	queue = &f->queues[number];
	if (skb_queue_len(&queue->frames) >= f->rx_ring) {
		queue->drops++;
		dev_kfree_skb(skb);
		return NETDEV_TX_OK;
	}
	skb_orphan(skb);
	skb_queue_tail(&queue->frames, skb);
	napi_schedule(&queue->napi);
	return NETDEV_TX_OK;
}

static int poll(struct napi_struct *napi, int budget)
{
	struct fnic_queue *queue = container_of(napi, struct fnic_queue, napi);
	struct sk_buff *skb;
	int done = 0;

	while (done < budget && (skb = skb_dequeue(&queue->frames))) {
		queue->packets++;
		queue->bytes += skb->len;
		skb->protocol = eth_type_trans(skb, napi->dev);
		skb_record_rx_queue(skb, queue->index);
		napi_gro_receive(napi, skb);
		done++;
	}
	if (done < budget && napi_complete_done(napi, done) && !skb_queue_empty(&queue->frames))
		napi_schedule(napi);
	return done;
}

/* ---- the interfaces ---- */

static netdev_tx_t nic_xmit(struct sk_buff *skb, struct net_device *nic)
{
	skb_orphan(skb);
	if (!__dev_forward_skb(fnic_of(nic)->wire, skb))
		netif_rx(skb);
	return NETDEV_TX_OK;
}

static int nic_open(struct net_device *nic)
{
	struct fnic *f = fnic_of(nic);
	int i;

	for (i = 0; i < QUEUES_MAX; i++)
		napi_enable(&f->queues[i].napi);
	f->is_up = true;
	netif_tx_start_all_queues(nic);
	return 0;
}

static int nic_stop(struct net_device *nic)
{
	struct fnic *f = fnic_of(nic);
	int i;

	spin_lock_bh(&f->lock);
	f->is_up = false;
	spin_unlock_bh(&f->lock);
	netif_tx_stop_all_queues(nic);
	for (i = 0; i < QUEUES_MAX; i++) {
		napi_disable(&f->queues[i].napi);
		skb_queue_purge(&f->queues[i].frames);
	}
	return 0;
}

static int nic_set_features(struct net_device *nic, netdev_features_t features)
{
	struct fnic *f = fnic_of(nic);
	int i;

	spin_lock_bh(&f->lock);
	for (i = 0; i < RULES && !(features & NETIF_F_NTUPLE); i++)
		f->rules[i].used = false;
	spin_unlock_bh(&f->lock);
	return 0;
}

static const struct net_device_ops nic_ops = {
	.ndo_open = nic_open,
	.ndo_stop = nic_stop,
	.ndo_start_xmit = nic_xmit,
	.ndo_set_features = nic_set_features,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
};

static const struct net_device_ops wire_ops = {
	.ndo_start_xmit = wire_xmit,
	.ndo_set_mac_address = eth_mac_addr,
};

/* ---- rules and hashed fields ---- */

static u32 fields_of(u32 type)
{
	switch (type) {
	case TCP_V4_FLOW:
	case UDP_V4_FLOW:
	case SCTP_V4_FLOW:
	case TCP_V6_FLOW:
	case UDP_V6_FLOW:
	case SCTP_V6_FLOW:
		return ADDRESSES | PORTS;
	case IPV4_FLOW:
	case IPV6_FLOW:
		return ADDRESSES;
	}
	return 0;
}

static int list_rules(struct fnic *f, struct ethtool_rxnfc *cmd, u32 *locations)
{
	u32 i, n = 0;

	for (i = 0; i < RULES; i++) {
		if (!f->rules[i].used)
			continue;
		if (n == cmd->rule_cnt)
			return -EMSGSIZE;
		locations[n++] = i;
	}
	cmd->rule_cnt = n;
	cmd->data = RULES;
	return 0;
}

static int get_rxnfc(struct net_device *nic, struct ethtool_rxnfc *cmd, u32 *locations)
{
	struct fnic *f = fnic_of(nic);
	u32 i;

	switch (cmd->cmd) {
	case ETHTOOL_GRXRINGS:
		cmd->data = f->n_queues;
		return 0;
	case ETHTOOL_GRXFH:
		cmd->data = cmd->flow_type < FLOW_TYPES ? f->hashed[cmd->flow_type] : 0;
		return 0;
	case ETHTOOL_GRXCLSRLCNT:
		cmd->data = RULES | RX_CLS_LOC_SPECIAL;
		for (cmd->rule_cnt = 0, i = 0; i < RULES; i++)
			cmd->rule_cnt += f->rules[i].used;
		return 0;
	case ETHTOOL_GRXCLSRULE:
		i = cmd->fs.location;
		if (i >= RULES || !f->rules[i].used)
			return -ENOENT;
		cmd->fs = f->rules[i].spec;
		cmd->rss_context = f->rules[i].context;
		return 0;
	case ETHTOOL_GRXCLSRLALL:
		return list_rules(f, cmd, locations);
	}
	return -EOPNOTSUPP;
}

static int insert_rule(struct fnic *f, struct ethtool_rxnfc *cmd)
{
	u32 type = cmd->fs.flow_type & ~FLOW_FLAGS, at = cmd->fs.location;
	bool to_context = cmd->fs.flow_type & FLOW_RSS;
	u64 cookie = cmd->fs.ring_cookie;

	if (!(f->nic->features & NETIF_F_NTUPLE))
		return -EOPNOTSUPP;
	if (type != ETHER_FLOW && type != IP_USER_FLOW && !(fields_of(type) & PORTS))
		return -EINVAL;
	if (cmd->fs.flow_type & (FLOW_EXT | FLOW_MAC_EXT))
		return -EOPNOTSUPP;
	if (to_context && (cmd->rss_context >= CONTEXTS || !f->contexts[cmd->rss_context].used))
		return -EINVAL;
	if (cookie != RX_CLS_FLOW_DISC &&
	    (ethtool_get_flow_spec_ring_vf(cookie) ||
	     ethtool_get_flow_spec_ring(cookie) >= f->n_queues))
		return -EINVAL;
	if (at & RX_CLS_LOC_SPECIAL) {
		for (at = 0; at < RULES && f->rules[at].used; at++)
			;
		if (at == RULES)
			return -ENOSPC;
	}
	if (at >= RULES)
		return -EINVAL;
	if (f->ignore)
		return 0;
	cmd->fs.location = at;
	spin_lock_bh(&f->lock);
	f->rules[at].spec = cmd->fs;
	f->rules[at].context = to_context ? cmd->rss_context : 0;
	f->rules[at].used = true;
	spin_unlock_bh(&f->lock);
	return 0;
}

static int delete_rule(struct fnic *f, u32 at)
{
	if (at >= RULES || !f->rules[at].used)
		return -ENOENT;
	if (!f->ignore)
		f->rules[at].used = false;
	return 0;
}

static int set_rxnfc(struct net_device *nic, struct ethtool_rxnfc *cmd)
{
	struct fnic *f = fnic_of(nic);
	int err = operation(f);

	if (err)
		return err;
	switch (cmd->cmd) {
	case ETHTOOL_SRXFH:
		if (cmd->flow_type >= FLOW_TYPES || !fields_of(cmd->flow_type) ||
		    cmd->data & ~(u64)fields_of(cmd->flow_type))
			return -EINVAL;
		f->hashed[cmd->flow_type] = cmd->data;
		return 0;
	case ETHTOOL_SRXCLSRLINS:
		return insert_rule(f, cmd);
	case ETHTOOL_SRXCLSRLDEL:
		return delete_rule(f, cmd->fs.location);
	}
	return -EOPNOTSUPP;
}

/* ---- hash, table and contexts ---- */

static u32 key_bytes(struct net_device *nic)
{
	return KEY_BYTES;
}

static u32 table_size(struct net_device *nic)
{
	return TABLE;
}

static void default_table(struct fnic *f, u32 context)
{
	u32 i;

	for (i = 0; i < TABLE; i++)
		f->contexts[context].table[i] = i % f->n_queues;
}

static int get_context(struct net_device *nic, u32 *table, u8 *key, u8 *function, u32 number)
{
	struct fnic_context *context = &fnic_of(nic)->contexts[number];

	if (number >= CONTEXTS || !context->used)
		return -ENOENT;
	if (table)
		memcpy(table, context->table, sizeof(context->table));
	if (key)
		memcpy(key, context->key, KEY_BYTES);
	if (function)
		*function = ETH_RSS_HASH_TOP;
	return 0;
}

static int get_rxfh(struct net_device *nic, u32 *table, u8 *key, u8 *function)
{
	return get_context(nic, table, key, function, 0);
}

static int write_context(struct fnic *f, const u32 *table, const u8 *key, u8 function, u32 number)
{
	struct fnic_context *context = &f->contexts[number];
	u32 i;

	if (function != ETH_RSS_HASH_NO_CHANGE && function != ETH_RSS_HASH_TOP)
		return -EOPNOTSUPP;
	for (i = 0; table && i < TABLE; i++)
		if (table[i] >= f->n_queues)
			return -EINVAL;
	if (f->ignore)
		return 0;
	spin_lock_bh(&f->lock);
	if (table)
		memcpy(context->table, table, sizeof(context->table));
	if (key)
		memcpy(context->key, key, KEY_BYTES);
	spin_unlock_bh(&f->lock);
	return 0;
}

static int set_rxfh(struct net_device *nic, const u32 *table, const u8 *key, const u8 function)
{
	struct fnic *f = fnic_of(nic);
	int err = operation(f);

	return err ? err : write_context(f, table, key, function, 0);
}

static int new_context(struct fnic *f, const u32 *table, const u8 *key, u8 function, u32 *number)
{
	u32 n;
	int err;

	for (n = 1; n < CONTEXTS && f->contexts[n].used; n++)
		;
	if (n == CONTEXTS)
		return -ENOSPC;
	default_table(f, n);
	memcpy(f->contexts[n].key, f->contexts[0].key, KEY_BYTES);
	err = write_context(f, table, key, function, n);
	if (err)
		return err;
	f->contexts[n].used = true;
	*number = n;
	return 0;
}

static int delete_context(struct fnic *f, u32 number)
{
	int i;

	for (i = 0; i < RULES; i++)
		if (f->rules[i].used && f->rules[i].context == number)
			return -EBUSY;
	f->contexts[number].used = false;
	return 0;
}

static int set_context(struct net_device *nic, const u32 *table, const u8 *key, const u8 function,
		       u32 *number, bool is_deletion)
{
	struct fnic *f = fnic_of(nic);
	int err = operation(f);

	if (err)
		return err;
	if (*number == ETH_RXFH_CONTEXT_ALLOC)
		return is_deletion ? -EINVAL : new_context(f, table, key, function, number);
	if (*number == 0 || *number >= CONTEXTS || !f->contexts[*number].used)
		return -ENOENT;
	if (is_deletion)
		return delete_context(f, *number);
	return write_context(f, table, key, function, *number);
}

/* ---- queues ---- */

static void get_channels(struct net_device *nic, struct ethtool_channels *channels)
{
	channels->max_combined = queues;
	channels->combined_count = fnic_of(nic)->n_queues;
}

static int set_channels(struct net_device *nic, struct ethtool_channels *channels)
{
	struct fnic *f = fnic_of(nic);
	u32 n = channels->combined_count;
	int i, err = operation(f);

	if (err)
		return err;
	for (i = 0; i < RULES; i++) {
		u64 cookie = f->rules[i].spec.ring_cookie;

		if (f->rules[i].used && cookie != RX_CLS_FLOW_DISC &&
		    ethtool_get_flow_spec_ring(cookie) >= n)
			return -EBUSY;
	}
	err = netif_set_real_num_queues(nic, n, n);
	if (err)
		return err;
	spin_lock_bh(&f->lock);
	f->n_queues = n;
	if (f->lose_table || !netif_is_rxfh_configured(nic))
		default_table(f, 0);
	spin_unlock_bh(&f->lock);
	return 0;
}

static void get_rings(struct net_device *nic, struct ethtool_ringparam *rings,
		      struct kernel_ethtool_ringparam *more, struct netlink_ext_ack *extack)
{
	struct fnic *f = fnic_of(nic);

	rings->rx_max_pending = rings->tx_max_pending = RING_MOST;
	rings->rx_pending = f->rx_ring;
	rings->tx_pending = f->tx_ring;
}

static int set_rings(struct net_device *nic, struct ethtool_ringparam *rings,
		     struct kernel_ethtool_ringparam *more, struct netlink_ext_ack *extack)
{
	struct fnic *f = fnic_of(nic);
	int err = operation(f);

	if (err)
		return err;
	if (rings->rx_pending < RING_LEAST || rings->tx_pending < RING_LEAST) {
		NL_SET_ERR_MSG_MOD(extack, "a ring has at least 64 descriptors");
		return -EINVAL;
	}
	f->rx_ring = rings->rx_pending;
	f->tx_ring = rings->tx_pending;
	return 0;
}

static int get_coalesce_of(struct net_device *nic, u32 queue, struct ethtool_coalesce *coalesce)
{
	struct fnic *f = fnic_of(nic);
	u32 cmd = coalesce->cmd;

	if (queue >= f->n_queues)
		return -EINVAL;
	*coalesce = f->queues[queue].coalesce;
	coalesce->cmd = cmd;
	return 0;
}

static int write_coalesce(struct fnic *f, u32 queue, const struct ethtool_coalesce *coalesce)
{
	if (queue >= f->n_queues || coalesce->rx_coalesce_usecs > USECS_MOST)
		return -EINVAL;
	f->queues[queue].coalesce.rx_coalesce_usecs = coalesce->rx_coalesce_usecs;
	f->queues[queue].coalesce.rx_max_coalesced_frames = coalesce->rx_max_coalesced_frames;
	f->queues[queue].coalesce.use_adaptive_rx_coalesce = coalesce->use_adaptive_rx_coalesce;
	return 0;
}

static int set_coalesce_of(struct net_device *nic, u32 queue, struct ethtool_coalesce *coalesce)
{
	struct fnic *f = fnic_of(nic);
	int err = operation(f);

	return err ? err : write_coalesce(f, queue, coalesce);
}

static int get_coalesce(struct net_device *nic, struct ethtool_coalesce *coalesce,
			struct kernel_ethtool_coalesce *more, struct netlink_ext_ack *extack)
{
	return get_coalesce_of(nic, 0, coalesce);
}

static int set_coalesce(struct net_device *nic, struct ethtool_coalesce *coalesce,
			struct kernel_ethtool_coalesce *more, struct netlink_ext_ack *extack)
{
	struct fnic *f = fnic_of(nic);
	int err = operation(f);
	u32 queue;

	for (queue = 0; !err && queue < f->n_queues; queue++)
		err = write_coalesce(f, queue, coalesce);
	return err;
}

/* ---- statistics ---- */

static int count_strings(struct net_device *nic, int set)
{
	return set == ETH_SS_STATS ? QUEUES_MAX * 3 + 1 : -EOPNOTSUPP;
}

static void get_strings(struct net_device *nic, u32 set, u8 *names)
{
	int i;

	for (i = 0; i < QUEUES_MAX; i++) {
		ethtool_sprintf(&names, "rx_queue_%d_packets", i);
		ethtool_sprintf(&names, "rx_queue_%d_bytes", i);
		ethtool_sprintf(&names, "rx_queue_%d_drops", i);
	}
	ethtool_sprintf(&names, "rx_discards");
}

static void get_statistics(struct net_device *nic, struct ethtool_stats *stats, u64 *values)
{
	struct fnic *f = fnic_of(nic);
	int i;

	for (i = 0; i < QUEUES_MAX; i++) {
		*values++ = f->queues[i].packets;
		*values++ = f->queues[i].bytes;
		*values++ = f->queues[i].drops;
	}
	*values = f->discards;
}

static void get_drvinfo(struct net_device *nic, struct ethtool_drvinfo *info)
{
	strscpy(info->driver, "fnic", sizeof(info->driver));
}

static const struct ethtool_ops fnic_ethtool = {
	.supported_coalesce_params = ETHTOOL_COALESCE_RX_USECS | ETHTOOL_COALESCE_RX_MAX_FRAMES |
				     ETHTOOL_COALESCE_USE_ADAPTIVE_RX,
	.get_drvinfo = get_drvinfo,
	.get_link = ethtool_op_get_link,
	.get_rxnfc = get_rxnfc,
	.set_rxnfc = set_rxnfc,
	.get_rxfh_key_size = key_bytes,
	.get_rxfh_indir_size = table_size,
	.get_rxfh = get_rxfh,
	.set_rxfh = set_rxfh,
	.get_rxfh_context = get_context,
	.set_rxfh_context = set_context,
	.get_channels = get_channels,
	.set_channels = set_channels,
	.get_ringparam = get_rings,
	.set_ringparam = set_rings,
	.get_coalesce = get_coalesce,
	.set_coalesce = set_coalesce,
	.get_per_queue_coalesce = get_coalesce_of,
	.set_per_queue_coalesce = set_coalesce_of,
	.get_sset_count = count_strings,
	.get_strings = get_strings,
	.get_ethtool_stats = get_statistics,
};

/* ---- beginning and end ---- */

static struct net_device *make_interface(struct fnic *f, const char *name, unsigned int n,
					 const struct net_device_ops *ops)
{
	struct net_device *dev = alloc_etherdev_mqs(sizeof(f), n, n);

	if (!dev)
		return NULL;
	*(struct fnic **)netdev_priv(dev) = f;
	strscpy(dev->name, name, IFNAMSIZ);
	dev->netdev_ops = ops;
	dev->features |= NETIF_F_LLTX;
	eth_hw_addr_random(dev);
	return dev;
}

static void prepare(struct fnic *f)
{
	u32 type, i;

	spin_lock_init(&f->lock);
	f->n_queues = queues;
	f->rx_ring = f->tx_ring = 512;
	for (type = 0; type < FLOW_TYPES; type++)
		f->hashed[type] = fields_of(type);
	f->contexts[0].used = true;
	netdev_rss_key_fill(f->contexts[0].key, KEY_BYTES);
	default_table(f, 0);
	f->nic->ethtool_ops = &fnic_ethtool;
	f->nic->hw_features = NETIF_F_NTUPLE | NETIF_F_RXHASH | NETIF_F_RXCSUM;
	f->nic->features |= NETIF_F_NTUPLE | NETIF_F_RXHASH;
	for (i = 0; i < QUEUES_MAX; i++) {
		f->queues[i].index = i;
		skb_queue_head_init(&f->queues[i].frames);
		netif_napi_add(f->nic, &f->queues[i].napi, poll);
	}
}

static void make_faults(struct fnic *f)
{
	f->debugfs = debugfs_create_dir("fnic", NULL);
	debugfs_create_u32("fail_at", 0600, f->debugfs, &f->fail_at);
	debugfs_create_bool("ignore", 0600, f->debugfs, &f->ignore);
	debugfs_create_bool("lose_table", 0600, f->debugfs, &f->lose_table);
}

static int __init fnic_init(void)
{
	struct fnic *f;
	int err = -ENOMEM;

	if (queues < 1 || queues > QUEUES_MAX)
		return -EINVAL;
	f = kvzalloc(sizeof(*f), GFP_KERNEL);
	if (!f)
		return -ENOMEM;
	f->nic = make_interface(f, "fnic%d", queues, &nic_ops);
	f->wire = make_interface(f, "fnicw%d", 1, &wire_ops);
	if (!f->nic || !f->wire)
		goto free;
	prepare(f);
	err = register_netdev(f->nic);
	if (err)
		goto free;
	err = register_netdev(f->wire);
	if (err)
		goto unregister;
	make_faults(f);
	the_fnic = f;
	return 0;
unregister:
	unregister_netdev(f->nic);
free:
	if (f->nic)
		free_netdev(f->nic);
	if (f->wire)
		free_netdev(f->wire);
	kvfree(f);
	return err;
}

static void __exit fnic_exit(void)
{
	struct fnic *f = the_fnic;

	debugfs_remove_recursive(f->debugfs);
	unregister_netdev(f->wire);
	unregister_netdev(f->nic);
	free_netdev(f->wire);
	free_netdev(f->nic);
	kvfree(f);
}

module_init(fnic_init);
module_exit(fnic_exit);
MODULE_DESCRIPTION("A NIC that is none, for tests of what programs NICs");
MODULE_LICENSE("GPL");
