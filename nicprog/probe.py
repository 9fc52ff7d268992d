# SPDX-License-Identifier: Apache-2.0
"""What a NIC can do, found out without a change, and by which way.

Netlink is asked first, where the kernel has it; then the ioctl, or the socket of a software NIC. No
version of a kernel is looked at. All requests read, but one: whether a driver makes RSS contexts is
asked by deleting one that cannot be there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from enum import IntFlag
from pathlib import Path
from typing import Any, Final

from nicprog.backends.ethtool import EthtoolNic
from nicprog.backends.kernel import is_interface, open_kernel
from nicprog.backends.softnic import has_socket, open_softnic
from nicprog.errors import DeviceError, NicprogError
from nicprog.ethtool import Ethtool, FlowType, HashField
from nicprog.ethtool.values import Feature, Rss
from nicprog.netlink import EthtoolNetlink, Netdev
from nicprog.netlink.abilities import abilities
from nicprog.netlink.ethtool import RSS_CREATE
from nicprog.netlink.link import link
from nicprog.sim import PROFILES, QUIRKS, Quirk, is_sim, open_sim

_HASHED: Final = ("tcp4", "udp4", "tcp6", "udp6")
_IRQ: Final = "/proc/irq/{}/effective_affinity_list"

_NOT_UNDERSTOOD: Final = (ValueError, LookupError, TypeError, struct.error, OSError)
"""What an answer may raise that a driver or kernel gives whom nobody here has met."""

Reader = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing that a NIC may have.

    Attributes:
        name: Such as ``channels`` or ``rss``.
        way: Who told: ``netlink``, ``ioctl``, ``socket`` of a software NIC, or ``model``; None when
            nobody did.
        value: What was told, of JSON's types; None when nobody did.
        refusals: Of the ways that were tried in vain, each with the reason.
    """

    name: str
    way: str | None
    value: Any
    refusals: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All parts of one NIC, and what is known of its driver that nothing tells."""

    device: str
    driver: str
    bus: str
    firmware: str
    parts: tuple[Part, ...]
    quirks: tuple[Quirk, ...]


def probe(device: str) -> Report:
    """Reads everything that can be read about a NIC; nothing is changed.

    Raises:
        DeviceError: No such NIC, or no right to it.
    """
    with ExitStack() as stack:
        calls, ways = _open(device, stack)
        try:
            info = calls.driver_info()
            driver, bus, firmware = info.driver, info.bus, info.firmware
        except DeviceError:
            raise
        except NicprogError:
            driver = bus = firmware = ""
        return Report(
            device=device,
            driver=driver,
            bus=bus,
            firmware=firmware,
            parts=tuple(_part(name, readers, ways) for name, readers in _PARTS.items()),
            quirks=tuple(one for one in QUIRKS.values() if driver in _drivers(one)),
        )


def _drivers(quirk: Quirk) -> set[str]:
    return {PROFILES[name].driver for name in quirk.profiles}


def _open(device: str, stack: ExitStack) -> tuple[Ethtool, dict[str, Any]]:
    nic: EthtoolNic
    if is_sim(device):
        nic = stack.enter_context(open_sim(device))
        return nic.calls, {"model": nic.calls}
    if has_socket(device) or not is_interface(device):
        nic = stack.enter_context(open_softnic(device))
        return nic.calls, {"socket": nic.calls}
    nic = stack.enter_context(open_kernel(device))
    ways: dict[str, Any] = {"device": device}
    for way, family in (("netlink", EthtoolNetlink), ("netdev", Netdev)):
        try:
            ways[way] = stack.enter_context(family(device))
        except DeviceError as error:
            ways[way] = error
    return nic.calls, ways | {"ioctl": nic.calls}


def _part(name: str, readers: dict[str, Reader], ways: dict[str, Any]) -> Part:
    refusals: list[tuple[str, str]] = []
    for way, read in readers.items():
        calls = ways.get(way)
        shown = "netlink" if way in ("netdev", "device") else way
        try:
            if isinstance(calls, Exception):
                raise calls
            if calls is not None:
                value = read(calls)
                return Part(name=name, way=shown, value=value, refusals=tuple(refusals))
        except NicprogError as error:
            refusals.append((shown, str(error)))
        except _NOT_UNDERSTOOD as error:
            refusals.append((shown, f"the answer is not understood ({error!r})"))
    return Part(name=name, way=None, value=None, refusals=tuple(refusals))


def _by_ethtool(read: Reader) -> dict[str, Reader]:
    """Every way, by a call of the same name."""
    return {"netlink": read} | _by_structures(read)


def _by_structures(read: Reader) -> dict[str, Reader]:
    """The ways that carry ethtool's structures."""
    return {"ioctl": read, "socket": read, "model": read}


def _counts(calls: Any) -> dict[str, int]:
    return asdict(calls.channels())


