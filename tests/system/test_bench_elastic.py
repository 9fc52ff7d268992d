# SPDX-License-Identifier: Apache-2.0
"""``qstack bench elastic`` and ``idle`` without rights: smoke runs whose figures add up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from qstack import programs


@pytest.fixture(autouse=True)
def _own_run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTACK_RUN_DIR", str(tmp_path))


def bench(*args: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "qstack", "bench", *args, "--quick", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["quick"]
    return document


def test_no_octet_is_lost_or_wrong_while_queues_and_buckets_move() -> None:
    figures = bench("elastic", "--connections", "16", "--seed", "7")
    assert figures["moves"] == 200
    assert figures["messages"] > 16
    assert figures["seed"] == 7
    assert [figures[key] for key in ("lost", "reordered", "resets")] == [0, 0, 0]
    assert figures["bucket_moves"] == 200
    assert figures["connections_moved"] > 0
    pauses = ("pause", "bucket_pause")
    trips = ("round_trip", "round_trip_still", "round_trip_buckets")
    for what in (*pauses, *trips, "machine_wakeup"):
        p50, p99, most = (figures[f"{what}_{part}_us"] for part in ("p50", "p99", "max"))
        assert 0 < p50 <= p99 <= most
    assert figures["load_steps"] == 1
    assert 0 < figures["follow_up_p50_ms"] <= figures["follow_up_max_ms"]
    assert figures["machine_wakeup_us"] == figures["machine_wakeup_p50_us"]


def test_an_idle_server_is_measured() -> None:
    figures = bench("idle", "--queues", "2")
    assert figures["driver"] == "pair"
    assert figures["cpu_percent_of_core"] >= 0


def test_a_server_that_stands_still_for_a_second_loses_nothing() -> None:
    """By SIGSTOP in the middle of moves, as when somebody else has the machine."""
    moves = ["--moves", "2000", "--bucket-moves", "2000", "--connections", "16"]
    with subprocess.Popen(
        [programs.find("qs-elastic"), *moves], stdout=subprocess.PIPE, text=True
    ) as process:
        for _ in range(3):
            time.sleep(0.7)
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(1.0)
            os.kill(process.pid, signal.SIGCONT)
        figures = json.loads(process.communicate(timeout=100)[0])
    assert process.returncode == 0
    assert figures["moves"] == figures["bucket_moves"] == 2000
    assert [figures[key] for key in ("lost", "reordered", "resets")] == [0, 0, 0]
