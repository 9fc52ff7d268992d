/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 *  The application's side of an engine: listeners, connections, their bytes and their events.
 *
 *  A handle carries a generation: once its connection is gone every call on it returns QS_ERR_STALE
 *  and never touches another connection. No call here sends; what it caused leaves with the next
 *  qs_engine_tx().
 */
#ifndef QSTACK_QS_CONN_H
#define QSTACK_QS_CONN_H

#include "qs_engine.h"
#include "qs_tcp_info.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Handle: bits 32-63 generation, 24-31 engine id, 0-23 slot. Zero is never a connection. */
typedef struct {
    uint64_t v;
} qs_conn;

/** States of RFC 9293 section 3.3.2, in its order. */
enum qs_tcp_state {
    QS_TCP_CLOSED,
    QS_TCP_LISTEN,
    QS_TCP_SYN_SENT,
    QS_TCP_SYN_RECEIVED,
    QS_TCP_ESTABLISHED,
    QS_TCP_FIN_WAIT_1,
    QS_TCP_FIN_WAIT_2,
    QS_TCP_CLOSE_WAIT,
    QS_TCP_CLOSING,
    QS_TCP_LAST_ACK,
    QS_TCP_TIME_WAIT,
    QS_TCP_STATES
};

/** Options of a connection: given to a listener for those that it accepts, to an active open, or to
 * a connection that lives. Start from qs_conn_opts_init(). Durations are kept in
 * milliseconds up to 16,383 ms, in seconds up to 16,383 s, and beyond in multiples of 8 s; rounded
 * up. */
struct qs_conn_opts {
    size_t size; /**< sizeof(*this); set by qs_conn_opts_init() */
    /** Keep-alive probes, RFC 9293 section 3.8.4; off by default. They are sent in ESTABLISHED,
     *  CLOSE-WAIT and FIN-WAIT-2 while no octet is out or waiting to be sent. */
    bool keepalive;
    qs_dur keepalive_idle;     /**< silence before the first probe, (0, 32,767 s]; 2 hours */
    qs_dur keepalive_interval; /**< from one probe to the next, (0, 32,767 s]; 75 s */
    uint32_t keepalive_count;  /**< so many unanswered probes in a row, and one interval more, end
                                    the connection with QS_ERR_TIMEDOUT, [1, 127]; 9 */
    /** Local part of RFC 5482, RFC 9293 section 3.8.3 R2: octets (or a FIN) that are not
     * acknowledged for so long end the connection with QS_ERR_TIMEDOUT, also those that a shut
     * window holds back, though the peer answers probes. [0, 86,400 s]; looked at when the
     * retransmission timer expires, so not before the first RTO. 0, the default:
     * qs_engine_opts.user_timeout, and a peer that answers probes of its shut window is waited for
     * without end. */
    qs_dur user_timeout;
    /** Nagle's algorithm, RFC 9293 section 3.7.4: a segment that is not full waits while octets are
     *  out. Off by default, as with TCP_NODELAY: servers write an answer at once, and its last
     *  segment would wait for the peer's delayed ACK. */
    bool nagle;
    /** Pacing: octets leave over the round trip, not as soon as the window opens. The rate is
     *  cwnd / SRTT, twice that while cwnd is below half of ssthresh and 1.2 times else, in quanta
     * of what 65.5 us pass, at least two segments. Off by default. ACKs and what a timer sends are
     *  not held back. */
    bool pacing;
    /** With `pacing`: octets of payload a second that are never exceeded, as SO_MAX_PACING_RATE;
     *  [1,000, 10^12], 0: no ceiling. Kept to 11 significant bits, rounded down. */
    uint64_t pacing_rate_max;
    /** Octets of the receive and the send buffer, which do not grow then: the next of the initial
     *  size, its halves and doubles, and the maximum (qs_engine_opts) that is no less; above
     *  the initial size as far as growth_bytes of the class last, else it stays as it is, which is
     *  counted. Those of a connection that lives never shrink. At most the maximum; 0, the default:
     *  they grow by themselves. */
    uint32_t rcvbuf_bytes, sndbuf_bytes;
    /** Largest MSS that is announced to the peer and used, as TCP_MAXSEG, [88, 65,535] without
     *  options; 0, the default: what the MTU allows. Once the peer's SYN has come it only makes
     *  segments smaller. */
    uint16_t mss_max;
    const char *cc; /**< congestion control: "cubic", "newreno", "dctcp", or NULL for "cubic";
                         borrowed */
};

