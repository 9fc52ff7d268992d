/* SPDX-License-Identifier: Apache-2.0 */
/* CUBIC against the formulas of RFC 9438 in floating point, and HyStart++ against RFC 9406. */
#include "core/cc.h"
#include "qs_test.h"

#define MSS 1000u
#define C 0.4

/* A sender whose window is always used, and what it is told. */
struct flow {
    struct qs_cc cc;
    uint32_t mss;
    double now_s, rtt_s;
    qs_seq una;
};

static const struct qs_cc_ops *ops(void)
{
    return qs_cc_ops((uint8_t)qs_cc_find("cubic"));
}

static struct flow flow_new(uint32_t mss, double rtt_s)
{
    struct flow f = {.mss = mss, .now_s = 1000, .rtt_s = rtt_s, .una = {0xfffff000u}};
    ops()->start(&f.cc, mss);
    return f;
}

static uint32_t ns32(double s)
{
    return s * 1e9 < UINT32_MAX ? (uint32_t)(s * 1e9) : UINT32_MAX;
}

/* `acked` octets of a full window after `pass_s`. */
static void ack(struct flow *f, uint32_t acked, double pass_s, bool full)
{
    f->now_s += pass_s;
    f->una = qs_seq_add(f->una, acked);
    uint32_t flight = f->cc.cwnd > acked && full ? f->cc.cwnd - acked : 0;
    struct qs_cc_ack a = {
        .acked = acked,
        .flight = flight,
        .mss = f->mss,
        .srtt_ns = ns32(f->rtt_s),
        .rtt_ns = ns32(f->rtt_s),
        .una = f->una,
        .max = qs_seq_add(f->una, flight),
        .full = full,
        .now = {(uint64_t)(f->now_s * 1e9)},
    };
    ops()->on_ack(&f->cc, &a);
}

/* A loss at a window of `segs`, and the end of recovery. */
static void lose(struct flow *f, double segs)
{
    f->cc.cwnd = (uint32_t)(segs * f->mss);
    ops()->on_loss(&f->cc, f->cc.cwnd, f->mss);
    f->cc.cwnd = f->cc.ssthresh;
}

static void round_trips(struct flow *f, int n)
{
    for (int i = 0; i < 16 * n; i++)
        ack(f, f->cc.cwnd / 16, f->rtt_s / 16, true);
}

static double segs(const struct flow *f)
{
    return (double)f->cc.cwnd / f->mss;
}

static void check_near(const char *what, double got, double want, double tolerance)
{
    if (got >= want - tolerance && got <= want + tolerance)
        return;
    fprintf(stderr, "%s: %.3f, want %.3f within %.3f\n", what, got, want, tolerance);
    CHECK(false);
}

/* ---- RFC 9438 in floating point, in segments and seconds ---- */

struct model {
    double cwnd, w_max, w_est, cwnd_prior, k, t;
};

static double cube_root(double x)
{
    double r = x > 1 ? x : 1;
    for (int i = 0; i < 200; i++)
        r -= (r * r * r - x) / (3 * r * r);
    return r;
}

static double w_cubic(const struct model *m, double t)
{
    double d = t - m->k;
    return C * d * d * d + m->w_max;
}

static struct model model_new(double cwnd, double w_max, double cwnd_prior)
{
    struct model m = {.cwnd = cwnd, .w_max = w_max, .w_est = cwnd, .cwnd_prior = cwnd_prior};
    m.k = cube_root((w_max - cwnd) / C);
    return m;
}

static void model_ack(struct model *m, double acked, double pass_s, double rtt_s)
{
    double alpha = m->w_est < m->cwnd_prior ? 3 * (1 - 0.7) / (1 + 0.7) : 1;
    m->t += pass_s;
    m->w_est += alpha * acked / m->cwnd;
    if (w_cubic(m, m->t) < m->w_est) {
        m->cwnd = m->w_est > m->cwnd ? m->w_est : m->cwnd;
        return;
    }
    double target = w_cubic(m, m->t + rtt_s);
    target = target < m->cwnd ? m->cwnd : target > 1.5 * m->cwnd ? 1.5 * m->cwnd : target;
    m->cwnd += (target - m->cwnd) / m->cwnd * acked;
}

/* Both from the same state until well into the convex region; never apart by more than a
 * thousandth and a segment. */
