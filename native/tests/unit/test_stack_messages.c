/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of the split layout: an urgent one goes ahead of all that lies in the rings, each comes
 * once, and the end of a connection after them. Messages are lines, their first octet is the class;
 * the client's side is a stream. */
#include "io/clock.h"
#include "io/softnic.h"
#include "qstack/qs_class.h"
#include "stack_rig.h"

#define TEXT_MAX 400000u

static struct {
    char text[TEXT_MAX]; /* to send */
    uint32_t len, sent;
    char got[TEXT_MAX];
    uint32_t n_got; /* atomic */
    uint32_t eof;   /* atomic */
    bool shuts;
} client;

static void client_sends(qs_engine *e, qs_conn c)
{
    while (client.sent < client.len) {
        int64_t n = qs_conn_write(e, c, client.text + client.sent, client.len - client.sent);
        if (n <= 0)
            return;
        client.sent += (uint32_t)n;
    }
    if (client.shuts)
        CHECK_EQ(qs_conn_shutdown(e, c), 0);
}

static void on_client(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    if (ev->flags & (QS_EVENT_OPEN | QS_EVENT_WRITABLE))
        client_sends(e, ev->conn);
    uint32_t at = rig_get(&client.n_got);
    int64_t n;
    while (ev->flags & QS_EVENT_READABLE &&
           (n = qs_conn_read(e, ev->conn, client.got + at, TEXT_MAX - at)) > 0)
        at += (uint32_t)n;
    __atomic_store_n(&client.n_got, at, __ATOMIC_RELEASE);
    if (ev->flags & QS_EVENT_EOF)
        rig_add(&client.eof);
}

static void say(const char *line)
{
    size_t n = strlen(line);
    REQUIRE(client.len + n <= TEXT_MAX);
    memcpy(client.text + client.len, line, n);
    client.len += (uint32_t)n;
}

/* A line of class `prio` and number `n`. */
static void say_number(uint32_t prio, uint32_t n)
{
    char line[64];
    (void)snprintf(line, sizeof line, "%u %05u 0123456789 0123456789 0123456789\n", prio, n);
    say(line);
}

static int by_first_octet(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx)
{
    (void)len, (void)ctx;
    return data ? data[0] - '0' : flow->prio;
}

static struct rig_pair pair_of(size_t ring_bytes)
{
    qs_stack_opts o = rig_stack_opts(0, 2, 1), c = rig_stack_opts(1, 1, 1);
    struct rig_pair p = {.server = rig_stack(&o), .client = rig_stack(&c)};
    struct qs_diag diag = {""};
    struct qs_framing_opts f;
    struct qs_classifier_opts k;
    struct qs_stack_listen l;
    qs_framing_opts_init(&f, QS_FRAMING_DELIMITER);
    qs_classifier_opts_init(&k);
    k.fn = by_first_octet;
    qs_stack_listen_init(&l);
    l.l.port = RIG_PORT_LOW;
    f.message_max = 32768;
    int number = qs_stack_messages(p.server, &f, &k, &diag);
    REQUIRE(number > 0);
    l.l.messages = (uint8_t)number;
    p.app = rig_app(p.server, ring_bytes);
    REQUIRE(qs_stack_listen(p.server, &l, &diag) >= 0);
    memset(&client, 0, sizeof client);
    return p;
}

static void start(struct rig_pair *p)
{
    REQUIRE(rig_connect(p->client, 0, RIG_PORT_LOW, 0, on_client, NULL) == 0);
    rig_start(p->server);
    rig_start(p->client);
}

static uint64_t taken(const struct rig_pair *p, uint32_t prio)
{
    uint64_t c[QS_N_CLASS_COUNTERS], sum = 0;
    for (uint32_t q = 0; qs_stack_class_counters(p->server, q, prio, c, QS_N_CLASS_COUNTERS); q++)
        sum += c[QS_CLASS_MESSAGES];
    return sum;
}

