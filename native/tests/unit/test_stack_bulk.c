/* SPDX-License-Identifier: Apache-2.0 */
/* Long transfers both ways at once through both layouts, over a good wire and over a bad one: every
 * octet arrives, once and in order, and nothing is left. Then a thousand connections at once. */
#include "stack_rig.h"

#define QUEUES 4u
#define MANY 1000u

/* One connection of the client: sends `total` octets, gets them echoed, then closes. */
struct flow {
    uint64_t total, sent, received;
    bool shut;
};

static struct flow flows[MANY];
static uint32_t n_done, n_wrong, n_lost;

static uint8_t octet(uint64_t user, uint64_t at)
{
    return (uint8_t)(user * 41u + at * 3u + (at >> 9) + (at >> 17));
}

static void push(qs_engine *e, qs_conn conn, uint64_t user)
{
    struct flow *f = &flows[user];
    uint8_t buf[16384];
    while (f->sent < f->total) {
        uint64_t left = f->total - f->sent;
        size_t n = left < sizeof buf ? (size_t)left : sizeof buf;
        for (size_t i = 0; i < n; i++)
            buf[i] = octet(user, f->sent + i);
        int64_t took = qs_conn_write(e, conn, buf, n);
        if (took <= 0)
            return;
        f->sent += (uint64_t)took;
    }
    if (!f->shut)
        CHECK_EQ(qs_conn_shutdown(e, conn), 0);
    f->shut = true;
}

