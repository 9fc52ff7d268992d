# SPDX-License-Identifier: Apache-2.0
"""RSS contexts by number: by netlink where the kernel has it (6.17), else by ioctl.

Ioctls cannot list: each number up to what the driver has is asked for. What they have in common are
contexts as values, :class:`nicprog.model.RssContext`, whose names do not mean anything here.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol

from nicprog.backends import groups
from nicprog.errors import NicprogError, RequestError
from nicprog.ethtool import Ethtool, HashField, HashFunction, InputTransform, Rss
from nicprog.model import RssContext, RssTable
from nicprog.settings import HASHED_FLOWS, Values

_NOT_THERE: Final = (errno.ENOENT, errno.EINVAL)
_ASKED: Final = 64
"""Numbers asked for where nobody knows how many contexts a driver has; kernels give low ones."""


class ContextCalls(Protocol):
    """One way to the contexts of a NIC.

    Methods raise RequestError when the NIC refuses, and then it holds what it held before.
    """

    @property
    def way(self) -> str:
        """``netlink`` or ``ioctl``."""

    def listed(self) -> dict[int, RssContext]:
        """All contexts but that of all packets, named ``#N``."""

    def create(self, wanted: RssContext, number: int | None) -> int:
        """Makes and fills a context, with this number where that can be asked; returns it."""

    def change(
        self, number: int, entries: tuple[int, ...] | None, key: bytes | None, values: Values
    ) -> None:
        """Writes what is given of a context."""

    def delete(self, number: int) -> None:
        """Takes a context away."""

    def close(self) -> None:
        """Lets go of what it opened itself."""


class RssNetlink(Protocol):
    """The calls of :class:`nicprog.netlink.EthtoolNetlink` that are needed here."""

    def rss_contexts(self) -> dict[int, Rss]:
        """Contexts by number, 0 among them."""

    def context_fields(self) -> dict[int, dict[str, HashField]]:
        """Hashed fields of each by the kernel's names of flows."""

    def new_rss_context(
        self,
        number: int | None = None,
        *,
        table: tuple[int, ...] | None = None,
        key: bytes | None = None,
        function: HashFunction | None = None,
        transform: InputTransform | None = None,
    ) -> int:
        """Makes a context and returns its number."""

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
        """Sets parts of a context."""

    def delete_rss_context(self, context: int) -> None:
        """Deletes a context."""

    def close(self) -> None:
        """Ends the connection."""


def has_contexts(calls: Ethtool) -> bool:
    """Whether the driver has contexts, by reading one that need not be there."""
    try:
        calls.rss(1)
    except RequestError as error:
        if error.errno == errno.EOPNOTSUPP:
            return False
        if error.errno not in _NOT_THERE:
            raise
    return True


class ByNetlink:
    """Contexts by the family ``ethtool``."""

    way = "netlink"

    def __init__(self, calls: RssNetlink, *, keys: bool, fields: bool) -> None:
        """Takes over ``calls``; ``keys`` and ``fields``: each context has its own."""
        self._calls, self._keys, self._fields = calls, keys, fields

    def listed(self) -> dict[int, RssContext]:
        """All contexts but that of all packets, named ``#N``."""
        told = self._calls.rss_contexts()
        fields = self._calls.context_fields() if self._fields and len(told) > 1 else {}
        return {
            number: _context(number, rss, self._keys, fields.get(number))
            for number, rss in told.items()
            if number
        }

    def create(self, wanted: RssContext, number: int | None) -> int:
        """Makes a context, with this number if that is free, and fills it."""
        rss, fields = _split(wanted.hashing)
        made = self._calls.new_rss_context(
            number, table=wanted.table.entries, key=wanted.key or None, **rss
        )
        if fields:
            _or_delete(self, made, lambda: self._fill(made, fields))
        return made

    def _fill(self, number: int, wanted: Mapping[str, HashField]) -> None:
        now = self._calls.context_fields().get(number, {})
        if fields := _differing(wanted, now):
            self._calls.set_rss(number, fields=fields)

    def change(
        self, number: int, entries: tuple[int, ...] | None, key: bytes | None, values: Values
    ) -> None:
        """Writes what is given in one request."""
        rss, fields = _split(values)
        self._calls.set_rss(number, table=entries, key=key, **rss, fields=fields or None)

    def delete(self, number: int) -> None:
        """Takes a context away."""
        self._calls.delete_rss_context(number)

    def close(self) -> None:
        """Ends the connection."""
        self._calls.close()