static void follow_model(struct flow *f, struct model *m, double until_s)
{
    bool first = true;
    for (double t = 0; t < until_s; t += f->rtt_s / 16) {
        uint32_t acked = f->cc.cwnd / 16;
        double pass_s = first ? 0 : f->rtt_s / 16;
        ack(f, acked, pass_s, true);
        model_ack(m, (double)acked / f->mss, pass_s, f->rtt_s);
        first = false;
        double apart = segs(f) - m->cwnd;
        if (apart > 1 + m->cwnd / 1000 || apart < -1 - m->cwnd / 1000) {
            fprintf(stderr, "mss %u rtt %.4f s, K %.3f s, at %.3f s: %.3f segments, want %.3f\n",
                    f->mss, f->rtt_s, m->k, m->t, segs(f), m->cwnd);
            CHECK(false);
            return;
        }
    }
}

/* RFC 9438 sections 4.2 to 4.5, over windows, round trips and sizes of segments. */
static void growth_is_that_of_the_rfc(void)
{
    static const double window[] = {4, 20, 100, 1000, 20000}, rtt_s[] = {0.0002, 0.01, 0.1, 0.5};
    static const uint32_t mss[] = {536, 1448, 8948};
    for (size_t w = 0; w < 5; w++) {
        for (size_t i = 0; i < 12; i++) {
            if (window[w] > 1000 && i % 4 == 0)
                continue; /* a hundred thousand round trips show nothing more */
            struct flow f = flow_new(mss[i / 4], rtt_s[i % 4]);
            lose(&f, window[w]);
            struct model m = model_new(segs(&f), window[w], window[w]);
            follow_model(&f, &m, 1.8 * m.k + 10 * f.rtt_s);
            CHECK(segs(&f) > window[w]);
        }
    }
}

/* The curve itself: steep, flat around K at W_max, steep again. */
static void concave_then_convex(void)
{
    struct flow f = flow_new(MSS, 0.1);
    lose(&f, 1000);
    check_near("after the loss", segs(&f), 700, 0.01);
    ack(&f, f.cc.cwnd / 16, 0, true);
    double k = cube_root(300 / C), began = f.now_s;
    static const double part[] = {0.25, 0.5, 0.75, 1, 1.25, 1.5, 2};
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
        while (f.now_s - began < part[i] * k)
            ack(&f, f.cc.cwnd / 16, f.rtt_s / 16, true);
        double d = (part[i] - 1) * k;
        double slope = 3 * C * d * d * f.rtt_s; /* segments a round trip: it is that much ahead */
        check_near("on the curve", segs(&f), 1000 + C * d * d * d, slope + 2);
    }
}

/* RFC 9438 section 4.3: where Reno would be faster its window is taken: alpha is 9/17 a round trip
 * up to the window of the loss, and one from there on. */
static void reno_friendly_when_small(void)
{
    struct flow f = flow_new(MSS, 0.001);
    lose(&f, 100);
    ack(&f, f.cc.cwnd / 16, 0, true);
    round_trips(&f, 40);
    /* Sixteen ACKs of a sixteenth of the window are one window. */
    check_near("below the last window", segs(&f), 70 + 40 * 9.0 / 17, 0.5);
    round_trips(&f, 17); /* at 100 */
    check_near("at the last window", segs(&f), 100, 0.5);
    round_trips(&f, 30);
    check_near("beyond it", segs(&f), 130, 1);
}

/* RFC 9438 section 4.5: half a window a round trip is the most. */
static void target_is_bounded(void)
{
    struct flow f = flow_new(MSS, 4);
    lose(&f, 20);
    ack(&f, MSS, 0, true);
    uint32_t cwnd = f.cc.cwnd;
    for (int i = 0; i < 8; i++) {
        ack(&f, cwnd, 4, true); /* the whole window at once */
        CHECK(f.cc.cwnd <= cwnd + cwnd / 2 && f.cc.cwnd >= cwnd);
        cwnd = f.cc.cwnd;
    }
    CHECK(segs(&f) > 100);
}

