/* SPDX-License-Identifier: Apache-2.0 */
/* The programs on real devices in a network namespace of its own: XDP on a veth, both steering
 * programs on a TAP. Needs root; ends with 77 (skipped) without. */
#include "io/steer.h"
#include "qs_softnic_test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define N_QUEUES 4u

static struct qs_steer *open_steer(enum qs_steer_kind kind)
{
    struct qs_steer *s;
    struct qs_diag diag;
    qs_err err = qs_steer_open(&s, kind, N_QUEUES, &diag);
    if (err)
        fprintf(stderr, "%s\n", diag.text);
    REQUIRE(err == 0);
    return s;
}

static void run_ip(const char *command)
{
    if (system(command) != 0) {
        printf("skipped: '%s' failed\n", command);
        exit(77);
    }
}

/* Sends raw frames into `ifname`. */
static int packet_socket(const char *ifname)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = 0};
    address.sll_ifindex = (int)if_nametoindex(ifname);
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

static struct qs_softnic_rule drop_port(uint16_t port)
{
    struct qs_softnic_rule rule = {.value = {.proto = 6, .family = 4},
                                   .mask = {.dport = {0xff, 0xff}, .proto = 0xff, .family = 0xff},
                                   .queue = QS_SOFTNIC_DROP};
    test_put16(rule.value.dport, port);
    return rule;
}

static void xdp_on_veth(void)
{
    struct qs_steer *s = open_steer(QS_STEER_XDP_SOFT), *second = open_steer(QS_STEER_XDP_NIC);
    struct qs_softnic *nic = qs_steer_softnic(s);
    struct qs_steer_counts counts;
    struct qs_diag diag;
    bool native = false, native2 = true;
    qs_addr any = {{0}};
    uint32_t ifindex = if_nametoindex("qn-a");
    REQUIRE(qs_steer_claim(s, &any, test_vectors[0].dport, &diag) == 0);
    qs_err err = qs_steer_attach(s, ifindex, &native, &diag);
    if (err)
        fprintf(stderr, "%s\n", diag.text);
    REQUIRE(err == 0);
    CHECK(native);
    CHECK_EQ(qs_steer_attach(s, ifindex, &native, &diag), QS_ERR_STATE);
    CHECK_EQ(qs_steer_attach(second, ifindex, &native2, &diag), QS_ERR_BUSY);
    CHECK(!native2);
    CHECK(strstr(diag.text, "qn-a has an XDP program already (id ") != NULL);

    struct test_frame claimed, other;
    test_vector_frame(&claimed, &test_vectors[0], 6);
    test_vector_frame(&other, &test_vectors[1], 6);
    int peer = packet_socket("qn-b");
    uint64_t before = nic->queues[test_vectors[0].hash4 % N_QUEUES].packets;
    CHECK_EQ(send(peer, claimed.bytes, claimed.len, 0), claimed.len); /* delivery is inline */
    CHECK_EQ(send(peer, other.bytes, other.len, 0), other.len);
    REQUIRE(qs_steer_read_counts(s, &counts) == 0);
    CHECK_EQ(counts.no_socket, 1);
    CHECK(counts.passed >= 1);
    CHECK_EQ(nic->queues[test_vectors[0].hash4 % N_QUEUES].packets - before, 1);
    struct qs_softnic_rule rule = drop_port(test_vectors[1].dport);
    REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0);
    CHECK_EQ(send(peer, other.bytes, other.len, 0), other.len);
    CHECK_EQ(nic->rule_drops, 1);

    qs_steer_close(s); /* and the device is free again */
    CHECK_EQ(qs_steer_attach(second, ifindex, &native2, &diag), 0);
    qs_steer_close(second);
    close(peer);
}

/* A device without queues of its own for XDP: generic mode, and it says so. */
static void xdp_generic_where_there_is_no_native(void)
{
    struct qs_steer *s = open_steer(QS_STEER_XDP_NIC);
    struct qs_diag diag;
    bool native = true;
    CHECK_EQ(qs_steer_attach(s, if_nametoindex("lo"), &native, &diag), 0);
    CHECK(!native);
    qs_steer_close(s);
}

