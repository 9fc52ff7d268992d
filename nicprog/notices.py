# SPDX-License-Identifier: Apache-2.0
"""Notices that something changed at an interface, or that the process is to end.

The kernel tells of channels, rings, coalescing, features and (since Linux 6.17) RSS by its family
``ethtool``, of interfaces that come, go, rise and fall by rtnetlink. Of flow rules it tells
nothing.
"""

from __future__ import annotations

import select
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from nicprog.errors import DeviceError
from nicprog.netlink import Monitor

_RTMGRP_LINK: Final = 1
_LINK_MESSAGES: Final = (16, 17)  # RTM_NEWLINK, RTM_DELLINK
_RECEIVED_MAX: Final = 1 << 16
_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)


class Notice(Enum):
    """What a wait ended with."""

    TIME = "time"
    CHANGED = "changed"
    STOP = "stop"


class InterfaceNotices:
    """Notices about one interface, by name, in the network namespace of the thread that makes it.

    A kernel without the family is silent about settings: then only links and signals are told.
    """

    def __init__(self, device: str, stop: socket.socket) -> None:
        """``stop`` is readable when the process is to end, as of :func:`ending_signals`."""
        self._device, self._stop = device, stop
        self._links = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._links.bind((0, _RTMGRP_LINK))
        try:
            self._settings: Monitor | None = Monitor()
        except DeviceError:
            self._settings = None

    def wait(self, timeout_s: float) -> Notice:
        """Returns at the first notice about the interface, or when ``timeout_s`` is over."""
        sources = [source for source in (self._links, self._settings, self._stop) if source]
        ready = select.select(sources, [], [], timeout_s)[0]
        if self._stop in ready:
            return Notice.STOP
        changed = False
        if self._links in ready:
            changed = self._link_changed()
        if self._settings is not None and self._settings in ready:
            changed = self._setting_changed(self._settings) or changed
        return Notice.CHANGED if changed else Notice.TIME

    def close(self) -> None:
        """Ends both."""
        self._links.close()
        if self._settings is not None:
            self._settings.close()

    def _setting_changed(self, monitor: Monitor) -> bool:
        try:
            return any(one.device == self._device for one in monitor.read(timeout_s=0))
        except DeviceError:  # some were lost, perhaps ours
            return True

    def _link_changed(self) -> bool:
        try:
            data = self._links.recv(_RECEIVED_MAX)
        except OSError:  # likewise
            return True
        return self._device in _link_names(data)


def _link_names(data: bytes) -> Iterator[str]:
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if kind in _LINK_MESSAGES:
            message = ifinfmsg(data[at : at + length])
            message.decode()
            yield message.get_attr("IFLA_IFNAME")
        at += max((length + 3) & ~3, 16)


class TimeNotices:
    """No notices but the end: of a NIC that tells nothing, which is looked at by time alone."""

    def __init__(self, stop: socket.socket) -> None:
        """``stop`` as for :class:`InterfaceNotices`."""
        self._stop = stop

    def wait(self, timeout_s: float) -> Notice:
        """Returns when the process is to end, or ``timeout_s`` is over."""
        return Notice.STOP if select.select([self._stop], [], [], timeout_s)[0] else Notice.TIME

    def close(self) -> None:
        """Has nothing to close."""


@contextmanager
def ending_signals() -> Iterator[socket.socket]:
    """A socket that is readable once SIGTERM or SIGINT came; neither ends the process meanwhile.

    Also when the signal comes in the middle of an apply, which takes its steps back then.
    """
    reader, writer = socket.socketpair()
    for end in (reader, writer):
        end.setblocking(False)
    before = {number: signal.getsignal(number) for number in _STOPPING}
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in _STOPPING:
        signal.signal(number, lambda *_: None)
    try:
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(wakeup)
        reader.close()
        writer.close()
