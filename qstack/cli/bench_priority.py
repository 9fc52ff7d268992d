# SPDX-License-Identifier: Apache-2.0
"""``qstack bench priority``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from .. import units
from ..errors import ConfigError
from ..priority import ADVERSARIES, MODES, Options, run, run_adversaries
from ..priority.show import adversary_table, plot, table

_WORK_NS_MOST = 10**9
_QUICK = {"seconds": 0.3, "rounds": 1, "connections": 20}


def _work_ns(text: str) -> int:
    try:
        value = units.parse_duration_ns(text)
    except ValueError as e:
        raise ConfigError(f"--work {text}: {e}") from None
    if not 0 <= value <= _WORK_NS_MOST:
        raise ConfigError(f"--work {text}: at most 1s")
    return value


@click.command()
@click.option(
    "--driver",
    type=click.Choice(["pair", "xsk"]),
    default="pair",
    show_default=True,
    help="In memory, without any rights; or AF_XDP over veth, as root.",
)
@click.option(
    "--mode",
    "modes",
    type=click.Choice(MODES),
    multiple=True,
    default=MODES,
    help="Urgent connections, or urgent messages on connections of all classes; both by default.",
)
@click.option(
    "--connections",
    type=click.IntRange(2, 120_000),
    default=1000,
    show_default=True,
    help="Of both classes; 5 % of them are urgent.",
)
@click.option(
    "--urgent-percent",
    type=click.FloatRange(0.1, 99.9),
    default=5,
    show_default=True,
    help="Of the requests.",
)
@click.option("--work", default="1us", show_default=True, help="Of the server, for each answer.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 600),
    default=3,
    show_default=True,
    help="Of each load.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="Figures are medians over so many.",
)
@click.option(
    "--share",
    type=click.IntRange(1, 50),
    default=20,
    show_default=True,
    help="Percent that the default class is to have while urgent requests overload the server.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the times.")
@click.option(
    "--kernel/--no-kernel",
    default=False,
    help="Also a C server on kernel TCP with epoll, over veth, as root.",
)
@click.option(
    "--adversary",
    "adversaries",
    type=click.Choice([*ADVERSARIES, "all"]),
    multiple=True,
    help="Instead, honest urgent requests alone and beside this one; several times, or all.",
)
@click.option("--quick", is_flag=True, help="A smoke run of seconds; its figures mean nothing.")
@click.option(
    "--plot",
    "png",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw the urgent p99.9 over the load.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def priority(
    driver: str,
    modes: tuple[str, ...],
    connections: int,
    urgent_percent: float,
    work: str,
    seconds: float,
    rounds: int,
    share: int,
    seed: int,
    kernel: bool,
    adversaries: tuple[str, ...],
    quick: bool,
    png: Path | None,
    as_json: bool,
) -> int:
    """Measure how long urgent requests wait while others overload the server.

    An open loop: requests of 200 B are due at random times, 146 B answer them, and latency counts
    from when a request was due. First the capacity, then urgent requests alone, and then both
    classes at 0.7, 1.0 and 1.5 times the capacity; with classes and without. Urgent connections
    have a NIC queue for themselves; urgent messages overtake inside connections. Exit status 1
    when an urgent request was not answered.

    With --adversary: urgent requests alone and beside one who floods the urgent port, sends what
    classifiers stumble over, does not read, or makes a handler sleep; in memory.
    """
    settings = {"seconds": seconds, "rounds": rounds, "connections": connections}
    options = Options(
        driver=driver,
        modes=modes,
        urgent_percent=urgent_percent,
        work_ns=_work_ns(work),
        seed=seed,
        share_percent=share,
        kernel=kernel,
        **(_QUICK if quick else settings),  # type: ignore[arg-type]
    )
    if adversaries:
        return _beside(options, adversaries, quick=quick, as_json=as_json)
    with _progress() as tell:
        document = run(options, tell)
    document["quick"] = quick
    if png is not None:
        plot(document, png)
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        Console().print(table(document))
        for mode, figures in document["modes"].items():
            ratio = figures["ratio_overload_to_unloaded"]
            click.echo(f"{mode}: p99.9 at 1.5 against unloaded: {ratio:.2f}")
        starved = document["starvation"]
        click.echo(
            f"default class under urgent overload: {starved['got_percent']:.1f} % of the"
            f" handlers' time, least {share} %; {starved['answers_percent']:.1f} % of the answers"
        )
    return 1 if any(figures["urgent_lost"] for figures in document["modes"].values()) else 0


def _beside(options: Options, names: tuple[str, ...], *, quick: bool, as_json: bool) -> int:
    """Measure beside adversaries; return the exit status."""
    if options.driver != "pair" or options.kernel:
        raise ConfigError("--adversary needs addresses of its own: only with --driver pair")
    with _progress() as tell:
        chosen = tuple(ADVERSARIES) if "all" in names else tuple(dict.fromkeys(names))
        document = run_adversaries(options, chosen, tell)
    document["quick"] = quick
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        Console().print(adversary_table(document))
        for name, figures in document["adversaries"].items():
            click.echo(f"{name}: {figures['does']}")
    return 1 if any(figures["urgent_lost"] for figures in document["adversaries"].values()) else 0


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """Yield what shows on the terminal what is going on, and the part that is done."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, part: bar.update(task, description=what, completed=part)
