/* SPDX-License-Identifier: Apache-2.0 */
/* Options of connections: defaults, bounds, and that what is set is what is read. */
#include "rig.h"

static struct qs_conn_opts get(struct rig *r)
{
    struct qs_conn_opts o;
    qs_conn_opts_init(&o);
    CHECK_EQ(qs_conn_get_opts(r->e, r->conn, &o), 0);
    return o;
}

static void check_same(const struct qs_conn_opts *a, const struct qs_conn_opts *b)
{
    CHECK_EQ(a->size, b->size);
    CHECK_EQ(a->keepalive, b->keepalive);
    CHECK_EQ(a->keepalive_idle.ns, b->keepalive_idle.ns);
    CHECK_EQ(a->keepalive_interval.ns, b->keepalive_interval.ns);
    CHECK_EQ(a->keepalive_count, b->keepalive_count);
    CHECK_EQ(a->user_timeout.ns, b->user_timeout.ns);
    CHECK_EQ(a->nagle, b->nagle);
    CHECK_EQ(a->pacing, b->pacing);
    CHECK_EQ(a->pacing_rate_max, b->pacing_rate_max);
    CHECK_EQ(a->rcvbuf_bytes, b->rcvbuf_bytes);
    CHECK_EQ(a->sndbuf_bytes, b->sndbuf_bytes);
    CHECK_EQ(a->mss_max, b->mss_max);
    CHECK(strcmp(a->cc ? a->cc : "cubic", b->cc ? b->cc : "cubic") == 0);
}

static void defaults(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    struct qs_conn_opts want, got = get(r);
    qs_conn_opts_init(&want);
    check_same(&got, &want);
    CHECK_EQ(want.keepalive, false);
    CHECK_EQ(want.keepalive_idle.ns, QS_S(7200).ns);
    CHECK_EQ(want.keepalive_interval.ns, QS_S(75).ns);
    CHECK_EQ(want.keepalive_count, 9);
    CHECK_EQ(want.user_timeout.ns, 0);
    CHECK_EQ(want.nagle, false);
    CHECK_EQ(want.pacing, false);
    CHECK_EQ(want.pacing_rate_max, 0);
    CHECK_EQ(want.rcvbuf_bytes, 0);
    CHECK_EQ(want.sndbuf_bytes, 0);
    CHECK_EQ(want.mss_max, 0);
    CHECK(want.cc == NULL);
    rig_free(r);
}

static void what_is_set_is_read(void)
{
    static const enum qs_tcp_state state[] = {
        QS_TCP_SYN_SENT,   QS_TCP_ESTABLISHED, QS_TCP_FIN_WAIT_1, QS_TCP_FIN_WAIT_2,
        QS_TCP_CLOSE_WAIT, QS_TCP_CLOSING,     QS_TCP_LAST_ACK,   QS_TCP_TIME_WAIT};
    for (size_t i = 0; i < sizeof state / sizeof state[0]; i++) {
        struct rig *r = rig_new(NULL, false);
        rig_to(r, state[i]);
        struct qs_conn_opts o = get(r), got;
        o.keepalive = true;
        o.keepalive_idle = QS_MS(1);
        o.keepalive_interval = QS_S(32767);
        o.keepalive_count = 127;
        o.user_timeout = QS_S(86400);
        o.nagle = true;
        o.pacing = true;
        o.pacing_rate_max = 2047 << 10;
        o.cc = "newreno";
        CHECK_EQ(qs_conn_set_opts(r->e, r->conn, &o), 0);
        got = get(r);
        check_same(&got, &o);
        CHECK_EQ(rig_state(r), state[i]);
        o.keepalive_idle = QS_US(2001); /* rounded up */
        o.user_timeout.ns = 1;
        CHECK_EQ(qs_conn_set_opts(r->e, r->conn, &o), 0);
        CHECK_EQ(get(r).keepalive_idle.ns, QS_MS(3).ns);
        CHECK_EQ(get(r).user_timeout.ns, QS_MS(1).ns);
        rig_free(r);
    }
}

