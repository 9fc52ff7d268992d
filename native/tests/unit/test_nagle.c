/* SPDX-License-Identifier: Apache-2.0 */
/* Nagle's algorithm, RFC 9293 section 3.7.4, and the sender's side of silly window avoidance,
 * section 3.8.6.2.1. */
#include "rig.h"

static void set_nagle(struct rig *r, bool on)
{
    struct qs_conn_opts o;
    qs_conn_opts_init(&o);
    o.nagle = on;
    CHECK_EQ(qs_conn_set_opts(r->e, r->conn, &o), 0);
}

static struct rig *with_nagle(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    set_nagle(r, true);
    return r;
}

static void off_by_default(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    for (uint32_t i = 0; i < 5; i++) {
        rig_write(r, 10);
        OUT(10, "P.", 1 + 10 * i, 10, 1);
    }
    rig_free(r);
}

/* The first leaves at once, all that follows waits for its ACK and leaves as one. */
static void small_writes_are_gathered(void)
{
    struct rig *r = with_nagle();
    for (uint32_t i = 0; i < 5; i++)
        rig_write(r, 10), rig_run(r, 11 + i);
    OUT(10, "P.", 1, 10, 1);
    QUIET(100);
    IN(100, ".", 1, 0, 11);
    OUT(100, "P.", 11, 40, 1);
    IN(110, ".", 1, 0, 51);
    QUIET(120);
    rig_write(r, 10); /* nothing is out */
    OUT(120, "P.", 51, 10, 1);
    rig_free(r);
}

static void full_segments_never_wait(void)
{
    struct rig *r = with_nagle();
    rig_write(r, 10);
    OUT(10, "P.", 1, 10, 1);
    rig_write(r, 999);
    QUIET(20);
    rig_write(r, 1); /* full now */
    OUT(20, "P.", 11, 1000, 1);
    rig_write(r, 2500);
    OUT(20, ".", 1011, 1000, 1);
    OUT(20, ".", 2011, 1000, 1);
    QUIET(30); /* and not its last 500 */
    IN(30, ".", 1, 0, 2011);
    QUIET(40); /* something is out still */
    IN(40, ".", 1, 0, 3011);
    OUT(40, "P.", 3011, 500, 1);
    rig_free(r);
}

/* What was written last goes with the FIN. */
static void a_fin_does_not_wait(void)
{
    struct rig *r = with_nagle();
    rig_write(r, 10);
    OUT(10, "P.", 1, 10, 1);
    rig_write(r, 20);
    QUIET(20);
    CHECK_EQ(qs_conn_shutdown(r->e, r->conn), 0);
    OUT(20, "FP.", 11, 20, 1);
    rig_free(r);
}

static void switching_it_off_lets_go(void)
{
    struct rig *r = with_nagle();
    rig_write(r, 10);
    OUT(10, "P.", 1, 10, 1);
    rig_write(r, 20);
    QUIET(20);
    set_nagle(r, false);
    OUT(20, "P.", 11, 20, 1);
    rig_free(r);
}

/* Sent again is sent at once: a timeout waits for nothing. */
static void retransmissions_do_not_wait(void)
{
    struct rig *r = with_nagle();
    rig_write(r, 1000);
    OUT(10, "P.", 1, 1000, 1);
    set_nagle(r, false);
    rig_write(r, 500);
    OUT(10, "P.", 1001, 500, 1);
    set_nagle(r, true);
    OUT(210, ".", 1, 1000, 1);
    IN(220, ".", 1, 0, 1001);
    OUT(220, "P.", 1001, 500, 1);
    rig_free(r);
}

/* The device segments: whole segments of a frame leave, the short one stays. */
static void with_segmentation_offload(void)
{
    qs_engine_opts o = rig_opts();
    o.offloads = QS_OFFLOAD_TX_CSUM | QS_OFFLOAD_TSO;
    o.gso_max_bytes = 65000;
    struct rig *r = rig_new(&o, false);
    rig_listen(r);
    rig_in(r, 0, &(struct seg){"S", 0, 0, 0, "mss 1000"});
    rig_flush(r);
    rig_in(r, 10, &(struct seg){".", 1, 0, 1});
    REQUIRE(rig_event(r) == QS_EVENT_OPEN);
    set_nagle(r, true);
    static const struct {
        uint32_t write, leaves;
    } row[] = {{2500, 2000}, {100, 0}, {400, 1000}, {1000, 1000}, {999, 0}};
    uint32_t sent = 0;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        rig_write(r, row[i].write);
        rig_run(r, 20);
        uint32_t octets = 0;
        for (struct frame *f; (f = rig_take(r));)
            octets += f->len - 54;
        CHECK_EQ(octets, row[i].leaves);
        sent += octets;
    }
    rig_in(r, 30, &(struct seg){".", 1, 0, 1 + sent});
    rig_run(r, 31);
    struct frame *f = rig_take(r);
    REQUIRE(f);
    CHECK_EQ(f->len, 54 + 999);
    rig_free(r);
}

/* ---- silly windows, with and without Nagle's algorithm ---- */

/* Less than a segment and less than half of the largest window that the peer ever had: it waits
 * while anything is out; half of a small window is enough. */
static void a_sliver_of_window_is_not_used(void)
{
    for (int on = 0; on < 2; on++) {
        struct rig *r = rig_new(NULL, false);
        r->wnd = 800; /* of a peer with a small buffer */
        rig_establish(r, NULL);
        set_nagle(r, on);
        rig_write(r, 3000);
        OUT(10, ".", 1, 800, 1);
        IN(20, ".", 1, 0, 601, .wnd = 599); /* 399 of it are free */
        QUIET(30);
        IN(30, ".", 1, 0, 601, .wnd = 600); /* 400 */
        OUT(30, ".", 801, 400, 1);
        rig_free(r);
    }
}

/* Nothing is out: what fits goes, however little, since no ACK will come to make more of it. */
static void a_sliver_is_used_when_nothing_is_out(void)
{
    struct rig *r = with_nagle();
    IN(20, ".", 1, 0, 1, .wnd = 30);
    rig_write(r, 3000);
    OUT(20, ".", 1, 30, 1);
    rig_free(r);
}

static void listener_passes_it_on(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.conn.nagle = true;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
    IN(0, "S", 0, 0, 0, .opts = "mss 1000");
    OUT(0, "S.", 0, 0, 1);
    IN(10, ".", 1, 0, 1);
    REQUIRE(rig_event(r) == QS_EVENT_OPEN);
    rig_write(r, 10);
    OUT(10, "P.", 1, 10, 1);
    rig_write(r, 10);
    QUIET(100);
    rig_free(r);
}

int main(void)
{
    RUN(off_by_default);
    RUN(small_writes_are_gathered);
    RUN(full_segments_never_wait);
    RUN(a_fin_does_not_wait);
    RUN(switching_it_off_lets_go);
    RUN(retransmissions_do_not_wait);
    RUN(with_segmentation_offload);
    RUN(a_sliver_of_window_is_not_used);
    RUN(a_sliver_is_used_when_nothing_is_out);
    RUN(listener_passes_it_on);
    return TEST_RESULT();
}
