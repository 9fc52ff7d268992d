/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target of the two walks over attacker-made lists: TCP options and IPv6 extension headers.
 * Each input meets a fresh engine, and a walk of our own says what has to come of it. First byte:
 * what and how. */
#include <string.h>

#include "bytes.h"
#include "world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    HOW_V6 = 1,
    HOW_ESTABLISHED = 2, /* options on a segment with payload instead of on a SYN */
    HOW_EXTENSION = 4,   /* the rest is a chain of extension headers in front of a SYN */
    HOW_PLAIN = 8        /* the connection of HOW_ESTABLISHED has no timestamps */
};

struct offer {
    bool broken, mss_zero, wscale, ts;
    uint16_t mss_value; /* largest offered; zero is none, since nothing could be sent */
};

/* RFC 9293 section 3.1. The builder pads with zeros, which end the list. */
static struct offer walk_options(const uint8_t *o, size_t len)
{
    struct offer r = {.broken = false};
    for (size_t i = 0; i < len && o[i] != 0;) {
        if (o[i] == 1) {
            i++;
            continue;
        }
        /* The length may be the padding behind `len`: then it is zero. */
        size_t padded = (len + 3) / 4 * 4;
        uint8_t n = i + 1 < len ? o[i + 1] : 0;
        if (n < 2 || n > padded - i) {
            r.broken = true;
            return r;
        }
        if (o[i] == 2 && n == 4) {
            uint16_t value =
                (uint16_t)((i + 2 < len ? o[i + 2] : 0) << 8 | (i + 3 < len ? o[i + 3] : 0));
            r.mss_zero |= value == 0;
            r.mss_value = value > r.mss_value ? value : r.mss_value;
        }
        r.wscale |= o[i] == 3 && n == 3;
        r.ts |= o[i] == 8 && n == 10;
        i += n;
    }
    return r;
}

/* The SYN-ACK, or NULL; exactly one frame may come out. */
static bool answer(struct fuzz_world *w, struct wire_seen *seen, struct qs_frame *f, uint8_t *buf)
{
    *f = (struct qs_frame){.data = buf, .room = w->opts.mtu + 18};
    size_t n = qs_engine_tx(w->engine, f, 1, w->now);
    if (!n)
        return false;
    const char *wrong = wire_judge(f, &w->rules, seen);
    if (wrong)
        fuzz_fail("the answer to a SYN: %s", wrong);
    struct qs_frame more = *f;
    uint8_t other[1600];
    more.data = other;
    FUZZ_REQUIRE(qs_engine_tx(w->engine, &more, 1, w->now) == 0);
    return true;
}

static void try_syn(struct fuzz_world *w, struct fuzz_peer *p, const uint8_t *options, size_t len)
{
    static uint8_t buf[1600];
    struct offer offer = walk_options(options, len);
    struct fuzz_segment s = {.flags = WIRE_SYN,
                             .window = 0xffff,
                             .own_options = true,
                             .options = options,
                             .options_len = len};
    struct wire_seen seen;
    struct qs_frame f;
    FUZZ_REQUIRE(fuzz_send(w, p, &s) == offer.broken);
    FUZZ_REQUIRE(answer(w, &seen, &f, buf) == !offer.broken);
    if (offer.broken)
        return;
    FUZZ_REQUIRE(seen.kind == WIRE_IS_TCP && seen.tcp.flags == (WIRE_SYN | WIRE_ACK));
    FUZZ_REQUIRE(seen.tcp.ack == p->iss + 1);
    FUZZ_REQUIRE(wire_option(&seen.tcp, 2) != NULL);
    /* RFC 7323 sections 2.2 and 3.2: answered when offered, and only then. */
    FUZZ_REQUIRE((wire_option(&seen.tcp, 3) != NULL) == offer.wscale);
    const uint8_t *ts = wire_option(&seen.tcp, 8);
    FUZZ_REQUIRE((ts != NULL) == offer.ts);
    p->ts = offer.ts;
    p->engine_ts = ts ? get32(ts + 2) : 0;
    p->engine_syn = true;
    p->engine_iss = seen.tcp.seq;
    p->engine_nxt = seen.tcp.seq + 1;
    p->syn_acked = seen.tcp.ack;
}

/* After the SYN's options: what the engine sends keeps to them. */
static void try_sending(struct fuzz_world *w, struct fuzz_peer *p, const struct offer *offer)
{
    /* TSval of our SYN is unknown here; an ACK without payload and the same time is never too old.
     */
    struct fuzz_segment s = {.flags = WIRE_ACK, .window = 0xffff};
    (void)fuzz_send(w, p, &s);
    fuzz_events(w);
    struct fuzz_handle *h = fuzz_handle(w, 0);
    struct qs_conn_info info;
    if (!h->alive)
        return; /* the SYN's timestamp was ahead of ours: PAWS */
    FUZZ_REQUIRE(qs_conn_info(w->engine, h->conn, &info) == 0);
    /* RFC 9293 section 3.7.1: what was offered, or the default; a floor keeps silly values out. */
    uint32_t most = wire_is_v4(&p->to_engine.src) ? 536 : 1220;
    if (offer->mss_value && !(offer->mss_zero && offer->mss_value < most))
        most = offer->mss_value;
    FUZZ_REQUIRE(info.mss_octets <= most || info.mss_octets <= 536);
    fuzz_write(w, h, 3000);
    fuzz_tx_all(w);
}

