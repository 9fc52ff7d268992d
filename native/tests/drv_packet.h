/* SPDX-License-Identifier: Apache-2.0 */
/* Just enough of ARP, ND, IP, TCP and UDP to prove a driver without an engine. */
#ifndef DRV_PACKET_H
#define DRV_PACKET_H

#include "qstack/qs_frame.h"

/* What is answered for. */
struct drv_self {
    uint8_t mac[6];
    uint8_t addr4[4], addr6[16]; /* all zero: none */
};

/* Where TCP or UDP lies in a frame. */
struct drv_l4 {
    uint32_t offset;     /* of its header; 0: the frame is neither, or a fragment */
    uint32_t bytes;      /* header and payload, by the IP header */
    uint32_t sum_offset; /* of the checksum field, from its header */
    uint32_t pseudo;     /* sum of the pseudo header */
    bool no_checksum;    /* UDP over IPv4 without one */
};
void drv_find_l4(const uint8_t *frame, uint32_t len, struct drv_l4 *out);

/* True when the checksum that stands in the frame is right. */
bool drv_checksum_ok(const uint8_t *frame, const struct drv_l4 *l4);

/* Writes the checksum; with `partial` only the pseudo header's, and describes the rest in `f`. */
void drv_put_checksum(struct qs_frame *f, const struct drv_l4 *l4, bool partial);

/* Answers an ARP request or a neighbour solicitation for `self` into `out`; false when it is none.
 */
bool drv_answer_neighbour(const struct drv_self *self, const struct qs_frame *in,
                          struct qs_frame *out);

/* Swaps Ethernet and IP addresses and ports. */
void drv_turn_round(uint8_t *frame, const struct drv_l4 *l4);

#endif