static int open_tap_queue(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0) {
        printf("skipped: no TAP here: %s\n", strerror(errno));
        exit(77);
    }
    return fd;
}

/* Queue on which a frame equal to `f` lies, or -1. The kernel's own frames are skipped. */
static int lies_on(const int *fds, const struct test_frame *f)
{
    uint8_t data[2048];
    for (uint32_t q = 0; q < N_QUEUES; q++) {
        ssize_t n;
        while ((n = read(fds[q], data, sizeof data)) > 0)
            if ((size_t)n == f->len && memcmp(data, f->bytes, f->len) == 0)
                return (int)q;
    }
    return -1;
}

/* The same for a frame that must come. When the kernel sends a frame of its own at that moment, it
 * is the other CPU that passes ours on, a little later. */
static int arrives_on(const int *fds, const struct test_frame *f)
{
    struct pollfd polled[N_QUEUES];
    for (uint32_t q = 0; q < N_QUEUES; q++)
        polled[q] = (struct pollfd){.fd = fds[q], .events = POLLIN};
    int queue;
    while ((queue = lies_on(fds, f)) < 0 && poll(polled, N_QUEUES, 1000) > 0)
        continue;
    return queue;
}

static void both_programs_on_tap(void)
{
    struct qs_steer *s = open_steer(QS_STEER_TAP);
    struct qs_softnic *nic = qs_steer_softnic(s);
    uint64_t random = qs_test_seed();
    int fds[N_QUEUES], steer = qs_steer_prog_fd(s), filter = qs_steer_filter_fd(s);
    for (uint32_t q = 0; q < N_QUEUES; q++)
        fds[q] = open_tap_queue("qn-tap");
    REQUIRE(ioctl(fds[0], TUNSETSTEERINGEBPF, &steer) == 0);
    REQUIRE(ioctl(fds[0], TUNSETFILTEREBPF, &filter) == 0);
    run_ip("ip link set qn-tap up");
    int host = packet_socket("qn-tap");

    static struct model m;
    model_init(&m, N_QUEUES);
    uint64_t drops = 0;
    for (int i = 0; i < 2000; i++) {
        struct test_frame f;
        struct qs_softnic_rule rule;
        uint32_t hash, location;
        if (i % 8 == 0) {
            test_random_rule(&rule, 16, N_QUEUES, &random);
            REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0);
            m.rules[rule.location] = rule;
            m.used[rule.location] = true;
        }
        do
            test_random_frame(&f, &random);
        while (f.len < 34 || f.key.family == 0);
        uint32_t queue = model_queue(&m, &f.key, &hash, &location);
        drops += queue == QS_SOFTNIC_DROP;
        ssize_t sent = send(host, f.bytes, f.len, 0);
        CHECK(sent == (ssize_t)f.len || queue == QS_SOFTNIC_DROP);
        if (queue == QS_SOFTNIC_DROP)
            CHECK_EQ(lies_on(fds, &f), -1);
        else
            CHECK_EQ(arrives_on(fds, &f), queue);
    }
    CHECK(drops > 0);
    CHECK(nic->rule_drops >= drops);
    for (uint32_t q = 0; q < N_QUEUES; q++)
        close(fds[q]);
    close(host);
    qs_steer_close(s);
}

int main(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
        printf("skipped: a network namespace of its own needs root\n");
        return 77;
    }
    struct qs_steer *probe;
    struct qs_diag diag;
    if (qs_steer_open(&probe, QS_STEER_TAP, 1, &diag) != 0) {
        printf("skipped: %s\n", diag.text);
        return 77;
    }
    qs_steer_close(probe);
    run_ip(
        "ip link add qn-a type veth peer name qn-b && ip link set qn-a up && ip link set qn-b up");
    RUN(xdp_on_veth);
    RUN(xdp_generic_where_there_is_no_native);
    RUN(both_programs_on_tap);
    return TEST_RESULT();
}
