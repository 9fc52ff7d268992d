# SPDX-License-Identifier: Apache-2.0
"""The wanted state of one NIC as a user writes it, in TOML or in Python.

What is left out stays as it is on the NIC. Schema and examples: docs/reference/nicprog-spec.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from nicprog import fields as read
from nicprog.errors import FieldError, SpecError
from nicprog.host.spec import HostSpec
from nicprog.model import ANY, Channels, Masked
from nicprog.settings import GROUPS, Settings, Values, checked, queue_of
from nicprog.toml_source import Path as ValuePath
from nicprog.toml_source import Source

PROTOCOLS: Final = ("tcp", "udp", "any")
FAMILIES: Final = {"ipv4": 4, "ipv6": 6}
_NUMBERED: Final = re.compile(r"#\d+'*")


def _choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise FieldError(key, f"{key} {value!r} is not one of {', '.join(choices)}")


def _in_range(key: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise FieldError(key, f"{key} must be {low} to {high}, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSpec:
    """One rule; it may need several locations of the NIC (ranges, both IP versions).

    Attributes:
        name: Unique in the spec; for messages and reports.
        protocol: ``tcp``, ``udp``, ``any``, or a number, for example 47 for GRE.
        family: ``ipv4`` or ``ipv6``; None is what the addresses say, else both.
        src: Source address, prefix or address/mask.
        dst: Destination address, prefix or address/mask.
        src_port: Port, range ``"8000-8015"`` or ``"VALUE/MASK"``.
        dst_port: Like ``src_port``.
        dscp: 0 to 63.
        tos: The whole byte as ``"VALUE/MASK"``, instead of ``dscp``.
        vlan: 802.1Q VLAN, 0 to 4095.
        vlan_tci: The whole tag as ``"VALUE/MASK"``, instead of ``vlan``.
        l4_proto: Protocol ``any`` narrowed to ``"VALUE/MASK"`` of the protocol number.
        queue: RX queue, counted from 0; with ``context``, what is added to the queue of its table.
        drop: Drop instead of a queue.
        context: Name of the RSS context that spreads the packets; ``"#0"`` is the NIC's own table.
        location: First location; None lets nicprog choose, in the order of the rules.
    """

    name: str
    protocol: str | int
    family: str | None = None
    src: str | None = None
    dst: str | None = None
    src_port: int | str | None = None
    dst_port: int | str | None = None
    dscp: int | None = None
    tos: str | None = None
    vlan: int | None = None
    vlan_tci: str | None = None
    l4_proto: str | None = None
    queue: int | None = None
    drop: bool = False
    context: str | None = None
    location: int | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise FieldError("name", "name must not be empty")
        if isinstance(self.protocol, int):
            _in_range("protocol", self.protocol, 0, 255)
        else:
            _choice("protocol", self.protocol, PROTOCOLS)
        if self.family is not None:
            _choice("family", self.family, tuple(FAMILIES))
        has_target = self.queue is not None or self.context is not None
        if self.drop == has_target:
            raise FieldError(
                "drop" if self.drop else "queue",
                f"rule {self.name!r} needs queue = N, drop = true or a context; drop goes alone",
            )
        for key in ("src_port", "dst_port"):
            value = getattr(self, key)
            if self.protocol not in ("tcp", "udp") and value is not None and "/" not in str(value):
                raise FieldError(
                    key,
                    f'{key} needs protocol "tcp" or "udp"; "VALUE/MASK" compares the octets at its '
                    "place in any protocol",
                )
        for one, other in (("dscp", "tos"), ("vlan", "vlan_tci")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise FieldError(other, f"{other} and {one} say the same thing; give one of them")
        _in_range("dscp", self.dscp, 0, 63)
        _in_range("vlan", self.vlan, 0, 4095)
        _in_range("queue", self.queue, 0, 0xFFFF_FFFE)
        _in_range("location", self.location, 0, 0xFFFF_FFFC)
        self.versions()
        self.port_masks("src_port")
        self.port_masks("dst_port")
        self.tos_mask()
        self.vlan_mask()
        self.l4_proto_mask()

    def target(self) -> tuple[int | None, str | None]:
        """Queue and context of its rules in the NIC; a context alone is without an offset, 0."""
        return (self.queue or 0 if self.context is not None else self.queue), self.context

    def versions(self) -> tuple[int, ...]:
        """IP versions that the rule is about: (4,), (6,) or (4, 6)."""
        said = {
            key: read.address(key, text)[0]
            for key, text in (("src", self.src), ("dst", self.dst))
            if text is not None
        }
        if len(set(said.values())) == 2:
            raise FieldError("dst", f"dst {self.dst!r} and src {self.src!r} differ in IP version")
        if self.family is None:
            return tuple(set(said.values())) or (4, 6)
        family = FAMILIES[self.family]
        for key, version in said.items():
            if version != family:
                raise FieldError(key, f"{key} {getattr(self, key)!r} is not {self.family}")
        return (family,)

    def address_mask(self, key: Literal["src", "dst"]) -> Masked:
        """Value and mask of ``src`` or ``dst``."""
        text: str | None = getattr(self, key)
        return ANY if text is None else read.address(key, text)[1]

    def port_masks(self, key: Literal["src_port", "dst_port"]) -> tuple[Masked, ...]:
        """The values and masks that together take the ports of ``src_port`` or ``dst_port``."""
        value: int | str | None = getattr(self, key)
        return (ANY,) if value is None else read.ports(key, value)

    def tos_mask(self) -> Masked:
        """Value and mask of the TOS or traffic class byte."""
        if self.dscp is not None:
            return Masked(value=self.dscp << 2, mask=0xFC)
        return ANY if self.tos is None else read.masked("tos", self.tos, 8)

    def vlan_mask(self) -> Masked:
        """Value and mask of the 802.1Q tag."""
        if self.vlan is not None:
            return Masked(value=self.vlan, mask=0x0FFF)
        return ANY if self.vlan_tci is None else read.masked("vlan_tci", self.vlan_tci, 16)

    def l4_proto_mask(self) -> Masked:
        """Value and mask of the protocol number, where TCP or UDP does not say it already."""
        if isinstance(self.protocol, int):
            return Masked(value=self.protocol, mask=0xFF)
        if self.l4_proto is None:
            return ANY
        if self.protocol != "any":
            raise FieldError("l4_proto", 'l4_proto needs protocol "any"')
        return read.masked("l4_proto", self.l4_proto, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """A queue for one class of traffic: the table is shrunk away from it and a rule points at it.

    Attributes:
        queue: RX queue, counted from 0.
        port: Destination port or range of the class.
        protocol: ``tcp`` or ``udp``.
        name: Name of its rule; None is made from port and protocol.
    """

    queue: int
    port: int | str
    protocol: str = "tcp"
    name: str | None = None

    def __post_init__(self) -> None:
        _choice("protocol", self.protocol, ("tcp", "udp"))
        _in_range("queue", self.queue, 0, 0xFFFF_FFFE)
        read.ports("port", self.port)

    def rule(self) -> RuleSpec:
        """The rule of this reservation, for both IP versions."""
        return RuleSpec(
            name=self.name or f"reserve {self.port}/{self.protocol}",
            protocol=self.protocol,
            dst_port=self.port,
            queue=self.queue,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RssSpec:
    """Indirection table and hash key. At most one of ``equal``, ``weights`` and ``table``.

    Attributes:
        equal: Queues that share the entries equally, or ``"all"`` that are not reserved.
        weights: Weight of queue 0, 1, ...; as few entries as possible move.
        table: Every entry, or ``"default"``, which follows the number of queues.
        key: Hexadecimal digits, ``"symmetric"`` or ``"default"``.
    """

    equal: tuple[int, ...] | str | None = None
    weights: tuple[int, ...] | None = None
    table: tuple[int, ...] | str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        given = [key for key in ("equal", "weights", "table") if getattr(self, key) is not None]
        if len(given) > 1:
            raise FieldError(given[1], f"{given[1]} and {given[0]} exclude each other")
        if isinstance(self.equal, str):
            _choice("equal", self.equal, ("all",))
        elif self.equal is not None and not self.equal:
            raise FieldError("equal", "equal names no queue")
        if isinstance(self.table, str):
            _choice("table", self.table, ("default",))
        elif self.table is not None and not self.table:
            raise FieldError("table", "table has no entry")
        if self.weights is not None and not any(self.weights):
            raise FieldError("weights", "weights needs at least one weight above 0")
        for key in given:
            values = getattr(self, key)
            if not isinstance(values, str) and min(values) < 0:
                raise FieldError(key, f"{key} must not hold negative numbers, got {min(values)}")
        if isinstance(self.equal, tuple) and len(set(self.equal)) < len(self.equal):
            raise FieldError("equal", "equal names a queue twice")
        if self.key not in (None, "symmetric", "default"):
            self.key_bytes()

    def key_bytes(self) -> bytes:
        """The key that ``key`` gives in hexadecimal; colons are allowed."""
        try:
            return bytes.fromhex((self.key or "").replace(":", ""))
        except ValueError:
            raise FieldError(
                "key", f'key {self.key!r} is neither hexadecimal nor "symmetric" or "default"'
            ) from None

    def queues(self) -> frozenset[int]:
        """Queues that this names, as far as it names any."""
        if self.weights is not None:
            return frozenset(queue for queue, weight in enumerate(self.weights) if weight)
        named = self.equal if self.table is None else self.table
        return frozenset(named) if isinstance(named, tuple) else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSpec(RssSpec):
    """An RSS context: a table beside that of all packets, for the rules that name it.

    One of ``equal``, ``weights`` and ``table``, as of :class:`RssSpec`, but with queues by number
    alone; ``key`` where the driver has one for each context, else it is the NIC's.

    Attributes:
        name: Unique in the spec; ``#N`` is context number N, made by another program.
        hash: Function, transform and fields of this context, as in the group ``hash``.
    """

    name: str
    hash: Values = field(default_factory=dict)

    def __post_init__(self) -> None:
        RssSpec.__post_init__(self)
        if not self.name or not self.name.isascii() or not self.name.isprintable():
            raise FieldError("name", f"name must be printable ASCII, got {self.name!r}")
        if self.name.startswith("#") and (
            not _NUMBERED.fullmatch(self.name) or not int(self.name[1:].rstrip("'"))
        ):
            text = "which is for contexts of other programs, such as '#3'"
            raise FieldError("name", f"name {self.name!r} begins with '#', {text}")
        if not self.queues():
            raise FieldError(
                "equal", f"context {self.name!r} needs equal, weights or table with its queues"
            )
        checked("hash", self.hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Wanted state of one NIC.

    Attributes:
        device: Name of the NIC.
        channels: Active queues; None leaves them.
        rss: Table and key; None leaves them (but see ``reserve``).
        contexts: RSS contexts that rules may name.
        rules: In order: where two match, the first wins.
        reserve: Queues for classes; their rules come after ``rules``.
        settings: Groups of :mod:`nicprog.settings` by name, such as ``{"rings": {"rx": 1024}}``;
            values that are not named stay.
        host: Who takes care of its queues; None leaves that.
        other_rules: What happens to rules on the NIC that the spec does not name: ``"remove"``,
            ``"keep"``, or None: removed if the spec has rules or reservations, else kept.
        other_contexts: Likewise contexts; None: those of other programs are kept, those that
            nicprog made are removed if the spec has contexts or removes rules, and no rule that
            stays names them.
        source: The file it came from, for messages.
    """

    device: str
    channels: Channels | None = None
    rss: RssSpec | None = None
    contexts: tuple[ContextSpec, ...] = ()
    rules: tuple[RuleSpec, ...] = ()
    reserve: tuple[Reserve, ...] = ()
    settings: Settings = field(default_factory=dict)
    host: HostSpec | None = None
    other_rules: str | None = None
    other_contexts: str | None = None
    source: Source | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.device:
            raise FieldError("device", "device must not be empty")
        for group, values in self.settings.items():
            if group not in GROUPS and queue_of(group) is None:
                raise FieldError("settings", f"settings has no group {group!r}")
            checked(group, values)
        if self.other_rules is not None:
            _choice("other_rules", self.other_rules, ("remove", "keep"))
        if self.other_contexts is not None:
            _choice("other_contexts", self.other_contexts, ("remove", "keep"))

    def all_rules(self) -> tuple[RuleSpec, ...]:
        """Rules and those of the reservations, in order."""
        return self.rules + tuple(item.rule() for item in self.reserve)

    def reserved(self) -> frozenset[int]:
        """Queues that the indirection table must not use."""
        return frozenset(item.queue for item in self.reserve)

    def keeps_other_rules(self) -> bool:
        """True when rules that the spec does not name stay on the NIC."""
        if self.other_rules is None:
            return not (self.rules or self.reserve)
        return self.other_rules == "keep"

    def path_of_rule(self, index: int, key: str) -> ValuePath:
        """Where rule ``index`` of :meth:`all_rules` stands in the file."""
        if index < len(self.rules):
            return ("rule", index, key)
        return ("reserve", index - len(self.rules), key)

    def error(self, path: ValuePath, message: str) -> str:
        """``message``, after the position of ``path`` when the spec came from a file."""
        return f"{self.source.at(path)}: {message}" if self.source else message


