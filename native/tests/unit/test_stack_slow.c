/* SPDX-License-Identifier: Apache-2.0 */
/* Applications that do not keep up: one that never reads holds nobody else up and costs bounded
 * memory, and when it reads at last nothing is missing; rings that are full put calls off and lose
 * none. */
#include "stack_rig.h"

#define FULL_SIZE (256u << 10) /* of buffers that are there from the start */
#define FLOOD_CONNS 20u
#define FLOOD_BYTES (1u << 20)
#define PINGS 2000u
#define SMALL_RING (64u << 10)

static uint32_t n_pongs, n_wrong, n_ended;

/* ---- clients ---- */

struct flood {
    uint32_t sent;
    bool shut;
};
static struct flood floods[FLOOD_CONNS];

static uint8_t octet(uint32_t at)
{
    return (uint8_t)(at * 13u + (at >> 11));
}

static void on_flood(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    struct flood *f = &floods[ev->user];
    uint8_t buf[8192];
    if (ev->flags & (QS_EVENT_CLOSED | QS_EVENT_EOF)) {
        (void)qs_conn_close(e, ev->conn);
        rig_add(&n_ended);
        return;
    }
    while (f->sent < FLOOD_BYTES) {
        for (uint32_t i = 0; i < sizeof buf; i++)
            buf[i] = octet(f->sent + i);
        uint32_t left = FLOOD_BYTES - f->sent;
        int64_t n = qs_conn_write(e, ev->conn, buf, left < sizeof buf ? left : sizeof buf);
        if (n <= 0)
            return;
        f->sent += (uint32_t)n;
    }
    if (!f->shut)
        CHECK_EQ(qs_conn_shutdown(e, ev->conn), 0);
    f->shut = true;
}

static void on_ping(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t buf[64];
    if (ev->flags & QS_EVENT_CLOSED)
        return;
    if (ev->flags & QS_EVENT_READABLE) {
        int64_t n = qs_conn_read(e, ev->conn, buf, sizeof buf);
        if (n != 4)
            rig_add(&n_wrong);
        rig_add(&n_pongs);
    }
    if (rig_get(&n_pongs) < PINGS)
        CHECK_EQ(qs_conn_write(e, ev->conn, "ping", 4), 4);
    else
        (void)qs_conn_close(e, ev->conn);
}

/* ---- the application that answers ---- */

struct answering {
    qs_app *app;
    bool stop;
};

static void *answer(void *arg)
{
    struct answering *x = arg;
    struct qs_app_event ev[8];
    while (!__atomic_load_n(&x->stop, __ATOMIC_ACQUIRE)) {
        int n = qs_app_wait(x->app, ev, 8, QS_MS(500));
        for (int i = 0; i < n; i++) {
            CHECK_EQ(ev[i].prio, 7);
            if (ev[i].len > 0)
                CHECK_EQ(qs_app_write(x->app, ev[i].conn, ev[i].data, ev[i].len), ev[i].len);
            if (ev[i].flags & QS_EVENT_EOF)
                CHECK_EQ(qs_app_close(x->app, ev[i].conn), 0);
        }
    }
    return NULL;
}

/* Reads everything from the application that did not, and checks it. */
static void read_at_last(qs_app *app)
{
    static uint32_t at[4096];
    struct qs_app_event ev[8];
    uint32_t n_eof = 0, wrong = 0;
    uint64_t octets = 0;
    memset(at, 0, sizeof at);
    while (n_eof < FLOOD_CONNS) {
        int n = qs_app_wait(app, ev, 8, QS_S(10));
        REQUIRE(n > 0);
        for (int i = 0; i < n; i++) {
            uint32_t *pos = &at[qs_slot_of(ev[i].conn)];
            for (uint32_t k = 0; k < ev[i].len; k++)
                wrong += ev[i].data[k] != octet(*pos + k);
            *pos += ev[i].len;
            octets += ev[i].len;
            if (ev[i].flags & QS_EVENT_EOF) {
                n_eof++;
                CHECK_EQ(*pos, FLOOD_BYTES);
                CHECK_EQ(qs_app_close(app, ev[i].conn), 0);
            }
        }
    }
    CHECK_EQ(wrong, 0);
    CHECK_EQ(octets, (uint64_t)FLOOD_CONNS * FLOOD_BYTES);
}

