/* SPDX-License-Identifier: Apache-2.0 */
/* The call that moves buckets, in its three phases: both sides are asked, the table is written, the
 * flows follow: docs/design/021-moving-flows.md. */
#include <stdlib.h>
#include <string.h>

#include "io/clock.h"
#include "io/diag.h"
#include "io/softnic_layout.h"
#include "runtime/flows.h"

/* A move that is asked for. */
struct plan {
    const struct qs_bucket_move *moves;
    size_t n;
    uint16_t from[QS_BUCKETS_MAX]; /* by bucket; QS_NO_HOME: it does not move */
};

/* ---- what is asked ---- */

static uint32_t home_of(const struct qs_stack *s, uint32_t bucket)
{
    uint16_t home = __atomic_load_n(&s->flows->home[bucket], __ATOMIC_ACQUIRE);
    return home == QS_NO_HOME
               ? __atomic_load_n(&s->driver->softnic->indir[bucket], __ATOMIC_RELAXED)
               : home;
}

static bool is_running(struct qs_stack *s)
{
    pthread_mutex_lock(&s->lock);
    bool running = s->running;
    pthread_mutex_unlock(&s->lock);
    return running;
}

static qs_err check(struct qs_stack *s, const struct plan *p, struct qs_diag *diag)
{
    struct qs_bucket_set seen = {{0}};
    if (!is_running(s))
        return qs_fail(diag, QS_ERR_STATE, "%s: buckets move while the stack runs", s->ifname);
    if (!s->driver->softnic)
        return qs_fail(diag, QS_ERR_NOTSUP, "%s: the NIC does not say how it hashes", s->ifname);
    for (size_t i = 0; i < p->n; i++) {
        const struct qs_bucket_move *m = &p->moves[i];
        if (m->bucket >= QS_SOFTNIC_INDIR_SIZE)
            return qs_fail(diag, QS_ERR_ARG, "%s: there is no bucket %u, the last one is %u",
                           s->ifname, m->bucket, QS_SOFTNIC_INDIR_SIZE - 1);
        if (m->queue >= s->opts.n_queues)
            return qs_fail(diag, QS_ERR_ARG, "%s: there is no queue %u, the last one is %u",
                           s->ifname, m->queue, s->opts.n_queues - 1);
        if (qs_bucket_in(&seen, m->bucket))
            return qs_fail(diag, QS_ERR_ARG, "%s: bucket %u is to be in two queues", s->ifname,
                           m->bucket);
        qs_bucket_add(&seen, m->bucket);
    }
    return 0;
}

static void make_plan(const struct qs_stack *s, struct plan *p)
{
    for (uint32_t b = 0; b < QS_BUCKETS_MAX; b++)
        p->from[b] = QS_NO_HOME;
    for (size_t i = 0; i < p->n; i++) {
        uint32_t bucket = p->moves[i].bucket, from = home_of(s, bucket);
        s->flows->to[bucket] = (uint16_t)p->moves[i].queue;
        if (from != p->moves[i].queue)
            p->from[bucket] = (uint16_t)from;
    }
}

/* ---- letters ---- */

/* A letter to each queue, with the buckets that `side` has there: those that come or those that go.
 * They are made before the first one is posted. */
static qs_err write_letters(const struct qs_stack *s, const struct plan *p,
                            enum qs_letter_kind kind, const uint16_t *side,
                            struct qs_letter *letters[QS_N_QUEUES_MAX], uint32_t *n)
{
    qs_err err = 0;
    for (uint32_t b = 0; b < QS_BUCKETS_MAX; b++) {
        if (p->from[b] == QS_NO_HOME)
            continue;
        struct qs_letter **l = &letters[side[b]];
        if (!*l) {
            *l = qs_letter_new(kind, 0);
            if (!*l) {
                err = QS_ERR_NOMEM;
                break;
            }
            (*l)->round = __atomic_load_n(&s->flows->round, __ATOMIC_RELAXED);
            ++*n;
        }
        qs_bucket_add(&(*l)->set, b);
    }
    return err;
}

static void post(struct qs_stack *s, struct qs_letter *letters[QS_N_QUEUES_MAX])
{
    for (uint32_t q = 0; q < s->opts.n_queues; q++)
        if (letters[q])
            (void)qs_letter_post(s, q, letters[q]);
}

static void forget(struct qs_letter *letters[QS_N_QUEUES_MAX])
{
    for (uint32_t q = 0; q < QS_N_QUEUES_MAX; q++)
        free(letters[q]);
}

/* ---- phases ---- */

static bool all_answered(struct qs_stack *s, uint32_t round)
{
    (void)round;
    return __atomic_load_n(&s->flows->answers, __ATOMIC_ACQUIRE) == 0 ||
           __atomic_load_n(&s->stopping, __ATOMIC_ACQUIRE);
}

static bool wait_for_answers(struct qs_stack *s, qs_dur timeout)
{
    (void)qs_arrivals_wait(s, all_answered, 0, timeout);
    return __atomic_load_n(&s->flows->answers, __ATOMIC_ACQUIRE) == 0;
}

/* Pairs of queues between which something moves. */
static uint32_t count_pairs(const struct qs_stack *s, const struct plan *p)
{
    _Static_assert(QS_N_QUEUES_MAX <= 64, "a set of queues is a word");
    uint64_t to[QS_N_QUEUES_MAX] = {0};
    uint32_t n = 0;
    for (uint32_t b = 0; b < QS_BUCKETS_MAX; b++)
        if (p->from[b] != QS_NO_HOME)
            to[p->from[b]] |= (uint64_t)1 << s->flows->to[b];
    for (uint32_t q = 0; q < QS_N_QUEUES_MAX; q++)
        n += (uint32_t)__builtin_popcountll(to[q]);
    return n;
}

