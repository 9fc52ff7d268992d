/* SPDX-License-Identifier: Apache-2.0 */
/* What nicprog says to NICs, as linux/ethtool.h declares it. Big-endian fields keep the plain type of their
 * width: the codecs convert. */

/* One SIOCETHTOOL on the interface `name`; `data` is read and written as far as the command says.
 * Returns 0, or a negative errno. */
int nicprog_ethtool_ioctl(int socket, const char *name, void *data);

#define ETHTOOL_GDRVINFO ...
#define ETHTOOL_GSTRINGS ...
#define ETHTOOL_GSTATS ...
#define ETHTOOL_GSSET_INFO ...
#define ETHTOOL_GRXRINGS ...
#define ETHTOOL_GRXCLSRLCNT ...
#define ETHTOOL_GRXCLSRULE ...
#define ETHTOOL_GRXCLSRLALL ...
#define ETHTOOL_SRXCLSRLDEL ...
#define ETHTOOL_SRXCLSRLINS ...
#define ETHTOOL_GCHANNELS ...
#define ETHTOOL_SCHANNELS ...
#define ETHTOOL_GRSSH ...
#define ETHTOOL_SRSSH ...
#define ETHTOOL_GCOALESCE ...
#define ETHTOOL_SCOALESCE ...
#define ETHTOOL_PERQUEUE ...
#define ETHTOOL_GRINGPARAM ...
#define ETHTOOL_SRINGPARAM ...
#define ETHTOOL_GFEATURES ...
#define ETHTOOL_SFEATURES ...
#define ETHTOOL_GPFLAGS ...
#define ETHTOOL_SPFLAGS ...
#define ETHTOOL_GRXFH ...
#define ETHTOOL_SRXFH ...

#define ETH_SS_STATS ...
#define ETH_SS_PRIV_FLAGS ...
#define ETH_SS_FEATURES ...
#define ETH_GSTRING_LEN ...

#define ETH_RXFH_INDIR_NO_CHANGE ...
#define ETH_RXFH_CONTEXT_ALLOC ...

#define TCP_V4_FLOW ...
#define UDP_V4_FLOW ...
#define SCTP_V4_FLOW ...
#define AH_ESP_V4_FLOW ...
#define AH_V4_FLOW ...
#define ESP_V4_FLOW ...
#define IPV4_FLOW ...
#define IP_USER_FLOW ...
#define TCP_V6_FLOW ...
#define UDP_V6_FLOW ...
#define SCTP_V6_FLOW ...
#define AH_ESP_V6_FLOW ...
#define AH_V6_FLOW ...
#define ESP_V6_FLOW ...
#define IPV6_FLOW ...
#define IPV6_USER_FLOW ...
#define ETHER_FLOW ...
#define FLOW_EXT ...
#define FLOW_MAC_EXT ...
#define FLOW_RSS ...

#define ETH_RX_NFC_IP4 ...
#define RX_CLS_LOC_SPECIAL ...
#define RX_CLS_LOC_ANY ...
#define RX_CLS_LOC_FIRST ...
#define RX_CLS_LOC_LAST ...
#define RX_CLS_FLOW_DISC ...
#define RX_CLS_FLOW_WAKE ...

struct ethtool_drvinfo {
    uint32_t cmd;
    char driver[32];
    char version[32];
    char fw_version[32];
    char bus_info[32];
    ...;
};

struct ethtool_channels {
    uint32_t cmd;
    uint32_t max_rx, max_tx, max_other, max_combined;
    uint32_t rx_count, tx_count, other_count, combined_count;
};

struct ethtool_ringparam {
    uint32_t cmd;
    uint32_t rx_max_pending, rx_mini_max_pending, rx_jumbo_max_pending, tx_max_pending;
    uint32_t rx_pending, rx_mini_pending, rx_jumbo_pending, tx_pending;
};

struct ethtool_coalesce {
    uint32_t cmd;
    uint32_t rx_coalesce_usecs, rx_max_coalesced_frames;
    uint32_t rx_coalesce_usecs_irq, rx_max_coalesced_frames_irq;
    uint32_t tx_coalesce_usecs, tx_max_coalesced_frames;
    uint32_t tx_coalesce_usecs_irq, tx_max_coalesced_frames_irq;
    uint32_t stats_block_coalesce_usecs;
    uint32_t use_adaptive_rx_coalesce, use_adaptive_tx_coalesce;
    uint32_t pkt_rate_low;
    uint32_t rx_coalesce_usecs_low, rx_max_coalesced_frames_low;
    uint32_t tx_coalesce_usecs_low, tx_max_coalesced_frames_low;
    uint32_t pkt_rate_high;
    uint32_t rx_coalesce_usecs_high, rx_max_coalesced_frames_high;
    uint32_t tx_coalesce_usecs_high, tx_max_coalesced_frames_high;
    uint32_t rate_sample_interval;
};

struct ethtool_per_queue_op {
    uint32_t cmd, sub_command;
    uint32_t queue_mask[128];
    ...;
};

struct ethtool_get_features_block {
    uint32_t available, requested, active, never_changed;
};

struct ethtool_set_features_block {
    uint32_t valid, requested;
};

struct ethtool_value {
    uint32_t cmd, data;
};

struct ethtool_tcpip4_spec {
    uint32_t ip4src, ip4dst;
    uint16_t psrc, pdst;
    uint8_t tos;
};

struct ethtool_usrip4_spec {
    uint32_t ip4src, ip4dst, l4_4_bytes;
    uint8_t tos, ip_ver, proto;
};

struct ethtool_tcpip6_spec {
    uint32_t ip6src[4], ip6dst[4];
    uint16_t psrc, pdst;
    uint8_t tclass;
};

struct ethtool_usrip6_spec {
    uint32_t ip6src[4], ip6dst[4], l4_4_bytes;
    uint8_t tclass, l4_proto;
};

union ethtool_flow_union {
    struct ethtool_tcpip4_spec tcp_ip4_spec;
    struct ethtool_usrip4_spec usr_ip4_spec;
    struct ethtool_tcpip6_spec tcp_ip6_spec;
    struct ethtool_usrip6_spec usr_ip6_spec;
    uint8_t hdata[52];
    ...;
};

struct ethtool_flow_ext {
    uint8_t padding[2];
    unsigned char h_dest[6];
    uint16_t vlan_etype, vlan_tci;
    uint32_t data[2];
};

struct ethtool_rx_flow_spec {
    uint32_t flow_type;
    union ethtool_flow_union h_u;
    struct ethtool_flow_ext h_ext;
    union ethtool_flow_union m_u;
    struct ethtool_flow_ext m_ext;
    uint64_t ring_cookie;
    uint32_t location;
};

struct ethtool_rxnfc {
    uint32_t cmd, flow_type;
    uint64_t data;
    struct ethtool_rx_flow_spec fs;
    union {
        uint32_t rule_cnt;
        uint32_t rss_context;
    };
    ...;
};

struct ethtool_rxfh {
    uint32_t cmd, rss_context, indir_size, key_size;
    uint8_t hfunc;
    ...;
};

struct ethtool_sset_info {
    uint32_t cmd, reserved;
    uint64_t sset_mask;
    ...;
};

struct ethtool_gstrings {
    uint32_t cmd, string_set, len;
    ...;
};

struct ethtool_stats {
    uint32_t cmd, n_stats;
    ...;
};

/* Where the variable tail of ethtool_rxnfc starts: inside sizeof, in its trailing padding. */
static const int NICPROG_RULE_LOCS_OFFSET;
