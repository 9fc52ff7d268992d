# SPDX-License-Identifier: Apache-2.0
"""One TCP connection as a handler sees it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ._native import CData, ffi, lib
from .errors import ConfigError, check

if TYPE_CHECKING:
    from .application import Application
    from .listener import Listener
    from .stack import App

_QUEUE_OF_HANDLE_SHIFT = 24
_QUEUE_OF_HANDLE_MASK = 0xFF


class Connection:
    """A connection. Used on the application thread of its listener, which is where handlers run.

    Attributes:
        data: Bytes that arrived since the last call of the handler; empty outside of it. What
            belongs to an unfinished message is the handler's to keep, in ``state`` for example.
        state: The handler's own; None at first.
        eof: The peer has sent its last byte.
        closing: `close` was called, or the connection is gone: writing does nothing.
        closed: The last byte was handed to the stack, or the connection is gone.
        reset: `abort` was called.
        ended: ``on_close`` was called.
        listener: The listener that accepted it.
        high_water_bytes: ``backpressure`` begins when more than this waits here to be sent.
    """

    __slots__ = (
        "_app",
        "_application",
        "_handle",
        "_pending",
        "_waiting_bytes",
        "closed",
        "closing",
        "data",
        "ended",
        "eof",
        "high_water_bytes",
        "listener",
        "reset",
        "state",
    )

    def __init__(self, application: Application, app: App, handle: int, listener: Listener) -> None:
        self._application = application
        self._app = app
        self._handle = handle
        self.listener = listener
        self._pending: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self.data = b""
        self.state: Any = None
        self.eof = False
        self.closing = False
        self.closed = False
        self.reset = False
        self.ended = False
        self.high_water_bytes = 64 << 10

    @property
    def peer(self) -> tuple[str, int]:
        """Address and port of the other end.

        Raises:
            StaleHandleError: The connection is gone.
        """
        return self._app.peer(self._handle)

    @property
    def priority(self) -> int:
        """Class, 0 to 7: that of the listener."""
        return self.listener.priority

    @property
    def port(self) -> int:
        """The listener's port."""
        return self.listener.port

    @property
    def queue(self) -> int:
        """Queue whose engine runs this connection, counted from 0; it may move to another one."""
        return (self._handle >> _QUEUE_OF_HANDLE_SHIFT) & _QUEUE_OF_HANDLE_MASK

    @property
    def waiting_bytes(self) -> int:
        """Bytes written that the stack has no room for yet; they follow by themselves."""
        return self._waiting_bytes

    @property
    def backpressure(self) -> bool:
        """True while more than ``high_water_bytes`` wait: write more after ``on_writable``."""
        return self._waiting_bytes > self.high_water_bytes

    def write(self, data: bytes | bytearray | memoryview, *, priority: int | None = None) -> None:
        """Send bytes. Never blocks and never refuses; look at ``backpressure`` when there is much.

        A bytearray or memoryview is copied as far as it has to wait. After `close` this does
        nothing.

        Args:
            data: The bytes; with a framing one whole message.
            priority: Class of the message (`MessageConnection.write`); None for a stream.

        Raises:
            ConfigError: A class is given for a stream, or as `MessageConnection.write`.
        """
        if priority is not None:
            raise ConfigError(f"port {self.port}: bytes of a stream have no class of their own")
        if self.closing or not data:
            return
        if self._pending:
            self._keep(data, 0)
            return
        taken = lib.qspy_write(self._app.pointer, self._handle, readable(data), len(data))
        if taken < len(data):
            self._keep_rest(data, taken)

    def _keep_rest(self, data: bytes | bytearray | memoryview, taken: int) -> None:
        if taken >= 0:
            self._keep(data, taken)
        elif taken in (lib.QS_ERR_STALE, lib.QS_ERR_CLOSED):
            self.forget()  # its last event is on the way
        else:
            check(taken, "cannot write to a connection")

    def _keep(self, data: bytes | bytearray | memoryview, start: int) -> None:
        rest = memoryview(data if isinstance(data, bytes) else bytes(data))[start:]
        self._pending.append(rest)
        self._waiting_bytes += len(rest)

    def forget(self) -> None:
        """Throw away what waits: nothing can be sent any more. For the server."""
        self.closing = self.closed = True
        self._pending.clear()
        self._waiting_bytes = 0

    def flush(self) -> None:
        """Hand over what waits, as far as there is room. The server calls it when there is."""
        while self._pending:
            chunk = self._pending[0]
            taken = lib.qspy_write(self._app.pointer, self._handle, readable(chunk), len(chunk))
            if taken < 0:
                self._keep_rest(b"", taken)
                return
            self._waiting_bytes -= taken
            if taken < len(chunk):
                self._pending[0] = chunk[taken:]
                return
            self._pending.popleft()
        self._finish_if_closing()

    def _finish_if_closing(self) -> None:
        if self.closing and not self.closed:
            self._finish()

    def _has_pending(self) -> bool:
        return bool(self._pending)

    def close(self) -> None:
        """Send what was written, then FIN; what the peer sends from now on is thrown away.

        The handle is kept until the peer has closed its side too, or the server's linger
        time is over: to give it up with bytes unread would reset the connection, and the peer could
        lose the answer.
        """
        if self.closing:
            return
        self.closing = True
        if not self._has_pending():
            self._finish()

    def _finish(self) -> None:
        self.closed = True
        if self.eof:
            self.release()
        else:
            lib.qspy_shutdown(self._app.pointer, self._handle)
        self._application.finished(self)

    def resume_soon(self) -> None:
        """Have ``on_writable`` called after what is more urgent.

        For a handler that has more to write but yields.
        """
        self._application.resume_soon(self)

    def abort(self) -> None:
        """Reset the connection: what waits is thrown away."""
        if not self.closed:
            lib.qspy_abort(self._app.pointer, self._handle)
            self.reset = True
            self.forget()
            self._application.finished(self)

    def move_to(self, handle: int) -> None:
        """Be known by another handle from now on. For the server."""
        self._handle = handle

    def release(self) -> None:
        """Give the library's handle up. For the server."""
        lib.qspy_close(self._app.pointer, self._handle)

    @property
    def handle(self) -> int:
        """The library's handle; it changes when the connection moves to another queue."""
        return self._handle


def readable(data: bytes | bytearray | memoryview) -> CData:
    """Return what cffi takes for ``const char *`` without a copy."""
    return data if isinstance(data, bytes) else ffi.from_buffer(data)
