# SPDX-License-Identifier: Apache-2.0
"""Published distributions of how large flows are, and draws from them.

The tables are numbers of the publications that each names; between their points a distribution is
straight over the logarithm of the size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MSS_BYTES: Final = 1448
"""Payload of a packet where a table is in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """A distribution of packets in a flow.

    Attributes:
        name: Of the table.
        source: Where it was published.
        table: (packets, percent of flows that have at most as many), both ascending, the last at
            100.
        means: By the index of a point, the mean between it and the next one, packets, where that is
            known: there it is the Pareto distribution with this mean between both.
    """

    name: str
    source: str
    table: tuple[tuple[float, float], ...]
    means: tuple[tuple[int, float], ...] = ()

    def quantile(self, part: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return packets, not rounded, for parts of the flows from 0 to 1."""
        sizes, percents = np.array(self.table).T
        result: NDArray[np.float64] = np.exp(np.interp(part * 100, percents, np.log(sizes)))
        for at, mean in self.means:
            low, high = float(sizes[at]), float(sizes[at + 1])
            begin, end = percents[at] / 100, percents[at + 1] / 100
            shape = _pareto_shape(low, high, mean)
            within = np.clip((part - begin) / (end - begin), 0.0, 1.0)
            pareto = low * (1 - within * (1 - (low / high) ** shape)) ** (-1 / shape)
            result = np.where((part > begin) & (part <= end), pareto, result)
        return result

    def draw(self, random: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Return packets of n flows, each at least 1.

        Stratified: one draw from each n-th part of the distribution, in random order. Of a heavy
        tail few flows are drawn in some seconds, and the load would be far from its rate.
        """
        parts = (random.permutation(n) + random.random(n)) / max(1, n)
        return np.maximum(1, np.ceil(self.quantile(parts) - 1e-9)).astype(np.int64)

    @property
    def mean(self) -> float:
        """Mean of packets in a flow."""
        parts = (np.arange(1_000_000) + 0.5) / 1_000_000
        return float(np.maximum(1, np.ceil(self.quantile(parts) - 1e-9)).mean())


def _pareto_mean(low: float, high: float, shape: float) -> float:
    if abs(shape - 1) < 1e-9:
        return low * math.log(high / low) / (1 - low / high)
    kept = 1 - (low / high) ** shape
    part = (shape / (shape - 1)) * (1 - (low / high) ** (shape - 1))
    mean: float = low * part / kept
    return mean


def _pareto_shape(low: float, high: float, mean: float) -> float:
    """Return the exponent of the bounded Pareto distribution that has this mean."""
    least, most = 0.01, 50.0  # the mean falls as the exponent grows
    for _ in range(100):
        middle = (least + most) / 2
        if _pareto_mean(low, high, middle) > mean:
            least = middle
        else:
            most = middle
    return (least + most) / 2


def _in_packets(table: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """Turn (bytes, percent) into (packets, percent)."""
    return tuple((max(1.0, size / MSS_BYTES), percent) for size, percent in table)


# Without the largest flow (4,425,709 and 4,415,866 packets), which loads have as one of their own.
# The tail's means follow from all packets over all flows: 28.36 million over 808,321, 104.5 million
# over 3.28 million.
CAMPUS: Final = Sizes(
    name="campus",
    source="RSS++ (Barbette et al., CoNEXT 2019): rsspp/experiments, packets of flows, one trace",
    table=(
        (1, 51.9), (2, 62.1), (3, 67.1), (4, 70.7), (5, 73.4), (6, 76.0), (7, 78.2), (8, 80.9),
        (9, 83.4), (10, 85.9), (12, 89.1), (15, 92.0), (20, 94.4), (27, 95.9), (35, 96.8),
        (50, 97.6), (64, 98.0), (109, 98.6), (184, 99.0), (320, 99.3), (518, 99.5), (738, 99.6),
        (1127, 99.7), (1955, 99.8), (4854, 99.9), (1_000_000, 100.0),
    ),
    means=((24, 16_200.0),),
)  # fmt: skip
CAMPUS4: Final = Sizes(
    name="campus4",
    source="RSS++ (Barbette et al., CoNEXT 2019): rsspp/experiments, four traces at once",
    table=(
        (1, 51.8), (2, 62.0), (3, 67.1), (4, 70.9), (5, 73.6), (6, 76.2), (7, 78.4), (8, 81.0),
        (9, 83.8), (10, 86.4), (12, 89.5), (15, 92.3), (20, 94.6), (27, 96.0), (35, 96.9),
        (50, 97.6), (63, 98.0), (106, 98.6), (181, 99.0), (316, 99.3), (521, 99.5), (729, 99.6),
        (1131, 99.7), (1870, 99.8), (4702, 99.9), (1_000_000, 100.0),
    ),
    means=((24, 17_350.0),),
)  # fmt: skip
WEBSEARCH: Final = Sizes(
    name="websearch",
    source="DCTCP (Alizadeh et al., SIGCOMM 2010), as in the traffic generator of HPCC",
    table=_in_packets((
        (1, 0), (10e3, 15), (20e3, 20), (30e3, 30), (50e3, 40), (80e3, 53), (200e3, 60),
        (1e6, 70), (2e6, 80), (5e6, 90), (10e6, 97), (30e6, 100),
    )),
)  # fmt: skip
AGH: Final = Sizes(
    name="agh",
    source="Jurkiewicz et al., flow-models: 4.03 billion flows of a campus in 30 days",
    # 47.8 % have one packet, and 0.61 % of the packets: a flow has 78.4 on average. 0.11 % have
    # more than 10,000, and 69.6 % of the packets: 49,600 each. That leaves 44.8 for those between.
    table=((1, 47.8), (10_000, 99.89), (10_000_000, 100.0)),
    means=((0, 44.3), (1, 49_600.0)),
)

TABLES: Final = {each.name: each for each in (CAMPUS, CAMPUS4, WEBSEARCH, AGH)}
