# SPDX-License-Identifier: Apache-2.0
"""Flow rules with every field of ``struct ethtool_rx_flow_spec``, to and from that structure.

nicprog's own rules (:mod:`nicprog.model`) are fewer and packed faster, by
:mod:`nicprog.backends.codec`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum, IntEnum, IntFlag, auto
from typing import Any, Final

from nicprog._ethtool import ffi, lib
from nicprog.errors import NicprogError
from nicprog.model import ANY, Masked


class FlowType(IntEnum):
    """Kinds of packets.

    ``IP4``, ``IP6``, ``AH_ESP4`` and ``AH_ESP6`` are for hashed fields only, ``IP4_RULE``,
    ``IP6_RULE`` and ``ETHER`` for rules only.
    """

    TCP4 = lib.TCP_V4_FLOW
    UDP4 = lib.UDP_V4_FLOW
    SCTP4 = lib.SCTP_V4_FLOW
    AH_ESP4 = lib.AH_ESP_V4_FLOW
    TCP6 = lib.TCP_V6_FLOW
    UDP6 = lib.UDP_V6_FLOW
    SCTP6 = lib.SCTP_V6_FLOW
    AH_ESP6 = lib.AH_ESP_V6_FLOW
    AH4 = lib.AH_V4_FLOW
    ESP4 = lib.ESP_V4_FLOW
    AH6 = lib.AH_V6_FLOW
    ESP6 = lib.ESP_V6_FLOW
    IP4_RULE = lib.IP_USER_FLOW
    IP6_RULE = lib.IPV6_USER_FLOW
    IP4 = lib.IPV4_FLOW
    IP6 = lib.IPV6_FLOW
    ETHER = lib.ETHER_FLOW


class HashField(IntFlag):
    """Fields of a packet that go into the RSS hash."""

    DST_MAC = 1 << 1
    VLAN = 1 << 2
    PROTOCOL = 1 << 3
    SRC = 1 << 4
    DST = 1 << 5
    SRC_PORT = 1 << 6
    DST_PORT = 1 << 7
    GTP_TEID = 1 << 8
    IP6_FLOW_LABEL = 1 << 9
    DISCARD = 1 << 31


class RxAction(Enum):
    """What a rule does with a packet."""

    QUEUE = auto()
    DROP = auto()
    WAKE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class RxMatch:
    """Which packets a rule takes, as integers in the packet's own (network) order.

    Which fields a rule may compare depends on its flow type; ``vlan_*``, ``user_def`` and
    ``dst_mac`` go with all.

    Attributes:
        dst_mac, src_mac: 48 bits; ``src_mac`` for ETHER only.
        ether_type: 16 bits, ETHER only.
        src, dst: IP addresses, 32 or 128 bits.
        src_port, dst_port: 16 bits, TCP, UDP and SCTP.
        spi: 32 bits, AH and ESP.
        l4_octets: The 32 bits after the IP header, IP4_RULE and IP6_RULE.
        tos: IPv4 TOS or IPv6 traffic class, 8 bits.
        protocol: IP protocol or next header, 8 bits, IP4_RULE and IP6_RULE.
        vlan_etype, vlan_tci: 16 bits each.
        user_def: 64 bits that the driver defines.
    """

    dst_mac: Masked = ANY
    src_mac: Masked = ANY
    ether_type: Masked = ANY
    src: Masked = ANY
    dst: Masked = ANY
    src_port: Masked = ANY
    dst_port: Masked = ANY
    spi: Masked = ANY
    l4_octets: Masked = ANY
    tos: Masked = ANY
    protocol: Masked = ANY
    vlan_etype: Masked = ANY
    vlan_tci: Masked = ANY
    user_def: Masked = ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class RxRule:
    """One flow rule; the lowest location that matches wins.

    Attributes:
        flow: Kind of packet.
        match: What is compared.
        location: Slot; an explicit one silently replaces the rule that is there. Or one of the
            ``LOCATION_*``, where the driver takes them.
        action: What happens to the packet.
        queue: RX queue, when the action is QUEUE.
        vf: The octet of the virtual function, when the action is QUEUE: 0 is the NIC itself;
            Intel's drivers count their functions from 1.
        context: RSS context that spreads the packets, or None.
    """

    flow: FlowType
    match: RxMatch
    location: int
    action: RxAction = RxAction.QUEUE
    queue: int = 0
    vf: int = 0
    context: int | None = None

    def __post_init__(self) -> None:
        if self.flow not in _LAYOUTS:
            raise ValueError(f"flow type {self.flow.name} is for hashed fields, not for rules")
        places = _places(self.flow)
        for name, item in _compared(self.match).items():
            if name not in places:
                raise ValueError(f"a rule of flow type {self.flow.name} cannot compare {name}")
            bits = 8 * places[name].octets
            if not item.fits(bits):
                raise ValueError(f"{name} does not fit into {bits} bits")
        for name, value, bits in (
            ("location", self.location, 32),
            ("queue", self.queue, 32),
            ("vf", self.vf, 8),
            ("context", self.context or 0, 32),
        ):
            if not 0 <= value < 1 << bits:
                raise ValueError(f"{name} must be 0 to 2**{bits} - 1, got {value}")
        if self.action is not RxAction.QUEUE and (self.queue or self.vf):
            raise ValueError("a rule that drops or wakes has no queue")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a field is: in the 52 octets of the flow type or in ``struct ethtool_flow_ext``."""

    at: int
    octets: int
    ext: bool = False


