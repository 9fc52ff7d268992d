/* SPDX-License-Identifier: Apache-2.0 */
/* Requests in ethtool's structures: what each command answers, and that malformed ones change
 * nothing. */
#include "io/softnic_ethtool.h"
#include "qs_softnic_test.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <time.h>

#define HEAD sizeof(struct qs_softnic_message)

static struct qs_softnic *nic, *copy;
static uint8_t answer[QS_SOFTNIC_ANSWER_MAX];
static struct qs_softnic_message head; /* of the last answer */

/* Sends raw bytes; returns the answer's error. */
static int send_raw(const void *request, size_t bytes)
{
    struct qs_softnic_port port = {nic, "memory"};
    memset(answer, 0xee, sizeof answer);
    size_t n = qs_softnic_ethtool(&port, request, bytes, answer);
    memcpy(&head, answer, HEAD);
    CHECK_EQ(n, HEAD + head.bytes);
    if (head.error) { /* a sentence: printable and short */
        CHECK(head.error < 0 && head.bytes > 5 && head.bytes < 300);
        for (uint32_t i = 0; i < head.bytes; i++)
            CHECK(answer[HEAD + i] >= 32 && answer[HEAD + i] < 127);
    }
    return head.error;
}

/* Sends the structure `data`, whose first word is the command. */
static int ask(const void *data, size_t bytes)
{
    static uint8_t request[HEAD + QS_SOFTNIC_REQUEST_MAX];
    struct qs_softnic_message ahead = {.bytes = (uint32_t)bytes};
    memcpy(&ahead.command, data, sizeof ahead.command);
    memcpy(request, &ahead, HEAD);
    memcpy(request + HEAD, data, bytes);
    return send_raw(request, HEAD + bytes);
}

static bool says(const char *words)
{
    char text[400] = "";
    memcpy(text, answer + HEAD, head.bytes < 399 ? head.bytes : 399);
    bool found = strstr(text, words) != NULL;
    if (!found)
        fprintf(stderr, "the sentence is: %s\n", text);
    return found;
}

static void get(void *data, size_t bytes)
{
    CHECK_EQ(ask(data, bytes), 0);
    CHECK(head.bytes >= bytes);
    memcpy(data, answer + HEAD, bytes);
}

static void fresh(uint32_t n_queues)
{
    qs_softnic_init(nic, n_queues);
}

/* The request is refused with `error` and `words`, and nothing in the NIC has changed. */
static void refused(const void *data, size_t bytes, int error, const char *words)
{
    memcpy(copy, nic, sizeof *nic);
    CHECK_EQ(ask(data, bytes), error);
    CHECK(says(words));
    CHECK_MEM(nic, copy, sizeof *nic);
}

static struct ethtool_rxnfc tcp4_rule(uint32_t location, uint16_t port, uint64_t cookie)
{
    struct ethtool_rxnfc nfc = {.cmd = ETHTOOL_SRXCLSRLINS};
    nfc.fs.flow_type = TCP_V4_FLOW;
    nfc.fs.h_u.tcp_ip4_spec.pdst = htons(port);
    nfc.fs.m_u.tcp_ip4_spec.pdst = 0xffff;
    nfc.fs.ring_cookie = cookie;
    nfc.fs.location = location;
    return nfc;
}

