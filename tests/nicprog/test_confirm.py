# SPDX-License-Identifier: Apache-2.0
"""An apply comes to an end: it is confirmed, taken back, or restored at the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import nicprog
from nicprog.errors import ApplyError, SnapshotError
from nicprog.snapshot import Store, now_s
from tests.nicprog.owner import Owner
from tests.nicprog.test_cli import SPEC, refused, run, run_json

LIMIT_S = 30.0


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.05)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "nic.toml"
    path.write_text(SPEC)
    return path


def test_what_is_confirmed_stays(owner: Owner, nic: nicprog.Backend, spec: Path) -> None:
    before = nic.read()
    done = run_json("apply", spec, "--confirm", "60s")
    assert done["confirm_within_s"] == 60
    assert done["snapshot"].endswith("qp0.applying.json")
    after = nic.read()
    assert after != before
    message = "what was applied waits for 'nicprog confirm qp0'; do that or run 'nicprog rollback"
    assert message in refused("apply", spec, status=1)
    assert run_json("confirm", "qp0")["snapshot"].endswith("qp0.snapshot.json")
    assert nic.read() == after
    assert "nothing waits to be confirmed" in refused("confirm", "qp0", status=1)
    run("rollback", "qp0")
    assert nic.read() == before


def test_what_is_not_confirmed_is_taken_back(
    owner: Owner, nic: nicprog.Backend, spec: Path, run_dir: Path
) -> None:
    before = nic.read()
    text, _ = run("apply", spec, "--confirm", "1s")
    assert "taken back in 1 s unless 'nicprog confirm qp0' is run" in text
    wait_for(lambda: not (run_dir / "qp0.applying.json").exists())
    assert nic.read() == before
    assert "nothing waits to be confirmed" in refused("confirm", "qp0", status=1)


def test_the_time_before_stays_what_a_rollback_takes(
    owner: Owner, nic: nicprog.Backend, spec: Path, run_dir: Path
) -> None:
    before = nic.read()
    run("apply", spec)
    between = nic.read()
    other = spec.with_name("other.toml")
    other.write_text('device = "qp0"\n[channels]\ncombined = 6\n')
    run("apply", other, "--confirm", "1")
    wait_for(lambda: not (run_dir / "qp0.applying.json").exists())
    assert nic.read() == between
    run("rollback", "qp0")
    assert nic.read() == before


def test_a_rollback_needs_no_time_to_be_over(
    owner: Owner, nic: nicprog.Backend, spec: Path
) -> None:
    before = nic.read()
    run("apply", spec, "--confirm", "1h")
    run("rollback", "qp0")
    assert nic.read() == before
    run("apply", spec)


KILLED = """
import os, signal, sys
import nicprog
from nicprog.backends.ethtool import EthtoolNic

run, left = EthtoolNic.run, int(sys.argv[3])

def run_or_die(self, action):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    run(self, action)

EthtoolNic.run = run_or_die
with nicprog.open("qp0") as nic:
    confirm = float(sys.argv[2]) or None
    nicprog.apply(nic, nicprog.plan(nic, nicprog.load(sys.argv[1])), confirm_within_s=confirm)
"""


def killed(spec: Path, confirm_s: float, steps: int) -> None:
    """An apply that is killed before the first step, or the second of those that are no rules."""
    args = [sys.executable, "-c", KILLED, str(spec), str(confirm_s), str(steps)]
    done = subprocess.run(args, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_kill_in_the_middle_is_taken_back_when_the_time_is_over(
    owner: Owner, nic: nicprog.Backend, spec: Path, run_dir: Path
) -> None:
    before = nic.read()
    killed(spec, 1, steps=1)
    assert nic.read() != before
    wait_for(lambda: not (run_dir / "qp0.applying.json").exists())
    assert nic.read() == before


@pytest.mark.parametrize(("steps", "done"), [(0, 0), (1, 5)])
def test_the_next_apply_begins_from_the_state_before_a_kill(
    owner: Owner, nic: nicprog.Backend, spec: Path, steps: int, done: int
) -> None:
    before = nic.read()
    killed(spec, 0, steps)
    stdout, stderr = run("apply", spec, "--json")
    assert f"{done} steps restored what was before it" in stderr
    assert '"recovered": true' in stdout
    run("rollback", "qp0")
    assert nic.read() == before


def test_the_next_apply_takes_back_what_nobody_could_any_more(
    owner: Owner, nic: nicprog.Backend, spec: Path
) -> None:
    """The process that waits was killed, too."""
    before = nic.read()
    store = Store("qp0")
    store.begin(nic.instance, before, now_s() - 1)
    nic.run(nicprog.plan(nic, nicprog.load(spec)).steps[0].do)
    store.wait()
    with pytest.raises(SnapshotError, match="nothing waits to be confirmed"):
        nicprog.confirm(nic)
    recovered = nicprog.recover(nic)
    assert recovered is not None
    assert recovered.snapshot is None
    assert nic.read() == before
    assert nicprog.recover(nic) is None


def test_nothing_is_changed_when_nobody_would_take_it_back(
    owner: Owner, nic: nicprog.Backend, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = nic.read()
    plan = nicprog.plan(nic, nicprog.load(spec))
    for program in ("/nonexistent", "/bin/false"):
        monkeypatch.setattr(sys, "executable", program)
        with pytest.raises(ApplyError, match=r"does not start; nothing was changed$") as caught:
            nicprog.apply(nic, plan, confirm_within_s=60)
        assert caught.value.undone
    assert nic.read() == before
    monkeypatch.undo()
    nicprog.apply(nic, plan)


def test_the_end_of_the_terminal_does_not_end_the_wait(
    owner: Owner, nic: nicprog.Backend, spec: Path, run_dir: Path
) -> None:
    before = nic.read()
    args = [sys.executable, "-m", "nicprog.cli", "apply", str(spec), "--confirm", "2s"]
    with subprocess.Popen(args, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        assert process.wait(LIMIT_S) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, signal.SIGHUP)  # nobody is left in its session
    assert nic.read() != before
    wait_for(lambda: not (run_dir / "qp0.applying.json").exists())
    assert nic.read() == before


@pytest.mark.parametrize("text", ["", "0s", "-1", "1d", "s", "1.5m", "soon"])
def test_what_is_no_time(run_dir: Path, spec: Path, text: str) -> None:
    _, stderr = run("apply", spec, "--confirm", text, status=2)
    assert "--confirm" in stderr
