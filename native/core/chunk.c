/* SPDX-License-Identifier: Apache-2.0 */
#include "chunk.h"

#include <string.h>

#include "checksum.h"

void qs_chunk_pool_init(struct qs_chunk_pool *p, struct qs_chunk *chunks, uint32_t n)
{
    *p = (struct qs_chunk_pool){.chunks = chunks, .n = n, .free = QS_NO_IDX};
}

uint32_t qs_chunk_take(struct qs_chunk_pool *p, uint32_t reserve)
{
    if (p->n - p->used <= reserve)
        return QS_NO_IDX;
    uint32_t idx = p->free;
    if (idx != QS_NO_IDX)
        p->free = p->chunks[idx].next;
    else
        idx = p->fresh++;
    p->used++;
    struct qs_chunk *c = &p->chunks[idx];
    c->next = QS_NO_IDX;
    c->start = 0;
    c->len = 0;
    c->written = 0;
    return idx;
}

void qs_chunk_give(struct qs_chunk_pool *p, uint32_t idx)
{
    p->written -= p->chunks[idx].written;
    p->chunks[idx].written = 0;
    p->chunks[idx].next = p->free;
    p->free = idx;
    p->used--;
}

static size_t room_at_end(const struct qs_chunk *c)
{
    return QS_CHUNK_BYTES - c->start - c->len;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void link_at_end(struct qs_chunk_pool *p, struct qs_bytes *b, uint32_t idx)
{
    p->chunks[idx].next = QS_NO_IDX;
    if (b->tail == QS_NO_IDX)
        b->head = idx;
    else
        p->chunks[b->tail].next = idx;
    b->tail = idx;
}

static size_t append(struct qs_chunk_pool *p, struct qs_bytes *b, const uint8_t *data, size_t len,
                     uint32_t reserve, uint32_t written)
{
    size_t done = 0;
    while (done < len) {
        if (b->tail == QS_NO_IDX || room_at_end(&p->chunks[b->tail]) == 0) {
            uint32_t idx = qs_chunk_take(p, reserve);
            if (idx == QS_NO_IDX)
                break;
            p->chunks[idx].written = written;
            p->written += written;
            link_at_end(p, b, idx);
        }
        struct qs_chunk *c = &p->chunks[b->tail];
        size_t n = min_size(len - done, room_at_end(c));
        memcpy(c->data + c->start + c->len, data + done, n);
        c->len = (uint16_t)(c->len + n);
        done += n;
    }
    b->len += (uint32_t)done;
    return done;
}

size_t qs_bytes_append(struct qs_chunk_pool *p, struct qs_bytes *b, const uint8_t *data, size_t len,
                       uint32_t reserve)
{
    return append(p, b, data, len, reserve, 0);
}

size_t qs_bytes_write(struct qs_chunk_pool *p, struct qs_bytes *b, const uint8_t *data, size_t len,
                      uint32_t reserve)
{
    return append(p, b, data, len, reserve, 1);
}

void qs_bytes_append_chunk(struct qs_chunk_pool *p, struct qs_bytes *b, uint32_t idx)
{
    /* Copied where it fits, so that a peer that sends single octets cannot make us hold a chunk for
     * each. */
    struct qs_chunk *c = &p->chunks[idx];
    b->len += c->len;
    if (b->tail != QS_NO_IDX && c->len <= room_at_end(&p->chunks[b->tail])) {
        struct qs_chunk *t = &p->chunks[b->tail];
        memcpy(t->data + t->start + t->len, c->data + c->start, c->len);
        t->len = (uint16_t)(t->len + c->len);
        qs_chunk_give(p, idx);
    } else {
        link_at_end(p, b, idx);
    }
}

void qs_bytes_drop(struct qs_chunk_pool *p, struct qs_bytes *b, size_t len)
{
    b->len -= (uint32_t)len;
    while (len > 0) {
        struct qs_chunk *c = &p->chunks[b->head];
        if (len < c->len) {
            c->start = (uint16_t)(c->start + len);
            c->len = (uint16_t)(c->len - len);
            return;
        }
        len -= c->len;
        uint32_t next = c->next;
        qs_chunk_give(p, b->head);
        b->head = next;
    }
    if (b->head == QS_NO_IDX)
        b->tail = QS_NO_IDX;
}

void qs_bytes_clear(struct qs_chunk_pool *p, struct qs_bytes *b)
{
    while (b->head != QS_NO_IDX) {
        uint32_t next = p->chunks[b->head].next;
        qs_chunk_give(p, b->head);
        b->head = next;
    }
    qs_bytes_init(b);
}

struct qs_bytes_pos qs_bytes_find(const struct qs_chunk_pool *p, const struct qs_bytes *b,
                                  size_t offset)
{
    uint32_t idx = b->head;
    if (idx == QS_NO_IDX)
        return (struct qs_bytes_pos){QS_NO_IDX, 0};
    /* The end of the last chunk is a place too: more may be appended there. */
    while (offset >= p->chunks[idx].len && p->chunks[idx].next != QS_NO_IDX) {
        offset -= p->chunks[idx].len;
        idx = p->chunks[idx].next;
    }
    return (struct qs_bytes_pos){idx, p->chunks[idx].start + (uint32_t)offset};
}

struct qs_bytes_pos qs_bytes_skip(const struct qs_chunk_pool *p, struct qs_bytes_pos pos,
                                  uint32_t octets)
{
    const struct qs_chunk *c = &p->chunks[pos.chunk];
    uint32_t left = (uint32_t)c->start + c->len - pos.at;
    while (octets >= left && c->next != QS_NO_IDX) {
        octets -= left;
        pos.chunk = c->next;
        c = &p->chunks[pos.chunk];
        pos.at = c->start;
        left = c->len;
    }
    pos.at += octets;
    return pos;
}

/* Next contiguous run at `pos`, at most `len` octets; moves `pos` behind it. */
static const uint8_t *next_run(const struct qs_chunk_pool *p, struct qs_bytes_pos *pos, size_t len,
                               size_t *run)
{
    const struct qs_chunk *c = &p->chunks[pos->chunk];
    while (pos->at == (uint32_t)c->start + c->len) {
        pos->chunk = c->next;
        c = &p->chunks[pos->chunk];
        pos->at = c->start;
    }
    *run = min_size(len, (size_t)c->start + c->len - pos->at);
    const uint8_t *data = c->data + pos->at;
    pos->at += (uint32_t)*run;
    return data;
}

uint64_t qs_bytes_copy_sum(const struct qs_chunk_pool *p, struct qs_bytes_pos *pos, uint8_t *to,
                           size_t len, uint64_t sum)
{
    const uint8_t *start = to;
    size_t run;
    while (len > 0) {
        const uint8_t *from = next_run(p, pos, len, &run);
        if ((size_t)(to - start) % 2 == 0) {
            sum = qs_csum_copy(sum, to, from, run);
        } else { /* a run that begins at an odd octet counts with its bytes swapped, RFC 1071
                    section 2 */
            uint16_t part = qs_csum_fold(qs_csum_copy(0, to, from, run));
            sum = qs_csum_join(sum, __builtin_bswap16(part));
        }
        to += run;
        len -= run;
    }
    return sum;
}

void qs_bytes_copy(const struct qs_chunk_pool *p, struct qs_bytes_pos *pos, uint8_t *to, size_t len)
{
    size_t run;
    while (len > 0) {
        const uint8_t *from = next_run(p, pos, len, &run);
        memcpy(to, from, run);
        to += run;
        len -= run;
    }
}
