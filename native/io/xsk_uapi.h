/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of the AF_XDP interface that are newer than the headers of some systems we build on. Values
 * and layouts are the kernel's. */
#ifndef QS_IO_XSK_UAPI_H
#define QS_IO_XSK_UAPI_H

#include <stdint.h>

#define XSK_USE_SG (1u << 4)                /* bind: frames in several descriptors, 6.6 */
#define XSK_PKT_CONTD (1u << 0)             /* descriptor: the next one continues this frame */
#define XSK_TX_METADATA (1u << 1)           /* descriptor: metadata lies before it, 6.8 */
#define XSK_UMEM_TX_METADATA_LEN (1u << 2)  /* registration, 6.11 */
#define XSK_TXMD_FLAGS_CHECKSUM (1ull << 1) /* metadata: complete the checksum */

/* XDP_UMEM_REG */
struct xsk_umem_reg {
    uint64_t addr, len;
    uint32_t chunk_size, headroom, flags, tx_metadata_len;
};

/* Before the first byte of a frame to send. */
struct xsk_tx_meta {
    uint64_t flags;
    uint16_t csum_start, csum_offset;
    uint32_t reserved;
    uint64_t launch_time;
};

#endif
