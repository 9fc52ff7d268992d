# SPDX-License-Identifier: Apache-2.0
"""``tools/dev soak``."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from qstack.errors import QStackError
from qstack.lab import LabError

from .run import CONNECTS_PER_SECOND, FRAMES_PER_SECOND, Options, run


def _print(document: dict[str, Any]) -> None:
    console = Console()
    clients, end = document["clients"], document["end"]
    console.print(
        f"{clients['short']} short connections, {clients['transfers']} transfers of "
        f"{clients['bytes'] / 1e6:.0f} MB, {clients['wrong']} wrong; "
        f"{sum(document['floods'].values())} hostile frames"
    )
    for moment in ("start", "warm", "fullest", "end"):
        figures = document[moment]
        console.print(
            f"{moment:8} {figures['at_s']:7.1f} s {figures['rss_bytes'] / 2**20:8.1f} MiB "
            f"{figures['conns']:6} connections {figures['chunks']:6} chunks"
        )
    for problem in document["problems"]:
        console.print(f"FAILED  {problem}", highlight=False)
    if document["passed"]:
        console.print(f"all as at the start after {end['at_s']:.0f} s, seed {document['seed']}")


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="Of load, 0.05 to 10000.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option(
    "--frames",
    type=click.IntRange(1, 100_000),
    default=FRAMES_PER_SECOND,
    show_default=True,
    help="Hostile frames a second.",
)
@click.option(
    "--connects",
    type=click.IntRange(1, 5000),
    default=CONNECTS_PER_SECOND,
    show_default=True,
    help="Short connections a second.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def soak(minutes: float, seed: int, frames: int, connects: int, as_json: bool) -> None:
    """Soak QStack over AF_XDP and a bad wire, under floods; needs root.

    Exit status 0: all honest bytes were right, and memory, connections and buffers are as at the
    start; 1: not so, or a part ended; 2: options that make no sense.
    """
    if not 0.05 <= minutes <= 10_000:
        raise click.UsageError(f"--minutes {minutes:g}: must be 0.05 to 10000")
    options = Options(
        seconds=minutes * 60, seed=seed, frames_per_second=frames, connects_per_second=connects
    )
    with Progress(
        TextColumn("{task.description:60}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("setting up", total=1.0)
        try:
            document = run(
                options, lambda what, part: bar.update(task, description=what, completed=part)
            )
        except (QStackError, LabError) as e:
            raise click.ClickException(str(e)) from None
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        _print(document)
    sys.exit(0 if document["passed"] else 1)


if __name__ == "__main__":
    soak(prog_name="tools/dev soak")
