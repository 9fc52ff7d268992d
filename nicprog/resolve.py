# SPDX-License-Identifier: Apache-2.0
"""What a spec means on one NIC: from shares, ranges and automatic locations to a full state."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from nicprog import contexts, settings
from nicprog.errors import Refused
from nicprog.host import HostFacts
from nicprog.host.resolve import Objection, ResolvedHost, resolve_host
from nicprog.model import Capabilities, Channels, FlowRule, NicState, RssTable, symmetric_key
from nicprog.rules import NoRoom, Wanted, locate, parts, shadowed
from nicprog.settings import Limits, Value
from nicprog.spec import RssSpec, RuleSpec, Spec, check


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A full state, and what its author should know about it.

    Attributes:
        state: Everything the NIC should hold.
        warnings: Rules that can never take a packet.
    """

    state: NicState
    warnings: tuple[str, ...] = ()


def resolve(
    spec: Spec,
    now: NicState,
    can: Capabilities,
    limits: Mapping[str, Limits] | None = None,
    facts: HostFacts | None = None,
) -> Resolved:
    """Completes ``spec`` with what ``now`` holds.

    Args:
        spec: What is wanted.
        now: What the NIC holds, with the groups of settings that the spec names.
        can: What the NIC can do.
        limits: Of these groups.
        facts: What the host is like around the NIC; None when it is no device of a host.

    Raises:
        SpecError: The spec contradicts itself.
        Refused: The NIC would refuse it; the text says which part and the limit.
    """
    check(spec)
    channels = spec.channels or now.channels
    _check_channels(spec, channels, can)
    _check_parts(spec, can)
    rules, key = _rules(spec, now, channels.rx_queues, can), _key(spec, now, can)
    host = _host(spec, now, channels, facts)
    state = NicState(
        channels=channels,
        table=_table(spec, now, channels.rx_queues),
        key=key,
        rules=rules,
        contexts=contexts.resolve_contexts(spec, now, channels.rx_queues, rules, key, can),
        settings=_settings(spec, now, channels.rx_queues, can, limits or {}) | host.settings,
    )
    told = (*contexts.warnings(spec, state.contexts), *_no_effect(now, state, spec, can))
    told += tuple(_wider(rules, can))
    return Resolved(state=state, warnings=(*_warnings(rules), *told, *host.warnings))


def _host(spec: Spec, now: NicState, channels: Channels, facts: HostFacts | None) -> ResolvedHost:
    if spec.host is None:
        return ResolvedHost()
    if facts is None:
        text = f"{spec.device}: is no device of this host; leave [host] out"
        raise Refused(spec.error(("host",), text))
    try:
        return resolve_host(spec.host, channels, facts, now.settings)
    except Objection as why:
        raise Refused(spec.error(("host", *why.path), f"{spec.device}: {why}")) from None


def _settings(
    spec: Spec, now: NicState, queues: int, can: Capabilities, limits: Mapping[str, Limits]
) -> dict[str, dict[str, Value]]:
    """What the groups that were read should hold."""
    found = {group: dict(values) for group, values in now.settings.items()}
    for group, asked in spec.settings.items():
        wanted = settings.checked(group, asked)
        queue = settings.queue_of(group)
        if queue is not None and queue >= queues:
            text = f"queue {queue} is named, but {queues} queues are active (0 to {queues - 1})"
            raise Refused(spec.error(("coalesce", "queue", str(queue)), f"{spec.device}: {text}"))
        for name, value in wanted.items():
            if why := _objection(group, name, value, limits[group], can):
                path = (*group.split("."), name)
                raise Refused(spec.error(path, f"{spec.device}: {why}"))
        found[group] = settings.merged(group, found[group], wanted)
    _check_symmetric(spec, found.get("hash", {}))
    return found


def _objection(
    group: str, name: str, value: Value, limits: Limits, can: Capabilities
) -> str | None:
    """Why the NIC would not take a value, or None."""
    if not limits.known:
        return f"driver {can.driver} has no {group} that can be set; leave [{group}] out"
    if name not in limits.known:
        close = difflib.get_close_matches(name, limits.known, n=1)
        hint = (
            f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(limits.known))}"
        )
        return f"driver {can.driver} has no {name!r} in {group}; {hint}"
    if name in limits.fixed and limits.fixed[name] != value:
        return f"{name} is fixed {settings.text(limits.fixed[name])} by driver {can.driver}"
    if name in limits.most and int(value) > limits.most[name]:
        return f"{name} {value} asked, it has at most {limits.most[name]}"
    return None


