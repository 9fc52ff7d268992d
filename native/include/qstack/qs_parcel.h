/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 *  Connections that move to another engine, as one piece of memory each:
 *  docs/design/021-moving-flows.md.
 *
 *  Both engines have the same options but for `id` and `secret`, the same addresses, listeners and
 *  messages in the same order, and times of one clock: a connection is never put in at a time
 * before the last one that the engine it comes from was told. */
#ifndef QSTACK_QS_PARCEL_H
#define QSTACK_QS_PARCEL_H

#include "qs_engine.h"
#include "qs_message.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Is this one of the connections? `dscp` is 0. */
typedef bool (*qs_flow_fn)(void *ctx, const struct qs_flow *flow);

/** Moves `*at` on, from 0, to the next connection that `which` picks, one that an application has
 *  given up and that TCP has not ended among them; looks at most at `looks` places. Those that have
 *  ended and are only to be read stay.
 *  @return octets of its parcel; 0: none among those places, and with `*at` UINT32_MAX none any
 *  more. */
QS_API size_t qs_engine_flow_next(const qs_engine *e, qs_flow_fn which, void *ctx, uint32_t *at,
                                  uint32_t looks);

/** Whom qs_engine_pack() has taken out. */
struct qs_packed {
    qs_conn conn;     /**< its handle, stale from now on */
    int32_t listener; /**< that accepted it, or -1 */
    bool told;        /**< the application knows it, and has not given it up */
};

/** Takes out the connection that qs_engine_flow_next() has found, with all that belongs to it, into
 *  `parcel`, which has room for it. */
QS_API struct qs_packed qs_engine_pack(qs_engine *e, uint32_t at, void *parcel);

/** Puts in what qs_engine_pack() of another engine has taken out; `parcel` is borrowed for the
 *  call. If the application knows the connection, an event with QS_EVENT_MOVED tells it of the
 *  handle, `*c`.
 *  @return 0, or with nothing changed QS_ERR_NOMEM (connections, chunks or records), QS_ERR_ARG (no
 *  parcel of an engine like this one), QS_ERR_ADDRNOTAVAIL (no such address, VLAN or route),
 *  QS_ERR_ADDRINUSE (there is one between these ends). */
QS_API QS_MUST_CHECK qs_err qs_engine_unpack(qs_engine *e, const void *parcel, size_t octets,
                                             qs_time now, qs_conn *c);

/** Asked about a TCP segment for the flow, which came with `frame` and is right but for what TCP
 *  says of it. `known`: the engine has its connection. @return true when the caller takes it from
 *  here, as a copy; it is counted (QS_COUNT_DIVERTED). */
typedef bool (*qs_divert_fn)(void *ctx, const struct qs_frame *frame, const struct qs_flow *flow,
                             bool known);

/** From now on `fn` is asked about segments without a connection, and with `all` about each one;
 *  NULL: nobody is. */
QS_API void qs_engine_divert(qs_engine *e, qs_divert_fn fn, void *ctx, bool all);

#ifdef __cplusplus
}
#endif
#endif
