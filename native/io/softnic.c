/* SPDX-License-Identifier: Apache-2.0 */
/* The control side of the software NIC: changes that readers see whole (softnic_layout.h says how).
 * One thread at a time. */
#include "softnic.h"

#include "softnic_lookup.h"

#include <string.h>

#define PUBLISH(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

static const uint8_t published_key[QS_SOFTNIC_KEY_BYTES] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

/* Readers that began before this look again. */
static void raise_generation(struct qs_softnic *nic)
{
    PUBLISH(&nic->generation, nic->generation + 1u);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    nic->has_retired = 0;
}

/* Before memory is written that no new reader finds: old ones may still be in what was retired. */
static void before_reuse(struct qs_softnic *nic)
{
    if (nic->has_retired)
        raise_generation(nic);
}

static void store_key(struct qs_softnic_key *to, const uint64_t *words)
{
    for (size_t i = 0; i < QS_SOFTNIC_KEY_WORDS; i++)
        STORE(&to->words[i], words[i]);
}

/* ---- key and table ---- */

static uint32_t key_window(const uint8_t *key, uint32_t bit)
{
    uint32_t byte = bit / 8u;
    uint64_t five = 0;
    for (uint32_t i = 0; i < 5; i++)
        five = five << 8 | (byte + i < QS_SOFTNIC_KEY_BYTES ? key[byte + i] : 0u);
    return (uint32_t)(five >> (8u - bit % 8u));
}

static void fill_bank(struct qs_softnic_key_bank *bank, const uint8_t *key)
{
    memcpy(bank->key, key, QS_SOFTNIC_KEY_BYTES);
    for (uint32_t octet = 0; octet < QS_SOFTNIC_HASH_INPUT_MAX; octet++) {
        uint32_t windows[8];
        for (uint32_t bit = 0; bit < 8; bit++)
            windows[bit] = key_window(key, octet * 8u + bit);
        for (uint32_t value = 0; value < 256; value++) {
            uint32_t hash = 0;
            for (uint32_t bit = 0; bit < 8; bit++)
                hash ^= value & (0x80u >> bit) ? windows[bit] : 0u;
            STORE(&bank->table[octet][value], hash);
        }
    }
}

void qs_softnic_set_key(struct qs_softnic *nic, const uint8_t key[QS_SOFTNIC_KEY_BYTES])
{
    uint32_t other = nic->active_bank ^ 1u;
    before_reuse(nic);
    fill_bank(&nic->banks[other], key);
    PUBLISH(&nic->active_bank, other);
    nic->has_retired = 1;
}

static void store_default_indir(struct qs_softnic *nic, uint32_t n_queues)
{
    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
        STORE(&nic->indir[i], i % n_queues);
    nic->indir_is_default = 1;
}

qs_err qs_softnic_set_indir(struct qs_softnic *nic, const uint32_t *queues)
{
    if (!queues) {
        store_default_indir(nic, nic->n_queues);
        return 0;
    }
    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
        if (queues[i] >= nic->n_queues)
            return QS_ERR_ARG;
    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
        STORE(&nic->indir[i], queues[i]);
    nic->indir_is_default = 0;
    return 0;
}

void qs_softnic_used_queues(const struct qs_softnic *nic, uint32_t *by_table, uint32_t *by_rules)
{
    *by_table = *by_rules = 0;
    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE && !nic->indir_is_default; i++)
        if (nic->indir[i] >= *by_table)
            *by_table = nic->indir[i] + 1u;
    for (uint32_t i = 0; i < QS_SOFTNIC_RULES_MAX; i++) {
        if (!nic->entry_at[i])
            continue;
        uint32_t queue = nic->entries[nic->entry_at[i] - 1u].queue;
        if (queue != QS_SOFTNIC_DROP && queue >= *by_rules)
            *by_rules = queue + 1u;
    }
}

