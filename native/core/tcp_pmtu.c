/* SPDX-License-Identifier: Apache-2.0 */
/* The size of segments: Path MTU Discovery (RFC 1191, RFC 8201) with the counter-measure of
 * RFC 5927 section 7.2, and Packetization Layer Path MTU Discovery (RFC 4821, RFC 8899) for paths
 * that swallow what is too large. Sizes are octets of payload, as c->mss.
 *
 * A report lowers c->mss at once as long as no segment of that size was acknowledged, else when the
 * retransmission timer expires for what it was about. Timeouts of full segments lower it without a
 * report. Then larger segments of real data are tried, one at a time: after a report when it is
 * old, after timeouts as soon as octets are acknowledged again. */
#include "engine.h"

/* No IPv4 path is believed to take less: RFC 5927 section 7.1 on forged reports. 576 octets are
 * what every host takes, RFC 9293 section 3.7.1. */
#define PACKET_MIN_V4 576u
#define REPORT_MIN_V4 68u     /* RFC 791: not even a forged report says less in earnest */
#define PACKET_MIN_V6 1280u   /* RFC 8201 section 4 */
#define MSS_BASE_V4 1024u     /* RFC 4821 section 7.2 */
#define BLACK_HOLE_RTOS 2u    /* in a row; one alone is a burst of losses, three cost a second */
#define RAISE_AFTER QS_S(600) /* RFC 1191 section 6.3, RFC 8899 section 5.1.1 */
#define SEARCH_STEP 32u       /* a search that is as near as this has ended */
#define AFTER_PROBE 3u        /* full segments behind a probe, whose ACKs tell that it was lost */

/* Packet sizes of common links, RFC 1191 section 7. */
static const uint16_t plateau[] = {65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508};

static bool is_v4(const struct qs_block *c)
{
    return qs_addr_is_v4(&c->remote);
}

/* Headers and options around the payload of a segment. */
static uint32_t overhead(const struct qs_block *c)
{
    return (is_v4(c) ? QS_IPV4_BYTES : QS_IPV6_BYTES) + QS_TCP_BYTES +
           (c->flags & QS_CF_TS ? QS_TCP_TS_BYTES : 0);
}

static uint16_t age(qs_time t)
{
    return (uint16_t)qs_ts_age(t);
}

void qs_tcp_pmtu_start(struct qs_block *c)
{
    c->pmtu_wait = c->pmtu_low = c->pmtu_proven = c->pmtu_again = false;
    c->pmtu = (struct qs_pmtu){.mss_max = c->mss};
}

/* ---- sizes ---- */

static void forget_waiting(struct qs_block *c)
{
    c->pmtu.test_len = c->pmtu.claimed = 0;
    c->pmtu_wait = c->pmtu_again = false;
}

static void lower(struct qs_block *c, uint32_t mss, qs_time now)
{
    c->mss = (uint16_t)mss;
    c->pmtu_proven = false;
    c->pmtu_low = true;
    c->pmtu.next = 0;
    c->pmtu.since = age(now);
    forget_waiting(c);
}

/* The search goes on between c->mss and the smallest size that is known not to get through. */
static void search_on(struct qs_block *c, qs_time now)
{
    struct qs_pmtu *m = &c->pmtu;
    uint32_t gap = m->bad > c->mss ? (uint32_t)m->bad - c->mss : 0;
    m->next = gap > SEARCH_STEP ? (uint16_t)(c->mss + gap / 2) : 0;
    m->since = age(now);
}

static void search_anew(struct qs_block *c)
{
    c->pmtu.next = c->pmtu.mss_max;
    c->pmtu.bad = (uint16_t)(c->pmtu.mss_max + 1);
}

/* What is out goes out again in segments of the present size. It was lost for its size, so the
 * congestion window stays as it is: RFC 1191 section 6.5, RFC 4821 section 7.5. */
static void send_all_again(struct qs_engine *e, struct qs_block *c)
{
    if (qs_seq_eq(c->snd_una, c->snd_max) || c->snd_wnd == 0 || c->flags & QS_CF_PERSIST)
        return;
    if (c->flags & QS_CF_RECOVERY && c->cc.cwnd > c->cc.ssthresh)
        c->cc.cwnd = c->cc.ssthresh; /* what duplicates had inflated */
    c->dupacks = 0;
    qs_tcp_go_back(e, c);
    qs_block_ready(e, c);
    qs_tcp_start_rexmt(e, c, e->now);
}

void qs_tcp_pmtu_limit(struct qs_block *c)
{
    struct qs_pmtu *m = &c->pmtu;
    uint32_t most = c->mss_limit - (c->flags & QS_CF_TS ? QS_TCP_TS_BYTES : 0);
    if (c->mss_limit == 0 || most >= m->mss_max)
        return;
    m->mss_max = (uint16_t)most;
    if (!c->pmtu_again && (m->test_len > most || m->claimed >= most))
        forget_waiting(c); /* it is no longer of interest */
    if (c->mss < most) {
        m->next = (uint16_t)qs_min_u32(m->next, most);
        return;
    }
    c->mss = m->mss_max;
    c->pmtu_low = false;
    m->next = 0;
}

