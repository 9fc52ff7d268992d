# SPDX-License-Identifier: Apache-2.0
"""A load on machines under several policies, step by step: all of them see the same packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..loads import Load, Settings
from ..policies import Policy
from .figures import Figures, Floor, Samples
from .machine import Machine
from .subject import Control, Subject, buckets_of, heavy_flows

_SAMPLE_NS: Final = 1_000_000_000
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A run.

    Attributes:
        seconds: Of the load.
        warm_up_s: Of them, at the begin, that figures leave out.
        utilisation: Part of all cores that the load's usual rate needs.
        seed: Of all that is random.
        control: How policies are asked.
    """

    seconds: float = 10.0
    warm_up_s: float = 2.0
    utilisation: float = 0.6
    seed: int = 1
    control: Control = field(default_factory=Control)

    def __post_init__(self) -> None:
        if not 0 <= self.warm_up_s < self.seconds:
            raise ConfigError(
                f"the warm-up must be shorter than the load, got {self.warm_up_s:g} of "
                f"{self.seconds:g} s"
            )
        if not 0.01 <= self.utilisation <= 10:
            raise ConfigError(f"utilisation must be 0.01..10, got {self.utilisation:g}")


def packet_cost_ns(machine: Machine, load: Load, utilisation: float) -> float:
    """Return the time of a packet, engine and application, that makes the machine so busy.

    Raises:
        ConfigError: The engine alone needs more.
    """
    cost_ns = utilisation * machine.cores / load.pps * 1e9
    if cost_ns < machine.engine_ns:
        raise ConfigError(
            f"{load.name}: at a utilisation of {utilisation:g} {machine.cores} cores have "
            f"{cost_ns:.0f} ns for a packet, and the engine alone needs {machine.engine_ns}; "
            "have fewer cores or more utilisation"
        )
    return cost_ns


def run(
    machine: Machine, load: Load, policies: Sequence[Policy], options: Options, progress: Progress
) -> dict[str, Figures]:
    """Run one load under each policy.

    Returns:
        Figures by the name of the policy.

    Raises:
        ConfigError: The load cannot be on this machine.
        NotSupportedError: There is no numba.
    """
    cost_ns = packet_cost_ns(machine, load, options.utilisation)
    control = options.control
    if not load.elastic:
        control = replace(control, cores_min=machine.cores)
    subjects = [Subject(machine, p, control, cost_ns, options.seed) for p in policies]
    samples = [Samples(subject) for subject in subjects]
    floor = Floor()
    warm_ns = round(options.warm_up_s * 1e9)
    for now_ns, times_ns, flows, hashes, ahead in _periods(machine, load, options):
        until_ns = now_ns + control.period_ns
        heavy, counts = heavy_flows(flows)
        is_begin = now_ns == warm_ns - warm_ns % control.period_ns
        is_second = until_ns // _SAMPLE_NS > now_ns // _SAMPLE_NS
        if is_begin:
            floor.begin()
        floor.after_period(heavy, counts, len(flows))
        if is_second:
            floor.after_second()
        for subject, sample in zip(subjects, samples, strict=True):
            if is_begin:
                sample.begin()
            if len(hashes):
                subject.state.add_flows(hashes)
            subject.run(times_ns, flows, now_ns)
            sample.after_period()
            if is_second:
                sample.after_second()
            subject.decide(until_ns, heavy, counts, ahead)
        progress(until_ns / (options.seconds * 1e9))
    for subject in subjects:
        subject.watchdog.close()
    percent = None if load.elastic else floor.percent(machine.cores)
    return {
        subject.watchdog.policy.name: sample.figures(percent)
        for subject, sample in zip(subjects, samples, strict=True)
    }


Slice = tuple[int, NDArray[np.int64], NDArray[np.int32], NDArray[np.uint32], NDArray[np.uint32]]
Period = tuple[int, NDArray[np.int64], NDArray[np.int32], NDArray[np.uint32], NDArray[np.int64]]


def _periods(machine: Machine, load: Load, options: Options) -> Iterator[Period]:
    """Yield begin, packets, their flows, hashes of new flows, and what buckets get next."""
    before: tuple[int, Any, Any, Any] | None = None
    for now_ns, times_ns, flows, hashes, every in _slices(load, options, machine.queues):
        if before is not None:
            yield (*before, buckets_of(every, flows, machine.buckets))
        before = now_ns, times_ns, flows, hashes
    if before is not None:
        yield (*before, np.zeros(machine.buckets, np.int64))


def _slices(load: Load, options: Options, queues: int) -> Iterator[Slice]:
    """Yield begin, packets, their flows, hashes of new flows and of all, for each whole period."""
    settings = Settings(seconds=options.seconds, queues=queues, seed=options.seed)
    period_ns = options.control.period_ns
    every = np.empty(0, np.uint32)
    rest_times, rest_flows = np.empty(0, np.int64), np.empty(0, np.int32)
    fresh: list[NDArray[np.uint32]] = []
    now_ns, end_ns = 0, 0
    for block in load.blocks(settings):
        every = np.concatenate([every, block.hashes])
        fresh.append(block.hashes)
        rest_times = np.concatenate([rest_times, block.times_ns])
        rest_flows = np.concatenate([rest_flows, block.flows])
        end_ns = min(block.until_ns, round(options.seconds * 1e9))
        bounds = np.arange(now_ns + period_ns, end_ns + 1, period_ns)
        cuts = np.searchsorted(rest_times, bounds)
        begin = 0
        for cut in cuts.tolist():
            new = np.concatenate(fresh) if fresh else np.empty(0, np.uint32)
            yield now_ns, rest_times[begin:cut], rest_flows[begin:cut], new, every
            fresh = []
            begin, now_ns = cut, now_ns + period_ns
        rest_times, rest_flows = rest_times[begin:], rest_flows[begin:]
