/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 *  One TCP engine: all connections of one RX/TX queue pair, driven by four calls.
 *
 *      qs_engine_rx()        frames that arrived at a time
 *      qs_engine_events()    what the application should look at (qs_conn.h)
 *      qs_engine_tx()        frames to send, and everything that is due at a time
 *      qs_engine_deadline()  when to call qs_engine_tx() again at the latest
 *
 *  An engine is a function of its state, the frames and the time: it makes no system call, reads no
 *  clock, starts no thread and allocates nothing after qs_engine_new(). It is single-threaded;
 * calls on different engines need no coordination.
 */
#ifndef QSTACK_QS_ENGINE_H
#define QSTACK_QS_ENGINE_H

#include "qs_base.h"
#include "qs_frame.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qs_engine qs_engine;

/** Octets of payload that one buffer chunk holds; buffers grow by whole chunks. */
#define QS_CHUNK_BYTES 2032u

/** The device completes L4 checksums (QS_FRAME_CSUM_PARTIAL). */
#define QS_OFFLOAD_TX_CSUM (1u << 0)
/** The device segments TCP (QS_FRAME_GSO); needs QS_OFFLOAD_TX_CSUM. */
#define QS_OFFLOAD_TSO (1u << 1)

/** Who resolves neighbours. */
enum qs_neigh_mode {
    QS_NEIGH_OWN,  /**< the engine answers and sends ARP and ND itself (tap, pair) */
    QS_NEIGH_TOLD, /**< the kernel does; the engine ignores ARP and ND, is told entries by
                        qs_engine_neigh_set() and reports those it misses (xsk) */
};

/** Settings copied by qs_engine_new(). Start from qs_engine_opts_init(). */
typedef struct qs_engine_opts {
    size_t size;           /**< sizeof(*this); set by qs_engine_opts_init() */
    uint32_t id;           /**< written into every handle, [0, 255]: tells engines apart */
    uint32_t conns_max;    /**< connections held at once, [1, 1<<24) */
    uint32_t chunks_max;   /**< buffer chunks shared by all connections, [16, 1<<24) */
    uint32_t rcvbuf_bytes; /**< most octets received and not yet consumed, per connection */
    uint32_t sndbuf_bytes; /**< most octets written and not yet acknowledged, per connection */
    /** Octets that a connection's buffers begin with. They double when they are what limits it, up
     *  to the two sizes above. At least 2,048 and an MSS; 0: they have their full size at once. */
    uint32_t rcvbuf_initial_bytes, sndbuf_initial_bytes;
    /** Octets by which all buffers of a class together may be above their initial sizes, for each
     *  class. Beyond it they do not grow, which is counted. All 0 at first. */
    uint64_t growth_bytes[QS_N_PRIO];
    uint32_t mtu;           /**< largest IP packet, bytes, [1280, 65535]; IPv4 only may go to 576 */
    uint32_t offloads;      /**< QS_OFFLOAD_* */
    uint32_t gso_max_bytes; /**< largest frame with QS_OFFLOAD_TSO, bytes, at most 65,549 */
    uint8_t mac[6];         /**< the engine's own Ethernet address */
    uint8_t secret[32];     /**< random: keys of the ISN (RFC 6528), of timestamps and of the hash
                                 tables; chosen instead, times and calls repeat a run exactly */
    enum qs_neigh_mode neigh_mode;
    bool trust_hash;     /**< use QS_FRAME_HASH for the table; only if the NIC's key is secret */
    qs_dur rto_initial;  /**< RFC 6298 rule 2.1 */
    qs_dur rto_min;      /**< RFC 6298 rule 2.4 says 1 s; 200 ms as other stacks do by default */
    qs_dur rto_max;      /**< RFC 6298 rule 2.5 */
    qs_dur delayed_ack;  /**< longest delay of an ACK, RFC 9293 section 3.8.6.3: under 500 ms */
    qs_dur time_wait;    /**< 2 MSL, RFC 9293 section 3.4.2 */
    qs_dur fin_wait_2;   /**< an orphan in FIN-WAIT-2 lives this long */
    qs_dur user_timeout; /**< unacknowledged data ends a connection, RFC 9293 section 3.8.3 */
    uint32_t syn_retries_max;    /**< SYN retransmissions before an active open gives up */
    uint32_t synack_retries_max; /**< SYN-ACK retransmissions before a half-open one is forgotten */
    /** Bits of an address, [1, 32] and [1, 128], that say which source it is of:
     *  qs_class_opts.source_bytes_per_second; 32 and 64. */
    uint8_t source_bits4, source_bits6;
    uint32_t challenges_per_second; /**< challenge ACKs (RFC 5961 section 7) of all connections, a
                                         random number from half to one and a half of this; not 0 */
} qs_engine_opts;

/** Fills in the defaults: 65,536 connections and chunks, buffers of 256 KiB that do not grow, MTU
 * 1500, no offloads, 5 and 3 retransmissions of SYN and SYN-ACK, 1,000 challenge ACKs a second.
 *  `mac` and `secret` stay zero: the caller sets both. */
QS_API void qs_engine_opts_init(qs_engine_opts *o);

/** Creates an engine at `*out`, owned by the caller until qs_engine_free(). `mem` is kept.
 *  @return 0, QS_ERR_ARG (an option is out of range) or QS_ERR_NOMEM; `*out` is NULL then. */
QS_API QS_MUST_CHECK qs_err qs_engine_new(qs_engine **out, const qs_engine_opts *o,
                                          const struct qs_mem *mem);