class ByIoctl:
    """Contexts by ioctls, or whatever carries them to a NIC."""

    way = "ioctl"

    def __init__(self, calls: Ethtool, most: int | None, *, keys: bool, fields: bool) -> None:
        """``most`` contexts at the most; ``keys`` and ``fields``: each has its own."""
        self._calls, self._most, self._keys, self._fields = calls, most or _ASKED, keys, fields

    def listed(self) -> dict[int, RssContext]:
        """All contexts but that of all packets, named ``#N``."""
        found = {}
        for number in range(1, self._most + 1):
            try:
                rss = self._calls.rss(number)
            except RequestError as error:
                if error.errno not in _NOT_THERE:
                    raise
                continue
            fields = self._read_fields(number) if self._fields else None
            found[number] = _context(number, rss, self._keys, fields)
        return found

    def create(self, wanted: RssContext, number: int | None) -> int:
        """Makes a context and fills it; no ioctl asks for a number."""
        rss, fields = _split(wanted.hashing)
        made = self._calls.new_rss_context(wanted.table.entries, wanted.key or None, **rss)
        if fields:
            _or_delete(self, made, lambda: self._fill(made, fields))
        return made

    def _fill(self, number: int, wanted: Mapping[str, HashField]) -> None:
        self._set_fields(number, _differing(wanted, self._read_fields(number)))

    def _read_fields(self, number: int) -> dict[str, HashField]:
        letters = groups.read_fields(self._calls, number)
        return {flow: groups.fields_of(str(value)) for flow, value in letters.items()}

    def change(
        self, number: int, entries: tuple[int, ...] | None, key: bytes | None, values: Values
    ) -> None:
        """Writes what is given: one request, and one for each kind of fields."""
        rss, fields = _split(values)
        if entries is not None or key is not None or rss:
            self._calls.set_rss(context=number, table=entries, key=key, **rss)
        self._set_fields(number, fields)

    def delete(self, number: int) -> None:
        """Takes a context away."""
        self._calls.delete_rss_context(number)

    def close(self) -> None:
        """The calls are the backend's."""

    def _set_fields(self, number: int, fields: Mapping[str, HashField]) -> None:
        for flow, wanted in fields.items():
            self._calls.set_hash_fields(groups.FLOWS[flow], wanted, number)


def _or_delete(calls: ContextCalls, number: int, fill: Callable[[], None]) -> None:
    """Fills a new context, or leaves none."""
    try:
        fill()
    except NicprogError:
        with suppress(NicprogError):
            calls.delete(number)
        raise


def _differing(
    wanted: Mapping[str, HashField], now: Mapping[str, HashField]
) -> dict[str, HashField]:
    """What a new context does not have yet; some drivers show flows that cannot be set, as 0."""
    return {flow: bits for flow, bits in wanted.items() if now.get(flow, HashField(0)) != bits}


def _context(
    number: int, rss: Rss, has_key: bool, fields: Mapping[str, HashField] | None
) -> RssContext:
    """``fields`` is None where it has none of its own; a flow that is not told of hashes none."""
    told = {} if fields is None else fields
    flows = () if fields is None else HASHED_FLOWS
    letters = {flow: groups.letters_of(told.get(flow, HashField(0))) for flow in flows}
    return RssContext(
        name=f"#{number}",
        table=RssTable(entries=rss.table),
        key=rss.key if has_key else b"",
        hashing={**(groups.hash_values(rss) if has_key else {}), **letters},
    )


def _split(values: Values) -> tuple[groups.RssParts, dict[str, HashField]]:
    """Function and transform for one request, and the fields of flows."""
    rss: groups.RssParts = {}
    if "function" in values:
        rss["function"] = groups.FUNCTIONS[str(values["function"])]
    if "transform" in values:
        rss["transform"] = groups.TRANSFORMS[str(values["transform"])]
    fields = {
        name: groups.fields_of(str(value)) for name, value in values.items() if name in HASHED_FLOWS
    }
    return rss, fields