def check(spec: Spec) -> None:
    """Checks what no part of a spec can check alone.

    Raises:
        SpecError: A name is used twice, or the table is to use a reserved queue.
    """
    seen: set[str] = set()
    for index, rule in enumerate(spec.all_rules()):
        if rule.name in seen:
            text = f"name {rule.name!r} is used twice; give each rule a name of its own"
            raise SpecError(spec.error(spec.path_of_rule(index, "name"), text))
        seen.add(rule.name)
    contexts: set[str] = set()
    for index, context in enumerate(spec.contexts):
        if context.name in contexts:
            text = f"name {context.name!r} is used twice; give each context a name of its own"
            raise SpecError(spec.error(("context", index, "name"), text))
        contexts.add(context.name)
        if both := context.queues() & spec.reserved():
            text = f"context {context.name!r} uses queue {min(both)}, which [[reserve]] keeps"
            raise SpecError(spec.error(("context", index, "name"), f"{text} for its class alone"))
    if spec.rss is None or not spec.reserve:
        return
    if spec.rss.table == "default":
        text = 'table "default" uses every queue, also the reserved ones; use equal = "all"'
        raise SpecError(spec.error(("rss", "table"), text))
    if both := spec.rss.queues() & spec.reserved():
        key = next(k for k in ("equal", "weights", "table") if getattr(spec.rss, k) is not None)
        text = f"{key} uses queue {min(both)}, which [[reserve]] keeps for a class of traffic"
        raise SpecError(spec.error(("rss", key), text))
