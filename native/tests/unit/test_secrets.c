/* SPDX-License-Identifier: Apache-2.0 */
/* What an outsider must not guess: initial sequence numbers (RFC 6528), ephemeral ports (RFC 6056
 * algorithm 3), and both under another secret. */
#include "rig.h"

/* Sends a SYN from `peer_port` at `ms`. @return the ISN of the answer. */
static uint32_t isn(struct rig *r, double ms, uint16_t peer_port)
{
    struct wire_tcp t;
    rig_in(r, ms, &(struct seg){"S", 0, 0, 0, .peer_port = peer_port});
    rig_run(r, ms);
    struct frame *f = rig_take(r);
    REQUIRE(f);
    frame_parse_tcp(f, &t);
    rig_in(r, ms, &(struct seg){"R", 1, 0, 0, .peer_port = peer_port});
    return t.seq;
}

static void the_isn_grows_by_one_in_4_us(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_listen(r);
    uint32_t first = isn(r, 0, 5000);
    for (int i = 1; i < 50; i++) {
        uint32_t ticks = (uint32_t)((r->start_ns + (uint64_t)i * 77000000) >> 12) -
                         (uint32_t)(r->start_ns >> 12);
        CHECK_EQ(isn(r, 77.0 * i, 5000) - first, ticks);
    }
    rig_free(r);
}

/* All differ, and the distances between neighbouring tuples tell nothing. */
static void the_isn_differs_by_tuple(void)
{
    struct rig *r = rig_new(NULL, false);
    uint32_t seen[200], last = 0;
    int small = 0;
    rig_listen(r);
    for (uint16_t i = 0; i < 200; i++) {
        seen[i] = isn(r, 0, (uint16_t)(5000 + i));
        for (uint16_t k = 0; k < i; k++)
            CHECK(seen[k] != seen[i]);
        uint32_t d = seen[i] - last;
        small += d < 1u << 24 || -d < 1u << 24; /* 1 in 128 by chance */
        last = seen[i];
    }
    CHECK(small < 15);
    rig_free(r);
}

static void the_isn_differs_by_secret(void)
{
    uint32_t got[2];
    for (uint8_t i = 0; i < 2; i++) {
        qs_engine_opts o = rig_opts();
        o.secret[3] = i;
        struct rig *r = rig_new(&o, false);
        rig_listen(r);
        got[i] = isn(r, 0, RIG_PEER_PORT) - (uint32_t)(r->start_ns >> 12);
        rig_free(r);
    }
    CHECK(got[0] != got[1]);
}

static uint16_t opened_port(struct rig *r, uint16_t remote_port)
{
    struct qs_open_opts o;
    struct qs_conn_info i;
    qs_conn c;
    qs_open_opts_init(&o);
    o.remote = rig_peer(r);
    o.remote_port = remote_port;
    REQUIRE(qs_conn_open(r->e, &o, rig_now(r), &c) == 0);
    REQUIRE(qs_conn_info(r->e, c, &i) == 0);
    return i.local_port;
}

/* RFC 6335 section 6: from the dynamic range; to one destination one after the other, so that none
 * comes back soon. */
static void ports_to_one_destination(void)
{
    struct rig *r = rig_new(NULL, false);
    uint16_t last = opened_port(r, 7);
    for (int i = 0; i < 200; i++) {
        uint16_t port = opened_port(r, 7);
        CHECK(port >= 49152);
        CHECK_EQ(port, last == 65535 ? 49152 : last + 1);
        last = port;
    }
    rig_free(r);
}

/* To others from other places: whoever sees his own learns nothing of them. */
static void ports_to_other_destinations(void)
{
    struct rig *r = rig_new(NULL, false);
    int near = 0;
    uint16_t last = opened_port(r, 1);
    for (uint16_t i = 2; i < 200; i++) {
        uint16_t port = opened_port(r, i);
        near += port - last >= -2 && port - last <= 2;
        last = port;
    }
    CHECK(near < 4);
    rig_free(r);
}

static void r52_a_port_in_use_is_skipped(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_open_opts o;
    qs_conn c;
    uint16_t first = opened_port(r, 7);
    qs_open_opts_init(&o);
    o.remote = rig_peer(r);
    o.remote_port = 7;
    o.local_port = (uint16_t)(first + 1);
    CHECK_EQ(qs_conn_open(r->e, &o, rig_now(r), &c), 0);
    CHECK_EQ(opened_port(r, 7), first + 2);
    rig_free(r);
}

int main(void)
{
    RUN(the_isn_grows_by_one_in_4_us);
    RUN(the_isn_differs_by_tuple);
    RUN(the_isn_differs_by_secret);
    RUN(ports_to_one_destination);
    RUN(ports_to_other_destinations);
    RUN(r52_a_port_in_use_is_skipped);
    return TEST_RESULT();
}
