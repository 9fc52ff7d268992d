# SPDX-License-Identifier: Apache-2.0
"""Compiles the rules of a spec into slots of the NIC's rule table."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from nicprog.model import FLOWS, FlowRule, Match
from nicprog.spec import RuleSpec


class NoRoom(Exception):
    """The rules do not fit into the free locations."""


def expand(rule: RuleSpec) -> tuple[Match, ...]:
    """What the NIC has to match so that together it is what ``rule`` says, in a fixed order."""
    src, dst = rule.address_mask("src"), rule.address_mask("dst")
    tos, vlan_tci, l4_proto = rule.tos_mask(), rule.vlan_mask(), rule.l4_proto_mask()
    protocol = rule.protocol if rule.protocol in ("tcp", "udp") else "any"
    return tuple(
        Match(
            flow=FLOWS[protocol, version],
            src=src,
            dst=dst,
            src_port=src_port,
            dst_port=dst_port,
            tos=tos,
            vlan_tci=vlan_tci,
            l4_proto=l4_proto,
        )
        for version, src_port, dst_port in product(
            rule.versions(), rule.port_masks("src_port"), rule.port_masks("dst_port")
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A match that needs a location.

    Attributes:
        name: Name of the rule it comes from.
        match: Packets to take.
        queue: RX queue, None to drop; with a context, what is added to its queue.
        context: Name of an RSS context, or None.
    """

    name: str
    match: Match
    queue: int | None
    context: str | None = None

    @property
    def does(self) -> tuple[Match, int | None, str | None]:
        """As of :class:`nicprog.model.FlowRule`."""
        return self.match, self.queue, self.context

    def at(self, location: int) -> FlowRule:
        """The rule in that slot."""
        return FlowRule(
            location=location,
            match=self.match,
            queue=self.queue,
            context=self.context,
            name=self.name,
        )


def parts(rule: RuleSpec) -> list[Wanted]:
    """The rules of the NIC that together are ``rule``, without their locations."""
    queue, context = rule.target()
    return [
        Wanted(name=rule.name, match=match, queue=queue, context=context) for match in expand(rule)
    ]


def locate(
    wanted: Sequence[Wanted], *, now: Iterable[FlowRule], taken: set[int], locations: int
) -> list[FlowRule]:
    """Gives each of ``wanted`` a free location, in ascending order.

    What is on the NIC already stays where it is as far as the order allows, so that a rule added
    to or taken from a spec does not rewrite the others.

    Args:
        wanted: In order of precedence.
        now: Rules on the NIC.
        taken: Locations that must not be used.
        locations: Locations of the NIC.

    Raises:
        NoRoom: There are fewer free locations.
    """
    present = {rule.does: rule.location for rule in now if rule.location not in taken}
    stays = _longest_ascending([present.get(item.does) for item in wanted])
    try:
        return _fill(wanted, stays, taken, locations)
    except NoRoom:
        return _fill(wanted, {}, taken, locations)


def _fill(
    wanted: Sequence[Wanted], stays: dict[int, int], taken: set[int], locations: int
) -> list[FlowRule]:
    """Puts each item between those that stay, at the lowest free location."""
    placed = []
    end = locations
    limits = [end] * len(wanted)  # first location that item i must stay below
    for i in range(len(wanted) - 1, -1, -1):
        limits[i] = end
        end = stays.get(i, end)
    last = -1
    for i, item in enumerate(wanted):
        location = stays.get(i)
        if location is None:
            location = last + 1
            while location in taken:
                location += 1
            if location >= limits[i]:
                raise NoRoom
        placed.append(item.at(location))
        last = location
    return placed


def _longest_ascending(values: Sequence[int | None]) -> dict[int, int]:
    """Index to value of a longest strictly ascending subsequence of what is not None."""
    tails: list[int] = []  # tails[n]: least value that ends an ascending run of n + 1
    ends: list[int] = []  # its index
    before: dict[int, int | None] = {}
    for i, value in enumerate(values):
        if value is None:
            continue
        n = bisect_left(tails, value)
        tails[n : n + 1] = [value]
        ends[n : n + 1] = [i]
        before[i] = ends[n - 1] if n else None
    chosen: dict[int, int] = {}
    at = ends[-1] if ends else None
    while at is not None:
        value = values[at]
        assert value is not None
        chosen[at] = value
        at = before[at]
    return chosen


def shadowed(rules: Iterable[FlowRule]) -> list[tuple[FlowRule, FlowRule]]:
    """Rules that never take a packet, each with the rule that takes all of its packets first.

    Args:
        rules: In order of location.
    """
    found = []
    groups: dict[_Shape, dict[tuple[int, ...], FlowRule]] = {}
    wider: dict[_Shape, list[_Shape]] = {}  # shapes that may take all of a shape's packets
    for rule in rules:
        fields = rule.match.fields()
        shape = (rule.match.flow.version, tuple([f.mask for f in fields]))
        values = tuple([f.value for f in fields])
        if shape not in groups:
            groups[shape] = {}
            for one, other in product(groups, groups):
                if shape in (one, other) and _is_wider(one, other):
                    wider.setdefault(other, []).append(one)
        for one in wider[shape]:
            over = groups[one].get(tuple([v & m for v, m in zip(values, one[1], strict=True)]))
            if over is not None:
                found.append((rule, over))
                break
        groups[shape].setdefault(values, rule)
    return found


_Shape = tuple[int, tuple[int, ...]]
"""IP version and masks of the fields."""


def _is_wider(one: _Shape, other: _Shape) -> bool:
    """True when ``one`` looks at no bit that ``other`` does not look at."""
    return one[0] == other[0] and all(not m & ~n for m, n in zip(one[1], other[1], strict=True))
