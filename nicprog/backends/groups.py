# SPDX-License-Identifier: Apache-2.0
"""Groups of settings, read and written by the calls of :mod:`nicprog.ethtool`."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Final, TypedDict

from nicprog import settings
from nicprog.errors import RequestError
from nicprog.ethtool import (
    Coalesce,
    Ethtool,
    FlowType,
    HashField,
    HashFunction,
    InputTransform,
    Rss,
)
from nicprog.settings import Limits, Value, Values

_ABSENT: Final = (errno.EOPNOTSUPP, errno.EINVAL)
"""How drivers say that they do not have something."""

FLOWS: Final = {name: FlowType[name.upper()] for name in settings.HASHED_FLOWS}
_LETTERS: Final = {
    "m": HashField.DST_MAC, "v": HashField.VLAN, "t": HashField.PROTOCOL, "s": HashField.SRC,
    "d": HashField.DST, "f": HashField.SRC_PORT, "n": HashField.DST_PORT,
}  # fmt: skip
FUNCTIONS: Final = {name: HashFunction[name.upper()] for name in settings.FUNCTIONS}
TRANSFORMS: Final = {
    "none": InputTransform(0),
    "symmetric-xor": InputTransform.SYMMETRIC_XOR,
    "symmetric-or-xor": InputTransform.SYMMETRIC_OR_XOR,
}


def read(calls: Ethtool, group: str) -> dict[str, Value]:
    """Values of a group that can be changed; none when the NIC does not have it."""
    try:
        return _READERS[_kind(group)](calls, group)
    except RequestError as error:
        if error.errno not in _ABSENT:
            raise
        return {}


def write(calls: Ethtool, group: str, values: Values) -> None:
    """Writes these values and leaves the others of the group.

    Raises:
        RequestError: The NIC refused.
    """
    _WRITERS[_kind(group)](calls, group, values)


def limits(calls: Ethtool, group: str) -> Limits:
    """What the group can be."""
    # Another queue may be active by then: what one has all have.
    there = read(calls, f"{settings.QUEUE}0" if _kind(group) == settings.QUEUE else group)
    if group == "rings" and there:
        now = calls.rings()
        most = {name: int(getattr(now, f"{name}_max_pending")) for name in settings.RINGS}
        return Limits(known=frozenset(there), most=most)
    if group == "features" and there:
        every = calls.features()
        fixed = {name: one.active for name, one in every.items() if not one.changeable}
        return Limits(known=frozenset(every), fixed=fixed)
    if group.startswith("coalesce") and there:
        return Limits(known=frozenset(settings.COALESCE))  # which of them is told by refusing
    return Limits(known=frozenset(there))


def _kind(group: str) -> str:
    return settings.QUEUE if group.startswith(settings.QUEUE) else group


def _read_rings(calls: Ethtool, _: str) -> dict[str, Value]:
    now = calls.rings()
    return {
        name: int(getattr(now, f"{name}_pending"))
        for name in settings.RINGS
        if getattr(now, f"{name}_max_pending")
    }


def _write_rings(calls: Ethtool, _: str, values: Values) -> None:
    changes = {f"{name}_pending": int(value) for name, value in values.items()}
    calls.set_rings(replace(calls.rings(), **changes))


def _read_coalesce(calls: Ethtool, _: str) -> dict[str, Value]:
    return _of_coalesce("coalesce", calls.coalesce())


def _write_coalesce(calls: Ethtool, _: str, values: Values) -> None:
    calls.set_coalesce(_with(calls.coalesce(), values))


def _read_queue(calls: Ethtool, group: str) -> dict[str, Value]:
    queue = _queue(group)
    return _of_coalesce(group, calls.coalesce_of_queues([queue])[queue])


def _write_queue(calls: Ethtool, group: str, values: Values) -> None:
    queue = _queue(group)
    now = calls.coalesce_of_queues([queue])[queue]
    calls.set_coalesce_of_queues({queue: _with(now, values)})


def _queue(group: str) -> int:
    queue = settings.queue_of(group)
    assert queue is not None
    return queue


def _of_coalesce(group: str, now: Coalesce) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, member in settings.COALESCE.items():
        number = getattr(now, member)
        found[name] = bool(number) if name.startswith("adaptive") else number
    return settings.steady(group, found)


def _with(now: Coalesce, values: Values) -> Coalesce:
    changes = {settings.COALESCE[name]: int(value) for name, value in values.items()}
    known = {item.name for item in fields(now)}
    assert changes.keys() <= known
    return replace(now, **changes)


def _read_features(calls: Ethtool, _: str) -> dict[str, Value]:
    return {name: one.active for name, one in calls.features().items() if one.changeable}


def _write_features(calls: Ethtool, _: str, values: Values) -> None:
    after = calls.set_features({name: bool(value) for name, value in values.items()})
    for name, value in values.items():
        if after[name].active != value:
            text = "turned on" if value else "turned off"
            raise RequestError(
                f"{calls.device}: feature {name!r} is not {text}: another feature or setting keeps "
                "it as it is",
                errno.EOPNOTSUPP,
            )


def _read_flags(calls: Ethtool, _: str) -> dict[str, Value]:
    return dict(calls.private_flags())


def _write_flags(calls: Ethtool, _: str, values: Values) -> None:
    calls.set_private_flags({name: bool(value) for name, value in values.items()})


def _read_hash(calls: Ethtool, _: str) -> dict[str, Value]:
    return hash_values(calls.rss()) | read_fields(calls)


def hash_values(rss: Rss) -> dict[str, Value]:
    """Hash function and transform by their names in specs."""
    found: dict[str, Value] = {}
    for name, function in FUNCTIONS.items():
        if rss.function == function:
            found["function"] = name
    for name, transform in TRANSFORMS.items():
        if rss.transform == transform:
            found["transform"] = name
    return found


def read_fields(calls: Ethtool, context: int | None = None) -> dict[str, Value]:
    """Hashed fields of each flow that the driver tells them of; None: those of the NIC."""
    found: dict[str, Value] = {}
    for name, flow in FLOWS.items():
        try:
            hashed = calls.hash_fields(flow, context)
        except RequestError as error:
            if error.errno not in _ABSENT:
                raise
            continue
        found[name] = letters_of(hashed)
    return found


def letters_of(fields: HashField) -> str:
    """Hashed fields as letters of ethtool(8)."""
    return "".join(letter for letter, bit in _LETTERS.items() if fields & bit)


def fields_of(letters: str) -> HashField:
    """Hashed fields by letters of ethtool(8)."""
    wanted = HashField(0)
    for letter in letters:
        wanted |= _LETTERS[letter]
    return wanted


class RssParts(TypedDict, total=False):
    """Parts of RSS beside table and key, as the calls name them."""

    function: HashFunction
    transform: InputTransform


def _write_hash(calls: Ethtool, _: str, values: Values) -> None:
    for name, value in values.items():
        if name == "function":
            calls.set_rss(function=FUNCTIONS[str(value)])
        elif name == "transform":
            calls.set_rss(transform=TRANSFORMS[str(value)])
        else:
            calls.set_hash_fields(FLOWS[name], fields_of(str(value)))


_READERS: Final[dict[str, Callable[[Ethtool, str], dict[str, Value]]]] = {
    "rings": _read_rings,
    "coalesce": _read_coalesce,
    settings.QUEUE: _read_queue,
    "features": _read_features,
    "private_flags": _read_flags,
    "hash": _read_hash,
}
_WRITERS: Final[dict[str, Callable[[Ethtool, str, Any], None]]] = {
    "rings": _write_rings,
    "coalesce": _write_coalesce,
    settings.QUEUE: _write_queue,
    "features": _write_features,
    "private_flags": _write_flags,
    "hash": _write_hash,
}
