/* SPDX-License-Identifier: Apache-2.0 */
/* One engine on one device, driven by one loop: the client's side of a measurement. */
#ifndef QS_BENCH_CLIENT_H
#define QS_BENCH_CLIENT_H

#include "io/driver.h"
#include "qstack/qs_conn.h"

struct qs_neigh_watch;

struct client {
    struct qs_driver *d;
    qs_engine *e;
    struct qs_neigh_watch *watch; /* xsk: the kernel's neighbours */
    /* Called with each event; the owner's. */
    void (*on_event)(const struct qs_event *ev, qs_time now);
};

struct client_opts {
    const char *driver; /* "pair" or "xsk" */
    const char *device;
    const char *const *addresses; /* pair: CIDR; xsk takes the device's */
    uint32_t n_addresses;
    uint32_t conns_max;
};

/* Ends the program with words when something is missing. */
void client_open(struct client *c, const struct client_opts *o);
void client_close(struct client *c);

/* Connects; QS_EVENT_OPEN tells. */
qs_conn client_connect(struct client *c, const struct qs_open_opts *o);

/* Receives, calls on_event() for all events, sends. @return true when something moved. */
bool client_turn(struct client *c);

#endif
