/* SPDX-License-Identifier: Apache-2.0 */
/* The systematic sweep: every state, and every combination of up to two edits of the segment that
 * would be valid there; with an argument, up to that many. */
#include "sweep.h"

#define EDITS_MAX 4
#define SHOWN_MAX 20

struct sweep {
    struct world w;
    const struct edit *edits[EDITS_MAX];
    int n_edits, most;
    uint64_t cases, failures;
};

static struct sweep all;
static bool inside; /* a case runs */

static void print_case(void)
{
    fprintf(stderr, "  in %s", all.w.start->name);
    for (int i = 0; i < all.n_edits; i++)
        fprintf(stderr, "; %s", all.edits[i]->name);
    fputc('\n', stderr);
}

/* A REQUIRE of the rig ends the program: say in which case. */
static void at_exit(void)
{
    if (inside)
        print_case();
}

static void one(void)
{
    struct wish s = all.w.valid;
    for (int i = 0; i < all.n_edits; i++)
        edit_apply(all.edits[i], &all.w, &s);
    world_restore(&all.w);
    inside = true;
    const char *why = case_prove(&all.w, &s);
    inside = false;
    all.cases++;
    if (!why)
        return;
    qs_test_failures++;
    if (all.failures++ >= SHOWN_MAX)
        return;
    fprintf(stderr, "%s\n", why);
    print_case();
}

static void combine(size_t from)
{
    one();
    if (all.n_edits == all.most)
        return;
    for (size_t i = from; i < sweep_n_edits; i++) {
        const struct edit *e = &sweep_edits[i];
        if (all.n_edits && all.edits[all.n_edits - 1]->field == e->field)
            continue;
        all.edits[all.n_edits++] = e;
        combine(i + 1);
        all.n_edits--;
    }
}

int main(int argc, char **argv)
{
    all.most = argc > 1 ? atoi(argv[1]) : 2;
    REQUIRE(all.most >= 0 && all.most <= EDITS_MAX);
    atexit(at_exit);
    for (size_t i = 0; i < sweep_n_starts; i++) {
        uint64_t cases = all.cases, failures = all.failures;
        world_open(&all.w, &sweep_starts[i]);
        combine(0);
        world_close(&all.w);
        printf("%s %s, %" PRIu64 " cases\n", all.failures == failures ? "ok  " : "FAIL",
               sweep_starts[i].name, all.cases - cases);
        fflush(stdout);
    }
    printf("%" PRIu64 " cases: %zu states, up to %d of %zu edits; %" PRIu64 " failed\n", all.cases,
           sweep_n_starts, all.most, sweep_n_edits, all.failures);
    return TEST_RESULT();
}
