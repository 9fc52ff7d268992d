# SPDX-License-Identifier: Apache-2.0
"""Which core each bucket should be on, after RSS++ (Barbette et al., CoNEXT 2019)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .decorator import helper

_RUNS = 10


@helper
def solve(
    queues: Any, buckets: Any, on: Any, load: Any, loads: Any, mean: float, since_ns: float
) -> Any:
    """Return the core of each bucket: the best of some runs that allow for different errors."""
    order = np.argsort(loads, kind="mergesort")
    start = np.empty(len(buckets), np.int64)
    for b in range(len(buckets)):
        start[b] = queues[buckets[b].queue].core
    best, best_score = start.copy(), np.inf
    low, high, error = 0.0, mean / 2, 0.0
    for _ in range(_RUNS):
        to, now = start.copy(), load.copy()
        for i in range(len(order) - 1, -1, -1):
            b = order[i]
            c = start[b]
            just_moved = buckets[b].moved_ns >= since_ns
            if on[c] == 1 and (now[c] <= mean + error or just_moved):
                continue
            u = _least(now, on)
            fits = now[u] + loads[b] <= mean + error and now[c] - loads[b] >= mean - error
            if on[c] == 0 or (u != c and fits):
                to[b] = u
                now[c] -= loads[b]
                now[u] += loads[b]
        score = 0.0
        for c in range(len(on)):
            score = max(score, abs(now[c] - mean) if on[c] == 1 else 0.0)
        if score < best_score:
            best, best_score = to, score
        if score <= error:
            high = error
        else:
            low = error
        error = (low + high) / 2
    return best


@helper
def _least(load: Any, on: Any) -> int:
    least = -1
    for c in range(len(on)):
        if on[c] == 1 and (least < 0 or load[c] < load[least]):
            least = c
    return least
