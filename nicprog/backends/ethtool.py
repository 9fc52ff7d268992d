# SPDX-License-Identifier: Apache-2.0
"""A NIC that is programmed by the ethtool structures, whatever carries them."""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, Self

from nicprog._ethtool import ffi, lib
from nicprog.actions import (
    Action,
    DeleteRule,
    InsertRule,
    ResetTable,
    SetChannels,
    SetKey,
    SetTable,
)
from nicprog.backends import Counters, QueueCounters, codec
from nicprog.errors import DeviceError, NicprogError, RequestError
from nicprog.ethtool.transport import Transport
from nicprog.model import Capabilities, Channels, FlowRule, NicState, RssTable

MICROSOFT_KEY: Final = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)

# What a driver does not tell: the key it starts with, and how many different masks rules can have.
_UNTOLD: Final[dict[str, dict[str, Any]]] = {
    "qs_soft": {"default_key": MICROSOFT_KEY, "masks_max": 16},
}
_RXFH_BYTES: Final = ffi.sizeof("struct ethtool_rxfh")
_LIST_ATTEMPTS: Final = 5
_GET_RULE: Final[int] = lib.ETHTOOL_GRXCLSRULE


class EthtoolNic:
    """A :class:`nicprog.backends.Backend` over a transport."""

    def __init__(self, device: str, instance: str, transport: Transport) -> None:
        self.device = device
        self.instance = instance
        self._transport = transport
        self._capabilities: Capabilities | None = None

    def capabilities(self) -> Capabilities:
        """What the NIC can do; asked once."""
        if self._capabilities is None:
            info = self._get(lib.ETHTOOL_GDRVINFO, "struct ethtool_drvinfo")
            driver = ffi.string(info.driver).decode("ascii", "replace")
            rss, _, _ = self._rss()
            self._capabilities = Capabilities(
                driver=driver,
                bus=ffi.string(info.bus_info).decode("ascii", "replace"),
                queues_max=self._get(lib.ETHTOOL_GCHANNELS, "struct ethtool_channels").max_combined,
                table_size=rss.indir_size,
                key_bytes=rss.key_size,
                locations=self._rule_count().data & ~lib.RX_CLS_LOC_SPECIAL,
                **_UNTOLD.get(driver, {}),
            )
        return self._capabilities

    def read(self) -> NicState:
        """Everything that the NIC holds now."""
        channels = self._get(lib.ETHTOOL_GCHANNELS, "struct ethtool_channels")
        _, table, key = self._rss()
        try:
            return NicState(
                channels=Channels(combined=channels.combined_count),
                table=RssTable(entries=table),
                key=key,
                rules=self._rules(),
            )
        except ValueError as error:
            raise NicprogError(f"{self.device}: holds what cannot be: {error}") from None

    def run(self, action: Action) -> None:
        """Makes one change, or none."""
        match action:
            case InsertRule() | DeleteRule():
                self._transport.ask(*_rule_request(action))
            case SetTable():
                table = struct.pack(f"={len(action.entries)}I", *action.entries)
                self._set_rss(table, indir_size=len(action.entries))
            case ResetTable():
                self._set_rss(b"", indir_size=0)
            case SetKey():
                no_change = lib.ETH_RXFH_INDIR_NO_CHANGE
                self._set_rss(action.key, indir_size=no_change, key_size=len(action.key))
            case SetChannels():
                channels = self._get(lib.ETHTOOL_GCHANNELS, "struct ethtool_channels")
                channels.cmd = lib.ETHTOOL_SCHANNELS
                channels.combined_count = action.combined
                self._transport.ask(lib.ETHTOOL_SCHANNELS, codec.as_bytes(channels))

    def run_rules(self, actions: Sequence[InsertRule | DeleteRule]) -> list[RequestError | None]:
        """Makes several changes to different locations, without waiting for each."""
        results: list[RequestError | None] = []
        for command, group in groupby(map(_rule_request, actions), key=itemgetter(0)):
            answers = self._transport.ask_many(command, [payload for _, payload in group])
            results += [answer if isinstance(answer, RequestError) else None for answer in answers]
        return results

    def counters(self) -> Counters:
        """Counters at this moment."""
        values = dict(self._counters())
        queues: dict[int, dict[str, int]] = {}
        hits: dict[int, int] = {}
        totals: dict[str, int] = {}
        for name, value in values.items():
            if found := re.fullmatch(r"rx_queue_(\d+)_(packets|bytes)", name):
                queues.setdefault(int(found[1]), {"packets": 0, "bytes": 0})[found[2]] = value
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

    def close(self) -> None:
        """Ends the connection; what was set stays."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _get(self, command: int, kind: str, **fields: int) -> Any:
        request = ffi.new(f"{kind} *")
        request.cmd = command
        for name, value in fields.items():
            setattr(request, name, value)
        answer = self._transport.ask(command, codec.as_bytes(request))
        return codec.from_bytes(kind, answer, self.device)

    def _rss(self) -> tuple[Any, tuple[int, ...], bytes]:
        """Head, table and key: first asked for their sizes, then with room for them."""
        sizes = self._get(lib.ETHTOOL_GRSSH, "struct ethtool_rxfh")
        request = ffi.new("struct ethtool_rxfh *")
        request.cmd = lib.ETHTOOL_GRSSH
        request.indir_size, request.key_size = sizes.indir_size, sizes.key_size
        room = bytes(4 * sizes.indir_size + sizes.key_size)
        answer = self._transport.ask(lib.ETHTOOL_GRSSH, codec.as_bytes(request) + room)
        head = codec.from_bytes("struct ethtool_rxfh", answer, self.device)
        key_at = _RXFH_BYTES + 4 * head.indir_size
        if len(answer) < key_at + head.key_size:
            raise NicprogError(f"{self.device}: the answer lacks part of the table or key")
        table = struct.unpack_from(f"={head.indir_size}I", answer, _RXFH_BYTES)
        return head, table, answer[key_at : key_at + head.key_size]

    def _set_rss(self, tail: bytes, *, indir_size: int, key_size: int = 0) -> None:
        request = ffi.new("struct ethtool_rxfh *")
        request.cmd = lib.ETHTOOL_SRSSH
        request.indir_size, request.key_size = indir_size, key_size
        self._transport.ask(lib.ETHTOOL_SRSSH, codec.as_bytes(request) + tail)

    def _rule_count(self) -> Any:
        return self._get(lib.ETHTOOL_GRXCLSRLCNT, "struct ethtool_rxnfc")

    def _rules(self) -> tuple[FlowRule, ...]:
        """All rules. Another program may change them between the requests: then once more."""
        for _ in range(_LIST_ATTEMPTS):
            try:
                return self._rules_once()
            except RequestError as error:
                if error.errno not in (errno.EMSGSIZE, errno.ENOENT):
                    raise
        raise DeviceError(f"{self.device}: its rules change faster than they can be read")

    def _rules_once(self) -> tuple[FlowRule, ...]:
        count = self._rule_count().rule_cnt
        if count == 0:
            return ()
        request = codec.new_rxnfc(lib.ETHTOOL_GRXCLSRLALL, rule_cnt=count)
        tail_at = lib.NICPROG_RULE_LOCS_OFFSET
        room = codec.as_bytes(request)[:tail_at].ljust(tail_at + 4 * count, b"\0")
        answer = self._transport.ask(lib.ETHTOOL_GRXCLSRLALL, room.ljust(codec.RXNFC_BYTES, b"\0"))
        count = codec.from_bytes("struct ethtool_rxnfc", answer, self.device).rule_cnt
        if len(answer) < tail_at + 4 * count:
            raise NicprogError(f"{self.device}: the answer lacks part of the list of rules")
        locations = sorted(struct.unpack_from(f"={count}I", answer, tail_at))
        requests = [codec.at_location(_GET_RULE, location) for location in locations]
        answers = self._transport.ask_many(_GET_RULE, requests)
        return tuple(codec.decode_rule(_answered(answer), self.device) for answer in answers)

    def _counters(self) -> list[tuple[str, int]]:
        """Names and values; rules may come and go in between, so both must agree in number."""
        for _ in range(_LIST_ATTEMPTS):
            names = self._strings()
            head = struct.pack("=II", lib.ETHTOOL_GSTATS, len(names))
            answer = self._transport.ask(lib.ETHTOOL_GSTATS, head)
            count = codec.from_bytes("struct ethtool_stats", answer, self.device).n_stats
            if count == len(names) and len(answer) >= 8 + 8 * count:
                return list(zip(names, struct.unpack_from(f"={count}Q", answer, 8), strict=True))
        raise DeviceError(f"{self.device}: its counters change faster than they can be read")

    def _strings(self) -> list[str]:
        head = struct.pack("=IIQ", lib.ETHTOOL_GSSET_INFO, 0, 1 << lib.ETH_SS_STATS)
        answer = self._transport.ask(lib.ETHTOOL_GSSET_INFO, head)
        if len(answer) < 20:
            raise NicprogError(f"{self.device}: the answer lacks the number of counters")
        (count,) = struct.unpack_from("=I", answer, 16)
        size = lib.ETH_GSTRING_LEN
        head = struct.pack("=III", lib.ETHTOOL_GSTRINGS, lib.ETH_SS_STATS, count)
        answer = self._transport.ask(lib.ETHTOOL_GSTRINGS, head)
        count = codec.from_bytes("struct ethtool_gstrings", answer, self.device).len
        texts = answer[12 : 12 + size * count]
        return [
            texts[at : at + size].split(b"\0")[0].decode("ascii", "replace")
            for at in range(0, len(texts), size)
        ]


def _rule_request(action: InsertRule | DeleteRule) -> tuple[int, bytes]:
    if isinstance(action, InsertRule):
        return lib.ETHTOOL_SRXCLSRLINS, codec.encode_rule(action.rule)
    return lib.ETHTOOL_SRXCLSRLDEL, codec.at_location(lib.ETHTOOL_SRXCLSRLDEL, action.location)


def _answered(answer: bytes | RequestError) -> bytes:
    if isinstance(answer, RequestError):
        raise answer
    return answer
