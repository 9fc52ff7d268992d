# SPDX-License-Identifier: Apache-2.0
"""The device goes on being the kernel's: other ports pass, and a death leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.netns.rig import bracketed, open_lab, serving

if TYPE_CHECKING:
    from qstack.lab import Lab, Namespace

KERNEL_ECHO = """
import socket, sys
listener = socket.create_server(("::", 2222), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    conn, _ = listener.accept()
    while data := conn.recv(65536):
        conn.sendall(data)
    conn.close()
"""
KERNEL_CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], 2222), timeout=5) as s:
    for i in range(200):  # to and fro like a terminal session, then a bulk
        line = b"line %d" % i
        s.sendall(line)
        got = b""
        while len(got) < len(line):
            got += s.recv(4096)
        assert got == line
    s.sendall(b"x" * 1_000_000)
    s.shutdown(socket.SHUT_WR)
    total = 0
    while data := s.recv(65536):
        total += len(data)
    assert total == 1_000_000, total
print("ok")
"""


@contextlib.contextmanager
def kernel_echo(namespace: Namespace) -> Iterator[None]:
    """A server on port 2222 that knows nothing of QStack."""
    command = [sys.executable, "-c", KERNEL_ECHO]
    with namespace.popen(command, stdout=subprocess.PIPE, text=True) as echo:
        try:
            assert echo.stdout is not None
            assert echo.stdout.readline() == "ready\n"
            yield
        finally:
            echo.kill()


def talk_to_the_kernel(lab: Lab, address: str) -> None:
    done = lab.client.run(
        [sys.executable, "-c", KERNEL_CLIENT, address], capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "ok\n", done.stderr


def attached(namespace: Namespace) -> str:
    """What `ip link` shows of XDP programs, also generic ones."""
    done = namespace.run(["ip", "-d", "-j", "link"], capture_output=True, text=True, check=True)
    return " ".join(str(link["xdp"]) for link in json.loads(done.stdout) if "xdp" in link)


def test_an_unclaimed_port_on_the_same_device_reaches_the_kernel() -> None:
    with open_lab("xsk") as lab, serving(lab) as rig, kernel_echo(lab.server):
        assert rig.curl(rig.url(4, "/")).stdout
        for address in (lab.server4.ip, lab.server6.ip):
            talk_to_the_kernel(lab, str(address))
        assert rig.curl(rig.url(6, "/")).stdout


def test_sigkill_leaves_the_veth_usable_and_no_program_attached() -> None:
    with open_lab("xsk") as lab:
        with serving(lab) as rig:
            assert attached(lab.server)
            assert rig.curl(rig.url(4, "/")).stdout
            rig.server.kill()
            rig.server.wait(10)
        deadline = time.monotonic() + 3
        while attached(lab.server) and time.monotonic() < deadline:
            time.sleep(0.05)  # the kernel takes the link down after the process is gone
        assert not attached(lab.server)
        with kernel_echo(lab.server):
            talk_to_the_kernel(lab, str(lab.server4.ip))
        with serving(lab) as rig:  # and QStack can have it again
            assert rig.curl(rig.url(4, "/")).stdout


def test_sigkill_takes_the_tap_away() -> None:
    with open_lab("tap") as lab:
        with serving(lab) as rig:
            assert rig.curl(rig.url(4, "/")).stdout
            rig.server.kill()
            rig.server.wait(10)
        deadline = time.monotonic() + 3
        listing = ["ip", "link", "show", lab.server_if]
        while not lab.server.run(listing, capture_output=True).returncode:
            assert time.monotonic() < deadline, "the TAP is still there"
            time.sleep(0.05)
        with serving(lab) as rig:
            assert rig.curl(rig.url(4, "/")).stdout


@pytest.mark.parametrize("kind", ["tap", "xsk"])
def test_an_end_in_order_gives_the_device_back(kind: str) -> None:
    with open_lab(kind) as lab:
        for _ in range(2):
            with serving(lab) as rig:
                url = f"http://{bracketed(lab.server6.ip)}:8443/"
                assert rig.curl(url).stdout
            assert not attached(lab.server)
