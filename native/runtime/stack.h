/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a stack, shared by the files of native/runtime. */
#ifndef QS_RUNTIME_STACK_H
#define QS_RUNTIME_STACK_H

#include <pthread.h>
#include <time.h>

#include "core/share.h"
#include "core/trace.h"
#include "io/driver.h"
#include "qstack/qs_app.h"
#include "qstack/qs_stats.h"
#include "runtime/channel.h"
#include "runtime/spin.h"

#define QS_N_APPS_MAX 16u
#define QS_N_HANDLERS_MAX 256u
#define QS_N_MESSAGES_MAX 64u

/* Who serves the connections of a listener. */
struct qs_handler {
    qs_inline_fn fn; /* NULL: split */
    void *ctx;
    struct qs_app *app;
    uint32_t classes; /* bit for each that its connections and messages may be of */
    bool framed;
    uint64_t user;
};

/* Whose connection a block of the engine holds, beyond what its listener says. */
struct qs_worker_slot {
    qs_inline_fn fn; /* of an active open */
    union {
        void *ctx;
        uint32_t link; /* of a split connection, or QS_NO_LINK */
    };
};

enum qs_note_kind {
    QS_NOTE_NEIGH,      /* the kernel's table has a neighbour */
    QS_NOTE_NEIGH_GONE, /* the kernel's table has it no longer */
    QS_NOTE_NEIGH_TOLD, /* an engine told of one */
    QS_NOTE_ICMP,       /* an ICMP error about somebody else's connection */
};

/* What one queue hears and the engines of others must know. */
struct qs_note {
    uint32_t kind; /* enum qs_note_kind */
    uint32_t from; /* queue, QS_N_QUEUES_MAX: the kernel */
    union {
        struct qs_neigh neigh;
        struct qs_icmp_error icmp;
    };
};

#define QS_NOTES_MAX 256u

/* Letters to a queue. Rare, so a lock; the flag keeps it off the packet path. */
struct qs_mailbox {
    pthread_mutex_t lock;
    uint32_t has_mail; /* atomic */
    uint32_t n;
    struct qs_note notes[QS_NOTES_MAX];
};

#define QS_NO_WORKER UINT32_MAX

struct qs_letter; /* flows.h */

/* A queue's part in moves of flows: flows.c. */
struct qs_flow_queue {
    pthread_mutex_t lock; /* of the inbox */
    struct qs_letter *inbox, *inbox_last;
    uint32_t n_frames; /* letters with frames in the inbox */
    uint32_t has_mail; /* atomic: there are letters */

    /* the queue's own */
    struct qs_bucket_set *holding, *leaving; /* buckets that come here; that are to go */
    uint32_t n_holding, n_leaving;
    uint32_t n_arriving;                        /* links whose application does not know it yet */
    struct qs_letter *asked;                    /* to be answered when there are none */
    struct qs_letter *commands, *commands_last; /* that came after their connections */
    uint64_t *frames_of;                        /* by bucket: that came; relaxed atomics, or NULL */
    uint64_t random;                            /* chooses those that are looked at */
    bool relaying; /* the engine is given a frame that another queue sent on */
    struct qs_letter *held, *held_last;
    uint32_t n_held;
    size_t held_bytes;
    uint32_t drain; /* bursts that may still be in the ring from before the table was written */
    uint32_t leaving_at; /* place of the engine that is looked at next */
    qs_time no_room;     /* since when the first letter finds no room in the engine; 0: it does */
    struct qs_flow_stats stats; /* relaxed atomics */
};

struct qs_flows; /* of a stack: flows.c */

/* A queue: engine, driver queue, connections' slots, letters. Belongs to one worker at a time, and
 * moves as docs/design/019-moving-engines.md says. */
struct qs_queue {
    struct qs_stack *stack;
    qs_engine *engine;
    uint32_t idx;
    uint32_t conns_max;
    struct qs_worker_slot *slots; /* conns_max */
    uint32_t touched_apps;        /* bits of applications that were given something */
    bool device_full;             /* it lent no buffer though the engine may have had a use */
    bool ring_empty;              /* the last burst was all that there was */
    qs_time left;                 /* when it was given away last */
    _Alignas(64) uint32_t owner;  /* atomic: worker that is told of work for it */
    uint32_t runner;              /* atomic: worker that runs it, or QS_NO_WORKER on the way */
    uint32_t wanted;          /* atomic: worker that is to run it; written under qs_stack.lock */
    uint64_t moves, pause_ns; /* atomic: qs_place */
    _Alignas(64) struct qs_mailbox mail;
    struct qs_flow_queue flows;
};

/* Adds to a figure that other threads read. */
static inline void qs_stat_add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* Sets of queues have a bit for each. */
static inline uint64_t qs_set_of(uint32_t queue)
{
    return (uint64_t)1 << queue;
}

