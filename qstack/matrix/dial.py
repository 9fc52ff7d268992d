# SPDX-License-Identifier: Apache-2.0
"""Who opens the connection of a transfer: the kernel, or QStack through qs-connect."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import termios
from contextlib import suppress
from typing import Any, Protocol

from .. import programs
from ..errors import QStackError
from ..lab import Namespace

BUFFER_BYTES = 4 << 20
"""Of QStack's connections: what Linux lets a sender's grow to."""

_END_S = 10.0


class Dialer(Protocol):
    """Opens one connection and knows how far its bytes have come."""

    def dial(self, host: str, port: int, limit_s: float) -> socket.socket:
        """Return a stream of bytes to the server and back.

        Raises:
            OSError: There is none within `limit_s` seconds.
        """

    def unacknowledged(self, sent_bytes: int) -> int:
        """Return how many of the bytes that were sent so far the server has not acknowledged."""


class KernelDialer:
    """Connects by kernel TCP, in the namespace of the calling thread."""

    def dial(self, host: str, port: int, limit_s: float) -> socket.socket:
        """As `Dialer` says."""
        self._sock = socket.create_connection((host, port), timeout=limit_s)
        return self._sock

    def unacknowledged(self, sent_bytes: int) -> int:
        """As `Dialer` says."""
        answer = fcntl.ioctl(self._sock, termios.TIOCOUTQ, bytes(4))
        return int(struct.unpack("i", answer)[0])


class QStackDialer:
    """Connects by QStack's TCP, over AF_XDP on a device of a namespace.

    The stream is there before the connection is: what is sent waits in it.
    """

    def __init__(self, namespace: Namespace, device: str) -> None:
        self._namespace, self._device = namespace, device
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._figures: dict[str, Any] = {"retransmits": 0, "acknowledged_bytes": 0, "error": None}

    def dial(self, host: str, port: int, limit_s: float) -> socket.socket:
        """As `Dialer` says."""
        ours, its = socket.socketpair()
        args = [programs.find("qs-connect"), self._device, host, str(port), str(BUFFER_BYTES)]
        with its:
            self._process = self._namespace.popen(
                args, stdin=its, stdout=its, stderr=subprocess.PIPE
            )
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        return ours

    def unacknowledged(self, sent_bytes: int) -> int:
        """As `Dialer` says; up to a quarter of a second old."""
        assert self._process is not None
        assert self._process.stderr is not None
        with suppress(BlockingIOError):
            while piece := os.read(self._process.stderr.fileno(), 4096):
                self._take(piece)
        return sent_bytes - int(self._figures["acknowledged_bytes"])

    def _take(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            try:
                self._figures = json.loads(line)
            except json.JSONDecodeError:
                raise QStackError(line.decode(errors="replace")) from None

    def end(self) -> dict[str, Any]:
        """Return the last figures, after the stream was closed; the program is gone then.

        Raises:
            QStackError: It could not even begin, or does not end.
        """
        if self._process is None:
            return self._figures
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), True)
        try:
            self._take(self._process.communicate(timeout=_END_S)[1])
        except subprocess.TimeoutExpired:
            raise QStackError(f"qs-connect does not end within {_END_S:g} s") from None
        finally:
            self._process.kill()
            self._process.wait()
        return self._figures
