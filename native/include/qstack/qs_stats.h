/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 *  Counters of an engine. One list gives the index, the name and the text; a frame that is not
 * taken is counted under exactly one QS_COUNT_DROP_*.
 */
#ifndef QSTACK_QS_STATS_H
#define QSTACK_QS_STATS_H

#include "qs_engine.h"

#ifdef __cplusplus
extern "C" {
#endif

#define QS_COUNTER_LIST(X)                                                                         \
    X(RX_FRAMES, rx_frames, "frames fed to the engine")                                            \
    X(RX_BYTES, rx_bytes, "bytes of those frames")                                                 \
    X(TX_FRAMES, tx_frames, "frames handed to the driver")                                         \
    X(TX_BYTES, tx_bytes, "bytes of those frames")                                                 \
    X(CONNS, conns, "connections now, in any state")                                               \
    X(CHUNKS, chunks, "buffer chunks in use now")                                                  \
    X(PASSIVE_OPENS, passive_opens, "connections accepted")                                        \
    X(ACTIVE_OPENS, active_opens, "connections opened")                                            \
    X(RESETS_RECEIVED, resets_received, "connections reset by the peer")                           \
    X(RESETS_SENT, resets_sent, "RST segments sent")                                               \
    X(TIMEOUTS, timeouts, "connections given up after silence")                                    \
    X(RETRANSMITS, retransmits, "segments sent again")                                             \
    X(RTO_EXPIRIES, rto_expiries, "retransmission timer expiries")                                 \
    X(FAST_RETRANSMITS, fast_retransmits, "fast recoveries entered")                               \
    X(LOSS_PROBES, loss_probes, "tail loss probes sent, RFC 8985 section 7")                       \
    X(LOSSES_UNDONE, losses_undone, "recoveries and timeouts that were for nothing")               \
    X(SACKS_RENEGED, sacks_reneged, "peers that dropped what they had acknowledged by SACK")       \
    X(ECN_REDUCTIONS, ecn_reductions, "windows reduced for marks of congestion, RFC 3168")         \
    X(WINDOW_PROBES, window_probes, "zero window probes sent")                                     \
    X(KEEPALIVE_PROBES, keepalive_probes, "keep-alive probes")                                     \
    X(OUT_OF_ORDER, out_of_order, "segments kept ahead of a hole")                                 \
    X(CHALLENGE_ACKS, challenge_acks, "ACKs sent under RFC 5961")                                  \
    X(CHALLENGES_SUPPRESSED, challenges_suppressed, "challenge ACKs kept back by a limit")         \
    X(HALF_OPEN_LIMIT, half_open_limit, "SYNs beyond a limit of half-open connections")            \
    X(SYN_COOKIES_SENT, syn_cookies_sent, "SYN-ACKs sent without keeping anything")                \
    X(SYN_COOKIES_ACCEPTED, syn_cookies_accepted, "connections made from the ACK of a cookie")     \
    X(SYN_COOKIES_REJECTED, syn_cookies_rejected, "ACKs that should answer a cookie and do not")   \
    X(ECHO_REPLIES, echo_replies, "ICMP echo requests answered")                                   \
    X(ICMP_ERRORS, icmp_errors, "ICMP errors about a connection's outstanding octets")             \
    X(ICMP_ERRORS_SENT, icmp_errors_sent, "ICMPv6 parameter problems sent")                        \
    X(ICMP_ERRORS_LIMITED, icmp_errors_limited, "ICMPv6 parameter problems not sent: too many")    \
    X(PMTU_LOWERED, pmtu_lowered, "segment sizes lowered by a report of a smaller path MTU")       \
    X(PMTU_BLACK_HOLES, pmtu_black_holes, "segment sizes lowered: full segments stay unanswered")  \
    X(PMTU_PROBES, pmtu_probes, "larger segments tried")                                           \
    X(PMTU_RAISED, pmtu_raised, "segment sizes raised: a larger segment was acknowledged")         \
    X(BUFFERS_NOT_GROWN, buffers_not_grown, "buffers kept small: their class may grow no more")    \
    X(NEIGH_ANSWERS, neigh_answers, "ARP and ND requests answered")                                \
    X(NEIGH_REQUESTS, neigh_requests, "ARP and ND requests sent, or neighbours asked of the host") \
    X(DIVERTED, diverted, "segments handed over by qs_engine_divert()")                            \
    X(DROP_TRUNCATED, drop_truncated, "a header or length reaches past the frame")                 \
    X(DROP_NOT_OURS, drop_not_ours, "Ethernet or IP destination is not this engine's")             \
    X(DROP_VLAN, drop_vlan, "a VLAN that is not taken, or two tags")                               \
    X(DROP_PROTOCOL, drop_protocol, "a protocol that is not handled")                              \
    X(DROP_IP_HEADER, drop_ip_header, "IP version, header length or checksum is wrong")            \
    X(DROP_IP_SOURCE, drop_ip_source, "IP source is broadcast, multicast, loopback or ours")       \
    X(DROP_FRAGMENT, drop_fragment, "an IP fragment")                                              \
    X(DROP_IP_OPTIONS, drop_ip_options, "IPv6 extension headers too long or not allowed")          \
    X(DROP_NEIGH, drop_neigh, "malformed or unasked ARP or ND message")                            \
    X(DROP_ICMP, drop_icmp, "ICMP message malformed, or of a type not handled")                    \
    X(DROP_ICMP_QUOTE, drop_icmp_quote, "ICMP error about no octets that are outstanding here")    \
    X(DROP_ICMP_MTU, drop_icmp_mtu, "reported path MTU too small, or not below the present one")   \
    X(DROP_ECHO, drop_echo, "ICMP echo request not answered: too many in this second")             \
    X(DROP_REPLY_QUEUE, drop_reply_queue, "no room to queue a reply")                              \
    X(DROP_TCP_HEADER, drop_tcp_header, "TCP header length or port is wrong")                      \
    X(DROP_CHECKSUM, drop_checksum, "TCP or ICMP checksum is wrong")                               \
    X(DROP_TCP_OPTIONS, drop_tcp_options, "a TCP option reaches past the header")                  \
    X(DROP_FLAGS, drop_flags, "a combination of TCP flags that means nothing here")                \
    X(DROP_NO_LISTENER, drop_no_listener, "no connection and no listener; answered with RST")      \
    X(DROP_NO_ROUTE, drop_no_route, "no route back to the sender of a SYN")                        \
    X(DROP_COOKIE_AHEAD, drop_cookie_ahead, "ahead of the answer to a SYN cookie, which was lost") \
    X(DROP_BACKLOG, drop_backlog, "the listener's backlog is full")                                \
    X(DROP_NO_CONN, drop_no_conn, "no free connection block")                                      \
    X(DROP_OUT_OF_WINDOW, drop_out_of_window, "no octet inside the receive window")                \
    X(DROP_PAWS, drop_paws, "timestamp older than the last one, RFC 7323 section 5")               \
    X(DROP_RST, drop_rst, "reset outside the window, or not exact and challenged")                 \
    X(DROP_SYN, drop_syn, "SYN in a synchronized state; challenged")                               \
    X(DROP_NO_ACK, drop_no_ack, "segment without ACK in a synchronized state")                     \
    X(DROP_ACK, drop_ack, "acknowledges octets never sent, or too old ones")                       \
    X(DROP_NO_CHUNK, drop_no_chunk, "no buffer chunk for its payload")                             \
    X(DROP_AFTER_CLOSE, drop_after_close, "payload after this side gave up; answered with RST")

#define QS_COUNTER_ENUM(name, id, text) QS_COUNT_##name,
enum qs_counter { QS_COUNTER_LIST(QS_COUNTER_ENUM) QS_N_COUNTERS };
#undef QS_COUNTER_ENUM

/** Copies the first `n` counters to `out`; safe from another thread, each value by itself.
 *  @return counters written. */
QS_API size_t qs_engine_counters(const qs_engine *e, uint64_t *out, size_t n);

/** Name of counter `idx` as in JSON and metrics, or NULL past the end; static storage. */
QS_API const char *qs_counter_name(size_t idx);

/** One line about counter `idx`, or NULL past the end; static storage. */
QS_API const char *qs_counter_text(size_t idx);

#ifdef __cplusplus
}
#endif
#endif
