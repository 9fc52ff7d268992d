# SPDX-License-Identifier: Apache-2.0
"""What a policy is given and what it answers: arrays of records, the same in Python and in C.

Every field has eight bytes: ``i8`` is an int64, ``f8`` a double. Times are nanoseconds of the
controller's clock. Loads are in cores: 1.0 is all the time of one core that is alone on its
physical core and near the memory. ``own`` belongs to the policy, is 0 at first and stays between
calls; everything else is written by the controller before each call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIGURES: Final = np.dtype(
    [
        ("now_ns", "i8"),
        ("period_ns", "i8"),  # since the call before: what loads are averages over
        ("cooldown_ns", "i8"),  # what moved stays as long as this
        ("cores_min", "i8"),  # at least so many are on, >= 1
        ("cores_max", "i8"),  # more than that are on: as many have to go off
        ("rules_free", "i8"),  # flow rules that may still be added
        ("smt_slowdown", "f8"),  # time of a packet beside a sibling that is on, >= 1
        ("numa_slowdown", "f8"),  # time of a packet far from its queue's memory, >= 1
    ],
    align=True,
)
"""One record: what concerns the whole machine."""

CORE: Final = np.dtype(
    [
        ("on", "i8"),  # 1, or 0: its worker is parked
        ("node", "i8"),  # NUMA node
        ("sibling", "i8"),  # the other hardware thread of its physical core, or -1
        ("load", "f8"),  # work that arrived for it, in cores; above 1: overloaded
        ("busy", "f8"),  # part of the period that it worked, 0 to 1
        ("queued", "i8"),  # packets that wait now
        ("delay_ns", "i8"),  # how long the oldest of them has waited
        ("changed_ns", "i8"),  # when it went on or off
        ("own", "f8"),
    ],
    align=True,
)
"""``cores``: one record for each core."""

QUEUE: Final = np.dtype(
    [
        ("core", "i8"),  # whose worker runs it
        ("node", "i8"),  # where its memory is
        ("load", "f8"),
        ("queued", "i8"),
        ("delay_ns", "i8"),
        ("moved_ns", "i8"),
        ("own", "f8"),
    ],
    align=True,
)
"""``queues``: one record for each queue, with its engine."""

BUCKET: Final = np.dtype(
    [
        ("queue", "i8"),
        ("packets", "i8"),  # of the period; without those of flows with a rule
        ("load", "f8"),  # likewise
        ("ahead", "f8"),  # load of the coming period: only the simulator knows; NaN elsewhere
        ("moved_ns", "i8"),
        ("own", "f8"),
    ],
    align=True,
)
"""``buckets``: one record for each entry of the indirection table."""

FLOW: Final = np.dtype(
    [
        ("id", "i8"),  # -1: the slot is free; another id: another flow, and own is 0 again
        ("bucket", "i8"),
        ("queue", "i8"),  # where its rule leads, or -1: it has none
        ("load", "f8"),
        ("moved_ns", "i8"),
        ("own", "f8"),
    ],
    align=True,
)
"""``flows``: those that are heavy or have a rule, each in a slot that it keeps."""

MOVE: Final = np.dtype([("kind", "i8"), ("what", "i8"), ("to", "i8")], align=True)
"""``moves``: the answer; as many records as may move in one call."""

BUCKET_TO_QUEUE: Final = 1
QUEUE_TO_CORE: Final = 2
CORE_ON: Final = 3
CORE_OFF: Final = 4
FLOW_TO_QUEUE: Final = 5

MEMORY_SIZE: Final = 64
"""``memory``: so many float64 of the policy's own, 0 at first."""

NEVER_NS: Final = -(1 << 62)
"""``moved_ns`` of what never moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The arguments of a policy, in their order.

    Attributes:
        figures: FIGURES[1].
        cores: CORE[n_cores].
        queues: QUEUE[n_queues].
        buckets: BUCKET[n_buckets].
        flows: FLOW[n_flows].
        memory: float64[MEMORY_SIZE].
        moves: MOVE[budget], written by the policy.
    """

    figures: NDArray[Any]
    cores: NDArray[Any]
    queues: NDArray[Any]
    buckets: NDArray[Any]
    flows: NDArray[Any]
    memory: NDArray[np.float64]
    moves: NDArray[Any]

    @classmethod
    def of_size(
        cls, *, n_cores: int, n_queues: int, n_buckets: int, n_flows: int, budget: int
    ) -> View:
        """A view of zeros, of what never moved, and of free slots for flows."""
        view = cls(
            figures=np.zeros(1, FIGURES),
            cores=np.zeros(n_cores, CORE),
            queues=np.zeros(n_queues, QUEUE),
            buckets=np.zeros(n_buckets, BUCKET),
            flows=np.zeros(n_flows, FLOW),
            memory=np.zeros(MEMORY_SIZE),
            moves=np.zeros(budget, MOVE),
        )
        for records, field in (
            (view.cores, "changed_ns"),
            (view.queues, "moved_ns"),
            (view.buckets, "moved_ns"),
            (view.flows, "moved_ns"),
        ):
            records[field] = NEVER_NS
        view.flows["id"] = -1
        view.cores["sibling"] = -1
        view.figures["smt_slowdown"] = view.figures["numa_slowdown"] = 1.0
        view.figures["cores_min"], view.figures["cores_max"] = 1, n_cores
        return view

    def arguments(self) -> tuple[NDArray[Any], ...]:
        """All of them, as a policy takes them."""
        return (
            self.figures,
            self.cores,
            self.queues,
            self.buckets,
            self.flows,
            self.memory,
            self.moves,
        )

    def plain_arguments(self) -> tuple[Any, ...]:
        """The same memory, as the plain function takes it: records by attribute."""
        return tuple(
            each if each.dtype.names is None else each.view(np.recarray)
            for each in self.arguments()
        )

    def copy(self) -> View:
        """The same in memory of its own."""
        return View(**{name: getattr(self, name).copy() for name in self.__slots__})