static void beta(void)
{
    static const struct {
        uint32_t flight, ssthresh;
    } row[] = {{100 * MSS, 70 * MSS}, {10 * MSS, 7 * MSS}, {2 * MSS, 2 * MSS},
               {0, 2 * MSS},          {12345, 8641},       {1u << 31, 1503238553u}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct flow f = flow_new(MSS, 0.1);
        ops()->on_loss(&f.cc, row[i].flight, MSS);
        CHECK_EQ(f.cc.ssthresh, row[i].ssthresh);
    }
}

/* RFC 9438 section 4.7: a loss below the last W_max puts the next plateau at 0.85 of it. */
static void fast_convergence(void)
{
    struct flow f = flow_new(MSS, 0.3);
    lose(&f, 100);
    ack(&f, MSS, 0, true);
    lose(&f, 80);
    struct model m = model_new(56, 68, 80);
    follow_model(&f, &m, 3 * m.k);
    lose(&f, 90); /* above 68: the plateau is where the loss was */
    m = model_new(63, 90, 90);
    follow_model(&f, &m, 3 * m.k);
}

/* RFC 9438 section 4.8: one segment, slow start up to ssthresh, and a stage with K = 0 there. */
static void timeout(void)
{
    struct flow f = flow_new(MSS, 0.1);
    lose(&f, 200);
    round_trips(&f, 20);
    f.cc.cwnd = 150 * MSS;
    ops()->on_timeout(&f.cc, 150 * MSS, MSS);
    CHECK_EQ(f.cc.cwnd, MSS);
    CHECK_EQ(f.cc.ssthresh, 105 * MSS);
    for (int i = 1; i < 105; i++) {
        ack(&f, MSS, 0.001, true);
        CHECK_EQ(f.cc.cwnd, (uint32_t)(i + 1) * MSS);
    }
    struct model m = model_new(105, 105, 150);
    CHECK(m.k < 1e-6);
    follow_model(&f, &m, 8);
    CHECK(segs(&f) > 250); /* 105 + 0.4 * 8^3 = 310 */
}

/* RFC 9438 section 5.8: neither silence nor ACKs of a window that is not used move the curve. */
static void unused_time_does_not_count(void)
{
    struct flow used = flow_new(MSS, 0.1), silent, idle;
    lose(&used, 300);
    round_trips(&used, 20);
    silent = idle = used;
    silent.now_s += 30;
    for (int i = 0; i < 1000; i++)
        ack(&idle, MSS, 0.03, false);
    CHECK_EQ(idle.cc.cwnd, used.cc.cwnd);
    round_trips(&used, 40);
    round_trips(&silent, 40);
    round_trips(&idle, 40);
    /* Two round trips of it are not told from a slow ACK. */
    double k = cube_root(90 / C), slope = 3 * C * (k + 0.2) * (k + 0.2) * 0.2;
    check_near("after silence", segs(&silent), segs(&used), slope);
    check_near("after unused ACKs", segs(&idle), segs(&used), slope);
    CHECK(segs(&used) > 250);
}

/* A clock of 2^32 units of 1,024 ns wraps after 73 minutes. */
static void clock_wraps(void)
{
    for (double now_s = 4396; now_s < 4400; now_s += 0.5) {
        struct flow f = flow_new(MSS, 0.1);
        f.now_s = now_s;
        lose(&f, 100);
        struct model m = model_new(70, 100, 100);
        follow_model(&f, &m, 8);
    }
}

/* RFC 9438 section 4.9: in the concave and in the convex region, in slow start, and only once. */
static void undo(void)
{
    for (int n = 5; n < 150; n += 20) {
        struct flow f = flow_new(MSS, 0.1), g;
        lose(&f, 500);
        round_trips(&f, n);
        g = f;
        if (n % 40 == 5)
            ops()->on_loss(&g.cc, g.cc.cwnd, MSS);
        else
            ops()->on_timeout(&g.cc, g.cc.cwnd, MSS);
        g.cc.cwnd = 2 * MSS;
        ops()->on_undo(&g.cc);
        CHECK_EQ(g.cc.cwnd, f.cc.cwnd);
        CHECK_EQ(g.cc.ssthresh, f.cc.ssthresh);
        round_trips(&f, 50);
        round_trips(&g, 50);
        check_near("after undo", segs(&g), segs(&f), segs(&f) / 100);
        g.cc.cwnd = 2 * MSS;
        ops()->on_undo(&g.cc);
        CHECK_EQ(g.cc.cwnd, 2 * MSS);
    }
    struct flow f = flow_new(MSS, 0.1);
    lose(&f, 40);
    ops()->on_undo(&f.cc);
    CHECK_EQ(f.cc.cwnd, 40 * MSS);
    CHECK_EQ(f.cc.ssthresh, UINT32_MAX);
    uint32_t cwnd = f.cc.cwnd;
    round_trips(&f, 1);
    CHECK(f.cc.cwnd > cwnd * 19 / 10); /* slow start again */
}

