# SPDX-License-Identifier: Apache-2.0
"""``qstack doctor``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ..errors import NoDeviceError


@click.command()
@click.argument("device", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def doctor(device: str | None, as_json: bool) -> int:
    """Show what works here and why the rest does not, by trying it.

    Reports on all network devices, or on DEVICE only. Nothing on this machine is changed: devices
    are     tried in a network namespace that is gone afterwards. Status 1 when no driver works.
    """
    from ..doctor import examine

    if device is not None and (not device or not Path("/sys/class/net", device).is_dir()):
        raise NoDeviceError(f"{device}: no such network device; 'ip link' lists them")
    report = examine(device)
    if as_json:
        click.echo(json.dumps(report))
    else:
        _print(report)
    return 0 if any(driver["ok"] for driver in report["drivers"].values()) else 1


def _mark(ok: bool) -> str:
    return "[green]yes[/]" if ok else "[red]no[/]"


def _print(report: dict[str, Any]) -> None:
    console = Console()
    system = report["system"]
    console.print(
        f"Linux {system['kernel']} on {system['machine']}, {system['cpus']} CPUs, "
        f"Python {system['python']}"
    )
    table = Table("", "works", "found", "what to do", title="System")
    for finding in report["findings"]:
        table.add_row(finding["name"], _mark(finding["ok"]), finding["detail"], finding["advice"])
    console.print(table)
    table = Table("driver", "works", "mode, or why not", "offloads", title="Drivers")
    for name, driver in report["drivers"].items():
        offloads = [
            *driver.get("offloads", ()),
            *["rx_checksum"] * driver.get("rx_checksum", False),
        ]
        table.add_row(
            name,
            _mark(driver["ok"]),
            driver.get("mode") or driver["why_not"],
            ", ".join(offloads) or "none",
        )
    console.print(table)
    table = Table("device", "driver", "queues rx/tx", "MTU", "XDP", "AF_XDP", title="Devices")
    for name, device in report["devices"].items():
        table.add_row(
            name,
            device["driver"],
            f"{device['rx_queues']}/{device['tx_queues']}",
            str(device["mtu"]),
            "unknown" if device["xdp"] is None else _mark(device["xdp"]),
            device["af_xdp"] or "unknown",
        )
    console.print(table)
