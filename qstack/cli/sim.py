# SPDX-License-Identifier: Apache-2.0
"""``qstack sim``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from .. import units
from ..errors import ConfigError
from ..policies.decorator import require_numba

_COMPARED = (
    *("campus4", "campus", "zipf", "elephant", "adversarial"),
    *("step", "ramp", "flash", "diurnal"),
)
_SECOND_NS = 10**9


def _duration_ns(option: str, text: str, least_ns: int) -> int:
    try:
        value = units.parse_duration_ns(text)
    except ValueError as e:
        raise ConfigError(f"{option} {text}: {e}") from None
    if not least_ns <= value <= 10 * _SECOND_NS:
        raise ConfigError(f"{option} {text}: from {units.format_duration(least_ns)} to 10s")
    return value


def _engine_ns(path: Path | None) -> int | None:
    """Return nanoseconds of a request from the document of ``qstack bench engine --json``."""
    if path is None:
        return None
    try:
        rate = float(json.loads(path.read_text())["requests_per_second"]["1000"])
        return round(1e9 / rate)
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as e:
        raise ConfigError(
            f"--engine {path}: not a document of 'qstack bench engine --json' "
            f"({type(e).__name__}: {e})"
        ) from None


@click.command()
@click.option(
    "--load",
    "loads",
    multiple=True,
    metavar="NAME|FILE.json",
    help="Again for more; --list. A file is of qstack record.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME|FILE.py:FUNCTION",
    help="Again for more. A file is run, with your rights.",
)
@click.option("--compare", is_flag=True, help="All policies and loads, and trials without packets.")
@click.option("--list", "is_list", is_flag=True, help="Show names of loads and policies, and end.")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10, show_default=True)
@click.option(
    "--warm-up",
    "warm_up_s",
    type=click.FloatRange(0, 3600),
    default=2,
    show_default=True,
    help="Seconds of them that figures leave out.",
)
@click.option(
    "--utilisation",
    type=click.FloatRange(0.01, 10),
    default=0.6,
    show_default=True,
    help="Part of all cores that the usual rate of a load needs; the application's work of each "
    "packet follows from it.",
)
@click.option("--seed", type=click.IntRange(0, (1 << 62) - 1), default=1, show_default=True)
@click.option("--cores", type=click.IntRange(1, 64), default=8, show_default=True)
@click.option("--queues", type=click.IntRange(1, 256), help="Default: four for each core.")
@click.option(
    "--buckets",
    type=click.IntRange(1, 4096),
    default=256,
    show_default=True,
    help="Entries of the indirection table, a power of two.",
)
@click.option(
    "--ring", type=click.IntRange(2, 1 << 16), default=4096, show_default=True, help="Of a queue."
)
@click.option("--nodes", type=click.IntRange(1, 64), default=1, show_default=True, help="NUMA.")
@click.option("--smt", type=click.IntRange(1, 2), default=1, show_default=True)
@click.option("--service", type=click.Choice(["constant", "exponential"]), default="constant")
@click.option(
    "--handover",
    type=click.Choice(["held", "none"]),
    default="held",
    show_default=True,
    help="Packets of a bucket that moves wait for older ones at the old queue, or overtake them.",
)
@click.option("--period", default="10ms", show_default=True, help="Between two decisions.")
@click.option("--budget", type=click.IntRange(1, 4096), default=16, show_default=True)
@click.option("--cooldown", default="50ms", show_default=True, help="What moved stays so long.")
@click.option(
    "--decision-limit",
    "decision_limit",
    default="1s",
    show_default=True,
    help="Real time; a policy that takes longer is set aside.",
)
@click.option(
    "--engine",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Cost of a packet in the engine, from 'qstack bench engine --json'. Default: 262 ns.",
)
@click.option(
    "--plot",
    "png",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw imbalance and p99.9, side by side.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def sim(
    loads: tuple[str, ...],
    policies: tuple[str, ...],
    compare: bool,
    is_list: bool,
    png: Path | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Try policies for queues, buckets and cores in virtual time.

    Every policy sees the same packets. Without --compare: balance under campus4, or what --load and
    --policy name. Exit status 1 when a policy was set aside, since it faulted, answered nonsense or
    did not come back.
    """
    require_numba()
    from ..loads import find as find_load
    from ..policies import catalogue
    from ..sim import Machine
    from ..sim.compare import compare as compare_all
    from ..sim.compare import run_loads
    from ..sim.show import plot, tables

    if is_list:
        return _list(as_json)
    default_policies = tuple(catalogue.POLICIES) if compare else ("balance",)
    chosen = [catalogue.find(name) for name in policies or default_policies]
    if len({policy.name for policy in chosen}) < len(chosen):
        raise ConfigError("two policies have the same name: rename the function of one")
    wanted = [find_load(name) for name in loads or (_COMPARED if compare else ("campus4",))]
    machine, options = _machine(Machine, settings), _options(settings)
    with _progress() as bar:
        task = bar.add_task("", total=1.0)
        document = (compare_all if compare else run_loads)(
            machine,
            wanted,
            chosen,
            options,
            lambda what, part: bar.update(task, description=what, completed=part),
        )
    if png is not None:
        plot(document, png)
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        for table in tables(document):
            Console().print(table)
    return 1 if _set_aside(document) else 0


def _machine(machine: Any, settings: dict[str, Any]) -> Any:
    engine_ns = _engine_ns(settings["engine"])
    names = ("cores", "buckets", "ring", "nodes", "smt", "service")
    return machine(
        **{name: settings[name] for name in names},
        queues=settings["queues"] or 4 * settings["cores"],
        hold=settings["handover"] == "held",
        **({} if engine_ns is None else {"engine_ns": engine_ns}),
    )


def _options(settings: dict[str, Any]) -> Any:
    from ..sim import Control, Options

    names = ("seconds", "warm_up_s", "utilisation", "seed")
    return Options(
        **{name: settings[name] for name in names},
        control=Control(
            period_ns=_duration_ns("--period", settings["period"], 10_000),
            budget=settings["budget"],
            cooldown_ns=_duration_ns("--cooldown", settings["cooldown"], 0),
            limit_s=_duration_ns("--decision-limit", settings["decision_limit"], 1000) / 1e9,
        ),
    )


def _set_aside(document: dict[str, Any]) -> bool:
    return any(f["set_aside"] for each in document["loads"].values() for f in each.values())


def _list(as_json: bool) -> int:
    from ..loads import LOADS
    from ..policies.catalogue import POLICIES

    document = {
        "loads": {load.name: load.about for load in LOADS.values()},
        "policies": {policy.name: policy.doc for policy in POLICIES.values()},
    }
    if as_json:
        click.echo(json.dumps(document, indent=1))
        return 0
    for title, rows in document.items():
        table = Table(title=title, show_header=False)
        for name, about in rows.items():
            table.add_row(name, about)
        Console().print(table)
    return 0


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
