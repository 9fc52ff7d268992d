# SPDX-License-Identifier: Apache-2.0
"""What a NIC held before it was changed, on disk until the next change or a rollback.

While an apply is under way, or waits to be confirmed, its snapshot is called DEVICE.applying.json,
afterwards DEVICE.snapshot.json. So a process that is killed in the middle leaves the first, and
rollback takes that one when it is there.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from nicprog.backends.run_dir import file_name, run_dir
from nicprog.errors import Locked, SnapshotError
from nicprog.model import NicState
from nicprog.text import state_from_json, state_to_json

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One saved state.

    Attributes:
        path: The file.
        device: Name of the NIC.
        instance: Which NIC of that name, see :class:`nicprog.backends.Backend`.
        saved_at: ISO 8601, UTC.
        state: What the NIC held.
        confirm_by: When it is restored unless that is confirmed, as :func:`now_s` counts; None when
            no confirmation was asked for.
        applied: All steps of the apply are done, so that it waits to be confirmed.
    """

    path: Path
    device: str
    instance: str
    saved_at: str
    state: NicState
    confirm_by: float | None = None
    applied: bool = False

    @property
    def waits(self) -> bool:
        """There is still time to confirm."""
        return self.applied and self.confirm_by is not None and now_s() < self.confirm_by


def now_s() -> float:
    """Seconds since the machine started, sleep included: nobody sets this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Store:
    """The snapshots of one NIC in one folder."""

    def __init__(self, device: str, folder: Path | None = None) -> None:
        """``folder`` is where the control sockets are when it is None."""
        self.device = device
        self.folder = folder or run_dir()
        self.applying = self.folder / f"{file_name(device)}.applying.json"
        self.done = self.folder / f"{file_name(device)}.snapshot.json"
        self._document: dict[str, Any] = {}

    def begin(self, instance: str, state: NicState, confirm_by: float | None = None) -> None:
        """Saves ``state`` before the first step.

        Raises:
            SnapshotError: It cannot be written; nothing may be changed then.
        """
        self._document = {
            "format": _FORMAT,
            "device": self.device,
            "instance": instance,
            "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "state": state_to_json(state),
            "confirm_by": confirm_by,
            "applied": False,
        }
        try:
            self._write()
        except OSError as error:
            raise SnapshotError(
                f"{self.device}: cannot save its state to {self.applying}: {error.strerror}; "
                "nothing was changed"
            ) from None

    def wait(self) -> None:
        """All steps are done: this is the state to go back to unless that is confirmed.

        Raises:
            OSError: It cannot be written.
        """
        self._document["applied"] = True
        self._write()

    def _write(self) -> None:
        partial = self.applying.with_suffix(".partial")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(self._document, file)
        partial.replace(self.applying)

    def keep(self) -> None:
        """All steps are done, and confirmed: this is the state to roll back to."""
        self.applying.replace(self.done)

    def forget_applying(self) -> None:
        """All steps are undone: the snapshot before stays the one to roll back to."""
        self.applying.unlink(missing_ok=True)

    def forget_all(self) -> None:
        """The NIC is rolled back, there is nothing to go back to."""
        self.applying.unlink(missing_ok=True)
        self.done.unlink(missing_ok=True)

    def open_end(self, instance: str) -> Snapshot | None:
        """The snapshot of an apply on this very NIC that was killed in the middle, or waits."""
        found = self.under_way()
        return found if found is not None and found.instance == instance else None

    def under_way(self) -> Snapshot | None:
        """The same, of whichever NIC of this name."""
        return self._read(self.applying)

    def latest(self, instance: str) -> Snapshot:
        """The snapshot to roll back to.

        Raises:
            SnapshotError: There is none, or it is of an earlier NIC of the same name.
        """
        found = self.under_way() or self._read(self.done)
        if found is None:
            raise SnapshotError(
                f"{self.device}: no snapshot in {self.folder}; nothing was applied since the last "
                "rollback, or another --state-dir was used"
            )
        if found.instance != instance:
            raise SnapshotError(
                f"{self.device}: the snapshot in {found.path} of {found.saved_at} is of an earlier "
                "NIC of that name, whose settings ended with it; nothing to roll back"
            )
        return found

    def _read(self, path: Path) -> Snapshot | None:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != _FORMAT:
                raise ValueError(f"format {document['format']}")
            return Snapshot(
                path=path,
                device=document["device"],
                instance=document["instance"],
                saved_at=document["saved_at"],
                state=state_from_json(document["state"]),
                confirm_by=document["confirm_by"],
                applied=document["applied"],
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SnapshotError(f"{self.device}: cannot read {path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise SnapshotError(
                f"{self.device}: {path} is damaged ({error!r}); remove it to go on without it"
            ) from None


@contextmanager
def locked(device: str) -> Iterator[None]:
    """Holds the only right to change ``device``, in whatever folder its snapshots are.

    Raises:
        Locked: Another nicprog has it.
    """
    path = run_dir() / f"{file_name(device)}.lock"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Locked(f"{device}: cannot open the lock file {path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(
                f"{device}: another nicprog is changing it (lock {path}); try again when it is done"
            ) from None
        yield
    finally:
        os.close(descriptor)
