/* SPDX-License-Identifier: Apache-2.0 */
/* qs-connect: a connection that QStack opens, as a pipe for any client.
 *
 *     qs-connect DEVICE ADDRESS PORT BUFFER_BYTES
 *
 * Takes addresses and neighbours of DEVICE from the kernel and connects over AF_XDP, asking for
 * ECN. What comes on standard input is sent, what is received goes to standard output, which ends
 * when the peer's bytes do. Either of the two buffers holds BUFFER_BYTES at most. When standard
 * input ends, the connection is reset.
 *
 * Writes a line to standard error four times a second and at the end: {"retransmits": segments,
 * "acknowledged_bytes": of standard input, "error": words or null}. Exit status 1 with an error. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/clock.h"
#include "io/driver.h"
#include "io/iface.h"
#include "io/mem.h"
#include "io/neigh_watch.h"
#include "qstack/qs_conn.h"
#include "qstack/qs_stats.h"

enum { BURST = 64, SPANS = 16, PIECE_BYTES = 65536 };
#define REPORT_EVERY QS_MS(250)

static struct line {
    struct qs_driver *d;
    qs_engine *e;
    struct qs_neigh_watch *watch;
    qs_conn conn;
    bool open;     /* established */
    bool no_room;  /* the send buffer is full */
    bool out_full; /* standard output takes nothing now */
    bool eof;      /* the peer's bytes have ended, and are out */
    bool done;
    uint64_t taken, acknowledged; /* bytes of standard input */
    const char *error;
} line;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "qs-connect: %s: %s\n", what, why);
    exit(1);
}

static void end(const char *error)
{
    line.done = true;
    line.error = error;
}

/* --- neighbours, which the kernel resolves ---------------------------------------------------- */

static void on_neighbour(void *ctx, const qs_addr *addr, const uint8_t *mac)
{
    (void)ctx;
    if (mac)
        (void)!qs_engine_neigh_set(line.e, addr, mac, qs_clock_now()); /* any: nobody's address */
    else
        qs_engine_neigh_del(line.e, addr);
}

static void exchange_neighbours(void)
{
    struct qs_neigh n;
    while (qs_engine_neigh_next(line.e, &n))
        if (n.news == QS_NEIGH_WANTED)
            (void)!qs_neigh_watch_ask(line.watch, &n.addr); /* the engine asks again in a second */
    if (qs_neigh_watch_run(line.watch) != 0)
        end("the kernel's neighbours cannot be followed");
}

/* --- bytes ------------------------------------------------------------------------------------ */

static bool would_block(void)
{
    return errno == EAGAIN || errno == EINTR;
}

/* @return true when something moved. */
static bool send_input(void)
{
    static uint8_t piece[PIECE_BYTES];
    struct qs_conn_info info;
    if (!line.open || qs_conn_info(line.e, line.conn, &info) != 0)
        return false;
    line.acknowledged = line.taken - info.unacked_bytes;
    line.no_room = info.writable_bytes == 0;
    if (line.no_room) {
        (void)!qs_conn_want_write(line.e, line.conn); /* it lives: there was an info */
        return false;
    }
    size_t most = info.writable_bytes < sizeof piece ? info.writable_bytes : sizeof piece;
    ssize_t n = read(STDIN_FILENO, piece, most);
    if (n == 0)
        end(NULL);
    else if (n < 0 && !would_block())
        end(strerror(errno));
    if (n <= 0)
        return false;
    if (qs_conn_write(line.e, line.conn, piece, (size_t)n) != n)
        end("the stack took less than it has room for");
    line.taken += (uint64_t)n;
    return true;
}

/* Writes one span. @return false when standard output takes no more of it. */
static bool write_span(const struct qs_span *span, size_t *written)
{
    ssize_t n = write(STDOUT_FILENO, span->data, span->len);
    if (n < 0 && !would_block())
        end(strerror(errno));
    if (n > 0)
        *written += (size_t)n;
    line.out_full = n < (ssize_t)span->len;
    return !line.out_full;
}

