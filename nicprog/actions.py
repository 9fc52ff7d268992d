# SPDX-License-Identifier: Apache-2.0
"""The changes that a backend can make, each one a single request to the NIC."""

from __future__ import annotations

from dataclasses import dataclass

from nicprog.model import Channels, FlowRule
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
        queues = sorted(set(self.entries))
        shares = ", ".join(f"queue {q}: {self.entries.count(q)}" for q in queues)
        return f"set the table ({shares})"


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
        told = ", ".join(f"{name} {text(value)}" for name, value in self.values.items())
        return f"set {self.group}: {told}"


Action = SetChannels | SetTable | ResetTable | SetKey | InsertRule | DeleteRule | SetValues
