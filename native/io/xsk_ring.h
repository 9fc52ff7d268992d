/* SPDX-License-Identifier: Apache-2.0 */
/* The four rings that an AF_XDP socket shares with the kernel (linux/if_xdp.h): one side writes the
 * producer index, the other the consumer index, and both only grow. */
#ifndef QS_IO_XSK_RING_H
#define QS_IO_XSK_RING_H

#include <linux/if_xdp.h>

#include "qstack/qs_base.h"

struct xsk_ring {
    uint32_t *producer, *consumer, *flags; /* shared with the kernel */
    void *entries;
    uint32_t mask;
    uint32_t own;   /* our index: producer of fill and TX, consumer of RX and completion */
    uint32_t other; /* the kernel's index as last read */
    void *map;
    size_t map_bytes;
};

/* Entries that the kernel has produced and we have not consumed. */
static inline uint32_t xsk_ring_filled(struct xsk_ring *r)
{
    r->other = __atomic_load_n(r->producer, __ATOMIC_ACQUIRE);
    return r->other - r->own;
}

static inline void xsk_ring_consume(struct xsk_ring *r, uint32_t n)
{
    r->own += n;
    __atomic_store_n(r->consumer, r->own, __ATOMIC_RELEASE);
}

/* Room for what we produce, at least `want` if there is. */
static inline uint32_t xsk_ring_room(struct xsk_ring *r, uint32_t want)
{
    uint32_t size = r->mask + 1;
    if (size - (r->own - r->other) < want)
        r->other = __atomic_load_n(r->consumer, __ATOMIC_ACQUIRE);
    return size - (r->own - r->other);
}

static inline void xsk_ring_produce(struct xsk_ring *r, uint32_t n)
{
    r->own += n;
    __atomic_store_n(r->producer, r->own, __ATOMIC_RELEASE);
}

/* Entries that we have produced and the kernel has not consumed. */
static inline uint32_t xsk_ring_pending(const struct xsk_ring *r)
{
    return r->own - __atomic_load_n(r->consumer, __ATOMIC_ACQUIRE);
}

static inline bool xsk_ring_needs_wakeup(const struct xsk_ring *r)
{
    return (__atomic_load_n(r->flags, __ATOMIC_RELAXED) & XDP_RING_NEED_WAKEUP) != 0;
}

static inline struct xdp_desc *xsk_ring_desc(const struct xsk_ring *r, uint32_t idx)
{
    return (struct xdp_desc *)r->entries + (idx & r->mask);
}

static inline uint64_t *xsk_ring_addr(const struct xsk_ring *r, uint32_t idx)
{
    return (uint64_t *)r->entries + (idx & r->mask);
}

#endif
