# SPDX-License-Identifier: Apache-2.0
"""The AF_XDP driver on NICs that need no copies: lane xdp. The client is Linux's TCP."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from qstack.lab import Namespace
from tests.hil import inside
from tests.hil.conftest import TAP, Lab
from tests.hil.nic import Nic
from tools.hil.wire import Cable, DatagramWire

SEED = 20261128
QUEUES = 4
CONNECTIONS = 12
PORT = 8080
LIMIT_S = 60.0
CABLE = "hil1"
HERE, THERE = "10.5.0.1", "10.5.0.2"


@contextmanager
def client_at_the_wire_of(nic: Nic, lab: Lab) -> Iterator[None]:
    """The lab's namespace has an address at the other end."""
    wire, ifname = lab.wires[nic.kind], TAP
    with ExitStack() as stack:
        if isinstance(wire, DatagramWire):
            ifname = CABLE
            with lab.namespace.entered():
                stack.enter_context(Cable(wire, ifname))
        else:
            stack.callback(lab.namespace.run, ["ip", "address", "flush", "dev", ifname])
        for args in (
            ["address", "add", f"{HERE}/24", "dev", ifname],
            ["link", "set", ifname, "up"],
        ):
            lab.namespace.run(["ip", *args], check=True)
        yield


class Client:
    """One connection over HTTP, from inside a namespace."""

    def __init__(self, namespace: Namespace) -> None:
        with namespace.entered():
            sock = socket.create_connection((THERE, PORT), timeout=LIMIT_S)
        self.port: int = sock.getsockname()[1]
        self._http = http.client.HTTPConnection(THERE, PORT, timeout=LIMIT_S)
        self._http.sock = sock

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        self._http.request(method, path, body)
        answer = self._http.getresponse()
        assert answer.status == 200
        return answer.read()

    def close(self) -> None:
        self._http.close()


def where(nic: Nic, ports: list[int]) -> list[int]:
    """Queues of connections from these ports, as nicprog computes them."""
    head = Ether(dst=nic.mac) / IP(src=HERE, dst=THERE)
    frames = [bytes(head / TCP(sport=port, dport=PORT)).hex() for port in ports]
    found: list[int] = nic.call(inside.places, frames, nic.shifts_key)
    return found


def test_qstack_serves_without_copies(nic: Nic, lab: Lab) -> None:
    nic.needs("zero-copy", "table")
    nic.call(inside.apply, f'[channels]\ncombined = {QUEUES}\n[rss]\nequal = "all"\n')
    with ExitStack() as stack:
        stack.enter_context(client_at_the_wire_of(nic, lab))
        told = nic.call(inside.serve, f"{THERE}/24", QUEUES)
        stack.callback(nic.call, inside.end_serving, told["pid"])
        assert (told["driver"], told["mode"], told["queues"]) == ("xsk", "zero-copy", QUEUES)
        body = random.Random(SEED).randbytes(200_000)
        by_port = {}
        for _ in range(CONNECTIONS):
            client = Client(lab.namespace)
            stack.callback(client.close)
            by_port[client.port] = json.loads(client.ask("GET", "/where"))["queue"]
        assert list(by_port.values()) == where(nic, list(by_port))
        assert len(set(by_port.values())) > 1
        assert len(client.ask("GET", "/bytes/300000")) == 300_000
        assert hashlib.sha256(body).hexdigest() in client.ask("PUT", "/upload", body).decode()
