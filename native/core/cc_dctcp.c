/* SPDX-License-Identifier: Apache-2.0 */
/* DCTCP, RFC 8257: reduces by the fraction of octets that were marked. Names are those of its
 * section 3.3; growth and losses as of NewReno. */
#include <string.h>

#include "cc.h"

/* Fractions in units of 2^-16; g = 1/16, section 4.2. */
#define ONE (1u << 16)
#define G_SHIFT 4

struct dctcp {
    struct qs_reno reno; /* first: what cc_newreno.c keeps */
    uint32_t alpha;
    uint32_t acked, marked; /* octets of this observation window */
    qs_seq window_end;
    bool observing;
};

_Static_assert(sizeof(struct dctcp) <= QS_CC_PRIVATE_BYTES, "fits");

static struct dctcp load(const struct qs_cc *cc)
{
    struct dctcp d;
    memcpy(&d, cc->private_state, sizeof d);
    return d;
}

static void store(struct qs_cc *cc, const struct dctcp *d)
{
    memcpy(cc->private_state, d, sizeof *d);
}

static void observe(struct dctcp *d, const struct qs_cc_ack *a)
{
    if (!d->observing) {
        d->observing = true;
        d->alpha = ONE; /* section 4.2: careful at first */
        d->window_end = a->max;
    }
    d->acked += a->acked;
    d->marked += a->marked ? a->acked : 0;
    if (qs_seq_lt(a->una, d->window_end) || d->acked == 0)
        return;
    uint32_t m = (uint32_t)(((uint64_t)d->marked << 16) / d->acked);
    d->alpha = d->alpha - (d->alpha >> G_SHIFT) + (m >> G_SHIFT);
    d->acked = d->marked = 0;
    d->window_end = a->max;
}

static void on_ack(struct qs_cc *cc, const struct qs_cc_ack *a)
{
    struct dctcp d = load(cc);
    observe(&d, a);
    store(cc, &d);
    if (!a->marked)
        qs_cc_newreno.on_ack(cc, a);
}

/* Section 3.3 step 9. */
static void on_mark(struct qs_cc *cc, uint32_t flight, uint32_t mss)
{
    struct dctcp d = load(cc);
    (void)flight;
    if (!d.observing)
        d.alpha = ONE;
    uint32_t less = (uint32_t)((uint64_t)cc->cwnd * d.alpha >> 17);
    cc->ssthresh = cc->cwnd - less > 2 * mss ? cc->cwnd - less : 2 * mss;
    cc->cwnd = cc->ssthresh;
}

static void start(struct qs_cc *cc, uint32_t mss)
{
    qs_cc_newreno.start(cc, mss);
}

static void on_loss(struct qs_cc *cc, uint32_t flight, uint32_t mss)
{
    qs_cc_newreno.on_loss(cc, flight, mss);
}

static void on_timeout(struct qs_cc *cc, uint32_t flight, uint32_t mss)
{
    qs_cc_newreno.on_timeout(cc, flight, mss);
}

static void on_undo(struct qs_cc *cc)
{
    qs_cc_newreno.on_undo(cc);
}

static void on_idle(struct qs_cc *cc, uint32_t mss)
{
    qs_cc_newreno.on_idle(cc, mss);
}

const struct qs_cc_ops qs_cc_dctcp = {
    .name = "dctcp",
    .exact_ce = true,
    .start = start,
    .on_ack = on_ack,
    .on_loss = on_loss,
    .on_mark = on_mark,
    .on_timeout = on_timeout,
    .on_undo = on_undo,
    .on_idle = on_idle,
};
