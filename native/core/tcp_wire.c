/* SPDX-License-Identifier: Apache-2.0 */
#include "tcp_wire.h"

#include "checksum.h"

#define OPT_END 0
#define OPT_NOP 1
#define OPT_MSS 2
#define OPT_WSCALE 3
#define OPT_SACK_OK 4
#define OPT_SACK 5
#define OPT_TS 8

/* RFC 2018 section 3. */
static void take_sacks(struct qs_segment *s, const uint8_t *body, size_t len)
{
    if (len % 8 || len > 8u * QS_SACKS_MAX)
        return;
    s->n_sacks = (uint8_t)(len / 8);
    for (uint32_t i = 0; i < s->n_sacks; i++)
        s->sacks[i] = (struct qs_range){{qs_load32(body + 8 * i)}, {qs_load32(body + 8 * i + 4)}};
}

static void take_option(struct qs_segment *s, uint8_t kind, const uint8_t *body, size_t len)
{
    switch (kind) {
    case OPT_MSS: /* RFC 9293 section 3.7.1: only in a SYN */
        if (len == 2 && (s->flags & QS_SYN))
            s->mss = qs_load16(body);
        break;
    case OPT_WSCALE:
        if (len == 1 && (s->flags & QS_SYN))
            s->wscale = (int8_t)(body[0] > QS_WSCALE_MAX ? QS_WSCALE_MAX : body[0]);
        break;
    case OPT_SACK_OK:
        if (len == 0 && (s->flags & QS_SYN))
            s->sack_ok = true;
        break;
    case OPT_SACK:
        if (!(s->flags & QS_SYN))
            take_sacks(s, body, len);
        break;
    case OPT_TS:
        if (len == 8) {
            s->has_ts = true;
            s->ts_val = qs_load32(body);
            s->ts_ecr = qs_load32(body + 4);
        }
        break;
    default: /* RFC 9293 section 3.1: an option that is not known is ignored */
        break;
    }
}

static enum qs_counter parse_options(struct qs_segment *s, struct qs_cursor c)
{
    while (c.left) {
        const uint8_t *kind = qs_take(&c, 1);
        if (*kind == OPT_END)
            break;
        if (*kind == OPT_NOP)
            continue;
        const uint8_t *len = qs_take(&c, 1);
        if (!len || *len < 2)
            return QS_COUNT_DROP_TCP_OPTIONS;
        const uint8_t *body = qs_take(&c, *len - 2u);
        if (!body)
            return QS_COUNT_DROP_TCP_OPTIONS;
        take_option(s, *kind, body, *len - 2u);
    }
    return QS_N_COUNTERS;
}

/* The layout that nearly every segment of an established connection has, RFC 7323 appendix A. */
static bool only_timestamps(struct qs_segment *s, const uint8_t *options, uint32_t len)
{
    if (len != QS_TCP_TS_BYTES || qs_load32(options) != 0x0101080au)
        return false;
    s->has_ts = true;
    s->ts_val = qs_load32(options + 4);
    s->ts_ecr = qs_load32(options + 8);
    return true;
}

enum qs_counter qs_tcp_parse(struct qs_segment *s, const struct qs_packet *p, bool checked)
{
    const uint8_t *h = p->l4;
    if (p->l4_len < QS_TCP_BYTES)
        return QS_COUNT_DROP_TCP_HEADER;
    uint32_t header = (h[12] >> 4) * 4u;
    if (header < QS_TCP_BYTES || header > p->l4_len)
        return QS_COUNT_DROP_TCP_HEADER;
    if (!checked) {
        uint64_t sum = qs_csum_pseudo(&p->src, &p->dst, QS_PROTO_TCP, p->l4_len);
        if (!qs_csum_ok(qs_csum_add(sum, h, p->l4_len)))
            return QS_COUNT_DROP_CHECKSUM;
    }
    s->packet = p;
    s->src_port = qs_load16(h);
    s->dst_port = qs_load16(h + 2);
    s->seq.v = qs_load32(h + 4);
    s->ack.v = qs_load32(h + 8);
    s->flags = h[13];
    s->wnd = qs_load16(h + 14);
    s->mss = 0;
    s->wscale = -1;
    s->has_ts = false;
    s->sack_ok = false;
    s->n_sacks = 0;
    s->payload = h + header;
    s->len = p->l4_len - header;
    if (s->src_port == 0 || s->dst_port == 0)
        return QS_COUNT_DROP_TCP_HEADER;
    if (header == QS_TCP_BYTES || only_timestamps(s, h + QS_TCP_BYTES, header - QS_TCP_BYTES))
        return QS_N_COUNTERS;
    return parse_options(s, (struct qs_cursor){h + QS_TCP_BYTES, header - QS_TCP_BYTES});
}

static uint8_t *write_sacks(uint8_t *at, const struct qs_tcp_out *o)
{
    qs_store32(at, 0x01010000u | OPT_SACK << 8 | (2u + 8u * o->n_sacks));
    at += 4;
    for (uint32_t i = 0; i < o->n_sacks; i++, at += 8) {
        qs_store32(at, o->sacks[i].start.v);
        qs_store32(at + 4, o->sacks[i].end.v);
    }
    return at;
}

uint32_t qs_tcp_write(uint8_t *to, const struct qs_tcp_out *o)
{
    uint8_t *at = to + QS_TCP_BYTES;
    if (o->mss) {
        at[0] = OPT_MSS;
        at[1] = 4;
        qs_store16(at + 2, o->mss);
        at += 4;
    }
    if (o->has_ts) {
        qs_store32(at, o->sack_ok ? 0x0402080au : 0x0101080au);
        qs_store32(at + 4, o->ts_val);
        qs_store32(at + 8, o->ts_ecr);
        at += QS_TCP_TS_BYTES;
    } else if (o->sack_ok) {
        qs_store32(at, 0x01010402u);
        at += 4;
    }
    if (o->wscale >= 0) {
        at[0] = OPT_NOP;
        at[1] = OPT_WSCALE;
        at[2] = 3;
        at[3] = (uint8_t)o->wscale;
        at += 4;
    }
    if (o->n_sacks)
        at = write_sacks(at, o);
    uint32_t header = (uint32_t)(at - to);
    qs_store16(to, o->src_port);
    qs_store16(to + 2, o->dst_port);
    qs_store32(to + 4, o->seq.v);
    qs_store32(to + 8, o->ack.v);
    to[12] = (uint8_t)(header / 4 << 4);
    to[13] = o->flags;
    qs_store16(to + 14, o->wnd);
    qs_store32(to + QS_TCP_CHECKSUM_AT, 0); /* and the urgent pointer */
    return header;
}
