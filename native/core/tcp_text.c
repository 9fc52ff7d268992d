/* SPDX-License-Identifier: Apache-2.0 */
/* Payload and FIN of a segment: RFC 9293 section 3.10.7.4 seventh and eighth check; the receive
 * window, and octets that arrive ahead of a hole. */
#include "engine.h"

#define QUICK_ACKS_MAX 16u /* as in Linux */
#define QUICK_ACKS_MASK 31u

/* ---- window ---- */

/* Octets that the buffer has room for. */
static uint32_t room(const struct qs_engine *e, const struct qs_block *c)
{
    uint32_t size = qs_rcvbuf(e, c);
    return size > c->rx.len ? size - c->rx.len : 0;
}

/* Least step of the right edge that is worth telling: RFC 9293 section 3.8.6.2.2, and a step that
 * the scaled field can show. */
static uint32_t worth(const struct qs_engine *e, const struct qs_block *c)
{
    uint32_t step = qs_min_u32(qs_rcvbuf(e, c) / 2, qs_tcp_own_mss(e, c));
    return qs_max_u32(step, 1u << c->rcv_wscale);
}

uint32_t qs_tcp_window(struct qs_engine *e, struct qs_block *c)
{
    uint32_t now = qs_seq_span(c->rcv_nxt, c->rcv_adv);
    uint32_t max = (uint32_t)UINT16_MAX << c->rcv_wscale;
    uint32_t free = qs_min_u32(room(e, c), max);
    uint32_t wnd = free >= now + worth(e, c) ? free : now; /* the edge never goes back */
    /* Rounded down to what the scaled field can say: up, the edge would move on with every ACK
     * while nobody reads. What was promised before is taken all the same, RFC 7323 section 2.4. */
    wnd &= ~((1u << c->rcv_wscale) - 1);
    if (wnd > now)
        c->rcv_adv = qs_seq_add(c->rcv_nxt, wnd);
    return wnd;
}

void qs_tcp_window_opened(struct qs_engine *e, struct qs_block *c)
{
    if (c->state < QS_TCP_ESTABLISHED || c->flags & QS_CF_FIN_ARRIVED)
        return;
    /* Told unasked when the peer might be waiting for it; otherwise the next ACK carries it. */
    uint32_t now = qs_seq_span(c->rcv_nxt, c->rcv_adv);
    uint32_t free = qs_min_u32(room(e, c), (uint32_t)UINT16_MAX << c->rcv_wscale);
    if (now < qs_rcvbuf(e, c) / 2 && free >= now + 2 * worth(e, c)) {
        c->flags |= QS_CF_ACK_NOW;
        qs_block_ready(e, c);
    }
}

/* ---- acknowledgements ---- */

/* Half of what the window takes. */
void qs_tcp_ack_quickly(const struct qs_engine *e, struct qs_block *c)
{
    uint32_t wnd = qs_min_u32(qs_rcvbuf(e, c), (uint32_t)UINT16_MAX << c->rcv_wscale);
    uint32_t segments = qs_min_u32(qs_max_u32(wnd / (2u * c->mss), 2), QUICK_ACKS_MAX);
    c->quick_acks = segments & QUICK_ACKS_MASK;
}

/* ---- octets ahead of a hole ---- */

/* A chunk for each octet sent would be a cheap attack (SegmentSmack): the list is bounded. */
static uint32_t ooo_max(const struct qs_engine *e, const struct qs_block *c)
{
    return qs_min_u32(qs_rcvbuf(e, c) / 512 + 16, UINT16_MAX);
}

void qs_tcp_drop_ooo(struct qs_engine *e, struct qs_block *c)
{
    while (c->ooo_head != QS_NO_IDX) {
        uint32_t next = e->pool.chunks[c->ooo_head].next;
        qs_chunk_give(&e->pool, c->ooo_head);
        c->ooo_head = next;
    }
    c->ooo_tail = QS_NO_IDX;
    c->n_ooo = 0;
    c->n_sacks = 0;
    if (c->flags & QS_CF_FRAMED)
        qs_messages_forget(e, c, false);
}

