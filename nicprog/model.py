# SPDX-License-Identifier: Apache-2.0
"""What a NIC can do and how it is set: values only, checked when they are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain, pairwise
from typing import Final

from nicprog.settings import Settings, Values

SYMMETRIC_KEY_WORD = bytes.fromhex("6d5a")
"""Repeated over the whole key, both directions of a connection hash alike; 16 bits of it vary."""

LOCATION_MAX = 0xFFFF_FFFC
"""Greater locations are the special ones of ``linux/ethtool.h``."""

OWN_CONTEXT = "#0"
"""What rules call the context of all packets: the NIC's own table and key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """A field to compare: ``packet & mask == value``; mask 0 takes anything."""

    value: int = 0
    mask: int = 0

    def __post_init__(self) -> None:
        if self.value & ~self.mask:
            raise ValueError(f"value 0x{self.value:x} has bits outside of mask 0x{self.mask:x}")

    def fits(self, bits: int) -> bool:
        """True when neither value nor mask needs more than ``bits`` bits."""
        return 0 <= self.value < 1 << bits and 0 <= self.mask < 1 << bits

    def covers(self, other: Masked) -> bool:
        """True when everything that ``other`` takes is taken by this too."""
        return not self.mask & ~other.mask and not (self.value ^ other.value) & self.mask


ANY = Masked()

_PROTOCOLS: Final = {"tcp": Masked(value=6, mask=0xFF), "udp": Masked(value=17, mask=0xFF)}


class Flow(Enum):
    """Kind of packet a rule looks at: protocol and IP version."""

    TCP4 = ("tcp", 4)
    UDP4 = ("udp", 4)
    IP4 = ("any", 4)
    TCP6 = ("tcp", 6)
    UDP6 = ("udp", 6)
    IP6 = ("any", 6)

    def __init__(self, protocol: str, version: int) -> None:
        self.protocol = protocol
        self.version = version
        self.address_bits = 32 if version == 4 else 128


