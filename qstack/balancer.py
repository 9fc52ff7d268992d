# SPDX-License-Identifier: Apache-2.0
"""The controller of a server: what the stack counts to a policy, what it answers to the stack."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from . import units
from .errors import ConfigError, QStackError
from .policies import Policy, contract
from .policies.contract import View
from .policies.watchdog import Watchdog

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .stack import Stack

_log = logging.getLogger("qstack")

_MOVE_TIMEOUT: Final = "100ms"
_LIMIT_S: Final = 1.0
_PERIOD_MIN_NS: Final = 1_000_000
_BUDGET_MOST: Final = 4096

Move = Callable[[Mapping[int, int], str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How a policy is asked.

    Attributes:
        period_ns: Between two calls.
        budget: Moves in a call at most.
        cooldown_ns: What moved stays as long as this.
        workers_min: At least so many run queues.
    """

    period_ns: int
    budget: int
    cooldown_ns: int
    workers_min: int


def limits(stack: Stack, period: str, budget: int, cooldown: str, workers_min: int) -> Limits:
    """Return them, checked.

    Raises:
        ConfigError: One is out of range.
    """
    period_ns, cooldown_ns = _duration_ns("period", period), _duration_ns("cooldown", cooldown)
    if period_ns < _PERIOD_MIN_NS:
        raise ConfigError(f"period: {period} is too short, at least 1ms")
    if not 1 <= budget <= _BUDGET_MOST:
        raise ConfigError(f"budget: {budget} is outside of 1 to {_BUDGET_MOST}")
    if not 1 <= workers_min <= stack.info.workers_max:
        raise ConfigError(f"workers_min: {workers_min} is outside of 1 to {stack.info.workers_max}")
    return Limits(
        period_ns=period_ns, budget=budget, cooldown_ns=cooldown_ns, workers_min=workers_min
    )


def _duration_ns(name: str, text: str) -> int:
    try:
        return units.parse_duration_ns(text)
    except ValueError as e:
        raise ConfigError(f"{name}: {e}") from None


