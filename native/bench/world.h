/* SPDX-License-Identifier: Apache-2.0 */
/* Two engines joined by an in-memory link in one thread and in virtual time: what the measurements
 * of `qs-bench-engine` drive. The link neither loses nor reorders. */
#ifndef QS_BENCH_WORLD_H
#define QS_BENCH_WORLD_H

#include "qstack/qs_conn.h"
#include "qstack/qs_stats.h"

/* Frames of one turn, as drivers hand them over. */
#define BENCH_BURST 64u
/* Buffers of each direction, used in turn as a device's ring uses them: a frame is not always in
 * L1. */
#define BENCH_RING 512u
#define BENCH_FRAME_BYTES 2048u
#define BENCH_MESSAGE_BYTES 64u
#define BENCH_SERVER_PORT 7000u
/* One way over the link; a burst of requests and their replies takes twice this. */
#define BENCH_HOP_NS 10000u

/* What the application on the server does with its connections. */
enum bench_app {
    BENCH_ECHO,  /* 64 B in, 64 B out */
    BENCH_CLOSE, /* the same, then it closes */
    BENCH_SEND,  /* writes whenever there is room */
    BENCH_SINK   /* reads whatever comes */
};

/* Memory of an engine, counted. */
struct bench_mem {
    size_t allocated_bytes;
    bool small_pages; /* touched memory is to be told apart by 4 KiB pages */
    struct {
        void *base;
        size_t bytes;
    } blocks[64];
    size_t n_blocks;
};

struct bench_side {
    qs_engine *engine;
    struct bench_mem mem;
    uint8_t *buffers;
    size_t next_buffer;
    struct qs_frame out[BENCH_BURST]; /* to send: filled by the engine */
    size_t n_out;
};

struct bench_opts {
    enum bench_app app;
    uint32_t conns_max;
    uint32_t chunks_max;
    uint32_t offloads; /* of the server; frames then also come with proven checksums */
    qs_dur time_wait;
    bool small_pages;
};

struct bench_world {
    struct bench_side server, client;
    qs_time now;
    enum bench_app app;
    bool proven; /* frames carry QS_FRAME_CSUM_OK */
    /* server */
    qs_conn stream; /* the connection of BENCH_SEND and BENCH_SINK */
    uint64_t served, server_bytes;
    /* client */
    qs_conn *conns;
    uint32_t n_conns; /* slots of `conns` */
    uint64_t opened, answered, ended, client_bytes;
};

/* Prints one line and ends the program with status 1. */
__attribute__((noreturn, format(printf, 1, 2))) void bench_die(const char *format, ...);

void bench_world_open(struct bench_world *w, const struct bench_opts *o);
void bench_world_close(struct bench_world *w);

/* Starts an active open of the client for slot `idx`, from an address and port that no other of the
 * last 480,000 numbers had. */
void bench_open(struct bench_world *w, uint32_t idx, uint64_t number);

/* Opens `n` connections and waits until all are established. */
void bench_connect(struct bench_world *w, uint32_t n);

/* Client writes one request on slot `idx`. */
void bench_request(struct bench_world *w, uint32_t idx);

/* Client's turn: what the server sent is taken, the application reacts, frames for the server come
 * out. */
void bench_client_turn(struct bench_world *w);

/* Server's turn, for set-up; bench_measured_step() is the same code under a name of its own, so
 * that a profiler can count it alone. Both return the frames written. */
size_t bench_server_step(struct bench_world *w);
size_t bench_measured_step(struct bench_world *w);

/* Lends the server buffers to send into: the driver's part, outside of what is measured. */
void bench_server_lend(struct bench_world *w);
/* The same for frames that are not the client's engine's. */
void bench_client_lend(struct bench_world *w);

/* Turns of both sides until neither sends. */
void bench_settle(struct bench_world *w);

uint64_t bench_counter(const qs_engine *e, enum qs_counter idx);
/* Bytes of `m` that were ever touched. */
size_t bench_mem_resident(const struct bench_mem *m);

#endif
