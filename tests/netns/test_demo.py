# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qstack.lab import labs

DEMO = [sys.executable, "-m", "qstack", "demo", "--seconds", "2"]
FIGURES = ("low_rps", "low_p99_us", "high_p50_us", "high_p99_us", "high_p999_us")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("wrk") is None or shutil.which("curl") is None, reason="needs wrk and curl"
    ),
]


@pytest.mark.parametrize("driver", ["tap", "xsk", "pair"])
def test_the_demo_shows_what_it_says(driver: str, tmp_path: Path) -> None:
    png = tmp_path / "plot.png"
    started = time.monotonic()
    env = {**os.environ, "QSTACK_RUN_DIR": str(tmp_path / "run")}
    done = subprocess.run(
        [*DEMO, "--driver", driver, "--json", "--plot", str(png)],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - started < 120
    document = json.loads(done.stdout)
    assert document["curl_ok"] is (None if driver == "pair" else True)
    assert document["rule_ok"] is True
    assert document["rss_ok"] is True
    for side in ("qstack", "kernel"):
        assert all(document[side][name] > 0 for name in FIGURES), document[side]
        assert document[side]["high_p50_us"] <= document[side]["high_p99_us"]
        assert document[side]["high_p99_us"] <= document[side]["high_p999_us"]
        assert document[side]["socket_errors"] == 0
    assert not [p for p in (tmp_path / "run").glob("**/*") if p.is_file()]
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_s", [0.3, 3.0])
def test_an_interrupted_demo_leaves_nothing_behind(
    number: signal.Signals, after_s: float, tmp_path: Path
) -> None:
    env = {**os.environ, "QSTACK_RUN_DIR": str(tmp_path)}  # where its labs are recorded
    with subprocess.Popen(
        [*DEMO, "--driver", "tap", "--json", "--plot", str(tmp_path / "p.png")],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        until_s = time.monotonic() + 60
        while not (names := [p.stem for p in (tmp_path / "labs").glob("*.json")]):
            assert time.monotonic() < until_s, "the demo does not begin"
            time.sleep(0.05)
        time.sleep(after_s)
        demo.send_signal(number)
        out, err = demo.communicate(timeout=20)
    assert demo.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert not list((tmp_path / "labs").glob("*.json"))
    assert not [p for p in Path("/run/netns").iterdir() if p.name.startswith(tuple(names))]
    assert not {record.name for record in labs()} & set(names)
