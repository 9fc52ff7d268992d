/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/impair_model.h"
#include "qs_test.h"

enum { FRAME_BYTES = 1518, N = 20000 };

static void make_frame(uint8_t *frame, uint32_t number)
{
    memset(frame, 0, 100);
    frame[12] = 0x08;
    memcpy(frame + 50, &number, sizeof number);
}

static uint32_t number_of(const struct impair_frame *f)
{
    uint32_t number;
    memcpy(&number, f->data + 50, sizeof number);
    return number;
}

/* Sends N frames a microsecond apart under `text`; `order` gets the numbers in which they come out.
 */
static size_t pass(const char *text, uint64_t seed, struct impair_wire *w, uint32_t *order)
{
    struct impair_spec spec;
    impair_spec_init(&spec);
    const char *bad;
    REQUIRE(impair_spec_parse(&spec, text, &bad));
    impair_wire_init(w, &spec, seed, FRAME_BYTES);
    size_t n = 0;
    for (uint64_t now = 0; now < (uint64_t)N * 1000 + 1000000000; now += 1000) {
        uint8_t frame[100];
        if (now < (uint64_t)N * 1000) {
            make_frame(frame, (uint32_t)(now / 1000));
            impair_wire_put(w, frame, sizeof frame, now);
        }
        for (struct impair_frame *f; (f = impair_wire_take(w, now));) {
            order[n++] = number_of(f);
            impair_wire_give_back(w, f);
        }
        if (now >= (uint64_t)N * 1000 && impair_wire_due(w) == UINT64_MAX)
            break;
    }
    return n;
}

static uint32_t order[2 * N], again[2 * N];

static void a_perfect_wire_keeps_everything(void)
{
    struct impair_wire w;
    CHECK_EQ(pass("", 1, &w, order), N);
    for (uint32_t i = 0; i < N; i++)
        CHECK_EQ(order[i], i);
    impair_wire_free(&w);
}

static void losses_come_as_often_as_asked(void)
{
    struct impair_wire w;
    size_t n = pass("loss=1", 7, &w, order);
    CHECK_EQ(n + w.counters.lost, N);
    CHECK(w.counters.lost > N / 125 && w.counters.lost < N / 80);
    impair_wire_free(&w);
}

static void bursts_lose_in_runs(void)
{
    struct impair_wire w;
    size_t n = pass("burst_enter=1,burst_leave=20,burst_loss=100", 7, &w, order);
    uint32_t runs = 0;
    for (size_t i = 1; i < n; i++)
        runs += order[i] != order[i - 1] + 1;
    /* 1 / 0.2 frames on average */
    CHECK(runs > 0 && (double)w.counters.lost / runs > 4 && (double)w.counters.lost / runs < 6.5);
    impair_wire_free(&w);
}

static void the_seed_repeats_every_fate(void)
{
    struct impair_wire w;
    const char *text = "loss=2,duplicate=1,reorder=1,corrupt=1,jitter_us=10,delay_us=30";
    size_t n = pass(text, 3, &w, order);
    struct impair_counters first = w.counters;
    impair_wire_free(&w);
    CHECK_EQ(pass(text, 3, &w, again), n);
    CHECK_MEM(order, again, n * sizeof *order);
    CHECK_MEM(&first, &w.counters, sizeof first);
    impair_wire_free(&w);
    size_t other = pass(text, 4, &w, again);
    CHECK(other != n || memcmp(order, again, n * sizeof *order) != 0);
    impair_wire_free(&w);
}

static void reordered_frames_are_overtaken(void)
{
    struct impair_wire w;
    size_t n = pass("reorder=1,reorder_us=100", 3, &w, order);
    CHECK_EQ(n, N);
    uint32_t late = 0;
    for (size_t i = 1; i < n; i++)
        late += order[i] < order[i - 1];
    /* Two that are held back one after the other come out one after the other. */
    CHECK(late >= w.counters.reordered * 9 / 10 && late <= w.counters.reordered);
    impair_wire_free(&w);
}

static void jitter_keeps_the_order(void)
{
    struct impair_wire w;
    CHECK_EQ(pass("jitter_us=500", 3, &w, order), N);
    for (uint32_t i = 0; i < N; i++)
        CHECK_EQ(order[i], i);
    impair_wire_free(&w);
}

static void rate_and_queue_bound_what_passes(void)
{
    struct impair_wire w;
    /* 100 bytes every microsecond are 800 Mbit/s; half of them fit. */
    size_t n = pass("rate_mbit=400,queue_frames=10", 3, &w, order);
    CHECK(n > N / 100 * 49 && n < N / 100 * 51);
    CHECK_EQ(w.counters.queue_dropped, N - n);
    impair_wire_free(&w);
}

static void wrong_specifications_are_named(void)
{
    static const char *const wrong[] = {"los=1",   "loss",    "loss=",    "loss=101",
                                        "loss=-1", "loss=1x", "loss=1,,", "loss=nan"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct impair_spec spec;
        const char *bad = NULL;
        impair_spec_init(&spec);
        CHECK(!impair_spec_parse(&spec, wrong[i], &bad));
        CHECK(bad >= wrong[i] && bad <= wrong[i] + strlen(wrong[i]));
    }
}

int main(void)
{
    RUN(a_perfect_wire_keeps_everything);
    RUN(losses_come_as_often_as_asked);
    RUN(bursts_lose_in_runs);
    RUN(the_seed_repeats_every_fate);
    RUN(reordered_frames_are_overtaken);
    RUN(jitter_keeps_the_order);
    RUN(rate_and_queue_bound_what_passes);
    RUN(wrong_specifications_are_named);
    return TEST_RESULT();
}
