/* SPDX-License-Identifier: Apache-2.0 */
/* How the two ends of a wire find each other, and notice that the other one is gone.
 *
 * Side 0 listens on RUNDIR/NAME.wire. Side 1 connects and says how many queues it has; side 0
 * answers with the memory of the wire. Each hands over the memory of its software NIC and the
 * eventfds that wake its queues. The connection stays open: its end is the end of the wire, and
 * side 0 then takes the next peer, with new memory. */
#ifndef QS_IO_PAIR_LINK_H
#define QS_IO_PAIR_LINK_H

#include "io/pair_wire.h"

#include <pthread.h>

struct qs_pair_link {
    /* Set before qs_pair_link_open(). */
    char name[32];
    uint32_t side;
    uint32_t n_queues;
    uint32_t mtu; /* bytes; side 1: 0 takes the wire's, which is here afterwards */
    bool offload; /* side 1: false insists on a wire without, true takes what there is */
    int nic_fd;   /* kept */
    int event_fds[QS_N_QUEUES_MAX]; /* kept */

    int listen_fd, peer_fd, stop_fd;
    pthread_t keeper;
    bool keeper_runs;
    _Atomic(struct qs_wire *) current; /* NULL: nobody at the other end */
    _Atomic uint64_t n_lost;           /* peers that went away */
    pthread_mutex_t lock;              /* of qs_wire.users and of replacing `current` */
};

/* Largest frame, bytes, on a wire for `mtu` with or without offloads. */
uint32_t qs_pair_frame_bytes_max(uint32_t mtu, bool offload);

/* Side 0: makes the wire's name; QS_ERR_BUSY if it is taken. Side 1: joins; QS_ERR_NODEV if there
 * is no such wire, QS_ERR_BUSY if another has joined, QS_ERR_ARG if MTU or offloads do not fit.
 * Nothing is left behind on error. */
QS_MUST_CHECK qs_err qs_pair_link_open(struct qs_pair_link *l, struct qs_diag *diag);

/* After every user has let go of its wire. */
void qs_pair_link_close(struct qs_pair_link *l);

/* A user changes from `old` (or NULL) to the current wire (or NULL), which stays mapped until it
 * changes again. */
struct qs_wire *qs_pair_link_change(struct qs_pair_link *l, struct qs_wire *old);

/* The user lets go of `old` and takes no other. */
void qs_pair_link_leave(struct qs_pair_link *l, struct qs_wire *old);

#endif
