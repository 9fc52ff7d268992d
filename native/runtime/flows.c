/* SPDX-License-Identifier: Apache-2.0 */
/* What workers do when flows move from queue to queue: letters are taken at the beginning of a
 * turn, frames wait for their connections, connections leave some in each turn. The calls are in
 * buckets.c: docs/design/021-moving-flows.md. */
#include "runtime/flows.h"

#include <stdlib.h>
#include <string.h>

#include "core/addr.h"
#include "core/splitmix.h"
#include "io/clock.h"
#include "io/softnic_lookup.h"
#include "qstack/qs_parcel.h"

/* Of a queue. */
#define HELD_MAX 4096u
#define HELD_BYTES_MAX ((size_t)8 << 20)
#define RELAYED_MAX 1024u
/* What leaves in a turn, and places that are looked at for it. */
#define FLOWS_PER_TURN 64u
#define BYTES_PER_TURN ((size_t)256 << 10)
#define LOOKS_PER_TURN 4096u
/* Bursts after which a ring has given up all that was in it when the table was written. */
#define BURSTS_OF_A_RING 256u
/* A connection without room is lost after this. */
#define PATIENCE QS_S(1)

static void count(uint64_t *figure)
{
    qs_stat_add(figure, 1);
}

/* ---- letters ---- */

struct qs_letter *qs_letter_new(enum qs_letter_kind kind, size_t len)
{
    struct qs_letter *l = calloc(1, sizeof *l + len);
    if (l) {
        l->kind = kind;
        l->len = len;
    }
    return l;
}

static void append(struct qs_letter **first, struct qs_letter **last, struct qs_letter *l)
{
    l->next = NULL;
    if (*first)
        (*last)->next = l;
    else
        *first = l;
    *last = l;
}

