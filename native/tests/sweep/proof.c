/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold after a segment, whatever it said: every invariant, an answer that RFC 9293
 * allows, and a connection that moves octets both ways and closes, or has ended for a reason. The
 * peer that proves it is helpful: it sends what the engine expects next and acknowledges all. */
#include "sweep.h"

#include "tests/audit.h"

#define ROUND_MS 50
#define ROUNDS_MAX 100
#define OCTETS 1500u /* each way */

struct proof {
    struct world *w;
    struct rig *r;
    uint32_t taken, written; /* octets by the application, after the segment */
    uint32_t peer_ts;
    bool open, eof, closed, reading; /* reading: r->read is right */
    bool other_octets;               /* the segment's payload began elsewhere than the rig thinks */
    int err;                         /* of CLOSED */
};

static char report[300];

static const char *wrong(const char *what)
{
    snprintf(report, sizeof report, "%s", what);
    return report;
}
#define REFUTE(cond, what)                                                                         \
    if (cond)                                                                                      \
    return wrong(what)

static double now_ms(const struct rig *r)
{
    return (double)(r->now_ns - r->start_ns) / 1e6;
}

/* ---- what a segment is ---- */

/* Nothing of it may be looked at. */
static bool malformed(const struct wish *s)
{
    return s->bad_checksum || s->trailing < 0 || (s->data_offset && s->data_offset <= 5) ||
           (s->bad_options && !s->data_offset);
}

/* It says what was wished for. */
static bool well_formed(const struct wish *s)
{
    return !malformed(s) && !s->data_offset;
}

/* In TIME-WAIT none does, RFC 1337 section 3 (F1). */
static bool rst_ends(const struct world *w, const struct wish *s)
{
    if (!(s->flags & RST) || w->start->state == QS_TCP_TIME_WAIT)
        return false;
    if (w->start->state == QS_TCP_SYN_SENT)
        return s->flags & ACK && s->ack == 1;
    return w->start->state != QS_TCP_LISTEN && RIG_ISN + s->seq == w->was.rcv_nxt.v;
}

/* May the segment end the connection at once? RFC 9293 section 3.10.7.4, RFC 2525 section 2.17. */
static bool may_end(const struct world *w, const struct wish *s)
{
    if (malformed(s))
        return false;
    if (s->flags & RST)
        return rst_ends(w, s);
    if (w->start->state == QS_TCP_LAST_ACK)
        return s->flags & ACK && RIG_ISN + s->ack == w->was.snd_max.v;
    return w->was.flags & QS_CF_ORPHAN && s->len;
}

static bool synchronized(const struct world *w)
{
    return w->start->state >= QS_TCP_ESTABLISHED;
}

/* A SYN in the window of a synchronized connection, and nothing against it: RFC 5961 section 4. */
static bool is_challenged_syn(const struct world *w, const struct wish *s)
{
    uint32_t wnd = qs_seq_span(w->was.rcv_nxt, w->was.rcv_adv);
    uint32_t ahead = RIG_ISN + s->seq - w->was.rcv_nxt.v;
    bool old_ts = s->ts && (int32_t)(s->ts_val - w->was.ts_recent) < 0;
    return synchronized(w) && well_formed(s) && (s->flags & (SYN | RST)) == SYN && !old_ts &&
           (wnd ? ahead < wnd : ahead == 0) && !(w->was.flags & QS_CF_ORPHAN);
}

/* ---- the answer ---- */

static uint64_t drops(const struct rig *r, const struct world *w)
{
    uint64_t n = 0;
    for (int i = QS_COUNT_DROP_TRUNCATED; i < QS_N_COUNTERS; i++)
        n += rig_count(r, (enum qs_counter)i) - w->counters[i];
    return n;
}

static const char *check_answers(struct proof *p, const struct wish *s)
{
    static struct wire_tcp t;
    struct world *w = p->w;
    struct frame *f;
    for (int n = 0; (f = rig_take(p->r)); n++) {
        frame_parse_tcp(f, &t);
        bool rst = strchr(t.flags, 'R');
        REFUTE(n >= 20, "one segment had more than 20 answers");
        REFUTE(rst && s->flags & RST, "a reset was answered with a reset");
        REFUTE(rst && synchronized(w) && !may_end(w, s), "a synchronized connection sent a reset");
        REFUTE(!rst && synchronized(w) && !strchr(t.flags, '.'), "a segment has no ACK");
        REFUTE(t.len > w->was.mss && w->was.mss, "a segment is larger than the MSS");
        struct qs_block *c = world_conn(w);
        REFUTE(!rst && c && t.ack && t.ack != c->rcv_nxt.v, "a segment acknowledges not RCV.NXT");
        REFUTE(!rst && c && !qs_seq_le(c->snd_una, (qs_seq){t.seq}) &&
                   c->state != QS_TCP_SYN_RECEIVED,
               "a segment lies left of SND.UNA");
    }
    return NULL;
}

