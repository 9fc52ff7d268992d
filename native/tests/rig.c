/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include "audit.h"

#define QUEUE_MAX 512u
/* A timer may be a tick of 65.5 us late and its time is rounded up to one; that adds up over
 * several of them. */
#define LATE_NS 900000u

static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1}, peer_mac[6] = {2, 0, 0, 0, 0, 2};

/* Octet `at` of either stream; `salt` tells them apart. */
static uint8_t octet(uint32_t at, uint32_t salt)
{
    return (uint8_t)((at * 2654435761u) >> 23 ^ salt);
}
#define FROM_PEER 0x5au
#define FROM_ENGINE 0xc3u

static qs_addr addr(bool v6, uint8_t last)
{
    qs_addr a4 = {{[10] = 0xff, [11] = 0xff, [12] = 10, [15] = last}};
    qs_addr a6 = {{0xfd, [15] = last}};
    return v6 ? a6 : a4;
}

qs_addr rig_addr(const struct rig *r)
{
    return addr(r->v6, 1);
}

qs_addr rig_peer(const struct rig *r)
{
    return addr(r->v6, 2);
}

qs_time rig_now(const struct rig *r)
{
    return (qs_time){r->now_ns};
}

/* ---- life ---- */

qs_engine_opts rig_opts(void)
{
    qs_engine_opts o;
    qs_engine_opts_init(&o);
    o.conns_max = 256;
    o.chunks_max = 1024;
    o.neigh_mode = QS_NEIGH_TOLD;
    memcpy(o.mac, mac, 6);
    for (uint8_t i = 0; i < sizeof o.secret; i++)
        o.secret[i] = (uint8_t)(i * 7 + 1);
    return o;
}

static qs_engine *make_engine(const qs_engine_opts *o, const struct rig *r)
{
    qs_engine *e;
    struct qs_mem mem = test_mem();
    REQUIRE(qs_engine_new(&e, o, &mem) == 0);
    for (int v6 = 0; v6 < (o->mtu < 1280 ? 1 : 2); v6++) {
        qs_addr own = addr(v6, 1);
        REQUIRE(qs_engine_addr_add(e, &own, v6 ? 64 : 24) == 0);
    }
    qs_addr peer = rig_peer(r);
    REQUIRE(qs_engine_neigh_set(e, &peer, peer_mac, rig_now(r)) == 0);
    return e;
}

/* The clock part of an ISN is the time in units of 2^12 ns (RFC 6528 section 3). A first engine
 * tells what is added to it for our tuple; from that follows when it will be RIG_ISN. */
static void choose_start(struct rig *r, const qs_engine_opts *o)
{
    static struct frame out;
    struct qs_frame f = {.data = out.b, .room = FRAME_ROOM_BYTES};
    r->start_ns = r->now_ns = 1u << 30;
    r->e = make_engine(o, r);
    rig_open(r);
    REQUIRE(qs_engine_tx(r->e, &f, 1, rig_now(r)) == 1);
    uint32_t keyed = be(frame_l4(&out) + 4, 4) - (uint32_t)(r->start_ns >> 12);
    qs_engine_free(r->e);
    r->start_ns = r->now_ns = ((1ull << 32) + (RIG_ISN - keyed)) << 12;
    r->conn.v = 0;
}

/* The queue of a rig that is gone serves the next one: it is large, and some programs make rigs by
 * the thousand. */
static struct frame *spare_queue;

struct rig *rig_new(const qs_engine_opts *o, bool v6)
{
    qs_engine_opts plain = rig_opts();
    struct rig *r = calloc(1, sizeof *r);
    REQUIRE(r);
    o = o ? o : &plain;
    r->mem_before = test_mem_live();
    r->v6 = v6;
    r->wnd = 65535;
    r->syn_opts = "mss 1000";
    r->queue = spare_queue ? spare_queue : malloc(QUEUE_MAX * sizeof *r->queue);
    spare_queue = NULL;
    r->left_ns = malloc(QUEUE_MAX * sizeof *r->left_ns);
    REQUIRE(r->queue && r->left_ns);
    choose_start(r, o);
    r->e = make_engine(o, r);
    r->iss = RIG_ISN;
    return r;
}

void rig_audit(const struct rig *r)
{
    const char *broken = audit(r->e);
    if (!broken)
        return;
    fprintf(stderr, "%s\n", broken);
    exit(1);
}

void rig_free(struct rig *r)
{
    rig_audit(r);
    qs_engine_free(r->e);
    REQUIRE(test_mem_live() == r->mem_before);
    free(spare_queue);
    spare_queue = r->queue;
    free(r->left_ns);
    free(r);
}

/* ---- looking in ---- */

uint64_t rig_count(const struct rig *r, enum qs_counter which)
{
    uint64_t all[QS_N_COUNTERS];
    REQUIRE(qs_engine_counters(r->e, all, QS_N_COUNTERS) == QS_N_COUNTERS);
    return all[which];
}

