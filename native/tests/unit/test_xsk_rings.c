/* SPDX-License-Identifier: Apache-2.0 */
/* An AF_XDP queue over rings in plain memory, with a kernel that cuts chains, tells lies about
 * descriptors and completions, and loses count. */
#include "io/xsk_queue.h"

#include "qs_test.h"

#define CHUNK 2048u
#define N_CHUNKS 96u
#define N_UNITS 64u
#define RING 64u
#define FRAME_MAX 9018u
/* Indexes start here: they wrap within each test. */
#define FIRST (UINT32_MAX - 5)

enum { FILL, COMPLETION, RX, TX, N_RINGS };

/* The other side of the rings. A chunk is in one place: the fill ring, the kernel, or the queue. */
struct kernel {
    struct xsk_umem u;
    struct xsk_queue q;
    uint32_t producer[N_RINGS], consumer[N_RINGS], flags[N_RINGS];
    bool has[N_CHUNKS];
};

static void make_ring(struct kernel *k, struct xsk_ring *r, int which, uint32_t n, size_t bytes)
{
    k->producer[which] = k->consumer[which] = FIRST;
    *r = (struct xsk_ring){.producer = &k->producer[which],
                           .consumer = &k->consumer[which],
                           .flags = &k->flags[which],
                           .entries = calloc(n, bytes),
                           .mask = n - 1,
                           .own = FIRST,
                           .other = FIRST};
    REQUIRE(r->entries);
}

static struct kernel *kernel_new(bool multi_piece)
{
    struct kernel *k = aligned_alloc(64, (sizeof *k + 63) / 64 * 64);
    REQUIRE(k);
    memset(k, 0, sizeof *k);
    struct xsk_sizes sizes = {
        .chunk_bytes = CHUNK, .unit_chunks = 5, .rx_chunks = N_CHUNKS, .tx_units = N_UNITS};
    REQUIRE(xsk_umem_init(&k->u, &sizes, false) == QS_OK);
    REQUIRE(xsk_queue_init(&k->q, FRAME_MAX, multi_piece) == QS_OK);
    k->q.umem = &k->u;
    k->q.fd = -1;
    make_ring(k, &k->u.fill, FILL, 128, sizeof(uint64_t));
    make_ring(k, &k->u.completion, COMPLETION, 512, sizeof(uint64_t));
    make_ring(k, &k->q.rx, RX, RING, sizeof(struct xdp_desc));
    make_ring(k, &k->q.tx, TX, 4 * RING, sizeof(struct xdp_desc));
    xsk_umem_fill(&k->u);
    return k;
}

static uint32_t chunks_in_fill(const struct kernel *k)
{
    return k->producer[FILL] - k->consumer[FILL];
}

/* Every chunk is once in the fill ring or with the kernel. */
static void check_all_there(struct kernel *k)
{
    bool seen[N_CHUNKS];
    memcpy(seen, k->has, sizeof seen);
    for (uint32_t i = 0; i < chunks_in_fill(k); i++) {
        uint64_t addr = *xsk_ring_addr(&k->u.fill, k->consumer[FILL] + i);
        REQUIRE(addr % CHUNK == 0 && addr / CHUNK < N_CHUNKS);
        CHECK(!seen[addr / CHUNK]);
        seen[addr / CHUNK] = true;
    }
    for (uint32_t i = 0; i < N_CHUNKS; i++)
        CHECK(seen[i]);
}

static void kernel_free(struct kernel *k)
{
    free(k->u.fill.entries);
    free(k->u.completion.entries);
    free(k->q.rx.entries);
    free(k->q.tx.entries);
    xsk_queue_free(&k->q);
    xsk_umem_free(&k->u);
    free(k);
}

/* Takes a chunk out of the fill ring. */
static uint64_t kernel_chunk(struct kernel *k)
{
    REQUIRE(chunks_in_fill(k) > 0);
    uint64_t addr = *xsk_ring_addr(&k->u.fill, k->consumer[FILL]++);
    REQUIRE(addr / CHUNK < N_CHUNKS && !k->has[addr / CHUNK]);
    k->has[addr / CHUNK] = true;
    return addr + XSK_RX_HEADROOM;
}

