# SPDX-License-Identifier: Apache-2.0
"""Which queue a flow lands on, and why; and which source ports land on a queue.

Computed from what the NIC holds: rules by location, then hash and table, those of an RSS context
where the rule names one. A NIC that does not say which fields it hashes is taken to hash addresses
and ports of TCP and UDP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from nicprog.backends.ethtool import EthtoolNic
from nicprog.backends.groups import TRANSFORMS, fields_of
from nicprog.errors import NicprogError, RequestError
from nicprog.ethtool import HashField, HashFunction, InputTransform
from nicprog.model import FLOWS, OWN_CONTEXT, FlowRule, Masked, Match, NicState, RssContext
from nicprog.netlink import Netdev
from nicprog.packet import Packet, flow_type, hash_input, toeplitz
from nicprog.probe import cpus_of

_ADDRESSES: Final = HashField.SRC | HashField.DST
_FOUR: Final = _ADDRESSES | HashField.SRC_PORT | HashField.DST_PORT
_PROTOCOLS: Final = {6: "tcp", 17: "udp"}
_TWINS: Final = {6: 17, 17: 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a packet goes.

    Attributes:
        queue: RX queue, or None when a rule drops it.
        rule: The rule that decides, or hands it to a context; None when the hash does.
        context: Name of the context whose table decides, or None.
        hash: 32 bits, or None when a rule decides or the NIC has no table.
        entry: Index in the table, likewise.
    """

    queue: int | None
    rule: FlowRule | None = None
    context: str | None = None
    hash: int | None = None
    entry: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Who takes packets out of a queue, as far as the kernel tells.

    Attributes:
        napi: NAPI instance.
        irq: Its interrupt.
        cpus: CPUs that take the interrupt, such as ``0-3``.
    """

    napi: int | None = None
    irq: int | None = None
    cpus: str | None = None


class Steering:
    """How a NIC steers now: read once, asked for any number of packets."""

    def __init__(self, nic: EthtoolNic) -> None:
        """Reads table, key, rules and hashed fields.

        Raises:
            NicprogError: They cannot be read, or the hash is not Toeplitz.
        """
        self._state: NicState = nic.read()
        self._nic = nic
        self._transform = InputTransform(0)
        self._fields: dict[Any, HashField] = {}
        self._contexts = {context.name: context for context in self._state.contexts}
        self.assumed = False
        if self._state.table.entries and self._state.key:
            rss = nic.calls.rss()
            if rss.function not in (HashFunction(0), HashFunction.TOEPLITZ):
                raise NicprogError(
                    f"{nic.device}: hashes by {rss.function.name}, which cannot be computed here"
                )
            self._transform = rss.transform

    def place(self, packet: Packet) -> Place:
        """Where ``packet`` goes."""
        seen = [_exact(packet)]
        if packet.protocol in _TWINS and self._nic.capabilities().rules_ignore_protocol:
            seen.append(_exact(replace(packet, protocol=_TWINS[packet.protocol])))
        for rule in self._state.rules:
            if any(rule.match.covers(exact) for exact in seen):
                return self._by_rule(packet, rule)
        return self._by_table(packet)

    def _by_rule(self, packet: Packet, rule: FlowRule) -> Place:
        if rule.context is None:
            return Place(queue=rule.queue, rule=rule)
        if rule.context == OWN_CONTEXT:
            place = self._by_table(packet)
        elif rule.context in self._contexts:
            place = self._by_context(packet, self._contexts[rule.context])
        else:
            raise NicprogError(
                f"{self._nic.device}: {rule.label} names context {rule.context!r}, which is not "
                "there"
            )
        assert place.queue is not None
        return replace(
            place, queue=place.queue + (rule.queue or 0), rule=rule, context=rule.context
        )

    def _by_context(self, packet: Packet, context: RssContext) -> Place:
        """By its own key, transform and fields where it has them, else by those of the NIC."""
        function = context.hashing.get("function", "toeplitz")
        if function != "toeplitz":
            raise NicprogError(
                f"{self._nic.device}: context {context.name!r} hashes by {function}, which cannot "
                "be computed here"
            )
        flow = flow_type(packet).name.lower()
        own = context.hashing.get(flow)
        fields = self.fields(packet) if own is None else fields_of(str(own))
        transform = context.hashing.get("transform")
        return self._hashed(
            packet,
            context.table.entries,
            context.key or self._state.key,
            fields,
            self._transform if transform is None else TRANSFORMS[str(transform)],
        )

    def _by_table(self, packet: Packet) -> Place:
        table = self._state.table.entries
        if not table:
            if self._state.channels.rx_queues > 1 and self._nic.capabilities().hashes:
                raise NicprogError(
                    f"{self._nic.device}: its driver shows no table, so the queue is not known"
                )
            return Place(queue=0)
        return self._hashed(packet, table, self._state.key, self.fields(packet), self._transform)

    def _hashed(
        self,
        packet: Packet,
        table: tuple[int, ...],
        key: bytes,
        fields: HashField,
        transform: InputTransform,
    ) -> Place:
        if not key:
            raise NicprogError(f"{self._nic.device}: its driver shows no hash key")
        found = toeplitz(key, hash_input(packet, fields, transform))
        entry = found % len(table)
        return Place(queue=table[entry], hash=found, entry=entry)

    def fields(self, packet: Packet) -> HashField:
        """Fields of packets of this kind that are hashed."""
        flow = flow_type(packet)
        if flow not in self._fields:
            try:
                self._fields[flow] = self._nic.calls.hash_fields(flow)
            except RequestError:  # it does not tell
                self.assumed = True
                self._fields[flow] = _FOUR if packet.protocol in _PROTOCOLS else _ADDRESSES
        return self._fields[flow]

    def source_ports(self, packet: Packet, queue: int) -> Iterator[int]:
        """Source ports from 1 on with which ``packet`` goes to ``queue``."""
        for port in range(1, 1 << 16):
            if self.place(replace(packet, l4=port << 16 | packet.l4 & 0xFFFF)).queue == queue:
                yield port


def server_of(device: str, queue: int) -> Server:
    """Who serves an RX queue of an interface; empty where the kernel does not tell."""
    try:
        with Netdev(device) as dev:
            napis = {one.number: one for one in dev.napis()}
            for one in dev.queues():
                if (one.kind, one.number) == ("rx", queue) and one.napi is not None:
                    irq = napis[one.napi].irq if one.napi in napis else None
                    return Server(napi=one.napi, irq=irq, cpus=cpus_of(irq))
    except NicprogError:
        pass
    return Server()


def _exact(packet: Packet) -> Match:
    """The match that takes this packet alone; without a VLAN, since it has none."""
    bits = 32 if packet.version == 4 else 128

    def all_of(value: int, width: int) -> Masked:
        return Masked(value=value, mask=(1 << width) - 1)

    protocol = _PROTOCOLS.get(packet.protocol, "any")
    return Match(
        flow=FLOWS[protocol, packet.version],
        src=all_of(packet.src, bits),
        dst=all_of(packet.dst, bits),
        src_port=all_of(packet.l4 >> 16, 16),
        dst_port=all_of(packet.l4 & 0xFFFF, 16),
        tos=all_of(packet.tos, 8),
        l4_proto=all_of(packet.protocol, 8) if protocol == "any" else Masked(),
    )
