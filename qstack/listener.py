# SPDX-License-Identifier: Apache-2.0
"""Listeners of a server: a port, its class, and who handles it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from .config import PRIORITIES, ListenConfig
from .connection import Connection
from .errors import QStackError


class Handler(Protocol):
    """What `Server.listen` registers: any function of a connection.

    It may also have methods ``on_open(conn)``, ``on_writable(conn)``, ``on_eof(conn)`` and
    ``on_close(conn, error)``. Without ``on_eof`` the server closes the connection when the peer
    has sent its last byte and what was written is gone.
    """

    def __call__(self, conn: Connection, /) -> object:
        """Take ``conn.data``; with a framing, one whole message."""


Hook = Callable[[Connection], object]


@dataclass(slots=True, kw_only=True)
class ListenerStats:
    """Counts of one listener since the server started."""

    opened: int = 0
    closed: int = 0
    calls: int = 0
    bytes_received: int = 0
    handler_errors: int = 0
    opened_by_queue: dict[int, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts with JSON's kinds of keys."""
        return {
            "opened": self.opened,
            "closed": self.closed,
            "calls": self.calls,
            "bytes_received": self.bytes_received,
            "handler_errors": self.handler_errors,
            "opened_by_queue": {str(q): n for q, n in sorted(self.opened_by_queue.items())},
        }


@dataclass(slots=True, kw_only=True)
class Listener:
    """A port, its class, and who handles it."""

    config: ListenConfig
    handle: Hook
    on_open: Hook | None
    on_writable: Hook | None
    on_eof: Hook | None
    on_close: Callable[[Connection, QStackError | None], object] | None
    stats: ListenerStats = field(default_factory=ListenerStats)

    @property
    def port(self) -> int:
        """The port, host byte order."""
        return self.config.port

    @property
    def priority(self) -> int:
        """Class of its connections, 0 to 7."""
        return self.config.priority

    @property
    def classes(self) -> frozenset[int]:
        """Classes that its connections and their messages may have."""
        classifier = self.config.classify
        if classifier is None:
            return frozenset({self.priority})
        if classifier.function is not None:
            return frozenset(range(PRIORITIES))
        return frozenset({self.priority, *(match.priority for match in classifier.matches)})

    @classmethod
    def of(cls, config: ListenConfig, handler: Handler) -> Self:
        """Return the listener whose connections a handler serves."""
        return cls(
            config=config,
            handle=handler,
            on_open=getattr(handler, "on_open", None),
            on_writable=getattr(handler, "on_writable", None),
            on_eof=getattr(handler, "on_eof", None),
            on_close=getattr(handler, "on_close", None),
        )
