# SPDX-License-Identifier: Apache-2.0
"""Model values to and from the structures of ``linux/ethtool.h``."""

from __future__ import annotations

import struct
from typing import Any, Final

from nicprog._ethtool import ffi, lib
from nicprog.errors import NicprogError
from nicprog.model import ANY, Flow, FlowRule, Masked, Match

RXNFC_BYTES: Final = ffi.sizeof("struct ethtool_rxnfc")

_FLOW_TYPES: Final = {
    Flow.TCP4: lib.TCP_V4_FLOW,
    Flow.UDP4: lib.UDP_V4_FLOW,
    Flow.IP4: lib.IP_USER_FLOW,
    Flow.TCP6: lib.TCP_V6_FLOW,
    Flow.UDP6: lib.UDP_V6_FLOW,
    Flow.IP6: lib.IPV6_USER_FLOW,
}
_FLOWS: Final = {number: flow for flow, number in _FLOW_TYPES.items()}

# A flow's 52 octets, the same for all flows of one IP version: source, destination, two ports or
# the first four octets after the IP header, TOS, and, where not TCP or UDP, version and protocol.
_LAYOUT_4: Final = struct.Struct(">4s4sHHBBB37x")
_LAYOUT_6: Final = struct.Struct(">16s16sHHBB14x")


def new_rxnfc(command: int, **fields: Any) -> Any:
    """A zeroed ``struct ethtool_rxnfc`` with some of its fields set."""
    request = ffi.new("struct ethtool_rxnfc *")
    request.cmd = command
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def as_bytes(structure: Any) -> bytes:
    """The memory of a structure that a cffi pointer points at."""
    return bytes(ffi.buffer(structure))


def from_bytes(kind: str, data: bytes, device: str) -> Any:
    """A copy of the structure ``kind`` (``struct ethtool_...``) at the start of ``data``.

    Raises:
        NicprogError: ``data`` is too short.
    """
    structure = ffi.new(f"{kind} *")
    size = ffi.sizeof(kind)
    if len(data) < size:
        raise NicprogError(f"{device}: answered {len(data)} bytes where {kind} has {size}")
    ffi.memmove(structure, data, size)
    return structure


def encode_rule(rule: FlowRule) -> bytes:
    """``struct ethtool_rxnfc`` that inserts ``rule``."""
    request = new_rxnfc(lib.ETHTOOL_SRXCLSRLINS)
    flow = request.fs
    match = rule.match
    flow.flow_type = _FLOW_TYPES[match.flow]
    value, mask = _encode_match(match)
    ffi.memmove(ffi.addressof(flow, "h_u"), value, len(value))
    ffi.memmove(ffi.addressof(flow, "m_u"), mask, len(mask))
    if match.vlan_tci != ANY:
        flow.flow_type |= lib.FLOW_EXT
        flow.h_ext.vlan_tci = _swap16(match.vlan_tci.value)
        flow.m_ext.vlan_tci = _swap16(match.vlan_tci.mask)
    flow.ring_cookie = lib.RX_CLS_FLOW_DISC if rule.queue is None else rule.queue
    flow.location = rule.location
    return as_bytes(request)


def decode_rule(data: bytes, device: str) -> FlowRule:
    """The rule in a ``struct ethtool_rxnfc``.

    Raises:
        NicprogError: The rule matches on, or does, what nicprog cannot express.
    """
    flow = from_bytes("struct ethtool_rxnfc", data, device).fs
    kind = flow.flow_type & ~lib.FLOW_EXT
    where = f"{device}: the rule at location {flow.location}"
    if kind not in _FLOWS:
        raise NicprogError(
            f"{where} has flow type 0x{flow.flow_type:x}, which this version cannot read"
        )
    extended = bool(flow.flow_type & lib.FLOW_EXT)
    match = _decode_match(
        _FLOWS[kind],
        bytes(ffi.buffer(ffi.addressof(flow, "h_u"))),
        bytes(ffi.buffer(ffi.addressof(flow, "m_u"))),
        _pair(_swap16(flow.h_ext.vlan_tci), _swap16(flow.m_ext.vlan_tci)) if extended else ANY,
    )
    drops = flow.ring_cookie == lib.RX_CLS_FLOW_DISC
    if not drops and flow.ring_cookie >> 32:
        raise NicprogError(
            f"{where} has ring cookie 0x{flow.ring_cookie:x}, which is not a plain queue"
        )
    rule = FlowRule(
        location=flow.location, match=match, queue=None if drops else int(flow.ring_cookie)
    )
    # What was not understood would be lost by a rollback, so it must not pass silently.
    if encode_rule(rule)[_FLOW_AT:_FLOW_END] != data[_FLOW_AT:_FLOW_END]:
        raise NicprogError(f"{where} matches on fields that this version cannot read")
    return rule


_FLOW_AT: Final = ffi.offsetof("struct ethtool_rxnfc", "fs")
_FLOW_END: Final = _FLOW_AT + ffi.offsetof("struct ethtool_rx_flow_spec", "location") + 4


def _encode_match(match: Match) -> tuple[bytes, bytes]:
    fields = (
        match.src, match.dst, match.src_port, match.dst_port, match.tos, match.l4_proto
    )  # fmt: skip
    version = lib.ETH_RX_NFC_IP4 if match.flow is Flow.IP4 else 0
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


def _decode_match(flow: Flow, value: bytes, mask: bytes, vlan_tci: Masked) -> Match:
    layout = _LAYOUT_4 if flow.version == 4 else _LAYOUT_6
    src, dst, src_port, dst_port, tos, *_, proto = layout.unpack(value)
    src_m, dst_m, src_port_m, dst_port_m, tos_m, *_, proto_m = layout.unpack(mask)
    return Match(
        flow=flow,
        src=_address(src, src_m),
        dst=_address(dst, dst_m),
        src_port=_pair(src_port, src_port_m),
        dst_port=_pair(dst_port, dst_port_m),
        tos=_pair(tos, tos_m),
        vlan_tci=vlan_tci,
        l4_proto=_pair(proto, proto_m) if flow.protocol == "any" else ANY,
    )


def _address(value: bytes, mask: bytes) -> Masked:
    return _pair(int.from_bytes(value, "big"), int.from_bytes(mask, "big"))


def _pair(value: int, mask: int) -> Masked:
    """Bits outside the mask mean nothing; decode_rule() notices when there were any."""
    return Masked(value=value & mask, mask=mask) if mask else ANY


def _swap16(number: int) -> int:
    return int.from_bytes(number.to_bytes(2, "little"), "big")
