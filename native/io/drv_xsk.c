/* SPDX-License-Identifier: Apache-2.0 */
/* AF_XDP. Claimed frames come here, all others go on to the kernel, which also resolves neighbours.
 *
 * On a NIC: one socket and one UMEM for each hardware queue; zero-copy if the driver has it.
 * On veth, which has no RSS and steers by the sender's socket: all sockets sit on hardware queue 0
 * and share one UMEM; the software NIC in the XDP program chooses the socket of each frame.
 *
 * Here are sockets and how they are set up; frames move in xsk_queue.c. */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "io/diag.h"
#include "io/driver.h"
#include "io/iface.h"
#include "io/softnic_ethtool.h"
#include "io/steer.h"
#include "io/xsk_queue.h"
#include "io/xsk_uapi.h"

/* Ethernet header and one VLAN tag. */
#define LINK_BYTES 18u

/* Frames of a queue that wait while its worker has no core: nothing holds the peer back meanwhile,
 * so the ring should have room for a window of some MiB. Many queues share RX_RINGS among them. */
#define RX_RING_MOST 4096u
#define RX_RING_LEAST 1024u
#define RX_RINGS 65536u
#define TX_RING 1024u
/* Chunks in the fill ring while every socket's ring is full. */
#define RX_SPARE 1024u

/* A socket that is gone holds its queue for up to a second. */
#define BUSY_RETRIES 60
#define BUSY_RETRY_NS 20000000L

/* The kernel's ENOTSUPP, which some drivers let out. */
#define KERNEL_ENOTSUPP 524

struct xsk {
    struct qs_driver base;
    struct qs_steer *steer;
    struct qs_softnic_server *server; /* NULL without a software NIC */
    struct qs_iface iface;
    bool soft;        /* veth: the software NIC */
    bool native;      /* the program runs in the driver */
    bool multi_piece; /* the MTU does not fit a chunk */
    uint32_t frame_bytes_max;
    uint32_t rx_ring;       /* entries */
    struct xsk_umem *umems; /* one, or one for each queue */
    uint32_t n_umems, n_open;
    struct xsk_queue queues[];
};

static struct xsk_queue *queue_of(struct qs_driver *d, uint32_t queue)
{
    return &((struct xsk *)d)->queues[queue];
}

/* --- open ------------------------------------------------------------------------------------- */

static qs_err check_device(const struct xsk *x, const struct qs_driver_opts *o,
                           struct qs_diag *diag)
{
    const struct qs_iface *iface = &x->iface;
    if (!iface->up)
        return qs_fail(diag, QS_ERR_STATE, "%s is down; `ip link set dev %s up`", o->ifname,
                       o->ifname);
    if (o->mtu > iface->mtu)
        return qs_fail(diag, QS_ERR_ARG,
                       "an MTU of %u bytes on %s, which has %u; `ip link set dev %s mtu %u`",
                       o->mtu, o->ifname, iface->mtu, o->ifname, o->mtu);
    if (x->soft && iface->rx_queues != 1)
        return qs_fail(diag, QS_ERR_ARG,
                       "%s is a veth with %u receive queues: frames on all but the first would be "
                       "lost; make it with `numrxqueues 1`, or `ethtool -L %s rx 1`",
                       o->ifname, iface->rx_queues, o->ifname);
    uint32_t queues_max = x->soft ? QS_N_QUEUES_MAX : iface->rx_queues;
    if (queues_max > QS_N_QUEUES_MAX)
        queues_max = QS_N_QUEUES_MAX;
    if (o->n_queues < 1 || o->n_queues > queues_max)
        return qs_fail(diag, QS_ERR_ARG, "%u queues on %s: 1 to %u are possible", o->n_queues,
                       o->ifname, queues_max);
    return QS_OK;
}

/* Entries of the ring of each of `n_queues`: a power of two. */
static uint32_t choose_rx_ring(uint32_t n_queues)
{
    uint32_t entries = RX_RING_MOST;
    while (entries > RX_RING_LEAST && entries * n_queues > RX_RINGS)
        entries /= 2;
    return entries;
}

/* What of a chunk a received frame can lie in. Some NICs count their buffers in whole KiB (igb;
 * ixgbe on an 82599, from memory) and lose frames that need more. */
static uint32_t rx_room(const struct xsk *x, uint32_t chunk_bytes)
{
    uint32_t room = chunk_bytes - XSK_RX_HEADROOM;
    return x->soft ? room : room & ~1023u;
}