static void device_and_channels(void)
{
    fresh(8);
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
    get(&info, sizeof info);
    CHECK(strcmp(info.driver, "qs_soft") == 0);
    CHECK(strcmp(info.bus_info, "memory") == 0);
    CHECK_EQ(info.n_stats, 2 * 8 + 3);

    struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
    get(&channels, sizeof channels);
    CHECK_EQ(channels.combined_count, 8);
    CHECK_EQ(channels.max_combined, 8);
    CHECK_EQ(channels.max_rx + channels.max_tx + channels.rx_count + channels.tx_count, 0);

    channels.cmd = ETHTOOL_SCHANNELS;
    channels.combined_count = 3;
    CHECK_EQ(ask(&channels, sizeof channels), 0);
    CHECK_EQ(nic->n_queues, 3);
    CHECK_EQ(nic->indir[3], 0);
    struct ethtool_rxnfc rings = {.cmd = ETHTOOL_GRXRINGS};
    get(&rings, sizeof rings);
    CHECK_EQ(rings.data, 3);

    channels.combined_count = 9;
    refused(&channels, sizeof channels, -EINVAL, "1 to 8");
    channels.combined_count = 0;
    refused(&channels, sizeof channels, -EINVAL, "1 to 8");
    channels =
        (struct ethtool_channels){.cmd = ETHTOOL_SCHANNELS, .combined_count = 2, .rx_count = 1};
    refused(&channels, sizeof channels, -EINVAL, "combined");
    struct ethtool_rxnfc rule = tcp4_rule(5, 80, 2);
    CHECK_EQ(ask(&rule, sizeof rule), 0);
    channels.rx_count = 0;
    refused(&channels, sizeof channels, -EINVAL, "ntuple filter settings (2)");
}

struct rxfh {
    uint32_t cmd, rss_context, indir_size, key_size; /* as struct ethtool_rxfh */
    uint8_t hfunc, zero[3];
    uint32_t zero2;
    uint32_t table[QS_SOFTNIC_INDIR_SIZE];
    uint8_t key[QS_SOFTNIC_KEY_BYTES];
};
_Static_assert(offsetof(struct rxfh, table) == sizeof(struct ethtool_rxfh), "no gap");

static struct rxfh read_rxfh(void)
{
    struct rxfh rxfh = {.cmd = ETHTOOL_GRSSH,
                        .indir_size = QS_SOFTNIC_INDIR_SIZE,
                        .key_size = QS_SOFTNIC_KEY_BYTES};
    get(&rxfh, sizeof rxfh);
    return rxfh;
}

static void hash_is_read(void)
{
    fresh(4);
    struct ethtool_rxfh sizes = {.cmd = ETHTOOL_GRSSH};
    get(&sizes, sizeof sizes);
    CHECK_EQ(head.bytes, sizeof sizes);
    CHECK_EQ(sizes.indir_size, 256);
    CHECK_EQ(sizes.key_size, 40);
    CHECK_EQ(sizes.hfunc, 1);
    struct rxfh rxfh = read_rxfh();
    CHECK_EQ(head.bytes, sizeof rxfh);
    CHECK_MEM(rxfh.key, test_published_key, 40);
    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
        CHECK_EQ(rxfh.table[i], i % 4);
    sizes = (struct ethtool_rxfh){.cmd = ETHTOOL_GRSSH, .key_size = 40}; /* the key alone */
    CHECK_EQ(ask(&sizes, sizeof sizes), 0);
    CHECK_EQ(head.bytes, sizeof sizes + 40);
    CHECK_MEM(answer + HEAD + sizeof sizes, test_published_key, 40);
    sizes.key_size = 39;
    refused(&sizes, sizeof sizes, -EINVAL, "40 bytes");
    sizes = (struct ethtool_rxfh){.cmd = ETHTOOL_GRSSH, .indir_size = 128};
    refused(&sizes, sizeof sizes, -EINVAL, "256 entries");
    sizes = (struct ethtool_rxfh){.cmd = ETHTOOL_GRSSH, .rss_context = 1};
    refused(&sizes, sizeof sizes, -EOPNOTSUPP, "context 0");
    sizes = (struct ethtool_rxfh){.cmd = ETHTOOL_GRSSH, .rsvd32 = 1};
    refused(&sizes, sizeof sizes, -EINVAL, "reserved");
}

