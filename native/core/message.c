/* SPDX-License-Identifier: Apache-2.0 */
/* Messages that arrive: where they end, which ones may go ahead of others, and what the application
 * is given. docs/design/020-messages.md */
#include "engine.h"

/* Octets that framings and classifiers are shown first, when a chunk ends before. */
#define HEAD_FIRST 512u

static struct qs_messages *messages_of(struct qs_engine *e, const struct qs_block *c)
{
    return &e->messages[qs_block_idx(e, c)];
}

/* Have all octets come, and the FIN? */
static bool over(const struct qs_block *c)
{
    return c->flags & QS_CF_FIN_ARRIVED && qs_seq_lt(c->rcv_fin, c->rcv_nxt);
}

static qs_seq end_of_order(const struct qs_block *c)
{
    return over(c) ? c->rcv_fin : c->rcv_nxt;
}

static qs_seq front_of(const struct qs_block *c)
{
    return (qs_seq){end_of_order(c).v - c->rx.len};
}

/* ---- of an engine, and of a connection that begins ---- */

#define MESSAGE_MAX_DEFAULT 65536u

int qs_engine_messages(qs_engine *e, const struct qs_framing_opts *framing,
                       const struct qs_classifier_opts *classifier)
{
    uint32_t number = e->n_message_confs + 1;
    if (number >= QS_MESSAGE_CONFS_MAX)
        return QS_ERR_NOMEM;
    struct qs_message_conf *k = &e->message_confs[number];
    k->framed = framing != NULL;
    k->classified = classifier != NULL;
    if (framing && !qs_framing_from(&k->framing, framing))
        return QS_ERR_ARG;
    if (classifier && !qs_classifier_from(&k->classifier, classifier))
        return QS_ERR_ARG;
    uint32_t most = e->opts.rcvbuf_initial_bytes / 2;
    uint32_t *max = &k->framing.opts.message_max;
    if (framing && *max == 0)
        *max = qs_min_u32(most, MESSAGE_MAX_DEFAULT);
    if (framing && *max > most)
        return QS_ERR_ARG;
    e->n_message_confs = number;
    if (classifier)
        e->classes_used |= qs_classifier_classes(&k->classifier);
    return (int)number;
}

static const struct qs_message_conf *conf_of(const qs_engine *e, int number)
{
    static const struct qs_message_conf none;
    return number > 0 && (uint32_t)number <= e->n_message_confs ? &e->message_confs[number] : &none;
}

uint32_t qs_engine_message_max(const qs_engine *e, int number)
{
    const struct qs_message_conf *k = conf_of(e, number);
    return k->framed ? k->framing.opts.message_max : 0;
}

uint32_t qs_engine_message_classes(const qs_engine *e, int number)
{
    const struct qs_message_conf *k = conf_of(e, number);
    return k->classified ? qs_classifier_classes(&k->classifier) : 0;
}

bool qs_messages_fit(const struct qs_engine *e, uint32_t number, const struct qs_tcp_conf *conf)
{
    if (number > e->n_message_confs)
        return false;
    const struct qs_message_conf *k = &e->message_confs[number];
    uint32_t asked = conf->rcvbuf == QS_BUF_GROWS ? UINT32_MAX : e->rcvbuf.octets[conf->rcvbuf];
    return number == 0 || !k->framed || k->framing.opts.message_max <= asked / 2;
}

void qs_messages_begin(struct qs_engine *e, struct qs_block *c, uint8_t conf,
                       const struct qs_flow *opened_by)
{
    if (!e->message_confs[conf].framed)
        return;
    struct qs_messages *m = messages_of(e, c);
    *m = (struct qs_messages){.conf = conf,
                              .vlan = opened_by->vlan,
                              .pcp = opened_by->pcp,
                              .dscp = opened_by->dscp,
                              .listed = c->prio,
                              .ready = c->prio};
    for (uint32_t p = 0; p < QS_N_PRIO; p++)
        qs_bytes_init(&m->staged[p]);
    c->flags |= QS_CF_FRAMED;
}

void qs_messages_start(struct qs_engine *e, struct qs_block *c)
{
    struct qs_messages *m = messages_of(e, c);
    m->scan = m->ahead = c->rcv_nxt;
    m->at.chunk = QS_NO_IDX;
}

/* ---- octets of the stream ---- */

/* Octets that are there in one piece, in order or behind a hole. */
struct run {
    struct qs_bytes_pos at;
    uint32_t len;
};