/* Sizes for `n` sockets on one UMEM: no socket can take what the others need, however slow it is.
 */
static struct xsk_sizes choose_sizes(const struct xsk *x, uint32_t n)
{
    struct xsk_sizes sizes = {.chunk_bytes = 2048, .unit_chunks = 1};
    if (x->frame_bytes_max > rx_room(x, sizes.chunk_bytes))
        sizes.chunk_bytes = 4096;
    while (xsk_unit_room(&sizes) < x->frame_bytes_max)
        sizes.unit_chunks++;
    sizes.rx_chunks = n * (x->rx_ring + XSK_BURST) + RX_SPARE;
    sizes.tx_units = n * (TX_RING / sizes.unit_chunks + XSK_UNIT_CACHE);
    return sizes;
}

static qs_err open_umems(struct xsk *x, struct qs_diag *diag)
{
    uint32_t n_queues = x->base.caps.n_queues, n = x->soft ? 1 : n_queues;
    x->rx_ring = choose_rx_ring(n_queues);
    struct xsk_sizes sizes = choose_sizes(x, x->soft ? n_queues : 1);
    x->multi_piece = x->frame_bytes_max > rx_room(x, sizes.chunk_bytes);
    x->umems = calloc(n, sizeof *x->umems);
    qs_err err = x->umems ? QS_OK : QS_ERR_NOMEM;
    while (!err && x->n_umems < n) {
        err = xsk_umem_init(&x->umems[x->n_umems], &sizes, x->soft && n_queues > 1);
        x->n_umems += err == QS_OK;
    }
    return err ? qs_fail(diag, err, "out of memory for the frames of %u queues", n_queues) : QS_OK;
}

static int bind_to(const struct xsk *x, uint32_t queue, uint16_t flags, int shared_fd)
{
    struct sockaddr_xdp addr = {
        .sxdp_family = AF_XDP,
        .sxdp_flags = flags,
        .sxdp_ifindex = x->iface.index,
        .sxdp_queue_id = queue,
        .sxdp_shared_umem_fd = (uint32_t)shared_fd,
    };
    int fd = x->queues[x->n_open - 1].fd;
    for (int retries = BUSY_RETRIES; bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0;) {
        if (errno != EBUSY || retries-- == 0)
            return errno;
        nanosleep(&(struct timespec){.tv_nsec = BUSY_RETRY_NS}, NULL);
    }
    return 0;
}

/* @return 0 or errno; `q->copy` says which way it went. */
static int bind_queue(struct xsk *x, uint32_t queue)
{
    struct xsk_queue *q = &x->queues[queue];
    q->copy = true;
    if (x->soft && queue > 0)
        return bind_to(x, 0, XDP_SHARED_UMEM, x->queues[0].fd);
    uint16_t flags = XDP_USE_NEED_WAKEUP;
    if (x->multi_piece)
        flags |= XSK_USE_SG;
    if (!x->soft && x->native) {
        int err = bind_to(x, queue, flags | XDP_ZEROCOPY, 0);
        q->copy = err != 0;
        if (err != EOPNOTSUPP && err != KERNEL_ENOTSUPP && err != EINVAL)
            return err;
    }
    return bind_to(x, x->soft ? 0 : queue, flags | XDP_COPY, 0);
}

static qs_err fail_to_bind(const struct xsk *x, uint32_t queue, int errnum, struct qs_diag *diag)
{
    const char *ifname = x->base.ifname;
    switch (errnum) {
    case EBUSY:
        return qs_fail(diag, QS_ERR_BUSY,
                       "queue %u of %s is held by another AF_XDP socket; stop the other program",
                       queue, ifname);
    case ENETDOWN:
        return qs_fail(diag, QS_ERR_STATE, "%s is down; `ip link set dev %s up`", ifname, ifname);
    case ENOBUFS:
    case ENOMEM:
        return qs_fail(diag, QS_ERR_NOMEM,
                       "the limit of locked memory is too low for queue %u of %s (%zu KiB); raise "
                       "it (`ulimit -l`) or use fewer queues",
                       queue, ifname, x->umems[0].bytes / 1024);
    default:
        return qs_fail(diag, qs_err_of_errno(errnum),
                       "cannot bind an AF_XDP socket to queue %u of %s (MTU %u): %s", queue, ifname,
                       x->base.caps.mtu, strerror(errnum));
    }
}

