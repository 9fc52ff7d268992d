# SPDX-License-Identifier: Apache-2.0
"""What several policies do: number of cores, buckets dealt by their number."""

from __future__ import annotations

from typing import Any

import numpy as np

from .contract import BUCKET_TO_QUEUE, CORE_OFF, CORE_ON
from .decorator import helper


@helper
def put(moves: Any, n: int, kind: int, what: int, to: int) -> int:
    """Write move ``n``, if the budget has room for it; return how many there are now."""
    if n >= len(moves):
        return n
    moves[n].kind = kind
    moves[n].what = what
    moves[n].to = to
    return n + 1


@helper
def count_on(cores: Any) -> int:
    """Return how many cores are on."""
    n = 0
    for c in range(len(cores)):
        n += cores[c].on
    return n


@helper
def idle_cores(cores: Any) -> float:
    """Return the time that cores which are on did not work, in cores."""
    idle = 0.0
    for c in range(len(cores)):
        if cores[c].on == 1:
            idle += 1.0 - cores[c].busy
    return idle


@helper
def last_change_ns(cores: Any) -> int:
    """Return when a core went on or off last."""
    last = int(cores[0].changed_ns)
    for c in range(1, len(cores)):
        last = max(last, cores[c].changed_ns)
    return last


@helper
def queue_of_core(cores: Any, queues: Any, core: int) -> int:
    """Return a queue that the core runs, if possible with its memory near, or -1."""
    found = -1
    for q in range(len(queues)):
        if queues[q].core != core:
            continue
        if queues[q].node == cores[core].node:
            return q
        if found < 0:
            found = q
    return found


@helper
def wanted_cores(figures: Any, cores: Any, queues: Any, n_wanted: int) -> Any:
    """Return int64[n_cores]: 1 for cores that are to be on.

    Those that are on stay, the last go first, and the first that run a queue come first.
    """
    n_wanted = max(figures[0].cores_min, min(n_wanted, figures[0].cores_max))
    on = np.zeros(len(cores), np.int64)
    n = 0
    for c in range(len(cores)):
        on[c] = cores[c].on
        n += on[c]
    for c in range(len(cores)):
        if n < n_wanted and on[c] == 0 and queue_of_core(cores, queues, c) >= 0:
            on[c] = 1
            n += 1
    for c in range(len(cores) - 1, -1, -1):
        if n > n_wanted and on[c] == 1:
            on[c] = 0
            n -= 1
    return on


@helper
def switch_on(cores: Any, on: Any, moves: Any, n: int) -> int:
    """Write moves that turn on what is wanted on and is off."""
    for c in range(len(cores)):
        if on[c] == 1 and cores[c].on == 0:
            n = put(moves, n, CORE_ON, c, 0)
    return n


@helper
def switch_off(cores: Any, on: Any, moves: Any, n: int) -> int:
    """Write moves that turn off what is not wanted on and is on; nothing leads there any more."""
    for c in range(len(cores)):
        if on[c] == 0 and cores[c].on == 1:
            n = put(moves, n, CORE_OFF, c, 0)
    return n


@helper
def resize(figures: Any, cores: Any, queues: Any, buckets: Any, moves: Any, n_wanted: int) -> int:
    """Have so many cores, and deal the buckets over them evenly by their number, not their load.

    Returns:
        Moves written, from the first record on.
    """
    on = wanted_cores(figures, cores, queues, n_wanted)
    n = switch_on(cores, on, moves, 0)
    n_on = on.sum()
    share = len(buckets) // n_on
    extra = len(buckets) - share * n_on  # so many cores have one more
    count = np.zeros(len(cores), np.int64)
    for b in range(len(buckets)):
        count[queues[buckets[b].queue].core] += 1
    quota = np.zeros(len(cores), np.int64)
    for c in range(len(cores)):
        if on[c] == 1:
            quota[c] = share
    for c in range(len(cores)):  # first to those that have it already: fewer moves
        if extra > 0 and on[c] == 1 and count[c] > share:
            quota[c] += 1
            extra -= 1
    for c in range(len(cores)):
        if extra > 0 and on[c] == 1 and quota[c] == share:
            quota[c] += 1
            extra -= 1
    to = 0
    for b in range(len(buckets)):
        c = queues[buckets[b].queue].core
        if count[c] <= quota[c]:
            continue
        while count[to] >= quota[to]:
            to += 1
        n = put(moves, n, BUCKET_TO_QUEUE, b, queue_of_core(cores, queues, to))
        count[c] -= 1
        count[to] += 1
    return switch_off(cores, on, moves, n)
