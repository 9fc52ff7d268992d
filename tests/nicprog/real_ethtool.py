# SPDX-License-Identifier: Apache-2.0
"""Runs the program ethtool on software NICs and on models, by a preloaded library.

Its ioctls go to the control socket of that name. Models get one here: a thread that speaks the
protocol of design note 002.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from nicprog.errors import RequestError
from nicprog.sim import SimNic
from nicprog.sim.transport import SimTransport
from tests.nicprog.owner import ROOT

_BUILD = TemporaryDirectory(prefix="nicprog-tests-")
_HEAD: Final = struct.Struct("=IiII")
_PACKET_MAX: Final = 1 << 16


@cache
def _shim() -> str:
    output = Path(_BUILD.name) / "ethtool_to_softnic.so"
    source = ROOT / "native" / "tests" / "ethtool_to_softnic.c"
    subprocess.run(
        [os.environ.get("CC", "cc"), "-std=gnu11", "-D_GNU_SOURCE", "-fPIC", "-shared",
         f"-I{ROOT / 'native' / 'include'}", "-o", output, source],
        check=True,
    )  # fmt: skip
    return str(output)


def run(script: str) -> None:
    """Runs a shell script whose ethtool programs what has a control socket."""
    done = subprocess.run(
        ["sh", "-e"],
        input=script,
        env=os.environ | {"LD_PRELOAD": _shim()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def served(nic: SimNic, name: str) -> Iterator[None]:
    """A control socket of that name for ``nic`` meanwhile."""
    path = Path(os.environ["QSTACK_RUN_DIR"]) / f"{name}.nic"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, SimTransport(nic)))
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            path.unlink()


def _serve(listener: socket.socket, transport: SimTransport) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            while packet := connection.recv(_PACKET_MAX):
                connection.send(_answer(packet, transport))


def _answer(packet: bytes, transport: SimTransport) -> bytes:
    command = _HEAD.unpack_from(packet)[0]
    try:
        body, error = transport.ask(command, packet[_HEAD.size :], room=_PACKET_MAX), 0
    except RequestError as refused:
        body, error = str(refused).encode(), -refused.errno
    return _HEAD.pack(command, error, len(body), 0) + body