def _rings(calls: Any) -> dict[str, int]:
    return asdict(calls.rings())


def _coalesce(calls: Any) -> dict[str, int]:
    told = calls.coalesce()
    return told if isinstance(told, dict) else asdict(told)


def _features(calls: Any) -> dict[str, str]:
    def text(one: Feature) -> str:
        return ("on" if one.active else "off") + ("" if one.changeable else ", fixed")

    return {name: text(one) for name, one in calls.features().items()}


def _rss(calls: Any) -> dict[str, Any]:
    told: Rss = calls.rss()
    if not told.table and not told.key:
        raise NicprogError("the driver shows neither a table nor a key")
    return {
        "table_entries": len(told.table),
        "key_bytes": len(told.key),
        "function": _names(told.function),
        "transform": _names(told.transform),
    }


def _contexts(calls: EthtoolNetlink) -> dict[str, Any]:
    told = calls.rss_contexts()
    if not told:
        raise NicprogError("the driver shows no context, not even that of all packets")
    try:
        driver_makes_them: bool | None = calls.makes_rss_contexts()
    except NicprogError:  # no right to ask, or a kernel that leaves it to the ioctl
        driver_makes_them = None
    return {
        "contexts": sorted(told),
        "kernel_makes_them": calls.has(RSS_CREATE),
        "driver_makes_them": driver_makes_them,
    }


def _fields(calls: EthtoolNetlink) -> dict[str, list[str]]:
    return _told(calls.hash_fields())


def _fields_one_by_one(calls: Ethtool) -> dict[str, list[str]]:
    return _told({flow: calls.hash_fields(FlowType[flow.upper()]) for flow in _HASHED})


def _told(fields: Mapping[str, HashField]) -> dict[str, list[str]]:
    if not any(fields.values()):
        raise NicprogError("the driver tells of no hashed field")
    return {flow: _names(bits) for flow, bits in fields.items() if bits}


def _rules(calls: Ethtool) -> dict[str, Any]:
    told = calls.rule_table()
    return {"rules": told.rules, "locations": told.locations, "driver_chooses": told.chooses}


def _queues(calls: Netdev) -> list[dict[str, Any]]:
    """Each with the interrupt and the CPUs of its NAPI instance, where the driver tells."""
    irqs = {napi.number: napi.irq for napi in calls.napis()}
    result = []
    for queue in calls.queues():
        irq = irqs.get(queue.napi) if queue.napi is not None else None
        result.append(asdict(queue) | {"irq": irq, "cpus": cpus_of(irq)})
    if not result:
        raise NicprogError("no queue is configured; bring the interface up")
    return result


def _napis(calls: Netdev) -> list[dict[str, Any]]:
    told = [asdict(napi) | {"cpus": cpus_of(napi.irq)} for napi in calls.napis()]
    if not told:
        raise NicprogError("no NAPI instance is configured; bring the interface up")
    return told


def _xdp(calls: Netdev) -> dict[str, Any]:
    told = calls.xdp()
    return {"features": _names(told.features), "zero_copy_segments": told.zero_copy_segments}


def _coalesce_of_a_queue(calls: Ethtool) -> dict[str, int]:
    return asdict(calls.coalesce_of_queues([0])[0])


def cpus_of(irq: int | None) -> str | None:
    """CPUs that take an interrupt, such as ``0-3``; None when the kernel does not tell."""
    try:
        return Path(_IRQ.format(irq)).read_text(encoding="ascii").strip() if irq else None
    except OSError:
        return None


def _names(bits: IntFlag) -> list[str]:
    return [str(one.name).lower() for one in bits]


_PARTS: Final[dict[str, dict[str, Reader]]] = {
    "link": {"device": lambda device: asdict(link(device))},
    "kernel": {"device": lambda _: abilities()},
    "channels": _by_ethtool(_counts),
    "queues": {"netdev": _queues},
    "napis": {"netdev": _napis},
    "xdp": {"netdev": _xdp},
    "queue statistics": {"netdev": lambda calls: sorted({
        name for one in calls.queue_statistics().values() for name in one
    })},
    "rss": _by_ethtool(_rss),
    "rss contexts": {"netlink": _contexts},
    "hashed fields": {"netlink": _fields} | _by_structures(_fields_one_by_one),
    "rx rings": _by_structures(lambda calls: calls.rx_rings()),
    "flow rules": _by_structures(_rules),
    "rings": _by_ethtool(_rings),
    "coalescing": _by_ethtool(_coalesce),
    "coalescing of queue 0": _by_structures(_coalesce_of_a_queue),
    "features": _by_ethtool(_features),
    "private flags": _by_structures(lambda calls: calls.private_flags()),
    "statistics": _by_structures(lambda calls: [name for name, _ in calls.statistics()]),
}  # fmt: skip
