/* SPDX-License-Identifier: Apache-2.0 */
/* Two engines on one link in virtual time, with seeded loss, reordering, duplication, corruption,
 * delay and rate. */
#ifndef QS_TEST_SIM_H
#define QS_TEST_SIM_H

#include "qstack/qs_conn.h"
#include "qstack/qs_stats.h"

/* One direction of the link. Probabilities in parts of a million. */
struct sim_faults {
    uint32_t loss_ppm, reorder_ppm, duplicate_ppm, corrupt_ppm;
    uint64_t delay_ns;       /* one way */
    uint64_t reorder_ns;     /* extra delay of a reordered frame */
    uint64_t bit_per_second; /* 0: no limit */
    uint32_t queue_bytes;    /* that wait for the link at most, more is lost; 0: no limit */
    /* The receiver's device hands up at once what arrives in such a time, as one where a segment
     * goes on where the last one ended: coalescing and GRO. Not together with corrupt_ppm. */
    uint64_t merge_ns;
};

struct sim_opts {
    uint64_t seed;
    bool v6;
    uint32_t mtu;
    uint32_t offloads; /* of both engines; frames arrive with QS_FRAME_CSUM_OK then */
    uint32_t conns_max, chunks_max, rcvbuf_bytes, sndbuf_bytes;
    uint32_t rcvbuf_initial_bytes, sndbuf_initial_bytes;
    uint64_t growth_bytes; /* of each class */
    struct sim_faults faults;
    /* Chance that all connections of a side move to another engine before a frame is taken, and
     * after it, in parts of a million; their handles change with QS_EVENT_MOVED. */
    uint32_t hop_ppm;
};

struct sim;

/* Sides: 0 is the client (10.0.0.1, fd00::1), 1 the server (10.0.0.2, fd00::2). */
struct sim *sim_new(const struct sim_opts *o);
void sim_free(struct sim *s);
qs_engine *sim_engine(struct sim *s, int side);
qs_addr sim_addr(const struct sim *s, int side);
qs_time sim_now(const struct sim *s);

/* From now on no IP packet above `mtu` passes, in either direction; 0: all do. `reports`: the
 * sender is told, by ICMP. */
void sim_path(struct sim *s, uint32_t mtu, bool reports);

/* Called with every event of either side. */
typedef void (*sim_handler)(struct sim *s, int side, const struct qs_event *ev, void *ctx);
void sim_on_event(struct sim *s, sim_handler fn, void *ctx);

/* Runs until nothing is to be done before `until`, or `stop` turned true. @return true when
 * stopped. */
bool sim_run(struct sim *s, qs_time until, const bool *stop);

uint64_t sim_counter(struct sim *s, int side, enum qs_counter which);

/* What the link did to frames. */
struct sim_link_stats {
    uint64_t frames, lost, reordered, duplicated, corrupted, too_big;
};
struct sim_link_stats sim_link(const struct sim *s);

/* Connections that moved to another engine. */
uint64_t sim_hops(const struct sim *s);

/* Memory for engines of tests: malloc, counted; test_mem_live() is what was not given back. */
struct qs_mem test_mem(void);
size_t test_mem_live(void);

#endif
