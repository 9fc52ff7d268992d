/* SPDX-License-Identifier: Apache-2.0 */
#include "io/iface.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "io/diag.h"
#include "io/nl.h"

#define READ_ATTEMPTS 10

static int take_link(const struct nlmsghdr *msg, void *ctx)
{
    struct qs_iface *iface = ctx;
    const struct ifinfomsg *info = mnl_nlmsg_get_payload(msg);
    iface->up = (info->ifi_flags & IFF_UP) != 0;
    const struct nlattr *attrs[IFLA_MAX + 1];
    qs_nl_attrs(msg, sizeof *info, attrs, IFLA_MAX + 1);
    const struct nlattr *mac = attrs[IFLA_ADDRESS];
    if (attrs[IFLA_MTU])
        iface->mtu = mnl_attr_get_u32(attrs[IFLA_MTU]);
    if (attrs[IFLA_NUM_RX_QUEUES])
        iface->rx_queues = mnl_attr_get_u32(attrs[IFLA_NUM_RX_QUEUES]);
    if (mac && mnl_attr_get_payload_len(mac) == sizeof iface->mac)
        memcpy(iface->mac, mnl_attr_get_payload(mac), sizeof iface->mac);
    return MNL_CB_OK;
}

static int read_link(struct qs_iface *iface)
{
    char buf[QS_NL_REQUEST_BYTES];
    struct nlmsghdr *request = qs_nl_request(buf, RTM_GETLINK, NLM_F_ACK);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(request, sizeof *info);
    info->ifi_index = (int)iface->index;
    return qs_nl_once(request, take_link, iface);
}

static bool link_local6(const qs_addr *addr)
{
    return addr->b[0] == 0xfe && (addr->b[1] & 0xc0) == 0x80;
}

static void addr_insert(struct qs_iface *iface, const struct qs_iface_addr *addr)
{
    if (iface->n_addrs == QS_IFACE_ADDRS_MAX)
        return;
    uint32_t at = iface->n_addrs++;
    while (at > 0 && !link_local6(&addr->addr) && link_local6(&iface->addrs[at - 1].addr)) {
        iface->addrs[at] = iface->addrs[at - 1];
        at--;
    }
    iface->addrs[at] = *addr;
}

static int take_addr(const struct nlmsghdr *msg, void *ctx)
{
    struct qs_iface *iface = ctx;
    const struct ifaddrmsg *info = mnl_nlmsg_get_payload(msg);
    if (info->ifa_index != iface->index)
        return MNL_CB_OK;
    const struct nlattr *attrs[IFA_MAX + 1];
    qs_nl_attrs(msg, sizeof *info, attrs, IFA_MAX + 1);
    uint32_t flags = attrs[IFA_FLAGS] ? mnl_attr_get_u32(attrs[IFA_FLAGS]) : info->ifa_flags;
    /* On a point-to-point link IFA_ADDRESS is the peer's. */
    const struct nlattr *own = attrs[IFA_LOCAL] ? attrs[IFA_LOCAL] : attrs[IFA_ADDRESS];
    struct qs_iface_addr found = {.prefix_len = info->ifa_prefixlen};
    if (qs_nl_addr(own, info->ifa_family, &found.addr) && !(flags & IFA_F_DADFAILED))
        addr_insert(iface, &found);
    return MNL_CB_OK;
}

static int read_addrs(struct qs_iface *iface)
{
    char buf[QS_NL_REQUEST_BYTES];
    struct nlmsghdr *request = qs_nl_request(buf, RTM_GETADDR, NLM_F_DUMP);
    struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(request, sizeof *info);
    info->ifa_family = AF_UNSPEC;
    return qs_nl_once(request, take_addr, iface);
}

struct gateway_search {
    struct qs_iface *iface;
    uint32_t metric4, metric6; /* of the best route so far */
};

static int take_route(const struct nlmsghdr *msg, void *ctx)
{
    struct gateway_search *search = ctx;
    const struct rtmsg *info = mnl_nlmsg_get_payload(msg);
    if (info->rtm_dst_len != 0 || info->rtm_type != RTN_UNICAST || info->rtm_table != RT_TABLE_MAIN)
        return MNL_CB_OK;
    const struct nlattr *attrs[RTA_MAX + 1];
    qs_nl_attrs(msg, sizeof *info, attrs, RTA_MAX + 1);
    uint32_t index = attrs[RTA_OIF] ? mnl_attr_get_u32(attrs[RTA_OIF]) : 0;
    uint32_t metric = attrs[RTA_PRIORITY] ? mnl_attr_get_u32(attrs[RTA_PRIORITY]) : 0;
    bool is4 = info->rtm_family == AF_INET;
    uint32_t *best = is4 ? &search->metric4 : &search->metric6;
    qs_addr *out = is4 ? &search->iface->gateway4 : &search->iface->gateway6;
    if (index == search->iface->index && metric < *best &&
        qs_nl_addr(attrs[RTA_GATEWAY], info->rtm_family, out))
        *best = metric;
    return MNL_CB_OK;
}

static int read_gateways(struct qs_iface *iface)
{
    static const uint8_t families[] = {AF_INET, AF_INET6};
    struct gateway_search search = {iface, UINT32_MAX, UINT32_MAX};
    for (size_t i = 0; i < sizeof families; i++) {
        char buf[QS_NL_REQUEST_BYTES];
        struct nlmsghdr *request = qs_nl_request(buf, RTM_GETROUTE, NLM_F_DUMP);
        struct rtmsg *info = mnl_nlmsg_put_extra_header(request, sizeof *info);
        info->rtm_family = families[i];
        int status = qs_nl_once(request, take_route, &search);
        /* A kernel without IPv6 has no such table. */
        if (status && status != -EAFNOSUPPORT && status != -EOPNOTSUPP)
            return status;
    }
    return 0;
}

