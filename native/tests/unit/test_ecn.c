/* SPDX-License-Identifier: Apache-2.0 */
/* Explicit Congestion Notification, RFC 3168 section 6.1, and DCTCP, RFC 8257. */
#include "rig.h"

#define MSS 1000u
#define ECT0 2
#define CE 3

static struct rig *with_ecn(const char *cc)
{
    struct rig *r = rig_new(NULL, false);
    r->cc = cc;
    rig_listen(r);
    IN(0, "SEW", 0, 0, 0, .opts = "mss 1000");
    OUT(0, "S.E", 0, 0, 1);
    IN(10, ".", 1, 0, 1);
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    CHECK(rig_info(r).ecn);
    return r;
}

#define EARLY 16000u /* octets of the full segments that are acknowledged one by one at first */

/* Those have come. */
static void grow_up(struct rig *r)
{
    for (uint32_t at = 0; at < EARLY; at += MSS)
        rig_in(r, 15, &(struct seg){".", 1 + at, MSS, 1});
    rig_run(r, 16);
    rig_flush(r);
    rig_read(r, EARLY);
}

static void expect_run(struct rig *r, double ms, uint32_t seq, uint32_t octets)
{
    for (uint32_t at = 0; at < octets; at += MSS) {
        bool fine = rig_out(r, ms, &(struct seg){".", seq + at, MSS, 1, .ecn = ECT0});
        CHECK(fine);
        if (!fine)
            return;
    }
}

/* ---- handshake, section 6.1.1 ---- */

static void agreed_only_when_asked_properly(void)
{
    static const struct {
        const char *syn, *answer;
        uint8_t ecn;
    } row[] = {
        {"SEW", "S.E", 0}, {"SE", "S.", 0},     {"SW", "S.", 0},
        {"S", "S.", 0},    {"SEW", "S.", ECT0}, /* a SYN is never ECN-capable */
        {"SEW", "S.", CE},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_listen(r);
        IN(0, row[i].syn, 0, 0, 0, .opts = "mss 1000", .ecn = row[i].ecn);
        OUT(0, row[i].answer, 0, 0, 1);
        rig_free(r);
    }
}

/* A SYN cookie remembers it with the options, in the timestamp. */
static void a_cookie_remembers(void)
{
    for (int ts = 0; ts < 2; ts++) {
        struct rig *r = rig_new(NULL, false);
        struct qs_listen_opts l;
        qs_listen_opts_init(&l);
        l.port = RIG_PORT;
        l.half_open_max = 1;
        REQUIRE(qs_engine_listen(r->e, &l) >= 0);
        IN(0, "S", 0, 0, 0, .peer_port = 7); /* takes the only place */
        rig_run(r, 0);
        rig_flush(r);
        rig_in(r, 1, &(struct seg){"SEW", 0, 0, 0, .opts = ts ? "mss 1000 ts 5:0" : "mss 1000"});
        rig_run(r, 1);
        struct frame *f = rig_take(r);
        REQUIRE(f && rig_count(r, QS_COUNT_SYN_COOKIES_SENT) == 1);
        struct wire_tcp t;
        frame_parse_tcp(f, &t);
        CHECK(strcmp(t.flags, ts ? "S.E" : "S.") == 0);
        r->iss = t.seq;
        char opts[64] = "";
        if (ts)
            snprintf(opts, sizeof opts, "ts 6:%s", strstr(t.opts, "ts ") + 3);
        if (ts)
            *strrchr(opts, ':') = 0; /* "ts 6:TSVAL" */
        IN(2, ".", 1, 0, 1, .opts = opts);
        CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
        CHECK_EQ(rig_info(r).ecn, ts);
        rig_free(r);
    }
}

static void a_listener_may_refuse(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.no_ecn = true;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    IN(0, "SEW", 0, 0, 0, .opts = "mss 1000");
    OUT(0, "S.", 0, 0, 1);
    rig_free(r);
}

static struct rig *opening(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_open_opts o;
    qs_open_opts_init(&o);
    o.remote = rig_peer(r);
    o.local_port = RIG_PORT;
    o.remote_port = RIG_PEER_PORT;
    o.ecn = true;
    REQUIRE(qs_conn_open(r->e, &o, rig_now(r), &r->conn) == 0);
    OUT(0, "SEW", 0, 0, 0);
    return r;
}

