/* SPDX-License-Identifier: Apache-2.0 */
/* SYN floods (RFC 4987): limits of half-open connections, and the cookies that are sent beyond
 * them. */
#include "rig.h"

#define PERIOD_MS 64000.0

/* ---- floods and handshakes ---- */

static struct rig *with_limit(const qs_engine_opts *o, bool v6, uint32_t half_open_max,
                              uint32_t prefix_max)
{
    struct rig *r = rig_new(o, v6);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.half_open_max = half_open_max;
    l.half_open_prefix_max = prefix_max;
    REQUIRE(qs_engine_listen(r->e, &l) == 0);
    qs_addr peer = rig_peer(r);
    REQUIRE(qs_engine_gateway_set(r->e, &peer) == 0);
    return r;
}

/* Host `host` of network `net`: the third octet, or all of the second half, of its address. */
static qs_addr stranger(const struct rig *r, uint32_t net, uint8_t host)
{
    qs_addr a = {{0x20, 1, 0x0d, 0xb8, [8] = host, [15] = 1}};
    qs_addr a4 = {{[10] = 0xff, [11] = 0xff, [12] = 198, [13] = 18, [15] = host}};
    if (!r->v6)
        a = a4;
    a.b[r->v6 ? 6 : 13] = (uint8_t)(a.b[r->v6 ? 6 : 13] + (net >> 8));
    a.b[r->v6 ? 7 : 14] = (uint8_t)net;
    return a;
}

/* What comes from a stranger; what leaves because of it is forgotten. */
static void from_stranger(struct rig *r, double ms, uint32_t net, uint8_t host, const char *flags)
{
    static struct frame f;
    struct wire_tcp t = {.src = stranger(r, net, host),
                         .dst = rig_addr(r),
                         .src_port = 1234,
                         .dst_port = RIG_PORT,
                         .seq = strcmp(flags, "S") ? 78 : 77,
                         .wnd = 1000};
    snprintf(t.flags, sizeof t.flags, "%s", flags);
    frame_tcp(&f, &t);
    rig_frame(r, ms, &f);
    rig_flush(r);
}

/* From now on, for 15 s, the listener of `r` sends cookies: its only place is taken. */
static void fill(struct rig *r, double ms)
{
    from_stranger(r, ms, 0, 1, "S");
}

static struct rig *with_cookies(bool v6)
{
    struct rig *r = with_limit(NULL, v6, 1, 0);
    fill(r, 0);
    CHECK_COUNT(CONNS, 1);
    return r;
}

/* Sends a SYN, takes the SYN-ACK; r->iss is right for it then. */
static struct wire_tcp handshake(struct rig *r, double ms, const char *opts, uint16_t port)
{
    struct wire_tcp t = {0};
    rig_in(r, ms, &(struct seg){"S", 0, 0, 0, opts, .peer_port = port});
    rig_run(r, ms);
    struct frame *f = rig_take(r);
    REQUIRE(f);
    frame_parse_tcp(f, &t);
    CHECK(strcmp(t.flags, "S.") == 0);
    CHECK_EQ(t.ack, RIG_ISN + 1);
    r->iss = t.seq;
    return t;
}

/* The same, and it has to be a cookie. */
static struct wire_tcp cookie(struct rig *r, double ms, const char *opts, uint16_t port)
{
    uint64_t sent = rig_count(r, QS_COUNT_SYN_COOKIES_SENT), conns = rig_count(r, QS_COUNT_CONNS);
    struct wire_tcp t = handshake(r, ms, opts, port);
    CHECK_EQ(rig_count(r, QS_COUNT_SYN_COOKIES_SENT), sent + 1);
    CHECK_EQ(rig_count(r, QS_COUNT_CONNS), conns);
    return t;
}

/* TSval of a segment that has one. */
static uint32_t tsval(const struct wire_tcp *t)
{
    const char *at = strstr(t->opts, "ts ");
    REQUIRE(at);
    return (uint32_t)strtoul(at + 3, NULL, 10);
}

/* Timestamp option with which a peer answers `t`. */
static const char *answer_ts(const struct wire_tcp *t, uint32_t now)
{
    static char text[40];
    snprintf(text, sizeof text, "ts %u:%u", now, tsval(t));
    return text;
}

/* ---- a flood, and who is honest ---- */