/** Defaults as noted at each field. */
QS_API void qs_conn_opts_init(struct qs_conn_opts *o);

struct qs_listen_opts {
    size_t size;            /**< sizeof(*this); set by qs_listen_opts_init() */
    qs_addr addr;           /**< local address, or any */
    uint16_t port;          /**< host byte order, [1, 65535] */
    uint8_t prio;           /**< class of its connections, [0, 7] */
    uint32_t backlog;       /**< most connections established and not yet taken by QS_EVENT_OPEN */
    uint32_t half_open_max; /**< most half-open connections; beyond them, or when fewer than an
                                 eighth of conns_max is free, SYN cookies are sent */
    uint32_t half_open_prefix_max; /**< of those, most from one /24 (IPv4) or /64 (IPv6);
                                        0: a quarter */
    uint64_t user;                 /**< given back in every event until qs_conn_set_user() */
    struct qs_conn_opts conn;      /**< of its connections */
    bool no_ecn;                   /**< ECN (RFC 3168) is not agreed to when a peer asks for it */
    bool shed_rst;    /**< an attempt to connect for which there is no place is answered with RST;
                           else with nothing: the peer tries again */
    uint8_t messages; /**< of qs_engine_messages(): how messages of its connections are told, and
                           their class when they open; 0: streams of class `prio` */
};

/** Defaults: any address, class 0, backlog 4,096, 1,024 half-open, qs_conn_opts_init(). */
QS_API void qs_listen_opts_init(struct qs_listen_opts *o);

/** Starts listening. @return listener number >= 0; QS_ERR_ARG (also for options of its
 *  connections), QS_ERR_ADDRINUSE (same address and port), QS_ERR_ADDRNOTAVAIL, or QS_ERR_NOMEM
 * beyond 256 listeners. */
QS_API QS_MUST_CHECK int qs_engine_listen(qs_engine *e, const struct qs_listen_opts *o);

/** Stops listening; half-open connections of it are dropped, established ones live on.
 *  @return 0 or QS_ERR_STALE. */
QS_API QS_MUST_CHECK qs_err qs_engine_unlisten(qs_engine *e, int listener);

struct qs_open_opts {
    size_t size;   /**< sizeof(*this); set by qs_open_opts_init() */
    qs_addr local; /**< any: the first local address of the peer's IP version */
    qs_addr remote;
    uint16_t local_port;  /**< host byte order; 0: the engine chooses, RFC 6056 algorithm 3 */
    uint16_t remote_port; /**< host byte order, [1, 65535] */
    uint16_t vlan;        /**< 0: frames have no tag; else one that the engine takes */
    uint8_t prio;         /**< class, [0, 7] */
    uint64_t user;        /**< given back in every event */
    struct qs_conn_opts conn;
    bool ecn;         /**< asks for ECN, RFC 3168; congestion control "dctcp" does anyway */
    uint8_t messages; /**< of qs_engine_messages(): how messages are told; 0: it is a stream */
};

QS_API void qs_open_opts_init(struct qs_open_opts *o);

/** Local address that an active open to `remote` uses. @return 0 or QS_ERR_ADDRNOTAVAIL. */
QS_API QS_MUST_CHECK qs_err qs_engine_local_for(const qs_engine *e, const qs_addr *remote,
                                                qs_addr *out);

