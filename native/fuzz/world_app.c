/* SPDX-License-Identifier: Apache-2.0 */
/* The application's side of the world: handles, events, bytes, and what holds between calls. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "world.h"

static uint32_t peer_of(const struct fuzz_world *w, const struct qs_conn_info *info)
{
    uint32_t i = 0;
    for (; i < FUZZ_PEERS; i++) {
        const struct fuzz_peer *p = &w->peers[i];
        if (p->port == info->remote_port && p->engine_port == info->local_port &&
            memcmp(&p->to_engine.src, &info->remote, sizeof(qs_addr)) == 0)
            break;
    }
    return i;
}

/* The sequence number of the first octet to read, if the SYNs that were fed leave no doubt. */
static void find_base(const struct fuzz_world *w, struct fuzz_handle *h)
{
    if (h->peer == FUZZ_PEERS)
        return;
    const struct fuzz_peer *p = &w->peers[h->peer];
    h->base = p->syn_seq + 1;
    h->base_known =
        p->one_syn && !p->other_syn && (h->peer >= FUZZ_PEER_ACTIVE || p->syn_acked == h->base);
}

static struct fuzz_handle *find(struct fuzz_world *w, qs_conn c)
{
    for (uint32_t i = 0; i < FUZZ_HANDLES; i++) {
        if (w->handles[i].alive && w->handles[i].conn.v == c.v)
            return &w->handles[i];
    }
    return NULL;
}

/* A place for a new handle; the oldest stale one is forgotten. NULL when all live. */
static struct fuzz_handle *place(struct fuzz_world *w, qs_conn c)
{
    for (uint32_t i = 0; i < FUZZ_HANDLES; i++)
        FUZZ_REQUIRE(w->handles[i].conn.v != c.v || !c.v);
    for (uint32_t i = 0; i < FUZZ_HANDLES; i++) {
        if (!w->handles[i].alive) {
            memmove(&w->handles[i], &w->handles[i + 1],
                    (FUZZ_HANDLES - 1 - i) * sizeof w->handles[0]);
            w->handles[FUZZ_HANDLES - 1] = (struct fuzz_handle){.conn = c, .alive = true};
            return &w->handles[FUZZ_HANDLES - 1];
        }
    }
    fuzz_fail("more connections than conns_max");
}

static void on_open(struct fuzz_world *w, const struct qs_event *ev)
{
    struct fuzz_handle *h = find(w, ev->conn);
    struct qs_conn_info info;
    FUZZ_REQUIRE((ev->listener < 0) == (h != NULL));
    if (!h)
        h = place(w, ev->conn);
    FUZZ_REQUIRE(qs_conn_info(w->engine, ev->conn, &info) == 0);
    h->peer = peer_of(w, &info);
    h->framed = w->messages && ev->listener >= 0;
    find_base(w, h);
}

void fuzz_events(struct fuzz_world *w)
{
    struct qs_event ev[3];
    size_t n;
    for (uint32_t turn = 0; (n = qs_engine_events(w->engine, ev, 3)) > 0; turn++) {
        FUZZ_REQUIRE(n <= 3 && turn < 100);
        for (size_t i = 0; i < n; i++) {
            FUZZ_REQUIRE(ev[i].flags != 0 && ev[i].prio < QS_N_PRIO);
            if (ev[i].flags & QS_EVENT_OPEN)
                on_open(w, &ev[i]);
            struct fuzz_handle *h = find(w, ev[i].conn);
            FUZZ_REQUIRE(h); /* no event after close, abort or CLOSED */
            if (ev[i].flags & QS_EVENT_CLOSED) {
                h->alive = false;
                h->gone = true;
            }
        }
    }
}

struct fuzz_handle *fuzz_handle(struct fuzz_world *w, uint8_t idx)
{
    /* From the youngest on: small numbers mean connections that live. */
    return &w->handles[FUZZ_HANDLES - 1 - idx % FUZZ_HANDLES];
}

static bool error_is(const struct fuzz_handle *h, int64_t err)
{
    return h->alive ? err != QS_ERR_STALE : err == QS_ERR_STALE;
}

/* ---- messages ---- */

static int class_of(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx)
{
    (void)ctx;
    return data && len > 1 ? data[1] % 16 : flow->prio; /* half of them are no classes */
}