/* The record of the message at `seq`, or NULL. */
static struct qs_message_record *record_at(struct qs_messages *m, qs_seq seq)
{
    for (uint32_t i = 0; i < m->n_records; i++)
        if (qs_seq_eq(m->records[i].seq, seq))
            return &m->records[i];
    return NULL;
}

/* Place of `seq`, the first of `len` octets at the end of order. The queue is walked only for what
 * is neither at its ends nor known: it may be long. */
static struct qs_bytes_pos place_in_order(const struct qs_engine *e, const struct qs_block *c,
                                          struct qs_messages *m, qs_seq seq, uint32_t len)
{
    if (len == c->rx.len)
        return qs_bytes_find(&e->pool, &c->rx, 0);
    if (qs_seq_eq(seq, m->scan)) /* octets in front of it hold the chunk */
        return qs_bytes_skip(&e->pool, m->at, 0);
    const struct qs_chunk *last = &e->pool.chunks[c->rx.tail];
    if (len <= last->len)
        return (struct qs_bytes_pos){c->rx.tail, last->start + last->len - len};
    const struct qs_message_record *known = record_at(m, seq);
    if (known && known->at.chunk != QS_NO_IDX)
        return known->at;
    return qs_bytes_find(&e->pool, &c->rx, c->rx.len - len);
}

static struct run run_in_order(struct qs_engine *e, const struct qs_block *c, qs_seq seq)
{
    struct qs_messages *m = messages_of(e, c);
    struct run r = {{QS_NO_IDX, 0}, qs_seq_span(seq, end_of_order(c))};
    if (r.len == 0)
        return r;
    r.at = place_in_order(e, c, m, seq, r.len);
    if (qs_seq_eq(seq, m->scan))
        m->at = r.at;
    return r;
}

/* Octets in a row from chunk `idx` on, as far as `most`. */
static uint32_t row_behind(const struct qs_engine *e, uint32_t idx, uint32_t most)
{
    const struct qs_chunk *k = &e->pool.chunks[idx];
    uint32_t len = k->len;
    while (len < most && k->next != QS_NO_IDX) {
        const struct qs_chunk *next = &e->pool.chunks[k->next];
        if (!qs_seq_eq(qs_seq_add(k->seq, k->len), next->seq))
            break;
        len += next->len;
        k = next;
    }
    return len;
}

/* `*from`: where to begin to look, a chunk that is not behind `seq`; moved on. */
static struct run run_behind_hole(const struct qs_engine *e, uint32_t *from, qs_seq seq,
                                  uint32_t most)
{
    for (; *from != QS_NO_IDX; *from = e->pool.chunks[*from].next) {
        const struct qs_chunk *k = &e->pool.chunks[*from];
        if (qs_seq_lt(seq, k->seq))
            break;
        uint32_t skip = qs_seq_span(k->seq, seq);
        if (skip < k->len)
            return (struct run){{*from, k->start + skip}, row_behind(e, *from, most + skip) - skip};
    }
    return (struct run){{QS_NO_IDX, 0}, 0};
}

/* The first `len` octets of a run in one piece: where they are, or copied. */
static const uint8_t *in_one_piece(struct qs_engine *e, const struct run *r, uint32_t len)
{
    struct qs_bytes_pos at = r->at;
    const struct qs_chunk *k = &e->pool.chunks[at.chunk];
    if (at.at + len <= (uint32_t)k->start + k->len)
        return k->data + at.at;
    qs_bytes_copy(&e->pool, &at, e->message_head, len);
    return e->message_head;
}

/* ---- length and class ---- */

/* As qs_framing_fn, of the octets of `r`, of which there are some. */
static int64_t length_of(struct qs_engine *e, const struct qs_framing_conf *f, const struct run *r)
{
    const struct qs_chunk *k = &e->pool.chunks[r->at.chunk];
    uint32_t most = qs_min_u32(r->len, QS_MESSAGE_HEAD_MAX);
    uint32_t len = qs_min_u32(most, (uint32_t)k->start + k->len - r->at.at);
    int64_t n;
    while ((n = qs_framing_length(f, in_one_piece(e, r, len), len)) == 0 && len < most)
        len = len < HEAD_FIRST ? qs_min_u32(most, HEAD_FIRST) : most;
    if (n > (int64_t)f->opts.message_max)
        return -1;
    bool told_too_late = n == 0 && r->len >= qs_min_u32(QS_MESSAGE_HEAD_MAX, f->opts.message_max);
    return told_too_late ? -1 : n;
}

