/* SPDX-License-Identifier: Apache-2.0 */
/* Flow rules against a plain model: precedence, masks, replacement, limits; and the queues that
 * they allow. */
#include "qs_softnic_test.h"

static void check_frame(const struct qs_softnic *nic, const struct model *m, uint64_t *random)
{
    struct test_frame f;
    uint32_t hash, location;
    test_random_frame(&f, random);
    uint32_t queue = model_queue(m, &f.key, &hash, &location);
    struct qs_softnic_verdict got = test_look(nic, &f);
    CHECK_EQ(got.queue, queue);
    CHECK_EQ(got.hash, hash);
    CHECK_EQ(got.entry ? nic->entries[got.entry - 1].location : QS_SOFTNIC_RULES_MAX, location);
}

static void change_one_rule(struct qs_softnic *nic, struct model *m, uint32_t n_locations,
                            uint64_t *random)
{
    struct qs_softnic_rule rule;
    test_random_rule(&rule, n_locations, 8, random);
    bool was = m->used[rule.location];
    if (qs_test_random(random) % 3 == 0) {
        CHECK_EQ(qs_softnic_rule_delete(nic, rule.location), was ? 0 : QS_ERR_STALE);
        m->used[rule.location] = false;
        return;
    }
    CHECK_EQ(qs_softnic_rule_insert(nic, &rule), 0);
    m->rules[rule.location] = rule;
    m->used[rule.location] = true;
}

static void nothing_is_left_over(const struct qs_softnic *nic)
{
    CHECK_EQ(nic->n_rules, 0);
    CHECK_EQ(nic->n_shadowed, 0);
    CHECK_EQ(nic->n_drop_rules, 0);
    CHECK_EQ(nic->n_free, QS_SOFTNIC_ENTRIES);
    for (uint32_t g = 0; g < QS_SOFTNIC_GROUP_SLOTS; g++)
        CHECK_EQ(nic->groups[g].n_rules, 0);
    for (uint32_t b = 0; b < QS_SOFTNIC_BUCKETS; b++)
        CHECK_EQ(nic->index[b].n_used, 0);
}

static void random_rules_agree_with_the_model(void)
{
    uint64_t random = qs_test_seed();
    struct qs_softnic *nic = test_new_nic(8);
    static struct model m;
    static const uint32_t sizes[] = {4, 40, 400, QS_SOFTNIC_RULES_MAX};
    model_init(&m, 8);
    for (int i = 0; i < 4; i++) {
        for (int step = 0; step < 4000; step++) {
            change_one_rule(nic, &m, sizes[i], &random);
            check_frame(nic, &m, &random);
        }
    }
    for (uint32_t i = 0; i < QS_SOFTNIC_RULES_MAX; i++)
        CHECK_EQ(qs_softnic_rule_delete(nic, i), m.used[i] ? 0 : QS_ERR_STALE);
    nothing_is_left_over(nic);
    free(nic);
}

static struct qs_softnic_rule port_rule(uint32_t location, uint16_t port, uint32_t queue)
{
    struct qs_softnic_rule rule = {.value = {.proto = 6, .family = 4},
                                   .mask = {.dport = {0xff, 0xff}, .proto = 0xff, .family = 0xff},
                                   .location = location,
                                   .queue = queue};
    test_put16(rule.value.dport, port);
    return rule;
}

static uint32_t queue_of_port(const struct qs_softnic *nic, uint16_t port)
{
    struct test_shape s = {.family = 4, .proto = 6, .dport = port};
    struct test_frame f;
    test_address(s.src, "10.0.0.1");
    test_address(s.dst, "10.0.0.2");
    test_build(&f, &s, sizeof f.bytes);
    struct qs_softnic_verdict v = test_look(nic, &f);
    return v.entry ? v.queue : 1000;
}

static void all_locations_hold_a_rule(void)
{
    struct qs_softnic *nic = test_new_nic(64);
    for (uint32_t i = 0; i < QS_SOFTNIC_RULES_MAX; i++) {
        struct qs_softnic_rule rule = port_rule(i, (uint16_t)(i * 13), i % 64);
        REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0);
    }
    for (uint32_t i = 0; i < QS_SOFTNIC_RULES_MAX; i++)
        CHECK_EQ(queue_of_port(nic, (uint16_t)(i * 13)), i % 64);
    for (uint32_t i = 0; i < QS_SOFTNIC_RULES_MAX; i++) { /* and can be replaced when full */
        struct qs_softnic_rule rule = port_rule(i, (uint16_t)(i * 13 + 1), (i + 1) % 64);
        REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0);
        CHECK_EQ(queue_of_port(nic, (uint16_t)(i * 13)), 1000);
        CHECK_EQ(queue_of_port(nic, (uint16_t)(i * 13 + 1)), (i + 1) % 64);
    }
    for (uint32_t i = 0; i < QS_SOFTNIC_RULES_MAX; i++)
        REQUIRE(qs_softnic_rule_delete(nic, i) == 0);
    nothing_is_left_over(nic);
    free(nic);
}

