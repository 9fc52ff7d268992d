# SPDX-License-Identifier: Apache-2.0
"""Compares what libqstack.so exports with the public headers, and what the core needs with nothing.

Usage: ``python -m tools.check_symbols BUILD_DIR``
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tools.tree import ROOT

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_DIRECTIVE = re.compile(r"^\s*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_DECLARED = re.compile(r"\bQS_API\b[^;{]*?\b(qs_\w+)\s*\(")
# Memory operations and the compiler's own helpers: no system call, clock, heap, thread or stdio.
_CORE_MAY_NEED = re.compile(
    r"mem(cpy|set|cmp|move|chr)|bcmp|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_"
)


def declared(include: Path) -> set[str]:
    """Return the functions marked QS_API in the headers of the folder ``include``."""
    names: set[str] = set()
    for header in sorted(include.glob("*.h")):
        text = _DIRECTIVE.sub("", _COMMENT.sub("", header.read_text()))
        names.update(_DECLARED.findall(text))
    return names


def _nm(*args: str | Path) -> list[list[str]]:
    out = subprocess.run(["nm", "-P", *args], check=True, capture_output=True, text=True).stdout
    return [line.split() for line in out.splitlines() if len(line.split()) >= 2]


def exported(library: Path) -> set[str]:
    """Return the names that the shared ``library`` exports, without version nodes."""
    rows = _nm("-D", "--defined-only", library)
    return {row[0].split("@")[0] for row in rows if row[1] != "A"}


def needed(archive: Path) -> set[str]:
    """Return the names that the static ``archive`` needs from outside."""
    rows = _nm(archive)
    defined = {row[0] for row in rows if row[1] != "U"}
    return {row[0] for row in rows if row[1] == "U"} - defined


def problems(include: Path, library: Path, core: Path) -> list[str]:
    """Return one line for each name that is exported, declared or needed against the rules."""
    want, have = declared(include), exported(library)
    found = [f"{library.name}: {name} is declared QS_API but not exported" for name in want - have]
    found += [f"{library.name}: {name} is exported but not declared QS_API" for name in have - want]
    found += [
        f"{core.name}: the core calls {name}, which is outside of it"
        for name in needed(core)
        if not _CORE_MAY_NEED.fullmatch(name)
    ]
    return sorted(found)


def main() -> int:
    """Check the build folder named on the command line."""
    native = Path(sys.argv[1]) / "native"
    found = problems(
        ROOT / "native/include/qstack",
        native / "libqstack.so",
        native / "core/libqstack_core.a",
    )
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
