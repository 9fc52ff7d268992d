/* SPDX-License-Identifier: Apache-2.0 */
/* What lies between a worker and an application thread of the split layout: for each (application,
 * queue, class) two rings, and for each connection a link.
 *
 * A link is not the engine's block. The engine gives a block to another connection as soon as the
 * old one is over, of any class and for any application; the application may hear of the old one's
 * end much later. The link lasts until then: the worker takes a free one when a connection opens,
 * its last record is CLOSED or GONE, and the application gives the link back when it has read that.
 */
#ifndef QS_RUNTIME_CHANNEL_H
#define QS_RUNTIME_CHANNEL_H

#include "qstack/qs_conn.h"
#include "runtime/ring.h"

#define QS_NO_LINK UINT32_MAX

/* As a flag of a record: the last one of a connection that the application gave up itself. */
#define QS_EVENT_GONE (1u << 7)

/* ---- records; each is padded to 8 bytes ---- */

/* Worker to application. A message that is more urgent than its connection goes through the channel
 * of its own class, and so may come before the record that opens its connection: it says all that
 * one would. What has to be read behind such messages says how many there were, and waits for them.
 */
struct qs_event_record {
    uint32_t bytes; /* of the whole record */
    uint32_t len;   /* octets that follow, without the qs_open_record */
    uint32_t link;
    int16_t listener;
    uint8_t flags; /* QS_EVENT_* */
    int8_t err;
    qs_time traced;    /* since when it is in the ring, if it is followed; else 0 */
    uint32_t n_urgent; /* of the connection, sent before this record */
    bool urgent;       /* such a message: a qs_open_record precedes its octets */
    bool capped;       /* a message of a more urgent class, or before one: those wait, too */
    uint8_t base;      /* class of the connection */
};

/* Precedes the octets of a record with QS_EVENT_OPEN, or of an urgent message. */
struct qs_open_record {
    qs_conn conn;
    uint64_t user; /* the listener's */
    qs_addr remote;
    uint16_t remote_port;
};

/* Follows a record with QS_EVENT_MOVED, the first one of a connection that came from another queue:
 * it counts when the application has read all that came through that one. */
struct qs_moved_record {
    qs_conn conn;
    uint32_t from_queue, from_link;
    uint32_t n_records; /* that came there, or before */
};

enum qs_command {
    QS_DO_WRITE,
    QS_DO_WANT_WRITE,
    QS_DO_SHUTDOWN,
    QS_DO_CLOSE,
    QS_DO_ABORT,
    QS_DO_SEND,  /* a message, through the channel of its class */
    QS_DO_MOVED, /* what follows comes to this queue: the connection is known here */
};

/* Application to worker. */
struct qs_command_record {
    uint32_t bytes;
    uint32_t len; /* octets that follow: QS_DO_WRITE, QS_DO_SEND */
    qs_conn conn;
    uint32_t link;
    uint32_t command;  /* enum qs_command */
    uint32_t n_sends;  /* QS_DO_SEND of the connection before this one, through any channel */
    uint32_t n_before; /* its commands through other queues, which come first */
};

static inline size_t qs_record_bytes(size_t header, size_t len)
{
    return (header + len + 7) & ~(size_t)7;
}

/* ---- links ---- */

/* Touched by the worker only. */
struct qs_worker_link {
    qs_conn conn;
    uint64_t sent_to;     /* end of its last record in the ring of class `at`; 0: none */
    uint64_t first_to;    /* `at` is not `prio`: what has to be read first in the ring of `prio` */
    uint64_t capped_to;   /* end of its last capped message in the ring of class `at`; 0: none */
    uint64_t taken;       /* octets that the engine took from QS_DO_WRITE and QS_DO_SEND */
    uint32_t n_sends;     /* QS_DO_SEND carried out */
    uint32_t n_urgent;    /* records of urgent messages so far */
    uint32_t urgent_next; /* in the list of urgent links of a channel */
    uint32_t next;        /* in the channel's list of waiting links, or of free ones */
    int16_t listener;     /* number of qs_stack_listen() */
    uint8_t waiting;      /* QS_EVENT_* not in the ring yet */
    int8_t err;
    uint8_t prio;   /* class of the connection */
    uint8_t served; /* as which class: `prio` or less */
    uint8_t at; /* class of the channel that its events go through: as `served` once that can be */
    bool listed;
    bool urgent_listed;
    bool told;        /* the application knows the connection */
    bool over;        /* the engine knows it no more */
    bool wants_write; /* QS_DO_WANT_WRITE was asked */
    bool shuts_later; /* QS_DO_SHUTDOWN waits until all octets are in the ring */

    /* moves between queues: split_move.c */
    uint32_t n_records;             /* to the application, through this queue or another one */
    uint32_t n_here, n_elsewhere;   /* commands carried out that came through this queue, others */
    uint32_t from_queue, from_link; /* with `arriving` */
    uint32_t to_queue;              /* with `left` */
    bool arriving; /* the application has not said QS_DO_MOVED: it gets nothing through here */
    bool met;      /* with `arriving`: the record that tells it is in the ring */
    bool left;     /* the connection is with another queue: commands are sent after it */
};

