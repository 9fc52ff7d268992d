/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include <string.h>

#include "bytes.h"

bool wire_is_v4(const qs_addr *a)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(a->b, mapped, 12) == 0;
}

uint16_t wire_sum(const uint8_t *data, size_t len, uint16_t sum)
{
    uint64_t total = sum;
    for (size_t i = 0; i < len; i++)
        total += i % 2 ? data[i] : (uint64_t)data[i] << 8;
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return (uint16_t)total;
}

static uint16_t pseudo_sum(const struct wire_ends *ends, uint8_t proto, size_t l4_len)
{
    size_t skip = wire_is_v4(&ends->src) ? 12 : 0;
    uint16_t sum = wire_sum(ends->src.b + skip, 16 - skip, 0);
    sum = wire_sum(ends->dst.b + skip, 16 - skip, sum);
    uint8_t tail[6] = {0, proto};
    put32(tail + 2, (uint32_t)l4_len);
    return wire_sum(tail, sizeof tail, sum);
}

static void ethernet(uint8_t *out, const struct wire_ends *ends, uint16_t type)
{
    memcpy(out, ends->dst_mac, 6);
    memcpy(out + 6, ends->src_mac, 6);
    put16(out + 12, type);
}

static size_t ip_header(uint8_t *ip, const struct wire_ends *ends, uint8_t proto, size_t payload)
{
    if (!wire_is_v4(&ends->src)) {
        put32(ip, 6u << 28);
        put16(ip + 4, (uint16_t)payload);
        ip[6] = proto;
        ip[7] = 255;
        memcpy(ip + 8, ends->src.b, 16);
        memcpy(ip + 24, ends->dst.b, 16);
        return 40;
    }
    memset(ip, 0, 20);
    ip[0] = 0x45;
    put16(ip + 2, (uint16_t)(20 + payload));
    put16(ip + 6, 0x4000);
    ip[8] = 64;
    ip[9] = proto;
    memcpy(ip + 12, ends->src.b + 12, 4);
    memcpy(ip + 16, ends->dst.b + 12, 4);
    put16(ip + 10, (uint16_t)~wire_sum(ip, 20, 0));
    return 20;
}

/* Where the checksum is inside the header of `proto`, or 0 when it is none of ours. */
static size_t checksum_at(uint8_t proto, size_t l4_len)
{
    if (proto == 6 && l4_len >= 20)
        return 16;
    return (proto == 1 || proto == 58) && l4_len >= 4 ? 2 : 0;
}

size_t wire_build_ip(uint8_t *out, const struct wire_ends *ends, uint8_t proto,
                     const struct wire_ext *ext, const uint8_t *l4, size_t l4_len)
{
    bool v4 = wire_is_v4(&ends->src);
    size_t ext_len = ext && !v4 ? ext->len : 0;
    uint8_t *ip = out + WIRE_ETH;
    ethernet(out, ends, v4 ? 0x0800 : 0x86dd);
    size_t at = ip_header(ip, ends, ext_len ? ext->first : proto, ext_len + l4_len);
    if (ext_len)
        memcpy(ip + at, ext->data, ext_len);
    at += ext_len;
    memcpy(ip + at, l4, l4_len);
    size_t sum_at = checksum_at(proto, l4_len);
    if (sum_at) {
        put16(ip + at + sum_at, 0);
        uint16_t pseudo = proto == 1 ? 0 : pseudo_sum(ends, proto, l4_len);
        put16(ip + at + sum_at, (uint16_t)~wire_sum(ip + at, l4_len, pseudo));
    }
    return WIRE_ETH + at + l4_len;
}

size_t wire_build_tcp(uint8_t *out, const struct wire_ends *ends, const struct wire_tcp *t,
                      const struct wire_ext *ext)
{
    static uint8_t l4[WIRE_FRAME_MAX];
    size_t header = 20 + (t->options_len + 3) / 4 * 4;
    memset(l4, 0, header);
    put16(l4, t->src_port);
    put16(l4 + 2, t->dst_port);
    put32(l4 + 4, t->seq);
    put32(l4 + 8, t->ack);
    l4[12] = (uint8_t)(header / 4 << 4);
    l4[13] = t->flags;
    put16(l4 + 14, t->window);
    if (t->options_len)
        memcpy(l4 + 20, t->options, t->options_len);
    if (t->payload_len)
        memcpy(l4 + header, t->payload, t->payload_len);
    return wire_build_ip(out, ends, 6, ext, l4, header + t->payload_len);
}

size_t wire_build_arp(uint8_t *out, const struct wire_ends *ends, uint16_t op,
                      const uint8_t target_mac[6])
{
    uint8_t *arp = out + WIRE_ETH;
    ethernet(out, ends, 0x0806);
    put16(arp, 1);
    put16(arp + 2, 0x0800);
    arp[4] = 6;
    arp[5] = 4;
    put16(arp + 6, op);
    memcpy(arp + 8, ends->src_mac, 6);
    memcpy(arp + 14, ends->src.b + 12, 4);
    memcpy(arp + 18, target_mac, 6);
    memcpy(arp + 24, ends->dst.b + 12, 4);
    return WIRE_ETH + 28;
}
