# SPDX-License-Identifier: Apache-2.0
"""State of a simulated machine: what the engine works on, and how moves change it."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..policies import contract
from . import engine
from .machine import Machine

Arrays = namedtuple("Arrays", engine.STATE)  # type: ignore[misc]

_FAR_PAST: Final = -(1 << 62)


def _grown(old: NDArray[Any], size: int, fill: int) -> NDArray[Any]:
    new = np.full(size, fill, old.dtype)
    new[: len(old)] = old
    return new


class State:
    """One machine under one policy.

    A key is what a packet is steered by: its bucket, or beyond the buckets the slot of a flow with
    a rule.

    Attributes:
        machine: What it is.
        cost_ns: Time of a packet on a core alone and near.
        on: bool[cores].
        arrays: Of the engine:
            ring_ns, ring_flow: int64, int32[queues, ring]; what waits, from head on.
            head, length: int64[queues].
            queue_core, queue_ready: int64[queues]; its core, and not served before.
            core_ns, core_turn, core_left: int64[cores]; when it is free, whose turn, rest of it.
            core_cost: int64[cores, queues]; time of a packet.
            table: int64[keys]; queue of each key.
            key_wait, key_queue, key_ready: int64[keys]; packets at the old queue that others are
                held for, that queue, and when the last of them was done.
            held_ns, held_flow: int64, int32[held].
            flow_key: int32[flows]. flow_last_ns, flow_last_start: int64[flows]; arrival of the
                newest packet that was served, and when.
            key_packets, queue_packets, core_busy, core_served: int64; since they were cleared.
            histogram: int64[2, HISTOGRAM_SIZE]; time in the ring: at rest, while moving.
            count: int64[COUNTS]. random: uint64[1].
    """

    def __init__(self, machine: Machine, cost_ns: float, seed: int) -> None:
        self.machine = machine
        self.cost_ns = cost_ns
        self.on = np.ones(machine.cores, bool)
        m, n_keys = machine, machine.buckets + machine.rules
        cores, queues = np.arange(m.cores), np.arange(m.queues)
        self._node = np.array([m.node_of(c) for c in range(m.cores)])
        self._sibling = np.array([m.sibling_of(c) for c in range(m.cores)])
        self.queue_node = self._node[queues % m.cores]
        self._n_flows = self._room = 0
        self._ruled: dict[int, int] = {}  # bucket of each flow that has a rule
        self.arrays = Arrays(
            ring_ns=np.zeros((m.queues, m.ring), np.int64),
            ring_flow=np.zeros((m.queues, m.ring), np.int32),
            head=np.zeros(m.queues, np.int64),
            length=np.zeros(m.queues, np.int64),
            queue_core=queues % m.cores,
            queue_ready=np.zeros(m.queues, np.int64),
            core_ns=np.zeros(m.cores, np.int64),
            core_turn=cores.copy(),
            core_left=np.zeros(m.cores, np.int64),
            core_cost=np.zeros((m.cores, m.queues), np.int64),
            table=np.concatenate([np.arange(m.buckets) % m.queues, np.zeros(m.rules, np.int64)]),
            key_wait=np.zeros(n_keys, np.int64),
            key_queue=np.zeros(n_keys, np.int64),
            key_ready=np.full(n_keys, _FAR_PAST),
            held_ns=np.zeros(m.held, np.int64),
            held_flow=np.zeros(m.held, np.int32),
            flow_key=np.zeros(0, np.int32),
            flow_last_ns=np.zeros(0, np.int64),
            flow_last_start=np.zeros(0, np.int64),
            key_packets=np.zeros(n_keys, np.int64),
            queue_packets=np.zeros(m.queues, np.int64),
            core_busy=np.zeros(m.cores, np.int64),
            core_served=np.zeros(m.cores, np.int64),
            histogram=np.zeros((2, engine.HISTOGRAM_SIZE), np.int64),
            count=np.zeros(engine.COUNTS, np.int64),
            random=np.array([(seed * 2 + 1) * 0x9E3779B97F4A7C15 % (1 << 64)], np.uint64),
        )
        self._set_costs()

    def add_flows(self, hashes: NDArray[np.uint32]) -> None:
        """Make flows known, by their hashes: the entry of the table is hash modulo entries."""
        begin, end = self._n_flows, self._n_flows + len(hashes)
        if end > self._room:
            self._room = max(2 * self._room, end, 1 << 16)
            self.arrays = self.arrays._replace(
                flow_key=_grown(self.arrays.flow_key, self._room, 0),
                flow_last_ns=_grown(self.arrays.flow_last_ns, self._room, _FAR_PAST),
                flow_last_start=_grown(self.arrays.flow_last_start, self._room, _FAR_PAST),
            )
        self.arrays.flow_key[begin:end] = hashes % np.uint32(self.machine.buckets)
        self._n_flows = end

    def bucket_of(self, flow: int) -> int:
        """Return the bucket of a flow, also when it has a rule."""
        return self._ruled.get(flow, int(self.arrays.flow_key[flow]))

    def run(
        self, times_ns: NDArray[np.int64], flows: NDArray[np.int32], from_ns: int, until_ns: int,
        *, moving: bool,
    ) -> None:  # fmt: skip
        """Let packets of a period arrive and be served; see ``engine.run``."""
        m = self.machine
        engine.run(
            self.arrays, times_ns, flows, from_ns, until_ns, m.handover_ns, int(moving),
            m.service == "exponential",
        )  # fmt: skip

    def clear_period(self) -> None:
        """Begin to count what arrives and what cores do."""
        for each in ("key_packets", "queue_packets", "core_busy", "core_served"):
            getattr(self.arrays, each)[:] = 0

    def move(self, kind: int, what: int, to: int, now_ns: int) -> None:
        """Carry out a move that the watchdog let pass, but for those of flows."""
        if kind == contract.BUCKET_TO_QUEUE:
            self._steer(what, int(self.arrays.table[what]), to, now_ns)
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
        old, rule = int(a.flow_key[flow]), self.machine.buckets + slot
        new = bucket if to < 0 else rule
        if not (self._is_settled(old, now_ns) and self._is_settled(new, now_ns)):
            return False
        if to >= 0:
            if old == rule:
                self._steer(rule, int(a.table[rule]), to, now_ns)
                return True
            a.table[rule] = to
            self._ruled[flow] = bucket
        else:
            self._ruled.pop(flow, None)
        a.flow_key[flow] = new
        self._steer(new, int(a.table[old]), int(a.table[new]), now_ns)
        return True

    def _is_settled(self, key: int, now_ns: int) -> bool:
        a = self.arrays
        return bool(a.key_wait[key] == 0 and a.key_ready[key] + self.machine.handover_ns <= now_ns)

    def _steer(self, key: int, old: int, to: int, now_ns: int) -> None:
        """Send a key to another queue; what it has at the old one is served before."""
        a = self.arrays
        a.table[key] = to
        if not self.machine.hold or old == to or a.key_wait[key] > 0:
            return
        a.key_queue[key] = old
        a.key_wait[key] = engine.count_in_ring(a, old, key)
        a.key_ready[key] = max(now_ns, int(a.core_ns[a.queue_core[old]]))

    def _move_queue(self, queue: int, core: int, now_ns: int) -> None:
        a = self.arrays
        begun_ns = int(a.core_ns[a.queue_core[queue]])  # it ends the packet that it has
        a.queue_ready[queue] = max(now_ns, begun_ns) + self.machine.handover_ns
        a.queue_core[queue] = core

    def _set_costs(self) -> None:
        m = self.machine
        beside = (self._sibling >= 0) & self.on[self._sibling] & self.on
        far = self._node[:, None] != self.queue_node[None, :]
        factor = np.where(beside, m.smt_slowdown, 1.0)[:, None]
        factor = factor * np.where(far, m.numa_slowdown, 1.0)
        self.arrays.core_cost[:] = np.maximum(1, np.rint(self.cost_ns * factor))

    @property
    def waiting(self) -> int:
        """Packets in rings and held."""
        return int(self.arrays.length.sum() + self.arrays.count[engine.HELD_NOW])