/** Starts an active open at `now`; QS_EVENT_OPEN or QS_EVENT_CLOSED tells how it ended. @return 0,
 *  QS_ERR_ARG, QS_ERR_ADDRNOTAVAIL, QS_ERR_ADDRINUSE, QS_ERR_NOMEM. */
QS_API QS_MUST_CHECK qs_err qs_conn_open(qs_engine *e, const struct qs_open_opts *o, qs_time now,
                                         qs_conn *out);

/** The connection is established: accepted, or its active open succeeded. */
#define QS_EVENT_OPEN (1u << 0)
/** Bytes can be read. Raised again only after new bytes arrived. */
#define QS_EVENT_READABLE (1u << 1)
/** After qs_conn_write() took less than it was given: at least a quarter of the buffer is free.
 *  After qs_conn_send() took nothing: at least three quarters. */
#define QS_EVENT_WRITABLE (1u << 2)
/** The peer has sent its last byte; what is left can still be read. */
#define QS_EVENT_EOF (1u << 3)
/** The connection is gone, see `err`. Last event of a handle. One that ended in order has it when
 * all bytes were read, or qs_conn_close() spares it; with an error unread bytes are lost. */
#define QS_EVENT_CLOSED (1u << 4)
/** The connection came from another engine, qs_parcel.h: `conn` is its handle here and from now on.
 */
#define QS_EVENT_MOVED (1u << 5)

struct qs_event {
    qs_conn conn;
    uint64_t user;
    uint32_t flags;   /**< QS_EVENT_*, several at once */
    int32_t listener; /**< listener that accepted it, or -1 */
    qs_err err;       /**< QS_EVENT_CLOSED: 0 closed in order, or QS_ERR_RESET, TIMEDOUT, REFUSED,
                           UNREACH */
    uint8_t prio;
    bool traced; /**< it is followed, for qs_residency.h; of no use to handlers */
};

/** Takes up to `n` events, the most urgent class first, in order of arrival inside a class.
 *  @return events written. */
QS_API size_t qs_engine_events(qs_engine *e, struct qs_event *events, size_t n);

/** A run of received bytes inside the engine. */
struct qs_span {
    const uint8_t *data; /**< valid until bytes are consumed, or the next qs_engine_rx() or _tx() */
    size_t len;
};

/** Shows received bytes without taking them. @return spans written; 0 when there is nothing and
 * more may come; QS_ERR_EOF or QS_ERR_STALE. */
QS_API QS_MUST_CHECK int qs_conn_peek(qs_engine *e, qs_conn c, struct qs_span *spans, size_t n);

/** Gives `bytes` of what was shown back to the engine and opens the window.
 *  @return 0, QS_ERR_ARG (more than there is) or QS_ERR_STALE. */
QS_API QS_MUST_CHECK qs_err qs_conn_consume(qs_engine *e, qs_conn c, size_t bytes);

/** Copies received bytes to `buf` and consumes them. @return bytes > 0; QS_ERR_AGAIN, QS_ERR_EOF
 *  or QS_ERR_STALE. */
QS_API QS_MUST_CHECK int64_t qs_conn_read(qs_engine *e, qs_conn c, void *buf, size_t len);

/** Copies bytes into the send buffer; `buf` is borrowed for the call. @return bytes taken, [1,
 * len]; QS_ERR_AGAIN when full (QS_EVENT_WRITABLE follows), QS_ERR_CLOSED after shutdown,
 * QS_ERR_STALE. */
QS_API QS_MUST_CHECK int64_t qs_conn_write(qs_engine *e, qs_conn c, const void *buf, size_t len);

/** Asks for QS_EVENT_WRITABLE: at once when a quarter of the send buffer is free, else as soon as
 * it is.
 *  @return 0 or QS_ERR_STALE. */
QS_API QS_MUST_CHECK qs_err qs_conn_want_write(qs_engine *e, qs_conn c);

