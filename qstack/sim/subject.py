# SPDX-License-Identifier: Apache-2.0
"""One policy on one simulated machine: what it sees, what is done, what is noted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..policies import Policy, contract
from ..policies.contract import View
from ..policies.watchdog import Watchdog
from .machine import CORES_MOST, Machine
from .state import State

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FLOWS: Final = 16
_HEAVY_CORES: Final = 0.02
_FORGET_PERIODS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """How a policy is asked.

    Attributes:
        period_ns: Between two calls.
        budget: Moves in a call at most.
        cooldown_ns: What moved stays as long as this.
        cores_min, cores_max: Of those that are on.
        limit_s: A decision that takes longer, in real time, is an overrun.
    """

    period_ns: int = 10_000_000
    budget: int = 16
    cooldown_ns: int = 50_000_000
    cores_min: int = 1
    cores_max: int = CORES_MOST
    limit_s: float = 1.0


class Subject:
    """A machine under a policy.

    Attributes:
        state: The machine.
        watchdog: Asks the policy.
        now_ns: Until when it has run.
        core_ns: Time that cores were on, summed.
        steps: Calls of the policy that moved something.
        moves: All moves.
    """

    def __init__(
        self, machine: Machine, policy: Policy, control: Control, cost_ns: float, seed: int
    ) -> None:
        self.state = State(machine, cost_ns, seed)
        self.watchdog = Watchdog(policy, limit_s=control.limit_s)
        self.control = control
        self.core_ns = self.now_ns = 0
        self.steps = self.moves = 0
        free = policy.limits == "none"
        self._view = View.of_size(
            n_cores=machine.cores,
            n_queues=machine.queues,
            n_buckets=machine.buckets,
            n_flows=_FLOWS,
            budget=machine.buckets + 2 * machine.cores if free else control.budget,
        )
        figures = self._view.figures
        figures["period_ns"], figures["cooldown_ns"] = control.period_ns, control.cooldown_ns
        figures["smt_slowdown"] = machine.smt_slowdown if machine.smt == 2 else 1.0
        figures["numa_slowdown"] = machine.numa_slowdown
        self._view.cores["node"] = [machine.node_of(c) for c in range(machine.cores)]
        self._view.cores["sibling"] = [machine.sibling_of(c) for c in range(machine.cores)]
        self._view.queues["node"] = self.state.queue_node
        self._view.flows["queue"] = -1
        self._seen = np.zeros(_FLOWS, np.int64)  # periods since each slot's flow was heavy
        self._moved = False

    def run(self, times_ns: NDArray[np.int64], flows: NDArray[np.int32], from_ns: int) -> None:
        """Let the packets of a period arrive and be served."""
        until_ns = from_ns + self.control.period_ns
        self.state.clear_period()
        self.state.run(times_ns, flows, from_ns, until_ns, moving=self._moved)
        self.now_ns = until_ns
        working = self.state.on | (self.state.arrays.cores["busy_ns"] > 0)
        self.core_ns += int(working.sum()) * self.control.period_ns

    def decide(
        self, now_ns: int, heavy: NDArray[np.int64], counts: NDArray[np.int64],
        ahead: NDArray[np.int64],
    ) -> None:  # fmt: skip
        """Ask the policy at the end of a period, and do what it answers.

        Args:
            now_ns: The end.
            heavy: Ids of flows with many packets in it.
            counts: Their packets.
            ahead: Packets of each bucket in the coming period.
        """
        self._look(now_ns, ahead)
        self._look_at_flows(heavy, counts)
        moves = self.watchdog.decide(self._view)
        self._moved = len(moves) > 0
        self.steps += self._moved
        self.moves += len(moves)
        for kind, what, to in moves.tolist():
            self._carry_out(kind, what, to, now_ns)

    def _look(self, now_ns: int, ahead: NDArray[np.int64]) -> None:
        v, a, m = self._view, self.state.arrays, self.state.machine
        in_cores = self.state.cost_ns / self.control.period_ns
        v.figures["now_ns"] = now_ns
        v.figures["cores_min"] = min(self.control.cores_min, m.cores)
        v.figures["cores_max"] = min(self.control.cores_max, m.cores)
        packets = a.keys["packets"][: m.buckets]
        v.buckets["queue"] = a.keys["queue"][: m.buckets]
        v.buckets["packets"], v.buckets["load"] = packets, packets * in_cores
        v.buckets["ahead"] = ahead * in_cores
        core, length = a.queues["core"], a.queues["length"]
        oldest_ns = a.ring["ns"][np.arange(m.queues), a.queues["head"] & (m.ring - 1)]
        delay_ns = np.where(length > 0, now_ns - oldest_ns, 0)
        v.queues["core"], v.queues["load"] = core, a.queues["packets"] * in_cores
        v.queues["queued"], v.queues["delay_ns"] = length, delay_ns
        v.cores["on"] = self.state.on
        v.cores["load"] = np.bincount(core, v.queues["load"], m.cores)
        v.cores["busy"] = np.minimum(1.0, a.cores["busy_ns"] / self.control.period_ns)
        v.cores["queued"] = np.bincount(core, length, m.cores)
        v.cores["delay_ns"] = 0
        np.maximum.at(v.cores["delay_ns"], core, delay_ns)

    def _look_at_flows(self, heavy: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Keep heavy flows in their slots; those that are not any more, and have no rule, go."""
        v, in_cores = self._view, self.state.cost_ns / self.control.period_ns
        v.flows["load"] = 0
        self._seen += 1
        slot_of = {int(flow): slot for slot, flow in enumerate(v.flows["id"]) if flow >= 0}
        for flow, count in zip(heavy.tolist(), counts.tolist(), strict=True):
            load = count * in_cores
            slot = slot_of.get(flow)
            if slot is None and load >= _HEAVY_CORES and (slot := self._free_slot()) is not None:
                bucket = self.state.bucket_of(flow)
                v.flows[slot] = (flow, bucket, -1, load, contract.NEVER_NS, 0.0)
            if slot is not None:
                v.flows["load"][slot] = load
                self._seen[slot] = 0
        v.flows["id"][(self._seen > _FORGET_PERIODS) & (v.flows["queue"] < 0)] = -1
        v.figures["rules_free"] = self.state.machine.rules - int((v.flows["queue"] >= 0).sum())

    def _free_slot(self) -> int | None:
        """Return a slot for another flow; there are as many as rules at most."""
        usable = self._view.flows["id"][: self.state.machine.rules]
        free = np.flatnonzero(usable < 0)
        return int(free[0]) if len(free) else None

    def _carry_out(self, kind: int, what: int, to: int, now_ns: int) -> None:
        v = self._view
        if kind == contract.FLOW_TO_QUEUE:
            if self.state.move_flow(int(v.flows["id"][what]), what, to, now_ns):
                v.flows["queue"][what], v.flows["moved_ns"][what] = to, now_ns
            return
        self.state.move(kind, what, to, now_ns)
        if kind == contract.BUCKET_TO_QUEUE:
            v.buckets["moved_ns"][what] = now_ns
        elif kind == contract.QUEUE_TO_CORE:
            v.queues["moved_ns"][what] = now_ns
        else:
            v.cores["changed_ns"][what] = now_ns


def heavy_flows(flows: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the flows with the most packets and how many these are, of the packets of a period."""
    ids, counts = np.unique(flows, return_counts=True)
    top = np.argsort(-counts, kind="stable")[:_FLOWS]
    return ids[top].astype(np.int64), counts[top]


def buckets_of(hashes: NDArray[np.uint32], flows: NDArray[np.int32], n: int) -> Any:
    """int64[n]: packets of each of n buckets."""
    return np.bincount(hashes[flows] % np.uint32(n), minlength=n)
