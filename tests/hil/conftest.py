# SPDX-License-Identifier: Apache-2.0
"""The NICs of one lane in one guest, or somebody's own; what is not there is a skip, in CI not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import nicprog
from qstack.lab import Namespace
from tests.hil import inside
from tests.hil.nic import Here, Nic
from tools.hil.guest import Guest, Images, new_folder, remove_folder
from tools.hil.lanes import ABILITIES, LANES, Lane, NicKind, Wire
from tools.hil.packages import UnavailableError
from tools.hil.wire import DatagramWire, InterfaceWire

TREE = Path(__file__).parents[2]
TAP = "hil0"
DEVICE = "device"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of ``nic`` is one for each NIC of the lane."""
    if "nic" in metafunc.fixturenames:
        own = metafunc.config.getoption("--hil-device")
        names = [DEVICE] if own else [nic.name for nic in _lane(metafunc.config).nics]
        metafunc.parametrize("nic", names, indirect=True)


def _lane(config: pytest.Config) -> Lane:
    return LANES[config.getoption("--hil-lane")]


@dataclass(frozen=True)
class ModuleWire:
    """Another interface of the guest."""

    guest: Guest
    ifname: str

    def send(self, frames: Sequence[bytes]) -> None:
        """As tools.hil.wire.Wire says."""
        self.guest.call(inside.send, self.ifname, [frame.hex() for frame in frames])


@dataclass(frozen=True)
class Lab:
    """A guest, the namespace where its TAP is, and the wires of its NICs."""

    guest: Guest
    namespace: Namespace
    wires: dict[str, DatagramWire | InterfaceWire]


@pytest.fixture(scope="session")
def lane(pytestconfig: pytest.Config) -> Lane:
    return _lane(pytestconfig)


@pytest.fixture(scope="session")
def images(lane: Lane) -> Images:
    if os.geteuid() != 0:
        pytest.skip("guests need root, for a TAP")
    try:
        return Images(TREE / "build/hil", TREE, lane)
    except UnavailableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no guest here: {error}")


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, lane: Lane) -> Iterator[Lab]:
    """The guest of the lane."""
    if request.config.getoption("--hil-device"):
        pytest.skip("needs a guest")
    images: Images = request.getfixturevalue("images")
    name, folder = f"qs-hil-{os.getpid()}", new_folder()
    with ExitStack() as stack:
        stack.callback(remove_folder, folder)
        subprocess.run(["ip", "netns", "add", name], check=True)
        stack.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
        namespace = Namespace(name=name)
        wires: dict[str, DatagramWire | InterfaceWire] = {}
        arguments: list[str] = []
        for kind in lane.nics:
            if kind.wire is Wire.DATAGRAMS:
                wires[kind.name] = wire = stack.enter_context(DatagramWire(folder, kind.name))
                arguments += wire.netdev
            elif kind.wire is Wire.TAP:
                wires[kind.name] = stack.enter_context(_tap(namespace))
                tap = f"tap,id={kind.name},ifname={TAP},script=no,downscript=no,queues=4,vhost=off"
                arguments += ["-netdev", tap]
            arguments += [part.format(name=kind.name, mac=kind.mac) for part in kind.device]
        guest = stack.enter_context(Guest(images, arguments, folder, namespace))
        yield Lab(guest, namespace, wires)


def _tap(namespace: Namespace) -> InterfaceWire:
    tap = ["ip", "tuntap", "add", "dev", TAP, "mode", "tap", "multi_queue", "vnet_hdr"]
    quiet = ["sysctl", "-qw", f"net.ipv6.conf.{TAP}.disable_ipv6=1"]
    for args in (tap, quiet, ["ip", "link", "set", TAP, "up"]):
        namespace.run(args, check=True)
    with namespace.entered():
        return InterfaceWire(TAP)


@pytest.fixture(scope="session")
def nics(request: pytest.FixtureRequest) -> Iterator[dict[str, Nic]]:
    """By name: those of the lane, or ``device``."""
    config = request.config
    if config.getoption("--hil-device"):
        device, peer = config.getoption("--hil-device"), config.getoption("--hil-peer")
        with _own(device, peer) as nic:
            yield {DEVICE: nic}
        return
    lab: Lab = request.getfixturevalue("lab")
    found = {kind.name: _guests(lab, kind) for kind in _lane(config).nics}
    for nic in found.values():
        nic.before = nic.call(inside.state)
    yield found


def _guests(lab: Lab, kind: NicKind) -> Nic:
    if kind.wire is Wire.MODULE:
        name, peer = f"{kind.name}0", f"{kind.name}w0"
        for one in (name, peer):
            lab.guest.call(inside.bring_up_name, one)
        mac = lab.guest.call(inside.address, name)
        return Nic(lab.guest, kind.name, name, mac, ModuleWire(lab.guest, peer), kind.lacks)
    name, wire = lab.guest.call(inside.bring_up, kind.mac), lab.wires[kind.name]
    return Nic(lab.guest, kind.name, name, kind.mac, wire, kind.lacks, kind.shifts_key)


@contextmanager
def _own(device: str, peer: str | None) -> Iterator[Nic]:
    """Somebody's NIC, which is as before at the end, and so is the interface at its other end."""
    if os.geteuid() != 0:
        pytest.skip("NICs are programmed by root")
    interfaces = [device] + ([peer] if peer else [])
    with ExitStack() as stack:
        for name in interfaces:
            stack.callback(inside.set_link, name, inside.link_settings(name))
            inside.turn_on(name)
        try:
            lacks, before = inside.lacks(device), inside.state(device)
        except nicprog.NicprogError as error:
            lacks, before = dict.fromkeys(ABILITIES, str(error)), {}
        lacks.pop("wire", None)
        if peer is None:
            lacks["wire"] = "no --hil-peer sends frames to it"
        try:
            inside.wait_for_carrier(device)
        except TimeoutError as error:
            lacks["wire"] = str(error)
        wire = stack.enter_context(InterfaceWire(peer)) if peer else None
        yield Nic(Here(), DEVICE, device, inside.address(device), wire, lacks, before=before)
        if before:
            assert inside.state(device) == before


@pytest.fixture
def nic(nics: dict[str, Nic], request: pytest.FixtureRequest) -> Iterator[Nic]:
    yield from _as_it_was(nics[request.param])


def _one(request: pytest.FixtureRequest, name: str) -> Iterator[Nic]:
    there = request.getfixturevalue("nics")
    if name not in there:
        pytest.skip(f"needs {name}, here is {', '.join(there)}")
    yield from _as_it_was(there[name])


@pytest.fixture
def fnic(request: pytest.FixtureRequest) -> Iterator[Nic]:
    yield from _one(request, "fnic")


@pytest.fixture
def virtio(request: pytest.FixtureRequest) -> Iterator[Nic]:
    yield from _one(request, "virtio")


@pytest.fixture
def macb(request: pytest.FixtureRequest) -> Iterator[Nic]:
    yield from _one(request, "macb")


def _as_it_was(nic: Nic) -> Iterator[Nic]:
    yield nic
    if nic.before:
        nic.call(inside.restore, nic.before)
