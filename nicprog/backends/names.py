# SPDX-License-Identifier: Apache-2.0
"""Names of the RSS contexts of one NIC, which the kernel knows by number only.

They are in a file beside the lock of the NIC, whatever folder its snapshots are in, and written
after each context that is made or deleted. A process that dies in between leaves a context without
a name, which is one that nicprog did not make.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from nicprog.backends.run_dir import file_name, run_dir
from nicprog.errors import SnapshotError

_FORMAT: Final = 1


class Names:
    """The table from names to numbers; of an earlier NIC of the same name it is empty."""

    def __init__(self, device: str, instance: str) -> None:
        """``instance`` is that of the backend."""
        self._device, self._instance = device, instance

    def of(self, numbers: Collection[int]) -> dict[str, int]:
        """A name for each context that there is: its own, or ``#N`` where it has none.

        Raises:
            SnapshotError: The file cannot be read, or is damaged.
        """
        if not numbers:
            return {}
        named = {name: number for name, number in self._read().items() if number in numbers}
        for number in sorted(set(numbers) - set(named.values())):
            name = f"#{number}"
            while name in named:  # made anew by a rollback, with another number
                name += "'"
            named[name] = number
        return named

    def keep(self, numbers: Mapping[str, int]) -> None:
        """Keeps the names of the contexts that there are, after one was made or deleted.

        Raises:
            SnapshotError: They cannot be written.
        """
        names = {name: number for name, number in numbers.items() if name != f"#{number}"}
        if names != self._read():
            self._write(names)

    def _path(self) -> Path:
        return run_dir() / f"{file_name(self._device)}.contexts.json"

    def _read(self) -> dict[str, int]:
        path = self._path()
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != _FORMAT:
                raise ValueError(f"format {document['format']}")
            if document["instance"] != self._instance:
                return {}
            return {str(name): int(number) for name, number in document["names"].items()}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise SnapshotError(f"{self._device}: cannot read {path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SnapshotError(
                f"{self._device}: {path} is damaged ({error!r}); without it all RSS contexts count "
                "as those of other programs, remove it to go on so"
            ) from None

    def _write(self, names: dict[str, int]) -> None:
        path = self._path()
        document = {"format": _FORMAT, "instance": self._instance, "names": names}
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.write_text(json.dumps(document), encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise SnapshotError(
                f"{self._device}: cannot write the names of its contexts to {path}: "
                f"{error.strerror}"
            ) from None
