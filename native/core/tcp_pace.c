/* SPDX-License-Identifier: Apache-2.0 */
/* Pacing: when octets may leave that congestion control and window allow, RFC 9002 section 7.7 with
 * the gains of Linux. docs/design/010-pacing.md.
 *
 * Credit gathers at the rate since qs_block.pace_from, up to a quantum; it is octets of payload. */
#include "engine.h"

/* Units of pace_from: 16 ns. */
#define SHIFT 4
#define TICK_NS (1u << QS_TICK_SHIFT)
#define SECOND_NS 1000000000u
/* Twice, and 1.2 times: per second, with a round trip in nanoseconds. */
#define GAIN_SLOW_START 2000000000u
#define GAIN_AVOIDANCE 1200000000u

/* Above any ceiling; keeps the arithmetic within 64 bits. */
#define RATE_MOST (1ull << 42)

#define MANTISSA_BITS 11

/* ---- the ceiling in 16 bits ---- */

uint16_t qs_pace_code(uint64_t octets_per_second)
{
    if (octets_per_second == 0)
        return QS_PACE_NO_CEILING;
    uint32_t exponent = 0;
    while (octets_per_second >> exponent >> MANTISSA_BITS)
        exponent++;
    return (uint16_t)(exponent << MANTISSA_BITS | octets_per_second >> exponent);
}

uint64_t qs_pace_ceiling(uint16_t code)
{
    if (code == QS_PACE_OFF || code == QS_PACE_NO_CEILING)
        return 0;
    uint32_t mantissa = code & ((1u << MANTISSA_BITS) - 1);
    return (uint64_t)mantissa << (code >> MANTISSA_BITS);
}

/* ---- credit ---- */

uint64_t qs_pace_rate(const struct qs_block *c)
{
    uint64_t rate = QS_PACE_NO_RATE, ceiling = qs_pace_ceiling(c->pace_max);
    if (c->srtt_ns) {
        bool slow_start = c->cc.cwnd < c->cc.ssthresh / 2;
        rate = (uint64_t)c->cc.cwnd * (slow_start ? GAIN_SLOW_START : GAIN_AVOIDANCE) / c->srtt_ns;
        rate = rate < RATE_MOST ? rate + 1 : RATE_MOST; /* never 0 */
    }
    return ceiling && ceiling < rate ? ceiling : rate;
}

static uint64_t ns_for(uint64_t octets, uint64_t rate)
{
    return octets * SECOND_NS / rate;
}

/* Octets that one tick passes and a segment, at least two segments. */
static uint64_t quantum(const struct qs_block *c, uint64_t rate)
{
    uint64_t octets = rate * TICK_NS / SECOND_NS;
    return (octets > c->mss ? octets : c->mss) + c->mss;
}

static uint32_t clock_of(qs_time now)
{
    return (uint32_t)(now.ns >> SHIFT);
}

/* Nanoseconds in which the credit has been gathering: no longer than it takes to be full. */
static uint64_t gathering(const struct qs_block *c, uint64_t rate, qs_time now)
{
    uint64_t full = quantum(c, rate) << (c->flags & QS_CF_PACED ? 1 : 0);
    uint64_t since = (uint64_t)(clock_of(now) - c->pace_from) << SHIFT, most = ns_for(full, rate);
    return since < most ? since : most;
}

static uint64_t credit(const struct qs_block *c, uint64_t rate, qs_time now)
{
    return gathering(c, rate, now) * rate / SECOND_NS;
}

/* ---- for tcp_send.c ---- */

bool qs_pace_waits(const struct qs_block *c)
{
    if (c->loss_flags & QS_LF_PROBE_DUE)
        return false;
    return c->loss.lost || c->tx.len > qs_seq_span(c->snd_una, c->snd_nxt);
}

bool qs_pace_holds(struct qs_engine *e, struct qs_block *c, qs_time now)
{
    if (!qs_pace_waits(c))
        return false;
    uint64_t rate = qs_pace_rate(c);
    if (rate == QS_PACE_NO_RATE)
        return false;
    uint64_t have = credit(c, rate, now);
    if (have >= c->mss)
        return false;
    c->flags |= QS_CF_PACED;
    uint64_t wait = ns_for(c->mss - have, rate) + (2u << SHIFT); /* both are rounded down */
    qs_wheel_start(&e->wheel, qs_block_idx(e, c), qs_tick_after(now, (qs_dur){wait}));
    return true;
}

uint32_t qs_pace_frame(const struct qs_block *c, qs_time now)
{
    uint64_t rate = qs_pace_rate(c);
    if (rate == QS_PACE_NO_RATE)
        return UINT32_MAX;
    uint64_t most = quantum(c, rate), have = credit(c, rate, now);
    return (uint32_t)(have < most ? have : most);
}

void qs_pace_sent(struct qs_block *c, uint32_t octets, qs_time now)
{
    uint64_t rate = qs_pace_rate(c);
    if (rate == QS_PACE_NO_RATE)
        return;
    uint64_t gathered = gathering(c, rate, now), cost = ns_for(octets, rate);
    uint64_t left = gathered > cost ? gathered - cost : 0;
    c->pace_from = clock_of(now) - (uint32_t)(left >> SHIFT);
}
