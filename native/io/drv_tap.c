/* SPDX-License-Identifier: Apache-2.0 */
/* A multi-queue TAP that this process makes and that goes with it. Each frame is one read() or
 * write() with a virtio_net_hdr before it, which carries checksum and segmentation offload both
 * ways.
 *
 * Which queue a frame takes: with CAP_BPF the steering program of the software NIC decides; without
 * it (a user namespace) the kernel sends a flow to the queue that last wrote one of its frames. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "io/diag.h"
#include "io/driver.h"
#include "io/iface.h"
#include "io/softnic_ethtool.h"
#include "io/steer.h"

#define TUN_PATH "/dev/net/tun"
#define DEFAULT_MTU 1500u
#define ETH_BYTES 14u
#define VNET_BYTES ((uint32_t)sizeof(struct virtio_net_hdr_mrg_rxbuf))

/* Frames in flight between rx() and rx_done(), or tx_reserve() and tx_commit(). */
#define BURST 64u
/* Largest frame the kernel makes: a 64 KiB IPv6 payload and its headers. */
#define FRAME_BYTES_MAX (ETH_BYTES + 40u + 65535u)
#define GSO_FRAME_BYTES_MAX (ETH_BYTES + 65535u)
/* The IP header starts a cache line, the virtio header lies before the frame. */
#define FRAME_OFFSET (64u - ETH_BYTES)
/* Whole pages and a bit: equal places in different buffers must not fall into the same cache sets.
 */
#define BUF_BYTES (17u * 4096u + 256u)
_Static_assert(FRAME_OFFSET >= VNET_BYTES && FRAME_OFFSET + FRAME_BYTES_MAX <= BUF_BYTES,
               "a buffer holds the largest frame and its header");

/* After the death of a process the kernel takes a while to release its queues. */
#define BUSY_RETRIES 60
#define BUSY_RETRY_NS 20000000L

struct tap_queue {
    int fd;
    uint8_t *rx_mem, *tx_mem; /* BURST buffers each */
    size_t rx_lent, tx_lent;
    struct qs_driver_stats stats;
} __attribute__((aligned(64)));

struct tap {
    struct qs_driver base;
    struct qs_steer *steer;
    struct qs_softnic_server *server; /* NULL without a software NIC */
    uint32_t n_open;
    struct tap_queue queues[];
};

static struct tap_queue *queue_of(struct qs_driver *d, uint32_t queue)
{
    return &((struct tap *)d)->queues[queue];
}

/* --- open ------------------------------------------------------------------------------------- */

static qs_err fail_to_make(const char *ifname, int errnum, struct qs_diag *diag)
{
    switch (errnum) {
    case EBUSY:
        return qs_fail(diag, QS_ERR_BUSY,
                       "the TAP %s is in use by another process; stop it or choose another name",
                       ifname);
    case EPERM:
        return qs_fail(
            diag, QS_ERR_PERM,
            "making the TAP %s needs CAP_NET_ADMIN; run as root, or under `unshare -Urn`", ifname);
    default:
        return qs_fail(diag, qs_err_of_errno(errnum), "cannot make the TAP %s: %s", ifname,
                       strerror(errnum));
    }
}

static qs_err open_tun(int *fd, struct qs_diag *diag)
{
    *fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (*fd >= 0)
        return QS_OK;
    if (errno == EACCES || errno == EPERM)
        return qs_fail(diag, QS_ERR_PERM, "no right to open " TUN_PATH "; run as root");
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
        return qs_fail(diag, QS_ERR_NOTSUP,
                       TUN_PATH " is missing: this kernel or container has no TUN/TAP");
    return qs_fail(diag, qs_err_of_errno(errno), "cannot open " TUN_PATH ": %s", strerror(errno));
}

/* Adds one queue to the device, and makes the device with the first. */
static int attach_queue(int fd, const char *ifname, bool first)
{
    struct ifreq request = {0};
    memcpy(request.ifr_name, ifname, strnlen(ifname, IFNAMSIZ - 1));
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE | IFF_VNET_HDR;
    /* A device that is there already belongs to someone else. */
    if (first)
        request.ifr_flags = (short)(request.ifr_flags | IFF_TUN_EXCL);
    int retries = first ? BUSY_RETRIES : 0;
    while (ioctl(fd, TUNSETIFF, &request) < 0) {
        if (errno != EBUSY || retries-- == 0)
            return errno;
        nanosleep(&(struct timespec){.tv_nsec = BUSY_RETRY_NS}, NULL);
    }
    return 0;
}