static void r54_who_never_reads_holds_nobody_up(void)
{
    qs_stack_opts so = rig_stack_opts(0, 1, 1), co = rig_stack_opts(1, 1, 1);
    so.rcvbuf_bytes = so.rcvbuf_initial_bytes = FULL_SIZE;
    qs_stack *server = rig_stack(&so), *client = rig_stack(&co);
    qs_app *stuck = rig_app(server, SMALL_RING);
    struct answering x = {.app = rig_app(server, 0)};
    n_pongs = n_wrong = n_ended = 0;
    memset(floods, 0, sizeof floods);
    rig_listen(server, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_listen(server, RIG_PORT_HIGH, 7, NULL, NULL, 1);
    rig_start(server);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, answer, &x) == 0);
    for (uint32_t i = 0; i < FLOOD_CONNS; i++)
        REQUIRE(rig_connect(client, 0, RIG_PORT_LOW, i, on_flood, NULL) == 0);
    REQUIRE(rig_connect(client, 0, RIG_PORT_HIGH, 0, on_ping, NULL) == 0);
    rig_start(client);
    CHECK(rig_wait_value(&n_pongs, PINGS)); /* class 7 goes on */
    CHECK_EQ(rig_get(&n_wrong), 0);
    CHECK_EQ(rig_get(&n_ended), 0);
    usleep(300000);
    /* What waits is bounded by the receive buffers, and sending stopped there. */
    uint64_t chunks = rig_count(server, QS_COUNT_CHUNKS);
    CHECK(chunks > 0);
    CHECK(chunks <= FLOOD_CONNS * (so.rcvbuf_bytes / QS_CHUNK_BYTES * 2 + 2));
    CHECK(rig_count(server, QS_COUNT_CONNS) == FLOOD_CONNS);

    read_at_last(stuck);
    CHECK(rig_wait_value(&n_ended, FLOOD_CONNS));
    __atomic_store_n(&x.stop, true, __ATOMIC_RELEASE);
    qs_app_wake(x.app);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK(rig_wait_count(server, QS_COUNT_CHUNKS, 0));
    qs_stack_stop(server);
    qs_stack_stop(client);
    qs_app_free(stuck);
    qs_app_free(x.app);
    qs_stack_free(client);
    qs_stack_free(server);
}

/* ---- a ring of commands that is full ---- */

#define TALKERS 200u

static uint64_t heard[TALKERS];
static uint32_t n_eofs, n_open;

