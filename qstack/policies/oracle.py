# SPDX-License-Identifier: Apache-2.0
"""A bound for others: what is possible when the coming period is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from .contract import BUCKET_TO_QUEUE
from .decorator import policy
from .shared import put, queue_of_core, switch_off, switch_on, wanted_cores

_BUSY_TARGET = 0.8


@policy(limits="none")
def oracle(
    figures: Any, cores: Any, queues: Any, buckets: Any, flows: Any, memory: Any, moves: Any
) -> int:
    """All buckets are packed anew by the load to come, largest first; the simulator only."""
    total = 0.0
    for b in range(len(buckets)):
        if np.isnan(buckets[b].ahead):
            return 0
        total += buckets[b].ahead
    wanted = int(np.ceil(total / _BUSY_TARGET))
    on = wanted_cores(figures, cores, queues, wanted)
    n = switch_on(cores, on, moves, 0)
    load = np.zeros(len(cores))
    for c in range(len(cores)):
        if on[c] == 0:
            load[c] = np.inf
    loads = np.zeros(len(buckets))
    for b in range(len(buckets)):
        loads[b] = buckets[b].ahead
    order = np.argsort(loads, kind="mergesort")
    for i in range(len(order) - 1, -1, -1):
        b = order[i]
        c = int(np.argmin(load))
        at = queues[buckets[b].queue].core
        if load[at] <= load[c]:  # as good, and nothing moves
            c = at
        load[c] += loads[b]
        if c != at:
            n = put(moves, n, BUCKET_TO_QUEUE, b, queue_of_core(cores, queues, c))
    return switch_off(cores, on, moves, n)
