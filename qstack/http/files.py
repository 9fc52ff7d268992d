# SPDX-License-Identifier: Apache-2.0
"""Files as responses."""

from __future__ import annotations

import mimetypes
import os
import stat
from typing import TYPE_CHECKING

from .message import Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_READ_BYTES = 64 << 10


class _FileBody:
    """Reads a file that is open from the start, so that its length holds."""

    def __init__(self, fd: int, length: int) -> None:
        self._file = os.fdopen(fd, "rb", buffering=0)
        self._left = length

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = self._file.read(min(_READ_BYTES, self._left))
        if not chunk:
            raise StopIteration
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        self._file.close()


def file_response(path: Path) -> Response:
    """Return a regular file, read as fast as the client takes it.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise IsADirectoryError(f"{path}: not a regular file")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Response(
        body=_FileBody(fd, status.st_size),
        length=status.st_size,
        headers=(("Content-Type", kind),),
    )


class StaticFiles:
    """Answers GET and HEAD with the files below a directory, never with one outside of it."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve(strict=True)

    def __call__(self, request: Request) -> Response:
        """Return the file, its directory's ``index.html``, or 404, 405."""
        if request.method not in ("GET", "HEAD"):
            return Response(status=405, headers=(("Allow", "GET, HEAD"),))
        try:
            path = (self._root / request.path.lstrip("/")).resolve()
            if not path.is_relative_to(self._root):
                return Response.text("404\n", 404)
            return file_response(path / "index.html" if path.is_dir() else path)
        except (OSError, ValueError):  # ValueError: a NUL byte in the path
            return Response.text("404\n", 404)