/* Times are kept the coarser the longer they are, never shorter; ceilings never higher. */
static void what_is_kept_of_it(void)
{
    static const struct {
        qs_dur is, kept;
    } wait[] = {
        {QS_MS(16383), QS_MS(16383)}, {QS_US(16383001), QS_S(17)}, {QS_MS(30500), QS_S(31)},
        {QS_S(16383), QS_S(16383)},   {QS_S(16385), QS_S(16392)},  {QS_S(86399), QS_S(86400)},
    };
    static const uint64_t ceiling[][2] = {
        {1000, 1000},
        {2047, 2047},
        {2049, 2048},
        {123456789, 123404288},
        {1000000000000, 999653638144},
    };
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    struct qs_conn_opts o = get(r);
    for (size_t i = 0; i < sizeof wait / sizeof wait[0]; i++) {
        o.user_timeout = wait[i].is;
        CHECK_EQ(qs_conn_set_opts(r->e, r->conn, &o), 0);
        CHECK_EQ(get(r).user_timeout.ns, wait[i].kept.ns);
    }
    o.pacing = true;
    for (size_t i = 0; i < sizeof ceiling / sizeof ceiling[0]; i++) {
        o.pacing_rate_max = ceiling[i][0];
        CHECK_EQ(qs_conn_set_opts(r->e, r->conn, &o), 0);
        CHECK_EQ(get(r).pacing_rate_max, ceiling[i][1]);
    }
    rig_free(r);
}

/* On a living connection, a listener, an open: refused, and nothing is changed. */
static void refuse(struct rig *r, const struct qs_conn_opts *bad)
{
    struct qs_conn_opts before = get(r), after;
    CHECK_EQ(qs_conn_set_opts(r->e, r->conn, bad), QS_ERR_ARG);
    after = get(r);
    check_same(&after, &before);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT + 1;
    l.conn = *bad;
    CHECK_EQ(qs_engine_listen(r->e, &l), QS_ERR_ARG);
    struct qs_open_opts o;
    qs_open_opts_init(&o);
    o.remote = rig_peer(r);
    o.remote_port = RIG_PEER_PORT + 1;
    o.conn = *bad;
    qs_conn c;
    CHECK_EQ(qs_conn_open(r->e, &o, rig_now(r), &c), QS_ERR_ARG);
    CHECK_COUNT(CONNS, 1);
}

static void what_is_out_of_range_is_refused(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
#define REFUSE(change)                                                                             \
    do {                                                                                           \
        struct qs_conn_opts o = get(r);                                                            \
        change;                                                                                    \
        refuse(r, &o);                                                                             \
    } while (0)
    REFUSE(o.size--);
    REFUSE(o.size = 0);
    REFUSE(o.keepalive_idle.ns = 0);
    REFUSE(o.keepalive_idle.ns = QS_S(32767).ns + 1);
    REFUSE(o.keepalive_interval.ns = 0);
    REFUSE(o.keepalive_interval.ns = QS_S(32767).ns + 1);
    REFUSE(o.keepalive_count = 0);
    REFUSE(o.keepalive_count = 128);
    REFUSE(o.user_timeout.ns = QS_S(86400).ns + 1);
    REFUSE(o.user_timeout.ns = UINT64_MAX);
    REFUSE(o.cc = "vegas");
    REFUSE(o.pacing_rate_max = 1000000); /* without pacing */
    REFUSE((o.pacing = true, o.pacing_rate_max = 999));
    REFUSE((o.pacing = true, o.pacing_rate_max = 1000000000001));
    REFUSE(o.rcvbuf_bytes = rig_opts().rcvbuf_bytes + 1);
    REFUSE(o.sndbuf_bytes = rig_opts().sndbuf_bytes + 1);
    REFUSE(o.mss_max = 87);
#undef REFUSE
    rig_free(r);
}

static void stale_handles(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    qs_conn gone = r->conn;
    struct qs_conn_opts o = get(r);
    o.size--;
    CHECK_EQ(qs_conn_get_opts(r->e, gone, &o), QS_ERR_ARG);
    o.size++;
    CHECK_EQ(qs_conn_abort(r->e, gone), 0);
    CHECK_EQ(qs_conn_set_opts(r->e, gone, &o), QS_ERR_STALE);
    CHECK_EQ(qs_conn_get_opts(r->e, gone, &o), QS_ERR_STALE);
    rig_free(r);
}

/* The connection has ended and its last event waits: the calls work, and nothing comes of it. */
static void after_the_end(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(20, "R.", 1, 0, 1);
    struct qs_conn_opts o = get(r);
    o.keepalive = true;
    o.keepalive_idle = QS_S(1);
    o.user_timeout = QS_S(1);
    CHECK_EQ(qs_conn_set_opts(r->e, r->conn, &o), 0);
    QUIET(100000);
    CHECK_EQ(rig_event(r), QS_EVENT_CLOSED);
    CHECK_EQ(r->ev.err, QS_ERR_RESET);
    rig_free(r);
}

int main(void)
{
    RUN(defaults);
    RUN(what_is_set_is_read);
    RUN(what_is_kept_of_it);
    RUN(what_is_out_of_range_is_refused);
    RUN(stale_handles);
    RUN(after_the_end);
    return TEST_RESULT();
}
