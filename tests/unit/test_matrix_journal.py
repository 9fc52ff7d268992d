# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from qstack import matrix
from qstack.cli.bench import tcp
from qstack.errors import ConfigError, QStackError
from qstack.matrix import Cell, Journal, Side, Wire, every_cell, judge
from qstack.matrix.transfer import Transfer

PLAN = {"kernel": "6.0", "seed": 1}
ONE, TWO = every_cell()[:2]


def row_of(cell: Cell) -> dict[str, Any]:
    done = Transfer(seconds=1, moved_bytes=9, finished=True, hash_ok=True)
    side = Side(transfer=done, retransmits=0, destroyed=0, receiver_dropped=0)
    return judge(cell, 9, [Wire(seed=1, qstack=side, linux=side)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "matrix.jsonl"


def test_what_was_added_is_there_again(path: Path) -> None:
    journal = Journal(path, PLAN)
    assert journal.rows == {}
    journal.add(ONE, row_of(ONE))
    Journal(path, PLAN).add(TWO, row_of(TWO))
    assert Journal(path, PLAN).rows == {ONE: row_of(ONE), TWO: row_of(TWO)}


def test_a_line_that_was_interrupted_is_measured_again(path: Path) -> None:
    Journal(path, PLAN).add(ONE, row_of(ONE))
    whole = path.read_text()
    path.write_text(whole + json.dumps(row_of(TWO))[:-5])
    journal = Journal(path, PLAN)
    assert list(journal.rows) == [ONE]
    assert path.read_text() == whole
    journal.add(TWO, row_of(TWO))
    assert list(Journal(path, PLAN).rows) == [ONE, TWO]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps({**PLAN, "seed": 2}) + "\n{", "seed 2, not 1"),
        ("a letter", "line 1, is no JSON object"),
        (json.dumps(PLAN) + "\n[1]\n", "line 2, is no JSON object"),
        (json.dumps(PLAN) + "\n" + json.dumps({"ip": 4}) + "\n", "line 2: 'client' is missing"),
    ],
)
def test_another_file_is_refused_and_left_alone(path: Path, content: str, words: str) -> None:
    path.write_text(content)
    with pytest.raises(ConfigError, match=words):
        Journal(path, PLAN)
    assert path.read_text() == content


def test_the_command_goes_on_where_it_was_interrupted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Cell] = []
    most = 2

    def run_cell(cell: Cell, **_: object) -> dict[str, Any]:
        if len(measured) == most:
            raise KeyboardInterrupt
        measured.append(cell)
        return row_of(cell)

    monkeypatch.setattr(matrix, "run_cell", run_cell)
    args = ["--cells", "5", "--json", "--resume", str(path)]
    command = CliRunner()
    first = command.invoke(tcp, args, standalone_mode=False)
    assert first.return_value == 130
    assert not json.loads(first.stdout)["complete"]
    most = 9
    second = command.invoke(tcp, args, standalone_mode=False)
    assert second.return_value == 0
    document = json.loads(second.stdout)
    assert document["complete"]
    assert "5 of 5" in second.stderr
    wanted = matrix.sample(every_cell(), 5, 1)
    assert measured == wanted
    assert [{name: row[name] for name in asdict(ONE)} for row in document["rows"]] == [
        asdict(cell) for cell in wanted
    ]
    other = command.invoke(tcp, [*args, "--seeds", "2"], standalone_mode=False)
    assert isinstance(other.exception, ConfigError)
    assert "seeds 1, not 2" in str(other.exception)


def test_several_at_once_are_all_kept_in_their_order(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2, timeout=10)  # only two at once pass

    def run_cell(cell: Cell, **_: object) -> dict[str, Any]:
        both.wait()
        return row_of(cell)

    monkeypatch.setattr(matrix, "run_cell", run_cell)
    args = ["--cells", "6", "--json", "--jobs", "2", "--resume", str(path)]
    done = CliRunner().invoke(tcp, args, standalone_mode=False)
    assert done.return_value == 0
    wanted = matrix.sample(every_cell(), 6, 1)
    rows = json.loads(done.stdout)["rows"]
    assert [{name: row[name] for name in asdict(ONE)} for row in rows] == [
        asdict(cell) for cell in wanted
    ]
    assert set(Journal(path, json.loads(path.read_text().split("\n")[0])).rows) == set(wanted)


def test_a_failure_among_several_is_told_and_the_others_are_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = matrix.sample(every_cell(), 2, 1)
    both = threading.Barrier(2, timeout=10)

    def run_cell(cell: Cell, **_: object) -> dict[str, Any]:
        both.wait()
        if cell == wanted[0]:
            raise QStackError("planted")
        return row_of(cell)

    monkeypatch.setattr(matrix, "run_cell", run_cell)
    args = ["--cells", "2", "--json", "--jobs", "2", "--resume", str(path)]
    done = CliRunner().invoke(tcp, args, standalone_mode=False)
    assert str(done.exception) == "planted"
    assert set(Journal(path, json.loads(path.read_text().split("\n")[0])).rows) == {wanted[1]}


def test_a_cell_beyond_a_limit_is_measured_again_over_more_wires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[Cell, list[int]] = {}
    wanted = [cell for cell in matrix.sample(every_cell(), 8, 1) if cell.loss][:3]
    slow, wasteful, good = wanted

    def run_cell(cell: Cell, *, seeds: range, **_: object) -> dict[str, Any]:
        asked.setdefault(cell, []).append(len(seeds))
        again = 1.4 if cell == wasteful else 1.3
        ratio = 0.89 if cell == slow else 0.9
        return {**row_of(cell), "ratio": ratio, "retransmits_ratio": again}

    monkeypatch.setattr(matrix, "run_cell", run_cell)
    monkeypatch.setattr(matrix, "sample", lambda *_: wanted)
    args = ["--cells", "3", "--seeds", "2", "--recheck", "9", "--json"]
    done = CliRunner().invoke(tcp, args, standalone_mode=False)
    assert json.loads(done.stdout)["recheck"] == 9
    assert asked == {slow: [2, 9], wasteful: [2, 9], good: [2]}


def test_each_seed_is_a_wire_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []

    def run_cell(cell: Cell, *, seeds: range, **_: object) -> dict[str, Any]:
        asked.append(list(seeds))
        return row_of(cell)

    monkeypatch.setattr(matrix, "run_cell", run_cell)
    args = ["--cells", "1", "--seed", "7", "--seeds", "3", "--json"]
    assert CliRunner().invoke(tcp, args, standalone_mode=False).return_value == 0
    assert asked == [[7, 8, 9]]
