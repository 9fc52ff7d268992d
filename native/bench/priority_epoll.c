/* SPDX-License-Identifier: Apache-2.0 */
/* qs-priority-epoll: the peer of qs-priority-server on kernel TCP: one thread, epoll, the same
 * requests and the same work. Of what is ready the urgent port is answered first, as far as one
 * thread behind the kernel's queues can.
 *
 *     qs-priority-epoll ADDRESS LOW_PORT HIGH_PORT WORK_NS CPU BUSY_POLL_US
 *
 * BUSY_POLL_US is SO_BUSY_POLL of each connection, 0: none. Prints a line when it is ready; ends
 * with a signal. */
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/tcp.h>

#include "priority.h"

#define EVENTS 64
#define FDS_MAX (1u << 20)

/* What a descriptor is; by its number. */
struct fd {
    uint16_t got; /* octets of the request that is not whole */
    bool listens, urgent;
};

static struct fd fds[FDS_MAX];
static int epoll_fd, busy_poll_us;
static uint64_t work_ns;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "qs-priority-epoll: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(int fd, bool listens, bool urgent)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
    if ((uint32_t)fd >= FDS_MAX)
        die("too many connections");
    fds[fd] = (struct fd){.listens = listens, .urgent = urgent};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0)
        die("epoll_ctl");
}

static void listen_on(const char *address, uint16_t port, bool urgent)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || inet_pton(AF_INET, address, &a.sin_addr) != 1 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, (const struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4096) != 0)
        die("listening");
    watch(fd, true, urgent);
}

static void accept_all(int listener)
{
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (busy_poll_us &&
            setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &busy_poll_us, sizeof busy_poll_us) != 0)
            die("SO_BUSY_POLL");
        watch(fd, false, fds[listener].urgent);
    }
}

/* One request; the others of the connection wait for the next turn. */
static void answer(int fd)
{
    static const uint8_t reply[REPLY_BYTES];
    uint8_t request[REQUEST_BYTES];
    ssize_t n = read(fd, request, REQUEST_BYTES - fds[fd].got);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            close(fd);
        return;
    }
    fds[fd].got = (uint16_t)(fds[fd].got + n);
    if (fds[fd].got < REQUEST_BYTES)
        return;
    fds[fd].got = 0;
    work_for(work_ns);
    if (write(fd, reply, sizeof reply) != sizeof reply)
        close(fd); /* its peer does not read */
}

static void serve(const struct epoll_event *ready, int n, bool urgent)
{
    for (int i = 0; i < n; i++) {
        int fd = ready[i].data.fd;
        if (fds[fd].urgent != urgent)
            continue;
        if (fds[fd].listens)
            accept_all(fd);
        else
            answer(fd);
    }
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: qs-priority-epoll ADDRESS LOW_PORT HIGH_PORT WORK_NS CPU "
                        "BUSY_POLL_US\n");
        return 2;
    }
    struct rlimit files = {FDS_MAX, FDS_MAX};
    (void)setrlimit(RLIMIT_NOFILE, &files); /* where it is not allowed, fewer connections do */
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(strtoul(argv[5], NULL, 10), &cpus);
    (void)sched_setaffinity(0, sizeof cpus, &cpus); /* a wish */
    work_ns = strtoull(argv[4], NULL, 10);
    busy_poll_us = atoi(argv[6]);
    epoll_fd = epoll_create1(0);
    if (epoll_fd < 0)
        die("epoll");
    listen_on(argv[1], (uint16_t)atoi(argv[2]), false);
    listen_on(argv[1], (uint16_t)atoi(argv[3]), true);
    printf("ready\n");
    (void)fflush(stdout);
    for (;;) {
        struct epoll_event ready[EVENTS];
        int n = epoll_wait(epoll_fd, ready, EVENTS, -1);
        serve(ready, n, true);
        serve(ready, n, false);
    }
}
