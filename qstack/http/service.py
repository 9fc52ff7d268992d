# SPDX-License-Identifier: Apache-2.0
"""HTTP as a handler of `qstack.Server.listen`."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from .message import BodySink, Limits, Request, Response
from .session import Service, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..connection import Connection
    from ..errors import QStackError


class HttpHandler:
    """A handler that gives each connection a `Session`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def on_open(self, conn: Connection) -> None:
        """Begin a session."""
        conn.state = Session(conn, self._service)

    def __call__(self, conn: Connection, /) -> None:
        """Feed the session."""
        conn.state.data_received(conn.data)

    def on_writable(self, conn: Connection) -> None:
        """Go on with a long response."""
        conn.state.writable()

    def on_eof(self, conn: Connection) -> None:
        """Answer what is complete, then close."""
        conn.state.eof_received()

    def on_close(self, conn: Connection, _error: QStackError | None) -> None:
        """Release what the session holds."""
        conn.state.lost()


@overload
def handler(answer: Callable[[Request], Response], /) -> HttpHandler: ...


@overload
def handler(
    *,
    open_sink: Callable[[Request], BodySink | None] | None = None,
    limits: Limits = ...,
) -> Callable[[Callable[[Request], Response]], HttpHandler]: ...


def handler(
    answer: Callable[[Request], Response] | None = None,
    /,
    *,
    open_sink: Callable[[Request], BodySink | None] | None = None,
    limits: Limits = Limits(),  # noqa: B008  an immutable value
) -> HttpHandler | Callable[[Callable[[Request], Response]], HttpHandler]:
    """Turn a function of a request into a handler for `Server.listen`; a decorator.

    Args:
        answer: Returns the response; when it raises, the client gets 500 and the connection ends.
        open_sink: Called with a request whose head is complete and that has a body: returns where
            the body is to go, or None to keep it in memory up to ``limits.body_bytes``.
        limits: What a request may cost.
    """

    def make(function: Callable[[Request], Response]) -> HttpHandler:
        return HttpHandler(Service(answer=function, open_sink=open_sink, limits=limits))

    return make if answer is None else make(answer)
