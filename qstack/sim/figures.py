# SPDX-License-Identifier: Apache-2.0
"""What is measured of a run, and what is made of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from . import engine
from .subject import Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray

_QUANTILES: Final = {"p50_us": 0.5, "p95_us": 0.95, "p99_us": 0.99, "p999_us": 0.999}
_ENOUGH: Final = 10_000
"""Packets of which a p99.9 is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of one policy under one load, after the warm-up.

    Attributes:
        imbalance_percent: (max - min) / min of packets that cores which were on served in a second;
            median over the seconds. None: no second was whole, or a core served nothing.
        imbalance_p95_percent: Likewise, 95th percentile.
        floor_percent: What the largest flow alone makes of it, when all cores are on and nobody
            splits flows; median over the seconds. None: cores may go off.
        peak_to_mean: Of the same packets, median. cv: Standard deviation to mean, median.
        p50_us, p95_us, p99_us, p999_us: Time that packets wait in a queue.
        p999_moving_us: Of those that were served in a period that began with moves; None: too few.
        p999_steady_us: Of the others.
        moves, steps: All moves, and calls that moved something.
        moves_per_step: The quotient, 0 without steps.
        moves_per_second: Of the load.
        arrived, served, lost, held, reordered, waiting: Packets; waiting ones at the end.
        core_seconds: Time that cores were on, or worked.
        decisions: Calls of the policy.
        set_aside: The policy was, and why.
    """

    imbalance_percent: float | None
    imbalance_p95_percent: float | None
    floor_percent: float | None
    peak_to_mean: float | None
    cv: float | None
    p50_us: float | None
    p95_us: float | None
    p99_us: float | None
    p999_us: float | None
    p999_moving_us: float | None
    p999_steady_us: float | None
    moves: int
    steps: int
    moves_per_step: float
    moves_per_second: float
    arrived: int
    served: int
    lost: int
    held: int
    reordered: int
    waiting: int
    core_seconds: float
    decisions: int
    set_aside: str

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def quantile_us(histogram: NDArray[np.int64], part: float) -> float | None:
    """Return the duration that this part of the packets did not exceed, or None without packets.

    Args:
        histogram: int64[HISTOGRAM_SIZE]; of nanoseconds, see ``engine.bin_of``.
        part: 0 to 1.
    """
    total = int(histogram.sum())
    if total == 0:
        return None
    at = int(np.searchsorted(np.cumsum(histogram), max(1, np.ceil(part * total))))
    return bin_middle_ns(at) / 1e3


def bin_middle_ns(at: int) -> float:
    """Return the middle of a part of a histogram."""
    if at < 2 * engine.STEPS:
        return float(at)
    exponent = at // engine.STEPS - 1
    return ((at - exponent * engine.STEPS) + 0.5) * 2.0**exponent


class Floor:
    """Follows the largest flow of each second."""

    def __init__(self) -> None:
        self._all = 0
        self._of: Counter[int] = Counter()
        self._parts: list[float] = []

    def begin(self) -> None:
        """Leave out what was until now."""
        self._all = 0
        self._of.clear()
        self._parts.clear()

    def after_period(self, heavy: NDArray[np.int64], counts: NDArray[np.int64], n: int) -> None:
        """Add heavy flows of a period and their packets, of n in all."""
        self._all += n
        for flow, count in zip(heavy.tolist(), counts.tolist(), strict=True):
            self._of[flow] += count

    def after_second(self) -> None:
        """Take a sample of the second that has just been."""
        if self._all:
            self._parts.append(max(self._of.values()) / self._all)
        self._all = 0
        self._of.clear()

    def percent(self, n_cores: int) -> float | None:
        """Return (max - min) / min of cores of which one has the largest flow alone, median."""
        if n_cores < 2 or not self._parts:
            return None
        part = float(np.median(self._parts))
        return max(0.0, 100 * (part * (n_cores - 1) / max(1e-9, 1 - part) - 1))


class Samples:
    """Follows a subject and counts from where it is told to begin."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._imbalance: list[float] = []
        self._peak: list[float] = []
        self._cv: list[float] = []
        self._served = np.zeros(subject.state.machine.cores, np.int64)
        self._start = self._now()
        self._on_all_the_time = subject.state.on.copy()

    def _now(self) -> dict[str, Any]:
        s = self._subject
        return {
            "count": s.state.arrays.counts.copy(),
            "waiting": s.state.waiting,
            "histogram": s.state.arrays.histogram.copy(),
            "core_ns": s.core_ns,
            "steps": s.steps,
            "moves": s.moves,
            "ns": s.now_ns,
        }

    def begin(self) -> None:
        """Leave out what was until now."""
        self._start = self._now()
        self._served[:] = 0
        self._on_all_the_time = self._subject.state.on.copy()
        self._imbalance.clear()
        self._peak.clear()
        self._cv.clear()

    def after_period(self) -> None:
        """Add what cores served in the period that has just been."""
        self._served += self._subject.state.arrays.cores["served"]
        self._on_all_the_time &= self._subject.state.on

    def after_second(self) -> None:
        """Take a sample of the second that has just been: of cores that were on all of it."""
        served = self._served[self._on_all_the_time]
        if len(served) and served.max() > 0:
            self._imbalance.append((served.max() - served.min()) / max(served.min(), 1e-9))
            self._peak.append(served.max() / served.mean())
            self._cv.append(served.std() / served.mean())
        self._served[:] = 0
        self._on_all_the_time = self._subject.state.on.copy()

    def figures(self, floor_percent: float | None) -> Figures:
        """Return the figures from the begin to now.

        Args:
            floor_percent: Of the load.
        """
        s, then, now = self._subject, self._start, self._now()
        counts = now["count"] - then["count"]
        histogram = now["histogram"] - then["histogram"]
        both = histogram.sum(axis=0)
        steps, moves = now["steps"] - then["steps"], now["moves"] - then["moves"]
        seconds = (now["ns"] - then["ns"]) / 1e9
        enough = histogram.sum(axis=1) >= _ENOUGH
        at_rest, moving = (
            quantile_us(histogram[i], 0.999) if enough[i] else None for i in range(2)
        )
        return Figures(
            imbalance_percent=_median(self._imbalance, 100, 0.5),
            imbalance_p95_percent=_median(self._imbalance, 100, 0.95),
            floor_percent=floor_percent,
            peak_to_mean=_median(self._peak, 1, 0.5),
            cv=_median(self._cv, 1, 0.5),
            **{name: quantile_us(both, part) for name, part in _QUANTILES.items()},
            p999_moving_us=moving,
            p999_steady_us=at_rest,
            moves=moves,
            steps=steps,
            moves_per_step=moves / steps if steps else 0.0,
            moves_per_second=moves / seconds if seconds else 0.0,
            arrived=int(counts[engine.ARRIVED]) + then["waiting"],
            served=int(counts[engine.SERVED]),
            lost=int(counts[engine.LOST]),
            held=int(counts[engine.HELD]),
            reordered=int(counts[engine.REORDERED]),
            waiting=s.state.waiting,
            core_seconds=(now["core_ns"] - then["core_ns"]) / 1e9,
            decisions=s.watchdog.counters.decisions,
            set_aside=s.watchdog.counters.why,
        )


def _median(values: list[float], scale: float, part: float) -> float | None:
    if not values:
        return None
    value = float(np.quantile(values, part)) * scale
    return value if value < 1e9 else None
