# SPDX-License-Identifier: Apache-2.0
"""A connection that a test holds in its hands."""

from __future__ import annotations

from collections.abc import Callable

from qstack.http import BodySink, Limits, Request, Response, Session
from qstack.http.session import Service


class FakeTransport:
    """Keeps what is written; `room_bytes` is what the peer takes before there is backpressure."""

    def __init__(self, room_bytes: int = 1 << 30) -> None:
        self.out = bytearray()
        self.room_bytes = room_bytes
        self.closed = False
        self.aborted = False
        self.wants_turn = False

    @property
    def backpressure(self) -> bool:
        return len(self.out) >= self.room_bytes

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.out += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def resume_soon(self) -> None:
        self.wants_turn = True


class Client:
    """A session on a `FakeTransport`."""

    def __init__(
        self,
        answer: Callable[[Request], Response],
        *,
        open_sink: Callable[[Request], BodySink | None] | None = None,
        limits: Limits | None = None,
        room_bytes: int = 1 << 30,
    ) -> None:
        self.transport = FakeTransport(room_bytes)
        service = Service(answer=answer, open_sink=open_sink, limits=limits or Limits())
        self.session = Session(self.transport, service)

    def send(self, *pieces: bytes) -> bytes:
        """Feed pieces, then give turns until the session wants none; return all output so far."""
        for piece in pieces:
            self.session.data_received(piece)
            self.settle()
        return bytes(self.transport.out)

    def settle(self) -> None:
        while self.transport.wants_turn:
            self.transport.wants_turn = False
            self.session.writable()
