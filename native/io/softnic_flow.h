/* SPDX-License-Identifier: Apache-2.0 */
/* Flow rules as linux/ethtool.h has them, to and from rules of the software NIC. */
#ifndef QS_IO_SOFTNIC_FLOW_H
#define QS_IO_SOFTNIC_FLOW_H

#include "softnic_layout.h"

#include <linux/ethtool.h>

/* Fills `rule`, all but its location. Returns 0, or a negative errno with `*why` a sentence in
 * static storage. Whether the queue is active is not looked at. */
int qs_softnic_rule_of_flow(const struct ethtool_rx_flow_spec *fs, struct qs_softnic_rule *rule,
                            const char **why);

/* The opposite; values come out masked. */
void qs_softnic_flow_of_rule(const struct qs_softnic_rule *rule, struct ethtool_rx_flow_spec *fs);

#endif
