# SPDX-License-Identifier: Apache-2.0
"""From what a NIC holds to what it should hold, in steps that are safe in their order.

The order, and why it is safe, is in docs/design/004-nicprog.md. Pure: nothing here talks to a NIC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from nicprog.actions import (
    Action,
    DeleteRule,
    InsertRule,
    ResetTable,
    SetChannels,
    SetKey,
    SetTable,
)
from nicprog.errors import Refused
from nicprog.model import Capabilities, Channels, FlowRule, NicState, RssTable
from nicprog.text import rule_text


class Disruption(Enum):
    """What a step does to connections that are under way."""

    NONE = "none"
    REORDERS = "reorders flows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change and what takes it back.

    Attributes:
        do: The change.
        undo: What restores the state before it.
        reason: Why it is needed, with the numbers.
        disruption: What connections notice.
    """

    do: Action
    undo: Action
    reason: str
    disruption: Disruption


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Ordered steps for one NIC.

    Attributes:
        device: Name of the NIC.
        now: State that the plan starts from; apply refuses when it is another by then.
        wanted: State after the last step.
        steps: In order; none when the NIC is as wanted.
        warnings: What its author should know, for example rules that never take a packet.
    """

    device: str
    now: NicState
    wanted: NicState
    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()


def diff(now: NicState, wanted: NicState, can: Capabilities) -> tuple[Step, ...]:
    """Steps from ``now`` to ``wanted``.

    Raises:
        Refused: The NIC would refuse ``wanted``; the text has the numbers.
    """
    check(wanted, can)
    _check_changes(now, wanted, can)
    channels = list(_channels(now, wanted))
    inside = [*_key(now, wanted), *_table(now, wanted), *_rules(now, wanted, can)]
    # Queues must exist before anything points at them, and nothing may point at them when they go.
    if wanted.channels.rx_queues < now.channels.rx_queues:
        return (*inside, *channels, *_default_again(now, wanted), *_lost(wanted, can))
    return (*channels, *inside)


def check(wanted: NicState, can: Capabilities) -> None:
    """Refuses what the NIC would refuse.

    Raises:
        Refused: With the part, its value and the limit.
    """
    queues = wanted.channels.rx_queues
    active = f"{queues} queues are active (0 to {queues - 1})"
    if excess := can.excess(wanted.channels):
        kind, count, most = excess
        raise Refused(f"{count} {kind} channels asked, the NIC has at most {most}")
    if len(wanted.table.entries) != can.table_size:
        raise Refused(
            f"the table has {len(wanted.table.entries)} entries, the NIC takes exactly "
            f"{can.table_size}"
        )
    reached = can.table_queues_max or queues
    for index, queue in enumerate(wanted.table.entries):
        if queue >= queues:
            raise Refused(f"entry {index} of the table is queue {queue}, but {active}")
        if queue >= reached:
            raise Refused(
                f"entry {index} of the table is queue {queue}, but the table of driver "
                f"{can.driver} reaches queues 0 to {reached - 1} only"
            )
    if len(wanted.key) != can.key_bytes:
        raise Refused(f"the key has {len(wanted.key)} bytes, the NIC takes exactly {can.key_bytes}")
    for rule in wanted.rules:
        if rule.queue is not None and rule.queue >= queues:
            raise Refused(f"{rule.label} points at queue {rule.queue}, but {active}")
        if rule.location >= can.locations:
            raise Refused(
                f"{rule.label}: the NIC has {can.locations} locations (0 to {can.locations - 1})"
            )
    masks = {rule.match.mask_key() for rule in wanted.rules}
    if can.masks_max is not None and len(masks) > can.masks_max:
        raise Refused(
            f"the rules have {len(masks)} different masks, the NIC can hold {can.masks_max}; "
            f"port ranges that are powers of two and aligned need the fewest"
        )


def _check_changes(now: NicState, wanted: NicState, can: Capabilities) -> None:
    """Refuses changes that the driver cannot make; what is there already it evidently took."""
    old, new = now.channels.rx_queues, wanted.channels.rx_queues
    if can.fixed_channels and now.channels != wanted.channels:
        raise Refused(f"driver {can.driver} has a fixed number of channels, {now.channels}")
    if can.table_growth and can.table_growth.size(old) != can.table_growth.size(new):
        raise Refused(
            f"with {new} queues the table would have {can.table_growth.size(new)} entries instead "
            f"of {can.table_growth.size(old)}, which cannot be planned; choose a number of queues "
            "that leaves it"
        )
    if now.rules == wanted.rules:
        return
    if can.picks_locations:
        raise Refused(
            f"driver {can.driver} chooses the locations of rules itself, so their order cannot be "
            "planned; leave rules out"
        )
    there = {(rule.match, rule.queue) for rule in now.rules}
    for rule in wanted.rules:
        why = can.rule_limits.objection(rule) if (rule.match, rule.queue) not in there else None
        if why:
            raise Refused(f"{rule.label} {why} (driver {can.driver})")
    for flow in dict.fromkeys(rule.match.flow for rule in wanted.rules):
        rules = [rule for rule in wanted.rules if rule.match.flow is flow]
        if not can.has_room_for_masks(rules):
            raise Refused(
                f"the rules for {flow.name} compare different fields or parts of them; driver "
                f"{can.driver} can hold {can.masks_max_per_flow} such set at a time"
            )


def _channels(now: NicState, wanted: NicState) -> Iterator[Step]:
    old, new = now.channels.rx_queues, wanted.channels.rx_queues
    if now.channels == wanted.channels:
        return
    follows = bool(now.table.entries) and new > old and now.table.is_default(old)
    queues = (old, new) if wanted.channels.combined else (now.channels, wanted.channels)
    yield Step(
        do=_set(wanted.channels),
        undo=_set(now.channels),
        reason=f"{queues[0]} queues are active, {queues[1]} wanted"
        + (
            f"; the default table follows, {_moves(now.table, _default(new, now))}"
            if follows
            else ""
        ),
        disruption=Disruption.REORDERS if follows else Disruption.NONE,
    )


def _set(channels: Channels) -> SetChannels:
    return SetChannels(combined=channels.combined, rx=channels.rx, tx=channels.tx)


def _key(now: NicState, wanted: NicState) -> Iterator[Step]:
    if now.key != wanted.key:
        yield Step(
            do=SetKey(key=wanted.key),
            undo=SetKey(key=now.key),
            reason="the hash key differs; every flow may change its queue",
            disruption=Disruption.REORDERS,
        )


def _table(now: NicState, wanted: NicState) -> Iterator[Step]:
    """A table that equals the default one is set by a reset: then it follows the queues."""
    if not wanted.table.entries:
        return  # a NIC without one
    old, new = now.channels.rx_queues, wanted.channels.rx_queues
    was_default, is_default = now.table.is_default(old), wanted.table.is_default(new)
    before = _default(new, now) if was_default and new > old else now.table
    if wanted.table == before and not (is_default and new > old):
        return
    by_reset = is_default and new >= old
    yield Step(
        do=ResetTable() if by_reset else SetTable(entries=wanted.table.entries),
        undo=ResetTable() if was_default else SetTable(entries=now.table.entries),
        reason=_moves(before, wanted.table),
        disruption=Disruption.NONE if wanted.table == before else Disruption.REORDERS,
    )


def _default_again(now: NicState, wanted: NicState) -> Iterator[Step]:
    """After fewer channels: the default table was written out before and has to follow again."""
    if wanted.table.entries and wanted.table.is_default(wanted.channels.rx_queues):
        yield Step(
            do=ResetTable(),
            undo=SetTable(entries=wanted.table.entries),
            reason="the table is the default one and follows the number of queues from here on",
            disruption=Disruption.NONE,
        )


def _lost(wanted: NicState, can: Capabilities) -> Iterator[Step]:
    """What some drivers make the default with fewer channels, once more."""
    if not can.fewer_channels_lose_rss:
        return
    reason = f"driver {can.driver} forgets it when channels go"
    if wanted.key:
        yield Step(
            do=SetKey(key=wanted.key),
            undo=SetKey(key=wanted.key),
            reason=reason,
            disruption=Disruption.REORDERS,
        )
    if wanted.table.entries and not wanted.table.is_default(wanted.channels.rx_queues):
        yield Step(
            do=SetTable(entries=wanted.table.entries),
            undo=SetTable(entries=wanted.table.entries),
            reason=reason,
            disruption=Disruption.REORDERS,
        )


def _default(queues: int, state: NicState) -> RssTable:
    return RssTable.default(queues, len(state.table.entries))


def _moves(before: RssTable, after: RssTable) -> str:
    return f"{before.moved(after)} of {len(after.entries)} table entries change their queue"


def _rules(now: NicState, wanted: NicState, can: Capabilities) -> list[Step]:
    """First what is new, best location first; then what has to go, best location last.

    So a packet goes where the old rules say until it goes where the new ones say. Only when both
    sets together have more different masks than the NIC can hold, the old go first.
    """
    old = {rule.location: rule for rule in now.rules}
    new = {rule.location: rule for rule in wanted.rules}
    come = [rule for rule in wanted.rules if old.get(rule.location) != rule]
    go = [rule for rule in reversed(now.rules) if rule.location not in new]
    if not can.has_room_for_masks((*now.rules, *wanted.rules)):
        go = [rule for rule in reversed(now.rules) if new.get(rule.location) != rule]
        return [*map(_deleted, go), *(_inserted(rule, None) for rule in come)]
    return [
        *(_inserted(rule, old.get(rule.location)) for rule in come),
        *map(_deleted, go),
    ]


def _inserted(rule: FlowRule, old: FlowRule | None) -> Step:
    return Step(
        do=InsertRule(rule=rule),
        undo=DeleteRule(location=rule.location) if old is None else InsertRule(rule=old),
        reason="not there" if old is None else f"another is there: {rule_text(old)}",
        disruption=Disruption.REORDERS,
    )


def _deleted(rule: FlowRule) -> Step:
    return Step(
        do=DeleteRule(location=rule.location),
        undo=InsertRule(rule=rule),
        reason=f"{rule.label} is not wanted",
        disruption=Disruption.REORDERS,
    )
