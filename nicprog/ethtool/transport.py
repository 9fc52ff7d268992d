# SPDX-License-Identifier: Apache-2.0
"""How one ethtool structure reaches a NIC; the way by ioctl, and its errors in words."""

from __future__ import annotations

import difflib
import errno
import os
import re
import socket
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from nicprog._ethtool import ffi, lib
from nicprog.errors import DeviceError, RequestError


class Transport(Protocol):
    """Carries one structure to the NIC and the NIC's answer back."""

    def ask(self, command: int, payload: bytes, room: int = 0) -> bytes:
        """Sends the structure of ``command`` and returns what came back in its place.

        Args:
            command: Number of ``linux/ethtool.h``, the same as in the first four octets.
            payload: The structure, with the tail that the command reads.
            room: Octets that the answer may be longer than ``payload``.

        Raises:
            RequestError: The NIC refused; it holds what it held before.
            DeviceError: The NIC is gone, or there is no right to it.
        """

    def ask_many(self, command: int, payloads: Sequence[bytes]) -> Iterator[bytes | RequestError]:
        """Answers or refusals of several requests that do not depend on each other, in order."""

    def close(self) -> None:
        """Ends the connection."""


_NAME: Final = re.compile(r"[^\s/:]{1,15}")
_ENOTSUPP: Final = 524  # of the kernel's own; some drivers let it out
_ERRNO_NAMES: Final = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}  # else its other name

_COMMANDS: Final[dict[int, str]] = {
    lib.ETHTOOL_GDRVINFO: "read the driver's name",
    lib.ETHTOOL_GCHANNELS: "read the channels",
    lib.ETHTOOL_SCHANNELS: "set the channels",
    lib.ETHTOOL_GRINGPARAM: "read the ring sizes",
    lib.ETHTOOL_SRINGPARAM: "set the ring sizes",
    lib.ETHTOOL_GCOALESCE: "read the interrupt coalescing",
    lib.ETHTOOL_SCOALESCE: "set the interrupt coalescing",
    lib.ETHTOOL_PERQUEUE: "read or set the interrupt coalescing of single queues",
    lib.ETHTOOL_GFEATURES: "read the features",
    lib.ETHTOOL_SFEATURES: "set the features",
    lib.ETHTOOL_GPFLAGS: "read the driver's private flags",
    lib.ETHTOOL_SPFLAGS: "set the driver's private flags",
    lib.ETHTOOL_GSSET_INFO: "read the number of names",
    lib.ETHTOOL_GSTRINGS: "read the names",
    lib.ETHTOOL_GSTATS: "read the statistics",
    lib.ETHTOOL_GRXFH: "read the hashed fields",
    lib.ETHTOOL_SRXFH: "set the hashed fields",
    lib.ETHTOOL_GRSSH: "read the RSS table and key",
    lib.ETHTOOL_SRSSH: "set the RSS table, key or context",
    lib.ETHTOOL_GRXRINGS: "read the number of RX rings",
    lib.ETHTOOL_GRXCLSRLCNT: "read the number of flow rules",
    lib.ETHTOOL_GRXCLSRULE: "read a flow rule",
    lib.ETHTOOL_GRXCLSRLALL: "list the flow rules",
    lib.ETHTOOL_SRXCLSRLINS: "insert a flow rule",
    lib.ETHTOOL_SRXCLSRLDEL: "delete a flow rule",
}

# errno: why, and what to do.
_WHY: Final[dict[int, tuple[str, str]]] = {
    errno.EOPNOTSUPP: ("its driver does not do this", "leave it out, or use another NIC"),
    errno.EINVAL: (
        "the driver does not take these values",
        "compare them with what it holds and its limits; the kernel's log (dmesg) may say more",
    ),
    errno.EBUSY: (
        "something is using it",
        "end what does (AF_XDP sockets, flow rules, another driver on the NIC) and try again",
    ),
    errno.ENOSPC: ("there is no room left", "delete flow rules or RSS contexts first"),
    errno.ENOENT: ("there is nothing at that place", "list what is there"),
    errno.EMSGSIZE: ("it has grown in between", "try again"),
    errno.ENETDOWN: ("the interface is down", "bring it up first"),
}