/* A run of payload. */
struct run {
    qs_seq seq;
    const uint8_t *data;
    uint32_t len;
};

static void skip(struct run *r, uint32_t octets)
{
    r->seq = qs_seq_add(r->seq, octets);
    r->data += octets;
    r->len -= octets;
}

static qs_seq chunk_end(const struct qs_chunk *k)
{
    return qs_seq_add(k->seq, k->len);
}

/* Puts up to `gap` octets of `r` behind chunk `prev` (QS_NO_IDX: in front): into its free room
 * where they touch, else into a new chunk. @return the last chunk written, or QS_NO_IDX when there
 * is none to have. */
static uint32_t fill_gap(struct qs_engine *e, struct qs_block *c, uint32_t prev, struct run *r,
                         uint32_t gap)
{
    struct qs_chunk *chunks = e->pool.chunks;
    while (gap > 0) {
        struct qs_chunk *k = prev == QS_NO_IDX ? NULL : &chunks[prev];
        uint32_t room_left = k ? QS_CHUNK_BYTES - k->start - k->len : 0;
        if (!k || !qs_seq_eq(chunk_end(k), r->seq) || room_left == 0) {
            uint32_t idx =
                c->n_ooo < ooo_max(e, c)
                    ? qs_chunk_take(&e->pool, qs_reserve_ahead(&e->pool, qs_chunk_floor(e, c)))
                    : QS_NO_IDX;
            if (idx == QS_NO_IDX)
                return QS_NO_IDX;
            c->n_ooo++;
            uint32_t *link = k ? &k->next : &c->ooo_head;
            chunks[idx].next = *link;
            *link = idx;
            if (c->ooo_tail == prev)
                c->ooo_tail = idx;
            prev = idx;
            k = &chunks[idx];
            k->seq = r->seq;
            room_left = QS_CHUNK_BYTES;
        }
        uint32_t n = qs_min_u32(qs_min_u32(gap, room_left), r->len);
        memcpy(k->data + k->start + k->len, r->data, n);
        k->len = (uint16_t)(k->len + n);
        skip(r, n);
        gap -= n;
    }
    return prev;
}

static void no_chunk(struct qs_engine *e, const struct qs_block *c)
{
    qs_count(e, QS_COUNT_DROP_NO_CHUNK);
    qs_class_count(e, c->prio, QS_CLASS_SHED_CHUNKS);
}

/* Keeps the octets of `r` that are not there yet. @return octets from its start that are there now.
 */
static uint32_t keep_ahead(struct qs_engine *e, struct qs_block *c, struct run r)
{
    const uint32_t whole = r.len;
    struct qs_chunk *chunks = e->pool.chunks;
    uint32_t prev = QS_NO_IDX, at = c->ooo_head;
    if (c->ooo_tail != QS_NO_IDX && qs_seq_le(chunk_end(&chunks[c->ooo_tail]), r.seq)) {
        prev = c->ooo_tail; /* behind all others: the common case */
        at = QS_NO_IDX;
    }
    while (r.len > 0) {
        while (at != QS_NO_IDX && qs_seq_le(chunk_end(&chunks[at]), r.seq)) {
            prev = at;
            at = chunks[at].next;
        }
        if (at != QS_NO_IDX && qs_seq_le(chunks[at].seq, r.seq)) { /* there already */
            uint32_t old = qs_min_u32(r.len, qs_seq_span(r.seq, chunk_end(&chunks[at])));
            qs_tcp_note_twice(c, r.seq, qs_seq_add(r.seq, old));
            skip(&r, old);
            continue;
        }
        uint32_t gap = r.len;
        if (at != QS_NO_IDX)
            gap = qs_min_u32(gap, qs_seq_span(r.seq, chunks[at].seq));
        prev = fill_gap(e, c, prev, &r, gap);
        if (prev == QS_NO_IDX) {
            no_chunk(e, c);
            break;
        }
    }
    return whole - r.len;
}