uint8_t fuzz_messages(qs_engine *e)
{
    struct qs_framing_opts f;
    struct qs_classifier_opts k;
    qs_framing_opts_init(&f, QS_FRAMING_LENGTH);
    f.length_octets = 1;
    f.length_adds = 1;
    f.message_max = 255; /* the longest there could be is too long */
    qs_classifier_opts_init(&k);
    k.fn = class_of;
    int number = qs_engine_messages(e, &f, &k);
    FUZZ_REQUIRE(number > 0);
    return (uint8_t)number;
}

/* The next message for class `prio`: told once, and as the peer sent it. */
static void take_message(struct fuzz_world *w, struct fuzz_handle *h, uint32_t prio)
{
    struct qs_message m;
    struct qs_span spans[4];
    int got = qs_conn_message(w->engine, h->conn, prio, &m);
    w->queued = true;
    FUZZ_REQUIRE(error_is(h, got) && got <= 1);
    if (got != 1)
        return;
    FUZZ_REQUIRE(m.len >= 1 && m.len <= 255 && m.prio >= prio);
    uint32_t seen = 0;
    int n = qs_conn_message_peek(w->engine, h->conn, &m, 0, spans, 4);
    FUZZ_REQUIRE(n >= 1 && n <= 4);
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < spans[i].len; k++, seen++)
            if (h->base_known && !w->tainted && spans[i].data[k] != fuzz_octet(m.place + seen))
                fuzz_fail("octet %u of the message at %u is %#x", seen, m.place, spans[i].data[k]);
    FUZZ_REQUIRE(seen == m.len);
    FUZZ_REQUIRE(spans[0].data[0] + 1u == m.len);
    FUZZ_REQUIRE(qs_conn_message_peek(w->engine, h->conn, &m, m.len, spans, 4) == QS_ERR_ARG);
    FUZZ_REQUIRE(qs_conn_message_done(w->engine, h->conn, &m) == 0);
    qs_err again = qs_conn_message_done(w->engine, h->conn, &m);
    FUZZ_REQUIRE(again == QS_ERR_ARG || again == QS_ERR_STALE);
}

static void send_message(struct fuzz_world *w, struct fuzz_handle *h, uint32_t len)
{
    uint8_t *buf = calloc(1, len ? len : 1);
    FUZZ_REQUIRE(buf);
    qs_err err = qs_conn_send(w->engine, h->conn, len % 9, buf, len);
    free(buf);
    w->queued = true;
    FUZZ_REQUIRE(error_is(h, err));
    FUZZ_REQUIRE(err != 0 || (len > 0 && len % 9 < QS_N_PRIO && !h->shut));
    if (err == 0)
        h->written += len;
}

/* ---- bytes ---- */

void fuzz_write(struct fuzz_world *w, struct fuzz_handle *h, uint32_t len)
{
    if (h->framed) {
        send_message(w, h, len);
        return;
    }
    uint8_t *buf = malloc(len ? len : 1);
    FUZZ_REQUIRE(buf);
    for (uint32_t i = 0; i < len; i++)
        buf[i] = fuzz_octet(h->written + i);
    int64_t n = qs_conn_write(w->engine, h->conn, buf, len);
    free(buf);
    w->queued = true;
    FUZZ_REQUIRE(error_is(h, n) && n <= (int64_t)len);
    FUZZ_REQUIRE(!h->shut || n == QS_ERR_CLOSED || n == QS_ERR_STALE || n == QS_ERR_RESET);
    if (n > 0)
        h->written += (uint32_t)n;
}

static void was_read(const struct fuzz_world *w, struct fuzz_handle *h, const uint8_t *data,
                     size_t len)
{
    for (size_t i = 0; i < len && h->base_known && !w->tainted; i++) {
        uint32_t seq = h->base + h->read + (uint32_t)i;
        if (data[i] != fuzz_octet(seq))
            fuzz_fail("octet %u of the stream was read as %#x instead of %#x",
                      h->read + (uint32_t)i, data[i], fuzz_octet(seq));
    }
}

void fuzz_read(struct fuzz_world *w, struct fuzz_handle *h, uint32_t len)
{
    if (h->framed) {
        take_message(w, h, len % QS_N_PRIO);
        return;
    }
    uint8_t *buf = malloc(len ? len : 1);
    FUZZ_REQUIRE(buf);
    int64_t n = qs_conn_read(w->engine, h->conn, buf, len);
    FUZZ_REQUIRE(error_is(h, n) && n <= (int64_t)len);
    if (n > 0) {
        was_read(w, h, buf, (size_t)n);
        h->read += (uint32_t)n;
    }
    free(buf);
    w->queued = true;
}