static void hash_is_set(void)
{
    fresh(4);
    struct rxfh rxfh = read_rxfh();
    rxfh.cmd = ETHTOOL_SRSSH;
    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
        rxfh.table[i] = i / 64;
    for (uint32_t i = 0; i < 40; i++)
        rxfh.key[i] = (uint8_t)i;
    CHECK_EQ(ask(&rxfh, sizeof rxfh), 0);
    struct rxfh now = read_rxfh();
    CHECK_MEM(now.table, rxfh.table, sizeof now.table);
    CHECK_MEM(now.key, rxfh.key, 40);
    CHECK_EQ(nic->indir_is_default, 0);
    struct ethtool_channels channels = {.cmd = ETHTOOL_SCHANNELS, .combined_count = 3};
    refused(&channels, sizeof channels, -EINVAL, "indirection table (3)");

    /* no change of the table, a key; key only: it follows the fixed part at once */
    uint8_t key_only[sizeof(struct ethtool_rxfh) + 40];
    struct ethtool_rxfh fixed = {
        .cmd = ETHTOOL_SRSSH, .indir_size = ETH_RXFH_INDIR_NO_CHANGE, .key_size = 40};
    memcpy(key_only, &fixed, sizeof fixed);
    memcpy(key_only + sizeof fixed, test_published_key, 40);
    CHECK_EQ(ask(key_only, sizeof key_only), 0);
    now = read_rxfh();
    CHECK_MEM(now.table, rxfh.table, sizeof now.table);
    CHECK_MEM(now.key, test_published_key, 40);

    /* size 0: the default table again */
    fixed = (struct ethtool_rxfh){.cmd = ETHTOOL_SRSSH};
    CHECK_EQ(ask(&fixed, sizeof fixed), 0);
    now = read_rxfh();
    for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
        CHECK_EQ(now.table[i], i % 4);
    CHECK_EQ(nic->indir_is_default, 1);
}

static void hash_size_rules(void)
{
    fresh(4);
    struct rxfh rxfh = read_rxfh();
    rxfh.cmd = ETHTOOL_SRSSH;
    rxfh.table[200] = 4;
    refused(&rxfh, sizeof rxfh, -EINVAL, "entry 200: queue 4 out of range");
    rxfh.table[200] = 3;
    refused(&rxfh, sizeof rxfh - 1, -EINVAL, "follow from");
    uint8_t longer[sizeof rxfh + 4] = {0};
    memcpy(longer, &rxfh, sizeof rxfh);
    refused(longer, sizeof longer, -EINVAL, "follow from");
    static const uint32_t sizes[] = {1, 128, 255, 257, 512, 0xfffffffe};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        rxfh.indir_size = sizes[i];
        refused(&rxfh, sizeof rxfh, -EINVAL, "mismatch with device indir table (256)");
    }
    rxfh.indir_size = 256;
    static const uint32_t key_sizes[] = {1, 39, 41, 52, 0xffffffff};
    for (size_t i = 0; i < sizeof key_sizes / sizeof key_sizes[0]; i++) {
        rxfh.key_size = key_sizes[i];
        refused(&rxfh, sizeof rxfh, -EINVAL, "mismatch with device key (40)");
    }
    struct ethtool_rxfh fixed = {.cmd = ETHTOOL_SRSSH, .indir_size = ETH_RXFH_INDIR_NO_CHANGE};
    refused(&fixed, sizeof fixed, -EINVAL, "nothing to change");
    fixed.hfunc = 2; /* XOR */
    refused(&fixed, sizeof fixed, -EOPNOTSUPP, "Toeplitz");
    fixed.hfunc = 1;
    CHECK_EQ(ask(&fixed, sizeof fixed), 0);
    ((uint8_t *)&fixed)[17] = 1; /* input_xfrm: symmetric XOR */
    refused(&fixed, sizeof fixed, -EOPNOTSUPP, "symmetric");
    ((uint8_t *)&fixed)[17] = 0xff; /* no change */
    CHECK_EQ(ask(&fixed, sizeof fixed), 0);
    ((uint8_t *)&fixed)[18] = 1;
    refused(&fixed, sizeof fixed, -EINVAL, "reserved");
    fixed = (struct ethtool_rxfh){.cmd = ETHTOOL_SRSSH, .rss_context = ETH_RXFH_CONTEXT_ALLOC};
    refused(&fixed, sizeof fixed, -EOPNOTSUPP, "context 0");
}

