# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qstack import cli

FIGURES = {"imbalance_percent", "peak_to_mean", "p999_us", "moves_per_step", "core_seconds"}
SHORT = ("--cores", "4", "--seconds", "1.3", "--warm-up", "0", "--load", "step")


def qstack(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from qstack.cli import main; main()", "sim", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def document(*args: str) -> dict[str, Any]:
    done = qstack(*args, "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def write_policy(path: Path, answer: str) -> str:
    path.write_text(
        "import qstack\n\n\n@qstack.policy\n"
        "def mine(figures, cores, queues, buckets, flows, memory, moves):\n"
        "    memory[0] += 1\n"
        f"    moves[0].kind, moves[0].what, moves[0].to = 1, memory[0], {answer}\n"
        "    return memory[0] < 9\n"
    )
    return f"{path}:mine"


def test_comparing_has_the_keys_that_stay(tmp_path: Path) -> None:
    png = tmp_path / "sim.png"
    args = ("--compare", *SHORT, "--load", "zipf", "--policy", "static", "--policy", "balance")
    found = document(*args, "--plot", str(png))
    assert set(found["loads"]) == {"step", "zipf"}
    for policies in found["loads"].values():
        assert set(policies) == {"static", "balance"}
        for figures in policies.values():
            assert set(figures) >= FIGURES
    assert found["scale_down_peak_to_mean"]["static"] is None
    assert 1 <= found["scale_down_peak_to_mean"]["balance"] < 1.03
    assert found["decision_us"] == found["decision_us_by_policy"]["balance"] > 0
    assert png.stat().st_size > 1000


def test_a_policy_of_a_user_is_tried_beside_others(tmp_path: Path) -> None:
    name = write_policy(tmp_path / "my.py", "len(queues) - 1")
    found = document(*SHORT, "--policy", name, "--policy", "static")
    assert found["loads"]["step"]["mine"]["set_aside"] == ""
    assert found["loads"]["step"]["mine"]["moves"] > 0


def test_a_policy_that_answers_nonsense_is_status_1_and_the_rest_is_told(tmp_path: Path) -> None:
    name = write_policy(tmp_path / "my.py", "len(queues)")
    done = qstack(*SHORT, "--policy", name)
    assert done.returncode == 1
    assert "qstack: WARNING: policy mine is set aside, nothing moves any more" in done.stderr
    assert "Traceback" not in done.stderr
    assert "mine (set aside)" in done.stdout


def test_the_cost_of_the_engine_is_taken_from_its_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    path.write_text(json.dumps({"requests_per_second": {"1000": 4_000_000}}))
    found = document(*SHORT, "--policy", "static", "--engine", str(path))
    assert found["machine"]["engine_ns"] == 250
    path.write_text(json.dumps({"requests_per_second": {}}))
    done = qstack(*SHORT, "--engine", str(path))
    assert done.returncode == 2
    assert "not a document of 'qstack bench engine --json' (KeyError: '1000')" in done.stderr


def test_without_numba_there_is_one_message_that_says_how_to_get_it() -> None:
    code = "import sys; sys.modules['numba'] = None; from qstack.cli import main; main()"
    command = [sys.executable, "-c", code, "sim"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "pip install 'qstack-net[compiled]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_other_commands_do_not_wait_for_numpy() -> None:
    code = "import sys, qstack.cli; sys.exit('numpy' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_the_list_names_loads_and_policies() -> None:
    found = document("--list")
    assert {"campus4", "diurnal"} <= set(found["loads"])
    assert {"rsspp", "balance"} <= set(found["policies"])
    assert "campus4" in qstack("--list").stdout


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (("--load", "lunch"), "no load is called 'lunch'"),
        (("--policy", "fastest"), "no policy is called 'fastest'"),
        (("--policy", "static", "--policy", "static"), "two policies have the same name"),
        (("--seconds", "1"), "the warm-up must be shorter than the load, got 2 of 1 s"),
        (("--queues", "4"), "queues must be 8..256, got 4"),
        (("--period", "10"), "--period 10: "),
        (("--decision-limit", "fast"), "--decision-limit fast: "),
        (("--period", "1us"), "--period 1us: from 10 us to 10s"),
        (("--utilisation", "0.01"), "the engine alone needs 262"),
        (("--engine", "/no/such/file"), "--engine /no/such/file: not a document"),
    ],
)
def test_bad_input_is_one_message(
    args: tuple[str, ...],
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["qstack", "sim", *args])
    assert cli._run() == 2
    told = capsys.readouterr()
    assert what in told.err
    assert told.out == ""
