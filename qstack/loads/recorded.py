# SPDX-License-Identifier: Apache-2.0
"""Frames that were counted on a server that ran, bucket by bucket: files of ``qstack record``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .sources import Block

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording import Recording


class Recorded:
    """Frames of a recording, evenly at random in their period; from the beginning when it is over.

    A bucket is one flow, whose hash is the bucket's number: how its frames were parts of flows is
    not known.
    """

    def __init__(self, random: np.random.Generator, recording: Recording) -> None:
        """Take a recording and the source of chance."""
        self._random = random
        self._frames = np.array(recording.frames, np.int64)
        self._ends_ns = (np.array(recording.ends_s) * 1e9).astype(np.int64)

    def block(self, from_ns: int, until_ns: int) -> Block:
        """Return what arrives then."""
        times, flows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        lap_ns = int(self._ends_ns[-1])
        for lap in range(from_ns // lap_ns, (until_ns - 1) // lap_ns + 1):
            self._add(times, flows, from_ns - lap * lap_ns, until_ns - lap * lap_ns, lap * lap_ns)
        n = self._frames.shape[1] if from_ns == 0 else 0
        return Block(
            until_ns=until_ns,
            hashes=np.arange(n, dtype=np.uint32),
            times_ns=np.concatenate(times),
            flows=np.concatenate(flows).astype(np.int32),
        )

    def _add(
        self, times: list[NDArray[Any]], flows: list[NDArray[Any]], begin: int, end: int, plus: int
    ) -> None:
        """Add the frames of one lap from ``begin`` to ``end``; of a period in part, as a part."""
        starts = np.concatenate([[0], self._ends_ns[:-1]])
        for row in np.flatnonzero((starts < end) & (self._ends_ns > begin)):
            start, stop = max(int(starts[row]), begin), min(int(self._ends_ns[row]), end)
            part = (stop - start) / (self._ends_ns[row] - starts[row])
            counts = self._frames[row]
            if part < 1:
                counts = self._random.binomial(counts, part)
            bucket = np.repeat(np.arange(len(counts)), counts)
            times.append(plus + self._random.integers(start, stop, len(bucket)))
            flows.append(bucket)
