/* SPDX-License-Identifier: Apache-2.0 */
/* What an imperfect wire does to the frames of one direction. A function of specification, seed,
 * frames and times: each frame takes the same number of random draws, so frame k meets the same
 * fate in every run, whatever its timing. */
#ifndef IMPAIR_MODEL_H
#define IMPAIR_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Chances are in [0, 1]. Name in a specification, field, factor from the specification's unit,
 * most. */
#define IMPAIR_KEYS(X)                                                                             \
    X(loss, 0.01, 100)          /* percent: independent losses */                                  \
    X(burst_enter, 0.01, 100)   /* percent: Gilbert-Elliott, good -> bad */                        \
    X(burst_leave, 0.01, 100)   /* percent: bad -> good */                                         \
    X(burst_loss, 0.01, 100)    /* percent: loss while bad */                                      \
    X(duplicate, 0.01, 100)     /* percent */                                                      \
    X(corrupt, 0.01, 100)       /* percent: one bit of an IP packet is flipped */                  \
    X(reorder, 0.01, 100)       /* percent: held back so that later frames overtake */             \
    X(reorder_us, 1000, 1e6)    /* for so long */                                                  \
    X(delay_us, 1000, 1e7)      /* every frame */                                                  \
    X(jitter_us, 1000, 1e7)     /* up to so much more; never changes the order */                  \
    X(rate_mbit, 1, 1e6)        /* bits of frames per microsecond; 0: no limit */                  \
    X(queue_frames, 1, 1 << 20) /* frames under way at most */

struct impair_spec {
#define FIELD(name, factor, most) double name;
    IMPAIR_KEYS(FIELD)
#undef FIELD
};

#define IMPAIR_COUNTERS(X)                                                                         \
    X(frames_in)                                                                                   \
    X(frames_out)                                                                                  \
    X(lost)                                                                                        \
    X(duplicated)                                                                                  \
    X(reordered) X(corrupted) X(queue_dropped) X(send_failed) X(oversize) X(unfinished_checksum)

struct impair_counters {
#define FIELD(name) uint64_t name;
    IMPAIR_COUNTERS(FIELD)
#undef FIELD
};

struct impair_frame {
    struct impair_frame *next; /* while free */
    uint64_t due_ns, order;
    uint32_t len;
    uint8_t data[];
};

/* One direction. */
struct impair_wire {
    struct impair_spec spec;
    struct impair_counters counters;
    uint64_t random;
    bool bad; /* state of the burst model */
    uint64_t free_at_ns, last_due_ns, order;
    struct impair_frame **heap; /* by time, then order of arrival */
    size_t n, room;
    struct impair_frame *free;
    uint32_t frame_bytes;
};

/* Reads "loss=1,delay_us=500" over what `spec` holds; false with the offending part in `bad`. */
bool impair_spec_parse(struct impair_spec *spec, const char *text, const char **bad);

/* Defaults: a perfect wire, 4,096 frames at most; reordering holds back for 500 us. */
void impair_spec_init(struct impair_spec *spec);

/* `frame_bytes`: the longest frame. */
void impair_wire_init(struct impair_wire *w, const struct impair_spec *spec, uint64_t seed,
                      uint32_t frame_bytes);
void impair_wire_free(struct impair_wire *w);

/* A frame arrives; `data` is borrowed. */
void impair_wire_put(struct impair_wire *w, const uint8_t *data, uint32_t len, uint64_t now_ns);

/* When the next frame is due, or UINT64_MAX. */
uint64_t impair_wire_due(const struct impair_wire *w);

/* Takes the next frame if it is due at `now_ns`, else NULL; to be given back. */
struct impair_frame *impair_wire_take(struct impair_wire *w, uint64_t now_ns);
void impair_wire_give_back(struct impair_wire *w, struct impair_frame *f);

#endif
