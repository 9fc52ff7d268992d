/* SPDX-License-Identifier: Apache-2.0 */
/* CUBIC, RFC 9438, with the slow start of HyStart++, RFC 9406. Names are those of the RFCs; windows
 * are octets and not segments, there is no floating point.
 *
 * Time within a stage of congestion avoidance is counted in units of 2^10 ns, and grows only while
 * the window is in use. The cubic function takes it in units of 2^20 ns (1.05 ms): its slope is a
 * fraction of the window for each of them so small that finer steps would not be seen. */
#include <string.h>

#include "cc.h"

/* 1/C = 2.5 s^3 a segment, in cubed units of 2^20 ns: 2.5 * (10^9 / 2^20)^3. */
#define TICKS3_PER_SEGMENT 2168404345u
#define BETA(octets) ((uint32_t)((uint64_t)(octets)*7 / 10)) /* RFC 9438 section 4.6 */
/* RFC 9438 section 4.7: (1 + beta) / 2 */
#define FAST_CONVERGENCE(octets) ((uint32_t)((uint64_t)(octets)*17 / 20))
/* RFC 9438 section 4.3: alpha = 3 (1 - beta) / (1 + beta), in 17ths. */
#define ALPHA_17THS 9u
#define EST_CREDIT_SHIFT 5

/* RFC 9406 section 4.3 */
#define N_RTT_SAMPLE 8
#define MIN_RTT_THRESH_NS 4000000u
#define MAX_RTT_THRESH_NS 16000000u
#define MIN_RTT_DIVISOR 8
#define CSS_GROWTH_DIVISOR 4
#define CSS_ROUNDS 5
/* Segments for one ACK in the first slow start. The RFC's 8 stop the doubling where the receiver
 * merges segments: it acknowledges up to 64 KiB at once. What leaves in one burst is at most twice
 * what arrived in one. */
#define L_INITIAL 45
#define L_LATER 2 /* RFC 3465 section 2.2 */

enum mode {
    NEW,   /* what `a` or `r` says is void */
    ROUND, /* first slow start, `r` */
    CSS,   /* conservative slow start, `r` */
    STAGE, /* a stage of congestion avoidance, `a` */
    AGAIN, /* as NEW, and the next stage goes on with undo_w_est */
};

struct avoidance {
    uint32_t k;          /* units of 2^20 ns */
    uint32_t t;          /* units of 2^10 ns since cwnd_epoch, without idle times */
    uint32_t last;       /* time of the ACK before, units of 2^10 ns */
    uint32_t w_est;      /* what Reno would have */
    uint32_t credit;     /* what is left of a division by cwnd */
    uint32_t est_credit; /* the same of W_est, shifted */
};

struct rounds {
    qs_seq window_end;
    uint32_t last_min_ns, current_min_ns; /* RTT of the round before and of this one */
    uint32_t baseline_min_ns;             /* RTT when CSS began */
    uint8_t n_samples, n_css;
};

struct cubic {
    uint32_t w_max;      /* 0: none, the next stage begins on its plateau */
    uint32_t cwnd_prior; /* cwnd before the last reduction, or at the end of the first slow start */
    uint32_t undo_ssthresh, undo_w_max, undo_w_est; /* as before the last reduction */
    union {
        struct avoidance a;
        struct rounds r;
    };
    uint8_t mode; /* enum mode */
    bool may_undo;
};

_Static_assert(sizeof(struct cubic) <= QS_CC_PRIVATE_BYTES, "fits");

static struct cubic load(const struct qs_cc *cc)
{
    struct cubic q;
    memcpy(&q, cc->private_state, sizeof q);
    return q;
}