static struct qs_flow flow_of(const struct qs_engine *e, const struct qs_block *c)
{
    const struct qs_messages *m = &e->messages[qs_block_idx(e, c)];
    return (struct qs_flow){.local = *qs_block_local(e, c),
                            .remote = c->remote,
                            .local_port = c->local_port,
                            .remote_port = c->remote_port,
                            .vlan = m->vlan,
                            .pcp = m->pcp,
                            .dscp = m->dscp,
                            .prio = c->prio};
}

/* A class, or `otherwise` for what is none. */
static uint8_t checked_class(struct qs_engine *e, int class, uint8_t otherwise)
{
    if (class >= 0 && class < (int)QS_N_PRIO)
        return (uint8_t) class;
    qs_class_count(e, otherwise, QS_CLASS_UNCLASSIFIED);
    return otherwise;
}

/* Class of the whole message of `len` octets that begins at `r`. */
static uint8_t class_of(struct qs_engine *e, const struct qs_block *c,
                        const struct qs_message_conf *conf, const struct run *r, uint32_t len)
{
    if (!conf->classified)
        return c->prio;
    uint32_t n = qs_min_u32(len, QS_MESSAGE_HEAD_MAX);
    struct qs_flow flow = flow_of(e, c);
    int class = qs_classifier_class(&conf->classifier, &flow, in_one_piece(e, r, n), n);
    uint8_t prio = checked_class(e, class, c->prio);
    return prio > c->prio ? prio : c->prio;
}

uint8_t qs_messages_open_class(struct qs_engine *e, uint8_t conf, const struct qs_flow *flow)
{
    const struct qs_message_conf *k = &e->message_confs[conf];
    if (conf == 0 || !k->classified)
        return flow->prio;
    return checked_class(e, qs_classifier_class(&k->classifier, flow, NULL, 0), flow->prio);
}

/* ---- records ---- */

static void add_record(struct qs_messages *m, struct qs_message_record r)
{
    uint32_t i = m->n_records++;
    for (; i > 0 && qs_seq_lt(r.seq, m->records[i - 1].seq); i--)
        m->records[i] = m->records[i - 1];
    m->records[i] = r;
}

static void remove_record(struct qs_messages *m, struct qs_message_record *r)
{
    uint32_t i = (uint32_t)(r - m->records);
    m->n_records--;
    memmove(r, r + 1, (m->n_records - i) * sizeof *r);
}

static qs_seq end_of(const struct qs_message_record *r)
{
    return qs_seq_add(r->seq, r->len);
}

/* A record was taken: it becomes one with its neighbours that were. What is looked at next begins
 * behind them, and what is not whole in order any more, as octets ahead of a hole were forgotten,
 * ends there. */
static void take_record(struct qs_messages *m, struct qs_message_record *r)
{
    r->taken = true;
    struct qs_message_record *behind = r + 1, *before = r > m->records ? r - 1 : NULL;
    if (behind < m->records + m->n_records && behind->taken && qs_seq_eq(end_of(r), behind->seq)) {
        r->len += behind->len;
        remove_record(m, behind);
    }
    if (before && before->taken && qs_seq_eq(end_of(before), r->seq)) {
        before->len += r->len;
        remove_record(m, r);
        r = before;
    }
    if (qs_seq_in(m->ahead, r->seq, r->len))
        m->ahead = end_of(r);
    if (qs_seq_eq(m->scan, r->seq))
        m->len = r->len;
}

/* ---- events ---- */

/* A bit for each class of which a message waits. The one at the front of the stream goes first when
 * it has a record: what is behind it is not looked for. */
static uint32_t waiting_classes(struct qs_engine *e, const struct qs_block *c)
{
    struct qs_messages *m = messages_of(e, c);
    uint32_t classes = 0;
    for (uint32_t i = 0; i < m->n_records; i++)
        if (!m->records[i].taken)
            classes |= 1u << m->records[i].prio;
    qs_seq front = front_of(c);
    if (qs_seq_lt(front, m->scan) && !record_at(m, front))
        classes |= 1u << c->prio;
    return classes;
}

static void raise(struct qs_engine *e, struct qs_block *c, uint32_t classes)
{
    if (classes)
        qs_block_event_class(e, c, QS_EVENT_READABLE, qs_class_first(classes));
}