bool qs_letter_post(struct qs_stack *s, uint32_t queue, struct qs_letter *letter)
{
    struct qs_flow_queue *f = &s->queues[queue].flows;
    bool frame = letter->kind == QS_LETTER_FRAME;
    pthread_mutex_lock(&f->lock);
    bool fits = !frame || f->n_frames < RELAYED_MAX;
    if (fits) {
        append(&f->inbox, &f->inbox_last, letter);
        f->n_frames += frame;
        __atomic_store_n(&f->has_mail, 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&f->lock);
    if (!fits)
        free(letter);
    qs_queue_nudge(s, queue);
    return fits;
}

static struct qs_letter *take_letters(struct qs_flow_queue *f)
{
    pthread_mutex_lock(&f->lock);
    struct qs_letter *l = f->inbox;
    f->inbox = f->inbox_last = NULL;
    f->n_frames = 0;
    __atomic_store_n(&f->has_mail, 0, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&f->lock);
    return l;
}

/* Puts back what was not taken, in front of what has come since. */
static void put_back(struct qs_flow_queue *f, struct qs_letter *first)
{
    struct qs_letter *last = first;
    uint32_t frames = last->kind == QS_LETTER_FRAME;
    for (; last->next; frames += last->kind == QS_LETTER_FRAME)
        last = last->next;
    pthread_mutex_lock(&f->lock);
    last->next = f->inbox;
    if (!f->inbox)
        f->inbox_last = last;
    f->inbox = first;
    f->n_frames += frames;
    __atomic_store_n(&f->has_mail, 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&f->lock);
}

static void answer(struct qs_stack *s, const struct qs_letter *l)
{
    struct qs_flows *flows = s->flows;
    if (l->round != __atomic_load_n(&flows->round, __ATOMIC_ACQUIRE))
        return;
    (void)__atomic_sub_fetch(&flows->answers, 1, __ATOMIC_ACQ_REL);
    qs_arrivals_announce(s);
}

/* ---- frames ---- */

int32_t qs_flow_bucket(const struct qs_stack *s, const struct qs_flow *flow)
{
    const struct qs_softnic *nic = s->driver->softnic;
    struct qs_softnic_verdict verdict;
    if (!nic)
        return -1;
    struct qs_softnic_key key = {
        .sport = {(uint8_t)(flow->remote_port >> 8), (uint8_t)flow->remote_port},
        .dport = {(uint8_t)(flow->local_port >> 8), (uint8_t)flow->local_port},
        .proto = 6,
        .family = qs_addr_is_v4(&flow->remote) ? 4 : 6,
        .present = QS_SOFTNIC_HAS_L4};
    memcpy(key.src, &flow->remote, 16);
    memcpy(key.dst, &flow->local, 16);
    (void)qs_softnic_decide(nic, &key, &verdict);
    return verdict.entry ? -1 : (int32_t)(verdict.hash % QS_SOFTNIC_INDIR_SIZE);
}

/* Bucket of a frame, or -1 as above. */
static int32_t bucket_of_frame(const struct qs_softnic *nic, const struct qs_frame *frame)
{
    const struct qs_softnic_source from = {frame->data, frame->len};
    struct qs_softnic_key key;
    struct qs_softnic_verdict verdict;
    qs_softnic_parse(&from, &key);
    (void)qs_softnic_decide(nic, &key, &verdict);
    return verdict.entry || !verdict.is_ip ? -1 : (int32_t)(verdict.hash % QS_SOFTNIC_INDIR_SIZE);
}

void qs_flows_count(struct qs_queue *q, const struct qs_frame *frames, size_t n)
{
    const struct qs_softnic *nic = q->stack->driver->softnic;
    struct qs_flow_queue *f = &q->flows;
    if (frames[0].flags & QS_FRAME_HASH) {
        for (size_t i = 0; i < n; i++) {
            uint32_t bucket = frames[i].hash % QS_SOFTNIC_INDIR_SIZE;
            if (__atomic_load_n(&nic->indir[bucket], __ATOMIC_RELAXED) == q->idx)
                qs_stat_add(&f->frames_of[bucket], 1);
        }
        return;
    }
    int32_t bucket = bucket_of_frame(nic, &frames[qs_splitmix64(&f->random) % n]);
    if (bucket >= 0)
        qs_stat_add(&f->frames_of[bucket], n);
}

/* A copy of the frame, whose checksum was verified; NULL without memory. */
static struct qs_letter *copy_frame(const struct qs_frame *frame)
{
    struct qs_letter *l = qs_letter_new(QS_LETTER_FRAME, frame->len);
    if (!l)
        return NULL;
    l->frame = *frame;
    l->frame.data = l->data;
    l->frame.flags |= QS_FRAME_CSUM_OK;
    memcpy(l->data, frame->data, frame->len);
    return l;
}

static void hold(struct qs_queue *q, const struct qs_frame *frame)
{
    struct qs_flow_queue *f = &q->flows;
    struct qs_letter *l = NULL;
    if (f->n_held < HELD_MAX && f->held_bytes + frame->len <= HELD_BYTES_MAX)
        l = copy_frame(frame);
    if (!l) {
        count(&f->stats.frames_lost);
        return;
    }
    append(&f->held, &f->held_last, l);
    f->n_held++;
    f->held_bytes += frame->len;
    count(&f->stats.held);
}

static void relay(struct qs_queue *q, uint32_t home, const struct qs_frame *frame)
{
    struct qs_letter *l = copy_frame(frame);
    if (l && qs_letter_post(q->stack, home, l))
        count(&q->flows.stats.relayed);
    else
        count(&q->flows.stats.frames_lost);
}

/* Of the engine, about a segment that came to the queue. */
static bool divert(void *ctx, const struct qs_frame *frame, const struct qs_flow *flow, bool known)
{
    struct qs_queue *q = ctx;
    struct qs_flow_queue *f = &q->flows;
    if (!f->n_holding && !__atomic_load_n(&q->stack->flows->any_home, __ATOMIC_ACQUIRE))
        return false; /* nothing has ever moved */
    int32_t bucket = qs_flow_bucket(q->stack, flow);
    if (bucket < 0)
        return false;
    if (f->n_holding && qs_bucket_in(f->holding, (uint32_t)bucket)) {
        if (known && f->relaying) /* it came before those that are held */
            return false;
        hold(q, frame);
        return true;
    }
    uint16_t home = __atomic_load_n(&q->stack->flows->home[bucket], __ATOMIC_ACQUIRE);
    if (known || home == QS_NO_HOME || home == q->idx)
        return false;
    relay(q, home, frame);
    return true;
}

static void give_frame(struct qs_queue *q, const struct qs_letter *l, bool relayed, qs_time now)
{
    q->flows.relaying = relayed;
    qs_engine_rx(q->engine, &l->frame, 1, now);
    q->flows.relaying = false;
}

/* Takes what was held, in order; what has to wait longer is held again. */
static void release(struct qs_queue *q, qs_time now)
{
    struct qs_flow_queue *f = &q->flows;
    struct qs_letter *l = f->held, *next;
    f->held = f->held_last = NULL;
    f->n_held = 0;
    f->held_bytes = 0;
    for (; l; l = next) {
        next = l->next;
        give_frame(q, l, false, now);
        free(l);
    }
}

/* ---- who comes ---- */

static uint32_t size_of(const struct qs_bucket_set *set)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < QS_BUCKETS_MAX / 64; i++)
        n += (uint32_t)__builtin_popcountll(set->words[i]);
    return n;
}

