/* SPDX-License-Identifier: Apache-2.0 */
/* What our ACKs tell of octets ahead of a hole (RFC 2018 section 4) and of those that came twice
 * (RFC 2883 section 4). */
#include "rig.h"

static struct rig *with_sack(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_listen(r);
    IN(0, "S", 0, 0, 0, .opts = "mss 1000 sok");
    OUT(0, "S.", 0, 0, 1, .opts = "mss 1460 sok");
    IN(10, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    return r;
}

/* The option is answered, not offered; in Linux's order and padding. */
static void agreed_in_the_handshake(void)
{
    static const char *const row[][2] = {
        {"mss 1000", "mss 1460"},
        {"mss 1000 sok", "mss 1460 sok"},
        {"mss 1000 sok ts 5:0 ws 7", "mss 1460 sok ts *:5 ws 3"},
        {"mss 1000 sok ws 7", "mss 1460 sok ws 3"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_listen(r);
        IN(0, "S", 0, 0, 0, .opts = row[i][0]);
        OUT(0, "S.", 0, 0, 1, .opts = row[i][1]);
        rig_free(r);
    }
}

static void none_without_agreement(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(20, ".", 1001, 1000, 1);
    OUT(20, ".", 1, 0, 1, .opts = "");
    IN(21, ".", 1001, 1000, 1);
    OUT(21, ".", 1, 0, 1, .opts = "");
    rig_free(r);
}

/* RFC 2018 section 4: the block of the segment that caused the ACK comes first. */
static void the_latest_block_first(void)
{
    struct rig *r = with_sack();
    IN(20, ".", 1001, 1000, 1);
    OUT(20, ".", 1, 0, 1, .opts = "sack 1001-2001");
    IN(21, ".", 3001, 1000, 1);
    OUT(21, ".", 1, 0, 1, .opts = "sack 3001-4001,1001-2001");
    IN(22, ".", 4001, 500, 1); /* grows the first */
    OUT(22, ".", 1, 0, 1, .opts = "sack 3001-4501,1001-2001");
    IN(23, ".", 6001, 1000, 1);
    OUT(23, ".", 1, 0, 1, .opts = "sack 6001-7001,3001-4501,1001-2001");
    IN(24, ".", 2001, 1000, 1); /* joins two */
    OUT(24, ".", 1, 0, 1, .opts = "sack 1001-4501,6001-7001");
    IN(25, ".", 1, 1000, 1); /* fills the hole */
    OUT(25, ".", 1, 0, 4501, .opts = "sack 6001-7001");
    IN(26, ".", 4501, 1500, 1);
    OUT(26, ".", 1, 0, 7001, .opts = "");
    CHECK_EQ(rig_read(r, 10000), 7000);
    rig_free(r);
}

/* Three are kept, as many as fit beside timestamps: the oldest is left out, and never one that
 * changed. */
static void no_more_than_fit(void)
{
    struct rig *r = with_sack();
    for (uint32_t i = 0; i < 5; i++) {
        rig_in(r, 20, &(struct seg){".", 1001 + 2000 * i, 1000, 1});
        rig_flush(r);
    }
    IN(21, ".", 11001, 1000, 1);
    OUT(21, ".", 1, 0, 1, .opts = "sack 11001-12001,9001-10001,7001-8001");
    rig_free(r);
}

static void data_makes_room_for_blocks(void)
{
    struct rig *r = with_sack();
    IN(20, ".", 1001, 1000, 1);
    OUT(20, ".", 1, 0, 1, .opts = "sack 1001-2001");
    rig_write(r, 1500);
    OUT(20, ".", 1, 988, 1,
        .opts = "sack 1001-2001"); /* 12 octets of options in a segment of 1,000 */
    OUT(20, "P.", 989, 512, 1, .opts = "sack 1001-2001");
    rig_free(r);
}

/* RFC 2883 section 4.1: once, as the first block. */
static void octets_that_came_twice(void)
{
    struct rig *r = with_sack();
    IN(20, ".", 1, 1000, 1);
    OUT(20, ".", 1, 0, 1001, .opts = "");
    IN(21, ".", 1001, 1000, 1);
    OUT(21, ".", 1, 0, 2001, .opts = "");
    IN(22, ".", 1, 1000, 1);
    OUT(22, ".", 1, 0, 2001, .opts = "sack 1-1001");
    IN(23, ".", 3001, 1000, 1);
    OUT(23, ".", 1, 0, 2001, .opts = "sack 3001-4001");
    IN(24, ".", 3001, 500, 1); /* ahead of the hole: section 4.2, inside the second block */
    OUT(24, ".", 1, 0, 2001, .opts = "sack 3001-3501,3001-4001");
    IN(25, ".", 1501, 1000, 1); /* half of it is new */
    OUT(25, ".", 1, 0, 2501, .opts = "sack 1501-2001,3001-4001");
    rig_free(r);
}

/* Random segments: every block told is truly there, and the union with the ACK never shrinks. */
static void every_block_is_true(void)
{
    uint64_t random = qs_test_seed();
    for (int run = 0; run < 50; run++) {
        struct rig *r = with_sack();
        bool here[6001] = {false};
        for (int i = 0; i < 200; i++) {
            uint64_t x = qs_test_random(&random);
            uint32_t seq = 1 + (uint32_t)(x % 5000), len = 1 + (uint32_t)(x >> 20) % 900;
            rig_in(r, 20 + i, &(struct seg){".", seq, len, 1});
            for (uint32_t k = seq; k < seq + len; k++)
                here[k] = true;
            rig_run(r, 20.5 + i);
            for (struct frame *f; (f = rig_take(r));) {
                struct wire_tcp t;
                frame_parse_tcp(f, &t);
                unsigned from, until;
                const char *at = strstr(t.opts, "sack ");
                for (at = at ? at + 5 : ""; sscanf(at, "%u-%u", &from, &until) == 2;) {
                    CHECK(from < until && until <= 6001);
                    for (uint32_t k = from; k < until; k++)
                        CHECK(here[k]);
                    at += strcspn(at, ",");
                    at += *at == ',';
                }
            }
        }
        rig_free(r);
    }
}

int main(void)
{
    RUN(agreed_in_the_handshake);
    RUN(none_without_agreement);
    RUN(the_latest_block_first);
    RUN(no_more_than_fit);
    RUN(data_makes_room_for_blocks);
    RUN(octets_that_came_twice);
    RUN(every_block_is_true);
    return TEST_RESULT();
}