qs_err qs_softnic_set_queues(struct qs_softnic *nic, uint32_t n_queues)
{
    uint32_t by_table, by_rules;
    if (n_queues == 0 || n_queues > nic->n_queues_max)
        return QS_ERR_ARG;
    qs_softnic_used_queues(nic, &by_table, &by_rules);
    if (by_table > n_queues || by_rules > n_queues)
        return QS_ERR_BUSY;
    if (nic->indir_is_default)
        store_default_indir(nic, n_queues);
    STORE(&nic->n_queues, n_queues);
    return 0;
}

void qs_softnic_init(struct qs_softnic *nic, uint32_t n_queues)
{
    if (n_queues == 0)
        n_queues = 1;
    if (n_queues > QS_SOFTNIC_QUEUES_MAX)
        n_queues = QS_SOFTNIC_QUEUES_MAX;
    memset(nic, 0, sizeof *nic);
    nic->n_queues = nic->n_queues_max = n_queues;
    fill_bank(&nic->banks[0], published_key);
    store_default_indir(nic, n_queues);
    nic->n_free = QS_SOFTNIC_ENTRIES;
    for (uint32_t i = 0; i < QS_SOFTNIC_ENTRIES; i++)
        nic->free_entries[i] = (uint16_t)(QS_SOFTNIC_ENTRIES - 1u - i);
    nic->version = QS_SOFTNIC_VERSION;
    PUBLISH(&nic->magic, QS_SOFTNIC_MAGIC);
}

/* ---- groups: one for each mask ---- */

static uint32_t group_of_mask(const struct qs_softnic *nic, const struct qs_softnic_key *mask)
{
    for (uint32_t g = 0; g < nic->n_groups; g++)
        if (nic->groups[g].n_rules && memcmp(&nic->groups[g].mask, mask, sizeof *mask) == 0)
            return g;
    return QS_SOFTNIC_GROUP_SLOTS;
}

static uint32_t count_groups(const struct qs_softnic *nic)
{
    uint32_t n = 0;
    for (uint32_t g = 0; g < nic->n_groups; g++)
        n += nic->groups[g].n_rules != 0;
    return n;
}

/* Group for `mask`, made if there is none; `leaving` is the group of the rule that will be
 * replaced. */
static uint32_t join_group(struct qs_softnic *nic, const struct qs_softnic_key *mask,
                           uint32_t leaving)
{
    uint32_t group = group_of_mask(nic, mask);
    if (group == QS_SOFTNIC_GROUP_SLOTS) {
        bool one_goes = leaving != QS_SOFTNIC_GROUP_SLOTS && nic->groups[leaving].n_rules == 1;
        if (count_groups(nic) - one_goes >= QS_SOFTNIC_GROUPS_MAX)
            return QS_SOFTNIC_GROUP_SLOTS;
        group = 0;
        while (nic->groups[group].n_rules)
            group++;
        before_reuse(nic);
        store_key(&nic->groups[group].mask, mask->words);
        if (group >= nic->n_groups)
            PUBLISH(&nic->n_groups, group + 1u);
    }
    PUBLISH(&nic->groups[group].n_rules, nic->groups[group].n_rules + 1u);
    return group;
}

static void leave_group(struct qs_softnic *nic, uint32_t group)
{
    PUBLISH(&nic->groups[group].n_rules, nic->groups[group].n_rules - 1u);
    nic->has_retired = 1;
}

/* ---- index: the best rule of each (mask, value) ---- */

static bool same_match(const struct qs_softnic_entry *a, const struct qs_softnic_entry *b)
{
    return a->hash == b->hash && a->group == b->group &&
           memcmp(&a->value, &b->value, sizeof a->value) == 0;
}

static uint32_t slot_value(const struct qs_softnic_entry *entry, uint32_t idx)
{
    return (entry->hash & 0xffff0000u) | (idx + 1u);
}

/* Slot that holds a rule with the same match as `entry`, or NULL. */
static uint32_t *slot_of_match(struct qs_softnic *nic, const struct qs_softnic_entry *entry)
{
    struct qs_softnic_bucket *bucket = &nic->index[entry->hash % QS_SOFTNIC_BUCKETS];
    for (uint32_t s = 0; s < bucket->n_used; s++) {
        uint32_t slot = bucket->slots[s];
        if (slot && same_match(&nic->entries[(slot & 0xffffu) - 1u], entry))
            return &bucket->slots[s];
    }
    return NULL;
}

