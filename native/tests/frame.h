/* SPDX-License-Identifier: Apache-2.0 */
/* Frames for the C tests, written and parsed without a line of native/core, so that the engine's
 * wire code is proven against other code. */
#ifndef QS_TEST_FRAME_H
#define QS_TEST_FRAME_H

#include "qstack/qs_base.h"

#define FRAME_ETH 14u
#define FRAME_ROOM_BYTES 66000u

struct frame {
    uint32_t len;
    uint8_t b[FRAME_ROOM_BYTES];
};

/* What a TCP segment says. */
struct wire_tcp {
    qs_addr src, dst;
    uint16_t src_port, dst_port;
    uint32_t seq, ack, len; /* as on the wire, not relative */
    uint16_t wnd;
    char flags[8];       /* of "FSRPU." in this order, and E, W */
    char opts[160];      /* as frame_options() takes them */
    const uint8_t *data; /* payload */
};

/* Big-endian access. */
uint32_t be(const uint8_t *p, int bytes);
void put(uint8_t *p, int bytes, uint32_t v);

/* Ones' complement sum of RFC 1071, one 16-bit word after the other. */
uint32_t naive_sum(const uint8_t *p, size_t len, uint32_t sum);
/* Its complement, folded. */
uint16_t naive_checksum(uint32_t sum);

/* Sequence numbers in the text of SACK blocks count from here, the ISN of rig.h. */
#define FRAME_SACK_BASE 0xfffffff0u

/* Options as text, one after the other: "mss 1000", "ws 7", "ts 5:0", "sok", "sack 11-21,31-41",
 * "nop", "eol", "hex 0203ff". Written to `to` (40 bytes), padded with zeros to a multiple of 4.
 * @return bytes. */
uint32_t frame_options(uint8_t *to, const char *text);

/* Starts a frame: Ethernet header, to 02:00:00:00:00:01 from ...:02 until changed. */
void frame_eth(struct frame *f, uint16_t ethertype);
/* Adds an IP header for `payload` octets of `protocol`; the caller writes them at the returned
 * place. */
uint8_t *frame_ip(struct frame *f, const qs_addr *src, const qs_addr *dst, uint8_t protocol,
                  uint32_t payload);
/* Makes a whole TCP segment; frame_fix() is called. */
void frame_tcp(struct frame *f, const struct wire_tcp *t);
/* First octet of the transport header. */
uint8_t *frame_l4(struct frame *f);
/* Makes IPv4 header checksum and the TCP or ICMP checksum right, whatever was changed before. */
void frame_fix(struct frame *f);
/* The same over the first `octets` of the transport part only. */
void frame_fix_to(struct frame *f, uint32_t octets);

/* Takes a TCP frame apart; ends the program with a message when anything in it is wrong: lengths,
 * both checksums, reserved bits, the form of an option. */
void frame_parse_tcp(struct frame *f, struct wire_tcp *out);
bool frame_is_tcp(const struct frame *f);

/* Does `text` match `pattern`, where * stands for one number? */
bool text_matches(const char *text, const char *pattern);

#endif
