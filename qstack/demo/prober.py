# SPDX-License-Identifier: Apache-2.0
"""Sends requests at a steady rate over kernel TCP, prints their latencies as JSON.

Open loop: request n leaves when it is due, at start + n / rate, whether or not those before it were
answered; connections are used in turn, and one that waits for answers gets the request all the
same. Latency counts from when the request was due. So a server that stalls is charged for every
request that the stall delayed (no coordinated omission), and the client adds no queue of its own.

    python -m qstack.demo.prober HOST PORT REQUESTS_PER_SECOND SECONDS
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections import deque
from contextlib import ExitStack, closing

from hdrh.histogram import HdrHistogram

from ..errors import QStackError

_CONNECTIONS = 8
_SPIN_NS = 100_000
_LAST_ANSWER_NS = 10_000_000_000
_LOWEST_NS, _HIGHEST_NS, _DIGITS = 1_000, 60_000_000_000, 3


class _Probe:
    """One connection with the requests that are under way on it."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self._buffer = b""
        self._due_ns: deque[int] = deque()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, due_ns: int) -> None:
        """Send a request; it is small, so a full socket means thousands are unanswered."""
        self._due_ns.append(due_ns)
        if self._socket.send(self._request) != len(self._request):
            raise QStackError("the server has stopped reading")

    @property
    def waiting(self) -> bool:
        return bool(self._due_ns)

    def receive(self) -> list[int]:
        """Return the latencies of the requests that have been answered since, nanoseconds."""
        data = self._socket.recv(65536)
        now_ns = time.monotonic_ns()
        if not data:
            raise QStackError("the server closed the connection")
        self._buffer += data
        latencies = []
        while self._take_response():
            latencies.append(now_ns - self._due_ns.popleft())
        return latencies

    def _take_response(self) -> bool:
        """Take one response with a Content-Length off the buffer, if all of it is there."""
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            raise QStackError(f"the server answered {head[:40]!r}")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(rest) < length:
            return False
        self._buffer = rest[length:]
        return True


def _receive_until(probes: list[_Probe], histogram: HdrHistogram, due_ns: int) -> None:
    """Take answers until something is due; spins at the end, since a wake-up comes late."""
    while (left_ns := due_ns - time.monotonic_ns()) > 0:
        ready, _, _ = select.select(probes, (), (), max(0, left_ns - _SPIN_NS) / 1e9)
        for probe in ready:
            for latency_ns in probe.receive():
                histogram.record_value(max(_LOWEST_NS, latency_ns))


def probe(host: str, port: int, rate: float, seconds: float) -> dict[str, float]:
    """Return the number of requests and the percentiles of their latency in microseconds.

    Raises:
        OSError: The server cannot be reached, ended a connection, or did not answer in 10 s.
    """
    histogram = HdrHistogram(_LOWEST_NS, _HIGHEST_NS, _DIGITS)
    with ExitStack() as stack:
        probes = [stack.enter_context(closing(_Probe(host, port))) for _ in range(_CONNECTIONS)]
        _run(probes, histogram, rate, int(rate * seconds))
    return {
        "requests": histogram.get_total_count(),
        **{
            f"p{name}_us": round(histogram.get_value_at_percentile(percent) / 1e3, 1)
            for name, percent in (("50", 50), ("99", 99), ("999", 99.9))
        },
    }


def _run(probes: list[_Probe], histogram: HdrHistogram, rate: float, count: int) -> None:
    start_ns = time.monotonic_ns() + 10_000_000
    for n in range(count):
        due_ns = start_ns + int(n * 1e9 / rate)
        _receive_until(probes, histogram, due_ns)
        probes[n % _CONNECTIONS].send(due_ns)
    give_up_ns = time.monotonic_ns() + _LAST_ANSWER_NS
    while any(p.waiting for p in probes):
        if time.monotonic_ns() > give_up_ns:
            raise QStackError("requests were not answered within 10 s")
        _receive_until(probes, histogram, time.monotonic_ns() + 1_000_000)


def _become_urgent() -> bool:
    """Have the kernel run this process at once when it is due: what is measured is the server."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    return True


def main() -> None:
    """Run the command line."""
    host, port, rate, seconds = sys.argv[1:]
    real_time = _become_urgent()
    try:
        figures = probe(host, int(port), float(rate), float(seconds))
    except OSError as e:
        sys.exit(f"prober: {host}:{port}: {e}")
    print(json.dumps({**figures, "real_time": real_time}))


if __name__ == "__main__":
    main()
