# SPDX-License-Identifier: Apache-2.0
"""`qstack serve` in a lab, with clients of the kernel's own TCP."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qstack import programs
from qstack.lab import Impairment, Lab, tap_lab, veth_lab

if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Iterator

QSTACK = (sys.executable, "-c", "from qstack.cli import main; main()")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rig:
    """A server that is up.

    Attributes:
        info: What `qstack serve --json` printed.
        server: Its process.
    """

    lab: Lab
    info: dict[str, Any]
    server: subprocess.Popen[str]

    def url(self, version: int, path: str, port: int = 8080) -> str:
        address = (self.lab.server4 if version == 4 else self.lab.server6).ip
        return f"http://{bracketed(address)}:{port}{path}"

    def curl(
        self, *args: str, timeout_s: int = 60, **options: Any
    ) -> subprocess.CompletedProcess[Any]:
        command = ["curl", "-sS", "--fail", "-m", str(timeout_s), *args]
        return self.lab.client.run(command, stdout=subprocess.PIPE, check=True, **options)


def bracketed(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


@contextlib.contextmanager
def open_lab(kind: str, mtu: int = 1500, bad_wire: Impairment | None = None) -> Iterator[Lab]:
    make = tap_lab if kind == "tap" else veth_lab
    program = programs.find("qs-impair") if bad_wire else None
    with make(mtu=mtu, to_server=bad_wire, to_client=bad_wire, impair_program=program) as lab:
        yield lab


@contextlib.contextmanager
def serving(lab: Lab, *, queues: int = 4) -> Iterator[Rig]:
    """Start the server, and end it in order at the end."""
    args = ["serve", "--json", "--nic", f"{'tap' if lab.kind == 'tap' else 'xsk'}:{lab.server_if}"]
    args += ["--queues", str(queues), "--listen", "8080", "--listen", "8443:7"]
    if lab.kind == "tap":
        args += ["--mtu", str(lab.mtu)]
        args += [f"--address={lab.server4}", f"--address={lab.server6}"]
        for host in (lab.host4, lab.host6):
            assert host is not None
            args += [f"--host-address={host}", f"--gateway={host.ip}"]
    server = lab.server.popen([*QSTACK, *args], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        assert line, "the server did not start; it says why above"
        yield Rig(lab=lab, info=json.loads(line), server=server)
        if server.poll() is None:
            server.terminate()
            assert server.wait(10) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
