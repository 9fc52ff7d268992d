# SPDX-License-Identifier: Apache-2.0
"""``qstack explain``."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

import nicprog

from ..control import ask, servers
from ..errors import QStackError
from ..residency import TIMELINE
from ..steering import nic_queues, rule_text

_SHEDS = ("shed_backlog", "shed_conns", "shed_chunks")
_TRAFFIC = ("segments", "events", "frames_sent", "capped")
_QUANTILES = ("p50_us", "p99_us", "p999_us", "max_us")


def only_server() -> str:
    """Return the device of the server that runs, if it is the only one.

    Raises:
        QStackError: There are several, or none.
    """
    found = servers()
    if len(found) != 1:
        raise QStackError(
            f"several servers run: say which one, of {', '.join(found)}"
            if found
            else "no server runs here"
        )
    return found[0]


@click.command()
@click.argument("device", required=False)
@click.option("--where", is_flag=True, help="Who gets which class, and what of it the NIC does.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def explain(device: str | None, where: bool, as_json: bool) -> int:
    """Show where requests spend their time in a server that runs, for each class.

    DEVICE is the network device of the server, or its wire; not needed when only one server runs.
    Of each class one request at a time is followed, at most every 17th, since the server started.

    With --where: what is looked at for the class of a connection or message, in order, and whether
    flow rules of the NIC send those packets to queues of their own; else the rule that would.
    """
    device = device or only_server()
    document = _where(device) if where else ask(device, "explain")
    if as_json:
        click.echo(json.dumps(document))
    elif where:
        _print_where(document)
    else:
        _print(document)
    return 0


def _nic_rules(device: str) -> tuple[tuple[nicprog.FlowRule, ...], str | None]:
    """Return the rules of the server's NIC, or none of them and why."""
    try:
        with nicprog.open(device.removesuffix(".joined")) as nic:
            return nic.read().rules, None
    except nicprog.NicprogError as e:
        return (), str(e)


def _where(device: str) -> dict[str, Any]:
    document = ask(device, "where")
    rules, problem = _nic_rules(device)
    for decision in document["decisions"]:
        rule = decision["rule"]
        decision["nic_queues"] = None if rule is None else nic_queues(rule, rules)
    return {**document, "nic_error": problem}


def _print_where(document: dict[str, Any]) -> None:
    console = Console()
    table = Table("port", "class", "looked at", "what", "where")
    for decision in document["decisions"]:
        queues = decision["nic_queues"]
        table.add_row(
            str(decision["port"]),
            "any" if decision["class"] is None else str(decision["class"]),
            decision["by"],
            decision["what"],
            "engine"
            if queues is None
            else f"NIC, queue {', '.join(map(str, queues))}; then engine",
        )
    console.print(table)
    if document["nic_error"]:
        console.print(f"rules of the NIC are not known: {document['nic_error']}", soft_wrap=True)
    for i, decision in enumerate(document["decisions"]):
        if decision["rule"] and decision["nic_queues"] is None and decision["class"]:
            text = rule_text(f"class {decision['class']}, {i}", decision["rule"])
            console.print(
                f"\nthe NIC can do it, in a spec of nicprog:\n{text}\nqueue = N",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


def _print(document: dict[str, Any]) -> None:
    console = Console()
    table = Table("class", "stage", "requests", "p50 us", "p99 us", "p99.9 us", "most us")
    for priority, stages in sorted(document["residency"].items(), reverse=True):
        for i, (stage, figures) in enumerate(stages.items()):
            table.add_row(
                "" if i else priority,
                stage,
                f"{figures['count']:,}",
                *(f"{figures[name]:,.1f}" for name in _QUANTILES),
            )
    console.print(table)
    for stage, text in document["stages"].items():
        console.print(f"{stage:9} {text}", highlight=False, soft_wrap=True)
    _print_slowest(console, document["slowest"])
    table = Table(
        *("class", "ports", "segments", "events", "frames sent", "capped", "refused"),
        title="Traffic",
    )
    for priority, counters in sorted(document["classes"].items(), reverse=True):
        refused = {name: counters[name] for name in _SHEDS if counters[name]}
        table.add_row(
            priority,
            ", ".join(map(str, document["ports"][priority])),
            *(f"{counters[name]:,}" for name in _TRAFFIC),
            ", ".join(f"{n:,} {name.removeprefix('shed_')}" for name, n in refused.items()) or "0",
        )
    console.print(table)


def _print_slowest(console: Console, slowest: dict[str, Any]) -> None:
    table = Table(
        *("class", "from", "port", "seconds ago", "event us", "answer us", "transmit us", "all us"),
        title="The slowest request lately",
    )
    for priority, one in sorted(slowest.items(), reverse=True):
        if one is not None:
            table.add_row(
                *(
                    priority,
                    ":".join(map(str, one["peer"])),
                    str(one["port"]),
                    f"{one['ago_s']:.1f}",
                ),
                *(f"{one[f'{name}_us']:,.1f}" for name in (*TIMELINE, "all")),
            )
    if table.rows:
        console.print(table)