/* The letters of all phases, so that memory lacks before anything has changed. */
struct letters {
    struct qs_letter *ask[QS_N_QUEUES_MAX], *hold[QS_N_QUEUES_MAX], *undo[QS_N_QUEUES_MAX],
        *leave[QS_N_QUEUES_MAX];
    uint32_t n_ask, n_hold, n_undo, n_leave;
};

static qs_err write_all(const struct qs_stack *s, const struct plan *p, struct letters *l)
{
    const uint16_t *to = s->flows->to;
    qs_err err = write_letters(s, p, QS_LETTER_ASK, p->from, l->ask, &l->n_ask);
    if (!err)
        err = write_letters(s, p, QS_LETTER_HOLD, to, l->hold, &l->n_hold);
    if (!err)
        err = write_letters(s, p, QS_LETTER_RELEASE, to, l->undo, &l->n_undo);
    if (!err)
        err = write_letters(s, p, QS_LETTER_LEAVE, p->from, l->leave, &l->n_leave);
    if (err) {
        forget(l->ask);
        forget(l->hold);
        forget(l->undo);
        forget(l->leave);
    }
    return err;
}

static void undo(struct qs_stack *s, struct letters *l)
{
    (void)__atomic_add_fetch(&s->flows->round, 1, __ATOMIC_ACQ_REL); /* late answers */
    post(s, l->undo);
    forget(l->leave);
}

static qs_err carry_out(struct qs_stack *s, const struct plan *p, qs_table_fn write, void *ctx,
                        qs_dur timeout, struct qs_diag *diag)
{
    struct qs_flows *f = s->flows;
    struct letters l = {0};
    (void)__atomic_add_fetch(&f->round, 1, __ATOMIC_ACQ_REL);
    f->written_last = false;
    qs_err err = write_all(s, p, &l);
    if (err)
        return qs_fail(diag, err, "%s: no memory to move buckets", s->ifname);
    __atomic_store_n(&f->answers, l.n_ask + l.n_hold, __ATOMIC_RELEASE);
    post(s, l.hold);
    post(s, l.ask);
    if (!wait_for_answers(s, timeout)) {
        undo(s, &l);
        return qs_fail(
            diag, QS_ERR_AGAIN,
            "%s: a worker, or an application thread, did not answer in time; nothing has moved",
            s->ifname);
    }
    err = write(ctx, p->moves, p->n);
    if (err) {
        undo(s, &l);
        return qs_fail(diag, err, "%s: the table was not written: %s; nothing has moved", s->ifname,
                       qs_strerror(err));
    }
    forget(l.undo);
    f->written = qs_clock_now();
    __atomic_store_n(&f->answers, count_pairs(s, p), __ATOMIC_RELEASE);
    f->written_last = true;
    post(s, l.leave);
    if (!wait_for_answers(s, timeout))
        return qs_fail(diag, QS_ERR_BUSY, "%s: not all connections have arrived yet; they will",
                       s->ifname);
    return 0;
}

/* Did the call give up before all flows of the last move had arrived, and have they not yet? */
static bool is_under_way(const struct qs_stack *s)
{
    return s->flows->written_last && __atomic_load_n(&s->flows->answers, __ATOMIC_ACQUIRE) > 0;
}

qs_err qs_stack_buckets_move(qs_stack *s, const struct qs_bucket_move *moves, size_t n,
                             qs_table_fn write, void *ctx, qs_dur timeout, struct qs_diag *diag)
{
    struct plan p = {.moves = moves, .n = n};
    if (pthread_mutex_trylock(&s->flows->lock) != 0)
        return qs_fail(diag, QS_ERR_BUSY, "%s: buckets are moving already", s->ifname);
    qs_err err = check(s, &p, diag);
    if (!err && is_under_way(s))
        err = qs_fail(diag, QS_ERR_BUSY, "%s: buckets are moving already", s->ifname);
    if (!err) {
        make_plan(s, &p);
        err = carry_out(s, &p, write, ctx, timeout, diag);
    }
    pthread_mutex_unlock(&s->flows->lock);
    return err;
}

size_t qs_stack_bucket_frames(const qs_stack *s, uint32_t queue, uint64_t *out, size_t n)
{
    const uint64_t *frames = queue < s->opts.n_queues ? s->queues[queue].flows.frames_of : NULL;
    size_t count = n < QS_SOFTNIC_INDIR_SIZE ? n : QS_SOFTNIC_INDIR_SIZE;
    for (size_t i = 0; frames && i < count; i++)
        out[i] = __atomic_load_n(&frames[i], __ATOMIC_RELAXED);
    return frames ? count : 0;
}

qs_err qs_stack_flow_stats(const qs_stack *s, uint32_t queue, struct qs_flow_stats *out)
{
    memset(out, 0, sizeof *out);
    if (queue >= s->opts.n_queues)
        return QS_ERR_ARG;
    const struct qs_flow_stats *x = &s->queues[queue].flows.stats;
    out->arrived = __atomic_load_n(&x->arrived, __ATOMIC_RELAXED);
    out->lost = __atomic_load_n(&x->lost, __ATOMIC_RELAXED);
    out->held = __atomic_load_n(&x->held, __ATOMIC_RELAXED);
    out->relayed = __atomic_load_n(&x->relayed, __ATOMIC_RELAXED);
    out->frames_lost = __atomic_load_n(&x->frames_lost, __ATOMIC_RELAXED);
    out->pause.ns = __atomic_load_n(&x->pause.ns, __ATOMIC_RELAXED);
    return 0;
}
