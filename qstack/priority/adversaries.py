# SPDX-License-Identifier: Apache-2.0
"""Honest urgent clients beside somebody who means harm: what their tail becomes, and what tells."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .options import Options, Progress
from .programs import HIGH_PORT, LOW_PORT, Wire, load, qstack_server, wire
from .run import capacity_of, qstack_subject

_URGENT_MARK, _POISON_MARK = 1, 2
_FLOOD = 1.5
"""Of the capacity."""
_RATE_BYTES = 600
"""Of each source, for every request of all honest ones in the same time: one asks 200 B, is
answered 146 B, and what else is counted is less than 250 B; there are three honest sources."""
_SLEEP_MS = 10_000
_POISON_PER_SECOND = 500
_QUANTILES = ("p50", "p99", "p999")


@dataclass(frozen=True, kw_only=True, slots=True)
class Adversary:
    """Somebody who means harm.

    Attributes:
        does: In words.
        mode: Of the honest urgent requests, "connections" or "messages".
        load: Options of qs-priority-load, of the capacity; they name its connections.
        server: Options of qs-priority-server, of the honest urgent requests a second.
        without: Of these options of the server the effect is shown, by a run without them.
        tells: Counters by name: where they are in what server and load print.
    """

    does: str
    mode: str
    load: Callable[[float], dict[str, object]]
    tells: Mapping[str, tuple[str, ...]]
    server: Callable[[float], tuple[str, ...]] = lambda _: ()
    without: bool = False


def _asks(
    conns: int, rate: float, *, port: int = LOW_PORT, mark: int = _POISON_MARK, deaf: bool = False
) -> dict[str, object]:
    asks: dict[str, object] = {
        "adversary_conns": conns,
        "adversary_rate": rate,
        "adversary_port": port,
        "adversary_mark": mark,
    }
    return {**asks, "adversary_deaf": True} if deaf else asks


_CLASSIFIER = {
    "interrupted": ("server", "classifier", "interrupted"),
    "set_aside": ("server", "classifier", "set_aside"),
    "unclassified": ("server", "classes", "0", "unclassified"),
}

ADVERSARIES: Mapping[str, Adversary] = {
    "classifier-loops": Adversary(
        does="sends messages at which the classifier does not return",
        mode="messages",
        load=lambda _: _asks(4, _POISON_PER_SECOND),
        server=lambda _: ("--classifier", "loops"),
        tells=_CLASSIFIER,
    ),
    "classifier-crashes": Adversary(
        does="sends messages at which the classifier crashes",
        mode="messages",
        load=lambda _: _asks(4, _POISON_PER_SECOND),
        server=lambda _: ("--classifier", "crashes"),
        tells=_CLASSIFIER,
    ),
    "urgent-flood": Adversary(
        does=f"asks {_FLOOD} times the capacity of the urgent port",
        mode="connections",
        load=lambda capacity: _asks(8, _FLOOD * capacity, port=HIGH_PORT, mark=_URGENT_MARK),
        server=lambda urgent: ("--source-rate", str(max(1000, round(_RATE_BYTES * urgent)))),
        without=True,
        tells={"capped": ("server", "classes", "7", "capped")},
    ),
    "never-reads": Adversary(
        does="asks and does not read what is answered",
        mode="connections",
        load=lambda capacity: _asks(16, capacity / 4, deaf=True),
        tells={"window_probes": ("server", "counters", "window_probes")},
    ),
    "handler-sleeps": Adversary(
        does=f"asks what makes the default class's handler sleep {_SLEEP_MS // 1000} s",
        mode="connections",
        load=lambda _: _asks(4, 10),
        server=lambda _: ("--apps", "--sleep-ms", str(_SLEEP_MS)),
        tells={"unanswered": ("load", "adversary", "unanswered")},
    ),
}
"""By name, as ``--adversary`` takes it."""


def _quantiles(document: Mapping[str, Any]) -> dict[str, Any]:
    urgent = document["urgent"]
    return {
        **{f"urgent_{q}_us": urgent[f"{q}_us"] for q in _QUANTILES},
        "urgent_offered": urgent["offered"],
        "urgent_lost": urgent["offered"] - urgent["answered"],
    }


def _counter(printed: Mapping[str, Any], path: Sequence[str]) -> int:
    value: Any = printed
    for name in path:
        value = value[name]
    return int(value)


def _round(at: Wire, adversary: Adversary, options: Options, capacity: float) -> dict[str, Any]:
    messages = adversary.mode == "messages"
    urgent_rate = capacity * options.urgent_percent / 100
    honest: dict[str, object] = {"rate": urgent_rate, "urgent_percent": 100}
    if messages:
        honest["messages"] = True
    args = adversary.server(urgent_rate)

    def point(args: Sequence[str], **harm: object) -> tuple[dict[str, Any], dict[str, Any]]:
        with qstack_server(at, options, priority=True, messages=messages, more=args) as server:
            document = load(at, options, **honest, **harm)
        printed = {"load": document, "server": server.counters}
        return {**_quantiles(document), "adversary": document["adversary"]}, printed

    harm = adversary.load(capacity)
    points = {"alone": point(args)[0]}
    points["beside"], printed = point(args, **harm)
    if adversary.without:
        points["without_limit"] = point((), **harm)[0]
    return {
        "capacity_per_second": capacity,
        "points": points,
        "counters": {name: _counter(printed, path) for name, path in adversary.tells.items()},
    }


def summarize(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of an adversary over all rounds: medians, and sums of what is counted.

    Args:
        rounds: ``capacity_per_second``, ``points`` by name, and ``counters``, each.
    """
    names = list(rounds[0]["points"])

    def medians(figure: str) -> dict[str, float]:
        return {
            name: statistics.median(one["points"][name][figure] for one in rounds) for name in names
        }

    def ratios(figure: str) -> dict[str, float]:
        return {
            name: statistics.median(
                one["points"][name][figure] / one["points"]["alone"][figure] for one in rounds
            )
            for name in names
            if name != "alone"
        }

    return {
        "capacity_per_second": statistics.median(one["capacity_per_second"] for one in rounds),
        **{f"urgent_{q}_us": medians(f"urgent_{q}_us") for q in _QUANTILES},
        **{f"ratio_{q}": ratios(f"urgent_{q}_us") for q in _QUANTILES},
        "urgent_lost": sum(one["points"][name]["urgent_lost"] for one in rounds for name in names),
        "adversary_sent": sum(one["points"]["beside"]["adversary"]["sent"] for one in rounds),
        "counters": {
            name: sum(one["counters"][name] for one in rounds) for name in rounds[0]["counters"]
        },
        "rounds": rounds,
    }