static qs_err publish_in_empty_slot(struct qs_softnic *nic, uint32_t idx)
{
    const struct qs_softnic_entry *entry = &nic->entries[idx];
    struct qs_softnic_bucket *bucket = &nic->index[entry->hash % QS_SOFTNIC_BUCKETS];
    for (uint32_t s = 0; s < QS_SOFTNIC_BUCKET_SLOTS; s++) {
        if (bucket->slots[s])
            continue;
        PUBLISH(&bucket->slots[s], slot_value(entry, idx));
        if (s >= bucket->n_used)
            PUBLISH(&bucket->n_used, s + 1u);
        return 0;
    }
    return QS_ERR_NOMEM;
}

/* Makes the new entry `idx` visible, unless an equal rule at a lower location hides it. */
static qs_err publish_entry(struct qs_softnic *nic, uint32_t idx)
{
    struct qs_softnic_entry *entry = &nic->entries[idx];
    uint32_t *slot = slot_of_match(nic, entry);
    if (!slot)
        return publish_in_empty_slot(nic, idx);
    if (nic->entries[(*slot & 0xffffu) - 1u].location >= entry->location)
        PUBLISH(slot, slot_value(entry, idx));
    nic->n_shadowed++;
    return 0;
}

/* Next best rule with the same match as `gone`, or QS_SOFTNIC_ENTRIES. */
static uint32_t successor(const struct qs_softnic *nic, const struct qs_softnic_entry *gone)
{
    for (uint32_t i = 0; nic->n_shadowed && i < QS_SOFTNIC_RULES_MAX; i++) {
        if (!nic->entry_at[i])
            continue;
        uint32_t idx = nic->entry_at[i] - 1u;
        if (same_match(&nic->entries[idx], gone))
            return idx;
    }
    return QS_SOFTNIC_ENTRIES;
}

/* Takes entry `idx`, which no location names any more, out of the index. */
static void withdraw_entry(struct qs_softnic *nic, uint32_t idx)
{
    const struct qs_softnic_entry *entry = &nic->entries[idx];
    uint32_t *slot = slot_of_match(nic, entry);
    if (!slot || *slot != slot_value(entry, idx)) {
        nic->n_shadowed--;
        return;
    }
    uint32_t next = successor(nic, entry);
    if (next != QS_SOFTNIC_ENTRIES) {
        PUBLISH(slot, slot_value(&nic->entries[next], next));
        nic->n_shadowed--;
        return;
    }
    PUBLISH(slot, 0u);
    struct qs_softnic_bucket *bucket = &nic->index[entry->hash % QS_SOFTNIC_BUCKETS];
    uint32_t n = bucket->n_used;
    while (n && !bucket->slots[n - 1u])
        n--;
    PUBLISH(&bucket->n_used, n);
}

/* ---- rules ---- */

static bool any_bit(const uint8_t *bytes, size_t n)
{
    uint8_t all = 0;
    for (size_t i = 0; i < n; i++)
        all |= bytes[i];
    return all != 0;
}

static bool rule_is_valid(const struct qs_softnic *nic, const struct qs_softnic_rule *rule)
{
    return rule->location < QS_SOFTNIC_RULES_MAX && rule->reserved == 0 &&
           (rule->queue == QS_SOFTNIC_DROP || rule->queue < nic->n_queues) &&
           (rule->value.family == 4 || rule->value.family == 6) && rule->mask.family == 0xff &&
           !any_bit(rule->mask.zero, sizeof rule->mask.zero);
}

/* The rule's mask, with what has to be present for it to match. */
static struct qs_softnic_key full_mask(const struct qs_softnic_rule *rule)
{
    struct qs_softnic_key mask = rule->mask;
    mask.present = 0;
    if (any_bit(mask.sport, sizeof mask.sport) || any_bit(mask.dport, sizeof mask.dport))
        mask.present |= QS_SOFTNIC_HAS_L4;
    if (any_bit(mask.vlan_tci, sizeof mask.vlan_tci))
        mask.present |= QS_SOFTNIC_HAS_VLAN;
    return mask;
}

