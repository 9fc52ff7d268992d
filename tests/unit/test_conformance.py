# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tools.conformance import ITEMS, Tree, item_tests, main, problems, read_tree, render

if TYPE_CHECKING:
    from pathlib import Path

_CODE = """/* RFC 9293 section 3.4. */
static bool in_window(const struct qs_block *c,
                      const struct qs_segment *s)
{
    return called(c);
}
"""
_TEST = "int main(void)\n{\n    RUN(r01_r36_exact);\n    RUN(other);\n}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in {
        "native/core/tcp.c": _CODE,
        "native/tests/unit/test_reset.c": _TEST,
        "tests/netns/test_xsk.py": "def test_r59_sigkill(lab: Lab) -> None:\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def _data(**rule: Any) -> dict[str, Any]:
    whole = {"rule": "3.4 x", "code": ["tcp.c:in_window"], "tests": ["reset:other"], **rule}
    items = [
        {"number": n, "text": "x", "status": "not yet", "why": "y"} for n in range(1, ITEMS + 1)
    ]
    return {"rfc": [{"number": 9293, "title": "TCP", "rules": [whole]}], "item": items}


def test_the_page_of_the_project_is_current() -> None:
    assert main(["--check"]) == 0


def test_functions_and_tests_are_found(root: Path) -> None:
    tree = read_tree(root)
    assert tree.functions == {"tcp.c:in_window"}
    assert tree.tests == {"reset:r01_r36_exact", "reset:other", "xsk:r59_sigkill"}
    assert tree.cites == {"tcp.c": {9293}}
    assert problems(_data(), tree) == []


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"code": ["tcp.c:called"]}, "no function tcp.c:called"),
        ({"tests": ["reset:gone"]}, "no test reset:gone"),
        ({"tests": []}, "no tests"),
        ({"code": []}, "no code"),
        ({"status": "partial"}, "partial without a reason"),
        ({"status": "maybe", "why": "x"}, "is none of"),
    ],
)
def test_what_is_not_there_is_said(root: Path, rule: dict[str, Any], says: str) -> None:
    assert any(says in problem for problem in problems(_data(**rule), read_tree(root)))


def test_the_code_must_cite_its_rfc(root: Path) -> None:
    data = _data()
    data["rfc"][0]["number"] = 5961
    assert problems(data, read_tree(root)) == ["RFC 5961, 3.4 x: none of tcp.c cites RFC 5961"]


def test_an_item_that_is_done_has_a_test(root: Path) -> None:
    data = _data()
    del data["item"][35]["status"], data["item"][36]["status"]
    assert problems(data, read_tree(root)) == ["item 37: no test has r37_ in its name"]


def test_all_items_are_there(root: Path) -> None:
    data = _data()
    del data["item"][7]
    assert problems(data, read_tree(root)) == [f"the items are not 1 to {ITEMS} in their order"]


def test_numbers_are_read_from_the_names() -> None:
    tree = Tree(tests={"reset:r01_r36_exact", "reset:over_r02_no", "xsk:r59_sigkill", "sweep"})
    assert item_tests(36, tree) == ["reset:r01_r36_exact"]
    assert item_tests(59, tree) == ["xsk:r59_sigkill"]
    assert item_tests(3, tree) == []


def test_a_page_that_is_not_current_fails(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "docs").mkdir()
    lines = ['[[rfc]]\nnumber = 9293\ntitle = "TCP"\nrules = []']
    lines += [
        f'[[item]]\nnumber = {n}\ntext = "x"\nstatus = "not yet"\nwhy = "y"'
        for n in range(1, ITEMS + 1)
    ]
    (root / "docs/conformance.toml").write_text("\n".join(lines))
    assert main(["--check"], root) == 1
    assert "is not current" in capsys.readouterr().out
    assert main([], root) == 0
    assert main(["--check"], root) == 0
    (root / "docs/conformance.md").write_text("edited")
    assert main(["--check"], root) == 1


def test_the_page_says_why(root: Path) -> None:
    page = render(_data(status="left out", why="nobody wants it"), read_tree(root))
    assert "| 3.4 x | `tcp.c:in_window` | `reset:other` | left out: nobody wants it |" in page
    assert "1 rules: 1 left out." in page
