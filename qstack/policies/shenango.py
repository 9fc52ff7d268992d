# SPDX-License-Identifier: Apache-2.0
"""After the congestion signal of Shenango (Ousterhout et al., NSDI 2019)."""

from __future__ import annotations

from typing import Any

from .decorator import policy
from .shared import count_on, resize

_BUSY_LEAST = 0.05


@policy(limits="none")
def shenango(
    figures: Any, cores: Any, queues: Any, buckets: Any, flows: Any, memory: Any, moves: Any
) -> int:
    """A core more when a packet waited since the last look; less when one found nothing to do.

    Buckets are dealt by their number.
    """
    n_on = count_on(cores)
    congested, idle = False, False
    for c in range(len(cores)):
        if cores[c].on == 1:
            congested |= cores[c].delay_ns > figures[0].period_ns
            idle |= cores[c].busy < _BUSY_LEAST
    wanted = n_on
    if congested:
        wanted = n_on + 1
    elif idle:
        wanted = n_on - 1
    wanted = max(figures[0].cores_min, min(wanted, figures[0].cores_max))
    if wanted == n_on:
        return 0
    return resize(figures, cores, queues, buckets, moves, wanted)
