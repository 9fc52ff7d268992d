/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP errors about connections: what they quote must be octets that are outstanding, and none ends
 * a connection that is synchronized. RFC 1122 section 4.2.3.9, RFC 5927, RFC 6633. */
#include "rig.h"

#define OUT_OCTETS 2000u /* 1 to 2,001 is outstanding; 17 is beyond the wrap */

/* A connection of whose 2,000 octets nothing is acknowledged. */
static struct rig *with_octets_out(bool v6)
{
    struct rig *r = rig_new(NULL, v6);
    rig_establish(r, NULL);
    rig_write(r, OUT_OCTETS);
    rig_run(r, 10);
    rig_flush(r);
    return r;
}

/* Host unreachable, or address unreachable. */
static struct icmp soft(const struct rig *r, uint32_t seq)
{
    return r->v6 ? (struct icmp){1, 3, 0, seq, 1000} : (struct icmp){3, 1, 0, seq, 1000};
}

static qs_err end_of(struct rig *r)
{
    rig_run(r, 1e6);
    rig_flush(r);
    uint32_t flags = rig_event(r);
    REQUIRE(flags & QS_EVENT_CLOSED);
    return r->ev.err;
}

static void only_what_is_outstanding_counts(void)
{
    static const struct {
        uint32_t seq;
        bool taken;
    } row[] = {{0, false},    {1, true},          {16, true},          {17, true},
               {2000, true},  {2001, false},      {0xfffffff0, false}, {0x7fffffff, false},
               {5000, false}, {0x80000001, false}};
    for (int v6 = 0; v6 < 2; v6++)
        for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
            struct rig *r = with_octets_out(v6);
            struct icmp x = soft(r, row[i].seq);
            rig_icmp(r, 20, &x);
            CHECK_COUNT(ICMP_ERRORS, row[i].taken);
            CHECK_COUNT(DROP_ICMP_QUOTE, !row[i].taken);
            CHECK_EQ(end_of(r), row[i].taken ? QS_ERR_UNREACH : QS_ERR_TIMEDOUT);
            rig_free(r);
        }
}

static void nothing_out_nothing_taken(void)
{
    static const enum qs_tcp_state state[] = {QS_TCP_ESTABLISHED, QS_TCP_CLOSE_WAIT,
                                              QS_TCP_FIN_WAIT_2, QS_TCP_TIME_WAIT};
    for (size_t i = 0; i < 4; i++)
        for (uint32_t seq = 0; seq < 4; seq++) {
            struct rig *r = rig_new(NULL, false);
            rig_to(r, state[i]);
            struct icmp x = soft(r, seq);
            rig_icmp(r, 60, &x);
            CHECK_COUNT(DROP_ICMP_QUOTE, 1);
            CHECK(rig_state(r) == state[i]);
            rig_free(r);
        }
}

static void progress_makes_it_forgotten(void)
{
    struct rig *r = with_octets_out(false);
    struct icmp x = soft(r, 1);
    rig_icmp(r, 20, &x);
    rig_in(r, 30, &(struct seg){".", 1, 0, 1001});
    CHECK_EQ(end_of(r), QS_ERR_TIMEDOUT);
    rig_free(r);
}

/* Each field of the quote that names the connection, and the address that is told. */
static void quotes_of_others(void)
{
    static const struct {
        uint32_t at4, at6; /* octet behind the Ethernet header */
        uint8_t value;
        enum qs_counter why;
    } row[] = {
        {19, 39, 3, QS_COUNT_DROP_NOT_OURS},              /* to somebody else */
        {28 + 15, 48 + 23, 7, QS_COUNT_DROP_ICMP_QUOTE},  /* quoted source */
        {28 + 19, 48 + 39, 7, QS_COUNT_DROP_ICMP_QUOTE},  /* quoted destination */
        {28 + 21, 48 + 41, 81, QS_COUNT_DROP_ICMP_QUOTE}, /* quoted ports */
        {28 + 23, 48 + 43, 1, QS_COUNT_DROP_ICMP_QUOTE},
        {28 + 9, 48 + 6, 17, QS_COUNT_DROP_ICMP}, /* UDP */
        {28, 48, 0x55, QS_COUNT_DROP_ICMP},       /* version */
        {12, 8, 0xff, QS_COUNT_DROP_ICMP},        /* from a group */
    };
    static struct frame f;
    for (int v6 = 0; v6 < 2; v6++)
        for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
            struct rig *r = with_octets_out(v6);
            struct icmp x = soft(r, 1);
            rig_icmp_build(r, &f, &x);
            f.b[FRAME_ETH + (v6 ? row[i].at6 : row[i].at4)] = row[i].value;
            frame_fix(&f);
            rig_frame(r, 20, &f);
            CHECK_COUNT(ICMP_ERRORS, 0);
            CHECK_EQ(rig_count(r, row[i].why), 1);
            rig_free(r);
        }
}