FLOWS: Final = {(flow.protocol, flow.version): flow for flow in Flow}
"""Flow by protocol and IP version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which packets a rule takes.

    Attributes:
        flow: Kind of packet.
        src: Source address, as an integer of 32 or 128 bits.
        dst: Destination address.
        src_port: 16 bits; of other protocols the first two octets after the IP header.
        dst_port: 16 bits; of other protocols the two octets after those.
        tos: IPv4 TOS or IPv6 traffic class, 8 bits; DSCP is the upper six.
        vlan_tci: 802.1Q tag, 16 bits; the VLAN is the lower twelve.
        l4_proto: IPv4 protocol or IPv6 next header, 8 bits; only when the flow leaves it open.
    """

    flow: Flow
    src: Masked = ANY
    dst: Masked = ANY
    src_port: Masked = ANY
    dst_port: Masked = ANY
    tos: Masked = ANY
    vlan_tci: Masked = ANY
    l4_proto: Masked = ANY

    def __post_init__(self) -> None:
        address_bits = self.flow.address_bits
        for name, bits in (
            ("src", address_bits),
            ("dst", address_bits),
            ("src_port", 16),
            ("dst_port", 16),
            ("tos", 8),
            ("vlan_tci", 16),
            ("l4_proto", 8),
        ):
            item: Masked = getattr(self, name)
            if item is not ANY and not item.fits(bits):
                raise ValueError(
                    f"{name} 0x{item.value:x}/0x{item.mask:x} does not fit into {bits} bits"
                )
        if self.l4_proto.mask and self.flow.protocol != "any":
            raise ValueError(f"flow {self.flow.name} says the protocol already")

    def fields(self) -> tuple[Masked, ...]:
        """The compared fields, always in the same order."""
        return (
            self.src,
            self.dst,
            self.src_port,
            self.dst_port,
            self.tos,
            self.vlan_tci,
            self._protocol(),
        )

    def _protocol(self) -> Masked:
        return _PROTOCOLS.get(self.flow.protocol, self.l4_proto)

    def mask_key(self) -> tuple[int, ...]:
        """Equal for matches that look at the same bits of a packet."""
        addresses = self.flow.version if self.src.mask or self.dst.mask else 0
        return (addresses, *(item.mask for item in self.fields()))

    def meets(self, other: Match) -> bool:
        """True when some packet is taken by both."""
        return self.flow.version == other.flow.version and not any(
            (a.value ^ b.value) & a.mask & b.mask
            for a, b in zip(self.fields(), other.fields(), strict=True)
        )

    def covers(self, other: Match) -> bool:
        """True when every packet that ``other`` takes is taken by this too."""
        return self.flow.version == other.flow.version and all(
            a.covers(b) for a, b in zip(self.fields(), other.fields(), strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRule:
    """One slot of the NIC's rule table; the lowest location that matches wins.

    Attributes:
        location: Slot, counted from 0.
        match: Packets it takes.
        queue: RX queue they go to, counted from 0; None drops them. With a context, what is added
            to the queue that its table gives.
        context: Name of the RSS context that spreads them, or None.
        name: What people call it. Not held by the NIC and not compared.
    """

    location: int
    match: Match
    queue: int | None
    context: str | None = None
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.location <= LOCATION_MAX:
            raise ValueError(f"location must be 0..{LOCATION_MAX}, got {self.location}")
        if self.queue is not None and not 0 <= self.queue <= 0xFFFF_FFFE:
            raise ValueError(f"queue must be 0..{0xFFFF_FFFE}, got {self.queue}")
        if self.context is not None and self.queue is None:
            raise ValueError(f"a rule drops or names a context, not both, got {self.context!r}")

    @property
    def does(self) -> tuple[Match, int | None, str | None]:
        """All but its place: equal for rules that do the same."""
        return self.match, self.queue, self.context

    @property
    def label(self) -> str:
        """Name and location, for messages."""
        return (
            f"rule {self.name!r} (location {self.location})"
            if self.name
            else (f"the rule at location {self.location}")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """Active queues of a NIC.

    Attributes:
        combined: Queues with an RX and a TX side each.
        rx: RX queues alone, of drivers that count them apart.
        tx: TX queues alone.
    """

    combined: int = 0
    rx: int = 0
    tx: int = 0

    def __post_init__(self) -> None:
        if self.combined < 1 and not self.rx and not self.tx:
            raise ValueError(f"combined must be at least 1, got {self.combined}")
        if min(self.combined, self.rx, self.tx) < 0:
            raise ValueError(f"channels must not be negative, got {self}")
        if not self.combined and not (self.rx and self.tx):
            raise ValueError(f"at least one RX and one TX queue must be active, got {self}")

    @property
    def rx_queues(self) -> int:
        """Queues that table and rules may name."""
        return self.combined + self.rx

    def __str__(self) -> str:
        counts = {"combined": self.combined, "rx": self.rx, "tx": self.tx}
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


@dataclass(frozen=True, slots=True, kw_only=True)
class RssTable:
    """Indirection table: packet's hash modulo size gives the entry, the entry the RX queue.

    Without entries: the NIC has no table, or does not show it.
    """

    entries: tuple[int, ...]

    def __post_init__(self) -> None:
        if min(self.entries, default=0) < 0:
            raise ValueError(f"queues count from 0, got {min(self.entries)}")

    @classmethod
    def default(cls, queues: int, size: int) -> RssTable:
        """What a NIC sets by itself: entry ``i`` is queue ``i % queues``."""
        return cls(entries=tuple(i % queues for i in range(size)))

    def is_default(self, queues: int) -> bool:
        """True when these are the entries that the NIC sets by itself for ``queues`` queues."""
        return self == RssTable.default(queues, len(self.entries))

    def with_shares(self, weights: Mapping[int, int]) -> RssTable:
        """Gives each queue its share of the entries and moves as few of them as possible.

        Args:
            weights: Queue to weight, weights above 0.

        Returns:
            Table of the same size. Shares are rounded by largest remainder, lower queues first.
        """
        shares = largest_remainder(weights, len(self.entries))
        left = Counter(shares)
        kept: list[int | None] = []
        for queue in self.entries:
            kept.append(queue if left[queue] > 0 else None)
            left[queue] -= 1 if left[queue] > 0 else 0
        missing = chain.from_iterable(_round_robin(left))
        return RssTable(entries=tuple(next(missing) if q is None else q for q in kept))

    def moved(self, other: RssTable) -> int:
        """Number of entries that name another queue in ``other``, a table of the same size."""
        return sum(a != b for a, b in zip(self.entries, other.entries, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class RssContext:
    """A table beside that of all packets: rules hand packets to it by its name.

    Attributes:
        name: Unique on the NIC; ``#N`` is number N of the kernel, which nicprog did not make.
        table: As many entries as the NIC's own.
        key: Hash key; empty where all contexts have that of the NIC.
        hashing: Hash function, transform and fields with names and values as in the group ``hash``
            of :mod:`nicprog.settings`, where a context has its own. In a wanted state those that
            are left out may be anything.
    """

    name: str
    table: RssTable
    key: bytes = b""
    hashing: Values = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a context needs a name")

    @property
    def is_ours(self) -> bool:
        """Nicprog made it; else its name is the kernel's number."""
        return not self.name.startswith("#")

    @property
    def queue_max(self) -> int:
        """The highest queue that its table names."""
        return max(self.table.entries, default=0)


def largest_remainder(weights: Mapping[int, int], seats: int) -> dict[int, int]:
    """Divides ``seats`` in proportion to ``weights``, the rest to the largest remainders."""
    total = sum(weights.values())
    if not weights or min(weights.values()) < 0 or total == 0:
        raise ValueError("weights must not be negative and at least one must be above 0")
    shares = {queue: seats * weight // total for queue, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda queue: (-(seats * weights[queue] % total), queue))
    for queue in by_remainder[: seats - sum(shares.values())]:
        shares[queue] += 1
    return shares


def _round_robin(left: Mapping[int, int]) -> Sequence[Sequence[int]]:
    """Rounds over the queues that still miss entries, so that those spread over the table."""
    rounds = max(left.values(), default=0)
    return [[q for q in sorted(left) if left[q] > turn] for turn in range(rounds)]


MATCH_FIELDS: Final = frozenset(
    {"src", "dst", "src_port", "dst_port", "l4_octets", "tos", "vlan_tci", "l4_proto"}
)
"""What rules may compare; ``l4_octets`` are both ports where the flow leaves the protocol open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLimits:
    """Which rules a driver takes; without limits it takes all.

    Attributes:
        flows: Kinds of packets.
        fields: Of :data:`MATCH_FIELDS`, those that may be compared.
        whole_fields: A field is compared as a whole or not at all: no prefixes, no port ranges.
        vlan_id_only: Of a VLAN tag exactly the lower twelve bits are compared.
        drops: A rule can drop.
    """

    flows: frozenset[Flow] = frozenset(Flow)
    fields: frozenset[str] = MATCH_FIELDS
    whole_fields: bool = False
    vlan_id_only: bool = False
    drops: bool = True

    def objection(self, rule: FlowRule) -> str | None:
        """Why the driver would not take ``rule``, or None."""
        match = rule.match
        if match.flow not in self.flows:
            return f"takes packets of kind {match.flow.name}, which the driver has no rules for"
        if rule.queue is None and not self.drops:
            return "drops, which the driver cannot"
        for name, item, bits in _compared(match):
            if name not in self.fields:
                return f"compares {name}, which the driver does not look at"
            if self.whole_fields and item.mask != (1 << bits) - 1:
                return f"compares part of {name}, the driver takes whole fields only"
        if self.vlan_id_only and match.vlan_tci.mask not in (0, 0xFFF):
            return "compares other bits of vlan_tci than the VLAN, which the driver cannot"
        return None


def _compared(match: Match) -> list[tuple[str, Masked, int]]:
    """Name, value and width of each field that is compared."""
    bits, is_open = match.flow.address_bits, match.flow.protocol == "any"
    every = [
        ("src", match.src, bits),
        ("dst", match.dst, bits),
        ("l4_octets" if is_open else "src_port", match.src_port, 16),
        ("l4_octets" if is_open else "dst_port", match.dst_port, 16),
        ("tos", match.tos, 8),
        ("vlan_tci", match.vlan_tci, 16),
        ("l4_proto", match.l4_proto, 8),
    ]
    return [item for item in every if item[1].mask]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableGrowth:
    """A table whose size is that of the queues: a power of two, ``least`` at least.

    Attributes:
        least: Entries with few queues.
        per_queue: Entries for each queue with many.
    """

    least: int
    per_queue: int

    def size(self, queues: int) -> int:
        """Entries with so many queues."""
        return max(self.least, 1 << (self.per_queue * queues - 1).bit_length())


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What one NIC can do.

    Attributes:
        driver: Name of the driver.
        bus: Where it sits: ``tap``, ``veth`` or ``memory`` for software NICs.
        queues_max: Most combined channels.
        rx_max: Most RX channels apart from the combined ones.
        tx_max: Most TX channels apart from the combined ones.
        fixed_channels: The driver does not set channels.
        table_size: Entries of the indirection table; 0 when it has none.
        key_bytes: Length of the hash key; 0 when it has none.
        locations: Slots for rules, valid locations are below this; 0 when it has no rules.
        masks_max: Most different masks among the rules, or None without such a limit.
        default_key: Key that the NIC starts with, or None when it is not known.
        table_growth: How the table's size goes with the queues, or None when it does not.
        table_queues_max: Queues that the table reaches, or None when it reaches all.
        masks_max_per_flow: As ``masks_max``, among the rules for one kind of packets.
        fewer_channels_lose_rss: Table and key become the default ones when RX channels go.
        picks_locations: The driver chooses the location of a rule and takes no other.
        rule_limits: Which rules the driver takes.
        channels_lose_table: After a change of channels packets are not spread by the table that was
            set until it is written again: another is in its place, or it is shown only.
        ntuple_resets_table: Turning ``rx-ntuple-filter`` on makes the table the default one.
        fields_need_rx_hashing: Hashed fields have no effect while ``rx-hashing`` is off.
        rules_ignore_protocol: A rule for TCP takes UDP with these addresses and ports, too, and the
            other way round.
        hashes: Packets that no rule takes are spread over the queues; else all are for queue 0.
        contexts: RSS contexts beside that of all packets; 0 when it has none, None when nobody
            knows how many.
        contexts_by: The way to them: ``netlink`` or ``ioctl``; empty when it has none.
        context_keys: Each context has a key, hash function and transform of its own.
        context_fields: Likewise hashed fields.
        context_adds_queue: The queue of a rule is added to that of its context.
    """

    driver: str
    bus: str
    queues_max: int
    table_size: int
    key_bytes: int
    locations: int
    masks_max: int | None = None
    default_key: bytes | None = None
    rx_max: int = 0
    tx_max: int = 0
    fixed_channels: bool = False
    table_growth: TableGrowth | None = None
    table_queues_max: int | None = None
    masks_max_per_flow: int | None = None
    fewer_channels_lose_rss: bool = False
    picks_locations: bool = False
    rule_limits: RuleLimits = RuleLimits()
    channels_lose_table: bool = False
    ntuple_resets_table: bool = False
    fields_need_rx_hashing: bool = False
    rules_ignore_protocol: bool = False
    hashes: bool = True
    contexts: int | None = 0
    contexts_by: str = ""
    context_keys: bool = False
    context_fields: bool = False
    context_adds_queue: bool = False

    def reach(self, state: NicState) -> int:
        """Queues that a table can name when the NIC is in ``state``."""
        return min(state.channels.rx_queues, self.table_queues_max or state.channels.rx_queues)

    def has_room_for_masks(self, rules: Iterable[FlowRule]) -> bool:
        """True when the NIC can hold the masks of all these rules at once."""
        if self.masks_max is None and self.masks_max_per_flow is None:
            return True
        by_flow: dict[Flow, set[tuple[int, ...]]] = {}
        for rule in rules:
            by_flow.setdefault(rule.match.flow, set()).add(rule.match.mask_key())
        masks = set().union(*by_flow.values())
        most_of_a_flow = max(map(len, by_flow.values()), default=0)
        return (self.masks_max is None or len(masks) <= self.masks_max) and (
            self.masks_max_per_flow is None or most_of_a_flow <= self.masks_max_per_flow
        )

    def excess(self, asked: Channels) -> tuple[str, int, int] | None:
        """The first kind of channels asked for in excess, its count and its maximum."""
        for kind, count, most in (
            ("combined", asked.combined, self.queues_max),
            ("rx", asked.rx, self.rx_max),
            ("tx", asked.tx, self.tx_max),
        ):
            if count > most:
                return kind, count, most
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class NicState:
    """All that nicprog reads from and writes to a NIC.

    Attributes:
        channels: Active queues.
        table: Indirection table.
        key: Hash key.
        rules: In order of location, each location once.
        contexts: In order of name, each name once. A rule may name one that is lost.
        settings: Groups that were asked for, see :mod:`nicprog.settings`.
    """

    channels: Channels
    table: RssTable
    key: bytes
    rules: tuple[FlowRule, ...] = ()
    contexts: tuple[RssContext, ...] = ()
    settings: Settings = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one, other in pairwise(self.contexts):
            if one.name >= other.name:
                raise ValueError(
                    f"contexts must be in order of name, got {one.name!r} before {other.name!r}"
                )
        for before, after in pairwise(self.rules):
            if before.location == after.location:
                raise ValueError(f"location {after.location} is taken twice")
            if before.location > after.location:
                raise ValueError(
                    f"rules must be in order of location, got {before.location} "
                    f"before {after.location}"
                )


def symmetric_key(key_bytes: int) -> bytes:
    """Key with which both directions of a connection get the same hash."""
    return (SYMMETRIC_KEY_WORD * key_bytes)[:key_bytes]
