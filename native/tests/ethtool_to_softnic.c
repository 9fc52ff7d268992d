/* SPDX-License-Identifier: Apache-2.0 */
/* To be preloaded into the program ethtool: its ioctls go to the software NIC of that name, whose
 * control socket is in $QSTACK_RUN_DIR, instead of the kernel. There is no netlink, so that ethtool
 * takes the ioctl for everything. So what a command line of ethtool does can be seen on a NIC. */
#include <dlfcn.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "qstack/qs_base.h"

#define ANSWER_MAX 65536

struct head {
    uint32_t command;
    int32_t error;
    uint32_t bytes;
    uint32_t reserved;
};

/* Octets of the structure that a command takes, with its tail; 0: nobody here knows the command. */
static size_t bytes_of(const void *data)
{
    const struct ethtool_rxfh *rxfh = data;
    const struct ethtool_rxnfc *rxnfc = data;
    const struct ethtool_gstrings *strings = data;
    const struct ethtool_per_queue_op *queues = data;
    size_t named = 0;
    switch (*(const uint32_t *)data) {
    case ETHTOOL_GDRVINFO:
        return sizeof(struct ethtool_drvinfo);
    case ETHTOOL_GCHANNELS:
    case ETHTOOL_SCHANNELS:
        return sizeof(struct ethtool_channels);
    case ETHTOOL_GRINGPARAM:
    case ETHTOOL_SRINGPARAM:
        return sizeof(struct ethtool_ringparam);
    case ETHTOOL_GCOALESCE:
    case ETHTOOL_SCOALESCE:
        return sizeof(struct ethtool_coalesce);
    case ETHTOOL_PERQUEUE:
        for (size_t i = 0; i < sizeof queues->queue_mask / sizeof queues->queue_mask[0]; i++)
            named += (size_t)__builtin_popcount(queues->queue_mask[i]);
        return sizeof *queues + named * sizeof(struct ethtool_coalesce);
    case ETHTOOL_GSSET_INFO: /* ethtool asks for one set at a time */
        return sizeof(struct ethtool_sset_info) + sizeof(uint32_t);
    case ETHTOOL_GSTRINGS:
        return sizeof *strings + strings->len * (size_t)ETH_GSTRING_LEN;
    case ETHTOOL_GFEATURES:
        return sizeof(struct ethtool_gfeatures) + ((const struct ethtool_gfeatures *)data)->size *
                                                      sizeof(struct ethtool_get_features_block);
    case ETHTOOL_SFEATURES:
        return sizeof(struct ethtool_sfeatures) + ((const struct ethtool_sfeatures *)data)->size *
                                                      sizeof(struct ethtool_set_features_block);
    case ETHTOOL_GPFLAGS:
    case ETHTOOL_SPFLAGS:
        return sizeof(struct ethtool_value);
    case ETHTOOL_GRSSH:
    case ETHTOOL_SRSSH:
        return sizeof *rxfh + rxfh->key_size +
               (rxfh->indir_size == ETH_RXFH_INDIR_NO_CHANGE ? 0 : rxfh->indir_size * 4UL);
    case ETHTOOL_GRXCLSRLALL:
        return sizeof *rxnfc + rxnfc->rule_cnt * 4UL;
    case ETHTOOL_GRXFH:
    case ETHTOOL_SRXFH:
    case ETHTOOL_GRXRINGS:
    case ETHTOOL_GRXCLSRLCNT:
    case ETHTOOL_GRXCLSRULE:
    case ETHTOOL_SRXCLSRLINS:
    case ETHTOOL_SRXCLSRLDEL:
        return sizeof *rxnfc;
    default:
        return 0;
    }
}

/* Octets that a request has to have; the rest of the structure is room for the answer. */
static size_t bytes_asked(const void *data, size_t bytes)
{
    switch (*(const uint32_t *)data) {
    case ETHTOOL_GSSET_INFO:
        return sizeof(struct ethtool_sset_info);
    case ETHTOOL_GSTRINGS:
        return sizeof(struct ethtool_gstrings);
    case ETHTOOL_GFEATURES:
        return sizeof(struct ethtool_gfeatures);
    default:
        return bytes;
    }
}

static int connected(const char *device)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *folder = getenv("QSTACK_RUN_DIR");
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s/%.15s.nic", folder ? folder : "", device);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int asked(const struct ifreq *request)
{
    static char packet[ANSWER_MAX];
    void *data = request->ifr_data;
    size_t room = bytes_of(data);
    struct head head = {*(uint32_t *)data, 0, (uint32_t)bytes_asked(data, room), 0};
    int fd = room ? connected(request->ifr_name) : -1;
    if (fd < 0)
        return room ? ENODEV : EOPNOTSUPP;
    memcpy(packet, &head, sizeof head);
    memcpy(packet + sizeof head, data, head.bytes);
    ssize_t got = -1;
    if (send(fd, packet, sizeof head + head.bytes, 0) >= 0)
        got = recv(fd, packet, sizeof packet, 0);
    close(fd);
    if (got < (ssize_t)sizeof head)
        return EIO;
    memcpy(&head, packet, sizeof head);
    if (head.error) {
        fprintf(stderr, "%.*s\n", (int)head.bytes, packet + sizeof head);
        return -head.error;
    }
    memcpy(data, packet + sizeof head, head.bytes < room ? head.bytes : room);
    return 0;
}

QS_API int ioctl(int fd, unsigned long number, ...)
{
    static int (*next)(int, unsigned long, ...);
    va_list list;
    va_start(list, number);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (number == SIOCETHTOOL) {
        errno = asked(argument);
        return errno ? -1 : 0;
    }
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "ioctl");
    return next(fd, number, argument);
}

QS_API int socket(int family, int type, int protocol)
{
    static int (*next)(int, int, int);
    if (family == AF_NETLINK) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "socket");
    return next(family, type, protocol);
}
