# SPDX-License-Identifier: Apache-2.0
"""A NIC under test, in a guest or in this machine, and frames for it."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

import nicprog
from tests.hil import inside
from tools.hil.lanes import ABILITIES
from tools.hil.wire import Wire

ARRIVAL_S = 20.0


class Caller(Protocol):
    """Where the functions of `inside` run."""

    def call(self, function: Callable[..., Any], *arguments: Any, limit_s: float = ...) -> Any:
        """Calls one; its arguments and its result are of JSON's types."""


class Here:
    """They run in this process, on an interface that somebody has."""

    def call(self, function: Callable[..., Any], *arguments: Any, limit_s: float = 0) -> Any:
        """As `Caller` says, without a limit; what nicprog refuses skips the test."""
        try:
            return json.loads(json.dumps(function(*arguments)))
        except nicprog.Refused as error:
            pytest.skip(str(error))


@dataclass
class Nic:
    """A NIC and what is at the other end of its wire.

    Attributes:
        caller: The guest that has it, or this machine.
        kind: Name of its kind in tools.hil.lanes; ``device`` when it is somebody's own.
        name: Of the interface.
        mac: Its address.
        wire: Where frames go in; None: nowhere.
        lacks: Why it cannot do something, by `ABILITIES`.
        shifts_key: Its hash is of a shifted key.
        before: What it held at first.
    """

    caller: Caller
    kind: str
    name: str
    mac: str
    wire: Wire | None
    lacks: Mapping[str, str]
    shifts_key: bool = False
    before: dict[str, object] = field(default_factory=dict)

    def needs(self, *abilities: str) -> None:
        """Skips the test when the NIC lacks one, with the reason."""
        for ability in abilities:
            assert ability in ABILITIES
            if ability in self.lacks:
                pytest.skip(f"{self.kind}: {self.lacks[ability]}")

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function of `inside` where the NIC is, on the NIC."""
        return self.caller.call(function, self.name, *arguments)

    def frames(self, n: int, seed: int) -> list[bytes]:
        """Frames of ``n`` flows of TCP and UDP over both IP versions."""
        draw = random.Random(seed)
        return [self.frame(draw, version=4 + 2 * (i % 2)) for i in range(n)]

    def frame(
        self,
        draw: random.Random,
        version: int = 4,
        dst_port: int | None = None,
        udp: bool | None = None,
    ) -> bytes:
        """One frame with what is given; the rest is drawn."""
        source, port = draw.randrange(1024, 65536), dst_port or draw.randrange(1, 65536)
        is_udp = draw.random() < 0.5 if udp is None else udp
        ip: Packet
        if version == 4:
            ip = IP(src=f"10.{draw.randrange(256)}.{draw.randrange(256)}.9", dst="10.0.0.2")
        else:
            ip = IPv6(src=f"fd00::{draw.randrange(65536):x}", dst="fd01::2")
        l4 = UDP(sport=source, dport=port) if is_udp else TCP(sport=source, dport=port, flags="S")
        head = Ether(src="52:00:00:00:00:99", dst=self.mac)
        return bytes(head / ip / l4 / Raw(b"x" * 18)).ljust(60, b"\0")

    def spread(self, frames: Sequence[bytes]) -> tuple[Counter[int], Counter[int]]:
        """Sends frames: where ``nicprog where`` sees them, and where they were counted."""
        self.needs("wire", "counters", "where")
        places = self.call(inside.places, [frame.hex() for frame in frames], self.shifts_key)
        expected: Counter[int] = Counter(queue for queue in places if queue is not None)
        return expected, self.counted(frames, len(frames) - places.count(None))

    def counted(self, frames: Sequence[bytes], arrivals: int) -> Counter[int]:
        """Sends frames until so many were counted; how many each queue got."""
        before = self.call(inside.received)
        assert self.wire is not None
        self.wire.send(frames)
        deadline = time.monotonic() + ARRIVAL_S
        while True:
            after = self.call(inside.received)
            got = Counter({q: b - a for q, (a, b) in enumerate(zip(before, after, strict=True))})
            if got.total() >= arrivals or time.monotonic() > deadline:
                return +got
            time.sleep(0.2)