static void on_client(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    struct flow *f = &flows[ev->user];
    uint8_t buf[16384];
    int64_t n;
    if (ev->flags & QS_EVENT_CLOSED) {
        rig_add(&n_lost);
        return;
    }
    while ((n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0) {
        for (int64_t i = 0; i < n; i++)
            if (buf[i] != octet(ev->user, f->received + (uint64_t)i))
                rig_add(&n_wrong);
        f->received += (uint64_t)n;
    }
    if (n == QS_ERR_EOF) {
        (void)qs_conn_close(e, ev->conn);
        rig_add(&n_done);
        return;
    }
    push(e, ev->conn, ev->user);
}

static void on_reader(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    uint8_t buf[16384];
    int64_t n;
    while ((n = qs_conn_read(e, ev->conn, buf, sizeof buf)) > 0)
        flows[ev->user].received += (uint64_t)n;
    if (n == QS_ERR_EOF) {
        (void)qs_conn_close(e, ev->conn);
        rig_add(&n_done);
    }
}

/* Echo on the worker: reads only what it can write. */
static void on_inline(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    struct qs_span span;
    int n;
    if (ev->flags & QS_EVENT_CLOSED)
        return;
    while ((n = qs_conn_peek(e, ev->conn, &span, 1)) > 0) {
        int64_t took = qs_conn_write(e, ev->conn, span.data, span.len);
        if (took <= 0)
            return; /* WRITABLE follows */
        CHECK_EQ(qs_conn_consume(e, ev->conn, (size_t)took), 0);
    }
    if (n == QS_ERR_EOF)
        (void)qs_conn_close(e, ev->conn);
}

/* Echo in an application thread: what a connection does not take yet is kept for it. */
struct backlog {
    qs_conn conn;
    uint8_t *data;
    size_t len, done;
    bool ends;
};

struct echo {
    qs_app *app;
    bool stop;
    struct backlog backlogs[QUEUES][4096]; /* by the handle's queue and slot */
};

static void go_on(struct echo *x, struct backlog *b)
{
    if (b->len > b->done) {
        int64_t n = qs_app_write(x->app, b->conn, b->data + b->done, b->len - b->done);
        if (n > 0)
            b->done += (size_t)n;
    }
    if (b->len > b->done)
        return;
    b->len = b->done = 0;
    if (b->ends)
        CHECK_EQ(qs_app_close(x->app, b->conn), 0);
    b->ends = false; /* the same wait may have returned more events of it */
}

static void on_app_event(struct echo *x, const struct qs_app_event *ev)
{
    struct backlog *b = &x->backlogs[qs_queue_of(ev->conn)][qs_slot_of(ev->conn)];
    if (ev->flags & QS_EVENT_OPEN) {
        free(b->data);
        *b = (struct backlog){.conn = ev->conn};
        return;
    }
    CHECK_EQ(b->conn.v, ev->conn.v);
    if (ev->len > 0) {
        b->data = realloc(b->data, b->len + ev->len);
        REQUIRE(b->data != NULL);
        memcpy(b->data + b->len, ev->data, ev->len);
        b->len += ev->len;
    }
    b->ends |= (ev->flags & QS_EVENT_EOF) != 0;
    if (ev->flags & QS_EVENT_CLOSED)
        rig_add(&n_lost);
    else
        go_on(x, b);
}

static void *echo_thread(void *arg)
{
    struct echo *x = arg;
    struct qs_app_event ev[32];
    while (!__atomic_load_n(&x->stop, __ATOMIC_ACQUIRE)) {
        int n = qs_app_wait(x->app, ev, 32, QS_S(1));
        for (int i = 0; i < n; i++)
            on_app_event(x, &ev[i]);
    }
    for (uint32_t q = 0; q < QUEUES; q++)
        for (uint32_t i = 0; i < 4096; i++)
            free(x->backlogs[q][i].data);
    return NULL;
}

struct plan {
    uint32_t n;
    uint64_t bytes;
    bool no_offload, inline_layout;
    struct qs_pair_faults faults;
};

static void run_plan(const struct plan *p)
{
    static struct echo x;
    memset(&x, 0, sizeof x);
    memset(flows, 0, sizeof flows);
    n_done = n_wrong = n_lost = 0;
    qs_stack_opts so = rig_stack_opts(0, QUEUES, 2), co = rig_stack_opts(1, QUEUES, 1);
    so.no_offload = co.no_offload = p->no_offload;
    qs_stack *server = rig_stack(&so), *client = rig_stack(&co);
    x.app = rig_app(server, 0);
    rig_listen(server, RIG_PORT_LOW, 0, p->inline_layout ? on_inline : NULL, NULL, 0);
    REQUIRE(qs_pair_faults_set(server->driver, &p->faults) == 0);
    REQUIRE(qs_pair_faults_set(client->driver, &p->faults) == 0);
    rig_start(server);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, echo_thread, &x) == 0);
    for (uint32_t i = 0; i < p->n; i++) {
        flows[i].total = p->bytes;
        REQUIRE(rig_connect(client, i % QUEUES, RIG_PORT_LOW, i, on_client, NULL) == 0);
    }
    rig_start(client);
    CHECK(rig_wait_value(&n_done, p->n));
    CHECK_EQ(rig_get(&n_wrong), 0);
    CHECK_EQ(rig_get(&n_lost), 0);
    for (uint32_t i = 0; i < p->n; i++)
        CHECK_EQ(__atomic_load_n(&flows[i].received, __ATOMIC_RELAXED), p->bytes);
    CHECK(rig_wait_count(server, QS_COUNT_CHUNKS, 0));
    CHECK(rig_wait_count(server, QS_COUNT_CONNS, 0)); /* the client closed first */
    struct qs_pair_fault_counts c;
    qs_pair_fault_counts(client->driver, &c);
    CHECK_EQ(c.lost > 0, p->faults.loss_ppm > 0);
    __atomic_store_n(&x.stop, true, __ATOMIC_RELEASE);
    qs_app_wake(x.app);
    REQUIRE(pthread_join(thread, NULL) == 0);
    qs_stack_stop(server);
    qs_stack_stop(client);
    qs_app_free(x.app);
    qs_stack_free(client);
    qs_stack_free(server);
}

#define BULK (16u << 20)

/* Writes until less is taken than there is. @return the most that one call took. */
static size_t write_on(qs_app *app, qs_conn conn, uint64_t *sent)
{
    static uint8_t buf[1u << 20];
    size_t largest = 0;
    while (*sent < BULK) {
        size_t len = BULK - *sent < sizeof buf ? (size_t)(BULK - *sent) : sizeof buf;
        int64_t took = qs_app_write(app, conn, buf, len);
        REQUIRE(took >= 0);
        *sent += (uint64_t)took;
        largest = (size_t)took > largest ? (size_t)took : largest;
        if ((size_t)took < len)
            return largest;
    }
    CHECK_EQ(qs_app_close(app, conn), 0);
    return largest;
}