static uint32_t fill_entry(struct qs_softnic *nic, const struct qs_softnic_rule *rule,
                           uint32_t group)
{
    uint32_t idx = nic->free_entries[--nic->n_free];
    struct qs_softnic_entry *entry = &nic->entries[idx];
    struct qs_softnic_key mask = full_mask(rule), value = rule->value;
    value.present = mask.present;
    for (size_t i = 0; i < QS_SOFTNIC_KEY_WORDS; i++)
        value.words[i] &= mask.words[i];

    before_reuse(nic);
    store_key(&entry->value, value.words);
    STORE(&entry->location, rule->location);
    STORE(&entry->queue, rule->queue);
    STORE(&entry->group, group);
    STORE(&entry->hash, qs_softnic_index_hash(group, value.words));
    entry->mask = mask;
    entry->flow_type = rule->flow_type;
    STORE(&entry->hits, 0u);
    return idx;
}

static void count_rule(struct qs_softnic *nic, const struct qs_softnic_entry *entry,
                       uint32_t change)
{
    nic->n_rules += change;
    if (entry->queue == QS_SOFTNIC_DROP)
        PUBLISH(&nic->n_drop_rules, nic->n_drop_rules + change);
}

static void release_entry(struct qs_softnic *nic, uint32_t idx)
{
    nic->free_entries[nic->n_free++] = (uint16_t)idx;
    nic->has_retired = 1;
}

static void remove_entry(struct qs_softnic *nic, uint32_t idx)
{
    withdraw_entry(nic, idx);
    count_rule(nic, &nic->entries[idx], (uint32_t)-1);
    leave_group(nic, nic->entries[idx].group);
    release_entry(nic, idx);
}

qs_err qs_softnic_rule_insert(struct qs_softnic *nic, const struct qs_softnic_rule *rule)
{
    if (!rule_is_valid(nic, rule))
        return QS_ERR_ARG;
    uint32_t old = nic->entry_at[rule->location];
    uint32_t leaving = old ? nic->entries[old - 1u].group : QS_SOFTNIC_GROUP_SLOTS;
    struct qs_softnic_key mask = full_mask(rule);
    uint32_t group = join_group(nic, &mask, leaving);
    if (group == QS_SOFTNIC_GROUP_SLOTS)
        return QS_ERR_NOMEM;

    uint32_t idx = fill_entry(nic, rule, group);
    count_rule(nic, &nic->entries[idx], 1u);
    if (publish_entry(nic, idx) != 0) {
        count_rule(nic, &nic->entries[idx], (uint32_t)-1);
        leave_group(nic, group);
        release_entry(nic, idx);
        return QS_ERR_NOMEM;
    }
    nic->entry_at[rule->location] = (uint16_t)(idx + 1u);
    if (old) {
        /* A reader that passed the new rule's place before it was there must not miss the old one
         * too. */
        raise_generation(nic);
        remove_entry(nic, old - 1u);
    }
    return 0;
}

qs_err qs_softnic_rule_delete(struct qs_softnic *nic, uint32_t location)
{
    if (location >= QS_SOFTNIC_RULES_MAX || !nic->entry_at[location])
        return QS_ERR_STALE;
    uint32_t idx = nic->entry_at[location] - 1u;
    nic->entry_at[location] = 0;
    remove_entry(nic, idx);
    return 0;
}

bool qs_softnic_rule_get(const struct qs_softnic *nic, uint32_t location,
                         struct qs_softnic_rule *out, uint64_t *hits)
{
    if (location >= QS_SOFTNIC_RULES_MAX || !nic->entry_at[location])
        return false;
    const struct qs_softnic_entry *entry = &nic->entries[nic->entry_at[location] - 1u];
    *out = (struct qs_softnic_rule){.value = entry->value,
                                    .mask = entry->mask,
                                    .location = location,
                                    .queue = entry->queue,
                                    .flow_type = entry->flow_type};
    *hits = __atomic_load_n(&entry->hits, __ATOMIC_RELAXED);
    return true;
}
