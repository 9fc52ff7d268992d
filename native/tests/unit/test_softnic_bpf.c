/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF programs against the C lookup and the model, frame by frame (BPF_PROG_TEST_RUN). Needs
 * CAP_BPF and CAP_NET_ADMIN; ends with 77 (skipped) without. */
#include "io/steer.h"
#include "qs_softnic_test.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sys/socket.h>
#include <unistd.h>

#define N_QUEUES 8u
#define CLAIMED_PORT 80u /* of all addresses; 81 on one address only; 82 and 83 not at all */

static uint64_t random_state;

static struct qs_steer *open_or_skip(enum qs_steer_kind kind, uint32_t n_queues)
{
    struct qs_steer *s;
    struct qs_diag diag;
    qs_err err = qs_steer_open(&s, kind, n_queues, &diag);
    if (err == QS_ERR_PERM) {
        printf("skipped: %s\n", diag.text);
        exit(77);
    }
    if (err)
        fprintf(stderr, "%s: %s\n", qs_strerror(err), diag.text);
    REQUIRE(err == 0);
    return s;
}

static uint32_t run_program(int fd, const void *data, size_t bytes)
{
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = data, .data_size_in = (uint32_t)bytes,
                .repeat = 1);
    REQUIRE(bpf_prog_test_run_opts(fd, &opts) == 0);
    return opts.retval;
}

/* A socket filter's test run begins after an Ethernet header: one of no meaning goes in front. */
static uint32_t run_tap(int fd, const struct test_frame *f)
{
    uint8_t data[14 + sizeof f->bytes] = {[12] = 0x88, [13] = 0xb5};
    memcpy(data + 14, f->bytes, f->len);
    return run_program(fd, data, 14 + f->len);
}

static uint64_t sum_of_queues(const struct qs_softnic *nic)
{
    uint64_t n = 0;
    for (uint32_t q = 0; q < QS_SOFTNIC_QUEUES_MAX; q++)
        n += nic->queues[q].packets;
    return n;
}

