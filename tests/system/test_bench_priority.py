# SPDX-License-Identifier: Apache-2.0
"""``qstack bench priority`` without rights: a smoke run whose figures mean nothing but add up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qstack.priority import ADVERSARIES

LOADS = ["unloaded", "0.7", "1.0", "1.5"]


@pytest.fixture(autouse=True)
def _own_run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTACK_RUN_DIR", str(tmp_path))


def bench(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qstack", "bench", "priority", "--quick", *args],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_every_urgent_request_is_answered(tmp_path: Path) -> None:
    png = tmp_path / "priority.png"
    done = bench("--json", "--plot", str(png))
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


def test_honest_urgent_requests_are_answered_beside_each_adversary() -> None:
    done = bench("--json", "--adversary", "all")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["adversaries"]
    assert list(found) == list(ADVERSARIES)
    for name, figures in found.items():
        assert figures["urgent_lost"] == 0, name
        assert figures["adversary_sent"] > 0, name
        points = ["alone", "beside", *(["without_limit"] if name == "urgent-flood" else [])]
        assert list(figures["urgent_p999_us"]) == points
        assert list(figures["ratio_p999"]) == points[1:]
        for point in figures["rounds"][0]["points"].values():
            assert point["urgent_offered"] > 0
            assert 0 < point["urgent_p50_us"] <= point["urgent_p99_us"] <= point["urgent_p999_us"]
        assert figures["rounds"][0]["points"]["alone"]["adversary"]["sent"] == 0
    for name in ("classifier-loops", "classifier-crashes"):
        assert found[name]["counters"]["interrupted"] == 3
        assert found[name]["counters"]["set_aside"] == 1
        assert found[name]["counters"]["unclassified"] > 3
    assert found["urgent-flood"]["counters"]["capped"] > 0
    assert found["never-reads"]["counters"]["window_probes"] > 0
    slept = found["handler-sleeps"]
    assert slept["counters"]["unanswered"] == slept["adversary_sent"]


def test_an_adversary_is_chosen_by_name_and_needs_an_address() -> None:
    done = bench("--adversary", "nobody")
    assert done.returncode == 2
    assert "'urgent-flood'" in done.stderr
    done = bench("--adversary", "urgent-flood", "--driver", "xsk")
    assert done.returncode == 2
    assert "only with --driver pair" in done.stderr
