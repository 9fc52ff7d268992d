/* SPDX-License-Identifier: Apache-2.0 */
/* Classes of messages and connections by declaration. */
#include "core/addr.h"
#include "core/framing.h"
#include "qs_test.h"

static const struct qs_flow flow = {.remote = {{[10] = 0xff, [11] = 0xff, 10, 1, 2, 3}},
                                    .remote_port = 1000,
                                    .vlan = 5,
                                    .pcp = 3,
                                    .dscp = 46,
                                    .prio = 1};

static int class_by(const struct qs_match *matches, uint32_t n, const char *data)
{
    struct qs_classifier k;
    struct qs_classifier_opts o;
    qs_classifier_opts_init(&o);
    o.matches = matches;
    o.n_matches = n;
    REQUIRE(qs_classifier_from(&k, &o));
    size_t len = data ? strlen(data) : 0;
    uint8_t *copy = data ? malloc(len) : NULL; /* a read beyond the end is seen */
    if (copy)
        memcpy(copy, data, len);
    int class = qs_classifier_class(&k, &flow, copy, len);
    free(copy);
    return class;
}

/* Class 5, or 1 when it does not hold. */
static bool holds(struct qs_match m, const char *data)
{
    m.prio = 5;
    int class = class_by(&m, 1, data);
    CHECK(class == 5 || class == 1);
    return class == 5;
}

static void a_prefix_holds_for_what_is_in_it(void)
{
    struct qs_match m = {.what = QS_MATCH_REMOTE, .remote = flow.remote, .remote_bits = 128};
    CHECK(holds(m, NULL));
    m.remote.b[15] = 0;
    CHECK(!holds(m, NULL));
    m.remote_bits = 96 + 24;
    CHECK(holds(m, NULL));
    m.remote.b[14] = 3; /* 10.1.3.0/23 has 10.1.2.0 */
    CHECK(!holds(m, NULL));
    m.remote_bits = 96 + 23;
    CHECK(holds(m, NULL));
    m.remote_bits = 0;
    CHECK(holds(m, NULL));
}

static void header_fields_hold(void)
{
    struct qs_match m = {.what = QS_MATCH_REMOTE_PORT, .port_first = 1000, .port_last = 1001};
    CHECK(holds(m, NULL));
    m.port_first = 1001;
    CHECK(!holds(m, NULL));
    CHECK(holds((struct qs_match){.what = QS_MATCH_DSCP, .dscp = 46}, "a"));
    CHECK(!holds((struct qs_match){.what = QS_MATCH_DSCP, .dscp = 0}, "a"));
    CHECK(holds((struct qs_match){.what = QS_MATCH_VLAN, .vlan = 5}, NULL));
    CHECK(!holds((struct qs_match){.what = QS_MATCH_VLAN, .vlan = 0}, NULL));
    CHECK(holds((struct qs_match){.what = QS_MATCH_PCP, .pcp = 3}, NULL));
    CHECK(!holds((struct qs_match){.what = QS_MATCH_PCP | QS_MATCH_VLAN, .vlan = 5}, NULL));
    CHECK(holds((struct qs_match){.what = 0}, NULL));
}

static void octets_hold_under_their_mask(void)
{
    struct qs_match m = {
        .what = QS_MATCH_OCTETS, .at = 2, .n_octets = 2, .octets = "cd", .mask = {0xff, 0xff}};
    CHECK(holds(m, "abcd"));
    CHECK(!holds(m, "abc"));
    CHECK(!holds(m, "abce"));
    CHECK(!holds(m, NULL)); /* a connection has no octets */
    m.mask[1] = 0xfe;
    CHECK(!holds(m, "abcf"));
    CHECK(holds(m, "abce"));
}

static void paths_and_headers_hold(void)
{
    struct qs_match path = {.what = QS_MATCH_HTTP_PATH, .text = "/api/"};
    CHECK(holds(path, "GET /api/x HTTP/1.1\r\n\r\n"));
    CHECK(!holds(path, "GET /app HTTP/1.1\r\n\r\n"));
    CHECK(!holds(path, "GET /ap"));
    CHECK(!holds(path, "GET"));
    struct qs_match header = {.what = QS_MATCH_HTTP_HEADER, .name = "x-class", .text = "Gold"};
    CHECK(holds(header, "GET / HTTP/1.1\r\nA: b\r\nX-Class:  Gold \r\n\r\n"));
    CHECK(holds(header, "GET / HTTP/1.1\r\nx-class:Gold\r\n\r\n"));
    CHECK(!holds(header, "GET / HTTP/1.1\r\nX-Class: gold\r\n\r\n"));
    CHECK(!holds(header, "GET / HTTP/1.1\r\nX-Classy: Gold\r\n\r\n"));
    CHECK(!holds(header, "GET / HTTP/1.1\r\nX\rClass: Gold\r\n\r\n"));
    CHECK(!holds(header, "GET / HTTP/1.1\r\n\r\nX-Class: Gold\r\n"));
    CHECK(!holds(header, "GET / HTTP/1.1\r\nX-Class: Gold"));
    CHECK(!holds(header, "x-class: Gold\r\n\r\n")); /* where the request line is */
    CHECK(!holds(header, "\r"));
    CHECK(!holds(header, "GET / HTTP/1.1\r\nX-Blass: Gold\r\n\r\n"));
    CHECK(!holds(header, "GET / HTTP/1.1\r\nX-Class;Gold\r\n\r\n"));
    CHECK(!holds(header, NULL)); /* a connection has none */
    CHECK(!holds(path, NULL));
    struct qs_match mark = {.what = QS_MATCH_HTTP_HEADER, .name = "a^", .text = "b"};
    CHECK(holds(mark, "GET / HTTP/1.1\r\nA^: b\r\n\r\n"));
    CHECK(!holds(mark, "GET / HTTP/1.1\r\na~: b\r\n\r\n")); /* one bit off, and no letter */
}

