# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import http.client
import io
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstack.http import Limits, Request, Response
from tests.unit.fake_transport import Client


def echo(request: Request) -> Response:
    return Response(body=f"{request.method} {request.target} ".encode() + request.body)


class Unclosed(io.BytesIO):
    """Stays open for the next response."""

    def close(self) -> None:
        pass


class FakeSocket:
    def __init__(self, data: bytes) -> None:
        self._file = Unclosed(data)

    def makefile(self, _mode: str) -> io.BytesIO:
        return self._file


def read_responses(data: bytes, methods: list[str]) -> list[tuple[int, bytes]]:
    """Read with the standard library's client, and nothing may be left over."""
    socket = FakeSocket(data)
    found = []
    for method in methods:
        response = http.client.HTTPResponse(socket, method=method)  # type: ignore[arg-type]
        response.begin()
        length = response.length
        body = response.read(length) if length is not None else response.read()
        found.append((response.status, body))
    assert socket.makefile("rb").read() == b""
    return found


GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\nX-Trailer: y\r\n\r\n"
)
HEAD = b"HEAD /h HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
MESSAGES = {
    "GET": (GET, (200, b"GET /a?b=c ")),
    "POST": (POST, (200, b"POST /p hello")),
    "PUT": (CHUNKED, (200, b"PUT /c abc0123456789")),
    "HEAD": (HEAD, (200, b"")),
}


@given(st.lists(st.sampled_from(sorted(MESSAGES)), min_size=1, max_size=5), st.data())
def test_requests_cut_at_any_byte_give_the_same_answers(
    names: list[str], data: st.DataObject
) -> None:
    wire = b"".join(MESSAGES[name][0] for name in names) + CLOSE
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1), max_size=12)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    client = Client(echo)
    out = client.send(*pieces)
    assert read_responses(out, [*names, "GET"]) == [
        *(MESSAGES[name][1] for name in names),
        (200, b"GET /last "),
    ]
    assert client.transport.closed


