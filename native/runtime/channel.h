/* SPDX-License-Identifier: Apache-2.0 */
/* What lies between a worker and an application thread of the split layout: for each (application,
 * queue, class) two rings, and for each connection of a queue a slot with its counts. */
#ifndef QS_RUNTIME_CHANNEL_H
#define QS_RUNTIME_CHANNEL_H

#include "qstack/qs_conn.h"
#include "runtime/ring.h"

/* ---- records; each is padded to 8 bytes ---- */

/* Worker to application. */
struct qs_event_record {
    uint32_t bytes; /* of the whole record */
    uint32_t len;   /* octets that follow */
    qs_conn conn;
    uint64_t user; /* the listener's */
    qs_addr remote;
    int32_t listener;
    uint16_t remote_port;
    uint8_t flags; /* QS_EVENT_* */
    int8_t err;
};

enum qs_command { QS_DO_WRITE, QS_DO_WANT_WRITE, QS_DO_SHUTDOWN, QS_DO_CLOSE, QS_DO_ABORT };

/* Application to worker. */
struct qs_command_record {
    uint32_t bytes;
    uint32_t len; /* octets that follow: QS_DO_WRITE */
    qs_conn conn;
    uint32_t command; /* enum qs_command */
    uint32_t reserved;
};

static inline size_t qs_record_bytes(size_t header, size_t len)
{
    return (header + len + 7) & ~(size_t)7;
}

/* ---- slots: one for each block of an engine ---- */

#define QS_NO_SLOT UINT32_MAX

struct qs_handler;

/* Touched by the worker only. */
struct qs_worker_slot {
    const struct qs_handler *handler; /* whose connection it is */
    qs_conn conn;                     /* events below belong to it */
    uint64_t taken;                   /* octets that the engine took from QS_DO_WRITE */
    uint32_t next;                    /* in the channel's list of waiting slots */
    uint8_t waiting;                  /* QS_EVENT_* not in the ring yet */
    bool listed;
    int8_t err;
    uint8_t told; /* the application knows `conn` */
    /* The connection before this one, when the application still has to hear of its end. */
    qs_conn ended;
    int8_t ended_err;
};

/* Touched by the application only, but for `acked`. */
struct qs_app_slot {
    qs_conn conn; /* 0: the application knows none here */
    uint64_t user;
    uint64_t written; /* octets handed to QS_DO_WRITE */
    uint64_t acked;   /* of these, as the worker last told; written by the worker */
    qs_addr remote;
    uint16_t remote_port;
    uint8_t prio;
    uint8_t put_off; /* bits 1 << enum qs_command that found no room in the ring */
    uint32_t next;   /* in the channel's list of connections that wait for the ring */
    bool listed;
    bool closed; /* shut down, or given up */
};

/* First in, first out, linked by slot number. */
struct qs_slot_list {
    uint32_t first, last;
};

struct qs_channel {
    struct qs_ring events;   /* worker to application   */
    struct qs_ring commands; /* application to worker   */
    uint32_t queue;
    uint8_t prio;

    /* worker */
    struct qs_slot_list waiting; /* slots with events that found no room */
    uint32_t written;            /* octets of the first command that the engine took already */
    uint32_t worker_starved;     /* atomic: `waiting` is not empty */

    /* application */
    _Alignas(64) size_t held;    /* bytes of `events` lent out by the last qs_app_wait() */
    struct qs_slot_list starved; /* slots with something put off */
    uint32_t app_starved;        /* atomic: the application waits for room in `commands` */
};

qs_err qs_channel_new(struct qs_channel **out, uint32_t queue, uint8_t prio, size_t ring_bytes);
void qs_channel_free(struct qs_channel *ch);

/* Part of `commands` that writes leave free for the calls that must not fail. */
static inline size_t qs_channel_spare(const struct qs_channel *ch)
{
    return ch->commands.bytes / 8;
}

static inline uint32_t qs_slot_of(qs_conn c)
{
    return (uint32_t)c.v & 0xffffffu;
}

static inline uint32_t qs_queue_of(qs_conn c)
{
    return (uint32_t)(c.v >> 24) & 0xffu;
}

#endif
