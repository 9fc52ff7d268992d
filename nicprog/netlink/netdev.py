# SPDX-License-Identifier: Apache-2.0
"""The family ``netdev``: which queue is served by which NAPI and IRQ, and what each carried."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final, Literal

from nicprog.errors import DeviceError
from nicprog.netlink import layouts
from nicprog.netlink.family import Calls, Family, Values, number, unsigned

DEV_GET: Final = 1
QUEUE_GET: Final = 10
NAPI_GET: Final = 11
QSTATS_GET: Final = 12
NAPI_SET: Final = 14

_ANSWERS: Final = {
    DEV_GET: layouts.DEV,
    QUEUE_GET: layouts.QUEUE,
    NAPI_GET: layouts.NAPI,
    QSTATS_GET: layouts.QSTATS,
}
_SCOPE_QUEUE: Final = 1
_KINDS: Final[tuple[Literal["rx", "tx"], ...]] = ("rx", "tx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue that is configured now.

    Attributes:
        kind: ``rx`` or ``tx``.
        number: Among those of its kind.
        napi: Number of the NAPI instance that serves it; None when the driver does not tell.
        xsk: An AF_XDP socket is bound to it (zero-copy, or copy where the driver tells that).
    """

    kind: Literal["rx", "tx"]
    number: int
    napi: int | None
    xsk: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Napi:
    """A NAPI instance: what polls queues when their interrupt came.

    Attributes:
        number: Unique in the network namespace.
        irq: Interrupt that wakes it, as in ``/proc/irq``; None when the driver does not tell.
        thread: Process id of its thread; None when it is polled in softirq.
        defer_hard_irqs: Empty polls before interrupts are on again.
        gro_flush_timeout_ns: How long packets wait for others, and between deferred polls.
        irq_suspend_timeout_ns: How long interrupts stay off while an application polls.
        threaded: 0 polled in softirq, 1 by a thread, 2 by a thread that never sleeps; None when
            the kernel does not tell (before Linux 6.17).
    """

    number: int
    irq: int | None
    thread: int | None
    defer_hard_irqs: int
    gro_flush_timeout_ns: int
    irq_suspend_timeout_ns: int
    threaded: int | None = None


class XdpFeature(IntFlag):
    """What XDP can do on an interface (``enum netdev_xdp_act`` of ``linux/netdev.h``)."""

    BASIC = 1
    REDIRECT = 2
    NDO_XMIT = 4
    XSK_ZEROCOPY = 8
    HW_OFFLOAD = 16
    RX_SG = 32
    NDO_XMIT_SG = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Xdp:
    """What XDP and AF_XDP can do on an interface.

    Attributes:
        features: Of the driver, at this moment: some have more while a program is loaded.
        zero_copy_segments: Most frames of one packet in zero-copy mode; None without that mode.
    """

    features: XdpFeature
    zero_copy_segments: int | None


class Netdev(Calls):
    """Calls about one interface of the caller's network namespace.

    Refusals are as in :class:`nicprog.netlink.EthtoolNetlink`.
    """

    def __init__(self, device: str) -> None:
        """Opens the family.

        Raises:
            DeviceError: No such interface, or the kernel has no such family (before 6.3).
        """
        self.device = device
        try:
            self._index = socket.if_nametoindex(device)
        except OSError:
            raise DeviceError(f"{device}: no such interface in this network namespace") from None
        self._family = Family("netdev", _ANSWERS)

    def xdp(self) -> Xdp:
        """What XDP and AF_XDP can do."""
        about = f"{self.device}: cannot read the features of XDP"
        told = self._family.ask(DEV_GET, layouts.DEV, {"ifindex": self._index}, about=about)[0]
        return Xdp(
            features=XdpFeature(told.get("xdp-features", 0)),
            zero_copy_segments=told.get("xdp-zc-max-segs"),
        )

    def queues(self) -> tuple[Queue, ...]:
        """The queues of an interface that is up; none when it is down. From Linux 6.8 on."""
        answers = self._list(QUEUE_GET, layouts.QUEUE, "list the queues")
        found = [
            Queue(
                kind=_KINDS[told["type"]],
                number=told["id"],
                napi=told.get("napi-id"),
                xsk="xsk" in told,
            )
            for told in answers
        ]
        return tuple(sorted(found, key=lambda queue: (queue.kind, queue.number)))

    def napis(self) -> tuple[Napi, ...]:
        """The NAPI instances of an interface that is up. From Linux 6.8 on."""
        answers = self._list(NAPI_GET, layouts.NAPI, "list the NAPI instances")
        return tuple(sorted((_napi(told) for told in answers), key=lambda napi: napi.number))

    def set_napi(
        self,
        number: int,
        *,
        defer_hard_irqs: int | None = None,
        gro_flush_timeout_ns: int | None = None,
        irq_suspend_timeout_ns: int | None = None,
        threaded: bool | None = None,
    ) -> None:
        """Sets what is given of one NAPI instance. From Linux 6.13 on, ``threaded`` from 6.17 on.

        Whether that outlives a change of the channels depends on the driver.
        """
        values: Values = {"id": number}
        if defer_hard_irqs is not None:
            values["defer-hard-irqs"] = defer_hard_irqs
        if gro_flush_timeout_ns is not None:
            values["gro-flush-timeout"] = unsigned(gro_flush_timeout_ns)
        if irq_suspend_timeout_ns is not None:
            values["irq-suspend-timeout"] = unsigned(irq_suspend_timeout_ns)
        if threaded is not None:
            values["threaded"] = int(threaded)
        about = f"{self.device}: cannot set NAPI instance {number}"
        self._family.ask(NAPI_SET, layouts.NAPI, values, about=about)

    def totals(self) -> dict[str, int]:
        """Counters of the whole interface, with the kernel's names (``rx-packets``)."""
        told = self._list(QSTATS_GET, layouts.QSTATS, "read the statistics")
        return _counters(told[0]) if told else {}

    def queue_statistics(self) -> dict[tuple[str, int], dict[str, int]]:
        """Counters of each queue, by kind and number, where the driver counts (Linux 6.9)."""
        what = "read the statistics of the queues"
        answers = self._list(QSTATS_GET, layouts.QSTATS, what, {"scope": unsigned(_SCOPE_QUEUE)})
        return {(_KINDS[told["queue-type"]], told["queue-id"]): _counters(told) for told in answers}

    def _list(
        self, command: int, layout: Any, what: str, more: Values | None = None
    ) -> list[Values]:
        values = {"ifindex": self._index} | (more or {})
        about = f"{self.device}: cannot {what}"
        return self._family.ask(command, layout, values, about=about, many=True)


def _napi(told: Values) -> Napi:
    return Napi(
        number=told["id"],
        irq=told.get("irq"),
        thread=told.get("pid"),
        defer_hard_irqs=told.get("defer-hard-irqs", 0),
        gro_flush_timeout_ns=number(told.get("gro-flush-timeout", b"")),
        irq_suspend_timeout_ns=number(told.get("irq-suspend-timeout", b"")),
        threaded=told.get("threaded"),
    )


def _counters(told: Values) -> dict[str, int]:
    return {
        name: number(value)
        for name, value in told.items()
        if isinstance(value, bytes) and name != "scope"
    }
