# SPDX-License-Identifier: Apache-2.0
"""Table and plot of what the demonstration measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

_ROWS = (
    ("low: requests/s", "low_rps", "{:,.0f}"),
    ("low: p50, ms", "low_p50_us", "ms"),
    ("low: p99, ms", "low_p99_us", "ms"),
    ("high: p50, ms", "high_p50_us", "ms"),
    ("high: p99, ms", "high_p99_us", "ms"),
    ("high: p99.9, ms", "high_p999_us", "ms"),
)


def _cell(value: float | None, form: str) -> str:
    if value is None:
        return "-"
    return f"{value / 1e3:,.2f}" if form == "ms" else form.format(value)


def table(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the table of both servers."""
    result = Table("", *figures, title="low: class 0, flooded; high: class 7, steady probe")
    for title, key, form in _ROWS:
        result.add_row(title, *(_cell(f.get(key), form) for f in figures.values()))
    return result


def plot(figures: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Save latencies of the high class, and of the low one for comparison, as a PNG."""
    import matplotlib as mpl  # takes a second: only who plots pays

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    keys = ("high_p50_us", "high_p99_us", "high_p999_us", "low_p50_us", "low_p99_us")
    labels = ("high p50", "high p99", "high p99.9", "low p50", "low p99")
    figure, axes = plt.subplots(figsize=(8, 4.5))
    width = 0.8 / len(figures)
    for i, (name, values) in enumerate(figures.items()):
        places = [k + i * width for k in range(len(keys))]
        heights = [values[key] / 1e3 for key in keys]
        bars = axes.bar(places, heights, width, label=f"{name}: {values['low_rps']:,.0f} low req/s")
        axes.bar_label(bars, fmt="%.2g", fontsize=8)
    axes.set_xticks([k + 0.4 - width / 2 for k in range(len(keys))], labels)
    axes.set_yscale("log")
    axes.set_ylabel("latency, ms (log)")
    axes.set_title("An urgent port beside a flooded one")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
