/* SPDX-License-Identifier: Apache-2.0 */
/* The four rings that an AF_XDP socket shares with the kernel (linux/if_xdp.h): one side writes the
 * producer index, the other the consumer index, and both only grow. They are at most a ring apart:
 * an index of the kernel's that says otherwise is not believed, and counted in `bad`. */
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

/* `distance` of two indexes, or `instead` when it cannot be. */
static inline uint32_t xsk_ring_checked(const struct xsk_ring *r, uint32_t distance,
                                        uint32_t instead, uint64_t *bad)
{
    if (distance <= r->mask + 1)
        return distance;
    (*bad)++;
    return instead;
}

/* Entries that the kernel has produced and we have not consumed. */
static inline uint32_t xsk_ring_filled(struct xsk_ring *r, uint64_t *bad)
{
    r->other = __atomic_load_n(r->producer, __ATOMIC_ACQUIRE);
    return xsk_ring_checked(r, r->other - r->own, 0, bad);
}

static inline void xsk_ring_consume(struct xsk_ring *r, uint32_t n)
{
    r->own += n;
    __atomic_store_n(r->consumer, r->own, __ATOMIC_RELEASE);
}

/* Room for what we produce, at least `want` if there is. */
static inline uint32_t xsk_ring_room(struct xsk_ring *r, uint32_t want, uint64_t *bad)
{
    uint32_t size = r->mask + 1, used = r->own - r->other;
    if (used > size || size - used < want) {
        r->other = __atomic_load_n(r->consumer, __ATOMIC_ACQUIRE);
        used = xsk_ring_checked(r, r->own - r->other, size, bad);
    }
    return size - used;
}

static inline void xsk_ring_produce(struct xsk_ring *r, uint32_t n)
{
    r->own += n;
    __atomic_store_n(r->producer, r->own, __ATOMIC_RELEASE);
}

/* Entries that we have produced and the kernel has not consumed. */
static inline uint32_t xsk_ring_pending(const struct xsk_ring *r, uint64_t *bad)
{
    return xsk_ring_checked(r, r->own - __atomic_load_n(r->consumer, __ATOMIC_ACQUIRE), 0, bad);
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
