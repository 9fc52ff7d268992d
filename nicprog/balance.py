# SPDX-License-Identifier: Apache-2.0
"""How evenly queues are used, against what the indirection table gives them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from nicprog.model import RssTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Shares of the queues that the table names; what rules bring to other queues is left out.

    Attributes:
        table_shares: By queue, of the table's entries, 0 to 1.
        shares: By queue, of the packets that these queues got together; empty without packets.
        variation: Standard deviation of the queues' loads over their mean, a load being share over
            table share: 0 is as the table says. None without packets.
        spread: Difference of the highest and the lowest load over their middle, 0 to 2.
    """

    table_shares: dict[int, float]
    shares: dict[int, float]
    variation: float | None
    spread: float | None


def balance(table: RssTable, packets: Mapping[int, int]) -> Balance:
    """Compares the packets of each queue with the table; queues without a number got none.

    ``variation`` and ``spread`` are what ``ynltool qstats balance`` calls cv and ns, for equal
    table shares; here a queue with twice the entries is meant to get twice the packets.
    """
    entries = Counter(table.entries)
    table_shares = {queue: entries[queue] / len(table.entries) for queue in sorted(entries)}
    total = sum(packets.get(queue, 0) for queue in entries)
    if not total:
        return Balance(table_shares=table_shares, shares={}, variation=None, spread=None)
    shares = {queue: packets.get(queue, 0) / total for queue in table_shares}
    loads = {queue: shares[queue] / table_shares[queue] for queue in shares}
    variance = sum(table_shares[queue] * (load - 1) ** 2 for queue, load in loads.items())
    low, high = min(loads.values()), max(loads.values())
    return Balance(
        table_shares=table_shares,
        shares=shares,
        variation=math.sqrt(variance),
        spread=2 * (high - low) / (high + low),
    )