/* @return true when something moved. */
static bool write_output(void)
{
    struct qs_span spans[SPANS];
    if (!line.open || line.eof)
        return false;
    int n = qs_conn_peek(line.e, line.conn, spans, SPANS);
    if (n == QS_ERR_EOF) {
        line.eof = true;
        (void)shutdown(STDOUT_FILENO, SHUT_WR);
        return true;
    }
    size_t written = 0;
    for (int i = 0; i < n && write_span(&spans[i], &written); i++)
        continue;
    return written > 0 && qs_conn_consume(line.e, line.conn, written) == 0;
}

/* --- the loop --------------------------------------------------------------------------------- */

static void take_events(void)
{
    struct qs_event events[BURST];
    size_t n = qs_engine_events(line.e, events, BURST);
    for (size_t i = 0; i < n; i++) {
        line.open |= (events[i].flags & QS_EVENT_OPEN) != 0;
        if (events[i].flags & QS_EVENT_CLOSED)
            end(qs_strerror(events[i].err ? events[i].err : QS_ERR_EOF));
    }
}

static bool receive(qs_time now)
{
    struct qs_frame frames[BURST];
    size_t n = line.d->ops->rx(line.d, 0, frames, BURST);
    if (n) {
        qs_engine_rx(line.e, frames, n, now);
        line.d->ops->rx_done(line.d, 0, frames, n);
    }
    return n > 0;
}

static bool transmit(qs_time now)
{
    struct qs_frame frames[BURST];
    if (qs_engine_deadline(line.e).ns > now.ns)
        return false;
    size_t lent = line.d->ops->tx_reserve(line.d, 0, frames, BURST);
    size_t used = qs_engine_tx(line.e, frames, lent, now);
    if (lent)
        line.d->ops->tx_commit(line.d, 0, frames, lent, used);
    return used > 0;
}

/* @return true when something moved. */
static bool turn(void)
{
    qs_time now = qs_clock_now();
    bool any = receive(now);
    take_events();
    any |= write_output();
    any |= send_input();
    any |= transmit(now);
    return any;
}

/* Sleeps until there is something to do, so that the others have the core meanwhile. */
static void rest(uint64_t until_ns)
{
    if (line.d->ops->arm(line.d, 0))
        return;
    uint64_t now = qs_clock_now().ns, due = qs_engine_deadline(line.e).ns;
    if (due < until_ns)
        until_ns = due;
    if (until_ns <= now)
        return;
    struct pollfd fds[] = {
        {.fd = line.d->ops->fd(line.d, 0), .events = POLLIN},
        {.fd = qs_neigh_watch_fd(line.watch), .events = POLLIN},
        {.fd = line.open && !line.no_room ? STDIN_FILENO : -1, .events = POLLIN},
        {.fd = line.out_full ? STDOUT_FILENO : -1, .events = POLLOUT},
    };
    struct timespec t = {.tv_nsec = (long)(until_ns - now)};
    (void)ppoll(fds, sizeof fds / sizeof fds[0], &t, NULL);
}

static void report(void)
{
    uint64_t counters[QS_N_COUNTERS];
    (void)qs_engine_counters(line.e, counters, QS_N_COUNTERS);
    fprintf(stderr,
            "{\"retransmits\": %" PRIu64 ", \"acknowledged_bytes\": %" PRIu64 ", \"error\": ",
            counters[QS_COUNT_RETRANSMITS], line.acknowledged);
    fprintf(stderr, line.error ? "\"%s\"}\n" : "null}\n", line.error);
}

static void run(void)
{
    uint64_t next_ns = qs_clock_now().ns + REPORT_EVERY.ns;
    while (!line.done) {
        if (!turn()) {
            exchange_neighbours();
            rest(next_ns);
        }
        if (qs_clock_now().ns >= next_ns) {
            report();
            next_ns += REPORT_EVERY.ns;
        }
    }
    (void)qs_conn_abort(line.e, line.conn); /* stale when it is gone already */
    (void)transmit(qs_clock_now());
    report();
}

