/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The one lookup of the software NIC, for C and for BPF programs:
 * frame -> key (qs_softnic_parse), key -> queue or drop and RSS hash (qs_softnic_decide), counters.
 *
 * Hash: Toeplitz over source, destination and, for TCP and UDP, ports. Fragments, other protocols
 * and IPv6 with extension headers: addresses only. What is not IP, or IP cut off in its header or
 * behind two VLAN tags: hash 0, queue 0, no rule.
 *
 * A BPF program defines QS_SOFTNIC_LOAD_DEFINED, `struct qs_softnic_source` and qs_softnic_load()
 * before it includes this file. Loops have fixed bounds and offsets into the shared memory are
 * checked in a form that the kernel's verifier follows. */
#ifndef QS_IO_SOFTNIC_LOOKUP_H
#define QS_IO_SOFTNIC_LOOKUP_H

#include "softnic_layout.h"

#include <stdbool.h>

#ifdef __bpf__
#define QS_SOFTNIC_READ(p) (*(const volatile __typeof__(*(p)) *)(p))
#define QS_SOFTNIC_ADD(p, n) ((void)__sync_fetch_and_add((p), (n)))
/* Keeps the compiler from changing the order; BPF has no load fence. The processors that keep loads
 * in order (x86) need none. On others a reader may, in a window of nanoseconds, miss that it has to
 * look again. */
#define QS_SOFTNIC_LOADS_IN_ORDER() __asm__ volatile("" ::: "memory")
/* Keeps the compiler from proving a bound that the verifier cannot see. */
#define QS_SOFTNIC_OPAQUE(v) __asm__ volatile("" : "+r"(v))
#define QS_SOFTNIC_UNROLL _Pragma("unroll")
/* Global functions are verified once and not again for each turn of the loop around their call.
 * They may be called with anything of the right type, so they check for NULL. */
#define QS_SOFTNIC_STEP __attribute__((noinline))
#define QS_SOFTNIC_TRIES                                                                           \
    64u /* a loop has to end; 3 changes in 10 us make one try in ten look again */
#define QS_SOFTNIC_ARGS(ok)                                                                        \
    do {                                                                                           \
        if (!(ok))                                                                                 \
            return 0;                                                                              \
    } while (0)
#else
#define QS_SOFTNIC_READ(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define QS_SOFTNIC_ADD(p, n) ((void)__atomic_fetch_add((p), (n), __ATOMIC_RELAXED))
#define QS_SOFTNIC_LOADS_IN_ORDER() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define QS_SOFTNIC_OPAQUE(v) ((void)(v))
#define QS_SOFTNIC_UNROLL
#define QS_SOFTNIC_STEP static inline __attribute__((always_inline))
#define QS_SOFTNIC_ARGS(ok) ((void)0)
#define QS_SOFTNIC_TRIES UINT32_MAX
#endif
#define QS_SOFTNIC_INLINE static inline __attribute__((always_inline))

#ifndef QS_SOFTNIC_LOAD_DEFINED
/* Where a frame is read from. */
struct qs_softnic_source {
    const uint8_t *frame;
    uint64_t len;
};

/* Copies `bytes` (a constant) at `offset`; false when the frame ends before. */
QS_SOFTNIC_INLINE bool qs_softnic_load(const struct qs_softnic_source *from, uint32_t offset,
                                       void *to, uint32_t bytes)
{
    if (from->len < (uint64_t)offset + bytes)
        return false;
    __builtin_memcpy(to, from->frame + offset, bytes);
    return true;
}
#endif

struct qs_softnic_verdict {
    uint32_t queue; /* or QS_SOFTNIC_DROP */
    uint32_t hash;  /* RSS hash, also when a rule chose; 0 if not IP */
    uint32_t entry; /* index of the rule that decided + 1, or 0 */
    uint32_t is_ip;
};

QS_SOFTNIC_INLINE uint32_t qs_softnic_be16(const uint8_t *p)
{
    return ((uint32_t)p[0] << 8) | p[1];
}

QS_SOFTNIC_INLINE void qs_softnic_load_l4(const struct qs_softnic_source *from, uint32_t offset,
                                          struct qs_softnic_key *key)
{
    uint32_t ports;
    if (!qs_softnic_load(from, offset, &ports, sizeof ports))
        return;
    __builtin_memcpy(key->sport, &ports, sizeof ports);
    key->present |= QS_SOFTNIC_HAS_L4;
}

