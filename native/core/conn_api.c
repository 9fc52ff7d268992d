/* SPDX-License-Identifier: Apache-2.0 */
/* The application's calls on connections, qs_conn.h: RFC 9293 section 3.9.1. */
#include "engine.h"

static bool eof(const struct qs_block *c)
{
    return c->flags & QS_CF_FIN_ARRIVED && qs_seq_lt(c->rcv_fin, c->rcv_nxt);
}

int qs_conn_peek(qs_engine *e, qs_conn handle, struct qs_span *spans, size_t n)
{
    struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    if (c->flags & QS_CF_FRAMED)
        return QS_ERR_STATE;
    if (c->rx.len == 0)
        return eof(c) || c->state == QS_TCP_CLOSED ? QS_ERR_EOF : 0;
    size_t done = 0;
    for (uint32_t idx = c->rx.head; idx != QS_NO_IDX && done < n; idx = e->pool.chunks[idx].next) {
        const struct qs_chunk *k = &e->pool.chunks[idx];
        spans[done++] = (struct qs_span){k->data + k->start, k->len};
    }
    return (int)done;
}

void qs_block_read(struct qs_engine *e, struct qs_block *c, uint32_t octets)
{
    qs_bytes_drop(&e->pool, &c->rx, octets);
    if (qs_rcvbuf(e, c) < e->opts.rcvbuf_bytes && !c->rcvbuf_fixed)
        qs_rcvbuf_read(e, c, octets);
    qs_tcp_window_opened(e, c);
    qs_block_ended(e, c);
}

qs_err qs_conn_consume(qs_engine *e, qs_conn handle, size_t bytes)
{
    struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    if (c->flags & QS_CF_FRAMED)
        return QS_ERR_STATE;
    if (bytes > c->rx.len)
        return QS_ERR_ARG;
    qs_source_charge(e, &c->remote, qs_served_as(c, c->prio), (uint32_t)bytes);
    qs_block_read(e, c, (uint32_t)bytes);
    return 0;
}

int64_t qs_conn_read(qs_engine *e, qs_conn handle, void *buf, size_t len)
{
    struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    if (c->flags & QS_CF_FRAMED)
        return QS_ERR_STATE;
    if (c->rx.len == 0)
        return eof(c) || c->state == QS_TCP_CLOSED ? QS_ERR_EOF : QS_ERR_AGAIN;
    size_t n = len < c->rx.len ? len : c->rx.len;
    struct qs_bytes_pos pos = qs_bytes_find(&e->pool, &c->rx, 0);
    qs_bytes_copy(&e->pool, &pos, buf, n);
    qs_source_charge(e, &c->remote, qs_served_as(c, c->prio), (uint32_t)n);
    qs_block_read(e, c, (uint32_t)n);
    return (int64_t)n;
}

int64_t qs_conn_write(qs_engine *e, qs_conn handle, const void *buf, size_t len)
{
    struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    if (c->flags & QS_CF_FIN_QUEUED || c->state == QS_TCP_CLOSED)
        return QS_ERR_CLOSED;
    if (len == 0)
        return 0;
    if (c->flags & QS_CF_FRAMED)
        return QS_ERR_STATE;
    size_t free = qs_sndbuf(e, c) - c->tx.len;
    size_t n = qs_bytes_write(&e->pool, &c->tx, buf, len < free ? len : free,
                              qs_reserve_write(&e->pool, qs_chunk_floor(e, c)));
    if (n > 0)
        qs_block_ready(e, c);
    if (n < len) {
        c->flags |= QS_CF_WANT_WRITE;
        if (c->tx.len == 0) /* no ACK will come to tell that there is room again */
            qs_tcp_retry_write(e, c);
    }
    return n > 0 ? (int64_t)n : QS_ERR_AGAIN;
}

