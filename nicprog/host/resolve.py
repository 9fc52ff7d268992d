# SPDX-License-Identifier: Apache-2.0
"""What the section ``[host]`` of a spec means on one host: values for each queue.

What the kernel would refuse is refused here, and so is what it would take and ignore.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nicprog.host.cpus import format_list, parse_list
from nicprog.host.device import HostFacts, by_queue
from nicprog.host.interrupts import Interrupt
from nicprog.host.spec import HostSpec, PerQueue, queue_of
from nicprog.model import Channels
from nicprog.settings import Settings, Value

_BALANCED: Final = {"keep-away": "all", "allow": "none"}


class Objection(Exception):
    """Why the host cannot be as asked.

    Attributes:
        path: Keys below ``host`` that it is about.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = tuple(path.split("."))


@dataclass(slots=True, kw_only=True)
class ResolvedHost:
    """Groups of settings, and what their author should know."""

    settings: dict[str, dict[str, Value]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def resolve_host(
    spec: HostSpec, channels: Channels, facts: HostFacts, now: Settings
) -> ResolvedHost:
    """The values that ``spec`` asks for.

    Args:
        spec: What is wanted.
        channels: Of the NIC, as they will be.
        facts: What the host is like.
        now: Groups of settings that the spec names, as they are.

    Raises:
        Objection: The kernel would refuse it, or ignore it; the text has the numbers.
    """
    return _Resolver(spec, channels, facts, now).all()


class _Resolver:
    """One spec on one host."""

    def __init__(self, spec: HostSpec, channels: Channels, facts: HostFacts, now: Settings) -> None:
        self.spec, self.facts, self.now = spec, facts, now
        self.rx = channels.combined + channels.rx
        self.tx = channels.combined + channels.tx
        self.found = ResolvedHost()

    def all(self) -> ResolvedHost:
        parts = {
            "host.irqbalance": self.irqbalance,
            "host.interrupts": self.interrupts,
            "host.xps": self.xps,
            "host.xps_rxqs": self.xps_rxqs,
            "host.rps": self.rps,
            "host.rfs": self.rfs,
            "host.napi": self.napi,
        }
        for group in self.spec.groups():
            self.found.settings[group] = parts[group]()
        if self.facts.balanced and self.spec.interrupts is not None and not self._kept_away():
            self.found.warnings.append(
                "irqbalance runs and moves interrupts every few seconds; add to [host] "
                'irqbalance = "keep-away"'
            )
        return self.found

    def _kept_away(self) -> bool:
        return self.spec.irqbalance not in (None, "allow")

    def chosen(self) -> tuple[int, ...]:
        """The CPUs that ``cpus`` and ``avoid_smt`` mean, in order."""
        spec, topology = self.spec, self.facts.topology
        if spec.cpus == "all" or (spec.cpus == "local" and self.facts.node is None):
            of, cpus = "the host", topology.online
        elif spec.cpus == "local":
            of, cpus = f"node {self.facts.node}", topology.node(self.facts.node or 0)
        elif (node := spec.node()) is not None:
            if node not in topology.nodes:
                there = format_list(topology.nodes) or "none"
                raise Objection("cpus", f"there is no NUMA node {node} with CPUs (nodes: {there})")
            of, cpus = f"node {node}", topology.node(node)
        else:
            return self._threads(self.cpus("cpus", spec.cpus))
        free = cpus - topology.set_apart
        if not free:
            text = f"all CPUs of {of} ({format_list(cpus) or 'none'}) are isolated; name those to "
            raise Objection("cpus", text + "use")
        return self._threads(free)

    def _threads(self, cpus: frozenset[int]) -> tuple[int, ...]:
        if self.spec.avoid_smt:
            return self.facts.topology.one_of_each_core(cpus)
        return tuple(sorted(cpus))

    def cpus(self, path: str, text: str) -> frozenset[int]:
        """CPUs of a list, all of them online."""
        topology, cpus = self.facts.topology, parse_list(text)
        if beyond := cpus - topology.possible:
            raise Objection(
                path,
                f"CPU {format_list(beyond)} does not exist, the host has "
                f"{format_list(topology.possible)}",
            )
        if offline := cpus - topology.online:
            raise Objection(
                path,
                f"CPU {format_list(offline)} is offline (online: {format_list(topology.online)}); "
                "bring it up, or choose others",
            )
        return cpus

    def irqbalance(self) -> dict[str, Value]:
        if not self.facts.interrupts:
            raise Objection("irqbalance", "the device has no interrupts; leave irqbalance out")
        if not self.facts.balanced:
            self.found.warnings.append("irqbalance does not run: there is nothing to tell it")
            return {}
        asked = str(self.spec.irqbalance)
        if asked in _BALANCED:
            return {"banned": _BALANCED[asked]}
        mine = frozenset(one.number for one in self.facts.interrupts)
        if others := parse_list(asked) - mine:
            raise Objection(
                "irqbalance",
                f"interrupt {format_list(others)} is none of the device, which has "
                f"{format_list(mine)}",
            )
        return {"banned": "all" if parse_list(asked) == mine else format_list(parse_list(asked))}

    def interrupts(self) -> dict[str, Value]:
        asked, there = self.spec.interrupts, by_queue(self.facts.interrupts)
        if not there:
            raise Objection(
                "interrupts",
                "the device has no interrupt that is known to be a queue's; leave interrupts out",
            )
        names = self._names_of_interrupts(there)
        if isinstance(asked, str):
            cpus = self.chosen()
            wanted = {name: cpus[number % len(cpus)] for name, number in names.items()}
            found: dict[str, Value] = {name: str(cpu) for name, cpu in wanted.items()}
        else:
            found = self._named_interrupts(asked or {}, names)
        for name in found:
            one = there.get(name)
            if one is not None and not one.is_settable:
                raise Objection(
                    "interrupts",
                    f"interrupt {one.number} ({one.name}) of {name} is managed by the kernel, "
                    f"which holds it on CPU {format_list(one.cpus)} and lets nobody change that; "
                    "leave interrupts out",
                )
        return found

    def _names_of_interrupts(self, there: Mapping[str, Interrupt]) -> dict[str, int]:
        """Names and numbers of the queues that will have one; new ones are named as those there."""
        kinds = {name.partition("-")[0] for name in there}
        counts = {"rx": self.rx, "tx": self.tx}
        names = {f"{kind}-{n}": n for kind in sorted(kinds) for n in range(counts[kind])}
        few = {name: number for name, number in names.items() if name in there}
        grows = max(self.rx, self.tx) > 1 + max(int(name.partition("-")[2]) for name in there)
        return names if grows else few

    def _named_interrupts(self, asked: PerQueue, names: Mapping[str, int]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for key, text in asked.items():
            path = f"interrupts.{key}"
            kind, number = queue_of("interrupts", key, ("rx", "tx"))
            kinds = (kind,) if kind else ("rx", "tx")
            hit = [f"{k}-{number}" for k in kinds if f"{k}-{number}" in names]
            if not hit:
                there = f"{next(iter(names))} to {list(names)[-1]}" if names else "none"
                raise Objection(path, f"no interrupt is that of queue {key}; there are {there}")
            cpus = format_list(self.cpus(path, text))
            found |= dict.fromkeys(hit, cpus)
        return found

    def xps(self) -> dict[str, Value]:
        asked = self.spec.xps
        self._check_xps("xps")
        if isinstance(asked, Mapping):
            return self._per_queue("xps", asked, "tx", self.tx)
        if asked == "off":
            return self._same("tx", self.tx, "")
        found = {f"tx-{n}": set[int]() for n in range(self.tx)}
        if isinstance(self.spec.interrupts, Mapping):  # where completions of the queue arrive
            for name, cpus in self.interrupts().items():
                number = name.partition("-")[2]
                if f"tx-{number}" in found:
                    found[f"tx-{number}"] |= parse_list(str(cpus))
        else:
            chosen = self.chosen()
            for index in range(max(len(chosen), self.tx)):
                cpu = chosen[index % len(chosen)]
                found[f"tx-{index % self.tx}"] |= self._sending_with(cpu)
        return {name: format_list(cpus) for name, cpus in found.items()}

    def _sending_with(self, cpu: int) -> frozenset[int]:
        """The CPU, and with it the threads of its core that ``avoid_smt`` left out."""
        if not self.spec.avoid_smt:
            return frozenset((cpu,))
        return next(one.siblings for one in self.facts.topology.cpus if one.number == cpu)

    def xps_rxqs(self) -> dict[str, Value]:
        asked = self.spec.xps_rxqs
        self._check_xps("xps_rxqs")
        if asked == "by-queue":
            return {f"tx-{n}": str(n) if n < self.rx else "" for n in range(self.tx)}
        if not isinstance(asked, Mapping):
            return self._same("tx", self.tx, "")
        found: dict[str, Value] = {}
        for key, text in asked.items():
            path = f"xps_rxqs.{key}"
            beyond = [queue for queue in parse_list(text) if queue >= self.rx]
            if beyond:
                raise Objection(path, f"RX queue {min(beyond)} is not active, {self.rx} are (0 to "
                                f"{self.rx - 1})")  # fmt: skip
            found[self._queue(path, "xps_rxqs", key, "tx", self.tx)] = format_list(parse_list(text))
        return found

    def _check_xps(self, path: str) -> None:
        if self.tx < 2 or not self.facts.has_xps:
            raise Objection(
                path,
                f"the device has {self.tx} TX queue{'s' if self.tx > 1 else ''} and no choice "
                f"among them; leave {path} out",
            )

    def rps(self) -> dict[str, Value]:
        asked = self.spec.rps
        if not self.facts.has_rps:
            raise Objection("rps", "the kernel was built without RPS; leave rps out")
        if isinstance(asked, Mapping):
            found = self._per_queue("rps", asked, "rx", self.rx)
            for key, text in asked.items():
                self._check_rps(f"rps.{key}", parse_list(text))
            return found
        if asked == "off":
            return self._same("rx", self.rx, "")
        cpus = frozenset(self.chosen()) if asked == "cpus" else self.cpus("rps", str(asked))
        self._check_rps("rps", cpus)
        return self._same("rx", self.rx, format_list(cpus))

    def _check_rps(self, path: str, cpus: frozenset[int]) -> None:
        if apart := cpus & self.facts.topology.isolated:
            raise Objection(
                path,
                f"CPU {format_list(apart)} is isolated by isolcpus=, and the kernel gives such "
                "CPUs no packets of RPS; choose others",
            )

    def rfs(self) -> dict[str, Value]:
        asked = self.spec.rfs
        if not self.facts.has_rps:
            raise Objection("rfs", "the kernel was built without RPS; leave rfs out")
        by_key = asked if isinstance(asked, Mapping) else {str(n): asked for n in range(self.rx)}
        found: dict[str, Value] = {}
        for key, flows in by_key.items():
            path = f"rfs.{key}" if isinstance(asked, Mapping) else "rfs"
            found[self._queue(path, "rfs", key, "rx", self.rx)] = _rounded(int(flows or 0))
        if any(found.values()) and self.facts.sock_flow_entries == 0:
            self.found.warnings.append(
                "RFS has no effect: net.core.rps_sock_flow_entries is 0 on this host; set it to "
                f"{_rounded(sum(int(flows) for flows in found.values()))} or more"
            )
        return found

    def napi(self) -> dict[str, Value]:
        asked = self.spec.napi.values() if self.spec.napi else {}
        there = self.now.get("host.napi", {})
        if "irq_suspend_timeout_ns" in asked and not self.facts.napis:
            raise Objection(
                "napi.irq_suspend_timeout_us",
                "the kernel tells of no NAPI instance that could have it: the interface is down, "
                "its driver has none, or Linux is older than 6.13",
            )
        after = {**there, **asked}
        for name, needs in _NEEDS.items():
            missing = [one for one in needs if after.get(one) == 0]
            if asked.get(name) and missing:
                self.found.warnings.append(f"{name} has no effect while {missing[0]} is 0")
        return {**asked}

    def _per_queue(self, field: str, asked: PerQueue, kind: str, count: int) -> dict[str, Value]:
        return {
            self._queue(f"{field}.{key}", field, key, kind, count): format_list(
                self.cpus(f"{field}.{key}", text)
            )
            for key, text in asked.items()
        }

    def _queue(self, path: str, field: str, key: str, kind: str, count: int) -> str:
        _, number = queue_of(field, key, (kind,))
        if number >= count:
            raise Objection(
                path,
                f"queue {number} is named, but {count} {kind.upper()} queues are active (0 to "
                f"{count - 1})",
            )
        return f"{kind}-{number}"

    def _same(self, kind: str, count: int, value: Value) -> dict[str, Value]:
        return {f"{kind}-{n}": value for n in range(count)}


_NEEDS: Final = {
    "defer_hard_irqs": ("gro_flush_timeout_ns",),
    "irq_suspend_timeout_ns": ("defer_hard_irqs", "gro_flush_timeout_ns"),
}
"""What has no effect alone (Documentation/networking/napi.rst)."""


def _rounded(flows: int) -> int:
    """As the kernel rounds: up to a power of two."""
    return 1 << (flows - 1).bit_length() if flows else 0
