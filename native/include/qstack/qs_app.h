/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 *  One application thread of the split layout: events in, bytes out, over SPSC rings to every
 * worker.
 *
 *  A qs_app belongs to one thread at a time. Nothing here takes a lock or waits for a worker,
 * except qs_app_wait(), and no application, however slow, stops a worker: a full ring closes the
 * TCP windows of the connections that are not served.
 */
#ifndef QSTACK_QS_APP_H
#define QSTACK_QS_APP_H

#include "qs_stack.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qs_app qs_app;

/** Creates the application side of `s`, before qs_stack_start(). `ring_bytes` is the size of each
 * ring, one for each queue and class in each direction, a power of two in [64 KiB, 64 MiB]; 0: 1
 * MiB.
 *  `*index` gets the number for qs_stack_listen.app. @return 0, QS_ERR_ARG, QS_ERR_STATE,
 * QS_ERR_NOMEM. */
QS_API QS_MUST_CHECK qs_err qs_app_new(qs_app **out, uint32_t *index, qs_stack *s,
                                       size_t ring_bytes);

/** Frees it; after qs_stack_stop(). NULL is allowed. */
QS_API void qs_app_free(qs_app *a);

struct qs_app_event {
    qs_conn conn;
    uint64_t user; /**< as set by qs_app_set_user(), else the listener's */
    /** QS_EVENT_READABLE: bytes received, or one whole message of a listener with framing;
     *  borrowed until the next qs_app_wait(). */
    const uint8_t *data;
    uint32_t len;       /**< bytes at `data`; a long run comes as several events */
    uint32_t flags;     /**< QS_EVENT_* */
    int32_t listener;   /**< qs_stack_listen()'s number, or -1 */
    qs_err err;         /**< with QS_EVENT_CLOSED */
    uint8_t prio;       /**< class of the connection, or of the message */
    qs_conn moved_from; /**< with QS_EVENT_MOVED: the handle until now, stale from now on */
};

/** Takes up to `n` events of the most urgent class that has any, over all queues; waits up to
 * `timeout` when there is none. Calls on a connection do not change events that were returned
 * already: those of one that was closed since may still be among them.
 * @return events, 0 after the timeout, or QS_ERR_AGAIN after qs_app_wake(). */
QS_API QS_MUST_CHECK int qs_app_wait(qs_app *a, struct qs_app_event *events, size_t n,
                                     qs_dur timeout);

/** Makes a qs_app_wait() in another thread return at once, now or at its next call.
 * Async-signal-safe. */
QS_API void qs_app_wake(qs_app *a);

/** File descriptor that polls readable when qs_app_wait() has something, for event loops; kept by
 * `a`. */
QS_API int qs_app_fd(const qs_app *a);

/** Hands bytes to the connection; copied. @return bytes taken, [0, len]: fewer than `len` means
 * that the send buffer or ring is full and QS_EVENT_WRITABLE follows; QS_ERR_STALE, QS_ERR_CLOSED,
 * QS_ERR_STATE (it has framing). */
QS_API QS_MUST_CHECK int64_t qs_app_write(qs_app *a, qs_conn c, const void *buf, size_t len);

/** Sends a whole message of class `prio` on a connection with framing, as qs_conn_send(); copied.
 *  @return 0; QS_ERR_AGAIN when send buffer or ring has no room for all of it (QS_EVENT_WRITABLE
 *  follows), QS_ERR_ARG (no octets, or more than half of the send buffer), QS_ERR_STATE (no
 *  framing), QS_ERR_CLOSED, QS_ERR_STALE. */
QS_API QS_MUST_CHECK qs_err qs_app_send(qs_app *a, qs_conn c, uint32_t prio, const void *buf,
                                        size_t len);

/** Sends FIN after what was written. @return 0 or QS_ERR_STALE. */
QS_API qs_err qs_app_shutdown(qs_app *a, qs_conn c);

/** Gives the connection up after what was written. No event follows. @return 0 or QS_ERR_STALE. */
QS_API qs_err qs_app_close(qs_app *a, qs_conn c);

/** Resets the connection. No event follows. @return 0 or QS_ERR_STALE. */
QS_API qs_err qs_app_abort(qs_app *a, qs_conn c);

/** Sets what events of `c` carry from the next qs_app_wait() on. @return 0 or QS_ERR_STALE. */
QS_API QS_MUST_CHECK qs_err qs_app_set_user(qs_app *a, qs_conn c, uint64_t user);

/** Addresses of a connection, host byte order ports. @return 0 or QS_ERR_STALE. */
QS_API QS_MUST_CHECK qs_err qs_app_peer(const qs_app *a, qs_conn c, qs_addr *remote,
                                        uint16_t *port);

#ifdef __cplusplus
}
#endif
#endif
