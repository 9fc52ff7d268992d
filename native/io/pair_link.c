/* SPDX-License-Identifier: Apache-2.0 */
#include "io/pair_link.h"

#include "io/diag.h"
#include "io/pair_message.h"
#include "io/rundir.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define SUFFIX "wire"
#define FRAME_BYTES_TSO 65549u /* Ethernet header and the longest IP packet */

uint32_t qs_pair_frame_bytes_max(uint32_t mtu, bool offload)
{
    return offload ? FRAME_BYTES_TSO : mtu + 18u;
}

static struct qs_wire_shape shape_of(const struct qs_pair_link *l, uint32_t n_peer_queues)
{
    struct qs_wire_shape shape = {
        .slot_bytes = qs_wire_slot_bytes(qs_pair_frame_bytes_max(l->mtu, l->offload))};
    shape.n_queues[l->side] = l->n_queues;
    shape.n_queues[1 - l->side] = n_peer_queues;
    return shape;
}

/* Drops one use; the last one unmaps. The lock is held. */
static void let_go(struct qs_wire *w)
{
    if (w && --w->users == 0)
        qs_wire_close(w);
}

struct qs_wire *qs_pair_link_change(struct qs_pair_link *l, struct qs_wire *old)
{
    pthread_mutex_lock(&l->lock);
    struct qs_wire *w = atomic_load(&l->current);
    if (w)
        w->users++;
    let_go(old);
    pthread_mutex_unlock(&l->lock);
    return w;
}

void qs_pair_link_leave(struct qs_pair_link *l, struct qs_wire *old)
{
    pthread_mutex_lock(&l->lock);
    let_go(old);
    pthread_mutex_unlock(&l->lock);
}

static void set_current(struct qs_pair_link *l, struct qs_wire *w)
{
    pthread_mutex_lock(&l->lock);
    struct qs_wire *old = atomic_load(&l->current);
    if (w)
        w->users = 1;
    atomic_store(&l->current, w);
    let_go(old);
    pthread_mutex_unlock(&l->lock);
}

/* Side 0: says whether a peer with these wishes can have the wire. */
static qs_err judge_hello(const struct qs_pair_link *l, const struct qs_pair_message *hello,
                          struct qs_diag *why)
{
    if (l->peer_fd >= 0)
        return qs_fail(why, QS_ERR_BUSY, "wire \"%s\": another process has joined it already",
                       l->name);
    if (hello->mtu != 0 && hello->mtu != l->mtu)
        return qs_fail(why, QS_ERR_ARG,
                       "wire \"%s\" was made with MTU %u, not %u: give both ends the same", l->name,
                       l->mtu, hello->mtu);
    if (l->offload && !hello->offload)
        return qs_fail(why, QS_ERR_ARG,
                       "wire \"%s\" was made with offloads: set no_offload at both ends", l->name);
    return 0;
}

/* Side 0: makes the memory and fills in the answer; `fds` gets what goes with it, the wire's own
 * first. */
static qs_err make_wire(struct qs_pair_link *l, const struct qs_pair_message *hello,
                        const struct qs_pair_fds *theirs, struct qs_pair_fds *ours,
                        struct qs_diag *why)
{
    struct qs_wire_shape shape = shape_of(l, hello->n_queues);
    struct qs_wire *w;
    int wire_fd;
    qs_err err = qs_wire_create(&wire_fd, &shape, why);
    if (err != 0) {
        qs_pair_fds_close(theirs);
        return err;
    }
    err = qs_wire_open(&w, wire_fd, theirs->fd[0], &shape, theirs->fd + 1, hello->n_queues);
    close(theirs->fd[0]);
    if (err != 0) {
        close(wire_fd);
        return qs_fail(why, err, "wire \"%s\": cannot map the shared memory", l->name);
    }
    set_current(l, w); /* before the answer: what the peer sends then wakes us into it */
    ours->fd[0] = wire_fd;
    ours->fd[1] = l->nic_fd;
    memcpy(ours->fd + 2, l->event_fds, l->n_queues * sizeof *l->event_fds);
    ours->n = 2 + l->n_queues;
    return 0;
}

