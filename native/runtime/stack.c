/* SPDX-License-Identifier: Apache-2.0 */
/* A stack from its options: device, engines, listeners, workers; and all of it away again. */
#include "runtime/stack.h"
#include "runtime/flows.h"
#include "runtime/guard.h"
#include "runtime/scale.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "io/clock.h"
#include "io/diag.h"
#include "io/iface.h"
#include "io/mem.h"
#include "io/softnic_lookup.h"
#include "qstack/qs_class.h"
#include "runtime/guard.h"

/* Local ports that qs_stack_open() tries to find one whose answers come to the right queue. */
#define PORT_FIRST 49152u
#define PORTS 16384u
/* A connection's buffers, unless options say otherwise: what a window without scaling can say, and
 * what a path of 100 ms needs for 300 Mbit/s. */
#define BUFFER_INITIAL (64u << 10)
#define BUFFER_MOST (4u << 20)
#define VLAN_MAX 4094u
#define SOURCE_RATE_MIN UINT64_C(1000)
#define SOURCE_RATE_MAX UINT64_C(1000000000000)
#define SHARE_DEFAULT 10u
#define RESERVED_DEFAULT 62u /* a sixteenth */

void qs_stack_opts_init(qs_stack_opts *o)
{
    qs_engine_opts e;
    qs_engine_opts_init(&e);
    *o = (qs_stack_opts){
        .size = sizeof *o,
        .driver = "pair",
        .ifname = "qs0",
        .n_queues = 1,
        .n_workers = 1,
        .first_cpu = -1,
        .conns_max = e.conns_max,
        .chunks_max = e.chunks_max,
        .rcvbuf_bytes = BUFFER_MOST,
        .sndbuf_bytes = BUFFER_MOST,
        .source_bits4 = e.source_bits4,
        .source_bits6 = e.source_bits6,
        .poll_idle = QS_US(50),
    };
    for (uint32_t p = 0; p < QS_N_PRIO; p++) {
        o->growth_bytes[p] = QS_GROWTH_DEFAULT;
        o->min_share_permille[p] = SHARE_DEFAULT;
        o->reserved_permille[p] = RESERVED_DEFAULT;
    }
}

static qs_err check_buffer(const qs_stack_opts *o, const char *what, uint32_t initial,
                           uint32_t most, struct qs_diag *diag)
{
    if (initial > most)
        return qs_fail(diag, QS_ERR_ARG,
                       "%s: a %s buffer begins with %u bytes, more than its %u at most", o->ifname,
                       what, initial, most);
    return 0;
}

static qs_err check_classes(const qs_stack_opts *o, struct qs_diag *diag)
{
    uint32_t shares = 0, reserved = 0;
    for (uint32_t p = 0; p < QS_N_PRIO; p++) {
        shares += o->min_share_permille[p];
        reserved += o->reserved_permille[p];
        if (o->dscp[p] > 63)
            return qs_fail(diag, QS_ERR_ARG, "%s: DSCP %u of class %u is above 63", o->ifname,
                           o->dscp[p], p);
    }
    if (shares > QS_SHARE_WHOLE)
        return qs_fail(diag, QS_ERR_ARG, "%s: minimum shares of all classes make %u of %u",
                       o->ifname, shares, QS_SHARE_WHOLE);
    if (reserved > QS_SHARE_WHOLE / 2)
        return qs_fail(diag, QS_ERR_ARG, "%s: %u of %u are reserved, half of them may be",
                       o->ifname, reserved, QS_SHARE_WHOLE);
    return 0;
}

static qs_err check_sources(const qs_stack_opts *o, struct qs_diag *diag)
{
    for (uint32_t p = 0; p < QS_N_PRIO; p++) {
        uint64_t rate = o->source_bytes_per_second[p];
        if (rate && (p == 0 || rate < SOURCE_RATE_MIN || rate > SOURCE_RATE_MAX))
            return qs_fail(diag, QS_ERR_ARG,
                           "%s: %" PRIu64 " bytes a second for a source in class %u: classes 1 to "
                           "7 may have %" PRIu64 " to %" PRIu64,
                           o->ifname, rate, p, SOURCE_RATE_MIN, SOURCE_RATE_MAX);
    }
    if (o->source_bits4 < 1 || o->source_bits4 > 32 || o->source_bits6 < 1 || o->source_bits6 > 128)
        return qs_fail(diag, QS_ERR_ARG,
                       "%s: prefixes of %u and %u bits for sources: 1 to 32 and 1 to 128 are "
                       "possible",
                       o->ifname, o->source_bits4, o->source_bits6);
    return 0;
}