/* Inserts, reads back and compares. */
static void round_trip(struct ethtool_rx_flow_spec fs)
{
    struct ethtool_rxnfc nfc = {.cmd = ETHTOOL_SRXCLSRLINS};
    nfc.fs = fs;
    get(&nfc, sizeof nfc);
    struct ethtool_rxnfc back = {.cmd = ETHTOOL_GRXCLSRULE};
    back.fs.location = nfc.fs.location;
    get(&back, sizeof back);
    fs.location = nfc.fs.location;
    CHECK_MEM(&back.fs, &fs, sizeof fs);
}

static void rules_of_each_type_come_back(void)
{
    fresh(4);
    struct ethtool_rx_flow_spec fs = {.ring_cookie = 3, .location = RX_CLS_LOC_ANY};
    static const uint32_t four[] = {TCP_V4_FLOW, UDP_V4_FLOW}, six[] = {TCP_V6_FLOW, UDP_V6_FLOW};
    for (size_t i = 0; i < 2; i++) {
        memset(&fs.h_u, 0, sizeof fs.h_u);
        memset(&fs.m_u, 0, sizeof fs.m_u);
        fs.flow_type = four[i];
        fs.h_u.tcp_ip4_spec = (struct ethtool_tcpip4_spec){htonl(0x0a000001), htonl(0x0a000200),
                                                           htons(1000), htons(80), 0x20};
        fs.m_u.tcp_ip4_spec =
            (struct ethtool_tcpip4_spec){0xffffffff, htonl(0xffffff00), 0xffff, 0xffff, 0xf0};
        round_trip(fs);
        fs.flow_type = six[i];
        memset(&fs.h_u, 0, sizeof fs.h_u);
        memset(&fs.m_u, 0, sizeof fs.m_u);
        fs.h_u.tcp_ip6_spec.ip6src[0] = htonl(0xfd000000);
        fs.h_u.tcp_ip6_spec.ip6dst[3] = htonl(7);
        fs.h_u.tcp_ip6_spec.pdst = htons(443);
        fs.h_u.tcp_ip6_spec.tclass = 4;
        fs.m_u.tcp_ip6_spec.ip6src[0] = htonl(0xff000000);
        fs.m_u.tcp_ip6_spec.ip6dst[3] = htonl(7);
        fs.m_u.tcp_ip6_spec.pdst = 0xffff;
        fs.m_u.tcp_ip6_spec.tclass = 0xfc;
        round_trip(fs);
    }
    memset(&fs.h_u, 0, sizeof fs.h_u);
    memset(&fs.m_u, 0, sizeof fs.m_u);
    fs.flow_type = IPV6_USER_FLOW;
    fs.h_u.usr_ip6_spec.l4_4_bytes = htonl(0x00500051);
    fs.m_u.usr_ip6_spec.l4_4_bytes = htonl(0xffffffff);
    fs.h_u.usr_ip6_spec.l4_proto = 17;
    fs.m_u.usr_ip6_spec.l4_proto = 0xff;
    round_trip(fs);
    memset(&fs.h_u, 0, sizeof fs.h_u);
    memset(&fs.m_u, 0, sizeof fs.m_u);
    fs.flow_type = IP_USER_FLOW | FLOW_EXT;
    fs.h_u.usr_ip4_spec.ip_ver = ETH_RX_NFC_IP4;
    fs.h_u.usr_ip4_spec.proto = 47;
    fs.m_u.usr_ip4_spec.proto = 0xff;
    fs.h_u.usr_ip4_spec.tos = 8;
    fs.m_u.usr_ip4_spec.tos = 8;
    fs.h_ext.vlan_tci = htons(100);
    fs.m_ext.vlan_tci = htons(0xfff);
    fs.ring_cookie = RX_CLS_FLOW_DISC;
    round_trip(fs);
}

