/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/scale.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io/clock.h"
#include "io/diag.h"
#include "runtime/stack.h"

/* Figures are taken, and something may be done, once in this. */
#define PERIOD QS_MS(1)
/* While no worker is busy for more than this part: looking costs more than all else then. */
#define IDLE_PERMILLE 100u
#define IDLE_PERIOD QS_MS(3)
/* If none can be parked either, the next look is when a worker has been busy for so long. */
#define BUSY_AGAIN QS_US(500)
#define UNTIL_TOLD ((qs_dur){UINT64_MAX})
/* A worker that was busy for this part of each of so many periods has too much. */
#define HOT_PERMILLE 800u
#define HOT_PERIODS 2u
/* The load that one worker fewer would have is little if it is below this for so long. Well below
 * HOT_PERMILLE: what was just taken away is not missed at once. */
#define CALM_PERMILLE 500u
#define CALM_FOR QS_MS(500)

struct qs_scale {
    struct qs_stack *stack;
    pthread_t thread;
    int event_fd; /* readable: the thread is to look, or to end */
    bool ending;  /* atomic */
    bool running, dozes;
    struct qs_scaler scaler;
    qs_time last;
    uint64_t busy_ns[QS_N_QUEUES_MAX]; /* of workers, at `last` */
    uint64_t frames[QS_N_QUEUES_MAX];  /* of queues, likewise */
    uint64_t load[QS_N_QUEUES_MAX];    /* frames of queues in the last period */
};

/* ---- what to do ---- */

static bool has_too_much(const struct qs_scale_worker *w)
{
    return w->n_queues > 1 && w->busy_permille >= HOT_PERMILLE; /* one queue cannot be shared */
}

/* Periods in which a worker has had too much, the last one and those before it that its turn took:
 * a handler was long, or somebody else had the core. */
static uint32_t hot_periods(const struct qs_scale_worker *w, qs_dur since_last)
{
    uint64_t busy_permille = w->busy_permille * since_last.ns / PERIOD.ns; /* of one period */
    return has_too_much(w) ? (uint32_t)((busy_permille + 1000 - HOT_PERMILLE) / 1000) : 0;
}

enum qs_scale_step qs_scaler_step(struct qs_scaler *x, const struct qs_scale_worker *workers,
                                  uint32_t n, qs_dur since_last, qs_time now)
{
    uint32_t sum = 0, hot = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t periods = hot_periods(&workers[i], since_last);
        sum += workers[i].busy_permille;
        hot = periods > hot ? periods : hot;
    }
    x->n_hot = hot ? x->n_hot + hot : 0;
    if (hot || n < 2 || sum > CALM_PERMILLE * (n - 1))
        x->calm_since.ns = 0;
    else if (x->calm_since.ns == 0)
        x->calm_since = now;
    if (x->n_hot >= HOT_PERIODS) {
        x->n_hot = 0;
        return QS_SCALE_UP;
    }
    if (x->calm_since.ns && now.ns - x->calm_since.ns >= CALM_FOR.ns) {
        x->calm_since.ns = 0;
        return QS_SCALE_DOWN;
    }
    return QS_SCALE_KEEP;
}

uint64_t qs_scale_half(uint64_t queues, const uint64_t load[QS_N_QUEUES_MAX])
{
    uint64_t given = 0, given_load = 0, kept_load = 0;
    for (bool is_first = true; queues; is_first = false) {
        uint32_t most = qs_first_of(queues);
        for (uint64_t left = queues; left; left &= left - 1)
            if (load[qs_first_of(left)] > load[most])
                most = qs_first_of(left);
        queues &= ~qs_set_of(most);
        /* The last one goes if none has: load may be where nobody looked. */
        if (!is_first && (given_load < kept_load || (!queues && !given))) {
            given |= qs_set_of(most);
            given_load += load[most];
        } else {
            kept_load += load[most];
        }
    }
    return given;
}

/* ---- figures ---- */

