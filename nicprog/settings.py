# SPDX-License-Identifier: Apache-2.0
"""Settings of a NIC that are values under names, in groups: a group is a section of a spec.

========================  ====================================================================
``rings``                 descriptors in each ring: ``rx``, ``tx``, ``rx_mini``, ``rx_jumbo``
``coalesce``              when queues interrupt, by the names of ethtool(8): ``rx_usecs``, ...
``coalesce.queue.N``      the same of one queue
``features``              by the kernel's names: ``rx-hashing``, ``rx-ntuple-filter``, ...
``private_flags``         by the driver's own names
``hash``                  ``function``, ``transform``, and hashed fields of each kind of packet
``host. ...``             what is not the driver's, see :mod:`nicprog.host.device`
========================  ====================================================================

Values only: nothing here talks to a NIC.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from nicprog.errors import FieldError

Value = bool | int | str
Values = Mapping[str, Value]
"""Values of one group by their names."""
Settings = Mapping[str, Values]
"""Groups by their names."""

GROUPS: Final = ("rings", "coalesce", "features", "private_flags", "hash")
"""Besides those of single queues."""

HOST_GROUPS: Final = (
    "host.irqbalance", "host.interrupts", "host.xps", "host.xps_rxqs", "host.rps", "host.rfs",
    "host.napi",
)  # fmt: skip
"""Those of the host's side, in the order in which they are set."""

QUEUE: Final = "coalesce.queue."
"""What the group of one queue's coalescing begins with."""

RINGS: Final = ("rx", "tx", "rx_mini", "rx_jumbo")

COALESCE: Final = {
    "rx_usecs": "rx_coalesce_usecs",
    "rx_frames": "rx_max_coalesced_frames",
    "rx_usecs_irq": "rx_coalesce_usecs_irq",
    "rx_frames_irq": "rx_max_coalesced_frames_irq",
    "tx_usecs": "tx_coalesce_usecs",
    "tx_frames": "tx_max_coalesced_frames",
    "tx_usecs_irq": "tx_coalesce_usecs_irq",
    "tx_frames_irq": "tx_max_coalesced_frames_irq",
    "stats_block_usecs": "stats_block_coalesce_usecs",
    "adaptive_rx": "use_adaptive_rx_coalesce",
    "adaptive_tx": "use_adaptive_tx_coalesce",
    "pkt_rate_low": "pkt_rate_low",
    "rx_usecs_low": "rx_coalesce_usecs_low",
    "rx_frames_low": "rx_max_coalesced_frames_low",
    "tx_usecs_low": "tx_coalesce_usecs_low",
    "tx_frames_low": "tx_max_coalesced_frames_low",
    "pkt_rate_high": "pkt_rate_high",
    "rx_usecs_high": "rx_coalesce_usecs_high",
    "rx_frames_high": "rx_max_coalesced_frames_high",
    "tx_usecs_high": "tx_coalesce_usecs_high",
    "tx_frames_high": "tx_max_coalesced_frames_high",
    "sample_interval": "rate_sample_interval",
}
"""Names of ethtool(8), with underscores, and of ``struct ethtool_coalesce``."""

_ADAPTED: Final = {
    "adaptive_rx": ("rx_usecs", "rx_frames"),
    "adaptive_tx": ("tx_usecs", "tx_frames"),
}
"""What the driver changes by itself while it adapts."""

FUNCTIONS: Final = ("toeplitz", "xor", "crc32")
TRANSFORMS: Final = ("none", "symmetric-xor", "symmetric-or-xor")
HASHED_FLOWS: Final = ("tcp4", "udp4", "sctp4", "tcp6", "udp6", "sctp6")
FIELD_LETTERS: Final = "mvtsdfn"
"""Of ethtool(8): destination MAC, VLAN, protocol, addresses, octets 0-1 and 2-3 behind IP."""

NTUPLE: Final = "rx-ntuple-filter"
RX_HASHING: Final = "rx-hashing"