/* Puts a descriptor into the ring of received ones; a chunk that it names is no longer the
 * kernel's. */
static void say(struct kernel *k, uint64_t addr, uint32_t len, bool more)
{
    REQUIRE(k->producer[RX] - k->consumer[RX] < RING);
    *xsk_ring_desc(&k->q.rx, k->producer[RX]++) =
        (struct xdp_desc){.addr = addr, .len = len, .options = more ? XSK_PKT_CONTD : 0};
    if (addr < N_CHUNKS * CHUNK)
        k->has[addr / CHUNK] = false;
}

/* A piece of `len` octets, all of them `fill`. */
static void deliver(struct kernel *k, uint32_t len, uint8_t fill, bool more)
{
    uint64_t addr = kernel_chunk(k);
    memset(k->u.mem + addr, fill, len);
    say(k, addr, len, more);
}

/* Receives all there is, as a worker does. Frames must lie in the memory. @return how many. */
static uint32_t receive(struct kernel *k, uint8_t *first_octets)
{
    struct qs_frame frames[XSK_BURST];
    uint32_t total = 0;
    for (size_t n; (n = xsk_queue_rx(&k->q, frames, XSK_BURST)); total += (uint32_t)n) {
        for (size_t i = 0; i < n; i++) {
            const uint8_t *data = frames[i].data, *mem = k->u.mem, *joined = k->q.scratch;
            bool in_memory = data >= mem && data + frames[i].len <= mem + N_CHUNKS * CHUNK;
            CHECK(in_memory || (data >= joined && frames[i].len <= FRAME_MAX));
            first_octets[total + i] = data[0];
        }
        xsk_queue_rx_done(&k->q);
    }
    return total;
}

/* --- r04: chains ------------------------------------------------------------------------------ */

static void r04_chains_of_all_lengths(void)
{
    for (uint32_t n = 1; n <= 40; n++) {
        struct kernel *k = kernel_new(true);
        uint8_t got[4] = {0};
        for (uint32_t i = 0; i < n; i++)
            deliver(k, 100, (uint8_t)(7 + i), i + 1 < n);
        deliver(k, 60, 99, false);
        bool fits = n <= XSK_PIECES_MAX;
        CHECK_EQ(receive(k, got), fits ? 2 : 1);
        CHECK_EQ(got[0], fits ? 7 : 99);
        CHECK_EQ(k->q.stats.rx_bad, fits ? 0 : 1);
        check_all_there(k);
        kernel_free(k);
    }
}

static void r04_pieces_are_joined_in_order(void)
{
    struct kernel *k = kernel_new(true);
    struct qs_frame f;
    deliver(k, 1000, 1, true);
    deliver(k, 0, 2, true);
    deliver(k, 1792, 3, false);
    REQUIRE(xsk_queue_rx(&k->q, &f, 1) == 1);
    CHECK_EQ(f.len, 2792);
    CHECK_EQ(f.data[999], 1);
    CHECK_EQ(f.data[1000], 3);
    CHECK_EQ(f.data[2791], 3);
    xsk_queue_rx_done(&k->q);
    check_all_there(k);
    kernel_free(k);
}

static void r04_a_frame_longer_than_any(void)
{
    struct kernel *k = kernel_new(true);
    uint8_t got[4] = {0};
    for (uint32_t i = 0; i < 6; i++) /* 6 * 1,700 octets, more than FRAME_MAX */
        deliver(k, 1700, 1, i < 5);
    deliver(k, 60, 2, false);
    CHECK_EQ(receive(k, got), 1);
    CHECK_EQ(got[0], 2);
    CHECK_EQ(k->q.stats.rx_bad, 1);
    check_all_there(k);
    kernel_free(k);
}

