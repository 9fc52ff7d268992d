/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: one thread that accepts clients and answers their requests one by one. */
#include "softnic_ethtool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS_MAX 16u
/* An answer that waits for a client to read it may be followed by a few more. */
#define SEND_BUFFER_BYTES (1 << 20)

#define SAY(diag, ...) ((void)snprintf((diag)->text, sizeof(diag)->text, __VA_ARGS__))

struct qs_softnic_server {
    struct qs_softnic_port port;
    char bus_info[32];
    char directory[sizeof((struct sockaddr_un *)0)->sun_path];
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    int listener, stop;
    pthread_t thread;
    struct pollfd polled[2 + CLIENTS_MAX]; /* stop, listener, clients */
    uint32_t n_clients;
    uint8_t request[QS_SOFTNIC_REQUEST_MAX];
    uint8_t answer[QS_SOFTNIC_ANSWER_MAX];
};

/* ---- the thread ---- */

static void drop_client(struct qs_softnic_server *s, uint32_t client)
{
    close(s->polled[2 + client].fd);
    s->polled[2 + client] = s->polled[2 + --s->n_clients];
}

static void accept_client(struct qs_softnic_server *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    int bytes = SEND_BUFFER_BYTES;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    if (s->n_clients < CLIENTS_MAX) {
        s->polled[2 + s->n_clients++] = (struct pollfd){.fd = fd, .events = POLLIN};
        return;
    }
    static const char sentence[] = "too many clients are connected, try again later";
    struct qs_softnic_message head = {.error = -EBUSY, .bytes = sizeof sentence - 1};
    memcpy(s->answer, &head, sizeof head);
    memcpy(s->answer + sizeof head, sentence, head.bytes);
    (void)!send(fd, s->answer, sizeof head + head.bytes, MSG_NOSIGNAL);
    close(fd);
}

/* False when the client is gone, or does not read its answers. */
static bool answer_client(struct qs_softnic_server *s, int fd)
{
    ssize_t n = recv(fd, s->request, sizeof s->request, MSG_TRUNC);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    struct pollfd hung_up = {.fd = fd, .events = POLLRDHUP};
    if (n == 0 && poll(&hung_up, 1, 0) > 0)
        return false; /* and not an empty packet */
    /* A packet that was cut off announces too many bytes, or is over the limit: refused either way.
     */
    size_t bytes = qs_softnic_ethtool(&s->port, s->request, (size_t)n, s->answer);
    return send(fd, s->answer, bytes, MSG_NOSIGNAL) == (ssize_t)bytes;
}

static void *serve(void *arg)
{
    struct qs_softnic_server *s = arg;
    for (;;) {
        if (poll(s->polled, 2 + s->n_clients, -1) < 0)
            continue; /* EINTR */
        if (s->polled[0].revents)
            return NULL;
        for (uint32_t i = s->n_clients; i-- > 0;)
            if (s->polled[2 + i].revents && !answer_client(s, s->polled[2 + i].fd))
                drop_client(s, i);
        if (s->polled[1].revents)
            accept_client(s);
    }
}

/* ---- the socket's place ---- */

static void find_directory(char *path, size_t room)
{
    const char *own = getenv("QSTACK_RUN_DIR"), *xdg = getenv("XDG_RUNTIME_DIR");
    if (own && *own)
        (void)snprintf(path, room, "%s", own);
    else if (geteuid() == 0)
        (void)snprintf(path, room, "/run/qstack");
    else if (xdg && *xdg)
        (void)snprintf(path, room, "%s/qstack", xdg);
    else
        (void)snprintf(path, room, "/tmp/qstack-%u", (unsigned)geteuid());
}

/* Makes the directory if need be and opens it locked, so that of two processes that remove a stale
 * socket none removes the other's new one. Returns the descriptor or a negative QS_ERR_*. */
static int lock_directory(const char *path, struct qs_diag *diag)
{
    struct stat st;
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        int error = errno;
        SAY(diag,
            "the directory %s for control sockets was not made: %s; set QSTACK_RUN_DIR to another",
            path, strerror(error));
        return error == EACCES || error == EPERM ? QS_ERR_PERM : QS_ERR_SYS;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || flock(fd, LOCK_EX) != 0) {
        SAY(diag,
            "the directory %s for control sockets was not opened: %s; set QSTACK_RUN_DIR to "
            "another",
            path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return QS_ERR_SYS;
    }
    if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH)) {
        SAY(diag,
            "%s belongs to another user or others may write to it: control sockets are not safe "
            "there; "
            "remove it or set QSTACK_RUN_DIR to another",
            path);
        close(fd);
        return QS_ERR_PERM;
    }
    return fd;
}

