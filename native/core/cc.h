/* SPDX-License-Identifier: Apache-2.0 */
/* Congestion control as a table of functions over state inside the connection. All sizes are
 * octets. */
#ifndef QS_CORE_CC_H
#define QS_CORE_CC_H

#include "qstack/qs_base.h"
#include "seq.h"

#define QS_CC_PRIVATE_BYTES 48
/* No window of TCP is above 2^30 (RFC 7323 section 2.3). More has no use, and this leaves room to
 * add to it in 32 bits. */
#define QS_CC_CWND_MAX (1u << 31)
#define QS_CC_NO_RTT UINT32_MAX

/* What an algorithm owns in a connection. */
struct qs_cc {
    uint32_t cwnd;
    uint32_t ssthresh;                          /* UINT32_MAX: no loss was seen yet */
    uint8_t private_state[QS_CC_PRIVATE_BYTES]; /* all zero at the start */
};

/* An ACK of new octets. */
struct qs_cc_ack {
    uint32_t acked;   /* octets that it acknowledged */
    uint32_t flight;  /* octets that are outstanding after it */
    uint32_t mss;     /* octets of a full segment */
    uint32_t srtt_ns; /* 0: not measured yet */
    uint32_t rtt_ns;  /* measured with this ACK, or QS_CC_NO_RTT */
    qs_seq una, max;  /* SND.UNA after it, and the highest octet sent */
    bool marked;      /* it says that some of those were marked, RFC 3168 */
    bool full;        /* cwnd kept octets back while the acknowledged ones were out */
    qs_time now;
};

struct qs_cc_ops {
    const char *name;
    bool exact_ce; /* the receiver's ACKs say of each segment whether it was marked, RFC 8257 */
    /* The connection is established; `mss` octets a segment. */
    void (*start)(struct qs_cc *cc, uint32_t mss);
    /* New octets were acknowledged outside of loss recovery. */
    void (*on_ack)(struct qs_cc *cc, const struct qs_cc_ack *a);
    /* A loss was found; recovery begins with `flight` octets outstanding. Sets ssthresh. */
    void (*on_loss)(struct qs_cc *cc, uint32_t flight, uint32_t mss);
    /* Octets were marked, for the first time in this window of data. Sets ssthresh and cwnd. NULL:
     * as a loss, and an ACK of marked octets lets nothing grow. */
    void (*on_mark)(struct qs_cc *cc, uint32_t flight, uint32_t mss);
    /* The retransmission timer expired. Sets ssthresh and cwnd. */
    void (*on_timeout)(struct qs_cc *cc, uint32_t flight, uint32_t mss);
    /* The last on_loss() or on_timeout() was for nothing: as if it had not been. */
    void (*on_undo)(struct qs_cc *cc);
    /* Nothing was sent for a retransmission timeout, and now something will be. */
    void (*on_idle)(struct qs_cc *cc, uint32_t mss);
};

/* The algorithms by number; QS_CC_DEFAULT is that of a zeroed connection. */
#define QS_CC_DEFAULT 0
#define QS_CC_MASK 7u /* numbers have three bits */
extern const struct qs_cc_ops qs_cc_cubic, qs_cc_newreno, qs_cc_dctcp;

/* What NewReno keeps, and an algorithm that grows as it does keeps first. */
struct qs_reno {
    uint32_t acked; /* octets acknowledged in congestion avoidance since cwnd grew last */
    uint32_t undo_cwnd, undo_ssthresh; /* before the last loss; undo_cwnd 0: none to undo */
};

/* @return number of an algorithm, NULL is the default; -1 when there is none of that name. */
int qs_cc_find(const char *name);
const struct qs_cc_ops *qs_cc_ops(uint8_t number);

/* Octets, RFC 6928 section 2. */
uint32_t qs_cc_initial_window(uint32_t mss);

static inline uint32_t qs_cc_add(uint32_t cwnd, uint32_t octets)
{
    uint64_t sum = (uint64_t)cwnd + octets;
    return sum < QS_CC_CWND_MAX ? (uint32_t)sum : QS_CC_CWND_MAX;
}

#endif
