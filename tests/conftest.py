# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

_TESTS = Path(__file__).parent

# A shell starts background jobs with SIGINT ignored, which every child would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in tests/netns, and skip it where namespaces cannot be made."""
    no_root = pytest.mark.skip(reason="needs root: makes network namespaces and devices")
    for item in items:
        if item.path.is_relative_to(_TESTS / "netns"):
            item.add_marker("netns")
        if item.get_closest_marker("netns") and os.geteuid() != 0:
            item.add_marker(no_root)
