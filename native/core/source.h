/* SPDX-License-Identifier: Apache-2.0 */
/* What one source may have of an urgent class: source.c. */
#ifndef QS_CORE_SOURCE_H
#define QS_CORE_SOURCE_H

#include "qstack/qs_engine.h"
#include "tcp_conn.h"

#define QS_SOURCE_ROWS 2u
#define QS_SOURCE_CELLS 1024u
#define QS_CLASS_LEAST 0u

/* Of classes with a rate; engine.h has the calls for all. */

/* Has the source of `remote` some of its rate in the class left? */
bool qs_source_has_left(const struct qs_engine *e, const qs_addr *remote, uint32_t prio);
void qs_source_take(struct qs_engine *e, const qs_addr *remote, uint32_t prio, uint32_t octets);
void qs_source_rejudge(struct qs_engine *e, struct qs_block *c);

/* Class as which something of class `prio` of the connection is served. */
static inline uint32_t qs_served_as(const struct qs_block *c, uint32_t prio)
{
    return c->capped && prio == c->prio ? QS_CLASS_LEAST : prio;
}

#endif
