/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* XDP: TCP frames to claimed addresses and ports go to an AF_XDP socket, and so do ICMP errors that
 * quote one from there; everything else goes to the kernel. qs_xdp_nic hands them to the socket of
 * the hardware queue they arrived on. qs_xdp_soft lets the software NIC choose among sockets bound
 * to one queue, and drops what its rules drop, claimed or not. Fragments, extension headers, frames
 * of VLANs, which are for devices of the kernel, and what cannot be parsed are never claimed. A
 * claimed frame whose queue has no socket is dropped: the kernel would answer it with a reset. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include <stdbool.h>

#define QS_SOFTNIC_LOAD_DEFINED
struct qs_softnic_source {
    struct xdp_md *ctx;
};

static __always_inline bool qs_softnic_load(const struct qs_softnic_source *from, __u32 offset,
                                            void *to, __u32 bytes)
{
    return bpf_xdp_load_bytes(from->ctx, offset, to, bytes) == 0;
}

#include "../io/softnic_lookup.h"
#include "qs_xdp_layout.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct qs_softnic);
} qs_softnic SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, QS_XDP_SOCKETS_MAX);
    __type(key, __u32);
    __type(value, __u32);
} qs_sockets SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, QS_XDP_CLAIMS_MAX);
    __type(key, struct qs_xdp_claim);
    __type(value, __u8);
} qs_claims SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, QS_XDP_N_COUNTS);
    __type(key, __u32);
    __type(value, __u64);
} qs_counts SEC(".maps");

static __always_inline void count(__u32 row)
{
    __u64 *n = bpf_map_lookup_elem(&qs_counts, &row);
    if (n)
        *n += 1;
}

static __always_inline bool has_claim(const __u8 addr[16], const __u8 port[2])
{
    struct qs_xdp_claim claim = {.port = {port[0], port[1]}};
    if (bpf_map_lookup_elem(&qs_claims, &claim))
        return true;
    __builtin_memcpy(claim.addr, addr, sizeof claim.addr);
    return bpf_map_lookup_elem(&qs_claims, &claim) != NULL;
}

/* Errors that may be about a segment: RFC 792 and RFC 4443. Type and code are where TCP has its
 * source port. */
static __always_inline bool is_icmp_error(const struct qs_softnic_key *key)
{
    __u8 type = key->sport[0];
    if (key->family == 4)
        return key->proto == 1 && (type == 3 || type == 11 || type == 12);
    return key->proto == 58 && type >= 1 && type <= 4;
}

/* The quoted segment came from a claimed address and port. Routers send no options and quote
 * none. */
static __always_inline bool quotes_claimed(const struct qs_softnic_source *from,
                                           const struct qs_softnic_key *key)
{
    struct qs_softnic_key quoted = {};
    __u32 offset = key->present & QS_SOFTNIC_HAS_VLAN ? 18 : 14;
    offset += key->family == 4 ? 20 + 8 : 40 + 8;
    bool is_ip = key->family == 4 ? qs_softnic_parse_ip4(from, offset, &quoted)
                                  : qs_softnic_parse_ip6(from, offset, &quoted);
    return is_ip && quoted.present & QS_SOFTNIC_HAS_L4 && quoted.proto == 6 &&
           has_claim(quoted.src, quoted.sport);
}

static __always_inline bool on_vlan(const struct qs_softnic_key *key)
{
    return ((key->vlan_tci[0] & 0x0f) | key->vlan_tci[1]) != 0; /* 0: a priority alone */
}

static __always_inline bool is_claimed(const struct qs_softnic_source *from,
                                       const struct qs_softnic_key *key)
{
    if (!(key->present & QS_SOFTNIC_HAS_L4) || on_vlan(key))
        return false;
    if (key->proto == 6)
        return has_claim(key->dst, key->dport);
    return is_icmp_error(key) && quotes_claimed(from, key);
}

static __always_inline int pass(void)
{
    count(QS_XDP_PASSED);
    return XDP_PASS;
}

static __always_inline int to_socket(__u32 queue)
{
    long action = bpf_redirect_map(&qs_sockets, queue, XDP_DROP);
    count(action == XDP_REDIRECT ? QS_XDP_TO_SOCKET : QS_XDP_NO_SOCKET);
    return (int)action;
}

SEC("xdp.frags")
int qs_xdp_nic(struct xdp_md *ctx)
{
    struct qs_softnic_source from = {ctx};
    struct qs_softnic_key key;
    qs_softnic_parse(&from, &key);
    return is_claimed(&from, &key) ? to_socket(ctx->rx_queue_index) : pass();
}

SEC("xdp.frags")
int qs_xdp_soft(struct xdp_md *ctx)
{
    __u32 zero = 0;
    struct qs_softnic *nic = bpf_map_lookup_elem(&qs_softnic, &zero);
    if (!nic)
        return XDP_ABORTED;
    struct qs_softnic_source from = {ctx};
    struct qs_softnic_key key;
    struct qs_softnic_verdict verdict = {0};
    qs_softnic_parse(&from, &key);
    bool claimed = is_claimed(&from, &key);
    if (!claimed && QS_SOFTNIC_READ(&nic->n_drop_rules) == 0)
        return pass();

    qs_softnic_decide(nic, &key, &verdict);
    if (verdict.queue == QS_SOFTNIC_DROP) {
        qs_softnic_count_verdict(nic, &verdict);
        return XDP_DROP;
    }
    if (!claimed)
        return pass();
    qs_softnic_count_verdict(nic, &verdict);
    qs_softnic_count_queue(nic, verdict.queue, 1, bpf_xdp_get_buff_len(ctx));
    return to_socket(verdict.queue);
}

char LICENSE[] SEC("license") = "GPL"; /* the kernel knows no word for GPL or Apache-2.0 */
