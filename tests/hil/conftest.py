# SPDX-License-Identifier: Apache-2.0
"""One guest for all tests, and its NICs; without QEMU they are skipped, but not in CI."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from qstack.lab import Namespace
from tests.hil import inside
from tools.hil.guest import Guest, Images, new_folder, remove_folder
from tools.hil.packages import UnavailableError
from tools.hil.wire import DatagramWire, TapWire, Wire

TREE = Path(__file__).parents[2]
IGB_MAC, VIRTIO_MAC = "52:00:00:00:00:11", "52:00:00:00:00:10"
TAP = "hil0"
ARRIVAL_S = 20.0
PACE_S = 0.001


@dataclass
class Nic:
    """A NIC of the guest and what is at the other end of its wire."""

    guest: Guest
    name: str
    mac: str
    wire: Wire | None
    before: dict[str, object] = field(default_factory=dict)

    def send(self, frames: Sequence[bytes]) -> None:
        """Sends frames to it, slower than it takes them."""
        if self.wire is None:
            self.guest.call(inside.send, f"{self.name.replace('fnic', 'fnicw')}", _hex(frames))
            return
        for frame in frames:
            self.wire.send(frame)
            time.sleep(PACE_S)

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
        places = self.guest.call(inside.places, self.name, _hex(frames))
        expected: Counter[int] = Counter(queue for queue in places if queue is not None)
        dropped = places.count(None)
        before = self.guest.call(inside.received, self.name)
        self.send(frames)
        deadline = time.monotonic() + ARRIVAL_S
        while True:
            after = self.guest.call(inside.received, self.name)
            got = Counter({q: b - a for q, (a, b) in enumerate(zip(before, after, strict=True))})
            if got.total() >= len(frames) - dropped or time.monotonic() > deadline:
                return +expected, +got
            time.sleep(0.2)


def _hex(frames: Sequence[bytes]) -> list[str]:
    return [frame.hex() for frame in frames]


@pytest.fixture(scope="session")
def images() -> Images:
    if os.geteuid() != 0:
        pytest.skip("guests need root, for a TAP")
    try:
        return Images(TREE / "build/hil", TREE)
    except UnavailableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no guest here: {error}")


@pytest.fixture(scope="session")
def nics(images: Images) -> Iterator[dict[str, Nic]]:
    """igb, virtio and fnic in one guest."""
    name, folder = f"qs-hil-{os.getpid()}", new_folder()
    with ExitStack() as stack:
        stack.callback(remove_folder, folder)
        subprocess.run(["ip", "netns", "add", name], check=True)
        stack.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
        namespace = Namespace(name=name)
        tap = ["ip", "tuntap", "add", "dev", TAP, "mode", "tap", "multi_queue", "vnet_hdr"]
        quiet = ["sysctl", "-qw", f"net.ipv6.conf.{TAP}.disable_ipv6=1"]
        for args in (tap, quiet, ["ip", "link", "set", TAP, "up"]):
            namespace.run(args, check=True)
        with namespace.entered():
            to_virtio = stack.enter_context(TapWire(TAP))
        to_igb = stack.enter_context(DatagramWire(folder, "igb"))
        virtio = (
            f"virtio-net-pci,netdev=v,mq=on,vectors=10,rss=on,hash=on,romfile=,mac={VIRTIO_MAC}"
        )
        arguments = [
            *to_igb.netdev, "-device", "pcie-root-port,id=port1",
            "-device", f"igb,netdev=igb,bus=port1,romfile=,mac={IGB_MAC}",
            "-netdev", f"tap,id=v,ifname={TAP},script=no,downscript=no,queues=4,vhost=off",
            "-device", f"{virtio},mac={VIRTIO_MAC}",
        ]  # fmt: skip
        guest = stack.enter_context(Guest(images, arguments, folder, namespace))
        guest.call(inside.bring_up_name, "fnicw0")
        fnic = guest.call(inside.bring_up_name, "fnic0")
        found = {
            "igb": Nic(guest, guest.call(inside.bring_up, IGB_MAC), IGB_MAC, to_igb),
            "virtio": Nic(guest, guest.call(inside.bring_up, VIRTIO_MAC), VIRTIO_MAC, to_virtio),
            "fnic": Nic(guest, fnic, guest.call(inside.address, fnic), None),
        }
        for nic in found.values():
            nic.before = guest.call(inside.state, nic.name)
        yield found


@pytest.fixture
def fnic(nics: dict[str, Nic]) -> Iterator[Nic]:
    yield from _as_it_was(nics["fnic"])


@pytest.fixture
def igb(nics: dict[str, Nic]) -> Iterator[Nic]:
    yield from _as_it_was(nics["igb"])


@pytest.fixture
def virtio(nics: dict[str, Nic]) -> Iterator[Nic]:
    yield from _as_it_was(nics["virtio"])


@pytest.fixture(params=["igb", "virtio", "fnic"])
def nic(nics: dict[str, Nic], request: pytest.FixtureRequest) -> Iterator[Nic]:
    yield from _as_it_was(nics[request.param])


def _as_it_was(nic: Nic) -> Iterator[Nic]:
    yield nic
    nic.guest.call(inside.restore, nic.name, nic.before)