static void rules_steer(void)
{
    fresh(4);
    struct test_frame f;
    test_vector_frame(&f, &test_vectors[0], 6);
    struct ethtool_rxnfc nfc = tcp4_rule(7, test_vectors[0].dport, 3);
    CHECK_EQ(ask(&nfc, sizeof nfc), 0);
    CHECK_EQ(test_look(nic, &f).queue, 3);
    nfc = tcp4_rule(3, test_vectors[0].dport, RX_CLS_FLOW_DISC);
    CHECK_EQ(ask(&nfc, sizeof nfc), 0);
    CHECK_EQ(test_look(nic, &f).queue, QS_SOFTNIC_DROP);
    nfc.cmd = ETHTOOL_SRXCLSRLDEL;
    CHECK_EQ(ask(&nfc, sizeof nfc), 0);
    CHECK_EQ(test_look(nic, &f).queue, 3);
}

static void locations_are_chosen_and_listed(void)
{
    fresh(4);
    static const uint32_t asked[] = {RX_CLS_LOC_ANY, 2, RX_CLS_LOC_FIRST, RX_CLS_LOC_ANY,
                                     RX_CLS_LOC_LAST};
    static const uint32_t got[] = {0, 2, 1, 3, QS_SOFTNIC_RULES_MAX - 1};
    for (uint32_t i = 0; i < 5; i++) {
        struct ethtool_rxnfc nfc = tcp4_rule(asked[i], (uint16_t)(80 + i), 1);
        get(&nfc, sizeof nfc);
        CHECK_EQ(nfc.fs.location, got[i]);
    }
    struct ethtool_rxnfc count = {.cmd = ETHTOOL_GRXCLSRLCNT};
    get(&count, sizeof count);
    CHECK_EQ(count.rule_cnt, 5);
    CHECK_EQ(count.data, QS_SOFTNIC_RULES_MAX | RX_CLS_LOC_SPECIAL);

    struct ethtool_rxnfc all = {.cmd = ETHTOOL_GRXCLSRLALL};
    all.rule_cnt = 4;
    refused(&all, sizeof all, -EMSGSIZE, "5 rules");
    uint8_t with_room[sizeof all + 16 * 4] = {0};
    all.rule_cnt = 16;
    memcpy(with_room, &all, sizeof all);
    CHECK_EQ(ask(with_room, sizeof with_room), 0);
    CHECK_EQ(head.bytes, offsetof(struct ethtool_rxnfc, rule_locs) + 5 * 4);
    static const uint32_t listed[] = {0, 1, 2, 3, QS_SOFTNIC_RULES_MAX - 1};
    CHECK_MEM(answer + HEAD + offsetof(struct ethtool_rxnfc, rule_locs), listed, sizeof listed);
    memcpy(&all, answer + HEAD, sizeof all);
    CHECK_EQ(all.rule_cnt, 5);
    CHECK_EQ(all.data, QS_SOFTNIC_RULES_MAX);
}