struct qs_conn_info rig_info(const struct rig *r)
{
    struct qs_conn_info i;
    REQUIRE(qs_conn_info(r->e, r->conn, &i) == 0);
    return i;
}

enum qs_tcp_state rig_state(const struct rig *r)
{
    struct qs_conn_info i;
    return qs_conn_info(r->e, r->conn, &i) ? QS_TCP_CLOSED : i.state;
}

uint32_t rig_event(struct rig *r)
{
    r->ev = (struct qs_event){0};
    if (qs_engine_events(r->e, &r->ev, 1) && r->ev.flags & QS_EVENT_OPEN)
        r->conn = r->ev.conn;
    return r->ev.flags;
}

uint32_t rig_write(struct rig *r, uint32_t octets)
{
    uint8_t *buf = malloc(octets);
    REQUIRE(buf);
    for (uint32_t i = 0; i < octets; i++)
        buf[i] = octet(r->written + i, FROM_ENGINE);
    int64_t took = qs_conn_write(r->e, r->conn, buf, octets);
    free(buf);
    REQUIRE(took > 0 || took == QS_ERR_AGAIN);
    r->written += took > 0 ? (uint32_t)took : 0;
    return took > 0 ? (uint32_t)took : 0;
}

int64_t rig_read(struct rig *r, uint32_t octets_max)
{
    uint8_t *buf = malloc(octets_max);
    REQUIRE(buf);
    int64_t n = qs_conn_read(r->e, r->conn, buf, octets_max);
    for (int64_t i = 0; i < n; i++)
        REQUIRE(buf[i] == octet(r->read++, FROM_PEER));
    free(buf);
    return n;
}

/* ---- time and frames ---- */

static uint64_t at_ns(const struct rig *r, double ms)
{
    return r->start_ns + (uint64_t)(ms * 1e6 + 0.5);
}

/* One call of qs_engine_tx(). @return frames that left. */
static size_t transmit(struct rig *r)
{
    struct qs_frame f[16] = {{0}};
    size_t room = QUEUE_MAX - r->n_queue < 16 ? QUEUE_MAX - r->n_queue : 16;
    REQUIRE(room);
    for (size_t i = 0; i < room; i++) {
        f[i].data = r->queue[r->n_queue + i].b;
        f[i].room = FRAME_ROOM_BYTES;
    }
    size_t n = qs_engine_tx(r->e, f, room, rig_now(r));
    for (size_t i = 0; i < n; i++) {
        r->queue[r->n_queue].len = f[i].len;
        r->left_ns[r->n_queue++] = r->now_ns;
    }
    return n;
}

static void run_to(struct rig *r, uint64_t until_ns)
{
    uint32_t idle = 0;
    for (;;) {
        uint64_t next = qs_engine_deadline(r->e).ns;
        if (next > until_ns)
            break;
        if (next > r->now_ns)
            r->now_ns = next, idle = 0;
        if (transmit(r) == 0)
            REQUIRE(++idle < 10); /* a deadline that passes and brings nothing would spin */
    }
    if (until_ns > r->now_ns)
        r->now_ns = until_ns;
}

void rig_run(struct rig *r, double ms)
{
    run_to(r, at_ns(r, ms));
}

void rig_flush(struct rig *r)
{
    run_to(r, r->now_ns);
    r->n_queue = 0;
    REQUIRE(transmit(r) == 0); /* the gauges are published */
}

struct frame *rig_take(struct rig *r)
{
    static struct frame out;
    if (r->n_queue == 0)
        return NULL;
    out.len = r->queue[0].len;
    memcpy(out.b, r->queue[0].b, out.len);
    r->n_queue--;
    for (uint32_t i = 0; i < r->n_queue; i++) {
        r->left_ns[i] = r->left_ns[i + 1];
        r->queue[i].len = r->queue[i + 1].len;
        memcpy(r->queue[i].b, r->queue[i + 1].b, r->queue[i].len);
    }
    return &out;
}

static void hand_over(struct rig *r, const struct frame *f)
{
    uint8_t *exact = malloc(f->len ? f->len : 1); /* so that a sanitizer sees one byte too many */
    REQUIRE(exact);
    memcpy(exact, f->b, f->len);
    struct qs_frame q = {.data = exact, .len = f->len};
    qs_engine_rx(r->e, &q, 1, rig_now(r));
    free(exact);
}

void rig_frame(struct rig *r, double ms, const struct frame *f)
{
    rig_run(r, ms);
    hand_over(r, f);
}

