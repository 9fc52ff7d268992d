# SPDX-License-Identifier: Apache-2.0
"""One HTTP/1.1 connection: bytes in, bytes out, over any transport. Parsing is httptools' (llhttp).

Requests of a connection are answered in their order, one at a time; what arrives while a long
response is under way waits.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import httptools

from .message import BodySink, Limits, Request, Response, encode_head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger("qstack.http")

_TURN_BYTES = 128 << 10
_LAST_CHUNK = b"0\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Transport(Protocol):
    """What a session needs of a connection; `qstack.Connection` is one."""

    @property
    def backpressure(self) -> bool:
        """Enough waits to be sent; the session goes on at `Session.writable`."""

    def write(self, data: bytes, /) -> None:
        """Send bytes, without blocking."""

    def close(self) -> None:
        """Send what was written, then end."""

    def abort(self) -> None:
        """End at once."""

    def resume_soon(self) -> None:
        """Have `Session.writable` called after what is more urgent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What answers requests.

    Attributes:
        answer: Returns the response to a complete request.
        open_sink: Returns where the body of a request is to go, or None to keep it in memory;
            called when its head is complete.
    """

    answer: Callable[[Request], Response]
    open_sink: Callable[[Request], BodySink | None] | None = None
    limits: Limits = field(default_factory=Limits)


class _Streaming:
    """A response whose body comes from an iterator."""

    def __init__(self, response: Response, *, chunked: bool) -> None:
        self._source = response.body
        self._chunks: Iterator[bytes] = iter(response.body)  # type: ignore[arg-type]
        self._left = response.length
        self._chunked = chunked

    def next(self) -> bytes | None:
        """Return the next bytes for the wire, or None at the end.

        Raises:
            ValueError: The body is longer or shorter than was announced.
        """
        for chunk in self._chunks:
            if not chunk:
                continue
            if self._chunked:
                return b"%x\r\n%b\r\n" % (len(chunk), chunk)
            if self._left is not None:
                self._left -= len(chunk)
                if self._left < 0:
                    raise ValueError("the body is longer than its length")
            return chunk
        if self._left:
            raise ValueError(f"the body ended {self._left} bytes before its length")
        return None

    @property
    def trailer(self) -> bytes:
        return _LAST_CHUNK if self._chunked else b""

    def close(self) -> None:
        for body in (self._chunks, self._source):
            close = getattr(body, "close", None)
            if close is not None:
                close()


class Session:
    """One connection's requests and responses. Call its methods from one thread."""

    def __init__(self, transport: Transport, service: Service) -> None:
        self._transport = transport
        self._service = service
        self._parser = httptools.HttpRequestParser(self)
        self._out: list[bytes] = []
        self._requests: deque[Request] = deque()
        self._ahead = bytearray()
        self._streaming: _Streaming | None = None
        self._input_ended = False  # what still comes is not looked at
        self._rejected = 0  # status for the request that could not be read
        self._eof = False
        self._last = False  # the last response is written or being written
        self._begin()

    # What arrives.

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._input_ended:
            return
        if self._streaming is not None or self._requests:
            self._ahead += data
            if len(self._ahead) > self._service.limits.ahead_bytes:
                self._transport.abort()
            return
        self._parse(data)
        self._answer()

    def writable(self) -> None:
        """Go on with a long response."""
        if self._streaming is not None:
            self._pump()
            self._answer()

    def eof_received(self) -> None:
        """The client has sent its last byte: answer what is complete, then close."""
        self._eof = True
        self._answer()

    def lost(self) -> None:
        """The connection is gone: release files and iterators."""
        self._input_ended = True
        self._requests.clear()
        if self._streaming is not None:
            self._streaming.close()
            self._streaming = None
        self._close_sink()

    def _parse(self, data: bytes) -> None:
        if self._input_ended:
            return
        self._began_here = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # No protocol to upgrade to: the request is answered as it is, RFC 9110 section 7.8.
            self._parser = httptools.HttpRequestParser(self)
            self._begin()
            self._parse(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            if not self._input_ended:
                self._reject(400)
        if self._in_head and not self._began_here and not self._input_ended:
            self._head_bytes += len(data)
            if self._head_bytes > self._service.limits.head_bytes:
                self._reject(431)

    # httptools calls these while it parses.

    def _begin(self) -> None:
        self._in_head = False
        self._began_here = True
        self._head_bytes = 0
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._request: Request | None = None

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._begin()
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field."""
        if self._in_head:  # and not in the trailer of a chunked body
            self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """Decide whether the request is taken."""
        self._in_head = False
        if self._input_ended:
            return
        request = Request(
            method=self._parser.get_method().decode("ascii"),
            target=self._target.decode("latin-1"),
            version=self._parser.get_http_version(),
            headers=self._headers,
            connection=self._transport,
        )
        status = self._check_head(request)
        if status:
            self._reject(status)
            return
        self._request = request
        # With answers outstanding it would look like a part of them; the client goes on without it.
        if request.header("expect") is not None and request.version == "1.1" and not self._requests:
            self._transport.write(_CONTINUE)

    def _check_head(self, request: Request) -> int:
        """Return the status that refuses the request, or 0; opens the sink of its body."""
        limits = self._service.limits
        if len(self._target) > limits.head_bytes:
            return 414
        fields_bytes = sum(len(name) + len(value) + 4 for name, value in self._headers)
        if len(self._target) + fields_bytes > limits.head_bytes:
            return 431
        if request.version not in ("1.0", "1.1"):
            return 505
        hosts = sum(name == "host" for name, _ in self._headers)
        if hosts > 1 or (hosts == 0 and request.version == "1.1"):
            return 400  # RFC 9112 section 3.2
        if request.method == "CONNECT":
            return 501
        expect = request.header("expect")
        if expect is not None and expect.lower() != "100-continue":
            return 417
        length = request.header("content-length")
        if length is None and request.header("transfer-encoding") is None:
            return 0
        if self._service.open_sink is not None:
            try:
                request.sink = self._service.open_sink(request)
            except Exception:
                _log.exception("cannot take the body of %s %s", request.method, request.target)
                return 500
        if request.sink is None and length is not None and int(length) > limits.body_bytes:
            return 413
        return 0

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        request = self._request
        if request is None:
            return
        if request.sink is None:
            self._body_bytes += len(body)
            if self._body_bytes > self._service.limits.body_bytes:
                self._reject(413)
            else:
                self._body.append(body)
            return
        try:
            request.sink.write(body)
        except Exception:
            _log.exception("the body of %s %s was lost", request.method, request.target)
            self._reject(500)

    def on_message_complete(self) -> None:
        """Queue the request."""
        request = self._request
        if request is None:
            return
        if not self._close_sink():
            self._reject(500)
            return
        self._request = None
        request.body = b"".join(self._body)
        request.keep_alive = self._parser.should_keep_alive()
        if not request.keep_alive:
            self._input_ended = True
        self._requests.append(request)

    def _close_sink(self) -> bool:
        if self._request is None or self._request.sink is None:
            return True
        try:
            self._request.sink.close()
        except Exception:
            _log.exception("cannot end the body of %s", self._request.target)
            return False
        return True

    def _reject(self, status: int) -> None:
        """Answer what is complete, then this status, then close: no more of the input is read."""
        self._close_sink()
        self._request = None
        self._input_ended = True
        self._rejected = status

    # What leaves.

    def _answer(self) -> None:
        """Answer complete requests in order, until one has a long body."""
        while self._streaming is None and not self._last:
            if self._requests:
                self._respond(self._requests.popleft())
            elif self._rejected:
                self._last = True
                self._write_response(Response.text(f"{self._rejected}\n", self._rejected), None)
            elif self._ahead:
                ahead, self._ahead = bytes(self._ahead), bytearray()
                self._parse(ahead)
            else:
                break
        self._flush()
        if self._streaming is None and (self._last or self._eof):
            self._transport.close()

    def _respond(self, request: Request) -> None:
        try:
            response = self._service.answer(request)
        except Exception:
            _log.exception("the handler of %s %s failed", request.method, request.target)
            response = Response.text("500\n", 500)
            request.keep_alive = False
        if not request.keep_alive:
            self._last = True
        self._write_response(response, request)

    def _write_response(self, response: Response, request: Request | None) -> None:
        streams = not isinstance(response.body, bytes)
        chunked = streams and response.length is None
        if chunked and request is not None and request.version == "1.0":
            chunked = False
            self._last = True  # the end of the connection ends the body
        connection = "close" if self._last else ""
        if request is not None and request.version == "1.0" and not self._last:
            connection = "keep-alive"
        self._out.append(encode_head(response, chunked=chunked, connection=connection))
        silent = not response.has_body or (request is not None and request.method == "HEAD")
        if not streams:
            if not silent:
                self._out.append(response.body)  # type: ignore[arg-type]
            return
        streaming = _Streaming(response, chunked=chunked)
        if silent:
            streaming.close()
            return
        self._streaming = streaming
        self._pump()

    def _pump(self) -> None:
        """Send more of a long body: what the client takes, but no more than one turn's share."""
        streaming = self._streaming
        sent_bytes = 0
        try:
            while streaming is not None and not self._transport.backpressure:
                if sent_bytes >= _TURN_BYTES:
                    self._transport.resume_soon()
                    return
                chunk = streaming.next()
                if chunk is None:
                    self._out.append(streaming.trailer)
                    streaming.close()
                    self._streaming = None
                    return
                sent_bytes += len(chunk)
                self._out.append(chunk)
                self._flush()
        except Exception:
            _log.exception("a response broke off")
            self._transport.abort()

    def _flush(self) -> None:
        if self._out:
            out, self._out = self._out, []
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
