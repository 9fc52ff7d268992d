# SPDX-License-Identifier: Apache-2.0
"""Two engines in virtual time and a wire between them whose faults a test chooses."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Unpack

from qstack.testing import Engine, EngineOptions

ADDR4 = ("10.0.0.1", "10.0.0.2")
ADDR6 = ("fd00::1", "fd00::2")
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
DELAY_NS = 5_000_000

Fate = Callable[[], tuple[int, ...]]
"""Extra delays in nanoseconds of each copy of a frame that arrives; none: it is lost."""


class EnginePair:
    """Engines 0 and 1. Frames take 5 ms and what ``fate`` adds; neighbours are told."""

    def __init__(self, fate: Fate = lambda: (0,), **options: Unpack[EngineOptions]) -> None:
        self.fate = fate
        self.engines = tuple(
            Engine(
                f"{ADDR4[side]}/24",
                f"{ADDR6[side]}/64",
                mac=MACS[side],
                seed=side,
                neighbours={ADDR4[1 - side]: MACS[1 - side], ADDR6[1 - side]: MACS[1 - side]},
                **options,
            )
            for side in (0, 1)
        )
        self.now_ns = self.engines[0].now_ns
        self._wire: list[tuple[int, int, int, bytes]] = []
        self._n_frames = 0

    def close(self) -> None:
        for engine in self.engines:
            engine.close()

    def next_ns(self) -> int | None:
        """When something happens next, or None for never."""
        times = [e.deadline_ns for e in self.engines] + [f[0] for f in self._wire[:1]]
        return min((t for t in times if t is not None), default=None)

    def _transmit(self) -> None:
        for side, engine in enumerate(self.engines):
            for frame in engine.tx(self.now_ns):
                for extra_ns in self.fate():
                    due_ns = self.now_ns + DELAY_NS + extra_ns
                    self._n_frames += 1
                    heapq.heappush(self._wire, (due_ns, self._n_frames, 1 - side, frame))

    def step(self) -> bool:
        """Go on to what happens next; return whether there is anything."""
        next_ns = self.next_ns()
        if next_ns is None:
            return False
        self.now_ns = max(self.now_ns, next_ns)
        while self._wire and self._wire[0][0] <= self.now_ns:
            _, _, side, frame = heapq.heappop(self._wire)
            self.engines[side].rx(frame, self.now_ns)
        self._transmit()
        return True

    def run(self, for_ns: int) -> None:
        """Let everything happen that is due in the next ``for_ns``."""
        until_ns = self.now_ns + for_ns
        while (next_ns := self.next_ns()) is not None and next_ns <= until_ns:
            self.step()
        self.now_ns = until_ns
