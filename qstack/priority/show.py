# SPDX-License-Identifier: Apache-2.0
"""Table and plot of what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table


def servers(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what was measured of each server, by its name for people."""
    found = {}
    for mode, figures in document["modes"].items():
        found[f"QStack, {mode}"] = figures
        found[f"QStack, {mode}, one class"] = document["one_class"][mode]
    for key, name in (("epoll", "kernel, epoll"), ("epoll_busy_poll", "kernel, busy poll")):
        if key in document["kernel"]:
            found[name] = document["kernel"][key]
    return found


def table(document: Mapping[str, Any]) -> Table:
    """Return a row for each server and load."""
    result = Table(
        *("server", "capacity/s", "load", "urgent p50 us", "p99", "p99.9"),
        *("default p50 us", "p99.9", "default/s", "lost"),
        title="Urgent class beside a default class that is offered a part of the capacity",
    )
    for name, figures in servers(document).items():
        for load, p999 in figures["urgent_p999_us"].items():
            first = load == "unloaded"
            result.add_row(
                name if first else "",
                f"{figures['capacity_per_second']:,.0f}" if first else "",
                load,
                f"{figures['urgent_p50_us'][load]:,.0f}",
                f"{figures['urgent_p99_us'][load]:,.0f}",
                f"{p999:,.0f}",
                *("",) * 3
                if first
                else (
                    f"{figures['default_p50_us'][load]:,.0f}",
                    f"{figures['default_p999_us'][load]:,.0f}",
                    f"{figures['default_answered_per_second'][load]:,.0f}",
                ),
                str(figures["urgent_lost"]) if first else "",
            )
    return result


def adversary_table(document: Mapping[str, Any]) -> Table:
    """Return a row for each adversary and what there was besides honest urgent requests."""
    result = Table(
        *("adversary", "", "urgent p50 us", "p99", "p99.9", "p99.9 to alone", "lost", "counters"),
        title="Honest urgent requests beside somebody who means harm",
    )
    for name, figures in document["adversaries"].items():
        for point, p999 in figures["urgent_p999_us"].items():
            first, beside = point == "alone", point == "beside"
            counters = figures["counters"].items() if beside else ()
            result.add_row(
                name if first else "",
                point.replace("_", " "),
                *(f"{figures[f'urgent_{q}_us'][point]:,.0f}" for q in ("p50", "p99")),
                f"{p999:,.0f}",
                "" if first else f"{figures['ratio_p999'][point]:.2f}",
                str(figures["urgent_lost"]) if first else "",
                ", ".join(f"{n:,} {what}" for what, n in counters),
            )
    return result


def plot(document: Mapping[str, Any], path: Path) -> None:
    """Save the urgent p99.9 of each server over the load, as a PNG."""
    import matplotlib as mpl  # takes a second: only who plots pays

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5))
    for name, figures in servers(document).items():
        p999 = figures["urgent_p999_us"]
        axes.plot(list(p999), list(p999.values()), marker="o", label=name)
    axes.set_yscale("log")
    axes.set_xlabel("load, parts of the capacity")
    axes.set_ylabel("p99.9 of the urgent class, us (log)")
    axes.set_title("An urgent class beside an overloaded one")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
