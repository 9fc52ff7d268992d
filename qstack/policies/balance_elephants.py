# SPDX-License-Identifier: Apache-2.0
"""Of ``balance``: flows with a core's fair share have rules."""

from __future__ import annotations

from typing import Any

from .balance_capacity import all_capacity, loads_of_cores
from .contract import FLOW_TO_QUEUE
from .decorator import helper
from .shared import put

_ELEPHANT = 0.9  # of a core's fair share: a flow with that gets a rule
_NO_ELEPHANT = 0.5


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
