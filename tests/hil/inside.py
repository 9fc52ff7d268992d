# SPDX-License-Identifier: Apache-2.0
"""What tests do in a guest: called there by tools.hil.agent, with values of JSON's types."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nicprog
from nicprog import cli, host, reserve
from nicprog.ethtool import FlowType, RxMatch, RxRule
from nicprog.metrics import counters_of
from nicprog.model import Masked
from nicprog.netlink import Netdev  # noqa: F401  # slow to import: once, before the calls
from nicprog.packet import Packet
from nicprog.settings import GROUPS
from nicprog.text import state_from_json, state_to_json
from nicprog.where import Steering
from tools.hil.lanes import ABILITIES

_SYSTEM_KEY = Path("/proc/sys/net/core/netdev_rss_key")
_FAULTS = Path("/sys/kernel/debug/fnic")
_SERVED = Path("/run/served")
_CARRIER_S = 20.0
_IFF_UP = 1


def bring_up(mac: str) -> str:
    """Turns on the interface with this address, without traffic of its own; returns its name."""
    for path in Path("/sys/class/net").iterdir():
        if (path / "address").read_text().strip() == mac:
            return bring_up_name(path.name)
    raise LookupError(f"no interface has the address {mac}")


def bring_up_name(name: str) -> str:
    """The same by name."""
    turn_on(name)
    wait_for_carrier(name)
    return name


def turn_on(name: str) -> None:
    """The same without waiting until it has a carrier."""
    _without_ipv6(name).write_text("1")
    subprocess.run(["ip", "link", "set", name, "up"], check=True)


def link_settings(name: str) -> tuple[str, str]:
    """Whether it is up, and without IPv6: for `set_link`."""
    is_up = int(Path(f"/sys/class/net/{name}/flags").read_text(), 16) & _IFF_UP
    return "up" if is_up else "down", _without_ipv6(name).read_text().strip()


def set_link(name: str, settings: tuple[str, str]) -> None:
    """Makes them as `link_settings` told."""
    _without_ipv6(name).write_text(settings[1])
    subprocess.run(["ip", "link", "set", name, settings[0]], check=True)


def _without_ipv6(name: str) -> Path:
    return Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")


def has_carrier(name: str) -> bool:
    """Whether something is at its other end."""
    return Path(f"/sys/class/net/{name}/carrier").read_text().strip() == "1"


def wait_for_carrier(name: str) -> None:
    """Raises TimeoutError when it does not get one."""
    deadline = time.monotonic() + _CARRIER_S
    while not has_carrier(name):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} has no carrier")
        time.sleep(0.05)


@contextlib.contextmanager
def _carrier_kept(device: str) -> Iterator[None]:
    """igb resets its link when channels or hashed fields change: waits until it is back."""
    had = has_carrier(device)
    yield
    if had:
        wait_for_carrier(device)


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


def state(device: str, *groups: str) -> dict[str, Any]:
    """What a NIC holds, with all of its settings or those of these groups."""
    with nicprog.open(device) as nic:
        return state_to_json(nic.read(groups or GROUPS))


def key_bytes(device: str) -> int:
    """Length of its hash key; 40 when it does not show one."""
    with nicprog.open(device) as nic:
        return nic.capabilities().key_bytes or 40


def lacks(device: str) -> dict[str, str]:
    """What tests need and somebody's NIC does not have, with the reason; as ABILITIES has them.

    Raises:
        NicprogError: It cannot be programmed at all.
    """
    with nicprog.open(device) as nic:
        can, held = nic.capabilities(), nic.read()
        known = nic.limits(("hash",))["hash"].known
        there = {
            "state": True,
            "channels": can.queues_max >= 4 and not can.fixed_channels,
            "table": can.table_size,
            "where": held.key or not can.hashes,
            "key": can.key_bytes,
            "fields": known & {"udp4"},
            "rules": can.locations,
            "drops": can.locations and can.rule_limits.drops,
            "contexts": can.contexts != 0,
            "interrupts": sum(name.startswith("rx-") for name in interrupts(device)) >= 4,
            "counters": counters_of(nic).queues,
        }
    return {
        what: f"driver {can.driver} does not have {text}"
        for what, text in ABILITIES.items()
        if not there.get(what)
    }


def other_settings(device: str) -> str:
    """A spec of settings that a NIC can have and does not have now."""
    with nicprog.open(device) as nic:
        can, held, limits = nic.capabilities(), nic.read(GROUPS), nic.limits(GROUPS)
    spec, channels = "", held.channels
    if can.table_size:
        spec += '[rss]\nequal = "all"\n'
    if not can.fixed_channels and channels.combined > 1:
        spec += f"[channels]\ncombined = {channels.combined // 2}\n"
    elif not can.fixed_channels and channels.rx > 1:
        spec += f"[channels]\nrx = {channels.rx // 2}\ntx = {channels.tx}\n"
    if rx := held.settings["rings"].get("rx"):
        spec += f"[rings]\nrx = {int(rx) // 2}\n"
    if "rx-gro" in limits["features"].known - set(limits["features"].fixed):
        spec += f"[features]\nrx-gro = {str(not held.settings['features']['rx-gro']).lower()}\n"
    return spec


def restore(device: str, wanted: dict[str, Any]) -> None:
    """Brings a NIC to a state; what was applied is forgotten."""
    with nicprog.open(device) as nic:
        nicprog.apply(nic, nicprog.plan(nic, state_from_json(wanted)))


def apply(device: str, spec: str) -> list[str]:
    """Applies a spec without its first line; returns the steps."""
    with _carrier_kept(device), nicprog.open(device) as nic:
        result = nicprog.apply(nic, nicprog.plan(nic, _spec(device, spec)))
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
    with _carrier_kept(device), nicprog.open(device) as nic:
        nicprog.rollback(nic)


def reserved(device: str, flows: str, queues: int) -> list[int]:
    """Reserves queues for flows; returns which."""
    with nicprog.open(device) as nic:
        found, plan = reserve.plan(nic, reserve.flow(flows), queues)
        nicprog.apply(nic, plan)
        return list(found.queues)


def forced_rule(device: str, flow: str, matches: dict[str, int], queue: int) -> str:
    """Writes a rule at location 0 past the planner; returns it as the driver shows it."""
    match = RxMatch(**{name: Masked(value=value, mask=0xFFFF) for name, value in matches.items()})
    with nicprog.open(device) as nic:
        nic.calls.insert_rule(RxRule(flow=FlowType[flow], match=match, location=0, queue=queue))
        return nic.calls.rule(0).flow.name


def delete_rule(device: str) -> None:
    """Takes it away."""
    with nicprog.open(device) as nic:
        nic.calls.delete_rule(0)


def places(device: str, frames: list[str], shifted_key: bool) -> list[int | None]:
    """Queue of each frame as ``nicprog where`` has it; None: dropped.

    A driver that does not show its key is taken to use the kernel's. With ``shifted_key`` the
    device is taken to have got a zero and then the key without its end.
    """
    with nicprog.open(device) as nic:
        steering = Steering(nic)
        key, table = steering._state.key, steering._state.table
        if table.entries and not key:
            key = bytes.fromhex(_SYSTEM_KEY.read_text().strip().replace(":", ""))[:40]
        if shifted_key:
            key = b"\0" + key[:-1]
        steering._state = replace(steering._state, key=key)
        return [steering.place(Packet.parse(bytes.fromhex(frame))).queue for frame in frames]


def received(device: str) -> list[int]:
    """Packets that each queue has got."""
    with nicprog.open(device) as nic:
        return [item.packets for item in counters_of(nic).queues]


def send(ifname: str, frames: list[str]) -> None:
    """Sends frames on an interface."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((ifname, 0))
        for frame in frames:
            wire.send(bytes.fromhex(frame))


