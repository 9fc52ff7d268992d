/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 *  What each traffic class of an engine has for sure, and what became of it:
 *  docs/design/014-priority.md.
 */
#ifndef QSTACK_QS_CLASS_H
#define QSTACK_QS_CLASS_H

#include "qs_conn.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Of a class. Start from qs_class_opts_init(). */
struct qs_class_opts {
    size_t size; /**< sizeof(*this); set by qs_class_opts_init() */
    /** Least part of the octets that are sent while the class has some to send and others have,
     *  too, in thousandths, [0, 1000]; 10. Of all classes together at most 1000. */
    uint32_t min_share_permille;
    uint32_t chunks_reserved; /**< buffer chunks that less urgent classes leave free; 0 */
    uint32_t conns_reserved;  /**< connections that they leave free; 0 */
    uint8_t dscp; /**< of the packets that TCP sends for the class, RFC 2474, [0, 63]; 0 */
    /** Octets a second, [1000, 10^12], for which one source (qs_engine_opts.source_bits4) is served
     *  in the class, both ways, with at least 64 for each event and message. What goes beyond is
     *  served as class 0, in the order of its connection, and counted (QS_CLASS_CAPPED). 0: no
     *  limit, as it has to be for class 0. */
    uint64_t source_bytes_per_second;
};

QS_API void qs_class_opts_init(struct qs_class_opts *o);

/** Says what class `prio` has, now or later. Nothing is taken away from connections that live.
 *  @return 0; QS_ERR_ARG: out of range, a limit of class 0, shares of more than the whole, or so
 * much reserved that a less urgent class would have less than half of the chunks or connections. */
QS_API QS_MUST_CHECK qs_err qs_engine_class_set(qs_engine *e, uint32_t prio,
                                                const struct qs_class_opts *o);

/** A bit for each class that has events to take. */
QS_API uint32_t qs_engine_event_classes(const qs_engine *e);

/** As qs_engine_events(), of class `prio` alone: for who gives classes shares of their own.
 *  @return events written. */
QS_API size_t qs_engine_events_of(qs_engine *e, uint32_t prio, struct qs_event *events, size_t n);

/* Counters of a class in an engine. */
#define QS_CLASS_COUNTER_LIST(X)                                                                   \
    X(SEGMENTS, segments, "segments received for its connections")                                 \
    X(OCTETS, octets, "octets of payload in them")                                                 \
    X(FRAMES_SENT, frames_sent, "frames sent by its connections")                                  \
    X(BYTES_SENT, bytes_sent, "bytes of those frames")                                             \
    X(EVENTS, events, "events handed to the application")                                          \
    X(OPENS, opens, "connections made, by either side")                                            \
    X(SHED_BACKLOG, shed_backlog, "attempts to connect refused: the listener's backlog is full")   \
    X(SHED_CONNS, shed_conns, "attempts to connect refused: no connection is free for the class")  \
    X(SHED_CHUNKS, shed_chunks, "segments whose payload was refused: no chunk is free for it")     \
    X(MESSAGES, messages, "messages that the application took")                                    \
    X(OVERTOOK, overtook, "of those, taken ahead of earlier octets of their connection")           \
    X(UNCLASSIFIED, unclassified, "answers of classifiers that are no class")                      \
    X(FRAMING_ERRORS, framing_errors, "connections ended by octets that are no message")           \
    X(CUT, cut, "streams that ended inside a message")                                             \
    X(CAPPED, capped, "events and messages served as less urgent: their source had its rate")

#define QS_CLASS_COUNTER_ENUM(name, id, text) QS_CLASS_##name,
enum qs_class_counter { QS_CLASS_COUNTER_LIST(QS_CLASS_COUNTER_ENUM) QS_N_CLASS_COUNTERS };
#undef QS_CLASS_COUNTER_ENUM

/** Copies the first `n` counters of class `prio` to `out`; safe from another thread, each value by
 *  itself. @return counters written, 0 for no such class. */
QS_API size_t qs_engine_class_counters(const qs_engine *e, uint32_t prio, uint64_t *out, size_t n);

/** Name of counter `idx` as in JSON and metrics, or NULL past the end; static storage. */
QS_API const char *qs_class_counter_name(size_t idx);

/** One line about it, or NULL past the end; static storage. */
QS_API const char *qs_class_counter_text(size_t idx);

#ifdef __cplusplus
}
#endif
#endif
