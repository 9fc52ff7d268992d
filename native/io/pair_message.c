/* SPDX-License-Identifier: Apache-2.0 */
#include "io/pair_message.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define MAGIC 0x51535752u /* "QSWR" */
#define VERSION 1u
#define PATIENCE_S 2

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof((struct qs_pair_fds *)0)->fd)];
};

bool qs_pair_send(int sock, struct qs_pair_message *m, const struct qs_pair_fds *fds)
{
    union control control = {.bytes = {0}};
    struct iovec data = {m, sizeof *m};
    struct msghdr msg = {.msg_iov = &data, .msg_iovlen = 1};
    m->magic = MAGIC;
    m->version = VERSION;
    if (fds->n > 0) {
        size_t bytes = fds->n * sizeof *fds->fd;
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(c), fds->fd, bytes);
    }
    return sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof *m;
}

static void take_fds(struct msghdr *msg, struct qs_pair_fds *fds)
{
    fds->n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t bytes = c->cmsg_len - CMSG_LEN(0); /* the kernel sends one such block */
        memcpy(fds->fd, CMSG_DATA(c), bytes);
        fds->n = (uint32_t)(bytes / sizeof *fds->fd);
    }
}

bool qs_pair_receive(int sock, struct qs_pair_message *m, struct qs_pair_fds *fds)
{
    union control control;
    struct iovec data = {m, sizeof *m};
    struct msghdr msg = {.msg_iov = &data,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof control};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    fds->n = 0;
    (void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ssize_t got = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    if (got < 0)
        return false;
    take_fds(&msg, fds);
    if (got == (ssize_t)sizeof *m && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
        m->magic == MAGIC && m->version == VERSION && m->n_queues >= 1 &&
        m->n_queues <= QS_N_QUEUES_MAX) {
        m->text[sizeof m->text - 1] = '\0';
        return true;
    }
    qs_pair_fds_close(fds);
    fds->n = 0;
    return false;
}

void qs_pair_fds_close(const struct qs_pair_fds *fds)
{
    for (uint32_t i = 0; i < fds->n; i++)
        close(fds->fd[i]);
}