_ALIASES: Final = {
    "ntuple": NTUPLE, "rxhash": RX_HASHING, "gro": "rx-gro", "lro": "rx-lro", "rx": "rx-checksum",
    "gso": "tx-generic-segmentation", "rxvlan": "rx-vlan-hw-parse", "txvlan": "tx-vlan-hw-insert",
}  # fmt: skip
"""Short names of ethtool(8) for one feature each; ``tx``, ``sg``, ``tso`` are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one group of a NIC can be.

    Attributes:
        most: Largest value of names that have one.
        fixed: Names whose value cannot be changed, and that value.
        known: All names that there are; empty when the group is not there.
    """

    known: frozenset[str]
    most: Mapping[str, int] = field(default_factory=dict)
    fixed: Values = field(default_factory=dict)


def checked(group: str, values: Values) -> dict[str, Value]:
    """Values as a spec gives them, with the names that are used here.

    Raises:
        FieldError: A name is unknown, or a value has another type or range.
    """
    if group == "rings":
        return {name: _count(name, value, 1) for name, value in _named(values, RINGS)}
    if group == "hash":
        return {name: _hash_value(name, value) for name, value in _named(values, _HASH)}
    if group in ("features", "private_flags"):
        given: dict[str, Value] = {name: _switch(name, value) for name, value in values.items()}
        return given if group == "private_flags" else _without_aliases(given)
    return {name: _coalesce_value(name, value) for name, value in _named(values, COALESCE)}


_HASH: Final = ("function", "transform", *HASHED_FLOWS)


def _named(values: Values, known: Iterable[str]) -> Iterable[tuple[str, Value]]:
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise FieldError(name, f"unknown key {name!r}; {hint}")
    return values.items()


def _count(name: str, value: Value, least: int) -> int:
    if type(value) is not int or not least <= value < 1 << 32:
        raise FieldError(name, f"{name} must be an integer of {least} to 2**32 - 1, got {value!r}")
    return value


def _switch(name: str, value: Value) -> bool:
    if not isinstance(value, bool):
        raise FieldError(name, f"{name} must be true or false, got {value!r}")
    return value


def _coalesce_value(name: str, value: Value) -> Value:
    return _switch(name, value) if name in _ADAPTED else _count(name, value, 0)


def _hash_value(name: str, value: Value) -> str:
    choices = {"function": FUNCTIONS, "transform": TRANSFORMS}.get(name)
    if choices:
        if value not in choices:
            raise FieldError(name, f"{name} must be one of {', '.join(choices)}, got {value!r}")
        return str(value)
    letters = str(value)
    if not isinstance(value, str) or set(letters) - set(FIELD_LETTERS):
        text = f"{name} must be letters of {FIELD_LETTERS!r} as in ethtool(8), got {value!r}"
        raise FieldError(name, text)
    return in_order(letters)


def in_order(letters: str) -> str:
    """Letters of hashed fields, each once, in the order of :data:`FIELD_LETTERS`."""
    return "".join(letter for letter in FIELD_LETTERS if letter in letters)


def _without_aliases(given: dict[str, Value]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, value in given.items():
        kernel_name = _ALIASES.get(name, name)
        if kernel_name in found:
            raise FieldError(name, f"{name} and {kernel_name} are the same feature; give one")
        found[kernel_name] = value
    return found


def queue_of(group: str) -> int | None:
    """The queue of a group of one queue's coalescing, else None."""
    number = group.removeprefix(QUEUE)
    return int(number) if group.startswith(QUEUE) and number.isdecimal() else None


def is_symmetric(letters: str) -> bool:
    """Both directions of a connection have these fields, as an input transform needs it."""
    return all((a in letters) == (b in letters) for a, b in ("sd", "fn"))


def merged(group: str, now: Values, asked: Values) -> dict[str, Value]:
    """``now`` with what is asked for, but for what follows from it by itself.

    A feature that is turned off takes others with it, which come back with it; what the driver
    adapts is its own.
    """
    if group == "features":
        return dict(asked)
    wanted = {**now, **asked}
    for name in _adapted(group, wanted):
        if name not in asked:
            wanted.pop(name, None)
    return wanted


def steady(group: str, values: Values) -> dict[str, Value]:
    """Without what the driver changes by itself."""
    adapted = _adapted(group, values)
    return {name: value for name, value in values.items() if name not in adapted}


def _adapted(group: str, values: Values) -> tuple[str, ...]:
    if not group.startswith("coalesce"):
        return ()
    return tuple(n for switch, names in _ADAPTED.items() if values.get(switch) for n in names)


def text(value: Value | None) -> str | None:
    """A value for messages; None stays None."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return None if value is None else str(value)