static void r04_the_rest_of_a_chain_comes_later(void)
{
    struct kernel *k = kernel_new(true);
    uint8_t got[4] = {0};
    deliver(k, 100, 1, false);
    deliver(k, 100, 2, true);
    CHECK_EQ(receive(k, got), 1);
    CHECK_EQ(receive(k, got), 0);
    deliver(k, 100, 3, true);
    CHECK_EQ(receive(k, got), 0);
    deliver(k, 100, 4, false);
    CHECK_EQ(receive(k, got), 1);
    CHECK_EQ(got[0], 2);
    CHECK_EQ(k->q.stats.rx_bad, 0);
    check_all_there(k);
    kernel_free(k);
}

/* The end never comes: the ring does not stay full, the chunks go round, one frame is bad. */
static void r04_a_chain_without_an_end(void)
{
    struct kernel *k = kernel_new(true);
    uint8_t got[4] = {0};
    for (uint32_t turn = 0; turn < 5 * N_CHUNKS; turn++) {
        deliver(k, 500, 1, true);
        CHECK_EQ(receive(k, got), 0);
        CHECK(k->producer[RX] - k->consumer[RX] < XSK_PIECES_MAX);
    }
    deliver(k, 60, 1, false);
    deliver(k, 60, 9, false);
    CHECK_EQ(receive(k, got), 1);
    CHECK_EQ(got[0], 9);
    CHECK_EQ(k->q.stats.rx_bad, 1);
    check_all_there(k);
    kernel_free(k);
}

static void r04_chains_that_nobody_asked_for(void)
{
    struct kernel *k = kernel_new(false);
    uint8_t got[XSK_BURST] = {0};
    for (uint32_t i = 0; i < 10; i++) {
        deliver(k, 100, 1, true);
        deliver(k, 100, 2, false);
        deliver(k, 100, 3, false);
    }
    CHECK_EQ(receive(k, got), 10);
    CHECK_EQ(got[0], 3);
    CHECK_EQ(k->q.stats.rx_bad, 10);
    check_all_there(k);
    kernel_free(k);
}

/* --- r05: lies -------------------------------------------------------------------------------- */

static void r05_descriptors_outside_their_chunk(void)
{
    static const struct {
        uint64_t addr; /* added to that of a chunk; wild ones are not of any */
        uint32_t len;
        bool wild;
    } row[] = {
        {0, CHUNK - XSK_RX_HEADROOM + 1, false},
        {0, UINT32_MAX, false},
        {CHUNK - XSK_RX_HEADROOM - 1, 2, false},
        {(uint64_t)N_CHUNKS * CHUNK, 60, true}, /* where frames to send lie */
        {(uint64_t)N_CHUNKS * CHUNK + N_UNITS * 5 * CHUNK, 60, true},
        {1ull << 48 | 256, 60, true}, /* an offset as in unaligned chunks */
        {UINT64_MAX - CHUNK, 60, true},
        {UINT64_MAX, 1, true},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        for (uint32_t piece = 0; piece < 3; piece++) {
            struct kernel *k = kernel_new(true);
            uint8_t got[4] = {0};
            for (uint32_t p = 0; p < 3; p++) {
                if (p != piece)
                    deliver(k, 100, 1, p < 2);
                else
                    say(k, row[i].addr + (row[i].wild ? 0 : kernel_chunk(k)), row[i].len, p < 2);
            }
            deliver(k, 60, 5, false);
            CHECK_EQ(receive(k, got), 1);
            CHECK_EQ(got[0], 5);
            CHECK_EQ(k->q.stats.rx_bad, 1);
            check_all_there(k);
            kernel_free(k);
        }
    }
}

static void r05_duplicate_addresses(void)
{
    struct kernel *k = kernel_new(true);
    struct qs_frame f[4];
    uint64_t addr = kernel_chunk(k);
    say(k, addr, 100, false);
    say(k, addr, 100, false);
    CHECK_EQ(xsk_queue_rx(&k->q, f, 4), 1);
    say(k, addr + 7, 100, false); /* still lent */
    deliver(k, 100, 1, true);
    say(k, addr, 100, false);
    CHECK_EQ(xsk_queue_rx(&k->q, f + 1, 3), 0);
    CHECK_EQ(k->q.stats.rx_bad, 3);
    xsk_queue_rx_done(&k->q);
    check_all_there(k);
    uint64_t twice = kernel_chunk(k); /* within one frame */
    say(k, twice, 100, true);
    say(k, twice, 100, false);
    CHECK_EQ(xsk_queue_rx(&k->q, f, 4), 0);
    CHECK_EQ(k->q.stats.rx_bad, 4);
    check_all_there(k);
    kernel_free(k);
}

