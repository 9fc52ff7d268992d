# SPDX-License-Identifier: Apache-2.0
"""From what a NIC holds to what it should hold, in steps that are safe in their order.

The order, and why it is safe, is in docs/design/004-nicprog.md. Pure: nothing here talks to a NIC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from nicprog.actions import (
    Action,
    CreateContext,
    DeleteContext,
    DeleteRule,
    InsertRule,
    ResetTable,
    SetChannels,
    SetContext,
    SetKey,
    SetTable,
    SetValues,
)
from nicprog.errors import Refused
from nicprog.model import (
    OWN_CONTEXT,
    Capabilities,
    Channels,
    FlowRule,
    NicState,
    RssContext,
    RssTable,
)
from nicprog.settings import HASHED_FLOWS, HOST_GROUPS, NTUPLE, Value, Values, queue_of, text
from nicprog.text import rule_text


class Disruption(Enum):
    """What a step does to connections that are under way."""

    NONE = "none"
    REORDERS = "reorders flows"
    LINK = "stops traffic for a moment, the link may flap"


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
    first, last = _settings_before(now, wanted), _settings_after(now, wanted)
    last = [*last, *_host(now, wanted)]
    now = _after_features(now, wanted, can)
    channels = list(_channels(now, wanted))
    room, now = _room_for_contexts(now, wanted, can)
    inside = [
        *_key(now, wanted),
        *_table(now, wanted),
        *room,
        *_contexts(now, wanted, can),
        *_rules(now, wanted, can),
        *_contexts_gone(now, wanted),
    ]
    # Queues must exist before anything points at them, and nothing may point at them when they go.
    if wanted.channels.rx_queues < now.channels.rx_queues:
        again = [*_default_again(now, wanted), *_lost(now, wanted, can)]
        return (*first, *inside, *channels, *again, *last)
    return (*first, *channels, *_armed(now, wanted, can), *inside, *last)


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
    _check_contexts(wanted, can)
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


def _check_contexts(wanted: NicState, can: Capabilities) -> None:
    """The same of contexts, and of rules that name them."""
    queues = wanted.channels.rx_queues
    active = f"{queues} queues are active (0 to {queues - 1})"
    count = len(wanted.contexts)
    if can.contexts is not None and count > can.contexts:
        has = f"has at most {can.contexts}" if can.contexts else "has none"
        names = ", ".join(repr(context.name) for context in wanted.contexts)
        raise Refused(f"{count} RSS contexts are wanted ({names}), driver {can.driver} {has}")
    for context in wanted.contexts:
        label = f"context {context.name!r}"
        if context.queue_max >= queues:
            stays = "" if context.is_ours else '; other_contexts = "remove" takes it away'
            raise Refused(f"{label} uses queue {context.queue_max}, but {active}{stays}")
        if len(context.key) != (can.key_bytes if can.context_keys else 0):
            each = f"exactly {can.key_bytes}" if can.context_keys else "none for each context"
            raise Refused(f"{label} has a key of {len(context.key)} bytes, the NIC takes {each}")
    reach = {context.name: context.queue_max for context in wanted.contexts}
    if can.contexts != 0:
        reach[OWN_CONTEXT] = max(wanted.table.entries, default=0)
    for rule in wanted.rules:
        if rule.context is None:
            continue
        if rule.context not in reach:
            raise Refused(
                f"{rule.label} names context {rule.context!r}, which is not there; delete the rule "
                "or let it name another"
            )
        offset = rule.queue or 0
        if offset and not can.context_adds_queue:
            raise Refused(
                f"{rule.label} adds queue {offset} to context {rule.context!r}, which driver "
                f"{can.driver} cannot; leave queue out"
            )
        if offset + reach[rule.context] >= queues:
            raise Refused(
                f"{rule.label} adds queue {offset} to context {rule.context!r}, whose table goes "
                f"up to {reach[rule.context]}, but {active}"
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
    older = _by_name(now)
    for context in wanted.contexts:
        if context in now.contexts:  # it may have the size that the table had when it was made
            continue
        sizes = {len(one.table.entries) for one in (context, older.get(context.name)) if one}
        if sizes != {can.table_size}:
            told = " and ".join(map(str, sorted(sizes)))
            raise Refused(
                f"context {context.name!r} has {told} entries, the NIC takes exactly "
                f"{can.table_size}; one of another size can be taken away only"
            )
    if wanted.rules and wanted.settings.get("features", {}).get(NTUPLE) is False:
        raise Refused(
            f"without the feature {NTUPLE} the NIC has no rules, and {len(wanted.rules)} are "
            'wanted or kept; leave it on, or take them away with other_rules = "remove"'
        )
    if now.rules == wanted.rules:
        return
    if can.picks_locations:
        raise Refused(
            f"driver {can.driver} chooses the locations of rules itself, so their order cannot be "
            "planned; leave rules out"
        )
    there = {rule.does for rule in now.rules}
    for rule in wanted.rules:
        why = can.rule_limits.objection(rule) if rule.does not in there else None
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


def _settings_before(now: NicState, wanted: NicState) -> list[Step]:
    """What others build on: the driver's switches, sizes, features that are turned on, the hash.

    Hashed fields come before a transform that needs them symmetric, and after one that goes.
    """
    hashing = _changed(now, wanted, "hash")
    goes = hashing.get("transform") == "none"
    order = sorted(hashing, key=lambda name: (name == "transform") != goes)
    return [
        *_values(now, wanted, "private_flags", Disruption.LINK),
        *_values(now, wanted, "rings", Disruption.LINK),
        *_values(now, wanted, "features", Disruption.REORDERS, only=True),
        *(
            step
            for name in order
            for step in _values(now, wanted, "hash", Disruption.REORDERS, name=name)
        ),
    ]


def _settings_after(now: NicState, wanted: NicState) -> list[Step]:
    """What rests on others: coalescing of queues that are there then, features that go."""
    every = list(_values(now, wanted, "coalesce", Disruption.NONE))
    queues = [group for group in wanted.settings if queue_of(group) is not None]
    if every:  # is written to every queue
        unknown: dict[str, Values] = {group: {} for group in queues}
        now = replace(now, settings={**now.settings, **unknown})
    return [
        *every,
        *(s for group in queues for s in _values(now, wanted, group, Disruption.NONE)),
        *_values(now, wanted, "features", Disruption.REORDERS, only=False),
    ]


def _host(now: NicState, wanted: NicState) -> Iterator[Step]:
    """Each value is a file of its own. With other channels drivers make the interrupts anew."""
    anew = now.channels != wanted.channels
    for group in HOST_GROUPS:
        there = now.settings.get(group, {})
        for name, value in wanted.settings.get(group, {}).items():
            if there.get(name) == value and not anew:
                continue
            before = {name: there[name]} if name in there else {}
            reason = f"{name} is {text(there[name]) or 'none'}" if before else f"{name} is new"
            if there.get(name) == value:
                reason = "drivers make interrupts and NAPI instances anew with other channels"
            yield Step(
                do=SetValues(group=group, values={name: value}),
                undo=SetValues(group=group, values=before),
                reason=reason,
                disruption=Disruption.REORDERS if group in _MOVES_PACKETS else Disruption.NONE,
            )


_MOVES_PACKETS: Final = ("host.interrupts", "host.rps", "host.rfs", "host.napi")
"""Packets under way may be overtaken. XPS moves a connection when none of its packets are."""


def _changed(now: NicState, wanted: NicState, group: str) -> dict[str, Value]:
    there = now.settings.get(group, {})
    values = wanted.settings.get(group, {})
    return {name: value for name, value in values.items() if there.get(name) != value}


def _values(
    now: NicState,
    wanted: NicState,
    group: str,
    disruption: Disruption,
    *,
    only: bool | None = None,
    name: str | None = None,
) -> Iterator[Step]:
    """One request for the values that differ: all, those that become ``only``, or one."""
    values = {
        key: value
        for key, value in _changed(now, wanted, group).items()
        if only in (None, value) and name in (None, key)
    }
    if not values:
        return
    there = now.settings.get(group, {})
    before = {key: there[key] for key in values if key in there}
    if group.startswith("coalesce"):  # what the driver adapts from now on comes back, too
        before |= {key: value for key, value in there.items() if key not in wanted.settings[group]}
    told = ", ".join(f"{key} is {text(there.get(key)) or 'adapted'}" for key in values)
    yield Step(
        do=SetValues(group=group, values=values),
        undo=SetValues(group=group, values=before),
        reason=told,
        disruption=disruption,
    )


def _after_features(now: NicState, wanted: NicState, can: Capabilities) -> NicState:
    """What the NIC holds when its features are on: some drivers reset the table then."""
    on = _changed(now, wanted, "features").get(NTUPLE) is True
    if not on or not can.ntuple_resets_table:
        return now
    return replace(now, table=_default(can.reach(now), now))


def _armed(now: NicState, wanted: NicState, can: Capabilities) -> Iterator[Step]:
    """More channels: a table that stays is written once more where the driver needs it."""
    stays = wanted.table.entries and not list(_table(now, wanted))
    if can.channels_lose_table and now.channels != wanted.channels and stays:
        yield _again(wanted, f"driver {can.driver} forgets it with other channels")


def _again(wanted: NicState, reason: str) -> Step:
    action = SetTable(entries=wanted.table.entries)
    return Step(do=action, undo=action, reason=reason, disruption=Disruption.REORDERS)


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


def _lost(now: NicState, wanted: NicState, can: Capabilities) -> Iterator[Step]:
    """What some drivers make the default, or do not use, with fewer channels, once more."""
    if can.channels_lose_table and wanted.table.entries and not list(_default_again(now, wanted)):
        yield _again(wanted, f"driver {can.driver} forgets it with other channels")
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
        yield _again(wanted, reason)


def _default(queues: int, state: NicState) -> RssTable:
    return RssTable.default(queues, len(state.table.entries))


def _moves(before: RssTable, after: RssTable) -> str:
    return f"{before.moved(after)} of {len(after.entries)} table entries change their queue"


def _room_for_contexts(
    now: NicState, wanted: NicState, can: Capabilities
) -> tuple[list[Step], NicState]:
    """Where old and new contexts are more than the NIC has: the old go first, their rules before.

    Returns:
        The steps, and what the NIC holds after them.
    """
    old, new = _by_name(now), _by_name(wanted)
    if can.contexts is None or len(old | new) <= can.contexts:
        return [], now
    go = old.keys() - new.keys()
    rules = [rule for rule in reversed(now.rules) if rule.context in go]
    left = replace(
        now,
        rules=tuple(rule for rule in now.rules if rule.context not in go),
        contexts=tuple(context for context in now.contexts if context.name not in go),
    )
    return [*map(_deleted, rules), *_contexts_gone(now, wanted)], left


def _contexts(now: NicState, wanted: NicState, can: Capabilities) -> Iterator[Step]:
    """Contexts that come, and those that change in place; rules name them afterwards."""
    there = _by_name(now)
    for context in wanted.contexts:
        if context.name not in there:
            yield Step(
                do=CreateContext(context=context),
                undo=DeleteContext(context=context.name),
                reason=f"not there; by {can.contexts_by or 'the backend'}",
                disruption=Disruption.NONE,
            )
        elif context != there[context.name]:
            yield from _changes_of(there[context.name], context)


def _changes_of(now: RssContext, wanted: RssContext) -> Iterator[Step]:
    """One request for table, key, function and transform, one for the fields of each flow.

    Fields come before a transform that needs them symmetric, and after one that goes.
    """
    values = {name: v for name, v in wanted.hashing.items() if now.hashing.get(name) != v}
    fields = {name: value for name, value in values.items() if name in HASHED_FLOWS}
    hashes = {name: value for name, value in values.items() if name not in HASHED_FLOWS}
    table, key = wanted.table != now.table, wanted.key != now.key
    told = [_moves(now.table, wanted.table)] if table else []
    told += ["the hash key differs"] if key else []
    told += [f"{name} is {text(now.hashing.get(name)) or 'not known'}" for name in hashes]
    of_flows = [
        _change(now, f"{flow} is {text(now.hashing.get(flow)) or 'not hashed'}", {flow: value})
        for flow, value in fields.items()
    ]
    goes = hashes.get("transform") == "none"
    yield from () if goes else of_flows
    if told:
        entries = wanted.table.entries if table else None
        yield _change(now, "; ".join(told), hashes, entries, wanted.key if key else None)
    yield from of_flows if goes else ()


def _change(
    now: RssContext,
    reason: str,
    values: Values,
    entries: tuple[int, ...] | None = None,
    key: bytes | None = None,
) -> Step:
    return Step(
        do=SetContext(context=now.name, entries=entries, key=key, values=values),
        undo=SetContext(
            context=now.name,
            entries=None if entries is None else now.table.entries,
            key=None if key is None else now.key,
            values={name: now.hashing[name] for name in values if name in now.hashing},
        ),
        reason=reason,
        disruption=Disruption.REORDERS,
    )


def _contexts_gone(now: NicState, wanted: NicState) -> Iterator[Step]:
    """Contexts that are not wanted, once no rule names them."""
    for name in sorted(_by_name(now).keys() - _by_name(wanted).keys()):
        context = _by_name(now)[name]
        yield Step(
            do=DeleteContext(context=name),
            undo=CreateContext(context=context),
            reason="is not wanted",
            disruption=Disruption.NONE,
        )


def _by_name(state: NicState) -> dict[str, RssContext]:
    return {context.name: context for context in state.contexts}


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