static void wait_taken(const struct rig_pair *p, uint32_t prio, uint64_t want)
{
    for (int i = 0; i < 20000 && taken(p, prio) < want; i++)
        usleep(1000);
    CHECK_EQ(taken(p, prio), want);
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

static bool is(const struct qs_app_event *ev, const char *text)
{
    return ev->flags & QS_EVENT_READABLE && ev->len == strlen(text) &&
           memcmp(ev->data, text, ev->len) == 0;
}

/* ---- the connection moves to and fro between the server's two queues ---- */

struct mover {
    qs_stack *server;
    pthread_t thread;
    bool stop; /* atomic */
};

static qs_err write_table(void *ctx, const struct qs_bucket_move *moves, size_t n)
{
    uint32_t table[QS_SOFTNIC_INDIR_SIZE];
    for (size_t i = 0; i < n; i++)
        table[moves[i].bucket] = moves[i].queue;
    return qs_softnic_set_indir(ctx, table);
}

static void *move_to_and_fro(void *arg)
{
    struct mover *m = arg;
    struct qs_bucket_move moves[QS_SOFTNIC_INDIR_SIZE];
    struct qs_diag diag;
    for (uint32_t turn = 1; !__atomic_load_n(&m->stop, __ATOMIC_ACQUIRE); turn++) {
        for (uint32_t b = 0; b < QS_SOFTNIC_INDIR_SIZE; b++)
            moves[b] = (struct qs_bucket_move){b, turn % 2};
        qs_err err = qs_stack_buckets_move(m->server, moves, QS_SOFTNIC_INDIR_SIZE, write_table,
                                           m->server->driver->softnic, QS_S(1), &diag);
        CHECK(err == 0 || err == QS_ERR_AGAIN); /* the application has not been told of the last */
    }
    return NULL;
}

static void begin_to_move(struct mover *m, const struct rig_pair *p)
{
    *m = (struct mover){.server = p->server};
    REQUIRE(pthread_create(&m->thread, NULL, move_to_and_fro, m) == 0);
}

/* @return how often it arrived somewhere. */
static uint64_t stop_moving(struct mover *m)
{
    struct qs_flow_stats stats;
    uint64_t arrived = 0;
    __atomic_store_n(&m->stop, true, __ATOMIC_RELEASE);
    REQUIRE(pthread_join(m->thread, NULL) == 0);
    for (uint32_t q = 0; q < 2; q++) {
        REQUIRE(qs_stack_flow_stats(m->server, q, &stats) == 0);
        CHECK_EQ(stats.lost + stats.frames_lost, 0);
        arrived += stats.arrived;
    }
    return arrived;
}

static void an_urgent_message_goes_ahead_of_all_in_the_rings(void)
{
    struct rig_pair p = pair_of(0);
    for (uint32_t i = 0; i < 300; i++)
        say_number(0, i);
    say("7 now\n");
    start(&p);
    wait_taken(&p, 0, 300);
    wait_taken(&p, 7, 1);
    struct qs_app_event ev = next(&p);
    CHECK(is(&ev, "7 now\n"));
    CHECK_EQ(ev.prio, 7);
    CHECK(ev.flags & QS_EVENT_OPEN); /* it is the first that the application hears */
    for (uint32_t i = 0; i < 300; i++) {
        ev = next(&p);
        CHECK_EQ(ev.flags, QS_EVENT_READABLE);
        CHECK(ev.len > 7 && strtoul((const char *)ev.data + 2, NULL, 10) == i);
        CHECK_EQ(ev.prio, 0);
    }
    rig_pair_end(&p);
}

/* Rings that are full many times over, in both classes, and an end that comes early. */
static void each_message_comes_once(bool moves)
{
    enum { EACH = 3000 };
    static uint8_t seen[EACH];
    struct mover mover;
    struct rig_pair p = pair_of(64 << 10);
    memset(seen, 0, sizeof seen);
    for (uint32_t i = 0; i < EACH; i++) {
        say_number(0, i);
        say_number(i % 2 ? 7 : 5, i);
    }
    client.shuts = true;
    start(&p);
    if (moves)
        begin_to_move(&mover, &p);
    uint32_t own = 0, urgent = 0, opens = 0;
    for (bool eof = false; !eof;) {
        struct qs_app_event ev = next(&p);
        opens += (ev.flags & QS_EVENT_OPEN) != 0;
        eof = ev.flags & QS_EVENT_EOF;
        if (!(ev.flags & QS_EVENT_READABLE))
            continue;
        uint32_t n = (uint32_t)strtoul((const char *)ev.data + 2, NULL, 10);
        REQUIRE(n < EACH);
        CHECK_EQ((uint8_t)ev.data[0], '0' + ev.prio);
        if (ev.prio == 0) {
            CHECK_EQ(n, own);
            own++;
        } else {
            CHECK_EQ(seen[n], 0);
            seen[n] = 1;
            urgent++;
        }
    }
    CHECK_EQ(own, EACH);
    CHECK_EQ(urgent, EACH);
    CHECK_EQ(opens, 1);
    if (moves)
        CHECK(stop_moving(&mover) > 1);
    rig_pair_end(&p);
}

static void each_message_comes_once_and_the_end_after_them(void)
{
    each_message_comes_once(false);
}

static void each_message_comes_once_while_its_connection_moves(void)
{
    each_message_comes_once(true);
}

static qs_err answer(struct rig_pair *p, qs_conn c, uint32_t prio, const char *text)
{
    return qs_app_send(p->app, c, prio, text, strlen(text));
}

/* Takes an event. @return the handle of the connection, which was `c`. */
static qs_conn hear(struct rig_pair *p, qs_conn c, uint32_t *moved)
{
    struct qs_app_event ev = next(p);
    if (ev.flags & QS_EVENT_MOVED) {
        CHECK_EQ(ev.moved_from.v, c.v);
        CHECK_EQ(answer(p, c, 0, "late\n"), QS_ERR_STALE);
        ++*moved;
    }
    return ev.conn;
}

static void answers_of_all_classes(bool moves)
{
    struct rig_pair p = pair_of(64 << 10);
    struct mover mover;
    say("0 a\n");
    start(&p);
    struct qs_app_event ev = next(&p);
    qs_conn c = ev.conn;
    uint32_t len = 0, moved = 0;
    if (moves)
        begin_to_move(&mover, &p);
    for (uint32_t i = 0; i < 2000; i++) {
        while (moves && moved < i / 100)
            c = hear(&p, c, &moved);
        while (answer(&p, c, i % 3 ? 0 : 7, i % 3 ? "default\n" : "urgent\n") == QS_ERR_AGAIN)
            c = hear(&p, c, &moved);
        len += i % 3 ? 8 : 7;
    }
    CHECK_EQ(qs_app_close(p.app, c), 0);
    CHECK_EQ(answer(&p, c, 0, "late\n"), QS_ERR_STALE);
    CHECK(rig_wait_value(&client.eof, 1));
    CHECK_EQ(rig_get(&client.n_got), len);
    uint32_t lines[2] = {0, 0};
    for (uint32_t at = 0; at < len;) { /* no message inside of another one */
        bool urgent = client.got[at] == 'u';
        uint32_t n = urgent ? 7 : 8;
        CHECK(memcmp(client.got + at, urgent ? "urgent\n" : "default\n", n) == 0);
        lines[urgent]++;
        at += n;
    }
    CHECK_EQ(lines[0], 1333);
    CHECK_EQ(lines[1], 667);
    if (moves)
        CHECK(stop_moving(&mover) >= moved);
    rig_pair_end(&p);
}

static void answers_of_all_classes_are_sent_before_the_end(void)
{
    answers_of_all_classes(false);
}

static void answers_of_all_classes_while_their_connection_moves(void)
{
    answers_of_all_classes(true);
}

static void streams_and_messages_are_told_apart(void)
{
    struct rig_pair p = pair_of(0);
    struct qs_diag diag;
    struct qs_stack_listen l;
    qs_stack_listen_init(&l);
    struct qs_framing_opts f;
    qs_framing_opts_init(&f, QS_FRAMING_DELIMITER);
    f.message_max = 1 << 15;
    qs_app *small;
    uint32_t index;
    REQUIRE(qs_app_new(&small, &index, p.server, 64 << 10) == 0);
    f.message_max = 0; /* 32 KiB, of which a ring of 64 KiB has two */
    int number = qs_stack_messages(p.server, &f, NULL, &diag);
    REQUIRE(number > 0);
    l.l.port = RIG_PORT_HIGH;
    l.l.messages = (uint8_t)number;
    l.app = index;
    CHECK(qs_stack_listen(p.server, &l, &diag) >= 0);
    say("0 a\n");
    start(&p);
    struct qs_app_event ev = next(&p);
    CHECK_EQ(qs_app_write(p.app, ev.conn, "x", 1), QS_ERR_STATE);
    CHECK_EQ(answer(&p, ev.conn, 8, "x"), QS_ERR_ARG);
    CHECK_EQ(answer(&p, ev.conn, 0, ""), QS_ERR_ARG);
    static char long_one[TEXT_MAX];
    CHECK_EQ(qs_app_send(p.app, ev.conn, 0, long_one, sizeof long_one), QS_ERR_ARG);
    CHECK_EQ(answer(&p, ev.conn, 3, "b\n"), 0);
    CHECK(rig_wait_value(&client.n_got, 2));
    qs_stack_stop(p.server);
    qs_app_free(small);
    rig_pair_end(&p);
}

int main(void)
{
    rig_begin();
    RUN(an_urgent_message_goes_ahead_of_all_in_the_rings);
    RUN(each_message_comes_once_and_the_end_after_them);
    RUN(each_message_comes_once_while_its_connection_moves);
    RUN(answers_of_all_classes_are_sent_before_the_end);
    RUN(answers_of_all_classes_while_their_connection_moves);
    RUN(streams_and_messages_are_told_apart);
    rig_end();
    return TEST_RESULT();
}