def _check_symmetric(spec: Spec, hashing: Mapping[str, Value]) -> None:
    if hashing.get("transform", "none") == "none":
        return
    for flow in settings.HASHED_FLOWS:
        letters = str(hashing.get(flow, ""))
        if not settings.is_symmetric(letters):
            text = (
                f"{spec.device}: transform {hashing['transform']} needs both directions' fields, "
                f"but {flow} hashes {letters!r}"
            )
            raise Refused(spec.error(("hash", "transform"), text))


def _turns_off(spec: Spec, feature: str) -> bool:
    asked = settings.checked("features", spec.settings.get("features", {}))
    return asked.get(feature) is False


def _no_effect(now: NicState, state: NicState, spec: Spec, can: Capabilities) -> list[str]:
    if can.fields_need_rx_hashing and _turns_off(spec, settings.RX_HASHING):
        return [
            f"driver {can.driver} sends every packet to queue 0 once {settings.RX_HASHING} was "
            "turned off; leave it on"
        ]
    features = {**now.settings.get("features", {}), **state.settings.get("features", {})}
    asked = [name for name in spec.settings.get("hash", {}) if name in settings.HASHED_FLOWS]
    if not can.fields_need_rx_hashing or not asked or features.get(settings.RX_HASHING, True):
        return []
    return [
        f"driver {can.driver} takes hashed fields ({', '.join(asked)}) and uses them only while "
        f"{settings.RX_HASHING} is on; add [features] {settings.RX_HASHING} = true"
    ]


def _wider(rules: tuple[FlowRule, ...], can: Capabilities) -> list[str]:
    """Rules that take more than they say."""
    if not can.rules_ignore_protocol:
        return []
    other = {"tcp": "udp", "udp": "tcp"}
    return [
        f"{rule.label} takes {other[rule.match.flow.protocol]} with the same addresses and ports, "
        f"too: driver {can.driver} does not compare the protocol"
        for rule in rules
        if rule.match.flow.protocol in other
    ]


def _check_channels(spec: Spec, channels: Channels, can: Capabilities) -> None:
    if excess := can.excess(channels):
        kind, count, most = excess
        text = f"{spec.device}: {count} {kind} channels asked, it has at most {most}"
        if kind == "combined" and most == 0:
            text += "; it counts rx and tx apart, give both"
        raise Refused(spec.error(("channels", kind), text))


def _check_parts(spec: Spec, can: Capabilities) -> None:
    """Refuses what a NIC without a table, a key or rules cannot have."""
    rss = spec.rss or RssSpec()
    asked = next((k for k in ("equal", "weights", "table") if getattr(rss, k) is not None), None)
    has_no = f"{spec.device}: driver {can.driver} has no"
    if asked and not can.table_size:
        raise Refused(spec.error(("rss", asked), f"{has_no} indirection table; leave {asked} out"))
    if rss.key is not None and not can.key_bytes:
        raise Refused(spec.error(("rss", "key"), f"{has_no} hash key; leave key out"))
    if spec.reserve and not can.table_size:
        text = f"{has_no} indirection table, so no queue can be reserved"
        raise Refused(spec.error(("reserve", 0, "queue"), text))
    if spec.all_rules() and not can.locations:
        raise Refused(
            spec.error(spec.path_of_rule(0, "name"), f"{has_no} flow rules; leave them out")
        )


def _table(spec: Spec, now: NicState, queues: int) -> RssTable:
    base, rss, reserved = now.table, spec.rss or RssSpec(), spec.reserved()
    if base.is_default(now.channels.rx_queues):
        base = RssTable.default(queues, len(base.entries))  # the NIC lets it follow
    free = [queue for queue in range(queues) if queue not in reserved]
    if not free:
        text = f"{spec.device}: every one of its {queues} active queues is reserved; leave one"
        raise Refused(spec.error(("reserve", 0, "queue"), text))
    _check_queues(spec, rss, queues)
    if rss.table == "default":
        return RssTable.default(queues, len(base.entries))
    if isinstance(rss.table, tuple):
        return _replicated(spec, rss.table, len(base.entries))
    if rss.weights is not None:
        return base.with_shares({q: w for q, w in enumerate(rss.weights) if w})
    if rss.equal is not None:
        named = free if isinstance(rss.equal, str) else rss.equal
        return base.with_shares(dict.fromkeys(named, 1))
    if reserved & set(base.entries):
        others = Counter(queue for queue in base.entries if queue not in reserved)
        return base.with_shares(others or dict.fromkeys(free, 1))
    return base


def _check_queues(spec: Spec, rss: RssSpec, queues: int) -> None:
    named = rss.queues()
    if named and max(named) >= queues:
        key = next(k for k in ("equal", "weights", "table") if getattr(rss, k) is not None)
        text = (
            f"{spec.device}: {key} names queue {max(named)}, but {queues} queues are active "
            f"(0 to {queues - 1}); choose a lower queue or raise [channels] combined"
        )
        raise Refused(spec.error(("rss", key), text))


