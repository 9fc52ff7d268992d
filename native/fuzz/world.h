/* SPDX-License-Identifier: Apache-2.0 */
/* One engine, peers that speak to it, an application that holds its handles, and what must hold at
 * every moment. Whatever does not hold ends the program by abort(). */
#ifndef QS_FUZZ_WORLD_H
#define QS_FUZZ_WORLD_H

#include "qstack/qs_message.h"
#include "qstack/qs_stats.h"
#include "tests/audit.h"
#include "wire.h"

#define FUZZ_PEERS 8u
#define FUZZ_HANDLES 24u
#define FUZZ_BURST 8u

/* Peers 0 to 5 connect to us, 6 and 7 are connected to; odd ones speak IPv6. */
#define FUZZ_PEER_ACTIVE 6u

struct fuzz_peer {
    struct wire_ends to_engine;
    uint16_t port, engine_port;
    uint32_t iss, nxt;       /* its own sequence numbers: initial, next in order */
    uint32_t engine_iss;     /* of the engine's last SYN to it */
    uint32_t engine_nxt;     /* next that it expects: what it acknowledges */
    uint32_t engine_ts;      /* last timestamp from the engine */
    uint32_t syn_acked;      /* ACK number of the engine's last SYN-ACK */
    bool engine_syn, ts;     /* a SYN of the engine was seen; both sides send timestamps */
    bool two_answers;        /* the same SYN was answered with different ISNs: which one counts? */
    bool one_syn, other_syn; /* SYNs were fed: at `syn_seq`; at another number as well */
    uint32_t syn_seq;
    bool syn_plain; /* one of them had no timestamp */
};

struct fuzz_handle {
    qs_conn conn;
    bool alive, gone; /* in use; given up or closed, so that it must be stale */
    bool shut;
    bool framed;      /* it has messages: an octet that tells how many follow, and these */
    uint32_t peer;    /* FUZZ_PEERS: none of ours */
    uint32_t written; /* octets */
    uint32_t read;
    bool base_known; /* `base` is the sequence number of the first octet to read */
    uint32_t base;
};

struct fuzz_world {
    qs_engine *engine;
    qs_engine_opts opts;
    struct wire_rules rules;
    qs_time now;
    size_t allocated;
    uint8_t *tx[FUZZ_BURST]; /* buffers of `tx_room` bytes each, alone in their blocks */
    uint32_t tx_room;
    int listeners[2];
    uint8_t messages; /* of the listeners: qs_engine_messages(), or 0 */
    struct fuzz_peer peers[FUZZ_PEERS];
    struct fuzz_handle handles[FUZZ_HANDLES];
    uint64_t counters[QS_N_COUNTERS];
    struct audit_past past;
    bool tainted; /* raw bytes may have reached a connection: contents are no longer known */
    bool queued;  /* frames may wait inside the engine */
};

/* Choices that the first bytes of an input make. */
struct fuzz_choice {
    uint32_t mtu, offloads;
    bool told;   /* QS_NEIGH_TOLD */
    bool tight;  /* few connections and chunks, small buffers */
    bool framed; /* connections that were accepted have messages */
};

void fuzz_world_open(struct fuzz_world *w, const struct fuzz_choice *c);

/* Closes everything, lets time pass, and checks that nothing is left. */
void fuzz_world_close(struct fuzz_world *w);

/* A segment of a peer: in order and right in everything that is not set here. */
struct fuzz_segment {
    uint8_t flags;
    uint32_t seq_add, ack_add;
    uint16_t window;
    bool own_options; /* `options` instead of those that any client sends */
    const uint8_t *options;
    size_t options_len;
    size_t payload_len;
    bool keep; /* the peer does not go on: the same octets come again */
    const struct wire_ext *ext;
    size_t damage_at; /* modulo the length of the frame */
    uint8_t damage;   /* xor */
};

/* @return as fuzz_rx(). */
unsigned fuzz_send(struct fuzz_world *w, struct fuzz_peer *p, const struct fuzz_segment *s);

/* Handshake of passive peer `peer` with its default options. */
void fuzz_handshake(struct fuzz_world *w, uint32_t peer);

/* Feeds a copy of one frame, in a block of exactly its size so that a sanitizer sees every step
 * past it.
 * @return how many of QS_COUNT_DROP_* it added: 0 or 1. */
unsigned fuzz_rx(struct fuzz_world *w, const uint8_t *frame, size_t len, uint16_t flags);

/* Takes up to `n` frames and judges each. */
void fuzz_tx(struct fuzz_world *w, size_t n);
/* Takes all of them. */
void fuzz_tx_all(struct fuzz_world *w);

/* Takes all events. */
void fuzz_events(struct fuzz_world *w);

/* Framing and classifier of accepted connections. @return their number. */
uint8_t fuzz_messages(qs_engine *e);

/* Calls on the handle with that number, also when it is stale, and checks what they return. */
struct fuzz_handle *fuzz_handle(struct fuzz_world *w, uint8_t idx);
void fuzz_write(struct fuzz_world *w, struct fuzz_handle *h, uint32_t len);
void fuzz_read(struct fuzz_world *w, struct fuzz_handle *h, uint32_t len);
void fuzz_peek(struct fuzz_world *w, struct fuzz_handle *h, size_t n_spans, uint32_t consume);
void fuzz_shutdown(struct fuzz_world *w, struct fuzz_handle *h);
void fuzz_give_up(struct fuzz_world *w, struct fuzz_handle *h, bool abortive);
/* What was set is in force afterwards; what is out of range changes nothing. */
void fuzz_set_opts(struct fuzz_world *w, struct fuzz_handle *h, const struct qs_conn_opts *o);
void fuzz_tcp_info(struct fuzz_world *w, const struct fuzz_handle *h);
void fuzz_open(struct fuzz_world *w, uint32_t peer);
void fuzz_toggle_listener(struct fuzz_world *w, uint32_t which);

/* What must hold between any two calls. */
void fuzz_check(struct fuzz_world *w);

/* The octet that every peer sends at a sequence number, and every application at an offset. */
uint8_t fuzz_octet(uint32_t at);

__attribute__((noreturn, format(printf, 1, 2))) void fuzz_fail(const char *format, ...);
#define FUZZ_REQUIRE(cond)                                                                         \
    do {                                                                                           \
        if (!(cond))                                                                               \
            fuzz_fail("%s:%d: does not hold: %s", __FILE__, __LINE__, #cond);                      \
    } while (0)

#endif
