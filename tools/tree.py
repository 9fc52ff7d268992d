# SPDX-License-Identifier: Apache-2.0
"""The project's own tree: where it is, what is a source file, how a check reports."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
_NOT_OURS = {"build", "__pycache__", ".venv", ".git", "corpus"}


def sources(root: Path, folders: tuple[str, ...], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield the source files below ``folders`` of ``root`` with one of ``suffixes``, sorted."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root)
            if path.suffix in suffixes and path.is_file() and not _NOT_OURS & set(inside.parts):
                yield path


def run_check(problems: Callable[[Path], list[str]]) -> int:
    """Print what ``problems`` finds in the tree, or in the one named on the command line.

    Returns:
        Exit status: 0 nothing found, 1 something found.
    """
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    found = problems(root)
    for problem in found:
        print(problem)
    return 1 if found else 0
