/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that the two ends of a wire share: for each (sending queue, receiving queue) one ring of
 * frame descriptors there and one ring of slots back; and for each sending queue a pool of frame
 * slots.
 *
 * Each ring has one writer and one reader and as many entries as the pool has slots, so it is never
 * full and only its writer's index is shared. Whatever is read from here may be nonsense that a
 * broken peer wrote: indexes and lengths are checked before use. */
#ifndef QS_IO_PAIR_WIRE_H
#define QS_IO_PAIR_WIRE_H

#include "io/softnic.h"
#include "qstack/qs_stack.h"

#include <stdalign.h>
#include <stdatomic.h>

#define QS_WIRE_SLOTS 512u

struct qs_wire_desc {
    uint32_t slot;
    uint32_t len;
    uint32_t hash;
    uint16_t flags;     /* QS_FRAME_HASH, QS_FRAME_CSUM_OK */
    uint16_t gso_bytes; /* of a frame that was to be cut, else 0 */
    uint64_t due_ns;    /* not to be received before; 0: at once */
};

struct qs_wire_path {
    alignas(64) _Atomic uint32_t sent; /* descriptors ever written, modulo 2^32 */
    alignas(64) _Atomic uint32_t returned;
    alignas(64) struct qs_wire_desc desc[QS_WIRE_SLOTS];
    alignas(64) uint32_t slot[QS_WIRE_SLOTS]; /* on their way back */
};

/* A receiving queue that sleeps, or is about to. */
struct qs_wire_sleeper {
    alignas(64) _Atomic uint32_t asleep;
};

struct qs_wire_shape {
    uint32_t n_queues[2]; /* of side 0 and side 1 */
    uint32_t slot_bytes;
};

/* One process's view of a wire between two ends. */
struct qs_wire {
    struct qs_wire_shape shape;
    uint8_t *mem;
    size_t bytes;
    size_t paths_at[2], pools_at[2]; /* offsets, by the sending side */
    struct qs_softnic *peer_nic;
    int peer_event[QS_N_QUEUES_MAX]; /* wakes the peer's receiving queues */
    uint32_t users;                  /* under the lock of its qs_pair_link */
};

/* Slot size for frames of up to `frame_bytes`: odd in cache lines, so that slots spread over the
 * cache's sets. */
uint32_t qs_wire_slot_bytes(uint32_t frame_bytes);

/* Makes the memory for a wire: a memfd that cannot change its size. QS_ERR_NOMEM or QS_ERR_SYS. */
QS_MUST_CHECK qs_err qs_wire_create(int *out_fd, const struct qs_wire_shape *shape,
                                    struct qs_diag *diag);

/* Makes a sealed memfd of `bytes`, for one thing that the peer maps. */
QS_MUST_CHECK qs_err qs_wire_memfd(int *out_fd, const char *name, size_t bytes,
                                   struct qs_diag *diag);

/* Maps all `bytes` of a sealed memfd, or NULL; refuses one that is shorter or could be cut short.
 */
void *qs_wire_map(int fd, size_t bytes);

/* Maps a wire; takes the descriptors `peer_events`, one for each queue of the peer, also on error.
 * QS_ERR_NOMEM or QS_ERR_SYS. */
QS_MUST_CHECK qs_err qs_wire_open(struct qs_wire **out, int wire_fd, int peer_nic_fd,
                                  const struct qs_wire_shape *shape, const int *peer_events,
                                  uint32_t n_peer_events);
void qs_wire_close(struct qs_wire *w);

/* From queue `tx` of side `side` to queue `rx` of the other one. */
static inline struct qs_wire_path *qs_wire_path(const struct qs_wire *w, uint32_t side, uint32_t tx,
                                                uint32_t rx)
{
    size_t idx = (size_t)tx * w->shape.n_queues[1 - side] + rx;
    return (struct qs_wire_path *)(void *)(w->mem + w->paths_at[side]) + idx;
}

/* Frame slot in the pool of queue `tx` of side `side`. */
static inline uint8_t *qs_wire_slot(const struct qs_wire *w, uint32_t side, uint32_t tx,
                                    uint32_t slot)
{
    size_t idx = (size_t)tx * QS_WIRE_SLOTS + slot;
    return w->mem + w->pools_at[side] + idx * w->shape.slot_bytes;
}

/* Queue `rx` of side `side` as a sleeper. */
static inline struct qs_wire_sleeper *qs_wire_sleeper(const struct qs_wire *w, uint32_t side,
                                                      uint32_t rx)
{
    return (struct qs_wire_sleeper *)(void *)w->mem + side * QS_N_QUEUES_MAX + rx;
}

#endif
