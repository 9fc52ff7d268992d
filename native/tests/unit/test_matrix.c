/* SPDX-License-Identifier: Apache-2.0 */
/* Every state with every combination of flags, at sequence and acknowledgement numbers inside, at
 * the edges and outside: what must hold whatever a segment says. The rows with one right answer are
 * in the other programs. */
#include "rig.h"

static const uint32_t seq_off[] = {0, 1, (uint32_t)-1, 65534, 65536, 0x80000000u};
static const uint32_t ack_off[] = {0, 1, (uint32_t)-1, 0x80000000u};

static void flags_text(unsigned bits, char *to)
{
    for (unsigned i = 0; i < 6; i++)
        if (bits >> i & 1)
            *to++ = "FSRPU."[i];
    *to = 0;
}

static bool has(const struct wire_tcp *t, char flag)
{
    return strchr(t->flags, flag);
}

/* May this segment end a connection in `state` at once? */
static bool may_end(enum qs_tcp_state state, const struct seg *s, const struct rig *r)
{
    bool rst = strchr(s->flags, 'R'), ack = strchr(s->flags, '.');
    if (state == QS_TCP_SYN_SENT)
        return rst && ack && s->ack == 1;
    if (rst)
        return s->seq == r->seq;
    return state == QS_TCP_LAST_ACK && ack && s->ack == 2;
}

static void check_answer(struct rig *r, enum qs_tcp_state state, const struct seg *s)
{
    static struct wire_tcp t;
    bool rst = strchr(s->flags, 'R');
    rig_run(r, 60);
    CHECK(r->n_queue <= 1); /* one answer at most: nothing is amplified */
    struct frame *f = rig_take(r);
    if (!f)
        return;
    frame_parse_tcp(f, &t); /* and a well-formed one */
    CHECK(t.len == 0);
    if (rst)
        CHECK(!has(&t, 'R')); /* a reset is never answered with one */
    if (has(&t, 'R'))         /* ours only before the connection is synchronized */
        CHECK(state == QS_TCP_SYN_SENT || state == QS_TCP_SYN_RECEIVED);
    if (state != QS_TCP_SYN_SENT && state != QS_TCP_SYN_RECEIVED)
        CHECK(has(&t, '.'));
}

static void one(const qs_engine_opts *o, enum qs_tcp_state state, struct seg s)
{
    struct rig *r = rig_new(o, false);
    rig_to(r, state);
    s.seq += r->seq;
    s.ack += r->ack;
    rig_in(r, 60, &s);
    bool gone = rig_count(r, QS_COUNT_CONNS) == 0;
    if (rig_state(r) == QS_TCP_CLOSED && state != QS_TCP_SYN_RECEIVED)
        CHECK(may_end(state, &s, r));
    if (gone)
        CHECK(may_end(state, &s, r));
    check_answer(r, state, &s);
    rig_free(r);
}

static void r35_every_state_with_every_segment(void)
{
    qs_engine_opts o = rig_opts();
    o.conns_max = 4;
    o.chunks_max = 16;
    for (int state = QS_TCP_SYN_SENT; state < QS_TCP_STATES; state++) {
        int before = qs_test_failures;
        for (unsigned bits = 0; bits < 64; bits++) {
            char flags[8];
            flags_text(bits, flags);
            for (size_t i = 0; i < sizeof seq_off / sizeof seq_off[0]; i++)
                for (size_t k = 0; k < sizeof ack_off / sizeof ack_off[0]; k++)
                    for (uint32_t len = 0; len < 10; len += 9) {
                        int was = qs_test_failures;
                        one(&o, (enum qs_tcp_state)state,
                            (struct seg){flags, seq_off[i], len, ack_off[k]});
                        if (qs_test_failures != was)
                            fprintf(stderr, "state %d, flags \"%s\", seq +%u, ack +%u, len %u\n",
                                    state, flags, seq_off[i], ack_off[k], len);
                    }
        }
        CHECK_EQ(qs_test_failures, before);
    }
}

int main(void)
{
    RUN(r35_every_state_with_every_segment);
    return TEST_RESULT();
}