/* Another address of ours is told of what this one sent. */
static void told_to_the_wrong_address_of_ours(void)
{
    static struct frame f;
    struct rig *r = with_octets_out(false);
    qs_addr second = rig_addr(r);
    second.b[15] = 77;
    REQUIRE(qs_engine_addr_add(r->e, &second, 24) == 0);
    struct icmp x = soft(r, 1);
    rig_icmp_build(r, &f, &x);
    f.b[FRAME_ETH + 19] = 77;
    frame_fix(&f);
    rig_frame(r, 20, &f);
    CHECK_COUNT(DROP_ICMP_QUOTE, 1);
    rig_free(r);
}

/* Shortens the frame to `quoted` octets of quote. */
static void shorten(struct frame *f, bool v6, uint32_t quoted)
{
    uint8_t *h = f->b + FRAME_ETH;
    put(h + (v6 ? 4 : 2), 2, (v6 ? 0u : 20u) + 8 + quoted);
    f->len = FRAME_ETH + (v6 ? 40u : 20u) + 8 + quoted;
    frame_fix(f);
}

static void quotes_cut_at_every_length(void)
{
    static struct frame f;
    for (int v6 = 0; v6 < 2; v6++)
        for (uint32_t n = 0, whole = v6 ? 48 : 28; n <= whole; n++) {
            struct rig *r = with_octets_out(v6);
            struct icmp x = soft(r, 1);
            rig_icmp_build(r, &f, &x);
            shorten(&f, v6, n);
            rig_frame(r, 20, &f);
            CHECK_COUNT(ICMP_ERRORS, n == whole);
            CHECK_COUNT(DROP_ICMP, n < whole);
            rig_free(r);
        }
}

/* IPv4 options that some router put in, and all lengths of the header that a quote can name. */
static void quoted_ipv4_headers_of_every_length(void)
{
    static struct frame f;
    for (uint32_t words = 0; words < 16; words++)
        for (uint32_t cut = 0; cut < 2; cut++) {
            struct rig *r = with_octets_out(false);
            struct icmp x = soft(r, 1);
            rig_icmp_build(r, &f, &x);
            uint8_t *q = f.b + FRAME_ETH + 28;
            uint32_t options = words > 5 ? words * 4 - 20 : 0;
            memmove(q + 20 + options, q + 20, 8);
            memset(q + 20, 1, options);
            q[0] = (uint8_t)(0x40 | words);
            shorten(&f, false, 28 + options - cut);
            rig_frame(r, 20, &f);
            CHECK_COUNT(ICMP_ERRORS, words >= 5 && !cut);
            CHECK_COUNT(DROP_ICMP, words < 5 || cut);
            rig_free(r);
        }
}

/* What is quoted starts inside of the packet, so it has no ports. */
static void quoted_fragments(void)
{
    static struct frame f;
    for (uint32_t bits = 0; bits < 0x4000; bits = bits ? bits * 2 : 1) {
        struct rig *r = with_octets_out(false);
        struct icmp x = soft(r, 1);
        rig_icmp_build(r, &f, &x);
        put(f.b + FRAME_ETH + 28 + 6, 2, bits);
        frame_fix(&f);
        rig_frame(r, 20, &f);
        CHECK_COUNT(ICMP_ERRORS, (bits & 0x1fff) == 0);
        rig_free(r);
    }
}