/* Changes rules, key and table at random, in the NIC and in the model. */
static void change(struct qs_softnic *nic, struct model *m)
{
    struct qs_softnic_rule rule;
    uint64_t r = qs_test_random(&random_state);
    test_random_rule(&rule, 64, N_QUEUES, &random_state);
    if (r % 3 == 0) {
        CHECK_EQ(qs_softnic_rule_delete(nic, rule.location),
                 m->used[rule.location] ? 0 : QS_ERR_STALE);
        m->used[rule.location] = false;
    } else {
        CHECK_EQ(qs_softnic_rule_insert(nic, &rule), 0);
        m->rules[rule.location] = rule;
        m->used[rule.location] = true;
    }
    if (r % 50 == 1) {
        for (size_t i = 0; i < sizeof m->key; i++)
            m->key[i] = (uint8_t)qs_test_random(&random_state);
        qs_softnic_set_key(nic, m->key);
    }
    if (r % 50 == 2) {
        for (size_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
            m->indir[i] = (uint32_t)(qs_test_random(&random_state) % N_QUEUES);
        CHECK_EQ(qs_softnic_set_indir(nic, m->indir), 0);
    }
}

static void tap_gives_the_published_vectors(void)
{
    struct qs_steer *s = open_or_skip(QS_STEER_TAP, 64);
    struct qs_softnic *nic = qs_steer_softnic(s);
    uint32_t table[QS_SOFTNIC_INDIR_SIZE];
    for (uint32_t part = 0; part < 2; part++) { /* 256 entries tell 8 bits, 64 queues 6 at a time */
        for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
            table[i] = part ? i >> 4 : i & 15;
        REQUIRE(qs_softnic_set_indir(nic, table) == 0);
        for (size_t i = 0; i < 8; i++) {
            struct test_frame f;
            test_vector_frame(&f, &test_vectors[i], 6);
            CHECK_EQ(run_tap(qs_steer_prog_fd(s), &f), table[test_vectors[i].hash4 & 255]);
            test_vector_frame(&f, &test_vectors[i], 47);
            CHECK_EQ(run_tap(qs_steer_prog_fd(s), &f), table[test_vectors[i].hash2 & 255]);
        }
    }
    qs_steer_close(s);
}

static void check_tap_frame(const struct qs_steer *s, const struct model *m,
                            const struct test_frame *f)
{
    struct qs_softnic *nic = qs_steer_softnic(s);
    uint32_t hash, location;
    uint32_t queue = model_queue(m, &f->key, &hash, &location);
    uint64_t queues = sum_of_queues(nic), hits = nic->rule_hits, drops = nic->rule_drops;
    uint64_t bytes = queue == QS_SOFTNIC_DROP ? 0 : nic->queues[queue].bytes;
    CHECK_EQ(test_look(nic, f).queue, queue);
    uint32_t steered = run_tap(qs_steer_prog_fd(s), f);
    uint32_t kept = run_tap(qs_steer_filter_fd(s), f);
    bool drop = queue == QS_SOFTNIC_DROP, hit = location != QS_SOFTNIC_RULES_MAX;
    CHECK_EQ(steered, drop ? 0 : queue);
    CHECK_EQ(kept, drop ? 0 : f->len);
    CHECK_EQ(sum_of_queues(nic) - queues, drop ? 0 : 1);
    CHECK_EQ(nic->rule_hits - hits, hit);
    CHECK_EQ(nic->rule_drops - drops, drop);
    if (!drop)
        CHECK_EQ(nic->queues[queue].bytes - bytes, f->len);
}

static void tap_agrees_on_random_frames(void)
{
    struct qs_steer *s = open_or_skip(QS_STEER_TAP, N_QUEUES);
    static struct model m;
    model_init(&m, N_QUEUES);
    for (int i = 0; i < 20000; i++) {
        struct test_frame f;
        if (i % 4 == 0)
            change(qs_steer_softnic(s), &m);
        do
            test_random_frame(&f, &random_state);
        while (f.len < 1);
        check_tap_frame(s, &m, &f);
    }
    qs_steer_close(s);
}

/* The kernel does not ask for a queue when there is one: the filter does all. */
static void tap_with_one_queue_counts_in_the_filter(void)
{
    struct qs_steer *s = open_or_skip(QS_STEER_TAP, 1);
    struct qs_softnic *nic = qs_steer_softnic(s);
    struct qs_softnic_rule rule = {.value = {.family = 6}, .mask = {.family = 0xff}};
    struct test_frame f4, f6;
    test_vector_frame(&f4, &test_vectors[0], 6);
    test_vector_frame(&f6, &test_vectors[5], 6);
    rule.queue = QS_SOFTNIC_DROP;
    REQUIRE(qs_softnic_rule_insert(nic, &rule) == 0);
    CHECK_EQ(run_tap(qs_steer_filter_fd(s), &f4), f4.len);
    CHECK_EQ(run_tap(qs_steer_filter_fd(s), &f6), 0);
    CHECK_EQ(nic->queues[0].packets, 1);
    CHECK_EQ(nic->queues[0].bytes, f4.len);
    CHECK_EQ(nic->rule_drops, 1);
    qs_steer_close(s);
}

/* ---- XDP ---- */

static void claim_ports(struct qs_steer *s)
{
    struct qs_diag diag;
    qs_addr any = {{0}}, one = {{0}};
    test_address(one.b, "10.0.0.1"); /* as the generator makes them */
    REQUIRE(qs_steer_claim(s, &any, CLAIMED_PORT, &diag) == 0);
    REQUIRE(qs_steer_claim(s, &one, CLAIMED_PORT + 1, &diag) == 0);
    REQUIRE(qs_steer_claim(s, &any, CLAIMED_PORT + 2, &diag) == 0);
    qs_steer_unclaim(s, &any, CLAIMED_PORT + 2);
}

static bool model_claims(const struct qs_softnic_key *key)
{
    if ((key->vlan_tci[0] << 8 | key->vlan_tci[1]) & 0xfff)
        return false;
    uint8_t one[16];
    test_address(one, "10.0.0.1");
    uint32_t port = (uint32_t)key->dport[0] << 8 | key->dport[1];
    if (key->family == 0 || key->proto != 6 || !(key->present & QS_SOFTNIC_HAS_L4))
        return false;
    return port == CLAIMED_PORT || (port == CLAIMED_PORT + 1 && memcmp(key->dst, one, 16) == 0);
}

/* AF_XDP sockets for the even queues; frames for the odd ones have nowhere to go. */
static void open_sockets(struct qs_steer *s, int *fds)
{
    struct qs_diag diag;
    for (uint32_t q = 0; q < N_QUEUES; q += 2) {
        fds[q] = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
        REQUIRE(fds[q] >= 0);
        REQUIRE(qs_steer_set_socket(s, q, fds[q], &diag) == 0);
    }
}

static void close_sockets(const int *fds)
{
    for (uint32_t q = 0; q < N_QUEUES; q += 2)
        close(fds[q]);
}

static void check_xdp_frame(struct qs_steer *s, const struct model *m, const struct test_frame *f)
{
    struct qs_softnic *nic = qs_steer_softnic(s);
    uint32_t hash, location;
    uint32_t queue = model_queue(m, &f->key, &hash, &location);
    bool drop = queue == QS_SOFTNIC_DROP, claimed = model_claims(&f->key);
    struct qs_steer_counts before, after;
    uint64_t drops = nic->rule_drops, packets = drop ? 0 : nic->queues[queue].packets;
    uint64_t all = sum_of_queues(nic);
    REQUIRE(qs_steer_read_counts(s, &before) == 0);
    uint32_t action = run_program(qs_steer_prog_fd(s), f->bytes, f->len);
    REQUIRE(qs_steer_read_counts(s, &after) == 0);
    uint32_t want = drop ? XDP_DROP : !claimed ? XDP_PASS : queue % 2 ? XDP_DROP : XDP_REDIRECT;
    CHECK_EQ(action, want);
    CHECK_EQ(nic->rule_drops - drops, drop);
    CHECK_EQ(sum_of_queues(nic) - all, claimed && !drop);
    if (claimed && !drop)
        CHECK_EQ(nic->queues[queue].packets - packets, 1);
    CHECK_EQ(after.passed - before.passed, want == XDP_PASS);
    CHECK_EQ(after.to_socket - before.to_socket, want == XDP_REDIRECT);
    CHECK_EQ(after.no_socket - before.no_socket, claimed && !drop && queue % 2);
}

static void xdp_soft_agrees_on_random_frames(void)
{
    struct qs_steer *s = open_or_skip(QS_STEER_XDP_SOFT, N_QUEUES);
    int fds[N_QUEUES];
    static struct model m;
    model_init(&m, N_QUEUES);
    claim_ports(s);
    open_sockets(s, fds);
    for (int i = 0; i < 20000; i++) {
        struct test_frame f;
        if (i > 2000 && i % 4 == 0) /* the first without rules */
            change(qs_steer_softnic(s), &m);
        do
            test_random_frame(&f, &random_state);
        while (f.len < 14);
        check_xdp_frame(s, &m, &f);
    }
    close_sockets(fds);
    qs_steer_close(s);
}

static void xdp_soft_gives_the_published_vectors(void)
{
    struct qs_steer *s = open_or_skip(QS_STEER_XDP_SOFT, 64);
    struct qs_softnic *nic = qs_steer_softnic(s);
    uint32_t table[QS_SOFTNIC_INDIR_SIZE];
    struct qs_diag diag;
    qs_addr any = {{0}};
    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
        table[i] = i / 4;
    REQUIRE(qs_softnic_set_indir(nic, table) == 0);
    for (size_t i = 0; i < 8; i++) {
        struct test_frame f;
        test_vector_frame(&f, &test_vectors[i], 6);
        REQUIRE(qs_steer_claim(s, &any, test_vectors[i].dport, &diag) == 0);
        uint64_t before = nic->queues[(test_vectors[i].hash4 & 255) / 4].packets;
        CHECK_EQ(run_program(qs_steer_prog_fd(s), f.bytes, f.len), XDP_DROP); /* no socket */
        CHECK_EQ(nic->queues[(test_vectors[i].hash4 & 255) / 4].packets - before, 1);
    }
    qs_steer_close(s);
}

static void xdp_nic_takes_claimed_frames_only(void)
{
    struct qs_steer *s = open_or_skip(QS_STEER_XDP_NIC, N_QUEUES);
    int fds[N_QUEUES];
    CHECK(!qs_steer_softnic(s));
    claim_ports(s);
    for (int i = 0; i < 10000; i++) {
        struct test_frame f;
        if (i == 5000)
            open_sockets(s, fds);
        do
            test_random_frame(&f, &random_state);
        while (f.len < 14);
        uint32_t to_queue_0 = i < 5000 ? XDP_DROP : XDP_REDIRECT;
        CHECK_EQ(run_program(qs_steer_prog_fd(s), f.bytes, f.len),
                 model_claims(&f.key) ? to_queue_0 : XDP_PASS);
    }
    close_sockets(fds);
    qs_steer_close(s);
}

static void bad_calls_are_refused(void)
{
    struct qs_steer *s;
    struct qs_diag diag = {""};
    bool native;
    qs_addr any = {{0}};
    CHECK_EQ(qs_steer_open(&s, QS_STEER_TAP, 0, &diag), QS_ERR_ARG);
    CHECK(!s);
    CHECK_EQ(qs_steer_open(&s, QS_STEER_TAP, 65, &diag), QS_ERR_ARG);
    CHECK(strstr(diag.text, "65") != NULL);

    s = open_or_skip(QS_STEER_TAP, 2);
    CHECK_EQ(qs_steer_claim(s, &any, 80, &diag), QS_ERR_STATE);
    CHECK_EQ(qs_steer_set_socket(s, 0, 0, &diag), QS_ERR_STATE);
    CHECK_EQ(qs_steer_attach(s, 1, &native, &diag), QS_ERR_STATE);
    qs_steer_close(s);

    s = open_or_skip(QS_STEER_XDP_SOFT, 2);
    CHECK_EQ(qs_steer_set_socket(s, 0, STDIN_FILENO, &diag), QS_ERR_ARG);
    CHECK(strstr(diag.text, "queue 0") != NULL);
    CHECK_EQ(qs_steer_set_socket(s, 1u << 20, -1, &diag), QS_ERR_ARG);
    CHECK_EQ(qs_steer_attach(s, 0x7ffffff0, &native, &diag), QS_ERR_NODEV);
    CHECK(strstr(diag.text, "no device") != NULL);
    qs_steer_close(s);
    qs_steer_close(NULL);
}

int main(void)
{
    random_state = qs_test_seed();
    RUN(tap_gives_the_published_vectors);
    RUN(tap_agrees_on_random_frames);
    RUN(tap_with_one_queue_counts_in_the_filter);
    RUN(xdp_soft_gives_the_published_vectors);
    RUN(xdp_soft_agrees_on_random_frames);
    RUN(xdp_nic_takes_claimed_frames_only);
    RUN(bad_calls_are_refused);
    return TEST_RESULT();
}
