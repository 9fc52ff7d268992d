/* SPDX-License-Identifier: Apache-2.0 */
/* Challenge ACKs and their two limits: RFC 5961 section 7. */
#include "engine.h"

#define CHALLENGE_INTERVAL QS_MS(500)

/* How many the whole engine may send in this second. Were it the same number in each, a stranger
 * could count those that come back to him and so see whether another connection got one
 * (CVE-2016-5696): half of it is certain, the rest random. */
static uint32_t budget(const struct qs_engine *e, uint64_t second)
{
    uint32_t limit = e->opts.challenges_per_second;
    uint64_t random = qs_siphash24(&e->challenge_key, &second, 1);
    return limit / 2 + limit % 2 + (uint32_t)(random % limit);
}

static bool take_from_bucket(struct qs_engine *e, qs_time now)
{
    uint64_t second = now.ns / QS_S(1).ns;
    if (second != e->challenge_second) {
        e->challenge_second = second;
        e->challenges_left = budget(e, second);
    }
    if (e->challenges_left == 0)
        return false;
    e->challenges_left--;
    return true;
}

void qs_tcp_challenge(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    uint32_t pause = (uint32_t)(CHALLENGE_INTERVAL.ns >> QS_TICK_SHIFT);
    bool early = c->challenged.v && !qs_tick_due((qs_tick){c->challenged.v + pause}, now);
    if (early || !take_from_bucket(e, now)) {
        qs_count(e, QS_COUNT_CHALLENGES_SUPPRESSED);
        return;
    }
    c->challenged = qs_tick_at(now);
    qs_count(e, QS_COUNT_CHALLENGE_ACKS);
    c->flags |= QS_CF_ACK_NOW;
    qs_block_ready(e, c);
}
