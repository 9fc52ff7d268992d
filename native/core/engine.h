/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of an engine, shared by the files of native/core. */
#ifndef QS_CORE_ENGINE_H
#define QS_CORE_ENGINE_H

#include "conn_table.h"
#include "message.h"
#include "neigh.h"
#include "packet.h"
#include "qstack/qs_class.h"
#include "qstack/qs_parcel.h"
#include "qstack/qs_stats.h"
#include "share.h"
#include "siphash.h"
#include "source.h"
#include "tcp_conn.h"
#include "tcp_sent.h"
#include "tcp_wire.h"
#include "trace.h"

#define QS_ADDRS_MAX 16
#define QS_VLANS_MAX 4096u
#define QS_LISTENERS_MAX 256
#define QS_NEIGHS_MAX 1024u
#define QS_NO_NEIGH UINT16_MAX
#define QS_REPLIES_MAX 64u
#define QS_HALF_OPEN_ROWS 2u
#define QS_HALF_OPEN_CELLS 256u
#define QS_BUF_MIN 2048u /* octets */
#define QS_BUF_SIZES 20u /* from there to 2^30 octets */
#define QS_BUF_NUMBER_MASK 31u
#define QS_BUF_GROWS UINT8_MAX
#define QS_MSS_MIN 88u      /* less would let a peer make us send a header for every few octets */
#define QS_DUP_ACKS_MAX 64u /* a burst */
#define QS_DUPACKS 3        /* that mean a loss, RFC 5681 section 3.2 */

/* List of blocks, first in first out. */
struct qs_list {
    uint32_t head, tail;
};

struct qs_local {
    qs_addr addr;
    uint32_t prefix_len;
};

struct qs_listener {
    qs_addr addr;
    uint64_t user;
    uint32_t backlog;
    uint32_t untaken; /* connections with QS_CF_UNTAKEN */
    uint32_t half_open_max, half_open_prefix_max;
    uint32_t half_open; /* connections with QS_CF_HALF_OPEN */
    uint16_t port;      /* 0: free */
    uint8_t prio;
    struct qs_tcp_conf conf; /* of its connections */
    bool ecn;
    bool shed_rst;    /* an attempt to connect that is refused is answered */
    uint8_t messages; /* number of qs_message_conf, 0: none */
};

/* What a buffer may be large: the initial size, halved and doubled, and the most that there is. */
struct qs_buf_sizes {
    uint32_t octets[QS_BUF_SIZES]; /* ascending; behind the most it comes again */
    uint8_t initial;               /* number of the initial size */
};

enum qs_neigh_state { QS_NEIGH_FREE, QS_NEIGH_INCOMPLETE, QS_NEIGH_VALID };

/* What qs_engine_neigh_next() has not told yet. */
enum qs_neigh_report { QS_REPORT_NONE, QS_REPORT_LEARNED, QS_REPORT_WANTED };

struct qs_neigh_entry {
    qs_addr addr;
    uint16_t vlan; /* 0: no tag */
    uint8_t mac[6];
    uint8_t state;          /* enum qs_neigh_state */
    uint8_t to_report;      /* enum qs_neigh_report */
    bool probed;            /* a request is out: an answer is believed */
    uint32_t refs;          /* connections that send through it: it is not replaced */
    qs_time learned;        /* last proof that the entry is right */
    qs_time asked;          /* last request */
    struct qs_list waiting; /* connections with something to send, while INCOMPLETE */
};

/* Frames answered without a connection: RST, ICMP echo, ARP, ND. Built when the cause arrives, sent
 * with the next qs_engine_tx(). */
struct qs_reply {
    uint32_t len;
    uint8_t prio;
};

/* Limits how often something is done: budget.c. */
struct qs_budget {
    uint64_t second; /* which one `left` is for */
    uint32_t left;
    uint32_t kind; /* each has random numbers of its own */
};

/* What a class has for sure, and what became of it: class.c. */
struct qs_class {
    uint32_t chunks_reserved, conns_reserved;
    uint32_t chunk_floor, conn_floor; /* what it leaves free for more urgent ones */
    uint8_t dscp;
    uint64_t source_rate; /* octets a second for each source; 0: no limit */
    uint64_t counters[QS_N_CLASS_COUNTERS];
};

/* ---- ICMP errors ---- */

/* qs_icmp_error.kind */
enum qs_icmp_kind {
    QS_ICMP_NONE,    /* not handled */
    QS_ICMP_SOFT,    /* may pass: RFC 1122 section 4.2.3.9 */
    QS_ICMP_HARD,    /* will not pass by itself */
    QS_ICMP_TOO_BIG, /* RFC 1191, RFC 8201 */
};

struct qs_engine {
    qs_engine_opts opts;
    struct qs_mem mem;
    struct qs_sipkey isn_key, hash_key;                              /* the secret */
    struct qs_sipkey cookie_key, prefix_key, budget_key, source_key; /* made from it */

    struct qs_local locals[QS_ADDRS_MAX];
    uint32_t n_locals;
    qs_addr gateway4, gateway6;        /* any: none */
    uint64_t vlans[QS_VLANS_MAX / 64]; /* bit for each that is taken */
    bool tagged;                       /* there is one */

