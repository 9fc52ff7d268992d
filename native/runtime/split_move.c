/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of applications move between queues. The engine's part goes at once; the application
 * goes on with the old queue's rings until it has read all that came through them. What it writes
 * there until then is sent after the connection: docs/design/021-moving-flows.md. */
#include <stdlib.h>
#include <string.h>

#include "io/mem.h"
#include "runtime/flows.h"

/* ---- at the old queue ---- */

/* Takes a link out of the list of those that wait for room. */
static void unlist(struct qs_channel *ch, uint32_t link)
{
    struct qs_worker_link *links = ch->links->worker;
    struct qs_link_list others = {QS_NO_LINK, QS_NO_LINK};
    while (ch->waiting.first != QS_NO_LINK) {
        uint32_t first = ch->waiting.first;
        QS_LIST_POP(&ch->waiting, links);
        if (first != link)
            QS_LIST_PUSH(&others, links, first);
    }
    ch->waiting = others;
}

/* Likewise of those that wait with an urgent message, if it is there. */
static void unlist_urgent(struct qs_channel *ch, uint32_t link)
{
    struct qs_worker_link *links = ch->links->worker;
    uint32_t *at = &ch->urgent.first, before = QS_NO_LINK;
    while (*at != QS_NO_LINK && *at != link) {
        before = *at;
        at = &links[*at].urgent_next;
    }
    if (*at != link)
        return;
    *at = links[link].urgent_next;
    if (ch->urgent.last == link)
        ch->urgent.last = before;
}

void qs_split_leave(struct qs_queue *q, uint32_t to, struct qs_letter *letter)
{
    struct qs_split_part *part = &letter->split;
    struct qs_app *a = part->app;
    struct qs_links *links = &a->links[q->idx];
    uint32_t link = letter->slot.link;
    struct qs_worker_link *l = &links->worker[link];
    if (l->listed)
        unlist(a->channels[q->idx][l->at], link);
    for (uint32_t p = 0; p < QS_N_PRIO; p++) {
        struct qs_channel *ch = a->channels[q->idx][p];
        if (ch && l->urgent_listed)
            unlist_urgent(ch, link);
        if (ch && ch->traced.link == link)
            ch->traced.since.ns = 0;
    }
    if (l->urgent_listed)
        l->waiting |= QS_EVENT_READABLE;
    l->listed = l->urgent_listed = false;
    part->queue = q->idx;
    part->link = link;
    part->worker = *l;
    l->left = true;
    l->to_queue = to;
    if (!l->told) /* nor will it be here */
        qs_link_drop(links, link);
}

/* With the octets that the engine took already left out. */
bool qs_split_forward(struct qs_stack *s, struct qs_queue *q, struct qs_channel *ch,
                      const struct qs_command_record *r)
{
    const struct qs_worker_link *l = &ch->links->worker[r->link];
    size_t len = r->len - ch->written, bytes = qs_record_bytes(sizeof *r, len);
    struct qs_letter *letter = qs_letter_new(QS_LETTER_COMMAND, bytes);
    if (!letter)
        return false;
    struct qs_command_record *copy = (void *)letter->data;
    *copy = *r;
    copy->len = (uint32_t)len;
    memcpy(copy + 1, (const uint8_t *)(r + 1) + ch->written, len);
    ch->written = 0;
    letter->split.app = s->listeners[l->listener].app;
    letter->split.queue = q->idx;
    letter->split.link = r->link;
    letter->split.prio = ch->prio;
    (void)qs_letter_post(s, l->to_queue, letter);
    return true;
}

void qs_split_told(struct qs_stack *s, struct qs_queue *q, const struct qs_letter *letter)
{
    struct qs_app *a = letter->split.app;
    struct qs_links *links = &a->links[q->idx];
    uint32_t link = letter->split.link;
    struct qs_worker_link *l = &links->worker[link];
    if (letter->kind == QS_LETTER_KNOWN) {
        qs_link_drop(links, link);
        return;
    }
    l->left = l->arriving = false;
    l->over = true;
    l->err = QS_ERR_NOMEM;
    l->waiting = QS_EVENT_CLOSED;
    qs_split_announce(s, q, a->channels[q->idx][l->at], link);
    q->touched_apps |= 1u << a->idx;
}

