/* SPDX-License-Identifier: Apache-2.0 */
/* Options of a connection: checked, kept by listeners, given to connections, changed and read. */
#include "engine.h"

/* Deadlines must lie less than 39 hours ahead: timer_wheel.h. The first two are Linux's bounds. */
#define KEEPALIVE_MAX QS_S(32767)
#define KEEPALIVE_COUNT_MAX 127u
#define USER_TIMEOUT_MAX QS_S(86400)

void qs_conn_opts_init(struct qs_conn_opts *o)
{
    *o = (struct qs_conn_opts){
        .size = sizeof *o,
        .keepalive_idle = QS_S(7200), /* RFC 1122 section 4.2.3.6: no less by default */
        .keepalive_interval = QS_S(75),
        .keepalive_count = 9,
    };
}

static uint32_t ms(qs_dur d)
{
    uint64_t unit = QS_MS(1).ns;
    return (uint32_t)(d.ns / unit + (d.ns % unit ? 1 : 0));
}

static bool is_wait(qs_dur d)
{
    return d.ns && d.ns <= KEEPALIVE_MAX.ns;
}

bool qs_tcp_conf_from(struct qs_tcp_conf *to, const struct qs_conn_opts *o)
{
    int cc_algo = o->size == sizeof *o ? qs_cc_find(o->cc) : -1;
    if (cc_algo < 0 || !is_wait(o->keepalive_idle) || !is_wait(o->keepalive_interval) ||
        o->keepalive_count == 0 || o->keepalive_count > KEEPALIVE_COUNT_MAX ||
        o->user_timeout.ns > USER_TIMEOUT_MAX.ns)
        return false;
    *to = (struct qs_tcp_conf){
        .keep_idle_ms = ms(o->keepalive_idle),
        .keep_interval_ms = ms(o->keepalive_interval),
        .user_timeout_ms = ms(o->user_timeout),
        .keep_count = (uint8_t)o->keepalive_count,
        .cc_algo = (uint8_t)cc_algo,
        .keepalive = o->keepalive,
        .nagle = o->nagle,
    };
    return true;
}

void qs_tcp_configure(struct qs_block *c, const struct qs_tcp_conf *conf)
{
    c->keep_idle_ms = conf->keep_idle_ms;
    c->keep_interval_ms = conf->keep_interval_ms;
    c->user_timeout_ms = conf->user_timeout_ms;
    c->keep_count = conf->keep_count;
    c->cc_algo = conf->cc_algo;
    c->flags &= ~(QS_CF_KEEPALIVE | QS_CF_NAGLE);
    c->flags |= (conf->keepalive ? QS_CF_KEEPALIVE : 0) | (conf->nagle ? QS_CF_NAGLE : 0);
}

qs_err qs_conn_set_opts(qs_engine *e, qs_conn handle, const struct qs_conn_opts *o)
{
    struct qs_block *c = qs_block_of(e, handle);
    struct qs_tcp_conf conf;
    if (!c)
        return QS_ERR_STALE;
    if (!qs_tcp_conf_from(&conf, o))
        return QS_ERR_ARG;
    qs_tcp_cc_choose(c, conf.cc_algo);
    qs_tcp_configure(c, &conf);
    c->keep_sent = 0;
    c->flags &= ~QS_CF_KEEP_PROBE;
    if (c->state == QS_TCP_CLOSED)
        return 0;
    qs_tcp_keepalive_start(e, c, e->now);
    qs_tcp_cap_rexmt(e, c);
    if (c->tx.len >
        qs_seq_span(c->snd_una, c->snd_max)) /* Nagle's algorithm may have held it back */
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
        .keepalive_idle = QS_MS(c->keep_idle_ms),
        .keepalive_interval = QS_MS(c->keep_interval_ms),
        .keepalive_count = c->keep_count,
        .user_timeout = QS_MS(c->user_timeout_ms),
        .nagle = c->flags & QS_CF_NAGLE,
        .cc = qs_cc_ops(c->cc_algo)->name,
    };
    return 0;
}
