# SPDX-License-Identifier: Apache-2.0
"""Which guests there are, as data: machine, kernel, NICs, and what a NIC's driver cannot do there.

Tests ask for what they need, and are skipped with the reason that stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

CODENAME: Final = "bookworm"
"""The Debian whose programs are taken, whatever this machine has: they run on later ones, too."""

_STABLE: Final = (CODENAME, f"{CODENAME}-updates", f"{CODENAME}-security")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A kind of machine that QEMU can be.

    Attributes:
        arch: As Debian calls it.
        package: With QEMU for it.
        program: The emulator.
        arguments: That make the machine.
        append: What its kernel is told.
        virtio: What names of virtio devices end with.
        modules: What its kernel needs before the files of the host are there.
        triple: Of compilers, when it is of another kind than this machine; else empty.
        tools: Packages that compile for it, besides clang.
        programs: Packages of its own world; empty when it runs the programs of this machine.
    """

    arch: str
    package: str
    program: str
    arguments: tuple[str, ...]
    append: str
    virtio: str
    modules: tuple[str, ...]
    triple: str = ""
    tools: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


X86: Final = Machine(
    arch="amd64",
    package="qemu-system-x86",
    program="qemu-system-x86_64",
    arguments=("-M", "q35", "-cpu", "qemu64"),
    append="console=ttyS0 tsc=reliable no_timer_check mitigations=off",
    virtio="pci",
    modules=(
        "virtio_pci", "virtio_console", "virtio_rng", "9pnet_virtio", "9p", "overlay",
    ),
)  # fmt: skip

# The machine with Cadence's NIC that has the screeners by which its rules steer.
VERSAL: Final = Machine(
    arch="arm64",
    package="qemu-system-arm",
    program="qemu-system-aarch64",
    arguments=("-M", "xlnx-versal-virt", "-global", "cadence_gem.num-type2-screeners=8"),
    append="console=ttyAMA0 iomem=relaxed",
    virtio="device",
    modules=("virtio_mmio", "virtio_console", "virtio_rng", "9pnet_virtio", "9p", "overlay"),
    triple="aarch64-linux-gnu",
    tools=("binutils-aarch64-linux-gnu",),
    programs=("python3.11", "python3-cffi-backend", "iproute2", "coreutils"),
)


class Wire(Enum):
    """What is at the other end of a NIC.

    Attributes:
        DATAGRAMS: The test, by a socket.
        TAP: The kernel of this machine, by a TAP.
        MODULE: Another interface of the guest.
    """

    DATAGRAMS = "datagrams"
    TAP = "tap"
    MODULE = "module"


@dataclass(frozen=True, slots=True, kw_only=True)
class NicKind:
    """One NIC of a guest.

    Attributes:
        name: Of tests.
        driver: As it calls itself.
        mac: Address; empty when the module chooses it.
        wire: What is at its other end.
        device: QEMU's arguments for it; ``{name}`` and ``{mac}`` are put in.
        modules: That drive it.
        registers: What is written into the machine before they are loaded, by address.
        lacks: Why the driver cannot do something, by :data:`ABILITIES`.
        shifts_key: It has the quirk ``shifted-key``.
    """

    name: str
    driver: str
    mac: str
    wire: Wire
    device: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    registers: Mapping[int, int] = field(default_factory=dict)
    lacks: Mapping[str, str] = field(default_factory=dict)
    shifts_key: bool = False


ABILITIES: Final = {
    "state": "queues that nicprog can program",
    "channels": "combined channels, at least four, that can be set",
    "table": "an indirection table that can be set",
    "where": "a hash that can be computed, since its key is known",
    "key": "a hash key that can be set",
    "fields": "hashed fields that can be set",
    "rules": "flow rules",
    "drops": "flow rules that drop",
    "contexts": "RSS contexts",
    "interrupts": "an interrupt for each queue",
    "faults": "faults on demand",
    "counters": "packets counted by queue",
    "wire": "something that sends frames to it",
    "zero-copy": "AF_XDP without copies",
}
"""What tests need of a NIC."""

_NO_FAULTS: Final = {"faults": "only a driver of ours fails when it is told to"}
_COPIES: Final = "its driver has AF_XDP with copies alone in this kernel"
_PLAIN: Final = {
    **_NO_FAULTS,
    "contexts": "no emulated NIC has RSS contexts",
    "rules": "no emulated NIC of a PC has flow rules",
    "drops": "no emulated NIC of a PC has flow rules",
    "zero-copy": _COPIES,
}

