/* SPDX-License-Identifier: Apache-2.0 */
/* Two engines that send each other messages of all classes over a bad link: each one arrives whole,
 * once, and those of the connection's own class in order, whatever is lost, reordered, repeated, or
 * read late. */
#include "audit.h"
#include "core/engine.h"
#include "qs_test.h"
#include "sim.h"

#define MESSAGES 400u /* each way */
#define HEAD 8u       /* length in 2 octets, class, zero, number in 4 */
#define LEN_MAX 6000u

struct end {
    qs_conn conn;
    uint32_t sent, got, next_own; /* messages */
    uint32_t overtook;
    uint8_t seen[MESSAGES];
    bool open, shut, eof;
};

struct both {
    struct end end[2];
    uint64_t random;
    bool lines, done;
};

static uint32_t below(struct both *b, uint32_t n)
{
    return (uint32_t)(qs_test_random(&b->random) % n);
}

static int class_of(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx)
{
    (void)ctx;
    return data && len >= HEAD ? data[2] & 7 : flow->prio;
}

/* Octets of message `number`, without line feeds but the last one. */
static uint32_t make(struct both *b, uint8_t *to, uint32_t number, uint32_t prio)
{
    uint32_t len = HEAD + 1 + (below(b, 4) ? below(b, 300) : below(b, LEN_MAX - HEAD - 1));
    for (uint32_t i = HEAD; i < len; i++)
        to[i] = (uint8_t)(0x40 | ((number + i) & 0x3f));
    to[0] = (uint8_t)(0x80 | len >> 7);
    to[1] = (uint8_t)(0x80 | (len & 0x7f));
    to[2] = (uint8_t)(0x80 | prio);
    to[3] = 0x80;
    for (int i = 0; i < 4; i++)
        to[4 + i] = (uint8_t)(0x80 | (number >> (7 * i) & 0x7f));
    to[len - 1] = '\n';
    return len;
}

static int64_t by_head(const uint8_t *data, size_t len, void *ctx)
{
    (void)ctx;
    return len < 2 ? 0 : (int64_t)(data[0] & 0x7f) << 7 | (data[1] & 0x7f);
}

static void send_some(struct sim *s, struct both *b, int side)
{
    struct end *e = &b->end[side];
    uint8_t data[LEN_MAX];
    while (e->open && e->sent < MESSAGES) {
        uint64_t random = b->random;
        uint32_t prio = below(b, 3) ? 0 : below(b, QS_N_PRIO);
        uint32_t len = make(b, data, e->sent, prio);
        qs_err err = qs_conn_send(sim_engine(s, side), e->conn, prio, data, len);
        if (err == QS_ERR_AGAIN) {
            b->random = random;
            return;
        }
        REQUIRE(err == 0);
        e->sent++;
    }
    if (e->open && !e->shut) {
        REQUIRE(qs_conn_shutdown(sim_engine(s, side), e->conn) == 0);
        e->shut = true;
    }
}

/* Compares message `m`, which came as one of class `prio`. */
static void check(struct sim *s, struct both *b, int side, const struct qs_message *m)
{
    struct end *e = &b->end[side];
    uint8_t data[LEN_MAX];
    struct qs_span spans[8];
    REQUIRE(m->len > HEAD && m->len <= LEN_MAX);
    for (uint32_t at = 0; at < m->len;) {
        int n = qs_conn_message_peek(sim_engine(s, side), e->conn, m, at, spans, 1 + below(b, 8));
        REQUIRE(n > 0);
        for (int i = 0; i < n; at += (uint32_t)spans[i++].len)
            memcpy(data + at, spans[i].data, spans[i].len);
    }
    uint32_t number = 0;
    for (int i = 0; i < 4; i++)
        number |= (uint32_t)(data[4 + i] & 0x7f) << (7 * i);
    REQUIRE(number < MESSAGES);
    CHECK_EQ(by_head(data, 2, NULL), m->len);
    CHECK_EQ(data[m->len - 1], '\n');
    for (uint32_t i = HEAD; i < m->len - 1; i++)
        REQUIRE(data[i] == (0x40 | ((number + i) & 0x3f)));
    CHECK_EQ(e->seen[number], 0);
    e->seen[number] = 1;
    e->got++;
    if ((data[2] & 7) == 0) {
        CHECK(number >= e->next_own);
        e->next_own = number + 1;
    }
}

static void on_event(struct sim *s, int side, const struct qs_event *ev, void *ctx)
{
    struct both *b = ctx;
    struct end *e = &b->end[side];
    qs_engine *engine = sim_engine(s, side);
    if (ev->flags & (QS_EVENT_OPEN | QS_EVENT_MOVED))
        e->conn = ev->conn;
    if (ev->flags & QS_EVENT_OPEN)
        e->open = true;
    /* Mostly one; at times none, which waits for the next event. */
    for (uint32_t n = below(b, 8) ? 1 + below(b, 3) : 0; n > 0 && ev->flags & QS_EVENT_READABLE;
         n--) {
        struct qs_message m;
        if (qs_conn_message(engine, ev->conn, ev->prio, &m) != 1)
            break;
        check(s, b, side, &m);
        REQUIRE(qs_conn_message_done(engine, ev->conn, &m) == 0);
    }
    if (ev->flags & (QS_EVENT_OPEN | QS_EVENT_WRITABLE))
        send_some(s, b, side);
    if (ev->flags & QS_EVENT_EOF)
        e->eof = true;
    if (ev->flags & QS_EVENT_CLOSED) {
        CHECK_EQ(ev->err, 0);
        e->open = false;
    }
    b->done = b->end[0].eof && b->end[1].eof;
}

