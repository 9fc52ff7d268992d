# SPDX-License-Identifier: Apache-2.0
"""Changes of a host that are written down before they are made, so that they can be taken back.

A set-up has a name and a file: a list of what to do to undo it. Each entry is on disk before its
change is made, so one that is killed in the middle can be undone, too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nicprog.errors import NicprogError
from nicprog.host import RealFiles


class HostFiles(RealFiles):
    """The kernel's files, where folders are made and taken away as well."""

    def make_folder(self, path: str) -> None:
        """Makes a folder; the one around it is there."""
        (self.root / path.lstrip("/")).mkdir()

    def remove_folder(self, path: str) -> None:
        """Takes a folder away; the kernel's own files in a control group are no obstacle."""
        (self.root / path.lstrip("/")).rmdir()


class ProvisionError(NicprogError):
    """A set-up cannot be made, or not be taken back; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Writes a file of the kernel.

    Attributes:
        path: The file.
        text: What is written.
        why: For people.
        undo: What takes it back; None is what was in the file.
        holds: What the file must say afterwards; None: whatever it says.
    """

    path: str
    text: str
    why: str
    undo: str | None = None
    holds: str | None = None

    def __str__(self) -> str:
        return f"write {self.text!r} to {self.path}: {self.why}"

    def entry(self, files: HostFiles) -> dict[str, Any]:
        """What undoes it."""
        before = files.read(self.path).strip() if self.undo is None else self.undo
        return {"kind": "write", "path": self.path, "text": before}

    def make(self, files: HostFiles) -> None:
        """Makes it and reads it back."""
        files.write(self.path, self.text)
        found = files.read(self.path).strip()
        if self.holds not in (None, found):
            raise ProvisionError(
                f"{self.path} says {found!r} after {self.text!r} was written: {self.why} is not so"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeFolder:
    """Makes a folder, such as a control group."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"make {self.path}: {self.why}"

    def entry(self, files: HostFiles) -> dict[str, Any]:
        """What undoes it."""
        return {"kind": "folder", "path": self.path}

    def make(self, files: HostFiles) -> None:
        """Makes it."""
        files.make_folder(self.path)


Change = Write | MakeFolder
Undo = Callable[[dict[str, Any]], None]


class Journal:
    """What undoes one set-up."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._path = folder / f"provision-{name.replace('/', '%2F')}.json"

    @staticmethod
    def all(folder: Path) -> Iterator[Journal]:
        """Set-ups that were made and not undone, the last first."""
        found = []
        for path in folder.glob("provision-*.json"):
            name = path.name.removeprefix("provision-").removesuffix(".json")
            found.append(Journal(folder, name.replace("%2F", "/")))
        yield from sorted(found, key=lambda one: one.made_ns(), reverse=True)

    @property
    def exists(self) -> bool:
        """It was made, perhaps in part, and not undone."""
        return self._path.exists()

    def entries(self) -> list[dict[str, Any]]:
        """What undoes it, the first change first.

        Raises:
            ProvisionError: There is no such set-up, or its file is damaged.
        """
        found: list[dict[str, Any]] = self._read()["undo"]
        return found

    def made_ns(self) -> int:
        """When it was made, as the clock of the host said; for the order.

        Raises:
            ProvisionError: As for :meth:`entries`.
        """
        return int(self._read()["made_ns"])

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self._path.read_text())
            return {"undo": list(document["undo"]), "made_ns": int(document["made_ns"])}
        except FileNotFoundError:
            raise ProvisionError(f"{self.name}: nothing is set up under this name") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ProvisionError(f"{self.name}: {self._path} is damaged ({error!r})") from None

    def write(self, entries: Sequence[dict[str, Any]]) -> None:
        """Keeps these; none: nothing is left to undo."""
        if not entries:
            self._path.unlink(missing_ok=True)
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        made_ns = self.made_ns() if self.exists else time.time_ns()
        partial.write_text(json.dumps({"made_ns": made_ns, "undo": list(entries)}))
        os.replace(partial, self._path)


def make(journal: Journal, files: HostFiles, changes: Sequence[Change]) -> None:
    """Makes all changes, or none of them.

    Raises:
        ProvisionError: One failed; those before it were undone.
    """
    if journal.exists:
        raise ProvisionError(
            f"{journal.name}: is set up already; 'tools/provision/host undo {journal.name}' first"
        )
    done: list[dict[str, Any]] = []
    for change in changes:
        try:
            done.append(change.entry(files))
            journal.write(done)
            change.make(files)
        except (OSError, ProvisionError) as error:
            text = f"{journal.name}: cannot {change}: {error}"
            try:
                undo(journal, lambda entry: undo_file(files, entry))
            except ProvisionError as left:
                raise ProvisionError(f"{text}; undoing failed too: {left}") from None
            raise ProvisionError(f"{text}; what was done before was undone") from None


def undo(journal: Journal, one: Undo) -> None:
    """Takes a set-up back, the last change first; what was taken back is not done again.

    Raises:
        ProvisionError: A change cannot be taken back; it and those before it stay written down.
    """
    entries = journal.entries() if journal.exists else []
    while entries:
        try:
            one(entries[-1])
        except OSError as error:
            text = f"{journal.name}: cannot take back {entries[-1]['path']}: {error.strerror}"
            raise ProvisionError(text) from None
        entries.pop()
        journal.write(entries)


def check_order(folder: Path, journals: Sequence[Journal]) -> None:
    """Refuses to take back what something else was built on.

    Raises:
        ProvisionError: A later set-up is about the same NIC, and is not to be undone.
    """
    going = {one.name for one in journals}
    for journal in journals:
        paths, made_ns = {entry["path"] for entry in journal.entries()}, journal.made_ns()
        for other in Journal.all(folder):
            shared = paths & {entry["path"] for entry in other.entries()}
            if other.name not in going and other.made_ns() > made_ns and shared:
                raise ProvisionError(
                    f"{journal.name}: {other.name} was set up after it and changes {min(shared)}, "
                    "too; undo that first"
                )


def undo_file(files: HostFiles, entry: dict[str, Any]) -> None:
    """Takes a change of files back; one that was not made is none.

    Raises:
        OSError: The kernel refused.
    """
    path = files.root / entry["path"].lstrip("/")
    if entry["kind"] == "folder":
        if path.exists():
            files.remove_folder(entry["path"])
    elif path.exists() and files.read(entry["path"]).strip() != entry["text"]:
        files.write(entry["path"], entry["text"])
