/* SPDX-License-Identifier: Apache-2.0 */
/* Messages that arrive: whole ones only, urgent ones ahead of what is lost or was not read, each
 * exactly once. In these, a message is its length in one octet, its class in another, and the rest;
 * or what a line feed ends, whose class is its first octet. */
#include "core/engine.h"
#include "rig.h"

#define HIGH 7

static int class_of_second(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx)
{
    (void)ctx;
    return data && len > 1 ? data[1] : flow->prio;
}

static int class_of_first(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx)
{
    (void)ctx, (void)len;
    return data ? data[0] - '0' : flow->prio;
}

static struct qs_framing_opts by_length(void)
{
    struct qs_framing_opts f;
    qs_framing_opts_init(&f, QS_FRAMING_LENGTH);
    f.length_octets = 1;
    f.length_adds = 0;
    return f;
}

/* Connected, at 10 ms. */
static struct rig *with_messages(const struct qs_framing_opts *f, qs_classify_fn fn)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_classifier_opts k;
    qs_classifier_opts_init(&k);
    k.fn = fn;
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    int number = qs_engine_messages(r->e, f, &k);
    REQUIRE(number > 0);
    l.messages = (uint8_t)number;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    IN(0, "S", 0, 0, 0, .opts = "mss 1000");
    OUT(0, "S.", 0, 0, 1);
    IN(10, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    return r;
}

static struct rig *with_lengths(void)
{
    struct qs_framing_opts f = by_length();
    return with_messages(&f, class_of_second);
}

static struct rig *with_lines(void)
{
    struct qs_framing_opts f;
    qs_framing_opts_init(&f, QS_FRAMING_DELIMITER);
    return with_messages(&f, class_of_first);
}

/* Octets arrive at `seq` of the peer's stream. */
static void arrive(struct rig *r, uint32_t seq, const void *data, uint32_t len)
{
    struct frame f;
    rig_build(r, &f, &(struct seg){".", seq, len, 1});
    memcpy(f.b + f.len - len, data, len);
    frame_fix(&f);
    rig_frame(r, 20, &f);
    rig_flush(r);
}

static uint64_t count(const struct rig *r, uint32_t prio, enum qs_class_counter which)
{
    uint64_t all[QS_N_CLASS_COUNTERS];
    REQUIRE(qs_engine_class_counters(r->e, prio, all, QS_N_CLASS_COUNTERS) == QS_N_CLASS_COUNTERS);
    return all[which];
}

/* Takes the next message of class `prio` or above, and compares it. */
static void expect(struct rig *r, uint32_t prio, const void *data, uint32_t len)
{
    struct qs_message m;
    uint8_t got[256];
    struct qs_span spans[4];
    CHECK_EQ(qs_conn_message(r->e, r->conn, prio, &m), 1);
    CHECK_EQ(m.len, len);
    int n = qs_conn_message_peek(r->e, r->conn, &m, 0, spans, 4);
    uint32_t at = 0;
    for (int i = 0; i < n && at + spans[i].len <= sizeof got; i++) {
        memcpy(got + at, spans[i].data, spans[i].len);
        at += (uint32_t)spans[i].len;
    }
    CHECK_EQ(at, len);
    CHECK(at == len && memcmp(got, data, len) == 0);
    CHECK_EQ(qs_conn_message_done(r->e, r->conn, &m), 0);
    CHECK_EQ(qs_conn_message_done(r->e, r->conn, &m), QS_ERR_ARG); /* once */
    rig_audit(r);
}
#define EXPECT(prio, text) expect(r, prio, text, sizeof(text) - 1)

static void expect_none(struct rig *r, uint32_t prio)
{
    struct qs_message m;
    CHECK_EQ(qs_conn_message(r->e, r->conn, prio, &m), 0);
}

#define A                                                                                          \
    "\x05\x00"                                                                                     \
    "aaa"
#define B                                                                                          \
    "\x06\x00"                                                                                     \
    "bbbb"
#define C                                                                                          \
    "\x05\x00"                                                                                     \
    "ccc"
#define U                                                                                          \
    "\x05\x07"                                                                                     \
    "uuu"
#define ARRIVE(seq, text) arrive(r, seq, text, sizeof(text) - 1)

