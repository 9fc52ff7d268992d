/* SPDX-License-Identifier: Apache-2.0 */
/* The audit sees what is broken on purpose: one value of a sound engine at a time. */
#include "audit.h"
#include "core/engine.h"
#include "rig.h"

/* `place` with `value` is found; put back, all is well again. */
#define BREAK(place, value) BREAK_INSIDE(place, place, value)
/* The same for a bit-field, which lies in `whole`. */
#define BREAK_INSIDE(whole, place, value)                                                          \
    do {                                                                                           \
        __typeof__(whole) was_ = (whole);                                                          \
        (place) = (value);                                                                         \
        if (!audit(r->e)) {                                                                        \
            qs_test_failures++;                                                                    \
            fprintf(stderr, "%s:%d: not seen: %s = %s\n", __FILE__, __LINE__, #place, #value);     \
        }                                                                                          \
        (whole) = was_;                                                                            \
        const char *left_ = audit(r->e);                                                           \
        if (left_) {                                                                               \
            qs_test_failures++;                                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, left_);                             \
        }                                                                                          \
    } while (0)

static struct qs_block *block(struct rig *r)
{
    struct qs_block *c = qs_block_of(r->e, r->conn);
    REQUIRE(c);
    return c;
}

/* Octets read and unread, sent, kept ahead of two holes; a second connection, closed. */
static struct rig *busy(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_listen(r);
    rig_in(r, 0, &(struct seg){"S", 0, 0, 0, .opts = "mss 1000", .peer_port = 7});
    rig_in(r, 0, &(struct seg){"S", 0, 0, 0, .opts = "mss 1000 sok"});
    rig_flush(r);
    rig_in(r, 10, &(struct seg){".", 1, 0, 1});
    REQUIRE(rig_event(r) == QS_EVENT_OPEN);
    rig_in(r, 10, &(struct seg){".", 1, 1000, 1});
    rig_in(r, 10, &(struct seg){".", 3001, 500, 1});
    rig_in(r, 10, &(struct seg){".", 5001, 500, 1});
    rig_write(r, 3000);
    rig_flush(r);
    REQUIRE(audit(r->e) == NULL);
    return r;
}

static void sequence_numbers(void)
{
    struct rig *r = busy();
    struct qs_block *c = block(r);
    BREAK(c->snd_una.v, c->snd_una.v + 1);
    BREAK(c->snd_una.v, c->snd_max.v + 1);
    BREAK(c->snd_nxt.v, c->snd_una.v - 1);
    BREAK(c->snd_nxt.v, c->snd_max.v + 1);
    BREAK(c->snd_max.v, c->snd_max.v + 1);
    BREAK(c->cursor.at, c->cursor.at - 1);
    BREAK(c->rtt_seq.v, c->snd_max.v + 1);
    BREAK(c->rcv_adv.v, c->rcv_nxt.v - 1);
    BREAK(c->rcv_adv.v, c->rcv_adv.v + r->e->opts.rcvbuf_bytes); /* more than there is room for */
    BREAK(c->rcv_nxt.v, c->rcv_nxt.v + 2000); /* the first hole is filled and nobody drained */
    BREAK(c->snd_wnd, c->snd_wnd_max + 1);
    BREAK(c->cc.cwnd, c->mss - 1u);
    rig_free(r);
}

static void octets_ahead(void)
{
    struct rig *r = busy();
    struct qs_block *c = block(r);
    struct qs_chunk *k = &r->e->pool.chunks[c->ooo_head];
    BREAK(k->seq.v, k->seq.v + 5000);
    BREAK(k->len, 0);
    BREAK(k->len, 499); /* the SACK block tells of one octet more */
    BREAK(c->n_ooo, 1);
    BREAK(c->ooo_tail, c->ooo_head);
    BREAK(c->sacks[0].end.v, c->sacks[0].end.v + 1);
    BREAK(c->sacks[0].start.v, c->rcv_nxt.v);
    BREAK(c->sacks[0], c->sacks[1]);
    BREAK(c->n_sacks, 5);
    rig_free(r);
}

static void chunks(void)
{
    struct rig *r = busy();
    struct qs_block *c = block(r);
    struct qs_chunk_pool *p = &r->e->pool;
    qs_chunk_give(p, qs_chunk_take(p, 0));
    BREAK(p->used, p->used - 1);
    BREAK(p->fresh, p->fresh + 1);
    BREAK(p->fresh, p->n + 1);
    BREAK(p->free, QS_NO_IDX);     /* a lost chunk */
    BREAK(p->free, c->rx.head);    /* free and owned */
    BREAK(c->tx.head, c->rx.head); /* owned twice */
    BREAK(c->tx.len, c->tx.len - 1);
    BREAK(c->rx.tail, c->tx.tail);
    BREAK(p->chunks[c->rx.head].len, 3000);
    rig_free(r);
}

