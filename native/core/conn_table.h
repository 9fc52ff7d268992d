/* SPDX-License-Identifier: Apache-2.0 */
/* Hash of a connection's 4-tuple -> slot of its block. Open addressing, linear probing, at most
 * half full; an entry is one word: hash in the high half, slot + 1 in the low one, 0 when empty.
 * Removal moves what follows back, so there are no tombstones and a probe never grows long with
 * age. */
#ifndef QS_CORE_CONN_TABLE_H
#define QS_CORE_CONN_TABLE_H

#include "qstack/qs_base.h"

struct qs_table {
    uint64_t *entries;
    uint32_t mask;
};

/* Entries to allocate for `conns_max` connections: a power of two. */
size_t qs_table_entries(uint32_t conns_max);

static inline void qs_table_prefetch(const struct qs_table *t, uint32_t hash)
{
    __builtin_prefetch(&t->entries[hash & t->mask]);
}

/* Slots of connections with exactly this hash, one after the other. Start with *pos = hash;
 * QS_NO_IDX ends. */
static inline uint32_t qs_table_next(const struct qs_table *t, uint32_t hash, uint32_t *pos)
{
    for (;;) {
        uint64_t entry = t->entries[(*pos)++ & t->mask];
        if (!entry)
            return UINT32_MAX;
        if ((uint32_t)(entry >> 32) == hash)
            return (uint32_t)entry - 1;
    }
}

/* The caller keeps the number of entries at or below conns_max and does not insert twice. */
void qs_table_insert(struct qs_table *t, uint32_t hash, uint32_t slot);

/* Removes an entry that is there. */
void qs_table_remove(struct qs_table *t, uint32_t hash, uint32_t slot);

#endif
