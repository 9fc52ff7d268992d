# SPDX-License-Identifier: Apache-2.0
"""Proves the direction of dependencies: who includes what in C, who imports what in Python."""

from __future__ import annotations

import ast
import re
import sys
from typing import TYPE_CHECKING

from tools.tree import run_check, sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
_PURE = frozenset({"stdint.h", "stddef.h", "stdbool.h", "string.h", "limits.h"})
_BPF_SYSTEM = re.compile(r"(linux|bpf)/\w+\.h|std(int|bool|def)\.h")
# What user space and a BPF program both read: layouts of shared memory and the lookup over them.
_SHARED_WITH_BPF = re.compile(r"\w+_(layout|lookup)\.h")

# Layer -> layers whose headers it may include. Those not named (tests, bench, fuzz) may use all.
_MAY_USE = {
    "include": {"include"},
    "core": {"core", "include"},
    "bpf": {"bpf", "include", "io"},
    "io": {"io", "bpf", "core", "include"},
    "runtime": {"runtime", "io", "core", "include"},
}

# Extension module -> the one module that imports it.
_DOORS = {
    "qstack._native._qs": "qstack/_native/__init__.py",
    "nicprog._ethtool._uapi": "nicprog/_ethtool/__init__.py",
}


def _layer_of(native: Path, header: Path) -> str:
    return header.relative_to(native).parts[0]


def _find_header(native: Path, includer: Path, name: str) -> Path | None:
    for base in (includer.parent, native, native / "include"):
        header = (base / name).resolve()
        if header.is_file() and header.is_relative_to(native):
            return header
    return None


def _c_breach(native: Path, path: Path, bracket: str, name: str) -> str | None:
    layer = _layer_of(native, path)
    if layer not in _MAY_USE:
        return None
    header = _find_header(native, path, name)
    if header is None:
        if bracket == '"':
            return f'"{name}" is not a header of native/'
        if layer in ("core", "include") and name not in _PURE:
            return f"<{name}> is not one of the headers that {layer} may use: {sorted(_PURE)}"
        if layer == "bpf" and not _BPF_SYSTEM.fullmatch(name):
            return f"<{name}> is not for BPF programs"
        return None
    target = _layer_of(native, header)
    if target not in _MAY_USE[layer]:
        return f"native/{layer} may not use native/{target} ({name})"
    if {layer, target} == {"io", "bpf"} and not _SHARED_WITH_BPF.fullmatch(header.name):
        return (
            f"native/{layer} may use only layout and lookup headers of native/{target}, not {name}"
        )
    return None


def _c_problems(root: Path) -> Iterator[str]:
    native = root / "native"
    for path in sources(root, ("native",), (".c", ".h")):
        text = path.read_text()
        for match in _INCLUDE.finditer(text):
            breach = _c_breach(native, path, match[1], match[2])
            if breach:
                line = text.count("\n", 0, match.start(2)) + 1
                yield f"{path.relative_to(root)}:{line}: {breach}"


def _imports(tree: ast.Module, package: str) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of everything imported; names in ``from m import n`` as ``m.n``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "import_module",
            "importlib.import_module",
            "__import__",
        ):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield node.lineno, str(node.args[0].value)
            else:
                yield node.lineno, "(computed)"


def _is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _py_breach(where: str, name: str) -> str | None:
    if name == "(computed)":
        return "imports a module whose name is computed, which no check can follow"
    if where.startswith("nicprog/") and _is_in(name, "qstack"):
        return f"nicprog may not import {name}: it knows nothing of qstack"
    if where.startswith("qstack/policies/"):
        for forbidden in ("qstack._native", "nicprog"):
            if _is_in(name, forbidden):
                return f"qstack.policies may not import {name}: policies see arrays only"
    for extension, door in _DOORS.items():
        if _is_in(name, extension) and where != door:
            return f"only {door} may import {extension}"
    return None


def _py_problems(root: Path) -> Iterator[str]:
    for path in sources(root, ("qstack", "nicprog", "tools", "tests"), (".py", ".pyi")):
        where = path.relative_to(root).as_posix()
        tree = ast.parse(path.read_text(), where)
        package = ".".join(path.relative_to(root).parent.parts)
        for line, name in _imports(tree, package):
            breach = _py_breach(where, name)
            if breach:
                yield f"{where}:{line}: {breach}"


def problems(root: Path) -> list[str]:
    """Return one line for each breach of the direction of dependencies below ``root``."""
    return [*_c_problems(root), *_py_problems(root)]


if __name__ == "__main__":
    sys.exit(run_check(problems))
