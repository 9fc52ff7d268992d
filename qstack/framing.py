# SPDX-License-Identifier: Apache-2.0
"""Framings: where messages end inside a connection.

A handler of a listener with a framing is called once for each message, whole; see
``docs/design/020-messages.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from . import units
from .compiled import CompiledFraming
from .config import check_range
from .errors import ConfigError

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

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"kind must be {', '.join(get_args(Kind))}, got {self.kind!r}")
        check_range("message_max", self.message_max, 0, _MESSAGE_MAX)
        _check_place(self.length_at, self.length_octets)
        check_range("adds", self.length_adds, -_ADDS_MAX, _ADDS_MAX)
        if not isinstance(self.length_little, bool):
            raise ConfigError(f"little must be True or False, got {self.length_little!r}")
        end = self.delimiter
        if not isinstance(end, bytes) or not 1 <= len(end) <= _DELIMITER_MAX:
            raise ConfigError(f"a delimiter has 1..{_DELIMITER_MAX} bytes, got {end!r}")
        # The library calls its address: another kind of function would read what is not there.
        if (self.kind == "function") != isinstance(self.function, CompiledFraming):
            raise ConfigError(
                "a function that tells lengths is compiled by qstack.framing_function, "
                f"got {self.function!r}"
            )


def _check_place(at: int, octets: int) -> None:
    """Raise ConfigError unless a number can be there."""
    check_range("at", at, 0, _AT_MAX)
    check_range("octets", octets, 1, max(_LENGTH_OCTETS))
    if octets not in _LENGTH_OCTETS:
        raise ConfigError(f"octets must be 1, 2, 3, 4 or 8, got {octets!r}")


def _message_max(text: str | None) -> int:
    if text is None:
        return 0
    if not isinstance(text, str):
        raise ConfigError(f'message_max = {text!r} needs a unit, such as "16KiB"')
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
    _check_place(at, octets)
    return Framing(
        kind="length",
        length_at=at,
        length_octets=octets,
        length_adds=at + octets if adds is None else adds,
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
    return Framing(kind="delimiter", delimiter=end, message_max=_message_max(message_max))


def http1(*, message_max: str | None = None) -> Framing:
    """Return the framing of HTTP/1.1 (RFC 9112): head and body of a request or response.

    What could be read in two ways (lengths that differ, a length beside chunks, folded lines, names
    that are no tokens) ends its connection; so does a response whose body ends with the connection.
    A chunked message must fit into 16 KiB. Responses to HEAD cannot be told from others.
    """
    return Framing(kind="http1", message_max=_message_max(message_max))


def resp(*, message_max: str | None = None) -> Framing:
    """Return the framing of RESP2 and RESP3, the protocol of Redis: a value with all in it.

    Inline commands begin with a letter and end with CRLF. Streamed types of RESP3 are no message.
    """
    return Framing(kind="resp", message_max=_message_max(message_max))


def custom(function: CompiledFraming, *, message_max: str | None = None) -> Framing:
    """Return a framing told by a function that `qstack.framing_function` compiled.

    Raises:
        ConfigError: It is another function.
    """
    return Framing(kind="function", function=function, message_max=_message_max(message_max))
