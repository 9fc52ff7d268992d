# SPDX-License-Identifier: Apache-2.0
"""Of ``balance``: buckets moved or swapped until loads are even."""

from __future__ import annotations

from typing import Any

import numpy as np

from .balance_candidates import best, by_core, candidates
from .balance_capacity import capacity, loads_of_cores
from .balance_smoothing import noise
from .contract import BUCKET_TO_QUEUE
from .decorator import helper
from .shared import put

_UNEVEN, _EVEN = 0.03, 0.005  # of the mean: packing begins above the one and ends below the other
_NOISE_BEGIN, _NOISE_END = 4.0, 1.0  # but in standard deviations of what is counted by chance
_WORTH = 0.002  # of the mean: what moves less is not moved


@helper
def pack(
    figures: Any, cores: Any, queues: Any, buckets: Any, queue_load: Any, at: Any, where: Any,
    usable: Any, memory: Any, moves: Any, n: int,
) -> int:  # fmt: skip
    """Even out cores by moves and swaps of buckets, fullest core with emptiest, while it helps."""
    load = loads_of_cores(queue_load, where, len(cores))
    can = np.empty(len(cores))
    for c in range(len(cores)):
        can[c] = capacity(figures, cores, usable, c)
    mean = load.sum() / can.sum()
    chance = noise(figures, buckets, can.sum())
    begins = max(_UNEVEN, _NOISE_BEGIN * chance) * mean
    ends = max(_EVEN, _NOISE_END * chance) * mean
    movable, begin = by_core(figures, buckets, at, where, len(cores))
    stuck = np.zeros(len(cores), np.int64)  # its load cannot be taken apart
    while n < len(moves):
        hot, cold = _extremes(load, can, stuck)
        if hot < 0 or hot == cold:
            break
        gap = load[hot] / can[hot] - load[cold] / can[cold]
        if gap <= (ends if memory[2] == 1.0 else begins):
            memory[2] = 0.0
            break
        memory[2] = 1.0
        shift = gap * can[hot] * can[cold] / (can[hot] + can[cold])
        from_hot = candidates(buckets, at, movable[begin[hot] : begin[hot + 1]])
        from_cold = candidates(buckets, at, movable[begin[cold] : begin[cold + 1]])
        one, other = best(buckets, from_hot, from_cold, shift, _WORTH * mean, n + 2 <= len(moves))
        if one < 0:
            stuck[hot] = 1
            continue
        n = _put_bucket(cores, queues, at, where, queue_load, buckets, moves, n, one, cold)
        load[hot] -= buckets[one].own
        load[cold] += buckets[one].own
        if other >= 0:
            n = _put_bucket(cores, queues, at, where, queue_load, buckets, moves, n, other, hot)
            load[hot] += buckets[other].own
            load[cold] -= buckets[other].own
    return n


@helper
def _extremes(load: Any, can: Any, stuck: Any) -> Any:
    """Return the fullest core that is not stuck and the emptiest, or (-1, -1)."""
    hot, cold = -1, -1
    for c in range(len(load)):
        if can[c] == 0.0:
            continue
        if cold < 0 or load[c] / can[c] < load[cold] / can[cold]:
            cold = c
        if stuck[c] == 0 and (hot < 0 or load[c] / can[c] > load[hot] / can[hot]):
            hot = c
    return hot, cold


@helper
def _put_bucket(
    cores: Any, queues: Any, at: Any, where: Any, queue_load: Any, buckets: Any, moves: Any, n: int,
    b: int, core: int,
) -> int:  # fmt: skip
    """Write the move of a bucket to the least loaded queue of a core, near memory first."""
    to = -1
    for q in range(len(queues)):
        if where[q] != core:
            continue
        near = queues[q].node == cores[core].node
        if to < 0 or (near, -queue_load[q]) > (
            queues[to].node == cores[core].node,
            -queue_load[to],
        ):
            to = q
    queue_load[at[b]] -= buckets[b].own
    queue_load[to] += buckets[b].own
    at[b] = to
    return put(moves, n, BUCKET_TO_QUEUE, b, to)
