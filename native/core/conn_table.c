/* SPDX-License-Identifier: Apache-2.0 */
#include "conn_table.h"

size_t qs_table_entries(uint32_t conns_max)
{
    size_t n = 16;
    while (n < (size_t)conns_max * 2)
        n *= 2;
    return n;
}

void qs_table_insert(struct qs_table *t, uint32_t hash, uint32_t slot)
{
    uint32_t pos = hash & t->mask;
    while (t->entries[pos])
        pos = (pos + 1) & t->mask;
    t->entries[pos] = (uint64_t)hash << 32 | (slot + 1);
}

void qs_table_remove(struct qs_table *t, uint32_t hash, uint32_t slot)
{
    uint64_t wanted = (uint64_t)hash << 32 | (slot + 1);
    uint32_t hole = hash & t->mask;
    while (t->entries[hole] != wanted)
        hole = (hole + 1) & t->mask;

    uint32_t pos = hole;
    for (;;) {
        pos = (pos + 1) & t->mask;
        uint64_t entry = t->entries[pos];
        if (!entry)
            break;
        /* May it move to the hole? Only if its home is not between the hole and itself. */
        uint32_t home = (uint32_t)(entry >> 32) & t->mask;
        if (((pos - home) & t->mask) >= ((pos - hole) & t->mask)) {
            t->entries[hole] = entry;
            hole = pos;
        }
    }
    t->entries[hole] = 0;
}