static qs_err check_vlans(const qs_stack_opts *o, struct qs_diag *diag)
{
    for (uint32_t i = 0; i < QS_N_VLANS_MAX && o->vlans[i]; i++) {
        if (strcmp(o->driver, "xsk") == 0)
            return qs_fail(diag, QS_ERR_NOTSUP,
                           "%s: VLAN %u: with xsk frames have no tag, since the kernel knows the "
                           "neighbours of its own device only; use a port of the switch that "
                           "takes the tag off, or tap or pair",
                           o->ifname, o->vlans[i]);
        if (o->vlans[i] > VLAN_MAX)
            return qs_fail(diag, QS_ERR_ARG, "%s: VLAN %u is outside of 1 to %u", o->ifname,
                           o->vlans[i], VLAN_MAX);
    }
    return 0;
}

static qs_err check_opts(const qs_stack_opts *o, struct qs_diag *diag)
{
    if (o->size != sizeof *o)
        return qs_fail(diag, QS_ERR_ARG, "options were not made by qs_stack_opts_init()");
    if (!o->driver || !qs_driver_find(o->driver))
        return qs_fail(diag, QS_ERR_ARG, "there is no driver '%s': choose tap, xsk or pair",
                       o->driver ? o->driver : "");
    if (!o->ifname || !*o->ifname || strlen(o->ifname) > 31)
        return qs_fail(diag, QS_ERR_ARG, "the name of the device has to have 1 to 31 characters");
    if (o->n_queues == 0 || o->n_queues > QS_N_QUEUES_MAX)
        return qs_fail(diag, QS_ERR_ARG, "%s: %u queues asked for, 1 to %u are possible", o->ifname,
                       o->n_queues, QS_N_QUEUES_MAX);
    if (o->n_workers == 0 || o->n_workers > o->n_queues)
        return qs_fail(diag, QS_ERR_ARG, "%s: %u workers asked for, 1 to %u (one for each queue)",
                       o->ifname, o->n_workers, o->n_queues);
    if (o->workers_max && (o->workers_max < o->n_workers || o->workers_max > QS_N_QUEUES_MAX))
        return qs_fail(diag, QS_ERR_ARG, "%s: at most %u workers asked for, %u to %u are possible",
                       o->ifname, o->workers_max, o->n_workers, QS_N_QUEUES_MAX);
    if (o->workers_min > o->n_workers)
        return qs_fail(diag, QS_ERR_ARG, "%s: at least %u workers asked for, but %u at the start",
                       o->ifname, o->workers_min, o->n_workers);
    if (o->mtu && (o->mtu < 576 || o->mtu > 65535))
        return qs_fail(diag, QS_ERR_ARG, "%s: MTU %u is outside of 576 to 65535", o->ifname,
                       o->mtu);
    if (!o->addr4 && !o->addr6 && strcmp(o->driver, "xsk") != 0)
        return qs_fail(diag, QS_ERR_ARG,
                       "%s: the %s driver needs an address, for example 10.0.0.2/24", o->ifname,
                       o->driver);
    qs_err err = check_classes(o, diag);
    if (!err)
        err = check_sources(o, diag);
    if (!err)
        err = check_vlans(o, diag);
    if (!err)
        err = check_buffer(o, "receive", o->rcvbuf_initial_bytes, o->rcvbuf_bytes, diag);
    return err ? err : check_buffer(o, "send", o->sndbuf_initial_bytes, o->sndbuf_bytes, diag);
}

/* ---- addresses ---- */

static qs_err add_address(struct qs_stack *s, const qs_addr *addr, uint32_t prefix_len,
                          struct qs_diag *diag)
{
    for (uint32_t q = 0; q < s->opts.n_queues; q++) {
        qs_err err = qs_engine_addr_add(s->queues[q].engine, addr, prefix_len);
        if (err)
            return qs_fail(diag, err, "%s: a local address is not usable, or there are too many",
                           s->ifname);
    }
    return 0;
}

