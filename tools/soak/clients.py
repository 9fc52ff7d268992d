# SPDX-License-Identifier: Apache-2.0
"""Honest clients of kernel TCP: short connections in every manner of ending, and hashed transfers.

python -m tools.soak.clients '{...}', the fields of `Work`: prints figures as a line of JSON now and
then, and the last ones when its standard input has ended and everybody is done.
"""

from __future__ import annotations

import json
import random
import select
import socket
import struct
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from qstack.matrix.transfer import transfer
from qstack.site import HELLO

REPORT_S = 0.5
SHORT_TIMEOUT_S = 60.0
TRANSFER_LIMIT_S = 120.0
ERRORS_KEPT = 20
BYTES_MOST_LOG2 = 20
_LINGER_NOT = struct.pack("ii", 1, 0)

Ending = Literal["client", "server", "reset", "half"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What the clients do.

    Attributes:
        hosts: IPv4 and IPv6 address of the server.
        port: Its port.
        connects_per_second: Short connections begun, all threads together.
        short_threads: Threads that open and close.
        transfer_threads: Threads that move bytes.
        seed: Of sizes and manners.
    """

    hosts: tuple[str, str]
    port: int
    connects_per_second: int
    short_threads: int
    transfer_threads: int
    seed: int


def short(host: str, port: int, ending: Ending) -> None:
    """Open a connection, fetch a line unless it is given up before, and end it.

    Args:
        host: Address of the server.
        port: Its port.
        ending: Who ends it and how: FIN of the client or of the server first, RST instead of FIN,
            or a request cut in the middle.

    Raises:
        OSError: The connection failed.
        ValueError: Something else came than what is served.
    """
    close = b"Connection: close\r\n" if ending == "server" else b""
    request = b"GET / HTTP/1.1\r\nHost: soak\r\n" + close + b"\r\n"
    with socket.create_connection((host, port), timeout=SHORT_TIMEOUT_S) as sock:
        if ending == "half":
            sock.sendall(request[:20])
            return
        sock.sendall(request)
        answer = b""
        while not answer.endswith(b"\r\n\r\n" + HELLO):
            piece = sock.recv(4096)
            if not piece or len(answer) > 4096:
                raise ValueError(f"this came instead of the first line: {answer + piece!r}")
            answer += piece
        if ending == "server" and (more := sock.recv(1)):
            raise ValueError(f"{more!r} came behind the answer")
        if ending == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)


class Clients:
    """The threads and what they count; `stop` ends them after what is under way."""

    def __init__(self, work: Work) -> None:
        """Take the work; nothing runs yet."""
        self._work = work
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._counts = Counter[str]()
        self._errors: list[str] = []
        self._threads = [
            threading.Thread(target=loop, args=(random.Random(f"{work.seed} {name} {i}"),))
            for name, loop, n in (
                ("short", self._short_loop, work.short_threads),
                ("transfer", self._transfer_loop, work.transfer_threads),
            )
            for i in range(n)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End them; every connection that was begun is brought to its end before."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def figures(self) -> dict[str, object]:
        """Return ``short``, ``transfers``, ``bytes``, ``wrong`` and the first ``errors``."""
        with self._lock:
            names = ("short", "transfers", "bytes", "wrong")
            return {**{name: self._counts[name] for name in names}, "errors": list(self._errors)}

    def _count(self, error: str | None, **more: int) -> None:
        with self._lock:
            self._counts.update(more)
            if error is not None:
                self._counts["wrong"] += 1
                self._errors = [*self._errors, error][:ERRORS_KEPT]

    def _short_loop(self, drawn: random.Random) -> None:
        pause_s = self._work.short_threads / self._work.connects_per_second
        while not self._stopping.is_set():
            begun_s = time.monotonic()
            host = drawn.choice(self._work.hosts)
            ending: Ending = drawn.choice(("client", "server", "reset", "half"))
            error = None
            try:
                short(host, self._work.port, ending)
            except (OSError, ValueError) as e:
                error = f"short connection to {host}, end by {ending}: {type(e).__name__}: {e}"
            self._count(error, short=1)
            self._stopping.wait(pause_s - (time.monotonic() - begun_s))

    def _transfer_loop(self, drawn: random.Random) -> None:
        while not self._stopping.is_set():
            host, upload = drawn.choice(self._work.hosts), drawn.random() < 0.5
            n = int(2 ** drawn.uniform(0, BYTES_MOST_LOG2))
            done = transfer(host, self._work.port, n, upload=upload, limit_s=TRANSFER_LIMIT_S)
            right = done.finished and done.hash_ok is True
            what = "upload" if upload else "download"
            why = done.error or f"{done.moved_bytes} bytes in {done.seconds:.0f} s"
            self._count(
                None if right else f"{what} of {n} bytes, {host}: {why}",
                transfers=1,
                bytes=done.moved_bytes,
            )


def main() -> None:
    """Run the command line."""
    clients = Clients(Work(**json.loads(sys.argv[1])))
    clients.start()
    while not select.select([sys.stdin], [], [], REPORT_S)[0]:
        print(json.dumps(clients.figures()), flush=True)
    clients.stop()
    print(json.dumps(clients.figures()), flush=True)


if __name__ == "__main__":
    main()
