/* SPDX-License-Identifier: Apache-2.0 */
/* Slow start and congestion avoidance, RFC 5681 section 3.1, with appropriate byte counting, RFC
 * 3465. */
#include <string.h>

#include "cc.h"

struct newreno {
    uint32_t acked; /* octets acknowledged in congestion avoidance since cwnd grew last */
    uint32_t undo_cwnd, undo_ssthresh; /* before the last loss; undo_cwnd 0: none to undo */
};

_Static_assert(sizeof(struct newreno) <= QS_CC_PRIVATE_BYTES, "fits");

static struct newreno load(const struct qs_cc *cc)
{
    struct newreno n;
    memcpy(&n, cc->private_state, sizeof n);
    return n;
}

static void store(struct qs_cc *cc, const struct newreno *n)
{
    memcpy(cc->private_state, n, sizeof *n);
}

static void start(struct qs_cc *cc, uint32_t mss)
{
    cc->cwnd = qs_cc_initial_window(mss);
    cc->ssthresh = UINT32_MAX;
}

static void on_ack(struct qs_cc *cc, const struct qs_cc_ack *a)
{
    /* RFC 9293 section 3.8.2 with RFC 7661's reason: a window that was not used is not known to be
     * safe. */
    if (a->flight + a->acked < cc->cwnd / 2)
        return;
    struct newreno n = load(cc);
    if (cc->cwnd < cc->ssthresh) {
        uint32_t limit = 2 * a->mss; /* RFC 3465 section 2.2, L = 2 */
        cc->cwnd = qs_cc_add(cc->cwnd, a->acked < limit ? a->acked : limit);
        n.acked = 0;
    } else {
        n.acked += a->acked;
        if (n.acked >= cc->cwnd) { /* one segment for each window */
            n.acked -= cc->cwnd;
            cc->cwnd = qs_cc_add(cc->cwnd, a->mss);
        }
    }
    store(cc, &n);
}

/* RFC 5681 equation 4. */
static void on_loss(struct qs_cc *cc, uint32_t flight, uint32_t mss)
{
    struct newreno n = load(cc);
    n.undo_cwnd = cc->cwnd;
    n.undo_ssthresh = cc->ssthresh;
    store(cc, &n);
    cc->ssthresh = flight / 2 > 2 * mss ? flight / 2 : 2 * mss;
}

static void on_timeout(struct qs_cc *cc, uint32_t flight, uint32_t mss)
{
    on_loss(cc, flight, mss);
    cc->cwnd = mss;
}

static void on_undo(struct qs_cc *cc)
{
    struct newreno n = load(cc);
    if (n.undo_cwnd == 0)
        return;
    if (cc->cwnd < n.undo_cwnd)
        cc->cwnd = n.undo_cwnd;
    cc->ssthresh = n.undo_ssthresh;
    n.undo_cwnd = 0;
    store(cc, &n);
}

/* RFC 5681 section 4.1. */
static void on_idle(struct qs_cc *cc, uint32_t mss)
{
    uint32_t restart = qs_cc_initial_window(mss);
    if (cc->cwnd > restart)
        cc->cwnd = restart;
}

const struct qs_cc_ops qs_cc_newreno = {
    .name = "newreno",
    .start = start,
    .on_ack = on_ack,
    .on_loss = on_loss,
    .on_timeout = on_timeout,
    .on_undo = on_undo,
    .on_idle = on_idle,
};
