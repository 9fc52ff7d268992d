# SPDX-License-Identifier: Apache-2.0
"""QStack's own: pack by measured load, within the budget, and leave alone what is even enough."""

from __future__ import annotations

from typing import Any

import numpy as np

from .balance_elephants import isolate
from .balance_growing import grow
from .balance_packing import pack
from .balance_scaling import wanted_change
from .balance_shrinking import shrink
from .balance_smoothing import smooth
from .decorator import helper, policy


@policy
def balance(
    figures: Any, cores: Any, queues: Any, buckets: Any, flows: Any, memory: Any, moves: Any
) -> int:
    """Swaps and moves of buckets, rules for elephants, queues from cores that go."""
    # memory: 0 there was a call, 1 since when a core is too much, 2 packing goes on
    smooth(figures, buckets, flows, memory)
    at = np.empty(len(buckets), np.int64)  # queue of each bucket
    where = np.empty(len(queues), np.int64)  # core of each queue
    usable = np.empty(len(cores), np.int64)
    for b in range(len(buckets)):
        at[b] = buckets[b].queue
    for q in range(len(queues)):
        where[q] = queues[q].core
    for c in range(len(cores)):
        usable[c] = cores[c].on
    load = _queue_loads(queues, buckets, flows)
    change = wanted_change(figures, cores, load.sum(), memory)
    n = 0
    for _ in range(change):
        n = grow(figures, cores, queues, load, where, usable, moves, n)
    if change < 0:
        n = shrink(figures, cores, queues, load, where, usable, moves, n)
    n = isolate(figures, cores, queues, flows, load, where, usable, moves, n)
    return pack(figures, cores, queues, buckets, load, at, where, usable, memory, moves, n)


@helper
def _queue_loads(queues: Any, buckets: Any, flows: Any) -> Any:
    """Return float64[n_queues]: the smoothed load of each, with its rules."""
    load = np.zeros(len(queues))
    for b in range(len(buckets)):
        load[buckets[b].queue] += buckets[b].own
    for f in range(len(flows)):
        if flows[f].id >= 0 and flows[f].queue >= 0:
            load[flows[f].queue] += flows[f].own
    return load