/* Moves what has become in order to the receive queue. */
static void drain_ahead(struct qs_engine *e, struct qs_block *c)
{
    while (c->ooo_head != QS_NO_IDX) {
        uint32_t idx = c->ooo_head;
        struct qs_chunk *k = &e->pool.chunks[idx];
        if (qs_seq_lt(c->rcv_nxt, k->seq))
            return;
        c->ooo_head = k->next;
        if (c->ooo_head == QS_NO_IDX)
            c->ooo_tail = QS_NO_IDX;
        c->n_ooo--;
        uint32_t old = qs_min_u32(qs_seq_span(k->seq, c->rcv_nxt), k->len);
        k->start = (uint16_t)(k->start + old);
        k->len = (uint16_t)(k->len - old);
        if (k->len == 0) {
            qs_chunk_give(&e->pool, idx);
            continue;
        }
        c->rcv_nxt = qs_seq_add(c->rcv_nxt, k->len);
        qs_bytes_append_chunk(&e->pool, &c->rx, idx);
    }
}

/* ---- the checks ---- */

/* RFC 5681 section 4.2: every second full segment at once, everything else soon; `len` octets came.
 * While the connection is young each full segment counts, so that the peer's window grows by each
 * of them in slow start. A short one is most often a request, whose answer carries the ACK. */
static void owe_ack(struct qs_engine *e, struct qs_block *c, uint32_t len, qs_time now)
{
    bool at_once = qs_seq_span(c->last_ack_sent, c->rcv_nxt) >= 2u * c->mss;
    if (c->quick_acks && len >= c->mss) {
        c->quick_acks--;
        at_once = true;
    }
    if (at_once) {
        c->flags |= QS_CF_ACK_NOW;
        qs_block_ready(e, c);
    } else if (!(c->flags & (QS_CF_ACK_NOW | QS_CF_ACK_DELAYED))) {
        c->flags |= QS_CF_ACK_DELAYED;
        c->t_ack = qs_tick_after(now, e->opts.delayed_ack);
        qs_block_arm(e, c);
    }
}

/* RFC 5681 section 4.2: a duplicate ACK, at once. Several segments may have come since the engine's
 * last turn to send: without SACK the peer counts what it gets. */
static void owe_duplicate(struct qs_block *c)
{
    if (!(c->flags & QS_CF_ACK_NOW))
        c->flags |= QS_CF_ACK_NOW;
    else if (!(c->flags & QS_CF_SACK) && c->dup_acks < QS_DUP_ACKS_MAX)
        c->dup_acks++;
}

static void take_in_order(struct qs_engine *e, struct qs_block *c, const struct run *r, qs_time now)
{
    uint32_t taken = (uint32_t)qs_bytes_append(&e->pool, &c->rx, r->data, r->len,
                                               qs_reserve_read(&e->pool, qs_chunk_floor(e, c)));
    if (taken < r->len)
        no_chunk(e, c); /* the peer sends it again */
    c->rcv_nxt = qs_seq_add(c->rcv_nxt, taken);
    if (taken)
        c->dup_acks = 0;
    bool filled = c->ooo_head != QS_NO_IDX;
    if (filled) {
        drain_ahead(e, c);
        qs_tcp_note_in_order(c);
        c->flags |= QS_CF_ACK_NOW; /* RFC 5681 section 4.2: a hole was filled */
        qs_block_ready(e, c);
    }
    if (taken == 0)
        return;
    owe_ack(e, c, r->len, now);
    if (c->flags & QS_CF_FRAMED)
        return;
    bool begins = !(c->ev_flags & QS_EVENT_READABLE);
    qs_block_event(e, c, QS_EVENT_READABLE);
    if (begins)
        qs_trace_begin(e, c, qs_served_as(c, c->prio));
}