/* ---- at the new one ---- */

/* Links of those that came from `queue`, by their link there; NULL without memory. */
static uint32_t *arrived_from(struct qs_links *links, uint32_t queue)
{
    if (!links->arrived[queue])
        links->arrived[queue] = qs_mem_pages.alloc(NULL, links->n_max * sizeof(uint32_t));
    return links->arrived[queue];
}

void qs_split_lost(struct qs_stack *s, const struct qs_letter *letter)
{
    struct qs_letter *l = letter->split.worker.told ? qs_letter_new(QS_LETTER_LOST, 0) : NULL;
    if (!l)
        return;
    l->split = letter->split;
    (void)qs_letter_post(s, letter->split.queue, l);
}

void qs_split_arrive(struct qs_stack *s, struct qs_queue *q, const struct qs_letter *letter,
                     qs_conn conn)
{
    const struct qs_split_part *part = &letter->split;
    struct qs_app *a = part->app;
    struct qs_links *links = &a->links[q->idx];
    uint32_t *from = arrived_from(links, part->queue);
    uint32_t link = from ? qs_link_take(links) : QS_NO_LINK;
    q->slots[qs_slot_of(conn)] = (struct qs_worker_slot){.link = link};
    if (link == QS_NO_LINK) { /* the application is too far behind */
        (void)qs_conn_abort(q->engine, conn);
        qs_split_lost(s, letter);
        return;
    }
    struct qs_worker_link *l = &links->worker[link];
    *l = part->worker;
    l->conn = conn;
    l->at = l->served;
    l->sent_to = l->first_to = l->capped_to = 0; /* nothing of it is in rings here */
    l->n_elsewhere += l->n_here;
    l->n_here = 0;
    l->from_queue = part->queue;
    l->from_link = part->link;
    l->arriving = l->told;
    l->met = false;
    q->flows.n_arriving += l->arriving;
    from[part->link] = link;
    qs_split_allow(q, a->channels[q->idx][l->prio], link);
    /* It is told through the most urgent channel: no backlog of its own class is in the way. */
    uint32_t prio = l->arriving ? qs_class_first(a->classes) : l->at;
    if (l->arriving || l->waiting)
        qs_split_announce(s, q, a->channels[q->idx][prio], link);
    q->touched_apps |= 1u << a->idx;
}

/* @return false when it has to be tried again. */
static bool carry_out(struct qs_stack *s, struct qs_queue *q, struct qs_letter *letter)
{
    struct qs_split_part *part = &letter->split;
    struct qs_links *links = &part->app->links[q->idx];
    struct qs_channel *ch = part->app->channels[q->idx][part->prio];
    struct qs_command_record *r = (void *)letter->data;
    r->link = links->arrived[part->queue][part->link];
    struct qs_worker_link *l = &links->worker[r->link];
    r->conn = l->conn;
    uint32_t of_ring = ch->written;
    ch->written = part->written;
    bool done = qs_split_carry_out(s, q, ch, r);
    part->written = ch->written;
    ch->written = of_ring;
    l->n_elsewhere += done;
    return done;
}

bool qs_split_take_forwarded(struct qs_stack *s, struct qs_queue *q)
{
    struct qs_flow_queue *f = &q->flows;
    bool any = false;
    while (f->commands && carry_out(s, q, f->commands)) {
        struct qs_letter *done = f->commands;
        f->commands = done->next;
        free(done);
        any = true;
    }
    return any;
}

void qs_split_known(struct qs_stack *s, const struct qs_worker_link *l)
{
    struct qs_letter *letter = qs_letter_new(QS_LETTER_KNOWN, 0);
    if (!letter)
        return; /* its link there stays in use */
    letter->split.app = s->listeners[l->listener].app;
    letter->split.queue = l->from_queue;
    letter->split.link = l->from_link;
    (void)qs_letter_post(s, l->from_queue, letter);
}