void rig_build(const struct rig *r, struct frame *f, const struct seg *s)
{
    static uint8_t data[65536];
    struct wire_tcp t = {
        .src = rig_peer(r),
        .dst = rig_addr(r),
        .src_port = s->peer_port ? s->peer_port : RIG_PEER_PORT,
        .dst_port = s->port ? s->port : RIG_PORT,
        .seq = RIG_ISN + s->seq,
        .ack = strchr(s->flags, '.') ? r->iss + s->ack : s->ack,
        .len = s->len,
        .wnd = s->wnd ? s->wnd : r->wnd,
        .data = data,
        .ecn = s->ecn,
    };
    for (uint32_t i = 0; i < s->len; i++)
        data[i] = octet(s->seq - 1 + i, FROM_PEER);
    snprintf(t.flags, sizeof t.flags, "%s", s->flags);
    snprintf(t.opts, sizeof t.opts, "%s", s->opts ? s->opts : "");
    frame_tcp(f, &t);
}

void rig_in(struct rig *r, double ms, const struct seg *s)
{
    static struct frame f;
    rig_build(r, &f, s);
    rig_frame(r, ms, &f);
}

void rig_in_behind(struct rig *r, const struct seg *s)
{
    static struct frame f;
    rig_build(r, &f, s);
    hand_over(r, &f);
}

void rig_icmp_build(const struct rig *r, struct frame *f, const struct icmp *x)
{
    static struct frame quoted;
    static const uint8_t nothing[65536];
    struct wire_tcp t = {
        .src = rig_addr(r),
        .dst = rig_peer(r),
        .src_port = RIG_PORT,
        .dst_port = RIG_PEER_PORT,
        .seq = r->iss + x->seq,
        .ack = RIG_ISN + 1,
        .len = x->len,
        .flags = ".",
        .data = nothing,
    };
    frame_tcp(&quoted, &t);
    frame_icmp_error(f, x->type, x->code, x->word, quoted.b + FRAME_ETH, r->v6 ? 60 : 28);
}

void rig_icmp(struct rig *r, double ms, const struct icmp *x)
{
    static struct frame f;
    rig_icmp_build(r, &f, x);
    rig_frame(r, ms, &f);
}

void rig_too_big(struct rig *r, double ms, uint32_t mtu, uint32_t seq, uint32_t len)
{
    rig_icmp(r, ms, &(struct icmp){r->v6 ? 2 : 3, r->v6 ? 0 : 4, mtu, seq, len});
}

static void strip(char *flags, char which)
{
    char *at = strchr(flags, which);
    if (at)
        memmove(at, at + 1, strlen(at));
}

/* The oldest segment that left, with relative numbers. */
static bool take_segment(struct rig *r)
{
    struct frame *f = rig_take(r);
    if (!f)
        return false;
    if (!frame_is_tcp(f)) {
        fprintf(stderr, "a frame of type 0x%04x that is not TCP left\n", be(f->b + 12, 2));
        return false;
    }
    REQUIRE(memcmp(f->b, peer_mac, 6) == 0 && memcmp(f->b + 6, mac, 6) == 0);
    frame_parse_tcp(f, &r->last);
    qs_addr own = rig_addr(r), peer = rig_peer(r);
    REQUIRE(memcmp(&r->last.src, &own, 16) == 0 && memcmp(&r->last.dst, &peer, 16) == 0);
    if (r->last.len == 0) /* PSH on nothing says nothing */
        strip(r->last.flags, 'P');
    r->last.seq -= r->iss;
    if (strchr(r->last.flags, '.'))
        r->last.ack -= RIG_ISN;
    return true;
}

static bool fits(const struct rig *r, const struct seg *s)
{
    const struct wire_tcp *t = &r->last;
    if (strcmp(t->flags, s->flags) != 0 || t->seq != s->seq || t->len != s->len ||
        t->ack != s->ack || t->ecn != s->ecn || (s->wnd && t->wnd != s->wnd) ||
        t->dst_port != (s->peer_port ? s->peer_port : RIG_PEER_PORT) ||
        t->src_port != (s->port ? s->port : RIG_PORT) ||
        (s->opts && !text_matches(t->opts, s->opts)))
        return false;
    for (uint32_t i = 0; i < t->len; i++)
        if (t->data[i] != octet(t->seq - 1 + i, FROM_ENGINE))
            return false;
    return true;
}

static void print_last(const struct rig *r, uint64_t left_ns)
{
    const struct wire_tcp *t = &r->last;
    fprintf(stderr, "left at %.3f ms: %s seq %u len %u ack %u wnd %u ecn %u ports %u > %u <%s>\n",
            (double)(left_ns - r->start_ns) / 1e6, t->flags, t->seq, t->len, t->ack, t->wnd, t->ecn,
            t->src_port, t->dst_port, t->opts);
}

