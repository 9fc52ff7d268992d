/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 *  A whole stack: a driver with its queues, one engine for each queue, and worker threads that run
 * them.
 *
 *      qs_stack_new() -> qs_stack_listen() ... -> qs_app_new() ... -> qs_stack_start() ->
 * qs_stack_stop()
 *      -> qs_stack_free()
 *
 *  A queue is run by one worker at a time and may be moved to another one while the stack runs:
 * qs_stack_move(). Workers are added, parked, woken and removed.
 *
 *  Handlers run in one of two layouts, chosen for each listener: `inline` (a C function on the
 * worker, qs_inline_fn) or `split` (an application thread that calls qs_app_wait(), qs_app.h).
 */
#ifndef QSTACK_QS_STACK_H
#define QSTACK_QS_STACK_H

#include "qs_message.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qs_stack qs_stack;

#define QS_N_QUEUES_MAX 64u

/** qs_stack_opts.growth_bytes: see there. */
#define QS_GROWTH_DEFAULT UINT64_MAX
#define QS_N_VLANS_MAX 16

/** Settings copied by qs_stack_new(). Start from qs_stack_opts_init(). Strings are borrowed. */
typedef struct qs_stack_opts {
    size_t size;        /**< sizeof(*this); set by qs_stack_opts_init() */
    const char *driver; /**< "tap", "xsk" or "pair" */
    const char *ifname; /**< device; for "pair" the name of the wire. tap makes it, xsk needs it */
    uint32_t n_queues;  /**< queue pairs, [1, 64] */
    uint32_t n_workers; /**< threads, [1, n_queues]; queue q starts on worker q % n_workers */
    /** Threads there may be at once, with those of qs_stack_worker_add(), [n_workers, 64]; 0:
     *  n_workers. */
    uint32_t workers_max;
    /** Not 0: the number of workers that are not parked follows the load from this one, at most
     *  n_workers, to workers_max, and all are there from the start. A worker that is busy for more
     *  than 80 % of 2 ms shares its queues with one that was parked; one is parked when the others
     *  would be busy for less than 50 % with its queues, for half a second. */
    uint32_t workers_min;
    int32_t first_cpu;      /**< worker w is pinned to CPU first_cpu + w (modulo); -1: not pinned */
    const char *addr4;      /**< "10.0.0.2/24" or NULL; xsk: NULL takes the device's addresses */
    const char *addr6;      /**< "fd00::2/64" or NULL; xsk: likewise */
    const char *host_addr4; /**< tap: address given to the kernel's side, or NULL: leave it alone */
    const char *host_addr6; /**< likewise, IPv6 */
    const char *gateway4;   /**< next hop off-link, or NULL */
    const char *gateway6;
    /** VLANs (IEEE 802.1Q) of which tagged frames are taken, beside frames without a tag, [1,
     * 4094]; 0 ends them. tap and pair: with xsk the kernel knows the neighbours of its own device
     * only. */
    uint16_t vlans[QS_N_VLANS_MAX];
    uint32_t mtu;          /**< 0: the device's own (xsk), else 1500 */
    uint32_t conns_max;    /**< for each queue */
    uint32_t chunks_max;   /**< for each queue */
    uint32_t rcvbuf_bytes; /**< most for each connection: qs_engine_opts */
    uint32_t sndbuf_bytes; /**< likewise */
    /** What a connection's buffers begin with, from 2,048 and an MSS to the sizes above. 0: 64 KiB,
     *  or the size above if that is less. */
    uint32_t rcvbuf_initial_bytes, sndbuf_initial_bytes;
    /** Octets by which all buffers of a class may grow together, for each class and queue.
     *  QS_GROWTH_DEFAULT: a quarter of the queue's chunks. */
    uint64_t growth_bytes[QS_N_PRIO];
    /** Least part, in thousandths, that a class has of what each queue sends and of the time of
     *  handlers on each worker and application thread, while it has something to do; 10 for each,
     *  all together at most 1000. */
    uint16_t min_share_permille[QS_N_PRIO];
    /** Part, in thousandths, of each queue's chunks and connections that less urgent classes leave
     *  free, for each class above the least urgent one that listeners use; 62, all together at
     *  most 500. */
    uint16_t reserved_permille[QS_N_PRIO];
    /** DSCP of the packets of each class, [0, 63]; 0. */
    uint8_t dscp[QS_N_PRIO];
    /** Octets a second for which one source is served in each class, in each queue, both ways:
     *  qs_class_opts.source_bytes_per_second; 0 for each: no limit. */
    uint64_t source_bytes_per_second[QS_N_PRIO];
    uint8_t source_bits4, source_bits6; /**< length of a source's prefix; 32 and 64 */
    /** A worker or application thread without work polls this long at most before it sleeps, 50 us;
     *  less where it has learned that work comes sooner, or hardly ever as soon. 0: not at all. */
    qs_dur poll_idle;
    uint32_t pair_side; /**< pair: 0 makes the wire, 1 joins it */
    bool no_offload;    /**< checksums and segmentation in software, for tests and comparison */
} qs_stack_opts;

