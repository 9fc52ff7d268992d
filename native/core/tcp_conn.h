/* SPDX-License-Identifier: Apache-2.0 */
/* One connection: six cache lines. Line 0 finds it and takes an in-order segment, line 1 sends,
 * line 2 holds buffers and lists, line 3 what is touched once in a while, line 4 congestion
 * control, line 5 what came with holes. Names are those of RFC 9293 section 3.3.1. */
#ifndef QS_CORE_TCP_CONN_H
#define QS_CORE_TCP_CONN_H

#include "cc.h"
#include "chunk.h"
#include "qstack/qs_conn.h"
#include "seq.h"
#include "tcp_wire.h"
#include "timer_wheel.h"

/* conn.flags */
#define QS_CF_ACK_NOW (1u << 0)     /* an ACK must leave with the next qs_engine_tx() */
#define QS_CF_ACK_DELAYED (1u << 1) /* an ACK is owed, t_ack runs */
#define QS_CF_FIN_QUEUED (1u << 2)  /* the application has written its last octet */
#define QS_CF_FIN_SENT (1u << 3)    /* FIN was sent at least once: it is the octet before snd_max */
#define QS_CF_FIN_ARRIVED (1u << 4) /* FIN seen at rcv_fin, maybe ahead of a hole */
#define QS_CF_TS (1u << 5)          /* timestamps are on, RFC 7323 section 3.2 */
#define QS_CF_PASSIVE (1u << 6)     /* came from a listener */
#define QS_CF_UNTAKEN (1u << 7)     /* counts against its listener's backlog */
#define QS_CF_ORPHAN (1u << 8)      /* the application gave the handle up */
#define QS_CF_RECOVERY (1u << 9)    /* fast recovery, RFC 6582 */
#define QS_CF_REXMIT_ONE (1u << 10) /* send the segment at snd_una again */
#define QS_CF_PROBE (1u << 11)      /* send a window probe, RFC 9293 section 3.8.6.1 */
#define QS_CF_PERSIST (1u << 12)    /* t_rexmt is the persist timer */
#define QS_CF_RTT_TIMED (1u << 13)  /* rtt_seq and rtt_start time a segment */
#define QS_CF_WANT_WRITE (1u << 14) /* a write was cut short */
#define QS_CF_IN_TABLE (1u << 15)   /* the table finds it */
#define QS_CF_WSCALE (1u << 16)     /* window scaling is on, RFC 7323 section 2.2 */
#define QS_CF_SYN_EXPIRED (1u << 17) /* the timer expired for our SYN, RFC 6298 rule 5.7 */
#define QS_CF_SACK (1u << 18)        /* selective acknowledgements are on, RFC 2018 section 2 */
#define QS_CF_DSACK (1u << 19)       /* the next ACK tells of `dsack`, RFC 2883 */
#define QS_CF_CWND_FULL (1u << 20)   /* cwnd kept octets back while those up to cc_edge are out */

/* Which list qs_block.ready is on. */
enum qs_ready { QS_READY_NOT, QS_READY_CLASS, QS_READY_NEIGH };

/* Place in a doubly linked list of blocks. */
struct qs_link {
    uint32_t next, prev;
};

struct qs_block {
    /* line 0 */
    qs_addr remote;
    uint16_t remote_port, local_port;
    uint8_t local_idx; /* engine's address */
    uint8_t state;     /* enum qs_tcp_state, written by qs_tcp_set_state() only */
    uint8_t prio;
    uint8_t in_ready; /* enum qs_ready */
    uint32_t hash;    /* in the table */
    uint32_t gen;     /* odd while the block is in use */
    uint32_t flags;
    qs_seq rcv_nxt;
    qs_seq rcv_adv;         /* right edge of the window advertised to the peer */
    qs_seq last_ack_sent;   /* RFC 7323 section 4.3 */
    uint32_t ts_recent;     /* RFC 7323 section 4.3 */
    uint32_t ts_recent_age; /* when ts_recent was taken, qs_ts_age() */
    uint8_t snd_wscale, rcv_wscale;
    uint8_t dupacks;
    uint8_t backoff;    /* times the RTO was doubled, or probes sent */
    uint32_t ts_offset; /* of our timestamps: hides the clock, RFC 7323 section 7.1 */

    /* line 1 */
    qs_seq snd_una, snd_nxt;
    qs_seq snd_max; /* highest sent; right of snd_nxt after a timeout */
    qs_seq snd_wl1, snd_wl2;
    uint32_t snd_wnd; /* octets, scaled */
    uint32_t snd_wnd_max;
    uint16_t mss;   /* octets of payload in a full segment to the peer, options taken off */
    uint16_t neigh; /* entry of the next hop */
    qs_tick t_rexmt, t_ack, t_misc; /* deadlines, 0 is off; t_misc: qs_tcp_timer() */
    struct qs_bytes_pos cursor;     /* place of snd_nxt in `tx` */
    uint32_t srtt_ns, rttvar_ns;    /* RFC 6298; saturate at 4.29 s */
    qs_tick stalled;                /* since when data is out without an answer; 0: none is */

    /* line 2 */
    struct qs_bytes rx, tx;      /* received in order; written and not acknowledged */
    uint32_t ooo_head, ooo_tail; /* chunks ahead of a hole, by seq */
    uint16_t n_ooo;
    uint8_t ev_flags; /* QS_EVENT_* not yet taken */
    int8_t err;       /* for QS_EVENT_CLOSED */
    struct qs_link ready, events;
    qs_seq recover;     /* RFC 6582 */
    qs_seq rtt_seq;     /* acknowledging it ends the measurement */
    uint32_t rtt_start; /* low bits of the time in units of 2^10 ns */

    /* line 3 */
    struct qs_timer timer;
    uint64_t user;
    uint16_t listener;  /* with QS_CF_PASSIVE */
    uint8_t cc_algo;    /* number of the congestion control, cc.h */
    qs_seq rcv_fin;     /* with QS_CF_FIN_ARRIVED */
    qs_tick challenged; /* last answer to a segment that was not acceptable */
    uint32_t retransmits;

    /* line 4 */
    _Alignas(64) struct qs_cc cc;
    qs_tick sent;   /* when octets were sent last */
    qs_seq cc_edge; /* with QS_CF_CWND_FULL: right end of what was sent then */

    /* line 5: received with holes, RFC 2018 section 4 and RFC 2883 */
    struct qs_range sacks[QS_SACKS_MAX]; /* blocks ahead of rcv_nxt, the latest first */
    struct qs_range dsack;               /* with QS_CF_DSACK: octets that came twice */
    uint8_t n_sacks;
};

/* Time in units of 2^30 ns: about seconds, in 32 bits for 146 years. */
static inline uint32_t qs_ts_age(qs_time t)
{
    return (uint32_t)(t.ns >> 30);
}

_Static_assert(sizeof(struct qs_block) == 384, "budget of an idle connection");
_Static_assert(offsetof(struct qs_block, snd_una) == 64, "line 1");
_Static_assert(offsetof(struct qs_block, rx) == 128, "line 2");
_Static_assert(offsetof(struct qs_block, timer) == 192, "line 3");
_Static_assert(offsetof(struct qs_block, cc) == 256, "line 4");
_Static_assert(offsetof(struct qs_block, sacks) == 320, "line 5");

#endif
