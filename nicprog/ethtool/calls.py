# SPDX-License-Identifier: Apache-2.0
"""One method for each thing that ethtool reads or sets, over any transport.

All methods raise RequestError when the NIC refuses and then have changed nothing, and DeviceError
when it is gone or there is no right to it. Setting needs CAP_NET_ADMIN, reading mostly nothing.
"""

from __future__ import annotations

import difflib
import errno
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

from nicprog._ethtool import ffi, lib
from nicprog.errors import DeviceError, NicprogError, RequestError
from nicprog.ethtool import rules
from nicprog.ethtool.rules import FlowType, HashField, RxRule
from nicprog.ethtool.transport import IoctlTransport, Transport
from nicprog.ethtool.values import (
    Channels,
    Coalesce,
    DriverInfo,
    Feature,
    HashFunction,
    InputTransform,
    Rings,
    Rss,
    RuleTable,
)

_RXFH_BYTES: Final = ffi.sizeof("struct ethtool_rxfh")
_RXNFC_BYTES: Final = ffi.sizeof("struct ethtool_rxnfc")
_RULE_LOCS_AT: Final[int] = lib.NICPROG_RULE_LOCS_OFFSET
_TRANSFORM_AT: Final = ffi.offsetof("struct ethtool_rxfh", "hfunc") + 1
_COALESCE_BYTES: Final = ffi.sizeof("struct ethtool_coalesce")
_QUEUES_MAX: Final = 4096  # bits of the mask of struct ethtool_per_queue_op
_ATTEMPTS: Final = 5
_SPARE: Final = 1024  # the kernel writes as many names and values as there are by then


def open_interface(device: str) -> Ethtool:
    """Opens a network interface of the network namespace of the calling thread.

    Raises:
        DeviceError: There is none of that name.
    """
    return Ethtool(device, IoctlTransport(device))


