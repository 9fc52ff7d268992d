# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tools.hil.lanes import LANES

_TESTS = Path(__file__).parent

# A shell starts background jobs with SIGINT ignored, which every child would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """What tests/hil runs on: docs/testing.md."""
    group = parser.getgroup("hil", "real drivers, tests/hil")
    group.addoption(
        "--hil-lane",
        default="default",
        choices=list(LANES),
        help="the guest whose NICs are tested; default: default",
    )
    group.addoption("--hil-device", metavar="IFACE", help="a NIC of this machine instead of one")
    group.addoption(
        "--hil-peer", metavar="IFACE", help="the interface at its other end, which sends frames"
    )


def pytest_configure(config: pytest.Config) -> None:
    """A wrong name is said before anything runs."""
    device, peer = config.getoption("--hil-device"), config.getoption("--hil-peer")
    if peer and not device:
        raise pytest.UsageError("--hil-peer needs --hil-device")
    for name in filter(None, (device, peer)):
        try:
            socket.if_nametoindex(name)
        except OSError:
            raise pytest.UsageError(f"there is no interface {name!r} here") from None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in tests/netns, and skip it where namespaces cannot be made."""
    no_root = pytest.mark.skip(reason="needs root: makes network namespaces and devices")
    for item in items:
        if item.path.is_relative_to(_TESTS / "netns"):
            item.add_marker("netns")
        if item.get_closest_marker("netns") and os.geteuid() != 0:
            item.add_marker(no_root)