void qs_messages_forget(struct qs_engine *e, struct qs_block *c, bool all)
{
    struct qs_messages *m = messages_of(e, c);
    qs_seq end = end_of_order(c);
    for (uint32_t i = m->n_records; i-- > 0;) {
        const struct qs_message_record *r = &m->records[i];
        if (all || (!r->taken && qs_seq_lt(end, qs_seq_add(r->seq, r->len))))
            remove_record(m, &m->records[i]);
    }
    m->ahead = m->scan;
}

void qs_messages_event_taken(struct qs_engine *e, struct qs_block *c, uint32_t prio)
{
    raise(e, c, waiting_classes(e, c) & ((1u << prio) - 1));
}

/* ---- what arrives ---- */

/* Does a message of class `prio` keep its place, since its source is beyond its rate? Those behind
 * it that are no more urgent do, too, until it is taken: a class keeps its order. */
static bool keeps_place(struct qs_engine *e, const struct qs_block *c, uint32_t prio)
{
    struct qs_messages *m = messages_of(e, c);
    if (m->capped_prio && !qs_seq_lt(front_of(c), m->capped_end))
        m->capped_prio = 0;
    return prio <= m->capped_prio || !qs_source_within(e, &c->remote, prio);
}

/* Notes that the message does. One behind a hole is looked at again. */
static void keep_place(struct qs_engine *e, struct qs_block *c, qs_seq seq, uint32_t len,
                       uint8_t prio)
{
    struct qs_messages *m = messages_of(e, c);
    if (!qs_seq_eq(seq, m->scan))
        return;
    m->capped_prio = prio > m->capped_prio ? prio : m->capped_prio;
    m->capped_end = qs_seq_add(seq, len);
    qs_class_count(e, prio, QS_CLASS_CAPPED);
}

/* A whole message. @return false when it needs a record and none is left: at the front of the
 * stream it does without. */
static bool note_whole(struct qs_engine *e, struct qs_block *c, const struct run *r, qs_seq seq,
                       uint32_t len)
{
    struct qs_messages *m = messages_of(e, c);
    bool in_order = qs_seq_lt(seq, end_of_order(c));
    struct qs_message_record *known = record_at(m, seq);
    if (known) {
        known->at = in_order ? r->at : known->at;
        return true;
    }
    uint8_t prio = class_of(e, c, &e->message_confs[m->conf], r, len);
    if (prio == c->prio)
        return true;
    if (m->n_records == QS_MESSAGE_RECORDS)
        return qs_seq_eq(seq, front_of(c));
    if (keeps_place(e, c, prio)) {
        keep_place(e, c, seq, len, prio);
        return true;
    }
    qs_source_charge(e, &c->remote, prio, len);
    add_record(m, (struct qs_message_record){
                      .seq = seq,
                      .len = len,
                      .prio = prio,
                      .at = in_order ? r->at : (struct qs_bytes_pos){QS_NO_IDX, 0},
                  });
    return true;
}

/* Length of the message at `seq`, which begins at `r`: a record knows. */
static int64_t length_at(struct qs_engine *e, struct qs_block *c, qs_seq seq, const struct run *r)
{
    struct qs_messages *m = messages_of(e, c);
    const struct qs_message_record *known = record_at(m, seq);
    if (known)
        return known->len;
    return r->len ? length_of(e, &e->message_confs[m->conf].framing, r) : 0;
}

/* Moves `scan` over whole messages. @return false when octets are no message. */
static bool scan_order(struct qs_engine *e, struct qs_block *c)
{
    struct qs_messages *m = messages_of(e, c);
    for (;;) {
        uint32_t there = qs_seq_span(m->scan, end_of_order(c));
        if (there == 0 || (m->len && there < m->len))
            return true;
        struct run r = run_in_order(e, c, m->scan);
        if (m->len == 0) {
            int64_t n = length_at(e, c, m->scan, &r);
            if (n <= 0)
                return n == 0;
            m->len = (uint32_t)n;
        }
        if (there < m->len || !note_whole(e, c, &r, m->scan, m->len))
            return true;
        m->scan = qs_seq_add(m->scan, m->len);
        m->at = qs_bytes_skip(&e->pool, r.at, m->len);
        m->len = 0;
    }
}

/* Moves `seq`, where nothing is, to where a message begins behind a delimiter in the octets that
 * are next. */
