/* SPDX-License-Identifier: Apache-2.0 */
/* Messages that are sent: an urgent one goes in front of those that wait, never inside one, and
 * finds a part of the peer's window left for it. */
#include "core/engine.h"
#include "rig.h"

#define HIGH 7
#define MSS 1000u
#define ROOM 300000u

struct script {
    struct rig *r;
    uint32_t len;
    char flags[12];       /* of the last segment */
    uint8_t stream[ROOM]; /* what the peer has got, in order */
};

static struct script *connected(uint16_t wnd)
{
    static struct script s;
    s.len = 0;
    struct rig *r = s.r = rig_new(NULL, false);
    struct qs_framing_opts f;
    qs_framing_opts_init(&f, QS_FRAMING_DELIMITER);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    int number = qs_engine_messages(r->e, &f, NULL);
    REQUIRE(number > 0);
    l.messages = (uint8_t)number;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    r->wnd = wnd;
    IN(0, "S", 0, 0, 0, .opts = "mss 1000");
    OUT(0, "S.", 0, 0, 1);
    IN(10, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    return &s;
}

/* A message of `len` octets, all `letter`. */
static qs_err put_message(struct rig *r, uint32_t prio, char letter, uint32_t len)
{
    static uint8_t data[ROOM];
    REQUIRE(len <= ROOM);
    memset(data, letter, len);
    return qs_conn_send(r->e, r->conn, prio, data, len);
}

/* Takes what leaves until `ms`. @return octets that are new to the stream. */
static uint32_t take(struct script *s, double ms)
{
    struct wire_tcp t;
    uint32_t before = s->len;
    rig_run(s->r, ms);
    for (struct frame *f; (f = rig_take(s->r));) {
        frame_parse_tcp(f, &t);
        uint32_t at = t.seq - s->r->iss - 1;
        REQUIRE(at <= s->len && at + t.len <= ROOM);
        memcpy(s->stream + at, t.data, t.len);
        memcpy(s->flags, t.flags, sizeof s->flags);
        if (at + t.len > s->len)
            s->len = at + t.len;
    }
    rig_audit(s->r);
    return s->len - before;
}

/* The peer acknowledges all that it has got. */
static void ack(struct script *s, double ms, uint16_t wnd)
{
    s->r->wnd = wnd;
    rig_in(s->r, ms, &(struct seg){".", 1, 0, 1 + s->len});
}

/* The stream from `at` on is `len` octets of `letter`. */
static void expect(const struct script *s, uint32_t at, char letter, uint32_t len)
{
    uint32_t same = 0;
    while (same < len && at + same < s->len && s->stream[at + same] == (uint8_t)letter)
        same++;
    CHECK_EQ(same, len);
}

/* The window is 3 segments: a is on its way, b waits, and U comes last. */
static void an_urgent_one_goes_in_front_of_those_that_wait(void)
{
    struct script *s = connected(3 * MSS);
    CHECK_EQ(put_message(s->r, 0, 'a', 5 * MSS), 0);
    CHECK_EQ(put_message(s->r, 0, 'b', MSS), 0);
    CHECK_EQ(take(s, 10), 3 * MSS);
    CHECK_EQ(put_message(s->r, HIGH, 'U', 100), 0);
    CHECK_EQ(put_message(s->r, 3, 'c', 100), 0);
    ack(s, 20, 10 * MSS);
    take(s, 20);
    ack(s, 30, 10 * MSS);
    take(s, 30);
    CHECK_EQ(s->len, 6 * MSS + 200);
    expect(s, 0, 'a', 5 * MSS); /* never inside one */
    expect(s, 5 * MSS, 'U', 100);
    expect(s, 5 * MSS + 100, 'c', 100);
    expect(s, 5 * MSS + 200, 'b', MSS);
    rig_free(s->r);
}

static void its_frame_has_its_class(void)
{
    struct script *s = connected(10 * MSS);
    uint8_t room[2048];
    CHECK_EQ(put_message(s->r, HIGH, 'U', 100), 0);
    struct qs_frame f = {.data = room, .room = sizeof room};
    CHECK_EQ(qs_engine_tx(s->r->e, &f, 1, rig_now(s->r)), 1);
    CHECK_EQ(f.prio, HIGH);
    CHECK_EQ(put_message(s->r, 0, 'a', 100), 0);
    CHECK_EQ(put_message(s->r, HIGH, 'U', 100), 0); /* makes the connection that waits urgent */
    CHECK_EQ(qs_engine_tx(s->r->e, &f, 1, rig_now(s->r)), 1);
    CHECK_EQ(f.prio, HIGH);
    rig_free(s->r);
}

static void less_urgent_ones_leave_a_quarter_of_the_window(void)
{
    struct script *s = connected(8 * MSS);
    CHECK_EQ(put_message(s->r, HIGH, 'U', MSS), 0);
    take(s, 10);
    ack(s, 20, 8 * MSS);
    for (int i = 0; i < 9; i++)
        CHECK_EQ(put_message(s->r, 0, 'a', MSS), 0);
    CHECK_EQ(take(s, 20), 6 * MSS);
    CHECK_EQ(put_message(s->r, HIGH, 'U', MSS), 0);
    CHECK_EQ(take(s, 20), MSS);
    expect(s, 7 * MSS, 'U', MSS);
    /* The peer has got them and reads nothing: the rest waits, and probes that it is not
     * forgotten. */
    ack(s, 30, MSS);
    CHECK_EQ(take(s, 100), 0);
    CHECK_EQ(take(s, 2000), 1);
    ack(s, 2010, 8 * MSS);
    take(s, 2010);
    ack(s, 2020, 8 * MSS);
    take(s, 2020);
    CHECK_EQ(s->len, 11 * MSS);
    expect(s, 8 * MSS, 'a', 3 * MSS);
    rig_free(s->r);
}

/* Nobody ever sent an urgent one: there is nothing to leave room for. */
static void with_one_class_all_of_the_window_is_used(void)
{
    struct script *s = connected(8 * MSS);
    for (int i = 0; i < 9; i++)
        CHECK_EQ(put_message(s->r, 0, 'a', MSS), 0);
    CHECK_EQ(take(s, 10), 8 * MSS);
    rig_free(s->r);
}

static void the_end_comes_after_all_messages(void)
{
    struct script *s = connected(2 * MSS);
    CHECK_EQ(put_message(s->r, 0, 'a', 2 * MSS), 0);
    CHECK_EQ(put_message(s->r, 0, 'b', 2 * MSS), 0);
    CHECK_EQ(qs_conn_shutdown(s->r->e, s->r->conn), 0);
    CHECK_EQ(put_message(s->r, 0, 'c', MSS), QS_ERR_CLOSED);
    CHECK_EQ(take(s, 10), 2 * MSS);
    CHECK_EQ(rig_state(s->r), QS_TCP_FIN_WAIT_1);
    ack(s, 20, 4 * MSS);
    CHECK_EQ(take(s, 20), 2 * MSS);
    CHECK(strcmp(s->flags, "FP.") == 0);
    expect(s, 2 * MSS, 'b', 2 * MSS);
    s->len++; /* the FIN */
    ack(s, 30, 4 * MSS);
    CHECK_EQ(rig_state(s->r), QS_TCP_FIN_WAIT_2);
    rig_free(s->r);
}

static void all_of_a_message_or_nothing_is_taken(void)
{
    struct script *s = connected(2 * MSS);
    uint32_t size = rig_info(s->r).sndbuf_bytes;
    CHECK_EQ(put_message(s->r, 0, 'a', 0), QS_ERR_ARG);
    CHECK_EQ(put_message(s->r, QS_N_PRIO, 'a', 1), QS_ERR_ARG);
    CHECK_EQ(put_message(s->r, 0, 'a', size - 1000), 0);
    CHECK_EQ(rig_info(s->r).writable_bytes, 1000);
    CHECK_EQ(put_message(s->r, 0, 'b', 1001), QS_ERR_AGAIN);
    CHECK_EQ(rig_info(s->r).unacked_bytes, size - 1000);
    CHECK_EQ(put_message(s->r, 0, 'b', 1000), 0);
    CHECK_EQ(put_message(s->r, 0, 'c', 1), QS_ERR_AGAIN);
    take(s, 10);
    uint32_t events = 0;
    for (double ms = 20; s->len < size && ms < 10000; ms += 10) {
        ack(s, ms, 20 * MSS);
        take(s, ms);
        events |= rig_event(s->r);
    }
    CHECK_EQ(events, QS_EVENT_WRITABLE);
    expect(s, 0, 'a', size - 1000);
    expect(s, size - 1000, 'b', 1000);
    CHECK_EQ(qs_conn_abort(s->r->e, s->r->conn), 0);
    rig_flush(s->r);
    rig_free(s->r);
}

/* What waits goes with its connection. */
static void a_reset_gives_all_of_it_back(void)
{
    struct script *s = connected(2 * MSS);
    CHECK_EQ(put_message(s->r, 0, 'a', 10 * MSS), 0);
    CHECK_EQ(put_message(s->r, HIGH, 'U', 10 * MSS), 0);
    take(s, 10);
    rig_in(s->r, 20, &(struct seg){"R.", 1, 0, 1});
    CHECK_EQ(rig_event(s->r), QS_EVENT_CLOSED);
    CHECK_EQ(rig_count(s->r, QS_COUNT_CHUNKS), 0);
    rig_free(s->r);
}

int main(void)
{
    RUN(an_urgent_one_goes_in_front_of_those_that_wait);
    RUN(its_frame_has_its_class);
    RUN(less_urgent_ones_leave_a_quarter_of_the_window);
    RUN(with_one_class_all_of_the_window_is_used);
    RUN(the_end_comes_after_all_messages);
    RUN(all_of_a_message_or_nothing_is_taken);
    RUN(a_reset_gives_all_of_it_back);
    return TEST_RESULT();
}