/* Workers that are not parked, under their numbers. */
struct figures {
    struct qs_scale_worker of[QS_N_QUEUES_MAX];
    uint32_t worker[QS_N_QUEUES_MAX];
    uint64_t queues[QS_N_QUEUES_MAX];
    uint32_t n;
    uint32_t parked; /* one that is, or QS_NO_WORKER */
};

static uint64_t queues_of(const struct qs_stack *s, uint32_t worker)
{
    uint64_t set = 0;
    for (uint32_t q = 0; q < s->opts.n_queues; q++)
        if (__atomic_load_n(&s->queues[q].wanted, __ATOMIC_ACQUIRE) == worker)
            set |= qs_set_of(q);
    return set;
}

static uint32_t busy_permille(struct qs_scale *c, uint32_t worker, uint64_t elapsed_ns)
{
    uint64_t busy = __atomic_load_n(&c->stack->workers[worker].stats.busy_ns, __ATOMIC_RELAXED);
    uint64_t part = (busy - c->busy_ns[worker]) * 1000 / elapsed_ns;
    c->busy_ns[worker] = busy;
    return part < UINT32_MAX / QS_N_QUEUES_MAX ? (uint32_t)part : UINT32_MAX / QS_N_QUEUES_MAX;
}

static void take_figures(struct qs_scale *c, struct figures *f, uint64_t elapsed_ns)
{
    const struct qs_stack *s = c->stack;
    f->n = 0;
    f->parked = QS_NO_WORKER;
    for (uint32_t w = 0; w < s->opts.workers_max; w++) {
        uint32_t state = __atomic_load_n(&s->workers[w].state, __ATOMIC_ACQUIRE);
        uint32_t busy = busy_permille(c, w, elapsed_ns);
        if (state == QS_WORKER_PARKED && f->parked == QS_NO_WORKER)
            f->parked = w;
        if (state != QS_WORKER_ACTIVE)
            continue;
        f->worker[f->n] = w;
        f->queues[f->n] = queues_of(s, w);
        f->of[f->n].busy_permille = busy;
        f->of[f->n].n_queues = (uint32_t)__builtin_popcountll(f->queues[f->n]);
        f->n++;
    }
    for (uint32_t q = 0; q < s->opts.n_queues; q++) {
        uint64_t frames = 0;
        (void)qs_stack_counters(s, q, &frames, 1); /* rx_frames */
        c->load[q] = frames - c->frames[q];
        c->frames[q] = frames;
    }
}

/* ---- doing it ---- */

/* Half of the busiest worker's load goes to one that was parked. What cannot be now, because a
 * queue is under way or somebody else changes workers, may be in the next period. */
static void scale_up(struct qs_scale *c, const struct figures *f)
{
    struct qs_diag ignored;
    uint32_t hot = QS_NO_WORKER;
    for (uint32_t i = 0; i < f->n; i++)
        if (has_too_much(&f->of[i]) &&
            (hot == QS_NO_WORKER || f->of[i].busy_permille > f->of[hot].busy_permille))
            hot = i;
    if (hot == QS_NO_WORKER || f->parked == QS_NO_WORKER ||
        qs_stack_worker_wake(c->stack, f->parked, &ignored) != 0)
        return;
    for (uint64_t left = qs_scale_half(f->queues[hot], c->load); left; left &= left - 1)
        (void)!qs_stack_move(c->stack, qs_first_of(left), f->parked, &ignored);
}

static void scale_down(struct qs_scale *c, const struct figures *f)
{
    struct qs_diag ignored;
    uint32_t least = 0;
    if (f->n <= c->stack->opts.workers_min)
        return;
    for (uint32_t i = 1; i < f->n; i++)
        if (f->of[i].busy_permille <= f->of[least].busy_permille)
            least = i;
    (void)!qs_stack_worker_park(c->stack, f->worker[least], &ignored);
}

static bool all_are_idle(const struct figures *f)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (f->of[i].busy_permille > IDLE_PERMILLE)
            return false;
    return true;
}

