# SPDX-License-Identifier: Apache-2.0
"""Figures of a transfer, of a cell over one or several wires, and of all cells."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .cells import Cell
from .transfer import Transfer

GOODPUT_LEAST = 0.9
"""QStack's goodput in a cell with loss, as a part of Linux's."""
RETRANSMITS_MOST = 1.3
"""QStack's segments sent again for each frame destroyed, as a multiple of Linux's."""

# How figures of a side over several wires become one.
_MEDIANS = ("seconds", "goodput_mbit", "retransmits_per_lost")
_SUMS = ("moved_bytes", "retransmits", "destroyed", "receiver_dropped")


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One transfer over the wire.

    Attributes:
        retransmits: Segments that the sender sent again.
        destroyed: Frames in the direction of the bytes that the wire took and did not deliver.
        receiver_dropped: Frames that it delivered and the receiver's device had no room for, such
            as a full ring of AF_XDP. They are sent again, too.
    """

    transfer: Transfer
    retransmits: int
    destroyed: int
    receiver_dropped: int

    @property
    def goodput_mbit(self) -> float | None:
        """Megabits a second, of what was moved in time; None when it got stuck or went wrong."""
        done = self.transfer
        if done.stuck or done.hash_ok is False or done.seconds <= 0:
            return None
        return done.moved_bytes * 8 / 1e6 / done.seconds

    @property
    def retransmits_per_lost(self) -> float | None:
        """Segments sent again for each frame that the wire destroyed; None when none was."""
        return self.retransmits / self.destroyed if self.destroyed else None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {
            **asdict(self.transfer),
            "goodput_mbit": self.goodput_mbit,
            "retransmits": self.retransmits,
            "destroyed": self.destroyed,
            "receiver_dropped": self.receiver_dropped,
            "retransmits_per_lost": self.retransmits_per_lost,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Wire:
    """Both transfers of a cell, over wires of the same seed."""

    seed: int
    qstack: Side
    linux: Side

    def as_dict(self) -> dict[str, Any]:
        """Return what one seed says, for JSON."""
        again = self.qstack.retransmits_per_lost, self.linux.retransmits_per_lost
        goodput = self.qstack.goodput_mbit, self.linux.goodput_mbit
        return {
            "seed": self.seed,
            "qstack_mbit_per_second": goodput[0],
            "linux_mbit_per_second": goodput[1],
            "ratio": _ratio(*goodput),
            "retransmits_ratio": _ratio(*again),
        }


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _median(values: Iterable[float | None]) -> float | None:
    """Return the median of the values that there are."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _over_wires(sides: Sequence[Side]) -> dict[str, Any]:
    """Return the figures of one side over all wires: of a single one they are its own."""
    figures = [side.as_dict() for side in sides]
    hashes = [side["hash_ok"] for side in figures]
    return {
        **{name: _median(side[name] for side in figures) for name in _MEDIANS},
        **{name: sum(side[name] for side in figures) for name in _SUMS},
        "finished": all(side["finished"] for side in figures),
        "hash_ok": False if False in hashes else None if None in hashes else True,
        "stuck": any(side["stuck"] for side in figures),
        "error": next((side["error"] for side in figures if side["error"]), None),
    }


def _path_of(cell: Cell) -> str:
    """Name a cell in one line, such as ``qstack active ipv6 mtu 1500 loss 1% 50ms sack reorder``.

    The first word is who sends; ``active`` is there when QStack opens the connection.
    """
    flags = ("sack", "timestamps", "ecn", "reorder", "duplicate")
    opens = ("active",) if cell.client == "qstack" else ()
    words = (cell.sender, *opens, f"ipv{cell.ip}", f"mtu {cell.mtu}", f"loss {cell.loss:g}%")
    return " ".join((*words, f"{cell.delay_ms}ms", *(f for f in flags if getattr(cell, f))))


def judge(cell: Cell, n_bytes: int, wires: Sequence[Wire]) -> dict[str, Any]:
    """Return a cell's settings and figures for JSON; of several wires, medians."""
    qstack = _over_wires([wire.qstack for wire in wires])
    linux = _over_wires([wire.linux for wire in wires])
    runs = [wire.as_dict() for wire in wires]
    return {
        "path": _path_of(cell),
        **asdict(cell),
        "bytes": n_bytes,
        "qstack_mbit_per_second": qstack["goodput_mbit"],
        "linux_mbit_per_second": linux["goodput_mbit"],
        "qstack": qstack,
        "linux": linux,
        "ratio": _median(run["ratio"] for run in runs),
        "retransmits_ratio": _median(run["retransmits_ratio"] for run in runs),
        "hash_ok": False not in (qstack["hash_ok"], linux["hash_ok"]),
        "stuck": qstack["stuck"] or linux["stuck"],
        "runs": runs,
    }


def beyond_limits(row: Mapping[str, Any]) -> bool:
    """With loss, it is too slow or sends too much again beside Linux; one wire may be bad luck."""
    ratio, again = row["ratio"], row["retransmits_ratio"]
    slow = ratio is not None and ratio < GOODPUT_LEAST
    return bool(row["loss"]) and (slow or (again is not None and again > RETRANSMITS_MOST))


def summary(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return counts over all cells, and medians and extremes over those with loss."""
    lossy = [cell for cell in cells if cell["loss"]]
    ratios = [cell["ratio"] for cell in lossy if cell["ratio"] is not None]
    again = [c["retransmits_ratio"] for c in lossy if c["retransmits_ratio"] is not None]
    return {
        "cells": len(cells),
        "wrong": sum(not cell["hash_ok"] for cell in cells),
        "stuck": sum(cell["stuck"] for cell in cells),
        "receiver_dropped": sum(cell["qstack"]["receiver_dropped"] for cell in cells),
        "unfinished": sum(not cell["qstack"]["finished"] for cell in cells),
        "cells_with_loss": len(lossy),
        "ratio_median": statistics.median(ratios) if ratios else None,
        "ratio_least": min(ratios, default=None),
        "ratio_too_low": sum(ratio < GOODPUT_LEAST for ratio in ratios),
        "retransmits_ratio_median": statistics.median(again) if again else None,
        "retransmits_ratio_most": max(again, default=None),
        "retransmits_ratio_too_high": sum(ratio > RETRANSMITS_MOST for ratio in again),
    }
