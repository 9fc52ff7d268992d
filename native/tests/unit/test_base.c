/* SPDX-License-Identifier: Apache-2.0 */
#include "qs_test.h"
#include "qstack/qs_stats.h"

static void every_error_has_its_own_text(void)
{
#define ROW(name, value, text) value,
    static const int codes[] = {QS_ERR_LIST(ROW)};
#undef ROW
    size_t n = sizeof codes / sizeof codes[0];
    for (size_t i = 0; i < n; i++) {
        CHECK(strcmp(qs_strerror(codes[i]), "unknown error") != 0);
        for (size_t k = 0; k < i; k++)
            CHECK(strcmp(qs_strerror(codes[i]), qs_strerror(codes[k])) != 0);
    }
    CHECK(strcmp(qs_strerror(-999), "unknown error") == 0);
}

static void counters_are_named_to_the_end(void)
{
    for (size_t i = 0; i < QS_N_COUNTERS; i++) {
        CHECK(qs_counter_name(i) && *qs_counter_name(i));
        CHECK(qs_counter_text(i) && *qs_counter_text(i));
    }
    CHECK(!qs_counter_name(QS_N_COUNTERS));
    CHECK(!qs_counter_text(QS_N_COUNTERS));
}

int main(void)
{
    RUN(every_error_has_its_own_text);
    RUN(counters_are_named_to_the_end);
    return TEST_RESULT();
}