static qs_err add_cidr(struct qs_stack *s, const char *cidr, struct qs_diag *diag)
{
    struct qs_iface_addr a;
    if (!cidr)
        return 0;
    qs_err err = qs_cidr_parse(&a, cidr, diag);
    return err ? err : add_address(s, &a.addr, a.prefix_len, diag);
}

/* fe80::/64 with the modified EUI-64 of the MAC, RFC 4291 appendix A. */
static qs_err add_link_local(struct qs_stack *s, struct qs_diag *diag)
{
    const uint8_t *m = s->driver->caps.mac;
    qs_addr a = {{0xfe, 0x80, [8] = m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}};
    return add_address(s, &a, 64, diag);
}

static qs_err set_gateway(struct qs_stack *s, const qs_addr *gateway)
{
    static const qs_addr any;
    if (memcmp(gateway, &any, sizeof any) == 0)
        return 0;
    for (uint32_t q = 0; q < s->opts.n_queues; q++) {
        qs_err err = qs_engine_gateway_set(s->queues[q].engine, gateway);
        if (err)
            return err;
    }
    return 0;
}

static qs_err set_gateway_text(struct qs_stack *s, const char *text, struct qs_diag *diag)
{
    struct qs_iface_addr a;
    if (!text)
        return 0;
    if (strchr(text, '/') || qs_cidr_parse(&a, text, diag) || set_gateway(s, &a.addr))
        return qs_fail(diag, QS_ERR_ARG, "%s: '%s' is not the address of a gateway", s->ifname,
                       text);
    return 0;
}

/* With xsk everything that was not said is taken from the kernel, which also resolves neighbours.
 */
static qs_err take_from_kernel(struct qs_stack *s, struct qs_diag *diag)
{
    struct qs_iface iface;
    qs_err err = qs_iface_read(&iface, s->ifname, diag);
    for (uint32_t i = 0; i < iface.n_addrs && !err; i++)
        if (!s->opts.addr4 && !s->opts.addr6)
            err = add_address(s, &iface.addrs[i].addr, iface.addrs[i].prefix_len, diag);
    if (!err && iface.n_addrs == 0 && !s->opts.addr4 && !s->opts.addr6)
        err = qs_fail(diag, QS_ERR_ADDRNOTAVAIL,
                      "%s has no address; give it one with 'ip addr add 192.0.2.1/24 dev %s'",
                      s->ifname, s->ifname);
    if (!err)
        err = set_gateway(s, &iface.gateway4);
    if (!err)
        err = set_gateway(s, &iface.gateway6);
    return err ? err : qs_neighbours_start(s, iface.index, diag);
}

static qs_err add_vlans(struct qs_stack *s, struct qs_diag *diag)
{
    for (uint32_t q = 0; q < s->opts.n_queues; q++)
        for (uint32_t i = 0; i < QS_N_VLANS_MAX && s->opts.vlans[i]; i++) {
            qs_err err = qs_engine_vlan_add(s->queues[q].engine, s->opts.vlans[i]);
            if (err)
                return qs_fail(diag, err, "%s: VLAN %u is not usable", s->ifname, s->opts.vlans[i]);
        }
    return 0;
}

static qs_err configure(struct qs_stack *s, struct qs_diag *diag)
{
    const qs_stack_opts *o = &s->opts;
    qs_err err = add_cidr(s, o->addr4, diag);
    if (!err)
        err = add_cidr(s, o->addr6, diag);
    if (!err && s->driver->caps.told_neighbours)
        err = take_from_kernel(s, diag);
    else if (!err && o->addr6)
        err = add_link_local(s, diag);
    if (!err)
        err = add_vlans(s, diag);
    if (!err)
        err = set_gateway_text(s, o->gateway4, diag);
    return err ? err : set_gateway_text(s, o->gateway6, diag);
}

/* ---- engines ---- */

static uint32_t initial_or_default(uint32_t initial, uint32_t most)
{
    if (initial)
        return initial;
    return most < BUFFER_INITIAL ? most : BUFFER_INITIAL;
}

