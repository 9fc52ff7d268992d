# SPDX-License-Identifier: Apache-2.0
"""The C extension of nicprog for a machine of another kind than this one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from .packages import Packages, UnavailableError

NAME: Final = "nicprog/_ethtool/_uapi.abi3.so"
"""Where it belongs in a tree."""
_CLANG: Final = "clang-14"
_MODULE: Final = "nicprog._ethtool._uapi"
_SOURCES: Final = ("nicprog/_ethtool/ethtool.cdef.h", "nicprog/_ethtool/ethtool.csrc.c")


def build(packages: Packages, tree: Path, folder: Path) -> Path:
    """Compiles it when its source is newer; returns the file.

    Raises:
        UnavailableError: No clang, or with the compiler's last words.
    """
    sources, target = [tree / name for name in _SOURCES], folder / Path(NAME).name
    if target.exists() and all(s.stat().st_mtime < target.stat().st_mtime for s in sources):
        return target
    if not shutil.which(_CLANG):
        raise UnavailableError(f"{_CLANG} is needed, and is not there")
    folder.mkdir(parents=True, exist_ok=True)
    generated, triple = folder / "_uapi.c", packages.machine.triple
    generator = Path(sys.executable).parent / "cffi-gen-src"
    _run([generator, "read-sources", _MODULE, *sources, generated], packages)
    # Without libraries: the interpreter that loads it has them.
    _run(
        [
            _CLANG, f"--target={triple}", f"--sysroot={packages.programs}",
            f"--ld-path={packages.tools}/usr/bin/{triple}-ld", "-nostdlib", "-shared", "-fPIC",
            "-O2", "-w", "-DPy_LIMITED_API=0x030b0000",
            f"-I{packages.programs}/usr/include/python3.11", generated, "-o", target,
        ],
        packages,
    )  # fmt: skip
    return target


def _run(command: list[str | Path], packages: Packages) -> None:
    done = subprocess.run(
        command, env=packages.environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        text = f"the extension of nicprog does not compile: {done.stderr.strip()[-2000:]}"
        raise UnavailableError(text)
