# SPDX-License-Identifier: Apache-2.0
"""After the fast-path cores of TAS (Kaufmann et al., EuroSys 2019)."""

from __future__ import annotations

from typing import Any

from .decorator import policy
from .shared import count_on, idle_cores, resize

_GAIN = 1 / 8
_PERIOD_NS = 10_000_000
_HOLD_PERIODS = 10
_IDLE_DOWN, _IDLE_UP = 1.25, 0.2


@policy(limits="none")
def tas(
    figures: Any, cores: Any, queues: Any, buckets: Any, flows: Any, memory: Any, moves: Any
) -> int:
    """A core more or less by smoothed idle time; buckets are dealt by their number."""
    # memory: 0 smoothed idle cores, 1 when to decide, 2 not before that, 3 there was a call
    now_ns = figures[0].now_ns
    if memory[3] == 0.0:
        memory[0] = idle_cores(cores)
        memory[3] = 1.0
    if now_ns < memory[1]:
        return 0
    memory[1] = now_ns + _PERIOD_NS
    memory[0] += _GAIN * (idle_cores(cores) - memory[0])
    n_on = count_on(cores)
    wanted = n_on
    if now_ns >= memory[2]:
        if memory[0] > _IDLE_DOWN:
            wanted = n_on - 1
        elif memory[0] < _IDLE_UP:
            wanted = n_on + 1
    wanted = max(figures[0].cores_min, min(wanted, figures[0].cores_max))
    if wanted == n_on:
        return 0
    memory[0] += wanted - n_on
    memory[2] = now_ns + _HOLD_PERIODS * _PERIOD_NS
    return resize(figures, cores, queues, buckets, moves, wanted)