/* A translator on the way may have put in a fragment header; nobody puts in a chain without end. */
static void quoted_extension_headers(void)
{
    static const struct {
        uint8_t n, kind, units;
        uint16_t fragment;
        bool taken;
    } row[] = {{1, 60, 0, 0, true}, {2, 60, 1, 0, true}, {4, 0, 0, 0, true},  {5, 60, 0, 0, false},
               {1, 44, 0, 0, true}, {1, 44, 0, 1, true}, {1, 44, 0, 8, false}};
    static struct frame f;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        uint32_t each = 8u + 8u * row[i].units, all = each * row[i].n;
        for (uint32_t n = 0, whole = 48 + all; n <= whole; n++) {
            struct rig *r = with_octets_out(true);
            struct icmp x = soft(r, 1);
            rig_icmp_build(r, &f, &x);
            uint8_t *q = f.b + FRAME_ETH + 48;
            memmove(q + 40 + all, q + 40, 20);
            memset(q + 40, 0, all);
            q[6] = row[i].kind;
            for (uint32_t k = 0; k < row[i].n; k++) {
                uint8_t *h = q + 40 + k * each;
                h[0] = k + 1 < row[i].n ? row[i].kind : 6;
                h[1] = row[i].units;
                if (row[i].kind == 44)
                    put(h + 2, 2, row[i].fragment);
            }
            shorten(&f, true, n);
            rig_frame(r, 20, &f);
            CHECK_COUNT(ICMP_ERRORS, row[i].taken && n == whole);
            CHECK_COUNT(DROP_ICMP, !(row[i].taken && n == whole));
            rig_free(r);
        }
    }
}

/* Every type and code, with a word that no MTU report would be believed with. */
static void none_ends_a_synchronized_connection(void)
{
    static struct frame f;
    for (int v6 = 0; v6 < 2; v6++) {
        struct rig *r = with_octets_out(v6);
        struct qs_conn_info before = rig_info(r);
        uint64_t echoes = 0;
        for (uint32_t type = 0; type < 256; type++)
            for (uint32_t code = 0; code < 256; code++) {
                struct icmp x = {(uint8_t)type, (uint8_t)code, 60000, 1, 1000};
                rig_icmp_build(r, &f, &x);
                rig_frame(r, 20, &f);
                if (code == 0 && type == (v6 ? 128 : 8))
                    echoes++;
            }
        rig_flush(r);
        struct qs_conn_info after = rig_info(r);
        CHECK(after.state == QS_TCP_ESTABLISHED);
        CHECK_EQ(after.cwnd_octets, before.cwnd_octets); /* source quench among them */
        CHECK_EQ(after.mss_octets, before.mss_octets);
        uint64_t taken = rig_count(r, QS_COUNT_ICMP_ERRORS);
        CHECK_EQ(taken, v6 ? 13u : 20u);
        uint64_t neighbours = v6 ? 512 : 0; /* not even counted: the kernel's */
        CHECK_EQ(taken + echoes + neighbours + rig_count(r, QS_COUNT_DROP_ICMP) +
                     rig_count(r, QS_COUNT_DROP_ICMP_MTU),
                 65536);
        CHECK_EQ(rig_event(r), 0);
        rig_in(r, 30, &(struct seg){".", 1, 0, 2001});
        CHECK_EQ(rig_info(r).unacked_bytes, 0);
        rig_free(r);
    }
}

static const struct {
    bool v6;
    uint8_t type, code;
    qs_err err; /* that ends an active open at once; 0: it goes on */
} opening[] = {
    {false, 3, 0, 0},
    {false, 3, 1, 0},
    {false, 3, 2, QS_ERR_REFUSED},
    {false, 3, 3, QS_ERR_REFUSED},
    {false, 3, 5, 0},
    {false, 3, 9, QS_ERR_UNREACH},
    {false, 3, 10, QS_ERR_UNREACH},
    {false, 3, 13, QS_ERR_UNREACH},
    {false, 11, 0, 0},
    {false, 12, 0, 0},
    {true, 1, 0, 0},
    {true, 1, 1, QS_ERR_UNREACH},
    {true, 1, 3, 0},
    {true, 1, 4, QS_ERR_REFUSED},
    {true, 1, 6, QS_ERR_UNREACH},
    {true, 3, 0, 0},
    {true, 4, 1, QS_ERR_REFUSED},
    {true, 4, 0, 0},
};

static void what_ends_an_active_open(void)
{
    for (size_t i = 0; i < sizeof opening / sizeof opening[0]; i++) {
        struct rig *r = rig_new(NULL, opening[i].v6);
        rig_to(r, QS_TCP_SYN_SENT);
        rig_icmp(r, 5, &(struct icmp){opening[i].type, opening[i].code, 0, 1, 0});
        CHECK_COUNT(DROP_ICMP_QUOTE, 1); /* not the number of our SYN */
        CHECK_EQ(rig_event(r), 0);
        rig_icmp(r, 10, &(struct icmp){opening[i].type, opening[i].code, 0, 0, 0});
        CHECK_COUNT(ICMP_ERRORS, 1);
        if (opening[i].err) {
            CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
            CHECK_EQ(r->ev.err, opening[i].err);
            QUIET(100000);
        } else {
            CHECK_EQ(rig_event(r), 0);
            OUT(1000, "S", 0, 0, 0);
            CHECK_EQ(end_of(r), QS_ERR_UNREACH); /* that much was known */
        }
        rig_free(r);
    }
}

