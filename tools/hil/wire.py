# SPDX-License-Identifier: Apache-2.0
"""The other end of a guest's NIC: frames go in one by one."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final, Protocol, Self

_ETH_P_ALL: Final = 3


class Wire(Protocol):
    """Where frames go in."""

    def send(self, frame: bytes) -> None:
        """Sends one Ethernet frame to the NIC."""


class _SocketWire:
    """A wire over a socket."""

    _socket: socket.socket

    def close(self) -> None:
        """Ends it."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class DatagramWire(_SocketWire):
    """QEMU's ``-netdev dgram``: a frame is a datagram; loses nothing, and needs no rights."""

    def __init__(self, folder: Path, name: str) -> None:
        self._to = str(folder / f"{name}.nic")
        own = str(folder / f"{name}.wire")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(own)
        ends = f"local.type=unix,local.path={self._to},remote.type=unix,remote.path={own}"
        self.netdev = ["-netdev", f"dgram,id={name},{ends}"]

    def send(self, frame: bytes) -> None:
        """As `Wire` says; waits while the NIC is slower."""
        self._socket.sendto(frame, self._to)


class TapWire(_SocketWire):
    """A TAP of several queues, which virtio-net needs; loses frames that come too fast."""

    def __init__(self, ifname: str) -> None:
        """Opens it in the network namespace of the calling thread."""
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.bind((ifname, 0))

    def send(self, frame: bytes) -> None:
        """As `Wire` says."""
        self._socket.send(frame)
