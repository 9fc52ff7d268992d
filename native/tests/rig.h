/* SPDX-License-Identifier: Apache-2.0 */
/* One engine and a scripted peer in virtual time.
 *
 *     struct rig *r = rig_new(NULL, false);
 *     rig_listen(r);
 *     IN(0, "S", 0, 0, 0, .opts = "mss 1000");      at 0 ms: flags, seq, len, ack
 *     OUT(0, "S.", 0, 0, 1, .opts = "mss 1460");
 *     IN(10, ".", 1, 0, 1);
 *     QUIET(60000);                                 nothing leaves until then
 *     rig_free(r);
 *
 * Times are milliseconds after the rig's start. Sequence and acknowledgement numbers count from the
 * initial ones of both sides; on the wire both start at 0xfffffff0, so that everything crosses the
 * wrap. Payload is a pattern of its place in the stream: OUT() and rig_read() verify it.
 * A frame that leaves earlier than an OUT() or IN() says fails that line. */
#ifndef QS_TEST_RIG_H
#define QS_TEST_RIG_H

#include "frame.h"
#include "qs_test.h"
#include "qstack/qs_conn.h"
#include "qstack/qs_stats.h"
#include "sim.h"

#define RIG_PORT 80 /* the engine's */
#define RIG_PEER_PORT 40000
#define RIG_ISN 0xfffffff0u /* of both sides */

/* A script names the fields it means. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/* A segment in a script. */
struct seg {
    const char *flags;
    uint32_t seq, len, ack;
    const char *opts;   /* IN: added; OUT: compared when not NULL, * stands for any number */
    uint8_t ecn;        /* bits of the IP header: 2 is ECN-capable, 3 is marked */
    uint16_t wnd;       /* IN: instead of rig.wnd; OUT: compared when not 0. As on the wire */
    uint16_t peer_port; /* instead of RIG_PEER_PORT */
    uint16_t port;      /* instead of RIG_PORT */
};

/* An ICMP error of a router about a segment of the engine. */
struct icmp {
    uint8_t type, code;
    uint32_t word;     /* octets 4 to 7 of the message */
    uint32_t seq, len; /* of the quoted segment, without options; relative, octets of payload */
};

struct rig {
    qs_engine *e;
    qs_conn conn;       /* of the last OPEN event, rig_open() */
    struct qs_event ev; /* last event taken */
    uint64_t start_ns, now_ns;
    bool v6;
    const char *syn_opts;   /* of the peer's SYN where a call does not say, "mss 1000" at first */
    const char *cc;         /* congestion control of what is listened for and opened */
    uint16_t wnd;           /* window that IN() announces, 65,535 at first */
    uint32_t iss;           /* the engine's, learned from its first SYN */
    uint32_t seq, ack;      /* after rig_to(): what the peer sends next, and acknowledges */
    struct wire_tcp last;   /* last TCP segment taken by OUT(), with relative numbers */
    uint32_t written, read; /* octets of both streams so far */
    struct frame *queue;    /* frames that left, oldest first */
    uint64_t *left_ns;
    uint32_t n_queue;
    size_t mem_before;
};

/* Engine options of a rig: defaults, small, neighbours told. */
qs_engine_opts rig_opts(void);
/* NULL: rig_opts(). The peer is a known neighbour. */
struct rig *rig_new(const qs_engine_opts *o, bool v6);
/* Also requires that every invariant holds and the engine gives all its memory back. */
void rig_free(struct rig *r);
/* Ends the program when an invariant of the engine does not hold, audit.h. */
void rig_audit(const struct rig *r);

qs_addr rig_addr(const struct rig *r); /* the engine's */
qs_addr rig_peer(const struct rig *r);
qs_time rig_now(const struct rig *r);
uint64_t rig_count(const struct rig *r, enum qs_counter which);
enum qs_tcp_state rig_state(const struct rig *r); /* CLOSED when the handle is stale */
struct qs_conn_info rig_info(const struct rig *r);

void rig_listen(struct rig *r);
/* Active open to the peer's port, from the port that rig_listen() uses. */
void rig_open(struct rig *r);
/* The passive handshake at 0 and 10 ms; takes the OPEN event. `syn_opts` NULL: r->syn_opts. */
void rig_establish(struct rig *r, const char *syn_opts);
/* Brings a connection to any state but CLOSED and LISTEN within 50 ms; sets seq and ack. */
void rig_to(struct rig *r, enum qs_tcp_state state);

/* Takes the next event. @return its flags, 0: there is none. */
uint32_t rig_event(struct rig *r);
/* Writes the next octets of the pattern. @return octets taken. */
uint32_t rig_write(struct rig *r, uint32_t octets);
/* Reads and verifies. @return octets, or a negative QS_ERR_*. */
int64_t rig_read(struct rig *r, uint32_t octets_max);

/* Runs the engine to `ms`; what leaves is queued. */
void rig_run(struct rig *r, double ms);
void rig_flush(struct rig *r); /* forgets what is queued */
/* Takes the oldest queued frame; valid until the next call. NULL: there is none. */
struct frame *rig_take(struct rig *r);
/* Hands over a raw frame at `ms`. */
void rig_frame(struct rig *r, double ms, const struct frame *f);
void rig_build(const struct rig *r, struct frame *f, const struct seg *s);
void rig_in(struct rig *r, double ms, const struct seg *s);
/* In one burst with what was handed over before: nothing leaves in between. */
void rig_in_behind(struct rig *r, const struct seg *s);
/* IPv4 quotes 8 octets of the TCP header, IPv6 all of it. */
void rig_icmp_build(const struct rig *r, struct frame *f, const struct icmp *x);
void rig_icmp(struct rig *r, double ms, const struct icmp *x);
/* A router that passes on no more than `mtu` refuses the segment. */
void rig_too_big(struct rig *r, double ms, uint32_t mtu, uint32_t seq, uint32_t len);
bool rig_out(struct rig *r, double ms, const struct seg *s);
bool rig_quiet(struct rig *r, double ms);

#define IN(ms, ...)                                                                                \
    do {                                                                                           \
        CHECK(rig_quiet(r, ms));                                                                   \
        rig_in(r, ms, &(struct seg){__VA_ARGS__});                                                 \
    } while (0)
#define OUT(ms, ...) CHECK(rig_out(r, ms, &(struct seg){__VA_ARGS__}))
#define QUIET(ms) CHECK(rig_quiet(r, ms))
#define CHECK_COUNT(which, want) CHECK_EQ(rig_count(r, QS_COUNT_##which), want)

#endif
