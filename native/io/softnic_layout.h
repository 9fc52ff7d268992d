/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Memory of the software NIC, the same for C and for BPF programs: fixed-width fields only.
 *
 * Readers (packet paths) take no lock. What they can reach is never changed in place: a changed
 * rule or key is written where no new reader looks and is then published by one store. `generation`
 * is raised before such retired memory is written again, so a reader that was still in it knows and
 * looks again. */
#ifndef QS_IO_SOFTNIC_LAYOUT_H
#define QS_IO_SOFTNIC_LAYOUT_H

#include <stdint.h>

#define QS_SOFTNIC_MAGIC 0x51534e43u /* "QSNC" */
#define QS_SOFTNIC_VERSION 1u

#define QS_SOFTNIC_QUEUES_MAX 64u
#define QS_SOFTNIC_INDIR_SIZE 256u
#define QS_SOFTNIC_KEY_BYTES 40u
#define QS_SOFTNIC_HASH_INPUT_MAX 36u /* IPv6 addresses and ports */
#define QS_SOFTNIC_RULES_MAX 4096u
#define QS_SOFTNIC_GROUPS_MAX 16u /* different masks among the rules */

/* One more than the limit, so that a rule can be replaced while all are in use. */
#define QS_SOFTNIC_ENTRIES (QS_SOFTNIC_RULES_MAX + 1u)
#define QS_SOFTNIC_GROUP_SLOTS (QS_SOFTNIC_GROUPS_MAX + 1u)

/* At most 2 rules a bucket on average: that 16 meet in one of 15 slots has a chance of 1e-6. */
#define QS_SOFTNIC_BUCKETS 2048u
#define QS_SOFTNIC_BUCKET_SLOTS 15u

/* As a queue: the frame is dropped. */
#define QS_SOFTNIC_DROP 0xffffffffu

/* Bits of qs_softnic_key.present. */
#define QS_SOFTNIC_HAS_L4 1u   /* first 4 octets after the IP header; never of a fragment */
#define QS_SOFTNIC_HAS_VLAN 2u /* one VLAN tag */

#define QS_SOFTNIC_KEY_WORDS 6u

/* What rules match on, and in its first 36 bytes what is hashed. As a mask: 1 = compare. */
struct qs_softnic_key {
    union {
        struct {
            uint8_t src[16], dst[16]; /* network order; IPv4 as ::ffff:a.b.c.d */
            uint8_t sport[2];         /* network order; the first 4 octets after the IP header */
            uint8_t dport[2];
            uint8_t vlan_tci[2]; /* network order */
            uint8_t proto;       /* IPv4 protocol, IPv6 next header */
            uint8_t tos;         /* IPv4 TOS, IPv6 traffic class */
            uint8_t family;      /* 4 or 6; 0 in what is not IP. Mask: always 0xff */
            uint8_t present;     /* QS_SOFTNIC_HAS_*; of a rule it follows from the mask */
            uint8_t zero[6];
        };
        uint64_t words[QS_SOFTNIC_KEY_WORDS];
    };
};

/* A rule as the control side gives and reads it. */
struct qs_softnic_rule {
    struct qs_softnic_key value, mask;
    uint32_t location;  /* below QS_SOFTNIC_RULES_MAX; the lowest that matches wins */
    uint32_t queue;     /* active queue or QS_SOFTNIC_DROP */
    uint32_t flow_type; /* the control side's own, only kept */
    uint32_t reserved;  /* 0 */
};

/* A rule in use. The first half is what a lookup reads. */
struct qs_softnic_entry {
    struct qs_softnic_key value;
    uint32_t location;
    uint32_t queue;
    uint32_t group;
    uint32_t hash; /* of (group, value) */

    struct qs_softnic_key mask;
    uint32_t flow_type;
    uint32_t reserved;
    uint64_t hits;
};

/* Rules with the same mask: one probe of the index finds the best of them. */
struct qs_softnic_group {
    struct qs_softnic_key mask;
    uint32_t n_rules;
    uint32_t zero[3];
};

/* Slot: 0, or the hash's upper half and (entry + 1). Of several rules with equal mask and value
 * only the one with the lowest location is here. */
struct qs_softnic_bucket {
    uint32_t n_used; /* slots from here on are empty */
    uint32_t slots[QS_SOFTNIC_BUCKET_SLOTS];
};

/* Toeplitz: the hash is the XOR of one word for each input octet. */
struct qs_softnic_key_bank {
    uint8_t key[QS_SOFTNIC_KEY_BYTES];
    uint32_t table[QS_SOFTNIC_HASH_INPUT_MAX][256];
};

struct qs_softnic_queue {
    uint64_t packets;
    uint64_t bytes; /* Ethernet header included, FCS not */
    uint64_t zero[6];
};

struct qs_softnic {
    uint32_t magic;
    uint32_t version;
    uint32_t generation;   /* raised before retired memory is written again */
    uint32_t active_bank;  /* 0 or 1 */
    uint32_t n_groups;     /* group slots from here on were never used */
    uint32_t n_queues;     /* active */
    uint32_t n_queues_max; /* as given to qs_softnic_init() */
    uint32_t n_drop_rules;

    uint32_t n_rules;
    uint32_t n_shadowed; /* rules that are not in the index: an equal one is at a lower location */
    uint32_t indir_is_default; /* follows the number of queues */
    uint32_t n_free;
    uint32_t has_retired; /* since `generation` was last raised */
    uint32_t zero[3];

    uint32_t indir[QS_SOFTNIC_INDIR_SIZE];
    struct qs_softnic_group groups[QS_SOFTNIC_GROUP_SLOTS];

    struct qs_softnic_queue queues[QS_SOFTNIC_QUEUES_MAX];
    uint64_t rule_hits, rule_drops, not_ip;
    uint64_t zero2[5];

    struct qs_softnic_key_bank banks[2];
    uint8_t zero3[48];
    struct qs_softnic_bucket index[QS_SOFTNIC_BUCKETS];
    struct qs_softnic_entry entries[QS_SOFTNIC_ENTRIES];

    /* Of the control side. */
    uint16_t entry_at[QS_SOFTNIC_RULES_MAX];   /* location -> entry + 1, or 0 */
    uint16_t free_entries[QS_SOFTNIC_ENTRIES]; /* stack of n_free */
    uint16_t zero4[31];
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct qs_softnic_key) == 48, "6 words");
_Static_assert(sizeof(struct qs_softnic_entry) == 128, "two cache lines");
_Static_assert(sizeof(struct qs_softnic_group) == 64, "a cache line");
_Static_assert(sizeof(struct qs_softnic_bucket) == 64, "a cache line");
_Static_assert(__builtin_offsetof(struct qs_softnic, index) % 64 == 0, "buckets in cache lines");
_Static_assert(__builtin_offsetof(struct qs_softnic, entries) % 64 == 0, "entries in cache lines");

#endif
