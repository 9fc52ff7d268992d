/* SPDX-License-Identifier: Apache-2.0 */
/* Byte queues of chunks against a plain array. */
#include "core/checksum.h"
#include "core/chunk.h"
#include "frame.h"
#include "qs_test.h"

#define CHUNKS 40u
#define OCTETS (CHUNKS * QS_CHUNK_BYTES)

struct model {
    struct qs_chunk_pool pool;
    struct qs_bytes q;
    uint8_t bytes[OCTETS]; /* what the queue holds */
    uint32_t len;
    uint64_t random;
};

static struct qs_chunk chunks[CHUNKS];
static struct model m;

static void start(uint64_t seed)
{
    m = (struct model){.random = seed};
    qs_chunk_pool_init(&m.pool, chunks, CHUNKS);
    qs_bytes_init(&m.q);
}

static uint32_t below(uint32_t n)
{
    return (uint32_t)(qs_test_random(&m.random) >> 16) % n;
}

static void append(uint32_t len, uint32_t reserve)
{
    static uint8_t data[OCTETS];
    for (uint32_t i = 0; i < len; i++)
        data[i] = (uint8_t)qs_test_random(&m.random);
    uint32_t free_before = m.pool.n - m.pool.used;
    uint32_t n = (uint32_t)qs_bytes_append(&m.pool, &m.q, data, len, reserve);
    REQUIRE(n <= len && m.len + n <= OCTETS);
    if (n < len) /* only because of the reserve */
        CHECK(m.pool.n - m.pool.used <= reserve);
    if (free_before > reserve)
        CHECK(m.pool.n - m.pool.used >= reserve);
    memcpy(m.bytes + m.len, data, n);
    m.len += n;
}

static void append_chunk(uint32_t start_at, uint32_t len)
{
    uint32_t idx = qs_chunk_take(&m.pool, 0);
    if (idx == QS_NO_IDX) {
        CHECK_EQ(m.pool.used, CHUNKS);
        return;
    }
    struct qs_chunk *c = &chunks[idx];
    c->start = (uint16_t)start_at;
    c->len = (uint16_t)len;
    for (uint32_t i = 0; i < len; i++)
        m.bytes[m.len + i] = c->data[start_at + i] = (uint8_t)qs_test_random(&m.random);
    qs_bytes_append_chunk(&m.pool, &m.q, idx);
    m.len += len;
}

static void drop(uint32_t len)
{
    qs_bytes_drop(&m.pool, &m.q, len);
    m.len -= len;
    memmove(m.bytes, m.bytes + len, m.len);
}

/* Any run of octets, copied plainly and with a checksum that goes on from any sum. */
static void check_run(uint32_t offset, uint32_t len)
{
    static uint8_t got[OCTETS + 1];
    struct qs_bytes_pos pos = qs_bytes_find(&m.pool, &m.q, offset), again = pos;
    got[len] = 0xee;
    qs_bytes_copy(&m.pool, &pos, got, len);
    CHECK_MEM(got, m.bytes + offset, len);
    CHECK_EQ(got[len], 0xee);
    memset(got, 0, len);
    uint64_t sum = qs_bytes_copy_sum(&m.pool, &again, got, len, 0);
    CHECK_MEM(got, m.bytes + offset, len);
    uint8_t field[2];
    qs_csum_store(field, sum);
    CHECK_EQ(be(field, 2) % 0xffff, naive_checksum(naive_sum(got, len, 0)) % 0xffff);
    if (offset + len < m.len) { /* the place goes on where it stopped */
        qs_bytes_copy(&m.pool, &pos, got, 1);
        CHECK_EQ(got[0], m.bytes[offset + len]);
    }
}

