/* SPDX-License-Identifier: Apache-2.0 */
/* What the `pair` driver has beyond the table of functions: a wire that misbehaves on demand. */
#ifndef QS_IO_PAIR_H
#define QS_IO_PAIR_H

#include "io/driver.h"

/* What happens to the frames that one side sends. Each sending queue draws from its own generator,
 * so a run with the same seed, frames and queues meets the same faults. */
struct qs_pair_faults {
    uint64_t seed;
    uint32_t loss_ppm; /* of a million frames, each by itself */
    uint32_t duplicate_ppm;
    uint32_t reorder_ppm; /* these are late by `reorder_by`, and others overtake them */
    uint32_t corrupt_ppm; /* one bit is flipped; the receiver gets no proof of the checksum */
    qs_dur delay;         /* of every frame */
    qs_dur reorder_by;    /* 0: 1 ms */
};

struct qs_pair_fault_counts {
    uint64_t lost, duplicated, reordered, corrupted;
};

/* Replaces the faults of the frames that this side sends; NULL: none. May be called while traffic
 * runs. QS_ERR_ARG when a rate is above a million, QS_ERR_NOMEM. */
QS_MUST_CHECK qs_err qs_pair_faults_set(struct qs_driver *d, const struct qs_pair_faults *f);

/* How many of this side's frames met which fault, over all queues, since it was opened. */
void qs_pair_fault_counts(const struct qs_driver *d, struct qs_pair_fault_counts *out);

/* Whether somebody is at the other end, and how many have gone away since it was opened. */
bool qs_pair_connected(const struct qs_driver *d);
uint64_t qs_pair_peers_lost(const struct qs_driver *d);

#endif
