# SPDX-License-Identifier: Apache-2.0
"""Where a model NIC sends a packet: the first rule that takes it, else hash and table."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Final

from nicprog._ethtool import ffi
from nicprog.errors import NicprogError
from nicprog.ethtool import HashField, HashFunction, InputTransform, rules
from nicprog.ethtool.rules import FlowType, RxAction, RxRule
from nicprog.sim.nic import Context, SimNic

_TCP, _UDP, _SCTP, _ESP, _AH = 6, 17, 132, 50, 51
_FLOWS: Final = {
    FlowType.TCP4: (4, _TCP),
    FlowType.UDP4: (4, _UDP),
    FlowType.SCTP4: (4, _SCTP),
    FlowType.AH4: (4, _AH),
    FlowType.ESP4: (4, _ESP),
    FlowType.IP4_RULE: (4, None),
    FlowType.TCP6: (6, _TCP),
    FlowType.UDP6: (6, _UDP),
    FlowType.SCTP6: (6, _SCTP),
    FlowType.AH6: (6, _AH),
    FlowType.ESP6: (6, _ESP),
    FlowType.IP6_RULE: (6, None),
}
_HASHED: Final = {
    (4, _TCP): FlowType.TCP4,
    (4, _UDP): FlowType.UDP4,
    (6, _TCP): FlowType.TCP6,
    (6, _UDP): FlowType.UDP6,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """What a NIC looks at.

    Attributes:
        version: IP version; 0 for a frame that is not IP, which goes to the first entry's queue.
        src, dst: Addresses as integers.
        protocol: IP protocol or next header.
        l4: First four octets after the IP header as an integer: the ports.
        tos: TOS or traffic class.
        vlan_tci: Tag, or None.
        dst_mac, src_mac, ether_type: Of the frame.
        octets: Length of the frame.
    """

    version: int
    src: int = 0
    dst: int = 0
    protocol: int = 0
    l4: int = 0
    tos: int = 0
    vlan_tci: int | None = None
    dst_mac: int = 0
    src_mac: int = 0
    ether_type: int = 0
    octets: int = 0

    @classmethod
    def of(cls, src: str, dst: str, src_port: int, dst_port: int, protocol: int = _TCP) -> Packet:
        """A packet of a 5-tuple; addresses as text."""
        one, other = ip_address(src), ip_address(dst)
        if one.version != other.version:
            raise ValueError(f"{src} and {dst} differ in IP version")
        return cls(
            version=one.version,
            src=int(one),
            dst=int(other),
            protocol=protocol,
            l4=src_port << 16 | dst_port,
        )

    @classmethod
    def parse(cls, frame: bytes) -> Packet:
        """Reads an Ethernet frame; cut off or unknown is not IP; fragments have no ports."""
        if len(frame) < 14:
            raise ValueError(f"a frame has at least 14 octets, got {len(frame)}")
        at, tag = 12, None
        (ether_type,) = struct.unpack_from(">H", frame, at)
        if ether_type == 0x8100 and len(frame) >= 18:
            tag, ether_type = struct.unpack_from(">HH", frame, 14)
            at = 16
        ether = {
            "vlan_tci": tag,
            "dst_mac": int.from_bytes(frame[:6], "big"),
            "src_mac": int.from_bytes(frame[6:12], "big"),
            "ether_type": ether_type,
            "octets": len(frame),
        }
        ip = frame[at + 2 :]
        if ether_type == 0x0800 and len(ip) >= 20:
            after = 4 * (ip[0] & 15)
            fragment = int.from_bytes(ip[6:8], "big") & 0x3FFF
            protocol, tos, src, dst = ip[9], ip[1], ip[12:16], ip[16:20]
        elif ether_type == 0x86DD and len(ip) >= 40:
            after, fragment = 40, 0
            protocol, src, dst = ip[6], ip[8:24], ip[24:40]
            tos = int.from_bytes(ip[:2], "big") >> 4 & 0xFF
        else:
            return cls(version=0, **ether)
        return cls(
            version=4 if len(src) == 4 else 6,
            src=int.from_bytes(src, "big"),
            dst=int.from_bytes(dst, "big"),
            protocol=protocol,
            l4=0 if fragment else int.from_bytes(ip[after : after + 4].ljust(4, b"\0"), "big"),
            tos=tos,
            **ether,
        )


def deliver(nic: SimNic, packet: Packet | bytes) -> int | None:
    """Sends a packet, or a frame, through the NIC and counts it.

    Returns:
        Queue that gets it, or None when a rule drops it.

    Raises:
        NicprogError: A rule compares what the model does not know, or the hash is not Toeplitz.
    """
    seen = Packet.parse(packet) if isinstance(packet, bytes) else packet
    queue = _queue(nic, seen)
    if queue is not None:
        packets, octets = nic.received.get(queue, (0, 0))
        nic.received[queue] = packets + 1, octets + seen.octets
    return queue


def _queue(nic: SimNic, packet: Packet) -> int | None:
    for item in nic.in_order() if nic.ntuple else ():
        rule = _decoded(item.data, nic.device)
        if not _takes(rule, packet):
            continue
        if rule.action is RxAction.DROP:
            return None
        if rule.context is None:
            return rule.queue
        return _spread(nic, nic.contexts[rule.context], packet)
    return _spread(nic, nic.contexts[0], packet)


@cache
def _decoded(data: bytes, device: str) -> RxRule:
    request = ffi.new("struct ethtool_rxnfc *")
    ffi.memmove(request, data, len(data))
    return rules.decode(request, device)


def _takes(rule: RxRule, packet: Packet) -> bool:
    if rule.flow is not FlowType.ETHER:
        version, protocol = _FLOWS[rule.flow]
        if packet.version != version or protocol not in (None, packet.protocol):
            return False
    match = rule.match
    if match.vlan_tci.mask and packet.vlan_tci is None:
        return False
    if match.vlan_etype.mask or match.user_def.mask:
        raise NicprogError(f"the rule at location {rule.location} compares what only drivers know")
    compared = (
        (match.src, packet.src),
        (match.dst, packet.dst),
        (match.src_port, packet.l4 >> 16),
        (match.dst_port, packet.l4 & 0xFFFF),
        (match.l4_octets, packet.l4),
        (match.spi, packet.l4),
        (match.tos, packet.tos),
        (match.protocol, packet.protocol),
        (match.vlan_tci, packet.vlan_tci or 0),
        (match.dst_mac, packet.dst_mac),
        (match.src_mac, packet.src_mac),
        (match.ether_type, packet.ether_type),
    )
    return all(number & field.mask == field.value for field, number in compared)


def _spread(nic: SimNic, context: Context, packet: Packet) -> int:
    if not context.table:
        return 0
    if not packet.version or not context.key:
        return context.table[0]
    if context.function is not HashFunction.TOEPLITZ:
        raise NicprogError(f"{nic.device}: {context.function.name} is not in the model")
    flow = _HASHED.get((packet.version, packet.protocol))
    if flow is None:
        flow = FlowType.IP4 if packet.version == 4 else FlowType.IP6
    key = context.key[::-1] if "another-hash" in nic.quirks else context.key
    data = hash_input(packet, nic.hashed[flow], context.transform)
    return context.table[toeplitz(key, data) % len(context.table)]


def hash_input(packet: Packet, fields: HashField, transform: InputTransform) -> bytes:
    """What is hashed of a packet: addresses, then ports, each pair source first."""
    bits = 32 if packet.version == 4 else 128
    src, dst = packet.src, packet.dst
    src_port, dst_port = packet.l4 >> 16, packet.l4 & 0xFFFF
    if transform is InputTransform.SYMMETRIC_XOR:
        src = dst = src ^ dst
        src_port = dst_port = src_port ^ dst_port
    elif transform is InputTransform.SYMMETRIC_OR_XOR:
        src, dst = src | dst, src ^ dst
        src_port, dst_port = src_port | dst_port, src_port ^ dst_port
    parts = (
        (HashField.SRC, src, bits),
        (HashField.DST, dst, bits),
        (HashField.SRC_PORT, src_port, 16),
        (HashField.DST_PORT, dst_port, 16),
    )
    return b"".join(value.to_bytes(size // 8, "big") for bit, value, size in parts if fields & bit)


def toeplitz(key: bytes, data: bytes) -> int:
    """32 bits; ``key`` has at least four octets more than ``data``."""
    if len(key) < len(data) + 4:
        raise ValueError(f"a key of {len(key)} octets is too short for {len(data)} octets")
    stream, size = int.from_bytes(key, "big"), 8 * len(key)
    result = 0
    for at in range(8 * len(data)):
        if data[at >> 3] & 0x80 >> (at & 7):
            result ^= stream >> size - 32 - at & 0xFFFF_FFFF
    return result
