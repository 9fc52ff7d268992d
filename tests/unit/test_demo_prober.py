# SPDX-License-Identifier: Apache-2.0
"""The prober against a server that stalls once: it must charge the stall to all that it delayed."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from qstack.demo.prober import probe
from qstack.errors import QStackError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STALL_S = 0.3


class Server:
    """Answers each request; ``stall_at`` is the one before which every connection waits."""

    def __init__(self, answer: bytes = ANSWER, stall_at: int = -1) -> None:
        self._answer, self._stall_at = answer, stall_at
        self._count, self._lock = 0, threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn: socket.socket) -> None:
        with conn:
            while data := conn.recv(65536):
                for _ in range(data.count(b"\r\n\r\n")):
                    with self._lock:
                        self._count += 1
                        if self._count == self._stall_at:
                            time.sleep(STALL_S)
                    for piece in (self._answer[:10], self._answer[10:]):
                        conn.sendall(piece)

    def close(self) -> None:
        self._listener.close()


def test_a_stall_is_charged_to_every_request_that_it_delayed() -> None:
    server = Server(stall_at=100)
    found = probe("127.0.0.1", server.port, rate=200, seconds=2)
    server.close()
    assert found["requests"] == 400
    # 60 requests were due during the stall: 15 % of all, so the p99 shows it and the p50 does not.
    assert found["p999_us"] > 0.9 * STALL_S * 1e6
    assert found["p99_us"] > 0.7 * STALL_S * 1e6
    assert found["p50_us"] < 0.5 * STALL_S * 1e6


def test_slow_answers_do_not_make_a_queue_in_the_client() -> None:
    class Slow(Server):
        def _serve(self, conn: socket.socket) -> None:
            with conn:
                while conn.recv(65536):
                    time.sleep(0.02)  # longer than the interval of 5 ms
                    conn.sendall(ANSWER)

    server = Slow()
    found = probe("127.0.0.1", server.port, rate=200, seconds=1)
    server.close()
    assert found["p50_us"] < 60_000


def test_an_error_is_not_a_figure() -> None:
    server = Server(answer=b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(QStackError, match="500"):
        probe("127.0.0.1", server.port, rate=100, seconds=0.2)
    server.close()