/* RFC 5681 section 4.1. */
static void idle_restarts_from_the_initial_window(void)
{
    struct flow f = flow_new(MSS, 0.1);
    lose(&f, 100);
    round_trips(&f, 20);
    ops()->on_idle(&f.cc, MSS);
    CHECK_EQ(f.cc.cwnd, 10 * MSS);
    CHECK_EQ(f.cc.ssthresh, 70 * MSS);
    while (f.cc.cwnd < f.cc.ssthresh)
        ack(&f, MSS, 0.001, true);
    struct model m = model_new(70, 100, 100); /* the plateau is where it was */
    follow_model(&f, &m, 8);
    f.cc.cwnd = 4 * MSS;
    ops()->on_idle(&f.cc, MSS);
    CHECK_EQ(f.cc.cwnd, 4 * MSS);
}

/* No window, no time and no size of segments lets an ACK make the window smaller, or larger than
 * what 32 bits can be added to. */
static void nothing_overflows(void)
{
    static const uint32_t cwnd[] = {1, 1u << 20, 1u << 30, QS_CC_CWND_MAX - 1, UINT32_MAX};
    static const uint32_t mss[] = {1, 88, 1460, 65535};
    static const double pass_s[] = {0, 1e-6, 1, 5000, 1e6};
    for (size_t i = 0; i < 5 * 4 * 5; i++) {
        for (int slow = 0; slow < 2; slow++) {
            struct flow f = flow_new(mss[i % 4], 4.2);
            f.cc.cwnd = cwnd[i / 20];
            ops()->on_loss(&f.cc, cwnd[i / 20], f.mss);
            CHECK(f.cc.ssthresh >= 2 * f.mss);
            f.cc.cwnd = slow ? f.mss : f.cc.ssthresh;
            for (int k = 0; k < 2000; k++) {
                uint32_t before = f.cc.cwnd;
                ack(&f, k % 2 ? f.cc.cwnd : 1u << 30, pass_s[i / 4 % 5], true);
                uint32_t least = before < QS_CC_CWND_MAX ? before : QS_CC_CWND_MAX;
                if (f.cc.cwnd < least || f.cc.cwnd > QS_CC_CWND_MAX) {
                    fprintf(stderr, "mss %u: %u became %u\n", f.mss, before, f.cc.cwnd);
                    CHECK(false);
                    return;
                }
            }
        }
    }
}

/* ---- slow start, RFC 9406 ---- */

/* A round trip of slow start with ACKs of `octets`. @return how the window has grown. */
static double slow_round(struct flow *f, double rtt_s, uint32_t octets)
{
    uint32_t before = f->cc.cwnd, left = before;
    f->rtt_s = rtt_s;
    while (left) {
        uint32_t acked = left < octets ? left : octets;
        left -= acked;
        ack(f, acked, rtt_s * acked / before, true);
    }
    return (double)f->cc.cwnd / before;
}

static struct flow after_three_rounds(double rtt_s)
{
    struct flow f = flow_new(MSS, rtt_s);
    for (int i = 0; i < 3; i++)
        CHECK(slow_round(&f, rtt_s, MSS) > 1.9);
    return f;
}

/* Max(4 ms, min(an eighth of the RTT, 16 ms)) is the threshold. */
static void a_rising_rtt_slows_slow_start(void)
{
    static const struct {
        double base_ms, rise_ms;
        bool slows;
    } row[] = {{1, 0, false},     {1, 3.9, false},    {1, 4.1, true},     {20, 3.9, false},
               {20, 4.1, true},   {100, 12.4, false}, {100, 12.6, true},  {300, 15.9, false},
               {300, 16.1, true}, {4000, 0, false},   {4280, 14.9, false}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct flow f = after_three_rounds(row[i].base_ms / 1e3);
        double rtt_s = (row[i].base_ms + row[i].rise_ms) / 1e3;
        (void)slow_round(&f, rtt_s, MSS);
        (void)slow_round(&f, rtt_s, MSS);
        double grown = slow_round(&f, rtt_s, MSS);
        if (row[i].slows)
            check_near("conservative", grown, 1.25, 0.01);
        else
            check_near("doubling", grown, 2, 0.01);
    }
}

