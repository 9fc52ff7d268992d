/* SPDX-License-Identifier: Apache-2.0 */
/* Where messages end, by examples. Each one is also cut at every octet: until the length is told
 * more octets are asked for, and from then on it stays the same. */
#include "core/framing.h"
#include "qs_test.h"

static struct qs_framing_conf conf(struct qs_framing_opts o)
{
    struct qs_framing_conf f;
    REQUIRE(qs_framing_from(&f, &o));
    return f;
}

static struct qs_framing_conf of(enum qs_framing kind)
{
    struct qs_framing_opts o;
    qs_framing_opts_init(&o, kind);
    return conf(o);
}

/* In memory of its own, so that a read beyond the end is seen. */
static int64_t length(const struct qs_framing_conf *f, const void *data, size_t len)
{
    uint8_t *copy = malloc(len);
    REQUIRE(copy);
    memcpy(copy, data, len);
    int64_t n = qs_framing_length(f, copy, len);
    free(copy);
    return n;
}

/* `data` begins with a message of `want` octets; the length is known when `known` are there. */
static void whole(const struct qs_framing_conf *f, const char *data, size_t len, int64_t want,
                  size_t known)
{
    for (size_t n = 1; n <= len; n++) {
        int64_t got = length(f, data, n);
        if (got != (n < known ? 0 : want))
            fprintf(stderr, "%zu octets of %.40s\n", n, data);
        CHECK_EQ(got, n < known ? 0 : want);
    }
}
#define WHOLE(f, text, want, known) whole(f, text, sizeof(text) - 1, want, known)

/* No more octets make a message of it. */
static void refused(const struct qs_framing_conf *f, const char *text, size_t len)
{
    int64_t got = length(f, text, len);
    if (got != -1)
        fprintf(stderr, "not refused: %s\n", text);
    CHECK_EQ(got, -1);
}
#define REFUSED(f, text) refused(f, text, sizeof(text) - 1)

static void a_number_tells_the_length(void)
{
    struct qs_framing_conf f = of(QS_FRAMING_LENGTH);
    WHOLE(&f, "\0\0\0\003abcX", 7, 4);
    WHOLE(&f, "\0\0\0\0X", 4, 4);
    WHOLE(&f, "\377\377\377\377", 4294967299, 4);

    struct qs_framing_opts o;
    qs_framing_opts_init(&o, QS_FRAMING_LENGTH);
    o.length_at = 2;
    o.length_octets = 2;
    o.length_adds = 0;
    o.length_little = true;
    f = conf(o);
    WHOLE(&f, "ab\006\0cdX", 6, 4);
    WHOLE(&f, "ab\004\0X", 4, 4);
    REFUSED(&f, "ab\003\0"); /* less than up to its own end */

    o.length_octets = 8;
    f = conf(o);
    REFUSED(&f, "ab\377\377\377\377\377\377\377\377");
}

static void a_delimiter_ends_it(void)
{
    struct qs_framing_conf f = of(QS_FRAMING_DELIMITER);
    WHOLE(&f, "abc\nd\n", 4, 4);
    WHOLE(&f, "\n", 1, 1);
    struct qs_framing_opts o;
    qs_framing_opts_init(&o, QS_FRAMING_DELIMITER);
    memcpy(o.delimiter, "\r\n\r\n", 4);
    o.delimiter_octets = 4;
    f = conf(o);
    WHOLE(&f, "a\r\n\rb\r\n\r\r\n\r\nc", 12, 12);
}

