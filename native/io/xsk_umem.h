/* SPDX-License-Identifier: Apache-2.0 */
/* The memory that AF_XDP sockets move frames in, with its fill and completion rings.
 *
 * Chunks for receiving circulate: fill ring, socket, driver, fill ring. The fill ring holds all of
 * them; those for which it says that it has no room wait until it has. The rest are units for
 * sending: as many chunks in a row as the largest frame needs, in which it is written in one piece
 * and then given to the kernel chunk by chunk.
 *
 * On a NIC each queue has its own. On veth all sockets share one, and the kernel's rings have one
 * producer and one consumer: `shared` ones take a spin lock, once per burst. */
#ifndef QS_IO_XSK_UMEM_H
#define QS_IO_XSK_UMEM_H

#include "io/xsk_ring.h"
#include "io/xsk_uapi.h"

/* Bytes before the frame in a unit for sending: metadata lies there, and the headers start a line.
 */
#define XSK_TX_HEADROOM 64u
/* The same in the chunks after the first: metadata never lies there, but the kernel wants its room.
 */
#define XSK_TX_GAP ((uint32_t)sizeof(struct xsk_tx_meta))
/* What the kernel keeps free before a received frame. */
#define XSK_RX_HEADROOM 256u

/* Sizes of a UMEM. */
struct xsk_sizes {
    uint32_t chunk_bytes;
    uint32_t unit_chunks; /* chunks of a unit for sending, at most 32 */
    uint32_t rx_chunks;
    uint32_t tx_units;
};

struct xsk_umem {
    uint8_t *mem;
    size_t bytes;
    struct xsk_sizes sizes;
    uint64_t tx_base; /* units start here, bytes from `mem` */
    uint32_t unit_bytes;
    bool tx_metadata; /* the kernel takes XDP_TX_METADATA */
    bool shared;
    bool locked;
    struct xsk_ring fill, completion;
    uint8_t *chunk_ours; /* of each chunk for receiving: the kernel does not have it */
    uint64_t *spare;     /* a stack of chunks that wait for room in the fill ring */
    uint32_t n_spare;
    uint32_t *free_units; /* a stack */
    uint32_t n_free;
    uint32_t *unit_out; /* chunks of each unit that the kernel has not completed, one bit each */
};

/* Maps and touches the memory. QS_ERR_NOMEM. */
QS_MUST_CHECK qs_err xsk_umem_init(struct xsk_umem *u, const struct xsk_sizes *sizes, bool shared);
void xsk_umem_free(struct xsk_umem *u);

/* Registers the memory at socket `fd`, which gets the fill and completion rings, and fills the
 * former.
 * @return 0 or -errno. */
QS_MUST_CHECK int xsk_umem_register(struct xsk_umem *u, int fd);

/* Gives the kernel all chunks for receiving, once, when there is a fill ring. */
void xsk_umem_fill(struct xsk_umem *u);

/* Takes the chunk that the kernel says `addr` lies in. @return false when it was not the kernel's.
 */
static inline bool xsk_umem_take_chunk(struct xsk_umem *u, uint64_t addr)
{
    if (addr >= u->tx_base)
        return false;
    uint8_t *ours = &u->chunk_ours[addr / u->sizes.chunk_bytes];
    if (u->shared) /* two queues may be told the same at once */
        return !__atomic_exchange_n(ours, 1, __ATOMIC_RELAXED);
    bool taken = !*ours;
    *ours = 1;
    return taken;
}

/* Gives `n` taken chunks back; `addrs` may point anywhere into them. What the indexes of the ring
 * say that cannot be is counted in `bad`. */
void xsk_umem_refill(struct xsk_umem *u, const uint64_t *addrs, uint32_t n, uint64_t *bad);

/* Is there something for xsk_umem_refill() to do without new chunks? */
static inline bool xsk_umem_has_spare(const struct xsk_umem *u)
{
    return __atomic_load_n(&u->n_spare, __ATOMIC_RELAXED) != 0;
}

/* Collects what was sent and takes up to `n` free units. Completions of what was not out are
 * counted in `bad`. @return units written to `units`. */
uint32_t xsk_umem_take_units(struct xsk_umem *u, uint32_t *units, uint32_t n, uint64_t *bad);

/* Bytes of the longest frame that fits a unit. */
static inline uint32_t xsk_unit_room(const struct xsk_sizes *s)
{
    return s->unit_chunks * (s->chunk_bytes - XSK_TX_GAP) - (XSK_TX_HEADROOM - XSK_TX_GAP);
}

/* First byte for a frame in a unit. */
static inline uint64_t xsk_unit_addr(const struct xsk_umem *u, uint32_t unit)
{
    return u->tx_base + (uint64_t)unit * u->unit_bytes + XSK_TX_HEADROOM;
}

/* Makes a ring of `n` entries (a power of two) at `fd` and maps it; `which` is XDP_RX_RING and so
 * on.
 * @return 0 or -errno. */
QS_MUST_CHECK int xsk_ring_map(struct xsk_ring *r, int fd, int which, uint32_t n);
void xsk_ring_unmap(struct xsk_ring *r);

#endif
