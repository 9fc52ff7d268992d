# SPDX-License-Identifier: Apache-2.0
"""XPS, RPS, RFS and NAPI of a veth as the kernel has them, in a namespace of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nicprog.host import RealFiles, format_list, parse_mask, read_topology
from qstack.lab import Namespace

QUEUES = ("numrxqueues", "4", "numtxqueues", "4")
ONLINE = read_topology(RealFiles()).online
SPEC = f"""
device = "v0"

[host]
cpus = "all"
xps = "by-queue"
rps = {{0 = "{min(ONLINE)}"}}
rfs = 100

[host.napi]
threaded = true
defer_hard_irqs = 2
gro_flush_timeout_us = 20.5
"""
FILES = (
    *(f"queues/tx-{n}/xps_cpus" for n in range(4)),
    *(f"queues/tx-{n}/xps_rxqs" for n in range(4)),
    *(f"queues/rx-{n}/rps_cpus" for n in range(4)),
    *(f"queues/rx-{n}/rps_flow_cnt" for n in range(4)),
    "threaded",
    "napi_defer_hard_irqs",
    "gro_flush_timeout",
)

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """One with a veth pair of four queues that is up and has NAPI instances."""
    name = f"nicprog-host-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        found = Namespace(name=name)
        for link in (
            ("ip", "link", "add", "v0", *QUEUES, "type", "veth", "peer", "name", "v1", *QUEUES),
            ("ip", "link", "set", "v0", "up"),
            ("ip", "link", "set", "v1", "up"),
            ("ethtool", "-K", "v0", "gro", "on"),
        ):
            found.run(link, check=True)
        yield found
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "nic.toml"
    path.write_text(SPEC)
    return str(path)


def held(namespace: Namespace) -> dict[str, str]:
    """What the kernel's files say."""
    folder = "/sys/class/net/v0/"
    command = ["grep", "-H", "", *(folder + name for name in FILES)]
    done = namespace.run(command, capture_output=True, text=True, check=True)
    lines = (line.removeprefix(folder).partition(":") for line in done.stdout.splitlines())
    return {name: value for name, _, value in lines}


def test_the_kernel_holds_what_the_spec_says(namespace: Namespace, run: Run, spec: str) -> None:
    before = held(namespace)
    assert run("plan", spec)["changes"] == len(run("apply", spec)["steps"])
    now = held(namespace)
    sending = [parse_mask(now[f"queues/tx-{n}/xps_cpus"]) for n in range(4)]
    assert frozenset().union(*sending) == ONLINE, "every CPU has a queue"
    assert all(sending)
    assert parse_mask(now["queues/rx-0/rps_cpus"]) == {min(ONLINE)}
    assert not parse_mask(now["queues/rx-1/rps_cpus"])
    assert now["queues/rx-3/rps_flow_cnt"] == "128"
    assert (now["threaded"], now["napi_defer_hard_irqs"]) == ("1", "2")
    assert now["gro_flush_timeout"] == "20500"
    assert run("verify", spec)["ok"]
    assert run("rollback", "v0")["rolled_back"]
    assert held(namespace) == before


def test_what_another_program_sets_is_told(namespace: Namespace, run: Run, spec: str) -> None:
    run("apply", spec)
    namespace.run(["sh", "-c", "echo 0 > /sys/class/net/v0/queues/rx-0/rps_cpus"], check=True)
    namespace.run(["sh", "-c", "echo 5 > /sys/class/net/v0/napi_defer_hard_irqs"], check=True)
    found = run("verify", spec, status=1)["differences"]
    assert [(one["what"], one["found"]) for one in found] == [
        ("setting host.rps rx-0", ""),
        ("setting host.napi defer_hard_irqs", "5"),
    ]
    run("apply", spec)
    assert run("verify", spec)["ok"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('rps = "8000"', "CPU 8000 does not exist"),
        ('interrupts = "spread"', "the device has no interrupt"),
        ('irqbalance = "keep-away"', "the device has no interrupts"),
        ('cpus = "node:99"\nrps = "cpus"', "there is no NUMA node 99"),
        ('xps = {4 = "0"}', "queue 4 is named, but 4 TX queues are active (0 to 3)"),
    ],
)
def test_refused_beforehand(
    namespace: Namespace, run: Run, tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(f'device = "v0"\n[host]\n{text}\n')
    assert words in run("plan", str(path), status=1)["error"]["message"]


def test_one_instance_of_its_own_is_seen_and_comes_back(
    namespace: Namespace, run: Run, spec: str
) -> None:
    """One NAPI instance set by netlink: an apply evens that out, a rollback brings it back."""
    program = (
        "from nicprog.netlink import Netdev\n"
        "with Netdev('v0') as dev:\n"
        "    dev.set_napi(dev.napis()[1].number, defer_hard_irqs=7)\n"
    )
    done = namespace.run([sys.executable, "-c", program], capture_output=True, text=True)
    if "EOPNOTSUPP" in done.stderr:
        pytest.skip("the kernel cannot set single NAPI instances (before Linux 6.13)")
    assert done.returncode == 0, done.stderr
    mixed = "0/0,7,0,0"
    assert run("host", "v0")["napi"]["defer_hard_irqs"] == mixed
    run("apply", spec)
    assert run("host", "v0")["napi"]["defer_hard_irqs"] == 2
    run("rollback", "v0")
    assert run("host", "v0")["napi"]["defer_hard_irqs"] == mixed


def test_host_tells_of_the_device(run: Run) -> None:
    found = run("host", "v0")
    assert found["topology"]["online"] == format_list(ONLINE)
    assert found["interrupts"] == []
    assert sorted(found["xps"]) == [f"tx-{n}" for n in range(4)]
    assert found["rps"] == {f"rx-{n}": "" for n in range(4)}
    assert run("host")["topology"] == found["topology"]
    assert "no such interface" in run("host", "v9", status=1)["error"]["message"]


def test_a_dump_is_a_spec(run: Run, spec: str, tmp_path: Path) -> None:
    run("apply", spec)
    again = tmp_path / "again.toml"
    again.write_text(run("dump", "v0", "--toml")["toml"])
    assert "gro_flush_timeout_us = 20.5" in again.read_text()
    assert run("verify", str(again))["ok"]
