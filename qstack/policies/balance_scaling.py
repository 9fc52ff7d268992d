# SPDX-License-Identifier: Apache-2.0
"""Of ``balance``: how many cores."""

from __future__ import annotations

from typing import Any

import numpy as np

from .balance_capacity import all_capacity, arriving, leaving
from .decorator import helper

_BUSY_UP = 0.85  # of what the cores that are on can do
_BUSY_DOWN = 0.75  # of what one less could do
_DELAY_UP_NS = 2_000_000
_DOWN_AFTER_NS = 200_000_000


@helper
def wanted_change(figures: Any, cores: Any, total: float, memory: Any) -> int:
    """Return how many cores more, or -1 for one less.

    Args:
        figures: Of the machine.
        cores: Of each core.
        total: Smoothed load. To go up the load of the last period counts too, so that a crowd does
            not wait for an average.
        memory: [1]: since when a core has been too much, or 0.
    """
    f = figures[0]
    on, n_on, delay_ns, now = np.empty(len(cores), np.int64), 0, 0, 0.0
    for c in range(len(cores)):
        on[c] = cores[c].on
        n_on += on[c]
        now += cores[c].load
        delay_ns = max(delay_ns, cores[c].delay_ns)
    if n_on > f.cores_max:
        return -1
    can = all_capacity(figures, cores, on)
    more = cores_more(figures, cores, on, max(total, now))
    if more == 0 and delay_ns > _DELAY_UP_NS and total > _BUSY_DOWN * can and n_on < f.cores_max:
        more = 1
    if more > 0:
        memory[1] = 0.0
        return more
    on[leaving(figures, cores, on, np.zeros(len(cores)))] = 0
    if n_on == f.cores_min or total > _BUSY_DOWN * all_capacity(figures, cores, on):
        memory[1] = 0.0
        return 0
    if memory[1] == 0.0:
        memory[1] = f.now_ns
    return -1 if f.now_ns - memory[1] >= _DOWN_AFTER_NS else 0


@helper
def cores_more(figures: Any, cores: Any, on: Any, load: float) -> int:
    """Return how many cores have to be turned on for a load, within the limits."""
    f = figures[0]
    after = on.copy()
    n, n_on = 0, on.sum()
    while n_on + n < f.cores_max and (
        n_on + n < f.cores_min or load > _BUSY_UP * all_capacity(figures, cores, after)
    ):
        after[arriving(figures, cores, after)] = 1
        n += 1
    return n
