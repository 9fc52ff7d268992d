# SPDX-License-Identifier: Apache-2.0
"""Watching a model in virtual time, while somebody else changes it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Self

import pytest

import nicprog
from nicprog import sim
from nicprog.actions import Action
from nicprog.errors import DeviceError
from nicprog.notices import Notice, TimeNotices, ending_signals
from nicprog.snapshot import Store, locked
from nicprog.watch import Event, Policy, Watcher, run
from tests.nicprog.owner import Owner

SPEC = nicprog.parse("""
device = "sim:mlx5"
[rss]
equal = [0, 1]
[[rule]]
name = "web"
protocol = "tcp"
family = "ipv4"
dst_port = 443
queue = 2
""")
POLICY = Policy(interval_s=30, settle_s=0.5, first_wait_s=1, most_wait_s=60, repairs_max=4)


@dataclass
class World:
    """A NIC, its time, and what happens at which moment."""

    nic: sim.SimNic = field(default_factory=lambda: sim.SimNic("mlx5"))
    now: float = 0.0
    log: list[tuple[float, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    happens: list[tuple[float, Callable[[], None], Notice]] = field(default_factory=list)
    is_there: bool = True

    def note(self, event: Event) -> None:
        self.log.append((round(self.now, 3), event.name))
        self.events.append(event)

    def open(self) -> nicprog.Backend:
        if not self.is_there:
            raise DeviceError("sim:mlx5: no such interface")
        return sim.connect(self.nic)

    def wait(self, timeout_s: float) -> Notice:
        """As Notices: jumps to what happens next."""
        until = self.now + timeout_s
        if self.happens and self.happens[0][0] <= until:
            self.now, action, notice = self.happens.pop(0)
            action()
            return notice
        self.now = until
        return Notice.TIME

    def at(self, when: float, action: Callable[[], None], notice: Notice = Notice.TIME) -> None:
        self.happens.append((when, action, notice))
        self.happens.sort(key=lambda item: item[0])

    def watch(self, policy: Policy = POLICY, stop_at: float = 1000.0) -> int:
        self.at(stop_at, lambda: None, Notice.STOP)
        watcher = Watcher(
            SPEC, log=self.note, clock=lambda: self.now, policy=policy, open_nic=self.open
        )
        return run(watcher, self, lambda: self.now)

    def spoil(self) -> None:
        """Somebody deletes the rule."""
        self.nic.rules.clear()


@pytest.fixture
def world(run_dir: Path) -> World:
    made = World()
    with made.open() as nic:
        nicprog.apply(nic, nicprog.plan(nic, SPEC))
    return made


def test_what_is_as_wanted_is_told_once(world: World) -> None:
    assert world.watch() == 0
    assert world.log == [(0, "ok"), (1000, "stopped")]


def test_drift_is_found_by_looking_and_repaired(world: World) -> None:
    world.at(40, world.spoil)
    assert world.watch() == 0
    assert world.log == [(0, "ok"), (60, "drift"), (60, "repaired"), (1000, "stopped")]
    drift, repaired = world.events[1:3]
    assert drift.facts["differences"] == 1
    assert drift.facts["first"][0]["what"] == "rule 0"
    assert repaired.facts["steps"][0].startswith("insert rule 'web'")
    assert [rule.queue for rule in world.nic.in_order()] == [2]


def test_a_notice_brings_the_look_forward_but_lets_the_other_finish(world: World) -> None:
    world.at(40, world.spoil, Notice.CHANGED)
    world.at(40.4, lambda: world.nic.reset_table(), Notice.CHANGED)
    world.watch()
    assert world.log[1:3] == [(40.5, "drift"), (40.5, "repaired")]
    assert world.events[1].facts["differences"] > 1


def test_it_waits_longer_each_time_and_gives_up_instead_of_fighting(world: World) -> None:
    for moment in range(100):
        world.at(40 + moment, world.spoil, Notice.CHANGED)
    assert world.watch() == 1
    repaired = [when for when, name in world.log if name == "repaired"]
    assert len(repaired) == POLICY.repairs_max
    waits = [late - early for early, late in pairwise(repaired)]
    assert waits[0] >= 1
    assert waits[1] >= 2
    assert waits[2] >= 4
    assert world.log[-1][1] == "gave_up"
    assert world.events[-1].facts["repairs"] == 4
    assert not world.nic.rules  # it left the last word to the other


def test_what_happens_now_and_then_is_repaired_for_ever(world: World) -> None:
    for moment in range(20):
        world.at(200.0 * (moment + 1), world.spoil)
    assert world.watch(stop_at=5000) == 0
    assert [name for _, name in world.log].count("repaired") == 20


def test_without_repairs_it_only_tells(world: World) -> None:
    world.at(40, world.spoil, Notice.CHANGED)
    assert world.watch(Policy(repairs_max=0)) == 0
    assert world.log == [(0, "ok"), (40.5, "drift"), (1000, "stopped")]
    assert not world.nic.rules


def test_a_nic_that_is_gone_is_waited_for_and_set_anew(world: World) -> None:
    def gone() -> None:
        world.is_there = False

    def back() -> None:
        world.is_there, world.nic = True, sim.SimNic("mlx5")

    world.at(10, gone, Notice.CHANGED)
    world.at(500, back, Notice.CHANGED)
    assert world.watch() == 0
    assert [name for _, name in world.log] == ["ok", "absent", "drift", "repaired", "stopped"]
    assert world.events[2].facts["made_anew"] is True
    assert len(world.nic.rules) == 1


def test_a_repair_that_fails_counts_and_is_tried_again(world: World) -> None:
    def allow(on: bool) -> None:
        world.nic.ntuple = on

    world.spoil()
    allow(False)
    world.at(2.5, lambda: allow(True))
    assert world.watch() == 0
    assert world.log == [
        (0, "drift"), (0, "failed"), (1, "failed"), (3, "repaired"), (1000, "stopped"),
    ]  # fmt: skip
    assert "step 1 of 1 (insert rule 'web'" in world.events[1].facts["why"]
    assert world.events[3].facts["repairs"] == 3


def test_nothing_is_repaired_while_another_nicprog_is_at_it(world: World) -> None:
    world.spoil()
    with locked("sim:mlx5"):
        assert world.watch(stop_at=100) == 0
    assert [name for _, name in world.log] == ["drift", "busy", "stopped"]
    assert not world.nic.rules


def test_nothing_is_repaired_while_what_was_applied_waits_to_be_confirmed(world: World) -> None:
    world.spoil()
    nic = world.open()
    store = Store("sim:mlx5")
    store.begin(nic.instance, nic.read(), confirm_by=1e12)
    store.wait()
    assert world.watch(stop_at=100) == 0
    assert [name for _, name in world.log] == ["drift", "busy", "stopped"]


def test_a_repair_leaves_the_snapshot_of_the_apply_to_roll_back_to(world: World) -> None:
    nic = world.open()
    before = Store("sim:mlx5").done.read_bytes()
    world.spoil()
    nicprog.apply(nic, nicprog.plan(nic, SPEC), is_repair=True)
    assert Store("sim:mlx5").done.read_bytes() == before
    assert not Store("sim:mlx5").applying.exists()


def test_what_the_nic_cannot_hold_is_told_and_not_tried(world: World) -> None:
    def smaller() -> None:
        world.nic.rules.clear()
        world.nic.reset_table()
        world.nic.channels = nicprog.ethtool.Channels(max_combined=2, combined_count=2)

    world.at(10, smaller, Notice.CHANGED)
    assert world.watch() == 0
    assert [name for _, name in world.log] == ["ok", "unreadable", "stopped"]
    assert "names queue 2, but 2 queues are active" in world.events[1].facts["why"]


def test_a_software_nic_whose_owner_comes_back_is_set_anew(run_dir: Path) -> None:
    events: list[Event] = []
    spec = nicprog.parse('device = "qp0"\nchannels = { combined = 2 }')
    watcher = Watcher(spec, log=events.append, clock=lambda: 0.0, policy=Policy(first_wait_s=0.001))
    for kill in (True, False):
        with Owner("qp0", 8) as owner:
            watcher.look()
            if kill:
                owner.kill()
                watcher.look()
            else:
                assert len(events) == 5
                with nicprog.open("qp0") as nic:
                    assert nic.read().channels.combined == 8  # it is not due
    assert [one.name for one in events] == ["drift", "repaired", "absent", "drift", "waits"]
    assert events[3].facts["made_anew"] is True


class Interrupted:
    """A NIC whose program gets SIGTERM in the middle of the first change."""

    def __init__(self, nic: nicprog.Backend) -> None:
        self._nic = nic

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._nic.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._nic, name)

    def run(self, action: Action) -> None:
        self._nic.run(action)
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_in_the_middle_of_a_repair_undoes_it_and_ends_the_watch(world: World) -> None:
    world.spoil()
    world.nic.reset_table()
    table = world.nic.contexts[0].table
    nic = Interrupted(world.open())
    with ending_signals() as stop:
        watcher = Watcher(
            SPEC, log=world.note, clock=lambda: 0.0, open_nic=lambda: nic  # type: ignore[arg-type,return-value]  # by __getattr__
        )  # fmt: skip
        assert run(watcher, TimeNotices(stop), lambda: 0.0) == 0
    assert [name for _, name in world.log] == ["drift", "failed", "stopped"]
    assert "interrupted by SIGTERM" in world.events[1].facts["why"]
    assert world.nic.contexts[0].table == table
    assert not world.nic.rules
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_policy_without_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Policy(interval_s=0)
    with pytest.raises(ValueError, match="negative"):
        Policy(repairs_max=-1)