bool rig_out(struct rig *r, double ms, const struct seg *s)
{
    uint64_t want_ns = at_ns(r, ms);
    while (r->n_queue == 0 && r->now_ns <= want_ns + LATE_NS) {
        uint64_t next = qs_engine_deadline(r->e).ns;
        if (next > want_ns + LATE_NS)
            break;
        run_to(r, next > r->now_ns ? next : r->now_ns);
    }
    uint64_t left_ns = r->n_queue ? r->left_ns[0] : 0;
    if (r->n_queue == 0) {
        fprintf(stderr, "nothing left by %.3f ms\n", ms);
        return false;
    }
    if (!take_segment(r))
        return false;
    if (fits(r, s) && left_ns >= want_ns && left_ns <= want_ns + LATE_NS)
        return true;
    print_last(r, left_ns);
    fprintf(stderr, "want    %.3f ms: %s seq %u len %u ack %u\n", ms, s->flags, s->seq, s->len,
            s->ack);
    return false;
}

bool rig_quiet(struct rig *r, double ms)
{
    if (r->now_ns < at_ns(r, ms))
        rig_run(r, ms);
    else
        run_to(r, r->now_ns);
    bool quiet = r->n_queue == 0;
    while (r->n_queue) {
        uint64_t left_ns = r->left_ns[0];
        if (take_segment(r))
            print_last(r, left_ns);
    }
    return quiet;
}

/* ---- states ---- */

void rig_listen(struct rig *r)
{
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = RIG_PORT;
    l.conn.cc = r->cc;
    REQUIRE(qs_engine_listen(r->e, &l) >= 0);
}

void rig_open(struct rig *r)
{
    struct qs_open_opts o;
    qs_open_opts_init(&o);
    o.remote = rig_peer(r);
    o.remote_port = RIG_PEER_PORT;
    o.local_port = RIG_PORT;
    o.conn.cc = r->cc;
    REQUIRE(qs_conn_open(r->e, &o, rig_now(r), &r->conn) == 0);
}

static void expect(struct rig *r, double ms, const struct seg *s)
{
    REQUIRE(rig_out(r, ms, s));
}

void rig_establish(struct rig *r, const char *syn_opts)
{
    rig_listen(r);
    rig_in(r, 0, &(struct seg){"S", 0, 0, 0, syn_opts ? syn_opts : r->syn_opts});
    expect(r, 0, &(struct seg){"S.", 0, 0, 1});
    rig_in(r, 10, &(struct seg){".", 1, 0, 1});
    REQUIRE(rig_event(r) == QS_EVENT_OPEN);
    r->seq = r->ack = 1;
}

static void to_fin_wait_1(struct rig *r)
{
    rig_run(r, 20);
    REQUIRE(qs_conn_shutdown(r->e, r->conn) == 0);
    expect(r, 20, &(struct seg){"F.", 1, 0, 1});
}

static void peer_closes(struct rig *r, double ms, uint32_t ack)
{
    rig_in(r, ms, &(struct seg){"F.", 1, 0, ack});
    expect(r, ms, &(struct seg){".", ack, 0, 2});
    REQUIRE(rig_event(r) == QS_EVENT_EOF);
    r->seq = 2;
}

void rig_to(struct rig *r, enum qs_tcp_state state)
{
    if (state == QS_TCP_SYN_SENT) {
        rig_open(r);
        expect(r, 0, &(struct seg){"S", 0, 0, 0});
        return;
    }
    if (state == QS_TCP_SYN_RECEIVED) {
        rig_listen(r);
        rig_in(r, 0, &(struct seg){"S", 0, 0, 0, r->syn_opts});
        expect(r, 0, &(struct seg){"S.", 0, 0, 1});
        r->seq = 1;
        return;
    }
    rig_establish(r, NULL);
    if (state == QS_TCP_CLOSE_WAIT || state == QS_TCP_LAST_ACK)
        peer_closes(r, 20, 1);
    if (state == QS_TCP_LAST_ACK) {
        REQUIRE(qs_conn_shutdown(r->e, r->conn) == 0);
        expect(r, 20, &(struct seg){"F.", 1, 0, 2});
    }
    if (state == QS_TCP_FIN_WAIT_1 || state == QS_TCP_FIN_WAIT_2 || state == QS_TCP_CLOSING ||
        state == QS_TCP_TIME_WAIT)
        to_fin_wait_1(r);
    if (state == QS_TCP_FIN_WAIT_2 || state == QS_TCP_TIME_WAIT) {
        rig_in(r, 30, &(struct seg){".", 1, 0, 2});
        r->ack = 2;
    }
    if (state == QS_TCP_CLOSING) {
        rig_in(r, 30, &(struct seg){"F.", 1, 0, 1});
        expect(r, 30, &(struct seg){".", 2, 0, 2});
        REQUIRE(rig_event(r) == QS_EVENT_EOF);
        r->seq = 2;
    }
    if (state == QS_TCP_TIME_WAIT)
        peer_closes(r, 40, 2);
    REQUIRE(rig_state(r) == state);
}
