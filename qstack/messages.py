# SPDX-License-Identifier: Apache-2.0
"""A connection of a listener with a framing: whole messages, each with a class."""

from __future__ import annotations

from collections import deque

from ._native import lib
from .config import PRIORITIES
from .connection import Connection, readable
from .errors import ConfigError, check


class MessageConnection(Connection):
    """A connection whose handler is called once for each message.

    ``data`` is the message, ``priority`` its class during the call, and `write` sends one.
    """

    __slots__ = ("_waiting", "message_priority")

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._waiting: dict[int, deque[bytes]] = {}
        self.message_priority: int | None = None
        """Class of the message whose handler runs; None outside of one."""

    @property
    def priority(self) -> int:
        """Class of the message whose handler runs; outside of one that of the listener."""
        return super().priority if self.message_priority is None else self.message_priority

    def write(self, data: bytes | bytearray | memoryview, *, priority: int | None = None) -> None:
        """Send one whole message. Never blocks; look at ``backpressure`` when there is much.

        It goes ahead of less urgent ones that wait, never into one.

        Args:
            data: The message, which says itself where it ends. At most half of the send buffer.
            priority: Class, 0 to 7; None: that of the message whose handler runs. Less urgent than
                the connection counts as its class.

        Raises:
            ConfigError: No such class, or longer than half of the connection's send buffer.
        """
        if self.closing or not data:
            return
        priority = self.priority if priority is None else priority
        if not 0 <= priority < PRIORITIES:
            raise ConfigError(f"priority must be 0..{PRIORITIES - 1}, got {priority!r}")
        waits = any(other >= priority for other in self._waiting)
        if waits or not self._send(bytes(data), priority):
            self._waiting.setdefault(priority, deque()).append(bytes(data))
            self._waiting_bytes += len(data)

    def _send(self, data: bytes, priority: int) -> bool:
        """Return False when it has to wait."""
        code = lib.qspy_send(self._app.pointer, self._handle, priority, readable(data), len(data))
        if code == lib.QS_ERR_AGAIN:
            return False
        if code in (lib.QS_ERR_STALE, lib.QS_ERR_CLOSED):
            self.forget()  # its last event is on the way
        elif code == lib.QS_ERR_ARG:
            raise ConfigError(
                f"port {self.port}: a message of {len(data)} bytes in class {priority}: at most "
                "half of the send buffer is one message; listen(send_buffer=...) sets it"
            )
        else:
            check(code, "cannot send a message")
        return True

    def forget(self) -> None:
        """Throw away what waits: nothing can be sent any more. For the server."""
        super().forget()
        self._waiting.clear()

    def flush(self) -> None:
        """Hand over what waits, the most urgent first. The server calls it when there is room."""
        while self._waiting:
            priority = max(self._waiting)
            queue = self._waiting[priority]
            if not self._send(queue[0], priority):
                return
            if not self._waiting:  # the connection is gone
                return
            self._waiting_bytes -= len(queue.popleft())
            if not queue:
                del self._waiting[priority]
        self._finish_if_closing()

    def _has_pending(self) -> bool:
        return bool(self._waiting)