/* Lowest queue of a set that is not empty. */
static inline uint32_t qs_first_of(uint64_t set)
{
    return (uint32_t)__builtin_ctzll(set);
}

struct qs_worker {
    struct qs_stack *stack;
    uint32_t idx;
    pthread_t thread;
    uint32_t state;         /* atomic: enum qs_worker_state; written under qs_stack.lock */
    bool running, ending;   /* atomic: there is a thread; it is to end */
    clockid_t cpu_clock;    /* of the thread */
    uint64_t cpu_ns_before; /* atomic: of threads that were joined */
    uint64_t cpu_ns_at_end; /* atomic: likewise, with the last one; set by it */
    int epoll_fd, event_fd;
    uint64_t runs;         /* set of its queues; its own thread's */
    uint64_t watched;      /* those of which epoll_fd has the descriptor */
    uint32_t next_queue;   /* whose events are looked at next */
    struct qs_share share; /* of its time for handlers */
    struct qs_spin spin;
    _Alignas(64) uint32_t sleeping; /* atomic: needs event_fd to wake */
    uint64_t tell_at_busy_ns;       /* atomic: when stats.busy_ns is that, scale.c is told */
    uint64_t asked, given; /* atomic sets: queues to look at; queues that are its own now */
    _Alignas(64) struct qs_worker_stats stats; /* relaxed atomics */
};

struct qs_app {
    struct qs_stack *stack;
    uint32_t idx;
    size_t ring_bytes;
    int event_fd;
    uint32_t classes;         /* atomic: bit for each class that has channels */
    uint32_t rotation;        /* queue that is looked at first */
    struct qs_share share;    /* of the time from one qs_app_wait() to the next */
    uint32_t waiting, served; /* classes that had events, and the one that was taken, */
    bool traced;              /* one of those events is followed */
    struct qs_residency residency;
    qs_time since; /* when qs_app_wait() returned last */
    struct qs_spin spin;
    qs_time idle_since; /* when there was nothing for it; 0: there is, or nobody looked */
    bool armed;         /* its own thread's: workers may have written to event_fd */
    uint32_t moved_queue, moved_link; /* list of connections to be told of their move */
    struct qs_channel *channels[QS_N_QUEUES_MAX][QS_N_PRIO];
    struct qs_links links[QS_N_QUEUES_MAX];
    _Alignas(64) uint32_t sleeping; /* atomic: needs event_fd to wake */
    uint32_t woken;                 /* atomic: qs_app_wake() was called */
};

struct qs_neighbours; /* control thread of neighbours.c */
struct qs_scale;      /* control thread of scale.c */

struct qs_guards; /* guard.h */
struct qs_guard;

/* Functions of qs_stack_messages(), or NULL. */
struct qs_functions {
    struct qs_guard *framing, *classifier;
};

/* Where who waits for a queue to arrive sleeps. */
struct qs_arrivals {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t n_waiting; /* atomic */
};

struct qs_stack {
    qs_stack_opts opts;
    char ifname[32];
    struct qs_driver *driver;
    struct qs_queue queues[QS_N_QUEUES_MAX];
    struct qs_worker *workers;
    struct qs_app *apps[QS_N_APPS_MAX];
    uint32_t n_apps;
    struct qs_handler listeners[QS_N_HANDLERS_MAX];
    qs_addr listener_addrs[QS_N_HANDLERS_MAX];
    uint16_t listener_ports[QS_N_HANDLERS_MAX];
    uint32_t n_listeners;
    struct qs_neighbours *neighbours;                 /* NULL: the engines resolve */
    struct qs_guards *guards;                         /* NULL: there are no functions */
    struct qs_functions functions[QS_N_MESSAGES_MAX]; /* by number, from 1 on */
    uint32_t n_messages;
    pthread_mutex_t lock; /* of calls that move queues; held for a moment only */
    bool running;
    uint32_t stopping; /* atomic */
    struct qs_arrivals arrivals;
    struct qs_scale *scale; /* NULL: the number of workers stays */
    struct qs_flows *flows;
};

/* ---- worker.c ---- */

qs_err qs_worker_init(struct qs_worker *w, struct qs_stack *s, uint32_t idx, struct qs_diag *diag);
void qs_worker_fini(struct qs_worker *w);
qs_err qs_worker_start(struct qs_worker *w, struct qs_diag *diag);
void qs_worker_join(struct qs_worker *w);

/* Makes a sleeping worker look; a running one is left alone. */
void qs_worker_nudge(struct qs_worker *w);

/* The worker runs a queue no more. */
void qs_worker_drop(struct qs_worker *w, uint32_t queue);

/* ---- move.c: queues from one worker to another ---- */

/* Before the threads: queue `queue` is worker `worker`'s. */
void qs_queue_place(struct qs_stack *s, uint32_t queue, uint32_t worker);

/* Makes the worker of a queue look, wherever that is by now; what it is to see was stored before.
 */
