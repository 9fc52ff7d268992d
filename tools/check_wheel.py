# SPDX-License-Identifier: Apache-2.0
"""Compares what a wheel holds with the tree.

Every Python file, what lies beside them, both extensions, and nothing else.
Usage: ``python -m tools.check_wheel WHEEL``
"""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

from tools.tree import ROOT, sources

_EXTENSIONS = ("qstack/_native/_qs", "nicprog/_ethtool/_uapi")
_ABI3 = ".abi3.so"
_METADATA = re.compile(r"qstack_net-[^/]+\.dist-info/.+")


def expected(root: Path) -> set[str]:
    """Return the paths that a wheel of the tree ``root`` must hold, without its metadata."""
    packages = ("qstack", "nicprog")
    python = sources(root, packages, (".py", ".pyi", ".typed", ".toml", ".html", ".lua"))
    files = {path.relative_to(root).as_posix() for path in python}
    files |= {f"{p}/py.typed" for p in packages if (root / p / "py.typed").is_file()}
    return files | {name + _ABI3 for name in _EXTENSIONS}


def problems(wheel: Path, root: Path) -> list[str]:
    """Return one line for each file that ``wheel`` lacks or should not hold."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.endswith("/")}
    held = {name for name in held if not _METADATA.fullmatch(name)}
    want = expected(root)
    found = [f"{wheel.name}: lacks {name}" for name in want - held]
    found += [f"{wheel.name}: holds {name}, which is not in the tree" for name in held - want]
    return sorted(found)


def main() -> int:
    """Check the wheel named on the command line."""
    found = problems(Path(sys.argv[1]), ROOT)
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
