/* SPDX-License-Identifier: Apache-2.0 */
/* Byte ring between one producing and one consuming thread. The memory is mapped twice in a row, so
 * that every record is contiguous. Nothing is signalled here: who sleeps and who wakes is the
 * caller's matter. */
#ifndef QS_RUNTIME_RING_H
#define QS_RUNTIME_RING_H

#include "qstack/qs_base.h"

/* Each side has a cache line of its own, with what it last saw of the other. */
struct qs_ring {
    uint8_t *data;
    size_t bytes; /* power of two, at least a page */

    _Alignas(64) uint64_t tail; /* producer: bytes published in all */
    uint64_t head_seen;

    _Alignas(64) uint64_t head; /* consumer: bytes given back in all */
    uint64_t tail_seen;
};

/* QS_ERR_NOMEM or QS_ERR_SYS; `bytes` is a power of two and a multiple of the page. */
QS_MUST_CHECK qs_err qs_ring_init(struct qs_ring *r, size_t bytes);
void qs_ring_fini(struct qs_ring *r);

/* Producer: room for a record of `bytes` while `spare` more would stay free, or NULL. */
void *qs_ring_reserve(struct qs_ring *r, size_t bytes, size_t spare);

/* Producer: publishes the first `bytes` of what was reserved. */
void qs_ring_commit(struct qs_ring *r, size_t bytes);

/* Producer: has the consumer given back all up to byte `end` of what was published? */
bool qs_ring_has_passed(const struct qs_ring *r, uint64_t end);

/* Producer: bytes that could be reserved. */
size_t qs_ring_room(struct qs_ring *r);

/* Consumer: what was published and not given back, behind the first `skip` bytes of it; `*bytes` of
 * it. */
const uint8_t *qs_ring_peek(struct qs_ring *r, size_t skip, size_t *bytes);

/* Consumer: gives the first `bytes` back. */
void qs_ring_release(struct qs_ring *r, size_t bytes);

/* Either side, for deciding whether to sleep. */
bool qs_ring_is_empty(const struct qs_ring *r);
size_t qs_ring_free_bytes(const struct qs_ring *r);

#endif