/* ---- reports ---- */

/* Largest packet that may be out. */
static uint32_t packet_out(const struct qs_block *c)
{
    return qs_max_u32(c->mss, c->pmtu.test_len) + overhead(c);
}

/* A router of before RFC 1191 does not say what it takes: the next plateau below what it refused.
 * Some of those add a header to the length that they quote, RFC 1191 section 5. */
static uint32_t next_plateau(const struct qs_block *c, uint32_t bytes)
{
    uint32_t refused = packet_out(c);
    if (bytes && bytes < refused)
        refused = bytes;
    for (size_t i = 0; i < sizeof plateau / sizeof plateau[0]; i++)
        if (plateau[i] < refused)
            return plateau[i];
    return PACKET_MIN_V4;
}

/* Packets that the path takes by the report; 0 when it is not believed. */
static uint32_t reported_packet(const struct qs_block *c, const struct qs_icmp_error *x)
{
    uint32_t mtu = x->mtu;
    if (!is_v4(c))
        return mtu < PACKET_MIN_V6 ? 0 : mtu;
    if (mtu == 0)
        mtu = next_plateau(c, x->bytes);
    if (mtu < REPORT_MIN_V4)
        return 0;
    return qs_max_u32(mtu, PACKET_MIN_V4);
}

static bool probe_out(const struct qs_block *c)
{
    return c->pmtu_wait && !c->pmtu_again && c->pmtu.test_len > c->mss;
}

static void mark_probe_lost(struct qs_engine *e, struct qs_block *c)
{
    struct qs_range probe = {c->pmtu.test_seq, qs_seq_add(c->pmtu.test_seq, c->pmtu.test_len)};
    struct qs_sent *r = qs_sent_first(&e->sent, c);
    for (; r && qs_seq_lt(r->seq, probe.end); r = qs_sent_next(&e->sent, r))
        if (qs_seq_lt(probe.start, r->end) && !(r->state & QS_SENT_SACKED))
            qs_sent_mark(c, r, QS_SENT_LOST | (r->state & QS_SENT_TWICE));
}

/* The octets of the probe, and nothing else, go out again. They count as outstanding all the time,
 * and duplicates that tell of their loss are no reason for a second recovery. */
static void send_probe_again(struct qs_engine *e, struct qs_block *c)
{
    if (c->flags & QS_CF_SACK) {
        mark_probe_lost(e, c);
        forget_waiting(c);
    } else {
        c->recover = c->snd_max;
        c->dupacks = 0;
        c->flags &= ~QS_CF_RTT_TIMED;
        c->pmtu_again = true;
    }
    qs_block_ready(e, c);
    qs_tcp_start_rexmt(e, c, e->now);
}

/* The probe was refused, while segments of c->mss still get through. */
static bool probe_refused(struct qs_engine *e, struct qs_block *c, uint32_t claimed, qs_seq seq)
{
    struct qs_pmtu *m = &c->pmtu;
    if (!probe_out(c) || m->test_len <= claimed || claimed < c->mss || !qs_seq_eq(seq, m->test_seq))
        return false;
    m->bad = (uint16_t)(claimed + 1);
    m->next = claimed > c->mss ? (uint16_t)claimed : 0;
    m->since = age(e->now);
    send_probe_again(e, c);
    return true;
}

bool qs_tcp_pmtu_report(struct qs_engine *e, struct qs_block *c, const struct qs_icmp_error *x,
                        qs_time now)
{
    uint32_t packet = reported_packet(c, x);
    /* A packet that fits into what is reported was not refused for its size. */
    if (!qs_tcp_synchronized(c) || packet <= overhead(c) || (x->bytes && x->bytes <= packet))
        return false;
    uint32_t claimed = packet - overhead(c);
    if (probe_refused(e, c, claimed, (qs_seq){x->seq}))
        return true;
    if (claimed >= c->mss)
        return false;
    /* RFC 5927 section 7.2: while full segments get through, a report is believed when what it is
     * about is not acknowledged in time. */
    if (c->pmtu_proven) {
        c->pmtu.claimed = (uint16_t)claimed;
        c->pmtu.claimed_seq = (qs_seq){x->seq};
        c->pmtu_wait = true;
        return true;
    }
    lower(c, claimed, now);
    qs_count(e, QS_COUNT_PMTU_LOWERED);
    send_all_again(e, c);
    return true;
}

/* ---- acknowledged and not ---- */

static void proven(struct qs_engine *e, struct qs_block *c, uint16_t size)
{
    bool larger = size > c->mss;
    c->pmtu_proven = true;
    if (!larger)
        return;
    c->mss = size;
    qs_count(e, QS_COUNT_PMTU_RAISED);
    if (size >= c->pmtu.mss_max)
        c->pmtu_low = false;
    else
        search_on(c, e->now);
}