static void try_segment(struct fuzz_world *w, struct fuzz_peer *p, bool plain,
                        const uint8_t *options, size_t len)
{
    static const uint8_t only_mss[4] = {2, 4, 0x05, 0xb4};
    struct fuzz_segment s = {.flags = WIRE_SYN, .window = 0xffff};
    s.own_options = plain;
    s.options = only_mss;
    s.options_len = sizeof only_mss;
    FUZZ_REQUIRE(fuzz_send(w, p, &s) == 0);
    fuzz_tx_all(w);
    s.flags = WIRE_ACK;
    s.own_options = false;
    FUZZ_REQUIRE(fuzz_send(w, p, &s) == 0);
    fuzz_events(w);
    const struct fuzz_handle *h = fuzz_handle(w, 0);
    FUZZ_REQUIRE(h->alive);

    struct offer offer = walk_options(options, len);
    struct qs_conn_info info;
    s.own_options = true;
    s.options = options;
    s.options_len = len;
    s.payload_len = 8;
    unsigned dropped = fuzz_send(w, p, &s);
    FUZZ_REQUIRE(qs_conn_info(w->engine, h->conn, &info) == 0);
    if (offer.broken)
        FUZZ_REQUIRE(dropped == 1 && info.readable_bytes == 0);
    else if (plain)
        FUZZ_REQUIRE(dropped == 0 && info.readable_bytes == 8);
    else
        FUZZ_REQUIRE(info.readable_bytes == (dropped ? 0 : 8));
}

/* Only hop-by-hop options at the front and destination options, four at most, and then TCP. */
static bool is_harmless(const struct wire_ext *e)
{
    uint8_t next = e->first;
    size_t at = 0, n = 0;
    for (; at < e->len; n++) {
        if (!(next == 60 || (next == 0 && n == 0)) || n == 4)
            return false;
        next = e->data[at];
        at += (e->data[at + 1] + 1u) * 8u;
    }
    return true;
}

/* RFC 8200 section 4.2: what the first option that is not skipped asks for by its two top bits; -1:
 * all are skipped. Options that overrun, and more than eight in a header (RFC 8504 section 5.3),
 * are as 1: the packet is dropped silently. */
static int asked_for(const struct wire_ext *e)
{
    for (size_t at = 0; at < e->len;) {
        size_t end = at + (e->data[at + 1] + 1u) * 8u, n = 0;
        for (size_t i = at + 2; i < end;) {
            uint8_t type = e->data[i];
            if (type == 0) {
                i++;
                continue;
            }
            if (i + 1 == end || i + 2 + e->data[i + 1] > end)
                return 1;
            if (type >> 6)
                return type >> 6;
            if (type != 1 && ++n > 8)
                return 1;
            i += 2u + e->data[i + 1];
        }
        at = end;
    }
    return -1;
}

static void try_extension(struct fuzz_world *w, struct fuzz_peer *p, const struct wire_ext *e)
{
    static uint8_t buf[1600];
    struct fuzz_segment s = {.flags = WIRE_SYN, .window = 0xffff, .ext = e->len ? e : NULL};
    struct wire_seen seen;
    struct qs_frame f;
    bool reaches = !e->len || wire_ext_end(e) == 6;
    unsigned dropped = fuzz_send(w, p, &s);
    bool answered = answer(w, &seen, &f, buf);
    bool syn_acked = answered && seen.kind == WIRE_IS_TCP;
    if (reaches)
        FUZZ_REQUIRE(dropped == !syn_acked);
    if (reaches && is_harmless(e)) {
        int asked = asked_for(e);
        FUZZ_REQUIRE(syn_acked == (asked < 0));
        FUZZ_REQUIRE(answered == (asked != 1));
    } else if (reaches) {
        FUZZ_REQUIRE(!syn_acked);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz_world w;
    struct fuzz_input in = {data, size};
    struct fuzz_choice c = {.mtu = 1500};
    uint8_t how = take8(&in);
    fuzz_world_open(&w, &c);
    struct fuzz_peer *p = &w.peers[how & (HOW_V6 | HOW_EXTENSION) ? 1 : 0];
    fuzz_tx_all(&w);
    if (how & HOW_EXTENSION) {
        struct wire_ext e = {.first = take8(&in)};
        e.len = take(&in, 1200, &e.data);
        try_extension(&w, p, &e);
    } else {
        const uint8_t *options;
        size_t len = take(&in, 40, &options);
        if (how & HOW_ESTABLISHED) {
            try_segment(&w, p, how & HOW_PLAIN, options, len);
        } else {
            struct offer offer = walk_options(options, len);
            try_syn(&w, p, options, len);
            if (!offer.broken)
                try_sending(&w, p, &offer);
        }
    }
    fuzz_check(&w);
    fuzz_world_close(&w);
    return 0;
}
