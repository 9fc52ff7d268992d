/* SPDX-License-Identifier: Apache-2.0 */
#include "drv_packet.h"

#include <string.h>

enum { ETH = 14, IP4 = 20, IP6 = 40, TCP = 6, UDP = 17, ICMP6 = 58 };

static uint32_t get16(const uint8_t *p)
{
    return ((uint32_t)p[0] << 8) | p[1];
}

static void put16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static uint64_t sum(const uint8_t *p, uint32_t bytes, uint64_t start)
{
    for (; bytes > 1; p += 2, bytes -= 2)
        start += get16(p);
    return bytes ? start + ((uint32_t)p[0] << 8) : start;
}

static uint32_t fold(uint64_t s)
{
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return (uint32_t)s;
}

static bool parse_ip4(const uint8_t *ip, uint32_t len, struct drv_l4 *out, uint8_t *proto)
{
    uint32_t header = (ip[0] & 15u) * 4u, total = get16(ip + 2);
    bool fragment = (get16(ip + 6) & 0x3fff) != 0;
    if (header < IP4 || total < header || total > len || fragment)
        return false;
    *proto = ip[9];
    out->offset = ETH + header;
    out->bytes = total - header;
    out->pseudo = fold(sum(ip + 12, 8, *proto + (uint64_t)out->bytes));
    return true;
}

static bool parse_ip6(const uint8_t *ip, uint32_t len, struct drv_l4 *out, uint8_t *proto)
{
    out->bytes = get16(ip + 4);
    if (len < IP6 || out->bytes > len - IP6)
        return false;
    *proto = ip[6];
    out->offset = ETH + IP6;
    out->pseudo = fold(sum(ip + 8, 32, *proto + (uint64_t)out->bytes));
    return true;
}

void drv_find_l4(const uint8_t *frame, uint32_t len, struct drv_l4 *out)
{
    *out = (struct drv_l4){0};
    struct drv_l4 found = {0};
    uint8_t proto = 0;
    if (len < ETH + IP4)
        return;
    uint32_t type = get16(frame + 12);
    bool is_ip = type == 0x0800   ? parse_ip4(frame + ETH, len - ETH, &found, &proto)
                 : type == 0x86dd ? parse_ip6(frame + ETH, len - ETH, &found, &proto)
                                  : false;
    uint32_t header = proto == TCP ? 20 : 8;
    if (!is_ip || (proto != TCP && proto != UDP) || found.bytes < header)
        return;
    found.sum_offset = proto == TCP ? 16 : 6;
    found.no_checksum =
        proto == UDP && type == 0x0800 && get16(frame + found.offset + found.sum_offset) == 0;
    *out = found;
}

bool drv_checksum_ok(const uint8_t *frame, const struct drv_l4 *l4)
{
    return l4->no_checksum || fold(sum(frame + l4->offset, l4->bytes, l4->pseudo)) == 0xffff;
}

void drv_put_checksum(struct qs_frame *f, const struct drv_l4 *l4, bool partial)
{
    uint8_t *field = f->data + l4->offset + l4->sum_offset;
    if (partial) {
        put16(field, l4->pseudo);
        f->flags |= QS_FRAME_CSUM_PARTIAL;
        f->csum_start = (uint16_t)l4->offset;
        f->csum_offset = (uint16_t)l4->sum_offset;
        return;
    }
    put16(field, 0);
    uint32_t value = 0xffff - fold(sum(f->data + l4->offset, l4->bytes, l4->pseudo));
    put16(field, value ? value : 0xffff);
}

static bool answer_arp(const struct drv_self *self, const struct qs_frame *in, struct qs_frame *out)
{
    static const uint8_t request[] = {0, 1, 8, 0, 6, 4, 0, 1};
    const uint8_t *arp = in->data + ETH;
    if (in->len < ETH + 28 || memcmp(arp, request, sizeof request) != 0 ||
        memcmp(arp + 24, self->addr4, 4) != 0)
        return false;
    uint8_t *reply = out->data + ETH;
    memcpy(out->data, arp + 8, 6);
    memcpy(out->data + 6, self->mac, 6);
    put16(out->data + 12, 0x0806);
    memcpy(reply, request, sizeof request);
    reply[7] = 2;
    memcpy(reply + 8, self->mac, 6);
    memcpy(reply + 14, self->addr4, 4);
    memcpy(reply + 18, arp + 8, 10);
    out->len = ETH + 28;
    return true;
}

static bool answer_nd(const struct drv_self *self, const struct qs_frame *in, struct qs_frame *out)
{
    enum { SOLICITATION = 135, ADVERTISEMENT = 136, BODY = 32 };
    const uint8_t *ip = in->data + ETH, *nd = ip + IP6;
    if (in->len < ETH + IP6 + 24 || ip[6] != ICMP6 || nd[0] != SOLICITATION ||
        memcmp(nd + 8, self->addr6, 16) != 0)
        return false;
    uint8_t *reply_ip = out->data + ETH, *reply = reply_ip + IP6;
    memset(out->data, 0, ETH + IP6 + BODY);
    memcpy(out->data, in->data + 6, 6);
    memcpy(out->data + 6, self->mac, 6);
    put16(out->data + 12, 0x86dd);
    reply_ip[0] = 0x60;
    put16(reply_ip + 4, BODY);
    reply_ip[6] = ICMP6;
    reply_ip[7] = 255;
    memcpy(reply_ip + 8, self->addr6, 16);
    memcpy(reply_ip + 24, ip + 8, 16);
    reply[0] = ADVERTISEMENT;
    reply[4] = 0x60; /* solicited, override */
    memcpy(reply + 8, self->addr6, 16);
    reply[24] = 2; /* target link-layer address */
    reply[25] = 1;
    memcpy(reply + 26, self->mac, 6);
    put16(reply + 2, 0xffff - fold(sum(reply, BODY, sum(reply_ip + 8, 32, ICMP6 + BODY))));
    out->len = ETH + IP6 + BODY;
    return true;
}

bool drv_answer_neighbour(const struct drv_self *self, const struct qs_frame *in,
                          struct qs_frame *out)
{
    if (in->len < ETH)
        return false;
    switch (get16(in->data + 12)) {
    case 0x0806:
        return answer_arp(self, in, out);
    case 0x86dd:
        return answer_nd(self, in, out);
    default:
        return false;
    }
}

static void swap(uint8_t *a, uint8_t *b, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        uint8_t t = a[i];
        a[i] = b[i];
        b[i] = t;
    }
}

void drv_turn_round(uint8_t *frame, const struct drv_l4 *l4)
{
    swap(frame, frame + 6, 6);
    if (get16(frame + 12) == 0x0800)
        swap(frame + ETH + 12, frame + ETH + 16, 4);
    else
        swap(frame + ETH + 8, frame + ETH + 24, 16);
    swap(frame + l4->offset, frame + l4->offset + 2, 2);
}
