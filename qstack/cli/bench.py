# SPDX-License-Identifier: Apache-2.0
"""``qstack bench``."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from .. import programs
from ..errors import QStackError


@click.group()
def bench() -> None:
    """Measure; figures of this machine, as JSON or text."""


@bench.command()
@click.option("--quick", is_flag=True, help="A smoke run of seconds; its figures mean nothing.")
@click.option(
    "--instructions/--no-instructions",
    default=None,
    help="Count instructions by callgrind. Default: unless --quick.",
)
@click.option("--cpu", type=int, metavar="N", help="Stay on CPU N.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def engine(quick: bool, instructions: bool | None, cpu: int | None, as_json: bool) -> int:
    """Measure the cost of a 64 B request and reply in the TCP engine alone, without a device."""
    command = [programs.find("qs-bench-engine")]
    if instructions is None:
        instructions = not quick
    command += ["--quick"] * quick + ["--instructions"] * instructions
    command += [] if cpu is None else ["--cpu", str(cpu)]
    with Console(stderr=True).status("qs-bench-engine runs"):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return 2 if done.returncode == 2 else 1
    try:
        document = json.loads(done.stdout)
    except json.JSONDecodeError as e:
        raise QStackError(f"{command[0]} did not print JSON: {e}") from None
    if as_json:
        click.echo(done.stdout, nl=False)
    else:
        Console().print(_table(document))
    return 0


def _table(document: dict[str, Any]) -> Table:
    table = Table("figure", "of", "value")
    for name, value in document.items():
        values = value if isinstance(value, dict) else {"": value}
        for key, figure in values.items():
            text = f"{figure:,.0f}" if isinstance(figure, int | float) else json.dumps(figure)
            table.add_row(name, str(key), text)
    return table
