# SPDX-License-Identifier: Apache-2.0
"""``qstack bench elastic`` and ``qstack bench idle``."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from .. import programs
from ..config import StackConfig
from ..errors import QStackError
from ..server import Server

_QUICK_MOVES = 200
_QUICK_STEPS = ("--steps", "1", "--steady-ms", "100")
_QUICK_SECONDS = 0.2
_WRONG = ("lost", "reordered", "resets")


@click.command()
@click.option(
    "--moves",
    type=click.IntRange(1, 10_000_000),
    default=10_000,
    show_default=True,
    help="Of queues between two workers.",
)
@click.option(
    "--bucket-moves",
    type=click.IntRange(1, 10_000_000),
    default=10_000,
    show_default=True,
    help="Of buckets of flows between queues.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 10_000),
    default=64,
    show_default=True,
    help="Half of them with handlers on the workers, half on an application thread.",
)
@click.option(
    "--seed", type=click.IntRange(1), default=1, show_default=True, help="Of messages and moves."
)
@click.option("--quick", is_flag=True, help="A smoke run of a second; its figures mean nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def elastic(
    moves: int, bucket_moves: int, connections: int, seed: int, quick: bool, as_json: bool
) -> int:
    """Move queues between workers, then buckets between queues, while clients check every byte.

    A pause is the time in which no worker runs the queue; of a bucket of flows, that from the
    writing of the table to the arrival of its last connection. Beside it: how long a sleeping
    thread of this machine takes until it runs, and round trips with moves and before them. Then
    load comes at once, stays and goes, and the number of workers follows it. All in memory. Exit
    status 1 when a byte was lost or wrong, or a connection ended.
    """
    moving = ["--moves", str(_QUICK_MOVES if quick else moves)]
    moving += ["--bucket-moves", str(_QUICK_MOVES if quick else bucket_moves)]
    moving += ["--connections", str(connections), "--seed", str(seed)]
    document = _run("qs-elastic", *moving)
    document |= _run("qs-follow", *(_QUICK_STEPS if quick else ()))
    document["quick"] = quick
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        Console().print(_table(document))
    return 1 if any(document[key] for key in _WRONG) else 0


def _run(program: str, *args: str) -> dict[str, Any]:
    """Return the document that a program of the package prints."""
    with Console(stderr=True).status(f"{program} runs"):
        command = [programs.find(program), *args]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise QStackError(f"{program} failed with status {done.returncode}; it says why above")
    try:
        document: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError as e:
        raise QStackError(f"{program} did not print JSON: {e}") from None
    return document


def _table(document: dict[str, Any]) -> Table:
    table = Table("figure", "value")
    for name, value in document.items():
        table.add_row(name, f"{value:,}")
    return table


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _idle_percent(config: StackConfig, seconds: float) -> float:
    """Return the CPU time of this process, in percent of a core, while a server does nothing."""
    app = Server(config=config)
    app.listen(port=7000)(lambda conn: conn.write(conn.data))
    with app:
        time.sleep(min(0.5, seconds))  # its threads have come to rest
        cpu, since = _cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        return 100 * (_cpu_seconds() - cpu) / (time.monotonic() - since)


@click.command()
@click.option(
    "--driver",
    type=click.Choice(["pair", "tap"]),
    default="pair",
    show_default=True,
    help="In memory, without any rights; or a TAP device, as root.",
)
@click.option("--queues", type=click.IntRange(1, 64), default=4, show_default=True)
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True)
@click.option(
    "--workers-min",
    type=click.IntRange(1, 64),
    metavar="N",
    help="The number of workers follows the load from N. Default: it stays.",
)
@click.option(
    "--seconds", type=click.FloatRange(0.1, 3600), default=5, show_default=True, help="Of idleness."
)
@click.option("--quick", is_flag=True, help="A smoke run of a second; its figures mean nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def idle(
    driver: str,
    queues: int,
    workers: int,
    workers_min: int | None,
    seconds: float,
    quick: bool,
    as_json: bool,
) -> int:
    """Measure the CPU time of a server that has nothing to do, in percent of a core."""
    config = StackConfig(
        nic=None if driver == "pair" else "tap:qs-idle",
        queues=queues,
        workers=workers,
        workers_min=workers_min,
        addresses=("10.77.0.2/24",),
        host_addresses=("10.77.0.1/24",) if driver == "tap" else (),
    )
    seconds = _QUICK_SECONDS if quick else seconds
    with Console(stderr=True).status("a server idles"):
        percent = _idle_percent(config, seconds)
    document = {
        "cpu_percent_of_core": round(percent, 3),
        "driver": driver,
        "queues": queues,
        "workers": workers,
        "workers_min": workers_min,
        "seconds": seconds,
        "quick": quick,
    }
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        click.echo(f"{percent:.2f} % of a core ({driver}, {queues} queues, {workers} workers)")
    return 0
