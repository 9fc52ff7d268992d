# SPDX-License-Identifier: Apache-2.0
"""Machines as policies see them, drawn at random and legal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from qstack.policies import contract
from qstack.policies.contract import View

MS = 1_000_000


@dataclass(frozen=True)
class Shape:
    """What hypothesis chooses; the rest follows from the seed."""

    n_cores: int
    n_queues: int
    n_buckets: int
    budget: int
    seed: int


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    n_cores = draw(st.integers(1, 8))
    n_queues = draw(st.integers(n_cores, 16))
    return Shape(
        n_cores=n_cores,
        n_queues=n_queues,
        n_buckets=draw(st.integers(n_queues, 64)),
        budget=draw(st.integers(1, 16)),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


def draw_view(shape: Shape, *, free: bool) -> View:
    """Return a legal view: what is in use is on cores that are on.

    Without limits (``free``) are the algorithms of others, which know no rules of flows.
    """
    random = np.random.default_rng(shape.seed)
    budget = shape.n_buckets + 2 * shape.n_cores if free else shape.budget
    view = View.of_size(
        n_cores=shape.n_cores,
        n_queues=shape.n_queues,
        n_buckets=shape.n_buckets,
        n_flows=4,
        budget=budget,
    )
    figures = view.figures
    figures["now_ns"], figures["period_ns"] = 10_000 * MS, 10 * MS
    figures["cooldown_ns"] = random.choice([0, 50 * MS])
    figures["cores_min"] = random.integers(1, shape.n_cores + 1)
    figures["cores_max"] = random.integers(figures["cores_min"][0], shape.n_cores + 1)
    figures["rules_free"] = random.integers(0, 3)
    figures["smt_slowdown"], figures["numa_slowdown"] = random.choice([1.0, 1.5], 2)
    _draw_cores(view, random)
    on = np.flatnonzero(view.cores["on"])
    view.queues["core"] = np.arange(shape.n_queues) % shape.n_cores
    usable = np.flatnonzero(np.isin(view.queues["core"], on))
    view.queues["node"] = random.integers(0, 2, shape.n_queues)
    view.buckets["queue"] = random.choice(usable, shape.n_buckets)
    # Multiples of 1/1024: sums are the same in every order.
    loads = random.pareto(1.2, shape.n_buckets) * shape.n_cores / 80
    view.buckets["load"] = view.buckets["ahead"] = np.rint(np.minimum(loads, 4) * 1024) / 1024
    view.buckets["packets"] = view.buckets["load"] * 1024
    for records in (view.queues, view.buckets, view.flows):
        records["moved_ns"] = figures["now_ns"] - random.integers(0, 200 * MS, len(records))
    view.flows["id"] = random.choice([-1, 7, 8, 9], 4)
    view.flows["queue"] = np.where(random.random(4) < 0.5, -1, random.choice(usable, 4))
    view.flows["bucket"] = random.integers(0, shape.n_buckets, 4)
    view.flows["load"] = np.rint(random.random(4) * 1024) / 1024
    if free:
        view.flows["id"] = view.flows["queue"] = -1
    follow(view)
    return view


def _draw_cores(view: View, random: np.random.Generator) -> None:
    n = len(view.cores)
    figures = view.figures[0]
    n_on = random.integers(figures["cores_min"], n + 1)  # more than cores_max have to go
    view.cores["on"][random.permutation(n)[:n_on]] = 1
    view.cores["node"] = random.integers(0, 2, n)
    if random.random() < 0.5:
        paired = np.arange(n) ^ 1
        view.cores["sibling"] = np.where(paired < n, paired, -1)
    view.cores["queued"] = random.integers(0, 80, n) * view.cores["on"]
    view.cores["delay_ns"] = random.choice([0, 3 * MS, 30 * MS], n) * view.cores["on"]
    view.cores["changed_ns"] = figures["now_ns"] - random.integers(0, 9000 * MS, n)


def follow(view: View) -> None:
    """Let loads of queues and cores follow from those of buckets and flows."""
    load = np.bincount(view.buckets["queue"], view.buckets["load"], len(view.queues))
    ruled = (view.flows["id"] >= 0) & (view.flows["queue"] >= 0)
    np.add.at(load, view.flows["queue"][ruled], view.flows["load"][ruled])
    view.queues["load"] = load
    view.cores["load"] = np.bincount(view.queues["core"], load, len(view.cores))
    view.cores["busy"] = np.minimum(1, view.cores["load"])


def carry_out(view: View, moves: Any) -> None:
    """Do what a policy answered."""
    now_ns = view.figures["now_ns"][0]
    targets = {
        contract.BUCKET_TO_QUEUE: (view.buckets, "queue", "moved_ns"),
        contract.QUEUE_TO_CORE: (view.queues, "core", "moved_ns"),
        contract.FLOW_TO_QUEUE: (view.flows, "queue", "moved_ns"),
    }
    for kind, what, to in moves.tolist():
        if kind in targets:
            records, field, when = targets[kind]
            records[field][what], records[when][what] = to, now_ns
        else:
            view.cores["on"][what] = kind == contract.CORE_ON
            view.cores["changed_ns"][what] = now_ns
    follow(view)