static void only_a_delimiter_that_cannot_overlap_itself_is_looked_for_behind_a_hole(void)
{
    static const struct {
        const char *text;
        bool resyncs;
    } cases[] = {{"\n", true},   {"\r\n", true},      {"aa", false},
                 {"aba", false}, {"\r\n\r\n", false}, {"abc", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qs_framing_opts o;
        qs_framing_opts_init(&o, QS_FRAMING_DELIMITER);
        o.delimiter_octets = (uint32_t)strlen(cases[i].text);
        memcpy(o.delimiter, cases[i].text, o.delimiter_octets);
        CHECK_EQ(conf(o).resyncs, cases[i].resyncs);
    }
    CHECK(!of(QS_FRAMING_LENGTH).resyncs);
}

#define GET "GET / HTTP/1.1\r\nHost: a\r\n"

static void the_head_of_http_tells_the_body(void)
{
    struct qs_framing_conf f = of(QS_FRAMING_HTTP1);
    WHOLE(&f, GET "\r\nX", 27, 27);
    WHOLE(&f, "POST / HTTP/1.1\r\ncontent-LENGTH:\t3 \r\n\r\nabcX", 42, 39);
    WHOLE(&f, "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 60, 57);
    WHOLE(&f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 38, 38);
    WHOLE(&f, "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n", 33, 33);
    WHOLE(&f, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 48, 48);
    WHOLE(&f, "HTTP/1.1 101 Switching\r\n\r\n", 26, 26);
    WHOLE(&f, "HTTP/1.0 200\r\nContent-Length: 1\r\n\r\na", 36, 35); /* no text, no space */
}

#define CHUNKED "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n"

static void chunks_of_http_end_with_an_empty_one(void)
{
    struct qs_framing_conf f = of(QS_FRAMING_HTTP1);
    WHOLE(&f, CHUNKED "0\r\n\r\nX", 52, 52);
    WHOLE(&f, CHUNKED "a;name=1\r\n0123456789\r\n00\r\nTrailer: 1\r\n\r\nX", 87, 87);
    REFUSED(&f, CHUNKED "a\r\n0123456789ab");
    REFUSED(&f, CHUNKED "\r\n");
    REFUSED(&f, CHUNKED "g\r\n");
    REFUSED(&f, CHUNKED "-1\r\n");
    REFUSED(&f, CHUNKED "fffffffffffffffff\r\n");
    WHOLE(&f, CHUNKED "a \t;b\r\n0123456789\r\n0\r\n\r\n", 71, 71);
    REFUSED(&f, CHUNKED "a \r\n"); /* blanks are in front of extensions only */
    REFUSED(&f, CHUNKED " a\r\n");
    REFUSED(&f, CHUNKED "0\r\nno trailer\r\n");
    REFUSED(&f, CHUNKED "0\r\nA: b\r\n folded: c\r\n");
}

static void a_start_line_is_that_of_http1(void)
{
    struct qs_framing_conf f = of(QS_FRAMING_HTTP1);
    WHOLE(&f, "M-SEARCH * HTTP/1.0\r\n\r\n", 23, 23);
    WHOLE(&f, "GET /\303\244 HTTP/1.1\r\n\r\n", 20, 20);
    REFUSED(&f, "GET /\r\n"); /* HTTP/0.9 */
    REFUSED(&f, "GET / HTTP/2.0\r\n");
    REFUSED(&f, "GET / HTTP/1.x\r\n");
    REFUSED(&f, "GET /HTTP/1.1\r\n");
    REFUSED(&f, "GET /aHTTP/1.1\r\n");
    REFUSED(&f, "GET  HTTP/1.1\r\n");
    REFUSED(&f, "GET  / HTTP/1.1\r\n");
    REFUSED(&f, "GET /a b HTTP/1.1\r\n");
    REFUSED(&f, "GET /a\tb HTTP/1.1\r\n");
    REFUSED(&f, "G(T / HTTP/1.1\r\n");
    REFUSED(&f, " / HTTP/1.1\r\n");
    REFUSED(&f, "HTTP/1.1\r\n");
    REFUSED(&f, "HTTP/2.0 200 OK\r\n");
    REFUSED(&f, "HTTP/1.1  204 No Content\r\n");
    REFUSED(&f, "HTTP/1.1 20 OK\r\n");
    REFUSED(&f, "HTTP/1.1 20x OK\r\n");
    REFUSED(&f, "HTTP/1.1 2000 OK\r\n");
    REFUSED(&f, "\026\003\001"); /* TLS: at once */
}

static void a_name_of_http_is_a_token(void)
{
    static const char tokens[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                 "!#$%&'*+-.^_`|~";
    struct qs_framing_conf f = of(QS_FRAMING_HTTP1);
    char text[] = GET "x: b\r\n\r\n";
    for (int c = 0; c < 256; c++) {
        text[sizeof GET - 1] = (char)c;
        bool token = memchr(tokens, c, sizeof tokens - 1) != NULL;
        CHECK_EQ(length(&f, text, sizeof text - 1), token ? (int)sizeof text - 1 : -1);
    }
}

static void what_http_can_be_read_in_two_ways_is_refused(void)
{
    struct qs_framing_conf f = of(QS_FRAMING_HTTP1);
    REFUSED(&f, GET "Content-Length: 1\r\nContent-Length: 2\r\n");
    REFUSED(&f, GET "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n");
    REFUSED(&f, GET "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n");
    REFUSED(&f, GET "Transfer-Encoding: gzip, chunked\r\n");
    REFUSED(&f, GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n");
    REFUSED(&f, GET "Content-Length: +1\r\n");
    REFUSED(&f, GET "Content-Length: 1, 1\r\n");
    REFUSED(&f, GET "Content-Length: \r\n");
    REFUSED(&f, GET "Content-Length: 99999999999999999999\r\n");
    REFUSED(&f, GET "Content-Length : 1\r\n");
    REFUSED(&f, GET " folded\r\n");
    REFUSED(&f, GET "no colon\r\n");
    REFUSED(&f, GET "Content Length: 1\r\n");
    REFUSED(&f, GET "Content-Length\013: 1\r\n");
    REFUSED(&f, GET "Content-Length\303\244: 1\r\n");
    REFUSED(&f, GET "Transfer-Encoding: chunked\013\r\n");
    REFUSED(&f, GET "A: b\0");
    REFUSED(&f, GET "A: b\177");
    REFUSED(&f, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n");
    REFUSED(&f, "HTTP/1.1 204 X\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n");
    REFUSED(&f, GET ": no name\r\n");
    REFUSED(&f, "GET / HTTP/1.1\n");
    REFUSED(&f, "GET / HTTP/1.1\r\rX");
    REFUSED(&f, "\r\n");
    REFUSED(&f, "HTTP/1.1 200 OK\r\n\r\n"); /* ends with its connection */
}

static void a_value_of_redis_ends_with_all_that_is_in_it(void)
{
    struct qs_framing_conf f = of(QS_FRAMING_RESP);
    WHOLE(&f, "+OK\r\nX", 5, 5);
    WHOLE(&f, "$3\r\nabc\r\nX", 9, 4);
    WHOLE(&f, "$-1\r\nX", 5, 5);
    WHOLE(&f, "*0\r\n", 4, 4);
    WHOLE(&f, "*-1\r\n", 5, 5);
    WHOLE(&f, "*2\r\n$3\r\nGET\r\n$1\r\na\r\nX", 20, 17);
    WHOLE(&f, "*2\r\n*1\r\n:1\r\n+a\r\nX", 16, 16);
    WHOLE(&f, "%1\r\n+a\r\n:1\r\nX", 12, 12);
    WHOLE(&f, "|1\r\n+a\r\n:1\r\n:2\r\nX", 16, 16);
    WHOLE(&f, ">1\r\n_\r\nX", 7, 7);
    WHOLE(&f, "PING\r\nX", 6, 6);
    REFUSED(&f, "$+3\r\n");
    REFUSED(&f, "$ 3\r\n");
    REFUSED(&f, "$\r\n");
    REFUSED(&f, "$99999999999\r\n");
    REFUSED(&f, "%-1\r\n");
    REFUSED(&f, "=-1\r\n"); /* null is a string or an array */
    REFUSED(&f, "~-1\r\n");
    REFUSED(&f, "*-2\r\n");
    REFUSED(&f, "*2\r\n$1\r\nabc"); /* an octet more than it says */
    REFUSED(&f, "\026");            /* at once */
    REFUSED(&f, "+a\nb\r\n");
    REFUSED(&f, "+a\rb\r\n");
    REFUSED(&f, "?\r\n");
    REFUSED(&f, "*1\r\nPING\r\n"); /* an inline command is not inside of another value */
}

/* Numbers of values and octets stay numbers, however many add up. */
static void giant_numbers_of_redis_are_no_small_ones(void)
{
    struct qs_framing_conf f = of(QS_FRAMING_RESP);
    WHOLE(&f, "$9999999999\r\n", 10000000014, 13);
    WHOLE(&f, "*1\r\n$9999999999\r\n", 10000000018, 17);
    static const char level[] = "%9999999999\r\n";
    char deep[(sizeof level - 1) * 1000];
    for (size_t i = 0; i < sizeof deep; i += sizeof level - 1)
        memcpy(deep + i, level, sizeof level - 1);
    CHECK_EQ(length(&f, deep, sizeof deep), 0);
    static const char far[] = "*2\r\n$9999999999\r\n";
    CHECK_EQ(length(&f, far, sizeof far - 1), 0);
}

/* Whatever one octet of a message becomes: what is told is told for all that follows, and nothing
 * beyond the octets is read. */
static void one_wrong_octet_is_an_answer_that_stays(void)
{
    static const struct {
        enum qs_framing kind;
        const char *text;
    } rows[] = {
        {QS_FRAMING_LENGTH, "\1\1\1\1abc"},
        {QS_FRAMING_DELIMITER, "abc\nabc\n"},
        {QS_FRAMING_HTTP1, "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"},
        {QS_FRAMING_HTTP1, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"},
        {QS_FRAMING_HTTP1, CHUNKED "2;a=b\r\nab\r\n0\r\nA: b\r\n\r\n"},
        {QS_FRAMING_RESP, "*3\r\n%1\r\n+a\r\n:1\r\n*-1\r\n$2\r\nab\r\n"},
        {QS_FRAMING_RESP, "|1\r\n+a\r\n$1\r\nb\r\n=2\r\nab\r\n"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        struct qs_framing_conf f = of(rows[r].kind);
        size_t len = strlen(rows[r].text);
        for (size_t edit = 0; edit < len * 256; edit++) {
            char text[128];
            memcpy(text, rows[r].text, len);
            text[edit / 256] = (char)(edit % 256);
            int64_t told = 0, broken = 0;
            for (size_t n = 1; n <= len; n++) {
                int64_t got = length(&f, text, n);
                broken += told != 0 && got != told;
                told = got;
            }
            CHECK_EQ(broken, 0);
        }
    }
}

static int64_t three(const uint8_t *data, size_t len, void *ctx)
{
    (void)data, (void)len;
    return *(int *)ctx;
}

static void a_function_tells(void)
{
    int n = 3;
    struct qs_framing_opts o;
    qs_framing_opts_init(&o, QS_FRAMING_FUNCTION);
    struct qs_framing_conf f;
    CHECK(!qs_framing_from(&f, &o)); /* there is none */
    o.fn = three;
    o.ctx = &n;
    f = conf(o);
    CHECK_EQ(length(&f, "a", 1), 3);
}

static void what_is_out_of_range_is_refused(void)
{
    struct qs_framing_conf f;
    struct qs_framing_opts o;
    qs_framing_opts_init(&o, QS_FRAMING_LENGTH);
    o.length_octets = 5;
    CHECK(!qs_framing_from(&f, &o));
    o.length_octets = 4;
    o.length_at = 1025;
    CHECK(!qs_framing_from(&f, &o));
    o.length_at = 0;
    o.length_adds = 1025;
    CHECK(!qs_framing_from(&f, &o));
    qs_framing_opts_init(&o, QS_FRAMING_DELIMITER);
    o.delimiter_octets = 9;
    CHECK(!qs_framing_from(&f, &o));
    o.delimiter_octets = 0;
    CHECK(!qs_framing_from(&f, &o));
    qs_framing_opts_init(&o, (enum qs_framing)99);
    CHECK(!qs_framing_from(&f, &o));
    qs_framing_opts_init(&o, QS_FRAMING_RESP);
    o.size = 0;
    CHECK(!qs_framing_from(&f, &o));
}

int main(void)
{
    RUN(a_number_tells_the_length);
    RUN(a_delimiter_ends_it);
    RUN(only_a_delimiter_that_cannot_overlap_itself_is_looked_for_behind_a_hole);
    RUN(the_head_of_http_tells_the_body);
    RUN(chunks_of_http_end_with_an_empty_one);
    RUN(a_start_line_is_that_of_http1);
    RUN(a_name_of_http_is_a_token);
    RUN(what_http_can_be_read_in_two_ways_is_refused);
    RUN(a_value_of_redis_ends_with_all_that_is_in_it);
    RUN(giant_numbers_of_redis_are_no_small_ones);
    RUN(one_wrong_octet_is_an_answer_that_stays);
    RUN(a_function_tells);
    RUN(what_is_out_of_range_is_refused);
    return TEST_RESULT();
}