static const char *check_reaction(struct proof *p, const struct wish *s)
{
    struct world *w = p->w;
    struct rig *r = p->r;
    const char *broken = audit(r->e);
    if (broken)
        return broken;
    struct qs_block *c = world_conn(w);
    REFUTE(drops(r, w) > 1, "one segment was dropped for two reasons");
    if (malformed(s)) {
        REFUTE(drops(r, w) != 1, "a malformed segment was not counted");
        REFUTE(!world_unchanged(w), "a malformed segment changed something");
    }
    if (w->start->state == QS_TCP_LISTEN)
        return NULL;
    REFUTE(!c && !may_end(w, s), "the connection has ended without a reason");
    REFUTE(c && well_formed(s) && rst_ends(w, s), "an exact reset did not end it");
    if (is_challenged_syn(w, s)) {
        REFUTE(!c || c->state != w->start->state, "a SYN in the window changed the state");
        REFUTE(rig_count(r, QS_COUNT_DROP_SYN) != 1, "a SYN in the window was not counted");
        REFUTE(!(c->flags & QS_CF_ACK_NOW), "a SYN in the window was not challenged");
    }
    bool outside = synchronized(w) && well_formed(s) && !(s->flags & RST) &&
                   rig_count(r, QS_COUNT_DROP_OUT_OF_WINDOW);
    REFUTE(outside && s->len && !(c->flags & QS_CF_ACK_NOW),
           "octets outside the window were not answered");
    REFUTE(outside && (c->snd_una.v != w->was.snd_una.v || c->snd_wnd != w->was.snd_wnd),
           "a segment outside the window was acted on");
    return NULL;
}

/* ---- the helpful peer and the application ---- */

static void take_events(struct proof *p)
{
    uint32_t ev;
    while ((ev = rig_event(p->r))) {
        p->open |= (ev & QS_EVENT_OPEN) != 0;
        p->eof |= (ev & QS_EVENT_EOF) != 0;
        if (ev & QS_EVENT_CLOSED) {
            p->closed = true;
            p->err = p->r->ev.err;
        }
    }
}

static bool takes_text(const struct qs_block *c)
{
    return c->state == QS_TCP_ESTABLISHED || c->state == QS_TCP_FIN_WAIT_1 ||
           c->state == QS_TCP_FIN_WAIT_2;
}

static uint8_t thrown_away[20000];

static void application(struct proof *p, const struct qs_block *c)
{
    struct rig *r = p->r;
    take_events(p);
    if (!qs_tcp_synchronized(c) || !p->open || c->flags & QS_CF_ORPHAN)
        return;
    if (!p->reading) /* the first octet of the stream follows the peer's SYN */
        r->read = c->rcv_nxt.v - c->rx.len - RIG_ISN - 1 - !takes_text(c);
    p->reading = true;
    int64_t n = p->other_octets ? qs_conn_read(r->e, r->conn, thrown_away, sizeof thrown_away)
                                : rig_read(r, sizeof thrown_away);
    p->taken += n > 0 ? (uint32_t)n : 0;
    if (!(c->flags & QS_CF_FIN_QUEUED) && p->written < OCTETS)
        p->written += rig_write(r, OCTETS - p->written);
}

/* Octets that the peer sends next. */
static uint32_t next_len(const struct proof *p, const struct qs_block *c)
{
    uint32_t most = qs_min_u32(500, qs_seq_span(c->rcv_nxt, c->rcv_adv));
    if (!takes_text(c) || c->flags & QS_CF_ORPHAN)
        return 0;
    if (c->flags & QS_CF_FIN_ARRIVED)
        return qs_min_u32(most, qs_seq_span(c->rcv_nxt, c->rcv_fin));
    /* What was said of the window further right stands until the octets are there, RFC 9293
     * section 3.10.7.4 fifth. */
    return p->taken < OCTETS || qs_seq_lt(c->rcv_nxt, c->snd_wl1) ? most : 0;
}

