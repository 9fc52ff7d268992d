# SPDX-License-Identifier: Apache-2.0
"""Of ``balance``: queues that come and go with cores."""

from __future__ import annotations

from typing import Any

import numpy as np

from .balance_capacity import all_capacity, arriving, capacity, leaving, loads_of_cores
from .contract import CORE_OFF, CORE_ON, QUEUE_TO_CORE
from .decorator import helper
from .shared import put


@helper
def grow(
    figures: Any, cores: Any, queues: Any, queue_load: Any, where: Any, usable: Any, moves: Any,
    n: int,
) -> int:  # fmt: skip
    """Turn a core on and give it its share of queues."""
    new = arriving(figures, cores, usable)
    if new < 0 or n == len(moves):
        return n
    n = put(moves, n, CORE_ON, new, 0)
    usable[new] = 1
    load = loads_of_cores(queue_load, where, len(cores))
    can = capacity(figures, cores, usable, new)
    share = load.sum() * can / all_capacity(figures, cores, usable)
    for _ in range(len(queues)):
        q = _queue_for_new(figures, cores, queues, queue_load, where, usable, load, new, share)
        if q < 0 or n == len(moves):
            break
        n = put(moves, n, QUEUE_TO_CORE, q, new)
        load[where[q]] -= queue_load[q]
        load[new] += queue_load[q]
        where[q] = new
    return n


@helper
def _queue_for_new(
    figures: Any, cores: Any, queues: Any, queue_load: Any, where: Any, usable: Any, load: Any,
    new: int, share: float,
) -> int:  # fmt: skip
    """Return the queue that a new core should have next, or -1.

    From the core with the most load for what it can do that has two or more: the largest that fits
    into the share, near memory first; or if the new core has none yet, the smallest.
    """
    count = np.zeros(len(cores), np.int64)
    for q in range(len(queues)):
        count[where[q]] += 1
    room = share - load[new]
    best, best_score, smallest = -1, -1.0, -1
    for q in range(len(queues)):
        c = where[q]
        if c == new or usable[c] == 0 or count[c] < 2:
            continue
        if figures[0].now_ns - queues[q].moved_ns < figures[0].cooldown_ns:
            continue
        if smallest < 0 or queue_load[q] < queue_load[smallest]:
            smallest = q
        over = load[c] / capacity(figures, cores, usable, c)
        score = over if queues[q].node == cores[new].node else over / figures[0].numa_slowdown
        if 0.0 < queue_load[q] <= room and score > best_score:
            best, best_score = q, score
    return smallest if best < 0 and count[new] == 0 else best


@helper
def leave_cores(
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
