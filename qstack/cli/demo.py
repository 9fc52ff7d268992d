# SPDX-License-Identifier: Apache-2.0
"""``qstack demo``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..demo import DemoOptions, run
from ..demo.load import Load
from ..demo.show import plot, table
from ..errors import ConfigError

_KEEP = "serve --nic tap:qs0 --queues 4 --listen 8080 --listen 8443:7"


def _print(document: dict[str, Any], png: Path) -> None:
    console = Console()
    for key, text in (
        ("curl_ok", "curl was answered on both ports, bodies checked"),
        ("rule_ok", "port 8443 came to its reserved queue, and nothing else did"),
        ("rss_ok", "the RSS table spread the flood, and changing it moved the flows"),
    ):
        value = document[key]
        console.print(f"{'skipped' if value is None else 'yes' if value else 'NO ':7} {text}")
    for proof in document.get("proofs", {}).values():
        for name, figure in proof.items():
            if name.startswith("packets"):
                console.print(f"        {name.replace('_', ' ')}: {figure}")
    console.print(table({"QStack": document["qstack"], "kernel TCP": document["kernel"]}))
    console.print(f"plot: {png}")
    if os.geteuid() == 0:
        program = sys.argv[0]
        if Path(program).name != "qstack":  # python -m qstack
            program = f"{sys.executable} -m qstack"
        console.print("This keeps the server running:")
        console.print(f"  {program} {_KEEP}", soft_wrap=True)
        console.print("  curl http://10.77.0.2:8080/", soft_wrap=True)


@click.command()
@click.option(
    "--driver",
    type=click.Choice(["tap", "xsk", "pair"]),
    help="tap, AF_XDP over veth, or in memory without any rights. Default: tap as root, else pair.",
)
@click.option("--seconds", default=5.0, show_default=True, help="Of each load, 2 to 30.")
@click.option("--connections", default=64, show_default=True, help="Of the flood, 1 to 10000.")
@click.option("--rate", default=500.0, show_default=True, help="Probes a second, 1 to 5000.")
@click.option(
    "--plot",
    "png",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("qstack-demo.png"),
    show_default=True,
    help="Where the plot goes.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def demo(
    driver: str | None, seconds: float, connections: int, rate: float, png: Path, as_json: bool
) -> int:
    """Show an urgent port beside a flooded one, on QStack and on kernel TCP.

    Makes a network of its own and takes it away again. Exit status 1 when something that is shown
    does not hold.
    """
    for name, value, low, high in (
        ("seconds", seconds, 2, 30),
        ("connections", connections, 1, 10_000),
        ("rate", rate, 1, 5_000),
    ):
        if not low <= value <= high:
            raise ConfigError(f"--{name} {value:g}: must be {low} to {high}")
    if not png.absolute().parent.is_dir():
        raise ConfigError(f"--plot {png}: there is no folder {png.absolute().parent}")
    options = DemoOptions(
        driver=driver or ("tap" if os.geteuid() == 0 else "pair"),
        load=Load(connections=connections, probe_per_second=rate, seconds=seconds),
    )
    with Progress(
        TextColumn("{task.description:44}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("setting up", total=1.0)
        document = run(
            options, lambda what, part: bar.update(task, description=what, completed=part)
        )
    plot({"QStack": document["qstack"], "kernel TCP": document["kernel"]}, png)
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        _print(document, png)
    return 1 if False in (document["curl_ok"], document["rule_ok"], document["rss_ok"]) else 0
