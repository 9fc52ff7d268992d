# SPDX-License-Identifier: Apache-2.0
"""Starts native/tests/softnic_host, the owner of a software NIC, and builds it when need be."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

_BUILD = TemporaryDirectory(prefix="nicprog-tests-")
ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "tests/softnic_host.c",
    "core/base.c",
    "io/softnic.c",
    "io/softnic_ethtool.c",
    "io/softnic_flow.c",
    "io/softnic_server.c",
)


@cache
def program() -> str:
    """Path of the program: ``$QS_SOFTNIC_HOST`` (from a Meson build), else compiled here."""
    if built := os.environ.get("QS_SOFTNIC_HOST"):
        return built
    output = Path(_BUILD.name) / "softnic_host"
    native = ROOT / "native"
    subprocess.run(
        [
            os.environ.get("CC", "cc"), "-std=gnu11", "-O1", "-D_GNU_SOURCE", "-pthread",
            f"-I{native}", f"-I{native / 'include'}", "-o", output,
            *(native / source for source in SOURCES),
        ],
        check=True,
    )  # fmt: skip
    return str(output)


class Owner:
    """A running owner."""

    def __init__(self, name: str, queues: int = 8) -> None:
        """Returns when the control socket answers."""
        self.name = name
        self._process = subprocess.Popen(
            [program(), name, str(queues)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._say() == "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def frame(self, queue: int, octets: int) -> None:
        """Counts a frame as the packet path does."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"frame {queue} {octets}\n")
        self._process.stdin.flush()
        assert self._say() == "counted"

    def kill(self) -> None:
        """Ends it without a chance to clean up."""
        self._process.kill()
        self.stop()

    def stop(self) -> None:
        """Ends it in order; may be called again."""
        self._process.communicate(timeout=10)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Does not answer meanwhile."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _say(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()