void qs_queue_nudge(struct qs_stack *s, uint32_t queue);

/* Has the queue moved to `worker`; under qs_stack.lock. */
void qs_queue_aim(struct qs_stack *s, uint32_t queue, uint32_t worker);

/* Takes the queues that were given to the worker and gives away those that are wanted elsewhere.
 * @return true when it was told of any. */
bool qs_moves_run(struct qs_worker *w);

/* Carries out all moves that are under way; no worker runs. */
void qs_moves_settle(struct qs_stack *s);

void qs_arrivals_init(struct qs_arrivals *a);
void qs_arrivals_fini(struct qs_arrivals *a);

/* Waits up to `timeout` until `is_so`, which is asked again whenever a queue has arrived. @return
 * what it said last. */
bool qs_arrivals_wait(struct qs_stack *s, bool (*is_so)(struct qs_stack *s, uint32_t number),
                      uint32_t number, qs_dur timeout);

/* Tells who waits in qs_arrivals_wait() that something has changed. */
void qs_arrivals_announce(struct qs_stack *s);

/* ---- serve.c: handlers, all events of a worker's queues ---- */

/* A bit for each class that has events. */
uint32_t qs_serve_waiting(const struct qs_worker *w);

/* Calls handlers for a bounded time; `*now` becomes later when it took some. @return true when
 * there was an event. */
bool qs_serve(struct qs_worker *w, qs_time *now);

/* ---- neighbours.c ---- */

/* Hands a note to every queue but the one it is from; nobody waits. */
void qs_note_post(struct qs_stack *s, const struct qs_note *note);

/* Takes letters to the engines of the worker's queues. @return true when there were some. */
bool qs_notes_take(struct qs_worker *w, qs_time now);

/* Passes on what a queue's engine learned, wants, or heard for others. @return true when there was
 * something. */
bool qs_neighbours_listen(struct qs_stack *s, struct qs_queue *q);

/* Starts to follow the kernel's table of interface `ifindex`. */
qs_err qs_neighbours_start(struct qs_stack *s, uint32_t ifindex, struct qs_diag *diag);
void qs_neighbours_stop(struct qs_stack *s);

/* ---- split.c: the worker's end of channels ---- */

/* Puts an event of a split connection where its application will find it. */
void qs_split_event(struct qs_stack *s, struct qs_queue *q, const struct qs_event *ev);

/* Moves what waits, both ways, on all channels of a queue. @return true when something moved. */
bool qs_split_run(struct qs_stack *s, struct qs_queue *q);

/* Wakes the applications that were given something. */
void qs_split_wake(struct qs_stack *s, struct qs_queue *q);

/* Is there something that could be moved now? */
bool qs_split_has_work(const struct qs_stack *s, const struct qs_queue *q);

/* Sends what waits in a link now, or when there is room. */
void qs_split_announce(struct qs_stack *s, struct qs_queue *q, struct qs_channel *ch,
                       uint32_t link);

/* Tells the application how much it may have written by now. */
void qs_split_allow(struct qs_queue *q, struct qs_channel *ch, uint32_t link);

/* Carries out a command. @return false when it has to be tried again. */
bool qs_split_carry_out(struct qs_stack *s, struct qs_queue *q, struct qs_channel *ch,
                        const struct qs_command_record *r);

/* ---- split_move.c: connections of applications move between queues ---- */

struct qs_letter;

/* A connection leaves for queue `to`, of link letter->slot.link: what the letter has to say of it
 * is written. */
void qs_split_leave(struct qs_queue *q, uint32_t to, struct qs_letter *letter);
/* It comes, with handle `conn`. */
void qs_split_arrive(struct qs_stack *s, struct qs_queue *q, const struct qs_letter *letter,
                     qs_conn conn);
/* It could not. */
void qs_split_lost(struct qs_stack *s, const struct qs_letter *letter);
/* A letter about it: its link at the old queue is free, or it ended on the way. */
void qs_split_told(struct qs_stack *s, struct qs_queue *q, const struct qs_letter *letter);
/* Sends a command after its connection. @return false when there is no memory for it now. */
bool qs_split_forward(struct qs_stack *s, struct qs_queue *q, struct qs_channel *ch,
                      const struct qs_command_record *r);
/* Carries out what was sent after connections. @return true when something was. */
bool qs_split_take_forwarded(struct qs_stack *s, struct qs_queue *q);
/* The application knows link `l`: nothing comes through its old queue any more. */
void qs_split_known(struct qs_stack *s, const struct qs_worker_link *l);

/* ---- app.c ---- */

/* Makes the channels of the classes that the application's listeners use. */
qs_err qs_app_open_channels(struct qs_app *a, struct qs_diag *diag);

/* Makes a sleeping application look; a running one is left alone. */
void qs_app_nudge(struct qs_app *a);

#endif