static void a_message_comes_when_all_of_it_is_there(void)
{
    struct rig *r = with_lengths();
    ARRIVE(1, "\x05");
    ARRIVE(2, "\x00"
              "aa");
    CHECK_EQ(rig_event(r), 0);
    expect_none(r, 0);
    ARRIVE(5, "a" B);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    EXPECT(0, A);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE); /* one more waits */
    EXPECT(0, B);
    CHECK_EQ(rig_event(r), 0);
    expect_none(r, 0);
    rig_free(r);
}

static void an_urgent_one_goes_ahead_of_what_was_not_read(void)
{
    struct rig *r = with_lengths();
    ARRIVE(1, A B U A);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(r->ev.prio, HIGH);
    EXPECT(HIGH, U);
    expect_none(r, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(r->ev.prio, 0);
    EXPECT(0, A);
    EXPECT(0, B);
    EXPECT(0, A);
    expect_none(r, 0);
    CHECK_EQ(count(r, HIGH, QS_CLASS_OVERTOOK), 1);
    CHECK_EQ(rig_info(r).readable_bytes, 0);
    rig_free(r);
}

static void an_event_left_alone_is_followed_by_that_of_the_next_class(void)
{
    struct rig *r = with_lengths();
    ARRIVE(1, A U);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(r->ev.prio, HIGH);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(r->ev.prio, 0);
    CHECK_EQ(rig_event(r), 0);
    EXPECT(0, U); /* the most urgent one, whoever asks */
    EXPECT(0, A);
    rig_free(r);
}

/* Octets 3 to 5 of A are lost: its length is known, so is where U begins. */
static void an_urgent_one_goes_ahead_of_octets_that_are_lost(void)
{
    struct rig *r = with_lengths();
    ARRIVE(1, "\x05\x00");
    ARRIVE(6, U B);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(r->ev.prio, HIGH);
    EXPECT(HIGH, U);
    expect_none(r, 0);
    CHECK_EQ(rig_event(r), 0);
    ARRIVE(3, "aaa");
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    EXPECT(0, A);
    EXPECT(0, B);
    expect_none(r, 0);
    rig_free(r);
}

static void where_the_head_is_lost_nothing_is_guessed(void)
{
    struct rig *r = with_lengths();
    ARRIVE(6, U);
    CHECK_EQ(rig_event(r), 0);
    expect_none(r, 0);
    ARRIVE(1, A);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    EXPECT(HIGH, U);
    EXPECT(0, A);
    rig_free(r);
}

static void behind_a_delimiter_a_message_begins_whatever_was_lost(void)
{
    struct rig *r = with_lines();
    ARRIVE(5, "a\n7u\n0b\n7v"); /* "0aaa\n" without its first four octets */
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    EXPECT(HIGH, "7u\n");
    expect_none(r, 0);
    ARRIVE(20, "7w\n0c\n7y\n"); /* and another hole: where the first one begins is not known */
    EXPECT(HIGH, "7y\n");
    expect_none(r, 0);
    ARRIVE(15, "v\n7x\n"); /* now it is */
    EXPECT(HIGH, "7vv\n");
    EXPECT(HIGH, "7x\n");
    EXPECT(HIGH, "7w\n");
    expect_none(r, 0);
    ARRIVE(1, "0aaa");
    EXPECT(0, "0aaaa\n");
    EXPECT(0, "0b\n");
    EXPECT(0, "0c\n");
    expect_none(r, 0);
    rig_free(r);
}

/* Two holes: what is behind both comes, and what lies between them when it is whole. */
static void each_message_is_told_once_whichever_hole_is_filled_first(void)
{
    struct rig *r = with_lengths();
    ARRIVE(1, "\x05\x00"); /* A, its body lost */
    ARRIVE(6, "\x05\x07"
              "u"); /* U, its end lost */
    ARRIVE(11, U A);
    EXPECT(HIGH, U); /* the one at 11 */
    expect_none(r, 0);
    ARRIVE(9, "uu");
    EXPECT(HIGH, U); /* the one at 6 */
    expect_none(r, 0);
    ARRIVE(3, "aaa");
    EXPECT(0, A);
    EXPECT(0, A);
    expect_none(r, 0);
    CHECK_EQ(count(r, HIGH, QS_CLASS_MESSAGES), 2);
    rig_free(r);
}

static void more_urgent_ones_than_there_are_records_wait_and_are_not_lost(void)
{
    struct rig *r = with_lengths();
    ARRIVE(1, A);
    for (uint32_t i = 0; i < 3 * QS_MESSAGE_RECORDS; i++)
        ARRIVE(6 + 10 * i, U C);
    for (uint32_t i = 0; i < QS_MESSAGE_RECORDS; i++)
        EXPECT(HIGH, U);
    expect_none(r, HIGH); /* those behind have no place before A is gone */
    EXPECT(0, A);
    for (uint32_t i = 0; i < 2 * QS_MESSAGE_RECORDS; i++) { /* each C in front gives one back */
        EXPECT(0, U);
        EXPECT(0, C);
    }
    for (uint32_t i = 0; i < QS_MESSAGE_RECORDS; i++)
        EXPECT(0, C);
    expect_none(r, 0);
    rig_free(r);
}

/* A is never read; what is taken behind it, side by side, takes one place. */
static void urgent_ones_go_on_while_the_rest_is_not_read(void)
{
    struct rig *r = with_lengths();
    ARRIVE(1, A);
    for (uint32_t i = 0; i < 10 * QS_MESSAGE_RECORDS; i++) {
        ARRIVE(6 + 5 * i, U);
        EXPECT(HIGH, U);
    }
    ARRIVE(6 + 50 * QS_MESSAGE_RECORDS, U U U);
    struct qs_message first, second;
    CHECK_EQ(qs_conn_message(r->e, r->conn, HIGH, &first), 1);
    CHECK_EQ(qs_conn_message_done(r->e, r->conn, &first), 0);
    CHECK_EQ(qs_conn_message(r->e, r->conn, HIGH, &second), 1);
    CHECK_EQ(qs_conn_message_done(r->e, r->conn, &first), QS_ERR_ARG); /* within a range now */
    EXPECT(HIGH, U);
    EXPECT(HIGH, U);
    EXPECT(0, A);
    expect_none(r, 0);
    CHECK_EQ(rig_info(r).readable_bytes, 0);
    rig_free(r);
}

/* All places are taken by messages behind a hole; the one that fills it needs none. */
static void with_no_record_left_the_first_one_comes_in_order(void)
{
    struct rig *r = with_lengths();
    ARRIVE(1, "\x05\x07"
              "u");
    for (uint32_t i = 0; i < QS_MESSAGE_RECORDS; i++)
        ARRIVE(6 + 5 * i, U);
    for (uint32_t i = 0; i < QS_MESSAGE_RECORDS; i++)
        EXPECT(HIGH, U);
    ARRIVE(4, "uu");
    EXPECT(0, U);
    expect_none(r, 0);
    CHECK_EQ(rig_info(r).readable_bytes, 0);
    rig_free(r);
}

static void a_message_that_is_too_long_ends_the_connection(void)
{
    struct qs_framing_opts f = by_length();
    f.message_max = 100;
    struct rig *r = with_messages(&f, class_of_second);
    qs_conn first = r->conn;
    struct frame ack;
    IN(20, "S", 0, 0, 0, .opts = "mss 1000", .peer_port = 50000);
    rig_run(r, 20);
    struct wire_tcp t;
    struct frame *syn_ack = rig_take(r);
    REQUIRE(syn_ack);
    frame_parse_tcp(syn_ack, &t);
    uint32_t iss = r->iss;
    r->iss = t.seq;
    rig_build(r, &ack, &(struct seg){".", 1, 0, 1, .peer_port = 50000});
    rig_frame(r, 20, &ack);
    r->iss = iss;
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    qs_conn second = r->conn;
    r->conn = first;

    struct frame bad;
    rig_build(r, &bad, &(struct seg){".", 1, 1, 1});
    bad.b[bad.len - 1] = 101;
    frame_fix(&bad);
    rig_frame(r, 20, &bad);
    OUT(20, "R.", 1, 0, 2);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, QS_ERR_FRAMING);
    CHECK_EQ(count(r, 0, QS_CLASS_FRAMING_ERRORS), 1);
    struct qs_conn_info info;
    CHECK_EQ(qs_conn_info(r->e, second, &info), 0);
    CHECK_EQ(info.state, QS_TCP_ESTABLISHED);
    rig_free(r);
}

