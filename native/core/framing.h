/* SPDX-License-Identifier: Apache-2.0 */
/* Where messages end, and which class they are: qs_message.h. Pure functions of octets. */
#ifndef QS_CORE_FRAMING_H
#define QS_CORE_FRAMING_H

#include "qstack/qs_message.h"

/* Checked. */
struct qs_framing_conf {
    struct qs_framing_opts opts;
    bool resyncs; /* a delimiter found anywhere is one: boundaries behind a hole can be found */
};

struct qs_classifier {
    uint32_t n_matches;
    struct qs_match matches[QS_MATCHES_MAX];
    qs_classify_fn fn;
    void *ctx;
};

/* framing.c. @return false when something is out of range; `message_max` is not looked at. */
bool qs_framing_from(struct qs_framing_conf *to, const struct qs_framing_opts *o);
/* As qs_framing_fn. */
int64_t qs_framing_length(const struct qs_framing_conf *f, const uint8_t *data, size_t len);
/* Octets up to the end of the first delimiter in `data`, or 0: for framings that resync. */
size_t qs_framing_resync(const struct qs_framing_conf *f, const uint8_t *data, size_t len);

/* framing_http.c, framing_resp.c. As qs_framing_fn. */
int64_t qs_framing_http1(const uint8_t *data, size_t len);
int64_t qs_framing_resp(const uint8_t *data, size_t len);

/* match.c. @return false when something is out of range. */
bool qs_classifier_from(struct qs_classifier *to, const struct qs_classifier_opts *o);
/* As qs_classify_fn: [0, 7], or anything else when the function says so. */
int qs_classifier_class(const struct qs_classifier *k, const struct qs_flow *flow,
                        const uint8_t *data, size_t len);
/* A bit for each class that it may name. */
uint32_t qs_classifier_classes(const struct qs_classifier *k);

#endif