static void connect_through_a_flood(bool v6)
{
    struct rig *r = with_limit(NULL, v6, 16, 16);
    size_t mem = test_mem_live();
    for (uint32_t i = 0; i < 500; i++)
        from_stranger(r, 0.1, i, 9, "S");
    CHECK_COUNT(CONNS, 16);
    CHECK_COUNT(HALF_OPEN_LIMIT, 484);
    CHECK_COUNT(SYN_COOKIES_SENT, 484);

    struct wire_tcp t = cookie(r, 1, "mss 1400 sok ts 5000:0 ws 7", 0);
    char want[64];
    snprintf(want, sizeof want, "mss %u sok ts %u:5000 ws 3", v6 ? 1440 : 1460, tsval(&t));
    CHECK(strcmp(t.opts, want) == 0);
    CHECK_EQ(t.wnd, 65535);
    r->wnd = 100;
    IN(2, ".", 1, 0, 1, .opts = answer_ts(&t, 5001));
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    CHECK_EQ(r->ev.listener, 0);
    CHECK_COUNT(SYN_COOKIES_ACCEPTED, 1);
    CHECK_COUNT(PASSIVE_OPENS, 1);
    uint32_t mss = v6 ? 1340 - 12 : 1360 - 12;
    CHECK_EQ(rig_info(r).mss_octets, mss);

    /* Out: 100 << 7 octets are the window, more than 100. */
    CHECK_EQ(rig_write(r, 2 * mss), 2 * mss);
    OUT(2, ".", 1, mss, 1, .opts = "ts *:5001");
    CHECK((int32_t)(tsval(&r->last) - tsval(&t)) >= 0);
    OUT(2, "P.", 1 + mss, mss, 1);
    IN(3, ".", 1, 0, 1 + 2 * mss, .opts = answer_ts(&r->last, 5002));
    /* In: with a hole, told by SACK; the window is scaled by 3. */
    IN(4, ".", 1001, 1000, 1 + 2 * mss, .opts = answer_ts(&r->last, 5003));
    OUT(4, ".", 1 + 2 * mss, 0, 1, .opts = "ts *:5002 sack 1001-2001");
    IN(5, "P.", 1, 1000, 1 + 2 * mss, .opts = answer_ts(&r->last, 5003));
    OUT(5, ".", 1 + 2 * mss, 0, 2001);
    CHECK(r->last.wnd * 8u > 200000);
    CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
    CHECK_EQ(rig_read(r, 5000), 2000);
    QUIET(100);
    CHECK_COUNT(CONNS, 17);
    CHECK_EQ(test_mem_live(), mem);
    rig_free(r);
}

static void honest_clients_get_through(void)
{
    connect_through_a_flood(false);
    connect_through_a_flood(true);
}

