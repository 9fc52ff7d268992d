# SPDX-License-Identifier: Apache-2.0
"""Of ``balance``: which bucket to move, and which one back."""

from __future__ import annotations

from typing import Any

import numpy as np

from .decorator import helper

_CANDIDATES = 32


@helper
def by_core(figures: Any, buckets: Any, at: Any, where: Any, n_cores: int) -> Any:
    """Return buckets that may move, core after core, and where those of each core begin."""
    f = figures[0]
    core = np.full(len(at), -1)
    begin = np.zeros(n_cores + 1, np.int64)
    for b in range(len(at)):
        if f.now_ns - buckets[b].moved_ns >= f.cooldown_ns:
            core[b] = where[at[b]]
            begin[core[b] + 1] += 1
    for c in range(n_cores):
        begin[c + 1] += begin[c]
    end = begin.copy()
    movable = np.empty(begin[n_cores], np.int64)
    for b in range(len(at)):
        if core[b] >= 0:
            movable[end[core[b]]] = b
            end[core[b]] += 1
    return movable, begin


@helper
def candidates(buckets: Any, at: Any, movable: Any) -> Any:
    """Return int64[<= _CANDIDATES]: of a core's buckets those that this call has not moved.

    Of many these are spread over all of them.
    """
    found = np.empty(_CANDIDATES, np.int64)
    n, step = 0, max(1, (len(movable) + _CANDIDATES - 1) // _CANDIDATES)
    for i in range(0, len(movable), step):
        b = movable[i]
        if at[b] == buckets[b].queue:
            found[n] = b
            n += 1
    return found[:n]


@helper
def best(
    buckets: Any, from_hot: Any, from_cold: Any, shift: float, least: float, may_swap: bool
) -> Any:
    """Return the bucket to move and the one to move back, or -1, that shift the load best.

    A swap is two moves: it has to come twice as near as a single one.
    """
    one, error = -1, shift - least  # what is left of it
    for b in from_hot:
        left = abs(buckets[b].own - shift)
        if left < error:
            one, error = b, left
    other = -1
    if may_swap:
        error = error / 2 if one >= 0 else error
        for b in from_hot:
            for c in from_cold:
                left = abs(buckets[b].own - buckets[c].own - shift)
                if left < error:
                    one, other, error = b, c, left
    return one, other