QS_SOFTNIC_INLINE bool qs_softnic_parse_ip4(const struct qs_softnic_source *from, uint32_t offset,
                                            struct qs_softnic_key *key)
{
    struct {
        uint8_t version_ihl, tos, len[2], id[2], fragment[2], ttl, proto, sum[2];
        uint32_t src, dst;
    } ip;
    if (!qs_softnic_load(from, offset, &ip, sizeof ip))
        return false;
    uint32_t header_bytes = (ip.version_ihl & 15u) * 4u;
    if (ip.version_ihl >> 4 != 4 || header_bytes < sizeof ip)
        return false;
    key->src[10] = key->src[11] = key->dst[10] = key->dst[11] = 0xff;
    __builtin_memcpy(key->src + 12, &ip.src, 4);
    __builtin_memcpy(key->dst + 12, &ip.dst, 4);
    key->proto = ip.proto;
    key->tos = ip.tos;
    key->family = 4;
    bool is_fragment =
        (qs_softnic_be16(ip.fragment) & 0x3fffu) != 0; /* more follow, or an offset */
    if (!is_fragment)
        qs_softnic_load_l4(from, offset + header_bytes, key);
    return true;
}

/* Next headers that are not IPv6 extension headers: TCP, UDP, DCCP, ICMPv6, SCTP, UDP-Lite. */
QS_SOFTNIC_INLINE bool qs_softnic_is_ip6_l4(uint32_t proto)
{
    return proto == 6 || proto == 17 || proto == 33 || proto == 58 || proto == 132 || proto == 136;
}

QS_SOFTNIC_INLINE bool qs_softnic_parse_ip6(const struct qs_softnic_source *from, uint32_t offset,
                                            struct qs_softnic_key *key)
{
    struct {
        uint8_t version_class, class_flow, flow[2], len[2], proto, hops;
        uint64_t src[2], dst[2];
    } ip;
    if (!qs_softnic_load(from, offset, &ip, sizeof ip) || ip.version_class >> 4 != 6)
        return false;
    __builtin_memcpy(key->src, ip.src, 16);
    __builtin_memcpy(key->dst, ip.dst, 16);
    key->proto = ip.proto;
    key->tos = (uint8_t)((ip.version_class << 4) | (ip.class_flow >> 4));
    key->family = 6;
    if (qs_softnic_is_ip6_l4(ip.proto))
        qs_softnic_load_l4(from, offset + (uint32_t)sizeof ip, key);
    return true;
}

/* Fills `key` from an Ethernet frame; false, and no family, when it is not IP. */
QS_SOFTNIC_INLINE bool qs_softnic_parse(const struct qs_softnic_source *from,
                                        struct qs_softnic_key *key)
{
    __builtin_memset(key, 0, sizeof *key);
    uint8_t type[2];
    uint32_t offset = 14;
    if (!qs_softnic_load(from, 12, type, sizeof type))
        return false;
    uint32_t ethertype = qs_softnic_be16(type);
    if (ethertype == 0x8100 || ethertype == 0x88a8) {
        uint8_t tag[4];
        if (!qs_softnic_load(from, 14, tag, sizeof tag))
            return false;
        key->vlan_tci[0] = tag[0];
        key->vlan_tci[1] = tag[1];
        key->present = QS_SOFTNIC_HAS_VLAN;
        ethertype = qs_softnic_be16(tag + 2);
        offset = 18;
    }
    if (ethertype == 0x0800)
        return qs_softnic_parse_ip4(from, offset, key);
    return ethertype == 0x86dd && qs_softnic_parse_ip6(from, offset, key);
}

/* Hash of a masked key in one group: upper half tells rules of a bucket apart, lower bits choose
 * it. */
QS_SOFTNIC_INLINE uint32_t qs_softnic_index_hash(uint32_t group, const uint64_t *words)
{
    uint64_t h = (words[0] + 0x9e3779b97f4a7c15u) * (words[1] + 0xc2b2ae3d27d4eb4fu) +
                 (words[2] + 0xd6e8feb86659fd93u) * (words[3] + 0xa0761d6478bd642fu) +
                 (words[4] + 0xe7037ed1a0b428dbu) * (words[5] + 0x8ebc6af09c88c6e3u) +
                 group * 0x589965cc75374cc3u;
    h = (h ^ (h >> 32)) * 0x94d049bb133111ebu;
    return (uint32_t)(h >> 32);
}