static void an_open_outlives_errors_that_pass(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_to(r, QS_TCP_SYN_SENT);
    struct icmp x = soft(r, 0);
    rig_icmp(r, 10, &x);
    IN(20, "S.", 0, 0, 1, .opts = "mss 1000");
    OUT(20, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    rig_free(r);
}

/* Somebody may have opened it in the name of a host that knows nothing of it. */
static void a_passive_open_goes_on(void)
{
    for (size_t i = 0; i < sizeof opening / sizeof opening[0]; i++) {
        struct rig *r = rig_new(NULL, opening[i].v6);
        rig_to(r, QS_TCP_SYN_RECEIVED);
        rig_icmp(r, 10, &(struct icmp){opening[i].type, opening[i].code, 0, 0, 0});
        CHECK_COUNT(ICMP_ERRORS, 1);
        IN(20, ".", 1, 0, 1);
        CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
        rig_free(r);
    }
}

/* One queue hears of what another has sent; both have the same addresses. */
static void heard_by_another_queue(void)
{
    for (int v6 = 0; v6 < 2; v6++) {
        struct rig *hears = rig_new(NULL, v6), *r = with_octets_out(v6);
        static struct frame f;
        struct qs_icmp_error said;
        struct icmp x = soft(r, 17), beyond = soft(r, OUT_OCTETS + 1);

        rig_icmp_build(r, &f, &x);
        rig_frame(hears, 20, &f);
        CHECK_EQ(rig_count(hears, QS_COUNT_DROP_ICMP_QUOTE), 1);
        REQUIRE(qs_engine_icmp_next(hears->e, &said));
        CHECK(!qs_engine_icmp_next(hears->e, &said));
        qs_engine_icmp_told(hears->e, &said, rig_now(hears)); /* it has not appeared */
        CHECK_EQ(rig_count(hears, QS_COUNT_ICMP_ERRORS), 0);
        qs_engine_icmp_told(r->e, &said, rig_now(hears));
        CHECK_COUNT(ICMP_ERRORS, 1);

        rig_icmp_build(r, &f, &beyond);
        rig_frame(hears, 21, &f);
        REQUIRE(qs_engine_icmp_next(hears->e, &said));
        qs_engine_icmp_told(r->e, &said, rig_now(hears));
        CHECK_COUNT(ICMP_ERRORS, 1);
        CHECK_EQ(end_of(r), QS_ERR_UNREACH);
        rig_free(r);
        rig_free(hears);
    }
}

static void a_flood_of_errors_is_not_passed_on(void)
{
    struct rig *r = with_octets_out(false), *hears = rig_new(NULL, false);
    static struct frame f;
    struct qs_icmp_error said;
    for (uint32_t i = 0; i < 1000; i++) {
        struct icmp x = soft(r, 1 + i);
        rig_icmp_build(r, &f, &x);
        rig_frame(hears, 20, &f);
    }
    uint32_t n = 0;
    while (qs_engine_icmp_next(hears->e, &said))
        n++;
    CHECK_EQ(n, QS_STRAYS_MAX);
    /* What this engine knows better it keeps to itself. */
    struct icmp beyond = soft(r, OUT_OCTETS + 1);
    rig_icmp(r, 20, &beyond);
    CHECK(!qs_engine_icmp_next(r->e, &said));
    rig_free(hears);
    rig_free(r);
}

int main(void)
{
    RUN(heard_by_another_queue);
    RUN(a_flood_of_errors_is_not_passed_on);
    RUN(only_what_is_outstanding_counts);
    RUN(nothing_out_nothing_taken);
    RUN(progress_makes_it_forgotten);
    RUN(quotes_of_others);
    RUN(told_to_the_wrong_address_of_ours);
    RUN(quotes_cut_at_every_length);
    RUN(quoted_ipv4_headers_of_every_length);
    RUN(quoted_fragments);
    RUN(quoted_extension_headers);
    RUN(none_ends_a_synchronized_connection);
    RUN(what_ends_an_active_open);
    RUN(an_open_outlives_errors_that_pass);
    RUN(a_passive_open_goes_on);
    return TEST_RESULT();
}
