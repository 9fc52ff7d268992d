/* SPDX-License-Identifier: Apache-2.0 */
/* RUNDIR, the directory of the sockets by which processes find each other (docs/design/002). */
#ifndef QS_IO_RUNDIR_H
#define QS_IO_RUNDIR_H

#include "qstack/qs_base.h"

#include <sys/un.h>

/* Address of RUNDIR/NAME.SUFFIX. QS_ERR_ARG when NAME cannot be a file's name or the path is too
 * long. */
QS_MUST_CHECK qs_err qs_rundir_address(struct sockaddr_un *out, const char *name,
                                       const char *suffix, struct qs_diag *diag);

/* Listens on a SOCK_SEQPACKET socket RUNDIR/NAME.SUFFIX, mode 0600; makes RUNDIR, mode 0700, when
 * it is missing and takes the place of a socket whose owner is dead. `*out_fd` is close-on-exec.
 * QS_ERR_ARG, QS_ERR_BUSY (its owner lives), QS_ERR_PERM or QS_ERR_SYS. */
QS_MUST_CHECK qs_err qs_rundir_listen(int *out_fd, const char *name, const char *suffix,
                                      struct qs_diag *diag);

/* Connects to it. QS_ERR_ARG, QS_ERR_NODEV (nobody listens; a dead owner's socket is removed),
 * QS_ERR_PERM or QS_ERR_SYS. */
QS_MUST_CHECK qs_err qs_rundir_connect(int *out_fd, const char *name, const char *suffix,
                                       struct qs_diag *diag);

/* Removes the socket's name and closes `fd`; a negative one is ignored. */
void qs_rundir_unlisten(int fd, const char *name, const char *suffix);

#endif