static void the_end_comes_after_the_last_message(void)
{
    struct rig *r = with_lengths();
    ARRIVE(1, A U "\x05\x00");
    IN(20, "F.", 13, 0, 1);
    rig_run(r, 20);
    rig_flush(r);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    EXPECT(HIGH, U);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    EXPECT(0, A);
    CHECK_EQ(rig_event(r), QS_EVENT_EOF);
    CHECK_EQ(count(r, 0, QS_CLASS_CUT), 1);
    struct qs_message m;
    CHECK_EQ(qs_conn_message(r->e, r->conn, 0, &m), QS_ERR_EOF);
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    OUT(20, "F.", 1, 0, 14);
    IN(30, ".", 14, 0, 2);
    rig_free(r);
}

static int liar(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx)
{
    (void)flow, (void)len, (void)ctx;
    return data ? 8 : -5;
}

static void an_answer_that_is_no_class_is_counted(void)
{
    struct qs_framing_opts f = by_length();
    struct rig *r = with_messages(&f, liar);
    uint64_t before = count(r, 0, QS_CLASS_UNCLASSIFIED);
    CHECK_EQ(before, 1); /* the connection's own */
    ARRIVE(1, A U);
    EXPECT(0, A);
    EXPECT(0, U);
    CHECK_EQ(count(r, 0, QS_CLASS_UNCLASSIFIED), before + 2);
    rig_free(r);
}

