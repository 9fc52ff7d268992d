# SPDX-License-Identifier: Apache-2.0
"""What happens to a device under a running stack: down, another MTU, its program, its end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from qstack import Connection, QStackError, Server
from qstack.errors import NoDeviceError, UnreachableError
from qstack.lab import Lab, Namespace, veth_lab

PORT = 7000
LIMIT_S = 20.0
POLLS_A_SECOND_MOST = 50_000
"""A worker that spins makes a million; one that tries a full device again every 200 us, 5,000."""


class Echo:
    """Echoes once `gate` is open."""

    def __init__(self) -> None:
        self.gate, self.called = threading.Event(), threading.Event()
        self.gate.set()
        self.ends: list[QStackError | None] = []
        self.ended = threading.Event()

    def __call__(self, conn: Connection, /) -> None:
        self.called.set()
        self.gate.wait(LIMIT_S)
        conn.write(conn.data)

    def on_close(self, _conn: Connection, error: QStackError | None) -> None:
        self.ends.append(error)
        self.ended.set()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with veth_lab() as made:
        yield made


@contextmanager
def running(lab: Lab, user_timeout: str = "30s") -> Iterator[tuple[Server, Echo, socket.socket]]:
    """An echo server over AF_XDP, and a connection that has carried bytes."""
    app, echo = Server(nic=f"xsk:{lab.server_if}"), Echo()
    app.listen(port=PORT, user_timeout=user_timeout)(echo)
    with lab.server.entered():
        app.start()
    try:
        with lab.client.entered():
            client = socket.create_connection((str(lab.server4.ip), PORT), timeout=LIMIT_S)
        with client:
            assert answered(client, b"before")
            yield app, echo, client
    finally:
        app.stop()


def answered(client: socket.socket, data: bytes) -> bool:
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()
    back = b""
    while len(back) < len(data) and (more := client.recv(1 << 16)):
        back += more
    sender.join()
    return back == data


def ip(namespace: Namespace, *args: str) -> None:
    namespace.run(["ip", *args], check=True)


def polls_in_a_second(app: Server) -> int:
    def polls() -> int:
        return sum(worker["polls"] for worker in app.stats()["workers"])

    before = polls()
    time.sleep(1)
    return polls() - before


def test_r08_the_interface_is_removed(lab: Lab) -> None:
    with running(lab, user_timeout="1s") as (app, echo, client):
        echo.gate.clear()
        echo.called.clear()
        client.sendall(b"nobody will take the answer")
        assert echo.called.wait(LIMIT_S)
        ip(lab.server, "link", "del", lab.server_if)
        assert polls_in_a_second(app) < POLLS_A_SECOND_MOST
        echo.gate.set()
        assert echo.ended.wait(LIMIT_S)
        assert isinstance(echo.ends[0], UnreachableError)  # its neighbours went, too
        assert polls_in_a_second(app) < POLLS_A_SECOND_MOST
        assert app.stats()["connections"] == 0
    with lab.server.entered(), pytest.raises(NoDeviceError):
        app.start()


def test_r08_a_stack_starts_on_the_interface_that_comes_after(lab: Lab) -> None:
    with running(lab):
        ip(lab.server, "link", "del", lab.server_if)
    peer = ("peer", "name", lab.client_if, "netns", lab.client.name)
    ip(lab.server, "link", "add", lab.server_if, "type", "veth", *peer)
    for namespace, ifname, address in (
        (lab.server, lab.server_if, lab.server4),
        (lab.client, lab.client_if, lab.client4),
    ):
        ip(namespace, "address", "add", str(address), "dev", ifname)
        ip(namespace, "link", "set", ifname, "up")
        namespace.run(["ethtool", "-K", ifname, "tx", "off"], check=True, capture_output=True)
    with running(lab) as (_, _echo, client):
        assert answered(client, b"after")


@pytest.mark.parametrize("side", ["client", "server"])
def test_r08_the_link_flaps(lab: Lab, side: str) -> None:
    here = (lab.client, lab.client_if) if side == "client" else (lab.server, lab.server_if)
    with running(lab) as (app, echo, client):
        for turn in range(3):
            ip(here[0], "link", "set", here[1], "down")
            assert polls_in_a_second(app) < POLLS_A_SECOND_MOST
            ip(here[0], "link", "set", here[1], "up")
            assert answered(client, bytes([turn]) * 100_000)
        assert echo.ends == []


def test_r08_the_mtu_shrinks_and_grows(lab: Lab) -> None:
    ends: list[tuple[Namespace, str]] = [
        (lab.client, lab.client_if),
        (lab.server, lab.server_if),
    ]
    with running(lab) as (_, echo, client):
        for mtu in ("1300", "1500"):
            for namespace, ifname in ends:
                ip(namespace, "link", "set", ifname, "mtu", mtu)
            assert answered(client, mtu.encode() * 100_000)
        assert echo.ends == []


def test_r08_the_program_is_not_detached_by_others(lab: Lab) -> None:
    with running(lab) as (_, _echo, client):
        for mode in ("xdp", "xdpdrv"):
            detach = ["ip", "link", "set", "dev", lab.server_if, mode, "off"]
            assert lab.server.run(detach, capture_output=True).returncode != 0
        assert answered(client, b"still here")
