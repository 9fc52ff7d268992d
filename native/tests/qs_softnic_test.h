/* SPDX-License-Identifier: Apache-2.0 */
/* Frames, rules and a plain model of the software NIC for its tests. The generator of frames knows
 * what it put in, so the model shares nothing with the code under test but the layout of a key. */
#ifndef QS_SOFTNIC_TEST_H
#define QS_SOFTNIC_TEST_H

#include "io/softnic.h"
#include "io/softnic_lookup.h"

#include <arpa/inet.h>

#include "qs_test.h"

static const uint8_t test_published_key[QS_SOFTNIC_KEY_BYTES] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

/* The published suite: source, destination, hash over addresses, hash with ports. */
static const struct test_vector {
    const char *dst, *src;
    uint16_t dport, sport;
    uint32_t hash2, hash4;
} test_vectors[8] = {
    {"161.142.100.80", "66.9.149.187", 1766, 2794, 0x323e8fc2, 0x51ccc178},
    {"65.69.140.83", "199.92.111.2", 4739, 14230, 0xd718262a, 0xc626b0ea},
    {"12.22.207.184", "24.19.198.95", 38024, 12898, 0xd2d0a5de, 0x5c2b394a},
    {"209.142.163.6", "38.27.205.30", 2217, 48228, 0x82989176, 0xafc7327f},
    {"202.188.127.2", "153.39.163.191", 1303, 44251, 0x5d1809c5, 0x10e828a2},
    {"3ffe:2501:200:3::1", "3ffe:2501:200:1fff::7", 1766, 2794, 0x2cc18cd5, 0x40207d3d},
    {"ff02::1", "3ffe:501:8::260:97ff:fe40:efab", 4739, 14230, 0x0f0c461c, 0xdde51bbf},
    {"fe80::200:f8ff:fe21:67cf", "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 38024, 44251, 0x4b61e985,
     0x02d1feef},
};

struct test_frame {
    uint8_t bytes[160];
    size_t len;
    struct qs_softnic_key key; /* what should be found; family 0: not IP */
};

/* What a frame is built of. */
struct test_shape {
    uint8_t src[16], dst[16]; /* as in a key */
    uint8_t family, proto, tos;
    uint16_t sport, dport;
    int tags;              /* VLAN tags, 0 to 2 */
    uint16_t tci;          /* of the first */
    uint32_t option_bytes; /* IPv4, multiple of 4 */
    uint16_t fragment;     /* IPv4 flags and offset */
    bool extension;        /* IPv6: a hop-by-hop header */
};

static inline uint8_t *test_put16(uint8_t *p, unsigned value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
    return p + 2;
}

static inline uint8_t *test_put_ip4(uint8_t *p, const struct test_shape *s)
{
    memset(p, 0, 20 + s->option_bytes);
    p[0] = (uint8_t)(0x45 + s->option_bytes / 4);
    p[1] = s->tos;
    test_put16(p + 2, 40 + s->option_bytes);
    test_put16(p + 6, s->fragment);
    p[8] = 64;
    p[9] = s->proto;
    memcpy(p + 12, s->src + 12, 4);
    memcpy(p + 16, s->dst + 12, 4);
    memset(p + 20, 1, s->option_bytes);
    return p + 20 + s->option_bytes;
}

static inline uint8_t *test_put_ip6(uint8_t *p, const struct test_shape *s)
{
    memset(p, 0, 40);
    p[0] = (uint8_t)(0x60 | s->tos >> 4);
    p[1] = (uint8_t)(s->tos << 4);
    test_put16(p + 4, s->extension ? 28 : 20);
    p[6] = s->extension ? 0 : s->proto;
    p[7] = 64;
    memcpy(p + 8, s->src, 16);
    memcpy(p + 24, s->dst, 16);
    if (s->extension) {
        memset(p + 40, 0, 8);
        p[40] = s->proto;
        p += 8;
    }
    return p + 40;
}

static inline bool test_has_l4(const struct test_shape *s)
{
    if (s->family == 4)
        return (s->fragment & 0x3fff) == 0;
    return !s->extension && (s->proto == 6 || s->proto == 17 || s->proto == 58);
}

/* Builds the frame, cut off at `cut` bytes, and the key that it should give. */
static inline void test_build(struct test_frame *f, const struct test_shape *s, size_t cut)
{
    uint8_t *p = f->bytes;
    memset(p, 0x02, 12);
    p += 12;
    for (int i = 0; i < s->tags; i++) {
        p = test_put16(p, 0x8100);
        p = test_put16(p, i == 0 ? s->tci : 7);
    }
    p = test_put16(p, s->family == 4 ? 0x0800 : s->family == 6 ? 0x86dd : 0x0806);
    size_t l3 = (size_t)(p - f->bytes);
    p = s->family == 6 ? test_put_ip6(p, s) : test_put_ip4(p, s);
    size_t l4 = (size_t)(p - f->bytes);
    test_put16(test_put16(p, s->sport), s->dport);
    memset(p + 4, 0, 16);
    f->len = l4 + 20 < cut ? l4 + 20 : cut;

    memset(&f->key, 0, sizeof f->key);
    size_t header = s->family == 6 ? 40 : 20;
    if ((s->family != 4 && s->family != 6) || s->tags > 1 || f->len < l3 + header)
        return;
    memcpy(f->key.src, s->src, 16);
    memcpy(f->key.dst, s->dst, 16);
    f->key.family = s->family;
    f->key.proto = s->family == 6 && s->extension ? 0 : s->proto;
    f->key.tos = s->tos;
    if (s->tags == 1) {
        test_put16(f->key.vlan_tci, s->tci);
        f->key.present |= QS_SOFTNIC_HAS_VLAN;
    }
    if (test_has_l4(s) && f->len >= l4 + 4) {
        test_put16(f->key.sport, s->sport);
        test_put16(f->key.dport, s->dport);
        f->key.present |= QS_SOFTNIC_HAS_L4;
    }
}

