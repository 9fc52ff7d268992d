# SPDX-License-Identifier: Apache-2.0
"""Interfaces of the kernel, programmed through their drivers: by ioctl, and contexts by netlink."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

from nicprog.backends.ethtool import EthtoolNic
from nicprog.errors import DeviceError
from nicprog.ethtool.transport import IoctlTransport
from nicprog.host import HostDevice
from nicprog.netlink import EthtoolNetlink
from nicprog.netlink.ethtool import RSS_CREATE

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE: Final = "/proc/thread-self/ns/net"


def is_interface(device: str) -> bool:
    """True when the network namespace of the calling thread has an interface of this name."""
    try:
        socket.if_nametoindex(device)
    except (OSError, ValueError):
        return False
    return True


def open_kernel(device: str) -> EthtoolNic:
    """Opens an interface of the network namespace of the calling thread.

    Raises:
        DeviceError: There is none of that name.
    """
    return EthtoolNic(
        device,
        _instance(device),
        IoctlTransport(device),
        lambda: _rss_netlink(device),
        HostDevice(device),
    )


def _rss_netlink(device: str) -> EthtoolNetlink | None:
    """The family ``ethtool``, where it makes RSS contexts (Linux 6.17)."""
    try:
        calls = EthtoolNetlink(device)
    except DeviceError:
        return None
    if calls.has(RSS_CREATE):
        return calls
    calls.close()
    return None


def _instance(device: str) -> str:
    """An index is not used again in its namespace, nor a namespace's number while it is there."""
    try:
        index = socket.if_nametoindex(device)
    except OSError:
        index = 0  # the transport says that it is not there
    return f"{_BOOT_ID.read_text().strip()}-{os.stat(_NAMESPACE).st_ino}-{index}"
