# SPDX-License-Identifier: Apache-2.0
"""After RSS++ (Barbette et al., CoNEXT 2019): packets of buckets times busy time of cores."""

from __future__ import annotations

from typing import Any

import numpy as np

from .contract import BUCKET_TO_QUEUE
from .decorator import helper, policy
from .rsspp_solver import solve
from .shared import count_on, put, queue_of_core, switch_off, switch_on, wanted_cores

_LEAST_NS, _MOST_NS = 100_000_000, 1_000_000_000
_TARGET = 0.8
_ADD_BELOW = -0.1


@policy(limits="none")
def rsspp(
    figures: Any, cores: Any, queues: Any, buckets: Any, flows: Any, memory: Any, moves: Any
) -> int:
    """From cores above the mean to those below, largest first, within an error that is searched."""
    # memory: 0 when to decide, 1 the interval, 2 when it began; own: packets, busy ns since then
    now_ns = figures[0].now_ns
    for b in range(len(buckets)):
        buckets[b].own += buckets[b].packets
    for c in range(len(cores)):
        cores[c].own += cores[c].busy * figures[0].period_ns
    if memory[1] == 0.0:
        memory[0], memory[1], memory[2] = now_ns + _LEAST_NS, _LEAST_NS, now_ns
    if now_ns < memory[0]:
        return 0
    load, loads = _measured(cores, queues, buckets, now_ns - memory[2])
    on = wanted_cores(figures, cores, queues, _cores(cores, load))
    mean = load.sum() / on.sum()
    to = solve(queues, buckets, on, load, loads, mean, memory[2])
    n = switch_on(cores, on, moves, 0)
    n_before = n
    for b in range(len(buckets)):
        if to[b] != queues[buckets[b].queue].core:
            n = put(moves, n, BUCKET_TO_QUEUE, b, queue_of_core(cores, queues, to[b]))
    moved = n > n_before
    n = switch_off(cores, on, moves, n)
    imbalance = 0.0
    for c in range(len(cores)):
        if on[c] == 1:
            imbalance += abs(load[c] - mean)
    if imbalance > 0.4:
        memory[1] = _LEAST_NS
    elif imbalance > 0.2:
        memory[1] = max(_LEAST_NS, memory[1] / 2)
    elif not moved:
        memory[1] = min(_MOST_NS, memory[1] * 2)
    memory[0], memory[2] = now_ns + memory[1], now_ns
    for b in range(len(buckets)):
        buckets[b].own = 0.0
    for c in range(len(cores)):
        cores[c].own = 0.0
    return n


@helper
def _measured(cores: Any, queues: Any, buckets: Any, span_ns: float) -> Any:
    """Return loads of cores by their busy time, and of buckets by their part of the packets."""
    load, packets = np.zeros(len(cores)), np.zeros(len(cores))
    loads = np.zeros(len(buckets))
    for c in range(len(cores)):
        load[c] = cores[c].own / max(span_ns, 1.0)
    for b in range(len(buckets)):
        packets[queues[buckets[b].queue].core] += buckets[b].own
    for b in range(len(buckets)):
        c = queues[buckets[b].queue].core
        loads[b] = load[c] * buckets[b].own / max(packets[c], 1.0)
    return load, loads


@helper
def _cores(cores: Any, load: Any) -> int:
    n_on = count_on(cores)
    spare = _TARGET * n_on - load.sum()
    variance = 0.0
    for c in range(len(cores)):
        if cores[c].on == 1:
            variance += (load[c] - load.sum() / n_on) ** 2 / n_on
    if spare > 1.0 + (1.0 - _TARGET) + variance:
        return n_on - 1
    return n_on + 1 if spare < _ADD_BELOW else n_on