    struct qs_block *blocks;
    uint32_t free_block,
        fresh_block; /* list by ready.next; those from fresh_block on are untouched */
    struct qs_table table;
    struct qs_wheel wheel;
    struct qs_chunk_pool pool;
    struct qs_sent_pool sent;
    struct qs_list ready[QS_N_PRIO], events[QS_N_PRIO];
    uint32_t ready_classes, event_classes; /* bit for each list that is not empty */

    struct qs_listener listeners[QS_LISTENERS_MAX];
    uint32_t n_listeners;  /* highest number in use, plus one */
    uint32_t port_counter; /* RFC 6056 algorithm 3 */
    uint32_t half_open_cells[QS_HALF_OPEN_ROWS][QS_HALF_OPEN_CELLS]; /* half_open.c */

    qs_time source_cells[QS_SOURCE_ROWS][QS_SOURCE_CELLS]; /* source.c */

    struct qs_budget challenges, echoes, icmp_errors;
    bool cookies_out;    /* a SYN cookie was sent */
    qs_time cookie_sent; /* when the last one was */

    struct qs_neigh_entry *neighs;
    uint32_t n_neighs, neigh_reports;
    struct qs_neigh offers[QS_OFFERS_MAX]; /* answers that this engine had not asked for */
    uint32_t n_offers;
    struct qs_icmp_error strays[QS_STRAYS_MAX]; /* about connections that this engine has not */
    uint32_t n_strays;

    struct qs_reply replies[QS_REPLIES_MAX];
    uint8_t *reply_data; /* QS_REPLIES_MAX frames of reply_bytes */
    uint32_t reply_bytes, reply_head, reply_tail;

    qs_divert_fn divert; /* NULL: nobody is asked */
    void *divert_ctx;
    bool divert_all;

    qs_time now; /* last time that was passed in */
    bool opened; /* an active open was made: with trust_hash its block has a keyed hash */

    struct qs_buf_sizes rcvbuf, sndbuf;
    uint64_t grown[QS_N_PRIO]; /* octets by which buffers of each class are above initial size */

    struct qs_class classes[QS_N_PRIO];
    uint32_t classes_used;    /* bit for each that a listener or an active open ever named */
    struct qs_share tx_share; /* of what is sent; costs are octets */

    struct qs_message_conf *message_confs; /* from 1 on */
    uint32_t n_message_confs;
    struct qs_messages *messages;  /* one for each block; of those with QS_CF_FRAMED */
    struct qs_share message_share; /* of messages that are put into streams; costs are octets */
    uint8_t *message_head;         /* QS_MESSAGE_HEAD_MAX octets in one piece */

    struct qs_trace traces[QS_N_PRIO];
    struct qs_slowest slowest[QS_N_PRIO];
    uint32_t traces_sent; /* bit for each that is QS_TRACE_SENT */
    struct qs_residency residency;

    uint64_t counters[QS_N_COUNTERS];
};

