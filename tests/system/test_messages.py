# SPDX-License-Identifier: Apache-2.0
"""Handlers of whole messages: over a TAP, with the kernel's TCP as the client."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import qstack
from qstack import Connection, Server, framing

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a TAP device: needs root"),
]

PORT = 7000
SERVER = "10.83.0.2"
URGENT = qstack.match(7, octets=(0, b"!"))


@pytest.fixture(autouse=True)
def _own_run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTACK_RUN_DIR", str(tmp_path))


@contextmanager
def server(handler: Any, **listen: Any) -> Iterator[Server]:
    app = Server(
        nic=f"tap:qm{os.getpid()}",
        addresses=(f"{SERVER}/24",),
        host_addresses=("10.83.0.1/24",),
    )
    app.listen(port=PORT, **listen)(handler)
    with app:
        yield app


@contextmanager
def client() -> Iterator[socket.socket]:
    with socket.create_connection((SERVER, PORT), timeout=20) as sock:
        yield sock


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def counters(app: Server, priority: int) -> dict[str, int]:
    found: dict[str, int] = app.stats()["classes"][str(priority)]
    return found


def test_a_handler_gets_whole_messages() -> None:
    def echo(conn: Connection) -> None:
        conn.write(b"<" + conn.data[:-1] + b">\n")

    with server(echo, framing=framing.delimiter()), client() as sock:
        for part in (b"one\ntw", b"o\n", b"three\n"):
            sock.sendall(part)
            time.sleep(0.05)  # so that they are segments of their own
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"<one>\n<two>\n<three>\n"


def test_an_urgent_message_is_handled_before_those_that_wait() -> None:
    order: list[tuple[int, bytes]] = []
    began, go_on = threading.Event(), threading.Event()

    def slow(conn: Connection) -> None:
        order.append((conn.priority, conn.data))
        conn.write(conn.data)
        began.set()
        go_on.wait()

    lines = [b"line %03d\n" % n for n in range(100)]
    with (
        server(slow, framing=framing.delimiter(), classify=qstack.classify(URGENT)) as app,
        client() as sock,
    ):
        sock.sendall(lines[0])
        began.wait()
        sock.sendall(b"".join(lines[1:]) + b"!now\n")
        while counters(app, 7)["messages"] < 1 or counters(app, 0)["messages"] < 100:
            time.sleep(0.01)
        go_on.set()
        sock.shutdown(socket.SHUT_WR)
        got = read_all(sock)
    assert order[:2] == [(0, lines[0]), (7, b"!now\n")]
    assert [data for _, data in order[2:]] == lines[1:]
    assert sorted(got.splitlines(keepends=True)) == sorted([*lines, b"!now\n"])


def test_octets_that_are_no_message_end_their_connection_with_a_reason() -> None:
    ends: list[tuple[bytes, object]] = []

    class Handler:
        def __call__(self, conn: Connection) -> None:
            conn.state = conn.data

        def on_close(self, conn: Connection, error: object) -> None:
            ends.append((conn.state, error))

    with server(Handler(), framing=framing.http1()) as app, client() as good, client() as bad:
        bad.sendall(b"GET / HTTP/1.1\nbare line feed\n\n")
        with pytest.raises(ConnectionResetError):
            read_all(bad)
        good.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        good.shutdown(socket.SHUT_WR)
        assert read_all(good) == b""
        assert counters(app, 0)["framing_errors"] == 1
    assert isinstance(ends[0][1], qstack.errors.FramingError)
    assert ends[1] == (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None)


def test_more_than_the_send_buffer_takes_follows_by_itself() -> None:
    def many(conn: Connection) -> None:
        for n in range(400):
            conn.write(b"%04d" % n + b"x" * 995 + b"\n")
        conn.write(b"!urgent\n", priority=7)
        conn.close()

    with server(many, framing=framing.delimiter()), client() as sock:
        sock.sendall(b"go\n")
        time.sleep(0.2)  # the kernel's buffers are full
        lines = read_all(sock).splitlines()
    assert [line[:4] for line in lines if line != b"!urgent"] == [b"%04d" % n for n in range(400)]
    assert lines.index(b"!urgent") < 400


def test_a_message_that_no_buffer_takes_is_refused() -> None:
    seen: list[str] = []

    def too_much(conn: Connection) -> None:
        try:
            conn.write(bytes(10_000_000))
        except qstack.errors.ConfigError as e:
            seen.append(str(e))
        conn.close()

    with server(too_much, framing=framing.delimiter()), client() as sock:
        sock.sendall(b"go\n")
        assert read_all(sock) == b""
    assert "at most half of the send buffer" in seen[0]


def test_compiled_functions_frame_and_classify_and_are_guarded() -> None:
    @qstack.framing_function
    def one_byte(data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return data[0] + 1

    @qstack.classifier
    def second(flow, data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        n = 0
        while len(data) > 1 and data[1] == 9:  # for ever
            n += 1
        return data[1] if len(data) > 1 else flow.prio + n

    seen: list[tuple[int, bytes]] = []

    def note(conn: Connection) -> None:
        seen.append((conn.priority, conn.data))

    with (
        server(
            note, framing=framing.custom(one_byte), classify=qstack.classify(function=second)
        ) as app,
        client() as sock,
    ):
        sock.sendall(b"\x02\x05a\x02\x09b\x02\x00c")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""
        functions = app.stats()["listeners"][str(PORT)]
        assert functions["classifier"]["interrupted"] == 1
        assert not functions["classifier"]["set_aside"]
        assert functions["framing"]["interrupted"] == 0
    assert sorted(seen) == [(0, b"\x02\x00c"), (0, b"\x02\x09b"), (5, b"\x02\x05a")]


def test_connections_have_the_class_of_their_network() -> None:
    seen: list[int] = []

    def note(conn: Connection) -> None:
        seen.append(len(conn.data))

    vip = qstack.classify(qstack.match(6, remote="10.83.0.0/24"))
    with server(note, classify=vip) as app, client() as sock:
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""
        assert counters(app, 6)["opens"] == 1
        assert counters(app, 6)["octets"] == 5
    assert seen == [5]