static void bad_rules_are_refused(void)
{
    fresh(4);
    struct ethtool_rxnfc nfc = tcp4_rule(0, 80, 4);
    refused(&nfc, sizeof nfc, -EINVAL, "queue 4");
    nfc = tcp4_rule(0, 80, 0xffffffff);
    refused(&nfc, sizeof nfc, -EINVAL, "active");
    nfc = tcp4_rule(0, 80, 1ull << 32);
    refused(&nfc, sizeof nfc, -EOPNOTSUPP, "virtual functions");
    nfc = tcp4_rule(0, 80, RX_CLS_FLOW_WAKE);
    refused(&nfc, sizeof nfc, -EOPNOTSUPP, "wake");
    nfc = tcp4_rule(QS_SOFTNIC_RULES_MAX, 80, 1);
    refused(&nfc, sizeof nfc, -EINVAL, "location 4096");
    static const uint32_t types[] = {0, SCTP_V4_FLOW, ETHER_FLOW, AH_V6_FLOW, 0x1000};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        nfc = tcp4_rule(0, 80, 1);
        nfc.fs.flow_type = types[i];
        refused(&nfc, sizeof nfc, -EOPNOTSUPP, "flow types");
    }
    nfc = tcp4_rule(0, 80, 1);
    nfc.fs.flow_type |= FLOW_RSS;
    refused(&nfc, sizeof nfc, -EOPNOTSUPP, "contexts");
    nfc = tcp4_rule(0, 80, 1);
    nfc.fs.flow_type |= FLOW_MAC_EXT;
    refused(&nfc, sizeof nfc, -EOPNOTSUPP, "MAC");
    nfc = tcp4_rule(0, 80, 1);
    nfc.fs.flow_type |= FLOW_EXT;
    nfc.fs.m_ext.vlan_etype = 0xffff;
    refused(&nfc, sizeof nfc, -EOPNOTSUPP, "vlan_etype");
    nfc.fs.m_ext.vlan_etype = 0;
    nfc.fs.m_ext.data[1] = 1;
    refused(&nfc, sizeof nfc, -EOPNOTSUPP, "user-def");
    nfc = tcp4_rule(0, 80, 1);
    nfc.fs.m_u.hdata[20] = 1;
    refused(&nfc, sizeof nfc, -EINVAL, "after the last field");
    nfc = tcp4_rule(0, 80, 1);
    nfc.fs.flow_type = IP_USER_FLOW;
    refused(&nfc, sizeof nfc, -EINVAL, "ip_ver");
    nfc.fs.h_u.usr_ip4_spec.ip_ver = ETH_RX_NFC_IP4;
    nfc.fs.m_u.usr_ip4_spec.ip_ver = 1;
    refused(&nfc, sizeof nfc, -EINVAL, "ip_ver");
    nfc = (struct ethtool_rxnfc){.cmd = ETHTOOL_SRXCLSRLDEL};
    refused(&nfc, sizeof nfc, -ENOENT, "no rule at location 0");
    nfc.cmd = ETHTOOL_GRXCLSRULE;
    nfc.fs.location = 0xffffffff;
    refused(&nfc, sizeof nfc, -ENOENT, "no rule");
}

static void limits_are_said(void)
{
    fresh(4);
    for (uint32_t i = 0; i < QS_SOFTNIC_GROUPS_MAX; i++) {
        struct ethtool_rxnfc nfc = tcp4_rule(i, 80, 1);
        nfc.fs.m_u.tcp_ip4_spec.tos = (uint8_t)i;
        CHECK_EQ(ask(&nfc, sizeof nfc), 0);
    }
    struct ethtool_rxnfc nfc = tcp4_rule(100, 80, 1);
    nfc.fs.m_u.tcp_ip4_spec.tos = 0x80;
    CHECK_EQ(ask(&nfc, sizeof nfc), -ENOSPC);
    CHECK(says("16 different masks"));
    for (uint32_t i = 0; i < QS_SOFTNIC_RULES_MAX - QS_SOFTNIC_GROUPS_MAX; i++) {
        nfc = tcp4_rule(RX_CLS_LOC_ANY, (uint16_t)(1000 + i), 1);
        CHECK_EQ(ask(&nfc, sizeof nfc), 0);
    }
    nfc = tcp4_rule(RX_CLS_LOC_ANY, 1, 1);
    refused(&nfc, sizeof nfc, -ENOSPC, "all 4096 locations");
    nfc.fs.location = RX_CLS_LOC_LAST;
    refused(&nfc, sizeof nfc, -ENOSPC, "all 4096 locations");
    struct ethtool_gstrings strings = {.cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_STATS};
    get(&strings, sizeof strings); /* the largest answer but for the number of queues */
    CHECK_EQ(strings.len, 2 * 4 + 3 + QS_SOFTNIC_RULES_MAX);
}

