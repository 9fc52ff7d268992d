# SPDX-License-Identifier: Apache-2.0
"""The handler API with clients of kernel TCP, over a TAP."""

from __future__ import annotations

import errno
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from qstack import Connection, QStackError, Server, StackConfig
from qstack.errors import ConfigError, DeviceBusyError, WrongStateError
from qstack.lab import Lab, tap_lab

PORT, URGENT = 7000, 7007
LIMIT_S = 10.0
TCPI_SND_WND_AT = 228
"""Of the field of Linux's struct tcp_info, bytes."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with tap_lab() as lab:
        yield lab


def server(lab: Lab) -> Server:
    return Server(
        config=StackConfig(
            nic=f"tap:{lab.server_if}",
            queues=2,
            addresses=(str(lab.server4), str(lab.server6)),
            host_addresses=(str(lab.client4), str(lab.client6)),
        )
    )


@contextmanager
def running(lab: Lab, app: Server) -> Iterator[Callable[[int], socket.socket]]:
    """Start inside the lab; yield what connects to a port."""

    def connect(port: int) -> socket.socket:
        return socket.create_connection((str(lab.server4.ip), port), timeout=LIMIT_S)

    with lab.server.entered(), app:
        yield connect


def receive(sock: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        more = sock.recv(65536)
        assert more, f"the end came after {len(data)} of {n} bytes"
        data += more
    return data


def shut_down_sending(sock: socket.socket) -> None:
    """Half-close; a connection that was reset meanwhile raises what its reads raise."""
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        raise ConnectionResetError(*error.args) from error


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Recorder:
    """Echoes, and keeps what happened."""

    def __init__(self) -> None:
        self.opened: list[Connection] = []
        self.ends: list[QStackError | None] = []

    def on_open(self, conn: Connection) -> None:
        self.opened.append(conn)
        conn.state = 0

    def __call__(self, conn: Connection, /) -> None:
        assert conn.data
        conn.state += len(conn.data)
        conn.write(conn.data)

    def on_close(self, conn: Connection, error: QStackError | None) -> None:
        self.ends.append(error)


def test_a_connection_from_open_to_close(lab: Lab) -> None:
    app, recorder = server(lab), Recorder()
    app.listen(port=PORT, priority=3)(recorder)
    with running(lab, app) as connect:
        with connect(PORT) as client:
            client.sendall(b"hello")
            assert receive(client, 5) == b"hello"
            (conn,) = recorder.opened
            assert conn.peer == client.getsockname()
            assert (conn.priority, conn.port, conn.state) == (3, PORT, 5)
            wait_for(lambda: conn.data == b"")  # empty once the handler has returned
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""  # the server closes after the peer's last byte
        wait_for(lambda: app.stats()["connections"] == 0)
        stats = app.stats()["listeners"][str(PORT)]
        assert (stats["opened"], stats["closed"], stats["handler_errors"]) == (1, 1, 0)
        assert stats["opened_by_queue"] == {str(conn.queue): 1}
        assert sum(queue["passive_opens"] for queue in app.stats()["queues"]) == 1
    assert recorder.ends == [None]


def test_a_listener_has_sizes_of_its_own(lab: Lab) -> None:
    app = server(lab)
    app.listen(port=PORT)(Recorder())
    app.listen(port=URGENT, receive_buffer="16KiB", mss_max=500)(Recorder())
    told = {}
    with running(lab, app) as connect:
        for port in (PORT, URGENT):
            with connect(port) as client:
                mss = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                told[port] = mss, struct.unpack_from("I", info, TCPI_SND_WND_AT)[0]
    timestamps = 12
    assert told == {PORT: (1460 - timestamps, 65535), URGENT: (500 - timestamps, 16 << 10)}


def test_buffers_of_a_listener_are_no_larger_than_the_stacks(lab: Lab) -> None:
    app = server(lab)
    app.listen(port=PORT, send_buffer="8MiB")(Recorder())
    with pytest.raises(ConfigError, match=r"0 bytes to receive and 8388608 to send, .* 4194304$"):
        app.start()


def test_a_reset_is_told_to_on_close(lab: Lab) -> None:
    app, recorder = server(lab), Recorder()
    app.listen(port=PORT)(recorder)
    with running(lab, app) as connect:
        client = connect(PORT)
        client.sendall(b"x")
        receive(client, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        wait_for(lambda: bool(recorder.ends))
    assert isinstance(recorder.ends[0], ConnectionResetError)


def test_r54_a_handler_that_raises_ends_its_connection_and_no_other(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    app = server(lab)

    @app.listen(port=PORT)
    def handle(conn: Connection) -> None:
        if conn.data == b"bad":
            raise RuntimeError("planted")
        conn.write(conn.data)

    with caplog.at_level(logging.CRITICAL, "qstack"), running(lab, app) as connect:
        with connect(PORT) as good, connect(PORT) as bad:
            good.sendall(b"one")
            assert receive(good, 3) == b"one"
            bad.sendall(b"bad")
            with pytest.raises(ConnectionResetError):
                bad.recv(1)
            good.sendall(b"two")
            assert receive(good, 3) == b"two"
        wait_for(lambda: app.stats()["connections"] == 0)
        assert app.stats()["listeners"][str(PORT)]["handler_errors"] == 1


@pytest.mark.parametrize("hook", ["on_open", "on_writable", "on_eof", "on_close"])
def test_r54_a_hook_that_raises_ends_its_connection_and_no_other(
    lab: Lab, caplog: pytest.LogCaptureFixture, hook: str
) -> None:
    app, recorder, called = server(lab), Recorder(), threading.Event()

    class Faulty(Recorder):
        pass

    def fail(*_: object) -> None:
        called.set()
        raise RuntimeError("planted")

    def fill(self: Recorder, conn: Connection) -> None:
        while not conn.backpressure:
            conn.write(bytes(65536))

    setattr(Faulty, hook, fail)
    if hook == "on_writable":
        Faulty.__call__ = fill  # type: ignore[method-assign]
    app.listen(port=PORT)(recorder)
    app.listen(port=URGENT, priority=7)(Faulty())
    with caplog.at_level(logging.CRITICAL, "qstack"), running(lab, app) as connect:
        with connect(PORT) as good:
            good.sendall(b"one")
            assert receive(good, 3) == b"one"
            # A reset may come before connect() or shutdown() return: which one says so is a race.
            with suppress(ConnectionError), connect(URGENT) as bad:
                bad.sendall(b"x")
                if hook != "on_writable":  # the last byte would close the connection first
                    shut_down_sending(bad)
                while bad.recv(1 << 20):
                    pass
            assert called.wait(LIMIT_S)
            good.sendall(b"two")
            assert receive(good, 3) == b"two"
        wait_for(lambda: app.stats()["connections"] == 0)
        assert app.stats()["listeners"][str(URGENT)]["handler_errors"] == 1
        assert app.stats()["listeners"][str(PORT)]["handler_errors"] == 0


@pytest.mark.parametrize("how", [SystemExit, KeyboardInterrupt])
def test_r54_a_handler_that_ends_its_thread_is_told_and_ends_the_server_in_order(
    lab: Lab, caplog: pytest.LogCaptureFixture, how: type[BaseException]
) -> None:
    app = server(lab)

    @app.listen(port=PORT)
    def handle(conn: Connection) -> None:
        if conn.data == b"die":
            raise how("planted")
        conn.write(conn.data)

    with caplog.at_level(logging.CRITICAL, "qstack"), running(lab, app) as connect:
        with connect(PORT) as other, connect(PORT) as client:
            other.sendall(b"before")
            assert receive(other, 6) == b"before"
            client.sendall(b"die")
            with pytest.raises(how, match="planted"):
                app.wait()
            connect(PORT).close()  # the engine still answers
            assert sum(queue["conns"] for queue in app.stats()["queues"]) >= 2
            app.stop()
            for end in (other, client):
                with pytest.raises(ConnectionResetError):
                    end.recv(1)
        app.start()
        with connect(PORT) as client:
            client.sendall(b"after")
            assert receive(client, 5) == b"after"


def test_r54_a_server_stops_only_when_its_handler_returns(lab: Lab) -> None:
    app = server(lab)
    gate, inside = threading.Event(), threading.Event()

    @app.listen(port=PORT)
    def handle(conn: Connection) -> None:
        inside.set()
        gate.wait(LIMIT_S)
        conn.write(b"late")

    with running(lab, app) as connect, connect(PORT) as client:
        client.sendall(b"x")
        assert inside.wait(LIMIT_S)
        stopping = threading.Thread(target=app.stop)
        stopping.start()
        stopping.join(0.2)
        assert stopping.is_alive()  # nothing is taken from under the handler
        gate.set()
        stopping.join(LIMIT_S)
        assert not stopping.is_alive()


def test_a_lot_is_written_under_backpressure_and_arrives_whole(lab: Lab) -> None:
    total = 30_000_000
    app = server(lab)
    piece = bytes(range(256)) * 256
    waiting: list[int] = []

    class Source:
        def __call__(self, conn: Connection, /) -> None:
            conn.state = 0
            self.on_writable(conn)

        def on_writable(self, conn: Connection) -> None:
            while conn.state < total and not conn.backpressure:
                part = piece[: total - conn.state]
                conn.write(part)
                conn.state += len(part)
                waiting.append(conn.waiting_bytes)
            if conn.state == total:
                conn.close()

    app.listen(port=PORT)(Source())
    with running(lab, app) as connect, connect(PORT) as client:
        client.sendall(b"go")
        time.sleep(0.3)  # the client does not read: the server must stop
        assert sum(1 for n in waiting if n) > 0
        assert len(waiting) * len(piece) < total
        data = bytearray()
        while more := client.recv(1 << 20):
            data += more
    assert len(data) == total
    assert bytes(data[: len(piece)]) == piece
    assert bytes(data[-(total % len(piece)) :]) == piece[: total % len(piece)]
    assert max(waiting) <= (64 << 10) + len(piece)


def test_an_urgent_connection_waits_for_one_handler_at_most(lab: Lab) -> None:
    app = server(lab)
    order: list[int] = []
    gates = [threading.Event(), threading.Event()]

    def handle(conn: Connection) -> None:
        if len(order) < len(gates):
            gates[len(order)].wait(LIMIT_S)
        order.append(conn.port)
        conn.write(b".")

    app.listen(port=PORT)(handle)
    app.listen(port=URGENT, priority=7)(handle)
    with running(lab, app) as connect:
        low = [connect(PORT) for _ in range(20)]
        high = connect(URGENT)
        for client in low:
            client.sendall(b"x")
        time.sleep(0.2)  # all but the first of them are ready while it is handled
        gates[0].set()
        wait_for(lambda: len(order) == 1)
        time.sleep(0.1)  # the second is being handled
        high.sendall(b"x")
        time.sleep(0.2)
        gates[1].set()
        for client in (*low, high):
            receive(client, 1)
            client.close()
    assert order[:3] == [PORT, PORT, URGENT]
    assert len(order) == 21


def test_r54_a_slow_handler_blocks_no_engine(lab: Lab) -> None:
    app = server(lab)
    gate = threading.Event()

    @app.listen(port=PORT)
    def slow(conn: Connection) -> None:
        gate.wait(LIMIT_S)
        conn.write(b"late")

    with running(lab, app) as connect, connect(PORT) as client:
        client.sendall(b"x")
        time.sleep(0.1)
        for _ in range(5):  # the engine still accepts and acknowledges
            started = time.monotonic()
            connect(PORT).close()
            assert time.monotonic() - started < 1
        gate.set()
        assert receive(client, 4) == b"late"


def test_start_stop_and_what_is_not_allowed(lab: Lab) -> None:
    app, other = server(lab), server(lab)
    app.listen(port=PORT)(Recorder())
    with pytest.raises(ConfigError, match="named twice"):
        app.listen(port=PORT)
    with pytest.raises(WrongStateError):
        app.stats()
    for _ in range(3):
        with running(lab, app) as connect:
            with pytest.raises(WrongStateError):
                app.start()
            with pytest.raises(WrongStateError):
                app.listen(port=PORT + 1)
            with lab.server.entered(), pytest.raises(DeviceBusyError):
                other.start()
            with connect(PORT) as client:
                client.sendall(b"x")
                assert receive(client, 1) == b"x"
        app.stop()
