/* SPDX-License-Identifier: Apache-2.0 */
/* Toeplitz: published vectors, the algebra of the hash, keys, and the table that it leads to. */
#include "qs_softnic_test.h"

static void published_vectors_hold(void)
{
    struct qs_softnic *nic = test_new_nic(4);
    for (size_t i = 0; i < 8; i++) {
        struct test_frame f;
        test_vector_frame(&f, &test_vectors[i], 6);
        CHECK_EQ(test_look(nic, &f).hash, test_vectors[i].hash4);
        test_vector_frame(&f, &test_vectors[i], 17);
        CHECK_EQ(test_look(nic, &f).hash, test_vectors[i].hash4);
        test_vector_frame(&f, &test_vectors[i], 47);
        CHECK_EQ(test_look(nic, &f).hash, test_vectors[i].hash2);
    }
    free(nic);
}

static struct qs_softnic_key random_key(uint64_t *random, uint8_t family)
{
    struct qs_softnic_key key = {.proto = 6, .family = family, .present = QS_SOFTNIC_HAS_L4};
    for (size_t i = 0; i < QS_SOFTNIC_HASH_INPUT_MAX; i++)
        ((uint8_t *)&key)[i] = (uint8_t)qs_test_random(random);
    return key;
}

static void hash_is_linear_and_zero_at_zero(void)
{
    uint64_t random = qs_test_seed();
    struct qs_softnic *nic = test_new_nic(4);
    for (int round = 0; round < 1000; round++) {
        uint8_t family = round & 1 ? 4 : 6, nic_key[QS_SOFTNIC_KEY_BYTES];
        for (size_t i = 0; i < sizeof nic_key; i++)
            nic_key[i] = (uint8_t)qs_test_random(&random);
        qs_softnic_set_key(nic, nic_key);
        struct qs_softnic_key a = random_key(&random, family), b = random_key(&random, family),
                              c = a;
        for (size_t i = 0; i < QS_SOFTNIC_HASH_INPUT_MAX; i++)
            ((uint8_t *)&c)[i] = ((uint8_t *)&a)[i] ^ ((uint8_t *)&b)[i];
        CHECK_EQ(qs_softnic_hash(nic, &c), qs_softnic_hash(nic, &a) ^ qs_softnic_hash(nic, &b));
        CHECK_EQ(qs_softnic_hash(nic, &a), model_rss(nic_key, &a));
        struct qs_softnic_key zero = {.proto = 6, .family = family, .present = QS_SOFTNIC_HAS_L4};
        CHECK_EQ(qs_softnic_hash(nic, &zero), 0);
    }
    free(nic);
}

static void repeated_key_is_symmetric(void)
{
    static const uint32_t want[8] = {0x9fcc9fcc, 0x60d760d7, 0x3a3e3a3e, 0xd26ed26e,
                                     0xf23ef23e, 0x13eb13eb, 0x36913691, 0x08090809};
    uint8_t key[QS_SOFTNIC_KEY_BYTES];
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = i % 2 ? 0x5a : 0x6d;
    struct qs_softnic *nic = test_new_nic(4);
    qs_softnic_set_key(nic, key);
    for (size_t i = 0; i < 8; i++) {
        const struct test_vector *v = &test_vectors[i];
        struct test_vector back = {v->src, v->dst, v->sport, v->dport, 0, 0};
        struct test_frame f;
        test_vector_frame(&f, v, 6);
        CHECK_EQ(test_look(nic, &f).hash, want[i]);
        test_vector_frame(&f, &back, 6);
        CHECK_EQ(test_look(nic, &f).hash, want[i]);
    }
    free(nic);
}

static void table_is_indexed_by_the_low_bits(void)
{
    struct qs_softnic *nic = test_new_nic(64);
    uint32_t table[QS_SOFTNIC_INDIR_SIZE];
    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
        table[i] = i / 4;
    REQUIRE(qs_softnic_set_indir(nic, table) == 0);
    for (size_t i = 0; i < 8; i++) {
        struct test_frame f;
        test_vector_frame(&f, &test_vectors[i], 6);
        CHECK_EQ(test_look(nic, &f).queue, (test_vectors[i].hash4 & 255) / 4);
    }
    free(nic);
}

static void frames_are_parsed_as_built(void)
{
    uint64_t random = qs_test_seed();
    for (int i = 0; i < 200000; i++) {
        struct test_frame f;
        struct qs_softnic_key key;
        test_random_frame(&f, &random);
        struct qs_softnic_source from = {f.bytes, f.len};
        bool ip = qs_softnic_parse(&from, &key);
        CHECK_EQ(ip, f.key.family != 0);
        if (ip && f.key.family)
            CHECK_MEM(&key, &f.key, sizeof key);
    }
}

static void broken_headers_are_not_ip(void)
{
    struct qs_softnic *nic = test_new_nic(8);
    struct test_frame f;
    test_vector_frame(&f, &test_vectors[0], 6);
    f.bytes[14] = 0x55; /* version 5 */
    CHECK_EQ(test_look(nic, &f).is_ip, 0);
    f.bytes[14] = 0x44; /* header of 16 octets */
    CHECK_EQ(test_look(nic, &f).is_ip, 0);
    CHECK_EQ(test_look(nic, &f).queue, 0);
    test_vector_frame(&f, &test_vectors[5], 6);
    f.bytes[14] = 0x40; /* IPv4 in a frame that says IPv6 */
    CHECK_EQ(test_look(nic, &f).is_ip, 0);
    f.len = 0;
    CHECK_EQ(test_look(nic, &f).is_ip, 0);
    free(nic);
}

static void counters_count(void)
{
    struct qs_softnic *nic = test_new_nic(4);
    struct test_frame f;
    struct qs_softnic_verdict verdict;
    struct qs_softnic_rule drop = {.value = {.family = 4}, .mask = {.family = 0xff}, .location = 9};
    drop.queue = QS_SOFTNIC_DROP;
    test_vector_frame(&f, &test_vectors[0], 6);
    qs_softnic_receive(nic, f.bytes, f.len, &verdict);
    qs_softnic_count_queue(nic, verdict.queue, 1, f.len);
    CHECK_EQ(nic->queues[verdict.queue].packets, 1);
    CHECK_EQ(nic->queues[verdict.queue].bytes, f.len);
    CHECK_EQ(nic->rule_hits, 0);
    REQUIRE(qs_softnic_rule_insert(nic, &drop) == 0);
    qs_softnic_receive(nic, f.bytes, f.len, &verdict);
    CHECK_EQ(verdict.queue, QS_SOFTNIC_DROP);
    CHECK_EQ(nic->rule_hits, 1);
    CHECK_EQ(nic->rule_drops, 1);
    uint64_t hits = 0;
    CHECK(qs_softnic_rule_get(nic, 9, &drop, &hits));
    CHECK_EQ(hits, 1);
    f.bytes[13] = 6; /* ARP */
    qs_softnic_receive(nic, f.bytes, f.len, &verdict);
    CHECK_EQ(nic->not_ip, 1);
    CHECK_EQ(nic->rule_hits, 1);
    free(nic);
}

int main(void)
{
    RUN(published_vectors_hold);
    RUN(hash_is_linear_and_zero_at_zero);
    RUN(repeated_key_is_symmetric);
    RUN(table_is_indexed_by_the_low_bits);
    RUN(frames_are_parsed_as_built);
    RUN(broken_headers_are_not_ip);
    RUN(counters_count);
    return TEST_RESULT();
}
