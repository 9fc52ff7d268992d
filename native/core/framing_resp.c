/* SPDX-License-Identifier: Apache-2.0 */
/* Where a value of RESP2 or RESP3 ends, the protocol of Redis:
 * redis.io/docs/reference/protocol-spec. Values inside of values are counted, not followed, so
 * depth costs nothing. */
#include "framing.h"

#include <string.h>

#define NUMBER_DIGITS_MAX 10

/* A line up to its CRLF. @return 1, 0: it has not ended, -1: a CR or LF by itself. */
static int take_line(const uint8_t *data, size_t len, size_t *octets)
{
    const uint8_t *cr = memchr(data, '\r', len);
    size_t before = cr ? (size_t)(cr - data) : len;
    if (memchr(data, '\n', before))
        return -1;
    if (!cr || before + 1 == len)
        return 0;
    *octets = before + 2;
    return data[before + 1] == '\n' ? 1 : -1;
}

/* The digits between the first octet and CRLF: a length. RESP2 has -1 for null, which brings
 * nothing. @return false otherwise. */
static bool length_in(const uint8_t *data, size_t octets, int64_t *number)
{
    size_t digits = octets - 3;
    bool nullable = data[0] == '$' || data[0] == '*';
    *number = 0;
    if (nullable && digits == 2 && data[1] == '-' && data[2] == '1') {
        *number = -1;
        return true;
    }
    if (digits < 1 || digits > NUMBER_DIGITS_MAX)
        return false;
    for (size_t i = 1; i <= digits; i++) {
        if (data[i] < '0' || data[i] > '9')
            return false;
        *number = *number * 10 + (data[i] - '0');
    }
    return true;
}

/* What one line of a value brings: values that follow, or octets. */
struct step {
    int64_t values, octets; /* of octets: with their CRLF */
};

/* @return false when no value begins like this. */
static bool step_of(const uint8_t *data, size_t octets, struct step *out)
{
    int64_t n;
    *out = (struct step){0, 0};
    switch (data[0]) {
    case '+':
    case '-':
    case ':':
    case '_':
    case '#':
    case ',':
    case '(':
        return true;
    case '$':
    case '=':
    case '!':
        if (!length_in(data, octets, &n))
            return false;
        out->octets = n < 0 ? 0 : n + 2;
        return true;
    case '*':
    case '~':
    case '>':
        if (!length_in(data, octets, &n))
            return false;
        out->values = n < 0 ? 0 : n;
        return true;
    case '%':
        if (!length_in(data, octets, &n))
            return false;
        out->values = 2 * n;
        return true;
    case '|': /* attributes, in front of the value that they are about */
        if (!length_in(data, octets, &n))
            return false;
        out->values = 2 * n + 1;
        return true;
    default:
        return false;
    }
}

/* A command of words, as people type it. */
static bool is_inline(uint8_t first)
{
    return (first >= 'A' && first <= 'Z') || (first >= 'a' && first <= 'z');
}

static bool is_type(uint8_t first)
{
    static const char types[] = "+-:_#,($=!*~>%|";
    return memchr(types, first, sizeof types - 1) != NULL;
}

/* Do the octets before `end`, as far as they are there, not end with CRLF? */
static bool lacks_crlf(const uint8_t *data, size_t len, int64_t end)
{
    return end <= (int64_t)len && (data[end - 2] != '\r' || data[end - 1] != '\n');
}

int64_t qs_framing_resp(const uint8_t *data, size_t len)
{
    int64_t at = 0, values = 1;
    while (values > 0) {
        size_t octets;
        if (at >= (int64_t)len)
            return 0;
        if (!is_type(data[at]) && !(at == 0 && is_inline(data[0])))
            return -1; /* at once, not when a line ends */
        int found = take_line(data + at, len - (size_t)at, &octets);
        if (found <= 0)
            return found;
        if (at == 0 && is_inline(data[0]))
            return (int64_t)octets;
        struct step s;
        if (!step_of(data + at, octets, &s))
            return -1;
        at += (int64_t)octets + s.octets;
        values += s.values - 1;
        /* Of the last octets in a message the end is told before they are there. */
        if (s.octets && values > 0 && lacks_crlf(data, len, at))
            return -1;
    }
    return at;
}
