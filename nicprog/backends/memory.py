# SPDX-License-Identifier: Apache-2.0
"""A NIC in memory with the checks of the kernel's ethtool core."""

from __future__ import annotations

import errno
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Self

from nicprog.actions import (
    Action,
    CreateContext,
    DeleteContext,
    DeleteRule,
    InsertRule,
    ResetTable,
    SetChannels,
    SetContext,
    SetKey,
    SetTable,
    SetValues,
)
from nicprog.backends import Counters
from nicprog.errors import RequestError
from nicprog.host import HostFacts
from nicprog.model import Capabilities, Channels, FlowRule, NicState, RssContext, RssTable
from nicprog.settings import Limits


class MemoryNic:
    """A :class:`nicprog.backends.Backend` that holds its state itself."""

    def __init__(
        self,
        can: Capabilities,
        state: NicState,
        *,
        device: str = "memory",
        table_is_set: bool = False,
    ) -> None:
        """Starts in ``state``; a default table follows the queues unless ``table_is_set``."""
        self.device = device
        self.instance = "memory"
        self._can = can
        self._queues = state.channels.combined
        self._table = state.table
        self._follows = state.table.is_default(self._queues) and not table_is_set
        self._key = state.key
        self._rules = {rule.location: rule for rule in state.rules}
        self._contexts = {context.name: context for context in state.contexts}

    def capabilities(self) -> Capabilities:
        """What the NIC can do."""
        return self._can

    def read(self, groups: Collection[str] = ()) -> NicState:
        """Everything that it holds now; it has no settings."""
        return NicState(
            channels=Channels(combined=self._queues),
            table=self._table,
            key=self._key,
            rules=tuple(rule for _, rule in sorted(self._rules.items())),
            contexts=tuple(context for _, context in sorted(self._contexts.items())),
            settings={group: {} for group in groups},
        )

    def limits(self, groups: Collection[str]) -> dict[str, Limits]:
        """There are no settings."""
        return {group: Limits(known=frozenset()) for group in groups}

    def host_facts(self) -> HostFacts | None:
        """It is no device of a host."""
        return None

    def run(self, action: Action) -> None:
        """Makes one change, or none."""
        match action:
            case SetChannels():
                self._set_channels(action.combined)
            case SetTable():
                self._set_table(action.entries)
            case ResetTable():
                self._table = RssTable.default(self._queues, self._can.table_size)
                self._follows = True
            case SetKey():
                self._refuse_if(len(action.key) != self._can.key_bytes, "the key has another size")
                self._key = action.key
            case SetValues():
                raise RequestError(f"{self.device}: no settings", errno.EOPNOTSUPP)
            case CreateContext():
                full = self._can.contexts is not None and len(self._contexts) >= self._can.contexts
                self._refuse_if(full, "no more contexts")
                self._set_context(action.context)
            case DeleteContext():
                named = any(rule.context == action.context for rule in self._rules.values())
                self._refuse_if(named, f"a rule names context {action.context!r}")
                del self._contexts[action.context]
            case SetContext():
                self._change_context(action)
            case InsertRule():
                self._insert(action.rule)
            case DeleteRule():
                if action.location not in self._rules:
                    raise RequestError(f"no rule at {action.location}", errno.ENOENT)
                del self._rules[action.location]

    def run_rules(self, actions: Sequence[InsertRule | DeleteRule]) -> list[RequestError | None]:
        """Makes several changes to different locations."""
        results: list[RequestError | None] = []
        for action in actions:
            try:
                self.run(action)
            except RequestError as error:
                results.append(error)
            else:
                results.append(None)
        return results

    def counters(self) -> Counters:
        """Nothing passes here."""
        return Counters(queues=(), rule_hits={}, totals={})

    def close(self) -> None:
        """Nothing to let go of."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _refuse_if(self, wrong: bool, why: str) -> None:
        if wrong:
            raise RequestError(f"{self.device}: {why}", errno.EINVAL)

    def _set_channels(self, queues: int) -> None:
        self._refuse_if(not 1 <= queues <= self._can.queues_max, f"{queues} channels")
        used = [rule.queue for rule in self._rules.values() if rule.queue is not None]
        used += [context.queue_max for context in self._contexts.values()]
        self._refuse_if(any(q >= queues for q in used), "channels too low for rules or contexts")
        if self._follows:
            self._table = RssTable.default(queues, self._can.table_size)
        self._refuse_if(
            max(self._table.entries, default=0) >= queues, "channels too low for the table"
        )
        self._queues = queues

    def _set_table(self, entries: tuple[int, ...]) -> None:
        self._refuse_if(len(entries) != self._can.table_size, "the table has another size")
        self._refuse_if(max(entries) >= self._queues, "the table names a queue that is not active")
        self._table = RssTable(entries=entries)
        self._follows = False

    def _set_context(self, wanted: RssContext) -> None:
        size, key_bytes = len(wanted.table.entries), self._can.key_bytes
        self._refuse_if(size != self._can.table_size, "the context's table has another size")
        self._refuse_if(wanted.queue_max >= self._queues, "the context names a queue not active")
        has_key = len(wanted.key) == (key_bytes if self._can.context_keys else 0)
        self._refuse_if(not has_key, "the context's key has another size")
        self._contexts[wanted.name] = wanted

    def _change_context(self, action: SetContext) -> None:
        now = self._contexts[action.context]
        self._set_context(
            replace(
                now,
                table=now.table if action.entries is None else RssTable(entries=action.entries),
                key=now.key if action.key is None else action.key,
                hashing={**now.hashing, **action.values},
            )
        )

    def _insert(self, rule: FlowRule) -> None:
        self._refuse_if(rule.location >= self._can.locations, f"location {rule.location}")
        self._refuse_if((rule.queue or 0) >= self._queues, f"queue {rule.queue} is not active")
        lost = rule.context is not None and rule.context not in self._contexts
        self._refuse_if(lost, f"there is no context {rule.context!r}")
        after = self._rules | {rule.location: rule}
        masks = {item.match.mask_key() for item in after.values()}
        if self._can.masks_max is not None and len(masks) > self._can.masks_max:
            raise RequestError(f"{self.device}: too many different masks", errno.ENOSPC)
        self._rules = after
