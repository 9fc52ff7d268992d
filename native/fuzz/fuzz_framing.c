/* SPDX-License-Identifier: Apache-2.0 */
/* Framings and matches on any octets: no read beyond the end, and a length that was told for some
 * octets stays the same for more of them. The first octet chooses the framing. */
#include <stdlib.h>
#include <string.h>

#include "core/framing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct qs_framing_opts kinds[] = {
    {.kind = QS_FRAMING_LENGTH, .length_octets = 4, .length_adds = 4},
    {.kind = QS_FRAMING_LENGTH, .length_at = 3, .length_octets = 2, .length_little = true},
    {.kind = QS_FRAMING_DELIMITER, .delimiter = "\r\n", .delimiter_octets = 2},
    {.kind = QS_FRAMING_HTTP1},
    {.kind = QS_FRAMING_RESP},
};

static int64_t length(const struct qs_framing_conf *f, const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    if (!copy)
        abort();
    memcpy(copy, data, len);
    int64_t n = qs_framing_length(f, copy, len);
    free(copy);
    return n;
}

static void classify(const uint8_t *data, size_t len)
{
    static const struct qs_match matches[] = {
        {.what = QS_MATCH_OCTETS, .at = 1, .n_octets = 3, .octets = "abc", .mask = {1, 2, 3}},
        {.what = QS_MATCH_HTTP_PATH, .prio = 1, .text = "/a"},
        {.what = QS_MATCH_HTTP_HEADER, .prio = 2, .name = "a", .text = "b"},
    };
    struct qs_classifier_opts o;
    struct qs_classifier k;
    struct qs_flow flow = {.prio = 3};
    qs_classifier_opts_init(&o);
    o.matches = matches;
    o.n_matches = sizeof matches / sizeof matches[0];
    if (!qs_classifier_from(&k, &o))
        abort();
    int class = qs_classifier_class(&k, &flow, data, len);
    if (class < 0 || class > 3)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 512)
        return 0;
    struct qs_framing_opts o = kinds[data[0] % (sizeof kinds / sizeof kinds[0])];
    struct qs_framing_conf f;
    o.size = sizeof o;
    if (!qs_framing_from(&f, &o))
        abort();
    data++, size--;
    int64_t told = 0;
    for (size_t n = 1; n <= size; n++) {
        int64_t got = length(&f, data, n);
        if (told != 0 && got != told)
            abort();
        told = got;
    }
    classify(data, size);
    return 0;
}