# (command, errno): the same where it is known better.
_WHY_OF: Final[dict[tuple[int, int], tuple[str, str]]] = {
    (lib.ETHTOOL_SCHANNELS, errno.EINVAL): (
        "a count is above its maximum, leaves no RX or no TX queue, or takes away a queue that the "
        "RSS table, a flow rule or an AF_XDP socket uses",
        "read the channels for the maxima, move table and rules away from the queues first",
    ),
    (lib.ETHTOOL_SRINGPARAM, errno.EINVAL): (
        "a size is above its maximum or not one that the driver takes",
        "read the ring sizes for the maxima; many drivers want powers of two",
    ),
    (lib.ETHTOOL_SCOALESCE, errno.EOPNOTSUPP): (
        "its driver does not do this, or not one of the parameters that are not zero",
        "leave those at zero that read as zero",
    ),
    (lib.ETHTOOL_SRSSH, errno.EOPNOTSUPP): (
        "its driver does not do this, or not this part of table, key, hash function and context",
        "set the parts one by one to see which",
    ),
    (lib.ETHTOOL_SRXCLSRLINS, errno.EINVAL): (
        "the driver does not take this flow type, field, mask, location, queue or context",
        "many drivers want the same masks in all rules of a flow type; dmesg may say more",
    ),
    (lib.ETHTOOL_SRXCLSRLINS, errno.EOPNOTSUPP): (
        "its driver has no flow rules, or they are off",
        "turn the feature 'rx-ntuple-filter' on when it can be",
    ),
}


class IoctlTransport:
    """``SIOCETHTOOL`` on one interface of the network namespace that this was made in."""

    def __init__(self, device: str) -> None:
        """Checks that the interface is there.

        Raises:
            DeviceError: It is not, or that cannot be its name.
        """
        self._device = device
        if not _NAME.fullmatch(device):
            raise DeviceError(f"{device!r} cannot be the name of an interface")
        try:
            socket.if_nametoindex(device)
        except OSError:
            raise DeviceError(_not_there(device)) from None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def ask(self, command: int, payload: bytes, room: int = 0) -> bytes:
        """One ioctl; the answer has the length of ``payload`` and ``room``."""
        size = len(payload) + room
        data = ffi.new("char[]", size)
        ffi.memmove(data, payload, len(payload))
        if self._socket.fileno() < 0:
            raise DeviceError(f"{self._device}: was closed; open it again")
        error = -lib.nicprog_ethtool_ioctl(self._socket.fileno(), os.fsencode(self._device), data)
        if error:
            raise self._refusal(command, errno.EOPNOTSUPP if error == _ENOTSUPP else error)
        return bytes(ffi.buffer(data, size))

    def ask_many(self, command: int, payloads: Sequence[bytes]) -> Iterator[bytes | RequestError]:
        """One after the other: the kernel has no way to take several at once."""
        for payload in payloads:
            try:
                yield self.ask(command, payload)
            except RequestError as error:
                yield error

    def close(self) -> None:
        """Ends the connection; may be called again."""
        self._socket.close()

    def _refusal(self, command: int, error: int) -> RequestError | DeviceError:
        if error == errno.ENODEV:
            return DeviceError(_not_there(self._device))
        what = _COMMANDS.get(command, f"do command 0x{command:x}")
        name = _ERRNO_NAMES.get(error, str(error))
        if error in (errno.EPERM, errno.EACCES):
            return DeviceError(
                f"{self._device}: cannot {what}: no right to ({name}); run as root or with "
                "CAP_NET_ADMIN in the network namespace of the interface"
            )
        why, remedy = _WHY_OF.get((command, error)) or _WHY.get(error, (os.strerror(error), ""))
        text = f"{self._device}: cannot {what}: {why} ({name})"
        return RequestError(f"{text}; {remedy}" if remedy else text, error)


def _not_there(device: str) -> str:
    there = [name for _, name in socket.if_nameindex()]
    close = difflib.get_close_matches(device, there, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return (
        f"{device}: no such interface in this network namespace; {hint}there are {', '.join(there)}"
    )
