# SPDX-License-Identifier: Apache-2.0
"""RSS contexts of a model by the calls of the family ``ethtool``, with the faults of its transport.

Nothing here is a message: what the kernel's replies look like is not modelled.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import TypeVar

from nicprog.errors import RequestError
from nicprog.ethtool import FlowType, HashField, HashFunction, InputTransform, Rss
from nicprog.settings import HASHED_FLOWS
from nicprog.sim.nic import Context, SimNic
from nicprog.sim.transport import SimTransport

_T = TypeVar("_T")


class SimNetlink:
    """A :class:`nicprog.backends.contexts.RssNetlink` to the model behind a transport."""

    def __init__(self, transport: SimTransport) -> None:
        """Counts its requests with those of ``transport``, which is closed by its owner."""
        self._transport = transport
        self._nic: SimNic = transport.nic

    def rss_contexts(self) -> dict[int, Rss]:
        """Contexts by number, 0 among them."""
        return self._transport.counted(
            lambda: {number: _rss(one) for number, one in self._nic.contexts.items()}
        )

    def context_fields(self) -> dict[int, dict[str, HashField]]:
        """Hashed fields of each by the kernel's names of flows."""
        return self._transport.counted(
            lambda: {number: self._fields(number) for number in self._nic.contexts}
        )

    def new_rss_context(
        self,
        number: int | None = None,
        *,
        table: tuple[int, ...] | None = None,
        key: bytes | None = None,
        function: HashFunction | None = None,
        transform: InputTransform | None = None,
    ) -> int:
        """Makes a context of this number, or of the lowest that is free."""
        changes = self._changes(table, key, function, transform)
        return self._changed(lambda: self._nic.new_context(changes, number))

    def set_rss(
        self,
        context: int = 0,
        *,
        table: tuple[int, ...] | None = None,
        key: bytes | None = None,
        function: HashFunction | None = None,
        transform: InputTransform | None = None,
        fields: Mapping[str, HashField] | None = None,
    ) -> None:
        """Fields first, one by one: of a request that is refused some may be set already."""

        def change() -> None:
            for flow, wanted in (fields or {}).items():
                self._nic.set_hashed(FlowType[flow.upper()], wanted, context)
            if changes := self._changes(table, key, function, transform):
                self._nic.set_rss(context, changes)

        self._changed(change)

    def delete_rss_context(self, context: int) -> None:
        """Deletes a context that no rule refers to."""
        self._changed(lambda: self._nic.delete_context(context))

    def close(self) -> None:
        """The transport is its owner's."""

    def _changed(self, request: Callable[[], _T]) -> _T:
        result = self._transport.counted(request)
        self._transport.saved()
        return result

    def _fields(self, number: int) -> dict[str, HashField]:
        fields = self._nic.fields(number)
        flows = {name: FlowType[name.upper()] for name in HASHED_FLOWS}
        return {name: fields[flow] for name, flow in flows.items() if flow in fields}

    def _changes(
        self,
        table: tuple[int, ...] | None,
        key: bytes | None,
        function: HashFunction | None,
        transform: InputTransform | None,
    ) -> dict[str, object]:
        first = self._nic.context(0)
        sizes = {"indirection table": (table, first.table), "key": (key, first.key)}
        for name, (given, held) in sizes.items():
            if given is not None and len(given) != len(held):
                text = f"size ({len(given)}) mismatch with device {name} ({len(held)})"
                raise RequestError(f"{self._nic.device}: {text} (EINVAL)", errno.EINVAL)
        given_parts = {"table": table, "key": key, "function": function, "transform": transform}
        changes: dict[str, object] = {n: v for n, v in given_parts.items() if v is not None}
        return changes | ({"is_set": True} if table is not None else {})


def _rss(one: Context) -> Rss:
    return Rss(table=one.table, key=one.key, function=one.function, transform=one.transform)
