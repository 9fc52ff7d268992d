/* SPDX-License-Identifier: Apache-2.0 */
/* What one engine asks and learns about neighbours the others must know too: an answer arrives on
 * one queue only, which may be another than the one that asked. So it is with ICMP errors. Where
 * the kernel resolves, a control thread follows its table and asks it for what the engines miss. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io/diag.h"
#include "io/neigh_watch.h"
#include "runtime/stack.h"

#define WANTED_MAX 64u
/* A flood of forged ICMP errors leaves the neighbours this room in a mailbox. */
#define NOTES_OF_ICMP_MAX (QS_NOTES_MAX / 2)

struct qs_neighbours {
    struct qs_stack *stack;
    struct qs_neigh_watch *watch;
    pthread_t thread;
    int event_fd;
    bool stopping;        /* atomic */
    pthread_mutex_t lock; /* of what follows */
    qs_addr wanted[WANTED_MAX];
    uint32_t n_wanted;
};

static void poke(int event_fd)
{
    uint64_t one = 1;
    ssize_t written = write(event_fd, &one, sizeof one);
    (void)written;
}

/* ---- letters between engines ---- */

void qs_note_post(struct qs_stack *s, const struct qs_note *note)
{
    uint32_t most = note->kind == QS_NOTE_ICMP ? NOTES_OF_ICMP_MAX : QS_NOTES_MAX;
    for (uint32_t q = 0; q < s->opts.n_queues; q++) {
        struct qs_mailbox *m = &s->queues[q].mail;
        if (q == note->from)
            continue;
        pthread_mutex_lock(&m->lock);
        if (m->n < most) /* a lost note is asked for, or told, again */
            m->notes[m->n++] = *note;
        __atomic_store_n(&m->has_mail, 1, __ATOMIC_RELEASE);
        pthread_mutex_unlock(&m->lock);
        qs_queue_nudge(s, q);
    }
}

static void deliver(struct qs_queue *q, const struct qs_note *note, qs_time now)
{
    const struct qs_neigh *n = &note->neigh;
    if (note->kind == QS_NOTE_ICMP)
        qs_engine_icmp_told(q->engine, &note->icmp, now);
    else if (note->kind == QS_NOTE_NEIGH_GONE)
        qs_engine_neigh_del(q->engine, &n->addr);
    else if (note->kind == QS_NOTE_NEIGH_TOLD)
        qs_engine_neigh_told(q->engine, n, now);
    else if (qs_engine_neigh_set(q->engine, &n->addr, n->mac, now) != 0)
        return; /* an address that no neighbour has */
}

static bool take_notes(struct qs_queue *q, qs_time now)
{
    struct qs_mailbox *m = &q->mail;
    if (!__atomic_load_n(&m->has_mail, __ATOMIC_ACQUIRE))
        return false;
    struct qs_note notes[QS_NOTES_MAX];
    pthread_mutex_lock(&m->lock);
    uint32_t n = m->n;
    memcpy(notes, m->notes, n * sizeof notes[0]);
    m->n = 0;
    __atomic_store_n(&m->has_mail, 0, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&m->lock);
    for (uint32_t i = 0; i < n; i++)
        deliver(q, &notes[i], now);
    return true;
}

bool qs_notes_take(struct qs_worker *w, qs_time now)
{
    bool any = false;
    for (uint64_t left = w->runs; left; left &= left - 1)
        any |= take_notes(&w->stack->queues[qs_first_of(left)], now);
    return any;
}

static void want(struct qs_neighbours *nb, const qs_addr *addr)
{
    pthread_mutex_lock(&nb->lock);
    if (nb->n_wanted < WANTED_MAX)
        nb->wanted[nb->n_wanted++] = *addr;
    pthread_mutex_unlock(&nb->lock);
    poke(nb->event_fd);
}

