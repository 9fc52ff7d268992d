/* SPDX-License-Identifier: Apache-2.0 */
/* One AF_XDP queue: walks the rings that it shares with the kernel. It makes no socket and takes
 * rings as memory, so a test may play the kernel.
 *
 * What the rings say is looked at once and believed only as far as it can be true. Each chunk for
 * receiving is either the kernel's or ours, each piece of a unit for sending out or not: nothing is
 * taken twice, given back twice, or read or written outside the memory. What cannot be is counted
 * in qs_driver_stats.rx_bad and .ring_bad. A descriptor that names no chunk gives none back: which
 * one the kernel means is not known, and to guess would use one twice. For the same reason a chunk
 * that is named again after it was given back is believed to have been used again: the kernel says
 * what it received before it says what it took from the fill ring. */
#ifndef QS_IO_XSK_QUEUE_H
#define QS_IO_XSK_QUEUE_H

#include "io/driver.h"
#include "io/xsk_umem.h"

/* Frames that one call takes or sends at most. */
#define XSK_BURST 64u
/* The kernel joins at most this many pieces (MAX_SKB_FRAGS and the first). */
#define XSK_PIECES_MAX 18u
/* Units that a queue may hold besides those in its ring. */
#define XSK_UNIT_CACHE 128u

struct xsk_queue {
    int fd;
    struct xsk_umem *umem;
    struct xsk_ring rx, tx;
    bool copy;     /* one system call sends at most 32 descriptors, and at once */
    bool skipping; /* what comes first belongs to a frame of too many pieces */
    uint32_t frame_bytes_max;
    uint8_t *scratch; /* XSK_BURST frames to join pieces in, or NULL */
    uint64_t *held;   /* chunks of the frames that are lent */
    uint32_t n_held;
    uint32_t n_units; /* free units at hand */
    uint32_t units[XSK_UNIT_CACHE];
    struct qs_driver_stats stats;
} __attribute__((aligned(64)));

/* Takes the memory to hold and join frames of up to `frame_bytes_max`; with `multi_piece` they may
 * be longer than a chunk. QS_ERR_NOMEM. */
QS_MUST_CHECK qs_err xsk_queue_init(struct xsk_queue *q, uint32_t frame_bytes_max,
                                    bool multi_piece);
void xsk_queue_free(struct xsk_queue *q);

/* As the functions of qs_driver_ops with these names. */
size_t xsk_queue_rx(struct xsk_queue *q, struct qs_frame *frames, size_t n);
void xsk_queue_rx_done(struct xsk_queue *q);
size_t xsk_queue_tx_reserve(struct xsk_queue *q, struct qs_frame *frames, size_t n);
void xsk_queue_tx_commit(struct xsk_queue *q, struct qs_frame *frames, size_t lent, size_t used);
bool xsk_queue_arm(struct xsk_queue *q);

#endif
