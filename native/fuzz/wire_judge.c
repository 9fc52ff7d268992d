/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "bytes.h"
#include "wire.h"

/* The IP packet inside a frame. */
struct ip {
    bool v4;
    uint8_t proto, hops;
    const uint8_t *l4;
    size_t l4_len;
    uint16_t pseudo; /* sum of the pseudo header */
};

static const char *parse_arp(const uint8_t *arp, size_t len, struct wire_seen *seen)
{
    static const uint8_t head[6] = {0, 1, 8, 0, 6, 4};
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    seen->kind = WIRE_IS_ARP;
    if (len < 28)
        return "ARP is shorter than 28 bytes";
    if (memcmp(arp, head, sizeof head) || get16(arp + 6) < 1 || get16(arp + 6) > 2)
        return "ARP is not a request or reply of Ethernet and IPv4";
    memcpy(seen->ends.src.b, mapped, 12);
    memcpy(seen->ends.dst.b, mapped, 12);
    memcpy(seen->ends.src.b + 12, arp + 14, 4);
    memcpy(seen->ends.dst.b + 12, arp + 24, 4);
    return NULL;
}

static const char *parse_v4(const uint8_t *p, size_t len, struct wire_seen *seen, struct ip *ip)
{
    if (len < 20)
        return "IPv4 header reaches past the frame";
    size_t header = (size_t)(p[0] & 15) * 4, total = get16(p + 2);
    if (p[0] >> 4 != 4 || header < 20 || total < header || total > len)
        return "IPv4 version or lengths are wrong";
    if (wire_sum(p, header, 0) != 0xffff)
        return "IPv4 header checksum is wrong";
    if (get16(p + 6) & 0x3fff)
        return "IPv4 fragment";
    if (!p[8])
        return "IPv4 TTL is 0";
    memset(seen->ends.src.b, 0, 10);
    memset(seen->ends.src.b + 10, 0xff, 2);
    seen->ends.dst = seen->ends.src;
    memcpy(seen->ends.src.b + 12, p + 12, 4);
    memcpy(seen->ends.dst.b + 12, p + 16, 4);
    *ip = (struct ip){true, p[9], p[8], p + header, total - header, 0};
    ip->pseudo = wire_sum(p + 12, 8, 0);
    return NULL;
}

static const char *parse_v6(const uint8_t *p, size_t len, struct wire_seen *seen, struct ip *ip)
{
    if (len < 40 || p[0] >> 4 != 6 || get16(p + 4) > len - 40)
        return "IPv6 version or lengths are wrong";
    if (!p[7])
        return "IPv6 hop limit is 0";
    memcpy(seen->ends.src.b, p + 8, 16);
    memcpy(seen->ends.dst.b, p + 24, 16);
    *ip = (struct ip){false, p[6], p[7], p + 40, get16(p + 4), 0};
    ip->pseudo = wire_sum(p + 8, 32, 0);
    return NULL;
}

static const char *parse_tcp(const struct ip *ip, struct wire_seen *seen)
{
    const uint8_t *p = ip->l4;
    seen->kind = WIRE_IS_TCP;
    if (ip->l4_len < 20)
        return "TCP header reaches past the packet";
    size_t header = (size_t)(p[12] >> 4) * 4;
    if (header < 20 || header > ip->l4_len)
        return "TCP data offset is wrong";
    seen->tcp = (struct wire_tcp){.src_port = get16(p),
                                  .dst_port = get16(p + 2),
                                  .seq = get32(p + 4),
                                  .ack = get32(p + 8),
                                  .flags = p[13],
                                  .window = get16(p + 14),
                                  .options = p + 20,
                                  .options_len = header - 20,
                                  .payload = p + header,
                                  .payload_len = ip->l4_len - header};
    return NULL;
}