static inline void test_address(uint8_t *addr, const char *text)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    memcpy(addr, mapped, 12);
    if (inet_pton(AF_INET, text, addr + 12) != 1)
        REQUIRE(inet_pton(AF_INET6, text, addr) == 1);
}

/* A whole frame of one of the published vectors. */
static inline void test_vector_frame(struct test_frame *f, const struct test_vector *v,
                                     uint8_t proto)
{
    struct test_shape s = {.proto = proto, .sport = v->sport, .dport = v->dport};
    test_address(s.src, v->src);
    test_address(s.dst, v->dst);
    s.family = strchr(v->src, ':') ? 6 : 4;
    test_build(f, &s, sizeof f->bytes);
}

/* Few different values, so that rules and frames meet often. */
static inline void test_random_shape(struct test_shape *s, uint64_t *random)
{
    static const uint8_t protos[] = {6, 6, 6, 6, 17, 17, 1, 58, 47};
    static const uint16_t fragments[] = {0, 0, 0, 0, 0, 0, 0x4000, 0x2000, 0x2001, 0x0010};
    uint64_t r = qs_test_random(random);
    memset(s, 0, sizeof *s);
    s->family = (r & 31) == 0 ? 0 : (r & 32) ? 6 : 4;
    s->src[15] = (uint8_t)(r >> 8 & 3);
    s->dst[15] = (uint8_t)(r >> 10 & 3);
    s->src[12] = s->dst[12] = 10;
    if (s->family != 6)
        s->src[10] = s->src[11] = s->dst[10] = s->dst[11] = 0xff;
    else
        s->src[0] = s->dst[0] = 0xfd;
    s->proto = protos[(r >> 16) % sizeof protos];
    s->tos = (uint8_t)((r >> 24 & 3) << 4);
    s->sport = (uint16_t)(1000 + (r >> 26 & 3));
    s->dport = (uint16_t)(80 + (r >> 28 & 3));
    s->tags = (r >> 32 & 7) > 5 ? (int)(r >> 32 & 7) - 5 : 0;
    s->tci = (uint16_t)((r >> 35 & 1) << 13 | (1 + (r >> 36 & 1)));
    s->option_bytes = (r >> 40 & 7) == 0 ? (uint32_t)(r >> 43 & 7) * 4u + 4u : 0;
    s->fragment = fragments[(r >> 46) % (sizeof fragments / sizeof fragments[0])];
    s->extension = (r >> 52 & 7) == 0;
}

static inline void test_random_frame(struct test_frame *f, uint64_t *random)
{
    struct test_shape s;
    test_random_shape(&s, random);
    uint64_t r = qs_test_random(random);
    test_build(f, &s, (r & 7) == 0 ? 14 + (r >> 8) % 80 : sizeof f->bytes);
}

/* A rule like the frames; one of 12 masks of a family, so that a NIC holds all of them. */
static inline void test_random_rule(struct qs_softnic_rule *rule, uint32_t n_locations,
                                    uint32_t n_queues, uint64_t *random)
{
    struct test_shape s;
    do
        test_random_shape(&s, random);
    while (s.family == 0);
    uint64_t r = qs_test_random(random);
    memset(rule, 0, sizeof *rule);
    struct qs_softnic_key *v = &rule->value, *m = &rule->mask;
    memcpy(v->src, s.src, 16);
    memcpy(v->dst, s.dst, 16);
    test_put16(v->sport, s.sport);
    test_put16(v->dport, s.dport);
    test_put16(v->vlan_tci, s.tci);
    v->proto = s.proto;
    v->tos = s.tos;
    v->family = s.family;
    m->family = 0xff;
    uint32_t kind = (uint32_t)(r % 8);
    if (kind == 0 || kind == 1 || kind == 2) {
        memset(m->dport, 0xff, 2);
        m->proto = 0xff;
    }
    if (kind == 1)
        memset(m->src, 0xff, 16), memset(m->dst, 0xff, 16), memset(m->sport, 0xff, 2);
    if (kind == 2)
        m->dport[1] = 0xfe;
    if (kind == 3)
        m->src[15] = 0x02;
    if (kind == 4)
        m->tos = 0x20;
    if (kind == 5)
        m->vlan_tci[0] = 0x0f, m->vlan_tci[1] = 0xff;
    if (kind == 6)
        memset(m->sport, 0xff, 2);
    if (kind == 7)
        memset(m->dst, 0xff, 16), m->proto = 0xff;
    rule->location = (uint32_t)(r >> 8) % n_locations;
    rule->queue = (r >> 40) % 9 == 0 ? QS_SOFTNIC_DROP : (uint32_t)(r >> 44) % n_queues;
}

