# SPDX-License-Identifier: Apache-2.0
"""Of ``balance``: a core more, and the queues that it takes over."""

from __future__ import annotations

from typing import Any

import numpy as np

from .balance_capacity import all_capacity, arriving, capacity, loads_of_cores
from .contract import CORE_ON, QUEUE_TO_CORE
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
