/* SPDX-License-Identifier: Apache-2.0 */
/* Messages that are sent: they wait in a queue for each class, and are put into the stream when its
 * next frame is made. docs/design/020-messages.md */
#include "engine.h"

/* In front of each message of a queue. */
#define LENGTH_BYTES 4u

static struct qs_messages *messages_of(struct qs_engine *e, const struct qs_block *c)
{
    return &e->messages[qs_block_idx(e, c)];
}

void qs_messages_release(struct qs_engine *e, struct qs_block *c)
{
    struct qs_messages *m = messages_of(e, c);
    for (uint32_t p = 0; p < QS_N_PRIO; p++)
        qs_bytes_clear(&e->pool, &m->staged[p]);
    m->staged_classes = 0;
    m->staged_octets = 0;
    m->part = 0;
}

/* ---- into the stream ---- */

static uint32_t unsent(const struct qs_block *c)
{
    uint32_t sent = qs_seq_span(c->snd_una, c->snd_nxt);
    return c->tx.len > sent ? c->tx.len - sent : 0;
}

uint32_t qs_messages_send_class(struct qs_engine *e, const struct qs_block *c)
{
    const struct qs_messages *m = messages_of(e, c);
    uint32_t classes = m->staged_classes | 1u << c->prio;
    if (m->part || unsent(c))
        classes |= 1u << m->part_prio;
    return qs_served_as(c, qs_class_first(classes));
}

/* Is there another class that the connection sends and that is more urgent? */
static bool yields(const struct qs_messages *m, uint32_t prio)
{
    return m->sent_classes >> prio > 1;
}

/* Classes that may go on. Those that yield leave a quarter of the window: a peer that is behind
 * with reading still takes an urgent message. */
static uint32_t may_go(const struct qs_messages *m, const struct qs_block *c)
{
    uint32_t taken = qs_seq_span(c->snd_una, c->snd_nxt) + unsent(c);
    uint32_t room = c->snd_wnd > taken ? c->snd_wnd - taken : 0;
    if (room > c->snd_wnd_max / 4)
        return m->staged_classes;
    uint32_t first = qs_class_first(m->sent_classes);
    return m->staged_classes & ~((1u << first) - 1);
}

/* Begins with the next message of one of `classes`. */
static void begin(struct qs_engine *e, struct qs_messages *m, uint32_t classes)
{
    uint32_t prio = qs_share_next(&e->message_share, classes);
    struct qs_bytes *queue = &m->staged[prio];
    struct qs_bytes_pos from = qs_bytes_find(&e->pool, queue, 0);
    qs_bytes_copy(&e->pool, &from, (uint8_t *)&m->part, LENGTH_BYTES);
    qs_bytes_drop(&e->pool, queue, LENGTH_BYTES);
    qs_share_charge(&e->message_share, classes, prio, m->part);
    m->part_prio = prio & (QS_N_PRIO - 1u);
}

/* Moves octets of the message that was begun. @return how many; fewer than asked for when no chunk
 * is free. */
static uint32_t move(struct qs_engine *e, struct qs_block *c, struct qs_messages *m, uint32_t most)
{
    struct qs_bytes *queue = &m->staged[m->part_prio];
    uint32_t len = qs_min_u32(m->part, most), done = 0;
    while (done < len) {
        const struct qs_chunk *k = &e->pool.chunks[queue->head];
        uint32_t n = qs_min_u32(len - done, k->len);
        n = (uint32_t)qs_bytes_write(&e->pool, &c->tx, k->data + k->start, n, 0);
        qs_bytes_drop(&e->pool, queue, n);
        done += n;
        if (n == 0)
            break;
    }
    m->part -= done;
    m->staged_octets -= done;
    if (queue->len == 0)
        m->staged_classes &= (uint8_t) ~(1u << m->part_prio);
    return done;
}

void qs_messages_put(struct qs_engine *e, struct qs_block *c, uint32_t octets, bool forced)
{
    struct qs_messages *m = messages_of(e, c);
    uint32_t there = unsent(c);
    while (there < octets && m->staged_octets) {
        uint32_t classes = forced ? m->staged_classes : may_go(m, c);
        if (!m->part) {
            if (!classes)
                return;
            begin(e, m, classes);
        }
        uint32_t moved = move(e, c, m, octets - there);
        if (moved == 0)
            return;
        there += moved;
    }
}

/* ---- the application ---- */

/* Is there room for `len` octets more in the send buffer? Classes that yield leave a quarter. */
static bool has_room(const struct qs_engine *e, const struct qs_block *c,
                     const struct qs_messages *m, uint32_t prio, size_t len)
{
    uint32_t size = qs_sndbuf(e, c), held = qs_unacked(e, c);
    uint32_t most = yields(m, prio) && held ? size - size / 4 : size;
    return held < most && len <= most - held;
}

/* Appends it to its queue. @return false when there are not chunks enough. */
static bool stage(struct qs_engine *e, struct qs_block *c, uint32_t prio, const void *buf,
                  uint32_t len)
{
    struct qs_messages *m = messages_of(e, c);
    uint32_t reserve = qs_reserve_write(&e->pool, e->classes[qs_served_as(c, prio)].chunk_floor);
    uint32_t chunks = (len + LENGTH_BYTES) / QS_CHUNK_BYTES + 2;
    if (e->pool.n - e->pool.used <= reserve + chunks)
        return false;
    qs_bytes_write(&e->pool, &m->staged[prio], (const uint8_t *)&len, LENGTH_BYTES, 0);
    qs_bytes_write(&e->pool, &m->staged[prio], buf, len, 0);
    m->staged_octets += len;
    m->staged_classes |= (uint8_t)(1u << prio);
    m->sent_classes |= (uint8_t)(1u << prio);
    return true;
}

qs_err qs_conn_send(qs_engine *e, qs_conn handle, uint32_t prio, const void *buf, size_t len)
{
    struct qs_block *c = qs_block_of(e, handle);
    if (!c)
        return QS_ERR_STALE;
    if (!(c->flags & QS_CF_FRAMED))
        return QS_ERR_STATE;
    if (c->flags & QS_CF_FIN_QUEUED || c->state == QS_TCP_CLOSED)
        return QS_ERR_CLOSED;
    if (prio >= QS_N_PRIO || len == 0 || len > qs_sndbuf(e, c))
        return QS_ERR_ARG;
    struct qs_messages *m = messages_of(e, c);
    prio = qs_max_u32(prio, c->prio);
    if (!has_room(e, c, m, prio, len) || !stage(e, c, prio, buf, (uint32_t)len)) {
        c->flags |= QS_CF_WANT_WRITE;
        if (qs_unacked(e, c) == 0) /* no ACK will come to tell that there is room again */
            qs_tcp_retry_write(e, c);
        return QS_ERR_AGAIN;
    }
    if (c->in_ready == QS_READY_CLASS && m->ready < qs_served_as(c, prio))
        qs_ready_unlink(e, c);
    qs_block_ready(e, c);
    return 0;
}
