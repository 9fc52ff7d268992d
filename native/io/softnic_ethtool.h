/* SPDX-License-Identifier: Apache-2.0 */
/* Requests in the structures of linux/ethtool.h over the software NIC (docs/design/002), and the
 * Unix socket that takes them. */
#ifndef QS_IO_SOFTNIC_ETHTOOL_H
#define QS_IO_SOFTNIC_ETHTOOL_H

#include "qstack/qs_base.h"
#include "softnic_layout.h"

/* Before every request and answer. */
struct qs_softnic_message {
    uint32_t command;
    int32_t error;
    uint32_t bytes;
    uint32_t reserved;
};

/* Largest request: a table and a key behind their structure, or the room for all rule locations. */
#define QS_SOFTNIC_REQUEST_MAX 32768u
/* Largest answer: the names of all counters. */
#define QS_SOFTNIC_ANSWER_MAX 163840u

/* What is answered for. */
struct qs_softnic_port {
    struct qs_softnic *nic;
    const char *bus_info; /* "tap", "veth" or "memory" */
};

/* Carries out one request of `bytes` and writes the answer, message head included, to `answer`
 * (QS_SOFTNIC_ANSWER_MAX bytes). Returns the answer's length. A request that is refused changes
 * nothing. */
size_t qs_softnic_ethtool(const struct qs_softnic_port *port, const void *request, size_t bytes,
                          void *answer);

struct qs_softnic_server;

/* Listens on RUNDIR/`name`.nic and answers in a thread of its own, which is then the one that
 * changes `nic` (kept). QS_ERR_BUSY when another process answers there already; a socket left by a
 * dead one is removed. */
QS_MUST_CHECK qs_err qs_softnic_server_start(struct qs_softnic_server **out, struct qs_softnic *nic,
                                             const char *name, const char *bus_info,
                                             struct qs_diag *diag);
/* Ends the thread and removes the socket. NULL is allowed. */
void qs_softnic_server_stop(struct qs_softnic_server *server);

/* Path of the socket; lives as long as `server`. */
const char *qs_softnic_server_path(const struct qs_softnic_server *server);

#endif
