# SPDX-License-Identifier: Apache-2.0
"""Runs in a guest: calls functions of the working tree that it is told over a virtio port.

python -m tools.hil.agent, in the working tree. A request is a line of JSON: function, a name of
tests.hil.inside, and arguments; the answer is a line too: ``result``, or ``error`` with the
traceback, and what was printed. Each call is a process of its own, with the imports done, so that
none spoils the next.
"""

from __future__ import annotations

import io
import json
import os
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, BinaryIO

from tests.hil import inside  # slow here: once for all calls

from .initramfs import AGENT_PORT

_PORTS = Path("/sys/class/virtio-ports")


def main() -> None:
    """Serves until the guest is turned off."""
    with _port().open("r+b", buffering=0) as port:
        port.write(b'{"ready": true}\n')
        while line := _line(port):
            port.write(_answer(json.loads(line)))


def _port() -> Path:
    """Its name arrives some time after the port."""
    while True:
        for port in _PORTS.glob("*"):
            name = port / "name"
            if name.exists() and name.read_text().strip() == AGENT_PORT:
                return Path("/dev") / port.name
        time.sleep(0.05)


def _line(port: BinaryIO) -> bytes:
    found = b""
    while not found.endswith(b"\n"):
        piece = port.read(1)
        if piece:
            found += piece
        else:
            time.sleep(0.01)  # the host's end is not open
    return found


def _answer(request: dict[str, Any]) -> bytes:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "wb") as answer:
            answer.write(json.dumps(_call(request)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    if not said:
        said = json.dumps({"error": f"the call ended with status {status}", "printed": ""}).encode()
    return said + b"\n"


def _call(request: dict[str, Any]) -> dict[str, Any]:
    printed = io.StringIO()
    answer: dict[str, Any]
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            function = getattr(inside, request["function"])
            answer = {"result": function(*request["arguments"])}
        except BaseException:
            answer = {"error": traceback.format_exc()}
    return {**answer, "printed": printed.getvalue()}


if __name__ == "__main__":
    main()
