# SPDX-License-Identifier: Apache-2.0
"""What a soak must show at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RSS_GROWTH_MOST = 16 << 20
"""Bytes that the server may grow after the warm-up: pages of pools that are touched late."""

MUST_RETURN = ("conns", "chunks")
"""Counters of now: half-open connections and TIME-WAIT are among the connections."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The server at one moment.

    Attributes:
        at_s: Seconds since the start.
        rss_bytes: Memory of its process.
        counters: Of its queues, summed.
    """

    at_s: float
    rss_bytes: int
    counters: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures that say how full it is."""
        now = {name: self.counters[name] for name in MUST_RETURN}
        return {"at_s": round(self.at_s, 1), "rss_bytes": self.rss_bytes, **now}


def problems(
    start: Sample, warm: Sample, end: Sample, clients: Mapping[str, Any], floods: Mapping[str, int]
) -> list[str]:
    """Return what does not hold, in words; nothing when the soak is passed.

    Args:
        start: Before the first connection.
        warm: After the warm-up, still under load.
        end: When everything has ended and what waits had its time.
        clients: Figures of the honest clients.
        floods: Hostile frames sent, by kind.
    """
    found = [
        f"{name}: {end.counters[name]} at the end, {start.counters[name]} at the start"
        for name in MUST_RETURN
        if end.counters[name] != start.counters[name]
    ]
    grown = end.rss_bytes - warm.rss_bytes
    if grown > RSS_GROWTH_MOST:
        found.append(f"memory grew by {grown >> 20} MiB after the warm-up")
    if clients["wrong"]:
        found.append(f"{clients['wrong']} honest connections went wrong: {clients['errors'][0]}")
    found += [f"no {name} at all" for name in ("short", "transfers") if not clients[name]]
    if not sum(floods.values()) - floods.get("not_sent", 0):
        found.append("no hostile frame was sent")
    if end.counters["syn_cookies_sent"] + end.counters["half_open_limit"] == 0:
        found.append("the flood of SYNs never reached a limit of half-open connections")
    return found
