# SPDX-License-Identifier: Apache-2.0
"""A NIC that is programmed by the ethtool structures, whatever carries them."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Final, Self

from nicprog._ethtool import lib
from nicprog.actions import (
    Action,
    CreateContext,
    DeleteContext,
    DeleteRule,
    InsertRule,
    ResetTable,
    SetChannels,
    SetContext,
    SetKey,
    SetTable,
    SetValues,
)
from nicprog.backends import Counters, QueueCounters, codec
from nicprog.backends.contexts import (
    ByIoctl,
    ByNetlink,
    ContextCalls,
    RssNetlink,
    has_contexts,
)
from nicprog.backends.groups import limits as limits_of_group
from nicprog.backends.groups import read as read_group
from nicprog.backends.groups import write as write_group
from nicprog.backends.names import Names
from nicprog.drivers import UNTOLD
from nicprog.errors import DeviceError, NicprogError, RequestError
from nicprog.ethtool import Channels as EthtoolChannels
from nicprog.ethtool import Ethtool, HashFunction, InputTransform, Rss, RuleTable, Transport
from nicprog.host import HostDevice, HostFacts
from nicprog.model import (
    OWN_CONTEXT,
    Capabilities,
    Channels,
    FlowRule,
    NicState,
    RssContext,
    RssTable,
)
from nicprog.settings import HOST_GROUPS, Limits, Value

_LIST_ATTEMPTS: Final = 5
_OF_QUEUE: Final = re.compile(r"(?:rx_queue_(\d+)|q(\d+)_rx)_(packets|bytes)")
_GET_RULE: Final[int] = lib.ETHTOOL_GRXCLSRULE


class EthtoolNic:
    """A :class:`nicprog.backends.Backend` over a transport."""

    def __init__(
        self,
        device: str,
        instance: str,
        transport: Transport,
        netlink: Callable[[], RssNetlink | None] = lambda: None,
        host: HostDevice | None = None,
    ) -> None:
        """Takes over ``transport``.

        ``netlink`` opens the other way to RSS contexts; None where the kernel lacks it. ``host`` is
        what the host has of the device; None when it has nothing.
        """
        self.device = device
        self._host = host
        self.instance = instance
        self._transport = transport
        self._netlink = netlink
        self.calls = Ethtool(device, transport)
        self._capabilities: Capabilities | None = None
        self._contexts: ContextCalls | None = None
        self._names = Names(device, instance)
        self._numbers: dict[str, int] = {}
        self._counts_rings = False

    def capabilities(self) -> Capabilities:
        """What the NIC can do; asked once."""
        if self._capabilities is None:
            most, info, rss = self._channels(), self.calls.driver_info(), self._rss()
            untold = {"contexts": None, "fixed_channels": self._counts_rings}
            told = Capabilities(
                driver=info.driver,
                bus=info.bus,
                queues_max=most.max_combined,
                rx_max=most.max_rx,
                tx_max=most.max_tx,
                table_size=len(rss.table),
                key_bytes=len(rss.key),
                locations=self._rule_table().locations,
            )
            told = replace(told, **(untold | UNTOLD.get(info.driver, {})))
            self._contexts = self._open_contexts(told)
            way = {"contexts_by": self._contexts.way} if self._contexts else {"contexts": 0}
            self._capabilities = replace(told, **way)
        return self._capabilities

    def read(self, groups: Collection[str] = ()) -> NicState:
        """What the NIC holds now; of its settings the groups that are named."""
        now, rss = self._channels(), self._rss()
        if not now.combined_count and not now.rx_count:
            raise NicprogError(
                f"{self.device}: no queue is active, so there is nothing to read or set; a TAP has "
                "queues while a program has it open"
            )
        contexts = self._read_contexts()
        try:
            return NicState(
                channels=Channels(combined=now.combined_count, rx=now.rx_count, tx=now.tx_count),
                table=RssTable(entries=rss.table),
                key=rss.key,
                rules=self._rules(),
                contexts=contexts,
                settings={group: self._group(group) for group in groups},
            )
        except ValueError as error:
            raise NicprogError(f"{self.device}: holds what cannot be: {error}") from None

    def limits(self, groups: Collection[str]) -> dict[str, Limits]:
        """What the settings of these groups can be."""
        nothing = Limits(known=frozenset())
        return {
            group: nothing if group in HOST_GROUPS else limits_of_group(self.calls, group)
            for group in groups
        }

    def host_facts(self) -> HostFacts | None:
        """What the host is like around it; None when it is no device of a host."""
        return self._host.facts() if self._host else None

    @property
    def host_groups(self) -> tuple[str, ...]:
        """Groups of settings that the host has of it."""
        return HOST_GROUPS if self._host else ()

    def run(self, action: Action) -> None:
        """Makes one change, or none."""
        match action:
            case InsertRule() | DeleteRule():
                self._transport.ask(*self._rule_request(action))
            case SetTable():
                self.calls.set_rss(table=action.entries)
            case ResetTable():
                self.calls.reset_rss_table()
            case SetKey():
                self.calls.set_rss(key=action.key)
            case SetValues() if action.group in HOST_GROUPS:
                self._write_host(action)
            case SetValues():
                write_group(self.calls, action.group, action.values)
            case CreateContext() | DeleteContext() | SetContext():
                self._change_context(action)
            case SetChannels():
                self.calls.set_channels(
                    replace(
                        self._channels(),
                        combined_count=action.combined,
                        rx_count=action.rx,
                        tx_count=action.tx,
                    )
                )

    def run_rules(self, actions: Sequence[InsertRule | DeleteRule]) -> list[RequestError | None]:
        """Makes several changes to different locations, without waiting for each."""
        results: list[RequestError | None] = []
        for command, group in groupby(map(self._rule_request, actions), key=itemgetter(0)):
            answers = self._transport.ask_many(command, [payload for _, payload in group])
            results += [answer if isinstance(answer, RequestError) else None for answer in answers]
        return results

    def counters(self) -> Counters:
        """Counters at this moment."""
        values = dict(self.calls.statistics())
        queues: dict[int, dict[str, int]] = {}
        hits: dict[int, int] = {}
        totals: dict[str, int] = {}
        for name, value in values.items():
            if found := _OF_QUEUE.fullmatch(name):
                number = int(found[1] or found[2])
                queues.setdefault(number, {"packets": 0, "bytes": 0})[found[3]] = value
            elif found := re.fullmatch(r"rule_(\d+)_hits", name):
                hits[int(found[1])] = value
            else:
                totals[name] = value
        return Counters(
            queues=tuple(
                QueueCounters(queue=queue, packets=both["packets"], bytes=both["bytes"])
                for queue, both in sorted(queues.items())
            ),
            rule_hits=dict(sorted(hits.items())),
            totals=totals,
        )

    def context_numbers(self) -> dict[str, int]:
        """The kernel's numbers of the contexts by their names, as of the last read."""
        return dict(self._numbers)

    def close(self) -> None:
        """Ends the connection; what was set stays."""
        self._transport.close()
        if self._contexts is not None:
            self._contexts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _group(self, group: str) -> dict[str, Value]:
        if group not in HOST_GROUPS:
            return read_group(self.calls, group)
        return self._host.read(group) if self._host else {}

    def _write_host(self, action: SetValues) -> None:
        if self._host is None:
            text = f"{self.device}: is no device of this host (EOPNOTSUPP)"
            raise RequestError(text, errno.EOPNOTSUPP)
        self._host.write(action.group, action.values)

    def _channels(self) -> EthtoolChannels:
        try:
            return self.calls.channels()
        except RequestError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
        return self._rings()

    def _rings(self) -> EthtoolChannels:
        """Of a driver without channels: the queues that rules may name."""
        try:
            rings = self.calls.rx_rings()
        except RequestError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            raise NicprogError(
                f"{self.device}: cannot be programmed: its driver has no channels, which is the "
                "least that a NIC must have (EOPNOTSUPP); choose another interface"
            ) from None
        self._counts_rings = True
        return EthtoolChannels(max_combined=rings, combined_count=rings)

    def _rss(self) -> Rss:
        """Table and key; empty when the driver shows none."""
        try:
            return self.calls.rss()
        except RequestError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return Rss(table=(), key=b"", function=HashFunction(0), transform=InputTransform(0))

    def _rule_table(self) -> RuleTable:
        """Without locations when the driver has no rules."""
        try:
            return self.calls.rule_table()
        except RequestError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return RuleTable(rules=0, locations=0, chooses=False)

    def _open_contexts(self, can: Capabilities) -> ContextCalls | None:
        if not has_contexts(self.calls):
            return None
        netlink = self._netlink()
        if netlink is not None:
            return ByNetlink(netlink, keys=can.context_keys, fields=can.context_fields)
        return ByIoctl(self.calls, can.contexts, keys=can.context_keys, fields=can.context_fields)

    def _read_contexts(self) -> tuple[RssContext, ...]:
        self.capabilities()
        found = self._contexts.listed() if self._contexts else {}
        self._numbers = self._names.of(found)
        return tuple(
            replace(found[number], name=name) for name, number in sorted(self._numbers.items())
        )

    def _change_context(self, action: CreateContext | DeleteContext | SetContext) -> None:
        self.capabilities()
        if self._contexts is None:
            text = f"{self.device}: its driver has no RSS contexts (EOPNOTSUPP)"
            raise RequestError(text, errno.EOPNOTSUPP)
        match action:
            case CreateContext():
                name = action.context.name
                asked = int(name[1:].rstrip("'")) if name.startswith("#") else None
                is_free = asked not in self._numbers.values()
                number = self._contexts.create(action.context, asked if is_free else None)
                left = {other: held for other, held in self._numbers.items() if held != number}
                self._numbers = left | {name: number}
                self._names.keep(self._numbers)
            case SetContext():
                number = self._number(action.context)
                self._contexts.change(number, action.entries, action.key, action.values)
            case DeleteContext():
                self._contexts.delete(self._number(action.context))
                del self._numbers[action.context]
                self._names.keep(self._numbers)

    def _number(self, name: str) -> int:
        if name == OWN_CONTEXT:
            return 0
        if name not in self._numbers:
            self._read_contexts()
        if name not in self._numbers:
            text = f"{self.device}: there is no RSS context {name!r} (ENOENT)"
            raise RequestError(text, errno.ENOENT)
        return self._numbers[name]

    def _rule_request(self, action: InsertRule | DeleteRule) -> tuple[int, bytes]:
        if isinstance(action, DeleteRule):
            delete = lib.ETHTOOL_SRXCLSRLDEL
            return delete, codec.at_location(delete, action.location)
        name = action.rule.context
        number = None if name is None else self._number(name)
        return lib.ETHTOOL_SRXCLSRLINS, codec.encode_rule(action.rule, number)

    def _rules(self) -> tuple[FlowRule, ...]:
        """All rules. Another program may change them between the requests: then once more."""
        for _ in range(_LIST_ATTEMPTS):
            try:
                return self._rules_once()
            except RequestError as error:
                if error.errno != errno.ENOENT:
                    raise
        raise DeviceError(f"{self.device}: its rules change faster than they can be read")

    def _rules_once(self) -> tuple[FlowRule, ...]:
        if self._rule_table().rules == 0:
            return ()
        requests = [
            codec.at_location(_GET_RULE, location) for location in self.calls.rule_locations()
        ]
        answers = self._transport.ask_many(_GET_RULE, requests)
        names = {number: name for name, number in self._numbers.items()}
        return tuple(codec.decode_rule(_answered(answer), self.device, names) for answer in answers)


def _answered(answer: bytes | RequestError) -> bytes:
    if isinstance(answer, RequestError):
        raise answer
    return answer