/* ---- the model ---- */

static inline uint32_t model_hash(const uint8_t *key, const uint8_t *input, size_t bytes)
{
    uint32_t hash = 0;
    for (size_t bit = 0; bit < bytes * 8; bit++) {
        if (!(input[bit / 8] & (0x80u >> bit % 8)))
            continue;
        for (size_t i = 0; i < 32; i++) {
            size_t k = bit + i;
            if (key[k / 8] & (0x80u >> k % 8))
                hash ^= 0x80000000u >> i;
        }
    }
    return hash;
}

static inline uint32_t model_rss(const uint8_t *key, const struct qs_softnic_key *k)
{
    uint8_t input[36];
    size_t n = k->family == 4 ? 4 : 16;
    memcpy(input, k->src + 16 - n, n);
    memcpy(input + n, k->dst + 16 - n, n);
    memcpy(input + 2 * n, k->sport, 2);
    memcpy(input + 2 * n + 2, k->dport, 2);
    bool ports = k->present & QS_SOFTNIC_HAS_L4 && (k->proto == 6 || k->proto == 17);
    return model_hash(key, input, 2 * n + (ports ? 4 : 0));
}

static inline bool model_matches(const struct qs_softnic_rule *rule, const struct qs_softnic_key *k)
{
    const struct qs_softnic_key *m = &rule->mask, *v = &rule->value;
    static const size_t octets[][2] = {{offsetof(struct qs_softnic_key, src), 16},
                                       {offsetof(struct qs_softnic_key, dst), 16},
                                       {offsetof(struct qs_softnic_key, sport), 2},
                                       {offsetof(struct qs_softnic_key, dport), 2},
                                       {offsetof(struct qs_softnic_key, vlan_tci), 2},
                                       {offsetof(struct qs_softnic_key, proto), 1},
                                       {offsetof(struct qs_softnic_key, tos), 1},
                                       {offsetof(struct qs_softnic_key, family), 1}};
    for (size_t f = 0; f < sizeof octets / sizeof octets[0]; f++)
        for (size_t i = octets[f][0]; i < octets[f][0] + octets[f][1]; i++)
            if ((((const uint8_t *)v)[i] ^ ((const uint8_t *)k)[i]) & ((const uint8_t *)m)[i])
                return false;
    bool wants_l4 = m->sport[0] || m->sport[1] || m->dport[0] || m->dport[1];
    bool wants_vlan = m->vlan_tci[0] || m->vlan_tci[1];
    return (!wants_l4 || k->present & QS_SOFTNIC_HAS_L4) &&
           (!wants_vlan || k->present & QS_SOFTNIC_HAS_VLAN);
}

struct model {
    uint8_t key[QS_SOFTNIC_KEY_BYTES];
    uint32_t indir[QS_SOFTNIC_INDIR_SIZE];
    struct qs_softnic_rule rules[QS_SOFTNIC_RULES_MAX];
    bool used[QS_SOFTNIC_RULES_MAX];
};

/* Queue or QS_SOFTNIC_DROP; `*location` of the rule, or QS_SOFTNIC_RULES_MAX. */
static inline uint32_t model_queue(const struct model *m, const struct qs_softnic_key *k,
                                   uint32_t *hash, uint32_t *location)
{
    *hash = 0;
    *location = QS_SOFTNIC_RULES_MAX;
    if (k->family == 0)
        return 0;
    *hash = model_rss(m->key, k);
    for (uint32_t i = 0; i < QS_SOFTNIC_RULES_MAX; i++) {
        if (m->used[i] && model_matches(&m->rules[i], k)) {
            *location = i;
            return m->rules[i].queue;
        }
    }
    return m->indir[*hash % QS_SOFTNIC_INDIR_SIZE];
}

static inline void model_init(struct model *m, uint32_t n_queues)
{
    memset(m, 0, sizeof *m);
    memcpy(m->key, test_published_key, sizeof m->key);
    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
        m->indir[i] = i % n_queues;
}

static inline struct qs_softnic *test_new_nic(uint32_t n_queues)
{
    struct qs_softnic *nic = aligned_alloc(64, sizeof *nic);
    REQUIRE(nic);
    qs_softnic_init(nic, n_queues);
    return nic;
}

static inline struct qs_softnic_verdict test_look(const struct qs_softnic *nic,
                                                  const struct test_frame *f)
{
    struct qs_softnic_source from = {f->bytes, f->len};
    struct qs_softnic_key key;
    struct qs_softnic_verdict verdict;
    (void)qs_softnic_parse(&from, &key);
    (void)qs_softnic_decide(nic, &key, &verdict);
    return verdict;
}

#endif