/* Nothing but bad frames: nobody calls rx_done() then, and their chunks go back all the same. */
static void r05_bad_frames_alone_starve_nobody(void)
{
    struct kernel *k = kernel_new(true);
    uint8_t got[4] = {0};
    for (uint32_t i = 0; i < 100 * N_CHUNKS; i++) {
        say(k, kernel_chunk(k), CHUNK, false);
        CHECK_EQ(receive(k, got), 0);
    }
    CHECK_EQ(k->q.stats.rx_bad, 100 * N_CHUNKS);
    check_all_there(k);
    kernel_free(k);
}

/* Sends `n` frames of `len` octets. @return how many there was room for. */
static size_t transmit(struct kernel *k, size_t n, uint32_t len)
{
    struct qs_frame f[XSK_BURST];
    size_t lent = xsk_queue_tx_reserve(&k->q, f, n);
    for (size_t i = 0; i < lent; i++) {
        CHECK(f[i].data >= k->u.mem + N_CHUNKS * CHUNK);
        CHECK(f[i].data + f[i].room <= k->u.mem + k->u.bytes);
        memset(f[i].data, 0xab, len);
        f[i].len = len;
    }
    xsk_queue_tx_commit(&k->q, f, lent, lent);
    return lent;
}

/* Takes the next descriptor to send. */
static uint64_t kernel_sends(struct kernel *k)
{
    REQUIRE(k->producer[TX] != k->consumer[TX]);
    return xsk_ring_desc(&k->q.tx, k->consumer[TX]++)->addr;
}

static void completes(struct kernel *k, uint64_t addr)
{
    *xsk_ring_addr(&k->u.completion, k->producer[COMPLETION]++) = addr;
}

/* Every unit can be had, once. */
static void check_all_units(struct kernel *k)
{
    uint32_t units[N_UNITS + 1], ignored = k->q.n_units;
    bool seen[N_UNITS] = {false};
    uint64_t bad = 0;
    memcpy(units, k->q.units, ignored * sizeof *units);
    uint32_t n = ignored + xsk_umem_take_units(&k->u, units + ignored, N_UNITS + 1 - ignored, &bad);
    CHECK_EQ(n, N_UNITS);
    for (uint32_t i = 0; i < n; i++) {
        REQUIRE(units[i] < N_UNITS);
        CHECK(!seen[units[i]]);
        seen[units[i]] = true;
    }
}

static void r05_completions_of_nothing(void)
{
    struct kernel *k = kernel_new(true);
    REQUIRE(transmit(k, 1, 6000) == 1); /* three pieces */
    uint64_t piece[3];
    for (int i = 0; i < 3; i++)
        piece[i] = kernel_sends(k);
    uint64_t beyond = piece[2] + CHUNK; /* the fourth chunk of the unit was not sent */
    const uint64_t lies[] = {beyond, 0, CHUNK, k->u.bytes, UINT64_MAX, k->u.tx_base - 1};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++)
        completes(k, lies[i]);
    for (int i = 0; i < 5; i++) /* the first piece again and again: the others are still out */
        completes(k, piece[0]);
    uint32_t units[N_UNITS];
    uint64_t bad = 0;
    k->q.n_units = 0; /* those at hand are not looked for here */
    uint32_t n = xsk_umem_take_units(&k->u, units, N_UNITS, &bad);
    CHECK_EQ(n, 0); /* the queue had all others */
    CHECK_EQ(bad, 6 + 4);
    completes(k, piece[2]);
    completes(k, piece[1]);
    completes(k, piece[1]);
    CHECK_EQ(xsk_umem_take_units(&k->u, units, N_UNITS, &bad), 1);
    CHECK_EQ(bad, 6 + 4 + 1);
    kernel_free(k);
}

