# SPDX-License-Identifier: Apache-2.0
"""Carries out a plan, reads it back, undoes it when anything goes wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from nicprog import settings
from nicprog.actions import Action, DeleteRule, InsertRule, SetValues
from nicprog.backends import Backend
from nicprog.errors import ApplyError, NicprogError, RequestError, StalePlan
from nicprog.explain import (
    FORGOTTEN,
    Explanation,
    Facts,
    explain,
    explain_refusal,
    loaded_modules,
)
from nicprog.model import NicState, RssContext
from nicprog.plan import Plan, Step, diff
from nicprog.settings import HOST_GROUPS
from nicprog.signals import Pending, held
from nicprog.snapshot import Store, locked, now_s
from nicprog.text import rule_text

_WRITTEN_BY: Final = {
    "channels": "set_channels", "key": "set_key", "table": "set_table", "rule": "insert_rule",
    "setting": "set_values", "context": "set_context",
}  # fmt: skip
_BATCH: Final = 64
"""Rules under way at once; a signal waits for them, some milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that is not as wanted.

    Attributes:
        what: ``channels``, ``table entry N``, ``key``, ``context NAME``, ``context NAME PART``,
            ``rule N`` or ``setting GROUP NAME``.
        wanted: As text, or None when it should not be there.
        found: As text, or None when it is not there.
    """

    what: str
    wanted: str | None
    found: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What an apply or a return to an earlier state did.

    Attributes:
        device: Name of the NIC.
        steps: Steps done, in order.
        snapshot: File to roll back to; None when there is none.
        confirm_within_s: Time left to confirm; None when that is not needed.
    """

    device: str
    steps: tuple[Step, ...]
    snapshot: Path | None
    confirm_within_s: float | None = None


def apply(
    nic: Backend,
    plan: Plan,
    *,
    state_dir: str | Path | None = None,
    confirm_within_s: float | None = None,
    is_repair: bool = False,
) -> Result:
    """Carries out ``plan`` and reads the NIC back.

    Args:
        nic: The NIC that the plan was made for.
        plan: From :func:`nicprog.plan`.
        state_dir: Folder for the snapshot; None is where the control sockets are.
        confirm_within_s: Seconds from now; unless :func:`nicprog.confirm` is called within them, a
            process of its own restores what was before. None: it stays.
        is_repair: The plan leads back to what an earlier apply did, whose snapshot stays the one to
            roll back to.

    Raises:
        StalePlan: The NIC is not as it was when the plan was made; nothing was changed.
        Locked: Another nicprog is changing it; nothing was changed.
        SnapshotError: The state before cannot be saved; nothing was changed.
        ApplyError: A step failed, a signal came, or the NIC does not hold what was written: the
            steps done were undone, unless its ``undone`` is False. Or an earlier apply was killed
            in the middle or waits to be confirmed, and nothing was changed.
    """
    store = Store(nic.device, Path(state_dir) if state_dir else None)
    with locked(nic.device), held() as pending:
        _refuse_open_end(nic, store)
        if nic.read(plan.now.settings) != plan.now:
            raise StalePlan(f"{nic.device}: changed since the plan was made; plan again")
        if not plan.steps:
            return Result(device=nic.device, steps=(), snapshot=None)
        _carry_out(nic, plan, store, pending, confirm_within_s)
        if is_repair:
            store.forget_applying()
        elif confirm_within_s is None:
            store.keep()
        else:
            store.wait()
    if is_repair:
        return Result(device=nic.device, steps=plan.steps, snapshot=None)
    snapshot = store.done if confirm_within_s is None else store.applying
    return Result(
        device=nic.device,
        steps=plan.steps,
        snapshot=snapshot,
        confirm_within_s=confirm_within_s,
    )


def _refuse_open_end(nic: Backend, store: Store) -> None:
    found = store.open_end(nic.instance)
    if found is None:
        return
    if found.applied:
        why = f"what was applied waits for 'nicprog confirm {nic.device}'; do that or"
    else:
        why = "an earlier apply was killed in the middle;"
    raise ApplyError(f"{nic.device}: {why} run 'nicprog rollback {nic.device}' first", undone=True)


