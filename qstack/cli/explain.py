# SPDX-License-Identifier: Apache-2.0
"""``qstack explain``."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ..control import ask, servers
from ..errors import QStackError

_SHEDS = ("shed_backlog", "shed_conns", "shed_chunks")
_QUANTILES = ("p50_us", "p99_us", "p999_us", "max_us")


def _only_server() -> str:
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
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def explain(device: str | None, as_json: bool) -> int:
    """Show where requests spend their time in a server that runs, for each class.

    DEVICE is the network device of the server, or its wire; not needed when only one server runs.
    Of each class one request at a time is followed, at most every 17th, since the server started.
    """
    device = device or _only_server()
    document = ask(device, "explain")
    if as_json:
        click.echo(json.dumps(document))
    else:
        _print(document)
    return 0


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
    table = Table("class", "ports", "segments", "events", "frames sent", "refused", title="Traffic")
    for priority, counters in sorted(document["classes"].items(), reverse=True):
        refused = {name: counters[name] for name in _SHEDS if counters[name]}
        table.add_row(
            priority,
            ", ".join(map(str, document["ports"][priority])),
            *(f"{counters[name]:,}" for name in ("segments", "events", "frames_sent")),
            ", ".join(f"{n:,} {name.removeprefix('shed_')}" for name, n in refused.items()) or "0",
        )
    console.print(table)