static void choose_buffers(qs_engine_opts *e, const qs_stack_opts *o)
{
    e->rcvbuf_bytes = o->rcvbuf_bytes;
    e->sndbuf_bytes = o->sndbuf_bytes;
    e->rcvbuf_initial_bytes = initial_or_default(o->rcvbuf_initial_bytes, o->rcvbuf_bytes);
    e->sndbuf_initial_bytes = initial_or_default(o->sndbuf_initial_bytes, o->sndbuf_bytes);
    for (uint32_t p = 0; p < QS_N_PRIO; p++)
        e->growth_bytes[p] = o->growth_bytes[p] == QS_GROWTH_DEFAULT
                                 ? (uint64_t)o->chunks_max * QS_CHUNK_BYTES / 4
                                 : o->growth_bytes[p];
}

static qs_err make_queue(struct qs_stack *s, uint32_t idx, struct qs_diag *diag)
{
    const struct qs_driver_caps *caps = &s->driver->caps;
    struct qs_queue *q = &s->queues[idx];
    qs_engine_opts e;
    qs_engine_opts_init(&e);
    e.id = idx;
    e.conns_max = s->opts.conns_max;
    e.source_bits4 = s->opts.source_bits4;
    e.source_bits6 = s->opts.source_bits6;
    e.chunks_max = s->opts.chunks_max;
    choose_buffers(&e, &s->opts);
    e.mtu = caps->mtu;
    e.offloads = caps->offloads;
    e.gso_max_bytes = caps->gso_max_bytes;
    e.neigh_mode = caps->told_neighbours ? QS_NEIGH_TOLD : QS_NEIGH_OWN;
    memcpy(e.mac, caps->mac, sizeof e.mac);
    if (getrandom(e.secret, sizeof e.secret, 0) != (ssize_t)sizeof e.secret)
        return qs_fail(diag, QS_ERR_SYS, "no random bytes: %s", strerror(errno));
    pthread_mutex_init(&q->mail.lock, NULL);
    q->stack = s;
    q->idx = idx;
    q->conns_max = e.conns_max;
    qs_err err = qs_engine_new(&q->engine, &e, &qs_mem_pages);
    if (!err)
        q->slots = qs_mem_pages.alloc(NULL, q->conns_max * sizeof *q->slots);
    if (!err && !q->slots)
        err = QS_ERR_NOMEM;
    if (!err)
        err = qs_flows_init_queue(q);
    if (err)
        return qs_fail(
            diag, err,
            "%s: no engine with %u connections, %u chunks, buffers of %u to %u and %u to %u "
            "bytes, MTU %u: %s",
            s->ifname, e.conns_max, e.chunks_max, e.rcvbuf_initial_bytes, e.rcvbuf_bytes,
            e.sndbuf_initial_bytes, e.sndbuf_bytes, e.mtu, qs_strerror(err));
    return 0;
}

static qs_err make_workers(struct qs_stack *s, struct qs_diag *diag)
{
    size_t bytes = s->opts.workers_max * sizeof *s->workers;
    s->workers = aligned_alloc(64, bytes);
    if (!s->workers)
        return qs_fail(diag, QS_ERR_NOMEM, "no memory for %u workers", s->opts.workers_max);
    memset(s->workers, 0, bytes);
    qs_err err = 0;
    for (uint32_t w = 0; w < s->opts.workers_max && !err; w++)
        err = qs_worker_init(&s->workers[w], s, w, diag);
    for (uint32_t q = 0; q < s->opts.n_queues && !err; q++)
        qs_queue_place(s, q, q % s->opts.n_workers);
    return err;
}

static qs_err open_driver(struct qs_stack *s, struct qs_diag *diag)
{
    const qs_stack_opts *o = &s->opts;
    const struct qs_driver_opts d = {
        .ifname = s->ifname,
        .n_queues = o->n_queues,
        .mtu = o->mtu,
        .host_addr4 = o->host_addr4,
        .host_addr6 = o->host_addr6,
        .pair_side = o->pair_side,
        .no_offload = o->no_offload,
    };
    return qs_driver_find(o->driver)->open(&s->driver, &d, diag);
}

