# SPDX-License-Identifier: Apache-2.0
"""A TOML text that can tell where each of its values stands.

``tomllib`` gives positions for syntax errors only. For the others the text itself is asked: of all
beginnings of it that are complete TOML, the shortest one that holds the value ends where the value
ends. Nothing here knows TOML's grammar, so nothing can disagree with ``tomllib`` about it.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

from nicprog.errors import SpecError

Path = tuple[str | int, ...]
"""Keys and list indexes from the root to a value, for example ``("rule", 2, "dst_port")``."""

_POSITION = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Source:
    """One spec file.

    Attributes:
        name: What messages call it.
        text: Its content.
    """

    name: str
    text: str = field(repr=False)

    def values(self) -> dict[str, Any]:
        """Parses the text.

        Raises:
            SpecError: Syntax error, with its line and column.
        """
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            found = _POSITION.fullmatch(str(error))
            message = found[1] if found else str(error)
            lines = self._lines()
            line, column = len(lines), len(lines[-1]) + 1
            if found and found[2]:
                line, column = int(found[2]), int(found[3])
            raise SpecError(f"{self.name}:{line}:{column}: {message}") from None

    def error(self, path: Path, message: str) -> SpecError:
        """An error that points at the value at ``path``, or at the table that lacks it."""
        return SpecError(f"{self.at(path)}: {message}")

    def at(self, path: Path) -> str:
        """``FILE:LINE:COLUMN`` of the value at ``path``, or of the nearest table around it."""
        line, column = self.position(path)
        return f"{self.name}:{line}:{column}"

    def position(self, path: Path) -> tuple[int, int]:
        """Line and column, counted from 1, of the value at ``path``, or of what is around it."""
        while path and not _holds(self.values(), path):
            path = path[:-1]
        if not path:
            return 1, 1
        lines = self._lines()
        low, high = 0, len(lines)  # the first `low` lines do not hold it, the first `high` do
        while high - low > 1:
            middle = (low + high) // 2
            if _holds(_parse_beginning(lines, middle), path):
                high = middle
            else:
                low = middle
        start = _statement_start(lines, high)
        return start + 1, _column(lines[start], path)

    def _lines(self) -> list[str]:
        return self.text.replace("\r\n", "\n").split("\n")  # as tomllib counts them


def _holds(values: Any, path: Path) -> bool:
    for step in path:
        try:
            values = values[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _parse_beginning(lines: list[str], count: int) -> dict[str, Any]:
    """Values of the first ``count`` lines, less the statement that they cut in two."""
    while count:
        try:
            return tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            count -= 1
    return {}


def _statement_start(lines: list[str], end: int) -> int:
    """Index of the first line of the statement whose last line is line number ``end``."""
    for start in range(end - 1, 0, -1):
        try:
            tomllib.loads("\n".join(lines[:start]))
        except tomllib.TOMLDecodeError:
            continue
        return start
    return 0


def _column(line: str, path: Path) -> int:
    key = next(step for step in reversed(path) if isinstance(step, str))
    found = re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", line)
    return (found.start() if found else len(line) - len(line.lstrip())) + 1