def differences(wanted: NicState, found: NicState) -> tuple[Difference, ...]:
    """Everything in which ``found`` is not ``wanted``, in a fixed order."""
    result = []
    if wanted.channels != found.channels:
        texts = str(wanted.channels), str(found.channels)
        result.append(Difference(what="channels", wanted=texts[0], found=texts[1]))
    if wanted.key != found.key:
        result.append(Difference(what="key", wanted=wanted.key.hex(), found=found.key.hex()))
    entries = zip(wanted.table.entries, found.table.entries, strict=False)
    for index, (one, other) in enumerate(entries):
        if one != other:
            what = f"table entry {index}"
            result.append(Difference(what=what, wanted=f"queue {one}", found=f"queue {other}"))
    result += _different_contexts(wanted, found)
    old = {rule.location: rule for rule in found.rules}
    new = {rule.location: rule for rule in wanted.rules}
    for location in sorted(old.keys() | new.keys()):
        if old.get(location) != new.get(location):
            texts_of = [
                rule_text(rule) if rule else None for rule in (new.get(location), old.get(location))
            ]
            result.append(
                Difference(what=f"rule {location}", wanted=texts_of[0], found=texts_of[1])
            )
    return (*result, *_different_settings(wanted, found))


def _different_contexts(wanted: NicState, found: NicState) -> Iterator[Difference]:
    old = {context.name: context for context in found.contexts}
    new = {context.name: context for context in wanted.contexts}
    for name in sorted(old.keys() | new.keys()):
        one, other = new.get(name), old.get(name)
        if one is None or other is None:
            texts = ["there" if context else None for context in (one, other)]
            yield Difference(what=f"context {name}", wanted=texts[0], found=texts[1])
            continue
        parts = _parts_of(one), _parts_of(other)
        for part, value in parts[0].items():  # hashing that is not in it may be anything
            if parts[1].get(part) != value:
                what = f"context {name} {part}"
                yield Difference(what=what, wanted=value, found=parts[1].get(part))


def _parts_of(context: RssContext) -> dict[str, str | None]:
    parts: dict[str, str | None] = {"key": context.key.hex()} if context.key else {}
    parts |= {f"entry {at}": f"queue {q}" for at, q in enumerate(context.table.entries)}
    return parts | {name: settings.text(value) for name, value in context.hashing.items()}


def _different_settings(wanted: NicState, found: NicState) -> Iterator[Difference]:
    for group, values in wanted.settings.items():
        there = found.settings.get(group, {})
        for name in sorted(values):  # others are what the driver adapts by itself
            one, other = values.get(name), there.get(name)
            if one != other:
                what = f"setting {group} {name}"
                yield Difference(what=what, wanted=settings.text(one), found=settings.text(other))


def _carry_out(
    nic: Backend, plan: Plan, store: Store, pending: Pending, confirm_within_s: float | None
) -> None:
    confirm_by = None if confirm_within_s is None else now_s() + confirm_within_s
    store.begin(nic.instance, plan.now, confirm_by)
    try:
        if confirm_by is not None:  # before the first step, which may be the one that cuts us off
            _start_guard(store, confirm_by)
        run_all(nic, plan, pending)
    except ApplyError as error:
        if error.undone:
            store.forget_applying()
        raise


def _start_guard(store: Store, confirm_by: float) -> None:
    """Returns when nicprog.guard watches over the snapshot, whatever becomes of this process."""
    folder = str(store.folder.absolute())
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "nicprog.guard", store.device, folder, repr(confirm_by)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert process.stdout is not None
        with process.stdout as said:
            watches = said.readline() != b""
        process.wait()  # it goes on in the background
    except OSError:
        watches = False
    if not watches:
        raise ApplyError(
            f"{store.device}: the process that would take it back unconfirmed does not start; "
            "nothing was changed",
            undone=True,
        )


def run_all(nic: Backend, plan: Plan, pending: Pending, hint: str = "") -> None:
    """All steps and the proof, or none of them."""
    done: list[Step] = []
    try:
        for batch in _batches(plan.steps):
            _stop_if(pending)
            _run_batch(nic, batch, done)
        _stop_if(pending)
        _prove(nic, plan.wanted)
    except Exception as error:  # whatever it is, the NIC must not stay half changed
        failed = f"{nic.device}: {_where(plan.steps, error, len(done))} failed: {error}"
        failed += _cause(nic, plan, error, len(done))
        left = _undo(nic, done, plan.now)
        if left is None:
            raise ApplyError(f"{failed}; {_undone(len(done))}{hint}", undone=True) from error
        text = (
            f"{failed}; undoing failed too: {left}; if the NIC is still there, "
            f"'nicprog rollback {nic.device}' restores it"
        )
        raise ApplyError(text, undone=False) from error


