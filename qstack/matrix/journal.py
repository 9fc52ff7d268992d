# SPDX-License-Identifier: Apache-2.0
"""Cells that are measured, one line of JSON each: what is in the file is not measured again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from .. import _native
from ..errors import ConfigError
from .cells import Cell


def identity() -> dict[str, str]:
    """Return what figures depend on besides the options: the kernel, and the stack's build."""
    library = Path(_native.extension_path()).read_bytes()
    return {"kernel": os.uname().release, "build": hashlib.sha256(library).hexdigest()[:16]}


class Journal:
    """A file of rows as `judge` makes them, below one line that says how they were measured.

    A row is on the disk before the next cell begins. What an interruption left of a line is cut
    off.

    Args:
        path: Made when it is not there.
        plan: How cells are measured, such as seeds and limits. Rows of another plan do not compare.

    Attributes:
        rows: The row of each cell that is measured.

    Raises:
        ConfigError: The file is no such file, or of another plan, and is left alone.
        OSError: It cannot be read or written.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self._path = path
        self.rows: dict[Cell, dict[str, Any]] = {}
        text = self._read()
        if not text:
            self._append(plan)
            return
        whole, newline, torn = text.rpartition("\n")
        head, *lines = (self._parse(i, line) for i, line in enumerate(whole.split("\n"), 1))
        self._compare(head, plan)
        for i, row in enumerate(lines, 2):
            self.rows[self._cell_of(i, row)] = row
        if torn:
            os.truncate(path, len((whole + newline).encode()))

    def _read(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise ConfigError(f"{self._path} is no text: not made by --resume") from None

    def _parse(self, number: int, line: str) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            raise ConfigError(f"{self._path}, line {number}, is no JSON object; remove the line")
        return value

    def _compare(self, there: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
        for name, wanted in plan.items():
            if there.get(name) != wanted:
                raise ConfigError(
                    f"{self._path} was measured with {name} {there.get(name)}, not {wanted}; "
                    "give another file, or remove it to measure anew"
                )

    def _cell_of(self, number: int, row: Mapping[str, Any]) -> Cell:
        try:
            return Cell(**{field.name: row[field.name] for field in fields(Cell)})
        except KeyError as e:
            raise ConfigError(f"{self._path}, line {number}: {e} is missing") from None

    def add(self, cell: Cell, row: dict[str, Any]) -> None:
        """Keep the row of a cell."""
        self._append(row)
        self.rows[cell] = row

    def _append(self, value: Mapping[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value) + "\n")
            file.flush()
            os.fsync(file.fileno())