static void counters_have_names(void)
{
    fresh(2);
    struct test_frame f;
    struct qs_softnic_verdict verdict;
    struct ethtool_rxnfc nfc = tcp4_rule(40, test_vectors[0].dport, 1);
    CHECK_EQ(ask(&nfc, sizeof nfc), 0);
    test_vector_frame(&f, &test_vectors[0], 6);
    qs_softnic_receive(nic, f.bytes, f.len, &verdict);
    qs_softnic_count_queue(nic, verdict.queue, 1, f.len);

    uint8_t asked[sizeof(struct ethtool_sset_info) + 4] = {0};
    struct ethtool_sset_info info = {.cmd = ETHTOOL_GSSET_INFO,
                                     .sset_mask = 1u << ETH_SS_STATS | 1u << ETH_SS_TEST};
    memcpy(asked, &info, sizeof info);
    CHECK_EQ(ask(asked, sizeof asked), 0);
    uint32_t n;
    memcpy(&info, answer + HEAD, sizeof info);
    memcpy(&n, answer + HEAD + sizeof info, 4);
    CHECK_EQ(info.sset_mask, 1u << ETH_SS_STATS);
    CHECK_EQ(n, 8);

    static const char *const names[8] = {
        "rx_queue_0_packets", "rx_queue_0_bytes", "rx_queue_1_packets", "rx_queue_1_bytes",
        "rx_rule_hits",       "rx_rule_drops",    "rx_not_ip",          "rule_40_hits"};
    const uint64_t values[8] = {0, 0, 1, f.len, 1, 0, 0, 1};
    struct ethtool_gstrings strings = {.cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_STATS};
    CHECK_EQ(ask(&strings, sizeof strings), 0);
    CHECK_EQ(head.bytes, sizeof strings + 8 * ETH_GSTRING_LEN);
    for (size_t i = 0; i < 8; i++)
        CHECK(strcmp((char *)answer + HEAD + sizeof strings + i * ETH_GSTRING_LEN, names[i]) == 0);
    struct ethtool_stats stats = {.cmd = ETHTOOL_GSTATS};
    CHECK_EQ(ask(&stats, sizeof stats), 0);
    CHECK_EQ(head.bytes, sizeof stats + 8 * 8);
    CHECK_MEM(answer + HEAD + sizeof stats, values, sizeof values);
    strings.string_set = ETH_SS_PRIV_FLAGS;
    refused(&strings, sizeof strings, -EOPNOTSUPP, "ETH_SS_STATS");
}

static void malformed_messages_are_refused(void)
{
    fresh(4);
    struct ethtool_channels channels = {.cmd = ETHTOOL_SCHANNELS, .combined_count = 2};
    uint8_t request[HEAD + sizeof channels + 8] = {0};
    struct qs_softnic_message good = {.command = ETHTOOL_SCHANNELS, .bytes = sizeof channels};
    memcpy(copy, nic, sizeof *nic);
    for (size_t n = 0; n < HEAD; n++)
        CHECK_EQ(send_raw(request, n), -EINVAL);
    memcpy(request + HEAD, &channels, sizeof channels);
#define SEND(field, value)                                                                         \
    do {                                                                                           \
        struct qs_softnic_message m = good;                                                        \
        m.field = (value);                                                                         \
        memcpy(request, &m, HEAD);                                                                 \
        CHECK(send_raw(request, HEAD + sizeof channels) < 0);                                      \
    } while (0)
    SEND(error, 1);
    SEND(reserved, 1);
    SEND(bytes, sizeof channels - 1);
    SEND(bytes, sizeof channels + 1);
    SEND(bytes, 0xffffffff);
    SEND(command, ETHTOOL_GCHANNELS); /* not what the structure says */
    SEND(command, 0x7fffffff);
    CHECK_EQ(head.error, -EOPNOTSUPP);
    for (uint32_t n = 0; n < sizeof channels + 8; n++) { /* too short, too long */
        struct qs_softnic_message m = good;
        m.bytes = n;
        memcpy(request, &m, HEAD);
        if (n != sizeof channels)
            CHECK_EQ(send_raw(request, HEAD + n), -EINVAL);
    }
    CHECK_MEM(nic, copy, sizeof *nic);
    memcpy(request, &good, HEAD);
    CHECK_EQ(send_raw(request, HEAD + sizeof channels), 0);
    CHECK_EQ(nic->n_queues, 2);
}