def serve(device: str, address: str, queues: int) -> dict[str, Any]:
    """Starts ``qstack serve`` on a NIC that gets an address; what it says when it serves."""
    subprocess.run(["ip", "address", "add", address, "dev", device], check=True)
    command = [sys.executable, "-m", "qstack", "serve", "--json", "--nic", device]
    with _SERVED.open("w") as said:
        server = subprocess.Popen(
            [*command, "--queues", str(queues)], stdout=said, stderr=said, start_new_session=True
        )
    while server.poll() is None:
        if (text := _SERVED.read_text()).endswith("\n"):
            return {"pid": server.pid, **json.loads(text)}
        time.sleep(0.05)
    raise RuntimeError(f"qstack serve has ended: {_SERVED.read_text()}")


def end_serving(device: str, pid: int) -> None:
    """Ends it, and takes the address away."""
    os.kill(pid, signal.SIGINT)
    while Path(f"/proc/{pid}/cmdline").read_bytes():  # the agent does not ask how it ended
        time.sleep(0.05)
    subprocess.run(["ip", "address", "flush", "dev", device], check=True)


def tests_of(device: str, peer: str) -> list[str]:
    """Runs these tests on an interface that is there, as its owner would; what they say."""
    arguments = ["-p", "no:cacheprovider", "--hil-device", device, "--hil-peer", peer]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/hil/test_drivers.py", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout.splitlines()


def _spec(device: str, spec: str) -> nicprog.Spec:
    return nicprog.parse(f'device = "{device}"\n{spec}')
