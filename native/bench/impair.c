/* SPDX-License-Identifier: Apache-2.0 */
/* qs-impair IF_A IF_B [--seed N] [--both SPEC] [--a-to-b SPEC] [--b-to-a SPEC]
 *
 * A bridge between two interfaces that loses, delays, reorders, duplicates and corrupts, for
 * kernels without netem. SPEC is key=value,..., keys and units as in impair_model.h. Prints
 * {"ready": true} when frames pass, and counters of both directions when it ends: at SIGINT or
 * SIGTERM, or when an interface goes.
 *
 * Frames must be as on a wire: neither longer than the MTU nor with a checksum left to a device, so
 * segmentation and TX checksum offload have to be off at both far ends. Such frames are counted. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "impair_model.h"

enum { BATCH = 64, BATCHES_IN_TURN = 4, LINK_BYTES = 18, SOCKET_BYTES = 16 << 20 };

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static void die(const char *what, const char *on, const char *why)
{
    fprintf(stderr, "qs-impair: %s %s: %s\n", what, on, why);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- sockets ---------------------------------------------------------------------------------- */

static void set(int fd, int level, int name, int value)
{
    /* What a kernel does not take makes us slower, not wrong. */
    (void)setsockopt(fd, level, name, &value, sizeof value);
}

static int open_port(const char *ifname)
{
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("cannot listen on", ifname, strerror(errno));
    int on = 1;
    if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on) < 0)
        die("cannot listen on", ifname, strerror(errno));
    set(fd, SOL_PACKET, PACKET_QDISC_BYPASS, 1);
    set(fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BYTES);
    set(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BYTES);
    struct sockaddr_ll addr = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = (int)if_nametoindex(ifname),
    };
    struct packet_mreq all = {.mr_ifindex = addr.sll_ifindex, .mr_type = PACKET_MR_PROMISC};
    if (!addr.sll_ifindex || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all) < 0)
        die("cannot listen on", ifname, strerror(errno));
    return fd;
}

static uint32_t frame_bytes_of(int fd, const char *ifname)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", ifname);
    if (ioctl(fd, SIOCGIFMTU, &request) < 0)
        die("cannot read the MTU of", ifname, strerror(errno));
    return (uint32_t)request.ifr_mtu + LINK_BYTES;
}

/* --- frames ----------------------------------------------------------------------------------- */

/* Buffers of one recvmmsg(). */
struct batch {
    uint8_t *mem;
    struct mmsghdr msgs[BATCH];
    struct iovec vecs[BATCH];
    union {
        char bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
        struct cmsghdr align;
    } control[BATCH];
};

static void batch_reset(struct batch *b, uint32_t frame_bytes)
{
    for (size_t i = 0; i < BATCH; i++) {
        b->vecs[i] = (struct iovec){b->mem + i * frame_bytes, frame_bytes};
        b->msgs[i].msg_hdr = (struct msghdr){
            .msg_iov = &b->vecs[i],
            .msg_iovlen = 1,
            .msg_control = &b->control[i],
            .msg_controllen = sizeof b->control[i],
        };
    }
}

static bool checksum_unfinished(struct msghdr *msg)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    if (!c || c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
        return false;
    struct tpacket_auxdata aux;
    memcpy(&aux, CMSG_DATA(c), sizeof aux);
    return (aux.tp_status & TP_STATUS_CSUMNOTREADY) != 0;
}