static void *map_buffers(void)
{
    void *mem =
        mmap(NULL, BURST * BUF_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED)
        return NULL;
    /* Small frames must not fault; memory for large ones is taken when they come. */
    for (size_t i = 0; i < BURST; i++)
        *((volatile uint8_t *)mem + i * BUF_BYTES + FRAME_OFFSET) = 0;
    return mem;
}

static qs_err open_queue(struct tap *t, bool no_offload, struct qs_diag *diag)
{
    const char *ifname = t->base.ifname;
    struct tap_queue *q = &t->queues[t->n_open];
    qs_err err = open_tun(&q->fd, diag);
    if (err)
        return err;
    bool first = t->n_open++ == 0;
    int errnum = attach_queue(q->fd, ifname, first);
    if (errnum)
        return fail_to_make(ifname, errnum, diag);
    int header_bytes = VNET_BYTES;
    unsigned int offloads = no_offload ? 0 : TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    if (ioctl(q->fd, TUNSETVNETHDRSZ, &header_bytes) < 0 ||
        ioctl(q->fd, TUNSETOFFLOAD, offloads) < 0)
        return qs_fail(diag, qs_err_of_errno(errno), "cannot set the offloads of the TAP %s: %s",
                       ifname, strerror(errno));
    q->rx_mem = map_buffers();
    q->tx_mem = map_buffers();
    if (!q->rx_mem || !q->tx_mem)
        return qs_fail(diag, QS_ERR_NOMEM, "out of memory for the buffers of the TAP %s", ifname);
    return QS_OK;
}

/* Best effort: without it an address of the kernel's side is usable a second later. */
static void skip_address_detection(const char *ifname)
{
    char path[64 + IFNAMSIZ];
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/accept_dad", ifname);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "0", 1) < 0)
        (void)errno;
    close(fd);
}

static qs_err set_up_host_side(const char *ifname, const struct qs_driver_opts *o, uint32_t mtu,
                               struct qs_diag *diag)
{
    skip_address_detection(ifname);
    qs_err err = qs_iface_up(ifname, mtu, diag);
    if (!err && o->host_addr4)
        err = qs_iface_addr_add(ifname, o->host_addr4, diag);
    if (!err && o->host_addr6)
        err = qs_iface_addr_add(ifname, o->host_addr6, diag);
    return err;
}

/* A random address of our own, which the kernel's side does not have. */
static qs_err choose_mac(uint8_t mac[6], const uint8_t kernels[6], struct qs_diag *diag)
{
    if (getrandom(mac, 6, 0) != 6)
        return qs_fail(diag, QS_ERR_SYS, "no random bytes for a MAC address: %s", strerror(errno));
    mac[0] = (uint8_t)((mac[0] & 0xfc) | 0x02); /* locally administered, unicast */
    if (memcmp(mac, kernels, 6) == 0)
        mac[5] ^= 1;
    return QS_OK;
}

static qs_err steer_by_program(struct tap *t, struct qs_diag *diag)
{
    qs_err err = qs_steer_open(&t->steer, QS_STEER_TAP, t->base.caps.n_queues, diag);
    if (err)
        return err;
    int steering = qs_steer_prog_fd(t->steer), filter = qs_steer_filter_fd(t->steer);
    int fd = t->queues[0].fd;
    if (ioctl(fd, TUNSETSTEERINGEBPF, &steering) < 0 || ioctl(fd, TUNSETFILTEREBPF, &filter) < 0)
        return qs_fail(diag, qs_err_of_errno(errno), "%s does not take a steering program: %s",
                       t->base.ifname, strerror(errno));
    t->base.softnic = qs_steer_softnic(t->steer);
    return qs_softnic_server_start(&t->server, t->base.softnic, t->base.ifname, "tap", diag);
}

/* The software NIC, or the kernel's own steering where BPF is not allowed. */
static qs_err set_steering(struct tap *t, struct qs_diag *diag)
{
    const char *mode = "tap";
    qs_err err = steer_by_program(t, diag);
    if ((err == QS_ERR_PERM || err == QS_ERR_NOTSUP) && !t->base.softnic) {
        qs_steer_close(t->steer);
        t->steer = NULL;
        mode = "tap, RX follows TX";
        err = QS_OK;
    }
    snprintf(t->base.caps.mode, sizeof t->base.caps.mode, "%s", mode);
    return err;
}