def run_adversaries(options: Options, names: Sequence[str], progress: Progress) -> dict[str, Any]:
    """Measure honest urgent clients alone and beside each adversary, in memory.

    Args:
        options: As of the measurement without adversaries; a default class asks nothing.
        names: Of ADVERSARIES.
        progress: Called before each round.

    Returns:
        The document of ``qstack bench priority --adversary --json``.

    Raises:
        QStackError: Something could not be set up or ended early.
    """
    found = {}
    capacities: dict[tuple[str, int], float] = {}

    def capacity(mode: str, n: int) -> float:
        if (mode, n) not in capacities:
            subject = qstack_subject(options, mode, flat=False)
            capacities[mode, n] = capacity_of(at, subject, options)
        return capacities[mode, n]

    n_steps = len(names) * options.rounds
    with wire("pair") as at:
        for i, name in enumerate(names):
            adversary, rounds = ADVERSARIES[name], []
            for n in range(options.rounds):
                what = f"{name}, round {n + 1} of {options.rounds}"
                progress(what, (i * options.rounds + n) / n_steps)
                again = replace(options, seed=options.seed + n)
                rounds.append(_round(at, adversary, again, capacity(adversary.mode, n)))
            found[name] = {
                "does": adversary.does,
                "mode": adversary.mode,
                **summarize(rounds),
            }
    return {
        "driver": "pair",
        "kernel_release": os.uname().release,
        "connections": options.connections,
        "urgent_percent": options.urgent_percent,
        "work_ns": options.work_ns,
        "seconds": options.seconds,
        "seed": options.seed,
        "adversaries": found,
    }
