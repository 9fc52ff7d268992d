# SPDX-License-Identifier: Apache-2.0
"""Of ``balance``: a core less, and where its queues go."""

from __future__ import annotations

from typing import Any

import numpy as np

from .balance_capacity import capacity, leaving, loads_of_cores
from .contract import CORE_OFF, QUEUE_TO_CORE
from .decorator import helper
from .shared import put


@helper
def shrink(
    figures: Any, cores: Any, queues: Any, queue_load: Any, where: Any, usable: Any, moves: Any,
    n: int,
) -> int:  # fmt: skip
    """Give up a core: its queues, largest first, go where the load is least; then it goes off.

    Queues beyond the budget go with the next calls.
    """
    load = loads_of_cores(queue_load, where, len(cores))
    old = leaving(figures, cores, usable, load)
    usable[old] = 0
    while True:
        largest = -1
        for q in range(len(queues)):
            if where[q] == old and (largest < 0 or queue_load[q] > queue_load[largest]):
                largest = q
        if largest < 0:
            return put(moves, n, CORE_OFF, old, 0)
        moved_ns = queues[largest].moved_ns
        if n == len(moves) or figures[0].now_ns - moved_ns < figures[0].cooldown_ns:
            usable[old] = 1
            return n
        to, least = -1, np.inf
        for c in range(len(cores)):
            if usable[c] == 0:
                continue
            far = figures[0].numa_slowdown if queues[largest].node != cores[c].node else 1.0
            full = (load[c] + queue_load[largest] * far) / capacity(figures, cores, usable, c)
            if full < least:
                to, least = c, full
        n = put(moves, n, QUEUE_TO_CORE, largest, to)
        load[to] += queue_load[largest]
        where[largest] = to
