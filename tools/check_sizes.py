# SPDX-License-Identifier: Apache-2.0
"""Keeps files within 800 lines and functions within 80."""

from __future__ import annotations

import ast
import re
import sys
from typing import TYPE_CHECKING

from tools.tree import run_check, sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 80

# What may be larger, with the reason: "path" or "path:function" -> reason.
EXCEPTIONS: dict[str, str] = {
    "native/fuzz/make_seeds.py:rx_seeds": "one dictionary of seeds, laid out by the formatter",
}

_FOLDERS = ("native", "qstack", "nicprog", "tools", "tests")
_C_NAME = re.compile(r"(\w+)\(")


def _c_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield (name, first line, lines) of each function of a file in the layout of .clang-format.

    There a function body, and nothing else at file scope, has its braces alone in the first column.
    """
    lines = text.splitlines()
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
            while start and lines[start - 1] and lines[start - 1][0] not in "}#/*;":
                start -= 1
        elif line == "}" and start is not None:
            head = _C_NAME.search(" ".join(lines[start:number]))
            yield (head[1] if head else "?"), start + 1, number - start + 1
            start = None


def _py_functions(text: str) -> Iterator[tuple[str, int, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1


def problems(root: Path) -> list[str]:
    """Return one line for each file or function below ``root`` that is too long."""
    found = []
    for path in sources(root, _FOLDERS, (".c", ".h", ".py")):
        where, text = path.relative_to(root).as_posix(), path.read_text()
        n_lines = text.count("\n")
        if n_lines > FILE_LINES_MAX and where not in EXCEPTIONS:
            found.append(f"{where}: {n_lines} lines, at most {FILE_LINES_MAX}")
        functions = _py_functions(text) if path.suffix == ".py" else _c_functions(text)
        for name, line, length in functions:
            if length > FUNCTION_LINES_MAX and f"{where}:{name}" not in EXCEPTIONS:
                found.append(
                    f"{where}:{line}: {name}() has {length} lines, at most {FUNCTION_LINES_MAX}"
                )
    return found


if __name__ == "__main__":
    sys.exit(run_check(problems))
