/* SPDX-License-Identifier: Apache-2.0 */
/* Each request is checked whole before anything is changed. Structures are copied out of and into
 * the messages, since a tail may leave them unaligned. */
#include "softnic_ethtool.h"

#include "softnic.h"
#include "softnic_flow.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TABLE_BYTES (QS_SOFTNIC_INDIR_SIZE * sizeof(uint32_t))
/* input_xfrm came with Linux 6.8, where rsvd8[0] was. */
#define INPUT_XFRM_AT (offsetof(struct ethtool_rxfh, hfunc) + 1u)
#define XFRM_NO_CHANGE 0xffu
/* As the kernel numbers them; its user-space header has no names for them. */
#define HFUNC_NO_CHANGE 0u
#define HFUNC_TOEPLITZ 1u

/* One request being answered. */
struct exchange {
    struct qs_softnic *nic;
    const char *bus_info;
    uint32_t command;
    const uint8_t *in;
    size_t in_bytes;
    uint8_t *out;
    size_t out_bytes;
};

__attribute__((format(printf, 3, 4))) static int refuse(struct exchange *x, int error,
                                                        const char *format, ...)
{
    char sentence[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    x->out_bytes = strlen(sentence);
    memcpy(x->out, sentence, x->out_bytes);
    return error;
}

static void put(struct exchange *x, const void *data, size_t bytes)
{
    memcpy(x->out + x->out_bytes, data, bytes);
    x->out_bytes += bytes;
}

/* ---- device and channels ---- */

static uint32_t count_stats(const struct qs_softnic *nic)
{
    return 2u * nic->n_queues_max + 3u + nic->n_rules;
}

static int get_drvinfo(struct exchange *x)
{
    struct ethtool_drvinfo info = {
        .cmd = x->command, .driver = "qs_soft", .n_stats = count_stats(x->nic)};
    (void)snprintf(info.version, sizeof info.version, "%u", QS_SOFTNIC_VERSION);
    (void)snprintf(info.bus_info, sizeof info.bus_info, "%s", x->bus_info);
    put(x, &info, sizeof info);
    return 0;
}

static int get_channels(struct exchange *x)
{
    struct ethtool_channels channels = {.cmd = x->command,
                                        .max_combined = x->nic->n_queues_max,
                                        .combined_count = x->nic->n_queues};
    put(x, &channels, sizeof channels);
    return 0;
}

static int set_channels(struct exchange *x)
{
    struct ethtool_channels channels;
    uint32_t by_table, by_rules;
    memcpy(&channels, x->in, sizeof channels);
    if (channels.rx_count || channels.tx_count || channels.other_count)
        return refuse(x, -EINVAL,
                      "this NIC has combined channels only: rx, tx and other must be 0");
    if (channels.combined_count == 0 || channels.combined_count > x->nic->n_queues_max)
        return refuse(x, -EINVAL, "%u combined channels asked for, 1 to %u are possible",
                      channels.combined_count, x->nic->n_queues_max);
    qs_softnic_used_queues(x->nic, &by_table, &by_rules);
    if (channels.combined_count < by_table)
        return refuse(x, -EINVAL,
                      "requested channel counts are too low for existing indirection table (%u)",
                      by_table - 1u);
    if (channels.combined_count < by_rules)
        return refuse(
            x, -EINVAL,
            "requested channel counts are too low for existing ntuple filter settings (%u)",
            by_rules - 1u);
    if (qs_softnic_set_queues(x->nic, channels.combined_count) != 0)
        return refuse(x, -EINVAL, "the channels were not changed");
    put(x, &channels, sizeof channels);
    return 0;
}

/* ---- hash: key and table ---- */

static int check_rxfh(struct exchange *x, struct ethtool_rxfh *rxfh, uint8_t *xfrm)
{
    memcpy(rxfh, x->in, sizeof *rxfh);
    *xfrm = x->in[INPUT_XFRM_AT];
    if (rxfh->rss_context)
        return refuse(x, -EOPNOTSUPP, "this NIC has RSS context 0 only, %u was asked for",
                      rxfh->rss_context);
    if (x->in[INPUT_XFRM_AT + 1] || x->in[INPUT_XFRM_AT + 2] || rxfh->rsvd32)
        return refuse(x, -EINVAL, "reserved fields of ethtool_rxfh must be 0");
    return 0;
}

static int get_rxfh(struct exchange *x)
{
    struct ethtool_rxfh rxfh;
    uint8_t xfrm;
    int error = check_rxfh(x, &rxfh, &xfrm);
    if (error)
        return error;
    if (rxfh.indir_size && rxfh.indir_size != QS_SOFTNIC_INDIR_SIZE)
        return refuse(x, -EINVAL, "the table has %u entries, room for %u was given",
                      QS_SOFTNIC_INDIR_SIZE, rxfh.indir_size);
    if (rxfh.key_size && rxfh.key_size != QS_SOFTNIC_KEY_BYTES)
        return refuse(x, -EINVAL, "the key has %u bytes, room for %u was given",
                      QS_SOFTNIC_KEY_BYTES, rxfh.key_size);
    struct ethtool_rxfh found = {.cmd = x->command,
                                 .indir_size = QS_SOFTNIC_INDIR_SIZE,
                                 .key_size = QS_SOFTNIC_KEY_BYTES,
                                 .hfunc = HFUNC_TOEPLITZ};
    put(x, &found, sizeof found);
    if (rxfh.indir_size)
        put(x, x->nic->indir, TABLE_BYTES);
    if (rxfh.key_size)
        put(x, x->nic->banks[x->nic->active_bank].key, QS_SOFTNIC_KEY_BYTES);
    return 0;
}

/* Sizes as the kernel's ethtool core has them. */
static int check_rxfh_sizes(struct exchange *x, const struct ethtool_rxfh *rxfh, bool no_xfrm)
{
    bool table = rxfh->indir_size == QS_SOFTNIC_INDIR_SIZE;
    bool no_change = rxfh->indir_size == ETH_RXFH_INDIR_NO_CHANGE;
    if (rxfh->indir_size && !table && !no_change)
        return refuse(x, -EINVAL, "size (%u) mismatch with device indir table (%u)",
                      rxfh->indir_size, QS_SOFTNIC_INDIR_SIZE);
    if (rxfh->key_size && rxfh->key_size != QS_SOFTNIC_KEY_BYTES)
        return refuse(x, -EINVAL, "size (%u) mismatch with device key (%u)", rxfh->key_size,
                      QS_SOFTNIC_KEY_BYTES);
    if (no_change && !rxfh->key_size && rxfh->hfunc == HFUNC_NO_CHANGE && no_xfrm)
        return refuse(x, -EINVAL,
                      "nothing to change: neither table, key nor hash function is given");
    size_t want = sizeof *rxfh + (table ? TABLE_BYTES : 0) + rxfh->key_size;
    if (x->in_bytes != want)
        return refuse(x, -EINVAL, "%zu bytes given, %zu follow from indir_size and key_size",
                      x->in_bytes, want);
    return 0;
}

static int set_rxfh(struct exchange *x)
{
    struct ethtool_rxfh rxfh;
    uint8_t xfrm;
    int error = check_rxfh(x, &rxfh, &xfrm);
    if (!error)
        error = check_rxfh_sizes(x, &rxfh, xfrm == 0 || xfrm == XFRM_NO_CHANGE);
    if (error)
        return error;
    if (rxfh.hfunc != HFUNC_NO_CHANGE && rxfh.hfunc != HFUNC_TOEPLITZ)
        return refuse(x, -EOPNOTSUPP, "this NIC hashes by Toeplitz only, hfunc 0x%x was asked for",
                      (unsigned)rxfh.hfunc);
    if (xfrm != 0 && xfrm != XFRM_NO_CHANGE)
        return refuse(x, -EOPNOTSUPP,
                      "this NIC has no symmetric hash, input_xfrm 0x%x was asked for",
                      (unsigned)xfrm);

    uint32_t table[QS_SOFTNIC_INDIR_SIZE];
    size_t key_at = sizeof rxfh;
    bool with_table = rxfh.indir_size == QS_SOFTNIC_INDIR_SIZE;
    if (with_table) {
        memcpy(table, x->in + sizeof rxfh, TABLE_BYTES);
        key_at += TABLE_BYTES;
        for (uint32_t i = 0; i < QS_SOFTNIC_INDIR_SIZE; i++)
            if (table[i] >= x->nic->n_queues)
                return refuse(x, -EINVAL, "entry %u: queue %u out of range (%u are active)", i,
                              table[i], x->nic->n_queues);
    }
    if (rxfh.indir_size != ETH_RXFH_INDIR_NO_CHANGE &&
        qs_softnic_set_indir(x->nic, with_table ? table : NULL) != 0)
        return refuse(x, -EINVAL, "the table was not taken");
    if (rxfh.key_size)
        qs_softnic_set_key(x->nic, x->in + key_at);
    put(x, x->in, x->in_bytes);
    return 0;
}

/* ---- rules ---- */

static int get_rings(struct exchange *x)
{
    struct ethtool_rxnfc nfc = {.cmd = x->command, .data = x->nic->n_queues};
    put(x, &nfc, sizeof nfc);
    return 0;
}

static int get_rule_count(struct exchange *x)
{
    struct ethtool_rxnfc nfc = {.cmd = x->command,
                                .data = QS_SOFTNIC_RULES_MAX | RX_CLS_LOC_SPECIAL};
    nfc.rule_cnt = x->nic->n_rules;
    put(x, &nfc, sizeof nfc);
    return 0;
}

static int get_rule(struct exchange *x)
{
    struct ethtool_rxnfc nfc;
    struct qs_softnic_rule rule;
    uint64_t hits;
    memcpy(&nfc, x->in, sizeof nfc);
    if (!qs_softnic_rule_get(x->nic, nfc.fs.location, &rule, &hits))
        return refuse(x, -ENOENT, "there is no rule at location %u", nfc.fs.location);
    nfc.data = QS_SOFTNIC_RULES_MAX;
    qs_softnic_flow_of_rule(&rule, &nfc.fs);
    put(x, &nfc, sizeof nfc);
    return 0;
}

static int get_locations(struct exchange *x)
{
    struct ethtool_rxnfc nfc;
    memcpy(&nfc, x->in, sizeof nfc);
    if (nfc.rule_cnt < x->nic->n_rules)
        return refuse(x, -EMSGSIZE, "there are %u rules, room for %u was given", x->nic->n_rules,
                      nfc.rule_cnt);
    struct ethtool_rxnfc head = {.cmd = x->command, .data = QS_SOFTNIC_RULES_MAX};
    head.rule_cnt = x->nic->n_rules;
    put(x, &head, offsetof(struct ethtool_rxnfc, rule_locs));
    for (uint32_t i = 0; i < QS_SOFTNIC_RULES_MAX; i++)
        if (x->nic->entry_at[i])
            put(x, &i, sizeof i);
    while (x->out_bytes < sizeof nfc)
        put(x, "", 1);
    return 0;
}

/* A free location for RX_CLS_LOC_*, or QS_SOFTNIC_RULES_MAX. */
static uint32_t free_location(const struct qs_softnic *nic, bool from_the_end)
{
    for (uint32_t i = 0; i < QS_SOFTNIC_RULES_MAX; i++) {
        uint32_t location = from_the_end ? QS_SOFTNIC_RULES_MAX - 1u - i : i;
        if (!nic->entry_at[location])
            return location;
    }
    return QS_SOFTNIC_RULES_MAX;
}

static int insert_rule(struct exchange *x)
{
    struct ethtool_rxnfc nfc;
    struct qs_softnic_rule rule;
    const char *why = "";
    memcpy(&nfc, x->in, sizeof nfc);
    int error = qs_softnic_rule_of_flow(&nfc.fs, &rule, &why);
    if (error)
        return refuse(x, error, "%s", why);
    if (rule.queue != QS_SOFTNIC_DROP && rule.queue >= x->nic->n_queues)
        return refuse(x, -EINVAL, "queue %u is not an active one, there are %u", rule.queue,
                      x->nic->n_queues);
    rule.location = nfc.fs.location;
    if (rule.location >= RX_CLS_LOC_LAST) {
        rule.location = free_location(x->nic, rule.location == RX_CLS_LOC_LAST);
        if (rule.location == QS_SOFTNIC_RULES_MAX)
            return refuse(x, -ENOSPC, "all %u locations hold a rule", QS_SOFTNIC_RULES_MAX);
    }
    if (rule.location >= QS_SOFTNIC_RULES_MAX)
        return refuse(x, -EINVAL, "location %u does not exist, there are %u", rule.location,
                      QS_SOFTNIC_RULES_MAX);
    qs_err err = qs_softnic_rule_insert(x->nic, &rule);
    if (err == QS_ERR_NOMEM)
        return refuse(x, -ENOSPC,
                      "rules with %u different masks are there already, no more are possible",
                      QS_SOFTNIC_GROUPS_MAX);
    if (err)
        return refuse(x, -EINVAL, "the rule was not taken: %s", qs_strerror(err));
    nfc.fs.location = rule.location;
    put(x, &nfc, sizeof nfc);
    return 0;
}

static int delete_rule(struct exchange *x)
{
    struct ethtool_rxnfc nfc;
    memcpy(&nfc, x->in, sizeof nfc);
    if (qs_softnic_rule_delete(x->nic, nfc.fs.location) != 0)
        return refuse(x, -ENOENT, "there is no rule at location %u", nfc.fs.location);
    put(x, &nfc, sizeof nfc);
    return 0;
}

/* ---- counters ---- */

static int get_sset_info(struct exchange *x)
{
    struct ethtool_sset_info info;
    memcpy(&info, x->in, sizeof info);
    info.reserved = 0;
    info.sset_mask &= 1u << ETH_SS_STATS;
    uint32_t n = count_stats(x->nic);
    put(x, &info, sizeof info);
    if (info.sset_mask)
        put(x, &n, sizeof n);
    return 0;
}

__attribute__((format(printf, 2, 3))) static void put_name(struct exchange *x, const char *format,
                                                           ...)
{
    char name[ETH_GSTRING_LEN] = "";
    va_list args;
    va_start(args, format);
    (void)vsnprintf(name, sizeof name, format, args);
    va_end(args);
    put(x, name, sizeof name);
}

static int get_strings(struct exchange *x)
{
    struct ethtool_gstrings strings;
    memcpy(&strings, x->in, sizeof strings);
    if (strings.string_set != ETH_SS_STATS)
        return refuse(x, -EOPNOTSUPP,
                      "this NIC has strings for ETH_SS_STATS only, set %u was asked for",
                      strings.string_set);
    strings.len = count_stats(x->nic);
    put(x, &strings, sizeof strings);
    for (uint32_t q = 0; q < x->nic->n_queues_max; q++) {
        put_name(x, "rx_queue_%u_packets", q);
        put_name(x, "rx_queue_%u_bytes", q);
    }
    put_name(x, "rx_rule_hits");
    put_name(x, "rx_rule_drops");
    put_name(x, "rx_not_ip");
    for (uint32_t i = 0; i < QS_SOFTNIC_RULES_MAX; i++)
        if (x->nic->entry_at[i])
            put_name(x, "rule_%u_hits", i);
    return 0;
}

static void put_counter(struct exchange *x, const uint64_t *counter)
{
    uint64_t n = __atomic_load_n(counter, __ATOMIC_RELAXED);
    put(x, &n, sizeof n);
}

static int get_stats(struct exchange *x)
{
    const struct qs_softnic *nic = x->nic;
    struct ethtool_stats stats = {.cmd = x->command, .n_stats = count_stats(nic)};
    put(x, &stats, sizeof stats);
    for (uint32_t q = 0; q < nic->n_queues_max; q++) {
        put_counter(x, &nic->queues[q].packets);
        put_counter(x, &nic->queues[q].bytes);
    }
    put_counter(x, &nic->rule_hits);
    put_counter(x, &nic->rule_drops);
    put_counter(x, &nic->not_ip);
    for (uint32_t i = 0; i < QS_SOFTNIC_RULES_MAX; i++)
        if (nic->entry_at[i])
            put_counter(x, &nic->entries[nic->entry_at[i] - 1u].hits);
    return 0;
}

/* ---- messages ---- */

static const struct {
    uint32_t command;
    uint32_t bytes; /* of the structure without its tail */
    bool
        exact; /* no tail; otherwise what follows is room for the answer, or set_rxfh() checks it */
    int (*run)(struct exchange *x);
} commands[] = {
    {ETHTOOL_GDRVINFO, sizeof(struct ethtool_drvinfo), true, get_drvinfo},
    {ETHTOOL_GCHANNELS, sizeof(struct ethtool_channels), true, get_channels},
    {ETHTOOL_SCHANNELS, sizeof(struct ethtool_channels), true, set_channels},
    {ETHTOOL_GRXRINGS, sizeof(struct ethtool_rxnfc), true, get_rings},
    {ETHTOOL_GRSSH, sizeof(struct ethtool_rxfh), false, get_rxfh},
    {ETHTOOL_SRSSH, sizeof(struct ethtool_rxfh), false, set_rxfh},
    {ETHTOOL_GRXCLSRLCNT, sizeof(struct ethtool_rxnfc), true, get_rule_count},
    {ETHTOOL_GRXCLSRULE, sizeof(struct ethtool_rxnfc), true, get_rule},
    {ETHTOOL_GRXCLSRLALL, sizeof(struct ethtool_rxnfc), false, get_locations},
    {ETHTOOL_SRXCLSRLINS, sizeof(struct ethtool_rxnfc), true, insert_rule},
    {ETHTOOL_SRXCLSRLDEL, sizeof(struct ethtool_rxnfc), true, delete_rule},
    {ETHTOOL_GSSET_INFO, sizeof(struct ethtool_sset_info), false, get_sset_info},
    {ETHTOOL_GSTRINGS, sizeof(struct ethtool_gstrings), false, get_strings},
    {ETHTOOL_GSTATS, sizeof(struct ethtool_stats), false, get_stats},
};

static int run(struct exchange *x)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        uint32_t leading;
        if (commands[i].command != x->command)
            continue;
        if (x->in_bytes < commands[i].bytes ||
            (commands[i].exact && x->in_bytes != commands[i].bytes))
            return refuse(x, -EINVAL, "command 0x%x takes a structure of %u bytes, %zu were given",
                          x->command, commands[i].bytes, x->in_bytes);
        memcpy(&leading, x->in, sizeof leading);
        if (leading != x->command)
            return refuse(x, -EINVAL, "the structure's cmd is 0x%x, the message's command 0x%x",
                          leading, x->command);
        return commands[i].run(x);
    }
    return refuse(x, -EOPNOTSUPP, "the software NIC has no ethtool command 0x%x", x->command);
}

