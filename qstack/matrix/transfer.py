# SPDX-License-Identifier: Apache-2.0
"""A client: one transfer by HTTP over whoever's TCP, timed, hashed and bounded."""

from __future__ import annotations

import errno
import hashlib
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..site import HELLO, blob, blob_sha256
from .dial import Dialer, KernelDialer

T = TypeVar("T")

STALL_S = 20.0
"""A transfer of which nothing moved for so long is stuck."""

_CONNECT_S = 30.0
_TICK_S = 0.25
_READ_BYTES = 256 << 10
_HEAD_END = b"\r\n\r\n"
# The neighbour was asked for over the bad wire and did not answer.
_NOT_YET = (errno.EHOSTUNREACH, errno.ETIMEDOUT)


class Stuck(Exception):
    """Nothing moves any more."""


class OutOfTime(Exception):
    """It moves, but time is up."""


class WrongAnswer(Exception):
    """The server said something else than it should."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """How a transfer went.

    Attributes:
        seconds: From the request to the last byte, to the answer, or until time was up.
        moved_bytes: What arrived; of an upload that was not finished, what was acknowledged.
        finished: All of it arrived in time.
        hash_ok: What arrived is what was sent; None: nobody could tell.
        stuck: Nothing moved any more.
        error: What went wrong, or None.
    """

    seconds: float
    moved_bytes: int
    finished: bool
    hash_ok: bool | None
    stuck: bool = False
    error: str | None = None


class Client:
    """One connection. Whatever it waits for ends when nothing moves or when time is up."""

    def __init__(
        self, host: str, port: int, limit_s: float, stall_s: float, dialer: Dialer
    ) -> None:
        self._host, self._port, self._dialer = host, port, dialer
        self._limit_s, self._stall_s = limit_s, stall_s
        self._sock: socket.socket | None = None
        self._digest = hashlib.sha256()
        self._all_sent = 0
        self._start()

    def connect(self) -> None:
        """Connect and fetch a line, so that both sides know their neighbours.

        Raises:
            Stuck: There is no connection, or no answer.
        """
        end_s = time.monotonic() + _CONNECT_S
        while self._sock is None:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise Stuck("cannot connect")
            try:
                self._sock = self._dialer.dial(self._host, self._port, left_s)
            except OSError as e:
                if e.errno not in _NOT_YET and not isinstance(e, TimeoutError):
                    raise
        self._sock.settimeout(_TICK_S)
        self._start()
        self._send(b"GET / HTTP/1.1\r\nHost: matrix\r\n\r\n")
        if self._answer() != HELLO:
            raise WrongAnswer("the first line is another one")

    def _start(self) -> None:
        self._received = self._sent = self._seen = self._body_bytes = 0
        self.started_s = self._seen_s = time.monotonic()

    def moved(self) -> int:
        """Return how many bytes came, and how many that were sent are acknowledged."""
        if self._sock is None:
            return 0
        return self._received + self._sent - self._dialer.unacknowledged(self._all_sent)

    def _patiently(self, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except TimeoutError:
                self._check_time()

    def _check_time(self) -> None:
        now_s, moved = time.monotonic(), self.moved()
        if moved != self._seen:
            self._seen, self._seen_s = moved, now_s
        if now_s - self._seen_s > self._stall_s:
            raise Stuck(f"nothing moved for {self._stall_s:g} s, after {moved} bytes")
        if now_s - self.started_s > self._limit_s:
            raise OutOfTime

    def _send(self, data: bytes) -> None:
        assert self._sock is not None
        sock, rest = self._sock, memoryview(data)
        while rest:
            n = self._patiently(lambda: sock.send(rest))  # noqa: B023, it is called at once
            self._sent += n
            self._all_sent += n
            rest = rest[n:]
            self._check_time()

    def _receive(self, most: int) -> bytes:
        assert self._sock is not None
        sock = self._sock
        data = self._patiently(lambda: sock.recv(most))
        if not data:
            raise WrongAnswer(f"the connection ended after {self._received} bytes")
        self._received += len(data)
        self._check_time()
        return data

    def _head(self) -> tuple[int, bytes]:
        """Return the length of the body, and what has come of it."""
        head = b""
        while _HEAD_END not in head:
            head += self._receive(_READ_BYTES)
        head, _, body = head.partition(_HEAD_END)
        status, *fields = head.decode("latin-1").lower().split("\r\n")
        lengths = [f.partition(":")[2] for f in fields if f.startswith("content-length:")]
        if " 200 " not in status or len(lengths) != 1:
            raise WrongAnswer(f"{status!r}")
        return int(lengths[0]), body

    def _answer(self) -> bytes:
        length, body = self._head()
        while len(body) < length:
            body += self._receive(length - len(body))
        return body

    def download(self, n: int) -> None:
        """Fetch `n` bytes.

        Raises:
            Stuck, OutOfTime, WrongAnswer, OSError: `downloaded` tells about what came.
        """
        self._start()
        self._send(f"GET /bytes/{n} HTTP/1.1\r\nHost: matrix\r\n\r\n".encode())
        length, body = self._head()
        if length != n:
            raise WrongAnswer(f"{length} bytes are announced, not {n}")
        self._take(body)
        while self._body_bytes < n:
            self._take(self._receive(min(_READ_BYTES, n - self._body_bytes)))

    def _take(self, data: bytes) -> None:
        self._digest.update(data)
        self._body_bytes += len(data)

    def downloaded(self) -> tuple[int, bool]:
        """Return how much came, maybe not all, and whether it is what should have come."""
        return self._body_bytes, self._digest.hexdigest() == blob_sha256(self._body_bytes)

    def upload(self, n: int) -> bool:
        """Send `n` bytes; return whether the other side says that they are the right ones.

        Raises:
            Stuck, OutOfTime, WrongAnswer, OSError: It did not come to that.
        """
        self._start()
        self._send(f"PUT /upload HTTP/1.1\r\nHost: matrix\r\nContent-Length: {n}\r\n\r\n".encode())
        for piece in blob(n):
            self._send(piece)
        answer = json.loads(self._answer())
        return bool(answer == {"bytes": n, "sha256": blob_sha256(n)})

    def close(self) -> None:
        """End the connection."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def transfer(
    host: str,
    port: int,
    n: int,
    *,
    upload: bool,
    limit_s: float,
    stall_s: float = STALL_S,
    dialer: Dialer | None = None,
) -> Transfer:
    """Move `n` bytes from the server, or to it, on a connection of its own; default: kernel TCP."""
    client = Client(host, port, limit_s, stall_s, dialer or KernelDialer())
    hash_ok: bool | None = None
    finished = stuck = False
    error = None
    try:
        client.connect()
        if upload:
            hash_ok = client.upload(n)
        else:
            client.download(n)
        finished = True
    except OutOfTime:
        pass
    except Stuck as e:
        stuck, error = True, str(e)
    except (OSError, WrongAnswer, ValueError) as e:
        hash_ok, error = False, f"{type(e).__name__}: {e}"
    seconds = time.monotonic() - client.started_s
    moved = n if finished else min(client.moved(), n)
    client.close()
    if not upload:
        moved, right = client.downloaded()
        hash_ok = right and hash_ok is None
    return Transfer(
        seconds=seconds,
        moved_bytes=moved,
        finished=finished,
        hash_ok=hash_ok,
        stuck=stuck,
        error=error or ("other bytes came" if hash_ok is False else None),
    )
