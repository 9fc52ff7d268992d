/* SPDX-License-Identifier: Apache-2.0 */
/* Where a message of HTTP/1.1 ends: RFC 9112. Only as much is read as that takes; what could be
 * read in two ways, as request smuggling needs it, is no message. */
#include "framing.h"

#include <string.h>

/* A part of the octets. */
struct text {
    const uint8_t *at;
    size_t len;
};

/* What the head says of the body. */
struct body {
    bool counted, chunked;
    uint64_t octets; /* with `counted` */
};

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

static bool same(struct text t, const char *word)
{
    for (size_t i = 0; i < t.len; i++)
        if (lower(t.at[i]) != (uint8_t)word[i]) /* its end is none of the octets */
            return false;
    return word[t.len] == 0;
}

static struct text trimmed(struct text t)
{
    while (t.len && (t.at[0] == ' ' || t.at[0] == '\t'))
        t.at++, t.len--;
    while (t.len && (t.at[t.len - 1] == ' ' || t.at[t.len - 1] == '\t'))
        t.len--;
    return t;
}

/* Takes a line without its CRLF off the front. @return 1; 0: its end has not come; -1: it has a CR
 * or LF by itself, or an octet that no head may have (RFC 9110 section 5.5). */
static int take_line(struct text *from, struct text *line)
{
    for (size_t i = 0; i < from->len; i++) {
        uint8_t c = from->at[i];
        if (c == '\n' || c == 0)
            return -1;
        if (c != '\r')
            continue;
        if (i + 1 == from->len)
            return 0;
        if (from->at[i + 1] != '\n')
            return -1;
        *line = (struct text){from->at, i};
        from->at += i + 2;
        from->len -= i + 2;
        return 1;
    }
    return 0;
}

/* @return false when it is no number in `base`, or too large for any message. */
static bool number(struct text t, uint32_t base, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < t.len; i++) {
        uint8_t c = lower(t.at[i]);
        uint32_t digit = base;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = 10 + (uint32_t)(c - 'a');
        if (digit >= base || *out > UINT32_MAX)
            return false;
        *out = *out * base + digit;
    }
    return t.len > 0;
}

/* A field line. @return false when it forbids to tell where the message ends. */
static bool take_field(struct body *b, struct text line)
{
    const uint8_t *colon = memchr(line.at, ':', line.len);
    if (!colon || line.at[0] == ' ' || line.at[0] == '\t' || colon == line.at || colon[-1] == ' ' ||
        colon[-1] == '\t') /* RFC 9112 sections 5.1 and 5.2 */
        return false;
    struct text name = {line.at, (size_t)(colon - line.at)};
    struct text value = trimmed((struct text){colon + 1, line.len - name.len - 1});
    if (same(name, "content-length")) {
        uint64_t octets;
        if (!number(value, 10, &octets) || (b->counted && octets != b->octets))
            return false;
        b->counted = true;
        b->octets = octets;
    } else if (same(name, "transfer-encoding")) {
        if (b->chunked || !same(value, "chunked")) /* no other coding is known here */
            return false;
        b->chunked = true;
    }
    return !(b->counted && b->chunked); /* RFC 9112 section 6.1 */
}

/* Chunks, trailers and the empty line. @return octets, 0 or -1, as qs_framing_fn. */
static int64_t chunks(struct text rest)
{
    const uint8_t *start = rest.at;
    struct text line;
    for (;;) {
        int found = take_line(&rest, &line);
        if (found <= 0)
            return found;
        const uint8_t *semicolon = memchr(line.at, ';', line.len);
        struct text size = {line.at, semicolon ? (size_t)(semicolon - line.at) : line.len};
        uint64_t octets;
        if (!number(trimmed(size), 16, &octets))
            return -1;
        if (octets == 0)
            break;
        if (octets + 2 > rest.len)
            return 0;
        if (rest.at[octets] != '\r' || rest.at[octets + 1] != '\n')
            return -1;
        rest.at += octets + 2;
        rest.len -= octets + 2;
    }
    for (;;) {
        int found = take_line(&rest, &line);
        if (found <= 0)
            return found;
        if (line.len == 0)
            return rest.at - start;
    }
}

/* Does a response with this status line have no body, whatever its fields say? RFC 9112
 * section 6.3. Of a response to HEAD it cannot be known. */
static bool never_has_body(struct text status_line)
{
    if (status_line.len < 12)
        return false;
    const uint8_t *code = status_line.at + 9;
    return code[0] == '1' || memcmp(code, "204", 3) == 0 || memcmp(code, "304", 3) == 0;
}

int64_t qs_framing_http1(const uint8_t *data, size_t len)
{
    struct text rest = {data, len}, start, line;
    struct body b = {0};
    int found = take_line(&rest, &start);
    if (found <= 0)
        return found;
    if (start.len == 0) /* RFC 9112 section 2.2 lets servers skip one; it would be no message */
        return -1;
    bool response = start.len >= 5 && memcmp(start.at, "HTTP/", 5) == 0;
    for (;;) {
        found = take_line(&rest, &line);
        if (found <= 0)
            return found;
        if (line.len == 0)
            break;
        if (!take_field(&b, line))
            return -1;
    }
    int64_t head = rest.at - data;
    if (response && never_has_body(start))
        return head;
    if (b.counted)
        return head + (int64_t)b.octets;
    if (b.chunked) {
        int64_t body = chunks(rest);
        return body > 0 ? head + body : body;
    }
    return response ? -1 : head; /* a response that ends with its connection is no message */
}
