# SPDX-License-Identifier: Apache-2.0
"""Ways to talk to a NIC; all of them look like :class:`Backend`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from nicprog.actions import Action, DeleteRule, InsertRule
from nicprog.errors import RequestError
from nicprog.host import HostFacts
from nicprog.model import Capabilities, NicState
from nicprog.settings import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCounters:
    """What one RX queue has received since the NIC was made."""

    queue: int
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Counters of a NIC.

    Attributes:
        queues: One for each queue that the NIC reports, in order.
        rule_hits: Location to packets that its rule took.
        totals: All other counters by their own names.
    """

    queues: tuple[QueueCounters, ...]
    rule_hits: dict[int, int]
    totals: dict[str, int]


class Backend(Protocol):
    """One open NIC. Use it from one thread at a time."""

    @property
    def device(self) -> str:
        """Name of the NIC."""

    @property
    def instance(self) -> str:
        """Differs when the NIC was made anew under the same name."""

    def capabilities(self) -> Capabilities:
        """What the NIC can do."""

    def read(self, groups: Collection[str] = ()) -> NicState:
        """What it holds now: all but settings, and of these the groups that are named.

        A group that the NIC does not have is empty.
        """

    def limits(self, groups: Collection[str]) -> dict[str, Limits]:
        """What the settings of these groups can be."""

    def host_facts(self) -> HostFacts | None:
        """What the host is like around it; None when it is no device of a host."""

    def run(self, action: Action) -> None:
        """Makes one change, or none.

        Raises:
            RequestError: The NIC refused it and holds what it held before.
            DeviceError: The NIC is gone.
        """

    def run_rules(self, actions: Sequence[InsertRule | DeleteRule]) -> list[RequestError | None]:
        """Makes several changes to different locations in any order, faster than one by one.

        Returns:
            For each action None, or why the NIC refused it.

        Raises:
            DeviceError: The NIC is gone.
        """

    def counters(self) -> Counters:
        """Counters at this moment."""

    def close(self) -> None:
        """Lets go of the NIC; what was set stays."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
