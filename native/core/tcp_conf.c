/* SPDX-License-Identifier: Apache-2.0 */
/* Options of a connection: checked, kept by listeners, given to connections, changed and read. */
#include "engine.h"

/* Deadlines must lie less than 39 hours ahead: timer_wheel.h. The first two are Linux's bounds. */
#define KEEPALIVE_MAX QS_S(32767)
#define KEEPALIVE_COUNT_MAX 127u
#define USER_TIMEOUT_MAX QS_S(86400)

/* The longest cannot be passed in a lifetime of buffers, the smallest lets a segment of any size
 * leave before pace_from wraps: tcp_pace.c. */
#define PACING_RATE_MIN 1000u
#define PACING_RATE_MAX 1000000000000u

/* A wait in 16 bits: two choose the unit, the others count it. */
#define WAIT_BITS 14
#define WAIT_MOST ((1u << WAIT_BITS) - 1)
static const qs_dur wait_units[] = {QS_MS(1), QS_S(1), QS_S(8)};

void qs_conn_opts_init(struct qs_conn_opts *o)
{
    *o = (struct qs_conn_opts){
        .size = sizeof *o,
        .keepalive_idle = QS_S(7200), /* RFC 1122 section 4.2.3.6: no less by default */
        .keepalive_interval = QS_S(75),
        .keepalive_count = 9,
    };
}

/* Rounded up; `d` is at most USER_TIMEOUT_MAX. */
static uint16_t wait_code(qs_dur d)
{
    uint32_t unit = 0;
    while (d.ns > WAIT_MOST * wait_units[unit].ns)
        unit++;
    uint64_t n = (d.ns + wait_units[unit].ns - 1) / wait_units[unit].ns;
    return (uint16_t)(unit << WAIT_BITS | n);
}

qs_dur qs_tcp_wait(uint16_t code)
{
    return (qs_dur){(code & WAIT_MOST) * wait_units[code >> WAIT_BITS].ns};
}

/* What is kept as a multiple of its unit may lie above the bound. */
static qs_dur keepalive_wait(uint16_t code)
{
    qs_dur d = qs_tcp_wait(code);
    return d.ns < KEEPALIVE_MAX.ns ? d : KEEPALIVE_MAX;
}

static bool is_wait(qs_dur d)
{
    return d.ns && d.ns <= KEEPALIVE_MAX.ns;
}

static bool is_pacing(const struct qs_conn_opts *o)
{
    if (!o->pacing_rate_max)
        return true;
    return o->pacing && o->pacing_rate_max >= PACING_RATE_MIN &&
           o->pacing_rate_max <= PACING_RATE_MAX;
}

static bool are_sizes(const struct qs_engine *e, const struct qs_conn_opts *o)
{
    return o->rcvbuf_bytes <= e->opts.rcvbuf_bytes && o->sndbuf_bytes <= e->opts.sndbuf_bytes &&
           (o->mss_max == 0 || o->mss_max >= QS_MSS_MIN);
}

static uint8_t size_number(const struct qs_buf_sizes *sizes, uint32_t octets)
{
    return octets ? qs_buf_number(sizes, octets) : QS_BUF_GROWS;
}

bool qs_tcp_conf_from(const struct qs_engine *e, struct qs_tcp_conf *to,
                      const struct qs_conn_opts *o)
{
    int cc_algo = o->size == sizeof *o ? qs_cc_find(o->cc) : -1;
    if (cc_algo < 0 || !is_wait(o->keepalive_idle) || !is_wait(o->keepalive_interval) ||
        o->keepalive_count == 0 || o->keepalive_count > KEEPALIVE_COUNT_MAX ||
        o->user_timeout.ns > USER_TIMEOUT_MAX.ns || !is_pacing(o) || !are_sizes(e, o))
        return false;
    *to = (struct qs_tcp_conf){
        .keep_idle = wait_code(o->keepalive_idle),
        .keep_interval = wait_code(o->keepalive_interval),
        .user_timeout = wait_code(o->user_timeout),
        .pace_max = o->pacing ? qs_pace_code(o->pacing_rate_max) : QS_PACE_OFF,
        .mss_limit = o->mss_max,
        .keep_count = (uint8_t)o->keepalive_count,
        .cc_algo = (uint8_t)cc_algo,
        .rcvbuf = size_number(&e->rcvbuf, o->rcvbuf_bytes),
        .sndbuf = size_number(&e->sndbuf, o->sndbuf_bytes),
        .keepalive = o->keepalive,
        .nagle = o->nagle,
    };
    return true;
}

