/* SPDX-License-Identifier: Apache-2.0 */
/* TIME-WAIT: RFC 9293 section 3.4.2 and 3.6.1, RFC 6191, RFC 1337. */
#include "rig.h"

/* In TIME-WAIT since 40 ms, given up by the application. */
static struct rig *in_time_wait(const char *syn_opts)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, syn_opts);
    const char *ts = syn_opts && strstr(syn_opts, "ts") ? "ts 1000:0" : "";
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    OUT(10, "F.", 1, 0, 1);
    IN(40, "F.", 1, 0, 2, .opts = ts);
    OUT(40, ".", 2, 0, 2);
    return r;
}

static void ends_after_two_msl(void)
{
    struct rig *r = in_time_wait(NULL);
    QUIET(60039);
    CHECK_COUNT(CONNS, 1);
    QUIET(60041);
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

static void second_fin_is_answered_and_starts_the_time_again(void)
{
    struct rig *r = in_time_wait(NULL);
    IN(50000, "F.", 1, 0, 2);
    OUT(50000, ".", 2, 0, 2);
    QUIET(109999);
    CHECK_COUNT(CONNS, 1);
    QUIET(110001);
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

static void r38_an_old_segment_does_not_end_it(void)
{
    struct rig *r = in_time_wait(NULL);
    IN(1000, "P.", 1, 1, 2); /* an old duplicate */
    OUT(1000, ".", 2, 0, 2);
    IN(2000, ".", 2, 0, 2);
    IN(3000, "R", 3, 0, 0); /* not exact: RFC 1337 section 3, hazard H1 */
    OUT(3000, ".", 2, 0, 2);
    CHECK_COUNT(CONNS, 1);
    rig_free(r);
}

/* RFC 1337 section 3: what is answered to an old duplicate draws a reset with the exact number from
 * a peer that has forgotten the connection. */
static void r38_a_reset_does_not_end_it(void)
{
    struct rig *r = in_time_wait(NULL);
    IN(1000, "P.", 1, 1, 2); /* an old duplicate */
    OUT(1000, ".", 2, 0, 2);
    IN(1001, "R", 2, 0, 0);
    IN(1002, "R.", 2, 0, 2);
    CHECK_COUNT(DROP_RST, 2);
    CHECK_COUNT(RESETS_RECEIVED, 0);
    QUIET(60039);
    CHECK_COUNT(CONNS, 1);
    QUIET(60041); /* and its time was not started again */
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

static void r38_r52_a_new_syn_may_take_its_place(void)
{
    static const struct {
        const char *first, *second;
        uint32_t seq;
        bool reused;
    } row[] = {
        {"mss 1000", "mss 1000", 3, true}, /* right of what we expect */
        {"mss 1000", "mss 1000", 0x7fffffff, true},
        {"mss 1000", "mss 1000", 2, false},
        {"mss 1000", "mss 1000", 0, false}, /* an old duplicate */
        {"mss 1000", "mss 1000", 0x80000003u, false},
        /* RFC 6191 section 2: with timestamps they decide, and the number only when they are equal
         */
        {"mss 1000 ts 900:0", "mss 1000 ts 1001:0", 0, true},
        {"mss 1000 ts 900:0", "mss 1000 ts 999:0", 500, false},
        {"mss 1000 ts 900:0", "mss 1000 ts 1000:0", 500, true},
        {"mss 1000 ts 900:0", "mss 1000 ts 1000:0", 1, false},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = in_time_wait(row[i].first);
        IN(1000, "S", row[i].seq, 0, 0, .opts = row[i].second);
        if (row[i].reused) {
            rig_run(r, 1000);
            struct frame *f = rig_take(r);
            REQUIRE(f);
            uint32_t iss = be(frame_l4(f) + 4, 4);
            CHECK_EQ(frame_l4(f)[13], 0x12);
            CHECK((int32_t)(iss - (r->iss + 2)) > 0); /* right of all that we ever sent there */
            r->iss = iss;
            IN(1001, ".", row[i].seq + 1, 0, 1,
               .opts = strstr(row[i].second, "ts") ? row[i].second + 9 : "");
            CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
        } else {
            OUT(1000, ".", 2, 0, 2);
        }
        CHECK_COUNT(CONNS, 1);
        rig_free(r);
    }
}

static void the_application_keeps_its_handle(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_TIME_WAIT); /* not closed by the application */
    IN(1000, "S", 500, 0, 0);
    OUT(1000, ".", 2, 0, 2);
    CHECK_EQ(rig_state(r), QS_TCP_TIME_WAIT);
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    IN(2000, "S", 500, 0, 0);
    rig_run(r, 2000);
    CHECK_EQ(frame_l4(rig_take(r))[13], 0x12);
    rig_free(r);
}

static void close_in_time_wait_is_quiet(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_TIME_WAIT);
    CHECK_EQ(qs_conn_close(r->e, r->conn), 0);
    QUIET(60041);
    CHECK_COUNT(CONNS, 0);
    CHECK_EQ(rig_event(r), 0);
    rig_free(r);
}

static void unread_octets_can_still_be_read(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_FIN_WAIT_2);
    IN(40, "FP.", 1, 70, 2);
    OUT(40, ".", 2, 0, 72);
    CHECK_EQ(rig_state(r), QS_TCP_TIME_WAIT);
    rig_run(r, 50000);
    CHECK_EQ(rig_read(r, 50), 50);
    rig_run(r, 70000); /* also when it is over */
    CHECK_EQ(rig_state(r), QS_TCP_CLOSED);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE | QS_EVENT_EOF);
    CHECK_EQ(rig_event(r), 0);
    CHECK_EQ(rig_read(r, 100), 20);
    CHECK_EQ(rig_read(r, 100), QS_ERR_EOF);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_COUNT(CONNS, 0);
    rig_free(r);
}

int main(void)
{
    RUN(ends_after_two_msl);
    RUN(second_fin_is_answered_and_starts_the_time_again);
    RUN(r38_an_old_segment_does_not_end_it);
    RUN(r38_a_reset_does_not_end_it);
    RUN(r38_r52_a_new_syn_may_take_its_place);
    RUN(the_application_keeps_its_handle);
    RUN(close_in_time_wait_is_quiet);
    RUN(unread_octets_can_still_be_read);
    return TEST_RESULT();
}