void qs_tcp_pmtu_acked(struct qs_engine *e, struct qs_block *c)
{
    struct qs_pmtu *m = &c->pmtu;
    bool again = c->pmtu_again;
    if (m->test_len && !again && qs_seq_le(qs_seq_add(m->test_seq, m->test_len), c->snd_una)) {
        uint16_t size = m->test_len;
        m->test_len = 0;
        proven(e, c, size);
    }
    if (m->claimed && qs_seq_lt(m->claimed_seq, c->snd_una))
        m->claimed = 0; /* it got through: the report was false */
    if ((!m->test_len || again) && !m->claimed)
        c->pmtu_wait = false;
}

static void probe_failed(struct qs_engine *e, struct qs_block *c)
{
    c->pmtu.bad = c->pmtu.test_len;
    search_on(c, e->now);
}

bool qs_tcp_pmtu_probe_lost(struct qs_engine *e, struct qs_block *c)
{
    bool alone = c->flags & QS_CF_SACK ? c->loss.lost == c->pmtu.test_len : true;
    if (!probe_out(c) || !alone || !qs_seq_eq(c->snd_una, c->pmtu.test_seq))
        return false;
    probe_failed(e, c);
    send_probe_again(e, c);
    return true;
}

void qs_tcp_pmtu_resent(struct qs_engine *e, struct qs_block *c, qs_seq seq, uint32_t len)
{
    const struct qs_pmtu *m = &c->pmtu;
    if (!probe_out(c) || !qs_seq_lt(seq, qs_seq_add(m->test_seq, m->test_len)) ||
        !qs_seq_lt(m->test_seq, qs_seq_add(seq, len)))
        return;
    probe_failed(e, c);
    forget_waiting(c);
}

uint32_t qs_tcp_pmtu_again(struct qs_block *c)
{
    struct qs_pmtu *m = &c->pmtu;
    qs_seq end = qs_seq_add(m->test_seq, m->test_len);
    if (qs_seq_lt(m->test_seq, c->snd_una))
        m->test_seq = qs_seq_lt(c->snd_una, end) ? c->snd_una : end;
    m->test_len = (uint16_t)qs_seq_span(m->test_seq, end);
    if (m->test_len == 0 || qs_seq_span(c->snd_una, end) > c->snd_wnd) /* then the timer does it */
        forget_waiting(c);
    return m->test_len;
}

/* Expiries in a row although the neighbour is there, and full segments are what is out. */
static bool swallowed(const struct qs_engine *e, const struct qs_block *c)
{
    uint32_t out = qs_min_u32(qs_seq_span(c->snd_una, c->snd_max), c->tx.len);
    return c->backoff >= BLACK_HOLE_RTOS && out >= c->mss &&
           e->neighs[c->neigh].state == QS_NEIGH_VALID;
}

/* What was reported has come true. The ACKs that would pace a whole window are gone, so it starts
 * as after an idle time, RFC 5681 section 4.1. */
static void believe(struct qs_engine *e, struct qs_block *c)
{
    lower(c, c->pmtu.claimed, e->now);
    c->backoff = 0;
    send_all_again(e, c);
    qs_cc_ops(c->cc_algo)->on_idle(&c->cc, c->mss);
    qs_count(e, QS_COUNT_PMTU_LOWERED);
}

bool qs_tcp_pmtu_timeout(struct qs_engine *e, struct qs_block *c)
{
    if (c->pmtu_wait && c->pmtu.claimed) {
        believe(e, c);
        return true;
    }
    if (probe_out(c))
        probe_failed(e, c);
    if (c->pmtu.test_len > c->mss || c->pmtu_again) {
        forget_waiting(c);
        return false;
    }
    uint32_t base = is_v4(c) ? MSS_BASE_V4 : PACKET_MIN_V6 - overhead(c);
    if (c->mss > base && swallowed(e, c)) {
        lower(c, base, e->now);
        search_anew(c);
        qs_count(e, QS_COUNT_PMTU_BLACK_HOLES);
    }
    return false;
}

/* ---- larger segments ---- */

uint32_t qs_tcp_pmtu_probe(struct qs_engine *e, struct qs_block *c, uint32_t unsent,
                           uint32_t window)
{
    struct qs_pmtu *m = &c->pmtu;
    if (m->next == 0) {
        if ((uint16_t)(age(e->now) - m->since) < age((qs_time){RAISE_AFTER.ns}))
            return 0;
        search_anew(c);
    }
    /* Only when nothing else is lost or sent again, so that the loss of a probe is seen as such. */
    bool calm = c->pmtu_proven && !c->pmtu_wait && !c->pmtu_again &&
                !(c->flags & (QS_CF_RECOVERY | QS_CF_DSACK)) && !c->dupacks && !c->backoff &&
                !c->n_sacks && !c->loss.sacked && !c->loss.lost &&
                qs_seq_eq(c->snd_nxt, c->snd_max) && qs_seq_le(c->recover, c->snd_una);
    uint32_t needed = m->next + AFTER_PROBE * c->mss;
    return calm && unsent >= needed && window >= needed ? m->next : 0;
}

void qs_tcp_pmtu_test(struct qs_block *c, qs_seq seq, uint32_t len)
{
    c->pmtu.test_seq = seq;
    c->pmtu.test_len = (uint16_t)len;
    c->pmtu_wait = true;
}
