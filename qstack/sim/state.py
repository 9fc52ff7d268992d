# SPDX-License-Identifier: Apache-2.0
"""State of a simulated machine: what the engine works on, and how moves change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ..policies import contract
from . import engine
from .machine import Machine

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Arrays(NamedTuple):
    """What the engine works on, in the order of its arguments.

    Attributes:
        ring: engine.PACKET[queues, ring]; what waits.
        queues: engine.QUEUE[queues].
        cores: engine.CORE[cores].
        turns: int64[cores, queues]; the queues of each core, so many as it has.
        costs: int64[cores, queues]; time of a packet, ns.
        keys: engine.KEY[buckets + rules].
        held: engine.PACKET[held].
        flows: engine.FLOW[flows].
        histogram: int64[2, HISTOGRAM_SIZE]; time in the ring: at rest, while moving.
        counts: int64[COUNTS].
        random: uint64[1].
    """

    ring: NDArray[Any]
    queues: NDArray[Any]
    cores: NDArray[Any]
    turns: NDArray[np.int64]
    costs: NDArray[np.int64]
    keys: NDArray[Any]
    held: NDArray[Any]
    flows: NDArray[Any]
    histogram: NDArray[np.int64]
    counts: NDArray[np.int64]
    random: NDArray[np.uint64]


_FAR_PAST: Final = -(1 << 62)


class State:
    """One machine under one policy.

    A key is what a packet is steered by: its bucket, or beyond the buckets the slot of a flow with
    a rule.

    Attributes:
        machine: What it is.
        cost_ns: Time of a packet on a core alone and near.
        on: bool[cores].
        queue_node: int[queues]; NUMA node of its memory.
        arrays: Of the engine.
    """

    def __init__(self, machine: Machine, cost_ns: float, seed: int) -> None:
        self.machine = machine
        self.cost_ns = cost_ns
        self.on = np.ones(machine.cores, bool)
        m = machine
        self._node = np.array([m.node_of(c) for c in range(m.cores)])
        self._sibling = np.array([m.sibling_of(c) for c in range(m.cores)])
        self.queue_node = self._node[np.arange(m.queues) % m.cores]
        self._n_flows = 0
        self._ruled: dict[int, int] = {}  # bucket of each flow that has a rule
        self.arrays = Arrays(
            ring=np.zeros((m.queues, m.ring), engine.PACKET),
            queues=np.zeros(m.queues, engine.QUEUE),
            cores=np.zeros(m.cores, engine.CORE),
            turns=np.zeros((m.cores, m.queues), np.int64),
            costs=np.zeros((m.cores, m.queues), np.int64),
            keys=np.zeros(m.buckets + m.rules, engine.KEY),
            held=np.zeros(m.held, engine.PACKET),
            flows=np.zeros(0, engine.FLOW),
            histogram=np.zeros((2, engine.HISTOGRAM_SIZE), np.int64),
            counts=np.zeros(engine.COUNTS, np.int64),
            random=np.array([(seed * 2 + 1) * 0x9E3779B97F4A7C15 % (1 << 64)], np.uint64),
        )
        self.arrays.queues["core"] = np.arange(m.queues) % m.cores
        self.arrays.keys["queue"][: m.buckets] = np.arange(m.buckets) % m.queues
        self.arrays.keys["ready_ns"] = _FAR_PAST
        self._set_turns()
        self._set_costs()

    def add_flows(self, hashes: NDArray[np.uint32]) -> None:
        """Make flows known, by their hashes: the entry of the table is hash modulo entries."""
        begin, end = self._n_flows, self._n_flows + len(hashes)
        if end > len(self.arrays.flows):
            flows = np.zeros(max(2 * begin, end), engine.FLOW)
            flows[:begin] = self.arrays.flows[:begin]
            flows["last_ns"][begin:] = flows["last_start_ns"][begin:] = _FAR_PAST
            self.arrays = self.arrays._replace(flows=flows)
        self.arrays.flows["key"][begin:end] = hashes % np.uint32(self.machine.buckets)
        self._n_flows = end

    def bucket_of(self, flow: int) -> int:
        """Return the bucket of a flow, also when it has a rule."""
        return self._ruled.get(flow, int(self.arrays.flows["key"][flow]))

    def run(
        self, times_ns: NDArray[np.int64], flows: NDArray[np.int32], from_ns: int, until_ns: int,
        *, moving: bool,
    ) -> None:  # fmt: skip
        """Let packets of a period arrive and be served; see ``engine.run``."""
        m = self.machine
        engine.run(
            *self.arrays, times_ns, flows, from_ns, until_ns, m.handover_ns, int(moving),
            m.service == "exponential",
        )  # fmt: skip

    def clear_period(self) -> None:
        """Begin to count what arrives and what cores do."""
        self.arrays.keys["packets"] = self.arrays.queues["packets"] = 0
        self.arrays.cores["busy_ns"] = self.arrays.cores["served"] = 0

    def move(self, kind: int, what: int, to: int, now_ns: int) -> None:
        """Carry out a move that the watchdog let pass, but for those of flows."""
        if kind == contract.BUCKET_TO_QUEUE:
            self._steer(what, self._queue_of(what), to, now_ns)
        elif kind == contract.QUEUE_TO_CORE:
            self._move_queue(what, to, now_ns)
        else:
            self.on[what] = kind == contract.CORE_ON
            self._set_costs()

    def move_flow(self, flow: int, slot: int, to: int, now_ns: int) -> bool:
        """Give a flow the rule of a slot, or take it away (-1).

        Returns:
            False: Packets of where it is now are still held, so order could not be kept.
        """
        a, bucket = self.arrays, self.bucket_of(flow)
        old, rule = int(a.flows["key"][flow]), self.machine.buckets + slot
        new = bucket if to < 0 else rule
        if not (self._is_settled(old, now_ns) and self._is_settled(new, now_ns)):
            return False
        if to >= 0:
            if old == rule:
                self._steer(rule, self._queue_of(rule), to, now_ns)
                return True
            a.keys["queue"][rule] = to
            self._ruled[flow] = bucket
        else:
            self._ruled.pop(flow, None)
        a.flows["key"][flow] = new
        self._steer(new, self._queue_of(old), self._queue_of(new), now_ns)
        return True

    def _queue_of(self, key: int) -> int:
        return int(self.arrays.keys["queue"][key])

    def _is_settled(self, key: int, now_ns: int) -> bool:
        k = self.arrays.keys[key]
        return bool(k["wait"] == 0 and k["ready_ns"] + self.machine.handover_ns <= now_ns)

    def _steer(self, key: int, old: int, to: int, now_ns: int) -> None:
        """Send a key to another queue; what it has at the old one is served before."""
        a, k = self.arrays, self.arrays.keys[key]
        k["queue"] = to
        if not self.machine.hold or old == to or k["wait"] > 0:
            return
        k["old_queue"] = old
        k["wait"] = engine.count_in_ring(a.ring, a.queues, a.flows, old, key)
        k["ready_ns"] = max(now_ns, a.cores["ns"][a.queues["core"][old]])

    def _move_queue(self, queue: int, core: int, now_ns: int) -> None:
        q = self.arrays.queues[queue]
        begun_ns = self.arrays.cores["ns"][q["core"]]  # it ends the packet that it has
        q["ready_ns"] = max(now_ns, begun_ns) + self.machine.handover_ns
        q["core"] = core
        self._set_turns()

    def _set_turns(self) -> None:
        cores = self.arrays.cores
        for core in range(self.machine.cores):
            mine = np.flatnonzero(self.arrays.queues["core"] == core)
            self.arrays.turns[core, : len(mine)] = mine
            cores["n_queues"][core] = len(mine)
            cores["turn"][core] = cores["left"][core] = 0

    def _set_costs(self) -> None:
        m = self.machine
        beside = (self._sibling >= 0) & self.on[self._sibling] & self.on
        far = self._node[:, None] != self.queue_node[None, :]
        factor = np.where(beside, m.smt_slowdown, 1.0)[:, None]
        factor = factor * np.where(far, m.numa_slowdown, 1.0)
        self.arrays.costs[:] = np.maximum(1, np.rint(self.cost_ns * factor))

    @property
    def waiting(self) -> int:
        """Packets in rings and held."""
        return int(self.arrays.queues["length"].sum() + self.arrays.counts[engine.HELD_NOW])
