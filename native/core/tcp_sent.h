/* SPDX-License-Identifier: Apache-2.0 */
/* Records of what was sent and is not acknowledged, of connections with SACK: the scoreboard of RFC
 * 6675 with the times that RFC 8985 needs. A connection's records are in sequence order and touch
 * each other; they reach from SND.UNA to SND.NXT. */
#ifndef QS_CORE_TCP_SENT_H
#define QS_CORE_TCP_SENT_H

#include "tcp_conn.h"

/* State of a record. */
#define QS_SENT_SACKED (1u << 0) /* arrived, right of a hole */
#define QS_SENT_LOST (1u << 1)   /* the transmission before the last, or with no RESENT the last */
#define QS_SENT_RESENT (1u << 2) /* with LOST: sent again, and that is not known to be lost */
#define QS_SENT_TWICE (1u << 3)  /* was sent more than once: an ACK is ambiguous */

struct qs_sent {
    qs_seq seq, end; /* octets [seq, end); a FIN is the last of them */
    uint32_t xmit;   /* when it was sent last, qs_sent_clock() */
    uint32_t next;   /* index, QS_NO_IDX: the last */
    uint8_t state;   /* QS_SENT_* */
};

/* Records of an engine, by index. */
struct qs_sent_pool {
    struct qs_sent *records;
    uint32_t n, fresh; /* those from `fresh` on were never used: their memory is untouched */
    uint32_t free;     /* list of used and freed ones */
    uint32_t used;
    uint32_t reserve; /* kept for connections that have none */
};

void qs_sent_pool_init(struct qs_sent_pool *p, struct qs_sent *records, uint32_t n,
                       uint32_t reserve);

/* Low bits of a time in units of 2^10 ns; compare by their difference, within 36 minutes. */
static inline uint32_t qs_sent_clock(qs_time t)
{
    return (uint32_t)(t.ns >> 10);
}

static inline uint32_t qs_sent_span(const struct qs_sent *r)
{
    return qs_seq_span(r->seq, r->end);
}

/* First record and the one behind `r`; NULL: none. */
struct qs_sent *qs_sent_first(const struct qs_sent_pool *p, const struct qs_block *c);
struct qs_sent *qs_sent_next(const struct qs_sent_pool *p, const struct qs_sent *r);
struct qs_sent *qs_sent_last(const struct qs_sent_pool *p, const struct qs_block *c);
/* First one that is lost and was not sent again. */
struct qs_sent *qs_sent_first_lost(const struct qs_sent_pool *p, const struct qs_block *c);

/* Can qs_sent_add() be called? */
bool qs_sent_room(const struct qs_sent_pool *p, const struct qs_block *c);
/* [seq, end) was sent, right of all others. */
void qs_sent_add(struct qs_sent_pool *p, struct qs_block *c, struct qs_range octets, qs_time now);
/* Was sent again. */
void qs_sent_again(struct qs_block *c, struct qs_sent *r, qs_time now);
/* Changes the state and the sums that follow from it. */
void qs_sent_mark(struct qs_block *c, struct qs_sent *r, uint32_t state);
/* Cuts a record into [seq, at) and, behind it, [at, end). @return false when there is no record
 * left for that, or none for this connection. */
bool qs_sent_split(struct qs_sent_pool *p, struct qs_block *c, struct qs_sent *r, qs_seq at);
/* Takes the first record off. */
void qs_sent_pop(struct qs_sent_pool *p, struct qs_block *c);
/* Octets of the first record left of `to` are acknowledged. */
void qs_sent_trim(const struct qs_sent_pool *p, struct qs_block *c, qs_seq to);
/* Puts in `n` records of another pool, in order, those of a connection that has none; their sums
 * are in c->loss. The pool has room. */
void qs_sent_adopt(struct qs_sent_pool *p, struct qs_block *c, const void *records, uint32_t n);
/* Takes all off. */
void qs_sent_clear(struct qs_sent_pool *p, struct qs_block *c);

#endif
