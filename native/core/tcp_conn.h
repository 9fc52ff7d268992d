/* SPDX-License-Identifier: Apache-2.0 */
/* One connection: seven cache lines. Line 0 finds it and takes an in-order segment, line 1 sends,
 * line 2 holds buffers and lists, line 3 what is touched once in a while, line 4 congestion
 * control, line 5 what came with holes and options, line 6 what was sent. Names are those of
 * RFC 9293 section 3.3.1. */
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
#define QS_CF_UNTAKEN (1u << 7)     /* established, counts against its listener's backlog */
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
#define QS_CF_HALF_OPEN (1u << 26)   /* counts among the half-open ones of its listener */

#define QS_CF_ECN (1u << 21)         /* ECN is asked for or agreed on, RFC 3168 section 6.1.1 */
#define QS_CF_ECN_ECHO (1u << 22)    /* our ACKs have ECE */
#define QS_CF_ECN_CWR (1u << 23)     /* the next new octets are to say that cwnd was reduced */
#define QS_CF_ECN_REDUCED (1u << 24) /* it was, for octets up to cwr_end */

#define QS_CF_UNREACH (1u << 25) /* ICMP says that octets which are out do not get there */

#define QS_CF_NAGLE (1u << 27)      /* RFC 9293 section 3.7.4 */
#define QS_CF_KEEPALIVE (1u << 28)  /* RFC 9293 section 3.8.4 */
#define QS_CF_KEEP_PROBE (1u << 29) /* send a keep-alive probe */
#define QS_CF_PACED (1u << 30)      /* pacing held octets back, and some still wait to be sent */
#define QS_CF_FRAMED (1u << 31)     /* it has messages: message.h */

/* Which list qs_block.ready is on. */
enum qs_ready { QS_READY_NOT, QS_READY_CLASS, QS_READY_NEIGH };

/* What is out, and what became of it: RFC 6675, RFC 8985, RFC 9937. Times are low bits in units of
 * 2^10 ns. */
struct qs_loss {
    uint32_t head, tail; /* records in sequence order, tcp_sent.h; QS_NO_IDX: nothing is out */
    uint16_t n;          /* records */
    uint8_t reo_wnd_mult, reo_wnd_persist; /* RFC 8985 section 6.2 step 4 */
    uint32_t pipe;                         /* octets in the network, as far as is known */
    uint32_t lost;                         /* octets that are lost and were not sent again */
    uint32_t sacked;    /* octets that arrived right of a hole; without SACK an estimate */
    uint32_t rack_xmit; /* RACK.xmit_ts: the latest transmission that is known to have arrived */
    qs_seq rack_end;    /* RACK.end_seq, its right end */
    uint32_t rack_rtt;  /* RACK.rtt */
    uint32_t min_rtt;   /* RACK.min_RTT; 0: none yet */
    qs_seq fack;        /* RACK.fack: rightmost octet that arrived */
    qs_seq dsack_round; /* RACK.dsack_round */
    uint32_t prr_delivered, prr_out; /* RFC 9937 section 6 */
    union {
        uint32_t recover_fs; /* RecoverFS, in fast recovery */
        qs_seq tlp_end;      /* TLP.end_seq, with QS_LF_PROBE_OUT */
    };
};

/* Options of a connection as a listener keeps them: qs_conn_opts, checked. */
struct qs_tcp_conf {
    uint16_t keep_idle, keep_interval; /* qs_tcp_wait() */
    uint16_t user_timeout;             /* qs_tcp_wait(); 0: the engine's */
    uint16_t pace_max;                 /* QS_PACE_OFF, or as qs_pace_ceiling() */
    uint16_t mss_limit;                /* as qs_block's */
    uint8_t keep_count;
    uint8_t cc_algo;        /* number of the congestion control, cc.h */
    uint8_t rcvbuf, sndbuf; /* numbers of sizes, or QS_BUF_GROWS */
    bool keepalive, nagle;
};

/* Place in a doubly linked list of blocks. */
struct qs_link {
    uint32_t next, prev;
};

/* What is known of the path MTU, in octets of payload as qs_block.mss: tcp_pmtu.c. */
struct qs_pmtu {
    qs_seq test_seq;    /* first octet of the segment whose ACK proves its size */
    qs_seq claimed_seq; /* what the report was about */
    uint16_t test_len;  /* octets of that segment, more than mss in a probe; 0: none is out */
    uint16_t claimed;   /* a report that is believed when the timer expires; 0: none */
    uint16_t mss_max;   /* what interface and peer allow */
    uint16_t next;      /* size to try next; 0: none until `since` is long ago */
    uint16_t bad;       /* smallest size that is known not to get through */
    uint16_t since;     /* when mss was lowered or the search ended, low bits of qs_ts_age() */
};