static void an_active_open_asks(void)
{
    static const char *const answer[] = {"S.E", "S.", "S.EW" /* reflected */, "S.W"};
    for (size_t i = 0; i < sizeof answer / sizeof answer[0]; i++) {
        struct rig *r = opening();
        IN(10, answer[i], 0, 0, 1, .opts = "mss 1000");
        OUT(10, ".", 1, 0, 1);
        CHECK_EQ(rig_info(r).ecn, i == 0);
        rig_write(r, 100);
        OUT(10, "P.", 1, 100, 1, .ecn = i == 0 ? ECT0 : 0);
        rig_free(r);
    }
}

/* Section 6.1.1.1: a SYN that was not answered is sent again without. */
static void a_second_syn_does_not_ask(void)
{
    struct rig *r = opening();
    OUT(1000, "S", 0, 0, 0);
    rig_free(r);
}

/* ---- the receiver, section 6.1.3 ---- */

static void marks_are_echoed_until_the_sender_reduced(void)
{
    struct rig *r = with_ecn(NULL);
    grow_up(r);
    IN(20, ".", EARLY + 1, 1000, 1, .ecn = CE);
    OUT(20, ".E", 1, 0, EARLY + 1001);
    IN(30, ".", EARLY + 1001, 1000, 1, .ecn = ECT0);
    IN(30, ".", EARLY + 2001, 1000, 1, .ecn = ECT0);
    OUT(30, ".E", 1, 0, EARLY + 3001);
    IN(40, ".W", EARLY + 3001, 1000, 1, .ecn = ECT0);
    IN(40, ".", EARLY + 4001, 1000, 1, .ecn = ECT0);
    OUT(40, ".", 1, 0, EARLY + 5001);
    IN(50, ".W", EARLY + 5001, 1000, 1, .ecn = CE); /* marked anew */
    OUT(50, ".E", 1, 0, EARLY + 6001);
    rig_free(r);
}

static void without_agreement_marks_mean_nothing(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    grow_up(r);
    IN(20, ".", EARLY + 1, 1000, 1, .ecn = CE);
    IN(20, ".E", EARLY + 1001, 1000, 1, .ecn = CE);
    OUT(20, ".", 1, 0, EARLY + 2001);
    CHECK_COUNT(ECN_REDUCTIONS, 0);
    rig_free(r);
}

/* ---- the sender, section 6.1.2 ---- */

static void a_mark_halves_the_window_once(void)
{
    struct rig *r = with_ecn("newreno");
    rig_write(r, 100 * MSS);
    expect_run(r, 10, 1, 10 * MSS);
    IN(20, ".E", 1, 0, 5001);
    CHECK_EQ(rig_info(r).cwnd_octets, 5 * MSS);
    IN(21, ".E", 1, 0, 6001); /* of the same window of data */
    OUT(21, ".W", 10001, MSS, 1, .ecn = ECT0);
    IN(22, ".E", 1, 0, 7001);
    OUT(22, ".", 11001, MSS, 1, .ecn = ECT0);
    CHECK_EQ(rig_info(r).cwnd_octets, 5 * MSS);
    CHECK_COUNT(ECN_REDUCTIONS, 1);
    CHECK_COUNT(RETRANSMITS, 0);
    IN(30, ".E", 1, 0, 11001); /* of the next */
    CHECK_COUNT(ECN_REDUCTIONS, 2);
    rig_free(r);
}

/* Section 6.1.5: what is sent again is not ECN-capable; nor are ACKs and window probes. */
static void only_new_octets_are_capable(void)
{
    struct rig *r = with_ecn(NULL);
    rig_write(r, 100);
    OUT(10, "P.", 1, 100, 1, .ecn = ECT0);
    OUT(210, "P.", 1, 100, 1);
    IN(220, ".", 1, 0, 101, .wnd = 0);
    IN(220, ".", 1, 0, 101, .wnd = 1);
    r->wnd = 0;
    IN(221, "P.", 1, 10, 101);
    OUT(261, ".", 101, 0, 11);
    rig_free(r);
}

