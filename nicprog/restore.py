# SPDX-License-Identifier: Apache-2.0
"""Back to what a NIC held before the latest apply: on demand, after a kill, without a confirmation.

An apply ends in one of two states. It may have been killed in the middle, or have to be confirmed;
then its snapshot is still that of an apply under way, and :func:`recover` or :func:`confirm` ends
it.
"""

from __future__ import annotations

from pathlib import Path

from nicprog.apply import Result, run_all
from nicprog.backends import Backend
from nicprog.errors import Refused, SnapshotError
from nicprog.plan import Plan, Step, diff
from nicprog.signals import held
from nicprog.snapshot import Snapshot, Store, locked


def rollback(nic: Backend, *, state_dir: str | Path | None = None) -> Result:
    """Restores what the NIC held before the latest apply, also one that was killed in the middle.

    Raises:
        SnapshotError: There is nothing to go back to.
        Locked: Another nicprog is changing it; nothing was changed.
        ApplyError: As for :func:`nicprog.apply`; the snapshot stays.
    """
    store = _store(nic, state_dir)
    with locked(nic.device):
        steps = _restore(nic, store.latest(nic.instance))
        store.forget_all()
    return Result(device=nic.device, steps=steps, snapshot=None)


def recover(nic: Backend, *, state_dir: str | Path | None = None) -> Result | None:
    """Ends an apply that was killed in the middle, or whose time to be confirmed is over.

    Returns:
        What was done, with the snapshot that a rollback takes next; None when nothing was to do.

    Raises:
        Locked, SnapshotError, ApplyError: As for :func:`rollback`.
    """
    store = _store(nic, state_dir)
    with locked(nic.device):
        found = store.open_end(nic.instance)
        if found is None or found.waits:
            return None
        steps = _restore(nic, found)
        store.forget_applying()
    snapshot = store.done if store.done.exists() else None
    return Result(device=nic.device, steps=steps, snapshot=snapshot)


def confirm(nic: Backend, *, state_dir: str | Path | None = None) -> Result:
    """Keeps what was applied with a time to be confirmed.

    Returns:
        No steps, and the snapshot that a rollback would take.

    Raises:
        SnapshotError: Nothing waits, or the time is over.
        Locked: Another nicprog is changing it, perhaps back.
    """
    store = _store(nic, state_dir)
    with locked(nic.device):
        found = store.open_end(nic.instance)
        if found is None or not found.waits:
            raise SnapshotError(
                f"{nic.device}: nothing waits to be confirmed; what was not confirmed in time is "
                "taken back"
            )
        store.keep()
    return Result(device=nic.device, steps=(), snapshot=store.done)


def _store(nic: Backend, state_dir: str | Path | None) -> Store:
    return Store(nic.device, Path(state_dir) if state_dir else None)


def _restore(nic: Backend, snapshot: Snapshot) -> tuple[Step, ...]:
    with held() as pending:
        now = nic.read(snapshot.state.settings)
        try:
            steps = diff(now, snapshot.state, nic.capabilities())
        except Refused as error:
            raise Refused(f"{nic.device}: cannot hold what {snapshot.path} says: {error}") from None
        plan = Plan(device=nic.device, now=now, wanted=snapshot.state, steps=steps)
        run_all(nic, plan, pending, f"; the snapshot {snapshot.path} stays")
    return steps
