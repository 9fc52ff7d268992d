# SPDX-License-Identifier: Apache-2.0
"""The host's side of a NIC as a user writes it: the section ``[host]`` of a spec."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nicprog.errors import FieldError
from nicprog.host.cpus import parse_list

PerQueue = Mapping[str, str]
"""CPUs by queue: ``"3"``, ``"rx-3"`` or ``"tx-3"`` to ``"0-1,4"``."""

_QUEUE: Final = re.compile(r"(?:(rx|tx)-)?(\d{1,5})")
_NODE: Final = re.compile(r"node:(\d{1,4})")
_NS_MAX: Final = 1 << 63
_S32_MAX: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NapiSpec:
    """How the NIC is polled; the same for all NAPI instances.

    Attributes:
        threaded: By threads instead of in softirq.
        defer_hard_irqs: Empty polls before interrupts are on again.
        gro_flush_timeout_us: How long packets wait for others; microseconds, to 1 ns.
        irq_suspend_timeout_us: How long interrupts stay off while an application polls; likewise.
    """

    threaded: bool | None = None
    defer_hard_irqs: int | None = None
    gro_flush_timeout_us: float | None = None
    irq_suspend_timeout_us: float | None = None

    def __post_init__(self) -> None:
        defer = self.defer_hard_irqs
        if defer is not None and not 0 <= defer <= _S32_MAX:
            raise FieldError("defer_hard_irqs", f"defer_hard_irqs must be 0 to {_S32_MAX}, "
                             f"got {defer}")  # fmt: skip
        for key in ("gro_flush_timeout_us", "irq_suspend_timeout_us"):
            value = getattr(self, key)
            if value is not None and not 0 <= value * 1000 < _NS_MAX:
                raise FieldError(key, f"{key} must be 0 to {_NS_MAX // 1000}, got {value}")

    def values(self) -> dict[str, bool | int]:
        """What is said, with the names of ``host.napi``."""
        found: dict[str, bool | int] = {}
        if self.threaded is not None:
            found["threaded"] = self.threaded
        if self.defer_hard_irqs is not None:
            found["defer_hard_irqs"] = self.defer_hard_irqs
        if self.gro_flush_timeout_us is not None:
            found["gro_flush_timeout_ns"] = round(self.gro_flush_timeout_us * 1000)
        if self.irq_suspend_timeout_us is not None:
            found["irq_suspend_timeout_ns"] = round(self.irq_suspend_timeout_us * 1000)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """Who takes care of a NIC's queues. What is left out stays as it is.

    Attributes:
        cpus: The CPUs that ``spread``, ``by-queue`` and ``cpus`` below mean: a list, ``node:N``,
            ``local`` (those of the NIC's node) or ``all``; the last three without isolated ones.
        avoid_smt: Of these, one thread of each core.
        interrupts: ``spread`` (queue N to the N-th CPU), or CPUs by queue.
        xps: ``by-queue`` (each CPU sends by one queue), ``off``, or CPUs by TX queue.
        xps_rxqs: ``by-queue`` (what RX queue N received is answered by TX queue N), ``off``, or RX
            queues by TX queue.
        rps: ``cpus``, ``off``, a list for all RX queues, or CPUs by RX queue.
        rfs: Flows that each RX queue remembers, or by RX queue; 0 turns it off.
        napi: How it is polled.
        irqbalance: ``keep-away``, ``allow``, or a list of interrupts that it leaves alone.
    """

    cpus: str = "local"
    avoid_smt: bool = False
    interrupts: str | PerQueue | None = None
    xps: str | PerQueue | None = None
    xps_rxqs: str | PerQueue | None = None
    rps: str | PerQueue | None = None
    rfs: int | Mapping[str, int] | None = None
    napi: NapiSpec | None = None
    irqbalance: str | None = None

    def __post_init__(self) -> None:
        if self.cpus not in ("local", "all") and not _NODE.fullmatch(self.cpus):
            _listed("cpus", self.cpus, may_be_empty=False)
        _words_or_queues("interrupts", self.interrupts, ("spread",), ("rx", "tx"), empty=False)
        _words_or_queues("xps", self.xps, ("by-queue", "off"), ("tx",))
        _words_or_queues("xps_rxqs", self.xps_rxqs, ("by-queue", "off"), ("tx",))
        if isinstance(self.rps, str) and self.rps not in ("cpus", "off"):
            _listed("rps", self.rps, may_be_empty=False)
        elif not isinstance(self.rps, str):
            _words_or_queues("rps", self.rps, (), ("rx",))
        if isinstance(self.rfs, int):
            _flows("rfs", self.rfs)
        for key, flows in self.rfs.items() if isinstance(self.rfs, Mapping) else ():
            queue_of("rfs", key, ("rx",))
            _flows(f"rfs.{key}", flows)
        if self.irqbalance not in (None, "keep-away", "allow"):
            _interrupts("irqbalance", str(self.irqbalance))

    def groups(self) -> tuple[str, ...]:
        """Groups of settings that this is about."""
        said = {
            "host.irqbalance": self.irqbalance,
            "host.interrupts": self.interrupts,
            "host.xps": self.xps,
            "host.xps_rxqs": self.xps_rxqs,
            "host.rps": self.rps,
            "host.rfs": self.rfs,
            "host.napi": self.napi,
        }
        return tuple(group for group, value in said.items() if value is not None)

    def node(self) -> int | None:
        """The NUMA node that ``cpus`` names."""
        found = _NODE.fullmatch(self.cpus)
        return int(found[1]) if found else None


def queue_of(field: str, key: str, kinds: tuple[str, ...]) -> tuple[str | None, int]:
    """Kind, None when none is said, and number of a queue.

    Raises:
        FieldError: It is not a queue, or one of another kind.
    """
    found = _QUEUE.fullmatch(str(key))
    if not found or found[1] not in (None, *kinds):
        names = " or ".join(f"{kind}-3" for kind in kinds)
        raise FieldError(
            f"{field}.{key}", f"{key!r} in {field} is not a queue such as 3 or {names}"
        )
    return found[1], int(found[2])


def _words_or_queues(
    field: str,
    value: str | PerQueue | None,
    words: tuple[str, ...],
    kinds: tuple[str, ...],
    *,
    empty: bool = True,
) -> None:
    if value is None:
        return
    if isinstance(value, str):
        if value not in words:
            text = f"{field} {value!r} is not one of {', '.join(words)}, nor a table of queues"
            raise FieldError(field, text)
        return
    seen: dict[tuple[str, int], str] = {}
    for key, cpus in value.items():
        said, number = queue_of(field, key, kinds)
        for queue in [(kind, number) for kind in ((said,) if said else kinds)]:
            if queue in seen:
                text = f"{field} names queue {number} twice, by {seen[queue]!r} and {key!r}"
                raise FieldError(f"{field}.{key}", text)
            seen[queue] = key
        _listed(f"{field}.{key}", cpus, may_be_empty=empty)


def _listed(field: str, text: object, *, may_be_empty: bool) -> None:
    if not isinstance(text, str):
        raise FieldError(field, f'{field} must be a list in quotes such as "0-3", got {text!r}')
    try:
        found = parse_list(text)
    except ValueError as error:
        raise FieldError(field, f"{field}: {error}") from None
    if not found and not may_be_empty:
        raise FieldError(field, f"{field} is empty; name at least one")


def _interrupts(field: str, text: str) -> None:
    try:
        parse_list(text)
    except ValueError:
        words = "keep-away, allow, nor a list of interrupts"
        raise FieldError(field, f"{field} {text!r} is not one of {words}") from None


def _flows(field: str, flows: object) -> None:
    if type(flows) is not int or not 0 <= flows <= _S32_MAX:
        raise FieldError(
            field, f"{field} must be a number of flows, 0 to {_S32_MAX}, got {flows!r}"
        )