/* Each segment of a large frame would say CWR: the first goes alone. */
static void the_answer_is_said_by_one_segment(void)
{
    qs_engine_opts o = rig_opts();
    o.offloads = QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO;
    o.gso_max_bytes = 60000;
    struct rig *r = rig_new(&o, false);
    rig_listen(r);
    rig_in(r, 0, &(struct seg){"SEW", 0, 0, 0, .opts = "mss 1000"});
    rig_run(r, 1);
    struct frame *f = rig_take(r);
    REQUIRE(f);
    r->iss = be(frame_l4(f) + 4, 4);
    rig_in(r, 10, &(struct seg){".", 1, 0, 1});
    CHECK_EQ(rig_event(r), QS_EVENT_OPEN);
    rig_write(r, 100 * MSS);
    rig_run(r, 11);
    rig_flush(r);
    rig_in(r, 20, &(struct seg){".E", 1, 0, 10001});
    rig_run(r, 21);
    uint32_t said = 0;
    while ((f = rig_take(r))) {
        bool cwr = frame_l4(f)[13] & 0x80;
        CHECK(!cwr || f->len <= 14 + 40 + MSS);
        said += cwr;
    }
    CHECK_EQ(said, 1);
    rig_free(r);
}

/* ---- DCTCP ---- */

/* RFC 8257 section 3.2: ACKs say what is marked now; what is owed of before is said before. */
static void dctcp_echoes_each_mark(void)
{
    struct rig *r = with_ecn("dctcp");
    grow_up(r);
    IN(20, ".", EARLY + 1, 1000, 1, .ecn = ECT0);
    IN(21, ".", EARLY + 1001, 1000, 1, .ecn = CE);
    OUT(21, ".", 1, 0, EARLY + 1001);
    OUT(21, ".E", 1, 0, EARLY + 2001);
    IN(22, ".", EARLY + 2001, 500, 1, .ecn = CE);
    IN(23, ".", EARLY + 2501, 1000, 1, .ecn = ECT0);
    OUT(23, ".E", 1, 0, EARLY + 2501);
    OUT(63, ".", 1, 0, EARLY + 3501);
    rig_free(r);
}

/* Section 3.3: alpha begins at 1; each window without marks takes a sixteenth off. */
static void dctcp_reduces_by_the_fraction(void)
{
    struct rig *r = with_ecn("dctcp");
    uint32_t una = 1, nxt = 1;
    double ms = 10, alpha = 1;
    rig_write(r, 60 * MSS);
    for (int window = 0; window < 3; window++) { /* each is the ten of before, and grows */
        rig_run(r, ms);
        nxt += r->n_queue * MSS;
        rig_flush(r);
        ms += 10;
        rig_in(r, ms, &(struct seg){".", 1, 0, nxt});
        alpha -= alpha / 16;
        una = nxt;
    }
    rig_run(r, ms);
    nxt = una + r->n_queue * MSS;
    rig_flush(r);
    uint32_t before = rig_info(r).cwnd_octets;
    rig_in(r, ms + 10, &(struct seg){".E", 1, 0, una + MSS});
    double want = before * (1 - alpha / 2);
    double got = rig_info(r).cwnd_octets;
    printf("alpha %.3f: cwnd %u to %.0f, %.0f expected\n", alpha, before, got, want);
    CHECK(got > want - 0.02 * before && got < want + 0.02 * before);
    rig_free(r);
}

static void dctcp_halves_for_a_loss(void)
{
    struct rig *r = with_ecn("dctcp");
    rig_write(r, 10 * MSS);
    rig_run(r, 15);
    rig_flush(r);
    for (int i = 0; i < 3; i++)
        rig_in(r, 20, &(struct seg){".", 1, 0, 1});
    CHECK_EQ(rig_info(r).ssthresh_octets, 5 * MSS);
    rig_free(r);
}

int main(void)
{
    RUN(agreed_only_when_asked_properly);
    RUN(a_cookie_remembers);
    RUN(a_listener_may_refuse);
    RUN(an_active_open_asks);
    RUN(a_second_syn_does_not_ask);
    RUN(marks_are_echoed_until_the_sender_reduced);
    RUN(without_agreement_marks_mean_nothing);
    RUN(a_mark_halves_the_window_once);
    RUN(only_new_octets_are_capable);
    RUN(the_answer_is_said_by_one_segment);
    RUN(dctcp_echoes_each_mark);
    RUN(dctcp_reduces_by_the_fraction);
    RUN(dctcp_halves_for_a_loss);
    return TEST_RESULT();
}
