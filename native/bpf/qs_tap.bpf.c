/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The software NIC on a multi-queue TAP: two programs over the same memory.
 * qs_tap_steer (TUNSETSTEERINGEBPF) returns the queue. It cannot drop, and the kernel does not call
 * it on a device with one queue. qs_tap_filter (TUNSETFILTEREBPF) runs after it on every frame and
 * drops what a rule drops; it looks only when there are such rules, or when steering was not
 * called. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include <stdbool.h>

#define QS_SOFTNIC_LOAD_DEFINED
struct qs_softnic_source {
    struct __sk_buff *skb;
};

static __always_inline bool qs_softnic_load(const struct qs_softnic_source *from, __u32 offset,
                                            void *to, __u32 bytes)
{
    return bpf_skb_load_bytes(from->skb, offset, to, bytes) == 0;
}

#include "../io/softnic_lookup.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct qs_softnic);
} qs_softnic SEC(".maps");

/* Takes in a VLAN tag that the kernel keeps beside the frame and puts back before it is read. */
static __always_inline void add_outer_tag(const struct __sk_buff *skb, struct qs_softnic_key *key)
{
    if (!skb->vlan_present)
        return;
    if (key->present & QS_SOFTNIC_HAS_VLAN)
        key->family = 0; /* two tags */
    __u32 tci = skb->vlan_tci;
    key->vlan_tci[0] = (__u8)(tci >> 8);
    key->vlan_tci[1] = (__u8)tci;
    key->present |= QS_SOFTNIC_HAS_VLAN;
}

static __always_inline void look_up(struct qs_softnic *nic, struct __sk_buff *skb,
                                    struct qs_softnic_verdict *verdict)
{
    struct qs_softnic_source from = {skb};
    struct qs_softnic_key key;
    qs_softnic_parse(&from, &key);
    add_outer_tag(skb, &key);
    qs_softnic_decide(nic, &key, verdict);
}

static __always_inline struct qs_softnic *the_nic(void)
{
    __u32 zero = 0;
    return bpf_map_lookup_elem(&qs_softnic, &zero);
}

SEC("socket")
int qs_tap_steer(struct __sk_buff *skb)
{
    struct qs_softnic *nic = the_nic();
    if (!nic)
        return 0;
    struct qs_softnic_verdict verdict = {0};
    look_up(nic, skb, &verdict);
    if (verdict.queue == QS_SOFTNIC_DROP)
        return 0; /* the filter drops and counts it */
    qs_softnic_count_verdict(nic, &verdict);
    qs_softnic_count_queue(nic, verdict.queue, 1, skb->len);
    return (int)verdict.queue;
}

SEC("socket")
int qs_tap_filter(struct __sk_buff *skb)
{
    struct qs_softnic *nic = the_nic();
    if (!nic)
        return (int)skb->len;
    bool is_steered = nic->n_queues_max > 1;
    if (is_steered && QS_SOFTNIC_READ(&nic->n_drop_rules) == 0)
        return (int)skb->len;
    struct qs_softnic_verdict verdict = {0};
    look_up(nic, skb, &verdict);
    bool drop = verdict.queue == QS_SOFTNIC_DROP;
    if (drop || !is_steered)
        qs_softnic_count_verdict(nic, &verdict);
    if (drop)
        return 0;
    if (!is_steered)
        qs_softnic_count_queue(nic, verdict.queue, 1, skb->len);
    return (int)skb->len;
}

char LICENSE[] SEC("license") = "GPL"; /* the kernel knows no word for GPL or Apache-2.0 */
