/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel or a peer was built apart from us and shares only these layouts, so a header that disagrees with the
 * published ABI must fail the build and not the first request. */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "sizeof(" #type ") is not " #bytes)
#define AT(type, field, offset)                                                                    \
    _Static_assert(offsetof(type, field) == (offset), #type "." #field " is not at " #offset)

SIZE(struct ethtool_rxnfc, 192);
AT(struct ethtool_rxnfc, flow_type, 4);
AT(struct ethtool_rxnfc, data, 8);
AT(struct ethtool_rxnfc, fs, 16);
AT(struct ethtool_rxnfc, rule_cnt, 184);
AT(struct ethtool_rxnfc, rule_locs, 188);

SIZE(struct ethtool_rx_flow_spec, 168);
AT(struct ethtool_rx_flow_spec, h_u, 4);
AT(struct ethtool_rx_flow_spec, h_ext, 56);
AT(struct ethtool_rx_flow_spec, m_u, 76);
AT(struct ethtool_rx_flow_spec, m_ext, 128);
AT(struct ethtool_rx_flow_spec, ring_cookie, 152);
AT(struct ethtool_rx_flow_spec, location, 160);

SIZE(union ethtool_flow_union, 52);
SIZE(struct ethtool_tcpip4_spec, 16);
SIZE(struct ethtool_tcpip6_spec, 40);
SIZE(struct ethtool_usrip4_spec, 16);
SIZE(struct ethtool_usrip6_spec, 40);
SIZE(struct ethtool_flow_ext, 20);
AT(struct ethtool_flow_ext, h_dest, 2);
AT(struct ethtool_flow_ext, vlan_etype, 8);
AT(struct ethtool_flow_ext, vlan_tci, 10);
AT(struct ethtool_flow_ext, data, 12);

SIZE(struct ethtool_rxfh, 24);
AT(struct ethtool_rxfh, rss_context, 4);
AT(struct ethtool_rxfh, indir_size, 8);
AT(struct ethtool_rxfh, key_size, 12);
AT(struct ethtool_rxfh, hfunc, 16);
AT(struct ethtool_rxfh, rss_config, 24);

SIZE(struct ethtool_channels, 36);
SIZE(struct ethtool_drvinfo, 196);
SIZE(struct ethtool_ringparam, 36);
SIZE(struct ethtool_coalesce, 92);
SIZE(struct ethtool_per_queue_op, 520);
AT(struct ethtool_per_queue_op, data, 520);
SIZE(struct ethtool_get_features_block, 16);
SIZE(struct ethtool_set_features_block, 8);
AT(struct ethtool_gfeatures, features, 8);
AT(struct ethtool_sfeatures, features, 8);
SIZE(struct ethtool_value, 8);
SIZE(struct ethtool_sset_info, 16);
SIZE(struct ethtool_gstrings, 12);
SIZE(struct ethtool_stats, 8);

static const int NICPROG_RULE_LOCS_OFFSET = offsetof(struct ethtool_rxnfc, rule_locs);

static int nicprog_ethtool_ioctl(int socket, const char *name, void *data)
{
    struct ifreq request = {.ifr_data = data};
    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    return ioctl(socket, SIOCETHTOOL, &request) < 0 ? -errno : 0;
}