/* All but buffers. */
static void take_over(struct qs_block *c, const struct qs_tcp_conf *conf)
{
    c->keep_idle = conf->keep_idle;
    c->keep_interval = conf->keep_interval;
    c->user_timeout = conf->user_timeout;
    c->pace_max = conf->pace_max;
    c->mss_limit = conf->mss_limit;
    c->keep_count = conf->keep_count;
    c->cc_algo = conf->cc_algo & QS_CC_MASK;
    c->flags &= ~(QS_CF_KEEPALIVE | QS_CF_NAGLE);
    c->flags |= (conf->keepalive ? QS_CF_KEEPALIVE : 0) | (conf->nagle ? QS_CF_NAGLE : 0);
}

void qs_tcp_configure(struct qs_engine *e, struct qs_block *c, const struct qs_tcp_conf *conf)
{
    take_over(c, conf);
    qs_buffers_configure(e, c, conf);
}

static void take_over_sizes(struct qs_engine *e, struct qs_block *c, const struct qs_tcp_conf *conf)
{
    qs_tcp_pmtu_limit(c);
    if (c->state == QS_TCP_TIME_WAIT) /* the buffers are given back */
        return;
    qs_buffers_configure(e, c, conf);
    qs_tcp_window_opened(e, c);
    qs_sndbuf_opened(e, c);
}

qs_err qs_conn_set_opts(qs_engine *e, qs_conn handle, const struct qs_conn_opts *o)
{
    struct qs_block *c = qs_block_of(e, handle);
    struct qs_tcp_conf conf;
    if (!c)
        return QS_ERR_STALE;
    if (!qs_tcp_conf_from(e, &conf, o))
        return QS_ERR_ARG;
    qs_tcp_cc_choose(c, conf.cc_algo);
    take_over(c, &conf);
    c->keep_sent = 0;
    c->flags &= ~QS_CF_KEEP_PROBE;
    if (c->state == QS_TCP_CLOSED)
        return 0;
    take_over_sizes(e, c, &conf);
    qs_tcp_keepalive_start(e, c, e->now);
    qs_tcp_cap_rexmt(e, c);
    /* Nagle's algorithm or pacing may have held it back. */
    if (c->tx.len > qs_seq_span(c->snd_una, c->snd_max) || c->flags & QS_CF_PACED)
        qs_block_ready(e, c);
    return 0;
}

qs_err qs_conn_get_opts(const qs_engine *e, qs_conn handle, struct qs_conn_opts *out)
{
    const struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    if (out->size != sizeof *out)
        return QS_ERR_ARG;
    *out = (struct qs_conn_opts){
        .size = sizeof *out,
        .keepalive = c->flags & QS_CF_KEEPALIVE,
        .keepalive_idle = keepalive_wait(c->keep_idle),
        .keepalive_interval = keepalive_wait(c->keep_interval),
        .keepalive_count = c->keep_count,
        .user_timeout = qs_tcp_wait(c->user_timeout),
        .nagle = c->flags & QS_CF_NAGLE,
        .pacing = c->pace_max != QS_PACE_OFF,
        .pacing_rate_max = qs_pace_ceiling(c->pace_max),
        .rcvbuf_bytes = c->rcvbuf_fixed ? qs_rcvbuf(e, c) : 0,
        .sndbuf_bytes = c->sndbuf_fixed ? qs_sndbuf(e, c) : 0,
        .mss_max = c->mss_limit,
        .cc = qs_cc_ops(c->cc_algo)->name,
    };
    return 0;
}
