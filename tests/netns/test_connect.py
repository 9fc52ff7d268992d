# SPDX-License-Identifier: Apache-2.0
"""qs-connect: QStack opens the connection, the kernel's TCP is the server."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from qstack import programs
from qstack.lab import Lab, veth_lab
from qstack.matrix.dial import QStackDialer

PORT = 80
BUFFER = str(1 << 20)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with veth_lab() as made:
        yield made


def listening(lab: Lab, host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with lab.server.entered():
        listener = socket.create_server((host, PORT), family=family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    listener.settimeout(20)
    return listener


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end_s


def receive(stream: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n and (piece := stream.recv(n - len(data))):
        data += piece
    return data


@pytest.mark.parametrize("ip", [4, 6])
def test_bytes_go_both_ways_and_are_counted(lab: Lab, ip: int) -> None:
    host = str((lab.server4 if ip == 4 else lab.server6).ip)
    up, down = (random.Random(seed).randbytes(3_000_000) for seed in (1, 2))
    dialer = QStackDialer(lab.client, lab.client_if)
    with listening(lab, host) as listener, dialer.dial(host, PORT, 20) as stream:
        stream.settimeout(20)
        stream.sendall(up)
        served, _ = listener.accept()
        served.settimeout(20)
        with served:
            wait_for(lambda: dialer.unacknowledged(len(up)) < len(up))
            # QStack has all of it; the server, which nobody reads, has not.
            assert dialer.unacknowledged(len(up)) > len(up) // 2
            assert receive(served, len(up)) == up
            wait_for(lambda: dialer.unacknowledged(len(up)) == 0)
            served.sendall(down)
            served.shutdown(socket.SHUT_WR)
            assert receive(stream, len(down)) == down
            assert stream.recv(1) == b""
            stream.close()
            figures = dialer.end()
            assert (figures["acknowledged_bytes"], figures["error"]) == (len(up), None)
            with pytest.raises(ConnectionResetError):
                served.recv(1)


def test_nobody_listens_is_said_in_words(lab: Lab) -> None:
    dialer = QStackDialer(lab.client, lab.client_if)
    with dialer.dial(str(lab.server4.ip), PORT, 20) as stream:
        stream.settimeout(20)
        assert stream.recv(1) == b""
    assert "refused" in dialer.end()["error"]


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        ([], 2, "usage: qs-connect"),
        (["absent0", "10.77.0.2", "80", BUFFER], 1, 'no network interface "absent0"'),
        (["DEVICE", "10.77.0.2", "0", BUFFER], 2, "0: a number from 1 to 65535"),
        (["DEVICE", "10.77.0.2", "80x", BUFFER], 2, "80x: a number"),
        (["DEVICE", "nowhere", "80", BUFFER], 1, "nowhere"),
    ],
)
def test_what_cannot_be_opened_is_said_in_words(
    lab: Lab, args: list[str], status: int, words: str
) -> None:
    command = [programs.find("qs-connect"), *(lab.client_if if a == "DEVICE" else a for a in args)]
    done = lab.client.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == status
    assert words in done.stderr
