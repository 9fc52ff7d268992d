/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include "qs_test.h"

static const char flag_names[] = "FSRPU."; /* canonical order */
static const uint8_t flag_bits[] = {0x01, 0x02, 0x04, 0x08, 0x20, 0x10};

uint32_t be(const uint8_t *p, int bytes)
{
    uint32_t v = 0;
    while (bytes-- > 0)
        v = v << 8 | *p++;
    return v;
}

void put(uint8_t *p, int bytes, uint32_t v)
{
    while (bytes-- > 0) {
        p[bytes] = (uint8_t)v;
        v >>= 8;
    }
}

uint32_t naive_sum(const uint8_t *p, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i++) {
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

uint16_t naive_checksum(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* ---- options ---- */

static uint32_t put_hex(uint8_t *to, const char *hex)
{
    uint32_t n = 0;
    for (unsigned v; sscanf(hex + 2 * n, "%2x", &v) == 1; n++)
        to[n] = (uint8_t)v;
    return n;
}

/* "from-to,from-to", relative. */
static uint32_t put_sacks(uint8_t *to, const char *value)
{
    uint32_t n = 0;
    for (unsigned from, until; sscanf(value, "%u-%u", &from, &until) == 2; n++) {
        put(to + 4 + 8 * n, 4, from + FRAME_SACK_BASE);
        put(to + 8 + 8 * n, 4, until + FRAME_SACK_BASE);
        value += strcspn(value, ",");
        value += *value == ',';
    }
    put(to, 4, 0x01010500 | (2 + 8 * n));
    return 4 + 8 * n;
}

static void sacks_to_text(const uint8_t *o, char *text)
{
    uint32_t n = (o[1] - 2u) / 8;
    text += sprintf(text, "sack ");
    for (uint32_t i = 0; i < n; i++)
        text += sprintf(text, "%s%u-%u", i ? "," : "", be(o + 2 + 8 * i, 4) - FRAME_SACK_BASE,
                        be(o + 6 + 8 * i, 4) - FRAME_SACK_BASE);
}

static uint32_t put_option(uint8_t *to, const char *name, const char *value)
{
    uint32_t v = (uint32_t)strtoul(value, NULL, 0);
    if (strcmp(name, "mss") == 0) {
        put(to, 2, 0x0204);
        put(to + 2, 2, v);
        return 4;
    }
    if (strcmp(name, "ws") == 0) {
        put(to, 3, 0x010303);
        to[3] = (uint8_t)v;
        return 4;
    }
    if (strcmp(name, "ts") == 0) {
        put(to, 4, 0x0101080a);
        put(to + 4, 4, v);
        put(to + 8, 4, (uint32_t)strtoul(strchr(value, ':') + 1, NULL, 0));
        return 12;
    }
    if (strcmp(name, "sack") == 0)
        return put_sacks(to, value);
    REQUIRE(strcmp(name, "hex") == 0);
    return put_hex(to, value);
}

uint32_t frame_options(uint8_t *to, const char *text)
{
    char copy[160], *save;
    uint32_t n = 0;
    memset(to, 0, 40);
    REQUIRE(strlen(text) < sizeof copy);
    strcpy(copy, text);
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        if (strcmp(w, "nop") == 0)
            to[n++] = 1;
        else if (strcmp(w, "eol") == 0)
            to[n++] = 0;
        else if (strcmp(w, "sok") == 0)
            put(to + n, 2, 0x0402), n += 2;
        else
            n += put_option(to + n, w, strtok_r(NULL, " ", &save));
        REQUIRE(n <= 40);
    }
    return (n + 3) & ~3u;
}

static void options_to_text(const uint8_t *o, uint32_t left, char *text)
{
    *text = 0;
    while (left && *o) {
        if (*o == 1) {
            o++, left--;
            continue;
        }
        REQUIRE(left >= 2 && o[1] >= 2 && o[1] <= left);
        char *to = text + strlen(text);
        const char *gap = *text ? " " : "";
        if (o[0] == 2 && o[1] == 4)
            sprintf(to, "%smss %u", gap, be(o + 2, 2));
        else if (o[0] == 3 && o[1] == 3)
            sprintf(to, "%sws %u", gap, o[2]);
        else if (o[0] == 8 && o[1] == 10)
            sprintf(to, "%sts %u:%u", gap, be(o + 2, 4), be(o + 6, 4));
        else if (o[0] == 4 && o[1] == 2)
            sprintf(to, "%ssok", gap);
        else if (o[0] == 5 && o[1] >= 10)
            sacks_to_text(o, to + sprintf(to, "%s", gap));
        else
            REQUIRE(false && "an option that the engine should not send");
        left -= o[1];
        o += o[1];
    }
}

bool text_matches(const char *text, const char *pattern)
{
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            size_t digits = strspn(text, "0123456789");
            if (digits == 0)
                return false;
            text += digits;
        } else if (*text++ != *pattern) {
            return false;
        }
    }
    return *text == 0;
}

/* ---- writing ---- */

static bool is_v4(const qs_addr *a)
{
    return be(a->b, 4) == 0 && be(a->b + 4, 4) == 0 && be(a->b + 8, 4) == 0xffff;
}

