# SPDX-License-Identifier: Apache-2.0
"""Of ``balance``: what cores can do, and which comes or goes next."""

from __future__ import annotations

from typing import Any

import numpy as np

from .decorator import helper


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
def arriving(figures: Any, cores: Any, usable: Any) -> int:
    """Return the core to turn on, one whose sibling is off if there is; -1: all are on."""
    new, new_can = -1, 0.0
    for c in range(len(cores)):
        if usable[c] == 0:
            usable[c] = 1
            can = capacity(figures, cores, usable, c)
            usable[c] = 0
            if can > new_can:
                new, new_can = c, can
    return new


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
