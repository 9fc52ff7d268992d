# SPDX-License-Identifier: Apache-2.0
"""What a host that serves from some cores needs: those cores alone, huge pages, its NIC's queues.

Each set-up is told as changes first. Sources: Documentation/admin-guide/cgroup-v2.rst ("Cpuset"),
kernel-parameters.rst (isolcpus, nohz_full, rcu_nocbs, irqaffinity), mm/hugetlbpage.rst.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import nicprog
from nicprog import reserve
from nicprog.backends.ethtool import EthtoolNic
from nicprog.errors import Refused
from nicprog.host import format_list, parse_list, read_topology
from nicprog.host.resolve import Objection, resolve_host
from nicprog.host.spec import HostSpec
from nicprog.model import Match, NicState
from tools.provision.changes import Change, HostFiles, MakeFolder, ProvisionError, Write

CGROUP: Final = "qstack"
_CGROUPS: Final = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")


def cores(files: HostFiles, text: str) -> list[Change]:
    """A control group that has CPUs alone: nothing else is scheduled on them.

    Raises:
        ProvisionError: They are not there, it is all of them, or the host's cgroups cannot do it.
    """
    cpus = _cpus(files, text)
    folder = _cpuset_folder(files, cpus)
    group = f"{folder}/{CGROUP}"
    changes: list[Change] = []
    if "cpuset" not in files.read(f"{folder}/cgroup.subtree_control").split():
        changes.append(
            Write(
                path=f"{folder}/cgroup.subtree_control",
                text="+cpuset",
                undo="-cpuset",
                why="control groups have CPUs",
            )
        )
    return [
        *changes,
        MakeFolder(path=group, why="the control group of what runs on these CPUs"),
        Write(
            path=f"{group}/cpuset.cpus",
            text=format_list(cpus),
            undo="",
            holds=format_list(cpus),
            why="its CPUs",
        ),
        Write(
            path=f"{group}/cpuset.cpus.partition",
            text="isolated",
            undo="member",
            holds="isolated",
            why="no other process, and no balancing, on its CPUs",
        ),
    ]


def advice(files: HostFiles, text: str) -> str:
    """Parameters of the kernel's command line that isolate CPUs from the start of the host.

    Raises:
        ProvisionError: As for :func:`cores`.
    """
    cpus = _cpus(files, text)
    listed, rest = format_list(cpus), format_list(read_topology(files).online - cpus)
    return (
        f"isolcpus=managed_irq,domain,{listed} nohz_full={listed} rcu_nocbs={listed} "
        f"irqaffinity={rest}"
    )


def _cpus(files: HostFiles, text: str) -> frozenset[int]:
    online = read_topology(files).online
    try:
        cpus = parse_list(text)
    except ValueError as error:
        raise ProvisionError(f"cores: {error}") from None
    if not cpus:
        raise ProvisionError("cores: no CPU is named")
    if cpus - online:
        raise ProvisionError(
            f"cores: CPU {format_list(cpus - online)} is not online (online: {format_list(online)})"
        )
    if cpus == online:
        raise ProvisionError(
            f"cores: these are all CPUs that are online ({format_list(online)}); leave one to "
            "everything else"
        )
    return cpus


def _cpuset_folder(files: HostFiles, cpus: frozenset[int]) -> str:
    """Where cgroup v2 is mounted with the controller cpuset."""
    for folder in _CGROUPS:
        try:
            if "cpuset" in files.read(f"{folder}/cgroup.controllers").split():
                return folder
        except OSError:
            continue
    raise ProvisionError(
        "cores: no cgroup v2 with the controller cpuset is mounted here (cgroup v1 may hold it); "
        f"'tools/provision/host cores {format_list(cpus)} --advise' tells what to give the kernel "
        "instead"
    )


def hugepages(files: HostFiles, count: int, size_kib: int, node: int | None) -> list[Change]:
    """So many huge pages at least, on one NUMA node or anywhere.

    Raises:
        ProvisionError: The host has no pages of this size, or no such node.
    """
    pages = f"hugepages/hugepages-{size_kib}kB"
    mm = "/sys/kernel/mm"
    path = f"{mm if node is None else f'/sys/devices/system/node/node{node}'}/{pages}/nr_hugepages"
    try:
        now = int(files.read(path))
    except (OSError, ValueError):
        try:
            sizes = ", ".join(files.names(f"{mm}/hugepages")) or "none"
        except OSError:
            sizes = "none"
        raise ProvisionError(
            f"hugepages: there is no {path}; sizes of this host: {sizes}"
        ) from None
    if now >= count:
        return []
    return [
        Write(
            path=path,
            text=str(count),
            undo=str(now),
            holds=str(count),
            why=f"{count} huge pages of {size_kib} KiB, {now} are there",
        )
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class NicChange:
    """A change of a NIC.

    Attributes:
        plan: For :func:`nicprog.apply`.
        entry: What undoes it, for :func:`undo_nic`.
        notes: What people should know.
    """

    plan: nicprog.Plan
    entry: dict[str, Any]
    notes: tuple[str, ...] = ()


def nic(opened: EthtoolNic, cpus: str, *, avoid_smt: bool = False) -> NicChange:
    """Interrupts and XPS of a NIC over CPUs, away from irqbalance.

    Raises:
        NicprogError: It cannot be so; the text has the numbers.
    """
    facts = opened.host_facts()
    if facts is None:
        raise ProvisionError(f"{opened.device}: is no device of this host")
    notes = []
    named = any(one.queues for one in facts.interrupts)
    if not named:
        notes.append(f"{opened.device} has no interrupts of queues")
    if not facts.has_xps:
        notes.append(f"{opened.device} has no choice of TX queues")
    spec = HostSpec(
        cpus=cpus,
        avoid_smt=avoid_smt,
        interrupts="spread" if named else None,
        xps="by-queue" if facts.has_xps else None,
        irqbalance="keep-away" if facts.balanced and facts.interrupts else None,
    )
    now = opened.read(spec.groups())
    wanted = replace(now, settings=_settings(opened, spec, now))
    plan = nicprog.plan(opened, wanted)
    return NicChange(plan=plan, entry=_entry(opened, now, ()), notes=tuple(notes))


def service(opened: EthtoolNic, flows: Sequence[str], queues: int, cpus: str | None) -> NicChange:
    """Queues of a NIC for some flows alone, and their interrupts and XPS on CPUs.

    Raises:
        NicprogError: It cannot be so; the text has the numbers.
    """
    matches = _matches(flows)
    facts = opened.host_facts() if cpus else None
    groups: tuple[str, ...] = ()
    held = reserve.reserve(opened.read(), opened.capabilities(), matches, queues)
    spec = None
    if cpus and facts is not None:
        listed = sorted(_checked(cpus))
        on = {str(q): str(listed[i % len(listed)]) for i, q in enumerate(held.queues)}
        named = any(one.queues for one in facts.interrupts)
        spec = HostSpec(
            interrupts=on if named else None,
            xps=on if facts.has_xps else None,
            irqbalance="keep-away" if facts.balanced and named else None,
        )
        groups = spec.groups()
    now = opened.read(groups)
    wanted = replace(held.state, settings=_settings(opened, spec, now) if spec else {})
    notes = [f"queue {', '.join(map(str, held.queues))} of {opened.device} is for {flows[0]} alone"]
    if cpus and not groups:
        notes.append(f"{opened.device} has neither interrupts nor a choice of TX queues")
    plan = nicprog.plan(opened, wanted)
    notes += held.warnings
    return NicChange(plan=plan, entry=_entry(opened, now, flows), notes=tuple(notes))


def undo_nic(opened: EthtoolNic, entry: Mapping[str, Any]) -> nicprog.Plan:
    """The plan that takes a change of a NIC back, and leaves what others changed meanwhile.

    Raises:
        NicprogError: It cannot be so.
    """
    before: dict[str, dict[str, Any]] = entry["settings"]
    now = opened.read(before)
    wanted = now
    if entry["flows"]:
        released = reserve.reserve(
            replace(now, settings={}), opened.capabilities(), _matches(entry["flows"]), 0
        )
        wanted = replace(released.state, settings=now.settings)
    there = {
        group: {name: value for name, value in values.items() if name in now.settings[group]}
        for group, values in before.items()
    }
    return nicprog.plan(opened, replace(wanted, settings=there))


def _matches(flows: Sequence[str]) -> tuple[Match, ...]:
    return tuple(match for text in flows for match in reserve.flow(text))


def _checked(cpus: str) -> frozenset[int]:
    try:
        found = parse_list(cpus)
    except ValueError as error:
        raise ProvisionError(f"service: {error}") from None
    if not found:
        raise ProvisionError("service: no CPU is named")
    return found


def _settings(opened: EthtoolNic, spec: HostSpec, now: NicState) -> dict[str, dict[str, Any]]:
    facts = opened.host_facts()
    assert facts is not None
    try:
        return dict(resolve_host(spec, now.channels, facts, now.settings).settings)
    except Objection as why:
        raise Refused(f"{opened.device}: {why}") from None


def _entry(opened: EthtoolNic, now: NicState, flows: Sequence[str]) -> dict[str, Any]:
    return {
        "kind": "nic",
        "path": opened.device,
        "flows": list(flows),
        "settings": {group: dict(values) for group, values in now.settings.items()},
    }