qs_err qs_stack_new(qs_stack **out, const qs_stack_opts *o, struct qs_diag *diag)
{
    *out = NULL;
    qs_err err = check_opts(o, diag);
    if (err)
        return err;
    struct qs_stack *s = qs_mem_pages.alloc(NULL, sizeof *s);
    if (!s)
        return qs_fail(diag, QS_ERR_NOMEM, "no memory for a stack");
    s->opts = *o;
    s->opts.workers_max = o->workers_max ? o->workers_max : o->n_workers;
    pthread_mutex_init(&s->lock, NULL);
    qs_arrivals_init(&s->arrivals);
    (void)snprintf(s->ifname, sizeof s->ifname, "%s", o->ifname);
    err = qs_flows_new(s) == 0 ? open_driver(s, diag)
                               : qs_fail(diag, QS_ERR_NOMEM, "no memory for a stack");
    for (uint32_t q = 0; q < o->n_queues && !err; q++)
        err = make_queue(s, q, diag);
    if (!err)
        err = make_workers(s, diag);
    if (!err)
        err = configure(s, diag);
    if (err) {
        qs_stack_free(s);
        return err;
    }
    /* The strings were borrowed. */
    s->opts.driver = s->driver->ops->name;
    s->opts.ifname = s->ifname;
    s->opts.addr4 = s->opts.addr6 = s->opts.host_addr4 = s->opts.host_addr6 = NULL;
    s->opts.gateway4 = s->opts.gateway6 = NULL;
    *out = s;
    return 0;
}

/* ---- listening and opening ---- */

void qs_stack_listen_init(struct qs_stack_listen *l)
{
    *l = (struct qs_stack_listen){.size = sizeof *l};
    qs_listen_opts_init(&l->l);
}

static void unlisten_queues(struct qs_stack *s, uint32_t n_queues, int number)
{
    for (uint32_t q = 0; q < n_queues; q++)
        (void)!qs_engine_unlisten(s->queues[q].engine, number);
}

static qs_err check_sizes(const struct qs_stack *s, const struct qs_listen_opts *l,
                          struct qs_diag *diag)
{
    const struct qs_conn_opts *c = &l->conn;
    if (c->rcvbuf_bytes <= s->opts.rcvbuf_bytes && c->sndbuf_bytes <= s->opts.sndbuf_bytes)
        return 0;
    return qs_fail(diag, QS_ERR_ARG,
                   "port %u: buffers of %u bytes to receive and %u to send, the stack's most are "
                   "%u and %u",
                   l->port, c->rcvbuf_bytes, c->sndbuf_bytes, s->opts.rcvbuf_bytes,
                   s->opts.sndbuf_bytes);
}

/* A message of the split layout is one record. */
static qs_err check_messages(const struct qs_stack *s, const struct qs_stack_listen *l,
                             struct qs_diag *diag)
{
    uint32_t most = qs_engine_message_max(s->queues[0].engine, l->l.messages);
    size_t room = l->inline_fn ? SIZE_MAX : s->apps[l->app]->ring_bytes / 2;
    if (most <= room)
        return 0;
    return qs_fail(diag, QS_ERR_ARG,
                   "port %u: messages of up to %u bytes, half of the application's ring has %zu",
                   l->l.port, most, room);
}

/* All engines have the same listeners under the same numbers. @return the number or QS_ERR_*. */
static int listen_on_queues(struct qs_stack *s, const struct qs_stack_listen *l,
                            struct qs_diag *diag)
{
    int number = 0;
    for (uint32_t q = 0; q < s->opts.n_queues; q++) {
        int got = qs_engine_listen(s->queues[q].engine, &l->l);
        if (got >= 0) {
            number = got;
            continue;
        }
        unlisten_queues(s, q, number);
        return qs_fail(diag, got, "%s: cannot listen on port %u in class %u, %s: %s", s->ifname,
                       l->l.port, l->l.prio,
                       l->l.conn.cc ? l->l.conn.cc : "default congestion control",
                       qs_strerror(got));
    }
    return number;
}

/* Classes that listeners use have their shares; all but the least urgent of them what is reserved.
 */