void fuzz_peek(struct fuzz_world *w, struct fuzz_handle *h, size_t n_spans, uint32_t consume)
{
    struct qs_span spans[4];
    uint32_t shown = 0, read = h->read;
    n_spans = n_spans < 4 ? n_spans : 4;
    if (h->framed) {
        FUZZ_REQUIRE(qs_conn_consume(w->engine, h->conn, consume) ==
                     (h->alive ? QS_ERR_STATE : QS_ERR_STALE));
        take_message(w, h, 0);
        return;
    }
    int n = qs_conn_peek(w->engine, h->conn, spans, n_spans);
    FUZZ_REQUIRE(error_is(h, n) && n <= (int)n_spans);
    for (int i = 0; i < n; i++) {
        FUZZ_REQUIRE(spans[i].len > 0);
        was_read(w, h, spans[i].data, spans[i].len);
        h->read += (uint32_t)spans[i].len;
        shown += (uint32_t)spans[i].len;
    }
    h->read = read;
    struct qs_conn_info info;
    qs_err err = qs_conn_info(w->engine, h->conn, &info);
    FUZZ_REQUIRE(error_is(h, err));
    if (err == 0)
        FUZZ_REQUIRE(shown <= info.readable_bytes);
    qs_err consumed = qs_conn_consume(w->engine, h->conn, consume);
    w->queued = true;
    FUZZ_REQUIRE(error_is(h, consumed));
    if (err == 0)
        FUZZ_REQUIRE((consumed == 0) == (consume <= info.readable_bytes));
    if (consumed == 0)
        h->read += consume;
}

void fuzz_shutdown(struct fuzz_world *w, struct fuzz_handle *h)
{
    FUZZ_REQUIRE(error_is(h, qs_conn_shutdown(w->engine, h->conn)));
    h->shut = true;
    w->queued = true;
}

void fuzz_give_up(struct fuzz_world *w, struct fuzz_handle *h, bool abortive)
{
    qs_err err = (abortive ? qs_conn_abort : qs_conn_close)(w->engine, h->conn);
    FUZZ_REQUIRE(err == (h->alive ? 0 : QS_ERR_STALE));
    h->gone = h->gone || h->alive;
    h->alive = false;
    w->queued = true;
}

/* ---- options ---- */

/* As qs_conn.h says it. */
static bool opts_are_right(const struct fuzz_world *w, const struct qs_conn_opts *o)
{
    static const char *const known[] = {"cubic", "newreno", "dctcp"};
    uint64_t most = QS_S(32767).ns;
    bool cc_known = o->cc == NULL;
    for (size_t i = 0; o->cc && i < sizeof known / sizeof known[0]; i++)
        cc_known |= strcmp(o->cc, known[i]) == 0;
    bool rate_known =
        o->pacing && o->pacing_rate_max >= 1000 && o->pacing_rate_max <= 1000000000000;
    return o->size == sizeof *o && cc_known && (o->pacing_rate_max == 0 || rate_known) &&
           o->keepalive_idle.ns > 0 && o->keepalive_idle.ns <= most &&
           o->keepalive_interval.ns > 0 && o->keepalive_interval.ns <= most &&
           o->keepalive_count >= 1 && o->keepalive_count <= 127 &&
           o->user_timeout.ns <= QS_S(86400).ns && o->rcvbuf_bytes <= w->opts.rcvbuf_bytes &&
           o->sndbuf_bytes <= w->opts.sndbuf_bytes && (o->mss_max == 0 || o->mss_max >= 88);
}

/* A time as it is kept: qs_conn_opts. */
static uint64_t kept(qs_dur d, qs_dur most)
{
    uint64_t unit = QS_MS(1).ns;
    if (d.ns > QS_MS(16383).ns)
        unit = d.ns > QS_S(16383).ns ? QS_S(8).ns : QS_S(1).ns;
    uint64_t up = (d.ns + unit - 1) / unit * unit;
    return up < most.ns ? up : most.ns;
}

/* Not above what was asked for, and at most a part in 1,024 below. */
static bool is_ceiling(uint64_t is, uint64_t want)
{
    return is <= want && want - is <= want / 1024;
}

