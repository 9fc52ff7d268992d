/* SPDX-License-Identifier: Apache-2.0 */
/* Making, taking over and removing a name happen under a lock on the directory: of two processes
 * that both find a dead owner's socket, one gets it and the other is told so. */
#include "io/rundir.h"

#include "io/diag.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* false: the path is longer than `bytes`. */
static bool rundir_path(char *out, size_t bytes)
{
    const char *set = getenv("QSTACK_RUN_DIR");
    const char *user_dir = getenv("XDG_RUNTIME_DIR");
    int len;
    if (set && *set)
        len = snprintf(out, bytes, "%s", set);
    else if (geteuid() == 0)
        len = snprintf(out, bytes, "/run/qstack");
    else if (user_dir && *user_dir)
        len = snprintf(out, bytes, "%s/qstack", user_dir);
    else
        len = snprintf(out, bytes, "/tmp/qstack-%u", (unsigned)geteuid());
    return len >= 0 && (size_t)len < bytes;
}

qs_err qs_rundir_address(struct sockaddr_un *out, const char *name, const char *suffix,
                         struct qs_diag *diag)
{
    char dir[sizeof out->sun_path];
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (!name || !*name || *name == '.' || strchr(name, '/'))
        return qs_fail(
            diag, QS_ERR_ARG,
            "\"%s\" cannot be the name of a socket: it must not be empty, begin with a dot "
            "or contain a slash",
            name ? name : "");
    if (!rundir_path(dir, sizeof dir) ||
        (size_t)snprintf(out->sun_path, sizeof out->sun_path, "%s/%s.%s", dir, name, suffix) >=
            sizeof out->sun_path)
        return qs_fail(
            diag, QS_ERR_ARG,
            "the path of the socket %s.%s is longer than %zu bytes: set QSTACK_RUN_DIR to a "
            "shorter directory",
            name, suffix, sizeof out->sun_path - 1);
    return 0;
}

/* Opens RUNDIR, made if missing, and takes its lock; closing the descriptor gives it back. */
static qs_err lock_rundir(int *out_fd, struct qs_diag *diag)
{
    char dir[sizeof((struct sockaddr_un *)0)->sun_path];
    *out_fd = -1;
    (void)rundir_path(dir, sizeof dir); /* qs_rundir_address() has found that it fits */
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return qs_fail(
            diag, qs_err_of_errno(errno),
            "cannot make the directory %s: %s; set QSTACK_RUN_DIR to one that can be written", dir,
            strerror(errno));
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || flock(fd, LOCK_EX) != 0) {
        int why = errno;
        if (fd >= 0)
            close(fd);
        return qs_fail(diag, qs_err_of_errno(why), "cannot use the directory %s: %s", dir,
                       strerror(why));
    }
    if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH))) {
        close(fd);
        return qs_fail(diag, QS_ERR_PERM,
                       "the directory %s belongs to another user, or others may write to it: set "
                       "QSTACK_RUN_DIR to one of your own",
                       dir);
    }
    *out_fd = fd;
    return 0;
}

static bool is_alive(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return true; /* cannot tell: leave it alone */
    bool dead =
        connect(fd, (const struct sockaddr *)addr, sizeof *addr) != 0 && errno == ECONNREFUSED;
    close(fd);
    return !dead;
}

static qs_err bind_and_listen(int fd, const struct sockaddr_un *addr, struct qs_diag *diag)
{
    int done = bind(fd, (const struct sockaddr *)addr, sizeof *addr);
    if (done != 0 && errno == EADDRINUSE) {
        if (is_alive(addr))
            return qs_fail(diag, QS_ERR_BUSY,
                           "%s is in use by another process: stop it or choose another name",
                           addr->sun_path);
        (void)unlink(addr->sun_path);
        done = bind(fd, (const struct sockaddr *)addr, sizeof *addr);
    }
    if (done != 0 || chmod(addr->sun_path, 0600) != 0 || listen(fd, 8) != 0)
        return qs_fail(diag, qs_err_of_errno(errno), "cannot listen on %s: %s", addr->sun_path,
                       strerror(errno));
    return 0;
}

qs_err qs_rundir_listen(int *out_fd, const char *name, const char *suffix, struct qs_diag *diag)
{
    struct sockaddr_un addr;
    int lock;
    *out_fd = -1;
    qs_err err = qs_rundir_address(&addr, name, suffix, diag);
    if (err == 0)
        err = lock_rundir(&lock, diag);
    if (err != 0)
        return err;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        err =
            qs_fail(diag, qs_err_of_errno(errno), "cannot make a Unix socket: %s", strerror(errno));
    else
        err = bind_and_listen(fd, &addr, diag);
    close(lock);
    if (err != 0 && fd >= 0)
        close(fd);
    else
        *out_fd = fd;
    return err;
}

/* Under the lock, so that what is removed is not a socket that has just been made anew. */
static void remove_if_dead(const struct sockaddr_un *addr)
{
    int lock;
    if (lock_rundir(&lock, NULL) != 0)
        return;
    if (!is_alive(addr))
        (void)unlink(addr->sun_path);
    close(lock);
}

qs_err qs_rundir_connect(int *out_fd, const char *name, const char *suffix, struct qs_diag *diag)
{
    struct sockaddr_un addr;
    *out_fd = -1;
    qs_err err = qs_rundir_address(&addr, name, suffix, diag);
    if (err != 0)
        return err;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return qs_fail(diag, qs_err_of_errno(errno), "cannot make a Unix socket: %s",
                       strerror(errno));
    if (connect(fd, (const struct sockaddr *)&addr, sizeof addr) != 0) {
        int why = errno;
        close(fd);
        if (why == ECONNREFUSED)
            remove_if_dead(&addr);
        bool nobody = why == ECONNREFUSED || why == ENOENT;
        return qs_fail(diag, nobody ? QS_ERR_NODEV : qs_err_of_errno(why),
                       "cannot connect to %s: %s", addr.sun_path,
                       nobody ? "nobody listens there" : strerror(why));
    }
    *out_fd = fd;
    return 0;
}

void qs_rundir_unlisten(int fd, const char *name, const char *suffix)
{
    struct sockaddr_un addr;
    if (fd < 0)
        return;
    if (qs_rundir_address(&addr, name, suffix, NULL) == 0)
        (void)unlink(addr.sun_path);
    close(fd);
}
