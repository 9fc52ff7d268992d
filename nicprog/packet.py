# SPDX-License-Identifier: Apache-2.0
"""What NICs look at in a packet, and the hash that they spread packets by."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from nicprog.ethtool.rules import FlowType, HashField
from nicprog.ethtool.values import InputTransform

_TCP, _UDP = 6, 17
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
    def of_text(cls, protocol: str, src: str, dst: str, tos: int = 0) -> Packet:
        """A packet of a 5-tuple as people write it.

        Args:
            protocol: ``tcp``, ``udp`` or a number.
            src: ``192.0.2.1:40000``, ``[2001:db8::1]:40000``, or an address without a port.
            dst: Likewise.
            tos: TOS or traffic class.

        Raises:
            ValueError: With what is wrong.
        """
        known = {"tcp": _TCP, "udp": _UDP}
        if protocol not in known and not (protocol.isdecimal() and int(protocol) < 256):
            raise ValueError(f"{protocol!r} is neither tcp nor udp nor a number below 256")
        if not 0 <= tos < 256:
            raise ValueError(f"a TOS is 0 to 255, got {tos}")
        (one, src_port), (other, dst_port) = _endpoint(src), _endpoint(dst)
        number = known.get(protocol) or int(protocol)
        return replace(cls.of(one, other, src_port, dst_port, number), tos=tos)

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


def _endpoint(text: str) -> tuple[str, int]:
    try:
        if text.count(":") > 1 and "[" not in text:  # IPv6 without a port
            return str(ip_address(text)), 0
        parts = urlsplit(f"//{text}")
        return str(ip_address(parts.hostname or "")), parts.port or 0
    except ValueError:
        raise ValueError(f"{text!r} is not an address, ADDRESS:PORT or [ADDRESS]:PORT") from None


def flow_type(packet: Packet) -> FlowType:
    """The kind of an IP packet that settings of hashed fields are for."""
    rest = FlowType.IP4 if packet.version == 4 else FlowType.IP6
    return _HASHED.get((packet.version, packet.protocol), rest)


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
