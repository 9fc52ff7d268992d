# SPDX-License-Identifier: Apache-2.0
"""Files of ``qstack record``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qstack.errors import ConfigError
from qstack.recording import FORMAT, Recording, read

GOOD: dict[str, Any] = {
    "device": "eth0",
    "ends_s": [0.1, 0.25],
    "frames": [[1, 0, 4], [0, 0, 5]],
    "format": FORMAT,
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    recording = Recording(device="eth0", ends_s=[0.1, 0.25], frames=[[1, 0, 4], [0, 0, 5]])
    recording.write(tmp_path / "r.json")
    assert read(tmp_path / "r.json") == recording
    assert recording.pps == 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "another"}, "its format is another one"),
        ({"frames": [[1, 0, 4]]}, "a row of frames for each period"),
        ({"frames": [[1, 0, 4], [1, 0]]}, "all of one length"),
        ({"frames": [[], []]}, "all of one length"),
        ({"frames": [[1, 0, 4], [1, 0, -1]]}, "none below 0"),
        ({"frames": [[1, 0, 4], [1, 0, 0.5]]}, "whole numbers"),
        ({"ends_s": [0.25, 0.1]}, "each period must end after the one before"),
        ({"ends_s": [0.0, 0.1]}, "each period must end after the one before"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(ConfigError, match=words):
        read(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "nothing"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is no recording of 'qstack record'"):
        read(path)
    with pytest.raises(ConfigError, match="is no recording"):
        read(tmp_path / "missing.json")
