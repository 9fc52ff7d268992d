/* SPDX-License-Identifier: Apache-2.0 */
/* A client that means harm, beside the honest ones of qs-priority-load: it asks at a rate of its
 * own from an address of its own, and nobody waits for its answers. */
#ifndef QS_BENCH_PRIORITY_ADVERSARY_H
#define QS_BENCH_PRIORITY_ADVERSARY_H

#include "client.h"

struct adversary_opts {
    uint32_t n_conns; /* 0: there is none */
    uint32_t port;
    uint32_t mark;    /* of its requests, priority.h */
    double rate;      /* requests a second; what finds no room to be sent is left out */
    bool deaf;        /* does not read what is answered */
    uint8_t messages; /* of qs_engine_messages(), or 0 */
    qs_addr local, remote;
    uint64_t first_user; /* of qs_event.user: those of its connections are this and following */
};

/* Connects; the client's turns go on with it. */
void adversary_open(struct client *c, const struct adversary_opts *o);
bool adversary_is_open(void);
/* From now on requests are due. */
void adversary_begin(uint64_t now_ns);
/* Sends what is due. */
void adversary_ask(uint64_t now_ns);
void adversary_event(const struct qs_event *ev);
/* As a JSON object. */
void adversary_print(void);

#endif
