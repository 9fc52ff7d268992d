# SPDX-License-Identifier: Apache-2.0
"""The other end of a NIC."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, Self

_ETH_P_ALL: Final = 3
_FRAME_MAX: Final = 65536
_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 2
_IFF_NO_PI: Final = 0x1000
_PACE_S: Final = 0.001


class Wire(Protocol):
    """Where frames go in."""

    def send(self, frames: Sequence[bytes]) -> None:
        """Sends Ethernet frames to the NIC, in their order, slower than it takes them."""


class _SocketWire:
    """A wire over a socket."""

    _socket: socket.socket

    def send(self, frames: Sequence[bytes]) -> None:
        """As `Wire` says."""
        for frame in frames:
            self._send(frame)
            time.sleep(_PACE_S)

    def _send(self, frame: bytes) -> None:
        raise NotImplementedError

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

    def _send(self, frame: bytes) -> None:
        self._socket.sendto(frame, self._to)  # waits while the NIC is slower

    def fileno(self) -> int:
        """Readable when the NIC has sent something."""
        return self._socket.fileno()

    def receive(self) -> bytes:
        """The next frame that the NIC has sent; waits for it."""
        return self._socket.recv(_FRAME_MAX)

    def forward(self, frame: bytes) -> None:
        """Sends one frame at once."""
        self._send(frame)


class InterfaceWire(_SocketWire):
    """An interface whose other end is the NIC; loses frames that come too fast."""

    def __init__(self, ifname: str) -> None:
        """Opens it in the network namespace of the calling thread."""
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.bind((ifname, 0))

    def _send(self, frame: bytes) -> None:
        self._socket.send(frame)


class Cable:
    """Joins a wire to a TAP of its own: what one end sends, the other receives."""

    def __init__(self, wire: DatagramWire, ifname: str) -> None:
        """Makes the TAP in the network namespace of the calling thread."""
        self._wire = wire
        self._tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        flags = _IFF_TAP | _IFF_NO_PI
        fcntl.ioctl(self._tap, _TUNSETIFF, struct.pack("16sH22x", ifname.encode(), flags))
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._ended, self._tap, self._wire.fileno()], [], [])
            if self._ended in ready:
                return
            if self._tap in ready:
                self._wire.forward(os.read(self._tap, _FRAME_MAX))
            if self._wire.fileno() in ready:
                os.write(self._tap, self._wire.receive())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._ended)
        os.close(self._tap)
