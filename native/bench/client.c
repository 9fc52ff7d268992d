/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "io/clock.h"
#include "io/iface.h"
#include "io/mem.h"
#include "io/neigh_watch.h"
#include "qstack/qs_class.h"

enum { BURST = 16 };

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, why);
    exit(1);
}

/* ---- neighbours, which the kernel resolves ---- */

static void on_neighbour(void *ctx, const qs_addr *addr, const uint8_t *mac)
{
    struct client *c = ctx;
    if (mac)
        (void)!qs_engine_neigh_set(c->e, addr, mac, qs_clock_now()); /* any: nobody's address */
    else
        qs_engine_neigh_del(c->e, addr);
}

static void exchange_neighbours(struct client *c)
{
    struct qs_neigh n;
    while (qs_engine_neigh_next(c->e, &n))
        if (n.news == QS_NEIGH_WANTED)
            (void)!qs_neigh_watch_ask(c->watch, &n.addr); /* the engine asks again in a second */
    if (qs_neigh_watch_run(c->watch) != 0)
        die("neighbours", "the kernel's table cannot be followed");
}

/* ---- set-up ---- */

static void add_address(struct client *c, const struct qs_iface_addr *a)
{
    qs_err err = qs_engine_addr_add(c->e, &a->addr, a->prefix_len);
    if (err)
        die("address", qs_strerror(err));
}

static void take_from_kernel(struct client *c, const char *device)
{
    struct qs_diag diag = {""};
    struct qs_iface iface;
    if (qs_iface_read(&iface, device, &diag) != 0)
        die(device, diag.text);
    for (uint32_t i = 0; i < iface.n_addrs; i++)
        add_address(c, &iface.addrs[i]);
    if (qs_neigh_watch_open(&c->watch, iface.index, on_neighbour, c, &diag) != 0)
        die(device, diag.text);
}

static void make_engine(struct client *c, const struct client_opts *o)
{
    const struct qs_driver_caps *caps = &c->d->caps;
    qs_engine_opts e;
    qs_engine_opts_init(&e);
    e.conns_max = o->conns_max;
    e.chunks_max = 4 * o->conns_max + 65536;
    e.mtu = caps->mtu;
    e.offloads = caps->offloads;
    e.gso_max_bytes = caps->gso_max_bytes;
    e.neigh_mode = caps->told_neighbours ? QS_NEIGH_TOLD : QS_NEIGH_OWN;
    memcpy(e.mac, caps->mac, sizeof e.mac);
    if (getrandom(e.secret, sizeof e.secret, 0) != (ssize_t)sizeof e.secret)
        die("getrandom", "no random bytes");
    struct qs_class_opts urgent;
    qs_class_opts_init(&urgent);
    urgent.chunks_reserved = e.chunks_max / 8; /* what others have written does not keep it out */
    qs_err err = qs_engine_new(&c->e, &e, &qs_mem_pages);
    if (!err)
        err = qs_engine_class_set(c->e, QS_N_PRIO - 1, &urgent);
    if (err)
        die("no engine", qs_strerror(err));
}

void client_open(struct client *c, const struct client_opts *o)
{
    struct qs_diag diag = {""};
    const struct qs_driver_opts d = {.ifname = o->device, .n_queues = 1, .pair_side = 1};
    if (qs_driver_find(o->driver)->open(&c->d, &d, &diag) != 0)
        die(o->device, diag.text);
    make_engine(c, o);
    if (c->d->caps.told_neighbours)
        take_from_kernel(c, o->device);
    for (uint32_t i = 0; i < o->n_addresses; i++) {
        struct qs_iface_addr a;
        if (qs_cidr_parse(&a, o->addresses[i], &diag) != 0)
            die(o->addresses[i], diag.text);
        add_address(c, &a);
    }
}

void client_close(struct client *c)
{
    c->d->ops->close(c->d);
    if (c->watch)
        qs_neigh_watch_close(c->watch);
    qs_engine_free(c->e);
}

/* The port is taken from the kernel before the first SYN: it would reset what it does not know. */
qs_conn client_connect(struct client *c, const struct qs_open_opts *o)
{
    struct qs_diag diag = {""};
    struct qs_conn_info info;
    qs_conn conn;
    qs_err err = qs_conn_open(c->e, o, qs_clock_now(), &conn);
    if (!err)
        err = qs_conn_info(c->e, conn, &info);
    if (err)
        die("cannot connect", qs_strerror(err));
    if (c->d->ops->claim(c->d, &info.local, info.local_port, &diag) != 0)
        die("cannot connect", diag.text);
    return conn;
}

/* ---- the loop ---- */

static bool receive(struct client *c, qs_time now)
{
    struct qs_frame frames[BURST];
    size_t n = c->d->ops->rx(c->d, 0, frames, BURST);
    if (n) {
        qs_engine_rx(c->e, frames, n, now);
        c->d->ops->rx_done(c->d, 0, frames, n);
    }
    return n > 0;
}

static bool transmit(struct client *c, qs_time now)
{
    struct qs_frame frames[BURST];
    if (qs_engine_deadline(c->e).ns > now.ns)
        return false;
    size_t lent = c->d->ops->tx_reserve(c->d, 0, frames, BURST);
    size_t used = qs_engine_tx(c->e, frames, lent, now);
    if (lent)
        c->d->ops->tx_commit(c->d, 0, frames, lent, used);
    return used > 0;
}

bool client_turn(struct client *c)
{
    struct qs_event events[BURST];
    qs_time now = qs_clock_now();
    bool any = receive(c, now);
    size_t n;
    while ((n = qs_engine_events(c->e, events, BURST)) > 0) {
        for (size_t i = 0; i < n; i++)
            c->on_event(&events[i], now);
        any = true;
    }
    any |= transmit(c, now);
    if (!any && c->watch)
        exchange_neighbours(c);
    return any;
}
