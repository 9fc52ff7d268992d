# SPDX-License-Identifier: Apache-2.0
"""All policies under all loads, side by side: the document of ``qstack sim``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

from ..loads import Load
from ..policies import Policy
from . import trials
from .machine import Machine
from .run import Options, packet_cost_ns, run

Progress = Callable[[str, float], None]
"""Called with what is going on and the part of it that is done, 0 to 1."""

_SEEDS: Final = range(1, 7)
_LOADS_PART: Final = 0.9


def compile_all(policies: Sequence[Policy], progress: Progress) -> dict[str, float]:
    """Compile policies, or take them from numba's cache: seconds by name.

    Raises:
        NotSupportedError: There is no numba.
        QStackError: One cannot be compiled.
    """
    took = {}
    for policy in policies:
        progress(f"compiling {policy.name}", 0.0)
        began = time.perf_counter()
        _ = policy.entry
        took[policy.name] = time.perf_counter() - began
    return took


def run_loads(
    machine: Machine,
    loads: Sequence[Load],
    policies: Sequence[Policy],
    options: Options,
    progress: Progress,
) -> dict[str, Any]:
    """Run loads one after the other, each under all policies.

    Returns:
        A document: ``machine``, ``options``, ``packet_ns`` by load, ``loads`` with the figures by
        load and policy.

    Raises:
        ConfigError: A load cannot be on this machine.
    """
    costs = {load.name: packet_cost_ns(machine, load, options.utilisation) for load in loads}
    figures = {}
    for i, load in enumerate(loads):

        def tell(part: float, load: Load = load, i: int = i) -> None:
            progress(f"load {load.name}", (i + part) / len(loads))

        done = run(machine, load, policies, options, tell)
        figures[load.name] = {name: each.document() for name, each in done.items()}
    return {
        "machine": asdict(machine),
        "options": asdict(options),
        "packet_ns": costs,
        "loads": figures,
    }


def compare(
    machine: Machine,
    loads: Sequence[Load],
    policies: Sequence[Policy],
    options: Options,
    progress: Progress,
) -> dict[str, Any]:
    """Run the loads, and what needs no packets: a core that goes, and the time of decisions.

    Returns:
        The document of ``run_loads`` with ``scale_down_peak_to_mean`` (when the core has just
        gone), ``scale_down_settled_peak_to_mean``, ``decision_us`` of the last policy,
        ``decision_us_by_policy``, and ``compile_seconds``.
    """
    compiled = compile_all(policies, progress)
    document = run_loads(
        machine, loads, policies, options, lambda what, part: progress(what, part * _LOADS_PART)
    )
    at_once: dict[str, float | None] = {}
    settled: dict[str, float | None] = {}
    decisions: dict[str, float] = {}
    for i, policy in enumerate(policies):
        progress(f"trials of {policy.name}", _LOADS_PART + (1 - _LOADS_PART) * i / len(policies))
        gone = trials.scale_down(policy, _SEEDS)
        at_once[policy.name], settled[policy.name] = gone or (None, None)
        decisions[policy.name] = trials.decision_us(policy)
    return document | {
        "scale_down_peak_to_mean": at_once,
        "scale_down_settled_peak_to_mean": settled,
        "decision_us": decisions[policies[-1].name],
        "decision_us_by_policy": decisions,
        "compile_seconds": compiled,
    }
