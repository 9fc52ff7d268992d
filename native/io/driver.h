/* SPDX-License-Identifier: Apache-2.0 */
/* What every driver offers: frames of one queue in bursts, without a copy where the device allows.
 * A queue is used by one thread at a time; the calls on the whole device (open, close, claim) come
 * from the control thread. */
#ifndef QS_IO_DRIVER_H
#define QS_IO_DRIVER_H

#include "qstack/qs_frame.h"
#include "qstack/qs_stack.h"

struct qs_softnic;

/* Settings of qs_driver_open(); strings are borrowed. */
struct qs_driver_opts {
    const char *ifname;
    uint32_t n_queues;
    uint32_t mtu;                        /* 0: the device's own */
    const char *host_addr4, *host_addr6; /* tap: given to the kernel's side, or NULL */
    uint32_t pair_side;                  /* pair: 0 makes the wire, 1 joins it */
    bool no_offload;
};

struct qs_driver_caps {
    char mode[24]; /* as qs_stack_info.mode */
    uint32_t n_queues;
    uint32_t mtu;
    uint32_t offloads;      /* QS_OFFLOAD_* */
    uint32_t gso_max_bytes; /* largest frame to send, bytes, 0 without QS_OFFLOAD_TSO */
    uint8_t mac[6];
    bool rx_csum;
    bool told_neighbours; /* the kernel resolves: QS_NEIGH_TOLD */
};

struct qs_driver;

/* What the engine never sees, counted since open. */
struct qs_driver_stats {
    uint64_t rx_bad;  /* received, but outside the memory or longer than the MTU: dropped */
    uint64_t rx_lost; /* dropped by the kernel before this queue: no buffer, or its ring was full */
    uint64_t tx_lost; /* refused by the device */
    /* Looks at indexes that were too far apart to be, and completions of what was not out. */
    uint64_t ring_bad;
    uint64_t kicks; /* system calls made to send */
};

struct qs_driver_ops {
    const char *name;

    /* Opens the device; `*out` is NULL on error and nothing is left behind. */
    qs_err (*open)(struct qs_driver **out, const struct qs_driver_opts *o, struct qs_diag *diag);
    void (*close)(struct qs_driver *d);

    /* Takes up to `n` received frames; they stay valid until rx_done() with the same count. */
    size_t (*rx)(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t n);
    void (*rx_done)(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t n);

    /* Lends up to `n` buffers to fill. tx_commit() sends the first `used` of them and takes the
     * others back; both always come in pairs. Fewer lent than asked: the device is full for now. */
    size_t (*tx_reserve)(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t n);
    void (*tx_commit)(struct qs_driver *d, uint32_t queue, struct qs_frame *frames, size_t lent,
                      size_t used);

    /* A descriptor that polls readable when rx() has frames. */
    int (*fd)(const struct qs_driver *d, uint32_t queue);
    /* Called before the worker sleeps on fd(): arms the wake-up. Returns true when frames are there
     * already and it must not sleep. */
    bool (*arm)(struct qs_driver *d, uint32_t queue);

    /* Counters of one queue; may be NULL. */
    void (*stats)(const struct qs_driver *d, uint32_t queue, struct qs_driver_stats *out);

    /* Takes `port` (host byte order; any local address if `addr` is all zero) from the kernel, or
     * gives it back. Drivers that own every frame do nothing. */
    qs_err (*claim)(struct qs_driver *d, const qs_addr *addr, uint16_t port, struct qs_diag *diag);
    void (*unclaim)(struct qs_driver *d, const qs_addr *addr, uint16_t port);
};

/* First member of every driver's own struct. */
struct qs_driver {
    const struct qs_driver_ops *ops;
    struct qs_driver_caps caps;
    struct qs_softnic *softnic; /* NULL on a NIC with hardware of its own */
    char ifname[32];
};

extern const struct qs_driver_ops qs_driver_tap, qs_driver_xsk, qs_driver_pair;

/* Driver by name, or NULL. */
const struct qs_driver_ops *qs_driver_find(const char *name);

#endif