static void share_out(struct qs_stack *s)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < s->n_listeners; i++)
        used |= s->listeners[i].classes;
    uint32_t above = used & (used - 1);
    for (uint32_t q = 0; q < s->opts.n_queues; q++)
        for (uint32_t p = 0; p < QS_N_PRIO; p++) {
            uint32_t reserved = above >> p & 1 ? s->opts.reserved_permille[p] : 0;
            struct qs_class_opts o;
            qs_class_opts_init(&o);
            o.min_share_permille = s->opts.min_share_permille[p];
            o.dscp = s->opts.dscp[p];
            o.source_bytes_per_second = s->opts.source_bytes_per_second[p];
            o.chunks_reserved = (uint32_t)((uint64_t)s->opts.chunks_max * reserved / 1000);
            o.conns_reserved = (uint32_t)((uint64_t)s->opts.conns_max * reserved / 1000);
            (void)!qs_engine_class_set(s->queues[q].engine, p, &o); /* checked with the options */
        }
}

/* Classes, and that as which sources are served which had their rate in one of them. */
static uint32_t with_least(const struct qs_stack *s, uint32_t classes)
{
    for (uint32_t p = 0; p < QS_N_PRIO; p++)
        if (classes >> p & 1 && s->opts.source_bytes_per_second[p])
            return classes | 1;
    return classes;
}

int qs_stack_listen(qs_stack *s, const struct qs_stack_listen *l, struct qs_diag *diag)
{
    if (l->size != sizeof *l)
        return qs_fail(diag, QS_ERR_ARG, "options were not made by qs_stack_listen_init()");
    if (s->running)
        return qs_fail(diag, QS_ERR_STATE, "%s: listeners are made before the stack runs",
                       s->ifname);
    if (s->n_listeners == QS_N_HANDLERS_MAX)
        return qs_fail(diag, QS_ERR_NOMEM, "%s: %u listeners are the most", s->ifname,
                       QS_N_HANDLERS_MAX);
    if (!l->inline_fn && (l->app >= s->n_apps || !s->apps[l->app]))
        return qs_fail(diag, QS_ERR_ARG, "port %u: there is no application thread %u", l->l.port,
                       l->app);
    qs_err wrong = check_sizes(s, &l->l, diag);
    if (!wrong)
        wrong = check_messages(s, l, diag);
    if (wrong)
        return wrong;
    int number = listen_on_queues(s, l, diag);
    if (number < 0)
        return number;
    qs_err err = s->driver->ops->claim(s->driver, &l->l.addr, l->l.port, diag);
    if (err) {
        unlisten_queues(s, s->opts.n_queues, number);
        return err;
    }
    s->listeners[number] = (struct qs_handler){
        .fn = l->inline_fn,
        .ctx = l->inline_ctx,
        .app = l->inline_fn ? NULL : s->apps[l->app],
        .classes = with_least(s, 1u << l->l.prio |
                                     qs_engine_message_classes(s->queues[0].engine, l->l.messages)),
        .framed = qs_engine_message_max(s->queues[0].engine, l->l.messages) > 0,
        .user = l->l.user,
    };
    s->listener_addrs[number] = l->l.addr;
    s->listener_ports[number] = l->l.port;
    s->n_listeners = (uint32_t)number + 1;
    share_out(s);
    return number;
}

/* Queue on which the answers to this connection's segments arrive, by the software NIC. */
static uint32_t answer_queue(const struct qs_stack *s, const qs_addr *local, uint16_t local_port,
                             const struct qs_open_opts *o)
{
    struct qs_softnic_key key;
    struct qs_softnic_verdict v;
    memset(&key, 0, sizeof key);
    memcpy(key.src, &o->remote, 16);
    memcpy(key.dst, local, 16);
    key.sport[0] = (uint8_t)(o->remote_port >> 8);
    key.sport[1] = (uint8_t)o->remote_port;
    key.dport[0] = (uint8_t)(local_port >> 8);
    key.dport[1] = (uint8_t)local_port;
    key.proto = 6;
    key.present = QS_SOFTNIC_HAS_L4;
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    key.family = memcmp(&o->remote, mapped, sizeof mapped) == 0 ? 4 : 6;
    return qs_softnic_decide(s->driver->softnic, &key, &v);
}