/* Entry + 1 of the rule of `group` that matches, or 0. */
QS_SOFTNIC_STEP uint32_t qs_softnic_find(const struct qs_softnic *nic, uint32_t group,
                                         const struct qs_softnic_key *key)
{
    QS_SOFTNIC_OPAQUE(group);
    QS_SOFTNIC_ARGS(nic && key && group < QS_SOFTNIC_GROUP_SLOTS);
    uint64_t masked[QS_SOFTNIC_KEY_WORDS];
    QS_SOFTNIC_UNROLL
    for (uint32_t i = 0; i < QS_SOFTNIC_KEY_WORDS; i++)
        masked[i] = key->words[i] & QS_SOFTNIC_READ(&nic->groups[group].mask.words[i]);

    uint32_t hash = qs_softnic_index_hash(group, masked);
    const struct qs_softnic_bucket *bucket = &nic->index[hash % QS_SOFTNIC_BUCKETS];
    uint32_t n_used = QS_SOFTNIC_READ(&bucket->n_used);
    for (uint32_t s = 0; s < QS_SOFTNIC_BUCKET_SLOTS; s++) {
        if (s >= n_used)
            break;
        uint32_t slot = QS_SOFTNIC_READ(&bucket->slots[s]);
        if ((slot ^ hash) >> 16 != 0)
            continue;
        uint32_t idx = (slot & 0xffffu) - 1u;
        QS_SOFTNIC_OPAQUE(idx);
        if (idx >= QS_SOFTNIC_ENTRIES)
            continue;
        const struct qs_softnic_entry *entry = &nic->entries[idx];
        uint64_t differ = QS_SOFTNIC_READ(&entry->group) ^ group;
        QS_SOFTNIC_UNROLL
        for (uint32_t i = 0; i < QS_SOFTNIC_KEY_WORDS; i++)
            differ |= QS_SOFTNIC_READ(&entry->value.words[i]) ^ masked[i];
        if (differ == 0)
            return idx + 1u;
    }
    return 0;
}

/* Hash of source and destination, the last `bytes` (a constant) of each, and of the ports. */
QS_SOFTNIC_INLINE uint32_t qs_softnic_toeplitz(const struct qs_softnic_key_bank *bank,
                                               const struct qs_softnic_key *key, uint32_t bytes)
{
    uint32_t hash = 0;
    QS_SOFTNIC_UNROLL
    for (uint32_t i = 0; i < bytes; i++)
        hash ^= QS_SOFTNIC_READ(&bank->table[i][key->src[16 - bytes + i]]) ^
                QS_SOFTNIC_READ(&bank->table[bytes + i][key->dst[16 - bytes + i]]);
    if (!(key->present & QS_SOFTNIC_HAS_L4) || (key->proto != 6 && key->proto != 17))
        return hash;
    QS_SOFTNIC_UNROLL
    for (uint32_t i = 0; i < 2; i++)
        hash ^= QS_SOFTNIC_READ(&bank->table[2 * bytes + i][key->sport[i]]) ^
                QS_SOFTNIC_READ(&bank->table[2 * bytes + 2 + i][key->dport[i]]);
    return hash;
}

/* Toeplitz hash of a key. */
QS_SOFTNIC_INLINE uint32_t qs_softnic_hash(const struct qs_softnic *nic,
                                           const struct qs_softnic_key *key)
{
    const struct qs_softnic_key_bank *bank = &nic->banks[QS_SOFTNIC_READ(&nic->active_bank) & 1u];
    return key->family == 4 ? qs_softnic_toeplitz(bank, key, 4)
                            : qs_softnic_toeplitz(bank, key, 16);
}

