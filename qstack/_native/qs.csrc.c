/* SPDX-License-Identifier: Apache-2.0 */
/* Source of the extension qstack._native._qs: the public headers, and shorthands that take a handle
 * as a plain integer, so that Python builds no structure for each call. */
#include "qstack/qs_app.h"
#include "qstack/qs_class.h"
#include "qstack/qs_residency.h"
#include "qstack/qs_stats.h"
#include <stdlib.h>
#include <string.h>

static int qspy_listen(qs_stack *s, const qs_addr *addr, uint16_t port, uint8_t prio,
                       const char *cc, uint64_t keepalive_ns, uint64_t user_timeout_ns,
                       bool nodelay, bool pacing, uint64_t pacing_rate_max, uint32_t rcvbuf_bytes,
                       uint32_t sndbuf_bytes, uint16_t mss_max, bool shed_rst, uint8_t messages,
                       uint32_t app, struct qs_diag *diag)
{
    struct qs_stack_listen l;

    qs_stack_listen_init(&l);
    l.l.addr = *addr;
    l.l.port = port;
    l.l.prio = prio;
    l.l.conn.cc = cc;
    l.l.conn.keepalive = keepalive_ns > 0;
    if (keepalive_ns)
        l.l.conn.keepalive_idle.ns = keepalive_ns;
    l.l.conn.user_timeout.ns = user_timeout_ns;
    l.l.conn.nagle = !nodelay;
    l.l.conn.pacing = pacing;
    l.l.conn.pacing_rate_max = pacing_rate_max;
    l.l.conn.rcvbuf_bytes = rcvbuf_bytes;
    l.l.conn.sndbuf_bytes = sndbuf_bytes;
    l.l.conn.mss_max = mss_max;
    l.l.shed_rst = shed_rst;
    l.l.messages = messages;
    l.app = app;
    return qs_stack_listen(s, &l, diag);
}

static size_t qspy_residency(const qs_stack *s, uint32_t prio, uint32_t stage, uint64_t *counts,
                             size_t n)
{
    return qs_stack_residency(s, prio, (enum qs_stage)stage, counts, n);
}

static int64_t qspy_write(qs_app *a, uint64_t conn, const char *buf, size_t len)
{
    return qs_app_write(a, (qs_conn){conn}, buf, len);
}

static qs_err qspy_send(qs_app *a, uint64_t conn, uint32_t prio, const char *buf, size_t len)
{
    return qs_app_send(a, (qs_conn){conn}, prio, buf, len);
}

static qs_err qspy_shutdown(qs_app *a, uint64_t conn)
{
    return qs_app_shutdown(a, (qs_conn){conn});
}

static qs_err qspy_close(qs_app *a, uint64_t conn)
{
    return qs_app_close(a, (qs_conn){conn});
}

static qs_err qspy_abort(qs_app *a, uint64_t conn)
{
    return qs_app_abort(a, (qs_conn){conn});
}

static qs_err qspy_peer(qs_app *a, uint64_t conn, qs_addr *remote, uint16_t *port)
{
    return qs_app_peer(a, (qs_conn){conn}, remote, port);
}

/* ---- qstack.testing: one engine in virtual time ---- */

static void *qspy_alloc(void *ctx, size_t bytes)
{
    void *block = NULL;

    (void)ctx;
    if (posix_memalign(&block, 64, bytes))
        return NULL;
    return memset(block, 0, bytes);
}

static void qspy_free(void *ctx, void *block, size_t bytes)
{
    (void)ctx;
    (void)bytes;
    free(block);
}

static qs_err qspy_engine_new(qs_engine **out, const qs_engine_opts *o)
{
    const struct qs_mem mem = {qspy_alloc, qspy_free, NULL};

    return qs_engine_new(out, o, &mem);
}

/* A copy of exactly the frame's length: the caller's bytes are never written, and a sanitizer sees
 * an access past their end. */
static void qspy_engine_rx(qs_engine *e, const char *frame, size_t len, uint64_t now)
{
    uint8_t *copy = malloc(len ? len : 1);
    struct qs_frame f = {.data = copy, .len = (uint32_t)len};

    if (!copy)
        return; /* as a frame that is lost */
    memcpy(copy, frame, len);
    qs_engine_rx(e, &f, 1, (qs_time){now});
    free(copy);
}

/* One frame. @return its length, 0 when none is to be sent. */
static size_t qspy_engine_tx(qs_engine *e, char *buf, size_t room, uint64_t now)
{
    struct qs_frame f = {.data = (uint8_t *)buf, .room = (uint32_t)room};

    return qs_engine_tx(e, &f, 1, (qs_time){now}) ? f.len : 0;
}

static uint64_t qspy_engine_deadline(const qs_engine *e)
{
    return qs_engine_deadline(e).ns;
}

static qs_err qspy_neigh_set(qs_engine *e, const qs_addr *addr, const char *mac, uint64_t now)
{
    return qs_engine_neigh_set(e, addr, (const uint8_t *)mac, (qs_time){now});
}

static qs_err qspy_conn_open(qs_engine *e, const struct qs_open_opts *o, uint64_t now,
                             uint64_t *conn)
{
    qs_conn c;
    qs_err err = qs_conn_open(e, o, (qs_time){now}, &c);

    *conn = err ? 0 : c.v;
    return err;
}

static int64_t qspy_conn_read(qs_engine *e, uint64_t conn, char *buf, size_t len)
{
    return qs_conn_read(e, (qs_conn){conn}, buf, len);
}

static int64_t qspy_conn_write(qs_engine *e, uint64_t conn, const char *buf, size_t len)
{
    return qs_conn_write(e, (qs_conn){conn}, buf, len);
}

static qs_err qspy_conn_want_write(qs_engine *e, uint64_t conn)
{
    return qs_conn_want_write(e, (qs_conn){conn});
}

static qs_err qspy_conn_shutdown(qs_engine *e, uint64_t conn)
{
    return qs_conn_shutdown(e, (qs_conn){conn});
}

static qs_err qspy_conn_close(qs_engine *e, uint64_t conn)
{
    return qs_conn_close(e, (qs_conn){conn});
}

static qs_err qspy_conn_abort(qs_engine *e, uint64_t conn)
{
    return qs_conn_abort(e, (qs_conn){conn});
}

static qs_err qspy_conn_set_opts(qs_engine *e, uint64_t conn, const struct qs_conn_opts *o)
{
    return qs_conn_set_opts(e, (qs_conn){conn}, o);
}

static qs_err qspy_conn_get_opts(const qs_engine *e, uint64_t conn, struct qs_conn_opts *out)
{
    return qs_conn_get_opts(e, (qs_conn){conn}, out);
}

static qs_err qspy_conn_info(const qs_engine *e, uint64_t conn, struct qs_conn_info *out)
{
    return qs_conn_info(e, (qs_conn){conn}, out);
}
