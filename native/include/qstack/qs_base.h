/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 *  Types, errors and export marks that every other header uses.
 *
 *  Conventions of the whole library: functions return 0 or a positive result when they succeed and
 *  a negative `QS_ERR_*` when not; out-parameters are NULL or zero on error. Ownership words:
 *  *borrowed* (for the call only), *given* (the callee frees it), *kept* (the caller keeps it alive
 *  until the object that took it is freed). Times are nanoseconds on the caller's monotonic clock.
 */
#ifndef QSTACK_QS_BASE_H
#define QSTACK_QS_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QS_API __attribute__((visibility("default")))
#define QS_MUST_CHECK __attribute__((warn_unused_result))

/** Point on the caller's monotonic clock. The core never reads a clock. */
typedef struct {
    uint64_t ns;
} qs_time;

/** Length of time. */
typedef struct {
    uint64_t ns;
} qs_dur;

/** "Never", as a deadline. */
#define QS_NEVER ((qs_time){UINT64_MAX})

#define QS_US(n) ((qs_dur){(uint64_t)(n)*1000u})
#define QS_MS(n) ((qs_dur){(uint64_t)(n)*1000000u})
#define QS_S(n) ((qs_dur){(uint64_t)(n)*1000000000u})

/** Result: 0 or positive is success, negative one of QS_ERR_*. */
typedef int qs_err;

/** Every error: name, value, text. */
#define QS_ERR_LIST(X)                                                                             \
    X(ARG, -1, "an argument is out of range")                                                      \
    X(NOMEM, -2, "out of memory, or a table or pool is full")                                      \
    X(STALE, -3, "the handle names a connection or listener that is gone")                         \
    X(AGAIN, -4, "nothing to do now, try again after an event")                                    \
    X(CLOSED, -5, "this side has already closed the connection")                                   \
    X(EOF, -6, "the peer has sent its last byte and all of it was read")                           \
    X(RESET, -7, "the peer reset the connection")                                                  \
    X(TIMEDOUT, -8, "the peer did not answer in time")                                             \
    X(REFUSED, -9, "the peer refused the connection")                                              \
    X(UNREACH, -10, "no route or no neighbour for the address")                                    \
    X(ADDRINUSE, -11, "the port is taken")                                                         \
    X(ADDRNOTAVAIL, -12, "the address does not belong to this stack")                              \
    X(NOTSUP, -13, "not supported by this driver, kernel or build")                                \
    X(PERM, -14, "the process lacks a right it needs")                                             \
    X(NODEV, -15, "no such network device")                                                        \
    X(BUSY, -16, "the device or queue is in use")                                                  \
    X(SYS, -17, "a system call failed")                                                            \
    X(STATE, -18, "the call is not allowed in this state")                                         \
    X(FRAMING, -19, "what the peer sent is no message of the framing, or too long a one")

#define QS_ERR_ENUM(name, value, text) QS_ERR_##name = value,
enum qs_err_code { QS_OK = 0, QS_ERR_LIST(QS_ERR_ENUM) };
#undef QS_ERR_ENUM

/** Text of an error, never NULL; static storage. */
QS_API const char *qs_strerror(qs_err code);

/** What went wrong in words: what, on what, why, what to do. Written only when a call fails. */
struct qs_diag {
    char text[320]; /**< NUL-terminated, no newline at the end */
};

/** IPv6 address, or IPv4 as ::ffff:a.b.c.d; network byte order. All zero is "any". */
typedef struct {
    uint8_t b[16];
} qs_addr;

/** Traffic classes: 0 (default, background) to 7 (most urgent), as Linux's skb->priority. */
#define QS_N_PRIO 8u

/** Memory that an engine lives in. Called by qs_engine_new() and qs_engine_free() only. */
struct qs_mem {
    /** Zeroed bytes aligned to 64, or NULL. */
    void *(*alloc)(void *ctx, size_t bytes);
    void (*free)(void *ctx, void *block, size_t bytes);
    void *ctx; /**< kept until the engine is freed */
};

#ifdef __cplusplus
}
#endif
#endif
