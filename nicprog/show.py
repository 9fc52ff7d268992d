# SPDX-License-Identifier: Apache-2.0
"""Text for people on standard output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nicprog.apply import Difference, Result
from nicprog.backends import Counters
from nicprog.model import Capabilities, Channels, NicState, RssContext, RssTable
from nicprog.plan import Plan
from nicprog.probe import Part, Report
from nicprog.reserve import Reservation
from nicprog.settings import text
from nicprog.text import rule_text
from nicprog.where import Place

_NO_NUMBERS: Final[Mapping[str, int]] = {}


def plan(item: Plan) -> None:
    """The steps of a plan and its warnings."""
    if item.steps:
        rows = [
            (str(number), str(step.do), step.reason, step.disruption.value, str(step.undo))
            for number, step in enumerate(item.steps, 1)
        ]
        _table(f"{item.device}: {len(item.steps)} steps",
               ("#", "step", "reason", "disruption", "undo"), rows, numbers=("#",))  # fmt: skip
    else:
        _line(f"{item.device}: is as wanted, nothing to do")
    for warning in item.warnings:
        _line(f"warning: {warning}")


def applied(item: Plan, result: Result) -> None:
    """What an apply did."""
    plan(item)
    if not result.snapshot:
        return
    done = f"{item.device}: {len(result.steps)} steps done and read back; "
    if result.confirm_within_s is None:
        _line(done + _way_back(result))
    else:
        _line(
            done + f"they are taken back in {result.confirm_within_s:g} s unless "
            f"'nicprog confirm {item.device}' is run"
        )


def reserved(item: Reservation, made: Plan, result: Result | None) -> None:
    """What a reservation takes, or took."""
    plan(made)
    entries = len(item.state.table.entries)
    if item.queues:
        queues = ", ".join(map(str, item.queues))
        shares = f", by {len(item.classes)} values of the source port's low bits"
        if item.context is not None:
            shares = f", by context {item.context!r}"
        _line(f"{made.device}: reserved: queue {queues}" + shares * (len(item.classes) > 1))
    _line(f"{made.device}: {item.moved} of {entries} table entries change their queue")
    if result and result.snapshot:
        _line(f"{made.device}: {len(result.steps)} steps done and read back; {_way_back(result)}")


def _way_back(result: Result) -> str:
    return f"'nicprog rollback {result.device}' takes them back (snapshot {result.snapshot})"


def confirmed(result: Result) -> None:
    """What a confirmation did."""
    _line(f"{result.device}: what was applied stays; {_way_back(result)}")


def recovered(result: Result) -> str:
    """What was done about an apply that came to no end, in one line."""
    return (
        f"{result.device}: an earlier apply was killed in the middle or not confirmed in time; "
        f"{len(result.steps)} steps restored what was before it"
    )


def rolled_back(result: Result) -> None:
    """What a rollback did."""
    _line(f"{result.device}: restored and read back, {len(result.steps)} steps")


def differences(device: str, found: Sequence[Difference]) -> None:
    """What is not as wanted."""
    if not found:
        _line(f"{device}: is as wanted")
        return
    rows = [(d.what, d.wanted or "nothing", d.found or "nothing") for d in found]
    _table(f"{device}: {len(found)} differences", ("what", "wanted", "found"), rows)


def report(item: Report) -> None:
    """What a NIC can do."""
    driver = f"driver {item.driver}" if item.driver else "its driver does not say its name"
    rows = [(part.name, part.way or "-", _summary(part)) for part in item.parts]
    _line(f"{item.device}: {driver}" + (f", {item.bus}" if item.bus else ""))
    _table("", ("part", "way", "what"), rows)
    for quirk in item.quirks:
        _line(f"{'known' if quirk.always else 'seen on some'}: {quirk.text}")


def _summary(part: Part) -> str:
    """One line about a part: what it is, or why nobody told."""
    value = part.value
    if part.way is None:
        return _reason(part.refusals[-1][1]) if part.refusals else "nothing to ask by"
    if isinstance(value, dict):
        return ", ".join(_pairs(value)) or "none"
    if isinstance(value, list):
        shown = ", ".join(map(_item, value[:6]))
        return f"{len(value)}: {shown}" + ", ..." * (len(value) > 6) if value else "none"
    return str(value)


def _reason(refusal: str) -> str:
    """Of ``DEVICE: cannot DO: WHY; what to do`` the reason alone."""
    return (refusal.partition(": cannot ")[2].partition(": ")[2] or refusal).partition(";")[0]


def _pairs(value: dict[str, Any]) -> Iterator[str]:
    for name, one in value.items():
        if one is True:
            yield name
        elif one not in (0, "off, fixed", [], None):
            yield f"{name} {' '.join(map(str, one)) if isinstance(one, list) else one}"


def _item(one: Any) -> str:
    if not isinstance(one, dict):
        return str(one)
    served = "".join(f", {key} {one[key]}" for key in ("napi", "irq", "cpus") if one.get(key))
    return f"{one.get('kind', 'napi')} {one['number']}{served}"


def place(told: dict[str, Any], item: Place) -> None:
    """Where a flow lands, in a line for each reason."""
    _line(f"{told['device']}: " + ("dropped" if item.queue is None else f"queue {item.queue}"))
    if item.rule:
        _line(f"by the rule at location {item.rule.location}: {rule_text(item.rule)}")
    if item.hash is not None:
        assumed = "; the driver does not say which fields are hashed" * told["fields_assumed"]
        table = "the table" if item.context is None else f"the table of context {item.context}"
        _line(f"by hash {told['hash']}, entry {item.entry} of {table}{assumed}")
    elif not item.rule:
        _line("since it is the only one")
    for name in ("napi", "irq", "cpus"):
        if told[name] is not None:
            _line(f"{name}: {told[name]}")


def source_ports(told: dict[str, Any]) -> None:
    """Source ports that land on a queue."""
    ports = ", ".join(map(str, told["source_ports"])) or "none"
    _line(f"{told['device']}: queue {told['queue']}: source ports {ports}")


def state(
    device: str, can: Capabilities, item: NicState, numbers: Mapping[str, int] = _NO_NUMBERS
) -> None:
    """All that a NIC holds; ``numbers`` are those of its contexts."""
    default = " (default)" if item.table.is_default(item.channels.rx_queues) else ""
    _line(f"{device}: driver {can.driver}" + (f", {can.bus}" if can.bus else ""))
    _line(f"channels: {_channels(item.channels, can)}")
    if item.table.entries:
        _line(f"table{default}: {_entries(item.table)}")
    else:
        _line("table: none that the driver shows")
    _line(f"key: {item.key.hex() or 'none that the driver shows'}")
    if can.contexts != 0:
        most = "" if can.contexts is None else f" of {can.contexts}"
        _line(f"contexts: {len(item.contexts)}{most}, by {can.contexts_by}")
    for context in item.contexts:
        _line(f"context {context.name} (number {numbers[context.name]}): {_context(context)}")
    if not can.locations:
        _line("rules: the driver has none")
        return
    rows = [(str(rule.location), rule_text(rule)) for rule in item.rules]
    _line(f"rules: {len(rows)} of {can.locations} locations")
    if rows:
        _table("", ("location", "rule"), rows, numbers=("location",))


def _entries(table: RssTable) -> str:
    shares = ", ".join(f"queue {q}: {count}" for q, count in sorted(Counter(table.entries).items()))
    return f"{len(table.entries)} entries; {shares}"


def _context(item: RssContext) -> str:
    key = f"; key {item.key.hex()}" if item.key else ""
    values = "".join(f"; {name} {text(value) or 'none'}" for name, value in item.hashing.items())
    return _entries(item.table) + key + values


def _channels(item: Channels, can: Capabilities) -> str:
    kinds = (
        (item.combined, can.queues_max, "combined"),
        (item.rx, can.rx_max, "rx"),
        (item.tx, can.tx_max, "tx"),
    )
    return ", ".join(f"{count} of {most} {kind}" for count, most, kind in kinds if most)


def counters(device: str, item: Counters) -> None:
    """Counters of queues, rules and the whole NIC."""
    rows = [(str(q.queue), f"{q.packets:,}", f"{q.bytes:,}") for q in item.queues]
    names = ("queue", "packets", "bytes")
    _table(device, names, rows, numbers=names)
    if item.rule_hits:
        rules = [(str(location), f"{hits:,}") for location, hits in item.rule_hits.items()]
        _table("rules", ("location", "packets"), rules, numbers=("location", "packets"))
    for name, value in item.totals.items():
        _line(f"{name}: {value:,}")


def causes(rows: Sequence[dict[str, Any]]) -> None:
    """Causes of an error, each with its remedy."""
    if not rows:
        _line("no cause of that is known here")
    for row in rows:
        whose = f" (driver {', '.join(row['drivers'])})" if row["drivers"] else ""
        _line(f"{row['cause']}{whose}: {row['text']}")
        _line(f"    remedy: {row['remedy']}")
        _line(f"    source: {row['source']}")


def topology(item: dict[str, Any]) -> None:
    """CPUs of the host, a row for each core."""
    apart = (("isolated", "isolated"), ("partitioned", "isolated by cgroups"),
             ("nohz_full", "without a tick"))  # fmt: skip
    told = [f"CPUs {item['online']} of {item['possible']} online"]
    told += [f"{item[key]} {words}" for key, words in apart if item[key]]
    _line("; ".join(told))
    cores: dict[tuple[str, str, str], str] = {}
    for cpu in item["cpus"]:
        node = "-" if cpu["node"] is None else str(cpu["node"])
        cores.setdefault((node, str(cpu["package"]), str(cpu["core"])), cpu["siblings"])
    rows = [(*core, cpus) for core, cpus in sorted(cores.items(), key=lambda one: one[0])]
    _table("", ("node", "package", "core", "CPUs"), rows, numbers=("node", "package", "core"))


def host(item: dict[str, Any]) -> None:
    """Who takes care of the queues of a NIC."""
    topology(item["topology"])
    node = "no NUMA node" if item["node"] is None else f"node {item['node']}"
    balance = "does not run"
    if item["irqbalance_runs"]:
        balance = f"leaves {item['irqbalance'] or 'none'} of its interrupts alone"
    _line(f"{item['device']}: {node}; irqbalance {balance}")
    rows = [
        (
            str(one["irq"]),
            one["name"],
            " ".join(one["queues"]) or "-",
            one["cpus"] + ("" if one["settable"] else " (managed by the kernel)"),
            one["effective"] or "-",
            ", ".join(f"{cpu}: {count:,}" for cpu, count in one["counts"].items()) or "-",
        )
        for one in item["interrupts"]
    ]
    if rows:
        names = ("irq", "name", "queues", "may go to", "goes to", "came, by CPU")
        _table("interrupts", names, rows, numbers=("irq",))
    else:
        _line("interrupts: none")
    _queues("XPS", "tx", {"CPUs": item["xps"], "RX queues": item["xps_rxqs"]})
    _queues("RPS", "rx", {"CPUs": item["rps"], "flows of RFS": item["rfs"]})
    told = ", ".join(f"{name} {text(value)}" for name, value in item["napi"].items())
    _line(f"NAPI: {item['napi_instances']} instances; {told or 'nothing can be set'}")


def _queues(title: str, kind: str, columns: dict[str, dict[str, Any]]) -> None:
    names = sorted({name for values in columns.values() for name in values}, key=_of_queue)
    rows = [(name, *(str(values.get(name, "")) or "-" for values in columns.values()))
            for name in names]  # fmt: skip
    if rows:
        _table(title, (f"{kind} queue", *columns), rows)
    else:
        _line(f"{title}: no choice")


def _of_queue(name: str) -> int:
    return int(name.partition("-")[2])


def devices(rows: Sequence[dict[str, Any]]) -> None:
    """Live software NICs."""
    if not rows:
        _line("no software NIC is live")
        return
    names = ("device", "driver", "bus", "channels", "rules")
    _table("", names, [tuple(str(row[name]) for name in names) for row in rows])


def _line(text: str) -> None:
    _console().print(Text(text), soft_wrap=True)


def _table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()
) -> None:
    """Cells are text, never markup: names come from a file."""
    table = Table(title=Text(title) if title else None, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    _console().print(table)


def _console() -> Console:
    return Console(highlight=False)
