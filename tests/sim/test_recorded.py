# SPDX-License-Identifier: Apache-2.0
"""Recordings of servers, as loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qstack.errors import ConfigError
from qstack.loads import Settings, find
from qstack.loads.recorded import Recorded
from qstack.recording import Recording

RECORDING = Recording(
    device="eth0", ends_s=[0.25, 0.5, 0.75], frames=[[100, 0, 7], [0, 50, 0], [10, 10, 10]]
)


def settings(seconds: float) -> Settings:
    return Settings(seconds=seconds, queues=4, seed=3)


def test_frames_come_in_their_period_and_again(tmp_path: Path) -> None:
    RECORDING.write(tmp_path / "r.json")
    load = find(str(tmp_path / "r.json"))
    assert load.pps == pytest.approx(187 / 0.75)
    blocks = list(load.blocks(settings(3.0)))
    times = np.concatenate([block.times_ns for block in blocks])
    flows = np.concatenate([block.flows for block in blocks])
    hashes = np.concatenate([block.hashes for block in blocks])
    assert (np.diff(times) >= 0).all()
    assert hashes.tolist() == [0, 1, 2]
    for lap in range(4):
        for row, counts in enumerate(RECORDING.frames):
            inside = (times >= (lap * 3 + row) * 250_000_000) & (
                times < (lap * 3 + row + 1) * 250_000_000
            )
            assert np.bincount(flows[inside], minlength=3).tolist() == counts


def test_a_part_of_a_period_has_a_part_of_its_frames() -> None:
    source = Recorded(
        np.random.default_rng(1), Recording(device="x", ends_s=[1.0], frames=[[1000]])
    )
    first, second = source.block(0, 250_000_000), source.block(250_000_000, 1_000_000_000)
    assert 200 < len(first.flows) < 300
    assert 700 < len(second.flows) < 800
    assert first.times_ns.max() < 250_000_000 <= second.times_ns.min()
    assert len(second.hashes) == 0


def test_a_silent_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    Recording(device="x", ends_s=[1.0], frames=[[0, 0]]).write(path)
    with pytest.raises(ConfigError, match="nothing came"):
        find(str(path))
    with pytest.raises(ConfigError, match="is no recording"):
        find(str(tmp_path / "missing.json"))
