/* SPDX-License-Identifier: Apache-2.0 */
/* How many half-open connections there may be (RFC 4987 section 3): of a listener, and of one
 * prefix on it, so that one network cannot take all places. Beyond that SYN cookies are sent.
 *
 * Prefixes are counted in two rows of counters, each at a place of its own that a keyed hash says;
 * the smaller of both is at least the true number (a count-min sketch: Cormode, Muthukrishnan
 * 2005), and more only when others share both places. */
#include "engine.h"

static uint32_t blocks_free(const struct qs_engine *e)
{
    return e->opts.conns_max - (uint32_t)e->counters[QS_COUNT_CONNS];
}

/* One that cannot be had at all is no reason for a cookie: its ACK would find none either. */
static bool blocks_are_scarce(const struct qs_engine *e)
{
    uint32_t n = blocks_free(e);
    return n > 0 && n < e->opts.conns_max / 8;
}

/* Places of the /24 or /64 of `remote`, one for each row. */
static uint16_t cells_of(const struct qs_engine *e, uint16_t listener, const qs_addr *remote)
{
    uint64_t w[2];
    bool v4 = qs_addr_is_v4(remote);
    memcpy(w, remote, 8);
    if (v4)
        w[0] = qs_load32(remote->b + 12) >> 8;
    w[1] = (uint64_t)v4 << 16 | listener;
    return (uint16_t)qs_siphash13(&e->prefix_key, w, 2);
}

static uint32_t *cell(struct qs_engine *e, uint16_t cells, uint32_t row)
{
    return &e->half_open_cells[row][row ? cells >> 8 : cells & 0xff];
}

bool qs_half_open_may(struct qs_engine *e, uint16_t listener, const qs_addr *remote,
                      uint16_t *cells)
{
    const struct qs_listener *l = &e->listeners[listener];
    if (l->half_open >= l->half_open_max || blocks_are_scarce(e))
        return false;
    *cells = cells_of(e, listener, remote);
    return qs_min_u32(*cell(e, *cells, 0), *cell(e, *cells, 1)) < l->half_open_prefix_max;
}

void qs_half_open_begin(struct qs_engine *e, struct qs_block *c, uint16_t cells)
{
    c->flags |= QS_CF_HALF_OPEN;
    c->half_open_cells = cells;
    e->listeners[c->listener].half_open++;
    for (uint32_t row = 0; row < QS_HALF_OPEN_ROWS; row++)
        ++*cell(e, cells, row);
}

void qs_half_open_adopt(struct qs_engine *e, struct qs_block *c)
{
    qs_half_open_begin(e, c, cells_of(e, c->listener, &c->remote));
}

void qs_half_open_end(struct qs_engine *e, struct qs_block *c)
{
    if (!(c->flags & QS_CF_HALF_OPEN))
        return;
    c->flags &= ~QS_CF_HALF_OPEN;
    e->listeners[c->listener].half_open--;
    for (uint32_t row = 0; row < QS_HALF_OPEN_ROWS; row++)
        --*cell(e, c->half_open_cells, row);
}
