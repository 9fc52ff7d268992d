# SPDX-License-Identifier: Apache-2.0
"""Carries ethtool structures to a model in the same process, with faults when asked for."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from nicprog._ethtool import ffi, lib
from nicprog.backends import codec
from nicprog.errors import DeviceError, RequestError
from nicprog.ethtool import Channels, Coalesce, HashField, HashFunction, InputTransform, Rings
from nicprog.ethtool.rules import FlowType
from nicprog.settings import NTUPLE
from nicprog.sim.nic import SimNic

_T = TypeVar("_T")

_COALESCE: Final = "struct ethtool_coalesce"
_RXFH: Final = struct.Struct("=4IBB2sI")  # cmd, context, entries, key bytes, function, transform
_MASK_BYTES: Final = 512
"""Of the queues in ``struct ethtool_per_queue_op``."""
_READS: Final = frozenset(
    {
        lib.ETHTOOL_GDRVINFO, lib.ETHTOOL_GCHANNELS, lib.ETHTOOL_GRINGPARAM, lib.ETHTOOL_GCOALESCE,
        lib.ETHTOOL_GSSET_INFO, lib.ETHTOOL_GSTRINGS, lib.ETHTOOL_GSTATS, lib.ETHTOOL_GFEATURES,
        lib.ETHTOOL_GRXFH, lib.ETHTOOL_GRSSH, lib.ETHTOOL_GRXRINGS, lib.ETHTOOL_GRXCLSRLCNT,
        lib.ETHTOOL_GRXCLSRULE, lib.ETHTOOL_GRXCLSRLALL, lib.ETHTOOL_GPFLAGS,
    }
)  # fmt: skip


class Died(BaseException):
    """The process ends here: nothing that handles errors may catch it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens at one request.

    Attributes:
        at: Number of the request, counted from 1.
        errno: What the NIC refuses with, or None: the process dies.
        late: Only after the request took effect.
    """

    at: int
    errno: int | None
    late: bool = False


class SimTransport:
    """A :class:`nicprog.ethtool.Transport` to a :class:`SimNic`.

    Attributes:
        nic: The model.
        requests: Requests so far.
        faults: Those to come.
    """

    def __init__(
        self, nic: SimNic, faults: Sequence[Fault] = (), save: Callable[[], None] | None = None
    ) -> None:
        """``save`` is called after changes."""
        self.nic = nic
        self.requests = 0
        self.faults = {fault.at: fault for fault in faults}
        self._save = save
        self._is_open = True
        self._do: Final[dict[int, Callable[[bytes], bytes]]] = {
            lib.ETHTOOL_GDRVINFO: self._info,
            lib.ETHTOOL_GCHANNELS: self._get_channels,
            lib.ETHTOOL_SCHANNELS: self._set_channels,
            lib.ETHTOOL_GRINGPARAM: self._get_rings,
            lib.ETHTOOL_SRINGPARAM: self._set_rings,
            lib.ETHTOOL_GCOALESCE: self._get_coalesce,
            lib.ETHTOOL_SCOALESCE: self._set_coalesce,
            lib.ETHTOOL_PERQUEUE: self._per_queue,
            lib.ETHTOOL_GPFLAGS: self._get_flags,
            lib.ETHTOOL_SPFLAGS: self._set_flags,
            lib.ETHTOOL_GSSET_INFO: self._count_strings,
            lib.ETHTOOL_GSTRINGS: self._strings,
            lib.ETHTOOL_GSTATS: self._statistics,
            lib.ETHTOOL_GFEATURES: self._get_features,
            lib.ETHTOOL_SFEATURES: self._set_features,
            lib.ETHTOOL_GRXFH: self._get_hashed,
            lib.ETHTOOL_SRXFH: self._set_hashed,
            lib.ETHTOOL_GRSSH: self._get_rss,
            lib.ETHTOOL_SRSSH: self._set_rss,
            lib.ETHTOOL_GRXRINGS: self._get_rings_of_table,
            lib.ETHTOOL_GRXCLSRLCNT: self._count_rules,
            lib.ETHTOOL_GRXCLSRULE: self._get_rule,
            lib.ETHTOOL_GRXCLSRLALL: self._list_rules,
            lib.ETHTOOL_SRXCLSRLINS: self._insert,
            lib.ETHTOOL_SRXCLSRLDEL: self._delete,
        }

    def ask(self, command: int, payload: bytes, room: int = 0) -> bytes:
        """One request; an answer longer than ``payload`` and ``room`` is a fault of the caller."""
        answer = self._ask(command, payload)
        if self._save and command not in _READS:
            self._save()
        if len(answer) > len(payload) + room:
            raise self.nic.refusal(errno.EFAULT, "the answer needs more room")
        return answer

    def ask_many(self, command: int, payloads: Sequence[bytes]) -> Iterator[bytes | RequestError]:
        """One after the other, saved together."""
        try:
            for payload in payloads:
                try:
                    yield self._ask(command, payload)
                except RequestError as error:
                    yield error
        finally:
            if self._save and command not in _READS:
                self._save()

    def close(self) -> None:
        """No more requests; the model stays."""
        self._is_open = False

    def _ask(self, command: int, payload: bytes) -> bytes:
        if not self._is_open:
            raise DeviceError(f"{self.nic.device}: was closed; open it again")
        do = self._do.get(command)
        if do is None:
            raise self.nic.refusal(errno.EOPNOTSUPP)
        return self.counted(lambda: do(payload))

    def counted(self, request: Callable[[], _T]) -> _T:
        """One request, whatever carries it, with the fault that is due."""
        return self._strike(request, lambda number: self.nic.refusal(number, os.strerror(number)))

    def access(self, access: Callable[[], Any]) -> Any:
        """One access to a file of the host or to irqbalance, counted as the requests are."""
        before = self.nic.host.to_json() if self._save else None
        done = self._strike(access, lambda number: OSError(number, os.strerror(number)))
        if self._save and self.nic.host.to_json() != before:
            self._save()
        return done

    def saved(self) -> None:
        """Keeps what was changed by another way than :meth:`ask`."""
        if self._save:
            self._save()

    def _strike(self, do: Callable[[], _T], refusal: Callable[[int], RequestError | OSError]) -> _T:
        """Does it, unless there is a fault at this request."""
        if not self._is_open:
            raise DeviceError(f"{self.nic.device}: was closed; open it again")
        self.requests += 1
        fault = self.faults.pop(self.requests, None) if self.faults else None
        if fault is None:
            return do()
        if fault.late:
            with suppress(RequestError, OSError):
                do()
        if fault.errno is not None:
            raise refusal(fault.errno)
        self._is_open = False
        raise Died(f"at request {fault.at}")

    def _info(self, payload: bytes) -> bytes:
        info = ffi.new("struct ethtool_drvinfo *")
        info.cmd = lib.ETHTOOL_GDRVINFO
        info.driver, info.version = self.nic.profile.driver.encode(), b"sim"
        info.bus_info = b"sim"
        return bytes(ffi.buffer(info))

    def _get_channels(self, payload: bytes) -> bytes:
        self.nic.refuse_if(not self.nic.profile.has_channels, errno.EOPNOTSUPP)
        kind = "struct ethtool_channels"
        return bytes(ffi.buffer(self.nic.channels.to_struct(kind, lib.ETHTOOL_GCHANNELS)))

    def _set_channels(self, payload: bytes) -> bytes:
        self.nic.set_channels(Channels.from_struct(_read("struct ethtool_channels", payload)))
        return payload

    def _get_rings(self, payload: bytes) -> bytes:
        kind = "struct ethtool_ringparam"
        return bytes(ffi.buffer(self.nic.rings.to_struct(kind, lib.ETHTOOL_GRINGPARAM)))

    def _set_rings(self, payload: bytes) -> bytes:
        self.nic.set_rings(Rings.from_struct(_read("struct ethtool_ringparam", payload)))
        return payload

    def _get_coalesce(self, payload: bytes) -> bytes:
        kind = "struct ethtool_coalesce"
        return bytes(ffi.buffer(self.nic.coalesce.to_struct(kind, lib.ETHTOOL_GCOALESCE)))

    def _set_coalesce(self, payload: bytes) -> bytes:
        self.nic.set_coalesce(Coalesce.from_struct(_read("struct ethtool_coalesce", payload)))
        return payload

    def _names(self, string_set: int) -> Sequence[str]:
        if string_set == lib.ETH_SS_STATS:
            return [
                f"rx_queue_{queue}_{what}"
                for queue in range(self.nic.rx_queues)
                for what in ("packets", "bytes")
            ]
        if string_set == lib.ETH_SS_FEATURES:
            return (*self.nic.features, NTUPLE)
        if string_set == lib.ETH_SS_PRIV_FLAGS:
            return tuple(self.nic.private_flags)
        return ()

    def _count_strings(self, payload: bytes) -> bytes:
        command, _, mask = struct.unpack("=IIQ", payload)
        count = len(self._names(mask.bit_length() - 1))
        return struct.pack("=IIQI", command, 0, mask if count else 0, count)

    def _strings(self, payload: bytes) -> bytes:
        command, string_set, _ = struct.unpack("=III", payload)
        names = [
            name.encode().ljust(lib.ETH_GSTRING_LEN, b"\0") for name in self._names(string_set)
        ]
        return struct.pack("=III", command, string_set, len(names)) + b"".join(names)

    def _statistics(self, payload: bytes) -> bytes:
        values = [
            number
            for queue in range(self.nic.rx_queues)
            for number in self.nic.received.get(queue, (0, 0))
        ]
        return struct.pack(f"=II{len(values)}Q", lib.ETHTOOL_GSTATS, len(values), *values)

    def _get_features(self, payload: bytes) -> bytes:
        states = {**self.nic.features, NTUPLE: self.nic.ntuple}
        fixed = set() if self.nic.profile.locations else {NTUPLE}
        can, on = _bits(states, lambda name: name not in fixed), _bits(states, states.__getitem__)
        return struct.pack("=6I", lib.ETHTOOL_GFEATURES, 1, can, on, on, 0)

    def _set_features(self, payload: bytes) -> bytes:
        _, _, valid, requested = struct.unpack("=4I", payload)
        for index, name in enumerate(self._names(lib.ETH_SS_FEATURES)):
            wanted = bool(requested >> index & 1)
            if not valid >> index & 1:
                continue
            if name == NTUPLE:
                self.nic.set_ntuple(wanted)
            else:
                self.nic.features[name] = wanted
        return payload

    def _get_flags(self, payload: bytes) -> bytes:
        flags = self.nic.private_flags
        return struct.pack("=II", lib.ETHTOOL_GPFLAGS, _bits(flags, flags.__getitem__))

    def _set_flags(self, payload: bytes) -> bytes:
        _, bits = struct.unpack("=II", payload)
        for index, name in enumerate(self.nic.private_flags):
            self.nic.private_flags[name] = bool(bits >> index & 1)
        return payload

    def _per_queue(self, payload: bytes) -> bytes:
        _, sub_command = struct.unpack_from("=II", payload)
        head, rest = payload[: 8 + _MASK_BYTES], payload[8 + _MASK_BYTES :]
        mask = int.from_bytes(head[8:], "little")
        queues = [queue for queue in range(mask.bit_length()) if mask >> queue & 1]
        for queue in queues:
            self.nic.check_queue(queue)
        if sub_command == lib.ETHTOOL_GCOALESCE:
            return head + b"".join(
                bytes(ffi.buffer(self._coalesce_of(q).to_struct(_COALESCE, sub_command)))
                for q in queues
            )
        size = ffi.sizeof(_COALESCE)
        pieces = [rest[at : at + size] for at in range(0, size * len(queues), size)]
        wanted = [Coalesce.from_struct(_read(_COALESCE, piece)) for piece in pieces]
        for one in wanted:
            self.nic.check_coalesce(one)
        self.nic.coalesce_of |= dict(zip(queues, wanted, strict=True))
        return payload

    def _coalesce_of(self, queue: int) -> Coalesce:
        return self.nic.coalesce_of.get(queue, self.nic.coalesce)

    def _flow(self, request: bytes) -> tuple[FlowType, int]:
        """Kind of packet, and the context that it is about."""
        (flow,) = struct.unpack_from("=I", request, 4)
        number = struct.unpack_from("=I", request, 184)[0] if flow & lib.FLOW_RSS else 0
        try:
            return FlowType(flow & ~lib.FLOW_RSS), number
        except ValueError:
            raise self.nic.refusal(errno.EINVAL) from None

    def _get_hashed(self, payload: bytes) -> bytes:
        flow, number = self._flow(payload)
        fields = self.nic.fields(number).get(flow, HashField(0))
        return payload[:8] + struct.pack("=Q", fields) + payload[16:]

    def _set_hashed(self, payload: bytes) -> bytes:
        (fields,) = struct.unpack_from("=Q", payload, 8)
        flow, number = self._flow(payload)
        self.nic.set_hashed(flow, HashField(fields), number)
        return payload

    def _get_rss(self, payload: bytes) -> bytes:
        command, number, entries, key_bytes = struct.unpack_from("=4I", payload)
        held = self.nic.context(number)
        for asked, size in ((entries, len(held.table)), (key_bytes, len(held.key))):
            self.nic.refuse_if(asked not in (0, size), errno.EINVAL)
        head = _RXFH.pack(
            command, number, len(held.table), len(held.key), held.function, held.transform, b"", 0
        )
        table = struct.pack(f"={len(held.table)}I", *held.table) if entries else b""
        return head + table + (held.key if key_bytes else b"")

    def _set_rss(self, payload: bytes) -> bytes:
        command, number, entries, key_bytes, function, transform, *reserved = _RXFH.unpack_from(
            payload
        )
        first = self.nic.context(0)
        no_change = entries == lib.ETH_RXFH_INDIR_NO_CHANGE
        self.nic.refuse_if(reserved != [bytes(2), 0], errno.EINVAL)
        sizes = {0, lib.ETH_RXFH_INDIR_NO_CHANGE, len(first.table)}
        self.nic.refuse_if(
            entries not in sizes or key_bytes not in (0, len(first.key)), errno.EINVAL
        )
        is_new = number == lib.ETH_RXFH_CONTEXT_ALLOC
        self.nic.refuse_if(is_new and not entries, errno.EINVAL)
        if not entries and number:
            self.nic.delete_context(number)
            return payload
        changes: dict[str, object] = {}
        key_at = _RXFH.size + (0 if no_change else 4 * entries)
        if entries and not no_change:
            table = struct.unpack_from(f"={entries}I", payload, _RXFH.size)
            changes |= {"table": table, "is_set": True}
        if key_bytes:
            changes["key"] = payload[key_at : key_at + key_bytes]
        if function:
            changes["function"] = HashFunction(function)
        held = InputTransform(0) if is_new else self.nic.context(number).transform
        if transform != held:
            changes["transform"] = InputTransform(transform)
        if is_new:
            return (
                _RXFH.pack(command, self.nic.new_context(changes), *_RXFH.unpack_from(payload)[2:])
                + payload[_RXFH.size :]
            )
        self.nic.set_rss(number, changes)
        if not entries:
            self.nic.reset_table()
        return payload

    def _get_rings_of_table(self, payload: bytes) -> bytes:
        self.nic.refuse_if(not self.nic.rx_rings, errno.EOPNOTSUPP)
        return payload[:8] + struct.pack("=Q", self.nic.rx_rings) + payload[16:]

    def _count_rules(self, payload: bytes) -> bytes:
        locations = self.nic.profile.locations
        self.nic.refuse_if(not locations, errno.EOPNOTSUPP)
        data = 0 if "untold-locations" in self.nic.quirks else locations
        if self.nic.profile.takes_any:
            data |= lib.RX_CLS_LOC_SPECIAL
        count = struct.pack("=I", len(self.nic.rules))
        return payload[:8] + struct.pack("=Q", data) + payload[16:184] + count + payload[188:]

    def _get_rule(self, payload: bytes) -> bytes:
        location = codec.rule_head(payload).location
        rule = self.nic.rules.get(location)
        if rule is None:
            raise self.nic.refusal(errno.ENOENT, f"no rule at location {location}")
        return payload[:4] + rule.data[4:]

    def _list_rules(self, payload: bytes) -> bytes:
        (room,) = struct.unpack_from("=I", payload, 184)
        count = len(self.nic.rules)
        self.nic.refuse_if(count > room, errno.EMSGSIZE)
        head = payload[:8] + struct.pack("=Q", self.nic.profile.locations) + payload[16:184]
        at = lib.NICPROG_RULE_LOCS_OFFSET
        answer = head + struct.pack(f"=I{count}I", count, *sorted(self.nic.rules))
        assert at == 188
        return answer.ljust(len(payload), b"\0")

    def _insert(self, payload: bytes) -> bytes:
        location = self.nic.insert(payload)
        return (
            payload
            if location == codec.rule_head(payload).location
            else codec.at(payload, location)
        )

    def _delete(self, payload: bytes) -> bytes:
        self.nic.delete(codec.rule_head(payload).location)
        return payload


def _bits(names: Iterable[str], is_set: Callable[[str], bool]) -> int:
    return sum(1 << index for index, name in enumerate(names) if is_set(name))


def _read(kind: str, payload: bytes) -> object:
    """A copy of the structure that a request holds."""
    structure = ffi.new(f"{kind} *")
    ffi.memmove(structure, payload, ffi.sizeof(kind))
    return structure
