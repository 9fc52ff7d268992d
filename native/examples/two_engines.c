/* SPDX-License-Identifier: Apache-2.0 */
/* Two engines in virtual time: ARP, handshake, request, reply, close. Every run prints the same.
 *     cc two_engines.c $(pkg-config --cflags --libs qstack) -o two_engines */
#include <qstack/qs_conn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h> /* MIN, MAX */

enum { CLIENT, SERVER, WIRE_MAX = 16 };
static const qs_addr addrs[] = {{{[10] = 255, 255, 10, 0, 0, 1}}, {{[10] = 255, 255, 10, 0, 0, 2}}};
static const char *const names[] = {"client", "server"};
static qs_engine *engines[2];
static qs_time now = {1000000000};
static struct flying {
    qs_time due;
    qs_engine *to;
    struct qs_frame frame;
    uint8_t data[1518];
} wire[WIRE_MAX]; /* first in, first out; a frame takes 10 ms */
static size_t n_sent, n_arrived;
#define FIRST (&wire[n_arrived % WIRE_MAX])

static void *take(void *ctx, size_t bytes)
{
    (void)ctx;
    void *block = aligned_alloc(64, (bytes + 63) / 64 * 64);
    return block ? memset(block, 0, bytes) : NULL;
}

static void give(void *ctx, void *block, size_t bytes)
{
    (void)ctx, (void)bytes;
    free(block);
}

static bool make(int side)
{
    qs_engine_opts o;
    qs_engine_opts_init(&o);
    o.conns_max = o.chunks_max = 16;
    memcpy(o.mac, (uint8_t[]){2, 0, 0, 0, 0, (uint8_t)side}, sizeof o.mac);
    memset(o.secret, side, sizeof o.secret); /* chooses ISN and timestamps */
    return qs_engine_new(&engines[side], &o, &(struct qs_mem){take, give, NULL}) == 0 &&
           qs_engine_addr_add(engines[side], &addrs[side], 24) == 0;
}

static void transmit(int side)
{
    for (; n_sent - n_arrived < WIRE_MAX; n_sent++) {
        struct flying *y = &wire[n_sent % WIRE_MAX];
        *y = (struct flying){.due = {now.ns + 10000000}, .to = engines[!side]};
        y->frame = (struct qs_frame){.data = y->data, .room = sizeof y->data};
        if (qs_engine_tx(engines[side], &y->frame, 1, now) == 0)
            return;
        printf("%6.0f ms  %s sends %u bytes%s%s\n", (double)now.ns / 1e6, names[side], y->frame.len,
               y->data[47] & 2 ? ", SYN" : "", y->data[47] & 1 ? ", FIN" : ""); /* flags of TCP */
    }
}

static void serve(int side)
{
    struct qs_event ev;
    char text[64];
    while (qs_engine_events(engines[side], &ev, 1)) {
        int64_t n = qs_conn_read(engines[side], ev.conn, text, sizeof text);
        if (n > 0)
            printf("%6.0f ms  %s reads %.*s\n", (double)now.ns / 1e6, names[side], (int)n, text);
        if (side == CLIENT ? ev.flags & QS_EVENT_OPEN : n > 0)
            n = qs_conn_write(engines[side], ev.conn, side == CLIENT ? "ping" : "pong", 4);
        else if (n > 0 || n == QS_ERR_EOF)
            n = qs_conn_shutdown(engines[side], ev.conn);
        if (ev.flags & QS_EVENT_CLOSED)
            printf("%6.0f ms  %s has closed\n", (double)now.ns / 1e6, names[side]);
    }
}

int main(void)
{
    qs_conn c;
    struct qs_listen_opts l;
    struct qs_open_opts o;
    qs_listen_opts_init(&l), qs_open_opts_init(&o);
    l.port = o.remote_port = 80, o.remote = addrs[SERVER];
    if (!make(CLIENT) || !make(SERVER) || qs_engine_listen(engines[SERVER], &l) < 0 ||
        qs_conn_open(engines[CLIENT], &o, now, &c))
        return 1;
    for (uint64_t next = 0; next != UINT64_MAX;) {
        now.ns = MAX(now.ns, next);
        for (; n_arrived < n_sent && FIRST->due.ns <= now.ns; n_arrived++)
            qs_engine_rx(FIRST->to, &FIRST->frame, 1, now);
        transmit(CLIENT), transmit(SERVER);
        serve(CLIENT), serve(SERVER);
        next = MIN(qs_engine_deadline(engines[CLIENT]).ns, qs_engine_deadline(engines[SERVER]).ns);
        next = n_arrived < n_sent ? MIN(next, FIRST->due.ns) : next;
    }
    qs_engine_free(engines[CLIENT]);
    qs_engine_free(engines[SERVER]);
}
