# SPDX-License-Identifier: Apache-2.0
"""Hostile frames at a bounded rate, from a packet socket.

python -m tools.soak.flood '{...}', the fields of `Target`: prints how many frames of each kind
were sent, as one line of JSON, when its standard input ends.
"""

from __future__ import annotations

import json
import random
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

TICK_S = 0.01
POOL_FRAMES = 1500
AIMED_FRAMES = 40
AIMED_EVERY_S = 1.0
_TCP_ESTABLISHED = "01"
_VERSION_AT = 14
_TCP_AT = {4: 34, 6: 54}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where frames go and whom they claim to come from.

    Attributes:
        ifname: Device to send on.
        server_mac: Ethernet destination.
        client_mac: Ethernet source.
        server: IPv4 and IPv6 address under attack.
        client: Addresses of the honest clients, for frames that pretend to be theirs.
        port: Where the server listens.
        per_second: Frames a second, all kinds together.
        seed: Of everything that is drawn.
    """

    ifname: str
    server_mac: str
    client_mac: str
    server: tuple[str, str]
    client: tuple[str, str]
    port: int
    per_second: int
    seed: int


class Forge:
    """Makes frames of every kind."""

    def __init__(self, target: Target) -> None:
        """Take the target; the same seed makes the same frames."""
        self._target = target
        self._random = random.Random(target.seed)
        self._kinds: dict[str, Callable[[], bytes]] = {
            "syn": lambda: self._stranger("S", options=True),
            "rst": lambda: self._stranger("R"),
            "ack": lambda: self._stranger("A", self._random.randbytes(self._random.randrange(64))),
            "client_syn": lambda: self._as_client("S", self._port()),
            "flags": self._any_flags,
            "options": self._any_options,
            "bits": self._flipped,
            "short": lambda: self._stranger("SPA", b"x" * 40)[: self._random.randrange(14, 90)],
            "icmp": self._too_big,
            "noise": self._noise,
        }

    def pool(self, n: int) -> list[tuple[str, bytes]]:
        """Return `n` frames with their kinds; half of them are SYNs of strangers."""
        kinds = list(self._kinds)
        drawn = (self._random.choice([*kinds, *["syn"] * len(kinds)]) for _ in range(n))
        return [(kind, self._kinds[kind]()) for kind in drawn]

    def with_another_port(self, frame: bytes) -> bytes:
        """Return a segment of a stranger as if from another source port; its checksum stays right.

        The first half of the sequence number gives what the port takes, so that their sum, which is
        all that a checksum knows, is the same.
        """
        at = _TCP_AT[frame[_VERSION_AT] >> 4]
        port, high = struct.unpack_from("!H2xH", frame, at)
        drawn = self._random.randint(max(1, port + high - 0xFFFF), min(0xFFFF, port + high))
        changed = bytearray(frame)
        struct.pack_into("!H", changed, at, drawn)
        struct.pack_into("!H", changed, at + 4, port + high - drawn)
        return bytes(changed)

    def aimed(self, ports: list[int], n: int) -> list[tuple[str, bytes]]:
        """Return frames on the 4-tuples of living connections, with sequence numbers guessed.

        They carry no payload: one guess in a million would be taken, as RFC 5961 section 5 allows,
        and an honest transfer would be wrong by right.
        """
        drawn = self._random
        return [
            (f"aimed_{flags}", self._as_client(flags, drawn.choice(ports)))
            for flags in drawn.choices(("R", "S", "A", "RA"), k=n)
        ]

    def _port(self) -> int:
        return self._random.randrange(1024, 65536)

    def _word(self) -> int:
        return self._random.getrandbits(32)

    def _ip(self, version: int, source: str) -> Packet:
        made = (IP if version == 4 else IPv6)(src=source, dst=self._target.server[version == 6])
        return Ether(src=self._target.client_mac, dst=self._target.server_mac) / made

    def _stranger(self, flags: str, payload: bytes = b"", *, options: bool = False) -> bytes:
        """Return a segment from an address that nobody has."""
        version = self._random.choice((4, 6))
        word = self._word()
        source = (
            f"100.{64 + (word >> 18) % 64}.{word >> 8 & 255}.{word & 255}"  # RFC 6598
            if version == 4
            else f"2001:db8::{word >> 16:x}:{word & 0xFFFF:x}"  # RFC 3849
        )
        segment = TCP(sport=self._port(), dport=self._target.port, flags=flags)
        segment.seq, segment.ack = self._word(), self._word() if "A" in flags else 0
        if options:
            segment.options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (word, 0))]
        return bytes(self._ip(version, source) / segment / Raw(payload))

    def _as_client(self, flags: str, port: int) -> bytes:
        version = self._random.choice((4, 6))
        segment = TCP(sport=port, dport=self._target.port, flags=flags, window=1024)
        segment.seq, segment.ack = self._word(), self._word()
        return bytes(self._ip(version, self._target.client[version == 6]) / segment)

    def _any_flags(self) -> bytes:
        frame = Ether(self._stranger("A"))
        frame[TCP].flags = self._random.getrandbits(9)
        frame[TCP].urgptr = self._random.getrandbits(16)
        del frame[TCP].chksum
        return bytes(frame)

    def _any_options(self) -> bytes:
        """Return a SYN whose 40 octets of options are noise, with a right checksum."""
        frame = Ether(self._stranger("S"))
        frame[TCP].options = [("NOP", None)] * 40
        whole = bytearray(bytes(frame))
        whole[-40:] = self._random.randbytes(40)
        frame = Ether(bytes(whole))
        del frame[TCP].chksum
        return bytes(frame)

    def _flipped(self) -> bytes:
        """Return a segment with a few bits wrong behind the Ethernet header."""
        frame = bytearray(self._stranger("A", b"y" * 30))
        for _ in range(self._random.randrange(1, 5)):
            frame[self._random.randrange(14, len(frame))] ^= 1 << self._random.randrange(8)
        return bytes(frame)

    def _too_big(self) -> bytes:
        """Return a report of a small path MTU about octets never sent."""
        target = self._target
        quoted = IP(src=target.server[0], dst=target.client[0]) / TCP(
            sport=target.port, dport=self._port(), seq=self._word()
        )
        message = ICMP(type=3, code=4, nexthopmtu=self._random.getrandbits(16))
        return bytes(self._ip(4, target.client[0]) / message / quoted)

    def _noise(self) -> bytes:
        head = bytes(Ether(dst=self._target.server_mac, src=self._target.client_mac, type=0x800))
        return head + self._random.randbytes(self._random.randrange(1, 300))


def client_ports(port: int) -> list[int]:
    """Return the local ports of this namespace's connections to `port`."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]:
            local, remote, state = line.split()[1:4]
            if state == _TCP_ESTABLISHED and int(remote.rpartition(":")[2], 16) == port:
                found.append(int(local.rpartition(":")[2], 16))
    return found


