# SPDX-License-Identifier: Apache-2.0
"""Of ``balance``: how many cores, which, and the queues that come and go with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .contract import CORE_OFF, CORE_ON, QUEUE_TO_CORE
from .decorator import helper
from .shared import put

_BUSY_UP = 0.85  # of what the cores that are on can do
_BUSY_DOWN = 0.75  # of what one less could do
_DELAY_UP_NS = 2_000_000
_DOWN_AFTER_NS = 200_000_000


@helper
def capacity(figures: Any, cores: Any, usable: Any, c: int) -> float:
    """Return what a core can do, in cores: less beside a sibling that works."""
    if usable[c] == 0:
        return 0.0
    sibling = cores[c].sibling
    if sibling >= 0 and usable[sibling] == 1:
        return float(1.0 / figures[0].smt_slowdown)
    return 1.0


@helper
def all_capacity(figures: Any, cores: Any, usable: Any) -> float:
    """Return what all usable cores can do."""
    total = 0.0
    for c in range(len(cores)):
        total += capacity(figures, cores, usable, c)
    return total


@helper
def wanted_change(figures: Any, cores: Any, total: float, memory: Any) -> int:
    """Return 1 for a core more, -1 for one less, 0."""
    f = figures[0]
    on, n_on, delay_ns = np.empty(len(cores), np.int64), 0, 0
    for c in range(len(cores)):
        on[c] = cores[c].on
        n_on += on[c]
        delay_ns = max(delay_ns, cores[c].delay_ns)
    if n_on > f.cores_max:
        return -1
    if n_on < f.cores_min:
        return 1
    can = all_capacity(figures, cores, on)
    congested = delay_ns > _DELAY_UP_NS and total > _BUSY_DOWN * can
    if total > _BUSY_UP * can or congested:
        memory[1] = 0.0
        return 1 if n_on < f.cores_max else 0
    on[leaving(figures, cores, on, np.zeros(len(cores)))] = 0
    if n_on == f.cores_min or total > _BUSY_DOWN * all_capacity(figures, cores, on):
        memory[1] = 0.0
        return 0
    if memory[1] == 0.0:
        memory[1] = f.now_ns
    return -1 if f.now_ns - memory[1] >= _DOWN_AFTER_NS else 0


@helper
def leaving(figures: Any, cores: Any, usable: Any, load: Any) -> int:
    """Return the core to give up: one beside a sibling first, then the one with the least load."""
    best, best_can = -1, 0.0
    for c in range(len(cores)):
        if usable[c] == 0:
            continue
        can = capacity(figures, cores, usable, c)
        if best < 0 or can < best_can or (can == best_can and load[c] < load[best]):
            best, best_can = c, can
    return best


@helper
def loads_of_cores(queue_load: Any, where: Any, n_cores: int) -> Any:
    """Return float64[n_cores]."""
    load = np.zeros(n_cores)
    for q in range(len(where)):
        load[where[q]] += queue_load[q]
    return load


@helper
def begin_growing(
    figures: Any, cores: Any, queues: Any, queue_load: Any, where: Any, usable: Any, moves: Any,
    n: int,
) -> int:  # fmt: skip
    """Turn a core on, one whose sibling is off if there is, and give it its share of queues."""
    new, new_can = -1, 0.0
    for c in range(len(cores)):
        if usable[c] == 0:
            usable[c] = 1
            can = capacity(figures, cores, usable, c)
            usable[c] = 0
            if can > new_can:
                new, new_can = c, can
    if new < 0:
        return n
    n = put(moves, n, CORE_ON, new, 0)
    usable[new] = 1
    load = loads_of_cores(queue_load, where, len(cores))
    share = load.sum() * new_can / all_capacity(figures, cores, usable)
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
