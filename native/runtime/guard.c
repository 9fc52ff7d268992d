/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/guard.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/clock.h"
#include "io/diag.h"

/* CPU time of one call. What takes longer time and again has answered nothing. */
#define BUDGET QS_US(50)
/* CPU time since it was noticed: what takes longer does not return by itself. */
#define LIMIT QS_MS(5)
#define LOOK_EVERY QS_MS(5)
/* Times that a function is interrupted before it is not called any more. */
#define STRIKES 3u

/* A thread that calls functions. */
struct watched {
    struct watched *next;
    const struct qs_guards *of;
    pthread_t thread;
    clockid_t cpu_clock; /* of the thread */
    sigjmp_buf leave;
    uint64_t began_ns;                /* atomic: of the call that runs; 0: none does */
    uint64_t noticed_ns, noticed_cpu; /* began_ns of a call that took long; CPU time by then */
    uint64_t doomed_ns;               /* atomic: began_ns of the call to be left */
};

struct qs_guard {
    struct qs_guard *next;
    struct qs_guards *of;
    qs_framing_fn framing;
    qs_classify_fn classify;
    void *ctx;
    uint64_t overruns, interrupted; /* relaxed atomics */
    bool suspect;                   /* likewise: the last call was late, for whatever reason */
};

struct qs_guards {
    pthread_mutex_t lock; /* of the lists */
    pthread_cond_t ends;
    struct watched *watched;
    struct qs_guard *guards;
    pthread_t thread;
    bool stopping;
};

static __thread struct watched *mine __attribute__((tls_model("initial-exec")));

/* ---- signals, of the whole process ---- */

static const int caught[] = {SIGURG, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
#define N_CAUGHT (sizeof caught / sizeof caught[0])

static struct sigaction before[N_CAUGHT];
static pthread_once_t installed = PTHREAD_ONCE_INIT;

static uint64_t began_ns(const struct watched *w)
{
    return __atomic_load_n(&w->began_ns, __ATOMIC_ACQUIRE);
}

/* Is the call of this thread to be left? A late SIGURG must not end the next one. */
static bool is_doomed(const struct watched *w, int sig)
{
    uint64_t began = began_ns(w);
    return began && (sig != SIGURG || began == __atomic_load_n(&w->doomed_ns, __ATOMIC_ACQUIRE));
}

/* As if this handler were not there. */
static void pass_on(int sig, siginfo_t *info, void *context)
{
    size_t i = 0;
    while (caught[i] != sig)
        i++;
    const struct sigaction *old = &before[i];
    if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(sig, info, context);
    } else if (old->sa_handler == SIG_DFL && sig != SIGURG) {
        (void)sigaction(sig, old, NULL); /* the instruction faults again, with its usual end */
    } else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(sig);
    }
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
    if (mine && is_doomed(mine, sig))
        siglongjmp(mine->leave, 1);
    pass_on(sig, info, context);
}

static void install(void)
{
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = on_signal;
    a.sa_flags =
        SA_SIGINFO | SA_NODEFER | SA_ONSTACK; /* the handler may be left: no mask to undo */
    sigemptyset(&a.sa_mask);
    for (size_t i = 0; i < N_CAUGHT; i++)
        (void)sigaction(caught[i], &a, &before[i]);
}

/* ---- the thread that looks ---- */

/* A call that was there at the last look, too, is left when its thread has had LIMIT since then. */
static void look(struct qs_guards *g)
{
    for (struct watched *w = g->watched; w; w = w->next) {
        uint64_t began = began_ns(w);
        if (!began)
            continue;
        uint64_t cpu = qs_clock_cpu_ns(w->cpu_clock);
        if (began != w->noticed_ns) {
            w->noticed_ns = began;
            w->noticed_cpu = cpu;
        } else if (cpu - w->noticed_cpu >= LIMIT.ns) {
            __atomic_store_n(&w->doomed_ns, began, __ATOMIC_RELEASE);
            (void)pthread_kill(w->thread, SIGURG); /* it is in the call, or was just now */
        }
    }
}