static void check_whole(void)
{
    uint32_t held = 0, n = 0;
    CHECK_EQ(m.q.len, m.len);
    for (uint32_t i = m.q.head; i != QS_NO_IDX; i = chunks[i].next, n++) {
        REQUIRE(n < CHUNKS);
        CHECK(chunks[i].start + chunks[i].len <= QS_CHUNK_BYTES);
        held += chunks[i].len;
        if (chunks[i].next == QS_NO_IDX)
            CHECK_EQ(m.q.tail, i);
    }
    CHECK_EQ(held, m.len);
    CHECK_EQ(m.pool.used, n); /* nothing is lost */
}

static void random_operations(void)
{
    uint64_t seed = qs_test_seed();
    for (uint64_t run = 0; run < 20; run++) {
        start(seed + run);
        for (int i = 0; i < 3000; i++) {
            uint32_t room = OCTETS - m.len;
            switch (below(6)) {
            case 0:
            case 1:
                append(below(room < 5000 ? room + 1 : 5000), below(3) * 5);
                break;
            case 2: {
                uint32_t at = below(QS_CHUNK_BYTES), len = below(QS_CHUNK_BYTES - at) + 1;
                if (len <= room)
                    append_chunk(at, len);
                break;
            }
            case 3:
            case 4:
                if (m.len)
                    drop(below(m.len < 6000 ? m.len + 1 : 6000));
                break;
            default:
                if (m.len) {
                    uint32_t offset = below(m.len);
                    check_run(offset, below(m.len - offset) + 1);
                }
            }
            check_whole();
        }
        qs_bytes_clear(&m.pool, &m.q);
        CHECK_EQ(m.pool.used, 0);
    }
}

/* A place noted at the end is right when octets follow, and when others in front of it go. */
static void places_stay_right(void)
{
    start(qs_test_seed());
    append(3000, 0);
    for (int i = 0; i < 2000; i++) {
        struct qs_bytes_pos end = qs_bytes_find(&m.pool, &m.q, m.len);
        uint32_t at = m.len;
        append(below(3000) + 1, 0);
        uint32_t gone = below(at + 1);
        drop(gone);
        at -= gone;
        uint8_t got[64];
        uint32_t n = m.len - at < 64 ? m.len - at : 64;
        qs_bytes_copy(&m.pool, &end, got, n);
        CHECK_MEM(got, m.bytes + at, n);
        if (m.len > 20000)
            drop(m.len - 5);
    }
}

/* Single octets, each in its own chunk, are copied together. */
static void small_chunks_are_merged(void)
{
    start(1);
    for (int i = 0; i < 500; i++)
        append_chunk((uint32_t)i, 1);
    CHECK_EQ(m.pool.used, 1);
    check_run(0, 500);
}

static void reserves_are_kept(void)
{
    start(1);
    append(OCTETS, 10);
    CHECK_EQ(m.pool.used, CHUNKS - 10);
    append(OCTETS, 3);
    CHECK_EQ(m.pool.used, CHUNKS - 3);
    CHECK_EQ(qs_chunk_take(&m.pool, 3), QS_NO_IDX);
    append(OCTETS, 0);
    CHECK_EQ(m.len, OCTETS);
    check_run(0, OCTETS);
    CHECK_EQ(qs_chunk_take(&m.pool, 0), QS_NO_IDX);
}

/* Memory that was never used stays untouched as long as freed chunks are there. */
static void the_last_freed_is_taken_first(void)
{
    start(1);
    uint32_t a = qs_chunk_take(&m.pool, 0), b = qs_chunk_take(&m.pool, 0);
    qs_chunk_give(&m.pool, a);
    qs_chunk_give(&m.pool, b);
    CHECK_EQ(qs_chunk_take(&m.pool, 0), b);
    CHECK_EQ(qs_chunk_take(&m.pool, 0), a);
    CHECK_EQ(m.pool.fresh, 2);
}

int main(void)
{
    RUN(random_operations);
    RUN(places_stay_right);
    RUN(small_chunks_are_merged);
    RUN(reserves_are_kept);
    RUN(the_last_freed_is_taken_first);
    return TEST_RESULT();
}