void frame_eth(struct frame *f, uint16_t ethertype)
{
    memcpy(f->b, (uint8_t[]){2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, 12);
    put(f->b + 12, 2, ethertype);
    f->len = FRAME_ETH;
}

uint8_t *frame_ip(struct frame *f, const qs_addr *src, const qs_addr *dst, uint8_t protocol,
                  uint32_t payload)
{
    uint8_t *h = f->b + FRAME_ETH;
    bool v4 = is_v4(src) && is_v4(dst);
    uint32_t header = v4 ? 20 : 40;
    frame_eth(f, v4 ? 0x0800 : 0x86dd);
    memset(h, 0, header);
    if (v4) {
        h[0] = 0x45;
        put(h + 2, 2, header + payload);
        h[8] = 61;
        h[9] = protocol;
        memcpy(h + 12, src->b + 12, 4);
        memcpy(h + 16, dst->b + 12, 4);
    } else {
        h[0] = 0x60;
        put(h + 4, 2, payload);
        h[6] = protocol;
        h[7] = 61;
        memcpy(h + 8, src, 16);
        memcpy(h + 24, dst, 16);
    }
    f->len = FRAME_ETH + header + payload;
    return h + header;
}

uint8_t *frame_l4(struct frame *f)
{
    const uint8_t *h = f->b + FRAME_ETH;
    return f->b + FRAME_ETH + (h[0] >> 4 == 4 ? (h[0] & 15u) * 4 : 40);
}

void frame_fix_to(struct frame *f, uint32_t octets)
{
    uint8_t *h = f->b + FRAME_ETH, *l4 = frame_l4(f);
    bool v4 = h[0] >> 4 == 4;
    uint8_t protocol = v4 ? h[9] : h[6];
    if (v4) {
        put(h + 10, 2, 0);
        put(h + 10, 2, naive_checksum(naive_sum(h, (size_t)(l4 - h), 0)));
    }
    uint32_t sum = 0;
    if (protocol != 1) {
        sum = naive_sum(v4 ? h + 12 : h + 8, v4 ? 8 : 32, octets >> 16);
        sum += (octets & 0xffff) + protocol;
    }
    uint8_t *field = l4 + (protocol == 6 ? 16 : 2);
    put(field, 2, 0);
    put(field, 2, naive_checksum(naive_sum(l4, octets, sum)));
}

void frame_fix(struct frame *f)
{
    frame_fix_to(f, f->len - (uint32_t)(frame_l4(f) - f->b));
}

static uint8_t flags_from_text(const char *text)
{
    uint8_t bits = 0;
    for (; *text; text++) {
        const char *at = strchr(flag_names, *text);
        if (at)
            bits |= flag_bits[at - flag_names];
        else
            bits |= *text == 'E' ? 0x40 : 0x80;
    }
    return bits;
}

void frame_tcp(struct frame *f, const struct wire_tcp *t)
{
    uint8_t opts[40];
    uint32_t n = frame_options(opts, t->opts);
    uint8_t *h = frame_ip(f, &t->src, &t->dst, 6, 20 + n + t->len);
    put(h, 2, t->src_port);
    put(h + 2, 2, t->dst_port);
    put(h + 4, 4, t->seq);
    put(h + 8, 4, t->ack);
    h[12] = (uint8_t)((20 + n) / 4 << 4);
    h[13] = flags_from_text(t->flags);
    put(h + 14, 2, t->wnd);
    put(h + 16, 4, 0);
    memcpy(h + 20, opts, n);
    if (t->len)
        memcpy(h + 20 + n, t->data, t->len);
    frame_fix(f);
}

/* ---- parsing ---- */

bool frame_is_tcp(const struct frame *f)
{
    uint32_t type = be(f->b + 12, 2);
    return (type == 0x0800 && f->b[FRAME_ETH + 9] == 6) ||
           (type == 0x86dd && f->b[FRAME_ETH + 6] == 6);
}

static void check_ip(struct frame *f, struct wire_tcp *t)
{
    const uint8_t *h = f->b + FRAME_ETH;
    if (h[0] >> 4 == 4) {
        REQUIRE(h[0] == 0x45 && h[8] == 64 && be(h + 6, 2) == 0x4000);
        REQUIRE(be(h + 2, 2) == f->len - FRAME_ETH);
        REQUIRE(naive_checksum(naive_sum(h, 20, 0)) == 0);
        t->src = t->dst = (qs_addr){{0}};
        put(t->src.b + 10, 2, 0xffff);
        put(t->dst.b + 10, 2, 0xffff);
        memcpy(t->src.b + 12, h + 12, 4);
        memcpy(t->dst.b + 12, h + 16, 4);
    } else {
        REQUIRE(be(h, 4) == 0x60000000 && h[7] == 64);
        REQUIRE(be(h + 4, 2) == f->len - FRAME_ETH - 40);
        memcpy(&t->src, h + 8, 16);
        memcpy(&t->dst, h + 24, 16);
    }
}

void frame_parse_tcp(struct frame *f, struct wire_tcp *t)
{
    const uint8_t *h = frame_l4(f);
    uint32_t l4 = f->len - (uint32_t)(h - f->b), header = h[12] >> 4;
    check_ip(f, t);
    /* The ::ffff of both addresses of IPv4 counts as nothing. */
    uint32_t sum = naive_sum(t->dst.b, 16, naive_sum(t->src.b, 16, l4 + 6));
    REQUIRE(naive_checksum(naive_sum(h, l4, sum)) == 0);
    header *= 4;
    REQUIRE(header >= 20 && header <= l4 && (h[12] & 15) == 0 && (h[13] & 0xc0) == 0);
    REQUIRE(be(h + 18, 2) == 0);
    t->src_port = (uint16_t)be(h, 2);
    t->dst_port = (uint16_t)be(h + 2, 2);
    t->seq = be(h + 4, 4);
    t->ack = be(h + 8, 4);
    t->wnd = (uint16_t)be(h + 14, 2);
    t->len = l4 - header;
    t->data = h + header;
    char *to = t->flags;
    for (size_t i = 0; i < sizeof flag_bits; i++)
        if (h[13] & flag_bits[i])
            *to++ = flag_names[i];
    *to = 0;
    options_to_text(h + 20, header - 20, t->opts);
}