/** Frees the engine and every connection in it, sending nothing. NULL is allowed. */
QS_API void qs_engine_free(qs_engine *e);

/** Adds a local address with the length of its on-link prefix ([0, 32] or [0, 128] bits).
 *  @return 0, QS_ERR_ARG, or QS_ERR_NOMEM beyond 16 addresses. */
QS_API QS_MUST_CHECK qs_err qs_engine_addr_add(qs_engine *e, const qs_addr *addr,
                                               uint32_t prefix_len);

/** Sets the next hop for everything that is not on-link; one for each IP version.
 *  @return 0, or QS_ERR_ARG for the any address. */
QS_API QS_MUST_CHECK qs_err qs_engine_gateway_set(qs_engine *e, const qs_addr *gateway);

/** Takes frames of VLAN `vlan` (IEEE 802.1Q), [1, 4094], for the same addresses as those without a
 *  tag, and sends answers there, with the class as the tag's priority. Frames of other VLANs and
 *  with two tags are dropped (QS_COUNT_DROP_VLAN); a tag of VLAN 0 is none.
 *  @return 0; QS_ERR_ARG; QS_ERR_STATE with QS_NEIGH_TOLD: nobody tells who is there. */
QS_API QS_MUST_CHECK qs_err qs_engine_vlan_add(qs_engine *e, uint32_t vlan);

/** Feeds `n` frames that arrived at `now`, in order. All are borrowed for the call. A frame that is
 *  refused is counted (qs_stats.h), never an error. Watched by `qstack bench engine`. */
QS_API void qs_engine_rx(qs_engine *e, const struct qs_frame *frames, size_t n, qs_time now);

/** Does what is due at `now` and writes up to `n` frames into the caller's buffers; sets `len`,
 * `flags`, `prio` and the offload fields. Each buffer has room for the MTU and 18 bytes more, or
 * for gso_max_bytes. @return frames written; fewer than `n` means that nothing more is to be sent
 * now. */
QS_API size_t qs_engine_tx(qs_engine *e, struct qs_frame *frames, size_t n, qs_time now);

/** Earliest time at which qs_engine_tx() may have work; QS_NEVER when only a frame or a call of the
 *  application can make some, the past when frames wait. */
QS_API qs_time qs_engine_deadline(const qs_engine *e);

enum qs_neigh_news {
    QS_NEIGH_LEARNED, /**< `addr` is at `mac` */
    QS_NEIGH_WANTED,  /**< `addr` is needed: with QS_NEIGH_TOLD the surroundings are to find it */
    QS_NEIGH_OFFERED, /**< somebody answered that `addr` is at `mac`, and this engine had not asked:
                           for qs_engine_neigh_told() of those that may have */
};

/** A neighbour as engine and surroundings tell each other. */
struct qs_neigh {
    qs_addr addr;
    uint8_t mac[6]; /**< unless WANTED */
    uint16_t vlan;  /**< where it is, 0: where frames have no tag */
    uint8_t news;   /**< enum qs_neigh_news */
};

/** Enters or renews a neighbour learned elsewhere (kernel's table), on no VLAN.
 *  @return 0, or QS_ERR_ARG for the any address. */
QS_API QS_MUST_CHECK qs_err qs_engine_neigh_set(qs_engine *e, const qs_addr *addr,
                                                const uint8_t mac[6], qs_time now);

/** What another queue's engine told by qs_engine_neigh_next(). One that it learned is entered. An
 *  answer that it had not asked for is believed if this one asked, as if it had come here, and then
 *  reported as learned. */
QS_API void qs_engine_neigh_told(qs_engine *e, const struct qs_neigh *n, qs_time now);

/** Forgets a neighbour on no VLAN; unknown ones are ignored. */
QS_API void qs_engine_neigh_del(qs_engine *e, const qs_addr *addr);

/** Takes the next thing that other engines or the kernel should know about neighbours. Of answers
 *  that nobody asked for at most QS_OFFERS_MAX wait, the later ones are lost.
 *  @return false when there is none. */
#define QS_OFFERS_MAX 8u
QS_API bool qs_engine_neigh_next(qs_engine *e, struct qs_neigh *out);

/** An ICMP error about a TCP segment from a local address, RFC 792 and RFC 4443: from one engine to
 *  another. A NIC hashes the addresses of the router that tells it, so it arrives on any queue. */
struct qs_icmp_error {
    qs_addr local, remote; /**< ends of the quoted segment, which `local` sent */
    uint16_t local_port, remote_port;
    uint32_t seq;   /**< sequence number of the quoted segment */
    uint32_t mtu;   /**< packet too big: the next hop's MTU as reported */
    uint32_t bytes; /**< of the quoted packet by its own header; 0: it does not say */
    uint8_t kind;   /**< what it means, for the engines alone */
    int8_t err;     /**< likewise: QS_ERR_* of an open that it ends */
};

/** Takes the next error about a connection that this engine does not have. At most QS_STRAYS_MAX
 *  wait, the later ones are lost. @return false when there is none. */
#define QS_STRAYS_MAX 8u
QS_API bool qs_engine_icmp_next(qs_engine *e, struct qs_icmp_error *out);

/** An error that came to another queue's engine, which has examined it. It is believed if it is
 *  about octets that are outstanding here (RFC 5927 section 4.1); others change nothing and count
 *  nothing. */
QS_API void qs_engine_icmp_told(qs_engine *e, const struct qs_icmp_error *x, qs_time now);

#ifdef __cplusplus
}
#endif
#endif