static bool resync(struct qs_engine *e, const struct qs_framing_conf *f, uint32_t *from,
                   qs_seq *seq)
{
    while (*from != QS_NO_IDX && qs_seq_le(e->pool.chunks[*from].seq, *seq))
        *from = e->pool.chunks[*from].next;
    if (*from == QS_NO_IDX || !f->resyncs)
        return false;
    const struct qs_chunk *k = &e->pool.chunks[*from];
    struct run r = {{*from, k->start}, row_behind(e, *from, QS_MESSAGE_HEAD_MAX)};
    uint32_t len = qs_min_u32(r.len, QS_MESSAGE_HEAD_MAX);
    size_t n = qs_framing_resync(f, in_one_piece(e, &r, len), len);
    *seq = qs_seq_add(k->seq, (uint32_t)n);
    return n > 0;
}

/* Looks at messages behind the one at `scan`, which is not whole. @return false as above. */
static bool look_ahead(struct qs_engine *e, struct qs_block *c)
{
    struct qs_messages *m = messages_of(e, c);
    const struct qs_framing_conf *f = &e->message_confs[m->conf].framing;
    qs_seq at = qs_seq_max(m->ahead, qs_seq_add(m->scan, m->len));
    uint32_t from = c->ooo_head;
    bool whole = true; /* all that were seen behind it */
    for (uint32_t i = 0; i < QS_MESSAGES_LOOKED_AT; i++) {
        struct run r = {{QS_NO_IDX, 0}, 0};
        if (qs_seq_le(end_of_order(c), at))
            r = run_behind_hole(e, &from, at, f->opts.message_max);
        int64_t n = length_at(e, c, at, &r);
        if (n < 0)
            return false;
        if (n == 0) { /* a hole, or the end of what is there */
            whole = false;
            if (!resync(e, f, &from, &at))
                break;
            continue;
        }
        if (r.len < n)
            whole = false;
        else if (!note_whole(e, c, &r, at, (uint32_t)n))
            break;
        at = qs_seq_add(at, (uint32_t)n);
        if (whole)
            m->ahead = at;
    }
    return true;
}

bool qs_messages_arrived(struct qs_engine *e, struct qs_block *c)
{
    struct qs_messages *m = messages_of(e, c);
    if (!scan_order(e, c))
        return false;
    if (qs_seq_lt(m->ahead, m->scan))
        m->ahead = m->scan;
    if (c->ooo_head != QS_NO_IDX && !look_ahead(e, c))
        return false;
    uint32_t classes = waiting_classes(e, c);
    bool was_listed = c->ev_flags & QS_EVENT_READABLE;
    uint8_t before = m->listed;
    raise(e, c, classes);
    if (classes && !(was_listed && m->listed == before))
        qs_trace_begin(e, c, m->listed);
    return true;
}

/* ---- the application ---- */

/* Octets at the front that nobody waits for: messages that were taken ahead of their turn. */
static void skip_taken(struct qs_engine *e, struct qs_block *c)
{
    struct qs_messages *m = messages_of(e, c);
    while (m->n_records && m->records[0].taken && qs_seq_eq(m->records[0].seq, front_of(c)) &&
           m->records[0].len <= c->rx.len) {
        qs_block_read(e, c, m->records[0].len);
        remove_record(m, &m->records[0]);
    }
}

void qs_messages_ended(struct qs_engine *e, struct qs_block *c)
{
    struct qs_messages *m = messages_of(e, c);
    if (!over(c) || waiting_classes(e, c))
        return;
    if (c->rx.len) {
        qs_class_count(e, c->prio, QS_CLASS_CUT);
        qs_bytes_clear(&e->pool, &c->rx);
        m->at.chunk = QS_NO_IDX;
    }
    m->n_records = 0;
    qs_block_event(e, c, QS_EVENT_EOF);
    qs_block_ended(e, c);
}

/* The one at the front of the stream, which is whole and has no record. Its `len` is 0 when a
 * function now says something else than before. */
static struct qs_message next_in_order(struct qs_engine *e, struct qs_block *c)
{
    const struct qs_messages *m = messages_of(e, c);
    qs_seq front = front_of(c);
    struct run r = {qs_bytes_find(&e->pool, &c->rx, 0), c->rx.len};
    int64_t n = length_of(e, &e->message_confs[m->conf].framing, &r);
    bool same = n > 0 && n <= (int64_t)qs_seq_span(front, m->scan);
    bool capped = m->capped_prio && qs_seq_lt(front, m->capped_end);
    return (struct qs_message){front.v, same ? (uint32_t)n : 0, c->prio, capped};
}

static const struct qs_message_record *most_urgent(const struct qs_messages *m)
{
    const struct qs_message_record *best = NULL;
    for (uint32_t i = 0; i < m->n_records; i++)
        if (!m->records[i].taken && (!best || m->records[i].prio > best->prio))
            best = &m->records[i];
    return best;
}