static void set_caps(struct qs_driver_caps *caps, const struct qs_driver_opts *o, uint32_t mtu)
{
    caps->n_queues = o->n_queues;
    caps->mtu = mtu;
    caps->offloads = o->no_offload ? 0 : QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO;
    caps->gso_max_bytes = o->no_offload ? 0 : GSO_FRAME_BYTES_MAX;
    caps->rx_csum = !o->no_offload;
}

static qs_err check_name_is_free(const char *ifname, struct qs_diag *diag)
{
    struct qs_iface iface;
    /* A TAP may be on its way out: attach_queue() waits for it. */
    if (qs_iface_read(&iface, ifname, NULL) == QS_OK && strcmp(iface.driver, "tun") != 0)
        return qs_fail(diag, QS_ERR_BUSY,
                       "the interface %s exists already and is no TAP; choose another name",
                       ifname);
    return QS_OK;
}

static qs_err check_opts(const struct qs_driver_opts *o, struct qs_diag *diag)
{
    if (!o->ifname || !*o->ifname || strlen(o->ifname) >= IFNAMSIZ)
        return qs_fail(diag, QS_ERR_ARG, "\"%s\" is no name for an interface: 1 to %d characters",
                       o->ifname ? o->ifname : "", IFNAMSIZ - 1);
    if (o->n_queues < 1 || o->n_queues > QS_N_QUEUES_MAX)
        return qs_fail(diag, QS_ERR_ARG, "%u queues for the TAP %s: 1 to %u are possible",
                       o->n_queues, o->ifname, QS_N_QUEUES_MAX);
    return check_name_is_free(o->ifname, diag);
}

static void tap_close(struct qs_driver *d)
{
    struct tap *t = (struct tap *)d;
    if (!t)
        return;
    qs_softnic_server_stop(t->server);
    for (uint32_t i = 0; i < t->n_open; i++) {
        struct tap_queue *q = &t->queues[i];
        close(q->fd);
        if (q->rx_mem)
            munmap(q->rx_mem, BURST * BUF_BYTES);
        if (q->tx_mem)
            munmap(q->tx_mem, BURST * BUF_BYTES);
    }
    qs_steer_close(t->steer);
    free(t);
}

static qs_err open_device(struct tap *t, const struct qs_driver_opts *o, struct qs_diag *diag)
{
    qs_err err = QS_OK;
    while (!err && t->n_open < o->n_queues)
        err = open_queue(t, o->no_offload, diag);
    if (!err)
        err = set_steering(t, diag);
    if (!err)
        err = set_up_host_side(o->ifname, o, t->base.caps.mtu, diag);
    struct qs_iface iface;
    if (!err)
        err = qs_iface_read(&iface, o->ifname, diag);
    if (!err)
        err = choose_mac(t->base.caps.mac, iface.mac, diag);
    return err;
}

static qs_err tap_open(struct qs_driver **out, const struct qs_driver_opts *o, struct qs_diag *diag)
{
    *out = NULL;
    qs_err err = check_opts(o, diag);
    if (err)
        return err;
    size_t bytes = sizeof(struct tap) + o->n_queues * sizeof(struct tap_queue);
    struct tap *t = aligned_alloc(_Alignof(struct tap), bytes);
    if (!t)
        return qs_fail(diag, QS_ERR_NOMEM, "out of memory for the TAP %s", o->ifname);
    memset(t, 0, bytes);
    t->base.ops = &qs_driver_tap;
    snprintf(t->base.ifname, sizeof t->base.ifname, "%s", o->ifname);
    set_caps(&t->base.caps, o, o->mtu ? o->mtu : DEFAULT_MTU);
    err = open_device(t, o, diag);
    if (err) {
        tap_close(&t->base);
        return err;
    }
    *out = &t->base;
    return QS_OK;
}

/* --- frames ----------------------------------------------------------------------------------- */

static void describe_received(struct qs_frame *f, uint8_t *data, uint32_t len,
                              const struct virtio_net_hdr *vnet)
{
    *f = (struct qs_frame){.data = data, .len = len};
    /* A partial checksum was never sent over a wire: the kernel of this machine made it. */
    if (vnet->flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID))
        f->flags = QS_FRAME_CSUM_OK;
    if (vnet->gso_type != VIRTIO_NET_HDR_GSO_NONE)
        f->gso_bytes = vnet->gso_size;
}

