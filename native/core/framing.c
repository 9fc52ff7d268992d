/* SPDX-License-Identifier: Apache-2.0 */
/* Where messages end: lengths, delimiters, and a function. HTTP/1.1 and RESP have files of their
 * own. */
#include "framing.h"

#include <string.h>

#define LENGTH_AT_MAX 1024u
#define LENGTH_ADDS_MAX 1024

void qs_framing_opts_init(struct qs_framing_opts *o, enum qs_framing kind)
{
    *o = (struct qs_framing_opts){.size = sizeof *o,
                                  .kind = kind,
                                  .length_octets = 4,
                                  .length_adds = 4,
                                  .delimiter = {'\n'},
                                  .delimiter_octets = 1};
}

static bool length_fine(const struct qs_framing_opts *o)
{
    uint32_t n = o->length_octets;
    return o->length_at <= LENGTH_AT_MAX && ((n >= 1 && n <= 4) || n == 8) &&
           o->length_adds >= -LENGTH_ADDS_MAX && o->length_adds <= LENGTH_ADDS_MAX;
}

static bool delimiter_fine(const struct qs_framing_opts *o)
{
    return o->delimiter_octets >= 1 && o->delimiter_octets <= sizeof o->delimiter;
}

/* A delimiter whose end is also its start may be found one octet off when what is in front of it is
 * not known: in "xaaa" the first "aa" ends at 3, behind a lost x at 2. */
static bool has_border(const struct qs_framing_opts *o)
{
    for (uint32_t n = 1; n < o->delimiter_octets; n++)
        if (memcmp(o->delimiter, o->delimiter + o->delimiter_octets - n, n) == 0)
            return true;
    return false;
}

bool qs_framing_from(struct qs_framing_conf *to, const struct qs_framing_opts *o)
{
    *to = (struct qs_framing_conf){.opts = *o};
    if (o->size != sizeof *o)
        return false;
    switch (o->kind) {
    case QS_FRAMING_LENGTH:
        return length_fine(o);
    case QS_FRAMING_DELIMITER:
        to->resyncs = delimiter_fine(o) && !has_border(o);
        return delimiter_fine(o);
    case QS_FRAMING_HTTP1:
    case QS_FRAMING_RESP:
        return true;
    case QS_FRAMING_FUNCTION:
        return o->fn != NULL;
    }
    return false;
}

static int64_t by_length(const struct qs_framing_opts *o, const uint8_t *data, size_t len)
{
    uint32_t head = o->length_at + o->length_octets;
    uint64_t number = 0;
    if (len < head)
        return 0;
    for (uint32_t i = 0; i < o->length_octets; i++)
        number = number << 8 | data[o->length_little ? head - 1 - i : o->length_at + i];
    if (number > INT64_MAX / 2)
        return -1;
    int64_t all = (int64_t)number + o->length_adds;
    return all < (int64_t)head ? -1 : all;
}

size_t qs_framing_resync(const struct qs_framing_conf *f, const uint8_t *data, size_t len)
{
    uint32_t n = f->opts.delimiter_octets;
    const uint8_t *last = f->opts.delimiter + n - 1, *end = data + len;
    if (len < n)
        return 0;
    for (const uint8_t *at = data + n - 1; (at = memchr(at, *last, (size_t)(end - at))); at++) {
        if (memcmp(at - (n - 1), f->opts.delimiter, n) == 0)
            return (size_t)(at - data) + 1;
        if (at + 1 == end)
            break;
    }
    return 0;
}

int64_t qs_framing_length(const struct qs_framing_conf *f, const uint8_t *data, size_t len)
{
    switch (f->opts.kind) {
    case QS_FRAMING_LENGTH:
        return by_length(&f->opts, data, len);
    case QS_FRAMING_DELIMITER:
        return (int64_t)qs_framing_resync(f, data, len);
    case QS_FRAMING_HTTP1:
        return qs_framing_http1(data, len);
    case QS_FRAMING_RESP:
        return qs_framing_resp(data, len);
    case QS_FRAMING_FUNCTION:
        return f->opts.fn(data, len, f->opts.ctx);
    }
    return -1;
}
