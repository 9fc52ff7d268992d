# SPDX-License-Identifier: Apache-2.0
"""A NIC in memory that answers by the published offsets, without the code under test."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nicprog.errors import RequestError

FLOW_RSS = 0x2000_0000
ALLOCATE = NO_CHANGE = 0xFFFF_FFFF
ENTRIES, KEY = 4, 8
FLAGS = ("legacy-rx", "link-down-on-close", "fw-lldp-agent")
COALESCE = struct.Struct("=23I")


class FakeNic:
    """A transport to it: contexts, hashed fields, private flags, coalescing of two queues."""

    def __init__(self) -> None:
        self.flags = 0b010
        self.contexts: dict[int, dict[str, Any]] = {0: self.fresh()}
        self.hashed: dict[tuple[int, int], int] = {}
        self.coalesce = dict.fromkeys(range(2), (0,) * 22)
        self._do: dict[int, Callable[[bytearray], None]] = {
            0x1B: self._strings,
            0x27: self._get_flags,
            0x28: self._set_flags,
            0x29: self._get_hashed,
            0x2A: self._set_hashed,
            0x37: self._set_info,
            0x46: self._get_rss,
            0x47: self._set_rss,
            0x4B: self._per_queue,
        }

    def fresh(self) -> dict[str, Any]:
        return {"table": (0, 1, 0, 1), "key": bytes(KEY), "hfunc": 1, "xfrm": 1}

    def ask(self, command: int, payload: bytes, room: int = 0) -> bytes:
        data = bytearray(payload) + bytes(room)
        assert struct.unpack_from("=I", data) == (command,)
        self._do[command](data)
        assert len(data) == len(payload) + room, "the kernel would have written behind the buffer"
        return bytes(data)

    def ask_many(self, command: int, payloads: Sequence[bytes]) -> Iterator[bytes | RequestError]:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def _set_info(self, data: bytearray) -> None:
        assert struct.unpack_from("=Q", data, 8) == (1 << 2,)
        struct.pack_into("=I", data, 16, len(FLAGS))

    def _strings(self, data: bytearray) -> None:
        struct.pack_into("=I", data, 8, len(FLAGS))
        for index, name in enumerate(FLAGS):
            struct.pack_into("32s", data, 12 + 32 * index, name.encode())

    def _get_flags(self, data: bytearray) -> None:
        struct.pack_into("=I", data, 4, self.flags)

    def _set_flags(self, data: bytearray) -> None:
        (self.flags,) = struct.unpack_from("=I", data, 4)

    def _flow(self, data: bytearray) -> tuple[int, int]:
        (flow,), (context,) = struct.unpack_from("=I", data, 4), struct.unpack_from("=I", data, 184)
        return flow & ~FLOW_RSS, context if flow & FLOW_RSS else 0

    def _get_hashed(self, data: bytearray) -> None:
        struct.pack_into("=Q", data, 8, self.hashed.get(self._flow(data), 0))

    def _set_hashed(self, data: bytearray) -> None:
        (self.hashed[self._flow(data)],) = struct.unpack_from("=Q", data, 8)

    def _get_rss(self, data: bytearray) -> None:
        _, number, entries, key = struct.unpack_from("=4I", data)
        if number not in self.contexts:
            raise RequestError("no such context", errno.ENOENT)
        held = self.contexts[number]
        struct.pack_into("=IIBB", data, 8, ENTRIES, KEY, held["hfunc"], held["xfrm"])
        if entries:
            struct.pack_into("=4I", data, 24, *held["table"])
        if key:
            data[24 + 4 * entries : 24 + 4 * entries + key] = held["key"]

    def _set_rss(self, data: bytearray) -> None:
        _, number, entries, key, hfunc, xfrm = struct.unpack_from("=4IBB", data)
        if entries == 0 and number not in (0, ALLOCATE):
            del self.contexts[number]
            return
        if number == ALLOCATE:
            number = max(self.contexts) + 1
            self.contexts[number] = self.fresh()
            struct.pack_into("=I", data, 4, number)
        held = self.contexts[number]
        held["xfrm"] = xfrm
        held["hfunc"] = hfunc or held["hfunc"]
        at = 24
        if entries not in (0, NO_CHANGE):
            held["table"] = struct.unpack_from("=4I", data, at)
            at += 4 * entries
        if key:
            held["key"] = bytes(data[at : at + key])
            at += key
        assert at == len(data)

    def _per_queue(self, data: bytearray) -> None:
        (sub,) = struct.unpack_from("=I", data, 4)
        mask = int.from_bytes(data[8:520], "little")
        queues = [queue for queue in range(4096) if mask >> queue & 1]
        for at, queue in enumerate(queues):
            if queue not in self.coalesce:
                raise RequestError("no such queue", errno.EINVAL)
            if sub == 0x0E:
                COALESCE.pack_into(data, 520 + 92 * at, sub, *self.coalesce[queue])
            else:
                command, *words = COALESCE.unpack_from(data, 520 + 92 * at)
                assert command == sub == 0x0F
                self.coalesce[queue] = tuple(words)
