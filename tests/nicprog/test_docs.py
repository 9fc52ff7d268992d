# SPDX-License-Identifier: Apache-2.0
"""The examples in the reference are run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import nicprog
from tests.nicprog.owner import ROOT, Owner

if TYPE_CHECKING:
    import pytest


def example(page: str, language: str, index: int = 0) -> str:
    text = (ROOT / "docs" / "reference" / page).read_text()
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return found[index]


def test_the_program(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Owner("tap0", 4), nicprog.open("tap0") as nic:
        exec(example("nicprog.md", "python"), {})
        assert capsys.readouterr().out == "0 0 0\n1 0 0\n2 0 0\n3 0 0\n"
        state = nic.read()
        assert set(state.table.entries) == {0, 1, 2}
        assert [rule.queue for rule in state.rules] == [3, 3]


def test_the_model(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(example("nicprog.md", "python", 1), {})
    queue, failed = capsys.readouterr().out.splitlines()
    assert queue == "7"
    assert failed.startswith("sim:mlx5: step 3 of 3 (delete the rule at location 0) failed: ")
    assert "2 steps undone, the NIC is as before" in failed


def test_the_calls(capsys: pytest.CaptureFixture[str]) -> None:
    exec(example("nicprog.md", "python", 2), {})
    first, second = capsys.readouterr().out.splitlines()
    text = (ROOT / "docs" / "reference" / "nicprog.md").read_text()
    assert f"prints `{first}` and `{second}`" in text


def test_the_spec(run_dir: Path) -> None:
    spec = nicprog.parse(example("nicprog-spec.md", "toml"))
    with Owner("tap0", 4), nicprog.open("tap0") as nic:
        nicprog.apply(nic, nicprog.plan(nic, spec))
        assert nicprog.verify(nic, spec) == ()
        assert set(nic.read().table.entries) == {0, 1, 2}


def test_the_contexts(run_dir: Path) -> None:
    spec = nicprog.parse('device = "sim:mlx5"\n' + example("nicprog-spec.md", "toml", 1))
    with nicprog.open("sim:mlx5") as nic:
        nicprog.apply(nic, nicprog.plan(nic, spec))
        assert nicprog.verify(nic, spec) == ()
        (context,) = nic.read().contexts
        assert set(context.table.entries) == {4, 5, 6, 7}
        assert {rule.context for rule in nic.read().rules} == {context.name}
