/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 *  Messages inside connections: where they end, how urgent each one is, and urgent ones ahead of
 *  those before them: docs/design/020-messages.md.
 *
 *  A *framing* says where messages end, a *classifier* how urgent each one is. Both belong to an
 *  engine and are named by listeners and active opens. TCP stays as it is: what overtakes is what
 *  the application is given, and what of its own is put into the stream next.
 */
#ifndef QSTACK_QS_MESSAGE_H
#define QSTACK_QS_MESSAGE_H

#include "qs_conn.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Octets from the start of a message that framings and classifiers are shown at most. A framing
 *  that cannot tell the length by then ends the connection. */
#define QS_MESSAGE_HEAD_MAX 16384u

/* ---- framings ---- */

/** Length of the message that begins at `data`, of which `len` > 0 octets are there, at most
 *  QS_MESSAGE_HEAD_MAX: octets of all of it, which may be more than `len`; 0: more octets are
 *  needed to tell; negative: no message begins like this. Called again for the same message with
 *  more octets, or with the same ones: the answer depends on nothing else. */
typedef int64_t (*qs_framing_fn)(const uint8_t *data, size_t len, void *ctx);

enum qs_framing {
    QS_FRAMING_LENGTH,    /**< a number tells the length */
    QS_FRAMING_DELIMITER, /**< it ends with some octets, which it has nowhere else */
    /** A request or response of HTTP/1.0 or 1.1, RFC 9112: head and body. The length is told when
     *  the head is there, of a chunked message when all of it is: so that one is at most
     *  QS_MESSAGE_HEAD_MAX long. What could be read in two ways is no message: lengths that
     *  differ, a length beside chunks, other codings than "chunked", a bare CR or LF, folded lines,
     *  names that are no tokens, an empty line in front. Nor is a response that ends with its
     *  connection. A response to HEAD has no body, which cannot be known here. */
    QS_FRAMING_HTTP1,
    /** A value of RESP2 or RESP3 with all that is in it, attributes in front of it too, or an
     * inline command: a line that begins with a letter and ends with CRLF. Told when the last
     * length in it is known. Not the streamed types of RESP3. */
    QS_FRAMING_RESP,
    QS_FRAMING_FUNCTION, /**< `fn` tells */
};

/** Start from qs_framing_opts_init(). */
struct qs_framing_opts {
    size_t size; /**< sizeof(*this); set by qs_framing_opts_init() */
    enum qs_framing kind;
    uint32_t message_max; /**< most octets of a message, [1, half of the receive buffer that its
                               connections start with]; 0: 65,536, or that half if it is less */
    /** LENGTH: an unsigned number of `length_octets`, 1, 2, 3, 4 or 8, at octet `length_at` of the
     *  message, [0, 1024]; in network byte order unless `length_little`. The message has
     *  `length_adds` octets more than it says, [-1024, 1024], and no less than up to the number's
     *  end. Defaults: 4 octets at 0, which count what follows them (length_adds 4). */
    uint32_t length_at, length_octets;
    int32_t length_adds;
    bool length_little;
    uint8_t delimiter[8];      /**< DELIMITER; part of the message */
    uint32_t delimiter_octets; /**< [1, 8]; default: one line feed */
    qs_framing_fn fn;          /**< FUNCTION; called on the thread that runs the engine */
    void *ctx;                 /**< for `fn`; kept */
};

QS_API void qs_framing_opts_init(struct qs_framing_opts *o, enum qs_framing kind);

/* ---- classifiers ---- */

/** What is known of a connection before its octets: header fields. */
struct qs_flow {
    qs_addr local, remote;
    uint16_t local_port, remote_port; /**< host byte order */
    uint16_t vlan;                    /**< of the packet that opened it; 0: no tag */
    uint8_t pcp;                      /**< priority of its tag, IEEE 802.1Q; 0: no tag */
    uint8_t dscp;                     /**< of the packet that opened it, RFC 2474 */
    uint8_t prio;                     /**< class of the listener, or of the active open */
};

/** Class of a message, [0, 7], from its connection and its first `len` octets, at most
 *  QS_MESSAGE_HEAD_MAX; or of a connection that opens: then `data` is NULL and `len` 0. Anything
 *  else means the class of the connection, and is counted (QS_CLASS_UNCLASSIFIED). */
typedef int (*qs_classify_fn)(const struct qs_flow *flow, const uint8_t *data, size_t len,
                              void *ctx);

/** What of a qs_match counts. */
#define QS_MATCH_REMOTE (1u << 0)      /**< `remote` of prefix length `remote_bits` */
#define QS_MATCH_REMOTE_PORT (1u << 1) /**< `port_first` to `port_last` */
#define QS_MATCH_DSCP (1u << 2)        /**< `dscp` */
#define QS_MATCH_OCTETS (1u << 3)      /**< `octets` under `mask` at octet `at` of the message */
#define QS_MATCH_HTTP_PATH (1u << 4)   /**< the request's target begins with `text` */
#define QS_MATCH_HTTP_HEADER (1u << 5) /**< header field `name` has the value `text`; not both */
#define QS_MATCH_VLAN (1u << 6)        /**< `vlan` */
#define QS_MATCH_PCP (1u << 7)         /**< `pcp` */

