/* SPDX-License-Identifier: Apache-2.0 */
/* Readers while the control side changes everything: each verdict is one that held before or after
 * a change. The frame always matches some rule; a rule that is replaced leaves no gap, also when
 * its mask changes. Two keys take turns; each hash is that of one of them. */
#include "qs_softnic_test.h"

#include <pthread.h>

#define N_READERS 2
#define QUEUE_OF_LOCATION(l) ((l) + 1u)

static struct qs_softnic *nic;
static struct test_frame steered, hashed;
static uint32_t hashes[2];
static bool stop;

struct reader {
    pthread_t thread;
    uint64_t looks, wrong_queue, wrong_entry, wrong_hash, wrong_table;
};

static bool stopped(void)
{
    return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void *read_verdicts(void *arg)
{
    struct reader *r = arg;
    for (; !stopped(); r->looks++) {
        struct qs_softnic_verdict v = test_look(nic, &steered);
        /* locations 0 and 1 both match, in turns with other masks; 2 is always there below them */
        r->wrong_queue += v.queue < QUEUE_OF_LOCATION(0) || v.queue > QUEUE_OF_LOCATION(1);
        r->wrong_entry += v.entry == 0;
        v = test_look(nic, &hashed);
        r->wrong_hash += v.hash != hashes[0] && v.hash != hashes[1];
        r->wrong_table += v.queue != 5 && v.queue != 6;
    }
    return NULL;
}

/* A rule that matches `steered`, with one of `n` masks. */
static struct qs_softnic_rule matching_rule(uint32_t location, uint64_t choice)
{
    struct qs_softnic_rule rule = {.value = steered.key,
                                   .mask = {.proto = 0xff, .family = 0xff},
                                   .location = location,
                                   .queue = QUEUE_OF_LOCATION(location)};
    if (choice & 1)
        memset(rule.mask.dport, 0xff, 2);
    if (choice & 2)
        memset(rule.mask.src, 0xff, 16);
    if (choice & 4)
        memset(rule.mask.dst, 0xff, 16);
    return rule;
}

/* Rules for other ports, which keep entries, groups and buckets changing their use. */
static void churn(uint64_t *random)
{
    uint64_t r = qs_test_random(random);
    struct qs_softnic_rule rule = matching_rule(100 + (uint32_t)(r & 31), 1);
    test_put16(rule.value.dport, (unsigned)(r >> 8 & 63) + 30000);
    if (r >> 16 & 1)
        rule.mask.tos = (uint8_t)(1u << (r >> 20 & 3));
    rule.queue = 7;
    if (r >> 24 & 1)
        REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0);
    else
        (void)!qs_softnic_rule_delete(nic, rule.location);
}

static void every_verdict_is_old_or_new(void)
{
    uint64_t random = qs_test_seed();
    struct reader readers[N_READERS] = {0};
    uint32_t tables[2][QS_SOFTNIC_INDIR_SIZE];
    uint8_t other_key[QS_SOFTNIC_KEY_BYTES];
    nic = test_new_nic(8);
    test_vector_frame(&steered, &test_vectors[0], 6);
    test_vector_frame(&hashed, &test_vectors[5], 6);
    for (size_t i = 0; i < sizeof other_key; i++)
        other_key[i] = (uint8_t)qs_test_random(&random);
    hashes[0] = test_vectors[5].hash4;
    hashes[1] = model_rss(other_key, &hashed.key);
    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
        tables[0][i] = 5, tables[1][i] = 6;
    REQUIRE(qs_softnic_set_indir(nic, tables[0]) == 0);
    struct qs_softnic_rule rule = matching_rule(1, 0);
    REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0);

    for (int i = 0; i < N_READERS; i++)
        REQUIRE(pthread_create(&readers[i].thread, NULL, read_verdicts, &readers[i]) == 0);
    for (int i = 0; i < 100000; i++) {
        uint64_t r = qs_test_random(&random);
        rule = matching_rule(1, r); /* location 1 is never empty */
        REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0);
        rule = matching_rule(0, r >> 8); /* location 0 comes and goes */
        if (r >> 16 & 1)
            REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0);
        else
            (void)!qs_softnic_rule_delete(nic, 0);
        churn(&random);
        if (i % 50 == 0) {
            qs_softnic_set_key(nic, i % 100 ? other_key : test_published_key);
            REQUIRE(qs_softnic_set_indir(nic, tables[i / 50 & 1]) == 0);
        }
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < N_READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        printf("     %" PRIu64 " looks\n", readers[i].looks);
        CHECK(readers[i].looks > 100);
        CHECK_EQ(readers[i].wrong_queue, 0);
        CHECK_EQ(readers[i].wrong_entry, 0);
        CHECK_EQ(readers[i].wrong_hash, 0);
        CHECK_EQ(readers[i].wrong_table, 0);
    }
    free(nic);
}

/* What a reader may still hold is not written before the generation tells it so. */
static void reuse_raises_the_generation(void)
{
    uint8_t key[QS_SOFTNIC_KEY_BYTES] = {1};
    nic = test_new_nic(8);
    test_vector_frame(&steered, &test_vectors[0], 6);
    struct qs_softnic_rule stays = matching_rule(1, 1), rule = matching_rule(0, 1);
    REQUIRE(qs_softnic_rule_insert(nic, &stays) == 0); /* keeps the group in use */
    REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0);
    CHECK_EQ(nic->generation, 0); /* nothing was retired yet */
    REQUIRE(qs_softnic_rule_delete(nic, 0) == 0);
    uint32_t before = nic->generation;
    REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0); /* into the entry that was freed */
    CHECK(nic->generation != before);
    before = nic->generation;
    rule.queue = 3;
    REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0); /* replaced */
    CHECK(nic->generation != before);
    qs_softnic_set_key(nic, key); /* retires the first bank */
    before = nic->generation;
    qs_softnic_set_key(nic, key); /* writes it */
    CHECK(nic->generation != before);
    free(nic);
}

int main(void)
{
    RUN(reuse_raises_the_generation);
    RUN(every_verdict_is_old_or_new);
    return TEST_RESULT();
}
