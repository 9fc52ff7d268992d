# SPDX-License-Identifier: Apache-2.0
"""Classifiers: how urgent a connection is, and each message on it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .config import PRIORITIES
from .errors import ConfigError

if TYPE_CHECKING:
    from .compiled import CompiledClassifier

MATCHES_MAX = 32
_PORT_MAX = 65_535
_DSCP_MAX = 63
_OCTETS_MAX = 16
_AT_MAX = 16_384 - _OCTETS_MAX
_NAME_MAX = 31
_TEXT_MAX = 63


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """What names a class when all of it holds. Made by `match`.

    Attributes:
        priority: The class, 0 to 7.
        remote: Network of the peer, such as "10.0.0.0/8".
        remote_port: First and last of the peer's ports.
        dscp: Of the packet that opened the connection (RFC 2474).
        octets: Offset in the message, bytes there, and the mask of those bits that count.
        http_path: What the request's target begins with.
        http_header: Name, in any case, and value of a header field.
    """

    priority: int
    remote: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    remote_port: tuple[int, int] | None = None
    dscp: int | None = None
    octets: tuple[int, bytes, bytes] | None = None
    http_path: str | None = None
    http_header: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Classifier:
    """Matches in order, the first that holds says the class; else a function does.

    Attributes:
        matches: At most `MATCHES_MAX`.
        function: Asked when no match holds; None: the class is the listener's.
    """

    matches: tuple[Match, ...]
    function: CompiledClassifier | None = None


def _text(what: str, text: str, most: int) -> str:
    try:
        octets = text.encode("ascii")
    except UnicodeEncodeError:
        raise ConfigError(f"{what} must be ASCII, got {text!r}") from None
    if not 1 <= len(octets) <= most or b"\0" in octets:
        raise ConfigError(f"{what} must have 1..{most} characters, got {text!r}")
    return text


def _ports(ports: int | tuple[int, int]) -> tuple[int, int]:
    first, last = (ports, ports) if isinstance(ports, int) else ports
    if not 1 <= first <= last <= _PORT_MAX:
        raise ConfigError(f"remote_port must be 1..{_PORT_MAX}, got {ports!r}")
    return first, last


def _octets(at: int, octets: bytes, mask: bytes | None = None) -> tuple[int, bytes, bytes]:
    if not 0 <= at <= _AT_MAX:
        raise ConfigError(f"octets begin at 0..{_AT_MAX}, got {at!r}")
    if not 1 <= len(octets) <= _OCTETS_MAX:
        raise ConfigError(f"octets must be 1..{_OCTETS_MAX} bytes, got {octets!r}")
    mask = b"\xff" * len(octets) if mask is None else mask
    if len(mask) != len(octets):
        raise ConfigError(f"a mask of {len(mask)} bytes is given for {len(octets)} octets")
    return at, bytes(octets), bytes(mask)


def match(
    priority: int,
    *,
    remote: str | None = None,
    remote_port: int | tuple[int, int] | None = None,
    dscp: int | None = None,
    octets: tuple[int, bytes] | tuple[int, bytes, bytes] | None = None,
    http_path: str | None = None,
    http_header: tuple[str, str] | None = None,
) -> Match:
    r"""Return a match: all that is given must hold.

    Args:
        priority: The class that it names, 0 to 7.
        remote: Address or network of the peer, such as "10.0.0.0/8".
        remote_port: Port of the peer, or the first and last.
        dscp: Of the packet that opened the connection, 0 to 63.
        octets: Offset in the message and the bytes there, such as ``(4, b"\x01")``; with a mask as
            third those bits that count.
        http_path: What the target of an HTTP/1.1 request begins with.
        http_header: Name, in any case, and value of a header field of an HTTP/1.1 message; not
            together with ``http_path``.

    Raises:
        ConfigError: Out of range.
    """
    if not 0 <= priority < PRIORITIES:
        raise ConfigError(f"priority must be 0..{PRIORITIES - 1}, got {priority!r}")
    if dscp is not None and not 0 <= dscp <= _DSCP_MAX:
        raise ConfigError(f"dscp must be 0..{_DSCP_MAX}, got {dscp!r}")
    if http_path is not None and http_header is not None:
        raise ConfigError("http_path and http_header: one of them for a match")
    network = None
    if remote is not None:
        try:
            network = ipaddress.ip_network(remote)
        except ValueError as e:
            raise ConfigError(f"remote: {e}") from None
    return Match(
        priority=priority,
        remote=network,
        remote_port=None if remote_port is None else _ports(remote_port),
        dscp=dscp,
        octets=None if octets is None else _octets(*octets),
        http_path=None if http_path is None else _text("http_path", http_path, _TEXT_MAX),
        http_header=None
        if http_header is None
        else (
            _text("name of a header field", http_header[0], _NAME_MAX),
            _text("value of a header field", http_header[1], _TEXT_MAX),
        ),
    )


def classify(*matches: Match, function: CompiledClassifier | None = None) -> Classifier:
    """Return a classifier.

    Args:
        *matches: The first that holds says the class.
        function: Compiled by `qstack.classifier`; asked when none holds.

    Raises:
        ConfigError: There are too many, or there is nothing.
    """
    if len(matches) > MATCHES_MAX:
        raise ConfigError(f"at most {MATCHES_MAX} matches, got {len(matches)}")
    if not matches and function is None:
        raise ConfigError("a classifier needs a match or a function")
    return Classifier(matches, function)
