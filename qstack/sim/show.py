# SPDX-License-Identifier: Apache-2.0
"""Tables and plot of what was simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Column, Table


def tables(document: Mapping[str, Any]) -> Iterator[Table]:
    """Yield a table for each load, a row for each policy; and one for what has no load."""
    for load, policies in document["loads"].items():
        table = Table(
            Column("policy", no_wrap=True),
            *("uneven %", "peak", "p50 us", "p99", "p99.9", "moves/s"),
            *("lost", "reordered", "core s"),
            title=f"{load}: {document['packet_ns'][load]:,.0f} ns a packet",
            caption="uneven: (max-min)/min of packets of cores in a second; peak: to mean",
        )
        for name, f in policies.items():
            table.add_row(
                name + (" (set aside)" if f["set_aside"] else ""),
                *(_text(f["imbalance_percent"], 1), _text(f["peak_to_mean"], 2)),
                *(_text(f[q], 1) for q in ("p50_us", "p99_us", "p999_us")),
                _text(f["moves_per_second"], 1),
                *(f"{f[count]:,}" for count in ("lost", "reordered")),
                _text(f["core_seconds"], 1),
            )
        yield table
    if "decision_us_by_policy" in document:
        yield _trials(document)


def _trials(document: Mapping[str, Any]) -> Table:
    table = Table(
        *("policy", "8 to 7 cores: peak/mean", "settled", "decision us", "compiled in s"),
        title="Without packets",
    )
    for name, took_us in document["decision_us_by_policy"].items():
        table.add_row(
            name,
            _text(document["scale_down_peak_to_mean"][name], 3),
            _text(document["scale_down_settled_peak_to_mean"][name], 3),
            _text(took_us, 1),
            _text(document["compile_seconds"][name], 2),
        )
    return table


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def plot(document: Mapping[str, Any], path: Path) -> None:
    """Save imbalance and p99.9 of all policies under all loads, as a PNG."""
    import matplotlib as mpl  # takes a second: only who plots pays

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    loads = document["loads"]
    names = list(next(iter(loads.values())))
    figure, axes = plt.subplots(
        2, 1, figsize=(4 + 1.5 * len(loads), 8), sharex=True, layout="constrained"
    )
    width = 0.8 / len(names)
    for panel, key, label in (
        (axes[0], "imbalance_percent", "(max-min)/min of packets in a second, %"),
        (axes[1], "p999_us", "p99.9 of waiting, us"),
    ):
        for i, name in enumerate(names):
            values = [policies[name][key] or 0 for policies in loads.values()]
            at = [load + (i - (len(names) - 1) / 2) * width for load in range(len(loads))]
            panel.bar(at, values, width, label=name)
        panel.set_yscale("symlog", linthresh=1)
        panel.set_ylabel(label)
        panel.set_xticks(range(len(loads)), list(loads))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=120)
    plt.close(figure)
