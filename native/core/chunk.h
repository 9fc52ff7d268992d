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
    uint32_t next;  /* index or QS_NO_IDX */
    uint16_t start; /* first valid octet in `data` */
    uint16_t len;   /* valid octets */
    qs_seq seq;     /* out-of-order queue: of the first valid octet */
    uint32_t reserved;
    uint8_t data[QS_CHUNK_BYTES];
};

_Static_assert(sizeof(struct qs_chunk) == 2048, "a chunk is half a page");

struct qs_chunk_pool {
    struct qs_chunk *chunks;
    uint32_t n, fresh; /* those from `fresh` on were never used: their memory is untouched */
    uint32_t free;     /* list of used and freed ones */
    uint32_t used;
};

void qs_chunk_pool_init(struct qs_chunk_pool *p, struct qs_chunk *chunks, uint32_t n);

/* What each use leaves free, so that what must go on can: octets in order end up with the
 * application, which gives them back; octets ahead of a hole only wait, and written ones wait for
 * the peer. */
static inline uint32_t qs_reserve_ahead(const struct qs_chunk_pool *p)
{
    return p->n / 8;
}

static inline uint32_t qs_reserve_write(const struct qs_chunk_pool *p)
{
    return p->n / 4;
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

/* Copies up to `len` octets to the end, as long as more than `reserve` chunks stay free. @return
 * octets copied. */
size_t qs_bytes_append(struct qs_chunk_pool *p, struct qs_bytes *b, const uint8_t *data, size_t len,
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