/* Touched by the application only, but for `allowed`. */
struct qs_app_link {
    qs_conn conn;
    uint64_t user;
    uint64_t written; /* octets handed to QS_DO_WRITE and QS_DO_SEND */
    uint64_t allowed; /* most that `written` may be: what is acknowledged and the send buffer, as
                         the worker last told; written by the worker */
    uint32_t sndbuf;  /* octets of the send buffer; likewise */
    uint32_t n_sends, n_urgent; /* as the worker's, sent and read */
    uint32_t n_records;         /* read */
    uint32_t n_commands;        /* put into rings, of this queue and of others */
    uint32_t n_before;          /* of them, into those of others */
    uint32_t older; /* link that had the engine's block before and is still known, or QS_NO_LINK */
    uint32_t to_queue, to_link; /* with `leaving` */
    uint32_t last_record;       /* likewise: n_records when all was read that came this way */
    uint32_t next_moved;        /* in the list of those that have moved: link, */
    uint32_t next_queue;        /* and queue */
    qs_conn to_conn;            /* with `leaving` */
    qs_addr remote;
    uint32_t next; /* in the channel's list of links that wait for the ring */
    uint16_t remote_port;
    uint8_t prio;
    uint8_t put_off;      /* bits 1 << enum qs_command that found no room in the ring */
    uint8_t sent_classes; /* bit for each class of QS_DO_SEND */
    bool listed;
    bool framed;   /* it has messages */
    bool early;    /* an urgent message came before the record that opens it */
    bool shut;     /* no more writes */
    bool given_up; /* closed or aborted: the handle is stale */
    bool over;     /* the last record was read */
    bool leaving;  /* the connection is with another queue: all that came this way is read first */
};

/* Links of one application and one queue. */
struct qs_links {
    uint32_t n_max;   /* power of two */
    uint32_t n_slots; /* blocks of the engine */
    struct qs_worker_link *worker;
    struct qs_app_link *app;
    uint32_t *of_slot; /* application: link of the connection last opened in a block */
    uint32_t *back;    /* ring of links given back, application to worker */

    /* worker */
    uint32_t n_used;    /* links from here on were never used */
    uint32_t free;      /* list of links that the application never heard of */
    uint32_t back_seen; /* entries of `back` taken */
    uint32_t
        *arrived[64]; /* by queue: its links to those here, while they arrive; NULL: none did */

    _Alignas(64) uint32_t back_given; /* atomic; written by the application */
};

/* QS_ERR_NOMEM. Twice as many links as connections: as many may be over and not yet read. */
qs_err qs_links_init(struct qs_links *l, uint32_t conns_max);
void qs_links_fini(struct qs_links *l);

/* Worker: a link, zeroed, or QS_NO_LINK. */
uint32_t qs_link_take(struct qs_links *l);

/* Worker: gives back a link that the application never heard of. */
void qs_link_drop(struct qs_links *l, uint32_t link);

/* Application: gives back a link whose last record was read. */
void qs_link_return(struct qs_links *l, uint32_t link);

/* First in, first out, linked by number. */
struct qs_link_list {
    uint32_t first, last;
};

/* `items` is an array of struct qs_worker_link or struct qs_app_link. */
#define QS_LIST_PUSH(list, items, i)                                                               \
    do {                                                                                           \
        (items)[i].next = QS_NO_LINK;                                                              \
        (items)[i].listed = true;                                                                  \
        if ((list)->last == QS_NO_LINK)                                                            \
            (list)->first = (i);                                                                   \
        else                                                                                       \
            (items)[(list)->last].next = (i);                                                      \
        (list)->last = (i);                                                                        \
    } while (0)

/* Takes the first one, which exists. */
#define QS_LIST_POP(list, items)                                                                   \
    do {                                                                                           \
        struct qs_link_list *l_ = (list);                                                          \
        (items)[l_->first].listed = false;                                                         \
        l_->first = (items)[l_->first].next;                                                       \
        if (l_->first == QS_NO_LINK)                                                               \
            l_->last = QS_NO_LINK;                                                                 \
    } while (0)

/* ---- channels ----
 *
 * Who is starved waits for the other side to give room, and who sleeps for something to do. All
 * these flags are set, taken and cleared by exchange, after the index that the other side looks at
 * was stored, and the index is looked at again after the flag was set. So of the two exchanges the
 * second sees what came before the first, and no wake-up is lost. */

/* Who is followed on the way to the application; since.ns 0: nobody. */
struct qs_traced {
    uint32_t link;
    qs_time since;
};

struct qs_channel {
    struct qs_ring events;   /* worker to application */
    struct qs_ring commands; /* application to worker */
    struct qs_links *links;
    uint32_t queue;
    uint8_t prio;

    /* worker */
    struct qs_link_list waiting; /* links with events that found no room */
    struct qs_link_list urgent;  /* links of other channels with messages of this class, likewise */
    struct qs_traced traced;
    uint32_t written;        /* octets of the first command that the engine took already */
    bool no_chunk;           /* the first command waits for the engine's memory */
    uint32_t worker_starved; /* atomic: wake the worker when there is room */

    /* application */
    _Alignas(64) size_t held;    /* bytes of `events` lent out by the last qs_app_wait() */
    struct qs_link_list starved; /* links with something put off */
    uint32_t app_starved;        /* atomic: wake the application when there is room */
};

qs_err qs_channel_new(struct qs_channel **out, struct qs_links *links, uint32_t queue, uint8_t prio,
                      size_t ring_bytes);
void qs_channel_free(struct qs_channel *ch);

/* Part of `commands` that writes leave free for the calls that must not fail. */
static inline size_t qs_channel_spare(const struct qs_channel *ch)
{
    return ch->commands.bytes / 8;
}

/* Who found a ring full goes on when this much of it is free: not for each record. */
static inline bool qs_channel_has_room(const struct qs_ring *r)
{
    return qs_ring_free_bytes(r) >= r->bytes / 4;
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
