/* SPDX-License-Identifier: Apache-2.0 */
/* Queue of whole frames that belong to no connection. Bounded: a flood of causes costs replies,
 * nothing else. */
#include "checksum.h"
#include "engine.h"

uint8_t *qs_reply_new(struct qs_engine *e, const struct qs_hop *to, uint16_t ethertype,
                      uint32_t bytes)
{
    /* The driver's buffers hold the MTU, whatever length a request came with. */
    if (e->reply_tail - e->reply_head == QS_REPLIES_MAX || bytes > e->opts.mtu) {
        qs_count(e, QS_COUNT_DROP_REPLY_QUEUE);
        return NULL;
    }
    uint32_t slot = e->reply_tail++ % QS_REPLIES_MAX;
    uint8_t *f = e->reply_data + (size_t)slot * e->reply_bytes;
    uint32_t eth = qs_eth_write(f, to, e->opts.mac, ethertype);
    e->replies[slot] = (struct qs_reply){.len = eth + bytes, .prio = to->prio};
    return f + eth;
}

bool qs_reply_tcp(struct qs_engine *e, const struct qs_hop *to, const qs_addr *src,
                  const qs_addr *dst, const struct qs_tcp_out *o)
{
    uint8_t header[QS_TCP_HEADER_MAX];
    bool v4 = qs_addr_is_v4(dst);
    uint32_t ip = v4 ? QS_IPV4_BYTES : QS_IPV6_BYTES;
    uint32_t tcp = qs_tcp_write(header, o);
    uint64_t pseudo = qs_csum_pseudo(src, dst, QS_PROTO_TCP, tcp);
    qs_csum_store(header + QS_TCP_CHECKSUM_AT, qs_csum_join(pseudo, qs_csum_add(0, header, tcp)));
    uint8_t *p = qs_reply_new(e, to, v4 ? QS_ETHERTYPE_IPV4 : QS_ETHERTYPE_IPV6, ip + tcp);
    if (!p)
        return false;
    qs_ip_write(p, &(struct qs_ip_out){.src = src,
                                       .dst = dst,
                                       .payload_bytes = tcp,
                                       .protocol = QS_PROTO_TCP,
                                       .hop_limit = QS_HOP_LIMIT,
                                       .dscp = e->classes[to->prio].dscp});
    memcpy(p + ip, header, tcp);
    return true;
}

bool qs_reply_pop(struct qs_engine *e, struct qs_frame *f)
{
    if (e->reply_head == e->reply_tail)
        return false;
    uint32_t slot = e->reply_head++ % QS_REPLIES_MAX;
    const struct qs_reply *r = &e->replies[slot];
    memcpy(f->data, e->reply_data + (size_t)slot * e->reply_bytes, r->len);
    f->len = r->len;
    f->flags = 0;
    f->gso_bytes = 0;
    f->prio = r->prio;
    return true;
}