static bool is_answered(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    bool answered =
        fd >= 0 &&
        (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN);
    if (fd >= 0)
        close(fd);
    return answered;
}

/* Binds and listens, with the directory locked. */
static qs_err open_listener(struct qs_softnic_server *s, struct qs_diag *diag)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, s->path, sizeof address.sun_path);
    s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listener < 0)
        return SAY(diag, "no Unix socket: %s", strerror(errno)), QS_ERR_SYS;
    if (is_answered(&address)) {
        SAY(diag, "another process answers on %s already: it owns a NIC of this name", s->path);
        return QS_ERR_BUSY;
    }
    /* 0600 before listen(): nobody can connect in between. */
    if ((unlink(s->path) != 0 && errno != ENOENT) ||
        bind(s->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        chmod(s->path, 0600) != 0 || listen(s->listener, CLIENTS_MAX) != 0) {
        SAY(diag, "the control socket %s was not made: %s", s->path, strerror(errno));
        return QS_ERR_SYS;
    }
    return 0;
}

static qs_err name_socket(struct qs_softnic_server *s, const char *name, struct qs_diag *diag)
{
    if (!*name || strchr(name, '/')) {
        SAY(diag, "'%s' cannot name a control socket: it must not be empty or contain '/'", name);
        return QS_ERR_ARG;
    }
    find_directory(s->directory, sizeof s->directory);
    int n = snprintf(s->path, sizeof s->path, "%s/%s.nic", s->directory, name);
    if (n < 0 || (size_t)n >= sizeof s->path) {
        SAY(diag,
            "the path of the control socket for '%s' is longer than %zu bytes; set QSTACK_RUN_DIR "
            "to a "
            "shorter one",
            name, sizeof s->path - 1);
        return QS_ERR_ARG;
    }
    return 0;
}

static qs_err start_thread(struct qs_softnic_server *s, struct qs_diag *diag)
{
    sigset_t all, before;
    sigfillset(&all);
    s->stop = eventfd(0, EFD_CLOEXEC);
    if (s->stop < 0)
        return SAY(diag, "no eventfd: %s", strerror(errno)), QS_ERR_SYS;
    s->polled[0] = (struct pollfd){.fd = s->stop, .events = POLLIN};
    s->polled[1] = (struct pollfd){.fd = s->listener, .events = POLLIN};
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&s->thread, NULL, serve, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return SAY(diag, "no thread for the control socket: %s", strerror(error)), QS_ERR_SYS;
    return 0;
}

static void free_server(struct qs_softnic_server *s)
{
    if (s->listener >= 0)
        close(s->listener);
    if (s->stop >= 0)
        close(s->stop);
    free(s);
}

qs_err qs_softnic_server_start(struct qs_softnic_server **out, struct qs_softnic *nic,
                               const char *name, const char *bus_info, struct qs_diag *diag)
{
    *out = NULL;
    struct qs_softnic_server *s = calloc(1, sizeof *s);
    if (!s)
        return SAY(diag, "no memory for the control socket"), QS_ERR_NOMEM;
    s->listener = s->stop = -1;
    (void)snprintf(s->bus_info, sizeof s->bus_info, "%s", bus_info);
    s->port = (struct qs_softnic_port){nic, s->bus_info};
    qs_err err = name_socket(s, name, diag);
    if (!err) {
        int directory = lock_directory(s->directory, diag);
        err = directory < 0 ? directory : open_listener(s, diag);
        if (!err) {
            err = start_thread(s, diag);
            if (err)
                (void)unlink(s->path);
        }
        if (directory >= 0)
            close(directory);
    }
    if (err) {
        free_server(s);
        return err;
    }
    *out = s;
    return 0;
}

void qs_softnic_server_stop(struct qs_softnic_server *s)
{
    if (!s)
        return;
    uint64_t one = 1;
    (void)!write(s->stop, &one, sizeof one);
    pthread_join(s->thread, NULL);
    for (uint32_t i = 0; i < s->n_clients; i++)
        close(s->polled[2 + i].fd);
    (void)unlink(s->path);
    free_server(s);
}

const char *qs_softnic_server_path(const struct qs_softnic_server *s)
{
    return s->path;
}
