# SPDX-License-Identifier: Apache-2.0
"""``qstack bench``."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from .. import matrix, programs
from ..errors import ConfigError, QStackError
from ..lab import LabError
from .bench_elastic import elastic, idle
from .bench_priority import priority


@click.group()
def bench() -> None:
    """Measure; figures of this machine, as JSON or text."""


bench.add_command(priority)
bench.add_command(elastic)
bench.add_command(idle)


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


_INTERRUPTED = 130
_LEAST_S, _MOST_S = 1, 3600
_BYTES_MOST = 1 << 32
_SEED_MOST = (1 << 63) - 1
_SEEDS_MOST = 100
_JOBS_MOST = 64
_SPEED_OVER_S = 3600.0  # cells take from seconds to minutes


@dataclass(slots=True, kw_only=True)
class _MatrixRun:
    """What is measured so far, and what ended it early."""

    rows: dict[matrix.Cell, dict[str, Any]] = field(default_factory=dict)
    ended_by: BaseException | None = None


def _choose(selection: str, seed: int) -> list[matrix.Cell]:
    every = matrix.every_cell()
    if selection == "full":
        return every
    if selection == "pairs":
        return matrix.all_pairs(every)
    if not selection.isdecimal() or not 1 <= int(selection) <= len(every):
        raise ConfigError(f"--cells {selection}: pairs, full, or a number from 1 to {len(every)}")
    return matrix.sample(every, int(selection), seed)


def _measured(
    cells: Sequence[matrix.Cell], measure: Callable[[matrix.Cell], dict[str, Any]], jobs: int
) -> Iterator[tuple[matrix.Cell, dict[str, Any]]]:
    """Yield cells and their rows as they get ready.

    A single job runs in this thread, so that an interruption ends it at once; of several those that
    have begun are waited for.
    """
    if jobs == 1:
        yield from ((cell, measure(cell)) for cell in cells)
        return
    with ThreadPoolExecutor(jobs) as pool:
        rows = {pool.submit(measure, cell): cell for cell in cells}
        try:
            yield from ((rows[row], row.result()) for row in as_completed(rows))
        finally:
            pool.shutdown(cancel_futures=True)


def _run_cells(
    cells: Sequence[matrix.Cell],
    measure: Callable[[matrix.Cell], dict[str, Any]],
    n_done: int,
    jobs: int,
) -> _MatrixRun:
    """Run them; what was measured before an interruption or a failure is kept.

    Args:
        cells: Those that are not measured yet.
        measure: Returns the row of a cell.
        n_done: So many of the selection are measured already.
        jobs: So many at once.
    """
    run = _MatrixRun()
    with _progress(Console(stderr=True)) as bar:
        task = bar.add_task(str(cells[0]) if cells else "", total=n_done + len(cells))
        bar.advance(task, n_done)
        try:
            for cell, row in _measured(cells, measure, jobs):
                run.rows[cell] = row
                bar.update(task, description=str(cell), advance=1)
                _tell_without_terminal(bar, task)
        except (KeyboardInterrupt, QStackError, LabError) as e:
            run.ended_by = e
    return run


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        speed_estimate_period=_SPEED_OVER_S,
    )


def _tell_without_terminal(bar: Progress, task: TaskID) -> None:
    """Write a line for each cell to a log, where no bar is seen."""
    if bar.console.is_terminal:
        return
    now = bar.tasks[task]
    left_min = "?" if now.time_remaining is None else f"{now.time_remaining / 60:.0f}"
    bar.console.print(
        f"{now.completed:.0f} of {now.total:.0f}, {left_min} min left: {now.description}",
        soft_wrap=True,
    )


def _open_journal(path: Path | None, options: dict[str, Any]) -> matrix.Journal | None:
    if path is None:
        return None
    try:
        return matrix.Journal(path, {**matrix.identity(), **options})
    except OSError as e:
        if isinstance(e, QStackError):
            raise
        raise ConfigError(f"--resume {path}: {e.strerror}") from None


@bench.command()
@click.option(
    "--cells",
    "selection",
    default="pairs",
    show_default=True,
    metavar="pairs|full|N",
    help="Every pair of settings, all combinations (hours), or N of them drawn by the seed.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, _SEED_MOST),
    default=1,
    show_default=True,
    help="Of the wire: the fate of each frame.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, _SEEDS_MOST),
    default=1,
    show_default=True,
    metavar="N",
    help="Wires of each cell, with seeds from --seed on; figures are medians over them.",
)
@click.option(
    "--recheck",
    type=click.IntRange(1, _SEEDS_MOST),
    default=1,
    show_default=True,
    metavar="N",
    help="A cell with loss that is beyond a limit is measured again, over N wires.",
)
@click.option(
    "--bytes",
    "n_bytes",
    type=click.IntRange(1, _BYTES_MOST),
    metavar="N",
    help="Of each transfer. Default: what takes Linux some seconds on that path.",
)
@click.option(
    "--limit",
    "limit_s",
    type=click.FloatRange(_LEAST_S, _MOST_S),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="A transfer is broken off then and measured by what arrived.",
)
@click.option(
    "--resume",
    "journal_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep each cell's row in FILE, JSON lines; cells that are there are not measured again.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, _JOBS_MOST),
    default=1,
    show_default=True,
    metavar="N",
    help="Cells at once, each on wires of its own. Both stacks of a cell meet the same load; what "
    "is near a limit is worth measuring again alone.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def tcp(
    selection: str,
    seed: int,
    seeds: int,
    recheck: int,
    n_bytes: int | None,
    limit_s: float,
    journal_path: Path | None,
    jobs: int,
    as_json: bool,
) -> int:
    """Measure QStack against Linux's TCP over bad wires, beside Linux against Linux.

    Runs over AF_XDP, in namespaces of its own, as root. Exit status 1 when bytes arrived wrong or a
    transfer got stuck; speed does not matter to it.
    """
    cells = _choose(selection, seed)
    options = {"seed": seed, "seeds": seeds, "recheck": recheck, "bytes": n_bytes}
    journal = _open_journal(journal_path, {**options, "limit_s": limit_s})
    done = {cell: journal.rows[cell] for cell in cells if cell in journal.rows} if journal else {}
    one_writes = threading.Lock()

    def over_wires(cell: matrix.Cell, n: int) -> dict[str, Any]:
        wires = range(seed, seed + n)
        return matrix.run_cell(cell, seeds=wires, limit_s=limit_s, n_bytes=n_bytes)

    def measure(cell: matrix.Cell) -> dict[str, Any]:
        row = over_wires(cell, seeds)
        if recheck > seeds and matrix.beyond_limits(row):
            row = over_wires(cell, recheck)
        if journal:
            with one_writes:
                journal.add(cell, row)
        return row

    run = _run_cells([cell for cell in cells if cell not in done], measure, len(done), jobs)
    rows = [row for cell in cells if (row := done.get(cell) or run.rows.get(cell))]
    if run.ended_by is not None and not rows:
        raise run.ended_by
    summary = matrix.summary(rows)
    if as_json:
        document = {
            "kernel": os.uname().release,
            "selection": selection,
            "seed": seed,
            "seeds": seeds,
            "recheck": recheck,
            "jobs": jobs,
            "complete": len(rows) == len(cells),
            "rows": rows,
            "worst_ratio_with_loss": summary["ratio_least"],
            "summary": summary,
        }
        click.echo(json.dumps(document, indent=1))
    else:
        Console().print(_matrix_table(rows))
        for name, value in summary.items():
            click.echo(f"{name.replace('_', ' ')}: {_figure(value)}")
    if isinstance(run.ended_by, KeyboardInterrupt):
        return _INTERRUPTED
    if run.ended_by is not None:
        raise run.ended_by
    return 1 if summary["wrong"] or summary["stuck"] else 0


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _verdict(side: dict[str, Any]) -> str:
    if side["hash_ok"] is False:
        return "WRONG"
    if side["stuck"]:
        return "STUCK"
    return "ok" if side["finished"] else "slow"


def _matrix_table(cells: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        *("sends", "IP", "MTU", "loss %", "ms", "settings", "QStack Mbit/s", "Linux Mbit/s"),
        *("ratio", "QStack again/lost", "Linux again/lost", "QStack", "Linux"),
        title="QStack with Linux, and Linux with Linux, on the same path",
    )
    named = ("sack", "timestamps", "ecn", "reorder", "duplicate")
    for cell in cells:
        sides = cell["qstack"], cell["linux"]
        table.add_row(
            *(cell["sender"], str(cell["ip"]), str(cell["mtu"])),
            *(f"{cell['loss']:g}", str(cell["delay_ms"])),
            " ".join(name for name in named if cell[name]),
            *(_figure(side["goodput_mbit"]) for side in sides),
            _figure(cell["ratio"]),
            *(_figure(side["retransmits_per_lost"]) for side in sides),
            *(_verdict(side) for side in sides),
        )
    return table
