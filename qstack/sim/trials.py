# SPDX-License-Identifier: Apache-2.0
"""Policies on constant loads, without packets: a core that goes, and how long a decision takes."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..loads.catalogue import zipf_weights
from ..loads.steering import random_hashes
from ..policies import Policy, contract
from ..policies.contract import View
from ..policies.watchdog import Watchdog, call

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FLOWS: Final = 100_000
_SKEWS: Final = (0.9, 0.99)
_CORES, _QUEUES, _BUCKETS, _BUDGET = 8, 32, 128, 16
_BUSY: Final = 0.6
_PERIOD_NS: Final = 10_000_000
_COOLDOWN_NS: Final = 50_000_000
_BEFORE, _AFTER = 300, 300
_SLOTS: Final = 16

DECISION_BUCKETS, DECISION_QUEUES, DECISION_CORES = 2048, 64, 16
_ROUNDS, _CALLS = 30, 12


def bucket_loads(seed: int, skew: float, n_buckets: int, total: float) -> NDArray[np.float64]:
    """Hash 100,000 flows of a Zipf distribution into buckets: float64[n_buckets], in cores."""
    random = np.random.default_rng([seed, n_buckets])
    buckets = random_hashes(random, _FLOWS) % np.uint32(n_buckets)
    weights = zipf_weights(_FLOWS, skew) * total
    return np.bincount(buckets, weights, n_buckets).astype(np.float64)


class Bench:
    """A machine of figures alone: moves change where loads are.

    Attributes:
        view: What the policy sees.
    """

    def __init__(
        self, policy: Policy, loads: NDArray[np.float64], *, cores: int, queues: int, budget: int
    ) -> None:
        n = len(loads)
        free = policy.limits == "none"
        self.view = View.of_size(
            n_cores=cores,
            n_queues=queues,
            n_buckets=n,
            n_flows=_SLOTS,
            budget=n + 2 * cores if free else budget,
        )
        v = self.view
        v.buckets["queue"] = np.arange(n) % queues
        v.buckets["load"] = v.buckets["ahead"] = loads
        v.buckets["packets"] = np.rint(loads * 1e6)
        v.queues["core"] = np.arange(queues) % cores
        v.cores["on"] = 1
        v.flows["queue"] = -1
        v.figures["period_ns"], v.figures["cooldown_ns"] = _PERIOD_NS, _COOLDOWN_NS
        v.figures["cores_min"] = cores
        self.look()

    def look(self) -> None:
        """Have a period go by: loads of queues and cores follow from where buckets are."""
        v = self.view
        v.figures["now_ns"] += _PERIOD_NS
        v.queues["load"] = np.bincount(v.buckets["queue"], v.buckets["load"], len(v.queues))
        v.cores["load"] = np.bincount(v.queues["core"], v.queues["load"], len(v.cores))
        v.cores["busy"] = np.minimum(1.0, v.cores["load"])

    def do(self, moves: NDArray[Any]) -> None:
        """Carry moves out."""
        v, now_ns = self.view, self.view.figures["now_ns"][0]
        for kind, what, to in moves.tolist():
            if kind == contract.BUCKET_TO_QUEUE:
                v.buckets["queue"][what], v.buckets["moved_ns"][what] = to, now_ns
            elif kind == contract.QUEUE_TO_CORE:
                v.queues["core"][what], v.queues["moved_ns"][what] = to, now_ns
            else:
                v.cores["on"][what] = kind == contract.CORE_ON
                v.cores["changed_ns"][what] = now_ns

    @property
    def peak_to_mean(self) -> float:
        """Of the loads of cores that are on."""
        self.look()
        self.view.figures["now_ns"] -= _PERIOD_NS
        load = self.view.cores["load"][self.view.cores["on"] == 1]
        return float(load.max() / load.mean())


def scale_down(policy: Policy, seeds: Sequence[int]) -> tuple[float, float] | None:
    """Let one core of eight go, with 128 entries and Zipf loads; medians over seeds and skews.

    Returns:
        Peak to mean of the seven when the core has just gone, and three seconds later; None when
        the policy does not let it go.
    """
    at_once, settled = [], []
    for seed in seeds:
        for skew in _SKEWS:
            loads = bucket_loads(seed, skew, _BUCKETS, _BUSY * _CORES)
            bench = Bench(policy, loads, cores=_CORES, queues=_QUEUES, budget=_BUDGET)
            watchdog = Watchdog(policy, limit_s=10.0)
            first = None
            for step in range(_BEFORE + _AFTER):
                if step == _BEFORE:
                    bench.view.figures["cores_min"] = bench.view.figures["cores_max"] = _CORES - 1
                bench.look()
                bench.do(watchdog.decide(bench.view))
                if first is None and bench.view.cores["on"].sum() < _CORES:
                    first = bench.peak_to_mean
            watchdog.close()
            if first is None:
                return None
            at_once.append(first)
            settled.append(bench.peak_to_mean)
    return statistics.median(at_once), statistics.median(settled)


def decision_us(policy: Policy, *, seed: int = 1) -> float:
    """Time one decision, 2,048 buckets and 64 queues on 16 cores, warm, called as from C.

    The load is the Zipf one of ``scale_down`` and the table as a NIC starts, so that there is much
    to do. Some policies decide at every tenth call: of twelve in a row the longest counts.

    Returns:
        Microseconds, the median of so many rounds.
    """
    loads = bucket_loads(seed, _SKEWS[0], DECISION_BUCKETS, _BUSY * DECISION_CORES)
    bench = Bench(policy, loads, cores=DECISION_CORES, queues=DECISION_QUEUES, budget=_BUDGET)
    entry = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 8)(policy.entry.address)
    took_ns = np.zeros((_ROUNDS, _CALLS), np.int64)
    for round_ in took_ns:
        view = bench.view.copy()
        for i in range(_CALLS):
            view.figures["now_ns"] += _PERIOD_NS
            began_ns = time.perf_counter_ns()
            call(entry, view)
            round_[i] = time.perf_counter_ns() - began_ns
    return float(np.median(took_ns, axis=0).max()) / 1e3
