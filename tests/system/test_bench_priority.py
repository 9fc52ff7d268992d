# SPDX-License-Identifier: Apache-2.0
"""``qstack bench priority`` without rights: a smoke run whose figures mean nothing but add up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LOADS = ["unloaded", "0.7", "1.0", "1.5"]


@pytest.fixture(autouse=True)
def _own_run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTACK_RUN_DIR", str(tmp_path))


def test_every_urgent_request_is_answered(tmp_path: Path) -> None:
    png = tmp_path / "priority.png"
    done = subprocess.run(
        [sys.executable, "-m", "qstack", "bench", "priority", "--quick", "--json", "--plot", png],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["quick"]
    assert list(document["modes"]) == list(document["one_class"]) == ["connections", "messages"]
    for figures in (*document["modes"].values(), *document["one_class"].values()):
        assert figures["capacity_per_second"] > 0
        assert figures["urgent_lost"] == 0
        assert list(figures["urgent_p999_us"]) == LOADS
        (only,) = figures["rounds"]
        for point in only["points"].values():
            assert point["urgent_offered"] > 0
            assert 0 < point["urgent_p50_us"] <= point["urgent_p99_us"] <= point["urgent_p999_us"]
            assert point["default_unanswered"] == 0
    assert document["starvation"]["share_percent"] == 20
    assert 0 < document["starvation"]["got_percent"] < 100
    assert 0 < document["starvation"]["answers_percent"] < 100
    assert document["kernel"] == {}
    assert png.stat().st_size > 0