def _replicated(spec: Spec, entries: tuple[int, ...], size: int) -> RssTable:
    """A shorter table is repeated, as the kernel does, if that fills the NIC's exactly."""
    if size % len(entries):
        text = (
            f"{spec.device}: table has {len(entries)} entries, the NIC's has {size}; "
            f"give {size}, or a number that divides it"
        )
        raise Refused(spec.error(("rss", "table"), text))
    return RssTable(entries=entries * (size // len(entries)))


def _key(spec: Spec, now: NicState, can: Capabilities) -> bytes:
    if spec.rss is None or spec.rss.key is None:
        return now.key
    where = ("rss", "key")
    if spec.rss.key == "symmetric":
        return symmetric_key(can.key_bytes)
    if spec.rss.key == "default":
        if can.default_key is None:
            text = f"{spec.device}: the default key of driver {can.driver} is not known; give it"
            raise Refused(spec.error(where, text))
        return can.default_key
    key = spec.rss.key_bytes()
    if len(key) != can.key_bytes:
        text = f"{spec.device}: key has {len(key)} bytes, the NIC takes exactly {can.key_bytes}"
        raise Refused(spec.error(where, text))
    return key


def _rules(spec: Spec, now: NicState, queues: int, can: Capabilities) -> tuple[FlowRule, ...]:
    if spec.keeps_other_rules() and not spec.all_rules():
        return now.rules
    explicit: dict[int, FlowRule] = {}
    automatic: list[Wanted] = []
    for index, rule in enumerate(spec.all_rules()):
        if rule.queue is not None and rule.queue >= queues:
            text = (
                f"{spec.device}: rule {rule.name!r} names queue {rule.queue}, but {queues} queues "
                f"are active (0 to {queues - 1}); choose a lower queue or raise [channels] combined"
            )
            raise Refused(spec.error(spec.path_of_rule(index, "queue"), text))
        if rule.location is None:
            automatic += parts(rule)
        else:
            try:
                _place(rule, parts(rule), explicit, can)
            except Refused as error:
                text = f"{spec.device}: {error}"
                raise Refused(spec.error(spec.path_of_rule(index, "location"), text)) from None
    kept = _kept(now, [*explicit.values(), *automatic]) if spec.keeps_other_rules() else {}
    for location in sorted(explicit.keys() & kept.keys()):
        raise Refused(
            f"{spec.device}: location {location} of rule {explicit[location].name!r} holds a rule "
            'that other_rules = "keep" protects; choose another location'
        )
    placed = kept | explicit
    try:
        found = locate(automatic, now=now.rules, taken=set(placed), locations=can.locations)
    except NoRoom:
        raise Refused(
            f"{spec.device}: the rules need {len(automatic)} more locations after {len(placed)} "
            f"that are taken, the NIC has {can.locations}; port ranges and rules for both IP "
            "versions need several each"
        ) from None
    rules = [*placed.values(), *found]
    return tuple(sorted(rules, key=lambda rule: rule.location))


def _place(
    rule: RuleSpec, slots: list[Wanted], taken: dict[int, FlowRule], can: Capabilities
) -> None:
    """Puts the parts of a rule with a location of its own at that location and those after it."""
    first = rule.location or 0
    last = first + len(slots) - 1
    if last >= can.locations:
        raise Refused(
            f"rule {rule.name!r} needs {_locations(first, last)}, the NIC has {can.locations} "
            f"(0 to {can.locations - 1})"
        )
    for location, part in enumerate(slots, first):
        if location in taken:
            raise Refused(
                f"location {location} is taken twice, by rule {taken[location].name!r} and by rule "
                f"{rule.name!r}, which needs {_locations(first, last)}"
            )
        taken[location] = part.at(location)


def _locations(first: int, last: int) -> str:
    return f"location {first}" if first == last else f"locations {first} to {last}"


def _kept(now: NicState, wanted: list[FlowRule | Wanted]) -> dict[int, FlowRule]:
    """Rules on the NIC that the spec does not ask for itself."""
    asked = {item.does for item in wanted}
    return {rule.location: rule for rule in now.rules if rule.does not in asked}


def _warnings(rules: tuple[FlowRule, ...]) -> list[str]:
    """One sentence for each pair of rules, however many locations they take."""
    pairs = Counter((_name(rule), _name(over)) for rule, over in shadowed(rules))
    counts = Counter(_name(rule) for rule in rules)
    return [
        f"{rule} never takes a packet"
        + ("" if count == counts[rule] else f" in {count} of its {counts[rule]} locations")
        + f": {over} comes first and takes all of them"
        for (rule, over), count in pairs.items()
    ]


def _name(rule: FlowRule) -> str:
    return f"rule {rule.name!r}" if rule.name else rule.label