static void r05_every_unit_comes_back_once(void)
{
    struct kernel *k = kernel_new(true);
    uint64_t addr[4 * RING];
    uint32_t n = 0;
    CHECK_EQ(transmit(k, 40, 1500), 40);
    while (k->producer[TX] != k->consumer[TX])
        addr[n++] = kernel_sends(k);
    CHECK_EQ(n, 40);
    for (uint32_t i = 0; i < n; i++) {
        completes(k, addr[n - 1 - i]);
        completes(k, addr[n - 1 - i]);
    }
    CHECK_EQ(transmit(k, 64, 1500), 51); /* collected now; the ring has room for 51 large ones */
    CHECK_EQ(transmit(k, 64, 1500), 13);
    CHECK_EQ(k->q.stats.ring_bad, 40);
    while (k->producer[TX] != k->consumer[TX])
        completes(k, kernel_sends(k));
    check_all_units(k);
    kernel_free(k);
}

static void r05_received_indexes_run_away(void)
{
    static const uint32_t away[] = {RING + 1, 1000, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < sizeof away / sizeof away[0]; i++) {
        struct kernel *k = kernel_new(true);
        uint8_t got[RING];
        deliver(k, 60, 3, false);
        uint32_t right = k->producer[RX];
        k->producer[RX] = right - 1 + away[i];
        CHECK_EQ(receive(k, got), 0);
        CHECK(!xsk_queue_arm(&k->q));
        CHECK_EQ(k->q.stats.ring_bad, 2);
        k->producer[RX] = right; /* it comes to its senses */
        CHECK_EQ(receive(k, got), 1);
        CHECK_EQ(k->q.stats.ring_bad, 2);
        check_all_there(k);
        kernel_free(k);
    }
}

/* The fill ring seems full, or emptier than it can be: chunks wait and are not lost. */
static void r05_fill_indexes_run_away(void)
{
    static const uint32_t away[] = {1, 1000, 0x80000000u};
    for (size_t i = 0; i < sizeof away / sizeof away[0]; i++) {
        struct kernel *k = kernel_new(true);
        uint8_t got[RING] = {0};
        for (int n = 0; n < 40; n++)
            deliver(k, 60, 3, false);
        uint32_t right = k->consumer[FILL];
        k->consumer[FILL] = k->producer[FILL] + away[i];
        CHECK_EQ(receive(k, got), 40);
        CHECK_EQ(k->producer[FILL], FIRST + N_CHUNKS);
        CHECK(k->q.stats.ring_bad > 0);
        k->consumer[FILL] = right;
        CHECK_EQ(receive(k, got), 0);
        check_all_there(k);
        kernel_free(k);
    }
}

/* More chunks than the ring has room for, which cannot be either: the kernel took none out. */
static void r05_a_fill_ring_that_is_not_emptied(void)
{
    struct kernel *k = kernel_new(true);
    uint8_t got[RING] = {0};
    uint32_t taken = 40;
    for (uint32_t n = 0; n < taken; n++)
        say(k, (uint64_t)n * CHUNK, 60, false);
    CHECK_EQ(receive(k, got), taken);
    CHECK_EQ(chunks_in_fill(k), 128); /* 8 more than there are places wait */
    CHECK_EQ(k->u.n_spare, N_CHUNKS + taken - 128);
    for (uint32_t n = 0; n < taken; n++) /* the oldest entries are as they were */
        CHECK_EQ(*xsk_ring_addr(&k->u.fill, FIRST + n), n * CHUNK);
    k->consumer[FILL] += taken;
    CHECK_EQ(receive(k, got), 0);
    check_all_there(k);
    kernel_free(k);
}

static void r05_sent_indexes_run_away(void)
{
    static const uint32_t away[] = {1, 1000, 0x80000000u};
    for (size_t i = 0; i < sizeof away / sizeof away[0]; i++) {
        struct kernel *k = kernel_new(true);
        CHECK_EQ(transmit(k, 20, 60), 20);
        k->consumer[TX] = k->producer[TX] + away[i];
        k->q.tx.other = k->q.tx.own - 4 * RING; /* so that it looks again */
        CHECK_EQ(transmit(k, 20, 60), 0);
        k->consumer[TX] = FIRST;
        k->producer[COMPLETION] += 513;
        uint32_t at_hand = k->q.n_units;
        CHECK_EQ(transmit(k, 64, 60), at_hand < 44 ? at_hand : 44);
        CHECK(k->q.stats.ring_bad >= 2);
        k->producer[COMPLETION] -= 513;
        while (k->producer[TX] != k->consumer[TX])
            completes(k, kernel_sends(k));
        check_all_units(k);
        kernel_free(k);
    }
}

