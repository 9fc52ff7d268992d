# SPDX-License-Identifier: Apache-2.0
"""What the calls take and give; plain values have the names that ``linux/ethtool.h`` gives them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntFlag
from typing import Any, Final, Self

from nicprog._ethtool import ffi, lib

LOCATION_ANY: Final[int] = lib.RX_CLS_LOC_ANY
"""A free slot, chosen by the driver; for drivers whose rules have no order."""
LOCATION_FIRST: Final[int] = lib.RX_CLS_LOC_FIRST
"""A free slot before all others."""
LOCATION_LAST: Final[int] = lib.RX_CLS_LOC_LAST
"""A free slot after all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverInfo:
    """Who drives the interface; empty where the driver does not say.

    Attributes:
        driver: Name of the driver.
        version: Of the driver; mostly that of the kernel.
        firmware: Version of the firmware.
        bus: Where the NIC sits, mostly a PCI address.
    """

    driver: str
    version: str
    firmware: str
    bus: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """A structure of a command and 32-bit numbers only."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0 <= value < 1 << 32:
                raise ValueError(f"{item.name} must be 0 to 2**32 - 1, got {value}")

    @classmethod
    def from_struct(cls, structure: Any) -> Self:
        """Reads the fields of a cffi structure."""
        return cls(**{item.name: getattr(structure, item.name) for item in fields(cls)})

    def to_struct(self, kind: str, command: int) -> Any:
        """A new cffi structure ``kind`` (``struct ethtool_...``)."""
        structure = ffi.new(f"{kind} *")
        structure.cmd = command
        for item in fields(self):
            setattr(structure, item.name, getattr(self, item.name))
        return structure


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels(_Words):
    """Active queues and the most of them; ``combined`` ones have an RX and a TX side each."""

    max_rx: int = 0
    max_tx: int = 0
    max_other: int = 0
    max_combined: int = 0
    rx_count: int = 0
    tx_count: int = 0
    other_count: int = 0
    combined_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rings(_Words):
    """Descriptors in each ring and the most of them."""

    rx_max_pending: int = 0
    rx_mini_max_pending: int = 0
    rx_jumbo_max_pending: int = 0
    tx_max_pending: int = 0
    rx_pending: int = 0
    rx_mini_pending: int = 0
    rx_jumbo_pending: int = 0
    tx_pending: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coalesce(_Words):
    """When a queue interrupts: after microseconds or frames, by load; 0 is off or not supported."""

    rx_coalesce_usecs: int = 0
    rx_max_coalesced_frames: int = 0
    rx_coalesce_usecs_irq: int = 0
    rx_max_coalesced_frames_irq: int = 0
    tx_coalesce_usecs: int = 0
    tx_max_coalesced_frames: int = 0
    tx_coalesce_usecs_irq: int = 0
    tx_max_coalesced_frames_irq: int = 0
    stats_block_coalesce_usecs: int = 0
    use_adaptive_rx_coalesce: int = 0
    use_adaptive_tx_coalesce: int = 0
    pkt_rate_low: int = 0
    rx_coalesce_usecs_low: int = 0
    rx_max_coalesced_frames_low: int = 0
    tx_coalesce_usecs_low: int = 0
    tx_max_coalesced_frames_low: int = 0
    pkt_rate_high: int = 0
    rx_coalesce_usecs_high: int = 0
    rx_max_coalesced_frames_high: int = 0
    tx_coalesce_usecs_high: int = 0
    tx_max_coalesced_frames_high: int = 0
    rate_sample_interval: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One offload or other feature of an interface.

    Attributes:
        active: It is on.
        requested: It was asked to be on; another feature that is off may keep it off.
        changeable: It can be turned on and off.
    """

    active: bool
    requested: bool
    changeable: bool


class HashFunction(IntFlag):
    """Hash functions of RSS."""

    TOEPLITZ = 1
    XOR = 2
    CRC32 = 4


class InputTransform(IntFlag):
    """What is done to addresses and ports before they are hashed."""

    SYMMETRIC_XOR = 1
    SYMMETRIC_OR_XOR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rss:
    """How packets are spread over RX queues.

    Attributes:
        table: Queue of each entry; empty when the driver shows none.
        key: Hash key; empty when the driver shows none.
        function: The hash; 0 when the driver does not say.
        transform: Before the hash; kernels before 6.8 always say 0.
    """

    table: tuple[int, ...]
    key: bytes
    function: HashFunction
    transform: InputTransform


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTable:
    """The table of flow rules.

    Attributes:
        rules: Rules in it.
        locations: Its slots; 0 when the driver does not say.
        chooses: The driver takes LOCATION_ANY, LOCATION_FIRST and LOCATION_LAST.
    """

    rules: int
    locations: int
    chooses: bool