static int check_message(struct exchange *x, const void *request, size_t bytes)
{
    struct qs_softnic_message head;
    if (bytes < sizeof head)
        return refuse(x, -EINVAL, "a request begins with %zu bytes, %zu were given", sizeof head,
                      bytes);
    memcpy(&head, request, sizeof head);
    x->command = head.command;
    x->in = (const uint8_t *)request + sizeof head;
    x->in_bytes = bytes - sizeof head;
    if (bytes > QS_SOFTNIC_REQUEST_MAX)
        return refuse(x, -EINVAL, "a request has at most %u bytes", QS_SOFTNIC_REQUEST_MAX);
    if (head.error || head.reserved)
        return refuse(x, -EINVAL, "error and reserved of a request must be 0");
    if (head.bytes != x->in_bytes)
        return refuse(x, -EINVAL, "%u bytes announced, %zu follow", head.bytes, x->in_bytes);
    return 0;
}

size_t qs_softnic_ethtool(const struct qs_softnic_port *port, const void *request, size_t bytes,
                          void *answer)
{
    struct exchange x = {.nic = port->nic,
                         .bus_info = port->bus_info,
                         .out = (uint8_t *)answer + sizeof(struct qs_softnic_message)};
    int error = check_message(&x, request, bytes);
    if (!error)
        error = run(&x);
    struct qs_softnic_message head = {
        .command = x.command, .error = error, .bytes = (uint32_t)x.out_bytes};
    memcpy(answer, &head, sizeof head);
    return sizeof head + x.out_bytes;
}

_Static_assert(sizeof(struct qs_softnic_message) + sizeof(struct ethtool_gstrings) +
                       (2u * QS_SOFTNIC_QUEUES_MAX + 3u + QS_SOFTNIC_RULES_MAX) * ETH_GSTRING_LEN <=
                   QS_SOFTNIC_ANSWER_MAX,
               "every answer fits");
