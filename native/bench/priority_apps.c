/* SPDX-License-Identifier: Apache-2.0 */
#include "priority_apps.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "priority.h"
#include "qstack/qs_app.h"

#define APPS_MAX 2u
#define WAIT QS_MS(100)
/* Of what qs_app_set_user() keeps: octets of a request that is not whole, and its mark. */
#define OCTETS_MASK 0xffu
#define POISONED 0x100u

static struct apps {
    struct apps_opts opts;
    uint32_t n;
    qs_app *app[APPS_MAX];
    pthread_t thread[APPS_MAX];
    pthread_mutex_t lock; /* of `stopping` */
    pthread_cond_t stops;
    bool stopping;
} apps = {.lock = PTHREAD_MUTEX_INITIALIZER, .stops = PTHREAD_COND_INITIALIZER};

static void die(const char *what)
{
    fprintf(stderr, "qs-priority-server: %s\n", what);
    exit(1);
}

uint32_t apps_add(qs_stack *s, const struct apps_opts *o)
{
    uint32_t index = 0;
    apps.opts = *o;
    if (apps.n == APPS_MAX || qs_app_new(&apps.app[apps.n], &index, s, 0) != 0)
        die("no application thread");
    apps.n++;
    return index;
}

static bool is_stopping(void)
{
    pthread_mutex_lock(&apps.lock);
    bool stopping = apps.stopping;
    pthread_mutex_unlock(&apps.lock);
    return stopping;
}

/* A handler that waits for something. */
static void sleep_unless_stopping(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + apps.opts.sleep_ns;
    until.tv_sec += (time_t)(ns / QS_S(1).ns);
    until.tv_nsec = (long)(ns % QS_S(1).ns);
    pthread_mutex_lock(&apps.lock);
    while (!apps.stopping && pthread_cond_timedwait(&apps.stops, &apps.lock, &until) == 0)
        ;
    pthread_mutex_unlock(&apps.lock);
}

static void answer(qs_app *a, qs_conn c, bool poisoned)
{
    static const uint8_t reply[REPLY_BYTES];
    if (poisoned)
        sleep_unless_stopping();
    work_for(apps.opts.work_ns);
    if (qs_app_write(a, c, reply, sizeof reply) != sizeof reply)
        (void)qs_app_abort(a, c); /* its peer does not read */
}

/* Octets of a connection, of which `user` says what came before. @return the same for the next. */
static uint64_t take(qs_app *a, const struct qs_app_event *ev)
{
    uint64_t user = ev->user;
    for (uint32_t at = 0; at < ev->len;) {
        uint32_t have = user & OCTETS_MASK, left = ev->len - at, n = REQUEST_BYTES - have;
        if (have == 0 && ev->data[at] == POISON_MARK)
            user |= POISONED;
        n = n < left ? n : left;
        at += n;
        user += n;
        if (have + n < REQUEST_BYTES)
            break;
        answer(a, ev->conn, user & POISONED);
        user = 0;
    }
    return user;
}

static void *serve(void *arg)
{
    qs_app *a = arg;
    struct qs_app_event ev;
    while (!is_stopping()) {
        if (qs_app_wait(a, &ev, 1, WAIT) != 1)
            continue;
        if (ev.flags & QS_EVENT_READABLE)
            (void)!qs_app_set_user(a, ev.conn, take(a, &ev)); /* stale: it was given up */
        if (ev.flags & QS_EVENT_EOF)
            (void)qs_app_close(a, ev.conn);
    }
    return NULL;
}

void apps_start(void)
{
    for (uint32_t i = 0; i < apps.n; i++)
        if (pthread_create(&apps.thread[i], NULL, serve, apps.app[i]) != 0)
            die("no thread");
}

void apps_stop(void)
{
    pthread_mutex_lock(&apps.lock);
    apps.stopping = true;
    pthread_cond_broadcast(&apps.stops);
    pthread_mutex_unlock(&apps.lock);
    for (uint32_t i = 0; i < apps.n; i++) {
        qs_app_wake(apps.app[i]);
        pthread_join(apps.thread[i], NULL);
    }
}

void apps_free(void)
{
    for (uint32_t i = 0; i < apps.n; i++)
        qs_app_free(apps.app[i]);
}
