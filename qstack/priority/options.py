# SPDX-License-Identifier: Apache-2.0
"""What the measurement can be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[str, float], None]
"""Called with what is going on and the part of it that is done, 0 to 1."""

MODES = ("connections", "messages")
"""Urgent connections of their own, or urgent messages on connections that all classes share."""

LOADS = (0.7, 1.0, 1.5)
"""Parts of the capacity that are offered; before them the urgent class alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What to measure.

    Attributes:
        driver: "pair" or "xsk".
        modes: Of MODES.
        connections: Of both classes; 5 % of them, and at least one, are urgent.
        urgent_percent: Of the requests.
        work_ns: That the server works for each answer.
        seconds: Of each load that count.
        warm_up_s: Before them.
        rounds: Figures are medians over so many.
        share_percent: Least share of the default class in the measurement of starvation.
        kernel: Measure the server on kernel TCP, too; needs the rights for "xsk".
        seed: Of the times at which requests are due.
    """

    driver: str = "pair"
    modes: tuple[str, ...] = MODES
    connections: int = 1000
    urgent_percent: float = 5
    work_ns: int = 1000
    seconds: float = 3
    warm_up_s: float = 0.5
    rounds: int = 5
    share_percent: int = 20
    kernel: bool = False
    seed: int = 1

    @property
    def urgent_connections(self) -> int:
        """Connections of the urgent class."""
        return max(1, round(self.connections * self.urgent_percent / 100))

    @property
    def default_connections(self) -> int:
        """Connections of the default class; with a single one they share nothing but the server."""
        return max(1, self.connections - self.urgent_connections)