/* Counters are read by other threads; only this engine writes. */
static inline void qs_count_add(struct qs_engine *e, enum qs_counter which, uint64_t n)
{
    uint64_t *c = &e->counters[which];
    __atomic_store_n(c, __atomic_load_n(c, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void qs_count(struct qs_engine *e, enum qs_counter which)
{
    qs_count_add(e, which, 1);
}

static inline void qs_chunks_publish(struct qs_engine *e)
{
    __atomic_store_n(&e->counters[QS_COUNT_CHUNKS], e->pool.used, __ATOMIC_RELAXED);
}

static inline void qs_class_count_add(struct qs_engine *e, uint32_t prio,
                                      enum qs_class_counter which, uint64_t n)
{
    uint64_t *c = &e->classes[prio].counters[which];
    __atomic_store_n(c, __atomic_load_n(c, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void qs_class_count(struct qs_engine *e, uint32_t prio, enum qs_class_counter which)
{
    qs_class_count_add(e, prio, which, 1);
}

static inline uint32_t qs_block_idx(const struct qs_engine *e, const struct qs_block *c)
{
    return (uint32_t)(c - e->blocks);
}

/* Class of the list of ready blocks that it is on, or was last. */
static inline uint32_t qs_ready_class(const struct qs_engine *e, const struct qs_block *c)
{
    return c->flags & QS_CF_FRAMED ? e->messages[qs_block_idx(e, c)].ready
                                   : qs_served_as(c, c->prio);
}

/* Where its frames of class `prio` go; the neighbour is known. */
static inline struct qs_hop qs_block_hop(const struct qs_engine *e, const struct qs_block *c,
                                         uint32_t prio)
{
    const struct qs_neigh_entry *n = &e->neighs[c->neigh];
    return (struct qs_hop){n->mac, n->vlan, prio & (QS_N_PRIO - 1u)};
}

static inline const qs_addr *qs_block_local(const struct qs_engine *e, const struct qs_block *c)
{
    return &e->locals[c->local_idx].addr;
}

/* ---- source.c: what one source may have of a class ---- */

static inline bool qs_source_within(const struct qs_engine *e, const qs_addr *remote, uint32_t prio)
{
    return !e->classes[prio].source_rate || qs_source_has_left(e, remote, prio);
}

/* It was served for so many octets. */
static inline void qs_source_charge(struct qs_engine *e, const qs_addr *remote, uint32_t prio,
                                    uint32_t octets)
{
    if (e->classes[prio].source_rate)
        qs_source_take(e, remote, prio, octets);
}

/* Says as which class a connection is served that is on no list of events. */
static inline void qs_source_judge(struct qs_engine *e, struct qs_block *c)
{
    if (c->capped || e->classes[c->prio].source_rate)
        qs_source_rejudge(e, c);
}

/* ---- blocks.c: blocks, their lists and their end ---- */

/* A zeroed block of the class in state CLOSED, not in the table yet, or NULL. */
struct qs_block *qs_block_new(struct qs_engine *e, uint8_t prio);

/* Gives everything of the block back; its handle is stale from now on. */
void qs_block_free(struct qs_engine *e, struct qs_block *c);

/* The block of a handle, or NULL when the handle is stale. */
struct qs_block *qs_block_of(const struct qs_engine *e, qs_conn handle);
qs_conn qs_block_handle(const struct qs_engine *e, const struct qs_block *c);

/* Hash of the 4-tuple under the engine's key. */
uint32_t qs_tuple_hash(const struct qs_engine *e, const qs_addr *remote, uint16_t remote_port,
                       uint8_t local_idx, uint16_t local_port);
struct qs_block *qs_block_find(const struct qs_engine *e, uint32_t hash, const qs_addr *remote,
                               uint16_t remote_port, uint8_t local_idx, uint16_t local_port);

/* Puts the block in the table under its c->hash. */
void qs_block_enter(struct qs_engine *e, struct qs_block *c);

/* The connection may have something to send. */
void qs_block_ready(struct qs_engine *e, struct qs_block *c);

/* First block of the class that is to send next, taken off the list; NULL when none is ready. */
struct qs_block *qs_block_next_ready(struct qs_engine *e);

/* Raises QS_EVENT_* for the application; nothing for an orphan. */
void qs_block_event(struct qs_engine *e, struct qs_block *c, uint8_t flags);
/* The same of a connection with framing, in the list of `prio` unless it is on that of a more
 * urgent class. */
void qs_block_event_class(struct qs_engine *e, struct qs_block *c, uint8_t flags, uint32_t prio);

/* Takes back what the application was not told yet; it counts as told. */
void qs_block_forget(struct qs_engine *e, struct qs_block *c);

/* The connection's TCP has ended with `err`: events for the application, else the block is freed.
 * The caller does not touch the block again. */
void qs_block_end(struct qs_engine *e, struct qs_block *c, qs_err err);
/* Raises QS_EVENT_CLOSED when the connection has ended and all that it received was read. */
void qs_block_ended(struct qs_engine *e, struct qs_block *c);

/* The application has done with `octets` at the front of what was received. */
void qs_block_read(struct qs_engine *e, struct qs_block *c, uint32_t octets);

/* Timer of the block comes up at the earliest of its deadlines. */
void qs_block_arm(struct qs_engine *e, struct qs_block *c);

void qs_list_init(struct qs_list *l);
void qs_ready_unlink(struct qs_engine *e, struct qs_block *c);

/* Parks a block that has something to send until its neighbour is known. */
void qs_neigh_wait(struct qs_engine *e, struct qs_block *c);

/* Wakes all connections that waited for a neighbour. */
void qs_neigh_wake(struct qs_engine *e, struct qs_neigh_entry *n);

/* ---- class.c ---- */

void qs_classes_init(struct qs_engine *e);

/* Is there a connection that the class may have? */
bool qs_class_may_connect(const struct qs_engine *e, uint32_t prio);

/* Chunks that a connection leaves free for more urgent classes. */
static inline uint32_t qs_chunk_floor(const struct qs_engine *e, const struct qs_block *c)
{
    return e->classes[qs_served_as(c, c->prio)].chunk_floor;
}

/* ---- message.c: connections with QS_CF_FRAMED ---- */

/* May connections with options `conf` have messages by number `number` of qs_message_conf? */
bool qs_messages_fit(const struct qs_engine *e, uint32_t number, const struct qs_tcp_conf *conf);
/* Class of a connection that opens, by number `conf` of qs_message_conf, 0: none. */
uint8_t qs_messages_open_class(struct qs_engine *e, uint8_t conf, const struct qs_flow *flow);
/* A new block: by number `conf`; of what opened it tag and DSCP count. */
void qs_messages_begin(struct qs_engine *e, struct qs_block *c, uint8_t conf,
                       const struct qs_flow *opened_by);
/* The first octet will be that at rcv_nxt. */
void qs_messages_start(struct qs_engine *e, struct qs_block *c);
/* Octets have arrived, in order or not. @return false when they are no message:
 * qs_messages_refuse(). */
bool qs_messages_arrived(struct qs_engine *e, struct qs_block *c);
/* Ends the connection, whose block may be gone then. */
void qs_messages_refuse(struct qs_engine *e, struct qs_block *c);
/* The peer's FIN has come, or a message was taken: tells of the end when no message waits. */
void qs_messages_ended(struct qs_engine *e, struct qs_block *c);
/* What was kept ahead of a hole is gone, or with `all` also what is in order. */
void qs_messages_forget(struct qs_engine *e, struct qs_block *c, bool all);
/* An event of class `prio` was taken: less urgent messages have one of their own. */
void qs_messages_event_taken(struct qs_engine *e, struct qs_block *c, uint32_t prio);

/* ---- message_send.c ---- */

/* Gives back what waits to be sent. */
void qs_messages_release(struct qs_engine *e, struct qs_block *c);
/* Class of what is sent next. */
uint32_t qs_messages_send_class(struct qs_engine *e, const struct qs_block *c);
/* Puts messages into the stream until `octets` are unsent; `forced`: also those that leave the
 * window to more urgent ones. */
void qs_messages_put(struct qs_engine *e, struct qs_block *c, uint32_t octets, bool forced);

/* Octets of messages that are not in the stream yet. */
static inline uint32_t qs_staged(const struct qs_engine *e, const struct qs_block *c)
{
    return c->flags & QS_CF_FRAMED ? e->messages[qs_block_idx(e, c)].staged_octets : 0;
}

/* Octets that the application has written and the peer has not acknowledged. */
static inline uint32_t qs_unacked(const struct qs_engine *e, const struct qs_block *c)
{
    return c->tx.len + qs_staged(e, c);
}

/* ---- trace.c: what trace.h does not show ---- */

/* An event of `c` of class `prio`, for octets that arrived at e->now, is raised: it is followed if
 * its turn has come. */
void qs_trace_begin(struct qs_engine *e, const struct qs_block *c, uint32_t prio);
/* The event is taken. @return true when it is followed. */
bool qs_trace_taken(struct qs_engine *e, const struct qs_block *c, uint32_t prio);
/* A frame with new octets of `c` is written. */
void qs_trace_frame(struct qs_engine *e, const struct qs_block *c);

/* ---- icmp.c, icmp_error.c, icmp_send.c ---- */

void qs_icmp_input(struct qs_engine *e, const struct qs_packet *p, qs_time now);

/* Takes an ICMP or ICMPv6 message whose checksum is right and that may be an error. */
void qs_icmp_error_input(struct qs_engine *e, const struct qs_packet *p, qs_time now);

/* Tells the sender of a dropped packet of the option at p->problem. */
void qs_icmp_send_problem(struct qs_engine *e, const struct qs_packet *p, qs_time now);

/* ---- reply.c ---- */

/* Room for `bytes` behind the Ethernet header of one frame, or NULL when the queue is full
 * (counted); the caller fills all of it. */
uint8_t *qs_reply_new(struct qs_engine *e, const struct qs_hop *to, uint16_t ethertype,
                      uint32_t bytes);
/* Queues a segment without payload. @return false when the queue is full (counted). */
bool qs_reply_tcp(struct qs_engine *e, const struct qs_hop *to, const qs_addr *src,
                  const qs_addr *dst, const struct qs_tcp_out *o);
bool qs_reply_pop(struct qs_engine *e, struct qs_frame *f);

/* ---- TCP: each file is named in front of what it holds. Functions that may free the block say so;
 * the caller does not touch it after. ---- */

/* tcp_state.c: the only writer of c->state. */
void qs_tcp_set_state(struct qs_block *c, enum qs_tcp_state to);

/* Have both sides agreed on a sequence space (all states from ESTABLISHED on)? */
static inline bool qs_tcp_synchronized(const struct qs_block *c)
{
    return c->state >= QS_TCP_ESTABLISHED;
}

/* Our timestamp at `now`, RFC 7323 section 5.4. */
static inline uint32_t qs_tcp_ts_now(const struct qs_block *c, qs_time now)
{
    return (uint32_t)(now.ns >> QS_TS_SHIFT) + c->ts_offset;
}

/* buffers.c: sizes of a connection's buffers. They do not shrink before there is nothing to come or
 * to send. */

/* Sizes from the options: read for each segment, so not computed. */
void qs_buffers_init(struct qs_engine *e);
/* Number of the smallest size that is no less than `octets`, which is at most the largest. */
uint8_t qs_buf_number(const struct qs_buf_sizes *sizes, uint32_t octets);
/* Initial sizes, for a new block. */
void qs_buffers_start(const struct qs_engine *e, struct qs_block *c);
/* Gives them the sizes that were asked for: smaller ones only to a connection that has promised
 * nothing yet, larger ones while its class may grow. */
void qs_buffers_configure(struct qs_engine *e, struct qs_block *c, const struct qs_tcp_conf *conf);

/* Octets of the buffers now. */
static inline uint32_t qs_rcvbuf(const struct qs_engine *e, const struct qs_block *c)
{
    return e->rcvbuf.octets[c->rcvbuf];
}

static inline uint32_t qs_sndbuf(const struct qs_engine *e, const struct qs_block *c)
{
    return e->sndbuf.octets[c->sndbuf];
}

/* Octets by which they are above their initial sizes. */
static inline uint32_t qs_buffers_grown(const struct qs_engine *e, const struct qs_block *c)
{
    return qs_max_u32(qs_rcvbuf(e, c), e->opts.rcvbuf_initial_bytes) -
           e->opts.rcvbuf_initial_bytes +
           qs_max_u32(qs_sndbuf(e, c), e->opts.sndbuf_initial_bytes) - e->opts.sndbuf_initial_bytes;
}

/* The application has read `octets` more of a receive buffer that may grow: the receive buffer
 * doubles when half of it was read within a round trip. */
void qs_rcvbuf_read(struct qs_engine *e, struct qs_block *c, uint32_t octets);
/* cwnd is more than half of the send buffer: doubles it, unless it is as large as it may be. */
void qs_sndbuf_grow(struct qs_engine *e, struct qs_block *c);
/* There is more room in the send buffer: tells the application that waits for it. */
void qs_sndbuf_opened(struct qs_engine *e, struct qs_block *c);
/* Gives back what they have grown by: the connection is over, or in TIME-WAIT. */
void qs_buffers_release(struct qs_engine *e, struct qs_block *c);

/* Is enough of the send buffer free to tell the application? With messages half of it is to fit,
 * and a quarter may be left to urgent ones: message_send.c. */
static inline bool qs_tcp_writable(const struct qs_engine *e, const struct qs_block *c)
{
    uint32_t size = qs_sndbuf(e, c);
    return size - qs_unacked(e, c) >= (c->flags & QS_CF_FRAMED ? 3 * (size / 4) : size / 4);
}

/* tcp_open.c: what passive and active open share. */

/* A block for `remote` on `vlan` with route and neighbour, in no state yet; NULL is counted. */
struct qs_block *qs_tcp_new_conn(struct qs_engine *e, const qs_addr *remote, uint16_t vlan,
                                 uint8_t local_idx, uint8_t prio);
/* Keyed hash of a tuple: the low half is for its ISN, the high half for its timestamps. */
uint64_t qs_tcp_tuple_secret(const struct qs_engine *e, const qs_addr *remote, uint16_t remote_port,
                             const qs_addr *local, uint16_t local_port);
/* ISN (RFC 6528) and timestamp offset; c's tuple is complete. */
void qs_tcp_choose_isn(const struct qs_engine *e, struct qs_block *c, qs_time now);
/* `mss`, or the limit that an option sets if that is less. */
uint16_t qs_tcp_mss_within(uint16_t limit, uint16_t mss);
/* MSS that fits the MTU without options and the connection's limit, as announced to the peer. */
uint16_t qs_tcp_own_mss(const struct qs_engine *e, const struct qs_block *c);
uint16_t qs_tcp_own_mss_to(const struct qs_engine *e, const qs_addr *remote);
/* MSS of a peer that announces none. */
uint16_t qs_tcp_default_mss(bool v4);
/* Smallest shift with which the whole receive buffer can be advertised. */
uint8_t qs_tcp_own_wscale(const struct qs_engine *e);
/* Takes sequence number and options of the peer's SYN. */
void qs_tcp_take_syn(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s);
/* The handshake is complete with `s`. */
void qs_tcp_established(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s);

/* tcp_listen.c: a segment for no connection, RFC 9293 section 3.10.7.1 and 3.10.7.2. */
void qs_tcp_unconnected(struct qs_engine *e, const struct qs_segment *s, uint8_t local_idx,
                        uint32_t hash);
/* A new block of a listener for the peer that sent `s`, with ISN and timestamp offset, in the
 * table; NULL is counted. */
struct qs_block *qs_tcp_passive(struct qs_engine *e, uint16_t listener, const struct qs_segment *s,
                                uint8_t local_idx, uint32_t hash, uint8_t prio);
/* Class of the connection that `s` asks for. */
uint8_t qs_tcp_open_class(struct qs_engine *e, uint16_t listener, const struct qs_segment *s);
/* Class of what listens there, 0 when nothing does. */
uint8_t qs_tcp_listener_class(const struct qs_engine *e, uint8_t local_idx, uint16_t port);
/* Does the application have to take connections before there can be more? */
bool qs_tcp_backlog_full(const struct qs_engine *e, uint16_t listener);
/* A connection of a listener is established: no longer half-open, not yet taken. */
void qs_tcp_accepted(struct qs_engine *e, struct qs_block *c);

/* half_open.c: limits of half-open connections. */

/* May a SYN of `remote` make one? Then `cells` is for qs_half_open_begin(). */
bool qs_half_open_may(struct qs_engine *e, uint16_t listener, const qs_addr *remote,
                      uint16_t *cells);
void qs_half_open_begin(struct qs_engine *e, struct qs_block *c, uint16_t cells);
/* A half-open connection of another engine: it counts here, whatever the limits say. */
void qs_half_open_adopt(struct qs_engine *e, struct qs_block *c);
/* Nothing when it is not half-open. */
void qs_half_open_end(struct qs_engine *e, struct qs_block *c);

/* tcp_cookie.c */

/* Answers a SYN and keeps nothing. */
void qs_tcp_send_cookie(struct qs_engine *e, uint16_t listener, const struct qs_segment *s);
/* A segment with ACK for no connection. @return true when it answers a cookie, or comes from who
 * will, and is done with. */
bool qs_tcp_take_cookie(struct qs_engine *e, uint16_t listener, const struct qs_segment *s,
                        uint8_t local_idx, uint32_t hash);
/* A segment for `c`. A SYN that came twice may have got a cookie first and, when there was room
 * again, a half-open connection; the peer knows of the cookie. @return true when it answers that
 * one, and is done with; `c` is gone then, unless the answer has to come again. */
bool qs_tcp_cookie_instead(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s,
                           uint8_t local_idx, uint32_t hash);

/* tcp_synsent.c: RFC 9293 section 3.10.7.3. May free the block. */
void qs_tcp_syn_sent(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s);

/* tcp_segment.c: RFC 9293 section 3.10.7.4. May free the block. */
void qs_tcp_segment_arrives(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s);
/* tcp_challenge.c: answers with an ACK, at most one in half a second for each connection, and
 * not beyond what the engine may send in this second: RFC 5961 section 7. */
void qs_tcp_challenge(struct qs_engine *e, struct qs_block *c, qs_time now);

/* budget.c: may one more be sent? `per_second` on average, at least half of it. */
bool qs_budget_take(const struct qs_engine *e, struct qs_budget *b, uint32_t per_second,
                    qs_time now);

/* tcp_ack.c: fifth check. @return false when the segment goes no further; may free the block then.
 */
bool qs_tcp_take_ack(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s);

/* tcp_loss.c: recovery of a connection with SACK. */

/* Segment `s`, which acknowledged `acked` >= 0 octets more, may tell what arrived and what is lost.
 */
void qs_tcp_loss_ack(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s,
                     uint32_t acked);
/* `r` is sent again now. */
void qs_tcp_loss_sent_again(struct qs_block *c, const struct qs_sent *r, qs_time now);
/* The retransmission timer expired. */
void qs_tcp_loss_timeout(struct qs_engine *e, struct qs_block *c, qs_time now);
/* t_loss is over. */
void qs_tcp_loss_timer(struct qs_engine *e, struct qs_block *c, qs_time now);
/* Forgets what became of the octets that are out: they are sent again from SND.UNA on. */
void qs_tcp_go_back(struct qs_engine *e, struct qs_block *c);

/* tcp_reno.c: recovery of a connection without SACK. */

/* `acked` octets more were acknowledged by `s`. */
void qs_reno_ack(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s,
                 uint32_t acked);
/* A duplicate ACK came. */
void qs_reno_dupack(struct qs_engine *e, struct qs_block *c, qs_time now);
/* The retransmission timer expired: everything is sent again from SND.UNA on. */
void qs_reno_timeout(struct qs_engine *e, struct qs_block *c);
/* t_loss is over. */
void qs_reno_timer(struct qs_engine *e, struct qs_block *c);
/* Octets that were out already leave again now. */
void qs_reno_sent_again(struct qs_block *c, qs_time now);
/* Octets that may be out beyond cwnd, for what duplicates tell to have arrived. */
uint32_t qs_reno_credit(const struct qs_block *c);

/* tcp_rack.c: RFC 8985 section 6, and what it learns from ACKs. */

/* What a segment tells about what was sent. */
struct qs_delivery {
    uint32_t octets; /* that are known to have arrived, and were not before */
    bool dsack;      /* octets arrived twice */
    struct qs_range dsacked;
    bool sent_once; /* octets arrived that were out, once, when the recovery began */
};
struct qs_delivery qs_rack_take(struct qs_engine *e, struct qs_block *c,
                                const struct qs_segment *s);
/* The reordering window follows duplicates, and recoveries that are over. */
void qs_rack_take_dsack(struct qs_block *c, const struct qs_delivery *d);
void qs_rack_recovered(struct qs_block *c);
/* Marks what is lost, and sets t_loss when some may soon be. @return true when something was. */
bool qs_rack_detect(struct qs_engine *e, struct qs_block *c, qs_time now);
/* The retransmission timer expired: marks what is lost. */
void qs_rack_timeout(struct qs_engine *e, struct qs_block *c, qs_time now);

/* tcp_pace.c: pacing, for connections with qs_block.pace_max. */

#define QS_PACE_NO_RATE UINT64_MAX

/* A ceiling in octets per second (0: none) as qs_block.pace_max, rounded down, and back. */
uint16_t qs_pace_code(uint64_t octets_per_second);
uint64_t qs_pace_ceiling(uint16_t code);
/* Octets of payload per second at which the connection is paced, or would be; QS_PACE_NO_RATE
 * before the round trip is measured, unless there is a ceiling. */
uint64_t qs_pace_rate(const struct qs_block *c);
/* Is there what has to have credit: new octets, or those that are lost? A probe goes at its own
 * time. */
bool qs_pace_waits(const struct qs_block *c);
/* Must the next octets wait? Then the connection is ready again when they need not. */
bool qs_pace_holds(struct qs_engine *e, struct qs_block *c, qs_time now);
/* Most octets that the next frame may have, when nothing is held back. */
uint32_t qs_pace_frame(const struct qs_block *c, qs_time now);
/* `octets` leave, held back before or not. */
void qs_pace_sent(struct qs_block *c, uint32_t octets, qs_time now);

/* tcp_tlp.c: RFC 8985 section 7. */

/* Sets or clears the timer of the probe, after new data or an ACK. */
void qs_tlp_arm(struct qs_engine *e, struct qs_block *c, qs_time now);
/* The timer expired. */
void qs_tlp_expired(struct qs_engine *e, struct qs_block *c, qs_time now);
/* The probe has left; `again`: with octets that were out already. */
void qs_tlp_sent(struct qs_engine *e, struct qs_block *c, bool again, qs_time now);
/* Section 7.4.2. @return true when it repaired a loss, to which congestion control must react. */
bool qs_tlp_take_ack(struct qs_block *c, const struct qs_segment *s, const struct qs_delivery *d);

/* tcp_ecn.c: RFC 3168 section 6.1. */

/* Does the SYN ask for ECN? */
bool qs_ecn_asked(const struct qs_segment *s, uint8_t cc_algo);
/* The answer to ours came. */
void qs_ecn_take_syn_ack(struct qs_block *c, const struct qs_segment *s);
/* QS_ECE and QS_CWR of our own SYN. */
uint8_t qs_ecn_syn_flags(const struct qs_block *c);
/* A segment that lies in the window may be marked. */
void qs_ecn_receive(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s);
/* An ACK may tell of marks. */
void qs_ecn_take_ack(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s);

/* tcp_cc.c: what congestion control is told. */

/* From now on by algorithm `algo`; the window stays. */
void qs_tcp_cc_choose(struct qs_block *c, uint8_t algo);
/* `acked` octets were acknowledged by `s`, selectively too, not in recovery. `advanced`: it moved
 * SND.UNA. */
void qs_tcp_cc_ack(struct qs_block *c, const struct qs_segment *s, uint32_t acked, bool advanced);
/* Octets that were out when a loss or mark came to pass that is told of now: FlightSize of RFC 5681
 * section 3.1 and flight_size of RFC 9438 section 4.6. */
uint32_t qs_tcp_cc_flight(const struct qs_block *c);
/* Octets were marked: reduces cwnd. */
void qs_tcp_cc_marked(struct qs_block *c);
/* New octets are about to be sent: reduces cwnd when none were for an RTO. */
void qs_tcp_cc_wake(struct qs_engine *e, struct qs_block *c, qs_time now);
/* cwnd lets octets out up to `edge`, and no more of those that are there. */
void qs_tcp_cc_full(struct qs_block *c, qs_seq edge);

/* tcp_text.c: seventh and eighth check. May free the block. */
void qs_tcp_take_text(struct qs_engine *e, struct qs_block *c, const struct qs_segment *s);
/* Window to advertise, octets; moves rcv_adv. */
uint32_t qs_tcp_window(struct qs_engine *e, struct qs_block *c);
/* The application consumed octets: sends a window update when it is worth one. */
void qs_tcp_window_opened(struct qs_engine *e, struct qs_block *c);
/* The next full segments are acknowledged at once: the connection is young, or its path loses and
 * repeats, where an ACK that gets lost must not be the only one. */
void qs_tcp_ack_quickly(const struct qs_engine *e, struct qs_block *c);
void qs_tcp_drop_ooo(struct qs_engine *e, struct qs_block *c);

/* tcp_sack.c: what ACKs tell of octets ahead of a hole, and of those that came twice. */

/* [start, end) was received and kept ahead of a hole. */
void qs_tcp_note_ahead(struct qs_block *c, qs_seq start, qs_seq end);
/* rcv_nxt has moved. */
void qs_tcp_note_in_order(struct qs_block *c);
/* [start, end) was there already, at least in part. */
void qs_tcp_note_twice(struct qs_block *c, qs_seq start, qs_seq end);
/* Blocks for a segment with room for `max`, the latest first. @return how many. */
uint32_t qs_tcp_sacks(const struct qs_block *c, struct qs_range *out, uint32_t max);

/* tcp_send.c: writes the connection's next frame. @return false when there is nothing to send now.
 */
bool qs_tcp_output(struct qs_engine *e, struct qs_block *c, struct qs_frame *f, qs_time now);
/* Sequence number of a segment without octets: as far right as was sent and the peer's window
 * allows. */
qs_seq qs_tcp_bare_seq(const struct qs_block *c);

/* tcp_pmtu.c: the size of segments and the path MTU. */

/* c->mss_limit has changed, maybe before the peer's SYN came. */
void qs_tcp_pmtu_limit(struct qs_block *c);
/* The peer's SYN has set c->mss. */
void qs_tcp_pmtu_start(struct qs_block *c);
/* A report of a path MTU about octets that are outstanding. @return false when it is not believed.
 */
bool qs_tcp_pmtu_report(struct qs_engine *e, struct qs_block *c, const struct qs_icmp_error *x,
                        qs_time now);
/* With pmtu_wait: SND.UNA has moved. */
void qs_tcp_pmtu_acked(struct qs_engine *e, struct qs_block *c);
/* The retransmission timer expired for octets: may lower c->mss. @return true when a report
 * explains that: all is sent again, and it was no congestion. */
bool qs_tcp_pmtu_timeout(struct qs_engine *e, struct qs_block *c);
/* The segment at SND.UNA is lost, and nothing else. @return true when that was a probe, which is
 * all taken care of: its loss says nothing about congestion. */
bool qs_tcp_pmtu_probe_lost(struct qs_engine *e, struct qs_block *c);
/* With pmtu_again: octets at c->pmtu.test_seq to send again, or 0; the flag is off then. */
uint32_t qs_tcp_pmtu_again(struct qs_block *c);
/* `len` octets at `seq` leave again, in segments of c->mss: what they were in before is not tested
 * any more. */
void qs_tcp_pmtu_resent(struct qs_engine *e, struct qs_block *c, qs_seq seq, uint32_t len);
/* With pmtu_low: octets of a probe to send next, or 0. `unsent` are there, and `window` may
 * be out at once. */
uint32_t qs_tcp_pmtu_probe(struct qs_engine *e, struct qs_block *c, uint32_t unsent,
                           uint32_t window);
/* A segment of `len` octets leaves at `seq` whose ACK will prove its size. */
void qs_tcp_pmtu_test(struct qs_block *c, qs_seq seq, uint32_t len);

/* tcp_reset.c: RST for a segment
 * without a connection, and from a connection's own state. */
void qs_tcp_reset_reply(struct qs_engine *e, const struct qs_segment *s);
void qs_tcp_reset_conn(struct qs_engine *e, struct qs_block *c);

/* tcp_close.c */

/* The application has written its last octet. */
void qs_tcp_queue_fin(struct qs_engine *e, struct qs_block *c);
/* The peer acknowledged our FIN. May free the block: @return false then. */
bool qs_tcp_fin_acked(struct qs_engine *e, struct qs_block *c, qs_time now);
/* All octets up to the peer's FIN are here. */
void qs_tcp_fin_received(struct qs_engine *e, struct qs_block *c, qs_time now);
/* (Re)starts the timer of TIME-WAIT. */
void qs_tcp_linger(struct qs_engine *e, struct qs_block *c, qs_time now);
/* May a new connection take the place of one in TIME-WAIT? RFC 6191 section 2. */
bool qs_tcp_may_reuse(const struct qs_block *c, const struct qs_segment *s);

/* tcp_conf.c: options of a connection. */

/* @return false when one is out of range. */
bool qs_tcp_conf_from(const struct qs_engine *e, struct qs_tcp_conf *to,
                      const struct qs_conn_opts *o);
/* A time as qs_tcp_conf keeps it. */
qs_dur qs_tcp_wait(uint16_t code);
/* Gives them to a connection that is not established yet, after c->flags was set. */
void qs_tcp_configure(struct qs_engine *e, struct qs_block *c, const struct qs_tcp_conf *conf);

/* tcp_keepalive.c: with QS_CF_KEEPALIVE, else they do nothing. */

/* The wait for the first probe begins at `now`. */
void qs_tcp_keepalive_start(struct qs_engine *e, struct qs_block *c, qs_time now);
/* The peer sent something acceptable. */
void qs_tcp_keepalive_heard(struct qs_engine *e, struct qs_block *c, qs_time now);
/* t_misc is over, maybe for this. @return false when the block is gone. */
bool qs_tcp_keepalive_due(struct qs_engine *e, struct qs_block *c, qs_time now);

/* tcp_timer.c */

/* Ends a connection whose peer is silent. The block is gone. */
void qs_tcp_give_up(struct qs_engine *e, struct qs_block *c);
/* The connection's user timeout is not passed over by a timer that was backed off. */
void qs_tcp_cap_rexmt(struct qs_engine *e, struct qs_block *c);

/* The block's slot of the wheel came up. May free the block. */
void qs_tcp_timer(struct qs_engine *e, struct qs_block *c, qs_time now);
/* No chunk was to be had for a connection without octets: QS_EVENT_WRITABLE in a while. */
void qs_tcp_retry_write(struct qs_engine *e, struct qs_block *c);
/* (Re)starts the retransmission timer, or the persist timer with QS_CF_PERSIST, after the present
 * RTO. */
void qs_tcp_start_rexmt(struct qs_engine *e, struct qs_block *c, qs_time now);
/* Off; a connection parked on its neighbour looks for it again, which starts the timer anew. */
void qs_tcp_stop_rexmt(struct qs_engine *e, struct qs_block *c);

/* tcp_rtt.c: RFC 6298. */

/* RACK.min_RTT, of a sample in units of 2^10 ns. */
void qs_tcp_min_rtt(struct qs_block *c, uint32_t rtt);
void qs_tcp_rtt_sample(struct qs_block *c, qs_dur rtt);
qs_dur qs_tcp_rto(const struct qs_engine *e, const struct qs_block *c);

#endif