def _batches(steps: Sequence[Step]) -> Iterator[Sequence[Step]]:
    """Runs of steps of one kind on rules, which do not depend on each other; others one by one."""
    for kind, group in groupby(steps, key=lambda step: type(step.do)):
        run = list(group)
        size = _BATCH if kind in (InsertRule, DeleteRule) else 1
        yield from (run[at : at + size] for at in range(0, len(run), size))


def _run_batch(nic: Backend, batch: Sequence[Step], done: list[Step]) -> None:
    """Adds to ``done`` what was done, also when one was refused among those under way with it."""
    rules = [step.do for step in batch if isinstance(step.do, InsertRule | DeleteRule)]
    if not rules:
        nic.run(batch[0].do)
        done += batch
        return
    results = nic.run_rules(rules)
    done += [step for step, error in zip(batch, results, strict=True) if error is None]
    for step, error in zip(batch, results, strict=True):
        if error is not None:
            raise _StepRefused(step, error)


class _StepRefused(NicprogError):
    """Names the step among those that were under way."""

    def __init__(self, step: Step, error: RequestError) -> None:
        super().__init__(str(error))
        self.step, self.errno = step, error.errno


def _cause(nic: Backend, plan: Plan, error: Exception, done: int) -> str:
    """The cause that is the most likely, when the NIC shows it or its driver is known for it."""
    try:
        found = [one for one in _causes(nic, plan, error, done) if one.is_seen or one.cause.drivers]
    except NicprogError:  # it cannot be asked any more
        return ""
    return f"; cause: {found[0]}" if found else ""


def _causes(nic: Backend, plan: Plan, error: Exception, done: int) -> Sequence[Explanation]:
    do: Action
    if isinstance(error, _NotHeld):
        if error.written is None:
            return explain(FORGOTTEN, error.call, nic.capabilities().driver)
        do, number = error.written, FORGOTTEN
    elif isinstance(error, _StepRefused):
        do, number = error.step.do, error.errno
    elif isinstance(error, RequestError) and done < len(plan.steps):
        do, number = plan.steps[done].do, error.errno
    else:
        return ()
    groups = plan.now.settings
    facts = Facts(
        action=do,
        can=nic.capabilities(),
        state=nic.read(groups),
        limits=nic.limits(groups),
        modules=loaded_modules(),
        host=nic.host_facts() if any(group in HOST_GROUPS for group in groups) else None,
    )
    return explain_refusal(number, facts)


class _NotHeld(NicprogError):
    """What was written does not read back; knows the call, and of a value of the host all of it."""

    def __init__(self, message: str, first: Difference) -> None:
        super().__init__(message)
        kind, *names = first.what.split(maxsplit=2)
        self.call = _WRITTEN_BY[kind]
        self.written: SetValues | None = None
        if kind == "setting" and names[0] in HOST_GROUPS:
            self.written = SetValues(group=names[0], values={names[1]: first.wanted or ""})


def _where(steps: Sequence[Step], error: Exception, done: int) -> str:
    if isinstance(error, _StepRefused):
        done = next(at for at, step in enumerate(steps) if step is error.step)
    if done == len(steps):
        return "reading it back"
    return f"step {done + 1} of {len(steps)} ({steps[done].do})"


def _stop_if(pending: Pending) -> None:
    if pending.signal is not None:
        pending.heeded = True
        raise NicprogError(f"interrupted by {pending.signal.name}")


def _prove(nic: Backend, wanted: NicState) -> None:
    wrong = differences(wanted, nic.read(wanted.settings))
    if wrong:
        first = wrong[0]
        raise _NotHeld(
            f"{first.what}: the NIC holds {first.found or 'nothing'}, "
            f"{first.wanted or 'nothing'} was written ({len(wrong)} differences)",
            first,
        )


def _undo(nic: Backend, done: Sequence[Step], before: NicState) -> str | None:
    """Undoes ``done`` and proves it; returns why that failed, or None."""
    try:
        try:
            for step in reversed(done):
                nic.run(step.undo)
            _prove(nic, before)
        except NicprogError:
            # A refused step had an effect, or a step more than it says: what is left is a plan.
            for step in diff(nic.read(before.settings), before, nic.capabilities()):
                nic.run(step.do)
            _prove(nic, before)
    except NicprogError as error:
        return str(error)
    return None


def _undone(steps: int) -> str:
    if steps == 0:
        return "nothing was changed"
    return f"{steps} step{'s' if steps > 1 else ''} undone, the NIC is as before"
