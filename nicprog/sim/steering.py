# SPDX-License-Identifier: Apache-2.0
"""Where a model NIC sends a packet: the first rule that takes it, else hash and table."""

from __future__ import annotations

from functools import cache
from typing import Final

from nicprog._ethtool import ffi
from nicprog.errors import NicprogError
from nicprog.ethtool import HashFunction, rules
from nicprog.ethtool.rules import FlowType, RxAction, RxRule
from nicprog.packet import Packet, flow_type, hash_input, toeplitz
from nicprog.sim.nic import SimNic

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
        if not _takes(nic, rule, packet):
            continue
        if rule.action is RxAction.DROP:
            return None
        if rule.context is None:
            return rule.queue
        return _spread(nic, rule.context, packet) + rule.queue
    return _spread(nic, 0, packet)


@cache
def _decoded(data: bytes, device: str) -> RxRule:
    request = ffi.new("struct ethtool_rxnfc *")
    ffi.memmove(request, data, len(data))
    return rules.decode(request, device)


def _takes(nic: SimNic, rule: RxRule, packet: Packet) -> bool:
    if "idle-rules" in nic.quirks and rule.flow not in (FlowType.TCP4, FlowType.UDP4):
        return False
    if rule.flow is not FlowType.ETHER:
        version, protocol = _FLOWS[rule.flow]
        protocols = {None, packet.protocol}
        if "ignores-protocol" in nic.quirks and packet.protocol in (_TCP, _UDP):
            protocols |= {_TCP, _UDP}
        if packet.version != version or protocol not in protocols:
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


def _spread(nic: SimNic, number: int, packet: Packet) -> int:
    table, hashing = nic.contexts[number].table, nic.hashing(number)
    if not table:
        return 0
    if not packet.version or not hashing.key:
        return table[0]
    if hashing.function is not HashFunction.TOEPLITZ:
        raise NicprogError(f"{nic.device}: {hashing.function.name} is not in the model")
    key = hashing.key[::-1] if "another-hash" in nic.quirks else hashing.key
    if "shifted-key" in nic.quirks:
        key = b"\0" + key[:-1]
    data = hash_input(packet, nic.fields(number)[flow_type(packet)], hashing.transform)
    return table[toeplitz(key, data) % len(table)]
