# SPDX-License-Identifier: Apache-2.0
"""Keeps a NIC as a spec says: looks, repairs, waits longer each time, gives up before it fights.

What happens is told as events. Nothing here reads a clock or sleeps by itself: :func:`run` does
both by what it is given, so a test can be a day of watching.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from nicprog import api
from nicprog.apply import Difference, apply
from nicprog.backends import Backend
from nicprog.errors import DeviceError, Locked, NicprogError, StalePlan
from nicprog.notices import Notice
from nicprog.restore import recover
from nicprog.snapshot import Store
from nicprog.spec import Spec

_SHOWN_MAX: Final = 5
_STATES: Final = ("ok", "repaired", "absent", "unreadable")
_ALWAYS: Final = ("repaired", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When to look and when to repair; times in seconds.

    Attributes:
        interval_s: Between looks, when nothing tells of a change: rules are never told of.
        settle_s: From a notice to the look, since who changes a NIC often makes several steps.
        first_wait_s: After the first repair; doubled by each one after it.
        most_wait_s: What that grows to.
        repairs_max: So many repairs in ``window_s``, and at the next drift it gives up; 0: it never
            repairs and only tells.
        window_s: What repairs are counted in.
    """

    interval_s: float = 30.0
    settle_s: float = 0.5
    first_wait_s: float = 1.0
    most_wait_s: float = 60.0
    repairs_max: int = 5
    window_s: float = 600.0

    def __post_init__(self) -> None:
        if min(self.interval_s, self.first_wait_s, self.most_wait_s, self.window_s) <= 0:
            raise ValueError(f"times must be above 0, got {self}")
        if self.repairs_max < 0 or self.settle_s < 0:
            raise ValueError(f"repairs_max and settle_s must not be negative, got {self}")

    def wait_s(self, repairs: int) -> float:
        """From the last of so many repairs to the next one."""
        return min(self.first_wait_s * 2.0 ** min(repairs - 1, 60), self.most_wait_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that whoever reads the log should know.

    Attributes:
        name: ``ok``, ``drift``, ``repaired``, ``failed`` (a repair was), ``waits`` (for the next
            repair), ``busy`` (another nicprog changes the NIC), ``absent``, ``unreadable`` (it
            cannot be read, or cannot hold what the spec says), ``gave_up`` or ``stopped``.
        facts: What there is to say, of JSON's types.
    """

    name: str
    facts: dict[str, Any] = field(default_factory=dict)


class Notices(Protocol):
    """Tells that something may have changed, or that it is time to stop."""

    def wait(self, timeout_s: float) -> Notice:
        """Returns at the first notice, or when the time is over."""


class Watcher:
    """One NIC and its spec. Only :meth:`look` changes the NIC."""

    def __init__(
        self,
        spec: Spec,
        *,
        log: Callable[[Event], None],
        clock: Callable[[], float],
        policy: Policy | None = None,
        open_nic: Callable[[], Backend] | None = None,
        state_dir: Path | None = None,
    ) -> None:
        """Does nothing yet.

        Args:
            spec: What the NIC should be.
            log: Gets each event.
            clock: Seconds that never go back.
            policy: When to look and repair.
            open_nic: Opens the NIC for one look, so that one that was made anew is found; None is
                :func:`nicprog.open` by the spec's name.
            state_dir: Folder of the snapshots.
        """
        self.policy = policy or Policy()
        self._spec, self._log, self._clock = spec, log, clock
        self._open = open_nic or (lambda: api.open(spec.device))
        self._state_dir = state_dir
        self._repairs: deque[float] = deque()
        self._told: dict[str, dict[str, Any]] = {}
        self._instance: str | None = None

    def look(self) -> float | None:
        """Compares the NIC with the spec, and repairs it when that is due.

        Returns:
            Seconds until the next look at the latest; None when it gave up.
        """
        try:
            with self._open() as nic:
                return self._compare(nic)
        except DeviceError as error:
            self._tell("absent", why=str(error))
        except NicprogError as error:  # nothing to compare with: a TAP without a program, say
            self._tell("unreadable", why=str(error))
        return self.policy.interval_s

    def stop(self) -> None:
        """Tells that it ends."""
        self._tell("stopped")

    def _compare(self, nic: Backend) -> float | None:
        anew = self._instance not in (None, nic.instance)
        self._instance = nic.instance
        found = api.verify(nic, self._spec)
        if not found:
            self._tell("ok")
            return self.policy.interval_s
        self._tell("drift", made_anew=anew, **_shown(found))
        return self._repair_or_wait(nic, len(found))

    def _repair_or_wait(self, nic: Backend, differences: int) -> float | None:
        policy, now = self.policy, self._clock()
        while self._repairs and now - self._repairs[0] >= policy.window_s:
            self._repairs.popleft()
        made = len(self._repairs)
        if policy.repairs_max == 0:
            return policy.interval_s
        if made >= policy.repairs_max:
            self._tell(
                "gave_up",
                repairs=made,
                window_s=policy.window_s,
                differences=differences,
                why="something else sets it again and again; find it, then start anew",
            )
            return None
        if made:
            wait_s = policy.wait_s(made)
            due_s = self._repairs[-1] + wait_s - now
            if due_s > 0:
                self._tell("waits", repairs=made, wait_s=wait_s)
                return due_s
        return self._repair(nic)

    def _repair(self, nic: Backend) -> float:
        policy = self.policy
        store = Store(nic.device, self._state_dir)
        under_way = store.open_end(nic.instance)
        if under_way is not None and under_way.waits:
            self._tell("busy", why="what was applied waits to be confirmed")
            return policy.interval_s
        try:
            recover(nic, state_dir=self._state_dir)
            plan = api.plan(nic, self._spec)
            result = apply(nic, plan, state_dir=self._state_dir, is_repair=True)
        except (Locked, StalePlan) as error:  # somebody is at it: not a repair of ours
            self._tell("busy", why=str(error))
            return min(policy.first_wait_s, policy.interval_s)
        except DeviceError:
            raise
        except NicprogError as error:
            self._repairs.append(self._clock())
            self._tell("failed", repairs=len(self._repairs), why=str(error))
            return policy.wait_s(len(self._repairs))
        self._repairs.append(self._clock())
        self._tell(
            "repaired",
            repairs=len(self._repairs),
            steps=[str(step.do) for step in result.steps],
        )
        return policy.interval_s

    def _tell(self, name: str, **facts: Any) -> None:
        """Logs what was not told yet since the NIC came into the state that it is in."""
        is_new = name in _ALWAYS or self._told.get(name) != facts
        if name in _STATES:
            self._told.clear()
        self._told[name] = facts
        if name == "repaired":  # and read back: that it is as wanted need not be told, too
            self._told["ok"] = {}
        if is_new:
            self._log(Event(name=name, facts=facts))


def run(watcher: Watcher, notices: Notices, clock: Callable[[], float]) -> int:
    """Looks until it is told to stop or gives up; returns the exit status, 0 or 1."""
    due = clock()
    while True:
        notice = notices.wait(max(0.0, due - clock()))
        if notice is Notice.STOP:
            watcher.stop()
            return 0
        if notice is Notice.CHANGED:
            due = min(due, clock() + watcher.policy.settle_s)
        if clock() < due:
            continue
        wait_s = watcher.look()
        if wait_s is None:
            return 1
        due = clock() + wait_s


def _shown(found: tuple[Difference, ...]) -> dict[str, Any]:
    shown = [
        {"what": one.what, "wanted": one.wanted, "found": one.found} for one in found[:_SHOWN_MAX]
    ]
    return {"differences": len(found), "first": shown}
