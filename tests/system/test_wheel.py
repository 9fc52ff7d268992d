# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools.check_wheel import problems
from tools.tree import ROOT


def test_the_wheel_holds_what_the_tree_holds(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--no-build-isolation"),
            *("--no-deps", "--no-index", "-q", "-w", str(tmp_path), str(ROOT)),
        ],
        check=True,
        env={**os.environ, "PATH": path},
    )
    (wheel,) = tmp_path.glob("qstack_net-*.whl")
    assert "-cp311-abi3-" in wheel.name
    assert problems(wheel, ROOT) == []
