# SPDX-License-Identifier: Apache-2.0
"""Classifiers: how urgent a connection is, and each message on it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from .compiled import CompiledClassifier
from .config import PRIORITIES, VLAN_MAX, check_range
from .errors import ConfigError

MATCHES_MAX = 32
_PORT_MAX = 65_535
_PCP_MAX = 7
_DSCP_MAX = 63
_OCTETS_MAX = 16
_AT_MAX = 16_384 - _OCTETS_MAX
_NAME_MAX = 31
_TEXT_MAX = 63
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110 section 5.6.2
_FIELD_VALUE = re.compile(r"[!-~]([ \t!-~]*[!-~])?")
_NETWORKS = (ipaddress.IPv4Network, ipaddress.IPv6Network)
_TARGET = re.compile(r"[!-~]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """What names a class when all of it holds. Made by `match`.

    Attributes:
        priority: The class, 0 to 7.
        remote: Network of the peer, such as "10.0.0.0/8".
        remote_port: First and last of the peer's ports.
        vlan: VLAN of the packet that opened the connection; 0: it has no tag, or one of priority.
        pcp: Priority of its tag (IEEE 802.1Q); 0 without one.
        dscp: Of the packet that opened the connection (RFC 2474).
        octets: Offset in the message, bytes there, and the mask of those bits that count.
        http_path: What the request's target begins with.
        http_header: Name, in any case, and value of a header field.
    """

    priority: int
    remote: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    remote_port: tuple[int, int] | None = None
    vlan: int | None = None
    pcp: int | None = None
    dscp: int | None = None
    octets: tuple[int, bytes, bytes] | None = None
    http_path: str | None = None
    http_header: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        check_range("priority", self.priority, 0, PRIORITIES - 1)
        if self.remote is not None:
            _check_kind("remote", self.remote, _NETWORKS, 'a network such as "10.0.0.0/8"')
        if self.remote_port is not None:
            _check_ports(self.remote_port)
        if self.vlan is not None:
            check_range("vlan", self.vlan, 0, VLAN_MAX)
        if self.pcp is not None:
            check_range("pcp", self.pcp, 0, _PCP_MAX)
        if self.dscp is not None:
            check_range("dscp", self.dscp, 0, _DSCP_MAX)
        if self.octets is not None:
            _check_octets(self.octets)
        if self.http_path is not None and self.http_header is not None:
            raise ConfigError("http_path and http_header: one of them for a match")
        if self.http_path is not None:
            _check_text("http_path", self.http_path, _TARGET, _TEXT_MAX)
        if self.http_header is not None:
            _check_parts("http_header", self.http_header, "name and value")
            name, value = self.http_header
            _check_text("name of a header field", name, _TOKEN, _NAME_MAX)
            _check_text("value of a header field", value, _FIELD_VALUE, _TEXT_MAX)


@dataclass(frozen=True, slots=True)
class Classifier:
    """Matches in order, the first that holds says the class; else a function does.

    Attributes:
        matches: At most `MATCHES_MAX`.
        function: Asked when no match holds; None: the class is the listener's.
    """

    matches: tuple[Match, ...]
    function: CompiledClassifier | None = None

    def __post_init__(self) -> None:
        for one in self.matches:
            _check_kind("a match", one, Match, "made by qstack.match")
        if len(self.matches) > MATCHES_MAX:
            raise ConfigError(f"at most {MATCHES_MAX} matches, got {len(self.matches)}")
        if self.function is not None:
            # The library calls its address: another kind of function would read what is not there.
            _check_kind("function", self.function, CompiledClassifier, "made by qstack.classifier")
        elif not self.matches:
            raise ConfigError("a classifier needs a match or a function")


def _check_kind(what: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    if not isinstance(value, kinds):
        raise ConfigError(f"{what} must be {wanted}, got {value!r}")


def _check_parts(what: str, value: object, wanted: str, n: int = 2) -> None:
    if not isinstance(value, tuple) or len(value) != n:
        raise ConfigError(f"{what} must be a tuple of {wanted}, got {value!r}")


def _check_text(what: str, text: object, form: re.Pattern[str], most: int) -> None:
    """Raise ConfigError for a text that no message has there."""
    if not isinstance(text, str):
        raise ConfigError(f"{what} must be text, got {text!r}")
    if not text.isascii():
        raise ConfigError(f"{what} must be ASCII, got {text!r}")
    if not 1 <= len(text) <= most:
        raise ConfigError(f"{what} must have 1..{most} characters, got {text!r}")
    if not form.fullmatch(text):
        raise ConfigError(f"{what}: no message of HTTP has {text!r} there")


def _check_ports(ports: tuple[int, int]) -> None:
    _check_parts("remote_port", ports, "first and last port")
    first, last = ports
    check_range("remote_port", first, 1, _PORT_MAX)
    check_range("remote_port", last, 1, _PORT_MAX)
    if first > last:
        raise ConfigError(f"remote_port: the last, {last}, is before the first, {first}")


def _check_octets(octets: tuple[int, bytes, bytes]) -> None:
    _check_parts("octets", octets, "offset, bytes and mask", 3)
    at, there, mask = octets
    check_range("offset of octets", at, 0, _AT_MAX)
    for part in (there, mask):
        if not isinstance(part, bytes) or not 1 <= len(part) <= _OCTETS_MAX:
            raise ConfigError(f"octets must be 1..{_OCTETS_MAX} bytes, got {part!r}")
    if len(mask) != len(there):
        raise ConfigError(f"a mask of {len(mask)} bytes is given for {len(there)} octets")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    _check_kind("remote", text, str, 'text such as "10.0.0.0/8"')
    try:
        return ipaddress.ip_network(text)
    except ValueError as e:
        raise ConfigError(f"remote: {e}") from None


def _with_mask(octets: tuple[int, bytes] | tuple[int, bytes, bytes]) -> tuple[int, bytes, bytes]:
    if isinstance(octets, tuple) and len(octets) == 2 and isinstance(octets[1], bytes):
        return (*octets, b"\xff" * len(octets[1]))
    return octets


def match(
    priority: int,
    *,
    remote: str | None = None,
    remote_port: int | tuple[int, int] | None = None,
    vlan: int | None = None,
    pcp: int | None = None,
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
        vlan: VLAN of the packet that opened the connection, one that the stack takes
            (`StackConfig.vlans`); 0: none.
        pcp: Priority of its tag (IEEE 802.1Q), 0 to 7; 0 without a tag.
        dscp: Of that packet, 0 to 63.
        octets: Offset in the message and the bytes there, such as ``(4, b"\x01")``; with a mask as
            third those bits that count.
        http_path: What the target of an HTTP/1.1 request begins with, 1 to 63 characters.
        http_header: Name, in any case, of 1 to 31 characters, and value, of 1 to 63, of a header
            field of an HTTP/1.1 message; not together with ``http_path``.

    Raises:
        ConfigError: Out of range, or nothing that a message can have.
    """
    return Match(
        priority=priority,
        remote=None if remote is None else _network(remote),
        remote_port=(remote_port, remote_port) if isinstance(remote_port, int) else remote_port,
        vlan=vlan,
        pcp=pcp,
        dscp=dscp,
        octets=None if octets is None else _with_mask(octets),
        http_path=http_path,
        http_header=http_header,
    )


def classify(*matches: Match, function: CompiledClassifier | None = None) -> Classifier:
    """Return a classifier.

    Args:
        *matches: The first that holds says the class.
        function: Compiled by `qstack.classifier`; asked when none holds.

    Raises:
        ConfigError: There are too many, there is nothing, or it was made by something else.
    """
    return Classifier(matches, function)
