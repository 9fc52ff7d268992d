# SPDX-License-Identifier: Apache-2.0
"""Of ``balance``: loads that do not follow chance."""

from __future__ import annotations

from typing import Any

import numpy as np

from .decorator import helper

_SMOOTH_NS = 100_000_000  # loads are averages over about so long
_JUMP = 0.1  # a change by so many cores is one, and counts at once


@helper
def smooth(figures: Any, buckets: Any, flows: Any, memory: Any) -> None:
    """Bring ``own`` of buckets and flows up to date: their smoothed load."""
    gain = min(1.0, figures[0].period_ns / _SMOOTH_NS)
    if memory[0] == 0.0:
        gain = 1.0
    memory[0] = 1.0
    for b in range(len(buckets)):
        buckets[b].own = _smoothed(buckets[b].own, buckets[b].load, gain)
    for f in range(len(flows)):
        flows[f].own = _smoothed(flows[f].own, flows[f].load, gain)


@helper
def _smoothed(before: float, now: float, gain: float) -> float:
    if abs(now - before) > _JUMP:
        return now
    return before + gain * (now - before)


@helper
def noise(figures: Any, buckets: Any, n_cores: float) -> float:
    """Return the standard deviation of smoothed loads of cores to their mean, by chance alone."""
    packets = 1.0
    for b in range(len(buckets)):
        packets += buckets[b].packets
    per_core = packets / n_cores * max(1.0, _SMOOTH_NS / figures[0].period_ns)
    return float(1.0 / np.sqrt(per_core))
