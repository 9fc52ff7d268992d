/* SPDX-License-Identifier: Apache-2.0 */
/* Slow start and congestion avoidance, RFC 5681 section 3.1, with appropriate byte counting, RFC
 * 3465. */
#include <string.h>

#include "cc.h"

/* Octets acknowledged in congestion avoidance since cwnd grew last. */
struct newreno {
    uint32_t acked;
};

_Static_assert(sizeof(struct newreno) <= QS_CC_PRIVATE_BYTES, "fits");

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* RFC 6928 section 2. */
static void start(struct qs_cc *cc, uint32_t mss)
{
    uint32_t limit = max_u32(2 * mss, 14600);
    cc->cwnd = 10 * mss < limit ? 10 * mss : limit;
    cc->ssthresh = UINT32_MAX;
}

static void on_ack(struct qs_cc *cc, uint32_t acked, uint32_t flight, uint32_t mss, qs_time now)
{
    (void)now;
    /* RFC 9293 section 3.8.2 with RFC 7661's reason: a window that was not used is not known to be
     * safe. */
    if (flight + acked < cc->cwnd / 2)
        return;
    struct newreno n;
    memcpy(&n, cc->private_state, sizeof n);
    if (cc->cwnd < cc->ssthresh) {
        uint32_t grow = acked < 2 * mss ? acked : 2 * mss; /* RFC 3465 section 2.2, L = 2 */
        cc->cwnd += grow;
        n.acked = 0;
    } else {
        n.acked += acked;
        if (n.acked >= cc->cwnd) { /* one segment for each window */
            n.acked -= cc->cwnd;
            cc->cwnd += mss;
        }
    }
    memcpy(cc->private_state, &n, sizeof n);
}

/* RFC 5681 equation 4. */
static void on_loss(struct qs_cc *cc, uint32_t flight, uint32_t mss, qs_time now)
{
    (void)now;
    cc->ssthresh = max_u32(flight / 2, 2 * mss);
}

static void on_timeout(struct qs_cc *cc, uint32_t flight, uint32_t mss, qs_time now)
{
    on_loss(cc, flight, mss, now);
    cc->cwnd = mss;
}

const struct qs_cc_ops qs_cc_newreno = {
    .name = "newreno",
    .start = start,
    .on_ack = on_ack,
    .on_loss = on_loss,
    .on_timeout = on_timeout,
};