/* A receiver that merges up to 64 KiB sends few ACKs, and the window doubles all the same. Beyond
 * that an ACK counts as one of 45 segments. */
static void merged_segments_double_too(void)
{
    struct flow f = flow_new(MSS, 0.02);
    check_near("all in one", slow_round(&f, 0.02, 10 * MSS), 2, 0.01);
    check_near("two", slow_round(&f, 0.02, 10 * MSS), 2, 0.01);
    check_near("one of 40", slow_round(&f, 0.02, 40 * MSS), 2, 0.01);
    check_near("one of 80", slow_round(&f, 0.02, 80 * MSS), 1 + 45.0 / 80, 0.01);
}

/* RFC 9406 section 4.2: fewer than eight samples in a round prove nothing. */
static void few_samples_prove_nothing(void)
{
    for (uint32_t n_acks = 6; n_acks < 10; n_acks++) {
        struct flow f = flow_new(MSS, 0.02);
        bool slowed = false;
        for (int i = 0; i < 8; i++) {
            uint32_t before = f.cc.cwnd, octets = before / n_acks + 1;
            (void)slow_round(&f, 0.02 + 0.01 * i, octets);
            uint32_t most = octets < 45 * MSS ? before : n_acks * 45 * MSS;
            slowed |= f.cc.cwnd < before + most / 2;
        }
        CHECK_EQ(slowed, n_acks >= 8);
    }
}

static void five_slow_rounds_end_it(void)
{
    struct flow f = after_three_rounds(0.02);
    int rounds = 0;
    while (f.cc.ssthresh == UINT32_MAX && rounds < 20) {
        (void)slow_round(&f, 0.03, MSS);
        rounds++;
    }
    CHECK(rounds >= 5 && rounds <= 7);
    CHECK(f.cc.ssthresh <= f.cc.cwnd && f.cc.ssthresh > f.cc.cwnd / 10 * 9);
    struct model m = model_new(segs(&f), segs(&f), segs(&f));
    follow_model(&f, &m, 5);
}

/* RFC 9406 section 4.2: when it was no queue, slow start goes on. */
static void a_falling_rtt_resumes_slow_start(void)
{
    struct flow f = after_three_rounds(0.02);
    for (int i = 0; i < 2; i++)
        (void)slow_round(&f, 0.03, MSS);
    CHECK(slow_round(&f, 0.03, MSS) < 1.3);
    (void)slow_round(&f, 0.02, MSS);
    CHECK(slow_round(&f, 0.02, MSS) > 1.9);
    CHECK_EQ(f.cc.ssthresh, UINT32_MAX);
}

/* An ACK of many segments opens the window by 45 at first, later by two (RFC 3465). */
static void one_ack_opens_so_much(void)
{
    struct flow f = flow_new(MSS, 0.1);
    ack(&f, 50 * MSS, 0, true);
    CHECK_EQ(f.cc.cwnd, 55 * MSS);
    ops()->on_timeout(&f.cc, 55 * MSS, MSS);
    ack(&f, 10 * MSS, 0, true);
    CHECK_EQ(f.cc.cwnd, 3 * MSS);
}

int main(void)
{
    RUN(growth_is_that_of_the_rfc);
    RUN(concave_then_convex);
    RUN(reno_friendly_when_small);
    RUN(target_is_bounded);
    RUN(beta);
    RUN(fast_convergence);
    RUN(timeout);
    RUN(unused_time_does_not_count);
    RUN(clock_wraps);
    RUN(undo);
    RUN(idle_restarts_from_the_initial_window);
    RUN(nothing_overflows);
    RUN(a_rising_rtt_slows_slow_start);
    RUN(merged_segments_double_too);
    RUN(few_samples_prove_nothing);
    RUN(five_slow_rounds_end_it);
    RUN(a_falling_rtt_resumes_slow_start);
    RUN(one_ack_opens_so_much);
    return TEST_RESULT();
}
