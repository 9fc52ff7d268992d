# SPDX-License-Identifier: Apache-2.0
"""What a rule compares, as options of ``ethtool -N``, to and from a match.

A mask follows its value as ``m MASK``; there 1 means that a bit is left out, unlike anywhere else
here. Without a mask all bits are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from nicprog.model import ANY, Flow, Masked, Match

FLOW_WORDS: Final = {flow.name.lower(): flow for flow in Flow}
"""``tcp4``, ``udp6``, ``ip4``, ..."""

FIELDS: Final = {
    "src-ip": "src",
    "dst-ip": "dst",
    "src-port": "src_port",
    "dst-port": "dst_port",
    "tos": "tos",
    "tclass": "tos",
    "l4proto": "l4_proto",
    "vlan": "vlan_tci",
}
"""Option to field of a match."""

_ADDRESSES: Final = ("src", "dst")


def has_option(flow: Flow, option: str) -> bool:
    """Whether ethtool has this option for this flow type."""
    if option in ("tos", "tclass"):
        return option == _traffic_class(flow)
    return option in FIELDS and (option != "l4proto" or flow.protocol == "any")


def bits(flow: Flow, field: str) -> int:
    """Width of a field of a match."""
    if field in _ADDRESSES:
        return flow.address_bits
    return 8 if field in ("tos", "l4_proto") else 16


def number(flow: Flow, field: str, text: str) -> int:
    """Reads a value or mask of a field.

    Raises:
        ValueError: It is none, or does not fit.
    """
    if field in _ADDRESSES:
        return int(IPv4Address(text) if flow.version == 4 else IPv6Address(text))
    return integer(text, bits(flow, field))


def integer(text: str, width: int) -> int:
    """Reads a number as C's strtoull does: 0x is hexadecimal, a leading 0 octal.

    Raises:
        ValueError: It is none, or needs more than ``width`` bits.
    """
    octal = text.startswith("0") and text.isdecimal() and text != "0"
    value = int(text, 8 if octal else 0)
    if not 0 <= value < 1 << width:
        raise ValueError(f"{text} does not fit into {width} bits")
    return value


def options(match: Match) -> Iterator[str]:
    """The words of ``flow-type`` that compare what ``match`` does."""
    flow = match.flow
    yield flow.name.lower()
    for option, field in FIELDS.items():
        item: Masked = getattr(match, field)
        if item == ANY or not has_option(flow, option):
            continue
        yield from (option, _text(flow, field, item.value))
        left_out = ((1 << bits(flow, field)) - 1) & ~item.mask
        if left_out:
            yield from ("m", _text(flow, field, left_out, is_mask=True))


def _text(flow: Flow, field: str, value: int, *, is_mask: bool = False) -> str:
    if field in _ADDRESSES:
        return str(IPv4Address(value) if flow.version == 4 else IPv6Address(value))
    return f"0x{value:x}" if is_mask else str(value)


def _traffic_class(flow: Flow) -> str:
    return "tos" if flow.version == 4 else "tclass"
