# SPDX-License-Identifier: Apache-2.0
"""Keeps the map in ARCHITECTURE.md true: each source file has its line, each line its files.

In the map a line ``folder/  role`` opens a folder; indented lines below it, ``name, name  role``,
describe files in it. A name may be a pattern: ``eth.[ch]``, ``test_*.c``.
"""

from __future__ import annotations

import re
import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tools.tree import run_check, sources

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK = re.compile(r"^```text map\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FOLDER = re.compile(r"(\S+/)(?: {2,}\S.*)?")
_FILES = re.compile(r" +(\S+(?:, \S+)*) {2,}\S.*")
LINES_MAX = 300


def _patterns(text: str) -> tuple[list[str], list[str]]:
    """Return (patterns, lines of the map that cannot be read)."""
    patterns, unreadable, folder = [], [], ""
    for block in _BLOCK.findall(text):
        for line in filter(str.strip, block.splitlines()):
            if match := _FOLDER.fullmatch(line):
                folder = match[1]
            elif match := _FILES.fullmatch(line):
                patterns += [folder + name for name in match[1].split(", ")]
            else:
                unreadable.append(line)
    return patterns, unreadable


def _matches(path: str, pattern: str) -> bool:
    # A star stays inside its folder.
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)


def problems(root: Path) -> list[str]:
    """Return one line for each file without a line in the map, and the other way round."""
    text = (root / "ARCHITECTURE.md").read_text()
    patterns, unreadable = _patterns(text)
    paths = [
        path.relative_to(root).as_posix()
        for path in sources(root, ("native", "qstack", "nicprog"), (".c", ".h", ".py"))
    ]
    found = [f"ARCHITECTURE.md: cannot read the line '{line}' of the map" for line in unreadable]
    found += [
        f"ARCHITECTURE.md: the map does not mention {path}"
        for path in paths
        if not any(_matches(path, pattern) for pattern in patterns)
    ]
    found += [
        f"ARCHITECTURE.md: the map mentions {pattern}, which does not exist"
        for pattern in patterns
        if not any(True for _ in root.glob(pattern))
    ]
    n_lines = text.count("\n")
    if n_lines > LINES_MAX:
        found.append(f"ARCHITECTURE.md: {n_lines} lines, at most {LINES_MAX}")
    return found


if __name__ == "__main__":
    sys.exit(run_check(problems))