/* Looks once. Returns verdict->queue. */
QS_SOFTNIC_STEP uint32_t qs_softnic_look(const struct qs_softnic *nic,
                                         const struct qs_softnic_key *key,
                                         struct qs_softnic_verdict *verdict)
{
    QS_SOFTNIC_ARGS(nic && key && verdict);
    uint32_t best = 0, best_location = QS_SOFTNIC_RULES_MAX, queue = 0;
    uint32_t n_groups = QS_SOFTNIC_READ(&nic->n_groups);
    for (uint32_t group = 0; group < QS_SOFTNIC_GROUP_SLOTS; group++) {
        if (group >= n_groups)
            break;
        if (QS_SOFTNIC_READ(&nic->groups[group].n_rules) == 0)
            continue;
        uint32_t found = qs_softnic_find(nic, group, key);
        uint32_t idx = found - 1u;
        QS_SOFTNIC_OPAQUE(idx);
        if (idx >= QS_SOFTNIC_ENTRIES)
            continue;
        uint32_t location = QS_SOFTNIC_READ(&nic->entries[idx].location);
        if (location < best_location) {
            best_location = location;
            best = found;
            queue = QS_SOFTNIC_READ(&nic->entries[idx].queue);
        }
    }
    uint32_t hash = qs_softnic_hash(nic, key);
    if (best == 0)
        queue = QS_SOFTNIC_READ(&nic->indir[hash % QS_SOFTNIC_INDIR_SIZE]);
    verdict->queue = queue;
    verdict->hash = hash;
    verdict->entry = best;
    return queue;
}

/* Chooses for a parsed key; returns verdict->queue. Looks again when memory that it may have been
 * reading was given a new use meanwhile. */
QS_SOFTNIC_STEP uint32_t qs_softnic_decide(const struct qs_softnic *nic,
                                           const struct qs_softnic_key *key,
                                           struct qs_softnic_verdict *verdict)
{
    QS_SOFTNIC_ARGS(nic && key && verdict);
    verdict->queue = verdict->hash = verdict->entry = 0;
    verdict->is_ip = key->family != 0;
    if (!verdict->is_ip)
        return 0;
    for (uint32_t tries = 0; tries < QS_SOFTNIC_TRIES; tries++) {
        uint32_t generation = QS_SOFTNIC_READ(&nic->generation);
        QS_SOFTNIC_LOADS_IN_ORDER();
        uint32_t queue = qs_softnic_look(nic, key, verdict);
        QS_SOFTNIC_LOADS_IN_ORDER();
        if (QS_SOFTNIC_READ(&nic->generation) == generation)
            return queue;
    }
    return verdict->queue;
}

/* Counts one frame that got `verdict`: all but the queue's own counters. */
QS_SOFTNIC_INLINE void qs_softnic_count_verdict(struct qs_softnic *nic,
                                                const struct qs_softnic_verdict *verdict)
{
    uint32_t idx = verdict->entry - 1u;
    QS_SOFTNIC_OPAQUE(idx);
    if (idx < QS_SOFTNIC_ENTRIES) {
        QS_SOFTNIC_ADD(&nic->entries[idx].hits, 1);
        QS_SOFTNIC_ADD(&nic->rule_hits, 1);
        if (verdict->queue == QS_SOFTNIC_DROP)
            QS_SOFTNIC_ADD(&nic->rule_drops, 1);
    }
    if (!verdict->is_ip)
        QS_SOFTNIC_ADD(&nic->not_ip, 1);
}

/* Adds to the counters of a queue; a driver may do it once for a burst. */
QS_SOFTNIC_INLINE void qs_softnic_count_queue(struct qs_softnic *nic, uint32_t queue,
                                              uint64_t packets, uint64_t bytes)
{
    struct qs_softnic_queue *q = &nic->queues[queue % QS_SOFTNIC_QUEUES_MAX];
    QS_SOFTNIC_ADD(&q->packets, packets);
    QS_SOFTNIC_ADD(&q->bytes, bytes);
}

#ifndef __bpf__
/* Chooses for a frame in memory and counts all but the queue (qs_softnic_count_queue). */
QS_SOFTNIC_INLINE void qs_softnic_receive(struct qs_softnic *nic, const uint8_t *frame,
                                          uint64_t len, struct qs_softnic_verdict *verdict)
{
    struct qs_softnic_source from = {frame, len};
    struct qs_softnic_key key;
    (void)qs_softnic_parse(&from, &key);
    qs_softnic_decide(nic, &key, verdict);
    qs_softnic_count_verdict(nic, verdict);
}
#endif

#endif
