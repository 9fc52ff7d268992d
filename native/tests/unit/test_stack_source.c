/* SPDX-License-Identifier: Apache-2.0 */
/* A source beyond its rate in the split layout: what it sends goes through the ring of class 0, and
 * through that of its class again, and the application reads it in order, each octet once. */
#include "io/clock.h"
#include "qstack/qs_class.h"
#include "stack_rig.h"

#define HIGH 7
#define RATE 64000 /* octets a second */
#define SENT_MAX (8u << 20)
#define LINES 4000u

static struct {
    uint8_t octets[SENT_MAX];
    uint32_t len; /* atomic: more may come while it runs */
    uint32_t sent;
    bool stays; /* when all is sent; else it shuts down */
} client;

static void client_sends(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t ignored[64];
    while (ev->flags & QS_EVENT_READABLE && qs_conn_read(e, ev->conn, ignored, sizeof ignored) > 0)
        ;
    const uint32_t len = rig_get(&client.len);
    while (client.sent < len) {
        int64_t n = qs_conn_write(e, ev->conn, client.octets + client.sent, len - client.sent);
        if (n <= 0)
            return;
        client.sent += (uint32_t)n;
    }
    if (!client.stays && !(ev->flags & QS_EVENT_CLOSED))
        CHECK_EQ(qs_conn_shutdown(e, ev->conn), 0);
}

/* `low_share`: of class 0; with a large one neither ring is always read first. */
static struct rig_pair pair_of(size_t ring_bytes, uint64_t rate, uint16_t low_share)
{
    qs_stack_opts o = rig_stack_opts(0, 1, 1), c = rig_stack_opts(1, 1, 1);
    o.source_bytes_per_second[HIGH] = rate;
    o.min_share_permille[0] = low_share;
    struct rig_pair p = {.server = rig_stack(&o), .client = rig_stack(&c)};
    p.app = rig_app(p.server, ring_bytes);
    memset(&client, 0, sizeof client);
    return p;
}

static void start(struct rig_pair *p, uint16_t port)
{
    REQUIRE(rig_connect(p->client, 0, port, 0, client_sends, NULL) == 0);
    rig_start(p->server);
    rig_start(p->client);
}

static uint64_t count(const struct rig_pair *p, uint32_t prio, enum qs_class_counter which)
{
    uint64_t c[QS_N_CLASS_COUNTERS];
    REQUIRE(qs_stack_class_counters(p->server, 0, prio, c, QS_N_CLASS_COUNTERS) > 0);
    return c[which];
}

static uint64_t capped(const struct rig_pair *p, uint32_t prio)
{
    return count(p, prio, QS_CLASS_CAPPED);
}

static struct qs_app_event next(struct rig_pair *p)
{
    struct qs_app_event ev;
    int found = 0;
    for (int i = 0; i < 1000 && found == 0; i++)
        found = qs_app_wait(p->app, &ev, 1, QS_MS(20));
    REQUIRE(found == 1);
    return ev;
}

static uint8_t octet(uint32_t place)
{
    return (uint8_t)(place * 31 >> 5);
}

/* Octets of an event at `place` of the stream. @return how many. */
static uint32_t check(const struct qs_app_event *ev, uint32_t place, uint32_t *wrong)
{
    for (uint32_t i = 0; i < ev->len; i++)
        *wrong += ev->data[i] != octet(place + i);
    return ev->len;
}

/* Takes longer than what a class is owed before it is served out of turn. */
static void handle(void)
{
    for (uint64_t end = qs_clock_now().ns + QS_US(100).ns; qs_clock_now().ns < end;)
        ;
}

