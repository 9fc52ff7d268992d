/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine knows of the messages of a connection with framing, beside its block:
 * docs/design/020-messages.md. */
#ifndef QS_CORE_MESSAGE_H
#define QS_CORE_MESSAGE_H

#include "chunk.h"
#include "framing.h"
#include "seq.h"

#define QS_MESSAGE_CONFS_MAX 64u
#define QS_MESSAGE_RECORDS 64u
/* Messages beyond one that is not whole that are looked at for each segment that arrives. */
#define QS_MESSAGES_LOOKED_AT 64u

/* qs_engine_messages(), checked. */
struct qs_message_conf {
    bool framed, classified;
    struct qs_framing_conf framing;
    struct qs_classifier classifier;
};

/* A message that is more urgent than its connection and waits; or one or more, side by side, that
 * were taken, and what lies in front of them not yet. */
struct qs_message_record {
    qs_seq seq;
    uint32_t len;
    uint8_t prio;
    bool taken;
    struct qs_bytes_pos at; /* in qs_block.rx; chunk QS_NO_IDX: not known, as behind a hole */
};

struct qs_messages {
    uint8_t conf;           /* number of qs_message_conf */
    uint16_t vlan;          /* of the packet that opened the connection */
    uint8_t pcp, dscp;      /* likewise */
    uint8_t listed;         /* class of the list of events that the block is on */
    uint8_t ready;          /* class of the list of ready blocks that it is on, or was */
    uint8_t n_records;      /* in order of the stream */
    uint8_t staged_classes; /* bit for each queue of `staged` that is not empty */
    uint8_t sent_classes;   /* bit for each class of which a message was ever sent */
    uint8_t part_prio;      /* class of what was put into the stream last */
    uint8_t capped_prio;    /* 0, or the most urgent class of those before capped_end that keep */
    qs_seq capped_end;      /* their place, as their source was beyond its rate */
    qs_seq scan;            /* where the first message begins that is not whole */
    qs_seq ahead;           /* where the first one behind it begins that is not whole */
    uint32_t len;           /* of the message at `scan`; 0: not known */
    struct qs_bytes_pos at; /* of `scan` in qs_block.rx, when octets in front of it are there */
    uint32_t part;          /* octets of the message that is being put into the stream */
    uint32_t staged_octets; /* of messages that are not yet in the stream, in all queues */
    struct qs_bytes staged[QS_N_PRIO]; /* of each: length in 4 octets, and it */
    struct qs_message_record records[QS_MESSAGE_RECORDS];
};

#endif
