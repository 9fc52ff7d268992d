# SPDX-License-Identifier: Apache-2.0
"""Writes docs/conformance.md from docs/conformance.toml; as a check, says whether it is current.

Every function and test that is named must be there, and the file of the code must cite the RFC.
Tests of the robustness list are found by their names: ``r36_...`` belongs to item 36.

``python -m tools.conformance`` writes the page, ``... --check`` only compares.
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tools.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

STATUSES = ("done", "partial", "not yet", "left out")
ITEMS = 60
_WHOLE = {
    "sweep": "native/tests/sweep/test_sweep.c",
    "fuzz": "native/fuzz/fuzz_rx.c",
}
_RUN = re.compile(r"^\s*RUN\((\w+)\);", re.MULTILINE)
_PYTHON = re.compile(r"^def test_(\w+)\(", re.MULTILINE)
_ITEM = re.compile(r"(?:^|(?<=_))r(\d\d)(?=_)")

_HEAD = """\
# Conformance

Written by `python -m tools.conformance` from `docs/conformance.toml`; do not edit. A rule is
*done*, *partial*, *not yet* done, or *left out* on purpose, and what is not done says why. *sweep*
is `native/tests/sweep`: every state with every combination of edits of the segment that would be
valid there.
"""
_ITEMS_HEAD = """\
## What a stack must survive

The items of the robustness list. A test has the number of its item in its name.
"""


@dataclass(slots=True)
class Tree:
    """What there is to be named.

    Attributes:
        tests: "program:function" of all tests.
        functions: "file:function" of native/core.
        cites: File of native/core -> numbers of the RFCs that it cites.
    """

    tests: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    cites: dict[str, set[int]] = field(default_factory=dict)


def read_tree(root: Path) -> Tree:
    """Collect the tests and functions below ``root``."""
    tree = Tree()
    for name, program_path in _WHOLE.items():
        if (root / program_path).is_file():
            tree.tests.add(name)
    for path in (root / "native/tests/unit").glob("test_*.c"):
        program = path.stem.removeprefix("test_")
        tree.tests |= {f"{program}:{name}" for name in _RUN.findall(path.read_text())}
    for path in (root / "tests/netns").glob("test_*.py"):
        program = path.stem.removeprefix("test_")
        tree.tests |= {f"{program}:{name}" for name in _PYTHON.findall(path.read_text())}
    for path in (root / "native/core").glob("*.[ch]"):
        text = path.read_text()
        # A definition begins in the first column and its brace stands alone in a later line.
        found = re.findall(r"^[a-z][\w \*]*?\b(\w+)\([^;{}]*\)\n\{", text, re.MULTILINE)
        tree.functions |= {f"{path.name}:{name}" for name in found}
        tree.cites[path.name] = {int(n) for n in re.findall(r"RFC (\d+)", text)}
    return tree


def _status_problems(where: str, entry: dict[str, Any]) -> list[str]:
    status = entry.get("status", "done")
    if status not in STATUSES:
        return [f"{where}: status '{status}' is none of {STATUSES}"]
    if status != "done" and not entry.get("why"):
        return [f"{where}: {status} without a reason"]
    return []


def _rule_problems(number: int, rule: dict[str, Any], tree: Tree) -> list[str]:
    where = f"RFC {number}, {rule['rule']}"
    found = _status_problems(where, rule)
    code, tests = rule.get("code", []), rule.get("tests", [])
    found += [f"{where}: no function {name}" for name in code if name not in tree.functions]
    found += [f"{where}: no test {name}" for name in tests if name not in tree.tests]
    if rule.get("status", "done") in ("done", "partial"):
        found += [f"{where}: no {what}" for what in ("code", "tests") if not rule.get(what)]
        files = {name.partition(":")[0] for name in code}
        if not any(number in tree.cites.get(file, set()) for file in files):
            found.append(f"{where}: none of {', '.join(sorted(files))} cites RFC {number}")
    return found


def item_tests(number: int, tree: Tree) -> list[str]:
    """Return the tests with the item's number in their names."""
    return sorted(
        name for name in tree.tests if f"{number:02}" in _ITEM.findall(name.partition(":")[2])
    )


def _item_problems(items: list[dict[str, Any]], tree: Tree) -> list[str]:
    found = []
    numbers = [item["number"] for item in items]
    if numbers != list(range(1, ITEMS + 1)):
        found.append(f"the items are not 1 to {ITEMS} in their order")
    for item in items:
        where = f"item {item['number']}"
        found += _status_problems(where, item)
        tested = bool(item_tests(item["number"], tree))
        if item.get("status", "done") in ("done", "partial") and not tested:
            found.append(f"{where}: no test has r{item['number']:02}_ in its name")
    return found


def problems(data: dict[str, Any], tree: Tree) -> list[str]:
    """Return one line for each thing that is named and not there, or not explained."""
    found = []
    for rfc in data["rfc"]:
        for rule in rfc["rules"]:
            found += _rule_problems(rfc["number"], rule, tree)
    return found + _item_problems(data["item"], tree)


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _status(entry: dict[str, Any]) -> str:
    status = entry.get("status", "done")
    return status if status == "done" else f"{status}: {entry['why']}"


def _counts(entries: list[dict[str, Any]]) -> str:
    counts = [(s, sum(e.get("status", "done") == s for e in entries)) for s in STATUSES]
    return ", ".join(f"{n} {status}" for status, n in counts if n)


def render(data: dict[str, Any], tree: Tree) -> str:
    """Return the page."""
    rules = [rule for rfc in data["rfc"] for rule in rfc["rules"]]
    lines = [_HEAD, f"{len(rules)} rules: {_counts(rules)}.", ""]
    for rfc in data["rfc"]:
        lines += [f"## RFC {rfc['number']}: {rfc['title']}", ""]
        lines += ["| rule | code | tests | status |", "|---|---|---|---|"]
        for rule in rfc["rules"]:
            code, tests = _names(rule.get("code", [])), _names(rule.get("tests", []))
            lines.append(f"| {rule['rule']} | {code} | {tests} | {_status(rule)} |")
        lines.append("")
    items = data["item"]
    lines += [_ITEMS_HEAD, f"{len(items)} items: {_counts(items)}.", ""]
    lines += ["| item | what | tests | status |", "|---|---|---|---|"]
    for item in items:
        tests = _names(item_tests(item["number"], tree))
        lines.append(f"| {item['number']} | {item['text']} | {tests} | {_status(item)} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str], root: Path = ROOT) -> int:
    """Write the page, or with ``--check`` compare it; returns the exit status."""
    data = tomllib.loads((root / "docs/conformance.toml").read_text())
    tree = read_tree(root)
    found = problems(data, tree)
    page, text = root / "docs/conformance.md", render(data, tree) if not found else ""
    if not found and argv == ["--check"]:
        if not page.is_file() or page.read_text() != text:
            found = ["docs/conformance.md is not current: python -m tools.conformance writes it"]
    elif not found:
        page.write_text(text)
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