/* One move of a kernel that is wrong half of the time. */
static void random_move(struct kernel *k, uint64_t *seed)
{
    uint64_t r = qs_test_random(seed);
    bool more = r % 5 == 0;
    uint32_t len = (uint32_t)(r >> 8) % (CHUNK + 300);
    if (k->producer[RX] - k->consumer[RX] == RING)
        return;
    switch (r >> 60) {
    case 0: /* somewhere in a chunk that the kernel has */
    case 1: {
        uint64_t chunk = (r >> 32) % N_CHUNKS;
        if (k->has[chunk])
            say(k, chunk * CHUNK + (r >> 24) % CHUNK, len, more);
        break;
    }
    case 2:
        say(k, qs_test_random(seed) | 1ull << 32, len, more);
        break;
    case 3: /* kept for later */
        if (chunks_in_fill(k))
            (void)kernel_chunk(k);
        break;
    case 4:
        completes(k, k->u.tx_base + qs_test_random(seed) % (k->u.bytes - k->u.tx_base));
        break;
    default:
        if (chunks_in_fill(k))
            say(k, kernel_chunk(k), len, more);
    }
}

static void r05_a_kernel_that_lies_at_random(void)
{
    uint64_t seed = qs_test_seed();
    struct kernel *k = kernel_new(true);
    for (uint32_t i = 0; i < 200000; i++) {
        random_move(k, &seed);
        if (i % 7)
            continue;
        struct qs_frame f[XSK_BURST];
        size_t n = xsk_queue_rx(&k->q, f, 1 + i % XSK_BURST);
        for (size_t j = 0; j < n; j++)
            memset(f[j].data, 0xcd, f[j].len); /* the sanitizer watches the joined ones */
        if (n && n < XSK_BURST && k->producer[RX] == k->consumer[RX]) { /* lent, and named again */
            say(k, k->q.held[qs_test_random(&seed) % k->q.n_held], 60, false);
            CHECK_EQ(xsk_queue_rx(&k->q, f + n, 1), 0);
        }
        if (n)
            xsk_queue_rx_done(&k->q);
        (void)transmit(k, i % 3, 1 + i % FRAME_MAX);
        while (k->producer[TX] != k->consumer[TX])
            completes(k, kernel_sends(k));
    }
    uint8_t got[2 * XSK_BURST];
    (void)receive(k, got);
    while (k->producer[RX] != k->consumer[RX] &&
           chunks_in_fill(k)) { /* a chain that waits for its end */
        deliver(k, 60, 1, false);
        (void)receive(k, got);
    }
    CHECK(k->q.stats.rx_bad > 1000 && k->q.stats.ring_bad > 100);
    check_all_there(k);
    check_all_units(k);
    kernel_free(k);
}

int main(void)
{
    RUN(r04_chains_of_all_lengths);
    RUN(r04_pieces_are_joined_in_order);
    RUN(r04_a_frame_longer_than_any);
    RUN(r04_the_rest_of_a_chain_comes_later);
    RUN(r04_a_chain_without_an_end);
    RUN(r04_chains_that_nobody_asked_for);
    RUN(r05_descriptors_outside_their_chunk);
    RUN(r05_duplicate_addresses);
    RUN(r05_bad_frames_alone_starve_nobody);
    RUN(r05_completions_of_nothing);
    RUN(r05_every_unit_comes_back_once);
    RUN(r05_received_indexes_run_away);
    RUN(r05_fill_indexes_run_away);
    RUN(r05_a_fill_ring_that_is_not_emptied);
    RUN(r05_sent_indexes_run_away);
    RUN(r05_a_kernel_that_lies_at_random);
    return TEST_RESULT();
}