static void change_holding(struct qs_queue *q, const struct qs_bucket_set *set, bool on)
{
    struct qs_flow_queue *f = &q->flows;
    for (uint32_t i = 0; i < QS_BUCKETS_MAX / 64; i++)
        f->holding->words[i] =
            on ? f->holding->words[i] | set->words[i] : f->holding->words[i] & ~set->words[i];
    f->n_holding = size_of(f->holding);
    qs_engine_divert(q->engine, divert, q, f->n_holding > 0);
}

/* @return false when it has to be tried again. */
static bool take_flow(struct qs_queue *q, const struct qs_letter *l, qs_time now)
{
    struct qs_flow_queue *f = &q->flows;
    qs_conn conn;
    qs_err err = qs_engine_unpack(q->engine, l->data, l->len, now, &conn);
    if (err == 0) {
        q->slots[qs_slot_of(conn)] = l->slot;
        if (l->split.app)
            qs_split_arrive(q->stack, q, l, conn);
        count(&f->stats.arrived);
    } else if (err == QS_ERR_NOMEM && f->no_room.ns == 0) {
        f->no_room = now;
    }
    if (err == QS_ERR_NOMEM && now.ns - f->no_room.ns < PATIENCE.ns)
        return false;
    if (err) {
        count(&f->stats.lost);
        if (l->split.app)
            qs_split_lost(q->stack, l);
    }
    f->no_room.ns = 0;
    return true;
}

static void begin_leaving(struct qs_queue *q, const struct qs_letter *l)
{
    struct qs_flow_queue *f = &q->flows;
    *f->leaving = l->set;
    f->n_leaving = size_of(f->leaving);
    f->leaving_at = 0;
    f->drain = BURSTS_OF_A_RING;
    q->ring_empty = false;
}

static void all_here(struct qs_queue *q, const struct qs_letter *l, qs_time now)
{
    uint64_t pause_ns = qs_clock_now().ns - q->stack->flows->written.ns;
    change_holding(q, &l->set, false);
    release(q, now);
    __atomic_store_n(&q->flows.stats.pause.ns, pause_ns, __ATOMIC_RELAXED);
    answer(q->stack, l);
}

/* @return false when it has to be tried again. */
static bool take_letter(struct qs_queue *q, const struct qs_letter *l, qs_time now)
{
    switch ((enum qs_letter_kind)l->kind) {
    case QS_LETTER_FLOW:
        return take_flow(q, l, now);
    case QS_LETTER_FRAME:
        give_frame(q, l, true, now);
        break;
    case QS_LETTER_ASK: /* keep_or_free() */
    case QS_LETTER_COMMAND:
        break;
    case QS_LETTER_HOLD:
        change_holding(q, &l->set, true);
        answer(q->stack, l);
        break;
    case QS_LETTER_RELEASE:
        change_holding(q, &l->set, false);
        release(q, now);
        break;
    case QS_LETTER_LEAVE:
        begin_leaving(q, l);
        break;
    case QS_LETTER_LAST:
        all_here(q, l, now);
        break;
    case QS_LETTER_KNOWN:
    case QS_LETTER_LOST:
        qs_split_told(q->stack, q, l);
        break;
    }
    return true;
}

