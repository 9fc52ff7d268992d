# SPDX-License-Identifier: Apache-2.0
"""Framings: where messages end inside a connection.

A handler of a listener with a framing is called once for each message, whole; see
``docs/design/020-messages.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from . import units
from .errors import ConfigError

if TYPE_CHECKING:
    from .compiled import CompiledFraming

Kind = Literal["length", "delimiter", "http1", "resp", "function"]

_LENGTH_OCTETS = (1, 2, 3, 4, 8)
_AT_MAX = _ADDS_MAX = 1024
_DELIMITER_MAX = 8
_MESSAGE_MAX = 1 << 29


@dataclass(frozen=True, kw_only=True, slots=True)
class Framing:
    """Where messages end. Made by the functions of this module.

    Attributes:
        kind: Which of them.
        message_max: Most bytes of a message; 0: 64 KiB, or half of the receive buffer that
            connections start with if that is less.
        length_at: "length": where the number is.
        length_octets: Its bytes.
        length_adds: What is added to it to have the length of all of the message.
        length_little: It is in little-endian order.
        delimiter: "delimiter": the end of each message.
        function: "function": tells the length.
    """

    kind: Kind
    message_max: int = 0
    length_at: int = 0
    length_octets: int = 4
    length_adds: int = 4
    length_little: bool = False
    delimiter: bytes = b"\n"
    function: CompiledFraming | None = None


def _message_max(text: str | None) -> int:
    if text is None:
        return 0
    try:
        octets = units.parse_size_bytes(text)
    except ValueError as e:
        raise ConfigError(f"message_max {text!r}: {e}") from None
    if not 1 <= octets <= _MESSAGE_MAX:
        raise ConfigError(f"message_max must be 1B..512MiB, got {text!r}")
    return octets


def length_prefix(
    octets: int = 4,
    *,
    at: int = 0,
    adds: int | None = None,
    little: bool = False,
    message_max: str | None = None,
) -> Framing:
    """Return a framing in which each message says how long it is.

    Args:
        octets: Bytes of the number: 1, 2, 3, 4 or 8.
        at: Offset of the number in the message, 0 to 1024.
        adds: What the message has besides the bytes that the number counts, -1024 to 1024; None:
            all up to the number's end, as when it counts what follows it.
        little: The number is in little-endian order; False: network byte order.
        message_max: Most bytes of a message, such as "16KiB"; a longer one ends its connection.

    Raises:
        ConfigError: Out of range.
    """
    if octets not in _LENGTH_OCTETS:
        raise ConfigError(f"octets must be 1, 2, 3, 4 or 8, got {octets!r}")
    if not 0 <= at <= _AT_MAX:
        raise ConfigError(f"at must be 0..{_AT_MAX}, got {at!r}")
    total = at + octets if adds is None else adds
    if not -_ADDS_MAX <= total <= _ADDS_MAX:
        raise ConfigError(f"adds must be {-_ADDS_MAX}..{_ADDS_MAX}, got {total!r}")
    return Framing(
        kind="length",
        length_at=at,
        length_octets=octets,
        length_adds=total,
        length_little=little,
        message_max=_message_max(message_max),
    )


def delimiter(end: bytes = b"\n", *, message_max: str | None = None) -> Framing:
    r"""Return a framing in which each message ends with some bytes that it has nowhere else.

    An urgent message is found behind lost ones as well, unless the delimiter's start can also be
    its end, as that of ``b"\r\n\r\n"``.

    Args:
        end: 1 to 8 bytes; part of the message.
        message_max: Most bytes of a message, such as "16KiB".

    Raises:
        ConfigError: Out of range.
    """
    if not 1 <= len(end) <= _DELIMITER_MAX:
        raise ConfigError(f"a delimiter has 1..{_DELIMITER_MAX} bytes, got {end!r}")
    return Framing(kind="delimiter", delimiter=bytes(end), message_max=_message_max(message_max))


def http1(*, message_max: str | None = None) -> Framing:
    """Return the framing of HTTP/1.1 (RFC 9112): head and body of a request or response.

    What could be read in two ways (conflicting lengths, folded lines) ends its connection. A
    chunked message must fit into 16 KiB.
    """
    return Framing(kind="http1", message_max=_message_max(message_max))


def resp(*, message_max: str | None = None) -> Framing:
    """Return the framing of RESP2 and RESP3, the protocol of Redis: a value with all in it."""
    return Framing(kind="resp", message_max=_message_max(message_max))


def custom(function: CompiledFraming, *, message_max: str | None = None) -> Framing:
    """Return a framing told by a function that `qstack.framing_function` compiled."""
    return Framing(kind="function", function=function, message_max=_message_max(message_max))