static void peer_sends(struct proof *p, const struct qs_block *c, bool fin)
{
    static struct frame f;
    struct wish s = {.flags = ACK, .wnd = 65535, .opts = "", .ts = c->flags & QS_CF_TS};
    s.ack = c->snd_max.v - RIG_ISN;
    if (c->state == QS_TCP_SYN_SENT) {
        s.flags |= SYN;
        s.ts = true;
        s.opts = "mss 1000 ws 0 sok";
    } else {
        s.seq = c->rcv_nxt.v - RIG_ISN;
        s.len = next_len(p, c);
        if (fin && takes_text(c) && !s.len)
            s.flags |= FIN;
        if ((int32_t)(c->ts_recent - p->peer_ts) > 0)
            p->peer_ts = c->ts_recent;
    }
    s.ts_val = ++p->peer_ts;
    s.ts_ecr = (uint32_t)(p->r->now_ns >> QS_TS_SHIFT) + c->ts_offset;
    wish_build(p->w, &s, &f);
    rig_frame(p->r, now_ms(p->r), &f);
}

static bool all_moved(const struct proof *p, const struct qs_block *c)
{
    bool received = !takes_text(c) || c->flags & QS_CF_ORPHAN ||
                    (p->taken >= OCTETS && !(c->flags & QS_CF_FIN_ARRIVED));
    bool sent = c->tx.len == 0 && (p->written >= OCTETS || c->flags & QS_CF_FIN_QUEUED);
    return qs_tcp_synchronized(c) && received && sent && c->rx.len == 0;
}

/* Rounds until the octets are over, or with `fin` until the connection is in its last state. */
static const char *rounds(struct proof *p, bool fin)
{
    struct qs_block *c;
    for (int i = 0; (c = world_conn(p->w)); i++) {
        take_events(p);
        application(p, c);
        rig_run(p->r, now_ms(p->r) + 1); /* what the application did leaves */
        if (!(c = world_conn(p->w)) || (fin ? c->state == QS_TCP_TIME_WAIT : all_moved(p, c)))
            break;
        REFUTE(i == ROUNDS_MAX, fin ? "the connection does not close" : "octets do not move");
        peer_sends(p, c, fin);
        rig_run(p->r, now_ms(p->r) + ROUND_MS);
        p->r->n_queue = 0;
    }
    take_events(p);
    return NULL;
}

/* The application closes, and everything is given back. */
static const char *end(struct proof *p)
{
    struct rig *r = p->r;
    struct qs_block *c = world_conn(p->w);
    if (c && !(c->flags & QS_CF_ORPHAN)) {
        REFUTE(!p->open, "the application was not told of the connection");
        REQUIRE(qs_conn_shutdown(r->e, r->conn) == 0);
    }
    const char *why = rounds(p, true);
    if (why)
        return why;
    c = world_conn(p->w);
    if (c && !(c->flags & QS_CF_ORPHAN)) {
        REFUTE(!p->eof, "the application was not told of the end");
        REQUIRE(qs_conn_close(r->e, r->conn) == 0);
    }
    rig_run(r, now_ms(r) + 70000);
    r->n_queue = 0;
    take_events(p);
    REFUTE(rig_count(r, QS_COUNT_CONNS) || r->e->pool.used, "a connection or a chunk is left");
    return audit(r->e);
}

/* The engine takes a new connection from the same peer, if it listens. */
static const char *opens_again(struct proof *p)
{
    if (p->r->e->n_listeners == 0)
        return NULL;
    static struct frame f;
    struct wish s = {.flags = SYN, .wnd = 65535, .opts = "mss 1000", .seq = 5000000};
    *p = (struct proof){.w = p->w, .r = p->r, .peer_ts = 1};
    wish_build(p->w, &s, &f);
    rig_frame(p->r, now_ms(p->r), &f);
    rig_run(p->r, now_ms(p->r) + 1);
    p->r->n_queue = 0;
    REFUTE(!world_conn(p->w), "a new connection was refused");
    const char *why = rounds(p, false);
    REFUTE(!why && !world_conn(p->w), "a new connection has ended");
    return why ? why : end(p);
}

const char *case_prove(struct world *w, const struct wish *s)
{
    static struct frame f;
    struct proof p = {.w = w, .r = w->r, .peer_ts = 1100};
    p.open = synchronized(w);
    p.eof = w->start->state == QS_TCP_CLOSING || w->start->state == QS_TCP_CLOSE_WAIT ||
            w->start->state == QS_TCP_LAST_ACK || w->start->state == QS_TCP_TIME_WAIT;
    p.reading = synchronized(w);
    p.other_octets = s->data_offset > 6;
    wish_build(w, s, &f);
    rig_frame(w->r, now_ms(w->r), &f);
    const char *why = check_reaction(&p, s);
    rig_run(w->r, now_ms(w->r));
    if (!why)
        why = check_answers(&p, s);
    if (!why)
        why = rounds(&p, false);
    if (!why)
        why = audit(w->r->e);
    if (!why)
        why = end(&p);
    return why ? why : opens_again(&p);
}