/* What is done with later is kept. */
static void keep_or_free(struct qs_flow_queue *f, struct qs_letter *l)
{
    if (l->kind == QS_LETTER_COMMAND) {
        append(&f->commands, &f->commands_last, l);
    } else if (l->kind == QS_LETTER_ASK) {
        free(f->asked);
        f->asked = l;
    } else {
        free(l);
    }
}

/* `*now` becomes later: a connection must not come to a time before that at which it left. */
static bool read_mail(struct qs_queue *q, qs_time *now)
{
    struct qs_flow_queue *f = &q->flows;
    if (!__atomic_load_n(&f->has_mail, __ATOMIC_ACQUIRE))
        return false;
    struct qs_letter *l = take_letters(f), *next;
    *now = qs_clock_now();
    for (; l; l = next) {
        if (!take_letter(q, l, *now)) {
            put_back(f, l);
            break;
        }
        next = l->next;
        keep_or_free(f, l);
    }
    return true;
}

/* A queue that is asked for connections answers when all those that it has may go on. */
static bool answer_when_known(struct qs_queue *q)
{
    struct qs_flow_queue *f = &q->flows;
    if (!f->asked || f->n_arriving)
        return false;
    answer(q->stack, f->asked);
    free(f->asked);
    f->asked = NULL;
    return true;
}

/* ---- who goes ---- */

static bool is_leaving(void *ctx, const struct qs_flow *flow)
{
    const struct qs_queue *q = ctx;
    int32_t bucket = qs_flow_bucket(q->stack, flow);
    return bucket >= 0 && qs_bucket_in(q->flows.leaving, (uint32_t)bucket);
}

/* As is_leaving(), and where it goes. */
struct traveller {
    struct qs_queue *from;
    uint32_t to;
};

static bool is_traveller(void *ctx, const struct qs_flow *flow)
{
    struct traveller *t = ctx;
    if (!is_leaving(t->from, flow))
        return false;
    t->to = t->from->stack->flows->to[qs_flow_bucket(t->from->stack, flow)];
    return true;
}

/* From now on strangers of these buckets are relayed. */
static void give_home(struct qs_queue *q)
{
    struct qs_flows *flows = q->stack->flows;
    __atomic_store_n(&flows->any_home, true, __ATOMIC_RELEASE);
    for (uint32_t b = 0; b < QS_BUCKETS_MAX; b++)
        if (qs_bucket_in(q->flows.leaving, b))
            __atomic_store_n(&flows->home[b], flows->to[b], __ATOMIC_RELEASE);
}

/* Tells each queue that has got some that it has all. */
static void say_last(struct qs_queue *q)
{
    struct qs_stack *s = q->stack;
    for (uint32_t to = 0; to < s->opts.n_queues; to++) {
        struct qs_letter *l = NULL;
        for (uint32_t b = 0; b < QS_BUCKETS_MAX; b++) {
            if (!qs_bucket_in(q->flows.leaving, b) || s->flows->to[b] != to)
                continue;
            if (!l && !(l = qs_letter_new(QS_LETTER_LAST, 0)))
                return; /* without memory it is tried again */
            qs_bucket_add(&l->set, b);
        }
        if (!l)
            continue;
        l->round = __atomic_load_n(&s->flows->round, __ATOMIC_ACQUIRE);
        for (uint32_t i = 0; i < QS_BUCKETS_MAX / 64; i++)
            q->flows.leaving->words[i] &= ~l->set.words[i];
        (void)qs_letter_post(s, to, l);
    }
    q->flows.n_leaving = 0;
}

/* @return octets that left; 0: nobody is to leave any more, or there is no memory now. */
static size_t send_one(struct qs_queue *q)
{
    struct qs_flow_queue *f = &q->flows;
    struct traveller t = {.from = q};
    size_t n = qs_engine_flow_next(q->engine, is_traveller, &t, &f->leaving_at, LOOKS_PER_TURN);
    struct qs_letter *l = n ? qs_letter_new(QS_LETTER_FLOW, n) : NULL;
    if (!l)
        return 0;
    const struct qs_packed packed = qs_engine_pack(q->engine, f->leaving_at++, l->data);
    l->slot = q->slots[qs_slot_of(packed.conn)];
    if (packed.told && packed.listener >= 0 && !q->stack->listeners[packed.listener].fn) {
        l->split.app = q->stack->listeners[packed.listener].app;
        qs_split_leave(q, t.to, l);
    }
    (void)qs_letter_post(q->stack, t.to, l);
    return n;
}