qs_err qs_conn_want_write(qs_engine *e, qs_conn handle)
{
    struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    if (qs_tcp_writable(e, c))
        qs_block_event(e, c, QS_EVENT_WRITABLE);
    else
        c->flags |= QS_CF_WANT_WRITE;
    return 0;
}

qs_err qs_conn_want_read(qs_engine *e, qs_conn handle)
{
    struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    if (c->rx.len > 0 && !(c->flags & QS_CF_FRAMED)) /* those are told until they are taken */
        qs_block_event(e, c, QS_EVENT_READABLE);
    return 0;
}

qs_err qs_conn_shutdown(qs_engine *e, qs_conn handle)
{
    struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    if (c->state != QS_TCP_CLOSED && !(c->flags & QS_CF_FIN_QUEUED))
        qs_tcp_queue_fin(e, c);
    return 0;
}

/* No events and no calls from now on. */
static void orphan(struct qs_engine *e, struct qs_block *c)
{
    qs_block_forget(e, c);
    c->flags |= QS_CF_ORPHAN;
    c->flags &= ~(QS_CF_KEEPALIVE | QS_CF_KEEP_PROBE); /* it has limits of its own */
}

qs_err qs_conn_close(qs_engine *e, qs_conn handle)
{
    struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    orphan(e, c);
    if (c->state == QS_TCP_CLOSED || c->state == QS_TCP_SYN_SENT) {
        qs_block_free(e, c);
        return 0;
    }
    bool unread = c->rx.len > 0 || c->ooo_head != QS_NO_IDX;
    if (unread && c->state != QS_TCP_TIME_WAIT) { /* RFC 2525 section 2.17 */
        qs_tcp_reset_conn(e, c);
        qs_block_free(e, c);
        return 0;
    }
    if (!(c->flags & QS_CF_FIN_QUEUED))
        qs_tcp_queue_fin(e, c);
    else if (c->state == QS_TCP_FIN_WAIT_2)
        qs_tcp_linger(e, c, e->now);
    return 0;
}

qs_err qs_conn_abort(qs_engine *e, qs_conn handle)
{
    struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    orphan(e, c);
    qs_tcp_reset_conn(e, c);
    qs_block_free(e, c);
    return 0;
}

size_t qs_engine_abort_some(qs_engine *e, size_t n)
{
    size_t done = 0;
    for (uint32_t i = 0; i < e->fresh_block && done < n; i++) {
        struct qs_block *c = &e->blocks[i];
        if (c->gen % 2 == 0)
            continue;
        qs_tcp_reset_conn(e, c);
        qs_block_free(e, c);
        done++;
    }
    return done;
}

qs_err qs_conn_set_user(qs_engine *e, qs_conn handle, uint64_t user)
{
    struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    c->user = user;
    return 0;
}

qs_err qs_conn_info(const qs_engine *e, qs_conn handle, struct qs_conn_info *out)
{
    memset(out, 0, sizeof *out);
    const struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    *out = (struct qs_conn_info){
        .local = *qs_block_local(e, c),
        .remote = c->remote,
        .local_port = c->local_port,
        .remote_port = c->remote_port,
        .state = c->state,
        .prio = c->prio,
        .readable_bytes = c->rx.len,
        .writable_bytes = c->flags & QS_CF_FIN_QUEUED ? 0 : qs_sndbuf(e, c) - qs_unacked(e, c),
        .unacked_bytes = qs_unacked(e, c),
        .rcvbuf_bytes = qs_rcvbuf(e, c),
        .sndbuf_bytes = qs_sndbuf(e, c),
        .mss_octets = c->mss,
        .cwnd_octets = c->cc.cwnd,
        .ssthresh_octets = c->cc.ssthresh,
        .srtt = {c->srtt_ns},
        .rttvar = {c->rttvar_ns},
        .rto = qs_tcp_rto(e, c),
        .retransmits = c->retransmits,
        .ecn = c->flags & QS_CF_ECN,
        .cc = qs_cc_ops(c->cc_algo)->name,
    };
    return 0;
}