static int messages_of(qs_engine *e, bool lines)
{
    struct qs_framing_opts f;
    qs_framing_opts_init(&f, lines ? QS_FRAMING_DELIMITER : QS_FRAMING_FUNCTION);
    f.fn = by_head;
    f.message_max = LEN_MAX;
    struct qs_classifier_opts k;
    qs_classifier_opts_init(&k);
    k.fn = class_of;
    return qs_engine_messages(e, &f, &k);
}

/* @return how many overtook others. */
static uint64_t transfer(uint64_t seed, bool lines, const struct sim_faults *faults,
                         uint32_t hop_ppm)
{
    struct sim_opts o = {.seed = seed,
                         .mtu = 1500,
                         .conns_max = 8,
                         .chunks_max = 512,
                         .rcvbuf_bytes = 65536,
                         .sndbuf_bytes = 65536,
                         .faults = *faults,
                         .hop_ppm = hop_ppm};
    struct sim *s = sim_new(&o);
    struct both b = {.random = seed, .lines = lines};
    sim_on_event(s, on_event, &b);
    struct qs_listen_opts l;
    qs_listen_opts_init(&l);
    l.port = 80;
    l.messages = (uint8_t)messages_of(sim_engine(s, 1), lines);
    REQUIRE(l.messages && qs_engine_listen(sim_engine(s, 1), &l) >= 0);
    struct qs_open_opts c;
    qs_open_opts_init(&c);
    c.remote = sim_addr(s, 1);
    c.remote_port = 80;
    c.messages = (uint8_t)messages_of(sim_engine(s, 0), lines);
    REQUIRE(qs_conn_open(sim_engine(s, 0), &c, sim_now(s), &b.end[0].conn) == 0);
    /* Events that were left alone are not raised again by themselves: from time to time all that
     * waits is taken, as a handler that comes back to it would. */
    for (int turn = 0; turn < 2000 && !b.done; turn++) {
        sim_run(s, (qs_time){sim_now(s).ns + QS_MS(50).ns}, &b.done);
        for (int side = 0; side < 2; side++) {
            struct qs_message m;
            while (b.end[side].open &&
                   qs_conn_message(sim_engine(s, side), b.end[side].conn, 0, &m) == 1) {
                check(s, &b, side, &m);
                REQUIRE(qs_conn_message_done(sim_engine(s, side), b.end[side].conn, &m) == 0);
            }
            const char *broken = audit(sim_engine(s, side));
            if (broken)
                printf("seed %llu: %s\n", (unsigned long long)seed, broken);
            REQUIRE(!broken);
        }
    }
    uint64_t overtook = 0;
    for (int side = 0; side < 2; side++) {
        CHECK(!hop_ppm || sim_hops(s) > 10);
        CHECK_EQ(b.end[side].got, MESSAGES);
        CHECK(b.end[side].eof);
        for (uint32_t p = 0; p < QS_N_PRIO; p++) {
            uint64_t all[QS_N_CLASS_COUNTERS];
            REQUIRE(qs_engine_class_counters(sim_engine(s, side), p, all, QS_N_CLASS_COUNTERS));
            overtook += all[QS_CLASS_OVERTOOK];
            CHECK_EQ(all[QS_CLASS_FRAMING_ERRORS] + all[QS_CLASS_CUT], 0);
        }
    }
    if (qs_test_failures)
        printf("seed of this transfer: %llu\n", (unsigned long long)seed);
    sim_free(s);
    return overtook;
}

static const struct sim_faults bad = {.loss_ppm = 30000,
                                      .reorder_ppm = 100000,
                                      .duplicate_ppm = 10000,
                                      .delay_ns = 5000000,
                                      .reorder_ns = 3000000};
static const struct sim_faults narrow = {
    .loss_ppm = 1000, .delay_ns = 20000000, .bit_per_second = 5000000, .queue_bytes = 100000};

static void each_message_once_over_a_bad_link(void)
{
    uint64_t seed = qs_test_seed(), overtook = 0;
    for (int i = 0; i < 10; i++) {
        overtook += transfer(qs_test_random(&seed), i % 2, &bad, 0);
        overtook += transfer(qs_test_random(&seed), i % 2, &narrow, 0);
    }
    CHECK(overtook > 100);
}

/* From engine to engine in the middle of all of that. */
static void each_message_once_while_connections_move(void)
{
    uint64_t seed = qs_test_seed() + 1, overtook = 0;
    for (int i = 0; i < 10; i++) {
        overtook += transfer(qs_test_random(&seed), i % 2, &bad, 200000);
        overtook += transfer(qs_test_random(&seed), i % 2, &narrow, 50000);
    }
    CHECK(overtook > 100);
}

int main(void)
{
    RUN(each_message_once_over_a_bad_link);
    RUN(each_message_once_while_connections_move);
    return TEST_RESULT();
}