/* 16 MiB to a client that reads. @return the most that one call of qs_app_write() took. */
static size_t largest_write(const qs_stack_opts *so)
{
    qs_stack_opts co = rig_stack_opts(1, 1, 1);
    qs_stack *server = rig_stack(so), *client = rig_stack(&co);
    qs_app *app = rig_app(server, 4u << 20);
    struct qs_app_event ev[4];
    size_t largest = 0;
    memset(flows, 0, sizeof flows);
    n_done = 0;
    rig_listen(server, RIG_PORT_LOW, 0, NULL, NULL, 0);
    rig_start(server);
    REQUIRE(rig_connect(client, 0, RIG_PORT_LOW, 0, on_reader, NULL) == 0);
    rig_start(client);
    for (uint64_t sent = 0; sent < BULK;) {
        int n = qs_app_wait(app, ev, 4, QS_S(10));
        REQUIRE(n > 0);
        for (int i = 0; i < n; i++) {
            size_t took = 0;
            if (ev[i].flags & (QS_EVENT_OPEN | QS_EVENT_WRITABLE) && sent < BULK)
                took = write_on(app, ev[i].conn, &sent);
            largest = took > largest ? took : largest;
        }
    }
    CHECK(rig_wait_value(&n_done, 1));
    CHECK_EQ(__atomic_load_n(&flows[0].received, __ATOMIC_RELAXED), BULK);
    qs_stack_stop(server);
    qs_stack_stop(client);
    qs_app_free(app);
    qs_stack_free(client);
    qs_stack_free(server);
    return largest;
}

/* What an application may have written follows the send buffer: at first its initial size, more
 * when it has grown, and never more than the class lets it. */
static void credit_follows_the_send_buffer(void)
{
    qs_stack_opts so = rig_stack_opts(0, 1, 1);
    so.sndbuf_initial_bytes = 32768;
    CHECK(largest_write(&so) > 32768);
    so.growth_bytes[0] = 0;
    CHECK_EQ(largest_write(&so), 32768);
    so.growth_bytes[0] = 65536 - 32768;
    so.rcvbuf_initial_bytes = so.rcvbuf_bytes;
    CHECK(largest_write(&so) <= 65536);
    so.sndbuf_initial_bytes = so.sndbuf_bytes;
    CHECK_EQ(largest_write(&so), 1u << 20);
}

static const struct qs_pair_faults bad_wire = {.seed = 7,
                                               .loss_ppm = 10000,
                                               .duplicate_ppm = 10000,
                                               .reorder_ppm = 20000,
                                               .corrupt_ppm = 2000,
                                               .reorder_by = QS_US(300)};

static void megabytes_over_a_good_wire(void)
{
    run_plan(&(struct plan){.n = 1, .bytes = 16u << 20});
    run_plan(&(struct plan){.n = 1, .bytes = 16u << 20, .inline_layout = true});
    run_plan(&(struct plan){.n = 8, .bytes = 2u << 20, .no_offload = true});
}

static void megabytes_over_a_bad_wire_split(void)
{
    run_plan(&(struct plan){.n = 1, .bytes = 16u << 20, .no_offload = true, .faults = bad_wire});
    run_plan(&(struct plan){.n = 8, .bytes = 2u << 20, .faults = bad_wire});
}

static void megabytes_over_a_bad_wire_inline(void)
{
    run_plan(&(struct plan){
        .n = 4, .bytes = 4u << 20, .no_offload = true, .inline_layout = true, .faults = bad_wire});
}

static void a_thousand_connections(void)
{
    run_plan(&(struct plan){.n = MANY, .bytes = 20000});
    run_plan(&(struct plan){.n = MANY, .bytes = 20000, .inline_layout = true});
}

int main(void)
{
    rig_begin();
    RUN(megabytes_over_a_good_wire);
    RUN(credit_follows_the_send_buffer);
    RUN(megabytes_over_a_bad_wire_split);
    RUN(megabytes_over_a_bad_wire_inline);
    RUN(a_thousand_connections);
    rig_end();
    return TEST_RESULT();
}