static const char *parse_packet(const uint8_t *frame, size_t len, struct wire_seen *seen,
                                struct ip *ip)
{
    memset(seen, 0, sizeof *seen);
    *ip = (struct ip){.v4 = false};
    seen->kind = WIRE_IS_OTHER;
    if (len < WIRE_ETH)
        return "frame is shorter than an Ethernet header";
    memcpy(seen->ends.dst_mac, frame, 6);
    memcpy(seen->ends.src_mac, frame + 6, 6);
    uint16_t type = get16(frame + 12);
    if (type == 0x0806)
        return parse_arp(frame + WIRE_ETH, len - WIRE_ETH, seen);
    if (type != 0x0800 && type != 0x86dd)
        return "EtherType is not ARP, IPv4 or IPv6";
    const char *wrong =
        (type == 0x0800 ? parse_v4 : parse_v6)(frame + WIRE_ETH, len - WIRE_ETH, seen, ip);
    if (wrong)
        return wrong;
    if (ip->proto == 6)
        return parse_tcp(ip, seen);
    if (ip->proto != (ip->v4 ? 1 : 58))
        return NULL;
    seen->kind = WIRE_IS_ICMP;
    if (ip->l4_len < 8)
        return "ICMP message is shorter than 8 bytes";
    seen->icmp_type = ip->l4[0];
    return NULL;
}

const char *wire_parse(const uint8_t *frame, size_t len, struct wire_seen *seen)
{
    struct ip ip;
    return parse_packet(frame, len, seen, &ip);
}

int wire_ext_end(const struct wire_ext *e)
{
    uint8_t next = e->first;
    size_t at = 0;
    while (at < e->len) {
        bool known = next == 0 || next == 43 || next == 44 || next == 51 || next == 60;
        if (!known || e->len - at < 8)
            return -1;
        size_t units = e->data[at + 1];
        size_t len = next == 44 ? 8 : next == 51 ? (units + 2) * 4 : (units + 1) * 8;
        next = e->data[at];
        at += len;
    }
    return at == e->len ? next : -1;
}

const uint8_t *wire_option(const struct wire_tcp *t, uint8_t kind)
{
    for (size_t i = 0; i < t->options_len && t->options[i] != 0;) {
        size_t left = t->options_len - i;
        size_t len = t->options[i] == 1 ? 1 : left < 2 ? 0 : t->options[i + 1];
        if (len < 1 || len > left || (len < 2 && t->options[i] != 1))
            return NULL;
        if (t->options[i] == kind)
            return t->options + i;
        i += len;
    }
    return NULL;
}

/* Every option is whole and known, and the rest is padding. */
static const char *judge_options(const struct wire_tcp *t)
{
    for (size_t i = 0; i < t->options_len;) {
        uint8_t kind = t->options[i];
        size_t left = t->options_len - i;
        size_t len = kind <= 1 ? 1 : left < 2 ? 0 : t->options[i + 1];
        static const uint8_t known[9] = {1, 1, 4, 3, 2, 0, 0, 0, 10};
        if (len == 0 || len > left)
            return "TCP option reaches past the header";
        if (kind != 5 && (kind > 8 || known[kind] != len))
            return "TCP option of unknown kind or wrong length";
        if ((kind == 2 || kind == 3 || kind == 4) && !(t->flags & WIRE_SYN))
            return "TCP option of a SYN in another segment";
        if (kind == 3 && t->options[i + 2] > 14)
            return "window scale is above 14";
        i += len;
    }
    return NULL;
}

static const char *judge_flags(const struct wire_tcp *t)
{
    uint8_t f = t->flags;
    if (!t->src_port || !t->dst_port)
        return "TCP port 0";
    if (!(f & (WIRE_SYN | WIRE_RST | WIRE_ACK)))
        return "TCP segment without SYN, RST or ACK";
    if (f & WIRE_URG)
        return "TCP segment with URG";
    if ((f & WIRE_SYN && f & (WIRE_FIN | WIRE_RST)) || (f & WIRE_RST && f & WIRE_FIN))
        return "TCP flags that exclude each other";
    if (f & (WIRE_SYN | WIRE_RST) && t->payload_len)
        return "payload on a SYN or RST";
    if (!(f & WIRE_ACK) && t->ack)
        return "acknowledgement number without ACK";
    return judge_options(t);
}

