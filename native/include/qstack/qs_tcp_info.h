/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 *  A connection in the layout of Linux's `struct tcp_info` (linux/tcp.h of 6.2, all of it), for
 * tools that read that. Filled by qs_conn_tcp_info(). What this stack does not keep is 0, and
 * marked so; segments are counted from octets and the segment size, rounded up.
 */
#ifndef QSTACK_QS_TCP_INFO_H
#define QSTACK_QS_TCP_INFO_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** tcpi_options */
#define QS_TCPI_OPT_TIMESTAMPS 1u
#define QS_TCPI_OPT_SACK 2u
#define QS_TCPI_OPT_WSCALE 4u

/** tcpi_ca_state */
enum qs_tcpi_ca { QS_TCPI_OPEN, QS_TCPI_DISORDER, QS_TCPI_CWR, QS_TCPI_RECOVERY, QS_TCPI_LOSS };

/** tcpi_snd_ssthresh before the first loss. */
#define QS_TCPI_SSTHRESH_NONE 0x7fffffffu

struct qs_tcp_info {
    uint8_t tcpi_state;       /**< ESTABLISHED 1, SYN-SENT 2, SYN-RECEIVED 3, FIN-WAIT-1 4,
                                   FIN-WAIT-2 5, TIME-WAIT 6, CLOSED 7, CLOSE-WAIT 8, LAST-ACK 9,
                                   LISTEN 10, CLOSING 11 */
    uint8_t tcpi_ca_state;    /**< enum qs_tcpi_ca; CWR is never used */
    uint8_t tcpi_retransmits; /**< expiries of the retransmission timer since the last progress */
    uint8_t tcpi_probes;      /**< unanswered window or keep-alive probes */
    uint8_t tcpi_backoff;     /**< times the RTO is doubled */
    uint8_t tcpi_options;     /**< QS_TCPI_OPT_*, as agreed */
    uint8_t tcpi_snd_wscale : 4, tcpi_rcv_wscale : 4;
    uint8_t tcpi_delivery_rate_app_limited : 1, tcpi_fastopen_client_fail : 2; /**< 0 */

    uint32_t tcpi_rto;     /**< microseconds, backed off */
    uint32_t tcpi_ato;     /**< microseconds: qs_engine_opts.delayed_ack */
    uint32_t tcpi_snd_mss; /**< octets of a full segment to the peer, options taken off */
    uint32_t tcpi_rcv_mss; /**< octets of the largest segment that the peer may send, likewise */

    uint32_t tcpi_unacked; /**< segments that are out */
    uint32_t tcpi_sacked;  /**< 0 */
    uint32_t tcpi_lost;    /**< 0 */
    uint32_t tcpi_retrans; /**< 0 */
    uint32_t tcpi_fackets; /**< 0, as in Linux */

    uint32_t tcpi_last_data_sent; /**< milliseconds ago, SYN and FIN are data too; wraps after 78
                                     hours */
    uint32_t tcpi_last_ack_sent;  /**< 0, as in Linux */
    uint32_t tcpi_last_data_recv; /**< 0 */
    uint32_t tcpi_last_ack_recv;  /**< 0 */

    uint32_t tcpi_pmtu;         /**< the engine's MTU, octets */
    uint32_t tcpi_rcv_ssthresh; /**< largest window that is advertised, octets */
    uint32_t tcpi_rtt;          /**< SRTT, microseconds */
    uint32_t tcpi_rttvar;       /**< RTTVAR, microseconds */
    uint32_t tcpi_snd_ssthresh; /**< segments, or QS_TCPI_SSTHRESH_NONE */
    uint32_t tcpi_snd_cwnd;     /**< segments; 0 before ESTABLISHED */
    uint32_t tcpi_advmss;       /**< octets, of our MSS option */
    uint32_t tcpi_reordering;   /**< duplicate ACKs that mean a loss */

    uint32_t tcpi_rcv_rtt;   /**< 0 */
    uint32_t tcpi_rcv_space; /**< receive buffer, octets */

    uint32_t tcpi_total_retrans; /**< segments sent again */

    uint64_t tcpi_pacing_rate;     /**< octets per second at which it is paced, or would be; all
                                        bits set: no round trip was measured */
    uint64_t tcpi_max_pacing_rate; /**< qs_conn_opts.pacing_rate_max; all bits set: no ceiling */
    uint64_t tcpi_bytes_acked;     /**< 0 */
    uint64_t tcpi_bytes_received;  /**< 0 */
    uint32_t tcpi_segs_out;        /**< 0 */
    uint32_t tcpi_segs_in;         /**< 0 */

    uint32_t tcpi_notsent_bytes; /**< written and not sent yet */
    uint32_t tcpi_min_rtt;       /**< 0 */
    uint32_t tcpi_data_segs_in;  /**< 0 */
    uint32_t tcpi_data_segs_out; /**< 0 */

    uint64_t tcpi_delivery_rate; /**< 0 */

    uint64_t tcpi_busy_time;      /**< 0 */
    uint64_t tcpi_rwnd_limited;   /**< 0 */
    uint64_t tcpi_sndbuf_limited; /**< 0 */

    uint32_t tcpi_delivered;    /**< 0 */
    uint32_t tcpi_delivered_ce; /**< 0 */

    uint64_t tcpi_bytes_sent;    /**< 0 */
    uint64_t tcpi_bytes_retrans; /**< 0 */
    uint32_t tcpi_dsack_dups;    /**< 0 */
    uint32_t tcpi_reord_seen;    /**< 0 */

    uint32_t tcpi_rcv_ooopack; /**< 0 */

    uint32_t tcpi_snd_wnd; /**< window of the peer, octets, scaled */
    uint32_t tcpi_rcv_wnd; /**< window that was advertised to the peer and is left, octets */

    uint32_t tcpi_rehash; /**< 0 */
};

#ifdef __cplusplus
}
#endif
#endif
