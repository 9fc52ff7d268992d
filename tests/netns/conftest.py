# SPDX-License-Identifier: Apache-2.0
"""The command nicprog in the namespace of a test, which has a fixture ``namespace``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qstack.lab import Namespace

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs nicprog in the namespace and returns its JSON; never a traceback."""
    monkeypatch.setenv("QSTACK_RUN_DIR", str(tmp_path))

    def nicprog(*arguments: str, status: int = 0) -> dict[str, Any]:
        command = [sys.executable, "-m", "nicprog.cli", *arguments, "--json"]
        done = namespace.run(command, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr
        assert done.returncode == status, done.stderr
        document = json.loads(done.stdout)
        assert isinstance(document, dict)
        return document

    return nicprog
