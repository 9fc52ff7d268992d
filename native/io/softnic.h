/* SPDX-License-Identifier: Apache-2.0 */
/* The software NIC: what a NIC does to a received frame, as plain shared memory.
 *
 * `struct qs_softnic` is one block of memory that packet paths read without locks while one
 * controlling thread changes it. It lives in ordinary memory (pair) or in a BPF array map that user
 * space has mapped (tap, xsk on veth); C and BPF run the same lookup over it (softnic_lookup.h).
 * Single stores make each change visible at once: an indirection entry, a slot of the rule index,
 * the number of the active key table.
 *
 * softnic_ethtool.h answers requests in the structures of linux/ethtool.h over a Unix socket, so
 * that nicprog programs it as it does a kernel driver. */
#ifndef QS_IO_SOFTNIC_H
#define QS_IO_SOFTNIC_H

#include "qstack/qs_base.h"
#include "softnic_layout.h"

/* Empties `nic`: the published Microsoft key, an even table over `n_queues`, no rules. */
void qs_softnic_init(struct qs_softnic *nic, uint32_t n_queues);

/* Active queues, [1, n_queues_max]. QS_ERR_ARG, or QS_ERR_BUSY when the table or a rule points past
 * them. */
QS_MUST_CHECK qs_err qs_softnic_set_queues(struct qs_softnic *nic, uint32_t n_queues);

/* 40-byte Toeplitz key. */
void qs_softnic_set_key(struct qs_softnic *nic, const uint8_t key[QS_SOFTNIC_KEY_BYTES]);

/* Whole table, QS_SOFTNIC_INDIR_SIZE queues; NULL: even over the active queues again, and following
 * their number. QS_ERR_ARG when one is not active. */
QS_MUST_CHECK qs_err qs_softnic_set_indir(struct qs_softnic *nic, const uint32_t *queues);

/* Puts `rule` at rule->location, replacing what is there without a moment in which neither holds.
 * QS_ERR_ARG (location, queue or mask), QS_ERR_NOMEM (more different masks than
 * QS_SOFTNIC_GROUPS_MAX). */
QS_MUST_CHECK qs_err qs_softnic_rule_insert(struct qs_softnic *nic,
                                            const struct qs_softnic_rule *rule);

/* QS_ERR_STALE when the location is empty. */
QS_MUST_CHECK qs_err qs_softnic_rule_delete(struct qs_softnic *nic, uint32_t location);

/* The rule at `location`, its value masked, and how often it was hit; false when the location is
 * empty. */
bool qs_softnic_rule_get(const struct qs_softnic *nic, uint32_t location,
                         struct qs_softnic_rule *out, uint64_t *hits);

/* Lowest number of active queues that a table set by hand, or the rules, allow; 0 without such. */
void qs_softnic_used_queues(const struct qs_softnic *nic, uint32_t *by_table, uint32_t *by_rules);

#endif
