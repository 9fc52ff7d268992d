/* SPDX-License-Identifier: Apache-2.0 */
/* The two messages by which the ends of a wire meet, with the descriptors that they carry. */
#ifndef QS_IO_PAIR_MESSAGE_H
#define QS_IO_PAIR_MESSAGE_H

#include "qstack/qs_stack.h"

/* Hello of side 1, and side 0's answer. */
struct qs_pair_message {
    uint32_t magic, version; /* set by qs_pair_send(), checked by qs_pair_receive() */
    int32_t err;             /* answer: QS_ERR_* with words in `text`, or 0 */
    uint32_t n_queues;       /* of the sender */
    uint32_t mtu;            /* hello: 0 takes the wire's */
    uint32_t offload;        /* 0 or 1; hello: 0 insists on none */
    char text[sizeof((struct qs_diag *)0)->text];
};

/* Hello: software NIC, then the eventfds of its queues. Answer: the same after the wire's memory;
 * none with an error. */
struct qs_pair_fds {
    uint32_t n;
    int fd[2 + QS_N_QUEUES_MAX];
};

/* Sends without waiting; false when it cannot be sent whole. */
bool qs_pair_send(int sock, struct qs_pair_message *m, const struct qs_pair_fds *fds);

/* Waits up to 2 s. false: nothing came, or something else; `fds` then holds none. The queue count
 * is in range and `text` ends. */
bool qs_pair_receive(int sock, struct qs_pair_message *m, struct qs_pair_fds *fds);

void qs_pair_fds_close(const struct qs_pair_fds *fds);

#endif
