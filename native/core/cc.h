/* SPDX-License-Identifier: Apache-2.0 */
/* Congestion control as a table of functions over state inside the connection. All sizes are
 * octets. */
#ifndef QS_CORE_CC_H
#define QS_CORE_CC_H

#include "qstack/qs_base.h"

#define QS_CC_PRIVATE_BYTES 16

/* What an algorithm owns in a connection. */
struct qs_cc {
    uint32_t cwnd;
    uint32_t ssthresh;
    uint8_t private_state[QS_CC_PRIVATE_BYTES]; /* all zero at the start */
};

struct qs_cc_ops {
    const char *name;
    /* The connection is established; `mss` octets a segment. */
    void (*start)(struct qs_cc *cc, uint32_t mss);
    /* `acked` new octets were acknowledged outside of loss recovery; `flight` octets are
     * outstanding. */
    void (*on_ack)(struct qs_cc *cc, uint32_t acked, uint32_t flight, uint32_t mss, qs_time now);
    /* A loss was found; recovery begins with `flight` octets outstanding. Sets ssthresh. */
    void (*on_loss)(struct qs_cc *cc, uint32_t flight, uint32_t mss, qs_time now);
    /* The retransmission timer expired. Sets ssthresh and cwnd. */
    void (*on_timeout)(struct qs_cc *cc, uint32_t flight, uint32_t mss, qs_time now);
};

extern const struct qs_cc_ops qs_cc_newreno;

#endif
