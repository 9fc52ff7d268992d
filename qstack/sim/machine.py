# SPDX-License-Identifier: Apache-2.0
"""The machine that is simulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..errors import ConfigError

ENGINE_NS: Final = 262
"""Time of the engine for a request and its reply: 1,000 connections, ``qstack bench engine``."""

CORES_MOST: Final = 64
QUEUES_MOST: Final = 256
_BUCKETS_MOST: Final = 4096
_RING_MOST: Final = 1 << 16
_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Cores, queues, the table, and what things cost.

    Attributes:
        cores: 1 to 64; at first all are on.
        queues: At least one for each core; at first queue q is on core q modulo cores.
        buckets: Entries of the indirection table, a power of two; entry b leads to queue b modulo
            queues, as in the software NIC.
        ring: Packets that wait in a queue at most, a power of two; more are lost.
        rules: Flow rules at most.
        nodes: NUMA nodes; cores are split evenly, and a queue's memory is where it starts.
        smt: Hardware threads of a physical core, 1 or 2; siblings are cores 0 and 1, and so on.
        smt_slowdown: Time of a packet beside a sibling that is on, to that alone.
        numa_slowdown: Time of a packet on another node than its queue's memory, to that at home.
        engine_ns: Time of the engine for a packet.
        handover_ns: From the old queue's last packet of a bucket to the new one's first; and as
            long as a queue that moves is not served.
        held: Packets of moved buckets that are held meanwhile; more are lost.
        service: "constant" or "exponential".
        hold: Packets wait for older ones of their bucket at the old queue. Without it they are
            served out of order.
    """

    cores: int = 8
    queues: int = 32
    buckets: int = 256
    ring: int = 4096
    rules: int = 16
    nodes: int = 1
    smt: int = 1
    smt_slowdown: float = 1.6
    numa_slowdown: float = 1.3
    engine_ns: int = ENGINE_NS
    handover_ns: int = 2_000
    held: int = 1 << 16
    service: str = "constant"
    hold: bool = True

    def __post_init__(self) -> None:
        for name, least, most in (
            ("cores", 1, CORES_MOST),
            ("queues", self.cores, QUEUES_MOST),
            ("buckets", self.queues, _BUCKETS_MOST),
            ("ring", 2, _RING_MOST),
            ("rules", 0, _BUCKETS_MOST),
            ("nodes", 1, self.cores),
            ("smt", 1, 2),
            ("engine_ns", 1, _MS),
            ("handover_ns", 0, 1000 * _MS),
            ("held", 1, 1 << 24),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"{name} must be {least}..{most}, got {value}")
        for name in ("buckets", "ring"):
            value = getattr(self, name)
            if value & (value - 1):
                raise ConfigError(f"{name} must be a power of two, got {value}")
        for name in ("smt_slowdown", "numa_slowdown"):
            value = getattr(self, name)
            if not 1 <= value <= 100:
                raise ConfigError(f"{name} must be 1..100, got {value:g}")
        if self.service not in ("constant", "exponential"):
            raise ConfigError(f"service must be constant or exponential, got {self.service!r}")

    def node_of(self, core: int) -> int:
        """NUMA node of a core."""
        return core * self.nodes // self.cores

    def sibling_of(self, core: int) -> int:
        """The other hardware thread of its physical core, or -1."""
        other = core ^ 1
        return other if self.smt == 2 and other < self.cores else -1
