/* SPDX-License-Identifier: Apache-2.0 */
#include "priority_adversary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "priority.h"

#define ASKED_PER_TURN 16u
#define DEAF_BYTES 4096u /* so that answers fill the server's buffers soon */

struct line {
    qs_conn conn;  /* 0: it has ended */
    uint32_t owed; /* octets of a request that was begun */
};

static struct adversary {
    struct adversary_opts o;
    struct client *client;
    struct line *lines;
    uint32_t n_open, next;
    double gap_ns, due_ns;
    uint64_t offered, sent, answered_octets, ended;
    uint8_t request[REQUEST_BYTES];
} adversary;

void adversary_open(struct client *c, const struct adversary_opts *o)
{
    struct adversary *a = &adversary;
    *a = (struct adversary){.o = *o, .client = c, .lines = calloc(o->n_conns, sizeof *a->lines)};
    if (!a->lines && o->n_conns) {
        fprintf(stderr, "qs-priority-load: no memory for the adversary\n");
        exit(1);
    }
    if (o->messages)
        write_head(a->request, sizeof a->request, (uint8_t)o->mark);
    else
        a->request[0] = (uint8_t)o->mark;
    struct qs_open_opts open;
    qs_open_opts_init(&open);
    open.local = o->local;
    open.remote = o->remote;
    open.remote_port = (uint16_t)o->port;
    open.messages = o->messages;
    if (o->deaf)
        open.conn.rcvbuf_bytes = DEAF_BYTES;
    for (uint32_t i = 0; i < o->n_conns; i++) {
        open.user = o->first_user + i;
        a->lines[i].conn = client_connect(c, &open);
    }
}

bool adversary_is_open(void)
{
    return adversary.n_open == adversary.o.n_conns;
}

void adversary_begin(uint64_t now_ns)
{
    adversary.gap_ns = adversary.o.rate > 0 ? 1e9 / adversary.o.rate : 0;
    adversary.due_ns = (double)now_ns;
}

/* Goes on with a request that was begun, or begins one. @return whether it is sent. */
static bool send_octets(struct line *l)
{
    uint32_t left = l->owed ? l->owed : REQUEST_BYTES;
    int64_t n =
        qs_conn_write(adversary.client->e, l->conn, adversary.request + REQUEST_BYTES - left, left);
    if (n > 0)
        l->owed = left - (uint32_t)n;
    return n == (int64_t)left;
}

static bool send_one(struct line *l)
{
    if (!l->conn.v)
        return false;
    if (adversary.o.messages)
        return qs_conn_send(adversary.client->e, l->conn, 0, adversary.request,
                            sizeof adversary.request) == 0;
    return send_octets(l);
}

void adversary_ask(uint64_t now_ns)
{
    struct adversary *a = &adversary;
    for (uint32_t i = 0; i < ASKED_PER_TURN && a->gap_ns > 0 && a->due_ns <= (double)now_ns; i++) {
        a->offered++;
        a->sent += send_one(&a->lines[a->next]);
        a->next = (a->next + 1) % a->o.n_conns;
        a->due_ns += a->gap_ns;
    }
}

static void read_all(qs_conn c)
{
    static uint8_t ignored[65536];
    struct qs_message m;
    qs_engine *e = adversary.client->e;
    if (adversary.o.messages)
        while (qs_conn_message(e, c, 0, &m) == 1 && qs_conn_message_done(e, c, &m) == 0)
            adversary.answered_octets += m.len;
    else
        for (int64_t n; (n = qs_conn_read(e, c, ignored, sizeof ignored)) > 0;)
            adversary.answered_octets += (uint64_t)n;
}

void adversary_event(const struct qs_event *ev)
{
    struct line *l = &adversary.lines[ev->user - adversary.o.first_user];
    adversary.n_open += (ev->flags & QS_EVENT_OPEN) != 0;
    if (ev->flags & QS_EVENT_CLOSED) {
        adversary.ended++;
        l->conn.v = 0;
    } else if (ev->flags & QS_EVENT_READABLE && !adversary.o.deaf) {
        read_all(ev->conn);
    }
}

void adversary_print(void)
{
    const struct adversary *a = &adversary;
    printf("{\"connections\": %" PRIu32 ", \"offered\": %" PRIu64 ", \"sent\": %" PRIu64
           ", \"unanswered\": %" PRIu64 ", \"ended\": %" PRIu64 "}",
           a->o.n_conns, a->offered, a->sent, a->sent - a->answered_octets / REPLY_BYTES, a->ended);
}
