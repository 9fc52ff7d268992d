/* SPDX-License-Identifier: Apache-2.0 */
/* The sweep: each state, the segment that would be valid there, and every combination of a few
 * edits of its fields. A state is reached once; for each case the engine is put back to it. */
#ifndef QS_TEST_SWEEP_H
#define QS_TEST_SWEEP_H

#include "core/engine.h"
#include "tests/rig.h"

/* TCP flags in the order of the header's bits. */
enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32, ECE = 64, CWR = 128 };

/* A segment of the peer, numbers relative to the initial ones of both sides. */
struct wish {
    uint32_t seq, ack, len;
    uint8_t flags, reserved; /* reserved: low bits of the octet of the data offset */
    uint16_t wnd, urgent;
    bool ts; /* with timestamps */
    uint32_t ts_val, ts_ecr;
    const char *opts;       /* behind the timestamps, as frame_options() takes them */
    const char *extra_opts; /* behind those; instead of them where both are too long */
    int data_offset;        /* 0: right; else 32-bit words, one more than on the wire */
    bool bad_checksum, bad_options;
    int trailing; /* octets behind the packet, or less than it says */
};

/* What a start is: the state, and what comes next when all is well. */
struct start {
    const char *name;
    enum qs_tcp_state state;
    void (*reach)(struct rig *r, struct wish *valid);
};
extern const struct start sweep_starts[];
extern const size_t sweep_n_starts;

/* One edit. Two of the same field exclude each other. */
enum field { F_SEQ, F_ACK, F_FLAGS, F_WND, F_LEN, F_TS, F_OPTS, F_URG, F_OFFSET, F_FRAME };
struct edit {
    const char *name;
    enum field field;
    uint32_t value;
    const char *text;
};
extern const struct edit sweep_edits[];
extern const size_t sweep_n_edits;

/* A state that was reached, and what brings it back. */
struct world {
    const struct start *start;
    struct rig *r, saved_rig;
    struct wish valid;
    struct qs_block was; /* the connection; zeros in LISTEN */
    uint64_t counters[QS_N_COUNTERS];
    uint8_t *saved; /* engine, blocks, table, neighbours, chunks */
};

void world_open(struct world *w, const struct start *start);
void world_close(struct world *w);
/* Back to the start. */
void world_restore(struct world *w);
/* Is all as it was, but for time and counters? */
bool world_unchanged(const struct world *w);
/* The connection with the peer that has not ended, or NULL. */
struct qs_block *world_conn(const struct world *w);

void edit_apply(const struct edit *e, const struct world *w, struct wish *s);
void wish_build(const struct world *w, const struct wish *s, struct frame *f);

/* Feeds the segment and proves what must hold. @return NULL or what does not. */
const char *case_prove(struct world *w, const struct wish *s);

#endif