/** Asks for QS_EVENT_READABLE although no new bytes arrived, behind the events that others of its
 *  class have already: a handler that has much to read lets them have their turn. Without bytes to
 *  read it does nothing. @return 0 or QS_ERR_STALE. */
QS_API QS_MUST_CHECK qs_err qs_conn_want_read(qs_engine *e, qs_conn c);

/** Sends FIN after what was written; reading goes on. @return 0 or QS_ERR_STALE. */
QS_API QS_MUST_CHECK qs_err qs_conn_shutdown(qs_engine *e, qs_conn c);

/** Gives the handle up: what was written is still delivered, then FIN; unread bytes turn that into
 * a reset (RFC 2525 section 2.17). No event follows. @return 0 or QS_ERR_STALE. */
QS_API qs_err qs_conn_close(qs_engine *e, qs_conn c);

/** Resets the connection and gives the handle up. No event follows. @return 0 or QS_ERR_STALE. */
QS_API qs_err qs_conn_abort(qs_engine *e, qs_conn c);

/** Aborts up to `n` connections of the engine, whoever holds their handles; for shutting down.
 *  qs_engine_tx() sends the resets: at most 64 wait. @return connections aborted. */
QS_API size_t qs_engine_abort_some(qs_engine *e, size_t n);

/** Sets the value that events carry. @return 0 or QS_ERR_STALE. */
QS_API QS_MUST_CHECK qs_err qs_conn_set_user(qs_engine *e, qs_conn c, uint64_t user);

/** Changes the options of a connection, in any state. The wait for a keep-alive probe begins anew;
 *  the congestion window stays whatever the algorithm. Start from qs_conn_get_opts().
 *  @return 0, QS_ERR_ARG (something is out of range, then nothing is changed) or QS_ERR_STALE. */
QS_API QS_MUST_CHECK qs_err qs_conn_set_opts(qs_engine *e, qs_conn c, const struct qs_conn_opts *o);

/** What is in force. `size` is set before, by qs_conn_opts_init(); `cc` becomes a string that is
 * never freed. @return 0, QS_ERR_ARG (`size`) or QS_ERR_STALE; `out` is left alone on error. */
QS_API QS_MUST_CHECK qs_err qs_conn_get_opts(const qs_engine *e, qs_conn c,
                                             struct qs_conn_opts *out);

/** A connection in figures. */
struct qs_conn_info {
    qs_addr local, remote;
    uint16_t local_port, remote_port; /**< host byte order */
    enum qs_tcp_state state;
    uint8_t prio;
    uint32_t readable_bytes; /**< in order and not consumed */
    uint32_t writable_bytes; /**< what qs_conn_write() would take */
    uint32_t unacked_bytes;  /**< written and not acknowledged */
    uint32_t rcvbuf_bytes;   /**< size of the receive buffer now; it may grow (qs_engine.h) */
    uint32_t sndbuf_bytes;   /**< size of the send buffer now; likewise */
    uint32_t mss_octets;     /**< largest segment to the peer */
    uint32_t cwnd_octets, ssthresh_octets;
    qs_dur srtt, rttvar, rto; /**< RFC 6298 */
    uint32_t retransmits;     /**< segments sent again */
    bool ecn;                 /**< agreed on */
    const char *cc;           /**< congestion control; a string that is never freed */
};

/** @return 0 or QS_ERR_STALE. */
QS_API QS_MUST_CHECK qs_err qs_conn_info(const qs_engine *e, qs_conn c, struct qs_conn_info *out);

/** Fills a struct laid out as Linux's struct tcp_info (qs_tcp_info.h says what is filled), as of
 * the time last passed to the engine. @return 0 or QS_ERR_STALE; all zero then. */
QS_API QS_MUST_CHECK qs_err qs_conn_tcp_info(const qs_engine *e, qs_conn c,
                                             struct qs_tcp_info *out);

#ifdef __cplusplus
}
#endif
#endif