static int by_port(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx)
{
    (void)len, (void)ctx;
    return data ? 0 : flow->remote_port == RIG_PEER_PORT ? 3 : 0;
}

static void without_framing_a_connection_has_its_class_from_the_start(void)
{
    struct rig *r = with_messages(NULL, by_port);
    CHECK_EQ(r->ev.prio, 3);
    CHECK_EQ(rig_info(r).prio, 3);
    IN(20, "P.", 1, 10, 1);
    rig_run(r, 100);
    rig_flush(r);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(rig_read(r, 10), 10);
    struct qs_message m;
    CHECK_EQ(qs_conn_message(r->e, r->conn, 0, &m), QS_ERR_STATE);
    rig_free(r);
}

static void streams_have_no_messages_and_messages_no_streams(void)
{
    struct rig *r = with_lengths();
    struct qs_span span;
    uint8_t octet = 0;
    CHECK_EQ(qs_conn_peek(r->e, r->conn, &span, 1), QS_ERR_STATE);
    CHECK_EQ(qs_conn_consume(r->e, r->conn, 1), QS_ERR_STATE);
    CHECK_EQ(qs_conn_read(r->e, r->conn, &octet, 1), QS_ERR_STATE);
    CHECK_EQ(qs_conn_write(r->e, r->conn, &octet, 1), QS_ERR_STATE);
    rig_free(r);
}

static void what_is_out_of_range_is_refused(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_framing_opts f = by_length();
    f.message_max = rig_opts().rcvbuf_bytes; /* more than half of the receive buffer */
    CHECK_EQ(qs_engine_messages(r->e, &f, NULL), QS_ERR_ARG);
    f.message_max = 1000;
    int number = qs_engine_messages(r->e, &f, NULL);
    CHECK_EQ(number, 1);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.messages = 2;
    CHECK_EQ(qs_engine_listen(r->e, &l), QS_ERR_ARG); /* no such number */
    l.messages = 1;
    l.conn.rcvbuf_bytes = 1000;
    f.message_max = 0;
    CHECK(qs_engine_listen(r->e, &l) >= 0); /* the least there is has room for two */
    rig_free(r);
}

int main(void)
{
    RUN(a_message_comes_when_all_of_it_is_there);
    RUN(an_urgent_one_goes_ahead_of_what_was_not_read);
    RUN(an_event_left_alone_is_followed_by_that_of_the_next_class);
    RUN(an_urgent_one_goes_ahead_of_octets_that_are_lost);
    RUN(where_the_head_is_lost_nothing_is_guessed);
    RUN(behind_a_delimiter_a_message_begins_whatever_was_lost);
    RUN(each_message_is_told_once_whichever_hole_is_filled_first);
    RUN(more_urgent_ones_than_there_are_records_wait_and_are_not_lost);
    RUN(urgent_ones_go_on_while_the_rest_is_not_read);
    RUN(with_no_record_left_the_first_one_comes_in_order);
    RUN(a_message_that_is_too_long_ends_the_connection);
    RUN(the_end_comes_after_the_last_message);
    RUN(an_answer_that_is_no_class_is_counted);
    RUN(without_framing_a_connection_has_its_class_from_the_start);
    RUN(streams_have_no_messages_and_messages_no_streams);
    RUN(what_is_out_of_range_is_refused);
    return TEST_RESULT();
}
