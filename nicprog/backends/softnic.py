# SPDX-License-Identifier: Apache-2.0
"""Software NICs: their control sockets, see docs/design/002-software-nic-socket.md."""

from __future__ import annotations

import difflib
import errno
import fcntl
import os
import re
import socket
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from nicprog.backends.ethtool import EthtoolNic
from nicprog.backends.kernel import is_interface
from nicprog.backends.run_dir import run_dir
from nicprog.errors import DeviceError, RequestError
from nicprog.host import HostDevice

SUFFIX: Final = ".nic"
TIMEOUT_SECONDS: Final = 5.0

_HEAD: Final = struct.Struct("=IiII")
_ANSWER_MAX: Final = 1 << 18
_BURST: Final = 64  # requests under way; a socket buffer holds them and their answers
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,30}")


def open_softnic(device: str) -> EthtoolNic:
    """Connects to the software NIC ``device``.

    Raises:
        DeviceError: There is none, its owner is dead, or we have no right to it.
    """
    path = socket_path(device)
    try:
        transport = SocketTransport(device, path)
    except ConnectionRefusedError:
        _remove_dead(path)
        raise DeviceError(
            f"{device}: the process that owned this software NIC is gone; its socket {path} "
            "was removed. Start the owner again"
        ) from None
    except FileNotFoundError:
        raise DeviceError(_why_not_there(device)) from None
    except PermissionError:
        raise DeviceError(
            f"{device}: no right to use {path}; run as the owner of the software NIC, or as root"
        ) from None
    except OSError as error:
        raise DeviceError(f"{device}: cannot connect to {path}: {error.strerror}") from None
    host = HostDevice(device) if is_interface(device) else None
    return EthtoolNic(device, _instance(path), transport, host=host)


def live_softnics() -> list[str]:
    """Names of the software NICs whose owners live and whom we may ask, in order."""
    found = []
    for path in sorted(_sockets()):
        try:
            SocketTransport(path.stem, path).close()
        except ConnectionRefusedError:
            _remove_dead(path)
        except OSError:
            continue
        else:
            found.append(path.stem)
    return found


def has_socket(device: str) -> bool:
    """True when a software NIC of this name was made, also when its owner is dead by now."""
    try:
        return (run_dir() / (device + SUFFIX)).is_socket()
    except OSError:
        return False


def socket_path(device: str) -> Path:
    """Where the control socket of ``device`` is.

    Raises:
        DeviceError: That cannot be a name, or somebody else can replace the socket.
    """
    if not _NAME.fullmatch(device):
        raise DeviceError(f"{device!r} cannot be the name of a NIC")
    folder = run_dir()
    try:
        status = folder.stat()
    except OSError:
        return folder / (device + SUFFIX)
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
        raise DeviceError(
            f"{device}: {folder} can be changed by other users; it must be yours with mode 0700"
        )
    return folder / (device + SUFFIX)


class SocketTransport:
    """One connection to the owner of a software NIC."""

    def __init__(self, device: str, path: Path) -> None:
        self._device = device
        self._answer_room = memoryview(bytearray(_ANSWER_MAX))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                # In the kernel: a timeout of Python's costs one more system call each time.
                self._socket.setsockopt(socket.SOL_SOCKET, option, _timeval(TIMEOUT_SECONDS))
            self._socket.connect(os.fspath(path))
        except BaseException:
            self._socket.close()
            raise

    def ask(self, command: int, payload: bytes, room: int = 0) -> bytes:
        """Sends one structure and waits for the answer's, which needs no ``room`` here."""
        self._send(command, payload)
        return self._receive(command)

    def ask_many(self, command: int, payloads: Sequence[bytes]) -> Iterator[bytes | RequestError]:
        """Sends in bursts, which saves a change of process for most requests."""
        for start in range(0, len(payloads), _BURST):
            burst = payloads[start : start + _BURST]
            for payload in burst:
                self._send(command, payload)
            # All at once: an answer left behind would be taken for that to the next request.
            yield from [self._answer(command) for _ in burst]

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def _answer(self, command: int) -> bytes | RequestError:
        try:
            return self._receive(command)
        except RequestError as error:
            return error

    def _send(self, command: int, payload: bytes) -> None:
        try:
            self._socket.send(_HEAD.pack(command, 0, len(payload), 0) + payload)
        except OSError as error:
            raise self._gone(error) from None

    def _receive(self, command: int) -> bytes:
        try:
            length = self._socket.recv_into(self._answer_room)
        except OSError as error:
            raise self._gone(error) from None
        if not length:
            raise self._failed("the process that owns this software NIC has ended")
        if length < _HEAD.size:
            raise self._failed(f"answered {length} bytes, too few for a head")
        answered, refusal, size, _ = _HEAD.unpack_from(self._answer_room)
        body = bytes(self._answer_room[_HEAD.size : length])
        if answered != command or size != len(body):
            raise self._failed(
                f"answered command 0x{answered:x} with {len(body)} of {size} bytes "
                f"to command 0x{command:x}"
            )
        if refusal:
            sentence = body.decode("ascii", "replace").rstrip("\0")
            name = errno.errorcode.get(-refusal, str(-refusal))
            raise RequestError(f"{sentence or os.strerror(-refusal)} ({name})", -refusal)
        return body

    def _gone(self, error: OSError) -> DeviceError:
        if isinstance(error, BlockingIOError):
            return self._failed(
                "the process that owns this software NIC did not answer within "
                f"{TIMEOUT_SECONDS:g} s"
            )
        if error.errno == errno.EBADF:
            return DeviceError(f"{self._device}: given up after an earlier failure; open it again")
        return self._failed(f"the process that owns this software NIC has ended ({error.strerror})")

    def _failed(self, text: str) -> DeviceError:
        """Closes, since a late answer would be taken for that to the next request."""
        self._socket.close()
        return DeviceError(f"{self._device}: {text}")


def _timeval(seconds: float) -> bytes:
    """``struct timeval``."""
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))


def _sockets() -> list[Path]:
    try:
        return [p for p in run_dir().iterdir() if p.suffix == SUFFIX and p.is_socket()]
    except OSError:
        return []


def _instance(path: Path) -> str:
    """A socket is made when its NIC is, so the file's identity is the NIC's."""
    try:
        status = path.stat()
    except OSError as error:
        raise DeviceError(f"{path.stem}: {path} has gone: {error.strerror}") from None
    return f"{status.st_dev:x}-{status.st_ino}-{status.st_mtime_ns}"


def _remove_dead(path: Path) -> None:
    """Removes a socket that nobody listens on; without the right to, it stays.

    Owners make their sockets under the lock of the folder, so under it a refusal is final.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        SocketTransport(path.stem, path).close()
    except ConnectionRefusedError:
        with suppress(OSError):
            path.unlink()
    except OSError:
        return
    finally:
        os.close(folder)


def _why_not_there(device: str) -> str:
    live = live_softnics()
    close = difflib.get_close_matches(device, live, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    there = f"live ones: {', '.join(live)}" if live else f"none is live in {run_dir()}"
    return f"{device}: no such interface and no such software NIC; {hint}{there}"