/* From now on workers tell when they have been busy, or no more. */
static void ask_workers(struct qs_scale *c, bool on)
{
    for (uint32_t w = 0; w < c->stack->opts.workers_max; w++)
        __atomic_store_n(&c->stack->workers[w].tell_at_busy_ns,
                         on ? c->busy_ns[w] + BUSY_AGAIN.ns : UINT64_MAX, __ATOMIC_RELEASE);
    c->dozes = on;
}

void qs_scale_tell(struct qs_worker *w)
{
    uint64_t one = 1;
    __atomic_store_n(&w->tell_at_busy_ns, UINT64_MAX, __ATOMIC_RELAXED);
    ssize_t written = write(w->stack->scale->event_fd, &one, sizeof one);
    (void)written; /* full means that it will look anyhow */
}

/* @return when to look again. */
static qs_dur look(struct qs_scale *c)
{
    struct figures f;
    qs_time now = qs_clock_now();
    if (c->dozes) { /* what made a worker tell came lately */
        ask_workers(c, false);
        c->last.ns = now.ns - PERIOD.ns;
    }
    qs_dur since_last = {now.ns - c->last.ns};
    if (since_last.ns < PERIOD.ns / 2)
        return PERIOD;
    take_figures(c, &f, since_last.ns);
    c->last = now;
    switch (qs_scaler_step(&c->scaler, f.of, f.n, since_last, now)) {
    case QS_SCALE_UP:
        scale_up(c, &f);
        break;
    case QS_SCALE_DOWN:
        scale_down(c, &f);
        break;
    case QS_SCALE_KEEP:
        break;
    }
    if (!all_are_idle(&f))
        return PERIOD;
    if (f.n > c->stack->opts.workers_min)
        return IDLE_PERIOD;
    ask_workers(c, true);
    return UNTIL_TOLD;
}

/* @return false when the thread is to end. */
static bool wait_to_look(const struct qs_scale *c, qs_dur pause)
{
    struct pollfd in = {c->event_fd, POLLIN, 0};
    struct timespec limit = {0, (long)pause.ns};
    uint64_t ignored;
    if (ppoll(&in, 1, pause.ns == UNTIL_TOLD.ns ? NULL : &limit, NULL) > 0)
        (void)!read(c->event_fd, &ignored, sizeof ignored);
    return !__atomic_load_n(&c->ending, __ATOMIC_ACQUIRE);
}

static void *follow(void *arg)
{
    struct qs_scale *c = arg;
    c->last = qs_clock_now();
    for (qs_dur pause = PERIOD; wait_to_look(c, pause); pause = look(c))
        continue;
    return NULL;
}

/* ---- thread ---- */

qs_err qs_scale_start(qs_stack *s, struct qs_diag *diag)
{
    if (s->opts.workers_min == 0)
        return 0;
    struct qs_scale *c = calloc(1, sizeof *c);
    if (!c)
        return qs_fail(diag, QS_ERR_NOMEM, "no memory to follow the load");
    c->stack = s;
    s->scale = c;
    c->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the application's */
    int error = c->event_fd < 0 ? errno : pthread_create(&c->thread, NULL, follow, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        qs_scale_free(s);
        return qs_fail(diag, QS_ERR_SYS, "no thread to follow the load: %s", strerror(error));
    }
    c->running = true;
    return 0;
}

void qs_scale_stop(qs_stack *s)
{
    struct qs_scale *c = s->scale;
    if (!c || !c->running)
        return;
    uint64_t one = 1;
    __atomic_store_n(&c->ending, true, __ATOMIC_RELEASE);
    ssize_t written = write(c->event_fd, &one, sizeof one);
    (void)written; /* full means that it will look anyhow */
    pthread_join(c->thread, NULL);
    c->running = false;
}

void qs_scale_free(qs_stack *s)
{
    struct qs_scale *c = s->scale;
    if (!c)
        return;
    ask_workers(c, false);
    if (c->event_fd >= 0)
        close(c->event_fd);
    free(c);
    s->scale = NULL;
}
