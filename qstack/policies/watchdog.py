# SPDX-License-Identifier: Apache-2.0
"""Between a policy and the machine: what it answers is checked, and a bad one is set aside."""

from __future__ import annotations

import ctypes
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .contract import (
    BUCKET_TO_QUEUE,
    CORE_OFF,
    CORE_ON,
    FLOW_TO_QUEUE,
    MOVE,
    QUEUE_TO_CORE,
    View,
)
from .decorator import FAULT, Policy

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)
_ENTRY = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 8)
_NOTHING = np.zeros(0, MOVE)


@dataclass(slots=True, kw_only=True)
class Counters:
    """What became of a policy's answers.

    Attributes:
        decisions: Calls that were answered in time.
        set_aside: 1 when the policy was, and the default, which moves nothing, decides.
        why: Then; else "".
    """

    decisions: int = 0
    set_aside: int = 0
    why: str = ""


class Watchdog:
    """Calls a policy on a thread of its own, without the GIL, and checks what it answers.

    The policy has arrays of its own, so what it writes into others' fields is lost. A thread that
    does not come back cannot be ended, but nothing waits for it or looks at its arrays any more.
    """

    def __init__(
        self, policy: Policy, *, limit_s: float, clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        """Compile the policy and start the thread.

        Args:
            policy: What decides.
            limit_s: A call that takes longer is an overrun.
            clock: Nanoseconds, for how long decisions take.
        """
        self.policy = policy
        self.counters = Counters()
        self.took_ns: list[int] = []
        self._own: View | None = None
        self._limit_s = limit_s
        self._clock = clock
        self._call = _ENTRY(policy.entry.address)
        self._tasks: queue.SimpleQueue[View | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=f"policy {policy.name}", daemon=True).start()

    def _work(self) -> None:
        while (view := self._tasks.get()) is not None:
            began_ns = self._clock()
            n = call(self._call, view)
            self._answers.put((n, self._clock() - began_ns))

    def decide(self, view: View) -> NDArray[Any]:
        """Return the moves to carry out, in their order; after a fault always none.

        Args:
            view: What the policy is to see; it is not changed. ``own`` and ``memory`` are kept
                here.
        """
        if self.counters.set_aside:
            return _NOTHING
        own = self._updated(view)
        self._tasks.put(own)
        try:
            n, took_ns = self._answers.get(timeout=self._limit_s)
        except queue.Empty:
            return self._set_aside(f"took longer than {self._limit_s:g} s")
        if took_ns > self._limit_s * 1e9:
            return self._set_aside(f"took {took_ns / 1e9:.3g} s, at most {self._limit_s:g} s")
        self.counters.decisions += 1
        self.took_ns.append(took_ns)
        if n == FAULT:
            return self._set_aside("raised an exception, or used an index out of bounds")
        fault = nonsense(view, own.moves, n, free=self.policy.limits == "none")
        return self._set_aside(fault) if fault else own.moves[:n].copy()

    def _updated(self, view: View) -> View:
        """Bring the policy's arrays up to date, but for what belongs to it."""
        if self._own is None:
            self._own = view.copy()
            return self._own
        own = self._own
        own.flows["own"][own.flows["id"] != view.flows["id"]] = 0
        for name in ("figures", "cores", "queues", "buckets", "flows"):
            to, of = getattr(own, name), getattr(view, name)
            for field in of.dtype.names:
                if field != "own":
                    to[field] = of[field]
        return own

    def close(self) -> None:
        """Let the thread end when it is idle."""
        self._tasks.put(None)

    def _set_aside(self, why: str) -> NDArray[Any]:
        self.counters.set_aside = 1
        self.counters.why = why
        _log.warning("policy %s is set aside, nothing moves any more: it %s", self.policy.name, why)
        return _NOTHING


def call(entry: Any, view: View) -> int:
    """Call a policy as C does; returns how many moves it wrote, or FAULT."""
    arguments = view.arguments()
    sizes = np.array([len(arguments[i]) for i in (1, 2, 3, 4, 6)], np.int64)
    return int(entry(sizes.ctypes.data, *(each.ctypes.data for each in arguments)))


def nonsense(view: View, moves: NDArray[Any], n: int, *, free: bool) -> str:
    """Return what is wrong with an answer, or "".

    Args:
        view: What the policy saw.
        moves: MOVE[budget]; what it wrote.
        n: How many moves it says that it wrote.
        free: It may move again what has just moved.
    """
    if not 0 <= n <= len(moves):
        return f"answered {n} moves, 0..{len(moves)} are possible"
    check = _Check(view, free)
    for i in range(n):
        kind, what, to = (int(x) for x in moves[i])
        if fault := check.move(kind, what, to):
            return f"answered as move {i} of {n}: {fault}"
    return check.end()


class _Check:
    """Follows what moves lead to, without touching what the policy saw."""

    def __init__(self, view: View, free: bool) -> None:
        self._view = view
        figures = view.figures[0]
        self._movable_ns = int(figures["now_ns"]) - (-1 if free else int(figures["cooldown_ns"]))
        self._on = view.cores["on"].astype(bool)
        self._queue_core = view.queues["core"].copy()
        self._bucket_queue = view.buckets["queue"].copy()
        self._flow_queue = view.flows["queue"].copy()
        self._rules = int(figures["rules_free"])
        self._free = free
        self._switched = False
        self._kinds = {
            BUCKET_TO_QUEUE: self._bucket,
            QUEUE_TO_CORE: self._queue,
            CORE_ON: self._core_on,
            CORE_OFF: self._core_off,
            FLOW_TO_QUEUE: self._flow,
        }

    def move(self, kind: int, what: int, to: int) -> str:
        if kind not in self._kinds:
            return f"kind {kind} does not exist"
        return self._kinds[kind](what, to)

    def end(self) -> str:
        """Say whether what all moves lead to is allowed."""
        used = np.unique(self._bucket_queue)
        ruled = self._flow_queue[(self._view.flows["id"] >= 0) & (self._flow_queue >= 0)]
        for q in np.union1d(used, ruled):
            if not self._on[self._queue_core[q]]:
                return f"left queue {q} in use on core {self._queue_core[q]}, which is off"
        figures = self._view.figures[0]
        n_on, least, most = (
            int(self._on.sum()),
            int(figures["cores_min"]),
            int(figures["cores_max"]),
        )
        if self._switched and not (least <= n_on <= most or n_on > most):
            return f"left {n_on} cores on, {least}..{most} are allowed"
        return ""

    def _still(self, name: str, what: int, moved_ns: int) -> str:
        if not self._free and moved_ns > self._movable_ns:
            return f"{name} {what} moves again before its cool-down is over"
        return ""

    def _bucket(self, what: int, to: int) -> str:
        if not 0 <= what < len(self._bucket_queue):
            return f"bucket {what} does not exist"
        if not 0 <= to < len(self._queue_core):
            return f"bucket {what} to queue {to}, which does not exist"
        self._bucket_queue[what] = to
        return self._still("bucket", what, int(self._view.buckets["moved_ns"][what]))

    def _queue(self, what: int, to: int) -> str:
        if not 0 <= what < len(self._queue_core):
            return f"queue {what} does not exist"
        if not 0 <= to < len(self._on):
            return f"queue {what} to core {to}, which does not exist"
        self._queue_core[what] = to
        return self._still("queue", what, int(self._view.queues["moved_ns"][what]))

    def _core_on(self, what: int, to: int) -> str:
        if not 0 <= what < len(self._on) or self._on[what]:
            return f"core {what} on: it does not exist or is on"
        self._switched = True
        self._on[what] = True
        return ""

    def _core_off(self, what: int, to: int) -> str:
        if not 0 <= what < len(self._on) or not self._on[what]:
            return f"core {what} off: it does not exist or is off"
        self._switched = True
        self._on[what] = False
        return ""

    def _flow(self, what: int, to: int) -> str:
        if not 0 <= what < len(self._flow_queue) or self._view.flows["id"][what] < 0:
            return f"flow {what} does not exist"
        if not -1 <= to < len(self._queue_core):
            return f"flow {what} to queue {to}, which does not exist"
        self._rules += int(self._flow_queue[what] >= 0) - int(to >= 0)
        if self._rules < 0:
            return f"flow {what} to queue {to}: no rule is free"
        self._flow_queue[what] = to
        return self._still("flow", what, int(self._view.flows["moved_ns"][what]))
