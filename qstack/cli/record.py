# SPDX-License-Identifier: Apache-2.0
"""``qstack record``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .. import units
from ..control import ask
from ..errors import ConfigError
from ..recording import Recording
from .explain import only_server

_PERIOD_MIN_NS = 1_000_000
_SECOND_NS = 10**9


@click.command()
@click.argument("device", required=False)
@click.option(
    "--to",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="Where it goes, as JSON.",
)
@click.option("--seconds", type=click.FloatRange(0.01, 3600), default=10, show_default=True)
@click.option("--period", default="100ms", show_default=True, help="Between two counts.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, about the recording.")
def record(device: str | None, path: Path, seconds: float, period: str, as_json: bool) -> int:
    """Write down how many frames of each bucket come to a server that runs.

    DEVICE is the network device of the server, or its wire; not needed when only one server runs.
    `qstack sim --load FILE` plays it to policies.
    """
    period_ns = _period_ns(period)
    device = device or only_server()
    ends_s, frames = _counted(device, seconds, period_ns / _SECOND_NS)
    recording = Recording(device=device, ends_s=ends_s, frames=frames)
    recording.write(path)
    about = {
        "device": device,
        "file": str(path),
        "seconds": ends_s[-1],
        "periods": len(frames),
        "frames": sum(map(sum, frames)),
        "buckets_used": sum(any(row[b] for row in frames) for b in range(len(frames[0]))),
    }
    if as_json:
        click.echo(json.dumps(about))
    else:
        click.echo(
            f"{path}: {about['frames']:,} frames in {about['seconds']:.1f} s,"
            f" of {about['buckets_used']} buckets"
        )
    return 0


def _period_ns(text: str) -> int:
    try:
        value = units.parse_duration_ns(text)
    except ValueError as e:
        raise ConfigError(f"--period {text}: {e}") from None
    if value < _PERIOD_MIN_NS:
        raise ConfigError(f"--period {text}: at least 1ms")
    return value


def _counted(device: str, seconds: float, period_s: float) -> tuple[list[float], list[list[int]]]:
    """Return the ends of periods, and the frames of each bucket in them."""
    rows: list[list[int]] = []
    ends_s: list[float] = []
    before: list[int] = ask(device, "buckets")["frames"]
    began = time.monotonic()
    with _progress() as bar:
        task = bar.add_task("", total=seconds)
        while not ends_s or ends_s[-1] < seconds:
            time.sleep(max(0.0, began + (len(rows) + 1) * period_s - time.monotonic()))
            now: list[int] = ask(device, "buckets")["frames"]
            ends_s.append(time.monotonic() - began)
            rows.append([n - o for n, o in zip(now, before, strict=True)])
            before = now
            bar.update(task, completed=ends_s[-1])
    return ends_s, rows


def _progress() -> Any:
    return Progress(
        TextColumn("recording"),
        BarColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