def run(target: Target) -> Counter[str]:
    """Send until standard input ends; return how many of each kind."""
    forge, sent = Forge(target), Counter[str]()
    pool = forge.pool(POOL_FRAMES)
    aimed: list[tuple[str, bytes]] = []
    aim_s = started_s = time.monotonic()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((target.ifname, 0))
        due = 0
        while not select.select([sys.stdin], [], [], TICK_S)[0]:
            now_s = time.monotonic()
            if now_s >= aim_s:
                aim_s = now_s + AIMED_EVERY_S
                ports = client_ports(target.port)
                aimed = forge.aimed(ports, AIMED_FRAMES) if ports else []
            for kind, frame in aimed[-1:]:
                aimed.pop()
                sock.send(frame)
                sent[kind] += 1
            # What was late is left out: after a pause of the machine there is no burst.
            batch = min(int((now_s - started_s) * target.per_second) - due, target.per_second // 20)
            for kind, frame in (pool[(due + i) % len(pool)] for i in range(batch)):
                try:
                    sock.send(forge.with_another_port(frame) if kind == "syn" else frame)
                except OSError:
                    kind = "not_sent"
                sent[kind] += 1
            due = int((now_s - started_s) * target.per_second)
    return sent


if __name__ == "__main__":
    print(json.dumps(run(Target(**json.loads(sys.argv[1])))), flush=True)