static void the_first_that_holds_says_the_class(void)
{
    const struct qs_match both[] = {{.what = QS_MATCH_DSCP, .dscp = 46, .prio = 3}, {.prio = 6}};
    CHECK_EQ(class_by(both, 2, NULL), 3);
    CHECK_EQ(class_by(both + 1, 1, NULL), 6);
    CHECK_EQ(class_by(NULL, 0, NULL), 1); /* that of the flow */
    const struct qs_match all = {.what = QS_MATCH_DSCP | QS_MATCH_REMOTE_PORT, .dscp = 46};
    CHECK(!holds(all, NULL));
}

static int four(const struct qs_flow *f, const uint8_t *data, size_t len, void *ctx)
{
    (void)f, (void)data, (void)len, (void)ctx;
    return 4;
}

static void a_function_is_asked_last(void)
{
    struct qs_match m = {.what = QS_MATCH_DSCP, .dscp = 0, .prio = 7};
    struct qs_classifier_opts o;
    struct qs_classifier k;
    qs_classifier_opts_init(&o);
    o.matches = &m;
    o.n_matches = 1;
    o.fn = four;
    REQUIRE(qs_classifier_from(&k, &o));
    CHECK_EQ(qs_classifier_class(&k, &flow, NULL, 0), 4);
    CHECK_EQ(qs_classifier_classes(&k), 0xff);
    k.fn = NULL;
    CHECK_EQ(qs_classifier_classes(&k), 1u << 7);
}

static bool taken(struct qs_match m)
{
    struct qs_classifier k;
    struct qs_classifier_opts o;
    qs_classifier_opts_init(&o);
    o.matches = &m;
    o.n_matches = 1;
    return qs_classifier_from(&k, &o);
}

static void what_is_out_of_range_is_refused(void)
{
    CHECK(taken((struct qs_match){.prio = 7}));
    CHECK(!taken((struct qs_match){.prio = 8}));
    CHECK(!taken((struct qs_match){.what = 1u << 8}));
    CHECK(taken((struct qs_match){.what = QS_MATCH_VLAN, .vlan = 4094}));
    CHECK(!taken((struct qs_match){.what = QS_MATCH_VLAN, .vlan = 4095}));
    CHECK(taken((struct qs_match){.what = QS_MATCH_PCP, .pcp = 7}));
    CHECK(!taken((struct qs_match){.what = QS_MATCH_PCP, .pcp = 8}));
    CHECK(!taken((struct qs_match){.what = QS_MATCH_REMOTE, .remote_bits = 129}));
    CHECK(!taken((struct qs_match){.what = QS_MATCH_REMOTE_PORT, .port_first = 2, .port_last = 1}));
    CHECK(!taken((struct qs_match){.what = QS_MATCH_DSCP, .dscp = 64}));
    CHECK(!taken((struct qs_match){.what = QS_MATCH_OCTETS, .n_octets = 0}));
    CHECK(!taken((struct qs_match){.what = QS_MATCH_OCTETS, .n_octets = 17}));
    CHECK(!taken((struct qs_match){.what = QS_MATCH_OCTETS, .n_octets = 1, .at = 16384}));
    struct qs_match endless = {.what = QS_MATCH_HTTP_PATH};
    memset(endless.text, 'a', sizeof endless.text);
    CHECK(!taken(endless));
    CHECK(!taken((struct qs_match){.what = QS_MATCH_HTTP_HEADER, .text = "no name"}));
    struct qs_match nameless = {.what = QS_MATCH_HTTP_HEADER, .text = "endless name"};
    memset(nameless.name, 'a', sizeof nameless.name);
    CHECK(!taken(nameless));
    CHECK(!taken((struct qs_match){
        .what = QS_MATCH_HTTP_PATH | QS_MATCH_HTTP_HEADER, .name = "a", .text = "b"}));
}

static void a_list_that_is_none_is_refused(void)
{
    static const struct qs_match many[QS_MATCHES_MAX + 1];
    struct qs_classifier k;
    struct qs_classifier_opts o;
    qs_classifier_opts_init(&o);
    CHECK(qs_classifier_from(&k, &o));
    o.n_matches = 1;
    CHECK(!qs_classifier_from(&k, &o));
    o.matches = many;
    o.n_matches = QS_MATCHES_MAX;
    CHECK(qs_classifier_from(&k, &o));
    o.n_matches++;
    CHECK(!qs_classifier_from(&k, &o));
    o.n_matches = 0;
    o.size--;
    CHECK(!qs_classifier_from(&k, &o));
}

int main(void)
{
    RUN(a_prefix_holds_for_what_is_in_it);
    RUN(header_fields_hold);
    RUN(octets_hold_under_their_mask);
    RUN(paths_and_headers_hold);
    RUN(the_first_that_holds_says_the_class);
    RUN(a_function_is_asked_last);
    RUN(what_is_out_of_range_is_refused);
    RUN(a_list_that_is_none_is_refused);
    return TEST_RESULT();
}
