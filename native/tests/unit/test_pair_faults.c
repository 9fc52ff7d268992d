/* SPDX-License-Identifier: Apache-2.0 */
/* Faults of the wire: they happen at the rate asked for, are counted, and repeat with the seed. */
#include "pair_rig.h"

#define N_FRAMES 20000u

struct run {
    uint64_t got, out_of_order, damaged, twice, checksum;
    struct qs_pair_fault_counts counts;
};

static void take_all(struct qs_driver *d, struct run *r, uint8_t *seen, uint64_t *last)
{
    struct qs_frame f[64];
    size_t n;
    while ((n = d->ops->rx(d, 0, f, 64)) > 0) {
        for (size_t i = 0; i < n; i++) {
            struct qs_frame *g = &f[i];
            uint64_t id = rig_id(g);
            r->got++;
            if (g->len != 200 || id >= N_FRAMES || !rig_intact(g)) {
                r->damaged++;
                continue;
            }
            r->twice += seen[id] > 0;
            seen[id] = 1;
            r->out_of_order += id < *last;
            *last = id > *last ? id : *last;
            r->checksum = r->checksum * 31 + id;
        }
        d->ops->rx_done(d, 0, f, n);
    }
}

static struct run run_with(const struct qs_pair_faults *faults)
{
    static uint8_t seen[N_FRAMES];
    struct run r = {0};
    uint64_t last = 0;
    memset(seen, 0, sizeof seen);
    struct qs_driver *a = rig_open(0, 1), *b = rig_open(1, 1);
    REQUIRE(qs_pair_faults_set(a, faults) == 0);
    for (uint64_t id = 0; id < N_FRAMES;) {
        if (rig_send(a, 0, id, 200, 7))
            id++;
        if (id % 16 == 0)
            take_all(b, &r, seen, &last);
    }
    uint64_t end = qs_clock_now().ns + 100000000u;
    while (qs_clock_now().ns < end)
        take_all(b, &r, seen, &last);
    qs_pair_fault_counts(a, &r.counts);
    rig_close(b);
    rig_close(a);
    return r;
}

/* Five standard deviations of a binomial count, and more. */
static bool near_rate(uint64_t n, uint32_t ppm)
{
    double want = N_FRAMES * (ppm / 1e6);
    double off = (double)n > want ? (double)n - want : want - (double)n;
    return off * off <= 30 * want;
}

static void loss_is_what_was_asked_and_counted(void)
{
    struct run r = run_with(&(struct qs_pair_faults){.seed = 1, .loss_ppm = 50000});
    CHECK(near_rate(r.counts.lost, 50000));
    CHECK_EQ(r.got, N_FRAMES - r.counts.lost);
    CHECK_EQ(r.damaged + r.twice + r.out_of_order, 0);
}

static void duplicates_arrive_twice(void)
{
    struct run r = run_with(&(struct qs_pair_faults){.seed = 2, .duplicate_ppm = 50000});
    CHECK(near_rate(r.counts.duplicated, 50000));
    CHECK_EQ(r.got, N_FRAMES + r.counts.duplicated);
    CHECK_EQ(r.twice, r.counts.duplicated);
    CHECK_EQ(r.damaged, 0);
}

static void reordered_frames_are_overtaken_and_not_lost(void)
{
    struct run r = run_with(
        &(struct qs_pair_faults){.seed = 3, .reorder_ppm = 50000, .reorder_by = QS_US(50)});
    CHECK(near_rate(r.counts.reordered, 50000));
    CHECK_EQ(r.got, N_FRAMES);
    CHECK(r.out_of_order > r.counts.reordered / 2);
    CHECK_EQ(r.twice + r.damaged, 0);
}

static void corruption_flips_a_bit_and_takes_the_proof(void)
{
    struct run r = run_with(&(struct qs_pair_faults){.seed = 4, .corrupt_ppm = 50000});
    CHECK(near_rate(r.counts.corrupted, 50000));
    CHECK_EQ(r.got, N_FRAMES);
    /* Flips in the headers, which the check of the contents does not see: 54 of 200 octets. */
    CHECK(r.damaged > r.counts.corrupted / 2 && r.damaged <= r.counts.corrupted);
}

