# SPDX-License-Identifier: Apache-2.0
"""Queues for some flows alone: the table is shrunk away from them, and rules send the flows there.

A reservation is known by its flows: what it has is read from the rules of the NIC, so it can grow,
shrink and end while traffic runs, by whichever process. Several queues share the flows by an RSS
context, to which the rules hand them; where the driver has none, or no more, by the low bits of the
source port: one rule for each value of these bits. Rules of others stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

from nicprog import api
from nicprog.backends import Backend
from nicprog.errors import Refused, UsageError
from nicprog.model import (
    OWN_CONTEXT,
    Capabilities,
    FlowRule,
    Masked,
    Match,
    NicState,
    RssContext,
    RssTable,
    largest_remainder,
)
from nicprog.plan import Plan
from nicprog.rules import NoRoom, Wanted, expand, locate, shadowed
from nicprog.spec import RuleSpec
from nicprog.text import match_text, rule_text

_FEW: Final = 16
"""One in so many table entries is few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What a NIC should hold for a reservation.

    Attributes:
        state: All of it.
        queues: Reserved queues; empty when the reservation ends.
        classes: Queue of each entry of the context; without one of each value of the low bits of
            the source port, a power of two of them.
        moved: Table entries that name another queue than before: the other flows that move.
        moved_classes: Likewise of ``classes``, counted with as many as there are now; all where
            source port bits and a context take turns.
        context: Name of the context that the queues share, or None.
        warnings: Rules of others that lose packets, and the like.
    """

    state: NicState
    queues: tuple[int, ...]
    classes: tuple[int, ...]
    moved: int
    moved_classes: int
    context: str | None = None
    warnings: tuple[str, ...] = ()


def flow(text: str) -> tuple[Match, ...]:
    """Reads flows such as ``tcp dst_port=8443 family=ipv4``; keys are those of rules in specs.

    Raises:
        UsageError: It is not that.
    """
    protocol, *pairs = text.split() or [""]
    values: dict[str, int | str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key not in _KEYS:
            raise UsageError(
                f"flow {text!r}: {pair!r} is not KEY=VALUE with a key of {', '.join(_KEYS)}"
            )
        values[key] = int(value) if value.isdecimal() else value
    number = int(protocol) if protocol.isdecimal() else protocol
    try:
        return expand(RuleSpec(name="flow", protocol=number, queue=0, **values))  # type: ignore[arg-type]  # checked there
    except (ValueError, TypeError) as error:
        raise UsageError(f"flow {text!r}: {error}") from None


_KEYS: Final = (
    "family", "src", "dst", "src_port", "dst_port", "dscp", "tos", "vlan", "vlan_tci", "l4_proto",
)  # fmt: skip


def plan(
    nic: Backend, flows: Sequence[Match], queues: int | Sequence[int]
) -> tuple[Reservation, Plan]:
    """What it takes that ``flows``, and nothing else, get that many queues, or these.

    Apply the plan with :func:`nicprog.apply`. No queue at all ends the reservation.

    Raises:
        Refused: The NIC cannot hold it; the text has the numbers.
        DeviceError: The NIC is gone.
    """
    can, now = nic.capabilities(), nic.read()
    try:
        found = reserve(now, can, flows, queues)
    except Refused as error:
        raise Refused(f"{nic.device}: {error}") from None
    made = api.plan(nic, found.state)
    return found, replace(made, warnings=(*made.warnings, *found.warnings))


def reserve(
    now: NicState, can: Capabilities, flows: Sequence[Match], queues: int | Sequence[int]
) -> Reservation:
    """The state in which ``flows`` have ``queues`` alone; as few other flows as possible move.

    Raises:
        Refused: The NIC cannot hold it; the text has the numbers.
    """
    _check_parts(can)
    own = [
        rule
        for rule in now.rules
        if rule.queue is not None and any(_bits(rule.match, one) is not None for one in flows)
    ]
    others = [rule for rule in now.rules if rule not in own]
    mine = _context_of(now, own, others)
    before = _classes_of(now, own, flows)
    chosen = _chosen(now, own, others, queues)
    shared = _shared_context(now, can, flows, mine, others) if len(chosen) > 1 else None
    if shared is not None:
        base = shared.table if mine else RssTable(entries=_turns(chosen, can.table_size))
        shared = replace(shared, table=base.with_shares(dict.fromkeys(chosen, 1)))
        classes = shared.table.entries
    else:
        classes = _classes(() if mine else before, chosen, flows)
    returned = _queues(now, own) - _queues(now, others) - set(chosen)
    table = _table(now, chosen, returned, _queues(now, others))
    rules = _rules(now, can, others, flows, classes, shared)
    contexts = {one.name: one for one in now.contexts if mine is None or one.name != mine.name}
    contexts |= {shared.name: shared} if shared else {}
    return Reservation(
        state=replace(
            now,
            table=table,
            rules=rules,
            contexts=tuple(contexts[name] for name in sorted(contexts)),
        ),
        queues=chosen,
        classes=classes,
        moved=now.table.moved(table),
        moved_classes=_moved(before, classes, same_kind=(mine is None) == (shared is None)),
        context=shared.name if shared else None,
        warnings=_warnings(others, rules),
    )


def _moved(before: tuple[int, ...], classes: tuple[int, ...], *, same_kind: bool) -> int:
    """A single queue is the same however its flows are told apart."""
    width = max(len(before), len(classes), 1)
    if not same_kind and min(len(before), len(classes)) > 1:
        return width
    pairs = zip(_wide(before, width), _wide(classes, width), strict=False)
    return sum(a != b for a, b in pairs)


def _turns(queues: Sequence[int], size: int) -> tuple[int, ...]:
    return tuple(queues[i % len(queues)] for i in range(size))


def _context_of(
    now: NicState, own: Sequence[FlowRule], others: Sequence[FlowRule]
) -> RssContext | None:
    """The context of the reservation: that which its rules name, and no rule of others."""
    foreign = {rule.context for rule in others}
    named = {rule.context for rule in own} - foreign
    return next((context for context in now.contexts if context.name in named), None)


def _shared_context(
    now: NicState,
    can: Capabilities,
    flows: Sequence[Match],
    mine: RssContext | None,
    others: Sequence[FlowRule],
) -> RssContext | None:
    """The context to be, whose table is still open; None where there is none to have."""
    if mine is not None:
        return mine
    foreign = {rule.context for rule in others}
    name = f"reserved {match_text(flows[0])}"
    while name in foreign:
        name += "'"
    there = {context.name for context in now.contexts}
    if can.contexts is not None and len(there | {name}) > can.contexts:
        return None
    key = now.key if can.context_keys else b""
    return RssContext(name=name, table=now.table, key=key)


def _check_parts(can: Capabilities) -> None:
    if not can.table_size:
        raise Refused(f"driver {can.driver} has no indirection table, so no queue can be reserved")
    if not can.locations:
        raise Refused(f"driver {can.driver} has no flow rules, so no queue can be reserved")


def _bits(match: Match, one: Match) -> int | None:
    """How many low bits of the source port ``match`` compares beside what ``one`` does."""
    bits = match.src_port.mask
    if match == one:
        return 0
    if one.src_port.mask or bits & (bits + 1) or replace(match, src_port=one.src_port) != one:
        return None
    return bits.bit_length()


def _classes_of(now: NicState, own: Sequence[FlowRule], flows: Sequence[Match]) -> tuple[int, ...]:
    """Queue by entry of the context, or by the low bits of the source port, as rules say; or ()."""
    tables = {context.name: context.table.entries for context in now.contexts}
    for one in flows:
        rules = [(bits, rule) for rule in own if (bits := _bits(rule.match, one)) is not None]
        if len({bits for bits, _ in rules}) == 1 and len(rules) == 1 << rules[0][0]:
            rules.sort(key=lambda item: item[1].match.src_port.value)
            if rules[0][1].context is not None:
                return tables.get(rules[0][1].context, ())
            return tuple(rule.queue for _, rule in rules if rule.queue is not None)
    return ()


def _queues(now: NicState, rules: Sequence[FlowRule]) -> set[int]:
    return {queue for rule in rules for queue in _queues_of(now, rule)}


def _queues_of(now: NicState, rule: FlowRule) -> Counter[int]:
    """Queues that a rule sends packets to, and the entries of its context for each."""
    if rule.queue is None:
        return Counter()
    if rule.context is None:
        return Counter([rule.queue])
    tables = {context.name: context.table.entries for context in now.contexts}
    tables[OWN_CONTEXT] = now.table.entries
    return Counter(entry + rule.queue for entry in tables.get(rule.context, ()))


def _chosen(
    now: NicState,
    own: Sequence[FlowRule],
    others: Sequence[FlowRule],
    queues: int | Sequence[int],
) -> tuple[int, ...]:
    """The queues to reserve: those that it has, then those that the fewest table entries name."""
    active = now.channels.rx_queues
    named = {queue: rule for rule in others for queue in _queues_of(now, rule)}
    entries = Counter(now.table.entries)
    shares: Counter[int] = sum((_queues_of(now, rule) for rule in own), Counter())
    held = sorted(shares, key=lambda queue: (-shares[queue], queue))
    free = sorted(
        (queue for queue in range(active) if queue not in named and queue not in held),
        key=lambda queue: (entries[queue], -queue),
    )
    if isinstance(queues, int):
        most = len([queue for queue in held + free if queue not in named])
        left = any(queue in named for queue in entries)
        if queues > most - (not left):
            raise Refused(
                f"{queues} queues asked; {active} are active, rules of others name "
                f"{len(named)} of them, and one has to be left for all other flows, so at most "
                f"{max(most - (not left), 0)} can be reserved"
            )
        return tuple(sorted((held + free)[:queues]))
    for queue in queues:
        if not 0 <= queue < active:
            raise Refused(f"queue {queue} asked, but {active} are active (0 to {active - 1})")
        if queue in named:
            text = f"queue {queue} is named by the rule at location {named[queue].location}"
            raise Refused(f"{text} ({rule_text(named[queue])}); choose another or delete the rule")
    if len(set(queues)) >= active:
        raise Refused(f"all {active} active queues asked; leave one for all other flows")
    return tuple(sorted(set(queues)))


def _classes(
    before: tuple[int, ...], queues: Sequence[int], flows: Sequence[Match]
) -> tuple[int, ...]:
    """Queue of each value of the low bits of the source port; as few as possible change.

    With a number of queues that is no power of two there are at least four classes for each, so
    that none has more than 5/4 of its share.
    """
    if not queues:
        return ()
    if len(queues) > 1:
        for one in flows:
            if one.src_port.mask or one.flow.protocol == "any":
                raise Refused(
                    f"{len(queues)} queues asked, but flows of {one.flow.name} that "
                    + ("name a source port" if one.src_port.mask else "name no protocol")
                    + " cannot be spread over several; reserve one"
                )
    power = 1 << (len(queues) - 1).bit_length()
    size = power if power == len(queues) else 4 * power
    base = _wide(before, size) if before else tuple(queues[i % len(queues)] for i in range(size))
    return RssTable(entries=base).with_shares(dict.fromkeys(queues, 1)).entries


def _wide(classes: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The same classes told by more bits of the source port, or what is left of them by fewer."""
    return (classes * (size // len(classes) or 1))[:size] if classes else ()


def _table(now: NicState, taken: Sequence[int], returned: Set[int], named: Set[int]) -> RssTable:
    """The others keep their shares; a queue that comes back gets what they have on average.

    After the last reservation it is the default table, should that move few entries more, since
    that one follows the number of queues.
    """
    shares = Counter(queue for queue in now.table.entries if queue not in taken)
    queues = now.channels.rx_queues
    if not shares:
        shares = Counter(q for q in range(queues) if q not in taken and q not in named)
    average = max(1, round(shares.total() / len(shares)))
    shares |= Counter(dict.fromkeys(returned, average))
    if max(shares.values()) - min(shares.values()) <= 1:  # no more than rounding
        shares = Counter(shares.keys())
    default = RssTable.default(queues, len(now.table.entries))
    table = _shared(now.table, shares, default)
    if not taken and len(shares) == queues and shares.total() == queues:
        few = now.table.moved(table) + len(table.entries) // _FEW
        return default if now.table.moved(default) <= few else table
    return table


def _shared(table: RssTable, shares: Counter[int], home: RssTable) -> RssTable:
    """As few entries as possible move, and those to where a default table has them first.

    So a table that was the default one is it again, or nearly, when a reservation has ended.
    """
    entries = list(table.entries)
    missing = Counter(largest_remainder(shares, len(entries)))
    missing.subtract(entries)
    at_home = [entry == other for entry, other in zip(entries, home.entries, strict=True)]
    goes_home = [missing[queue] > 0 for queue in home.entries]
    moving = []
    for index in sorted(range(len(entries)), key=lambda i: (at_home[i], not goes_home[i])):
        if missing[entries[index]] < 0:
            missing[entries[index]] += 1
            moving.append(index)
    later = []
    for index in sorted(moving):
        if missing[home.entries[index]] > 0:
            entries[index] = home.entries[index]
            missing[home.entries[index]] -= 1
        else:
            later.append(index)
    # By home: each queue gets as many of every home, which it can give back alone.
    for index in sorted(later, key=lambda i: (home.entries[i], i)):
        entries[index] = min(missing, key=lambda queue: (-missing[queue], queue))
        missing[entries[index]] -= 1
    return RssTable(entries=tuple(entries))


def _rules(
    now: NicState,
    can: Capabilities,
    others: Sequence[FlowRule],
    flows: Sequence[Match],
    classes: tuple[int, ...],
    shared: RssContext | None,
) -> tuple[FlowRule, ...]:
    if shared is not None:
        told = ""
        wanted = [Wanted(name="reserved", match=one, queue=0, context=shared.name) for one in flows]
    else:
        told = f", {len(classes)} values of source port bits"
        wanted = [
            Wanted(name="reserved", match=_of_class(one, value, len(classes)), queue=queue)
            for one in flows
            for value, queue in enumerate(classes)
        ]
    placed = _placed(wanted, now, {rule.location for rule in others}, can)
    if placed is None:
        raise Refused(
            f"{len(wanted)} rules are needed ({len(flows)} kinds of flows{told}), "
            f"{can.locations - len(others)} of {can.locations} locations are free"
        )
    rules = tuple(sorted([*others, *placed], key=lambda rule: rule.location))
    for rule, over in shadowed(rules):
        if rule in placed and over not in placed:
            raise Refused(
                f"{over.label} ({rule_text(over)}) takes these flows first; delete it, or move it "
                "to a higher location"
            )
    return rules


def _placed(
    wanted: Sequence[Wanted], now: NicState, taken: set[int], can: Capabilities
) -> list[FlowRule] | None:
    """Not in a location of a rule that goes, if that can be: until it goes, its packets have it."""
    asked = {item.does for item in wanted}
    going = {rule.location for rule in now.rules if rule.does not in asked}
    for avoided in (taken | going, taken):
        try:
            return locate(wanted, now=now.rules, taken=avoided, locations=can.locations)
        except NoRoom:
            continue
    return None


def _of_class(one: Match, value: int, classes: int) -> Match:
    return one if classes < 2 else replace(one, src_port=Masked(value=value, mask=classes - 1))


def _warnings(others: Sequence[FlowRule], rules: Sequence[FlowRule]) -> tuple[str, ...]:
    return tuple(
        f"{rule.label} ({rule_text(rule)}) never takes a packet: the reservation comes first"
        for rule, over in shadowed(rules)
        if rule in others and over not in others
    )
