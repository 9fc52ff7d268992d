/* SPDX-License-Identifier: Apache-2.0 */
/* Challenge ACKs and their two limits: RFC 5961 section 7. */
#include "engine.h"

#define CHALLENGE_INTERVAL QS_MS(500)

void qs_tcp_challenge(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    uint32_t pause = (uint32_t)(CHALLENGE_INTERVAL.ns >> QS_TICK_SHIFT);
    bool early = c->challenged.v && !qs_tick_due((qs_tick){c->challenged.v + pause}, now);
    if (early || !qs_budget_take(e, &e->challenges, e->opts.challenges_per_second, now)) {
        qs_count(e, QS_COUNT_CHALLENGES_SUPPRESSED);
        return;
    }
    c->challenged = qs_tick_at(now);
    qs_count(e, QS_COUNT_CHALLENGE_ACKS);
    c->flags |= QS_CF_ACK_NOW;
    qs_block_ready(e, c);
}
