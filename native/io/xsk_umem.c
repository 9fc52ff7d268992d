/* SPDX-License-Identifier: Apache-2.0 */
#include "io/xsk_umem.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "io/xsk_uapi.h"

/* Turns of the lock before the core is given away: its holder may not be running. */
#define SPINS_MAX 200

static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void lock(struct xsk_umem *u)
{
    if (!u->shared)
        return;
    for (int spins = 0; __atomic_test_and_set(&u->locked, __ATOMIC_ACQUIRE); spins++) {
        if (spins < SPINS_MAX)
            cpu_relax();
        else
            sched_yield();
    }
}

static void unlock(struct xsk_umem *u)
{
    if (u->shared)
        __atomic_clear(&u->locked, __ATOMIC_RELEASE);
}

static uint32_t pow2_above(uint32_t n)
{
    uint32_t p = 1;
    while (p < n)
        p <<= 1;
    return p;
}

/* --- rings ------------------------------------------------------------------------------------ */

/* Where a ring of each kind is to be found. */
static off_t ring_page_offset(int which)
{
    switch (which) {
    case XDP_RX_RING:
        return XDP_PGOFF_RX_RING;
    case XDP_TX_RING:
        return XDP_PGOFF_TX_RING;
    case XDP_UMEM_FILL_RING:
        return (off_t)XDP_UMEM_PGOFF_FILL_RING;
    default:
        return (off_t)XDP_UMEM_PGOFF_COMPLETION_RING;
    }
}

static const struct xdp_ring_offset *ring_offsets(const struct xdp_mmap_offsets *all, int which)
{
    switch (which) {
    case XDP_RX_RING:
        return &all->rx;
    case XDP_TX_RING:
        return &all->tx;
    case XDP_UMEM_FILL_RING:
        return &all->fr;
    default:
        return &all->cr;
    }
}

int xsk_ring_map(struct xsk_ring *r, int fd, int which, uint32_t n)
{
    struct xdp_mmap_offsets all;
    socklen_t len = sizeof all;
    if (setsockopt(fd, SOL_XDP, which, &n, sizeof n) < 0 ||
        getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &all, &len) < 0)
        return -errno;
    if (len != sizeof all)
        return -EOPNOTSUPP; /* a kernel before 5.4: no flags in the rings */
    const struct xdp_ring_offset *off = ring_offsets(&all, which);
    bool of_descs = which == XDP_RX_RING || which == XDP_TX_RING;
    size_t entry_bytes = of_descs ? sizeof(struct xdp_desc) : sizeof(uint64_t);
    r->map_bytes = off->desc + n * entry_bytes;
    uint8_t *map = mmap(NULL, r->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
                        ring_page_offset(which));
    if (map == MAP_FAILED)
        return -errno;
    r->map = map;
    r->producer = (uint32_t *)(map + off->producer);
    r->consumer = (uint32_t *)(map + off->consumer);
    r->flags = (uint32_t *)(map + off->flags);
    r->entries = map + off->desc;
    r->mask = n - 1;
    return 0;
}

void xsk_ring_unmap(struct xsk_ring *r)
{
    if (r->map)
        munmap(r->map, r->map_bytes);
    *r = (struct xsk_ring){0};
}

/* --- memory ----------------------------------------------------------------------------------- */

qs_err xsk_umem_init(struct xsk_umem *u, const struct xsk_sizes *sizes, bool shared)
{
    *u = (struct xsk_umem){.sizes = *sizes, .shared = shared};
    u->unit_bytes = sizes->chunk_bytes * sizes->unit_chunks;
    u->tx_base = (uint64_t)sizes->rx_chunks * sizes->chunk_bytes;
    u->bytes = u->tx_base + (size_t)sizes->tx_units * u->unit_bytes;
    /* Populated: a page fault on the packet path costs as much as a packet. */
    void *mem = mmap(NULL, u->bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    u->mem = mem == MAP_FAILED ? NULL : mem;
    u->free_units = calloc(sizes->tx_units, sizeof *u->free_units);
    u->unit_out = calloc(sizes->tx_units, sizeof *u->unit_out);
    u->chunk_ours = malloc(sizes->rx_chunks);
    u->spare = malloc(sizes->rx_chunks * sizeof *u->spare);
    if (!u->mem || !u->free_units || !u->unit_out || !u->chunk_ours || !u->spare) {
        xsk_umem_free(u);
        return QS_ERR_NOMEM;
    }
    memset(u->chunk_ours, 1, sizes->rx_chunks);
    while (u->n_free < sizes->tx_units) {
        u->free_units[u->n_free] = u->n_free;
        u->n_free++;
    }
    return QS_OK;
}

void xsk_umem_free(struct xsk_umem *u)
{
    xsk_ring_unmap(&u->fill);
    xsk_ring_unmap(&u->completion);
    if (u->mem)
        munmap(u->mem, u->bytes);
    free(u->free_units);
    free(u->unit_out);
    free(u->chunk_ours);
    free(u->spare);
    *u = (struct xsk_umem){0};
}

static int register_memory(struct xsk_umem *u, int fd)
{
    struct xsk_umem_reg reg = {
        .addr = (uintptr_t)u->mem,
        .len = u->bytes,
        .chunk_size = u->sizes.chunk_bytes,
        .flags = XSK_UMEM_TX_METADATA_LEN,
        .tx_metadata_len = sizeof(struct xsk_tx_meta),
    };
    u->tx_metadata = true;
    if (setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof reg) == 0)
        return 0;
    /* A kernel before 6.11 does not know the flag. */
    reg.flags = reg.tx_metadata_len = 0;
    u->tx_metadata = false;
    return setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof reg) == 0 ? 0 : -errno;
}