/* Opens from a local port whose answers come to `queue`, where that can be told. */
static qs_err open_on_queue(struct qs_stack *s, uint32_t queue, const struct qs_open_opts *o,
                            qs_time now, qs_conn *conn)
{
    qs_engine *e = s->queues[queue].engine;
    if (!s->driver->softnic || s->opts.n_queues == 1 || o->local_port)
        return qs_conn_open(e, o, now, conn);
    static const qs_addr any;
    struct qs_open_opts mine = *o;
    qs_err err = 0;
    if (memcmp(&o->local, &any, sizeof any) == 0)
        err = qs_engine_local_for(e, &o->remote, &mine.local);
    if (err)
        return err;
    uint32_t start;
    if (getrandom(&start, sizeof start, 0) != (ssize_t)sizeof start)
        start = (uint32_t)now.ns;
    for (uint32_t i = 0; i < PORTS; i++) {
        mine.local_port = (uint16_t)(PORT_FIRST + (start + i) % PORTS);
        if (answer_queue(s, &mine.local, mine.local_port, o) != queue)
            continue;
        err = qs_conn_open(e, &mine, now, conn);
        if (err != QS_ERR_ADDRINUSE)
            return err;
    }
    return QS_ERR_ADDRINUSE;
}

qs_err qs_stack_open(qs_stack *s, uint32_t queue, const struct qs_open_opts *o, qs_inline_fn fn,
                     void *ctx)
{
    if (queue >= s->opts.n_queues || !fn)
        return QS_ERR_ARG;
    qs_conn conn;
    qs_err err = open_on_queue(s, queue, o, qs_clock_now(), &conn);
    if (err)
        return err;
    s->queues[queue].slots[qs_slot_of(conn)] = (struct qs_worker_slot){.fn = fn, .ctx = ctx};
    struct qs_conn_info info;
    struct qs_diag ignored;
    if (qs_conn_info(s->queues[queue].engine, conn, &info) == 0)
        err = s->driver->ops->claim(s->driver, &info.local, info.local_port, &ignored);
    if (err)
        (void)qs_conn_abort(s->queues[queue].engine, conn);
    return err;
}

/* ---- running ---- */

/* A listener whose application thread was freed has nobody to tell. */
static qs_err check_listeners(const struct qs_stack *s, struct qs_diag *diag)
{
    for (uint32_t i = 0; i < s->n_listeners; i++) {
        const struct qs_handler *h = &s->listeners[i];
        bool served = h->fn != NULL || s->listener_ports[i] == 0;
        for (uint32_t a = 0; a < s->n_apps && !served; a++)
            served = s->apps[a] == h->app;
        if (!served)
            return qs_fail(diag, QS_ERR_STATE,
                           "%s: the application thread of port %u was freed; stop is final then",
                           s->ifname, s->listener_ports[i]);
    }
    return 0;
}

/* Moves that nobody is there for are carried out. */
static void set_running(struct qs_stack *s, bool running)
{
    pthread_mutex_lock(&s->lock);
    s->running = running;
    if (!running) {
        qs_moves_settle(s);
        qs_flows_settle(s);
    }
    pthread_mutex_unlock(&s->lock);
}

qs_err qs_stack_start(qs_stack *s, struct qs_diag *diag)
{
    if (s->running)
        return qs_fail(diag, QS_ERR_STATE, "%s: the stack runs already", s->ifname);
    qs_err err = check_listeners(s, diag);
    for (uint32_t i = 0; i < s->n_apps && !err; i++)
        if (s->apps[i])
            err = qs_app_open_channels(s->apps[i], diag);
    __atomic_store_n(&s->stopping, 0, __ATOMIC_RELEASE);
    set_running(s, true);
    for (uint32_t w = 0; w < s->opts.workers_max && !err; w++)
        if (s->workers[w].state != QS_WORKER_ABSENT)
            err = qs_worker_start(&s->workers[w], diag);
    if (!err)
        err = qs_scale_start(s, diag);
    if (err)
        qs_stack_stop(s);
    return err;
}

void qs_stack_stop(qs_stack *s)
{
    qs_scale_stop(s);
    __atomic_store_n(&s->stopping, 1, __ATOMIC_SEQ_CST);
    for (uint32_t w = 0; s->workers && w < s->opts.workers_max; w++)
        qs_worker_join(&s->workers[w]);
    qs_scale_free(s);
    if (s->running)
        set_running(s, false);
}

