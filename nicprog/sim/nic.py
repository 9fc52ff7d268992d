# SPDX-License-Identifier: Apache-2.0
"""A model of one NIC: the checks of the kernel's ethtool core and of the driver, and what is set.

Refusals are RequestErrors with the errno of the kernel. Their text is that of the kernel's netlink
replies where it has one; an ioctl on a real NIC tells the errno only.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from nicprog._ethtool import lib
from nicprog.backends import codec
from nicprog.drivers import MICROSOFT_KEY, UNTOLD
from nicprog.errors import NicprogError, RequestError
from nicprog.ethtool import Channels, Coalesce, HashField, HashFunction, InputTransform, Rings
from nicprog.ethtool.rules import FlowType
from nicprog.model import Capabilities, FlowRule
from nicprog.sim.host import SimHost
from nicprog.sim.profiles import PROFILES, QUIRKS, Profile

ADDRESSES: Final = HashField.SRC | HashField.DST
PORTS: Final = HashField.SRC_PORT | HashField.DST_PORT
_HASHED: Final = {
    **dict.fromkeys(
        (FlowType.TCP4, FlowType.TCP6, FlowType.UDP4, FlowType.UDP6), ADDRESSES | PORTS
    ),
    **dict.fromkeys((FlowType.IP4, FlowType.IP6), ADDRESSES),
}
_UDP: Final = (FlowType.UDP4, FlowType.UDP6)
_NO_TRANSFORM: Final = InputTransform(0)
_CONTEXTS: Final = 64  # where nobody knows how many
_serials: Final = itertools.count()


@dataclass(slots=True, kw_only=True)
class Context:
    """How one group of packets is spread.

    Attributes:
        table: Queue of each entry.
        is_set: The table was set, so that it does not follow the queues.
        hashed: Fields of its own, or None where it has those of the NIC.
    """

    table: tuple[int, ...]
    key: bytes
    function: HashFunction = HashFunction.TOEPLITZ
    transform: InputTransform = _NO_TRANSFORM
    is_set: bool = False
    hashed: dict[FlowType, HashField] | None = None


@dataclass(slots=True, kw_only=True)
class Rule:
    """What is known of a rule without reading all of it.

    Attributes:
        data: The ``struct ethtool_rxnfc`` that inserted it.
        queue: None for a rule that drops; with a context, what is added to its queue.
        context: RSS context that it hands packets to, or None.
        known: A rule that compares the same fields, as nicprog's planner has it, None where it
            cannot say that; the same object for all that do.
    """

    data: bytes
    queue: int | None
    context: int | None
    known: FlowRule | None = field(compare=False)


class SimNic:
    """One NIC of a profile, as new.

    Attributes:
        device: Its name, for messages.
        instance: No other model in this process has the same.
        has_netlink: The kernel makes RSS contexts by netlink (6.17), too; else by ioctl alone.
        profile: What it is like.
        quirks: Names of those it has.
        channels, rings, coalesce: As ethtool shows them.
        coalesce_of: Of queues that differ from ``coalesce``.
        features, private_flags: Those that can be changed, but for ``ntuple``.
        contexts: By number; 0 is that of packets that no rule takes.
        hashed: Hashed fields of each kind of packet.
        rules: By location.
        ntuple: The feature ``rx-ntuple-filter`` is on.
        received: Packets and octets that each queue got.
        host: What is around it.
    """

    def __init__(self, profile: str, quirks: Sequence[str] = (), device: str = "") -> None:
        """Raises NicprogError when there is no such profile, or it cannot have such a quirk."""
        self.device = device or f"sim:{profile}"
        self.instance = f"sim-{os.getpid()}-{next(_serials)}"
        self.has_netlink = True
        self.profile = _profile(self.device, profile)
        self.quirks = _quirks(self.device, profile, quirks)
        untold = UNTOLD.get(self.profile.driver, {})
        self._can = Capabilities(
            driver=self.profile.driver, bus="", queues_max=0, table_size=0, key_bytes=0, locations=0
        )
        self._can = replace(self._can, **(untold | {"locations": self.profile.locations}))
        self.channels = Channels(
            max_combined=self.profile.combined[1],
            combined_count=self.profile.combined[0],
            **dict.fromkeys(("max_rx", "max_tx"), self.profile.apart[1]),
            **dict.fromkeys(("rx_count", "tx_count"), self.profile.apart[0]),
        )
        most = self.profile.rings_max
        self.rings = Rings(rx_max_pending=most, tx_max_pending=most, rx_pending=512, tx_pending=512)
        self.coalesce = Coalesce()
        self.coalesce_of: dict[int, Coalesce] = {}
        self.features = dict(self.profile.features)
        self.private_flags = dict(self.profile.private_flags)
        self.contexts = {0: Context(table=(), key=self._first_key())}
        self.contexts[0].table = self._default_table(self._table_size(self.rx_queues))
        self.hashed = dict(_HASHED)
        if not self.profile.udp_ports:
            self.hashed |= dict.fromkeys(_UDP, ADDRESSES)
        self.rules: dict[int, Rule] = {}
        self._shapes: dict[bytes, FlowRule | None] = {}
        self.ntuple = self.profile.locations > 0
        self.xsk_bound = "xsk-blocks-rules" in self.quirks
        self.received: dict[int, tuple[int, int]] = {}
        self.host = SimHost(device=self.device, shared=self.profile.combined[1] > 0)
        self.host.follow(self.rx_queues, self.tx_queues)

    @property
    def rx_queues(self) -> int:
        """Active RX queues, which rules may name."""
        return self.channels.combined_count + self.channels.rx_count

    @property
    def tx_queues(self) -> int:
        """Active TX queues."""
        return self.channels.combined_count + self.channels.tx_count

    @property
    def rx_rings(self) -> int:
        """RX queues that the table may name."""
        return min(self.rx_queues, self._can.table_queues_max or self.rx_queues)

    def set_channels(self, wanted: Channels) -> None:
        """Checks as the kernel does, then as the driver; then a table that is not set follows."""
        now = self.channels
        counts = (wanted.combined_count, wanted.rx_count, wanted.tx_count, wanted.other_count)
        most = (now.max_combined, now.max_rx, now.max_tx, now.max_other)
        self.refuse_if(self._can.fixed_channels or not self.profile.has_channels, errno.EOPNOTSUPP)
        if any(count > limit for count, limit in zip(counts, most, strict=True)):
            raise self.refusal(errno.EINVAL, "requested channel count exceeds maximum")
        if not wanted.combined_count and not (wanted.rx_count and wanted.tx_count):
            text = "requested channel counts would result in no RX or TX channel being configured"
            raise self.refusal(errno.EINVAL, text)
        queues, now_queues = wanted.combined_count + wanted.rx_count, self.rx_queues
        self._check_still_there(queues)
        self.refuse_if("irdma-holds-channels" in self.quirks, errno.EBUSY)
        tables = {number: self._resized(one, queues) for number, one in self.contexts.items()}
        self.coalesce_of = {q: one for q, one in self.coalesce_of.items() if q < queues}
        self.channels = replace(
            now, combined_count=counts[0], rx_count=counts[1], tx_count=counts[2]
        )
        self.host.follow(self.rx_queues, self.tx_queues)
        for number, table in tables.items():
            self.contexts[number].table = table
        if not self.contexts[0].is_set:
            self.contexts[0].table = self._default_table(len(self.contexts[0].table))
        if "channels-reset-table" in self.quirks and queues != now_queues:
            size = len(self.contexts[0].table)
            self.contexts[0].table = tuple(i * queues // size for i in range(size))
        if "channels-lose-contexts" in self.quirks and queues != now_queues:
            self.contexts = {0: self.contexts[0]}
            self.rules = {at: rule for at, rule in self.rules.items() if rule.context is None}
        fewer = queues < now_queues
        if fewer and "fewer-channels-lose-rss" in self.quirks:
            self.contexts[0].key = self._first_key()
            self.reset_table()

    def _check_still_there(self, queues: int) -> None:
        used = [max(one.table, default=0) for one in self.contexts.values() if one.is_set]
        if max(used, default=0) >= queues:
            text = "requested channel counts are too low for existing indirection table"
            raise self.refusal(errno.EINVAL, f"{text} ({max(used)})")
        named = max(map(self._queue_max, self.rules.values()), default=0)
        if named >= queues:
            text = "requested channel counts are too low for existing ntuple filter settings"
            raise self.refusal(errno.EINVAL, f"{text} ({named})")

    def _queue_max(self, rule: Rule) -> int:
        """The highest queue that a rule sends packets to."""
        table = () if rule.context is None else self.contexts[rule.context].table
        return (rule.queue or 0) + max(table, default=0)

    def _resized(self, context: Context, queues: int) -> tuple[int, ...]:
        """The table of another size: repeated, or folded when it repeats itself."""
        old, new = context.table, self._table_size(queues)
        if len(old) == new or not old:
            return old
        if new > len(old):
            return old * (new // len(old))
        if context.is_set and old != old[:new] * (len(old) // new):
            text = "the indirection table does not fit into that of so many channels"
            raise self.refusal(errno.EINVAL, text)
        return old[:new]

    def set_rings(self, wanted: Rings) -> None:
        """Sizes up to their maxima."""
        now = self.rings
        for name in ("rx", "rx_mini", "rx_jumbo", "tx"):
            if getattr(wanted, f"{name}_pending") > getattr(now, f"{name}_max_pending"):
                raise self.refusal(errno.EINVAL, "requested ring size exceeds maximum")
        self.rings = replace(now, rx_pending=wanted.rx_pending, tx_pending=wanted.tx_pending)

    def set_coalesce(self, wanted: Coalesce) -> None:
        """Parameters that the driver has; the others must be 0."""
        self.check_coalesce(wanted)
        self.coalesce = wanted
        self.coalesce_of.clear()

    def check_coalesce(self, wanted: Coalesce) -> None:
        """Refuses parameters that the driver does not have."""
        for name in Coalesce.__dataclass_fields__:
            if getattr(wanted, name) and name not in self.profile.coalesces:
                raise self.refusal(errno.EOPNOTSUPP, f"{name} is not supported")

    def check_queue(self, queue: int) -> None:
        """Refuses what is about the coalescing of a single queue that cannot be."""
        self.refuse_if(not self.profile.queues_coalesce, errno.EOPNOTSUPP)
        self.refuse_if(queue >= self.rx_queues, errno.EINVAL, f"queue {queue} is not active")

    def set_ntuple(self, on: bool) -> None:
        """Turns rules on or off; off loses them."""
        self.refuse_if(not self.profile.locations, errno.EOPNOTSUPP)
        if on and not self.ntuple:
            self.xsk_bound = False
            if "ntuple-resets-table" in self.quirks:
                self.reset_table()
        if not on:
            self.rules.clear()
        self.ntuple = on

    def has_rss(self) -> bool:
        """There is a table or a key to read."""
        return bool(self.contexts[0].table or self.contexts[0].key)

    def context(self, number: int) -> Context:
        """A context by its number; refused when there is none."""
        self.refuse_if(not self.has_rss(), errno.EOPNOTSUPP)
        self.refuse_if(bool(number) and self._can.contexts == 0, errno.EOPNOTSUPP)
        self.refuse_if(number not in self.contexts, errno.ENOENT, "there is no such RSS context")
        return self.contexts[number]

    def set_rss(self, number: int, changes: dict[str, object]) -> None:
        """Changes table, key, function, transform of a context: all of them or none."""
        wanted = replace(self.context(number), **changes)  # type: ignore[arg-type]  # their own names
        self._check_rss(number, wanted, changes)
        self.contexts[number] = wanted

    def new_context(self, changes: dict[str, object], number: int | None = None) -> int:
        """Makes a context with the NIC's key and table but for ``changes``.

        Its number is ``number``, or the lowest that is free.
        """
        self.refuse_if(self._can.contexts == 0, errno.EOPNOTSUPP)
        most = self._can.contexts or _CONTEXTS
        free = [n for n in range(1, most + 1) if n not in self.contexts]
        self.refuse_if(not free, errno.ENOSPC, "no more RSS contexts")
        taken = number is not None and number in self.contexts
        self.refuse_if(taken, errno.EBUSY, "the number of the RSS context is taken")
        made = free[0] if number is None else number
        hashed = dict(_HASHED) if self._can.context_fields else None
        first = {"is_set": True, "transform": _NO_TRANSFORM, "hashed": hashed}
        wanted = replace(self.contexts[0], **(first | changes))  # type: ignore[arg-type]  # likewise
        self._check_rss(made, wanted, changes)
        self.contexts[made] = wanted
        return made

    def _check_rss(self, number: int, wanted: Context, changes: dict[str, object]) -> None:
        for index, queue in enumerate(wanted.table if "table" in changes else ()):
            if queue >= self.rx_rings:
                text = f"entry {index}: queue out of range ({queue})"
                raise self.refusal(errno.EINVAL, text)
        own = {"key", "function", "transform"} & changes.keys()
        self.refuse_if(bool(number and own) and not self._can.context_keys, errno.EOPNOTSUPP)
        self.refuse_if("key" in own and "firmware-keeps-key" in self.quirks, errno.EOPNOTSUPP)
        self.refuse_if(bool(wanted.function & ~self.profile.functions), errno.EOPNOTSUPP)
        self.refuse_if(bool(wanted.transform & ~self.profile.transforms), errno.EOPNOTSUPP)
        hashed = self.hashed if wanted.hashed is None else wanted.hashed
        if wanted.transform and not all(map(_is_symmetric, hashed.values())):
            raise self.refusal(errno.EINVAL, "hash field config is not symmetric")

    def reset_table(self) -> None:
        """The default table of context 0, which follows the queues."""
        first = self.context(0)
        first.table, first.is_set = self._default_table(len(first.table)), False

    def delete_context(self, number: int) -> None:
        """Takes a context away that no rule names."""
        self.context(number)
        if any(rule.context == number for rule in self.rules.values()):
            raise self.refusal(errno.EBUSY, "a flow rule names the RSS context")
        del self.contexts[number]

    def hashing(self, number: int) -> Context:
        """The context whose key, function and transform are for packets of this one."""
        return self.contexts[number if self._can.context_keys else 0]

    def fields(self, number: int = 0) -> dict[FlowType, HashField]:
        """Hashed fields of a context, which may be those of the NIC; to be changed in place."""
        own = self.context(number).hashed if number else None
        return self.hashed if own is None else own

    def set_hashed(self, flow: FlowType, fields: HashField, number: int = 0) -> None:
        """Sets the fields of one kind of packet that a context hashes."""
        self.refuse_if(bool(number) and not self._can.context_fields, errno.EOPNOTSUPP)
        hashed = self.fields(number)
        self.refuse_if(flow not in hashed, errno.EINVAL)
        transforms = [one.transform for n, one in self.contexts.items() if self.fields(n) is hashed]
        if any(transforms) and not _is_symmetric(fields):
            raise self.refusal(errno.EINVAL, "hash field config is not symmetric")
        hashed[flow] = fields

    def insert(self, data: bytes) -> int:
        """Inserts the rule in a ``struct ethtool_rxnfc`` over the one that is there.

        Returns:
            Its location.
        """
        off = not self.profile.locations or not self.ntuple
        self.refuse_if(off, errno.EOPNOTSUPP, "rx-ntuple-filter is off or not there")
        self.refuse_if(self.xsk_bound, errno.EINVAL, "an AF_XDP socket is bound")
        head = codec.rule_head(data)
        self._check_target(head)
        location = self._location(head.location)
        if "loses-fields" in self.quirks:
            data = codec.without_tos_and_tag(data)
        data = data if head.location == location else codec.at(data, location)
        known = self._known(data)
        if known is not None:
            self._check_driver_takes(known)
        self._place(data, known)
        return location

    def restore_rule(self, data: bytes) -> None:
        """Puts back a rule that was inserted before."""
        self._place(data, self._known(data))

    def _place(self, data: bytes, known: FlowRule | None) -> None:
        head = codec.rule_head(data)
        context = head.context if head.flow_type & lib.FLOW_RSS else None
        self.rules[head.location] = Rule(data=data, queue=head.queue, context=context, known=known)

    def _check_target(self, head: codec.RuleHead) -> None:
        if head.flow_type & lib.FLOW_RSS:
            self.refuse_if(head.context not in self.contexts, errno.EINVAL)
            adds = self._can.context_adds_queue  # cap_rss_rxnfc_adds, which only sfc has
            refused = bool(head.queue) and not adds
            self.refuse_if(refused, errno.EINVAL, "a queue beside an RSS context")
        elif head.queue is not None and head.queue >= self.rx_queues:
            raise self.refusal(errno.EINVAL, f"queue {head.queue} is not active")

    def _location(self, asked: int) -> int:
        locations = self.profile.locations
        if asked == lib.RX_CLS_LOC_ANY and self.profile.takes_any:
            free = next((at for at in range(locations) if at not in self.rules), None)
            if free is None:
                raise self.refusal(errno.ENOSPC, "no free location")
            return free
        self.refuse_if(self._can.picks_locations, errno.EINVAL, "the location must be any")
        self.refuse_if(asked >= locations, errno.EINVAL, f"location {asked} of {locations}")
        return asked

    def _known(self, data: bytes) -> FlowRule | None:
        shape = codec.shape(data)
        if shape not in self._shapes:
            try:
                self._shapes[shape] = codec.decode_rule(shape, self.device)
            except NicprogError:
                self._shapes[shape] = None  # MAC addresses and the like
        return self._shapes[shape]

    def _check_driver_takes(self, rule: FlowRule) -> None:
        why = self._can.rule_limits.objection(rule)
        if why and (rule.queue is None or "idle-rules" not in self.quirks):
            code = errno.EOPNOTSUPP if rule.queue is None else errno.EINVAL
            raise self.refusal(code, f"the rule {why}")
        if self._can.masks_max is None and self._can.masks_max_per_flow is None:
            return
        # With the rule that it would replace: drivers compare before they replace.
        there = {id(item.known): item.known for item in self.rules.values()}
        others = [item for item in there.values() if item is not None]
        if not self._can.has_room_for_masks((*others, rule)):
            raise self.refusal(errno.EINVAL, "the rules there have another input set or mask")

    def delete(self, location: int) -> None:
        """Takes a rule away."""
        self.refuse_if(location not in self.rules, errno.ENOENT, f"no rule at location {location}")
        del self.rules[location]

    def refuse_if(self, wrong: bool, code: int, text: str = "") -> None:
        """Raises :meth:`refusal` when something is wrong."""
        if wrong:
            raise self.refusal(code, text)

    def refusal(self, code: int, text: str = "") -> RequestError:
        """An error as the kernel would give it."""
        name = "EOPNOTSUPP" if code == errno.EOPNOTSUPP else errno.errorcode[code]
        text = text or "the driver does not do this" if name == "EOPNOTSUPP" else text or "refused"
        return RequestError(f"{self.device}: {text} ({name})", code)

    def _table_size(self, queues: int) -> int:
        if "instance-without-rss" in self.quirks or not self.profile.has_channels:
            return 0
        growth = self._can.table_growth
        return growth.size(queues) if growth else self.profile.table_size

    def _default_table(self, size: int) -> tuple[int, ...]:
        return tuple(i % self.rx_rings for i in range(size))

    def _first_key(self) -> bytes:
        if "instance-without-rss" in self.quirks:
            return b""
        return (MICROSOFT_KEY * 2)[: self.profile.key_bytes]

    def in_order(self) -> Iterator[Rule]:
        """Rules, the one that wins first."""
        return (rule for _, rule in sorted(self.rules.items()))


def _is_symmetric(fields: HashField) -> bool:
    return fields & ADDRESSES in (0, ADDRESSES) and fields & PORTS in (0, PORTS)


def _profile(device: str, name: str) -> Profile:
    if name not in PROFILES:
        raise NicprogError(f"{device}: no model {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]


def _quirks(device: str, profile: str, asked: Sequence[str]) -> frozenset[str]:
    possible = {name: quirk for name, quirk in QUIRKS.items() if profile in quirk.profiles}
    for name in asked:
        if name not in possible:
            there = ", ".join(possible) or "none"
            raise NicprogError(f"{device}: {profile} has no quirk {name!r}; there are {there}")
    return frozenset(asked) | {name for name, quirk in possible.items() if quirk.always}
