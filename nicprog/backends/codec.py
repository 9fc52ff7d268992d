# SPDX-License-Identifier: Apache-2.0
"""Model values to and from the structures of ``linux/ethtool.h``.

Rules are packed as a whole, since a NIC may hold thousands of them; the offsets are those that the
C part asserts when it is built.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from nicprog._ethtool import lib
from nicprog.errors import NicprogError
from nicprog.model import ANY, Flow, FlowRule, Masked, Match

_FLOW_TYPES: Final = {
    Flow.TCP4: lib.TCP_V4_FLOW,
    Flow.UDP4: lib.UDP_V4_FLOW,
    Flow.IP4: lib.IP_USER_FLOW,
    Flow.TCP6: lib.TCP_V6_FLOW,
    Flow.UDP6: lib.UDP_V6_FLOW,
    Flow.IP6: lib.IPV6_USER_FLOW,
}
_FLOWS: Final = {number: flow for flow, number in _FLOW_TYPES.items()}
_FLOW_EXT: Final[int] = lib.FLOW_EXT
_FLOW_RSS: Final[int] = lib.FLOW_RSS
_DROP: Final[int] = lib.RX_CLS_FLOW_DISC
_INSERT: Final[int] = lib.ETHTOOL_SRXCLSRLINS
_IP4: Final[int] = lib.ETH_RX_NFC_IP4

# cmd; then fs: flow_type, h_u, h_ext, m_u, m_ext, ring_cookie, location; then the context.
_RULE: Final = struct.Struct("=I12xI52s20s52s20s4xQI4xI4x")

# A flow's 52 octets, the same for all flows of one IP version: source, destination, two ports or
# the first four octets after the IP header, TOS, and, where not TCP or UDP, version and protocol.
_LAYOUT_4: Final = struct.Struct(">4s4sHHBBB37x")
_LAYOUT_6: Final = struct.Struct(">16s16sHHBB14x")

_EXT: Final = struct.Struct(">10xH8x")  # vlan_tci of struct ethtool_flow_ext
_NO_EXT: Final = bytes(_EXT.size)


_NO_NAMES: Final[Mapping[int, str]] = {}


def at_location(command: int, location: int) -> bytes:
    """``struct ethtool_rxnfc`` of a command that needs a location only."""
    return _RULE.pack(command, 0, b"", b"", b"", b"", 0, location, 0)


def encode_rule(rule: FlowRule, context: int | None = None) -> bytes:
    """``struct ethtool_rxnfc`` that inserts ``rule``, with the number of its RSS context."""
    match = rule.match
    value, mask = _encode_match(match)
    flow_type, value_ext, mask_ext = _FLOW_TYPES[match.flow], _NO_EXT, _NO_EXT
    if match.vlan_tci != ANY:
        flow_type |= _FLOW_EXT
        value_ext, mask_ext = _EXT.pack(match.vlan_tci.value), _EXT.pack(match.vlan_tci.mask)
    if context is not None:
        flow_type |= _FLOW_RSS
    cookie = _DROP if rule.queue is None else rule.queue
    return _RULE.pack(
        _INSERT, flow_type, value, value_ext, mask, mask_ext, cookie, rule.location, context or 0
    )


def decode_rule(data: bytes, device: str, names: Mapping[int, str] = _NO_NAMES) -> FlowRule:
    """The rule in a ``struct ethtool_rxnfc``; ``names`` are those of contexts by number.

    A context without a name is ``#N``.

    Raises:
        NicprogError: The rule matches on, or does, what nicprog cannot express.
    """
    if len(data) != _RULE.size:
        raise NicprogError(f"{device}: answered {len(data)} bytes where a rule has {_RULE.size}")
    _, flow_type, value, value_ext, mask, mask_ext, cookie, location, number = _RULE.unpack(data)
    flow = _FLOWS.get(flow_type & ~(_FLOW_EXT | _FLOW_RSS))
    context = names.get(number, f"#{number}") if flow_type & _FLOW_RSS else None
    try:
        if flow is None:
            raise _Unreadable(f"has flow type 0x{flow_type:x}, which this version cannot read")
        if cookie != _DROP and cookie >> 32:
            raise _Unreadable(f"has ring cookie 0x{cookie:x}, which is not a plain queue")
        if cookie == _DROP and context is not None:
            raise _Unreadable("drops and names an RSS context, which this version cannot read")
        match = _decode_match(flow, value, mask, _decode_ext(value_ext, mask_ext))
        if (match.vlan_tci != ANY) != bool(flow_type & _FLOW_EXT):
            raise _Unreadable(_MORE)
    except _Unreadable as error:
        raise NicprogError(f"{device}: the rule at location {location} {error}") from None
    queue = None if cookie == _DROP else cookie
    return FlowRule(location=location, match=match, queue=queue, context=context)


_MORE: Final = "matches on fields that this version cannot read"


class _Unreadable(Exception):
    """A rule holds more than nicprog can express, which a rollback would lose."""


def _encode_match(match: Match) -> tuple[bytes, bytes]:
    fields = (
        match.src, match.dst, match.src_port, match.dst_port, match.tos, match.l4_proto
    )  # fmt: skip
    version = _IP4 if match.flow is Flow.IP4 else 0
    return (
        _pack(match.flow, [f.value for f in fields], version),
        _pack(match.flow, [f.mask for f in fields], 0),
    )


def _pack(flow: Flow, numbers: list[int], ip_version: int) -> bytes:
    src, dst, src_port, dst_port, tos, proto = numbers
    size = flow.address_bits // 8
    addresses = src.to_bytes(size, "big"), dst.to_bytes(size, "big")
    if flow.version == 4:
        return _LAYOUT_4.pack(*addresses, src_port, dst_port, tos, ip_version, proto)
    return _LAYOUT_6.pack(*addresses, src_port, dst_port, tos, proto)


def _decode_ext(value: bytes, mask: bytes) -> Masked:
    if value == mask == _NO_EXT:
        return ANY
    (value_tci,), (mask_tci,) = _EXT.unpack(value), _EXT.unpack(mask)
    if (value, mask) != (_EXT.pack(value_tci), _EXT.pack(mask_tci)):
        raise _Unreadable(_MORE)
    return _pair(value_tci, mask_tci)


def _decode_match(flow: Flow, value: bytes, mask: bytes, vlan_tci: Masked) -> Match:
    layout, used = (_LAYOUT_4, 15) if flow.version == 4 else (_LAYOUT_6, 38)
    src, dst, src_port, dst_port, tos, *version, proto = layout.unpack(value)
    src_m, dst_m, src_port_m, dst_port_m, tos_m, *version_m, proto_m = layout.unpack(mask)
    if any(value[used:]) or any(mask[used:]) or any(version_m):
        raise _Unreadable(_MORE)
    if any(version) and (flow is not Flow.IP4 or version != [_IP4]):
        raise _Unreadable(_MORE)
    if (proto or proto_m) and flow.protocol != "any":
        raise _Unreadable(_MORE)
    return Match(
        flow=flow,
        src=_pair(int.from_bytes(src, "big"), int.from_bytes(src_m, "big")),
        dst=_pair(int.from_bytes(dst, "big"), int.from_bytes(dst_m, "big")),
        src_port=_pair(src_port, src_port_m),
        dst_port=_pair(dst_port, dst_port_m),
        tos=_pair(tos, tos_m),
        vlan_tci=vlan_tci,
        l4_proto=_pair(proto, proto_m),
    )


def _pair(value: int, mask: int) -> Masked:
    if value & ~mask:
        raise _Unreadable(_MORE)
    return Masked(value=value, mask=mask) if mask else ANY


class RuleHead(NamedTuple):
    """What says where a rule is and where it sends packets.

    Attributes:
        flow_type: With its flags.
        queue: RX queue, or None for a rule that drops.
        location: Slot, or one of the special ones.
        context: RSS context; means something with the flag FLOW_RSS only.
    """

    flow_type: int
    queue: int | None
    location: int
    context: int


_HEAD: Final = struct.Struct("=16xI148xQI4xI4x")
_LOCATION: Final = struct.Struct("=I")
_LOCATION_AT: Final = 176
_TOS_AT: Final = {4: 12, 6: 36}
_VALUE_AT, _MASK_AT, _VALUE_EXT_AT, _MASK_EXT_AT = 20, 92, 72, 144


def rule_head(data: bytes) -> RuleHead:
    """Reads the head of the rule in a ``struct ethtool_rxnfc``."""
    flow_type, cookie, location, context = _HEAD.unpack(data)
    queue = None if cookie == _DROP else cookie & 0xFFFF_FFFF
    return RuleHead(flow_type, queue, location, context)


def shape(data: bytes) -> bytes:
    """The same rule at location 0 with all values 0: which fields it compares, not with what."""
    _, flow_type, _, _, mask, mask_ext, cookie, _, _ = _RULE.unpack(data)
    cookie = cookie if cookie == _DROP else 0
    return _RULE.pack(_INSERT, flow_type, b"", b"", mask, mask_ext, cookie, 0, 0)


def at(data: bytes, location: int) -> bytes:
    """The same ``struct ethtool_rxnfc`` with another location."""
    return data[:_LOCATION_AT] + _LOCATION.pack(location) + data[_LOCATION_AT + 4 :]


def without_tos_and_tag(data: bytes) -> bytes:
    """The same rule for any TOS and VLAN."""
    changed = bytearray(data)
    flow_type = rule_head(data).flow_type & ~_FLOW_EXT
    struct.pack_into("=I", changed, 16, flow_type)
    flow = _FLOWS.get(flow_type & ~_FLOW_RSS)
    for start in (_VALUE_EXT_AT, _MASK_EXT_AT):
        changed[start : start + _EXT.size] = _NO_EXT
    if flow is not None:
        for start in (_VALUE_AT, _MASK_AT):
            changed[start + _TOS_AT[flow.version]] = 0
    return bytes(changed)
