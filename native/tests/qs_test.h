/* SPDX-License-Identifier: Apache-2.0 */
/* Checks for the C tests. A test program is a list of functions handed to RUN(); a failed check
 * prints the values and goes on, so that one run shows all that is wrong. */
#ifndef QS_TEST_H
#define QS_TEST_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/splitmix.h"

__attribute__((unused)) static int qs_test_failures;

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            qs_test_failures++;                                                                    \
            fprintf(stderr, "%s:%d: %s: not true: %s\n", __FILE__, __LINE__, __func__, #cond);     \
        }                                                                                          \
    } while (0)

#define CHECK_EQ(got, want)                                                                        \
    do {                                                                                           \
        long long got_ = (long long)(got), want_ = (long long)(want);                              \
        if (got_ != want_) {                                                                       \
            qs_test_failures++;                                                                    \
            fprintf(stderr, "%s:%d: %s: %s is %lld (0x%llx), want %lld (0x%llx)\n", __FILE__,      \
                    __LINE__, __func__, #got, got_, (unsigned long long)got_, want_,               \
                    (unsigned long long)want_);                                                    \
        }                                                                                          \
    } while (0)

#define CHECK_MEM(got, want, bytes) CHECK(memcmp((got), (want), (bytes)) == 0)

/* Ends the program at once: for what everything after depends on. */
#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s: required: %s\n", __FILE__, __LINE__, __func__, #cond);     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define RUN(test)                                                                                  \
    do {                                                                                           \
        int before_ = qs_test_failures;                                                            \
        test();                                                                                    \
        printf("%s %s\n", qs_test_failures == before_ ? "ok  " : "FAIL", #test);                   \
    } while (0)

#define TEST_RESULT() (qs_test_failures ? 1 : 0)

/* Seed for randomised tests: QS_SEED from the environment, else fixed; always printed. */
static inline uint64_t qs_test_seed(void)
{
    const char *s = getenv("QS_SEED");
    uint64_t seed = s ? strtoull(s, NULL, 0) : 20260210u;
    printf("seed %" PRIu64 " (QS_SEED repeats it)\n", seed);
    return seed;
}

static inline uint64_t qs_test_random(uint64_t *state)
{
    return qs_splitmix64(state);
}

#endif