static const char *judge_checksum(const struct qs_frame *f, const struct ip *ip, size_t at)
{
    uint8_t tail[6] = {0, ip->proto};
    put32(tail + 2, (uint32_t)ip->l4_len);
    uint16_t pseudo = ip->v4 && ip->proto == 1 ? 0 : wire_sum(tail, sizeof tail, ip->pseudo);
    if (!(f->flags & QS_FRAME_CSUM_PARTIAL))
        return wire_sum(ip->l4, ip->l4_len, pseudo) == 0xffff ? NULL : "L4 checksum is wrong";
    if (ip->proto != 6)
        return "partial checksum on something that is not TCP";
    if (f->data + f->csum_start != ip->l4 || f->csum_offset != at)
        return "csum_start or csum_offset is wrong";
    return get16(ip->l4 + at) == pseudo ? NULL : "partial checksum is not the pseudo header's sum";
}

static const char *judge_icmp(const struct wire_seen *s, const struct ip *ip)
{
    if (ip->v4)
        return s->icmp_type == 0 ? NULL : "ICMP that is not an echo reply";
    if (s->icmp_type == 4) { /* RFC 4443 sections 2.4 (c) and 3.4, RFC 8200 section 4.2 */
        if (ip->l4[1] != 2 || ip->l4_len < 48 || ip->l4_len > 1240)
            return "parameter problem of another code, without a packet, or too long";
        return get32(ip->l4 + 4) >= 42 ? NULL : "parameter problem with a header, not an option";
    }
    if (s->icmp_type != 129 && s->icmp_type != 135 && s->icmp_type != 136)
        return "ICMPv6 that is neither echo reply, error nor neighbour discovery";
    if (s->icmp_type == 129)
        return NULL;
    if (ip->hops != 255)
        return "neighbour discovery with a hop limit below 255";
    return ip->l4_len >= 24 ? NULL : "neighbour discovery shorter than 24 bytes";
}

static const char *judge_size(const struct qs_frame *f, const struct wire_rules *r,
                              const struct wire_seen *s)
{
    bool gso = f->flags & QS_FRAME_GSO;
    if (f->len > f->room)
        return "longer than the room for it";
    if (f->flags & (uint16_t) ~(QS_FRAME_CSUM_PARTIAL | QS_FRAME_GSO))
        return "a flag that means nothing to a driver";
    if (f->flags & QS_FRAME_CSUM_PARTIAL && !(r->offloads & QS_OFFLOAD_TX_CSUM))
        return "partial checksum, but the device completes none";
    if (!gso)
        return f->len <= r->mtu + WIRE_ETH ? NULL : "longer than the MTU";
    if (!(r->offloads & QS_OFFLOAD_TSO) || !(f->flags & QS_FRAME_CSUM_PARTIAL))
        return "segmentation asked of a device that does none, or without a partial checksum";
    if (s->kind != WIRE_IS_TCP || !f->gso_bytes || s->tcp.payload_len <= f->gso_bytes)
        return "segmentation of something that needs none";
    if (f->len > r->gso_max_bytes)
        return "longer than gso_max_bytes";
    size_t headers = f->len - WIRE_ETH - s->tcp.payload_len;
    return headers + f->gso_bytes <= r->mtu ? NULL : "pieces longer than the MTU";
}

const char *wire_judge(const struct qs_frame *f, const struct wire_rules *r, struct wire_seen *seen)
{
    struct ip ip;
    const char *wrong = parse_packet(f->data, f->len, seen, &ip);
    if (!wrong)
        wrong = judge_size(f, r, seen);
    if (wrong)
        return wrong;
    if (memcmp(seen->ends.src_mac, r->mac, 6))
        return "source is not the engine's Ethernet address";
    if (f->prio >= QS_N_PRIO)
        return "class above 7";
    if (seen->kind == WIRE_IS_ARP)
        return f->flags ? "ARP with a checksum flag" : NULL;
    if (seen->kind == WIRE_IS_OTHER)
        return "neither ARP nor ICMP nor TCP";
    size_t packet = (size_t)(ip.l4 - f->data) + ip.l4_len;
    if (packet != f->len)
        return "bytes behind the IP packet";
    wrong = seen->kind == WIRE_IS_TCP ? judge_flags(&seen->tcp) : judge_icmp(seen, &ip);
    return wrong ? wrong : judge_checksum(f, &ip, seen->kind == WIRE_IS_TCP ? 16 : 2);
}
