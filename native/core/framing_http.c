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
struct head {
    bool response, http10;
    bool bodiless; /* whatever its fields say */
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

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static struct text trimmed(struct text t)
{
    while (t.len && is_blank(t.at[0]))
        t.at++, t.len--;
    while (t.len && is_blank(t.at[t.len - 1]))
        t.len--;
    return t;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* RFC 9110 section 5.6.2: letters, digits and !#$%&'*+-.^_`|~, a bit for each octet. */
static bool is_token(struct text t)
{
    static const uint64_t octets[2] = {0x03ff6cfa00000000, 0x57ffffffc7fffffe};
    for (size_t i = 0; i < t.len; i++)
        if (t.at[i] >= 128 || !(octets[t.at[i] / 64] >> t.at[i] % 64 & 1))
            return false;
    return t.len > 0;
}

/* Takes a line without its CRLF off the front. @return 1; 0: its end has not come; -1: it has a CR
 * or LF by itself, or another control character (RFC 9110 section 5.5). */
static int take_line(struct text *from, struct text *line)
{
    for (size_t i = 0; i < from->len; i++) {
        uint8_t c = from->at[i];
        if ((c >= ' ' && c != 0x7f) || c == '\t')
            continue;
        if (c != '\r')
            return -1;
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
        if (is_digit(c))
            digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = 10 + (uint32_t)(c - 'a');
        if (digit >= base || *out > UINT32_MAX)
            return false;
        *out = *out * base + digit;
    }
    return t.len > 0;
}

/* RFC 9112 section 2.3. */
static bool is_version(struct text t)
{
    return t.len == 8 && memcmp(t.at, "HTTP/1.", 7) == 0 && is_digit(t.at[7]);
}

/* RFC 9112 section 4, and section 6.3 of which ones have no body. Many leave out the space behind
 * the code when no text follows. */
static bool take_status_line(struct head *h, struct text line)
{
    if (line.len < 12 || !is_version((struct text){line.at, 8}) || line.at[8] != ' ')
        return false;
    const uint8_t *code = line.at + 9;
    if (!is_digit(code[0]) || !is_digit(code[1]) || !is_digit(code[2]))
        return false;
    h->response = true;
    h->http10 = line.at[7] == '0';
    h->bodiless = code[0] == '1' || memcmp(code, "204", 3) == 0 || memcmp(code, "304", 3) == 0;
    return line.len == 12 || line.at[12] == ' ';
}

/* RFC 9112 section 3: method, target and version with one space between them. */
static bool take_request_line(struct head *h, struct text line)
{
    const uint8_t *space = memchr(line.at, ' ', line.len), *end = line.at + line.len;
    if (!space || end - space < 11 || end[-9] != ' ' || !is_version((struct text){end - 8, 8}))
        return false;
    struct text method = {line.at, (size_t)(space - line.at)};
    struct text target = {space + 1, (size_t)(end - 9 - (space + 1))};
    h->http10 = end[-1] == '0';
    return is_token(method) && !memchr(target.at, ' ', target.len) &&
           !memchr(target.at, '\t', target.len);
}

/* A field line. @return false when it is none: a name that is no token also has the blank in front
 * of a folded line or of the colon, RFC 9112 sections 5.1 and 5.2. */
static bool split_field(struct text line, struct text *name, struct text *value)
{
    const uint8_t *colon = memchr(line.at, ':', line.len);
    if (!colon)
        return false;
    *name = (struct text){line.at, (size_t)(colon - line.at)};
    *value = trimmed((struct text){colon + 1, line.len - name->len - 1});
    return is_token(*name);
}

/* @return false when the field makes it doubtful where the message ends. */
static bool take_field(struct head *h, struct text line)
{
    struct text name, value;
    if (!split_field(line, &name, &value))
        return false;
    if (same(name, "content-length")) {
        uint64_t octets;
        if (!number(value, 10, &octets) || (h->counted && octets != h->octets))
            return false;
        h->counted = true;
        h->octets = octets;
    } else if (same(name, "transfer-encoding")) {
        if (h->chunked || !same(value, "chunked")) /* no other coding is known here */
            return false;
        h->chunked = true;
    }
    return !h->chunked || !(h->counted || h->http10); /* RFC 9112 section 6.1 */
}

/* A chunk's first line without its extensions; blanks are only in front of those. RFC 9112
 * section 7.1. */
static bool chunk_size(struct text line, uint64_t *octets)
{
    const uint8_t *semicolon = memchr(line.at, ';', line.len);
    struct text size = {line.at, semicolon ? (size_t)(semicolon - line.at) : line.len};
    while (semicolon && size.len && is_blank(size.at[size.len - 1]))
        size.len--;
    return number(size, 16, octets);
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
        uint64_t octets;
        if (!chunk_size(line, &octets))
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
        struct text name, value;
        if (!split_field(line, &name, &value))
            return -1;
    }
}

/* @return as take_line(), or -1 for a start line that is none. An empty one, which RFC 9112
 * section 2.2 lets servers skip, would be no message. */
static int take_start(struct text *rest, struct head *h)
{
    struct text line;
    int found = take_line(rest, &line);
    if (found <= 0)
        return found;
    bool response = line.len >= 5 && memcmp(line.at, "HTTP/", 5) == 0;
    return (response ? take_status_line(h, line) : take_request_line(h, line)) ? 1 : -1;
}

int64_t qs_framing_http1(const uint8_t *data, size_t len)
{
    struct text rest = {data, len}, line;
    struct head h = {0};
    int found = take_start(&rest, &h);
    if (found <= 0)
        return found;
    for (;;) {
        found = take_line(&rest, &line);
        if (found <= 0)
            return found;
        if (line.len == 0)
            break;
        if (!take_field(&h, line))
            return -1;
    }
    int64_t head = rest.at - data;
    if (h.bodiless)
        return head;
    if (h.counted)
        return head + (int64_t)h.octets;
    if (h.chunked) {
        int64_t body = chunks(rest);
        return body > 0 ? head + body : body;
    }
    return h.response ? -1 : head; /* a response that ends with its connection is no message */
}
