/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 *  One Ethernet frame on its way between a driver and an engine.
 */
#ifndef QSTACK_QS_FRAME_H
#define QSTACK_QS_FRAME_H

#include "qs_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Received: `hash` holds the NIC's RSS hash. */
#define QS_FRAME_HASH (1u << 0)
/** Received: the driver has proof that the L4 checksum is right, or that the frame never left this
 *  machine and carries a partial one. The engine verifies in software without this flag. */
#define QS_FRAME_CSUM_OK (1u << 1)
/** To send: the L4 checksum field holds the pseudo-header sum; the device completes it from
 *  `csum_start`, at `csum_start + csum_offset`. Only with QS_OFFLOAD_TX_CSUM. */
#define QS_FRAME_CSUM_PARTIAL (1u << 2)
/** To send: the device cuts the TCP payload into pieces of `gso_bytes`. Only with QS_OFFLOAD_TSO.
 */
#define QS_FRAME_GSO (1u << 3)

/** A frame. On receive `data` is borrowed by the engine for the call; to send, `data` and `room`
 * come from the driver and the engine fills in the rest. */
struct qs_frame {
    uint8_t *data;        /**< first byte of the Ethernet header */
    uint32_t len;         /**< bytes of the frame, without FCS */
    uint32_t room;        /**< to send: bytes that fit at `data` */
    uint32_t hash;        /**< received: RSS hash, if QS_FRAME_HASH */
    uint16_t flags;       /**< QS_FRAME_* */
    uint16_t gso_bytes;   /**< payload octets of each piece, if QS_FRAME_GSO */
    uint16_t csum_start;  /**< offset of the L4 header from `data`, if ..._CSUM_PARTIAL */
    uint16_t csum_offset; /**< offset of the checksum field from `csum_start` */
    uint8_t prio;         /**< class, 0 to 7 */
    uint64_t cookie;      /**< the driver's own; the engine leaves it alone */
};

#ifdef __cplusplus
}
#endif
#endif