class Ethtool:
    """The calls on one NIC. Use it from one thread at a time."""

    def __init__(self, device: str, transport: Transport) -> None:
        """Takes over ``transport`` and closes it with itself."""
        self.device = device
        self._transport = transport

    def close(self) -> None:
        """Ends the connection; what was set stays."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def driver_info(self) -> DriverInfo:
        """Driver, versions and bus."""
        info = self._get(lib.ETHTOOL_GDRVINFO, "struct ethtool_drvinfo")
        return DriverInfo(
            driver=_text(info.driver),
            version=_text(info.version),
            firmware=_text(info.fw_version),
            bus=_text(info.bus_info),
        )

    def channels(self) -> Channels:
        """Active queues and their maxima."""
        return Channels.from_struct(self._get(lib.ETHTOOL_GCHANNELS, "struct ethtool_channels"))

    def set_channels(self, wanted: Channels) -> None:
        """Sets the four counts; the maxima are not looked at."""
        self._ask(wanted.to_struct("struct ethtool_channels", lib.ETHTOOL_SCHANNELS))

    def rings(self) -> Rings:
        """Descriptors of the rings and their maxima."""
        return Rings.from_struct(self._get(lib.ETHTOOL_GRINGPARAM, "struct ethtool_ringparam"))

    def set_rings(self, wanted: Rings) -> None:
        """Sets the four sizes; mostly stops traffic for a moment."""
        self._ask(wanted.to_struct("struct ethtool_ringparam", lib.ETHTOOL_SRINGPARAM))

    def coalesce(self) -> Coalesce:
        """When all queues interrupt."""
        return Coalesce.from_struct(self._get(lib.ETHTOOL_GCOALESCE, "struct ethtool_coalesce"))

    def set_coalesce(self, wanted: Coalesce) -> None:
        """Sets all parameters; one that the driver does not have must be 0."""
        self._ask(wanted.to_struct("struct ethtool_coalesce", lib.ETHTOOL_SCOALESCE))

    def coalesce_of_queues(self, queues: Iterable[int]) -> dict[int, Coalesce]:
        """When each of ``queues`` interrupts.

        Raises:
            ValueError: A queue is not 0 to 4095.
        """
        wanted = sorted(set(queues))
        head = _per_queue(lib.ETHTOOL_GCOALESCE, wanted)
        answer = self._transport.ask(lib.ETHTOOL_PERQUEUE, head, room=len(wanted) * _COALESCE_BYTES)
        kind = "struct ethtool_coalesce"
        starts = range(len(head), len(answer), _COALESCE_BYTES)
        return {
            queue: Coalesce.from_struct(self._structure(kind, answer[at:]))
            for queue, at in zip(wanted, starts, strict=True)
        }

    def set_coalesce_of_queues(self, wanted: Mapping[int, Coalesce]) -> None:
        """Sets the queues named; the kernel puts back those already set when one is refused.

        Raises:
            ValueError: A queue is not 0 to 4095.
        """
        queues = sorted(wanted)
        tail = b"".join(
            bytes(ffi.buffer(wanted[q].to_struct("struct ethtool_coalesce", lib.ETHTOOL_SCOALESCE)))
            for q in queues
        )
        self._transport.ask(lib.ETHTOOL_PERQUEUE, _per_queue(lib.ETHTOOL_SCOALESCE, queues) + tail)

    def features(self) -> dict[str, Feature]:
        """Offloads and other features by the kernel's names, for example ``rx-ntuple-filter``."""
        names = self.strings(lib.ETH_SS_FEATURES)
        words = -(-len(names) // 32)
        head = struct.pack("=II", lib.ETHTOOL_GFEATURES, words)
        answer = self._transport.ask(lib.ETHTOOL_GFEATURES, head, room=16 * words)
        blocks = list(struct.iter_unpack("=IIII", answer[8 : 8 + 16 * words]))
        found = {}
        for index, name in enumerate(names):
            available, requested, active, never = (
                bool(word >> index % 32 & 1) for word in blocks[index // 32]
            )
            if name:
                found[name] = Feature(
                    active=active, requested=requested, changeable=available and not never
                )
        return found

    def set_features(self, wanted: Mapping[str, bool]) -> dict[str, Feature]:
        """Asks for features to be on or off and reads all of them back.

        One that another feature keeps off reads back requested and not active: that is no error.

        Raises:
            RequestError: One is not known (ENOENT) or cannot be changed (EOPNOTSUPP).
        """
        names, now = self.strings(lib.ETH_SS_FEATURES), self.features()
        _check_known(self.device, "feature", wanted, now)
        for name in wanted:
            if not now[name].changeable and now[name].active != wanted[name]:
                text = f"feature {name!r} is fixed {'on' if now[name].active else 'off'}"
                raise RequestError(
                    f"{self.device}: {text} (EOPNOTSUPP); leave it out", errno.EOPNOTSUPP
                )
        blocks = [[0, 0] for _ in range(-(-len(names) // 32))]
        for index, name in enumerate(names):
            if name in wanted and now[name].changeable:
                blocks[index // 32][0] |= 1 << index % 32
                blocks[index // 32][1] |= int(wanted[name]) << index % 32
        tail = b"".join(struct.pack("=II", *block) for block in blocks)
        head = struct.pack("=II", lib.ETHTOOL_SFEATURES, len(blocks))
        self._transport.ask(lib.ETHTOOL_SFEATURES, head + tail)
        return self.features()

    def private_flags(self) -> dict[str, bool]:
        """The driver's own switches by its names; empty when it has none."""
        names = self.strings(lib.ETH_SS_PRIV_FLAGS)
        if not names:
            return {}
        bits = self._get(lib.ETHTOOL_GPFLAGS, "struct ethtool_value").data
        return {name: bool(bits >> index & 1) for index, name in enumerate(names)}

    def set_private_flags(self, wanted: Mapping[str, bool]) -> None:
        """Sets the flags named and leaves the others.

        Raises:
            RequestError: One is not known (ENOENT), or the driver refuses.
        """
        flags = self.private_flags()
        _check_known(self.device, "private flag", wanted, flags)
        request = ffi.new("struct ethtool_value *")
        request.cmd = lib.ETHTOOL_SPFLAGS
        request.data = sum(
            1 << index for index, name in enumerate(flags) if wanted.get(name, flags[name])
        )
        self._ask(request)

    def statistics(self) -> tuple[tuple[str, int], ...]:
        """The driver's counters, name and value in its order; names and meanings are its own."""
        for _ in range(_ATTEMPTS):
            names = self.strings(lib.ETH_SS_STATS)
            if not names:
                return ()
            head = struct.pack("=II", lib.ETHTOOL_GSTATS, len(names))
            answer = self._transport.ask(lib.ETHTOOL_GSTATS, head, 8 * (len(names) + _SPARE))
            count = self._structure("struct ethtool_stats", answer).n_stats
            # Queues and rules may come and go in between: then names and values do not fit.
            if count == len(names) and len(answer) >= 8 + 8 * count:
                return tuple(zip(names, struct.unpack_from(f"={count}Q", answer, 8), strict=True))
        raise DeviceError(f"{self.device}: its counters change faster than they can be read")

    def strings(self, string_set: int) -> list[str]:
        """Names of one set (``ETH_SS_*``) in order; empty when there is no such set."""
        head = struct.pack("=IIQ", lib.ETHTOOL_GSSET_INFO, 0, 1 << string_set)
        answer = self._transport.ask(lib.ETHTOOL_GSSET_INFO, head, room=4)
        (mask,) = struct.unpack_from("=Q", answer, 8)
        if not mask:
            return []
        if len(answer) < 20:
            raise NicprogError(f"{self.device}: the answer lacks the number of names")
        (count,) = struct.unpack_from("=I", answer, 16)
        if not count:
            return []
        size = lib.ETH_GSTRING_LEN
        head = struct.pack("=III", lib.ETHTOOL_GSTRINGS, string_set, count)
        answer = self._transport.ask(lib.ETHTOOL_GSTRINGS, head, size * (count + _SPARE))
        count = self._structure("struct ethtool_gstrings", answer).len
        texts = answer[12 : 12 + size * count]
        return [
            texts[at : at + size].split(b"\0")[0].decode("ascii", "replace")
            for at in range(0, len(texts), size)
        ]

    def rss(self, context: int = 0) -> Rss:
        """Table, key, hash function and transform of a context; 0 is that of all other packets."""
        sizes = self._rss_head(context)
        request = ffi.new("struct ethtool_rxfh *")
        request.cmd, request.rss_context = lib.ETHTOOL_GRSSH, context
        request.indir_size, request.key_size = sizes.indir_size, sizes.key_size
        room = 4 * sizes.indir_size + sizes.key_size
        answer = self._transport.ask(lib.ETHTOOL_GRSSH, bytes(ffi.buffer(request)), room)
        head = self._structure("struct ethtool_rxfh", answer)
        key_at = _RXFH_BYTES + 4 * head.indir_size
        if len(answer) < key_at + head.key_size:
            raise NicprogError(f"{self.device}: the answer lacks part of the table or key")
        return Rss(
            table=struct.unpack_from(f"={head.indir_size}I", answer, _RXFH_BYTES),
            key=answer[key_at : key_at + head.key_size],
            function=HashFunction(head.hfunc),
            transform=InputTransform(answer[_TRANSFORM_AT]),
        )

    def set_rss(
        self,
        *,
        context: int = 0,
        table: Sequence[int] | None = None,
        key: bytes | None = None,
        function: HashFunction | None = None,
        transform: InputTransform | None = None,
    ) -> None:
        """Sets what is given of one context and leaves the rest.

        Args:
            context: From :meth:`new_rss_context`, or 0.
            table: Queue of each entry, as many as the NIC has.
            key: As long as the NIC's.
            function: One of those that the driver has.
            transform: Kernel 6.8 or later.

        Raises:
            RequestError: Also when table or key has not the NIC's size (EINVAL).
            ValueError: Nothing is given, or ``table`` is empty (see :meth:`reset_rss_table`).
        """
        if table is None and key is None and function is None and transform is None:
            raise ValueError("nothing to set: give table, key, function or transform")
        if table is not None and not table:
            raise ValueError("an indirection table needs at least one entry")
        sizes = self._rss_head(context)
        self._check_size("table", "entries", table, sizes.indir_size)
        self._check_size("key", "bytes", key, sizes.key_size)
        self._write_rss(context, table, key, function, transform)

    def reset_rss_table(self) -> None:
        """Sets the driver's default table, which follows the number of queues."""
        self._write_rss(0, (), None, None, None)

    def new_rss_context(
        self,
        table: Sequence[int],
        key: bytes | None = None,
        function: HashFunction | None = None,
        transform: InputTransform | None = None,
    ) -> int:
        """Makes an RSS context, which flow rules can name; what is not given the driver chooses.

        Returns:
            Its number.

        Raises:
            RequestError: The driver has no contexts (EOPNOTSUPP) or no more (ENOSPC, EBUSY).
        """
        sizes = self._rss_head(0)
        self._check_size("table", "entries", table, sizes.indir_size)
        self._check_size("key", "bytes", key, sizes.key_size)
        answer = self._write_rss(lib.ETH_RXFH_CONTEXT_ALLOC, table, key, function, transform)
        return int(self._structure("struct ethtool_rxfh", answer).rss_context)

    def delete_rss_context(self, context: int) -> None:
        """Takes an RSS context away.

        Raises:
            RequestError: There is none (ENOENT), or a rule names it (EBUSY).
            ValueError: ``context`` is 0, which cannot be taken away.
        """
        if context == 0:
            raise ValueError("context 0 is the NIC's own; reset its table instead")
        self._write_rss(context, (), None, None, None)

    def rx_rings(self) -> int:
        """RX queues that table and rules may name; with some drivers fewer than the channels."""
        return int(self._get(lib.ETHTOOL_GRXRINGS, "struct ethtool_rxnfc").data)

    def hash_fields(self, flow: FlowType, context: int | None = None) -> HashField:
        """Fields of ``flow`` that are hashed; 0 is none."""
        return HashField(self._hash_fields(lib.ETHTOOL_GRXFH, flow, context, 0).data)

    def set_hash_fields(
        self, flow: FlowType, wanted: HashField, context: int | None = None
    ) -> None:
        """Sets the fields of ``flow`` that are hashed."""
        self._hash_fields(lib.ETHTOOL_SRXFH, flow, context, int(wanted))

    def rule_table(self) -> RuleTable:
        """Size of the table of flow rules."""
        answer = self._get(lib.ETHTOOL_GRXCLSRLCNT, "struct ethtool_rxnfc")
        special = lib.RX_CLS_LOC_SPECIAL
        return RuleTable(
            rules=answer.rule_cnt,
            locations=answer.data & ~special,
            chooses=bool(answer.data & special),
        )

    def rule_locations(self) -> tuple[int, ...]:
        """Locations of all rules, in order. Rules that come in between are read too."""
        for _ in range(_ATTEMPTS):
            try:
                return self._rule_locations(self.rule_table().rules)
            except RequestError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
        raise DeviceError(f"{self.device}: its rules change faster than they can be read")

    def rule(self, location: int) -> RxRule:
        """The rule at ``location``.

        Raises:
            RequestError: There is none (ENOENT; some drivers say EINVAL).
            NicprogError: It holds what :class:`RxRule` cannot.
        """
        request = self._rxnfc(lib.ETHTOOL_GRXCLSRULE)
        request.fs.location = location
        answer = self._structure("struct ethtool_rxnfc", self._ask(request))
        return rules.decode(answer, self.device)

    def insert_rule(self, rule: RxRule) -> int:
        """Writes ``rule`` to its location, over the rule that may be there.

        Returns:
            Its location, which the driver chose when it was one of the ``LOCATION_*``.
        """
        answer = self._ask(rules.encode(rule, lib.ETHTOOL_SRXCLSRLINS))
        return int(self._structure("struct ethtool_rxnfc", answer).fs.location)

    def delete_rule(self, location: int) -> None:
        """Takes away the rule at ``location``.

        Raises:
            RequestError: There is none (ENOENT; some drivers say EINVAL).
        """
        request = self._rxnfc(lib.ETHTOOL_SRXCLSRLDEL)
        request.fs.location = location
        self._ask(request)

    def _rule_locations(self, count: int) -> tuple[int, ...]:
        if count == 0:
            return ()
        request = self._rxnfc(lib.ETHTOOL_GRXCLSRLALL)
        request.rule_cnt = count
        answer = self._ask(request, room=max(0, _RULE_LOCS_AT + 4 * count - _RXNFC_BYTES))
        count = self._structure("struct ethtool_rxnfc", answer).rule_cnt
        if len(answer) < _RULE_LOCS_AT + 4 * count:
            raise NicprogError(f"{self.device}: the answer lacks part of the list of rules")
        return tuple(sorted(struct.unpack_from(f"={count}I", answer, _RULE_LOCS_AT)))

    def _hash_fields(self, command: int, flow: FlowType, context: int | None, data: int) -> Any:
        request = self._rxnfc(command)
        request.flow_type, request.data = flow, data
        if context is not None:
            request.flow_type |= lib.FLOW_RSS
            request.rss_context = context
        return self._structure("struct ethtool_rxnfc", self._ask(request))

    def _rss_head(self, context: int) -> Any:
        return self._get(lib.ETHTOOL_GRSSH, "struct ethtool_rxfh", rss_context=context)

    def _write_rss(
        self,
        context: int,
        table: Sequence[int] | None,
        key: bytes | None,
        function: HashFunction | None,
        transform: InputTransform | None,
    ) -> bytes:
        request = ffi.new("struct ethtool_rxfh *")
        request.cmd, request.rss_context = lib.ETHTOOL_SRSSH, context
        request.indir_size = lib.ETH_RXFH_INDIR_NO_CHANGE if table is None else len(table)
        request.key_size = len(key or b"")
        request.hfunc = function or 0
        head = bytearray(ffi.buffer(request))
        # Only since 6.8 a value means "leave it"; before, it must be 0. What it is serves both.
        is_new = context == lib.ETH_RXFH_CONTEXT_ALLOC
        if transform is None:
            transform = InputTransform(0) if is_new else self.rss(context).transform
        head[_TRANSFORM_AT] = transform
        tail = struct.pack(f"={len(table or ())}I", *(table or ()))
        return self._transport.ask(lib.ETHTOOL_SRSSH, bytes(head) + tail + (key or b""))

    def _check_size(self, name: str, unit: str, given: Sequence[int] | None, size: int) -> None:
        if given is not None and len(given) != size:
            text = f"the {name} has {len(given)} {unit}, the NIC takes exactly {size}"
            raise RequestError(f"{self.device}: {text} (EINVAL)", errno.EINVAL)

    @staticmethod
    def _rxnfc(command: int) -> Any:
        request = ffi.new("struct ethtool_rxnfc *")
        request.cmd = command
        return request

    def _get(self, command: int, kind: str, **values: int) -> Any:
        request = ffi.new(f"{kind} *")
        request.cmd = command
        for name, value in values.items():
            setattr(request, name, value)
        return self._structure(kind, self._ask(request))

    def _ask(self, request: Any, room: int = 0) -> bytes:
        return self._transport.ask(request.cmd, bytes(ffi.buffer(request)), room)

    def _structure(self, kind: str, data: bytes) -> Any:
        """A copy of the structure at the start of an answer."""
        structure = ffi.new(f"{kind} *")
        size = ffi.sizeof(kind)
        if len(data) < size:
            raise NicprogError(f"{self.device}: answered {len(data)} bytes where {kind} has {size}")
        ffi.memmove(structure, data, size)
        return structure


def _text(array: Any) -> str:
    return str(ffi.string(array).decode("ascii", "replace"))


def _per_queue(command: int, queues: Sequence[int]) -> bytes:
    for queue in queues:
        if not 0 <= queue < _QUEUES_MAX:
            raise ValueError(f"queues are 0 to {_QUEUES_MAX - 1}, got {queue}")
    request = ffi.new("struct ethtool_per_queue_op *")
    request.cmd, request.sub_command = lib.ETHTOOL_PERQUEUE, command
    for queue in queues:
        request.queue_mask[queue // 32] |= 1 << queue % 32
    return bytes(ffi.buffer(request))


def _check_known(
    device: str, what: str, wanted: Mapping[str, object], there: Mapping[str, object]
) -> None:
    for name in wanted:
        if name not in there:
            close = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {len(there)} of them"
            raise RequestError(f"{device}: no {what} {name!r} (ENOENT); {hint}", errno.ENOENT)
