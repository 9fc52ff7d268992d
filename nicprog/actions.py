# SPDX-License-Identifier: Apache-2.0
"""The changes that a backend can make, each one a single request to the NIC.

But for a context with hashed fields of its own, which is made and filled as one change.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from nicprog.model import Channels, FlowRule, RssContext
from nicprog.settings import Values, text
from nicprog.text import rule_text


@dataclass(frozen=True, slots=True, kw_only=True)
class SetChannels:
    """Makes so many queues active; the kinds are those of :class:`nicprog.model.Channels`."""

    combined: int = 0
    rx: int = 0
    tx: int = 0
    name = "set_channels"

    def __str__(self) -> str:
        return f"set {Channels(combined=self.combined, rx=self.rx, tx=self.tx)} channels"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTable:
    """Writes the whole indirection table."""

    entries: tuple[int, ...]
    name = "set_table"

    def __str__(self) -> str:
        return f"set the table ({_shares(self.entries)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetTable:
    """Makes the indirection table the default one, which follows the number of queues."""

    name = "reset_table"

    def __str__(self) -> str:
        return "reset the table to the default"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetKey:
    """Writes the hash key."""

    key: bytes
    name = "set_key"

    def __str__(self) -> str:
        return f"set the hash key to {self.key[:4].hex()}... ({len(self.key)} bytes)"


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertRule:
    """Puts a rule into its location; what is there is replaced at the same moment."""

    rule: FlowRule
    name = "insert_rule"

    def __str__(self) -> str:
        return f"insert {self.rule.label}: {rule_text(self.rule)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRule:
    """Empties a location."""

    location: int
    name = "delete_rule"

    def __str__(self) -> str:
        return f"delete the rule at location {self.location}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetValues:
    """Writes values of one group of settings and leaves its others."""

    group: str
    values: Values
    name = "set_values"

    def __str__(self) -> str:
        told = ", ".join(f"{name} {text(value) or 'none'}" for name, value in self.values.items())
        return f"set {self.group}: {told}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateContext:
    """Makes an RSS context and fills it; the kernel numbers it."""

    context: RssContext
    name = "create_context"

    def __str__(self) -> str:
        told = [_shares(self.context.table.entries)]
        if self.context.key:
            told.append(f"key {self.context.key[:4].hex()}...")
        told += [f"{name} {text(value)}" for name, value in self.context.hashing.items()]
        return f"create context {self.context.name!r} ({'; '.join(told)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteContext:
    """Takes away an RSS context that no rule names."""

    context: str
    name = "delete_context"

    def __str__(self) -> str:
        return f"delete context {self.context!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetContext:
    """Writes what is given of one RSS context, and leaves the rest.

    Attributes:
        context: Its name.
        entries: The whole table, or None.
        key: Hash key, or None.
        values: Function, transform and fields as in the group ``hash``.
    """

    context: str
    entries: tuple[int, ...] | None = None
    key: bytes | None = None
    values: Values = field(default_factory=dict)
    name = "set_context"

    def __str__(self) -> str:
        told = [] if self.entries is None else [f"table ({_shares(self.entries)})"]
        told += [] if self.key is None else [f"key {self.key[:4].hex()}... ({len(self.key)} bytes)"]
        told += [f"{name} {text(value)}" for name, value in self.values.items()]
        return f"set of context {self.context!r}: {', '.join(told)}"


def _shares(entries: tuple[int, ...]) -> str:
    return ", ".join(f"queue {queue}: {count}" for queue, count in sorted(Counter(entries).items()))


ContextAction = CreateContext | DeleteContext | SetContext
Action = (
    SetChannels | SetTable | ResetTable | SetKey | InsertRule | DeleteRule | SetValues
    | ContextAction
)  # fmt: skip
