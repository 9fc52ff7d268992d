/* SPDX-License-Identifier: Apache-2.0 */
/* What classes have for sure: shares of transmission, chunks and connections. */
#include "engine.h"

#define SHARE_DEFAULT 10u
#define DSCP_MAX 63u
#define SOURCE_RATE_MIN 1000u /* octets a second */
#define SOURCE_RATE_MAX 1000000000000u
/* Octets: a full segment; some frames with segmentation offload. */
#define SHARE_UNIT 1500u
#define SHARE_QUANTUM (256u << 10)

void qs_class_opts_init(struct qs_class_opts *o)
{
    *o = (struct qs_class_opts){.size = sizeof *o, .min_share_permille = SHARE_DEFAULT};
}

void qs_classes_init(struct qs_engine *e)
{
    uint16_t shares[QS_N_PRIO];
    for (uint32_t p = 0; p < QS_N_PRIO; p++)
        shares[p] = SHARE_DEFAULT;
    qs_share_init(&e->tx_share, shares, SHARE_UNIT, SHARE_QUANTUM);
    qs_share_init(&e->message_share, shares, SHARE_UNIT, SHARE_QUANTUM);
}

/* What each class leaves free is what all more urgent ones have reserved. */
static void set_floors(struct qs_engine *e)
{
    uint32_t chunks = 0, conns = 0;
    for (uint32_t p = QS_N_PRIO; p-- > 0;) {
        struct qs_class *k = &e->classes[p];
        k->chunk_floor = chunks;
        k->conn_floor = conns;
        chunks += k->chunks_reserved;
        conns += k->conns_reserved;
    }
}

static bool fits(const struct qs_engine *e, uint32_t prio, const struct qs_class_opts *o)
{
    uint64_t share = o->min_share_permille, chunks = o->chunks_reserved, conns = o->conns_reserved;
    for (uint32_t p = 0; p < QS_N_PRIO; p++) {
        if (p == prio)
            continue;
        share += e->tx_share.min[p];
        chunks += e->classes[p].chunks_reserved;
        conns += e->classes[p].conns_reserved;
    }
    return share <= QS_SHARE_WHOLE && chunks <= e->opts.chunks_max / 2 &&
           conns <= e->opts.conns_max / 2;
}

static bool source_rate_fine(uint32_t prio, uint64_t rate)
{
    return rate == 0 || (prio > 0 && rate >= SOURCE_RATE_MIN && rate <= SOURCE_RATE_MAX);
}

qs_err qs_engine_class_set(qs_engine *e, uint32_t prio, const struct qs_class_opts *o)
{
    if (o->size != sizeof *o || prio >= QS_N_PRIO || o->dscp > DSCP_MAX || !fits(e, prio, o) ||
        !source_rate_fine(prio, o->source_bytes_per_second))
        return QS_ERR_ARG;
    e->tx_share.min[prio] = (uint16_t)o->min_share_permille; /* at most QS_SHARE_WHOLE */
    e->message_share.min[prio] = (uint16_t)o->min_share_permille;
    e->classes[prio].chunks_reserved = o->chunks_reserved;
    e->classes[prio].conns_reserved = o->conns_reserved;
    e->classes[prio].dscp = o->dscp;
    e->classes[prio].source_rate = o->source_bytes_per_second;
    if (o->source_bytes_per_second)
        e->classes_used |= 1u << QS_CLASS_LEAST; /* what goes beyond is of it */
    set_floors(e);
    return 0;
}

bool qs_class_may_connect(const struct qs_engine *e, uint32_t prio)
{
    uint64_t used = e->counters[QS_COUNT_CONNS];
    return e->opts.conns_max - used > e->classes[prio].conn_floor;
}

size_t qs_engine_class_counters(const qs_engine *e, uint32_t prio, uint64_t *out, size_t n)
{
    if (prio >= QS_N_PRIO)
        return 0;
    size_t count = n < QS_N_CLASS_COUNTERS ? n : QS_N_CLASS_COUNTERS;
    for (size_t i = 0; i < count; i++)
        out[i] = __atomic_load_n(&e->classes[prio].counters[i], __ATOMIC_RELAXED);
    return count;
}
