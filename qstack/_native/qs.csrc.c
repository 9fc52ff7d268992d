/* SPDX-License-Identifier: Apache-2.0 */
/* Source of the extension qstack._native._qs: the public headers, and shorthands that take a handle as
 * a plain integer, so that Python builds no structure for each call. */
#include "qstack/qs_app.h"
#include "qstack/qs_stats.h"

static int qspy_listen(qs_stack *s, const qs_addr *addr, uint16_t port, uint8_t prio,
                       const char *cc, uint32_t app, struct qs_diag *diag)
{
    struct qs_stack_listen l;

    qs_stack_listen_init(&l);
    l.l.addr = *addr;
    l.l.port = port;
    l.l.prio = prio;
    l.l.cc = cc;
    l.app = app;
    return qs_stack_listen(s, &l, diag);
}

static int64_t qspy_write(qs_app *a, uint64_t conn, const char *buf, size_t len)
{
    return qs_app_write(a, (qs_conn){conn}, buf, len);
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