class Balancer:
    """A thread that asks a policy once in a period and does what it answers.

    Cores are workers, and their load is the part of the period in which they were busy; a queue has
    of it what it has of its worker's frames, and a bucket what it has of its queue's. Flows have no
    slots, and how much waits in a NIC's rings is not known: it is 0.
    """

    def __init__(
        self, stack: Stack, table: tuple[int, ...], move: Move, policy: Policy, limits: Limits
    ) -> None:
        """Compile the policy.

        Args:
            stack: That runs until `stop`.
            table: The NIC's indirection table.
            move: Moves buckets, with a timeout.
            policy: What decides.
            limits: How it is asked.

        Raises:
            NotSupportedError: There is no numba, or the NIC does not say how it hashes.
            ConfigError: The policy keeps to no limits.
            QStackError: It cannot be compiled.
        """
        if policy.limits == "none":
            raise ConfigError(f"policy {policy.name} keeps to no limits: it is for qstack sim only")
        self._stack = stack
        self._move = move
        self._limits = limits
        self._table = np.array(table, np.int64)
        self._watchdog = Watchdog(policy, limit_s=_LIMIT_S)
        info = stack.info
        self._view = View.of_size(
            n_cores=info.workers_max,
            n_queues=info.queues,
            n_buckets=len(table),
            n_flows=0,
            budget=limits.budget,
        )
        self._view.figures["cooldown_ns"] = limits.cooldown_ns
        self._view.figures["cores_min"] = limits.workers_min
        self._view.buckets["ahead"] = np.nan
        self._frames = stack.bucket_frames()
        self._busy_ns = self._busy()
        self._looked_ns = time.monotonic_ns()
        self._moves = self._refused = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="qstack-balancer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what is under way is waited for."""
        self._ending.set()
        self._thread.join()
        self._watchdog.close()

    def stats(self) -> dict[str, Any]:
        """Return what became of the policy's answers."""
        counters = self._watchdog.counters
        return {
            "policy": self._watchdog.policy.name,
            "decisions": counters.decisions,
            "moves": self._moves,
            "refused": self._refused,
            "set_aside": counters.why,
        }

    def _run(self) -> None:
        while not self._ending.wait(self._limits.period_ns / 1e9):
            self._look()
            self._carry_out(self._watchdog.decide(self._view))

    # ---- what it sees ----

    def _busy(self) -> NDArray[np.int64]:
        return np.array([worker["busy_ns"] for worker in self._stack.worker_stats()], np.int64)

    def _look(self) -> None:
        v, now_ns = self._view, time.monotonic_ns()
        period_ns = max(1, now_ns - self._looked_ns)
        workers = self._stack.worker_stats()
        frames, busy_ns = self._stack.bucket_frames(), self._busy()
        came = np.array(frames, np.int64) - np.array(self._frames, np.int64)  # queues x buckets
        v.figures["now_ns"], v.figures["period_ns"] = now_ns, period_ns
        v.figures["cores_max"] = len(workers)
        v.cores["on"] = [worker["state"] == "active" for worker in workers]
        v.cores["busy"] = np.clip((busy_ns - self._busy_ns) / period_ns, 0.0, 1.0)
        v.cores["load"] = v.cores["busy"]
        core = np.array(self._stack.placement(), np.int64)
        of_queue = came.sum(axis=1)
        of_core = np.bincount(core, of_queue, len(workers))
        v.queues["core"] = core
        v.queues["load"] = v.cores["load"][core] * of_queue / np.maximum(of_core[core], 1)
        v.buckets["queue"], v.buckets["packets"] = self._table, came.sum(axis=0)
        per_frame = v.queues["load"] / np.maximum(of_queue, 1)
        v.buckets["load"] = (came * per_frame[:, None]).sum(axis=0)
        self._looked_ns, self._frames, self._busy_ns = now_ns, frames, busy_ns

    # ---- what it does ----

    def _carry_out(self, moves: NDArray[Any]) -> None:
        """Do them in their order; buckets that follow each other go together."""
        together: dict[int, int] = {}
        for kind, what, to in moves.tolist():
            if kind == contract.BUCKET_TO_QUEUE:
                together[what] = to
                continue
            self._move_buckets(together)
            together = {}
            self._do(kind, what, to)
        self._move_buckets(together)

    def _move_buckets(self, moves: Mapping[int, int]) -> None:
        if not moves:
            return
        if self._tried(lambda: self._move(moves, _MOVE_TIMEOUT), len(moves)):
            for bucket, queue in moves.items():
                self._table[bucket] = queue
                self._view.buckets["moved_ns"][bucket] = time.monotonic_ns()

    def _do(self, kind: int, what: int, to: int) -> None:
        v, now_ns = self._view, time.monotonic_ns()
        if kind == contract.QUEUE_TO_CORE:
            if self._tried(lambda: self._stack.move_queue(what, to, None)):
                v.queues["moved_ns"][what] = now_ns
        elif kind == contract.CORE_ON:
            if self._tried(lambda: self._turn_on(what)):
                v.cores["changed_ns"][what] = now_ns
        elif kind == contract.CORE_OFF and self._tried(lambda: self._stack.park_worker(what)):
            v.cores["changed_ns"][what] = now_ns

    def _turn_on(self, worker: int) -> None:
        while self._stack.worker_stats()[worker]["state"] == "absent":
            self._stack.add_worker()  # the first that is
        self._stack.wake_worker(worker)

    def _tried(self, call: Callable[[], None], n: int = 1) -> bool:
        """Do it; a stack that cannot now is asked again in another period."""
        try:
            call()
        except (QStackError, OSError) as e:
            self._refused += n
            _log.debug("a move was refused: %s", e)
            return False
        self._moves += n
        return True