/* `waits`: nothing is read before the source is beyond its rate. */
static void stream_in_order(uint64_t rate, uint16_t low_share, bool waits)
{
    struct rig_pair p =
        pair_of(waits ? 64 << 10 : 0, rate, low_share); /* a ring that gets full, or not */
    rig_listen(p.server, RIG_PORT_HIGH, HIGH, NULL, NULL, 0);
    client.len = SENT_MAX;
    for (uint32_t i = 0; i < SENT_MAX; i++)
        client.octets[i] = octet(i);
    start(&p, RIG_PORT_HIGH);
    uint32_t got = 0, wrong = 0, by_class[QS_N_PRIO] = {0};
    bool eof = false;
    for (int i = 0; waits && i < 20000 && capped(&p, HIGH) == 0; i++)
        usleep(1000);
    while (!eof) {
        struct qs_app_event ev = next(&p);
        eof = ev.flags & QS_EVENT_EOF;
        got += check(&ev, got, &wrong);
        by_class[ev.prio] += (uint32_t)ev.len;
        handle();
        CHECK(ev.prio == HIGH || ev.prio == 0);
    }
    CHECK_EQ(got, SENT_MAX);
    CHECK_EQ(wrong, 0);
    CHECK(by_class[0] > 0);
    CHECK(by_class[HIGH] > 0);
    CHECK(capped(&p, HIGH) > 0);
    rig_pair_end(&p);
}

static void a_stream_stays_in_order(void)
{
    stream_in_order(RATE, 900, true);
    stream_in_order(2000000, 0, false);
}

static void wait_octets(const struct rig_pair *p, uint64_t want)
{
    for (int i = 0; i < 20000 && count(p, HIGH, QS_CLASS_OCTETS) < want; i++)
        usleep(1000);
    CHECK(count(p, HIGH, QS_CLASS_OCTETS) >= want); /* more: some came twice */
}

/* The source may be served in its class again while the ring of class 0 still has some of it. */
static void what_is_in_the_ring_of_class_0_is_read_first(void)
{
    struct rig_pair p = pair_of(0, RATE, 0);
    rig_listen(p.server, RIG_PORT_HIGH, HIGH, NULL, NULL, 0);
    for (uint32_t i = 0; i < SENT_MAX; i++)
        client.octets[i] = octet(i);
    client.stays = true;
    client.len = 30000;
    start(&p, RIG_PORT_HIGH);
    struct qs_app_event ev = next(&p);
    uint32_t got = 0, wrong = 0;
    for (; ev.prio == HIGH; ev = next(&p))
        got += check(&ev, got, &wrong);
    got += check(&ev, got, &wrong);
    for (uint64_t before = count(&p, HIGH, QS_CLASS_EVENTS);
         count(&p, HIGH, QS_CLASS_EVENTS) == before;) {
        (void)__atomic_add_fetch(&client.len, 10, __ATOMIC_ACQ_REL);
        REQUIRE(client.len < SENT_MAX);
        REQUIRE(qs_app_write(p.app, ev.conn, "x", 1) == 1);
        wait_octets(&p, client.len);
    }
    while (got < client.len) {
        ev = next(&p);
        got += check(&ev, got, &wrong);
    }
    CHECK_EQ(wrong, 0);
    rig_pair_end(&p);
}

static int by_first_octet(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx)
{
    (void)len, (void)ctx;
    return data ? data[0] - '0' : flow->prio;
}

static void listen_for_lines(struct rig_pair *p)
{
    struct qs_diag diag = {""};
    struct qs_framing_opts f;
    struct qs_classifier_opts k;
    struct qs_stack_listen l;
    qs_framing_opts_init(&f, QS_FRAMING_DELIMITER);
    f.message_max = 1024;
    qs_classifier_opts_init(&k);
    k.fn = by_first_octet;
    qs_stack_listen_init(&l);
    l.l.port = RIG_PORT_LOW;
    int number = qs_stack_messages(p->server, &f, &k, &diag);
    REQUIRE(number > 0);
    l.l.messages = (uint8_t)number;
    REQUIRE(qs_stack_listen(p->server, &l, &diag) >= 0);
}

static void say(uint32_t prio, uint32_t n)
{
    int octets = sprintf((char *)client.octets + client.len, "%u %05u\n", prio, n);
    (void)__atomic_add_fetch(&client.len, (uint32_t)octets, __ATOMIC_ACQ_REL);
}

static uint64_t taken(const struct rig_pair *p, uint32_t prio)
{
    return count(p, prio, QS_CLASS_MESSAGES);
}

