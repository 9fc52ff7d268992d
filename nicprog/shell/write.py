# SPDX-License-Identifier: Apache-2.0
"""A spec, or the steps of a plan, as command lines of ethtool."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from nicprog.model import LOCATION_MAX, Channels, FlowRule
from nicprog.plan import Plan
from nicprog.rules import Wanted, locate, parts
from nicprog.settings import HOST_GROUPS, checked
from nicprog.shell import flows, rss, values
from nicprog.spec import RssSpec, Spec, check

_BEFORE: Final = ("private_flags", "rings", "features", "hash")
"""Settings that channels, table and rules build on; the others come last."""
_HEAD: Final = "#!/bin/sh\nset -e\n"
_NO_NUMBERS: Final[Mapping[str, int]] = {}


def write_spec(spec: Spec) -> str:
    """The commands of a spec alone, without asking the NIC.

    Raises:
        Refused: It says what only the NIC's present state makes a command of; the text says which
            part. :func:`write_plan` writes that, too.
    """
    check(spec)
    if spec.host is not None:
        text = f"{spec.device}: [host] says what is not ethtool's; leave it out"
        raise Refused(spec.error(("host",), text))
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
    numbers = {context.name: number for number, context in enumerate(spec.contexts, 1)}
    lines += _contexts(name, spec, numbers)
    lines += _rules(name, spec, numbers)
    lines += _settings(name, spec, tuple(g for g in spec.settings if g not in _BEFORE))
    return "\n".join(lines) + "\n"


def write_plan(plan: Plan, numbers: Mapping[str, int] = _NO_NUMBERS) -> str:
    """The commands that do what the steps of a plan do, in their order.

    ``numbers`` are those of the contexts that the NIC has. A new one is taken to get the lowest
    that is free.

    ethtool writes a table in runs of one queue, so entries are elsewhere than in the plan where no
    run does it; each queue has as many. A comment says so.
    """
    name = shlex.quote(plan.device)
    lines, known = [_HEAD], dict(numbers)
    for step in plan.steps:
        lines += [f"# {step.reason}"] if step.reason else []
        lines += _action(name, step.do, step.undo, known)
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
    given = spec.rss or RssSpec()
    yield from _shares(spec, given, "rss")
    if given.table is given.weights is given.equal is None and spec.reserve:
        text = "a reserved queue leaves the table that is there"
        raise _needs_plan(spec, "reserve", 0, why=text)


def _shares(spec: Spec, given: RssSpec, *section: str | int) -> Iterator[str]:
    """Key and table of the NIC, or of a context."""
    if given.key is not None:
        if given.key in ("symmetric", "default"):
            text = f"the key {given.key!r} is as long as the NIC says"
            raise _needs_plan(spec, *section, "key", why=text)
        yield from ("hkey", given.key_bytes().hex(":"))
    if given.table == "default":
        yield "default"
    elif isinstance(given.table, tuple):
        yield from _of_table(spec, given.table, *section)
    elif given.weights is not None:
        yield from ("weight", *map(str, given.weights))
    elif given.equal is not None:
        yield from rss.equal(_equal_queues(spec, given.equal))


def _contexts(name: str, spec: Spec, numbers: Mapping[str, int]) -> Iterator[str]:
    if spec.contexts:
        yield (
            "\n# The numbers of contexts are those that the kernel gives on a NIC without any;\n"
            "# compare them with what ethtool prints"
        )
    for index, context in enumerate(spec.contexts):
        hashing = checked("hash", context.hash)
        words = [*_shares(spec, context, "context", index), *rss.hash_words(hashing)]
        yield f"\n# {context.name}"
        yield f"ethtool -X {name} context new {' '.join(words)}"
        yield from values.field_commands(name, hashing, numbers[context.name])


def _number(name: str, numbers: Mapping[str, int]) -> int:
    """The number of a context; that of others is its name."""
    return numbers[name] if name in numbers else int(name[1:].rstrip("'"))


def _equal_queues(spec: Spec, equal: tuple[int, ...] | str) -> Sequence[int]:
    if isinstance(equal, tuple):
        return sorted(equal)
    if spec.channels is None:
        text = "'all' queues are as many as the NIC has active"
        raise _needs_plan(spec, "rss", "equal", why=text)
    return [q for q in range(spec.channels.rx_queues) if q not in spec.reserved()]


def _of_table(spec: Spec, entries: tuple[int, ...], *section: str | int) -> list[str]:
    found = rss.as_run(entries)
    if found is None:
        text = "ethtool writes tables in runs, and this is none"
        raise _needs_plan(spec, *section, "table", why=text)
    return found


def _needs_plan(spec: Spec, *path: str | int, why: str) -> Refused:
    return Refused(spec.error(path, f"{why}; export the plan for one NIC instead (--plan)"))


def _rules(name: str, spec: Spec, numbers: Mapping[str, int]) -> Iterator[str]:
    """Each rule with the location that it gets on a NIC without rules."""
    placed: dict[int, FlowRule] = {}
    automatic: list[Wanted] = []
    for rule in spec.all_rules():
        if rule.location is None:
            automatic += parts(rule)
            continue
        for location, part in enumerate(parts(rule), rule.location):
            if location in placed:
                text = f"location {location} is taken twice, by rules {placed[location].name!r}"
                raise Refused(f"{spec.device}: {text} and {rule.name!r}")
            placed[location] = part.at(location)
    free = locate(automatic, now=(), taken=set(placed), locations=LOCATION_MAX)
    for slot in sorted([*placed.values(), *free], key=lambda slot: slot.location):
        yield f"\n# {slot.name}" if slot.name.isprintable() else ""
        yield _insert(name, slot, numbers)


def _rule_words(rule: FlowRule, numbers: Mapping[str, int]) -> list[str]:
    words = ["flow-type", *flows.options(rule.match)]
    if rule.context is None:
        return [*words, "action", "-1" if rule.queue is None else str(rule.queue)]
    action = ["action", str(rule.queue)] if rule.queue else []
    return [*words, *action, "context", str(_number(rule.context, numbers))]


def _action(name: str, do: Action, undo: Action, numbers: dict[str, int]) -> Iterable[str]:
    match do:
        case CreateContext():
            context = do.context
            free = (n for n in range(1, len(numbers) + 2) if n not in numbers.values())
            numbers[context.name] = next(free)
            yield f"# gets number {numbers[context.name]}, if nobody makes one meanwhile"
            key = ["hkey", context.key.hex(":")] if context.key else []
            more = [*key, *rss.hash_words(context.hashing)]
            yield from _table(name, context.table.entries, "new", more)
            yield from values.field_commands(
                name, {n: v for n, v in context.hashing.items() if v}, numbers[context.name]
            )
        case SetContext():
            number = _number(do.context, numbers)
            more = [] if do.key is None else ["hkey", do.key.hex(":")]
            more += rss.hash_words(do.values)
            if do.entries is not None:
                yield from _table(name, do.entries, str(number), more)
            elif more:
                yield f"ethtool -X {name} context {number} {' '.join(more)}"
            yield from values.field_commands(name, do.values, number)
        case DeleteContext():
            yield f"ethtool -X {name} context {_number(do.context, numbers)} delete"
            numbers.pop(do.context, None)
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
            yield _insert(name, do.rule, numbers)
        case SetValues() if do.group in HOST_GROUPS:
            yield f"# not ethtool's: {do}"
        case SetValues():
            yield from values.commands(name, do.group, do.values)
        case DeleteRule():
            yield f"ethtool -N {name} delete {do.location}"


def _insert(name: str, rule: FlowRule, numbers: Mapping[str, int]) -> str:
    words = " ".join(_rule_words(rule, numbers))
    return f"ethtool -N {name} {words} loc {rule.location}"


def _table(
    name: str, entries: tuple[int, ...], context: str | None = None, more: Sequence[str] = ()
) -> Iterator[str]:
    run = rss.as_run(entries)
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
    of_context = [] if context is None else ["context", context]
    yield f"ethtool -X {name} {' '.join([*of_context, *run, *more])}"