/* What only ethtool tells. Not every driver answers; then the fields stay as they are. */
static int read_driver(struct qs_iface *iface, const char *ifname)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
    struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", ifname);
    request.ifr_data = (char *)&info;
    if (ioctl(fd, SIOCETHTOOL, &request) == 0)
        snprintf(iface->driver, sizeof iface->driver, "%.31s", info.driver);
    request.ifr_data = (char *)&channels;
    if (ioctl(fd, SIOCETHTOOL, &request) == 0)
        iface->rx_queues = channels.combined_count + channels.rx_count;
    close(fd);
    return 0;
}

static int read_all(struct qs_iface *out, const char *ifname)
{
    *out = (struct qs_iface){.index = if_nametoindex(ifname)};
    int status = out->index ? read_link(out) : -ENODEV;
    if (!status)
        status = read_addrs(out);
    if (!status)
        status = read_gateways(out);
    if (!status)
        status = read_driver(out, ifname);
    return status;
}

qs_err qs_iface_read(struct qs_iface *out, const char *ifname, struct qs_diag *diag)
{
    int status = -EINTR;
    /* EINTR: a table changed while it was read. */
    for (int attempt = 0; status == -EINTR && attempt < READ_ATTEMPTS; attempt++)
        status = read_all(out, ifname);
    if (status == -ENODEV)
        return qs_fail(
            diag, QS_ERR_NODEV,
            "no network interface \"%s\" in this network namespace; `ip link` lists them", ifname);
    if (status)
        return qs_fail(diag, qs_err_of_errno(-status), "cannot read the settings of %s: %s", ifname,
                       strerror(-status));
    return QS_OK;
}

qs_err qs_iface_up(const char *ifname, uint32_t mtu, struct qs_diag *diag)
{
    char buf[QS_NL_REQUEST_BYTES];
    struct nlmsghdr *request = qs_nl_request(buf, RTM_NEWLINK, NLM_F_ACK);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(request, sizeof *info);
    info->ifi_index = (int)if_nametoindex(ifname);
    info->ifi_flags = IFF_UP;
    info->ifi_change = IFF_UP;
    if (mtu)
        mnl_attr_put_u32(request, IFLA_MTU, mtu);
    int status = qs_nl_once(request, NULL, NULL);
    if (status == -EINVAL || status == -ERANGE)
        return qs_fail(diag, QS_ERR_ARG, "%s does not take an MTU of %u bytes; 1500 is usual",
                       ifname, mtu);
    if (status)
        return qs_fail(diag, qs_err_of_errno(-status), "cannot set %s up: %s", ifname,
                       strerror(-status));
    return QS_OK;
}

qs_err qs_cidr_parse(struct qs_iface_addr *out, const char *cidr, struct qs_diag *diag)
{
    *out = (struct qs_iface_addr){0};
    char text[INET6_ADDRSTRLEN + 1];
    size_t len = strcspn(cidr, "/");
    struct in_addr addr4;
    bool is4 = false, ok = false;
    if (len < sizeof text) {
        memcpy(text, cidr, len);
        text[len] = '\0';
        is4 = inet_pton(AF_INET, text, &addr4) == 1;
        ok = is4 || inet_pton(AF_INET6, text, out->addr.b) == 1;
    }
    if (is4) {
        out->addr.b[10] = out->addr.b[11] = 0xff;
        memcpy(out->addr.b + 12, &addr4, sizeof addr4);
    }
    unsigned long bits = is4 ? 32 : 128;
    if (ok && cidr[len] == '/') {
        char *end = NULL;
        unsigned long given = strtoul(cidr + len + 1, &end, 10);
        ok = cidr[len + 1] >= '0' && cidr[len + 1] <= '9' && *end == '\0' && given <= bits;
        bits = given;
    }
    if (!ok)
        return qs_fail(
            diag, QS_ERR_ARG,
            "\"%s\" is not an address with a prefix length, as 10.0.0.1/24 or fd00::1/64", cidr);
    out->prefix_len = (uint8_t)bits;
    return QS_OK;
}

qs_err qs_iface_addr_add(const char *ifname, const char *cidr, struct qs_diag *diag)
{
    struct qs_iface_addr addr;
    qs_err err = qs_cidr_parse(&addr, cidr, diag);
    if (err)
        return err;
    char buf[QS_NL_REQUEST_BYTES];
    struct nlmsghdr *request =
        qs_nl_request(buf, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
    struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(request, sizeof *info);
    info->ifa_family = qs_addr_is4(&addr.addr) ? AF_INET : AF_INET6;
    info->ifa_prefixlen = addr.prefix_len;
    info->ifa_index = if_nametoindex(ifname);
    qs_nl_put_addr(request, IFA_LOCAL, &addr.addr);
    qs_nl_put_addr(request, IFA_ADDRESS, &addr.addr);
    mnl_attr_put_u32(request, IFA_FLAGS, IFA_F_NODAD);
    int status = qs_nl_once(request, NULL, NULL);
    if (status)
        return qs_fail(diag, qs_err_of_errno(-status), "cannot give %s the address %s: %s", ifname,
                       cidr, strerror(-status));
    return QS_OK;
}
