/* SPDX-License-Identifier: Apache-2.0 */
/* The byte ring: records are whole wherever they lie, a full ring takes nothing, and two threads
 * see the same octets in the same order. */
#include "qs_test.h"
#include "runtime/ring.h"

#include <pthread.h>
#include <sched.h>

#define RING_BYTES 4096u

static void records_are_contiguous_across_the_end(void)
{
    struct qs_ring r;
    REQUIRE(qs_ring_init(&r, RING_BYTES) == 0);
    for (uint32_t i = 0; i < 1000; i++) { /* 1,000 octets do not divide the ring */
        uint8_t *to = qs_ring_reserve(&r, 1000, 0);
        REQUIRE(to != NULL);
        memset(to, (int)(i & 0xff), 1000);
        qs_ring_commit(&r, 1000);
        size_t bytes;
        const uint8_t *at = qs_ring_peek(&r, 0, &bytes);
        CHECK_EQ(bytes, 1000);
        for (uint32_t k = 0; k < 1000; k++)
            CHECK_EQ(at[k], i & 0xff);
        qs_ring_release(&r, 1000);
    }
    qs_ring_fini(&r);
}

static void a_full_ring_takes_nothing_until_it_is_given_back(void)
{
    struct qs_ring r;
    size_t bytes;
    REQUIRE(qs_ring_init(&r, RING_BYTES) == 0);
    CHECK(qs_ring_is_empty(&r));
    CHECK(qs_ring_reserve(&r, RING_BYTES + 8, 0) == NULL);
    CHECK(qs_ring_reserve(&r, RING_BYTES, 8) == NULL);
    REQUIRE(qs_ring_reserve(&r, RING_BYTES, 0) != NULL);
    qs_ring_commit(&r, RING_BYTES);
    CHECK(!qs_ring_is_empty(&r));
    CHECK_EQ(qs_ring_room(&r), 0);
    CHECK_EQ(qs_ring_free_bytes(&r), 0);
    CHECK(qs_ring_reserve(&r, 8, 0) == NULL);
    (void)qs_ring_peek(&r, 0, &bytes);
    CHECK_EQ(bytes, RING_BYTES);
    qs_ring_release(&r, 16);
    CHECK(qs_ring_reserve(&r, 24, 0) == NULL);
    CHECK(qs_ring_reserve(&r, 8, 16) == NULL);
    CHECK(qs_ring_reserve(&r, 8, 8) != NULL);
    CHECK_EQ(qs_ring_free_bytes(&r), 16);
    qs_ring_fini(&r);
}

static void what_was_seen_can_be_skipped(void)
{
    struct qs_ring r;
    size_t bytes;
    REQUIRE(qs_ring_init(&r, RING_BYTES) == 0);
    memcpy(qs_ring_reserve(&r, 8, 0), "firstone", 8);
    qs_ring_commit(&r, 8);
    (void)qs_ring_peek(&r, 0, &bytes);
    CHECK_EQ(bytes, 8);
    memcpy(qs_ring_reserve(&r, 8, 0), "next one", 8);
    qs_ring_commit(&r, 8);
    const uint8_t *at = qs_ring_peek(&r, 8, &bytes); /* came after the first look */
    CHECK_EQ(bytes, 8);
    CHECK_MEM(at, "next one", 8);
    (void)qs_ring_peek(&r, 16, &bytes);
    CHECK_EQ(bytes, 0);
    qs_ring_fini(&r);
}

static struct qs_ring shared;
static uint64_t seed;

#define N_RECORDS 200000u

static uint32_t record_len(uint64_t *state)
{
    return 8u + (uint32_t)(qs_test_random(state) % 120u) * 8u;
}

static void *produce(void *arg)
{
    uint64_t state = seed;
    (void)arg;
    for (uint32_t i = 0; i < N_RECORDS; i++) {
        uint32_t len = record_len(&state);
        uint8_t *to;
        while (!(to = qs_ring_reserve(&shared, len, 0)))
            sched_yield();
        memset(to, (int)(i & 0xff), len);
        memcpy(to, &len, sizeof len);
        qs_ring_commit(&shared, len);
    }
    return NULL;
}

static void two_threads_see_the_same_octets(void)
{
    pthread_t thread;
    seed = qs_test_seed();
    uint64_t state = seed;
    uint32_t n_wrong = 0;
    REQUIRE(qs_ring_init(&shared, RING_BYTES) == 0);
    REQUIRE(pthread_create(&thread, NULL, produce, NULL) == 0);
    for (uint32_t i = 0; i < N_RECORDS;) {
        size_t bytes, done = 0;
        const uint8_t *at = qs_ring_peek(&shared, 0, &bytes);
        if (bytes == 0)
            sched_yield();
        for (; done < bytes; i++) {
            uint32_t len, want = record_len(&state);
            memcpy(&len, at + done, sizeof len);
            REQUIRE(len == want); /* else all after it is nonsense */
            for (uint32_t k = sizeof len; k < len; k++)
                n_wrong += at[done + k] != (i & 0xff);
            done += len;
        }
        qs_ring_release(&shared, done);
    }
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_EQ(n_wrong, 0);
    CHECK(qs_ring_is_empty(&shared));
    qs_ring_fini(&shared);
}

int main(void)
{
    RUN(records_are_contiguous_across_the_end);
    RUN(a_full_ring_takes_nothing_until_it_is_given_back);
    RUN(what_was_seen_can_be_skipped);
    RUN(two_threads_see_the_same_octets);
    return TEST_RESULT();
}
