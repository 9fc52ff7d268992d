# SPDX-License-Identifier: Apache-2.0
"""Where packets come from: flows that stay and flows that come and go.

A source makes the packets of one block of time after the other. What it draws depends on its seed
and the blocks asked for, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .sizes import Sizes
from .steering import random_hashes

Profile = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Takes seconds since the begin, returns how many times its usual rate a source has then."""

_BIN_NS = 1_000_000
_LINE_PPS = 77_700.0  # what the largest flow of the campus trace had
_TYPICAL_S = 2.0
_TYPICAL_PACKETS = 27.0
_LONGEST_S = 57.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Packets of some time.

    Attributes:
        hashes: uint32[n]; of flows that are new. Flows are numbered from 0 in their order.
        times_ns: int64[m]; not in order.
        flows: int32[m]; whose packets these are.
        until_ns: End of that time.
    """

    until_ns: int

    hashes: NDArray[np.uint32]
    times_ns: NDArray[np.int64]
    flows: NDArray[np.int32]


class Source(Protocol):
    """Makes packets."""

    def block(self, from_ns: int, until_ns: int) -> Block:
        """Return what arrives then; blocks follow each other without gaps."""


def always(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """The usual rate."""
    return np.ones_like(t)


class Population:
    """A number of flows that stay, each with its part of the packets, which come at random."""

    def __init__(
        self, random: np.random.Generator, *, hashes: NDArray[np.uint32],
        weights: NDArray[np.float64], pps: float, profile: Profile = always,
    ) -> None:  # fmt: skip
        """Make it.

        Args:
            random: The source of chance.
            hashes: uint32[n].
            weights: float64[n], in any unit.
            pps: Packets per second of all of them at the usual rate.
            profile: Of the rate.
        """
        self._random = random
        self._hashes = hashes
        self._parts = np.cumsum(weights) / np.sum(weights)
        self._pps = pps
        self._profile = profile

    def block(self, from_ns: int, until_ns: int) -> Block:
        """Return what arrives then."""
        bins = np.arange(from_ns, until_ns, _BIN_NS)
        widths = np.minimum(bins + _BIN_NS, until_ns) - bins
        rate = self._pps * self._profile(bins / 1e9)
        counts = self._random.poisson(rate * widths / 1e9)
        n = int(counts.sum())
        within = self._random.random(n) * np.repeat(widths, counts)
        times = np.repeat(bins, counts) + within.astype(np.int64)
        flows = np.searchsorted(self._parts, self._random.random(n), side="right")
        new, self._hashes = self._hashes, self._hashes[:0]
        return Block(
            until_ns=until_ns,
            hashes=new,
            times_ns=times,
            flows=np.minimum(flows, len(self._parts) - 1).astype(np.int32),
        )


class Churn:
    """Flows that come, have so many packets, spread evenly at random, and go.

    How long flows last is not in the published tables. Here those of up to 27 packets last 2 s on
    average, and larger ones longer by the fourth root of their size, at most 57 s; none is faster
    than 77,700 packets per second. It begins with the flows that had begun before.
    """

    def __init__(
        self, random: np.random.Generator, *, sizes: Sizes, pps: float, profile: Profile = always
    ) -> None:
        """Make it.

        Args:
            random: The source of chance.
            sizes: Of flows.
            pps: Packets per second of all of them at the usual rate.
            profile: Of the rate at which flows come.
        """
        self._random = random
        self._sizes = sizes
        self._flows_per_s = pps / sizes.mean
        self._profile = profile
        self._n_flows = 0
        self._id = np.empty(0, np.int64)
        self._end_ns = np.empty(0, np.int64)
        self._left = np.empty(0, np.int64)
        self._had_begun(round(_LONGEST_S * 1e9))

    def _drawn(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw n flows: packets, and how long they last in nanoseconds."""
        packets = self._sizes.draw(self._random, n)
        longer = np.maximum(1.0, packets / _TYPICAL_PACKETS) ** 0.25
        seconds = self._random.exponential(_TYPICAL_S, n) * longer
        seconds = np.maximum(np.minimum(seconds, _LONGEST_S), packets / _LINE_PPS)
        return packets, (np.where(packets == 1, 0.0, seconds) * 1e9).astype(np.int64)

    def _had_begun(self, before_ns: int) -> None:
        """Have the flows that began before time 0 and last, with what is left of them."""
        n = self._random.poisson(self._flows_per_s * before_ns / 1e9)
        packets, lasts_ns = self._drawn(n)
        age_ns = (self._random.random(n) * before_ns).astype(np.int64)
        alive = lasts_ns > age_ns
        end_ns = (lasts_ns - age_ns)[alive]
        self._left = self._random.binomial(packets[alive], end_ns / lasts_ns[alive])
        self._end_ns = end_ns
        self._id = np.arange(len(end_ns))
        self._n_flows = len(end_ns)
        self._known = 0

    def block(self, from_ns: int, until_ns: int) -> Block:
        """Return what arrives then."""
        starts = self._begin_ns(from_ns, until_ns)
        packets, lasts_ns = self._drawn(len(starts))
        begin = np.concatenate([np.full(len(self._id), from_ns), starts])
        self._id = np.concatenate([self._id, self._n_flows + np.arange(len(starts))])
        self._end_ns = np.concatenate([self._end_ns, starts + lasts_ns])
        self._left = np.concatenate([self._left, packets])
        self._n_flows += len(starts)
        span = np.maximum(1, np.minimum(self._end_ns, until_ns) - begin)
        part = np.clip(span / np.maximum(1, self._end_ns - begin), 0.0, 1.0)
        now = self._random.binomial(self._left, part)
        flows = np.repeat(self._id, now)
        within = self._random.random(len(flows)) * np.repeat(span, now)
        times = np.repeat(begin, now) + within.astype(np.int64)
        self._left = self._left - now
        goes_on = self._left > 0
        self._id, self._end_ns = self._id[goes_on], self._end_ns[goes_on]
        self._left = self._left[goes_on]
        new = random_hashes(self._random, self._n_flows - self._known)
        self._known = self._n_flows
        return Block(until_ns=until_ns, hashes=new, times_ns=times, flows=flows.astype(np.int32))

    def _begin_ns(self, from_ns: int, until_ns: int) -> NDArray[np.int64]:
        """Draw when flows begin: int64[n], from ``from_ns`` to below ``until_ns``."""
        bins = np.arange(from_ns, until_ns, _BIN_NS)
        widths = np.minimum(bins + _BIN_NS, until_ns) - bins
        rate = self._flows_per_s * self._profile(bins / 1e9)
        counts = self._random.poisson(rate * widths / 1e9)
        within = self._random.random(int(counts.sum())) * np.repeat(widths, counts)
        return np.repeat(bins, counts) + within.astype(np.int64)


class WithLargest:
    """Flows that come and go, and one that stays and has a fixed part of all packets."""

    def __init__(self, random: np.random.Generator, others: Source, *, part: float) -> None:
        """Make it.

        Args:
            random: The source of chance.
            others: The other flows.
            part: Of the packets, 0 to below 1.
        """
        self._random = random
        self._others = others
        self._to_others = part / (1 - part)
        self._hashes = random_hashes(random, 1)

    def block(self, from_ns: int, until_ns: int) -> Block:
        """Return what arrives then."""
        rest = self._others.block(from_ns, until_ns)
        n = self._random.poisson(len(rest.times_ns) * self._to_others)
        times = self._random.integers(from_ns, until_ns, n)
        new, self._hashes = self._hashes, self._hashes[:0]
        return Block(
            until_ns=until_ns,
            hashes=np.concatenate([new, rest.hashes]),
            times_ns=np.concatenate([times, rest.times_ns]),
            flows=np.concatenate([np.zeros(n, np.int32), rest.flows + np.int32(1)]),
        )
