/* SPDX-License-Identifier: Apache-2.0 */
/* SYN cookies as numbers: what they say, and what they do not show. */
#include "core/syn_cookie.h"
#include "qs_test.h"

static void options_go_there_and_back(void)
{
    const struct qs_sipkey key = {{1, 2}};
    const qs_addr a = {{1}}, b = {{2}};
    const struct qs_cookie_tuple t = {&a, &b, 1, 2, {0xffffffff}};
    for (int i = 0; i < 16 * 4; i++) {
        struct qs_cookie_syn got, syn = {.mss = 1440,
                                         .wscale = (int8_t)(i / 4 - 1),
                                         .has_ts = true,
                                         .sack_ok = i & 1,
                                         .ecn = i & 2};
        for (uint32_t clock = 0xffffffc0; clock != 64; clock++) {
            uint32_t ts = qs_cookie_ts(clock, &syn);
            qs_seq isn = qs_cookie_make(&key, &t, &syn, (qs_time){5});
            CHECK(clock - ts < 64);
            REQUIRE(qs_cookie_distance(&key, &t, isn, &ts, (qs_time){6}, &got) == 0);
            CHECK(got.wscale == syn.wscale && got.sack_ok == syn.sack_ok && got.ecn == syn.ecn);
            CHECK(got.has_ts && got.mss == 1440);
        }
    }
}

/* Of the 32 bits of an ISN none says anything by itself. */
static void no_bit_of_a_cookie_is_constant(void)
{
    const struct qs_sipkey key = {{1, 2}};
    const qs_addr a = {{1}}, b = {{2}};
    uint32_t ones[32] = {0};
    for (uint32_t i = 0; i < 4096; i++) {
        struct qs_cookie_tuple t = {&a, &b, (uint16_t)i, 2, {7}};
        uint32_t v = qs_cookie_make(&key, &t, &(struct qs_cookie_syn){.mss = 1460}, (qs_time){5}).v;
        for (uint32_t bit = 0; bit < 32; bit++)
            ones[bit] += v >> bit & 1;
    }
    for (uint32_t bit = 0; bit < 32; bit++)
        CHECK(ones[bit] > 1800 && ones[bit] < 2300);
}

static void another_secret_another_cookie(void)
{
    uint32_t got[2];
    for (uint8_t i = 0; i < 2; i++) {
        struct qs_sipkey key = {{1, i}};
        qs_addr a = {{1}}, b = {{2}};
        struct qs_cookie_tuple t = {&a, &b, 1, 2, {3}};
        got[i] = qs_cookie_make(&key, &t, &(struct qs_cookie_syn){.mss = 1460}, (qs_time){0}).v;
    }
    CHECK(got[0] != got[1]);
}

int main(void)
{
    RUN(options_go_there_and_back);
    RUN(no_bit_of_a_cookie_is_constant);
    RUN(another_secret_another_cookie);
    return TEST_RESULT();
}
