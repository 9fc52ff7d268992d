/* SPDX-License-Identifier: Apache-2.0 */
/* Two threads, or two processes, that sleep on the wire: no wake-up is lost, and none is needed to
 * notice that the other one has died. */
#include "pair_rig.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define N_THREADED 100000u
#define N_FORKED 20000u
#define PATIENCE_MS 5000

/* Takes one frame, asleep until it comes. false: nothing came for a long time. */
static bool take_sleeping(struct qs_driver *d, struct qs_frame *f)
{
    while (d->ops->rx(d, 0, f, 1) == 0) {
        struct pollfd in = {d->ops->fd(d, 0), POLLIN, 0};
        if (!d->ops->arm(d, 0) && poll(&in, 1, PATIENCE_MS) != 1)
            return d->ops->rx(d, 0, f, 1) == 1 && (fprintf(stderr, "a wake-up was lost\n"), false);
    }
    return true;
}

/* Answers `n` frames with their own number. */
static bool echo(struct qs_driver *d, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct qs_frame f;
        if (!take_sleeping(d, &f))
            return false;
        uint64_t id = rig_id(&f);
        bool good = id == i && rig_intact(&f);
        d->ops->rx_done(d, 0, &f, 1);
        if (!good || !rig_send(d, 0, id, 100, 9))
            return false;
    }
    return true;
}

static void ping(struct qs_driver *d, uint32_t n)
{
    struct qs_driver_stats stats;
    qs_time start = qs_clock_now();
    uint32_t done = 0;
    for (; done < n; done++) {
        struct qs_frame f;
        REQUIRE(rig_send(d, 0, done, 100, 7));
        if (!take_sleeping(d, &f))
            break;
        CHECK_EQ(rig_id(&f), done);
        CHECK(rig_intact(&f));
        d->ops->rx_done(d, 0, &f, 1);
    }
    CHECK_EQ(done, n);
    d->ops->stats(d, 0, &stats);
    printf("  %u round trips asleep, %.1f us each, %" PRIu64 " wake-ups\n", done,
           (double)(qs_clock_now().ns - start.ns) / 1e3 / n, stats.kicks);
}

static void *echo_thread(void *arg)
{
    return echo(arg, N_THREADED) ? arg : NULL;
}

static void threads_that_sleep_lose_no_wake_up(void)
{
    struct qs_driver *a = rig_open(0, 1), *b = rig_open(1, 1);
    pthread_t thread;
    void *good;
    REQUIRE(pthread_create(&thread, NULL, echo_thread, b) == 0);
    ping(a, N_THREADED);
    REQUIRE(pthread_join(thread, &good) == 0);
    CHECK(good == b);
    rig_close(b);
    rig_close(a);
}

static struct qs_driver *open_when_there(void)
{
    struct qs_driver_opts o = rig_opts(1, 1);
    struct qs_driver *d = NULL;
    for (int i = 0; i < 2000 && !d; i++) {
        if (qs_driver_pair.open(&d, &o, NULL) != 0)
            usleep(1000);
    }
    return d;
}

static void wait_connected(struct qs_driver *d)
{
    for (int i = 0; i < 5000 && !qs_pair_connected(d); i++)
        usleep(1000);
    REQUIRE(qs_pair_connected(d));
}

static void processes_share_a_wire(void)
{
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        struct qs_driver *b = open_when_there();
        bool good = b && echo(b, N_FORKED);
        if (b)
            rig_close(b);
        _exit(good ? 0 : 1);
    }
    struct qs_driver *a = rig_open(0, 1);
    wait_connected(a);
    ping(a, N_FORKED);
    int status;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
    rig_close(a);
}

static void r59_a_killed_peer_is_noticed_and_its_place_taken(void)
{
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        struct qs_driver *b = open_when_there();
        (void)echo(b, UINT32_MAX);
        _exit(1);
    }
    struct qs_driver *a = rig_open(0, 1);
    wait_connected(a);
    ping(a, 10);
    struct pollfd in = {a->ops->fd(a, 0), POLLIN, 0};
    REQUIRE(!a->ops->arm(a, 0));
    REQUIRE(kill(child, SIGKILL) == 0);
    REQUIRE(waitpid(child, NULL, 0) == child);
    CHECK_EQ(poll(&in, 1, PATIENCE_MS), 1); /* the sleeper hears of it */
    CHECK(!qs_pair_connected(a));
    CHECK_EQ(qs_pair_peers_lost(a), 1);
    for (uint32_t i = 0; i < 2000; i++) /* and does not hang on what nobody takes */
        CHECK(rig_send(a, 0, i, 100, 1));
    struct qs_driver *b = rig_open(1, 1);
    struct qs_frame f;
    CHECK_EQ(a->ops->rx(a, 0, &f, 1), 0); /* nothing was left of the old wire */
    CHECK(rig_send(a, 0, 5, 100, 1));
    CHECK_EQ(b->ops->rx(b, 0, &f, 1), 1);
    b->ops->rx_done(b, 0, &f, 1);
    /* The killed process left its control socket behind; the new owner took its place. */
    rig_close(b);
    rig_close(a);
}

int main(void)
{
    rig_begin();
    RUN(processes_share_a_wire); /* first: fork() wants a process without other threads */
    RUN(r59_a_killed_peer_is_noticed_and_its_place_taken);
    RUN(threads_that_sleep_lose_no_wake_up);
    rig_end();
    return TEST_RESULT();
}
