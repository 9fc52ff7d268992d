# SPDX-License-Identifier: Apache-2.0
"""Apply and rollback with a fault at every step."""

from __future__ import annotations

import errno
import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

import nicprog
from nicprog.actions import Action
from nicprog.apply import differences
from nicprog.backends.memory import MemoryNic
from nicprog.errors import ApplyError, Locked, RequestError, SnapshotError, StalePlan
from nicprog.model import Capabilities, NicState
from nicprog.snapshot import Store, locked
from nicprog.text import state_from_json, state_to_json
from tests.nicprog.strategies import capabilities, states

CAN = capabilities()
NOW = nicprog.NicState(
    channels=nicprog.Channels(combined=2), table=nicprog.RssTable.default(2, 8), key=bytes(40)
)
SPEC = nicprog.parse(
    'device = "memory"\n[channels]\ncombined = 4\n[rss]\nkey = "symmetric"\n'
    '[[rule]]\nname = "web"\nprotocol = "tcp"\ndst_port = "80-82"\nqueue = 2\n'
    "[[reserve]]\nqueue = 3\nport = 8443\n"
)


class FaultyNic(MemoryNic):
    """Does something to one of the changes."""

    def __init__(self, state: NicState, can: Capabilities = CAN) -> None:
        super().__init__(can, state)
        self.fail_at: int | None = None
        self.lose_at: int | None = None
        self.signal_at: int | None = None
        self.done = 0

    def run(self, action: Action) -> None:
        self.done += 1
        if self.done == self.fail_at:
            raise RequestError("no space in the TCAM (ENOSPC)", errno.ENOSPC)
        if self.done == self.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if self.done != self.lose_at:
            super().run(action)


@pytest.fixture(autouse=True)
def _own_run_dir(run_dir: Path) -> None:
    """Locks and snapshots go to the test's own folder."""


def test_apply_and_roll_back() -> None:
    nic = FaultyNic(NOW)
    plan = nicprog.plan(nic, SPEC)
    result = nicprog.apply(nic, plan)
    assert nic.read() == plan.wanted
    assert nicprog.verify(nic, SPEC) == ()
    assert result.steps == plan.steps
    assert result.snapshot is not None
    assert result.snapshot.stat().st_mode & 0o777 == 0o600
    assert nicprog.plan(nic, SPEC).steps == ()
    assert nicprog.apply(nic, nicprog.plan(nic, SPEC)).snapshot is None
    nicprog.rollback(nic)
    assert nic.read() == NOW
    with pytest.raises(SnapshotError, match="memory: no snapshot in"):
        nicprog.rollback(nic)


def steps_of_the_plan() -> range:
    return range(1, len(nicprog.plan(FaultyNic(NOW), SPEC).steps) + 1)


@pytest.mark.parametrize("step", steps_of_the_plan())
def test_a_refused_step_undoes_those_before(step: int, run_dir: Path) -> None:
    nic = FaultyNic(NOW)
    plan = nicprog.plan(nic, SPEC)
    nic.fail_at = step
    # Rules are under way together: those after the refused one were done too.
    first_rule = next(i for i, s in enumerate(plan.steps, 1) if s.do.name == "insert_rule")
    done = step - 1 if step < first_rule else len(plan.steps) - 1
    outcome = "nothing was changed"
    if done:
        outcome = f"{done} step{'s' if done > 1 else ''} undone, the NIC is as before"
    with pytest.raises(ApplyError) as caught:
        nicprog.apply(nic, plan)
    assert str(caught.value) == (
        f"memory: step {step} of {len(plan.steps)} ({plan.steps[step - 1].do}) failed: "
        f"no space in the TCAM (ENOSPC); {outcome}"
    )
    assert caught.value.undone
    assert nic.read() == NOW
    assert sorted(p.name for p in run_dir.iterdir()) == ["memory.lock"]


@pytest.mark.parametrize("step", steps_of_the_plan())
def test_a_step_without_effect_is_noticed_and_all_is_undone(step: int) -> None:
    nic = FaultyNic(NOW)
    plan = nicprog.plan(nic, SPEC)
    nic.lose_at = step
    with pytest.raises(ApplyError) as caught:
        nicprog.apply(nic, plan)
    assert caught.value.undone
    assert nic.read() == NOW


@pytest.mark.parametrize("step", steps_of_the_plan())
def test_a_signal_lets_the_step_end_and_undoes_all(step: int) -> None:
    nic = FaultyNic(NOW)
    plan = nicprog.plan(nic, SPEC)
    nic.signal_at = step
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ApplyError, match=r"failed: interrupted by SIGTERM; .* undone"):
        nicprog.apply(nic, plan)
    assert nic.read() == NOW
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_comes_too_late_acts_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    nic = FaultyNic(NOW)
    plan = nicprog.plan(nic, SPEC)
    keep = Store.keep

    def interrupted_keep(store: Store) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        keep(store)

    monkeypatch.setattr(Store, "keep", interrupted_keep)
    with pytest.raises(KeyboardInterrupt):
        nicprog.apply(nic, plan)
    assert nic.read() == plan.wanted
    nicprog.rollback(nic)