/* --- set-up ----------------------------------------------------------------------------------- */

static void open_device(const char *ifname)
{
    struct qs_diag diag = {""};
    const struct qs_driver_opts o = {.ifname = ifname, .n_queues = 1};
    if (qs_driver_find("xsk")->open(&line.d, &o, &diag) != 0)
        die(ifname, diag.text);
}

static void make_engine(const char *ifname, uint32_t buffer_bytes)
{
    struct qs_diag diag = {""};
    struct qs_iface iface;
    if (qs_iface_read(&iface, ifname, &diag) != 0)
        die(ifname, diag.text);
    qs_engine_opts o;
    qs_engine_opts_init(&o);
    o.mtu = line.d->caps.mtu;
    o.offloads = line.d->caps.offloads;
    o.neigh_mode = QS_NEIGH_TOLD;
    o.rcvbuf_bytes = o.sndbuf_bytes = buffer_bytes;
    memcpy(o.mac, line.d->caps.mac, sizeof o.mac);
    if (getrandom(o.secret, sizeof o.secret, 0) != (ssize_t)sizeof o.secret)
        die("getrandom", "no random bytes");
    qs_err err = qs_engine_new(&line.e, &o, &qs_mem_pages);
    for (uint32_t i = 0; i < iface.n_addrs && !err; i++)
        err = qs_engine_addr_add(line.e, &iface.addrs[i].addr, iface.addrs[i].prefix_len);
    if (err)
        die("no engine", qs_strerror(err));
    if (qs_neigh_watch_open(&line.watch, iface.index, on_neighbour, NULL, &diag) != 0)
        die(ifname, diag.text);
}

/* The port is taken from the kernel before the first SYN: it would reset what it does not know. */
static void open_connection(const char *address, uint16_t port)
{
    struct qs_diag diag = {""};
    struct qs_iface_addr remote;
    struct qs_open_opts o;
    struct qs_conn_info info;
    if (qs_cidr_parse(&remote, address, &diag) != 0)
        die(address, diag.text);
    qs_open_opts_init(&o);
    o.remote = remote.addr;
    o.remote_port = port;
    o.ecn = true;
    qs_err err = qs_conn_open(line.e, &o, qs_clock_now(), &line.conn);
    if (!err)
        err = qs_conn_info(line.e, line.conn, &info);
    if (err)
        die("cannot connect", qs_strerror(err));
    if (line.d->ops->claim(line.d, &info.local, info.local_port, &diag) != 0)
        die("cannot connect", diag.text);
}

static uint32_t number(const char *text, uint32_t least, uint32_t most)
{
    char *rest;
    unsigned long value = strtoul(text, &rest, 10);
    if (*text && !*rest && value >= least && value <= most)
        return (uint32_t)value;
    fprintf(stderr, "qs-connect: %s: a number from %u to %u is needed\n", text, least, most);
    exit(2);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: qs-connect DEVICE ADDRESS PORT BUFFER_BYTES\n");
        return 2;
    }
    uint16_t port = (uint16_t)number(argv[3], 1, UINT16_MAX);
    uint32_t buffer_bytes = number(argv[4], PIECE_BYTES, 1u << 30);
    (void)signal(SIGPIPE, SIG_IGN);
    for (int fd = STDIN_FILENO; fd <= STDOUT_FILENO; fd++)
        if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
            die("standard input and output", strerror(errno));
    open_device(argv[1]);
    make_engine(argv[1], buffer_bytes);
    open_connection(argv[2], port);
    run();
    line.d->ops->close(line.d);
    qs_neigh_watch_close(line.watch);
    qs_engine_free(line.e);
    return line.error ? 1 : 0;
}
