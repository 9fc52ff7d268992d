# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.devtool import Stage, run_stages, stages_of_test
from tools.tree import ROOT

_DEV = str(ROOT / "tools/dev")
_VERBS = ("setup", "demo", "test", "lint", "fuzz", "bench", "docs")
_NEEDED = ("bash", "env", "dirname", "id", "cat", "find", "sort", "xargs", "sha256sum", "mkdir")


def _dev(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", _DEV, *args]
    environment = {**os.environ, **env}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_usage_names_every_verb() -> None:
    done = _dev("--help")
    assert done.returncode == 0
    for verb in _VERBS:
        assert f"\n  {verb} " in done.stdout


@pytest.mark.parametrize(
    "args", [(), ("deploy",), ("setup", "--now"), ("test", "--all"), ("docs", "x")]
)
def test_a_wrong_call_is_status_2_and_says_what_is_wrong(args: tuple[str, ...]) -> None:
    done = _dev(*args)
    assert done.returncode == 2
    assert (args[-1] if args else "usage:") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", [v for v in _VERBS if v != "demo"])
def test_each_verb_has_a_help(verb: str) -> None:
    done = _dev(verb, "--help")
    assert done.returncode == 0
    assert verb in done.stdout


def test_without_a_way_to_install_the_missing_packages_are_named(tmp_path: Path) -> None:
    # A PATH with a shell and a Python in it, but neither compilers nor apt-get.
    for name in (*_NEEDED, "python3"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    done = _dev("demo", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "install with: sudo apt-get install -y gcc" in done.stderr
    assert "clang-14" in done.stderr


def test_every_stage_runs_and_one_failure_fails_all(capfd: pytest.CaptureFixture[str]) -> None:
    stages = [
        Stage(name="first", commands=[["false"], ["echo", "not reached"]]),
        Stage(name="second", commands=[["echo", "reached"]]),
    ]
    assert run_stages(stages) == 1
    out = capfd.readouterr().out
    assert "\nnot reached" not in out
    assert "\nreached" in out
    assert "FAILED" in next(line for line in out.splitlines() if line.endswith("first"))
    assert "1 of 2 FAILED" in out
    assert run_stages(stages[1:]) == 0


def _test_options(**given: object) -> argparse.Namespace:
    options: dict[str, object] = {
        "san": False,
        "tsan": False,
        "netns": False,
        "hil": False,
        "hil_lane": None,
        "hil_device": None,
        "hil_peer": None,
        "matrix": False,
        "sweep": False,
        "quick": False,
        "k": None,
    }
    return argparse.Namespace(**{**options, **given})


def test_the_full_matrix_is_a_run_of_its_own() -> None:
    (stage,) = stages_of_test(_test_options(matrix=True))
    *command, journal = stage.commands[0]
    assert command[1:5] == ["bench", "tcp", "--cells", "full"]
    assert command[-1] == "--resume"
    assert journal == str(ROOT / "build/matrix.jsonl")


@pytest.mark.parametrize("given", [{"hil_lane": "xdp"}, {"hil_device": "eth1", "hil_peer": "eth2"}])
def test_options_of_guests_are_handed_on_and_run_these_tests_alone(given: dict[str, str]) -> None:
    (stage,) = stages_of_test(_test_options(**given))
    command = stage.commands[0]
    assert "tests/hil" in command
    for name, value in given.items():
        at = command.index("--" + name.replace("_", "-"))
        assert command[at + 1] == value


def test_every_folder_with_tests_is_run() -> None:
    args = _test_options()
    commands = " ".join(arg for s in stages_of_test(args) for c in s.commands for arg in c)
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert f"tests/{path.relative_to(ROOT / 'tests').parts[0]}" in commands
