# SPDX-License-Identifier: Apache-2.0
"""What Prometheus reads of NICs: packets and shares of queues, balance, drops, rules, drift."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nicprog import api
from nicprog.backends import Backend, Counters, QueueCounters
from nicprog.backends.kernel import is_interface
from nicprog.backends.softnic import has_socket
from nicprog.balance import balance
from nicprog.errors import NicprogError
from nicprog.netlink import Netdev
from nicprog.spec import Spec

_DROPS: Final = re.compile(r"drop|discard|missed|overrun|no_?buf|alloc_?fail", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One metric: what makes its family, and the labels beside ``device``."""

    family: type[CounterMetricFamily] | type[GaugeMetricFamily]
    text: str
    labels: tuple[str, ...] = ()


_KINDS: Final = {
    "nicprog_up": _Kind(GaugeMetricFamily, "1 when the NIC could be read, else 0"),
    "nicprog_rx_queue_packets": _Kind(
        CounterMetricFamily, "Packets that a queue received", ("queue",)
    ),
    "nicprog_rx_queue_bytes": _Kind(CounterMetricFamily, "Bytes that a queue received", ("queue",)),
    "nicprog_table_share": _Kind(
        GaugeMetricFamily, "Share of the indirection table's entries", ("queue",)
    ),
    "nicprog_rx_queue_share": _Kind(
        GaugeMetricFamily,
        "Share of the packets of all queues in the table, since the read before",
        ("queue",),
    ),
    "nicprog_imbalance_variation": _Kind(
        GaugeMetricFamily,
        "Standard deviation over mean of share by table share, since the read before",
    ),
    "nicprog_imbalance_spread": _Kind(
        GaugeMetricFamily,
        "2 (max - min) / (max + min) of share by table share, since the read before",
    ),
    "nicprog_rules": _Kind(GaugeMetricFamily, "Flow rules on the NIC"),
    "nicprog_rule_locations": _Kind(GaugeMetricFamily, "Flow rules that it can hold"),
    "nicprog_rule_packets": _Kind(
        CounterMetricFamily, "Packets that a rule took, where the NIC counts", ("location",)
    ),
    "nicprog_drops": _Kind(
        CounterMetricFamily, "Counters of dropped packets, by the NIC's own names", ("counter",)
    ),
    "nicprog_drift": _Kind(GaugeMetricFamily, "Differences from the spec"),
}

Sample = tuple[str, tuple[str, ...], float]
"""Name of the metric, labels after the device, value."""


class NicCollector(Collector):
    """Reads NICs when Prometheus asks; may be used from several threads."""

    def __init__(
        self,
        devices: Sequence[str],
        specs: Sequence[Spec] = (),
        open_nic: Callable[[str], Backend] = api.open,
    ) -> None:
        """Does nothing yet.

        Args:
            devices: Names of NICs.
            specs: What some of them should be, and of more of them.
            open_nic: Opens one for one read.
        """
        self._specs = {spec.device: spec for spec in specs}
        self._devices = tuple(dict.fromkeys([*devices, *self._specs]))
        self._open = open_nic
        self._before: dict[str, tuple[str, dict[int, int]]] = {}
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """All metrics of all NICs, read now."""
        families = {
            name: kind.family(name, kind.text, labels=("device", *kind.labels))
            for name, kind in _KINDS.items()
        }
        with self._lock:
            for device in self._devices:
                for name, labels, value in self._samples(device):
                    families[name].add_metric((device, *labels), value)
        yield from (family for family in families.values() if family.samples)

    def _samples(self, device: str) -> list[Sample]:
        try:
            with self._open(device) as nic:
                return [*self._read(nic), ("nicprog_up", (), 1)]
        except NicprogError:
            return [("nicprog_up", (), 0)]

    def _read(self, nic: Backend) -> Iterator[Sample]:
        state, can, counters = nic.read(), nic.capabilities(), counters_of(nic)
        for one in counters.queues:
            yield "nicprog_rx_queue_packets", (str(one.queue),), one.packets
            yield "nicprog_rx_queue_bytes", (str(one.queue),), one.bytes
        if state.table.entries:
            packets = self._since_before(nic, {one.queue: one.packets for one in counters.queues})
            found = balance(state.table, packets)
            for queue, share in found.table_shares.items():
                yield "nicprog_table_share", (str(queue),), share
            for queue, share in found.shares.items():
                yield "nicprog_rx_queue_share", (str(queue),), share
            if found.variation is not None and found.spread is not None:
                yield "nicprog_imbalance_variation", (), found.variation
                yield "nicprog_imbalance_spread", (), found.spread
        if can.locations:
            yield "nicprog_rules", (), len(state.rules)
            yield "nicprog_rule_locations", (), can.locations
        for location, hits in counters.rule_hits.items():
            yield "nicprog_rule_packets", (str(location),), hits
        for name, value in counters.totals.items():
            if _DROPS.search(name):
                yield "nicprog_drops", (name,), value
        if nic.device in self._specs:
            yield "nicprog_drift", (), len(api.verify(nic, self._specs[nic.device]))

    def _since_before(self, nic: Backend, packets: dict[int, int]) -> Mapping[int, int]:
        """Packets since the last read; all when there was none or the counters began anew."""
        instance, before = self._before.get(nic.device, ("", {}))
        self._before[nic.device] = (nic.instance, packets)
        grown = {queue: count - before.get(queue, 0) for queue, count in packets.items()}
        began_anew = instance != nic.instance or min(grown.values(), default=0) < 0
        return packets if began_anew else grown


def counters_of(nic: Backend) -> Counters:
    """Counters of queues by whichever way tells, else none.

    Drivers name their counters as they like, so of an interface the kernel's statistics of queues
    are asked for what the names do not tell.
    """
    try:
        told = nic.counters()
    except NicprogError:
        told = Counters(queues=(), rule_hits={}, totals={})
    if not is_interface(nic.device) or has_socket(nic.device):
        return told
    try:
        with Netdev(nic.device) as kernel:
            by_queue, totals = kernel.queue_statistics(), kernel.totals()
    except NicprogError:
        return told
    queues = tuple(
        QueueCounters(queue=number, packets=one.get("rx-packets", 0), bytes=one.get("rx-bytes", 0))
        for (kind, number), one in sorted(by_queue.items())
        if kind == "rx"
    )
    return replace(told, queues=told.queues or queues, totals=totals | told.totals)