static bool opts_are_same(const struct qs_conn_opts *is, const struct qs_conn_opts *want)
{
    return is->keepalive == want->keepalive && is->nagle == want->nagle &&
           is->keepalive_count == want->keepalive_count &&
           is->keepalive_idle.ns == kept(want->keepalive_idle, QS_S(32767)) &&
           is->keepalive_interval.ns == kept(want->keepalive_interval, QS_S(32767)) &&
           is->user_timeout.ns == kept(want->user_timeout, QS_S(86400)) &&
           is->mss_max == want->mss_max && is->pacing == want->pacing &&
           is_ceiling(is->pacing_rate_max, want->pacing_rate_max) &&
           strcmp(is->cc, want->cc ? want->cc : "cubic") == 0;
}

/* A size that was asked for is one that does not grow, of what the engine has. */
static bool is_size(uint32_t is, uint32_t want, uint32_t most)
{
    return want ? is >= 2048 && is <= most : is == 0;
}

static void check_sizes(const struct fuzz_world *w, const struct fuzz_handle *h,
                        const struct qs_conn_opts *is, const struct qs_conn_opts *want)
{
    struct qs_conn_info info;
    FUZZ_REQUIRE(qs_conn_info(w->engine, h->conn, &info) == 0);
    if (info.state == QS_TCP_CLOSED || info.state == QS_TCP_TIME_WAIT)
        return;
    FUZZ_REQUIRE(is_size(is->rcvbuf_bytes, want->rcvbuf_bytes, w->opts.rcvbuf_bytes));
    FUZZ_REQUIRE(is_size(is->sndbuf_bytes, want->sndbuf_bytes, w->opts.sndbuf_bytes));
    FUZZ_REQUIRE(!is->rcvbuf_bytes || is->rcvbuf_bytes == info.rcvbuf_bytes);
    FUZZ_REQUIRE(!is->sndbuf_bytes || is->sndbuf_bytes == info.sndbuf_bytes);
}

void fuzz_set_opts(struct fuzz_world *w, struct fuzz_handle *h, const struct qs_conn_opts *o)
{
    struct qs_conn_opts before, after;
    qs_conn_opts_init(&before);
    qs_conn_opts_init(&after);
    qs_err got = qs_conn_get_opts(w->engine, h->conn, &before);
    qs_err set = qs_conn_set_opts(w->engine, h->conn, o);
    w->queued = true;
    FUZZ_REQUIRE(got == (h->alive ? 0 : QS_ERR_STALE));
    if (got) {
        FUZZ_REQUIRE(set == QS_ERR_STALE);
        return;
    }
    FUZZ_REQUIRE(set == (opts_are_right(w, o) ? 0 : QS_ERR_ARG));
    FUZZ_REQUIRE(qs_conn_get_opts(w->engine, h->conn, &after) == 0);
    FUZZ_REQUIRE(opts_are_same(&after, set ? &before : o));
    check_sizes(w, h, &after, set ? &before : o);
    after.size--;
    FUZZ_REQUIRE(qs_conn_get_opts(w->engine, h->conn, &after) == QS_ERR_ARG);
}

void fuzz_tcp_info(struct fuzz_world *w, const struct fuzz_handle *h)
{
    struct qs_tcp_info t, nothing = {0};
    struct qs_conn_info info;
    memset(&t, 0xa5, sizeof t);
    qs_err err = qs_conn_tcp_info(w->engine, h->conn, &t);
    FUZZ_REQUIRE(err == (h->alive ? 0 : QS_ERR_STALE));
    if (err) {
        FUZZ_REQUIRE(memcmp(&t, &nothing, sizeof t) == 0);
        return;
    }
    FUZZ_REQUIRE(qs_conn_info(w->engine, h->conn, &info) == 0);
    FUZZ_REQUIRE(t.tcpi_state >= 1 && t.tcpi_state <= 11); /* Linux's numbers */
    FUZZ_REQUIRE((t.tcpi_state == 1) == (info.state == QS_TCP_ESTABLISHED));
    FUZZ_REQUIRE(t.tcpi_snd_mss == info.mss_octets);
    FUZZ_REQUIRE(t.tcpi_notsent_bytes <= info.unacked_bytes);
    FUZZ_REQUIRE(t.tcpi_total_retrans == info.retransmits);
    FUZZ_REQUIRE(t.tcpi_snd_wscale <= 14 && t.tcpi_rcv_wscale <= 14);
    FUZZ_REQUIRE(t.tcpi_rcv_mss > 0 && t.tcpi_rcv_mss <= t.tcpi_advmss);
    FUZZ_REQUIRE(t.tcpi_rto > 0);
}

