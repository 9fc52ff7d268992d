# SPDX-License-Identifier: Apache-2.0
"""RUNDIR, where processes that serve are found: docs/design/002."""

from __future__ import annotations

import os
from pathlib import Path


def run_dir() -> Path:
    """Return RUNDIR, made with mode 0700 when it is missing."""
    given = os.environ.get("QSTACK_RUN_DIR")
    if given:
        path = Path(given)
    elif os.geteuid() == 0:
        path = Path("/run/qstack")
    elif runtime := os.environ.get("XDG_RUNTIME_DIR"):
        path = Path(runtime) / "qstack"
    else:
        path = Path(f"/tmp/qstack-{os.getuid()}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