/* Hot; watched by drv_echo. */
static size_t tap_rx(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t n)
{
    struct tap_queue *q = queue_of(d, queue);
    size_t got = 0;
    while (got < n && q->rx_lent < BURST) {
        uint8_t *data = q->rx_mem + q->rx_lent * BUF_BYTES + FRAME_OFFSET;
        ssize_t bytes = read(q->fd, data - VNET_BYTES, FRAME_BYTES_MAX + VNET_BYTES);
        if (bytes < 0) {
            /* EFAULT, EINVAL: a frame that does not fit its description; the kernel has dropped it.
             */
            q->stats.rx_bad += errno != EAGAIN && errno != EINTR && errno != EBADFD;
            break;
        }
        if ((size_t)bytes < VNET_BYTES + ETH_BYTES) {
            q->stats.rx_bad++;
            continue;
        }
        struct virtio_net_hdr vnet;
        memcpy(&vnet, data - VNET_BYTES, sizeof vnet);
        describe_received(&frames[got++], data, (uint32_t)bytes - VNET_BYTES, &vnet);
        q->rx_lent++;
    }
    return got;
}

static void tap_rx_done(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t n)
{
    (void)frames;
    queue_of(d, queue)->rx_lent -= n;
}

static size_t tap_tx_reserve(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t n)
{
    struct tap_queue *q = queue_of(d, queue);
    if (n > BURST - q->tx_lent)
        n = BURST - q->tx_lent;
    for (size_t i = 0; i < n; i++)
        frames[i] = (struct qs_frame){
            .data = q->tx_mem + (q->tx_lent + i) * BUF_BYTES + FRAME_OFFSET,
            .room = FRAME_BYTES_MAX,
        };
    q->tx_lent += n;
    return n;
}

static bool is_ipv6(const uint8_t *frame)
{
    return frame[12] == 0x86 && frame[13] == 0xdd;
}

/* The kernel checks what stands here: a wrong header makes write() fail, nothing worse. */
static void describe_to_send(struct virtio_net_hdr_mrg_rxbuf *out, const struct qs_frame *f)
{
    *out = (struct virtio_net_hdr_mrg_rxbuf){0};
    if (!(f->flags & QS_FRAME_CSUM_PARTIAL))
        return;
    out->hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    out->hdr.csum_start = f->csum_start;
    out->hdr.csum_offset = f->csum_offset;
    if (!(f->flags & QS_FRAME_GSO))
        return;
    uint32_t tcp_header_bytes = (uint32_t)(f->data[f->csum_start + 12] >> 4) * 4;
    out->hdr.gso_type = is_ipv6(f->data) ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
    out->hdr.gso_size = f->gso_bytes;
    out->hdr.hdr_len = (uint16_t)(f->csum_start + tcp_header_bytes);
}

/* Hot; watched by drv_echo. The kernel's receive path runs inside write(). */
static void tap_tx_commit(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t lent,
                          size_t used)
{
    struct tap_queue *q = queue_of(d, queue);
    for (size_t i = 0; i < used; i++) {
        struct qs_frame *f = &frames[i];
        struct virtio_net_hdr_mrg_rxbuf vnet;
        describe_to_send(&vnet, f);
        uint8_t *start = f->data - VNET_BYTES;
        memcpy(start, &vnet, sizeof vnet);
        q->stats.tx_lost += write(q->fd, start, f->len + VNET_BYTES) < 0;
    }
    q->stats.kicks += used;
    q->tx_lent -= lent;
}

static int tap_fd(const struct qs_driver *d, uint32_t queue)
{
    return ((const struct tap *)d)->queues[queue].fd;
}

/* The descriptor is readable as long as frames wait in the kernel, and none wait here. */
static bool tap_arm(struct qs_driver *d, uint32_t queue)
{
    (void)d;
    (void)queue;
    return false;
}

static void tap_stats(const struct qs_driver *d, uint32_t queue, struct qs_driver_stats *out)
{
    *out = ((const struct tap *)d)->queues[queue].stats;
}

/* Every frame is ours: there is nothing to take from the kernel. */
static qs_err tap_claim(struct qs_driver *d, const qs_addr *addr, uint16_t port,
                        struct qs_diag *diag)
{
    (void)d;
    (void)addr;
    (void)port;
    (void)diag;
    return QS_OK;
}

static void tap_unclaim(struct qs_driver *d, const qs_addr *addr, uint16_t port)
{
    (void)d;
    (void)addr;
    (void)port;
}

const struct qs_driver_ops qs_driver_tap = {
    .name = "tap",
    .open = tap_open,
    .close = tap_close,
    .rx = tap_rx,
    .rx_done = tap_rx_done,
    .tx_reserve = tap_tx_reserve,
    .tx_commit = tap_tx_commit,
    .fd = tap_fd,
    .arm = tap_arm,
    .stats = tap_stats,
    .claim = tap_claim,
    .unclaim = tap_unclaim,
};
