# SPDX-License-Identifier: Apache-2.0
"""The folder of control sockets, locks, snapshots and names of contexts."""

from __future__ import annotations

import os
from pathlib import Path


def run_dir() -> Path:
    """``$QSTACK_RUN_DIR``, else what suits the user."""
    if named := os.environ.get("QSTACK_RUN_DIR"):
        return Path(named)
    if os.geteuid() == 0:
        return Path("/run/qstack")
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "qstack"
    return Path(f"/tmp/qstack-{os.geteuid()}")


def file_name(device: str) -> str:
    """The device's name, but for the slashes that a model in a file has."""
    return device.replace("/", "%2F")
