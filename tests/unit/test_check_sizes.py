# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.check_sizes import EXCEPTIONS, problems
from tools.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def _write(root: Path, name: str, text: str) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    return root


def _c_function(lines: int) -> str:
    return (
        "int other(void);\n\nstatic int\nlong_one(int a,\n         int b)\n{\n"
        + "    a++;\n" * (lines - 5)
        + "}\n"
    )


def test_the_project_keeps_its_sizes() -> None:
    assert problems(ROOT) == []


def test_each_exception_is_still_needed_and_has_a_reason() -> None:
    for where, reason in EXCEPTIONS.items():
        assert (ROOT / where.split(":")[0]).is_file()
        assert reason


@pytest.mark.parametrize(("lines", "n_found"), [(800, 0), (801, 1)])
def test_a_file_has_at_most_800_lines(tmp_path: Path, lines: int, n_found: int) -> None:
    assert len(problems(_write(tmp_path, "native/core/a.c", "int x;\n" * lines))) == n_found


@pytest.mark.parametrize(("lines", "n_found"), [(80, 0), (81, 1)])
def test_a_c_function_has_at_most_80_lines(tmp_path: Path, lines: int, n_found: int) -> None:
    found = problems(_write(tmp_path, "native/core/a.c", _c_function(lines)))
    assert len(found) == n_found
    assert all("a.c:3: long_one() has 81 lines" in problem for problem in found)


@pytest.mark.parametrize(("lines", "n_found"), [(80, 0), (81, 1)])
def test_a_python_function_has_at_most_80_lines(tmp_path: Path, lines: int, n_found: int) -> None:
    text = "class A:\n    def f(self):\n" + "        pass\n" * (lines - 1)
    assert len(problems(_write(tmp_path, "qstack/a.py", text))) == n_found


def test_linkage_braces_around_a_header_are_no_function(tmp_path: Path) -> None:
    text = '#ifdef __cplusplus\nextern "C" {\n#endif\n' + "int f(int);\n" * 100
    assert problems(_write(tmp_path, "native/a.h", text + "#ifdef __cplusplus\n}\n#endif\n")) == []
