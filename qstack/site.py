# SPDX-License-Identifier: Apache-2.0
"""The site that ``qstack serve`` and ``qstack demo`` answer with, on QStack or on kernel TCP."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from .http import BodySink, Request, Response, StaticFiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELLO = b"Hello from QStack\n"
_BLOCK = hashlib.shake_256(b"qstack").digest(64 << 10)
_BYTES_MAX = 1 << 40


def blob(length: int) -> Iterator[bytes]:
    """Yield ``length`` bytes that are always the same."""
    for _ in range(length // len(_BLOCK)):
        yield _BLOCK
    yield _BLOCK[: length % len(_BLOCK)]


def blob_sha256(length: int) -> str:
    """Return the SHA-256 of `blob`, in hexadecimal digits."""
    digest = hashlib.sha256()
    for chunk in blob(length):
        digest.update(chunk)
    return digest.hexdigest()


class _Sha256Sink:
    """Hashes a body and keeps nothing of it."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> None:
        self._digest.update(data)
        self.bytes += len(data)

    def close(self) -> None:
        self.sha256 = self._digest.hexdigest()


def _json(document: object) -> Response:
    return Response(
        body=json.dumps(document).encode() + b"\n", headers=(("Content-Type", "application/json"),)
    )


class Site:
    """Answers these, and files below a directory if there is one.

    * ``/``: a line of text, or the directory's ``index.html``
    * ``/bytes/N``: N bytes
    * ``/upload`` by PUT or POST: the body's length and SHA-256 as JSON
    * ``/where``: queue and class of the connection as JSON
    """

    def __init__(self, root: Path | None = None) -> None:
        """Take the directory to serve.

        Raises:
            OSError: There is no such directory.
        """
        self._files = None if root is None else StaticFiles(root)

    @staticmethod
    def open_sink(request: Request) -> BodySink | None:
        """Hash what is uploaded."""
        return _Sha256Sink() if request.path == "/upload" else None

    def __call__(self, request: Request) -> Response:
        """Return the response."""
        path = request.path
        if path == "/upload":
            return self._upload(request)
        if request.method not in ("GET", "HEAD"):
            return Response(status=405, headers=(("Allow", "GET, HEAD"),))
        if path.startswith("/bytes/"):
            return self._bytes(path.removeprefix("/bytes/"))
        if path == "/where":
            conn = request.connection
            return _json({"queue": conn.queue, "priority": conn.priority, "peer": conn.peer})
        if self._files is not None:
            return self._files(request)
        if path == "/":
            return Response(body=HELLO, headers=(("Content-Type", "text/plain"),))
        return Response.text("404\n", 404)

    @staticmethod
    def _upload(request: Request) -> Response:
        if request.method not in ("PUT", "POST"):
            return Response(status=405, headers=(("Allow", "PUT, POST"),))
        sink = request.sink
        if not isinstance(sink, _Sha256Sink):  # no body at all
            sink = _Sha256Sink()
            sink.close()
        return _json({"bytes": sink.bytes, "sha256": sink.sha256})

    @staticmethod
    def _bytes(number: str) -> Response:
        if not (number.isascii() and number.isdigit()) or int(number[:16]) > _BYTES_MAX:
            return Response.text("404\n", 404)
        return Response(
            body=blob(int(number)),
            length=int(number),
            headers=(("Content-Type", "application/octet-stream"),),
        )