/* Tells every peer that its connection is over. */
static void reset_connections(struct qs_stack *s, struct qs_queue *q)
{
    struct qs_frame frames[64];
    qs_time now = qs_clock_now();
    while (qs_engine_abort_some(q->engine, 32) > 0) {
        size_t lent = s->driver->ops->tx_reserve(s->driver, q->idx, frames, 64);
        size_t used = qs_engine_tx(q->engine, frames, lent, now);
        s->driver->ops->tx_commit(s->driver, q->idx, frames, lent, used);
    }
}

void qs_stack_free(qs_stack *s)
{
    if (!s)
        return;
    qs_stack_stop(s);
    qs_neighbours_stop(s);
    for (uint32_t q = 0; q < s->opts.n_queues; q++) {
        struct qs_queue *k = &s->queues[q];
        if (!k->engine)
            continue;
        pthread_mutex_destroy(&k->mail.lock);
        if (s->driver)
            reset_connections(s, k);
        qs_engine_free(k->engine);
        if (k->slots)
            qs_mem_pages.free(NULL, k->slots, k->conns_max * sizeof *k->slots);
    }
    qs_flows_free(s);
    for (uint32_t w = 0; s->workers && w < s->opts.workers_max; w++)
        qs_worker_fini(&s->workers[w]);
    free(s->workers);
    qs_guards_free(s->guards);
    for (uint32_t i = 0; i < s->n_listeners; i++)
        s->driver->ops->unclaim(s->driver, &s->listener_addrs[i], s->listener_ports[i]);
    if (s->driver)
        s->driver->ops->close(s->driver);
    qs_arrivals_fini(&s->arrivals);
    pthread_mutex_destroy(&s->lock);
    qs_mem_pages.free(NULL, s, sizeof *s);
}

/* ---- figures ---- */

void qs_stack_info(const qs_stack *s, struct qs_stack_info *out)
{
    const struct qs_driver_caps *caps = &s->driver->caps;
    memset(out, 0, sizeof *out);
    (void)snprintf(out->driver, sizeof out->driver, "%s", s->driver->ops->name);
    (void)snprintf(out->ifname, sizeof out->ifname, "%s", s->ifname);
    memcpy(out->mode, caps->mode, sizeof out->mode);
    out->n_queues = s->opts.n_queues;
    out->n_workers = s->opts.n_workers;
    out->workers_max = s->opts.workers_max;
    out->offloads = caps->offloads;
    out->rx_csum = caps->rx_csum;
    out->soft_nic = s->driver->softnic != NULL;
    out->mtu = caps->mtu;
    memcpy(out->mac, caps->mac, sizeof out->mac);
}

size_t qs_stack_counters(const qs_stack *s, uint32_t queue, uint64_t *out, size_t n)
{
    return queue < s->opts.n_queues ? qs_engine_counters(s->queues[queue].engine, out, n) : 0;
}

size_t qs_stack_residency(const qs_stack *s, uint32_t prio, enum qs_stage stage, uint64_t *counts,
                          size_t n)
{
    if (prio >= QS_N_PRIO || (uint32_t)stage >= QS_N_STAGES)
        return 0;
    n = n < QS_RESIDENCY_BUCKETS ? n : QS_RESIDENCY_BUCKETS;
    memset(counts, 0, n * sizeof *counts);
    for (uint32_t q = 0; q < s->opts.n_queues; q++)
        qs_residency_sum(qs_engine_residency(s->queues[q].engine), stage, prio, counts, n);
    for (uint32_t a = 0; a < s->n_apps; a++)
        if (s->apps[a])
            qs_residency_sum(&s->apps[a]->residency, stage, prio, counts, n);
    return n;
}

bool qs_stack_slowest(const qs_stack *s, uint32_t prio, struct qs_timeline *out)
{
    struct qs_timeline one;
    bool any = false;
    for (uint32_t q = 0; prio < QS_N_PRIO && q < s->opts.n_queues; q++)
        if (qs_trace_slowest(s->queues[q].engine, prio, &one) &&
            (!any || qs_timeline_ns(&one) > qs_timeline_ns(out))) {
            *out = one;
            any = true;
        }
    return any;
}

size_t qs_stack_class_counters(const qs_stack *s, uint32_t queue, uint32_t prio, uint64_t *out,
                               size_t n)
{
    if (queue >= s->opts.n_queues)
        return 0;
    return qs_engine_class_counters(s->queues[queue].engine, prio, out, n);
}