/** Defaults: pair, 1 queue, 1 worker, not pinned, buffers of up to 4 MiB, 50 us of polling. */
QS_API void qs_stack_opts_init(qs_stack_opts *o);

/** Opens the device and makes the engines; no thread yet. @return 0; QS_ERR_ARG, QS_ERR_NODEV,
 *  QS_ERR_PERM, QS_ERR_BUSY, QS_ERR_NOTSUP, QS_ERR_NOMEM or QS_ERR_SYS, with words in `diag`;
 *  `*out` is NULL then and nothing is left behind. */
QS_API QS_MUST_CHECK qs_err qs_stack_new(qs_stack **out, const qs_stack_opts *o,
                                         struct qs_diag *diag);

/** Handler on the worker: all events of one connection since the last call. `e` and `event` are
 *  borrowed; qs_conn_*() may be called on `e`, and must not block. */
typedef void (*qs_inline_fn)(qs_engine *e, const struct qs_event *event, qs_time now, void *ctx);

/** A listener on every queue. */
struct qs_stack_listen {
    size_t size;             /**< sizeof(*this); set by qs_stack_listen_init() */
    struct qs_listen_opts l; /**< `user` belongs to the application in the inline layout only */
    qs_inline_fn inline_fn;  /**< NULL: events go to the application thread `app` */
    void *inline_ctx;        /**< kept; shared by all workers */
    uint32_t app; /**< application thread of the split layout, index given by qs_app_new() */
};

QS_API void qs_stack_listen_init(struct qs_stack_listen *l);

/** Listens on all queues and, with xsk, claims the port from the kernel. Before qs_stack_start().
 *  @return listener number >= 0, or a negative QS_ERR_* with words in `diag`. */
QS_API QS_MUST_CHECK int qs_stack_listen(qs_stack *s, const struct qs_stack_listen *l,
                                         struct qs_diag *diag);

/** As qs_engine_messages(), on all queues, before qs_stack_start(). Functions are guarded: a
 *  classifier that takes more than 50 us of CPU time has answered nothing, but for the first time
 * in a row; one that does not return within some 10 ms of it, or crashes, is left by siglongjmp()
 * and has answered nothing, and after three times it is not called any more. A framing that answers
 * nothing ends its connection.
 *  @return the number for qs_listen_opts.messages and qs_open_opts.messages, or a negative QS_ERR_*
 *  with words in `diag`. */
QS_API QS_MUST_CHECK int qs_stack_messages(qs_stack *s, const struct qs_framing_opts *framing,
                                           const struct qs_classifier_opts *classifier,
                                           struct qs_diag *diag);

/** What a function of qs_stack_messages() did wrong. */
struct qs_function_stats {
    uint64_t overruns;    /**< calls that took longer than their budget */
    uint64_t interrupted; /**< calls that did not return, or crashed */
    bool set_aside;       /**< it is not called any more */
};

/** Of the classifier, or of the framing, of number `number`; zeros when that has no function.
 *  @return 0 or QS_ERR_ARG. */
QS_API QS_MUST_CHECK qs_err qs_stack_function_stats(const qs_stack *s, int number, bool classifier,
                                                    struct qs_function_stats *out);

/** Opens a connection on queue `queue` whose events go to `fn` on that queue's worker; before
 *  qs_stack_start(), or from an inline handler of the same queue, or of the same worker if queues
 *  are not moved. The local port is chosen so that
 * the peer's replies come back to that queue if the NIC's hash is known. */
QS_API QS_MUST_CHECK qs_err qs_stack_open(qs_stack *s, uint32_t queue, const struct qs_open_opts *o,
                                          qs_inline_fn fn, void *ctx);

