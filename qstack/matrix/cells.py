# SPDX-License-Identifier: Apache-2.0
"""Settings of a cell of the matrix, and which cells are run."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ..lab import IPV6_MTU_LEAST, Impairment

_REORDER_PERCENT = 1.0
_REORDER_US = 1000.0
_DUPLICATE_PERCENT = 1.0

# More than any window: the wire destroys frames by chance only.
_QUEUE_FRAMES = 1 << 16

# What a transfer is sized by: seconds that it should take Linux, and bounds on the rate.
_SECONDS = 2.5
_RATE_MOST = 25e6
_FRAMES_PER_SECOND = 20e3
_WINDOW_BYTES = 1 << 20
_SEGMENTS_LEAST = 200
_RTO_LEAST_S = 0.2  # Linux's


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One path and what both sides negotiate on it.

    Attributes:
        client: Who opens the connection; the server on the other side of the wire is Linux or
            QStack, respectively.
        sender: Who sends the bytes, likewise: an upload when it is the client.
        ip: IP version.
        mtu: Bytes of an IP packet.
        sack: Linux offers and takes SACK; so for the next two.
        loss: Percent of the frames of either direction.
        reorder: One frame in a hundred is held back for a millisecond.
        duplicate: One frame in a hundred comes twice.
        delay_ms: What the wire adds each way: half of the round trip.
    """

    client: Literal["qstack", "linux"]
    sender: Literal["qstack", "linux"]
    ip: Literal[4, 6]
    mtu: int
    sack: bool
    timestamps: bool
    ecn: bool
    loss: float
    reorder: bool
    duplicate: bool
    delay_ms: int

    @property
    def upload(self) -> bool:
        """The client sends the bytes."""
        return self.client == self.sender

    def impairment(self) -> Impairment:
        """Return what the wire does, either way."""
        return Impairment(
            loss=self.loss,
            duplicate=_DUPLICATE_PERCENT if self.duplicate else 0,
            reorder=_REORDER_PERCENT if self.reorder else 0,
            reorder_us=_REORDER_US,
            delay_us=self.delay_ms * 1000,
            queue_frames=_QUEUE_FRAMES,
        )

    def segment_bytes(self) -> int:
        """Return the payload of a full segment with timestamps."""
        return self.mtu - (72 if self.ip == 6 else 52)

    def transfer_bytes(self) -> int:
        """Return how much is sent, so that Linux takes some seconds.

        The rate at a loss is that of Padhye et al., "Modeling TCP Throughput: A Simple Model and
        its Empirical Validation" (1998), which counts timeouts in.
        """
        segment = self.segment_bytes()
        round_trip_s = 2 * self.delay_ms / 1000
        rates = [_RATE_MOST, _FRAMES_PER_SECOND * segment, _WINDOW_BYTES / round_trip_s]
        if p := self.loss / 100:
            timeout_s = _RTO_LEAST_S + round_trip_s
            timeouts = min(1, 3 * (3 * p / 8) ** 0.5) * p * (1 + 32 * p**2)
            rates.append(segment / (round_trip_s * (2 * p / 3) ** 0.5 + timeout_s * timeouts))
        return max(int(_SECONDS * min(rates)), _SEGMENTS_LEAST * segment)

    def settings(self) -> tuple[tuple[str, Any], ...]:
        """Return (name, value) of each setting."""
        return tuple(asdict(self).items())

    def pairs(self) -> frozenset[tuple[tuple[str, Any], tuple[str, Any]]]:
        """Return every pair of settings that the cell has."""
        return frozenset(itertools.combinations(self.settings(), 2))

    def __str__(self) -> str:
        parts = [
            f"{self.client} connects",
            f"{self.sender} sends",
            f"IPv{self.ip}",
            f"MTU {self.mtu}",
        ]
        parts += [f"{self.loss:g} % lost", f"{self.delay_ms} ms"]
        named = ("sack", "timestamps", "ecn", "reorder", "duplicate")
        parts += [name for name in named if getattr(self, name)]
        return ", ".join(parts)


def every_cell() -> list[Cell]:
    """Return the full matrix; IPv6 does not go with an MTU of 576."""
    choice = (False, True)
    product = itertools.product(
        ("qstack", "linux"),
        ("qstack", "linux"),
        (4, 6),
        (576, 1280, 1500, 9000),
        *(choice, choice, choice),
        (0, 0.1, 1, 5),
        *(choice, choice),
        (1, 50),
    )
    names = [field.name for field in fields(Cell)]
    every: list[dict[str, Any]] = [dict(zip(names, values, strict=True)) for values in product]
    cells = [Cell(**settings) for settings in every]
    return [cell for cell in cells if cell.ip == 4 or cell.mtu >= IPV6_MTU_LEAST]


def all_pairs(cells: Iterable[Cell]) -> list[Cell]:
    """Return few of the cells that have, together, every pair of settings that all of them have.

    Greedy: each is the one with the most pairs that are new. Always the same ones; of equals any
    may be it, so that settings which no pair asks for are mixed.
    """
    mixed = list(cells)
    random.Random(0).shuffle(mixed)
    pairs = {cell: cell.pairs() for cell in mixed}
    left = frozenset[Any]().union(*pairs.values())
    chosen = []
    while left:
        best = max(pairs, key=lambda cell: len(pairs[cell] & left))
        chosen.append(best)
        left -= pairs[best]
    return chosen


def sample(cells: list[Cell], n: int, seed: int) -> list[Cell]:
    """Return `n` of the cells, or all when there are fewer, in their order."""
    chosen = set(random.Random(seed).sample(range(len(cells)), min(n, len(cells))))
    return [cell for i, cell in enumerate(cells) if i in chosen]
