# SPDX-License-Identifier: Apache-2.0
"""The host's side of one network device, as groups of settings (:mod:`nicprog.settings`).

===================  ==============  ==========================================================
``host.irqbalance``  ``banned``      its interrupts that irqbalance leaves alone, see
                                     :meth:`HostDevice.write`
``host.interrupts``  ``rx-0`` ...    CPUs that may take the interrupt of that queue
``host.xps``         ``tx-0`` ...    CPUs that send by it; ``""``: none
``host.xps_rxqs``    ``tx-0`` ...    RX queues whose connections send by it
``host.rps``         ``rx-0`` ...    CPUs that its packets are handed to
``host.rfs``         ``rx-0`` ...    flows that are remembered
``host.napi``        ``threaded``    and others, see :mod:`nicprog.host.napi`
===================  ==============  ==========================================================

Sets of CPUs and queues are lists (``"0-3"``).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from nicprog.errors import DeviceError, NicprogError, RequestError
from nicprog.host import napi, queues
from nicprog.host.cpus import format_list, parse_list
from nicprog.host.files import Files, RealFiles, read_if_there
from nicprog.host.interrupts import Interrupt, interrupts, numbers, set_cpus
from nicprog.host.irqbalance import Balancer, find
from nicprog.host.topology import Topology, read_topology
from nicprog.netlink import Napi, Netdev
from nicprog.netlink.netdev import Queue
from nicprog.settings import Value, Values


class Kernel(napi.Napis, Protocol):
    """What the family ``netdev`` tells of a device."""

    def queues(self) -> tuple[Queue, ...]:
        """Queues and who serves them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What the host is like around a device, as far as a plan needs it.

    Attributes:
        topology: CPUs.
        node: The device's NUMA node; None when it has none.
        interrupts: Of the device.
        has_xps: Its TX queues can be given CPUs.
        has_rps: Its RX queues can.
        napis: NAPI instances that the kernel tells; 0 of an interface that is down, too.
        balanced: irqbalance runs.
        sock_flow_entries: Of RFS on the whole host; None when that cannot be seen.
    """

    topology: Topology
    node: int | None = None
    interrupts: tuple[Interrupt, ...] = ()
    has_xps: bool = False
    has_rps: bool = False
    napis: int = 0
    balanced: bool = False
    sock_flow_entries: int | None = None


class HostDevice:
    """One interface of the caller's network namespace."""

    def __init__(
        self,
        device: str,
        files: Files | None = None,
        *,
        kernel: Callable[[], AbstractContextManager[Kernel]] | None = None,
        balancer: Callable[[], Balancer | None] | None = None,
    ) -> None:
        """Does nothing yet.

        Args:
            device: Name of the interface.
            files: Where the kernel's files are; None: the host's own.
            kernel: Opens the family ``netdev``; None: the host's own, or no such family where
                ``files`` are others.
            balancer: Finds irqbalance; None likewise.
        """
        self.device = device
        self._files = files or RealFiles()
        root = self._files.root if isinstance(self._files, RealFiles) else Path("/nowhere")
        if kernel is None and root == Path("/"):
            kernel = lambda: Netdev(device)  # noqa: E731
        self._kernel = kernel
        self._balancer = balancer or (lambda: find(self._files, root))

    def facts(self) -> HostFacts:
        """What the host is like around the device.

        Raises:
            NicprogError: It cannot be read.
        """
        files, device = self._files, self.device
        tx = queues.queues(files, device, "tx")
        rx = queues.queues(files, device, "rx")
        with self._netdev() as kernel:
            return HostFacts(
                topology=read_topology(files),
                node=self._node(),
                interrupts=self._interrupts(kernel),
                has_xps=bool(tx) and queues.xps_cpus(files, device, tx[0]) is not None,
                has_rps=bool(rx) and queues.rps_cpus(files, device, rx[0]) is not None,
                napis=len(_napis(kernel)),
                balanced=self._balancer() is not None,
                sock_flow_entries=queues.sock_flow_entries(files),
            )

    def napis(self) -> tuple[Napi, ...]:
        """NAPI instances that the kernel tells."""
        with self._netdev() as kernel:
            return _napis(kernel)

    def read(self, group: str) -> dict[str, Value]:
        """Values of a group; empty when there is nothing of it here.

        Raises:
            NicprogError: It cannot be read.
        """
        return _READERS[group](self)

    def write(self, group: str, values: Values) -> None:
        """Writes these values of a group, one by one, and leaves its others.

        ``banned`` is ``"all"`` interrupts that the device has now, ``"none"``, or a list.

        Raises:
            RequestError: The kernel, or irqbalance, refused one; those before it are written.
            DeviceError: No right to.
        """
        for name, value in values.items():
            _WRITERS[group](self, name, value)

    def read_interrupts(self) -> dict[str, Value]:
        """``host.interrupts``."""
        return {name: format_list(one.cpus) for name, one in by_queue(self._all()).items()}

    def write_interrupt(self, name: str, value: Value) -> None:
        """One of them."""
        one = by_queue(self._all()).get(name)
        if one is None:
            text = f"{self.device}: no interrupt is that of {name} (ENOENT)"
            raise RequestError(text, errno.ENOENT)
        set_cpus(self._files, one.number, parse_list(str(value)), f"{self.device}: {name}")

    def read_irqbalance(self) -> dict[str, Value]:
        """``host.irqbalance``; nothing when it does not run, or the device has no interrupt."""
        balancer, mine = self._balancer(), frozenset(numbers(self._files, self.device))
        if balancer is None or not mine:
            return {}
        banned = balancer.banned() & mine
        return {"banned": "all" if banned == mine else format_list(banned) or "none"}

    def write_irqbalance(self, _: str, value: Value) -> None:
        """Bans interrupts of the device, and leaves what others have banned."""
        balancer, mine = self._balancer(), frozenset(numbers(self._files, self.device))
        if balancer is None:
            text = f"{self.device}: irqbalance has ended (ECONNREFUSED)"
            raise RequestError(text, errno.ECONNREFUSED)
        words = {"all": mine, "none": frozenset[int]()}
        wanted = words[str(value)] if value in words else parse_list(str(value)) & mine
        balancer.ban(balancer.banned() - mine | wanted)

    def read_napi(self) -> dict[str, Value]:
        """``host.napi``."""
        with self._netdev() as kernel:
            return napi.read_values(self._files, self.device, kernel)

    def write_napi(self, name: str, value: Value) -> None:
        """One of them."""
        with self._netdev() as kernel:
            napi.write_value(self._files, self.device, name, value, kernel)

    def read_queues(
        self, kind: queues.Kind, one: Callable[[Files, str, int], frozenset[int] | int | None]
    ) -> dict[str, Value]:
        """A value of each queue, of those that have it."""
        found: dict[str, Value] = {}
        for number in queues.queues(self._files, self.device, kind):
            value = one(self._files, self.device, number)
            if value is not None:
                found[f"{kind}-{number}"] = value if isinstance(value, int) else format_list(value)
        return found

    @property
    def files(self) -> Files:
        """Where the kernel's files are."""
        return self._files

    def _all(self) -> tuple[Interrupt, ...]:
        with self._netdev() as kernel:
            return self._interrupts(kernel)

    def _interrupts(self, kernel: Kernel | None) -> tuple[Interrupt, ...]:
        return interrupts(self._files, self.device, _told(kernel))

    def _node(self) -> int | None:
        text = read_if_there(
            self._files, f"/sys/class/net/{self.device}/device/numa_node", self.device
        )
        return int(text) if text and text.isdigit() else None

    @contextmanager
    def _netdev(self) -> Iterator[Kernel | None]:
        """None where the kernel has no such family (before Linux 6.3)."""
        with ExitStack() as stack:
            try:
                opened = stack.enter_context(self._kernel()) if self._kernel else None
            except DeviceError:
                opened = None
            yield _WithoutRefusals(opened) if opened else None