/* `c` has framing, or 0 and QS_ERR_*. */
static qs_err framed(qs_engine *e, qs_conn handle, struct qs_block **c)
{
    *c = qs_block_of(e, handle);
    if (!*c)
        return QS_ERR_STALE;
    return (*c)->flags & QS_CF_FRAMED ? 0 : QS_ERR_STATE;
}

int qs_conn_message(qs_engine *e, qs_conn handle, uint32_t prio, struct qs_message *out)
{
    struct qs_block *c;
    qs_err err = framed(e, handle, &c);
    *out = (struct qs_message){0};
    if (err)
        return err;
    uint32_t classes = waiting_classes(e, c);
    if (!classes)
        return over(c) || c->state == QS_TCP_CLOSED ? QS_ERR_EOF : 0;
    if (qs_class_first(classes) < prio)
        return 0;
    const struct qs_message_record *r = most_urgent(messages_of(e, c));
    *out = r ? (struct qs_message){r->seq.v, r->len, r->prio, false} : next_in_order(e, c);
    if (out->len)
        return 1;
    qs_messages_refuse(e, c);
    return 0;
}

/* Is it one of `c` that waits? */
static bool waits(struct qs_engine *e, const struct qs_block *c, const struct qs_message *m)
{
    qs_seq seq = {m->place};
    const struct qs_message_record *r = record_at(messages_of(e, c), seq);
    if (r)
        return !r->taken && r->len == m->len;
    return m->len && qs_seq_eq(seq, front_of(c)) &&
           m->len <= qs_seq_span(seq, messages_of(e, c)->scan);
}

int qs_conn_message_peek(qs_engine *e, qs_conn handle, const struct qs_message *m, size_t from,
                         struct qs_span *spans, size_t n)
{
    struct qs_block *c;
    qs_err err = framed(e, handle, &c);
    if (err)
        return err;
    if (!waits(e, c, m) || from >= m->len)
        return QS_ERR_ARG;
    uint32_t first = c->ooo_head, left = m->len - (uint32_t)from;
    qs_seq seq = {m->place};
    struct run r = qs_seq_lt(seq, end_of_order(c)) ? run_in_order(e, c, seq)
                                                   : run_behind_hole(e, &first, seq, m->len);
    struct qs_bytes_pos at = qs_bytes_skip(&e->pool, r.at, (uint32_t)from);
    size_t done = 0;
    for (; left && done < n; done++) {
        const struct qs_chunk *k = &e->pool.chunks[at.chunk];
        uint32_t len = qs_min_u32(left, (uint32_t)k->start + k->len - at.at);
        spans[done] = (struct qs_span){k->data + at.at, len};
        left -= len;
        at = (struct qs_bytes_pos){k->next,
                                   k->next == QS_NO_IDX ? 0 : e->pool.chunks[k->next].start};
    }
    return (int)done;
}

qs_err qs_conn_message_done(qs_engine *e, qs_conn handle, const struct qs_message *m)
{
    struct qs_block *c;
    qs_err err = framed(e, handle, &c);
    if (err)
        return err;
    if (!waits(e, c, m))
        return QS_ERR_ARG;
    struct qs_messages *of = messages_of(e, c);
    struct qs_message_record *r = record_at(of, (qs_seq){m->place});
    bool was_full = of->n_records == QS_MESSAGE_RECORDS;
    qs_class_count(e, m->prio, QS_CLASS_MESSAGES);
    if (r && !qs_seq_eq(r->seq, front_of(c)))
        qs_class_count(e, r->prio, QS_CLASS_OVERTOOK);
    if (r) {
        take_record(of, r);
    } else {
        qs_source_charge(e, &c->remote, qs_served_as(c, c->prio), m->len);
        qs_block_read(e, c, m->len);
    }
    skip_taken(e, c);
    if (was_full && !qs_messages_arrived(e, c)) { /* looks at what had no place */
        qs_messages_refuse(e, c);
        return 0;
    }
    raise(e, c, waiting_classes(e, c));
    qs_messages_ended(e, c);
    return 0;
}

void qs_messages_refuse(struct qs_engine *e, struct qs_block *c)
{
    qs_class_count(e, c->prio, QS_CLASS_FRAMING_ERRORS);
    qs_tcp_reset_conn(e, c);
    qs_block_end(e, c, QS_ERR_FRAMING);
}
