/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

qs_err qs_ring_init(struct qs_ring *r, size_t bytes)
{
    memset(r, 0, sizeof *r);
    int fd = memfd_create("qs_ring", MFD_CLOEXEC);
    if (fd < 0)
        return QS_ERR_SYS;
    uint8_t *at = MAP_FAILED;
    if (ftruncate(fd, (off_t)bytes) == 0)
        at = mmap(NULL, 2 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at != MAP_FAILED) {
        const int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_FIXED;
        if (mmap(at, bytes, prot, flags, fd, 0) == MAP_FAILED ||
            mmap(at + bytes, bytes, prot, flags, fd, 0) == MAP_FAILED) {
            munmap(at, 2 * bytes);
            at = MAP_FAILED;
        }
    }
    close(fd);
    if (at == MAP_FAILED)
        return QS_ERR_NOMEM;
    r->data = at;
    r->bytes = bytes;
    return 0;
}

void qs_ring_fini(struct qs_ring *r)
{
    if (r->data)
        munmap(r->data, 2 * r->bytes);
    r->data = NULL;
}

size_t qs_ring_room(struct qs_ring *r)
{
    r->head_seen = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
    return r->bytes - (size_t)(r->tail - r->head_seen);
}

void *qs_ring_reserve(struct qs_ring *r, size_t bytes, size_t spare)
{
    size_t free = r->bytes - (size_t)(r->tail - r->head_seen);
    if (free < bytes + spare && qs_ring_room(r) < bytes + spare)
        return NULL;
    return r->data + (r->tail & (r->bytes - 1));
}

void qs_ring_commit(struct qs_ring *r, size_t bytes)
{
    __atomic_store_n(&r->tail, r->tail + bytes, __ATOMIC_RELEASE);
}

const uint8_t *qs_ring_peek(struct qs_ring *r, size_t skip, size_t *bytes)
{
    uint64_t from = r->head + skip;
    if (r->tail_seen == from)
        r->tail_seen = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
    *bytes = (size_t)(r->tail_seen - from);
    return r->data + (from & (r->bytes - 1));
}

void qs_ring_release(struct qs_ring *r, size_t bytes)
{
    __atomic_store_n(&r->head, r->head + bytes, __ATOMIC_RELEASE);
}

bool qs_ring_has_passed(const struct qs_ring *r, uint64_t end)
{
    return __atomic_load_n(&r->head, __ATOMIC_ACQUIRE) >= end;
}

bool qs_ring_is_empty(const struct qs_ring *r)
{
    return __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) ==
           __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
}

size_t qs_ring_free_bytes(const struct qs_ring *r)
{
    /* The caller is one of the two sides: its own index stands still. */
    uint64_t head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
    return r->bytes - (size_t)(__atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) - head);
}