static qs_err open_socket(struct xsk *x, struct qs_diag *diag)
{
    struct xsk_queue *q = &x->queues[x->n_open];
    q->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (q->fd < 0 && errno == EPERM)
        return qs_fail(diag, QS_ERR_PERM, "AF_XDP on %s needs CAP_NET_RAW; run as root",
                       x->base.ifname);
    if (q->fd < 0)
        return qs_fail(diag, qs_err_of_errno(errno), "this kernel gives no AF_XDP socket: %s",
                       strerror(errno));
    x->n_open++;
    return QS_OK;
}

static qs_err open_queue(struct xsk *x, struct qs_diag *diag)
{
    uint32_t queue = x->n_open;
    struct xsk_queue *q = &x->queues[queue];
    qs_err err = open_socket(x, diag);
    if (err)
        return err;
    q->umem = &x->umems[x->soft ? 0 : queue];
    bool first_of_umem = !x->soft || queue == 0;
    int status = first_of_umem ? xsk_umem_register(q->umem, q->fd) : 0;
    if (!status)
        status = xsk_ring_map(&q->rx, q->fd, XDP_RX_RING, x->rx_ring);
    if (!status)
        status = xsk_ring_map(&q->tx, q->fd, XDP_TX_RING, TX_RING);
    int errnum = status ? -status : bind_queue(x, queue);
    if (errnum)
        return fail_to_bind(x, queue, errnum, diag);
    /* Copies in flight are charged to the socket; a full TX ring must fit. */
    int bytes = (int)(TX_RING * q->umem->unit_bytes);
    (void)setsockopt(q->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    if (xsk_queue_init(q, x->frame_bytes_max, x->multi_piece))
        return qs_fail(diag, QS_ERR_NOMEM, "out of memory for queue %u of %s", queue,
                       x->base.ifname);
    return qs_steer_set_socket(x->steer, queue, q->fd, diag);
}

/* The program comes before the sockets, for drivers that allow zero-copy only under one. As long as
 * nothing is claimed it passes every frame to the kernel. */
static qs_err open_device(struct xsk *x, struct qs_diag *diag)
{
    enum qs_steer_kind kind = x->soft ? QS_STEER_XDP_SOFT : QS_STEER_XDP_NIC;
    qs_err err = qs_steer_open(&x->steer, kind, x->base.caps.n_queues, diag);
    if (!err)
        err = qs_steer_attach(x->steer, x->iface.index, &x->native, diag);
    if (!err)
        err = open_umems(x, diag);
    while (!err && x->n_open < x->base.caps.n_queues)
        err = open_queue(x, diag);
    if (!err && x->soft) {
        x->base.softnic = qs_steer_softnic(x->steer);
        err = qs_softnic_server_start(&x->server, x->base.softnic, x->base.ifname, "veth", diag);
    }
    return err;
}

static void set_caps(struct xsk *x)
{
    struct qs_driver_caps *caps = &x->base.caps;
    bool copy = false, metadata = true;
    for (uint32_t i = 0; i < x->n_open; i++) {
        copy |= x->queues[i].copy;
        metadata &= x->queues[i].umem->tx_metadata;
    }
    const char *mode = x->soft ? "copy, software NIC" : copy ? "copy" : "zero-copy";
    snprintf(caps->mode, sizeof caps->mode, "%s", mode);
    memcpy(caps->mac, x->iface.mac, sizeof caps->mac);
    caps->told_neighbours = true;
    /* When the kernel copies it completes checksums for any device. A zero-copy driver that does
     * not know the request would send the frame as it is, so there it is done in software. */
    if (metadata && copy)
        caps->offloads = QS_OFFLOAD_TX_CSUM;
}

/* Sockets first, program last: until then a claimed frame finds no socket and is dropped. The
 * kernel would answer it with a reset. */
static void xsk_close(struct qs_driver *d)
{
    struct xsk *x = (struct xsk *)d;
    if (!x)
        return;
    qs_softnic_server_stop(x->server);
    for (uint32_t i = 0; i < x->n_open; i++) {
        struct xsk_queue *q = &x->queues[i];
        xsk_ring_unmap(&q->rx);
        xsk_ring_unmap(&q->tx);
        close(q->fd);
        xsk_queue_free(q);
    }
    for (uint32_t i = 0; i < x->n_umems; i++)
        xsk_umem_free(&x->umems[i]);
    free(x->umems);
    qs_steer_close(x->steer);
    free(x);
}

static qs_err xsk_open(struct qs_driver **out, const struct qs_driver_opts *o, struct qs_diag *diag)
{
    *out = NULL;
    if (!o->ifname || !*o->ifname || strlen(o->ifname) >= IFNAMSIZ)
        return qs_fail(diag, QS_ERR_ARG, "\"%s\" is no name of an interface",
                       o->ifname ? o->ifname : "");
    uint32_t n_queues = o->n_queues <= QS_N_QUEUES_MAX ? o->n_queues : 0;
    size_t bytes = sizeof(struct xsk) + n_queues * sizeof(struct xsk_queue);
    struct xsk *x = aligned_alloc(_Alignof(struct xsk), bytes);
    if (!x)
        return qs_fail(diag, QS_ERR_NOMEM, "out of memory for %s", o->ifname);
    memset(x, 0, bytes);
    x->base.ops = &qs_driver_xsk;
    snprintf(x->base.ifname, sizeof x->base.ifname, "%s", o->ifname);
    qs_err err = qs_iface_read(&x->iface, o->ifname, diag);
    x->soft = strcmp(x->iface.driver, "veth") == 0;
    if (!err)
        err = check_device(x, o, diag);
    x->base.caps.n_queues = n_queues;
    x->base.caps.mtu = o->mtu ? o->mtu : x->iface.mtu;
    /* What arrives is bounded by the device's MTU, also when we use less of it. */
    x->frame_bytes_max = x->iface.mtu + LINK_BYTES;
    if (!err)
        err = open_device(x, diag);
    if (err) {
        xsk_close(&x->base);
        return err;
    }
    set_caps(x);
    if (o->no_offload)
        x->base.caps.offloads = 0;
    *out = &x->base;
    return QS_OK;
}

/* --- frames ----------------------------------------------------------------------------------- */

/* Hot; watched by drv_echo. */
static size_t xsk_rx(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t n)
{
    return xsk_queue_rx(queue_of(d, queue), frames, n);
}

static void xsk_rx_done(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t n)
{
    (void)frames;
    (void)n;
    xsk_queue_rx_done(queue_of(d, queue));
}

static size_t xsk_tx_reserve(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t n)
{
    return xsk_queue_tx_reserve(queue_of(d, queue), frames, n);
}

/* Hot; watched by drv_echo. In copy mode the peer's whole receive path may run inside. */
static void xsk_tx_commit(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t lent,
                          size_t used)
{
    xsk_queue_tx_commit(queue_of(d, queue), frames, lent, used);
}

/* --- the rest --------------------------------------------------------------------------------- */

static int xsk_fd(const struct qs_driver *d, uint32_t queue)
{
    return ((const struct xsk *)d)->queues[queue].fd;
}

static bool xsk_arm(struct qs_driver *d, uint32_t queue)
{
    return xsk_queue_arm(queue_of(d, queue));
}

static void xsk_stats(const struct qs_driver *d, uint32_t queue, struct qs_driver_stats *out)
{
    const struct xsk_queue *q = &((const struct xsk *)d)->queues[queue];
    *out = q->stats;
    struct xdp_statistics kernels = {0};
    socklen_t len = sizeof kernels;
    if (getsockopt(q->fd, SOL_XDP, XDP_STATISTICS, &kernels, &len) == 0) {
        out->rx_lost += kernels.rx_dropped + kernels.rx_ring_full;
        out->tx_lost += kernels.tx_invalid_descs;
    }
}

static qs_err xsk_claim(struct qs_driver *d, const qs_addr *addr, uint16_t port,
                        struct qs_diag *diag)
{
    return qs_steer_claim(((struct xsk *)d)->steer, addr, port, diag);
}

static void xsk_unclaim(struct qs_driver *d, const qs_addr *addr, uint16_t port)
{
    qs_steer_unclaim(((struct xsk *)d)->steer, addr, port);
}

const struct qs_driver_ops qs_driver_xsk = {
    .name = "xsk",
    .open = xsk_open,
    .close = xsk_close,
    .rx = xsk_rx,
    .rx_done = xsk_rx_done,
    .tx_reserve = xsk_tx_reserve,
    .tx_commit = xsk_tx_commit,
    .fd = xsk_fd,
    .arm = xsk_arm,
    .stats = xsk_stats,
    .claim = xsk_claim,
    .unclaim = xsk_unclaim,
};
