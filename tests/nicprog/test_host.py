# SPDX-License-Identifier: Apache-2.0
"""The package nicprog.host by itself, on made-up files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nicprog import host
from nicprog.errors import NicprogError, RequestError
from nicprog.host import napi, queues
from nicprog.host.cpus import CPUS_MAX
from nicprog.host.device import HostDevice
from nicprog.netlink import Napi
from tests.nicprog.host_rig import CPUS, DEVICE, FakeIrqbalance, made_up


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return made_up(tmp_path / "root")


@pytest.fixture
def files(root: Path) -> host.RealFiles:
    return host.RealFiles(root)


@given(st.frozensets(st.integers(0, CPUS_MAX - 1)))
def test_lists_and_masks_read_back(cpus: frozenset[int]) -> None:
    assert host.parse_list(host.format_list(cpus)) == cpus
    assert host.parse_mask(host.format_mask(cpus)) == cpus


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", ()),
        ("3", (3,)),
        ("0-2,8", (0, 1, 2, 8)),
        ("0-7:1/4", (0, 4)),
        ("0-9:2/4", (0, 1, 4, 5, 8, 9)),
        (" 1, 2\n", (1, 2)),
    ],
)
def test_lists_of_the_kernel(text: str, cpus: tuple[int, ...]) -> None:
    assert sorted(host.parse_list(text)) == list(cpus)


@pytest.mark.parametrize("text", ["x", "3-1", "0-", "-1", "0-7:0/4", "0-7:5/4", "8192", "0x1"])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        host.parse_list(text)


def test_masks_of_the_kernel() -> None:
    assert host.parse_mask("00000001,00000000,80000001") == {0, 31, 64}
    assert host.format_mask({0, 31, 64}) == "1,00000000,80000001"
    for text in ("", "xyz", "1,,1", "123456789"):
        with pytest.raises(ValueError, match="mask"):
            host.parse_mask(text)


def test_topology(files: host.RealFiles) -> None:
    found = host.read_topology(files)
    assert found.online == set(range(7))
    assert found.possible == set(range(8))
    assert found.isolated == found.set_apart == {2}
    assert found.nohz_full == set()
    assert found.nodes == (0, 1)
    assert found.node(1) == {4, 5, 6}
    assert not found.node(7)
    assert found.one_of_each_core({1, 0, 3, 4, 5, 6}) == (0, 3, 4, 6)
    assert found.cpus[3] == host.Cpu(
        number=3, package=0, core=1, siblings=frozenset((2, 3)), node=0
    )


def test_cpus_that_cgroups_isolate(root: Path, files: host.RealFiles) -> None:
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/cpuset.cpus.isolated").write_text("5-6\n")
    found = host.read_topology(files)
    assert found.partitioned == {5, 6}
    assert found.set_apart == {2, 5, 6}


def test_files_that_cannot_be_understood(root: Path, files: host.RealFiles) -> None:
    (root / CPUS / "online").write_text("many\n")
    with pytest.raises(NicprogError, match=r"cpu/online: 'many' is not a list"):
        host.read_topology(files)


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("eth0-TxRx-3", ("rx-3", "tx-3")),
        ("ens5-Tx-Rx-12", ("rx-12", "tx-12")),
        ("mlx5_comp7@pci:0000:01:00.0", ("rx-7", "tx-7")),
        ("virtio0-input.1", ("rx-1",)),
        ("virtio0-output.1", ("tx-1",)),
        ("eth0-rx-0", ("rx-0",)),
        ("mlx5_async0@pci:0000:01:00.0", ()),
        ("eth0", ()),
    ],
)
def test_names_of_interrupts(name: str, served: tuple[str, ...]) -> None:
    assert host.queues_of_name(name) == served


def test_interrupts(files: host.RealFiles) -> None:
    found = host.interrupts(files, "eth0")
    assert [one.number for one in found] == [40, 41, 42], "43 was never requested"
    assert [one.queues for one in found] == [(), ("rx-0", "tx-0"), ("rx-1", "tx-1")]
    assert found[1].cpus == set(range(7))
    assert found[1].effective == {1}
    assert found[2].counts[2] == 9
    assert list(host.by_queue(found)) == ["rx-0", "rx-1"]
    assert host.interrupts(files, "nothing") == ()


def test_the_kernel_knows_better_than_names(files: host.RealFiles) -> None:
    found = host.interrupts(files, "eth0", {41: ["rx-5"]})
    assert [one.queues for one in found] == [(), ("rx-5",), ("rx-1", "tx-1")]


def test_interrupts_of_virtio_are_those_of_the_device_above(root: Path) -> None:
    above = root / "sys/devices/pci0000:00/0000:00:05.0"
    (above / "virtio2").mkdir()
    (root / DEVICE / "device").unlink()
    (root / DEVICE / "device").symlink_to(above / "virtio2")
    assert len(host.interrupts(host.RealFiles(root), "eth0")) == 3


def test_an_interrupt_that_the_kernel_manages(root: Path, files: host.RealFiles) -> None:
    (root / "proc/irq/41/smp_affinity_list").chmod(0o444)
    assert [one.is_settable for one in host.interrupts(files, "eth0")] == [True, False, True]


def test_an_interrupt_is_given_to_cpus(root: Path, files: host.RealFiles) -> None:
    host.set_cpus(files, 41, {4, 5}, "eth0")
    assert (root / "proc/irq/41/smp_affinity_list").read_text() == "4-5"
    with pytest.raises(
        RequestError, match=r"eth0: cannot write '1' to /proc/irq/99/.*ENOENT"
    ) as no:
        host.set_cpus(files, 99, {1}, "eth0")
    assert no.value.errno == errno.ENOENT


def test_queues(root: Path, files: host.RealFiles) -> None:
    assert queues.queues(files, "eth0", "rx") == (0, 1)
    queues.set_xps_cpus(files, "eth0", 1, {0, 6})
    assert (root / DEVICE / "queues/tx-1/xps_cpus").read_text() == "41"
    queues.set_xps_rxqs(files, "eth0", 0, {1})
    queues.set_rps_cpus(files, "eth0", 0, ())
    queues.set_rfs_flows(files, "eth0", 1, 64)
    assert queues.xps_cpus(files, "eth0", 1) == frozenset((0, 6))
    assert queues.xps_rxqs(files, "eth0", 0) == frozenset((1,))
    assert queues.rps_cpus(files, "eth0", 0) == frozenset()
    assert queues.rfs_flows(files, "eth0", 1) == 64
    assert queues.xps_cpus(files, "eth0", 9) is None
    assert queues.sock_flow_entries(files) == 0


class Instances:
    """NAPI instances with these values of ``defer_hard_irqs``."""

    def __init__(self, *defers: int) -> None:
        self.held = dict(enumerate(defers, 100))
        self.suspend = dict.fromkeys(self.held, 0)

    def napis(self) -> tuple[Napi, ...]:
        return tuple(
            Napi(
                number=number,
                irq=None,
                thread=None,
                defer_hard_irqs=defer,
                gro_flush_timeout_ns=0,
                irq_suspend_timeout_ns=self.suspend[number],
            )
            for number, defer in self.held.items()
        )

    def set_napi(self, number: int, **values: int | None) -> None:
        ((name, value),) = values.items()
        assert value is not None
        {"defer_hard_irqs": self.held, "irq_suspend_timeout_ns": self.suspend}[name][number] = value


def test_napi_values_that_differ_are_told_whole_and_come_back(files: host.RealFiles) -> None:
    mixed = Instances(0, 5, 0)
    found = napi.read_values(files, "eth0", mixed)
    assert found["defer_hard_irqs"] == "0/0,5,0"
    assert found["threaded"] is False
    napi.write_value(files, "eth0", "defer_hard_irqs", 2, mixed)
    assert napi.read_values(files, "eth0", mixed)["defer_hard_irqs"] == 2
    napi.write_value(files, "eth0", "defer_hard_irqs", found["defer_hard_irqs"], mixed)
    assert mixed.held == {100: 0, 101: 5, 102: 0}
    napi.write_value(files, "eth0", "irq_suspend_timeout_ns", 7000, mixed)
    assert set(mixed.suspend.values()) == {7000}
    with pytest.raises(NicprogError, match="no value of NAPI"):
        napi.write_value(files, "eth0", "threaded", "x/y", mixed)


def test_napi_of_the_interface_alone(root: Path, files: host.RealFiles) -> None:
    napi.write_value(files, "eth0", "gro_flush_timeout_ns", 20_000, None)
    assert (root / DEVICE / "gro_flush_timeout").read_text() == "20000"
    assert "irq_suspend_timeout_ns" not in napi.read_values(files, "eth0", None)


def test_irqbalance_is_told_and_told_back(root: Path, files: host.RealFiles) -> None:
    device = HostDevice("eth0", files)
    assert device.read("host.irqbalance") == {}, "it does not run"
    with FakeIrqbalance(root, {9, 41}) as running:
        assert device.read("host.irqbalance") == {"banned": "41"}
        device.write("host.irqbalance", {"banned": "all"})
        assert running.banned == {9, 40, 41, 42, 43}
        assert device.read("host.irqbalance") == {"banned": "all"}
        device.write("host.irqbalance", {"banned": "42"})
        assert running.banned == {9, 42}, "9 is another device's"
        device.write("host.irqbalance", {"banned": "none"})
        assert running.banned == {9}
        running.banned = set()
        device.write("host.irqbalance", {"banned": "none"})
        assert running.commands[-2] == "settings ban irqs NONE"
    assert device.read("host.irqbalance") == {}, "a socket that a dead one left"


def test_an_irqbalance_that_takes_a_part_of_the_list(root: Path, files: host.RealFiles) -> None:
    with FakeIrqbalance(root, {7}, room=26) as running:
        found = host.find(files, root)
        assert found is not None
        with pytest.raises(RequestError, match="leaves 3 of 4 interrupts alone") as lost:
            found.ban({40, 41, 42, 43})
        assert lost.value.errno == errno.EMSGSIZE
        assert running.banned == {7}, "as before"


def test_a_list_that_irqbalance_would_not_read_to_its_end(
    root: Path, files: host.RealFiles
) -> None:
    with FakeIrqbalance(root, set()) as running:
        found = host.find(files, root)
        assert found is not None
        most = range(1000, 1000 + (499 - len("settings ban irqs ") + 1) // 5)
        found.ban(most)
        assert running.banned == set(most)
        with pytest.raises(RequestError, match="97 interrupts are 502 octets, it reads 499"):
            found.ban(range(1000, 1097))
        assert running.banned == set(most)


def test_an_irqbalance_that_answers_somebody_else(root: Path, files: host.RealFiles) -> None:
    with FakeIrqbalance(root, set(), uid=os.geteuid() + 1):
        found = host.find(files, root)
        assert found is not None
        with pytest.raises(NicprogError, match="answers root alone"):
            found.banned()