/* Returns false when the interface is gone. */
static bool receive(struct impair_wire *w, int fd, struct batch *b)
{
    for (int turn = 0; turn < BATCHES_IN_TURN; turn++) {
        batch_reset(b, w->frame_bytes);
        int n = recvmmsg(fd, b->msgs, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        uint64_t now = now_ns();
        for (int i = 0; i < n; i++) {
            w->counters.unfinished_checksum += checksum_unfinished(&b->msgs[i].msg_hdr);
            impair_wire_put(w, b->vecs[i].iov_base, b->msgs[i].msg_len, now);
        }
        if (n < BATCH)
            break;
    }
    return true;
}

static void send_due(struct impair_wire *w, int fd, uint64_t now)
{
    struct impair_frame *f;
    while ((f = impair_wire_take(w, now))) {
        if (send(fd, f->data, f->len, MSG_DONTWAIT) < 0)
            w->counters.send_failed++;
        else
            w->counters.frames_out++;
        impair_wire_give_back(w, f);
    }
}

static void run(struct impair_wire wires[2], const int fds[2], struct batch *b)
{
    sigset_t none;
    sigemptyset(&none);
    bool alive = true;
    while (!stop && alive) {
        uint64_t now = now_ns(), next = now + 1000000000u;
        for (int i = 0; i < 2; i++) {
            send_due(&wires[i], fds[1 - i], now);
            uint64_t due = impair_wire_due(&wires[i]);
            next = due < next ? due : next;
        }
        now = now_ns();
        uint64_t wait = next > now ? next - now : 0;
        struct timespec timeout = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
        struct pollfd polls[2] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}};
        if (ppoll(polls, 2, &timeout, &none) <= 0)
            continue;
        for (int i = 0; i < 2; i++)
            if (polls[i].revents)
                alive &= receive(&wires[i], fds[i], b);
    }
}

static void print_counters(const char *name, const struct impair_counters *c, const char *end)
{
    printf("\"%s\": {", name);
    const char *separator = "";
#define PRINT(field)                                                                               \
    printf("%s\"" #field "\": %" PRIu64, separator, c->field);                                     \
    separator = ", ";
    IMPAIR_COUNTERS(PRINT)
#undef PRINT
    printf("}%s", end);
}

/* --- options ---------------------------------------------------------------------------------- */

static void parse_spec(struct impair_spec *spec, const char *text)
{
    const char *bad = "";
    if (!impair_spec_parse(spec, text, &bad)) {
        fprintf(stderr, "qs-impair: cannot take \"%s\"; key=value,... with keys", bad);
#define NAME(key, factor, most) fprintf(stderr, " " #key "[0..%g]", (double)(most));
        IMPAIR_KEYS(NAME)
#undef NAME
        fprintf(stderr, "\n");
        exit(2);
    }
}

static uint64_t parse_options(int argc, char **argv, struct impair_spec specs[2])
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},
        {"both", required_argument, NULL, 'x'},
        {"a-to-b", required_argument, NULL, 'a'},
        {"b-to-a", required_argument, NULL, 'b'},
        {0},
    };
    uint64_t seed = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == '?')
            exit(2);
        if (option == 's')
            seed = strtoull(optarg, NULL, 0);
        if (option == 'x' || option == 'a')
            parse_spec(&specs[0], optarg);
        if (option == 'x' || option == 'b')
            parse_spec(&specs[1], optarg);
    }
    if (argc - optind != 2) {
        fprintf(stderr, "usage: qs-impair IF_A IF_B [--seed N] [--both SPEC] [--a-to-b SPEC] "
                        "[--b-to-a SPEC]\n");
        exit(2);
    }
    return seed;
}

/* A signal only ends ppoll(), so that none falls between the test of `stop` and the wait. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int main(int argc, char **argv)
{
    struct impair_spec specs[2];
    impair_spec_init(&specs[0]);
    impair_spec_init(&specs[1]);
    uint64_t seed = parse_options(argc, argv, specs);
    const char *const ifnames[2] = {argv[optind], argv[optind + 1]};
    catch_signals();
    int fds[2];
    uint32_t frame_bytes = 0;
    for (int i = 0; i < 2; i++) {
        fds[i] = open_port(ifnames[i]);
        uint32_t bytes = frame_bytes_of(fds[i], ifnames[i]);
        frame_bytes = bytes > frame_bytes ? bytes : frame_bytes;
    }
    struct impair_wire wires[2];
    for (uint64_t i = 0; i < 2; i++)
        impair_wire_init(&wires[i], &specs[i], seed * 2 + i, frame_bytes);
    struct batch *b = calloc(1, sizeof *b);
    if (!b || !(b->mem = malloc((size_t)BATCH * frame_bytes)))
        die("cannot start on", ifnames[0], "out of memory");
    printf("{\"ready\": true}\n");
    fflush(stdout);
    run(wires, fds, b);
    printf("{");
    print_counters("a_to_b", &wires[0].counters, ", ");
    print_counters("b_to_a", &wires[1].counters, "}\n");
    impair_wire_free(&wires[0]);
    impair_wire_free(&wires[1]);
    free(b->mem);
    free(b);
    return 0;
}
