/* SPDX-License-Identifier: Apache-2.0 */
/* What one source may have of an urgent class: docs/design/014-priority.md. A source is a prefix of
 * addresses. Beyond its rate its connections are served as the least urgent class, and its messages
 * as their connections.
 *
 * A source is not remembered. Each has a cell in two rows, at places that a keyed hash says, and in
 * them the time until which its rate is used up. It is beyond it when both say so: whoever shares
 * one cell with a flood is not taken for it. */
#include "source.h"

#include "engine.h"

/* What may be had at once, of the rate of so long. */
#define BURST QS_MS(125)
/* An event or message costs the worker something, whatever it holds. */
#define OCTETS_LEAST 64u

#define V4_BITS_BEFORE 96u

static qs_addr prefix_of(const struct qs_engine *e, const qs_addr *remote)
{
    qs_addr a = *remote;
    uint32_t bits =
        qs_addr_is_v4(remote) ? V4_BITS_BEFORE + e->opts.source_bits4 : e->opts.source_bits6;
    for (uint32_t i = bits / 8; i < sizeof a.b; i++) {
        uint32_t kept = i == bits / 8 ? 0xff00u >> bits % 8 & 0xff : 0;
        a.b[i] = (uint8_t)(a.b[i] & kept);
    }
    return a;
}

/* Places of the source, one for each row. */
static void cells_of(const struct qs_engine *e, const qs_addr *remote, uint32_t prio,
                     uint32_t cells[QS_SOURCE_ROWS])
{
    uint64_t w[3] = {0, 0, prio};
    qs_addr prefix = prefix_of(e, remote);
    memcpy(w, &prefix, sizeof prefix);
    uint64_t hash = qs_siphash13(&e->source_key, w, 3);
    for (uint32_t row = 0; row < QS_SOURCE_ROWS; row++)
        cells[row] = (uint32_t)(hash >> 32 * row) % QS_SOURCE_CELLS;
}

bool qs_source_has_left(const struct qs_engine *e, const qs_addr *remote, uint32_t prio)
{
    uint32_t cells[QS_SOURCE_ROWS];
    cells_of(e, remote, prio, cells);
    bool within = false;
    for (uint32_t row = 0; row < QS_SOURCE_ROWS; row++)
        within |= e->source_cells[row][cells[row]].ns < e->now.ns + BURST.ns;
    return within;
}

void qs_source_take(struct qs_engine *e, const qs_addr *remote, uint32_t prio, uint32_t octets)
{
    uint32_t cells[QS_SOURCE_ROWS];
    uint64_t rate = e->classes[prio].source_rate;
    uint64_t cost_ns = qs_max_u32(octets, OCTETS_LEAST) * QS_S(1).ns / rate;
    cells_of(e, remote, prio, cells);
    for (uint32_t row = 0; row < QS_SOURCE_ROWS; row++) {
        uint64_t *until_ns = &e->source_cells[row][cells[row]].ns;
        *until_ns = (*until_ns > e->now.ns ? *until_ns : e->now.ns) + cost_ns;
    }
}

void qs_source_rejudge(struct qs_engine *e, struct qs_block *c)
{
    bool capped = !qs_source_within(e, &c->remote, c->prio);
    if (capped != c->capped) {
        bool ready = c->in_ready == QS_READY_CLASS;
        if (ready)
            qs_ready_unlink(e, c);
        c->capped = capped;
        if (ready)
            qs_block_ready(e, c);
    }
    if (capped)
        qs_class_count(e, c->prio, QS_CLASS_CAPPED);
}
