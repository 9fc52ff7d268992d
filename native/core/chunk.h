/* SPDX-License-Identifier: Apache-2.0 */
/* Buffer chunks: 2 KiB blocks from one pool, linked by index into byte queues. A connection without
 * bytes holds none. The last freed chunk is the next one taken, so that a busy engine works on warm
 * memory. */
#ifndef QS_CORE_CHUNK_H
#define QS_CORE_CHUNK_H

#include "qstack/qs_conn.h"
#include "seq.h"
#include "timer_wheel.h"

struct qs_chunk {
    uint32_t next;    /* index or QS_NO_IDX */
    uint16_t start;   /* first valid octet in `data` */
    uint16_t len;     /* valid octets */
    qs_seq seq;       /* out-of-order queue: of the first valid octet */
    uint32_t written; /* 1: octets to be sent */
    uint8_t data[QS_CHUNK_BYTES];
};

_Static_assert(sizeof(struct qs_chunk) == 2048, "a chunk is half a page");

struct qs_chunk_pool {
    struct qs_chunk *chunks;
    uint32_t n, fresh; /* those from `fresh` on were never used: their memory is untouched */
    uint32_t free;     /* list of used and freed ones */
    uint32_t used;
    uint32_t written; /* of them, with octets to be sent */
};

void qs_chunk_pool_init(struct qs_chunk_pool *p, struct qs_chunk *chunks, uint32_t n);

/* What each use leaves free, besides `floor`, which more urgent classes have for sure. Received
 * octets wait for the application and written ones for the peer, and either may have to go on
 * before the other can: each finds a quarter, whatever the other has taken, and who writes the last
 * few. Octets ahead of a hole only wait. */
static inline uint32_t qs_reserve_write(const struct qs_chunk_pool *p, uint32_t floor)
{
    uint32_t received = p->used - p->written;
    return floor + (received < p->n / 4 ? p->n / 4 - received : 0);
}

static inline uint32_t qs_reserve_read(const struct qs_chunk_pool *p, uint32_t floor)
{
    uint32_t least = p->n / 32;
    return floor + (p->written + least < p->n / 4 ? p->n / 4 - p->written : least);
}

static inline uint32_t qs_reserve_ahead(const struct qs_chunk_pool *p, uint32_t floor)
{
    return qs_reserve_read(p, floor) + p->n / 8;
}

/* An empty chunk while more than `reserve` are free, else QS_NO_IDX. */
uint32_t qs_chunk_take(struct qs_chunk_pool *p, uint32_t reserve);
void qs_chunk_give(struct qs_chunk_pool *p, uint32_t idx);

/* Bytes in order. */
struct qs_bytes {
    uint32_t head, tail; /* chunks, QS_NO_IDX when empty */
    uint32_t len;        /* octets */
};

static inline void qs_bytes_init(struct qs_bytes *b)
{
    *b = (struct qs_bytes){QS_NO_IDX, QS_NO_IDX, 0};
}

/* Copies up to `len` octets to the end, as long as more than `reserve` chunks stay free; the second
 * form is for queues of octets to be sent. @return octets copied. */
size_t qs_bytes_append(struct qs_chunk_pool *p, struct qs_bytes *b, const uint8_t *data, size_t len,
                       uint32_t reserve);
size_t qs_bytes_write(struct qs_chunk_pool *p, struct qs_bytes *b, const uint8_t *data, size_t len,
                      uint32_t reserve);

/* Appends the valid octets of a chunk that the caller owns; the chunk is linked in or copied and
 * freed. */
void qs_bytes_append_chunk(struct qs_chunk_pool *p, struct qs_bytes *b, uint32_t idx);

/* Drops `len` <= b->len octets from the front. */
void qs_bytes_drop(struct qs_chunk_pool *p, struct qs_bytes *b, size_t len);

/* Drops everything. */
void qs_bytes_clear(struct qs_chunk_pool *p, struct qs_bytes *b);

/* A place inside the queue. It stays right while octets are appended, and dropped in front of it.
 */
struct qs_bytes_pos {
    uint32_t chunk; /* QS_NO_IDX: the queue was empty */
    uint32_t at;    /* octet of the chunk's `data` */
};

/* The place `offset` <= b->len octets from the front. */
struct qs_bytes_pos qs_bytes_find(const struct qs_chunk_pool *p, const struct qs_bytes *b,
                                  size_t offset);

/* The place `octets` behind `pos`, in the chunk that has the next one if there is one. */
struct qs_bytes_pos qs_bytes_skip(const struct qs_chunk_pool *p, struct qs_bytes_pos pos,
                                  uint32_t octets);

/* Copies the `len` octets from `pos` on to `to` and moves `pos` behind them; the second form also
 * adds them to a checksum. @return the new sum. */
void qs_bytes_copy(const struct qs_chunk_pool *p, struct qs_bytes_pos *pos, uint8_t *to,
                   size_t len);
uint64_t qs_bytes_copy_sum(const struct qs_chunk_pool *p, struct qs_bytes_pos *pos, uint8_t *to,
                           size_t len, uint64_t sum);

#endif
