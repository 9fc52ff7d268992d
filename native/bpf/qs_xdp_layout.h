/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Keys and values of the XDP programs' maps. */
#ifndef QS_BPF_XDP_LAYOUT_H
#define QS_BPF_XDP_LAYOUT_H

#include <stdint.h>

#define QS_XDP_SOCKETS_MAX 1024u
#define QS_XDP_CLAIMS_MAX 131072u

/* A local address (all zero: any, IPv4 as ::ffff:a.b.c.d) and TCP port that QStack serves. */
struct qs_xdp_claim {
    uint8_t addr[16];
    uint8_t port[2]; /* network order */
    uint8_t zero[2];
};

/* Rows of the counter map. */
enum qs_xdp_count { QS_XDP_TO_SOCKET, QS_XDP_PASSED, QS_XDP_NO_SOCKET, QS_XDP_N_COUNTS };

#endif