/** Starts the workers. @return 0, QS_ERR_STATE when running already, or QS_ERR_SYS. */
QS_API QS_MUST_CHECK qs_err qs_stack_start(qs_stack *s, struct qs_diag *diag);

/** Stops the workers and joins them. Connections stay as they are, moves that are under way are
 *  carried out; safe to call twice. */
QS_API void qs_stack_stop(qs_stack *s);

/** Stops, resets every connection, gives the device back and frees everything. NULL is allowed.
 *  Every qs_app of it must have been freed before. */
QS_API void qs_stack_free(qs_stack *s);

/** Has queue `queue` moved to worker `worker`, with its connections; returns at once. No frame,
 *  event or command is lost or changes its order, handles stay valid, and other queues go on. Until
 *  `worker` comes for it the queue is served where it is. Any thread may call it, handlers too.
 *  While the stack does not run the queue is there on return. Nothing happens if it is there.
 *  @return 0; QS_ERR_ARG (no such queue or worker), QS_ERR_STATE (the worker is parked) or
 *  QS_ERR_BUSY (the queue is on its way somewhere), with words in `diag`. */
QS_API QS_MUST_CHECK qs_err qs_stack_move(qs_stack *s, uint32_t queue, uint32_t worker,
                                          struct qs_diag *diag);

/** Waits up to `timeout` until the queue is where it is to be. Not from a handler. @return 0,
 *  QS_ERR_ARG (no such queue) or QS_ERR_AGAIN (it is still under way, or was sent on). */
QS_API QS_MUST_CHECK qs_err qs_stack_move_wait(qs_stack *s, uint32_t queue, qs_dur timeout);

/** Where a queue is. */
struct qs_place {
    uint32_t worker; /**< that runs it; while it is handed over the one that is to take it */
    uint32_t wanted; /**< where it is to be; another one than `worker` while it moves */
    uint64_t moves;  /**< times it arrived at another worker */
    qs_dur pause;    /**< of the last move: from the end of its last turn to the beginning of the
                          first one on the new worker */
};
/** @return 0 or QS_ERR_ARG. Safe while the stack runs. */
QS_API QS_MUST_CHECK qs_err qs_stack_place(const qs_stack *s, uint32_t queue, struct qs_place *out);

/** Adds a worker, without queues: qs_stack_move() brings them. Not from a handler, nor at the same
 *  time as qs_stack_start(), _stop() or _worker_remove(). @return its number >= 0; QS_ERR_NOMEM
 *  (qs_stack_opts.workers_max are there) or QS_ERR_SYS (no thread), with words in `diag`. */
QS_API QS_MUST_CHECK int qs_stack_worker_add(qs_stack *s, struct qs_diag *diag);

/** Has the worker's queues moved to others, those with the fewest; returns at once. Queues on their
 *  way to it turn round or are sent on. Then it sleeps without using CPU time. Nothing happens if
 * it is parked. @return 0; QS_ERR_ARG (no such worker) or QS_ERR_STATE (it is the last one that is
 * not parked), with words in `diag`. */
QS_API QS_MUST_CHECK qs_err qs_stack_worker_park(qs_stack *s, uint32_t worker,
                                                 struct qs_diag *diag);

/** Queues may be moved to it again; none are. @return 0 or QS_ERR_ARG (no such worker). */
QS_API QS_MUST_CHECK qs_err qs_stack_worker_wake(qs_stack *s, uint32_t worker,
                                                 struct qs_diag *diag);

/** Parks a worker, waits up to `timeout` until its queues are gone, and ends it. Its number is free
 *  for the next one. Called as qs_stack_worker_add(). @return 0; as qs_stack_worker_park(); or
 *  QS_ERR_AGAIN (its queues are not gone: a handler blocks; it is parked), with words in `diag`. */
QS_API QS_MUST_CHECK qs_err qs_stack_worker_remove(qs_stack *s, uint32_t worker, qs_dur timeout,
                                                   struct qs_diag *diag);

/* ---- buckets of flows move between queues, docs/design/021-moving-flows.md ---- */

/** Most entries of an indirection table. */
#define QS_BUCKETS_MAX 2048u

/** Entry `bucket` of the NIC's indirection table is to say `queue`. */
struct qs_bucket_move {
    uint32_t bucket, queue;
};

/** Writes all `n` entries into the NIC's table; called once, on the thread of the call that moves.
 *  @return 0, or an error after which the table is as before. */
