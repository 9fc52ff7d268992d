# SPDX-License-Identifier: Apache-2.0
"""The measurement: capacity first, then the urgent class alone and beside growing loads."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from .options import LOADS, Options, Progress
from .programs import Server, Wire, kernel_server, load, qstack_server, wire

_CAPACITY_S = 1.5
_SHED = ("shed_backlog", "shed_conns", "shed_chunks")
_BUSY_POLL_US = 50
_STARVING, _STARVING_URGENT_PERCENT = 1.6, 70  # 1.12 and 0.48 times the capacity

StartServer = Callable[[Wire], AbstractContextManager[Server]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A server that is measured.

    Attributes:
        name: In messages.
        start: Runs it.
        flat: The load has no classes either.
        messages: Each connection has requests of both classes.
    """

    name: str
    start: StartServer
    flat: bool = False
    messages: bool = False


def _how(subject: Subject) -> dict[str, object]:
    how = {"flat": subject.flat, "messages": subject.messages}
    return {name: True for name, given in how.items() if given}


def capacity_of(at: Wire, subject: Subject, options: Options) -> float:
    """Return requests a second that it answers when each connection has some under way."""
    short = replace(options, seconds=_CAPACITY_S)
    window = max(1, 256 // options.default_connections)
    with subject.start(at):
        closed = load(at, short, rate=0, window=window, high_conns=0, **_how(subject))
    rate: float = closed["default"]["answered_per_second"]
    return rate


def _points(
    at: Wire, subject: Subject, options: Options, capacity: float
) -> Iterator[tuple[str, dict[str, Any], Server]]:
    """Yield the name of each load, what the load measured and the server's counters."""
    urgent_rate = capacity * options.urgent_percent / 100
    with subject.start(at) as server:
        alone = load(at, options, rate=urgent_rate, urgent_percent=100, **_how(subject))
    yield "unloaded", alone, server
    for part in LOADS:
        with subject.start(at) as server:
            document = load(at, options, rate=part * capacity, **_how(subject))
        yield f"{part:.1f}", document, server


def _shed(server: Server) -> int | None:
    if server.counters is None:
        return None
    classes: dict[str, dict[str, int]] = server.counters["classes"]
    return sum(counters[name] for counters in classes.values() for name in _SHED)


def _point(document: dict[str, Any], server: Server) -> dict[str, Any]:
    urgent, default = document["urgent"], document["default"]
    return {
        **{f"urgent_{q}_us": urgent[f"{q}_us"] for q in ("p50", "p99", "p999")},
        **{f"default_{q}_us": default[f"{q}_us"] for q in ("p50", "p99", "p999")},
        "urgent_offered": urgent["offered"],
        "urgent_lost": urgent["offered"] - urgent["answered"],
        "default_answered_per_second": default["answered_per_second"],
        "default_unanswered": default["offered"] - default["answered"],
        "shed": _shed(server),
        "offer_late_max_us": urgent["offer_late_max_us"],
    }


def _round(at: Wire, subject: Subject, options: Options) -> dict[str, Any]:
    capacity = capacity_of(at, subject, options)
    points = {
        name: _point(document, server)
        for name, document, server in _points(at, subject, options, capacity)
    }
    return {"capacity_per_second": capacity, "points": points}


def _median(rounds: list[dict[str, Any]], point: str, figure: str) -> float | None:
    values = [one["points"][point][figure] for one in rounds]
    return None if None in values else statistics.median(values)


def summarize(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of a server over all rounds: medians, and sums of what was lost or shed.

    Args:
        rounds: ``capacity_per_second`` and ``points`` by name of the load, each.
    """
    names = list(rounds[0]["points"])

    def medians(figure: str) -> dict[str, float | None]:
        return {name: _median(rounds, name, figure) for name in names}

    p999 = medians("urgent_p999_us")
    sheds = [one["points"][name]["shed"] for one in rounds for name in names]
    ratios = [
        one["points"][names[-1]]["urgent_p999_us"] / one["points"]["unloaded"]["urgent_p999_us"]
        for one in rounds
    ]
    return {
        "capacity_per_second": statistics.median(one["capacity_per_second"] for one in rounds),
        "urgent_p50_us": medians("urgent_p50_us"),
        "urgent_p99_us": medians("urgent_p99_us"),
        "urgent_p999_us": p999,
        "default_p50_us": medians("default_p50_us"),
        "default_p999_us": medians("default_p999_us"),
        "default_answered_per_second": medians("default_answered_per_second"),
        "shed": None if None in sheds else sum(sheds),
        "urgent_lost": sum(one["points"][name]["urgent_lost"] for one in rounds for name in names),
        "ratio_overload_to_unloaded": statistics.median(ratios),
        "rounds": rounds,
    }


def _measure(
    at: Wire, subject: Subject, options: Options, tell: Callable[[str], None]
) -> dict[str, Any]:
    rounds = []
    for n in range(options.rounds):
        tell(f"{subject.name}, round {n + 1} of {options.rounds}")
        rounds.append(_round(at, subject, replace(options, seed=options.seed + n)))
    return summarize(rounds)


def qstack_subject(options: Options, mode: str, *, flat: bool) -> Subject:
    """Return the server on QStack, with classes or flat."""
    messages = mode == "messages"
    return Subject(
        name=f"QStack, {mode}" + (", one class" if flat else ""),
        start=lambda at: qstack_server(at, options, priority=not flat, messages=messages),
        flat=flat,
        messages=messages,
    )


def _starvation(at: Wire, options: Options, capacity: float) -> dict[str, float]:
    """Overload by the urgent class: the default class has its least share, if it is promised.

    Both offer more than what they can have. The share is one of the handlers' time; of the answers
    it is less where those of the default class, on more connections, take longer.
    """
    rate = _STARVING * capacity
    with qstack_server(at, options, priority=True, share_percent=options.share_percent) as server:
        document = load(at, options, rate=rate, urgent_percent=_STARVING_URGENT_PERCENT)
    answered = [document[name]["answered_per_second"] for name in ("default", "urgent")]
    assert server.counters is not None
    worked: list[int] = [*server.counters["worker"]["contended_ns"].values()]
    return {
        "share_percent": options.share_percent,
        "got_percent": 100 * worked[0] / sum(worked),
        "answers_percent": 100 * answered[0] / sum(answered),
        "urgent_offered_to_capacity": _STARVING * _STARVING_URGENT_PERCENT / 100,
        "default_offered_to_capacity": _STARVING * (1 - _STARVING_URGENT_PERCENT / 100),
    }


def _kernel_subjects(options: Options) -> dict[str, Subject]:
    def subject(name: str, busy_poll_us: int) -> Subject:
        return Subject(
            name=name, start=lambda at: kernel_server(at, options, busy_poll_us=busy_poll_us)
        )

    return {
        "epoll": subject("kernel TCP, epoll", 0),
        "epoll_busy_poll": subject("kernel TCP, epoll, SO_BUSY_POLL", _BUSY_POLL_US),
    }


def run(options: Options, progress: Progress) -> dict[str, Any]:
    """Measure all of it.

    Returns:
        The document of ``qstack bench priority --json``.

    Raises:
        QStackError, LabError, NicprogError: Something could not be set up or ended early.
    """
    kernel = _kernel_subjects(options) if options.kernel else {}
    n_steps, step = options.rounds * (2 * len(options.modes) + len(kernel) + 1), 0

    def tell(what: str) -> None:
        nonlocal step
        progress(what, step / n_steps)
        step += 1

    modes, one_class = {}, {}
    with wire(options.driver) as at:
        for mode in options.modes:
            modes[mode] = _measure(at, qstack_subject(options, mode, flat=False), options, tell)
            one_class[mode] = _measure(at, qstack_subject(options, mode, flat=True), options, tell)
        capacity = modes[options.modes[0]]["capacity_per_second"]
        starvation = []
        for n in range(options.rounds):
            tell(f"starvation, round {n + 1} of {options.rounds}")
            again = replace(options, seed=options.seed + n)
            starvation.append(_starvation(at, again, capacity))
    document: dict[str, Any] = {
        "driver": options.driver,
        "kernel_release": os.uname().release,
        "connections": options.connections,
        "urgent_percent": options.urgent_percent,
        "work_ns": options.work_ns,
        "seconds": options.seconds,
        "seed": options.seed,
        "modes": modes,
        "one_class": one_class,
        "starvation": {
            name: statistics.median(one[name] for one in starvation) for name in starvation[0]
        },
        "kernel": {},
    }
    for name, subject in kernel.items():
        with wire("xsk") as at:
            document["kernel"][name] = _measure(at, subject, options, tell)
    return document