def _ip(size: int, tos_at: int, **more: _Place) -> dict[str, _Place]:
    """Both addresses of ``size`` octets first, then what ``more`` says."""
    return {
        "src": _Place(0, size),
        "dst": _Place(size, size),
        "tos": _Place(tos_at, 1),
        **more,
    }


_PORTS4: Final = _ip(4, 12, src_port=_Place(8, 2), dst_port=_Place(10, 2))
_PORTS6: Final = _ip(16, 36, src_port=_Place(32, 2), dst_port=_Place(34, 2))
_SPI4: Final = _ip(4, 12, spi=_Place(8, 4))
_SPI6: Final = _ip(16, 36, spi=_Place(32, 4))
_LAYOUTS: Final[dict[FlowType, dict[str, _Place]]] = {
    **dict.fromkeys((FlowType.TCP4, FlowType.UDP4, FlowType.SCTP4), _PORTS4),
    **dict.fromkeys((FlowType.TCP6, FlowType.UDP6, FlowType.SCTP6), _PORTS6),
    **dict.fromkeys((FlowType.AH4, FlowType.ESP4), _SPI4),
    **dict.fromkeys((FlowType.AH6, FlowType.ESP6), _SPI6),
    FlowType.IP4_RULE: _ip(4, 12, l4_octets=_Place(8, 4), protocol=_Place(14, 1)),
    FlowType.IP6_RULE: _ip(16, 36, l4_octets=_Place(32, 4), protocol=_Place(37, 1)),
    FlowType.ETHER: {
        "dst_mac": _Place(0, 6),
        "src_mac": _Place(6, 6),
        "ether_type": _Place(12, 2),
    },
}
_TAG: Final = {
    "vlan_etype": _Place(8, 2, ext=True),
    "vlan_tci": _Place(10, 2, ext=True),
    "user_def": _Place(12, 8, ext=True),
}
_MAC: Final = {"dst_mac": _Place(2, 6, ext=True)}
_IP_VERSION_AT: Final = 13
_FLAGS: Final[int] = lib.FLOW_EXT | lib.FLOW_MAC_EXT | lib.FLOW_RSS


def _places(flow: FlowType) -> dict[str, _Place]:
    return _MAC | _LAYOUTS[flow] | _TAG


def _compared(match: RxMatch) -> dict[str, Masked]:
    return {f.name: item for f in fields(match) if (item := getattr(match, f.name)).mask}


