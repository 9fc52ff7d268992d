# SPDX-License-Identifier: Apache-2.0
"""Where requests spend their time: figures of the C library's histograms (``qs_residency.h``)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from ._native import ffi, lib

BUCKETS: int = lib.QS_RESIDENCY_BUCKETS
_QUANTILES = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999}
_BOUNDS_NS = [lib.qs_residency_bound_ns(i) for i in range(BUCKETS + 1)]


def _texts() -> dict[str, str]:
    def text(of: object) -> str:
        return ffi.string(of).decode("ascii")

    stages = range(lib.QS_N_STAGES)
    return {text(lib.qs_stage_name(i)): text(lib.qs_stage_text(i)) for i in stages}


STAGES = _texts()
"""What each stage of a request is, by its name, in their order."""

TIMELINE = ("event", "answer", "transmit")
"""Where a single request waited, one after the other."""


def figures(counts: Sequence[int]) -> dict[str, float]:
    """Return what a histogram says.

    Args:
        counts: Of `BUCKETS` buckets.

    Returns:
        ``count``, and unless that is 0 ``p50_us``, ``p99_us``, ``p999_us`` and ``max_us``, which
        are at most 12.5 % above the true ones.
    """
    sums = list(accumulate(counts))
    total = sums[-1]
    found: dict[str, float] = {"count": total}
    if total == 0:
        return found
    for name, part in _QUANTILES.items():
        bucket = next(i for i, below in enumerate(sums) if below >= part * total)
        found[name] = _BOUNDS_NS[bucket + 1] / 1e3
    found["max_us"] = _BOUNDS_NS[max(i for i, n in enumerate(counts) if n) + 1] / 1e3
    return found
