/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP and ICMPv6: echo is answered, Neighbor Discovery and errors are handed on. */
#include "checksum.h"
#include "engine.h"

#define ECHO_REQUEST_V4 8u
#define ECHO_REPLY_V4 0u
#define ECHO_REQUEST_V6 128u
#define ECHO_REPLY_V6 129u
/* More than anybody measures with, and little beside what a queue carries. */
#define ECHOES_PER_SECOND 1000u
#define ND_FIRST 135u
#define ND_LAST 136u

static void answer_echo(struct qs_engine *e, const struct qs_packet *p, qs_time now)
{
    if (!qs_budget_take(e, &e->echoes, ECHOES_PER_SECOND, now)) {
        qs_count(e, QS_COUNT_DROP_ECHO);
        return;
    }
    uint32_t ip = p->v4 ? QS_IPV4_BYTES : QS_IPV6_BYTES;
    uint8_t proto = p->v4 ? QS_PROTO_ICMP : QS_PROTO_ICMPV6;
    struct qs_hop back = qs_packet_back(p, 0);
    uint8_t *to = qs_reply_new(e, &back, p->ethertype, ip + p->l4_len);
    if (!to)
        return;
    qs_ip_write(to,
                &(struct qs_ip_out){&p->dst, &p->src, p->l4_len, proto, .hop_limit = QS_HOP_LIMIT});
    uint8_t *m = to + ip;
    memcpy(m, p->l4, p->l4_len);
    m[0] = p->v4 ? ECHO_REPLY_V4 : ECHO_REPLY_V6;
    qs_store16(m + 2, 0);
    uint64_t sum = p->v4 ? 0 : qs_csum_pseudo(&p->dst, &p->src, proto, p->l4_len);
    qs_csum_store(m + 2, qs_csum_add(sum, m, p->l4_len));
    qs_count(e, QS_COUNT_ECHO_REPLIES);
}

void qs_icmp_input(struct qs_engine *e, const struct qs_packet *p, qs_time now)
{
    uint64_t sum = p->v4 ? 0 : qs_csum_pseudo(&p->src, &p->dst, QS_PROTO_ICMPV6, p->l4_len);
    if (p->l4_len < 8) {
        qs_count(e, QS_COUNT_DROP_ICMP);
        return;
    }
    if (!qs_csum_ok(qs_csum_add(sum, p->l4, p->l4_len))) {
        qs_count(e, QS_COUNT_DROP_CHECKSUM);
        return;
    }
    uint8_t type = p->l4[0];
    if (!p->v4 && (type == ND_FIRST || type == ND_LAST)) {
        qs_nd_input(e, p, now);
        return;
    }
    /* Echo to a group is not answered: RFC 1122 section 3.2.2.6 allows it. */
    bool asked = type == (p->v4 ? ECHO_REQUEST_V4 : ECHO_REQUEST_V6) && p->l4[1] == 0;
    if (asked && !qs_addr_is_multicast(&p->dst) && !qs_addr_is_bad_source(&p->src))
        answer_echo(e, p, now);
    else
        qs_icmp_error_input(e, p, now);
}
