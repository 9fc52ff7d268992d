# SPDX-License-Identifier: Apache-2.0
"""The host around a model: its CPUs, the files of the kernel, NAPI instances, irqbalance.

Files are made when they are read, from what is set; a write makes the kernel's checks. When the
channels change, drivers request their interrupts anew: numbers and instances are others then, CPUs
of interrupts are all of them, and queues that were not there have nothing set.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, TypeVar

from nicprog.errors import DeviceError
from nicprog.host.cpus import format_list, format_mask, parse_list, parse_mask
from nicprog.host.files import refusal
from nicprog.netlink import Napi
from nicprog.netlink.netdev import Queue

_CPUS: Final = "/sys/devices/system/"
_FIRST_IRQ: Final = 64
_FIRST_NAPI: Final = 8193
_PCI: Final = "/sys/devices/pci0000:00/0000:00:01.0"
_DEVICE_FILES: Final = ("threaded", "napi_defer_hard_irqs", "gro_flush_timeout")

_T = TypeVar("_T")
Guard = Callable[[Callable[[], Any]], Any]
"""Does one access, or has a fault at it."""


@dataclass(slots=True, kw_only=True)
class Line:
    """One interrupt.

    Attributes:
        number: As in ``/proc/irq``.
        name: As the driver calls it.
        cpus: Those that may take it.
    """

    number: int
    name: str
    cpus: frozenset[int]


@dataclass(slots=True, kw_only=True)
class SimHost:
    """A host with two nodes of four cores with two threads each; thread B of core A is CPU A + 8.

    Attributes:
        device: Name of the NIC, which sits at node 0.
        rx, tx: Its active queues.
        shared: An RX and a TX queue share an interrupt.
        offline, isolated: CPUs that are.
        managed: The kernel manages the interrupts.
        lines: Interrupts.
        xps, xps_rxqs, rps: Sets by queue.
        flows: Of RFS by queue.
        values: Of the interface, by the names of its files.
        instances: NAPI, in order.
        sock_flows: Of RFS on the whole host.
        banned: Interrupts that irqbalance leaves alone; None: it does not run.
    """

    device: str
    rx: int = 1
    tx: int = 1
    shared: bool = True
    offline: frozenset[int] = frozenset()
    isolated: frozenset[int] = frozenset()
    managed: bool = False
    lines: list[Line] = field(default_factory=list)
    xps: dict[int, frozenset[int]] = field(default_factory=dict)
    xps_rxqs: dict[int, frozenset[int]] = field(default_factory=dict)
    rps: dict[int, frozenset[int]] = field(default_factory=dict)
    flows: dict[int, int] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_DEVICE_FILES, 0))
    instances: list[Napi] = field(default_factory=list)
    sock_flows: int = 0
    banned: frozenset[int] | None = frozenset()

    @property
    def online(self) -> frozenset[int]:
        """CPUs that are online."""
        return frozenset(range(16)) - self.offline

    def follow(self, rx: int, tx: int) -> None:
        """The driver has other queues now."""
        self.rx, self.tx = rx, tx
        first = max((line.number for line in self.lines), default=_FIRST_IRQ - 1) + 1
        names = ["async", *self._names()]
        self.lines = [
            Line(number=first + index, name=f"{self.device}-{name}", cpus=self.online)
            for index, name in enumerate(names)
        ]
        last = max((one.number for one in self.instances), default=_FIRST_NAPI - 1)
        self.instances = [self._instance(last + 1 + index) for index in range(len(names) - 1)]
        self.xps = {queue: cpus for queue, cpus in self.xps.items() if queue < tx}
        self.xps_rxqs = {queue: rxqs for queue, rxqs in self.xps_rxqs.items() if queue < tx}
        self.rps = {queue: cpus for queue, cpus in self.rps.items() if queue < rx}
        self.flows = {queue: count for queue, count in self.flows.items() if queue < rx}

    def _names(self) -> list[str]:
        if self.shared:
            return [f"TxRx-{queue}" for queue in range(self.rx)]
        kinds = (("rx", self.rx), ("tx", self.tx))
        return [f"{kind}-{queue}" for kind, count in kinds for queue in range(count)]

    def _instance(self, number: int) -> Napi:
        return Napi(
            number=number,
            irq=None,
            thread=None,
            defer_hard_irqs=self.values["napi_defer_hard_irqs"],
            gro_flush_timeout_ns=self.values["gro_flush_timeout"],
            irq_suspend_timeout_ns=0,
            threaded=self.values["threaded"],
        )

    def to_json(self) -> dict[str, Any]:
        """All of it; :meth:`from_json` reads it back."""
        document = asdict(self)
        return {name: _plain(value) for name, value in document.items() if name != "device"}

    def from_json(self, value: dict[str, Any]) -> None:
        """Becomes what :meth:`to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: It did not write this.
        """
        self.rx, self.tx, self.shared = value["rx"], value["tx"], value["shared"]
        self.offline, self.isolated = frozenset(value["offline"]), frozenset(value["isolated"])
        self.managed, self.sock_flows = value["managed"], value["sock_flows"]
        self.lines = [Line(**{**one, "cpus": frozenset(one["cpus"])}) for one in value["lines"]]
        for name in ("xps", "xps_rxqs", "rps"):
            setattr(self, name, {int(q): frozenset(cpus) for q, cpus in value[name].items()})
        self.flows = {int(queue): count for queue, count in value["flows"].items()}
        self.values = dict(value["values"])
        self.instances = [Napi(**one) for one in value["instances"]]
        self.banned = None if value["banned"] is None else frozenset(value["banned"])


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value


class SimFiles:
    """The kernel's files of a :class:`SimHost`, its family ``netdev``, and its irqbalance."""

    def __init__(self, host: SimHost, guard: Guard = lambda access: access()) -> None:
        """``guard`` does each access; that is where faults come in."""
        self.host = host
        self._guard = guard

    def read(self, path: str) -> str:
        """All of a file."""
        if path.startswith(_CPUS):  # many, and never refused
            return self._read(path) + "\n"
        return self._do(lambda: self._read(path) + "\n")

    def write(self, path: str, text: str) -> None:
        """Writes a file, with the kernel's checks."""
        self._do(lambda: self._write(path, text))

    def names(self, path: str) -> list[str]:
        """What is in a folder."""
        return self._do(lambda: self._names(path))

    def is_writable(self, path: str) -> bool:
        """Those of interrupts are not, where the kernel manages them."""
        return not (self.host.managed and path.startswith("/proc/irq/"))

    def real(self, path: str) -> str:
        """Where the device is."""
        if path != f"/sys/class/net/{self.host.device}/device":
            raise _error(errno.ENOENT)
        return _PCI

    def _do(self, access: Callable[[], _T]) -> _T:
        done: _T = self._guard(access)
        return done

    def _ask(self, access: Callable[[], _T], about: str) -> _T:
        try:
            return self._do(access)
        except OSError as error:
            raise refusal(about, error) from None

    @contextmanager
    def kernel(self) -> Iterator[SimFiles]:
        """Opens the family ``netdev``."""
        yield self

    def queues(self) -> tuple[Queue, ...]:
        """The kernel tells of no NAPI instance by queue here; names of interrupts do."""
        return ()

    def napis(self) -> tuple[Napi, ...]:
        """NAPI instances."""
        about = f"{self.host.device}: cannot list the NAPI instances"
        return self._ask(lambda: tuple(self.host.instances), about)

    def set_napi(
        self,
        number: int,
        *,
        defer_hard_irqs: int | None = None,
        gro_flush_timeout_ns: int | None = None,
        irq_suspend_timeout_ns: int | None = None,
        threaded: bool | None = None,
    ) -> None:
        """Sets what is given of one."""
        changes = {
            "defer_hard_irqs": defer_hard_irqs,
            "gro_flush_timeout_ns": gro_flush_timeout_ns,
            "irq_suspend_timeout_ns": irq_suspend_timeout_ns,
            "threaded": None if threaded is None else int(threaded),
        }
        given = {name: value for name, value in changes.items() if value is not None}

        def access() -> None:
            numbers = [one.number for one in self.host.instances]
            if number not in numbers:
                raise _error(errno.ENOENT)
            at = numbers.index(number)
            self.host.instances[at] = replace(self.host.instances[at], **given)

        self._ask(access, f"{self.host.device}: cannot set NAPI instance {number}")

    def balancer(self) -> SimFiles | None:
        """irqbalance, when it runs."""
        return None if self.host.banned is None else self

    def banned(self) -> frozenset[int]:
        """Interrupts that it leaves alone."""
        return self._ask(self._balanced, "irqbalance: cannot ask it")

    def ban(self, irqs: Iterable[int]) -> None:
        """Makes these the ones."""

        def access() -> None:
            self._balanced()
            self.host.banned = frozenset(irqs)

        self._ask(access, "irqbalance: cannot ask it")

    def _balanced(self) -> frozenset[int]:
        if self.host.banned is None:
            raise DeviceError("irqbalance: has ended")
        return self.host.banned

    def _read(self, path: str) -> str:
        host = self.host
        fixed: dict[str, Callable[[], str]] = {
            "/proc/interrupts": self._table,
            "/proc/sys/net/core/rps_sock_flow_entries": lambda: str(host.sock_flows),
            "/sys/devices/system/cpu/possible": lambda: "0-15",
            "/sys/devices/system/cpu/online": lambda: format_list(host.online),
            "/sys/devices/system/cpu/isolated": lambda: format_list(host.isolated),
            f"/sys/class/net/{host.device}/device/numa_node": lambda: "0",
        }
        if path in fixed:
            return fixed[path]()
        if match := re.fullmatch(r"/sys/devices/system/cpu/cpu(\d+)/topology/(\w+)", path):
            return _of_cpu(int(match[1]), match[2], host.online)
        if match := re.fullmatch(r"/sys/devices/system/node/node([01])/cpulist", path):
            return format_list(cpu for cpu in host.online if cpu % 8 // 4 == int(match[1]))
        if match := re.fullmatch(r"/proc/irq/(\d+)/(smp|effective)_affinity_list", path):
            cpus = self._line(int(match[1])).cpus
            return format_list(cpus if match[2] == "smp" else sorted(cpus & host.online)[:1])
        return self._of_device(self._below(path))

    def _of_device(self, name: str) -> str:
        host = self.host
        if name in host.values:
            return str(host.values[name])
        kind, queue, what = _queue_file(name)
        if queue >= (host.rx if kind == "rx" else host.tx):
            raise _error(errno.ENOENT)
        if what == "rps_flow_cnt":
            return str(host.flows.get(queue, 0))
        if what == "xps_cpus" and host.tx < 2:
            raise _error(errno.ENOENT)
        return format_mask(self._sets(what).get(queue, frozenset()))

    def _sets(self, what: str) -> dict[int, frozenset[int]]:
        host = self.host
        sets = {"xps_cpus": host.xps, "xps_rxqs": host.xps_rxqs, "rps_cpus": host.rps}
        if what not in sets:
            raise _error(errno.ENOENT)
        return sets[what]

    def _table(self) -> str:
        cpus = sorted(self.host.online)
        rows = ["".join(f" CPU{cpu}" for cpu in cpus)]
        counts = " 0" * len(cpus)
        rows += [f"{one.number}:{counts} SIM 0-edge {one.name}" for one in self.host.lines]
        return "\n".join([*rows, f"NMI:{counts} Non-maskable interrupts"])

    def _line(self, number: int) -> Line:
        for one in self.host.lines:
            if one.number == number:
                return one
        raise _error(errno.ENOENT)

    def _below(self, path: str) -> str:
        head = f"/sys/class/net/{self.host.device}/"
        if not path.startswith(head):
            raise _error(errno.ENOENT)
        return path.removeprefix(head)

    def _write(self, path: str, text: str) -> None:
        host = self.host
        if match := re.fullmatch(r"/proc/irq/(\d+)/smp_affinity_list", path):
            line, cpus = self._line(int(match[1])), parse_list(text)
            if host.managed:
                raise _error(errno.EIO)
            if not cpus & host.online:
                raise _error(errno.EINVAL)
            line.cpus = cpus
            return
        name = self._below(path)
        if name in host.values:
            self._write_value(name, int(text))
            return
        self._of_device(name)  # it is there
        _, queue, what = _queue_file(name)
        if what == "rps_flow_cnt":
            host.flows[queue] = 1 << (int(text) - 1).bit_length() if int(text) else 0
        else:
            self._sets(what)[queue] = self._taken(what, parse_mask(text))

    def _taken(self, what: str, asked: frozenset[int]) -> frozenset[int]:
        """What the kernel takes of a set: without a word it leaves out what it cannot use."""
        if asked - frozenset(range(self.host.rx if what == "xps_rxqs" else 16)):
            raise _error(errno.EOVERFLOW)
        if what == "xps_rxqs":
            return asked
        taken = asked & self.host.online - (self.host.isolated if what == "rps_cpus" else set())
        if what == "rps_cpus" and asked and not asked - self.host.isolated:
            raise _error(errno.EINVAL)
        return taken

    def _write_value(self, name: str, value: int) -> None:
        """Instances take over what the interface gets."""
        host = self.host
        host.values[name] = value
        of_instance = {
            "threaded": "threaded",
            "napi_defer_hard_irqs": "defer_hard_irqs",
            "gro_flush_timeout": "gro_flush_timeout_ns",
        }
        changes: dict[str, Any] = {of_instance[name]: value}
        host.instances = [replace(one, **changes) for one in host.instances]

    def _names(self, path: str) -> list[str]:
        host = self.host
        if path == "/sys/devices/system/node":
            return ["node0", "node1", "online"]
        if path == f"{_PCI}/msi_irqs":
            return sorted(str(one.number) for one in host.lines)
        if path == f"/sys/class/net/{host.device}/queues":
            kinds = (("rx", host.rx), ("tx", host.tx))
            return [f"{kind}-{queue}" for kind, count in kinds for queue in range(count)]
        raise _error(errno.ENOENT)


def _of_cpu(number: int, name: str, online: frozenset[int]) -> str:
    files = {
        "physical_package_id": str(number % 8 // 4),
        "core_id": str(number % 4),
        "thread_siblings_list": format_list(frozenset((number % 8, number % 8 + 8)) & online),
    }
    if name not in files or number not in online:
        raise _error(errno.ENOENT)
    return files[name]


def _queue_file(name: str) -> tuple[str, int, str]:
    match = re.fullmatch(r"queues/(rx|tx)-(\d+)/(\w+)", name)
    if not match or (match[1] == "rx") != match[3].startswith("rps"):
        raise _error(errno.ENOENT)
    return match[1], int(match[2]), match[3]


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
