# SPDX-License-Identifier: Apache-2.0
"""What tests/hil is made of, without a guest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.hil.lanes import ABILITIES, LANES

TREE = Path(__file__).parents[2]


@pytest.mark.parametrize("name", LANES)
def test_what_nics_lack_is_something_that_tests_ask_for(name: str) -> None:
    for nic in LANES[name].nics:
        assert nic.lacks.keys() <= ABILITIES.keys()
        assert all(nic.lacks.values())


@pytest.mark.skipif(os.geteuid() != 0, reason="guests need root")
@pytest.mark.parametrize("in_ci", [False, True])
def test_what_cannot_be_had_is_a_skip_with_the_reason_and_in_ci_an_error(in_ci: bool) -> None:
    environment = {"PATH": "/nowhere", "HOME": "/nowhere"} | ({"CI": "1"} if in_ci else {})
    tests = ["tests/hil/test_drivers.py", "-k", "nothing", "--hil-lane", "xdp"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", *tests],
        env=environment,
        cwd=TREE,
        capture_output=True,
        text=True,
    )
    assert done.returncode == in_ci
    assert "apt-get is needed, and is not there" in done.stdout
    assert re.search(r"deselected, \d+ errors" if in_ci else r"= \d+ skipped", done.stdout)


def test_another_lane_is_an_error_that_names_those_that_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/hil", "--hil-lane", "moon"],
        cwd=TREE,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    for name in LANES:
        assert name in done.stderr