static void lists_and_table(void)
{
    struct rig *r = busy();
    struct qs_block *c = block(r);
    uint32_t idx = qs_block_idx(r->e, c), other = 1 - idx;
    struct qs_engine *e = r->e;
    rig_write(r, 100); /* on the ready list, and readable */
    BREAK(e->ready_classes, 0);
    BREAK(e->event_classes, 0);
    BREAK(e->ready[0].tail, QS_NO_IDX);
    BREAK(c->ready.next, idx);
    BREAK(c->ready.prev, other);
    BREAK_INSIDE(*c, c->in_ready, QS_READY_NOT);
    BREAK_INSIDE(*c, c->prio, 1);
    BREAK(e->grown[0], 1);
    BREAK(c->ev_flags, 0);
    BREAK(c->gen, c->gen + 1);
    BREAK(c->hash, c->hash + 1);
    BREAK(c->flags, c->flags & ~QS_CF_IN_TABLE);
    BREAK(c->remote_port, 7); /* that of the other connection */
    BREAK(e->table.entries[c->hash & e->table.mask], 0);
    BREAK(e->free_block, idx);
    BREAK(e->fresh_block, e->opts.conns_max + 1);
    BREAK(e->counters[QS_COUNT_CONNS], 1);
    rig_free(r);
}

static void timers_and_wakes(void)
{
    struct rig *r = busy();
    struct qs_block *c = block(r);
    struct qs_wheel *w = &r->e->wheel;
    BREAK(c->t_rexmt.v, 0); /* octets are out */
    BREAK(c->t_rexmt.v, c->timer.tick - 1);
    BREAK(c->timer.tick, 0);
    BREAK(c->timer.tick, c->timer.tick - 60000);
    BREAK(c->timer.slot, c->timer.slot + 1);
    BREAK(c->stalled.v, 0);
    BREAK(c->flags, c->flags | QS_CF_ACK_NOW);
    BREAK(c->flags, c->flags | QS_CF_ACK_DELAYED);
    BREAK(c->flags, c->flags | QS_CF_FIN_SENT);
    BREAK(c->flags, c->flags | QS_CF_FIN_QUEUED);
    BREAK(c->flags, c->flags | QS_CF_UNTAKEN);
    BREAK(w->occupied[c->timer.slot / QS_WHEEL_SLOTS], 0);
    BREAK(c->state, QS_TCP_TIME_WAIT);
    BREAK(c->state, QS_TCP_CLOSED);
    BREAK(c->state, QS_TCP_LISTEN);
    rig_free(r);
}

static void neighbours_and_listeners(void)
{
    struct rig *r = busy();
    struct qs_block *c = block(r);
    struct qs_engine *e = r->e;
    struct qs_neigh_entry *n = &e->neighs[c->neigh];
    BREAK(n->refs, n->refs + 1);
    BREAK(n->refs, 0);
    BREAK(n->state, QS_NEIGH_FREE);
    BREAK(n->to_report, QS_REPORT_WANTED);
    BREAK(n->waiting.head, 0);
    BREAK(c->neigh, c->neigh + 1);
    BREAK(c->neigh, QS_NO_NEIGH);
    BREAK(e->listeners[0].untaken, 2);
    BREAK(e->listeners[0].half_open, 2);
    BREAK(e->n_listeners, 0);
    BREAK(e->reply_tail, e->reply_head + QS_REPLIES_MAX + 1);
    rig_free(r);
}

static void nothing_is_taken_back(void)
{
    struct rig *r = busy();
    struct qs_block *c = block(r);
    struct audit_past past = {0};
    CHECK(audit_since(r->e, &past) == NULL);
    c->rcv_adv.v--;
    CHECK(audit(r->e) == NULL);
    CHECK(audit_since(r->e, &past) != NULL);
    c->rcv_adv.v++;
    CHECK(audit_since(r->e, &past) == NULL);
    c->gen += 2; /* another connection may have any numbers */
    c->rcv_adv.v--;
    CHECK(audit_since(r->e, &past) == NULL);
    c->rcv_adv.v++;
    audit_past_free(&past);
    rig_free(r);
}

int main(void)
{
    RUN(sequence_numbers);
    RUN(octets_ahead);
    RUN(chunks);
    RUN(lists_and_table);
    RUN(timers_and_wakes);
    RUN(neighbours_and_listeners);
    RUN(nothing_is_taken_back);
    return TEST_RESULT();
}
