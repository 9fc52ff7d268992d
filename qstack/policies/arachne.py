# SPDX-License-Identifier: Apache-2.0
"""After the core estimator of Arachne (Qin et al., OSDI 2018)."""

from __future__ import annotations

from typing import Any

from .decorator import policy
from .shared import count_on, resize

_INTERVAL_NS = 50_000_000
_LOAD_FACTOR_UP = 1.5
_BUSY_MOST = 0.8
_SLACK = 0.09
_RAMP_UPS = 16  # memory[16 + n]: busy cores when n was left for n + 1


@policy(limits="none")
def arachne(
    figures: Any, cores: Any, queues: Any, buckets: Any, flows: Any, memory: Any, moves: Any
) -> int:
    """Cores by load factor and utilisation; goes down below what it went up at."""
    # memory: 0 when to decide, 1 calls since, 2 busy cores summed, 3 waiting packets summed
    now_ns = figures[0].now_ns
    for c in range(len(cores)):
        memory[2] += cores[c].busy
        memory[3] += cores[c].queued
    memory[1] += 1.0
    if now_ns < memory[0]:
        return 0
    busy, waiting = memory[2] / memory[1], memory[3] / memory[1]
    memory[0] = now_ns + _INTERVAL_NS
    memory[1] = memory[2] = memory[3] = 0.0
    n_on = count_on(cores)
    left_at = min(_RAMP_UPS + n_on, len(memory) - 1)
    wanted = n_on
    if (busy + waiting) / n_on > _LOAD_FACTOR_UP or busy > _BUSY_MOST * n_on:
        memory[left_at] = busy
        wanted = n_on + 1
    elif n_on > 1:
        came_at = memory[left_at - 1]
        if came_at == 0.0:
            came_at = _BUSY_MOST * (n_on - 1)
        if busy < came_at - _SLACK * n_on:
            wanted = n_on - 1
    wanted = max(figures[0].cores_min, min(wanted, figures[0].cores_max))
    if wanted == n_on:
        return 0
    return resize(figures, cores, queues, buckets, moves, wanted)