bool qs_neighbours_listen(struct qs_stack *s, struct qs_queue *q)
{
    struct qs_neigh n;
    struct qs_note stray = {.kind = QS_NOTE_ICMP, .from = q->idx};
    bool any = false;
    while (qs_engine_icmp_next(q->engine, &stray.icmp)) {
        any = true;
        if (s->opts.n_queues > 1)
            qs_note_post(s, &stray);
    }
    while (qs_engine_neigh_next(q->engine, &n)) {
        any = true;
        if (n.news != QS_NEIGH_WANTED && s->opts.n_queues > 1)
            qs_note_post(s, &(struct qs_note){QS_NOTE_NEIGH_TOLD, q->idx, .neigh = n});
        else if (n.news == QS_NEIGH_WANTED && s->neighbours)
            want(s->neighbours, &n.addr);
    }
    return any;
}

/* ---- the kernel's table ---- */

static void on_change(void *ctx, const qs_addr *addr, const uint8_t *mac)
{
    struct qs_neighbours *nb = ctx;
    struct qs_note note = {.kind = mac ? QS_NOTE_NEIGH : QS_NOTE_NEIGH_GONE,
                           .from = QS_N_QUEUES_MAX,
                           .neigh.addr = *addr};
    if (mac)
        memcpy(note.neigh.mac, mac, sizeof note.neigh.mac);
    qs_note_post(nb->stack, &note);
}

static void ask_for_wanted(struct qs_neighbours *nb)
{
    qs_addr wanted[WANTED_MAX];
    pthread_mutex_lock(&nb->lock);
    uint32_t n = nb->n_wanted;
    memcpy(wanted, nb->wanted, n * sizeof wanted[0]);
    nb->n_wanted = 0;
    pthread_mutex_unlock(&nb->lock);
    for (uint32_t i = 0; i < n; i++)
        if (qs_neigh_watch_ask(nb->watch, &wanted[i]) != 0)
            return; /* the engine asks again in a second */
}

static void *follow(void *arg)
{
    struct qs_neighbours *nb = arg;
    struct pollfd fds[2] = {{.fd = qs_neigh_watch_fd(nb->watch), .events = POLLIN},
                            {.fd = nb->event_fd, .events = POLLIN}};
    while (!__atomic_load_n(&nb->stopping, __ATOMIC_ACQUIRE)) {
        if (qs_neigh_watch_run(nb->watch) != 0)
            fds[0].fd = -1; /* broken: what is known stays known */
        ask_for_wanted(nb);
        uint64_t ignored;
        if (poll(fds, 2, -1) > 0 && fds[1].revents &&
            read(nb->event_fd, &ignored, sizeof ignored) < 0)
            continue;
    }
    return NULL;
}

qs_err qs_neighbours_start(struct qs_stack *s, uint32_t ifindex, struct qs_diag *diag)
{
    struct qs_neighbours *nb = calloc(1, sizeof *nb);
    if (!nb)
        return qs_fail(diag, QS_ERR_NOMEM, "no memory to follow the kernel's neighbours");
    nb->stack = s;
    pthread_mutex_init(&nb->lock, NULL);
    nb->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    qs_err err = nb->event_fd < 0 ? qs_fail(diag, QS_ERR_SYS, "eventfd: %s", strerror(errno)) : 0;
    if (!err)
        err = qs_neigh_watch_open(&nb->watch, ifindex, on_change, nb, diag);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the application's */
    int error = err ? 0 : pthread_create(&nb->thread, NULL, follow, nb);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        err = qs_fail(diag, QS_ERR_SYS, "no thread to follow neighbours: %s", strerror(error));
    if (err) {
        qs_neigh_watch_close(nb->watch);
        if (nb->event_fd >= 0)
            close(nb->event_fd);
        free(nb);
        return err;
    }
    s->neighbours = nb;
    return 0;
}

void qs_neighbours_stop(struct qs_stack *s)
{
    struct qs_neighbours *nb = s->neighbours;
    if (!nb)
        return;
    __atomic_store_n(&nb->stopping, true, __ATOMIC_RELEASE);
    poke(nb->event_fd);
    pthread_join(nb->thread, NULL);
    s->neighbours = NULL;
    qs_neigh_watch_close(nb->watch);
    close(nb->event_fd);
    pthread_mutex_destroy(&nb->lock);
    free(nb);
}
