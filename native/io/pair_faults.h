/* SPDX-License-Identifier: Apache-2.0 */
/* Faults of a wire, frame by frame; and the frames that are still on their way. */
#ifndef QS_IO_PAIR_FAULTS_H
#define QS_IO_PAIR_FAULTS_H

#include "io/pair.h"
#include "io/pair_wire.h"

/* Faults as one sending queue meets them. */
struct qs_pair_dice {
    const struct qs_pair_faults *faults; /* those the generator was seeded for */
    uint64_t state;
};

struct qs_pair_fate {
    bool lost, duplicated, reordered, corrupted;
    uint64_t due_ns; /* 0: arrives at once */
    uint64_t dice;   /* random bits for the damage */
};

/* Draws what happens to the next frame of queue `queue`, sent at `now`. */
struct qs_pair_fate qs_pair_dice_roll(struct qs_pair_dice *dice, const struct qs_pair_faults *f,
                                      uint32_t queue, qs_time now);

/* Completes a partial checksum of the frame in place, as the device would before the wire, and
 * flips one bit that `dice` chooses. */
void qs_pair_damage(struct qs_frame *frame, uint64_t dice);

/* Frames on their way to one receiving queue, the earliest first. */
struct qs_pair_late {
    struct qs_pair_late_frame *heap;
    uint32_t n, n_max;
    uint64_t next_seq;
};

struct qs_pair_late_frame {
    struct qs_wire_desc desc;
    uint64_t seq; /* order of arrival decides between equal times */
    uint32_t tx;
};

/* false: no memory; the frame is then to be delivered at once. */
bool qs_pair_late_put(struct qs_pair_late *late, const struct qs_wire_desc *desc, uint32_t tx);

/* Takes the earliest frame if it is due at `now`. */
bool qs_pair_late_take(struct qs_pair_late *late, qs_time now, struct qs_pair_late_frame *out);

/* When the earliest is due; QS_NEVER without one. */
qs_time qs_pair_late_next(const struct qs_pair_late *late);

/* Forgets all frames; the memory stays. */
void qs_pair_late_clear(struct qs_pair_late *late);
void qs_pair_late_free(struct qs_pair_late *late);

#endif