static void equal_rules_hide_each_other(void)
{
    struct qs_softnic *nic = test_new_nic(8);
    static const uint32_t order[] = {5, 2, 7, 3};
    for (size_t i = 0; i < 4; i++) {
        struct qs_softnic_rule rule = port_rule(order[i], 80, order[i]);
        REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0);
    }
    CHECK_EQ(queue_of_port(nic, 80), 2);
    static const uint32_t gone[] = {3, 2, 5, 7}, then[] = {2, 5, 7, 1000};
    for (size_t i = 0; i < 4; i++) {
        REQUIRE(qs_softnic_rule_delete(nic, gone[i]) == 0);
        CHECK_EQ(queue_of_port(nic, 80), then[i]);
    }
    nothing_is_left_over(nic);
    free(nic);
}

static struct qs_softnic_rule masked_rule(uint32_t location, uint8_t bits)
{
    return (struct qs_softnic_rule){.value = {.family = 4},
                                    .mask = {.src = {[15] = bits}, .family = 0xff},
                                    .location = location};
}

static void masks_have_a_limit(void)
{
    struct qs_softnic *nic = test_new_nic(8);
    for (uint32_t i = 0; i < QS_SOFTNIC_GROUPS_MAX; i++) {
        struct qs_softnic_rule rule = masked_rule(i, (uint8_t)i);
        REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0);
    }
    struct qs_softnic_rule other = masked_rule(100, 0x80);
    CHECK_EQ(qs_softnic_rule_insert(nic, &other), QS_ERR_NOMEM);
    CHECK_EQ(nic->n_rules, QS_SOFTNIC_GROUPS_MAX);
    other.location = 3; /* takes the place of the only rule with its mask */
    CHECK_EQ(qs_softnic_rule_insert(nic, &other), 0);
    struct qs_softnic_rule same = masked_rule(101, 4);
    CHECK_EQ(qs_softnic_rule_insert(nic, &same), 0);
    other = masked_rule(4, 0x40); /* does not: 101 keeps that mask in use */
    CHECK_EQ(qs_softnic_rule_insert(nic, &other), QS_ERR_NOMEM);
    free(nic);
}

static void bad_rules_are_refused(void)
{
    struct qs_softnic *nic = test_new_nic(8);
    struct qs_softnic_rule rule = port_rule(QS_SOFTNIC_RULES_MAX, 80, 0);
    CHECK_EQ(qs_softnic_rule_insert(nic, &rule), QS_ERR_ARG);
    rule = port_rule(0, 80, 8);
    CHECK_EQ(qs_softnic_rule_insert(nic, &rule), QS_ERR_ARG);
    rule = port_rule(0, 80, 0);
    rule.mask.family = 0;
    CHECK_EQ(qs_softnic_rule_insert(nic, &rule), QS_ERR_ARG);
    rule = port_rule(0, 80, 0);
    rule.value.family = 5;
    CHECK_EQ(qs_softnic_rule_insert(nic, &rule), QS_ERR_ARG);
    rule = port_rule(0, 80, 0);
    rule.mask.zero[5] = 1;
    CHECK_EQ(qs_softnic_rule_insert(nic, &rule), QS_ERR_ARG);
    CHECK_EQ(qs_softnic_rule_delete(nic, 0), QS_ERR_STALE);
    CHECK_EQ(qs_softnic_rule_delete(nic, UINT32_MAX), QS_ERR_STALE);
    nothing_is_left_over(nic);
    free(nic);
}

static void queues_follow_table_and_rules(void)
{
    struct qs_softnic *nic = test_new_nic(8);
    uint32_t table[QS_SOFTNIC_INDIR_SIZE];
    CHECK_EQ(qs_softnic_set_queues(nic, 0), QS_ERR_ARG);
    CHECK_EQ(qs_softnic_set_queues(nic, 9), QS_ERR_ARG);
    CHECK_EQ(qs_softnic_set_queues(nic, 3), 0); /* the default table follows */
    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
        CHECK_EQ(nic->indir[i], i % 3);
    CHECK_EQ(qs_softnic_set_queues(nic, 8), 0);

    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
        table[i] = i == 77 ? 8 : 1;
    CHECK_EQ(qs_softnic_set_indir(nic, table), QS_ERR_ARG);
    CHECK_EQ(nic->indir[2], 2);
    table[77] = 5;
    CHECK_EQ(qs_softnic_set_indir(nic, table), 0);
    CHECK_EQ(qs_softnic_set_queues(nic, 5), QS_ERR_BUSY);
    CHECK_EQ(qs_softnic_set_queues(nic, 6), 0);
    CHECK_EQ(nic->indir[2], 1);

    struct qs_softnic_rule rule = port_rule(0, 80, 4);
    CHECK_EQ(qs_softnic_rule_insert(nic, &rule), 0);
    CHECK_EQ(qs_softnic_set_indir(nic, NULL), 0);
    CHECK_EQ(qs_softnic_set_queues(nic, 4), QS_ERR_BUSY);
    rule = port_rule(0, 80, QS_SOFTNIC_DROP);
    CHECK_EQ(qs_softnic_rule_insert(nic, &rule), 0);
    CHECK_EQ(qs_softnic_set_queues(nic, 1), 0);
    free(nic);
}

int main(void)
{
    RUN(random_rules_agree_with_the_model);
    RUN(all_locations_hold_a_rule);
    RUN(equal_rules_hide_each_other);
    RUN(masks_have_a_limit);
    RUN(bad_rules_are_refused);
    RUN(queues_follow_table_and_rules);
    return TEST_RESULT();
}