static void store(struct qs_cc *cc, const struct cubic *q)
{
    memcpy(cc->private_state, q, sizeof *q);
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* ---- the cubic function ---- */

/* Largest r with r^3 <= x. */
static uint32_t cube_root(uint64_t x)
{
    uint64_t r = 0;
    for (int shift = 21; shift >= 0; shift--) {
        uint64_t next = r | 1ull << shift;
        if (next * next <= x / next) /* 2^22 cubed does not fit */
            r = next;
    }
    return (uint32_t)r;
}

/* Time in which the function covers `octets`: K of RFC 9438 section 4.2 for W_max - cwnd_epoch. */
static uint32_t ticks_for(uint32_t octets, uint32_t mss)
{
    return cube_root((uint64_t)octets * TICKS3_PER_SEGMENT / mss);
}

/* C ticks^3 in octets, at most UINT32_MAX. */
static uint32_t octets_in(uint64_t ticks, uint32_t mss)
{
    uint64_t cubed;
    if (ticks >= 1u << 21 || __builtin_mul_overflow(ticks * ticks * ticks, mss, &cubed))
        return UINT32_MAX;
    uint64_t octets = cubed / TICKS3_PER_SEGMENT;
    return octets < UINT32_MAX ? (uint32_t)octets : UINT32_MAX;
}

/* W_cubic(t) of RFC 9438 section 4.2; `t` in units of 2^10 ns. */
static uint32_t w_cubic(const struct cubic *q, uint64_t t, uint32_t mss)
{
    uint64_t ticks = t >> 10;
    if (ticks < q->a.k) {
        uint32_t below = octets_in(q->a.k - ticks, mss);
        return below < q->w_max ? q->w_max - below : 0;
    }
    return qs_cc_add(q->w_max, octets_in(ticks - q->a.k, mss));
}

/* ---- congestion avoidance ---- */

static void begin_stage(const struct qs_cc *cc, struct cubic *q, const struct qs_cc_ack *a)
{
    uint32_t cwnd_epoch = cc->cwnd;
    uint32_t w_est = q->mode == AGAIN ? q->undo_w_est : cwnd_epoch;
    q->mode = STAGE;
    q->a = (struct avoidance){.last = (uint32_t)(a->now.ns >> 10), .w_est = w_est};
    if (q->w_max == 0) /* RFC 9438 sections 4.8 and 4.10 */
        q->w_max = cwnd_epoch;
    if (cwnd_epoch < q->w_max)
        q->a.k = ticks_for(q->w_max - cwnd_epoch, a->mss) + 1; /* never above cwnd_epoch */
    else /* a reduction was undone in the convex region: goes on from where it was */
        q->a.t = ticks_for(cwnd_epoch - q->w_max, a->mss) << 10;
}

/* RFC 9438 section 5.8: the time in which nothing was sent does not count. Two ACKs of a connection
 * that uses its window are a round trip apart at most; twice that leaves room for its variation. */
static void pass_time(struct cubic *q, const struct qs_cc_ack *a)
{
    uint32_t now = (uint32_t)(a->now.ns >> 10);
    uint32_t passed = now - q->a.last;
    if (a->srtt_ns)
        passed = min_u32(passed, a->srtt_ns / (1u << 9));
    q->a.t = passed < UINT32_MAX - q->a.t ? q->a.t + passed : UINT32_MAX;
    q->a.last = now;
}

/* RFC 9438 section 4.3: what Reno would have, of an alpha that makes it as fast on the average. */
static void grow_estimate(const struct qs_cc *cc, struct cubic *q, const struct qs_cc_ack *a)
{
    uint64_t alpha = q->a.w_est < q->cwnd_prior ? ALPHA_17THS : 17;
    uint64_t credit =
        (uint64_t)a->acked * a->mss * alpha + ((uint64_t)q->a.est_credit << EST_CREDIT_SHIFT);
    uint64_t per_octet = 17ull * cc->cwnd;
    uint64_t grown = credit / per_octet;
    q->a.w_est = qs_cc_add(q->a.w_est, grown < UINT32_MAX ? (uint32_t)grown : UINT32_MAX);
    q->a.est_credit = (uint32_t)(credit % per_octet >> EST_CREDIT_SHIFT);
}

/* RFC 9438 sections 4.2, 4.4 and 4.5: towards where the function is a round trip from now. */
static void grow(struct qs_cc *cc, struct cubic *q, const struct qs_cc_ack *a)
{
    uint32_t target = w_cubic(q, (uint64_t)q->a.t + (a->srtt_ns >> 10), a->mss);
    target = max_u32(min_u32(target, qs_cc_add(cc->cwnd, cc->cwnd / 2)), cc->cwnd);
    uint64_t credit = (uint64_t)(target - cc->cwnd) * min_u32(a->acked, cc->cwnd) + q->a.credit;
    q->a.credit = (uint32_t)(credit % cc->cwnd);
    cc->cwnd = qs_cc_add(cc->cwnd, (uint32_t)(credit / cc->cwnd));
}

static void avoid_congestion(struct qs_cc *cc, struct cubic *q, const struct qs_cc_ack *a)
{
    if (q->mode != STAGE)
        begin_stage(cc, q, a);
    else
        pass_time(q, a);
    grow_estimate(cc, q, a);
    if (w_cubic(q, q->a.t, a->mss) < q->a.w_est) /* the Reno-friendly region */
        cc->cwnd = max_u32(cc->cwnd, q->a.w_est);
    else
        grow(cc, q, a);
}

/* ---- slow start ---- */

static void begin_round(struct cubic *q, const struct qs_cc_ack *a, uint32_t last_min_ns)
{
    q->r.window_end = a->max;
    q->r.last_min_ns = last_min_ns;
    q->r.current_min_ns = QS_CC_NO_RTT;
    q->r.n_samples = 0;
}

/* RFC 9406 section 4.2: has the RTT risen since the round before, or fallen again? */
static void judge_rtt(struct cubic *q)
{
    struct rounds *r = &q->r;
    if (r->n_samples < N_RTT_SAMPLE)
        return;
    if (q->mode == CSS) {
        if (r->current_min_ns < r->baseline_min_ns)
            q->mode = ROUND;
        return;
    }
    if (r->last_min_ns == QS_CC_NO_RTT)
        return;
    uint32_t thresh = min_u32(r->last_min_ns / MIN_RTT_DIVISOR, MAX_RTT_THRESH_NS);
    thresh = max_u32(thresh, MIN_RTT_THRESH_NS);
    if (r->current_min_ns >= (uint64_t)r->last_min_ns + thresh) {
        q->mode = CSS;
        r->baseline_min_ns = r->current_min_ns;
        r->n_css = 0;
    }
}

/* Measures this round; five of them in CSS end the slow start. */
static void follow_rounds(struct qs_cc *cc, struct cubic *q, const struct qs_cc_ack *a)
{
    if (q->mode == NEW) {
        q->mode = ROUND;
        begin_round(q, a, QS_CC_NO_RTT);
        return;
    }
    if (a->rtt_ns != QS_CC_NO_RTT) {
        q->r.current_min_ns = min_u32(q->r.current_min_ns, a->rtt_ns);
        if (q->r.n_samples < N_RTT_SAMPLE)
            q->r.n_samples++;
    }
    judge_rtt(q);
    if (qs_seq_lt(a->una, q->r.window_end))
        return;
    if (q->mode == CSS && ++q->r.n_css == CSS_ROUNDS) {
        q->mode = NEW;
        cc->ssthresh = q->cwnd_prior = cc->cwnd;
        return;
    }
    begin_round(q, a, q->r.current_min_ns);
}

static void slow_start(struct qs_cc *cc, struct cubic *q, const struct qs_cc_ack *a)
{
    bool first = cc->ssthresh == UINT32_MAX;
    uint32_t grown = min_u32(a->acked, (first ? L_INITIAL : L_LATER) * a->mss);
    cc->cwnd = qs_cc_add(cc->cwnd, q->mode == CSS ? grown / CSS_GROWTH_DIVISOR : grown);
    if (first)
        follow_rounds(cc, q, a);
}

/* ---- hooks ---- */

static void start(struct qs_cc *cc, uint32_t mss)
{
    cc->cwnd = qs_cc_initial_window(mss);
    cc->ssthresh = UINT32_MAX;
}

/* RFC 9438 section 5.8: what the application did not use does not grow. Slow start doubles, so half
 * of the window is enough to show that the next one will be used. */
static void on_ack(struct qs_cc *cc, const struct qs_cc_ack *a)
{
    bool starting = cc->cwnd < cc->ssthresh;
    if (!a->full && !(starting && a->flight + a->acked >= cc->cwnd / 2))
        return;
    struct cubic q = load(cc);
    if (starting)
        slow_start(cc, &q, a);
    else
        avoid_congestion(cc, &q, a);
    store(cc, &q);
}

/* RFC 9438 section 4.6. */
static void reduce(struct qs_cc *cc, struct cubic *q, uint32_t flight, uint32_t mss)
{
    q->undo_ssthresh = cc->ssthresh;
    q->undo_w_max = q->w_max;
    q->undo_w_est = q->mode == STAGE ? q->a.w_est : 0;
    q->may_undo = true;
    q->cwnd_prior = cc->cwnd;
    q->mode = NEW;
    cc->ssthresh = max_u32(BETA(flight), 2 * mss);
}

static void on_loss(struct qs_cc *cc, uint32_t flight, uint32_t mss)
{
    struct cubic q = load(cc);
    reduce(cc, &q, flight, mss);
    /* RFC 9438 section 4.7: who did not get as far as before makes room for others. */
    q.w_max = cc->cwnd < q.w_max ? FAST_CONVERGENCE(cc->cwnd) : cc->cwnd;
    store(cc, &q);
}

/* RFC 9438 section 4.8. */
static void on_timeout(struct qs_cc *cc, uint32_t flight, uint32_t mss)
{
    struct cubic q = load(cc);
    reduce(cc, &q, flight, mss);
    q.w_max = 0;
    cc->cwnd = mss;
    store(cc, &q);
}

/* RFC 9438 section 4.9. K and the time follow from cwnd and W_max. */
static void on_undo(struct qs_cc *cc)
{
    struct cubic q = load(cc);
    if (!q.may_undo)
        return;
    q.may_undo = false;
    q.w_max = q.undo_w_max;
    q.mode = q.undo_w_est ? AGAIN : NEW;
    cc->ssthresh = q.undo_ssthresh;
    cc->cwnd = max_u32(cc->cwnd, q.cwnd_prior);
    q.cwnd_prior = max_u32(q.cwnd_prior, q.w_max);
    store(cc, &q);
}

/* RFC 5681 section 4.1. */
static void on_idle(struct qs_cc *cc, uint32_t mss)
{
    uint32_t restart = qs_cc_initial_window(mss);
    if (cc->cwnd <= restart)
        return;
    struct cubic q = load(cc);
    q.mode = NEW;
    cc->cwnd = restart;
    store(cc, &q);
}

const struct qs_cc_ops qs_cc_cubic = {
    .name = "cubic",
    .start = start,
    .on_ack = on_ack,
    .on_loss = on_loss,
    .on_timeout = on_timeout,
    .on_undo = on_undo,
    .on_idle = on_idle,
};
