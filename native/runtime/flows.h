/* SPDX-License-Identifier: Apache-2.0 */
/* Flows on their way from queue to queue: docs/design/021-moving-flows.md. */
#ifndef QS_RUNTIME_FLOWS_H
#define QS_RUNTIME_FLOWS_H

#include "runtime/stack.h"

struct qs_bucket_set {
    uint64_t words[QS_BUCKETS_MAX / 64];
};

static inline bool qs_bucket_in(const struct qs_bucket_set *set, uint32_t bucket)
{
    return set->words[bucket / 64] >> bucket % 64 & 1;
}

static inline void qs_bucket_add(struct qs_bucket_set *set, uint32_t bucket)
{
    set->words[bucket / 64] |= (uint64_t)1 << bucket % 64;
}

enum qs_letter_kind {
    QS_LETTER_ASK,     /* answer */
    QS_LETTER_HOLD,    /* frames of these buckets wait from now on; answer */
    QS_LETTER_RELEASE, /* they do not: nothing came of it */
    QS_LETTER_LEAVE,   /* the table is written: send the flows of these buckets */
    QS_LETTER_FLOW,    /* a connection, its parcel is `data` */
    QS_LETTER_FRAME,   /* a frame that belongs here, in `data` */
    QS_LETTER_LAST,    /* no more flows of these buckets from there; answer */
    QS_LETTER_COMMAND, /* of an application, for a connection that has come: the record is `data` */
    QS_LETTER_KNOWN,   /* the application knows where it is: its link is free */
    QS_LETTER_LOST,    /* it found no room */
};

struct qs_letter {
    struct qs_letter *next;
    uint32_t kind;              /* enum qs_letter_kind */
    uint32_t round;             /* of the move; an answer to another one counts no more */
    struct qs_worker_slot slot; /* FLOW */
    struct qs_split_part {      /* of FLOW, when it is an application's; of the last three */
        struct qs_app *app;     /* NULL: it is not, or the application has given it up */
        uint32_t queue, link;   /* where it comes from; of KNOWN and LOST: there */
        uint8_t prio;           /* COMMAND: class of its channel */
        uint32_t written;       /* COMMAND: octets that the engine took already */
        struct qs_worker_link worker;
    } split;
    struct qs_frame frame;    /* FRAME; its octets are `data` */
    struct qs_bucket_set set; /* HOLD, RELEASE, LEAVE, LAST */
    size_t len;
    _Alignas(8) uint8_t data[];
};

#define QS_NO_HOME UINT16_MAX

/* Of a stack. */
struct qs_flows {
    pthread_mutex_t lock; /* of calls that move */
    uint32_t round;       /* atomic: number of the move */
    uint32_t answers;     /* atomic: answers that are still to come */
    bool written_last;    /* the last move got so far that its table was written */
    qs_time written;
    bool any_home;                 /* atomic: a bucket has one */
    uint16_t to[QS_BUCKETS_MAX];   /* of the move that is under way */
    uint16_t home[QS_BUCKETS_MAX]; /* atomic: queue that has the bucket, QS_NO_HOME: never moved */
};

/* ---- flows.c: what workers do ---- */

/* A letter with room for `len` octets; NULL without memory. */
struct qs_letter *qs_letter_new(enum qs_letter_kind kind, size_t len);
/* Owns the letter from now on. @return false when it is a frame and too many wait: it is gone. */
bool qs_letter_post(struct qs_stack *s, uint32_t queue, struct qs_letter *letter);

/* Bucket of the flow, or -1 when a rule decides, or the NIC does not say how it hashes. */
int32_t qs_flow_bucket(const struct qs_stack *s, const struct qs_flow *flow);

qs_err qs_flows_new(struct qs_stack *s);
void qs_flows_free(struct qs_stack *s);
/* Before the threads: the engine of a queue asks about strangers. */
qs_err qs_flows_init_queue(struct qs_queue *q);

/* A burst came to the queue: counts it for its buckets. */
void qs_flows_count(struct qs_queue *q, const struct qs_frame *frames, size_t n);

/* Takes letters of the worker's queues, and sends flows that are to leave; `*now` becomes later
 * when it took some. @return true when there was something. */
bool qs_flows_run(struct qs_worker *w, qs_time *now);
/* Is there something that qs_flows_run() could do now? */
bool qs_flows_wait(const struct qs_queue *q);
/* Ends what is under way; no worker runs. */
void qs_flows_settle(struct qs_stack *s);

#endif
