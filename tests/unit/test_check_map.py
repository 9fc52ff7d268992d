# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.check_map import problems
from tools.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_MAP = """# A

```text map
native/core/  pure
  arp.c, eth.[ch]  Ethernet
qstack/
  *.py  users import it
```
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("native/core/arp.c", "native/core/eth.c", "native/core/eth.h", "qstack/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "ARCHITECTURE.md").write_text(_MAP)
    return tmp_path


def test_the_map_of_the_project_is_true() -> None:
    assert problems(ROOT) == []


def test_a_true_map_passes(tree: Path) -> None:
    assert problems(tree) == []


def test_a_file_that_is_not_in_the_map_is_found(tree: Path) -> None:
    (tree / "native/core/nd.c").touch()
    (tree / "qstack/sub").mkdir()
    (tree / "qstack/sub/b.py").touch()
    assert [problem.split()[-1] for problem in problems(tree)] == [
        "native/core/nd.c",
        "qstack/sub/b.py",
    ]


def test_a_line_without_a_file_is_found(tree: Path) -> None:
    (tree / "native/core/arp.c").unlink()
    assert problems(tree) == [
        "ARCHITECTURE.md: the map mentions native/core/arp.c, which does not exist"
    ]


def test_a_line_that_says_nothing_is_found(tree: Path) -> None:
    (tree / "ARCHITECTURE.md").write_text(_MAP.replace("  Ethernet", ""))
    assert any("cannot read the line" in problem for problem in problems(tree))


def test_more_than_300_lines_are_found(tree: Path) -> None:
    (tree / "ARCHITECTURE.md").write_text(_MAP + "x\n" * 300)
    assert len(problems(tree)) == 1
