# SPDX-License-Identifier: Apache-2.0
"""The kernel's files under a root folder, with refusals that say what, on what, and why."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, Protocol

from nicprog.errors import DeviceError, RequestError

_ERRNO_NAMES: Final = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}
_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.EOPNOTSUPP)
"""How files of /sys say that there is nothing to read: some are there for every interface."""


class Files(Protocol):
    """Files by their absolute paths, as the kernel has them. All calls raise OSError."""

    def read(self, path: str) -> str:
        """All of a file."""

    def write(self, path: str, text: str) -> None:
        """Writes a file of the kernel, by one ``write(2)``."""

    def names(self, path: str) -> list[str]:
        """What is in a folder, in order."""

    def is_writable(self, path: str) -> bool:
        """The file's owner may write it, whoever asks: root may write all."""

    def real(self, path: str) -> str:
        """The path that symbolic links lead to."""


class RealFiles:
    """Files under a root folder, which is ``/`` but in tests."""

    def __init__(self, root: str | Path = "/") -> None:
        self.root = Path(root).resolve()

    def read(self, path: str) -> str:
        """All of a file."""
        return self._at(path).read_text(encoding="utf-8", errors="replace")

    def write(self, path: str, text: str) -> None:
        """By one ``write(2)``: the kernel takes each as a whole value."""
        descriptor = os.open(self._at(path), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def names(self, path: str) -> list[str]:
        """What is in a folder, in order."""
        return sorted(os.listdir(self._at(path)))

    def is_writable(self, path: str) -> bool:
        """The file's owner may write it."""
        return bool(self._at(path).stat().st_mode & 0o200)

    def real(self, path: str) -> str:
        """The path that symbolic links lead to, as it is under the root."""
        return "/" + str(self._at(path).resolve(strict=True).relative_to(self.root))

    def _at(self, path: str) -> Path:
        return self.root / path.lstrip("/")


def read(files: Files, path: str, about: str) -> str:
    """All of a file, without spaces around.

    Raises:
        RequestError: With the errno; ``about`` says what could not be read.
    """
    try:
        return files.read(path).strip()
    except OSError as error:
        raise refusal(f"{about}: cannot read {path}", error) from None


def read_if_there(files: Files, path: str, about: str) -> str | None:
    """The same; None when there is no such file, or nothing to read in it.

    Raises:
        RequestError: Another reason.
    """
    try:
        return files.read(path).strip()
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise refusal(f"{about}: cannot read {path}", error) from None


def write(files: Files, path: str, text: str, about: str) -> None:
    """Writes a value.

    Raises:
        DeviceError: No right to.
        RequestError: The kernel refused it; nothing was changed.
    """
    try:
        files.write(path, text)
    except OSError as error:
        raise refusal(f"{about}: cannot write {text!r} to {path}", error) from None


def names(files: Files, path: str, about: str) -> list[str]:
    """What is in a folder; nothing when there is none.

    Raises:
        RequestError: Another reason.
    """
    try:
        return files.names(path)
    except OSError as error:
        if error.errno in _ABSENT:
            return []
        raise refusal(f"{about}: cannot list {path}", error) from None


def refusal(text: str, error: OSError) -> RequestError | DeviceError:
    """The error of this package for one of the system."""
    number = error.errno or errno.EIO
    name = _ERRNO_NAMES.get(number, str(number))
    if number == errno.EACCES or (number == errno.EPERM and os.geteuid() != 0):
        return DeviceError(f"{text}: no right to ({name}); run as root")
    return RequestError(f"{text}: {os.strerror(number)} ({name})", number)
