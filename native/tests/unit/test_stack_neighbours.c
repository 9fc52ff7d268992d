/* SPDX-License-Identifier: Apache-2.0 */
/* A neighbour is asked for by one queue and answers to another: ARP comes to queue 0, ND to where
 * the NIC's hash of it points. */
#include "stack_rig.h"

enum { QUEUES = 4 };

static void on_server(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)e, (void)ev, (void)now, (void)ctx;
}

static void on_client(qs_engine *e, const struct qs_event *ev, qs_time now, void *ctx)
{
    (void)e, (void)now;
    if (ev->flags & QS_EVENT_OPEN)
        rig_add(ctx);
}

/* One connection alone, of `queue`, on a VLAN unless it is 0. */
static void open_on(uint16_t vlan, uint32_t queue, const qs_addr *to, uint32_t n_workers)
{
    static const char *const addr6[] = {"fd09::1/64", "fd09::2/64"};
    qs_stack_opts o[2];
    qs_stack *s[2];
    for (uint32_t side = 0; side < 2; side++) {
        o[side] = rig_stack_opts(side, QUEUES, side ? n_workers : 1);
        o[side].addr6 = addr6[side];
        o[side].vlans[0] = vlan;
        s[side] = rig_stack(&o[side]);
    }
    uint32_t n_open = 0;
    struct qs_open_opts open;
    qs_open_opts_init(&open);
    open.remote = *to;
    open.remote_port = RIG_PORT_LOW;
    open.vlan = vlan;
    rig_listen(s[0], RIG_PORT_LOW, 0, on_server, NULL, 0);
    REQUIRE(qs_stack_open(s[1], queue, &open, on_client, &n_open) == 0);
    rig_start(s[0]);
    rig_start(s[1]);
    CHECK(rig_wait_value(&n_open, 1));
    CHECK_EQ(rig_count(s[1], QS_COUNT_NEIGH_REQUESTS), 1);
    CHECK_EQ(rig_count(s[0], QS_COUNT_DROP_VLAN) + rig_count(s[1], QS_COUNT_DROP_VLAN), 0);
    for (uint32_t side = 2; side-- > 0;) {
        qs_stack_stop(s[side]);
        qs_stack_free(s[side]);
    }
}

static void open_one(uint32_t queue, const qs_addr *to, uint32_t n_workers)
{
    open_on(0, queue, to, n_workers);
}

static void whichever_queue_asks_over_ipv4(void)
{
    for (uint32_t queue = 0; queue < QUEUES; queue++)
        open_one(queue, &rig_server_addr, 1);
}

static const qs_addr server6 = {{0xfd, 9, [15] = 1}};

static void whichever_queue_asks_over_ipv6(void)
{
    for (uint32_t queue = 0; queue < QUEUES; queue++)
        open_one(queue, &server6, 1);
}

static void whichever_queue_asks_on_a_vlan(void)
{
    for (uint32_t queue = 0; queue < QUEUES; queue++) {
        open_on(5, queue, &rig_server_addr, 1);
        open_on(5, queue, &server6, QUEUES);
    }
}

static void vlans_that_cannot_be_are_refused(void)
{
    static const struct {
        const char *driver;
        uint16_t vlan;
        qs_err err;
        const char *words;
    } row[] = {{"pair", 4095, QS_ERR_ARG, "VLAN 4095 is outside of 1 to 4094"},
               {"xsk", 5, QS_ERR_NOTSUP, "VLAN 5: with xsk frames have no tag"}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        qs_stack *s;
        struct qs_diag diag = {""};
        qs_stack_opts o = rig_stack_opts(0, 1, 1);
        o.driver = row[i].driver;
        o.vlans[0] = row[i].vlan;
        CHECK_EQ(qs_stack_new(&s, &o, &diag), row[i].err);
        CHECK(strstr(diag.text, row[i].words));
    }
}

static void also_with_a_worker_for_each(void)
{
    for (uint32_t queue = 0; queue < QUEUES; queue++)
        open_one(queue, &rig_server_addr, QUEUES);
}

int main(void)
{
    rig_begin();
    RUN(whichever_queue_asks_over_ipv4);
    RUN(whichever_queue_asks_over_ipv6);
    RUN(also_with_a_worker_for_each);
    RUN(whichever_queue_asks_on_a_vlan);
    RUN(vlans_that_cannot_be_are_refused);
    rig_end();
    return TEST_RESULT();
}
