# SPDX-License-Identifier: Apache-2.0
"""Requests and responses as values, and a response's head on the wire."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "date"})


class BodySink(Protocol):
    """Takes a request's body as it arrives. Blocking here holds up every other handler."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""

    def close(self) -> object:
        """The body has ended, or will not: called once, before the handler in the first case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may cost.

    Attributes:
        head_bytes: Request line and header fields; 414 or 431 beyond.
        body_bytes: A body that is kept in memory; 413 beyond. Bodies that go to a sink have no
            limit.
        ahead_bytes: Requests sent ahead while a long response is under way; the connection is
            reset beyond.
    """

    head_bytes: int = 32 << 10
    body_bytes: int = 1 << 20
    ahead_bytes: int = 1 << 20


@dataclass(slots=True, kw_only=True)
class Request:
    """A request.

    Attributes:
        method: As sent, such as "GET".
        target: As sent, with the query.
        version: "1.1" or "1.0".
        headers: Names in lower case, in order; both as Latin-1 text.
        body: The body, or b"" when it went to ``sink``.
        sink: Where the body went, or None.
        connection: Where it came from: a `qstack.Connection`, or what `Session` was given.
    """

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    sink: BodySink | None = None
    connection: Any = None
    keep_alive: bool = False

    @property
    def path(self) -> str:
        """The target without its query, percent-decoded."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> str:
        """What follows the question mark, as sent."""
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """Return the first field of a name in lower case, or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Response:
    """A response.

    Attributes:
        status: 200 to 599.
        body: Bytes, or an iterable of bytes that is read as fast as the client takes it, and
            closed at the end if it has a ``close`` method.
        headers: Further fields; Content-Length, Transfer-Encoding, Connection and Date are made
            here.
        length: Bytes that an iterable will give, or None: chunked.
    """

    __slots__ = ("body", "headers", "length", "status")

    def __init__(
        self,
        *,
        status: int = 200,
        body: bytes | Iterable[bytes] = b"",
        headers: Iterable[tuple[str, str]] = (),
        length: int | None = None,
    ) -> None:
        if not 200 <= status <= 599:
            raise ValueError(f"status must be 200..599, got {status}")
        self.status = status
        self.body = body
        self.headers = tuple(headers)
        self.length = len(body) if isinstance(body, bytes) else length
        for name, value in self.headers:
            if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
                raise ValueError(f"header field {name!r}: {value!r} cannot be sent")
            if name.lower() in _FRAMING:
                raise ValueError(f"header field {name!r} is made by the server itself")

    @classmethod
    def text(cls, text: str, status: int = 200) -> Response:
        """Return a response of UTF-8 text."""
        return cls(
            status=status,
            body=text.encode(),
            headers=(("Content-Type", "text/plain; charset=utf-8"),),
        )

    @property
    def has_body(self) -> bool:
        """Whether the status allows a body, RFC 9110 section 6.4.1."""
        return self.status not in (204, 304)


def _status_line(status: int) -> str:
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    return f"HTTP/1.1 {status} {reason}\r\n"


_STATUS_LINES = {status.value: _status_line(status.value) for status in HTTPStatus}


class _DateField:
    """The Date field, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._text = f"Date: {formatdate(second, usegmt=True)}\r\n"
        return self._text


_date_field = _DateField()


def encode_head(response: Response, *, chunked: bool, connection: str) -> bytes:
    """Return status line and header fields, RFC 9112 sections 4 to 6."""
    parts = [_STATUS_LINES.get(response.status) or _status_line(response.status), _date_field()]
    if chunked:
        parts.append("Transfer-Encoding: chunked\r\n")
    elif response.length is not None and response.status != HTTPStatus.NO_CONTENT:
        parts.append(f"Content-Length: {response.length}\r\n")
    if connection:
        parts.append(f"Connection: {connection}\r\n")
    parts += [f"{name}: {value}\r\n" for name, value in response.headers]
    parts.append("\r\n")
    return "".join(parts).encode("latin-1")