static void the_same_seed_repeats_the_run(void)
{
    struct qs_pair_faults f = {.seed = qs_test_seed(), .loss_ppm = 30000, .duplicate_ppm = 20000};
    struct run first = run_with(&f), second = run_with(&f);
    CHECK_EQ(first.checksum, second.checksum);
    f.seed++;
    struct run third = run_with(&f);
    CHECK(first.checksum != third.checksum);
}

/* Internet checksum over TCP pseudo-header and segment; 0 when the one inside is right. */
static uint16_t tcp_sum(const struct qs_frame *f)
{
    uint32_t len = f->len - 34, sum = 6 + len;
    for (uint32_t i = 26; i < 34; i += 2)
        sum += (uint32_t)f->data[i] << 8 | f->data[i + 1];
    for (uint32_t i = 0; i < len; i++)
        sum += i & 1 ? f->data[34 + i] : (uint32_t)f->data[34 + i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void a_corrupted_frame_with_partial_checksum_shows_it(void)
{
    struct qs_driver *a = rig_open(0, 1), *b = rig_open(1, 1);
    REQUIRE(qs_pair_faults_set(a, &(struct qs_pair_faults){.seed = 5, .corrupt_ppm = 1000000}) ==
            0);
    int wrong = 0;
    for (uint32_t i = 0; i < 300; i++) {
        struct qs_frame f;
        REQUIRE(a->ops->tx_reserve(a, 0, &f, 1) == 1);
        rig_fill(&f, i, 20000, 7, 80);
        f.flags = QS_FRAME_CSUM_PARTIAL;
        f.csum_start = 34;
        f.csum_offset = 16;
        f.data[50] = f.data[51] = 0;
        uint32_t sum = 6 + 20000 - 34 + 0x0a00 + 1 + 0x0a00 + 2;
        f.data[50] = (uint8_t)(sum >> 8);
        f.data[51] = (uint8_t)sum;
        a->ops->tx_commit(a, 0, &f, 1, 1);
        REQUIRE(b->ops->rx(b, 0, &f, 1) == 1);
        CHECK(!(f.flags & QS_FRAME_CSUM_OK));
        wrong += tcp_sum(&f) != 0;
        b->ops->rx_done(b, 0, &f, 1);
    }
    CHECK(wrong > 290); /* all but flips before the IP addresses: 26 of 20,000 octets */
    rig_close(b);
    rig_close(a);
}

static void delayed_frames_wake_a_sleeper_when_they_are_due(void)
{
    struct qs_driver *a = rig_open(0, 1), *b = rig_open(1, 1);
    struct qs_frame f;
    REQUIRE(qs_pair_faults_set(a, &(struct qs_pair_faults){.delay = QS_MS(20)}) == 0);
    qs_time sent = qs_clock_now();
    REQUIRE(rig_send(a, 0, 1, 100, 7));
    uint64_t waited_ns = 0;
    int turns = 0;
    while (b->ops->rx(b, 0, &f, 1) == 0 && turns++ < 100) {
        struct pollfd in = {b->ops->fd(b, 0), POLLIN, 0};
        if (!b->ops->arm(b, 0))
            CHECK_EQ(poll(&in, 1, 5000), 1);
    }
    waited_ns = qs_clock_now().ns - sent.ns;
    CHECK_EQ(rig_id(&f), 1);
    CHECK(waited_ns >= 20000000u && waited_ns < 2000000000u);
    CHECK(turns < 6); /* slept, did not spin */
    b->ops->rx_done(b, 0, &f, 1);
    rig_close(b);
    rig_close(a);
}

static void rates_above_a_million_are_refused(void)
{
    struct qs_driver *a = rig_open(0, 1);
    CHECK_EQ(qs_pair_faults_set(a, &(struct qs_pair_faults){.loss_ppm = 1000001}), QS_ERR_ARG);
    CHECK_EQ(qs_pair_faults_set(a, NULL), 0);
    rig_close(a);
}

int main(void)
{
    rig_begin();
    RUN(loss_is_what_was_asked_and_counted);
    RUN(duplicates_arrive_twice);
    RUN(reordered_frames_are_overtaken_and_not_lost);
    RUN(corruption_flips_a_bit_and_takes_the_proof);
    RUN(the_same_seed_repeats_the_run);
    RUN(a_corrupted_frame_with_partial_checksum_shows_it);
    RUN(delayed_frames_wake_a_sleeper_when_they_are_due);
    RUN(rates_above_a_million_are_refused);
    rig_end();
    return TEST_RESULT();
}
