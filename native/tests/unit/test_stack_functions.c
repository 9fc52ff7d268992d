/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of users on a worker: one that loops, crashes, lies or dawdles costs its own message a
 * class, and nothing else. Messages are lines; their first octet says what the classifier does. */
#include "io/clock.h"
#include "stack_rig.h"

static uint32_t n_served, n_closed, n_open, served[QS_N_PRIO];

static uint64_t cpu_ns(void)
{
    return qs_clock_cpu_ns(CLOCK_THREAD_CPUTIME_ID);
}

static int classify(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx)
{
    (void)len, (void)ctx;
    volatile uint64_t turns = 0;
    switch (data ? data[0] : 0) {
    case 'l': /* for ever */
        for (;;)
            turns++;
    case 'c':
        __builtin_trap();
    case 'd':
        for (uint64_t end = cpu_ns() + QS_US(200).ns; cpu_ns() < end;)
            turns++;
        return 7;
    case 'x':
        return 99;
    case 'u':
        return 7;
    default:
        return flow->prio;
    }
}

static int64_t endless_framing(const uint8_t *data, size_t len, void *ctx)
{
    (void)data, (void)len, (void)ctx;
    volatile bool ever = true;
    while (ever)
        continue;
    return 1;
}

static void on_server(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    struct qs_message m;
    if (ev->flags & QS_EVENT_CLOSED)
        rig_add(&n_closed);
    else if (ev->flags & QS_EVENT_READABLE && qs_conn_message(e, ev->conn, ev->prio, &m) == 1) {
        rig_add(&served[m.prio]);
        CHECK_EQ(qs_conn_message_done(e, ev->conn, &m), 0);
        rig_add(&n_served);
    }
}

static const char *lines;

static void on_client(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)now, (void)ctx;
    if (ev->flags & QS_EVENT_OPEN) {
        size_t len = strlen(lines);
        CHECK_EQ(qs_conn_write(e, ev->conn, lines, len), (int64_t)len);
        rig_add(&n_open);
    }
}

struct pair {
    qs_stack *server, *client;
    int number;
};

/* A server that has been sent `text` on a connection. */
static struct pair sent(const char *text, qs_framing_fn framing)
{
    qs_stack_opts o = rig_stack_opts(0, 1, 1), c = rig_stack_opts(1, 1, 1);
    struct pair p = {.server = rig_stack(&o), .client = rig_stack(&c)};
    struct qs_diag diag = {""};
    struct qs_framing_opts f;
    qs_framing_opts_init(&f, framing ? QS_FRAMING_FUNCTION : QS_FRAMING_DELIMITER);
    f.fn = framing;
    struct qs_classifier_opts k;
    qs_classifier_opts_init(&k);
    k.fn = classify;
    p.number = qs_stack_messages(p.server, &f, &k, &diag);
    REQUIRE(p.number > 0);
    struct qs_stack_listen l;
    qs_stack_listen_init(&l);
    l.l.port = RIG_PORT_LOW;
    l.l.messages = (uint8_t)p.number;
    l.inline_fn = on_server;
    REQUIRE(qs_stack_listen(p.server, &l, &diag) >= 0);
    n_served = n_closed = n_open = 0;
    memset(served, 0, sizeof served);
    lines = text;
    REQUIRE(rig_connect(p.client, 0, RIG_PORT_LOW, 0, on_client, NULL) == 0);
    rig_start(p.server);
    rig_start(p.client);
    return p;
}

static struct qs_function_stats stats(const struct pair *p, bool classifier)
{
    struct qs_function_stats s;
    CHECK_EQ(qs_stack_function_stats(p->server, p->number, classifier, &s), 0);
    return s;
}

static void end(struct pair *p)
{
    qs_stack_free(p->client);
    qs_stack_free(p->server);
}

static void a_message_whose_classifier_fails_has_the_class_of_its_connection(void)
{
    struct pair p = sent("u1\nl1\nu2\nc1\nx1\nd1\nd2\nd3\nu3\no1\n", NULL);
    CHECK(rig_wait_value(&n_served, 10));
    CHECK_EQ(rig_get(&served[7]), 4); /* the first that is late may have been kept from its CPU */
    CHECK_EQ(rig_get(&served[0]), 6);
    CHECK_EQ(stats(&p, true).interrupted, 2);
    CHECK_EQ(stats(&p, true).overruns, 2);
    CHECK(!stats(&p, true).set_aside);
    end(&p);
}

static void one_that_does_not_learn_is_not_called_any_more(void)
{
    struct pair p = sent("c1\nc2\nu1\nc3\nu2\nc4\nu3\n", NULL);
    CHECK(rig_wait_value(&n_served, 7));
    CHECK_EQ(rig_get(&served[7]), 1);
    CHECK_EQ(stats(&p, true).interrupted, 3);
    CHECK(stats(&p, true).set_aside);
    end(&p);
}

static void a_framing_that_does_not_return_ends_its_connection(void)
{
    struct pair p = sent("u1\n", endless_framing);
    CHECK(rig_wait_value(&n_closed, 1));
    CHECK_EQ(stats(&p, false).interrupted, 1);
    end(&p);
}

static void unknown_numbers_are_refused(void)
{
    struct pair p = sent("o1\n", NULL);
    struct qs_function_stats s;
    CHECK_EQ(qs_stack_function_stats(p.server, 0, true, &s), QS_ERR_ARG);
    CHECK_EQ(qs_stack_function_stats(p.server, p.number + 1, true, &s), QS_ERR_ARG);
    CHECK_EQ(qs_stack_function_stats(p.server, p.number, false, &s), 0); /* none: zeros */
    struct qs_diag diag;
    CHECK_EQ(qs_stack_messages(p.server, NULL, NULL, &diag), QS_ERR_STATE); /* it runs */
    end(&p);
}

int main(void)
{
    rig_begin();
    RUN(a_message_whose_classifier_fails_has_the_class_of_its_connection);
    RUN(one_that_does_not_learn_is_not_called_any_more);
    RUN(a_framing_that_does_not_return_ends_its_connection);
    RUN(unknown_numbers_are_refused);
    rig_end();
    return TEST_RESULT();
}
