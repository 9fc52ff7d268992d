# SPDX-License-Identifier: Apache-2.0
"""A spec, or the steps of a plan, as command lines of ethtool."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from nicprog.actions import (
    Action,
    DeleteRule,
    InsertRule,
    ResetTable,
    SetChannels,
    SetKey,
    SetTable,
    SetValues,
)
from nicprog.errors import Refused
from nicprog.model import LOCATION_MAX, Channels, FlowRule, Match
from nicprog.plan import Plan
from nicprog.rules import Wanted, expand, locate
from nicprog.settings import checked
from nicprog.shell import flows, values
from nicprog.spec import RssSpec, Spec, check

_BEFORE: Final = ("private_flags", "rings", "features", "hash")
"""Settings that channels, table and rules build on; the others come last."""
_HEAD: Final = "#!/bin/sh\nset -e\n"


def write_spec(spec: Spec) -> str:
    """The commands of a spec alone, without asking the NIC.

    Raises:
        Refused: It says what only the NIC's present state makes a command of; the text says which
            part. :func:`write_plan` writes that, too.
    """
    check(spec)
    name = shlex.quote(spec.device)
    lines = [_HEAD.rstrip("\n")]
    if spec.all_rules() and not spec.keeps_other_rules():
        lines.append(
            f"\n# Rules on {spec.device} that are not made here have to go first, each by\n"
            f"# ethtool -N {name} delete LOCATION\n"
        )
    lines += _settings(name, spec, _BEFORE)
    if spec.channels is not None:
        lines.append(f"ethtool -L {name} {_counts(spec.channels, spec.channels)}")
    if words := list(_rss(spec)):
        lines.append(f"ethtool -X {name} {' '.join(words)}")
    lines += _rules(name, spec)
    lines += _settings(name, spec, tuple(g for g in spec.settings if g not in _BEFORE))
    return "\n".join(lines) + "\n"


def write_plan(plan: Plan) -> str:
    """The commands that do what the steps of a plan do, in their order.

    ethtool writes a table in runs of one queue, so entries are elsewhere than in the plan where no
    run does it; each queue has as many. A comment says so.
    """
    name = shlex.quote(plan.device)
    lines = [_HEAD]
    for step in plan.steps:
        lines += [f"# {step.reason}"] if step.reason else []
        lines += _action(name, step.do, step.undo)
    return "\n".join(lines).rstrip("\n") + "\n"


def _settings(name: str, spec: Spec, groups: Iterable[str]) -> Iterator[str]:
    for group in groups:
        if spec.settings.get(group):
            yield from values.commands(name, group, checked(group, spec.settings[group]))


def _counts(wanted: Channels | SetChannels, now: Channels | SetChannels) -> str:
    kinds = ("combined", "rx", "tx")
    told = [k for k in kinds if getattr(wanted, k) or getattr(now, k)]
    return " ".join(f"{kind} {getattr(wanted, kind)}" for kind in told)


def _rss(spec: Spec) -> Iterator[str]:
    rss = spec.rss or RssSpec()
    if rss.key is not None:
        if rss.key in ("symmetric", "default"):
            raise _needs_plan(spec, "rss", "key", f"the key {rss.key!r} is as long as the NIC says")
        yield from ("hkey", rss.key_bytes().hex(":"))
    if rss.table == "default":
        yield "default"
    elif isinstance(rss.table, tuple):
        yield from _of_table(spec, rss.table)
    elif rss.weights is not None:
        yield from ("weight", *map(str, rss.weights))
    elif rss.equal is not None:
        yield from _equal(_equal_queues(spec, rss.equal))
    elif spec.reserve:
        raise _needs_plan(spec, "reserve", 0, "a reserved queue leaves the table that is there")


def _equal_queues(spec: Spec, equal: tuple[int, ...] | str) -> Sequence[int]:
    if isinstance(equal, tuple):
        return sorted(equal)
    if spec.channels is None:
        raise _needs_plan(spec, "rss", "equal", "'all' queues are as many as the NIC has active")
    return [q for q in range(spec.channels.rx_queues) if q not in spec.reserved()]


def _equal(queues: Sequence[int]) -> list[str]:
    """Equal shares: by a run where the queues are one, else by weights."""
    if not queues:
        raise Refused("every active queue is reserved; leave one")
    if list(queues) == list(range(queues[0], queues[-1] + 1)):
        start = ["start", str(queues[0])] if queues[0] else []
        return [*start, "equal", str(len(queues))]
    named = set(queues)
    return ["weight", *(str(int(queue in named)) for queue in range(queues[-1] + 1))]


def _of_table(spec: Spec, entries: tuple[int, ...]) -> list[str]:
    found = _as_run(entries)
    if found is None:
        raise _needs_plan(spec, "rss", "table", "ethtool writes tables in runs, and this is none")
    return found


def _as_run(entries: tuple[int, ...]) -> list[str] | None:
    """``start M equal N`` when that gives exactly these entries, over and over."""
    first, most = entries[0], max(entries)
    if entries == tuple(first + i % (most - first + 1) for i in range(len(entries))):
        return _equal(range(first, most + 1))
    return None


def _needs_plan(spec: Spec, section: str, key: str | int, why: str) -> Refused:
    return Refused(
        spec.error((section, key), f"{why}; export the plan for one NIC instead (--plan)")
    )


def _rules(name: str, spec: Spec) -> Iterator[str]:
    """Each rule with the location that it gets on a NIC without rules."""
    placed: dict[int, FlowRule] = {}
    automatic: list[Wanted] = []
    for rule in spec.all_rules():
        parts = [Wanted(name=rule.name, match=one, queue=rule.queue) for one in expand(rule)]
        if rule.location is None:
            automatic += parts
            continue
        for location, part in enumerate(parts, rule.location):
            if location in placed:
                text = f"location {location} is taken twice, by rules {placed[location].name!r}"
                raise Refused(f"{spec.device}: {text} and {rule.name!r}")
            placed[location] = part.at(location)
    free = locate(automatic, now=(), taken=set(placed), locations=LOCATION_MAX)
    for slot in sorted([*placed.values(), *free], key=lambda slot: slot.location):
        yield f"\n# {slot.name}" if slot.name.isprintable() else ""
        yield _insert(name, slot)


def _rule_words(match: Match, queue: int | None) -> list[str]:
    return ["flow-type", *flows.options(match), "action", "-1" if queue is None else str(queue)]


def _action(name: str, do: Action, undo: Action) -> Iterable[str]:
    match do:
        case SetChannels():
            now = undo if isinstance(undo, SetChannels) else do
            yield f"ethtool -L {name} {_counts(do, now)}"
        case SetTable():
            yield from _table(name, do.entries)
        case ResetTable():
            yield f"ethtool -X {name} default"
        case SetKey():
            yield f"ethtool -X {name} hkey {do.key.hex(':')}"
        case InsertRule():
            yield _insert(name, do.rule)
        case SetValues():
            yield from values.commands(name, do.group, do.values)
        case DeleteRule():
            yield f"ethtool -N {name} delete {do.location}"


def _insert(name: str, rule: FlowRule) -> str:
    words = " ".join(_rule_words(rule.match, rule.queue))
    return f"ethtool -N {name} {words} loc {rule.location}"


def _table(name: str, entries: tuple[int, ...]) -> Iterator[str]:
    run = _as_run(entries)
    if run is None:
        shares = Counter(entries)
        run = ["weight", *(str(shares[queue]) for queue in range(max(entries) + 1))]
        placed = [queue for queue in sorted(shares) for _ in range(shares[queue])]
        elsewhere = sum(a != b for a, b in zip(entries, placed, strict=True))
        if elsewhere:
            yield (
                f"# {elsewhere} of {len(entries)} entries are at other places than in the plan; "
                "each queue has as many"
            )
    yield f"ethtool -X {name} {' '.join(run)}"