/* Random structures with likely commands and sizes: no crash, no answer out of bounds, no broken
 * NIC. */
static void random_requests_do_no_harm(void)
{
    static const uint32_t commands[] = {
        ETHTOOL_GDRVINFO,    ETHTOOL_GCHANNELS,   ETHTOOL_SCHANNELS,   ETHTOOL_GRXRINGS,
        ETHTOOL_GRSSH,       ETHTOOL_SRSSH,       ETHTOOL_GRXCLSRLCNT, ETHTOOL_GRXCLSRULE,
        ETHTOOL_GRXCLSRLALL, ETHTOOL_SRXCLSRLINS, ETHTOOL_SRXCLSRLDEL, ETHTOOL_GSSET_INFO,
        ETHTOOL_GSTRINGS,    ETHTOOL_GSTATS};
    static const uint32_t sizes[] = {196, 36, 192, 24, 16, 12, 8, 24 + 1024, 24 + 1024 + 40, 64};
    static const uint32_t types[] = {TCP_V4_FLOW, UDP_V6_FLOW, IP_USER_FLOW, IPV6_USER_FLOW};
    uint64_t random = qs_test_seed();
    static uint8_t request[4096];
    int accepted = 0;
    fresh(4);
    for (int i = 0; i < 100000; i++) {
        uint64_t r = qs_test_random(&random);
        struct qs_softnic_message m = {.command = commands[r % 14], .bytes = sizes[(r >> 8) % 10]};
        for (uint32_t k = 0; k < 64; k++) {
            uint64_t word = r >> 60 ? 0 : qs_test_random(&random);
            memcpy(request + HEAD + k * 8, &word, 8);
        }
        memcpy(request, &m, HEAD);
        memcpy(request + HEAD, &m.command, 4);
        if (r >> 60 > 8) { /* nearly a rule */
            struct ethtool_rxnfc nfc = {.cmd = m.command};
            nfc.fs.flow_type = types[r >> 16 & 3];
            nfc.fs.h_u.usr_ip4_spec.ip_ver = r >> 18 & 1;
            nfc.fs.m_u.hdata[r >> 20 & 15] = (uint8_t)(r >> 24 & 3);
            nfc.fs.location = (uint32_t)(r >> 28 & 7);
            nfc.fs.ring_cookie = r >> 32 & 7;
            nfc.rule_cnt = (uint32_t)(r >> 36 & 7);
            memcpy(request + HEAD, &nfc, sizeof nfc);
        }
        accepted += send_raw(request, HEAD + m.bytes) == 0;
        struct test_frame f;
        test_random_frame(&f, &random);
        uint32_t queue = test_look(nic, &f).queue;
        CHECK(queue < nic->n_queues || queue == QS_SOFTNIC_DROP);
    }
    CHECK(accepted > 1000);
    printf("     %d of 100000 accepted\n", accepted);
}

static void rules_are_inserted_fast(void)
{
    struct timespec from, to;
    fresh(8);
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (uint32_t i = 0; i < 1024; i++) {
        struct ethtool_rxnfc nfc = tcp4_rule(RX_CLS_LOC_ANY, (uint16_t)(i + 1), i % 8);
        CHECK_EQ(ask(&nfc, sizeof nfc), 0);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("     1024 rules inserted in %.2f ms (budget with plan and apply: 50 ms)\n",
           (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6);
}

int main(void)
{
    nic = test_new_nic(4);
    copy = test_new_nic(4);
    RUN(device_and_channels);
    RUN(hash_is_read);
    RUN(hash_is_set);
    RUN(hash_size_rules);
    RUN(rules_of_each_type_come_back);
    RUN(rules_steer);
    RUN(locations_are_chosen_and_listed);
    RUN(bad_rules_are_refused);
    RUN(limits_are_said);
    RUN(counters_have_names);
    RUN(malformed_messages_are_refused);
    RUN(random_requests_do_no_harm);
    RUN(rules_are_inserted_fast);
    free(nic);
    free(copy);
    return TEST_RESULT();
}