static void on_listener(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t buf[4096];
    int64_t n;
    if (ev->flags & QS_EVENT_OPEN) {
        CHECK_EQ(qs_conn_write(e, ev->conn, "x", 1), 1);
        rig_add(&n_open);
    }
    if (ev->flags & QS_EVENT_CLOSED) {
        rig_add(&n_wrong);
        return;
    }
    while ((n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0) {
        for (int64_t i = 0; i < n; i++)
            if (buf[i] != octet((uint32_t)heard[ev->user] + (uint32_t)i))
                rig_add(&n_wrong);
        heard[ev->user] += (uint64_t)n;
    }
    if (n == QS_ERR_EOF) {
        (void)qs_conn_close(e, ev->conn);
        rig_add(&n_eofs);
    }
}

/* Writes what the ring takes, and gives up half of the connections by shutdown, half by close. The
 * worker stands still, so the ring fills. @return octets taken for each connection. */
static void talk_to_nobody(qs_app *app, const qs_conn *conns, uint64_t *taken)
{
    uint8_t buf[2000];
    uint32_t n_partial = 0;
    for (uint32_t i = 0; i < sizeof buf; i++)
        buf[i] = octet(i);
    for (uint32_t i = 0; i < TALKERS; i++) {
        int64_t n = qs_app_write(app, conns[i], buf, sizeof buf);
        CHECK(n >= 0);
        n_partial += n < (int64_t)sizeof buf;
        taken[i] = (uint64_t)n;
    }
    CHECK(n_partial > TALKERS / 2); /* else this test shows nothing */
    CHECK(n_partial < TALKERS);
    for (uint32_t k = 0; k < 20; k++) /* fills the spare part */
        for (uint32_t i = 0; i < TALKERS; i++)
            CHECK_EQ(qs_app_write(app, conns[i], buf, 0), 0);
}

static void full_rings_put_calls_off_and_lose_none(void)
{
    qs_stack_opts so = rig_stack_opts(0, 1, 1), co = rig_stack_opts(1, 1, 1);
    qs_stack *server = rig_stack(&so), *client = rig_stack(&co);
    qs_app *app = rig_app(server, SMALL_RING);
    struct qs_app_event ev[16];
    static qs_conn conns[TALKERS];
    static uint64_t taken[TALKERS];
    n_wrong = n_eofs = n_open = 0;
    memset(heard, 0, sizeof heard);
    rig_listen(server, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_start(server);
    for (uint32_t i = 0; i < TALKERS; i++)
        REQUIRE(rig_connect(client, 0, RIG_PORT_LOW, i, on_listener, NULL) == 0);
    rig_start(client);
    uint32_t n_conns = 0, n_hello = 0;
    while (n_hello < TALKERS) {
        int n = qs_app_wait(app, ev, 16, QS_S(10));
        REQUIRE(n > 0);
        for (int i = 0; i < n; i++) {
            if (ev[i].flags & QS_EVENT_OPEN)
                conns[n_conns++] = ev[i].conn;
            n_hello += ev[i].len;
        }
    }
    REQUIRE(n_conns == TALKERS);
    qs_stack_stop(server);
    talk_to_nobody(app, conns, taken);
    for (uint32_t i = 0; i < TALKERS; i++) {
        CHECK_EQ(i & 1 ? qs_app_shutdown(app, conns[i]) : qs_app_close(app, conns[i]), 0);
        CHECK_EQ(qs_app_write(app, conns[i], "x", 1), i & 1 ? QS_ERR_CLOSED : QS_ERR_STALE);
    }
    rig_start(server);
    for (int i = 0; i < 1000 && rig_get(&n_eofs) < TALKERS; i++)
        CHECK(qs_app_wait(app, ev, 16, QS_MS(10)) >= 0); /* asleep: the worker has to wake it */
    CHECK_EQ(rig_get(&n_eofs), TALKERS);
    CHECK_EQ(rig_get(&n_wrong), 0);
    qs_stack_stop(client);
    uint64_t sum_heard = 0, sum_taken = 0;
    for (uint32_t i = 0; i < TALKERS; i++) {
        sum_heard += heard[i];
        sum_taken += taken[i];
    }
    CHECK_EQ(sum_heard, sum_taken);
    qs_stack_stop(server);
    qs_app_free(app);
    qs_stack_free(client);
    qs_stack_free(server);
}

/* A write that was taken in part is followed by WRITABLE, as often as it takes. */
static void a_partial_write_is_followed_by_writable(void)
{
    const uint64_t total = 8u << 20;
    qs_stack_opts so = rig_stack_opts(0, 1, 1), co = rig_stack_opts(1, 1, 1);
    qs_stack *server = rig_stack(&so), *client = rig_stack(&co);
    qs_app *app = rig_app(server, SMALL_RING);
    struct qs_app_event ev[4];
    n_wrong = n_eofs = n_open = 0;
    memset(heard, 0, sizeof heard);
    rig_listen(server, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_start(server);
    REQUIRE(rig_connect(client, 0, RIG_PORT_LOW, 0, on_listener, NULL) == 0);
    rig_start(client);
    static uint8_t buf[1 << 16];
    uint64_t sent = 0;
    uint32_t n_writable = 0;
    while (sent < total) {
        int n = qs_app_wait(app, ev, 4, QS_S(10));
        REQUIRE(n > 0);
        for (int i = 0; i < n; i++) {
            if (ev[i].flags & QS_EVENT_WRITABLE)
                n_writable++;
            int64_t took = 1;
            while (ev[i].flags & (QS_EVENT_OPEN | QS_EVENT_WRITABLE) && sent < total && took > 0) {
                size_t len = total - sent < sizeof buf ? (size_t)(total - sent) : sizeof buf;
                for (size_t k = 0; k < len; k++)
                    buf[k] = octet((uint32_t)(sent + k));
                took = qs_app_write(app, ev[i].conn, buf, len);
                CHECK(took >= 0);
                sent += (uint64_t)took;
                if (sent == total)
                    CHECK_EQ(qs_app_close(app, ev[i].conn), 0);
                if (took < (int64_t)len)
                    break;
            }
        }
    }
    for (int i = 0; i < 1000 && rig_get(&n_eofs) < 1; i++)
        CHECK_EQ(qs_app_wait(app, ev, 4, QS_MS(10)), 0);
    qs_stack_stop(client);
    CHECK_EQ(heard[0], total);
    CHECK_EQ(rig_get(&n_wrong), 0);
    CHECK(n_writable > 10);
    qs_stack_stop(server);
    qs_app_free(app);
    qs_stack_free(client);
    qs_stack_free(server);
}

#define LAST_WORDS 200000u /* fits the buffers, and not the ring */

static void on_last_words(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    static uint8_t buf[LAST_WORDS];
    if (ev->flags & QS_EVENT_OPEN) {
        for (uint32_t i = 0; i < LAST_WORDS; i++)
            buf[i] = octet(i);
        CHECK_EQ(qs_conn_write(e, ev->conn, buf, LAST_WORDS), LAST_WORDS);
        CHECK_EQ(qs_conn_shutdown(e, ev->conn), 0);
        rig_add(&n_open);
    }
}

/* The peer has said all; our FIN would end the connection at once, and what was not read with it.
 */
static void a_shutdown_before_reading_loses_nothing(void)
{
    qs_stack_opts so = rig_stack_opts(0, 1, 1), co = rig_stack_opts(1, 1, 1);
    so.rcvbuf_initial_bytes = co.sndbuf_initial_bytes = FULL_SIZE;
    qs_stack *server = rig_stack(&so), *client = rig_stack(&co);
    qs_app *app = rig_app(server, SMALL_RING);
    struct qs_app_event ev;
    uint32_t got = 0, n_eof = 0, n_closed = 0, wrong = 0;
    n_open = 0;
    rig_listen(server, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_start(server);
    REQUIRE(rig_connect(client, 0, RIG_PORT_LOW, 0, on_last_words, NULL) == 0);
    rig_start(client);
    REQUIRE(qs_app_wait(app, &ev, 1, QS_S(10)) == 1);
    CHECK_EQ(ev.flags, QS_EVENT_OPEN);
    CHECK(rig_wait_value(&n_open, 1));
    CHECK(rig_wait_count(client, QS_COUNT_CHUNKS, 0)); /* all of it is acknowledged */
    usleep(100000);
    CHECK_EQ(qs_app_shutdown(app, ev.conn), 0);
    while (n_closed == 0) {
        REQUIRE(qs_app_wait(app, &ev, 1, QS_S(10)) == 1);
        for (uint32_t i = 0; i < ev.len; i++)
            wrong += ev.data[i] != octet(got + i);
        got += ev.len;
        n_eof += (ev.flags & QS_EVENT_EOF) != 0;
        n_closed += (ev.flags & QS_EVENT_CLOSED) != 0;
    }
    CHECK_EQ(got, LAST_WORDS);
    CHECK_EQ(wrong, 0);
    CHECK_EQ(n_eof, 1);
    CHECK_EQ(ev.err, 0);
    qs_stack_stop(server);
    qs_app_free(app);
    qs_stack_free(client);
    qs_stack_free(server);
}

int main(void)
{
    rig_begin();
    RUN(a_shutdown_before_reading_loses_nothing);
    RUN(r54_who_never_reads_holds_nobody_up);
    RUN(full_rings_put_calls_off_and_lose_none);
    RUN(a_partial_write_is_followed_by_writable);
    rig_end();
    return TEST_RESULT();
}
