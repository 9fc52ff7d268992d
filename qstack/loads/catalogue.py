# SPDX-License-Identifier: Apache-2.0
"""The loads by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ..errors import ConfigError
from ..recording import read
from . import sizes
from .recorded import Recorded
from .sources import Block, Churn, Population, Profile, Source, WithLargest, always
from .steering import colliding_hashes, random_hashes

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FLOWS: Final = 100_000
_PPS: Final = 1_000_000.0
_SKEW: Final = 0.99
_CAMPUS_S: Final = 57.0
_LARGEST: Final = {"campus": 4_425_709, "campus4": 4_415_866}
_ALL: Final = {"campus": 28_360_000, "campus4": 104_500_000}
_BLOCK_NS: Final = 500_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a load is made for.

    Attributes:
        seconds: How long it lasts.
        queues: Of the machine, for who attacks one of them.
        seed: Of everything that is random.
    """

    seconds: float
    queues: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A load that can be generated.

    Attributes:
        name: In documents.
        about: One line.
        pps: Packets per second at the usual rate, of which the machine's cost of a packet is made.
        elastic: Cores may go off. Otherwise all are on, and balance is what is looked at.
        sources: Makes its sources.
    """

    name: str
    about: str
    pps: float
    elastic: bool
    sources: Callable[[Settings], list[Source]]

    def blocks(self, settings: Settings) -> Iterator[Block]:
        """Yield all packets in the order of time, in blocks; flows are numbered over all sources.

        The begins of blocks are multiples of 500 ms.
        """
        sources = self.sources(settings)
        numbers = [np.empty(0, np.int64) for _ in sources]  # of a source's flows
        n_flows, end_ns = 0, round(settings.seconds * 1e9)
        for from_ns in range(0, end_ns, _BLOCK_NS):
            parts = [s.block(from_ns, min(from_ns + _BLOCK_NS, end_ns)) for s in sources]
            for i, part in enumerate(parts):
                numbers[i] = np.append(numbers[i], n_flows + np.arange(len(part.hashes)))
                n_flows += len(part.hashes)
            times = np.concatenate([part.times_ns for part in parts])
            flows = np.concatenate(
                [own[part.flows] for own, part in zip(numbers, parts, strict=True)]
            )
            # One sort of whole numbers instead of two arrays by an index.
            packed = np.sort((times - from_ns) << 32 | flows)
            yield Block(
                until_ns=min(from_ns + _BLOCK_NS, end_ns),
                hashes=np.concatenate([part.hashes for part in parts]),
                times_ns=(packed >> 32) + from_ns,
                flows=(packed & 0xFFFF_FFFF).astype(np.int32),
            )


def _random(settings: Settings, source: int = 0) -> np.random.Generator:
    return np.random.default_rng([settings.seed, source])


def zipf_weights(n: int, skew: float) -> NDArray[np.float64]:
    """float64[n]: the parts of flows by their rank, summing to 1."""
    weights: NDArray[np.float64] = np.arange(1, n + 1, dtype=np.float64) ** -skew
    weights /= weights.sum()
    return weights


def _zipf(
    settings: Settings, *, pps: float = _PPS, profile: Profile = always, skew: float = _SKEW
) -> Source:
    random = _random(settings)
    return Population(
        random,
        hashes=random_hashes(random, _FLOWS),
        weights=zipf_weights(_FLOWS, skew),
        pps=pps,
        profile=profile,
    )


def _one_flow(settings: Settings, pps: float, profile: Profile = always) -> Source:
    random = _random(settings, 1)
    return Population(
        random, hashes=random_hashes(random, 1), weights=np.ones(1), pps=pps, profile=profile
    )


def _trace(table: sizes.Sizes) -> Load:
    """A campus trace of RSS++: its distribution, rate, and largest flow with its part always."""
    pps = _ALL[table.name] / _CAMPUS_S
    part = _LARGEST[table.name] / _ALL[table.name]
    return Load(
        name=table.name,
        about=f"flows of {table.source}; the largest has {100 * part:.1f} %",
        pps=pps,
        elastic=False,
        sources=lambda s: [
            WithLargest(
                _random(s, 1), Churn(_random(s), sizes=table, pps=(1 - part) * pps), part=part
            )
        ],
    )


def _churn(table: sizes.Sizes) -> Load:
    return Load(
        name=table.name,
        about=f"flows of {table.source}",
        pps=_PPS,
        elastic=False,
        sources=lambda s: [Churn(_random(s), sizes=table, pps=_PPS)],
    )


def _varying(name: str, about: str, profile: Callable[[float], Profile]) -> Load:
    return Load(
        name=name,
        about=about,
        pps=_PPS,
        elastic=True,
        sources=lambda s: [_zipf(s, profile=profile(s.seconds))],
    )


def _step(seconds: float) -> Profile:
    return lambda t: np.where((t >= seconds / 3) & (t < 2 * seconds / 3), 1.2, 0.4)


def _ramp(seconds: float) -> Profile:
    return lambda t: 0.2 + 1.0 * (1 - np.abs(2 * t / seconds - 1))


def _flash(seconds: float) -> Profile:
    def at(t: NDArray[np.float64]) -> NDArray[np.float64]:
        since = t - seconds / 3
        rise = np.clip(since / 0.1, 0.0, 1.0)
        return 0.4 + 1.0 * rise * np.exp(-np.maximum(0.0, since - 0.1) / (seconds / 6))

    return at


def _diurnal(seconds: float) -> Profile:
    return lambda t: 0.7 - 0.5 * np.cos(2 * np.pi * t / seconds)


def _elephant_sources(s: Settings) -> list[Source]:
    return [
        _zipf(s, pps=0.8 * _PPS, skew=0.9),
        _one_flow(s, 0.2 * _PPS, lambda t: np.where(t >= s.seconds / 3, 1.0, 0.0)),
    ]


def _adversarial_sources(s: Settings) -> list[Source]:
    random = _random(s, 1)
    attack = Population(
        random,
        hashes=colliding_hashes(random, 2000, modulus=s.queues, rest=0),
        weights=np.ones(2000),
        pps=0.3 * _PPS,
        profile=lambda t: np.where(t >= s.seconds / 3, 1.0, 0.0),
    )
    return [_zipf(s, pps=0.7 * _PPS, skew=0.9), attack]


_LOADS: Final = (
    _trace(sizes.CAMPUS4),
    _trace(sizes.CAMPUS),
    _churn(sizes.AGH),
    _churn(sizes.WEBSEARCH),
    Load(
        name="zipf",
        about=f"{_FLOWS:,} flows that stay, Zipf {_SKEW:g}",
        pps=_PPS,
        elastic=False,
        sources=lambda s: [_zipf(s)],
    ),
    Load(
        name="elephant",
        about="Zipf 0.9, and from a third of the time on a flow of 20 %",
        pps=_PPS,
        elastic=False,
        sources=_elephant_sources,
    ),
    Load(
        name="adversarial",
        about="Zipf 0.9, and from a third of the time on 30 % whose flows hash to one queue",
        pps=_PPS,
        elastic=False,
        sources=_adversarial_sources,
    ),
    _varying("step", "Zipf 0.99 at 0.4 times the usual rate, 1.2, 0.4", _step),
    _varying("ramp", "Zipf 0.99 from 0.2 times the usual rate to 1.2 and back", _ramp),
    _varying("flash", "Zipf 0.99 at 0.4 times the usual rate, a crowd to 1.4 in 100 ms", _flash),
    _varying("diurnal", "Zipf 0.99 between 0.2 and 1.2 times the usual rate, one day", _diurnal),
)

LOADS: Final = {each.name: each for each in _LOADS}


def find(name: str) -> Load:
    """Return a load: one that is generated, or the recording in a file ``NAME.json``.

    Raises:
        ConfigError: There is none of this name; or the file is no recording.
    """
    if name in LOADS:
        return LOADS[name]
    if not name.endswith(".json"):
        raise ConfigError(
            f"no load is called {name!r}; there are {', '.join(LOADS)},"
            " and FILE.json of 'qstack record'"
        )
    recording = read(Path(name))
    if recording.pps == 0:
        raise ConfigError(f"{name}: nothing came while it was recorded")
    return Load(
        name=name,
        about=f"recorded on {recording.device}, {recording.pps:,.0f} frames a second",
        pps=recording.pps,
        elastic=False,
        sources=lambda s: [Recorded(_random(s), recording)],
    )