IGB: Final = NicKind(
    name="igb",
    driver="igb",
    mac="52:00:00:00:00:11",
    wire=Wire.DATAGRAMS,
    device=(
        "-device", "pcie-root-port,id=port1",
        "-device", "igb,netdev={name},bus=port1,romfile=,mac={mac}",
    ),
    modules=("igb",),
    lacks={**_PLAIN, "key": "its driver neither shows nor sets a key in this kernel"},
)  # fmt: skip

VIRTIO: Final = NicKind(
    name="virtio",
    driver="virtio_net",
    mac="52:00:00:00:00:10",
    wire=Wire.TAP,
    device=(
        "-device",
        "virtio-net-pci,netdev={name},mq=on,vectors=10,rss=on,hash=on,romfile=,mac={mac}",
    ),
    modules=("virtio_net",),
    lacks=_PLAIN,
)

FNIC: Final = NicKind(
    name="fnic",
    driver="fnic",
    mac="",
    wire=Wire.MODULE,
    lacks={
        "interrupts": "it has no hardware that could interrupt",
        "zero-copy": "it has no AF_XDP of its own",
    },
)

_NO_TABLE: Final = "its driver has no table: rules alone choose queues"
MACB: Final = NicKind(
    name="macb",
    driver="macb",
    mac="52:00:00:00:00:12",
    wire=Wire.DATAGRAMS,
    device=("-net", "nic,netdev={name},macaddr={mac}"),
    modules=("macb",),
    # QEMU has the screeners and leaves the register at 0 that tells the driver how many.
    registers={0xFF0C029C: 0x0404_0418},
    lacks={
        **_NO_FAULTS,
        "channels": "its driver has no channels",
        "table": _NO_TABLE,
        "key": _NO_TABLE,
        "fields": _NO_TABLE,
        "contexts": _NO_TABLE,
        "drops": "its driver refuses rules that drop",
        "interrupts": "it has one interrupt for all queues",
        "zero-copy": "its driver has no AF_XDP of its own",
    },
)

_WITH_DMA: Final = replace(
    VIRTIO,
    device=(VIRTIO.device[0], VIRTIO.device[1] + ",iommu_platform=on,disable-legacy=on"),
    lacks={what: why for what, why in VIRTIO.lacks.items() if what != "zero-copy"},
)
_LATER_IGB: Final = replace(
    IGB,
    lacks={what: why for what, why in IGB.lacks.items() if what not in ("key", "zero-copy")},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One guest for tests.

    Attributes:
        name: Of ``--hil-lane``.
        machine: What it runs on.
        suites: Of Debian, where its kernel is from.
        nics: What it has.
    """

    name: str
    machine: Machine
    suites: tuple[str, ...]
    nics: tuple[NicKind, ...]

    @property
    def packages(self) -> tuple[str, ...]:
        """What brings the kernel; versions move, these names do not."""
        headers = (f"linux-headers-{self.machine.arch}",) if FNIC in self.nics else ()
        return (f"linux-image-{self.machine.arch}", *headers)

    @property
    def modules(self) -> tuple[str, ...]:
        """Of the kernel, to be loaded in this order."""
        return (*self.machine.modules, *(name for nic in self.nics for name in nic.modules))

    @property
    def registers(self) -> dict[int, int]:
        """What is written before the modules are loaded, by address."""
        return {at: value for nic in self.nics for at, value in nic.registers.items()}


LANES: Final = {
    lane.name: lane
    for lane in (
        Lane(name="default", machine=X86, suites=_STABLE, nics=(IGB, VIRTIO, FNIC)),
        Lane(
            name="xdp",
            machine=X86,
            suites=("trixie-backports",),
            nics=(_LATER_IGB, _WITH_DMA),
        ),
        Lane(
            name="key612",
            machine=X86,
            suites=(f"{CODENAME}-backports",),
            nics=(IGB, replace(VIRTIO, shifts_key=True)),
        ),
        Lane(name="arm64", machine=VERSAL, suites=_STABLE, nics=(MACB,)),
    )
}
"""By name."""
