# SPDX-License-Identifier: Apache-2.0
"""Sends requests at a steady rate over one kernel TCP connection, prints their latencies as JSON.

Open loop: request n is due at start + n / rate whether or not the one before was answered, and its
latency counts from when it was due. So a server that stalls is charged for every request that the
stall delayed (no coordinated omission).

    python -m qstack.demo.prober HOST PORT REQUESTS_PER_SECOND SECONDS
"""

from __future__ import annotations

import json
import socket
import sys
import time

from hdrh.histogram import HdrHistogram

_SPIN_NS = 100_000
_LOWEST_NS, _HIGHEST_NS, _DIGITS = 1_000, 60_000_000_000, 3


def _read_response(sock: socket.socket, buffer: bytearray) -> None:
    """Take one response with a Content-Length off the connection."""
    while True:
        head, separator, rest = buffer.partition(b"\r\n\r\n")
        if separator:
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            if not head.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(f"the server answered {bytes(head[:40])!r}")
            if len(rest) >= length:
                del buffer[: len(head) + 4 + length]
                return
        data = sock.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        buffer += data


def _wait_until(due_ns: int) -> None:
    """Sleep, and spin for the last part: a wake-up is later than what is to be measured."""
    early_ns = due_ns - time.monotonic_ns() - _SPIN_NS
    if early_ns > 0:
        time.sleep(early_ns / 1e9)
    while time.monotonic_ns() < due_ns:
        pass


def probe(host: str, port: int, rate: float, seconds: float) -> dict[str, float]:
    """Return the number of requests and the percentiles of their latency in microseconds.

    Raises:
        OSError: The server cannot be reached, or ended the connection.
    """
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    histogram = HdrHistogram(_LOWEST_NS, _HIGHEST_NS, _DIGITS)
    buffer = bytearray()
    with socket.create_connection((host, port), timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = time.monotonic_ns() + 10_000_000
        for n in range(int(rate * seconds)):
            due = start + int(n * 1e9 / rate)
            _wait_until(due)
            sock.sendall(request)
            _read_response(sock, buffer)
            histogram.record_value(max(_LOWEST_NS, time.monotonic_ns() - due))
    return {
        "requests": histogram.get_total_count(),
        **{
            f"p{name}_us": round(histogram.get_value_at_percentile(percent) / 1e3, 1)
            for name, percent in (("50", 50), ("99", 99), ("999", 99.9))
        },
    }


def main() -> None:
    """Run the command line."""
    host, port, rate, seconds = sys.argv[1:]
    print(json.dumps(probe(host, int(port), float(rate), float(seconds))))


if __name__ == "__main__":
    main()
