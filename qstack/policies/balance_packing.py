# SPDX-License-Identifier: Apache-2.0
"""Of ``balance``: rules for elephants, and buckets moved or swapped until loads are even."""

from __future__ import annotations

from typing import Any

import numpy as np

from .balance_cores import all_capacity, capacity, loads_of_cores
from .contract import BUCKET_TO_QUEUE, FLOW_TO_QUEUE
from .decorator import helper
from .shared import put

_ELEPHANT = 0.9  # of a core's fair share: a flow with that gets a rule
_NO_ELEPHANT = 0.5
_UNEVEN, _EVEN = 0.03, 0.005  # of the mean: packing begins above the one and ends below the other
_WORTH = 0.002  # of the mean: what moves less is not moved
_CANDIDATES = 32


@helper
def isolate(
    figures: Any, cores: Any, queues: Any, flows: Any, queue_load: Any, where: Any, usable: Any,
    moves: Any, n: int,
) -> int:  # fmt: skip
    """Give elephants rules and take the rules of what is none any more."""
    f = figures[0]
    share = queue_load.sum() / all_capacity(figures, cores, usable)
    rules = f.rules_free
    for i in range(len(flows)):
        if flows[i].id < 0 or f.now_ns - flows[i].moved_ns < f.cooldown_ns or n == len(moves):
            continue
        if flows[i].queue < 0 and flows[i].own > _ELEPHANT * share and rules > 0:
            load = loads_of_cores(queue_load, where, len(cores))
            to = _emptiest_queue(queue_load, load, where, usable)
            n = put(moves, n, FLOW_TO_QUEUE, i, to)
            queue_load[to] += flows[i].own
            rules -= 1
        elif flows[i].queue >= 0 and flows[i].own < _NO_ELEPHANT * share:
            n = put(moves, n, FLOW_TO_QUEUE, i, -1)
    return n


@helper
def _emptiest_queue(queue_load: Any, load: Any, where: Any, usable: Any) -> int:
    """Return the queue with the least load on the core with the least."""
    best = -1
    for q in range(len(where)):
        if usable[where[q]] == 0:
            continue
        if (
            best < 0
            or load[where[q]] < load[where[best]]
            or (where[q] == where[best] and queue_load[q] < queue_load[best])
        ):
            best = q
    return best


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
    movable, begin = _by_core(figures, buckets, at, where, len(cores))
    stuck = np.zeros(len(cores), np.int64)  # its load cannot be taken apart
    while n < len(moves):
        hot, cold = _extremes(load, can, stuck)
        if hot < 0 or hot == cold:
            break
        gap = load[hot] / can[hot] - load[cold] / can[cold]
        if gap <= (_EVEN if memory[2] == 1.0 else _UNEVEN) * mean:
            memory[2] = 0.0
            break
        memory[2] = 1.0
        shift = gap * can[hot] * can[cold] / (can[hot] + can[cold])
        from_hot = _candidates(buckets, at, movable[begin[hot] : begin[hot + 1]])
        from_cold = _candidates(buckets, at, movable[begin[cold] : begin[cold + 1]])
        one, other = _best(buckets, from_hot, from_cold, shift, _WORTH * mean, n + 2 <= len(moves))
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
def _by_core(figures: Any, buckets: Any, at: Any, where: Any, n_cores: int) -> Any:
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
def _candidates(buckets: Any, at: Any, movable: Any) -> Any:
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
def _best(
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