/** Those that hold, all of `what`, name a class. One without `what` always holds. One that looks
 *  at octets does not hold for a connection that opens. */
struct qs_match {
    uint32_t what; /**< QS_MATCH_* */
    uint8_t prio;  /**< [0, 7] */
    qs_addr remote;
    uint8_t remote_bits; /**< of the 128; an IPv4 prefix has 96 more */
    uint16_t port_first, port_last;
    uint16_t vlan;    /**< [0, 4094] as qs_flow.vlan; one that the engine takes */
    uint8_t pcp;      /**< [0, 7] */
    uint8_t dscp;     /**< [0, 63] */
    uint16_t at;      /**< [0, QS_MESSAGE_HEAD_MAX - 16] */
    uint8_t n_octets; /**< [1, 16] */
    uint8_t octets[16], mask[16];
    char name[32]; /**< NUL-terminated, any case */
    char text[64]; /**< NUL-terminated */
};

#define QS_MATCHES_MAX 32u

/** Start from qs_classifier_opts_init(). */
struct qs_classifier_opts {
    size_t size;                    /**< sizeof(*this); set by qs_classifier_opts_init() */
    const struct qs_match *matches; /**< the first that holds says the class; copied */
    uint32_t n_matches;             /**< [0, QS_MATCHES_MAX] */
    qs_classify_fn fn; /**< asked when no match holds; NULL: the class of the connection */
    void *ctx;         /**< for `fn`; kept */
};

QS_API void qs_classifier_opts_init(struct qs_classifier_opts *o);

/* ---- of an engine ---- */

/** How messages of some listeners and active opens are told: qs_listen_opts.messages and
 *  qs_open_opts.messages. `classifier` NULL: all messages have the class of their connection.
 *  `framing` NULL: connections are streams, and get their class when they open.
 *  Kept until the engine is freed. @return its number, >= 1; QS_ERR_ARG (something is out of
 *  range), QS_ERR_NOMEM beyond 64. */
QS_API QS_MUST_CHECK int qs_engine_messages(qs_engine *e, const struct qs_framing_opts *framing,
                                            const struct qs_classifier_opts *classifier);

/** Most octets of a message by number `number`; 0: it has no framing, or there is none such. */
QS_API uint32_t qs_engine_message_max(const qs_engine *e, int number);

/** A bit for each class that a message or connection by number `number` may be of, beside that of
 *  its listener or active open. */
QS_API uint32_t qs_engine_message_classes(const qs_engine *e, int number);

/* ---- receive ---- */

/** A whole message that waits for the application. */
struct qs_message {
    uint32_t place; /**< which one: not for applications */
    uint32_t len;   /**< octets, [1, message_max] */
    uint8_t prio;   /**< its class, no less than the connection's */
    bool capped;    /**< it kept its place behind others whose source had its rate in a more urgent
                         class, qs_class.h, or is one: later ones of that class are behind it */
};

/** The next message for a handler of events of class `prio` (qs_event.prio): the most urgent one
 *  that is no less urgent, the oldest of those. A message comes as soon as all its octets are
 *  there: ahead of those before it that are not, or were not read, when it is more urgent than its
 *  connection; else in order. The same one until qs_conn_message_done(), after which
 *  QS_EVENT_READABLE is raised again for what waits.
 *  @return 1; 0 when none waits; QS_ERR_EOF when none will; QS_ERR_STATE for a connection without
 *  framing; QS_ERR_STALE. */
QS_API QS_MUST_CHECK int qs_conn_message(qs_engine *e, qs_conn c, uint32_t prio,
                                         struct qs_message *m);

/** Shows the octets of `m`, from qs_conn_message(), beginning at octet `from`.
 *  @return spans written, which end where the message does; QS_ERR_ARG (no such message, or `from`
 *  is not in it) or QS_ERR_STALE. */
QS_API QS_MUST_CHECK int qs_conn_message_peek(qs_engine *e, qs_conn c, const struct qs_message *m,
                                              size_t from, struct qs_span *spans, size_t n);

/** The application has done with `m`. @return 0, QS_ERR_ARG (no such message) or QS_ERR_STALE. */
QS_API QS_MUST_CHECK qs_err qs_conn_message_done(qs_engine *e, qs_conn c,
                                                 const struct qs_message *m);

/* ---- transmit ---- */

/** Sends a whole message of class `prio`, [0, 7], less urgent than its connection counts as its
 *  class, with `len` octets that say themselves where they end. It goes into the stream in front of
 *  less urgent ones of which no octet is on its way, and never inside one.
 *  qs_conn_write() is for connections without framing.
 *  @return 0; QS_ERR_AGAIN when the send buffer has no room for all of it (QS_EVENT_WRITABLE
 *  follows), QS_ERR_ARG (no octets, or more than the send buffer is large), QS_ERR_CLOSED,
 *  QS_ERR_STATE (no framing), QS_ERR_STALE. */
QS_API QS_MUST_CHECK qs_err qs_conn_send(qs_engine *e, qs_conn c, uint32_t prio, const void *buf,
                                         size_t len);

#ifdef __cplusplus
}
#endif
#endif
