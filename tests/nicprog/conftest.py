# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import nicprog
from tests.nicprog.owner import Owner

# How long an example takes says more about the machine than about the code.
settings.register_profile("nicprog", deadline=None)
settings.load_profile("nicprog")


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of control sockets of this test's own."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("QSTACK_RUN_DIR", str(folder))
    return folder


@pytest.fixture
def owner(run_dir: Path) -> Iterator[Owner]:
    """A software NIC ``qp0`` with 8 queues."""
    with Owner("qp0") as running:
        yield running


@pytest.fixture
def nic(owner: Owner) -> Iterator[nicprog.Backend]:
    """The open NIC ``qp0``."""
    with nicprog.open(owner.name) as opened:
        yield opened