/* Payload inside the window, in states that take it. */
static void take_payload(struct qs_engine *e, struct qs_block *c, struct run r, qs_time now)
{
    if (qs_seq_eq(r.seq, c->rcv_nxt)) {
        take_in_order(e, c, &r, now);
        return;
    }
    qs_count(e, QS_COUNT_OUT_OF_ORDER);
    uint32_t kept = keep_ahead(e, c, r);
    if (kept)
        qs_tcp_note_ahead(c, r.seq, qs_seq_add(r.seq, kept));
    qs_tcp_ack_quickly(e, c);
    owe_duplicate(c);
    qs_block_ready(e, c);
}

/* Nothing follows the peer's FIN: what it sent from there on is not part of the stream. */
static qs_seq right_edge(const struct qs_block *c)
{
    return c->flags & QS_CF_FIN_ARRIVED ? c->rcv_fin : c->rcv_adv;
}

/* Cuts the segment to the window. @return false when its end, and so a FIN, was cut off. */
static bool trim(struct qs_block *c, struct run *r)
{
    if (qs_seq_lt(r->seq, c->rcv_nxt)) {
        uint32_t old = qs_min_u32(qs_seq_span(r->seq, c->rcv_nxt), r->len);
        if (old)
            qs_tcp_note_twice(c, r->seq, qs_seq_add(r->seq, old));
        skip(r, old);
    }
    qs_seq right = right_edge(c);
    if (qs_seq_le(qs_seq_add(r->seq, r->len), right))
        return true;
    r->len = qs_seq_lt(r->seq, right) ? qs_seq_span(r->seq, right) : 0;
    return false;
}

/* The stream ends at `fin`. Octets kept from there on are forgotten, with all that is kept: a peer
 * that sends them is broken, and RFC 2018 section 8 allows it. */
static void note_fin(struct qs_engine *e, struct qs_block *c, qs_seq fin)
{
    c->flags |= QS_CF_FIN_ARRIVED;
    c->rcv_fin = fin;
    if (c->ooo_tail != QS_NO_IDX && qs_seq_lt(fin, chunk_end(&e->pool.chunks[c->ooo_tail])))
        qs_tcp_drop_ooo(e, c);
}

void qs_tcp_take_text(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s)
{
    if (s->len == 0 && !(s->flags & QS_FIN))
        return;
    if (c->state != QS_TCP_ESTABLISHED && c->state != QS_TCP_FIN_WAIT_1 &&
        c->state != QS_TCP_FIN_WAIT_2)
        return; /* after the peer's FIN there is nothing to take */

    struct run r = {s->seq, s->payload, s->len};
    bool whole = trim(c, &r);
    if (r.len > 0 && c->flags & QS_CF_ORPHAN) { /* RFC 2525 section 2.17: nobody will read it */
        qs_count(e, QS_COUNT_DROP_AFTER_CLOSE);
        qs_tcp_reset_conn(e, c);
        qs_block_free(e, c);
        return;
    }
    if (s->flags & QS_FIN && whole)
        note_fin(e, c, qs_seq_add(s->seq, s->len));
    if (r.len > 0)
        take_payload(e, c, r, s->arrived);
    else if (!whole || s->flags & QS_FIN) { /* a window probe, or FIN alone */
        c->flags |= QS_CF_ACK_NOW;
        qs_block_ready(e, c);
    }
    if (r.len > 0 && c->flags & QS_CF_FRAMED && !qs_messages_arrived(e, c)) {
        qs_messages_refuse(e, c);
        return;
    }
    if (c->flags & QS_CF_FIN_ARRIVED && qs_seq_eq(c->rcv_nxt, c->rcv_fin)) {
        c->rcv_nxt = qs_seq_add(c->rcv_nxt, 1);
        qs_tcp_fin_received(e, c, s->arrived);
    }
}