static void *watch(void *arg)
{
    struct qs_guards *g = arg;
    pthread_mutex_lock(&g->lock);
    while (!g->stopping) {
        look(g);
        qs_time next = qs_time_after(qs_clock_now(), LOOK_EVERY);
        struct timespec until = {(time_t)(next.ns / 1000000000u), (long)(next.ns % 1000000000u)};
        (void)pthread_cond_clockwait(&g->ends, &g->lock, CLOCK_MONOTONIC, &until);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

struct qs_guards *qs_guards_new(struct qs_diag *diag)
{
    struct qs_guards *g = calloc(1, sizeof *g);
    sigset_t all, old;
    if (!g) {
        (void)qs_fail(diag, QS_ERR_NOMEM, "no memory to watch functions");
        return NULL;
    }
    pthread_once(&installed, install);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->ends, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the application's */
    int error = pthread_create(&g->thread, NULL, watch, g);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!error) {
        (void)pthread_setname_np(g->thread, "qs-guard");
        return g;
    }
    (void)qs_fail(diag, QS_ERR_SYS, "no thread to watch functions: %s", strerror(error));
    free(g);
    return NULL;
}

void qs_guards_free(struct qs_guards *g)
{
    if (!g)
        return;
    pthread_mutex_lock(&g->lock);
    g->stopping = true;
    pthread_cond_signal(&g->ends);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->thread, NULL);
    for (struct watched *w; (w = g->watched); free(w))
        g->watched = w->next;
    for (struct qs_guard *f; (f = g->guards); free(f))
        g->guards = f->next;
    pthread_cond_destroy(&g->ends);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* ---- calls ---- */

struct qs_guard *qs_guard_new(struct qs_guards *g, qs_framing_fn framing, qs_classify_fn classify,
                              void *ctx)
{
    struct qs_guard *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    *f = (struct qs_guard){
        .next = g->guards, .of = g, .framing = framing, .classify = classify, .ctx = ctx};
    g->guards = f;
    return f;
}

void qs_guard_stats(const struct qs_guard *g, struct qs_function_stats *out)
{
    uint64_t interrupted = __atomic_load_n(&g->interrupted, __ATOMIC_RELAXED);
    *out = (struct qs_function_stats){.overruns = __atomic_load_n(&g->overruns, __ATOMIC_RELAXED),
                                      .interrupted = interrupted,
                                      .set_aside = interrupted >= STRIKES};
}

/* This thread, known to the one that looks; signals get through to it. */
static __attribute__((noinline)) struct watched *known(struct qs_guards *g)
{
    if (mine && mine->of == g)
        return mine;
    struct watched *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->of = g;
    w->thread = pthread_self();
    (void)pthread_getcpuclockid(w->thread, &w->cpu_clock); /* a thread that runs has one */
    sigset_t mask;
    sigemptyset(&mask);
    for (size_t i = 0; i < N_CAUGHT; i++)
        sigaddset(&mask, caught[i]);
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    pthread_mutex_lock(&g->lock);
    w->next = g->watched;
    g->watched = w;
    pthread_mutex_unlock(&g->lock);
    mine = w;
    return w;
}

static void add(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* CPU time is what counts, and is dear to ask for; so it is after a call that took long by the
 * clock, when the thread may have been kept from its processor. @return true when the call that
 * ends now was too long. */
static bool overran(struct qs_guard *f, uint64_t began_ns, uint64_t cpu_began_ns)
{
    bool late = qs_clock_now().ns - began_ns > BUDGET.ns;
    if (late && cpu_began_ns)
        late = qs_clock_cpu_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_began_ns > BUDGET.ns;
    __atomic_store_n(&f->suspect, late, __ATOMIC_RELAXED);
    return late && cpu_began_ns;
}

static int64_t guarded(struct qs_guard *f, const struct qs_flow *flow, const uint8_t *data,
                       size_t len)
{
    struct watched *w = known(f->of);
    if (!w || __atomic_load_n(&f->interrupted, __ATOMIC_RELAXED) >= STRIKES)
        return -1;
    bool suspect = __atomic_load_n(&f->suspect, __ATOMIC_RELAXED);
    const uint64_t cpu_began = suspect ? qs_clock_cpu_ns(CLOCK_THREAD_CPUTIME_ID) : 0;
    const uint64_t began = qs_clock_now().ns;
    if (sigsetjmp(w->leave, 0)) {
        __atomic_store_n(&mine->began_ns, 0, __ATOMIC_RELEASE);
        add(&f->interrupted);
        return -1;
    }
    __atomic_store_n(&w->began_ns, began, __ATOMIC_RELEASE);
    int64_t answer =
        f->framing ? f->framing(data, len, f->ctx) : f->classify(flow, data, len, f->ctx);
    __atomic_store_n(&w->began_ns, 0, __ATOMIC_RELEASE);
    if (!overran(f, began, cpu_began))
        return answer;
    add(&f->overruns);
    return f->framing ? answer : -1; /* the length is right, however late */
}

int64_t qs_guarded_framing(const uint8_t *data, size_t len, void *ctx)
{
    return guarded(ctx, NULL, data, len);
}

int qs_guarded_classify(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx)
{
    return (int)guarded(ctx, flow, data, len);
}
