# SPDX-License-Identifier: Apache-2.0
"""Exceptions of QStack: one class for each ``QS_ERR_*``, with the built-in one that is like it.

``except ConnectionResetError``, ``except PermissionError`` and so on work; ``except QStackError``
catches all of them. The text says what failed, on what, why, and what to do.
"""

from __future__ import annotations

import errno
from typing import ClassVar

from ._native import ffi, lib


class QStackError(OSError):
    """Any failure that the stack reports.

    Attributes:
        code: The negative ``QS_ERR_*`` of the C library, or 0 when Python found the fault itself.
        errno: The errno that is closest to it.
        strerror: The text.
    """

    default_errno: ClassVar[int] = errno.EIO

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(self.default_errno, text)
        self.code = code

    def __str__(self) -> str:
        return str(self.strerror)


class ConfigError(QStackError, ValueError):
    """An argument or a setting is out of range, malformed, or contradicts another one."""

    default_errno = errno.EINVAL


class OutOfMemoryError(QStackError):
    """Memory is exhausted, or a table or pool of the stack is full."""

    default_errno = errno.ENOMEM


class StaleHandleError(QStackError):
    """The connection or listener is gone."""

    default_errno = errno.EBADF


class WouldBlockError(QStackError, BlockingIOError):
    """Nothing to do now."""

    default_errno = errno.EAGAIN


class ClosedError(QStackError, BrokenPipeError):
    """This side has closed the connection already."""

    default_errno = errno.EPIPE


class EndOfStreamError(QStackError, EOFError):
    """The peer has sent its last byte."""

    default_errno = errno.ENODATA


class PeerResetError(QStackError, ConnectionResetError):
    """The peer reset the connection."""

    default_errno = errno.ECONNRESET


class PeerTimeoutError(QStackError, TimeoutError):
    """The peer did not answer in time."""

    default_errno = errno.ETIMEDOUT


class PeerRefusedError(QStackError, ConnectionRefusedError):
    """The peer refused the connection."""

    default_errno = errno.ECONNREFUSED


class UnreachableError(QStackError):
    """No route to the address, or no neighbour answers."""

    default_errno = errno.EHOSTUNREACH


class PortTakenError(QStackError):
    """The port is taken."""

    default_errno = errno.EADDRINUSE


class AddressNotAvailableError(QStackError):
    """The address does not belong to this stack."""

    default_errno = errno.EADDRNOTAVAIL


class NotSupportedError(QStackError):
    """The driver, kernel or build cannot do it."""

    default_errno = errno.EOPNOTSUPP


class NoRightError(QStackError, PermissionError):
    """The process lacks a right that it needs."""

    default_errno = errno.EPERM


class NoDeviceError(QStackError):
    """There is no such network device."""

    default_errno = errno.ENODEV


class DeviceBusyError(QStackError):
    """The device or queue is in use."""

    default_errno = errno.EBUSY


class SystemCallError(QStackError):
    """A system call failed."""


class WrongStateError(QStackError, RuntimeError):
    """The call is not allowed in this state."""

    default_errno = errno.EALREADY


class FramingError(QStackError):
    """What the peer sent is no message of the listener's framing, or too long a one."""

    default_errno = errno.EBADMSG


_BY_CODE: dict[int, type[QStackError]] = {
    lib.QS_ERR_ARG: ConfigError,
    lib.QS_ERR_NOMEM: OutOfMemoryError,
    lib.QS_ERR_STALE: StaleHandleError,
    lib.QS_ERR_AGAIN: WouldBlockError,
    lib.QS_ERR_CLOSED: ClosedError,
    lib.QS_ERR_EOF: EndOfStreamError,
    lib.QS_ERR_RESET: PeerResetError,
    lib.QS_ERR_TIMEDOUT: PeerTimeoutError,
    lib.QS_ERR_REFUSED: PeerRefusedError,
    lib.QS_ERR_UNREACH: UnreachableError,
    lib.QS_ERR_ADDRINUSE: PortTakenError,
    lib.QS_ERR_ADDRNOTAVAIL: AddressNotAvailableError,
    lib.QS_ERR_NOTSUP: NotSupportedError,
    lib.QS_ERR_PERM: NoRightError,
    lib.QS_ERR_NODEV: NoDeviceError,
    lib.QS_ERR_BUSY: DeviceBusyError,
    lib.QS_ERR_SYS: SystemCallError,
    lib.QS_ERR_STATE: WrongStateError,
    lib.QS_ERR_FRAMING: FramingError,
}


def from_code(code: int, what: str, detail: str = "") -> QStackError:
    """Build the exception of a negative ``QS_ERR_*``.

    Args:
        code: What the C library returned, below 0.
        what: What was tried, for a text of our own when the library gave none.
        detail: The library's own words (``struct qs_diag``), or "".
    """
    text = detail or f"{what}: {ffi.string(lib.qs_strerror(code)).decode('ascii')}"
    return _BY_CODE.get(code, QStackError)(text, code)


def check(code: int, what: str, detail: str = "") -> int:
    """Return ``code`` when it is 0 or more, else raise the exception mapped to it."""
    if code >= 0:
        return code
    raise from_code(code, what, detail)
