# SPDX-License-Identifier: Apache-2.0
"""What tests do in a guest: called there by tools.hil.agent, with values of JSON's types."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import nicprog
from nicprog import cli, host, reserve
from nicprog.netlink import Netdev  # noqa: F401  # slow to import: once, before the calls
from nicprog.packet import Packet
from nicprog.settings import GROUPS
from nicprog.text import state_from_json, state_to_json
from nicprog.where import Steering

_SYSTEM_KEY = Path("/proc/sys/net/core/netdev_rss_key")
_FAULTS = Path("/sys/kernel/debug/fnic")
_CARRIER_S = 20.0


def bring_up(mac: str) -> str:
    """Turns on the interface with this address, without traffic of its own; returns its name."""
    for path in Path("/sys/class/net").iterdir():
        if (path / "address").read_text().strip() == mac:
            return bring_up_name(path.name)
    raise LookupError(f"no interface has the address {mac}")


def bring_up_name(name: str) -> str:
    """The same by name."""
    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    wait_for_carrier(name)
    return name


def wait_for_carrier(name: str) -> None:
    """igb resets its link when channels or hashed fields change."""
    carrier = Path(f"/sys/class/net/{name}/carrier")
    deadline = time.monotonic() + _CARRIER_S
    while carrier.read_text().strip() != "1":
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} has no carrier")
        time.sleep(0.05)


def address(name: str) -> str:
    """MAC address of an interface."""
    return Path(f"/sys/class/net/{name}/address").read_text().strip()


def command(*arguments: str) -> dict[str, Any]:
    """Runs ``nicprog ... --json``: its exit status and its document."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = cli.main([*arguments, "--json"])
    return {"status": status, **json.loads(said.getvalue())}


def interrupts(device: str) -> dict[str, tuple[str, dict[str, int]]]:
    """CPUs that may take the interrupt of each queue, and how often each CPU took it."""
    found = host.by_queue(host.interrupts(host.RealFiles(), device))
    return {
        name: (host.format_list(one.cpus), {str(cpu): n for cpu, n in one.counts.items()})
        for name, one in found.items()
    }


def state(device: str) -> dict[str, Any]:
    """All that a NIC holds."""
    with nicprog.open(device) as nic:
        return state_to_json(nic.read(GROUPS))


def restore(device: str, wanted: dict[str, Any]) -> None:
    """Brings a NIC to a state; what was applied is forgotten."""
    with nicprog.open(device) as nic:
        nicprog.apply(nic, nicprog.plan(nic, state_from_json(wanted)))


def apply(device: str, spec: str) -> list[str]:
    """Applies a spec without its first line; returns the steps."""
    with nicprog.open(device) as nic:
        result = nicprog.apply(nic, nicprog.plan(nic, _spec(device, spec)))
    wait_for_carrier(device)
    return [str(step.do) for step in result.steps]


def failing_apply(device: str, spec: str, at: int) -> str | None:
    """Applies a spec while operation ``at`` of fnic fails; the error, or None."""
    with nicprog.open(device) as nic:
        plan = nicprog.plan(nic, _spec(device, spec))
        (_FAULTS / "fail_at").write_text(str(at))
        try:
            nicprog.apply(nic, plan)
        except nicprog.ApplyError as error:
            return str(error)
        finally:
            (_FAULTS / "fail_at").write_text("0")
    return None


def fault(name: str, on: bool) -> None:
    """Turns a fault of fnic on or off."""
    (_FAULTS / name).write_text("Y" if on else "N")


def differences(device: str, spec: str) -> list[str]:
    """What ``verify`` finds."""
    with nicprog.open(device) as nic:
        return [one.what for one in nicprog.verify(nic, _spec(device, spec))]


def warnings(device: str, spec: str) -> list[str]:
    """What a plan warns of."""
    with nicprog.open(device) as nic:
        return list(nicprog.plan(nic, _spec(device, spec)).warnings)


def rollback(device: str) -> None:
    """Takes back the latest apply."""
    with nicprog.open(device) as nic:
        nicprog.rollback(nic)
    wait_for_carrier(device)


def reserved(device: str, flows: str, queues: int) -> list[int]:
    """Reserves queues for flows; returns which."""
    with nicprog.open(device) as nic:
        found, plan = reserve.plan(nic, reserve.flow(flows), queues)
        nicprog.apply(nic, plan)
        return list(found.queues)


def places(device: str, frames: list[str]) -> list[int | None]:
    """Queue of each frame as ``nicprog where`` has it; None: dropped.

    A driver that does not show its key is taken to use the kernel's.
    """
    with nicprog.open(device) as nic:
        steering = Steering(nic)
        if not steering._state.key:
            key = bytes.fromhex(_SYSTEM_KEY.read_text().strip().replace(":", ""))
            steering._state = replace(steering._state, key=key[:40])
        return [steering.place(Packet.parse(bytes.fromhex(frame))).queue for frame in frames]


def received(device: str) -> list[int]:
    """Packets that each queue has got."""
    with nicprog.open(device) as nic:
        return [item.packets for item in nic.counters().queues]


def send(ifname: str, frames: list[str]) -> None:
    """Sends frames on an interface."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((ifname, 0))
        for frame in frames:
            wire.send(bytes.fromhex(frame))


def _spec(device: str, spec: str) -> nicprog.Spec:
    return nicprog.parse(f'device = "{device}"\n{spec}')