class _WithoutRefusals:
    """A family ``netdev`` that lists nothing where the kernel cannot (before Linux 6.8)."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.set_napi = kernel.set_napi

    def queues(self) -> tuple[Queue, ...]:
        try:
            return self._kernel.queues()
        except RequestError as error:
            return _nothing_if_unknown(error)

    def napis(self) -> tuple[Napi, ...]:
        try:
            return tuple(self._kernel.napis())
        except RequestError as error:
            return _nothing_if_unknown(error)


def _nothing_if_unknown(error: RequestError) -> tuple[()]:
    if error.errno != errno.EOPNOTSUPP:
        raise error
    return ()


def _napis(kernel: Kernel | None) -> tuple[Napi, ...]:
    return tuple(kernel.napis()) if kernel else ()


def _told(kernel: Kernel | None) -> dict[int, list[str]]:
    """Queues by interrupt."""
    irqs = {one.number: one.irq for one in _napis(kernel) if one.irq is not None}
    found: dict[int, list[str]] = {}
    for one in kernel.queues() if kernel and irqs else ():
        if one.napi in irqs:
            found.setdefault(irqs[one.napi], []).append(f"{one.kind}-{one.number}")
    return {irq: sorted(names, key=queue_key) for irq, names in found.items()}


def by_queue(found: Iterable[Interrupt]) -> dict[str, Interrupt]:
    """Interrupts by the queue that they serve first, in order of the queues."""
    named = {one.queues[0]: one for one in found if one.queues}
    return {name: named[name] for name in sorted(named, key=queue_key)}


def queue_key(name: str) -> tuple[str, int]:
    """Order of names such as ``rx-10``.

    Raises:
        ValueError: It is not such a name.
    """
    kind, _, number = name.partition("-")
    return kind, int(number)


def _queue(name: str, kind: str) -> int:
    found, number = queue_key(name)
    if found != kind:
        raise NicprogError(f"{name} is not the name of a queue such as {kind}-0")
    return number


def _write_xps(host: HostDevice, name: str, value: Value) -> None:
    queues.set_xps_cpus(host.files, host.device, _queue(name, "tx"), parse_list(str(value)))


def _write_xps_rxqs(host: HostDevice, name: str, value: Value) -> None:
    queues.set_xps_rxqs(host.files, host.device, _queue(name, "tx"), parse_list(str(value)))


def _write_rps(host: HostDevice, name: str, value: Value) -> None:
    queues.set_rps_cpus(host.files, host.device, _queue(name, "rx"), parse_list(str(value)))


def _write_rfs(host: HostDevice, name: str, value: Value) -> None:
    queues.set_rfs_flows(host.files, host.device, _queue(name, "rx"), int(value))


_READERS: Final[Mapping[str, Callable[[HostDevice], dict[str, Value]]]] = {
    "host.irqbalance": HostDevice.read_irqbalance,
    "host.interrupts": HostDevice.read_interrupts,
    "host.xps": lambda host: host.read_queues("tx", queues.xps_cpus),
    "host.xps_rxqs": lambda host: host.read_queues("tx", queues.xps_rxqs),
    "host.rps": lambda host: host.read_queues("rx", queues.rps_cpus),
    "host.rfs": lambda host: host.read_queues("rx", queues.rfs_flows),
    "host.napi": HostDevice.read_napi,
}
_WRITERS: Final[Mapping[str, Callable[[HostDevice, str, Value], None]]] = {
    "host.irqbalance": HostDevice.write_irqbalance,
    "host.interrupts": HostDevice.write_interrupt,
    "host.xps": _write_xps,
    "host.xps_rxqs": _write_xps_rxqs,
    "host.rps": _write_rps,
    "host.rfs": _write_rfs,
    "host.napi": HostDevice.write_napi,
}