struct qs_block {
    /* line 0 */
    qs_addr remote;
    uint16_t remote_port, local_port;
    uint8_t local_idx; /* engine's address */
    uint8_t state;     /* enum qs_tcp_state, written by qs_tcp_set_state() only */
    uint8_t prio : 3;
    uint8_t rcvbuf : 5;   /* number of the receive buffer's size, qs_rcvbuf() */
    uint8_t in_ready : 2; /* enum qs_ready */
    uint8_t sndbuf : 5;   /* number of the send buffer's size */
    bool capped : 1;      /* served as the least urgent class: source.c */
    uint32_t hash;        /* in the table */
    uint32_t gen;         /* odd while the block is in use */
    uint32_t flags;
    qs_seq rcv_nxt;
    qs_seq rcv_adv;       /* right edge of the window advertised to the peer */
    qs_seq last_ack_sent; /* RFC 7323 section 4.3 */
    union {
        uint32_t ts_recent; /* RFC 7323 section 4.3 */
        qs_seq sent_again;  /* without timestamps, with QS_LF_ONE_AGAIN: where that one begins */
    };
    uint32_t ts_recent_age; /* when ts_recent was taken, qs_ts_age() */
    uint8_t snd_wscale : 4, rcv_wscale : 4;
    uint8_t dup_acks;   /* owed besides the one of QS_CF_ACK_NOW: tcp_text.c */
    uint8_t dupacks;    /* received */
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
    uint16_t mss_limit;     /* most octets of an MSS, announced and used; 0: none */
    uint8_t listener;       /* with QS_CF_PASSIVE */
    uint8_t cc_algo : 3;    /* number of the congestion control, cc.h */
    uint8_t quick_acks : 5; /* full segments that are still acknowledged at once: tcp_text.c */
    union {
        uint16_t half_open_cells; /* with QS_CF_HALF_OPEN: where its prefix is counted */
        qs_seq rcv_fin;           /* with QS_CF_FIN_ARRIVED */
    };
    qs_tick challenged; /* last answer to a segment that was not acceptable */
    qs_tick keep_from;  /* start of the wait for the next keep-alive probe, or for the end */
    uint32_t retransmits;
    struct qs_pmtu pmtu;

    /* line 4 */
    _Alignas(64) struct qs_cc cc;
    qs_tick sent;   /* when octets were sent last */
    qs_seq cc_edge; /* with QS_CF_CWND_FULL: right end of what was sent then */

    /* line 5: received with holes, RFC 2018 section 4 and RFC 2883; options */
    struct qs_range sacks[QS_SACKS_KEPT]; /* blocks ahead of rcv_nxt, the latest first */
    struct qs_range dsack;                /* with QS_CF_DSACK: octets that came twice */
    uint8_t n_sacks;
    uint8_t keep_count, keep_sent; /* most unanswered probes; those that are out */
    bool pmtu_wait : 1;            /* pmtu.test_len or pmtu.claimed waits for an ACK or a timeout */
    bool pmtu_low : 1;             /* mss is below pmtu.mss_max */
    bool pmtu_proven : 1;          /* a segment of mss octets was acknowledged */
    bool pmtu_again : 1; /* a probe is lost: pmtu.test_* is what of it is to be sent again */
    bool rcvbuf_fixed : 1, sndbuf_fixed : 1; /* the size was asked for: it does not grow */
    uint16_t keep_idle, keep_interval, user_timeout, pace_max; /* qs_tcp_conf */
    uint32_t pace_from;  /* since when credit to send has been gathering: tcp_pace.c */
    uint32_t loss_flags; /* QS_LF_* */
    qs_tick t_loss;      /* deadline of RACK, with QS_LF_PTO of the probe; without SACK of a hole */
    qs_seq cwr_end;      /* with QS_CF_ECN_REDUCED */
    uint32_t undo_ts; /* with QS_LF_UNDO: our timestamp in the first retransmission; 0: none yet */

    /* line 6 */
    _Alignas(64) struct qs_loss loss;
    uint32_t half_read; /* when reading passed a half of the receive buffer last, as rtt_start */
};

/* qs_block.loss_flags. QS_CF_RECOVERY is set in fast recovery, and with SACK after a timeout. */
#define QS_LF_TIMEOUT (1u << 0)     /* the recovery began with a timeout */
#define QS_LF_UNDO (1u << 1)        /* it may turn out to be for nothing */
#define QS_LF_REORDERED (1u << 2)   /* RACK.reordering_seen; a recovery was for nothing */
#define QS_LF_DSACK_ROUND (1u << 3) /* dsack_round is set */
#define QS_LF_PTO (1u << 4)         /* t_loss: loss probe timeout */
#define QS_LF_PROBE_DUE (1u << 5)   /* a loss probe is to be sent */
#define QS_LF_PROBE_OUT (1u << 6)   /* tlp_end is set: one is out */
#define QS_LF_PROBE_AGAIN (1u << 7) /* TLP.is_retrans: of octets that were out already */
#define QS_LF_ONE_AGAIN (1u << 8)   /* sent_again is set: since a loss one segment was */

/* qs_block.pace_max */
#define QS_PACE_OFF 0
#define QS_PACE_NO_CEILING UINT16_MAX

/* Time in units of 2^30 ns: about seconds, in 32 bits for 146 years. */
static inline uint32_t qs_ts_age(qs_time t)
{
    return (uint32_t)(t.ns >> 30);
}

_Static_assert(sizeof(struct qs_block) == 448, "budget of an idle connection");
_Static_assert(offsetof(struct qs_block, snd_una) == 64, "line 1");
_Static_assert(offsetof(struct qs_block, rx) == 128, "line 2");
_Static_assert(offsetof(struct qs_block, timer) == 192, "line 3");
_Static_assert(offsetof(struct qs_block, cc) == 256, "line 4");
_Static_assert(offsetof(struct qs_block, sacks) == 320, "line 5");
_Static_assert(offsetof(struct qs_block, loss) == 384, "line 6");

#endif