void fuzz_open(struct fuzz_world *w, uint32_t peer)
{
    const struct fuzz_peer *p = &w->peers[peer];
    struct qs_open_opts o;
    qs_open_opts_init(&o);
    o.remote = p->to_engine.src;
    o.remote_port = p->port;
    o.local_port = p->engine_port;
    o.prio = (uint8_t)(peer % QS_N_PRIO);
    qs_conn c;
    qs_err err = qs_conn_open(w->engine, &o, w->now, &c);
    w->queued = true;
    if (err) {
        FUZZ_REQUIRE(err == QS_ERR_ADDRINUSE || err == QS_ERR_NOMEM || err == QS_ERR_ADDRNOTAVAIL);
        FUZZ_REQUIRE(c.v == 0);
        return;
    }
    struct fuzz_handle *h = place(w, c);
    h->peer = peer;
}

/* ---- what must hold ---- */

/* States in which an engine waits for the network or the clock whatever the application does. */
static bool state_needs_timer(enum qs_tcp_state s)
{
    return s != QS_TCP_ESTABLISHED && s != QS_TCP_CLOSE_WAIT && s != QS_TCP_FIN_WAIT_2 &&
           s != QS_TCP_CLOSED;
}

static bool handle_needs_timer(struct fuzz_world *w, struct fuzz_handle *h)
{
    struct qs_conn_info info;
    FUZZ_REQUIRE(qs_conn_info(w->engine, h->conn, &info) == 0);
    FUZZ_REQUIRE(info.state < QS_TCP_STATES && info.state != QS_TCP_LISTEN);
    FUZZ_REQUIRE(info.readable_bytes <= w->opts.rcvbuf_bytes);
    FUZZ_REQUIRE(info.unacked_bytes <= w->opts.sndbuf_bytes);
    FUZZ_REQUIRE(info.unacked_bytes <= h->written);
    FUZZ_REQUIRE(info.writable_bytes <= w->opts.sndbuf_bytes - info.unacked_bytes);
    FUZZ_REQUIRE(info.mss_octets > 0 && info.mss_octets <= w->opts.mtu - 40);
    return info.unacked_bytes > 0 || state_needs_timer(info.state);
}

void fuzz_check(struct fuzz_world *w)
{
    uint64_t now[QS_N_COUNTERS];
    bool needed = false;
    uint32_t alive = 0;
    qs_engine_counters(w->engine, now, QS_N_COUNTERS);
    for (size_t i = 0; i < QS_N_COUNTERS; i++)
        FUZZ_REQUIRE(i == QS_COUNT_CONNS || i == QS_COUNT_CHUNKS || now[i] >= w->counters[i]);
    memcpy(w->counters, now, sizeof now);
    for (uint32_t i = 0; i < FUZZ_HANDLES; i++) {
        struct fuzz_handle *h = &w->handles[i];
        struct qs_conn_info info;
        if (h->alive) {
            alive++;
            needed |= handle_needs_timer(w, h);
        } else if (h->gone) {
            FUZZ_REQUIRE(qs_conn_info(w->engine, h->conn, &info) == QS_ERR_STALE);
        }
    }
    FUZZ_REQUIRE(now[QS_COUNT_CONNS] <= w->opts.conns_max && now[QS_COUNT_CONNS] >= alive);
    FUZZ_REQUIRE(now[QS_COUNT_CHUNKS] <= w->opts.chunks_max);
    /* Connections that nobody holds end by themselves: half-open ones and those given up. */
    needed |= now[QS_COUNT_CONNS] > alive;
    qs_time deadline = qs_engine_deadline(w->engine);
    FUZZ_REQUIRE(!needed || deadline.ns != UINT64_MAX);
    /* After everything that is due was done, the next thing lies ahead. */
    FUZZ_REQUIRE(w->queued || deadline.ns > w->now.ns);
    const char *broken = audit_since(w->engine, &w->past);
    if (broken)
        fuzz_fail("%s", broken);
}