static void a_flood_leaves_connections_alone(void)
{
    struct rig *r = with_limit(NULL, false, 16, 16);
    handshake(r, 0, "mss 1460", 0);
    IN(1, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    for (uint32_t i = 0; i < 100; i++) {
        double ms = 2 + 2 * i;
        for (uint32_t k = 0; k < 5; k++) {
            from_stranger(r, ms, 5 * i + k, 9, "S");
            from_stranger(r, ms, 5 * i + k, 8, ".");
        }
        IN(ms, "P.", 1 + 3000 * i, 1000, 1 + 100 * i);
        IN(ms, "P.", 1001 + 3000 * i, 1000, 1 + 100 * i);
        IN(ms, "P.", 2001 + 3000 * i, 1000, 1 + 100 * i);
        OUT(ms, ".", 1 + 100 * i, 0, 3001 + 3000 * i);
        CHECK_EQ(rig_event(r), QS_EVENT_READABLE);
        CHECK_EQ(rig_read(r, 3000), 3000);
        CHECK_EQ(rig_write(r, 100), 100);
        OUT(ms, "P.", 1 + 100 * i, 100, 3001 + 3000 * i);
        rig_in(r, ms + 1, &(struct seg){".", 3001 + 3000 * i, 0, 101 + 100 * i});
    }
    CHECK_COUNT(RETRANSMITS, 0);
    CHECK_COUNT(SYN_COOKIES_SENT, 484);
    CHECK_COUNT(SYN_COOKIES_REJECTED, 484); /* those after the first cookie */
    CHECK_COUNT(CONNS, 17);
    rig_free(r);
}

/* ---- what a cookie remembers ---- */

/* Rounded down to what eight numbers can say; the own MSS is a limit as ever. */
static void the_mss_is_rounded_down(void)
{
    static const struct {
        const char *opts;
        uint32_t mss;
        bool v6;
    } row[] = {
        {"mss 1460", 1460, false}, {"mss 9000", 1460, false}, {"mss 1459", 1452, false},
        {"mss 1452", 1452, false}, {"mss 1440", 1432, false}, {"mss 1400", 1360, false},
        {"mss 1300", 1240, false}, {"mss 1000", 536, false},  {"mss 536", 536, false},
        {"mss 535", 88, false},    {"mss 1", 88, false},      {"mss 0", 536, false},
        {"", 536, false},          {"mss 65535", 1440, true}, {"mss 1439", 1432, true},
        {"mss 1420", 1412, true},  {"mss 1360", 1340, true},  {"mss 1220", 1220, true},
        {"mss 1219", 536, true},   {"mss 300", 88, true},     {"", 1220, true},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = with_cookies(row[i].v6);
        struct wire_tcp t = cookie(r, 1, row[i].opts, 0);
        CHECK(strcmp(t.opts, row[i].v6 ? "mss 1440" : "mss 1460") == 0);
        IN(2, ".", 1, 0, 1);
        CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
        CHECK_EQ(rig_info(r).mss_octets, row[i].mss);
        rig_free(r);
    }
}

/* Options that are not remembered are not agreed on. */
static void without_timestamps_no_options(void)
{
    struct rig *r = with_cookies(false);
    struct wire_tcp t = cookie(r, 1, "mss 1460 ws 7 sok", 0);
    CHECK(strcmp(t.opts, "mss 1460") == 0);
    r->wnd = 500;
    IN(2, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    CHECK_EQ(rig_write(r, 3000), 3000);
    OUT(2, ".", 1, 500, 1, .wnd = 65535, .opts = ""); /* 500, not 500 << 7 */
    QUIET(10);
    IN(11, ".", 1001, 1000, 1);
    OUT(11, ".", 501, 0, 1, .wnd = 65535, .opts = ""); /* no SACK */
    rig_free(r);
}

static void each_option_by_itself(void)
{
    static const struct {
        const char *opts, *answer;
        uint16_t wnd;
        uint32_t may_send;
        bool sack;
    } row[] = {
        {"mss 1460 ts 1:0", "mss 1460 ts *:1", 700, 700, false},
        {"mss 1460 ts 1:0 ws 0", "mss 1460 ts *:1 ws 3", 700, 700, false},
        {"mss 1460 ts 1:0 ws 1", "mss 1460 ts *:1 ws 3", 700, 1400, false},
        {"mss 1460 ts 1:0 ws 14", "mss 1460 ts *:1 ws 3", 1, 1448, false},
        {"mss 1460 sok ts 1:0", "mss 1460 sok ts *:1", 700, 700, true},
        {"mss 1460 sok ts 1:0 ws 1", "mss 1460 sok ts *:1 ws 3", 700, 1400, true},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = with_cookies(false);
        struct wire_tcp t = cookie(r, 1, row[i].opts, 0);
        CHECK(text_matches(t.opts, row[i].answer));
        r->wnd = row[i].wnd;
        IN(2, ".", 1, 0, 1, .opts = answer_ts(&t, 2));
        CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
        CHECK_EQ(rig_write(r, 20000), 20000);
        OUT(2, ".", 1, row[i].may_send, 1, .opts = "ts *:2");
        rig_flush(r);
        rig_in(r, 3, &(struct seg){".", 1001, 1000, 1, answer_ts(&t, 3)});
        rig_run(r, 3);
        struct frame *f = rig_take(r);
        REQUIRE(f);
        frame_parse_tcp(f, &t);
        CHECK_EQ(strstr(t.opts, "sack") != NULL, row[i].sack);
        rig_free(r);
    }
}

/* The options in TSval never make it larger than the clock: the next one would be smaller. */
static void timestamps_never_go_back(void)
{
    static const char *const scales[] = {"0", "7", "14"};
    struct rig *r = with_cookies(false);
    for (uint16_t i = 0; i < 130; i++) {
        char opts[64];
        double ms = 1 + 1.05 * i; /* about one unit */
        snprintf(opts, sizeof opts, "mss 1460 %sts 1:0 ws %s", i % 2 ? "sok " : "", scales[i % 3]);
        struct wire_tcp t = cookie(r, ms, opts, (uint16_t)(2000 + i)), next;
        rig_in(r, ms, &(struct seg){".", 1, 0, 1, answer_ts(&t, 2), .peer_port = t.dst_port});
        CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
        REQUIRE(qs_conn_write(r->e, r->conn, "x", 1) == 1);
        rig_run(r, ms);
        frame_parse_tcp(rig_take(r), &next);
        CHECK(tsval(&next) - tsval(&t) < 64);
        REQUIRE(qs_conn_abort(r->e, r->conn) == 0);
        rig_flush(r);
    }
    rig_free(r);
}

static void data_and_fin_ride_on_the_ack(void)
{
    struct rig *r = with_cookies(false);
    cookie(r, 1, "mss 1460", 0);
    IN(2, "FP.", 1, 500, 1);
    OUT(2, ".", 1, 0, 502);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN | QS_EVENT_READABLE | QS_EVENT_EOF);
    CHECK_EQ(rig_state(r), QS_TCP_CLOSE_WAIT);
    CHECK_EQ(rig_read(r, 1000), 500);
    rig_free(r);
}

/* The bare ACK may be lost: the first octets say the same. More than a window is cut. */
static void the_window_of_the_cookie_holds(void)
{
    struct rig *r = with_cookies(false);
    cookie(r, 1, "mss 1460", 0);
    IN(2, "P.", 1, 100, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN | QS_EVENT_READABLE);
    IN(3, "P.", 65536 - 10, 10, 1); /* last of the 65,535 that the SYN-ACK promised */
    OUT(3, ".", 1, 0, 101);
    CHECK_COUNT(OUT_OF_ORDER, 1);
    CHECK_COUNT(DROP_OUT_OF_WINDOW, 0);
    rig_free(r);
}

static void listeners_settings_reach_it(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.half_open_max = 1;
    l.prio = 5;
    l.user = 99;
    l.conn.cc = "newreno";
    REQUIRE(qs_engine_listen(r->e, &l) == 0);
    handshake(r, 0, "", 2000);
    cookie(r, 1, "", 0);
    IN(2, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    CHECK_EQ(r->ev.user, 99);
    CHECK_EQ(r->ev.prio, 5);
    CHECK(strcmp(rig_info(r).cc, "newreno") == 0);
    rig_free(r);
}

/* ---- what is no answer to a cookie ---- */

static void refused(struct rig *r, double ms, const struct seg *s)
{
    uint64_t rejected = rig_count(r, QS_COUNT_SYN_COOKIES_REJECTED);
    uint64_t dropped = rig_count(r, QS_COUNT_DROP_NO_LISTENER);
    rig_in(r, ms, s);
    CHECK(rig_out(
        r, ms, &(struct seg){"R", s->ack, 0, 0, "", .peer_port = s->peer_port, .port = s->port}));
    CHECK_EQ(rig_count(r, QS_COUNT_SYN_COOKIES_REJECTED), rejected + 1);
    CHECK_EQ(rig_count(r, QS_COUNT_DROP_NO_LISTENER), dropped + 1);
    CHECK_COUNT(SYN_COOKIES_ACCEPTED, 0);
    CHECK_EQ(rig_event(r), 0);
}

static void forgeries(bool v6)
{
    struct rig *r = with_cookies(v6);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = 81;
    REQUIRE(qs_engine_listen(r->e, &l) == 1);
    cookie(r, 1, "mss 1460", 0);
    refused(r, 2, &(struct seg){".", 0, 0, 1});
    refused(r, 2, &(struct seg){".", 1 + 65536, 0, 1}); /* behind the window */
    for (uint32_t bit = 16; bit < 32; bit++) {          /* for the lower ones see below */
        uint32_t forged = ((r->iss) ^ 1u << bit) - r->iss + 1;
        refused(r, 2, &(struct seg){".", 1, 0, forged});
    }
    refused(r, 2, &(struct seg){".", 1, 0, 0});
    refused(r, 2, &(struct seg){".", 1, 0, 2});
    refused(r, 2, &(struct seg){".", 1, 0, 1, .peer_port = RIG_PEER_PORT + 1});
    refused(r, 2, &(struct seg){".", 1, 0, 1, .port = 81});
    refused(r, 2, &(struct seg){".", 1, 0, 1, "ts 1:0"}); /* the SYN had none */
    CHECK_COUNT(CONNS, 1);
    IN(3, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    rig_free(r);
}

static void forged_acks_are_reset(void)
{
    forgeries(false);
    forgeries(true);
}

/* Of the answer and the first octets nothing arrived; what does is only later. A RST would end a
 * connection that the peer has. */
static void what_overtakes_the_answer_is_to_come_again(void)
{
    struct rig *r = with_cookies(false);
    struct wire_tcp t = cookie(r, 1, "mss 1460 ts 1:0 ws 7", 0);
    IN(2, "P.", 11, 10, 1, .opts = answer_ts(&t, 2));
    IN(2, "F.", 21, 0, 1, .opts = answer_ts(&t, 2));
    IN(2, ".", 65536, 0, 1, .opts = answer_ts(&t, 2)); /* all that the window allows */
    QUIET(3);
    CHECK_COUNT(DROP_COOKIE_AHEAD, 3);
    CHECK_COUNT(CONNS, 1);
    IN(4, "P.", 1, 10, 1, .opts = answer_ts(&t, 3));
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN | QS_EVENT_READABLE);
    IN(5, "FP.", 11, 10, 1, .opts = answer_ts(&t, 4));
    OUT(5, ".", 1, 0, 22);
    CHECK_COUNT(RESETS_SENT, 0);
    CHECK_COUNT(SYN_COOKIES_REJECTED, 0);
    rig_free(r);
}

/* One in some thousand guesses looks as if it were ahead. It gets nothing, and opens nothing. */
static void a_guess_opens_nothing(void)
{
    struct rig *r = with_cookies(false);
    cookie(r, 1, "mss 1460", 0);
    for (uint32_t bit = 0; bit < 16; bit++) {
        rig_in(r, 2, &(struct seg){".", 1, 0, (r->iss ^ 1u << bit) - r->iss + 1});
        rig_flush(r);
    }
    CHECK_EQ(rig_count(r, QS_COUNT_SYN_COOKIES_REJECTED) + rig_count(r, QS_COUNT_DROP_COOKIE_AHEAD),
             16);
    CHECK_COUNT(CONNS, 1);
    CHECK_EQ(rig_event(r), 0);
    rig_free(r);
}

/* The options in the timestamp are hashed as well: nobody agrees with himself on others. */
static void forged_options_are_reset(void)
{
    struct rig *r = with_cookies(false);
    struct wire_tcp t = cookie(r, 1, "mss 1460 ts 1:0 ws 7", 0);
    for (uint32_t bit = 0; bit < 6; bit++) {
        char opts[40];
        snprintf(opts, sizeof opts, "ts 2:%u", tsval(&t) ^ 1u << bit);
        refused(r, 2, &(struct seg){".", 1, 0, 1, opts});
    }
    refused(r, 2, &(struct seg){".", 1, 0, 1}); /* RFC 7323 section 3.2: in each segment */
    IN(3, ".", 1, 0, 1, .opts = answer_ts(&t, 2));
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    rig_free(r);
}

/* Another address of the same host, and another host. */
static void a_cookie_is_for_one_address(void)
{
    struct rig *r = with_cookies(false);
    static struct frame f;
    cookie(r, 1, "mss 1460", 0);
    rig_build(r, &f, &(struct seg){".", 1, 0, 1});
    f.b[14 + 15]++; /* 10.0.0.3 */
    frame_fix(&f);
    rig_frame(r, 2, &f);
    CHECK_COUNT(SYN_COOKIES_REJECTED, 1);
    rig_flush(r);
    qs_addr own = rig_addr(r);
    own.b[15] = 7;
    REQUIRE(qs_engine_addr_add(r->e, &own, 24) == 0);
    rig_build(r, &f, &(struct seg){".", 1, 0, 1});
    f.b[14 + 19] = 7;
    frame_fix(&f);
    rig_frame(r, 3, &f);
    CHECK_COUNT(SYN_COOKIES_REJECTED, 2);
    CHECK_COUNT(CONNS, 1);
    rig_free(r);
}

static double next_period(const struct rig *r)
{
    uint64_t period = (uint64_t)PERIOD_MS * 1000000u;
    return (double)(period - r->start_ns % period) / 1e6;
}

/* Good in its period of 64 s and the next. */
static void a_cookie_grows_old(void)
{
    static const struct {
        double made, used; /* ms after the start of a period */
        bool good;
    } row[] = {
        {1, 2, true},           {1, 63999, true},     {1, 64001, true},      {1, 127999, true},
        {1, 128001, false},     {63999, 64001, true}, {63999, 127999, true}, {63999, 128001, false},
        {63999, 191000, false}, {1, 256001, false},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = with_limit(NULL, false, 1, 0);
        double start = next_period(r);
        fill(r, start + row[i].made - 0.5);
        cookie(r, start + row[i].made, "mss 1460", 0);
        uint32_t iss = r->iss;
        if (row[i].used - row[i].made > 20000) { /* others get cookies meanwhile */
            fill(r, start + row[i].used - 0.5);
            cookie(r, start + row[i].used - 0.25, "", 2000);
            r->iss = iss;
        }
        if (row[i].good) {
            IN(start + row[i].used, ".", 1, 0, 1);
            CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
        } else {
            refused(r, start + row[i].used, &(struct seg){".", 1, 0, 1});
        }
        rig_free(r);
    }
}

/* Where none was sent for 128 s an ACK is not even looked at. */
static void without_cookies_a_plain_reset(void)
{
    struct rig *r = with_limit(NULL, false, 1, 0);
    IN(0, ".", 1, 0, 1);
    OUT(0, "R", 1, 0, 0);
    double start = next_period(r);
    fill(r, start);
    cookie(r, start + 1, "mss 1460", 0);
    rig_run(r, start + 127990);
    rig_flush(r);
    refused(r, start + 127995, &(struct seg){".", 0, 0, 1});
    CHECK_COUNT(SYN_COOKIES_REJECTED, 1);
    IN(start + 128002, ".", 2, 0, 1);
    OUT(start + 128002, "R", 1, 0, 0);
    CHECK_COUNT(SYN_COOKIES_REJECTED, 1);
    CHECK_COUNT(DROP_NO_LISTENER, 3);
    rig_free(r);
}

/* An ACK that comes again belongs to the connection, and is not a second one. */
static void the_same_ack_again(void)
{
    struct rig *r = with_cookies(false);
    cookie(r, 1, "mss 1460", 0);
    IN(2, ".", 1, 0, 1);
    IN(3, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    CHECK_EQ(rig_event(r), 0);
    CHECK_COUNT(CONNS, 2);
    CHECK_COUNT(SYN_COOKIES_ACCEPTED, 1);
    QUIET(900);
    rig_free(r);
}

static void other_flags_are_no_answer(void)
{
    struct rig *r = with_cookies(false);
    cookie(r, 1, "mss 1460", 0);
    IN(2, "S.", 0, 0, 1);
    OUT(2, "R", 1, 0, 0);
    IN(3, "S.", 1, 0, 1);
    OUT(3, "R", 1, 0, 0);
    IN(4, "R.", 1, 0, 1);
    IN(5, "R", 1, 0, 0);
    QUIET(10);
    CHECK_COUNT(SYN_COOKIES_REJECTED, 0);
    CHECK_COUNT(DROP_RST, 2);
    CHECK_COUNT(CONNS, 1);
    rig_free(r);
}

/* ---- the SYN comes again ---- */

static void the_syn_again(void)
{
    struct rig *r = with_cookies(false);
    struct wire_tcp t = cookie(r, 1, "mss 1460 ts 1:0 ws 7", 0);
    struct wire_tcp again = cookie(r, 900, "mss 1460 ts 2:0 ws 7", 0);
    /* The same but for the time: any of both answers can be acknowledged. */
    CHECK_EQ(again.seq, t.seq);
    CHECK(tsval(&again) > tsval(&t));
    IN(901, ".", 1, 0, 1, .opts = answer_ts(&t, 3));
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    rig_free(r);
}

/* A half-open connection answers for itself, whatever limit is reached. */
static void the_syn_again_of_one_that_is_kept(void)
{
    struct rig *r = with_limit(NULL, false, 1, 0);
    struct wire_tcp t = handshake(r, 0, "mss 1000", 0);
    CHECK_EQ(handshake(r, 1, "mss 1000", 0).seq, t.seq);
    CHECK_COUNT(SYN_COOKIES_SENT, 0);
    CHECK_COUNT(CONNS, 1);
    cookie(r, 2, "", 2000);
    r->iss = t.seq;
    IN(3, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    CHECK_EQ(rig_info(r).mss_octets, 1000);
    CHECK_COUNT(SYN_COOKIES_ACCEPTED, 0);
    rig_free(r);
}

/* A cookie for the SYN, and when a place was free again a half-open connection for its copy: the
 * peer has the connection of whichever answer came first. */
static void a_cookie_and_a_half_open_connection(void)
{
    for (uint32_t second = 0; second < 2; second++) {
        struct rig *r = with_cookies(false);
        struct wire_tcp first = cookie(r, 1, "mss 1400 ts 1:0 ws 7", 0);
        from_stranger(r, 2, 0, 1, "R");
        struct wire_tcp other = handshake(r, 3, "mss 1400 ts 1:0 ws 7", 0);
        CHECK_COUNT(SYN_COOKIES_SENT, 1);
        CHECK(first.seq != other.seq);
        struct wire_tcp *taken = second ? &other : &first;
        r->iss = taken->seq;
        rig_in(r, 4, &(struct seg){"P.", 11, 10, 1, answer_ts(taken, 2)}); /* ahead of ten octets */
        rig_in(r, 5, &(struct seg){"P.", 1, 10, 1, answer_ts(taken, 2)});
        rig_flush(r);
        CHECK_EQ(rig_event(r) & QS_EVENT_OPEN, QS_EVENT_OPEN);
        CHECK_EQ(rig_info(r).mss_octets, second ? 1400 - 12 : 1360 - 12);
        CHECK_COUNT(CONNS, 1);
        CHECK_COUNT(RESETS_SENT, 0);
        CHECK_COUNT(SYN_COOKIES_ACCEPTED, 1 - second);
        CHECK_COUNT(DROP_COOKIE_AHEAD, 1 - second);
        handshake(r, 6, "", 2000); /* the place is free again */
        CHECK_COUNT(SYN_COOKIES_SENT, 1);
        rig_free(r);
    }
}

/* ---- limits ---- */

/* Each end of a half-open connection gives its place back. */
static void places_come_back(void)
{
    struct rig *r = with_limit(NULL, false, 1, 0);
    handshake(r, 0, "", 0);
    cookie(r, 1, "", 2000);
    IN(2, "R", 1, 0, 0); /* reset */
    handshake(r, 3, "", 0);
    CHECK_COUNT(SYN_COOKIES_SENT, 1);
    IN(4, ".", 1, 0, 1); /* established */
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    handshake(r, 5, "", 2001);
    CHECK_COUNT(SYN_COOKIES_SENT, 1);
    cookie(r, 6, "", 2002);
    rig_run(r, 14900); /* SYN-ACKs at 1, 3 and 7 s, the end at 15 s */
    CHECK_EQ(r->n_queue, 3);
    rig_flush(r);
    cookie(r, 14950, "", 2002);
    QUIET(15100);
    CHECK_COUNT(TIMEOUTS, 1);
    handshake(r, 15100, "", 2002);
    CHECK_COUNT(SYN_COOKIES_SENT, 3);
    CHECK_EQ(qs_engine_unlisten(r->e, 0), 0); /* its listener ended */
    rig_listen(r);
    CHECK_COUNT(CONNS, 1);
    handshake(r, 15200, "", 2003);
    CHECK_COUNT(SYN_COOKIES_SENT, 3);
    rig_free(r);
}

/* One network has a quarter of the places; all others have the rest. */
static void one_prefix_cannot_take_all(bool v6)
{
    struct rig *r = with_limit(NULL, v6, 40, 0);
    for (uint8_t host = 1; host <= 30; host++)
        from_stranger(r, 0, 3, host, "S");
    CHECK_COUNT(CONNS, 10);
    CHECK_COUNT(SYN_COOKIES_SENT, 20);
    for (uint32_t net = 4; net < 34; net++)
        from_stranger(r, 1, net, 1, "S");
    CHECK_COUNT(CONNS, 40);
    CHECK_COUNT(SYN_COOKIES_SENT, 20);
    from_stranger(r, 2, 40, 1, "S"); /* now they are all taken */
    CHECK_COUNT(SYN_COOKIES_SENT, 21);
    from_stranger(r, 3, 3, 1, "R");
    from_stranger(r, 4, 3, 31, "S");
    CHECK_COUNT(CONNS, 40);
    from_stranger(r, 5, 20, 1, "R");
    from_stranger(r, 6, 3, 32, "S"); /* a place is free, and not for this network */
    CHECK_COUNT(CONNS, 39);
    CHECK_COUNT(SYN_COOKIES_SENT, 22);
    from_stranger(r, 7, 20, 2, "S");
    CHECK_COUNT(CONNS, 40);
    rig_free(r);
}

static void prefixes_are_counted(void)
{
    one_prefix_cannot_take_all(false);
    one_prefix_cannot_take_all(true);
}

static void the_prefix_limit_is_an_option(void)
{
    struct rig *r = with_limit(NULL, false, 40, 3);
    for (uint8_t host = 1; host <= 10; host++)
        from_stranger(r, 0, 3, host, "S");
    CHECK_COUNT(CONNS, 3);
    rig_free(r);
    r = with_limit(NULL, false, 2, 0); /* a quarter is at least one */
    from_stranger(r, 0, 3, 1, "S");
    CHECK_COUNT(CONNS, 1);
    from_stranger(r, 0, 3, 2, "S");
    CHECK_COUNT(CONNS, 1);
    rig_free(r);
}

/* The last eighth of the blocks is for those who have proven their address. */
static void the_last_blocks_are_not_for_syns(void)
{
    qs_engine_opts o = rig_opts();
    o.conns_max = 16;
    struct rig *r = with_limit(&o, false, 1024, 0);
    for (uint32_t net = 0; net < 40; net++)
        from_stranger(r, 0, net, 1, "S");
    CHECK_COUNT(CONNS, 15);
    CHECK_COUNT(SYN_COOKIES_SENT, 25);
    cookie(r, 1, "", 0);
    uint32_t iss = r->iss;
    cookie(r, 2, "", 2000);
    IN(3, ".", 1, 0, 1, .peer_port = 2000);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    /* None is left: the SYN and the ACK are to come again. */
    CHECK_COUNT(CONNS, 16);
    IN(4, "S", 0, 0, 0, .peer_port = 2001);
    CHECK_COUNT(DROP_NO_CONN, 1);
    r->iss = iss;
    IN(5, "P.", 1, 10, 1);
    CHECK_COUNT(DROP_NO_CONN, 2);
    QUIET(10);
    REQUIRE(qs_conn_abort(r->e, r->conn) == 0);
    rig_flush(r);
    IN(11, "P.", 1, 10, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN | QS_EVENT_READABLE);
    rig_free(r);
}

/* A full backlog is no reason to reset who has answered a cookie. */
static void a_full_backlog_delays(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.backlog = 1;
    l.half_open_max = 1;
    REQUIRE(qs_engine_listen(r->e, &l) == 0);
    handshake(r, 0, "", 2000);
    uint32_t first = r->iss;
    cookie(r, 1, "", 0);
    uint32_t iss = r->iss;
    r->iss = first;
    IN(2, ".", 1, 0, 1, .peer_port = 2000);
    r->iss = iss;
    IN(3, ".", 1, 0, 1);
    CHECK_COUNT(DROP_BACKLOG, 1);
    CHECK_COUNT(CONNS, 1);
    QUIET(10);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    IN(11, "P.", 1, 10, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN | QS_EVENT_READABLE);
    rig_free(r);
}

static void no_cookie_without_a_way_back(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.half_open_max = 1;
    REQUIRE(qs_engine_listen(r->e, &l) == 0);
    handshake(r, 0, "", 2000);
    from_stranger(r, 1, 0, 1, "S");
    CHECK_COUNT(SYN_COOKIES_SENT, 0);
    CHECK_COUNT(DROP_NO_ROUTE, 1);
    rig_free(r);
}

int main(void)
{
    RUN(honest_clients_get_through);
    RUN(a_flood_leaves_connections_alone);
    RUN(the_mss_is_rounded_down);
    RUN(without_timestamps_no_options);
    RUN(each_option_by_itself);
    RUN(timestamps_never_go_back);
    RUN(data_and_fin_ride_on_the_ack);
    RUN(the_window_of_the_cookie_holds);
    RUN(listeners_settings_reach_it);
    RUN(forged_acks_are_reset);
    RUN(what_overtakes_the_answer_is_to_come_again);
    RUN(a_guess_opens_nothing);
    RUN(forged_options_are_reset);
    RUN(a_cookie_is_for_one_address);
    RUN(a_cookie_grows_old);
    RUN(without_cookies_a_plain_reset);
    RUN(the_same_ack_again);
    RUN(other_flags_are_no_answer);
    RUN(the_syn_again);
    RUN(the_syn_again_of_one_that_is_kept);
    RUN(a_cookie_and_a_half_open_connection);
    RUN(places_come_back);
    RUN(prefixes_are_counted);
    RUN(the_prefix_limit_is_an_option);
    RUN(the_last_blocks_are_not_for_syns);
    RUN(a_full_backlog_delays);
    RUN(no_cookie_without_a_way_back);
    return TEST_RESULT();
}