static bool send_flows(struct qs_queue *q)
{
    struct qs_flow_queue *f = &q->flows;
    if (!f->n_leaving)
        return false;
    if (f->drain) {
        if (!q->ring_empty && --f->drain)
            return true;
        f->drain = 0;
        give_home(q);
    }
    size_t sent = 0, n;
    for (uint32_t i = 0; i < FLOWS_PER_TURN && sent < BYTES_PER_TURN; i++, sent += n)
        if ((n = send_one(q)) == 0)
            break;
    if (f->leaving_at == UINT32_MAX)
        say_last(q);
    return true;
}

/* ---- in the worker's turn ---- */

bool qs_flows_run(struct qs_worker *w, qs_time *now)
{
    bool any = false;
    for (uint64_t left = w->runs; left; left &= left - 1) {
        struct qs_queue *q = &w->stack->queues[qs_first_of(left)];
        any |= read_mail(q, now);
        any |= answer_when_known(q);
        any |= send_flows(q);
    }
    return any;
}

bool qs_flows_wait(const struct qs_queue *q)
{
    const struct qs_flow_queue *f = &q->flows;
    return __atomic_load_n(&f->has_mail, __ATOMIC_ACQUIRE) || f->n_leaving ||
           (f->asked && !f->n_arriving);
}

void qs_flows_settle(struct qs_stack *s)
{
    bool any = true;
    qs_time now = qs_clock_now();
    for (uint32_t turns = 0; any && turns < UINT16_MAX; turns++) {
        any = false;
        for (uint32_t i = 0; i < s->opts.n_queues; i++) {
            struct qs_queue *q = &s->queues[i];
            q->ring_empty = true; /* frames stay where they are */
            any |= read_mail(q, &now);
            any |= answer_when_known(q);
            any |= send_flows(q);
        }
    }
}

/* ---- life ---- */

qs_err qs_flows_new(struct qs_stack *s)
{
    s->flows = calloc(1, sizeof *s->flows);
    if (!s->flows)
        return QS_ERR_NOMEM;
    pthread_mutex_init(&s->flows->lock, NULL);
    for (uint32_t b = 0; b < QS_BUCKETS_MAX; b++)
        s->flows->home[b] = QS_NO_HOME;
    return 0;
}

qs_err qs_flows_init_queue(struct qs_queue *q)
{
    struct qs_flow_queue *f = &q->flows;
    pthread_mutex_init(&f->lock, NULL);
    f->holding = calloc(1, sizeof *f->holding);
    f->leaving = calloc(1, sizeof *f->leaving);
    qs_engine_divert(q->engine, divert, q, false);
    if (q->stack->driver->softnic && q->stack->opts.n_queues > 1)
        f->frames_of = calloc(QS_SOFTNIC_INDIR_SIZE, sizeof *f->frames_of);
    return f->holding && f->leaving ? 0 : QS_ERR_NOMEM;
}

static void free_letters(struct qs_letter *l)
{
    for (struct qs_letter *next; l; l = next) {
        next = l->next;
        free(l);
    }
}

void qs_flows_free(struct qs_stack *s)
{
    for (uint32_t i = 0; i < s->opts.n_queues; i++) {
        struct qs_flow_queue *f = &s->queues[i].flows;
        if (!f->holding)
            continue;
        free_letters(f->inbox);
        free_letters(f->held);
        free_letters(f->commands);
        free(f->asked);
        free(f->holding);
        free(f->leaving);
        free(f->frames_of);
        pthread_mutex_destroy(&f->lock);
    }
    if (s->flows)
        pthread_mutex_destroy(&s->flows->lock);
    free(s->flows);
    s->flows = NULL;
}
