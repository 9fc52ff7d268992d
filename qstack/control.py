# SPDX-License-Identifier: Apache-2.0
"""How other processes ask a server about itself: a Unix socket RUNDIR/DEVICE.stack, mode 0600.

A connection carries one line, the name of what is asked for, and one JSON document back. It is
answered on threads of its own, so that neither handlers nor traffic hold it up.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import QStackError
from .rundir import run_dir

_log = logging.getLogger("qstack")

_SUFFIX = ".stack"
_REQUEST_BYTES_MAX = 64
_PATIENCE_S = 5.0

Answers = Mapping[str, Callable[[], object]]


class _Handler(socketserver.StreamRequestHandler):
    timeout = _PATIENCE_S
    server: _Listener

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # who asks may go away, or say nothing
            asked = self.rfile.readline(_REQUEST_BYTES_MAX).decode("ascii", "replace").strip()
            self.wfile.write(json.dumps(self.server.answer(asked)).encode() + b"\n")


class _Listener(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, answers: Answers) -> None:
        self._answers: Answers | None = answers
        self._lock = threading.Lock()
        super().__init__(str(path), _Handler)

    def answer(self, asked: str) -> object:
        """Return the document; while it is made, `forget` waits."""
        with self._lock:
            if self._answers is None:
                return {"error": "the server has stopped"}
            if asked not in self._answers:
                known = ", ".join(sorted(self._answers))
                return {"error": f"unknown: {asked!r}; known: {known}"}
            return self._answers[asked]()

    def forget(self) -> None:
        """Ask nobody any more: what they would look at is about to go."""
        with self._lock:
            self._answers = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.exception("a question to the server was not answered")


class Control:
    """Answers questions about a server until it is closed."""

    def __init__(self, device: str, answers: Answers) -> None:
        """Begin to answer; a socket whose owner is dead is replaced.

        Raises:
            QStackError: Another process answers for this device, or the socket cannot be made.
        """
        self._path = run_dir() / f"{device}{_SUFFIX}"
        if self._path.exists() and _is_live(self._path):
            raise QStackError(f"{self._path}: another process answers there")
        self._path.unlink(missing_ok=True)
        try:
            self._listener = _Listener(self._path, answers)
            os.chmod(self._path, 0o600)
        except OSError as e:
            raise QStackError(f"{self._path}: {e.strerror or e}") from None
        threading.Thread(
            target=self._listener.serve_forever, name="qstack-control", daemon=True
        ).start()

    def close(self) -> None:
        """Answer no more; what was asked for is answered first."""
        self._listener.forget()
        self._listener.shutdown()
        self._listener.server_close()
        self._path.unlink(missing_ok=True)


def _is_live(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PATIENCE_S)
        return probe.connect_ex(str(path)) == 0


def servers() -> list[str]:
    """Return the devices for which a process answers; sockets of dead ones are removed."""
    found = []
    for path in run_dir().glob(f"*{_SUFFIX}"):
        if _is_live(path):
            found.append(path.name.removesuffix(_SUFFIX))
        else:
            path.unlink(missing_ok=True)
    return sorted(found)


def ask(device: str, what: str) -> dict[str, Any]:
    """Return what the server on a device answers.

    Raises:
        QStackError: There is none, it does not answer in time, or it does not know.
    """
    path = run_dir() / f"{device}{_SUFFIX}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(_PATIENCE_S)
            link.connect(str(path))
            link.sendall(what.encode() + b"\n")
            with link.makefile("rb") as answer:
                document: dict[str, Any] = json.loads(answer.readline())
    except (FileNotFoundError, ConnectionRefusedError):
        serving = ", ".join(servers()) or "none"
        raise QStackError(f"{device}: no server answers here; there are: {serving}") from None
    except (OSError, json.JSONDecodeError) as e:
        raise QStackError(f"{device}: the server does not answer: {e}") from None
    if "error" in document:
        raise QStackError(f"{device}: {document['error']}")
    return document
