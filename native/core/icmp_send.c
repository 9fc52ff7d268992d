/* SPDX-License-Identifier: Apache-2.0 */
/* ICMPv6 errors that are sent: parameter problems for unknown options, RFC 8200 section 4.2, as
 * RFC 4443 section 2.4 allows them. */
#include "checksum.h"
#include "engine.h"

#define PARAMETER_PROBLEM 4u
#define UNKNOWN_OPTION 2u
#define ICMP_BYTES 8u
#define PACKET_MAX 1280u /* RFC 4443 section 2.4 (c) */
#define REDIRECT 137u
/* RFC 4443 section 2.4 (f). */
#define ERRORS_PER_SECOND 10u

/* Could the packet be an error itself, or a redirect? RFC 4443 section 2.4 (e.1) and (e.2). */
static bool may_be_error(const uint8_t *ip, uint32_t bytes)
{
    uint8_t next = ip[6];
    struct qs_cursor c = {ip + QS_IPV6_BYTES, bytes - QS_IPV6_BYTES};
    if (!qs_packet_skip_extensions(&c, &next))
        return true;
    if (next != QS_PROTO_ICMPV6)
        return false;
    const uint8_t *type = qs_take(&c, 1);
    return !type || *type < 128 || *type == REDIRECT;
}

/* The address that answers: what was asked, or ours of the same scope when that was a group. */
static const qs_addr *source_for(const struct qs_engine *e, const struct qs_packet *p)
{
    bool group = qs_addr_is_multicast(&p->dst);
    if (!group && memcmp(p->eth, e->opts.mac, 6) != 0)
        return NULL;
    for (uint32_t i = 0; i < e->n_locals; i++) {
        const qs_addr *a = &e->locals[i].addr;
        bool near = qs_addr_is_link_local_v6(a) == qs_addr_is_link_local_v6(&p->src);
        if (group ? !qs_addr_is_v4(a) && near : qs_addr_eq(a, &p->dst))
            return a;
    }
    return NULL;
}

void qs_icmp_send_problem(struct qs_engine *e, const struct qs_packet *p, qs_time now)
{
    const uint8_t *ip = p->l3;
    uint32_t bytes = QS_IPV6_BYTES + qs_load16(ip + 4);
    const qs_addr *src = source_for(e, p);
    if (!src || p->eth[6] & 1 || qs_addr_is_bad_source(&p->src) || qs_local_find(e, &p->src) >= 0 ||
        may_be_error(ip, bytes))
        return;
    if (!qs_budget_take(e, &e->icmp_errors, ERRORS_PER_SECOND, now)) {
        qs_count(e, QS_COUNT_ICMP_ERRORS_LIMITED);
        return;
    }
    uint32_t quote = qs_min_u32(bytes, PACKET_MAX - QS_IPV6_BYTES - ICMP_BYTES);
    uint32_t message = ICMP_BYTES + quote;
    struct qs_hop back = qs_packet_back(p, 0);
    uint8_t *to = qs_reply_new(e, &back, QS_ETHERTYPE_IPV6, QS_IPV6_BYTES + message);
    if (!to)
        return;
    qs_ip_write(
        to, &(struct qs_ip_out){src, &p->src, message, QS_PROTO_ICMPV6, .hop_limit = QS_HOP_LIMIT});
    uint8_t *m = to + QS_IPV6_BYTES;
    m[0] = PARAMETER_PROBLEM;
    m[1] = UNKNOWN_OPTION;
    qs_store16(m + 2, 0);
    qs_store32(m + 4, p->problem);
    memcpy(m + ICMP_BYTES, ip, quote);
    uint64_t sum = qs_csum_pseudo(src, &p->src, QS_PROTO_ICMPV6, message);
    qs_csum_store(m + 2, qs_csum_add(sum, m, message));
    qs_count(e, QS_COUNT_ICMP_ERRORS_SENT);
}