@given(st.binary(max_size=300), st.integers(0, 100))
def test_garbage_never_raises_and_ends_in_an_error_or_silence(noise: bytes, at: int) -> None:
    client = Client(echo)
    wire = GET[:at] + noise + GET[at:]
    out = client.send(wire[: len(wire) // 2], wire[len(wire) // 2 :])
    for line in re.findall(rb"^HTTP/1\.1 (\d+)", out, re.MULTILINE):
        assert line in (b"200", b"400", b"414", b"431", b"413", b"501", b"505", b"417", b"100")


def test_keep_alive_answers_one_after_the_other() -> None:
    client = Client(echo)
    first = client.send(GET)
    assert first.startswith(b"HTTP/1.1 200 OK\r\nDate: ")
    assert b"\r\nContent-Length: 11\r\n" in first
    assert b"Connection:" not in first
    assert not client.transport.closed
    assert client.send(GET).startswith(first[:17])
    assert len(client.transport.out) == 2 * len(first)


def test_http_1_0_closes_unless_asked() -> None:
    client = Client(echo)
    assert b"Connection: close\r\n" in client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert client.transport.closed
    client = Client(echo)
    out = client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"Connection: keep-alive\r\n" in out
    assert not client.transport.closed


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\n"
            b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", 417),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_cannot_be_served_gets_its_status_and_the_connection_ends(
    wire: bytes, status: int
) -> None:
    client = Client(echo)
    out = client.send(wire)
    assert out.startswith(b"HTTP/1.1 %d " % status)
    assert out.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close\r\n" in out
    assert client.transport.closed


def test_a_head_without_end_is_cut_off() -> None:
    client = Client(echo, limits=Limits(head_bytes=1000))
    client.send(b"GET / HTTP/1.1\r\n")
    for _ in range(100):
        if client.transport.closed:
            break
        client.send(b"X: " + b"a" * 100)
    assert bytes(client.transport.out).startswith(b"HTTP/1.1 431 ")


def test_what_was_complete_before_the_garbage_is_answered() -> None:
    client = Client(echo)
    out = client.send(GET + POST + b"\x00\x00\x00")
    assert [status for status, _ in read_responses(out, ["GET", "POST", "GET"])] == [200, 200, 400]
    assert client.transport.closed


def test_nothing_is_answered_after_connection_close() -> None:
    client = Client(echo)
    out = client.send(CLOSE + GET)
    assert out.count(b"HTTP/1.1 ") == 1
    assert client.transport.closed


def test_a_chunked_body_beyond_the_limit_is_refused() -> None:
    client = Client(echo, limits=Limits(body_bytes=10))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert client.send(head, b"6\r\nabcdef\r\n") == b""
    assert client.send(b"5\r\nabcde\r\n").startswith(b"HTTP/1.1 413 ")


def test_the_trailer_does_not_become_a_header() -> None:
    seen: list[Request] = []

    def keep(request: Request) -> Response:
        seen.append(request)
        return Response()

    Client(keep).send(CHUNKED)
    assert seen[0].header("x-trailer") is None
    assert seen[0].header("host") == "x"


def test_expect_continue_is_asked_for_before_the_body() -> None:
    client = Client(echo)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    assert client.send(head) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert client.send(b"abc").endswith(b"POST / abc")


def test_an_upgrade_is_ignored() -> None:
    client = Client(echo)
    wire = b"GET /u HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    out = client.send(wire + GET)
    assert read_responses(out, ["GET", "GET"]) == [(200, b"GET /u "), (200, b"GET /a?b=c ")]


def test_a_handler_that_raises_is_a_500_and_the_end() -> None:
    def bad(_request: Request) -> Response:
        raise RuntimeError("planted")

    client = Client(bad)
    assert client.send(GET).startswith(b"HTTP/1.1 500 ")
    assert client.transport.closed


@pytest.mark.parametrize(
    "header", [("X\r\nY", "a"), ("X", "a\r\nSet-Cookie: b"), ("Content-Length", "3"), ("X", "\x00")]
)
def test_a_header_cannot_split_the_response(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="header field"):
        Response(headers=[header])


class Body:
    """Counts what was taken of it, and whether it was closed."""

    def __init__(self, chunks: int, size_bytes: int = 1000) -> None:
        self.left = chunks
        self.taken = 0
        self.closed = 0
        self._chunk = b"x" * size_bytes

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        self.left -= 1
        self.taken += 1
        return self._chunk

    def close(self) -> None:
        self.closed += 1


def test_a_long_body_is_read_no_faster_than_the_client_takes_it() -> None:
    body = Body(100)
    client = Client(lambda _: Response(body=body, length=100_000), room_bytes=5_000)
    client.send(GET)
    assert 4 <= body.taken <= 6
    client.transport.room_bytes = 50_000
    client.session.writable()
    assert 45 <= body.taken <= 52
    client.transport.room_bytes = 1 << 30
    client.session.writable()
    client.settle()
    assert read_responses(bytes(client.transport.out), ["GET"]) == [(200, b"x" * 100_000)]
    assert body.closed


def test_a_long_body_yields_between_turns() -> None:
    body = Body(1000)
    client = Client(lambda _: Response(body=body, length=1_000_000))
    client.session.data_received(GET)
    assert client.transport.wants_turn
    assert body.taken < 200
    client.settle()
    assert body.taken == 1000


def test_an_unknown_length_is_chunked_or_ends_with_the_connection() -> None:
    client = Client(lambda _: Response(body=iter([b"ab", b"", b"cde"])))
    out = client.send(GET)
    assert b"Transfer-Encoding: chunked\r\n" in out
    assert read_responses(out, ["GET"]) == [(200, b"abcde")]
    client = Client(lambda _: Response(body=iter([b"ab", b"cde"])))
    out = client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert out.endswith(b"\r\n\r\nabcde")
    assert client.transport.closed


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_body_of_another_length_than_announced_resets(chunks: int) -> None:
    body = Body(chunks)
    client = Client(lambda _: Response(body=body, length=2000))
    client.send(GET)
    assert client.transport.aborted


def test_requests_sent_ahead_wait_for_the_long_body() -> None:
    bodies = [Body(5), Body(3)]
    client = Client(
        lambda r: echo(r) if r.method == "POST" else Response(body=bodies.pop(0), length=None),
        room_bytes=2000,
    )
    client.send(GET + POST[:20])
    client.send(POST[20:], GET)
    client.session.eof_received()
    assert not client.transport.closed
    client.transport.room_bytes = 1 << 30
    client.session.writable()
    client.settle()
    assert read_responses(bytes(client.transport.out), ["GET", "POST", "GET"]) == [
        (200, b"x" * 5000),
        (200, b"POST /p hello"),
        (200, b"x" * 3000),
    ]
    assert client.transport.closed


def test_too_much_sent_ahead_resets() -> None:
    client = Client(
        lambda _: Response(body=Body(50)), room_bytes=2000, limits=Limits(ahead_bytes=100)
    )
    client.send(GET, b"G" * 101)
    assert client.transport.aborted


def test_a_lost_connection_closes_the_body() -> None:
    body = Body(50)
    client = Client(lambda _: Response(body=body), room_bytes=2000)
    client.send(GET)
    client.session.lost()
    assert body.closed
    client.send(GET)


def test_head_takes_nothing_of_a_long_body_and_closes_it() -> None:
    body = Body(50)
    client = Client(lambda _: Response(body=body, length=50_000))
    out = client.send(HEAD)
    assert b"Content-Length: 50000\r\n" in out
    assert body.taken == 0
    assert body.closed


class Sink:
    def __init__(self) -> None:
        self.data = b""
        self.closed = 0

    def write(self, data: bytes) -> None:
        if data.startswith(b"!"):
            raise OSError("planted: disk full")
        self.data += data

    def close(self) -> None:
        self.closed += 1


def test_a_sink_takes_the_body_before_the_handler_runs() -> None:
    sink = Sink()

    def done(request: Request) -> Response:
        assert request.sink is sink
        assert sink.closed == 1
        return Response(body=request.body)

    client = Client(done, open_sink=lambda _: sink, limits=Limits(body_bytes=1))
    out = client.send(POST[:-3], POST[-3:])
    assert sink.data == b"hello"
    assert b"Content-Length: 0\r\n" in out
    assert sink.closed == 1


def test_a_sink_is_closed_when_the_connection_is_lost() -> None:
    sink = Sink()
    client = Client(echo, open_sink=lambda _: sink)
    client.send(POST[:-3])
    client.session.lost()
    assert sink.closed == 1


def test_a_sink_that_fails_is_a_500() -> None:
    sink = Sink()
    client = Client(echo, open_sink=lambda _: sink)
    out = client.send(POST[:-5] + b"!")
    assert out.startswith(b"HTTP/1.1 500 ")
    assert sink.closed == 1
    assert client.transport.closed