def encode(rule: RxRule, command: int) -> Any:
    """``struct ethtool_rxnfc`` with ``rule`` in it."""
    request = ffi.new("struct ethtool_rxnfc *")
    request.cmd = command
    spec = request.fs
    spec.flow_type = rule.flow
    places = _places(rule.flow)
    for name, item in _compared(rule.match).items():
        place = places[name]
        if place.ext:
            spec.flow_type |= lib.FLOW_MAC_EXT if name in _MAC else lib.FLOW_EXT
        for prefix, number in (("h", item.value), ("m", item.mask)):
            octets = number.to_bytes(place.octets, "big")
            _part(spec, prefix, place)[place.at : place.at + place.octets] = octets
    if rule.flow is FlowType.IP4_RULE:
        spec.h_u.usr_ip4_spec.ip_ver = lib.ETH_RX_NFC_IP4
    if rule.context is not None:
        spec.flow_type |= lib.FLOW_RSS
        request.rss_context = rule.context
    cookies = {RxAction.DROP: lib.RX_CLS_FLOW_DISC, RxAction.WAKE: lib.RX_CLS_FLOW_WAKE}
    spec.ring_cookie = cookies.get(rule.action, rule.queue | rule.vf << 32)
    spec.location = rule.location
    return request


def decode(answer: Any, device: str) -> RxRule:
    """The rule in a ``struct ethtool_rxnfc``; bits of values outside of their masks are left out.

    Raises:
        NicprogError: The rule has a flow type, a field or an action that this does not know.
    """
    spec = answer.fs
    where = f"{device}: the rule at location {spec.location}"
    try:
        flow = FlowType(spec.flow_type & ~_FLAGS)
        places = _LAYOUTS[flow]
    except (ValueError, KeyError):
        raise NicprogError(f"{where} has the unknown flow type 0x{spec.flow_type:x}") from None
    if spec.flow_type & lib.FLOW_MAC_EXT:
        places = _MAC | places
    if spec.flow_type & lib.FLOW_EXT:
        places = places | _TAG
    match = RxMatch(**{name: _read(spec, place) for name, place in places.items()})
    _check_all_read(spec, places, flow, where)
    action, queue, vf = _decode_cookie(spec.ring_cookie, where)
    return RxRule(
        flow=flow,
        match=match,
        location=spec.location,
        action=action,
        queue=queue,
        vf=vf,
        context=answer.rss_context if spec.flow_type & lib.FLOW_RSS else None,
    )


def _part(spec: Any, prefix: str, place: _Place) -> Any:
    """The memory of value (``h``) or mask (``m``) that a field is in."""
    return ffi.buffer(ffi.addressof(spec, f"{prefix}_{'ext' if place.ext else 'u'}"))


def _read(spec: Any, place: _Place) -> Masked:
    value, mask = (
        int.from_bytes(_part(spec, prefix, place)[place.at : place.at + place.octets], "big")
        for prefix in "hm"
    )
    return Masked(value=value & mask, mask=mask) if mask else ANY


def _check_all_read(spec: Any, places: dict[str, _Place], flow: FlowType, where: str) -> None:
    """No mask may have a bit outside of the known fields: the rule would read as a broader one."""
    left = bytearray(ffi.buffer(ffi.addressof(spec, "m_u")))
    if flow is FlowType.IP4_RULE:
        left[_IP_VERSION_AT] = 0  # some drivers want it set, some clear; it is always IPv4
    for place in places.values():
        if not place.ext:
            left[place.at : place.at + place.octets] = bytes(place.octets)
    if any(left):
        raise NicprogError(f"{where} compares fields that flow type {flow.name} does not have")


def _decode_cookie(cookie: int, where: str) -> tuple[RxAction, int, int]:
    if cookie == lib.RX_CLS_FLOW_DISC:
        return RxAction.DROP, 0, 0
    if cookie == lib.RX_CLS_FLOW_WAKE:
        return RxAction.WAKE, 0, 0
    if cookie >> 40:
        raise NicprogError(f"{where} has the unknown ring cookie 0x{cookie:x}")
    return RxAction.QUEUE, cookie & 0xFFFF_FFFF, cookie >> 32