static void wait_taken(const struct rig_pair *p, uint64_t want)
{
    for (int i = 0; i < 20000 && taken(p, 0) + taken(p, HIGH) < want; i++)
        usleep(1000);
    CHECK_EQ(taken(p, 0) + taken(p, HIGH), want);
}

/* Some lie in the ring of class 0 when the source may send urgent ones again. */
static void capped_in_order(uint16_t low_share)
{
    struct rig_pair p = pair_of(0, RATE, low_share);
    listen_for_lines(&p);
    uint32_t n = 0;
    while (n < 300)
        say(HIGH, n++);
    client.stays = true;
    start(&p, RIG_PORT_LOW);
    wait_taken(&p, n);
    CHECK(taken(&p, 0) > 0);
    struct qs_app_event ev = next(&p);
    for (uint64_t before = taken(&p, HIGH); taken(&p, HIGH) == before;) {
        say(HIGH, n++);
        REQUIRE(n < LINES);
        REQUIRE(qs_app_send(p.app, ev.conn, 0, "next\n", 5) == 0);
        wait_taken(&p, n);
    }
    for (uint32_t i = 0; i < n; i++) {
        CHECK_EQ(strtoul((const char *)ev.data + 2, NULL, 10), i);
        if (i + 1 < n)
            ev = next(&p);
    }
    rig_pair_end(&p);
}

static void what_was_capped_is_read_where_it_was_in_its_class(void)
{
    capped_in_order(0);
    capped_in_order(900);
}

/* Lines of two classes, far more urgent ones than their rate. */
static void a_class_of_messages_stays_in_order(void)
{
    struct rig_pair p = pair_of(64 << 10, RATE, 500);
    listen_for_lines(&p);
    for (uint32_t i = 0; i < LINES; i++) {
        say(HIGH, i);
        say(0, i);
    }
    start(&p, RIG_PORT_LOW);
    uint32_t got[QS_N_PRIO] = {0}, urgent = 0;
    for (bool eof = false; !eof;) {
        struct qs_app_event ev = next(&p);
        eof = ev.flags & QS_EVENT_EOF;
        if (!(ev.flags & QS_EVENT_READABLE))
            continue;
        uint32_t prio = ev.data[0] - (uint32_t)'0';
        REQUIRE(prio < QS_N_PRIO);
        CHECK_EQ(strtoul((const char *)ev.data + 2, NULL, 10), got[prio]);
        got[prio]++;
        urgent += ev.prio == HIGH;
        CHECK(ev.prio == HIGH ? prio == HIGH : ev.prio == 0);
    }
    CHECK_EQ(got[0], LINES);
    CHECK_EQ(got[HIGH], LINES);
    CHECK(urgent > 0);
    CHECK(capped(&p, HIGH) > 0);
    rig_pair_end(&p);
}

static void what_is_out_of_range_is_refused(void)
{
    static const struct {
        uint32_t prio;
        uint64_t rate;
        uint8_t bits4, bits6;
        const char *words;
    } row[] = {
        {0, RATE, 32, 64, "64000 bytes a second for a source in class 0: classes 1 to 7 may have"},
        {3, 999, 32, 64, "999 bytes a second for a source in class 3"},
        {3, RATE, 33, 64, "prefixes of 33 and 64 bits for sources"},
        {3, RATE, 32, 0, "prefixes of 32 and 0 bits for sources"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        qs_stack *s;
        struct qs_diag diag = {""};
        qs_stack_opts o = rig_stack_opts(0, 1, 1);
        o.source_bytes_per_second[row[i].prio] = row[i].rate;
        o.source_bits4 = row[i].bits4;
        o.source_bits6 = row[i].bits6;
        CHECK_EQ(qs_stack_new(&s, &o, &diag), QS_ERR_ARG);
        CHECK(strstr(diag.text, row[i].words));
    }
}

int main(void)
{
    rig_begin();
    RUN(a_stream_stays_in_order);
    RUN(what_is_in_the_ring_of_class_0_is_read_first);
    RUN(a_class_of_messages_stays_in_order);
    RUN(what_was_capped_is_read_where_it_was_in_its_class);
    RUN(what_is_out_of_range_is_refused);
    rig_end();
    return TEST_RESULT();
}
