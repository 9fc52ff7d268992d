/* SPDX-License-Identifier: Apache-2.0 */
/* A network interface as the kernel has it configured, so that nothing has to be said twice. */
#ifndef QS_IO_IFACE_H
#define QS_IO_IFACE_H

#include "qstack/qs_base.h"

#define QS_IFACE_ADDRS_MAX 16u

struct qs_iface_addr {
    qs_addr addr;
    uint8_t prefix_len; /* on-link prefix, bits: [0, 32] for IPv4, else [0, 128] */
};

struct qs_iface {
    uint32_t index;
    uint32_t mtu;
    uint8_t mac[6];
    bool up;
    char driver[32];    /* as `ethtool -i` says, "" if the driver does not */
    uint32_t rx_queues; /* active receive queues */
    /* Addresses that work now; global ones first. What is beyond QS_IFACE_ADDRS_MAX is left out. */
    struct qs_iface_addr addrs[QS_IFACE_ADDRS_MAX];
    uint32_t n_addrs;
    /* Next hop of the default route through this interface with the lowest metric, or any (all
     * zero). */
    qs_addr gateway4, gateway6;
};

/* Reads everything about `ifname` in the network namespace of the calling thread. QS_ERR_NODEV or
 * QS_ERR_SYS. */
QS_MUST_CHECK qs_err qs_iface_read(struct qs_iface *out, const char *ifname, struct qs_diag *diag);

/* Sets the MTU (bytes, 0 leaves it) and brings the link up. QS_ERR_ARG for an MTU that the device
 * does not take, QS_ERR_PERM, QS_ERR_SYS. */
QS_MUST_CHECK qs_err qs_iface_up(const char *ifname, uint32_t mtu, struct qs_diag *diag);

/* Gives the interface an address in CIDR form, "10.0.0.1/24" or "fd00::1/64", which works at once:
 * no duplicate address detection. QS_ERR_ARG, QS_ERR_PERM, QS_ERR_SYS. */
QS_MUST_CHECK qs_err qs_iface_addr_add(const char *ifname, const char *cidr, struct qs_diag *diag);

/* Parses "10.0.0.1/24", "fd00::1/64"; without a slash the prefix is the whole address. */
QS_MUST_CHECK qs_err qs_cidr_parse(struct qs_iface_addr *out, const char *cidr,
                                   struct qs_diag *diag);

#endif
