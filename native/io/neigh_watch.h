/* SPDX-License-Identifier: Apache-2.0 */
/* Follows the kernel's neighbour table (ARP and ND) of one interface, for engines that are told
 * (QS_NEIGH_TOLD). Used by one thread, the control thread. */
#ifndef QS_IO_NEIGH_WATCH_H
#define QS_IO_NEIGH_WATCH_H

#include "qstack/qs_base.h"

struct qs_neigh_watch;

/* `addr` is now at `mac`; NULL: the kernel no longer knows where it is. Both borrowed. */
typedef void (*qs_neigh_fn)(void *ctx, const qs_addr *addr, const uint8_t *mac);

/* Starts to listen in the network namespace of the calling thread; `ctx` is kept. The whole table
 * comes with the first qs_neigh_watch_run(). QS_ERR_NOMEM or QS_ERR_SYS. */
QS_MUST_CHECK qs_err qs_neigh_watch_open(struct qs_neigh_watch **out, uint32_t ifindex,
                                         qs_neigh_fn fn, void *ctx, struct qs_diag *diag);
void qs_neigh_watch_close(struct qs_neigh_watch *w);

/* Polls readable when there are changes. */
int qs_neigh_watch_fd(const struct qs_neigh_watch *w);

/* Reports every change there is, without waiting. Should the kernel have dropped some because they
 * came too fast, the whole table is reported again. QS_ERR_SYS when the socket is broken. */
QS_MUST_CHECK qs_err qs_neigh_watch_run(struct qs_neigh_watch *w);

/* Makes the kernel find `addr`, or confirm it; the answer comes as a change. QS_ERR_PERM,
 * QS_ERR_SYS. */
QS_MUST_CHECK qs_err qs_neigh_watch_ask(struct qs_neigh_watch *w, const qs_addr *addr);

#endif
