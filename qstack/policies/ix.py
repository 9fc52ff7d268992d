# SPDX-License-Identifier: Apache-2.0
"""After the control plane of IX (Prekas et al., SoCC 2015: energy proportionality)."""

from __future__ import annotations

from typing import Any

from .decorator import policy
from .shared import count_on, idle_cores, last_change_ns, resize

_QUEUED_UP, _QUEUED_DOWN = 32, 8
_IDLE_DOWN = 1.2
_UP_AFTER_UP_NS = 200_000_000
_UP_AFTER_DOWN_NS = 2_000_000_000
_DOWN_AFTER_NS = 4_000_000_000


@policy(limits="none")
def ix(
    figures: Any, cores: Any, queues: Any, buckets: Any, flows: Any, memory: Any, moves: Any
) -> int:
    """A ladder of cores by the length of queues; buckets are dealt by their number."""
    # memory: 0 was the last step up (1) or down (-1)
    now_ns = figures[0].now_ns
    n_on = count_on(cores)
    longest, total = 0, 0
    for c in range(len(cores)):
        longest = max(longest, cores[c].queued)
        total += cores[c].queued
    since_ns = now_ns - last_change_ns(cores)
    wait_ns = _UP_AFTER_DOWN_NS if memory[0] < 0.0 else _UP_AFTER_UP_NS
    wanted = n_on
    if longest > _QUEUED_UP and since_ns >= wait_ns:
        wanted = n_on + 1
    elif (
        total < _QUEUED_DOWN * n_on
        and idle_cores(cores) > _IDLE_DOWN
        and since_ns >= _DOWN_AFTER_NS
        and now_ns >= _DOWN_AFTER_NS
    ):
        wanted = n_on - 1
    wanted = max(figures[0].cores_min, min(wanted, figures[0].cores_max))
    if wanted == n_on:
        return 0
    memory[0] = wanted - n_on
    return resize(figures, cores, queues, buckets, moves, wanted)
