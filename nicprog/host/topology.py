# SPDX-License-Identifier: Apache-2.0
"""CPUs of the host: cores, threads, NUMA nodes, which are online, which are isolated.

Sources: Documentation/ABI/testing/sysfs-devices-system-cpu and sysfs-devices-node, and
``cpuset.cpus.isolated`` of Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nicprog.errors import NicprogError
from nicprog.host.cpus import parse_list
from nicprog.host.files import Files, names, read, read_if_there

_CPUS: Final = "/sys/devices/system/cpu"
_NODES: Final = "/sys/devices/system/node"
_PARTITIONED: Final = (
    "/sys/fs/cgroup/cpuset.cpus.isolated", "/sys/fs/cgroup/unified/cpuset.cpus.isolated",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """One logical CPU that is online.

    Attributes:
        number: As the kernel counts, from 0.
        package: Socket.
        core: Number of the core in its socket; not consecutive.
        siblings: Threads of its core, itself included.
        node: NUMA node; None when the kernel has none.
    """

    number: int
    package: int
    core: int
    siblings: frozenset[int]
    node: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """All CPUs.

    Attributes:
        cpus: Those that are online, in order.
        possible: Those that could be.
        isolated: By ``isolcpus=``: the scheduler leaves them alone, and RPS does not use them.
        partitioned: Isolated by cgroups while the host runs.
        nohz_full: By ``nohz_full=``: no tick while one task runs.
    """

    cpus: tuple[Cpu, ...]
    possible: frozenset[int]
    isolated: frozenset[int] = frozenset()
    partitioned: frozenset[int] = frozenset()
    nohz_full: frozenset[int] = frozenset()

    @property
    def online(self) -> frozenset[int]:
        """Numbers of the CPUs that are online."""
        return frozenset(cpu.number for cpu in self.cpus)

    @property
    def set_apart(self) -> frozenset[int]:
        """CPUs that somebody keeps free for something: isolated in whatever way."""
        return self.isolated | self.partitioned | self.nohz_full

    def node(self, number: int) -> frozenset[int]:
        """CPUs of a NUMA node that are online; none when there is no such node."""
        return frozenset(cpu.number for cpu in self.cpus if cpu.node == number)

    @property
    def nodes(self) -> tuple[int, ...]:
        """NUMA nodes that have CPUs, in order."""
        return tuple(sorted({cpu.node for cpu in self.cpus if cpu.node is not None}))

    def one_of_each_core(self, cpus: Iterable[int]) -> tuple[int, ...]:
        """The first of ``cpus`` on each core, in order."""
        siblings = {cpu.number: cpu.siblings for cpu in self.cpus}
        taken: set[int] = set()
        found = []
        for cpu in sorted(cpus):
            if cpu not in taken:
                found.append(cpu)
                taken |= siblings.get(cpu, frozenset((cpu,)))
        return tuple(found)


def read_topology(files: Files) -> Topology:
    """Reads what the kernel tells now.

    Raises:
        RequestError: A file cannot be read.
        NicprogError: One has what cannot be understood.
    """
    online = _list(files, f"{_CPUS}/online") or frozenset((0,))
    node_of = {
        cpu: int(name.removeprefix("node"))
        for name in names(files, _NODES, "NUMA nodes")
        if re.fullmatch(r"node\d+", name)
        for cpu in _list(files, f"{_NODES}/{name}/cpulist")
    }
    partitioned: frozenset[int] = frozenset()
    for path in _PARTITIONED:
        partitioned |= _list(files, path)
    return Topology(
        cpus=tuple(_cpu(files, number, node_of.get(number)) for number in sorted(online)),
        possible=_list(files, f"{_CPUS}/possible") or online,
        isolated=_list(files, f"{_CPUS}/isolated"),
        partitioned=partitioned,
        nohz_full=_list(files, f"{_CPUS}/nohz_full"),
    )


def _cpu(files: Files, number: int, node: int | None) -> Cpu:
    folder = f"{_CPUS}/cpu{number}/topology"
    siblings = _list(files, f"{folder}/thread_siblings_list")
    return Cpu(
        number=number,
        package=_number(files, f"{folder}/physical_package_id"),
        core=_number(files, f"{folder}/core_id"),
        siblings=siblings or frozenset((number,)),
        node=node,
    )


def _list(files: Files, path: str) -> frozenset[int]:
    text = read_if_there(files, path, "CPUs")
    if text is None or text == "(null)":  # nohz_full of a kernel that was not told any
        return frozenset()
    try:
        return parse_list(text)
    except ValueError as error:
        raise NicprogError(f"CPUs: {path}: {error}") from None


def _number(files: Files, path: str) -> int:
    text = read(files, path, "CPUs")
    try:
        return int(text)
    except ValueError:
        raise NicprogError(f"CPUs: {path}: {text!r} is not a number") from None