typedef qs_err (*qs_table_fn)(void *ctx, const struct qs_bucket_move *moves, size_t n);

/** Moves connections and what comes for them: nothing is lost or taken out of order. Any thread but
 *  workers and applications; one call at a time. What flow rules decide stays where it is.
 *  @return 0 when all are there. With nothing changed: QS_ERR_ARG, QS_ERR_STATE (the stack does not
 *  run, or has application threads, whose connections do not move yet), QS_ERR_NOTSUP (the NIC does
 *  not say how it hashes), QS_ERR_BUSY (another move is under way), QS_ERR_NOMEM, QS_ERR_AGAIN (a
 *  worker did not answer within `timeout`), or what `write` said. Afterwards QS_ERR_BUSY: the table
 *  is written, and the old queue's worker has not sent all of them within `timeout`; it will. */
QS_API QS_MUST_CHECK qs_err qs_stack_buckets_move(qs_stack *s, const struct qs_bucket_move *moves,
                                                  size_t n, qs_table_fn write, void *ctx,
                                                  qs_dur timeout, struct qs_diag *diag);

/** Copies how many frames of each bucket came to a queue since start, up to `n` buckets. Where the
 *  device does not hand over its hash, one frame of each burst, chosen by chance, stands for all of
 *  it. What flow rules decided is left out, as far as the stack can tell. @return buckets written;
 *  0: no such queue, or the NIC does not say how it hashes. */
QS_API size_t qs_stack_bucket_frames(const qs_stack *s, uint32_t queue, uint64_t *out, size_t n);

/** Figures of a queue since start. */
struct qs_flow_stats {
    uint64_t arrived;     /**< connections that came from other queues */
    uint64_t lost;        /**< of them, that found no room for a second */
    uint64_t held;        /**< frames that waited for their connection */
    uint64_t relayed;     /**< frames that came here and belong to another queue: sent on */
    uint64_t frames_lost; /**< of both, beyond what may wait */
    qs_dur pause;         /**< of the last move: from the table's writing to the last connection */
};
/** @return 0, or QS_ERR_ARG for no such queue. */
QS_API QS_MUST_CHECK qs_err qs_stack_flow_stats(const qs_stack *s, uint32_t queue,
                                                struct qs_flow_stats *out);

/** What the driver turned out to be able to do. */
struct qs_stack_info {
    char driver[8];
    char ifname[32];
    char mode[24]; /**< "zero-copy", "copy", "copy, software NIC", "tap", "memory" */
    uint32_t n_queues, n_workers, workers_max; /**< as in the options */
    uint32_t offloads;                         /**< QS_OFFLOAD_* */
    bool rx_csum;  /**< received checksums can come proven by the device */
    bool soft_nic; /**< steered by the software NIC; programmed by nicprog over its socket */
    uint32_t mtu;
    uint8_t mac[6];
};
QS_API void qs_stack_info(const qs_stack *s, struct qs_stack_info *out);

/** Copies counters of one queue's engine (qs_stats.h). @return counters written, 0 for no such
 * queue. */
QS_API size_t qs_stack_counters(const qs_stack *s, uint32_t queue, uint64_t *out, size_t n);

/** Copies counters of class `prio` of one queue's engine (qs_class.h). @return counters written, 0
 * for no such queue or class. */
QS_API size_t qs_stack_class_counters(const qs_stack *s, uint32_t queue, uint32_t prio,
                                      uint64_t *out, size_t n);

enum qs_worker_state {
    QS_WORKER_ABSENT, /**< was not added, or was removed */
    QS_WORKER_ACTIVE,
    QS_WORKER_PARKED,
};

/** Worker figures since start, those of removed ones of the same number with them. */
struct qs_worker_stats {
    enum qs_worker_state state;
    uint64_t polls;      /**< turns of the loop */
    uint64_t busy_polls; /**< turns that moved a frame, event or command */
    uint64_t sleeps;     /**< times it slept */
    uint64_t busy_ns;    /**< time in busy turns */
    uint64_t cpu_ns;     /**< CPU time of the thread */
    /** Time of handlers of each class while another class waited: what least shares are parts of.
     */
    uint64_t contended_ns[QS_N_PRIO];
};
/** @return 0 or QS_ERR_ARG. */
QS_API QS_MUST_CHECK qs_err qs_stack_worker_stats(const qs_stack *s, uint32_t worker,
                                                  struct qs_worker_stats *out);

#ifdef __cplusplus
}
#endif
#endif