int xsk_umem_register(struct xsk_umem *u, int fd)
{
    int status = register_memory(u, fd);
    if (!status)
        status = xsk_ring_map(&u->fill, fd, XDP_UMEM_FILL_RING, pow2_above(u->sizes.rx_chunks));
    if (!status)
        status = xsk_ring_map(&u->completion, fd, XDP_UMEM_COMPLETION_RING,
                              pow2_above(u->sizes.tx_units * u->sizes.unit_chunks));
    if (!status)
        xsk_umem_fill(u);
    return status;
}

/* --- chunks ----------------------------------------------------------------------------------- */

/* Not yet seen by the kernel: xsk_ring_produce() shows it. */
static void put_chunk(struct xsk_umem *u, uint64_t addr)
{
    __atomic_store_n(&u->chunk_ours[addr / u->sizes.chunk_bytes], 0, __ATOMIC_RELAXED);
    *xsk_ring_addr(&u->fill, u->fill.own++) = addr & ~(uint64_t)(u->sizes.chunk_bytes - 1);
}

void xsk_umem_fill(struct xsk_umem *u)
{
    for (uint32_t i = 0; i < u->sizes.rx_chunks; i++)
        put_chunk(u, (uint64_t)i * u->sizes.chunk_bytes);
    xsk_ring_produce(&u->fill, 0);
}

void xsk_umem_refill(struct xsk_umem *u, const uint64_t *addrs, uint32_t n, uint64_t *bad)
{
    lock(u);
    uint32_t n_spare = u->n_spare, room = xsk_ring_room(&u->fill, n + n_spare, bad);
    for (uint32_t i = 0; i < n; i++) {
        if (room) {
            put_chunk(u, addrs[i]);
            room--;
        } else {
            u->spare[n_spare++] = addrs[i];
        }
    }
    for (; room && n_spare; room--)
        put_chunk(u, u->spare[--n_spare]);
    __atomic_store_n(&u->n_spare, n_spare, __ATOMIC_RELAXED);
    xsk_ring_produce(&u->fill, 0);
    unlock(u);
}

/* --- units ------------------------------------------------------------------------------------ */

/* Notes that the kernel is done with the piece of a unit at `addr`. @return false when it cannot
 * be. */
static bool complete(struct xsk_umem *u, uint64_t addr)
{
    uint64_t unit = (addr - u->tx_base) / u->unit_bytes;
    if (addr < u->tx_base || unit >= u->sizes.tx_units)
        return false;
    uint64_t chunk = (addr - u->tx_base) % u->unit_bytes / u->sizes.chunk_bytes;
    uint32_t piece = 1u << chunk;
    if (!(u->unit_out[unit] & piece))
        return false;
    u->unit_out[unit] &= ~piece;
    if (!u->unit_out[unit])
        u->free_units[u->n_free++] = (uint32_t)unit;
    return true;
}

/* A unit is free when the kernel is done with each of its pieces. */
static void collect_completions(struct xsk_umem *u, uint64_t *bad)
{
    uint32_t n = xsk_ring_filled(&u->completion, bad);
    for (uint32_t i = 0; i < n; i++)
        *bad += !complete(u, *xsk_ring_addr(&u->completion, u->completion.own + i));
    if (n)
        xsk_ring_consume(&u->completion, n);
}

uint32_t xsk_umem_take_units(struct xsk_umem *u, uint32_t *units, uint32_t n, uint64_t *bad)
{
    lock(u);
    collect_completions(u, bad);
    if (n > u->n_free)
        n = u->n_free;
    u->n_free -= n;
    memcpy(units, u->free_units + u->n_free, n * sizeof *units);
    unlock(u);
    return n;
}