/* Side 0: answers one that connects. A peer that is let in becomes peer_fd. */
static void admit(struct qs_pair_link *l)
{
    int fd = accept4(l->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct qs_pair_message hello, answer = {.n_queues = l->n_queues, .mtu = l->mtu};
    struct qs_pair_fds theirs, ours = {.n = 0};
    struct qs_diag why = {""};
    if (!qs_pair_receive(fd, &hello, &theirs) || theirs.n != 1 + hello.n_queues) {
        qs_pair_fds_close(&theirs);
        close(fd); /* not one of ours */
        return;
    }
    answer.offload = l->offload;
    answer.err = judge_hello(l, &hello, &why);
    if (answer.err != 0)
        qs_pair_fds_close(&theirs);
    else
        answer.err = make_wire(l, &hello, &theirs, &ours, &why);
    memcpy(answer.text, why.text, sizeof answer.text);
    bool sent = qs_pair_send(fd, &answer, &ours);
    if (ours.n > 0)
        close(ours.fd[0]);
    if (answer.err == 0 && sent) {
        l->peer_fd = fd;
        return;
    }
    if (answer.err == 0)
        set_current(l, NULL);
    close(fd);
}

static void wake_queues(const struct qs_pair_link *l)
{
    for (uint32_t i = 0; i < l->n_queues; i++)
        (void)eventfd_write(l->event_fds[i], 1);
}

static void lose_peer(struct qs_pair_link *l)
{
    set_current(l, NULL);
    atomic_fetch_add(&l->n_lost, 1);
    close(l->peer_fd);
    l->peer_fd = -1;
    wake_queues(l);
}

/* Thread: lets peers in and notices when they go. */
static void *keep(void *arg)
{
    struct qs_pair_link *l = arg;
    for (;;) {
        struct pollfd fds[] = {{l->stop_fd, POLLIN, 0},
                               {l->listen_fd, POLLIN, 0}, /* negative ones are ignored */
                               {l->peer_fd, POLLIN, 0}};
        if (poll(fds, 3, -1) < 0 && errno != EINTR)
            return NULL;
        if (fds[0].revents)
            return NULL;
        if (fds[2].revents) /* nothing is ever sent after the answer: this is its end */
            lose_peer(l);
        if (fds[1].revents)
            admit(l);
    }
}

static qs_err start_keeper(struct qs_pair_link *l, struct qs_diag *diag)
{
    sigset_t all, before;
    sigfillset(&all);
    l->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (l->stop_fd < 0)
        return qs_fail(diag, QS_ERR_SYS, "cannot make an eventfd: %s", strerror(errno));
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the application's */
    int why = pthread_create(&l->keeper, NULL, keep, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    l->keeper_runs = why == 0;
    return why == 0 ? 0 : qs_fail(diag, QS_ERR_SYS, "cannot start a thread: %s", strerror(why));
}

/* Side 1: maps what the answer brought. */
static qs_err take_wire(struct qs_pair_link *l, const struct qs_pair_message *answer,
                        const struct qs_pair_fds *theirs, struct qs_diag *diag)
{
    struct qs_wire *w;
    l->mtu = answer->mtu;
    l->offload = answer->offload;
    struct qs_wire_shape shape = shape_of(l, answer->n_queues);
    qs_err err =
        qs_wire_open(&w, theirs->fd[0], theirs->fd[1], &shape, theirs->fd + 2, answer->n_queues);
    close(theirs->fd[0]);
    close(theirs->fd[1]);
    if (err != 0)
        return qs_fail(diag, err, "wire \"%s\": cannot map the shared memory", l->name);
    set_current(l, w);
    return 0;
}

static qs_err join(struct qs_pair_link *l, struct qs_diag *diag)
{
    struct qs_pair_message answer,
        hello = {.n_queues = l->n_queues, .mtu = l->mtu, .offload = l->offload};
    struct qs_pair_fds theirs, ours = {.n = 1 + l->n_queues, .fd = {l->nic_fd}};
    memcpy(ours.fd + 1, l->event_fds, l->n_queues * sizeof *l->event_fds);
    qs_err err = qs_rundir_connect(&l->peer_fd, l->name, SUFFIX, diag);
    if (err == QS_ERR_NODEV)
        return qs_fail(
            diag, err,
            "there is no wire \"%s\": start side 0 (pair_side = 0), which makes it, first",
            l->name);
    if (err != 0)
        return err;
    if (!qs_pair_send(l->peer_fd, &hello, &ours) || !qs_pair_receive(l->peer_fd, &answer, &theirs))
        return qs_fail(diag, QS_ERR_SYS, "wire \"%s\": side 0 does not answer", l->name);
    if (answer.err == 0 && theirs.n == 2 + answer.n_queues)
        return take_wire(l, &answer, &theirs, diag);
    qs_pair_fds_close(&theirs);
    return qs_fail(diag, answer.err < 0 ? answer.err : QS_ERR_SYS, "%s",
                   answer.err < 0 ? answer.text : "the other end of the wire is another version");
}

qs_err qs_pair_link_open(struct qs_pair_link *l, struct qs_diag *diag)
{
    l->listen_fd = l->peer_fd = l->stop_fd = -1;
    l->keeper_runs = false;
    atomic_init(&l->current, NULL);
    atomic_init(&l->n_lost, 0);
    pthread_mutex_init(&l->lock, NULL);
    qs_err err =
        l->side == 0 ? qs_rundir_listen(&l->listen_fd, l->name, SUFFIX, diag) : join(l, diag);
    if (err == 0)
        err = start_keeper(l, diag);
    if (err != 0)
        qs_pair_link_close(l);
    return err;
}

void qs_pair_link_close(struct qs_pair_link *l)
{
    if (l->keeper_runs) {
        (void)eventfd_write(l->stop_fd, 1);
        pthread_join(l->keeper, NULL);
    }
    qs_rundir_unlisten(l->listen_fd, l->name, SUFFIX);
    set_current(l, NULL);
    if (l->peer_fd >= 0)
        close(l->peer_fd);
    if (l->stop_fd >= 0)
        close(l->stop_fd);
    pthread_mutex_destroy(&l->lock);
}
