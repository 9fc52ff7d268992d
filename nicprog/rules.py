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
        queue: RX queue, or None to drop.
    """

    name: str
    match: Match
    queue: int | None

    def at(self, location: int) -> FlowRule:
        """The rule in that slot."""
        return FlowRule(location=location, match=self.match, queue=self.queue, name=self.name)


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
    present = {
        (rule.match, rule.queue): rule.location for rule in now if rule.location not in taken
    }
    stays = _longest_ascending([present.get((item.match, item.queue)) for item in wanted])
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
    groups: dict[tuple[int, tuple[int, ...]], dict[tuple[int, ...], FlowRule]] = {}
    for rule in rules:
        fields, version = rule.match.fields(), rule.match.flow.version
        for (group_version, masks), first in groups.items():
            narrower = all(not m & ~f.mask for m, f in zip(masks, fields, strict=True))
            if not narrower or group_version != version:
                continue
            over = first.get(tuple(f.value & m for f, m in zip(fields, masks, strict=True)))
            if over is not None:
                found.append((rule, over))
                break
        group = groups.setdefault((version, tuple(f.mask for f in fields)), {})
        group.setdefault(tuple(f.value for f in fields), rule)
    return found
