# SPDX-License-Identifier: Apache-2.0
"""The soak for some seconds, on the stack as it is and on servers that lose something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qstack.errors import QStackError
from tools.soak.run import Options, run

ROOT = Path(__file__).parents[2]


def soaked(leak: str) -> dict[str, Any]:
    options = Options(
        seconds=8, seed=1, settle_s=3, server=("-m", "tests.netns.leaky_server", leak)
    )
    return run(options, lambda what, part: None)


@pytest.mark.slow
def test_after_floods_all_is_as_at_the_start() -> None:
    command = [sys.executable, "-m", "tools.soak", "--minutes", "0.2", "--seed", "7", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout[:2000] + done.stderr
    document = json.loads(done.stdout)
    assert document["passed"]
    assert document["seed"] == 7
    assert document["clients"]["short"] > 500
    assert document["clients"]["transfers"] > 50
    assert document["clients"]["wrong"] == 0
    assert document["fullest"]["conns"] > 100
    assert document["end"]["conns"] == document["end"]["chunks"] == 0
    for kind in ("syn", "rst", "ack", "noise", "aimed_R", "aimed_S", "aimed_A"):
        assert document["floods"][kind] > 0
    for kind in ("lost", "duplicated", "reordered", "corrupted"):
        assert document["wire"]["a_to_b"][kind] > 0


@pytest.mark.slow
def test_a_connection_that_is_never_closed_is_seen() -> None:
    document = soaked("connections")
    assert not document["passed"]
    assert [text for text in document["problems"] if text.startswith("conns: ")]


@pytest.mark.slow
def test_memory_that_is_never_given_back_is_seen() -> None:
    assert [text for text in soaked("memory")["problems"] if text.startswith("memory grew by ")]


@pytest.mark.slow
def test_a_wrong_byte_is_seen() -> None:
    document = soaked("bytes")
    assert document["clients"]["wrong"] > 0
    assert [text for text in document["problems"] if "honest connections went wrong" in text]


@pytest.mark.slow
def test_a_server_that_ends_is_an_error_and_leaves_nothing() -> None:
    with pytest.raises(QStackError, match="the server ended, status 3"):
        soaked("life")