@pytest.mark.parametrize("step", steps_of_the_plan())
def test_a_killed_apply_is_rolled_back_by_the_next_run(step: int) -> None:
    nic = FaultyNic(NOW)
    plan = nicprog.plan(nic, SPEC)
    Store("memory").begin(nic.instance, NOW)
    for done in plan.steps[:step]:  # and then the process was killed
        nic.run(done.do)
    with pytest.raises(ApplyError, match="an earlier apply was killed in the middle; run 'nicprog"):
        nicprog.apply(nic, nicprog.plan(nic, SPEC))
    nicprog.rollback(nic)
    assert nic.read() == NOW
    nicprog.apply(nic, nicprog.plan(nic, SPEC))


def test_a_failed_apply_keeps_the_snapshot_of_the_one_before() -> None:
    nic = FaultyNic(NOW)
    nicprog.apply(nic, nicprog.plan(nic, SPEC))
    other = nicprog.parse('device = "memory"\n[channels]\ncombined = 6\n')
    plan = nicprog.plan(nic, other)
    nic.fail_at = nic.done + 1
    with pytest.raises(ApplyError):
        nicprog.apply(nic, plan)
    nicprog.rollback(nic)
    assert nic.read() == NOW


def test_undo_that_fails_too_says_so_and_keeps_the_snapshot(run_dir: Path) -> None:
    class DyingNic(FaultyNic):
        def run(self, action: Action) -> None:
            if self.done >= 2:
                raise nicprog.DeviceError("its owner has ended")
            super().run(action)

    nic = DyingNic(NOW)
    with pytest.raises(ApplyError, match="undoing failed too: its owner has ended") as caught:
        nicprog.apply(nic, nicprog.plan(nic, SPEC))
    assert not caught.value.undone
    assert (run_dir / "memory.applying.json").exists()


def test_a_plan_for_another_state_is_refused() -> None:
    nic = FaultyNic(NOW)
    plan = nicprog.plan(nic, SPEC)
    nic.run(plan.steps[0].do)
    before = nic.read()
    with pytest.raises(StalePlan, match="changed since the plan was made"):
        nicprog.apply(nic, plan)
    assert nic.read() == before


def test_two_at_once_are_refused() -> None:
    nic = FaultyNic(NOW)
    plan = nicprog.plan(nic, SPEC)
    with locked("memory"), pytest.raises(Locked, match="another nicprog is changing it"):
        nicprog.apply(nic, plan)
    assert nic.read() == NOW
    nicprog.apply(nic, plan)


def test_without_a_snapshot_nothing_is_changed(tmp_path: Path) -> None:
    nic = FaultyNic(NOW)
    (tmp_path / "file").touch()
    with pytest.raises(SnapshotError, match=r"cannot save its state .* nothing was changed"):
        nicprog.apply(nic, nicprog.plan(nic, SPEC), state_dir=tmp_path / "file" / "x")
    assert nic.read() == NOW


def test_state_dir(tmp_path: Path) -> None:
    nic = FaultyNic(NOW)
    result = nicprog.apply(nic, nicprog.plan(nic, SPEC), state_dir=tmp_path / "a" / "b")
    assert result.snapshot == tmp_path / "a" / "b" / "memory.snapshot.json"
    nicprog.rollback(nic, state_dir=tmp_path / "a" / "b")
    assert nic.read() == NOW


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "device": 1}'])
def test_a_damaged_snapshot_is_named(text: str, run_dir: Path) -> None:
    nic = FaultyNic(NOW)
    (run_dir / "memory.snapshot.json").write_text(text)
    with pytest.raises(SnapshotError, match=r"memory\.snapshot\.json is damaged"):
        nicprog.rollback(nic)
    assert nic.read() == NOW


def test_a_snapshot_of_an_earlier_nic_is_refused() -> None:
    nic = FaultyNic(NOW)
    nicprog.apply(nic, nicprog.plan(nic, SPEC))
    again = FaultyNic(NOW)
    again.instance = "another"
    with pytest.raises(SnapshotError, match="is of an earlier NIC of that name"):
        nicprog.rollback(again)


def test_outside_the_main_thread() -> None:
    nic = FaultyNic(NOW)
    plan = nicprog.plan(nic, SPEC)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            nicprog.apply(nic, plan)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failed
    assert nic.read() == plan.wanted


@given(states(contexts=True))
def test_json_keeps_everything(state: NicState) -> None:
    assert state_from_json(state_to_json(state)) == state


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states(contexts=True), states(contexts=True))
def test_differences_are_empty_only_for_equal_states(one: NicState, other: NicState) -> None:
    assert (differences(one, other) == ()) == (one == other)
