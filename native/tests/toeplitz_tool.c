/* SPDX-License-Identifier: Apache-2.0 */
/* Hashes what it reads by the C lookup and by the BPF program: driven by tests/netns.
 *
 * Standard input is blocks: a hash key, the number of packets (uint32_t) and that many packets. For
 * each packet the answer is a `struct verdict`. Ends with 77 without the rights for BPF. */
#include "io/steer.h"
#include "qs_softnic_test.h"

#include <bpf/bpf.h>
#include <stdlib.h>

#define N_QUEUES 64u /* the most: the queue tells six bits of the hash at a time */

struct packet {
    uint8_t family, src[16], dst[16], sport[2], dport[2];
};
_Static_assert(sizeof(struct packet) == 37, "a packet is read as it lies in memory");

struct verdict {
    uint32_t c_hash;  /* by the C lookup */
    uint32_t bpf_low; /* the bits that choose the table's entry, by the BPF program */
};

static struct qs_steer *open_or_skip(void)
{
    struct qs_steer *s;
    struct qs_diag diag;
    qs_err err = qs_steer_open(&s, QS_STEER_TAP, N_QUEUES, &diag);
    if (err)
        fprintf(stderr, "%s\n", diag.text);
    if (err == QS_ERR_PERM)
        exit(77);
    REQUIRE(err == 0);
    return s;
}

static void build(struct test_frame *f, const struct packet *p)
{
    struct test_shape shape = {.family = p->family, .proto = 6};
    memcpy(shape.src, p->src, sizeof shape.src);
    memcpy(shape.dst, p->dst, sizeof shape.dst);
    shape.sport = (uint16_t)(p->sport[0] << 8 | p->sport[1]);
    shape.dport = (uint16_t)(p->dport[0] << 8 | p->dport[1]);
    test_build(f, &shape, sizeof f->bytes);
}

/* A socket filter's test run begins after an Ethernet header: one of no meaning goes in front. */
static uint32_t bpf_queue(int fd, const struct test_frame *f)
{
    uint8_t data[14 + sizeof f->bytes] = {[12] = 0x88, [13] = 0xb5};
    memcpy(data + 14, f->bytes, f->len);
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = data, .data_size_in = (uint32_t)(14 + f->len),
                .repeat = 1);
    REQUIRE(bpf_prog_test_run_opts(fd, &opts) == 0);
    return opts.retval;
}

/* The table maps entries to their number, shifted. */
static void set_table(struct qs_softnic *nic, uint32_t shift)
{
    uint32_t table[QS_SOFTNIC_INDIR_SIZE];
    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
        table[i] = (i >> shift) % N_QUEUES;
    REQUIRE(qs_softnic_set_indir(nic, table) == 0);
}

static void answer(struct qs_steer *s, const struct packet *packets, struct verdict *verdicts,
                   uint32_t n)
{
    struct qs_softnic *nic = qs_steer_softnic(s);
    struct test_frame f;
    for (uint32_t shift = 0; shift <= 2; shift += 2) {
        set_table(nic, shift);
        for (uint32_t i = 0; i < n; i++) {
            build(&f, &packets[i]);
            verdicts[i].bpf_low |= bpf_queue(qs_steer_prog_fd(s), &f) << shift;
            if (shift == 0)
                verdicts[i].c_hash = test_look(nic, &f).hash;
        }
    }
}

static bool read_all(void *to, size_t bytes)
{
    return fread(to, 1, bytes, stdin) == bytes;
}

int main(void)
{
    struct qs_steer *s = open_or_skip();
    uint8_t key[QS_SOFTNIC_KEY_BYTES];
    uint32_t n;
    while (read_all(key, sizeof key)) {
        REQUIRE(read_all(&n, sizeof n));
        struct packet *packets = calloc(n, sizeof *packets);
        struct verdict *verdicts = calloc(n, sizeof *verdicts);
        REQUIRE(packets && verdicts && read_all(packets, n * sizeof *packets));
        qs_softnic_set_key(qs_steer_softnic(s), key);
        answer(s, packets, verdicts, n);
        REQUIRE(fwrite(verdicts, sizeof *verdicts, n, stdout) == n);
        free(packets);
        free(verdicts);
    }
    qs_steer_close(s);
    return 0;
}
