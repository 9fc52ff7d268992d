/* SPDX-License-Identifier: GPL-2.0 */
/* What the NIC that is none holds. */
#ifndef FNIC_H
#define FNIC_H

#include <linux/ethtool.h>
#include <linux/netdevice.h>

#define QUEUES_MAX 16
#define RULES 64
#define CONTEXTS 8
#define TABLE 128
#define KEY_BYTES 40
#define FLOW_TYPES 64
#define RING_LEAST 64
#define RING_MOST 4096
#define USECS_MOST 1000
#define FLOW_FLAGS (FLOW_EXT | FLOW_MAC_EXT | FLOW_RSS)
#define PORTS (RXH_L4_B_0_1 | RXH_L4_B_2_3)
#define ADDRESSES (RXH_IP_SRC | RXH_IP_DST)

struct fnic_queue {
	struct napi_struct napi;
	struct sk_buff_head frames;
	u64 packets, bytes, drops;
	struct ethtool_coalesce coalesce;
	unsigned int index;
};

struct fnic_context {
	bool used;
	u8 key[KEY_BYTES];
	u32 table[TABLE];
};

struct fnic_rule {
	bool used;
	struct ethtool_rx_flow_spec spec;
	u32 context;
};

struct fnic {
	struct net_device *nic, *wire;
	struct fnic_queue queues[QUEUES_MAX];
	struct fnic_context contexts[CONTEXTS];
	struct fnic_rule rules[RULES];
	u32 hashed[FLOW_TYPES];		/* RXH_* by flow type */
	unsigned int n_queues;
	u32 rx_ring, tx_ring;
	u64 discards;
	bool is_up;
	spinlock_t lock;		/* rules and contexts against the wire */
	u32 fail_at;
	bool ignore, lose_table;
	struct dentry *debugfs;
};

/* Queue of a frame, or -1 when a rule drops it. Called with the lock held. */
int fnic_steer(struct fnic *f, struct sk_buff *skb);

#endif
